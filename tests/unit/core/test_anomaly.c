/* Unusual times: by hand where the answer is known, and over some thousand made-up histories with fixed
 * seeds. Costs are given in whole USD. */

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/core/anomaly.h"

#define USD  ((int128)1000000000000000000LL)
#define DAYS 60

static struct arena arena;
static struct anomaly *found;
static size_t n_found;

static void begin(void)
{
	arena_init(&arena, 64 << 20);
	found = NULL;
	n_found = 0;
}

static void end(void)
{
	arena_release(&arena);
}

/* The same cost in each of [from, to). */
static void fill(struct money *days, size_t from, size_t to, int usd)
{
	for (size_t i = from; i < to; i++)
		days[i].atto = usd * USD;
}

static struct anomaly_input input(const struct anomaly_series *series, size_t n_series, size_t n_days)
{
	return (struct anomaly_input){.series = series,
		.n_series = n_series,
		.n_buckets = n_days,
		.a_day = 1,
		.threshold = ANOMALY_THRESHOLD_DEFAULT,
		.minimum = {ANOMALY_MINIMUM_DEFAULT_ATTO}};
}

static void find_all(const struct anomaly_series *series, size_t n_series, size_t n_days)
{
	const struct anomaly_input in = input(series, n_series, n_days);
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
}

static void find(const struct money *days, size_t n_days)
{
	const struct anomaly_series s = {.kind = ANOMALY_ALL, .costs = days};
	find_all(&s, 1, n_days);
}

static double usd_of(struct money m)
{
	return (double)m.atto / 1e18;
}

/* ---- one series ---- */

START_TEST(anomaly_find_spike_is_told_with_range_and_score)
{
	/* 28 days of 10, one of 40. As roots: expected r = sqrt(10), MAD 0, so deviation 0.07 r. Score 0.6745
	 * (2 r - r) / (0.07 r) = 9.635714: medium. Upper (r + 3.5 x 0.07 r / 0.6745)^2 = 10 x 1.363232^2
	 * = 18.584017, lower 10 x 0.636768^2 = 4.054736. */
	struct money days[29];
	fill(days, 0, 28, 10);
	fill(days, 28, 29, 40);
	find(days, 29);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq((int)found[0].bucket, 28);
	ck_assert(found[0].cost.atto == 40 * USD);
	ck_assert(found[0].expected.atto == 10 * USD);
	ck_assert_double_eq_tol(found[0].score, 9.635714, 1e-6);
	ck_assert_int_eq(found[0].severity, ANOMALY_MEDIUM);
	ck_assert_double_eq_tol(usd_of(found[0].upper), 18.584017, 2e-5);
	ck_assert_double_eq_tol(usd_of(found[0].lower), 4.054736, 2e-5);
	ck_assert(found[0].upper.atto % decimal_pow10(12) == 0); /* whole millionths */
}
END_TEST

START_TEST(anomaly_find_uneven_past_allows_more)
{
	/* 28 days of 10: 20 is unusual; of 5, 10, 15 in turn: usual. */
	struct money days[29];
	fill(days, 0, 28, 10);
	fill(days, 28, 29, 20);
	find(days, 29);
	ck_assert_int_eq((int)n_found, 1);
	for (int i = 0; i < 28; i++)
		days[i].atto = (5 + i % 3 * 5) * USD;
	find(days, 29);
	ck_assert_int_eq((int)n_found, 0);
	fill(days, 28, 29, 90);
	find(days, 29);
	ck_assert_int_eq((int)n_found, 1);
}
END_TEST

START_TEST(anomaly_find_short_history_allows_more)
{
	/* 8, 9, 10, 11, 12 in turn, 10 and 25 days long: what is unusual after 25 days is not after 10. */
	struct money days[26];
	for (int i = 0; i < 25; i++)
		days[i].atto = (8 + i % 5) * USD;
	int least[2];
	static const size_t LENGTHS[] = {10, 25};
	for (size_t l = 0; l < 2; l++) {
		const struct money kept = days[LENGTHS[l]];
		for (least[l] = 13; least[l] < 100; least[l]++) {
			fill(days, LENGTHS[l], LENGTHS[l] + 1, least[l]);
			find(days, LENGTHS[l] + 1);
			if (n_found > 0)
				break;
		}
		days[LENGTHS[l]] = kept;
	}
	ck_assert(least[0] > least[1] && least[0] < 30);
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
	struct money days[DAYS];
	fill(days, 0, 30, 10);
	fill(days, 30, DAYS, 50);
	find(days, DAYS);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq((int)found[0].bucket, 30);
}
END_TEST

