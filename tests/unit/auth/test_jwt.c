/* Access tokens: what is issued verifies, and nothing else does. Tokens of any shape are made here with
 * OpenSSL directly, so that the signature is good wherever the signature is not what a row is about. */
#include <check.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/base64url.h"
#include "llmlab/auth/jwt.h"

#define SECRET	     "0123456789abcdef0123456789abcdef"
#define OTHER_SECRET "fedcba9876543210fedcba9876543210"
#define SECOND	     1000000LL
#define NOW_S	     1700000000LL
#define NOW_US	     (NOW_S * SECOND)
#define HOUR_US	     (3600 * SECOND)
#define USER	     "550e8400-e29b-41d4-a716-446655440000"
#define TOKEN_ID     "0190a000-0000-7000-8000-000000000001"
#define HEADER	     "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
/* The claims in order, each replaceable. */
#define ISS  "\"iss\":\"llmlab\","
#define AUD  "\"aud\":\"llmlab-api\","
#define SUB  "\"sub\":\"" USER "\","
#define JTI  "\"jti\":\"" TOKEN_ID "\","
#define IAT  "\"iat\":1700000000,"
#define NBF  "\"nbf\":1700000000,"
#define EXP  "\"exp\":1700003600"
#define GOOD "{" ISS AUD SUB JTI IAT NBF EXP "}"

static struct jwt_keys *keys(const char *secret, const char *previous)
{
	struct jwt_keys *k = NULL;
	ck_assert_int_eq(jwt_keys_new(secret, previous, &k), ERR_OK);
	return k;
}

/* header.payload.signature of the given texts; freed by the caller. */
static char *sign(
	const char *header, const char *payload, size_t payload_len, const EVP_MD *md, const char *secret)
{
	const size_t size = BASE64URL_LENGTH(strlen(header)) + BASE64URL_LENGTH(payload_len) + 128;
	char *token = malloc(size);
	ck_assert_ptr_nonnull(token);
	base64url_encode(header, strlen(header), token);
	strcat(token, ".");
	base64url_encode(payload, payload_len, token + strlen(token));
	unsigned char mac[64];
	unsigned mac_len = 0;
	ck_assert_ptr_nonnull(HMAC(
		md, secret, (int)strlen(secret), (const unsigned char *)token, strlen(token), mac, &mac_len));
	strcat(token, ".");
	base64url_encode(mac, mac_len, token + strlen(token));
	return token;
}

static char *sign_payload(const char *payload)
{
	return sign(HEADER, payload, strlen(payload), EVP_sha256(), SECRET);
}

/* The verdict on n bytes at NOW, and that a refusal leaves the principal alone. */
static enum err verify_n(const struct jwt_keys *k, const char *token, size_t n)
{
	struct principal p;
	struct principal before;
	memset(&p, 0x5a, sizeof p);
	memset(&before, 0x5a, sizeof before);
	const enum err e = jwt_verify(k, token, n, NOW_US, &p);
	if (e != ERR_OK && memcmp(&p, &before, sizeof p) != 0)
		ck_abort_msg("principal touched by a refusal");
	return e;
}

static enum err verify_once(const char *token, size_t n)
{
	struct jwt_keys *k = keys(SECRET, NULL);
	const enum err e = verify_n(k, token, n);
	jwt_keys_free(k);
	return e;
}

static void assert_uuid(const struct uuid *u, const char *expected)
{
	char text[UUID_TEXT_SIZE];
	uuid_format(u, text);
	ck_assert_str_eq(text, expected);
}

/* Made with another implementation (Python's hmac) from GOOD and SECRET. */
#define H "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
#define P                                                                                                    \
	"eyJpc3MiOiJsbG1sYWIiLCJhdWQiOiJsbG1sYWItYXBpIiwic3ViIjoiNTUwZTg0MDAtZTI5Yi00MWQ0LWE3MTYtNDQ2NjU1ND" \
	"QwMDAwIiwi"                                                                                         \
	"anRpIjoiMDE5MGEwMDAtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAxIiwiaWF0IjoxNzAwMDAwMDAwLCJuYmYiOjE3MDAwMD" \
	"AwMDAsImV4"                                                                                         \
	"cCI6MTcwMDAwMzYwMH0"
#define S "q6_bV6T_PLUXHBFk_Lk6nCrgooobbO11dot62erc0T4"

