"""Real servers and real PostgreSQLs for tests: started, stopped, killed, and looked at when they are gone.

Every process started here is in PROCESSES until it has ended; the end of the test session asserts that none is left.
"""
import itertools
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psycopg2
import psycopg2.extras

from llmlab_client import Client, SECRETS

ROOT = Path(__file__).resolve().parents[2]
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|CHECK failed|Assertion")
PATIENT = {"DB_STATEMENT_MS": 20000}  # for servers whose tests are not about waiting: a busy disk is no failure
PROCESSES = []
FOLDERS = []
_ports = itertools.count()


def find_binary():
    """The program under test: LLMLAB_BIN, or the newest build."""
    named = os.environ.get("LLMLAB_BIN")
    if named:
        return str(Path(named).resolve())
    built = sorted((ROOT / "build").glob("*/llmlab"), key=lambda p: p.stat().st_mtime)
    assert built, "there is no build/*/llmlab; build it or set LLMLAB_BIN"
    return str(built[-1])


def make_folder(inside=None):
    """A new folder that other users may pass through (PostgreSQL runs as one)."""
    folder = Path(tempfile.mkdtemp(prefix="llmlab-test-", dir=inside))  # else in TMPDIR
    folder.chmod(0o755)
    FOLDERS.append(folder)
    return folder


def free_port():
    """A port for a program that cannot choose one itself: below those that the system gives away, so that nobody gets it meanwhile."""
    for offset in range(1000):
        port = 20000 + (os.getpid() * 7 + next(_ports) + offset) % 10000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")


def wait_for(condition, what, seconds=60.0):
    """Polls until the condition gives something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.01)


def processes_in(*folders):
    """Ids of the processes whose working directory is in one of the folders (PostgreSQL's are)."""
    wanted = {str(f) for f in folders}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                cwd = Path(os.readlink(entry / "cwd"))
            except OSError:
                continue
            if wanted & {str(cwd), *map(str, cwd.parents)}:
                found.append(int(entry.name))
    return found


def environment(**settings):
    """A clean environment: no setting of the machine leaks into a test."""
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/nonexistent", "LANG": "C.UTF-8",
           "HOST": "127.0.0.1", "PORT": "0", "LOG_FORMAT": "json", "RATE_LIMITS": "off",
           "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
           "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1", "TSAN_OPTIONS": os.environ.get("TSAN_OPTIONS")}
    env.update(settings)
    return {k: str(v) for k, v in env.items() if v is not None}


class Server:
    """One llmlab process. `settings` are its environment variables."""

    def __init__(self, **settings):
        self.folder = make_folder()
        self.data_dir = self.folder / "data"
        if "DATABASE_URL" not in settings:
            settings.setdefault("LLMLAB_DATA_DIR", str(self.data_dir))
        self.settings = settings
        self.process = self.port = None
        self.stdout = ""
        self.starts = 0
        self.expect_errors = False  # the log may hold lines of level error: the test breaks something
        self.listen_socket = None  # handed over as a supervisor does, instead of HOST and PORT

    @property
    def log_path(self):
        return self.folder / f"stderr-{self.starts}"

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def spawn(self):
        """Starts the process without waiting for anything."""
        self.starts += 1
        self.stdout = ""
        command, handed_over = [find_binary()], ()
        if self.listen_socket:
            handed_over = (self.listen_socket.fileno(),)
            take = f'exec 3<&{handed_over[0]}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0"'
            command = ["/bin/bash", "-c", take, *command]
        self.process = subprocess.Popen(
            command, env=environment(**self.settings), cwd=self.folder, stdin=subprocess.DEVNULL, pass_fds=handed_over,
            stdout=subprocess.PIPE, stderr=open(self.log_path, "wb"), text=True, start_new_session=True)
        PROCESSES.append(self.process)
        self._announced = threading.Event()
        self._reader = threading.Thread(target=self._read_stdout, daemon=True)
        self._reader.start()

    def _read_stdout(self):
        for line in self.process.stdout:
            self.stdout += line
            found = re.search(r"http://[^ ]*:(\d+)", line)
            if found and not self._announced.is_set():
                self.port = int(found.group(1))
                self._announced.set()
        self._announced.set()

    def start(self, ready=True):
        """Starts, and waits until it is ready (or only until it listens)."""
        self.port = None
        self.spawn()
        assert self._announced.wait(90), f"no address within 90 s\n{self.log[-4000:]}"
        assert self.port, f"ended with {self.process.wait(10)} instead of starting\n{self.log[-4000:]}"
        if ready:
            wait_for(self.is_ready, "readiness")
        return self

    def is_ready(self):
        try:
            return Client(self.port, timeout=5).get("/api/health/ready").status == 200
        except OSError:
            return False

    def client(self):
        return Client(self.port)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def _ended(self):
        code = self.process.wait(60)
        self._reader.join(10)
        PROCESSES.remove(self.process)
        self.process.stdout.close()
        return code

    def stop(self):
        """SIGTERM; the end must be clean in every respect."""
        self.process.send_signal(signal.SIGTERM)
        code = self._ended()
        assert code == 0, f"exit code {code}\n{self.log[-4000:]}"
        self.check_log()

    def kill(self):
        self.process.kill()
        self._ended()
        self.check_log(complete=False)

    def end(self, signal_number):
        """Sends the signal (0: none), waits for the end, returns the exit code."""
        self.process.send_signal(signal_number)
        return self._ended()

    def check_log(self, complete=True):
        """One JSON object a line, nothing secret, no report of a sanitizer, no deadlock, no error."""
        text = self.log
        found = SANITIZER.search(text)
        assert not found, text[max(0, found.start() - 200):found.start() + 6000]
        lines = text.split("\n")
        if not complete:
            lines = lines[:-1]
        for line in lines:
            if line:
                entry = json.loads(line)
                assert "deadlock" not in line, line
                assert self.expect_errors or entry.get("level") != "error", line
        for secret in SECRETS:
            assert secret not in text, "a password or a token stands in the log"

    def database(self):
        """A connection to this server's own PostgreSQL."""
        if "DATABASE_URL" in self.settings:
            return connect(self.settings["DATABASE_URL"])
        return connect(f"host={self.settings['LLMLAB_DATA_DIR']}/run port=5432 user=llmlab dbname=postgres")


