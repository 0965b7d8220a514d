/* Sums of calls, tokens and cost over time, in all and by model. Where days and months begin is the caller's
 * knowledge; intervals arrive here as instants. Sums by other dimensions are in costs_breakdown.c.
 *
 * A question without a filter reads rows of days and hours, one by provider, model or project reads rows of
 * weeks and days (all of UTC), each with the quarters of an hour at the ends and, where an end is not on a
 * quarter, the events there.
 */

#include "llmlab/db/costs.h"

#include <stdlib.h>
#include <string.h>

#include "llmlab/base/check.h"
#include "llmlab/base/log.h"
#include "costs_parts.h"
#include "scope.h"

#define PARAMS_BYTES (32 << 20) /* texts of all borders, and the rows of one call, with room */

/* ---- the statements ---- */

/* In all. $1 user; $2 to $9 the cut (param_cut()). */
#define TOTAL_PART(from)   "SELECT " INTERVAL ", " ADD_UP from " GROUP BY 1"
#define TOTAL_PIECES(from) " UNION ALL " SIGNED("", "SELECT r.plus, r.minus, " ADD_UP from " GROUP BY 1, 2")
#define TOTAL_QUARTERS	   TOTAL_PIECES(IN_PIECES_OF(PIECES_5, CUT_QUARTER_SQL, "usage_model_15m", ""))
#define TOTAL_FROM_DAY(in)                                                                                   \
	TOTAL_PART(in("usage_day", ""))                                                                      \
	TOTAL_PIECES(IN_PIECES_OF(PIECES_5, CUT_HOUR_SQL, "usage_hour", "")) TOTAL_QUARTERS
#define TOTAL_FROM_HOUR(in) TOTAL_PART(in("usage_hour", "")) TOTAL_QUARTERS
#define TOTAL_EVENTS	    TOTAL_PIECES(IN_EVENTS_OF(PIECES_5, "NULL", ""))
#define TOTAL_OF(parts)	    "SELECT i, " ADD_UP " FROM (" parts ") AS t GROUP BY i"

static const enum cut_level TOTAL_LEVELS[] = {CUT_DAY, CUT_HOUR, CUT_QUARTER};
#define N_TOTAL_LEVELS (sizeof(TOTAL_LEVELS) / sizeof(TOTAL_LEVELS[0]))
/* By the first level that is read. */
typedef const struct db_stmt total_statements[2][2][2];
static total_statements TOTAL = {STATEMENTS("costs_total", TOTAL_OF, TOTAL_FROM_DAY, TOTAL_EVENTS),
	STATEMENTS("costs_total_hours", TOTAL_OF, TOTAL_FROM_HOUR, TOTAL_EVENTS)};
#undef ADD_UP
#define ADD_UP ADD_UP_COST
static total_statements TOTAL_COST = {STATEMENTS("costs_total_cost", TOTAL_OF, TOTAL_FROM_DAY, TOTAL_EVENTS),
	STATEMENTS("costs_total_cost_hours", TOTAL_OF, TOTAL_FROM_HOUR, TOTAL_EVENTS)};
#undef ADD_UP
#define ADD_UP ADD_UP_ALL

/* By model. $1 user; $2 to $9 the cut; $10, $11, $12 provider, model and project or NULL; $13 whether rows
 * are by model or only by interval. */
#define MODEL_FILTER                                                                                         \
	" AND ($10::text IS NULL OR provider = $10) AND ($11::text IS NULL OR model = $11)"                  \
	" AND ($12::text IS NULL OR project = $12)"
#define EVENT_FILTER                                                                                         \
	" AND ($10::text IS NULL OR provider = $10) AND ($11::text IS NULL OR model = $11)"                  \
	" AND ($12::text IS NULL OR coalesce(project, '') = $12)"
#define MODEL_NAMES                                                                                          \
	"CASE WHEN $13::bool THEN t.provider END AS provider, CASE WHEN $13::bool THEN t.model END AS model"
#define MODEL_PART(from) "SELECT " INTERVAL ", " MODEL_NAMES ", " ADD_UP from " GROUP BY 1, 2, 3"
#define MODEL_PIECES(from)                                                                                   \
	" UNION ALL " SIGNED(", t.provider, t.model",                                                        \
		"SELECT r.plus, r.minus, " MODEL_NAMES ", " ADD_UP from " GROUP BY 1, 2, 3, 4")
