"""Sums by any dimensions, in any zone, over any range: all of them against an independent computation from the events."""
import itertools
import random
from collections import defaultdict
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal as D, getcontext
from zoneinfo import ZoneInfo

import pytest

from llmlab_client import sign_up
from test_costs import PRICES, Sums, assert_summary, cost_of, days_from, grouped, start_of, within

getcontext().prec = 60
UTC = timezone.utc
# Offsets of quarters (Kathmandu, Eucla, Chatham) and halves of an hour (Kolkata, St John's), clocks that change by half an hour
# (Lord Howe), at midnight (Santiago), twice around Ramadan (Casablanca), and the zone that once skipped a day (Apia).
ZONES = ["UTC", "Asia/Kathmandu", "Australia/Eucla", "Pacific/Chatham", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe",
         "Europe/Berlin", "America/Santiago", "Africa/Casablanca", "Pacific/Apia"]
FIRST, LAST = date(2025, 2, 20), date(2025, 11, 10)
# Days on which the clock of one of the zones changes, both ways.
CHANGES = [date(2025, 2, 23), date(2025, 3, 9), date(2025, 3, 30), date(2025, 4, 6), date(2025, 9, 7), date(2025, 9, 28), date(2025, 10, 5),
           date(2025, 10, 26), date(2025, 11, 2)]
DIMENSIONS = ["provider", "model", "project", "customer", "tag.team", "tag.env"]
TEAMS, ENVS = ["red", "blue", "grün", 'a"b\\c'], ["prod", "test"]


def random_event(rng, at):
    model = rng.choice(list(PRICES))
    tokens = rng.randrange(0, 200000)
    event = {"provider": PRICES[model][0], "model": model, "input_tokens": tokens, "output_tokens": rng.randrange(0, 50000),
             "cache_read_tokens": rng.randrange(0, tokens + 1), "timestamp": at.isoformat(),
             "status": rng.choice(["success", "success", "error"])}
    for name, values in (("project", ["a", "b"]), ("customer", ["acme", "zeta", "söd"])):
        if rng.random() < 0.7:
            event[name] = rng.choice(values)
    tags = {k: rng.choice(v) for k, v in (("team", TEAMS), ("env", ENVS)) if rng.random() < 0.7}
    if tags:
        event["tags"] = tags
    if rng.random() < 0.1:
        event["cost"] = D(rng.randrange(10 ** 15)) / 10 ** 15
    return event


@pytest.fixture(scope="module")
def ledger(server):
    """(client, [(instant, event, cost)])"""
    rng = random.Random(20251026)
    client = sign_up(server.port)
    instants = []
    for zone, day in itertools.product(ZONES, CHANGES + [FIRST, LAST + timedelta(days=1)]):
        begin = start_of(day, zone)
        instants += [begin, begin - timedelta(microseconds=1),
                     begin + timedelta(seconds=rng.randrange(86400), microseconds=rng.randrange(10 ** 6))]
    span = int((LAST - FIRST).total_seconds())
    while len(instants) < 1200:
        instants.append(datetime.combine(FIRST, time(), UTC) + timedelta(seconds=rng.randrange(span), microseconds=rng.randrange(10 ** 6)))
    rng.shuffle(instants)
    events = [random_event(rng, at) for at in instants]
    answer = client.batch(events)
    assert answer["accepted"] == len(events), [r for r in answer["results"] if "error" in r][:3]
    yield client, [(at, event, cost_of(event)) for at, event in zip(instants, events)]
    client.close()


def value_of(row, dimension):
    event = row[1]
    return event.get("tags", {}).get(dimension[4:]) if dimension.startswith("tag.") else event.get(dimension)


def check_figures(row, sums):
    """What every row of an answer says about its events."""
    assert (row["total_cost"], row["call_count"], row["unpriced_calls"]) == (sums.cost, sums.calls, sums.unpriced), row
    assert row["input_tokens"] == sums.tokens("input_tokens") and row["output_tokens"] == sums.tokens("output_tokens")
    assert row["total_tokens"] == sums.tokens("input_tokens", "output_tokens")
    assert row["cache_read_tokens"] == sums.tokens("cache_read_tokens")
    failed = [r for r in sums.rows if r[1]["status"] == "error"]
    assert (row["errors"], row["error_cost"]) == (len(failed), Sums(failed).cost)
    if sums.calls:
        assert abs(row["average_cost_per_call"] - sums.cost / sums.calls) <= D("0.000000000001")
    if row["input_tokens"]:
        assert abs(D(row["cached_token_share"]) - D(row["cache_read_tokens"]) / row["input_tokens"]) <= D("0.000001")
    else:
        assert row["cached_token_share"] is None


