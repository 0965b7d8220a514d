/* Calls that can wait, at a model whose batch tier is cheaper. Which can wait is known where the calls say so
 * themselves (a tag or project called batch, offline, eval ...): what their tokens cost less there at least,
 * whatever the sizes and hours of the single calls, is saved. Where none say so but many calls are made at
 * night, it is only pointed out, without a saving. */

#include <string.h>

#include "rule.h"

#define NIGHT_ENDS	 6  /* o'clock in the user's zone */
#define NIGHT_SAMPLE_MIN 50 /* calls */
#define NIGHT_PERCENT	 25 /* what a steady day has between 0 and 6 */
#define HINT_WORTH_ATTO	 1000000000000000000LL

static const struct waiting_usage *waiting_of(const struct rules_input *in, const struct model_usage *u)
{
	for (size_t i = 0; i < in->n_waiting; i++)
		if (strcmp(in->waiting[i].provider, u->provider) == 0 &&
			strcmp(in->waiting[i].model, u->model) == 0)
			return &in->waiting[i];
	return NULL;
}

/* What the tokens would save at list prices at least, and cost at most. */
struct discount {
	struct money saved, listed;
};

/* False if nothing is saved. */
static bool find_discount(
	const struct price_record *r, int64_t now_us, const struct token_mix *m, struct discount *ret)
{
	struct mix_cost listed;
	struct money saved;
	if (!mix_tier_saving(r, now_us, TIER_BATCH, m, &saved) || saved.atto <= 0 ||
		!mix_cost(r, now_us, TIER_STANDARD, m, &listed))
		return false;
	*ret = (struct discount){.saved = saved, .listed = listed.most};
	return true;
}

static struct optimization *add(struct rule_run *run, const struct model_usage *u, const struct discount *d)
{
	struct optimization *o = rule_add(run, u->provider, u->model);
	o->title = arena_printf(run->arena, "Send calls to %s that can wait as a batch", u->model);
	rule_money(o, "saved_at_list_prices", d->saved);
	rule_money(o, "cost_at_list_prices", d->listed);
	return o;
}

static void add_waiting(struct rule_run *run, const struct model_usage *u, const struct price_record *r,
	const struct waiting_usage *w)
{
	struct discount d;
	if (w->standard_cost.atto <= 0 || !find_discount(r, run->in->now_us, &w->mix, &d))
		return;
	/* What was charged at another tier, or less than listed, saves only in proportion. */
	const struct money charged =
		money_compare(w->standard_cost, d.listed) < 0 ? w->standard_cost : d.listed;
	struct optimization *o = add(run, u, &d);
	o->description = arena_printf(run->arena,
		"%lld calls to %s say that they can wait (%s). At the provider's batch tier the same tokens "
		"cost less; answers come within a day. Counted is the least that they can save, of what was "
		"charged at the standard tier.",
		(long long)w->mix.calls, u->model, w->example);
	rule_savings(run, u, money_share(d.saved, charged.atto, d.listed.atto), o);
	o->priority = PRIORITY_HIGH;
	o->confidence = 0.8;
	rule_number(o, "calls", w->mix.calls);
	rule_money(o, "standard_cost", w->standard_cost);
	rule_text(o, "example", w->example);
}

static int64_t night_calls(const struct model_sample *s)
{
	int64_t n = 0;
	for (size_t i = 0; i < s->n; i++)
		n += s->calls[i].standard && s->calls[i].hour < NIGHT_ENDS;
	return n;
}

/* No saving: that a call is made at night does not say that it can wait. */
static void add_hint(struct rule_run *run, const struct model_usage *u, const struct price_record *r,
	const struct model_sample *s)
{
	struct discount d;
	const struct token_mix mix = model_usage_mix(u);
	const int64_t night = night_calls(s);
	if (u->standard_cost.atto < HINT_WORTH_ATTO || s->n < NIGHT_SAMPLE_MIN ||
		night * 100 < (int64_t)s->n * NIGHT_PERCENT || !find_discount(r, run->in->now_us, &mix, &d))
		return;
	struct optimization *o = add(run, u, &d);
	o->description = arena_printf(run->arena,
		"%lld of %lld sampled calls to %s are made between 0 and 6 o'clock. If some need no answer "
		"at "
		"once, the provider's batch tier is cheaper. Tag them (env=batch, say) and the saving is "
		"worked out; none is claimed now.",
		(long long)night, (long long)s->n, u->model);
	o->priority = PRIORITY_LOW;
	o->confidence = 0.3;
	rule_number(o, "night_calls", night);
	rule_money(o, "standard_cost", u->standard_cost);
	rule_sample(o, u, s);
}

void rule_batch_tier(struct rule_run *run)
{
	for (size_t i = 0; i < run->in->n_models; i++) {
		const struct model_usage *u = &run->in->models[i];
		if (!run->records[i])
			continue;
		const struct waiting_usage *w = waiting_of(run->in, u);
		if (w)
			add_waiting(run, u, run->records[i], w);
		else
			add_hint(run, u, run->records[i], &run->samples[i]);
	}
}
