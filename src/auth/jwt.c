/* Access tokens of sessions: issue and verify. A token is believed only after four gates, in this order: its
 * form is exactly ours (constant header, one spelling), its HMAC is ours (OpenSSL, compared in constant
 * time), every claim has exactly the type and value it must have, and libjwt agrees. So no JSON parser and no
 * library for tokens ever sees bytes that we did not sign. Revocation, accounts and API keys are not its
 * business.
 *
 * Tokens are composed by hand because jwt_encode_str() crashes when memory is short, and because the payload
 * needs no JSON writer: every value is a constant, a UUID or an integer. */
#include "llmlab/auth/jwt.h"
#include "llmlab/base/json_read.h"
#include <jansson.h>
#include <jwt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/base64url.h"
#include "llmlab/auth/password.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"

/* base64url of {"alg":"HS256","typ":"JWT"} and the dot after it. */
#define HEADER		 "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
#define HEADER_LENGTH	 (sizeof HEADER - 1)
#define MAC_BYTES	 32
#define SIGNATURE_LENGTH BASE64URL_LENGTH(MAC_BYTES)
#define ISSUER		 "llmlab"
#define AUDIENCE	 "llmlab-api"
/* Clocks of several servers differ a little; an expired token is expired all the same. */
#define LEEWAY_US (60 * US_PER_SECOND)
/* Of the payload's JSON text; no longer one fits into AUTH_TOKEN_MAX_BYTES. */
#define PAYLOAD_MAX_BYTES ((AUTH_TOKEN_MAX_BYTES - HEADER_LENGTH - 1 - SIGNATURE_LENGTH) / 4 * 3 + 2)

struct secret {
	unsigned char *bytes; /* owned; NULL if there is none */
	int len;
};

struct jwt_keys {
	struct secret current;	/* signs and verifies */
	struct secret previous; /* verifies only, while a rotation lasts */
};

/* A token taken apart. */
struct parts {
	size_t signed_len; /* characters of header, dot and payload */
	uint8_t payload[PAYLOAD_MAX_BYTES];
	size_t payload_len;
	uint8_t mac[MAC_BYTES];
};

/* ---- keys ---- */

static bool secret_length_ok(const char *text)
{
	const size_t len = strnlen(text, AUTH_SECRET_MAX_BYTES + 1);
	return len >= AUTH_SECRET_MIN_BYTES && len <= AUTH_SECRET_MAX_BYTES;
}

static bool secret_copy(struct secret *s, const char *text)
{
	s->len = (int)strlen(text);
	s->bytes = malloc((size_t)s->len);
	if (s->bytes == NULL)
		return false;
	memcpy(s->bytes, text, (size_t)s->len);
	return true;
}

static void secret_release(struct secret *s)
{
	if (s->bytes != NULL)
		secret_wipe(s->bytes, (size_t)s->len);
	free(s->bytes);
}

enum err jwt_keys_new(const char *secret, const char *previous, struct jwt_keys **ret)
{
	if (!secret_length_ok(secret) || (previous != NULL && !secret_length_ok(previous)))
		return ERR_RANGE;
	struct jwt_keys *k = calloc(1, sizeof *k);
	if (k == NULL)
		return ERR_NO_MEMORY;
	if (!secret_copy(&k->current, secret) || (previous != NULL && !secret_copy(&k->previous, previous))) {
		jwt_keys_free(k);
		return ERR_NO_MEMORY;
	}
	*ret = k;
	return ERR_OK;
}

void jwt_keys_free(struct jwt_keys *k)
{
	if (k == NULL)
		return;
	secret_release(&k->current);
	secret_release(&k->previous);
	free(k);
}

const char *jwt_secret_weakness(const char *secret)
{
	static const char *const defaults[] = {
		"change", "secret", "example", "default", "password", "llmlab"};
	if (!secret_length_ok(secret))
		return "must have 32 to 1,024 bytes; make one with: openssl rand -hex 32";
	bool seen[256] = {false};
	size_t n_distinct = 0;
	for (const char *c = secret; *c != '\0'; c++) {
		n_distinct += !seen[(unsigned char)*c];
		seen[(unsigned char)*c] = true;
	}
	if (n_distinct < 8)
		return "repeats too few different characters to be random; make one with: openssl rand -hex "
		       "32";
	for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
		if (strcasestr(secret, defaults[i]) != NULL)
			return "is or contains a placeholder that everybody knows; make one with: openssl "
			       "rand -hex 32";
	}
	return NULL;
}

/* ---- signatures ---- */

