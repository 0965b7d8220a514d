/* Ranges: parameters to instants and days, in UTC and in a zone with daylight saving time. */
#include <check.h>
#include <string.h>
#include "llmlab/api/range.h"
#include "llmlab/base/clock.h"

static struct arena arena;
static struct problem p;

static void setup(void)
{
	arena_init(&arena, 1 << 20);
	problem_init(&p, &arena);
}

static void teardown(void)
{
	arena_release(&arena);
}

static int64_t at(const char *text)
{
	int64_t us = 0;
	ck_assert_int_eq(instant_parse(text, strlen(text), &us), ERR_OK);
	return us;
}

static int32_t day(int year, int month, int d)
{
	return calendar_days((struct civil_date){year, month, d});
}

static const struct tz *berlin(void)
{
	const struct tz *z;
	ck_assert_int_eq(tz_load("Europe/Berlin", &z), ERR_OK);
	return z;
}

static struct range resolved(
	const char *days, const char *from, const char *to, const struct tz *tz, const char *now)
{
	struct range_spec spec;
	struct range r;
	range_parse(days, from, to, &spec, &p);
	ck_assert(problem_none(&p));
	ck_assert_int_eq(range_resolve(&spec, tz, at(now), &r, &p), ERR_OK);
	return r;
}

static void refused(const char *days, const char *from, const char *to, const char *field)
{
	struct range_spec spec;
	struct range r;
	problem_init(&p, &arena);
	range_parse(days, from, to, &spec, &p);
	if (problem_none(&p))
		range_resolve(&spec, tz_utc(), at("2026-08-23T12:00:00Z"), &r, &p);
	ck_assert_int_eq(p.code, ERR_VALIDATION);
	ck_assert_str_eq(p.fields[0].field, field);
}

START_TEST(range_nothing_given_is_30_days_that_end_today)
{
	/* Today is the 23rd: 30 days are the 25th of July to the 23rd of August. */
	const struct range r = resolved(NULL, NULL, NULL, tz_utc(), "2026-08-23T12:00:00Z");
	ck_assert_int_eq(r.first_day, day(2026, 7, 25));
	ck_assert_int_eq(r.end_day, day(2026, 8, 24));
	ck_assert_int_eq(r.from_us, at("2026-07-25T00:00:00Z"));
	ck_assert_int_eq(r.to_us, at("2026-08-24T00:00:00Z"));
}
END_TEST

START_TEST(range_one_day_in_a_zone_is_the_zones_today)
{
	/* 22:30 UTC is 00:30 of the 24th in Berlin (UTC+2 in summer). */
	const struct range r = resolved("1", NULL, NULL, berlin(), "2026-08-23T22:30:00Z");
	ck_assert_int_eq(r.first_day, day(2026, 8, 24));
	ck_assert_int_eq(r.from_us, at("2026-08-23T22:00:00Z"));
	ck_assert_int_eq(r.to_us, at("2026-08-24T22:00:00Z"));
}
END_TEST

START_TEST(range_dates_include_the_last_one)
{
	const struct range r = resolved(NULL, "2026-08-01", "2026-08-01", tz_utc(), "2026-08-23T12:00:00Z");
	ck_assert(!r.instants);
	ck_assert_int_eq(r.from_us, at("2026-08-01T00:00:00Z"));
	ck_assert_int_eq(r.to_us, at("2026-08-02T00:00:00Z"));
}
END_TEST

START_TEST(range_day_of_spring_change_has_23_hours)
{
	const struct range r = resolved(NULL, "2026-03-29", "2026-03-29", berlin(), "2026-08-23T12:00:00Z");
	ck_assert_int_eq(r.to_us - r.from_us, 23 * US_PER_HOUR);
}
END_TEST

START_TEST(range_open_dates_end_today)
{
	const struct range r = resolved(NULL, "2026-08-20", NULL, tz_utc(), "2026-08-23T12:00:00Z");
	ck_assert_int_eq(r.end_day, day(2026, 8, 24));
}
END_TEST

START_TEST(range_instants_are_half_open_and_exact)
{
	const struct range r = resolved(
		NULL, "2026-08-01T10:00:00.5Z", "2026-08-03T00:00:00Z", tz_utc(), "2026-08-23T12:00:00Z");
	ck_assert(r.instants);
	ck_assert_int_eq(r.from_us, at("2026-08-01T10:00:00.5Z"));
	ck_assert_int_eq(r.first_day, day(2026, 8, 1));
	/* Midnight of the 3rd is not in it, so it touches the 1st and the 2nd. */
	ck_assert_int_eq(r.end_day, day(2026, 8, 3));
}
END_TEST

