/* Budgets: their SQL with its parameters and columns, and what was spent and is reserved in their scopes. In
 * which period that is, the caller knows from the calendar; what follows from it is decided above. */

#include "llmlab/db/budgets.h"

#include <stdlib.h>
#include <string.h>

#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/tag.h"
#include "llmlab/db/users.h"
#include "scope.h"

#define PARAMS_BYTES (64 << 10)
#define QUARTER_US   (15 * US_PER_MINUTE)

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

#define BUDGET_COLUMNS                                                                                       \
	"id, name, amount, period, scope_dimension, scope_value, array_to_string(thresholds, ','), hard,"    \
	" created_at, updated_at"
static const struct db_stmt PATCH = {"budgets_patch",
	"UPDATE budgets SET name = CASE WHEN $3::boolean THEN $4::text ELSE name END,"
	" amount = coalesce($5::numeric, amount), thresholds = coalesce($6::smallint[], thresholds),"
	" hard = coalesce($7::boolean, hard), updated_at = now()"
	" WHERE user_id = $1 AND id = $2 RETURNING " BUDGET_COLUMNS};
static const struct db_stmt LIST = {"budgets_list",
	"SELECT " BUDGET_COLUMNS " FROM budgets WHERE user_id = $1 ORDER BY id DESC LIMIT 200"};
static const struct db_stmt FIND = {
	"budgets_find", "SELECT " BUDGET_COLUMNS " FROM budgets WHERE user_id = $1 AND id = $2"};

/* After BUDGET_COLUMNS: of many users. */
enum { COLUMN_USER = 10, COLUMN_TIMEZONE };
static const struct db_stmt OF_USERS = {"budgets_of_users",
	"SELECT b.id, b.name, amount, period, scope_dimension, scope_value, array_to_string(thresholds, "
	"','), hard,"
	" b.created_at, b.updated_at, b.user_id, u.timezone FROM budgets AS b JOIN users AS u ON u.id = "
	"b.user_id"
	" WHERE b.user_id = ANY ($1::uuid[]) AND u.deleted_at IS NULL ORDER BY b.user_id, b.id"};

/* A scope is "tag.<key>" from the fifth character on. */
#define OF_CALL                                                                                              \
	"SELECT " BUDGET_COLUMNS " FROM budgets WHERE user_id = $1 AND CASE scope_dimension WHEN '' THEN "   \
	"true"                                                                                               \
	" WHEN 'provider' THEN scope_value = $2 WHEN 'model' THEN scope_value = $3"                          \
	" WHEN 'project' THEN scope_value = $4 WHEN 'customer' THEN scope_value = $5"                        \
	" ELSE scope_value = $6::jsonb ->> substr(scope_dimension, 5) END ORDER BY id"
static const struct db_stmt READ_OF_CALL = {"budgets_of_call", OF_CALL};
static const struct db_stmt HOLD_OF_CALL = {"budgets_hold_of_call", OF_CALL " FOR NO KEY UPDATE"};

/* What is spent and reserved in many windows. $1, $2, $3 span, dimension and value of each window; $4 user,
 * $5 begin, $6, $7 begin and end of its whole UTC days, $8 end of each different span; $9, $10 whether sums
 * by model and sums by set are asked for. A span is read once however many windows ask about it: whole days
 * from the sums of days, what is before and after them from those of quarters of an hour. Project, provider
 * and model are columns of the first kind of sums; customers and tags are those of sets. */
#define LEVEL(table, columns, lo, hi)                                                                        \
	"SELECT " columns ", cost, unpriced_calls FROM " table " WHERE user_id = s.user_id AND bucket >= "   \
	"s." lo " AND bucket < s." hi
#define LEVELS(days, quarters, columns)                                                                      \
	"span AS s CROSS JOIN LATERAL (" LEVEL(days, columns, "first_day", "end_day") " UNION ALL " LEVEL(   \
		quarters, columns, "lo", "first_day") " UNION ALL " LEVEL(quarters, columns, "end_day",      \
		"hi") ") AS t"
#define WINDOWS                                                                                              \
	"span AS MATERIALIZED (SELECT * FROM unnest($4::uuid[], $5::timestamptz[], $6::timestamptz[],"       \
	" $7::timestamptz[], $8::timestamptz[], $9::boolean[], $10::boolean[]) WITH ORDINALITY"              \
	" AS s (user_id, lo, first_day, end_day, hi, by_model, by_set, i)),"                                 \
	" w AS MATERIALIZED (SELECT w.*, s.user_id FROM unnest($1::bigint[], $2::text[], $3::text[])"        \
	" WITH ORDINALITY AS w (i, dimension, value, n) JOIN span AS s ON s.i = w.i)"
