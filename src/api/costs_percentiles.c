/* GET /api/costs/percentiles: how latency and cost per call are spread, by provider or model. */
#include "llmlab/api/costs_rows.h"
#include "llmlab/api/handlers.h"
#include <string.h>

#define ROWS_MAX_BYTES ((size_t)16 << 20)

static const char *const PARAMETERS[] = {"days", "from", "to", "tz", "group_by", NULL};
static const char *const GROUPS[] = {"provider", "model", NULL};
static const char *const RANKS[COSTS_PERCENTILES] = {"p50", "p90", "p95", "p99"};

static void write_latency(struct json_writer *w, const struct usage_spread *s)
{
	jw_object_begin(w, "latency_ms");
	jw_i64(w, "count", s->with_latency);
	for (int i = 0; i < COSTS_PERCENTILES; i++) {
		if (s->with_latency > 0)
			jw_i64(w, RANKS[i], s->latency_ms[i]);
		else
			jw_null(w, RANKS[i]);
	}
	jw_object_end(w);
}

static void write_cost(struct json_writer *w, const struct usage_spread *s)
{
	jw_object_begin(w, "cost");
	jw_i64(w, "count", s->with_cost);
	for (int i = 0; i < COSTS_PERCENTILES; i++) {
		if (s->with_cost > 0)
			jw_decimal(w, RANKS[i], s->cost[i].atto, MONEY_SCALE);
		else
			jw_null(w, RANKS[i]);
	}
	jw_object_end(w);
}

static void write_row(struct json_writer *w, const struct usage_spread *s)
{
	jw_object_begin(w, NULL);
	jw_string(w, "provider", s->provider);
	if (s->model != NULL)
		jw_string(w, "model", s->model);
	jw_i64(w, "sample_size", s->read);
	write_latency(w, s);
	write_cost(w, s);
	jw_object_end(w);
}

static struct reply answer(const char *group_by, const struct range *range, const struct usage_spreads *s)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_string(&w, "group_by", group_by);
	range_write(&w, "date_range_start", "date_range_end", range);
	jw_string(&w, "timezone", tz_name(range->tz));
	jw_bool(&w, "sampled", s->sampled);
	jw_i64(&w, "sample_size", s->read);
	jw_i64(&w, "call_count", s->calls);
	jw_array_begin(&w, "rows");
	for (size_t i = 0; i < s->n; i++)
		write_row(&w, &s->rows[i]);
	jw_array_end(&w);
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_costs_percentiles(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, PARAMETERS, &p);
	const char *const asked = api_query_choice(rq, "group_by", GROUPS, &p);
	const char *const group_by = asked == NULL ? "model" : asked;
	struct range range;
	enum err e = api_range(rq, &range, &p);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	struct arena arena;
	arena_init(&arena, ROWS_MAX_BYTES);
	struct usage_spreads spreads;
	e = costs_percentiles(api_db(rq), &rq->principal.user_id, strcmp(group_by, "model") == 0,
		range.from_us, range.to_us, &arena, &spreads);
	const struct reply reply =
		e == ERR_OK ? answer(group_by, &range, &spreads) : api_fail_sums(rq, e, &p);
	arena_release(&arena);
	return reply;
}
