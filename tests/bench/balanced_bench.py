#!/usr/bin/python3
"""One server against several behind HAProxy, on one PostgreSQL of their own: rate, CPU for each event, and whether every sum is right.

usage: LLMLAB_BIN=build/release/llmlab tests/bench/balanced_bench.py [--servers 1,3] [--events 100000] [--rounds 2]

Sixteen users send batches of 500 events over 16 connections. Everything shares the machine's cores, this program too: where these are fewer
than there are servers the rate cannot rise, and what counts is the CPU that an event takes. Needs haproxy.
"""
import argparse
import os
import pathlib
import signal
import sys
import threading
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / part) for part in ("support", "deploy")]

from llmlab_client import sign_up  # noqa: E402
from llmlab_server import Postgres, Server, assert_rollups_equal_events, connect, end_all, new_secret, query  # noqa: E402
from test_balanced import behind  # noqa: E402

USERS, BATCH = 16, 500
MODELS = ["gpt-4", "gpt-4o", "claude-sonnet-4-20250514"]


def cpu_seconds(pid):
    """Of a process and of its children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return sum(int(f) for f in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def send(user, port, batches):
    client = user.on(port)
    for n in range(batches):
        events = [{"model": MODELS[i % 3], "input_tokens": 1000 + i, "output_tokens": 100, "project": f"p{i % 5}",
                   "idempotency_key": f"{n}-{i}"} for i in range(BATCH)]
        answer = client.batch(events)
        assert answer["accepted"] == BATCH, answer
    client.close()


def measure(n_servers, n_events):
    postgres = Postgres().start()
    settings = {"DATABASE_URL": postgres.create("bench"), "SECRET_KEY": new_secret(), "TRUST_PROXY": "127.0.0.1"}
    servers = [Server(**settings).start() for _ in range(n_servers)]
    with behind(servers) as port:
        users = [sign_up(port) for _ in range(USERS)]
        before = sum(cpu_seconds(s.process.pid) for s in servers)
        batches = n_events // USERS // BATCH
        threads = [threading.Thread(target=send, args=(user, port, batches)) for user in users]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begun
        servers_cpu = sum(cpu_seconds(s.process.pid) for s in servers) - before
    for server in servers:
        server.stop()
    database_cpu = cpu_seconds(postgres.process.pid)  # its backends have ended
    database = connect(settings["DATABASE_URL"])
    assert query(database, "SELECT count(*) FROM events") == [(batches * USERS * BATCH,)], "an event is missing or twice"
    assert_rollups_equal_events(database)
    database.close()
    postgres.stop()
    return batches * USERS * BATCH, seconds, servers_cpu, database_cpu


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", default="1,3")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    try:
        for _ in range(args.rounds):
            for n in map(int, args.servers.split(",")):
                events, seconds, servers_cpu, database_cpu = measure(n, args.events)
                print(f"{n} servers: {events / seconds:.0f} events/s, {servers_cpu / events * 1e6:.1f} us of the servers and "
                      f"{database_cpu / events * 1e6:.1f} us of PostgreSQL an event; all counted once, every sum right", flush=True)
    finally:
        end_all()


if __name__ == "__main__":
    main()
