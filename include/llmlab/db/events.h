#ifndef LLMLAB_DB_EVENTS_H
#define LLMLAB_DB_EVENTS_H

#include "llmlab/base/buf.h"
#include "llmlab/core/event.h"
#include "llmlab/db/conn.h"

/* Events: encoding for the writer, reading for the API. */

/* "COPY events (...) FROM STDIN (FORMAT binary)". */
extern const char EVENTS_COPY_SQL[];
/* Appends one row of PGCOPY binary for EVENTS_COPY_SQL to out. A part count of 0 is stored as NULL. Errors
 * are out->failed. */
void events_copy_row(struct buf *out, const struct event *e);
/* Appends the 19-byte header / 2-byte trailer of the format. */
void events_copy_header(struct buf *out);
void events_copy_trailer(struct buf *out);

/* The binary form of numeric (src/backend/utils/adt/numeric.c, numeric_recv): exact, with no more decimals
 * than needed. Returns the length. |m| up to 10^18 USD; beyond is a CHECK. */
#define EVENTS_NUMERIC_MAX 32
size_t events_numeric(struct money m, uint8_t out[EVENTS_NUMERIC_MAX]);

/* Makes the partition of the month of at_us (own transaction). */
enum err events_ensure_partition(struct db_conn *c, int64_t at_us);

struct events_filter {
	int64_t from_us, to_us; /* [from, to) */
	const char *provider, *model, *project, *customer, *status;
	const char *tag_key, *tag_value;
	bool has_min_cost;
	struct money min_cost;
	/* keyset: only events before this one; zero id: from the newest */
	int64_t before_us;
	struct uuid before_id;
	int limit; /* 1..501 */
};
/* Newest first by (occurred_at, id). */
enum err events_list(struct db_conn *c, const struct uuid *user_id, const struct events_filter *f,
	struct arena *arena, struct event **ret, size_t *ret_n);
/* ERR_NOT_FOUND, also for another user's. usage.has_counts of what is read is true if there is any token, or
 * nothing else was billed. */
enum err events_find(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	struct arena *arena, struct event *ret);

/* The whole key of an event. */
struct event_ref {
	struct uuid user_id;
	int64_t occurred_at_us;
	struct uuid id;
};
/* Loads many: ret_found[i] tells whether refs[i] is stored; ret[i] is filled then, its texts in arena. */
enum err events_load(struct db_conn *c, const struct event_ref *refs, size_t n, struct arena *arena,
	struct event *ret, bool *ret_found);
/* How many of them are stored. ERR_UNAVAILABLE: none, but it cannot be known whether any was, because there is no
 * partition for some: retention may have dropped it with them. */
enum err events_count_stored(
	struct db_conn *c, const struct event_ref *refs, size_t n, struct arena *scratch, int64_t *ret);

#endif
