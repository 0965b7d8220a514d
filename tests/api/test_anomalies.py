"""Unusual spend: found once, where it happened, with reasons that add up; and told by itself."""
import itertools
from datetime import datetime, timedelta, timezone
from decimal import Decimal as D

import pytest

from llmlab_client import sign_up
from llmlab_server import query, wait_for

UTC = timezone.utc
PATH = "/api/recommendations/anomalies"


def today():
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def at(days_ago, hour=12):
    return (today() - timedelta(days=days_ago) + timedelta(hours=hour)).isoformat()


def call(days_ago, hour=12, cost="1", model="m", **more):
    return {"provider": "own", "model": model, "input_tokens": 100, "output_tokens": 10, "cost": cost,
            "timestamp": at(days_ago, hour), **more}


@pytest.fixture
def account(server):
    client = sign_up(server.port)
    yield client
    client.close()


def find(client, **parameters):
    answer = client.ok("GET", PATH, query=parameters)
    assert answer["count"] == len(answer["anomalies"])
    for a in answer["anomalies"]:
        assert sum(c["contribution"] for c in a["causes"]) == a["cost"] - a["expected_cost"], "the causes are the excess, exactly"
        assert len({c["dimension"] for c in a["causes"]}) == len(a["causes"])
        assert {c["dimension"] for c in a["causes"]} <= {"volume", "model_mix", "tokens_per_call", "price"}
        assert a["cost"] > a["upper"] >= a["expected_cost"] >= a["lower"] >= 0 and a["score"] > D("3.5")
        assert all(c["contribution"] > 0 for c in a["contributors"])
    return answer["anomalies"]


def test_anomaly_in_one_model_is_told_as_the_models(account):
    """20 USD a day of two models; three days ago one of them made 9 times its calls."""
    account.batch([call(n, h, model=m) for n in range(1, 31) for h in range(10) for m in ("a", "b")] +
                  [call(3, h, model="b") for h in range(10) for _ in range(8)])
    [found] = find(account)
    assert found["scope"] == {"provider": "own", "model": "b"}
    assert {"provider": "own"} in found["also_in"] and {} in found["also_in"]
    assert (found["cost"], found["expected_cost"], found["date"]) == (90, 10, at(3)[:10])
    # 10 calls a day before, all of the same length, model and price
    assert [(c["dimension"], c["contribution"]) for c in found["causes"]] == [("volume", 80)]
    assert [(c["dimension"], c["value"], c["contribution"]) for c in found["contributors"] if c["dimension"] == "model"] == \
        [("model", "b", 80)]
    assert found["severity"] in ("high", "critical") and found["granularity"] == "day"
    event = account.ok("GET", f"/api/events/{found['event_id']}")
    assert event["model"] == "b" and event["timestamp"].startswith(at(3)[:10])


def test_anomaly_among_tens_of_thousands_of_models_is_found_in_what_they_are_part_of(account):
    """A dollar a day; two days ago 12,000 models more, of one call for a tenth of a cent each: 13 USD. A year of a series for each of them would
    be more than one search may hold."""
    account.batch([call(n, h, cost="0.1") for n in range(1, 31) for h in range(10)])
    assert account.ok("GET", PATH)["all_searched"] is True
    for k in range(12):
        account.batch([call(2, model=f"m-{k}-{i}", cost="0.001") for i in range(1000)])
    # On a machine that is busy with others one statement may be over its deadline.
    answers = []
    wait_for(lambda: answers.append(account.request("GET", PATH, query={"days": 366})) or answers[-1].status == 200, "an answer in time", 120)
    answer = answers[-1].json
    assert answer["all_searched"] is False
    assert [(a["date"], a["scope"], a["cost"]) for a in answer["anomalies"]] == [(at(2)[:10], {"provider": "own"}, 13)]