START_TEST(jwt_verify_token_of_another_implementation_gives_principal)
{
	struct jwt_keys *k = keys(SECRET, NULL);
	struct principal p;
	ck_assert_int_eq(jwt_verify(k, H "." P "." S, strlen(H "." P "." S), NOW_US, &p), ERR_OK);
	assert_uuid(&p.user_id, USER);
	assert_uuid(&p.token_id, TOKEN_ID);
	ck_assert_int_eq(p.expires_at_us, 1700003600 * SECOND);
	ck_assert_int_eq(p.scope, AUTH_SCOPE_FULL);
	ck_assert_int_eq(p.generation, 0); /* of before there were generations */
	ck_assert(!p.is_api_key);
	jwt_keys_free(k);
}
END_TEST

START_TEST(jwt_issue_then_verify_gives_same_principal)
{
	struct jwt_keys *k = keys(SECRET, NULL);
	for (int i = 0; i < 200; i++) {
		struct principal issued = {.user_id = uuid_v4(), .generation = i};
		char *token = NULL;
		ck_assert_int_eq(jwt_issue(k, &issued, NOW_US, HOUR_US, &token), ERR_OK);
		struct principal p;
		ck_assert_int_eq(jwt_verify(k, token, strlen(token), NOW_US, &p), ERR_OK);
		ck_assert(uuid_equal(&p.user_id, &issued.user_id));
		ck_assert(uuid_equal(&p.token_id, &issued.token_id));
		ck_assert_int_eq(p.generation, i);
		ck_assert_int_eq(p.expires_at_us, issued.expires_at_us);
		ck_assert_int_eq(p.expires_at_us, NOW_US + HOUR_US);
		ck_assert_int_eq(p.scope, AUTH_SCOPE_FULL);
		free(token);
	}
	jwt_keys_free(k);
}
END_TEST

START_TEST(jwt_issue_twice_gives_different_token_ids_of_the_time_of_issue)
{
	struct jwt_keys *k = keys(SECRET, NULL);
	struct principal a = {.user_id = uuid_v4()};
	struct principal b = a;
	char *token_a = NULL;
	char *token_b = NULL;
	ck_assert_int_eq(jwt_issue(k, &a, NOW_US, HOUR_US, &token_a), ERR_OK);
	ck_assert_int_eq(jwt_issue(k, &b, NOW_US, HOUR_US, &token_b), ERR_OK);
	ck_assert(!uuid_equal(&a.token_id, &b.token_id));
	ck_assert_int_eq(uuid_v7_ms(&a.token_id), NOW_S * 1000);
	free(token_a);
	free(token_b);
	jwt_keys_free(k);
}
END_TEST

START_TEST(jwt_issue_within_a_second_is_valid_at_once_and_expires_on_a_whole_second)
{
	/* 0.9 s past NOW with 2 s to live would end at NOW + 2.9 s; the claim says NOW + 2 s. */
	struct jwt_keys *k = keys(SECRET, NULL);
	struct principal issued = {.user_id = uuid_v4()};
	char *token = NULL;
	const int64_t now_us = NOW_US + 900000;
	ck_assert_int_eq(jwt_issue(k, &issued, now_us, 2 * SECOND, &token), ERR_OK);
	ck_assert_int_eq(issued.expires_at_us, NOW_US + 2 * SECOND);
	struct principal p;
	ck_assert_int_eq(jwt_verify(k, token, strlen(token), now_us, &p), ERR_OK);
	free(token);
	jwt_keys_free(k);
}
END_TEST

/* ---- payloads, all correctly signed ---- */

struct row {
	const char *what, *payload;
};

static const struct row accepted[] = {
	{"good", GOOD},
	{"other order and spaces", "{ " EXP ", " ISS AUD SUB JTI NBF "\"iat\" : 1700000000 }"},
	{"a claim we do not know", "{\"x\":[1,2]," ISS AUD SUB JTI IAT NBF EXP "}"},
	{"one second left", "{" ISS AUD SUB JTI IAT NBF "\"exp\":1700000001}"},
	{"nbf within the leeway", "{" ISS AUD SUB JTI IAT "\"nbf\":1700000060," EXP "}"},
	{"iat within the leeway", "{" ISS AUD SUB JTI "\"iat\":1700000060," NBF EXP "}"},
	{"generation", "{" ISS AUD SUB JTI IAT NBF EXP ",\"gen\":7}"},
	{"exp in the last second of the year 9999", "{" ISS AUD SUB JTI IAT NBF "\"exp\":253402300799}"},
};

