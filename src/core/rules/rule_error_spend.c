/* Failed calls that cost money. What they cost is known exactly; that all of it could be avoided is the most
 * it could be. */

#include "rule.h"

/* Fewer failures than this are not worth a recommendation, and a share below one in a hundred is ordinary. */
#define ERRORS_MIN 5

void rule_error_spend(struct rule_run *run)
{
	for (size_t i = 0; i < run->in->n_models; i++) {
		const struct model_usage *u = &run->in->models[i];
		if (u->errors < ERRORS_MIN || u->errors < u->calls / 100 || u->error_cost.atto <= 0)
			continue;
		struct optimization *o = rule_add(run, u->provider, u->model);
		o->title = arena_printf(run->arena, "Failed calls to %s cost money", u->model);
		o->description = arena_printf(run->arena,
			"%lld of %lld calls to %s failed and were charged all the same. Look at what fails "
			"(time-outs, refused"
			" answers, retries); at most their whole cost can be saved.",
			(long long)u->errors, (long long)u->calls, u->model);
		rule_savings(run, u, u->error_cost, o);
		o->priority = u->errors >= u->calls / 10 ? PRIORITY_HIGH : PRIORITY_MEDIUM;
		o->confidence = 0.5;
		rule_number(o, "errors", u->errors);
		rule_number(o, "calls", u->calls);
		rule_money(o, "error_cost", u->error_cost);
	}
}
