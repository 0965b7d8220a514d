"""Webhooks: what may be set, that what is delivered is signed and whole, that it is tried again, and that it goes nowhere else."""
import hashlib
import hmac
import json
import re
import threading
from datetime import datetime
from pathlib import Path

import pytest

from llmlab_client import SECRETS, sign_up
from llmlab_server import Postgres, Server, connect, new_secret, query, wait_for
from webhook_receiver import Receiver, self_signed

DOCS = Path(__file__).resolve().parents[2] / "docs/webhooks.md"
EVENTS = ["budget.threshold", "anomaly.detected", "model.unpriced"]
SOME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def settings_of(url):
    return {"DATABASE_URL": url, "SECRET_KEY": new_secret(), "WEBHOOK_ALLOW_PRIVATE": "on", "WEBHOOK_RETRY_SECONDS": 1}


@pytest.fixture(scope="module")
def home(postgres):
    """A server whose webhooks may point to this machine."""
    one = Server(**settings_of(postgres.create("webhooks"))).start()
    yield one
    one.stop()


@pytest.fixture
def member(home):
    client = sign_up(home.port)
    yield client
    client.close()


@pytest.fixture
def database(home):
    connection = home.database()
    yield connection
    connection.close()


def hook(client, url, status=201, **more):
    return client.ok("POST", "/api/webhooks", {"url": url, "events": EVENTS, **more}, status=status)


def send_test(client, one):
    return client.ok("POST", f"/api/webhooks/{one['id']}/test", status=202)["delivery_id"]


def deliveries(client, one, **parameters):
    return client.ok("GET", f"/api/webhooks/{one['id']}/deliveries", query=parameters)["deliveries"]


def ended(client, one, delivery_id, seconds=30):
    """The delivery once it is not pending any more."""
    def found():
        matching = [d for d in deliveries(client, one) if d["id"] == delivery_id]
        return matching and matching[0]["status"] != "pending" and matching[0]
    return wait_for(found, f"the end of delivery {delivery_id}", seconds)


def enqueue(database, client, one, n=1, due="now()"):
    """Puts notifications into the outbox as the server's own parts do."""
    return [row[0] for row in query(database, f"""
        INSERT INTO webhook_deliveries (user_id, id, webhook_id, event_type, payload, next_attempt_at)
        SELECT %s, gen_random_uuid(), %s, 'model.unpriced', '{{"message":"m"}}', {due} FROM generate_series(1, %s)
        RETURNING id::text""", (client.user_id, one["id"], n))]


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# ---- setting ----

def test_webhook_is_created_shown_changed_and_deleted(member):
    one = hook(member, "https://example.com/hook?a=b", name="Ops")
    assert set(one) == {"id", "name", "url", "events", "format", "active", "disabled_reason", "pending_deliveries", "secret",
                        "created_at", "updated_at"}
    assert (one["name"], one["url"], one["format"], one["active"]) == ("Ops", "https://example.com/hook?a=b", "json", True)
    assert one["events"] == EVENTS and one["disabled_reason"] is None and one["pending_deliveries"] == 0
    assert re.fullmatch(r"whsec_[A-Za-z0-9_-]{43}", one["secret"])
    shown = member.ok("GET", f"/api/webhooks/{one['id']}")
    assert shown == {k: v for k, v in one.items() if k != "secret"}, "the secret is shown once"
    second = hook(member, "https://example.com/2", events=["model.unpriced"], format="slack", active=False)
    assert second["events"] == ["model.unpriced"] and second["format"] == "slack" and second["active"] is False
    listed = member.ok("GET", "/api/webhooks")
    assert (listed["count"], listed["next_cursor"]) == (2, None)
    assert [w["id"] for w in listed["webhooks"]] == [second["id"], one["id"]]
    assert not any("secret" in w for w in listed["webhooks"])
    changed = member.ok("PATCH", f"/api/webhooks/{one['id']}", {"active": False, "events": ["anomaly.detected"], "name": "",
                                                                "format": "discord", "url": "https://example.com/new"})
    assert (changed["active"], changed["events"], changed["name"]) == (False, ["anomaly.detected"], None)
    assert (changed["format"], changed["url"]) == ("discord", "https://example.com/new")
    same = member.ok("PATCH", f"/api/webhooks/{one['id']}", {})
    assert {k: v for k, v in same.items() if k != "updated_at"} == {k: v for k, v in changed.items() if k != "updated_at"}
    assert member.request("DELETE", f"/api/webhooks/{one['id']}").status == 204
    assert member.get(f"/api/webhooks/{one['id']}").status == 404
    assert member.request("DELETE", f"/api/webhooks/{one['id']}").status == 404


