/* Alerts: their SQL with its parameters and columns. When there is something to tell is decided above; that
 * it is told once is the unique keys' work, and that it is told at all the one transaction with the outbox of
 * webhooks. */
#include "llmlab/db/alerts.h"
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/check.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/webhooks.h"
#include "scope.h"

#define USERS_BYTES ((size_t)1 << 20)

static const char *const KINDS[] = {
	[ALERT_BUDGET_THRESHOLD] = "budget.threshold", [ALERT_MODEL_UNPRICED] = "model.unpriced"};

const char *alert_kind_name(enum alert_kind k)
{
	CHECK((size_t)k < sizeof KINDS / sizeof KINDS[0]);
	return KINDS[k];
}

static const struct db_stmt MISSING = {"alerts_missing",
	"SELECT t.n FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::smallint[]) WITH ORDINALITY"
	" AS t (user_id, budget_id, day, threshold, n) WHERE NOT EXISTS (SELECT FROM alerts AS a"
	" WHERE a.user_id = t.user_id AND a.budget_id = t.budget_id AND a.period_day = t.day"
	" AND a.threshold = t.threshold)"};

/* No row: told already, or the budget or the account is gone. Its row is held so that it cannot go meanwhile.
 */
static const struct db_stmt INSERT_BUDGET = {"alerts_insert_budget",
	"INSERT INTO alerts (user_id, id, kind, budget_id, budget_name, period_day, period_start, period_end,"
	" threshold, spend, amount, created_at)"
	" SELECT $1::uuid, $2::uuid, 'budget.threshold', $3::uuid, $4::text, $5::date, $6::timestamptz,"
	" $7::timestamptz, $8::smallint, $9::numeric, $10::numeric, $11::timestamptz"
	" FROM budgets WHERE user_id = $1 AND id = $3 AND EXISTS (SELECT FROM users WHERE id = $1 AND "
	"deleted_at IS NULL)"
	" FOR KEY SHARE ON CONFLICT DO NOTHING RETURNING id"};

/* No row: told already, the account is gone, or it was told of so many (ALERT_MODELS_MAX) that this is no
 * news. */
#define MODELS_TOLD "(SELECT count(*) FROM alerts WHERE user_id = $1 AND kind = 'model.unpriced')"
static const struct db_stmt INSERT_MODEL = {"alerts_insert_model",
	"INSERT INTO alerts (user_id, id, kind, provider, model, created_at)"
	" SELECT $1::uuid, $2::uuid, 'model.unpriced', $3::text, $4::text, $5::timestamptz FROM users"
	" WHERE users.id = $1 AND deleted_at IS NULL AND " MODELS_TOLD
	" < 1000 ON CONFLICT DO NOTHING RETURNING id"};

/* From name to name through the index of what has no price, so that a name's many quarters of an hour cost
 * one step. */
#define NEXT_NAME "SELECT provider, model FROM usage_model_15m WHERE user_id = u.id AND unpriced_calls > 0"
#define ONE_NAME  " ORDER BY provider, model LIMIT 1"
static const struct db_stmt UNPRICED = {"alerts_unpriced",
	"SELECT u.id, m.provider, m.model FROM users AS u CROSS JOIN LATERAL ("
	"WITH RECURSIVE names AS ((" NEXT_NAME ONE_NAME ") UNION ALL SELECT x.provider, x.model FROM names"
	" CROSS JOIN LATERAL (" NEXT_NAME " AND (provider, model) > (names.provider, names.model)" ONE_NAME
	") AS x) SELECT provider, model FROM names) AS m"
	" WHERE u.id = ANY ($1::uuid[]) AND u.deleted_at IS NULL"
	" AND (SELECT count(*) FROM alerts WHERE user_id = u.id AND kind = 'model.unpriced') < 1000"
	" AND NOT EXISTS (SELECT FROM alerts AS a WHERE a.user_id = u.id AND a.kind = 'model.unpriced'"
	" AND a.provider = m.provider AND a.model = m.model) LIMIT 200"};

static const struct db_stmt USERS = {"alerts_users",
	"SELECT id FROM users WHERE deleted_at IS NULL AND ($1::uuid IS NULL OR id > $1) "
	"ORDER BY id LIMIT $2::integer"};

#define ALERT_COLUMNS                                                                                        \
	"id, kind, budget_id, budget_name, period_day, period_start, period_end, threshold, spend, amount,"  \
	" provider, model, created_at, acknowledged_at"
static const struct db_stmt LIST = {"alerts_list",
	"SELECT " ALERT_COLUMNS " FROM alerts WHERE user_id = $1 AND ($2::uuid IS NULL OR id < $2)"
	" AND ($3::boolean IS NULL OR (acknowledged_at IS NOT NULL) = $3)"
	" AND ($4::uuid IS NULL OR budget_id = $4) ORDER BY id DESC LIMIT $5::integer"};

