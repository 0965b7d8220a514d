/* Time ranges: from the texts of the parameters to instants and days in a zone. Does not read a clock or a
 * request. */
#include "llmlab/api/range.h"
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/clock.h"

/* Dates beyond these are mistakes, and refusing them keeps calendar work far from its limits. */
static const struct civil_date FIRST_DATE = {2000, 1, 1}, LAST_DATE = {2200, 12, 31};

#define DATE_LENGTH (DATE_TEXT_SIZE - 1)

static bool in_bounds(int32_t day)
{
	return day >= calendar_days(FIRST_DATE) && day <= calendar_days(LAST_DATE);
}

/* 1..RANGE_DAYS_MAX in plain digits; 0 for anything else. */
static int32_t parse_days(const char *text)
{
	int32_t value = 0;
	for (const char *at = text; *at != '\0'; at++) {
		if (*at < '0' || *at > '9' || at - text >= 3)
			return 0;
		value = value * 10 + (*at - '0');
	}
	return text[0] == '0' || value > RANGE_DAYS_MAX ? 0 : value;
}

/* One end: a date or an instant; names it in *p if it is neither. */
static void parse_end(const char *name, const char *text, bool *ret_date, int32_t *ret_day, int64_t *ret_us,
	struct problem *p)
{
	const size_t n = strlen(text);
	*ret_date = n == DATE_LENGTH && text[4] == '-' && text[7] == '-';
	const enum err e = *ret_date ? calendar_parse_date(text, ret_day) : instant_parse(text, n, ret_us);
	if (e != ERR_OK)
		problem_add(p, name, "must be a date such as 2026-08-23 or an RFC 3339 time");
	else if (!in_bounds(*ret_date ? *ret_day : tz_day_of(tz_utc(), *ret_us)))
		problem_add(p, name, "must lie between the years %d and %d", FIRST_DATE.year, LAST_DATE.year);
}

static void parse_from_to(const char *from, const char *to, struct range_spec *ret, struct problem *p)
{
	bool from_date = false, to_date = false;
	parse_end("from", from, &from_date, &ret->first_day, &ret->from_us, p);
	ret->kind = from_date ? RANGE_DATES : RANGE_INSTANTS;
	ret->open = to == NULL;
	if (to == NULL)
		return;
	parse_end("to", to, &to_date, &ret->last_day, &ret->to_us, p);
	if (problem_none(p) && from_date != to_date)
		problem_add(p, "to", "must be of the same kind as from: two dates or two times");
}

void range_parse(
	const char *days, const char *from, const char *to, struct range_spec *ret, struct problem *p)
{
	*ret = (struct range_spec){.kind = RANGE_DAYS, .days = RANGE_DAYS_DEFAULT};
	if (days != NULL) {
		ret->days = parse_days(days);
		if (ret->days == 0)
			problem_add(p, "days", "must be a whole number from 1 to %d", RANGE_DAYS_MAX);
		if (from != NULL || to != NULL)
			problem_add(p, "days", "cannot be given together with from or to");
	}
	if (from != NULL)
		parse_from_to(from, to, ret, p);
	else if (to != NULL)
		problem_add(p, "from", "is required with to");
}

static struct range of_days(const struct tz *tz, int32_t first_day, int32_t end_day)
{
	return (struct range){.tz = tz,
		.from_us = tz_day_start(tz, first_day),
		.to_us = tz_day_start(tz, end_day),
		.first_day = first_day,
		.end_day = end_day};
}

static struct range of_instants(const struct tz *tz, int64_t from_us, int64_t to_us)
{
	return (struct range){.tz = tz,
		.instants = true,
		.from_us = from_us,
		.to_us = to_us,
		.first_day = tz_day_of(tz, from_us),
		.end_day = tz_day_of(tz, to_us - 1) + 1};
}

static enum err check_length(int64_t length, int64_t max, const struct range_spec *spec, struct problem *p)
{
	if (length <= 0)
		problem_add(p, spec->open ? "from" : "to",
			spec->open ? "must not lie in the future" : "must not lie before from");
	else if (length > max)
		problem_add(p, "from", "begins a range of more than %d days", RANGE_DAYS_MAX);
	return p->code;
}

enum err range_resolve(const struct range_spec *spec, const struct tz *tz, int64_t now_us, struct range *ret,
	struct problem *p)
{
	const int32_t today = tz_day_of(tz, now_us);
	if (spec->kind == RANGE_DAYS) {
		*ret = of_days(tz, today + 1 - spec->days, today + 1);
		return ERR_OK;
	}
	if (spec->kind == RANGE_DATES) {
		const int32_t end_day = (spec->open ? today : spec->last_day) + 1;
		if (check_length(end_day - spec->first_day, RANGE_DAYS_MAX, spec, p) != ERR_OK)
			return p->code;
		*ret = of_days(tz, spec->first_day, end_day);
		return ERR_OK;
	}
	const int64_t to_us = spec->open ? now_us : spec->to_us;
	if (check_length(to_us - spec->from_us, RANGE_DAYS_MAX * US_PER_DAY, spec, p) != ERR_OK)
		return p->code;
	*ret = of_instants(tz, spec->from_us, to_us);
	return ERR_OK;
}

struct range range_previous(const struct range *r)
{
	if (r->instants)
		return of_instants(r->tz, r->from_us - (r->to_us - r->from_us), r->from_us);
	return of_days(r->tz, r->first_day - (r->end_day - r->first_day), r->first_day);
}

int64_t *range_day_starts(const struct range *r, struct arena *arena, size_t *ret_n)
{
	const size_t n_days = (size_t)(r->end_day - r->first_day);
	int64_t *const starts = arena_array(arena, n_days + 1, sizeof *starts);
	if (starts == NULL)
		return NULL;
	starts[0] = r->from_us;
	for (size_t i = 1; i < n_days; i++)
		starts[i] = tz_day_start(r->tz, r->first_day + (int32_t)i);
	starts[n_days] = r->to_us;
	*ret_n = n_days + 1;
	return starts;
}

void range_write(struct json_writer *w, const char *start_key, const char *end_key, const struct range *r)
{
	if (r->instants) {
		jw_instant(w, start_key, r->from_us);
		jw_instant(w, end_key, r->to_us);
		return;
	}
	char text[DATE_TEXT_SIZE];
	calendar_format_date(r->first_day, text);
	jw_string(w, start_key, text);
	calendar_format_date(r->end_day - 1, text);
	jw_string(w, end_key, text);
}
