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


# ---- changes ----

def test_budget_patch_changes_what_it_names_and_nothing_else(user):
    budget = put(user, limit=100, period="weekly", name="a", thresholds=[10, 20], scope={"model": "gpt-4"})
    changed = user.ok("PATCH", f"/api/budgets/{budget['id']}", {"limit": "0.3"})
    assert changed["limit"] == D("0.3") and changed["updated_at"] >= budget["updated_at"]
    same = {"id", "name", "period", "scope", "thresholds", "hard", "created_at"}
    assert {k: changed[k] for k in same} == {k: budget[k] for k in same}
    changed = user.ok("PATCH", f"/api/budgets/{budget['id']}/", {"hard": True, "thresholds": [150, 50], "name": "b"})
    assert (changed["hard"], changed["thresholds"], changed["name"], changed["limit"]) == (True, [50, 150], "b", D("0.3"))
    assert user.ok("PATCH", f"/api/budgets/{budget['id']}", {"name": None})["name"] is None
    assert user.ok("PATCH", f"/api/budgets/{budget['id']}", {})["thresholds"] == [50, 150]


@pytest.mark.parametrize("body,field", [({"period": "daily"}, "period"), ({"scope": {}}, "scope"), ({"limit": 0}, "limit"),
                                        ({"limit": "x"}, "limit"), ({"thresholds": []}, "thresholds"),
                                        ({"thresholds": [1001]}, "thresholds"), ({"name": ""}, "name"), ({"hard": 1}, "hard"),
                                        ({"period": 5, "scope": 5}, "scope"), ({"limits": 5}, "limits")])
def test_budget_patch_refuses_and_changes_nothing(user, body, field):
    budget = put(user, limit=100)
    answer = user.request("PATCH", f"/api/budgets/{budget['id']}", body)
    assert answer.status == 400 and field in answer.fields, answer
    assert user.ok("GET", f"/api/budgets/{budget['id']}")["updated_at"] == budget["updated_at"]


def test_budget_patches_at_once_lose_nothing(server, user):
    budget = put(user, limit=1)
    bodies = [{"limit": 77}, {"name": "n"}, {"hard": True}, {"thresholds": [33]}] * 3

    def one(body):
        client = Client(server.port, user.token)
        client.ok("PATCH", f"/api/budgets/{budget['id']}", body)
        client.close()

    threads = [threading.Thread(target=one, args=(b,)) for b in bodies]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    now = user.ok("GET", f"/api/budgets/{budget['id']}")
    assert (now["limit"], now["name"], now["hard"], now["thresholds"]) == (77, "n", True, [33])


def test_budget_patch_and_history_of_another_user_answer_as_one_that_does_not_exist(user, other):
    budget = put(user, limit=5)
    for method, path, body in (("PATCH", "", {"limit": 1}), ("GET", "/history", None)):
        theirs = other.request(method, f"/api/budgets/{budget['id']}{path}", body, headers={"X-Request-Id": "same"})
        nobody = other.request(method, f"/api/budgets/01890a5d-ac96-774b-bcce-b302099a8057{path}", body,
                               headers={"X-Request-Id": "same"})
        assert theirs.status == nobody.status == 404 and theirs.body == nobody.body
    assert user.ok("GET", f"/api/budgets/{budget['id']}")["limit"] == 5


# ---- lists ----

def test_budgets_are_listed_in_pages_with_the_totals_of_all(user):
    made = [put(user, limit=i + 1, scope={"project": f"p{i}"})["id"] for i in range(7)]
    user.batch([{"model": "gpt-4", "cost": 1, "project": f"p{i}"} for i in range(7)])
    seen, cursor = [], None
    while True:
        page = user.ok("GET", "/api/budgets", query={"limit": 3, **({"cursor": cursor} if cursor else {})})
        assert page["count"] == len(page["budgets"]) and (page["total_limits"], page["total_spend"]) == (28, 7)
        seen += [b["id"] for b in page["budgets"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        if len(seen) == 3:  # the place holds although the budget it was taken from is gone
            user.request("DELETE", f"/api/budgets/{seen[-1]}")
            lost = made.index(seen[-1])
            put(user, limit=lost + 1, scope={"project": f"p{lost}"})
    assert seen == made[::-1]
    for bad in ({"cursor": "x"}, {"limit": 0}, {"limit": 501}):
        assert user.get("/api/budgets", query=bad).status == 400


# ---- history ----

def test_budget_history_is_what_was_spent_in_each_period(user):
    user.ok("PATCH", "/api/auth/me", {"timezone": "Asia/Kathmandu"})  # days begin at 18:15 UTC
    budget = put(user, limit=10, period="daily", scope={"customer": "c"})
    empty = user.ok("GET", f"/api/budgets/{budget['id']}/history")
    assert (empty["count"], empty["periods"], empty["next_cursor"]) == (0, [], None)
    today, _ = bounds("daily", datetime.now(UTC), "Asia/Kathmandu")
    micro = timedelta(microseconds=1)
    days = [today - timedelta(days=n) for n in range(6)]
    user.batch([{"model": "gpt-4", "cost": "0.1", "customer": "c", "timestamp": (days[4] - micro).isoformat()},
                {"model": "gpt-4", "cost": "0.2", "customer": "c", "timestamp": days[4].isoformat()},
                {"model": "gpt-4", "cost": 8, "customer": "c", "timestamp": days[2].isoformat()},
                {"model": "gpt-4", "cost": 12, "customer": "c", "timestamp": (days[1] - micro).isoformat()},
                {"model": "gpt-4", "cost": 99, "customer": "d", "timestamp": days[1].isoformat()},
                {"model": "no-such", "input_tokens": 1, "customer": "c", "timestamp": days[1].isoformat()},
                {"model": "gpt-4", "cost": 5, "customer": "c", "timestamp": today.isoformat()}])
    history = user.ok("GET", f"/api/budgets/{budget['id']}/history")
    periods = history["periods"]
    assert [(p["spend"], p["percentage_used"], p["status"], p["unpriced_calls"]) for p in periods[:5]] == [
        (0, 0, "ok", 1), (20, 200, "exceeded", 0), (0, 0, "ok", 0), (D("0.2"), 2, "ok", 0), (D("0.1"), 1, "ok", 0)]
    assert all(p["spend"] == 0 for p in periods[5:]) and len(periods) <= 6, "back to the first data and no further"
    assert instant(periods[0]["end"]) == today, "the current period is not past"
    assert all(a["start"] == b["end"] for a, b in zip(periods, periods[1:]))
    paged, cursor = [], None
    while True:
        page = user.ok("GET", f"/api/budgets/{budget['id']}/history",
                       query={"limit": 2, **({"cursor": cursor} if cursor else {})})
        paged += page["periods"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert paged == periods
    assert user.get(f"/api/budgets/{budget['id']}/history", query={"cursor": "x"}).status == 400


@pytest.mark.parametrize("period", ["weekly", "monthly", "yearly"])
def test_budget_history_has_calendar_periods(user, period):
    budget = put(user, limit=10, period=period)
    begin, _ = bounds(period, datetime.now(UTC), "UTC")
    before, end = bounds(period, begin - timedelta(days=1), "UTC")
    spend(user, 3, timestamp=before.isoformat())
    spend(user, 1, timestamp=begin.isoformat())
    first = user.ok("GET", f"/api/budgets/{budget['id']}/history")["periods"][0]
    assert (instant(first["start"]), instant(first["end"]), first["spend"]) == (before, end, 3)
