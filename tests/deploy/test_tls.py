"""PostgreSQL by TCP and TLS, with the URLs that hosting services give: what is asked for is what is done, or nothing is."""
import os
import subprocess
import urllib.parse

import pytest

from llmlab_client import SECRETS, sign_up
from llmlab_server import Postgres, connect, free_port, make_folder, new_secret, query, wait_for
from test_check import Checked

PASSWORD = "p@ss/w:rd?&=% ä"
SECRETS.update({PASSWORD, urllib.parse.quote(PASSWORD, safe="")})
EXTENSIONS = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def make_authority(folder, name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2, "-subj", f"/CN={name}",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
    (folder / f"{name}.pem").chmod(0o644)
    return folder / f"{name}.pem"


def make_certificate(folder, authority):
    """server.key and server.pem for localhost, signed by the authority."""
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost", "-keyout",
            folder / "server.key", "-out", folder / "server.csr")
    (folder / "extensions").write_text(EXTENSIONS)
    openssl("x509", "-req", "-in", folder / "server.csr", "-CA", authority, "-CAkey", authority.with_suffix(".key"), "-CAcreateserial",
            "-days", 2, "-extfile", folder / "extensions", "-out", folder / "server.pem")


class TlsPostgres(Postgres):
    """Takes TLS with a password by TCP, nothing else; its own socket for the tests."""

    def __init__(self):
        self.port = free_port()
        super().__init__()
        self.authority = make_authority(self.folder, "authority")
        make_certificate(self.folder, self.authority)
        for name in ("server.key", "server.pem"):
            (self.folder / name).chmod(0o600)
            if self.owner:
                os.chown(self.folder / name, self.owner["user"], self.owner["group"])
        (self.pgdata / "pg_hba.conf").write_text("local all all trust\nhostssl all all all scram-sha-256\n")
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "ssl": "on", "ssl_cert_file": self.folder / "server.pem",
                    "ssl_key_file": self.folder / "server.key", "ssl_min_protocol_version": "TLSv1.2"}
        self.options += [part for k, v in settings.items() for part in ("-c", f"{k}={v}")]

    def url(self, database):
        return f"{super().url(database)}&port={self.port}"

    def remote(self, database, host="localhost", scheme="postgresql", **parameters):
        """As a hosting service gives it."""
        password = urllib.parse.quote(PASSWORD, safe="")
        asked = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        return f"{scheme}://app%20user:{password}@{host}:{self.port}/{database}{asked}"


@pytest.fixture(scope="module")
def tls(no_process_left):
    one = TlsPostgres().start()
    admin = connect(one.url("postgres"))
    query(admin, 'CREATE ROLE "app user" LOGIN PASSWORD %s', (PASSWORD,))
    query(admin, 'CREATE DATABASE app OWNER "app user"')
    admin.close()
    yield one
    one.stop()


@pytest.mark.parametrize("scheme,parameters", [
    ("postgres", {"sslmode": "require"}),
    ("postgresql", {"sslmode": "require"}),
    ("postgres", {}),  # libpq's default takes TLS where it is offered
    ("postgresql", {"sslmode": "verify-full", "sslrootcert": "authority"}),
    ("postgresql", {"sslmode": "verify-ca", "sslrootcert": "authority"}),
])
def test_server_works_by_tls(tls, own_server, scheme, parameters):
    parameters = {k: tls.authority if v == "authority" else v for k, v in parameters.items()}
    server = own_server(DATABASE_URL=tls.remote("app", scheme=scheme, **parameters), SECRET_KEY=new_secret()).start()
    user = sign_up(server.port)
    user.track(model="gpt-4", input_tokens=1)
    assert user.ok("GET", "/api/costs/summary")["call_count"] == 1
    admin = connect(tls.url("app"))
    seen = query(admin, "SELECT DISTINCT s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.usename = 'app user'")
    admin.close()
    assert seen == [(True,)]
    server.stop()


def test_check_tells_of_tls(tls):
    seen = Checked(DATABASE_URL=tls.remote("app", sslmode="require"), SECRET_KEY=new_secret())
    assert seen.code == 0 and "by TLS" in dict(seen.of("ok"))["database"]


@pytest.mark.parametrize("host,parameters", [
    ("localhost", {"sslmode": "verify-full", "sslrootcert": "stranger"}),
    ("localhost", {"sslmode": "verify-ca", "sslrootcert": "stranger"}),
    ("ip6-localhost-is-not-in-it", {"sslmode": "verify-full", "sslrootcert": "authority", "hostaddr": "127.0.0.1"}),
    ("localhost", {"sslmode": "verify-full", "sslrootcert": "/nonexistent.pem"}),
    ("localhost", {"sslmode": "disable"}),
])
def test_what_cannot_be_trusted_is_not_used(tls, own_server, host, parameters):
    stranger = make_authority(make_folder(), "stranger")
    known = {"authority": tls.authority, "stranger": stranger}
    url = tls.remote("app", host=host, **{k: known.get(v, v) for k, v in parameters.items()})
    seen = Checked(DATABASE_URL=url, SECRET_KEY=new_secret())
    assert seen.code == 1 and "cannot be used" in dict(seen.of("FAIL"))["database"], seen.text
    assert PASSWORD not in seen.text + seen.log


def test_wrong_certificate_is_503_and_works_once_it_is_right(tls, own_server):
    """The server starts, says that it is not ready, and connects by itself when the file is mended."""
    folder = make_folder()
    trusted = make_authority(folder, "stranger")
    server = own_server(DATABASE_URL=tls.remote("app", sslmode="verify-full", sslrootcert=trusted), SECRET_KEY=new_secret())
    server.expect_errors = True
    server.start(ready=False)
    client = server.client()
    assert client.get("/api/health/live").status == 200
    assert client.get("/api/health/ready").status == 503
    assert "certificate verify failed" in wait_for(lambda: server.log if "database lost" in server.log else None, "the reason in the log")
    trusted.write_text(tls.authority.read_text())
    wait_for(server.is_ready, "readiness")
    sign_up(server.port).track(model="gpt-4", input_tokens=1)
    server.stop()
