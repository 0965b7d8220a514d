/* Unusual days. Costs are given in whole USD; expected values are worked out by hand. */

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/core/anomaly.h"

#define USD   ((int128)1000000000000000000LL)
#define DAYS  60
#define FIRST 20000 /* a civil day; 20000 % 7 decides nothing here */

static struct arena arena;
static struct anomaly *found;
static size_t n_found;

static void begin(void)
{
	arena_init(&arena, 16 << 20);
	found = NULL;
	n_found = 0;
}

static void end(void)
{
	arena_release(&arena);
}

/* n days of the same cost. */
static void fill(struct money *days, size_t from, size_t to, int usd)
{
	for (size_t i = from; i < to; i++)
		days[i].atto = usd * USD;
}

static void find_all(const struct anomaly_series *series, size_t n_series, size_t n_days)
{
	const struct anomaly_input in = {.series = series,
		.n_series = n_series,
		.n_days = n_days,
		.first_day = FIRST,
		.report_from = FIRST,
		.threshold = ANOMALY_THRESHOLD_DEFAULT,
		.minimum = {ANOMALY_MINIMUM_DEFAULT_ATTO}};
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
}

static void find(const struct money *days, size_t n_days)
{
	const struct anomaly_series s = {.dimension = "all", .days = days};
	find_all(&s, 1, n_days);
}

START_TEST(anomaly_find_spike_is_told_with_range_and_score)
{
	/* 28 days of 10, one of 40: median 10, MAD 0, so deviation 10/10 = 1.
	 * score 0.6745 x 30 / 1 = 20.235: critical. Width 3.5 x 1 / 0.6745 = 5.18902891...: upper 15.189. */
	struct money days[29];
	fill(days, 0, 28, 10);
	fill(days, 28, 29, 40);
	find(days, 29);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq(found[0].day, FIRST + 28);
	ck_assert(found[0].cost.atto == 40 * USD);
	ck_assert(found[0].expected.atto == 10 * USD);
	ck_assert_double_eq_tol(found[0].score, 20.235, 1e-9);
	ck_assert_int_eq(found[0].severity, ANOMALY_CRITICAL);
	ck_assert(found[0].upper.atto == 10 * USD + 35 * (int128)1000 * USD / 6745);
	ck_assert(found[0].lower.atto == 10 * USD - 35 * (int128)1000 * USD / 6745);
}
END_TEST

START_TEST(anomaly_find_mad_of_an_uneven_past_decides)
{
	/* 8, 9, 10, 11, 12 and again: median 10, deviations 2 1 0 1 2 ..., MAD 1; upper 15.19: 15 is usual,
	 * 16 is not (score 0.6745 x 6 = 4.047: low). */
	struct money days[11];
	for (int i = 0; i < 10; i++)
		days[i].atto = (8 + i % 5) * USD;
	fill(days, 10, 11, 15);
	find(days, 11);
	ck_assert_int_eq((int)n_found, 0);
	fill(days, 10, 11, 16);
	find(days, 11);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_double_eq_tol(found[0].score, 4.047, 1e-9);
	ck_assert_int_eq(found[0].severity, ANOMALY_LOW);
}
END_TEST

START_TEST(anomaly_find_even_number_of_days_expects_the_middle)
{
	/* 8 days: 10 10 10 10 11 11 11 11 -> 10.5 */
	struct money days[9];
	fill(days, 0, 4, 10);
	fill(days, 4, 8, 11);
	fill(days, 8, 9, 100);
	find(days, 9);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert(found[0].expected.atto == 21 * USD / 2);
}
END_TEST

START_TEST(anomaly_find_too_little_is_usual)
{
	struct money days[30];
	fill(days, 0, 29, 100);
	fill(days, 29, 30, 0);
	find(days, 30);
	ck_assert_int_eq((int)n_found, 0);
}
END_TEST

