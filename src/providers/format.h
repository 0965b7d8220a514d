#ifndef LLMLAB_PROVIDERS_FORMAT_H
#define LLMLAB_PROVIDERS_FORMAT_H

#include "llmlab/core/usage.h"

/* A body kind as data: where a provider writes which count. Private to this layer; read from the `usage`
 * member of a provider's file (docs/pricing.md). */

/* One step of a path: a member of an object, or the element of an array whose member `key` is the string
 * `value`. */
struct path_step {
	const char *key;
	const char *value; /* NULL: a member */
};

struct usage_path {
	const char *text; /* as written: "cacheDetails.[ttl=1h].inputTokens" */
	const struct path_step *steps;
	size_t n_steps;
};

/* A number that may stand in several places; all of them that are there must agree. */
struct usage_source {
	const struct usage_path *places;
	size_t n_places;
};

/* Counts that only serve the checks. */
enum usage_helper {
	HELPER_input_text_tokens,
	HELPER_cache_read_text_tokens,
	HELPER_cache_read_video_tokens,
	HELPER_output_text_tokens,
	HELPER_cache_write_5m_tokens,
	USAGE_HELPERS
};

enum target_kind { TARGET_COUNT, TARGET_HELPER, TARGET_WEB_SEARCHES, TARGET_UNIT };

/* The number found at the source is added to the target. */
struct usage_term {
	struct usage_source source;
	enum target_kind kind;
	int index; /* enum usage_count, usage_helper or usage_unit */
};

/* The whole must equal the sum of its parts. */
struct usage_sum {
	struct usage_source whole;
	const struct usage_source *parts;
	size_t n_parts;
};

/* What a body says beside counts. */
enum said_kind {
	SAID_service_tier,
	SAID_inference_geo,
	SAID_speed,
	SAID_search_context_size,
	SAID_reported_cost,	  /* USD */
	SAID_reported_cost_ticks, /* 10^-10 USD */
	SAID_KINDS
};

struct usage_said {
	bool in_body; /* path from the whole response body, else from the usage object */
	struct usage_path path;
	enum said_kind kind;
};

struct usage_format {
	const char *provider; /* id */
	const char *kind;     /* "default", "chat" ... */
	const char *like; /* "<provider>.<kind>" whose data is taken for what is not given; NULL: complete */
	struct usage_path root; /* of the usage object in a response body */
	struct usage_path model, id;
	const struct usage_path
		*detect; /* any of them in the usage object tells this kind from the provider's others */
	size_t n_detect;
	bool has_detect, has_says; /* given here, not taken over */
	const struct usage_term *terms;
	size_t n_terms;
	const struct usage_sum *totals; /* checked when the whole is there; missing parts count 0 */
	size_t n_totals;
	const struct usage_sum *splits; /* checked when the whole and every part are there */
	size_t n_splits;
	const struct usage_said *says;
	size_t n_says;
};

#endif