#define MODEL_QUARTERS MODEL_PIECES(IN_PIECES_OF(PIECES_5, CUT_QUARTER_SQL, "usage_model_15m", MODEL_FILTER))
#define MODEL_FROM_WEEK(in)                                                                                  \
	MODEL_PART(in("usage_model_week", MODEL_FILTER))                                                     \
	MODEL_PIECES(IN_PIECES_OF(PIECES_5, CUT_DAY_SQL, "usage_model_day", MODEL_FILTER)) MODEL_QUARTERS
#define MODEL_FROM_DAY(in) MODEL_PART(in("usage_model_day", MODEL_FILTER)) MODEL_QUARTERS
/* There are no pieces then, but every parameter must be used. */
#define MODEL_FROM_QUARTER(in) MODEL_PART(in("usage_model_15m", MODEL_FILTER)) MODEL_QUARTERS
#define MODEL_EVENTS	       MODEL_PIECES(IN_EVENTS_OF(PIECES_5, "provider, model", EVENT_FILTER))
#define MODELS_OF(parts)                                                                                     \
	"SELECT i, " ADD_UP ", provider, model FROM (" parts ") AS t GROUP BY i, provider, model"            \
	" HAVING sum(calls) <> 0 ORDER BY i, provider COLLATE \"C\", model COLLATE \"C\" LIMIT 200001"

static const enum cut_level MODEL_LEVELS[] = {CUT_WEEK, CUT_DAY, CUT_QUARTER};
#define N_MODEL_LEVELS (sizeof(MODEL_LEVELS) / sizeof(MODEL_LEVELS[0]))
static const struct db_stmt MODELS[3][2][2] = {
	STATEMENTS("costs_models", MODELS_OF, MODEL_FROM_WEEK, MODEL_EVENTS),
	STATEMENTS("costs_models_days", MODELS_OF, MODEL_FROM_DAY, MODEL_EVENTS),
	STATEMENTS("costs_models_quarters", MODELS_OF, MODEL_FROM_QUARTER, MODEL_EVENTS)};

/* Both. $1 to $9 as in all; $10 to $17 the cut of the models, which are one interval. Rows of models have the
 * interval -1. */
#define WHOLE_PIECES_17                                                                                      \
	"unnest($13::bigint[], $14::bigint[], $15::bigint[], $16::timestamptz[], $17::timestamptz[])"
#define WHOLE_PART(from) "SELECT t.provider, t.model, " ADD_UP from " GROUP BY t.provider, t.model"
#define WHOLE_WEEKS                                                                                          \
	" FROM (SELECT * FROM usage_model_week WHERE user_id = $1 AND bucket >= ($11::timestamptz[])[1]"     \
	" AND bucket < ($12::timestamptz[])[1] AND cardinality($10::timestamptz[]) = 2 OFFSET 0) AS t"
#define WHOLE_SIGNED(from)                                                                                   \
	" UNION ALL SELECT provider, model, " USAGE_COLUMNS " FROM (" SIGNED(", t.provider, t.model",        \
		"SELECT r.plus, r.minus, t.provider, t.model, " ADD_UP from " GROUP BY 1, 2, 3, 4") ") AS t"
#define WHOLE_LEVELS                                                                                         \
	WHOLE_PART(WHOLE_WEEKS)                                                                              \
	WHOLE_SIGNED(IN_PIECES_OF(WHOLE_PIECES_17, CUT_DAY_SQL, "usage_model_day", ""))                      \
	WHOLE_SIGNED(IN_PIECES_OF(WHOLE_PIECES_17, CUT_QUARTER_SQL, "usage_model_15m", ""))
#define WHOLE_EVENTS WHOLE_SIGNED(IN_EVENTS_OF(WHOLE_PIECES_17, "provider, model", ""))
#define WITH_WHOLE(totals, models)                                                                           \
	"SELECT i, " ADD_UP ", NULL::text AS provider, NULL::text AS model FROM (" totals                    \
	") AS t GROUP BY i"                                                                                  \
	" UNION ALL (SELECT -1, " ADD_UP ", provider, model FROM (" models ") AS t GROUP BY provider, "      \
	"model HAVING sum(calls) <> 0 LIMIT 10001)"
#define SUMMARY_OF(totals)	  WITH_WHOLE(totals, WHOLE_LEVELS)
#define SUMMARY_RAGGED_OF(totals) WITH_WHOLE(totals TOTAL_EVENTS, WHOLE_LEVELS WHOLE_EVENTS)

