#ifndef LLMLAB_BASE_CALENDAR_H
#define LLMLAB_BASE_CALENDAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/err.h"

/* All calendar work: civil dates (proleptic Gregorian), RFC 3339 texts, and IANA time zones read from the system's
 * TZif files (RFC 8536, version 1 to 4 with the POSIX rule in the footer). Instants are int64 microseconds UTC, days
 * are int32 days since 1970-01-01. Pure but for tz_load(). */

struct civil_date {
	int year;  /* 1..9999 */
	int month; /* 1..12 */
	int day;   /* 1..31 */
};

/* Days since 1970-01-01 (after Howard Hinnant's days_from_civil). */
int32_t calendar_days(struct civil_date d);
struct civil_date calendar_date(int32_t days);
/* 0 = Monday .. 6 = Sunday (ISO 8601 order). */
int calendar_weekday(int32_t days);
int calendar_days_in_month(int year, int month);
/* "2026-08-23" exactly; ERR_SYNTAX / ERR_RANGE (no such day). */
enum err calendar_parse_date(const char *text, int32_t *ret_days);
#define DATE_TEXT_SIZE 11
void calendar_format_date(int32_t days, char out[DATE_TEXT_SIZE]);

/* The instants that have a text: 0001-01-01T00:00:00Z to the last microsecond of 9999-12-31. */
#define INSTANT_MIN_US (-62135596800000000LL)
#define INSTANT_MAX_US 253402300799999999LL

/* RFC 3339 date-time with any offset ("2026-08-23T10:00:00.123456+02:00", also with a space, also without an offset:
 * then UTC), or unix seconds / milliseconds as digits with an optional fraction. Digits finer than a microsecond are
 * cut. A leap second 60 counts as the following second. ERR_SYNTAX, ERR_RANGE (no such date, year over 9999). */
enum err instant_parse(const char *text, size_t n, int64_t *ret_us);
#define INSTANT_TEXT_SIZE 28
/* "2026-08-23T10:00:00.123Z": milliseconds, six digits if there are microseconds. us is within INSTANT_MIN_US and
 * INSTANT_MAX_US (a CHECK). */
void instant_format(int64_t us, char out[INSTANT_TEXT_SIZE]);
/* The same in the arena; NULL after its overflow. */
struct arena;
const char *instant_text(int64_t us, struct arena *arena);

/* A time zone; immutable after loading, shared freely between threads, cached for ever (there are some 600). */
struct tz;

/* The zone named so ("Europe/Berlin", "UTC"), exact case. Names are [A-Za-z0-9_+-/], no "..", at most 64 bytes.
 * ERR_NOT_FOUND: no such zone. ERR_UNAVAILABLE: its file cannot be read just now. ERR_NO_MEMORY. Thread-safe. "UTC"
 * needs no file. Zone files are looked for in $TZDIR if set, else /usr/share/zoneinfo. */
enum err tz_load(const char *name, const struct tz **ret);
const struct tz *tz_utc(void);
const char *tz_name(const struct tz *z);
/* Offset from UTC in seconds in force at the instant. */
int32_t tz_offset_at(const struct tz *z, int64_t us);
/* The civil day (days since 1970) of the instant in the zone. */
int32_t tz_day_of(const struct tz *z, int64_t us);
/* The instant at which the civil day begins: the first instant whose tz_day_of is `days` (a zone that skips midnight
 * begins the day at the first existing time; a zone that skips the whole day gives the next day's begin). */
int64_t tz_day_start(const struct tz *z, int32_t days);

/* Calendar periods of budgets and series. */
enum period_kind { PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH, PERIOD_YEAR };
struct period {
	int32_t first_day; /* inclusive, days since 1970 */
	int32_t end_day;   /* exclusive */
	int64_t start_us;  /* inclusive instant in the zone */
	int64_t end_us;    /* exclusive */
};
/* The period of that kind that contains the instant, in the zone; weeks are ISO weeks (Monday). */
struct period period_at(enum period_kind kind, const struct tz *z, int64_t us);
/* The period before / after p. */
struct period period_previous(enum period_kind kind, const struct tz *z, const struct period *p);
struct period period_next(enum period_kind kind, const struct tz *z, const struct period *p);

#endif
