/* The bounded, fair queue between requests and the writer. Responsible for admission and order only: locking,
 * waking and answering are ingest.c's. */

#include "queue.h"

#include <stdlib.h>
#include <string.h>
#include "item.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"

#define STANDING_US (200 * US_PER_MS)

struct queue_user {
	struct uuid id;
	struct queue_user *bucket_next;
	struct queue_user *ring_next, *ring_previous;
	struct ingest_item *first, *last; /* NULL only while being made */
	size_t items, bytes;
};

void queue_init(struct queue *q, size_t max_items, size_t max_bytes)
{
	memset(q, 0, sizeof(*q));
	q->max_items = max_items;
	q->max_bytes = max_bytes;
	q->expires_us = INT64_MAX;
}

/* The last bytes of our ids are random, so no caller can aim at a bucket. */
static struct queue_user **bucket_of(struct queue *q, const struct uuid *id)
{
	return &q->buckets[(id->bytes[14] << 8 | id->bytes[15]) % QUEUE_BUCKETS];
}

static struct queue_user *find_user(struct queue *q, const struct uuid *id)
{
	struct queue_user *u = *bucket_of(q, id);
	while (u != NULL && !uuid_equal(&u->id, id))
		u = u->bucket_next;
	return u;
}

/* A new user's turn comes last. */
static struct queue_user *add_user(struct queue *q, const struct uuid *id)
{
	struct queue_user *u = calloc(1, sizeof(*u));
	if (u == NULL)
		return NULL;
	u->id = *id;
	struct queue_user **bucket = bucket_of(q, id);
	u->bucket_next = *bucket;
	*bucket = u;
	if (q->next == NULL) {
		u->ring_next = u->ring_previous = u;
		q->next = u;
	} else {
		u->ring_next = q->next;
		u->ring_previous = q->next->ring_previous;
		u->ring_previous->ring_next = u;
		q->next->ring_previous = u;
	}
	q->users++;
	return u;
}

static void remove_user(struct queue *q, struct queue_user *u)
{
	struct queue_user **link = bucket_of(q, &u->id);
	while (*link != u)
		link = &(*link)->bucket_next;
	*link = u->bucket_next;
	if (q->next == u)
		q->next = u->ring_next == u ? NULL : u->ring_next;
	u->ring_previous->ring_next = u->ring_next;
	u->ring_next->ring_previous = u->ring_previous;
	q->users--;
	free(u);
}

static size_t group_bytes(const struct ingest_group *g)
{
	size_t bytes = 0;
	for (size_t i = 0; i < g->n_items; i++)
		bytes += item_bytes(g->items[i]);
	return bytes;
}

static bool has_room(size_t max, size_t used, size_t users_own, size_t more)
{
	return used <= max && more <= max - used && users_own + more <= 2 * (max - used);
}

/* What a user has in the queue, and room for what is being made. */
struct share {
	size_t items, bytes;
};

static struct share share_of(const struct queue *q, const struct queue_user *u, const struct uuid *id)
{
	struct share s = {.items = u == NULL ? 0 : u->items, .bytes = u == NULL ? 0 : u->bytes};
	for (const struct ingest_reservation *r = q->reservations; r != NULL; r = r->next) {
		if (!uuid_equal(&r->user_id, id))
			continue;
		s.items += r->items;
		s.bytes += r->bytes;
	}
	return s;
}

static bool admits(
	const struct queue *q, const struct queue_user *u, const struct uuid *id, size_t items, size_t bytes)
{
	const struct share own = share_of(q, u, id);
	return has_room(q->max_items, q->items + q->reserved_items, own.items, items) &&
	       has_room(q->max_bytes, q->bytes + q->reserved_bytes, own.bytes, bytes);
}

/* Whoever has nothing in the queue finds room in a standing one, too, and for whatever size. */
static bool is_held_short(
	const struct queue *q, const struct queue_user *u, const struct uuid *id, size_t items)
{
	if (!q->standing)
		return false;
	const size_t own = share_of(q, u, id).items;
	return own > 0 && !has_room(q->standing_items, q->items + q->reserved_items, own, items);
}

enum err queue_reserve(
	struct queue *q, const struct uuid *user_id, size_t items, size_t bytes, struct ingest_reservation *r)
{
	const struct queue_user *const u = find_user(q, user_id);
	if (is_held_short(q, u, user_id, items) || !admits(q, u, user_id, items, bytes))
		return ERR_OVERLOADED;
	*r = (struct ingest_reservation){
		.next = q->reservations, .user_id = *user_id, .items = items, .bytes = bytes};
	q->reservations = r;
	q->reserved_items += items;
	q->reserved_bytes += bytes;
	return ERR_OK;
}

