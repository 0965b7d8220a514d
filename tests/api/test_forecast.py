"""What is expected to be spent: what is certain is exact, what is not is honest about it."""
import calendar
import subprocess
from datetime import datetime, timedelta, timezone
from decimal import Decimal as D

import pytest

from llmlab_client import sign_up
from llmlab_server import environment, find_binary, wait_for

UTC = timezone.utc
PATH = "/api/costs/forecast"
USD_A_CALL = D("0.25")


def today():
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def days_ago(n, hour=0):
    """An instant n days ago that is not in the future, whatever the hour is now."""
    return (today() - timedelta(days=n) + timedelta(hours=hour if n else 0)).isoformat()


def spend(n, calls=1, hour=0, **more):
    return [{"provider": "own", "model": "m", "input_tokens": 10, "cost": str(USD_A_CALL), "timestamp": days_ago(n, hour), **more}
            for _ in range(calls)]


def month_start():
    return today().replace(day=1)


@pytest.fixture(scope="module")
def steady(server):
    """60 days of 4 calls, and one today at its first instant."""
    client = sign_up(server.port)
    client.batch([e for n in range(1, 61) for h in (1, 8, 15, 22) for e in spend(n, hour=h)] + spend(0, project="p"))
    yield client
    client.close()


def check_interval(figures, name):
    low, high = figures[name]
    assert figures["spent"] <= low <= figures["expected"] <= high
    return low, high


def test_forecast_of_nothing_is_nothing(user):
    answer = user.ok("GET", PATH)
    month = answer["month"]
    assert (month["spent"], month["expected"], month["status"], month["history_days"]) == (0, 0, "not_enough_history", 0)
    assert month["interval_80"] is None and month["interval_95"] is None and month["method"] == "none"
    assert answer["budgets"] == [] and answer["timezone"] == "UTC" and answer["as_of"].endswith("Z")
    assert all((d["expected"], d["lower_80"], d["upper_80"]) == (0, None, None) for d in answer["daily"])


def test_forecast_days_go_from_today_to_the_end_of_the_month(steady):
    answer = steady.ok("GET", PATH)
    now = datetime.now(UTC)
    last = calendar.monthrange(now.year, now.month)[1]
    assert answer["month"]["start"] == f"{now:%Y-%m}-01" and answer["month"]["end"] == f"{now:%Y-%m}-{last}"
    assert [d["date"] for d in answer["daily"]] == [f"{now:%Y-%m}-{d:02}" for d in range(now.day, last + 1)]
    for day in answer["daily"]:
        assert 0 <= day["lower_80"] <= day["expected"] <= day["upper_80"]


def test_forecast_spent_is_the_summary_digit_by_digit(steady):
    month = steady.ok("GET", PATH)["month"]
    summary = steady.ok("GET", "/api/costs/summary", query={"from": month_start().date().isoformat()})
    assert month["spent"] == summary["total_cost"] and month["unpriced_calls"] == 0


def test_forecast_of_a_steady_month_is_its_pace(steady):
    answer = steady.ok("GET", PATH)
    month, daily = answer["month"], answer["daily"]
    assert month["status"] == "ok" and month["method"] == "combination" and month["history_days"] == 60
    # 1 USD a day: what is left of today is between nothing and a day
    days_left = len(daily)
    assert D("0.98") * (days_left - 1) <= month["expected"] - month["spent"] <= D("1.02") * days_left
    low, high = check_interval(month, "interval_80")
    lower, higher = check_interval(month, "interval_95")
    assert lower <= low and high <= higher
    assert high - low <= D("0.15") * days_left, "nothing in the past was uncertain"
    # the days add up to the month, but for what is rounded to 6 decimals
    assert abs(sum(d["expected"] for d in daily) - (month["expected"] - month["spent"]) - USD_A_CALL) < D("0.0001")


def test_forecast_of_a_young_account_claims_no_interval(server):
    client = sign_up(server.port)
    client.batch([e for n in range(1, 4) for e in spend(n, calls=4)])
    month = client.ok("GET", PATH)["month"]
    assert month["status"] == "not_enough_history" and month["interval_80"] is None and month["history_days"] == 3
    assert month["expected"] >= month["spent"]
    client.close()


