/* Encryption of stored secrets, and webhook secrets: making them and signing with them. What OpenSSL refuses
 * with valid arguments ends the process, as in digest.c: a wrong key or signature is never used. Where sealed
 * texts are kept is the database's business. */
#include "llmlab/auth/seal.h"
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/password.h"
#include "llmlab/base/check.h"
#include "llmlab/base/hex.h"

#define KEY_BYTES   32
#define ID_BYTES    8
#define NONCE_BYTES 12
#define TAG_BYTES   16
#define ROW_BYTES   32
#define SECRET_MARK "whsec_"
#define INFO	    "llmlab seal v1"

struct key {
	uint8_t bytes[KEY_BYTES];
	char id[SEAL_KEY_ID_SIZE];
};

struct seal_keys {
	struct key current, previous;
	bool has_previous;
};

/* HKDF without salt: the input is a uniform secret. The first bytes of the output are the public id. */
static void derive(const char *secret, struct key *ret)
{
	static const unsigned char info[] = INFO;
	uint8_t out[ID_BYTES + KEY_BYTES];
	size_t n = sizeof out;
	EVP_PKEY_CTX *const ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
	CHECK(ctx != NULL && EVP_PKEY_derive_init(ctx) == 1);
	CHECK(EVP_PKEY_CTX_set_hkdf_md(ctx, EVP_sha256()) == 1);
	CHECK(EVP_PKEY_CTX_set1_hkdf_key(ctx, (const unsigned char *)secret, (int)strlen(secret)) == 1);
	CHECK(EVP_PKEY_CTX_add1_hkdf_info(ctx, info, sizeof info - 1) == 1);
	CHECK(EVP_PKEY_derive(ctx, out, &n) == 1 && n == sizeof out);
	EVP_PKEY_CTX_free(ctx);
	hex_encode(out, ID_BYTES, ret->id);
	memcpy(ret->bytes, out + ID_BYTES, KEY_BYTES);
	secret_wipe(out, sizeof out);
}

enum err seal_keys_new(const char *secret, const char *previous, struct seal_keys **ret)
{
	struct seal_keys *const k = calloc(1, sizeof *k);
	if (k == NULL)
		return ERR_NO_MEMORY;
	derive(secret, &k->current);
	k->has_previous = previous != NULL;
	if (previous != NULL)
		derive(previous, &k->previous);
	*ret = k;
	return ERR_OK;
}

void seal_keys_free(struct seal_keys *k)
{
	if (k != NULL)
		secret_wipe(k, sizeof *k);
	free(k);
}

const char *seal_key_id(const struct seal_keys *k)
{
	return k->current.id;
}

const char *seal_previous_key_id(const struct seal_keys *k)
{
	return k->has_previous ? k->previous.id : NULL;
}

/* What the tag also covers: whose secret it is. */
static void row_bytes(const struct uuid *user_id, const struct uuid *id, uint8_t out[ROW_BYTES])
{
	memcpy(out, user_id->bytes, sizeof user_id->bytes);
	memcpy(out + sizeof user_id->bytes, id->bytes, sizeof id->bytes);
}

void seal_text(const struct seal_keys *k, const struct uuid *user_id, const struct uuid *id, const char *text,
	char out[SEALED_SIZE])
{
	const size_t n = strnlen(text, SEAL_TEXT_MAX + 1);
	CHECK(n <= SEAL_TEXT_MAX);
	uint8_t row[ROW_BYTES], box[NONCE_BYTES + SEAL_TEXT_MAX + TAG_BYTES];
	uint8_t *const sealed = box + NONCE_BYTES;
	int len = 0;
	row_bytes(user_id, id, row);
	random_bytes(box, NONCE_BYTES);
	EVP_CIPHER_CTX *const ctx = EVP_CIPHER_CTX_new();
	CHECK(ctx != NULL);
	CHECK(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, k->current.bytes, box) == 1);
	CHECK(EVP_EncryptUpdate(ctx, NULL, &len, row, sizeof row) == 1);
	CHECK(EVP_EncryptUpdate(ctx, sealed, &len, (const unsigned char *)text, (int)n) == 1 &&
		(size_t)len == n);
	CHECK(EVP_EncryptFinal_ex(ctx, sealed + n, &len) == 1 && len == 0);
	CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, sealed + n) == 1);
	EVP_CIPHER_CTX_free(ctx);
	memcpy(out, k->current.id, SEAL_KEY_ID_SIZE - 1);
	out[SEAL_KEY_ID_SIZE - 1] = '.';
	base64url_encode(box, NONCE_BYTES + n + TAG_BYTES, out + SEAL_KEY_ID_SIZE);
}

