/* The memory of API keys that do not exist: a fixed table of pieces of their hashes. It asks nobody and knows
 * no good key. */
#include "llmlab/auth/refused_keys.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/check.h"

#define SLOTS	    4096U
#define PIECE_BYTES 16U

struct refused_keys {
	pthread_mutex_t lock;
	uint8_t pieces[SLOTS][PIECE_BYTES]; /* all zero: empty */
};

struct refused_keys *refused_keys_new(void)
{
	struct refused_keys *const r = calloc(1, sizeof *r);
	if (r != NULL)
		CHECK(pthread_mutex_init(&r->lock, NULL) == 0);
	return r;
}

void refused_keys_free(struct refused_keys *r)
{
	if (r == NULL)
		return;
	CHECK(pthread_mutex_destroy(&r->lock) == 0);
	free(r);
}

/* The slot is chosen by other bytes than those that are compared. */
static uint8_t *slot_of(struct refused_keys *r, const uint8_t hash[32])
{
	return r->pieces[((unsigned)hash[31] << 8 | hash[30]) % SLOTS];
}

bool refused_keys_has(struct refused_keys *r, const uint8_t hash[32])
{
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	const bool has = memcmp(slot_of(r, hash), hash, PIECE_BYTES) == 0;
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
	return has;
}

void refused_keys_add(struct refused_keys *r, const uint8_t hash[32])
{
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	memcpy(slot_of(r, hash), hash, PIECE_BYTES);
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
}

void refused_keys_clear(struct refused_keys *r)
{
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	memset(r->pieces, 0, sizeof r->pieces);
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
}
