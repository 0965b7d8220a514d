"""GET /api/events/export: the same events as the list, whole, in both formats, whatever the clients do. And retention."""
import csv
import http.client
import io
import socket
import threading
import time
from decimal import Decimal as D

import pytest

from llmlab_client import Raw, loads, sign_up
from llmlab_server import connect, new_secret, query, wait_for

RANGE = {"from": "2026-06-01", "to": "2026-06-30"}
COUNTS = ["cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "input_audio_tokens", "input_image_tokens",
          "input_video_tokens", "cache_read_audio_tokens", "cache_read_image_tokens", "reasoning_tokens", "citation_tokens",
          "output_audio_tokens", "output_image_tokens", "output_video_tokens", "web_searches"]
COLUMNS = (["event_id", "user_id", "timestamp", "tracked_at", "provider", "model", "input_tokens", "output_tokens",
            "total_tokens"] + COUNTS +
           ["units", "cost", "pricing_status", "pricing_record", "pricing_catalogue_version", "pricing_rule",
            "pricing_service_tier", "pricing_reported_cost", "pricing_catalogue_cost", "pricing_breakdown", "service_tier",
            "inference_geo", "data_residency", "search_context_size", "project", "customer", "tags", "metadata", "latency_ms", "status",
            "response_id", "api_key_id"])


def export(client, kind="csv", **more):
    answer = client.get("/api/events/export", {"format": kind, **RANGE, **more})
    assert answer.status == 200, answer
    return answer


def rows(answer):
    """The lines of a CSV, with what RFC 4180 asks for checked."""
    text = answer.body.decode("utf-8")
    assert text.endswith("\r\n") and answer.header("Content-Type").startswith("text/csv; charset=utf-8")
    header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert header == COLUMNS
    assert all(len(line) == len(header) for line in lines)
    return [dict(zip(header, line)) for line in lines]


def objects(answer):
    assert answer.header("Content-Type") == "application/x-ndjson"
    lines = answer.body.split(b"\n")
    assert lines.pop() == b""
    return [loads(line) for line in lines]


def fill(client, n, **more):
    """n events, one a second apart."""
    for begin in range(0, n, 5000):
        events = [{"model": "gpt-4o", "input_tokens": i + 1, "timestamp": 1781000000 + i, **more}
                  for i in range(begin, min(n, begin + 5000))]
        answer = client.batch(events)
        assert answer["accepted"] == len(events), answer


@pytest.fixture(scope="module")
def owner(server):
    """A user with events of every kind."""
    client = sign_up(server.port)
    at = "2026-06-10T12:00:00Z"
    client.track(model="gpt-4", input_tokens=1000, output_tokens=500, timestamp=at, project="web", customer="=1+1",
                 tags={"env": "prod", "team": "a"}, metadata={"note": "a \"quoted\", text\r\nof two lines", "n": D("2.50")}, latency_ms=0)
    client.track(model="claude-opus-4-5", input_tokens=10000, cache_read_tokens=5000, cache_write_tokens=3000,
                 cache_write_1h_tokens=1000, output_tokens=100, web_searches=3, timestamp=at, project="-2", service_tier="batch")
    failed = {"model": "gpt-4", "input_tokens": 5, "status": "error", "timestamp": at}
    client.ok("POST", "/api/events/track", failed, status=201)
    client.track(model="no-such-model", input_tokens=7, timestamp="2026-06-11T00:00:00.123456Z", customer="+49 30", project="été, \"x\"")
    client.track(model="gpt-4o-mini", input_tokens=1, timestamp=at, customer="@me", project="plain")
    client.track(model="gpt-4", input_tokens=1, cost=D("0.000000000000000001"), timestamp="2026-06-30T23:59:59.999999Z")
    client.track(model="gpt-4", input_tokens=1, timestamp="2026-05-31T23:59:59.999999Z")
    yield client
    client.close()


# ---- content ----

def test_ndjson_is_the_list_item_by_item(owner):
    listed = owner.events(**RANGE)
    assert len(listed) == 6
    assert objects(export(owner, "ndjson")) == listed


