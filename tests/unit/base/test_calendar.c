/* Civil dates and RFC 3339 texts. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"

static int32_t days_of(int year, int month, int day)
{
	return calendar_days((struct civil_date){.year = year, .month = month, .day = day});
}

START_TEST(calendar_days_known_dates_are_right)
{
	ck_assert_int_eq(days_of(1970, 1, 1), 0);
	ck_assert_int_eq(days_of(1969, 12, 31), -1);
	ck_assert_int_eq(days_of(2000, 3, 1), 11017);
	ck_assert_int_eq(days_of(1, 1, 1), -719162);
	ck_assert_int_eq(days_of(9999, 12, 31), 2932896);
}
END_TEST

START_TEST(calendar_date_every_day_of_10000_years_follows_the_one_before)
{
	struct civil_date d = {.year = 1, .month = 1, .day = 1};
	int weekday = 0; /* 0001-01-01 was a Monday in the proleptic Gregorian calendar */
	for (int32_t days = -719162; days <= 2932896; days++) {
		const struct civil_date got = calendar_date(days);
		if (got.year != d.year || got.month != d.month || got.day != d.day ||
			calendar_days(d) != days || calendar_weekday(days) != weekday)
			ck_abort_msg("day %d", days);
		weekday = (weekday + 1) % 7;
		d.day++;
		if (d.day > calendar_days_in_month(d.year, d.month)) {
			d.day = 1;
			d.month = d.month % 12 + 1;
			d.year += d.month == 1;
		}
	}
	ck_assert_int_eq(d.year, 10000);
}
END_TEST

START_TEST(calendar_days_in_month_knows_leap_years)
{
	ck_assert_int_eq(calendar_days_in_month(2024, 2), 29);
	ck_assert_int_eq(calendar_days_in_month(2023, 2), 28);
	ck_assert_int_eq(calendar_days_in_month(1900, 2), 28);
	ck_assert_int_eq(calendar_days_in_month(2000, 2), 29);
	ck_assert_int_eq(calendar_days_in_month(2026, 12), 31);
}
END_TEST

START_TEST(calendar_parse_date_exact_form_only)
{
	static const char *const bad[] = {"", "2026-8-23", "26-08-23", "2026-08-23 ", " 2026-08-23",
		"2026/08/23", "2026-08-2x", "+2026-08-23", "12026-08-23", "2026-08-23T00:00:00Z", "2026-08-",
		"-2026-08-2"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int32_t days = 4711;
		ck_assert_msg(calendar_parse_date(bad[i], &days) == ERR_SYNTAX, "%s", bad[i]);
		ck_assert_int_eq(days, 4711);
	}
	static const char *const none[] = {
		"2026-02-29", "2026-00-10", "2026-13-01", "2026-04-31", "2026-01-00", "0000-01-01"};
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		int32_t days = 4711;
		ck_assert_msg(calendar_parse_date(none[i], &days) == ERR_RANGE, "%s", none[i]);
	}
	int32_t days = 0;
	ck_assert_int_eq(calendar_parse_date("2024-02-29", &days), ERR_OK);
	ck_assert_int_eq(days, days_of(2024, 2, 29));
}
END_TEST

START_TEST(calendar_format_date_is_four_two_two)
{
	char text[DATE_TEXT_SIZE];
	calendar_format_date(days_of(2026, 8, 23), text);
	ck_assert_str_eq(text, "2026-08-23");
	calendar_format_date(days_of(1, 1, 1), text);
	ck_assert_str_eq(text, "0001-01-01");
	calendar_format_date(days_of(9999, 12, 31), text);
	ck_assert_str_eq(text, "9999-12-31");
}
END_TEST

START_TEST(calendar_format_date_after_year_9999_aborts)
{
	char text[DATE_TEXT_SIZE];
	calendar_format_date(2932897, text);
}
END_TEST

/* 2026-08-23T10:00:00Z: 20,688 days (56 years x 365 + 14 leap days + 234 days) and 10 hours. */
#define AUGUST_23 (INT64_C(20688) * 86400 + 36000)

