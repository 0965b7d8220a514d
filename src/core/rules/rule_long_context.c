/* Calls whose input is just above the size from which every token of the call is dearer. What the sampled
 * ones would have saved with the few tokens less is carried over to the model. */

#include "rule.h"

#define OVER_DIVISOR 10 /* just above: by at most a tenth of the step */
#define FOUND_MIN    3	/* sampled calls */

struct over {
	int64_t calls, step; /* the step of the last one found */
	struct money saved;
};

/* The highest step that the input is above, or -1. */
static int64_t step_below(const struct price_set *set, int64_t input)
{
	int64_t step = -1;
	for (size_t i = 0; i < set->n_tiers; i++)
		if (set->tiers[i].above_input_tokens < input)
			step = set->tiers[i].above_input_tokens;
	return step;
}

/* What the call would have saved with `step` input tokens; 0 where trimming plain input does not get there.
 */
static struct money saved_at(
	const struct price_record *r, int64_t now_us, const struct sampled_call *call, int64_t step)
{
	struct token_mix m = call->mix;
	struct mix_cost before;
	struct mix_cost after;
	if (m.input - m.cache_read - m.cache_write < m.input - step ||
		!mix_cost(r, now_us, TIER_STANDARD, &m, &before))
		return money_zero();
	m.input = step;
	if (!mix_cost(r, now_us, TIER_STANDARD, &m, &after))
		return money_zero();
	const struct money saved = {before.expected.atto - after.expected.atto};
	if (saved.atto <= 0)
		return money_zero();
	return money_compare(saved, call->cost) > 0 ? call->cost : saved;
}

static struct over find_over(const struct price_record *r, const struct price_set *set, int64_t now_us,
	const struct model_sample *s)
{
	struct over found = {.step = -1};
	for (size_t i = 0; i < s->n; i++) {
		const struct sampled_call *call = &s->calls[i];
		const int64_t step = step_below(set, call->mix.input);
		if (!call->priced || !call->standard || step <= 0 ||
			call->mix.input - step > step / OVER_DIVISOR)
			continue;
		const struct money saved = saved_at(r, now_us, call, step);
		if (saved.atto == 0 || !money_add(found.saved, saved, &found.saved))
			continue;
		found.calls++;
		found.step = step;
	}
	return found;
}

void rule_long_context(struct rule_run *run)
{
	for (size_t i = 0; i < run->in->n_models; i++) {
		const struct model_usage *u = &run->in->models[i];
		const struct model_sample *s = &run->samples[i];
		const struct price_period *period =
			run->records[i] ? price_period_at(run->records[i], run->in->now_us) : NULL;
		if (!period || period->standard.n_tiers < 2)
			continue;
		const struct over found = find_over(run->records[i], &period->standard, run->in->now_us, s);
		if (found.calls < FOUND_MIN)
			continue;
		struct optimization *o = rule_add(run, u->provider, u->model);
		o->title = arena_printf(
			run->arena, "Calls to %s are just above the long-context step", u->model);
		o->description = arena_printf(run->arena,
			"%lld of %lld sampled calls have up to a tenth more input than %lld tokens, from "
			"where "
			"%s charges more for every token of the call. Shorten these prompts to stay below. "
			"Counted is what the sampled ones would have saved, carried over to all calls.",
			(long long)found.calls, (long long)s->n, (long long)found.step, u->model);
		rule_savings(run, u, rule_of_sample(u, s, found.saved), o);
		o->priority = PRIORITY_MEDIUM;
		o->confidence = 0.5;
		rule_number(o, "step_input_tokens", found.step);
		rule_number(o, "sample_calls_just_above", found.calls);
		rule_money(o, "sample_savings", found.saved);
		rule_money(o, "sample_cost", s->cost);
		rule_sample(o, u, s);
	}
}
