/* Time zones: days around changes of the clock, hostile names and files, and agreement with libc over every
 * zone of the system. */
#include <check.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"

#define ZONES "/usr/share/zoneinfo"

static int64_t instant(const char *text)
{
	int64_t us = 0;
	ck_assert_msg(instant_parse(text, strlen(text), &us) == ERR_OK, "%s", text);
	return us;
}

static int32_t day(const char *text)
{
	int32_t days = 0;
	ck_assert_msg(calendar_parse_date(text, &days) == ERR_OK, "%s", text);
	return days;
}

static const struct tz *zone(const char *name)
{
	const struct tz *z = NULL;
	ck_assert_msg(tz_load(name, &z) == ERR_OK, "%s", name);
	ck_assert_str_eq(tz_name(z), name);
	return z;
}

START_TEST(tz_load_twice_gives_the_same_zone)
{
	ck_assert_ptr_eq(zone("Europe/Berlin"), zone("Europe/Berlin"));
	ck_assert_ptr_eq(zone("UTC"), tz_utc());
}
END_TEST

START_TEST(tz_load_what_is_no_zone_is_not_found)
{
	static const char *const names[] = {"", "Europe/Atlantis", "europe/berlin", "Europe", "../etc/passwd",
		"/etc/localtime", "Europe/../Europe/Berlin", "Europe//Berlin", "Europe/Berlin/", "zone.tab",
		"tzdata.zi", "right/Europe/Berlin", "posix/Europe/Berlin", "Europe/Ber lin",
		"Europe/Berlin\n", "%s%s%s", "CET-1CEST",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const struct tz *z = NULL;
		ck_assert_msg(tz_load(names[i], &z) == ERR_NOT_FOUND, "%s", names[i]);
		ck_assert_ptr_null(z);
	}
}
END_TEST

START_TEST(tz_offset_at_changes_at_the_transition)
{
	/* Germany: 2026-03-29T01:00Z to +2 h, 2026-10-25T01:00Z back to +1 h. */
	const struct tz *const z = zone("Europe/Berlin");
	ck_assert_int_eq(tz_offset_at(z, instant("2026-03-29T01:00:00Z") - 1), 3600);
	ck_assert_int_eq(tz_offset_at(z, instant("2026-03-29T01:00:00Z")), 7200);
	ck_assert_int_eq(tz_offset_at(z, instant("2026-10-25T01:00:00Z") - 1), 7200);
	ck_assert_int_eq(tz_offset_at(z, instant("2026-10-25T01:00:00Z")), 3600);
}
END_TEST

