/* Deleting accounts: all at once when they are small, else marked at once and removed piece by piece. The
 * order of the last transaction is that of docs/adr/0005: the row in users first, so that no event can be
 * stored behind its back. */
#include "llmlab/db/accounts.h"

#include <string.h>

#include "llmlab/base/clock.h"
#include "scope.h"

#define PARAMS_BYTES (16 << 10)
/* How often the transaction is tried while writers hold the account's rows. */
#define DELETE_TRIES 5
#define DELETE_US    (10 * US_PER_SECOND)

/* A writer may hold sums of this account and wait for its row in users, which this transaction holds: whoever
 * waits longer than this gives up, well before PostgreSQL looks for deadlocks. */
static const struct db_stmt LIMIT_LOCKS = {
	"accounts_limit_locks", "SELECT set_config('lock_timeout', '200ms', true)"};

/* Whether no table that grows with use has more than $2 rows of this account. The smaller sums have no more
 * rows than these. */
static const struct db_stmt IS_SMALL = {"accounts_is_small",
	"SELECT (SELECT count(*) FROM (SELECT FROM events WHERE user_id = $1 LIMIT $2::bigint + 1) AS t) <= "
	"$2"
	" AND (SELECT count(*) FROM (SELECT FROM event_keys WHERE user_id = $1 LIMIT $2::bigint + 1) AS t) "
	"<= $2"
	" AND (SELECT count(*) FROM (SELECT FROM usage_set_model_15m WHERE user_id = $1 LIMIT $2::bigint + "
	"1) AS "
	"t) <= $2"
	" AND (SELECT count(*) FROM (SELECT FROM usage_model_15m WHERE user_id = $1 LIMIT $2::bigint + 1) AS "
	"t)"
	" <= $2"
	" AND (SELECT count(*) FROM (SELECT FROM repricing_changes WHERE user_id = $1 LIMIT $2::bigint + 1) "
	"AS t)"
	" <= $2"};

#define SET_GONE                                                                                             \
	" INSERT INTO auth_changes (account, session_generation, key_generation)"                            \
	" SELECT id, 9223372036854775807, 9223372036854775807 FROM gone"                                     \
	" ON CONFLICT (account) DO UPDATE SET session_generation = excluded.session_generation,"             \
	" key_generation = excluded.key_generation, changed_at = now(), changed_xid = pg_current_xact_id()"  \
	" RETURNING account"

/* Of an account that lives ($2 its hash) or is marked ($2 NULL). */
static const struct db_stmt DELETE_USER = {"accounts_delete_user",
	"WITH gone AS (DELETE FROM users WHERE id = $1"
	" AND CASE WHEN $2::text IS NULL THEN deleted_at IS NOT NULL ELSE password_hash = $2 AND deleted_at "
	"IS NULL END"
	" RETURNING id)" SET_GONE};
static const struct db_stmt DELETE_KEYS = {
	"accounts_delete_event_keys", "DELETE FROM event_keys WHERE user_id = $1"};
static const struct db_stmt DELETE_EVENTS = {
	"accounts_delete_events", "DELETE FROM events WHERE user_id = $1"};

/* Nothing is told or sent any more: webhooks go with what waits for them. No address that can be given at
 * signup lacks an @. */
static const struct db_stmt MARK = {"accounts_mark",
	"WITH gone AS (UPDATE users SET deleted_at = now(), email = 'deleted ' || id, name = 'deleted',"
	" password_hash = '$argon2id$deleted', timezone = 'UTC', updated_at = now()"
	" WHERE id = $1 AND password_hash = $2 AND deleted_at IS NULL RETURNING id),"
	" keys AS (DELETE FROM api_keys WHERE user_id IN (SELECT id FROM gone)),"
	" hooks AS (DELETE FROM webhooks WHERE user_id IN (SELECT id FROM gone)),"
	" limits AS (DELETE FROM budgets WHERE user_id IN (SELECT id FROM gone))" SET_GONE};

/* Before that: nobody is at the account, then nobody at its keys, in the order of those who note their uses.
 */
static const struct db_stmt HOLD_USER = {
	"accounts_hold_user", "SELECT id FROM users WHERE id = $1 FOR UPDATE"};
static const struct db_stmt HOLD_KEYS = {
	"accounts_hold_keys", "SELECT id FROM api_keys WHERE user_id = $1 ORDER BY user_id, id FOR UPDATE"};

/* One server at a time. */
static const struct db_stmt NEXT_MARKED = {"accounts_next_marked",
	"SELECT id FROM users WHERE deleted_at IS NOT NULL"
	" AND pg_try_advisory_xact_lock(hashtext('llmlab account purge')) ORDER BY deleted_at LIMIT 1"};

/* A piece of each table that grows with use; `FOR UPDATE SKIP LOCKED` leaves to writers what they hold. */
#define PIECE(name, table)                                                                                   \
	{                                                                                                    \
		"accounts_purge_" name, "DELETE FROM " table                                                 \
					" WHERE user_id = $1 AND ctid = ANY (ARRAY(SELECT ctid FROM " table  \
					" WHERE user_id = $1 LIMIT 5000 FOR UPDATE SKIP LOCKED))"            \
	}