def test_anomaly_of_a_price_is_a_price_and_of_longer_calls_their_length(account):
    """28 days of 10 calls at 1 USD for 110 tokens. Then 10 calls at 5 USD; and 10 calls of 550 tokens at 5 USD."""
    account.batch([call(n, h) for n in range(1, 36) for h in range(10) if n not in (2, 4)] +
                  [call(2, h, cost="5") for h in range(10)] +
                  [{**call(4, h, cost="5"), "input_tokens": 500, "output_tokens": 50} for h in range(10)])
    by_date = {a["date"]: a for a in find(account)}
    assert set(by_date) == {at(2)[:10], at(4)[:10]}
    # the 28 days before day 4 hold nothing unusual: 50 - 10
    assert [(c["dimension"], c["contribution"]) for c in by_date[at(4)[:10]]["causes"]] == [("tokens_per_call", 40)]
    assert max(by_date[at(2)[:10]]["causes"], key=lambda c: c["contribution"])["dimension"] == "price"


def test_anomaly_of_a_project_in_two_models_is_told_by_model_and_names_the_project(account):
    """Two models used alike by two projects; one project makes 6 times its calls with both."""
    account.batch([call(n, h, model=m, project=p, tags={"team": p}) for n in range(1, 31) for h in range(6)
                   for m in "ab" for p in ("x", "y")] +
                  [call(5, h, model=m, project="y", customer="c", tags={"team": "y"}) for h in range(6) for m in "ab" for _ in range(5)])
    found = find(account)
    # each model shows half of it by itself, so those two are told; the project and its tag are the same thing in other words
    assert sorted(a["scope"].get("model", "") for a in found) == ["a", "b"]
    for a in found:
        largest = {c["dimension"]: c["value"] for c in reversed(a["contributors"])}
        assert largest["project"] == "y" and largest["customer"] == "c"


def test_anomaly_of_a_step_is_told_once(account):
    account.batch([call(n, h) for n in range(1, 41) for h in range(5) for _ in range(6 if n <= 12 else 1)])
    assert [a["date"] for a in find(account, days=30)] == [at(12)[:10]]


def test_anomaly_weekends_are_none(account):
    def calls(n):
        return 1 if (today() - timedelta(days=n)).weekday() > 4 else 10
    account.batch([call(n, h) for n in range(0, 60) for h in range(calls(n)) if n > 0 or h == 0])
    assert find(account, days=60) == []


def test_anomaly_of_an_hour_is_told_where_its_day_is_not(account):
    """1 USD every hour, and 6 in one hour of yesterday: 29 where 24 are expected is a usual day."""
    account.batch([call(n, h) for n in range(1, 31) for h in range(24)] + [call(1, 3) for _ in range(5)])
    [found] = find(account)
    assert (found["granularity"], found["cost"], found["expected_cost"], found["scope"]) == ("hour", 6, 1, {})
    assert found["start"] == at(1, 3)[:13] + ":00:00.000Z" and found["date"] == at(1)[:10]
    assert find(account, **{"to": at(2)[:10], "from": at(20)[:10]}) == []


def test_anomaly_ids_are_stable_and_dismissed_ones_are_left_out(account):
    account.batch([call(n, h) for n in range(1, 31) for h in range(4)] + [call(2, 5, cost="70")])
    [found] = find(account)
    [again] = find(account, days=60)
    assert again["id"] == found["id"] and not found["dismissed"]
    account.ok("POST", f"/api/recommendations/{found['id']}/dismiss")
    assert find(account) == []
    [shown] = find(account, include_dismissed="true")
    assert shown["id"] == found["id"] and shown["dismissed"]
    assert account.ok("GET", "/api/recommendations")["anomalies"] == []


def test_anomaly_in_another_zone_is_of_that_zones_day(account):
    """22:00 UTC is the next day in Kathmandu (+5:45)."""
    account.batch([call(n, 12) for n in range(1, 33) for _ in range(4)] + [call(4, 22, cost="60")])
    [utc] = find(account)
    [there] = find(account, tz="Asia/Kathmandu")
    assert utc["date"] == at(4)[:10] and there["date"] == at(3)[:10]
    assert utc["id"] != there["id"] and utc["event_id"] == there["event_id"]


