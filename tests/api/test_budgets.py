"""Limits on spend, exact at their boundaries, by calendar periods of the user's zone."""
import threading
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal as D
from zoneinfo import ZoneInfo

import pytest

from llmlab_client import Client

UTC = timezone.utc


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def put(user, status=201, **budget):
    return user.ok("POST", "/api/budgets", budget, status=status)


def spend(user, cost, **more):
    return user.track(model="gpt-4", cost=cost, **more)


def test_budget_as_the_seed_shows(user):
    budget = put(user, limit=D("100.0"), period="monthly")
    assert budget["limit"] == 100 and budget["period"] == "monthly" and budget["user_id"] == user.user_id
    assert (budget["current_spend"], budget["remaining"], budget["percentage_used"], budget["status"]) == (0, 100, 0, "ok")
    assert budget["thresholds"] == [50, 80, 100] and budget["scope"] == {} and budget["hard"] is False
    assert {"id", "name", "period_start", "period_end", "projected_spend", "created_at", "updated_at"} <= set(budget)
    listed = user.ok("GET", "/api/budgets")
    assert [b["id"] for b in listed["budgets"]] == [budget["id"]]
    assert (listed["total_limits"], listed["total_spend"]) == (100, 0)
    assert user.ok("GET", "/api/budgets/")["budgets"][0]["id"] == budget["id"]
    assert user.ok("GET", f"/api/budgets/{budget['id']}")["limit"] == 100


def test_budget_default_period_is_monthly(user):
    assert put(user, limit=1)["period"] == "monthly"


def test_budget_of_the_same_period_and_scope_is_updated(user):
    first = put(user, limit=100, period="monthly", name="old")
    second = put(user, 200, limit="50.25", period="monthly", name="new", thresholds=[90, 10, 90], hard=True)
    assert second["id"] == first["id"] and second["limit"] == D("50.25") and second["name"] == "new"
    assert second["thresholds"] == [10, 90] and second["hard"] is True and second["created_at"] == first["created_at"]
    for more in ({"period": "daily"}, {"scope": {"provider": "openai"}}, {"scope": {"provider": "anthropic"}},
                 {"scope": {"model": "openai"}}, {"scope": {"tag.team": "a"}}):
        assert put(user, limit=1, **more)["id"] != first["id"]
    assert put(user, 200, limit=2, scope={"provider": "OpenAI"})["scope"] == {"provider": "openai"}
    assert len(user.ok("GET", "/api/budgets")["budgets"]) == 6


@pytest.mark.parametrize("limit", ["0.1", "0.000000000000000001", "99999999999.999999999999999999", 3, D("1e3"), "1000000000000"])
def test_budget_limit_is_exact(user, limit):
    budget = put(user, limit=limit)
    assert budget["limit"] == budget["remaining"] == D(str(limit))


@pytest.mark.parametrize("limit", ["0.0000000000000000001", "1000000000000.1", "1e13"])
def test_budget_limit_that_cannot_be_kept_exactly_is_refused(user, limit):
    assert user.post("/api/budgets", {"limit": limit}).fields == {"limit"}


# 80 per cent of 0.3 is 0.24: in binary doubles 0.24 / 0.3 is below 0.8
STATES = [("0", "ok", "0"), ("0.239999999999999999", "ok", "79.99"), ("0.24", "warning", "80"), ("0.24000000000001", "warning", "80"),
          ("0.299999999999999999", "warning", "99.99"), ("0.3", "exceeded", "100"), ("0.6", "exceeded", "200")]


@pytest.mark.parametrize("cost,status,percentage", STATES)
def test_budget_status_boundaries_are_inclusive(user, cost, status, percentage):
    put(user, limit="0.3")
    spend(user, cost)
    budget = user.ok("GET", "/api/budgets")["budgets"][0]
    assert budget["status"] == status and budget["current_spend"] == D(cost)
    assert budget["remaining"] == D("0.3") - D(cost)
    assert abs(D(budget["percentage_used"]) - D(percentage)) <= D("0.01")
    assert (D(budget["percentage_used"]) >= 100) == (status == "exceeded")


def test_budget_status_of_many_small_costs_reaches_the_limit_exactly(user):
    put(user, limit=1)
    user.batch([{"model": "gpt-4", "cost": "0.1"}] * 9)
    assert user.ok("GET", "/api/budgets")["budgets"][0]["status"] == "warning"
    spend(user, "0.1")  # in binary doubles ten tenths are less than 1
    budget = user.ok("GET", "/api/budgets")["budgets"][0]
    assert (budget["status"], budget["current_spend"], budget["remaining"], budget["percentage_used"]) == ("exceeded", 1, 0, 100)