static const struct db_stmt ACKNOWLEDGE = {"alerts_acknowledge",
	"UPDATE alerts SET acknowledged_at = coalesce(acknowledged_at, now()) WHERE user_id = $1 AND id = $2"
	" RETURNING " ALERT_COLUMNS};

static const struct db_stmt PURGE = {"alerts_purge",
	"DELETE FROM alerts WHERE (user_id, id) IN (SELECT user_id, id FROM alerts WHERE kind = "
	"'budget.threshold'"
	" AND created_at < now() - interval '400 days' ORDER BY created_at LIMIT 10000 FOR UPDATE SKIP "
	"LOCKED)"};

static const char *date_text(int32_t day, struct arena *arena)
{
	char text[DATE_TEXT_SIZE];
	calendar_format_date(day, text);
	return arena_strdup(arena, text);
}

enum err alerts_missing(
	struct db_conn *c, const struct alert *alerts, size_t n, struct arena *arena, bool *ret_missing)
{
	const char **const users = arena_array(arena, n, sizeof *users);
	const char **const budgets = arena_array(arena, n, sizeof *budgets);
	const char **const days = arena_array(arena, n, sizeof *days);
	int64_t *const thresholds = arena_array(arena, n, sizeof *thresholds);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		users[i] = uuid_text(&alerts[i].user_id, arena);
		budgets[i] = uuid_text(&alerts[i].budget_id, arena);
		days[i] = date_text(alerts[i].period_day, arena);
		thresholds[i] = alerts[i].threshold;
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_text_array(&p, users, n);
	db_param_text_array(&p, budgets, n);
	db_param_text_array(&p, days, n);
	db_param_i64_array(&p, thresholds, n);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &MISSING, &p, &r);
	if (e != ERR_OK)
		return e;
	memset(ret_missing, 0, n * sizeof *ret_missing);
	for (int row = 0; row < db_rows(r); row++) {
		const int64_t nth = db_i64(r, row, 0);
		CHECK(nth >= 1 && (size_t)nth <= n);
		ret_missing[nth - 1] = true;
	}
	return ERR_OK;
}

/* ---- storing ---- */

struct insert {
	const struct alert *alert;
	const char *payload;
	struct arena *arena;
	bool is_new;
};

static const struct db_stmt *params_insert(struct db_params *p, const struct alert *a, struct arena *arena)
{
	db_params_init(p, arena);
	db_param_uuid(p, &a->user_id);
	db_param_uuid(p, &a->id);
	if (a->kind == ALERT_MODEL_UNPRICED) {
		db_param_text(p, a->provider);
		db_param_text(p, a->model);
		db_param_instant(p, a->created_at_us);
		return &INSERT_MODEL;
	}
	db_param_uuid(p, &a->budget_id);
	db_param_text(p, a->budget_name);
	db_param_text(p, date_text(a->period_day, arena));
	db_param_instant(p, a->period_start_us);
	db_param_instant(p, a->period_end_us);
	db_param_i64(p, a->threshold);
	db_param_money(p, a->spend);
	db_param_money(p, a->limit);
	db_param_instant(p, a->created_at_us);
	return &INSERT_BUDGET;
}

/* Body of the transaction. */
static enum err run_insert(struct db_conn *c, void *arg)
{
	struct insert *const k = arg;
	k->is_new = false;
	struct db_params p;
	const struct db_stmt *const stmt = params_insert(&p, k->alert, k->arena);
	if (arena_overflowed(k->arena))
		return ERR_NO_MEMORY;
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, stmt, &p, &r);
	if (e != ERR_OK || db_rows(r) == 0)
		return e;
	k->is_new = true;
	return webhooks_enqueue(c, &k->alert->user_id, alert_kind_name(k->alert->kind), k->payload, k->arena);
}

enum err alerts_insert(
	struct db_conn *c, const struct alert *a, const char *payload, struct arena *arena, bool *ret_new)
{
	struct insert k = {.alert = a, .payload = payload, .arena = arena};
	const enum err e = db_transaction(c, run_insert, &k);
	if (e != ERR_OK)
		return e;
	metric_add(METRIC_ALERTS, k.is_new);
	*ret_new = k.is_new;
	return ERR_OK;
}

/* ---- who and what is to be looked at ---- */

enum err alerts_unpriced(struct db_conn *c, const struct uuid *user_ids, size_t n, struct arena *arena,
	struct alert_model **ret, size_t *ret_n)
{
	const char **const users = arena_array(arena, n, sizeof *users);
	for (size_t i = 0; users != NULL && i < n; i++)
		users[i] = uuid_text(&user_ids[i], arena);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_text_array(&p, users, n);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &UNPRICED, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n_rows = (size_t)db_rows(r);
	struct alert_model *const rows = arena_array(arena, n_rows, sizeof *rows);
	for (size_t i = 0; rows != NULL && i < n_rows; i++)
		rows[i] = (struct alert_model){.user_id = db_uuid(r, (int)i, 0),
			.provider = arena_strdup(arena, db_text(r, (int)i, 1)),
			.model = arena_strdup(arena, db_text(r, (int)i, 2))};
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = rows;
	*ret_n = n_rows;
	return ERR_OK;
}

