"""The database is set back (restored in place) under running servers: what they remember of it must not make a number wrong."""
import contextlib
import subprocess
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from llmlab_client import PASSWORD, Client, sign_up, unique
from llmlab_server import Server, assert_rollups_equal_events, connect, new_secret, query, wait_for

DAY = "2026-03-02"
RANGE = {"from": "2026-03-01", "to": "2026-03-31"}


@pytest.fixture(scope="module")
def two(postgres):
    """Two servers on a database of their own, which is set back again and again."""
    settings = {"DATABASE_URL": postgres.create(unique("setback")), "SECRET_KEY": new_secret()}
    with contextlib.ExitStack() as ends:
        servers = Server(**settings), Server(**settings)
        for one in servers:
            one.expect_errors = True  # tables are away while they are restored
            one.start()
            ends.callback(one.stop)
        yield servers
        database = servers[0].database()
        assert_rollups_equal_events(database)
        database.close()


class Backup:
    """What pg_dump says, and putting it back in one transaction while the servers run."""

    def __init__(self, postgres, server):
        self.postgres, self.url = postgres, server.settings["DATABASE_URL"]
        self.sql = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;\n" + self._run("pg_dump", "--dbname", self.url)

    def _run(self, program, *arguments, text=None):
        done = subprocess.run([self.postgres.bin / program, *arguments], input=text, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def put_back(self):
        self._run("psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set", "ON_ERROR_STOP=1", "--dbname", self.url,
                  text=self.sql)


def call(**more):
    return {"provider": "openai", "model": "gpt-4", "input_tokens": 1000, "timestamp": DAY + "T10:00:00Z", **more}


def set_price(user, per_million):
    return user.ok("POST", "/api/pricing/overrides",
                   {"provider": "openai", "model": "gpt-4", "per_million_tokens": {"input": per_million}}, status=201)["id"]


def estimate(user):
    """What a call would cost now; None while that is not known."""
    answer = user.post("/api/pricing/estimate", call())
    assert answer.status in (200, 503), answer
    return answer.json["cost"] if answer.status == 200 else None


def until_costs(user, cost):
    wait_for(lambda: estimate(user) == Decimal(cost), f"a price that makes {cost}")


def change_noted(two, change):
    """Makes a change, and waits until both servers have noted in the database that they know of it."""
    database = two[0].database()
    since = query(database, "SELECT clock_timestamp()")[0][0]
    result = change()
    wait_for(lambda: query(database, "SELECT count(*) FROM history_marks WHERE moved_at >= %s", (since,))[0][0] >= 2, "both marks")
    database.close()
    return result


def by_customer(user):
    rows = user.ok("GET", "/api/costs/breakdown", query={**RANGE, "group_by": "customer"})["rows"]
    return {row["customer"]: row["call_count"] for row in rows}


def test_own_prices_are_those_of_the_restored_database(two, postgres):
    users = [sign_up(two[0].port)]
    users.append(users[0].on(two[1].port))
    first = set_price(users[0], "1")
    for user in users:
        until_costs(user, "0.001")
    backup = Backup(postgres, two[0])
    users[0].ok("DELETE", f"/api/pricing/overrides/{first}", status=204)
    for price in ("2", "3", "4"):
        last = set_price(users[0], price)
        users[0].ok("DELETE", f"/api/pricing/overrides/{last}", status=204)
    change_noted(two, lambda: set_price(users[0], "5"))
    for user in users:
        until_costs(user, "0.005")
    backup.put_back()
    for user in users:
        until_costs(user, "0.001")
        assert user.ok("POST", "/api/events/track", call(), status=201)["cost"] == Decimal("0.001")
    # the restored database gives the numbers of what was lost to other prices
    users[0].ok("DELETE", f"/api/pricing/overrides/{first}", status=204)
    set_price(users[0], "7")
    for user in users:
        until_costs(user, "0.007")


def test_prices_that_were_first_set_after_the_backup_are_gone(two, postgres):
    user = sign_up(two[0].port)
    beside = user.on(two[1].port)
    backup = Backup(postgres, two[0])
    change_noted(two, lambda: set_price(user, "5"))
    for one in (user, beside):
        until_costs(one, "0.005")
    backup.put_back()
    for one in (user, beside):
        until_costs(one, "0.03")  # the catalogue's


def test_sets_that_were_lost_are_written_again(two, postgres):
    """Without a pause: the very first event after the restore must not rely on a set that is not there."""
    users = [sign_up(two[0].port)]
    users.append(users[0].on(two[1].port))
    for user in users:
        user.ok("POST", "/api/events/track", call(customer="before"), status=201)
    backup = Backup(postgres, two[0])
    for user in users:
        user.ok("POST", "/api/events/track", call(customer="lost"), status=201)
    backup.put_back()
    assert by_customer(users[0]) == {"before": 2}
    for user in users:
        user.ok("POST", "/api/events/track", call(customer="lost"), status=201)
        user.ok("POST", "/api/events/track", call(customer="before"), status=201)
    assert by_customer(users[0]) == {"before": 4, "lost": 2}
    database = two[0].database()
    assert_rollups_equal_events(database)
    database.close()


SUMS = ("usage_model_15m", "usage_model_day", "usage_model_week", "usage_set_model_15m", "usage_set_model_day", "usage_set_day", "usage_set_week",
        "usage_hour", "usage_day")


def test_explanations_are_of_what_is_there_after_rows_were_put_back(two):
    """Tables are emptied and filled again; then the same calls at the same cost come from somebody else."""
    user = sign_up(two[0].port)
    today = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)

    def spend(days, cost, **more):
        return [call(cost=cost, timestamp=(today - timedelta(days=n)).isoformat(), **more) for n in days]

    def customers():
        """Who is said to be behind the unusual day."""
        found = user.ok("GET", "/api/recommendations/anomalies")["anomalies"]
        return {c["value"] for a in found for c in a["contributors"] if c["dimension"] == "customer"}

    user.batch(spend(range(1, 41), "1", customer="usual"))
    database = two[0].database()
    for table in ("events", *SUMS):
        query(database, f"CREATE TABLE saved_{table} AS TABLE {table}")
    user.batch(spend([2], "100", customer="somebody"))
    assert customers() == {"somebody"} == customers()
    database.autocommit = False
    for table in ("events", *SUMS):
        query(database, f"TRUNCATE {table}")
        query(database, f"INSERT INTO {table} SELECT * FROM saved_{table}")
        query(database, f"DROP TABLE saved_{table}")
    database.commit()
    database.close()
    assert customers() == set()
    user.batch(spend([2], "100", customer="another"))
    assert customers() == {"another"}


