#ifndef LLMLAB_AUTH_DIGEST_H
#define LLMLAB_AUTH_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* SHA-256 (FIPS 180-4), through OpenSSL. Incremental, without allocation failure: aborts if the library refuses. */
struct digest;
struct digest *digest_new(void);
void digest_update(struct digest *d, const void *data, size_t n);
/* Finishes and frees. */
void digest_finish(struct digest *d, uint8_t out[32]);
/* One call. */
void digest_sha256(const void *data, size_t n, uint8_t out[32]);

#endif
