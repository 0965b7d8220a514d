/* /api/pricing/overrides: the user's own prices. They hold on this server when the answer is sent, and on
 * every other within a second; events that had no price are priced in the background. */
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/id_cursor.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/api/support.h"
#include "llmlab/base/clock.h"
#include "llmlab/db/overrides.h"
#include "llmlab/providers/catalogue_load.h"

#define PAGE_MAX_BYTES ((size_t)32 << 20)

/* Members of the body that are kept as they came. */
static const char *const KEPT[] = {"per_million_tokens", "per_thousand", "tiers", "service_tiers", "note"};

static void write_kept(
	struct json_writer *w, const struct json_doc *doc, const char *name, struct arena *arena)
{
	const json_t *const value = json_object_get(doc->root, name);
	if (value == NULL || json_is_null(value))
		return;
	if (json_is_string(value))
		jw_string(w, name, json_string_value(value));
	else
		jw_raw(w, name, json_text(doc, value, PRICE_OVERRIDE_BODY_MAX, arena));
}

/* The price as it is stored: names as they are compared, instants in one form, prices digit by digit. */
static const char *stored_body(
	const struct json_doc *doc, const struct price_record *r, struct arena *arena, struct problem *p)
{
	const struct price_period *const period = &r->periods[0];
	struct buf out;
	buf_init(&out, PRICE_OVERRIDE_BODY_MAX + 1);
	struct json_writer w;
	jw_init(&w, &out);
	jw_object_begin(&w, NULL);
	jw_string(&w, "provider", api_provider_id(r->provider, arena));
	if (json_is_string(json_object_get(doc->root, "model")))
		jw_string(&w, "model", r->model);
	write_kept(&w, doc, "match", arena);
	if (period->from_us != INT64_MIN)
		jw_instant(&w, "from", period->from_us);
	if (period->to_us != INT64_MAX)
		jw_instant(&w, "to", period->to_us);
	for (size_t i = 0; i < sizeof KEPT / sizeof KEPT[0]; i++)
		write_kept(&w, doc, KEPT[i], arena);
	jw_object_end(&w);
	const char *const body = out.failed ? NULL : arena_strndup(arena, buf_str(&out), out.len);
	if (out.failed || out.len > PRICE_OVERRIDE_BODY_MAX || arena_overflowed(arena))
		problem_set(p, ERR_VALIDATION, "The price is longer than %d bytes", PRICE_OVERRIDE_BODY_MAX);
	buf_release(&out);
	return body;
}

/* ERR_OK with what is to be stored. */
static enum err read_override(struct http_request *rq, struct price_override *ret, struct problem *p)
{
	struct json_doc doc;
	if (json_doc_parse(&doc, rq->body, rq->body_len, &json_limits_default, &rq->arena, p) != ERR_OK)
		return p->code;
	struct price_record record;
	if (catalogue_parse_override(&doc, doc.root, &rq->arena, &record, p) == ERR_OK) {
		*ret = (struct price_override){.id = uuid_v7(rq->received_us / US_PER_MS),
			.body = stored_body(&doc, &record, &rq->arena, p),
			.exact = json_is_string(json_object_get(doc.root, "model"))};
		catalogue_record_release(&record);
	}
	json_doc_release(&doc);
	return p->code;
}

/* The stored members, with what the server adds to them. The text is our own. */
static void write_override(struct json_writer *w, const struct price_override *o, struct arena *arena)
{
	struct problem p;
	problem_init(&p, arena);
	struct json_doc doc;
	jw_object_begin(w, NULL);
	jw_uuid(w, "id", &o->id);
	if (json_doc_parse(&doc, o->body, strlen(o->body), &json_limits_trusted, arena, &p) == ERR_OK) {
		for (void *i = json_object_iter(doc.root); i != NULL; i = json_object_iter_next(doc.root, i))
			write_kept(w, &doc, json_object_iter_key(i), arena);
		json_doc_release(&doc);
	} else {
		w->out->failed = true; /* without memory there is no answer */
	}
	jw_instant(w, "created_at", o->created_at_us);
	jw_object_end(w);
}

static struct reply answer_page(const struct price_override *rows, size_t n, size_t page, struct arena *arena)
{
	const size_t shown = n < page ? n : page;
	struct buf body;
	struct json_writer w;
	api_page_begin(&w, &body, "overrides", shown);
	for (size_t i = 0; i < shown; i++)
		write_override(&w, &rows[i], arena);
	return id_cursor_end(&w, n > page ? &rows[shown - 1].id : NULL, arena);
}

struct reply api_pricing_overrides(struct http_request *rq)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PAGE_MAX_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	const int limit = api_page_limit(rq, &p);
	struct uuid before;
	const bool goes_on = id_cursor_read(rq, &before, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	struct price_override *rows;
	size_t n;
	const enum err e = overrides_list(
		api_db(rq), &rq->principal.user_id, goes_on ? &before : NULL, limit + 1, &arena, &rows, &n);
	return e == ERR_OK ? answer_page(rows, n, (size_t)limit, &arena) : api_fail(rq, e, NULL);
}

static struct reply refuse(struct http_request *rq, enum err e)
{
	if (e == ERR_NOT_FOUND)
		return api_fail(rq, ERR_INVALID_TOKEN, NULL);
	if (e == ERR_CONFLICT)
		return reply_error(rq, e, "There are 200 own prices already; delete one first");
	if (e != ERR_RATE_LIMITED)
		return api_fail(rq, e, NULL);
	struct reply r = reply_error(rq, e, "2000 own prices were made within a day; no more for now");
	reply_set_header(&r, "Retry-After", "3600");
	return r;
}

struct reply api_pricing_overrides_add(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	struct price_override o;
	if (read_override(rq, &o, &p) != ERR_OK)
		return reply_problem(rq, &p);
	const enum err e = overrides_insert(api_db(rq), &rq->principal.user_id, &o, &rq->arena);
	if (e != ERR_OK)
		return refuse(rq, e);
	/* If it fails, the watch finds the change a moment later. */
	(void)own_prices_load_user(api_db(rq), &rq->principal.user_id);
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	write_override(&w, &o, &rq->arena);
	return reply_json(201, &body);
}

struct reply api_pricing_overrides_delete(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct uuid id;
	enum err e = api_begin_one(rq, &id, &p);
	if (e == ERR_OK)
		e = overrides_delete(api_db(rq), &rq->principal.user_id, &id);
	if (e != ERR_OK)
		return api_fail_one(rq, e, &p, "There is no such own price");
	(void)own_prices_load_user(api_db(rq), &rq->principal.user_id);
	return reply_empty(204);
}
