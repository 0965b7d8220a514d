"""Own prices, what has no price, and re-pricing: every number is worked out by hand or compared digit by digit."""
import subprocess
import threading
from decimal import Decimal

import pytest

from llmlab_client import sign_up, unique
from llmlab_server import assert_rollups_equal_events, environment, find_binary, new_secret, query, wait_for

DAY = "2026-03-02"
RANGE = {"from": "2026-03-01", "to": "2026-03-31"}
OWN = {"provider": "openai", "model": "gpt-4", "per_million_tokens": {"input": "2.5", "output": "7.125"}}


def call(**more):
    """1,000 in and 500 out of gpt-4: 0.06 by the catalogue (30 and 60 per million), 0.0060625 by OWN."""
    return {"provider": "openai", "model": "gpt-4", "input_tokens": 1000, "output_tokens": 500,
            "timestamp": DAY + "T10:00:00Z", **more}


def add(user, **price):
    return user.ok("POST", "/api/pricing/overrides", price, status=201)


def reprice(user, dry_run, status=200, **more):
    return user.ok("POST", "/api/pricing/reprice", {**RANGE, "dry_run": dry_run, **more}, status=status)


def total(user, **query_):
    return user.ok("GET", "/api/costs/summary", query={**RANGE, **query_})


def changes_of(answer):
    return {(c["provider"], c["model"]): (c["events"], c["old_cost"], c["new_cost"]) for c in answer["changes"]}


def assert_reconciles(answer):
    """The totals are those of the table, and the whole range moved by exactly their difference."""
    assert answer["old_total"] == sum((c["old_cost"] for c in answer["changes"]), Decimal(0))
    assert answer["new_total"] == sum((c["new_cost"] for c in answer["changes"]), Decimal(0))
    assert answer["range_new_total"] - answer["range_old_total"] == answer["new_total"] - answer["old_total"]
    assert answer["events_changed"] == sum(c["events"] for c in answer["changes"])


def ledger_of(database, user):
    """The ledger against the events: the newest row of an event says what the event says."""
    return query(database, """
        SELECT count(*) FROM (SELECT DISTINCT ON (user_id, event_id) * FROM repricing_changes WHERE user_id = %s
            ORDER BY user_id, event_id, changed_at DESC, repricing_id DESC) c
        LEFT JOIN events e ON (e.user_id, e.occurred_at, e.id) = (c.user_id, c.occurred_at, c.event_id)
        WHERE (e.cost, e.catalogue_cost, e.pricing_status, e.price_record, e.catalogue_version)
            IS DISTINCT FROM (c.new_cost, c.new_catalogue_cost, c.new_status, c.new_record, c.new_version)""",
                 (user.user_id,))[0][0]


# ---- own prices ----

def test_override_is_shown_as_it_was_given(user):
    given = {"provider": "OpenAI", "model": "GPT-4", "from": "2026-01-01T01:00:00+01:00", "to": 1798761600,
             "per_million_tokens": {"input": "2.50", "output": 7.125}, "per_thousand": {"web_searches": "10"},
             "tiers": [{"above_input_tokens": 1000, "input": "5"}],
             "service_tiers": {"batch": {"per_million_tokens": {"input": "1"}}}, "note": "contract 7"}
    made = add(user, **given)
    assert made["provider"] == "openai" and made["model"] == "gpt-4" and made["note"] == "contract 7"
    assert made["from"] == "2026-01-01T00:00:00.000Z" and made["to"] == "2027-01-01T00:00:00.000Z"
    assert made["per_million_tokens"] == {"input": "2.50", "output": Decimal("7.125")}
    assert made["tiers"] == given["tiers"] and made["service_tiers"] == given["service_tiers"]
    assert made["per_thousand"] == given["per_thousand"]
    rule = add(user, provider="selfhosted", match={"prefix": "llama-"}, per_million_tokens={"input": "1"})
    assert rule["match"] == {"prefix": "llama-"} and "model" not in rule
    listed = user.ok("GET", "/api/pricing/overrides")
    assert listed == {"count": 2, "overrides": [rule, made], "next_cursor": None}
    first = user.ok("GET", "/api/pricing/overrides", query={"limit": 1})
    assert first["overrides"] == [rule]
    second = user.ok("GET", "/api/pricing/overrides", query={"limit": 1, "cursor": first["next_cursor"]})
    assert second["overrides"] == [made] and second["next_cursor"] is None


