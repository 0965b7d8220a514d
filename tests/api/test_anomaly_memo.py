"""What is behind an unusual day is worked out once, and told again only while nothing has changed that it stands on: every answer is held,
byte by byte, against that of a server that has just started and knows nothing."""
from datetime import datetime, timedelta, timezone
from decimal import Decimal as D

import pytest

from llmlab_client import PASSWORD, Client, sign_up, unique
from llmlab_server import new_secret, query, wait_for

PATH = "/api/recommendations/anomalies"
ONCE_A_DAY = 86400


def today():
    return datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


def at(days_ago, hour=12):
    return (today() - timedelta(days=days_ago) + timedelta(hours=hour)).isoformat()


def call(days_ago, hour=12, model="m", **more):
    """Of a provider that the catalogue does not know: priced by what it says it cost, or by own prices."""
    return {"provider": "own", "model": model, "input_tokens": 1000, "output_tokens": 10, "timestamp": at(days_ago, hour), **more}


def usual(**more):
    """10 USD a day in 10 calls for 31 days, and 90 three days ago."""
    return ([call(n, h, cost="1", **more) for n in range(1, 32) for h in range(10)] +
            [call(3, h, cost="1", **more) for h in range(10) for _ in range(8)])


@pytest.fixture
def settings(postgres):
    return {"DATABASE_URL": postgres.create(unique("memo")), "SECRET_KEY": new_secret(), "ANOMALY_SCAN_SECONDS": ONCE_A_DAY}


@pytest.fixture
def one(own_server, settings):
    return own_server(**settings).start()


@pytest.fixture
def user(one):
    """The search in the background has just looked at him, and does not again that day: what is counted is what the test asks."""
    client = sign_up(one.port)
    database = one.database()
    query(database, "INSERT INTO anomaly_scans (user_id, scanned_at) VALUES (%s, now())", (client.user_id,))
    database.close()
    yield client
    client.close()


def counts(port):
    """(explanations told from memory, worked out, held)"""
    text = Client(port).get("/metrics", check=False).body.decode()
    found = {line.split()[0]: int(D(line.split()[1])) for line in text.splitlines() if line.startswith("llmlab_anomaly_explanations")}
    return tuple(found["llmlab_anomaly_explanations" + name] for name in ("_remembered_total", "_made_total", ""))


def ask(client, **parameters):
    answer = client.get(PATH, parameters)
    assert answer.status == 200, answer
    return answer


class Truth:
    """Asks a server that has just started; `after` also sees that the one with a memory says the same, and that it looked again."""

    def __init__(self, own_server, settings, client, **parameters):
        self.own_server, self.settings, self.client, self.parameters = own_server, settings, client, parameters

    def anew(self):
        server = self.own_server(**self.settings).start()
        answer = ask(self.client.on(server.port), **self.parameters)
        remembered, made, _ = counts(server.port)
        assert remembered == 0 and made > 0
        server.stop()
        return answer

    def after(self, what, before):
        _, made, _ = counts(self.client.port)
        answer = ask(self.client, **self.parameters)
        assert answer.body == self.anew().body, what
        assert counts(self.client.port)[1] > made, f"{what}: told from memory"
        assert answer.body != before.body, f"{what} changes nothing: the test cannot see anything"
        remembered = counts(self.client.port)[0]
        assert ask(self.client, **self.parameters).body == answer.body
        assert counts(self.client.port)[0] > remembered, f"{what}: not remembered"
        return answer


def test_explanation_from_memory_is_that_worked_out_anew(own_server, settings, user):
    """Two unusual days, with everything that an explanation has."""
    user.batch(usual(project="p", customer="c") + [call(5, h, cost="7.5", model="other", project="q") for h in range(9)])
    first = ask(user)
    assert first.json["count"] == 2 and all(a["causes"] and a["contributors"] and a["event_id"] for a in first.json["anomalies"])
    assert counts(user.port) == (0, 2, 2)
    second = ask(user)
    assert counts(user.port) == (2, 2, 2), "the second answer must come from memory, or this test shows nothing"
    assert second.body == first.body == Truth(own_server, settings, user).anew().body
    # all recommendations tell the same, from the same memory
    assert user.ok("GET", "/api/recommendations")["anomalies"] == first.json["anomalies"]
    assert counts(user.port) == (4, 2, 2)


