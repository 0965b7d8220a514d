/* The memo of price_find(): a direct-mapped table under a handful of locks. It holds pointers into one
 * catalogue and lives and dies with it; it never decides anything. */
#include "llmlab/core/memo.h"
#include "llmlab/base/check.h"
#include "llmlab/core/hash.h"
#include <pthread.h>
#include <string.h>

#define MEMO_SLOTS 4096 /* a power of two */
#define MEMO_LOCKS 64	/* a power of two */

struct memo_slot {
	uint64_t hash;
	size_t length; /* of the key; 0: free */
	struct price_match match;
	char key[PRICE_MEMO_KEY_MAX];
};

struct price_memo {
	pthread_mutex_t locks[MEMO_LOCKS]; /* slot i is guarded by locks[i % MEMO_LOCKS] */
	struct memo_slot slots[MEMO_SLOTS];
};

struct price_memo *price_memo_new(struct arena *arena)
{
	struct price_memo *const m = arena_alloc(arena, sizeof *m);
	for (size_t i = 0; m != NULL && i < MEMO_LOCKS; i++)
		CHECK(pthread_mutex_init(&m->locks[i], NULL) == 0);
	return m;
}

void price_memo_release(struct price_memo *m)
{
	for (size_t i = 0; m != NULL && i < MEMO_LOCKS; i++)
		CHECK(pthread_mutex_destroy(&m->locks[i]) == 0);
}

bool price_memo_get(struct price_memo *m, const char *key, size_t n, struct price_match *ret)
{
	if (n == 0 || n > PRICE_MEMO_KEY_MAX)
		return false;
	const uint64_t hash = hash_bytes(key, n);
	const struct memo_slot *const slot = &m->slots[hash & (MEMO_SLOTS - 1)];
	pthread_mutex_t *const lock = &m->locks[hash & (MEMO_LOCKS - 1)];
	pthread_mutex_lock(lock);
	const bool known = slot->hash == hash && slot->length == n && memcmp(slot->key, key, n) == 0;
	if (known)
		*ret = slot->match;
	pthread_mutex_unlock(lock);
	return known;
}

void price_memo_put(struct price_memo *m, const char *key, size_t n, const struct price_match *match)
{
	if (n == 0 || n > PRICE_MEMO_KEY_MAX)
		return;
	const uint64_t hash = hash_bytes(key, n);
	struct memo_slot *const slot = &m->slots[hash & (MEMO_SLOTS - 1)];
	pthread_mutex_t *const lock = &m->locks[hash & (MEMO_LOCKS - 1)];
	pthread_mutex_lock(lock);
	slot->hash = hash;
	slot->length = n;
	slot->match = *match;
	memcpy(slot->key, key, n);
	pthread_mutex_unlock(lock);
}
