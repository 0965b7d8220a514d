"""Takes the wall between users out of the SQL, one predicate at a time, and shows that a test falls over.

    python3 tests/lint/mutate_tenants.py BUILD/llmlab [--list] [--only NAME] [--from N] [--to N] [--test FILE ...]

Every comparison with the user in every statement is made true in turn: `user_id = $1` becomes `(user_id = $1 OR true)`. The lint of
tenants.py must see each of them on paper (--list stops there). Then the program runs with the statement exchanged when it is sent:
a library of a few lines, put before libpq, swaps the text that is in one file for the text in another. No sanitizer in the build.
A mutant that passes all the tests survives; EQUIVALENT says which cannot be told apart, and why. Takes hours for everything.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import tenants

ROOT = tenants.ROOT
TESTS = ["tests/api/test_isolation.py", "tests/api/test_budgets.py", "tests/api/test_reservations.py", "tests/api/test_accounts.py",
         "tests/api/test_keys.py", "tests/api/test_webhooks.py", "tests/api/test_own_prices.py", "tests/api/test_events.py",
         "tests/api/test_costs.py", "tests/api/test_breakdown.py", "tests/api/test_recommendations_more.py"]

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct pg_conn PGconn;
static char *from, *to;
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
	if (getenv("MUTANT_FROM") == NULL)
		return;
	from = load("MUTANT_FROM");
	to = load("MUTANT_TO");
}
static const char *swap(const char *sql)
{
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
    r"alerts_(?:missing|insert_budget) #1": "a budget is named by its id too, which was read of the user's budgets",
    r"alerts_insert_model #1": "more rows of the same user and id are made, of which the first is kept",
    r"usage_\w+_lock #1": "holds locks; what is changed is the next statement's",
    r"repricing_change #[12]|repricing_lock #1|repricings?_(?:progress|fail|delay|find) #1":
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


def run(folder, binary, mutant, tests):
    """The test that falls over, or None. Without a mutant: of the program as it is."""
    (folder / "from").write_text(mutant.statement.sql if mutant else "SELECT")
    (folder / "to").write_text(mutant.sql if mutant else "SELECT")
    wrapper = folder / "llmlab"
    wrapper.write_text(f"#!/bin/sh\nexport LD_PRELOAD={folder}/shim.so MUTANT_FROM={folder}/from MUTANT_TO={folder}/to\n"
                       f'exec {binary} "$@"\n')
    wrapper.chmod(0o755)
    for test in tests:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=no", test], cwd=ROOT,
                              env={**os.environ, "LLMLAB_BIN": str(wrapper)}, capture_output=True, text=True, check=False)
        found = re.findall(r"^(?:FAILED|ERROR) \S*?::(\S+)", done.stdout, re.MULTILINE)
        if done.returncode != 0 and "in check_log" in done.stdout + done.stderr:
            found.append("the log: the server itself has noticed")
        assert (done.returncode != 0) == bool(found), f"no test fell over, pytest did: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        if found:
            return found[0]
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--to", dest="last", type=int, default=100000)
    parser.add_argument("--test", nargs="*", default=TESTS)
    options = parser.parse_args()
    binary = options.binary.resolve()
    every = [m for m in mutants() if options.only in m.name]
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
        sound = run(folder, binary, None, options.test)
        assert sound is None, f"{sound} fails without a mutant"
        for n, mutant in enumerate(every, 1):
            if not options.first <= n <= options.last or is_equivalent(mutant):
                continue
            killer = run(folder, binary, mutant, options.test)
            print(f"{n:4} {'killed  ' if killer else 'SURVIVED'} {mutant.name}: {mutant.predicate}: {killer or ''}", flush=True)
            if killer is None:
                survived.append(mutant.name)
    print(f"{len(survived)} survived: {survived}")
    return len(survived) != 0


if __name__ == "__main__":
    sys.exit(main())