START_TEST(tz_day_start_days_around_changes_begin_right)
{
	static const struct {
		const char *zone;
		const char *day;
		const char *start;
	} rows[] = {
		{"UTC", "2026-08-23", "2026-08-23T00:00:00Z"},
		{"Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z"},
		{"Europe/Berlin", "2026-03-30", "2026-03-29T22:00:00Z"}, /* 23 hours later */
		{"Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00Z"},
		{"Europe/Berlin", "2026-10-26", "2026-10-25T23:00:00Z"}, /* 25 hours later */
		/* Brazil's clocks went from 00:00 (-3 h) to 01:00 (-2 h): the day begins at 01:00. */
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"},
		{"America/Sao_Paulo", "2018-11-05", "2018-11-05T02:00:00Z"},
		/* 2018-02-18: from 00:00 (-2 h) back to 23:00 (-3 h) of the 17th; midnight comes at 03:00Z.
		 */
		{"America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00Z"},
		/* Lebanon 2022: 00:00 (+2 h) to 01:00. Egypt 2024: the same on April 26. */
		{"Asia/Beirut", "2022-03-27", "2022-03-26T22:00:00Z"},
		{"Asia/Beirut", "2022-03-28", "2022-03-27T21:00:00Z"},
		{"Africa/Cairo", "2024-04-26", "2024-04-25T22:00:00Z"},
		{"Africa/Cairo", "2024-04-27", "2024-04-26T21:00:00Z"},
		/* Samoa left out 2011-12-30: from -10 h to +14 h at 10:00Z. */
		{"Pacific/Apia", "2011-12-29", "2011-12-29T10:00:00Z"},
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"},
		{"Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"},
		{"Pacific/Apia", "2012-01-01", "2011-12-31T10:00:00Z"},
		{"Asia/Kathmandu", "2026-08-23", "2026-08-22T18:15:00Z"},
		/* Lord Howe: +11 h to +10:30 h on 2026-04-05, a day of 24.5 hours. */
		{"Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00:00Z"},
		{"Australia/Lord_Howe", "2026-04-06", "2026-04-05T13:30:00Z"},
		/* Newfoundland 2010: at 00:01 (-2:30 h) back to 23:01 (-3:30 h): the 7th begins before that.
		 */
		{"America/St_Johns", "2010-11-07", "2010-11-07T02:30:00Z"},
		{"America/St_Johns", "2010-11-08", "2010-11-08T03:30:00Z"},
		/* Far beyond the table of the file: by the rule. 2090-03-26 is the last Sunday of March. */
		{"Europe/Berlin", "2090-03-26", "2090-03-25T23:00:00Z"},
		{"Europe/Berlin", "2090-03-27", "2090-03-26T22:00:00Z"},
		/* Before the first transition: local mean time, 53 min 28 s. */
		{"Europe/Berlin", "1850-01-01", "1849-12-31T23:06:32Z"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const int64_t start = tz_day_start(zone(rows[i].zone), day(rows[i].day));
		char text[INSTANT_TEXT_SIZE];
		instant_format(start, text);
		ck_assert_msg(
			start == instant(rows[i].start), "%s %s begins %s", rows[i].zone, rows[i].day, text);
	}
}
END_TEST

START_TEST(tz_day_of_is_the_local_day)
{
	const struct tz *const z = zone("America/Los_Angeles");
	ck_assert_int_eq(tz_day_of(z, instant("2026-08-23T06:59:59Z")), day("2026-08-22"));
	ck_assert_int_eq(tz_day_of(z, instant("2026-08-23T07:00:00Z")), day("2026-08-23"));
	ck_assert_int_eq(tz_day_of(tz_utc(), -1), -1);
	ck_assert_int_eq(tz_day_of(tz_utc(), 0), 0);
}
END_TEST

START_TEST(period_at_clock_set_back_over_midnight_has_no_overlap)
{
	/* St. John's, 2010-11-07T02:45Z: local time is 23:15 of the 6th again, after the 7th had begun at
	 * 02:30Z. */
	const struct tz *const z = zone("America/St_Johns");
	const int64_t us = instant("2010-11-07T02:45:00Z");
	ck_assert_int_eq(tz_day_of(z, us), day("2010-11-06"));
	const struct period p = period_at(PERIOD_DAY, z, us);
	ck_assert_int_eq(p.first_day, day("2010-11-07"));
	ck_assert_int_eq(p.start_us, instant("2010-11-07T02:30:00Z"));
}
END_TEST

START_TEST(period_at_day_that_was_left_out_is_empty)
{
	const struct tz *const z = zone("Pacific/Apia");
	const struct period before = period_at(PERIOD_DAY, z, instant("2011-12-30T09:59:59Z"));
	ck_assert_int_eq(before.first_day, day("2011-12-29"));
	const struct period left_out = period_next(PERIOD_DAY, z, &before);
	ck_assert_int_eq(left_out.first_day, day("2011-12-30"));
	ck_assert_int_eq(left_out.start_us, left_out.end_us);
	const struct period after = period_at(PERIOD_DAY, z, instant("2011-12-30T10:00:00Z"));
	ck_assert_int_eq(after.first_day, day("2011-12-31"));
}
END_TEST

/* ---- every zone of the system ---- */

/* Calls visit with the name of every zone below the directory; prefix is "" or ends with '/'. */
static int for_each_zone(const char *prefix, void (*visit)(const char *name))
{
	char path[512];
	snprintf(path, sizeof path, ZONES "/%s", prefix);
	DIR *const directory = opendir(path);
	ck_assert_ptr_nonnull(directory);
	int visited = 0;
	for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
		if (entry->d_name[0] == '.')
			continue;
		char name[300];
		snprintf(name, sizeof name, "%s%s", prefix, entry->d_name);
		snprintf(path, sizeof path, ZONES "/%s", name);
		struct stat info;
		ck_assert_int_eq(stat(path, &info), 0);
		const struct tz *z;
		if (S_ISDIR(info.st_mode) && strcmp(name, "posix") != 0 && strcmp(name, "right") != 0) {
			strcat(name, "/");
			visited += for_each_zone(name, visit);
		} else if (!S_ISDIR(info.st_mode) && tz_load(name, &z) == ERR_OK) {
			visit(name);
			visited++;
		}
	}
	closedir(directory);
	return visited;
}

