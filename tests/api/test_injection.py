"""Hostile values in every parameter and every member of every body, as docs/openapi.yaml names them: each is refused by a problem
that tells nothing of the inside, or kept exactly as it was sent. Every SQL text that PostgreSQL saw meanwhile stands in the sources;
the log stays one JSON object a line, and what is secret or the user's is not in it."""
import csv
import io
import json
import re
import sys
import urllib.parse
from pathlib import Path

import pytest

from llmlab_client import PASSWORD, SECRETS, Client, dumps, loads, sign_up, unique
from llmlab_server import PATIENT, Postgres, Server, new_secret, query
from openapi import DOCUMENT

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lint"))

import tenants  # noqa: E402

SOME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
CANARY = "canary0f7d"

# What may not be in an answer: how the inside is made.
INSIDE = re.compile(r"SQLSTATE|syntax error|relation \"|pg_|libpq|jansson|libmicrohttpd|\.c:\d|/usr/|/tmp/|/home/|PostgreSQL|"
                    r"\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM)\b|constraint|0x[0-9a-f]{6}|stack|unexpected token near")

TEXTS = ["'", "''", '"', "\\", "`", "' OR '1'='1", "'; DROP TABLE events; --", '" OR 1=1 --', "1); SELECT pg_sleep(9); --", "$1", "%s%n",
         "%' OR name LIKE '%", "{1,2}", '{"a"', "NULL", "\\'; --", "/* x */", "' UNION SELECT password_hash FROM users --", "E'\\x27'",
         "=1+1", "@SUM(A1)", "+1", "-1", "<script>alert(1)</script>", "${jndi:ldap://x/}", "{{7*7}}", "../../etc/passwd", "..\\x",
         "\U0001f600" * 20, "\u202egnp.exe", "\ufeffbom", "\uffff", "\u0130\u0131\u00df", "a\u0301", " x ", "__proto__", "constructor",
         "Infinity", "NaN", "infinity", "now", "epoch", "-0", "1e400", "9223372036854775808", "1" * 400, "0x10", "x" * 3000]
CONTROLS = ["\r\nX-Injected: 1", "a\nb", "\x1b[31mred", "a\tb", "a\x7fb", "\u0085", "a\x01b"]

# Pieces of JSON put where a value belongs.
RAW = [b"null", b"true", b"[]", b"{}", b"[[]]", b'{"__proto__":{"a":1}}', b"-0", b"-1", b"1.5", b"1e400", b"-1e400", b"1e-400", b"1E+2",
       b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"-9223372036854775809", b"9" * 400, b"0." + b"0" * 300 + b"1",
       b'"2290-01-01"', b'"0000-00-00T00:00:00Z"', b'"290000-01-01T00:00:00Z"', b'"2025-06-31"']
# Pieces that are no JSON text that the server takes.
NOT_JSON = [b"NaN", b"Infinity", b"-Infinity", b'"\\ud800"', b'"\\u0000"', b'"a\x00b"', b"6\x00", b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"',
            b'"\xf8\x88\x80\x80\x80"', b"01", b"+1", b"'a'", b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b"\x0c1"]
QUERY_BYTES = ["%00", "a%00b", "%0d%0aX-Injected:%201", "%1b%5b31m", "%ff", "%c0%af", "%ed%a0%80", "%f8%88%80%80%80", "%", "%4", "%zz", "%7f"]


