#ifndef LLMLAB_AUTH_PASSWORD_H
#define LLMLAB_AUTH_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>
#include "llmlab/base/err.h"

/* Passwords: argon2id, m=19456 KiB, t=2, p=1, 16-byte salt, 32-byte tag (RFC 9106, OWASP). Each call takes
 * some 50 ms of one core and 19 MiB: only on the password threads. */
#define PASSWORD_HASH_SIZE 128

/* Why a new password is refused, as a message for the field (static), or NULL if it is good: 8..128 code
 * points, at most 1,024 bytes, not a common one or one of the common patterns (src/auth/password_weakness.c
 * describes them), not the e-mail, its local part or the product's name in any case, decorated or not. Both
 * are valid UTF-8; email may be NULL. Pure and fast: any thread. Bytes are hashed as they come: no Unicode
 * normalisation. */
const char *password_weakness(const char *password, const char *email);
/* The text to store, "$argon2id$v=19$...", with a new salt. ERR_NO_MEMORY, ERR_INTERNAL. */
enum err password_hash(const char *password, char ret_hash[PASSWORD_HASH_SIZE]);
/* ERR_OK with *ret_match; a stored hash that is none of ours or has parameters beyond our caps (m 65536 KiB,
 * t 10, p 1) is ERR_INTERNAL, and nothing is computed. ERR_NO_MEMORY. */
enum err password_verify(const char *hash, const char *password, bool *ret_match);
/* Takes as long as a real verification and fails like one (ERR_NO_MEMORY); matches nothing. For unknown
 * e-mail addresses: the caller answers as if a real verification had said no. */
enum err password_verify_dummy(const char *password);
/* Whether a stored hash was made with other parameters than today's; after a successful login it is replaced.
 */
bool password_needs_rehash(const char *hash);
/* Overwrites before free, in a way the compiler keeps. */
void secret_wipe(void *p, size_t n);

#endif
