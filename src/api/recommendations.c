/* GET /api/recommendations: everything that the rules, the search for cheaper models and the search for
 * unusual days find in the user's range. Fetches sums and writes findings; what is found is core's work. */
#include "llmlab/api/handlers.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/api/recommendations.h"
#include "llmlab/api/support.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/rules.h"
#include "llmlab/db/budgets.h"
#include "llmlab/db/dismissals.h"
#include "llmlab/db/event_sample.h"
#include "llmlab/providers/catalogue_load.h"

static const char *const PARAMETERS[] = {"days", "from", "to", "tz", "include_dismissed", NULL};

/* The most findings that are shown, the first by worth; the total is of all. */
#define SHOWN_MAX 500
/* Calls may be recorded that far ahead of our clock. */
#define AHEAD_US (5 * US_PER_MINUTE)

/* Everything that is shown. Texts live in the arena and the catalogue. */
struct findings {
	const struct range *range;
	struct optimization *optimizations;
	size_t n_optimizations;
	struct switching *switching;
	size_t n_switching;
	struct anomaly_report anomalies;
	bool anomalies_complete;
	struct money total; /* of what the optimizations count: switching models is one of the rules */
};

/* ---- finding ---- */

static enum err has_budget(struct http_request *rq, struct arena *arena, bool *ret)
{
	struct budget *budgets;
	size_t n;
	const enum err e = budgets_list(api_db(rq), &rq->principal.user_id, arena, &budgets, &n);
	if (e == ERR_OK)
		*ret = n > 0;
	return e;
}

/* Hours since the day began in the zone, which is the hour of the clock but on days when clocks change. */
static int hour_of(const struct tz *tz, int64_t at_us)
{
	const int64_t hour = (at_us - tz_day_start(tz, tz_day_of(tz, at_us))) / US_PER_HOUR;
	return hour < 24 ? (int)hour : 23;
}

/* Single calls, as many as is reasonable, each with its hour in the user's zone. */
static enum err read_sample(
	struct http_request *rq, const struct range *range, struct arena *arena, struct rules_input *in)
{
	const int64_t now_us = rq->received_us + AHEAD_US;
	const int64_t to_us = range->to_us < now_us ? range->to_us : now_us;
	int64_t calls = 0;
	for (size_t i = 0; i < in->n_models; i++)
		calls += in->models[i].calls;
	if (calls == 0 || to_us <= range->from_us)
		return ERR_OK;
	struct sampled_call *sample;
	const enum err e = event_sample(api_db(rq), &rq->principal.user_id, range->from_us, to_us, calls,
		arena, &sample, &in->n_sample);
	if (e != ERR_OK)
		return e;
	for (size_t i = 0; i < in->n_sample; i++)
		sample[i].hour = hour_of(range->tz, sample[i].at_us);
	in->sample = sample;
	return ERR_OK;
}

static enum err read_rules_input(
	struct http_request *rq, const struct range *range, struct arena *arena, struct rules_input *ret)
{
	struct model_usage *models;
	struct waiting_usage *waiting;
	const struct uuid *const user_id = &rq->principal.user_id;
	struct rules_input in = {.now_us = rq->received_us, .period_days = range->end_day - range->first_day};
	enum err e = recommendations_usage(rq, range, arena, &models, &in.n_models);
	if (e != ERR_OK)
		return e;
	in.models = models;
	e = has_budget(rq, arena, &in.has_budget);
	if (e == ERR_OK)
		e = read_sample(rq, range, arena, &in);
	if (e == ERR_OK)
		e = waiting_usage_find(
			api_db(rq), user_id, range->from_us, range->to_us, arena, &waiting, &in.n_waiting);
	if (e == ERR_OK)
		e = dismissals_list(api_db(rq), user_id, arena, &in.dismissed);
	if (e != ERR_OK)
		return e;
	in.waiting = waiting;
	*ret = in;
	return ERR_OK;
}

static enum err run_rules(const struct rules_input *in, struct arena *arena, struct findings *f)
{
	struct money switching_total;
	const struct switching_input switching = {.catalogue = in->catalogue,
		.overrides = in->overrides,
		.n_overrides = in->n_overrides,
		.models = in->models,
		.n_models = in->n_models,
		.dismissed = in->dismissed,
		.now_us = in->now_us,
		.period_days = in->period_days};
	const enum err e = rules_run(in, arena, &f->optimizations, &f->n_optimizations, &f->total);
	if (e != ERR_OK)
		return e;
	return switching_find(&switching, arena, &f->switching, &f->n_switching, &switching_total);
}

/* Leaves out what the user does not want to see. */
static void drop_dismissed(struct findings *f)
{
	size_t kept = 0;
	for (size_t i = 0; i < f->n_optimizations; i++)
		if (!f->optimizations[i].dismissed)
			f->optimizations[kept++] = f->optimizations[i];
	f->n_optimizations = kept;
	kept = 0;
	for (size_t i = 0; i < f->n_switching; i++)
		if (!f->switching[i].dismissed)
			f->switching[kept++] = f->switching[i];
	f->n_switching = kept;
	recommendations_drop_dismissed_anomalies(&f->anomalies);
}

