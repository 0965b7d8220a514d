"""What docs/operations.md says about backups, restoring and upgrading, done while clients go on: nothing that a backup had to hold is
missing, and every sum equals its events."""
import hashlib
import shutil
import threading
from decimal import Decimal as D

import pytest

from llmlab_client import Client, sign_up
from llmlab_server import (ROOT, Postgres, Server, assert_rollups_equal_events, connect, new_secret, query, wait_for)
from test_check import Checked

CLIENTS = 4


class Load:
    """Threads that track keyed events until told to stop, and what was acknowledged when."""

    def __init__(self, port, token):
        self.ends, self.acked, self.wrong = threading.Event(), {}, []
        self.threads = [threading.Thread(target=self._run, args=(port, token, i)) for i in range(CLIENTS)]
        for t in self.threads:
            t.start()

    def _run(self, port, token, worker):
        client = Client(port, token)
        n = 0
        while not self.ends.is_set():
            name = f"w{worker}-{n}"
            n += 1
            try:
                answer = client.post("/api/events/track", event_of(name))
            except OSError:
                continue
            if answer.status == 201:
                self.acked[name] = answer.json["event_id"]
            elif answer.status != 503:
                self.wrong.append(answer)
        client.close()

    def wait(self, more):
        enough = len(self.acked) + more
        wait_for(lambda: len(self.acked) >= enough, "some load")

    def stop(self):
        self.ends.set()
        for t in self.threads:
            t.join()
        assert not self.wrong, self.wrong[0]


def event_of(name):
    return {"model": "gpt-4", "input_tokens": 1, "customer": name, "idempotency_key": name, "project": "p" + name[-1], "tags": {"t": name[1]}}


def check_restored(url, secret, token, must_have):
    """A server on the restored database: all that must be there is, nothing counts twice, and work goes on."""
    assert Checked("--sums", DATABASE_URL=url, SECRET_KEY=secret).about("sums")[0][0] == "ok"
    server = Server(DATABASE_URL=url, SECRET_KEY=secret).start()
    user = Client(server.port, token)
    database = connect(url)
    stored = dict(query(database, "SELECT customer, id::text FROM events"))
    assert {name: stored.get(name) for name in must_have} == must_have
    for name in list(must_have)[::7]:
        again = user.ok("POST", "/api/events/track", event_of(name), status=200)
        assert again["duplicate"] and again["event_id"] == must_have[name]
    user.track(status=201, **event_of("w0-new"))
    assert user.ok("GET", "/api/costs/summary")["total_cost"] == (len(stored) + 1) * D("0.00003")
    assert_rollups_equal_events(database)
    database.close()
    server.stop()


@pytest.fixture
def postgres_of_its_own(no_process_left):
    one = Postgres()
    yield one
    if one.process is not None:
        one.stop()


def test_dump_under_load_is_whole(postgres_of_its_own):
    postgres = postgres_of_its_own.start()
    secret = new_secret()
    server = Server(DATABASE_URL=postgres.create("live"), SECRET_KEY=secret).start()
    user = sign_up(server.port)
    load = Load(server.port, user.token)
    load.wait(200)
    before = dict(load.acked)
    postgres._run("pg_dump", "--format=custom", f"--file={postgres.folder}/backup", postgres.url("live"))
    load.wait(50)
    load.stop()
    server.stop()
    restored = postgres.create("restored")
    postgres._run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={restored}", postgres.folder / "backup")
    check_restored(restored, secret, user.token, before)


def test_base_backup_and_log_bring_back_every_acknowledged_event(postgres_of_its_own):
    postgres = postgres_of_its_own
    archive = postgres.folder / "archive"
    archive.mkdir(mode=0o700)
    if postgres.owner:
        shutil.chown(archive, postgres.owner["user"], postgres.owner["group"])
    postgres.options += ["-c", "archive_mode=on", "-c", f"archive_command=cp %p {archive}/part && mv {archive}/part {archive}/%f", "-c", "wal_level=replica"]
    postgres.start()
    secret = new_secret()
    server = Server(DATABASE_URL=postgres.create("live"), SECRET_KEY=secret).start()
    user = sign_up(server.port)
    load = Load(server.port, user.token)
    load.wait(100)
    postgres._run("pg_basebackup", "-D", postgres.folder / "base", "-h", postgres.folder, "-U", "postgres", "--checkpoint=fast")
    load.wait(200)  # only the log has these
    load.stop()
    server.stop()
    admin = connect(postgres.url("postgres"))
    (last,), = query(admin, "SELECT pg_walfile_name(pg_switch_wal())")
    admin.close()
    wait_for(lambda: (archive / last).exists(), "the last file of the log in the archive")
    postgres.stop(immediate=True)
    shutil.rmtree(postgres.pgdata)  # the disk is lost
    (postgres.folder / "base").rename(postgres.pgdata)
    (postgres.pgdata / "recovery.signal").touch()
    postgres.options += ["-c", f"restore_command=cp {archive}/%f %p"]
    postgres.spawn()
    wait_for(postgres.answers, "recovery", 300)
    admin = connect(postgres.url("postgres"))
    wait_for(lambda: query(admin, "SELECT pg_is_in_recovery()") == [(False,)], "the end of recovery")
    admin.close()
    check_restored(postgres.url("live"), secret, user.token, load.acked)


