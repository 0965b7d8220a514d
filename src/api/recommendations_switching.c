/* GET /api/recommendations/model-switching: which other model of the same provider would have cost less for
 * the user's own token mix, at today's prices. Fetches the sums; core/switching.h finds. */
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/recommendations.h"
#include "llmlab/api/support.h"
#include "llmlab/db/costs.h"
#include "llmlab/providers/catalogue_load.h"

static const char *const PARAMETERS[] = {"days", "from", "to", "tz", NULL};

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
		.reasoning_tokens = row->sums.reasoning_tokens,
		.cost = row->sums.cost};
}

/* The cost of failed calls, asked for only where there are any: it takes reading events. */
static enum err add_error_costs(struct http_request *rq, const struct range *range, struct arena *arena,
	struct model_usage *rows, size_t n)
{
	int64_t errors = 0;
	for (size_t i = 0; i < n; i++)
		errors += rows[i].errors;
	if (errors == 0)
		return ERR_OK;
	struct usage_by_model *failed;
	size_t n_failed;
	const enum err e = costs_of_errors_by_model(
		api_db(rq), &rq->principal.user_id, range->from_us, range->to_us, arena, &failed, &n_failed);
	if (e != ERR_OK)
		return e;
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < n_failed; j++) {
			if (strcmp(rows[i].provider, failed[j].provider) == 0 &&
				strcmp(rows[i].model, failed[j].model) == 0)
				rows[i].error_cost = failed[j].sums.cost;
		}
	}
	return ERR_OK;
}

enum err recommendations_usage(struct http_request *rq, const struct range *range, struct arena *arena,
	struct model_usage **ret, size_t *ret_n)
{
	struct usage_by_model *models;
	size_t n;
	enum err e = costs_by_model(
		api_db(rq), &rq->principal.user_id, range->from_us, range->to_us, arena, &models, &n);
	if (e != ERR_OK)
		return e;
	struct model_usage *const rows = arena_array(arena, n, sizeof *rows);
	if (rows == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++)
		rows[i] = usage_of(&models[i]);
	e = add_error_costs(rq, range, arena, rows, n);
	if (e != ERR_OK)
		return e;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

/* ---- writing ---- */

static void write_row(struct json_writer *w, const struct switching *s)
{
	jw_object_begin(w, NULL);
	jw_string(w, "provider", s->provider);
	jw_string(w, "current_model", s->current_model);
	jw_string(w, "suggested_model", s->suggested_model);
	jw_decimal(w, "current_cost_per_call", s->current_cost_per_call, SWITCHING_CALL_SCALE);
	jw_decimal(w, "suggested_cost_per_call", s->suggested_cost_per_call, SWITCHING_CALL_SCALE);
	jw_decimal(w, "estimated_monthly_savings", s->monthly_savings.atto, MONEY_SCALE);
	jw_string(w, "use_case", s->use_case);
	jw_double(w, "confidence", s->confidence);
	jw_string(w, "caveat", s->caveat);
	jw_bool(w, "counted", s->counted);
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

/* The findings point into the catalogue, so they are written while it is held. */
static struct reply find(struct http_request *rq, const struct range *range, struct arena *arena)
{
	struct model_usage *usage;
	size_t n_usage;
	enum err e = recommendations_usage(rq, range, arena, &usage, &n_usage);
	if (e != ERR_OK)
		return api_fail_sums(rq, e, NULL);
	const struct catalogue *const catalogue = catalogue_acquire();
	const struct switching_input in = {.catalogue = catalogue,
		.models = usage,
		.n_models = n_usage,
		.now_us = rq->received_us,
		.period_days = range->end_day - range->first_day};
	struct switching *rows;
	size_t n;
	struct money total;
	e = switching_find(&in, arena, &rows, &n, &total);
	const struct reply r = e == ERR_OK ? answer(range, rows, n, total) : api_fail(rq, e, NULL);
	catalogue_release(catalogue);
	return r;
}

struct reply api_recommendations_model_switching(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, PARAMETERS, &p);
	struct range range;
	const enum err e = api_range(rq, &range, &p);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	struct arena arena;
	arena_init(&arena, RECOMMENDATIONS_MAX_BYTES);
	const struct reply r = find(rq, &range, &arena);
	arena_release(&arena);
	return r;
}
