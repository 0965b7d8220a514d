/* Reservations: their SQL with its parameters, and the transaction that takes one only where every hard
 * budget has room. What a call costs is the caller's knowledge, whether a limit holds core/budget.h's.
 *
 * Why it holds. Whoever wants to hold an amount first locks the rows of all budgets that the call is in, in
 * the order of their ids; only then a statement of its own, and so with a snapshot of its own, reads what is
 * spent and what is reserved. The amount becomes visible at COMMIT, when the locks go to the next. Calls that
 * are stored meanwhile take no lock; the one that settles a reservation turns it into spend in one
 * transaction, which that one snapshot sees whole or not at all. */
#include "llmlab/db/reservations.h"
#include <stdlib.h>
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"
#include "llmlab/core/budget.h"
#include "scope.h"

#define PARAMS_BYTES (64 << 10)

/* The account cannot go while we are at it, so that nobody waits for us who we wait for. */
static const struct db_stmt HOLD_USER = {
	"reservations_hold_user", "SELECT timezone FROM users WHERE id = $1 FOR KEY SHARE"};
static const struct db_stmt READ_USER = {
	"reservations_read_user", "SELECT timezone FROM users WHERE id = $1"};

/* No row: the user has as many as may be (RESERVATIONS_PER_USER_MAX). */
static const struct db_stmt INSERT = {"reservations_insert",
	"INSERT INTO reservations (user_id, id, amount, provider, model, project, customer, tags, "
	"expires_at)"
	" SELECT $1::uuid, $2::uuid, $3::numeric, $4::text, $5::text, $6::text, $7::text, $8::jsonb,"
	" statement_timestamp() + make_interval(secs => $9::bigint)"
	" WHERE (SELECT count(*) FROM reservations WHERE user_id = $1 AND expires_at > "
	"statement_timestamp()) < 10000"
	" RETURNING expires_at"};

static const struct db_stmt RELEASE = {"reservations_release",
	"DELETE FROM reservations WHERE user_id = $1 AND id = $2 RETURNING expires_at > "
	"statement_timestamp()"};

/* Locked in the order of the key, so that writers with the same reservations wait and do not deadlock. */
const struct db_stmt RESERVATIONS_SETTLE = {"reservations_settle",
	"WITH held AS MATERIALIZED (SELECT r.user_id, r.id FROM reservations AS r"
	"  JOIN (SELECT DISTINCT * FROM unnest($1::uuid[], $2::uuid[])) AS t (user_id, id)"
	"  ON r.user_id = t.user_id AND r.id = t.id ORDER BY r.user_id, r.id FOR UPDATE OF r)"
	" DELETE FROM reservations AS r USING held WHERE r.user_id = held.user_id AND r.id = held.id"};

/* Rows that somebody is about to settle are his. */
static const struct db_stmt PURGE = {"reservations_purge",
	"WITH gone AS MATERIALIZED (SELECT user_id, id FROM reservations WHERE expires_at < "
	"statement_timestamp()"
	"  ORDER BY expires_at LIMIT 10000 FOR UPDATE SKIP LOCKED)"
	" DELETE FROM reservations AS r USING gone WHERE r.user_id = gone.user_id AND r.id = gone.id"};

/* ---- asking ---- */

struct asking {
	const struct reservation_ask *ask;
	struct arena *arena;
	const struct tz *tz;
	struct reservation_answer answer;
};

static enum err read_zone(struct db_conn *c, struct asking *k)
{
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, &k->ask->user_id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(c, k->ask->hold ? &HOLD_USER : &READ_USER, &p, &r);
	if (e != ERR_OK)
		return e;
	/* It was checked when it was set: a zone that has gone from the system must not become another one.
	 */
	const enum err loaded = tz_load(db_text(r, 0, 0), &k->tz);
	return loaded == ERR_NOT_FOUND ? ERR_INTERNAL : loaded;
}

static enum err read_budgets(struct db_conn *c, struct asking *k)
{
	struct budget *found;
	size_t n;
	const enum err e =
		budgets_of_call(c, &k->ask->user_id, &k->ask->call, k->ask->hold, k->arena, &found, &n);
	if (e != ERR_OK)
		return e;
	k->answer.budgets = arena_array(k->arena, n, sizeof *k->answer.budgets);
	if (k->answer.budgets == NULL)
		return ERR_NO_MEMORY;
	k->answer.n = n;
	const int64_t now_us = clock_now_us(); /* the period that is when the locks are ours */
	for (size_t i = 0; i < n; i++)
		k->answer.budgets[i] = (struct reservation_budget){
			.budget = found[i], .period = period_at(found[i].period, k->tz, now_us)};
	return ERR_OK;
}