/* HMAC-SHA-256; ERR_NO_MEMORY is the only way it can fail with arguments of ours. */
static enum err mac_compute(const struct secret *s, const char *data, size_t n, uint8_t mac[MAC_BYTES])
{
	const unsigned char *bytes = (const unsigned char *)data;
	unsigned len = 0;
	if (HMAC(EVP_sha256(), s->bytes, s->len, bytes, n, mac, &len) == NULL || len != MAC_BYTES)
		return ERR_NO_MEMORY;
	return ERR_OK;
}

/* ERR_OK if this key made the signature, ERR_INVALID_TOKEN if not. */
static enum err mac_verify(const struct secret *s, const char *token, const struct parts *parts)
{
	uint8_t expected[MAC_BYTES];
	const enum err e = mac_compute(s, token, parts->signed_len, expected);
	if (e != ERR_OK)
		return e;
	return CRYPTO_memcmp(expected, parts->mac, MAC_BYTES) == 0 ? ERR_OK : ERR_INVALID_TOKEN;
}

/* ---- issue ---- */

enum err jwt_issue(
	const struct jwt_keys *k, struct principal *p, int64_t now_us, int64_t lifetime_us, char **ret_token)
{
	CHECK(now_us >= US_PER_SECOND && lifetime_us >= US_PER_SECOND);
	CHECK(lifetime_us <= INT64_MAX - now_us);
	const struct uuid token_id = uuid_v7(now_us / US_PER_MS);
	const int64_t now_s = now_us / US_PER_SECOND;
	const int64_t expires_s = (now_us + lifetime_us) / US_PER_SECOND;
	char user_text[UUID_TEXT_SIZE];
	char token_text[UUID_TEXT_SIZE];
	uuid_format(&p->user_id, user_text);
	uuid_format(&token_id, token_text);

	char payload[384];
	const int len = snprintf(payload, sizeof payload,
		"{\"iss\":\"" ISSUER "\",\"aud\":\"" AUDIENCE "\",\"sub\":\"%s\",\"jti\":\"%s\",\"iat\":%lld,"
		"\"nbf\":%lld,\"exp\":%lld,\"gen\":%lld}",
		user_text, token_text, (long long)now_s, (long long)now_s, (long long)expires_s,
		(long long)p->generation);
	CHECK(len > 0 && (size_t)len < sizeof payload);

	const size_t signed_len = HEADER_LENGTH + BASE64URL_LENGTH((size_t)len);
	char *token = malloc(signed_len + 1 + SIGNATURE_LENGTH + 1);
	if (token == NULL)
		return ERR_NO_MEMORY;
	memcpy(token, HEADER, HEADER_LENGTH);
	base64url_encode(payload, (size_t)len, token + HEADER_LENGTH);
	uint8_t mac[MAC_BYTES];
	const enum err e = mac_compute(&k->current, token, signed_len, mac);
	if (e != ERR_OK) {
		free(token);
		return e;
	}
	token[signed_len] = '.';
	base64url_encode(mac, sizeof mac, token + signed_len + 1);
	p->token_id = token_id;
	p->expires_at_us = expires_s * US_PER_SECOND;
	*ret_token = token;
	return ERR_OK;
}

/* ---- verify ---- */

/* The first gate: our header, a dot, a payload, a dot, 43 characters of signature, and no second way to spell
 * it. A payload that decodes has no dot in it, so there are exactly two, and no segment is empty. */
static bool take_apart(const char *token, size_t n, struct parts *ret)
{
	const size_t frame = HEADER_LENGTH + 1 + SIGNATURE_LENGTH;
	if (n > AUTH_TOKEN_MAX_BYTES || n <= frame || memcmp(token, HEADER, HEADER_LENGTH) != 0)
		return false;
	ret->signed_len = n - 1 - SIGNATURE_LENGTH;
	if (token[ret->signed_len] != '.')
		return false;
	const char *payload = token + HEADER_LENGTH;
	const char *signature = token + ret->signed_len + 1;
	size_t mac_len = 0;
	if (base64url_decode(payload, n - frame, ret->payload, sizeof ret->payload, &ret->payload_len) !=
		ERR_OK)
		return false;
	return base64url_decode(signature, SIGNATURE_LENGTH, ret->mac, sizeof ret->mac, &mac_len) == ERR_OK;
}

/* The second gate: which of the keys signed it. */
static enum err find_key(
	const struct jwt_keys *k, const char *token, const struct parts *parts, const struct secret **ret)
{
	enum err e = mac_verify(&k->current, token, parts);
	if (e == ERR_OK) {
		*ret = &k->current;
		return ERR_OK;
	}
	if (e != ERR_INVALID_TOKEN || k->previous.bytes == NULL)
		return e;
	e = mac_verify(&k->previous, token, parts);
	if (e == ERR_OK)
		*ret = &k->previous;
	return e;
}

