"""Nobody sees or changes what belongs to somebody else. The cases are generated: every route with an id is asked, with every
method, for every kind of id of another user; what must come is the answer for an id that nobody has, and not a row may change.
Then everything the twin of a user does must leave the user's rows, answers and sums as they were."""
import itertools
import json
import re
import urllib.parse
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from accounts_fixtures import new_key, user_tables
from llmlab_client import PASSWORD, SECRETS, dumps, sign_up
from llmlab_server import Server, assert_rollups_equal_events, new_secret, query, wait_for
from openapi import DOCUMENT
from webhook_receiver import Receiver

ROOT = Path(__file__).resolve().parents[2]
ROUTES = re.findall(r'^ROUTE\((\w+), (\w+), "([^"]+)", (\w+), (\w+), (\w+)\)',
                    (ROOT / "include/llmlab/api/routes.def").read_text(), re.MULTILINE)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
UTC = timezone.utc

# What the id in a path names. A route that is not here has no fixture, and the first test says so.
KIND_OF = {
    "/api/keys/{id}": "key", "/api/events/{id}": "event", "/api/pricing/overrides/{id}": "override",
    "/api/budgets/{id}": "budget", "/api/budgets/{id}/history": "budget", "/api/budgets/reservations/{id}": "reservation",
    "/api/webhooks/{id}": "webhook", "/api/webhooks/{id}/test": "webhook", "/api/webhooks/{id}/deliveries": "webhook",
    "/api/alerts/{id}/acknowledge": "alert", "/api/recommendations/{id}/dismiss": "recommendation",
}
KINDS = sorted({*KIND_OF.values(), "delivery", "repricing", "anomaly", "user"})
PATHS = sorted({path for _, _, path, _, _, _ in ROUTES if "{" in path})
BODIES = {("PATCH", "/api/budgets/{id}"): {"limit": 1, "name": "taken"},
          ("PATCH", "/api/webhooks/{id}"): {"active": False, "name": "taken", "url": "https://example.com/taken"}}

# Parameters of queries and members of bodies whose name says that they mean a thing of the user; each has a test below.
MEANING_THINGS = {"cursor", "key", "budget_id", "reservation_id", "idempotency_key"}
LISTS = {"/api/events": "events", "/api/keys": "keys", "/api/alerts": "alerts", "/api/budgets": "budgets",
         "/api/pricing/overrides": "overrides", "/api/pricing/repricings": "repricings", "/api/pricing/unpriced": "models",
         "/api/pricing/models": "models", "/api/budgets/{id}/history": "periods",
         "/api/webhooks/{id}/deliveries": "deliveries"}

# Rows that the server makes of itself when it looks for unusual spend again.
BY_THE_SERVER = {"anomalies", "anomaly_scans"}


def day(days_ago, hour=0, minute=0):
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (start - timedelta(days=days_ago) + timedelta(hours=hour, minutes=minute)).isoformat()


RANGE = {"from": day(40), "to": day(-1), "tz": "UTC"}


def calls():
    """Two months of calls of all sorts, the same for everybody; with one unusual day."""
    for n in range(1, 36):
        for i in range(4):
            yield {"model": "gpt-4", "input_tokens": 2000 + i, "output_tokens": 300, "timestamp": day(n, 6 * i), "project": "p",
                   "customer": "c", "tags": {"team": "t"}, "idempotency_key": f"same-{n}-{i}", "latency_ms": 10}
        yield {"provider": "own", "model": "m", "input_tokens": 10, "cost": "1" if n != 3 else "40", "timestamp": day(n, 5, 8),
               "project": "p", "customer": "c", "tags": {"team": "t"}}
    for i in range(60):
        yield {"model": "gpt-4", "input_tokens": 100, "timestamp": day(2, i % 20), "project": "nightly batch",
               "tags": {"job": "etl"}}
        yield {"model": "unheard-of", "provider": "odd", "input_tokens": 5, "timestamp": day(5, i % 20)}
    yield {"model": "unheard-of-2", "provider": "odd", "input_tokens": 5, "timestamp": day(6)}


def page(client, path, plural, **parameters):
    return client.ok("GET", path, query=parameters)[plural]


