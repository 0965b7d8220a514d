/* The search for unusual spend of one user, from sums to findings with their reasons. What is unusual is
 * decided in core/anomaly.h, who asks and what is done about it by the callers. */
#include "llmlab/api/anomaly_scan.h"
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/anomaly_memo.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"
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

/* What was searched: series of buckets, all spend first, and its calls. */
struct searched {
	const struct anomaly_series *series;
	const int64_t *calls;
	const int64_t *starts; /* one more than buckets */
	size_t a_day;	       /* buckets of a day: 1, or 24 */
};

/* False when the sum does not fit. */
static bool window_of(const struct searched *s, size_t first, size_t last, struct anomaly_window *ret)
{
	struct anomaly_window w = {.cost = money_zero()};
	for (size_t i = first; i <= last; i++) {
		w.calls += s->calls[i];
		if (!money_add(w.cost, s->series[0].costs[i], &w.cost))
			return false;
	}
	*ret = w;
	return true;
}

/* False when a sum does not fit. */
static bool make_entry(const struct anomaly_question *q, const struct searched *s, const struct anomaly *a,
	struct anomaly_entry *ret)
{
	char user_id[UUID_TEXT_SIZE];
	uuid_format(&q->user_id, user_id);
	const bool hourly = s->a_day > 1;
	const size_t before = a->bucket - ANOMALY_HISTORY_DAYS * s->a_day;
	struct anomaly_entry e = {.hourly = hourly,
		.day = tz_day_of(q->tz, s->starts[a->bucket]),
		.start_us = s->starts[a->bucket],
		.end_us = s->starts[a->bucket + 1],
		.before_us = s->starts[before],
		.found = *a,
		.series = &s->series[a->series]};
	for (size_t i = 0; i < a->n_also; i++)
		e.also[i] = &s->series[a->also[i]];
	anomaly_id(user_id, hourly ? "hour" : "day", e.start_us, e.series, e.id);
	if (!window_of(s, before, a->bucket, &e.all))
		return false;
	*ret = e;
	return true;
}

/* Adds the findings of one granularity. ERR_NO_MEMORY, ERR_RANGE. */
static enum err add_entries(const struct anomaly_question *q, const struct searched *s,
	const struct anomaly *found, size_t n, struct arena *arena, struct anomaly_report *report)
{
	struct anomaly_entry *const rows = arena_array(arena, report->n + n, sizeof *rows);
	if (rows == NULL)
		return ERR_NO_MEMORY;
	if (report->n > 0)
		memcpy(rows, report->rows, report->n * sizeof *rows);
	for (size_t i = 0; i < n; i++)
		if (!make_entry(q, s, &found[i], &rows[report->n + i]))
			return ERR_RANGE;
	report->n += n;
	report->rows = rows;
	return ERR_OK;
}

