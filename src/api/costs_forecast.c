/* GET /api/costs/forecast: what the rest of the month, and of each budget's period, will cost. Fetches the
 * spend by day, adds what is certain to what core/forecast.h expects, and writes it. What is spent is exact
 * money; what is expected is an estimate, written with ESTIMATE_SCALE decimals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/estimate.h"
#include "llmlab/core/forecast.h"
#include "llmlab/db/budgets.h"
#include "llmlab/db/costs.h"
#include "llmlab/db/users.h"

#define SHARE_DAYS	   28 /* whose course of the day tells what is still to come of today */
#define FORECAST_MAX_BYTES ((size_t)64 << 20)

static const char TOO_MUCH[] = "The sums of the past that the forecast is made of are more than can be added "
			       "up; there is no forecast "
			       "for this account";

static const char *const PARAMETERS[] = {"tz", NULL};

/* The spend of one scope by day, in one zone, and what is expected of it. */
struct outlook {
	const struct tz *tz;
	const char *dimension, *value; /* as of struct budget */
	int32_t first_day, today;
	struct money *days; /* first_day .. tomorrow: what the clocks of callers are ahead may have brought */
	size_t n_days;
	int64_t *unpriced; /* the same way */
	double today_left; /* the part of today's spend that is still to come */
	struct forecast forecast;
	struct outlook *next;
};

/* Everything of one answer. */
struct forecasts {
	struct http_request *rq;
	const struct tz *tz, *own_tz; /* asked for; the user's, which budgets are in */
	int32_t first_day;	      /* of all outlooks */
	struct budget *budgets;
	size_t n_budgets;
	struct outlook *outlooks;
	struct arena arena;
};

/* ---- reading the past ---- */

/* The borders of each day. Of all spend the last SHARE_DAYS are cut where today is now (on the hour, so that
 * the sums by hour answer): the course of the day is taken to be the same in every part of it. */
struct borders {
	int64_t *us;
	size_t n;
	bool cut;	       /* today has passed an hour */
	int64_t passed_us;     /* of today, in whole hours */
	int64_t today_long_us; /* all of today */
};

static bool is_all(const struct outlook *o)
{
	return o->dimension[0] == '\0';
}

static bool is_cut(const struct outlook *o, const struct borders *b, int32_t day)
{
	return b->cut && day < o->today && day >= o->today - SHARE_DAYS;
}

/* False without memory. */
static bool make_borders(const struct outlook *o, int64_t now_us, struct arena *arena, struct borders *ret)
{
	const int64_t today_us = tz_day_start(o->tz, o->today);
	struct borders b = {.passed_us = (now_us - today_us) / US_PER_HOUR * US_PER_HOUR,
		.today_long_us = tz_day_start(o->tz, o->today + 1) - today_us};
	b.cut = b.passed_us > 0 && is_all(o);
	b.us = arena_array(arena, o->n_days + SHARE_DAYS + 1, sizeof *b.us);
	if (b.us == NULL)
		return false;
	for (size_t i = 0; i < o->n_days; i++) {
		const int32_t day = o->first_day + (int32_t)i;
		const int64_t start_us = tz_day_start(o->tz, day), end_us = tz_day_start(o->tz, day + 1);
		b.us[b.n++] = start_us;
		if (is_cut(o, &b, day))
			b.us[b.n++] = b.passed_us < end_us - start_us ? start_us + b.passed_us : end_us;
	}
	b.us[b.n++] = tz_day_start(o->tz, o->first_day + (int32_t)o->n_days);
	*ret = b;
	return true;
}

/* Adds up the parts of each day; the parts before the cut go to before[]. False when a sum does not fit. */
static bool join_days(struct outlook *o, const struct borders *b, const struct usage_sums *sums,
	double before[SHARE_DAYS], double whole[SHARE_DAYS], size_t *ret_n)
{
	size_t at = 0, n = 0;
	for (size_t i = 0; i < o->n_days; i++) {
		o->days[i] = sums[at].cost;
		o->unpriced[i] = sums[at++].unpriced_calls;
		if (!is_cut(o, b, o->first_day + (int32_t)i))
			continue;
		before[n] = money_as_double(o->days[i]);
		if (!money_add(o->days[i], sums[at].cost, &o->days[i]))
			return false;
		o->unpriced[i] += sums[at++].unpriced_calls;
		whole[n++] = money_as_double(o->days[i]);
	}
	*ret_n = n;
	return true;
}

