"""PgBouncer in transaction mode (DB_PREPARE=off): sessions belong to nobody, and still every number is exact and durable.

The databases here are hostile: their owner has switched synchronous_commit off, which would lose what was acknowledged, and has
given texts, times and isolation other forms. A trigger on every table writes down under which settings each change was made.
"""
import contextlib
import threading
from decimal import Decimal as D

import psycopg2
import pytest

from llmlab_client import Client, sign_up
from llmlab_server import Postgres, Server, assert_rollups_equal_events, connect, new_secret, query, wait_for
from pooler import Pooler
from test_faults import Load, check

HOSTILE = {"synchronous_commit": "off", "bytea_output": "escape", "default_transaction_isolation": "serializable",
           "TimeZone": "Asia/Tokyo", "DateStyle": "German, DMY", "IntervalStyle": "sql_standard"}
WATCH = """
CREATE SCHEMA watched;
CREATE TABLE watched.changes (place text, settings text, UNIQUE (place, settings));
CREATE FUNCTION watched.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO watched.changes VALUES (TG_TABLE_NAME, current_setting('synchronous_commit') || ' ' ||
        current_setting('transaction_isolation') || ' ' || current_setting('bytea_output') || ' ' || current_setting('statement_timeout'))
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition LOOP
        EXECUTE format('CREATE TRIGGER zz_watched AFTER INSERT OR UPDATE OR DELETE ON %s EXECUTE FUNCTION watched.note()', name);
    END LOOP;
END $$;
"""


@pytest.fixture(scope="module")
def postgres_of_its_own(no_process_left):
    one = Postgres().start()
    yield one
    one.stop()


@pytest.fixture
def pooler(postgres_of_its_own):
    one = Pooler(postgres_of_its_own).start()
    yield one
    one.stop()


def hostile(postgres, name):
    """A database whose defaults are bad; a connection past the pooler."""
    direct = connect(postgres.create(name))
    for setting, value in HOSTILE.items():
        query(direct, f'ALTER DATABASE "{name}" SET {setting} = %s', (value,))
    return direct


def server_of(pooler, name, **more):
    return Server(DATABASE_URL=pooler.url(name), DB_PREPARE="off", SECRET_KEY=new_secret(), **more)


def at_once(n, work):
    failures = []

    def guarded(i):
        try:
            work(i)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[0]


