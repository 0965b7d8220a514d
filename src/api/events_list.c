/* GET /api/events and /api/events/{id}: stored events, newest first, page by page. */
#include <string.h>
#include "llmlab/api/cursor.h"
#include "llmlab/api/event_output.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/db/events.h"

#define NAME_MAX_CHARS 200
#define TEXT_MAX_CHARS 128
/* 501 events with 4 KiB of metadata each, and as much again for the rest. */
#define PAGE_MAX_BYTES ((size_t)16 << 20)

static const char *const PARAMETERS[] = {"days", "from", "to", "tz", "provider", "model", "project",
	"customer", "tag.", "status", "min_cost", "limit", "cursor", NULL};
static const char *const STATUSES[] = {"success", "error", NULL};
static const char TAG[] = "tag.";

static void release_arena(struct arena *a)
{
	arena_release(a);
}

static void read_tag(const struct http_request *rq, struct events_filter *f, struct problem *p)
{
	for (size_t i = 0; i < rq->n_query; i++) {
		const char *const name = rq->query[i].name;
		if (strncmp(name, TAG, sizeof TAG - 1) != 0 || name[sizeof TAG - 1] == '\0')
			continue;
		if (f->tag_key != NULL)
			problem_add(p, name, "only one tag can be asked for");
		f->tag_key = name + sizeof TAG - 1;
		f->tag_value = rq->query[i].value;
	}
}

static void read_min_cost(const struct http_request *rq, struct events_filter *f, struct problem *p)
{
	const char *const text = http_query_get(rq, "min_cost");
	if (text == NULL)
		return;
	const int128 max = MONEY_MAX_USD * decimal_pow10(MONEY_SCALE);
	f->has_min_cost = true;
	if (decimal_parse(text, strlen(text), MONEY_SCALE, max, &f->min_cost.atto) != ERR_OK ||
		f->min_cost.atto < 0)
		problem_add(p, "min_cost", "must be a number, 0 or more");
}

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

static enum err read_filter(struct http_request *rq, struct events_filter *f, struct problem *p)
{
	api_query_allow(rq, PARAMETERS, p);
	const char *const provider = api_query_text(rq, "provider", NAME_MAX_CHARS, p);
	*f = (struct events_filter){.model = api_query_text(rq, "model", NAME_MAX_CHARS, p),
		.project = api_query_text(rq, "project", TEXT_MAX_CHARS, p),
		.customer = api_query_text(rq, "customer", TEXT_MAX_CHARS, p),
		.status = api_query_choice(rq, "status", STATUSES, p),
		.limit = (int)api_query_i64(rq, "limit", 1, API_PAGE_MAX, API_PAGE_DEFAULT, p)};
	if (provider != NULL) {
		f->provider = api_provider_id(provider, &rq->arena);
		if (f->provider == NULL)
			return ERR_NO_MEMORY;
	}
	read_tag(rq, f, p);
	read_min_cost(rq, f, p);
	read_cursor(rq, f, p);
	struct range range;
	const enum err e = api_range(rq, &range, p);
	if (e != ERR_OK)
		return e;
	f->from_us = range.from_us;
	f->to_us = range.to_us;
	return ERR_OK;
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
	struct arena arena __attribute__((cleanup(release_arena)));
	arena_init(&arena, PAGE_MAX_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	struct events_filter f;
	enum err e = read_filter(rq, &f, &p);
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
	api_query_allow(rq, (const char *const[]){NULL}, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	struct uuid id;
	struct event event;
	enum err e = api_path_uuid(rq, 0, &id);
	if (e == ERR_OK)
		e = events_find(api_db(rq), &rq->principal.user_id, &id, &rq->arena, &event);
	if (e == ERR_NOT_FOUND)
		return reply_error(rq, e, "There is no such event");
	if (e != ERR_OK)
		return api_fail(rq, e, NULL);
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	event_write_full(&w, NULL, &event);
	return reply_json(200, &body);
}
