#ifndef LLMLAB_AUTH_TOKEN_CACHE_H
#define LLMLAB_AUTH_TOKEN_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/auth/principal.h"

/* Tokens whose signature and claims were found good a moment ago, and API keys that the database knew a moment ago, so that a busy
 * client's is not verified anew with every request. Says nothing about revocation: that is asked for each request. Fixed size, direct-mapped by the signature's
 * last characters; only verified tokens get in, so nobody without a token can push others out on purpose. Comparison takes
 * constant time. Thread-safe. */
struct token_cache;

/* NULL without memory. */
struct token_cache *token_cache_new(void);
/* Wipes and frees; NULL is fine. */
void token_cache_free(struct token_cache *c);
/* True with *ret if this very token is known, expires after now_us, and was put not too long ago. */
bool token_cache_find(struct token_cache *c, const char *token, size_t n, int64_t now_us, struct principal *ret);
/* An API key that was found was used: not refused for another reason. */
void token_cache_note_use(struct token_cache *c, const char *token, size_t n, int64_t now_us);
/* Forgets and wipes all. */
void token_cache_clear(struct token_cache *c);
/* Remembers a token that was verified at now_us until it expires (an API key: for ten minutes at most, then the database is asked again);
 * tokens of an unusual length are not kept. */
void token_cache_put(struct token_cache *c, const char *token, size_t n, int64_t now_us, const struct principal *p);

/* The last use of an API key. */
struct key_use {
	struct uuid user_id, key_id;
	int64_t at_us;
};
/* The uses of keys since they were last told of, at most TOKEN_CACHE_SLOTS; `out` must have room for so many. Returns how many. What a
 * key was used for before another token took its place is not known any more. */
#define TOKEN_CACHE_SLOTS 4096
size_t token_cache_uses(struct token_cache *c, struct key_use *out);

#endif
