/* What a budget says now: the period follows from the calendar and the user's zone, the spend from the sums
 * of events, what is reserved from the reservations. Nothing of it is stored. */
#include "llmlab/api/budget_output.h"
#include "llmlab/api/support.h"
#include "llmlab/core/budget.h"

enum err budget_states_read(struct http_request *rq, const struct tz *tz, const struct budget *budgets,
	size_t n, struct budget_state **ret)
{
	struct budget_state *const states = arena_array(&rq->arena, n, sizeof *states);
	struct budget_window *const windows = arena_array(&rq->arena, n, sizeof *windows);
	if (states == NULL || windows == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		const struct budget *const b = &budgets[i];
		states[i] = (struct budget_state){
			.budget = b, .period = period_at(b->period, tz, rq->received_us)};
		windows[i] = (struct budget_window){.user_id = rq->principal.user_id,
			.scope_dimension = b->scope_dimension,
			.scope_value = b->scope_value,
			.start_us = states[i].period.start_us,
			.end_us = states[i].period.end_us};
	}
	const enum err e = budgets_spend(api_db(rq), windows, n, &rq->arena);
	if (e != ERR_OK)
		return e;
	for (size_t i = 0; i < n; i++) {
		states[i].spend = windows[i].spent;
		states[i].reserved = windows[i].reserved;
		states[i].unpriced_calls = windows[i].unpriced_calls;
	}
	*ret = states;
	return ERR_OK;
}

void budget_write_scope(struct json_writer *w, const struct budget *b)
{
	jw_object_begin(w, "scope");
	if (b->scope_dimension[0] != '\0')
		jw_string(w, b->scope_dimension, b->scope_value);
	jw_object_end(w);
}

static void write_figures(struct json_writer *w, const struct budget_state *s, int64_t now_us)
{
	const struct money limit = s->budget->limit;
	const int64_t elapsed_us = now_us > s->period.start_us ? now_us - s->period.start_us : 1;
	int128 projected;
	jw_decimal(w, "current_spend", s->spend.atto, MONEY_SCALE);
	jw_decimal(w, "reserved", s->reserved.atto, MONEY_SCALE);
	jw_decimal(w, "remaining", limit.atto - s->spend.atto, MONEY_SCALE);
	jw_decimal(w, "percentage_used", budget_percentage(s->spend, limit), BUDGET_PERCENT_SCALE);
	jw_string(w, "status", budget_status(s->spend, limit));
	jw_i64(w, "unpriced_calls", s->unpriced_calls);
	jw_instant(w, "period_start", s->period.start_us);
	jw_instant(w, "period_end", s->period.end_us);
	if (budget_projection(s->spend, elapsed_us, s->period.end_us - s->period.start_us, &projected))
		jw_decimal(w, "projected_spend", projected, BUDGET_PROJECTION_SCALE);
	else
		jw_null(w, "projected_spend");
}

void budget_write(struct json_writer *w, const struct http_request *rq, const struct tz *tz,
	const struct budget_state *s)
{
	const struct budget *const b = s->budget;
	jw_object_begin(w, NULL);
	jw_uuid(w, "id", &b->id);
	jw_uuid(w, "user_id", &rq->principal.user_id);
	jw_string(w, "name", b->name);
	jw_decimal(w, "limit", b->limit.atto, MONEY_SCALE);
	jw_string(w, "period", budget_period_name(b->period));
	budget_write_scope(w, b);
	write_figures(w, s, rq->received_us);
	jw_string(w, "timezone", tz_name(tz));
	jw_array_begin(w, "thresholds");
	for (size_t i = 0; i < b->n_thresholds; i++)
		jw_i64(w, NULL, b->thresholds[i]);
	jw_array_end(w);
	jw_bool(w, "hard", b->hard);
	jw_instant(w, "created_at", b->created_at_us);
	jw_instant(w, "updated_at", b->updated_at_us);
	jw_object_end(w);
}

struct reply budget_answer(struct http_request *rq, int status, const struct tz *tz, const struct budget *b)
{
	struct budget_state *s;
	const enum err e = budget_states_read(rq, tz, b, 1, &s);
	if (e != ERR_OK)
		return api_fail(rq, e, NULL);
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	budget_write(&w, rq, tz, s);
	return reply_json(status, &body);
}

enum err budget_begin(struct http_request *rq, const struct tz **ret, struct problem *p)
{
	api_query_none(rq, p);
	return api_zone(rq, ret, p);
}

struct reply budget_fail(const struct http_request *rq, enum err e, const struct problem *p)
{
	return api_fail_one(rq, e, p, "There is no such budget");
}
