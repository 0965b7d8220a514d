/* Forecasts of daily spend: by hand where the answer is known, and over several hundred made-up histories
 * whose future is known, with fixed seeds. */

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/core/forecast.h"

#define DAYS 240

static struct arena arena;
static double days[DAYS];
static struct forecast f;
static struct forecast_interval got;

static void begin(void)
{
	arena_init(&arena, 64 << 20);
	memset(days, 0, sizeof(days));
}

static void end(void)
{
	arena_release(&arena);
}

static void fit(size_t n, double today_left)
{
	const struct forecast_history h = {.days = days, .n_days = n, .today_left = today_left};
	ck_assert_int_eq(forecast_fit(&h, &arena, &f), ERR_OK);
}

/* ---- histories of which more is known ---- */

START_TEST(forecast_fit_of_nothing_expects_nothing)
{
	fit(0, 1);
	ck_assert(!forecast_has_intervals(&f));
	ck_assert_double_eq(forecast_day(&f, 0), 0);
	forecast_sum_interval(&f, 30, &got);
	ck_assert_double_eq(got.expected, 0);
	fit(60, 1); /* days without spend are no history */
	ck_assert(!forecast_has_intervals(&f));
	ck_assert_int_eq((int)f.n_days, 0);
}
END_TEST

START_TEST(forecast_fit_of_six_days_is_their_mean_without_interval)
{
	for (int i = 0; i < 6; i++)
		days[10 + i] = i + 1; /* 1 .. 6: 3.5 */
	fit(16, 0.5);
	ck_assert(!forecast_has_intervals(&f));
	ck_assert_int_eq((int)f.n_days, 6);
	ck_assert_double_eq_tol(forecast_day(&f, 0), 1.75, 1e-12); /* half of today is left */
	ck_assert_double_eq_tol(forecast_day(&f, 9), 3.5, 1e-12);
	forecast_sum_interval(&f, 3, &got);
	ck_assert_double_eq_tol(got.expected, 1.75 + 7, 1e-12);
	ck_assert_double_eq(got.lower_80, got.expected);
	ck_assert_double_eq(got.upper_95, got.expected);
}
END_TEST

START_TEST(forecast_fit_of_the_same_every_day_goes_on_so)
{
	static const size_t LENGTHS[] = {7, 20, 21, 60, 200};
	for (size_t l = 0; l < sizeof(LENGTHS) / sizeof(LENGTHS[0]); l++) {
		for (size_t i = 0; i < LENGTHS[l]; i++)
			days[i] = 5;
		fit(LENGTHS[l], 1);
		ck_assert(forecast_has_intervals(&f));
		forecast_sum_interval(&f, 10, &got);
		ck_assert_double_eq_tol(got.expected, 50, 1e-6);
		ck_assert(got.lower_95 < got.lower_80 && got.lower_80 < 50);
		ck_assert(got.upper_80 > 50 && got.upper_80 < got.upper_95);
		ck_assert(got.upper_95 - got.lower_95 < 10); /* narrow, but the future is open */
	}
}
END_TEST

START_TEST(forecast_day_of_a_weekend_dip_knows_the_weekday)
{
	/* Day 0 is a Monday: 12 on weekdays, 1 on weekends. Day 56 is a Monday again. */
	for (int i = 0; i < 56; i++)
		days[i] = i % 7 < 5 ? 12 : 1;
	fit(56, 1);
	for (size_t lead = 0; lead < 14; lead++)
		ck_assert_double_eq_tol(forecast_day(&f, lead), lead % 7 < 5 ? 12 : 1, 0.05);
	forecast_sum_interval(&f, 7, &got);
	ck_assert_double_eq_tol(got.expected, 62, 0.1);
	/* 55 days: the first lead is a Sunday */
	fit(55, 1);
	ck_assert_double_eq_tol(forecast_day(&f, 0), 1, 0.1);
	ck_assert_double_eq_tol(forecast_day(&f, 1), 12, 0.1);
}
END_TEST

