/* The POSIX TZ rule of a zone: reading it and evaluating it for any year. */
#include "posix_tz.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"

#define SECONDS_PER_DAY	 86400
#define OFFSET_MAX_HOURS 24
#define TIME_MAX_HOURS	 167
#define DEFAULT_TIME	 (2 * 3600)
#define DEFAULT_DST	 3600

struct cursor {
	const char *at;
	const char *end;
};

static bool take(struct cursor *c, char wanted)
{
	if (c->at == c->end || *c->at != wanted)
		return false;
	c->at++;
	return true;
}

static bool is_alpha(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "CET" or "<+03>": at least three characters, which are not kept. */
static bool take_name(struct cursor *c)
{
	const bool quoted = take(c, '<');
	const char *const start = c->at;
	while (c->at < c->end &&
		(is_alpha(*c->at) || (quoted && (is_digit(*c->at) || *c->at == '+' || *c->at == '-'))))
		c->at++;
	return c->at - start >= 3 && (!quoted || take(c, '>'));
}

/* One to three digits, min..max. */
static bool take_number(struct cursor *c, int min, int max, int *ret)
{
	int value = 0;
	int digits = 0;
	for (; c->at < c->end && is_digit(*c->at) && digits < 3; digits++)
		value = value * 10 + (*c->at++ - '0');
	if (digits == 0 || value < min || value > max)
		return false;
	*ret = value;
	return true;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool take_time(struct cursor *c, int max_hours, int32_t *ret)
{
	const bool negative = take(c, '-');
	if (!negative)
		take(c, '+');
	int hours;
	int minutes = 0;
	int seconds = 0;
	if (!take_number(c, 0, max_hours, &hours))
		return false;
	if (take(c, ':')) {
		if (!take_number(c, 0, 59, &minutes))
			return false;
		if (take(c, ':') && !take_number(c, 0, 59, &seconds))
			return false;
	}
	const int32_t value = hours * 3600 + minutes * 60 + seconds;
	*ret = negative ? -value : value;
	return true;
}

/* ",date[/time]" */
static bool take_date(struct cursor *c, struct posix_date *ret)
{
	struct posix_date d = {.form = POSIX_DAY_OF_YEAR, .time = DEFAULT_TIME};
	if (!take(c, ','))
		return false;
	bool ok;
	if (take(c, 'M')) {
		d.form = POSIX_DAY_WEEKDAY;
		ok = take_number(c, 1, 12, &d.month) && take(c, '.') && take_number(c, 1, 5, &d.week) &&
		     take(c, '.') && take_number(c, 0, 6, &d.day);
	} else if (take(c, 'J')) {
		d.form = POSIX_DAY_JULIAN;
		ok = take_number(c, 1, 365, &d.day);
	} else {
		ok = take_number(c, 0, 365, &d.day);
	}
	if (!ok || (take(c, '/') && !take_time(c, TIME_MAX_HOURS, &d.time)))
		return false;
	*ret = d;
	return true;
}

bool posix_tz_parse(const char *text, size_t n, struct posix_tz *ret)
{
	struct cursor c = {.at = text, .end = text + n};
	struct posix_tz tz = {.has_dst = false};
	int32_t west;
	if (!take_name(&c) || !take_time(&c, OFFSET_MAX_HOURS, &west))
		return false;
	tz.standard_offset = -west;
	if (c.at < c.end) {
		tz.has_dst = true;
		tz.dst_offset = tz.standard_offset + DEFAULT_DST;
		if (!take_name(&c))
			return false;
		if (c.at < c.end && *c.at != ',') {
			if (!take_time(&c, OFFSET_MAX_HOURS, &west))
				return false;
			tz.dst_offset = -west;
		}
		if (!take_date(&c, &tz.dst_begin) || !take_date(&c, &tz.dst_end) || c.at != c.end)
			return false;
	}
	*ret = tz;
	return true;
}

static int32_t first_of_month(int year, int month)
{
	return calendar_days((struct civil_date){.year = year, .month = month, .day = 1});
}

/* The day the form means in the year, in days since 1970. */
static int32_t day_in_year(const struct posix_date *d, int year)
{
	const int32_t new_year = first_of_month(year, 1);
	switch (d->form) {
	case POSIX_DAY_JULIAN: {
		const bool leap = calendar_days_in_month(year, 2) == 29;
		/* J60 is March 1 in every year. */
		return new_year + d->day - 1 + (leap && d->day >= 60);
	}
	case POSIX_DAY_OF_YEAR:
		return new_year + d->day;
	case POSIX_DAY_WEEKDAY: {
		const int32_t first = first_of_month(year, d->month);
		const int monday_based = (d->day + 6) % 7;
		const int32_t first_match = first + (monday_based - calendar_weekday(first) + 7) % 7;
		const int32_t wanted = first_match + (d->week - 1) * 7;
		const int32_t month_end = first + calendar_days_in_month(year, d->month);
		return wanted < month_end ? wanted : wanted - 7;
	}
	}
	CHECK(false);
}

/* The instant of a change: its local time is told in the offset in force before it. */
static int64_t change_at(const struct posix_date *d, int year, int32_t offset_before)
{
	return (int64_t)day_in_year(d, year) * SECONDS_PER_DAY + d->time - offset_before;
}

static int year_of(int64_t at)
{
	const int64_t day = (at >= 0 ? at : at - (SECONDS_PER_DAY - 1)) / SECONDS_PER_DAY;
	return calendar_date((int32_t)day).year;
}

/* Changes can lie days outside the year that they are told in, and the two of a year beside each other, so
 * that the last one before an instant can be told as early as two years before it, and the next one two years
 * after. */
#define YEARS_BESIDE 2

int32_t posix_tz_offset_at(const struct posix_tz *tz, int64_t at)
{
	if (!tz->has_dst)
		return tz->standard_offset;
	const int year = year_of(at);
	int64_t latest = INT64_MIN;
	int32_t offset = tz->standard_offset;
	for (int y = year - YEARS_BESIDE; y <= year + YEARS_BESIDE; y++) {
		const int64_t begin = change_at(&tz->dst_begin, y, tz->standard_offset);
		const int64_t end = change_at(&tz->dst_end, y, tz->dst_offset);
		if (end <= at && end >= latest) {
			latest = end;
			offset = tz->standard_offset;
		}
		/* An end that is the next begin is no end: that is how a rule says "all year". */
		if (begin <= at && begin >= latest) {
			latest = begin;
			offset = tz->dst_offset;
		}
	}
	return offset;
}

int64_t posix_tz_next(const struct posix_tz *tz, int64_t at)
{
	if (!tz->has_dst)
		return INT64_MAX;
	const int year = year_of(at);
	int64_t next = INT64_MAX;
	for (int y = year - YEARS_BESIDE; y <= year + YEARS_BESIDE; y++) {
		const int64_t changes[] = {change_at(&tz->dst_begin, y, tz->standard_offset),
			change_at(&tz->dst_end, y, tz->dst_offset)};
		for (size_t i = 0; i < 2; i++) {
			if (changes[i] > at && changes[i] < next)
				next = changes[i];
		}
	}
	return next;
}
