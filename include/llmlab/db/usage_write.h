#ifndef LLMLAB_DB_USAGE_WRITE_H
#define LLMLAB_DB_USAGE_WRITE_H

#include "llmlab/core/event.h"
#include "llmlab/db/conn.h"
#include "llmlab/db/history.h"

/* The one place that writes the sums of events: usage_model_15m, usage_model_day, usage_hour,
 * usage_set_model_15m, usage_set_model_day, usage_set_day, usage_day, usage_model_week and usage_set_week,
 * and the sets that they name (usage_sets). Whoever stores events or changes what they cost runs the
 * statements made here in the same transaction.
 *
 * All statements of all callers lock in one order: usage_sets, then the tables as listed above, each by its
 * primary key (texts by byte). So servers that write the same rows wait for each other and never deadlock. */

/* What one event adds to every sum it is part of. */
struct usage_delta {
	const struct event *event; /* whose user, time, provider, model and set; outlives the delta */
	int64_t bucket_s;	   /* its quarter of an hour: seconds since 1970, a multiple of 900 */
	int64_t calls, errors, unpriced_calls;
	int64_t input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens,
		reasoning_tokens;
	struct money cost, error_cost, standard_cost; /* USD; the last two are parts of cost */
};

/* A new event. */
struct usage_delta usage_delta_insert(const struct event *e);

/* An event (as it was) that from now on has this cost (none: unpriced) and service tier. ERR_RANGE: a
 * difference does not fit. */
enum err usage_delta_reprice(const struct event *e, bool has_cost, struct money cost,
	const char *service_tier, struct usage_delta *ret);

/* Sets that are known to be committed in the database of one connection, under a mark (db/history.h):
 * bounded, and forgets whenever it likes. */
struct usage_known_sets;
/* NULL without memory. */
struct usage_known_sets *usage_known_sets_new(void);
void usage_known_sets_free(struct usage_known_sets *k);
/* All of them. */
void usage_forget_sets(struct usage_known_sets *k);

/* Statements for db_pipeline(), in the order in which they must run; everything in the arena they were made
 * in. */
#define USAGE_STATEMENTS_MAX 18
struct usage_statements {
	const struct db_stmt *stmts[USAGE_STATEMENTS_MAX];
	struct db_params params[USAGE_STATEMENTS_MAX];
	size_t rows[USAGE_STATEMENTS_MAX]; /* that usage_change() wants to see; else 0 */
	size_t n;
	const struct event **new_sets; /* one event of each set that is inserted */
	size_t n_new_sets;
	struct history_mark mark; /* that is written with them */
};

/* For new events: n deltas of usage_delta_insert(), reordered and merged in place. Sets in known (NULL: none) are taken to
 * be there, unless the connection (db_conn_number()) is another than when they were noted. ERR_NO_MEMORY. */
enum err usage_insert(struct usage_delta *deltas, size_t n, struct usage_known_sets *known,
	uint64_t conn_number, struct arena *arena, struct usage_statements *ret);
/* After COMMIT has succeeded: what usage_insert() made is there. */
void usage_inserted(struct usage_known_sets *known, const struct usage_statements *s);

/* For changed events: n deltas of usage_delta_reprice(), reordered and merged in place. Every row must be
 * there already. ERR_RANGE, ERR_NO_MEMORY. */
enum err usage_change(
	struct usage_delta *deltas, size_t n, struct arena *arena, struct usage_statements *ret);
/* Whether each of its statements found all its rows; results as db_pipeline() left them. */
bool usage_changed(const struct usage_statements *s, PGresult *const *results);

#endif