START_TEST(forecast_day_of_growth_goes_on_growing)
{
	/* 1 USD more every day: 60 is next. Flattened ahead, so no more than the line, and more than the last
	 * day. */
	for (int i = 0; i < 60; i++)
		days[i] = i;
	fit(60, 1);
	ck_assert(forecast_day(&f, 0) > 55 && forecast_day(&f, 0) < 61);
	ck_assert(forecast_day(&f, 13) > forecast_day(&f, 0) && forecast_day(&f, 13) < 75);
	forecast_sum_interval(&f, 14, &got);
	/* 60 + 61 + ... + 73 = 931 */
	ck_assert(got.upper_80 > 931 && got.expected > 0.85 * 931);
}
END_TEST

START_TEST(forecast_day_of_decline_is_never_below_nothing)
{
	for (int i = 0; i < 60; i++)
		days[i] = i < 40 ? 40 - i : 0;
	fit(60, 1);
	for (size_t lead = 0; lead <= FORECAST_LEAD_MAX; lead++) {
		forecast_day_interval(&f, lead, &got);
		ck_assert(got.expected >= 0 && got.lower_95 >= 0);
	}
	forecast_sum_interval(&f, FORECAST_LEAD_MAX, &got);
	ck_assert(got.lower_95 >= 0 && got.expected >= got.lower_80);
}
END_TEST

START_TEST(forecast_fit_looks_at_the_last_half_year_only)
{
	for (int i = 0; i < DAYS; i++)
		days[i] = i < DAYS - FORECAST_DAYS_MAX ? 1000 : 5;
	fit(DAYS, 1);
	ck_assert_int_eq((int)f.n_days, FORECAST_DAYS_MAX);
	ck_assert_double_eq_tol(forecast_day(&f, 3), 5, 1e-6);
}
END_TEST

START_TEST(forecast_fit_refuses_what_is_no_spend)
{
	static const double BAD[] = {-1, (double)NAN, (double)INFINITY};
	const struct forecast_history h = {.days = days, .n_days = 30, .today_left = 1};
	for (size_t i = 0; i < 3; i++) {
		days[29] = BAD[i];
		ck_assert_int_eq(forecast_fit(&h, &arena, &f), ERR_RANGE);
	}
	days[29] = 1;
	const struct forecast_history left = {.days = days, .n_days = 30, .today_left = 1.5};
	ck_assert_int_eq(forecast_fit(&left, &arena, &f), ERR_RANGE);
}
END_TEST

START_TEST(forecast_fit_without_memory_says_so)
{
	struct arena tiny;
	arena_init(&tiny, 64);
	for (int i = 0; i < 30; i++)
		days[i] = 1;
	const struct forecast_history h = {.days = days, .n_days = 30, .today_left = 1};
	ck_assert_int_eq(forecast_fit(&h, &tiny, &f), ERR_NO_MEMORY);
	arena_release(&tiny);
}
END_TEST