START_TEST(anomaly_find_step_with_quiet_weekends_is_told_once)
{
	/* Weekends of nothing neither end the step nor are compared with it. */
	struct money days[DAYS];
	for (size_t i = 0; i < DAYS; i++)
		fill(days, i, i + 1, i % 7 > 4 ? 0 : i < 30 ? 10 : 50);
	find(days, DAYS);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq((int)found[0].bucket, 30);
}
END_TEST

START_TEST(anomaly_find_second_step_on_the_first_is_told)
{
	struct money days[40];
	fill(days, 0, 30, 10);
	fill(days, 30, 33, 50);
	fill(days, 33, 40, 500);
	find(days, 40);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert_int_eq((int)found[0].bucket, 33);
	ck_assert_int_eq((int)found[1].bucket, 30);
}
END_TEST

START_TEST(anomaly_find_two_spikes_with_usual_days_between_are_two)
{
	struct money days[40];
	fill(days, 0, 40, 10);
	fill(days, 30, 31, 50);
	fill(days, 33, 34, 50);
	find(days, 40);
	ck_assert_int_eq((int)n_found, 2);
}
END_TEST

START_TEST(anomaly_find_spike_a_week_after_a_spike_is_told)
{
	struct money days[40];
	fill(days, 0, 40, 10);
	fill(days, 30, 31, 50);
	fill(days, 37, 38, 50);
	find(days, 40);
	ck_assert_int_eq((int)n_found, 2);
}
END_TEST

START_TEST(anomaly_find_busy_weekday_is_expected_after_three)
{
	/* 10 a day, every 7th day 50. Days 7 and 14 come without three weeks before them; from day 21 on the
	 * weekday is known. */
	struct money days[DAYS];
	for (int i = 0; i < DAYS; i++)
		days[i].atto = (i % 7 == 0 ? 50 : 10) * USD;
	find(days, DAYS);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert_int_eq((int)found[0].bucket, 14);
	ck_assert_int_eq((int)found[1].bucket, 7);
}
END_TEST

START_TEST(anomaly_find_busy_weekend_is_told_though_weekdays_cost_more)
{
	/* 100 on weekdays, 2 on weekends: 90 on a Sunday is a weekday's cost. */
	struct money days[DAYS];
	for (int i = 0; i < DAYS; i++)
		days[i].atto = (i % 7 > 4 ? 2 : 100) * USD;
	find(days, DAYS);
	ck_assert_int_eq((int)n_found, 0);
	fill(days, 55, 56, 90); /* 55 % 7 = 6 */
	find(days, DAYS);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq((int)found[0].bucket, 55);
}
END_TEST

START_TEST(anomaly_find_steady_growth_is_usual)
{
	/* 1 USD more every day, then twice that. */
	struct money days[DAYS];
	for (int i = 0; i < DAYS; i++)
		days[i].atto = (10 + i) * USD;
	find(days, DAYS);
	ck_assert_int_eq((int)n_found, 0);
	fill(days, DAYS - 1, DAYS, 140);
	find(days, DAYS);
	ck_assert_int_eq((int)n_found, 1);
	/* expected near 69, not near the median of the past month, 54 */
	ck_assert(usd_of(found[0].expected) > 62 && usd_of(found[0].expected) < 72);
}
END_TEST

