"""Two servers on one database, many clients, shared keys: nothing is lost, doubled or blocked."""
import random
import threading
from decimal import Decimal as D

from llmlab_client import Client, sign_up
from llmlab_server import assert_rollups_equal_events, query

AT = "2026-06-10T12:{:02d}:00Z"


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


def test_two_servers_storing_the_same_keys_store_each_once(pair):
    """8 clients, 4 at each server, each sends all of 300 keyed events in its own order, singly and in batches."""
    user = sign_up(pair[0].port)
    events = [{"model": ("gpt-4", "gpt-4o", "claude-opus-4-5")[i % 3], "input_tokens": 100 + i, "output_tokens": i,
               "idempotency_key": f"shared-{i}", "timestamp": AT.format(i % 60), "project": f"p{i % 3}"} for i in range(300)]
    ids = [dict() for _ in range(8)]
    created = []

    def work(i):
        client = Client(pair[i % 2].port, user.token)
        order = events[:]
        random.Random(i).shuffle(order)
        while order:
            if len(order) % 2:
                part, order = order[:25], order[25:]
                answer = client.batch(part)
                assert answer["rejected"] == 0, answer
                for event, result in zip(part, answer["results"]):
                    ids[i][event["idempotency_key"]] = (result["event_id"], result["cost"])
                    created.append(not result["duplicate"])
            else:
                event = order.pop()
                answer = client.post("/api/events/track", event)
                assert answer.status in (200, 201), answer
                ids[i][event["idempotency_key"]] = (answer.json["event_id"], answer.json["cost"])
                created.append(answer.status == 201)
        client.close()

    run(8, work)
    assert all(seen == ids[0] and len(seen) == 300 for seen in ids), "every client is told the same ids and costs"
    assert created.count(True) == 300
    found = user.events(limit=500, **{"from": "2026-06-10", "to": "2026-06-10"})
    assert {e["event_id"] for e in found} == {i for i, _ in ids[0].values()} and len(found) == 300
    summary = user.ok("GET", "/api/costs/summary", query={"from": "2026-06-10", "to": "2026-06-10"})
    assert summary["total_cost"] == sum((D(c) for _, c in ids[0].values()), D(0))
    database = pair[0].database()
    assert_rollups_equal_events(database)
    database.close()
    user.close()


def test_two_servers_hot_rollup_row_loses_no_update(pair):
    """All events fall on one row of usage_model_15m; 3 users so that the writers' key order matters, too."""
    users = [sign_up(pair[i % 2].port) for i in range(3)]

    def work(i):
        for user in users[i % 3:] + users[:i % 3]:
            client = Client(pair[i % 2].port, user.token)
            for _ in range(20):
                client.track(model="gpt-4", input_tokens=1000, output_tokens=500, timestamp="2026-06-10T12:00:00Z")
            client.close()

    run(10, work)
    for user in users:
        summary = user.ok("GET", "/api/costs/summary", query={"from": "2026-06-10", "to": "2026-06-10"})
        assert (summary["call_count"], summary["total_cost"]) == (200, D("12")), "10 threads x 20 x 0.06"
        user.close()


def test_two_servers_new_months_at_once_make_their_partitions_once(pair):
    user = sign_up(pair[0].port)

    def work(i):
        client = Client(pair[i % 2].port, user.token)
        for month in range(1, 13):
            client.track(model="gpt-4", input_tokens=1, timestamp=f"20{16 + i % 4}-{month:02d}-15T00:00:00Z")
        client.close()

    run(8, work)
    database = pair[0].database()
    assert query(database, "SELECT count(*) FROM events WHERE user_id = %s", (user.user_id,)) == [(96,)]
    database.close()
    user.close()


def test_two_servers_logs_tell_of_no_deadlock(pair, postgres):
    assert "deadlock" not in postgres.log
    for server in pair:
        server.check_log(complete=False)


def test_many_connections_are_all_served(server, user):
    """300 connections at once, each twice: more than the 128 events at which the library's own loop stands still."""
    clients = [Client(server.port, user.token) for _ in range(300)]
    barrier = threading.Barrier(300)

    def work(i):
        barrier.wait()
        for _ in range(2):
            clients[i].track(model="gpt-4", input_tokens=1, timestamp="2026-06-10T12:00:00Z")
        clients[i].close()

    run(300, work)
    summary = user.ok("GET", "/api/costs/summary", query={"from": "2026-06-10", "to": "2026-06-10"})
    assert (summary["call_count"], summary["total_cost"]) == (600, D("0.018"))