def furnish(client, receiver):
    """One of everything a user can have; the ids of it by kind."""
    made = {"user": [client.user_id]}
    client.ok("PATCH", "/api/auth/me", {"name": "Twin", "timezone": "Europe/Berlin"})
    made["key"] = [new_key(client, name="same")["id"] for _ in range(3)]
    client.ok("POST", "/api/budgets", {"limit": 1, "period": "yearly", "scope": {"project": "p"}, "name": "same"}, status=201)
    key = new_key(client, scope="ingest", name="same")
    made["key"].append(key["id"])
    client.batch(list(calls()))
    client.with_token(key["key"]).track(model="gpt-4", input_tokens=1000, project="by key", timestamp=day(1, 3))
    client.track(model="gpt-4", input_tokens=1000, output_tokens=500, timestamp=day(1, 2))
    made["event"] = [e["event_id"] for e in page(client, "/api/events", "events", limit=5)]
    made["override"] = [client.ok("POST", "/api/pricing/overrides", {
        "provider": "odd", "model": f"unheard-of-{i}", "per_million_tokens": {"input": "7"}}, status=201)["id"] for i in (3, 4)]
    made["override"].append(client.ok("POST", "/api/pricing/overrides", {
        "provider": "openai", "model": "gpt-4", "from": day(12), "to": day(10), "per_million_tokens": {"input": "7", "output": "8"}},
        status=201)["id"])
    for i in range(2):
        client.ok("POST", "/api/pricing/reprice", {"from": day(9)[:10], "to": day(8)[:10], "dry_run": False, "reason": f"r{i}"})
    for scope in ({"customer": "c"}, {"tag.team": "t"}, {"model": "gpt-4"}, {}):
        client.ok("POST", "/api/budgets", {"limit": 1000, "scope": scope, "name": "same"}, status=201)
    client.ok("POST", "/api/budgets", {"limit": "0.5", "period": "yearly", "scope": {"model": "gpt-4"}, "name": "low"}, status=201)
    made["budget"] = [b["id"] for b in page(client, "/api/budgets", "budgets")]
    made["reservation"] = [client.ok("POST", "/api/budgets/check", {
        "amount": 1, "model": "gpt-4", "customer": "c", "tags": {"team": "t"}, "reserve": True,
        "ttl_seconds": 80000})["reservation_id"] for _ in range(2)]
    # three thresholds of each of the two small budgets, two models without a price
    wait_for(lambda: len(page(client, "/api/alerts", "alerts")) == 8, "the alerts")
    made["alert"] = [a["id"] for a in page(client, "/api/alerts", "alerts")]
    made["webhook"] = [client.ok("POST", "/api/webhooks", {"url": receiver.url(), "events": ["budget.threshold"], "name": "same"},
                                 status=201)["id"] for _ in range(2)]
    made["delivery"] = [client.ok("POST", f"/api/webhooks/{made['webhook'][0]}/test", status=202)["delivery_id"]
                        for _ in range(3)]
    findings = client.ok("GET", "/api/recommendations", query=RANGE)
    made["recommendation"] = [o["id"] for o in findings["optimizations"]]
    made["anomaly"] = [a["id"] for a in client.ok("GET", "/api/recommendations/anomalies", query=RANGE)["anomalies"]]
    client.ok("POST", f"/api/recommendations/{made['recommendation'][0]}/dismiss")
    made["repricing"] = [r["id"] for r in page(client, "/api/pricing/repricings", "repricings")]
    assert set(made) == set(KINDS) and all(made.values()), {k: len(v) for k, v in made.items()}
    return made


class Twin:
    def __init__(self, server, receiver):
        self.client = sign_up(server.port)
        self.ids = furnish(self.client, receiver)


def is_quiet(database):
    """Nothing of the server's own work is on its way."""
    return query(database, """
        SELECT NOT EXISTS (SELECT FROM repricings WHERE state = 'running')
           AND NOT EXISTS (SELECT FROM webhook_deliveries WHERE status = 'pending')
           AND NOT EXISTS (SELECT FROM api_keys AS k JOIN events AS e ON e.user_id = k.user_id AND e.api_key_id = k.id
                           WHERE k.last_used_at IS NULL)""")[0][0]


