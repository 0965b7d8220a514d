"""Rules of the tree that no compiler checks. Prints a line for each rule ("ok <rule>", or "FAIL <rule>" and what breaks it), and at
the end "N passed, N failed". With the path of the program as argument the rules about its texts are checked too.
"""
import re
import subprocess
import sys
from pathlib import Path

import tenants

ROOT = Path(__file__).resolve().parents[2]

# A layer may include itself and what stands below it.
BELOW = {
    "base": set(),
    "core": {"base"},
    "providers": {"core", "base"},
    "auth": {"core", "base"},
    "db": {"core", "base"},
    "ingest": {"db", "auth", "providers", "core", "base"},
    "http": {"auth", "core", "base"},  # auth/principal.h only, see ONLY_PRINCIPAL
    "api": {"http", "ingest", "db", "auth", "providers", "core", "base"},
    "app": {"api", "http", "ingest", "db", "auth", "providers", "core", "base"},
}

# Headers of libraries, and where alone they may be included.
LIBRARIES = {
    r"microhttpd\.h": ("src/http/",),
    r"jwt\.h|argon2\.h|openssl/.*": ("src/auth/",),
    r"libpq-fe\.h": ("src/db/", "src/ingest/", "include/llmlab/db/conn.h"),
    r"curl/.*": ("src/app/",),
    r"zlib\.h": ("src/http/",),
}

# Functions that are unsafe, depend on the locale, or make exact numbers inexact.
BANNED = """strcpy strcat strncat stpcpy sprintf vsprintf gets strtok atoi atol atoll atof strtod strtof strtold scanf sscanf fscanf
    system popen tmpnam mktemp alloca setlocale localtime localtime_r gmtime ctime asctime mktime strftime strptime
    rand srand random srandom drand48 usleep json_real_value json_number_value json_real json_dumps json_loads json_loadf
    PQfn PQescapeString PQescapeStringConn PQescapeLiteral PQescapeIdentifier PQexec PQexecParams PQexecPrepared
    MHD_create_post_processor pthread_cancel vfork""".split()

# Where one of them is right, and why.
EXCEPTIONS = {
    ("src/base/json_read.c", "json_real_value"),  # gives back the index that the pre-scan put there, not a number of a client
    ("src/core/switching.c", "atoi"),  # of at most two digits that were looked at
    ("src/core/usage.c", "strncat"),  # bounded by the field's size
    ("src/db/pg_programs.c", "popen"),  # asks PostgreSQL's programs for their version when the server starts
    ("src/db/values.c", "stpcpy"),  # of a literal, into memory measured for it
}

# Puts the number of a lock of its own before a constant, once, when it starts.
WRITER = "src/ingest/writer.c"

# What sends SQL text to the server: only the connection does, and it is given constants.
SENDERS = re.compile(r"\bPQ(?:sendQuery\w*|sendPrepare|prepare)\s*\(")
SQL_TEXT = re.compile(r"\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|DROP|ALTER|COPY)\s")
FORMATTERS = re.compile(r"\b(?:snprintf|asprintf|buf_printf|arena_printf|buf_puts|buf_append)\s*\(")

# Of a request, what differs between two that ask the same.
SEES_MORE = re.compile(r"\bheaders\s*\[|->(?:head|client|client_address|request_id|waited_us)\b|\bprincipal\b(?!\.user_id)|\bapi_reply_tagged\b|"
                       r"\bapi_has_already\b|\breply_parked\b|\breply_stream\b")

TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def blank(match):
    """Comments become blanks, texts become empty ones; lines stay where they are."""
    text = match.group(0)
    lines = "\n" * text.count("\n")
    return '""' + lines if text[0] == '"' else " " + lines


def read(path):
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def code(path):
    """The file without comments and texts."""
    return TOKEN.sub(blank, read(path))


def files(*patterns):
    found = []
    for pattern in patterns:
        found += [p for p in sorted(ROOT.glob(pattern)) if p.is_file()]
    return found


