#ifndef LLMLAB_SRC_INGEST_ROLLUP_H
#define LLMLAB_SRC_INGEST_ROLLUP_H

#include "llmlab/core/event.h"
#include "llmlab/db/conn.h"

/* An event and the quarter of an hour it belongs to. */
struct rollup_entry {
	const struct event *event;
	int64_t bucket_s; /* seconds since 1970, a multiple of 900 */
};

/* The sums of one row of usage_15m. */
struct rollup_row {
	const struct event *event; /* any of them: user, provider, model, project */
	int64_t bucket_s;
	int64_t calls, errors, unpriced_calls;
	int64_t input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens;
	struct money cost;
};

/* Adds the arrays' rows to usage_15m; parameters by rollup_params(). */
extern const struct db_stmt ROLLUP_STMT;

struct rollup_entry rollup_entry(const struct event *e);

/* Sums n entries (sorted in place) into rows, in the order of the primary key, which every server keeps, so
 * that they do not deadlock. rows has room for n. Returns how many. */
size_t rollup_sum(struct rollup_entry *entries, size_t n, struct rollup_row *rows);

/* The statement's parameters, in arena. ERR_NO_MEMORY. */
enum err rollup_params(struct db_params *p, const struct rollup_row *rows, size_t n, struct arena *arena);

#endif
