/* The search for unusual spend of one user, from sums to findings with their reasons. What is unusual is
 * decided in core/anomaly.h, who asks and what is done about it by the callers. */
#include "llmlab/api/anomaly_scan.h"
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/clock.h"
#include "llmlab/base/uuid.h"
#include "llmlab/db/costs.h"

#define HOURLY_DAYS 2
#define HOURS_A_DAY 24
#define HOURS_MAX   ((size_t)(ANOMALY_HISTORY_DAYS + HOURLY_DAYS + 1) * (HOURS_A_DAY + 1))

struct usage_filter anomaly_filter(const struct anomaly_series *s)
{
	return (struct usage_filter){.provider = s->provider,
		.model = s->model,
		.project = s->project,
		.tag_key = s->tag_key,
		.tag_value = s->tag_value};
}

/* ---- entries ---- */

static struct anomaly_entry make_entry(const struct anomaly_question *q, const struct anomaly_series *series,
	const int64_t *starts, bool hourly, const struct anomaly *a)
{
	char user_id[UUID_TEXT_SIZE];
	uuid_format(&q->user_id, user_id);
	struct anomaly_entry e = {.hourly = hourly,
		.day = tz_day_of(q->tz, starts[a->bucket]),
		.start_us = starts[a->bucket],
		.end_us = starts[a->bucket + 1],
		.found = *a,
		.series = &series[a->series]};
	for (size_t i = 0; i < a->n_also; i++)
		e.also[i] = &series[a->also[i]];
	anomaly_id(user_id, hourly ? "hour" : "day", e.start_us, e.series, e.id);
	return e;
}

/* Adds the findings of one granularity. ERR_NO_MEMORY. */
static enum err add_entries(const struct anomaly_question *q, const struct anomaly_series *series,
	const int64_t *starts, bool hourly, const struct anomaly *found, size_t n, struct arena *arena,
	struct anomaly_report *report)
{
	struct anomaly_entry *const rows = arena_array(arena, report->n + n, sizeof *rows);
	if (rows == NULL)
		return ERR_NO_MEMORY;
	if (report->n > 0)
		memcpy(rows, report->rows, report->n * sizeof *rows);
	for (size_t i = 0; i < n; i++)
		rows[report->n++] = make_entry(q, series, starts, hourly, &found[i]);
	report->rows = rows;
	return ERR_OK;
}

static int compare_entries(const void *x, const void *y)
{
	const struct anomaly_entry *const a = x, *const b = y;
	if (a->start_us != b->start_us)
		return a->start_us < b->start_us ? 1 : -1;
	const int128 above_a = a->found.cost.atto - a->found.expected.atto;
	const int128 above_b = b->found.cost.atto - b->found.expected.atto;
	if (above_a != above_b)
		return above_a < above_b ? 1 : -1;
	return strcmp(a->id, b->id);
}

/* ---- days ---- */

static int64_t *day_starts(const struct tz *tz, int32_t first_day, size_t n_days, struct arena *arena)
{
	int64_t *const starts = arena_array(arena, n_days + 1, sizeof *starts);
	for (size_t i = 0; starts != NULL && i <= n_days; i++)
		starts[i] = tz_day_start(tz, first_day + (int32_t)i);
	return starts;
}

static enum err find_days(struct db_conn *db, const struct anomaly_question *q, int32_t end_day,
	struct arena *arena, struct anomaly_report *report)
{
	const int32_t first_day = q->first_day - ANOMALY_HISTORY_DAYS;
	const size_t n_days = (size_t)(end_day - first_day);
	struct anomaly_series *series;
	struct anomaly *found;
	size_t n_series, n;
	const int64_t *const starts = day_starts(q->tz, first_day, n_days, arena);
	if (starts == NULL)
		return ERR_NO_MEMORY;
	enum err e = anomaly_series_read(
		db, &q->user_id, starts, n_days, arena, &series, &n_series, &report->left_out);
	if (e != ERR_OK)
		return e;
	const struct anomaly_input in = {.series = series,
		.n_series = n_series,
		.n_buckets = n_days,
		.a_day = 1,
		.report_from = ANOMALY_HISTORY_DAYS,
		.threshold = q->threshold,
		.minimum = {ANOMALY_MINIMUM_DEFAULT_ATTO}};
	e = anomaly_find(&in, arena, &found, &n);
	return e == ERR_OK ? add_entries(q, series, starts, false, found, n, arena, report) : e;
}

/* ---- hours ---- */

/* The begins of the hours from ANOMALY_HISTORY_DAYS before the day to the end of the hour that is now, or of
 * the last day. Returns how many hours. */