static bool claim_is(const json_t *claims, const char *name, const char *expected)
{
	const char *text = json_string_value(json_object_get(claims, name));
	return text != NULL && strcmp(text, expected) == 0;
}

static bool claim_uuid(const json_t *claims, const char *name, struct uuid *ret)
{
	const char *text = json_string_value(json_object_get(claims, name));
	return text != NULL && uuid_parse(text, ret) == ERR_OK;
}

/* A NumericDate (RFC 7519 section 2) as microseconds: only positive integers, and no later than what can be
 * written down as a time. */
static bool claim_time(const json_t *claims, const char *name, int64_t *ret_us)
{
	const json_t *v = json_object_get(claims, name);
	if (!json_is_integer(v))
		return false;
	const json_int_t seconds = json_integer_value(v);
	if (seconds <= 0 || seconds > INSTANT_MAX_US / US_PER_SECOND)
		return false;
	*ret_us = (int64_t)seconds * US_PER_SECOND;
	return true;
}

/* The generation; tokens of earlier versions have none. */
static bool claim_generation(const json_t *claims, int64_t *ret)
{
	const json_t *v = json_object_get(claims, "gen");
	if (v != NULL && (!json_is_integer(v) || json_integer_value(v) < 0))
		return false;
	*ret = v == NULL ? 0 : (int64_t)json_integer_value(v);
	return true;
}

static bool claims_read(const json_t *claims, int64_t now_us, struct principal *ret)
{
	int64_t issued_us = 0;
	int64_t not_before_us = 0;
	if (!claim_is(claims, "iss", ISSUER) || !claim_is(claims, "aud", AUDIENCE))
		return false;
	if (!claim_uuid(claims, "sub", &ret->user_id) || !claim_uuid(claims, "jti", &ret->token_id))
		return false;
	if (!claim_time(claims, "iat", &issued_us) || !claim_time(claims, "nbf", &not_before_us) ||
		!claim_time(claims, "exp", &ret->expires_at_us))
		return false;
	if (!claim_generation(claims, &ret->generation))
		return false;
	if (issued_us > now_us + LEEWAY_US || not_before_us > now_us + LEEWAY_US)
		return false;
	return now_us < ret->expires_at_us;
}

/* The third gate: the claims, read here because libjwt takes a wrong type for 0, the last of two equal names,
 * and only what comes before a NUL. */
static enum err read_payload(const struct parts *parts, int64_t now_us, struct principal *ret)
{
	json_error_t error;
	bool no_memory = false;
	const char *text = (const char *)parts->payload;
	json_t *claims = json_load_whole(text, parts->payload_len, &error, &no_memory);
	if (claims == NULL)
		return no_memory ? ERR_NO_MEMORY : ERR_INVALID_TOKEN;
	struct principal p = {.scope = AUTH_SCOPE_FULL, .is_api_key = false};
	const bool good = json_is_object(claims) && claims_read(claims, now_us, &p);
	json_decref(claims);
	if (!good)
		return ERR_INVALID_TOKEN;
	*ret = p;
	return ERR_OK;
}

/* The fourth gate: libjwt must come to the same verdict, with HS256. It comes last because it writes out of
 * bounds on empty segments and parses before it verifies. What has passed the other gates it can refuse only
 * for want of memory, whatever the code it returns. */
static enum err ask_library(const char *token, size_t n, const struct secret *s)
{
	char text[AUTH_TOKEN_MAX_BYTES + 1];
	memcpy(text, token, n);
	text[n] = '\0';
	jwt_t *jwt = NULL;
	if (jwt_decode(&jwt, text, s->bytes, s->len) != 0)
		return ERR_NO_MEMORY;
	const bool agreed = jwt_get_alg(jwt) == JWT_ALG_HS256;
	jwt_free(jwt);
	return agreed ? ERR_OK : ERR_NO_MEMORY;
}

enum err jwt_verify(
	const struct jwt_keys *k, const char *token, size_t n, int64_t now_us, struct principal *ret)
{
	struct parts parts;
	if (!take_apart(token, n, &parts))
		return ERR_INVALID_TOKEN;
	const struct secret *key = NULL;
	enum err e = find_key(k, token, &parts, &key);
	if (e != ERR_OK)
		return e;
	struct principal p;
	e = read_payload(&parts, now_us, &p);
	if (e != ERR_OK)
		return e;
	e = ask_library(token, n, key);
	if (e != ERR_OK)
		return e;
	*ret = p;
	return ERR_OK;
}
