#ifndef LLMLAB_DB_WEBHOOK_OUTBOX_H
#define LLMLAB_DB_WEBHOOK_OUTBOX_H

#include "llmlab/db/conn.h"

/* The sender's side of the outbox (db/webhooks.h): claiming what is due, and noting how an attempt ended. Any number of senders
 * on any number of servers. Besides the errors named here, every call has those of db/conn.h, and ERR_NO_MEMORY. */

/* Deliveries of one user that are claimed at once, over all servers. */
#define WEBHOOK_CLAIMS_PER_USER 2
/* A claim that is not ended by then is due again: longer than any attempt takes. */
#define WEBHOOK_LEASE_US (60 * INT64_C(1000000))

/* A claimed delivery with what its webhook says now. Texts are in the arena. */
struct webhook_claim {
	struct uuid user_id, id, webhook_id;
	const char *event_type, *payload;
	int64_t created_at_us;
	int64_t attempt; /* number of this attempt, from 1 */
	const char *url, *format, *secret; /* secret: sealed */
	bool active;
};

/* The keys by which a server can read secrets (auth/seal.h). */
struct webhook_keys {
	const char *current, *previous; /* ids; previous: NULL if there is none */
};
/* Deliveries whose secret is sealed with another key are left to other servers for so long; then somebody has to tell. */
#define WEBHOOK_PASSED_BY_US (60 * INT64_C(1000000))

/* Claims at most max deliveries that are due, at most WEBHOOK_CLAIMS_PER_USER of each user with those that are claimed already,
 * those first that have waited longest. A transaction of its own; after ERR_DB_LOST they are due again when the lease ends. */
enum err webhook_outbox_claim(struct db_conn *c, int max, const struct webhook_keys *keys, struct arena *arena,
	struct webhook_claim **ret, size_t *ret_n);

enum webhook_end {
	WEBHOOK_END_DELIVERED,
	WEBHOOK_END_FAILED, /* for good */
	WEBHOOK_END_GONE,   /* for good, and the webhook becomes inactive */
	WEBHOOK_END_RETRY,  /* again after pause_us, or failed if that is later than give_up_us after it was made */
	WEBHOOK_END_RELEASE /* the attempt was broken off by the server: due again at once, not counted */
};
struct webhook_result {
	enum webhook_end end;
	int64_t response_status; /* 0: no answer */
	int64_t duration_ms;
	const char *error;       /* NULL: none */
	int64_t pause_us, give_up_us;
};
/* Notes how a claimed attempt ended, and drops the webhook's oldest finished deliveries beyond WEBHOOK_LOG_MAX. *ret_failed:
 * whether it is now failed for good. ERR_NOT_FOUND: it is deleted, or another sender took it over after the lease; nothing is
 * noted. May be repeated after ERR_DB_LOST. */
enum err webhook_outbox_end(struct db_conn *c, const struct webhook_claim *claim, const struct webhook_result *result,
	bool *ret_failed);

/* Drops finished deliveries older than WEBHOOK_LOG_DAYS, at most 1,000 in one call; *ret_n: how many. */
enum err webhook_outbox_purge(struct db_conn *c, int64_t *ret_n);
/* Deliveries that are pending, of everybody: for the metric. Counts at most 100,000. */
enum err webhook_outbox_count(struct db_conn *c, int64_t *ret_n);

/* Sealed secrets whose key is not key_id, at most max, in the order of user and id after (user_id, id) of *after (all zero: from
 * the beginning): for sealing them anew. */
struct webhook_sealed {
	struct uuid user_id, id;
	const char *secret; /* in the arena */
};
enum err webhook_secrets_other_key(struct db_conn *c, const char *key_id, const struct webhook_sealed *after, int max,
	struct arena *arena, struct webhook_sealed **ret, size_t *ret_n);
/* Replaces the sealed secret if it still is `old`; ERR_OK also if not. */
enum err webhook_secret_replace(struct db_conn *c, const struct webhook_sealed *old, const char *sealed);

#endif
