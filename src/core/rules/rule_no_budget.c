/* Money is spent and no budget watches it. No saving. */

#include "rule.h"

void rule_no_budget(struct rule_run *run)
{
	if (run->in->has_budget)
		return;
	struct money spend = money_zero();
	for (size_t i = 0; i < run->in->n_models; i++)
		if (!money_add(spend, run->in->models[i].cost, &spend))
			return; /* nobody's spend; nothing can be said about it */
	if (spend.atto <= 0)
		return;
	struct optimization *o = rule_add(run, NULL, NULL);
	o->title = "Set a budget";
	o->description = "Nothing warns of spending more than planned. A budget (POST /api/budgets) does, at "
			 "the percentages you"
			 " choose.";
	o->priority = PRIORITY_MEDIUM;
	o->confidence = 1;
	rule_money(o, "cost", spend);
	rule_number(o, "period_days", run->in->period_days);
}