def test_event_that_comes_late_changes_the_explanation_at_once(own_server, settings, user):
    user.batch(usual())
    truth = Truth(own_server, settings, user)
    before = ask(user)
    user.batch([call(3, cost="0")])
    before = truth.after("a call of the day that cost nothing", before)
    user.batch([call(10, cost="0")])
    before = truth.after("a call for nothing a week earlier", before)
    user.batch([call(30, cost="0")])
    before = truth.after("a call for nothing on the first of the 28 days before", before)
    user.batch([call(3, cost="1.25", project="late")])
    before = truth.after("a call of the day in a project", before)
    assert any(c["value"] == "late" for c in before.json["anomalies"][0]["contributors"])
    dear = user.batch([call(3, cost="2")])["results"][0]["event_id"]
    before = truth.after("a dearer call", before)
    assert before.json["anomalies"][0]["event_id"] == dear


def test_event_that_the_explanation_does_not_stand_on_leaves_it_in_memory(user):
    user.batch(usual())
    before = ask(user)
    user.batch([call(2, cost="0.5"), call(32, cost="0.5")])
    assert ask(user).json["anomalies"][0]["causes"] == before.json["anomalies"][0]["causes"]
    remembered, made, _ = counts(user.port)
    assert (remembered, made) == (1, 1)


def test_days_before_are_days_of_the_zone_when_clocks_change(own_server, settings, user):
    """Berlin, 10 April 2024, after the clocks went forward on 31 March: the 28 days before begin at 2024-03-12T23:00Z, an hour later
    than 28 times 24 hours before. What is earlier is no part of them."""
    def calls(month, days):
        return [{**call(0), "cost": "1", "timestamp": f"2024-{month}-{day:02d}T{hour:02d}:00:00Z"} for day in days for hour in range(8, 18)]
    user.batch(calls("03", range(13, 32)) + calls("04", range(1, 11)) + calls("04", [10] * 8))
    parameters = {"from": "2024-04-08", "to": "2024-04-12", "tz": "Europe/Berlin"}
    truth = Truth(own_server, settings, user, **parameters)
    before = ask(user, **parameters)
    assert [a["date"] for a in before.json["anomalies"]] == ["2024-04-10"]
    user.batch([{**call(0), "cost": "0", "timestamp": "2024-03-12T22:30:00Z"}])
    assert ask(user, **parameters).body == before.body == truth.anew().body
    assert counts(user.port)[:2] == (1, 1)
    user.batch([{**call(0), "cost": "0", "timestamp": "2024-03-12T23:30:00Z"}])
    truth.after("a call of the first hour of the days before", before)


def price(client, model, millions):
    client.ok("POST", "/api/pricing/overrides",
              {"provider": "own", "model": model, "per_million_tokens": {"input": millions, "output": "0"}}, status=201)


def reprice(client):
    return client.ok("POST", "/api/pricing/reprice", {"from": at(40)[:10], "to": at(0)[:10], "dry_run": False})


def test_price_of_nothing_for_calls_without_one_changes_the_explanation(own_server, settings, user):
    """Neither the number of calls nor any cost changes: but calls that have a price are what the split counts."""
    user.batch(usual() + [call(n, h) for n in (3, 8) for h in range(5)])
    truth = Truth(own_server, settings, user)
    before = ask(user)
    price(user, "m", "0")
    reprice(user)
    wait_for(lambda: user.ok("GET", "/api/pricing/unpriced")["count"] == 0, "the calls to have a price")
    after = truth.after("a price of 0", before)
    assert [a["cost"] for a in after.json["anomalies"]] == [a["cost"] for a in before.json["anomalies"]]


