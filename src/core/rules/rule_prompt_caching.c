/* Long prompts that are hardly ever read from a cache although the model has a price for that. How much of
 * the prompts repeats is not known to us. Calls of exactly the same input size within the life of a cache are
 * taken as the same prompt, and only what a cache would have saved on these in the sample is claimed; where
 * there are none, no saving is claimed at all. */

#include "rule.h"

#define CALLS_MIN 100
#define INPUT_TOKENS_MIN                                                                                     \
	1024 /* the shortest prompt that OpenAI and Anthropic cache by their documentation                   \
	      */
#define WORTH_ATTO    1000000000000000000LL /* models that cost less than 1 USD are not worth the work */
#define CACHE_LIFE_US 300000000LL	    /* 5 minutes, the shortest life of these caches */

/* What the sampled calls that could have used a cache have in common. */
struct repeats {
	int64_t calls; /* that would have read */
	struct money saved;
};

/* True if an earlier call of the same input size would still be in the cache. */
static bool is_repeat(const struct model_sample *s, size_t i)
{
	const struct sampled_call *call = &s->calls[i];
	for (size_t k = i; k-- > 0;) {
		if (call->at_us - s->calls[k].at_us > CACHE_LIFE_US)
			return false;
		if (s->calls[k].mix.input == call->mix.input)
			return true;
	}
	return false;
}

/* What a cache would have saved on the sample: reads instead of input for repeats, less what writing all
 * others to the cache costs more than plain input. */
static struct repeats find_repeats(
	const struct rule_run *run, const struct price_record *r, const struct model_sample *s)
{
	struct repeats found = {.calls = 0};
	int128 saved = 0;
	for (size_t i = 0; i < s->n; i++) {
		const struct token_mix *m = &s->calls[i].mix;
		struct mix_prices p;
		if (m->input < INPUT_TOKENS_MIN || m->cache_read > 0 || m->cache_write > 0 ||
			!mix_prices_at(r, run->in->now_us, TIER_STANDARD, m->input, &p))
			continue;
		const bool repeat = is_repeat(s, i);
		const int64_t instead = p.of[repeat ? MIX_CACHE_READ : MIX_CACHE_WRITE];
		found.calls += repeat;
		saved += (int128)m->input * (p.of[MIX_INPUT] - instead);
	}
	int128 atto = 0;
	if (saved > 0 && decimal_mul(saved, MIX_ATTO_PER_LINE, &atto))
		found.saved.atto = atto;
	return found;
}

/* How often a written token must be read before the cache is cheaper than plain input: the smallest number of
 * reads k for which write + k x read < (1 + k) x input. */
static int64_t break_even_reads(const struct mix_prices *p)
{
	const int64_t premium = p->of[MIX_CACHE_WRITE] - p->of[MIX_INPUT];
	return premium < 0 ? 0 : premium / (p->of[MIX_INPUT] - p->of[MIX_CACHE_READ]) + 1;
}

static void add(struct rule_run *run, size_t i, const struct mix_prices *p)
{
	const struct model_usage *u = &run->in->models[i];
	const struct model_sample *s = &run->samples[i];
	const struct repeats found = find_repeats(run, run->records[i], s);
	const struct money saved = rule_of_sample(u, s, found.saved);
	struct optimization *o = rule_add(run, u->provider, u->model);
	o->title = arena_printf(run->arena, "Prompt caching is hardly used on %s", u->model);
	o->description = arena_printf(run->arena,
		"Prompts to %s are %lld tokens long on average and hardly any was read from the provider's "
		"cache. If they begin with the same text (instructions, examples, documents), caching makes "
		"that part cheaper. %s",
		u->model, (long long)(u->input_tokens / u->calls),
		saved.atto > 0 ? "Counted are sampled calls of exactly the same input size within five "
				 "minutes, as if they were the same prompt, carried over to all calls."
			       : "How much repeats is not known here, so no saving is claimed.");
	rule_savings(run, u, saved, o);
	o->priority = saved.atto > 0 ? PRIORITY_MEDIUM : PRIORITY_LOW;
	o->confidence = saved.atto > 0 ? 0.3 : 0.4;
	rule_number(o, "calls", u->calls);
	rule_number(o, "average_input_tokens", u->input_tokens / u->calls);
	rule_decimal(o, "input_per_million", p->of[MIX_INPUT], PRICE_SCALE);
	rule_decimal(o, "cache_read_per_million", p->of[MIX_CACHE_READ], PRICE_SCALE);
	rule_decimal(o, "cache_write_per_million", p->of[MIX_CACHE_WRITE], PRICE_SCALE);
	rule_number(o, "reads_per_write_to_break_even", break_even_reads(p));
	rule_number(o, "sample_repeats", found.calls);
	rule_sample(o, u, s);
}

void rule_prompt_caching(struct rule_run *run)
{
	for (size_t i = 0; i < run->in->n_models; i++) {
		const struct model_usage *u = &run->in->models[i];
		struct mix_prices p;
		if (u->calls < CALLS_MIN || u->cache_read_tokens >= u->input_tokens / 10 ||
			u->input_tokens / u->calls < INPUT_TOKENS_MIN || u->cost.atto < WORTH_ATTO)
			continue;
		if (run->records[i] &&
			mix_prices_at(run->records[i], run->in->now_us, TIER_STANDARD,
				u->input_tokens / u->calls, &p) &&
			p.of[MIX_CACHE_READ] < p.of[MIX_INPUT])
			add(run, i, &p);
	}
}
