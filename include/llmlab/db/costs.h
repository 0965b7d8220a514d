#ifndef LLMLAB_DB_COSTS_H
#define LLMLAB_DB_COSTS_H

#include "llmlab/db/conn.h"

/* Sums of usage, read from the levels that the writer keeps (migration 0004): whole days, hours and quarters
 * of an hour, and from events only the ragged ends of intervals that do not begin or end on a quarter. Every
 * call is one statement and so of one snapshot: its figures add up whatever is stored meanwhile.
 *
 * Besides the errors of db/conn.h: ERR_NO_MEMORY, and ERR_RANGE when an interval ends before it begins, when
 * there are more rows than the bound named with each call, or when a sum does not fit struct money (1.7 x
 * 10^20 USD). */

struct usage_sums {
	int64_t calls, errors, unpriced_calls;
	int64_t input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens,
		reasoning_tokens;
	struct money cost;	    /* of the calls that have a price */
	struct money error_cost;    /* of it, what failed calls cost */
	struct money standard_cost; /* of it, what was charged at the standard service tier */
};

/* Adds one to the other, exactly; false (and *to as it was) when a sum does not fit. */
bool usage_sums_add(struct usage_sums *to, const struct usage_sums *s);

struct usage_by_model {
	const char *provider, *model; /* in the arena */
	struct usage_sums sums;
};

struct usage_tag {
	const char *key, *value;
};

/* Narrowing; NULL: any; all that is given must hold. Texts are the caller's. project "" (customer "") is what
 * has no project (customer). A tag needs key and value. tag_key is one tag, tags are more of them (n_tags at
 * most TAGS_MAX). */
struct usage_filter {
	const char *provider, *model, *project, *customer;
	const char *tag_key, *tag_value;
	const struct usage_tag *tags;
	size_t n_tags;
	const struct uuid *api_key_id;
};

#define COSTS_MODELS_MAX    10000
#define COSTS_INTERVALS_MAX 9000
#define COSTS_CELLS_MAX	    200000

/* One row per provider and model with any call in [from_us, to_us), dearest first (then by name). At most
 * COSTS_MODELS_MAX. */
enum err costs_by_model(struct db_conn *c, const struct uuid *user_id, int64_t from_us, int64_t to_us,
	struct arena *arena, struct usage_by_model **ret_rows, size_t *ret_n);
/* Sums of each interval [starts[i], starts[i+1]), n_starts - 1 of them (at most COSTS_INTERVALS_MAX); out has
 * n_starts - 1 elements, zeros included. starts ascend (two equal ones are an empty interval). filter may be
 * NULL. */
enum err costs_series(struct db_conn *c, const struct uuid *user_id, const struct usage_filter *filter,
	const int64_t *starts_us, size_t n_starts, struct usage_sums *out);
/* The same of everything, calls and cost alone: the other sums are 0, and the answer is there sooner. */
enum err costs_series_cost(struct db_conn *c, const struct uuid *user_id, const int64_t *starts_us,
	size_t n_starts, struct usage_sums *out);
/* Sums of the whole interval. filter may be NULL. */
enum err costs_total(struct db_conn *c, const struct uuid *user_id, const struct usage_filter *filter,
	int64_t from_us, int64_t to_us, struct usage_sums *ret);

/* One row per (interval, provider, model) with calls, ordered by interval, provider, model: for anomalies. At
 * most COSTS_CELLS_MAX. */
struct usage_cell {
	size_t interval;
	const char *provider, *model; /* in the arena */
	struct usage_sums sums;
};
enum err costs_series_by_model(struct db_conn *c, const struct uuid *user_id, const int64_t *starts_us,
	size_t n_starts, struct arena *arena, struct usage_cell **ret_cells, size_t *ret_n);

/* What a summary shows: the models of starts[0] .. starts[n_starts - 1] (as costs_by_model()), the sums of
 * each interval (n_starts - 1 of them, zeros included), and the sums of the time from previous_us (at most
 * starts[0]) to starts[0]. The models and the intervals come from different tables: ERR_INTERNAL, and a line
 * in the log, if they do not add up to the same. */
struct usage_summary {
	struct usage_by_model *models; /* in the arena */
	size_t n_models;
	struct usage_sums *intervals; /* in the arena */
	struct usage_sums total, previous;
};
enum err costs_summary(struct db_conn *c, const struct uuid *user_id, const int64_t *starts_us,
	size_t n_starts, int64_t previous_us, struct arena *arena, struct usage_summary *ret);

/* Sums by up to COSTS_GROUPS_MAX dimensions in each interval. The `limit` dearest groups of all intervals
 * together have rows of their own in the intervals where they have calls; what is beyond them is one row with
 * `other` in each interval that has any. Ordered by interval, then dearest first (then by value), the other
 * row last. All rows of an interval are its total exactly. At most COSTS_CELLS_MAX rows. filter may be NULL;
 * n_groups 0 is one row for each interval with calls. */
enum usage_dimension {
	USAGE_BY_PROVIDER,
	USAGE_BY_MODEL,
	USAGE_BY_PROJECT,
	USAGE_BY_CUSTOMER,
	USAGE_BY_KEY,
	USAGE_BY_TAG
};
struct usage_group {
	enum usage_dimension dimension;
	const char *tag_key; /* USAGE_BY_TAG */
};
#define COSTS_GROUPS_MAX 3
struct usage_row {
	size_t interval;
	bool other;
	int64_t groups;			      /* how many the row stands for: 1 unless other */
	const char *values[COSTS_GROUPS_MAX]; /* in the arena; NULL: the calls that have none (no project,
						 session, tag missing) */
	struct usage_sums sums;
};
struct usage_breakdown {
	const struct usage_group *groups;
	size_t n_groups;
	size_t limit; /* 1.. */
	const struct usage_filter *filter;
	bool only_cost; /* calls and cost are enough: the other sums are 0, and the answer is there sooner */
};
enum err costs_breakdown(struct db_conn *c, const struct uuid *user_id, const struct usage_breakdown *b,
	const int64_t *starts_us, size_t n_starts, struct arena *arena, struct usage_row **ret_rows,
	size_t *ret_n);

/* How latency and cost per call are spread: nearest-rank percentiles (values that occurred), by provider or
 * by provider and model, most calls first. Where the interval has more than COSTS_SAMPLE_CALLS calls the
 * events are an even sample: of each of COSTS_SAMPLE_SLICES equal slices of the interval as large a part of
 * its time as COSTS_SAMPLE_CALLS is of the calls, and never more than COSTS_SLICE_CALLS from one. At most
 * COSTS_MODELS_MAX rows. Calls whose events retention has dropped are in calls and not in read. */
#define COSTS_SAMPLE_CALLS  50000
#define COSTS_SAMPLE_SLICES 250
#define COSTS_SLICE_CALLS   400
#define COSTS_PERCENTILES   4 /* 50, 90, 95, 99 */
struct usage_spread {
	const char *provider, *model; /* in the arena; model NULL unless asked for */
	int64_t read, with_latency, with_cost;
	int64_t latency_ms[COSTS_PERCENTILES]; /* with_latency > 0 */
	struct money cost[COSTS_PERCENTILES];  /* with_cost > 0 */
};
struct usage_spreads {
	struct usage_spread *rows; /* in the arena */
	size_t n;
	int64_t calls; /* in the interval, from the sums */
	int64_t read;  /* events that the percentiles stand on */
	bool sampled;
};
enum err costs_percentiles(struct db_conn *c, const struct uuid *user_id, bool by_model, int64_t from_us,
	int64_t to_us, struct arena *arena, struct usage_spreads *ret);

#endif
