/* A cheaper model of the same provider for the same mix of tokens: the better suggestion of each model. The
 * choice is core/switching.h's; here it becomes a recommendation. */

#include "rule.h"

static void add(struct rule_run *run, const struct switching *s)
{
	const struct model_usage *u = &run->in->models[s->usage];
	struct optimization *o = rule_add(run, s->provider, s->current_model);
	o->title = arena_printf(run->arena, "Use %s instead of %s", s->suggested_model, s->current_model);
	o->description = arena_printf(run->arena, "The same %lld calls would have cost less on %s. %s",
		(long long)u->calls, s->suggested_model, s->caveat);
	o->potential_savings = s->monthly_savings;
	/* Half of the spend or more is worth looking at first. */
	o->priority = s->saved.atto >= u->cost.atto - s->saved.atto ? PRIORITY_HIGH : PRIORITY_MEDIUM;
	o->confidence = s->confidence;
	rule_text(o, "suggested_model", s->suggested_model);
	rule_number(o, "calls", u->calls);
	rule_money(o, "cost", u->cost);
	rule_decimal(o, "current_cost_per_call", s->current_cost_per_call, SWITCHING_CALL_SCALE);
	rule_decimal(o, "suggested_cost_per_call", s->suggested_cost_per_call, SWITCHING_CALL_SCALE);
}

void rule_model_switching(struct rule_run *run)
{
	const struct switching_input in = {.catalogue = run->in->catalogue,
		.models = run->in->models,
		.n_models = run->in->n_models,
		.now_us = run->in->now_us,
		.period_days = run->in->period_days};
	struct switching *rows = NULL;
	size_t n = 0;
	struct money total = money_zero();
	/* Without memory the arena says so; a total that does not fit is found again when all rules are added
	 * up. */
	if (switching_find(&in, run->arena, &rows, &n, &total) != ERR_OK)
		return;
	for (size_t i = 0; i < n; i++)
		if (rows[i].counted)
			add(run, &rows[i]);
}