static size_t hour_starts(
	const struct anomaly_question *q, int32_t first_day, int32_t end_day, int64_t *starts)
{
	const int64_t end_us = tz_day_start(q->tz, end_day);
	const int64_t until_us = end_us < q->now_us ? end_us : q->now_us;
	int64_t us = tz_day_start(q->tz, first_day) - ANOMALY_HISTORY_DAYS * US_PER_DAY;
	size_t n = 0;
	for (; us < until_us && n + 1 < HOURS_MAX; us += US_PER_HOUR)
		starts[n++] = us;
	starts[n] = us;
	return n;
}

static enum err find_hours_from(struct db_conn *db, const struct anomaly_question *q, int32_t first_day,
	int32_t end_day, struct arena *arena, struct anomaly_report *report)
{
	int64_t *const starts = arena_array(arena, HOURS_MAX, sizeof *starts);
	struct usage_sums *const sums = arena_array(arena, HOURS_MAX, sizeof *sums);
	struct money *const costs = arena_array(arena, HOURS_MAX, sizeof *costs);
	struct anomaly_series *const all = arena_alloc(arena, sizeof *all);
	if (starts == NULL || sums == NULL || costs == NULL || all == NULL)
		return ERR_NO_MEMORY;
	const size_t n = hour_starts(q, first_day, end_day, starts);
	struct anomaly *found;
	size_t n_found;
	if (n == 0)
		return ERR_OK;
	enum err e = costs_series(db, &q->user_id, NULL, starts, n + 1, sums);
	if (e != ERR_OK)
		return e;
	for (size_t i = 0; i < n; i++)
		costs[i] = sums[i].cost;
	*all = (struct anomaly_series){.kind = ANOMALY_ALL, .costs = costs};
	const struct anomaly_input in = {.series = all,
		.n_series = 1,
		.n_buckets = n,
		.a_day = HOURS_A_DAY,
		.report_from = (size_t)ANOMALY_HISTORY_DAYS * HOURS_A_DAY,
		.threshold = q->threshold,
		.minimum = {ANOMALY_MINIMUM_DEFAULT_ATTO}};
	e = anomaly_find(&in, arena, &found, &n_found);
	return e == ERR_OK ? add_entries(q, all, starts, true, found, n_found, arena, report) : e;
}

/* Today and yesterday, as far as they are in the range. */
static enum err find_hours(struct db_conn *db, const struct anomaly_question *q, int32_t end_day,
	struct arena *arena, struct anomaly_report *report)
{
	const int32_t last_days = tz_day_of(q->tz, q->now_us) + 1 - HOURLY_DAYS;
	const int32_t first_day = q->first_day > last_days ? q->first_day : last_days;
	return first_day < end_day ? find_hours_from(db, q, first_day, end_day, arena, report) : ERR_OK;
}

static bool is_day_told(const struct anomaly_report *report, int32_t day)
{
	for (size_t i = 0; i < report->n; i++)
		if (!report->rows[i].hourly && report->rows[i].day == day)
			return true;
	return false;
}

/* An hour of a day that is told itself says nothing more. The hours come first, and are few. */
static void drop_told_hours(struct anomaly_report *report)
{
	struct anomaly_report kept = {.rows = report->rows, .n = 0, .left_out = report->left_out};
	const size_t n = report->n;
	for (size_t i = 0; i < n; i++)
		if (!report->rows[i].hourly || !is_day_told(report, report->rows[i].day))
			kept.rows[kept.n++] = report->rows[i];
	*report = kept;
}

/* ---- the whole ---- */

static enum err find(struct db_conn *db, const struct anomaly_question *q, int32_t end_day,
	struct arena *arena, struct anomaly_report *report)
{
	enum err e = find_hours(db, q, end_day, arena, report);
	if (e == ERR_OK)
		e = find_days(db, q, end_day, arena, report);
	if (e != ERR_OK)
		return e;
	drop_told_hours(report);
	if (report->n > 0)
		qsort(report->rows, report->n, sizeof *report->rows, compare_entries);
	return ERR_OK;
}

enum err anomaly_scan(
	struct db_conn *db, const struct anomaly_question *q, struct arena *arena, struct anomaly_report *ret)
{
	const int32_t today = tz_day_of(q->tz, q->now_us);
	const int32_t end_day = q->end_day > today + 1 ? today + 1 : q->end_day;
	struct anomaly_report report = {.rows = NULL};
	enum err e = end_day > q->first_day ? find(db, q, end_day, arena, &report) : ERR_OK;
	for (size_t i = 0; e == ERR_OK && i < report.n && i < ANOMALY_DETAILS_MAX; i++)
		e = anomaly_explain(db, &q->user_id, arena, &report.rows[i]);
	if (e == ERR_OK)
		*ret = report;
	return e;
}