#define MODEL_SUMS                                                                                           \
	"SELECT w.n, m.cost, m.unpriced_calls FROM (SELECT s.i, provider, model, project, sum(cost) AS "     \
	"cost,"                                                                                              \
	" sum(unpriced_calls) AS unpriced_calls FROM " LEVELS("usage_model_day", "usage_model_15m",          \
		"provider, model, project") " WHERE s.by_model GROUP BY s.i, provider, model, project) AS "  \
					    "m CROSS JOIN LATERAL (VALUES ('', ''),"                         \
					    " ('provider', m.provider), ('model', m.model), ('project', "    \
					    "m.project)) AS f (dimension, value)"                            \
					    " JOIN w ON w.i = m.i AND w.dimension = f.dimension AND "        \
					    "w.value = f.value"
/* Which sets a window means. Each tag key that is asked for is looked up in each set once: taking all tags of
 * the sets apart cost ten times as much. */
#define MEANT                                                                                                \
	"meant AS MATERIALIZED (SELECT w.n, w.i, u.id FROM w JOIN usage_sets AS u ON u.user_id = w.user_id"  \
	" AND u.customer = w.value WHERE w.dimension = 'customer' UNION ALL SELECT w.n, w.i, v.id FROM"      \
	" (SELECT k.user_id, k.dimension, u.id, u.tags ->> substr(k.dimension, 5) AS value FROM"             \
	" (SELECT DISTINCT user_id, dimension FROM w WHERE dimension LIKE 'tag.%') AS k"                     \
	" JOIN usage_sets AS u ON u.user_id = k.user_id) AS v"                                               \
	" JOIN w ON w.user_id = v.user_id AND w.dimension = v.dimension AND w.value = v.value)"
#define SET_SUMS                                                                                             \
	"SELECT q.n, m.cost, m.unpriced_calls FROM (SELECT s.i, set_id, sum(cost) AS cost,"                  \
	" sum(unpriced_calls) AS unpriced_calls FROM " LEVELS("usage_set_day", "usage_set_model_15m",        \
		"set_id") " JOIN (SELECT DISTINCT id FROM meant) AS d ON d.id = t.set_id "                   \
			  "WHERE s.by_set GROUP BY s.i, set_id)"                                             \
			  " AS m JOIN meant AS q ON q.i = m.i AND q.id = m.set_id"
#define HELD                                                                                                 \
	"SELECT user_id, f.dimension, f.value, sum(amount) AS amount FROM reservations CROSS JOIN LATERAL"   \
	" (VALUES ('', ''), ('provider', provider), ('model', model), ('project', project),"                 \
	" ('customer', customer) UNION ALL SELECT 'tag.' || e.key, e.value FROM jsonb_each_text(tags) AS e)" \
	" AS f (dimension, value) WHERE user_id IN (SELECT user_id FROM span)"                               \
	" AND expires_at > statement_timestamp() GROUP BY 1, 2, 3"

static const struct db_stmt SPEND = {"budgets_spend",
	"WITH " WINDOWS ", " MEANT " SELECT coalesce(p.cost, 0), coalesce(p.unpriced_calls, 0), "
	"coalesce(h.amount, 0)"
	" FROM w LEFT JOIN (SELECT n, sum(cost) AS cost, sum(unpriced_calls)::bigint AS "
	"unpriced_calls"
	"  FROM (" MODEL_SUMS " UNION ALL " SET_SUMS ") AS a GROUP BY n) AS p ON p.n = w.n"
	" LEFT JOIN (" HELD ") AS h ON h.user_id = w.user_id AND h.dimension = w.dimension"
	" AND h.value = w.value ORDER BY w.n"};

static const struct db_stmt FIRST_SPEND = {"budgets_first_spend",
	"SELECT bucket FROM usage_model_day WHERE user_id = $1 ORDER BY bucket LIMIT 1"};

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

static void param_thresholds(struct db_params *p, const int *thresholds, size_t n)
{
	CHECK(n <= BUDGET_THRESHOLDS_MAX);
	int64_t wide[BUDGET_THRESHOLDS_MAX];
	for (size_t i = 0; i < n; i++)
		wide[i] = thresholds[i];
	db_param_i64_array(p, wide, n);
}