def test_everything_works_and_every_change_is_durable(postgres_of_its_own, pooler):
    direct = hostile(postgres_of_its_own, "everything")
    through = connect(pooler.url("everything"))
    assert query(through, "SHOW synchronous_commit") == [("off",)], "the database must be hostile, else this shows nothing"
    through.close()
    one = server_of(pooler, "everything")
    two = server_of(pooler, "everything")
    two.settings["SECRET_KEY"] = one.settings["SECRET_KEY"]
    with contextlib.ExitStack() as ends:
        for server in (one, two):
            server.start()
            ends.callback(server.stop)
        query(direct, WATCH)
        user = sign_up(one.port)
        assert one.client().post("/api/auth/signup", {"email": user.email, "password": "correct horse battery 7 staple", "name": "x"}
                                 ).status == 409
        budget = user.ok("POST", "/api/budgets", {"limit": 1, "hard": True, "thresholds": [50]}, status=201)
        assert user.ok("POST", "/api/budgets", {"limit": 2, "hard": True, "thresholds": [50]}, status=200)["id"] == budget["id"]
        key = user.ok("POST", "/api/keys", {"name": "k", "scope": "ingest"}, status=201)["key"]
        held = []

        def work(i):
            client = user.on((one, two)[i % 2].port)
            for n in range(20):
                name = f"w{i}-{n}"
                sent = {"model": "gpt-4", "input_tokens": 1, "output_tokens": 1, "customer": name, "idempotency_key": name,
                        "project": f"p{n % 3}", "tags": {"t": str(i)}}
                first = client.ok("POST", "/api/events/track", sent, status=201)
                again = user.on((two, one)[i % 2].port).ok("POST", "/api/events/track", sent, status=200)
                assert again["event_id"] == first["event_id"] and again["duplicate"]
            made = client.batch([{"model": "gpt-4o", "input_tokens": 100, "customer": f"b{i}-{n}"} for n in range(50)])
            assert made["accepted"] == 50
            by_key = client.with_token(key)
            by_key.track(model="gpt-4", input_tokens=1)
            while True:
                answer = client.ok("POST", "/api/budgets/check", {"model": "gpt-4", "amount": "0.1", "reserve": True})
                if not answer["allowed"]:
                    break
                held.append(answer["reservation_id"])

        at_once(16, work)
        # 16 workers: 20 calls of 0.00009, 50 of 0.00025, and one of 0.00003 by the key
        spent = 16 * (20 * D("0.00009") + 50 * D("0.00025") + D("0.00003"))
        for server in (one, two):
            assert user.on(server.port).ok("GET", "/api/costs/summary")["total_cost"] == spent
        # what was held fits: 2 - spent is 1.77072, so at most 17 of 0.1 (whoever came early saw less spent, never more)
        now = user.ok("GET", f"/api/budgets/{budget['id']}")
        assert now["current_spend"] == spent and now["reserved"] == len(held) * D("0.1")
        user.track(model="gpt-4", cost="0.1", reservation_id=held[0])
        assert user.ok("GET", f"/api/budgets/{budget['id']}")["reserved"] == (len(held) - 1) * D("0.1")
        user.track(model="gpt-4", cost="0.9")
        wait_for(lambda: user.ok("GET", "/api/alerts")["count"] == 1, "the alert", 30)
        gone = user.on(two.port)
        assert user.post("/api/auth/logout").status == 200
        assert user.get("/api/costs/summary").status == 401
        wait_for(lambda: gone.get("/api/costs/summary").status == 401, "the logout at the other server")
        assert_rollups_equal_events(direct)
        seen = query(direct, "SELECT place, settings FROM watched.changes")
        assert {p for p, _ in seen} > {"events", "event_keys", "usage_hour", "usage_sets", "users", "budgets", "budget_reservations",
                                       "alerts", "revoked_tokens"} & {n for n, in query(direct, "SELECT relname FROM pg_class")}
        assert {s.rsplit(" ", 1)[0] for _, s in seen} == {"on read committed hex"}, seen
        assert not {p for p, s in seen if s.endswith(" 0")}, "without a time limit"
    direct.close()


def test_sessions_of_the_pool_are_left_as_they_were(postgres_of_its_own, pooler):
    """Others may use the same pool: none of our time limits stays in it."""
    direct = hostile(postgres_of_its_own, "left")
    server = server_of(pooler, "left").start()
    user = sign_up(server.port)
    at_once(8, lambda i: [user.on(server.port).track(model="gpt-4", input_tokens=1) for _ in range(5)])
    server.stop()
    for _ in range(12):
        guest = connect(pooler.url("left"))
        assert query(guest, "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting("
                            "'synchronous_commit'), (SELECT count(*) FROM pg_prepared_statements)") == [("0", "0", "off", 0)]
        guest.close()
    direct.close()


def test_pooler_killed_under_load_loses_and_doubles_nothing(postgres_of_its_own, own_server):
    pooler = Pooler(postgres_of_its_own).start()
    direct = hostile(postgres_of_its_own, "killed")
    server = own_server(DATABASE_URL=pooler.url("killed"), DB_PREPARE="off", SECRET_KEY=new_secret(), REQUEST_TIMEOUT_SECONDS="5")
    server.expect_errors = True
    server.start()
    token = sign_up(server.port).token
    load = Load(server.folder, server.port, token)
    try:
        for _ in range(4):
            seen = load.acknowledged()
            wait_for(lambda: load.acknowledged() > seen + 150, "some load")
            pooler.kill()
            pooler.start()
    finally:
        load.stop()
    wait_for(server.is_ready, "readiness")
    check(server, token, load)
    server.stop()
    pooler.stop()
    direct.close()