static const struct key *key_of(const struct seal_keys *k, const char *sealed)
{
	if (strncmp(sealed, k->current.id, SEAL_KEY_ID_SIZE - 1) == 0)
		return &k->current;
	if (k->has_previous && strncmp(sealed, k->previous.id, SEAL_KEY_ID_SIZE - 1) == 0)
		return &k->previous;
	return NULL;
}

/* n bytes of text; false if the tag is not right. */
static bool decrypt(const struct key *key, const uint8_t row[ROW_BYTES], uint8_t *box, size_t n, uint8_t *out)
{
	uint8_t *const sealed = box + NONCE_BYTES;
	int len = 0;
	EVP_CIPHER_CTX *const ctx = EVP_CIPHER_CTX_new();
	CHECK(ctx != NULL);
	CHECK(EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->bytes, box) == 1);
	CHECK(EVP_DecryptUpdate(ctx, NULL, &len, row, ROW_BYTES) == 1);
	CHECK(EVP_DecryptUpdate(ctx, out, &len, sealed, (int)n) == 1 && (size_t)len == n);
	CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, sealed + n) == 1);
	const bool good = EVP_DecryptFinal_ex(ctx, out + n, &len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

enum err seal_open(const struct seal_keys *k, const struct uuid *user_id, const struct uuid *id,
	const char *sealed, char out[SEAL_TEXT_MAX + 1])
{
	const size_t length = strnlen(sealed, SEALED_SIZE);
	if (length <= SEAL_KEY_ID_SIZE || length >= SEALED_SIZE || sealed[SEAL_KEY_ID_SIZE - 1] != '.')
		return ERR_SYNTAX;
	const struct key *const key = key_of(k, sealed);
	if (key == NULL)
		return ERR_NOT_FOUND;
	uint8_t row[ROW_BYTES], box[NONCE_BYTES + SEAL_TEXT_MAX + TAG_BYTES], text[SEAL_TEXT_MAX + TAG_BYTES];
	size_t n = 0;
	if (base64url_decode(sealed + SEAL_KEY_ID_SIZE, length - SEAL_KEY_ID_SIZE, box, sizeof box, &n) !=
			ERR_OK ||
		n < NONCE_BYTES + TAG_BYTES)
		return ERR_SYNTAX;
	n -= NONCE_BYTES + TAG_BYTES;
	row_bytes(user_id, id, row);
	const bool good = decrypt(key, row, box, n, text);
	if (good) {
		memcpy(out, text, n);
		out[n] = '\0';
	}
	secret_wipe(text, sizeof text);
	return good ? ERR_OK : ERR_SYNTAX;
}

void webhook_secret_generate(char out[WEBHOOK_SECRET_SIZE])
{
	uint8_t secret[32];
	random_bytes(secret, sizeof secret);
	memcpy(out, SECRET_MARK, sizeof SECRET_MARK - 1);
	base64url_encode(secret, sizeof secret, out + sizeof SECRET_MARK - 1);
	secret_wipe(secret, sizeof secret);
}

enum err webhook_sign(
	const char *secret, int64_t unix_s, const char *body, size_t n, char out[WEBHOOK_SIGNATURE_SIZE])
{
	char time[24], hex[65];
	uint8_t mac[32];
	unsigned len = 0;
	const int time_len = snprintf(time, sizeof time, "%" PRId64 ".", unix_s);
	CHECK(time_len > 0 && (size_t)time_len < sizeof time);
	unsigned char *const text = malloc((size_t)time_len + n);
	if (text == NULL)
		return ERR_NO_MEMORY;
	memcpy(text, time, (size_t)time_len);
	memcpy(text + time_len, body, n);
	CHECK(HMAC(EVP_sha256(), secret, (int)strlen(secret), text, (size_t)time_len + n, mac, &len) !=
			NULL &&
		len == sizeof mac);
	free(text);
	hex_encode(mac, sizeof mac, hex);
	CHECK(snprintf(out, WEBHOOK_SIGNATURE_SIZE, "t=%" PRId64 ",v1=%s", unix_s, hex) <
		WEBHOOK_SIGNATURE_SIZE);
	return ERR_OK;
}