START_TEST(forecast_probability_falls_with_the_amount_and_agrees_with_the_interval)
{
	for (int i = 0; i < 90; i++)
		days[i] = 10 + (i * 7919 % 11) - 5; /* 5 .. 15, in no order */
	fit(90, 1);
	forecast_sum_interval(&f, 14, &got);
	ck_assert_double_eq(forecast_probability(&f, 14, 0), 1);
	ck_assert_double_eq(forecast_probability(&f, 14, -3), 1);
	ck_assert_double_eq_tol(forecast_probability(&f, 14, got.upper_80), 0.1, 0.005);
	ck_assert_double_eq_tol(forecast_probability(&f, 14, got.lower_80), 0.9, 0.005);
	double last = 1;
	for (double amount = 1; amount < 400; amount += 1) {
		const double p = forecast_probability(&f, 14, amount);
		ck_assert(p <= last && p >= 0.001 - 1e-9 && p <= 0.999 + 1e-9);
		last = p;
	}
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

enum kind { STEADY, WEEKLY, GROWING, WANDERING, UNEVEN, SPIKY, SPARSE, SLUGGISH, OFFICE, KINDS };

static double made_up(enum kind kind, int i, double *memory)
{
	const double week = i % 7 < 5 ? 1.5 : -6;
	switch (kind) {
	case STEADY:
		return 10 + 2 * normal();
	case WEEKLY:
		return 10 + week + 1.5 * normal();
	case GROWING:
		return 3 + 0.1 * i + 0.3 * week + 1.5 * normal();
	case WANDERING:
		*memory += 0.4 * normal();
		return 10 + *memory + 2 * normal();
	case UNEVEN:
		return 10 * exp(0.6 * normal());
	case SPIKY:
		return 10 + normal() + (uniform() < 0.05 ? 50 : 0);
	case SPARSE:
		return uniform() < 0.4 ? 0 : 10 * exp(0.5 * normal());
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

static void make_up(enum kind kind, unsigned seed, int n)
{
	double memory = 0;
	state = 88172645463325252ULL + (uint64_t)seed * 2654435761ULL;
	for (int i = 0; i < 20; i++)
		(void)uniform();
	for (int i = 0; i < n; i++)
		days[i] = fmax(0, made_up(kind, i, &memory));
}

struct tally {
	int n, in_80, in_95, days, days_in_80;
	double off, naive_off;
};

static void try_one(size_t n, size_t horizon, struct tally *t)
{
	fit(n, 1);
	forecast_sum_interval(&f, horizon, &got);
	double came = 0;
	for (size_t lead = 0; lead < horizon; lead++) {
		const double day = days[n + lead];
		struct forecast_interval one;
		forecast_day_interval(&f, lead, &one);
		came += day;
		t->days++;
		t->days_in_80 += day >= one.lower_80 && day <= one.upper_80;
		t->off += fabs(day - one.expected);
		t->naive_off += fabs(day - days[n - 7 + lead % 7]);
	}
	t->n++;
	t->in_80 += came >= got.lower_80 && came <= got.upper_80;
	t->in_95 += came >= got.lower_95 && came <= got.upper_95;
	arena_release(&arena);
}

/* 9 kinds x 4 lengths of history x 16 seeds = 576 histories, each for a week and four weeks ahead. */
START_TEST(forecast_sum_interval_covers_what_it_claims)
{
	static const size_t LENGTHS[] = {30, 60, 120, 180}, HORIZONS[] = {7, 28};
	for (size_t h = 0; h < 2; h++) {
		struct tally all = {0};
		for (int kind = 0; kind < KINDS; kind++) {
			struct tally t = {0};
			for (size_t l = 0; l < 4; l++)
				for (unsigned seed = 0; seed < 16; seed++) {
					make_up((enum kind)kind,
						(unsigned)kind * 1000 + seed * 31 + (unsigned)l,
						(int)(LENGTHS[l] + HORIZONS[h]));
					try_one(LENGTHS[l], HORIZONS[h], &t);
				}
			/* Of one kind alone (64 sums): no kind is far off. */
			ck_assert_msg(t.in_80 >= 0.6 * t.n, "kind %d, %zu days: %d of %d", kind, HORIZONS[h],
				t.in_80, t.n);
			all.n += t.n;
			all.in_80 += t.in_80;
			all.in_95 += t.in_95;
			all.days += t.days;
			all.days_in_80 += t.days_in_80;
			all.off += t.off;
			all.naive_off += t.naive_off;
		}
		ck_assert_msg(all.in_80 >= 0.7 * all.n && all.in_80 <= 0.9 * all.n, "80 %%: %d of %d",
			all.in_80, all.n);
		ck_assert_msg(all.in_95 >= 0.88 * all.n && all.in_95 <= 0.99 * all.n, "95 %%: %d of %d",
			all.in_95, all.n);
		ck_assert_msg(all.days_in_80 >= 0.7 * all.days && all.days_in_80 <= 0.9 * all.days,
			"80 %% of days: %d of %d", all.days_in_80, all.days);
		/* A fifth better than the seasonal naive method. */
		ck_assert_msg(all.off < 0.85 * all.naive_off, "%.1f against %.1f", all.off, all.naive_off);
	}
}
END_TEST

START_TEST(forecast_fit_of_the_same_history_is_the_same)
{
	struct forecast first;
	make_up(SPIKY, 7, 90);
	fit(90, 0.3);
	first = f;
	fit(90, 0.3);
	ck_assert(memcmp(&first, &f, sizeof(f)) == 0);
}
END_TEST

/* ---- parts ---- */

START_TEST(forecast_share_is_what_usually_has_come_by_now)
{
	/* Of 10, 20 and 30 a half, a quarter and a third had come: 20 of 60. Three even days of 20 at 0.6 of
	 * the time: 36 of 60 more. (20 + 36) / 120. */
	const double whole[] = {10, 20, 30}, before[] = {5, 5, 10};
	ck_assert_double_eq_tol(forecast_share(before, whole, 3, 0.6), 56.0 / 120, 1e-12);
	/* Without spend: by time alone. */
	const double none[] = {0, 0};
	ck_assert_double_eq(forecast_share(none, none, 2, 0.25), 0.25);
	ck_assert_double_eq(forecast_share(NULL, NULL, 0, 0.75), 0.75);
}
END_TEST

START_TEST(forecast_scale_is_the_error_of_the_same_weekday_before)
{
	double scale = 0;
	for (int i = 0; i < 14; i++)
		days[i] = i < 7 ? 1 : i; /* |7-1| .. |13-1|: 6 + 7 + ... + 12 = 63, over 7 */
	ck_assert(forecast_scale(days, 14, &scale));
	ck_assert_double_eq_tol(scale, 9, 1e-12);
	ck_assert(!forecast_scale(days, 7, &scale)); /* nothing to compare with */
}
END_TEST

START_TEST(forecast_try_counts_forecasts_of_the_past)
{
	struct forecast_trials t = {.n = 0};
	make_up(STEADY, 3, 70);
	/* Origins 7, 14, ... 63: with 7 days more each, 9. */
	ck_assert_int_eq(forecast_try(days, 70, 7, 7, &arena, &t), ERR_OK);
	ck_assert_int_eq((int)t.n, 9);
	ck_assert(t.in_80 <= t.in_95 && t.in_95 <= t.n);
	/* From the first origin there is no week before to scale by. */
	ck_assert_int_eq((int)t.n_scaled, 8);
	ck_assert(t.mase > 0 && t.naive > 0);
	ck_assert_int_eq(forecast_try(days, 70, 7, 7, &arena, &t), ERR_OK);
	ck_assert_int_eq((int)t.n, 18); /* adds */
	ck_assert_int_eq(forecast_try(days, 70, 0, 7, &arena, &t), ERR_RANGE);
	ck_assert_int_eq(forecast_try(days, 70, 7, 0, &arena, &t), ERR_RANGE);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("forecast");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, forecast_fit_of_nothing_expects_nothing);
	tcase_add_test(t, forecast_fit_of_six_days_is_their_mean_without_interval);
	tcase_add_test(t, forecast_fit_of_the_same_every_day_goes_on_so);
	tcase_add_test(t, forecast_day_of_a_weekend_dip_knows_the_weekday);
	tcase_add_test(t, forecast_day_of_growth_goes_on_growing);
	tcase_add_test(t, forecast_day_of_decline_is_never_below_nothing);
	tcase_add_test(t, forecast_fit_looks_at_the_last_half_year_only);
	tcase_add_test(t, forecast_fit_refuses_what_is_no_spend);
	tcase_add_test(t, forecast_fit_without_memory_says_so);
	tcase_add_test(t, forecast_probability_falls_with_the_amount_and_agrees_with_the_interval);
	tcase_add_test(t, forecast_sum_interval_covers_what_it_claims);
	tcase_add_test(t, forecast_fit_of_the_same_history_is_the_same);
	tcase_add_test(t, forecast_share_is_what_usually_has_come_by_now);
	tcase_add_test(t, forecast_scale_is_the_error_of_the_same_weekday_before);
	tcase_add_test(t, forecast_try_counts_forecasts_of_the_past);
	Suite *suite = suite_create("forecast");
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
