/* /api/alerts: what the user was told, and that he took note. Who tells is the app's alerts.c. */
#include <string.h>
#include "llmlab/api/alert_output.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/id_cursor.h"
#include "llmlab/api/support.h"

#define PAGE_MAX_BYTES ((size_t)8 << 20)

static struct reply answer_page(const struct alert *rows, size_t n, size_t page, struct arena *arena)
{
	const size_t shown = n < page ? n : page;
	struct buf body;
	struct json_writer w;
	api_page_begin(&w, &body, "alerts", shown);
	for (size_t i = 0; i < shown; i++)
		alert_write(&w, &rows[i]);
	return id_cursor_end(&w, n > page ? &rows[shown - 1].id : NULL, arena);
}

/* What is asked for; both ids are the caller's. */
static void read_filter(struct http_request *rq, struct alerts_filter *f, struct uuid *before,
	struct uuid *budget_id, struct problem *p)
{
	api_query_allow(rq, (const char *const[]){"limit", "cursor", "acknowledged", "budget_id", NULL}, p);
	f->limit = (int)api_query_i64(rq, "limit", 1, API_PAGE_MAX, API_PAGE_DEFAULT, p);
	if (id_cursor_read(rq, before, p))
		f->before = before;
	const char *const acknowledged =
		api_query_choice(rq, "acknowledged", (const char *const[]){"true", "false", NULL}, p);
	f->by_acknowledged = acknowledged != NULL;
	f->acknowledged = f->by_acknowledged && strcmp(acknowledged, "true") == 0;
	const char *const id = http_query_get(rq, "budget_id");
	if (id == NULL)
		return;
	if (uuid_parse(id, budget_id) == ERR_OK)
		f->budget_id = budget_id;
	else
		problem_add(p, "budget_id", "must be the id of a budget");
}

struct reply api_alerts_list(struct http_request *rq)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PAGE_MAX_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	struct alerts_filter f = {.limit = 0};
	struct uuid before, budget_id;
	read_filter(rq, &f, &before, &budget_id, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	const size_t page = (size_t)f.limit;
	f.limit++;
	struct alert *rows;
	size_t n;
	const enum err e = alerts_list(api_db(rq), &rq->principal.user_id, &f, &arena, &rows, &n);
	return e == ERR_OK ? answer_page(rows, n, page, &arena) : api_fail(rq, e, NULL);
}

struct reply api_alerts_acknowledge(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct uuid id;
	struct alert a;
	enum err e = api_begin_one(rq, &id, &p);
	if (e == ERR_OK)
		e = alerts_acknowledge(api_db(rq), &rq->principal.user_id, &id, &rq->arena, &a);
	if (e != ERR_OK)
		return api_fail_one(rq, e, &p, "There is no such alert");
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	alert_write(&w, &a);
	return reply_json(200, &body);
}
