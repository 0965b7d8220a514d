/* TZif data and POSIX rules as bytes: every form that RFC 8536 allows, and bytes that are damaged. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../../src/base/tzif.h"
#include "llmlab/base/buf.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"

static int64_t second(const char *text)
{
	int64_t us = 0;
	ck_assert_msg(instant_parse(text, strlen(text), &us) == ERR_OK, "%s", text);
	return us / US_PER_SECOND;
}

static struct posix_tz rule(const char *text)
{
	struct posix_tz tz;
	ck_assert_msg(posix_tz_parse(text, strlen(text), &tz), "%s", text);
	return tz;
}

START_TEST(posix_tz_parse_plain_names_and_offsets)
{
	static const struct {
		const char *text;
		int32_t offset;
	} rows[] = {{"UTC0", 0}, {"EST5", -18000}, {"<+03>-3", 10800}, {"<-0330>3:30", -12600},
		{"<+0545>-5:45", 20700}, {"LMT+0:53:28", -3208}, {"ABC-24", 86400}, {"ABCDEF12", -43200}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct posix_tz tz = rule(rows[i].text);
		ck_assert(!tz.has_dst);
		ck_assert_int_eq(posix_tz_offset_at(&tz, 0), rows[i].offset);
		ck_assert(posix_tz_next(&tz, 0) == INT64_MAX);
	}
}
END_TEST

START_TEST(posix_tz_parse_other_texts_are_refused)
{
	static const char *const bad[] = {"", "UTC", "UT0", "0", "<+03-3", "<3>3", "EST25", "EST5:60",
		"EST5:00:60", "EST5EDT", "EST5EDT,M3.2.0", "EST5EDT,M3.2.0,M11.1.0,",
		"EST5EDT,M13.2.0,M11.1.0", "EST5EDT,M0.2.0,M11.1.0", "EST5EDT,M3.6.0,M11.1.0",
		"EST5EDT,M3.0.0,M11.1.0", "EST5EDT,M3.2.7,M11.1.0", "EST5EDT,M3.2,M11.1.0", "EST5EDT,J0,J365",
		"EST5EDT,J366,J1", "EST5EDT,366,1", "EST5EDT,M3.2.0/168,M11.1.0",
		"EST5EDT,M3.2.0/-168,M11.1.0", "EST5EDT,M3.2.0/,M11.1.0", "EST5EDT4,x", "EST5 ", "EST-",
		":America/New_York", "EST5EDT,M3.2.0 ,M11.1.0", "E5T5"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct posix_tz tz;
		ck_assert_msg(!posix_tz_parse(bad[i], strlen(bad[i]), &tz), "%s", bad[i]);
	}
}
END_TEST

/* The changes of one year of a rule, told as UTC texts, and the offsets on both sides of each. */
static void assert_changes(const char *text, const char *from, const char *first, int32_t after_first,
	const char *next, int32_t after_next)
{
	const struct posix_tz tz = rule(text);
	ck_assert_int_eq(posix_tz_next(&tz, second(from)), second(first));
	ck_assert_int_eq(posix_tz_offset_at(&tz, second(first) - 1), after_next);
	ck_assert_int_eq(posix_tz_offset_at(&tz, second(first)), after_first);
	ck_assert_int_eq(posix_tz_next(&tz, second(first)), second(next));
	ck_assert_int_eq(posix_tz_offset_at(&tz, second(next) - 1), after_first);
	ck_assert_int_eq(posix_tz_offset_at(&tz, second(next)), after_next);
}

START_TEST(posix_tz_offset_at_northern_rule)
{
	/* Last Sundays of March and October 2050: 27th and 30th, both 01:00Z. */
	assert_changes("CET-1CEST,M3.5.0,M10.5.0/3", "2050-01-01", "2050-03-27T01:00:00Z", 7200,
		"2050-10-30T01:00:00Z", 3600);
}
END_TEST

