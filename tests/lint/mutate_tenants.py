"""Takes the wall between users out of the SQL, one predicate at a time, and shows that a test falls over.

    python3 tests/lint/mutate_tenants.py BUILD/llmlab [--list] [--only PATTERN] [--from N] [--to N] [--test NAME ...]

Every comparison with the user in every statement is made true in turn: `user_id = $1` becomes `(user_id = $1 OR true)`. The lint of
tenants.py must see each of them on paper (--list stops there). Then the program runs with the statement exchanged when it is sent:
a library of a few lines, put before libpq, swaps the text that is in one file for the text in another. No sanitizer in the build.
Each test runs once without a mutant first, which tells how long it takes and which statements it sends: a mutant meets only the
tests that send its statement, the quickest first. Tests are the unit tests of the database and the ingest (BUILD/tests) and pytest
files; --test takes parts of their names. A mutant that passes them all survives; EQUIVALENT says which cannot be told apart, and why.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tenants

ROOT = tenants.ROOT
UNIT = ["unit_db_test_*", "unit_ingest_test_*"]
API = [f"tests/api/test_{name}.py" for name in (
    "isolation", "budgets", "reservations", "accounts", "keys", "webhooks", "own_prices", "events", "costs", "breakdown", "alerts",
    "anomalies", "recommendations", "what_if_and_dismiss")]

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct pg_conn PGconn;
static char *from, *to;
static const char *seen_folder;
static char *load(const char *name)
{
	FILE *f = fopen(getenv(name), "rb");
	char *text = calloc(1, 1 << 20);
	if (f == NULL || text == NULL || fread(text, 1, (1 << 20) - 1, f) == 0)
		abort();
	fclose(f);
	return text;
}
static __attribute__((constructor)) void begin(void)
{
	seen_folder = getenv("MUTANT_SEEN");
	if (getenv("MUTANT_FROM") == NULL)
		return;
	from = load("MUTANT_FROM");
	to = load("MUTANT_TO");
}
/* Leaves a file with the text, once for each text. */
static void note(const char *sql)
{
	char path[512];
	unsigned long hash = 5381;
	for (const char *c = sql; *c != 0; c++)
		hash = hash * 33 + (unsigned char)*c;
	snprintf(path, sizeof(path), "%s/%lx", seen_folder, hash);
	FILE *f = fopen(path, "wx");
	if (f == NULL)
		return;
	fputs(sql, f);
	fclose(f);
}
static const char *swap(const char *sql)
{
	if (seen_folder != NULL)
		note(sql);
	return from != NULL && strcmp(sql, from) == 0 ? to : sql;
}
int PQsendPrepare(PGconn *c, const char *name, const char *sql, int n, const unsigned *types)
{
	int (*real)(PGconn *, const char *, const char *, int, const unsigned *) = dlsym(RTLD_NEXT, "PQsendPrepare");
	return real(c, name, swap(sql), n, types);
}
int PQsendQueryParams(PGconn *c, const char *sql, int n, const unsigned *types, const char *const *values, const int *lengths,
	const int *formats, int format)
{
	int (*real)(PGconn *, const char *, int, const unsigned *, const char *const *, const int *, const int *, int) =
		dlsym(RTLD_NEXT, "PQsendQueryParams");
	return real(c, swap(sql), n, types, values, lengths, formats, format);
}
"""

# Comparisons that may be taken away one at a time without anything to be seen ("statement #n", as a pattern), and why.
EQUIVALENT = {
    r"accounts_is_small #\d": "only chooses between two ways to the same end",
    r"accounts_delete_user #1": "the hash of the password, with its salt, is one account's alone",
    r"accounts_purge_\w+ #\d": "said twice: a row is named by its place too, which the other comparison binds",
    r"events_(?:load|count_stored) #1": "a row is named by its id too, which was found among the user's keys",
    r"\w+_(?:lock|hold)_user #1": "holds a lock; the more are held the longer it takes, and nothing else",
    r"repricing_(?:unpriced_)?buckets #1": "says which quarters of an hour are looked at; their events are another statement's, of the user",
    r"alerts_insert_budget #2": "a deleted account has no budgets, and the budget is bound to the user",
    r"alerts_(?:missing|insert_budget) #1": "a budget is named by its id too, which was read of the user's budgets",
    r"alerts_insert_model #1": "more rows of the same user and id are made, of which the first is kept",
    r"repricing_change #[12]|repricing_lock #1|repricings?_(?:progress|fail|delay|find|sums) #1":
        "a row is named by its id too, which was found among the user's; no request brings one",
    r"webhook_outbox_(?:disable|end|release) #\d|webhook_secret_replace #1|api_keys_note_uses #[12]|reservations_settle #2":
        "a row is named by its id too, which the server itself has read; no request brings one",
}

VALUE = r"(?:\$\d+(?:::\w+)?|\w+\.\w+)"
COMPARISON = re.compile(rf"(?<![\w.])(?:\w+\.)?user_id = (?:{VALUE}(?!\s*\()|ANY \([^()]*\))"
                        r"|(?<![\w.])(?:\w+\.)?user_id IN \(SELECT [^()]*\)"
                        r"|(?:FROM|UPDATE) users(?: SET [^()]*?)? WHERE (?P<id>(?:users\.)?id = \$1(?!\w))")


class Mutant:
    def __init__(self, statement, number, span):
        self.statement, self.number = statement, number
        sql = statement.sql
        self.predicate = sql[span[0]:span[1]]
        self.sql = f"{sql[:span[0]]}({self.predicate} OR true){sql[span[1]:]}"
        self.bare = f"{sql[:span[0]]}true{sql[span[1]:]}"

    @property
    def name(self):
        return f"{self.statement.name} #{self.number}"


