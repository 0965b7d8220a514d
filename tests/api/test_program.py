"""The program itself: arguments, settings, secrets, and how several of them start."""
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import threading
from decimal import Decimal as D

import pytest

from llmlab_client import sign_up
from llmlab_server import (ROOT, assert_rollups_equal_events, connect, environment, find_binary, make_folder, new_secret,
                           processes_in, query, wait_for)

CONFIG = re.compile(r'CONFIG\((\w+), (\w+), (\w+), "([^"]*)", (-?\d+), (-?\d+)')


def run(*arguments, cwd=None, timeout=60, **settings):
    done = subprocess.run([find_binary(), *arguments], env=environment(**settings), cwd=cwd or make_folder(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return done


def settings_table():
    return CONFIG.findall((ROOT / "include/llmlab/app/config.def").read_text())


# ---- arguments ----

def test_help_names_every_command_and_setting_with_its_range():
    for flag in ("--help", "-h"):
        done = run(flag)
        assert done.returncode == 0 and done.stderr == ""
        for name, _, kind, default, low, high in settings_table():
            assert re.search(rf"\b{name}\b", done.stdout), name
            if kind == "NUMBER":
                assert high in done.stdout and default in done.stdout, name
        for name in ("serve", "migrate", "import", "healthcheck"):
            assert re.search(rf"^ *{name}\b", done.stdout, re.M), name


def test_version_is_that_of_the_build():
    version = re.search(r"project\(llmlab VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    for flag in ("--version", "-V"):
        done = run(flag)
        assert done.returncode == 0 and done.stdout == f"llmlab {version}\n"


@pytest.mark.parametrize("arguments", [["--bogus"], ["nonsense"], ["serve", "x"], ["healthcheck", "x"], ["import"]])
def test_arguments_wrong_end_with_2_and_a_message(arguments):
    done = run(*arguments)
    assert done.returncode == 2 and done.stderr.startswith("llmlab: "), done


def test_env_example_lists_every_setting_commented_out():
    text = run("--env-example").stdout
    for name, *_ in settings_table():
        assert re.search(rf"^# ?{name}=", text, re.M), name
    assert not [line for line in text.splitlines() if line and not line.startswith("#")]


# ---- settings ----

def test_settings_wrong_are_all_told_at_once_with_their_range():
    wrong = {name: (low, high) for name, _, kind, _, low, high in settings_table() if kind == "NUMBER"}
    for value in ("x", "-1", "1.5", "99999999999999999999", "0x10", " 5", "5 "):
        done = run(**{name: value for name in wrong})
        assert done.returncode == 1, value
        for name, (low, high) in wrong.items():
            line = [x for x in done.stderr.splitlines() if name in x]
            assert line and low in line[0] and high in line[0], (value, name, done.stderr)
    done = run(LOG_LEVEL="loud", RATE_LIMITS="maybe", LOG_FORMAT="xml")
    assert done.returncode == 1
    for name, word in (("LOG_LEVEL", "debug"), ("RATE_LIMITS", "off"), ("LOG_FORMAT", "json")):
        assert [x for x in done.stderr.splitlines() if name in x and word in x], done.stderr


def test_settings_just_beyond_their_range_are_refused():
    for name, _, kind, _, low, high in settings_table():
        if kind != "NUMBER":
            continue
        done = run(**{name: str(int(high) + 1)})
        assert done.returncode == 1 and name in done.stderr, name


def test_dotenv_is_read_but_the_environment_wins_and_secrets_are_not_shown():
    folder = make_folder()
    (folder / ".env").write_text("# comment\nexport PORT=70000\nLOG_LEVEL='loud'\nBOGUS_SETTING=1\nSECRET_KEY=\"short one\"\n")
    done = run(cwd=folder, PORT=None)  # the default stands aside for the file
    assert done.returncode == 1 and "PORT" in done.stderr and "LOG_LEVEL" in done.stderr and "BOGUS_SETTING" in done.stderr
    assert "short one" not in done.stderr
    done = run(cwd=folder, PORT="0")
    assert "PORT" not in done.stderr and "LOG_LEVEL" in done.stderr


# ---- secrets ----

@pytest.mark.parametrize("key", ["", "short", "x" * 31, "a" * 64, "abc" * 20, "change-me-change-me-change-me-change-me",
                                 "your-super-secret-key-change-in-production", "secret" * 8])
def test_secret_key_weak_or_missing_is_refused_with_database_url(postgres, key):
    done = run(DATABASE_URL=postgres.url("postgres"), SECRET_KEY=key)
    assert done.returncode == 1 and "SECRET_KEY" in done.stderr, done
    assert "openssl rand" in done.stderr
    assert not key or key not in done.stderr


def test_secret_key_made_is_private_and_kept(server):
    path = server.data_dir / "secret_key"
    mode = path.stat()
    assert stat.S_IMODE(mode.st_mode) == 0o600 and len(path.read_text().strip()) >= 64
    assert path.read_text().strip() not in server.log


def test_secret_key_file_that_others_can_read_is_refused():
    folder = make_folder()
    data = folder / "data"
    data.mkdir(mode=0o755)
    (data / "secret_key").write_text(new_secret() + "\n")
    (data / "secret_key").chmod(0o644)
    done = run(LLMLAB_DATA_DIR=str(data))
    assert done.returncode == 1 and "secret_key" in done.stderr, done


# ---- databases ----

def test_postgres_programs_of_another_version_missing_are_named_with_what_to_install():
    folder = make_folder()
    cluster = folder / "data" / "postgres"
    cluster.mkdir(parents=True, mode=0o755)
    (cluster / "PG_VERSION").write_text("9\n")
    if os.geteuid() == 0:
        shutil.chown(cluster, "postgres", "postgres")
    done = run(LLMLAB_DATA_DIR=str(folder / "data"))
    assert done.returncode == 1 and "PostgreSQL 9" in done.stderr and "postgresql-9" in done.stderr, done


def test_postgres_programs_missing_are_named_with_what_to_install():
    """A private mount hides PostgreSQL where this machine allows one; elsewhere the test above must do."""
    folder = make_folder()
    (folder / "empty").mkdir()
    script = f"mount --bind {folder}/empty /usr/lib/postgresql && exec {find_binary()}"
    env = environment(LLMLAB_DATA_DIR=str(folder / "data"), PATH="/usr/sbin:/sbin:/bin")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], env=env, cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)
    if not done.stderr.startswith(("unshare:", "mount:")):
        assert done.returncode == 1 and "apt-get install postgresql" in done.stderr and "DATABASE_URL" in done.stderr, done


def test_database_url_wrong_is_told_without_the_password():
    done = run("migrate", DATABASE_URL="postgresql://u:hunter2secret@127.0.0.1:1/x", SECRET_KEY=new_secret(), timeout=60)
    assert done.returncode == 1 and done.stderr and "hunter2secret" not in done.stderr


def test_data_dir_in_use_is_refused_and_the_first_server_goes_on(server):
    done = run(LLMLAB_DATA_DIR=str(server.data_dir))
    assert done.returncode == 1 and str(server.data_dir) in done.stderr, done
    assert server.client().get("/api/health").status == 200


def test_port_in_use_is_told(server, pair):
    settings = {k: v for k, v in pair[0].settings.items()}
    done = run(**settings, PORT=str(server.port))
    assert done.returncode == 1 and str(server.port) in done.stderr, done


def test_two_servers_starting_at_once_on_an_empty_database_migrate_once(postgres, own_server):
    settings = {"DATABASE_URL": postgres.create("both"), "SECRET_KEY": new_secret()}
    two = [own_server(**settings) for _ in range(2)]
    threads = [threading.Thread(target=s.start) for s in two]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    user = sign_up(two[0].port)
    user.track(model="gpt-4", input_tokens=1)
    assert len(user.on(two[1].port).events()) == 1
    applied = [int(m) for s in two for m in re.findall(r'"applied":(\d+)', s.log)]
    assert len(applied) == 2 and sum(applied) == len(list((ROOT / "sql/migrations").glob("*.sql"))), applied
    database = connect(settings["DATABASE_URL"])
    assert_rollups_equal_events(database)
    database.close()
    for s in two:
        s.stop()


def test_migrate_is_done_once_and_again_does_nothing(postgres):
    settings = {"DATABASE_URL": postgres.create("migrated"), "SECRET_KEY": new_secret()}
    for _ in range(2):
        done = run("migrate", **settings)
        assert done.returncode == 0, done
    database = connect(settings["DATABASE_URL"])
    tables = {t for (t,) in query(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert {"users", "events", "event_keys", "usage_model_15m", "budgets"} <= tables
    database.close()


def test_server_waits_for_a_database_that_comes_later(postgres, own_server):
    settings = {"DATABASE_URL": postgres.url("later"), "SECRET_KEY": new_secret()}
    server = own_server(**settings)
    server.expect_errors = True
    server.start(ready=False)
    client = server.client()
    assert client.get("/api/health/live").status == 200
    assert client.get("/api/health/ready").status == 503
    health = client.get("/api/health")
    assert health.status == 503 and health.json["database_connected"] is False and health.json["status"] == "degraded"
    assert client.post("/api/auth/signup", {"email": "a@example.com", "password": "tall orange river 9", "name": "x"}).status == 503
    client.close()
    postgres.create("later")
    wait_for(server.is_ready, "readiness once the database is there")
    sign_up(server.port).track(model="gpt-4", input_tokens=1)
    server.stop()


# ---- signals and children ----

def test_healthcheck_tells_by_its_exit_code(server):
    for more in ([], ["--live"]):
        assert run("healthcheck", *more, PORT=str(server.port)).returncode == 0
    done = run("healthcheck", PORT="1")
    assert done.returncode == 1 and done.stderr


def test_private_postgres_never_runs_as_root_and_listens_nowhere(server):
    pid = int((server.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    assert os.stat(f"/proc/{pid}").st_uid != 0
    database = server.database()
    assert query(database, "SHOW listen_addresses") == [("",)]
    assert query(database, "SHOW fsync") == query(database, "SHOW full_page_writes") == [("on",)]
    database.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_private_server_with_its_postgres(own_server, number):
    server = own_server()
    server.start()
    assert server.end(number) == 0
    assert processes_in(server.data_dir) == []
    server.check_log()


def test_sighup_reads_the_price_file_again_and_keeps_the_old_prices_if_it_is_bad(pair, own_server):
    prices = make_folder() / "prices.json"
    record = {"model": "house-model", "match": [{"equals": "house-model"}],
              "prices": [{"per_million_tokens": {"input": "2", "output": "4"}}]}
    whole = {"mode": "extend", "providers": [{"provider": "openai", "records": [record]}]}
    prices.write_text(json.dumps(whole))
    prices.chmod(0o644)
    server = own_server(**pair[0].settings, LLMLAB_PRICING_FILE=str(prices))
    server.expect_errors = True
    server.start()
    user = sign_up(server.port)
    event = {"provider": "openai", "model": "house-model", "input_tokens": 1000, "output_tokens": 500}
    # 1000 x 2 + 500 x 4 = 4000 / 10^6; with 3 for the input 5000; gpt-4 stays what it is
    assert user.track(**event)["cost"] == D("0.004")
    record["prices"][0]["per_million_tokens"]["input"] = "3"
    for text, cost in ((json.dumps(whole), D("0.005")), ("{ not JSON", D("0.005")), ('{"providers":[{}]}', D("0.005"))):
        prices.write_text(text)
        seen = server.log.count('"event":"prices ')
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.log.count('"event":"prices ') > seen, "the file to be read again")
        assert user.track(**event)["cost"] == cost
        assert user.track(model="gpt-4", input_tokens=1000, output_tokens=500)["cost"] == D("0.06")
    server.stop()