def test_prices_that_move_cost_between_models_change_the_explanation(own_server, settings, user):
    """Two models of one unusual day whose prices are exchanged: what every day cost in all stays the same to the last digit."""
    price(user, "a", "10000")
    price(user, "b", "20000")
    user.batch([call(n, h, cost="1") for n in range(1, 32) for h in range(10)] + [call(3, h, model=m) for h in range(5) for m in "ab"])
    truth = Truth(own_server, settings, user)
    before = ask(user)
    assert [(a["scope"], a["cost"]) for a in before.json["anomalies"]] == [({"provider": "own"}, 160)]
    for old in user.ok("GET", "/api/pricing/overrides")["overrides"]:
        user.ok("DELETE", f"/api/pricing/overrides/{old['id']}", status=204)
    price(user, "a", "20000")
    price(user, "b", "10000")
    assert reprice(user)["events_changed"] == 10
    after = truth.after("exchanged prices", before)
    assert [(a["scope"], a["cost"]) for a in after.json["anomalies"]] == [({"provider": "own"}, 160)]


def test_two_servers_never_tell_what_was_true_before(own_server, settings, one, user):
    other = user.on(own_server(**settings).start().port)
    user.batch(usual())
    assert ask(user).body == ask(other).body
    before = ask(other).body
    assert counts(other.port) == (1, 1, 1), "the other one remembers too"
    for n in range(10):
        user.batch([call(3, cost="0"), call(20, cost="0")] if n % 2 else [call(3, cost="3.5", project=f"p{n}")])
        mine, theirs = ask(user).body, ask(other).body
        assert mine == theirs != before
        before = mine
    assert before == Truth(own_server, settings, user).anew().body
    assert counts(other.port)[1] == 11


def test_today_is_explained_as_it_is_while_calls_come_in(own_server, settings, user):
    user.batch([call(n, h, cost="1") for n in range(1, 31) for h in range(10)] + [call(0, 0, cost="1") for _ in range(70)])
    truth = Truth(own_server, settings, user)
    before = ask(user)
    for n in range(3):
        user.track(**call(0, 0, cost=str(2 + n), project="now"))
        before = truth.after("another call", before)
        [found] = [a for a in before.json["anomalies"] if a["granularity"] == "day"]
        assert found["cost"] == 70 + sum(range(2, 3 + n)) == found["expected_cost"] + sum(c["contribution"] for c in found["causes"])
        assert user.ok("GET", f"/api/events/{found['event_id']}")["cost"] == 2 + n


def test_dearest_event_that_retention_has_dropped_is_not_told(own_server, settings, one, user):
    """The unusual day is in March 2024; another server keeps 30 days of events."""
    spring = [{**call(0), "cost": "1", "timestamp": f"2024-03-{day:02d}T{hour:02d}:00:00Z"} for day in range(1, 31) for hour in range(10)]
    user.batch(spring + [{**spring[-1], "cost": "50"}])
    parameters = {"from": "2024-03-20", "to": "2024-03-31"}
    before = ask(user, **parameters)
    [found] = before.json["anomalies"]
    assert user.get(f"/api/events/{found['event_id']}").status == 200
    database = one.database()
    dropping = own_server(**settings, EVENT_RETENTION_DAYS=30).start()
    wait_for(lambda: not query(database, "SELECT FROM pg_class WHERE relname = 'events_2024_03'"), "the old month to be dropped")
    dropping.stop()
    database.close()
    _, made, _ = counts(user.port)
    after = ask(user, **parameters)
    assert after.json["anomalies"] == [{**found, "event_id": None}]
    assert after.body == Truth(own_server, settings, user, **parameters).anew().body
    assert counts(user.port)[1] == made + 1
    assert ask(user, **parameters).body == after.body and counts(user.port)[1] == made + 1, "that there is none is remembered as well"


def test_search_in_the_background_keeps_the_memory_warm(own_server, settings):
    server = own_server(**{**settings, "ANOMALY_SCAN_SECONDS": 1}).start()
    client = sign_up(server.port)
    client.batch([call(n, h, cost="1") for n in range(1, 31) for h in range(10)] + [call(1, 5, cost="70")])
    wait_for(lambda: counts(server.port)[0] > 0, "the background to explain it, and to find it explained the next time")
    _, made, _ = counts(server.port)
    assert ask(client).json["count"] == 1
    assert counts(server.port)[1] == made, "who asks finds it explained"
    client.close()


def test_deleted_account_is_forgotten(user):
    user.batch(usual())
    ask(user)
    assert counts(user.port)[2] == 1
    user.ok("DELETE", "/api/auth/me", {"password": PASSWORD}, status=204)
    wait_for(lambda: counts(user.port)[2] == 0, "the memory to be empty")
