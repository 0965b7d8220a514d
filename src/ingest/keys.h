#ifndef LLMLAB_SRC_INGEST_KEYS_H
#define LLMLAB_SRC_INGEST_KEYS_H

#include "llmlab/db/conn.h"
#include "llmlab/ingest/ingest.h"

/* One event to be stored. */
struct work {
	struct ingest_item *item;
	bool taken; /* its key was there before, or came earlier in the same batch */
};

/* What is stored under a key. */
struct stored_key {
	bool found;
	uint8_t fingerprint[32];
	struct uuid event_id;
	int64_t occurred_at_us;
};

/* Begins the transaction, takes the writer's lock (see writer.c) and inserts the keys of the works that have
 * one, in one round trip; waits for other servers' transactions with the same keys. Of equal keys the first
 * work gets it. works[i].taken tells who did not. */
enum err keys_claim(
	struct db_conn *c, int64_t writer_lock, struct work *works, size_t n, struct arena *arena);

/* Reads the rows of n keyed works into ret. */
enum err keys_look_up(
	struct db_conn *c, const struct work *works, size_t n, struct arena *arena, struct stored_key *ret);

#endif