def test_csv_has_every_field_of_the_list(owner):
    listed, found = owner.events(**RANGE), rows(export(owner))
    assert len(found) == len(listed)

    def text(value):
        return "" if value is None else value if isinstance(value, str) else format(value, "f") if isinstance(value, D) else str(value)

    for event, row in zip(listed, found):
        pricing = event.pop("pricing")
        assert event.pop("duplicate") is False
        for name in ("status", "record", "catalogue_version", "rule", "service_tier"):
            assert row.pop("pricing_" + name) == text(pricing[name]), name
        for name in ("reported_cost", "catalogue_cost"):
            assert row.pop("pricing_" + name) == text(pricing.get(name)), name
        assert loads(row.pop("pricing_breakdown")) == pricing["breakdown"]
        for name in ("units", "tags"):
            assert loads(row.pop(name)) == event.pop(name), name
        metadata = row.pop("metadata")
        assert (loads(metadata) if metadata else None) == event.pop("metadata")
        for name in ("project", "customer"):  # see the next test
            assert row.pop(name).removeprefix("'") == text(event.pop(name)), name
        assert row == {name: text(value) for name, value in event.items()}


def test_csv_neutralises_formulas_and_leaves_numbers_alone(owner):
    found = rows(export(owner))
    assert {r["customer"] for r in found} == {"", "'=1+1", "'+49 30", "'@me"}
    assert {r["project"] for r in found} == {"", "web", "'-2", "été, \"x\"", "plain"}
    assert found[0]["cost"] == "0.000000000000000001"
    assert rb'"{""n"": 2.50, ""note"": ""a \""quoted\"", text\r\nof two lines""}"' in export(owner).body


def test_format_is_csv_unless_asked_otherwise(owner):
    plain = owner.get("/api/events/export", RANGE)
    assert plain.body == export(owner).body
    assert plain.header("Content-Disposition") == 'attachment; filename="llmlab-events-2026-06-01-2026-06-30.csv"'
    assert export(owner, "ndjson").header("Content-Disposition").endswith('2026-06-30.ndjson"')


@pytest.mark.parametrize("filters", [{"provider": "openai"}, {"model": "gpt-4"}, {"project": "web"}, {"customer": "=1+1"},
                                     {"status": "error"}, {"tag.env": "prod"}, {"min_cost": "0.001"}, {"provider": "nobody"},
                                     {"from": "2026-05-01"}, {"from": "2026-06-10T12:00:00Z", "to": "2026-06-10T12:00:00.000001Z"},
                                     {"tz": "Asia/Tokyo"}], ids=str)
def test_filters_are_those_of_the_list(owner, filters):
    merged = {**RANGE, **filters}
    listed = owner.events(**merged)
    assert objects(export(owner, "ndjson", **filters)) == listed
    assert [r["event_id"] for r in rows(export(owner, **filters))] == [e["event_id"] for e in listed]


def test_events_of_others_are_not_in_it(owner, other):
    assert rows(export(other)) == [] and objects(export(other, "ndjson")) == []


@pytest.mark.parametrize("bad", [{"format": "xml"}, {"limit": "5"}, {"cursor": "x"}, {"formt": "csv"}, {"min_cost": "x"},
                                 {"from": "2026-06-31"}, {"tz": "Mars/Base"}], ids=str)
def test_bad_parameters_are_named(owner, bad):
    answer = owner.get("/api/events/export", {**RANGE, **bad})
    assert answer.status == 400 and set(bad) <= answer.fields, answer


def test_export_needs_a_token(server):
    assert server.client().get("/api/events/export").status == 401


def test_head_answers_headers_only(owner):
    answer = owner.request("HEAD", "/api/events/export", query={"format": "ndjson"})
    assert answer.status == 200 and answer.header("Content-Type") == "application/x-ndjson"
    assert owner.get("/api/health/live").status == 200


@pytest.mark.parametrize("accept,status", [("text/csv", 200), ("application/x-ndjson", 200), ("*/*", 200), ("image/png", 406)])
def test_accept_of_both_formats_is_taken(owner, accept, status):
    assert owner.get("/api/events/export", RANGE, headers={"Accept": accept}).status == status


# ---- length ----

@pytest.fixture(scope="module")
def heavy(server):
    """A user with 20,001 events: 41 pages, some 8 MB of CSV."""
    client = sign_up(server.port)
    fill(client, 20001, metadata={"text": "x" * 100})
    yield client
    client.close()


@pytest.mark.parametrize("n", [499, 500, 501, 1000])
def test_page_boundaries_lose_and_repeat_nothing(user, n):
    fill(user, n)
    assert [int(r["input_tokens"]) for r in rows(export(user))] == list(range(n, 0, -1))


