#!/usr/bin/python3
"""Logins: whether an unknown account can be told from a known one by time, and what a flood of logins does to recording events.

usage: tests/bench/bench_login.py [--bin build/release/llmlab] [--logins 300] [--seconds 10] [--rounds 3]

Part 1: logins with an unknown e-mail and with a known one and a wrong password, in turn, one at a time. Printed: both medians, their difference, and
the rank AUC (the chance that a random one of the one kind took longer than one of the other: 0.5 says that nothing can be told).
Part 2: events are tracked by 64 connections as fast as they are answered (loadgen.c), in turn without and with a flood of logins that is ten times what
argon2 gets done; the ratio of the events answered 201 in the same round. Waits after failures are off, so that every login costs its hash. The control is
the same flood at a path that does not exist (404 before the body is looked at): what generator and connections take by themselves.
Generator, server and PostgreSQL share the machine's cores.
"""
import argparse
import http.client
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

ROOT = pathlib.Path(__file__).resolve().parents[2]
PASSWORD = "a long password for measuring"
FLOOD_PER_SECOND = 400  # ten times what two cores hash
EVENT = json.dumps({"provider": "openai", "model": "gpt-4", "input_tokens": 1000, "output_tokens": 500})


class Server:
    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory(prefix="llmlab-bench-")
        os.chmod(self.folder.name, 0o755)
        env = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": "0", "RATE_LIMITS": "off", "LOG_LEVEL": "error",
               "LLMLAB_DATA_DIR": self.folder.name + "/data"}
        self.process = subprocess.Popen([program], env=env, cwd=self.folder.name, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            found = re.search(r"http://[^ ]*:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        else:
            sys.exit("the server did not start")
        while call(http.client.HTTPConnection("127.0.0.1", self.port), "GET", "/api/health/ready")[0] != 200:
            time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.folder.cleanup()


def call(connection, method, path, body=None, token=None):
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def sign_up(port, email):
    status, body = call(http.client.HTTPConnection("127.0.0.1", port), "POST", "/api/auth/signup",
                        json.dumps({"email": email, "password": PASSWORD, "name": "x"}))
    assert status == 201, body
    return json.loads(body)["access_token"]


def rank_auc(a, b):
    return sum((x > y) + (x == y) / 2 for x in a for y in b) / (len(a) * len(b))


def tell_apart(port, logins):
    sign_up(port, "known@example.com")
    connection = http.client.HTTPConnection("127.0.0.1", port)
    times = {"known": [], "unknown": []}
    answers = set()
    for i in range(logins + 10):
        for kind in ("known", "unknown") if i % 2 == 0 else ("unknown", "known"):
            email = "known@example.com" if kind == "known" else f"nobody{i}@example.com"
            body = json.dumps({"email": email, "password": f"wrong password {i}"})
            begin = time.perf_counter()
            status, answer = call(connection, "POST", "/api/auth/login", body)
            took = time.perf_counter() - begin
            answers.add((status, re.sub(rb'"request_id":"[^"]*"', b"", answer)))
            if i >= 10:
                times[kind].append(took * 1000)
    assert len(answers) == 1, answers
    known, unknown = (statistics.median(times[k]) for k in ("known", "unknown"))
    print(f"{logins} logins each: known, wrong password {known:.2f} ms, unknown {unknown:.2f} ms (medians), difference "
          f"{abs(known - unknown):.2f} ms, rank AUC {rank_auc(times['known'], times['unknown']):.3f}")


def build_loadgen(folder):
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", f"{folder}/loadgen", str(ROOT / "tests/bench/loadgen.c")], check=True)
    return f"{folder}/loadgen"


def run_load(loadgen, port, token, seconds, flooded_path=None):
    """Answers a second by kind and status."""
    tasks = {"events": ["64", "0", str(seconds), "/api/events/track", token, EVENT]}
    if flooded_path:
        login = json.dumps({"email": "known@example.com", "password": "a wrong password"})
        tasks["flood"] = ["512", str(FLOOD_PER_SECOND), str(seconds), flooded_path, "none", login]
    running = {kind: subprocess.Popen([loadgen, str(port), *task], stdout=subprocess.PIPE, text=True) for kind, task in tasks.items()}
    answers = {kind: json.loads(process.communicate()[0]) for kind, process in running.items()}
    return {(kind, int(status)): n / seconds for kind, a in answers.items() for status, n in a["statuses"].items()}


def flooded(loadgen, port, seconds, rounds):
    token, ratios, controls = sign_up(port, "writer@example.com"), [], []
    kinds = {"alone": None, "control": "/api/auth/nothing", "logins": "/api/auth/login"}
    run_load(loadgen, port, token, 2)
    for i in range(rounds):
        order = list(kinds) if i % 2 == 0 else list(reversed(kinds))
        answers = {kind: run_load(loadgen, port, token, seconds, kinds[kind]) for kind in order}
        alone, control, both = (answers[kind].get(("events", 201), 0) for kind in kinds)
        logins, refused = answers["logins"].get(("flood", 401), 0), answers["logins"].get(("flood", 503), 0)
        other = {k: n for k, n in answers["logins"].items() if k[0] == "events" and k[1] != 201}
        ratios.append(both / alone)
        controls.append(control / alone)
        print(f"round {i + 1}: {alone:.0f} events/s alone, {both:.0f}/s in the flood ({logins:.0f} logins/s checked, {refused:.0f}/s "
              f"answered 503{', other answers ' + str(other) if other else ''}), {control:.0f}/s beside a flood of 404: "
              f"ratio {both / alone:.2f}, control {control / alone:.2f}")
    print(f"ratio: median {statistics.median(ratios):.2f}, control {statistics.median(controls):.2f} of {rounds} rounds")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(ROOT / "build/release/llmlab"))
    parser.add_argument("--logins", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    server = Server(str(pathlib.Path(options.bin).resolve()))
    try:
        tell_apart(server.port, options.logins)
        flooded(build_loadgen(server.folder.name), server.port, options.seconds, options.rounds)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
