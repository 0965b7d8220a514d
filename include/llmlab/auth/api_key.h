#ifndef LLMLAB_AUTH_API_KEY_H
#define LLMLAB_AUTH_API_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* API keys: "llk_" and 32 random bytes in base64url, 47 characters. The key is shown once; only its SHA-256
 * is stored (a slow hash buys nothing against 256 random bits). The first 12 characters are not a secret:
 * they name the key in lists. */
#define API_KEY_LENGTH	    47
#define API_KEY_SIZE	    (API_KEY_LENGTH + 1)
#define API_KEY_PREFIX_SIZE 13 /* "llk_", 8 characters and a NUL */

/* A new key. The caller wipes it (secret_wipe) once it is in the answer. Aborts only if the system has no
 * randomness. */
void api_key_generate(char out[API_KEY_SIZE]);
/* The public beginning of a key, to show and to look up; the key must pass api_key_looks_like(). */
void api_key_prefix(const char *key, char out[API_KEY_PREFIX_SIZE]);
/* SHA-256 of the whole text of a key that passes api_key_looks_like(); what the database stores and compares.
 */
void api_key_hash(const char *key, uint8_t out[32]);
/* Whether n bytes have the form of our keys (one spelling each); says nothing about whether such a key
 * exists. Anything else is not worth a look at the database. */
bool api_key_looks_like(const char *token, size_t n);

#endif
