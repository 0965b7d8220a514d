"""What holds for every route: paths, methods, media types, sizes, headers, and how bad input is refused."""
import re
import socket
from pathlib import Path

import pytest

from llmlab_client import Raw, check_common, dumps, sign_up, unique
from llmlab_server import query, wait_for

ROUTES_DEF = Path(__file__).resolve().parents[2] / "include/llmlab/api/routes.def"
ROUTE = re.compile(r'ROUTE\((\w+), (\w+), "([^"]+)", (\w+), (\w+), (\w+)\)')
SOME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


class Route:
    def __init__(self, match):
        self.id, self.method, self.pattern, self.auth, self.run, self.body = match.groups()
        self.path = re.sub(r"\{\w+\}", SOME_ID, self.pattern)


ROUTES = [Route(m) for m in ROUTE.finditer(ROUTES_DEF.read_text())]
PATHS = sorted({r.path for r in ROUTES})
GETS = [r for r in ROUTES if r.method == "GET"]
WITH_BODY = [r for r in ROUTES if r.body != "NONE"]
# Health and metrics are asked by machinery that adds parameters of its own.
STRICT = [r for r in ROUTES if not r.pattern.startswith(("/api/health", "/metrics"))]


def ids(routes):
    return [r.id for r in routes]


def allowed(path):
    """The methods of a path: of the routes that match it without arguments, else of those with."""
    methods = {r.method for r in ROUTES if r.path == path}
    return methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())


@pytest.fixture(scope="module")
def member(server):
    client = sign_up(server.port)
    yield client
    client.close()


def stored(server, client):
    database = server.database()
    rows = query(database, "SELECT (SELECT count(*) FROM events WHERE user_id = %s), (SELECT count(*) FROM budgets"
                           " WHERE user_id = %s), (SELECT count(*) FROM users)", (client.user_id, client.user_id))
    database.close()
    return rows[0]


def test_routes_table_is_read_completely():
    assert len(ROUTES) == ROUTES_DEF.read_text().count("\nROUTE(")
    assert {"/api/events/track", "/api/auth/signup", "/api/costs/summary", "/metrics"} <= set(PATHS)


# ---- paths and methods ----

@pytest.mark.parametrize("path", PATHS)
def test_path_wrong_methods_answer_405_with_exact_allow(member, path):
    expected = allowed(path)
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        if method in expected:
            continue
        answer = member.request(method, path)
        assert answer.status == 405, answer
        assert set(answer.header("Allow").replace(" ", "").split(",")) == expected, answer


@pytest.mark.parametrize("path", PATHS)
def test_path_options_answers_204_with_allow_without_token(server, path):
    client = server.client()
    for target in (path, path + "/"):
        answer = client.request("OPTIONS", target)
        assert answer.status == 204, answer
        assert set(answer.header("Allow").replace(" ", "").split(",")) == allowed(path)
    client.close()


@pytest.mark.parametrize("method", ["FOO", "TRACE", "get", "PROPFIND"])
def test_method_unknown_answers_501(member, method):
    answer = member.request(method, "/api/events")
    assert answer.status == 501, answer


@pytest.mark.parametrize("route", GETS, ids=ids(GETS))
def test_get_with_trailing_slash_answers_alike_and_head_without_body(member, route):
    plain = member.get(route.path)
    slash = member.get(route.path + "/")
    head = member.request("HEAD", route.path)
    assert plain.status == slash.status == head.status, (plain, slash, head)
    assert plain.status == (404 if "{" in route.pattern else 200), plain
    assert head.body == b""
    assert head.header("Content-Type") == plain.header("Content-Type")


@pytest.mark.parametrize("path", ["/", "/api", "/api/", "/api/nothing", "/api/eventsx", "/api//events", "/API/events",
                                  "/api/events/track/more", "/api/budgets/" + SOME_ID + "/x", "/apix/health",
                                  "/api/health/live/x", "/metrics/x", "/api/%2e%2e/metrics", "/api/events%2Ftrack"])
