/* Sums of calls, tokens and cost over time: the one place that knows how the rollup and the events answer a
 * question together. Where days and months begin is the caller's knowledge; intervals arrive here as
 * instants.
 *
 * An interval is cut into pieces: the whole quarters of an hour inside it are read from usage_15m, what is
 * left before the first and after the last of them from events. Each piece is one range of the primary key.
 */

#include "llmlab/db/costs.h"

#include <stdlib.h>
#include <string.h>

#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "scope.h"

#define QUARTER_US    (15 * US_PER_MINUTE)
#define PARAMS_BYTES  (16 << 20) /* texts of the borders of all pieces with room */
#define MONEY_ABS_MAX ((int128)(~(uint128)0 >> 1))
#define CHUNKS_MAX    4096

/* ---- the statements ----
 * $1 user; $2, $3, $4 interval, begin and end of each piece; $5, $6, $7 provider, model, project or NULL;
 * ragged: $8, $9, $10 interval, begin and end of each piece that is read from events (the first three: from
 * the rollup); events: $8, $9 tag key and value or NULL, $10 customer or NULL (all pieces are read from
 * events). */

#define SUMS(calls, errors, unpriced, prefix)                                                                \
	"sum(" calls ") AS calls, sum(" errors ") AS errors, sum(" unpriced ") AS unpriced_calls,"           \
	" sum(" prefix "input_tokens) AS input_tokens, sum(" prefix "output_tokens) AS output_tokens,"       \
	" coalesce(sum(" prefix "cache_read_tokens), 0) AS cache_read_tokens,"                               \
	" coalesce(sum(" prefix "cache_write_tokens), 0) AS cache_write_tokens,"                             \
	" coalesce(sum(" prefix "reasoning_tokens), 0) AS reasoning_tokens,"                                 \
	" coalesce(sum(" prefix "cost), 0) AS cost"
#define ROLLUP_SUMS SUMS("calls", "errors", "unpriced_calls", "")
#define EVENT_SUMS  SUMS("1", "(e.status = 'error')::int", "(e.cost IS NULL)::int", "e.")

#define ROLLUP_ROWS                                                                                          \
	" FROM usage_15m WHERE user_id = $1 AND bucket >= piece.lo AND bucket < piece.hi"                    \
	" AND ($5::text IS NULL OR provider = $5) AND ($6::text IS NULL OR model = $6)"                      \
	" AND ($7::text IS NULL OR project = $7)"
#define EVENT_ROWS                                                                                           \
	" FROM events e WHERE e.user_id = $1 AND e.occurred_at >= piece.lo AND e.occurred_at < piece.hi"     \
	" AND ($5::text IS NULL OR e.provider = $5) AND ($6::text IS NULL OR e.model = $6)"                  \
	" AND ($7::text IS NULL OR coalesce(e.project, '') = $7)"
#define EVENT_MORE " AND ($8::text IS NULL OR e.tags ->> $8 = $9) AND ($10::text IS NULL OR e.customer = $10)"

/* Sums of each piece by themselves: a scan of one key range, never a sort of the whole. */
#define PIECES(i, lo, hi, query)                                                                             \
	"SELECT piece.i, s.* FROM unnest(" i "::bigint[], " lo "::timestamptz[], " hi "::timestamptz[])"     \
	" AS piece (i, lo, hi) CROSS JOIN LATERAL (" query ") s"
#define FIRST_PIECES(query)  PIECES("$2", "$3", "$4", query)
#define SECOND_PIECES(query) PIECES("$8", "$9", "$10", query)

/* The pieces of one interval added up. */
#define ADD_UP                                                                                               \
	" i, sum(calls)::bigint, sum(errors)::bigint, sum(unpriced_calls)::bigint, "                         \
	"sum(input_tokens)::bigint,"                                                                         \
	" sum(output_tokens)::bigint, sum(cache_read_tokens)::bigint, sum(cache_write_tokens)::bigint,"      \
	" sum(reasoning_tokens)::bigint, sum(cost)"
#define SERIES(pieces) "SELECT" ADD_UP " FROM (" pieces ") p GROUP BY i"
#define MODELS(pieces)                                                                                       \
	"SELECT" ADD_UP ", provider, model FROM (" pieces ") p GROUP BY i, provider, model"                  \
	" ORDER BY i, provider COLLATE \"C\", model COLLATE \"C\" LIMIT 200001"

