/* Whether limits hold, exact at their boundaries. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/core/budget.h"

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
	const struct money most = {(int128)(~(uint128)0 >> 1)};
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
	const struct money most = {(int128)(~(uint128)0 >> 1)};
	ck_assert(budget_reached(most, usd("1000000000000"), 1000));
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
	Suite *s = suite_create("budget");
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
