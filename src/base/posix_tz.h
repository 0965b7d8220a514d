#ifndef LLMLAB_SRC_BASE_POSIX_TZ_H
#define LLMLAB_SRC_BASE_POSIX_TZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A POSIX TZ rule ("CET-1CEST,M3.5.0,M10.5.0/3"; POSIX.1-2017 section 8.3 with the extensions of RFC 8536
 * section 3.3.1): what a zone does after the last transition that its file lists. Seconds everywhere. */

enum posix_day_form {
	POSIX_DAY_JULIAN,  /* Jn: 1..365, February 29 never counted */
	POSIX_DAY_OF_YEAR, /* n: 0..365, February 29 counted */
	POSIX_DAY_WEEKDAY, /* Mm.w.d */
};

struct posix_date {
	enum posix_day_form form;
	int day;      /* of the first two forms; or the weekday, 0 = Sunday */
	int month;    /* 1..12 */
	int week;     /* 1..5, 5 = the last one */
	int32_t time; /* local time of the change, -167..167 hours */
};

struct posix_tz {
	int32_t standard_offset; /* east of UTC */
	bool has_dst;
	int32_t dst_offset; /* east of UTC */
	struct posix_date dst_begin, dst_end;
};

/* Reads a rule of n bytes; false when it is not one. *ret is untouched then. */
bool posix_tz_parse(const char *text, size_t n, struct posix_tz *ret);

/* Offset from UTC in force at the instant (seconds since 1970). */
int32_t posix_tz_offset_at(const struct posix_tz *tz, int64_t at);

/* The next instant after `at` at which the rule tells a change; INT64_MAX if it never does. A rule for
 * "summer time all year" tells changes that leave the offset as it is. */
int64_t posix_tz_next(const struct posix_tz *tz, int64_t at);

#endif
