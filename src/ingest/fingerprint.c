/* The fingerprint of an event: what makes a repeat of an idempotency key the same event. Not here: keeping
 * and comparing it. */

#include "llmlab/ingest/ingest.h"

#include <string.h>
#include "llmlab/auth/digest.h"

/* Every value is preceded by its length, so that no two different lists of values give the same bytes; an
 * absent one has a length that no text can have. */
#define ABSENT UINT64_MAX

static void add_u64(struct digest *d, uint64_t v)
{
	uint8_t bytes[8];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(v >> (56 - 8 * i));
	digest_update(d, bytes, sizeof(bytes));
}

static void add_text(struct digest *d, const char *s)
{
	if (s == NULL) {
		add_u64(d, ABSENT);
		return;
	}
	const size_t n = strlen(s);
	add_u64(d, n);
	digest_update(d, s, n);
}

static void add_optional(struct digest *d, bool has, int64_t v)
{
	add_u64(d, has ? 8 : ABSENT);
	if (has)
		add_u64(d, (uint64_t)v);
}

static void add_money(struct digest *d, bool has, struct money m)
{
	add_u64(d, has ? 16 : ABSENT);
	if (!has)
		return;
	const uint128 bits = (uint128)m.atto;
	add_u64(d, (uint64_t)(bits >> 64));
	add_u64(d, (uint64_t)bits);
}

static void add_usage(struct digest *d, const struct usage *u)
{
	add_u64(d, u->has_counts);
	for (int i = 0; i < USAGE_COUNTS; i++)
		add_u64(d, (uint64_t)u->counts[i]);
	add_u64(d, (uint64_t)u->web_searches);
	for (int i = 0; i < USAGE_UNITS; i++)
		add_u64(d, (uint64_t)u->units[i]);
}

/* The tier charged and our own price are left out: a newer catalogue may say otherwise, and a repeat is still
 * the same event. */
void ingest_fingerprint(const struct event *e, bool with_time, uint8_t out[32])
{
	struct digest *d = digest_new();
	add_text(d, "llmlab event 1");
	add_text(d, e->provider);
	add_text(d, e->model);
	add_usage(d, &e->usage);
	add_money(d, e->has_reported_cost, e->reported_cost);
	const char *const texts[] = {e->requested_tier, e->inference_geo, e->data_residency,
		e->search_context_size, e->project, e->customer, e->tags_json, e->metadata_json, e->status,
		e->response_id};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		add_text(d, texts[i]);
	add_optional(d, e->has_latency, e->latency_ms);
	add_optional(d, with_time, e->occurred_at_us);
	digest_finish(d, out);
}