static const struct db_stmt PURGE_PIECES[] = {
	{"accounts_purge_events", "DELETE FROM events AS e USING (SELECT occurred_at, id FROM events WHERE "
				  "user_id = $1 LIMIT 5000) AS p"
				  " WHERE e.user_id = $1 AND e.occurred_at = p.occurred_at AND e.id = p.id"},
	PIECE("event_keys", "event_keys"),
	PIECE("usage_set_model_15m", "usage_set_model_15m"),
	PIECE("usage_model_15m", "usage_model_15m"),
	PIECE("usage_sets", "usage_sets"),
	PIECE("repricing_changes", "repricing_changes"),
};

struct deletion {
	const struct uuid *id;
	const char *password_hash; /* NULL: it is marked */
	int small_rows;
	bool small;
	bool busy; /* somebody held a row for too long */
};

static enum err run(struct db_conn *c, const struct db_stmt *stmt, const struct deletion *d, PGresult **ret)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, d->id);
	if (stmt == &DELETE_USER || stmt == &MARK)
		db_param_text(&p, d->password_hash);
	if (stmt == &IS_SMALL)
		db_param_i64(&p, d->small_rows);
	return db_run(c, stmt, &p, ret);
}

/* Body of a transaction: everything, in the order of docs/adr/0005. */
static enum err delete_all(struct db_conn *c, void *arg)
{
	struct deletion *const d = arg;
	d->busy = false;
	enum err e = db_run(c, &LIMIT_LOCKS, NULL, NULL);
	if (e != ERR_OK)
		return e;
	PGresult *gone SCOPE_RESULT = NULL;
	e = run(c, &DELETE_USER, d, &gone);
	if (e == ERR_OK && db_rows(gone) == 0)
		return ERR_NOT_FOUND;
	if (e == ERR_OK)
		e = run(c, &DELETE_KEYS, d, NULL);
	if (e == ERR_OK)
		e = run(c, &DELETE_EVENTS, d, NULL);
	d->busy = e == ERR_DATABASE_UNAVAILABLE && strcmp(db_last_sqlstate(c), "55P03") == 0;
	return e;
}

/* ERR_OK: nothing is left, or it is too large or too busy for that (*ret_gone false, nothing was changed). */
static enum err delete_if_small(struct db_conn *c, struct deletion *d, bool *ret_gone)
{
	PGresult *r SCOPE_RESULT = NULL;
	enum err e = run(c, &IS_SMALL, d, &r);
	if (e != ERR_OK)
		return e;
	d->small = db_bool(r, 0, 0);
	for (int i = 0; d->small && i < DELETE_TRIES; i++) {
		e = db_transaction(c, delete_all, d);
		if (e == ERR_OK)
			*ret_gone = true;
		if (!d->busy)
			return e;
	}
	return ERR_OK;
}

/* Body of a transaction. */
static enum err mark(struct db_conn *c, void *arg)
{
	const struct deletion *const d = arg;
	enum err e = run(c, &HOLD_USER, d, NULL);
	if (e == ERR_OK)
		e = run(c, &HOLD_KEYS, d, NULL);
	PGresult *marked SCOPE_RESULT = NULL;
	if (e == ERR_OK)
		e = run(c, &MARK, d, &marked);
	return e == ERR_OK && db_rows(marked) == 0 ? ERR_NOT_FOUND : e;
}

enum err accounts_delete(
	struct db_conn *c, const struct uuid *id, const char *password_hash, int small_rows, bool *ret_gone)
{
	struct deletion d = {.id = id, .password_hash = password_hash, .small_rows = small_rows};
	bool gone = false;
	const int64_t deadline_us = db_conn_set_deadline(c, DELETE_US);
	enum err e = delete_if_small(c, &d, &gone);
	if (e == ERR_OK && !gone)
		e = db_transaction(c, mark, &d);
	(void)db_conn_set_deadline(c, deadline_us);
	if (e == ERR_OK)
		*ret_gone = gone;
	return e;
}

struct purge {
	int small_rows;
	bool found;
	struct uuid id;
};

/* Body of a transaction: a piece of each large table. */
static enum err purge_pieces(struct db_conn *c, void *arg)
{
	struct purge *const p = arg;
	PGresult *next SCOPE_RESULT = NULL;
	enum err e = db_run(c, &NEXT_MARKED, NULL, &next);
	p->found = e == ERR_OK && db_rows(next) > 0;
	if (!p->found)
		return e;
	p->id = db_uuid(next, 0, 0);
	const struct deletion d = {.id = &p->id, .small_rows = p->small_rows};
	for (size_t i = 0; i < sizeof PURGE_PIECES / sizeof PURGE_PIECES[0] && e == ERR_OK; i++)
		e = run(c, &PURGE_PIECES[i], &d, NULL);
	return e;
}

enum err accounts_purge(struct db_conn *c, int small_rows, bool *ret_more)
{
	struct purge p = {.small_rows = small_rows};
	enum err e = db_transaction(c, purge_pieces, &p);
	bool gone = false;
	struct deletion d = {.id = &p.id, .small_rows = small_rows};
	if (e == ERR_OK && p.found)
		e = delete_if_small(c, &d, &gone);
	if (e == ERR_NOT_FOUND) /* another server was faster */
		e = ERR_OK;
	if (e == ERR_OK)
		*ret_more = p.found && (gone || !d.busy);
	return e;
}