def name(path):
    return path.relative_to(ROOT).as_posix()


def hits(path, text, regex):
    """"file:line: match" for each match in the text."""
    for m in regex.finditer(text):
        yield f"{name(path)}:{text.count(chr(10), 0, m.start()) + 1}: {m.group(0).strip()}"


SOURCES = files("src/**/*.c", "src/**/*.h")
HEADERS = files("include/**/*.h")
TABLES = files("include/**/*.def", "src/**/*.def")
TEXTS = [p for p in files("*", "src/**/*", "include/**/*", "sql/**/*", "scripts/*", "docs/**/*", "tests/**/*", ".ci/*")
         if p.suffix not in (".pyc", ".json", ".jsonl", ".csv", ".gz", ".bin") and "__pycache__" not in p.parts]


def lint_layers():
    for path in SOURCES + HEADERS:
        parts = path.relative_to(ROOT).parts
        layer = parts[1] if parts[0] == "src" else parts[2]
        if path == ROOT / "src/main.c":
            layer = "app"
        for m in re.finditer(r'#include\s+"llmlab/(\w+)/([\w.]+)"', read(path)):
            if m[1] != layer and m[1] not in BELOW[layer]:
                yield f"{name(path)} includes {m[1]}/{m[2]}, but {layer} may not know {m[1]}"
            if layer == "http" and m[1] == "auth" and m[2] != "principal.h":
                yield f"{name(path)} includes auth/{m[2]}; http knows of auth only the principal"


def lint_libraries_stay_in_their_layer():
    for path in SOURCES + HEADERS:
        for m in re.finditer(r"#include\s+<([^>]+)>", read(path)):
            for header, places in LIBRARIES.items():
                if re.fullmatch(header, m[1]) and not name(path).startswith(places):
                    yield f"{name(path)} includes {m[1]}, which belongs to {', '.join(places)}"


def lint_banned_functions():
    regex = re.compile(r"(?<![\w.>])(?:" + "|".join(BANNED) + r")\s*\(")
    for path in SOURCES + HEADERS:
        for hit in hits(path, code(path), regex):
            if (name(path), hit.split()[-1].rstrip("(").strip()) not in EXCEPTIONS:
                yield hit


def lint_sql_is_sent_by_the_connection_alone():
    for path in SOURCES:
        if name(path) != "src/db/conn.c":
            yield from hits(path, code(path), SENDERS)


def lint_statements_are_constants():
    for path in SOURCES + HEADERS:
        text = read(path)
        for m in re.finditer(r"^(.*)\bstruct db_stmt\s+\w+(?:\[\])?\s*=", text, re.MULTILINE):
            if "const" not in m[1]:
                yield f"{name(path)}: a struct db_stmt is not const: {m[0].strip()}"
        for m in re.finditer(r"\bdb_copy_begin\s*\(\s*[\w>.-]+\s*,\s*([^)]*)\)", code(path)):
            if not re.fullmatch(r'[A-Z][A-Z0-9_]*|""|const char \*\w+', m[1].strip()) and name(path) != WRITER:
                yield f"{name(path)}: db_copy_begin() is given {m[1].strip()}, not a constant"


def lint_sql_is_never_put_together():
    for path in SOURCES:
        text = read(path)
        for m in FORMATTERS.finditer(text):
            end = text.find(");", m.start())
            literal = "".join(re.findall(r'"((?:\\.|[^"\\])*)"', text[m.start():end]))
            if SQL_TEXT.search(literal) and name(path) != WRITER:
                yield f"{name(path)}:{text.count(chr(10), 0, m.start()) + 1}: {literal[:60]}"


def lint_statements_keep_users_apart():
    yield from tenants.violations()