@pytest.fixture(scope="module")
def home(postgres):
    one = Server(DATABASE_URL=postgres.create("isolation"), SECRET_KEY=new_secret(), WEBHOOK_ALLOW_PRIVATE="on",
                 WEBHOOK_RETRY_SECONDS=1, ANOMALY_SCAN_SECONDS=1).start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def database(home):
    connection = home.database()
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def twins(home, database):
    """A victim and an attacker who have the same of everything, and a third who has it too and is never touched."""
    with Receiver() as receiver:
        three = [Twin(home, receiver) for _ in range(3)]
        wait_for(lambda: is_quiet(database), "the server's own work")
        yield three
        for one in three:
            one.client.close()


@pytest.fixture(scope="module")
def victim(twins):
    return twins[0]


@pytest.fixture(scope="module")
def attacker(twins):
    return twins[1]


@pytest.fixture(scope="module")
def bystander(twins):
    return twins[2]


def digests(database, user_id):
    """A digest of all rows of the user, by table. Tables are found in the schema: a new one is watched too."""
    tables = [t for t in [*user_tables(database), "users"] if t not in BY_THE_SERVER]
    parts = [f"""SELECT '{t}', md5(coalesce(string_agg(md5(r::text), '' ORDER BY md5(r::text)), '')), count(*)
                 FROM "{t}" AS r WHERE {'id' if t == 'users' else 'user_id'} = %(user)s""" for t in tables]
    return {name: (digest, n) for name, digest, n in query(database, " UNION ALL ".join(parts), {"user": user_id})}


@pytest.fixture(scope="module")
def untouched(database, victim, bystander):
    """Fails when a row of the victim or of the bystander is not what it was at the beginning."""
    users = [victim.client.user_id, bystander.client.user_id]
    before = [digests(database, u) for u in users]

    def check(what):
        for was, user in zip(before, users):
            now = digests(database, user)
            changed = {t for t in was.keys() | now.keys() if was.get(t) != now.get(t)}
            assert not changed, f"{what} changed {changed}"
    return check


def nobodys(an_id):
    """An id of the same form and time that nobody has."""
    return an_id[:-4] + "".join("0123456789abcdef"[15 - int(c, 16)] for c in an_id[-4:])


def without_own(answer, an_id):
    """What may differ between two answers for two ids: the id itself, and when."""
    text = answer.body.decode().replace(an_id, "<id>")
    return re.sub(r'"(dismissed_at|timestamp)":"[^"]*"', '"when"', text)


VARYING = {"date", "traceresponse", "content-length", "ratelimit"}


def headers_of(answer):
    return [(k.lower(), v) for k, v in answer.headers if k.lower() not in VARYING]


# ---- the generator itself ----

def test_every_route_with_an_id_has_a_fixture():
    assert set(PATHS) == set(KIND_OF), "add what the id names to KIND_OF, and make one in furnish()"
    assert len(PATHS) * len(KINDS) * len(METHODS) >= 200


def test_every_parameter_and_field_that_means_a_thing_has_a_test():
    found = set()
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                name = parameter["name"] if "name" in parameter else \
                    DOCUMENT["components"]["parameters"][parameter["$ref"].split("/")[-1]]["name"]
                found.add(name.lower().replace("-", "_"))
            found |= members_of(operation.get("requestBody", {}), set())
    found = {n for n in found if re.search(r"(^|_)(id|key|cursor)$", n)}
    assert found - {"id"} == MEANING_THINGS


def members_of(schema, seen):
    """Names of all members that a schema lets a body have."""
    names = set()
    if isinstance(schema, list):
        return set().union(*[members_of(s, seen) for s in schema])
    if not isinstance(schema, dict):
        return names
    if "$ref" in schema and schema["$ref"] not in seen:
        seen.add(schema["$ref"])
        names |= members_of(DOCUMENT["components"]["schemas"][schema["$ref"].split("/")[-1]], seen)
    for name, value in schema.items():
        if name == "properties":
            names |= set(value)
        names |= members_of(value, seen) if isinstance(value, (dict, list)) else set()
    return names


