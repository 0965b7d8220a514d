/* Why a time cost more: contributions that add up to the excess exactly. Expected values are worked out by
 * hand. */

#include <check.h>
#include <stdint.h>
#include <stdlib.h>

#include "llmlab/core/anomaly.h"

#define USD ((int128)1000000000000000000LL)

static struct money split[ANOMALY_FACTORS];

static struct money usd(int64_t amount)
{
	return (struct money){amount * USD};
}

static struct anomaly_usage use(const char *model, int64_t calls, int64_t tokens, int64_t cost)
{
	return (struct anomaly_usage){
		.provider = "p", .model = model, .calls = calls, .tokens = tokens, .cost = usd(cost)};
}

static void check_split(int64_t volume, int64_t mix, int64_t tokens, int64_t price)
{
	ck_assert(split[FACTOR_VOLUME].atto == volume * USD);
	ck_assert(split[FACTOR_MIX].atto == mix * USD);
	ck_assert(split[FACTOR_TOKENS].atto == tokens * USD);
	ck_assert(split[FACTOR_PRICE].atto == price * USD);
}

START_TEST(anomaly_split_each_factor_alone)
{
	/* Before: 100 calls of 10 tokens for 100 USD, of which 10 USD are expected (10 calls). */
	const struct anomaly_usage before[] = {use("a", 50, 500, 50), use("b", 50, 500, 50)};
	const struct anomaly_usage more[] = {use("a", 20, 200, 20), use("b", 20, 200, 20)};
	ck_assert_int_eq(anomaly_split(more, 2, before, 2, usd(40), usd(10), split), ERR_OK);
	check_split(30, 0, 0, 0);
	const struct anomaly_usage longer[] = {use("a", 5, 200, 20), use("b", 5, 50, 5)};
	ck_assert_int_eq(anomaly_split(longer, 2, before, 2, usd(25), usd(10), split), ERR_OK);
	check_split(0, 0, 15, 0);
	const struct anomaly_usage dearer[] = {use("a", 5, 50, 25), use("b", 5, 50, 5)};
	ck_assert_int_eq(anomaly_split(dearer, 2, before, 2, usd(30), usd(10), split), ERR_OK);
	check_split(0, 0, 0, 20);
}
END_TEST

START_TEST(anomaly_split_other_models_are_mix)
{
	/* Before: 90 calls of a at 1, 10 of b at 11: 2 USD a call. Now 1 of a, 9 of b: 100 where 20 were
	 * expected. */
	const struct anomaly_usage before[] = {use("a", 90, 90, 90), use("b", 10, 110, 110)};
	const struct anomaly_usage now[] = {use("a", 1, 1, 1), use("b", 9, 99, 99)};
	ck_assert_int_eq(anomaly_split(now, 2, before, 2, usd(100), usd(20), split), ERR_OK);
	check_split(0, 80, 0, 0);
}
END_TEST

START_TEST(anomaly_split_a_new_model_is_mix)
{
	const struct anomaly_usage before[] = {use("b", 100, 1000, 100)};
	const struct anomaly_usage now[] = {use("a", 5, 7, 500), use("b", 5, 50, 5), use("c", 10, 0, 10)};
	/* 20 calls at 1: 20; at their own: 515 */
	ck_assert_int_eq(anomaly_split(now, 3, before, 1, usd(515), usd(10), split), ERR_OK);
	check_split(10, 495, 0, 0);
}
END_TEST

START_TEST(anomaly_split_without_a_past_is_volume)
{
	const struct anomaly_usage now[] = {use("a", 5, 7, 500)};
	ck_assert_int_eq(anomaly_split(now, 1, NULL, 0, usd(500), usd(0), split), ERR_OK);
	check_split(500, 0, 0, 0);
	const struct anomaly_usage free_before[] = {use("a", 5, 7, 0)};
	ck_assert_int_eq(anomaly_split(now, 1, free_before, 1, usd(500), usd(3), split), ERR_OK);
	check_split(497, 0, 0, 0);
}
END_TEST

START_TEST(anomaly_split_without_tokens_has_no_length)
{
	const struct anomaly_usage before[] = {use("image", 10, 0, 10)};
	const struct anomaly_usage now[] = {use("image", 5, 0, 20)};
	ck_assert_int_eq(anomaly_split(now, 1, before, 1, usd(20), usd(2), split), ERR_OK);
	check_split(3, 0, 0, 15);
}
END_TEST

/* 2,000 usages of crooked numbers. */
START_TEST(anomaly_split_adds_up_to_the_excess_exactly)
{
	uint64_t state = 88172645463325252ULL;
	static const char *const MODELS[] = {"a", "b", "c", "d"};
	for (int round = 0; round < 2000; round++) {
		struct anomaly_usage now[4], before[4];
		size_t n_now = 0, n_before = 0;
		struct money cost = {0};
		for (int m = 0; m < 4; m++) {
			int64_t x[8];
			for (int i = 0; i < 8; i++) {
				state ^= state << 13;
				state ^= state >> 7;
				state ^= state << 17;
				x[i] = (int64_t)(state >> 30);
			}
			if (x[0] % 3 > 0)
				before[n_before++] = (struct anomaly_usage){
					"p", MODELS[m], x[1] % 1000, x[2] % 100000, {(int128)x[3] * 1000003}};
			if (x[4] % 3 == 0)
				continue;
			now[n_now] = (struct anomaly_usage){
				"p", MODELS[m], x[5] % 1000, x[6] % 100000, {(int128)x[7] * 999983}};
			cost.atto += now[n_now++].cost.atto;
		}
		const struct money expected = {cost.atto / 3 + 7};
		ck_assert_int_eq(anomaly_split(now, n_now, before, n_before, cost, expected, split), ERR_OK);
		int128 sum = 0;
		for (int i = 0; i < ANOMALY_FACTORS; i++)
			sum += split[i].atto;
		ck_assert(sum == cost.atto - expected.atto);
	}
}
END_TEST

START_TEST(anomaly_split_too_large_is_range)
{
	const struct anomaly_usage before[] = {{"p", "a", 1, 1, {decimal_pow10(38)}}};
	const struct anomaly_usage now[] = {{"p", "a", 1000000, 1, {1}}};
	ck_assert_int_eq(anomaly_split(now, 1, before, 1, usd(1), usd(0), split), ERR_RANGE);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("anomaly_split");
	tcase_add_test(t, anomaly_split_each_factor_alone);
	tcase_add_test(t, anomaly_split_other_models_are_mix);
	tcase_add_test(t, anomaly_split_a_new_model_is_mix);
	tcase_add_test(t, anomaly_split_without_a_past_is_volume);
	tcase_add_test(t, anomaly_split_without_tokens_has_no_length);
	tcase_add_test(t, anomaly_split_adds_up_to_the_excess_exactly);
	tcase_add_test(t, anomaly_split_too_large_is_range);
	Suite *suite = suite_create("anomaly_split");
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
