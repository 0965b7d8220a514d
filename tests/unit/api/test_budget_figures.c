/* The figures of budgets: inclusive thresholds, cut percentages, projections. */
#include <check.h>
#include "llmlab/api/budget_figures.h"

#define USD(n) ((struct money){(int128)(n)*1000000000000000000LL})

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
	Suite *const s = suite_create("budget_figures");
	TCase *const t = tcase_create("budget_figures");
	tcase_add_test(t, budget_status_thresholds_are_inclusive);
	tcase_add_test(t, budget_status_largest_limit_does_not_overflow);
	tcase_add_test(t, budget_percentage_is_cut_to_two_decimals);
	tcase_add_test(t, budget_percentage_huge_spend_is_whole_multiples);
	tcase_add_test(t, budget_projection_is_spend_by_elapsed_part);
	tcase_add_test(t, budget_projection_that_does_not_fit_is_refused);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