def resolved(part):
    if "$ref" not in part:
        return part
    target = DOCUMENT
    for step in part["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return target


class Operation:
    def __init__(self, path, method, operation):
        self.path, self.method = path, method.upper()
        self.id = operation["operationId"]
        parameters = [resolved(p) for p in operation.get("parameters", [])]
        self.query = [p["name"] for p in parameters if p["in"] == "query"]
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        self.schema = resolved(content["schema"]) if content else None

    def places(self):
        """Where a value can stand in the body: paths of member names, and 0 for the first of an array."""
        return list(places(self.schema, (), set())) if self.schema else []


def places(schema, prefix, seen):
    reference = schema.get("$ref")
    if reference in seen and reference or len(prefix) > 4:
        return
    schema = resolved(schema)
    if prefix:
        yield prefix
    for name, member in schema.get("properties", {}).items():
        yield from places(member, (*prefix, name), seen | {reference})
    if "items" in schema and isinstance(schema["items"], dict):
        yield from places(schema["items"], (*prefix, 0), seen | {reference})
    if isinstance(schema.get("additionalProperties"), dict):
        yield (*prefix, "tag.a" if "scope" in prefix else "a")


OPERATIONS = [Operation(path, method, operation) for path, methods in DOCUMENT["paths"].items()
              for method, operation in methods.items()]
WITH_BODY = [o for o in OPERATIONS if o.schema and o.path not in ("/api/auth/logout", "/api/auth/me") or o.method == "PATCH"]
WITH_QUERY = [o for o in OPERATIONS if o.query]

# A body that is right but for what a case puts into it. What argon2 is asked for is kept small.
EVENT = {"model": "gpt-4", "input_tokens": 1}
BODIES = {
    "/api/events/track": EVENT, "/api/pricing/estimate": EVENT, "/api/budgets/check": {"amount": 1, "model": "gpt-4"},
    "/api/events/batch": {"events": [EVENT]}, "/api/pricing/overrides": {
        "provider": "own", "model": "m", "per_million_tokens": {"input": "1"}},
    "/api/pricing/reprice": {"from": "2026-01-01", "to": "2026-01-02", "dry_run": True},
    "/api/budgets": {"limit": 5}, "/api/budgets/{id}": {}, "/api/webhooks/{id}": {},
    "/api/webhooks": {"url": "https://example.com/", "events": ["model.unpriced"]}, "/api/keys": {"name": "k", "scope": "read"},
    "/api/recommendations/simulate": {"changes": [{"model": "gpt-4", "to_model": "gpt-4.1"}]}, "/api/auth/me": {},
    "/api/auth/signup": {"email": "no@", "password": "short", "name": "n"},  # wrong already: nobody is made
    "/api/auth/login": {"email": "nobody@example.com", "password": "x" * 2000},
    "/api/auth/password": {"current_password": "x" * 2000, "new_password": "x"},
}


def put(value, place, piece):
    """The value with the piece at the place, as JSON text."""
    if not place:
        return piece
    step, *rest = place
    if step == 0:
        inner = value[0] if isinstance(value, list) and value else {}
        return b"[" + put(inner, rest, piece) + b"]"
    members = {k: dumps(v).encode() for k, v in (value if isinstance(value, dict) else {}).items() if k != step}
    members[step] = put((value or {}).get(step) if isinstance(value, dict) else None, rest, piece)
    return b"{" + b",".join(json.dumps(k).encode() + b":" + v for k, v in members.items()) + b"}"


@pytest.fixture(scope="module")
def postgres_here(no_process_left):
    """One whose log says every statement, with the program that sent it."""
    one = Postgres().start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def target(postgres_here):
    """A server under attack, its user, and the things of the paths."""
    server = Server(DATABASE_URL=postgres_here.create("target"), SECRET_KEY=new_secret(), **PATIENT).start()
    client = sign_up(server.port)
    client.track(**EVENT)
    server.client_, server.ids = client, {
        "/api/budgets/{id}": client.ok("POST", "/api/budgets", {"limit": 5, "scope": {"project": "x"}}, status=201)["id"],
        "/api/webhooks/{id}": client.ok("POST", "/api/webhooks", BODIES["/api/webhooks"], status=201)["id"]}
    admin = server.database()
    for setting in ("log_statement = 'all'", "log_line_prefix = '%a|'", "log_min_messages = 'warning'"):
        query(admin, f"ALTER SYSTEM SET {setting}")
    query(admin, "SELECT pg_reload_conf()")
    admin.close()
    yield server
    client.close()
    server.stop()


def tables_of(server):
    database = server.database()
    counts = query(database, """
        SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM budgets), (SELECT count(*) FROM users), (SELECT count(*) FROM api_keys),
               (SELECT count(*) FROM price_overrides), (SELECT count(*) FROM webhooks), (SELECT count(*) FROM event_keys)""")
    database.close()
    return counts[0]


def path_of(server, operation):
    for pattern, an_id in server.ids.items():
        if operation.path.startswith(pattern):
            return operation.path.replace("{id}", an_id)
    return operation.path.replace("{id}", SOME_ID)


def assert_sound(answer, sent):
    """No failure of ours, nothing of the inside that was not sent here."""
    assert answer.status < 500, (sent, answer)
    if answer.status >= 400:
        found = INSIDE.search(answer.body.decode())
        assert not found or found[0].lower() in str(sent).lower(), (found[0], sent, answer)
    assert answer.header("X-Injected") is None, (sent, answer)


# ---- every member of every body ----

@pytest.mark.parametrize("operation", WITH_BODY, ids=[o.id for o in WITH_BODY])
def test_body_hostile_value_in_every_member_is_refused_or_taken_but_never_a_failure(target, operation):
    base = BODIES[operation.path]
    path = path_of(target, operation)
    for i, place in enumerate(operation.places()):
        for text in (TEXTS + CONTROLS)[i % 3::3]:  # all of them three places on
            body = put(base, place, json.dumps(text).encode())
            assert_sound(target.client_.request(operation.method, path, body=body), body)
        for piece in RAW:
            body = put(base, place, piece)
            assert_sound(target.client_.request(operation.method, path, body=body), body)


@pytest.mark.parametrize("operation", WITH_BODY, ids=[o.id for o in WITH_BODY])
def test_body_that_is_no_json_anywhere_is_refused_and_nothing_is_stored(target, operation):
    base = BODIES[operation.path]
    path = path_of(target, operation)
    before = tables_of(target)
    for place in operation.places():
        for piece in NOT_JSON:
            body = put(base, place, piece)
            answer = target.client_.request(operation.method, path, body=body)
            assert_sound(answer, body)
            if operation.path == "/api/events/batch" and answer.status == 200:  # the one event is refused by itself
                assert (answer.json["accepted"], answer.json["rejected"]) == (0, 1), (body, answer)
            else:
                assert answer.status == 400, (body, answer)
    assert tables_of(target) == before


FOREIGN = {"user_id": SOME_ID, "id": SOME_ID, "event_id": SOME_ID, "account": SOME_ID, "created_at": "2020-01-01T00:00:00Z", "received_at": 1,
           "cost_usd": 0, "total_cost": 0, "pricing_status": "free", "pricing": {}, "catalogue_cost": 0, "set_id": SOME_ID, "role": "admin",
           "is_admin": True, "password_hash": "x", "session_generation": 0, "api_key_id": SOME_ID, "hash": "x", "secret": "x",
           "current_spend": 0, "status_": "ok", "__proto__": {"admin": True}, "constructor": {}, "attempts": 0, "deleted_at": None}


@pytest.mark.parametrize("operation", WITH_BODY, ids=[o.id for o in WITH_BODY])
def test_body_member_that_is_the_servers_own_is_named_and_nothing_is_stored(target, operation):
    path = path_of(target, operation)
    before = tables_of(target)
    known = set(resolved(operation.schema).get("properties", {}))
    inner = BODIES[operation.path]
    if operation.path == "/api/events/batch":
        for name, value in FOREIGN.items():
            result = target.client_.ok("POST", path, {"events": [{**EVENT, name: value}]})["results"][0]
            assert [e["field"] for e in result["error"]["errors"]] == [name], result
    for name, value in FOREIGN.items():
        if name in known:
            continue
        answer = target.client_.request(operation.method, path, body={**inner, name: value})
        assert answer.status == 400 and name in answer.fields, answer
    assert tables_of(target) == before


@pytest.mark.parametrize("operation", WITH_BODY, ids=[o.id for o in WITH_BODY])
def test_body_bombs_are_refused_and_nothing_is_stored(target, operation):
    path = path_of(target, operation)
    before = tables_of(target)
    size = 4000 if operation.path.startswith(("/api/auth", "/api/keys", "/api/budgets", "/api/webhooks", "/api/pricing/reprice")) else 60000
    if operation.path == "/api/events/batch":
        size = 4_000_000
    for body in (b"[" * size, b'{"a":' * (size // 5), b'{"events":[' + b"[]," * (size // 3 - 10) + b"0]}",
                 b'{"a":[' + b"{}," * (size // 3 - 10) + b"0]}", b"{" + b",".join(b'"k%d":0' % i for i in range(size // 12)) + b"}",
                 b'{"a":"' + b"\\u00e9" * (size // 6 - 5) + b'"}', b'{"a":' + b"1" * (size - 10) + b"}"):
        answer = target.client_.request(operation.method, path, body=body)
        assert answer.status in (400, 413) or operation.path == "/api/events/batch" and answer.status == 200, answer
        assert_sound(answer, "")
        if answer.status == 200:  # each thing in the list is refused by itself
            assert (answer.json["accepted"], answer.json["duplicates"]) == (0, 0)
    try:
        assert target.client_.request(operation.method, path, body=b'{"name":"' + b"x" * 10_000_000 + b'"}').status == 413
    except OSError:
        pass  # refused and closed before it was sent
    assert tables_of(target) == before


# ---- every parameter of every query, and ids in paths ----

@pytest.mark.parametrize("operation", WITH_QUERY, ids=[o.id for o in WITH_QUERY])
def test_query_hostile_value_in_every_parameter_is_refused_or_finds_nothing(target, operation):
    path = path_of(target, operation)
    for name in operation.query:
        name = "tag.a" if name == "tag" else name
        for text in TEXTS + ["tag." + TEXTS[5], "model," * 3, "0", "-1", "1e3", "99999999999999999999", SOME_ID, ""]:
            try:
                answer = target.client_.request(operation.method, path, query={name: text})
            except OSError as error:
                raise AssertionError(f"{name}={text!r} ended the connection") from error
            assert_sound(answer, urllib.parse.unquote(text))
        for text in QUERY_BYTES:
            answer = target.client_.request(operation.method, f"{path}?{urllib.parse.quote(name)}={text}")
            assert answer.status == 400, (name, text, answer)
            assert_sound(answer, text)
        for hostile in ("tag.' OR 1=1 --", "tag." + "x" * 500, name.upper(), name + "[]", name + "[$ne]", "'"):
            if hostile != name:
                assert_sound(target.client_.request(operation.method, path, query={hostile: "1"}), hostile)


@pytest.mark.parametrize("path", sorted({o.path for o in OPERATIONS if "{id}" in o.path}))
def test_path_hostile_id_answers_404_or_400(target, path):
    methods = [o.method for o in OPERATIONS if o.path == path]
    for text in TEXTS + ["0", "%00", "%0d%0a", "..", ".", SOME_ID.upper(), SOME_ID[:-1], SOME_ID + "0", "{" + SOME_ID + "}", SOME_ID + "%00",
                         SOME_ID.replace("-", ""), "ffffffff-ffff-7fff-bfff-ffffffffffff", "00000000-0000-0000-0000-000000000000"]:
        raw = text if "%" in text and len(text) < 50 and " " not in text else urllib.parse.quote(text, safe="")
        for method in methods:
            answer = target.client_.request(method, path.replace("{id}", raw), body=b"{}" if method == "PATCH" else None)
            assert answer.status in (400, 404), answer
            assert_sound(answer, urllib.parse.unquote(text))


@pytest.mark.parametrize("header", ["Idempotency-Key", "X-Request-Id", "traceparent", "If-None-Match", "Accept", "Origin", "X-Forwarded-For",
                                    "Forwarded", "User-Agent", "Authorization", "Content-Type", "Content-Encoding", "Host"])
def test_header_hostile_value_is_refused_or_ignored(target, header):
    before = tables_of(target)
    taken = 0
    for text in TEXTS:
        try:
            value = text.encode("latin-1").decode("latin-1")
        except UnicodeEncodeError:
            value = text.encode().decode("latin-1")
        answer = target.client_.request("POST", "/api/events/track", body=EVENT, headers={header: value.strip() or "x"})
        taken += answer.status == 201
        assert_sound(answer, text)
    assert tables_of(target)[0] == before[0] + taken


# ---- what is taken is kept exactly ----

KEPT = [("/api/events/track", ("project",), EVENT, 201, "/api/events/{event_id}"), ("/api/events/track", ("customer",), EVENT, 201, "/api/events/{event_id}"),
        ("/api/events/track", ("model",), EVENT, 201, "/api/events/{event_id}"), ("/api/events/track", ("tags", "a"), EVENT, 201, "/api/events/{event_id}"),
        ("/api/events/track", ("metadata", "a"), EVENT, 201, "/api/events/{event_id}"),
        ("/api/budgets", ("name",), {"limit": 5}, None, "/api/budgets/{id}"),
        ("/api/webhooks", ("name",), BODIES["/api/webhooks"], 201, "/api/webhooks/{id}")]


@pytest.mark.parametrize("path,place,base,status,shown", KEPT, ids=[f"{k[0].split('/')[2]}-{k[1][0]}" for k in KEPT])
def test_text_that_is_taken_comes_back_exactly(target, path, place, base, status, shown):
    user = sign_up(target.port)
    kept = 0
    for text in TEXTS + CONTROLS:
        answer = user.request("POST", path, body=put(base, place, json.dumps(text).encode()))
        if answer.status == 400:
            continue
        assert answer.status == status or status is None and answer.status in (200, 201), answer
        made = answer.json
        value = user.ok("GET", shown.format(**made))
        for step in place:
            value = value[step]
        assert value == text, (text, value)
        kept += 1
        if path == "/api/webhooks":
            user.ok("DELETE", f"/api/webhooks/{made['id']}", status=204)
    assert kept >= 30, "most of them are texts like any other"
    user.close()


def test_tag_keys_that_are_taken_come_back_exactly_and_can_be_asked_for(target):
    user = sign_up(target.port)
    for text in TEXTS:
        answer = user.post("/api/events/track", {**EVENT, "tags": {text: text[:100]}})
        if answer.status == 400:
            continue
        event = user.ok("GET", f"/api/events/{answer.json['event_id']}")
        assert event["tags"] == {text: text[:100]}
        if text.strip() == text:
            found = user.ok("GET", "/api/events", query={f"tag.{text}": text[:100]})["events"]
            assert [e["event_id"] for e in found] == [event["event_id"]], text
            rows = user.ok("GET", "/api/costs/breakdown", query={"group_by": f"tag.{text}"})["rows"] if "," not in text else []
            assert "," in text or text[:100] in {r[f"tag.{text}"] for r in rows}, rows
    user.close()


def test_spreadsheets_are_given_no_formulas(target):
    user = sign_up(target.port)
    formulas = ["=1+1", "+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", '=HYPERLINK("http://x","y")']
    for formula in formulas:
        user.track(**{**EVENT, "model": formula}, project=formula, customer=formula, tags={formula: formula}, metadata={formula: formula})
    rows = list(csv.DictReader(io.StringIO(user.get("/api/events/export?format=csv").body.decode())))
    assert len(rows) == len(formulas)
    for row in rows:
        for name in ("model", "project", "customer", "tags", "metadata", "provider"):
            assert not row[name].startswith(("=", "+", "-", "@", "\t", "\r")), row
    user.close()


def test_metadata_names_that_mean_something_elsewhere_are_only_names(target):
    metadata = {"__proto__": {"admin": True}, "constructor": 1, "toString": "x", "": 1, "$ref": "#/", "user_id": SOME_ID}
    made = target.client_.track(**EVENT, metadata=metadata)
    assert target.client_.ok("GET", f"/api/events/{made['event_id']}")["metadata"] == metadata
    assert loads(target.client_.get(f"/api/events/{made['event_id']}").body)["user_id"] == target.client_.user_id


# ---- what PostgreSQL and the log saw; these come last ----

def canary(i):
    return f"{CANARY}-{i}"


def test_what_users_send_and_what_is_secret_never_stands_in_the_log(target):
    password = canary("password") + " 7"
    user = sign_up(target.port, name=canary("name"), email=unique(canary("mail")) + "@example.com", password=password)
    with_token = Client(target.port, canary("token"))
    for path in ("/api/auth/me", f"/api/budgets/{canary('path')}", f"/api/events?model={canary('query')}", f"/api/{canary('unknown')}"):
        user.get(path)
        with_token.get(path)
    user.track(model=canary("model"), input_tokens=1, project=canary("project"), customer=canary("customer"), tags={"a": canary("tag")},
               metadata={"a": canary("metadata")}, idempotency_key=canary("key"))
    user.track(status=422, model=canary("model"), input_tokens=2, idempotency_key=canary("key"))
    user.post("/api/events/track", b'{"model":"' + canary("broken").encode())
    user.post("/api/events/track", {canary("field"): canary("value"), "model": canary("model")})
    user.post("/api/auth/login", {"email": canary("mail") + "@example.com", "password": canary("wrong")})
    user.post("/api/auth/password", {"current_password": canary("wrong") + " 8", "new_password": canary("new") + " 9"})
    user.ok("POST", "/api/webhooks", {"url": f"https://example.com/{canary('url')}?a={canary('secret')}", "events": ["model.unpriced"],
                                      "name": canary("hook")}, status=201)
    user.ok("POST", "/api/budgets", {"limit": 1, "name": canary("budget"), "scope": {"customer": canary("customer")}}, status=201)
    user.request("GET", "/api/auth/me", headers={"Authorization": "Basic " + canary("basic"), "User-Agent": canary("agent"),
                                                 "Referer": canary("referer"), "Cookie": canary("cookie")})
    lines = [line for line in target.log.split("\n") if CANARY in line]
    assert lines == [], lines[:5]
    for client in (user, with_token):
        client.close()


def test_log_is_one_json_object_a_line_whatever_was_sent(target):
    lines = target.log.split("\n")
    assert lines.pop() == "" and len(lines) > 1000
    for line in lines:
        entry = json.loads(line)
        assert isinstance(entry, dict) and {"time", "level"} <= set(entry) or {"ts", "level"} <= set(entry), line
        # the one thing that the tests of headers are told, once
        assert entry["level"] in ("debug", "info") or entry["event"].startswith("a header that names the client is ignored"), line
        assert not re.search(r"[\x00-\x1f\x7f]", line), line
    assert PASSWORD not in target.log and not [s for s in SECRETS if s in target.log]


# What the connection itself says.
OF_THE_CONNECTION = re.compile(r"BEGIN|COMMIT|ROLLBACK|SET |DISCARD |DEALLOCATE |SELECT current_setting|SELECT pg_advisory|"
                               r"BEGIN; SELECT pg_advisory_xact_lock\(-?\d+\); COPY events ")


def test_every_statement_that_postgresql_saw_stands_in_the_sources(target, postgres_here):
    known = {s.sql for s in tenants.statements()}
    seen = {}
    for line in postgres_here.log.split("\n"):
        m = re.match(r"llmlab[^|]*\|LOG:  (?:execute [^:]*|statement): (.*)$", line)
        if m:
            seen[m[1]] = seen.get(m[1], 0) + 1
    assert sum(seen.values()) > 1000 and len(seen) > 40, "the log shows what was executed"
    strange = [s for s in seen if s not in known and not OF_THE_CONNECTION.match(s)]
    assert strange == [], strange[:5]
    errors = [line for line in postgres_here.log.split("\n") if re.match(r"llmlab[^|]*\|(?:ERROR|FATAL|PANIC)", line)]
    assert errors == [], errors[:5]