START_TEST(posix_tz_offset_at_southern_rule)
{
	/* Sydney 2050: first Sunday of April (3rd) 03:00 +11 = 2nd 16:00Z; of October (2nd) 02:00 +10 = 1st
	 * 16:00Z. */
	assert_changes("AEST-10AEDT,M10.1.0,M4.1.0/3", "2050-01-01", "2050-04-02T16:00:00Z", 36000,
		"2050-10-01T16:00:00Z", 39600);
}
END_TEST

START_TEST(posix_tz_offset_at_half_hour_of_dst)
{
	/* Lord Howe 2050: back on April 3 at 02:00 +11 = 2nd 15:00Z; forward October 2 at 02:00 +10:30 = 1st
	 * 15:30Z. */
	assert_changes("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2050-01-01", "2050-04-02T15:00:00Z", 37800,
		"2050-10-01T15:30:00Z", 39600);
}
END_TEST

START_TEST(posix_tz_offset_at_negative_time_of_day)
{
	/* Nuuk 2050: Saturday before the last Sunday of March, 22:00 of -2: "M3.5.0/-1" = 26th 23:00 -2 =
	 * 27th 01:00Z. */
	assert_changes("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2050-01-01", "2050-03-27T01:00:00Z", -3600,
		"2050-10-30T01:00:00Z", -7200);
}
END_TEST

START_TEST(posix_tz_offset_at_julian_days)
{
	/* J60 is March 1 in every year, 59 is February 29 in a leap year and March 1 otherwise. */
	assert_changes("AAA0BBB,J60/0,J300/1", "2048-01-01", "2048-03-01T00:00:00Z", 3600,
		"2048-10-27T00:00:00Z", 0);
	assert_changes("AAA0BBB,J60/0,J300/1", "2049-01-01", "2049-03-01T00:00:00Z", 3600,
		"2049-10-27T00:00:00Z", 0);
	assert_changes(
		"AAA0BBB,59/0,299/1", "2048-01-01", "2048-02-29T00:00:00Z", 3600, "2048-10-26T00:00:00Z", 0);
	assert_changes(
		"AAA0BBB,59/0,299/1", "2049-01-01", "2049-03-01T00:00:00Z", 3600, "2049-10-27T00:00:00Z", 0);
}
END_TEST

START_TEST(posix_tz_offset_at_summer_times_that_overlap)
{
	/* Summer time of 2050 begins on January 1 at 05:00Z, that of 2049 ends only on the same day at 30:00 of
	 * December 31 = 10:00Z: standard time from then on, until 2051-01-01T05:00Z. */
	assert_changes("EST5EDT4,0/0,J365/30", "2050-01-02", "2051-01-01T05:00:00Z", -14400,
		"2051-01-01T10:00:00Z", -18000);
	/* -100:00 is 4 days and 4 hours before: December 27 20:00Z; the end a day and the hour of summer time
	 * less: December 28 19:00Z. */
	assert_changes("AAA0BBB,J1/-100,J2/-100", "2050-12-30", "2051-12-27T20:00:00Z", 3600,
		"2051-12-28T19:00:00Z", 0);
}
END_TEST

START_TEST(posix_tz_offset_at_all_year_dst_never_changes)
{
	/* RFC 8536 section 3.3.1: DST that ends when it begins again holds all year. */
	const struct posix_tz tz = rule("XXX3EDT4,0/0,J365/23");
	for (int64_t at = second("2049-12-01"); at < second("2051-02-01"); at += 1800)
		ck_assert_int_eq(posix_tz_offset_at(&tz, at), -14400);
}
END_TEST

START_TEST(posix_tz_offset_at_change_beyond_the_new_year)
{
	/* -10:00 of January 1 is 14:00 of December 31; December 31 at 30:00 DST is 06:00 of January 1,
	 * 05:00Z. */
	assert_changes("AAA0BBB,J1/-10,J365/30", "2050-01-02", "2050-12-31T14:00:00Z", 3600,
		"2051-01-01T05:00:00Z", 0);
	assert_changes("AAA0BBB,J100/0,J365/30", "2050-01-02", "2050-04-10T00:00:00Z", 3600,
		"2051-01-01T05:00:00Z", 0);
}
END_TEST

/* ---- files ---- */

