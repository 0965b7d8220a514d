"""What was acknowledged stays and counts once, whatever dies in between.

Client processes keep a ledger: a line before each request is sent, a line when its answer is there. After the fault,
every acknowledged event must exist exactly once under the id that was told, everything that is unknown and has a key is
sent again, and the sums must be those of the events. Every seventh event has no key: nobody may double it, either.
"""
import json
import multiprocessing
import os
import signal
import threading
import time
from decimal import Decimal as D

import pytest

from llmlab_client import Client, Raw, sign_up
from llmlab_server import Postgres, assert_rollups_equal_events, new_secret, processes_in, query, wait_for

CLIENTS = 6
AT = "2026-06-10T12:00:00Z"


def event_of(worker, i):
    event = {"model": ("gpt-4", "gpt-4o", "gpt-4o-mini")[i % 3], "input_tokens": 1000 + i, "output_tokens": worker,
             "customer": f"w{worker}-{i}", "timestamp": AT, "project": f"p{i % 4}"}
    if i % 7 != 5:
        event["idempotency_key"] = event["customer"]
    return event


def client_process(worker, port, token, path, stop):
    """Sends singles and batches until told to stop; a failure of any kind makes the outcome unknown."""
    client = Client(port, token, timeout=20)
    i = 0
    with open(path, "a", buffering=1) as ledger:
        while not stop.is_set():
            size = 10 if i % 3 == 0 else 1
            numbers = list(range(i, i + size))
            i += size
            ledger.write(json.dumps({"sent": numbers}) + "\n")
            try:
                if size == 1:
                    answer = client.request("POST", "/api/events/track", event_of(worker, numbers[0]))
                    results = [answer.json["event_id"]] if answer.status in (200, 201) else []
                else:
                    answer = client.request("POST", "/api/events/batch", {"events": [event_of(worker, n) for n in numbers]})
                    results = [r.get("event_id") for r in answer.json["results"]] if answer.status == 200 else []
            except Exception:
                time.sleep(0.2)
                continue
            acked = {n: e for n, e in zip(numbers, results) if e}
            if acked:
                ledger.write(json.dumps({"acked": acked}) + "\n")
            else:
                ledger.write(json.dumps({"refused": answer.status}) + "\n")
                time.sleep(0.2)
    client.close()


class Load:
    """Client processes that write ledgers."""

    def __init__(self, folder, port, token):
        self.context = multiprocessing.get_context("spawn")
        self.stop_event = self.context.Event()
        self.paths = [folder / f"ledger-{w}" for w in range(CLIENTS)]
        self.processes = [self.context.Process(target=client_process, args=(w, port, token, str(self.paths[w]), self.stop_event))
                          for w in range(CLIENTS)]
        for process in self.processes:
            process.start()

    def stop(self):
        self.stop_event.set()
        for process in self.processes:
            process.join(60)
            assert process.exitcode == 0

    def acknowledged(self):
        return sum(line.count('"', line.index("{", 5)) // 4 for p in self.paths if p.exists()
                   for line in p.read_text().splitlines() if line.startswith('{"acked"'))

    def ledger(self):
        """({name: event}, {name: event_id of the acknowledged}, statuses of refusals)"""
        sent, acked, refused = {}, {}, []
        for worker, path in enumerate(self.paths):
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                for n in entry.get("sent", []):
                    sent[f"w{worker}-{n}"] = event_of(worker, n)
                for n, event_id in entry.get("acked", {}).items():
                    acked[f"w{worker}-{n}"] = event_id
                if "refused" in entry:
                    refused.append(entry["refused"])
        return sent, acked, refused


def stored_by_name(database):
    rows = query(database, "SELECT customer, id::text FROM events WHERE customer IS NOT NULL")
    assert len(rows) == len(dict(rows)), "an event is there twice"
    wrong = query(database, "SELECT k.key FROM event_keys k JOIN events e ON (e.user_id, e.occurred_at, e.id)"
                            " = (k.user_id, k.occurred_at, k.event_id) WHERE k.key <> e.customer")
    assert wrong == []
    return dict(rows)


def cost_of(event):
    fresh, output = {"gpt-4": (D(30), D(60)), "gpt-4o": (D("2.5"), D(10)), "gpt-4o-mini": (D("0.15"), D("0.6"))}[event["model"]]
    return (event["input_tokens"] * fresh + event["output_tokens"] * output) / 10 ** 6


