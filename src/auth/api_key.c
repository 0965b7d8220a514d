/* The form of API keys: making, recognising and hashing them. Which keys exist, whose they are and what they
 * may do is the database's and the routes' business. */
#include "llmlab/auth/api_key.h"
#include <string.h>
#include "llmlab/auth/base64url.h"
#include "llmlab/auth/digest.h"
#include "llmlab/auth/password.h"
#include "llmlab/base/check.h"
#include "llmlab/base/uuid.h"

#define MARK	     "llk_"
#define MARK_LENGTH  (sizeof MARK - 1)
#define SECRET_BYTES 32

_Static_assert(MARK_LENGTH + BASE64URL_LENGTH(SECRET_BYTES) == API_KEY_LENGTH, "length of an API key");

void api_key_generate(char out[API_KEY_SIZE])
{
	uint8_t secret[SECRET_BYTES];
	random_bytes(secret, sizeof secret);
	memcpy(out, MARK, MARK_LENGTH);
	base64url_encode(secret, sizeof secret, out + MARK_LENGTH);
	secret_wipe(secret, sizeof secret);
}

void api_key_prefix(const char *key, char out[API_KEY_PREFIX_SIZE])
{
	memcpy(out, key, API_KEY_PREFIX_SIZE - 1);
	out[API_KEY_PREFIX_SIZE - 1] = '\0';
}

void api_key_hash(const char *key, uint8_t out[32])
{
	CHECK(strnlen(key, API_KEY_SIZE) >= API_KEY_LENGTH);
	digest_sha256(key, API_KEY_LENGTH, out);
}

bool api_key_looks_like(const char *token, size_t n)
{
	if (n != API_KEY_LENGTH || memcmp(token, MARK, MARK_LENGTH) != 0)
		return false;
	uint8_t secret[SECRET_BYTES];
	size_t len = 0;
	const enum err e =
		base64url_decode(token + MARK_LENGTH, n - MARK_LENGTH, secret, sizeof secret, &len);
	secret_wipe(secret, sizeof secret);
	return e == ERR_OK && len == SECRET_BYTES;
}
