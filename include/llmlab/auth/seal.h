#ifndef LLMLAB_AUTH_SEAL_H
#define LLMLAB_AUTH_SEAL_H

#include <stddef.h>
#include "llmlab/auth/base64url.h"
#include "llmlab/base/err.h"
#include "llmlab/base/uuid.h"

/* Secrets that the server must be able to read again are kept encrypted: AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce
 * and a key derived from SECRET_KEY by HKDF-SHA-256 (RFC 5869), so that the database alone gives none away (docs/adr/0009). A
 * sealed text names its key, so that one sealed with the key before is recognised while keys are being changed. */

/* "whsec_" and 32 random bytes in base64url. */
#define WEBHOOK_SECRET_SIZE (6 + BASE64URL_LENGTH(32) + 1)

#define SEAL_KEY_ID_SIZE 17 /* 16 hex digits and a NUL */
/* Most bytes of a text, and of a sealed one: key id, dot, base64url of nonce, text and tag, NUL. */
#define SEAL_TEXT_MAX	 128
#define SEALED_SIZE	 (SEAL_KEY_ID_SIZE + BASE64URL_LENGTH(12 + SEAL_TEXT_MAX + 16) + 1)

struct seal_keys;
/* Keys derived from SECRET_KEY and (NULL: none) SECRET_KEY_PREVIOUS. ERR_NO_MEMORY. */
enum err seal_keys_new(const char *secret, const char *previous, struct seal_keys **ret);
/* Wipes; NULL is allowed. */
void seal_keys_free(struct seal_keys *k);
/* The id of the key that seals; lives as long as k. */
const char *seal_key_id(const struct seal_keys *k);
/* The id of the key before; NULL if there is none. */
const char *seal_previous_key_id(const struct seal_keys *k);

/* Seals a text of at most SEAL_TEXT_MAX bytes for the row (user_id, id): moved to another row it does not open. Thread-safe. */
void seal_text(const struct seal_keys *k, const struct uuid *user_id, const struct uuid *id, const char *text,
	char out[SEALED_SIZE]);
/* The text again, in out (SEAL_TEXT_MAX + 1 bytes; the caller wipes it). ERR_NOT_FOUND: sealed with a key that is not known here.
 * ERR_SYNTAX: not a sealed text, of another row, or damaged. Thread-safe. */
enum err seal_open(const struct seal_keys *k, const struct uuid *user_id, const struct uuid *id, const char *sealed,
	char out[SEAL_TEXT_MAX + 1]);

/* A new signing secret. The caller wipes it. */
void webhook_secret_generate(char out[WEBHOOK_SECRET_SIZE]);
/* "t=<unix_s>,v1=<hex of HMAC-SHA256 of "<unix_s>.<body>" with the bytes of the secret's text as key>". ERR_NO_MEMORY. */
#define WEBHOOK_SIGNATURE_SIZE 128
enum err webhook_sign(const char *secret, int64_t unix_s, const char *body, size_t n, char out[WEBHOOK_SIGNATURE_SIZE]);

#endif
