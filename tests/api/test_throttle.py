"""Waits after failed logins and signups, addresses behind proxies, rate limits and their headers."""
import json
import re
import time

import pytest

from accounts_fixtures import login, trio  # noqa: F401 (trio is a fixture)
from llmlab_client import PASSWORD, SECRETS, Client, Raw, sign_up, unique
from llmlab_server import query, wait_for

WRONG = "not the password at all"
ON = {"RATE_LIMITS": "on", "RATE_AUTH_PER_MINUTE": "100000"}


@pytest.fixture(scope="module")
def guarded(pair):
    """Two servers with limits and a trusted proxy (the tests) on the pair's database."""
    from llmlab_server import Server
    servers = [Server(**dict(pair[0].settings, **ON, TRUST_PROXY="127.0.0.1", SIGNUPS_PER_MINUTE="1000", SIGNUPS_PER_DAY="1000",
                             SIGNUPS_OF_ALL_PER_MINUTE="1000", LOGIN_FAILURES_PER_HOUR="1000000",
                             LOGIN_FAILURES_OF_ALL_PER_HOUR="1000000")).start() for _ in range(2)]
    yield servers
    for one in servers:
        one.stop()


def from_(address):
    return {"X-Forwarded-For": address}


def attempt(server, email, password, address):
    client = server.client()
    answer = login(client, email, password, headers={**from_(address), "X-Request-Id": "same"})
    client.close()
    return answer


def let_time_pass(server, seconds):
    """Moves what is remembered back."""
    database = server.database()
    query(database, "UPDATE auth_throttles SET until = until - %s * interval '1 second'", (seconds,))
    database.close()


def fail(server, email, address, n):
    """n failures, each as soon as it may be."""
    for i in range(n):
        if i >= 5:
            let_time_pass(server, 2 ** (i - 5))
        answer = attempt(server, email, WRONG, address)
        assert answer.status == 401, (i, answer)


# ---- failed logins ----

def test_login_waits_after_failures_and_both_servers_know(guarded):
    user = sign_up(guarded[0].port)
    fail(guarded[0], user.email, "198.51.100.7", 9)  # 16 s from now on
    for server in guarded:
        for password in (WRONG, PASSWORD):
            answer = attempt(server, user.email, password, "198.51.100.7")
            assert answer.status == 429 and answer.json["code"] == "rate_limited", answer
            assert 1 <= int(answer.header("Retry-After")) <= 16
    let_time_pass(guarded[0], 16)
    assert attempt(guarded[1], user.email, PASSWORD, "198.51.100.7").status == 200
    assert attempt(guarded[0], user.email, WRONG, "198.51.100.7").status == 401, "a success forgives"


def test_login_waits_count_by_network(guarded):
    user = sign_up(guarded[0].port)
    fail(guarded[0], user.email, "203.0.113.9", 9)
    assert attempt(guarded[0], user.email, PASSWORD, "203.0.113.250").status == 429, "the same /24"
    assert attempt(guarded[0], user.email, PASSWORD, "203.0.114.9").status == 200, "nobody locks out the owner elsewhere"
    v6 = sign_up(guarded[0].port)
    fail(guarded[0], v6.email, "2001:db8:1:2::1", 9)
    assert attempt(guarded[0], v6.email, PASSWORD, "2001:db8:1:2:ffff::1").status == 429, "the same /64"
    assert attempt(guarded[0], v6.email, PASSWORD, "2001:db8:1:3::1").status == 200


def test_login_waits_are_alike_for_accounts_that_do_not_exist(guarded):
    user = sign_up(guarded[0].port)
    bodies = {}
    for kind, email in (("known", user.email), ("unknown", unique("nobody") + "@example.com")):
        seen = []
        for i in range(9):
            if i >= 5:
                let_time_pass(guarded[0], 2 ** (i - 5))
            seen.append(attempt(guarded[0], email, WRONG, "192.0.2.44"))
        seen.append(attempt(guarded[0], email, WRONG, "192.0.2.44"))
        assert [a.status for a in seen] == [401] * 9 + [429]
        bodies[kind] = [(a.status, a.body, tuple(k for k, _ in a.headers)) for a in seen]
    assert bodies["known"] == bodies["unknown"]


