/* Bytes as hexadecimal digits. What they mean, and how long they may be, is the callers' knowledge. */

#include "llmlab/base/hex.h"

void hex_encode(const uint8_t *bytes, size_t n, char *ret)
{
	static const char DIGITS[] = "0123456789abcdef";
	for (size_t i = 0; i < n; i++) {
		ret[2 * i] = DIGITS[bytes[i] >> 4];
		ret[2 * i + 1] = DIGITS[bytes[i] & 15];
	}
	ret[2 * n] = '\0';
}

int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}
