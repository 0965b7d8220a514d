"""What is shipped for running it: the unit of systemd, the container's files, and the list of what the program is made of."""
import hashlib
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from llmlab_server import ROOT, find_binary, make_folder

SERVICE = ROOT / "docs/deploy/llmlab.service"
EXPOSURE_MAX = 20  # tenths: 2.0


def run(*command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, **more)


def packages(*sections):
    lines = (line.split() for line in (ROOT / "scripts/packages.txt").read_text().splitlines() if not line.startswith("#"))
    return {package for section, package in lines if section in sections}


# ---- systemd ----

def units(change=lambda text: text):
    """Copies of the units, with a program that exists."""
    folder = make_folder()
    for unit in (SERVICE, SERVICE.with_suffix(".socket")):
        (folder / unit.name).write_text(change(unit.read_text()).replace("/usr/local/bin/llmlab", "/bin/true"))
    return folder


def exposed(folder):
    return run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", folder / "llmlab.service")


def test_units_are_sound():
    assert shutil.which("systemd-analyze"), "systemd is missing (see scripts/packages.txt)"
    folder = units()
    done = run("systemd-analyze", "verify", folder / "llmlab.service", folder / "llmlab.socket")
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_unknown_setting_of_a_unit_is_seen():
    folder = units(lambda text: text.replace("NoNewPrivileges=", "NoNewPrivilege="))
    assert "Unknown key" in run("systemd-analyze", "verify", folder / "llmlab.service").stderr


def test_service_is_exposed_to_little():
    assert exposed(units()).returncode == 0, exposed(units()).stdout[-500:]


def test_service_without_its_walls_is_seen():
    walls = re.compile(r"^(Protect|Private|Restrict|SystemCall|Capability|NoNewPrivileges|DynamicUser)\w*=.*$", re.MULTILINE)
    assert exposed(units(lambda text: walls.sub("", text))).returncode != 0


def test_service_stops_later_than_the_server_does():
    """SHUTDOWN_SECONDS is 25 by default."""
    limit = int(re.search(r"^TimeoutStopSec=(\d+)$", SERVICE.read_text(), re.MULTILINE)[1])
    assert limit > 25


# ---- containers ----

def dockerfile():
    """Instructions, their lines joined: [(word, rest)]."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [tuple(line.split(None, 1)) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def installed(run_line):
    return set(re.search(r"--no-install-recommends\s+(.*?)\s*&&", run_line)[1].split())


def test_container_builds_with_what_the_build_needs():
    build = next(rest for word, rest in dockerfile() if word == "RUN")
    assert installed(build) == packages("run") - {"postgresql-15", "tzdata", "ca-certificates"}


def test_container_runs_with_every_library_of_the_program():
    """The packages of what it is linked with itself (each brings what it needs), and no compiler."""
    last = [rest for word, rest in dockerfile() if word == "RUN"][-1]
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "--dynamic", find_binary()).stdout)
    where = dict(re.findall(r"(\S+) => (/\S+)", run("ldd", find_binary()).stdout))
    wanted = set()
    for library in needed:
        if not re.match(r"lib(asan|ubsan|tsan)\.", library):
            path = os.path.realpath(where[library])
            owner = run("dpkg-query", "--search", path).stdout or run("dpkg-query", "--search", path.removeprefix("/usr")).stdout
            wanted.add(owner.split(":")[0])
    assert wanted - {"libc6"} <= installed(last), wanted
    assert not installed(last) & {"gcc", "cmake"}


def test_container_gives_away_nothing():
    steps = dockerfile()
    words = [word for word, _ in steps]
    assert words.count("FROM") == 2 and "ADD" not in words
    stage = steps[len(words) - 1 - words[::-1].index("FROM"):]
    told = dict(stage)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", told["USER"]) and told["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(told["ENTRYPOINT"]) == ["llmlab"] and json.loads(told["CMD"]) == ["serve"]
    assert "healthcheck" in told["HEALTHCHECK"]
    assert not re.search(r"SECRET_KEY|DATABASE_URL", told["ENV"])


def test_compose_file_is_yaml_and_closed():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    ours = services["llmlab"]
    assert ours["read_only"] and ours["cap_drop"] == ["ALL"] and ours["security_opt"] == ["no-new-privileges:true"]
    assert ours["depends_on"]["postgres"]["condition"] == "service_healthy" and services["postgres"]["healthcheck"]
    known = run(find_binary(), "--env-example").stdout
    assert all(re.search(rf"^#? ?{name}=", known, re.MULTILINE) for name in ours["environment"])
    assert ours["environment"]["SECRET_KEY"].startswith("${SECRET_KEY:?"), "without a key it must not start"
    assert "ports" not in services["postgres"]


def test_railway_file_names_what_is_there():
    told = json.loads((ROOT / "railway.json").read_text())
    assert (ROOT / told["build"]["dockerfilePath"]).exists()
    assert f'"{told["deploy"]["healthcheckPath"]}"' in (ROOT / "include/llmlab/api/routes.def").read_text()
    assert told["deploy"]["drainingSeconds"] > 25


# ---- what it is made of ----

@pytest.fixture(scope="module")
def bill():
    done = run(ROOT / "scripts/sbom", find_binary())
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bill_names_every_library_once(bill):
    mapped = {os.path.realpath(p) for p in re.findall(r"(/\S+) \(0x", run("ldd", find_binary()).stdout)}
    told = [p["value"] for c in json.loads(bill)["components"] for p in c["properties"] if p["name"] == "file"]
    assert sorted(told) == sorted(mapped) and len(mapped) > 10


def test_bill_has_the_versions_that_are_installed(bill):
    components = json.loads(bill)["components"]
    shown = run("dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *(c["name"] for c in components)).stdout.splitlines()
    for component in components:
        assert f"{component['name']} {component['version']}" in shown and component["purl"] == component["bom-ref"]


def test_bill_is_of_this_program_and_always_the_same(bill):
    own = json.loads(bill)["metadata"]["component"]
    with open(find_binary(), "rb") as file:
        assert own["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(file.read()).hexdigest()}]
    assert run(ROOT / "scripts/sbom", find_binary()).stdout == bill
