/* GET /api/budgets/{id}/history: what was spent in the scope of a budget in the periods before this one, back
 * to the account's first data. Exact, because it is read from the sums; the limit is today's, which is what
 * they are measured by. */
#include <string.h>
#include "llmlab/api/budget_output.h"
#include "llmlab/api/cursor.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/core/budget.h"
#include "llmlab/db/costs.h"

/* A page of history. */
struct history {
	const struct tz *tz;
	struct budget budget;
	struct period *periods;	 /* newest first */
	struct usage_sums *sums; /* oldest first */
	size_t n;
	bool more;
};

/* The page begins before the period that contains this instant. */
static int64_t read_cursor(struct http_request *rq, struct problem *p)
{
	const char *const cursor = http_query_get(rq, "cursor");
	if (cursor == NULL)
		return rq->received_us;
	const char *const text = text_cursor_parse(cursor, &rq->arena);
	int64_t us = 0;
	if (text == NULL || instant_parse(text, strlen(text), &us) != ERR_OK || us > rq->received_us ||
		us < 0)
		problem_add(p, "cursor", "is not one that this server gave out");
	return us;
}

/* Up to `limit` periods that end after first_us. ERR_NO_MEMORY. */
static enum err find_periods(
	struct http_request *rq, struct history *h, int64_t before_us, size_t limit, int64_t first_us)
{
	const enum period_kind kind = h->budget.period;
	h->periods = arena_array(&rq->arena, limit, sizeof *h->periods);
	if (h->periods == NULL)
		return ERR_NO_MEMORY;
	struct period at = period_at(kind, h->tz, before_us);
	at = period_previous(kind, h->tz, &at);
	for (; at.end_us > first_us && h->n < limit; at = period_previous(kind, h->tz, &at))
		h->periods[h->n++] = at;
	h->more = at.end_us > first_us;
	return ERR_OK;
}

static enum err read_sums(struct http_request *rq, struct history *h)
{
	int64_t *const starts_us = arena_array(&rq->arena, h->n + 1, sizeof *starts_us);
	h->sums = arena_array(&rq->arena, h->n, sizeof *h->sums);
	if (starts_us == NULL || h->sums == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < h->n; i++)
		starts_us[i] = h->periods[h->n - 1 - i].start_us;
	starts_us[h->n] = h->periods[0].end_us;
	const struct usage_filter filter = budgets_filter(h->budget.scope_dimension, h->budget.scope_value);
	return costs_series(api_db(rq), &rq->principal.user_id, &filter, starts_us, h->n + 1, h->sums);
}

static enum err read_history(struct http_request *rq, struct history *h, int64_t before_us, size_t limit)
{
	int64_t first_us;
	const enum err e = budgets_first_spend(api_db(rq), &rq->principal.user_id, &first_us);
	if (e == ERR_NOT_FOUND)
		return ERR_OK;
	if (e != ERR_OK)
		return e;
	const enum err found = find_periods(rq, h, before_us, limit, first_us);
	return found == ERR_OK && h->n > 0 ? read_sums(rq, h) : found;
}

static void write_period(struct json_writer *w, const struct history *h, size_t i)
{
	const struct usage_sums *const sums = &h->sums[h->n - 1 - i];
	const struct money limit = h->budget.limit;
	jw_object_begin(w, NULL);
	jw_instant(w, "start", h->periods[i].start_us);
	jw_instant(w, "end", h->periods[i].end_us);
	jw_decimal(w, "spend", sums->cost.atto, MONEY_SCALE);
	jw_decimal(w, "limit", limit.atto, MONEY_SCALE);
	jw_decimal(w, "percentage_used", budget_percentage(sums->cost, limit), BUDGET_PERCENT_SCALE);
	jw_string(w, "status", budget_status(sums->cost, limit));
	jw_i64(w, "call_count", sums->calls);
	jw_i64(w, "unpriced_calls", sums->unpriced_calls);
	jw_object_end(w);
}

static void write_cursor(struct json_writer *w, const struct history *h, struct arena *arena)
{
	if (!h->more) {
		jw_null(w, "next_cursor");
		return;
	}
	char text[INSTANT_TEXT_SIZE];
	instant_format(h->periods[h->n - 1].start_us, text);
	const char *const cursor = text_cursor_format(text, arena);
	if (cursor == NULL)
		w->out->failed = true;
	jw_string(w, "next_cursor", cursor);
}

static struct reply answer_history(struct http_request *rq, const struct history *h)
{
	struct buf body;
	struct json_writer w;
	api_page_begin(&w, &body, "periods", h->n);
	for (size_t i = 0; i < h->n; i++)
		write_period(&w, h, i);
	jw_array_end(&w);
	write_cursor(&w, h, &rq->arena);
	jw_uuid(&w, "budget_id", &h->budget.id);
	jw_string(&w, "period", budget_period_name(h->budget.period));
	jw_string(&w, "timezone", tz_name(h->tz));
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_budgets_history(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const size_t limit = (size_t)api_page_limit(rq, &p);
	const int64_t before_us = read_cursor(rq, &p);
	struct history h = {.n = 0};
	struct uuid id;
	enum err e = api_zone(rq, &h.tz, &p);
	if (e == ERR_OK)
		e = api_path_uuid(rq, 0, &id);
	if (e == ERR_OK)
		e = budgets_find(api_db(rq), &rq->principal.user_id, &id, &rq->arena, &h.budget);
	if (e == ERR_OK)
		e = read_history(rq, &h, before_us, limit);
	return e == ERR_OK ? answer_history(rq, &h) : budget_fail(rq, e, &p);
}
