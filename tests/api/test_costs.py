"""Sums of random events against an independent computation in decimal, in several time zones."""
import random
from collections import defaultdict
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal as D
from zoneinfo import ZoneInfo

import pytest

from llmlab_client import sign_up

UTC = timezone.utc
# provider, USD per million: input, cached input, output. None: a model that nobody knows.
PRICES = {
    "gpt-4": ("openai", D("30"), D("30"), D("60")),
    "gpt-4o": ("openai", D("2.5"), D("1.25"), D("10")),
    "gpt-4o-mini": ("openai", D("0.15"), D("0.075"), D("0.6")),
    "claude-opus-4-5": ("anthropic", D("5"), D("0.5"), D("25")),
    "gemini-2.5-flash": ("google", D("0.3"), D("0.03"), D("2.5")),
    "command-r": ("cohere", D("0.15"), D("0.15"), D("0.6")),
    "nobody-knows-this": ("openai", None, None, None),
}
# Each with a change of clocks between February and May 2025, but for Kathmandu (+5:45) and UTC. Lord Howe changes by half an hour.
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago"]
FIRST, LAST = date(2025, 3, 1), date(2025, 4, 15)


def start_of(day, zone):
    """The first instant of a day: what the zone's clock shows then is midnight, or the first time after a gap."""
    at = datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)
    while at.astimezone(ZoneInfo(zone)).date() < day:
        at += timedelta(minutes=15)
    return at


def random_event(rng, at):
    model = rng.choice(list(PRICES))
    tokens = rng.randrange(0, 200000)
    event = {"provider": PRICES[model][0], "model": model, "input_tokens": tokens, "output_tokens": rng.randrange(0, 50000),
             "cache_read_tokens": rng.randrange(0, tokens + 1), "timestamp": at.isoformat(),
             "status": rng.choice(["success", "success", "error"])}
    if rng.random() < 0.5:
        event["project"] = rng.choice(["a", "b"])
    if rng.random() < 0.1:
        event["cost"] = D(rng.randrange(10 ** 12)) / 10 ** 9
    return event


def cost_of(event):
    if "cost" in event:
        return event["cost"]
    _, fresh, cached, output = PRICES[event["model"]]
    if fresh is None:
        return None
    return ((event["input_tokens"] - event["cache_read_tokens"]) * fresh + event["cache_read_tokens"] * cached
            + event["output_tokens"] * output) / 10 ** 6


@pytest.fixture(scope="module")
def ledger(server):
    """(client, [(instant, event, cost)])"""
    rng = random.Random(20250330)
    client = sign_up(server.port)
    instants = []
    for zone in ZONES:
        for day in [FIRST, date(2025, 3, 9), date(2025, 3, 10), date(2025, 3, 30), date(2025, 3, 31), date(2025, 4, 6),
                    date(2025, 4, 7), LAST, LAST + timedelta(days=1)]:
            begin = start_of(day, zone)
            instants += [begin, begin - timedelta(microseconds=1), begin + timedelta(hours=rng.randrange(24))]
    span = (LAST - FIRST).total_seconds()
    while len(instants) < 600:
        instants.append(datetime.combine(FIRST, time(), UTC) + timedelta(seconds=rng.randrange(int(span)),
                                                                         microseconds=rng.randrange(10 ** 6)))
    rng.shuffle(instants)
    events = [random_event(rng, at) for at in instants]
    answer = client.batch(events)
    assert answer["accepted"] == len(events), [r for r in answer["results"] if "error" in r][:3]
    rows = [(at, event, cost_of(event)) for at, event in zip(instants, events)]
    for result, (_, _, cost) in zip(answer["results"], rows):
        assert result["cost"] == cost
    yield client, rows
    client.close()


class Sums:
    def __init__(self, rows):
        self.rows = rows

    @property
    def cost(self):
        return sum((c for _, _, c in self.rows if c is not None), D(0))

    @property
    def calls(self):
        return len(self.rows)

    @property
    def unpriced(self):
        return sum(c is None for _, _, c in self.rows)

    def tokens(self, *names):
        return sum(e[n] for _, e, _ in self.rows for n in names)