def test_every_list_with_a_cursor_has_a_fixture():
    with_cursor = {path for path, operations in DOCUMENT["paths"].items() for operation in operations.values()
                   if "/Cursor" in json.dumps(operation.get("parameters", []))}
    assert with_cursor == set(LISTS)


# ---- ids in paths ----

@pytest.mark.parametrize("path,kind", itertools.product(PATHS, KINDS))
def test_id_of_another_user_answers_as_one_that_nobody_has(victim, attacker, untouched, path, kind):
    theirs = victim.ids[kind][-1]
    nobody = nobodys(theirs)
    for method, slash in itertools.product(METHODS, ("", "/")):
        body = BODIES.get((method, path), {} if method in ("PATCH",) else None)
        seen = [attacker.client.request(method, path.replace("{id}", i) + slash, body=body, headers={"X-Request-Id": "same"})
                for i in (theirs, nobody)]
        assert seen[0].status == seen[1].status, seen
        assert without_own(seen[0], theirs) == without_own(seen[1], nobody), seen
        assert headers_of(seen[0]) == headers_of(seen[1]), seen
        if path != "/api/recommendations/{id}/dismiss":  # its id is a name that anybody may note
            assert seen[0].status in (404, 405), seen
        assert seen[0].status != 403
    untouched(f"{path} with the {kind} of another user")


def test_ids_are_the_owners_own(victim):
    """The ids of the cases above are good ones: their owner finds what they name."""
    for path, kind in KIND_OF.items():
        if ("GET", path) in {(m, p) for _, m, p, _, _, _ in ROUTES}:
            assert victim.client.get(path.replace("{id}", victim.ids[kind][-1])).status == 200, path


def test_what_an_answer_names_is_ones_own(twins):
    """Twins have the same calls at the same times: what is looked up by these must not be another's."""
    for twin in twins:
        found = twin.client.ok("GET", "/api/recommendations/anomalies", query=RANGE)["anomalies"]
        assert found
        for one in found:
            assert one["event_id"] is None or twin.client.get(f"/api/events/{one['event_id']}").status == 200, one


# ---- cursors, filters, fields ----

@pytest.mark.parametrize("path", sorted(LISTS))
def test_cursor_of_another_user_shows_only_ones_own(victim, attacker, untouched, path):
    kind = KIND_OF.get(path)
    own = [path.replace("{id}", t.ids[kind][0] if kind == "webhook" else t.ids[kind][-1]) if kind else path
           for t in (victim, attacker)]
    parameters = {"limit": 1}
    cursor = victim.client.ok("GET", own[0], query=parameters)["next_cursor"]
    whole = attacker.client.ok("GET", own[1], query={"limit": 500})[LISTS[path]]
    if path not in ("/api/budgets", "/api/budgets/{id}/history"):
        assert cursor is not None, "the fixture has too little for a second page"
    if cursor is None:
        return
    answer = attacker.client.get(own[1], query={"limit": 100, "cursor": cursor})
    if answer.status != 200:
        assert answer.status == 400 and answer.fields == {"cursor"}, answer
        return
    found = answer.json[LISTS[path]]
    assert all(f in whole for f in found), "not the attacker's"
    their_ids = {i for ids in victim.ids.values() for i in ids} - {i for ids in attacker.ids.values() for i in ids}
    assert not [i for i in their_ids if i in answer.body.decode()]
    untouched(f"a cursor of {path}")


@pytest.mark.parametrize("target", ["/api/costs/breakdown?group_by=model&key={key}", "/api/costs/breakdown?group_by=key&key={key}",
                                    "/api/alerts?budget_id={budget}", "/api/alerts?budget_id={user}",
                                    "/api/costs/breakdown?group_by=model&key={user}"])
def test_filter_by_the_id_of_another_user_finds_what_nobodys_finds(victim, attacker, target):
    theirs = {kind: ids[-1] for kind, ids in victim.ids.items()}
    nobody = {kind: nobodys(i) for kind, i in theirs.items()}
    seen = [attacker.client.get(target.format(**ids), headers={"X-Request-Id": "same"}) for ids in (theirs, nobody)]
    assert seen[0].status == seen[1].status == 200, seen
    assert seen[0].body == seen[1].body, seen
    assert '"call_count":0' in seen[0].body.decode() or seen[0].json["count"] == 0, seen


