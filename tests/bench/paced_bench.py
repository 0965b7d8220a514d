#!/usr/bin/python3
"""How late durable track calls are at a fixed rate while summaries are asked for, on the disk and in memory, in one run.

usage: tests/bench/paced_bench.py [--build build/release] [--rate 1000] [--seconds 10] [--rounds 3] [--data /dev/shm]

The same server and its private PostgreSQL run twice, with their data on the disk and in a folder of memory (--data), in turn. 64
connections send --rate calls a second; latency counts from the moment a call was due (loadgen.c). Meanwhile nobody, 100 a second, or two
clients without a pause ask for a summary of 30 days. Beside the disk's rows stands what the disk itself does in that time: a file of its own,
8 KiB written and fdatasync'ed every 10 ms; what is late there cannot be in time in the server. Needs gcc and libmicrohttpd-dev.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time

from http_bench import BODY, ROOT, call, free_port, wait_for

READERS = (("nobody", 0, 0), ("100 a second", 1, 0.01), ("two, all the time", 2, 0))


class Disk(threading.Thread):
    """Writes and syncs a file of its own; late: the times of fdatasync, in ms."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.fd = os.open(os.path.join(folder, "control"), os.O_CREAT | os.O_WRONLY)
        self.stopping, self.late = threading.Event(), []
        os.write(self.fd, b"x" * 8192 * 64)
        os.fdatasync(self.fd)

    def run(self):
        n = 0
        while not self.stopping.wait(0.01):
            os.pwrite(self.fd, b"y" * 8192, n % 64 * 8192)
            begun = time.monotonic()
            os.fdatasync(self.fd)
            self.late.append((time.monotonic() - begun) * 1000)
            n += 1

    def end(self):
        self.stopping.set()
        self.join()
        os.close(self.fd)
        return sorted(self.late)


class Reader(threading.Thread):
    def __init__(self, port, token, pause):
        super().__init__(daemon=True)
        self.port, self.token, self.pause = port, token, pause
        self.stopping, self.asked = threading.Event(), 0

    def run(self):
        while not self.stopping.is_set():
            call(self.port, "GET", "/api/costs/summary?days=30", token=self.token)
            self.asked += 1
            self.stopping.wait(self.pause)


class Started:
    def __init__(self, build, folder):
        self.folder = tempfile.mkdtemp(prefix="llmlab-bench-", dir=folder)
        os.chmod(self.folder, 0o755)
        self.port = free_port()
        env = dict(os.environ, PORT=str(self.port), HOST="127.0.0.1", LLMLAB_DATA_DIR=f"{self.folder}/data", LOG_FORMAT="json", RATE_LIMITS="off")
        with open(f"{self.folder}/server.log", "wb") as log:
            self.process = subprocess.Popen([f"{build}/llmlab", "serve"], env=env, stdout=log, stderr=log)
        wait_for(self.port)
        self.token = call(self.port, "POST", "/api/auth/signup", {"email": "bench@example.com", "password": "bench-Kx93-vault", "name": "Bench"})["access_token"]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        subprocess.run(["rm", "-rf", self.folder], check=True)


def one(server, loadgen, readers, pause, args):
    threads = [Reader(server.port, server.token, pause) for _ in range(readers)]
    disk = Disk(server.folder)
    for t in (disk, *threads):
        t.start()
    paced = json.loads(subprocess.run([loadgen, str(server.port), "64", str(args.rate), str(args.seconds), "/api/events/track", server.token, BODY],
                                      capture_output=True, text=True, check=True).stdout)
    late = disk.end()
    for t in threads:
        t.stopping.set()
        t.join()
    if set(paced["statuses"]) != {"201"} or paced["errors"]:
        raise SystemExit(f"not all were recorded: {paced}")
    return {"p50": paced["p50_us"] / 1000, "p99": paced["p99_us"] / 1000, "max": paced["max_us"] / 1000, "asked": sum(t.asked for t in threads) / args.seconds,
            "disk99": late[int(len(late) * 0.99)], "diskmax": late[-1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", default="/dev/shm", help="a folder in memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmlab-bench-") as work:
        loadgen = f"{work}/loadgen"
        subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", loadgen, str(ROOT / "tests/bench/loadgen.c"), "-lmicrohttpd", "-lpthread"], check=True)
        servers = []
        try:
            for place, folder in (("disk", None), ("memory", args.data)):
                servers.append((place, Started(args.build, folder)))
            rows = {}
            for _ in range(args.rounds):
                for name, readers, pause in READERS:
                    for place, server in servers:
                        rows.setdefault((place, name), []).append(one(server, loadgen, readers, pause, args))
        finally:
            for _, server in servers:
                server.end()
    print(f"{args.rate} calls/s for {args.seconds} s, medians of {args.rounds} rounds (p99: smallest..largest); ms")
    print(f"{'data':>7} {'summaries':>18} {'a second':>8} {'p50':>7} {'p99':>7} {'min..max':>17} {'worst':>8} {'fdatasync p99':>13} {'worst':>8}")
    for (place, name), runs in rows.items():
        p99 = sorted(r["p99"] for r in runs)
        print(f"{place:>7} {name:>18} {statistics.median(r['asked'] for r in runs):>8.0f} {statistics.median(r['p50'] for r in runs):>7.2f} "
              f"{statistics.median(p99):>7.2f} {p99[0]:>8.2f}..{p99[-1]:<7.2f} {max(r['max'] for r in runs):>8.1f} "
              f"{statistics.median(r['disk99'] for r in runs):>13.2f} {max(r['diskmax'] for r in runs):>8.1f}")


if __name__ == "__main__":
    main()
