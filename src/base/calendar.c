/* Civil dates, RFC 3339 texts and calendar periods. Time zones themselves are tz.c's part. */
#include "llmlab/base/calendar.h"
#include "llmlab/base/arena.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include <stdio.h>
#include <string.h>

/* The calendar repeats every 400 years, which are this many days. */
#define DAYS_PER_ERA 146097
/* From 0000-03-01, where the computation begins its years, to 1970-01-01. */
#define DAYS_TO_1970 719468
/* A unix time from here on is milliseconds: 1e11 s is the year 5138, 1e11 ms is 1973. */
#define UNIX_SECONDS_END  100000000000LL
#define UNIX_DIGITS_MAX	  15
#define UNIX_FRACTION_MAX 9

/* Years begin in March here, so that the leap day is the last of its year and months follow the pattern of
 * 153 days in 5 months (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"). */
int32_t calendar_days(struct civil_date d)
{
	const int32_t year = d.month <= 2 ? d.year - 1 : d.year;
	const int32_t era = (year >= 0 ? year : year - 399) / 400;
	const int32_t year_of_era = year - era * 400;
	const int32_t month_from_march = (d.month + 9) % 12;
	const int32_t day_of_year = (153 * month_from_march + 2) / 5 + d.day - 1;
	const int32_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
	return era * DAYS_PER_ERA + day_of_era - DAYS_TO_1970;
}

struct civil_date calendar_date(int32_t days)
{
	const int64_t shifted = (int64_t)days + DAYS_TO_1970;
	const int64_t era = (shifted >= 0 ? shifted : shifted - (DAYS_PER_ERA - 1)) / DAYS_PER_ERA;
	const int day_of_era = (int)(shifted - era * DAYS_PER_ERA);
	const int year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
	const int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	const int month_from_march = (5 * day_of_year + 2) / 153;
	const int month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
	return (struct civil_date){
		.year = (int)(era * 400) + year_of_era + (month <= 2),
		.month = month,
		.day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
	};
}

int calendar_weekday(int32_t days)
{
	/* 1970-01-01 was a Thursday (3). */
	const int64_t from_monday = ((int64_t)days + 3) % 7;
	return (int)(from_monday < 0 ? from_monday + 7 : from_monday);
}

static bool is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

int calendar_days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	CHECK(month >= 1 && month <= 12);
	return days[month - 1] + (month == 2 && is_leap(year));
}

/* ---- texts ---- */

/* Reads texts from the left; every step fails once one has failed. */
struct reader {
	const char *at;
	const char *end;
	bool failed;
};

