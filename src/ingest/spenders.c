/* The set of users with new spend: open addressing in a table of twice the bound, so a place is always free.
 * What is done with them is not known here. */
#include "llmlab/ingest/spenders.h"
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/check.h"
#include "llmlab/base/metrics.h"

#define SLOTS (2 * SPENDERS_MAX)

struct spenders {
	pthread_mutex_t lock;
	size_t n;
	bool all;
	struct {
		bool used;
		struct spender spender;
	} slots[SLOTS];
};

struct spenders *spenders_new(void)
{
	struct spenders *const s = calloc(1, sizeof *s);
	if (s != NULL)
		CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
	return s;
}

void spenders_free(struct spenders *s)
{
	if (s == NULL)
		return;
	CHECK(pthread_mutex_destroy(&s->lock) == 0);
	free(s);
}

/* The user's slot, or the free one where it belongs. The last bytes of an id are random. */
static size_t slot_of(const struct spenders *s, const struct uuid *user_id)
{
	uint32_t hash;
	memcpy(&hash, user_id->bytes + sizeof user_id->bytes - sizeof hash, sizeof hash);
	size_t i = hash % SLOTS;
	while (s->slots[i].used && !uuid_equal(&s->slots[i].spender.user_id, user_id))
		i = (i + 1) % SLOTS;
	return i;
}

static void forget(struct spenders *s)
{
	memset(s->slots, 0, sizeof s->slots);
	s->n = 0;
}

static void add(struct spenders *s, const struct uuid *user_id, bool unpriced)
{
	size_t i = slot_of(s, user_id);
	if (!s->slots[i].used && s->n == SPENDERS_MAX) {
		forget(s);
		s->all = true;
		metric_add(METRIC_ALERT_OVERFLOWS, 1);
		i = slot_of(s, user_id);
	}
	s->n += !s->slots[i].used;
	s->slots[i].used = true;
	s->slots[i].spender.user_id = *user_id;
	s->slots[i].spender.unpriced = s->slots[i].spender.unpriced || unpriced;
}

void spenders_note(struct spenders *s, const struct uuid *user_id, bool unpriced)
{
	if (s == NULL)
		return;
	CHECK(pthread_mutex_lock(&s->lock) == 0);
	add(s, user_id, unpriced);
	metric_set(METRIC_ALERT_USERS, (int64_t)s->n);
	CHECK(pthread_mutex_unlock(&s->lock) == 0);
}

size_t spenders_take(struct spenders *s, struct spender *out, bool *ret_all)
{
	CHECK(pthread_mutex_lock(&s->lock) == 0);
	size_t n = 0;
	for (size_t i = 0; s->n > 0 && i < SLOTS; i++) {
		if (s->slots[i].used)
			out[n++] = s->slots[i].spender;
	}
	*ret_all = s->all;
	s->all = false;
	if (n > 0)
		forget(s);
	metric_set(METRIC_ALERT_USERS, 0);
	CHECK(pthread_mutex_unlock(&s->lock) == 0);
	return n;
}
