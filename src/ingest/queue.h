#ifndef LLMLAB_SRC_INGEST_QUEUE_H
#define LLMLAB_SRC_INGEST_QUEUE_H

#include "llmlab/ingest/ingest.h"

/* The bounded queue of items, one FIFO for each user, served in turn. Not thread-safe: the caller locks. */

#define QUEUE_BUCKETS 4096

struct queue_user;
struct queue {
	size_t max_items, max_bytes;
	size_t items, bytes;			 /* queued now */
	size_t reserved_items, reserved_bytes;	 /* room for what is being made */
	struct ingest_reservation *reservations; /* not owned; as many as there are threads that make items */
	int64_t expires_us;			 /* no queued item's deadline is before */
	size_t standing_items;	 /* what it may hold while it stands; 0: no other bound than max_items */
	bool standing;		 /* more comes than is taken */
	int64_t left_over_us;	 /* since when every taking has left something; 0: the last did not */
	size_t users;		 /* with anything queued */
	struct queue_user *next; /* whose turn it is; a ring of users; NULL: empty */
	struct queue_user *buckets[QUEUE_BUCKETS]; /* users by id */
};

void queue_init(struct queue *q, size_t max_items, size_t max_bytes);

/* Queues all items of the group (at least one, all of one user) or none. ERR_OVERLOADED: no room, or more
 * than the user's share: a user may hold at most twice of what is left free, so one alone can fill two thirds
 * of the queue, k flooding users 2/(2k+1) each, and a newcomer always finds room. ERR_NO_MEMORY. */
enum err queue_push(struct queue *q, struct ingest_group *g);

/* After n items were taken. A queue that was not emptied for a fifth of a second stands: what waits longer in
 * it is no more stored for it (Nichols and Jacobson, Controlling Queue Delay, 2012). Until a taking finds no
 * more than half of standing_items, a user who has something in it gets no more than a share of
 * standing_items, as of queue_push(). */
void queue_taken(struct queue *q, size_t n, int64_t now_us);

/* Sets room aside under the same rule. ERR_OVERLOADED. */
enum err queue_reserve(struct queue *q, const struct uuid *user_id, size_t items, size_t bytes,
	struct ingest_reservation *r);
void queue_unreserve(struct queue *q, struct ingest_reservation *r);

/* Takes up to max items, the same number from each user as far as they have them, in order within each user.
 * Returns how many. */
size_t queue_take(struct queue *q, struct ingest_item **out, size_t max);

/* Takes up to max items whose group's deadline is at or before now_us. */
size_t queue_take_expired(struct queue *q, int64_t now_us, struct ingest_item **out, size_t max);

#endif
