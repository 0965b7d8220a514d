/* What is behind an unusual time: its usage against that of the 28 days before, split into factors
 * (core/anomaly.h) and by who used it, and its dearest event. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/anomaly_scan.h"
#include "llmlab/core/estimate.h"
#include "llmlab/db/costs.h"

#define GROUPS_MAX	  1000
#define EVENTS_MAX	  100000 /* that are looked through for the dearest */
#define EACH_MAX	  2	 /* contributors of one dimension */
#define EXCESS_MIN	  1e-6	 /* USD: less is nothing as an estimate */
#define OTHER		  "(other)"
#define EVENT_SCRATCH_MAX ((size_t)65536)

enum { BEFORE, NOW }; /* the intervals */

struct usage_rows {
	struct usage_row *rows;
	size_t n;
};

static enum err read_rows(struct db_conn *db, const struct uuid *user_id, const struct anomaly_entry *e,
	const struct usage_group *groups, size_t n_groups, bool only_cost, struct arena *arena,
	struct usage_rows *ret)
{
	const int64_t starts[] = {e->before_us, e->start_us, e->end_us};
	const struct usage_filter filter = anomaly_filter(e->series);
	const struct usage_breakdown b = {.groups = groups,
		.n_groups = n_groups,
		.limit = GROUPS_MAX,
		.filter = &filter,
		.only_cost = only_cost};
	return costs_breakdown(
		db, user_id, &b, starts, sizeof starts / sizeof starts[0], arena, &ret->rows, &ret->n);
}

/* ---- factors ---- */

static int compare_usage(const void *a, const void *b)
{
	const struct anomaly_usage *const x = a, *const y = b;
	const int by_provider = strcmp(x->provider, y->provider);
	return by_provider != 0 ? by_provider : strcmp(x->model, y->model);
}

/* Sorts the rows and adds those of equal names up. False when a sum does not fit. */
static bool fold_usage(struct anomaly_usage *rows, size_t *n)
{
	size_t kept = 0;
	if (*n > 0)
		qsort(rows, *n, sizeof *rows, compare_usage);
	for (size_t i = 0; i < *n; i++) {
		if (kept == 0 || compare_usage(&rows[kept - 1], &rows[i]) != 0) {
			rows[kept++] = rows[i];
			continue;
		}
		struct anomaly_usage *const to = &rows[kept - 1];
		to->calls += rows[i].calls;
		to->tokens += rows[i].tokens;
		if (!money_add(to->cost, rows[i].cost, &to->cost))
			return false;
	}
	*n = kept;
	return true;
}

