/* Forecasts of the past against what came: how far they can be trusted. */

#include <math.h>

#include "llmlab/core/forecast.h"

/* The same day of the week before, again and again. origin is 7 or more. */
static double naive_day(const double *days, size_t origin, size_t lead)
{
	return days[origin - 7 + lead % 7];
}

static void compare(const struct forecast *f, const double *days, size_t origin, size_t horizon,
	struct forecast_trials *t)
{
	struct forecast_interval interval;
	double came = 0, off = 0, naive_off = 0, scale;
	forecast_sum_interval(f, horizon, &interval);
	for (size_t lead = 0; lead < horizon; lead++) {
		const double day = days[origin + lead];
		came += day;
		off += fabs(day - forecast_day(f, lead));
		naive_off += fabs(day - naive_day(days, origin, lead));
	}
	t->n++;
	t->in_80 += came >= interval.lower_80 && came <= interval.upper_80;
	t->in_95 += came >= interval.lower_95 && came <= interval.upper_95;
	if (!forecast_scale(days, origin, &scale))
		return;
	t->n_scaled++;
	t->mase += off / (double)horizon / scale;
	t->naive += naive_off / (double)horizon / scale;
}

enum err forecast_try(const double *days, size_t n_days, size_t horizon, size_t every, struct arena *arena,
	struct forecast_trials *trials)
{
	struct forecast_trials t = *trials;
	if (horizon == 0 || every == 0 || horizon > FORECAST_LEAD_MAX)
		return ERR_RANGE;
	for (size_t origin = FORECAST_DAYS_MIN; origin + horizon <= n_days; origin += every) {
		const struct forecast_history h = {.days = days, .n_days = origin, .today_left = 1};
		struct forecast f;
		const enum err e = forecast_fit(&h, arena, &f);
		arena_release(arena);
		if (e != ERR_OK)
			return e;
		if (forecast_has_intervals(&f))
			compare(&f, days, origin, horizon, &t);
	}
	*trials = t;
	return ERR_OK;
}