START_TEST(instant_parse_forms_are_understood)
{
	static const struct {
		const char *text;
		int64_t us;
	} rows[] = {
		{"2026-08-23T10:00:00Z", AUGUST_23 * 1000000},
		{"2026-08-23t10:00:00z", AUGUST_23 * 1000000},
		{"2026-08-23 10:00:00Z", AUGUST_23 * 1000000},
		{"2026-08-23T10:00:00", AUGUST_23 * 1000000},
		{"2026-08-23T12:00:00+02:00", AUGUST_23 * 1000000},
		{"2026-08-23T04:30:00-05:30", AUGUST_23 * 1000000},
		{"2026-08-23T10:00:00-00:00", AUGUST_23 * 1000000},
		{"2026-08-24T09:59:00+23:59", AUGUST_23 * 1000000},
		{"2026-08-23T10:00:00.5Z", AUGUST_23 * 1000000 + 500000},
		{"2026-08-23T10:00:00.123456Z", AUGUST_23 * 1000000 + 123456},
		{"2026-08-23T10:00:00.123456789123Z", AUGUST_23 * 1000000 + 123456},
		{"2026-08-23T10:00:00.9999999Z", AUGUST_23 * 1000000 + 999999},
		{"2026-08-23", (AUGUST_23 - 36000) * 1000000},
		/* a leap second is the second after it */
		{"2016-12-31T23:59:60Z", INT64_C(1483228800) * 1000000},
		{"1969-12-31T23:59:59.5Z", -500000},
		{"0001-01-01T00:00:00Z", INSTANT_MIN_US},
		{"9999-12-31T23:59:59.999999Z", INSTANT_MAX_US},
		{"0", 0},
		{"1700000000", INT64_C(1700000000000000)},
		{"1700000000.25", INT64_C(1700000000250000)},
		{"1700000000.123456789", INT64_C(1700000000123456)},
		{"1700000000123", INT64_C(1700000000123000)},
		{"1700000000123.456", INT64_C(1700000000123456)},
		{"99999999999", INT64_C(99999999999000000)},
		{"100000000000", INT64_C(100000000000000)},
		{"253402300799999.999", INSTANT_MAX_US},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int64_t us = 4711;
		ck_assert_msg(
			instant_parse(rows[i].text, strlen(rows[i].text), &us) == ERR_OK, "%s", rows[i].text);
		ck_assert_msg(us == rows[i].us, "%s gave %lld", rows[i].text, (long long)us);
	}
}
END_TEST

START_TEST(instant_parse_other_forms_are_refused)
{
	static const char *const bad[] = {"", " ", "now", "infinity", "-1", "+1", "1.", "1.x", ".5", "1e9",
		"1700000000.1234567890", "0x10", "2026-08-23T", "2026-08-23T10", "2026-08-23T10:00",
		"2026-08-23T10:00Z", "2026-08-23T10:00:00.Z", "2026-08-23T10:00:00+02",
		"2026-08-23T10:00:00+0200", "2026-08-23T10:00:00 +02:00", "2026-08-23T10:00:00+02:00 ",
		"2026-08-23T10:00:00ZZ", "2026-08-23  10:00:00Z", "2026-08-23X10:00:00Z",
		"2026-8-23T10:00:00Z", "20260823T100000Z", "2026-08-23T10:00:00,5Z",
		"2026-08-23T10:00:00 02:00", "-2026-08-23T10:00:00Z", " 2026-08-23", "2026-08-23Z",
		"2026-08-23T1:00:00Z", "2026-W34-7"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int64_t us = 4711;
		ck_assert_msg(instant_parse(bad[i], strlen(bad[i]), &us) == ERR_SYNTAX, "%s", bad[i]);
		ck_assert_int_eq(us, 4711);
	}
	int64_t us = 4711;
	ck_assert_int_eq(instant_parse("2026-08-23\0", 11, &us), ERR_SYNTAX);
	ck_assert_int_eq(instant_parse("2026-08-23T10:00:00\0", 20, &us), ERR_SYNTAX);
}
END_TEST

START_TEST(instant_parse_times_that_do_not_exist_are_refused)
{
	static const char *const none[] = {"2026-02-29T00:00:00Z", "2026-02-29", "2026-13-01T00:00:00Z",
		"2026-01-01T24:00:00Z", "2026-01-01T23:60:00Z", "2026-01-01T23:59:61Z",
		"2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+01:60", "0000-01-01T00:00:00Z",
		"0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:60Z",
		"253402300800000", "1000000000000000", "99999999999999999999999999"};
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		int64_t us = 4711;
		ck_assert_msg(instant_parse(none[i], strlen(none[i]), &us) == ERR_RANGE, "%s", none[i]);
		ck_assert_int_eq(us, 4711);
	}
}
END_TEST

START_TEST(instant_parse_reads_only_n_bytes)
{
	int64_t us = 0;
	ck_assert_int_eq(instant_parse("2026-08-23T10:00:00Zjunk", 20, &us), ERR_OK);
	ck_assert_int_eq(us, AUGUST_23 * 1000000);
}
END_TEST

START_TEST(instant_format_has_milliseconds_or_finer)
{
	char text[INSTANT_TEXT_SIZE];
	instant_format(AUGUST_23 * 1000000, text);
	ck_assert_str_eq(text, "2026-08-23T10:00:00.000Z");
	instant_format(AUGUST_23 * 1000000 + 120000, text);
	ck_assert_str_eq(text, "2026-08-23T10:00:00.120Z");
	instant_format(AUGUST_23 * 1000000 + 123001, text);
	ck_assert_str_eq(text, "2026-08-23T10:00:00.123001Z");
	instant_format(-1, text);
	ck_assert_str_eq(text, "1969-12-31T23:59:59.999999Z");
	instant_format(INSTANT_MIN_US, text);
	ck_assert_str_eq(text, "0001-01-01T00:00:00.000Z");
	instant_format(INSTANT_MAX_US, text);
	ck_assert_str_eq(text, "9999-12-31T23:59:59.999999Z");
}
END_TEST

START_TEST(instant_format_after_year_9999_aborts)
{
	char text[INSTANT_TEXT_SIZE];
	instant_format(INSTANT_MAX_US + 1, text);
}
END_TEST