static void put_header(struct buf *b, char version, uint32_t n_times, uint32_t n_types, uint32_t n_leap)
{
	static const char zeros[15];
	buf_puts(b, "TZif");
	buf_append(b, &version, 1);
	buf_append(b, zeros, sizeof zeros);
	buf_put_u32be(b, 0);
	buf_put_u32be(b, 0);
	buf_put_u32be(b, n_leap);
	buf_put_u32be(b, n_times);
	buf_put_u32be(b, n_types);
	buf_put_u32be(b, 4);
}

static void put_type(struct buf *b, int32_t offset)
{
	buf_put_u32be(b, (uint32_t)offset);
	buf_append(b, "\0\0", 2);
}

/* Version 2 with two transitions (at 1,000 to +2 h, at 2,000 to +1 h), before them +1 h, and the footer. */
static void make_file(struct buf *b, char version, const char *footer)
{
	buf_init(b, 4096);
	put_header(b, version, 0, 1, 0);
	put_type(b, 0);
	buf_puts(b, "OLD");
	buf_append(b, "\0", 1);
	put_header(b, version, 2, 2, 0);
	buf_put_u64be(b, 1000);
	buf_put_u64be(b, 2000);
	buf_append(b, "\1\0", 2);
	put_type(b, 3600);
	put_type(b, 7200);
	buf_puts(b, "ONE");
	buf_append(b, "\0", 1);
	buf_printf(b, "\n%s\n", footer);
}

/* Parses a copy of exactly n bytes, so that reading past the end is found. */
static enum err parse_n(const char *data, size_t n, struct tzif *ret)
{
	unsigned char *const exact = malloc(n > 0 ? n : 1);
	memcpy(exact, data, n);
	const enum err e = tzif_parse(exact, n, ret);
	free(exact);
	return e;
}

START_TEST(tzif_parse_later_versions_use_the_64_bit_block)
{
	for (char version = '2'; version <= '4'; version++) {
		struct buf b;
		make_file(&b, version, "ABC-3");
		struct tzif t;
		ck_assert_int_eq(parse_n(b.data, b.len, &t), ERR_OK);
		ck_assert_int_eq(tzif_offset_at(&t, 999), 3600);
		ck_assert_int_eq(tzif_offset_at(&t, 1000), 7200);
		ck_assert_int_eq(tzif_offset_at(&t, 1999), 7200);
		/* From the last transition on the rule holds. */
		ck_assert_int_eq(tzif_offset_at(&t, 2000), 10800);
		ck_assert_int_eq(tzif_next(&t, -5), 1000);
		ck_assert_int_eq(tzif_next(&t, 1000), 2000);
		ck_assert(tzif_next(&t, 2000) == INT64_MAX);
		tzif_release(&t);
		buf_release(&b);
	}
}
END_TEST

START_TEST(tzif_parse_without_rule_keeps_the_last_offset)
{
	struct buf b;
	make_file(&b, '2', "");
	struct tzif t;
	ck_assert_int_eq(parse_n(b.data, b.len, &t), ERR_OK);
	ck_assert_int_eq(tzif_offset_at(&t, 5000000000), 3600);
	tzif_release(&t);
	buf_release(&b);
}
END_TEST

START_TEST(tzif_parse_cut_anywhere_is_refused)
{
	struct buf b;
	make_file(&b, '2', "ABC-3");
	for (size_t n = 0; n < b.len; n++) {
		struct tzif t;
		ck_assert_msg(parse_n(b.data, n, &t) == ERR_SYNTAX, "%zu of %zu bytes", n, b.len);
	}
	buf_release(&b);
}
END_TEST

/* Changes one byte of the file and expects a refusal. */
static void assert_refused_with(size_t at, char byte)
{
	struct buf b;
	make_file(&b, '2', "ABC-3");
	b.data[at] = byte;
	struct tzif t;
	ck_assert_msg(parse_n(b.data, b.len, &t) == ERR_SYNTAX, "byte %zu", at);
	buf_release(&b);
}

