/* POST /api/events/batch: up to 10,000 events in one request, each with its own outcome, in order. The body
 * is cut into events one by one, so that memory is bounded by one event's tree and the finished items, for
 * which there is room in the ingest queue before the first is made. All
 * good items go through the ingest queue as one group; the request is answered when the last of them has its
 * outcome. */
#include <string.h>
#include "llmlab/api/batch_split.h"
#include "llmlab/api/event_item.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/api/support.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/providers/catalogue_load.h"

#define BATCH_EVENTS_MAX  10000
#define SCRATCH_MAX_BYTES ((size_t)4 << 20)
#define RESULT_MAX_BYTES  ((size_t)64 << 10)

/* What becomes of one event. */
struct result {
	struct ingest_item
		*item;	  /* NULL: it was not good enough to be submitted; until it is done the queue's */
	const char *text; /* the result object if it is refused, or if it is stored now: written ahead */
};

/* A batch on its way; in the request's arena. */
struct batch {
	struct http_request *rq;
	struct ingest_group group;
	struct ingest_reservation room; /* in the queue, until the group is submitted */
	struct result *results;
	size_t n;
	size_t n_items; /* good ones */
};

/* ---- results ---- */

static void write_error(
	struct json_writer *w, size_t index, enum err code, const char *detail, const struct problem *p)
{
	jw_object_begin(w, NULL);
	jw_i64(w, "index", (int64_t)index);
	jw_object_begin(w, "error");
	jw_string(w, "code", err_code(code));
	jw_string(w, "detail", detail);
	jw_array_begin(w, "errors");
	for (size_t i = 0; p != NULL && i < p->n_fields; i++) {
		jw_object_begin(w, NULL);
		jw_string(w, "field", p->fields[i].field);
		jw_string(w, "message", p->fields[i].message);
		jw_object_end(w);
	}
	jw_array_end(w);
	jw_object_end(w);
	jw_object_end(w);
}

static void write_good(struct json_writer *w, size_t index, const struct event *e, bool duplicate)
{
	jw_object_begin(w, NULL);
	jw_i64(w, "index", (int64_t)index);
	jw_uuid(w, "event_id", &e->id);
	if (e->has_cost)
		jw_decimal(w, "cost", e->cost.atto, MONEY_SCALE);
	else
		jw_null(w, "cost");
	jw_string(w, "pricing_status", e->pricing_status);
	jw_bool(w, "duplicate", duplicate);
	jw_object_end(w);
}

/* The result object ahead of time, in the request's arena; NULL without memory. */
static const char *text_of(
	struct batch *b, size_t index, const struct ingest_item *item, const struct problem *p)
{
	struct buf out;
	buf_init(&out, RESULT_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &out);
	if (item != NULL)
		write_good(&w, index, &item->event, false);
	else
		write_error(&w, index, p->code, problem_detail(p), p);
	const char *const text = out.failed ? NULL : arena_strndup(&b->rq->arena, buf_str(&out), out.len);
	buf_release(&out);
	return text;
}

static void write_result(struct json_writer *w, size_t index, const struct result *r)
{
	const struct ingest_item *const item = r->item;
	if (item == NULL || item->outcome == INGEST_STORED)
		jw_raw(w, NULL, r->text);
	else if (item->outcome == INGEST_DUPLICATE)
		write_good(w, index, &item->event, true);
	else
		write_error(w, index, event_outcome_error(item->outcome), event_outcome_detail(item->outcome),
			NULL);
}

/* ---- the answer ---- */

static size_t count_outcome(const struct batch *b, enum ingest_outcome outcome)
{
	size_t n = 0;
	for (size_t i = 0; i < b->n; i++)
		n += b->results[i].item != NULL && b->results[i].item->outcome == outcome;
	return n;
}

static struct reply answer_results(const struct batch *b)
{
	const size_t stored = count_outcome(b, INGEST_STORED),
		     duplicates = count_outcome(b, INGEST_DUPLICATE);
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_i64(&w, "accepted", (int64_t)stored);
	jw_i64(&w, "duplicates", (int64_t)duplicates);
	jw_i64(&w, "rejected", (int64_t)(b->n - stored - duplicates));
	jw_array_begin(&w, "results");
	for (size_t i = 0; i < b->n; i++)
		write_result(&w, i, &b->results[i]);
	jw_array_end(&w);
	jw_object_end(&w);
	return reply_json(200, &body);
}

