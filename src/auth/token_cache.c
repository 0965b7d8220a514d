/* The cache of verified tokens: a fixed table. What makes a token good is jwt.c's work. */

#include "llmlab/auth/token_cache.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/password.h"

#define SLOTS		4096U
#define TOKEN_MIN_BYTES 64U
#define TOKEN_MAX_BYTES 384U

struct slot {
	size_t n; /* 0: empty */
	char token[TOKEN_MAX_BYTES];
	struct principal principal;
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
	const struct slot *s = slot_of(c, token, n);
	const bool found =
		s->n == n && CRYPTO_memcmp(s->token, token, n) == 0 && s->principal.expires_at_us > now_us;
	if (found)
		*ret = s->principal;
	pthread_mutex_unlock(&c->lock);
	return found;
}

void token_cache_put(struct token_cache *c, const char *token, size_t n, const struct principal *p)
{
	if (!fits(n))
		return;
	pthread_mutex_lock(&c->lock);
	struct slot *s = slot_of(c, token, n);
	s->n = n;
	memcpy(s->token, token, n);
	s->principal = *p;
	pthread_mutex_unlock(&c->lock);
}