static uint64_t random_state = 0x9E3779B97F4A7C15u;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Some seconds of 2015 to 2037, and from there to 2200. */
static int64_t random_second(int i)
{
	const int64_t from_2015 = 1420070400;
	const int64_t from_2038 = 2145916800;
	const int64_t from_2200 = 7258118400;
	return i % 4 != 0 ? from_2015 + (int64_t)(next_random() % (uint64_t)(from_2038 - from_2015))
			  : from_2038 + (int64_t)(next_random() % (uint64_t)(from_2200 - from_2038));
}

static void compare_with_libc(const char *name)
{
	const struct tz *const z = zone(name);
	setenv("TZ", name, 1);
	tzset();
	for (int i = 0; i < 200; i++) {
		const time_t second = (time_t)random_second(i);
		struct tm tm;
		ck_assert_ptr_nonnull(localtime_r(&second, &tm));
		const int64_t us = second * US_PER_SECOND;
		const struct civil_date d = {
			.year = tm.tm_year + 1900, .month = tm.tm_mon + 1, .day = tm.tm_mday};
		if (tz_offset_at(z, us) != tm.tm_gmtoff || tz_day_of(z, us + 999999) != calendar_days(d))
			ck_abort_msg("%s at %lld: %d, libc %ld", name, (long long)second, tz_offset_at(z, us),
				tm.tm_gmtoff);
	}
}

START_TEST(tz_offset_at_every_zone_agrees_with_libc)
{
	ck_assert_int_gt(for_each_zone("", compare_with_libc), 300);
}
END_TEST

/* The definition itself: nothing before the start is in the day or a later one, the start is. */
static void check_day_start(const struct tz *z, const char *name, int32_t days)
{
	const int64_t start = tz_day_start(z, days);
	bool right = tz_day_of(z, start) >= days && tz_day_of(z, start - 1) < days &&
		     tz_day_start(z, days + 1) >= start;
	for (int64_t us = start - 50 * US_PER_HOUR; us < start; us += 30 * US_PER_MINUTE)
		right = right && tz_day_of(z, us) < days;
	if (!right)
		ck_abort_msg("%s, day %d", name, days);
}

static void check_some_day_starts(const char *name)
{
	const struct tz *const z = zone(name);
	for (int i = 0; i < 40; i++)
		check_day_start(z, name, (int32_t)(random_second(i) / 86400));
}

START_TEST(tz_day_start_every_zone_is_the_first_instant_of_the_day)
{
	ck_assert_int_gt(for_each_zone("", check_some_day_starts), 300);
}
END_TEST