@pytest.mark.parametrize("name", ["user_id", "account", "tenant", "owner", "api_key_id", "id"])
def test_query_parameter_naming_a_user_is_refused_everywhere(victim, attacker, name):
    for _, method, path, auth, _, _ in ROUTES:
        if method != "GET" or auth == "PUBLIC" or "{" in path:
            continue
        answer = attacker.client.get(path, query={name: victim.client.user_id})
        assert answer.status == 400 and name in answer.fields, answer


@pytest.mark.parametrize("kind", ["reservation", "budget", "event"])
def test_track_with_the_reservation_of_another_user_releases_nothing(victim, attacker, untouched, kind):
    for an_id in (victim.ids[kind][-1], nobodys(victim.ids[kind][-1])):
        event = {"model": "gpt-4", "input_tokens": 1, "reservation_id": an_id}
        assert attacker.client.post("/api/events/track", event).status == 201
        assert attacker.client.batch([event])["accepted"] == 1
    untouched("a settled reservation of another user")


def test_idempotency_key_of_another_user_is_ones_own_key(victim, attacker, untouched):
    call = {"model": "gpt-4", "input_tokens": 77, "timestamp": day(1, 4), "idempotency_key": "new"}
    first = victim.client.track(status=200, **{**call, "input_tokens": 2000, "output_tokens": 300, "timestamp": day(1),
                                               "project": "p", "customer": "c", "tags": {"team": "t"}, "latency_ms": 10,
                                               "idempotency_key": "same-1-0"})
    assert first["duplicate"] is True and first["user_id"] == victim.client.user_id
    own = attacker.client.track(**call)
    assert own["user_id"] == attacker.client.user_id and own["duplicate"] is False
    assert attacker.client.track(status=200, **call)["event_id"] == own["event_id"] != first["event_id"]
    untouched("an idempotency key")


def test_key_of_a_twin_shows_the_twins_data_only(victim, attacker):
    key = new_key(attacker.client, scope="read")
    reader = attacker.client.with_token(key["key"])
    assert {e["user_id"] for e in page(reader, "/api/events", "events", limit=500)} == {attacker.client.user_id}
    for kind in ("event", "budget"):
        path = next(p for p, k in KIND_OF.items() if k == kind)
        assert reader.get(path.replace("{id}", victim.ids[kind][0])).status == 404
        assert reader.get(path.replace("{id}", attacker.ids[kind][0])).status == 200
    attacker.client.ok("DELETE", f"/api/keys/{key['id']}", status=204)


# ---- whatever another user does ----

READS = ["/api/auth/me", "/api/keys?limit=500", "/api/events?limit=500", "/api/events?limit=500&tag.team=t&customer=c",
         "/api/events/export?format=ndjson", "/api/costs/summary", "/api/costs/by-provider", "/api/costs/top-models",
         "/api/costs/percentiles?group_by=model", "/api/costs/percentiles?group_by=provider", "/api/pricing/overrides",
         "/api/pricing/unpriced", "/api/pricing/repricings",
         "/api/budgets", "/api/webhooks", "/api/alerts?limit=500", "/api/recommendations",
         "/api/recommendations?include_dismissed=true", "/api/recommendations/anomalies",
         "/api/recommendations/model-switching", "/api/costs/forecast?tz=UTC"]
# From the sums by model, by set, and by the sets that a filter leaves; as one interval and as many.
READS += [f"/api/costs/breakdown?{grouping}&granularity={grain}" for grain in ("none", "day", "week") for grouping in (
    "group_by=provider,model", "group_by=project", "group_by=customer", "group_by=key", "group_by=tag.team,model",
    "group_by=model&customer=c", "group_by=model&tag.team=t&project=p", "group_by=customer,project&provider=openai")]
# Whole days; days with quarters and ragged ends on both sides, with calls in each; hours; quarters; minutes.
SPANS = [RANGE, {"from": day(35, 5, 7), "to": day(1, 0, 1)}, {"from": day(9, 3), "to": day(7, 13)},
         {"from": day(4, 5), "to": day(4, 5, 30)}, {"from": day(4, 5, 7), "to": day(4, 5, 9)},
         {"from": day(9), "to": day(3, 5, 9)},
         {"from": day(40)[:10], "to": day(1)[:10], "tz": "Asia/Kolkata"},  # whose days begin in the middle of UTC's hours
         {"from": day(35, 5, 7), "to": day(1, 0, 1), "tz": "Asia/Kolkata"}]