static const struct db_stmt SUMMARY[2][2] = {
	{{"costs_summary", SUMMARY_OF(TOTAL_FROM_DAY(IN_ONE))},
		{"costs_summary_ragged", SUMMARY_RAGGED_OF(TOTAL_FROM_DAY(IN_ONE))}},
	{{"costs_summary_many", SUMMARY_OF(TOTAL_FROM_DAY(IN_MANY))},
		{"costs_summary_many_ragged", SUMMARY_RAGGED_OF(TOTAL_FROM_DAY(IN_MANY))}}};

enum { COLUMN_INTERVAL, COLUMN_SUMS, COLUMN_PROVIDER = COLUMN_SUMS + N_SUMS, COLUMN_MODEL };

/* ---- in all ---- */

static enum err run_total(struct db_conn *c, total_statements *statements, const struct uuid *user_id,
	const int64_t *starts_us, size_t n_starts, struct arena *arena, PGresult **ret)
{
	const size_t first =
		cut_first_level(starts_us, n_starts, TOTAL_LEVELS, sizeof(TOTAL) / sizeof(TOTAL[0]));
	struct cut cut;
	if (!cut_intervals(starts_us, n_starts, TOTAL_LEVELS + first, N_TOTAL_LEVELS - first, arena, &cut))
		return ERR_NO_MEMORY;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	param_cut(&p, &cut);
	return db_run(c, STATEMENT((*statements)[first], &cut), &p, ret);
}

/* By provider and model, or only by interval. */
static enum err run_models(struct db_conn *c, const struct uuid *user_id, const struct usage_filter *f,
	bool by_model, const int64_t *starts_us, size_t n_starts, struct arena *arena, PGresult **ret)
{
	const size_t first =
		cut_first_level(starts_us, n_starts, MODEL_LEVELS, sizeof(MODELS) / sizeof(MODELS[0]));
	struct cut cut;
	if (!cut_intervals(starts_us, n_starts, MODEL_LEVELS + first, N_MODEL_LEVELS - first, arena, &cut))
		return ERR_NO_MEMORY;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	param_cut(&p, &cut);
	db_param_text(&p, f->provider);
	db_param_text(&p, f->model);
	db_param_text(&p, f->project);
	db_param_bool(&p, by_model);
	return db_run(c, STATEMENT(MODELS[first], &cut), &p, ret);
}

/* The sums of each interval from sets: a breakdown by nothing. out is zeroed. */
static enum err series_of_sets(struct db_conn *c, const struct uuid *user_id, const struct usage_filter *f,
	const int64_t *starts_us, size_t n_starts, struct arena *arena, struct usage_sums *out)
{
	const struct usage_breakdown by_nothing = {.limit = 1, .filter = f};
	struct usage_row *rows = NULL;
	size_t n = 0;
	const enum err e = costs_breakdown(c, user_id, &by_nothing, starts_us, n_starts, arena, &rows, &n);
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		out[rows[i].interval] = rows[i].sums;
	return e;
}

/* Rows by interval alone. out is zeroed. */
static enum err read_series(const PGresult *r, size_t n_starts, struct usage_sums *out)
{
	enum err e = ERR_OK;
	for (int row = 0; e == ERR_OK && row < db_rows(r); row++) {
		const int64_t i = db_i64(r, row, COLUMN_INTERVAL);
		CHECK(i >= 0 && (size_t)i < n_starts - 1);
		e = costs_read_sums(r, row, COLUMN_SUMS, &out[i]);
	}
	return e;
}

/* out is zeroed. */
static enum err series_of_levels(struct db_conn *c, total_statements *total, const struct uuid *user_id,
	const struct usage_filter *f, const int64_t *starts_us, size_t n_starts, struct arena *arena,
	struct usage_sums *out)
{
	const bool any = !f->provider && !f->model && !f->project;
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = any ? run_total(c, total, user_id, starts_us, n_starts, arena, &r)
			       : run_models(c, user_id, f, false, starts_us, n_starts, arena, &r);
	return e == ERR_OK ? read_series(r, n_starts, out) : e;
}

/* `total` are the statements for a filter that lets everything through. */
static enum err series(struct db_conn *c, total_statements *total, const struct uuid *user_id,
	const struct usage_filter *f, const int64_t *starts_us, size_t n_starts, struct usage_sums *out)
{
	enum err e = costs_check_starts(starts_us, n_starts);
	if (e != ERR_OK)
		return e;
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct usage_sums *const sums = arena_array(&arena, n_starts - 1, sizeof(*sums));
	if (!sums)
		return ERR_NO_MEMORY;
	e = usage_filter_needs_sets(f)
		    ? series_of_sets(c, user_id, f, starts_us, n_starts, &arena, sums)
		    : series_of_levels(c, total, user_id, f, starts_us, n_starts, &arena, sums);
	if (e == ERR_OK)
		memcpy(out, sums, (n_starts - 1) * sizeof(*out));
	return e;
}