def connect(url):
    connection = psycopg2.connect(url)
    connection.autocommit = True
    return connection


def query(database, sql, parameters=None):
    with database.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else None


def assert_rollups_equal_events(database):
    wrong = query(database, "SELECT * FROM usage_drift('-infinity', 'infinity') LIMIT 5")
    assert wrong == [], f"sums differ from events: {wrong}"
    lost = query(database, "SELECT k.key FROM event_keys k LEFT JOIN events e ON (e.user_id, e.occurred_at, e.id)"
                           " = (k.user_id, k.occurred_at, k.event_id) WHERE e.id IS NULL LIMIT 5")
    assert lost == [], f"keys without their event: {lost}"


class Postgres:
    """A PostgreSQL of our own on a Unix socket, for servers with DATABASE_URL. `inside`: a folder to make it in; `options`: of postgres."""

    def __init__(self, inside=None, options=()):
        self.folder = make_folder(inside)
        self.options = list(options)
        self.pgdata = self.folder / "pgdata"
        self.process = None
        self.owner = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.bin = self._find_programs()
        self._run("initdb", "-D", self.pgdata, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    @staticmethod
    def _find_programs():
        folders = []
        if shutil.which("pg_config"):
            folders.append(Path(subprocess.check_output(["pg_config", "--bindir"], text=True).strip()))
        folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        for folder in folders:
            if (folder / "initdb").exists() and (folder / "postgres").exists():
                return folder
        raise AssertionError("PostgreSQL's server programs were not found")

    def _run(self, program, *arguments):
        done = subprocess.run([self.bin / program, *arguments], cwd=self.folder, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, **self.owner)
        assert done.returncode == 0, done.stdout

    def spawn(self):
        """Starts the process without waiting for anything."""
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            [self.bin / "postgres", "-D", self.pgdata, "-c", "listen_addresses=", "-c",
             f"unix_socket_directories={self.folder}", "-c", "max_connections=300", "-c", "shared_buffers=64MB", *self.options],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self.owner)
        log.close()
        PROCESSES.append(self.process)

    def start(self):
        self.spawn()
        wait_for(self.answers, "PostgreSQL")
        return self

    def answers(self):
        try:
            connect(self.url("postgres")).close()
            return True
        except psycopg2.OperationalError:
            return False

    def stop(self, immediate=False):
        self.process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
        self.process.wait(60)
        PROCESSES.remove(self.process)
        wait_for(lambda: not processes_in(self.pgdata), "the end of PostgreSQL")

    def url(self, database):
        return f"postgresql:///{database}?host={self.folder}&user=postgres"

    def create(self, name):
        """A new empty database; its URL."""
        admin = connect(self.url("postgres"))
        query(admin, f'CREATE DATABASE "{name}"')
        admin.close()
        return self.url(name)

    @property
    def log(self):
        return (self.folder / "log").read_text(errors="replace")


def new_secret():
    key = secrets.token_hex(32)
    SECRETS.add(key)
    return key


def end_all():
    """Ends what is left (after a failed test) and says what it was."""
    left = list(PROCESSES)
    for process in left:
        process.kill()
        process.wait(30)
    PROCESSES.clear()
    orphans = processes_in(*FOLDERS)
    for pid in orphans:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_for(lambda: not processes_in(*FOLDERS), "processes to end")
    for folder in FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)
    FOLDERS.clear()
    return [p.args[0] for p in left], orphans
