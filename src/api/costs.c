/* GET /api/costs/...: what was spent in a range, by model, by provider and by day. Every figure of one answer
 * comes from one statement (but for the previous period), so that they add up whatever is stored meanwhile.
 */
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/db/costs.h"

#define CELLS_MAX_BYTES	   ((size_t)128 << 20)
#define TOP_MODELS_DEFAULT 10

static const char *const RANGE_PARAMETERS[] = {"days", "from", "to", "tz", NULL};
static const char *const TOP_PARAMETERS[] = {"days", "from", "to", "tz", "limit", NULL};

static void release_arena(struct arena *a)
{
	arena_release(a);
}
#define OWN_ARENA __attribute__((cleanup(release_arena)))

/* Adds one to the other; false when a sum does not fit. */
static bool add_sums(struct usage_sums *to, const struct usage_sums *s)
{
	to->calls += s->calls;
	to->errors += s->errors;
	to->unpriced_calls += s->unpriced_calls;
	to->input_tokens += s->input_tokens;
	to->output_tokens += s->output_tokens;
	to->cache_read_tokens += s->cache_read_tokens;
	to->cache_write_tokens += s->cache_write_tokens;
	to->reasoning_tokens += s->reasoning_tokens;
	return money_add(to->cost, s->cost, &to->cost);
}

static int compare_names(
	const char *provider_a, const char *model_a, const char *provider_b, const char *model_b)
{
	const int by_provider = strcmp(provider_a, provider_b);
	return by_provider != 0 ? by_provider : strcmp(model_a, model_b);
}

static int compare_cells(const void *a, const void *b)
{
	const struct usage_cell *const x = a, *const y = b;
	return compare_names(x->provider, x->model, y->provider, y->model);
}

static int compare_dearest(const void *a, const void *b)
{
	const struct usage_by_model *const x = a, *const y = b;
	const int by_cost = money_compare(y->sums.cost, x->sums.cost);
	return by_cost != 0 ? by_cost : compare_names(x->provider, x->model, y->provider, y->model);
}

static void write_model(struct json_writer *w, const struct usage_by_model *m)
{
	jw_object_begin(w, NULL);
	jw_string(w, "model", m->model);
	jw_string(w, "provider", m->provider);
	jw_i64(w, "total_calls", m->sums.calls);
	jw_i64(w, "total_tokens", m->sums.input_tokens + m->sums.output_tokens);
	jw_i64(w, "input_tokens", m->sums.input_tokens);
	jw_i64(w, "output_tokens", m->sums.output_tokens);
	jw_i64(w, "cache_read_tokens", m->sums.cache_read_tokens);
	jw_i64(w, "cache_write_tokens", m->sums.cache_write_tokens);
	jw_i64(w, "reasoning_tokens", m->sums.reasoning_tokens);
	jw_i64(w, "unpriced_calls", m->sums.unpriced_calls);
	jw_decimal(w, "total_cost", m->sums.cost.atto, MONEY_SCALE);
	jw_object_end(w);
}

/* ---- summary ---- */

struct summary {
	struct range range;
	struct usage_sums total, previous;
	struct usage_by_model *models;
	size_t n_models;
	struct usage_sums *days;
	size_t n_days;
};

/* Cells of one model and many days become one row; sorts the cells. */
static enum err fold_models(struct summary *s, struct usage_cell *cells, size_t n, struct arena *arena)
{
	qsort(cells, n, sizeof *cells, compare_cells);
	s->models = arena_array(arena, n, sizeof *s->models);
	if (s->models == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || compare_cells(&cells[i - 1], &cells[i]) != 0)
			s->models[s->n_models++] = (struct usage_by_model){
				.provider = cells[i].provider, .model = cells[i].model};
		if (!add_sums(&s->models[s->n_models - 1].sums, &cells[i].sums))
			return ERR_INTERNAL;
	}
	qsort(s->models, s->n_models, sizeof *s->models, compare_dearest);
	return ERR_OK;
}

static enum err fold_days(struct summary *s, const struct usage_cell *cells, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!add_sums(&s->days[cells[i].interval], &cells[i].sums) ||
			!add_sums(&s->total, &cells[i].sums))
			return ERR_INTERNAL;
	}
	return ERR_OK;
}

