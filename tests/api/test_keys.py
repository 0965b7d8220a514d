"""API keys: made, shown once, scoped, kept apart, revoked everywhere, bounded, and cheap to refuse."""
import base64
import datetime
import hashlib
import re
import secrets
import threading
import time

import pytest

from accounts_fixtures import new_key, trio  # noqa: F401 (trio is a fixture)
from llmlab_client import Client, sign_up
from llmlab_server import query, wait_for
from test_contract import ROUTES, ids

EVENT = {"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500}
SOME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def unknown_key():
    return "llk_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def metric(server, name):
    text = server.client().get("/metrics").body.decode()
    return int(re.search(rf"^{name} (\d+)$", text, re.MULTILINE).group(1))


@pytest.fixture(scope="module")
def member(server):
    client = sign_up(server.port)
    yield client
    client.close()


# ---- making and listing ----

def test_key_is_shown_once_and_stored_as_its_hash(server, member):
    made = new_key(member, "ingest", name="Worker")
    assert re.fullmatch(r"llk_[A-Za-z0-9_-]{43}", made["key"])
    assert made["prefix"] == made["key"][:12] and made["scope"] == "ingest" and made["name"] == "Worker"
    assert made["expires_at"] is None and made["created_at"].endswith("Z") and made["last_used_at"] is None
    listed = next(k for k in member.ok("GET", "/api/keys")["keys"] if k["id"] == made["id"])
    assert listed == {k: v for k, v in made.items() if k != "key"}
    database = server.database()
    (row,) = query(database, "SELECT t::text, hash FROM api_keys AS t WHERE id = %s", (made["id"],))
    database.close()
    assert made["key"] not in row[0] and bytes(row[1]) == hashlib.sha256(made["key"].encode()).digest()


def test_keys_are_all_different(member):
    made = [new_key(member) for _ in range(20)]
    assert len({k["key"] for k in made}) == 20 and len({k["id"] for k in made}) == 20
    for k in made:
        assert member.request("DELETE", f"/api/keys/{k['id']}").status == 204


@pytest.mark.parametrize("body,fields", [
    ({}, {"name", "scope"}),
    ({"name": "", "scope": "full"}, {"name"}),
    ({"name": "  ", "scope": "full"}, {"name"}),
    ({"name": "a\tb", "scope": "full"}, {"name"}),
    ({"name": "x" * 201, "scope": "full"}, {"name"}),
    ({"name": 5, "scope": "everything"}, {"name", "scope"}),
    ({"name": "x", "scope": "FULL"}, {"scope"}),
    ({"name": "x", "scope": ["read"]}, {"scope"}),
    ({"name": "x", "scope": "full", "expires_at": "2020-01-01T00:00:00Z"}, {"expires_at"}),
    ({"name": "x", "scope": "full", "expires_at": "soon"}, {"expires_at"}),
    ({"name": "x", "scope": "full", "key": "llk_mine", "user_id": SOME_ID}, {"key", "user_id"}),
])
def test_key_with_bad_fields_is_refused_and_names_them(member, body, fields):
    before = member.ok("GET", "/api/keys", query={"limit": 500})["count"]
    answer = member.post("/api/keys", body)
    assert answer.status == 400 and answer.fields == fields, answer
    assert member.ok("GET", "/api/keys", query={"limit": 500})["count"] == before


def test_keys_beyond_a_hundred_are_a_conflict_and_lists_have_pages(server):
    client = sign_up(server.port)
    made = [new_key(client, "read")["id"] for _ in range(100)]
    answer = client.post("/api/keys", {"name": "one more", "scope": "read"})
    assert answer.status == 409, answer
    found, cursor = [], None
    while True:
        page = client.ok("GET", "/api/keys", query={"limit": 33, **({"cursor": cursor} if cursor else {})})
        found += [k["id"] for k in page["keys"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == made[::-1]
    assert client.request("DELETE", f"/api/keys/{made[0]}").status == 204
    new_key(client, "read")
    client.close()


def test_keys_made_at_once_stay_within_a_hundred(trio):
    client = sign_up(trio[0].port)
    for _ in range(97):
        new_key(client, "read")
    statuses = []

    def one(server):
        own = client.on(server.port)
        statuses.append(own.post("/api/keys", {"name": "race", "scope": "read"}).status)
        own.close()

    threads = [threading.Thread(target=one, args=(s,)) for s in trio * 4]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(statuses) == [201] * 3 + [409] * 9, statuses


# ---- what a key may do ----

SCOPES = {"ingest": {"INGEST"}, "read": {"READ"}, "full": {"INGEST", "READ", "FULL"}}
PRIVATE = [r for r in ROUTES if r.auth != "PUBLIC"]


@pytest.fixture(scope="module")
def by_scope(server, member):
    clients = {scope: Client(server.port, new_key(member, scope)["key"]) for scope in SCOPES}
    yield clients
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("route", PRIVATE, ids=ids(PRIVATE))
def test_route_is_open_to_its_scopes_and_forbidden_to_others(by_scope, route):
    for scope, client in by_scope.items():
        # a query parameter that nobody knows: whoever is let in is told so, and nothing is done
        answer = client.request(route.method, route.path + "?nonsense=1", body={} if route.body != "NONE" else None)
        if route.auth in SCOPES[scope]:
            assert answer.status not in (401, 403), (scope, answer)
        else:
            assert answer.status == 403 and answer.json["code"] == "forbidden", (scope, answer)


def test_key_records_events_with_its_id(server, member):
    made = new_key(member, "full")
    key = Client(server.port, made["key"])
    event = key.track(**EVENT)
    assert key.ok("GET", f"/api/events/{event['event_id']}")["api_key_id"] == made["id"]
    batch = key.batch([EVENT, EVENT])
    for result in batch["results"]:
        assert key.ok("GET", f"/api/events/{result['event_id']}")["api_key_id"] == made["id"]
    own = member.track(**EVENT)
    assert member.ok("GET", f"/api/events/{own['event_id']}")["api_key_id"] is None
    assert event["user_id"] == member.user_id


# ---- isolation ----

def test_keys_of_others_are_neither_seen_nor_deleted(server, member):
    other = sign_up(server.port)
    made = new_key(member, "full")
    assert other.ok("GET", "/api/keys")["keys"] == []
    answer = other.request("DELETE", f"/api/keys/{made['id']}")
    nothing = other.request("DELETE", f"/api/keys/{SOME_ID}")
    assert answer.status == nothing.status == 404
    assert answer.json["detail"] == nothing.json["detail"]
    key = Client(server.port, made["key"])
    theirs = other.track(**EVENT)
    assert key.get(f"/api/events/{theirs['event_id']}").status == 404
    assert theirs["event_id"] not in {e["event_id"] for e in key.events()}
    assert key.get("/api/events").status == 200
    other.close()


# ---- revocation, expiry, unknown keys ----

def test_key_deleted_is_dead_on_three_servers_within_a_second_and_others_live(trio):
    client = sign_up(trio[0].port)
    made, spared = new_key(client), new_key(client)
    keys = [Client(s.port, made["key"]) for s in trio]
    others = [Client(s.port, spared["key"]) for s in trio]
    for key in keys + others:
        assert key.get("/api/events").status == 200
    assert client.request("DELETE", f"/api/keys/{made['id']}").status == 204
    begin = time.monotonic()
    assert keys[0].get("/api/events").status == 401, "where it was deleted it is dead at once"
    for key in keys:
        wait_for(lambda key=key: key.get("/api/events").status == 401, "the end of a key")
    assert time.monotonic() - begin <= 1.25
    for key in keys:
        assert key.post("/api/events/track", EVENT).status == 401
    for key in others:
        assert key.get("/api/events").status == 200
    assert client.request("DELETE", f"/api/keys/{made['id']}").status == 404


def test_key_expires_when_it_says(server, member):
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    made = new_key(member, "read", expires_at=soon.isoformat())
    key = Client(server.port, made["key"])
    assert key.get("/api/events").status == 200
    wait_for(lambda: key.get("/api/events").status == 401, "the expiry")
    assert datetime.datetime.now(datetime.timezone.utc) >= soon
    assert key.get("/api/events").status == 401
    listed = next(k for k in member.ok("GET", "/api/keys")["keys"] if k["id"] == made["id"])
    assert listed["expires_at"] is not None


@pytest.mark.parametrize("change", [lambda k: k[:-1], lambda k: k + "A", lambda k: "LLK_" + k[4:], lambda k: k[:4] + k[5:] + k[4],
                                    lambda k: k.replace("llk_", "llk-"), lambda k: k[:-1] + ("A" if k[-1] != "A" else "B"),
                                    lambda k: k[:12], lambda k: k.swapcase(), lambda k: k[:20] + "." + k[21:]])
def test_key_that_is_not_exactly_right_is_refused_like_a_token(server, member, change):
    good = new_key(member)["key"]
    answer = Client(server.port, change(good)).get("/api/events", headers={"X-Request-Id": "same"})
    token = Client(server.port, "a.b.c").get("/api/events", headers={"X-Request-Id": "same"})
    assert answer.status == 401 and answer.header("WWW-Authenticate") == 'Bearer error="invalid_token"'
    assert answer.body == token.body


def test_key_unknown_is_asked_of_the_database_once(server):
    client = Client(server.port, unknown_key())
    before = metric(server, "llmlab_api_keys_looked_up_total")
    for _ in range(20):
        assert client.get("/api/events").status == 401
    assert metric(server, "llmlab_api_keys_looked_up_total") == before + 1
    client.close()


def test_key_known_is_asked_of_the_database_once(server, member):
    key = Client(server.port, new_key(member)["key"])
    before = metric(server, "llmlab_api_keys_looked_up_total")
    for _ in range(20):
        assert key.get("/api/events").status == 200
    assert metric(server, "llmlab_api_keys_looked_up_total") == before + 1
    key.close()


def test_keys_unknown_and_many_are_limited_by_address_and_known_ones_go_on(own_server):
    server = own_server(RATE_LIMITS="on", RATE_UNAUTHENTICATED_PER_SECOND="20").start()
    client = sign_up(server.port)
    key = Client(server.port, new_key(client)["key"])
    assert key.get("/api/events").status == 200
    statuses = []
    while 429 not in statuses:
        assert len(statuses) < 1000, statuses
        statuses.append(Client(server.port, unknown_key()).get("/api/events").status)
    assert set(statuses) == {401, 429} and statuses[:20] == [401] * 20, statuses
    looked_up = metric(server, "llmlab_api_keys_looked_up_total")
    answer = Client(server.port, unknown_key()).get("/api/events")
    while answer.status != 429:
        answer = Client(server.port, unknown_key()).get("/api/events")
    assert int(answer.header("Retry-After")) == 1 and "unauthenticated" in answer.header("RateLimit-Policy")
    assert looked_up <= 1 + statuses.count(401), "what is refused is not looked up"
    assert key.get("/api/events").status == 200 and client.get("/api/auth/me").status == 200
    server.stop()


def test_key_last_use_is_listed(server, member):
    made = new_key(member, "read")
    key = Client(server.port, made["key"])

    def last_use():
        return next(k for k in member.ok("GET", "/api/keys")["keys"] if k["id"] == made["id"])["last_used_at"]

    assert last_use() is None
    assert key.get("/api/events").status == 200
    wait_for(last_use, "the last use", 30)
    assert last_use() >= made["created_at"]


def test_key_uses_are_written_at_the_end_of_the_server(own_server):
    server = own_server().start()
    client = sign_up(server.port)
    made = new_key(client, "read")
    key = Client(server.port, made["key"])
    assert key.get("/api/events").status == 200
    first = client.ok("GET", "/api/keys")["keys"][0]["last_used_at"]
    assert key.get("/api/events").status == 200
    server.stop()
    server.start()
    assert client.on(server.port).ok("GET", "/api/keys")["keys"][0]["last_used_at"] > first
    assert key.on(server.port).get("/api/events").status == 200
    server.stop()


def test_key_is_refused_while_the_database_is_away_unless_it_is_known(own_server):
    """Fails closed: what cannot be asked is 503, never believed, and no 401 that would end a client's work."""
    server = own_server().start()
    server.expect_errors = True
    client = sign_up(server.port)
    key = Client(server.port, new_key(client)["key"])
    pids = [int(p) for p in query(server.database(), "SELECT pg_backend_pid()")[0]]
    assert pids and key.get("/api/events").status == 200
    database = server.database()
    query(database, "ALTER TABLE api_keys RENAME TO api_keys_away")
    try:
        assert Client(server.port, unknown_key()).get("/api/pricing/models").status == 503
        assert key.get("/api/pricing/models").status == 200
    finally:
        query(database, "ALTER TABLE api_keys_away RENAME TO api_keys")
        database.close()
    assert Client(server.port, unknown_key()).get("/api/pricing/models").status == 401
    server.stop()