def test_forecast_budgets_passed_out_of_reach_and_in_between(server):
    client = sign_up(server.port)
    # All of a day is spent at the hour half a day from now: today has either been spent already or is still to be.
    hour = (datetime.now(UTC).hour + 12) % 24
    of_today = [dict(e, timestamp=(today() + timedelta(hours=hour)).isoformat()) for e in spend(0, calls=4)] if hour < 12 else []
    client.batch([e for n in range(1, 61) for e in spend(n, calls=4, hour=hour)] + of_today)

    def budget(limit, **more):
        return client.ok("POST", "/api/budgets", {"limit": limit, **more}, status=201)["id"]

    passed = budget("0.5", period="monthly")
    year_start = today().replace(month=1, day=1)
    far = budget("1000000", period="yearly")
    empty = budget("5", period="monthly", scope={"project": "nothing"})
    weekly = budget("3.5", period="weekly")
    rows = {b["budget_id"]: b for b in client.ok("GET", PATH)["budgets"]}
    assert set(rows) == {passed, far, empty, weekly}
    # 4 x 0.25 = 1 USD on the first day of the month that has any; on the first of a month it may still be to come
    still_to_come = month_start() == today() and not of_today
    assert D("0.9") <= rows[passed]["probability_exceeded"] <= 1
    assert rows[passed]["probability_exceeded"] == 1 or still_to_come
    assert rows[passed]["expected_exceeded_on"] == max(month_start(), today() - timedelta(days=60)).date().isoformat()
    assert rows[far]["probability_exceeded"] <= D("0.001") and rows[far]["expected_exceeded_on"] is None
    assert rows[far]["spent"] == min(60, (today() - year_start).days) + (1 if of_today else 0)
    assert rows[far]["period_start"].startswith(year_start.date().isoformat())
    assert (rows[empty]["spent"], rows[empty]["expected"], rows[empty]["status"]) == (0, 0, "not_enough_history")
    assert rows[empty]["probability_exceeded"] is None
    # a week of 1 USD a day passes 3.5 on Thursday
    thursday = today() - timedelta(days=today().weekday()) + timedelta(days=3)
    assert rows[weekly]["expected_exceeded_on"] == thursday.date().isoformat()
    assert rows[weekly]["probability_exceeded"] >= D("0.9")
    for row in (rows[far], rows[weekly]):
        check_interval(row, "interval_80")
    client.close()


def test_forecast_budget_scopes_are_forecast_by_themselves(server):
    client = sign_up(server.port)
    client.batch([e for n in range(1, 31) for e in spend(n, calls=2, project="a", tags={"team": "x"}) + spend(n, calls=6, project="b")])
    ids = {name: client.ok("POST", "/api/budgets", {"limit": 100, "period": "yearly", "scope": scope}, status=201)["id"]
           for name, scope in {"a": {"project": "a"}, "x": {"tag.team": "x"}, "m": {"model": "m"}}.items()}
    rows = {b["budget_id"]: b for b in client.ok("GET", PATH)["budgets"]}
    a, x, m = (rows[ids[k]] for k in "axm")
    assert a["spent"] == x["spent"] == m["spent"] / 4
    assert a["expected"] == x["expected"] and a["expected"] - a["spent"] < (m["expected"] - m["spent"]) / 3
    client.close()


def test_forecast_zone_moves_the_month_and_not_the_budgets(steady):
    steady.ok("POST", "/api/budgets", {"limit": 100}, status=201)
    here = steady.ok("GET", PATH)
    there = steady.ok("GET", PATH, query={"tz": "Pacific/Kiritimati"})
    assert there["timezone"] == "Pacific/Kiritimati"
    assert there["budgets"][0]["spent"] == here["budgets"][0]["spent"]
    assert there["budgets"][0]["period_start"] == here["budgets"][0]["period_start"]


def test_forecast_names_what_it_does_not_know(user):
    assert user.get(PATH, query={"days": 7}).fields == {"days"}
    assert user.get(PATH, query={"tz": "No/Where"}).fields == {"tz"}


def test_forecast_belongs_to_the_user(steady, user):
    assert user.ok("GET", PATH)["month"]["spent"] == 0


# ---- llmlab backtest ----

def run_backtest(url, *arguments):
    return subprocess.run([find_binary(), "backtest", *arguments], env=environment(DATABASE_URL=url, SECRET_KEY="k" * 40),
                          capture_output=True, text=True, timeout=120)


def test_backtest_prints_errors_and_coverage(own_server, postgres):
    url = postgres.create("backtest")
    server = own_server(DATABASE_URL=url, SECRET_KEY="s" * 8 + "k9Jx2mQ7vT4bN1cZ5wL8pR3yH6dF0gA")
    server.start()
    client = sign_up(server.port)
    # 80 days with a weekly pattern: weekends cost a quarter
    client.batch([e for n in range(1, 81) for e in spend(n, calls=1 if (today() - timedelta(days=n)).weekday() > 4 else 4)])
    wait_for(lambda: client.ok("GET", "/api/costs/summary", query={"days": 90})["call_count"] > 0, "the sums")
    server.stop()
    result = run_backtest(url, "--user", client.email)
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert [(r[0], r[1], r[2]) for r in rows] == [(client.email, "80", "7"), (client.email, "80", "28"), ("all", "0", "7"), ("all", "0", "28")]
    # origins 7, 14, ... with 7 (28) more days: 10 (7)
    assert [r[3] for r in rows] == ["10", "7", "10", "7"]
    assert all(r[6].endswith("%") and r[7].endswith("%") for r in rows)
    missing = run_backtest(url, "--user", "nobody@example.com")
    assert missing.returncode == 1 and "no such user" in missing.stderr
    assert run_backtest(url, "more").returncode == 2