def test_path_unknown_answers_404(member, path):
    assert member.get(path).status in ((404, 405) if path.endswith("//") else (404,))


@pytest.mark.parametrize("route", [r for r in ROUTES if r.auth != "PUBLIC"],
                         ids=ids([r for r in ROUTES if r.auth != "PUBLIC"]))
def test_route_without_token_answers_401(server, route):
    client = server.client()
    answer = client.request(route.method, route.path, body={} if route.body != "NONE" else None)
    assert answer.status == 401 and answer.json["code"] == "unauthenticated", answer
    for header in ("Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "bearerx abc", ""):
        answer = client.request(route.method, route.path, headers={"Authorization": header})
        assert answer.status == 401, (header, answer)
    client.close()


# ---- media types and sizes ----

@pytest.mark.parametrize("route", WITH_BODY, ids=ids(WITH_BODY))
def test_body_of_another_media_type_answers_415(member, route):
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                 "application/json; charset=utf-16", "application/jsonx", "application/json; charset=latin1"):
        answer = member.request(route.method, route.path, body=b"{}", headers={"Content-Type": kind})
        assert answer.status == 415, (kind, answer)
    answer = member.request(route.method, route.path, body=b"{}", headers={"Content-Encoding": "br"})
    assert answer.status == 415, answer


def test_body_of_json_with_utf8_charset_is_taken(member):
    event = dumps({"model": "gpt-4", "input_tokens": 1}).encode()
    for kind in ("application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON",
                 'application/json; charset="utf-8"'):
        answer = member.post("/api/events/track", event, headers={"Content-Type": kind})
        assert answer.status == 201, answer


@pytest.mark.parametrize("route", GETS, ids=ids(GETS))
def test_get_with_a_body_answers_400(member, route):
    assert member.request("GET", route.path, body=b"{}").status == 400


@pytest.mark.parametrize("route", WITH_BODY, ids=ids(WITH_BODY))
def test_body_declared_too_large_answers_413_before_it_is_sent(server, member, route):
    limit = {"JSON_SMALL": 4096, "JSON": 65536, "EVENTS": 8 * 1024 * 1024}[route.body]
    with Raw(server.port) as raw:
        raw.send(f"{route.method} {route.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {member.token}\r\n"
                 f"Content-Type: application/json\r\nContent-Length: {limit + 1}\r\nExpect: 100-continue\r\n\r\n")
        data = raw.read_to_end()
        assert data.startswith(b"HTTP/1.1 413"), data


