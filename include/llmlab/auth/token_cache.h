#ifndef LLMLAB_AUTH_TOKEN_CACHE_H
#define LLMLAB_AUTH_TOKEN_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/auth/principal.h"

/* Tokens whose signature and claims were found good a moment ago, so that a busy client's token is not verified anew with
 * every request. Says nothing about revocation: that is asked for each request. Fixed size, direct-mapped by the signature's
 * last characters; only verified tokens get in, so nobody without a token can push others out on purpose. Comparison takes
 * constant time. Thread-safe. */
struct token_cache;

/* NULL without memory. */
struct token_cache *token_cache_new(void);
/* Wipes and frees; NULL is fine. */
void token_cache_free(struct token_cache *c);
/* True with *ret if this very token is known and expires after now_us. */
bool token_cache_find(struct token_cache *c, const char *token, size_t n, int64_t now_us, struct principal *ret);
/* Remembers a verified token; tokens of an unusual length are not kept. */
void token_cache_put(struct token_cache *c, const char *token, size_t n, const struct principal *p);

#endif
