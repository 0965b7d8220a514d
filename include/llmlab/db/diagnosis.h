#ifndef LLMLAB_DB_DIAGNOSIS_H
#define LLMLAB_DB_DIAGNOSIS_H

#include "llmlab/db/conn.h"

/* What an operator wants to know of a database before trusting it with money. */
struct db_diagnosis {
	char version[64];            /* "PostgreSQL 15.18" */
	int64_t version_number;      /* 150018 */
	bool fsync, full_page_writes, read_only, tls;
	char synchronous_commit[16]; /* of our sessions */
	char encoding[16];
	int64_t clock_ahead_us;      /* its clock minus ours, half a round trip exact */
	int64_t size_bytes;
	int64_t connections, max_connections;
	int64_t schema_version;      /* 0: no schema yet */
	int64_t commit_us;           /* one commit that waits for the disk; -1: not allowed to try */
};

/* Looks, and commits one empty message to see how long the disk takes. The errors of db/conn.h. */
enum err db_diagnose(struct db_conn *c, struct db_diagnosis *ret);

/* How many sums of the time [from, to) differ from the events (usage_drift() of the schema), 0 when all is well; reads
 * every event of it. Both must be beginnings of a UTC day. */
enum err db_count_drift(struct db_conn *c, int64_t from_us, int64_t to_us, int64_t *ret);

#endif
