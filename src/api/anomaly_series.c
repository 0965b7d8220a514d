/* The series that the search for unusual days looks at: sums by day as arrays of costs, one for all spend and
 * one for each of the dearest providers, models, projects and values of tags. */
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/anomaly_scan.h"
#include "llmlab/base/check.h"
#include "llmlab/db/costs.h"

/* Projects and tags are looked at in the last days of a long range only, history included: their sums are the
 * dear ones. */
#define PARTS_DAYS 62

/* A series that can still be added to, and what it costs in all. */
struct growing {
	struct anomaly_series s;
	struct money *days;
	struct money total;
};

struct series_set {
	struct growing *rows;
	size_t n, size;
	size_t n_days;
	const int64_t *starts; /* n_days + 1 */
	int64_t *calls;	       /* of all spend, by day */
	bool left_out;	       /* something has no series of its own because others are dearer */
	struct arena *arena;
};

/* A new series of zeros; NULL without memory. */
static struct growing *add_series(struct series_set *set, const struct anomaly_series *s)
{
	if (set->n == set->size) {
		const size_t size = set->size ? 2 * set->size : 64;
		struct growing *const rows = arena_array(set->arena, size, sizeof *rows);
		if (rows == NULL)
			return NULL;
		if (set->n > 0)
			memcpy(rows, set->rows, set->n * sizeof *rows);
		set->rows = rows;
		set->size = size;
	}
	struct money *const days = arena_array(set->arena, set->n_days, sizeof *days);
	if (days == NULL)
		return NULL;
	struct growing *const g = &set->rows[set->n++];
	*g = (struct growing){.s = *s, .days = days};
	g->s.costs = days;
	return g;
}

static bool add_cost(struct growing *g, size_t day, struct money cost)
{
	return money_add(g->days[day], cost, &g->days[day]) && money_add(g->total, cost, &g->total);
}

static int compare_totals(const void *a, const void *b)
{
	const struct growing *const x = a, *const y = b;
	return money_compare(y->total, x->total);
}

/* Keeps the dearest of those added since `from`. */
static void keep_dearest(struct series_set *set, size_t from)
{
	if (set->n - from <= ANOMALY_SERIES_MAX)
		return;
	set->left_out = true;
	qsort(set->rows + from, set->n - from, sizeof *set->rows, compare_totals);
	set->n = from + ANOMALY_SERIES_MAX;
}

/* ---- all, providers, models ---- */

struct rows {
	struct usage_row *rows;
	size_t n;
};

/* The dearest groups, by day. Whatever the number of groups, these are a bounded number of rows. */
static enum err read_rows(struct series_set *set, struct db_conn *db, const struct uuid *user_id,
	const struct usage_group *groups, size_t n_groups, size_t first_day, struct rows *ret)
{
	const struct usage_breakdown b = {
		.groups = groups, .n_groups = n_groups, .limit = ANOMALY_SERIES_MAX, .only_cost = true};
	struct rows r;
	const enum err e = costs_breakdown(db, user_id, &b, set->starts + first_day,
		set->n_days - first_day + 1, set->arena, &r.rows, &r.n);
	if (e == ERR_OK)
		*ret = r;
	return e;
}

static bool has_other(const struct rows *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->rows[i].other)
			return true;
	return false;
}

/* By provider, then model (NULL where rows are by provider alone, or the other ones), then day. */
static int compare_rows(const void *a, const void *b)
{
	const struct usage_row *const x = a, *const y = b;
	if (x->other != y->other)
		return x->other ? 1 : -1;
	for (size_t i = 0; i < 2 && !x->other; i++) {
		const int order =
			x->values[i] == NULL || y->values[i] == NULL ? 0 : strcmp(x->values[i], y->values[i]);
		if (order != 0)
			return order;
	}
	return (x->interval > y->interval) - (x->interval < y->interval);
}

static bool is_new(const struct rows *r, size_t i, bool by_model)
{
	return i == 0 || strcmp(r->rows[i - 1].values[0], r->rows[i].values[0]) != 0 ||
	       (by_model && strcmp(r->rows[i - 1].values[1], r->rows[i].values[1]) != 0);
}

/* One series for each provider, or provider and model, of the sorted rows. */
static enum err add_grouped(struct series_set *set, const struct rows *r, bool by_model)
{
	const size_t from = set->n;
	for (size_t i = 0; i < r->n && !r->rows[i].other; i++) {
		const struct anomaly_series s = {.kind = by_model ? ANOMALY_MODEL : ANOMALY_PROVIDER,
			.provider = r->rows[i].values[0],
			.model = by_model ? r->rows[i].values[1] : NULL};
		if (is_new(r, i, by_model) && add_series(set, &s) == NULL)
			return ERR_NO_MEMORY;
		if (!add_cost(&set->rows[set->n - 1], r->rows[i].interval, r->rows[i].sums.cost))
			return ERR_RANGE;
	}
	keep_dearest(set, from);
	return ERR_OK;
}

