"""Every route with every method, media type, size and origin: what HTTP itself promises, whatever the route does."""
import http.client
import re
from pathlib import Path

import pytest

from llmlab_client import Answer, Raw, check_common, dumps, parse_answers, sign_up
from llmlab_server import Server, new_secret
from openapi import DOCUMENT

ROOT = Path(__file__).resolve().parents[2]
ROUTES = re.findall(r'^ROUTE\((\w+), (\w+), "([^"]+)", (\w+), (\w+), (\w+)\)',
                    (ROOT / "include/llmlab/api/routes.def").read_text(), re.MULTILINE)
SOME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO")
PATHS = sorted({path for _, _, path, _, _, _ in ROUTES})
POLICY = "default-src 'none'; frame-ancestors 'none'"
LIMITS = {"JSON_SMALL": 4096, "JSON": 65536, "EVENTS": 8 * 1024 * 1024}


def methods_of(path):
    methods = {m for _, m, p, _, _, _ in ROUTES if p == path}
    return methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())


def here(path):
    return path.replace("{id}", SOME_ID)


@pytest.fixture(scope="module")
def member(server):
    """Somebody whose session the cases do not end: logging out is tried with another one's token."""
    client = sign_up(server.port)
    yield client
    client.close()


@pytest.fixture(scope="module")
def leaver(server):
    client = sign_up(server.port)
    yield client
    client.close()


