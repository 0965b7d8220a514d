"""Every operation of docs/openapi.yaml answers with the statuses that many operations share and that are described for it: bad
input, no token, the wrong scope, media types, sizes, rate limits, no database. What is special to an operation is tested in
tests/api."""
import json
import re
from pathlib import Path

import pytest

from llmlab_client import Raw, check_common, record, sign_up, unique
from llmlab_server import Postgres, Server, new_secret, wait_for
from openapi import DOCUMENT

SOME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
LARGEST_BODY = 8 * 1024 * 1024
SHARED = {"400", "401", "403", "404", "406", "413", "415", "429", "503"}


class Operation:
    def __init__(self, path, method, described):
        self.id, self.method, self.described = described["operationId"], method.upper(), described
        self.path = re.sub(r"\{\w+\}", SOME_ID, path)
        self.public = described.get("security") == []
        self.scope = described.get("x-scope", "")
        self.has_body = "requestBody" in described
        self.statuses = set(described["responses"])


OPERATIONS = [Operation(path, method, described) for path, item in DOCUMENT["paths"].items() for method, described in item.items()]


def with_status(status, wanted=lambda o: True):
    """A parameter list: the operations for which the status is described."""
    chosen = [o for o in OPERATIONS if status in o.statuses and wanted(o)]
    return pytest.mark.parametrize("operation", chosen, ids=[o.id for o in chosen])


@pytest.fixture(scope="module")
def member(server):
    client = sign_up(server.port)
    yield client
    client.close()


def call(client, operation, **more):
    body = b"{}" if operation.has_body else None
    return client.request(operation.method, operation.path, **{"body": body, **more})


@with_status("400")
def test_bad_request_is_400(member, operation):
    if operation.has_body:
        answer = call(member, operation, body=b"{")
    else:
        answer = call(member, operation, body=b"{}")  # an endpoint that takes none
    assert answer.status == 400, answer


# A login that fails is another 401 than one without a token.
@with_status("401", lambda o: not o.public)
def test_no_token_is_401(server, operation):
    client = server.client()
    assert call(client, operation).status == 401
    client.close()


@pytest.fixture(scope="module")
def keys(member):
    """A client for each scope."""
    made = {}
    for scope in ("ingest", "read", "full"):
        key = member.ok("POST", "/api/keys", {"name": unique("key"), "scope": scope}, status=201)
        made[scope] = member.with_token(key["key"])
    yield made
    for client in made.values():
        client.close()


@with_status("403")
def test_wrong_scope_is_403(keys, operation):
    wrong = {"scope ingest or full": "read", "scope read or full": "ingest", "scope full": "read", "a session, not a key": "full"}
    assert call(keys[wrong[operation.scope]], operation).status == 403


@with_status("404")
def test_thing_that_is_not_there_is_404(member, operation):
    body = operation.described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    answer = member.request(operation.method, operation.path, body=body)
    assert answer.status == 404, answer


@with_status("406")
def test_accept_that_excludes_the_answer_is_406(member, operation):
    assert call(member, operation, headers={"Accept": "image/png"}).status == 406


@with_status("415")
def test_body_of_another_media_type_is_415(member, operation):
    assert call(member, operation, headers={"Content-Type": "text/plain"}).status == 415


@with_status("413")
def test_body_that_is_too_large_is_413(server, member, operation):
    with Raw(server.port) as raw:
        raw.send(f"{operation.method} {operation.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {member.token}\r\n"
                 f"Content-Type: application/json\r\nContent-Length: {LARGEST_BODY + 1}\r\nExpect: 100-continue\r\n\r\n")
        answer = raw.read_answer(operation.method)
    answer.method, answer.target = operation.method, operation.path
    record(operation.method, operation.path, {"Content-Type": "application/json"}, None, answer)
    check_common(answer)
    assert answer.status == 413, answer


@pytest.fixture(scope="module")
def strict_server(no_process_left):
    one = Server(RATE_LIMITS="on", RATE_AUTH_PER_MINUTE=1, RATE_READ_PER_MINUTE=1, RATE_WRITE_PER_MINUTE=1,
                 RATE_EXPORT_PER_MINUTE=1, RATE_INGEST_PER_SECOND=1, RATE_UNAUTHENTICATED_PER_SECOND=1).start()
    client = sign_up(one.port)
    yield client
    client.close()
    one.stop()


@with_status("429")
def test_too_many_requests_are_429(strict_server, operation):
    if operation.id == "logOut":  # the first one would end the session
        wait_for(lambda: strict_server.request("PATCH", "/api/auth/me", {}).status == 429, "the rate limit")
    wait_for(lambda: call(strict_server, operation).status == 429, "the rate limit")


@pytest.fixture(scope="module")
def server_without_database(no_process_left):
    postgres = Postgres().start()
    one = Server(DATABASE_URL=postgres.create("gone"), SECRET_KEY=new_secret()).start()
    one.expect_errors = True
    client = sign_up(one.port)
    postgres.stop(immediate=True)
    yield client
    client.close()
    one.stop()


@with_status("503")
def test_no_database_is_503(server_without_database, operation):
    body = operation.described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example", {})
    wait_for(lambda: call(server_without_database, operation, body=body if operation.has_body else None).status == 503, "503",
             seconds=10)


@with_status("304")
def test_known_answer_is_304(member, operation):
    first = call(member, operation)
    assert first.status == 200, first
    again = call(member, operation, headers={"If-None-Match": first.header("ETag")})
    assert again.status == 304 and again.body == b"", again


def test_served_description_is_the_one_of_the_tree(server):
    client = server.client()
    answer = client.get("/api/openapi.json")
    assert answer.status == 200 and json.loads(answer.body) == DOCUMENT
    client.close()


def test_every_route_is_described_and_nothing_else():
    table = (Path(__file__).resolve().parents[2] / "include/llmlab/api/routes.def").read_text()
    routes = {(method, path) for method, path in re.findall(r'^ROUTE\(\w+, (\w+), "([^"]+)"', table, re.MULTILINE)}
    described = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert routes == described