def order_of(key, sums):
    return (-sums.cost, -sums.calls, [(v is None, (v or "").encode()) for v in key])


def check_breakdown(answer, rows, dimensions, limit=100, bucket=None):
    """`bucket` tells of a row in which bucket it is; None: there is one."""
    check_figures(answer, Sums(rows))
    key_of = lambda row: tuple(value_of(row, d) for d in dimensions)
    groups = grouped(rows, key_of)
    listed = set(sorted(groups, key=lambda k: order_of(k, groups[k]))[:limit])
    cells = defaultdict(list)
    for row in rows:
        key = key_of(row)
        cells[(bucket(row) if bucket else None, key if key in listed else "other")].append(row)
    found = {}
    for row in answer["rows"]:
        key = "other" if row.get("other") else tuple(row[d] for d in dimensions)
        if key == "other":
            assert all(row[d] is None for d in dimensions)
        at = (row.get("start"), key)
        assert at not in found, at
        found[at] = row
    assert set(found) == set(cells)
    for at, cell in cells.items():
        check_figures(found[at], Sums(cell))
        if at[1] == "other":
            assert found[at]["groups"] == len({key_of(r) for r in cell})
    order = [(r.get("start") or "", bool(r.get("other")), -r["total_cost"]) for r in answer["rows"]]
    assert order == sorted(order)


def ask(client, dimensions, **query):
    return client.ok("GET", "/api/costs/breakdown", query={"group_by": ",".join(dimensions), **query})


def dates(first, last, zone):
    return {"from": first.isoformat(), "to": last.isoformat(), "tz": zone}


def of_days(rows, first, last, zone):
    return within(rows, start_of(first, zone), start_of(last + timedelta(days=1), zone))


# ---- the figures of every endpoint in every zone ----

@pytest.mark.parametrize("zone", ZONES)
def test_every_answer_equals_the_independent_sums_in_every_zone(ledger, zone):
    client, rows = ledger
    rng = random.Random(zone)
    ranges = [(FIRST, LAST)] + [(c, c) for c in CHANGES]
    ranges += [(c - timedelta(days=rng.randrange(4)), c + timedelta(days=rng.randrange(40))) for c in CHANGES]
    for first, last in ranges:
        chosen = of_days(rows, first, last, zone)
        query = dates(first, last, zone)
        summary = client.ok("GET", "/api/costs/summary", query=query)
        assert_summary(summary, chosen, days_from(first, last), zone)
        length = (last - first).days + 1
        before = of_days(rows, first - timedelta(days=length), first - timedelta(days=1), zone)
        check_figures(summary["previous_period"], Sums(before))
        providers = client.ok("GET", "/api/costs/by-provider", query=query)["provider_costs"]
        expected = grouped(chosen, lambda r: r[1]["provider"])
        assert {p["provider"] for p in providers} == set(expected)
        for row in providers:
            check_figures(row, expected[row["provider"]])
        models = client.ok("GET", "/api/costs/top-models", query={**query, "limit": 500})["models"]
        assert sum((m["total_cost"] for m in models), D(0)) == summary["total_cost"]
        dimensions = rng.sample(DIMENSIONS, 2)
        check_breakdown(ask(client, dimensions, **query), chosen, dimensions)


@pytest.mark.parametrize("zone", ZONES)
def test_single_days_add_up_to_the_range_in_every_zone(ledger, zone):
    client, _ = ledger
    first, last = date(2025, 4, 3), date(2025, 4, 9)
    dimensions = ["customer", "tag.team"]
    whole = ask(client, dimensions, **dates(first, last, zone))
    single = [ask(client, dimensions, **dates(d, d, zone)) for d in days_from(first, last)]
    assert sum((s["total_cost"] for s in single), D(0)) == whole["total_cost"]
    assert sum(s["call_count"] for s in single) == whole["call_count"]
    added = defaultdict(D)
    for row in itertools.chain.from_iterable(s["rows"] for s in single):
        added[row["customer"], row["tag.team"]] += row["total_cost"]
    assert added == {(r["customer"], r["tag.team"]): r["total_cost"] for r in whole["rows"]}


