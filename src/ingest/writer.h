#ifndef LLMLAB_SRC_INGEST_WRITER_H
#define LLMLAB_SRC_INGEST_WRITER_H

#include <stdatomic.h>
#include "keys.h"
#include "llmlab/db/conn.h"
#include "llmlab/db/usage_write.h"
#include "llmlab/ingest/ingest.h"

/* Months of 1970 to 2269 whose partitions are known to exist. */
#define WRITER_MONTHS (300 * 12)

/* Stores batches of items and decides their outcomes. One thread uses it. */
struct writer {
	struct ingest_settings settings;
	struct db_conn *db; /* owned */
	/* Gives up whatever is undecided at this monotonic time; INT64_MAX while running. Written by another
	 * thread. */
	_Atomic int64_t stop_by_us;

	int64_t lock;		   /* random; every transaction of this writer holds this advisory lock */
	char begin_copy_sql[1536]; /* begins the transaction, takes the lock, starts the copy */
	bool leftover;		   /* a connection was lost: its backend may still be at work */
	bool undecided;		   /* the last attempt's outcome could not be found out */
	bool months_asked_again;   /* in this batch, because a partition seemed to be gone */
	bool months[WRITER_MONTHS];
	char sqlstate[6]; /* of the last failed attempt */

	/* All with room for max_batch_items. */
	struct work *works;
	struct ingest_item **rows; /* of the attempt that runs */
	size_t n_rows;
	struct usage_delta *deltas;
	struct ingest_group **finished; /* to be told */
	size_t n_finished;
	struct usage_known_sets
		*known_sets; /* owned; NULL behind a pooler, where each transaction forgets them */
	struct buf copy;
	struct arena arena; /* of one attempt */
};

/* ERR_NO_MEMORY. */
enum err writer_init(struct writer *w, const struct ingest_settings *s, const struct db_settings *db);
void writer_release(struct writer *w);

/* Decides all n items (at most max_batch_items) and tells the groups that are complete. */
void writer_store(struct writer *w, struct ingest_item *const *items, size_t n);

/* Connects, and waits for what is left of a lost connection, once. Errors of db/conn.h. */
enum err writer_connect(struct writer *w);

/* Gives up n items that are not begun: INGEST_UNAVAILABLE. Groups are told. From any thread. */
void writer_give_up(struct ingest_item *const *items, size_t n);

#endif