/* Without HAVING a piece in which there is nothing would be a row of NULLs. */
#define ROLLUP_TOTAL "SELECT " ROLLUP_SUMS ROLLUP_ROWS " HAVING count(*) > 0"
#define EVENT_TOTAL  "SELECT " EVENT_SUMS EVENT_ROWS
#define ROLLUP_MODEL "SELECT provider, model, " ROLLUP_SUMS ROLLUP_ROWS " GROUP BY provider, model"
#define EVENT_MODEL  "SELECT e.provider, e.model, " EVENT_SUMS EVENT_ROWS

static const struct db_stmt SERIES_ROLLUP = {"costs_series_rollup", SERIES(FIRST_PIECES(ROLLUP_TOTAL))};
static const struct db_stmt SERIES_RAGGED = {"costs_series_ragged",
	SERIES(FIRST_PIECES(ROLLUP_TOTAL) " UNION ALL " SECOND_PIECES(EVENT_TOTAL " HAVING count(*) > 0"))};
static const struct db_stmt SERIES_EVENTS = {
	"costs_series_events", SERIES(FIRST_PIECES(EVENT_TOTAL EVENT_MORE " HAVING count(*) > 0"))};
static const struct db_stmt MODELS_ROLLUP = {"costs_models_rollup", MODELS(FIRST_PIECES(ROLLUP_MODEL))};
static const struct db_stmt MODELS_RAGGED = {
	"costs_models_ragged", MODELS(FIRST_PIECES(ROLLUP_MODEL) " UNION ALL " SECOND_PIECES(
				       EVENT_MODEL " GROUP BY e.provider, e.model"))};
static const struct db_stmt MODELS_ERRORS = {"costs_models_errors",
	MODELS(FIRST_PIECES(EVENT_MODEL EVENT_MORE
		" AND e.status = 'error' AND e.cost > 0 GROUP BY e.provider, e.model"))};

enum { COLUMN_INTERVAL, COLUMN_SUMS, COLUMN_COST = COLUMN_SUMS + 8, COLUMN_PROVIDER, COLUMN_MODEL };

/* ---- from borders to pieces ---- */

static int64_t quarter_floor(int64_t us)
{
	const int64_t rest = us % QUARTER_US;
	return us - (rest < 0 ? rest + QUARTER_US : rest);
}

static int64_t quarter_ceil(int64_t us)
{
	const int64_t floor_us = quarter_floor(us);
	return floor_us == us ? us : floor_us + QUARTER_US;
}

/* ERR_RANGE unless the borders are 2..COSTS_INTERVALS_MAX + 1 instants that do not descend. */
static enum err check_starts(const int64_t *starts_us, size_t n_starts)
{
	if (n_starts < 2 || n_starts > COSTS_INTERVALS_MAX + 1)
		return ERR_RANGE;
	for (size_t i = 1; i < n_starts; i++)
		if (starts_us[i] < starts_us[i - 1])
			return ERR_RANGE;
	return ERR_OK;
}

struct pieces {
	int64_t *interval, *lo_us, *hi_us;
	size_t n;
};

/* False without memory. */
static bool pieces_init(struct pieces *p, size_t max, struct arena *arena)
{
	p->interval = arena_array(arena, max, sizeof(*p->interval));
	p->lo_us = arena_array(arena, max, sizeof(*p->lo_us));
	p->hi_us = arena_array(arena, max, sizeof(*p->hi_us));
	p->n = 0;
	return !arena_overflowed(arena);
}

/* Adds [lo, hi) in chunks; nothing if it is empty. */
static void pieces_add(struct pieces *p, size_t interval, int64_t lo_us, int64_t hi_us, int64_t chunk_us)
{
	while (lo_us < hi_us) {
		const int64_t end_us = hi_us - lo_us > chunk_us ? lo_us + chunk_us : hi_us;
		p->interval[p->n] = (int64_t)interval;
		p->lo_us[p->n] = lo_us;
		p->hi_us[p->n] = end_us;
		p->n++;
		lo_us = end_us;
	}
}

static void param_instants(struct db_params *p, const int64_t *us, size_t n)
{
	const char **texts = arena_array(p->arena, n, sizeof(*texts));
	char(*chars)[INSTANT_TEXT_SIZE] = arena_array(p->arena, n, sizeof(*chars));
	if (!texts || !chars)
		return; /* run_pieces() asks the arena */
	for (size_t i = 0; i < n; i++) {
		instant_format(us[i], chars[i]);
		texts[i] = chars[i];
	}
	db_param_text_array(p, texts, n);
}

