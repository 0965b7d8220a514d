/* Long prompts that are never read from a cache although the model has a price for that. How much of the
 * prompts repeats is not known to us, so no saving is claimed: only what each cached million of tokens would
 * save. */

#include "llmlab/core/price.h"
#include "rule.h"

#define CALLS_MIN 100
#define INPUT_TOKENS_MIN                                                                                     \
	1024 /* the shortest prompt that OpenAI and Anthropic cache by their documentation                   \
	      */
#define WORTH_ATTO 1000000000000000000LL /* models that cost less than 1 USD are not worth the work */

/* The record's price of a million input tokens, and of a million read from the cache; false if there is no
 * cheaper one. */
static bool cache_prices(
	const struct price_record *r, int64_t now_us, int64_t *ret_input, int64_t *ret_cached)
{
	const struct price_period *period = price_period_at(r, now_us);
	if (!period || period->standard.n_tiers == 0)
		return false;
	const struct price_tier *base = &period->standard.tiers[0];
	*ret_input = base->per_million[CATEGORY_input];
	*ret_cached = base->per_million[CATEGORY_cache_read];
	return *ret_cached != PRICE_NONE && *ret_cached < *ret_input;
}

void rule_prompt_caching(struct rule_run *run)
{
	for (size_t i = 0; i < run->in->n_models; i++) {
		const struct model_usage *u = &run->in->models[i];
		if (u->calls < CALLS_MIN || u->cache_read_tokens > 0 ||
			u->input_tokens / u->calls < INPUT_TOKENS_MIN || u->cost.atto < WORTH_ATTO)
			continue;
		const struct price_match match = price_find(run->in->catalogue, u->provider, u->model, NULL);
		int64_t input = 0;
		int64_t cached = 0;
		if (!match.record || !cache_prices(match.record, run->in->now_us, &input, &cached))
			continue;
		struct optimization *o = rule_add(run, u->provider, u->model);
		o->title = arena_printf(run->arena, "Prompt caching is not used on %s", u->model);
		o->description = arena_printf(run->arena,
			"Prompts to %s are %lld tokens long on average and none was read from the provider's "
			"cache. If they begin"
			" with the same text (instructions, examples, documents), caching makes that part "
			"cheaper; how much repeats"
			" is not known here, so no saving is claimed.",
			u->model, (long long)(u->input_tokens / u->calls));
		o->priority = PRIORITY_LOW;
		o->confidence = 0.4;
		rule_number(o, "calls", u->calls);
		rule_number(o, "average_input_tokens", u->input_tokens / u->calls);
		rule_decimal(o, "input_per_million", input, PRICE_SCALE);
		rule_decimal(o, "cache_read_per_million", cached, PRICE_SCALE);
	}
}