enum err costs_series(struct db_conn *c, const struct uuid *user_id, const struct usage_filter *filter,
	const int64_t *starts_us, size_t n_starts, struct usage_sums *out)
{
	return series(c, &TOTAL, user_id, filter ? filter : &usage_filter_any, starts_us, n_starts, out);
}

enum err costs_series_cost(struct db_conn *c, const struct uuid *user_id, const int64_t *starts_us,
	size_t n_starts, struct usage_sums *out)
{
	return series(c, &TOTAL_COST, user_id, &usage_filter_any, starts_us, n_starts, out);
}

enum err costs_total(struct db_conn *c, const struct uuid *user_id, const struct usage_filter *filter,
	int64_t from_us, int64_t to_us, struct usage_sums *ret)
{
	const int64_t starts_us[2] = {from_us, to_us};
	return costs_series(c, user_id, filter, starts_us, 2, ret);
}

/* ---- by model ---- */

enum err costs_series_by_model(struct db_conn *c, const struct uuid *user_id, const int64_t *starts_us,
	size_t n_starts, struct arena *arena, struct usage_cell **ret_cells, size_t *ret_n)
{
	enum err e = costs_check_starts(starts_us, n_starts);
	if (e != ERR_OK)
		return e;
	struct arena params SCOPE_ARENA;
	arena_init(&params, PARAMS_BYTES);
	PGresult *r SCOPE_RESULT = NULL;
	e = run_models(c, user_id, &usage_filter_any, true, starts_us, n_starts, &params, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	if (n > COSTS_CELLS_MAX)
		return ERR_RANGE;
	struct usage_cell *cells = arena_array(arena, n, sizeof(*cells));
	if (!cells)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		const int row = (int)i;
		cells[i].interval = (size_t)db_i64(r, row, COLUMN_INTERVAL);
		CHECK(cells[i].interval < n_starts - 1);
		cells[i].provider = arena_strdup(arena, db_text(r, row, COLUMN_PROVIDER));
		cells[i].model = arena_strdup(arena, db_text(r, row, COLUMN_MODEL));
		e = costs_read_sums(r, row, COLUMN_SUMS, &cells[i].sums);
		if (e != ERR_OK)
			return e;
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret_cells = cells;
	*ret_n = n;
	return ERR_OK;
}

/* Dearest first, then by provider and model. */
static int compare_dearest(const void *a, const void *b)
{
	const struct usage_by_model *x = a;
	const struct usage_by_model *y = b;
	const int by_cost = money_compare(y->sums.cost, x->sums.cost);
	if (by_cost != 0)
		return by_cost;
	const int by_provider = strcmp(x->provider, y->provider);
	return by_provider != 0 ? by_provider : strcmp(x->model, y->model);
}

enum err costs_by_model(struct db_conn *c, const struct uuid *user_id, int64_t from_us, int64_t to_us,
	struct arena *arena, struct usage_by_model **ret_rows, size_t *ret_n)
{
	const int64_t starts_us[2] = {from_us, to_us};
	struct usage_cell *cells = NULL;
	size_t n = 0;
	const enum err e = costs_series_by_model(c, user_id, starts_us, 2, arena, &cells, &n);
	if (e != ERR_OK)
		return e;
	if (n > COSTS_MODELS_MAX)
		return ERR_RANGE;
	struct usage_by_model *rows = arena_array(arena, n, sizeof(*rows));
	if (!rows)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++)
		rows[i] = (struct usage_by_model){cells[i].provider, cells[i].model, cells[i].sums};
	qsort(rows, n, sizeof(*rows), compare_dearest);
	*ret_rows = rows;
	*ret_n = n;
	return ERR_OK;
}

/* ---- summary ---- */

/* The previous time as interval 0, before the others. */
static int64_t *with_previous(
	int64_t previous_us, const int64_t *starts_us, size_t n_starts, struct arena *arena)
{
	int64_t *const all = arena_array(arena, n_starts + 1, sizeof(*all));
	if (!all)
		return NULL;
	all[0] = previous_us;
	memcpy(all + 1, starts_us, n_starts * sizeof(*all));
	return all;
}

