#ifndef LLMLAB_PROVIDERS_USAGE_FORMAT_H
#define LLMLAB_PROVIDERS_USAGE_FORMAT_H

#include "llmlab/base/json_read.h"
#include "llmlab/core/catalogue.h"
#include "llmlab/core/usage.h"

/* How a provider's own usage object becomes normalised counts. A body kind is data (paths that are added up) plus, where
 * the numbers allow it, identities that must hold (totals); a body that contradicts them is refused, not guessed. */

/* What a usage object or a response body says. Texts live in the arena. */
struct usage_report {
	struct usage usage;
	const char *model;        /* from a response body, else NULL */
	const char *response_id;  /* from a response body, else NULL */
	const char *service_tier; /* what the body says was used, else NULL; "fast" when anthropic's speed was that */
	const char *inference_geo;
	const char *speed;         /* anthropic's "fast", else NULL */
	const char *search_context_size; /* perplexity's "low", "medium", "high", else NULL */
	bool has_reported_cost;    /* OpenRouter's usage.cost and the like: kept, does not replace ours */
	struct money reported_cost;
	bool usage_missing; /* response body without any usage object (cut stream): never counts as 0 */
};

/* A reported cost with more digits than MONEY_SCALE (float noise) can't be kept exactly and is left out. */

/* Finds the body kind: format is "<provider>" or "<provider>.<kind>" (any alias) or NULL; NULL takes the default kind of
 * `provider` (may be NULL too: then ERR_VALIDATION asking for usage_format). Unknown: ERR_VALIDATION on field usage_format.
 * Where only the provider is known, the first of its kinds whose telling members are in the body is taken ("openai" with
 * prompt_tokens is chat, with input_tokens responses), else its "default", else "chat". body is the usage object, or the
 * whole response body when whole_response is true. */
enum err usage_format_find(const struct catalogue *c, const char *format, const struct provider *provider,
	const json_t *body, bool whole_response, const struct usage_format **ret, struct problem *p);

/* Reads an inner usage object (`usage`). Counts that are negative, fractional, beyond USAGE_TOKENS_MAX, of the wrong JSON type, or contradict an
 * identity are named with paths like "usage.prompt_tokens". At least one known count must be present. */
enum err usage_format_read(const struct usage_format *f, const struct json_doc *doc, const json_t *usage,
	struct arena *arena, struct usage_report *ret, struct problem *p);

/* Reads a whole response body (`response`): usage at the kind's root, model, id, service tier. */
enum err usage_format_read_response(const struct usage_format *f, const struct json_doc *doc, const json_t *response,
	struct arena *arena, struct usage_report *ret, struct problem *p);

#endif