static enum err read_spend(struct db_conn *c, struct asking *k)
{
	struct reservation_answer *const a = &k->answer;
	struct budget_window *const windows = arena_array(k->arena, a->n, sizeof *windows);
	if (windows == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < a->n; i++) {
		const struct reservation_budget *const b = &a->budgets[i];
		windows[i] = (struct budget_window){.user_id = k->ask->user_id,
			.scope_dimension = b->budget.scope_dimension,
			.scope_value = b->budget.scope_value,
			.start_us = b->period.start_us,
			.end_us = b->period.end_us};
	}
	const enum err e = budgets_spend(c, windows, a->n, k->arena);
	for (size_t i = 0; e == ERR_OK && i < a->n; i++) {
		a->budgets[i].spent = windows[i].spent;
		a->budgets[i].reserved = windows[i].reserved;
		a->budgets[i].unpriced_calls = windows[i].unpriced_calls;
	}
	return e;
}

static void decide(struct asking *k)
{
	struct reservation_answer *const a = &k->answer;
	a->allowed = true;
	for (size_t i = 0; i < a->n; i++) {
		struct reservation_budget *const b = &a->budgets[i];
		b->passes = k->ask->has_amount &&
			    budget_admits(b->budget.limit, b->spent, b->reserved, k->ask->amount);
		a->allowed = a->allowed && (b->passes || !b->budget.hard);
	}
}

static enum err hold(struct db_conn *c, struct asking *k)
{
	const struct reservation_ask *const ask = k->ask;
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, &ask->user_id);
	db_param_uuid(&p, &ask->id);
	db_param_money(&p, ask->amount);
	db_param_text(&p, ask->call.provider);
	db_param_text(&p, ask->call.model);
	db_param_text(&p, ask->call.project);
	db_param_text(&p, ask->call.customer);
	db_param_text(&p, ask->call.tags_json);
	db_param_i64(&p, ask->ttl_s);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &INSERT, &p, &r);
	if (e != ERR_OK)
		return e;
	if (db_rows(r) == 0)
		return ERR_CONFLICT;
	k->answer.held = true;
	k->answer.expires_at_us = db_instant(r, 0, 0);
	return ERR_OK;
}

/* Body of the transaction. */
static enum err run_ask(struct db_conn *c, void *arg)
{
	struct asking *const k = arg;
	k->answer = (struct reservation_answer){.n = 0};
	enum err e = read_zone(c, k);
	if (e == ERR_OK)
		e = read_budgets(c, k);
	if (e == ERR_OK)
		e = read_spend(c, k);
	if (e != ERR_OK)
		return e;
	decide(k);
	return k->ask->hold && k->ask->has_amount && k->answer.allowed ? hold(c, k) : ERR_OK;
}

enum err reservations_ask(struct db_conn *c, const struct reservation_ask *ask, struct arena *arena,
	struct reservation_answer *ret)
{
	struct asking k = {.ask = ask, .arena = arena};
	const enum err e = db_transaction(c, run_ask, &k);
	if (e != ERR_OK)
		return e;
	metric_add(METRIC_RESERVATIONS, k.answer.held);
	metric_add(METRIC_RESERVATIONS_REFUSED, ask->hold && !k.answer.held);
	*ret = k.answer;
	return ERR_OK;
}

/* ---- the end of a reservation ---- */

enum err reservations_release(struct db_conn *c, const struct uuid *user_id, const struct uuid *id)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &RELEASE, &p, &r);
	if (e != ERR_OK)
		return e;
	return db_rows(r) == 1 && db_bool(r, 0, 0) ? ERR_OK : ERR_NOT_FOUND;
}

enum err reservations_settle_params(
	struct db_params *p, const struct reservation_ref *refs, size_t n, struct arena *arena)
{
	const char **const users = arena_array(arena, n, sizeof *users);
	const char **const ids = arena_array(arena, n, sizeof *ids);
	if (users == NULL || ids == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		users[i] = uuid_text(&refs[i].user_id, arena);
		ids[i] = uuid_text(&refs[i].id, arena);
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	db_params_init(p, arena);
	db_param_text_array(p, users, n);
	db_param_text_array(p, ids, n);
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

enum err reservations_purge(struct db_conn *c)
{
	return db_run(c, &PURGE, NULL, NULL);
}