START_TEST(jwt_verify_good_payload_is_accepted)
{
	char *token = sign_payload(accepted[_i].payload);
	ck_assert_msg(verify_once(token, strlen(token)) == ERR_OK, "%s", accepted[_i].what);
	free(token);
}
END_TEST

static const struct row refused[] = {
	{"exp now", "{" ISS AUD SUB JTI IAT NBF "\"exp\":1700000000}"},
	{"exp past", "{" ISS AUD SUB JTI IAT NBF "\"exp\":1699999999}"},
	{"exp missing", "{" ISS AUD SUB JTI IAT "\"nbf\":1700000000}"},
	{"exp string", "{" ISS AUD SUB JTI IAT NBF "\"exp\":\"1700003600\"}"},
	{"exp float", "{" ISS AUD SUB JTI IAT NBF "\"exp\":1700003600.0}"},
	{"exp exponent", "{" ISS AUD SUB JTI IAT NBF "\"exp\":17e8}"},
	{"exp negative", "{" ISS AUD SUB JTI IAT NBF "\"exp\":-1}"},
	{"exp zero", "{" ISS AUD SUB JTI IAT NBF "\"exp\":0}"},
	{"exp in the year 10000", "{" ISS AUD SUB JTI IAT NBF "\"exp\":253402300800}"},
	{"exp 2^63", "{" ISS AUD SUB JTI IAT NBF "\"exp\":9223372036854775808}"},
	{"exp 2^63-1", "{" ISS AUD SUB JTI IAT NBF "\"exp\":9223372036854775807}"},
	{"exp one too many for microseconds", "{" ISS AUD SUB JTI IAT NBF "\"exp\":9223372036855}"},
	/* times 10^6 it is 2^64 + 1.8e15: in 64 bits a time in the future */
	{"exp wrapping around to the future", "{" ISS AUD SUB JTI IAT NBF "\"exp\":18448544073709}"},
	{"exp null", "{" ISS AUD SUB JTI IAT NBF "\"exp\":null}"},
	{"exp true", "{" ISS AUD SUB JTI IAT NBF "\"exp\":true}"},
	{"exp array", "{" ISS AUD SUB JTI IAT NBF "\"exp\":[1700003600]}"},
	{"exp other case", "{" ISS AUD SUB JTI IAT NBF "\"EXP\":1700003600}"},
	{"nbf future", "{" ISS AUD SUB JTI IAT "\"nbf\":1700000061," EXP "}"},
	{"nbf missing", "{" ISS AUD SUB JTI IAT EXP "}"},
	{"nbf string", "{" ISS AUD SUB JTI IAT "\"nbf\":\"1\"," EXP "}"},
	{"iat future", "{" ISS AUD SUB JTI "\"iat\":1700000061," NBF EXP "}"},
	{"iat missing", "{" ISS AUD SUB JTI NBF EXP "}"},
	{"iat float", "{" ISS AUD SUB JTI "\"iat\":1.5," NBF EXP "}"},
	{"iat zero", "{" ISS AUD SUB JTI "\"iat\":0," NBF EXP "}"},
	{"gen negative", "{" ISS AUD SUB JTI IAT NBF EXP ",\"gen\":-1}"},
	{"gen string", "{" ISS AUD SUB JTI IAT NBF EXP ",\"gen\":\"7\"}"},
	{"gen float", "{" ISS AUD SUB JTI IAT NBF EXP ",\"gen\":7.0}"},
	{"gen null", "{" ISS AUD SUB JTI IAT NBF EXP ",\"gen\":null}"},
	{"gen 2^63", "{" ISS AUD SUB JTI IAT NBF EXP ",\"gen\":9223372036854775808}"},
	{"iss other", "{\"iss\":\"llmlab2\"," AUD SUB JTI IAT NBF EXP "}"},
	{"iss upper case", "{\"iss\":\"LLMLAB\"," AUD SUB JTI IAT NBF EXP "}"},
	{"iss missing", "{" AUD SUB JTI IAT NBF EXP "}"},
	{"iss number", "{\"iss\":1," AUD SUB JTI IAT NBF EXP "}"},
	{"iss with NUL", "{\"iss\":\"llmlab\\u0000\"," AUD SUB JTI IAT NBF EXP "}"},
	{"aud other", "{" ISS "\"aud\":\"llmlab\"," SUB JTI IAT NBF EXP "}"},
	{"aud missing", "{" ISS SUB JTI IAT NBF EXP "}"},
	{"aud array", "{" ISS "\"aud\":[\"llmlab-api\"]," SUB JTI IAT NBF EXP "}"},
	{"sub missing", "{" ISS AUD JTI IAT NBF EXP "}"},
	{"sub empty", "{" ISS AUD "\"sub\":\"\"," JTI IAT NBF EXP "}"},
	{"sub no UUID", "{" ISS AUD "\"sub\":\"550e8400e29b41d4a716446655440000\"," JTI IAT NBF EXP "}"},
	{"sub number", "{" ISS AUD "\"sub\":1," JTI IAT NBF EXP "}"},
	{"jti missing", "{" ISS AUD SUB IAT NBF EXP "}"},
	{"jti no UUID", "{" ISS AUD SUB "\"jti\":\"x\"," IAT NBF EXP "}"},
	{"jti null", "{" ISS AUD SUB "\"jti\":null," IAT NBF EXP "}"},
	{"exp twice, good last", "{" ISS AUD SUB JTI IAT NBF "\"exp\":1," EXP "}"},
	{"exp twice, good first", "{" ISS AUD SUB JTI IAT NBF EXP ",\"exp\":1}"},
	{"sub twice", "{" ISS AUD SUB SUB JTI IAT NBF EXP "}"},
	{"an unknown claim twice", "{\"x\":1,\"x\":2," ISS AUD SUB JTI IAT NBF EXP "}"},
	{"array around it", "[" GOOD "]"},
	{"array", "[]"},
	{"number", "1"},
	{"string", "\"llmlab\""},
	{"null", "null"},
	{"empty object", "{}"},
	{"something behind it", GOOD "x"},
	{"two objects", GOOD GOOD},
	{"byte order mark", "\xef\xbb\xbf" GOOD},
	{"bad UTF-8", "{\"x\":\"\xff\"," ISS AUD SUB JTI IAT NBF EXP "}"},
	{"no JSON", "hello"},
	{"single quotes", "{'iss':'llmlab'}"},
};

