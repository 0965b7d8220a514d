/* GET /api/recommendations/anomalies: days and hours that cost unusually much. The search is in
 * anomaly_scan.c; here is the request and its answer. */
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/recommendations.h"
#include "llmlab/api/support.h"
#include "llmlab/core/estimate.h"
#include "llmlab/db/dismissals.h"

#define THRESHOLD_SCALE 6
#define THRESHOLD_MAX	1000

static const char *const PARAMETERS[] = {"days", "from", "to", "tz", "threshold", "include_dismissed", NULL};

/* ---- finding ---- */

enum err recommendations_anomalies(struct http_request *rq, const struct range *range, double threshold,
	struct arena *arena, struct anomaly_report *ret)
{
	const struct anomaly_question q = {.user_id = rq->principal.user_id,
		.tz = range->tz,
		.now_us = rq->received_us,
		.first_day = range->first_day,
		.end_day = range->end_day,
		.threshold = threshold,
		.memo = api_of(rq)->anomaly_memo};
	struct anomaly_report report;
	struct dismissed dismissed;
	enum err e = anomaly_scan(api_db(rq), &q, arena, &report);
	if (e == ERR_OK)
		e = dismissals_list(api_db(rq), &rq->principal.user_id, arena, &dismissed);
	if (e != ERR_OK)
		return e;
	for (size_t i = 0; i < report.n; i++)
		report.rows[i].dismissed = dismissed_has(&dismissed, report.rows[i].id);
	*ret = report;
	return ERR_OK;
}

void recommendations_drop_dismissed_anomalies(struct anomaly_report *report)
{
	size_t kept = 0;
	for (size_t i = 0; i < report->n; i++)
		if (!report->rows[i].dismissed)
			report->rows[kept++] = report->rows[i];
	report->n = kept;
}

void recommendations_write_anomalies(
	struct json_writer *w, const char *key, const struct anomaly_report *report)
{
	jw_array_begin(w, key);
	for (size_t i = 0; i < report->n; i++) {
		jw_object_begin(w, NULL);
		anomaly_write(w, &report->rows[i]);
		jw_object_end(w);
	}
	jw_array_end(w);
}

/* ---- the request ---- */

struct question {
	struct range range;
	double threshold;
	bool include_dismissed;
};

/* A score, so a double is right for it. */
static double read_threshold(const struct http_request *rq, struct problem *p)
{
	const char *const text = http_query_get(rq, "threshold");
	if (text == NULL)
		return ANOMALY_THRESHOLD_DEFAULT;
	const int128 unit = decimal_pow10(THRESHOLD_SCALE);
	int128 scaled = 0;
	const enum err e = decimal_parse(text, strlen(text), THRESHOLD_SCALE, THRESHOLD_MAX * unit, &scaled);
	if (e != ERR_OK || scaled * 10 < unit)
		problem_add(p, "threshold", "must be a number from 0.1 to %d", THRESHOLD_MAX);
	return decimal_as_double(scaled, THRESHOLD_SCALE);
}

static struct reply answer(const struct anomaly_report *report, const struct question *q)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_i64(&w, "count", (int64_t)report->n);
	recommendations_write_anomalies(&w, "anomalies", report);
	jw_bool(&w, "all_searched", !report->left_out);
	jw_object_begin(&w, "analysis_period");
	range_write(&w, "start", "end", &q->range);
	jw_object_end(&w);
	jw_string(&w, "timezone", tz_name(q->range.tz));
	jw_double(&w, "threshold", q->threshold);
	jw_object_end(&w);
	return reply_json(200, &body);
}

static struct reply find(struct http_request *rq, const struct question *q)
{
	struct arena arena;
	arena_init(&arena, RECOMMENDATIONS_MAX_BYTES);
	struct anomaly_report report;
	const enum err e = recommendations_anomalies(rq, &q->range, q->threshold, &arena, &report);
	if (e == ERR_OK && !q->include_dismissed)
		recommendations_drop_dismissed_anomalies(&report);
	const struct reply r = e == ERR_OK ? answer(&report, q) : api_fail_sums(rq, e, NULL);
	arena_release(&arena);
	return r;
}

struct reply api_recommendations_anomalies(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, PARAMETERS, &p);
	struct question q = {.threshold = read_threshold(rq, &p),
		.include_dismissed = recommendations_include_dismissed(rq, &p)};
	const enum err e = api_range(rq, &q.range, &p);
	return e == ERR_OK ? find(rq, &q) : api_fail(rq, e, &p);
}