/* When the account or the database is gone for all good items, the answer is about the request, not about
 * them. */
static struct reply answer(const struct batch *b)
{
	if (count_outcome(b, INGEST_USER_GONE) > 0)
		return reply_error(b->rq, ERR_INVALID_TOKEN, event_outcome_detail(INGEST_USER_GONE));
	if (b->n_items == 0 || count_outcome(b, INGEST_UNAVAILABLE) < b->n_items)
		return answer_results(b);
	struct reply r =
		reply_error(b->rq, ERR_DATABASE_UNAVAILABLE, event_outcome_detail(INGEST_UNAVAILABLE));
	reply_set_header(&r, "Retry-After", "%d", ingest_retry_after(api_of(b->rq)->ingest));
	return r;
}

static void free_items(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->results[i].item != NULL)
			ingest_item_free(b->results[i].item);
	}
}

/* From the writer's thread. */
static void done(struct ingest_group *g)
{
	struct batch *const b = g->owner;
	struct http_request *const rq = b->rq;
	const struct reply r = answer(b);
	free_items(b);
	http_complete(rq, r);
}

/* ---- the way in ---- */

static bool is_lines(const struct http_request *rq)
{
	const char *const type = rq->headers[HTTP_HEADER_CONTENT_TYPE];
	static const char NAME[] = "application/x-ndjson";
	return type != NULL && strncasecmp(type, NAME, sizeof NAME - 1) == 0;
}

/* Checks the frame and counts the events, before anything is made of them. */
static enum err count_events(const struct http_request *rq, size_t *ret, struct problem *p)
{
	struct batch_split s;
	batch_split_init(&s, rq->body, rq->body_len, is_lines(rq));
	const char *text;
	size_t length, n = 0;
	enum err e = batch_split_next(&s, &text, &length, p);
	for (; e == ERR_OK && n <= BATCH_EVENTS_MAX; e = batch_split_next(&s, &text, &length, p))
		n++;
	if (e != ERR_OK && e != ERR_NOT_FOUND)
		return e;
	if (n == 0)
		problem_add(p, "events", "must have 1 to %d elements", BATCH_EVENTS_MAX);
	if (n > BATCH_EVENTS_MAX)
		problem_set(p, ERR_TOO_LARGE, "A batch has at most %d events", BATCH_EVENTS_MAX);
	*ret = n;
	return p->code;
}

/* Parses one event's text. The JSON reader takes objects and arrays only: a bare value is put into an array,
 * so that it is told from what is no JSON at all and then refused for not being an object. */
static enum err parse_event(
	struct json_doc *doc, const char *text, size_t length, struct arena *arena, struct problem *p)
{
	if (text[0] != '{' && text[0] != '[') {
		text = arena_printf(arena, "[%.*s]", (int)length, text);
		if (text == NULL) {
			problem_set(p, ERR_NO_MEMORY, "There is not enough memory for this event now");
			return p->code;
		}
		length += 2;
	}
	return json_doc_parse(doc, text, length, &json_limits_response, arena, p);
}

/* Reads one event. Fails only where the whole batch must. */
static enum err read_event(struct batch *b, const struct event_source *source, size_t index, const char *text,
	size_t length, struct problem *p)
{
	struct result *const result = &b->results[index];
	struct problem own;
	problem_init(&own, source->arena);
	struct json_doc doc;
	if (parse_event(&doc, text, length, source->arena, &own) == ERR_OK) {
		/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): it was parsed */
		event_item_new(source, &doc, doc.root, &result->item, &own);
		json_doc_release(&doc);
	}
	/* One document that is not JSON is refused whole; lines stand for themselves. */
	if (own.code == ERR_NO_MEMORY || (own.code == ERR_MALFORMED_JSON && !is_lines(b->rq))) {
		problem_set(p, own.code, "events[%zu]: %s", index, problem_detail(&own));
		return p->code;
	}
	result->text = text_of(b, index, result->item, &own);
	if (result->text == NULL)
		problem_set(p, ERR_NO_MEMORY, "There is not enough memory for this batch now");
	b->n_items += result->item != NULL;
	return p->code;
}

