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
	qsort(set->rows + from, set->n - from, sizeof *set->rows, compare_totals);
	set->n = from + ANOMALY_SERIES_MAX;
}

/* ---- all, providers, models ---- */

static int compare_cells(const void *a, const void *b)
{
	const struct usage_cell *const x = a, *const y = b;
	const int by_provider = strcmp(x->provider, y->provider);
	const int by_model = by_provider != 0 ? by_provider : strcmp(x->model, y->model);
	return by_model != 0 ? by_model : (x->interval > y->interval) - (x->interval < y->interval);
}

static bool is_new(const struct usage_cell *cells, size_t i, bool by_model)
{
	return i == 0 || strcmp(cells[i - 1].provider, cells[i].provider) != 0 ||
	       (by_model && strcmp(cells[i - 1].model, cells[i].model) != 0);
}

/* One series for each provider, or provider and model, of the sorted cells. */
static enum err add_grouped(struct series_set *set, const struct usage_cell *cells, size_t n, bool by_model)
{
	const size_t from = set->n;
	for (size_t i = 0; i < n; i++) {
		const struct anomaly_series s = {.kind = by_model ? ANOMALY_MODEL : ANOMALY_PROVIDER,
			.provider = cells[i].provider,
			.model = by_model ? cells[i].model : NULL};
		if (is_new(cells, i, by_model) && add_series(set, &s) == NULL)
			return ERR_NO_MEMORY;
		if (!add_cost(&set->rows[set->n - 1], cells[i].interval, cells[i].sums.cost))
			return ERR_RANGE;
	}
	keep_dearest(set, from);
	return ERR_OK;
}

static enum err add_models(struct series_set *set, struct db_conn *db, const struct uuid *user_id)
{
	struct usage_cell *cells;
	size_t n;
	enum err e = costs_series_by_model(db, user_id, set->starts, set->n_days + 1, set->arena, &cells, &n);
	if (e != ERR_OK)
		return e;
	struct growing *const all = add_series(set, &(struct anomaly_series){.kind = ANOMALY_ALL});
	if (all == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++)
		if (!add_cost(all, cells[i].interval, cells[i].sums.cost))
			return ERR_RANGE;
	qsort(cells, n, sizeof *cells, compare_cells);
	e = add_grouped(set, cells, n, false);
	return e == ERR_OK ? add_grouped(set, cells, n, true) : e;
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
	const struct usage_breakdown b = {.groups = &group, .n_groups = 1, .limit = ANOMALY_SERIES_MAX};
	const size_t before = set->n_days > PARTS_DAYS ? set->n_days - PARTS_DAYS : 0;
	struct usage_row *rows;
	size_t n;
	const enum err e = costs_breakdown(
		db, user_id, &b, set->starts + before, set->n_days - before + 1, set->arena, &rows, &n);
	const size_t from = set->n;
	for (size_t i = 0; e == ERR_OK && i < n; i++) {
		/* What has no project, and what is beyond the limit, is no part of its own. */
		if (rows[i].other || rows[i].values[0] == NULL)
			continue;
		const struct anomaly_series s = {.kind = tag_key == NULL ? ANOMALY_PROJECT : ANOMALY_TAG,
			.project = tag_key == NULL ? rows[i].values[0] : NULL,
			.tag_key = tag_key,
			.tag_value = tag_key == NULL ? NULL : rows[i].values[0]};
		struct growing *const g = find_value(set, from, &s);
		if (g == NULL)
			return ERR_NO_MEMORY;
		if (!add_cost(g, before + rows[i].interval, rows[i].sums.cost))
			return ERR_RANGE;
	}
	return e;
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
	size_t n_days, struct arena *arena, struct anomaly_series **ret, size_t *ret_n)
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
	return ERR_OK;
}