def test_a_day_that_a_zone_skipped_is_empty(ledger):
    """Apia went from 2011-12-29 to 2011-12-31."""
    client, _ = ledger
    answer = client.ok("GET", "/api/costs/summary", query={"from": "2011-12-29", "to": "2011-12-31", "tz": "Pacific/Apia"})
    assert [(d["date"], d["call_count"]) for d in answer["by_date"]] == [(f"2011-12-{d}", 0) for d in (29, 30, 31)]
    for granularity in ("none", "day", "hour"):
        answer = client.ok("GET", "/api/costs/breakdown", query={"from": "2011-12-30", "to": "2011-12-30", "tz": "Pacific/Apia",
                                                                 "granularity": granularity})
        assert answer["call_count"] == 0


# ---- groupings ----

@pytest.mark.parametrize("n", [1, 2, 3])
def test_breakdown_by_all_groupings_equals_the_independent_sums(ledger, n):
    client, rows = ledger
    for i, dimensions in enumerate(itertools.permutations(DIMENSIONS, n) if n < 3 else itertools.combinations(DIMENSIONS, n)):
        zone = ZONES[i % len(ZONES)]
        check_breakdown(ask(client, dimensions, **dates(FIRST, LAST, zone)), of_days(rows, FIRST, LAST, zone), dimensions)


FILTERS = [{"provider": "openai"}, {"model": "gpt-4o"}, {"project": "a"}, {"customer": "acme"}, {"tag.team": "red"}, {"tag.team": 'a"b\\c'},
           {"tag.team": "red", "tag.env": "prod"}, {"provider": "openai", "project": "b"}, {"customer": "söd", "model": "gpt-4"},
           {"project": "a", "customer": "zeta", "tag.env": "test", "provider": "openai"}, {"customer": "nobody"}, {"tag.nothing": "x"},
           {"tag.team": ""}, {"project": "A"}]


@pytest.mark.parametrize("chosen", FILTERS, ids=lambda f: " ".join(f"{k}={v}" for k, v in f.items()))
def test_breakdown_with_filters_equals_the_independent_sums(ledger, chosen):
    client, rows = ledger
    kept = [r for r in rows if all(value_of(r, k) == v for k, v in chosen.items())]
    rng = random.Random(str(chosen))
    order = sorted(r[0] for r in rows)
    for dimensions in ([], ["provider"], ["project"], ["customer"], ["tag.team"], ["tag.env", "model"], ["project", "customer", "tag.team"]):
        begin, end = sorted(rng.sample(order, 2))
        query = {"from": begin.isoformat(), "to": end.isoformat(), "tz": rng.choice(ZONES)}
        if not dimensions:
            answer = client.ok("GET", "/api/costs/breakdown", query={**query, **chosen})
            assert len(answer["rows"]) == 1
            check_figures(answer["rows"][0], Sums(within(kept, begin, end)))
            continue
        check_breakdown(ask(client, dimensions, **query, **chosen), within(kept, begin, end), dimensions)


@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
def test_breakdown_beyond_the_limit_is_one_exact_row(ledger, limit):
    client, rows = ledger
    chosen = of_days(rows, FIRST, LAST, "UTC")
    for dimensions in (["model"], ["customer", "tag.team"], ["project", "tag.env", "model"]):
        answer = ask(client, dimensions, limit=limit, **dates(FIRST, LAST, "UTC"))
        check_breakdown(answer, chosen, dimensions, limit)
        groups = len({tuple(value_of(r, d) for d in dimensions) for r in chosen})
        assert len(answer["rows"]) == min(groups, limit + 1)
        assert bool(answer["rows"][-1].get("other")) == (groups > limit)


# ---- over time ----

def bucket_starts(granularity, begin, end, zone):
    """In steps of a quarter of an hour: a bucket begins where the clock shows its begin, or (for hours) has just been changed."""
    tz = ZoneInfo(zone)
    starts, at, before = [], begin, None
    while at < end:
        local = at.astimezone(tz)
        mark = {"hour": (local.date(), local.hour, local.utcoffset()), "day": local.date(), "week": local.isocalendar()[:2],
                "month": (local.year, local.month)}[granularity]
        if mark != before:
            starts.append(at)
        before = mark
        at += timedelta(minutes=15)
    return starts


