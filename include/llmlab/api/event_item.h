#ifndef LLMLAB_API_EVENT_ITEM_H
#define LLMLAB_API_EVENT_ITEM_H

#include "llmlab/base/clock.h"
#include "llmlab/api/event_input.h"
#include "llmlab/http/request.h"
#include "llmlab/ingest/ingest.h"

/* How long an event may wait for the ingest writer to begin with it, what its request has waited for a thread included (and a
 * tenth of a second in any case); beyond it the client is told to come again. */
#define EVENT_WAIT_US (2 * US_PER_SECOND)

/* From an event body to an item that the ingest queue takes: read, priced, copied, fingerprinted, encoded.
 * *ret is the caller's (ingest_item_free()). Else *p is set: ERR_VALIDATION, ERR_NO_MEMORY. */
enum err event_item_new(const struct event_source *source, const struct json_doc *doc, const json_t *object,
	struct ingest_item **ret, struct problem *p);

/* Until when the writer may begin with the events of the request, monotonic. */
int64_t event_deadline_us(const struct http_request *rq);

/* What a client is told of an outcome other than stored or duplicate. */
enum err event_outcome_error(enum ingest_outcome outcome);
const char *event_outcome_detail(enum ingest_outcome outcome);

#endif