/* What the days that are over, and the course of the last ones, teach. */
static enum err fit(
	struct outlook *o, const struct borders *b, const struct usage_sums *sums, struct arena *arena)
{
	double before[SHARE_DAYS], whole[SHARE_DAYS];
	size_t n_cut = 0;
	const size_t n = (size_t)(o->today - o->first_day);
	double *const days = arena_array(arena, n, sizeof *days);
	if (days == NULL)
		return ERR_NO_MEMORY;
	if (!join_days(o, b, sums, before, whole, &n_cut))
		return ERR_RANGE;
	for (size_t i = 0; i < n; i++)
		days[i] = money_as_double(o->days[i]);
	const double passed = (double)b->passed_us / (double)b->today_long_us;
	if (is_all(o))
		o->today_left = b->cut ? 1 - forecast_share(before, whole, n_cut, fmin(passed, 1)) : 1;
	const struct forecast_history h = {.days = days, .n_days = n, .today_left = o->today_left};
	return forecast_fit(&h, arena, &o->forecast);
}

static enum err read_outlook(struct forecasts *f, struct outlook *o)
{
	struct borders b;
	o->n_days = (size_t)(o->today + 2 - o->first_day);
	o->days = arena_array(&f->arena, o->n_days, sizeof *o->days);
	o->unpriced = arena_array(&f->arena, o->n_days, sizeof *o->unpriced);
	if (!make_borders(o, f->rq->received_us, &f->arena, &b))
		return ERR_NO_MEMORY;
	struct usage_sums *const sums = arena_array(&f->arena, b.n, sizeof *sums);
	if (arena_overflowed(&f->arena))
		return ERR_NO_MEMORY;
	const struct usage_filter filter = budgets_filter(o->dimension, o->value);
	const enum err e = costs_series(
		api_db(f->rq), &f->rq->principal.user_id, is_all(o) ? NULL : &filter, b.us, b.n, sums);
	return e == ERR_OK ? fit(o, &b, sums, &f->arena) : e;
}

static const struct outlook *known_outlook(
	const struct forecasts *f, const struct tz *tz, const char *dimension, const char *value)
{
	for (const struct outlook *o = f->outlooks; o != NULL; o = o->next)
		if (o->tz == tz && strcmp(o->dimension, dimension) == 0 && strcmp(o->value, value) == 0)
			return o;
	return NULL;
}

/* ERR_NO_MEMORY, the database's errors. */
static enum err add_outlook(
	struct forecasts *f, const struct tz *tz, const char *dimension, const char *value, double today_left)
{
	struct outlook *const o = arena_alloc(&f->arena, sizeof *o);
	if (o == NULL)
		return ERR_NO_MEMORY;
	*o = (struct outlook){.tz = tz,
		.dimension = dimension,
		.value = value,
		.first_day = f->first_day,
		.today = tz_day_of(tz, f->rq->received_us),
		.today_left = today_left};
	const enum err e = read_outlook(f, o);
	if (e != ERR_OK)
		return e;
	o->next = f->outlooks;
	f->outlooks = o;
	return ERR_OK;
}

/* The outlook of a scope, read when it is first asked for: many budgets have the same. That of all spend
 * comes first, because of the course of the day. */
static enum err outlook_of(struct forecasts *f, const struct tz *tz, const char *dimension, const char *value,
	const struct outlook **ret)
{
	enum err e = ERR_OK;
	if (known_outlook(f, tz, "", "") == NULL)
		e = add_outlook(f, tz, "", "", 1);
	if (e == ERR_OK && known_outlook(f, tz, dimension, value) == NULL) {
		const struct outlook *const all = known_outlook(f, tz, "", "");
		CHECK(all != NULL);
		e = add_outlook(f, tz, dimension, value, all->today_left);
	}
	if (e == ERR_OK)
		*ret = known_outlook(f, tz, dimension, value);
	return e;
}

/* ---- what is certain, and what is expected ---- */

/* A period: what is spent in it, and what is expected of the rest. */
struct figures {
	struct money spent;
	int64_t unpriced_calls;
	size_t days_left; /* today included */
	struct forecast_interval rest;
	struct money expected, lower_80, upper_80, lower_95, upper_95;
};

/* certain + more USD. False when it does not fit. */
static bool add_estimate(struct money certain, double more, struct money *ret)
{
	struct money estimate;
	return money_of_estimate(more, &estimate) && money_add(certain, estimate, ret);
}

static bool add_interval(struct figures *g)
{
	return add_estimate(g->spent, g->rest.expected, &g->expected) &&
	       add_estimate(g->spent, g->rest.lower_80, &g->lower_80) &&
	       add_estimate(g->spent, g->rest.upper_80, &g->upper_80) &&
	       add_estimate(g->spent, g->rest.lower_95, &g->lower_95) &&
	       add_estimate(g->spent, g->rest.upper_95, &g->upper_95);
}

