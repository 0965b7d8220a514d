/* SHA-256 through OpenSSL's EVP. A digest identifies content (fingerprints, API keys), so a digest that might
 * be wrong is never returned: if the library refuses, the process ends. Signatures are jwt.c's, passwords
 * password.c's. */
#include "llmlab/auth/digest.h"
#include <openssl/evp.h>
#include <stdlib.h>
#include "llmlab/base/check.h"

struct digest {
	EVP_MD_CTX *ctx; /* owned */
};

struct digest *digest_new(void)
{
	struct digest *d = malloc(sizeof *d);
	CHECK(d != NULL);
	d->ctx = EVP_MD_CTX_new();
	CHECK(d->ctx != NULL);
	CHECK(EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) == 1);
	return d;
}

void digest_update(struct digest *d, const void *data, size_t n)
{
	CHECK(EVP_DigestUpdate(d->ctx, data, n) == 1);
}

void digest_finish(struct digest *d, uint8_t out[32])
{
	unsigned len = 0;
	CHECK(EVP_DigestFinal_ex(d->ctx, out, &len) == 1 && len == 32);
	EVP_MD_CTX_free(d->ctx);
	free(d);
}

void digest_sha256(const void *data, size_t n, uint8_t out[32])
{
	unsigned len = 0;
	CHECK(EVP_Digest(data, n, out, &len, EVP_sha256(), NULL) == 1 && len == 32);
}