START_TEST(jwt_verify_bad_payload_is_refused)
{
	char *token = sign_payload(refused[_i].payload);
	ck_assert_msg(verify_once(token, strlen(token)) == ERR_INVALID_TOKEN, "%s", refused[_i].what);
	free(token);
}
END_TEST

START_TEST(jwt_verify_payload_with_nul_tail_is_refused)
{
	static const char tail[] = GOOD "\0junk";
	char *token = sign(HEADER, tail, sizeof tail - 1, EVP_sha256(), SECRET);
	ck_assert_int_eq(verify_once(token, strlen(token)), ERR_INVALID_TOKEN);
	free(token);
	token = sign(HEADER, tail, strlen(tail) + 1, EVP_sha256(), SECRET);
	ck_assert_int_eq(verify_once(token, strlen(token)), ERR_INVALID_TOKEN);
	free(token);
}
END_TEST

START_TEST(jwt_verify_deep_payload_is_refused)
{
	/* 1,400 nested arrays fit into a token; signed, so the parser does see them. */
	char payload[1401];
	memset(payload, '[', 1400);
	payload[1400] = '\0';
	char *token = sign_payload(payload);
	ck_assert_uint_le(strlen(token), AUTH_TOKEN_MAX_BYTES);
	ck_assert_int_eq(verify_once(token, strlen(token)), ERR_INVALID_TOKEN);
	free(token);
}
END_TEST

/* ---- headers, the payload good, signed with our secret ---- */