/* ERR_RANGE: a sum does not fit. */
static enum err figures_of(const struct outlook *o, const struct period *p, struct figures *ret)
{
	struct figures g = {.days_left = (size_t)(p->end_day - o->today)};
	for (size_t i = 0; i < o->n_days; i++) {
		const int32_t day = o->first_day + (int32_t)i;
		if (day < p->first_day || day >= p->end_day)
			continue;
		g.unpriced_calls += o->unpriced[i];
		if (!money_add(g.spent, o->days[i], &g.spent))
			return ERR_RANGE;
	}
	forecast_sum_interval(&o->forecast, g.days_left, &g.rest);
	if (!add_interval(&g))
		return ERR_RANGE;
	*ret = g;
	return ERR_OK;
}

/* The day on which the limit was reached, or is expected to be; false if neither within the period. */
static bool exceeded_on(const struct outlook *o, const struct period *p, const struct figures *g,
	struct money limit, int32_t *ret)
{
	struct money sum = money_zero();
	for (int32_t day = p->first_day; day <= o->today + 1 && day < p->end_day; day++) {
		/* The whole sum was added up before, so this fits. */
		(void)money_add(sum, o->days[day - o->first_day], &sum);
		if (money_compare(sum, limit) >= 0) {
			*ret = day;
			return true;
		}
	}
	double expected = money_as_double(g->spent);
	for (size_t lead = 0; lead < g->days_left; lead++) {
		expected += forecast_day(&o->forecast, lead);
		if (expected >= money_as_double(limit)) {
			*ret = o->today + (int32_t)lead;
			return true;
		}
	}
	return false;
}

/* ---- writing ---- */

static void write_amount(struct json_writer *w, const char *key, struct money m)
{
	jw_decimal(w, key, m.atto, MONEY_SCALE);
}

static void write_interval(
	struct json_writer *w, const char *key, const struct forecast *f, struct money low, struct money high)
{
	if (!forecast_has_intervals(f)) {
		jw_null(w, key);
		return;
	}
	jw_array_begin(w, key);
	write_amount(w, NULL, low);
	write_amount(w, NULL, high);
	jw_array_end(w);
}

static void write_date(struct json_writer *w, const char *key, int32_t day)
{
	char text[DATE_TEXT_SIZE];
	calendar_format_date(day, text);
	jw_string(w, key, text);
}

static void write_figures(struct json_writer *w, const struct outlook *o, const struct figures *g)
{
	const struct forecast *const f = &o->forecast;
	write_amount(w, "spent", g->spent);
	jw_i64(w, "unpriced_calls", g->unpriced_calls);
	write_amount(w, "expected", g->expected);
	write_interval(w, "interval_80", f, g->lower_80, g->upper_80);
	write_interval(w, "interval_95", f, g->lower_95, g->upper_95);
	jw_i64(w, "history_days", (int64_t)f->n_days);
	jw_string(w, "method", forecast_method_name(f->method));
	jw_string(w, "status", forecast_has_intervals(f) ? "ok" : "not_enough_history");
}

/* The days from today to the end of the month; what is spent of today is certain. */
static enum err write_days(struct json_writer *w, const struct outlook *o, const struct figures *month)
{
	const bool known = forecast_has_intervals(&o->forecast);
	jw_array_begin(w, "daily");
	for (size_t lead = 0; lead < month->days_left; lead++) {
		const size_t i = (size_t)(o->today - o->first_day) + lead;
		struct figures g = {.spent = lead < 2 ? o->days[i] : money_zero()};
		forecast_day_interval(&o->forecast, lead, &g.rest);
		if (!add_interval(&g))
			return ERR_RANGE;
		jw_object_begin(w, NULL);
		write_date(w, "date", o->today + (int32_t)lead);
		write_amount(w, "expected", g.expected);
		if (known) {
			write_amount(w, "lower_80", g.lower_80);
			write_amount(w, "upper_80", g.upper_80);
		} else {
			jw_null(w, "lower_80");
			jw_null(w, "upper_80");
		}
		jw_object_end(w);
	}
	jw_array_end(w);
	return ERR_OK;
}

static enum err write_month(struct forecasts *f, struct json_writer *w)
{
	const struct period p = period_at(PERIOD_MONTH, f->tz, f->rq->received_us);
	const struct outlook *o;
	struct figures g;
	enum err e = outlook_of(f, f->tz, "", "", &o);
	if (e == ERR_OK)
		e = figures_of(o, &p, &g);
	if (e != ERR_OK)
		return e;
	jw_object_begin(w, "month");
	write_date(w, "start", p.first_day);
	write_date(w, "end", p.end_day - 1);
	write_figures(w, o, &g);
	jw_object_end(w);
	return write_days(w, o, &g);
}

