/* Exact decimals: what is read, what is refused, what is written. */
#include <check.h>
#include <signal.h>
#include <string.h>
#include "llmlab/base/decimal.h"

#define I128_MIN (-DECIMAL_MAX - 1)

struct parse_row {
	const char *text;
	int scale;
	enum err err;
	const char *value; /* value x 10^scale, written with scale 0 */
};

static void check_rows(const struct parse_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int128 value = 4711;
		const enum err e =
			decimal_parse(rows[i].text, strlen(rows[i].text), rows[i].scale, DECIMAL_MAX, &value);
		ck_assert_msg(e == rows[i].err, "'%s': %s", rows[i].text, err_code(e));
		char text[DECIMAL_TEXT_MAX];
		decimal_format(value, 0, text);
		ck_assert_msg(strcmp(text, e == ERR_OK ? rows[i].value : "4711") == 0, "'%s' gave %s",
			rows[i].text, text);
	}
}

#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof *(rows))

START_TEST(decimal_parse_plain_numbers_are_exact)
{
	static const struct parse_row rows[] = {
		{"0", 0, ERR_OK, "0"},
		{"-0", 18, ERR_OK, "0"},
		{"0.06", 18, ERR_OK, "60000000000000000"},
		{"-12.5", 2, ERR_OK, "-1250"},
		{"0.1", 1, ERR_OK, "1"},
		{"123456789012345678901234567890", 0, ERR_OK, "123456789012345678901234567890"},
		/* 2^127 - 1 */
		{"170141183460469231731687303715884105727", 0, ERR_OK,
			"170141183460469231731687303715884105727"},
		{"-170141183460469231731687303715884105727", 0, ERR_OK,
			"-170141183460469231731687303715884105727"},
		{"1.70141183460469231731687303715884105727", 38, ERR_OK,
			"170141183460469231731687303715884105727"},
	};
	CHECK_ROWS(rows);
}
END_TEST

START_TEST(decimal_parse_exponents_are_exact)
{
	static const struct parse_row rows[] = {
		{"1e3", 0, ERR_OK, "1000"},
		{"1E+3", 0, ERR_OK, "1000"},
		{"12.5e-1", 2, ERR_OK, "125"},
		{"1000e-3", 0, ERR_OK, "1"},
		{"1e38", 0, ERR_OK, "100000000000000000000000000000000000000"},
		{"1e-38", 38, ERR_OK, "1"},
		{"0.00000000000000000000000000000000000000000001e44", 0, ERR_OK, "1"},
		{"0e999999999999999999999999", 0, ERR_OK, "0"},
		{"0.000e-999999999999999999999999", 0, ERR_OK, "0"},
		{"1e00000000000000000000000000000000000002", 0, ERR_OK, "100"},
	};
	CHECK_ROWS(rows);
}
END_TEST

START_TEST(decimal_parse_trailing_zeros_do_not_count)
{
	static const struct parse_row rows[] = {
		{"10.0", 0, ERR_OK, "10"},
		{"100.000", 1, ERR_OK, "1000"},
		{"0.50000000000000000000000000000000000000000000000", 1, ERR_OK, "5"},
		{"0.000000000000000000000000000000000000000000000000", 0, ERR_OK, "0"},
	};
	CHECK_ROWS(rows);
}
END_TEST

START_TEST(decimal_parse_more_digits_than_scale_is_refused)
{
	static const struct parse_row rows[] = {
		{"0.1", 0, ERR_RANGE, NULL},
		{"1.0000000000000000001", 18, ERR_RANGE, NULL},
		{"1e-1", 0, ERR_RANGE, NULL},
		{"1e-99999999999999999999999", 38, ERR_RANGE, NULL},
		{"12345e-2", 1, ERR_RANGE, NULL},
	};
	CHECK_ROWS(rows);
}
END_TEST

