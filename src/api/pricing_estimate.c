/* POST /api/pricing/estimate: what an event would cost, by the very code that prices recorded ones. Stores
 * nothing. */
#include "llmlab/api/event_input.h"
#include "llmlab/api/event_output.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/api/support.h"
#include "llmlab/providers/catalogue_load.h"

static struct reply answer(const struct event *e)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	event_write_cost(&w, e);
	jw_instant(&w, "timestamp", e->occurred_at_us);
	jw_object_end(&w);
	return reply_json(200, &body);
}

static struct reply estimate(struct http_request *rq, const struct catalogue *catalogue,
	const struct own_prices *own, struct problem *p)
{
	struct json_doc doc;
	if (json_doc_parse(&doc, rq->body, rq->body_len, &json_limits_response, &rq->arena, p) != ERR_OK)
		return reply_problem(rq, p);
	const struct event_source source = {.catalogue = catalogue,
		.own = own,
		.principal = &rq->principal,
		.now_us = rq->received_us,
		.any_time = true,
		.arena = &rq->arena};
	struct event_input input;
	const enum err e = event_input_read(&source, &doc, doc.root, &input, p);
	const struct reply r = e == ERR_OK ? answer(&input.event) : reply_problem(rq, p);
	json_doc_release(&doc);
	return r;
}

struct reply api_pricing_estimate(struct http_request *rq)
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
	const struct reply r = estimate(rq, catalogue, own, &p);
	catalogue_release(catalogue);
	own_prices_release(own);
	return r;
}