def test_guesses_of_an_hour_are_few_whatever_the_number_of_networks(guarded):
    """Every minute of an hour one guess from each of three new networks."""
    user = sign_up(guarded[0].port)
    tried = 0
    for minute in range(60):
        for k in range(3):
            tried += attempt(guarded[k % 2], user.email, WRONG, f"10.{minute}.{k}.1").status == 401
        let_time_pass(guarded[0], 60)
    assert 15 <= tried <= 30, tried


def test_owner_at_a_familiar_network_is_not_locked_out_by_guesses_from_everywhere(guarded):
    user = sign_up(guarded[0].port)
    assert attempt(guarded[0], user.email, PASSWORD, "198.18.0.1").status == 200
    for i in range(25):
        attempt(guarded[0], user.email, WRONG, f"10.77.{i}.1")
        if i < 20:
            let_time_pass(guarded[0], 60)
    assert attempt(guarded[0], user.email, PASSWORD, "198.18.1.1").status == 429
    assert attempt(guarded[1], user.email, PASSWORD, "198.18.0.9").status == 200


def test_password_confirmation_waits_like_a_login(guarded):
    """A stolen session is no way to guess the password."""
    user = sign_up(guarded[0].port)
    address = from_("198.51.100.99")
    for i in range(9):
        if i >= 5:
            let_time_pass(guarded[0], 2 ** (i - 5))
        answer = user.request("DELETE", "/api/auth/me", body={"password": WRONG}, headers=address)
        assert answer.status == 401, answer
    for body, method, path in (({"password": PASSWORD}, "DELETE", "/api/auth/me"),
                               ({"current_password": PASSWORD, "new_password": "quite another 8 horse"}, "POST", "/api/auth/password")):
        answer = user.on(guarded[1].port).request(method, path, body=body, headers=address)
        assert answer.status == 429 and int(answer.header("Retry-After")) >= 1, answer
    assert user.get("/api/auth/me").status == 200


def test_network_with_many_failures_on_many_accounts_waits(pair, own_server):
    server = own_server(**dict(pair[0].settings, **ON, TRUST_PROXY="127.0.0.0/8", LOGIN_FAILURES_PER_HOUR="6",
                               SIGNUPS_PER_MINUTE="1000")).start()
    user = sign_up(server.port)
    assert attempt(server, user.email, PASSWORD, "100.64.0.1").status == 200
    statuses = [attempt(server, unique("x") + "@example.com", WRONG, f"100.64.0.{i}").status for i in range(8)]
    assert statuses == [401] * 6 + [429] * 2
    assert attempt(server, unique("x") + "@example.com", WRONG, "100.64.1.1").status == 401, "another network"
    assert attempt(server, user.email, PASSWORD, "100.64.0.77").status == 200, "who was here before is let in"
    server.stop()


# ---- signups ----

def signup(client, address=None):
    body = {"email": unique("s") + "@example.com", "password": PASSWORD, "name": "x"}
    answer = client.post("/api/auth/signup", body, headers=from_(address) if address else None)
    if answer.status == 201:
        SECRETS.add(answer.json["access_token"])
    return answer


def test_signups_of_one_address_wait_by_minute_and_day_on_all_servers(postgres, own_server):
    from llmlab_server import new_secret
    settings = {"DATABASE_URL": postgres.create("signups"), "SECRET_KEY": new_secret(), **ON, "TRUST_PROXY": "127.0.0.1",
                "SIGNUPS_PER_DAY": "8"}
    servers = [own_server(**settings).start() for _ in range(2)]
    answers = [signup(servers[i % 2].client(), "192.0.2.1") for i in range(7)]
    assert [a.status for a in answers] == [201] * 5 + [429] * 2, answers
    assert 1 <= int(answers[-1].header("Retry-After")) <= 12
    assert signup(servers[0].client(), "192.0.2.2").status == 201
    taken = servers[0].client().post("/api/auth/signup", {"email": "not an address"}, headers=from_("192.0.2.3"))
    assert taken.status == 400
    for _ in range(3):
        let_time_pass(servers[0], 12)
        assert signup(servers[1].client(), "192.0.2.1").status == 201
    let_time_pass(servers[0], 60)
    answer = signup(servers[0].client(), "192.0.2.1")
    assert answer.status == 429 and int(answer.header("Retry-After")) > 3600, answer
    for server in servers:
        server.stop()