START_TEST(tz_day_start_every_day_of_odd_zones_is_the_first_instant)
{
	static const char *const names[] = {"America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo",
		"Pacific/Apia", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca",
		"America/Nuuk", "Asia/Gaza", "Antarctica/Troll"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const struct tz *const z = zone(names[i]);
		for (int32_t days = day("2010-01-01"); days < day("2012-02-01"); days++)
			check_day_start(z, names[i], days);
		for (int32_t days = day("2018-01-01"); days < day("2019-01-01"); days++)
			check_day_start(z, names[i], days);
	}
}
END_TEST

/* ---- files that nobody should trust ---- */

static char directory[64];

static void set_up_files(void)
{
	strcpy(directory, "/tmp/llmlab-tz-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	setenv("TZDIR", directory, 1);
}

static void write_zone(const char *name, const void *data, size_t n)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	FILE *const file = fopen(path, "wb");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(data, 1, n, file), n);
	ck_assert_int_eq(fclose(file), 0);
}

static void remove_zone(const char *name)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	ck_assert_int_eq(unlink(path), 0);
}

START_TEST(tz_load_directory_of_zones_can_be_set)
{
	/* Version 1: one type, +1 h, no transition. */
	static const unsigned char file[] = {'T', 'Z', 'i', 'f', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 14, 16, 0, 0,
		'O', 'N', 'E', 0};
	set_up_files();
	write_zone("One", file, sizeof file);
	const struct tz *const z = zone("One");
	ck_assert_int_eq(tz_offset_at(z, 0), 3600);
	ck_assert_int_eq(tz_day_start(z, 0), -3600 * US_PER_SECOND);
	const struct tz *other = NULL;
	ck_assert_int_eq(tz_load("Europe/Berlin", &other), ERR_NOT_FOUND);
	remove_zone("One");
	rmdir(directory);
}
END_TEST

START_TEST(tz_load_file_too_large_is_not_found)
{
	set_up_files();
	char *const data = calloc(1, 1024 * 1024 + 1);
	write_zone("Large", data, 1024 * 1024 + 1);
	free(data);
	const struct tz *z = NULL;
	ck_assert_int_eq(tz_load("Large", &z), ERR_NOT_FOUND);
	remove_zone("Large");
	rmdir(directory);
}
END_TEST

START_TEST(tz_load_empty_file_or_pipe_is_not_found)
{
	set_up_files();
	write_zone("Empty", "", 0);
	char path[128];
	snprintf(path, sizeof path, "%s/Pipe", directory);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	const struct tz *z = NULL;
	ck_assert_int_eq(tz_load("Empty", &z), ERR_NOT_FOUND);
	ck_assert_int_eq(tz_load("Pipe", &z), ERR_NOT_FOUND);
	remove_zone("Empty");
	remove_zone("Pipe");
	rmdir(directory);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("tz");
	TCase *const tc = tcase_create("tz");
	suite_add_tcase(suite, tc);
	tcase_set_timeout(tc, 60); /* all zones, also under sanitizers */
	tcase_add_test(tc, tz_load_twice_gives_the_same_zone);
	tcase_add_test(tc, tz_load_what_is_no_zone_is_not_found);
	tcase_add_test(tc, tz_offset_at_changes_at_the_transition);
	tcase_add_test(tc, tz_day_start_days_around_changes_begin_right);
	tcase_add_test(tc, tz_day_of_is_the_local_day);
	tcase_add_test(tc, period_at_clock_set_back_over_midnight_has_no_overlap);
	tcase_add_test(tc, period_at_day_that_was_left_out_is_empty);
	tcase_add_test(tc, tz_offset_at_every_zone_agrees_with_libc);
	tcase_add_test(tc, tz_day_start_every_zone_is_the_first_instant_of_the_day);
	tcase_add_test(tc, tz_day_start_every_day_of_odd_zones_is_the_first_instant);
	tcase_add_test(tc, tz_load_directory_of_zones_can_be_set);
	tcase_add_test(tc, tz_load_file_too_large_is_not_found);
	tcase_add_test(tc, tz_load_empty_file_or_pipe_is_not_found);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