/* ---- writing ---- */

static void write_evidence(struct json_writer *w, const struct optimization *o)
{
	jw_object_begin(w, "evidence");
	for (size_t i = 0; i < o->n_evidence; i++) {
		const struct evidence *const e = &o->evidence[i];
		switch (e->kind) {
		case EVIDENCE_TEXT:
			jw_string(w, e->key, e->text);
			break;
		case EVIDENCE_NUMBER:
			jw_i64(w, e->key, e->number);
			break;
		case EVIDENCE_DECIMAL:
			jw_decimal(w, e->key, e->decimal, e->scale);
			break;
		}
	}
	jw_object_end(w);
}

static void write_optimization(struct json_writer *w, const struct optimization *o)
{
	jw_object_begin(w, NULL);
	jw_string(w, "id", o->id);
	jw_string(w, "type", o->type);
	jw_string(w, "provider", o->provider);
	jw_string(w, "model", o->model);
	jw_string(w, "title", o->title);
	jw_string(w, "description", o->description);
	jw_decimal(w, "potential_savings", o->potential_savings.atto, MONEY_SCALE);
	jw_string(w, "priority", optimization_priority_name(o->priority));
	jw_double(w, "confidence", o->confidence);
	jw_bool(w, "counted", o->counted);
	jw_bool(w, "dismissed", o->dismissed);
	write_evidence(w, o);
	jw_object_end(w);
}

static struct reply answer(const struct http_request *rq, const struct findings *f)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_array_begin(&w, "optimizations");
	for (size_t i = 0; i < f->n_optimizations && i < SHOWN_MAX; i++)
		write_optimization(&w, &f->optimizations[i]);
	jw_array_end(&w);
	jw_i64(&w, "optimizations_count", (int64_t)f->n_optimizations);
	recommendations_write_switching(&w, "model_recommendations", f->switching, f->n_switching);
	recommendations_write_anomalies(&w, "anomalies", &f->anomalies);
	jw_bool(&w, "anomalies_complete", f->anomalies_complete);
	jw_decimal(&w, "total_potential_savings", f->total.atto, MONEY_SCALE);
	jw_object_begin(&w, "analysis_period");
	range_write(&w, "start", "end", f->range);
	jw_object_end(&w);
	jw_string(&w, "timezone", tz_name(f->range->tz));
	jw_instant(&w, "last_updated", rq->received_us);
	jw_object_end(&w);
	return reply_json(200, &body);
}

/* ---- the request ---- */

bool recommendations_include_dismissed(const struct http_request *rq, struct problem *p)
{
	static const char *const CHOICES[] = {"true", "false", NULL};
	return api_query_choice(rq, "include_dismissed", CHOICES, p) == CHOICES[0];
}

/* What the request asks for. */
struct question {
	struct range range;
	bool include_dismissed;
	const struct own_prices *own;
};

/* What could not be searched in time does not take the rest with it: the answer says that it is missing. */
static enum err read_anomalies(
	struct http_request *rq, const struct question *q, struct arena *arena, struct findings *f)
{
	const enum err e =
		recommendations_anomalies(rq, &q->range, ANOMALY_THRESHOLD_DEFAULT, arena, &f->anomalies);
	f->anomalies_complete = e == ERR_OK;
	if (e == ERR_DATABASE_UNAVAILABLE) {
		f->anomalies = (struct anomaly_report){.n = 0};
		return ERR_OK;
	}
	return e;
}

/* The database first; the catalogue is held only while the rules run and what they found is written. */
static struct reply find(struct http_request *rq, const struct question *q, struct arena *arena)
{
	struct findings f = {.range = &q->range};
	struct rules_input in;
	enum err e = read_rules_input(rq, &q->range, arena, &in);
	if (e == ERR_OK)
		e = read_anomalies(rq, q, arena, &f);
	if (e != ERR_OK)
		return api_fail_sums(rq, e, NULL);
	const struct price_record *overrides[OWN_PRICES_PER_USER_MAX];
	in.overrides = overrides;
	in.n_overrides = own_prices_at(q->own, rq->received_us, overrides);
	in.catalogue = catalogue_acquire();
	e = run_rules(&in, arena, &f);
	if (e == ERR_OK && !q->include_dismissed)
		drop_dismissed(&f);
	const struct reply r = e == ERR_OK ? answer(rq, &f) : api_fail(rq, e, NULL);
	catalogue_release(in.catalogue);
	return r;
}

struct reply api_recommendations(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, PARAMETERS, &p);
	struct question q = {.include_dismissed = recommendations_include_dismissed(rq, &p)};
	enum err e = api_range(rq, &q.range, &p);
	if (e == ERR_OK)
		e = own_prices_of_request(&rq->principal.user_id, &q.own, &p);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	struct arena arena;
	arena_init(&arena, RECOMMENDATIONS_MAX_BYTES);
	const struct reply r = find(rq, &q, &arena);
	arena_release(&arena);
	own_prices_release(q.own);
	return r;
}
