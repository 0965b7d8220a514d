"""The items about load: A1 and A3 to A9 of docs/reliability.md. Each is a function that overloads something and notes what it saw."""
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

from durability import at_once, go_on
from ledger import Judgement, descriptors, judge, percentile, rss_kb
from llmlab_client import PASSWORD, Client, Raw, sign_up
from llmlab_server import ROOT, new_secret, processes_in, wait_for

AT = "2026-06-10T12:00:00Z"


def server_with(run, name, **settings):
    server = run.server(DATABASE_URL=run.postgres().create(name), SECRET_KEY=new_secret(), LOG_LEVEL="warn", **settings)
    server.expect_errors = True
    server.start()
    return server


def metric(server, name):
    text = http_get(server.port, "/metrics")
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(re.escape(name) + r"[ {]", line))


def http_get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    body = connection.getresponse().read().decode()
    connection.close()
    return body


def settled(look, times=20):
    """The figure once it has been the same so many times one after the other: what was about to end has ended."""
    seen = []

    def stays():
        seen.append(look())
        return len(seen) >= times and len(set(seen[-times:])) == 1

    wait_for(stays, "a figure that stays")
    return seen[-1]


def during(load, seconds):
    """Lets it run for so long; returns (acknowledged events, latencies, refusals) of that time."""
    load.read()
    acked, answered, refused = len(load.acked), len(load.latencies), len(load.refused)
    time.sleep(seconds)
    load.read()
    return len(load.acked) - acked, load.latencies[answered:], load.refused[refused:]


# ---- A1: SIGTERM ----