static const char *const headers[] = {
	"{\"alg\":\"none\",\"typ\":\"JWT\"}",
	"{\"alg\":\"None\",\"typ\":\"JWT\"}",
	"{\"alg\":\"NONE\",\"typ\":\"JWT\"}",
	"{\"alg\":\"hs256\",\"typ\":\"JWT\"}",
	"{\"alg\":\"HS384\",\"typ\":\"JWT\"}",
	"{\"alg\":\"HS512\",\"typ\":\"JWT\"}",
	"{\"alg\":\"RS256\",\"typ\":\"JWT\"}",
	"{\"alg\":\"ES256\",\"typ\":\"JWT\"}",
	"{\"alg\":\"\",\"typ\":\"JWT\"}",
	"{\"alg\":null,\"typ\":\"JWT\"}",
	"{\"alg\":\"HS256\"}",
	"{\"alg\":\"HS256\",\"typ\":\"jwt\"}",
	"{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}",
	"{\"typ\":\"JWT\",\"alg\":\"HS256\"}",
	"{\"alg\":\"HS256\", \"typ\":\"JWT\"}",
	"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"crit\":[\"exp\"]}",
	"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"1\"}",
	"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"../../dev/null\"}",
	"{\"alg\":\"HS256\",\"alg\":\"none\",\"typ\":\"JWT\"}",
	"{\"alg\":\"HS256\",\"typ\":\"JWT\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"}}",
	"{}",
	"[]",
	"",
	"null",
	"[[[[[[[[[[",
};

START_TEST(jwt_verify_other_header_is_refused)
{
	char *token = sign(headers[_i], GOOD, strlen(GOOD), EVP_sha256(), SECRET);
	ck_assert_msg(verify_once(token, strlen(token)) == ERR_INVALID_TOKEN, "%s", headers[_i]);
	/* The same without a signature, as alg "none" has it. */
	strrchr(token, '.')[1] = '\0';
	ck_assert_msg(verify_once(token, strlen(token)) == ERR_INVALID_TOKEN, "unsigned %s", headers[_i]);
	free(token);
}
END_TEST

START_TEST(jwt_verify_longer_digests_are_refused)
{
	char *token = sign("{\"alg\":\"HS384\",\"typ\":\"JWT\"}", GOOD, strlen(GOOD), EVP_sha384(), SECRET);
	ck_assert_int_eq(verify_once(token, strlen(token)), ERR_INVALID_TOKEN);
	free(token);
	token = sign("{\"alg\":\"HS512\",\"typ\":\"JWT\"}", GOOD, strlen(GOOD), EVP_sha512(), SECRET);
	ck_assert_int_eq(verify_once(token, strlen(token)), ERR_INVALID_TOKEN);
	free(token);
	token = sign(HEADER, GOOD, strlen(GOOD), EVP_sha512(), SECRET);
	ck_assert_int_eq(verify_once(token, strlen(token)), ERR_INVALID_TOKEN);
	free(token);
}
END_TEST

static const char *const wrong_secrets[] = {
	"", "x", OTHER_SECRET, SECRET "0", "0123456789abcdef0123456789abcde"};

START_TEST(jwt_verify_wrong_key_is_refused)
{
	char *token = sign(HEADER, GOOD, strlen(GOOD), EVP_sha256(), wrong_secrets[_i]);
	ck_assert_int_eq(verify_once(token, strlen(token)), ERR_INVALID_TOKEN);
	free(token);
}
END_TEST

/* ---- forms ---- */

/* The good signature ends in '4' = 56 = 111000: '5', '6' and '7' differ only in the two unused bits. */
static const char *const forms[] = {
	"",
	".",
	"..",
	"...",
	".a.",
	"a..",
	"..a",
	"a.b.c",
	"a.b",
	"Bearer",
	H,
	H ".",
	H "..",
	H "." P,
	H "." P ".",
	H ".." S,
	"." P "." S,
	P "." S,
	H P S,
	".." S,
	H "." P "." S ".",
	"." H "." P "." S,
	H "." P "." S "." S,
	H "." P ".." S,
	H ".." P "." S,
	H "." P "." S "=",
	H "." P "." S "A",
	H "." P "." S " ",
	" " H "." P "." S,
	H "." P "." S "\n",
	H "." P "=." S,
	H "=." P "." S,
	H "." P "."
	  "q6_bV6T_PLUXHBFk_Lk6nCrgooobbO11dot62erc0T",
	H "." P "."
	  "q6_bV6T_PLUXHBFk_Lk6nCrgooobbO11dot62erc0T5",
	H "." P "."
	  "q6_bV6T_PLUXHBFk_Lk6nCrgooobbO11dot62erc0T6",
	H "." P "."
	  "q6_bV6T_PLUXHBFk_Lk6nCrgooobbO11dot62erc0T7",
	H "." P "."
	  "q6/bV6T/PLUXHBFk/Lk6nCrgooobbO11dot62erc0T4",
	H "." P "."
	  "q6/bV6T/PLUXHBFk/Lk6nCrgooobbO11dot62erc0T4=",
	H "." P "."
	  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	H "."
	  "A" P "." S,
	H "." P "A." S,
};