static void params_pieces(struct db_params *p, const struct pieces *pieces)
{
	db_param_i64_array(p, pieces->interval, pieces->n);
	param_instants(p, pieces->lo_us, pieces->n);
	param_instants(p, pieces->hi_us, pieces->n);
}

/* A question: the statements that can answer it, and how long a piece may be. */
struct cells_query {
	const struct db_stmt *rollup, *ragged, *events; /* rollup NULL: only events know */
	const struct usage_filter *filter;		/* NULL: any */
	bool chunked;
};

/* Grouping a long piece by model would sort its rows on disk; those of a day fit in memory. Pieces stay few.
 */
static int64_t chunk_us(const struct cells_query *q, int64_t span_us)
{
	if (!q->chunked)
		return INT64_MAX;
	const int64_t least_us = quarter_ceil(span_us / CHUNKS_MAX);
	return least_us > US_PER_DAY ? least_us : US_PER_DAY;
}

/* How the intervals are read: `first` from the rollup (from events where only those know), `ragged` from
 * events. */
struct plan {
	struct pieces first, ragged;
	bool from_events;
};

/* False without memory. */
static bool plan_init(struct plan *plan, const struct cells_query *q, const struct usage_filter *f,
	const int64_t *starts_us, size_t n_starts, struct arena *arena)
{
	plan->from_events = !q->rollup || f->customer || f->tag_key;
	if (!pieces_init(&plan->first, n_starts + CHUNKS_MAX + 1, arena) ||
		!pieces_init(&plan->ragged, 2 * n_starts, arena))
		return false;
	const int64_t chunk = chunk_us(q, starts_us[n_starts - 1] - starts_us[0]);
	for (size_t i = 0; i + 1 < n_starts; i++) {
		const int64_t lo_us = starts_us[i];
		const int64_t hi_us = starts_us[i + 1];
		const int64_t first_us = quarter_ceil(lo_us);
		const int64_t last_us = quarter_floor(hi_us);
		if (plan->from_events) {
			pieces_add(&plan->first, i, lo_us, hi_us, chunk);
		} else if (first_us > last_us) { /* within one quarter */
			pieces_add(&plan->ragged, i, lo_us, hi_us, INT64_MAX);
		} else {
			pieces_add(&plan->first, i, first_us, last_us, chunk);
			pieces_add(&plan->ragged, i, lo_us, first_us, INT64_MAX);
			pieces_add(&plan->ragged, i, last_us, hi_us, INT64_MAX);
		}
	}
	return true;
}

/* Runs the statement that fits. Parameters live in *arena until the caller releases it. */
static enum err run_pieces(struct db_conn *c, const struct uuid *user_id, const struct cells_query *q,
	const int64_t *starts_us, size_t n_starts, struct arena *arena, PGresult **ret)
{
	static const struct usage_filter ANY;
	const struct usage_filter *f = q->filter ? q->filter : &ANY;
	struct plan plan;
	if (!plan_init(&plan, q, f, starts_us, n_starts, arena))
		return ERR_NO_MEMORY;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	params_pieces(&p, &plan.first);
	db_param_text(&p, f->provider);
	db_param_text(&p, f->model);
	db_param_text(&p, f->project);
	const struct db_stmt *stmt = q->rollup;
	if (plan.from_events) {
		stmt = q->events;
		db_param_text(&p, f->tag_key);
		db_param_text(&p, f->tag_value);
		db_param_text(&p, f->customer);
	} else if (plan.ragged.n > 0) {
		stmt = q->ragged;
		params_pieces(&p, &plan.ragged);
	}
	/* A text that could not be made would be NULL, which means "any". */
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	return db_run(c, stmt, &p, ret);
}

/* ---- from rows to sums ---- */

/* ERR_RANGE: the cost does not fit. */
static enum err read_sums(const PGresult *r, int row, struct usage_sums *ret)
{
	const char *cost = db_text(r, row, COLUMN_COST);
	CHECK(cost != NULL);
	struct money money;
	const enum err e = decimal_parse(cost, strlen(cost), MONEY_SCALE, MONEY_ABS_MAX, &money.atto);
	if (e != ERR_OK)
		return ERR_RANGE;
	*ret = (struct usage_sums){
		.calls = db_i64(r, row, COLUMN_SUMS),
		.errors = db_i64(r, row, COLUMN_SUMS + 1),
		.unpriced_calls = db_i64(r, row, COLUMN_SUMS + 2),
		.input_tokens = db_i64(r, row, COLUMN_SUMS + 3),
		.output_tokens = db_i64(r, row, COLUMN_SUMS + 4),
		.cache_read_tokens = db_i64(r, row, COLUMN_SUMS + 5),
		.cache_write_tokens = db_i64(r, row, COLUMN_SUMS + 6),
		.reasoning_tokens = db_i64(r, row, COLUMN_SUMS + 7),
		.cost = money,
	};
	return ERR_OK;
}

