/* Prompts written to a cache at more than the price of plain input, and read too seldom to make up for it.
 * What is lost is known from the sums: the writes' premium less what the reads saved, at today's prices. */

#include "rule.h"

#define LOSS_DIVISOR 100 /* below one in a hundred of the model's cost it is not worth a word */

/* False if the cache paid off, or nothing can be said. */
static bool find_loss(
	const struct price_record *r, int64_t now_us, const struct model_usage *u, struct money *ret)
{
	const struct token_mix mix = model_usage_mix(u);
	int64_t tokens[MIX_PARTS];
	struct mix_prices p;
	if (u->calls <= 0 || !mix_split(&mix, tokens) ||
		!mix_prices_at(r, now_us, TIER_STANDARD, u->input_tokens / u->calls, &p))
		return false;
	const int64_t input = p.of[MIX_INPUT];
	const int128 loss = (int128)tokens[MIX_CACHE_WRITE] * (p.of[MIX_CACHE_WRITE] - input) +
			    (int128)tokens[MIX_CACHE_WRITE_1H] * (p.of[MIX_CACHE_WRITE_1H] - input) -
			    (int128)tokens[MIX_CACHE_READ] * (input - p.of[MIX_CACHE_READ]);
	return loss > 0 && decimal_mul(loss, MIX_ATTO_PER_LINE, &ret->atto);
}

void rule_unused_cache_writes(struct rule_run *run)
{
	for (size_t i = 0; i < run->in->n_models; i++) {
		const struct model_usage *u = &run->in->models[i];
		struct money loss = money_zero();
		if (u->cache_write_tokens <= 0 || !run->records[i] ||
			!find_loss(run->records[i], run->in->now_us, u, &loss) ||
			loss.atto < u->cost.atto / LOSS_DIVISOR)
			continue;
		struct optimization *o = rule_add(run, u->provider, u->model);
		o->title = arena_printf(run->arena, "Cache writes to %s do not pay off", u->model);
		o->description = arena_printf(run->arena,
			"%lld tokens were written to the cache of %s and %lld read from it. Writing costs "
			"more "
			"than plain input, and the reads did not make up for that. Do not mark for caching "
			"what "
			"is not asked again while the cache lives.",
			(long long)u->cache_write_tokens, u->model, (long long)u->cache_read_tokens);
		rule_savings(run, u, loss, o);
		o->priority = PRIORITY_MEDIUM;
		o->confidence = 0.8;
		rule_number(o, "cache_write_tokens", u->cache_write_tokens);
		rule_number(o, "cache_write_1h_tokens", u->cache_write_1h_tokens);
		rule_number(o, "cache_read_tokens", u->cache_read_tokens);
		rule_money(o, "lost", loss);
		rule_money(o, "cost", u->cost);
	}
}