def test_events_of_one_instant_are_all_there(user):
    answer = user.batch([{"model": "gpt-4o", "input_tokens": i, "timestamp": "2026-06-10T12:00:00Z"} for i in range(1, 1502)])
    assert answer["accepted"] == 1501
    assert sorted(int(r["input_tokens"]) for r in rows(export(user))) == list(range(1, 1502))


def test_long_export_is_whole_and_newest_first(heavy):
    found = rows(export(heavy))
    assert [int(r["input_tokens"]) for r in found] == list(range(20001, 0, -1))
    # gpt-4o: 2.5 a million: 2.5 x (1 + ... + 20001) / 10^6 = 2.5 x 200030001 / 10^6
    assert sum(D(r["cost"]) for r in found) == D("500.0750025")
    assert len(objects(export(heavy, "ndjson"))) == 20001


def test_events_recorded_meanwhile_break_nothing(server, heavy):
    stop = threading.Event()

    def record():
        client = heavy.with_token(heavy.token)
        while not stop.is_set():
            client.track(model="gpt-4o", input_tokens=1, timestamp=1781000000, project="late")
        client.close()

    writer = threading.Thread(target=record)
    writer.start()
    found = rows(export(heavy))
    stop.set()
    writer.join()
    kept = [int(r["input_tokens"]) for r in found if r["project"] == ""]
    assert kept == list(range(20001, 0, -1))
    assert len({r["event_id"] for r in found}) == len(found)


# ---- clients ----

def request_text(client, version="1.1"):
    return (f"GET /api/events/export?format=csv&from=2026-06-01&to=2026-06-30 HTTP/{version}\r\nHost: x\r\n"
            f"Authorization: Bearer {client.token}\r\n\r\n")


def running(server):
    text = server.client().get("/metrics").body.decode()
    return int(next(line for line in text.splitlines() if line.startswith("llmlab_http_streams ")).split()[1])


def narrow(port):
    """A connection that takes in little at once."""
    raw = Raw.__new__(Raw)
    raw.socket, raw.received = socket.socket(), b""
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.socket.settimeout(20)
    raw.socket.connect(("127.0.0.1", port))
    return raw


def test_exports_over_the_limit_are_refused_and_others_are_served(server, heavy, user):
    with narrow(server.port) as one, narrow(server.port) as two:
        one.send(request_text(heavy))
        two.send(request_text(heavy))
        one.read_until(b"\r\n\r\n")
        two.read_until(b"\r\n\r\n")
        refused = heavy.get("/api/events/export", RANGE)
        assert refused.status == 503 and int(refused.header("Retry-After")) >= 1, refused
        begin = time.monotonic()
        for _ in range(20):
            assert user.track(model="gpt-4", input_tokens=1)["cost"] == D("0.00003")
            assert user.get("/api/costs/summary").status == 200
        assert time.monotonic() - begin < 5
    wait_for(lambda: running(server) == 0, "the exports to notice that their clients are gone", 30)
    assert export(heavy).status == 200


def test_slow_reader_gets_everything(server, heavy):
    with narrow(server.port) as raw:
        raw.send(request_text(heavy))
        while not raw.received.endswith(b"\r\n0\r\n\r\n"):
            data = raw.socket.recv(3000)
            assert data, raw.received[-200:]
            raw.received += data
        assert raw.received.count(b"gpt-4o") >= 20001


def test_client_of_http_1_0_gets_everything(server, heavy):
    with Raw(server.port) as raw:
        raw.send(request_text(heavy, "1.0"))
        answer = raw.read_to_end()
    assert b"chunked" not in answer.split(b"\r\n\r\n")[0]
    assert answer.endswith(b"\r\n") and answer.count(b"\r\n") >= 20001


# ---- the end ----

@pytest.fixture
def lone(own_server):
    """A server of its own, with 20,000 events of one user."""
    server = own_server(SHUTDOWN_SECONDS=5, EXPORT_STALL_SECONDS=2).start()
    client = sign_up(server.port)
    fill(client, 20000, metadata={"text": "x" * 1000})
    yield server, client
    client.close()


def test_stop_cuts_an_export_that_is_not_read_recognisably(lone):
    server, client = lone
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/api/events/export?format=ndjson&from=2026-06-01&to=2026-06-30",
                       headers={"Authorization": f"Bearer {client.token}"})
    response = connection.getresponse()
    assert response.status == 200
    response.read(1000)
    server.stop()
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    connection.close()