def grouped(rows, key):
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return {k: Sums(v) for k, v in groups.items()}


def within(rows, begin, end):
    return [r for r in rows if begin <= r[0] < end]


def assert_summary(answer, rows, days, zone):
    total = Sums(rows)
    assert answer["total_cost"] == total.cost
    assert (answer["call_count"], answer["unpriced_calls"]) == (total.calls, total.unpriced)
    assert answer["total_tokens"] == total.tokens("input_tokens", "output_tokens")
    if total.calls:
        assert abs(answer["average_cost_per_call"] - total.cost / total.calls) <= D("0.000000000001")
    else:
        assert answer["average_cost_per_call"] == 0
    expected = grouped(rows, lambda r: (r[1]["provider"], r[1]["model"]))
    found = {(m["provider"], m["model"]): m for m in answer["by_model"]}
    assert len(found) == len(answer["by_model"]) and set(found) == set(expected)
    for key, sums in expected.items():
        row = found[key]
        assert (row["total_cost"], row["total_calls"]) == (sums.cost, sums.calls), key
        assert row["input_tokens"] == sums.tokens("input_tokens") and row["output_tokens"] == sums.tokens("output_tokens")
        assert row["cache_read_tokens"] == sums.tokens("cache_read_tokens")
        assert row["total_tokens"] == sums.tokens("input_tokens", "output_tokens")
    costs = [m["total_cost"] for m in answer["by_model"]]
    assert costs == sorted(costs, reverse=True)
    by_day = grouped(rows, lambda r: r[0].astimezone(ZoneInfo(zone)).date().isoformat())
    assert [d["date"] for d in answer["by_date"]] == [d.isoformat() for d in days]
    for row in answer["by_date"]:
        sums = by_day.get(row["date"], Sums([]))
        assert (row["total_cost"], row["call_count"]) == (sums.cost, sums.calls), row
    assert sum((d["total_cost"] for d in answer["by_date"]), D(0)) == answer["total_cost"]
    assert answer["timezone"] == zone


def days_from(first, last):
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("first,last", [(FIRST, LAST), (date(2025, 3, 9), date(2025, 3, 9)), (date(2025, 3, 30), date(2025, 3, 30)),
                                        (date(2025, 4, 6), date(2025, 4, 6)), (date(2025, 3, 29), date(2025, 4, 7))])
def test_summary_of_dates_equals_the_independent_sums(ledger, zone, first, last):
    client, rows = ledger
    begin, end = start_of(first, zone), start_of(last + timedelta(days=1), zone)
    answer = client.ok("GET", "/api/costs/summary", query={"from": first, "to": last, "tz": zone})
    assert_summary(answer, within(rows, begin, end), days_from(first, last), zone)
    assert (answer["date_range_start"], answer["date_range_end"]) == (first.isoformat(), last.isoformat())
    length = (last - first).days + 1
    previous = Sums(within(rows, start_of(first - timedelta(days=length), zone), begin))
    assert answer["previous_period"]["total_cost"] == previous.cost
    change = answer["previous_period"]["change_percent"]
    if previous.cost == 0:
        assert change is None
    else:
        exact = (answer["total_cost"] - previous.cost) / previous.cost * 100
        assert abs(D(change) - exact) <= max(abs(exact) / 10 ** 9, D("0.01"))


def test_summary_of_a_dst_day_has_its_real_length(ledger, server):
    """2025-03-30 has 23 hours in Berlin, 2025-10-26 has 25: an event an hour, counted by day."""
    client = sign_up(server.port)
    for day, hours in ((date(2025, 3, 30), 23), (date(2025, 10, 26), 25)):
        begin = datetime.combine(day, time(), UTC) - timedelta(hours=6)
        client.batch([{"model": "gpt-4", "input_tokens": 1, "timestamp": (begin + timedelta(hours=h)).isoformat()}
                      for h in range(40)])
        answer = client.ok("GET", "/api/costs/summary", query={"from": day, "to": day, "tz": "Europe/Berlin"})
        assert answer["call_count"] == hours and len(answer["by_date"]) == 1
    client.close()