# Answers to questions that change nothing.
ASKS = [("/api/pricing/reprice", {"from": day(14)[:10], "to": day(9)[:10], "dry_run": True}),
        ("/api/pricing/reprice", {"from": day(14)[:10], "to": day(9)[:10], "dry_run": True, "provider": "openai", "model": "gpt-4"}),
        ("/api/budgets/check", {"amount": 1, "model": "gpt-4", "provider": "openai", "customer": "c", "project": "p", "tags": {"team": "t"}}),
        ("/api/pricing/estimate", {"provider": "odd", "model": "unheard-of", "input_tokens": 7}),
        ("/api/recommendations/simulate", {"changes": [{"model": "gpt-4", "to_model": "gpt-4.1"}], "from": day(40)[:10], "to": day(1)[:10],
                                           "tz": "UTC"})]
RANGED = ("/api/events", "/api/costs", "/api/recommendations")
PASSING = re.compile(r'"(last_updated|as_of|timestamp|prices_at|projected_spend)":("[^"]*"|[0-9.]+|null)')


def reads_of(twin):
    """Every answer that depends on what the user has, without the instant at which it was made."""
    found = {}
    for target in READS:
        spans = [{"tz": "UTC", **s} for s in SPANS] if target.startswith(RANGED) and "forecast" not in target else [{}]
        for i, span in enumerate(spans):
            joint = "&" if "?" in target else "?"
            answer = twin.client.get(target + joint + urllib.parse.urlencode(span) if span else target)
            assert answer.status == 200, answer
            found[target, i] = PASSING.sub("", answer.body.decode())
    for target, body in ASKS:
        found[target, dumps(body)] = PASSING.sub("", dumps(twin.client.ok("POST", target, body)))
    for path, kind in KIND_OF.items():
        for an_id in twin.ids[kind]:
            answer = twin.client.get(path.replace("{id}", an_id))
            found[path, an_id] = PASSING.sub("", answer.body.decode()) if answer.status == 200 else answer.status
    return found


def test_reads_cover_every_list_and_report():
    read = {t.split("?")[0] for t in READS} | set(KIND_OF)
    private = {p for _, m, p, auth, _, _ in ROUTES if m == "GET" and auth != "PUBLIC"}
    assert private - read == {"/api/pricing/models"}, "what belongs to a user is to be read here too"


def live(client, ids, receiver):
    """Does everything a user can do with what is the user's own, and once more with what others have too."""
    client.batch(list(calls())[::-1])  # repeats, by their keys
    client.batch([{k: v for k, v in c.items() if k != "idempotency_key"} for c in calls()])
    client.batch([{"model": "gpt-4", "input_tokens": 50000 + i, "cache_write_tokens": 40000, "output_tokens": 20,
                   "timestamp": day(1, 9, i % 60), "status": "error" if i % 3 else "success"} for i in range(400)])
    client.track(model="gpt-4", input_tokens=5, reservation_id=ids["reservation"][0], customer="c", project="p")
    client.track(model="unheard-of-9", provider="odd", input_tokens=5)
    client.ok("DELETE", f"/api/budgets/reservations/{ids['reservation'][1]}", status=204)
    client.ok("POST", "/api/budgets", {"limit": 2, "period": "yearly", "scope": {"project": "p"}, "name": "other"})
    client.ok("PATCH", f"/api/budgets/{ids['budget'][0]}", {"limit": 3, "thresholds": [1, 2]})
    client.ok("DELETE", f"/api/budgets/{ids['budget'][1]}", status=204)
    client.ok("POST", f"/api/alerts/{ids['alert'][0]}/acknowledge")
    client.ok("POST", "/api/pricing/overrides", {"provider": "odd", "model": "unheard-of", "per_million_tokens": {"input": "9"}},
              status=201)
    client.ok("DELETE", f"/api/pricing/overrides/{ids['override'][0]}", status=204)
    client.ok("POST", "/api/pricing/reprice", {"from": day(30)[:10], "to": day(0)[:10], "dry_run": True})
    client.ok("POST", "/api/pricing/reprice", {"from": day(30)[:10], "to": day(0)[:10], "dry_run": False})
    client.ok("PATCH", f"/api/webhooks/{ids['webhook'][0]}", {"name": "other", "events": ["model.unpriced"]})
    client.ok("POST", f"/api/webhooks/{ids['webhook'][0]}/test", status=202)
    client.ok("DELETE", f"/api/webhooks/{ids['webhook'][1]}", status=204)
    client.ok("POST", "/api/webhooks", {"url": receiver.url(), "events": ["model.unpriced", "budget.threshold"]}, status=201)
    client.ok("POST", f"/api/recommendations/{ids['recommendation'][-1]}/dismiss")
    client.ok("DELETE", f"/api/recommendations/{ids['recommendation'][0]}/dismiss", status=204)
    client.ok("DELETE", f"/api/keys/{ids['key'][0]}", status=204)
    client.track(model="unheard-of-10", provider="odd", input_tokens=5)
    client.ok("PATCH", "/api/auth/me", {"name": "Another", "timezone": "Asia/Tokyo"})