START_TEST(anomaly_find_needs_seven_days_from_the_first_cost_on)
{
	/* Zeros before the first cost are no history: the 7th day after it is the first to be judged. */
	struct money days[28];
	fill(days, 0, 20, 0);
	fill(days, 20, 26, 10);
	fill(days, 26, 27, 500);
	find(days, 27);
	ck_assert_int_eq((int)n_found, 0);
	fill(days, 26, 27, 10);
	fill(days, 27, 28, 500);
	find(days, 28);
	ck_assert_int_eq((int)n_found, 1);
}
END_TEST

START_TEST(anomaly_find_cents_are_not_worth_telling)
{
	/* 1 cent a day, then 10.9 cents: ten times as much, but less than 0.10 USD more. 11 cents are 0.10
	 * more. */
	struct money days[15];
	for (int i = 0; i < 14; i++)
		days[i].atto = USD / 100;
	days[14].atto = 109 * USD / 1000;
	find(days, 15);
	ck_assert_int_eq((int)n_found, 0);
	days[14].atto = 11 * USD / 100;
	find(days, 15);
	ck_assert_int_eq((int)n_found, 1);
}
END_TEST

START_TEST(anomaly_find_step_is_told_once)
{
	/* 10 a day for 30 days, then 50 for 30. */
	struct money days[DAYS];
	fill(days, 0, 30, 10);
	fill(days, 30, DAYS, 50);
	find(days, DAYS);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq(found[0].day, FIRST + 30);
}
END_TEST

START_TEST(anomaly_find_step_with_quiet_days_between_is_told_once)
{
	/* Days of nothing (weekends) do not end the step. */
	struct money days[DAYS];
	fill(days, 0, 30, 10);
	fill(days, 30, DAYS, 50);
	fill(days, 33, 35, 0);
	find(days, DAYS);
	ck_assert_int_eq((int)n_found, 1);
}
END_TEST

START_TEST(anomaly_find_second_step_on_the_first_is_told)
{
	/* 10, then 50, then 500 three days later. */
	struct money days[40];
	fill(days, 0, 30, 10);
	fill(days, 30, 33, 50);
	fill(days, 33, 40, 500);
	find(days, 40);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert_int_eq(found[0].day, FIRST + 33);
	ck_assert_int_eq(found[1].day, FIRST + 30);
}
END_TEST

START_TEST(anomaly_find_two_spikes_with_normal_days_between_are_two)
{
	struct money days[40];
	fill(days, 0, 40, 10);
	fill(days, 30, 31, 50);
	fill(days, 33, 34, 50);
	find(days, 40);
	ck_assert_int_eq((int)n_found, 2);
}
END_TEST

START_TEST(anomaly_find_busy_weekday_is_expected_after_three)
{
	/* 10 a day, every 7th day 50. The busy days 7, 14 and 21 come without three busy ones before them;
	 * from day 28 on 50 is what is expected of that weekday. Day 0 is history, day 7 the first judged. */
	struct money days[DAYS];
	for (int i = 0; i < DAYS; i++)
		days[i].atto = (i % 7 == 0 ? 50 : 10) * USD;
	find(days, DAYS);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert_int_eq(found[0].day, FIRST + 14);
	ck_assert_int_eq(found[1].day, FIRST + 7);
}
END_TEST

START_TEST(anomaly_find_occasional_use_is_compared_with_days_of_use)
{
	/* Used every third day: 28 days before day 30 hold 9 days of 10; the median of all is 0. 12 is usual,
	 * 100 is not. */
	struct money days[31];
	for (int i = 0; i < 30; i++)
		days[i].atto = (i % 3 == 0 ? 10 : 0) * USD;
	fill(days, 30, 31, 12);
	find(days, 31);
	ck_assert_int_eq((int)n_found, 0);
	fill(days, 30, 31, 100);
	find(days, 31);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert(found[0].expected.atto == 10 * USD);
}
END_TEST

