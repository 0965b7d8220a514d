#ifndef LLMLAB_CORE_EVENT_H
#define LLMLAB_CORE_EVENT_H

#include "llmlab/base/uuid.h"
#include "llmlab/core/money.h"
#include "llmlab/core/usage.h"

/* One recorded call, as it is stored and answered: plain data, priced already. Texts are owned by whoever owns the event
 * (a request's arena, an ingest item, a query's arena). NULL texts are absent. */
struct event {
	struct uuid user_id;
	struct uuid id;          /* v7, its time is the millisecond of occurred_at_us */
	int64_t occurred_at_us;  /* contract: timestamp */
	int64_t received_at_us;  /* contract: tracked_at */
	const char *provider;    /* canonical id, or the caller's lower-case name */
	const char *model;
	struct usage usage;
	bool has_cost;           /* false: unpriced */
	struct money cost;
	bool has_catalogue_cost; /* our own price beside a reported one */
	struct money catalogue_cost;
	bool has_reported_cost;
	struct money reported_cost;
	const char *pricing_status; /* "priced", "free", "unpriced", "reported" */
	const char *price_record;   /* "<provider>/<model>" or NULL */
	const char *price_rule;
	const char *price_lines;    /* compact breakdown, see core/price.h; NULL: none */
	const char *catalogue_version;
	const char *service_tier;   /* charged */
	const char *requested_tier; /* reported */
	const char *inference_geo, *data_residency;
	const char *search_context_size; /* "low", "medium", "high" as reported */
	const char *project, *customer;
	const char *tags_json;      /* canonical JSON object, keys sorted; NULL */
	const char *metadata_json;  /* JSON object; NULL */
	bool has_latency;
	int64_t latency_ms;
	const char *status;         /* "success", "error" */
	const char *response_id;
	bool has_api_key;
	struct uuid api_key_id;
	struct uuid set_id;         /* project, customer, API key and tags as one: ingest_set_id() */
	bool has_reservation;
	struct uuid reservation_id; /* what it settles; not stored, not part of the fingerprint */
	const char *idempotency_key; /* NULL: none */
	uint8_t fingerprint[32];     /* SHA-256 over the validated fields; only with a key */
};

#endif
