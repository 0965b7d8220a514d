"""The SQL of the program, and whether it keeps users apart: each reference to a table that holds rows of users is bound to a user.

Statements are read from the sources after the C preprocessor has put their texts together. A reference is bound when user_id (of
users: id) of this table is compared in the same SELECT, UPDATE or DELETE, alone or in a row of columns; an INSERT names user_id
among its columns. What is not bound must be in UNBOUND with the reason. Used by lint.py and mutate_tenants.py.
"""
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Statements (or texts, by their beginning) that mean the rows of everybody, and why that is right.
UNBOUND = {
    "accounts_next_marked": "the purge looks for accounts that were deleted",
    "alerts_users": "the alerts thread goes through everybody",
    "alerts_purge": "drops what is old, of everybody",
    "anomaly_scans_due": "the scan goes through everybody; what it reads of each is bound to u.id",
    "api_keys_find": "a key finds its owner: the hash of 256 random bits is the credential",
    "overrides_any_changed": "servers learn of each other's changes, of everybody",
    "overrides_changed": "servers learn of each other's changes, of everybody",
    "overrides_purge": "drops what is old, of everybody",
    "repricings_next": "the repricer takes the next of everybody's",
    "repricings_fail_abandoned": "the repricer, of everybody's",
    "reservations_purge": "drops what has ended, of everybody",
    "spend_users_list": "the command that checks sums goes through everybody",
    "tokens_purge": "drops what has expired, of everybody",
    "tokens_revoked_since": "servers learn of ended sessions, of everybody",
    "unpriced_all_names": "the backlog is priced for everybody; answers carry user_id",
    "users_find_by_email": "signing in: the address finds the account",
    "webhook_outbox_any_due": "the sender looks for what is due, of everybody",
    "webhook_outbox_claim": "the sender takes what is due, of everybody; rows are joined by user_id",
    "webhook_outbox_claim_behind": "the sender takes what is due, of everybody; rows are joined by user_id",
    "webhook_outbox_count": "a gauge of everybody's",
    "webhook_outbox_more_due": "the sender looks for what is due, of everybody",
    "webhook_outbox_purge": "drops what is old, of everybody",
    "webhook_secrets_other_key": "a new key for the secrets of everybody",
}

LITERALS = re.compile(r'"(?:\\.|[^"\\])*"(?:\s*"(?:\\.|[^"\\])*")*')
IS_SQL = re.compile(r"\s*(?:BEGIN;\s*)?(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|COPY)\s")
TOKEN = re.compile(r"'(?:''|[^'])*'|\"[^\"]*\"|::|<=|>=|<>|->>|@>|[A-Za-z_][\w]*|\$\d+|\d+|\S")
ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "r": "\r"}
KEYWORDS = set("""select from where and or join left right inner full cross lateral on using order group by limit offset union all for set
    returning values as with into insert update delete not exists in is null do nothing conflict materialized recursive only
    having distinct window natural tablesample""".split())
STARTS = {"select", "insert", "update", "delete", "with", "values"}


class Statement:
    """A text of SQL: its name (or its beginning, where it has none) and the file it stands in."""

    def __init__(self, name, sql, path):
        self.name, self.sql, self.path = name, sql, path


def preprocessed(path):
    flags = subprocess.run(["pkg-config", "--cflags", "libpq"], capture_output=True, text=True, check=True).stdout.split()
    run = subprocess.run(["cc", "-E", "-P", "-std=gnu17", "-D_GNU_SOURCE", f"-I{ROOT / 'include'}", f"-I{path.parent}", *flags,
                          str(path)], capture_output=True, text=True, check=True)
    return run.stdout


def joined(literals):
    text = "".join(m[1:-1] for m in re.findall(r'"(?:\\.|[^"\\])*"', literals))
    return re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), text)


def statements():
    """All texts of SQL in the layers that may have any, in order."""
    found = []
    for path in sorted([*ROOT.glob("src/db/*.c"), *ROOT.glob("src/ingest/*.c")]):
        text = preprocessed(path)
        for m in LITERALS.finditer(text):
            sql = joined(m[0])
            if not IS_SQL.match(sql):
                continue
            named = re.search(r'\{\s*((?:"\w+"\s*)+),\s*$', text[max(0, m.start() - 120):m.start()])
            found.append(Statement(joined(named[1]) if named else sql.split("(")[0].strip()[:60], sql, path.relative_to(ROOT).as_posix()))
    return found


def tenant_tables():
    """Tables with a column user_id, and users itself."""
    tables = {"users"}
    for path in sorted(ROOT.glob("sql/migrations/*.sql")):
        text = re.sub(r"--[^\n]*", "", path.read_text())
        for m in re.finditer(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)\n\)", text, re.DOTALL):
            if re.search(r"^\s*user_id\s", m[2], re.MULTILINE):
                tables.add(m[1])
        for m in re.finditer(r"ALTER TABLE (\w+) RENAME TO (\w+)", text):
            if m[1] in tables:
                tables.add(m[2])
    return tables


# ---- a tree of parentheses ----

class Group(list):
    """What stands between parentheses: tokens and groups."""


def parse(sql):
    stack = [Group()]
    for token in TOKEN.findall(sql):
        if token == "(":
            stack.append(Group())
        elif token == ")":
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(token if token[0] in "'\"" else token.lower())
    assert len(stack) == 1, f"parentheses do not match: {sql}"
    return stack[0]