/* The rows of models are those of providers as well, unless some models are in none of their own. */
static enum err add_providers(
	struct series_set *set, struct db_conn *db, const struct uuid *user_id, const struct rows *models)
{
	static const struct usage_group BY_PROVIDER = {USAGE_BY_PROVIDER, NULL};
	struct rows r = *models;
	if (has_other(models)) {
		set->left_out = true;
		const enum err e = read_rows(set, db, user_id, &BY_PROVIDER, 1, 0, &r);
		if (e != ERR_OK)
			return e;
		if (r.n > 0)
			qsort(r.rows, r.n, sizeof *r.rows, compare_rows);
	}
	return add_grouped(set, &r, false);
}

static enum err add_models(struct series_set *set, struct db_conn *db, const struct uuid *user_id)
{
	static const struct usage_group BY_MODEL[] = {{USAGE_BY_PROVIDER, NULL}, {USAGE_BY_MODEL, NULL}};
	struct rows r;
	enum err e = read_rows(set, db, user_id, BY_MODEL, 2, 0, &r);
	if (e != ERR_OK)
		return e;
	struct growing *const all = add_series(set, &(struct anomaly_series){.kind = ANOMALY_ALL});
	set->calls = arena_array(set->arena, set->n_days, sizeof *set->calls);
	if (all == NULL || set->calls == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < r.n; i++) {
		set->calls[r.rows[i].interval] += r.rows[i].sums.calls;
		if (!add_cost(all, r.rows[i].interval, r.rows[i].sums.cost))
			return ERR_RANGE;
	}
	if (r.n > 0)
		qsort(r.rows, r.n, sizeof *r.rows, compare_rows);
	e = add_providers(set, db, user_id, &r);
	return e == ERR_OK ? add_grouped(set, &r, true) : e;
}

/* ---- projects and tags ---- */

static struct growing *find_value(struct series_set *set, size_t from, const struct anomaly_series *s)
{
	for (size_t i = from; i < set->n; i++) {
		const struct anomaly_series *const known = &set->rows[i].s;
		const char *const a = s->kind == ANOMALY_TAG ? known->tag_value : known->project;
		const char *const b = s->kind == ANOMALY_TAG ? s->tag_value : s->project;
		if (strcmp(a, b) == 0)
			return &set->rows[i];
	}
	return add_series(set, s);
}

/* One series for each of the dearest projects, or values of the tag if a key is given. */
static enum err add_values(
	struct series_set *set, struct db_conn *db, const struct uuid *user_id, const char *tag_key)
{
	const struct usage_group group = {tag_key == NULL ? USAGE_BY_PROJECT : USAGE_BY_TAG, tag_key};
	const size_t before = set->n_days > PARTS_DAYS ? set->n_days - PARTS_DAYS : 0;
	struct rows r;
	const enum err e = read_rows(set, db, user_id, &group, 1, before, &r);
	if (e != ERR_OK)
		return e;
	set->left_out |= has_other(&r);
	const size_t from = set->n;
	for (size_t i = 0; i < r.n; i++) {
		/* What has no project, and what is beyond the limit, is no part of its own. */
		if (r.rows[i].other || r.rows[i].values[0] == NULL)
			continue;
		const struct anomaly_series s = {.kind = tag_key == NULL ? ANOMALY_PROJECT : ANOMALY_TAG,
			.project = tag_key == NULL ? r.rows[i].values[0] : NULL,
			.tag_key = tag_key,
			.tag_value = tag_key == NULL ? NULL : r.rows[i].values[0]};
		struct growing *const g = find_value(set, from, &s);
		if (g == NULL)
			return ERR_NO_MEMORY;
		if (!add_cost(g, before + r.rows[i].interval, r.rows[i].sums.cost))
			return ERR_RANGE;
	}
	return ERR_OK;
}

static enum err add_tags(struct series_set *set, struct db_conn *db, const struct uuid *user_id)
{
	const char **keys;
	size_t n;
	const size_t from = set->n;
	enum err e = anomalies_tag_keys(db, user_id, ANOMALY_TAG_KEYS_MAX, set->arena, &keys, &n);
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		e = add_values(set, db, user_id, keys[i]);
	if (e == ERR_OK)
		keep_dearest(set, from);
	return e;
}

enum err anomaly_series_read(struct db_conn *db, const struct uuid *user_id, const int64_t *starts,
	size_t n_days, struct arena *arena, struct anomaly_series **ret, size_t *ret_n, int64_t **ret_calls,
	bool *ret_left_out)
{
	struct series_set set = {.n_days = n_days, .starts = starts, .arena = arena};
	enum err e = add_models(&set, db, user_id);
	if (e == ERR_OK)
		e = add_values(&set, db, user_id, NULL);
	if (e == ERR_OK)
		e = add_tags(&set, db, user_id);
	if (e != ERR_OK)
		return e;
	struct anomaly_series *const series = arena_array(arena, set.n, sizeof *series);
	if (series == NULL || arena_overflowed(arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < set.n; i++)
		series[i] = set.rows[i].s;
	*ret = series;
	*ret_n = set.n;
	*ret_calls = set.calls;
	*ret_left_out = set.left_out;
	return ERR_OK;
}
