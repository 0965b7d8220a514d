/* Requests that ask the same and are answered together: which they are, and what becomes of those that wait
 * for the answer of another. When that one runs is the executor's business.
 *
 * An answer is given only to those that had come before it was begun, so it holds whatever they had been told
 * is stored. One that is kept for whoever comes later would have to know what makes it wrong. */

#include "internal.h"

#include <string.h>

#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"

/* In every zone days begin at a quarter of an hour, so "today" is the same within one. */
#define QUARTER_US (15 * US_PER_MINUTE)

bool shared_allows(const struct call *c)
{
	return c->rq.route->run == RUN_SHARED && !c->auth_pending && !c->alone;
}

bool shared_same(const struct call *a, const struct call *b)
{
	return a->rq.route == b->rq.route && uuid_equal(&a->rq.principal.user_id, &b->rq.principal.user_id) &&
	       a->rq.received_us / QUARTER_US == b->rq.received_us / QUARTER_US &&
	       strcmp(a->uri, b->uri) == 0;
}

void shared_follow(struct call *leader, struct call *follower)
{
	follower->next = leader->followers;
	leader->followers = follower;
	/* what lies between the two is in a range that ends now */
	if (follower->rq.received_us > leader->rq.received_us)
		leader->rq.received_us = follower->rq.received_us;
}

/* The client's fault: a refusal names the request, and costs little. */
static void ask_again(struct call *c)
{
	c->rq.waited_us += clock_mono_us() - c->queued_mono_us;
	c->alone = true;
	call_submit(c);
}

static void answer(struct call *c, struct reply *r)
{
	if (r->status >= 500)
		c->reply = reply_error(&c->rq, r->code, NULL);
	else if (reply_share(r, &c->reply) != ERR_OK)
		c->reply = reply_error(&c->rq, ERR_NO_MEMORY, NULL);
	metric_add(METRIC_REQUESTS_SHARED, 1);
	call_move(c, CALL_RUNNING, CALL_READY);
	loop_post(c);
}

void shared_answer(struct call *followers, struct reply *r)
{
	for (struct call *c = followers, *next; c != NULL; c = next) {
		next = c->next;
		if (r->status == 200 || r->status >= 500)
			answer(c, r);
		else
			ask_again(c);
	}
}