START_TEST(tzif_parse_damaged_fields_are_refused)
{
	/* The second header begins after 44 + 6 + 4 bytes; its data after 44 more. */
	const size_t header = 54;
	const size_t data = header + 44;
	assert_refused_with(0, 'X');			  /* magic */
	assert_refused_with(4, '5');			  /* version */
	assert_refused_with(header, 'X');		  /* magic of the second block */
	assert_refused_with(header + 31, 1);		  /* a leap second */
	assert_refused_with(header + 32, '\x7F');	  /* 2^31 transitions */
	assert_refused_with(header + 39, 0);		  /* no type */
	assert_refused_with(data + 8 + 6, 3);		  /* 2nd time 0x3D0 = 976 is before the first */
	assert_refused_with(data + 16, 2);		  /* type of a transition out of range */
	assert_refused_with(data + 18, '\x7F');		  /* offset of 68 years */
	assert_refused_with(data + 18 + 12 + 4, 'x');	  /* no newline before the footer */
	assert_refused_with(data + 18 + 12 + 4 + 1, '1'); /* rule that is none */
}
END_TEST

START_TEST(tzif_parse_equal_times_are_refused)
{
	struct buf b;
	make_file(&b, '2', "ABC-3");
	/* The second time becomes the first one: 8 bytes each, after both headers and the first block. */
	memcpy(b.data + 54 + 44 + 8, b.data + 54 + 44, 8);
	struct tzif t;
	ck_assert_int_eq(parse_n(b.data, b.len, &t), ERR_SYNTAX);
	buf_release(&b);
}
END_TEST

START_TEST(tzif_parse_leap_seconds_are_refused)
{
	struct buf b;
	buf_init(&b, 4096);
	put_header(&b, 0, 0, 1, 1);
	put_type(&b, 0);
	buf_puts(&b, "UTC");
	buf_append(&b, "\0\0\0\0\1\0\0\0\1", 9);
	struct tzif t;
	ck_assert_int_eq(parse_n(b.data, b.len, &t), ERR_SYNTAX);
	buf_release(&b);
}
END_TEST

START_TEST(tzif_parse_random_damage_never_breaks_out)
{
	uint64_t state = 0x9E3779B97F4A7C15u;
	for (int i = 0; i < 20000; i++) {
		struct buf b;
		make_file(&b, '3', "CET-1CEST,M3.5.0,M10.5.0/3");
		for (int k = 0; k < 3; k++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			b.data[state % b.len] = (char)(state >> 40);
		}
		struct tzif t;
		if (parse_n(b.data, b.len, &t) == ERR_OK) {
			const int32_t offset = tzif_offset_at(&t, (int64_t)(state >> 20));
			ck_assert_int_le(abs(offset), 26 * 3600);
			ck_assert(tzif_next(&t, (int64_t)(state >> 24)) > (int64_t)(state >> 24));
			tzif_release(&t);
		}
		buf_release(&b);
	}
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("tzif");
	TCase *const tc = tcase_create("tzif");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, posix_tz_parse_plain_names_and_offsets);
	tcase_add_test(tc, posix_tz_parse_other_texts_are_refused);
	tcase_add_test(tc, posix_tz_offset_at_northern_rule);
	tcase_add_test(tc, posix_tz_offset_at_southern_rule);
	tcase_add_test(tc, posix_tz_offset_at_half_hour_of_dst);
	tcase_add_test(tc, posix_tz_offset_at_negative_time_of_day);
	tcase_add_test(tc, posix_tz_offset_at_julian_days);
	tcase_add_test(tc, posix_tz_offset_at_summer_times_that_overlap);
	tcase_add_test(tc, posix_tz_offset_at_all_year_dst_never_changes);
	tcase_add_test(tc, posix_tz_offset_at_change_beyond_the_new_year);
	tcase_add_test(tc, tzif_parse_later_versions_use_the_64_bit_block);
	tcase_add_test(tc, tzif_parse_without_rule_keeps_the_last_offset);
	tcase_add_test(tc, tzif_parse_cut_anywhere_is_refused);
	tcase_add_test(tc, tzif_parse_damaged_fields_are_refused);
	tcase_add_test(tc, tzif_parse_equal_times_are_refused);
	tcase_add_test(tc, tzif_parse_leap_seconds_are_refused);
	tcase_add_test(tc, tzif_parse_random_damage_never_breaks_out);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
