/* GET /api/budgets, GET and DELETE /api/budgets/{id}: limits on spend by calendar period, and how much of
 * each is used now. Making and changing them is budgets_set.c's. */
#include "llmlab/api/budget_output.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/id_cursor.h"
#include "llmlab/api/support.h"

/* A page of the list, and the totals of all budgets. */
struct page {
	const struct budget_state *states; /* of all budgets, by id downwards */
	size_t n;
	size_t first, shown; /* of them on this page */
};

static enum err add_up(const struct page *g, struct money *limits, struct money *spend)
{
	*limits = *spend = money_zero();
	for (size_t i = 0; i < g->n; i++) {
		const struct budget_state *const s = &g->states[i];
		if (!money_add(*limits, s->budget->limit, limits) || !money_add(*spend, s->spend, spend))
			return ERR_INTERNAL;
	}
	return ERR_OK;
}

static struct reply answer_page(struct http_request *rq, const struct tz *tz, const struct page *g)
{
	struct money limits, spend;
	const enum err e = add_up(g, &limits, &spend);
	if (e != ERR_OK)
		return api_fail(rq, e, NULL);
	struct buf body;
	struct json_writer w;
	api_page_begin(&w, &body, "budgets", g->shown);
	for (size_t i = g->first; i < g->first + g->shown; i++)
		budget_write(&w, rq, tz, &g->states[i]);
	jw_array_end(&w);
	jw_decimal(&w, "total_limits", limits.atto, MONEY_SCALE);
	jw_decimal(&w, "total_spend", spend.atto, MONEY_SCALE);
	const size_t end = g->first + g->shown;
	id_cursor_write(&w, end < g->n ? &g->states[end - 1].budget->id : NULL, &rq->arena);
	jw_object_end(&w);
	return reply_json(200, &body);
}

static enum err read_states(
	struct http_request *rq, const struct tz *tz, const struct budget_state **ret, size_t *ret_n)
{
	struct budget *budgets;
	struct budget_state *states;
	size_t n;
	enum err e = budgets_list(api_db(rq), &rq->principal.user_id, &rq->arena, &budgets, &n);
	if (e == ERR_OK)
		e = budget_states_read(rq, tz, budgets, n, &states);
	if (e != ERR_OK)
		return e;
	*ret = states;
	*ret_n = n;
	return ERR_OK;
}

struct reply api_budgets_list(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const size_t limit = (size_t)api_page_limit(rq, &p);
	struct uuid before;
	const bool goes_on = id_cursor_read(rq, &before, &p);
	const struct tz *tz;
	struct page g;
	enum err e = api_zone(rq, &tz, &p);
	if (e == ERR_OK)
		e = read_states(rq, tz, &g.states, &g.n);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	g.first = 0;
	while (goes_on && g.first < g.n && uuid_compare(&g.states[g.first].budget->id, &before) >= 0)
		g.first++;
	g.shown = g.n - g.first < limit ? g.n - g.first : limit;
	return answer_page(rq, tz, &g);
}

struct reply api_budgets_get(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const struct tz *tz;
	struct uuid id;
	struct budget b;
	enum err e = budget_begin(rq, &tz, &p);
	if (e == ERR_OK)
		e = api_path_uuid(rq, 0, &id);
	if (e == ERR_OK)
		e = budgets_find(api_db(rq), &rq->principal.user_id, &id, &rq->arena, &b);
	return e == ERR_OK ? budget_answer(rq, 200, tz, &b) : budget_fail(rq, e, &p);
}

struct reply api_budgets_delete(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct uuid id;
	enum err e = api_begin_one(rq, &id, &p);
	if (e == ERR_OK)
		e = budgets_delete(api_db(rq), &rq->principal.user_id, &id);
	return e == ERR_OK ? reply_empty(204) : budget_fail(rq, e, &p);
}