static void write_exceeding(struct json_writer *w, const struct outlook *o, const struct period *p,
	const struct figures *g, struct money limit)
{
	const struct forecast *const f = &o->forecast;
	int32_t day = 0;
	if (money_compare(g->spent, limit) >= 0)
		jw_i64(w, "probability_exceeded", 1);
	else if (!forecast_has_intervals(f))
		jw_null(w, "probability_exceeded");
	else
		jw_double(w, "probability_exceeded",
			round(1000 * forecast_probability(f, g->days_left,
					     money_as_double(limit) - money_as_double(g->spent))) /
				1000);
	if (exceeded_on(o, p, g, limit, &day))
		write_date(w, "expected_exceeded_on", day);
	else
		jw_null(w, "expected_exceeded_on");
}

static enum err write_budget(struct forecasts *f, struct json_writer *w, const struct budget *b)
{
	const struct period p = period_at(b->period, f->own_tz, f->rq->received_us);
	const struct outlook *o;
	struct figures g;
	enum err e = outlook_of(f, f->own_tz, b->scope_dimension, b->scope_value, &o);
	if (e == ERR_OK)
		e = figures_of(o, &p, &g);
	if (e != ERR_OK)
		return e;
	jw_object_begin(w, NULL);
	jw_uuid(w, "budget_id", &b->id);
	jw_string(w, "name", b->name);
	jw_string(w, "period", budget_period_name(b->period));
	jw_instant(w, "period_start", p.start_us);
	jw_instant(w, "period_end", p.end_us);
	write_amount(w, "limit", b->limit);
	write_figures(w, o, &g);
	write_exceeding(w, o, &p, &g, b->limit);
	jw_object_end(w);
	return ERR_OK;
}

static enum err write_all(struct forecasts *f, struct json_writer *w)
{
	jw_object_begin(w, NULL);
	jw_instant(w, "as_of", f->rq->received_us);
	jw_string(w, "timezone", tz_name(f->tz));
	enum err e = write_month(f, w);
	if (e != ERR_OK)
		return e;
	jw_array_begin(w, "budgets");
	for (size_t i = 0; e == ERR_OK && i < f->n_budgets; i++)
		e = write_budget(f, w, &f->budgets[i]);
	if (e != ERR_OK)
		return e;
	jw_array_end(w);
	jw_object_end(w);
	return ERR_OK;
}

/* ---- the request ---- */

/* Half a year, and the whole periods of the budgets: what is spent in them is certain. */
static int32_t first_day_of(const struct forecasts *f)
{
	int32_t first = tz_day_of(tz_utc(), f->rq->received_us) - FORECAST_DAYS_MAX - 1;
	for (size_t i = 0; i < f->n_budgets; i++) {
		const struct period p = period_at(f->budgets[i].period, f->own_tz, f->rq->received_us);
		first = p.first_day < first ? p.first_day : first;
	}
	return first;
}

static enum err read_own_zone(struct forecasts *f)
{
	struct user user;
	if (http_query_get(f->rq, "tz") == NULL) {
		f->own_tz = f->tz;
		return ERR_OK;
	}
	const enum err e = users_find(api_db(f->rq), &f->rq->principal.user_id, &f->arena, &user);
	if (e != ERR_OK)
		return e == ERR_NOT_FOUND ? ERR_INVALID_TOKEN : e;
	const enum err loaded = tz_load(user.timezone, &f->own_tz);
	return loaded == ERR_NOT_FOUND ? ERR_INTERNAL : loaded;
}

static struct reply answer(struct forecasts *f)
{
	enum err e = read_own_zone(f);
	if (e == ERR_OK)
		e = budgets_list(
			api_db(f->rq), &f->rq->principal.user_id, &f->arena, &f->budgets, &f->n_budgets);
	if (e != ERR_OK)
		return api_fail(f->rq, e, NULL);
	f->first_day = first_day_of(f);
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	e = write_all(f, &w);
	if (e == ERR_OK)
		return reply_json(200, &body);
	buf_release(&body);
	if (e == ERR_RANGE)
		return reply_error(f->rq, ERR_VALIDATION, TOO_MUCH);
	return api_fail(f->rq, e, NULL);
}

struct reply api_costs_forecast(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, PARAMETERS, &p);
	struct forecasts f = {.rq = rq};
	const enum err e = api_zone(rq, &f.tz, &p);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	arena_init(&f.arena, FORECAST_MAX_BYTES);
	/* Every series is a statement of its own, and their sums must agree: one snapshot for all. */
	const enum err begun = db_begin_snapshot(api_db(rq));
	const struct reply r = begun == ERR_OK ? answer(&f) : api_fail(rq, begun, NULL);
	db_rollback(api_db(rq));
	arena_release(&f.arena);
	return r;
}
