/* GET /api/recommendations/anomalies: days that cost unusually much. Turns sums per day and model into the
 * series that core/anomaly.h looks at, and its findings into JSON. */
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/recommendations.h"
#include "llmlab/api/support.h"
#include "llmlab/db/costs.h"
#include "llmlab/db/events.h"

#define HISTORY_DAYS	28
#define THRESHOLD_SCALE 6
/* How many anomalies are shown with their dearest event, and the pages that are read for one. */
#define DEAREST_MAX	  20
#define DEAREST_PAGES_MAX 8
#define DEAREST_PAGE	  500
#define DEAREST_MAX_BYTES ((size_t)16 << 20)
#define THRESHOLD_MAX	  1000

static const char *const PARAMETERS[] = {"days", "from", "to", "tz", "threshold", NULL};

/* ---- series ---- */

/* Cells sorted by provider, model and day, and the series made of them. */
struct series_set {
	struct anomaly_series *series;
	struct money **days; /* the same costs as series[i].days, to be written */
	size_t n;
	size_t n_days;
};

static int compare_cells(const void *a, const void *b)
{
	const struct usage_cell *const x = a, *const y = b;
	const int by_provider = strcmp(x->provider, y->provider);
	const int by_model = by_provider != 0 ? by_provider : strcmp(x->model, y->model);
	return by_model != 0 ? by_model : (x->interval > y->interval) - (x->interval < y->interval);
}

/* A new series of zeros; SIZE_MAX without memory. There is room for two a cell and one more. */
static size_t add_series(struct series_set *s, const char *dimension, const char *provider, const char *model,
	struct arena *arena)
{
	struct money *const days = arena_array(arena, s->n_days, sizeof *days);
	if (days == NULL)
		return SIZE_MAX;
	s->days[s->n] = days;
	s->series[s->n] = (struct anomaly_series){
		.dimension = dimension, .provider = provider, .model = model, .days = days};
	return s->n++;
}

static bool same_text(const char *a, const char *b)
{
	return a != NULL && strcmp(a, b) == 0;
}

