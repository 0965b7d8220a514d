#ifndef LLMLAB_AUTH_BASE64URL_H
#define LLMLAB_AUTH_BASE64URL_H

#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/err.h"

/* base64url without padding (RFC 4648 section 5), as JWT and our API keys use it. */

/* Characters for n bytes, without the NUL. */
#define BASE64URL_LENGTH(n) (((n)*4 + 2) / 3)

/* Writes BASE64URL_LENGTH(n) characters and a NUL; `out` must have room for them. */
void base64url_encode(const void *data, size_t n, char *out);
/* Decodes exactly n characters into `out`. A value has one spelling only: padding, other alphabets, white
 * space, a length of 4k+1 and unused bits that are not zero are ERR_SYNTAX. ERR_RANGE if the bytes do not
 * fit. `out` may be partly written on failure, *ret_len is not. */
enum err base64url_decode(const char *text, size_t n, uint8_t *out, size_t out_size, size_t *ret_len);

#endif
