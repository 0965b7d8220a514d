/* The last steps before an event goes into the ingest queue, shared by track and batch, and the words for
 * what may become of it there. */
#include "llmlab/api/event_item.h"
#include "llmlab/base/check.h"

#define EVENT_WAIT_MIN_US (100 * US_PER_MS)

/* Everything the item needs of its own; false without memory. */
static bool fill_item(struct ingest_item *item, const struct event_input *input)
{
	item->event = input->event;
	if (!event_copy_texts(&item->event, &item->arena))
		return false;
	if (item->event.idempotency_key != NULL) {
		/* A repeat must stay one when a newer catalogue finds another provider for it. */
		struct event sent = item->event;
		sent.provider = input->claimed_provider;
		ingest_fingerprint(&sent, input->has_time, item->event.fingerprint);
	}
	return ingest_item_seal(item) == ERR_OK;
}

enum err event_item_new(const struct event_source *source, const struct json_doc *doc, const json_t *object,
	struct ingest_item **ret, struct problem *p)
{
	struct event_input input;
	const enum err e = event_input_read(source, doc, object, &input, p);
	if (e != ERR_OK)
		return e;
	struct ingest_item *const item = ingest_item_new();
	if (item != NULL && fill_item(item, &input)) {
		*ret = item;
		return ERR_OK;
	}
	if (item != NULL)
		ingest_item_free(item);
	problem_set(p, ERR_NO_MEMORY, "There is not enough memory for this event now");
	return p->code;
}

int64_t event_deadline_us(const struct http_request *rq)
{
	const int64_t left_us = EVENT_WAIT_US - rq->waited_us;
	return clock_mono_us() + (left_us > EVENT_WAIT_MIN_US ? left_us : EVENT_WAIT_MIN_US);
}

enum err event_outcome_error(enum ingest_outcome outcome)
{
	CHECK(outcome != INGEST_STORED && outcome != INGEST_DUPLICATE);
	switch (outcome) {
	case INGEST_MISMATCH:
		return ERR_IDEMPOTENCY_MISMATCH;
	case INGEST_UNAVAILABLE:
		return ERR_DATABASE_UNAVAILABLE;
	case INGEST_USER_GONE:
		return ERR_INVALID_TOKEN;
	case INGEST_REFUSED:
		return ERR_INTERNAL;
	case INGEST_STORED:
	case INGEST_DUPLICATE:
		break;
	}
	return ERR_INTERNAL;
}

const char *event_outcome_detail(enum ingest_outcome outcome)
{
	CHECK(outcome != INGEST_STORED && outcome != INGEST_DUPLICATE);
	switch (outcome) {
	case INGEST_MISMATCH:
		return "This idempotency key was used before with a different event; nothing was stored";
	case INGEST_UNAVAILABLE:
		return "The database does not answer; send the same event with the same idempotency key "
		       "again";
	case INGEST_USER_GONE:
		return "The account of this token does not exist any more";
	case INGEST_REFUSED:
		return "The event could not be stored; this is a fault of the server";
	case INGEST_STORED:
	case INGEST_DUPLICATE:
		break;
	}
	return NULL;
}
