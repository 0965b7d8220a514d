"""Alerts: each threshold of a budget is told once in a period, soon, and whatever is killed; so is a model without a price."""
import threading
import time
from datetime import datetime, time as clock, timedelta, timezone
from decimal import Decimal as D
from zoneinfo import ZoneInfo

import pytest

from llmlab_client import Client, sign_up
from llmlab_server import new_secret, query, wait_for

UTC = timezone.utc
SOME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
MEMBERS = {"id", "kind", "message", "budget_id", "budget_name", "period_start", "period_end", "threshold", "spend", "limit",
           "percentage_used", "provider", "model", "created_at", "acknowledged_at"}


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def put(user, **budget):
    return user.ok("POST", "/api/budgets", budget, status=201)


def alerts(user, **filters):
    page = user.ok("GET", "/api/alerts", query={"limit": 500, **filters})
    assert page["count"] == len(page["alerts"]) and all(set(a) == MEMBERS for a in page["alerts"])
    return page["alerts"]


def thresholds(user, **filters):
    return sorted(a["threshold"] for a in alerts(user, **filters) if a["kind"] == "budget.threshold")


def wait_thresholds(user, expected, **filters):
    wait_for(lambda: thresholds(user, **filters) == expected, f"alerts {expected}", 30)


def settle(user):
    """Waits until what was stored so far was looked at: the alert of a budget made now comes after all before it."""
    budget = put(user, limit="0.000001", period="yearly", thresholds=[1], scope={"project": f"settle-{time.monotonic_ns()}"})
    user.track(model="gpt-4", cost=1, project=budget["scope"]["project"])
    wait_for(lambda: alerts(user, budget_id=budget["id"]), "the last alert", 30)


def test_alert_comes_with_the_event_that_crosses_a_threshold(user):
    budget = put(user, limit=10, name="all", thresholds=[50, 80, 100, 150], scope={"customer": "c"})
    call = {"model": "gpt-4", "customer": "c"}
    user.track(cost="4.999999999999999999", **call)
    settle(user)
    assert thresholds(user, budget_id=budget["id"]) == []
    user.track(cost="0.000000000000000001", **call)
    wait_thresholds(user, [50], budget_id=budget["id"])
    (alert,) = alerts(user, budget_id=budget["id"])
    assert (alert["kind"], alert["budget_name"], alert["threshold"], alert["limit"]) == ("budget.threshold", "all", 50, 10)
    assert alert["spend"] == 5 and alert["percentage_used"] == 50 and alert["acknowledged_at"] is None
    assert (alert["period_start"], alert["period_end"]) == (budget["period_start"], budget["period_end"])
    assert (alert["provider"], alert["model"]) == (None, None) and "50 %" in alert["message"]
    user.track(cost=9, **call)  # 14: over 80 and 100 at once
    wait_thresholds(user, [50, 80, 100], budget_id=budget["id"])
    user.track(cost=1, **call)
    wait_thresholds(user, [50, 80, 100, 150], budget_id=budget["id"])


def test_alert_is_soon(user):
    """The promise is 2 seconds; the machine of a test may be busy, so the best of five is looked at."""
    taken = []
    for i in range(5):
        budget = put(user, limit=1, scope={"project": f"p{i}"}, thresholds=[100])
        user.track(model="gpt-4", cost=1, project=f"p{i}")
        began = time.monotonic()
        wait_thresholds(user, [100], budget_id=budget["id"])
        taken.append(time.monotonic() - began)
    print("alert after", sorted(taken))
    assert min(taken) < 2


def test_alert_is_told_once_and_not_again_when_the_limit_changes(user):
    budget = put(user, limit=10, thresholds=[50])
    user.track(model="gpt-4", cost=6)
    wait_thresholds(user, [50], budget_id=budget["id"])
    user.ok("PATCH", f"/api/budgets/{budget['id']}", {"limit": 1000})
    user.ok("PATCH", f"/api/budgets/{budget['id']}", {"limit": 2})
    user.track(model="gpt-4", cost=1)
    settle(user)
    assert thresholds(user, budget_id=budget["id"]) == [50]
    user.ok("PATCH", f"/api/budgets/{budget['id']}", {"thresholds": [50, 60]})
    wait_thresholds(user, [50, 60], budget_id=budget["id"])


def test_alert_of_a_budget_that_is_made_late_or_lowered_comes_without_new_spend(user):
    user.track(model="gpt-4", cost=6)
    budget = put(user, limit=10, thresholds=[50, 90])
    wait_thresholds(user, [50], budget_id=budget["id"])
    user.ok("PATCH", f"/api/budgets/{budget['id']}", {"limit": 6})
    wait_thresholds(user, [50, 90], budget_id=budget["id"])