@pytest.mark.parametrize("body,fields", [
    ({}, {"url", "events"}),
    ({"url": "https://example.com", "events": []}, {"events"}),
    ({"url": "https://example.com", "events": ["webhook.test"]}, {"events"}),
    ({"url": "https://example.com", "events": ["model.unpriced", "model.unpriced"]}, {"events"}),
    ({"url": "https://example.com", "events": [1]}, {"events"}),
    ({"url": "https://example.com", "events": "model.unpriced"}, {"events"}),
    ({"url": 7, "events": EVENTS, "format": "xml", "name": "", "active": "yes", "secret": "mine"},
     {"url", "format", "name", "active", "secret"}),
    ({"url": "https://example.com", "events": EVENTS, "name": "a\tb"}, {"name"}),
    ({"url": "https://example.com/" + "x" * 2100, "events": EVENTS}, {"url"}),
])
def test_webhook_bad_input_is_named(member, body, fields):
    answer = member.post("/api/webhooks", body)
    assert answer.status == 400 and answer.fields == fields, answer
    assert member.ok("GET", "/api/webhooks")["count"] == 0


def test_webhook_change_with_bad_input_changes_nothing(member):
    one = hook(member, "https://example.com/")
    answer = member.request("PATCH", f"/api/webhooks/{one['id']}", body={"url": "ftp://x/", "events": ["x"], "nme": 1})
    assert answer.status == 400 and answer.fields == {"url", "events", "nme"}, answer
    assert member.ok("GET", f"/api/webhooks/{one['id']}")["url"] == "https://example.com/"


FORBIDDEN = ["http://example.com/", "https://localhost/", "https://127.0.0.1/", "https://127.1/", "https://2130706433/",
             "https://0x7f000001/", "https://0177.0.0.1/", "https://10.0.0.1/", "https://169.254.169.254/latest/meta-data/",
             "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fd00:ec2::254]/", "https://user:pw@example.com/",
             "https://example.com:22/", "https://example.com:80/", "https://example.com./", "https://intranet/",
             "https://ex%61mple.com/", "https://example.com\\@127.0.0.1/", "https://exämple.com/", "https://example.com/#x"]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_webhook_forbidden_addresses_are_refused(user, url):
    answer = user.post("/api/webhooks", {"url": url, "events": EVENTS})
    assert answer.status == 400 and answer.fields == {"url"}, answer


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://0.0.0.0/", "http://[fd00:ec2::254]/", "http://224.0.0.1/",
                                 "http://[::ffff:127.0.0.1]/", "http://2130706433/", "http://user@127.0.0.1/"])
def test_webhook_metadata_is_refused_even_where_private_addresses_are_allowed(member, url):
    assert member.post("/api/webhooks", {"url": url, "events": EVENTS}).fields == {"url"}


def test_webhooks_are_at_most_20(member):
    for i in range(20):
        hook(member, f"https://example.com/{i}")
    answer = member.post("/api/webhooks", {"url": "https://example.com/", "events": EVENTS})
    assert answer.status == 409 and answer.json["code"] == "conflict", answer
    member.request("DELETE", f"/api/webhooks/{member.ok('GET', '/api/webhooks')['webhooks'][0]['id']}")
    hook(member, "https://example.com/")