@pytest.mark.parametrize("body, fields", [
    ({}, {"provider", "model", "per_million_tokens"}),
    ({**OWN, "match": {"prefix": "x"}}, {"match"}),
    ({**OWN, "per_million_tokens": {"input": "-1"}}, {"per_million_tokens.input"}),
    ({**OWN, "per_million_tokens": {"input": "0.0000000001"}}, {"per_million_tokens.input"}),
    ({**OWN, "per_million_tokens": {"inptu": "1"}}, {"per_million_tokens.inptu"}),
    ({**OWN, "from": "yesterday"}, {"from"}),
    ({**OWN, "from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, {"to"}),
    ({**OWN, "from": 99999999999999999}, {"from"}),
    ({"provider": "x", "match": {"regex": "("}, "per_million_tokens": {"input": 1}}, {"match.regex"}),
    ({**OWN, "colour": "red"}, {"colour"}),
])
def test_override_bad_names_every_field(user, body, fields):
    answer = user.post("/api/pricing/overrides", body)
    assert answer.status == 400 and answer.fields == fields, answer
    assert user.ok("GET", "/api/pricing/overrides")["count"] == 0


def test_override_too_long_is_refused(user):
    tiers = [{"above_input_tokens": 1000 + i, "input": "1.000000001"} for i in range(400)]
    answer = user.post("/api/pricing/overrides", {**OWN, "tiers": tiers})
    assert answer.status == 400, answer


def test_override_prices_at_once_and_says_so(user):
    assert user.track(**call())["cost"] == Decimal("0.06")
    add(user, **OWN)
    for answer in (user.track(**call()), user.ok("POST", "/api/pricing/estimate", call())):
        # 1,000 x 2.5 + 500 x 7.125 = 6,062.5 per million
        assert answer["cost"] == Decimal("0.0060625")
        pricing = answer["pricing"]
        assert (pricing["status"], pricing["rule"], pricing["record"]) == ("priced", "override", "openai/gpt-4")
        assert sum(line["cost"] for line in pricing["breakdown"]) == answer["cost"]
    assert [r["cost"] for r in user.batch([call(), call(input_tokens=2000)])["results"]] == [
        Decimal("0.0060625"), Decimal("0.0085625")]


def test_override_order_of_precedence(user):
    def cost(**more):
        return user.ok("POST", "/api/pricing/estimate", call(output_tokens=0, **more))["cost"]
    assert cost() == Decimal("0.03")
    add(user, provider="openai", match={"prefix": "gpt-"}, per_million_tokens={"input": "4", "output": "0"})
    assert cost() == Decimal("0.004")
    add(user, provider="openai", model="gpt-4", per_million_tokens={"input": "3", "output": "0"})
    assert cost() == Decimal("0.003")
    # the exact one wins although the rule is newer; of two alike the newer one does
    add(user, provider="openai", match={"prefix": "gpt-4"}, per_million_tokens={"input": "2", "output": "0"})
    assert cost() == Decimal("0.003") and cost(model="gpt-4o") == Decimal("0.002")
    last = add(user, provider="openai", model="gpt-4", per_million_tokens={"input": "1", "output": "0"})
    assert cost() == Decimal("0.001")
    assert cost(provider="azure") == Decimal("0.03")
    user.ok("DELETE", f"/api/pricing/overrides/{last['id']}", status=204)
    assert cost() == Decimal("0.003")


def test_override_holds_from_its_first_to_before_its_last_instant(user):
    add(user, **OWN, **{"from": "2026-03-02T10:00:00Z", "to": "2026-03-02T11:00:00Z"})
    costs = {t: user.ok("POST", "/api/pricing/estimate", call(timestamp=f"2026-03-02T{t}Z"))["cost"]
             for t in ("09:59:59.999999", "10:00:00", "10:59:59.999999", "11:00:00")}
    assert list(costs.values()) == [Decimal("0.06"), Decimal("0.0060625"), Decimal("0.0060625"), Decimal("0.06")]


def test_override_batch_tier(user):
    add(user, **OWN, service_tiers={"batch": {"per_million_tokens": {"input": "1", "output": "2"}}})
    # 1,000 x 1 + 500 x 2 = 2,000 per million
    answer = user.track(**call(service_tier="batch"))
    assert answer["cost"] == Decimal("0.002") and answer["pricing"]["service_tier"] == "batch"
    # flex has no price of its own here: standard
    answer = user.track(**call(service_tier="flex"))
    assert answer["cost"] == Decimal("0.0060625") and answer["pricing"]["service_tier"] == "standard"


def test_override_never_affects_another_user(user, other):
    mine = add(user, **OWN)
    assert other.track(**call())["cost"] == Decimal("0.06")
    assert other.ok("GET", "/api/pricing/overrides")["overrides"] == []
    assert other.request("DELETE", f"/api/pricing/overrides/{mine['id']}").status == 404
    assert user.ok("GET", "/api/pricing/overrides")["count"] == 1
    user.ok("DELETE", f"/api/pricing/overrides/{mine['id']}", status=204)
    assert user.request("DELETE", f"/api/pricing/overrides/{mine['id']}").status == 404
    assert user.track(**call())["cost"] == Decimal("0.06")


def test_overrides_are_at_most_200(user):
    for i in range(200):
        add(user, provider="mine", model=f"m{i}", per_million_tokens={"input": "1"})
    answer = user.post("/api/pricing/overrides", OWN)
    assert answer.status == 409, answer
    first = user.ok("GET", "/api/pricing/overrides", query={"limit": 200})
    assert first["count"] == 200
    user.ok("DELETE", f"/api/pricing/overrides/{first['overrides'][0]['id']}", status=204)
    add(user, **OWN)


def test_override_is_seen_by_the_other_server_within_a_second(pair):
    here = sign_up(pair[0].port)
    there = here.on(pair[1].port)
    made = add(here, **OWN)
    wait_for(lambda: there.ok("POST", "/api/pricing/estimate", call())["cost"] == Decimal("0.0060625"),
             "the other server's price", 1.0)
    here.ok("DELETE", f"/api/pricing/overrides/{made['id']}", status=204)
    wait_for(lambda: there.ok("POST", "/api/pricing/estimate", call())["cost"] == Decimal("0.06"),
             "the other server to forget it", 1.0)
    here.close()
    there.close()


# ---- without a price ----

def unpriced_of(user):
    return user.ok("GET", "/api/pricing/unpriced")["models"]


def test_unpriced_lists_models_with_their_own_tokens_only(user):
    model = unique("m")
    user.track(provider="acme", model=model, input_tokens=10, output_tokens=5, timestamp=DAY + "T10:00:00.5Z")
    user.track(provider="acme", model=model, input_tokens=20, output_tokens=0, timestamp=DAY + "T10:05:00Z")
    # priced, in the same quarter of an hour: its tokens are not counted
    user.track(provider="acme", model=model, input_tokens=400, output_tokens=0, cost=1, timestamp=DAY + "T10:06:00Z")
    user.track(provider="acme", model=model, input_tokens=3, output_tokens=4, timestamp="2026-03-05T23:59:59Z")
    user.track(model="nobody-knows-" + model, input_tokens=1, output_tokens=1, timestamp=DAY + "T10:00:00Z")
    user.track(**call())
    assert unpriced_of(user) == [
        {"provider": "acme", "model": model, "calls": 3, "input_tokens": 33, "output_tokens": 9, "total_tokens": 42,
         "first_seen": DAY + "T10:00:00.500Z", "last_seen": "2026-03-05T23:59:59.000Z"},
        {"provider": "unknown", "model": "nobody-knows-" + model, "calls": 1, "input_tokens": 1, "output_tokens": 1,
         "total_tokens": 2, "first_seen": DAY + "T10:00:00.000Z", "last_seen": DAY + "T10:00:00.000Z"}]
    first = user.ok("GET", "/api/pricing/unpriced", query={"limit": 1})
    second = user.ok("GET", "/api/pricing/unpriced", query={"limit": 1, "cursor": first["next_cursor"]})
    assert [m["provider"] for m in first["models"] + second["models"]] == ["acme", "unknown"]
    assert second["next_cursor"] is None
    assert user.request("GET", "/api/pricing/unpriced", query={"cursor": "x"}).status == 400


@pytest.mark.parametrize("provider", ["acme", "unknown"])
def test_unpriced_is_priced_when_an_own_price_arrives(server, user, provider):
    named = {"provider": "acme"} if provider == "acme" else {}
    model = unique("m")
    for i in range(30):
        user.track(model=model, input_tokens=1000 + i, output_tokens=500, project=f"p{i % 3}",
                   timestamp=f"2026-03-{1 + i:02d}T12:00:00Z", **named)
    paid = user.track(model=model, input_tokens=7, output_tokens=0, cost="0.5", timestamp=DAY + "T12:00:00Z", **named)
    assert unpriced_of(user)[0]["calls"] == 30
    add(user, provider=provider, model=model, per_million_tokens={"input": "1.5", "output": "3"})
    wait_for(lambda: not unpriced_of(user), "the backlog to be priced", 30)
    # input: 30 x 1,000 + 435 = 30,435 x 1.5; output: 15,000 x 3; 90,652.5 per million, and the reported 0.5
    summary = total(user)
    assert summary["total_cost"] == Decimal("0.5906525") and summary["unpriced_calls"] == 0
    done = user.ok("GET", "/api/pricing/repricings")["repricings"]
    assert [(r["kind"], r["events_changed"], r["old_total"], r["new_total"]) for r in done] == [
        ("automatic", 30, 0, Decimal("0.0906525"))]
    wait_for(lambda: user.ok("GET", "/api/pricing/repricings")["repricings"][0]["state"] == "done", "its end")
    event = user.events(**RANGE, model=model, limit=500)[0]
    assert event["pricing"]["rule"] == "override" and event["pricing"]["status"] == "priced"
    assert user.ok("GET", f"/api/events/{paid['event_id']}")["cost"] == Decimal("0.5")
    database = server.database()
    assert_rollups_equal_events(database)
    assert ledger_of(database, user) == 0
    database.close()


# ---- re-pricing ----

def mixed_calls(user):
    """120 calls of gpt-4, 60 of gpt-4o, one reported, one unpriced: some in March, one before and one after."""
    user.batch([call(timestamp=f"2026-03-{1 + i % 31:02d}T{i % 24:02d}:{i % 60:02d}:00Z", input_tokens=1000 + i,
                     project=f"p{i % 2}") for i in range(120)])
    user.batch([call(model="gpt-4o", timestamp=f"2026-03-{1 + i % 28:02d}T05:00:00Z") for i in range(60)])
    user.track(**call(cost="1.25"))
    user.track(**call(provider="acme", model="secret"))
    user.track(**call(timestamp="2026-02-28T23:59:59.999Z"))
    user.track(**call(timestamp="2026-04-01T00:00:00Z"))


def test_reprice_preview_equals_apply_and_everything_reconciles(server, user, other):
    mixed_calls(user)
    other.track(**call())
    before = total(user)
    assert reprice(user, True)["changes"] == []
    add(user, **OWN)
    preview = reprice(user, True)
    assert preview["id"] is None and preview["dry_run"] is True
    assert total(user) == before
    assert user.ok("GET", "/api/pricing/repricings")["repricings"] == []
    applied = reprice(user, False, reason="the contract of March")
    after = total(user)
    # 120 changed, and the reported one, whose cost stays. Old: 120 x (30,000 + 30,000) + 7,140 x 30 per million, and 1.25
    # new: 120 x (2,500 + 3,562.5) + 7,140 x 2.5
    assert changes_of(applied) == {("openai", "gpt-4"): (121, Decimal("7.4142") + Decimal("1.25"),
                                                         Decimal("0.74535") + Decimal("1.25"))}
    same = ("changes", "old_total", "new_total", "range_old_total", "range_new_total", "events_examined", "events_changed",
            "from", "to")
    assert {k: preview[k] for k in same} == {k: applied[k] for k in same}
    assert_reconciles(applied)
    assert applied["state"] == "done" and applied["events_examined"] == 182
    assert applied["range_old_total"] == before["total_cost"] and applied["range_new_total"] == after["total_cost"]
    listed = user.ok("GET", "/api/pricing/repricings")["repricings"]
    assert listed == [applied] and applied["reason"] == "the contract of March"
    assert applied["requested_by"] == {"user_id": user.user_id, "api_key_id": None}
    # again: nothing is left to change, and that is recorded too
    again = reprice(user, False)
    assert again["changes"] == [] and again["old_total"] == 0 and again["state"] == "done"
    outside = [e["cost"] for e in user.events(**{"from": "2026-02-01", "to": "2026-02-28"})]
    assert outside == [Decimal("0.06")]
    assert total(other)["total_cost"] == Decimal("0.06")
    assert other.ok("GET", "/api/pricing/repricings")["repricings"] == []
    database = server.database()
    assert_rollups_equal_events(database)
    assert ledger_of(database, user) == 0
    database.close()


def test_reprice_reported_cost_stays_and_our_own_price_follows(user):
    event = user.track(**call(cost="1.25"))["event_id"]
    only_paid = user.track(provider="openai", model="gpt-4", cost="2", timestamp=DAY + "T10:00:00Z")["event_id"]
    add(user, **OWN)
    applied = reprice(user, False)
    assert applied["events_changed"] == 1 and applied["old_total"] == applied["new_total"] == Decimal("1.25")
    stored = user.ok("GET", f"/api/events/{event}")
    assert stored["cost"] == Decimal("1.25") and stored["pricing"]["status"] == "reported"
    assert stored["pricing"]["catalogue_cost"] == Decimal("0.0060625")
    # of the other nothing was measured that could be priced
    stored = user.ok("GET", f"/api/events/{only_paid}")
    assert stored["cost"] == 2 and "catalogue_cost" not in stored["pricing"]


def test_reprice_is_undone_by_deleting_the_own_price(server, user):
    mixed_calls(user)
    before = total(user)
    events = [{k: v for k, v in e.items()} for e in user.events(**RANGE, limit=500)]
    made = add(user, **OWN)
    reprice(user, False)
    user.ok("DELETE", f"/api/pricing/overrides/{made['id']}", status=204)
    back = reprice(user, False)
    assert_reconciles(back)
    assert total(user) == before
    assert user.events(**RANGE, limit=500) == events
    database = server.database()
    assert_rollups_equal_events(database)
    assert query(database, "SELECT count(*) FROM repricing_changes WHERE user_id = %s", (user.user_id,)) == [(242,)]
    database.close()


def test_reprice_what_has_lost_its_price_becomes_unpriced(server, user):
    model = unique("m")
    made = add(user, provider="acme", model=model, per_million_tokens={"input": "1", "output": "1"})
    user.track(**call(provider="acme", model=model))
    user.ok("DELETE", f"/api/pricing/overrides/{made['id']}", status=204)
    assert reprice(user, True, provider="openai")["changes"] == []
    applied = reprice(user, False, provider="ACME", model=model)
    assert changes_of(applied) == {("acme", model): (1, Decimal("0.0015"), 0)}
    summary = total(user)
    assert summary["total_cost"] == 0 and summary["unpriced_calls"] == 1
    database = server.database()
    assert_rollups_equal_events(database)
    database.close()


def test_reprice_model_that_named_its_provider_keeps_its_price(user):
    """No provider was given: it was found from the model's beginning, which is not part of the record's name."""
    answer = user.track(model="openai/gpt-4", input_tokens=1000, output_tokens=500, timestamp=DAY + "T10:00:00Z")
    assert answer["cost"] == Decimal("0.06") and answer["provider"] == "openai"
    assert reprice(user, True)["changes"] == []


@pytest.mark.parametrize("body, fields", [
    ({}, {"from", "to", "dry_run"}),
    ({"from": "x", "to": "2026-01-01", "dry_run": True}, {"from"}),
    ({"from": "2026-02-01", "to": "2026-01-01", "dry_run": True}, {"to"}),
    ({"from": "2026-02-01", "to": "2026-02-02T00:00:00Z", "dry_run": True}, {"to"}),
    ({**RANGE, "dry_run": "yes"}, {"dry_run"}),
    ({**RANGE, "dry_run": True, "modle": "x"}, {"modle"}),
    ({**RANGE, "dry_run": True, "reason": ""}, {"reason"}),
])
def test_reprice_bad_names_every_field(user, body, fields):
    answer = user.post("/api/pricing/reprice", body)
    assert answer.status == 400 and answer.fields == fields, answer


def test_reprice_range_of_instants_is_exact(user):
    for at in ("10:07:29.999999", "10:07:30", "10:20:00", "10:29:59.999999", "10:30:00"):
        user.track(**call(timestamp=f"{DAY}T{at}Z"))
    add(user, **OWN)
    answer = user.ok("POST", "/api/pricing/reprice", {"from": DAY + "T10:07:30Z", "to": DAY + "T10:30:00Z", "dry_run": False})
    assert answer["events_examined"] == answer["events_changed"] == 3
    # 2 x 0.06 + 3 x 0.0060625
    assert total(user)["total_cost"] == Decimal("0.1381875")


def fill(user, n, model="gpt-4"):
    for first in range(0, n, 5000):
        user.batch([call(model=model, timestamp=f"2026-03-{1 + i % 28:02d}T{i % 24:02d}:{i % 60:02d}:{i % 59:02d}Z",
                         project=f"p{i % 5}") for i in range(first, min(n, first + 5000))])


def finished(user, identifier):
    rows = [r for r in user.ok("GET", "/api/pricing/repricings")["repricings"] if r["id"] == identifier]
    return rows and rows[0]["state"] == "done" and rows[0]


def test_reprice_large_goes_on_in_the_background(server, user):
    fill(user, 26000)
    add(user, **OWN)
    answer = reprice(user, False, status=202)
    assert answer["state"] == "running" and 0 < answer["events_examined"] < 26000
    done = wait_for(lambda: finished(user, answer["id"]), "the end of the re-pricing")
    assert changes_of(done) == {("openai", "gpt-4"): (26000, Decimal("1560"), Decimal("157.625"))}
    assert_reconciles(done)
    database = server.database()
    assert_rollups_equal_events(database)
    assert ledger_of(database, user) == 0
    database.close()


def test_reprice_while_events_come_in_on_two_servers_is_exact(pair):
    user = sign_up(pair[0].port)
    there = user.on(pair[1].port)
    fill(user, 8000)
    add(user, **OWN)
    wait_for(lambda: there.ok("POST", "/api/pricing/estimate", call())["cost"] == Decimal("0.0060625"), "the other server")
    stop = threading.Event()
    sent = []

    def send(client):
        while not stop.is_set():
            answer = client.batch([call(timestamp=f"2026-03-{1 + i % 28:02d}T{i % 24:02d}:00:01Z") for i in range(200)])
            sent.append(answer["accepted"])

    threads = [threading.Thread(target=send, args=(client,)) for client in (user, there)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(sent) > 2, "events")
        applied = user.post("/api/pricing/reprice", {**RANGE, "dry_run": False})
        assert applied.status in (200, 202), applied
        again = there.post("/api/pricing/reprice", {**RANGE, "dry_run": False})
        assert again.status in (200, 202), again
        done = [wait_for(lambda i=i: finished(user, i.json["id"]), "the end of the re-pricing")
                for i in (applied, again)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    # what came in meanwhile had the new price already, and no event changes twice
    assert sum(d["events_changed"] for d in done) == 8000
    assert sum(d["old_total"] for d in done) == 480 and sum(d["new_total"] for d in done) == Decimal("48.5")
    assert total(user)["total_cost"] == (8000 + sum(sent)) * Decimal("0.0060625")
    database = pair[0].database()
    assert_rollups_equal_events(database)
    database.close()
    user.close()
    there.close()


def test_reprice_goes_on_after_a_kill_in_the_middle(postgres, own_server):
    settings = {"DATABASE_URL": postgres.create("reprice_kill"), "SECRET_KEY": new_secret()}
    server = own_server(**settings).start()
    user = sign_up(server.port)
    fill(user, 30000)
    add(user, **OWN)
    answers = []

    def apply():
        try:
            answers.append(reprice(user, False, status=202))
        except Exception:  # the server is killed under it
            pass

    thread = threading.Thread(target=apply)
    thread.start()
    database = server.database()

    def progress():
        rows = query(database, "SELECT events_examined, state, id FROM repricings")
        return rows and rows[0][0] > 0 and rows[0]

    examined, state, identifier = wait_for(progress, "the first chunk")
    server.kill()
    thread.join()
    assert state == "running" and examined < 30000
    killed_at = query(database, "SELECT events_changed, state FROM repricings")[0]
    assert killed_at[1] == "running"
    # what is committed is whole: the ledger, the events and the rollup agree although half is done
    assert_rollups_equal_events(database)
    assert query(database, "SELECT count(*) FROM repricing_changes")[0][0] == killed_at[0]
    assert ledger_of(database, user) == 0
    server.start()
    user = user.on(server.port)
    done = wait_for(lambda: finished(user, identifier), "the end of the re-pricing")
    assert changes_of(done) == {("openai", "gpt-4"): (30000, Decimal("1800"), Decimal("181.875"))}
    assert_reconciles(done)
    assert query(database, "SELECT count(*), count(DISTINCT event_id), sum(old_cost), sum(new_cost) FROM repricing_changes"
                 ) == [(30000, 30000, Decimal("1800"), Decimal("181.875"))]
    assert_rollups_equal_events(database)
    assert ledger_of(database, user) == 0
    assert total(user)["total_cost"] == Decimal("181.875")
    database.close()
    user.close()
    server.stop()


def test_backlog_is_priced_by_a_new_catalogue(postgres, own_server, tmp_path):
    settings = {"DATABASE_URL": postgres.create("reprice_catalogue"), "SECRET_KEY": new_secret()}
    server = own_server(**settings).start()
    user = sign_up(server.port)
    model = unique("gpt-next")
    user.batch([call(model=model, timestamp=f"2026-03-01T00:{i % 60:02d}:00Z") for i in range(2500)])
    assert unpriced_of(user)[0]["calls"] == 2500
    server.stop()
    prices = tmp_path / "prices.json"
    prices.write_text('{"mode":"extend","providers":[{"provider":"openai","records":[{"model":"%s","match":[{"equals":"%s"}],'
                      '"prices":[{"per_million_tokens":{"input":1,"output":2}}]}]}]}' % (model, model))
    second = own_server(**settings, LLMLAB_PRICING_FILE=str(prices)).start()
    user = user.on(second.port)
    wait_for(lambda: not unpriced_of(user), "the backlog to be priced", 30)
    assert total(user)["total_cost"] == Decimal("5")  # 2,500 x (1,000 + 1,000) per million
    database = second.database()
    assert_rollups_equal_events(database)
    assert ledger_of(database, user) == 0
    database.close()
    user.close()
    second.stop()


def test_ledger_rows_cannot_be_changed(server, user):
    user.track(**call())
    add(user, **OWN)
    reprice(user, False)
    database = server.database()
    with pytest.raises(Exception, match="never changed"):
        query(database, "UPDATE repricing_changes SET new_cost = 0 WHERE user_id = %s", (user.user_id,))
    database.close()


# ---- command line ----

def run(*arguments, **environment_):
    done = subprocess.run([find_binary(), *arguments], capture_output=True, text=True, timeout=120,
                          env=environment(**environment_), stdin=subprocess.DEVNULL, cwd="/")
    return done.returncode, done.stdout, done.stderr


def test_price_command_prints_the_breakdown():
    code, out, err = run("price", "gpt-4", "--input", "1000", "--output", "500", "--at", "yesterday")
    assert (code, out) == (2, "") and "--at" in err
    code, out, err = run("price", "gpt-4", "--input", "1000", "--output", "500", "--tier", "batch", "--at", DAY + "T10:00:00Z")
    assert code == 0, err
    # 1,000 x 15 + 500 x 30 per million
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][0] == "openai/gpt-4," and "batch" in rows[0]
    assert rows[1][0] == "input" and rows[1][-1] == "0.015"
    assert rows[2][0] == "output" and rows[2][-1] == "0.015"
    assert rows[3] == ["total", "0.03", "USD"]


@pytest.mark.parametrize("arguments, code", [
    ((), 2), (("a", "b"), 2), (("gpt-4", "--inptu", "1"), 2), (("gpt-4", "--input"), 2), (("gpt-4", "--input", "-1"), 2),
    (("gpt-4", "--input", "1", "--cache-read", "2"), 2), (("gpt-4", "--unit", "x=1"), 2), (("no-such-model", "--input", "1"), 1),
    (("whisper-1", "--provider", "openai", "--unit", "input_second=9.5"), 0), (("--help",), 0)])
def test_price_command_exit_codes(arguments, code):
    assert run("price", *arguments)[0] == code


def test_reprice_command_previews_and_applies(server, user):
    user.track(**call())
    add(user, **OWN)
    url = f"http://127.0.0.1:{server.port}"
    common = ("reprice", "--url", url, "--from", "2026-03-01", "--to", "2026-03-31", "--model", "gpt-4")
    code, out, err = run(*common, LLMLAB_KEY=user.token)
    assert code == 0 and "preview" in out, err
    row = next(line.split() for line in out.splitlines() if line.startswith("openai"))
    assert row == ["openai", "gpt-4", "1", "0.06", "0.0060625"]
    assert total(user)["total_cost"] == Decimal("0.06")
    code, out, err = run(*common, "--apply", "--reason", "contract", LLMLAB_KEY=user.token)
    assert code == 0 and "preview" not in out, err
    assert total(user)["total_cost"] == Decimal("0.0060625")
    assert user.ok("GET", "/api/pricing/repricings")["repricings"][0]["reason"] == "contract"
    assert run(*common, LLMLAB_KEY="wrong")[0] == 1
    assert run("reprice", "--from", "x", LLMLAB_KEY="x")[0] == 2
    code, _, err = run("reprice", "--url", url, "--from", "x", "--to", "2026-03-31", LLMLAB_KEY=user.token)
    assert code == 1 and "400" in err


def test_reprice_command_waits_for_the_background(server, user):
    fill(user, 26000)
    add(user, **OWN)
    code, out, err = run("reprice", "--url", f"http://127.0.0.1:{server.port}", "--from", "2026-03-01", "--to", "2026-03-31",
                         "--apply", LLMLAB_KEY=user.token)
    assert code == 0, err
    row = next(line.split() for line in out.splitlines() if line.startswith("openai"))
    assert row == ["openai", "gpt-4", "26000", "1560", "157.625"]