START_TEST(range_longest_is_366_days)
{
	const struct range r = resolved(NULL, "2025-08-23", "2026-08-23", tz_utc(), "2026-08-23T12:00:00Z");
	ck_assert_int_eq(r.end_day - r.first_day, 366);
	refused(NULL, "2025-08-22", "2026-08-23", "from");
	refused(NULL, "2025-08-22T11:59:59Z", NULL, "from");
}
END_TEST

START_TEST(range_bad_parameters_are_named)
{
	refused("0", NULL, NULL, "days");
	refused("367", NULL, NULL, "days");
	refused("-1", NULL, NULL, "days");
	refused("1.5", NULL, NULL, "days");
	refused("", NULL, NULL, "days");
	refused("99999999999", NULL, NULL, "days");
	refused("7", "2026-08-01", NULL, "days");
	refused(NULL, NULL, "2026-08-01", "from");
	refused(NULL, "2026-02-30", NULL, "from");
	refused(NULL, "yesterday", NULL, "from");
	refused(NULL, "1999-12-31", NULL, "from");
	refused(NULL, "2026-08-01", "2026-08-02T00:00:00Z", "to");
	refused(NULL, "2026-08-02", "2026-08-01", "to");
	refused(NULL, "2026-08-02T00:00:00Z", "2026-08-02T00:00:00Z", "to");
	refused(NULL, "2026-08-24", NULL, "from");
}
END_TEST

START_TEST(range_previous_has_equal_length)
{
	const struct range days = resolved("7", NULL, NULL, tz_utc(), "2026-08-23T12:00:00Z");
	const struct range before = range_previous(&days);
	ck_assert_int_eq(before.to_us, days.from_us);
	ck_assert_int_eq(before.from_us, at("2026-08-10T00:00:00Z"));
	const struct range instants = resolved(
		NULL, "2026-08-02T06:00:00Z", "2026-08-02T18:00:00Z", tz_utc(), "2026-08-23T12:00:00Z");
	ck_assert_int_eq(range_previous(&instants).from_us, at("2026-08-01T18:00:00Z"));
	ck_assert_int_eq(range_previous(&instants).to_us, at("2026-08-02T06:00:00Z"));
}
END_TEST

START_TEST(range_day_starts_are_clipped_to_the_range)
{
	const struct range r = resolved(
		NULL, "2026-08-01T10:00:00Z", "2026-08-03T01:00:00Z", tz_utc(), "2026-08-23T12:00:00Z");
	size_t n = 0;
	const int64_t *const starts = range_day_starts(&r, &arena, &n);
	ck_assert_uint_eq(n, 4);
	ck_assert_int_eq(starts[0], at("2026-08-01T10:00:00Z"));
	ck_assert_int_eq(starts[1], at("2026-08-02T00:00:00Z"));
	ck_assert_int_eq(starts[2], at("2026-08-03T00:00:00Z"));
	ck_assert_int_eq(starts[3], at("2026-08-03T01:00:00Z"));
}
END_TEST

START_TEST(range_write_shows_the_last_date)
{
	const struct range r = resolved("2", NULL, NULL, tz_utc(), "2026-08-23T12:00:00Z");
	struct buf out;
	buf_init(&out, 1024);
	struct json_writer w;
	jw_init(&w, &out);
	jw_object_begin(&w, NULL);
	range_write(&w, "a", "b", &r);
	jw_object_end(&w);
	ck_assert_str_eq(buf_str(&out), "{\"a\":\"2026-08-22\",\"b\":\"2026-08-23\"}");
	buf_release(&out);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("range");
	TCase *const t = tcase_create("range");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, range_nothing_given_is_30_days_that_end_today);
	tcase_add_test(t, range_one_day_in_a_zone_is_the_zones_today);
	tcase_add_test(t, range_dates_include_the_last_one);
	tcase_add_test(t, range_day_of_spring_change_has_23_hours);
	tcase_add_test(t, range_open_dates_end_today);
	tcase_add_test(t, range_instants_are_half_open_and_exact);
	tcase_add_test(t, range_longest_is_366_days);
	tcase_add_test(t, range_bad_parameters_are_named);
	tcase_add_test(t, range_previous_has_equal_length);
	tcase_add_test(t, range_day_starts_are_clipped_to_the_range);
	tcase_add_test(t, range_write_shows_the_last_date);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
