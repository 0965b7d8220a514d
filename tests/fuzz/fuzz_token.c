/* Access tokens and API keys. First byte even: the text of a token; it must not be taken, for nobody but us
 * has the secret. Odd: the payload of a token that we sign, so that the claims are reached; whoever is let in
 * then is who the payload names, and it has not expired. API keys have one spelling, and every one that looks
 * right can be hashed and shown. */
#include <jansson.h>
#include "fuzz.h"
#include "llmlab/auth/api_key.h"
#include "llmlab/auth/base64url.h"
#include "llmlab/auth/digest.h"
#include "llmlab/auth/jwt.h"
#include "llmlab/base/clock.h"

#define SECRET "8f2c1d90a7b64e53c1f08d2b7a965e41"
#define HEADER "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
#define BLOCK  64		  /* of SHA-256 */
#define NOW_US 1787479200000000LL /* 2026-08-23T10:00:00Z */

/* HMAC (RFC 2104) of our own, so that the signature does not come from the code under test. */
static void sign(const char *text, size_t n, uint8_t mac[32])
{
	uint8_t pad[BLOCK], inner[32];
	for (size_t side = 0; side < 2; side++) {
		memset(pad, side == 0 ? 0x36 : 0x5c, sizeof pad);
		for (size_t i = 0; i < sizeof SECRET - 1; i++)
			pad[i] ^= (uint8_t)SECRET[i];
		struct digest *const d = digest_new();
		digest_update(d, pad, sizeof pad);
		if (side == 0)
			digest_update(d, text, n);
		else
			digest_update(d, inner, sizeof inner);
		digest_finish(d, side == 0 ? inner : mac);
	}
}

static void check_signed(const struct jwt_keys *keys, const char *payload, size_t n)
{
	static char token[AUTH_TOKEN_MAX_BYTES * 2];
	uint8_t mac[32];
	struct principal p = {.generation = -1};
	memcpy(token, HEADER, sizeof HEADER);
	base64url_encode(payload, n, token + strlen(token));
	sign(token, strlen(token), mac);
	strcat(token, ".");
	base64url_encode(mac, sizeof mac, token + strlen(token));
	if (jwt_verify(keys, token, strlen(token), NOW_US, &p) != ERR_OK)
		return;
	json_t *const claims = json_loadb(payload, n, JSON_REJECT_DUPLICATES, NULL);
	struct uuid user;
	FUZZ_CHECK(json_is_object(claims));
	FUZZ_CHECK(strcmp(json_string_value(json_object_get(claims, "iss")), "llmlab") == 0);
	FUZZ_CHECK(strcmp(json_string_value(json_object_get(claims, "aud")), "llmlab-api") == 0);
	FUZZ_CHECK(uuid_parse(json_string_value(json_object_get(claims, "sub")), &user) == ERR_OK);
	FUZZ_CHECK(uuid_equal(&user, &p.user_id) && p.generation >= 0);
	FUZZ_CHECK(json_integer_value(json_object_get(claims, "exp")) > NOW_US / US_PER_SECOND);
	FUZZ_CHECK(!p.is_api_key && p.scope == AUTH_SCOPE_FULL);
	json_decref(claims);
}

static void check_key(const char *text, size_t n)
{
	if (!api_key_looks_like(text, n))
		return;
	char key[API_KEY_SIZE], again[API_KEY_SIZE], prefix[API_KEY_PREFIX_SIZE];
	uint8_t hash[32], random[32];
	size_t length = 0;
	FUZZ_CHECK(n == API_KEY_LENGTH);
	memcpy(key, text, n);
	key[n] = '\0';
	api_key_hash(key, hash);
	api_key_prefix(key, prefix);
	FUZZ_CHECK(strncmp(key, prefix, strlen(prefix)) == 0);
	FUZZ_CHECK(base64url_decode(key + 4, n - 4, random, sizeof random, &length) == ERR_OK &&
		   length == sizeof random);
	base64url_encode(random, sizeof random, again);
	FUZZ_CHECK(strcmp(again, key + 4) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct jwt_keys *keys;
	struct principal p;
	if (keys == NULL)
		FUZZ_CHECK(jwt_keys_new(SECRET, "another-secret-of-at-least-32-bytes", &keys) == ERR_OK);
	if (size < 1 || size > AUTH_TOKEN_MAX_BYTES + 64)
		return 0;
	char *const text = fuzz_bytes(data + 1, size - 1);
	if (data[0] % 2 == 0) {
		FUZZ_CHECK(jwt_verify(keys, text, size - 1, NOW_US, &p) == ERR_INVALID_TOKEN);
		check_key(text, size - 1);
	} else {
		check_signed(keys, text, size - 1);
	}
	free(text);
	return 0;
}