def test_anomaly_is_found_in_the_background_and_told_once(own_server):
    server = own_server(ANOMALY_SCAN_SECONDS=1, WEBHOOK_ALLOW_PRIVATE="on", WEBHOOK_RETRY_SECONDS=3600)
    server.start()
    client = sign_up(server.port)
    # nobody listens there: the delivery stays in the outbox
    client.ok("POST", "/api/webhooks", {"url": "http://127.0.0.1:9/", "events": ["anomaly.detected"]}, status=201)
    client.batch([call(n, h) for n in range(1, 31) for h in range(4)] + [call(1, 5, cost="70", project="p")])
    database = server.database()
    stored = "SELECT id, granularity, scope, cost, expected_cost, severity, event_id FROM anomalies WHERE user_id = %s"
    wait_for(lambda: query(database, stored, (client.user_id,)), "the anomaly")
    [found] = find(client)
    [row] = query(database, stored, (client.user_id,))
    assert row == (found["id"], "day", found["scope"], found["cost"], found["expected_cost"], found["severity"], found["event_id"])
    scanned = "SELECT scanned_at FROM anomaly_scans WHERE user_id = %s"
    for _ in range(2):
        before = query(database, scanned, (client.user_id,))
        wait_for(lambda: query(database, scanned, (client.user_id,)) != before, "another look")
    assert len(query(database, stored, (client.user_id,))) == 1
    deliveries = query(database, "SELECT event_type, payload FROM webhook_deliveries WHERE user_id = %s", (client.user_id,))
    assert len(deliveries) == 1 and deliveries[0][0] == "anomaly.detected"
    payload = deliveries[0][1]
    text = payload if isinstance(payload, str) else str(payload)
    assert found["id"] in text and "is unusual" in text
    database.close()


def test_anomaly_of_a_day_whose_hour_was_told_is_kept_silently(own_server):
    server = own_server(ANOMALY_SCAN_SECONDS=1, WEBHOOK_ALLOW_PRIVATE="on", WEBHOOK_RETRY_SECONDS=3600)
    server.start()
    client = sign_up(server.port)
    client.ok("POST", "/api/webhooks", {"url": "http://127.0.0.1:9/", "events": ["anomaly.detected"]}, status=201)
    database = server.database()
    query(database, "INSERT INTO anomalies (user_id, id, granularity, start_at, end_at, scope, cost, expected_cost, score, severity,"
                    " detected_at) VALUES (%s, '00000000000000aa', 'hour', %s, %s, '{}', 71, 1, 9, 'high', now())",
          (client.user_id, at(1, 5), at(1, 6)))
    client.batch([call(n, h) for n in range(1, 31) for h in range(4)] + [call(1, 5, cost="70")])
    days = "SELECT count(*) FROM anomalies WHERE user_id = %s AND granularity = 'day'"
    wait_for(lambda: query(database, days, (client.user_id,))[0][0] == 1, "the day")
    assert query(database, "SELECT count(*) FROM webhook_deliveries WHERE user_id = %s", (client.user_id,)) == [(0,)]
    database.close()


def test_anomaly_of_two_servers_is_told_once(own_server, postgres):
    settings = {"DATABASE_URL": postgres.create("anomalies"), "SECRET_KEY": "pK3xW8mT5vR2nB7qL9cY4zH6dJ1fG0sA", "ANOMALY_SCAN_SECONDS": 1}
    two = [own_server(**settings), own_server(**settings)]
    for server in two:
        server.start()
    clients = [sign_up(two[0].port) for _ in range(3)]
    for client in clients:
        client.batch([call(n, h) for n in range(1, 31) for h in range(4)] + [call(1, 5, cost="70")])
    database = two[0].database()
    wait_for(lambda: query(database, "SELECT count(*) FROM anomalies")[0][0] == 3, "the anomalies")
    counts = [sum(D(line.split()[1]) for line in server.client().get("/metrics", check=False).body.decode().splitlines()
                  if line.startswith("llmlab_anomalies_total")) for server in two]
    assert sum(counts) == 3, counts
    database.close()
    for client in itertools.chain(clients):
        client.close()