START_TEST(anomaly_find_occasional_use_is_compared_with_days_of_use)
{
	/* Used every third day: 28 days before day 30 hold 9 days of 10. 12 is usual, 100 is not. */
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

START_TEST(anomaly_find_hours_are_compared_with_the_same_hour)
{
	/* 20 days: 10 an hour at night, 100 from 8 to 20. 60 at 3 o'clock is unusual, 100 at 9 is not. */
	struct money hours[20 * 24];
	for (size_t i = 0; i < 20 * 24; i++)
		fill(hours, i, i + 1, i % 24 >= 8 && i % 24 < 20 ? 100 : 10);
	const struct anomaly_series s = {.kind = ANOMALY_ALL, .costs = hours};
	struct anomaly_input in = input(&s, 1, 20 * 24);
	in.a_day = 24;
	fill(hours, 19 * 24 + 3, 19 * 24 + 4, 60);
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq((int)found[0].bucket, 19 * 24 + 3);
	/* The next hours at the same level are no news; twice the excess is. */
	fill(hours, 19 * 24 + 4, 19 * 24 + 6, 60);
	fill(hours, 19 * 24 + 6, 19 * 24 + 7, 200);
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert_int_eq((int)found[0].bucket, 19 * 24 + 6);
}
END_TEST

START_TEST(anomaly_find_before_report_from_is_history_only)
{
	struct money days[40];
	fill(days, 0, 40, 10);
	fill(days, 30, 31, 50);
	fill(days, 35, 36, 50);
	const struct anomaly_series s = {.kind = ANOMALY_ALL, .costs = days};
	struct anomaly_input in = input(&s, 1, 40);
	in.report_from = 31;
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq((int)found[0].bucket, 35);
}
END_TEST

START_TEST(anomaly_find_threshold_decides)
{
	/* 10 a day then 14: score 0.6745 x (sqrt(1.4) - 1) / 0.07 = 1.765400 */
	struct money days[15];
	fill(days, 0, 14, 10);
	fill(days, 14, 15, 14);
	const struct anomaly_series s = {.kind = ANOMALY_ALL, .costs = days};
	struct anomaly_input in = input(&s, 1, 15);
	in.threshold = 1.77;
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
	ck_assert_int_eq((int)n_found, 0);
	in.threshold = 1.76;
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
	ck_assert_int_eq((int)n_found, 1);
}
END_TEST

START_TEST(anomaly_find_bad_input_is_range)
{
	struct money days[15];
	fill(days, 0, 15, 10);
	const struct anomaly_series s = {.kind = ANOMALY_ALL, .costs = days};
	static const double BAD[] = {0, 0.09, 1001, (double)NAN};
	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
		struct anomaly_input in = input(&s, 1, 15);
		in.threshold = BAD[i];
		ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_RANGE);
	}
	days[3].atto = -1;
	const struct anomaly_input in = input(&s, 1, 15);
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
	fill(days, 0, 14, 1);
	find(days, 15);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq(found[0].severity, ANOMALY_CRITICAL);
}
END_TEST

START_TEST(anomaly_find_without_memory_says_so)
{
	struct money days[15];
	fill(days, 0, 14, 10);
	fill(days, 14, 15, 100);
	const struct anomaly_series s = {.kind = ANOMALY_ALL, .costs = days};
	const struct anomaly_input in = input(&s, 1, 15);
	struct arena tiny;
	arena_init(&tiny, 16);
	ck_assert_int_eq(anomaly_find(&in, &tiny, &found, &n_found), ERR_NO_MEMORY);
	arena_release(&tiny);
}
END_TEST

/* ---- the same excess in several series ---- */

/* Day 28 of series that cost `usual` before. */
static struct anomaly_series day_28(struct money days[29], int usual, int cost, struct anomaly_series s)
{
	fill(days, 0, 28, usual);
	fill(days, 28, 29, cost);
	s.costs = days;
	return s;
}

START_TEST(anomaly_find_model_is_told_before_provider_and_all)
{
	struct money d[5][29];
	const struct anomaly_series series[] = {
		day_28(d[0], 30, 90, (struct anomaly_series){.kind = ANOMALY_ALL}),
		day_28(d[1], 20, 80, (struct anomaly_series){.kind = ANOMALY_PROVIDER, .provider = "p"}),
		day_28(d[2], 10, 70,
			(struct anomaly_series){.kind = ANOMALY_MODEL, .provider = "p", .model = "m"}),
		day_28(d[3], 10, 10,
			(struct anomaly_series){.kind = ANOMALY_MODEL, .provider = "p", .model = "n"}),
		day_28(d[4], 15, 75, (struct anomaly_series){.kind = ANOMALY_PROJECT, .project = "x"})};
	find_all(series, 5, 29);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq((int)found[0].series, 2);
	/* the others are linked */
	ck_assert_int_eq((int)found[0].n_also, 3);
	ck_assert_int_eq((int)found[0].also[0], 0);
	ck_assert_int_eq((int)found[0].also[1], 1);
	ck_assert_int_eq((int)found[0].also[2], 4);
}
END_TEST

