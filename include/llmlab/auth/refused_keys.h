#ifndef LLMLAB_AUTH_REFUSED_KEYS_H
#define LLMLAB_AUTH_REFUSED_KEYS_H

#include <stdbool.h>
#include <stdint.h>

/* API keys that the database did not know a moment ago. A key that is not known never will be (its 256 bits are random), so the answer
 * stays true, and who goes on asking with one costs no database lookup. Fixed size, direct-mapped by the key's SHA-256: new
 * ones push old ones out, which costs them one lookup more. Thread-safe. */
struct refused_keys;

/* NULL without memory. */
struct refused_keys *refused_keys_new(void);
/* NULL is fine. */
void refused_keys_free(struct refused_keys *r);
/* Whether the key with this SHA-256 was refused. Compares 128 bits of it. */
bool refused_keys_has(struct refused_keys *r, const uint8_t hash[32]);
void refused_keys_add(struct refused_keys *r, const uint8_t hash[32]);
/* Forgets all: the database was set back, and one may be there again. */
void refused_keys_clear(struct refused_keys *r);

#endif