def lint_every_route_has_its_handler():
    routes = re.findall(r"^ROUTE\((\w+),", read(ROOT / "include/llmlab/api/routes.def"), re.MULTILINE)
    handlers = set()
    for path in files("src/api/*.c"):
        handlers |= set(re.findall(r"^struct reply api_(\w+)\(struct http_request \*rq\)\s*$", read(path), re.MULTILINE))
    for route in sorted(set(routes) - handlers):
        yield f"route {route} has no api_{route}() in src/api"
    for route in sorted({r for r in routes if routes.count(r) > 1}):
        yield f"route {route} is there twice"
    for handler in sorted(handlers - set(routes)):
        yield f"api_{handler}() is no route"


def lint_shared_routes_see_who_asks_what_and_when_alone():
    """Their answers go to others who ask the same (docs/adr/0010)."""
    shared = re.findall(r"^ROUTE\((\w+),.*\bSHARED,", read(ROOT / "include/llmlab/api/routes.def"), re.MULTILINE)
    handler = re.compile(r"^struct reply api_(\w+)\(struct http_request \*rq\)\s*$", re.MULTILINE)
    for path in files("src/api/*.c"):
        if set(shared) & set(handler.findall(read(path))):
            yield from hits(path, code(path), SEES_MORE)


def lint_codes_and_metrics_are_unique():
    for path, regex in (("errors.def", r'^ERROR\(\w+, "(\w+)"'), ("metrics.def", r'^METRIC\(\w+, \w+, "(\w+)"')):
        found = re.findall(regex, read(ROOT / "include/llmlab/base" / path), re.MULTILINE)
        for twice in sorted({n for n in found if found.count(n) > 1}):
            yield f"{path}: {twice} is there twice"
        if not found:
            yield f"{path}: nothing found"


def lint_dashboard_and_alerts_know_their_metrics():
    known = set()
    for path in TABLES + SOURCES:
        known |= set(re.findall(r"\b((?:llmlab|process)_[a-z_]+)\b", read(path)))
    for path in files("docs/grafana-dashboard.json", "docs/alert-rules.yaml"):
        used = set(re.findall(r"\b((?:llmlab|process)_[a-z_]+)\b", read(path)))
        if not used:
            yield f"{name(path)} names no metric"
        for metric in sorted(used):
            if metric not in known and re.sub(r"_(?:bucket|sum|count)$", "", metric) not in known:
                yield f"{name(path)}: there is no metric {metric}"


def lint_migrations_are_numbered_without_gaps():
    numbers = [p.name[:5] for p in files("sql/migrations/*.sql")]
    for i, number in enumerate(numbers, 1):
        if number != f"{i:04d}_":
            yield f"sql/migrations: {number} stands where {i:04d}_ is expected"


def lint_sources_begin_with_their_purpose():
    for path in SOURCES + TABLES:
        if not read(path).startswith(("/*", "#ifndef")):
            yield f"{name(path)} does not begin with a comment"


def lint_header_guards():
    for path in HEADERS:
        guard = name(path).removeprefix("include/").upper().replace("/", "_").replace(".", "_")
        if not read(path).startswith(f"#ifndef {guard}\n#define {guard}\n"):
            yield f"{name(path)} does not begin with the guard {guard}"


def lint_functions_fit_a_screen():
    for path in SOURCES:
        start = None
        for number, line in enumerate(read(path).splitlines(), 1):
            if line == "{":
                start = number
            elif line.startswith("}") and start is not None:
                if number - start > 80:
                    yield f"{name(path)}:{start}: {number - start} lines"
                start = None


# The one place where an exact amount becomes a double for statistics, and an estimate an amount.
ESTIMATES = ("src/core/estimate.c", "include/llmlab/core/estimate.h")


def lint_money_is_never_binary_floating_point():
    # Scores and percentages may be made from money; a double that is money, or money made from one, may not be.
    regex = re.compile(r"\b(?:double|float)\s+\*?\w*(?:cost|price|spend|spent|usd|money|amount|atto|limit)\w*\b|"
                       r"\batto\s*=[^=;]*\b(?:double|float|lround|llround|strtod)\b")
    for path in SOURCES + HEADERS:
        if name(path) not in ESTIMATES:
            yield from hits(path, code(path), regex)