def check(server, token, load):
    """After the fault: nothing acknowledged is lost, nothing counts twice, sums are exact."""
    sent, acked, _ = load.ledger()
    database = server.database()
    before = stored_by_name(database)
    lost = {k: e for k, e in acked.items() if before.get(k) != e}
    assert not lost, f"{len(lost)} acknowledged events are lost or changed, such as {list(lost.items())[:3]}"
    assert set(before) <= set(sent)
    assert_rollups_equal_events(database)
    # everything that is unknown, and some of what is known, is sent again, by several threads at once
    keyed = {k: e for k, e in sent.items() if "idempotency_key" in e}
    again = [e for k, e in keyed.items() if k not in acked] + [e for k, e in keyed.items() if k in acked][::10]
    failures = []

    def resend(part):
        client = Client(server.port, token)
        for i in range(0, len(part), 50):
            answer = client.batch(part[i:i + 50])
            if answer["rejected"]:
                failures.append([r for r in answer["results"] if "error" in r][0])
        client.close()

    threads = [threading.Thread(target=resend, args=(again[i % 4::4] + again[i::8],)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[0]
    after = stored_by_name(database)
    assert set(after) == set(keyed) | set(before) and all(after[k] == e for k, e in before.items())
    assert_rollups_equal_events(database)
    total, calls = query(database, "SELECT sum(cost), sum(calls) FROM usage_model_15m WHERE project <> ''")[0]
    assert (total, calls) == (sum((cost_of(sent[k]) for k in after), D(0)), len(after))
    database.close()


@pytest.fixture
def postgres_of_its_own(no_process_left):
    one = Postgres().start()
    yield one
    one.stop()


def test_kill_of_the_server_under_load_loses_and_doubles_nothing(own_server):
    server = own_server()
    server.start()
    token = sign_up(server.port).token
    port = server.port
    server.settings["PORT"] = port  # the clients go on at the same address
    load = Load(server.folder, port, token)
    try:
        for _ in range(3):
            seen = load.acknowledged()
            wait_for(lambda: load.acknowledged() > seen + 300, "some load")
            server.kill()
            begin = time.monotonic()
            server.start()
            assert time.monotonic() - begin < 20
    finally:
        load.stop()
    sent, acked, _ = load.ledger()
    assert len(acked) > 900 and len(sent) > len(acked), "the kills must have hit requests on their way"
    check(server, token, load)
    server.stop()


def test_postgres_killed_under_load_answers_503_and_recovers_alone(postgres_of_its_own, own_server):
    postgres = postgres_of_its_own
    server = own_server(DATABASE_URL=postgres.create("faults"), SECRET_KEY=new_secret(), REQUEST_TIMEOUT_SECONDS="5")
    server.expect_errors = True
    server.start()
    user = sign_up(server.port)
    load = Load(server.folder, server.port, user.token)
    try:
        for _ in range(2):
            seen = load.acknowledged()
            wait_for(lambda: load.acknowledged() > seen + 300, "some load")
            postgres.stop(immediate=True)
            answer = wait_for(lambda: unavailable(user), "the outage to be noticed")
            assert int(answer.header("Retry-After")) >= 1
            assert user.get("/api/costs/summary").status == 503
            assert user.get("/api/health").status == 503
            assert user.get("/api/health/live").status == 200
            wait_for(lambda: user.get("/api/health/ready").status == 503, "unreadiness")
            postgres.start()
            wait_for(server.is_ready, "recovery without a restart")
            wait_for(lambda: user.get("/api/costs/summary").status == 200, "reading again")
            wait_for(lambda: user.get("/api/health").status == 200, "health")
    finally:
        load.stop()
    _, _, refused = load.ledger()
    assert refused and set(refused) == {503}, set(refused)
    check(server, user.token, load)
    server.stop()


def unavailable(user):
    answer = user.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1, "idempotency_key": "probe", "timestamp": AT})
    return answer if answer.status == 503 else None