def changed_reads(was, now):
    """The answers that differ, from where they do."""
    found = {}
    for key in was:
        a, b = str(was[key]), str(now[key])
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            found[key] = (a[max(0, at - 60):at + 60], b[max(0, at - 60):at + 60])
    return found


def test_user_sees_nothing_of_whatever_another_does(home, database, victim, attacker, bystander, untouched):
    """Last but one: it uses up what the attacker has."""
    before = reads_of(victim)
    own = reads_of(attacker)
    with Receiver() as receiver:
        live(attacker.client, attacker.ids, receiver)
        wait_for(lambda: is_quiet(database), "the server's own work")
        wait_for(lambda: query(database, "SELECT count(*) FROM alerts WHERE user_id = %s AND model = 'unheard-of-10'",
                               (attacker.client.user_id,))[0][0] == 1, "the last alert")
        wait_for(lambda: is_quiet(database), "the deliveries")
        assert len(changed_reads(own, reads_of(attacker))) > 15, "what the attacker does is to be seen somewhere"
        assert changed_reads(before, reads_of(victim)) == {}
        untouched("the life of another user")
        told = {r.delivery for r in receiver.requests}
    strangers = query(database, "SELECT count(*) FROM webhook_deliveries WHERE id = ANY (%s::uuid[]) AND user_id <> %s",
                      (list(told), attacker.client.user_id))
    assert told and strangers == [(0,)], "a notification of one user went to the address of another"


# What a user can have at most, each made in one statement: (table, the user's columns, values for n of a series).
MOST = {
    "budgets": ("id, amount, period, scope_dimension, scope_value", "gen_random_uuid(), 5, 'monthly', 'customer', 'x' || n", 200),
    "webhooks": ("id, url, events, format, secret, active", "gen_random_uuid(), 'https://example.com/', '{model.unpriced}', 'json',"
                 " 'v1.' || repeat('x', 60), false", 20),
    "api_keys": ("id, name, scope, prefix, hash", "gen_random_uuid(), 'k', 'read', 'llk_' || lpad(n::text, 8, '0'), sha256(n::text::bytea)", 100),
    "price_overrides": ("id, body, exact, created_at",
                        "gen_random_uuid(), '{\"provider\":\"own\",\"model\":\"m' || n || '\",\"per_million_tokens\":{\"input\":\"1\"}}', true, now()", 200),
    "reservations": ("id, amount, expires_at", "gen_random_uuid(), 0, now() + interval '10 hours'", 10000),
    "recommendation_dismissals": ("recommendation_id, dismissed_at", "lpad(n::text, 16, '0'), now()", 1000),
    "alerts": ("id, kind, provider, model", "gen_random_uuid(), 'model.unpriced', 'odd', 'hoarded-' || n", 1000),
    "event_keys": ("key, event_id, occurred_at, fingerprint", "'k' || n, gen_random_uuid(), now(), sha256(n::text::bytea)", 20001),
}


