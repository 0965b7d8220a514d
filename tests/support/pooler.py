"""A PgBouncer in transaction mode in front of a test's PostgreSQL."""
import os
import pwd
import shutil
import subprocess

import psycopg2

from llmlab_server import PROCESSES, connect, make_folder, wait_for

PORT = 6432  # of a Unix socket: the name of a file


class Pooler:
    """Few server connections for many clients, so that a client seldom gets the same one twice in a row."""

    def __init__(self, postgres, pool_size=4):
        self.postgres = postgres
        self.folder = make_folder()
        self.owner = {}
        if os.geteuid() == 0:  # PgBouncer refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.config = self.folder / "pgbouncer.ini"
        self.config.write_text(f"""[databases]
* = host={postgres.folder} port=5432 user=postgres
[pgbouncer]
listen_addr =
listen_port = {PORT}
unix_socket_dir = {self.folder}
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 500
server_round_robin = 1
server_login_retry = 1
""")
        self.config.chmod(0o644)
        self.process = None

    def start(self):
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program, "pgbouncer is missing (see scripts/packages.txt)"
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([program, self.config], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True, **self.owner)
        PROCESSES.append(self.process)
        wait_for(self.answers, "PgBouncer")
        return self

    def answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            connect(self.url("postgres")).close()
            return True
        except psycopg2.OperationalError:
            return False

    def kill(self):
        """SIGKILL: what is on its way through it is gone."""
        self.process.kill()
        self._ended()

    def stop(self):
        self.process.terminate()
        self._ended()

    def _ended(self):
        self.process.wait(30)
        PROCESSES.remove(self.process)
        (self.folder / f".s.PGSQL.{PORT}").unlink(missing_ok=True)

    def url(self, database):
        return f"postgresql:///{database}?host={self.folder}&port={PORT}&user=postgres"