START_TEST(jwt_verify_other_form_is_refused)
{
	ck_assert_msg(verify_once(forms[_i], strlen(forms[_i])) == ERR_INVALID_TOKEN, "%s", forms[_i]);
}
END_TEST

START_TEST(jwt_verify_signed_payload_of_other_spelling_is_refused)
{
	/* The payload {} is "e30"; "e31" has an unused bit set and decodes to the same bytes elsewhere.
	 * Signed properly, and once more with a dot in the payload, which would be a fourth segment. */
	static const char *const payloads[] = {"e31", "e30=", "e3.0", "e", ""};
	for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
		char token[256];
		snprintf(token, sizeof token, H ".%s", payloads[i]);
		unsigned char mac[32];
		unsigned len = 0;
		HMAC(EVP_sha256(), SECRET, 32, (const unsigned char *)token, strlen(token), mac, &len);
		strcat(token, ".");
		base64url_encode(mac, sizeof mac, token + strlen(token));
		ck_assert_int_eq(verify_once(token, strlen(token)), ERR_INVALID_TOKEN);
	}
}
END_TEST

START_TEST(jwt_verify_every_changed_byte_is_refused)
{
	struct jwt_keys *k = keys(SECRET, OTHER_SECRET);
	char token[] = H "." P "." S;
	const size_t n = strlen(token);
	ck_assert_int_eq(verify_n(k, token, n), ERR_OK);
	for (size_t at = 0; at < n; at++) {
		const char original = token[at];
		for (int c = 0; c < 256; c++) {
			if ((char)c == original)
				continue;
			token[at] = (char)c;
			if (verify_n(k, token, n) != ERR_INVALID_TOKEN)
				ck_abort_msg("byte %zu as %d", at, c);
		}
		token[at] = original;
	}
	ck_assert_int_eq(verify_n(k, token, n), ERR_OK);
	jwt_keys_free(k);
}
END_TEST

START_TEST(jwt_verify_every_removed_or_doubled_byte_is_refused)
{
	static const char token[] = H "." P "." S;
	const size_t n = strlen(token);
	struct jwt_keys *k = keys(SECRET, NULL);
	for (size_t at = 0; at < n; at++) {
		char other[sizeof token + 1];
		memcpy(other, token, at);
		memcpy(other + at, token + at + 1, n - at - 1);
		ck_assert_int_eq(verify_n(k, other, n - 1), ERR_INVALID_TOKEN);
		memcpy(other, token, at + 1);
		memcpy(other + at + 1, token + at, n - at);
		ck_assert_int_eq(verify_n(k, other, n + 1), ERR_INVALID_TOKEN);
		ck_assert_int_eq(verify_n(k, token, at), ERR_INVALID_TOKEN);
	}
	/* The NUL behind it, counted as part of it. */
	ck_assert_int_eq(verify_n(k, token, n + 1), ERR_INVALID_TOKEN);
	jwt_keys_free(k);
}
END_TEST

START_TEST(jwt_verify_reads_no_byte_beyond_n)
{
	/* On the heap without a NUL: a sanitizer or valgrind sees a read too far. */
	static const char token[] = H "." P "." S;
	const size_t n = strlen(token);
	char *copy = malloc(n);
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, token, n);
	ck_assert_int_eq(verify_once(copy, n), ERR_OK);
	free(copy);
}
END_TEST

START_TEST(jwt_verify_length_limit_is_exact)
{
	/* 36 + 1 + payload + 1 + 43 characters; 1,475 bytes of payload are 1,967 characters: 2,048 in all.
	 * One byte more gives 1,968 characters. Spaces inside the object fill it up. */
	for (size_t extra = 0; extra < 2; extra++) {
		const size_t payload_len = 1475 + extra;
		char payload[1600];
		memset(payload, ' ', sizeof payload);
		memcpy(payload, GOOD, strlen(GOOD) - 1);
		payload[payload_len - 1] = '}';
		char *token = sign(HEADER, payload, payload_len, EVP_sha256(), SECRET);
		ck_assert_uint_eq(strlen(token), 2048 + extra);
		ck_assert_int_eq(verify_once(token, strlen(token)), extra == 0 ? ERR_OK : ERR_INVALID_TOKEN);
		free(token);
	}
}
END_TEST

