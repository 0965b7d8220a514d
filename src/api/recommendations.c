/* GET /api/recommendations: everything that the rules, the search for cheaper models and the search for
 * unusual days find in the user's range. Fetches sums and writes findings; what is found is core's work. */
#include "llmlab/api/handlers.h"
#include "llmlab/api/recommendations.h"
#include "llmlab/api/support.h"
#include "llmlab/core/rules.h"
#include "llmlab/db/budgets.h"
#include "llmlab/providers/catalogue_load.h"

static const char *const PARAMETERS[] = {"days", "from", "to", "tz", NULL};

/* Everything that is shown. Texts live in the arena and the catalogue. */
struct findings {
	const struct range *range;
	struct optimization *optimizations;
	size_t n_optimizations;
	struct switching *switching;
	size_t n_switching;
	struct anomaly_report anomalies;
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

static enum err read_rules_input(
	struct http_request *rq, const struct range *range, struct arena *arena, struct rules_input *ret)
{
	struct model_usage *models;
	struct rules_input in = {.now_us = rq->received_us, .period_days = range->end_day - range->first_day};
	enum err e = recommendations_usage(rq, range, arena, &models, &in.n_models);
	if (e == ERR_OK)
		e = has_budget(rq, arena, &in.has_budget);
	if (e != ERR_OK)
		return e;
	in.models = models;
	*ret = in;
	return ERR_OK;
}

static enum err run_rules(const struct rules_input *in, struct arena *arena, struct findings *f)
{
	struct money switching_total;
	const struct switching_input switching = {.catalogue = in->catalogue,
		.models = in->models,
		.n_models = in->n_models,
		.now_us = in->now_us,
		.period_days = in->period_days};
	const enum err e = rules_run(in, arena, &f->optimizations, &f->n_optimizations, &f->total);
	if (e != ERR_OK)
		return e;
	return switching_find(&switching, arena, &f->switching, &f->n_switching, &switching_total);
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
	for (size_t i = 0; i < f->n_optimizations; i++)
		write_optimization(&w, &f->optimizations[i]);
	jw_array_end(&w);
	recommendations_write_switching(&w, "model_recommendations", f->switching, f->n_switching);
	recommendations_write_anomalies(&w, "anomalies", &f->anomalies, f->range->tz);
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

/* The database first; the catalogue is held only while the rules run and what they found is written. */
static struct reply find(struct http_request *rq, const struct range *range, struct arena *arena)
{
	struct findings f = {.range = range};
	struct rules_input in;
	enum err e = read_rules_input(rq, range, arena, &in);
	if (e == ERR_OK)
		e = recommendations_anomalies(rq, range, ANOMALY_THRESHOLD_DEFAULT, arena, &f.anomalies);
	if (e != ERR_OK)
		return api_fail_sums(rq, e, NULL);
	in.catalogue = catalogue_acquire();
	e = run_rules(&in, arena, &f);
	const struct reply r = e == ERR_OK ? answer(rq, &f) : api_fail(rq, e, NULL);
	catalogue_release(in.catalogue);
	return r;
}

struct reply api_recommendations(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, PARAMETERS, &p);
	struct range range;
	const enum err e = api_range(rq, &range, &p);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	struct arena arena;
	arena_init(&arena, RECOMMENDATIONS_MAX_BYTES);
	const struct reply r = find(rq, &range, &arena);
	arena_release(&arena);
	return r;
}
