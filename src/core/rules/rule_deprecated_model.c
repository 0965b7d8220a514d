/* Models in use that their provider calls deprecated, or retires soon. No saving: the point is that calls
 * will fail. */

#include <strings.h>

#include "llmlab/base/calendar.h"
#include "llmlab/core/price.h"
#include "rule.h"

#define SOON_DAYS   90
#define URGENT_DAYS 30

/* The day on which exactly this name retires, if it is known. */
static const struct model_retirement *retirement_of(const struct price_record *r, const char *model)
{
	for (size_t i = 0; i < r->n_retirements; i++)
		if (strcasecmp(r->retirements[i].model, model) == 0)
			return &r->retirements[i];
	return NULL;
}

static void add(struct rule_run *run, const struct model_usage *u, const struct model_retirement *retirement,
	int32_t today)
{
	struct optimization *o = rule_add(run, u->provider, u->model);
	o->title = arena_printf(run->arena, "%s is being retired", u->model);
	o->confidence = 0.9;
	rule_number(o, "calls", u->calls);
	rule_money(o, "cost", u->cost);
	if (!retirement) {
		o->description = arena_printf(run->arena,
			"The provider calls %s deprecated. Plan the move to a current model before it is "
			"switched off.",
			u->model);
		o->priority = PRIORITY_MEDIUM;
		return;
	}
	char date[DATE_TEXT_SIZE];
	calendar_format_date(retirement->retires_day, date);
	o->description = arena_printf(run->arena,
		"The provider's announced retirement date of %s is %s. Calls to it fail from then on.",
		u->model, date);
	o->priority = retirement->retires_day <= today + URGENT_DAYS ? PRIORITY_HIGH : PRIORITY_MEDIUM;
	rule_text(o, "retires", arena_strdup(run->arena, date));
}

void rule_deprecated_model(struct rule_run *run)
{
	const int32_t today = tz_day_of(tz_utc(), run->in->now_us);
	for (size_t i = 0; i < run->in->n_models; i++) {
		const struct model_usage *u = &run->in->models[i];
		/* The catalogue's record, whatever the user's own price is: only it knows of retirements. */
		const struct price_match match = price_find(run->in->catalogue, u->provider, u->model, NULL);
		if (!match.record)
			continue;
		const struct model_retirement *retirement = retirement_of(match.record, u->model);
		if (retirement && retirement->retires_day > today + SOON_DAYS)
			retirement = NULL;
		if (retirement || match.record->deprecated)
			add(run, u, retirement, today);
	}
}
