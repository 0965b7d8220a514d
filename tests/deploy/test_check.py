"""llmlab check: what is wrong is found and told, nothing is changed, and the exit code says whether there were failures."""
import re
import subprocess

import pytest

from llmlab_client import sign_up
from llmlab_server import Server, connect, environment, find_binary, make_folder, new_secret, query

LINE = re.compile(r"(ok|warn|FAIL) +(SECRET_KEY|open files|\w+) +(.+)")


class Checked:
    def __init__(self, *arguments, **settings):
        done = subprocess.run([find_binary(), "check", *arguments], env=environment(**settings), cwd=make_folder(),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        self.code, self.text, self.log = done.returncode, done.stdout, done.stderr
        lines = done.stdout.splitlines()
        self.found = [LINE.fullmatch(line).groups() for line in lines[:-1]]
        if lines:
            warnings, failures = map(int, re.fullmatch(r"(\d+) warnings, (\d+) failures", lines[-1]).groups())
            assert (warnings, failures) == (len(self.of("warn")), len(self.of("FAIL"))), self.text
            assert self.code == (1 if failures else 0)

    def of(self, verdict):
        return [(subject, text) for v, subject, text in self.found if v == verdict]

    def about(self, subject):
        return [(verdict, text) for verdict, s, text in self.found if s == subject]


@pytest.fixture(scope="module")
def settings(postgres):
    """A database with some events in it, and the key of its servers."""
    made = {"DATABASE_URL": postgres.create("check"), "SECRET_KEY": new_secret()}
    server = Server(**made).start()
    user = sign_up(server.port)
    for i in range(5):
        user.track(model="gpt-4", input_tokens=i + 1, project=f"p{i % 2}", timestamp=f"2026-0{i + 1}-03T10:00:00Z")
    server.stop()
    return made


@pytest.fixture
def database(settings):
    one = connect(settings["DATABASE_URL"])
    yield one
    one.close()


def contents(database):
    tables = [name for name, in query(database, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")]
    return {t: query(database, f'SELECT md5(string_agg(t::text, E\'\\n\' ORDER BY t::text)) FROM "{t}" t') for t in tables}


def test_good_database_has_no_failure_and_is_not_changed(settings, database):
    before = contents(database)
    seen = Checked("--sums", **settings)
    assert seen.of("FAIL") == [] and seen.code == 0, seen.text
    assert ("ok", "every sum equals its events (0 differences)") in seen.about("sums")
    assert seen.about("schema")[0][0] == "ok" and seen.about("durability")[0][0] == "ok"
    assert ("ok", "synchronous_commit is on in our sessions") in seen.about("durability")
    assert contents(database) == before
    assert settings["SECRET_KEY"] not in seen.text + seen.log


def test_without_sums_the_events_are_not_read(settings):
    assert Checked(**settings).about("sums") == []


def test_wrong_argument_is_refused(settings):
    done = subprocess.run([find_binary(), "check", "--everything"], env=environment(**settings), capture_output=True, text=True)
    assert done.returncode == 2 and "usage" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("key", ["change-me-change-me-change-me-change-me", "a" * 64])
def test_weak_secret_is_found(settings, key):
    (finding,) = Checked(**{**settings, "SECRET_KEY": key}).about("SECRET_KEY")
    assert finding[0] == "FAIL" and key not in finding[1]


def test_missing_secret_is_found(settings):
    assert Checked(DATABASE_URL=settings["DATABASE_URL"]).about("SECRET_KEY")[0][0] == "FAIL"


def test_key_before_is_told(settings):
    seen = Checked(**settings, SECRET_KEY_PREVIOUS=new_secret())
    assert len(seen.about("SECRET_KEY")) == 2 and seen.code == 0


def test_unreadable_prices_are_found(settings):
    seen = Checked(**settings, LLMLAB_PRICING_FILE="/nonexistent.json")
    assert seen.about("prices")[0][0] == "FAIL" and seen.about("database")[0][0] == "ok"


def test_database_that_is_away_is_told(settings):
    seen = Checked(DATABASE_URL="postgresql://nobody:geheim7@127.0.0.1:1/none", SECRET_KEY=settings["SECRET_KEY"])
    assert seen.of("FAIL")[0][0] == "database" and "cannot be used" in seen.of("FAIL")[0][1]
    assert "geheim7" not in seen.text + seen.log


def test_new_database_will_be_migrated_and_is_not_now(postgres, settings):
    url = postgres.create("checknew")
    seen = Checked("--sums", DATABASE_URL=url, SECRET_KEY=settings["SECRET_KEY"])
    assert seen.code == 0 and {s for s, _ in seen.of("warn")} - {"commit"} == {"schema", "sums"}  # a busy disk is slow
    one = connect(url)
    assert query(one, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]
    one.close()


def test_older_and_newer_schemas_are_told_apart(settings, database):
    ((latest, name, checksum),) = query(database, "DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM"
                                                  " schema_migrations) RETURNING version, name, checksum")
    older = Checked("--sums", **settings)
    query(database, "INSERT INTO schema_migrations VALUES (%s, %s, %s), (%s, 'later', 'x')", (latest, name, checksum, latest + 1))
    newer = Checked("--sums", **settings)
    query(database, "DELETE FROM schema_migrations WHERE version > %s", (latest,))
    assert older.code == 0 and older.about("schema")[0][0] == "warn" and f"version {latest - 1};" in older.text
    assert newer.about("schema")[0][0] == "FAIL" and f"version {latest + 1} is newer" in newer.text
    assert [c.about("sums")[0][0] for c in (older, newer)] == ["warn", "warn"]
    assert Checked(**settings).code == 0


@pytest.mark.parametrize("spoil,mend", [
    ("UPDATE usage_hour SET cost = cost + 0.000000000000000001 WHERE bucket = '2026-02-03 10:00Z'",
     "UPDATE usage_hour SET cost = cost - 0.000000000000000001 WHERE bucket = '2026-02-03 10:00Z'"),
    ("UPDATE usage_set_day SET input_tokens = input_tokens + 1 WHERE bucket = '2026-03-03Z'",
     "UPDATE usage_set_day SET input_tokens = input_tokens - 1 WHERE bucket = '2026-03-03Z'"),
    ("UPDATE usage_model_15m SET bucket = bucket + interval '15 minutes' WHERE bucket = '2026-04-03 10:00Z'",
     "UPDATE usage_model_15m SET bucket = bucket - interval '15 minutes' WHERE bucket = '2026-04-03 10:15Z'"),
    ("UPDATE events SET cost = cost * 2 WHERE occurred_at = '2026-05-03 10:00Z'",
     "UPDATE events SET cost = cost / 2 WHERE occurred_at = '2026-05-03 10:00Z'"),
])
def test_drift_is_found(settings, database, spoil, mend):
    query(database, spoil)
    with_drift = Checked("--sums", **settings)
    query(database, mend)
    assert with_drift.code == 1 and "differ from their events" in with_drift.about("sums")[0][1], with_drift.text
    assert Checked("--sums", **settings).code == 0


def test_database_that_takes_no_writes_is_told(postgres, settings, database):
    query(database, 'ALTER DATABASE "check" SET default_transaction_read_only = on')
    seen = Checked(**settings)
    query(database, 'ALTER DATABASE "check" RESET default_transaction_read_only')
    assert ("FAIL", "takes no writes (a replica, or default_transaction_read_only)") in seen.about("database"), seen.text


def test_database_of_another_encoding_is_told(postgres, settings):
    admin = connect(postgres.url("postgres"))
    query(admin, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    admin.close()
    seen = Checked(DATABASE_URL=postgres.url("latin"), SECRET_KEY=settings["SECRET_KEY"])
    assert any("encoding" in text for verdict, text in seen.about("database") if verdict == "FAIL"), seen.text


def test_through_a_pooler_too(postgres, settings):
    from pooler import Pooler
    pooler = Pooler(postgres).start()
    seen = Checked("--sums", DATABASE_URL=pooler.url("check"), SECRET_KEY=settings["SECRET_KEY"], DB_PREPARE="off")
    pooler.stop()
    assert seen.code == 0 and seen.about("sums")[0][0] == "ok", seen.text


def test_folder_of_a_running_server_is_left_alone(server):
    seen = Checked("--sums", LLMLAB_DATA_DIR=server.data_dir)
    assert seen.of("FAIL")[0][0] == "database" and "uses" in seen.log
    assert server.is_ready()