def test_signup_of_a_taken_email_counts_and_waits_alike(postgres, own_server):
    from llmlab_server import new_secret
    server = own_server(**{"DATABASE_URL": postgres.create("taken"), "SECRET_KEY": new_secret(), **ON}).start()
    user = sign_up(server.port)
    body = {"email": user.email, "password": PASSWORD, "name": "x"}
    statuses = [server.client().post("/api/auth/signup", body).status for _ in range(6)]
    assert statuses == [409] * 4 + [429] * 2, statuses
    server.stop()


# ---- who the client is ----

def logged_client(server, **headers):
    """The address that the log names for a request with these headers."""
    request_id = unique("address")
    client = server.client()
    client.get("/api/health/live", headers={"X-Request-Id": request_id, **headers})
    client.close()
    line = wait_for(lambda: next((l for l in server.log.splitlines() if f'"{request_id}"' in l), None), "the log line")
    return re.search(r'"client":"([^"]*)"', line).group(1)


def test_client_without_trusted_proxy_is_the_connection_whatever_headers_say(pair):
    for headers in ({"X-Forwarded-For": "192.0.2.1"}, {"Forwarded": "for=192.0.2.1"}, {"X-Real-IP": "192.0.2.1"},
                    {"X-Forwarded-For": "127.0.0.1, 192.0.2.1"}):
        assert logged_client(pair[0], **headers) == "127.0.0.1"


def test_client_behind_a_trusted_proxy_is_the_last_untrusted_address(pair, own_server):
    server = own_server(**dict(pair[0].settings, TRUST_PROXY="127.0.0.1, 10.0.0.0/8")).start()
    assert logged_client(server) == "127.0.0.1"
    assert logged_client(server, **from_("192.0.2.1")) == "192.0.2.1"
    assert logged_client(server, **from_("203.0.113.5, 192.0.2.1")) == "192.0.2.1", "what the client wrote itself is not believed"
    assert logged_client(server, **from_("203.0.113.5, 192.0.2.1, 10.1.1.1")) == "192.0.2.1"
    assert logged_client(server, **from_("2001:db8::7")) == "2001:db8::7"
    assert logged_client(server, Forwarded="for=192.0.2.1") == "127.0.0.1", "the other header is not looked at"
    for bad in ("evil", "", "192.0.2.1, evil", "192.0.2.1,", "localhost", "999.1.1.1"):
        assert logged_client(server, **from_(bad)) == "127.0.0.1", bad
    request_id = unique("lines")
    with Raw(server.port) as raw:
        raw.send("GET /api/health/live HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.5\r\nX-Forwarded-For: 192.0.2.9\r\n"
                 f"X-Request-Id: {request_id}\r\nConnection: close\r\n\r\n")
        assert raw.read_to_end().startswith(b"HTTP/1.1 200")
    wait_for(lambda: any(request_id in l and '"192.0.2.9"' in l for l in server.log.splitlines()), "the last line's address")
    server.stop()


def test_client_in_forwarded_when_the_proxy_says_it_there(pair, own_server):
    server = own_server(**dict(pair[0].settings, TRUST_PROXY="127.0.0.1", PROXY_HEADER="forwarded")).start()
    assert logged_client(server, Forwarded='for=203.0.113.5, for="[2001:db8::1]:4711";proto=https') == "2001:db8::1"
    assert logged_client(server, **from_("192.0.2.1")) == "127.0.0.1"
    assert logged_client(server, Forwarded="for=unknown") == "127.0.0.1"
    server.stop()


def test_sender_of_a_header_that_is_not_believed_is_told_once(pair, own_server):
    def told(**settings):
        server = own_server(**dict(pair[0].settings, **settings)).start()
        for headers in (from_("192.0.2.1"), from_("192.0.2.2"), {"Forwarded": "for=192.0.2.1"}):
            logged_client(server, **headers)
        server.stop()
        return [json.loads(line) for line in server.log.splitlines() if "TRUST_PROXY" in line]

    lines = told()
    assert [(line["level"], line["header"], line["sender"]) for line in lines] == [("warn", "x-forwarded-for", "127.0.0.1")], lines
    assert told(TRUST_PROXY="127.0.0.1") == []


def test_limits_by_address_are_not_evaded_by_headers(pair, own_server):
    server = own_server(**dict(pair[0].settings, RATE_LIMITS="on", RATE_AUTH_PER_MINUTE="5")).start()
    statuses = [attempt(server, unique("e") + "@example.com", WRONG, f"192.0.2.{i}").status for i in range(8)]
    assert statuses == [401] * 5 + [429] * 3
    server.stop()