def is_query(group):
    """Whether the group is a query of its own (else a condition, a list, an expression)."""
    for item in group:
        if not isinstance(item, Group):
            return item in STARTS
    return any(isinstance(item, Group) and is_query(item) for item in group[:1])


def parts(group):
    """The SELECTs of a UNION, and after WITH the statement behind the last query in parentheses."""
    part = []
    for item in group:
        if item in ("union", "intersect", "except") and isinstance(item, str):
            yield part
            part = []
        else:
            part.append(item)
    yield part


def flat(items):
    """Tokens of this query: of groups that are no queries too."""
    for item in items:
        if not isinstance(item, Group):
            yield item
        elif not is_query(item):
            yield "("
            yield from flat(item)
            yield ")"
        else:
            yield "(query)"


def queries(group):
    """Every query in the tree, as its own tokens."""
    for part in parts(group):
        if any(not isinstance(i, Group) for i in part):
            yield list(flat(part))
    for item in group:
        if isinstance(item, Group):
            if is_query(item):
                yield from queries(item)
            else:
                yield from (q for inner in item if isinstance(inner, Group) for q in nested(inner))


def nested(group):
    if is_query(group):
        yield from queries(group)
        return
    for item in group:
        if isinstance(item, Group):
            yield from nested(item)


def references(tokens, tables):
    """(table, alias or None, how) of each reference in FROM, JOIN, USING, UPDATE, DELETE FROM, INSERT INTO."""
    for i, token in enumerate(tokens):
        if token not in tables or i == 0:
            continue
        before = tokens[i - 1]
        if before not in ("from", "join", "into", "update", "using", ",", "lateral", "only", "("):
            continue
        if before in (",", "(") and not in_from(tokens, i):
            continue
        after = tokens[i + 1:i + 3]
        alias = None
        if after[:1] == ["as"]:
            alias = after[1]
        elif after and re.fullmatch(r"[a-z_]\w*", after[0]) and after[0] not in KEYWORDS:
            alias = after[0]
        yield token, alias, "insert" if before == "into" else "read"


def in_from(tokens, i):
    """Whether the last keyword before that opens or ends a FROM opens one."""
    for token in reversed(tokens[:i]):
        if token in ("from", "using", "join"):
            return True
        if token in ("select", "where", "set", "returning", "by", "values", "into", "on"):
            return False
    return False


def compared_with(tokens, table, alias, alone):
    """What the user of the table is compared with: names before a dot, or the first token of anything else."""
    column = "id" if table == "users" else "user_id"
    text = " ".join(tokens)
    forms = [rf"(?<![\w.]){re.escape(alias or table)} \. {column}"]
    if alone:
        forms.append(rf"(?<! \. )(?<![\w.]){column}")
    found = set()
    for form in forms:
        found |= set(re.findall(rf"{form} (?:=|in) (\S+)", text))
        found |= set(re.findall(rf"(\w+) \. \w+ = {form}(?!\w)", text))
        # a row of columns: (user_id, ...) = (...)
        found |= set(re.findall(rf"\( {form} ,[^()]*\) (?:=|in) \(? ?(\S+)", text))
        found |= set(re.findall(rf"\( (\w+) \. user_id ,[^()]*\) = \( {form} ,", text))
    # JOIN ... USING (user_id, ...): with the other side of the join
    if re.search(rf"join {table} (?:as )?{re.escape(alias or '')} ?using \( user_id ,", text):
        found.add("using")
    return found


def unbound_reads(tokens, reads):
    """Those of the references that are compared with nothing, or only with each other."""
    names = {alias or table for table, alias in reads}
    others = {(table, alias): compared_with(tokens, table, alias, len(reads) == 1) for table, alias in reads}
    bound = {r for r, with_ in others.items() if with_ - names}
    while True:
        bound_names = {alias or table for table, alias in bound}
        more = {r for r, with_ in others.items() if r not in bound and with_ & bound_names}
        more |= {r for r in reads if r not in bound for b in bound if (r[1] or r[0]) in others[b]}
        if not more:
            return [r for r in reads if r not in bound]
        bound |= more


def unbound(statement, tables):
    """Texts that say which references of the statement are bound to no user."""
    sql = statement.sql
    if sql.startswith(("COPY", "BEGIN;")):
        m = re.search(r"COPY (\w+) \(([^)]*)\)", sql)
        if m and m[1] in tables and "user_id" not in m[2]:
            yield f"COPY {m[1]} without user_id"
        return
    for tokens in queries(parse(sql)):
        found = list(references(tokens, tables))
        for table in [table for table, _, how in found if how == "insert"]:
            at = tokens.index("into")
            columns = tokens[at:tokens.index(")", at)] if ")" in tokens[at:] else []
            if ("id" if table == "users" else "user_id") not in columns:
                yield f"inserts into {table} without user_id"
        for table, alias in unbound_reads(tokens, [(table, alias) for table, alias, how in found if how == "read"]):
            yield f"{table}{' AS ' + alias if alias else ''} is bound to no user"


def violations():
    tables = tenant_tables()
    used = set()
    for s in statements():
        wrong = list(unbound(s, tables))
        if wrong and s.name in UNBOUND:
            used.add(s.name)
        elif wrong:
            for text in wrong:
                yield f"{s.path}: {s.name}: {text}"
    for stale in sorted(set(UNBOUND) - used):
        yield f"tests/lint/tenants.py: {stale} is no exception any more"