def mutants():
    tables = tenants.tenant_tables()
    seen = set()
    for statement in tenants.statements():
        if statement.name in tenants.UNBOUND or statement.sql in seen or not any(t in statement.sql for t in tables):
            continue
        seen.add(statement.sql)
        for n, m in enumerate(COMPARISON.finditer(statement.sql), 1):
            yield Mutant(statement, n, m.span("id") if m["id"] else m.span())


def seen_on_paper(mutant):
    tables = tenants.tenant_tables()
    without = tenants.Statement(mutant.statement.name, mutant.bare, mutant.statement.path)
    return bool(list(tenants.unbound(without, tables)))


def is_equivalent(mutant):
    return any(re.fullmatch(pattern, mutant.name) for pattern in EQUIVALENT)


class Test:
    """A program of unit tests or a file of pytest."""

    def __init__(self, path):
        self.path, self.name = path, path.stem
        self.seconds, self.sends = 0.0, set()

    def fails(self, folder, settings):
        """The name of what falls over, or None."""
        shim = {"LD_PRELOAD": f"{folder}/shim.so", **settings}
        return self.fails_pytest(folder, shim) if self.path.suffix == ".py" else self.fails_check(shim)

    def fails_check(self, shim):
        done = subprocess.run([self.path], cwd=ROOT, env={**os.environ, "CK_DEFAULT_TIMEOUT": "120", **shim}, capture_output=True,
                              text=True, errors="replace", check=False)
        found = re.findall(r":[FE]:[^:]*:(\w+):", done.stdout)
        assert (done.returncode != 0) == bool(found), f"{self.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return found[0] if found else None

    def fails_pytest(self, folder, shim):
        wrapper = folder / "llmlab"
        wrapper.write_text("#!/bin/sh\n" + "".join(f"export {k}={v}\n" for k, v in shim.items()) + f'exec {folder}/real "$@"\n')
        wrapper.chmod(0o755)
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=no", self.path], cwd=ROOT,
                              env={**os.environ, "LLMLAB_BIN": str(wrapper)}, capture_output=True, text=True, check=False)
        found = re.findall(r"^(?:FAILED|ERROR) \S*?::(\S+)", done.stdout, re.MULTILINE)
        if done.returncode != 0 and "in check_log" in done.stdout + done.stderr:
            found.append("the log: the server itself has noticed")
        assert (done.returncode != 0) == bool(found), f"no test fell over, pytest did: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return found[0] if found else None

    def measure(self, folder):
        """Runs it without a mutant, and notes what it sends."""
        seen = folder / "seen" / self.name
        seen.mkdir(parents=True)
        started = time.monotonic()
        broken = self.fails(folder, {"MUTANT_SEEN": str(seen)})
        assert broken is None, f"{self.name}: {broken} fails without a mutant"
        self.seconds = time.monotonic() - started
        self.sends = {f.read_text() for f in seen.iterdir()}


def find_tests(binary, wanted):
    """All of them, or those whose names contain one of the texts."""
    every = [Test(p) for pattern in UNIT for p in sorted((binary.parent / "tests").glob(pattern))] + [Test(ROOT / p) for p in API]
    chosen = [t for t in every if not wanted or any(w in t.name for w in wanted)]
    assert chosen, "there is no such test"
    return chosen


def killer_of(mutant, folder, tests):
    """The test that falls over, or None."""
    (folder / "from").write_text(mutant.statement.sql)
    (folder / "to").write_text(mutant.sql)
    for test in tests:
        if mutant.statement.sql in test.sends:
            found = test.fails(folder, {"MUTANT_FROM": str(folder / "from"), "MUTANT_TO": str(folder / "to")})
            if found:
                return f"{test.name}: {found}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--to", dest="last", type=int, default=100000)
    parser.add_argument("--test", nargs="*", default=[])
    options = parser.parse_args()
    binary = options.binary.resolve()
    every = list(mutants())
    stale = [pattern for pattern in EQUIVALENT if not any(re.fullmatch(pattern, m.name) for m in every)]
    assert not stale, f"EQUIVALENT names what is there no more: {stale}"
    every = [m for m in every if re.search(options.only, m.name)]
    unseen = [m.name for m in every if not seen_on_paper(m)]
    print(f"{len(every)} comparisons; the lint does not miss {len(every) - len(unseen)} of them, but would miss: {unseen}")
    if options.list:
        for n, mutant in enumerate(every, 1):
            print(f"{n:4} {mutant.name}: {mutant.predicate}")
        return 0
    print(f"{sum(is_equivalent(m) for m in every)} are left out as equivalent")
    survived = []
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "shim.c").write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c", "-ldl"], check=True)
        (folder / "real").symlink_to(binary)
        tests = find_tests(binary, options.test)
        for test in tests:
            test.measure(folder)
        tests.sort(key=lambda t: t.seconds)
        unsent = {m.statement.name for m in every} - {m.statement.name for m in every for t in tests if m.statement.sql in t.sends}
        print(f"{len(tests)} tests; {len(unsent)} statements are sent by none: {sorted(unsent)}", flush=True)
        for n, mutant in enumerate(every, 1):
            if not options.first <= n <= options.last or is_equivalent(mutant):
                continue
            killer = killer_of(mutant, folder, tests)
            print(f"{n:4} {'killed  ' if killer else 'SURVIVED'} {mutant.name}: {mutant.predicate}: {killer or ''}", flush=True)
            if killer is None:
                survived.append(mutant.name)
    print(f"{len(survived)} survived: {survived}")
    return len(survived) != 0


if __name__ == "__main__":
    sys.exit(main())
