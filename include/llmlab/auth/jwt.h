#ifndef LLMLAB_AUTH_JWT_H
#define LLMLAB_AUTH_JWT_H

#include <stddef.h>
#include <stdint.h>
#include "llmlab/auth/principal.h"
#include "llmlab/base/err.h"

/* Access tokens: JWT (RFC 7519) signed with HMAC-SHA-256 only. The header is a constant; a token whose first
 * segment differs from it never reaches the library (algorithm confusion, "none", crit, typ and parser
 * attacks end there). Claims: iss "llmlab", aud "llmlab-api", sub (user id), jti (token id), iat, nbf, exp,
 * all required and checked strictly as integers; gen (the session_generation of the user), 0 where a token of an earlier
 * version has none. */

#define AUTH_SECRET_MIN_BYTES 32
#define AUTH_SECRET_MAX_BYTES 1024
#define AUTH_TOKEN_MAX_BYTES  2048

struct jwt_keys;
/* secret: AUTH_SECRET_MIN_BYTES to AUTH_SECRET_MAX_BYTES (ERR_RANGE). previous (may be NULL, same bounds):
 * still accepted for verification during a rotation. Both are copied, and wiped on free. ERR_NO_MEMORY. */
enum err jwt_keys_new(const char *secret, const char *previous, struct jwt_keys **ret);
/* NULL is allowed. */
void jwt_keys_free(struct jwt_keys *k);
/* Why a configured secret must not be used in production (length, too few different characters, a placeholder
 * of some README), as a message for the operator, or NULL if it is good. */
const char *jwt_secret_weakness(const char *secret);

/* A new token for p->user_id and p->generation, signed with the current secret; fills p->token_id (a version 7 UUID, so its
 * time is the time of issue) and p->expires_at_us (whole seconds: up to one second before now_us +
 * lifetime_us). Both times are at least a second. *ret_token is freed by the caller with free().
 * ERR_NO_MEMORY. Thread-safe. */
enum err jwt_issue(
	const struct jwt_keys *k, struct principal *p, int64_t now_us, int64_t lifetime_us, char **ret_token);
/* Fills *ret from the n bytes of a token. ERR_INVALID_TOKEN for anything that is not a valid, unexpired token
 * of ours (60 s leeway for nbf and iat, none for exp), ERR_NO_MEMORY. Says nothing about revocation.
 * Thread-safe. */
enum err jwt_verify(
	const struct jwt_keys *k, const char *token, size_t n, int64_t now_us, struct principal *ret);

#endif
