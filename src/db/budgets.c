/* Budgets: their SQL with its parameters and columns. What a budget's period is and how much of it is spent
 * is worked out above, from the calendar and the rollup; here only the limits themselves are kept. */

#include "llmlab/db/budgets.h"

#include <stdlib.h>
#include <string.h>

#include "llmlab/base/check.h"
#include "scope.h"

#define PARAMS_BYTES (64 << 10)

/* Holding the user's row makes the count below true when two requests create at once. It does not block the
 * writer of events: their foreign keys take a weaker lock. */
static const struct db_stmt LOCK_USER = {
	"budgets_lock_user", "SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE"};

/* No row: the user has 200 others (BUDGETS_PER_USER_MAX). An existing budget may always be changed. */
static const struct db_stmt UPSERT = {"budgets_upsert",
	"INSERT INTO budgets (user_id, id, name, amount, period, scope_dimension, scope_value, thresholds, "
	"hard)"
	" SELECT $1::uuid, $2::uuid, $3::text, $4::numeric, $5::text, $6::text, $7::text, $8::smallint[], "
	"$9::boolean"
	" WHERE (SELECT count(*) FROM budgets WHERE user_id = $1) < 200 OR EXISTS (SELECT FROM budgets"
	" WHERE user_id = $1 AND period = $5 AND scope_dimension = $6 AND scope_value = $7)"
	" ON CONFLICT (user_id, period, scope_dimension, scope_value) DO UPDATE SET name = excluded.name,"
	" amount = excluded.amount, thresholds = excluded.thresholds, hard = excluded.hard, updated_at = "
	"now()"
	" RETURNING id, created_at, updated_at, xmax = 0 AS created"};

static const struct db_stmt UPDATE = {"budgets_update",
	"UPDATE budgets SET name = $3, amount = $4::numeric, period = $5, scope_dimension = $6, scope_value "
	"= $7,"
	" thresholds = $8::smallint[], hard = $9::boolean, updated_at = now()"
	" WHERE user_id = $1 AND id = $2 RETURNING id, created_at, updated_at"};

#define BUDGET_COLUMNS                                                                                       \
	"id, name, amount, period, scope_dimension, scope_value, array_to_string(thresholds, ','), hard,"    \
	" created_at, updated_at"
static const struct db_stmt LIST = {"budgets_list",
	"SELECT " BUDGET_COLUMNS
	" FROM budgets WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT 200"};
static const struct db_stmt FIND = {
	"budgets_find", "SELECT " BUDGET_COLUMNS " FROM budgets WHERE user_id = $1 AND id = $2"};

static const struct db_stmt DELETE_ONE = {
	"budgets_delete", "DELETE FROM budgets WHERE user_id = $1 AND id = $2 RETURNING id"};

static const char *const PERIOD_NAMES[] = {[PERIOD_DAY] = "daily",
	[PERIOD_WEEK] = "weekly",
	[PERIOD_MONTH] = "monthly",
	[PERIOD_YEAR] = "yearly"};

const char *budget_period_name(enum period_kind k)
{
	CHECK((size_t)k < sizeof(PERIOD_NAMES) / sizeof(PERIOD_NAMES[0]));
	return PERIOD_NAMES[k];
}

enum err budget_period_parse(const char *name, enum period_kind *ret)
{
	for (size_t k = 0; k < sizeof(PERIOD_NAMES) / sizeof(PERIOD_NAMES[0]); k++) {
		if (strcmp(name, PERIOD_NAMES[k]) != 0)
			continue;
		*ret = (enum period_kind)k;
		return ERR_OK;
	}
	return ERR_NOT_FOUND;
}

/* $1..$9 of UPSERT and UPDATE. ERR_NO_MEMORY. */
static enum err params_budget(struct db_params *p, const struct uuid *user_id, const struct budget *b)
{
	CHECK(b->n_thresholds <= BUDGET_THRESHOLDS_MAX);
	int64_t thresholds[BUDGET_THRESHOLDS_MAX];
	for (size_t i = 0; i < b->n_thresholds; i++)
		thresholds[i] = b->thresholds[i];
	db_param_uuid(p, user_id);
	db_param_uuid(p, &b->id);
	db_param_text(p, b->name);
	db_param_money(p, b->limit);
	db_param_text(p, budget_period_name(b->period));
	db_param_text(p, b->scope_dimension);
	db_param_text(p, b->scope_value);
	db_param_i64_array(p, thresholds, b->n_thresholds);
	db_param_bool(p, b->hard);
	return arena_overflowed(p->arena) ? ERR_NO_MEMORY : ERR_OK;
}

struct upsert {
	const struct uuid *user_id;
	const struct budget *b;
	struct arena *arena;
	struct uuid id; /* from here on: what is stored */
	int64_t created_at_us, updated_at_us;
	bool created;
};