def test_budget_scope_counts_only_what_it_names(user):
    scopes = [{}, {"provider": "openai"}, {"model": "gpt-4"}, {"project": "p"}, {"customer": "c"}, {"tag.team": "t"},
              {"provider": "nobody"}, {"tag.other": "t"}]
    for scope in scopes:
        put(user, limit=1000, scope=scope)
    user.batch([{"model": "gpt-4", "cost": 1}, {"model": "gpt-4o", "cost": 2}, {"model": "claude-opus-4-5", "cost": 4},
                {"model": "gpt-4", "cost": 8, "project": "p"}, {"model": "gpt-4", "cost": 16, "customer": "c"},
                {"model": "claude-opus-4-5", "cost": 32, "tags": {"team": "t"}},
                {"model": "gpt-4", "cost": 64, "tags": {"team": "u"}}, {"model": "no-such", "input_tokens": 1}])
    found = {str(b["scope"]): b["current_spend"] for b in user.ok("GET", "/api/budgets")["budgets"]}
    expected = [127, 1 + 2 + 8 + 16 + 64, 1 + 8 + 16 + 64, 8, 16, 32, 0, 0]
    assert found == {str(s): D(e) for s, e in zip(scopes, expected)}
    listed = user.ok("GET", "/api/budgets")
    assert listed["total_limits"] == 8000 and listed["total_spend"] == sum(expected)


def bounds(period, now, zone):
    """Begin and end of the calendar period that contains now: weeks begin on Monday."""
    day = now.astimezone(ZoneInfo(zone)).date()
    if period == "daily":
        first, after = day, day + timedelta(days=1)
    elif period == "weekly":
        first = day - timedelta(days=day.weekday())
        after = first + timedelta(days=7)
    elif period == "monthly":
        first = day.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    else:
        first, after = day.replace(month=1, day=1), day.replace(year=day.year + 1, month=1, day=1)
    return [datetime.combine(d, time(), ZoneInfo(zone)).astimezone(UTC) for d in (first, after)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Kiritimati", "America/New_York"])
def test_budget_periods_are_the_calendar_of_the_user(user, zone):
    user.ok("PATCH", "/api/auth/me", {"timezone": zone})
    for period in ("daily", "weekly", "monthly", "yearly"):
        before = bounds(period, datetime.now(UTC), zone)
        budget = put(user, limit=10, period=period)
        after = bounds(period, datetime.now(UTC), zone)
        assert [instant(budget["period_start"]), instant(budget["period_end"])] in (before, after)
    begin, _ = bounds("monthly", datetime.now(UTC), zone)
    user.batch([{"model": "gpt-4", "cost": 1, "timestamp": begin.isoformat()},
                {"model": "gpt-4", "cost": 2, "timestamp": (begin - timedelta(microseconds=1)).isoformat()}])
    spent = {b["period"]: b["current_spend"] for b in user.ok("GET", "/api/budgets")["budgets"]}
    assert spent["monthly"] == 1, "the instant before the month belongs to the month before"


def test_budget_deleted_is_gone(user):
    budget = put(user, limit=5)
    assert user.request("DELETE", f"/api/budgets/{budget['id']}/").status == 204
    assert user.get(f"/api/budgets/{budget['id']}").status == 404
    assert user.request("DELETE", f"/api/budgets/{budget['id']}").status == 404
    assert user.ok("GET", "/api/budgets")["budgets"] == []
    assert put(user, limit=5)["id"] != budget["id"]


def test_budget_of_another_user_answers_as_one_that_does_not_exist(user, other):
    budget = put(user, limit=5)
    same = {"X-Request-Id": "same"}
    for method in ("GET", "DELETE"):
        theirs = other.request(method, f"/api/budgets/{budget['id']}", headers=same)
        nobody = other.request(method, "/api/budgets/01890a5d-ac96-774b-bcce-b302099a8057", headers=same)
        assert theirs.status == nobody.status == 404 and theirs.body == nobody.body
    assert other.ok("GET", "/api/budgets")["budgets"] == []
    assert put(other, limit=7)["id"] != budget["id"]
    assert user.ok("GET", f"/api/budgets/{budget['id']}")["limit"] == 5


def test_budget_spend_ignores_other_users(user, other):
    put(user, limit=5)
    spend(other, 3)
    assert user.ok("GET", "/api/budgets")["budgets"][0]["current_spend"] == 0


def test_budget_missing_limit_is_named(user):
    assert user.post("/api/budgets", {"period": "daily"}).fields == {"limit"}
    assert user.ok("GET", "/api/budgets")["budgets"] == []


def test_budget_set_at_once_by_many_exists_once(server, user):
    statuses = []

    def one(limit):
        client = Client(server.port, user.token)
        statuses.append(client.post("/api/budgets", {"limit": limit, "period": "weekly"}).status)
        client.close()

    threads = [threading.Thread(target=one, args=(i + 1,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(statuses) == [200] * 11 + [201], statuses
    assert len(user.ok("GET", "/api/budgets")["budgets"]) == 1
