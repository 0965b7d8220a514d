#ifndef LLMLAB_API_RANGE_H
#define LLMLAB_API_RANGE_H

#include "llmlab/base/calendar.h"
#include "llmlab/base/json_write.h"
#include "llmlab/base/problem.h"

/* The time range of a reading endpoint: `days`, or `from` and `to` (dates with `to` included, or instants,
 * half open), in a zone that decides where days begin. Pure. */

#define RANGE_DAYS_DEFAULT 30
#define RANGE_DAYS_MAX	   366

/* What the parameters say, before the zone is known. */
struct range_spec {
	enum { RANGE_DAYS, RANGE_DATES, RANGE_INSTANTS } kind;
	int32_t days;		     /* RANGE_DAYS: the calendar days that end today, today included */
	bool open;		     /* `to` is not given: until today (included) or now */
	int32_t first_day, last_day; /* RANGE_DATES, both included */
	int64_t from_us, to_us;	     /* RANGE_INSTANTS, [from, to) */
};

struct range {
	const struct tz *tz;
	bool instants;		    /* given as instants, not as whole days */
	int64_t from_us, to_us;	    /* [from, to) */
	int32_t first_day, end_day; /* the days of the zone that it touches, [first, end) */
};

/* Reads the parameters (NULL: not given); names the bad ones in *p. */
void range_parse(
	const char *days, const char *from, const char *to, struct range_spec *ret, struct problem *p);
/* Puts the spec into the zone. ERR_VALIDATION with *p: ends before it begins, or is longer than
 * RANGE_DAYS_MAX days. */
enum err range_resolve(const struct range_spec *spec, const struct tz *tz, int64_t now_us, struct range *ret,
	struct problem *p);
/* The range of equal length just before: as many days before whole days, as much time before instants. */
struct range range_previous(const struct range *r);
/* The begin of each day it touches and its end, clipped to it: n days give n + 1 instants. In the arena, NULL
 * without memory; *ret_n is the number of instants. */
int64_t *range_day_starts(const struct range *r, struct arena *arena, size_t *ret_n);
/* Writes it under two keys: dates, the last one included, or instants if it was given so. */
void range_write(struct json_writer *w, const char *start_key, const char *end_key, const struct range *r);

#endif