def lint_money_and_doubles_meet_in_one_place():
    # A cast of an amount, a decimal or what a file declares as 128 bits to a double, and any way back.
    number = r"[\w.\]\[>-]*"
    to_double = re.compile(rf"\((?:double|float)\)\s*(?:\(\s*)?(?:{number}\batto\b|decimal_\w+\s*\()")
    to_exact = re.compile(r"\(u?int128\)\s*\([^()]*(?:\d\.\d|\de\d)")
    for path in SOURCES + HEADERS:
        if name(path) in ESTIMATES:
            continue
        text = code(path)
        yield from hits(path, text, to_double)
        yield from hits(path, text, to_exact)
        wide = set(re.findall(r"\bu?int128\s+\*?(?:const\s+)?(\w+)\s*[,;=)\[]", text)) - {"ret"}
        binary = set(re.findall(r"\b(?:double|float)\s+\*?(?:const\s+)?(\w+)\s*[,;=)\[]", text)) - {"ret"}
        for casts, names in ((r"double|float", wide), (r"u?int128", binary)):
            if names - (wide & binary):
                yield from hits(path, text, re.compile(
                    rf"\((?:{casts})\)\s*\(?\s*(?:{'|'.join(sorted(names - (wide & binary)))})\b"))


def lint_nothing_is_unfinished_or_switched_off():
    unfinished = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|#if 0\b")
    for path in SOURCES + HEADERS + TABLES + files("sql/**/*.sql", "scripts/*", "CMakeLists.txt"):
        yield from hits(path, read(path), unfinished)
    switched_off = re.compile(r"#if 0\b|tcase_skip|mark\.skip|pytest\.skip|mark\.xfail")
    for path in files("tests/**/*.c", "tests/**/*.h", "tests/**/*.py"):
        if path != Path(__file__).resolve():
            yield from hits(path, read(path), switched_off)


def lint_no_paths_of_one_machine():
    regex = re.compile(r"(?:^|(?<=[^\w.\-]))/(?:work|farm|home/\w+)/", re.MULTILINE)
    for path in TEXTS:
        if path != Path(__file__).resolve():
            yield from hits(path, read(path), regex)


def lint_sources_are_formatted():
    for path in SOURCES:
        run = subprocess.run(["clang-format", "--dry-run", "-Werror", str(path)], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            yield f"{name(path)}: run clang-format -i on it"


def lint_scripts_can_be_run():
    for path in ("scripts/run", "scripts/test", "scripts/openapi", ".ci/run"):
        if not (ROOT / path).stat().st_mode & 0o111:
            yield f"{path} has no run bit"
        shell = read(ROOT / path).splitlines()[0].removeprefix("#!").split()[-1]
        run = subprocess.run([shell, "-n", str(ROOT / path)], capture_output=True, text=True, check=False)
        if run.returncode != 0:
            yield f"{path}: {run.stderr.strip()}"


def program(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=True).stdout


def lint_env_example_is_the_table():
    if read(ROOT / ".env.example") != program("--env-example"):
        yield ".env.example is not what the table says; write it again: llmlab --env-example > .env.example"


def lint_readme_has_the_settings():
    if program("--settings-table").strip() not in read(ROOT / "README.md"):
        yield "the table in README.md is not that of: llmlab --settings-table"


PROGRAM = sys.argv[1] if len(sys.argv) > 1 else None
NEED_PROGRAM = (lint_env_example_is_the_table, lint_readme_has_the_settings)


def main():
    passed = failed = 0
    for rule in [f for n, f in globals().items() if n.startswith("lint_")]:
        if rule in NEED_PROGRAM and PROGRAM is None:
            continue
        title = rule.__name__.removeprefix("lint_").replace("_", " ")
        found = list(rule())
        print(f"FAIL {title}" if found else f"ok {title}")
        for line in found:
            print(f"     {line}")
        passed += not found
        failed += bool(found)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


sys.exit(main())