def test_alert_counts_only_the_scope_and_the_user(user, other):
    mine = put(user, limit=1, scope={"tag.team": "a"}, thresholds=[100])
    theirs = put(other, limit=1, thresholds=[100])
    user.batch([{"model": "gpt-4", "cost": 5}, {"model": "gpt-4", "cost": 5, "tags": {"team": "b"}}])
    settle(user)
    assert thresholds(user, budget_id=mine["id"]) == [] and alerts(other) == []
    user.track(model="gpt-4", cost=1, tags={"team": "a"})
    wait_thresholds(user, [100], budget_id=mine["id"])
    assert alerts(other, budget_id=mine["id"]) == [] and alerts(user, budget_id=theirs["id"]) == []


def test_alert_belongs_to_the_period_in_the_users_zone(server, user):
    """Kiritimati is 14 hours ahead: what was spent in the last minute of its yesterday counts there, and only there."""
    zone = ZoneInfo("Pacific/Kiritimati")
    user.ok("PATCH", "/api/auth/me", {"timezone": zone.key})
    midnight = datetime.combine(datetime.now(UTC).astimezone(zone).date(), clock(), zone).astimezone(UTC)
    old = put(user, limit=1, period="daily", thresholds=[100], scope={"project": "old"})
    new = put(user, limit=1, period="daily", thresholds=[100], scope={"project": "new"})
    database = server.database()
    query(database, "UPDATE budgets SET created_at = %s, updated_at = %s WHERE id = %s",
          (midnight - timedelta(days=3), midnight - timedelta(days=3), old["id"]))
    database.close()
    late = (midnight - timedelta(minutes=1)).isoformat()
    user.batch([{"model": "gpt-4", "cost": 1, "timestamp": late, "project": p} for p in ("old", "new")])
    wait_thresholds(user, [100], budget_id=old["id"])
    (alert,) = alerts(user, budget_id=old["id"])
    assert instant(alert["period_end"]) == midnight and instant(alert["period_start"]) == midnight - timedelta(days=1)
    user.track(model="gpt-4", cost=1, project="old")
    wait_thresholds(user, [100, 100], budget_id=old["id"])
    assert instant(alerts(user, budget_id=old["id"])[0]["period_start"]) == midnight
    settle(user)
    assert thresholds(user, budget_id=new["id"]) == [], "a limit that was set today says nothing about yesterday"


def test_alert_of_a_model_without_a_price_is_soon(user):
    for i in range(3):  # a look at everybody, once a minute, would be too late for all but one
        user.track(model=f"no-such-model-{i}", input_tokens=1)
        wait_for(lambda: any(a["model"] == f"no-such-model-{i}" for a in alerts(user)), "the alert", 30)


def test_alert_of_a_model_without_a_price_comes_once(user, other):
    for _ in range(3):
        user.track(model="no-such-model", input_tokens=1)
    user.track(model="no-such-model", provider="somebody", input_tokens=1)
    wait_for(lambda: len(alerts(user)) == 2, "two alerts", 30)
    user.track(model="no-such-model", input_tokens=1)
    settle(user)
    found = [a for a in alerts(user) if a["kind"] == "model.unpriced"]
    assert sorted((a["provider"], a["model"]) for a in found) == [("somebody", "no-such-model"), ("unknown", "no-such-model")]
    assert all(a["budget_id"] is a["threshold"] is a["spend"] is None and "no-such-model" in a["message"] for a in found)
    assert alerts(other) == []


def test_alert_comes_although_the_database_takes_too_long_for_another_user(server, user, other):
    """What stands for a budget whose sums take longer than a statement may: its row is held, so its alert cannot be written."""
    held, told = put(user, limit=1, thresholds=[100]), put(other, limit=1, thresholds=[100])
    assert user.user_id < other.user_id, "who is held comes first"
    database = server.database()
    query(database, "BEGIN")
    query(database, "SELECT FROM budgets WHERE id = %s FOR UPDATE", (held["id"],))
    for _ in range(3):  # so that they are looked at together
        user.track(model="gpt-4", cost=1)
        other.track(model="gpt-4", cost=1)
    wait_for(lambda: thresholds(other, budget_id=told["id"]) == [100], "the other's alert", 30)
    assert thresholds(user) == []
    query(database, "ROLLBACK")
    database.close()
    wait_for(lambda: thresholds(user) == [100], "the alert", 200)  # left alone for a minute, then a look at everybody


# ---- the list ----