void queue_unreserve(struct queue *q, struct ingest_reservation *r)
{
	struct ingest_reservation **link = &q->reservations;
	while (*link != r)
		link = &(*link)->next;
	*link = r->next;
	q->reserved_items -= r->items;
	q->reserved_bytes -= r->bytes;
}

static void append(struct queue *q, struct queue_user *u, struct ingest_item *item)
{
	item->next = NULL;
	if (item->group->deadline_us < q->expires_us)
		q->expires_us = item->group->deadline_us;
	if (u->last == NULL)
		u->first = item;
	else
		u->last->next = item;
	u->last = item;
	const size_t bytes = item_bytes(item);
	u->items++;
	u->bytes += bytes;
	q->items++;
	q->bytes += bytes;
}

enum err queue_push(struct queue *q, struct ingest_group *g)
{
	CHECK(g->n_items > 0);
	const struct uuid *id = &g->items[0]->event.user_id;
	struct queue_user *u = find_user(q, id);
	/* what had room reserved was judged then, before it was made */
	if (g->reservation == NULL && is_held_short(q, u, id, g->n_items))
		return ERR_OVERLOADED;
	if (!admits(q, u, id, g->n_items, group_bytes(g)))
		return ERR_OVERLOADED;
	if (u == NULL)
		u = add_user(q, id);
	if (u == NULL)
		return ERR_NO_MEMORY;
	g->pending = g->n_items;
	for (size_t i = 0; i < g->n_items; i++) {
		struct ingest_item *item = g->items[i];
		CHECK(uuid_equal(&item->event.user_id, id));
		item->group = g;
		item->index = i;
		append(q, u, item);
	}
	return ERR_OK;
}

/* Unlinks the item that *link points to; previous is the one before it or NULL. */
static struct ingest_item *unlink_item(
	struct queue *q, struct queue_user *u, struct ingest_item **link, struct ingest_item *previous)
{
	struct ingest_item *item = *link;
	*link = item->next;
	if (u->last == item)
		u->last = previous;
	item->next = NULL;
	const size_t bytes = item_bytes(item);
	u->items--;
	u->bytes -= bytes;
	q->items--;
	q->bytes -= bytes;
	return item;
}

static size_t take_from_user(struct queue *q, struct queue_user *u, struct ingest_item **out, size_t max)
{
	size_t n = 0;
	while (n < max && u->first != NULL)
		out[n++] = unlink_item(q, u, &u->first, NULL);
	if (u->first == NULL)
		remove_user(q, u);
	return n;
}

/* One turn of every user. */
static size_t take_round(struct queue *q, struct ingest_item **out, size_t max)
{
	const size_t share = max / q->users > 0 ? max / q->users : 1;
	size_t n = 0;
	for (size_t turns = q->users; turns > 0 && n < max; turns--) {
		struct queue_user *u = q->next;
		q->next = u->ring_next;
		n += take_from_user(q, u, out + n, share < max - n ? share : max - n);
	}
	return n;
}

size_t queue_take(struct queue *q, struct ingest_item **out, size_t max)
{
	size_t n = 0;
	while (n < max && q->next != NULL)
		n += take_round(q, out + n, max - n);
	return n;
}

void queue_taken(struct queue *q, size_t n, int64_t now_us)
{
	if (q->standing && n <= q->standing_items / 2) {
		q->standing = false;
		q->left_over_us = 0;
	}
	if (q->standing_items == 0 || q->items == 0)
		q->left_over_us = 0;
	else if (q->left_over_us == 0)
		q->left_over_us = now_us;
	else if (now_us - q->left_over_us >= STANDING_US)
		q->standing = true;
}

static size_t take_expired_from_user(
	struct queue *q, struct queue_user *u, int64_t now_us, struct ingest_item **out, size_t max)
{
	size_t n = 0;
	struct ingest_item *previous = NULL;
	struct ingest_item **link = &u->first;
	while (*link != NULL && n < max) {
		if ((*link)->group->deadline_us <= now_us) {
			out[n++] = unlink_item(q, u, link, previous);
			continue;
		}
		previous = *link;
		if (previous->group->deadline_us < q->expires_us)
			q->expires_us = previous->group->deadline_us;
		link = &previous->next;
	}
	if (u->first == NULL)
		remove_user(q, u);
	return n;
}

/* While nothing can have expired nothing is looked at, however much there is. */
size_t queue_take_expired(struct queue *q, int64_t now_us, struct ingest_item **out, size_t max)
{
	if (now_us < q->expires_us)
		return 0;
	size_t n = 0;
	q->expires_us = INT64_MAX;
	for (size_t users = q->users; users > 0 && n < max; users--) {
		struct queue_user *u = q->next;
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the ring has q->users */
		q->next = u->ring_next;
		n += take_expired_from_user(q, u, now_us, out + n, max - n);
	}
	if (n == max)
		q->expires_us = now_us; /* there may be more */
	return n;
}
