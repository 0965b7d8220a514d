"""What is said about savings must be honest, and what is called unusual must be so."""
from datetime import datetime, timedelta, timezone
from decimal import Decimal as D

import pytest

from llmlab_client import sign_up

UTC = timezone.utc
PATHS = ["/api/recommendations", "/api/recommendations/anomalies", "/api/recommendations/model-switching"]


def days_ago(n, hour=12):
    """An instant n days ago that is not in the future, whatever the hour is now."""
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=n)
    return (day + timedelta(hours=hour if n else 0)).isoformat()


@pytest.fixture(scope="module")
def steady(server):
    """30 days of the same: 20 calls a day of a dear model, with small in- and outputs."""
    client = sign_up(server.port)
    client.batch([{"model": "gpt-4", "input_tokens": 2000 + i, "output_tokens": 300, "timestamp": days_ago(n, hour=i % 24)}
                  for n in range(1, 31) for i in range(20)])
    yield client
    client.close()


@pytest.fixture(scope="module")
def spiky(server):
    """The same with one day, three days ago, on which one model cost fifty times as much."""
    client = sign_up(server.port)
    events = [{"model": "gpt-4", "input_tokens": 2000 + i, "output_tokens": 300, "timestamp": days_ago(n, hour=i % 24)}
              for n in range(1, 31) for i in range(20)]
    events += [{"model": "claude-opus-4-5", "input_tokens": 100000, "output_tokens": 20000, "timestamp": days_ago(3, hour=i % 24)}
               for i in range(60)]
    events.append({"model": "claude-opus-4-5", "input_tokens": 199000, "output_tokens": 50000, "project": "dearest",
                   "timestamp": days_ago(3, hour=7)})
    client.batch(events)
    yield client
    client.close()


def test_recommendations_of_nothing_are_empty(user):
    answer = user.ok("GET", PATHS[0])
    assert answer["anomalies"] == [] and answer["model_recommendations"] == [] and answer["total_potential_savings"] == 0
    assert answer["last_updated"].endswith("Z") and answer["anomalies_complete"] is True
    anomalies = user.ok("GET", PATHS[1])
    assert (anomalies["count"], anomalies["anomalies"]) == (0, []) and set(anomalies["analysis_period"]) == {"start", "end"}
    switching = user.ok("GET", PATHS[2])
    assert (switching["count"], switching["recommendations"], switching["total_potential_savings"]) == (0, [], 0)


def test_model_switching_has_the_contract_fields_and_never_saves_more_than_is_spent(steady):
    answer = steady.ok("GET", PATHS[2])
    spent = steady.ok("GET", "/api/costs/summary")["total_cost"]
    assert answer["count"] == len(answer["recommendations"]) > 0, "gpt-4 has cheaper successors"
    total = D(0)
    for row in answer["recommendations"]:
        assert {"provider", "current_model", "suggested_model", "current_cost_per_call", "suggested_cost_per_call",
                "estimated_monthly_savings", "use_case", "confidence", "caveat"} <= set(row)
        assert row["current_model"] == "gpt-4" and row["suggested_model"] != "gpt-4"
        assert 0 <= D(row["suggested_cost_per_call"]) < D(row["current_cost_per_call"])
        assert 0 < D(row["estimated_monthly_savings"])
        total += D(row["estimated_monthly_savings"])
    # the range is 30 days, so a month's savings compare with the spend of the range (a month has up to 31 days)
    assert 0 < D(answer["total_potential_savings"]) <= spent * 31 / 29
    assert D(answer["total_potential_savings"]) <= total


def test_model_switching_current_cost_per_call_is_what_was_paid(steady):
    rows = steady.ok("GET", PATHS[2])["recommendations"]
    summary = steady.ok("GET", "/api/costs/summary")
    average = summary["total_cost"] / summary["call_count"]
    assert all(abs(D(r["current_cost_per_call"]) - average) < D("0.000001") for r in rows)