@pytest.mark.parametrize("value", ["10.0.0.0/33", "proxy", "10.0.0.1 10.0.0.x"])
def test_trust_proxy_that_is_no_list_of_addresses_ends_the_start(pair, own_server, value):
    server = own_server(**dict(pair[0].settings, TRUST_PROXY=value))
    server.spawn()
    assert server.end(0) == 1
    assert "TRUST_PROXY" in server.log


# ---- rate limits ----

CLASSES = {
    "read": ("RATE_READ_PER_MINUTE", 60, lambda c: c.get("/api/auth/me")),
    "write": ("RATE_WRITE_PER_MINUTE", 60, lambda c: c.request("PATCH", "/api/auth/me", body={})),
    "ingest": ("RATE_INGEST_PER_SECOND", 1, lambda c: c.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1})),
    "export": ("RATE_EXPORT_PER_MINUTE", 60, lambda c: c.get("/api/events/export", query={"format": "csv"})),
    "unauthenticated": ("RATE_UNAUTHENTICATED_PER_SECOND", 1, lambda c: c.with_token("a.b.c").get("/api/auth/me")),
    "health": ("RATE_UNAUTHENTICATED_PER_SECOND", 1, lambda c: Client(c.port).get("/api/health")),
}


@pytest.mark.parametrize("name", CLASSES)
def test_class_of_routes_has_its_own_limit_and_says_so(pair, own_server, name):
    setting, window, ask = CLASSES[name]
    quota = 10 if window == 60 else 3  # so that a place comes back every 6 s
    server = own_server(**dict(pair[0].settings, RATE_LIMITS="on", **{setting: str(quota)})).start()
    client = Client(server.port)
    client.token = sign_up_on(pair, server)
    answers = [ask(client)]
    while answers[-1].status != 429:
        assert len(answers) < 500, answers
        answers.append(ask(client))
    assert len({a.status for a in answers}) == 2, answers
    for i, answer in enumerate(answers):
        assert answer.header("RateLimit-Policy") == f'"{name}";q={quota};w={window}', answer.headers
        remaining = re.fullmatch(rf'"{name}";r=(\d+);t=\d+', answer.header("RateLimit"))
        assert remaining and int(remaining[1]) <= quota, answer.headers
    assert [a.status for a in answers[:quota]].count(429) == 0
    wait = int(answers[-1].header("Retry-After"))
    assert 1 <= wait <= max(1, window // quota)
    others = [c for c in CLASSES if c not in (name, "unauthenticated")]
    for other in others:
        assert CLASSES[other][2](client).status in (200, 201), other
    end = time.monotonic() + wait
    while time.monotonic() < end:
        time.sleep(0.05)
    assert ask(client).status != 429, "waiting as long as Retry-After says is enough"
    server.stop()


def sign_up_on(pair, server):
    """A token for the server without a signup there, which would count."""
    return sign_up(pair[0].port).token


def test_limit_of_one_user_leaves_others_alone(pair, own_server):
    server = own_server(**dict(pair[0].settings, RATE_LIMITS="on", RATE_READ_PER_MINUTE="5")).start()
    greedy, modest = sign_up(pair[0].port).on(server.port), sign_up(pair[0].port).on(server.port)
    assert 429 in {greedy.get("/api/auth/me").status for _ in range(10)}
    assert [modest.get("/api/auth/me").status for _ in range(5)] == [200] * 5
    server.stop()


def test_flood_without_tokens_of_one_address_leaves_others_alone(pair, own_server):
    server = own_server(**dict(pair[0].settings, RATE_LIMITS="on", RATE_UNAUTHENTICATED_PER_SECOND="10",
                               TRUST_PROXY="127.0.0.1")).start()
    user = sign_up(pair[0].port).on(server.port)
    flood = [server.client().get("/api/events", headers=from_("192.0.2.1")).status]
    while flood[-1] != 429:
        assert len(flood) < 1000, flood
        flood.append(server.client().get("/api/events", headers=from_("192.0.2.1")).status)
    assert set(flood) == {401, 429}
    assert server.client().get("/api/events", headers=from_("192.0.2.2")).status == 401
    assert user.get("/api/auth/me", headers=from_("192.0.2.1")).status == 200, "a good token is not refused for its neighbours"
    assert server.client().get("/api/health/live", headers=from_("192.0.2.1")).status == 200
    server.stop()