static enum err read_events(
	struct batch *b, const struct catalogue *catalogue, const struct own_prices *own, struct problem *p)
{
	struct arena scratch;
	arena_init(&scratch, SCRATCH_MAX_BYTES);
	const struct event_source source = {.catalogue = catalogue,
		.own = own,
		.principal = &b->rq->principal,
		.now_us = b->rq->received_us,
		.arena = &scratch};
	struct batch_split s;
	batch_split_init(&s, b->rq->body, b->rq->body_len, is_lines(b->rq));
	enum err e = ERR_OK;
	for (size_t i = 0; e == ERR_OK && i < b->n; i++) {
		const char *text;
		size_t length;
		CHECK(batch_split_next(&s, &text, &length, p) == ERR_OK);
		e = read_event(b, &source, i, text, length, p);
		arena_release(&scratch);
	}
	return e;
}

/* The good items as one group; the items are the queue's if this succeeds. */
static enum err submit(struct batch *b)
{
	struct ingest_item **const items = arena_array(&b->rq->arena, b->n_items, sizeof *items);
	if (items == NULL) {
		ingest_unreserve(api_of(b->rq)->ingest, &b->room);
		return ERR_NO_MEMORY;
	}
	b->group = (struct ingest_group){.reservation = &b->room,
		.done = done,
		.owner = b,
		.items = items,
		.deadline_us = event_deadline_us(b->rq)};
	for (size_t i = 0; i < b->n; i++) {
		struct ingest_item *const item = b->results[i].item;
		if (item == NULL)
			continue;
		item->group = &b->group;
		item->index = b->group.n_items;
		items[b->group.n_items++] = item;
	}
	return ingest_submit(api_of(b->rq)->ingest, &b->group);
}

/* The texts are in the event and in its row. */
static enum err reserve(struct batch *b)
{
	return ingest_reserve(api_of(b->rq)->ingest, &b->rq->principal.user_id, b->n,
		b->n * INGEST_ITEM_BYTES + 2 * b->rq->body_len, &b->room);
}

static struct reply refused_whole(struct batch *b, enum err e)
{
	free_items(b);
	if (e != ERR_OVERLOADED && e != ERR_DRAINING)
		return api_fail(b->rq, e, NULL);
	struct reply r =
		reply_error(b->rq, e, "Too many events are waiting to be stored; nothing was stored");
	reply_set_header(&r, "Retry-After", "%d", ingest_retry_after(api_of(b->rq)->ingest));
	return r;
}

static void check_request(const struct http_request *rq, struct problem *p)
{
	api_query_none(rq, p);
	/* One key cannot stand for many events, and ignoring it would make a repeat look safe. */
	if (rq->headers[HTTP_HEADER_IDEMPOTENCY_KEY] != NULL)
		problem_add(
			p, "Idempotency-Key", "is not for batches: give each event its own idempotency_key");
}

struct reply api_events_batch(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	check_request(rq, &p);
	size_t n = 0;
	if (!problem_none(&p) || count_events(rq, &n, &p) != ERR_OK)
		return reply_problem(rq, &p);
	struct batch *const b = arena_alloc(&rq->arena, sizeof *b);
	struct result *const results = arena_array(&rq->arena, n, sizeof *results);
	if (b == NULL || results == NULL)
		return api_fail(rq, ERR_NO_MEMORY, NULL);
	*b = (struct batch){.rq = rq, .results = results, .n = n};
	const struct own_prices *own;
	if (own_prices_of_request(&rq->principal.user_id, &own, &p) != ERR_OK)
		return reply_problem(rq, &p);
	enum err e = reserve(b);
	if (e != ERR_OK) {
		own_prices_release(own);
		return refused_whole(b, e);
	}
	const struct catalogue *const catalogue = catalogue_acquire();
	e = read_events(b, catalogue, own, &p);
	catalogue_release(catalogue);
	own_prices_release(own);
	if (e != ERR_OK || b->n_items == 0)
		ingest_unreserve(api_of(rq)->ingest, &b->room);
	if (e != ERR_OK) {
		free_items(b);
		return reply_problem(rq, &p);
	}
	if (b->n_items == 0)
		return answer(b);
	e = submit(b);
	return e == ERR_OK ? reply_parked() : refused_whole(b, e);
}
