#ifndef LLMLAB_DB_EVENT_SAMPLE_H
#define LLMLAB_DB_EVENT_SAMPLE_H

#include "llmlab/core/rules.h"
#include "llmlab/db/conn.h"

/* What recommendations need beyond sums, always with a bound, so that it takes the same time whatever is
 * stored. Errors: those of db/conn.h, and ERR_NO_MEMORY. */

#define EVENT_SAMPLE_MAX 2000 /* calls */

/* Calls of [from_us, to_us), newest first: all of them if there are at most EVENT_SAMPLE_MAX (`calls`, which
 * the caller knows from sums), else the newest of each of 40 slices of equal length. `hour` is left 0. */
enum err event_sample(struct db_conn *c, const struct uuid *user_id, int64_t from_us, int64_t to_us,
	int64_t calls, struct arena *arena, struct sampled_call **ret, size_t *ret_n);

#define WAITING_SETS_MAX   2000 /* rows of sums by day and set that are looked at */
#define WAITING_MODELS_MAX 20	/* models of each of them */

/* Sums of the calls that say that they can wait: a project or tag that holds one of the words batch, offline,
 * nightly, backfill, bulk, etl, eval, evals, evaluation, async, cron, scheduled as a word, or a tag named so
 * that is true. Only of whole UTC days in [from_us, to_us), and only of the newest WAITING_SETS_MAX rows of
 * their sums, and WAITING_MODELS_MAX models of each: there may be more such calls, never fewer. One row per
 * provider and model. */
enum err waiting_usage_find(struct db_conn *c, const struct uuid *user_id, int64_t from_us, int64_t to_us,
	struct arena *arena, struct waiting_usage **ret, size_t *ret_n);

#endif