START_TEST(anomaly_find_before_report_from_is_history_only)
{
	struct money days[40];
	fill(days, 0, 40, 10);
	fill(days, 30, 31, 50);
	fill(days, 35, 36, 50);
	const struct anomaly_series s = {.dimension = "all", .days = days};
	const struct anomaly_input in = {.series = &s,
		.n_series = 1,
		.n_days = 40,
		.first_day = FIRST,
		.report_from = FIRST + 31,
		.threshold = 3.5,
		.minimum = {0}};
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq(found[0].day, FIRST + 35);
}
END_TEST

START_TEST(anomaly_find_threshold_decides)
{
	/* 10 a day then 14: score 0.6745 x 4 / 1 = 2.698 */
	struct money days[15];
	fill(days, 0, 14, 10);
	fill(days, 14, 15, 14);
	const struct anomaly_series s = {.dimension = "all", .days = days};
	struct anomaly_input in = {
		.series = &s, .n_series = 1, .n_days = 15, .first_day = FIRST, .threshold = 2.7};
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
	ck_assert_int_eq((int)n_found, 0);
	in.threshold = 2.69;
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
	ck_assert_int_eq((int)n_found, 1);
}
END_TEST

START_TEST(anomaly_find_bad_threshold_is_range)
{
	struct anomaly_input in = {.threshold = 0};
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_RANGE);
	in.threshold = 1001;
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_RANGE);
	in.threshold = (double)NAN;
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_RANGE);
}
END_TEST

START_TEST(anomaly_find_huge_costs_do_not_overflow)
{
	/* 10^20 USD a day, then 1.7 x 10^20, the most that fits: told or not, but no overflow. */
	struct money days[15];
	for (int i = 0; i < 14; i++)
		days[i].atto = decimal_pow10(38) - i * decimal_pow10(36);
	days[14].atto = decimal_pow10(38) / 10 * 17;
	find(days, 15);
	ck_assert(n_found <= 1);
}
END_TEST

START_TEST(anomaly_find_causes_are_the_level_below_largest_first)
{
	/* Day 28: all 10 -> 61; p 7 -> 50 (43 more), q 3 -> 3, r new with 8. */
	struct money all[29], p[29], q[29], r[29];
	fill(all, 0, 28, 10);
	fill(all, 28, 29, 61);
	fill(p, 0, 28, 7);
	fill(p, 28, 29, 50);
	fill(q, 0, 29, 3);
	fill(r, 0, 28, 0);
	fill(r, 28, 29, 8);
	const struct anomaly_series series[] = {{.dimension = "all", .days = all},
		{.dimension = "provider", .provider = "p", .days = p},
		{.dimension = "provider", .provider = "q", .days = q},
		{.dimension = "provider", .provider = "r", .days = r},
		{.dimension = "model", .provider = "p", .model = "m", .days = p}};
	find_all(series, 5, 29);
	/* all (51 more), then p and its only model m (43 more each) */
	ck_assert_int_eq((int)n_found, 3);
	ck_assert_int_eq((int)found[0].series, 0);
	ck_assert_int_eq((int)found[0].n_causes, 2);
	ck_assert_str_eq(found[0].causes[0].provider, "p");
	ck_assert(found[0].causes[0].contribution.atto == 43 * USD);
	ck_assert_str_eq(found[0].causes[1].provider, "r");
	ck_assert(found[0].causes[1].contribution.atto == 8 * USD);
	ck_assert_int_eq((int)found[1].series, 1);
	ck_assert_int_eq((int)found[1].n_causes, 1);
	ck_assert_str_eq(found[1].causes[0].model, "m");
	ck_assert_str_eq(found[1].causes[0].dimension, "model");
	ck_assert_int_eq((int)found[2].n_causes, 0);
}
END_TEST