def test_restored_copy_takes_the_place_of_the_database_in_use(postgres_of_its_own):
    """As described: stop the servers, swap the names, start them. What a server kept in memory (own prices, sets) is read anew."""
    postgres = postgres_of_its_own.start()
    secret = new_secret()
    server = Server(DATABASE_URL=postgres.create("live"), SECRET_KEY=secret).start()
    user = sign_up(server.port)
    user.track(model="gpt-4", input_tokens=1, project="a", customer="old")
    postgres._run("pg_dump", "--format=custom", f"--file={postgres.folder}/backup", postgres.url("live"))
    user.ok("POST", "/api/pricing/overrides", {"provider": "openai", "model": "gpt-4", "per_million_tokens": {"input": "1000", "output": "1000"}}, status=201)
    user.track(model="gpt-4", input_tokens=1, project="b", customer="new")
    restored = postgres.create("restored")
    postgres._run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={restored}", postgres.folder / "backup")
    server.stop()
    admin = connect(postgres.url("postgres"))
    query(admin, "ALTER DATABASE live RENAME TO wrecked")
    query(admin, "ALTER DATABASE restored RENAME TO live")
    admin.close()
    server.start()
    user = user.on(server.port)
    assert user.track(model="gpt-4", input_tokens=1, project="b", customer="new")["cost"] == D("0.00003")
    rows = user.ok("GET", "/api/costs/breakdown", query={"group_by": "customer"})["rows"]
    assert sorted(row["customer"] for row in rows) == ["new", "old"]
    with server.database() as database:
        assert_rollups_equal_events(database)
    server.stop()


def old_database(url, versions):
    """As a program that knew only the first migrations left it."""
    database = connect(url)
    files = sorted((ROOT / "sql/migrations").glob("*.sql"))[:versions]
    query(database, "CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
                    " applied_at timestamptz NOT NULL DEFAULT now())")
    for number, file in enumerate(files, 1):
        query(database, file.read_text())
        query(database, "INSERT INTO schema_migrations VALUES (%s, %s, %s)",
              (number, file.name, hashlib.sha256(file.read_bytes()).hexdigest()))
    return database


def test_upgrade_from_the_third_schema_keeps_every_number(postgres_of_its_own):
    postgres = postgres_of_its_own.start()
    url, secret = postgres.create("old"), new_secret()
    database = old_database(url, 3)
    query(database, """
        INSERT INTO users (id, email, name, password_hash)
            SELECT ('00000000-0000-4000-8000-00000000000' || u)::uuid, u || '@example.com', 'Test', '$argon2id$test' FROM generate_series(1, 3) u;
        SELECT events_ensure_partition('2026-03-01Z'), events_ensure_partition('2026-04-01Z');
        INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens, output_tokens, cache_read_tokens,
            cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, pricing_status, price_rule, catalogue_version, service_tier,
            project, customer, tags, status)
        SELECT ('00000000-0000-4000-8000-00000000000' || 1 + g % 3)::uuid, '2026-03-01Z'::timestamptz + g * interval '17 minutes',
            gen_random_uuid(), now(), 'openai', 'm' || g % 5, g, g, 0, 0, 0, 0, g * 0.000000000000000013, 'priced', 'test', 'test', 'standard',
            CASE WHEN g % 4 > 0 THEN 'p' || g % 4 END, CASE WHEN g % 3 > 0 THEN 'c' || g % 3 END,
            CASE WHEN g % 2 > 0 THEN jsonb_build_object('k', g % 6) END, 'success' FROM generate_series(1, 4000) g;
        INSERT INTO usage_15m SELECT user_id, date_bin('15 minutes', occurred_at, 'epoch'), provider, model, coalesce(project, ''), count(*),
            0, 0, sum(input_tokens), sum(output_tokens), 0, 0, 0, sum(cost) FROM events GROUP BY 1, 2, 3, 4, 5""")
    before = query(database, "SELECT user_id, count(*), sum(cost), sum(input_tokens) FROM events GROUP BY 1 ORDER BY 1")
    server = Server(DATABASE_URL=url, SECRET_KEY=secret).start()  # migrates
    user = sign_up(server.port)
    user.track(model="gpt-4", input_tokens=1)
    server.stop()
    assert Checked("--sums", DATABASE_URL=url, SECRET_KEY=secret).about("sums")[0][0] == "ok"
    for sums in ("usage_model_15m", "usage_model_day", "usage_hour"):
        after = query(database, f"SELECT user_id, sum(calls)::bigint, sum(cost), sum(input_tokens) FROM {sums} WHERE user_id <> %s"
                                " GROUP BY 1 ORDER BY 1", (user.user_id,))
        assert after == before, sums
    database.close()