/* One series for all, one per provider, one per model. */
static enum err make_series(
	struct series_set *s, struct usage_cell *cells, size_t n_cells, struct arena *arena)
{
	qsort(cells, n_cells, sizeof *cells, compare_cells);
	s->series = arena_array(arena, 2 * n_cells + 1, sizeof *s->series);
	s->days = arena_array(arena, 2 * n_cells + 1, sizeof *s->days);
	if (s->series == NULL || s->days == NULL)
		return ERR_NO_MEMORY;
	const size_t all = add_series(s, "all", NULL, NULL, arena);
	size_t provider = SIZE_MAX, model = SIZE_MAX;
	for (size_t i = 0; i < n_cells; i++) {
		const struct usage_cell *const c = &cells[i];
		const bool new_provider = i == 0 || !same_text(cells[i - 1].provider, c->provider);
		if (new_provider)
			provider = add_series(s, "provider", c->provider, NULL, arena);
		if (new_provider || !same_text(cells[i - 1].model, c->model))
			model = add_series(s, "model", c->provider, c->model, arena);
		if (arena_overflowed(arena))
			return ERR_NO_MEMORY;
		struct money *const day[] = {&s->days[all][c->interval], &s->days[provider][c->interval],
			&s->days[model][c->interval]};
		for (size_t j = 0; j < sizeof day / sizeof day[0]; j++) {
			if (!money_add(*day[j], c->sums.cost, day[j]))
				return ERR_INTERNAL;
		}
	}
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

/* The days from first_day on, in whole days of the zone. */
static enum err read_series(struct http_request *rq, const struct tz *tz, int32_t first_day,
	struct series_set *s, struct arena *arena)
{
	int64_t *const starts = arena_array(arena, s->n_days + 1, sizeof *starts);
	if (starts == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i <= s->n_days; i++)
		starts[i] = tz_day_start(tz, first_day + (int32_t)i);
	struct usage_cell *cells;
	size_t n;
	const enum err e = costs_series_by_model(
		api_db(rq), &rq->principal.user_id, starts, s->n_days + 1, arena, &cells, &n);
	return e == ERR_OK ? make_series(s, cells, n, arena) : e;
}

/* ---- the dearest event of an anomaly ---- */

/* The dearest of a page, if there is one that costs at least *least; *least is then more than that by the
 * smallest amount there is. */
static bool take_dearest(const struct event *events, size_t n, struct money *least, struct uuid *ret)
{
	bool found = false;
	for (size_t i = 0; i < n; i++) {
		if (!events[i].has_cost || money_compare(events[i].cost, *least) < 0)
			continue;
		*least = (struct money){events[i].cost.atto + 1};
		*ret = events[i].id;
		found = true;
	}
	return found;
}

/* Asks for events dearer than the dearest known until there is none; each page leaves few. When that takes
 * too many pages, none is told rather than a wrong one. */
static enum err find_dearest(struct http_request *rq, const struct tz *tz, const struct anomaly *a,
	const struct anomaly_series *s, struct uuid *ret)
{
	struct events_filter f = {.from_us = tz_day_start(tz, a->day),
		.to_us = tz_day_start(tz, a->day + 1),
		.provider = s->provider,
		.model = s->model,
		.has_min_cost = true,
		.limit = DEAREST_PAGE};
	struct uuid dearest = {{0}};
	for (int page = 0; page < DEAREST_PAGES_MAX; page++) {
		struct arena arena;
		arena_init(&arena, DEAREST_MAX_BYTES);
		struct event *events = NULL;
		size_t n = 0;
		const enum err e = events_list(api_db(rq), &rq->principal.user_id, &f, &arena, &events, &n);
		const bool found = e == ERR_OK && take_dearest(events, n, &f.min_cost, &dearest);
		arena_release(&arena);
		if (e != ERR_OK)
			return e;
		if (!found || n < DEAREST_PAGE) {
			*ret = dearest;
			return ERR_OK;
		}
	}
	return ERR_OK;
}

static enum err add_dearest(
	struct http_request *rq, const struct tz *tz, struct anomaly_report *report, struct arena *arena)
{
	report->dearest = arena_array(arena, report->n, sizeof *report->dearest);
	if (report->dearest == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < report->n && i < DEAREST_MAX; i++) {
		const struct anomaly *const a = &report->anomalies[i];
		const enum err e = find_dearest(rq, tz, a, &report->series[a->series], &report->dearest[i]);
		if (e != ERR_OK)
			return e;
	}
	return ERR_OK;
}

enum err recommendations_anomalies(struct http_request *rq, const struct range *range, double threshold,
	struct arena *arena, struct anomaly_report *ret)
{
	const int32_t today = tz_day_of(range->tz, rq->received_us);
	const int32_t end_day = range->end_day > today + 1 ? today + 1 : range->end_day;
	*ret = (struct anomaly_report){.n = 0};
	if (end_day <= range->first_day)
		return ERR_OK;
	const int32_t first_day = range->first_day - HISTORY_DAYS;
	struct series_set s = {.n_days = (size_t)(end_day - first_day)};
	enum err e = read_series(rq, range->tz, first_day, &s, arena);
	if (e != ERR_OK)
		return e;
	const struct anomaly_input in = {.series = s.series,
		.n_series = s.n,
		.n_days = s.n_days,
		.first_day = first_day,
		.report_from = range->first_day,
		.threshold = threshold,
		.minimum = {ANOMALY_MINIMUM_DEFAULT_ATTO}};
	ret->series = s.series;
	e = anomaly_find(&in, arena, &ret->anomalies, &ret->n);
	return e == ERR_OK ? add_dearest(rq, range->tz, ret, arena) : e;
}

/* ---- writing ---- */

static void write_causes(struct json_writer *w, const struct anomaly *a)
{
	jw_array_begin(w, "causes");
	for (size_t i = 0; i < a->n_causes; i++) {
		const struct anomaly_cause *const cause = &a->causes[i];
		jw_object_begin(w, NULL);
		jw_string(w, "dimension", cause->dimension);
		jw_string(w, "value", cause->model == NULL ? cause->provider : cause->model);
		jw_string(w, "provider", cause->provider);
		jw_decimal(w, "contribution", cause->contribution.atto, MONEY_SCALE);
		jw_object_end(w);
	}
	jw_array_end(w);
}

static void write_scope(struct json_writer *w, const struct anomaly_series *s)
{
	jw_object_begin(w, "scope");
	if (s->provider != NULL)
		jw_string(w, "provider", s->provider);
	if (s->model != NULL)
		jw_string(w, "model", s->model);
	jw_object_end(w);
}

static void write_anomaly(
	struct json_writer *w, const struct anomaly_report *report, size_t index, const struct tz *tz)
{
	const struct anomaly *const a = &report->anomalies[index];
	char date[DATE_TEXT_SIZE];
	calendar_format_date(a->day, date);
	jw_object_begin(w, NULL);
	jw_string(w, "id", a->id);
	jw_string(w, "granularity", "day");
	jw_string(w, "date", date);
	jw_instant(w, "start", tz_day_start(tz, a->day));
	jw_instant(w, "end", tz_day_start(tz, a->day + 1));
	write_scope(w, &report->series[a->series]);
	jw_decimal(w, "cost", a->cost.atto, MONEY_SCALE);
	jw_decimal(w, "expected_cost", a->expected.atto, MONEY_SCALE);
	jw_decimal(w, "lower", a->lower.atto, MONEY_SCALE);
	jw_decimal(w, "upper", a->upper.atto, MONEY_SCALE);
	jw_double(w, "score", a->score);
	jw_string(w, "severity", anomaly_severity_name(a->severity));
	write_causes(w, a);
	if (uuid_is_zero(&report->dearest[index]))
		jw_null(w, "event_id");
	else
		jw_uuid(w, "event_id", &report->dearest[index]);
	jw_object_end(w);
}

void recommendations_write_anomalies(
	struct json_writer *w, const char *key, const struct anomaly_report *report, const struct tz *tz)
{
	jw_array_begin(w, key);
	for (size_t i = 0; i < report->n; i++)
		write_anomaly(w, report, i, tz);
	jw_array_end(w);
}

/* ---- the request ---- */

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
	return (double)scaled / (double)unit;
}

static struct reply answer(const struct anomaly_report *report, const struct range *range, double threshold)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_i64(&w, "count", (int64_t)report->n);
	recommendations_write_anomalies(&w, "anomalies", report, range->tz);
	jw_object_begin(&w, "analysis_period");
	range_write(&w, "start", "end", range);
	jw_object_end(&w);
	jw_string(&w, "timezone", tz_name(range->tz));
	jw_double(&w, "threshold", threshold);
	jw_object_end(&w);
	return reply_json(200, &body);
}

static struct reply find(struct http_request *rq, const struct range *range, double threshold)
{
	struct arena arena;
	arena_init(&arena, RECOMMENDATIONS_MAX_BYTES);
	struct anomaly_report report;
	const enum err e = recommendations_anomalies(rq, range, threshold, &arena, &report);
	const struct reply r = e == ERR_OK ? answer(&report, range, threshold) : api_fail_sums(rq, e, NULL);
	arena_release(&arena);
	return r;
}

struct reply api_recommendations_anomalies(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, PARAMETERS, &p);
	const double threshold = read_threshold(rq, &p);
	struct range range;
	const enum err e = api_range(rq, &range, &p);
	return e == ERR_OK ? find(rq, &range, threshold) : api_fail(rq, e, &p);
}
