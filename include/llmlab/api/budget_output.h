#ifndef LLMLAB_API_BUDGET_OUTPUT_H
#define LLMLAB_API_BUDGET_OUTPUT_H

#include "llmlab/base/json_write.h"
#include "llmlab/db/budgets.h"
#include "llmlab/http/request.h"

/* What the endpoints of budgets share: what a budget says now, and how it is shown. */

struct budget_state {
	const struct budget *budget;
	struct period period; /* the current one */
	struct money spend, reserved;
	int64_t unpriced_calls; /* spend does not contain them */
};

/* The states of the user's n budgets in the zone, in one statement: all of one instant. Into the request's arena. Errors as
 * budgets_spend(). */
enum err budget_states_read(struct http_request *rq, const struct tz *tz, const struct budget *budgets, size_t n,
	struct budget_state **ret);
void budget_write(struct json_writer *w, const struct http_request *rq, const struct tz *tz, const struct budget_state *s);
/* Budgets know the user's own zone only: a budget that looks different by who asks would be two budgets. Also checks that there are
 * no query parameters. Errors as api_zone(). */
enum err budget_begin(struct http_request *rq, const struct tz **ret, struct problem *p);
/* The scope as an object. */
void budget_write_scope(struct json_writer *w, const struct budget *b);

/* The whole answer: one budget as it is now. */
struct reply budget_answer(struct http_request *rq, int status, const struct tz *tz, const struct budget *b);
/* api_fail() in the words of budgets. */
struct reply budget_fail(const struct http_request *rq, enum err e, const struct problem *p);

#endif