static bool peek_digit(const struct reader *r)
{
	return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

/* Exactly n digits. */
static int read_digits(struct reader *r, int n)
{
	int value = 0;
	for (int i = 0; i < n; i++) {
		if (!peek_digit(r)) {
			r->failed = true;
			return 0;
		}
		value = value * 10 + (*r->at++ - '0');
	}
	return value;
}

/* One character out of the set. */
static char read_one_of(struct reader *r, const char *set)
{
	if (r->at == r->end || *r->at == '\0' || strchr(set, *r->at) == NULL) {
		r->failed = true;
		return '\0';
	}
	return *r->at++;
}

static struct civil_date read_date(struct reader *r)
{
	struct civil_date d;
	d.year = read_digits(r, 4);
	read_one_of(r, "-");
	d.month = read_digits(r, 2);
	read_one_of(r, "-");
	d.day = read_digits(r, 2);
	return d;
}

static bool date_exists(struct civil_date d)
{
	return d.year >= 1 && d.month >= 1 && d.month <= 12 && d.day >= 1 &&
	       d.day <= calendar_days_in_month(d.year, d.month);
}

enum err calendar_parse_date(const char *text, int32_t *ret_days)
{
	struct reader r = {.at = text, .end = text + strlen(text)};
	const struct civil_date d = read_date(&r);
	if (r.failed || r.at != r.end)
		return ERR_SYNTAX;
	if (!date_exists(d))
		return ERR_RANGE;
	*ret_days = calendar_days(d);
	return ERR_OK;
}

void calendar_format_date(int32_t days, char out[DATE_TEXT_SIZE])
{
	const struct civil_date d = calendar_date(days);
	CHECK(d.year >= 1 && d.year <= 9999);
	CHECK(snprintf(out, DATE_TEXT_SIZE, "%04d-%02d-%02d", d.year, d.month, d.day) == DATE_TEXT_SIZE - 1);
}

/* A fraction's digits as that many parts of `one` (a power of ten); finer digits are cut. Reads nothing
 * without a point. Tells the number of digits. */
static int64_t read_fraction(struct reader *r, int64_t one, int *ret_digits)
{
	*ret_digits = 0;
	if (r->at == r->end || *r->at != '.')
		return 0;
	r->at++;
	if (!peek_digit(r))
		r->failed = true;
	int64_t value = 0;
	int64_t place = one;
	for (; peek_digit(r); r->at++) {
		place /= 10;
		value += place * (*r->at - '0');
		*ret_digits += *ret_digits < INT32_MAX;
	}
	return value;
}

/* "Z", "+02:00", or nothing, in seconds; *ret_range_ok tells whether such an offset can be. */
static int32_t read_offset(struct reader *r, bool *ret_range_ok)
{
	*ret_range_ok = true;
	if (r->at == r->end)
		return 0;
	const char sign = read_one_of(r, "Zz+-");
	if (r->failed || sign == 'Z' || sign == 'z')
		return 0;
	const int hours = read_digits(r, 2);
	read_one_of(r, ":");
	const int minutes = read_digits(r, 2);
	*ret_range_ok = hours <= 23 && minutes <= 59;
	const int32_t seconds = hours * 3600 + minutes * 60;
	return sign == '-' ? -seconds : seconds;
}

static enum err finish_instant(int64_t us, int64_t *ret_us)
{
	if (us < INSTANT_MIN_US || us > INSTANT_MAX_US)
		return ERR_RANGE;
	*ret_us = us;
	return ERR_OK;
}

static enum err parse_rfc3339(struct reader r, int64_t *ret_us)
{
	const struct civil_date d = read_date(&r);
	if (!r.failed && r.at == r.end)
		return date_exists(d) ? finish_instant(calendar_days(d) * US_PER_DAY, ret_us) : ERR_RANGE;
	read_one_of(&r, "Tt ");
	const int hour = read_digits(&r, 2);
	read_one_of(&r, ":");
	const int minute = read_digits(&r, 2);
	read_one_of(&r, ":");
	const int second = read_digits(&r, 2);
	int fraction_digits;
	const int64_t fraction_us = read_fraction(&r, US_PER_SECOND, &fraction_digits);
	bool offset_ok;
	const int32_t offset = read_offset(&r, &offset_ok);
	if (r.failed || r.at != r.end)
		return ERR_SYNTAX;
	if (!date_exists(d) || hour > 23 || minute > 59 || second > 60 || !offset_ok)
		return ERR_RANGE;
	const int64_t seconds = hour * 3600 + minute * 60 + second - offset;
	return finish_instant(calendar_days(d) * US_PER_DAY + seconds * US_PER_SECOND + fraction_us, ret_us);
}

/* Digits with an optional fraction. */
static enum err parse_unix(struct reader r, int64_t *ret_us)
{
	int64_t whole = 0;
	int digits = 0;
	for (; peek_digit(&r) && digits <= UNIX_DIGITS_MAX; digits++)
		whole = whole * 10 + (*r.at++ - '0');
	int fraction_digits = 0;
	const int64_t fraction_ns = read_fraction(&r, 1000000000, &fraction_digits);
	if (digits > UNIX_DIGITS_MAX)
		return ERR_RANGE;
	if (r.failed || r.at != r.end || fraction_digits > UNIX_FRACTION_MAX)
		return ERR_SYNTAX;
	if (whole < UNIX_SECONDS_END)
		return finish_instant(whole * US_PER_SECOND + fraction_ns / 1000, ret_us);
	return finish_instant(whole * US_PER_MS + fraction_ns / 1000000, ret_us);
}

enum err instant_parse(const char *text, size_t n, int64_t *ret_us)
{
	const struct reader r = {.at = text, .end = text + n};
	if (!peek_digit(&r))
		return ERR_SYNTAX;
	/* Only a date has a hyphen after its first four characters. */
	return n > 4 && text[4] == '-' ? parse_rfc3339(r, ret_us) : parse_unix(r, ret_us);
}

/* value in that many digits, then the character; returns what follows. */
static char *put_padded(char *at, int value, int digits, char after)
{
	for (int i = digits - 1; i >= 0; i--) {
		at[i] = (char)('0' + value % 10);
		value /= 10;
	}
	at[digits] = after;
	return at + digits + 1;
}

void instant_format(int64_t us, char out[INSTANT_TEXT_SIZE])
{
	CHECK(us >= INSTANT_MIN_US && us <= INSTANT_MAX_US);
	const int64_t from_min = us - INSTANT_MIN_US; /* not negative: plain division is enough */
	const int32_t days = (int32_t)(from_min / US_PER_DAY + INSTANT_MIN_US / US_PER_DAY);
	const int64_t of_day = from_min % US_PER_DAY;
	const int second_of_day = (int)(of_day / US_PER_SECOND);
	const int fraction = (int)(of_day % US_PER_SECOND);
	const bool millis = fraction % 1000 == 0;
	const struct civil_date d = calendar_date(days);
	char *at = put_padded(out, d.year, 4, '-');
	at = put_padded(at, d.month, 2, '-');
	at = put_padded(at, d.day, 2, 'T');
	at = put_padded(at, second_of_day / 3600, 2, ':');
	at = put_padded(at, second_of_day / 60 % 60, 2, ':');
	at = put_padded(at, second_of_day % 60, 2, '.');
	at = put_padded(at, millis ? fraction / 1000 : fraction, millis ? 3 : 6, 'Z');
	*at = '\0';
}

const char *instant_text(int64_t us, struct arena *arena)
{
	char text[INSTANT_TEXT_SIZE];
	instant_format(us, text);
	return arena_strdup(arena, text);
}

/* ---- periods ---- */

/* The first day of the period that contains the day. */
static int32_t first_day_of(enum period_kind kind, int32_t day)
{
	const struct civil_date d = calendar_date(day);
	switch (kind) {
	case PERIOD_DAY:
		return day;
	case PERIOD_WEEK:
		return day - calendar_weekday(day);
	case PERIOD_MONTH:
		return day - (d.day - 1);
	case PERIOD_YEAR:
		return calendar_days((struct civil_date){.year = d.year, .month = 1, .day = 1});
	}
	CHECK(false);
}

/* The day after the last one of the period that begins on first. */
static int32_t end_day_of(enum period_kind kind, int32_t first)
{
	const struct civil_date d = calendar_date(first);
	switch (kind) {
	case PERIOD_DAY:
		return first + 1;
	case PERIOD_WEEK:
		return first + 7;
	case PERIOD_MONTH:
		return first + calendar_days_in_month(d.year, d.month);
	case PERIOD_YEAR:
		return first + (is_leap(d.year) ? 366 : 365);
	}
	CHECK(false);
}

static struct period period_of_day(enum period_kind kind, const struct tz *z, int32_t day)
{
	const int32_t first = first_day_of(kind, day);
	const int32_t end = end_day_of(kind, first);
	return (struct period){
		.first_day = first,
		.end_day = end,
		.start_us = tz_day_start(z, first),
		.end_us = tz_day_start(z, end),
	};
}

struct period period_at(enum period_kind kind, const struct tz *z, int64_t us)
{
	struct period p = period_of_day(kind, z, tz_day_of(z, us));
	/* Clocks set back over midnight return to the old day for a while, after the new one has begun.
	 * Periods follow one another without overlap, so that while belongs to the new one. */
	while (us >= p.end_us)
		p = period_next(kind, z, &p);
	return p;
}

struct period period_previous(enum period_kind kind, const struct tz *z, const struct period *p)
{
	return period_of_day(kind, z, p->first_day - 1);
}

struct period period_next(enum period_kind kind, const struct tz *z, const struct period *p)
{
	return period_of_day(kind, z, p->end_day);
}