/* The usage by model in one interval, of rows by provider, model and more. */
static enum err usage_of(const struct usage_rows *r, size_t interval, struct arena *arena,
	struct anomaly_usage **ret, size_t *ret_n)
{
	struct anomaly_usage *const rows = arena_array(arena, r->n, sizeof *rows);
	size_t n = 0;
	if (rows == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < r->n; i++) {
		const struct usage_row *const row = &r->rows[i];
		if (row->interval != interval)
			continue;
		rows[n++] = (struct anomaly_usage){.provider = row->other ? OTHER : row->values[0],
			.model = row->other ? OTHER : row->values[1],
			.calls = row->sums.calls - row->sums.unpriced_calls,
			.tokens = row->sums.input_tokens + row->sums.output_tokens,
			.cost = row->sums.cost};
	}
	if (!fold_usage(rows, &n))
		return ERR_RANGE;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

static enum err split(const struct usage_rows *r, struct arena *arena, struct anomaly_entry *e)
{
	struct anomaly_usage *now, *before;
	size_t n_now, n_before;
	enum err error = usage_of(r, NOW, arena, &now, &n_now);
	if (error == ERR_OK)
		error = usage_of(r, BEFORE, arena, &before, &n_before);
	if (error == ERR_OK)
		error = anomaly_split(
			now, n_now, before, n_before, e->found.cost, e->found.expected, e->causes);
	e->has_causes = error == ERR_OK;
	return error;
}

/* ---- contributors ---- */

/* What one value of a dimension cost in the two intervals. */
struct part {
	const char *provider, *value;
	struct money costs[2];
};

static int compare_parts(const void *a, const void *b)
{
	const struct part *const x = a, *const y = b;
	const int by_value = strcmp(x->value, y->value);
	return by_value != 0 ? by_value : strcmp(x->provider, y->provider);
}

/* Sorts the parts and adds those of equal names up. False when a sum does not fit. */
static bool fold_parts(struct part *parts, size_t *n)
{
	size_t kept = 0;
	if (*n > 0)
		qsort(parts, *n, sizeof *parts, compare_parts);
	for (size_t i = 0; i < *n; i++) {
		if (kept == 0 || compare_parts(&parts[kept - 1], &parts[i]) != 0) {
			parts[kept++] = parts[i];
			continue;
		}
		for (size_t j = 0; j < 2; j++)
			if (!money_add(
				    parts[kept - 1].costs[j], parts[i].costs[j], &parts[kept - 1].costs[j]))
				return false;
	}
	*n = kept;
	return true;
}

/* How much more than expected: what it cost before counts in proportion to what is expected of all. */
static double excess_of(const struct part *p, double ratio)
{
	return money_as_double(p->costs[NOW]) - ratio * money_as_double(p->costs[BEFORE]);
}

/* False when an excess does not fit. */
static bool take_largest(
	struct part *parts, size_t n, const char *dimension, double ratio, struct anomaly_entry *e)
{
	for (int taken = 0; taken < EACH_MAX && n > 0; taken++) {
		size_t best = 0;
		for (size_t i = 1; i < n; i++)
			if (excess_of(&parts[i], ratio) > excess_of(&parts[best], ratio))
				best = i;
		const double excess = excess_of(&parts[best], ratio);
		struct money contribution;
		if (excess < EXCESS_MIN || e->n_contributors == ANOMALY_CONTRIBUTORS_MAX)
			return true;
		if (!money_of_estimate(excess, &contribution))
			return false;
		e->contributors[e->n_contributors++] = (struct anomaly_contributor){.dimension = dimension,
			.provider = parts[best].provider,
			.value = parts[best].value,
			.contribution = contribution};
		parts[best] = parts[--n];
	}
	return true;
}

/* Contributors by the values in one column of the rows; a model has its provider in the column before. */
static enum err add_contributors(const struct usage_rows *r, size_t column, const char *dimension,
	bool is_model, double ratio, struct arena *arena, struct anomaly_entry *e)
{
	struct part *const parts = arena_array(arena, r->n, sizeof *parts);
	size_t n = 0;
	if (parts == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < r->n; i++) {
		const struct usage_row *const row = &r->rows[i];
		if (row->other || row->values[column] == NULL)
			continue;
		parts[n] = (struct part){
			.provider = is_model ? row->values[column - 1] : "", .value = row->values[column]};
		parts[n++].costs[row->interval] = row->sums.cost;
	}
	if (!fold_parts(parts, &n) || !take_largest(parts, n, dimension, ratio, e))
		return ERR_RANGE;
	return ERR_OK;
}

static enum err contributors(const struct usage_rows *models, const struct usage_rows *callers, double ratio,
	struct arena *arena, struct anomaly_entry *e)
{
	enum err error = add_contributors(models, 1, "model", true, ratio, arena, e);
	if (error == ERR_OK)
		error = add_contributors(models, 2, "project", false, ratio, arena, e);
	if (error == ERR_OK)
		error = add_contributors(callers, 0, "customer", false, ratio, arena, e);
	if (error == ERR_OK)
		error = add_contributors(callers, 1, "key", false, ratio, arena, e);
	return error;
}

/* ---- the whole ---- */

static enum err find_dearest(struct db_conn *db, const struct uuid *user_id, struct anomaly_entry *e)
{
	struct arena scratch;
	arena_init(&scratch, EVENT_SCRATCH_MAX);
	const struct usage_filter filter = anomaly_filter(e->series);
	const enum err error =
		anomalies_dearest_event(db, user_id, &filter, e->start_us, e->end_us, &scratch, &e->event_id);
	arena_release(&scratch);
	return error;
}

/* Cost and calls of one interval. False when the sum does not fit. */
static bool sum_of(const struct usage_rows *r, size_t interval, struct money *ret_cost, int64_t *ret_calls)
{
	struct money cost = money_zero();
	int64_t calls = 0;
	for (size_t i = 0; i < r->n; i++) {
		if (r->rows[i].interval != interval)
			continue;
		calls += r->rows[i].sums.calls;
		if (!money_add(cost, r->rows[i].sums.cost, &cost))
			return false;
	}
	*ret_cost = cost;
	*ret_calls = calls;
	return true;
}

enum err anomaly_explain(
	struct db_conn *db, const struct uuid *user_id, struct arena *arena, struct anomaly_entry *e)
{
	static const struct usage_group BY_MODEL[] = {
		{USAGE_BY_PROVIDER, NULL}, {USAGE_BY_MODEL, NULL}, {USAGE_BY_PROJECT, NULL}};
	static const struct usage_group BY_CALLER[] = {{USAGE_BY_CUSTOMER, NULL}, {USAGE_BY_KEY, NULL}};
	struct usage_rows models, callers;
	struct money cost, before;
	int64_t calls, calls_before;
	enum err error = read_rows(db, user_id, e, BY_MODEL, 3, false, arena, &models);
	if (error == ERR_OK)
		error = read_rows(db, user_id, e, BY_CALLER, 2, true, arena, &callers);
	if (error != ERR_OK)
		return error;
	if (!sum_of(&models, NOW, &cost, &calls) || !sum_of(&models, BEFORE, &before, &calls_before))
		return ERR_RANGE;
	/* A day that is not over may have grown since it was found: what is told is what is explained. */
	if (money_compare(cost, e->found.upper) > 0)
		e->found.cost = cost;
	const double ratio = before.atto > 0 ? money_ratio(e->found.expected, before) : 0;
	error = split(&models, arena, e);
	if (error == ERR_OK)
		error = contributors(&models, &callers, ratio, arena, e);
	if (error == ERR_OK && calls <= EVENTS_MAX)
		error = find_dearest(db, user_id, e);
	return error;
}