def test_webhook_of_another_user_answers_as_one_that_does_not_exist(home, member):
    other = sign_up(home.port)
    one = hook(member, "https://example.com/")
    same = {"X-Request-Id": "same"}
    for method, path, body in (("GET", "", None), ("PATCH", "", {"active": False}), ("DELETE", "", None),
                               ("POST", "/test", None), ("GET", "/deliveries", None)):
        theirs = other.request(method, f"/api/webhooks/{one['id']}{path}", body=body, headers=same)
        nobody = other.request(method, f"/api/webhooks/{SOME_ID}{path}", body=body, headers=same)
        assert theirs.status == nobody.status == 404 and theirs.body == nobody.body, theirs
    assert other.ok("GET", "/api/webhooks")["webhooks"] == []
    assert member.ok("GET", f"/api/webhooks/{one['id']}")["active"] is True
    assert deliveries(member, one) == []
    other.close()


@pytest.mark.parametrize("scope", ["read", "ingest"])
def test_webhooks_take_scope_full(member, scope):
    one = hook(member, "https://example.com/")
    key = member.ok("POST", "/api/keys", {"name": "k", "scope": scope}, status=201)["key"]
    SECRETS.add(key)
    limited = member.with_token(key)
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/" + one["id"]), ("PATCH", "/" + one["id"]), ("DELETE", "/" + one["id"]),
                         ("POST", f"/{one['id']}/test"), ("GET", f"/{one['id']}/deliveries")):
        body = {} if method == "PATCH" or (method, path) == ("POST", "") else None
        assert limited.request(method, "/api/webhooks" + path, body=body).status == 403
    limited.close()


def test_webhook_secret_is_not_readable_in_the_database(member, database):
    one = hook(member, "https://example.com/")
    (stored,), = query(database, "SELECT secret FROM webhooks WHERE id = %s", (one["id"],))
    assert one["secret"] not in stored and one["secret"][6:] not in stored and stored[16] == "."


# ---- delivering ----

