#ifndef LLMLAB_API_EVENT_FILTER_H
#define LLMLAB_API_EVENT_FILTER_H

#include "llmlab/api/support.h"
#include "llmlab/db/events.h"

/* Which events a request asks for: the query parameters that the list and the export share. */

/* For the list that api_query_allow() is given. */
#define EVENT_FILTER_PARAMETERS                                                                              \
	"days", "from", "to", "tz", "provider", "model", "project", "customer", "tag.", "status", "min_cost"

/* Fills *f (zeroed by the caller) but for cursor and limit, and the range that it came from; texts are the request's. ERR_VALIDATION
 * in *p, also for whatever *p holds already; errors of api_range(); ERR_NO_MEMORY. */
enum err event_filter_read(
	struct http_request *rq, struct events_filter *f, struct range *ret_range, struct problem *p);

#endif