enum err costs_series(struct db_conn *c, const struct uuid *user_id, const struct usage_filter *filter,
	const int64_t *starts_us, size_t n_starts, struct usage_sums *out)
{
	enum err e = check_starts(starts_us, n_starts);
	if (e != ERR_OK)
		return e;
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	const struct cells_query q = {&SERIES_ROLLUP, &SERIES_RAGGED, &SERIES_EVENTS, filter, false};
	PGresult *r SCOPE_RESULT = NULL;
	e = run_pieces(c, user_id, &q, starts_us, n_starts, &arena, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = n_starts - 1;
	struct usage_sums *sums = arena_array(&arena, n, sizeof(*sums));
	if (!sums)
		return ERR_NO_MEMORY;
	for (int row = 0; row < db_rows(r); row++) {
		const int64_t i = db_i64(r, row, COLUMN_INTERVAL);
		CHECK(i >= 0 && (size_t)i < n);
		e = read_sums(r, row, &sums[i]);
		if (e != ERR_OK)
			return e;
	}
	memcpy(out, sums, n * sizeof(*out));
	return ERR_OK;
}

enum err costs_total(struct db_conn *c, const struct uuid *user_id, const struct usage_filter *filter,
	int64_t from_us, int64_t to_us, struct usage_sums *ret)
{
	const int64_t starts_us[2] = {from_us, to_us};
	return costs_series(c, user_id, filter, starts_us, 2, ret);
}

static enum err query_cells(struct db_conn *c, const struct uuid *user_id, const struct cells_query *q,
	const int64_t *starts_us, size_t n_starts, struct arena *arena, struct usage_cell **ret,
	size_t *ret_n)
{
	enum err e = check_starts(starts_us, n_starts);
	if (e != ERR_OK)
		return e;
	struct arena params SCOPE_ARENA;
	arena_init(&params, PARAMS_BYTES);
	PGresult *r SCOPE_RESULT = NULL;
	e = run_pieces(c, user_id, q, starts_us, n_starts, &params, &r);
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
		e = read_sums(r, row, &cells[i].sums);
		if (e != ERR_OK)
			return e;
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = cells;
	*ret_n = n;
	return ERR_OK;
}

enum err costs_series_by_model(struct db_conn *c, const struct uuid *user_id, const int64_t *starts_us,
	size_t n_starts, struct arena *arena, struct usage_cell **ret_cells, size_t *ret_n)
{
	const struct cells_query q = {&MODELS_ROLLUP, &MODELS_RAGGED, NULL, NULL, true};
	return query_cells(c, user_id, &q, starts_us, n_starts, arena, ret_cells, ret_n);
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

static enum err query_models(struct db_conn *c, const struct uuid *user_id, const struct cells_query *q,
	int64_t from_us, int64_t to_us, struct arena *arena, struct usage_by_model **ret, size_t *ret_n)
{
	const int64_t starts_us[2] = {from_us, to_us};
	struct usage_cell *cells = NULL;
	size_t n = 0;
	const enum err e = query_cells(c, user_id, q, starts_us, 2, arena, &cells, &n);
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
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

enum err costs_by_model(struct db_conn *c, const struct uuid *user_id, int64_t from_us, int64_t to_us,
	struct arena *arena, struct usage_by_model **ret_rows, size_t *ret_n)
{
	const struct cells_query q = {&MODELS_ROLLUP, &MODELS_RAGGED, NULL, NULL, true};
	return query_models(c, user_id, &q, from_us, to_us, arena, ret_rows, ret_n);
}

enum err costs_of_errors_by_model(struct db_conn *c, const struct uuid *user_id, int64_t from_us,
	int64_t to_us, struct arena *arena, struct usage_by_model **ret_rows, size_t *ret_n)
{
	const struct cells_query q = {NULL, NULL, &MODELS_ERRORS, NULL, true};
	return query_models(c, user_id, &q, from_us, to_us, arena, ret_rows, ret_n);
}
