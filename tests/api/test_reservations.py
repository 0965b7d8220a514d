"""Hard limits: what is held before a call is made, and that spent and held together never pass a limit."""
import threading
import time
from datetime import datetime
from decimal import Decimal as D

import pytest

from llmlab_client import Client, sign_up
from llmlab_server import new_secret, query, wait_for

SOME_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
SCOPES = [{}, {"provider": "openai"}, {"model": "gpt-4"}, {"project": "p"}, {"customer": "c"}, {"tag.team": "t"}]


def put(user, **budget):
    return user.ok("POST", "/api/budgets", budget, status=201)


def check(user, **body):
    return user.ok("POST", "/api/budgets/check", body)


def reserve(user, **body):
    return check(user, reserve=True, **body)


def state(user, budget):
    now = user.ok("GET", f"/api/budgets/{budget['id']}")
    return now["current_spend"], now["reserved"]


def run(n, work):
    failures = []

    def guarded(i):
        try:
            work(i)
        except BaseException as failure:  # told by the main thread
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[0]


# ---- what is answered ----

def test_check_prices_the_call_as_it_will_be_recorded(user):
    budget = put(user, limit=1, hard=True, name="all")
    call = {"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500}
    answer = check(user, **call)
    assert answer["allowed"] is True and answer["reason"] is None and answer["reservation_id"] is None
    assert answer["amount"] == user.ok("POST", "/api/pricing/estimate", call)["cost"] == D("0.06")
    assert answer["pricing_status"] == "priced"
    (told,) = answer["budgets"]
    assert (told["id"], told["name"], told["hard"], told["passes"]) == (budget["id"], "all", True, True)
    assert (told["limit"], told["spent"], told["reserved"], told["remaining_after"]) == (1, 0, 0, D("0.94"))
    user.track(**call)
    assert check(user, **call)["budgets"][0]["spent"] == D("0.06")
    assert state(user, budget) == (D("0.06"), 0), "a check holds nothing"


def test_check_knows_the_budgets_that_apply(user):
    for scope in SCOPES + [{"provider": "anthropic"}, {"tag.team": "u"}, {"customer": "d"}]:
        put(user, limit=5, scope=scope)
    call = {"project": "p", "customer": "c", "tags": {"team": "t"}}

    def scopes(answer):
        return sorted(str(b["scope"]) for b in answer["budgets"])

    expected = sorted(map(str, SCOPES))
    assert scopes(check(user, model="gpt-4", input_tokens=1, **call)) == expected
    assert scopes(check(user, amount="0.1", model="gpt-4", **call)) == expected
    assert scopes(check(user, amount="0.1", provider="OpenAI", **call)) == sorted(
        map(str, [s for s in SCOPES if s != {"model": "gpt-4"}]))
    assert scopes(check(user, amount="0.1")) == ["{}"]


def test_check_soft_budget_is_told_and_does_not_refuse(user):
    put(user, limit=1)
    answer = reserve(user, amount=2)
    assert answer["allowed"] is True and answer["reservation_id"] and answer["budgets"][0]["passes"] is False
    assert answer["budgets"][0]["remaining_after"] == -1


def test_check_hard_limit_is_inclusive_and_exact(user):
    budget = put(user, limit="0.3", hard=True)
    user.track(model="gpt-4", cost="0.1")
    refused = reserve(user, amount="0.200000000000000001")
    assert (refused["allowed"], refused["reason"], refused["reservation_id"]) == (False, "budget_exceeded", None)
    assert state(user, budget) == (D("0.1"), 0), "a refusal holds nothing"
    assert reserve(user, amount="0.2")["allowed"] is True
    assert state(user, budget) == (D("0.1"), D("0.2"))
    assert check(user, amount="0.000000000000000001")["allowed"] is False
    assert check(user, amount=0)["allowed"] is True


def test_check_of_a_call_without_a_price_passes_no_hard_budget(user):
    put(user, limit=1000000, hard=True)
    answer = reserve(user, model="no-such-model", input_tokens=5)
    assert (answer["allowed"], answer["reason"], answer["amount"], answer["reservation_id"]) == (False, "unpriced", None, None)
    assert answer["budgets"][0]["remaining_after"] is None and answer["pricing_status"] == "unpriced"
    assert reserve(user, model="no-such-model", amount=1)["reservation_id"]


@pytest.mark.parametrize("body,fields", [
    ({}, {"input_tokens", "model"}), ({"amount": -1}, {"amount"}), ({"amount": "x"}, {"amount"}), ({"amount": None}, {"amount"}),
    ({"amount": "0.0000000000000000001"}, {"amount"}), ({"amount": 1, "input_tokens": 5}, {"input_tokens"}),
    ({"amount": 1, "reserve": 1}, {"reserve"}), ({"amount": 1, "ttl_seconds": 5}, {"ttl_seconds"}),
    ({"amount": 1, "reserve": True, "ttl_seconds": 0}, {"ttl_seconds"}),
    ({"amount": 1, "reserve": True, "ttl_seconds": 86401}, {"ttl_seconds"}),
    ({"amount": 1, "reserve": True, "ttl_seconds": 1.5}, {"ttl_seconds"}), ({"amount": 1, "ttl": 5}, {"ttl"}),
    ({"amount": 1, "tags": {"a": 1}}, {"tags"}), ({"amount": 1, "tags": {str(i): "x" for i in range(9)}}, {"tags"}),
    ({"amount": 1, "model": "a\x01"}, {"model"}), ({"amount": 1, "project": ""}, {"project"}),
    ({"amount": 1, "reservation_id": SOME_ID}, {"reservation_id"}),
    ({"model": "gpt-4", "input_tokens": 1, "reservation_id": SOME_ID}, {"reservation_id"}),
    ({"model": "gpt-4", "input_tokens": -1, "reserve": "yes"}, {"input_tokens", "reserve"})])
def test_check_names_bad_fields_and_holds_nothing(user, body, fields):
    budget = put(user, limit=5)
    answer = user.post("/api/budgets/check", body)
    assert answer.status == 400 and fields <= answer.fields, answer
    assert state(user, budget) == (0, 0)


def test_reservation_of_another_user_is_out_of_reach(user, other):
    mine, theirs = put(user, limit=1, hard=True), put(other, limit=1, hard=True)
    held = reserve(user, amount=1)["reservation_id"]
    assert state(other, theirs) == (0, 0) and reserve(other, amount=1)["allowed"] is True
    same = {"X-Request-Id": "same"}
    answers = [other.request("DELETE", f"/api/budgets/reservations/{i}", headers=same) for i in (held, SOME_ID)]
    assert answers[0].status == answers[1].status == 404 and answers[0].body == answers[1].body
    other.track(model="gpt-4", cost=0, reservation_id=held)
    assert state(user, mine) == (0, 1)


# ---- the end of a reservation ----

def test_reservation_released_makes_room(user):
    budget = put(user, limit=1, hard=True)
    held = reserve(user, amount="0.6")["reservation_id"]
    assert reserve(user, amount="0.5")["allowed"] is False
    assert user.request("DELETE", f"/api/budgets/reservations/{held}").status == 204
    assert user.request("DELETE", f"/api/budgets/reservations/{held}").status == 404
    assert state(user, budget) == (0, 0) and reserve(user, amount="0.5")["allowed"] is True


def test_reservation_expires_by_itself(user):
    budget = put(user, limit=1, hard=True)
    answer = reserve(user, amount=1, ttl_seconds=1)
    assert datetime.fromisoformat(answer["expires_at"].replace("Z", "+00:00"))
    wait_for(lambda: state(user, budget) == (0, 0), "the reservation to expire")
    assert user.request("DELETE", f"/api/budgets/reservations/{answer['reservation_id']}").status == 404
    assert reserve(user, amount=1)["allowed"] is True
    late = user.track(model="gpt-4", cost="0.25", reservation_id=answer["reservation_id"])
    assert late["cost"] == D("0.25"), "what was spent is recorded whatever became of its reservation"
    assert state(user, budget) == (D("0.25"), 1)


def test_reservation_is_settled_by_track_and_by_each_event_of_a_batch(user):
    budget = put(user, limit=10, hard=True)
    held = [reserve(user, amount=1)["reservation_id"] for _ in range(4)]
    assert state(user, budget) == (0, 4)
    user.track(model="gpt-4", cost="0.5", reservation_id=held[0])
    assert state(user, budget) == (D("0.5"), 3)
    answer = user.batch([{"model": "gpt-4", "cost": 2, "reservation_id": held[1]}, {"model": "gpt-4", "cost": 1},
                         {"model": "gpt-4", "cost": "0.25", "reservation_id": held[2]},
                         {"model": "gpt-4", "cost": 1, "reservation_id": "x"},
                         {"model": "gpt-4", "cost": "0.25", "reservation_id": held[2]}])
    assert (answer["accepted"], answer["rejected"]) == (4, 1)
    assert state(user, budget) == (D("4"), 1)
    for unknown in (held[0], SOME_ID):
        user.track(model="gpt-4", cost=1, reservation_id=unknown)
    assert state(user, budget) == (6, 1)


def test_reservation_id_is_no_part_of_the_idempotency_fingerprint(user):
    budget = put(user, limit=10, hard=True)
    event = {"model": "gpt-4", "cost": 1, "idempotency_key": "k"}
    first = user.track(reservation_id=reserve(user, amount=1)["reservation_id"], **event)
    again = user.track(status=200, **event)
    other = user.track(status=200, reservation_id=SOME_ID, **event)
    assert again["duplicate"] is other["duplicate"] is True and again["event_id"] == other["event_id"] == first["event_id"]
    assert state(user, budget) == (1, 0)


def test_reservation_for_a_repeat_is_settled_by_it(user, other):
    """Who has not got the answer asks once more for the amount and sends the call again: it is spent, so it is not held as well."""
    budget, theirs = put(user, limit=10, hard=True), put(other, limit=10, hard=True)
    event = {"model": "gpt-4", "cost": 1, "idempotency_key": "k"}
    user.track(reservation_id=reserve(user, amount=1)["reservation_id"], **event)
    again = user.track(status=200, reservation_id=reserve(user, amount=2)["reservation_id"], **event)
    assert again["duplicate"] is True and state(user, budget) == (1, 0)
    answer = user.batch([{"reservation_id": reserve(user, amount=2)["reservation_id"], **event}, event])
    assert answer["duplicates"] == 2 and state(user, budget) == (1, 0)
    # another call under the same key was not recorded: what is held for it stays, and so does what is somebody else's
    held = reserve(user, amount=3)["reservation_id"]
    user.track(status=422, reservation_id=held, **{**event, "cost": 5})
    foreign = reserve(other, amount=4)["reservation_id"]
    user.track(status=200, reservation_id=foreign, **event)
    assert state(user, budget) == (1, 3) and state(other, theirs) == (0, 4)


def test_reservation_settled_above_its_amount_is_recorded(user):
    budget = put(user, limit=1, hard=True)
    held = reserve(user, amount=1)["reservation_id"]
    user.track(model="gpt-4", cost=3, reservation_id=held)
    assert state(user, budget) == (3, 0)
    assert reserve(user, amount="0.1")["allowed"] is False


# ---- races ----

def reserve_until_refused(client, amount, after=lambda held: None):
    """Takes one amount after the other; returns how many."""
    taken = 0
    while True:
        answer = client.post("/api/budgets/check", {"amount": amount, "reserve": True, "model": "gpt-4"})
        if answer.status == 503:
            continue
        assert answer.status == 200, answer
        if not answer.json["allowed"]:
            return taken
        taken += 1
        after(answer.json["reservation_id"])


def test_64_clients_at_two_servers_hold_exactly_what_fits(pair):
    """floor(10 / 0.07) = 142, whoever is first."""
    user = sign_up(pair[0].port)
    budget = put(user, limit=10, hard=True)
    put(user, limit=1000, hard=True, scope={"model": "gpt-4"})
    taken = [0] * 64

    def work(i):
        client = Client(pair[i % 2].port, user.token)
        taken[i] = reserve_until_refused(client, "0.07")
        client.close()

    run(64, work)
    assert sum(taken) == 142 and state(user, budget) == (0, D("9.94"))
    user.close()


def test_64_clients_that_spend_what_they_held_never_pass_the_limit(pair):
    """Each reservation becomes an event of the same cost; in every instant spent and held are at most the limit."""
    user = sign_up(pair[0].port)
    budget = put(user, limit=10, hard=True)
    taken, done, seen = [0] * 64, threading.Event(), []

    def watch():
        client = Client(pair[1].port, user.token)
        while not done.is_set():
            seen.append(sum(state(client, budget)))
        client.close()

    watcher = threading.Thread(target=watch)
    watcher.start()

    def work(i):
        client = Client(pair[i % 2].port, user.token)
        taken[i] = reserve_until_refused(
            client, "0.07", lambda held: client.track(model="gpt-4", cost="0.07", reservation_id=held))
        client.close()

    try:
        run(64, work)
    finally:
        done.set()
        watcher.join()
    assert sum(taken) == 142 and state(user, budget) == (D("9.94"), 0)
    assert seen and max(seen) <= 10 and seen == sorted(seen), "settling neither loses nor doubles for a moment"
    user.close()


def test_reservation_goes_in_the_transaction_that_stores_its_event(server, user):
    """While somebody else holds the reservation's row its end must wait, and with it the event."""
    budget = put(user, limit=1, hard=True)
    held = reserve(user, amount=1)["reservation_id"]
    database, watcher = server.database(), server.database()
    query(database, "BEGIN")
    query(database, "SELECT FROM reservations WHERE id = %s FOR UPDATE", (held,))
    answers = []
    client = Client(server.port, user.token)
    thread = threading.Thread(target=lambda: answers.append(
        client.post("/api/events/track", {"model": "gpt-4", "cost": 1, "reservation_id": held})))
    thread.start()
    wait_for(lambda: query(watcher, "SELECT 1 FROM pg_locks WHERE NOT granted"), "the writer to wait")
    assert query(watcher, "SELECT count(*) FROM events WHERE user_id = %s", (user.user_id,)) == [(0,)]
    assert state(user, budget) == (0, 1)
    query(database, "ROLLBACK")
    thread.join()
    for connection in (database, watcher, client):
        connection.close()
    assert [a.status for a in answers] == [201] and state(user, budget) == (1, 0)


def test_kill_9_leaves_each_reservation_or_its_event_and_never_both(own_server, postgres):
    url = postgres.create("reservations-killed")
    settings = {"DATABASE_URL": url, "SECRET_KEY": new_secret()}
    server = own_server(**settings).start()
    user = sign_up(server.port)
    budget = put(user, limit=100000, hard=True)
    made, lock = [], threading.Lock()
    enough = threading.Event()

    def work(i):
        client = Client(server.port, user.token)
        try:
            for k in range(10 ** 6):
                held = reserve(client, amount="0.5")["reservation_id"]
                with lock:
                    made.append(held)
                    if len(made) >= 200:
                        enough.set()
                client.track(model="gpt-4", cost="0.5", reservation_id=held, idempotency_key=held)
        except Exception:  # the server is gone
            pass
        client.close()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    assert enough.wait(60)
    server.kill()
    for t in threads:
        t.join()
    server = own_server(**settings).start()
    database = server.database()
    wait_for(lambda: query(database, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start <"
                                     " (SELECT min(backend_start) FROM pg_stat_activity WHERE application_name LIKE 'llmlab%%'"
                                     " AND datname = current_database())")[0][0] == 0, "the end of the old transactions")
    held = {str(r[0]) for r in query(database, "SELECT id FROM reservations WHERE user_id = %s", (user.user_id,))}
    stored = {r[0] for r in query(database, "SELECT key FROM event_keys WHERE user_id = %s", (user.user_id,))}
    database.close()
    assert not held & stored and set(made) <= held | stored and len(stored) >= 100
    user = user.on(server.port)
    assert state(user, budget) == (D("0.5") * len(stored), D("0.5") * len(held))
    user.close()


def test_reservations_of_a_user_are_bounded(server, user):
    budget = put(user, limit=100, hard=True)
    database = server.database()
    query(database, "INSERT INTO reservations (user_id, id, amount, expires_at) SELECT %s, gen_random_uuid(), 0.001,"
                    " now() + interval '1 hour' FROM generate_series(1, 10000)", (user.user_id,))
    answer = user.post("/api/budgets/check", {"amount": 1, "reserve": True})
    assert answer.status == 409, answer
    assert check(user, amount=1)["allowed"] is True and state(user, budget) == (0, 10)
    query(database, "DELETE FROM reservations WHERE user_id = %s", (user.user_id,))
    database.close()
    assert reserve(user, amount=1)["allowed"] is True


def test_expired_reservations_are_tidied_up(server, user):
    reserve(user, amount=1, ttl_seconds=1)
    database = server.database()
    wait_for(lambda: query(database, "SELECT count(*) FROM reservations WHERE user_id = %s", (user.user_id,)) == [(0,)],
             "the purge")
    database.close()


def test_check_without_the_database_is_503_and_holds_nothing(own_server, postgres):
    url = postgres.create("reservations-away")
    server = own_server(DATABASE_URL=url, SECRET_KEY=new_secret()).start()
    server.expect_errors = True
    user = sign_up(server.port)
    budget = put(user, limit=1, hard=True)
    database = server.database()
    query(database, "BEGIN")
    query(database, "LOCK TABLE budgets IN ACCESS EXCLUSIVE MODE")
    began = time.monotonic()
    answer = user.post("/api/budgets/check", {"amount": 1, "reserve": True})
    assert answer.status == 503 and int(answer.header("Retry-After")) >= 1 and time.monotonic() - began < 30
    query(database, "ROLLBACK")
    database.close()
    assert state(user, budget) == (0, 0) and reserve(user, amount=1)["allowed"] is True
    user.close()