def test_summary_of_instants_is_exact_to_the_microsecond(ledger):
    client, rows = ledger
    rng = random.Random(7)
    order = sorted(r[0] for r in rows)
    for _ in range(12):
        begin, end = sorted(rng.sample(order, 2))
        begin += timedelta(microseconds=rng.choice([-1, 0, 1]))
        end += timedelta(microseconds=rng.choice([-1, 0, 1]))
        zone = rng.choice(ZONES)
        if begin >= end:
            continue
        answer = client.ok("GET", "/api/costs/summary", query={"from": begin.isoformat(), "to": end.isoformat(), "tz": zone})
        local = [t.astimezone(ZoneInfo(zone)).date() for t in (begin, end - timedelta(microseconds=1))]
        assert_summary(answer, within(rows, begin, end), days_from(*local), zone)
        assert answer["date_range_start"].startswith(begin.astimezone(UTC).isoformat()[:19])
        length = end - begin
        assert answer["previous_period"]["total_cost"] == Sums(within(rows, begin - length, begin)).cost


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"])
def test_summary_of_single_days_adds_up_to_the_range(ledger, zone):
    client, _ = ledger
    whole = client.ok("GET", "/api/costs/summary", query={"from": "2025-03-25", "to": "2025-04-10", "tz": zone})
    single = [client.ok("GET", "/api/costs/summary", query={"from": d, "to": d, "tz": zone})
              for d in days_from(date(2025, 3, 25), date(2025, 4, 10))]
    assert sum((s["total_cost"] for s in single), D(0)) == whole["total_cost"]
    assert sum(s["call_count"] for s in single) == whole["call_count"]
    assert [s["total_cost"] for s in single] == [d["total_cost"] for d in whole["by_date"]]


@pytest.mark.parametrize("zone", ZONES)
def test_by_provider_equals_the_independent_sums(ledger, zone):
    client, rows = ledger
    chosen = within(rows, start_of(FIRST, zone), start_of(LAST + timedelta(days=1), zone))
    answer = client.ok("GET", "/api/costs/by-provider", query={"from": FIRST, "to": LAST, "tz": zone})
    assert answer["date_range"] == {"start": FIRST.isoformat(), "end": LAST.isoformat()}
    expected = grouped(chosen, lambda r: r[1]["provider"])
    found = {p["provider"]: p for p in answer["provider_costs"]}
    assert set(found) == set(expected)
    for provider, sums in expected.items():
        row = found[provider]
        assert (row["total_cost"], row["call_count"]) == (sums.cost, sums.calls)
        assert row["total_tokens"] == sums.tokens("input_tokens", "output_tokens")
        models = grouped(sums.rows, lambda r: r[1]["model"])
        assert row["models"] == {m: {"cost": s.cost, "calls": s.calls} for m, s in models.items()}
    costs = [p["total_cost"] for p in answer["provider_costs"]]
    assert costs == sorted(costs, reverse=True)


def test_top_models_are_the_dearest_ones(ledger):
    client, rows = ledger
    chosen = within(rows, start_of(FIRST, "UTC"), start_of(LAST + timedelta(days=1), "UTC"))
    expected = sorted(((s.cost, k) for k, s in grouped(chosen, lambda r: (r[1]["provider"], r[1]["model"])).items()), reverse=True)
    for limit in (1, 3, 10):
        answer = client.ok("GET", "/api/costs/top-models", query={"from": FIRST, "to": LAST, "limit": limit})
        assert answer["count"] == len(answer["models"]) == min(limit, len(expected))
        assert [m["total_cost"] for m in answer["models"]] == [c for c, _ in expected[:limit]]
    for limit in (0, 501, "x"):
        assert client.get("/api/costs/top-models", query={"limit": limit}).fields == {"limit"}