def test_alerts_are_listed_filtered_and_acknowledged(user, other):
    budget = put(user, limit=1, thresholds=[10, 20, 30])
    user.track(model="gpt-4", cost=1)
    user.track(model="no-such-model", input_tokens=1)
    wait_for(lambda: len(alerts(user)) == 4, "four alerts", 30)
    everything = alerts(user)
    assert [a["id"] for a in everything] == sorted((a["id"] for a in everything), reverse=True)
    first = user.ok("GET", "/api/alerts", query={"limit": 3})
    rest = user.ok("GET", "/api/alerts", query={"limit": 3, "cursor": first["next_cursor"]})
    assert first["alerts"] + rest["alerts"] == everything and rest["next_cursor"] is None
    path = f"/api/alerts/{everything[1]['id']}/acknowledge"
    done = user.ok("POST", path)
    assert instant(done["acknowledged_at"]) and user.ok("POST", path) == done
    assert alerts(user, acknowledged="true") == [done]
    assert [a["id"] for a in alerts(user, acknowledged="false")] == [a["id"] for a in everything if a["id"] != done["id"]]
    assert len(alerts(user, budget_id=budget["id"])) == 3
    for bad in ({"acknowledged": "yes"}, {"budget_id": "x"}, {"cursor": "x"}, {"limit": 0}, {"kind": "x"}):
        assert user.get("/api/alerts", query=bad).status == 400
    same = {"X-Request-Id": "same"}
    answers = [other.request("POST", f"/api/alerts/{i}/acknowledge", headers=same) for i in (everything[0]["id"], SOME_ID)]
    assert answers[0].status == answers[1].status == 404 and answers[0].body == answers[1].body
    assert alerts(user, acknowledged="true") == [done] and alerts(other) == []


def test_alerts_stay_when_their_budget_goes(user):
    budget = put(user, limit=1, thresholds=[100])
    user.track(model="gpt-4", cost=1)
    wait_thresholds(user, [100], budget_id=budget["id"])
    user.request("DELETE", f"/api/budgets/{budget['id']}")
    assert thresholds(user, budget_id=budget["id"]) == [100]


# ---- several servers, and kills ----

def subscribe(user):
    """A webhook whose host does not exist: what is to be sent to it stays in the outbox."""
    user.ok("POST", "/api/webhooks", {"url": "https://hook.invalid/", "events": ["budget.threshold", "model.unpriced"]}, status=201)


def assert_each_alert_is_in_the_outbox_once(server, user):
    database = server.database()
    sent = query(database, "SELECT event_type, payload::jsonb ->> 'id', payload::jsonb ->> 'message' FROM webhook_deliveries"
                           " WHERE user_id = %s", (user.user_id,))
    database.close()
    assert sorted(sent) == sorted((a["kind"], a["id"], a["message"]) for a in alerts(user))


def test_alert_of_two_servers_racing_comes_once(pair):
    user = sign_up(pair[0].port)
    subscribe(user)
    budgets = [put(user, limit=i + 1, thresholds=[10, 50, 100, 200], scope={"project": f"p{i}"}) for i in range(5)]

    def work(i):
        client = Client(pair[i % 2].port, user.token)
        for k in range(20):
            client.track(model="gpt-4", cost="0.5", project=f"p{k % 5}")
        client.close()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for budget in budgets:
        wait_thresholds(user, [10, 50, 100, 200], budget_id=budget["id"])
    settle(user)
    settle(user.on(pair[1].port))
    for budget in budgets:
        assert thresholds(user, budget_id=budget["id"]) == [10, 50, 100, 200]
    assert_each_alert_is_in_the_outbox_once(pair[0], user)
    user.close()


@pytest.mark.parametrize("moment", ["before it is told", "after it is told"])
def test_alert_of_a_server_that_is_killed_comes_once(own_server, postgres, moment):
    settings = {"DATABASE_URL": postgres.create("alerts-" + moment), "SECRET_KEY": new_secret()}
    server = own_server(**settings).start()
    user = sign_up(server.port)
    subscribe(user)
    budget = put(user, limit=1, thresholds=[50, 100])
    database = server.database()
    if moment == "before it is told":
        query(database, "BEGIN")
        query(database, "LOCK TABLE alerts IN EXCLUSIVE MODE")  # reading goes on, writing waits
    user.track(model="gpt-4", cost=1)
    user.track(model="no-such-model", input_tokens=1)
    if moment == "after it is told":
        wait_for(lambda: len(alerts(user)) == 3, "three alerts", 30)
    server.kill()
    if moment == "before it is told":
        query(database, "ROLLBACK")
    database.close()
    server = own_server(**settings).start()
    user = user.on(server.port)
    wait_for(lambda: len(alerts(user)) == 3, "three alerts", 30)
    settle(user)
    assert thresholds(user, budget_id=budget["id"]) == [50, 100]
    assert len([a for a in alerts(user) if a["kind"] == "model.unpriced"]) == 1
    assert_each_alert_is_in_the_outbox_once(server, user)
    user.close()


def test_alert_after_a_price_change_of_what_was_recorded(user):
    """The spend comes from a price that is set afterwards: no event is stored, the look at everybody finds it."""
    budget = put(user, limit=1, thresholds=[100])
    user.track(model="late-model", provider="somebody", input_tokens=1000000)
    user.ok("POST", "/api/pricing/overrides", {"provider": "somebody", "model": "late-model",
                                               "per_million_tokens": {"input": "2"}}, status=201)
    wait_for(lambda: thresholds(user, budget_id=budget["id"]) == [100], "the alert", 120)
    assert alerts(user, budget_id=budget["id"])[0]["spend"] == D(2)
