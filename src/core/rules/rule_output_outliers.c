/* Few calls with answers far longer than usual: loops, missing limits. What the sampled ones cost beyond ten
 * times the median is carried over to the model. */

#include <stdlib.h>

#include "rule.h"

#define SAMPLE_MIN    50 /* calls: fewer have no usual length */
#define FOUND_MIN     2	 /* one may be chance */
#define FOUND_DIVISOR 20 /* more than one in twenty are not outliers but another kind of call */
#define TIMES_MEDIAN  10
#define TOKENS_MIN    1000 /* shorter answers are not worth a limit */

struct outliers {
	int64_t calls, median, limit, longest;
	struct money saved;
};

static int compare_i64(const void *x, const void *y)
{
	const int64_t a = *(const int64_t *)x;
	const int64_t b = *(const int64_t *)y;
	return (a > b) - (a < b);
}

/* The lower median; -1 without memory. */
static int64_t median_output(const struct model_sample *s, struct arena *arena)
{
	int64_t *outputs = arena_array(arena, s->n, sizeof(*outputs));
	if (!outputs)
		return -1;
	for (size_t i = 0; i < s->n; i++)
		outputs[i] = s->calls[i].mix.output;
	qsort(outputs, s->n, sizeof(*outputs), compare_i64);
	return outputs[(s->n - 1) / 2];
}

/* What the output beyond the limit cost: at the cheaper of answer and reasoning, at most the call's cost. */
static struct money excess_cost(
	const struct price_record *r, int64_t now_us, const struct sampled_call *call, int64_t limit)
{
	struct mix_prices p;
	struct money cost = money_zero();
	if (!mix_prices_at(r, now_us, TIER_STANDARD, call->mix.input, &p))
		return cost;
	const int64_t price = p.of[MIX_OUTPUT] < p.of[MIX_REASONING] ? p.of[MIX_OUTPUT] : p.of[MIX_REASONING];
	if (!decimal_mul((int128)(call->mix.output - limit) * price, MIX_ATTO_PER_LINE, &cost.atto))
		return money_zero();
	return money_compare(cost, call->cost) > 0 ? call->cost : cost;
}

static struct outliers find_outliers(
	const struct rule_run *run, const struct price_record *r, const struct model_sample *s)
{
	struct outliers found = {.median = median_output(s, run->arena)};
	if (found.median < 0)
		return found;
	found.limit = found.median * TIMES_MEDIAN > TOKENS_MIN ? found.median * TIMES_MEDIAN : TOKENS_MIN;
	for (size_t i = 0; i < s->n; i++) {
		const struct sampled_call *call = &s->calls[i];
		if (!call->priced || call->mix.output <= found.limit)
			continue;
		const struct money saved = excess_cost(r, run->in->now_us, call, found.limit);
		if (!money_add(found.saved, saved, &found.saved))
			continue;
		found.calls++;
		if (call->mix.output > found.longest)
			found.longest = call->mix.output;
	}
	return found;
}

void rule_output_outliers(struct rule_run *run)
{
	for (size_t i = 0; i < run->in->n_models; i++) {
		const struct model_usage *u = &run->in->models[i];
		const struct model_sample *s = &run->samples[i];
		if (!run->records[i] || s->n < SAMPLE_MIN)
			continue;
		const struct outliers found = find_outliers(run, run->records[i], s);
		if (found.calls < FOUND_MIN || found.calls > (int64_t)s->n / FOUND_DIVISOR ||
			found.saved.atto == 0)
			continue;
		struct optimization *o = rule_add(run, u->provider, u->model);
		o->title = arena_printf(run->arena, "A few answers of %s are extremely long", u->model);
		o->description = arena_printf(run->arena,
			"%lld of %lld sampled answers are longer than %lld tokens while half have at most "
			"%lld. "
			"Limit the length of answers (max_tokens), and look for loops. Counted is what the "
			"sampled ones cost beyond that, carried over to all calls.",
			(long long)found.calls, (long long)s->n, (long long)found.limit,
			(long long)found.median);
		rule_savings(run, u, rule_of_sample(u, s, found.saved), o);
		o->priority = PRIORITY_LOW;
		o->confidence = 0.3;
		rule_number(o, "median_output_tokens", found.median);
		rule_number(o, "limit_output_tokens", found.limit);
		rule_number(o, "longest_output_tokens", found.longest);
		rule_number(o, "sample_outliers", found.calls);
		rule_money(o, "sample_savings", found.saved);
		rule_money(o, "sample_cost", s->cost);
		rule_sample(o, u, s);
	}
}