def test_summary_of_days_ends_today_in_the_zone(server):
    client = sign_up(server.port)
    for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
        before = datetime.now(ZoneInfo(zone)).date()
        answer = client.ok("GET", "/api/costs/summary", query={"days": 3, "tz": zone})
        after = datetime.now(ZoneInfo(zone)).date()
        dates = [d["date"] for d in answer["by_date"]]
        assert dates in [[(d - timedelta(days=i)).isoformat() for i in (2, 1, 0)] for d in (before, after)]
        assert (answer["date_range_start"], answer["date_range_end"]) == (dates[0], dates[-1])
    for days in (1, 30, 366):
        assert len(client.ok("GET", "/api/costs/summary", query={"days": days})["by_date"]) == days
    assert len(client.ok("GET", "/api/costs/summary")["by_date"]) == 30
    client.track(model="gpt-4", input_tokens=1000, output_tokens=500)
    assert client.ok("GET", "/api/costs/summary?days=30")["total_cost"] == D("0.06")
    client.close()


def test_summary_uses_the_zone_of_the_user_unless_told(server):
    client = sign_up(server.port)
    client.ok("PATCH", "/api/auth/me", {"timezone": "Asia/Kathmandu"})
    client.track(model="gpt-4", input_tokens=1000, timestamp="2026-06-10T18:15:00Z")  # midnight of the 11th there
    own = client.ok("GET", "/api/costs/summary", query={"from": "2026-06-11", "to": "2026-06-11"})
    assert (own["timezone"], own["call_count"]) == ("Asia/Kathmandu", 1)
    utc = client.ok("GET", "/api/costs/summary", query={"from": "2026-06-11", "to": "2026-06-11", "tz": "UTC"})
    assert (utc["timezone"], utc["call_count"]) == ("UTC", 0)
    client.close()


def test_summary_of_nothing_is_zero_everywhere(user):
    answer = user.ok("GET", "/api/costs/summary", query={"days": 2})
    assert (answer["total_cost"], answer["call_count"], answer["average_cost_per_call"], answer["by_model"]) == (0, 0, 0, [])
    assert [(d["total_cost"], d["call_count"]) for d in answer["by_date"]] == [(0, 0), (0, 0)]
    assert answer["previous_period"] == {**answer["previous_period"], "total_cost": 0, "change_percent": None}
    assert user.ok("GET", "/api/costs/by-provider")["provider_costs"] == []
    assert user.ok("GET", "/api/costs/top-models")["models"] == []


def test_summary_shows_nothing_of_other_users(ledger, user):
    answer = user.ok("GET", "/api/costs/summary", query={"from": FIRST, "to": LAST})
    assert answer["call_count"] == 0
    assert user.ok("GET", "/api/costs/by-provider", query={"from": FIRST, "to": LAST})["provider_costs"] == []


def test_sums_of_tiny_and_huge_costs_lose_no_digit(user):
    at = {"model": "gpt-4", "timestamp": "2026-06-10T12:00:00Z"}
    user.batch([{**at, "cost": "0.000000000000000001"}] * 7 + [{**at, "cost": "999999999999.999999999999999999"}] * 3)
    expected = D("0.000000000000000007") + 3 * D("999999999999.999999999999999999")
    query = {"from": "2026-06-10", "to": "2026-06-10"}
    answer = user.get("/api/costs/summary", query=query)
    assert answer.json["total_cost"] == expected
    assert format(expected, "f").rstrip("0").encode() in answer.body


@pytest.mark.parametrize("path", ["summary", "by-provider", "top-models"])
@pytest.mark.parametrize("bad", [{"days": 0}, {"days": 367}, {"days": "-1"}, {"days": "1e1"}, {"days": "x"}, {"days": ""},
                                 {"tz": "X/Y"}, {"tz": ""}, {"tz": "../UTC"}, {"from": "2026-13-01"}, {"from": "2026-6-1"},
                                 {"from": "2026-06-02", "to": "2026-06-01"}, {"to": "2026-06-02"}, {"from": "now"},
                                 {"from": "2026-06-01", "days": 5}, {"from": "2024-06-01", "to": "2026-06-01"},
                                 {"from": "2026-06-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}, {"from": "infinity"},
                                 {"from": "2026-06-01", "to": "2026-06-02T00:00:00Z"}])
def test_range_bad_parameter_is_named(user, path, bad):
    answer = user.get(f"/api/costs/{path}", query=bad)
    assert answer.status == 400 and answer.fields and answer.fields <= {"days", "tz", "from", "to"}, (bad, answer)