START_TEST(anomaly_find_two_models_account_for_all_together)
{
	struct money d[3][29];
	const struct anomaly_series series[] = {
		day_28(d[0], 20, 110, (struct anomaly_series){.kind = ANOMALY_ALL}),
		day_28(d[1], 10, 60,
			(struct anomaly_series){.kind = ANOMALY_MODEL, .provider = "p", .model = "m"}),
		day_28(d[2], 10, 50,
			(struct anomaly_series){.kind = ANOMALY_MODEL, .provider = "q", .model = "m"})};
	find_all(series, 3, 29);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert_int_eq((int)found[0].series, 1);
	ck_assert_int_eq((int)found[1].series, 2);
	ck_assert_int_eq((int)found[0].n_also, 1);
}
END_TEST

START_TEST(anomaly_find_small_model_does_not_hide_all)
{
	/* all is 90 above, the model only 40: both are news. */
	struct money d[2][29];
	const struct anomaly_series series[] = {
		day_28(d[0], 30, 120, (struct anomaly_series){.kind = ANOMALY_ALL}),
		day_28(d[1], 10, 50,
			(struct anomaly_series){.kind = ANOMALY_MODEL, .provider = "p", .model = "m"})};
	find_all(series, 2, 29);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert_int_eq((int)found[0].series, 0);
}
END_TEST

START_TEST(anomaly_find_project_is_told_where_no_model_shows_it)
{
	struct money d[4][29];
	const struct anomaly_series series[] = {
		day_28(d[0], 40, 100, (struct anomaly_series){.kind = ANOMALY_ALL}),
		day_28(d[1], 10, 70, (struct anomaly_series){.kind = ANOMALY_PROJECT, .project = "x"}),
		day_28(d[2], 10, 70,
			(struct anomaly_series){.kind = ANOMALY_TAG, .tag_key = "team", .tag_value = "t"}),
		day_28(d[3], 10, 70,
			(struct anomaly_series){.kind = ANOMALY_TAG, .tag_key = "env", .tag_value = "e"})};
	find_all(series, 4, 29);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq((int)found[0].series, 1);
	ck_assert_int_eq((int)found[0].n_also, 3);
}
END_TEST

START_TEST(anomaly_find_projects_that_share_a_models_excess_are_left_out)
{
	/* One model, 80 above, used by two projects, 30 and 50 above. A third project with 100 above of many
	 * models is news. */
	struct money d[5][29];
	const struct anomaly_series series[] = {
		day_28(d[0], 40, 120, (struct anomaly_series){.kind = ANOMALY_ALL}),
		day_28(d[1], 10, 90,
			(struct anomaly_series){.kind = ANOMALY_MODEL, .provider = "p", .model = "m"}),
		day_28(d[2], 10, 40, (struct anomaly_series){.kind = ANOMALY_PROJECT, .project = "x"}),
		day_28(d[3], 10, 60, (struct anomaly_series){.kind = ANOMALY_PROJECT, .project = "y"}),
		day_28(d[4], 10, 160, (struct anomaly_series){.kind = ANOMALY_PROJECT, .project = "z"})};
	find_all(series, 4, 29);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq((int)found[0].series, 1);
	ck_assert_int_eq((int)found[0].n_also, 3);
	find_all(series, 5, 29);
	bool third = false;
	for (size_t i = 0; i < n_found; i++)
		third = third || found[i].series == 4;
	ck_assert(third);
}
END_TEST

START_TEST(anomaly_find_all_is_silent_while_a_models_step_goes_on)
{
	/* The model steps from 10 to 60 on day 28; all becomes unusual a day later, when something else adds
	 * a little. */
	struct money all[32], model[32];
	fill(all, 0, 28, 100);
	fill(model, 0, 28, 10);
	fill(all, 28, 29, 150);
	fill(all, 29, 32, 195);
	fill(model, 28, 29, 60);
	fill(model, 29, 32, 100);
	const struct anomaly_series series[] = {{.kind = ANOMALY_ALL, .costs = all},
		{.kind = ANOMALY_MODEL, .provider = "p", .model = "m", .costs = model}};
	find_all(series, 2, 32);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_int_eq((int)found[0].series, 1);
	ck_assert_int_eq((int)found[0].bucket, 28);
}
END_TEST