def send_chunks(raw, member, n):
    """n chunks of 16 KiB; false when the server closed before the last one."""
    raw.send(f"POST /api/events/track HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {member.token}\r\n"
             "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    try:
        for _ in range(n):
            raw.send(chunk)
        return True
    except OSError:
        return False


def test_body_chunked_beyond_the_limit_answers_413_and_closes(server, member):
    with Raw(server.port) as raw:
        assert send_chunks(raw, member, 20)
        raw.send("0\r\n\r\nGET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        data = raw.read_to_end()
        assert data.startswith(b"HTTP/1.1 413") and b"alive" not in data, data


def test_body_chunked_without_end_is_cut(server, member):
    with Raw(server.port) as raw:
        send_chunks(raw, member, 2000)  # 32 MiB
        assert b" 201 " not in raw.read_to_end()


def test_accept_that_excludes_json_answers_406(member):
    assert member.get("/api/auth/me", headers={"Accept": "image/png"}).status == 406
    for accept in ("*/*", "application/*", "text/html, application/json;q=0.5", "application/json"):
        assert member.get("/api/auth/me", headers={"Accept": accept}).status == 200, accept


# ---- headers ----

def test_request_id_well_formed_is_taken_else_made(member):
    for good in ("abc", "A-1_b.c", "x" * 64):
        assert member.get("/api/health/live", headers={"X-Request-Id": good}).header("X-Request-Id") == good
        problem = member.get("/api/nothing", headers={"X-Request-Id": good})
        assert problem.json["request_id"] == good
    made = set()
    for bad in ("", "x" * 65, "a b", "a,b", "<script>", "a/b", "\xe9"):
        answer = member.get("/api/health/live", headers={"X-Request-Id": bad})
        assert answer.status == 200, (bad, answer)
        made.add(answer.header("X-Request-Id"))
    assert len(made) == 7 and not made & {"", "x" * 65, "a b", "a,b", "<script>", "a/b"}


def test_request_id_stands_in_the_log(server, member):
    own = unique("request")
    member.get("/api/auth/me", headers={"X-Request-Id": own})
    wait_for(lambda: own in server.log, "the log line")


def test_cors_without_setting_sends_no_cors_header(member):
    for origin in ("https://app.example.com", "null", "http://localhost:3000"):
        for method in ("GET", "OPTIONS"):
            answer = member.request(method, "/api/auth/me", headers={"Origin": origin,
                                    "Access-Control-Request-Method": "GET"})
            assert not [k for k, _ in answer.headers if k.lower().startswith("access-control-")], answer


def test_cors_with_setting_allows_exactly_the_named_origins(pair, own_server):
    settings = dict(pair[0].settings, CORS_ORIGINS="https://app.example.com, http://localhost:3000")
    server = own_server(**settings).start()
    client = sign_up(server.port)
    for origin in ("https://app.example.com", "http://localhost:3000"):
        answer = client.get("/api/auth/me", headers={"Origin": origin})
        assert answer.status == 200 and answer.header("Access-Control-Allow-Origin") == origin, answer
        assert "origin" in answer.header("Vary").lower()
        preflight = server.client().request("OPTIONS", "/api/events/track", headers={
            "Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"})
        assert preflight.status == 204, preflight
        assert preflight.header("Access-Control-Allow-Origin") == origin
        assert "POST" in preflight.header("Access-Control-Allow-Methods")
        assert "authorization" in preflight.header("Access-Control-Allow-Headers").lower()
        refused = server.client().get("/api/auth/me", headers={"Origin": origin})
        assert refused.status == 401 and refused.header("Access-Control-Allow-Origin") == origin
    for origin in ("https://app.example.com.evil.org", "https://evilapp.example.com", "http://app.example.com", "null",
                   "https://app.example.com:8443", "https://APP.example.com", "https://app.example.co", "*", ""):
        for method in ("GET", "OPTIONS"):
            answer = client.request(method, "/api/auth/me", headers={"Origin": origin,
                                    "Access-Control-Request-Method": "GET"})
            assert answer.header("Access-Control-Allow-Origin") is None, (origin, answer)
            assert answer.header("Access-Control-Allow-Credentials") is None
    client.close()
    server.stop()


# ---- bad input is named, and nothing is stored ----

@pytest.mark.parametrize("route", STRICT, ids=ids(STRICT))
def test_query_parameter_unknown_is_named(member, route):
    body = b"{}" if route.body != "NONE" else None
    answer = member.request(route.method, route.path + "?nonsense=1", body=body)
    assert answer.status == 400, answer
    if route.pattern not in ("/api/auth/signup",):
        assert "nonsense" in answer.fields, answer


READING = [r for r in GETS if r.auth == "READ" and "{" not in r.pattern and r.pattern not in
           ("/api/budgets", "/api/pricing/models")]


@pytest.mark.parametrize("route", READING, ids=ids(READING))
def test_query_parameter_given_twice_is_refused(member, route):
    answer = member.get(route.path + "?tz=UTC&tz=UTC")
    assert answer.status == 400 and "tz" in answer.fields, answer


@pytest.mark.parametrize("query_string", ["tz=%", "tz=%4", "tz=%zz", "tz=%00", "tz=UTC%00", "tz=%ff", "tz=%c3%28", "=1",
                                          "%00=1"])
def test_query_string_malformed_answers_400(member, query_string):
    assert member.get("/api/costs/summary?" + query_string).status == 400


MALFORMED = {
    "empty": b"", "blank": b"   ", "open": b"{", "array": b"[]", "string": b'"x"', "number": b"1", "null": b"null",
    "word": b"nul", "comma": b'{"a":1,}', "single quotes": b"{'a':1}", "comment": b"{} // x", "tail": b"{}{}",
    "tail text": b"{} x", "bare key": b"{a:1}", "no colon": b'{"a" 1}', "not a number": b'{"limit":NaN}',
    "infinity": b'{"limit":Infinity}', "minus infinity": b'{"limit":-Infinity}', "leading zero": b'{"limit":01}',
    "plus": b'{"limit":+1}', "dot": b'{"limit":1.}', "dot first": b'{"limit":.5}', "hex": b'{"limit":0x10}',
    "exponent": b'{"limit":1e}', "control": b'{"name":"a\x01b"}', "newline": b'{"name":"a\nb"}', "bom": b"\xef\xbb\xbf{}",
    "invalid utf-8": b'{"name":"\xff"}', "overlong utf-8": b'{"name":"\xc0\xaf"}', "surrogate utf-8":
    b'{"name":"\xed\xa0\x80"}', "lone surrogate": b'{"name":"\\ud800"}', "nul escape": b'{"name":"a\\u0000b"}',
    "nul": b'{"name":"a\x00b"}', "nul key": b'{"na\\u0000me":1}', "nul after": b"{}\x00", "bad escape": b'{"name":"\\x41"}',
    "duplicate key": b'{"name":"a","name":"b"}', "escaped duplicate key": b'{"name":"a","n\\u0061me":"b"}',
    "deep": b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", "deep open": b"[" * 3000, "utf-16": '{"a":1}'.encode("utf-16"),
}
OBJECTS = [r for r in WITH_BODY if r.id not in ("events_batch", "auth_logout")]


@pytest.mark.parametrize("route", OBJECTS, ids=ids(OBJECTS))
def test_body_malformed_is_refused_and_nothing_is_stored(server, member, route):
    before = stored(server, member)
    for name, body in MALFORMED.items():
        answer = member.request(route.method, route.path, body=body)
        assert answer.status in (400, 413) and "deep" in name or answer.status == 400, (name, answer)
        assert b"\x00" not in answer.body and "jansson" not in answer.json["detail"], (name, answer)
    assert stored(server, member) == before


@pytest.mark.parametrize("route", OBJECTS, ids=ids(OBJECTS))
def test_body_field_unknown_is_named_and_nothing_is_stored(server, member, route):
    before = stored(server, member)
    # user_id, id and cost_usd are what an attacker would try to set; input_token is a slip that must not cost 0
    body = {"input_token": 5, "user_id": SOME_ID, "id": SOME_ID, "created_at": "2026-01-01T00:00:00Z", "__proto__": {}}
    answer = member.request(route.method, route.path, body=body)
    assert answer.status == 400 and set(body) <= answer.fields, answer
    assert stored(server, member) == before


WRONG_TYPES = [
    ("events_track", "input_tokens", ["1", True, [], {}, -1, 1.5, 10 ** 18, 2 ** 63, 2 ** 64, -2 ** 63, 10 ** 13]),
    ("events_track", "output_tokens", ["1", False, [1], -5, 0.1, 10 ** 30]),
    ("events_track", "provider", ["", "  ", 5, [], "x" * 201, "a\x01b"]),
    ("events_track", "model", ["", 5, {}, "x" * 201, "a\nb", " "]),
    ("events_track", "cost", [-1, "-1", "1,5", "abc", "", "0x10", "NaN", "Infinity", "1e400", True, [], " 1"]),
    ("events_track", "timestamp", ["yesterday", "now", "infinity", "epoch", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z",
                                   "0000-01-01T00:00:00Z", "2014-12-31T23:59:59Z", "2290-01-01T00:00:00Z", -1, True, [],
                                   "294000-01-01T00:00:00Z", "2025-01-01T00:00:00+25:00", "2025-01-01T24:01:00Z"]),
    ("events_track", "metadata", ["x", [], 1, {"a": "x" * 4096}]),
    ("events_track", "tags", ["x", [], {"a": 1}, {"a": None}, {"": "x"}, {str(i): "x" for i in range(9)},
                              {"a": "x" * 129}, {"k" * 129: "x"}]),
    ("events_track", "project", ["x" * 129, 5, ""]),
    ("events_track", "customer", ["x" * 129, 5, ""]),
    ("events_track", "latency_ms", [-1, "5", 1.5]),
    ("events_track", "status", ["ok", 1, "SUCCESS", ""]),
    ("events_track", "idempotency_key", ["", "x" * 129, 7]),
    ("events_track", "units", [[], {"no_such_unit": 1}, {"input_second": -1}, {"input_second": "x"}, {}]),
    ("events_track", "web_searches", [-1, "1", 0.5]),
    ("events_track", "usage", [[], "x", 5]),
    ("budgets_set", "limit", [0, -1, "0", "-5", "abc", "", True, [], "NaN", "1e400"]),
    ("budgets_set", "period", ["hourly", 5, "", "Monthly"]),
    ("budgets_set", "scope", ["x", {"user": "x"}, {"provider": ""}, {"provider": "a", "model": "b"}, {"tag.": "x"}, []]),
    ("budgets_set", "thresholds", [[], [0], ["x"], [-1], [1.5], 50, [50] * 50]),
    ("budgets_set", "hard", ["true", 1]),
    ("budgets_set", "name", ["x" * 201, 5, ""]),
    ("auth_me_update", "name", ["", "x" * 201, 5]),
    ("auth_me_update", "timezone", ["Mars/Phobos", "", "../../etc/passwd", "/etc/localtime", 5, "posixrules/../x", "x" * 500]),
]
GOOD_BODY = {"events_track": {"model": "gpt-4", "input_tokens": 1}, "budgets_set": {"limit": 5}, "auth_me_update": {}}


@pytest.mark.parametrize("route_id,field,values", WRONG_TYPES, ids=[f"{r}-{f}" for r, f, _ in WRONG_TYPES])
def test_body_field_wrong_is_named_and_nothing_is_stored(server, member, route_id, field, values):
    before = stored(server, member)
    route = next(r for r in ROUTES if r.id == route_id)
    for value in values:
        answer = member.request(route.method, route.path, body={**GOOD_BODY[route_id], field: value})
        assert answer.status == 400, (value, answer)
        # a wrong usage object also contradicts the counts beside it; what is inside is named with a dot
        assert any(f == field or f.startswith(field + ".") for f in answer.fields), (value, answer)
    assert stored(server, member) == before


def test_body_with_many_bad_fields_names_them_all(member):
    answer = member.post("/api/events/track", {"model": 5, "input_tokens": -1, "output_tokens": "x", "cost": -2,
                                               "timestamp": "never", "status": "fine", "latency_ms": -1, "bogus": 1})
    assert answer.status == 400
    assert answer.fields >= {"model", "input_tokens", "output_tokens", "cost", "timestamp", "status", "latency_ms", "bogus"}


def test_connection_is_kept_through_refused_requests(server, member):
    with Raw(server.port) as raw:
        for target, status in (("/api/nothing", 404), ("/api/auth/me", 401), ("/api/health/live", 200)):
            raw.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = raw.read_answer()
            check_common(answer)
            assert answer.status == status
        raw.send(f"POST /api/events/track HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {member.token}\r\n"
                 "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
        assert raw.read_answer().status == 415
        raw.send("GET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.read_answer().status == 200


def test_log_lines_survive_hostile_values(server, member):
    for target in ("/api/%0d%0aInjected", "/api/%1b%5b31m", "/api/%22%5c", "/api/\xc3\xa9"):
        try:
            member.get(target)
        except (OSError, UnicodeError):
            pass
    with Raw(server.port) as raw:
        raw.send('GET /api/x"\\\x1b[31m HTTP/1.1\r\nHost: x\r\nUser-Agent: a"\\\x1bb\r\nConnection: close\r\n\r\n')
        raw.socket.settimeout(5)
        try:
            raw.read_to_end()
        except socket.timeout:
            pytest.fail("the connection stayed open")
    server.check_log(complete=False)