def ask(server, method, target, headers=None, body=None):
    """One request on a connection of its own; http.client knows that CONNECT and TRACE have no special form here."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, target, body=body, headers=headers or {})
        response = connection.getresponse()
        answer = Answer(method, target, response.status, response.getheaders(), response.read())
    finally:
        connection.close()
    check_common(answer)
    return answer


def assert_headers_of_safety(answer):
    """On whatever the server answers itself."""
    expected = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Cache-Control": "no-store"}
    for name, value in expected.items():
        assert answer.header(name) == value, (name, answer, answer.headers)
    policy = answer.header("Content-Security-Policy")
    assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy and "unsafe" not in policy, answer
    assert policy == POLICY or answer.target.startswith(("/docs", "/api/openapi.json")), answer
    assert answer.header("Server") is None and answer.header("X-Powered-By") is None
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.header("X-Request-Id"))
    assert answer.header("Date")


# ---- methods ----

@pytest.mark.parametrize("path", PATHS)
def test_path_with_every_method_answers_as_the_table_says(server, leaver, path):
    allowed = methods_of(path)
    for method in METHODS:
        answer = ask(server, method, here(path), {"Authorization": f"Bearer {leaver.token}"})
        assert_headers_of_safety(answer)
        if method in ("TRACE", "CONNECT", "FOO"):
            assert answer.status == 501 and answer.header("Allow") is None, answer
        elif method not in allowed:
            assert answer.status == 405 and (method == "HEAD" or answer.json["code"] == "method_not_allowed"), answer
        elif method == "OPTIONS":
            assert answer.status == 204 and answer.body == b"" and answer.header("Content-Type") is None, answer
        else:
            assert answer.status not in (405, 501), answer
        if answer.status in (204, 405) and method not in ("DELETE", "POST"):
            assert set(answer.header("Allow").split(", ")) == allowed, answer
    if path == "/api/auth/logout":
        again = sign_up(server.port)
        leaver.token = again.token
        again.close()


PASSING = {"date", "traceresponse", "x-request-id", "content-length", "transfer-encoding", "connection", "etag", "keep-alive"}


@pytest.mark.parametrize("path", [p for p in PATHS if "GET" in methods_of(p)])
def test_head_has_the_headers_of_get_and_no_body(server, member, path):
    for token in (f"Bearer {member.token}", "Bearer nonsense"):
        get, head = (ask(server, m, here(path), {"Authorization": token}) for m in ("GET", "HEAD"))
        assert head.status == get.status and head.body == b""
        kept = [sorted((k.lower(), v) for k, v in a.headers if k.lower() not in PASSING) for a in (get, head)]
        assert kept[0] == kept[1], path
        assert bool(head.header("Content-Length")) == bool(get.header("Content-Length")) or path == "/api/events/export"


def test_head_keeps_the_connection_in_step(server, member):
    with Raw(server.port) as raw:
        for target in ("/api/auth/me", "/api/nothing", "/api/events", "/metrics"):
            raw.send(f"HEAD {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {member.token}\r\n\r\n")
            raw.read_answer("HEAD")
        raw.send("GET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.read_answer().json["status"] == "alive"


@pytest.mark.parametrize("method", ["get", "GETX", "G(T", "OPTION", "PROPFIND", "M" * 200, "TRACK"])
def test_method_odd_is_refused(server, method):
    with Raw(server.port) as raw:
        raw.send(f"{method} /api/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = raw.read_to_end()
    assert data.startswith((b"HTTP/1.1 501", b"HTTP/1.1 400")) and b"alive" not in data, data


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_method_is_not_what_a_header_says(member, header):
    made = member.ok("POST", "/api/budgets", {"limit": 5, "scope": {"project": header}}, status=201)
    assert member.get(f"/api/budgets/{made['id']}", headers={header: "DELETE"}).status == 200
    assert member.get(f"/api/budgets/{made['id']}").status == 200
    assert member.get(f"/api/budgets/{made['id']}?_method=DELETE").status == 400


# ---- media types ----

TAKING = [(m, p, b) for _, m, p, _, _, b in ROUTES if b != "NONE"]
REFUSING = [(m, p) for _, m, p, _, _, b in ROUTES if b == "NONE" and m != "GET"]


@pytest.mark.parametrize("method,path,kind", TAKING, ids=[f"{m} {p}" for m, p, _ in TAKING])
def test_media_type_refused_names_what_is_taken(member, method, path, kind):
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": None}, {"Content-Type": "application/json; charset=utf-7"},
                    {"Content-Type": "application/json, text/plain"}, {"Content-Type": "application/json; charset=utf-8; x=y"},
                    {"Content-Type": "application/json;"}, {"Content-Type": "application/problem+json"}, {"Content-Type": ""}):
        answer = member.request(method, here(path), body=b"{}", headers=headers)
        assert answer.status == 415 and "application/json" in answer.header("Accept-Post"), (headers, answer)
        assert ("ndjson" in answer.header("Accept-Post")) == (kind == "EVENTS")
    for coding in ("br", "deflate", "gzip, gzip", "zstd", "x-gzip") + (() if kind == "EVENTS" else ("gzip",)):
        answer = member.request(method, here(path), body=b"{}", headers={"Content-Encoding": coding})
        assert answer.status == 415 and "identity" in answer.header("Accept-Encoding"), (coding, answer)
    if path != "/api/auth/logout":  # which would do it
        assert member.request(method, here(path), body=b"{}", headers={"Content-Encoding": "identity"}).status != 415


@pytest.mark.parametrize("method,path", REFUSING, ids=[f"{m} {p}" for m, p in REFUSING])
def test_body_where_none_is_taken_is_refused(member, method, path):
    answer = member.request(method, here(path), body=b"{}")
    assert answer.status == 400 and "body" in answer.json["detail"], answer


@pytest.mark.parametrize("accept,status", [
    ("image/png", 406), ("text/html", 406), ("application/json;q=0", 406), ("application/json; q=0.000", 406), ("*/*;q=0", 406),
    ("application/xml, text/*", 406), ("application/json;Q=0", 406), ("application/jsonp", 406),
    ("", 200), ("*/*", 200), ("application/*;q=0.1", 200), ("text/html, */*;q=0.01", 200), ("APPLICATION/JSON", 200),
    ("application/json;seq=0", 200), ("application/json;q=0.001", 200), ("application/problem+json, application/json", 200)])
def test_accept_decides_between_200_and_406(member, accept, status):
    answer = member.get("/api/auth/me", headers={"Accept": accept})
    assert answer.status == status, answer
    if status == 406:
        assert answer.json["code"] == "not_acceptable"


# ---- sizes ----

@pytest.mark.parametrize("length", ["{limit+1}", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616"])
@pytest.mark.parametrize("method,path,kind", [t for t in TAKING if t[1] in ("/api/events/track", "/api/events/batch", "/api/budgets")],
                         ids=["track", "batch", "budgets"])
def test_length_over_the_limit_is_refused_without_100_continue(server, member, method, path, kind, length):
    length = str(LIMITS[kind] + 1) if length.startswith("{") else length
    with Raw(server.port) as raw:
        raw.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {member.token}\r\nContent-Type: application/json\r\n"
                 f"Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n")
        data = raw.read_to_end()
    assert b"100 Continue" not in data and b" 201 " not in data and b" 200 " not in data, data
    if int(length) < 2 ** 63:
        (answer,), rest = parse_answers(data)
        assert answer.status == 413 and rest == b"" and answer.json["code"] == "content_too_large", data
        assert answer.header("Connection").lower() == "close"
        assert_headers_of_safety(answer)


def test_length_of_the_limit_itself_is_taken(member):
    for path, limit in (("/api/budgets", 4096), ("/api/events/track", 65536)):
        body = dumps({"limit": 5} if path == "/api/budgets" else {"model": "gpt-4", "input_tokens": 1}).encode()
        assert member.post(path, body.ljust(limit)).status in (200, 201)
        assert member.post(path, body.ljust(limit + 1)).status == 413


@pytest.mark.parametrize("status,request_head", [
    (414, "GET /api/health/live?x=" + "a" * 40000 + " HTTP/1.1\r\nHost: x\r\n\r\n"),
    (414, "GET /" + "a/" * 20000 + " HTTP/1.1\r\nHost: x\r\n\r\n"),
    (431, "GET /api/health/live HTTP/1.1\r\nHost: x\r\nX: " + "a" * 40000 + "\r\n\r\n"),
    (431, "GET /api/health/live HTTP/1.1\r\nHost: x\r\n" + "".join(f"X-{i}: a\r\n" for i in range(5000)) + "\r\n"),
    (431, "GET /api/health/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + "a" * 40000 + "\r\n\r\n")],
    ids=["query", "path", "header", "headers", "token"])
def test_head_too_large_is_refused_and_closed(server, status, request_head):
    with Raw(server.port) as raw:
        try:
            raw.send(request_head + "GET /api/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        except OSError:
            pass
        data = raw.read_to_end()
    assert b"alive" not in data and (data == b"" or data.startswith(f"HTTP/1.1 {status}".encode())), data[:200]


def test_query_with_too_many_parameters_is_refused(member):
    answer = member.get("/api/events?" + "&".join(f"a{i}=1" for i in range(40)))
    assert answer.status == 400 and "Too many" in answer.json["detail"], answer


def test_path_of_many_segments_is_not_found(member):
    for path in ("/a" * 1000, "/api/events/" + "/" * 500, "/" * 1000, "/api/events/x/" + "%2e%2e/" * 20):
        assert member.get(path).status in (404, 405), path[:40]


# ---- problems ----

def test_problem_codes_are_those_of_the_description(server, member):
    known = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]
    seen = {}
    for method, path, body, headers in (
            ("GET", "/api/nothing", None, {}), ("PUT", "/api/events", None, {}), ("FOO", "/api/events", None, {}),
            ("GET", "/api/events?x=1", None, {}), ("POST", "/api/budgets", b"{", {}), ("POST", "/api/budgets", b"{}", {"Content-Type": "a/b"}),
            ("GET", "/api/events", None, {"Authorization": "Bearer x"}), ("GET", "/api/events", None, {"Authorization": None}),
            ("GET", "/api/events", None, {"Accept": "a/b"}), ("POST", "/api/budgets", b" " * 5000, {}), ("GET", "/%", None, {}),
            ("GET", f"/api/budgets/{SOME_ID}", None, {})):
        answer = member.request(method, path, body=body, headers=headers)
        assert_headers_of_safety(answer)
        seen[answer.json["code"]] = answer.status
        assert answer.json["type"] == "about:blank" and answer.json["title"] and len(answer.json["detail"]) > 10
    assert set(seen.values()) == {400, 401, 404, 405, 406, 413, 415, 501}, seen
    assert set(seen) <= set(known["enum"]) if "enum" in known else known["type"] == "string"


# ---- origins ----

@pytest.fixture(scope="module")
def open_server(postgres):
    one = Server(DATABASE_URL=postgres.create("origins"), SECRET_KEY=new_secret(), CORS_ORIGINS="https://app.example.com").start()
    yield one
    one.stop()


def cors_of(answer):
    return {k.lower(): v for k, v in answer.headers if k.lower().startswith("access-control-")}


@pytest.mark.parametrize("origin", ["null", "https://app.example.com.evil.org", "https://evil.org/https://app.example.com", "https://app.example.com:443",
                                    "http://app.example.com", "https://app.example.com/", "HTTPS://app.example.com", "https://app.example.comm",
                                    "https://xapp.example.com", "*", "https://*.example.com", "https://app.example.com, https://evil.org", "app.example.com"])
def test_origin_that_is_not_named_gets_nothing(open_server, origin):
    for method, target in (("GET", "/api/health/live"), ("GET", "/api/auth/me"), ("OPTIONS", "/api/auth/me"), ("POST", "/api/auth/login")):
        answer = ask(open_server, method, target, {"Origin": origin, "Access-Control-Request-Method": "GET"})
        assert cors_of(answer) == {} and answer.header("Vary") == "Origin", answer


def test_origin_that_is_named_is_told_on_every_answer_and_never_with_credentials(open_server):
    client = sign_up(open_server.port)
    named = {"Origin": "https://app.example.com"}
    for method, target, body, status in (
            ("GET", "/api/auth/me", None, 200), ("GET", "/api/nothing", None, 404), ("PUT", "/api/auth/me", None, 405), ("FOO", "/api", None, 501),
            ("GET", "/api/events?x=1", None, 400), ("POST", "/api/budgets", b" " * 5000, 413), ("GET", "/docs", None, 200),
            ("GET", "/api/events/export", None, 200), ("POST", "/api/budgets", b"{", 400), ("OPTIONS", "/api/events", None, 204)):
        answer = client.request(method, target, body=body, headers=named)
        assert answer.status == status, answer
        told = cors_of(answer)
        assert told["access-control-allow-origin"] == "https://app.example.com" and answer.header("Vary") == "Origin", answer
        assert "access-control-allow-credentials" not in told
        if target != "/docs":
            assert_headers_of_safety(answer)
    assert ask(open_server, "GET", "/api/auth/me", named).header("Access-Control-Allow-Origin") == "https://app.example.com"
    client.close()


@pytest.mark.parametrize("path", PATHS)
def test_preflight_allows_exactly_the_methods_of_the_path(open_server, path):
    named = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization, x-evil"}
    answer = ask(open_server, "OPTIONS", here(path), named)
    told = cors_of(answer)
    assert answer.status == 204 and set(told["access-control-allow-methods"].split(", ")) == methods_of(path), answer
    allowed = {h.strip().lower() for h in told["access-control-allow-headers"].split(",")}
    assert allowed == {"authorization", "content-type", "idempotency-key", "x-request-id", "traceparent"}
    assert "*" not in "".join(told.values())
    assert set(cors_of(ask(open_server, "OPTIONS", here(path), {"Origin": "https://app.example.com"}))) <= {
        "access-control-allow-origin", "access-control-expose-headers"}, "no preflight without a method to ask for"
