#ifndef LLMLAB_CORE_MEMO_H
#define LLMLAB_CORE_MEMO_H

#include "llmlab/core/price.h"

/* Remembers answers of price_find() for one catalogue: a fixed number of slots, a newer answer displaces an older one that
 * falls into the same slot, so strange names cost time but never memory. Thread-safe. */

/* Keys longer than this are not remembered. */
#define PRICE_MEMO_KEY_MAX 232

/* Empty memo in the arena; NULL when that overflows. */
struct price_memo *price_memo_new(struct arena *arena);
/* Destroys the locks; the memory is the arena's. NULL is ignored. */
void price_memo_release(struct price_memo *m);
/* True and *ret filled if the key was remembered. */
bool price_memo_get(struct price_memo *m, const char *key, size_t n, struct price_match *ret);
void price_memo_put(struct price_memo *m, const char *key, size_t n, const struct price_match *match);

#endif
