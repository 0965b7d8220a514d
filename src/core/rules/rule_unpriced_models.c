/* Calls without a price: every total lacks them. No saving, but the numbers are not whole until a price is
 * given. */

#include "rule.h"

void rule_unpriced_models(struct rule_run *run)
{
	for (size_t i = 0; i < run->in->n_models; i++) {
		const struct model_usage *u = &run->in->models[i];
		if (u->unpriced_calls <= 0)
			continue;
		struct optimization *o = rule_add(run, u->provider, u->model);
		o->title = arena_printf(run->arena, "%s has no price", u->model);
		o->description = arena_printf(run->arena,
			"%lld calls to %s of %s have no price, so they are missing in every total. Add a "
			"price of your own"
			" (POST /api/pricing/overrides), or check how the model is named.",
			(long long)u->unpriced_calls, u->model, u->provider);
		o->priority = PRIORITY_HIGH;
		o->confidence = 1;
		rule_number(o, "unpriced_calls", u->unpriced_calls);
		rule_number(o, "calls", u->calls);
	}
}
