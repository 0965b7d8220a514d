/* GET /api/pricing/unpriced: the models whose calls have no price, so that one can be set. */
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/cursor.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/db/unpriced.h"

#define PAGE_MAX_BYTES ((size_t)8 << 20)

/* "<length of the provider>:<provider><model>": either may contain anything. */
static void write_cursor(struct json_writer *w, const struct unpriced_model *last, struct arena *arena)
{
	const char *const text =
		arena_printf(arena, "%zu:%s%s", strlen(last->provider), last->provider, last->model);
	const char *const cursor = text == NULL ? NULL : text_cursor_format(text, arena);
	if (cursor == NULL)
		w->out->failed = true;
	jw_string(w, "next_cursor", cursor);
}

/* True with *ret if the parameter is given and good; a bad one is named in *p. */
static bool read_cursor(struct http_request *rq, struct unpriced_model *ret, struct problem *p)
{
	const char *const cursor = http_query_get(rq, "cursor");
	if (cursor == NULL)
		return false;
	const char *const text = text_cursor_parse(cursor, &rq->arena);
	char *end = NULL;
	const size_t n = text == NULL ? 0 : strtoul(text, &end, 10);
	if (text == NULL || end == text || *end != ':' || n > strlen(end + 1)) {
		problem_add(p, "cursor", "is not one that this server gave out");
		return false;
	}
	*ret = (struct unpriced_model){
		.provider = arena_strndup(&rq->arena, end + 1, n), .model = end + 1 + n};
	return true;
}

static void write_model(struct json_writer *w, const struct unpriced_model *m)
{
	jw_object_begin(w, NULL);
	jw_string(w, "provider", m->provider);
	jw_string(w, "model", m->model);
	jw_i64(w, "calls", m->calls);
	jw_i64(w, "input_tokens", m->input_tokens);
	jw_i64(w, "output_tokens", m->output_tokens);
	jw_i64(w, "total_tokens", m->input_tokens + m->output_tokens);
	jw_instant(w, "first_seen", m->first_us);
	jw_instant(w, "last_seen", m->last_us);
	jw_object_end(w);
}

static struct reply answer(const struct unpriced_model *rows, size_t n, size_t page, struct arena *arena)
{
	const size_t shown = n < page ? n : page;
	struct buf body;
	struct json_writer w;
	api_page_begin(&w, &body, "models", shown);
	for (size_t i = 0; i < shown; i++)
		write_model(&w, &rows[i]);
	jw_array_end(&w);
	if (n > page)
		write_cursor(&w, &rows[shown - 1], arena);
	else
		jw_null(&w, "next_cursor");
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_pricing_unpriced(struct http_request *rq)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PAGE_MAX_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	const int limit = api_page_limit(rq, &p);
	struct unpriced_model after;
	const bool goes_on = read_cursor(rq, &after, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	struct unpriced_model *rows;
	size_t n;
	const enum err e = unpriced_list(
		api_db(rq), &rq->principal.user_id, goes_on ? &after : NULL, limit + 1, &arena, &rows, &n);
	return e == ERR_OK ? answer(rows, n, (size_t)limit, &arena) : api_fail(rq, e, NULL);
}