def check_signature(secret, request):
    """As docs/webhooks.md says."""
    found = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", request.headers["X-LLMLab-Signature"])
    assert found, request.headers["X-LLMLab-Signature"]
    expected = hmac.new(secret.encode(), found[1].encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(expected, found[2])
    assert abs(int(found[1]) - datetime.now().timestamp()) < 300


def test_delivery_is_signed_and_whole(member):
    with Receiver() as receiver:
        one = hook(member, receiver.url("/a/../b?c=d%20e"))
        delivery = send_test(member, one)
        request = receiver.wait(1)[0]
        check_signature(one["secret"], request)
        assert request.path == "/a/../b?c=d%20e" and request.headers["Host"] == f"127.0.0.1:{receiver.port}"
        assert request.delivery == delivery and request.headers["X-LLMLab-Event"] == "webhook.test"
        assert request.headers["Content-Type"] == "application/json"
        assert re.fullmatch(r"LLMLab/[\d.]+", request.headers["User-Agent"])
        assert not {"Authorization", "Cookie", "Expect", "Referer"} & set(request.headers.keys())
        body = json.loads(request.body)
        assert set(body) == {"id", "type", "created_at", "data"}
        assert (body["id"], body["type"], body["data"]["webhook_id"]) == (delivery, "webhook.test", one["id"])
        done = ended(member, one, delivery)
        assert (done["status"], done["attempts"], done["response_status"], done["error"]) == ("delivered", 1, 200, None)
        assert done["event"] == "webhook.test" and done["created_at"] == body["created_at"]
        assert done["duration_ms"] >= 0 and done["next_attempt_at"] is None
        assert instant(done["created_at"]) <= instant(done["last_attempt_at"]) <= instant(done["finished_at"])
        assert len(receiver.requests) == 1


def test_signature_example_of_the_documentation_accepts_it_and_nothing_else(member):
    example = {}
    exec(re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[1], example)
    verify = example["verify"]
    with Receiver() as receiver:
        one = hook(member, receiver.url())
        send_test(member, one)
        request = receiver.wait(1)[0]
        signature = request.headers["X-LLMLab-Signature"]
        assert verify(one["secret"], signature, request.body)
        assert not verify(one["secret"] + "x", signature, request.body)
        assert not verify(one["secret"], signature, request.body + b" ")
        assert not verify(one["secret"], signature[:-1] + ("0" if signature[-1] != "0" else "1"), request.body)
        assert not verify(one["secret"], signature.replace("t=", "t=1"), request.body)
        assert not verify(one["secret"], "", request.body)
        old = int(re.match(r"t=(\d+)", signature)[1]) - 301
        mac = hmac.new(one["secret"].encode(), f"{old}.".encode() + request.body, hashlib.sha256).hexdigest()
        assert not verify(one["secret"], f"t={old},v1={mac}", request.body), "a replay of five minutes ago"


@pytest.mark.parametrize("form,member_of_body", [("slack", "text"), ("discord", "content")])
def test_delivery_as_a_message_for_people(member, form, member_of_body):
    with Receiver() as receiver:
        one = hook(member, receiver.url(), format=form)
        send_test(member, one)
        request = receiver.wait(1)[0]
        check_signature(one["secret"], request)
        body = json.loads(request.body)
        assert body[member_of_body].startswith("LLMLab: Test of this webhook\nThis is a test")
        if form == "discord":
            assert body["allowed_mentions"] == {"parse": []}


def test_delivery_is_tried_again_after_500_with_the_same_id_and_body(member):
    with Receiver() as receiver:
        receiver.answer = lambda request: (500 if len(receiver.requests) < 3 else 204, {}, b"")
        one = hook(member, receiver.url())
        delivery = send_test(member, one)
        done = ended(member, one, delivery)
        assert (done["status"], done["attempts"], done["response_status"]) == ("delivered", 3, 204)
        assert len({r.delivery for r in receiver.requests}) == len({r.body for r in receiver.requests}) == 1
        for request in receiver.requests:
            check_signature(one["secret"], request)


def test_delivery_honours_retry_after(member):
    with Receiver(lambda request: (429, {"Retry-After": "600"}, b"")) as receiver:
        one = hook(member, receiver.url())
        send_test(member, one)
        tried = wait_for(lambda: [d for d in deliveries(member, one) if d["response_status"]], "the first attempt")[0]
        assert (tried["status"], tried["attempts"], tried["response_status"]) == ("pending", 1, 429)
        assert tried["error"] == "status" and tried["finished_at"] is None
        pause = (instant(tried["next_attempt_at"]) - instant(tried["last_attempt_at"])).total_seconds()
        assert 600 <= pause < 700


@pytest.mark.parametrize("status,error", [(400, "status"), (401, "status"), (404, "status"), (422, "status"), (304, "redirect")])
def test_delivery_refused_fails_at_once(member, status, error):
    with Receiver(lambda request: (status, {}, b"")) as receiver:
        one = hook(member, receiver.url())
        done = ended(member, one, send_test(member, one))
        assert (done["status"], done["attempts"], done["response_status"], done["error"]) == ("failed", 1, status, error)
        assert member.ok("GET", f"/api/webhooks/{one['id']}")["active"] is True


def test_delivery_redirects_are_not_followed(member):
    with Receiver() as target, Receiver() as receiver:
        receiver.answer = lambda request: (int(request.path[1:]), {"Location": target.url("/stolen")}, b"")
        for status in (301, 302, 303, 307, 308):
            one = hook(member, receiver.url(f"/{status}"))
            done = ended(member, one, send_test(member, one))
            assert (done["status"], done["error"], done["response_status"]) == ("failed", "redirect", status)
        assert target.connections == 0 and target.requests == []


def test_delivery_answered_410_disables_the_webhook(member, database):
    with Receiver(lambda request: (410, {}, b"")) as receiver:
        one = hook(member, receiver.url())
        waiting = enqueue(database, member, one, due="now() + interval '1 hour'")[0]
        done = ended(member, one, send_test(member, one))
        assert (done["status"], done["response_status"], done["error"]) == ("failed", 410, "gone")
        shown = member.ok("GET", f"/api/webhooks/{one['id']}")
        assert (shown["active"], shown["disabled_reason"]) == (False, "gone")
        assert member.post(f"/api/webhooks/{one['id']}/test").status == 409
        query(database, "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE id = %s", (waiting,))
        assert ended(member, one, waiting)["error"] == "inactive"
        assert len(receiver.requests) == 1
        shown = member.ok("PATCH", f"/api/webhooks/{one['id']}", {"active": True})
        assert (shown["active"], shown["disabled_reason"]) == (True, None)


def test_delivery_to_a_closed_port_is_tried_again_and_given_up_after_a_day(member, database):
    with Receiver() as receiver:
        url = receiver.url()
    one = hook(member, url)
    delivery = enqueue(database, member, one)[0]
    tried = wait_for(lambda: [d for d in deliveries(member, one) if d["attempts"] >= 2], "the second attempt")[0]
    assert tried["status"] == "pending" and tried["response_status"] is None and tried["error"] == "connect"
    query(database, "UPDATE webhook_deliveries SET created_at = now() - interval '24 hours', next_attempt_at = now()"
                    " WHERE id = %s", (delivery,))
    done = ended(member, one, delivery)
    assert done["status"] == "failed" and done["error"] == "connect" and done["attempts"] >= 2  # one counts when it begins


def test_delivery_to_a_certificate_that_nobody_trusts_is_not_sent(member, tmp_path):
    with Receiver(certificate=self_signed(tmp_path)) as receiver:
        one = hook(member, receiver.url())
        assert one["url"].startswith("https://")
        send_test(member, one)
        tried = wait_for(lambda: [d for d in deliveries(member, one) if d["error"]], "the first attempt")[0]
        assert (tried["error"], tried["response_status"]) == ("tls", None)
        assert receiver.connections > 0 and receiver.requests == []


def test_delivery_reply_beyond_64_kib_is_not_read(member):
    pieces = 4096

    def endless(request):
        return 200, {}, (b"x" * 65536 for _ in range(pieces))

    with Receiver(endless) as receiver:
        one = hook(member, receiver.url())
        done = ended(member, one, send_test(member, one))
        assert (done["status"], done["response_status"]) == ("delivered", 200)
        sent = wait_for(lambda: receiver.cut, "the end of the reply")[0]
        assert sent < pieces / 2, "the connection was closed long before the end"
        assert "xxxx" not in str(done)


def test_delivery_that_gets_no_answer_times_out_and_does_not_hold_up_others(home, member):
    free = threading.Event()

    def hang(request):
        free.wait(60)
        return 200, {}, b""

    other = sign_up(home.port)
    with Receiver(hang) as dead, Receiver() as receiver:
        stuck = hook(member, dead.url())
        first = send_test(member, stuck)
        send_test(member, stuck)
        dead.wait(2)
        theirs = hook(other, receiver.url())
        assert ended(other, theirs, send_test(other, theirs))["status"] == "delivered"
        timed_out = wait_for(lambda: [d for d in deliveries(member, stuck) if d["id"] == first and d["error"]], "the timeout")[0]
        assert (timed_out["status"], timed_out["error"]) == ("pending", "timeout")
        assert timed_out["duration_ms"] >= 4900
        free.set()
    member.request("DELETE", f"/api/webhooks/{stuck['id']}")
    other.close()


def test_deliveries_of_one_user_are_at_most_two_at_once(home, member, database):
    gate = threading.Semaphore(0)

    def answer(request):
        gate.acquire(timeout=60)
        return 200, {}, b""

    with Receiver(answer) as receiver:
        hooks = [hook(member, receiver.url(f"/{i}")) for i in range(3)]
        ids = [i for one in hooks for i in enqueue(database, member, one, 3)]
        receiver.wait(2)
        gate.release()
        receiver.wait(3)  # one more came when one was done, and so on
        gate.release(len(ids))
        for one in hooks:
            for row in deliveries(member, one):
                assert ended(member, one, row["id"])["status"] == "delivered"
        assert receiver.most == 2
        assert sorted(r.delivery for r in receiver.requests) == sorted(ids)


def test_delivery_to_an_address_that_became_forbidden_is_not_sent(home, member, database):
    one = hook(member, "http://127.0.0.1:9/")
    for url in ("http://169.254.169.254/latest/meta-data/", "http://0x7f.1/", "file:///etc/passwd"):
        query(database, "UPDATE webhooks SET url = %s WHERE id = %s", (url, one["id"]))
        done = ended(member, one, enqueue(database, member, one)[0])
        assert (done["status"], done["error"], done["response_status"]) == ("failed", "address", None)


def test_tests_of_one_webhook_are_bounded(member):
    one = hook(member, "http://127.0.0.1:9/", active=False)
    assert member.post(f"/api/webhooks/{one['id']}/test").status == 409
    with Receiver() as receiver:
        one = hook(member, receiver.url())
        for _ in range(10):
            send_test(member, one)
        answer = member.post(f"/api/webhooks/{one['id']}/test")
        assert answer.status == 429 and int(answer.header("Retry-After")) > 0, answer
        receiver.wait(10)


def test_outbox_of_one_webhook_is_bounded(member, database):
    one = hook(member, "http://127.0.0.1:9/")
    enqueue(database, member, one, 500, due="now() + interval '1 hour'")
    assert member.ok("GET", f"/api/webhooks/{one['id']}")["pending_deliveries"] == 500
    assert member.post(f"/api/webhooks/{one['id']}/test").status == 429
    member.request("DELETE", f"/api/webhooks/{one['id']}")
    assert query(database, "SELECT count(*) FROM webhook_deliveries WHERE webhook_id = %s", (one["id"],)) == [(0,)]


def test_deliveries_are_listed_page_by_page(member, database):
    one = hook(member, "http://127.0.0.1:9/")
    ids = enqueue(database, member, one, 7, due="now() + interval '1 hour'")
    found, cursor = [], None
    while True:
        page = member.ok("GET", f"/api/webhooks/{one['id']}/deliveries", query={"limit": 3, **({"cursor": cursor} if cursor else {})})
        found += [d["id"] for d in page["deliveries"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == sorted(ids, reverse=True)
    assert member.get(f"/api/webhooks/{one['id']}/deliveries", query={"limit": 0, "status": "x"}).fields == {"limit", "status"}


def test_log_of_deliveries_is_bounded(member, database):
    """A thousand finished ones are kept: the oldest go when another one ends."""
    with Receiver() as receiver:
        one = hook(member, receiver.url())
        query(database, """INSERT INTO webhook_deliveries (user_id, id, webhook_id, event_type, payload, status, next_attempt_at,
                finished_at) SELECT %s, ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, %s, 'model.unpriced', '{}',
                'delivered', NULL, now() FROM generate_series(1, 1005) AS i""", (member.user_id, one["id"]))
        ended(member, one, send_test(member, one))
        count = "SELECT count(*), min(id::text) FROM webhook_deliveries WHERE webhook_id = %s"
        assert query(database, count, (one["id"],)) == [(1000, "00000000-0000-7000-8000-000000000007")]


def test_metrics_count_deliveries(home, member):
    def value(name):
        found = re.search(rf"^{name} (\d+)$", home.client().get("/metrics").body.decode(), re.MULTILINE)
        return int(found[1])

    before = value("llmlab_webhook_deliveries_total")
    with Receiver() as receiver:
        one = hook(member, receiver.url())
        ended(member, one, send_test(member, one))
    assert value("llmlab_webhook_deliveries_total") == before + 1
    assert value("llmlab_webhook_dropped_total") == 0


# ---- servers that come and go ----

def test_delivery_survives_kill_9_of_its_server(postgres):
    """Killed while a receiver has the request: the lease ends (here by hand, instead of a minute later), and it is sent again."""
    settings = settings_of(postgres.create("webhooks_kill"))
    one = Server(**settings).start()
    client = sign_up(one.port)
    free = threading.Event()

    def answer(request):
        if len(receiver.requests) == 1:
            free.wait(60)
        return 200, {}, b""

    with Receiver(answer) as receiver:
        target = hook(client, receiver.url())
        delivery = send_test(client, target)
        receiver.wait(1)
        one.kill()
        free.set()
        database = connect(settings["DATABASE_URL"])
        (status, leased), = query(database, "SELECT status, leased_until > now() FROM webhook_deliveries")
        assert (status, leased) == ("pending", True)
        query(database, "UPDATE webhook_deliveries SET leased_until = now(), next_attempt_at = now()")
        database.close()
        one.start()
        done = ended(client.on(one.port), target, delivery)
        assert (done["status"], done["attempts"]) == ("delivered", 2)
        assert [r.delivery for r in receiver.requests] == [delivery] * 2
    one.stop()


def test_delivery_on_its_way_is_due_again_when_its_server_ends(postgres):
    settings = settings_of(postgres.create("webhooks_stop"))
    one = Server(**settings).start()
    client = sign_up(one.port)
    free = threading.Event()

    def answer(request):
        if len(receiver.requests) == 1:
            free.wait(60)
        return 200, {}, b""

    with Receiver(answer) as receiver:
        target = hook(client, receiver.url())
        delivery = send_test(client, target)
        receiver.wait(1)
        one.stop()
        free.set()
        one.start()
        done = ended(client.on(one.port), target, delivery)
        assert (done["status"], done["attempts"]) == ("delivered", 1), "the attempt that was broken off does not count"
    one.stop()


def test_delivery_that_ends_while_the_database_is_away_is_noted_when_it_is_back():
    database = Postgres().start()
    one = Server(**settings_of(database.create("webhooks_away"))).start()
    one.expect_errors = True
    client = sign_up(one.port)
    free = threading.Event()

    def answer(request):
        free.wait(60)
        return 200, {}, b""

    with Receiver(answer) as receiver:
        target = hook(client, receiver.url())
        delivery = send_test(client, target)
        receiver.wait(1)
        database.stop(immediate=True)
        free.set()
        wait_for(lambda: receiver.now == 0, "the answer")
        database.start()
        wait_for(lambda: client.get("/api/webhooks").status == 200, "the database")  # readiness looks back some seconds
        done = ended(client, target, delivery)
        assert (done["status"], done["attempts"]) == ("delivered", 1)
        assert len(receiver.requests) == 1
    one.stop()
    database.stop()


def test_two_servers_deliver_each_notification_once(postgres):
    settings = settings_of(postgres.create("webhooks_two"))
    servers = [Server(**settings).start(), Server(**settings).start()]
    users = [sign_up(servers[i % 2].port) for i in range(6)]
    database = connect(settings["DATABASE_URL"])
    with Receiver() as receiver:
        ids = []
        for client in users:
            ids += enqueue(database, client, hook(client, receiver.url(f"/{client.user_id}")), 20)
        pending = "SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'"
        wait_for(lambda: query(database, pending) == [(0,)], "all deliveries")
        assert sorted(r.delivery for r in receiver.requests) == sorted(ids)
        assert query(database, "SELECT DISTINCT status, attempts FROM webhook_deliveries") == [("delivered", 1)]
        assert receiver.most <= 2 * len(users)
    database.close()
    for one in servers:
        one.stop()


def test_secrets_live_through_a_change_of_the_key(postgres):
    """Old key; new key with the old one beside it (secrets are sealed anew); new key alone."""
    settings = settings_of(postgres.create("webhooks_key"))
    one = Server(**settings).start()
    old = settings["SECRET_KEY"]
    with Receiver() as receiver:
        target = hook(sign_up(one.port), receiver.url())
        database = connect(settings["DATABASE_URL"])
        (owner, sealed), = query(database, "SELECT user_id::text, secret FROM webhooks")
        one.stop()
        one.settings.update(SECRET_KEY=new_secret(), SECRET_KEY_PREVIOUS=old)
        one.start()
        wait_for(lambda: query(database, "SELECT secret FROM webhooks") != [(sealed,)], "the secret to be sealed anew")
        one.stop()
        one.settings.update(SECRET_KEY_PREVIOUS=None)
        one.start()
        client = type("Owner", (), {"user_id": owner})
        enqueue(database, client, target)
        check_signature(target["secret"], receiver.wait(1)[0])
        wait_for(lambda: query(database, "SELECT count(*) FROM webhook_deliveries WHERE status = 'delivered'") == [(1,)], "its end")
        database.close()
    one.stop()
