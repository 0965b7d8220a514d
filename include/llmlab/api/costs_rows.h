#ifndef LLMLAB_API_COSTS_ROWS_H
#define LLMLAB_API_COSTS_ROWS_H

#include "llmlab/api/support.h"
#include "llmlab/db/costs.h"

/* What the answers of /api/costs have in common. */

/* For the list that api_query_allow() is given. */
#define COSTS_FILTER_PARAMETERS                                                                              \
	"days", "from", "to", "tz", "provider", "model", "project", "customer", "key", "tag."

/* The filter's parameters; texts, the API key's id and the tags are in the request's arena. Bad ones are
 * named in *p. ERR_NO_MEMORY. */
enum err costs_filter_read(struct http_request *rq, struct usage_filter *ret, struct problem *p);

/* Beside cost and number of calls, which are called differently in different answers: tokens, unpriced calls,
 * errors and what they cost, average cost per call, and which share of the input was read from a cache (null
 * without input). */
void costs_write_sums(struct json_writer *w, const struct usage_sums *s);

#endif
