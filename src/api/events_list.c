/* GET /api/events and /api/events/{id}: stored events, newest first, page by page. */
#include "llmlab/api/cursor.h"
#include "llmlab/api/event_filter.h"
#include "llmlab/api/event_output.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/db/events.h"

/* 501 events with 4 KiB of metadata each, and as much again for the rest. */
#define PAGE_MAX_BYTES ((size_t)16 << 20)

static const char *const PARAMETERS[] = {EVENT_FILTER_PARAMETERS, "limit", "cursor", NULL};

static void read_cursor(const struct http_request *rq, struct events_filter *f, struct problem *p)
{
	const char *const text = http_query_get(rq, "cursor");
	struct event_cursor cursor;
	if (text == NULL)
		return;
	if (event_cursor_parse(text, &cursor) != ERR_OK) {
		problem_add(p, "cursor", "is not one that this server gave out");
		return;
	}
	f->before_us = cursor.occurred_at_us;
	f->before_id = cursor.id;
}

static enum err read_query(struct http_request *rq, struct events_filter *f, struct problem *p)
{
	struct range range;
	api_query_allow(rq, PARAMETERS, p);
	const int limit = (int)api_query_i64(rq, "limit", 1, API_PAGE_MAX, API_PAGE_DEFAULT, p);
	*f = (struct events_filter){0};
	read_cursor(rq, f, p);
	const enum err e = event_filter_read(rq, f, &range, p);
	f->limit = limit;
	return e;
}

/* n is one more than the page if there is another page. */
static struct reply answer_page(const struct event *events, size_t n, size_t page)
{
	const size_t shown = n < page ? n : page;
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_i64(&w, "count", (int64_t)shown);
	jw_array_begin(&w, "events");
	for (size_t i = 0; i < shown; i++)
		event_write_full(&w, NULL, &events[i]);
	jw_array_end(&w);
	if (n > page) {
		const struct event *const last = &events[shown - 1];
		char cursor[EVENT_CURSOR_TEXT_SIZE];
		event_cursor_format(
			&(struct event_cursor){.occurred_at_us = last->occurred_at_us, .id = last->id},
			cursor);
		jw_string(&w, "next_cursor", cursor);
	} else {
		jw_null(&w, "next_cursor");
	}
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_events_list(struct http_request *rq)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PAGE_MAX_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	struct events_filter f;
	enum err e = read_query(rq, &f, &p);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	const size_t page = (size_t)f.limit;
	f.limit++;
	struct event *events;
	size_t n;
	e = events_list(api_db(rq), &rq->principal.user_id, &f, &arena, &events, &n);
	return e == ERR_OK ? answer_page(events, n, page) : api_fail(rq, e, NULL);
}

struct reply api_events_get(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct uuid id;
	struct event event;
	enum err e = api_begin_one(rq, &id, &p);
	if (e == ERR_OK)
		e = events_find(api_db(rq), &rq->principal.user_id, &id, &rq->arena, &event);
	if (e != ERR_OK)
		return api_fail_one(rq, e, &p, "There is no such event");
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	event_write_full(&w, NULL, &event);
	return reply_json(200, &body);
}