/* Body of the transaction. */
static enum err upsert(struct db_conn *c, void *arg)
{
	struct upsert *u = arg;
	struct db_params user;
	db_params_init(&user, u->arena);
	db_param_uuid(&user, u->user_id);
	struct db_params p;
	db_params_init(&p, u->arena);
	enum err e = params_budget(&p, u->user_id, u->b);
	if (e != ERR_OK)
		return e;
	PGresult *locked SCOPE_RESULT = NULL;
	e = db_run(c, &LOCK_USER, &user, &locked);
	if (e != ERR_OK)
		return e;
	if (db_rows(locked) == 0)
		return ERR_NOT_FOUND;
	PGresult *r SCOPE_RESULT = NULL;
	e = db_run(c, &UPSERT, &p, &r);
	if (e != ERR_OK)
		return e;
	if (db_rows(r) == 0)
		return ERR_CONFLICT;
	u->id = db_uuid(r, 0, 0);
	u->created_at_us = db_instant(r, 0, 1);
	u->updated_at_us = db_instant(r, 0, 2);
	u->created = db_bool(r, 0, 3);
	return ERR_OK;
}

enum err budgets_upsert(struct db_conn *c, const struct uuid *user_id, struct budget *b, struct arena *arena,
	bool *ret_created)
{
	struct upsert u = {.user_id = user_id, .b = b, .arena = arena};
	const enum err e = db_transaction(c, upsert, &u);
	if (e != ERR_OK)
		return e;
	b->id = u.id;
	b->created_at_us = u.created_at_us;
	b->updated_at_us = u.updated_at_us;
	*ret_created = u.created;
	return ERR_OK;
}

enum err budgets_update(struct db_conn *c, const struct uuid *user_id, struct budget *b, struct arena *arena)
{
	struct db_params p;
	db_params_init(&p, arena);
	enum err e = params_budget(&p, user_id, b);
	if (e != ERR_OK)
		return e;
	PGresult *r SCOPE_RESULT = NULL;
	e = db_run(c, &UPDATE, &p, &r);
	if (e != ERR_OK)
		return e;
	if (db_rows(r) == 0)
		return ERR_NOT_FOUND;
	b->created_at_us = db_instant(r, 0, 1);
	b->updated_at_us = db_instant(r, 0, 2);
	return ERR_OK;
}

/* "50,80,100", as the database's constraint guarantees it. */
static void read_thresholds(const char *text, struct budget *b)
{
	for (const char *at = text; *at;) {
		CHECK(b->n_thresholds < BUDGET_THRESHOLDS_MAX);
		char *end = NULL;
		b->thresholds[b->n_thresholds++] = (int)strtol(at, &end, 10);
		CHECK(end != at && (*end == ',' || *end == '\0'));
		at = *end == ',' ? end + 1 : end;
	}
}

/* A row of BUDGET_COLUMNS; texts go to the arena, whose overflow the caller asks for. */
static struct budget read_budget(const PGresult *r, int row, struct arena *arena)
{
	struct budget b = {
		.id = db_uuid(r, row, 0),
		.name = arena_strdup(arena, db_text(r, row, 1)),
		.limit = db_money(r, row, 2),
		.scope_dimension = arena_strdup(arena, db_text(r, row, 4)),
		.scope_value = arena_strdup(arena, db_text(r, row, 5)),
		.hard = db_bool(r, row, 7),
		.created_at_us = db_instant(r, row, 8),
		.updated_at_us = db_instant(r, row, 9),
	};
	CHECK(budget_period_parse(db_text(r, row, 3), &b.period) == ERR_OK);
	read_thresholds(db_text(r, row, 6), &b);
	return b;
}

enum err budgets_list(struct db_conn *c, const struct uuid *user_id, struct arena *arena, struct budget **ret,
	size_t *ret_n)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &LIST, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct budget *budgets = arena_array(arena, n, sizeof(*budgets));
	if (!budgets)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++)
		budgets[i] = read_budget(r, (int)i, arena);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = budgets;
	*ret_n = n;
	return ERR_OK;
}

enum err budgets_find(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	struct arena *arena, struct budget *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &FIND, &p, &r);
	if (e != ERR_OK)
		return e;
	if (db_rows(r) == 0)
		return ERR_NOT_FOUND;
	const struct budget found = read_budget(r, 0, arena);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = found;
	return ERR_OK;
}

enum err budgets_delete(struct db_conn *c, const struct uuid *user_id, const struct uuid *id)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	if (arena_overflowed(&arena))
		return ERR_NO_MEMORY;
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &DELETE_ONE, &p, &r);
	if (e != ERR_OK)
		return e;
	return db_rows(r) == 1 ? ERR_OK : ERR_NOT_FOUND;
}
