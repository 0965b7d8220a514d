/* Rate limits by user or address and class of route: a leaky bucket in GCRA form (ITU-T I.371), which needs
 * one time per key. The table has a fixed size: when a set is full, the key that has recovered most is
 * forgotten, so a flood of addresses costs memory nothing and can only make limits laxer for keys it collides
 * with. Per process. */

#include "internal.h"

#include <stdlib.h>
#include <string.h>

#include "llmlab/base/clock.h"
#include "llmlab/base/uuid.h"

#define SETS 8192U
#define WAYS 8U

struct entry {
	uint8_t key[17];	 /* class, then user id or address */
	int64_t arrival_mono_us; /* theoretical arrival time; past: fully recovered */
};

struct rate_limiter {
	pthread_mutex_t lock;
	uint64_t seed;
	struct entry entries[SETS][WAYS];
};

struct rate_limiter *rate_limiter_new(void)
{
	struct rate_limiter *r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	pthread_mutex_init(&r->lock, NULL);
	random_bytes(&r->seed, sizeof r->seed);
	return r;
}

void rate_limiter_free(struct rate_limiter *r)
{
	if (r == NULL)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* Seeded, so that nobody outside can choose keys that meet in one set. Multiply-xorshift rounds over the
 * key's words. */
static size_t set_of(const struct rate_limiter *r, const uint8_t key[17])
{
	uint64_t words[2], h = r->seed ^ key[0];
	memcpy(words, key + 1, sizeof words);
	for (size_t i = 0; i < 2; i++) {
		h ^= words[i];
		h *= 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
		h *= 0xbf58476d1ce4e5b9ULL;
		h ^= h >> 32;
	}
	return h % SETS;
}

static struct entry *find(struct rate_limiter *r, const uint8_t key[17], int64_t mono_now_us)
{
	struct entry *set = r->entries[set_of(r, key)];
	struct entry *oldest = &set[0];
	for (size_t i = 0; i < WAYS; i++) {
		if (memcmp(set[i].key, key, sizeof set[i].key) == 0)
			return &set[i];
		if (set[i].arrival_mono_us < oldest->arrival_mono_us)
			oldest = &set[i];
	}
	if (oldest->arrival_mono_us > mono_now_us)
		metric_add(METRIC_RATE_FORGOTTEN, 1);
	memcpy(oldest->key, key, sizeof oldest->key);
	oldest->arrival_mono_us = 0;
	return oldest;
}

static bool decide(struct rate_limiter *r, const struct rate_limit *limit, const uint8_t subject[16],
	int64_t mono_now_us, bool take, struct rate_state *ret)
{
	uint8_t key[17];
	key[0] = (uint8_t)limit->class_;
	memcpy(key + 1, subject, 16);
	const int64_t interval_us = limit->window_us > limit->quota ? limit->window_us / limit->quota : 1;
	pthread_mutex_lock(&r->lock);
	struct entry *e = find(r, key, mono_now_us);
	const int64_t base = e->arrival_mono_us > mono_now_us ? e->arrival_mono_us : mono_now_us;
	const int64_t next = base + interval_us;
	const bool allowed = next - mono_now_us <= limit->window_us;
	if (allowed && take)
		e->arrival_mono_us = next;
	pthread_mutex_unlock(&r->lock);
	const int64_t used_us = (allowed && take ? next : base) - mono_now_us;
	ret->remaining = (limit->window_us - used_us) / interval_us;
	ret->reset_s = (used_us + US_PER_SECOND - 1) / US_PER_SECOND;
	ret->retry_after_s =
		allowed ? 0 : (next - limit->window_us - mono_now_us + US_PER_SECOND - 1) / US_PER_SECOND;
	return allowed;
}

bool rate_limiter_take(struct rate_limiter *r, const struct rate_limit *limit, const uint8_t subject[16],
	int64_t mono_now_us, struct rate_state *ret)
{
	const bool allowed = decide(r, limit, subject, mono_now_us, true, ret);
	if (!allowed)
		metric_add(METRIC_RATE_LIMITED, 1);
	return allowed;
}

bool rate_limiter_look(struct rate_limiter *r, const struct rate_limit *limit, const uint8_t subject[16],
	int64_t mono_now_us, struct rate_state *ret)
{
	return decide(r, limit, subject, mono_now_us, false, ret);
}