static enum err read_summary(struct http_request *rq, struct summary *s, struct arena *arena)
{
	size_t n_starts = 0, n_cells = 0;
	const int64_t *const starts = range_day_starts(&s->range, arena, &n_starts);
	if (starts == NULL)
		return ERR_NO_MEMORY;
	s->n_days = n_starts - 1;
	s->days = arena_array(arena, s->n_days, sizeof *s->days);
	if (s->days == NULL)
		return ERR_NO_MEMORY;
	struct usage_cell *cells;
	const struct uuid *const user = &rq->principal.user_id;
	enum err e = costs_series_by_model(api_db(rq), user, starts, n_starts, arena, &cells, &n_cells);
	if (e == ERR_OK)
		e = fold_days(s, cells, n_cells);
	if (e == ERR_OK)
		e = fold_models(s, cells, n_cells, arena);
	if (e != ERR_OK)
		return e;
	const struct range previous = range_previous(&s->range);
	return costs_total(api_db(rq), user, NULL, previous.from_us, previous.to_us, &s->previous);
}

static void write_days(struct json_writer *w, const struct summary *s)
{
	jw_array_begin(w, "by_date");
	for (size_t i = 0; i < s->n_days; i++) {
		char date[DATE_TEXT_SIZE];
		calendar_format_date(s->range.first_day + (int32_t)i, date);
		jw_object_begin(w, NULL);
		jw_string(w, "date", date);
		jw_decimal(w, "total_cost", s->days[i].cost.atto, MONEY_SCALE);
		jw_i64(w, "call_count", s->days[i].calls);
		jw_i64(w, "unpriced_calls", s->days[i].unpriced_calls);
		jw_object_end(w);
	}
	jw_array_end(w);
}

static void write_previous(struct json_writer *w, const struct summary *s)
{
	double change;
	jw_object_begin(w, "previous_period");
	jw_decimal(w, "total_cost", s->previous.cost.atto, MONEY_SCALE);
	jw_i64(w, "call_count", s->previous.calls);
	if (api_change_percent(s->total.cost, s->previous.cost, &change))
		jw_double(w, "change_percent", change);
	else
		jw_null(w, "change_percent");
	jw_object_end(w);
}

static struct reply answer_summary(const struct summary *s)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_decimal(&w, "total_cost", s->total.cost.atto, MONEY_SCALE);
	jw_i64(&w, "call_count", s->total.calls);
	jw_decimal(&w, "average_cost_per_call", api_average(s->total.cost, s->total.calls), AVERAGE_SCALE);
	jw_i64(&w, "total_tokens", s->total.input_tokens + s->total.output_tokens);
	jw_i64(&w, "unpriced_calls", s->total.unpriced_calls);
	jw_array_begin(&w, "by_model");
	for (size_t i = 0; i < s->n_models; i++)
		write_model(&w, &s->models[i]);
	jw_array_end(&w);
	write_days(&w, s);
	range_write(&w, "date_range_start", "date_range_end", &s->range);
	jw_string(&w, "timezone", tz_name(s->range.tz));
	write_previous(&w, s);
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_costs_summary(struct http_request *rq)
{
	struct arena arena OWN_ARENA;
	arena_init(&arena, CELLS_MAX_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, RANGE_PARAMETERS, &p);
	struct summary s = {.n_days = 0};
	enum err e = api_range(rq, &s.range, &p);
	if (e == ERR_OK)
		e = read_summary(rq, &s, &arena);
	return e == ERR_OK ? answer_summary(&s) : api_fail_sums(rq, e, &p);
}

/* ---- by provider ---- */

struct provider_sums {
	const char *provider;
	struct usage_sums sums;
};

static int compare_providers(const void *a, const void *b)
{
	const struct provider_sums *const x = a, *const y = b;
	const int by_cost = money_compare(y->sums.cost, x->sums.cost);
	return by_cost != 0 ? by_cost : strcmp(x->provider, y->provider);
}