def half_sent(port, token):
    """A request of which half the body is there."""
    body = json.dumps({"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500, "timestamp": AT}).encode()
    one = Raw(port)
    one.send((f"POST /api/events/track HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
              f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body[:20])
    return one, body[20:]


def a1(run):
    server = server_with(run, "a1")
    server.settings["PORT"] = server.port
    token = sign_up(server.port).token
    load = run.load(server.port, token, connections=64, rate=int(run.pick(300, 2000)))
    drains, slow_answers, codes = [], [], set()
    ends = run.pick(3, 20)
    for _ in range(ends):
        load.go_on(run.pick(200, 2000))
        slow = [half_sent(server.port, token) for _ in range(8)]
        idle = [Raw(server.port) for _ in range(8)]
        wait_for(lambda: metric(server, "llmlab_http_connections") >= 64 + 16, "the connections to be taken")
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for one, rest in slow:
            one.send(rest)
            try:
                slow_answers.append(one.read_answer("POST").status)
            except (OSError, AssertionError) as e:
                slow_answers.append(repr(e)[:60])
        codes.add(server._ended())
        drains.append(time.monotonic() - begin)
        server.check_log()
        for one in [s for s, _ in slow] + idle:
            one.socket.close()
        server.start()
    load.go_on(run.pick(100, 1000))
    load.stop()
    cut = len(load.unknown)
    run.note("A1", "no request that was begun is cut", f"{ends} times SIGTERM at {int(run.pick(300, 2000))} requests/s over 64 kept connections",
             f"{len(load.acked)} acknowledged, {len(load.refused)} refused {sorted({r[2] for r in load.refused})}, {cut} without an answer", cut == 0)
    run.note("A1", "half-sent requests are answered", f"{len(slow_answers)} of them", f"answers {sorted(set(map(str, slow_answers)))}", set(slow_answers) <= {201, 503})
    run.note("A1", "drained within 5 s, exit code 0, no report of a sanitizer", f"{ends} ends", f"slowest {max(drains):.2f} s, exit codes {sorted(codes)}",
             codes == {0} and (max(drains) <= 5 or not run.long))
    with closing(server.database()) as database:
        _, faults, _ = judge(database, server.port, token, [load])
    run.note("A1", "nothing lost or doubled", "", faults or "0 lost, 0 doubled, drift 0", not faults)
    server.stop()


# ---- A3: overload ----

def a3(run):
    seconds = run.pick(3, 20)
    server = server_with(run, "a3", INGEST_QUEUE=str(int(run.pick(2000, 20000))))
    user = sign_up(server.port)
    batch = int(run.pick(50, 100))
    closed = run.load(server.port, user.token, connections=16, batch=batch)
    closed.go_on(500)
    peak = during(closed, seconds)[0] / seconds
    closed.stop()
    loads = [closed]

    def open_loop(times, connections):
        load = run.load(server.port, user.token, connections=connections, rate=max(1, int(times * peak / batch)), batch=batch)
        loads.append(load)
        load.go_on(1)
        acked, latencies, refused = during(load, seconds)
        largest = rss_kb(server.process.pid)
        load.stop()
        return acked / seconds, latencies, refused, largest

    base, base_latencies, _, _ = open_loop(0.8, 256)
    base_p99 = percentile(base_latencies, 0.99) / 1000
    run.note("A3", "the peak", f"closed loop, 16 connections, batches of {batch}; open loop at 0.8 of it", f"{peak:.0f} events/s; p99 {base_p99:.0f} ms at {base:.0f}/s", peak > 0)
    for times in (2, 5) if run.long else (3,):
        goodput, latencies, refused, largest = open_loop(times, 1000)
        accepted = percentile(latencies, 0.99) / 1000
        late = percentile([us for us, *_ in refused], 0.99) / 1000
        retries = [retry for *_, retry in refused]
        wanted = 0.9 if times == 2 else 0.8
        run.note("A3", f"at {times} times the peak: goodput {wanted * 100:.0f} % of it", f"1,000 connections, {seconds:.0f} s", f"{100 * goodput / peak:.0f} % ({goodput:.0f}/s)",
                 goodput >= wanted * peak or not run.long)
        run.note("A3", f"at {times} times: p99 of what is accepted no more than twice that at 0.8", "from the moment it was due", f"{accepted:.0f} ms, {accepted / max(base_p99, 0.1):.1f} times",
                 accepted <= 2 * base_p99 or not run.long)
        run.note("A3", f"at {times} times: the rest is 503 with Retry-After 1 to 30, p99 within 50 ms", f"{len(refused)} refusals",
                 f"p99 {late:.0f} ms, statuses {sorted({r[2] for r in refused})}, Retry-After {min(retries, default=0)} to {max(retries, default=0)}",
                 {r[2] for r in refused} <= {503} and all(1 <= r <= 30 for r in retries) and (late <= 50 or not run.long))
        run.note("A3", f"at {times} times: memory is bounded", "", f"RSS {largest // 1024} MiB", largest < 1024 * 1024)
    with closing(server.database()) as database:
        faults = Judgement(database, loads).faults()
    run.note("A3", "nothing lost or doubled", "", faults or "0 lost, 0 doubled, drift 0", not faults)
    server.stop()


# ---- A4: full queues ----

def flood(calls):
    """All at the same moment; the statuses, and the Retry-After of each 503."""
    results, lock = [], threading.Lock()
    begin = threading.Barrier(len(calls))

    def one(call):
        begin.wait()
        answer = call()
        with lock:
            results.append((answer.status, answer.header("Retry-After")))

    threads = [threading.Thread(target=one, args=(c,)) for c in calls]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def fills(run, server, what, name, calls, metric_name="llmlab_http_requests_refused_total", good=(200, 201, 503)):
    before = metric(server, metric_name)
    results = flood(calls)
    counted = metric(server, metric_name) - before
    refused = [r for r in results if r[0] == 503]
    run.note("A4", f"{what} is full: 503 with Retry-After, counted", f"{name}, {len(calls)} at once",
             f"statuses { {s: sum(r[0] == s for r in results) for s in sorted({r[0] for r in results})} }, {metric_name} +{counted:.0f}",
             refused and counted > 0 and all(int(r[1] or 0) >= 1 for r in refused) and {r[0] for r in results} <= set(good))


def a4(run):
    postgres = run.postgres()
    server = run.server(DATABASE_URL=postgres.create("a4"), SECRET_KEY=new_secret(), LOG_LEVEL="warn", EXECUTOR_THREADS="1", EXECUTOR_QUEUE="2",
                        PASSWORD_THREADS="1", PASSWORD_QUEUE="2", INGEST_QUEUE="10", BODY_MEMORY_MB="16", MAX_CONNECTIONS="200", EXPORT_THREADS="1")
    server.expect_errors = True
    server.start()
    user = sign_up(server.port)

    def frozen(call):
        pids = processes_in(postgres.pgdata)
        for pid in pids:
            postgres_signal(pid, signal.SIGSTOP)
        try:
            call()
        finally:
            for pid in pids:
                postgres_signal(pid, signal.SIGCONT)
        wait_for(server.is_ready, "readiness")
        wait_for(lambda: user.request("GET", "/api/costs/summary").status == 200, "reading again")

    def each(method, path, body=None, count=40):
        return [lambda c=Client(server.port, user.token, timeout=40): c.request(method, path, body) for _ in range(count)]

    frozen(lambda: fills(run, server, "the executors' queue", "EXECUTOR_QUEUE=2", each("GET", "/api/budgets")))
    event = {"model": "gpt-4", "input_tokens": 1, "timestamp": AT}
    frozen(lambda: fills(run, server, "the ingest queue", "INGEST_QUEUE=10", each("POST", "/api/events/track", event), "llmlab_ingest_refused_total"))
    login = {"email": user.email, "password": PASSWORD}
    fills(run, server, "the passwords' queue", "PASSWORD_QUEUE=2", each("POST", "/api/auth/login", login))
    bodies_held(run, server, user)
    connections_taken(run, server, user)
    server.stop()


def postgres_signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def bodies_held(run, server, user):
    """Bodies of 7 MiB that are sent but for their last byte stay in memory: BODY_MEMORY_MB=16 has room for two."""
    size = 7 << 20
    head = (f"POST /api/events/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {size}\r\n\r\n").encode()
    held, statuses = [], []
    for _ in range(4):
        one = Raw(server.port)
        held.append(one)
        try:
            one.send(head)
            one.send(b" " * (size - 1))
            one.socket.settimeout(1)
            statuses.append(one.read_answer("POST").status)
        except TimeoutError:
            statuses.append("waits")
        except (OSError, AssertionError):
            statuses.append("cut")  # the 503 may be lost with what was sent after it
    bytes_held = metric(server, "llmlab_http_body_bytes")
    for one in held:
        one.socket.close()
    wait_for(lambda: metric(server, "llmlab_http_body_bytes") < 1 << 20, "the bodies to go")
    run.note("A4", "bodies have a bound together", "BODY_MEMORY_MB=16, 4 bodies of 7 MiB but for a byte", f"{statuses}, {bytes_held / (1 << 20):.0f} MiB held",
             "waits" in statuses and set(statuses) <= {"waits", "cut", 503} and statuses != ["waits"] * 4 and bytes_held <= 16 << 20)
    assert user.request("POST", "/api/events/track", {"model": "gpt-4", "input_tokens": 1}).status == 201


def connections_taken(run, server, user):
    """Beyond MAX_CONNECTIONS connections wait; those that are there are served on."""
    assert user.request("GET", "/api/auth/me").status == 200
    before = settled(lambda: descriptors(server.process.pid))
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(400)]
    statuses = [user.request("GET", "/api/auth/me").status for _ in range(20)]
    most = descriptors(server.process.pid)
    for one in idle:
        one.close()
    wait_for(lambda: Client(server.port, timeout=5).request("GET", "/api/health/live").status == 200, "room")
    wait_for(lambda: descriptors(server.process.pid) <= before + 2, "descriptors to be closed")
    run.note("A4", "connections are bounded, those that are there go on", "MAX_CONNECTIONS=200, 400 idle ones", f"{most - before} descriptors more, answers {sorted(set(statuses))}",
             most - before <= 220 and set(statuses) == {200})


# ---- A5: memory ----

def a5(run):
    seconds = run.pick(12, 240)
    server = server_with(run, "a5")
    user = sign_up(server.port)
    loads = [run.load(server.port, user.token, connections=8, rate=200), run.load(server.port, user.token, connections=2, rate=5, batch=200, bad_every=31)]
    stop, attacking, statuses, hits = threading.Event(), threading.Event(), set(), []

    def reader():
        client = Client(server.port, user.token)
        while not stop.is_set():
            for path in ("/api/costs/summary", "/api/events/?limit=50", "/api/costs/forecast", "/api/recommendations/", "/api/events/export?format=csv&limit=10"):
                statuses.add(client.request("GET", path, check=False).status)
            time.sleep(0.05)

    bad = [b"{", b"[" * 60000, b'{"model":' + b'{"a":' * 15 + b"1" + b"}" * 16, b'{"model":"' + b"x" * 60000 + b'"}', b"\xff" * 1000,
           b'{"model":"gpt-4","input_tokens":1e400}', json.dumps({"events": [{}] * 9000}).encode()]

    def attacker():
        client = Client(server.port, user.token)
        while not stop.is_set():
            attacking.wait()
            for body in bad:
                path = "/api/events/batch" if body.startswith(b'{"events"') else "/api/events/track"
                try:
                    hits.append(client.request("POST", path, body, check=False).status)
                except (OSError, http.client.HTTPException):
                    hits.append("cut")
            try:
                with Raw(server.port) as one:
                    one.send(b"GET / HTTP/1.1\r\nX: " + b"y" * 40000)
            except OSError:
                pass
            Client(server.port, "not.a.token").request("GET", "/api/auth/me", check=False)

    threads = [threading.Thread(target=reader), threading.Thread(target=reader), threading.Thread(target=attacker)]
    for t in threads:
        t.start()
    begin, samples = time.monotonic(), []
    while time.monotonic() < begin + seconds:
        time.sleep(0.25)
        if time.monotonic() > begin + seconds * 2 / 3:
            attacking.set()
        samples.append((time.monotonic() - begin, rss_kb(server.process.pid)))
    stop.set()
    attacking.set()
    for t in threads:
        t.join()
    for load in loads:
        load.stop()
    early = percentile([kb for t, kb in samples if seconds / 6 < t < seconds / 3], 0.5)
    calm = percentile([kb for t, kb in samples if seconds / 2 < t < seconds * 2 / 3], 0.5)
    peak, last = max(kb for _, kb in samples), samples[-1][1]
    run.note("A5", "memory does not grow: within 5 %", f"{seconds:.0f} s of mixed load, the last third with {len(hits)} malformed requests",
             f"RSS after a sixth {early // 1024} MiB, before the attack {calm // 1024} MiB ({100 * calm / early - 100:+.1f} %), at the end {last // 1024} MiB, peak {peak // 1024} MiB",
             calm <= 1.05 * early or not run.long)
    run.note("A5", "attacks are refused, readers served", "", f"attack {sorted(set(map(str, hits)))}, readers {sorted(statuses)}",
             not {h for h in hits if h != "cut"} & {500, 502} and 500 not in statuses)
    with closing(server.database()) as database:
        faults = Judgement(database, loads).faults()
    run.note("A5", "nothing lost or doubled", "", faults or "0 lost, 0 doubled, drift 0", not faults)
    server.stop()


# ---- A6: slow clients ----

class Slow:
    """Attackers that send or read a byte a second: a third each in the header, the body, the answer."""

    def __init__(self, port, token, count):
        self.open, self.closed = {}, {"header": [], "body": [], "answer": []}
        for i in range(count):
            kind = ("header", "body", "answer")[i % 3]
            one = socket.socket()
            if kind == "answer":
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", port))
            auth = f"Host: x\r\nAuthorization: Bearer {token}\r\n"
            one.sendall({"header": "GET /api/auth/me HTTP/1.1\r\nX-Slow: ",
                         "body": f"POST /api/events/track HTTP/1.1\r\n{auth}Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n",
                         "answer": f"GET /api/openapi.json HTTP/1.1\r\n{auth}\r\n" * 20}[kind].encode())
            one.setblocking(False)
            self.open[one] = (kind, time.monotonic())
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.stopping.is_set() and self.open:
            for one, (kind, begun) in list(self.open.items()):
                try:
                    if kind == "answer":
                        gone = hung_up(one)  # not a byte is read: the answer waits in the server
                    else:
                        one.send(b"x" if kind == "header" else b" ")
                        try:
                            gone = one.recv(4096) == b""
                        except BlockingIOError:
                            gone = False
                except OSError:
                    gone = True
                if gone:
                    self.closed[kind].append(time.monotonic() - begun)
                    del self.open[one]
                    one.close()
            self.stopping.wait(1)

    def end(self):
        self.stopping.set()
        self.thread.join()
        for one in self.open:
            one.close()


def hung_up(one):
    poll = select.poll()
    poll.register(one, select.POLLRDHUP)
    return any(e & (select.POLLHUP | select.POLLERR | select.POLLRDHUP) for _, e in poll.poll(0))


def a6(run):
    limits = {"header": run.pick(2, 10), "body": run.pick(3, 30), "answer": run.pick(4, 60)}
    server = server_with(run, "a6", HEADER_TIMEOUT_SECONDS=int(limits["header"]), BODY_TIMEOUT_SECONDS=int(limits["body"]),
                         REQUEST_TIMEOUT_SECONDS=int(limits["answer"]), IDLE_TIMEOUT_SECONDS=int(limits["answer"]))
    user = sign_up(server.port)
    good = run.load(server.port, user.token, connections=16, rate=100)
    good.go_on(50)
    base = percentile(during(good, run.pick(2, 15))[1], 0.99) / 1000
    count = int(run.pick(150, 1000))
    slow = Slow(server.port, user.token, count)
    _, latencies, refused = during(good, max(limits.values()) + 4)
    # what the server still holds: a client that reads nothing is not told that it was cut
    held = metric(server, "llmlab_http_connections") - 16 - 1
    slow.end()
    good.stop()
    attacked = percentile(latencies, 0.99) / 1000
    worst = {k: max(v, default=0) for k, v in slow.closed.items()}
    run.note("A6", "each slow connection is closed by its deadline", f"{count} connections, a byte a second; limits {limits} s",
             ", ".join(f"{k}: {len(slow.closed[k])} closed, last after {worst[k]:.1f} s" for k in ("header", "body")) + f"; the server holds {held:.0f} of all",
             held <= 0 and (all(worst[k] <= limits[k] + 2.5 for k in ("header", "body")) or not run.long))
    run.note("A6", "good clients: p99 no more than doubled", f"{len(latencies)} requests meanwhile, {len(refused)} refused", f"{base:.1f} -> {attacked:.1f} ms",
             (attacked <= 2 * base or not run.long) and not refused and not good.unknown)
    server.stop()


# ---- A7: connections ----

def a7(run):
    count = int(run.pick(300, 5000))
    server = server_with(run, "a7", MAX_CONNECTIONS=str(count + 500), IDLE_TIMEOUT_SECONDS="600")
    user = sign_up(server.port)
    user.close()
    at_once(server, user.token)

    def connected():
        """Besides the one that asks."""
        return metric(server, "llmlab_http_connections") - 1

    def held():
        """Descriptors without connections to the database: threads connect when they first need one."""
        return descriptors(server.process.pid) - metric(server, "llmlab_db_connections")

    wait_for(lambda: connected() <= 0, "the connections so far to be closed")
    before, rss = settled(held), rss_kb(server.process.pid)
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
    wait_for(lambda: connected() >= count, "the connections to be taken")
    with_idle = rss_kb(server.process.pid)
    status = user.request("GET", "/api/auth/me").status
    user.close()
    run.note("A7", "idle connections cost little: RSS within 64 MiB", f"{count} idle", f"+{(with_idle - rss) / 1024:.1f} MiB ({(with_idle - rss) * 1024 / count:.0f} bytes each), answer {status}",
             with_idle - rss <= 64 * 1024 and status == 200)
    for one in idle:
        one.close()
    wait_for(lambda: held() <= before, "descriptors to be closed")
    good = run.load(server.port, user.token, connections=4, rate=50)
    good.go_on(20)
    seconds, stop, made = run.pick(2, 20), threading.Event(), []

    def churn():
        n = 0
        while not stop.is_set():
            socket.create_connection(("127.0.0.1", server.port)).close()
            n += 1
        made.append(n)

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for t in threads:
        t.start()
    _, latencies, refused = during(good, seconds)
    stop.set()
    for t in threads:
        t.join()
    good.stop()
    wait_for(lambda: held() <= before, "descriptors to be closed")
    run.note("A7", "connecting and closing leaks no descriptor, others are served", f"{sum(made) / seconds:.0f} connections/s for {seconds:.0f} s",
             f"descriptors {before:.0f} -> {held():.0f}; {len(latencies)} good requests, {len(refused)} refused, {len(good.unknown)} cut",
             not refused and not good.unknown and latencies)
    server.stop()


# ---- A8: logins ----

def a8(run):
    done = subprocess.run([sys.executable, str(ROOT / "tests/bench/bench_login.py"), "--bin", os.environ["LLMLAB_BIN"], "--logins", "10", "--seconds",
                           str(int(run.pick(3, 10))), "--rounds", str(int(run.pick(1, 5)))], stdout=subprocess.PIPE, text=True, check=True)
    ratio, control = map(float, re.search(r"ratio: median ([0-9.]+), control ([0-9.]+)", done.stdout).groups())
    rounds = [line for line in done.stdout.splitlines() if line.startswith("round")]
    run.note("A8", "recording keeps 70 % of its rate in a flood of logins", f"{len(rounds)} rounds, 400 logins/s", f"median {ratio * 100:.0f} %, beside a flood of 404 {control * 100:.0f} %; {rounds[-1]}", ratio >= 0.7 or not run.long)


# ---- A9: fairness ----

def a9(run):
    quota = 200
    server = server_with(run, "a9", RATE_LIMITS="on", RATE_INGEST_PER_SECOND=str(quota))
    seconds = run.pick(3, 15)
    a, b = sign_up(server.port), sign_up(server.port)
    # what is due while the disk stalls is sent all at once after it, and must still be within B's own quota
    tame = run.load(server.port, b.token, connections=16, rate=int(quota * 0.4))
    tame.go_on(100)
    alone, before, _ = during(tame, seconds)
    wild = run.load(server.port, a.token, connections=256, rate=quota * 20)
    wild.go_on(1)
    wild.read()
    refused_before = len(wild.refused)
    both, after, refused = during(tame, seconds)
    wild.read()
    rate = (len(wild.refused) - refused_before) / seconds
    for load in (wild, tame):
        load.stop()
    statuses = sorted({r[2] for r in wild.refused})
    run.note("A9", "another tenant at 20 times its quota: no more than 5 % fewer events, no error", f"quota {quota}/s; A gets {rate:.0f} refusals/s {statuses}",
             f"B {alone / seconds:.0f}/s -> {both / seconds:.0f}/s ({100 * both / alone:.1f} %), p99 {percentile(before, .99) / 1000:.1f} -> {percentile(after, .99) / 1000:.1f} ms, "
             f"{len(refused) + len(tame.unknown)} errors {sorted({r[2] for r in tame.refused})}", (both >= 0.95 * alone or not run.long) and not tame.refused and not tame.unknown and statuses == [429])
    server.stop()
    full_queue(run)


def full_queue(run):
    """Without a quota: A holds the queue full with batches, B tracks single events."""
    seconds = run.pick(3, 15)
    server = server_with(run, "a9queue", INGEST_QUEUE="2000")
    a, b = sign_up(server.port), sign_up(server.port)
    tame = run.load(server.port, b.token, connections=256, rate=100)  # so many that its own connections are not what it waits for
    tame.go_on(50)
    alone, before, _ = during(tame, seconds)
    wild = run.load(server.port, a.token, connections=64, batch=200)
    go_on([wild], 1)
    both, after, refused = during(tame, seconds)
    for load in (wild, tame):
        load.stop()
    share = 100 * both / alone
    run.note("A9", "another tenant fills the queue: no error, no more than 5 % fewer events", f"INGEST_QUEUE=2000, A: 64 connections with batches of 200, {len(wild.refused)} refused",
             f"B {alone / seconds:.0f}/s -> {both / seconds:.0f}/s ({share:.1f} %), p99 {percentile(before, .99) / 1000:.1f} -> {percentile(after, .99) / 1000:.1f} ms, {len(refused)} refused",
             not tame.refused and not tame.unknown and (share >= 95 or not run.long))
    with closing(server.database()) as database:
        faults = Judgement(database, [wild, tame]).faults()
    run.note("A9", "nothing lost or doubled", "", faults or "0 lost, 0 doubled, drift 0", not faults)
    server.stop()


ITEMS = {"A1": a1, "A3": a3, "A4": a4, "A5": a5, "A6": a6, "A7": a7, "A8": a8, "A9": a9}