@pytest.fixture(scope="module")
def hoarder(home, database):
    """Somebody who has as much of everything as one may have."""
    client = sign_up(home.port)
    for table, (columns, values, n) in MOST.items():
        query(database, f"INSERT INTO {table} (user_id, {columns}) SELECT %s, {values} FROM generate_series(1, %s) AS n",
              (client.user_id, n))
    yield client
    client.close()


def test_limits_count_only_ones_own_things(home, hoarder, database):
    """Before the account with the most of everything is gone."""
    client = sign_up(home.port)
    client.ok("POST", "/api/budgets", {"limit": 5}, status=201)
    client.ok("POST", "/api/webhooks", {"url": "https://example.com/", "events": ["budget.threshold"], "active": False}, status=201)
    new_key(client)
    client.ok("POST", "/api/pricing/overrides", {"provider": "own", "model": "m", "per_million_tokens": {"input": "1"}}, status=201)
    assert client.ok("POST", "/api/budgets/check", {"amount": 1, "reserve": True})["reservation_id"]
    client.ok("POST", "/api/recommendations/0123456789abcdef/dismiss")
    client.track(model="unheard-of", provider="odd", input_tokens=1)
    wait_for(lambda: page(client, "/api/alerts", "alerts"), "the alert of a model without a price")
    assert [a["model"] for a in page(client, "/api/alerts", "alerts")] == ["unheard-of"], "others have more of these"
    for path, body in (("/api/budgets", {"limit": 5}), ("/api/webhooks", {"url": "https://example.com/", "events": ["budget.threshold"]}),
                       ("/api/keys", {"name": "k", "scope": "read"}),
                       ("/api/pricing/overrides", {"provider": "own", "model": "m", "per_million_tokens": {"input": "1"}})):
        assert hoarder.post(path, body).status == 409, path
    client.close()


def test_dismissal_tells_when_oneself_dismissed_it(victim, attacker):
    """Ids of recommendations are names that others may use too."""
    an_id = "00000000000000fe"
    theirs = victim.client.ok("POST", f"/api/recommendations/{an_id}/dismiss")
    own = [attacker.client.ok("POST", f"/api/recommendations/{an_id}/dismiss") for _ in range(3)]
    assert own[0] == own[1] == own[2] and own[0]["dismissed_at"] > theirs["dismissed_at"]
    for one in (attacker, victim):
        one.client.ok("DELETE", f"/api/recommendations/{an_id}/dismiss", status=204)


def test_account_that_is_deleted_takes_only_its_own_rows(database, victim, attacker, untouched):
    before = reads_of(victim)
    attacker.client.ok("POST", "/api/auth/logout")
    login = attacker.client.ok("POST", "/api/auth/login", {"email": attacker.client.email, "password": PASSWORD})
    SECRETS.add(login["access_token"])
    again = attacker.client.with_token(login["access_token"])
    changed = again.ok("POST", "/api/auth/password", {"current_password": PASSWORD, "new_password": PASSWORD + " 2"})
    SECRETS.update({changed["access_token"], PASSWORD + " 2"})
    again.token = changed["access_token"]
    again.ok("DELETE", "/api/auth/me", {"password": PASSWORD + " 2"}, status=204)
    again.close()
    wait_for(lambda: not any(n for _, n in digests(database, attacker.client.user_id).values()), "the end of the account's rows")
    assert victim.client.get("/api/auth/me").status == 200, "another's session has ended"
    assert changed_reads(before, reads_of(victim)) == {}
    untouched("an account that was deleted")


def test_large_account_that_is_deleted_takes_only_its_own_rows(hoarder, database, victim, untouched):
    """Too large to go at once: it is marked, and upkeep takes its rows piece by piece."""
    before = reads_of(victim)
    hoarder.ok("DELETE", "/api/auth/me", {"password": PASSWORD}, status=204)
    assert hoarder.get("/api/auth/me").status == 401
    wait_for(lambda: not any(n for _, n in digests(database, hoarder.user_id).values()), "the end of the account's rows")
    assert changed_reads(before, reads_of(victim)) == {}
    untouched("a large account that was deleted")


def test_sums_equal_events_after_all_of_this(database):
    assert_rollups_equal_events(database)