def test_recommendations_sums_are_honest(steady, spiky):
    for client in (steady, spiky):
        answer = client.ok("GET", PATHS[0])
        spent = client.ok("GET", "/api/costs/summary")["total_cost"]
        assert {"optimizations", "model_recommendations", "anomalies", "total_potential_savings", "last_updated"} <= set(answer)
        each = [D(o["potential_savings"]) for o in answer["optimizations"]]
        for o in answer["optimizations"]:
            assert {"id", "type", "title", "description", "potential_savings", "priority", "confidence", "evidence"} <= set(o)
            assert isinstance(o["evidence"], dict) and o["title"] and o["description"]
        total = D(answer["total_potential_savings"])
        assert all(0 <= s <= spent * 31 / 29 for s in each)
        assert 0 <= total <= sum(each, D(0)) and total <= spent * 31 / 29
        assert len({o["id"] for o in answer["optimizations"]}) == len(each)
        again = client.ok("GET", PATHS[0])
        assert [o["id"] for o in again["optimizations"]] == [o["id"] for o in answer["optimizations"]], "ids are stable"


def test_anomalies_quiet_spend_has_none(steady):
    assert steady.ok("GET", PATHS[1])["anomalies"] == []
    assert steady.ok("GET", PATHS[0])["anomalies"] == []


def test_anomalies_spike_is_found_with_its_cause_and_dearest_event(spiky):
    answer = spiky.ok("GET", PATHS[1])
    assert answer["count"] == len(answer["anomalies"]) >= 1
    day = days_ago(3)[:10]
    assert {a["date"] for a in answer["anomalies"]} == {day}, answer
    # 60 x (100000 x 5 + 20000 x 25) / 10^6 + (199000 x 5 + 50000 x 25) / 10^6 = 60 + 2.245, beside the daily gpt-4 calls
    calls = sum(D((2000 + i) * 30 + 300 * 60) / 10 ** 6 for i in range(20))
    dearest = [e for e in spiky.events(project="dearest")][0]["event_id"]
    whole = [a for a in answer["anomalies"] if not a["scope"] or a["scope"].get("all")]
    assert any(a["cost"] == D("62.245") + calls for a in answer["anomalies"]) or \
        any(a["cost"] == D("62.245") for a in answer["anomalies"]), answer
    for anomaly in answer["anomalies"]:
        assert {"id", "granularity", "date", "start", "end", "scope", "cost", "expected_cost", "lower", "upper", "score",
                "severity", "causes", "event_id"} <= set(anomaly)
        assert anomaly["granularity"] in ("day", "hour")
        assert D(anomaly["cost"]) > D(anomaly["upper"]) >= D(anomaly["expected_cost"]) >= D(anomaly["lower"]) >= 0
        assert anomaly["start"].startswith(day) and anomaly["event_id"] == dearest
    assert any(c["value"] in ("claude-opus-4-5", "anthropic") for a in answer["anomalies"]
               for c in a["causes"] + a["contributors"]) or not whole


def test_anomalies_belong_to_the_user(spiky, user):
    assert user.ok("GET", PATHS[1])["anomalies"] == []


@pytest.mark.parametrize("threshold", ["x", "-1", "0", "nan", "inf", "1e400", ""])
def test_anomalies_bad_threshold_is_named(user, threshold):
    assert user.get(PATHS[1], query={"threshold": threshold}).fields == {"threshold"}


def test_anomalies_threshold_decides(spiky):
    few = spiky.ok("GET", PATHS[1], query={"threshold": "1000"})["count"]
    assert few <= spiky.ok("GET", PATHS[1], query={"threshold": "3"})["count"]


@pytest.mark.parametrize("path", PATHS)
def test_recommendations_take_ranges_and_name_bad_ones(user, path):
    assert user.get(path, query={"days": 7, "tz": "Asia/Kathmandu"}).status == 200
    assert user.get(path, query={"days": 0}).fields == {"days"}
    assert user.get(path, query={"tz": "No/Where"}).fields == {"tz"}
