#ifndef LLMLAB_BASE_DECIMAL_H
#define LLMLAB_BASE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/err.h"

/* Exact decimals as 128-bit integers scaled by a power of ten. Nothing here rounds, and nothing passes through a
 * binary float: a text that needs more digits than the scale holds is refused (ERR_RANGE). */

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

#define DECIMAL_MAX ((int128)(~(uint128)0 >> 1)) /* the largest value of 128 bits */
#define DECIMAL_SCALE_MAX 38
#define DECIMAL_TEXT_MAX 48 /* sign, 39 digits, point, NUL, with room */

/* 10^n for n in 0..38. */
int128 decimal_pow10(int n);

/* Reads a JSON number text (RFC 8259 section 6: sign, digits, fraction, exponent) of n bytes as value x 10^scale.
 * ERR_SYNTAX: not a JSON number. ERR_RANGE: more fraction digits than `scale` (trailing zeros do not count), or the
 * magnitude is above max_abs. *ret is untouched on failure. */
enum err decimal_parse(const char *text, size_t n, int scale, int128 max_abs, int128 *ret);

/* Writes value / 10^scale in plain notation without trailing zeros ("0.06", "-12", "0") and a NUL.
 * Returns the length. out must have DECIMAL_TEXT_MAX bytes. */
size_t decimal_format(int128 value, int scale, char *out);

/* Checked arithmetic: false when the exact result does not fit; *ret untouched then. */
bool decimal_add(int128 a, int128 b, int128 *ret);
bool decimal_sub(int128 a, int128 b, int128 *ret);
bool decimal_mul(int128 a, int128 b, int128 *ret);

#endif