enum err alerts_users(
	struct db_conn *c, const struct uuid *after, size_t limit, struct uuid *out, size_t *ret_n)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, USERS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, after);
	db_param_i64(&p, (int64_t)limit);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &USERS, &p, &r);
	if (e != ERR_OK)
		return e;
	*ret_n = (size_t)db_rows(r);
	for (size_t i = 0; i < *ret_n; i++)
		out[i] = db_uuid(r, (int)i, 0);
	return ERR_OK;
}

/* ---- reading ---- */

enum {
	COLUMN_ID,
	COLUMN_KIND,
	COLUMN_BUDGET,
	COLUMN_NAME,
	COLUMN_DAY,
	COLUMN_START,
	COLUMN_END,
	COLUMN_THRESHOLD,
	COLUMN_SPEND,
	COLUMN_AMOUNT,
	COLUMN_PROVIDER,
	COLUMN_MODEL,
	COLUMN_CREATED,
	COLUMN_ACKNOWLEDGED
};

/* What only alerts of budgets have. ERR_RANGE: the spend does not fit. */
static enum err read_budget(const PGresult *r, int row, struct alert *a)
{
	CHECK(!db_is_null(r, row, COLUMN_SPEND));
	if (db_sum(r, row, COLUMN_SPEND, &a->spend) != ERR_OK)
		return ERR_RANGE;
	a->budget_id = db_uuid(r, row, COLUMN_BUDGET);
	CHECK(calendar_parse_date(db_text(r, row, COLUMN_DAY), &a->period_day) == ERR_OK);
	a->period_start_us = db_instant(r, row, COLUMN_START);
	a->period_end_us = db_instant(r, row, COLUMN_END);
	a->threshold = (int)db_i64(r, row, COLUMN_THRESHOLD);
	a->limit = db_money(r, row, COLUMN_AMOUNT);
	return ERR_OK;
}

static enum err read_alert(
	const PGresult *r, int row, const struct uuid *user_id, struct arena *arena, struct alert *ret)
{
	*ret = (struct alert){.user_id = *user_id,
		.id = db_uuid(r, row, COLUMN_ID),
		.budget_name = arena_strdup(arena, db_text(r, row, COLUMN_NAME)),
		.provider = arena_strdup(arena, db_text(r, row, COLUMN_PROVIDER)),
		.model = arena_strdup(arena, db_text(r, row, COLUMN_MODEL)),
		.created_at_us = db_instant(r, row, COLUMN_CREATED)};
	if (!db_is_null(r, row, COLUMN_ACKNOWLEDGED))
		ret->acknowledged_at_us = db_instant(r, row, COLUMN_ACKNOWLEDGED);
	const char *const kind = db_text(r, row, COLUMN_KIND);
	CHECK(kind != NULL);
	ret->kind = strcmp(kind, KINDS[ALERT_MODEL_UNPRICED]) == 0 ? ALERT_MODEL_UNPRICED
								   : ALERT_BUDGET_THRESHOLD;
	return ret->kind == ALERT_BUDGET_THRESHOLD ? read_budget(r, row, ret) : ERR_OK;
}

enum err alerts_list(struct db_conn *c, const struct uuid *user_id, const struct alerts_filter *f,
	struct arena *arena, struct alert **ret, size_t *ret_n)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, f->before);
	if (f->by_acknowledged)
		db_param_bool(&p, f->acknowledged);
	else
		db_param_text(&p, NULL);
	db_param_uuid(&p, f->budget_id);
	db_param_i64(&p, f->limit);
	PGresult *r SCOPE_RESULT = NULL;
	enum err e = db_run(c, &LIST, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct alert *const rows = arena_array(arena, n, sizeof *rows);
	if (rows == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		e = read_alert(r, (int)i, user_id, arena, &rows[i]);
	if (e == ERR_OK && arena_overflowed(arena))
		e = ERR_NO_MEMORY;
	if (e != ERR_OK)
		return e;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

enum err alerts_acknowledge(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	struct arena *arena, struct alert *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	PGresult *r SCOPE_RESULT = NULL;
	enum err e = db_run_row(c, &ACKNOWLEDGE, &p, &r);
	if (e != ERR_OK)
		return e;
	struct alert found;
	e = read_alert(r, 0, user_id, arena, &found);
	if (e != ERR_OK || arena_overflowed(arena))
		return e != ERR_OK ? e : ERR_NO_MEMORY;
	*ret = found;
	return ERR_OK;
}

enum err alerts_purge(struct db_conn *c)
{
	return db_run(c, &PURGE, NULL, NULL);
}
