/* Whether limits hold, exact at their boundaries; inclusive thresholds, cut percentages, projections. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/core/budget.h"

#define USD(n) ((struct money){(int128)(n)*1000000000000000000LL})

static struct money usd(const char *text)
{
	struct money m = {0};
	ck_assert_int_eq(decimal_parse(text, strlen(text), MONEY_SCALE, decimal_pow10(38), &m.atto), ERR_OK);
	return m;
}

START_TEST(budget_admits_the_limit_itself_and_nothing_beyond)
{
	/* 0.1 + 0.2 + 0.7 = 1 exactly; one atto more is beyond it */
	ck_assert(budget_admits(usd("1"), usd("0.1"), usd("0.2"), usd("0.7")));
	ck_assert(!budget_admits(usd("1"), usd("0.1"), usd("0.2"), usd("0.700000000000000001")));
	ck_assert(!budget_admits(usd("1"), usd("0.1"), usd("0.200000000000000001"), usd("0.7")));
	ck_assert(!budget_admits(usd("1"), usd("0.100000000000000001"), usd("0.2"), usd("0.7")));
}
END_TEST

START_TEST(budget_admits_nothing_more_of_a_full_one_but_zero)
{
	ck_assert(budget_admits(usd("1"), usd("1"), usd("0"), usd("0")));
	ck_assert(!budget_admits(usd("1"), usd("1.000000000000000001"), usd("0"), usd("0")));
}
END_TEST

START_TEST(budget_admits_sum_beyond_128_bits_is_refused)
{
	const struct money most = {DECIMAL_MAX};
	ck_assert(!budget_admits(usd("1000000000000"), most, most, usd("0")));
	ck_assert(!budget_admits(usd("1000000000000"), most, usd("0"), (struct money){1}));
}
END_TEST

START_TEST(budget_reached_is_inclusive)
{
	/* 80 per cent of 0.3 is 0.24 */
	ck_assert(budget_reached(usd("0.24"), usd("0.3"), 80));
	ck_assert(!budget_reached(usd("0.239999999999999999"), usd("0.3"), 80));
	/* 150 per cent of 2 is 3 */
	ck_assert(budget_reached(usd("3"), usd("2"), 150));
	ck_assert(!budget_reached(usd("2.999999999999999999"), usd("2"), 150));
	ck_assert(!budget_reached(usd("0"), usd("0.000000000000000001"), 1));
}
END_TEST

START_TEST(budget_reached_spend_beyond_128_bits_is_reached)
{
	const struct money most = {DECIMAL_MAX};
	ck_assert(budget_reached(most, usd("1000000000000"), 1000));
}
END_TEST

START_TEST(budget_status_thresholds_are_inclusive)
{
	const struct money just_below_80 = {USD(80).atto - 1}, just_below_100 = {USD(100).atto - 1};
	ck_assert_str_eq(budget_status(USD(0), USD(100)), "ok");
	ck_assert_str_eq(budget_status(just_below_80, USD(100)), "ok");
	ck_assert_str_eq(budget_status(USD(80), USD(100)), "warning");
	ck_assert_str_eq(budget_status(just_below_100, USD(100)), "warning");
	ck_assert_str_eq(budget_status(USD(100), USD(100)), "exceeded");
	ck_assert_str_eq(budget_status(USD(101), USD(100)), "exceeded");
}
END_TEST

START_TEST(budget_status_largest_limit_does_not_overflow)
{
	const struct money spend = {USD(MONEY_MAX_USD).atto - 1};
	ck_assert_str_eq(budget_status(spend, USD(MONEY_MAX_USD)), "warning");
}
END_TEST

START_TEST(budget_percentage_is_cut_to_two_decimals)
{
	/* 1 / 3 = 33.333... %; one atto-USD less than the limit is 99.99 %. */
	ck_assert(budget_percentage(USD(1), USD(3)) == 3333);
	ck_assert(budget_percentage((struct money){USD(100).atto - 1}, USD(100)) == 9999);
	ck_assert(budget_percentage(USD(250), USD(100)) == 25000);
	ck_assert(budget_percentage(USD(0), USD(100)) == 0);
}
END_TEST

START_TEST(budget_percentage_huge_spend_is_whole_multiples)
{
	/* 10^17 USD of 10 USD: 10^16 times the limit, 10^18 per cent. */
	ck_assert(
		budget_percentage(USD(100000000000000000LL), USD(10)) == (int128)10000000000000000LL * 10000);
}
END_TEST

START_TEST(budget_projection_is_spend_by_elapsed_part)
{
	/* 1 USD in 3 of 10 parts: 3.333333 USD. */
	int128 projected;
	ck_assert(budget_projection(USD(1), 3, 10, &projected));
	ck_assert(projected == 3333333);
	ck_assert(budget_projection(USD(5), 10, 10, &projected));
	ck_assert(projected == 5000000);
}
END_TEST

START_TEST(budget_projection_that_does_not_fit_is_refused)
{
	/* 10^20 USD are 10^26 x 10^-6; times a year in microseconds, 3 x 10^13, is more than 1.7 x 10^38. */
	const struct money spend = {USD(100000000000000000LL).atto * 1000};
	int128 projected;
	ck_assert(!budget_projection(spend, 1, 31536000000000LL, &projected));
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("budget");
	tcase_add_test(t, budget_admits_the_limit_itself_and_nothing_beyond);
	tcase_add_test(t, budget_admits_nothing_more_of_a_full_one_but_zero);
	tcase_add_test(t, budget_admits_sum_beyond_128_bits_is_refused);
	tcase_add_test(t, budget_reached_is_inclusive);
	tcase_add_test(t, budget_reached_spend_beyond_128_bits_is_reached);
	tcase_add_test(t, budget_status_thresholds_are_inclusive);
	tcase_add_test(t, budget_status_largest_limit_does_not_overflow);
	tcase_add_test(t, budget_percentage_is_cut_to_two_decimals);
	tcase_add_test(t, budget_percentage_huge_spend_is_whole_multiples);
	tcase_add_test(t, budget_projection_is_spend_by_elapsed_part);
	tcase_add_test(t, budget_projection_that_does_not_fit_is_refused);
	Suite *s = suite_create("budget");
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