def test_sets_are_relied_on_while_the_database_stays_what_it_is(two):
    """The check before a set is not inserted again costs nothing where nothing was set back."""
    user = sign_up(two[0].port)
    for _ in range(3):
        user.ok("POST", "/api/events/track", call(customer="c"), status=201)
    database = two[0].database()
    marks = query(database, "SELECT holder, mark FROM history_marks ORDER BY holder")
    for _ in range(3):
        user.ok("POST", "/api/events/track", call(customer="c"), status=201)
    assert query(database, "SELECT holder, mark FROM history_marks ORDER BY holder") == marks
    database.close()


def test_sessions_and_keys_are_those_of_the_restored_database(two, postgres):
    user = sign_up(two[0].port)
    kept = user.ok("POST", "/api/keys", {"name": "kept", "scope": "full"}, status=201)
    backup = Backup(postgres, two[0])
    user.ok("DELETE", f"/api/keys/{kept['id']}", status=204)
    lost = user.ok("POST", "/api/keys", {"name": "lost", "scope": "full"}, status=201)
    changed = change_noted(two, lambda: user.ok("POST", "/api/auth/password",
                                                {"current_password": PASSWORD, "new_password": "another long password 7"}))
    for server in two:
        wait_for(lambda server=server: Client(server.port, user.token).get("/api/auth/me").status == 401, "the end of the session")
        assert Client(server.port, lost["key"]).get("/api/costs/summary").status == 200
        assert Client(server.port, kept["key"]).get("/api/costs/summary").status == 401
        assert Client(server.port, changed["access_token"]).get("/api/auth/me").status == 200
    backup.put_back()
    for server in two:
        wait_for(lambda server=server: Client(server.port, kept["key"]).get("/api/costs/summary").status == 200, "the key to be back")
        wait_for(lambda server=server: Client(server.port, lost["key"]).get("/api/costs/summary").status == 401, "the key to be gone")
        # the password of before holds again, and what it gives is believed
        token = Client(server.port).ok("POST", "/api/auth/login", {"email": user.email, "password": PASSWORD})["access_token"]
        assert Client(server.port, token).get("/api/auth/me").status == 200