START_TEST(instant_format_then_parse_gives_the_instant_back)
{
	uint64_t state = 88172645463325252u;
	for (int i = 0; i < 20000; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		const uint64_t span = (uint64_t)INSTANT_MAX_US - (uint64_t)INSTANT_MIN_US + 1;
		const int64_t us = INSTANT_MIN_US + (int64_t)(state % span);
		char text[INSTANT_TEXT_SIZE];
		instant_format(us, text);
		int64_t back = 0;
		ck_assert_int_eq(instant_parse(text, strlen(text), &back), ERR_OK);
		ck_assert_int_eq(back, us);
		/* The system's own calendar agrees. */
		const time_t seconds = (time_t)(us / 1000000 - (us % 1000000 < 0));
		struct tm tm;
		ck_assert_ptr_nonnull(gmtime_r(&seconds, &tm));
		char theirs[96];
		snprintf(theirs, sizeof theirs, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900,
			tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
		ck_assert_int_eq(strncmp(text, theirs, 19), 0);
	}
}
END_TEST

/* ---- periods ---- */

static int64_t instant(const char *text)
{
	int64_t us = 0;
	ck_assert_msg(instant_parse(text, strlen(text), &us) == ERR_OK, "%s", text);
	return us;
}

static void assert_period(const struct period *p, const char *start, const char *end)
{
	char text[INSTANT_TEXT_SIZE];
	instant_format(p->start_us, text);
	ck_assert_int_eq(strncmp(text, start, 10), 0);
	ck_assert_int_eq(p->start_us, instant(start));
	ck_assert_int_eq(p->end_us, instant(end));
}

START_TEST(period_at_every_kind_contains_the_instant)
{
	/* 2026-08-23 is a Sunday. */
	const struct tz *const utc = tz_utc();
	const int64_t us = instant("2026-08-23T23:59:59.999999Z");
	struct period p = period_at(PERIOD_DAY, utc, us);
	assert_period(&p, "2026-08-23", "2026-08-24");
	ck_assert_int_eq(p.first_day, days_of(2026, 8, 23));
	ck_assert_int_eq(p.end_day, days_of(2026, 8, 24));
	p = period_at(PERIOD_WEEK, utc, us);
	assert_period(&p, "2026-08-17", "2026-08-24");
	p = period_at(PERIOD_MONTH, utc, us);
	assert_period(&p, "2026-08-01", "2026-09-01");
	p = period_at(PERIOD_YEAR, utc, us);
	assert_period(&p, "2026-01-01", "2027-01-01");
	p = period_at(PERIOD_WEEK, utc, us + 1);
	assert_period(&p, "2026-08-24", "2026-08-31");
}
END_TEST

START_TEST(period_next_and_previous_cross_the_year)
{
	const struct tz *const utc = tz_utc();
	const struct period december = period_at(PERIOD_MONTH, utc, instant("2023-12-31T12:00:00Z"));
	struct period p = period_next(PERIOD_MONTH, utc, &december);
	assert_period(&p, "2024-01-01", "2024-02-01");
	p = period_next(PERIOD_MONTH, utc, &p);
	assert_period(&p, "2024-02-01", "2024-03-01");
	p = period_previous(PERIOD_MONTH, utc, &december);
	assert_period(&p, "2023-11-01", "2023-12-01");
	const struct period year = period_at(PERIOD_YEAR, utc, instant("2024-06-01"));
	ck_assert_int_eq(year.end_day - year.first_day, 366);
	p = period_previous(PERIOD_YEAR, utc, &year);
	assert_period(&p, "2023-01-01", "2024-01-01");
	const struct period week = period_at(PERIOD_WEEK, utc, instant("2024-12-30"));
	assert_period(&week, "2024-12-30", "2025-01-06");
	p = period_previous(PERIOD_WEEK, utc, &week);
	assert_period(&p, "2024-12-23", "2024-12-30");
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("calendar");
	TCase *const tc = tcase_create("calendar");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, calendar_days_known_dates_are_right);
	tcase_add_test(tc, calendar_date_every_day_of_10000_years_follows_the_one_before);
	tcase_add_test(tc, calendar_days_in_month_knows_leap_years);
	tcase_add_test(tc, calendar_parse_date_exact_form_only);
	tcase_add_test(tc, calendar_format_date_is_four_two_two);
	tcase_add_test_raise_signal(tc, calendar_format_date_after_year_9999_aborts, SIGABRT);
	tcase_add_test(tc, instant_parse_forms_are_understood);
	tcase_add_test(tc, instant_parse_other_forms_are_refused);
	tcase_add_test(tc, instant_parse_times_that_do_not_exist_are_refused);
	tcase_add_test(tc, instant_parse_reads_only_n_bytes);
	tcase_add_test(tc, instant_format_has_milliseconds_or_finer);
	tcase_add_test_raise_signal(tc, instant_format_after_year_9999_aborts, SIGABRT);
	tcase_add_test(tc, instant_format_then_parse_gives_the_instant_back);
	tcase_add_test(tc, period_at_every_kind_contains_the_instant);
	tcase_add_test(tc, period_next_and_previous_cross_the_year);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
