#!/usr/bin/python3
"""Recording events beside what the machine and PostgreSQL give at best, in one run, in an empty database and in a full one.

usage: tests/bench/ingest_bench.py [--build build/release] [--seconds 5] [--rounds 3] [--fill 0,100000,10000000]

For each number of stored events (filled in by SQL; --fill) the pairs are loaded in turn: the bare loop, single track calls (256
connections), batches of 1,000 (8 connections), single-row INSERTs by pgbench into the same table (best of 8 and 32 clients, prepared), and raw binary COPY
of rows like the server's into the same table and its index. Everything shares the machine's cores. Needs wrk and pgbench.
"""
import argparse
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import psycopg2

from http_bench import BODY, ROOT, WRK, call, free_port, rss_kib, wait_for, wrk

BATCH = 1000
COPY_ROWS = 200_000


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return ticks / os.sysconf("SC_CLK_TCK")


def children_of(pid):
    return [int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit()
            and (p / "stat").exists() and (p / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[1] == str(pid)]


class Bench:
    def __init__(self, args, work, port, bare_port, server):
        self.args, self.work, self.port, self.bare_port, self.server = args, work, port, bare_port, server
        self.dsn = f"host={work}/data/run port=5432 user=llmlab dbname=postgres"
        self.db = psycopg2.connect(self.dsn)
        self.db.autocommit = True
        account = {"email": "bench@example.com", "password": "bench-Kx93-vault", "name": "Bench"}
        self.token = call(port, "POST", "/api/auth/signup", account)["access_token"]
        self.write_scripts()

    def sql(self, text, *parameters):
        with self.db.cursor() as cursor:
            cursor.execute(text, parameters)
            return cursor.fetchall() if cursor.description else None

    def write_scripts(self):
        (self.work / "track.lua").write_text(WRK % (BODY, self.token), encoding="ascii")
        batch = '{"events":[' + ",".join([BODY] * BATCH) + "]}"
        (self.work / "batch.lua").write_text((WRK % (batch, self.token)).replace("/track", "/batch"), encoding="ascii")

    def prepare_rows(self):
        """A row like the server's as a template, what pgbench runs, and the file for COPY."""
        call(self.port, "POST", "/api/events/track", json.loads(BODY), self.token)
        self.sql("DROP TABLE IF EXISTS sample; CREATE TABLE sample AS SELECT * FROM events LIMIT 1")
        columns = [name for (name,) in self.sql("SELECT attname FROM pg_attribute WHERE attrelid = 'sample'::regclass AND attnum > 0")]
        fresh = ", ".join({"id": "gen_random_uuid()", "occurred_at": "now()"}.get(c, c) for c in columns)
        (self.work / "insert.sql").write_text(f"INSERT INTO events SELECT {fresh} FROM sample;\n", encoding="ascii")
        spread = ", ".join({"id": "gen_random_uuid()", "occurred_at": "'2016-02-01Z'::timestamptz + g * interval '1 second'"}.get(c, c)
                           for c in columns)
        self.spread = spread
        self.sql("SELECT events_ensure_partition('2016-02-01Z')")
        out = self.work / "rows.bin"
        copy = f"\\copy (SELECT {spread} FROM sample, generate_series(1, {COPY_ROWS}) AS g) TO '{out}' (FORMAT binary)"
        subprocess.run(["psql", "-qX", self.dsn, "-c", copy], check=True)

    def fill(self, rows):
        have = self.sql("SELECT count(*) FROM events")[0][0]
        for first in range(have, rows, 1_000_000):
            n = min(1_000_000, rows - first)
            back = self.spread.replace("'2016-02-01Z'::timestamptz + g * interval '1 second'", "now() - (%s + g) * interval '100 milliseconds'")
            self.sql(f"SELECT events_ensure_partition(now() - (%s + g * 100000) * interval '100 milliseconds') FROM generate_series(0, 10) AS g", first)
            self.sql(f"INSERT INTO events SELECT {back} FROM sample, generate_series(1, %s) AS g", first, n)
        self.sql("VACUUM ANALYZE events")

    def pgbench(self, clients):
        out = subprocess.run(["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(self.args.seconds), "-f",
                              str(self.work / "insert.sql"), self.dsn], capture_output=True, text=True, check=True).stdout
        return float(re.search(r"tps = ([\d.]+)", out).group(1))

    def copy(self):
        began = time.monotonic()
        subprocess.run(["psql", "-qX", self.dsn, "-c", f"\\copy events FROM '{self.work}/rows.bin' (FORMAT binary)"], check=True)
        took = time.monotonic() - began
        self.sql("TRUNCATE events_2016_02")  # a month of its own, so that the same rows can come again
        return COPY_ROWS / took

    def round(self):
        seconds = self.args.seconds
        backends = children_of(int((self.work / "data/postgres/postmaster.pid").read_text(encoding="ascii").split()[0]))
        bare = wrk(self.bare_port, 256, seconds, self.work / "track.lua")
        before = cpu_seconds([self.server.pid]), cpu_seconds(backends)
        track = wrk(self.port, 256, seconds, self.work / "track.lua")
        after = cpu_seconds([self.server.pid]), cpu_seconds(backends)
        batch = wrk(self.port, 8, seconds, self.work / "batch.lua")
        single = max(self.pgbench(8), self.pgbench(32))
        refused = track[2] + batch[2]
        events = track[0] * seconds
        return {"bare": bare[0], "track": track[0], "p99": track[1], "batch": batch[0] * BATCH, "pgbench": single, "copy": self.copy(),
                "refused": refused, "server_us": (after[0] - before[0]) / events * 1e6, "pg_us": (after[1] - before[1]) / events * 1e6}


def median(rounds, name):
    return statistics.median(r[name] for r in rounds)


def ratio(rounds, a, b):
    values = sorted(r[a] / r[b] for r in rounds)
    return f"{statistics.median(values):.2f} ({values[0]:.2f}..{values[-1]:.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fill", default="0,100000,10000000", help="numbers of stored events, ascending")
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="llmlab-bench-"))
    work.chmod(0o755)
    subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", f"{work}/bare_loop", str(ROOT / "tests/bench/bare_loop.c"),
                    "-lmicrohttpd", "-lpthread"], check=True)
    port, bare_port = free_port(), free_port()
    bare = subprocess.Popen([f"{work}/bare_loop", str(bare_port), "1"])
    env = dict(os.environ, PORT=str(port), HOST="127.0.0.1", LLMLAB_DATA_DIR=f"{work}/data", LOG_FORMAT="json", RATE_LIMITS="off")
    with open(work / "server.log", "wb") as log:
        server = subprocess.Popen([f"{args.build}/llmlab", "serve"], env=env, stdout=log, stderr=log)
    try:
        wait_for(port)
        bench = Bench(args, work, port, bare_port, server)
        bench.prepare_rows()
        wrk(port, 256, args.seconds, work / "track.lua")
        first = None
        print(f"{'stored':>10} {'bare/s':>7} {'track/s':>7} {'of bare':>17} {'of pgbench':>19} {'p99 ms':>6} {'batch/s':>7} {'of COPY':>17} "
              f"{'us/event server, PostgreSQL':>27} {'refused':>7}")
        for rows in [int(n) for n in args.fill.split(",")]:
            bench.fill(rows)
            rounds = [bench.round() for _ in range(args.rounds)]
            first = first or rounds
            print(f"{rows:>10} {median(rounds, 'bare'):>7.0f} {median(rounds, 'track'):>7.0f} {ratio(rounds, 'track', 'bare'):>17} "
                  f"{ratio(rounds, 'track', 'pgbench'):>19} {median(rounds, 'p99'):>6.1f} {median(rounds, 'batch'):>7.0f} {ratio(rounds, 'batch', 'copy'):>17} "
                  f"{median(rounds, 'server_us'):>14.1f} {median(rounds, 'pg_us'):>12.1f} {sum(r['refused'] for r in rounds):>7}", flush=True)
            print(f"{'':>10} beside the first line: track {median(rounds, 'track') / median(first, 'track'):.2f}, batch "
                  f"{median(rounds, 'batch') / median(first, 'batch'):.2f}, memory {rss_kib(server.pid) / 1024:.0f} MiB", flush=True)
    finally:
        bare.kill()
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=120)
        subprocess.run(["rm", "-rf", work], check=True)


if __name__ == "__main__":
    sys.exit(main())