def test_sigterm_under_load_drops_no_request_that_was_begun(own_server):
    server = own_server()
    server.start()
    token = sign_up(server.port).token
    broken, answered = [], []
    begin = threading.Barrier(CLIENTS + 1)
    stop = threading.Event()

    def work(worker):
        client = Client(server.port, token)
        client.get("/api/auth/me")
        begin.wait()
        i = 0
        while not stop.is_set():
            i += 1
            try:
                answer = client.post("/api/events/track", event_of(worker, i))
            except ConnectionRefusedError:
                break  # nobody listens any more: nothing was begun
            except OSError as failure:
                broken.append((worker, i, failure))
                break
            answered.append((answer.status, f"w{worker}-{i}", answer.body))
            if answer.header("Connection") == "close":
                client.close()
        client.close()

    threads = [threading.Thread(target=work, args=(w,)) for w in range(CLIENTS)]
    for t in threads:
        t.start()
    begin.wait()
    wait_for(lambda: len(answered) > 300, "some load")
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    for t in threads:
        t.join(60)
    stop.set()
    assert server._ended() == 0
    assert time.monotonic() - started < 15
    server.check_log()
    # A kept connection that the server closes while the client begins to send is no request that was begun: at most one each, and
    # none of them may be stored.
    statuses = {s for s, _, _ in answered}
    assert statuses <= {201, 503}, statuses
    assert all(b"draining" in body for s, _, body in answered if s == 503)
    server.start()
    database = server.database()
    stored = stored_by_name(database)
    assert set(stored) == {key for s, key, _ in answered if s == 201}, "answered and stored are the same; broken: %s" % broken
    assert_rollups_equal_events(database)
    database.close()
    server.stop()
    assert not broken, broken


def test_sigterm_with_half_sent_and_idle_connections_ends_soon_and_cleanly(own_server):
    server = own_server()
    server.start()
    user = sign_up(server.port)
    body = json.dumps({"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500})
    head = (f"POST /api/events/track HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n")
    with Raw(server.port) as half, Raw(server.port) as idle, Raw(server.port) as silent:
        idle.send("GET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        idle.read_answer()
        half.send(head + body[:10])
        wait_for(lambda: connections(server) >= 3, "the connections to be taken")
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert idle.read_to_end() == b"" and silent.read_to_end() == b""
        half.send(body[10:])
        answer = half.read_answer("POST")
        assert answer.status == 201 and b'"cost":0.06,' in answer.body, answer
        assert half.read_to_end() == b""
    assert server._ended() == 0
    assert time.monotonic() - begin < 10
    server.check_log()


def connections(server):
    text = server.client().get("/metrics").body.decode()
    return float([line.split(" ")[1] for line in text.splitlines() if line.startswith("llmlab_http_connections ")][0])


def timed(call):
    """(answer, seconds)"""
    begin = time.monotonic()
    answer = call()
    return answer, time.monotonic() - begin


def test_frozen_postgres_does_not_freeze_the_server(postgres_of_its_own, own_server):
    postgres = postgres_of_its_own
    server = own_server(DATABASE_URL=postgres.create("frozen"), SECRET_KEY=new_secret(), DB_STATEMENT_MS="1000")
    server.expect_errors = True
    server.start()
    user = sign_up(server.port)
    user.track(model="gpt-4", input_tokens=1000, output_tokens=500, timestamp=AT)
    pids = processes_in(postgres.pgdata)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        # sent at once, while the token is still known to be good, so that they get as far as the queue and the executor
        calls = {"track": lambda: user.post("/api/events/track", event_of(1, 1)),
                 "batch": lambda: user.post("/api/events/batch", {"events": [event_of(1, 2)]}),
                 "summary": lambda: user.get("/api/costs/summary"), "health": lambda: user.get("/api/health")}
        results = {}
        threads = [threading.Thread(target=lambda n=n, c=c: results.update({n: timed(c)})) for n, c in calls.items()]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert {n: a.status for n, (a, _) in results.items()} == dict.fromkeys(calls, 503), results
        assert user.get("/api/health/live").status == 200
        late, seconds = timed(lambda: user.post("/api/events/track", event_of(1, 3)))
        assert late.status == 503 and seconds < 3, (late, seconds)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    wait_for(server.is_ready, "recovery")
    for n in (1, 2, 3):
        # a connection that was lost may take a moment longer than the probe's
        wait_for(lambda n=n: user.request("POST", "/api/events/track", event_of(1, n)).status in (200, 201), "the repeat")
    assert user.ok("GET", "/api/costs/summary", query={"from": "2026-06-10", "to": "2026-06-10"})["call_count"] == 4
    database = server.database()
    assert_rollups_equal_events(database)
    database.close()
    server.stop()
    took = {n: round(s, 1) for n, (_, s) in results.items()}
    assert took["health"] < 2.5 and took["summary"] < 4, took
    # an event waits for 2 seconds for the writer, which follows an unknown outcome no longer than that
    assert took["track"] < 3.5 and took["batch"] < 3.5, took