START_TEST(jwt_verify_huge_token_is_refused)
{
	char *payload = malloc(75000);
	ck_assert_ptr_nonnull(payload);
	memset(payload, ' ', 75000);
	memcpy(payload, GOOD, strlen(GOOD));
	char *token = sign(HEADER, payload, 75000, EVP_sha256(), SECRET);
	ck_assert_uint_gt(strlen(token), 100000);
	ck_assert_int_eq(verify_once(token, strlen(token)), ERR_INVALID_TOKEN);
	free(token);
	free(payload);
}
END_TEST

/* ---- keys ---- */

START_TEST(jwt_verify_during_rotation_accepts_both_keys_and_signs_with_the_current)
{
	struct jwt_keys *before = keys(OTHER_SECRET, NULL);
	struct jwt_keys *during = keys(SECRET, OTHER_SECRET);
	struct jwt_keys *after = keys(SECRET, NULL);
	struct principal p = {.user_id = uuid_v4()};
	char *old_token = NULL;
	char *new_token = NULL;
	ck_assert_int_eq(jwt_issue(before, &p, NOW_US, HOUR_US, &old_token), ERR_OK);
	ck_assert_int_eq(jwt_issue(during, &p, NOW_US, HOUR_US, &new_token), ERR_OK);
	ck_assert_int_eq(verify_n(during, old_token, strlen(old_token)), ERR_OK);
	ck_assert_int_eq(verify_n(during, new_token, strlen(new_token)), ERR_OK);
	ck_assert_int_eq(verify_n(after, new_token, strlen(new_token)), ERR_OK);
	ck_assert_int_eq(verify_n(after, old_token, strlen(old_token)), ERR_INVALID_TOKEN);
	ck_assert_int_eq(verify_n(before, new_token, strlen(new_token)), ERR_INVALID_TOKEN);
	free(old_token);
	free(new_token);
	jwt_keys_free(before);
	jwt_keys_free(during);
	jwt_keys_free(after);
}
END_TEST

START_TEST(jwt_verify_with_previous_key_still_refuses_third_key_and_expired)
{
	struct jwt_keys *k = keys(SECRET, OTHER_SECRET);
	char *token = sign(HEADER, GOOD, strlen(GOOD), EVP_sha256(), "another secret of thirty-two bytes");
	ck_assert_int_eq(verify_n(k, token, strlen(token)), ERR_INVALID_TOKEN);
	free(token);
	static const char expired[] = "{" ISS AUD SUB JTI IAT NBF "\"exp\":1700000000}";
	token = sign(HEADER, expired, strlen(expired), EVP_sha256(), OTHER_SECRET);
	ck_assert_int_eq(verify_n(k, token, strlen(token)), ERR_INVALID_TOKEN);
	free(token);
	jwt_keys_free(k);
}
END_TEST

START_TEST(jwt_keys_new_secret_length_out_of_bounds_is_range_error)
{
	char secret[1026];
	memset(secret, 'x', sizeof secret);
	static const size_t bad[] = {0, 1, 31, 1025};
	struct jwt_keys *k = NULL;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char *copy = strndup(secret, bad[i]);
		ck_assert_int_eq(jwt_keys_new(copy, NULL, &k), ERR_RANGE);
		ck_assert_int_eq(jwt_keys_new(SECRET, copy, &k), ERR_RANGE);
		ck_assert_ptr_null(k);
		free(copy);
	}
	secret[1024] = '\0';
	ck_assert_int_eq(jwt_keys_new(secret, secret, &k), ERR_OK);
	jwt_keys_free(k);
}
END_TEST

START_TEST(jwt_secret_weakness_random_secret_is_good)
{
	ck_assert_ptr_null(jwt_secret_weakness(SECRET));
	ck_assert_ptr_null(jwt_secret_weakness("uN3x0pQv7KzR1mWc5YtB9eHsJ4aLfG8d"));
}
END_TEST

