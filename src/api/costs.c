/* GET /api/costs/summary, by-provider, top-models: what was spent in a range, by model, by provider and by
 * day. Every figure of one answer comes from one statement, so that they add up whatever is stored meanwhile.
 */
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/costs_rows.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/db/costs.h"

#define CELLS_MAX_BYTES	   ((size_t)128 << 20)
#define TOP_MODELS_DEFAULT 10

static const char *const RANGE_PARAMETERS[] = {"days", "from", "to", "tz", NULL};
static const char *const TOP_PARAMETERS[] = {"days", "from", "to", "tz", "limit", NULL};

static void write_model(struct json_writer *w, const struct usage_by_model *m)
{
	jw_object_begin(w, NULL);
	jw_string(w, "model", m->model);
	jw_string(w, "provider", m->provider);
	jw_i64(w, "total_calls", m->sums.calls);
	jw_decimal(w, "total_cost", m->sums.cost.atto, MONEY_SCALE);
	costs_write_sums(w, &m->sums);
	jw_object_end(w);
}

/* ---- summary ---- */

struct summary {
	struct range range, previous;
	struct usage_summary sums;
	size_t n_days;
};

static enum err read_summary(struct http_request *rq, struct summary *s, struct arena *arena)
{
	size_t n_starts = 0;
	const int64_t *const starts = range_day_starts(&s->range, arena, &n_starts);
	if (starts == NULL)
		return ERR_NO_MEMORY;
	s->n_days = n_starts - 1;
	s->previous = range_previous(&s->range);
	return costs_summary(
		api_db(rq), &rq->principal.user_id, starts, n_starts, s->previous.from_us, arena, &s->sums);
}

static void write_days(struct json_writer *w, const struct summary *s)
{
	jw_array_begin(w, "by_date");
	for (size_t i = 0; i < s->n_days; i++) {
		char date[DATE_TEXT_SIZE];
		calendar_format_date(s->range.first_day + (int32_t)i, date);
		jw_object_begin(w, NULL);
		jw_string(w, "date", date);
		const struct usage_sums *const day = &s->sums.intervals[i];
		jw_decimal(w, "total_cost", day->cost.atto, MONEY_SCALE);
		jw_i64(w, "call_count", day->calls);
		jw_i64(w, "total_tokens", day->input_tokens + day->output_tokens);
		jw_i64(w, "unpriced_calls", day->unpriced_calls);
		jw_i64(w, "errors", day->errors);
		jw_object_end(w);
	}
	jw_array_end(w);
}

/* Per cent by which it changed, null when there was nothing before. */
static void write_change(struct json_writer *w, const char *key, bool known, double change)
{
	if (known)
		jw_double(w, key, change);
	else
		jw_null(w, key);
}

static void write_previous(struct json_writer *w, const struct summary *s)
{
	const struct usage_sums *const before = &s->sums.previous;
	const int64_t calls = s->sums.total.calls;
	double change = 0;
	jw_object_begin(w, "previous_period");
	range_write(w, "date_range_start", "date_range_end", &s->previous);
	jw_decimal(w, "total_cost", before->cost.atto, MONEY_SCALE);
	jw_i64(w, "call_count", before->calls);
	costs_write_sums(w, before);
	const bool known = api_change_percent(s->sums.total.cost, before->cost, &change);
	write_change(w, "change_percent", known, change);
	change = before->calls > 0 ? (double)(calls - before->calls) / (double)before->calls * 100 : 0;
	write_change(w, "call_count_change_percent", before->calls > 0, change);
	jw_object_end(w);
}

static struct reply answer_summary(const struct summary *s)
{
	const struct usage_sums *const total = &s->sums.total;
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_decimal(&w, "total_cost", total->cost.atto, MONEY_SCALE);
	jw_i64(&w, "call_count", total->calls);
	costs_write_sums(&w, total);
	jw_array_begin(&w, "by_model");
	for (size_t i = 0; i < s->sums.n_models; i++)
		write_model(&w, &s->sums.models[i]);
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
	struct arena arena SCOPE_ARENA;
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
		if (!usage_sums_add(&rows[at].sums, &models[i].sums))
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
	costs_write_sums(w, &row->sums);
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
	struct arena arena SCOPE_ARENA;
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
	struct arena arena SCOPE_ARENA;
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
