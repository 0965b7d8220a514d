#ifndef LLMLAB_DB_COSTS_H
#define LLMLAB_DB_COSTS_H

#include "llmlab/db/conn.h"

/* Sums over the usage rollup. Instants that are not on a quarter of an hour are answered exactly too: whole buckets from
 * usage_15m, the ragged ends from events, both in one statement and so of one snapshot.
 *
 * Besides the errors of db/conn.h: ERR_NO_MEMORY, and ERR_RANGE when the interval ends before it begins, when there are
 * more rows than the bound named with each call, or when a sum does not fit struct money (1.7 x 10^20 USD). */

struct usage_sums {
	int64_t calls, errors, unpriced_calls;
	int64_t input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens;
	struct money cost; /* of the calls that have a price */
};

struct usage_by_model {
	const char *provider, *model; /* in the arena */
	struct usage_sums sums;
};

/* Narrowing; NULL: any. customer and tags are answered from events, the others from the rollup. project "" is what has no
 * project. A tag needs key and value. */
struct usage_filter {
	const char *provider, *model, *project, *customer;
	const char *tag_key, *tag_value;
};

#define COSTS_MODELS_MAX    10000
#define COSTS_INTERVALS_MAX 9000
#define COSTS_CELLS_MAX     200000

/* One row per provider and model with any call in [from_us, to_us), dearest first (then by name). At most COSTS_MODELS_MAX. */
enum err costs_by_model(struct db_conn *c, const struct uuid *user_id, int64_t from_us, int64_t to_us, struct arena *arena,
	struct usage_by_model **ret_rows, size_t *ret_n);
/* The same of failed calls only (status error), those that cost something: read from events, so ask only where
 * usage_sums.errors says that there are any. */
enum err costs_of_errors_by_model(struct db_conn *c, const struct uuid *user_id, int64_t from_us, int64_t to_us,
	struct arena *arena, struct usage_by_model **ret_rows, size_t *ret_n);
/* Sums of each interval [starts[i], starts[i+1]), n_starts - 1 of them (at most COSTS_INTERVALS_MAX); out has n_starts - 1
 * elements, zeros included. starts ascend (two equal ones are an empty interval). filter may be NULL. */
enum err costs_series(struct db_conn *c, const struct uuid *user_id, const struct usage_filter *filter, const int64_t *starts_us,
	size_t n_starts, struct usage_sums *out);
/* Sums of the whole interval. filter may be NULL. */
enum err costs_total(struct db_conn *c, const struct uuid *user_id, const struct usage_filter *filter, int64_t from_us,
	int64_t to_us, struct usage_sums *ret);
/* One row per (interval, provider, model) with calls, ordered by interval, provider, model: for anomalies. At most
 * COSTS_CELLS_MAX. */
struct usage_cell {
	size_t interval;
	const char *provider, *model; /* in the arena */
	struct usage_sums sums;
};
enum err costs_series_by_model(struct db_conn *c, const struct uuid *user_id, const int64_t *starts_us, size_t n_starts,
	struct arena *arena, struct usage_cell **ret_cells, size_t *ret_n);

#endif