START_TEST(anomaly_find_causes_are_at_most_three)
{
	struct money days[15], parts[4][15];
	struct anomaly_series series[5] = {{.dimension = "all", .days = days}};
	static const char *const NAMES[] = {"a", "b", "c", "d"};
	fill(days, 0, 14, 4);
	fill(days, 14, 15, 104);
	for (int i = 0; i < 4; i++) {
		/* above what is expected: 10, 20, 30, 40 */
		fill(parts[i], 0, 14, 1);
		fill(parts[i], 14, 15, 1 + 10 * (i + 1));
		series[1 + i] = (struct anomaly_series){
			.dimension = "provider", .provider = NAMES[i], .days = parts[i]};
	}
	find_all(series, 5, 15);
	ck_assert_int_eq((int)found[0].n_causes, 3);
	ck_assert_str_eq(found[0].causes[0].provider, "d");
	ck_assert_str_eq(found[0].causes[1].provider, "c");
	ck_assert_str_eq(found[0].causes[2].provider, "b");
}
END_TEST

START_TEST(anomaly_find_ids_are_stable_and_differ_by_day)
{
	struct money days[40];
	fill(days, 0, 40, 10);
	fill(days, 30, 31, 50);
	fill(days, 35, 36, 50);
	find(days, 40);
	ck_assert_int_eq((int)n_found, 2);
	char first[ANOMALY_ID_SIZE];
	memcpy(first, found[0].id, sizeof(first));
	ck_assert_str_ne(first, found[1].id);
	ck_assert_int_eq((int)strlen(first), 16);
	find(days, 40);
	ck_assert_str_eq(first, found[0].id);
}
END_TEST

START_TEST(anomaly_find_without_memory_says_so)
{
	struct money days[15];
	fill(days, 0, 14, 10);
	fill(days, 14, 15, 100);
	const struct anomaly_series s = {.dimension = "all", .days = days};
	const struct anomaly_input in = {
		.series = &s, .n_series = 1, .n_days = 15, .first_day = FIRST, .threshold = 3.5};
	struct arena tiny;
	arena_init(&tiny, 16);
	ck_assert_int_eq(anomaly_find(&in, &tiny, &found, &n_found), ERR_NO_MEMORY);
	arena_release(&tiny);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("anomaly");
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, anomaly_find_spike_is_told_with_range_and_score);
	tcase_add_test(t, anomaly_find_mad_of_an_uneven_past_decides);
	tcase_add_test(t, anomaly_find_even_number_of_days_expects_the_middle);
	tcase_add_test(t, anomaly_find_too_little_is_usual);
	tcase_add_test(t, anomaly_find_needs_seven_days_from_the_first_cost_on);
	tcase_add_test(t, anomaly_find_cents_are_not_worth_telling);
	tcase_add_test(t, anomaly_find_step_is_told_once);
	tcase_add_test(t, anomaly_find_step_with_quiet_days_between_is_told_once);
	tcase_add_test(t, anomaly_find_second_step_on_the_first_is_told);
	tcase_add_test(t, anomaly_find_two_spikes_with_normal_days_between_are_two);
	tcase_add_test(t, anomaly_find_busy_weekday_is_expected_after_three);
	tcase_add_test(t, anomaly_find_occasional_use_is_compared_with_days_of_use);
	tcase_add_test(t, anomaly_find_before_report_from_is_history_only);
	tcase_add_test(t, anomaly_find_threshold_decides);
	tcase_add_test(t, anomaly_find_bad_threshold_is_range);
	tcase_add_test(t, anomaly_find_huge_costs_do_not_overflow);
	tcase_add_test(t, anomaly_find_causes_are_the_level_below_largest_first);
	tcase_add_test(t, anomaly_find_causes_are_at_most_three);
	tcase_add_test(t, anomaly_find_ids_are_stable_and_differ_by_day);
	tcase_add_test(t, anomaly_find_without_memory_says_so);
	Suite *suite = suite_create("anomaly");
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
