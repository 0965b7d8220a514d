/* The cache of verified tokens and looked-up API keys: a fixed table. What makes a token good is jwt.c's
 * work, what makes a key good the database's. */

#include "llmlab/auth/token_cache.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/api_key.h"
#include "llmlab/auth/password.h"
#include "llmlab/base/clock.h"

#define SLOTS		((unsigned)TOKEN_CACHE_SLOTS)
#define TOKEN_MIN_BYTES API_KEY_LENGTH
#define TOKEN_MAX_BYTES 448U
/* A key's looked-up state is not trusted for longer than what the revocations remember. */
#define KEY_KEPT_US (10 * US_PER_MINUTE)

struct slot {
	size_t n; /* 0: empty */
	char token[TOKEN_MAX_BYTES];
	struct principal principal;
	int64_t until_us; /* not believed from then on */
	int64_t used_us;  /* last use of an API key */
	bool use_untold;
};

struct token_cache {
	pthread_mutex_t lock;
	struct slot slots[SLOTS];
};

struct token_cache *token_cache_new(void)
{
	struct token_cache *c = calloc(1, sizeof *c);
	if (c != NULL)
		pthread_mutex_init(&c->lock, NULL);
	return c;
}

void token_cache_free(struct token_cache *c)
{
	if (c == NULL)
		return;
	pthread_mutex_destroy(&c->lock);
	secret_wipe(c->slots, sizeof c->slots);
	free(c);
}

/* The end of the signature is as good as random. */
static struct slot *slot_of(struct token_cache *c, const char *token, size_t n)
{
	uint64_t tail;
	memcpy(&tail, token + n - sizeof tail, sizeof tail);
	tail *= 0x9e3779b97f4a7c15ULL;
	return &c->slots[tail >> 52];
}
_Static_assert(SLOTS == 1U << (64 - 52), "slot_of() takes the top bits");

static bool fits(size_t n)
{
	return n >= TOKEN_MIN_BYTES && n <= TOKEN_MAX_BYTES;
}

bool token_cache_find(
	struct token_cache *c, const char *token, size_t n, int64_t now_us, struct principal *ret)
{
	if (!fits(n))
		return false;
	pthread_mutex_lock(&c->lock);
	struct slot *s = slot_of(c, token, n);
	const bool found = s->n == n && CRYPTO_memcmp(s->token, token, n) == 0 && s->until_us > now_us;
	if (found)
		*ret = s->principal;
	pthread_mutex_unlock(&c->lock);
	return found;
}

void token_cache_note_use(struct token_cache *c, const char *token, size_t n, int64_t now_us)
{
	if (!fits(n))
		return;
	pthread_mutex_lock(&c->lock);
	struct slot *const s = slot_of(c, token, n);
	if (s->n == n && CRYPTO_memcmp(s->token, token, n) == 0 && s->principal.is_api_key) {
		s->used_us = now_us;
		s->use_untold = true;
	}
	pthread_mutex_unlock(&c->lock);
}

void token_cache_clear(struct token_cache *c)
{
	pthread_mutex_lock(&c->lock);
	secret_wipe(c->slots, sizeof c->slots);
	pthread_mutex_unlock(&c->lock);
}

static int64_t kept_until(const struct principal *p, int64_t now_us)
{
	if (!p->is_api_key || p->expires_at_us < now_us + KEY_KEPT_US)
		return p->expires_at_us;
	return now_us + KEY_KEPT_US;
}

void token_cache_put(
	struct token_cache *c, const char *token, size_t n, int64_t now_us, const struct principal *p)
{
	if (!fits(n))
		return;
	pthread_mutex_lock(&c->lock);
	struct slot *s = slot_of(c, token, n);
	s->n = n;
	memcpy(s->token, token, n);
	s->principal = *p;
	s->until_us = kept_until(p, now_us);
	s->use_untold = false;
	pthread_mutex_unlock(&c->lock);
}

size_t token_cache_uses(struct token_cache *c, struct key_use *out)
{
	size_t n = 0;
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *const s = &c->slots[i];
		if (!s->use_untold)
			continue;
		s->use_untold = false;
		out[n++] = (struct key_use){.user_id = s->principal.user_id,
			.key_id = s->principal.token_id,
			.at_us = s->used_us};
	}
	pthread_mutex_unlock(&c->lock);
	return n;
}