START_TEST(decimal_parse_too_large_is_refused)
{
	static const struct parse_row rows[] = {
		/* 2^127 */
		{"170141183460469231731687303715884105728", 0, ERR_RANGE, NULL},
		/* 2^128, which would wrap to 0 */
		{"340282366920938463463374607431768211456", 0, ERR_RANGE, NULL},
		{"1e39", 0, ERR_RANGE, NULL},
		{"2e20", 19, ERR_RANGE, NULL},
		{"1e99999999999999999999999", 0, ERR_RANGE, NULL},
		/* an exponent of 2^64, which would wrap to 0 */
		{"1e18446744073709551616", 0, ERR_RANGE, NULL},
		{"9999999999999999999999999999999999999999999999999999", 0, ERR_RANGE, NULL},
	};
	CHECK_ROWS(rows);
}
END_TEST

START_TEST(decimal_parse_not_a_json_number_is_refused)
{
	static const char *const texts[] = {"", "-", "+1", "01", "-01", "00", ".5", "5.", "1.e3", "1e", "1e+",
		"1e1.0", " 1", "1 ", "1,5", "0x10", "NaN", "Infinity", "-Infinity", "1_000", "--1", "1-",
		"1.2.3", "1e5e5", "e5", "-e5", "\xD9\xA1"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		int128 value = 0;
		const enum err e = decimal_parse(texts[i], strlen(texts[i]), 2, DECIMAL_MAX, &value);
		ck_assert_msg(e == ERR_SYNTAX, "'%s': %s", texts[i], err_code(e));
	}
	int128 value = 0;
	ck_assert_int_eq(decimal_parse("1\0", 2, 0, 10, &value), ERR_SYNTAX);
}
END_TEST

START_TEST(decimal_parse_reads_only_n_bytes)
{
	int128 value = 0;
	ck_assert_int_eq(decimal_parse("12345", 3, 0, 1000, &value), ERR_OK);
	ck_assert(value == 123);
}
END_TEST

START_TEST(decimal_parse_maximum_is_inclusive)
{
	int128 value = 0;
	ck_assert_int_eq(decimal_parse("1.00", 4, 2, 100, &value), ERR_OK);
	ck_assert(value == 100);
	ck_assert_int_eq(decimal_parse("-1.00", 5, 2, 100, &value), ERR_OK);
	ck_assert(value == -100);
	ck_assert_int_eq(decimal_parse("1.01", 4, 2, 100, &value), ERR_RANGE);
	ck_assert_int_eq(decimal_parse("-1.01", 5, 2, 100, &value), ERR_RANGE);
	ck_assert_int_eq(decimal_parse("0", 1, 2, 0, &value), ERR_OK);
}
END_TEST

