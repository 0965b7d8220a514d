"""The database is set back (restored in place) under running servers: what they remember of it must not make a number wrong."""
import contextlib
import subprocess
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
    set_price(users[0], "5")
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
    set_price(user, "5")
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
    changed = user.ok("POST", "/api/auth/password", {"current_password": PASSWORD, "new_password": "another long password 7"})
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