START_TEST(anomaly_id_is_stable_and_differs_by_everything)
{
	const struct anomaly_series series[] = {{.kind = ANOMALY_ALL},
		{.kind = ANOMALY_PROVIDER, .provider = "p"},
		{.kind = ANOMALY_MODEL, .provider = "p", .model = "m"},
		{.kind = ANOMALY_PROJECT, .project = "p"},
		{.kind = ANOMALY_TAG, .tag_key = "p", .tag_value = "m"}};
	char ids[16][ANOMALY_ID_SIZE], again[ANOMALY_ID_SIZE];
	size_t n = 0;
	for (size_t i = 0; i < 5; i++) {
		anomaly_id("u", "day", 0, &series[i], ids[n++]);
		anomaly_id("v", "day", 0, &series[i], ids[n++]);
		anomaly_id("u", "hour", 0, &series[i], ids[n++]);
	}
	anomaly_id("u", "day", 1, &series[0], ids[n++]);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq((int)strlen(ids[i]), 16);
		for (size_t j = 0; j < i; j++)
			ck_assert_str_ne(ids[i], ids[j]);
	}
	anomaly_id("u", "day", 0, &series[0], again);
	ck_assert_str_eq(again, ids[0]);
}
END_TEST

/* ---- made-up histories ---- */

static uint64_t state;