/* Searches the buckets from the history's end on, and adds what is found. */
static enum err search(const struct anomaly_question *q, const struct searched *s, size_t n_series,
	size_t n_buckets, struct arena *arena, struct anomaly_report *report)
{
	const struct anomaly_input in = {.series = s->series,
		.n_series = n_series,
		.n_buckets = n_buckets,
		.a_day = s->a_day,
		.report_from = ANOMALY_HISTORY_DAYS * s->a_day,
		.threshold = q->threshold,
		.minimum = {ANOMALY_MINIMUM_DEFAULT_ATTO}};
	struct anomaly *found;
	size_t n;
	const enum err e = anomaly_find(&in, arena, &found, &n);
	return e == ERR_OK ? add_entries(q, s, found, n, arena, report) : e;
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
	int64_t *calls;
	size_t n_series;
	const int64_t *const starts = day_starts(q->tz, first_day, n_days, arena);
	if (starts == NULL)
		return ERR_NO_MEMORY;
	const enum err e = anomaly_series_read(
		db, &q->user_id, starts, n_days, arena, &series, &n_series, &calls, &report->left_out);
	if (e != ERR_OK)
		return e;
	const struct searched s = {.series = series, .calls = calls, .starts = starts, .a_day = 1};
	return search(q, &s, n_series, n_days, arena, report);
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
	int64_t *const calls = arena_array(arena, HOURS_MAX, sizeof *calls);
	if (starts == NULL || sums == NULL || costs == NULL || calls == NULL)
		return ERR_NO_MEMORY;
	const size_t n = hour_starts(q, first_day, end_day, starts);
	if (n == 0)
		return ERR_OK;
	const enum err e = costs_series_cost(db, &q->user_id, starts, n + 1, sums);
	if (e != ERR_OK)
		return e;
	for (size_t i = 0; i < n; i++) {
		costs[i] = sums[i].cost;
		calls[i] = sums[i].calls;
	}
	struct anomaly_series *const all = arena_alloc(arena, sizeof *all);
	if (all == NULL)
		return ERR_NO_MEMORY;
	*all = (struct anomaly_series){.kind = ANOMALY_ALL, .costs = costs};
	const struct searched s = {.series = all, .calls = calls, .starts = starts, .a_day = HOURS_A_DAY};
	return search(q, &s, 1, n, arena, report);
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

/* ---- why ---- */

/* What is known of the entries from before, by their place. */
struct known {
	uint64_t generation; /* of the memory, before anything was read */
	struct anomaly_basis bases[ANOMALY_DETAILS_MAX];
	struct anomaly_entry entries[ANOMALY_DETAILS_MAX];
	bool is_known[ANOMALY_DETAILS_MAX];
};

/* What is remembered names its dearest event; where retention has dropped that, it is looked for anew. */
static enum err forget_gone(
	struct db_conn *db, const struct uuid *user_id, size_t n, struct arena *arena, struct known *k)
{
	struct uuid ids[ANOMALY_DETAILS_MAX];
	size_t places[ANOMALY_DETAILS_MAX], n_ids = 0;
	bool exist[ANOMALY_DETAILS_MAX];
	for (size_t i = 0; i < n; i++) {
		if (!k->is_known[i] || uuid_is_zero(&k->entries[i].event_id))
			continue;
		places[n_ids] = i;
		ids[n_ids++] = k->entries[i].event_id;
	}
	if (n_ids == 0)
		return ERR_OK;
	const enum err e = anomalies_events_exist(db, user_id, ids, n_ids, arena, exist);
	for (size_t i = 0; e == ERR_OK && i < n_ids; i++)
		k->is_known[places[i]] = exist[i];
	return e;
}

/* The state is read before what is explained: what changes in between makes the next one ask anew. */
static enum err recall(struct db_conn *db, const struct anomaly_question *q,
	const struct anomaly_entry *entries, size_t n, struct arena *arena, struct known *k)
{
	struct spend_state state;
	const enum err e = anomalies_spend_state(db, &q->user_id, &state);
	if (e != ERR_OK)
		return e;
	for (size_t i = 0; i < n; i++) {
		k->bases[i] = anomaly_basis_of(&q->user_id, &entries[i], &state);
		k->entries[i] = entries[i];
		k->is_known[i] = anomaly_memo_get(q->memo, &k->bases[i], arena, &k->entries[i]);
	}
	return forget_gone(db, &q->user_id, n, arena, k);
}

/* The entry from memory, or worked out and remembered. */
static enum err explain(struct db_conn *db, const struct anomaly_question *q, const struct known *k, size_t i,
	struct arena *arena, struct anomaly_entry *e)
{
	if (k->is_known[i]) {
		*e = k->entries[i];
		metric_add(METRIC_ANOMALY_EXPLANATIONS_REMEMBERED, 1);
		return ERR_OK;
	}
	const enum err error = anomaly_explain(db, &q->user_id, arena, e);
	if (error != ERR_OK)
		return error;
	metric_add(METRIC_ANOMALY_EXPLANATIONS_MADE, 1);
	anomaly_memo_put(q->memo, k->generation, &k->bases[i], e);
	return ERR_OK;
}

/* The first ANOMALY_DETAILS_MAX of the report. */
static enum err explain_first(struct db_conn *db, const struct anomaly_question *q, uint64_t generation,
	struct arena *arena, struct anomaly_report *report)
{
	const size_t n = report->n < ANOMALY_DETAILS_MAX ? report->n : ANOMALY_DETAILS_MAX;
	if (n == 0)
		return ERR_OK;
	struct known *const k = arena_alloc(arena, sizeof *k);
	if (k == NULL)
		return ERR_NO_MEMORY;
	k->generation = generation;
	enum err e = recall(db, q, report->rows, n, arena, k);
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		e = explain(db, q, k, i, arena, &report->rows[i]);
	return e;
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
	const uint64_t generation = anomaly_memo_generation(q->memo);
	struct anomaly_report report = {.rows = NULL};
	enum err e = end_day > q->first_day ? find(db, q, end_day, arena, &report) : ERR_OK;
	if (e == ERR_OK)
		e = explain_first(db, q, generation, arena, &report);
	if (e == ERR_OK)
		*ret = report;
	return e;
}