/* $1..$9 of UPSERT. ERR_NO_MEMORY. */
static enum err params_budget(struct db_params *p, const struct uuid *user_id, const struct budget *b)
{
	db_param_uuid(p, user_id);
	db_param_uuid(p, &b->id);
	db_param_text(p, b->name);
	db_param_money(p, b->limit);
	db_param_text(p, budget_period_name(b->period));
	db_param_text(p, b->scope_dimension);
	db_param_text(p, b->scope_value);
	param_thresholds(p, b->thresholds, b->n_thresholds);
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
	struct db_params p;
	db_params_init(&p, u->arena);
	enum err e = params_budget(&p, u->user_id, u->b);
	if (e != ERR_OK)
		return e;
	e = users_lock(c, u->user_id);
	if (e != ERR_OK)
		return e;
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

/* Runs a statement whose rows are BUDGET_COLUMNS. */
static enum err run_list(struct db_conn *c, const struct db_stmt *stmt, const struct db_params *p,
	struct arena *arena, struct budget **ret, size_t *ret_n)
{
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, stmt, p, &r);
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

/* The same where there is one row, or ERR_NOT_FOUND. */
static enum err run_one(struct db_conn *c, const struct db_stmt *stmt, const struct db_params *p,
	struct arena *arena, struct budget *ret)
{
	struct budget *found;
	size_t n;
	const enum err e = run_list(c, stmt, p, arena, &found, &n);
	if (e != ERR_OK)
		return e;
	if (n == 0)
		return ERR_NOT_FOUND;
	*ret = found[0];
	return ERR_OK;
}

enum err budgets_list(struct db_conn *c, const struct uuid *user_id, struct arena *arena, struct budget **ret,
	size_t *ret_n)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	return run_list(c, &LIST, &p, arena, ret, ret_n);
}

enum err budgets_find(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	struct arena *arena, struct budget *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	return run_one(c, &FIND, &p, arena, ret);
}

enum err budgets_patch(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	const struct budget_patch *patch, struct arena *arena, struct budget *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	db_param_bool(&p, patch->set_name);
	db_param_text(&p, patch->name);
	if (patch->set_limit)
		db_param_money(&p, patch->limit);
	else
		db_param_text(&p, NULL);
	if (patch->n_thresholds > 0)
		param_thresholds(&p, patch->thresholds, patch->n_thresholds);
	else
		db_param_text(&p, NULL);
	if (patch->set_hard)
		db_param_bool(&p, patch->hard);
	else
		db_param_text(&p, NULL);
	return run_one(c, &PATCH, &p, arena, ret);
}

enum err budgets_of_call(struct db_conn *c, const struct uuid *user_id, const struct budget_call *call,
	bool hold, struct arena *arena, struct budget **ret, size_t *ret_n)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_text(&p, call->provider);
	db_param_text(&p, call->model);
	db_param_text(&p, call->project);
	db_param_text(&p, call->customer);
	db_param_text(&p, call->tags_json);
	return run_list(c, hold ? &HOLD_OF_CALL : &READ_OF_CALL, &p, arena, ret, ret_n);
}