/* Adds up the models of each provider, dearest first. */
static enum err fold_providers(const struct usage_by_model *models, size_t n_models, struct arena *arena,
	struct provider_sums **ret, size_t *ret_n)
{
	struct provider_sums *const rows = arena_array(arena, n_models, sizeof *rows);
	if (rows == NULL)
		return ERR_NO_MEMORY;
	size_t n = 0;
	for (size_t i = 0; i < n_models; i++) {
		size_t at = 0;
		while (at < n && strcmp(rows[at].provider, models[i].provider) != 0)
			at++;
		if (at == n)
			rows[n++] = (struct provider_sums){.provider = models[i].provider};
		if (!add_sums(&rows[at].sums, &models[i].sums))
			return ERR_INTERNAL;
	}
	qsort(rows, n, sizeof *rows, compare_providers);
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

static void write_provider(struct json_writer *w, const struct provider_sums *row,
	const struct usage_by_model *models, size_t n_models)
{
	jw_object_begin(w, NULL);
	jw_string(w, "provider", row->provider);
	jw_decimal(w, "total_cost", row->sums.cost.atto, MONEY_SCALE);
	jw_i64(w, "call_count", row->sums.calls);
	jw_i64(w, "total_tokens", row->sums.input_tokens + row->sums.output_tokens);
	jw_i64(w, "unpriced_calls", row->sums.unpriced_calls);
	jw_object_begin(w, "models");
	for (size_t i = 0; i < n_models; i++) {
		if (strcmp(models[i].provider, row->provider) != 0)
			continue;
		jw_object_begin(w, models[i].model);
		jw_decimal(w, "cost", models[i].sums.cost.atto, MONEY_SCALE);
		jw_i64(w, "calls", models[i].sums.calls);
		jw_object_end(w);
	}
	jw_object_end(w);
	jw_object_end(w);
}

static struct reply answer_providers(const struct range *range, const struct provider_sums *rows, size_t n,
	const struct usage_by_model *models, size_t n_models)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_object_begin(&w, "date_range");
	range_write(&w, "start", "end", range);
	jw_object_end(&w);
	jw_string(&w, "timezone", tz_name(range->tz));
	jw_array_begin(&w, "provider_costs");
	for (size_t i = 0; i < n; i++)
		write_provider(&w, &rows[i], models, n_models);
	jw_array_end(&w);
	jw_object_end(&w);
	return reply_json(200, &body);
}

/* The range and its models, dearest first. */
static enum err read_models(struct http_request *rq, struct range *range, struct arena *arena,
	struct usage_by_model **ret, size_t *ret_n, struct problem *p)
{
	const enum err e = api_range(rq, range, p);
	if (e != ERR_OK)
		return e;
	return costs_by_model(
		api_db(rq), &rq->principal.user_id, range->from_us, range->to_us, arena, ret, ret_n);
}

struct reply api_costs_by_provider(struct http_request *rq)
{
	struct arena arena OWN_ARENA;
	arena_init(&arena, CELLS_MAX_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, RANGE_PARAMETERS, &p);
	struct range range;
	struct usage_by_model *models;
	struct provider_sums *rows;
	size_t n_models = 0, n = 0;
	enum err e = read_models(rq, &range, &arena, &models, &n_models, &p);
	if (e == ERR_OK)
		e = fold_providers(models, n_models, &arena, &rows, &n);
	return e == ERR_OK ? answer_providers(&range, rows, n, models, n_models) : api_fail_sums(rq, e, &p);
}

/* ---- top models ---- */

static struct reply answer_top(const struct range *range, const struct usage_by_model *models, size_t n)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_i64(&w, "count", (int64_t)n);
	jw_array_begin(&w, "models");
	for (size_t i = 0; i < n; i++)
		write_model(&w, &models[i]);
	jw_array_end(&w);
	range_write(&w, "date_range_start", "date_range_end", range);
	jw_string(&w, "timezone", tz_name(range->tz));
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_costs_top_models(struct http_request *rq)
{
	struct arena arena OWN_ARENA;
	arena_init(&arena, CELLS_MAX_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, TOP_PARAMETERS, &p);
	const size_t limit = (size_t)api_query_i64(rq, "limit", 1, API_PAGE_MAX, TOP_MODELS_DEFAULT, &p);
	struct range range;
	struct usage_by_model *models;
	size_t n = 0;
	const enum err e = read_models(rq, &range, &arena, &models, &n, &p);
	return e == ERR_OK ? answer_top(&range, models, n < limit ? n : limit) : api_fail_sums(rq, e, &p);
}
