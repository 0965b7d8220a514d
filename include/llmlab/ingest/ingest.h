#ifndef LLMLAB_INGEST_INGEST_H
#define LLMLAB_INGEST_INGEST_H

#include "llmlab/base/arena.h"
#include "llmlab/base/buf.h"
#include "llmlab/core/event.h"
#include "llmlab/db/conn.h"
#include "llmlab/ingest/spenders.h"

/* The way of an event to disk: a bounded queue and one writer thread that commits everything queued in one
 * transaction (events, idempotency keys, rollup). While one commit is on its way the next batch collects, so
 * there is no timer. Only after COMMIT is an item done with INGEST_STORED: an acknowledged event is durable
 * and counted exactly once. */

enum ingest_outcome {
	INGEST_STORED,	  /* committed now */
	INGEST_DUPLICATE, /* same key, same fingerprint: stored earlier (or earlier in this batch); `event` is
			     what is stored. When retention has removed that, only id and occurred_at are; the
			     rest is the repeat's own */
	INGEST_MISMATCH,  /* same key, other fingerprint: nothing stored */
	INGEST_REFUSED, /* the database refuses this row (a bug of our validation, logged): nothing stored */
	INGEST_UNAVAILABLE, /* database away or deadline passed while it was certain that nothing is stored,
			       or the outcome could not be found out in time: same key may be sent again */
	INGEST_USER_GONE    /* the account was deleted */
};

/* One event on its way. Allocated by ingest_item_new(), owned by the caller until ingest_submit() succeeds,
 * by the queue until group->done is called, then by the caller again, who frees it. */
struct ingest_group;
struct ingest_item {
	struct ingest_item *next; /* queue link */
	struct ingest_group *group;
	struct arena arena; /* owns all texts of the event */
	struct event event;
	struct buf copy_row; /* encoded for COPY by ingest_item_seal(), on the submitter's thread */
	enum ingest_outcome outcome;
	size_t index; /* position in its group */
};

/* Items submitted together by one request; all of one user, at least one. done() is called exactly once, from
 * a thread of the ingest, when the last item has its outcome; it must be quick and must not block. */
struct ingest_group {
	struct ingest_reservation *reservation; /* NULL: none; ingest_submit() ends it, whatever it answers */
	void (*done)(struct ingest_group *g);
	void *owner;
	struct ingest_item **items;
	size_t n_items;
	_Atomic size_t pending; /* items without an outcome */
	/* Monotonic: items that are not begun by then, and those whose outcome is not known, become INGEST_UNAVAILABLE. */
	int64_t deadline_us;
};

/* Room in the queue for items that are still to be made, so that nobody makes what will not be taken. Memory of who
 * reserves; not touched until it is ended. */
struct ingest_reservation {
	struct ingest_reservation *next; /* the queue's, as all of it */
	struct uuid user_id;
	size_t items, bytes;
};
/* About what an item takes beside its texts (which count twice: in the event and in its row). */
#define INGEST_ITEM_BYTES 2048

struct ingest_settings {
	size_t max_queued_items; /* e.g. 20,000 */
	size_t max_queued_bytes; /* e.g. 64 MiB, arena + copy_row; the batch being committed is not counted */
	size_t max_batch_items;	 /* e.g. 5,000 in one commit */
	int64_t statement_us;	 /* deadline of a database call */
	struct spenders *spenders; /* is told whose events were stored; not owned, NULL: nobody */
	int64_t outcome_us;	 /* most that an unknown outcome is pursued, within the groups' deadlines: e.g. 10 s */
};

struct ingest;
/* Starts the writer thread. ERR_NO_MEMORY. */
enum err ingest_start(const struct ingest_settings *s, const struct db_settings *db, struct ingest **ret);
/* Finishes what is queued (bounded by deadline_us, monotonic), then stops; ingest_free() follows. Everything left is done
 * as INGEST_UNAVAILABLE. */
void ingest_stop(struct ingest *in, int64_t deadline_us);
/* After ingest_stop(), when nobody can call ingest_submit() any more (until then it answers ERR_DRAINING). NULL is nothing. */
void ingest_free(struct ingest *in);

/* NULL without memory. The arena is ready with a cap of 64 KiB. */
struct ingest_item *ingest_item_new(void);
void ingest_item_free(struct ingest_item *item);
/* Call when item->event is complete: names its set, encodes the COPY row. ERR_NO_MEMORY. */
enum err ingest_item_seal(struct ingest_item *item);

/* Queues all items of the group or none. ERR_OVERLOADED: the queue is full; ERR_TOO_LARGE: it could never hold so many; ERR_DRAINING: stopping;
 * ERR_NO_MEMORY. Thread-safe, never blocks on the database. Fair between users: a batch takes equally from
 * each, and a user may hold at most twice of what is left free (alone two thirds of the queue, k flooding
 * users 2/(2k+1) each), so that others always find room. */
enum err ingest_submit(struct ingest *in, struct ingest_group *g);

/* Before n items of the user with about so many bytes are made. Errors as of ingest_submit(). */
enum err ingest_reserve(struct ingest *in, const struct uuid *user_id, size_t n_items, size_t bytes,
	struct ingest_reservation *ret);
/* Ends it without submitting. */
void ingest_unreserve(struct ingest *in, struct ingest_reservation *r);

/* SHA-256 over the canonical encoding of the validated fields of an event that the caller sent: provider,
 * model, usage, reported cost, reported tier, geo, residency, project, customer, tags, metadata, status,
 * response id, latency. Fields assigned by the server (id, received_at, cost, tier charged, catalogue version
 * ...) are left out; occurred_at only if the caller gave it (with_time). */
void ingest_fingerprint(const struct event *e, bool with_time, uint8_t out[32]);

/* The id of the event's set (usage_sets): the same project, customer, API key and tags give the same id, on every
 * server and in every version. The first 16 bytes of a SHA-256; all zero for none of the four. */
struct uuid ingest_set_id(const struct event *e);

/* Appends what was stored since the start by provider (events, cost, without a price), as Prometheus text. */
void ingest_metrics_write(struct buf *out);

/* How long until the queue is likely to have room, seconds 1..30 with jitter: for Retry-After. */
int ingest_retry_after(const struct ingest *in);

#endif