enum err budgets_of_users(struct db_conn *c, const struct uuid *user_ids, size_t n, struct arena *arena,
	struct user_budget **ret, size_t *ret_n)
{
	const char **const texts = arena_array(arena, n, sizeof(*texts));
	for (size_t i = 0; texts != NULL && i < n; i++)
		texts[i] = uuid_text(&user_ids[i], arena);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_text_array(&p, texts, n);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &OF_USERS, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n_rows = (size_t)db_rows(r);
	struct user_budget *const rows = arena_array(arena, n_rows, sizeof(*rows));
	for (size_t i = 0; rows != NULL && i < n_rows; i++) {
		rows[i] = (struct user_budget){.user_id = db_uuid(r, (int)i, COLUMN_USER),
			.timezone = arena_strdup(arena, db_text(r, (int)i, COLUMN_TIMEZONE)),
			.budget = read_budget(r, (int)i, arena)};
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = rows;
	*ret_n = n_rows;
	return ERR_OK;
}

/* ---- what is spent ---- */

/* The different spans of time that windows are about, column by column. */
struct spans {
	const char **user, **lo, **first_day, **end_day, **hi;
	const char **by_model, **by_set; /* "t" or "f" */
	const struct budget_window **of; /* one window of each */
	size_t n;
};

static int64_t floor_to(int64_t us, int64_t unit_us)
{
	const int64_t rest = us % unit_us;
	return us - (rest < 0 ? rest + unit_us : rest);
}

static bool on_quarters(const struct budget_window *w)
{
	return floor_to(w->start_us, QUARTER_US) == w->start_us &&
	       floor_to(w->end_us, QUARTER_US) == w->end_us && w->start_us <= w->end_us;
}

static void spans_init(struct spans *s, size_t n, struct arena *arena)
{
	const char ***const columns[] = {
		&s->user, &s->lo, &s->first_day, &s->end_day, &s->hi, &s->by_model, &s->by_set};
	for (size_t k = 0; k < sizeof(columns) / sizeof(columns[0]); k++)
		*columns[k] = arena_array(arena, n, sizeof(**columns[k]));
	s->of = arena_array(arena, n, sizeof(*s->of));
	s->n = 0;
}

static bool same_span(const struct budget_window *a, const struct budget_window *b)
{
	return a->start_us == b->start_us && a->end_us == b->end_us && uuid_equal(&a->user_id, &b->user_id);
}

static void spans_add(struct spans *s, const struct budget_window *w, struct arena *arena)
{
	int64_t first_us = floor_to(w->start_us + US_PER_DAY - 1, US_PER_DAY);
	int64_t end_us = floor_to(w->end_us, US_PER_DAY);
	if (first_us > end_us) /* within one UTC day */
		first_us = end_us = w->end_us;
	const size_t i = s->n++;
	s->of[i] = w;
	s->user[i] = uuid_text(&w->user_id, arena);
	s->lo[i] = instant_text(w->start_us, arena);
	s->first_day[i] = instant_text(first_us, arena);
	s->end_day[i] = instant_text(end_us, arena);
	s->hi[i] = instant_text(w->end_us, arena);
	s->by_model[i] = s->by_set[i] = "f";
}

/* Windows of one user come together, so what is looked through is one user's spans. */
static size_t span_of(struct spans *s, const struct budget_window *w, struct arena *arena)
{
	for (size_t i = s->n; i > 0 && uuid_equal(&s->of[i - 1]->user_id, &w->user_id); i--) {
		if (same_span(s->of[i - 1], w))
			return i - 1;
	}
	spans_add(s, w, arena);
	return s->n - 1;
}

struct usage_filter budgets_filter(const char *dimension, const char *value)
{
	const char *const tag_key = tag_key_of(dimension);
	if (tag_key != NULL)
		return (struct usage_filter){.tag_key = tag_key, .tag_value = value};
	struct usage_filter f = {.provider = NULL};
	if (strcmp(dimension, "provider") == 0)
		f.provider = value;
	else if (strcmp(dimension, "model") == 0)
		f.model = value;
	else if (strcmp(dimension, "project") == 0)
		f.project = value;
	else if (strcmp(dimension, "customer") == 0)
		f.customer = value;
	return f;
}

static bool is_of_sets(const struct budget_window *w)
{
	return strcmp(w->scope_dimension, "customer") == 0 || tag_key_of(w->scope_dimension) != NULL;
}

/* ERR_RANGE, ERR_NO_MEMORY. */
static enum err params_windows(
	struct db_params *p, const struct budget_window *windows, size_t n, struct arena *arena)
{
	struct spans spans;
	spans_init(&spans, n, arena);
	int64_t *const span = arena_array(arena, n, sizeof(*span));
	const char **const dimension = arena_array(arena, n, sizeof(*dimension));
	const char **const value = arena_array(arena, n, sizeof(*value));
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	for (size_t k = 0; k < n; k++) {
		const struct budget_window *const w = &windows[k];
		if (!on_quarters(w))
			return ERR_RANGE;
		const size_t i = span_of(&spans, w, arena);
		*(is_of_sets(w) ? &spans.by_set[i] : &spans.by_model[i]) = "t";
		span[k] = (int64_t)i + 1;
		dimension[k] = w->scope_dimension;
		value[k] = w->scope_value;
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	db_params_init(p, arena);
	db_param_i64_array(p, span, n);
	db_param_text_array(p, dimension, n);
	db_param_text_array(p, value, n);
	const char **const columns[] = {
		spans.user, spans.lo, spans.first_day, spans.end_day, spans.hi, spans.by_model, spans.by_set};
	for (size_t k = 0; k < sizeof(columns) / sizeof(columns[0]); k++)
		db_param_text_array(p, columns[k], spans.n);
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

enum err budgets_spend(struct db_conn *c, struct budget_window *windows, size_t n, struct arena *arena)
{
	if (n == 0)
		return ERR_OK;
	struct db_params p;
	enum err e = params_windows(&p, windows, n, arena);
	PGresult *r SCOPE_RESULT = NULL;
	if (e == ERR_OK)
		e = db_run(c, &SPEND, &p, &r);
	if (e != ERR_OK)
		return e;
	CHECK((size_t)db_rows(r) == n);
	for (size_t i = 0; e == ERR_OK && i < n; i++) {
		struct budget_window *const w = &windows[i];
		e = db_sum(r, (int)i, 0, &w->spent);
		w->unpriced_calls = db_i64(r, (int)i, 1);
		if (e == ERR_OK)
			e = db_sum(r, (int)i, 2, &w->reserved);
	}
	return e;
}

enum err budgets_first_spend(struct db_conn *c, const struct uuid *user_id, int64_t *ret_us)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(c, &FIRST_SPEND, &p, &r);
	if (e != ERR_OK)
		return e;
	*ret_us = db_instant(r, 0, 0);
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
	return db_run_row(c, &DELETE_ONE, &p, NULL);
}
