/* Amounts: sums that fit or do not, and averages. */
#include <check.h>
#include <stdlib.h>
#include "llmlab/core/money.h"

#define USD(n) ((struct money){(int128)(n)*1000000000000000000LL})

START_TEST(money_add_is_exact_and_refuses_what_does_not_fit)
{
	struct money sum = {0};
	ck_assert(money_add(USD(100000000000000000LL), (struct money){1}, &sum));
	ck_assert(sum.atto == USD(100000000000000000LL).atto + 1);
	const struct money most = {DECIMAL_MAX};
	ck_assert(!money_add(most, (struct money){1}, &sum));
	ck_assert(sum.atto == USD(100000000000000000LL).atto + 1);
	ck_assert(money_add(most, (struct money){-1}, &sum));
	ck_assert(sum.atto == DECIMAL_MAX - 1);
}
END_TEST

START_TEST(money_compare_tells_one_atto)
{
	ck_assert_int_eq(money_compare(USD(1), (struct money){USD(1).atto + 1}), -1);
	ck_assert_int_eq(money_compare(USD(1), USD(1)), 0);
	ck_assert_int_eq(money_compare(USD(1), (struct money){-1}), 1);
}
END_TEST

START_TEST(money_average_is_rounded_half_to_even_at_12_decimals)
{
	/* 1 USD / 3 = 0.333333333333|33..: down; 2 / 3 = 0.666666666666|66..: up to ...667. */
	ck_assert(money_average(USD(1), 3) == 333333333333);
	ck_assert(money_average(USD(2), 3) == 666666666667);
	/* 10^-12 USD are 10^6 atto-USD. Halves: 0.5 to 0, 1.5 to 2, 2.5 to 2; a little more is up. */
	ck_assert(money_average((struct money){500000}, 1) == 0);
	ck_assert(money_average((struct money){500001}, 1) == 1);
	ck_assert(money_average((struct money){1500000}, 1) == 2);
	ck_assert(money_average((struct money){5000000}, 2) == 2);
	ck_assert(money_average((struct money){5000001}, 2) == 3);
	ck_assert(money_average((struct money){0}, 7) == 0);
	ck_assert(money_average((struct money){0}, 0) == 0);
}
END_TEST

START_TEST(money_average_of_the_largest_sum_fits)
{
	/* 2^127 - 1 = 170141183460469231731687303715884105727 atto-USD are
	 * 170141183460469231731687303715884.1 x 10^-12 USD. */
	const struct money most = {DECIMAL_MAX};
	ck_assert(money_average(most, 1) ==
		  (int128)170141183460469LL * decimal_pow10(18) + 231731687303715884LL);
	ck_assert(money_average(most, INT64_MAX) == 18446744073710);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("money");
	TCase *const t = tcase_create("money");
	tcase_add_test(t, money_add_is_exact_and_refuses_what_does_not_fit);
	tcase_add_test(t, money_compare_tells_one_atto);
	tcase_add_test(t, money_average_is_rounded_half_to_even_at_12_decimals);
	tcase_add_test(t, money_average_of_the_largest_sum_fits);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