def text(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S") + ".000Z"


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("granularity", ["hour", "day", "week", "month"])
def test_breakdown_over_time_equals_the_independent_sums(ledger, zone, granularity):
    client, rows = ledger
    for first, last in [(FIRST, LAST)] if granularity in ("week", "month") else [(date(2025, 3, 28), date(2025, 4, 8)),
                                                                                (date(2025, 10, 3), date(2025, 11, 3))]:
        begin, end = start_of(first, zone), start_of(last + timedelta(days=1), zone)
        chosen = within(rows, begin, end)
        starts = bucket_starts(granularity, begin, end, zone)
        bucket = lambda row: text(max(s for s in starts if s <= row[0]))
        totals = client.ok("GET", "/api/costs/breakdown", query={"granularity": granularity, **dates(first, last, zone)})
        assert [r["start"] for r in totals["rows"]] == [text(s) for s in starts]
        assert [r["end"] for r in totals["rows"]] == [text(s) for s in starts[1:] + [end]]
        assert [r["date"] for r in totals["rows"]] == [s.astimezone(ZoneInfo(zone)).date().isoformat() for s in starts]
        by_bucket = grouped(chosen, bucket)
        for row in totals["rows"]:
            check_figures(row, by_bucket.get(row["start"], Sums([])))
        for dimensions, limit in ((["tag.team"], 2), (["provider", "customer"], 100)):
            answer = ask(client, dimensions, granularity=granularity, limit=limit, **dates(first, last, zone))
            assert answer["granularity"] == granularity
            check_breakdown(answer, chosen, dimensions, limit, bucket)


def test_breakdown_of_instants_over_time_cuts_the_first_and_last_bucket(ledger):
    client, rows = ledger
    begin, end = datetime(2025, 10, 25, 11, 7, 3, tzinfo=UTC), datetime(2025, 10, 27, 5, 59, 59, 999999, tzinfo=UTC)
    answer = client.ok("GET", "/api/costs/breakdown", query={"from": begin.isoformat(), "to": end.isoformat(), "tz": "Europe/Berlin",
                                                             "granularity": "day"})
    assert [(r["date"], r["start"]) for r in answer["rows"]] == [
        ("2025-10-25", "2025-10-25T11:07:03.000Z"), ("2025-10-26", "2025-10-25T22:00:00.000Z"), ("2025-10-27", "2025-10-26T23:00:00.000Z")]
    assert answer["rows"][-1]["end"] == "2025-10-27T05:59:59.999999Z"
    assert sum(r["call_count"] for r in answer["rows"]) == len(within(rows, begin, end))


def test_breakdown_of_too_many_rows_is_refused(pair, own_server):
    """Three models in every hour of 300 days make 21,600 rows; an answer holds 20,000 at most."""
    server = own_server(**dict(pair[0].settings, DB_STATEMENT_MS="60000")).start()  # a busy machine may take its time
    client = sign_up(server.port)
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    events = [{"model": f"m-{i}", "input_tokens": 1, "timestamp": (begin + timedelta(hours=h)).isoformat()}
              for h in range(300 * 24) for i in range(3)]
    for at in range(0, len(events), 1000):
        assert client.batch(events[at:at + 1000])["rejected"] == 0
    query = {"group_by": "model", "granularity": "hour", "from": "2025-01-01", "to": "2025-10-27"}
    refused = client.get("/api/costs/breakdown", query=query)
    assert refused.status == 400 and refused.fields == {"granularity"}
    assert len(client.ok("GET", "/api/costs/breakdown", query={**query, "limit": 1})["rows"]) == 2 * 300 * 24
    assert len(client.ok("GET", "/api/costs/breakdown", query={**query, "granularity": "day"})["rows"]) == 3 * 300
    hours = client.ok("GET", "/api/costs/breakdown", query={"granularity": "hour", "from": "2025-01-01", "to": "2026-01-01"})["rows"]
    assert len(hours) == 366 * 24 and sum(r["call_count"] for r in hours) == len(events)
    client.close()


# ---- API keys ----

def test_breakdown_by_key_tells_which_key_reported(server):
    client = sign_up(server.port)
    key = client.ok("POST", "/api/keys", {"name": "crawler", "scope": "full"}, status=201)
    at = {"model": "gpt-4", "input_tokens": 1000, "timestamp": "2025-06-01T12:00:00Z"}
    client.track(**at)
    for _ in range(2):
        client.with_token(key["key"]).track(**at)
    query = {"group_by": "key", "from": "2025-06-01", "to": "2025-06-01"}
    rows = client.ok("GET", "/api/costs/breakdown", query=query)["rows"]
    assert [(r["key"], r["key_name"], r["key_prefix"], r["call_count"], r["total_cost"]) for r in rows] == [
        (key["id"], "crawler", key["prefix"], 2, D("0.06")), (None, None, None, 1, D("0.03"))]
    for chosen, calls in ((key["id"], 2), ("01890a5d-ac96-774b-bcce-b302099a8057", 0)):
        answer = client.ok("GET", "/api/costs/breakdown", query={**query, "group_by": "model", "key": chosen})
        assert answer["call_count"] == calls
    client.request("DELETE", f"/api/keys/{key['id']}")
    rows = client.ok("GET", "/api/costs/breakdown", query=query)["rows"]
    assert [(r["key"], r["key_name"], r["call_count"]) for r in rows] == [(key["id"], None, 2), (None, None, 1)]
    client.close()


# ---- percentiles ----

def nearest_rank(values, percent):
    ordered = sorted(values)
    return ordered[-(-percent * len(ordered) // 100) - 1]


@pytest.mark.parametrize("group_by", ["provider", "model"])
def test_percentiles_of_few_calls_are_exact(server, group_by):
    rng = random.Random(5)
    client = sign_up(server.port)
    events = []
    for i in range(333):
        event = random_event(rng, datetime(2025, 7, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(10 ** 6)))
        if rng.random() < 0.8:
            event["latency_ms"] = int(rng.paretovariate(1) * 100)
        events.append(event)
    client.batch(events)
    answer = client.ok("GET", "/api/costs/percentiles", query={"from": "2025-07-01", "to": "2025-07-31", "group_by": group_by})
    assert (answer["sampled"], answer["sample_size"], answer["call_count"], answer["group_by"]) == (False, 333, 333, group_by)
    groups = defaultdict(list)
    for event in events:
        groups[event["provider"], event["model"] if group_by == "model" else None].append(event)
    assert {(r["provider"], r.get("model")) for r in answer["rows"]} == set(groups)
    for row in answer["rows"]:
        group = groups[row["provider"], row.get("model")]
        assert row["sample_size"] == len(group)
        for name, values in (("latency_ms", [e["latency_ms"] for e in group if "latency_ms" in e]),
                             ("cost", [c for c in map(cost_of, group) if c is not None])):
            expected = {f"p{p}": nearest_rank(values, p) if values else None for p in (50, 90, 95, 99)}
            assert row[name] == {"count": len(values), **expected}, (row, name)
    client.close()


def test_percentiles_of_nothing_have_no_rows(user):
    answer = user.ok("GET", "/api/costs/percentiles")
    assert (answer["rows"], answer["sampled"], answer["call_count"], answer["group_by"]) == ([], False, 0, "model")


# ---- what is refused ----

@pytest.mark.parametrize("bad,fields", [
    ({"group_by": "colour"}, {"group_by"}), ({"group_by": ""}, {"group_by"}), ({"group_by": "model,"}, {"group_by"}),
    ({"group_by": "model,model"}, {"group_by"}), ({"group_by": "tag."}, {"group_by"}), ({"group_by": "tag." + "x" * 129}, {"group_by"}),
    ({"group_by": "provider,model,project,customer"}, {"group_by"}), ({"granularity": "year"}, {"granularity"}), ({"limit": 0}, {"limit"}),
    ({"limit": 1001}, {"limit"}), ({"key": "x"}, {"key"}), ({"status": "error"}, {"status"}), ({"min_cost": 1}, {"min_cost"}),
    ({"provider": ""}, {"provider"}), ({"tag.": "x"}, {"tag."}), ({"days": 0, "limit": "x", "granularity": ""}, {"days", "limit", "granularity"}),
    ({f"tag.k{i}": "x" for i in range(9)}, {"tag.k8"}),
])
def test_breakdown_bad_parameters_are_named(user, bad, fields):
    answer = user.get("/api/costs/breakdown", query=bad)
    assert answer.status == 400 and answer.fields == fields


@pytest.mark.parametrize("bad", [{"group_by": "project"}, {"group_by": ""}, {"granularity": "day"}, {"days": 400}, {"tz": "X/Y"}])
def test_percentiles_bad_parameters_are_named(user, bad):
    answer = user.get("/api/costs/percentiles", query=bad)
    assert answer.status == 400 and answer.fields == set(bad)


def test_breakdown_shows_nothing_of_other_users(ledger, user):
    for dimensions in (["model"], ["customer"], ["tag.team", "key"]):
        answer = ask(user, dimensions, **dates(FIRST, LAST, "UTC"))
        assert (answer["rows"], answer["call_count"], answer["total_cost"]) == ([], 0, 0)
