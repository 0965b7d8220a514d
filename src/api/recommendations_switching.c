/* GET /api/recommendations/model-switching: which other model, or other provider of the same model, would
 * have cost less for the user's own token mix, at today's prices. Fetches the sums; core/switching.h finds.
 */
#include "llmlab/api/handlers.h"
#include "llmlab/api/recommendations.h"
#include "llmlab/api/support.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/db/costs.h"
#include "llmlab/db/dismissals.h"
#include "llmlab/providers/catalogue_load.h"

static const char *const PARAMETERS[] = {"days", "from", "to", "tz", "include_dismissed", NULL};

/* ---- the user's sums ---- */

static struct model_usage usage_of(const struct usage_by_model *row)
{
	return (struct model_usage){.provider = row->provider,
		.model = row->model,
		.calls = row->sums.calls,
		.errors = row->sums.errors,
		.unpriced_calls = row->sums.unpriced_calls,
		.input_tokens = row->sums.input_tokens,
		.output_tokens = row->sums.output_tokens,
		.cache_read_tokens = row->sums.cache_read_tokens,
		.cache_write_tokens = row->sums.cache_write_tokens,
		.cache_write_1h_tokens = row->sums.cache_write_1h_tokens,
		.reasoning_tokens = row->sums.reasoning_tokens,
		.cost = row->sums.cost,
		.error_cost = row->sums.error_cost,
		.standard_cost = row->sums.standard_cost};
}

enum err recommendations_usage(struct http_request *rq, const struct range *range, struct arena *arena,
	struct model_usage **ret, size_t *ret_n)
{
	struct usage_by_model *models;
	size_t n;
	const enum err e = costs_by_model(
		api_db(rq), &rq->principal.user_id, range->from_us, range->to_us, arena, &models, &n);
	if (e != ERR_OK)
		return e;
	struct model_usage *const rows = arena_array(arena, n, sizeof *rows);
	if (rows == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++)
		rows[i] = usage_of(&models[i]);
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

/* ---- writing ---- */

static void write_row(struct json_writer *w, const struct switching *s)
{
	jw_object_begin(w, NULL);
	jw_string(w, "id", s->id);
	jw_string(w, "provider", s->provider);
	jw_string(w, "current_model", s->current_model);
	jw_string(w, "suggested_provider", s->suggested_provider);
	jw_string(w, "suggested_model", s->suggested_model);
	jw_string(w, "kind", switching_kind_name(s->kind));
	jw_decimal(w, "current_cost_per_call", s->current_cost_per_call, MONEY_AVERAGE_SCALE);
	jw_decimal(w, "suggested_cost_per_call", s->suggested_cost_per_call, MONEY_AVERAGE_SCALE);
	jw_decimal(w, "estimated_monthly_savings", s->monthly_savings.atto, MONEY_SCALE);
	jw_string(w, "use_case", s->use_case);
	jw_double(w, "confidence", s->confidence);
	jw_string(w, "caveat", s->caveat);
	jw_bool(w, "counted", s->counted);
	jw_bool(w, "dismissed", s->dismissed);
	jw_object_end(w);
}

void recommendations_write_switching(
	struct json_writer *w, const char *key, const struct switching *rows, size_t n)
{
	jw_array_begin(w, key);
	for (size_t i = 0; i < n; i++)
		write_row(w, &rows[i]);
	jw_array_end(w);
}

/* ---- the request ---- */

static struct reply answer(
	const struct range *range, const struct switching *rows, size_t n, struct money total)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_i64(&w, "count", (int64_t)n);
	recommendations_write_switching(&w, "recommendations", rows, n);
	jw_decimal(&w, "total_potential_savings", total.atto, MONEY_SCALE);
	jw_object_begin(&w, "analysis_period");
	range_write(&w, "start", "end", range);
	jw_object_end(&w);
	jw_string(&w, "timezone", tz_name(range->tz));
	jw_object_end(&w);
	return reply_json(200, &body);
}

/* Leaves out what the user does not want to see. Returns how many are left. */
static size_t drop_dismissed(struct switching *rows, size_t n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++)
		if (!rows[i].dismissed)
			rows[kept++] = rows[i];
	return kept;
}

/* What the request asks for. */
struct question {
	struct range range;
	bool include_dismissed;
	const struct own_prices *own;
};

/* The findings point into the catalogue, so they are written while it is held. */
static struct reply find(struct http_request *rq, const struct question *q, struct arena *arena)
{
	struct model_usage *usage;
	struct switching_input in = {
		.now_us = rq->received_us, .period_days = q->range.end_day - q->range.first_day};
	enum err e = recommendations_usage(rq, &q->range, arena, &usage, &in.n_models);
	if (e == ERR_OK)
		e = dismissals_list(api_db(rq), &rq->principal.user_id, arena, &in.dismissed);
	if (e != ERR_OK)
		return api_fail_sums(rq, e, NULL);
	const struct price_record *overrides[OWN_PRICES_PER_USER_MAX];
	in.models = usage;
	in.overrides = overrides;
	in.n_overrides = own_prices_at(q->own, rq->received_us, overrides);
	in.catalogue = catalogue_acquire();
	struct switching *rows;
	size_t n;
	struct money total;
	e = switching_find(&in, arena, &rows, &n, &total);
	if (e == ERR_OK && !q->include_dismissed)
		n = drop_dismissed(rows, n);
	const struct reply r = e == ERR_OK ? answer(&q->range, rows, n, total) : api_fail(rq, e, NULL);
	catalogue_release(in.catalogue);
	return r;
}

struct reply api_recommendations_model_switching(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, PARAMETERS, &p);
	struct question q = {.include_dismissed = recommendations_include_dismissed(rq, &p)};
	enum err e = api_range(rq, &q.range, &p);
	if (e == ERR_OK)
		e = own_prices_of_request(&rq->principal.user_id, &q.own, &p);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	struct arena arena;
	arena_init(&arena, RECOMMENDATIONS_MAX_BYTES);
	const struct reply r = find(rq, &q, &arena);
	arena_release(&arena);
	own_prices_release(q.own);
	return r;
}
