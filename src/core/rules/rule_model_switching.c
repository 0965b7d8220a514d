/* Another model or provider for the same mix of tokens: the best suggestion of each model, and those that
 * were dismissed. The choice is core/switching.h's; here it becomes a recommendation. */

#include <string.h>

#include "rule.h"

static const char *title_of(struct rule_run *run, const struct switching *s)
{
	if (s->kind == SWITCH_PROVIDER)
		return arena_printf(run->arena, "Use %s at %s", s->suggested_model, s->suggested_provider);
	return arena_printf(run->arena, "Use %s instead of %s", s->suggested_model, s->current_model);
}

static void add(struct rule_run *run, const struct switching *s)
{
	const struct model_usage *u = &run->in->models[s->usage];
	struct optimization *o = rule_add(run, s->provider, s->current_model);
	memcpy(o->id, s->id, sizeof(o->id)); /* another suggestion is another finding */
	o->title = title_of(run, s);
	o->description = arena_printf(run->arena, "The same %lld calls would have cost less on %s. %s",
		(long long)u->calls, s->suggested_model, s->caveat);
	o->potential_savings = s->monthly_savings;
	/* Half of the spend or more is worth looking at first. */
	o->priority = s->saved.atto >= u->cost.atto - s->saved.atto ? PRIORITY_HIGH : PRIORITY_MEDIUM;
	o->confidence = s->confidence;
	rule_text(o, "suggested_provider", s->suggested_provider);
	rule_text(o, "suggested_model", s->suggested_model);
	rule_text(o, "kind", switching_kind_name(s->kind));
	rule_number(o, "calls", u->calls);
	rule_money(o, "cost", u->cost);
	rule_decimal(o, "current_cost_per_call", s->current_cost_per_call, MONEY_AVERAGE_SCALE);
	rule_decimal(o, "suggested_cost_per_call", s->suggested_cost_per_call, MONEY_AVERAGE_SCALE);
}

_Static_assert(SWITCHING_ID_SIZE == OPTIMIZATION_ID_SIZE, "a suggestion keeps its id as a recommendation");

void rule_model_switching(struct rule_run *run)
{
	const struct rules_input *r = run->in;
	const struct switching_input in = {.catalogue = r->catalogue,
		.overrides = r->overrides,
		.n_overrides = r->n_overrides,
		.models = r->models,
		.n_models = r->n_models,
		.dismissed = r->dismissed,
		.now_us = r->now_us,
		.period_days = r->period_days};
	struct switching *rows = NULL;
	size_t n = 0;
	struct money total = money_zero();
	/* Without memory the arena says so; a total that does not fit is found again when all rules are added
	 * up. */
	if (switching_find(&in, run->arena, &rows, &n, &total) != ERR_OK)
		return;
	for (size_t i = 0; i < n; i++)
		if (rows[i].counted || (rows[i].dismissed && rows[i].kind != SWITCH_OTHER_FAMILY))
			add(run, &rows[i]);
}
