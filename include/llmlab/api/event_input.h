#ifndef LLMLAB_API_EVENT_INPUT_H
#define LLMLAB_API_EVENT_INPUT_H

#include "llmlab/base/json_read.h"
#include "llmlab/auth/principal.h"
#include "llmlab/core/event.h"
#include "llmlab/core/price.h"
#include "llmlab/providers/own_prices.h"

/* From an event body (track, one of a batch, an estimate) to a priced event. Everything the contract says
 * about the body's fields is here; every bad one is named at once. */

/* What the event is read with. */
struct event_source {
	const struct catalogue *catalogue;
	const struct own_prices *own; /* the principal's own prices; NULL: none */
	const struct principal *principal;
	int64_t now_us; /* when the request came: received_at, and the time of a call that gives none */
	const char *key_header; /* the Idempotency-Key header; NULL: not sent */
	bool any_time;		/* an estimate: the time may be any */
	struct arena *arena; /* for texts that are made; the event's other texts live in doc and catalogue */
};

/* A priced event, with what its answer needs. */
struct event_input {
	struct event event;	      /* texts live in the doc, the catalogue and the source's arena */
	bool has_time;		      /* the caller gave the time of the call */
	const char *claimed_provider; /* what the caller said of who bills, lower case; NULL: nothing */
	char price_lines[PRICE_LINES_TEXT_MAX];
};

/* Decodes and prices the object. ERR_OK fills *ret but for the fingerprint; else *p is set: ERR_VALIDATION,
 * ERR_NO_MEMORY. event.id is a new one. */
enum err event_input_read(const struct event_source *source, const struct json_doc *doc, const json_t *object,
	struct event_input *ret, struct problem *p);
/* Copies every text of the event into the arena, so that it outlives the doc and the catalogue. False without
 * memory. */
bool event_copy_texts(struct event *e, struct arena *arena);

#endif