static const char *const weak_secrets[] = {
	"",
	"change-me",
	"0123456789abcdef0123456789abcde",
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",   /* one byte */
	"abababababababababababababababababababab",   /* two */
	"1234567123456712345671234567123456712345",   /* seven different ones */
	"change-me-0123456789abcdef0123456789abcdef", /* placeholders */
	"CHANGE_ME_0123456789abcdef0123456789abcdef",
	"your-secret-key-change-in-production",
	"my-Secret-0123456789abcdef0123456789",
	"llmlab-0123456789abcdef0123456789abcdef",
};

START_TEST(jwt_secret_weakness_known_or_poor_secret_is_named)
{
	ck_assert_ptr_nonnull(jwt_secret_weakness(weak_secrets[_i]));
}
END_TEST

/* ---- memory ---- */

static int allocations_left;
static int n_denied;

static void *scarce_malloc(size_t n)
{
	if (allocations_left-- > 0)
		return malloc(n);
	n_denied++;
	return NULL;
}

START_TEST(jwt_verify_any_json_allocation_failing_is_never_accepted)
{
	/* The Nth and all later allocations of the JSON parser (ours and libjwt's) fail, N = 0, 1, ... until
	 * none is denied. The parser cannot always tell want of memory from bad text. */
	static const char token[] = H "." P "." S;
	struct jwt_keys *k = keys(SECRET, NULL);
	json_set_alloc_funcs(scarce_malloc, free);
	int n = 0;
	for (;; n++) {
		allocations_left = n;
		n_denied = 0;
		const enum err e = verify_n(k, token, strlen(token));
		if (n_denied == 0) {
			ck_assert_int_eq(e, ERR_OK);
			break;
		}
		ck_assert(e == ERR_NO_MEMORY || e == ERR_INVALID_TOKEN);
		if (n == 0)
			ck_assert_int_eq(e, ERR_NO_MEMORY);
	}
	json_set_alloc_funcs(malloc, free);
	ck_assert_int_gt(n, 10);
	jwt_keys_free(k);
}
END_TEST

#define ADD_TABLE(test, table) tcase_add_loop_test(tcase, test, 0, sizeof table / sizeof table[0])

int main(void)
{
	Suite *suite = suite_create("jwt");
	TCase *tcase = tcase_create("jwt");
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, jwt_verify_token_of_another_implementation_gives_principal);
	tcase_add_test(tcase, jwt_issue_then_verify_gives_same_principal);
	tcase_add_test(tcase, jwt_issue_twice_gives_different_token_ids_of_the_time_of_issue);
	tcase_add_test(tcase, jwt_issue_within_a_second_is_valid_at_once_and_expires_on_a_whole_second);
	ADD_TABLE(jwt_verify_good_payload_is_accepted, accepted);
	ADD_TABLE(jwt_verify_bad_payload_is_refused, refused);
	tcase_add_test(tcase, jwt_verify_payload_with_nul_tail_is_refused);
	tcase_add_test(tcase, jwt_verify_deep_payload_is_refused);
	ADD_TABLE(jwt_verify_other_header_is_refused, headers);
	tcase_add_test(tcase, jwt_verify_longer_digests_are_refused);
	ADD_TABLE(jwt_verify_wrong_key_is_refused, wrong_secrets);
	ADD_TABLE(jwt_verify_other_form_is_refused, forms);
	tcase_add_test(tcase, jwt_verify_signed_payload_of_other_spelling_is_refused);
	tcase_add_test(tcase, jwt_verify_every_changed_byte_is_refused);
	tcase_add_test(tcase, jwt_verify_every_removed_or_doubled_byte_is_refused);
	tcase_add_test(tcase, jwt_verify_reads_no_byte_beyond_n);
	tcase_add_test(tcase, jwt_verify_length_limit_is_exact);
	tcase_add_test(tcase, jwt_verify_huge_token_is_refused);
	tcase_add_test(tcase, jwt_verify_during_rotation_accepts_both_keys_and_signs_with_the_current);
	tcase_add_test(tcase, jwt_verify_with_previous_key_still_refuses_third_key_and_expired);
	tcase_add_test(tcase, jwt_keys_new_secret_length_out_of_bounds_is_range_error);
	tcase_add_test(tcase, jwt_secret_weakness_random_secret_is_good);
	ADD_TABLE(jwt_secret_weakness_known_or_poor_secret_is_named, weak_secrets);
	tcase_add_test(tcase, jwt_verify_any_json_allocation_failing_is_never_accepted);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