START_TEST(decimal_format_values_are_plain_and_short)
{
	const struct {
		int128 value;
		int scale;
		const char *text;
	} rows[] = {
		{0, 0, "0"},
		{0, 38, "0"},
		{60000000000000000, 18, "0.06"},
		{-12, 0, "-12"},
		{-1250, 2, "-12.5"},
		{1200, 0, "1200"},
		{1200, 2, "12"},
		{1, 38, "0.00000000000000000000000000000000000001"},
		{-5, 1, "-0.5"},
		{DECIMAL_MAX, 0, "170141183460469231731687303715884105727"},
		{I128_MIN, 0, "-170141183460469231731687303715884105728"},
		{I128_MIN, 38, "-1.70141183460469231731687303715884105728"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[DECIMAL_TEXT_MAX];
		const size_t length = decimal_format(rows[i].value, rows[i].scale, text);
		ck_assert_str_eq(text, rows[i].text);
		ck_assert_uint_eq(length, strlen(text));
	}
}
END_TEST

START_TEST(decimal_format_then_parse_gives_the_value_back)
{
	uint64_t state = 88172645463325252u;
	for (int i = 0; i < 20000; i++) {
		uint64_t words[2];
		for (int k = 0; k < 2; k++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			words[k] = state;
		}
		const int128 value = (int128)((uint128)words[0] << 64 | words[1]) >> (words[0] % 127);
		const int scale = (int)(words[1] % 39);
		char text[DECIMAL_TEXT_MAX];
		const size_t length = decimal_format(value, scale, text);
		int128 back = 1;
		ck_assert_int_eq(decimal_parse(text, length, scale, DECIMAL_MAX, &back), ERR_OK);
		ck_assert_msg(back == value, "%s", text);
	}
}
END_TEST

START_TEST(decimal_pow10_is_exact)
{
	ck_assert(decimal_pow10(0) == 1);
	ck_assert(decimal_pow10(18) == 1000000000000000000);
	ck_assert(decimal_pow10(38) == (int128)10000000000000000000u * 10000000000000000000u);
}
END_TEST

START_TEST(decimal_pow10_beyond_scale_aborts)
{
	decimal_pow10(39);
}
END_TEST

START_TEST(decimal_add_at_the_limits_is_checked)
{
	int128 r = 7;
	ck_assert(decimal_add(DECIMAL_MAX - 1, 1, &r) && r == DECIMAL_MAX);
	ck_assert(decimal_add(I128_MIN, DECIMAL_MAX, &r) && r == -1);
	r = 7;
	ck_assert(!decimal_add(DECIMAL_MAX, 1, &r) && r == 7);
	ck_assert(!decimal_add(I128_MIN, -1, &r) && r == 7);
}
END_TEST

START_TEST(decimal_sub_at_the_limits_is_checked)
{
	int128 r = 7;
	ck_assert(decimal_sub(-1, DECIMAL_MAX, &r) && r == I128_MIN);
	r = 7;
	ck_assert(!decimal_sub(0, I128_MIN, &r) && r == 7);
	ck_assert(!decimal_sub(-2, DECIMAL_MAX, &r) && r == 7);
}
END_TEST

START_TEST(decimal_mul_at_the_limits_is_checked)
{
	const int128 two_63 = (int128)1 << 63;
	int128 r = 7;
	ck_assert(decimal_mul(-3, 4, &r) && r == -12);
	ck_assert(decimal_mul(0, I128_MIN, &r) && r == 0);
	ck_assert(decimal_mul(I128_MIN, 1, &r) && r == I128_MIN);
	ck_assert(decimal_mul(DECIMAL_MAX, -1, &r) && r == -DECIMAL_MAX);
	/* -(2^64 x 2^63) = -2^127 just fits, +2^127 does not. */
	ck_assert(decimal_mul(two_63 * 2, -two_63, &r) && r == I128_MIN);
	r = 7;
	ck_assert(!decimal_mul(two_63 * 2, two_63, &r) && r == 7);
	ck_assert(!decimal_mul(I128_MIN, -1, &r) && r == 7);
	ck_assert(!decimal_mul(DECIMAL_MAX, 2, &r) && r == 7);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("decimal");
	TCase *const tc = tcase_create("decimal");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, decimal_parse_plain_numbers_are_exact);
	tcase_add_test(tc, decimal_parse_exponents_are_exact);
	tcase_add_test(tc, decimal_parse_trailing_zeros_do_not_count);
	tcase_add_test(tc, decimal_parse_more_digits_than_scale_is_refused);
	tcase_add_test(tc, decimal_parse_too_large_is_refused);
	tcase_add_test(tc, decimal_parse_not_a_json_number_is_refused);
	tcase_add_test(tc, decimal_parse_reads_only_n_bytes);
	tcase_add_test(tc, decimal_parse_maximum_is_inclusive);
	tcase_add_test(tc, decimal_format_values_are_plain_and_short);
	tcase_add_test(tc, decimal_format_then_parse_gives_the_value_back);
	tcase_add_test(tc, decimal_pow10_is_exact);
	tcase_add_test_raise_signal(tc, decimal_pow10_beyond_scale_aborts, SIGABRT);
	tcase_add_test(tc, decimal_add_at_the_limits_is_checked);
	tcase_add_test(tc, decimal_sub_at_the_limits_is_checked);
	tcase_add_test(tc, decimal_mul_at_the_limits_is_checked);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