def test_backends_killed_behind_the_pooler_lose_and_double_nothing(postgres_of_its_own, pooler, own_server):
    direct = hostile(postgres_of_its_own, "behind")
    server = own_server(DATABASE_URL=pooler.url("behind"), DB_PREPARE="off", SECRET_KEY=new_secret(), REQUEST_TIMEOUT_SECONDS="5")
    server.expect_errors = True
    server.start()
    token = sign_up(server.port).token
    load = Load(server.folder, server.port, token)
    try:
        for _ in range(6):
            seen = load.acknowledged()
            wait_for(lambda: load.acknowledged() > seen + 100, "some load")
            query(direct, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'behind' AND pid <> pg_backend_pid()")
    finally:
        load.stop()
    wait_for(server.is_ready, "readiness")
    check(server, token, load)
    server.stop()
    direct.close()


def test_another_database_behind_the_pooler_is_noticed(postgres_of_its_own, pooler, own_server):
    """A restored database takes the place of the one in use, and only the pooler's own connections are cut: what the server has
    seen in the old one (sets of projects and tags, months, keys of the sums) must not be believed of the new one."""
    direct = hostile(postgres_of_its_own, "place")
    server = own_server(DATABASE_URL=pooler.url("place"), DB_PREPARE="off", SECRET_KEY=new_secret())
    server.expect_errors = True
    server.start()
    user = sign_up(server.port)
    admin = connect(postgres_of_its_own.url("postgres"))
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"

    def instead(name, of):
        """Renames, while new connections are refused; the pooler's clients stay connected."""
        query(admin, f'ALTER DATABASE "{of}" ALLOW_CONNECTIONS off')
        query(admin, cut, (of,))
        wait_for(lambda: not query(admin, "SELECT 1 FROM pg_stat_activity WHERE datname = %s", (of,)), "its sessions to end")
        query(admin, f'ALTER DATABASE "{of}" RENAME TO "{name}"')
        query(admin, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS on')

    direct.close()
    # the backup: before the first event
    query(admin, "ALTER DATABASE place ALLOW_CONNECTIONS off")
    query(admin, cut, ("place",))
    wait_for(lambda: not query(admin, "SELECT 1 FROM pg_stat_activity WHERE datname = 'place'"), "its sessions to end")
    query(admin, "CREATE DATABASE backup TEMPLATE place")
    query(admin, "ALTER DATABASE place ALLOW_CONNECTIONS on")
    wait_for(server.is_ready, "readiness")
    for _ in range(3):
        wait_for(lambda: user.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1, "project": "p", "customer": "c",
                                                         "tags": {"a": "b"}}).status == 201, "events", 15)
    instead("old", of="place")
    instead("place", of="backup")
    wait_for(lambda: user.post("/api/events/track", {"model": "gpt-4", "input_tokens": 1, "project": "p", "customer": "c",
                                                     "tags": {"a": "b"}}).status == 201, "an event in the new one", 15)
    wait_for(server.is_ready, "readiness")
    again = connect(postgres_of_its_own.url("place"))
    stored = query(again, "SELECT count(*) FROM events")[0][0]
    assert stored >= 1
    assert_rollups_equal_events(again)
    assert query(again, "SELECT count(*) FROM events e WHERE NOT EXISTS (SELECT 1 FROM usage_sets s WHERE (s.user_id, s.id) ="
                        " (e.user_id, e.set_id))") == [(0,)]
    rows = user.ok("GET", "/api/costs/breakdown", query={"group_by": "customer"})["rows"]
    assert [row["total_cost"] for row in rows] == [stored * D("0.00003")], rows
    again.close()
    admin.close()
    server.stop()