static enum err run_summary(struct db_conn *c, const struct uuid *user_id, const int64_t *starts_us,
	size_t n_starts, struct arena *arena, PGresult **ret)
{
	const int64_t whole_us[2] = {starts_us[1], starts_us[n_starts - 1]};
	struct cut totals, models;
	if (!cut_intervals(starts_us, n_starts, TOTAL_LEVELS, N_TOTAL_LEVELS, arena, &totals) ||
		!cut_intervals(whole_us, 2, MODEL_LEVELS, N_MODEL_LEVELS, arena, &models))
		return ERR_NO_MEMORY;
	totals.ragged |= models.ragged;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	param_cut(&p, &totals);
	param_cut(&p, &models);
	return db_run(c, STATEMENT(SUMMARY, &totals), &p, ret);
}

/* Rows of models, and of intervals: 0 is the previous time. */
static enum err read_summary(
	const PGresult *r, size_t n_intervals, struct arena *arena, struct usage_summary *s)
{
	s->models = arena_array(arena, (size_t)db_rows(r), sizeof(*s->models));
	s->intervals = arena_array(arena, n_intervals, sizeof(*s->intervals));
	if (!s->models || !s->intervals)
		return ERR_NO_MEMORY;
	for (int row = 0; row < db_rows(r); row++) {
		struct usage_sums sums;
		const enum err e = costs_read_sums(r, row, COLUMN_SUMS, &sums);
		if (e != ERR_OK)
			return e;
		if (!db_is_null(r, row, COLUMN_PROVIDER)) {
			s->models[s->n_models++] =
				(struct usage_by_model){arena_strdup(arena, db_text(r, row, COLUMN_PROVIDER)),
					arena_strdup(arena, db_text(r, row, COLUMN_MODEL)), sums};
			continue;
		}
		const int64_t i = db_i64(r, row, COLUMN_INTERVAL);
		CHECK(i >= 0 && (size_t)i <= n_intervals);
		if (i == 0)
			s->previous = sums;
		else
			s->intervals[i - 1] = sums;
	}
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

static bool same_sums(const struct usage_sums *a, const struct usage_sums *b)
{
	return a->calls == b->calls && a->errors == b->errors && a->unpriced_calls == b->unpriced_calls &&
	       a->input_tokens == b->input_tokens && a->output_tokens == b->output_tokens &&
	       money_compare(a->cost, b->cost) == 0;
}

/* Adds the intervals up and holds them against the models: a wrong figure is not answered. */
static enum err check_summary(struct usage_summary *s, size_t n_intervals)
{
	struct usage_sums models = {0};
	for (size_t i = 0; i < s->n_models; i++)
		if (!usage_sums_add(&models, &s->models[i].sums))
			return ERR_RANGE;
	for (size_t i = 0; i < n_intervals; i++)
		if (!usage_sums_add(&s->total, &s->intervals[i]))
			return ERR_RANGE;
	if (same_sums(&s->total, &models))
		return ERR_OK;
	LOG_ERROR("sums by hour and by model differ", LOG_I("calls_by_hour", s->total.calls),
		LOG_I("calls_by_model", models.calls));
	return ERR_INTERNAL;
}

enum err costs_summary(struct db_conn *c, const struct uuid *user_id, const int64_t *starts_us,
	size_t n_starts, int64_t previous_us, struct arena *arena, struct usage_summary *ret)
{
	enum err e = costs_check_starts(starts_us, n_starts);
	if (e != ERR_OK || previous_us > starts_us[0] || n_starts > COSTS_INTERVALS_MAX)
		return ERR_RANGE;
	struct arena params SCOPE_ARENA;
	arena_init(&params, PARAMS_BYTES);
	const int64_t *const all = with_previous(previous_us, starts_us, n_starts, &params);
	if (!all)
		return ERR_NO_MEMORY;
	PGresult *r SCOPE_RESULT = NULL;
	e = run_summary(c, user_id, all, n_starts + 1, &params, &r);
	struct usage_summary s = {0};
	if (e == ERR_OK)
		e = read_summary(r, n_starts - 1, arena, &s);
	if (e == ERR_OK && s.n_models > COSTS_MODELS_MAX)
		e = ERR_RANGE;
	if (e == ERR_OK)
		e = check_summary(&s, n_starts - 1);
	if (e != ERR_OK)
		return e;
	qsort(s.models, s.n_models, sizeof(*s.models), compare_dearest);
	*ret = s;
	return ERR_OK;
}
