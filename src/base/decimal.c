/* Exact decimal numbers: text to scaled 128-bit integer and back, and arithmetic that tells when a result
 * does not fit. It neither rounds nor clamps, and knows nothing of currencies. */
#include "llmlab/base/decimal.h"
#include "llmlab/base/check.h"

#define UINT128_MAX_VALUE (~(uint128)0)
#define UINT128_DIGITS	  39
/* An exponent this large is out of range whatever the digits are: no text has as many of them. */
#define EXPONENT_SATURATED (INT64_MAX / 4)

int128 decimal_pow10(int n)
{
	CHECK(n >= 0 && n <= DECIMAL_SCALE_MAX);
	int128 power = 1;
	for (int i = 0; i < n; i++)
		power *= 10;
	return power;
}

/* A number's text cut into its parts, none of them converted yet. */
struct number_parts {
	bool negative;
	const char *digits; /* integer digits, then maybe a point, then fraction digits */
	const char *end;    /* of the digits */
	int64_t n_fraction; /* digits after the point */
	int64_t exponent;   /* saturated */
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *skip_digits(const char *at, const char *end)
{
	while (at < end && is_digit(*at))
		at++;
	return at;
}

/* The exponent's digits after 'e'; true when [at, end) is exactly one optional sign and digits. */
static bool parse_exponent(const char *at, const char *end, int64_t *ret)
{
	const bool negative = at < end && *at == '-';
	if (at < end && (*at == '-' || *at == '+'))
		at++;
	if (at == end || skip_digits(at, end) != end)
		return false;
	int64_t value = 0;
	for (; at < end; at++)
		value = value >= EXPONENT_SATURATED / 10 ? EXPONENT_SATURATED : value * 10 + (*at - '0');
	*ret = negative ? -value : value;
	return true;
}

/* RFC 8259 section 6: number = [ minus ] int [ frac ] [ exp ]. */
static bool parse_parts(const char *text, size_t n, struct number_parts *ret)
{
	const char *at = text;
	const char *const end = text + n;
	struct number_parts parts = {.negative = n > 0 && *at == '-'};
	if (parts.negative)
		at++;
	parts.digits = at;
	at = skip_digits(at, end);
	if (at == parts.digits || (*parts.digits == '0' && at - parts.digits > 1))
		return false;
	if (at < end && *at == '.') {
		const char *const fraction = at + 1;
		at = skip_digits(fraction, end);
		if (at == fraction)
			return false;
		parts.n_fraction = at - fraction;
	}
	parts.end = at;
	if (at < end && (*at == 'e' || *at == 'E')) {
		if (!parse_exponent(at + 1, end, &parts.exponent))
			return false;
		at = end;
	}
	if (at != end)
		return false;
	*ret = parts;
	return true;
}

/* magnitude x 10 + digit; false when that does not fit. */
static bool push_digit(uint128 *magnitude, unsigned digit)
{
	if (*magnitude > (UINT128_MAX_VALUE - digit) / 10)
		return false;
	*magnitude = *magnitude * 10 + digit;
	return true;
}

/* The digits as one integer, times 10^shift; false when that does not fit or digits would be lost. */
static bool parts_magnitude(const struct number_parts *parts, int scale, uint128 *ret)
{
	int64_t shift = parts->exponent - parts->n_fraction + scale;
	const char *end = parts->end;
	/* Zeros at the end carry no value: they only move the point. */
	while (end > parts->digits && (end[-1] == '0' || end[-1] == '.')) {
		shift += end[-1] == '0';
		end--;
	}
	uint128 magnitude = 0;
	for (const char *at = parts->digits; at < end; at++) {
		if (*at != '.' && !push_digit(&magnitude, (unsigned)(*at - '0')))
			return false;
	}
	if (magnitude != 0 && (shift < 0 || shift > UINT128_DIGITS))
		return false;
	for (int64_t i = 0; magnitude != 0 && i < shift; i++) {
		if (!push_digit(&magnitude, 0))
			return false;
	}
	*ret = magnitude;
	return true;
}

enum err decimal_parse(const char *text, size_t n, int scale, int128 max_abs, int128 *ret)
{
	CHECK(scale >= 0 && scale <= DECIMAL_SCALE_MAX && max_abs >= 0);
	struct number_parts parts;
	if (!parse_parts(text, n, &parts))
		return ERR_SYNTAX;
	uint128 magnitude;
	if (!parts_magnitude(&parts, scale, &magnitude) || magnitude > (uint128)max_abs)
		return ERR_RANGE;
	const int128 value = (int128)magnitude;
	*ret = parts.negative ? -value : value;
	return ERR_OK;
}

/* 10^18: what fits 64 bits. A 128-bit division costs as much as a dozen of 64 bits, so digits are taken from
 * pieces of 18. */
#define PIECE	     1000000000000000000ULL
#define PIECE_DIGITS 18

/* Digits of the magnitude, least significant first, at least min_digits of them. Returns how many. */
static int put_digits(uint128 magnitude, int min_digits, char *reversed)
{
	int n = 0;
	while (magnitude != 0) {
		const bool last = magnitude < PIECE;
		uint64_t piece = last ? (uint64_t)magnitude : (uint64_t)(magnitude % PIECE);
		magnitude = last ? 0 : magnitude / PIECE;
		for (int i = 0; last ? piece != 0 : i < PIECE_DIGITS; i++) {
			reversed[n++] = (char)('0' + piece % 10);
			piece /= 10;
		}
	}
	while (n < min_digits)
		reversed[n++] = '0';
	return n;
}

size_t decimal_format(int128 value, int scale, char *out)
{
	CHECK(scale >= 0 && scale <= DECIMAL_SCALE_MAX);
	char reversed[DECIMAL_TEXT_MAX];
	const int n = put_digits(value < 0 ? -(uint128)value : (uint128)value, scale + 1, reversed);
	int first = 0; /* trailing zeros of the fraction are not shown */
	while (first < scale && reversed[first] == '0')
		first++;
	size_t length = 0;
	if (value < 0)
		out[length++] = '-';
	for (int i = n - 1; i >= first; i--) {
		out[length++] = reversed[i];
		if (i == scale && first < scale)
			out[length++] = '.';
	}
	out[length] = '\0';
	return length;
}

bool decimal_add(int128 a, int128 b, int128 *ret)
{
	int128 sum;
	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*ret = sum;
	return true;
}

bool decimal_sub(int128 a, int128 b, int128 *ret)
{
	int128 difference;
	if (__builtin_sub_overflow(a, b, &difference))
		return false;
	*ret = difference;
	return true;
}

bool decimal_mul(int128 a, int128 b, int128 *ret)
{
	/* By magnitudes, because __builtin_mul_overflow on 128 bits needs a runtime function that not every
	 * compiler's runtime library has. */
	const bool negative = (a < 0) != (b < 0);
	const uint128 left = a < 0 ? -(uint128)a : (uint128)a;
	const uint128 right = b < 0 ? -(uint128)b : (uint128)b;
	const uint128 limit = (uint128)DECIMAL_MAX + (negative ? 1 : 0);
	if (left != 0 && right > limit / left)
		return false;
	const uint128 product = left * right;
	*ret = negative ? (int128)-product : (int128)product;
	return true;
}
