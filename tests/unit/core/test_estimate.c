/* Between money and the doubles of statistics. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include "llmlab/core/estimate.h"

#define MICRO	  ((int128)1000000000000) /* atto-USD of 0.000001 USD */
#define USD(n)	  ((struct money){(int128)(n)*1000000 * MICRO})
#define UNTOUCHED ((struct money){-7})

START_TEST(money_as_double_is_usd)
{
	ck_assert_double_eq(money_as_double(USD(0)), 0);
	ck_assert_double_eq(money_as_double(USD(12)), 12);
	ck_assert_double_eq(money_as_double((struct money){1}), 1e-18);
	ck_assert_double_eq(money_as_double((struct money){-250000 * MICRO}), -0.25);
}
END_TEST

START_TEST(decimal_as_double_divides_by_the_scale)
{
	ck_assert_double_eq(decimal_as_double(35, 1), 3.5);
	ck_assert_double_eq(decimal_as_double(35, 0), 35);
	ck_assert_double_eq(decimal_as_double(-1, 22), -1e-22);
}
END_TEST

START_TEST(money_ratio_needs_no_unit)
{
	ck_assert_double_eq(money_ratio(USD(3), USD(4)), 0.75);
	ck_assert_double_eq(money_ratio((struct money){-1}, (struct money){2}), -0.5);
	/* Both are beyond 2^53 atto-USD, and the quotient is still a third of 3. */
	ck_assert_double_eq(money_ratio(USD(300000000000), USD(100000000000)), 3);
}
END_TEST

static void expect_micros(double usd, int128 micros)
{
	struct money m = UNTOUCHED;
	ck_assert(money_of_estimate(usd, &m));
	ck_assert(m.atto == micros * MICRO);
}

START_TEST(money_of_estimate_has_six_decimals)
{
	expect_micros(0, 0);
	expect_micros(1.25, 1250000);
	expect_micros(0.1, 100000);
	/* The nearest millionth; the half, 2^-7 = 0.0078125 has 7 decimals, goes up. */
	expect_micros(0.00000049, 0);
	expect_micros(0.0000014, 1);
	expect_micros(0.0078125, 7813);
	/* What is almost nothing is nothing, not less. */
	expect_micros(1e-300, 0);
	expect_micros(-0.0, 0);
}
END_TEST

START_TEST(money_of_estimate_takes_what_is_below_its_bound)
{
	/* 2^66 = 73786976294838206464 is below 10^20 and a double exactly, and so is 2^66 x 10^6 = 2^72 x
	 * 15625. */
	expect_micros(0x1p66, ((int128)1 << 72) * 15625);
	struct money m;
	ck_assert(money_of_estimate(nextafter(ESTIMATE_MAX_USD, 0), &m));
	ck_assert(m.atto > 0);
}
END_TEST

START_TEST(money_of_estimate_refuses_what_is_no_amount)
{
	const double bad[] = {
		NAN, -NAN, INFINITY, -INFINITY, ESTIMATE_MAX_USD, 1e300, -1e-9, -1, nextafter(0, -1)};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct money m = UNTOUCHED;
		ck_assert_msg(!money_of_estimate(bad[i], &m), "%g", bad[i]);
		ck_assert(m.atto == UNTOUCHED.atto);
	}
}
END_TEST

START_TEST(an_estimate_survives_the_way_to_a_double_and_back)
{
	/* Doubles have 15 digits: up to 10^9 USD every millionth is told from the next. */
	for (int128 micros = 1; micros < (int128)1000000000 * 1000000; micros = micros * 3 + 1) {
		struct money m = UNTOUCHED;
		ck_assert(money_of_estimate(money_as_double((struct money){micros * MICRO}), &m));
		ck_assert(m.atto == micros * MICRO);
	}
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("estimate");
	TCase *const t = tcase_create("estimate");
	tcase_add_test(t, money_as_double_is_usd);
	tcase_add_test(t, decimal_as_double_divides_by_the_scale);
	tcase_add_test(t, money_ratio_needs_no_unit);
	tcase_add_test(t, money_of_estimate_has_six_decimals);
	tcase_add_test(t, money_of_estimate_takes_what_is_below_its_bound);
	tcase_add_test(t, money_of_estimate_refuses_what_is_no_amount);
	tcase_add_test(t, an_estimate_survives_the_way_to_a_double_and_back);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
