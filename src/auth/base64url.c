/* base64url without padding, strict in both directions: a token or key must have exactly one spelling, so
 * that what was checked is what is compared, stored and revoked. It knows nothing about what the bytes mean.
 */
#include "llmlab/auth/base64url.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(const void *data, size_t n, char *out)
{
	const uint8_t *bytes = data;
	uint32_t bits = 0;
	unsigned n_bits = 0;
	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | bytes[i];
		n_bits += 8;
		while (n_bits >= 6) {
			n_bits -= 6;
			*out++ = alphabet[bits >> n_bits & 63];
		}
	}
	if (n_bits > 0)
		*out++ = alphabet[bits << (6 - n_bits) & 63];
	*out = '\0';
}

/* The six bits of a character, or -1. */
static int sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	return c == '_' ? 63 : -1;
}

enum err base64url_decode(const char *text, size_t n, uint8_t *out, size_t out_size, size_t *ret_len)
{
	if (n % 4 == 1)
		return ERR_SYNTAX;
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		const int value = sextet(text[i]);
		if (value < 0)
			return ERR_SYNTAX;
		bits = bits << 6 | (uint32_t)value;
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		if (len == out_size)
			return ERR_RANGE;
		out[len++] = (uint8_t)(bits >> n_bits & 255);
	}
	if ((bits & ((1U << n_bits) - 1)) != 0)
		return ERR_SYNTAX;
	*ret_len = len;
	return ERR_OK;
}