static double uniform(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return ((double)(state >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void)
{
	const double r = sqrt(-2 * log(uniform()));
	return r * cos(6.283185307179586 * uniform());
}

enum kind { STEADY, WEEKLY, GROWING, SLUGGISH, OFFICE, KINDS };
#define LONG_DAYS 150
#define REPORTED  (LONG_DAYS - ANOMALY_HISTORY_DAYS)
#define SEEDS	  60
#define EVENT_DAY 100

static double made_up(enum kind kind, int i, double *memory)
{
	switch (kind) {
	case STEADY:
		return 10 + 2 * normal();
	case WEEKLY:
		return 10 + (i % 7 < 5 ? 1.5 : -6) + 1.5 * normal();
	case GROWING:
		return (3 + 0.1 * i) * exp(0.2 * normal());
	case SLUGGISH:
		*memory = 0.6 * *memory + 1.5 * normal();
		return 10 + *memory;
	case OFFICE:
		return i % 7 < 5 ? 10 * exp(0.3 * normal()) : 0.2 * uniform();
	case KINDS:
		break;
	}
	return 0;
}

static void make_up(enum kind kind, unsigned seed, struct money days[LONG_DAYS])
{
	double memory = 0;
	state = 88172645463325252ULL + (uint64_t)(seed * 7919 + (unsigned)kind * 100003) * 2654435761ULL;
	for (int i = 0; i < 20; i++)
		(void)uniform();
	for (int i = 0; i < LONG_DAYS; i++)
		days[i].atto = (int128)(fmax(0, made_up(kind, i, &memory)) * 1e9) * 1000000000;
}

static void find_reported(const struct money *days)
{
	const struct anomaly_series s = {.kind = ANOMALY_ALL, .costs = days};
	struct anomaly_input in = input(&s, 1, LONG_DAYS);
	in.report_from = ANOMALY_HISTORY_DAYS;
	ck_assert_int_eq(anomaly_find(&in, &arena, &found, &n_found), ERR_OK);
}

/* Of the reported days of each kind, 60 x 122, at most 1 in 100 is told. */
START_TEST(anomaly_find_quiet_noise_gives_few_false_alarms)
{
	struct money days[LONG_DAYS];
	for (int kind = 0; kind < KINDS; kind++) {
		size_t told = 0;
		for (unsigned seed = 0; seed < SEEDS; seed++) {
			make_up((enum kind)kind, seed, days);
			find_reported(days);
			told += n_found;
			arena_release(&arena);
		}
		ck_assert_msg(100 * told <= (size_t)SEEDS * REPORTED, "kind %d: %zu", kind, told);
	}
}
END_TEST

/* A day of six times its cost and 30 USD more is told in at least 99 of 100 histories of each kind. */
START_TEST(anomaly_find_spikes_in_noise_are_found)
{
	struct money days[LONG_DAYS];
	for (int kind = 0; kind < KINDS; kind++) {
		unsigned hits = 0;
		for (unsigned seed = 0; seed < SEEDS; seed++) {
			make_up((enum kind)kind, seed, days);
			days[EVENT_DAY].atto = days[EVENT_DAY].atto * 6 + 30 * USD;
			find_reported(days);
			for (size_t i = 0; i < n_found; i++)
				hits += found[i].bucket == EVENT_DAY;
			arena_release(&arena);
		}
		ck_assert_msg(100 * hits >= 99 * SEEDS, "kind %d: %u", kind, hits);
	}
}
END_TEST

/* A step to five times the level with five times the noise is told on its first days, and on average at
 * most 1.6 times in the 50 days after it, not every day. */
START_TEST(anomaly_find_steps_in_noise_are_told_once)
{
	struct money days[LONG_DAYS];
	for (int kind = 0; kind < KINDS; kind++) {
		unsigned none = 0;
		size_t told = 0;
		for (unsigned seed = 0; seed < SEEDS; seed++) {
			make_up((enum kind)kind, seed, days);
			for (size_t i = EVENT_DAY; i < LONG_DAYS; i++)
				days[i].atto *= 5;
			find_reported(days);
			bool first = false;
			for (size_t i = 0; i < n_found; i++) {
				told += found[i].bucket >= EVENT_DAY;
				first = first ||
					(found[i].bucket >= EVENT_DAY && found[i].bucket < EVENT_DAY + 7);
			}
			none += !first;
			arena_release(&arena);
		}
		ck_assert_msg(none <= SEEDS / 20 && 10 * told <= 16 * (size_t)SEEDS,
			"kind %d: %u none, %zu told", kind, none, told);
	}
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("anomaly");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, anomaly_find_spike_is_told_with_range_and_score);
	tcase_add_test(t, anomaly_find_uneven_past_allows_more);
	tcase_add_test(t, anomaly_find_short_history_allows_more);
	tcase_add_test(t, anomaly_find_too_little_is_usual);
	tcase_add_test(t, anomaly_find_needs_seven_days_from_the_first_cost_on);
	tcase_add_test(t, anomaly_find_cents_are_not_worth_telling);
	tcase_add_test(t, anomaly_find_step_is_told_once);
	tcase_add_test(t, anomaly_find_step_with_quiet_weekends_is_told_once);
	tcase_add_test(t, anomaly_find_second_step_on_the_first_is_told);
	tcase_add_test(t, anomaly_find_two_spikes_with_usual_days_between_are_two);
	tcase_add_test(t, anomaly_find_spike_a_week_after_a_spike_is_told);
	tcase_add_test(t, anomaly_find_busy_weekday_is_expected_after_three);
	tcase_add_test(t, anomaly_find_busy_weekend_is_told_though_weekdays_cost_more);
	tcase_add_test(t, anomaly_find_steady_growth_is_usual);
	tcase_add_test(t, anomaly_find_occasional_use_is_compared_with_days_of_use);
	tcase_add_test(t, anomaly_find_hours_are_compared_with_the_same_hour);
	tcase_add_test(t, anomaly_find_before_report_from_is_history_only);
	tcase_add_test(t, anomaly_find_threshold_decides);
	tcase_add_test(t, anomaly_find_bad_input_is_range);
	tcase_add_test(t, anomaly_find_huge_costs_do_not_overflow);
	tcase_add_test(t, anomaly_find_without_memory_says_so);
	tcase_add_test(t, anomaly_find_model_is_told_before_provider_and_all);
	tcase_add_test(t, anomaly_find_two_models_account_for_all_together);
	tcase_add_test(t, anomaly_find_small_model_does_not_hide_all);
	tcase_add_test(t, anomaly_find_project_is_told_where_no_model_shows_it);
	tcase_add_test(t, anomaly_find_projects_that_share_a_models_excess_are_left_out);
	tcase_add_test(t, anomaly_find_all_is_silent_while_a_models_step_goes_on);
	tcase_add_test(t, anomaly_id_is_stable_and_differs_by_everything);
	tcase_add_test(t, anomaly_find_quiet_noise_gives_few_false_alarms);
	tcase_add_test(t, anomaly_find_spikes_in_noise_are_found);
	tcase_add_test(t, anomaly_find_steps_in_noise_are_told_once);
	Suite *suite = suite_create("anomaly");
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
