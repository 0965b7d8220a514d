#!/usr/bin/python3
"""Single durable track calls beside a bare loop that answers a constant, in one run.

usage: tests/bench/http_bench.py [--build build/release] [--seconds 5] [--rounds 3]

Both servers run all the time; in each round and for each number of connections they are loaded in turn, so that a change
of the machine's speed meets both. What counts is the ratio of a pair; the median over the rounds is printed. Load comes from
wrk (Debian package) and, for latency at a fixed rate, from loadgen.c, which measures from the moment a request was due.
The generator, the server and PostgreSQL share the machine's cores.
"""
import argparse
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BODY = '{"provider":"openai","model":"gpt-4","input_tokens":1000,"output_tokens":500}'
WRK = """
wrk.method = "POST"
wrk.path = "/api/events/track"
wrk.body = '%s'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, path="/api/health/ready"):
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).read()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the server did not become ready")


def call(port, method, path, body=None, token=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method,
                                     data=json.dumps(body).encode() if body is not None else None)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def wrk(port, connections, seconds, script):
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s", "-s", script,
                          f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
    p99_ms = float(p99.group(1)) * {"us": 0.001, "ms": 1, "s": 1000}[p99.group(2)]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    errors = re.search(r"Socket errors: (.*)", out)
    return rate, p99_ms, int(bad.group(1)) if bad else 0, errors.group(1) if errors else ""


def rss_kib(pid):
    for line in open(f"/proc/{pid}/status", encoding="ascii"):
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def idle_memory(port, pid, count=1000):
    held = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(b"GET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        held.append(s)
    for s in held:
        s.recv(4096)
    kib = rss_kib(pid)
    for s in held:
        s.close()
    return kib


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loops", type=int, default=1, help="of the bare loop")
    parser.add_argument("--warmup", type=int, default=5, help="seconds")
    args = parser.parse_args()
    work = tempfile.mkdtemp(prefix="llmlab-bench-")
    os.chmod(work, 0o755)
    for name in ("bare_loop", "loadgen"):
        subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", f"{work}/{name}", str(ROOT / f"tests/bench/{name}.c"),
                        "-lmicrohttpd", "-lpthread"], check=True)
    port, bare_port = free_port(), free_port()
    bare = subprocess.Popen([f"{work}/bare_loop", str(bare_port), str(args.loops)])
    env = dict(os.environ, PORT=str(port), HOST="127.0.0.1", LLMLAB_DATA_DIR=f"{work}/data", LOG_FORMAT="json")
    log = open(f"{work}/server.log", "wb")
    server = subprocess.Popen([f"{args.build}/llmlab", "serve"], env=env, stdout=log, stderr=log)
    try:
        wait_for(port)
        token = call(port, "POST", "/api/auth/signup", {"email": "bench@example.com", "password": "bench-Kx93-vault", "name": "Bench"})["access_token"]
        pathlib.Path(f"{work}/track.lua").write_text(WRK % (BODY, token), encoding="ascii")
        idle_kib = idle_memory(port, server.pid)
        print(f"idle memory with 1,000 connections: {idle_kib / 1024:.1f} MiB (server process)")
        rows = {}
        wrk(port, 256, args.warmup, f"{work}/track.lua")
        for _ in range(args.rounds):
            for connections in (32, 256, 1024):
                b = wrk(bare_port, connections, args.seconds, f"{work}/track.lua")
                s = wrk(port, connections, args.seconds, f"{work}/track.lua")
                rows.setdefault(connections, []).append((b, s))
        print(f"{'connections':>11} {'bare/s':>9} {'track/s':>9} {'ratio':>6} {'min..max':>11} {'p99 ms':>7} {'not 2xx':>7}")
        medians = {}
        for connections, pairs in rows.items():
            ratios = sorted(s[0] / b[0] for b, s in pairs)
            medians[connections] = statistics.median(s[0] for _, s in pairs)
            print(f"{connections:>11} {statistics.median(b[0] for b, _ in pairs):>9.0f} {medians[connections]:>9.0f} "
                  f"{statistics.median(ratios):>6.2f} {ratios[0]:>5.2f}..{ratios[-1]:<4.2f} "
                  f"{statistics.median(s[1] for _, s in pairs):>7.1f} {sum(s[2] for _, s in pairs):>7}"
                  + "".join(f"  {s[3]}" for _, s in pairs if s[3]))
        print(f"1,024 connections against 256: {medians[1024] / medians[256]:.2f}")
        paced = json.loads(subprocess.run([f"{work}/loadgen", str(port), "64", "1000", "10", "/api/events/track", token, BODY],
                                          capture_output=True, text=True, check=True).stdout)
        print(f"at 1,000 requests/s: p50 {paced['p50_us'] / 1000:.2f} ms, p99 {paced['p99_us'] / 1000:.2f} ms, "
              f"max {paced['max_us'] / 1000:.2f} ms, statuses {paced['statuses']}, errors {paced['errors']}")
        print(f"memory after the load: {rss_kib(server.pid) / 1024:.1f} MiB")
        summary = call(port, "GET", "/api/costs/summary?days=1", token=token)
        print(f"events stored: {summary['call_count']}")
    finally:
        bare.kill()
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
        subprocess.run(["rm", "-rf", work], check=True)


if __name__ == "__main__":
    main()
