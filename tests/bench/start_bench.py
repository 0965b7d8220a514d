#!/usr/bin/python3
"""How long from the start of the process to its first healthy answer, and how much memory it takes then and under load.

usage: tests/bench/start_bench.py [--bin build/release/llmlab] [--rounds 7]

Three starts: with a database that is ready (DATABASE_URL), with a private PostgreSQL that has to be made, and with one that is
there. Healthy is 200 from /api/health/ready, asked every 2 ms. Medians; the clients share the machine's cores. Memory is the
proportional share (PSS) of the server's process alone, PostgreSQL not counted.
"""
import argparse
import http.client
import os
import re
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from llmlab_client import Client, sign_up  # noqa: E402
from llmlab_server import Postgres, Server, end_all, new_secret  # noqa: E402

CLIENTS = 16


def healthy(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/api/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def start(server):
    """Milliseconds from spawn to healthy."""
    begin = time.monotonic()
    server.port = None
    server.spawn()
    while server.port is None or not healthy(server.port):
        if not server.running():
            sys.exit(f"ended by itself:\n{server.log[-2000:]}")
        time.sleep(0.002)
    return (time.monotonic() - begin) * 1000


def memory(server):
    """MiB."""
    text = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)[1]) / 1024


def load(server, seconds=5.0):
    """Batches and single calls from some clients for a while; the memory at the end of it."""
    user = sign_up(server.port)
    until = time.monotonic() + seconds

    def work():
        client = Client(server.port, user.token)
        while time.monotonic() < until:
            client.batch([{"model": "gpt-4", "input_tokens": i, "customer": f"c{i}"} for i in range(500)])
            client.track(model="gpt-4", input_tokens=1)
        client.close()

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return memory(server)


def told(name, values):
    print(f"{name:<46} {statistics.median(values):8.0f} ms   ({min(values):.0f} to {max(values):.0f})")


def bench(rounds):
    postgres = Postgres().start()
    ready = Server(DATABASE_URL=postgres.create("bench"), SECRET_KEY=new_secret())
    first = start(ready)  # makes the schema
    ready.stop()
    times = []
    for _ in range(rounds):
        times.append(start(ready))
        idle = memory(ready)
        ready.stop()
    made, there = [], []
    for _ in range(min(rounds, 3)):
        private = Server()
        made.append(start(private))
        private.stop()
        there.append(start(private))
        private.stop()
    told("database ready", times)
    told("database ready, schema to be made", [first])
    told("private PostgreSQL, to be made", made)
    told("private PostgreSQL, there", there)
    start(ready)
    busy = load(ready)
    time.sleep(1)
    print(f"memory: idle {idle:.1f} MiB, at the end of {CLIENTS} clients' batches {busy:.1f} MiB, a second later {memory(ready):.1f} MiB")
    ready.stop()
    postgres.stop()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--bin", default="build/release/llmlab")
    arguments.add_argument("--rounds", type=int, default=7)
    chosen = arguments.parse_args()
    os.environ["LLMLAB_BIN"] = chosen.bin
    try:
        bench(chosen.rounds)
    finally:
        end_all()


if __name__ == "__main__":
    main()