def test_client_that_reads_nothing_is_cut(lone):
    server, client = lone
    with narrow(server.port) as raw:
        raw.send(request_text(client))
        raw.read_until(b"\r\n\r\n")
        wait_for(lambda: running(server) == 0, "the export to be cut", 30)
        assert not raw.read_to_end().endswith(b"\r\n0\r\n\r\n")


def shut(postgres, name, closed):
    """Ends all connections to the database and takes no new ones, or lets them in again."""
    admin = connect(postgres.url("postgres"))
    query(admin, f"ALTER DATABASE {name} ALLOW_CONNECTIONS {'false' if closed else 'true'}")
    if closed:
        query(admin, f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'")
    admin.close()


def test_database_that_goes_away_answers_503_or_cuts_the_export(own_server, postgres):
    server = own_server(DATABASE_URL=postgres.create("export_away"), SECRET_KEY=new_secret()).start()
    server.expect_errors = True
    client = sign_up(server.port)
    fill(client, 20000, metadata={"text": "x" * 1000})
    with narrow(server.port) as raw:
        raw.send(request_text(client))
        raw.read_until(b"\r\n\r\n")
        shut(postgres, "export_away", True)
        assert client.get("/api/events/export", RANGE).status == 503
        assert not raw.read_to_end().endswith(b"\r\n0\r\n\r\n")
    shut(postgres, "export_away", False)
    wait_for(lambda: client.get("/api/events/export", RANGE).status == 200, "the database to be there again")
    assert len(rows(export(client))) == 20000
    client.close()


# ---- retention ----

def months(database):
    return {name for (name,) in query(database, "SELECT relname FROM pg_class WHERE relname ~ '^events_[0-9]{4}_[0-9]{2}$'")}


def test_retention_drops_old_months_and_keeps_sums_and_keys(own_server, postgres):
    settings = {"DATABASE_URL": postgres.create("retention"), "SECRET_KEY": new_secret()}
    keeping = own_server(**settings).start()
    client = sign_up(keeping.port)
    old = {"model": "gpt-4", "input_tokens": 1000, "timestamp": "2024-03-10T00:00:00Z", "idempotency_key": "old"}
    first = client.track(**old)
    assert first["cost"] == D("0.03")
    recent = client.track(model="gpt-4", input_tokens=1)
    summary = client.ok("GET", "/api/costs/summary", query={"from": "2024-03-01", "to": "2024-03-31"})
    database = keeping.database()
    assert "events_2024_03" in months(database)
    keeping.stop()

    dropping = [own_server(**settings, EVENT_RETENTION_DAYS=30).start() for _ in range(2)]
    client = client.on(dropping[0].port)
    wait_for(lambda: "events_2024_03" not in months(database), "the old month to be dropped")
    assert client.get(f"/api/events/{first['event_id']}").status == 404
    assert client.get(f"/api/events/{recent['event_id']}").status == 200
    assert client.ok("GET", "/api/costs/summary", query={"from": "2024-03-01", "to": "2024-03-31"}) == summary
    assert summary["total_cost"] == D("0.03") and summary["call_count"] == 1
    repeat = client.track(status=200, **old)
    assert repeat["duplicate"] is True and repeat["event_id"] == first["event_id"] and repeat["cost"] == D("0.03")
    # an old event is taken and counted; its month is made again, and goes with the next run
    assert client.track(model="gpt-4", input_tokens=1000, timestamp="2024-03-11T00:00:00Z")["cost"] == D("0.03")
    summary = client.ok("GET", "/api/costs/summary", query={"from": "2024-03-01", "to": "2024-03-31"})
    assert summary["total_cost"] == D("0.06") and summary["call_count"] == 2
    database.close()
    client.close()


def test_retention_is_off_by_default(own_server):
    server = own_server().start()
    client = sign_up(server.port)
    event = client.track(model="gpt-4", input_tokens=1, timestamp="2015-01-01T00:00:00Z")
    server.stop()
    server.start()
    client = client.on(server.port)
    # a round of the background thread has run when the server is ready and polled the database
    wait_for(lambda: client.get("/api/health/ready").status == 200, "readiness")
    assert client.get(f"/api/events/{event['event_id']}").status == 200
    client.close()
