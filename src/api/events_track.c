/* POST /api/events/track: one event in, its exact cost out, answered when it is durable. Runs on the loop: it
 * never waits; the ingest writer's outcome completes the request. */
#include <string.h>
#include "llmlab/api/event_item.h"
#include "llmlab/api/event_output.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/api/support.h"
#include "llmlab/base/clock.h"
#include "llmlab/providers/catalogue_load.h"

/* A request on its way through the queue; in the request's arena. */
struct track {
	struct http_request *rq;
	struct ingest_group group;
	struct ingest_item *item;
	struct buf
		stored; /* the answer if it is stored now, written ahead to keep the writer's thread free */
};

static void write_answer(struct buf *out, const struct event *e, bool duplicate)
{
	buf_init(out, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, out);
	event_write_tracked(&w, NULL, e, duplicate);
}

static struct reply refused(const struct track *t)
{
	const enum ingest_outcome outcome = t->item->outcome;
	struct reply r = reply_error(t->rq, event_outcome_error(outcome), event_outcome_detail(outcome));
	if (outcome == INGEST_UNAVAILABLE)
		reply_set_header(&r, "Retry-After", "%d", ingest_retry_after(api_of(t->rq)->ingest));
	return r;
}

static struct reply answer(struct track *t)
{
	if (t->item->outcome == INGEST_STORED)
		return reply_json(201, &t->stored);
	buf_release(&t->stored);
	if (t->item->outcome != INGEST_DUPLICATE)
		return refused(t);
	struct buf body;
	write_answer(&body, &t->item->event, true);
	return reply_json(200, &body);
}

/* From the writer's thread. */
static void done(struct ingest_group *g)
{
	struct track *const t = g->owner;
	struct http_request *const rq = t->rq;
	const struct reply r = answer(t);
	ingest_item_free(t->item);
	http_complete(rq, r);
}

static struct reply submit(struct http_request *rq, struct ingest_item *item)
{
	struct ingest *const ingest = api_of(rq)->ingest;
	struct track *const t = arena_alloc(&rq->arena, sizeof *t);
	if (t == NULL) {
		ingest_item_free(item);
		return api_fail(rq, ERR_NO_MEMORY, NULL);
	}
	*t = (struct track){.rq = rq, .item = item};
	t->group = (struct ingest_group){.done = done,
		.owner = t,
		.items = &t->item,
		.n_items = 1,
		.deadline_us = event_deadline_us(rq)};
	item->group = &t->group;
	write_answer(&t->stored, &item->event, false);
	/* Without an answer to give, nothing may be stored. */
	const enum err e = t->stored.failed ? ERR_NO_MEMORY : ingest_submit(ingest, &t->group);
	if (e == ERR_OK)
		return reply_parked();
	buf_release(&t->stored);
	ingest_item_free(item);
	if (e != ERR_OVERLOADED && e != ERR_DRAINING)
		return api_fail(rq, e, NULL);
	struct reply r = reply_error(rq, e, "Too many events are waiting to be stored; nothing was stored");
	reply_set_header(&r, "Retry-After", "%d", ingest_retry_after(ingest));
	return r;
}

static enum err read_item(struct http_request *rq, const struct catalogue *catalogue,
	const struct own_prices *own, struct ingest_item **ret, struct problem *p)
{
	struct json_doc doc;
	const enum err e = json_doc_parse(&doc, rq->body, rq->body_len, &json_limits_response, &rq->arena, p);
	if (e != ERR_OK)
		return e;
	const struct event_source source = {.catalogue = catalogue,
		.own = own,
		.principal = &rq->principal,
		.now_us = rq->received_us,
		.key_header = rq->headers[HTTP_HEADER_IDEMPOTENCY_KEY],
		.arena = &rq->arena};
	event_item_new(&source, &doc, doc.root, ret, p);
	json_doc_release(&doc);
	return p->code;
}

struct reply api_events_track(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	const struct own_prices *own;
	if (own_prices_of_request(&rq->principal.user_id, &own, &p) != ERR_OK)
		return reply_problem(rq, &p);
	const struct catalogue *const catalogue = catalogue_acquire();
	struct ingest_item *item;
	const enum err e = read_item(rq, catalogue, own, &item, &p);
	catalogue_release(catalogue);
	own_prices_release(own);
	return e == ERR_OK ? submit(rq, item) : reply_problem(rq, &p);
}
