/* GET /api/costs/breakdown: sums by up to three dimensions, in all or over time. Without a dimension every
 * bucket of time has a row; with dimensions the dearest groups have rows of their own and one row holds what
 * is beyond them, so that the rows of an answer always add up to its total. */
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/costs_rows.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/text.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/tag.h"
#include "llmlab/db/api_keys.h"

#define ROWS_MAX_BYTES ((size_t)128 << 20)
#define LIMIT_DEFAULT  100
#define LIMIT_MAX      1000
#define ROWS_MAX       20000
#define GROUP_BY_MAX   420 /* three tags of 128 characters and their commas */

static const char *const PARAMETERS[] = {COSTS_FILTER_PARAMETERS, "group_by", "granularity", "limit", NULL};
static const char *const GRANULARITIES[] = {"none", "hour", "day", "week", "month", NULL};

enum granularity { GRANULARITY_NONE, GRANULARITY_HOUR, GRANULARITY_DAY, GRANULARITY_WEEK, GRANULARITY_MONTH };

struct breakdown {
	struct usage_filter filter;
	struct usage_group groups[COSTS_GROUPS_MAX];
	const char *names[COSTS_GROUPS_MAX]; /* as asked for */
	size_t n_groups;
	enum granularity granularity;
	size_t limit;
	struct range range;
	int64_t *starts; /* of the buckets, and the end */
	size_t n_starts;
	struct usage_row *rows;
	size_t n_rows;
	struct api_key *keys; /* the user's, where rows are by key */
	size_t n_keys;
};

/* ---- what is asked for ---- */

/* False if there is no such dimension. */
static bool parse_dimension(const char *name, struct usage_group *ret)
{
	static const struct {
		const char *name;
		enum usage_dimension dimension;
	} NAMES[] = {{"provider", USAGE_BY_PROVIDER}, {"model", USAGE_BY_MODEL},
		{"project", USAGE_BY_PROJECT}, {"customer", USAGE_BY_CUSTOMER}, {"key", USAGE_BY_KEY}};
	for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
		if (strcmp(name, NAMES[i].name) == 0) {
			*ret = (struct usage_group){.dimension = NAMES[i].dimension};
			return true;
		}
	}
	const char *const key = tag_key_of(name);
	if (key == NULL || utf8_length(key) > TAG_MAX_CHARS)
		return false;
	*ret = (struct usage_group){.dimension = USAGE_BY_TAG, .tag_key = key};
	return true;
}

static void add_dimension(struct breakdown *b, const char *name, struct problem *p)
{
	struct usage_group group;
	if (!parse_dimension(name, &group)) {
		problem_add(p, "group_by", "must be of provider, model, project, customer, key, tag.<key>");
		return;
	}
	for (size_t i = 0; i < b->n_groups; i++) {
		if (strcmp(b->names[i], name) == 0) {
			problem_add(p, "group_by", "names %s twice", name);
			return;
		}
	}
	if (b->n_groups == COSTS_GROUPS_MAX) {
		problem_add(p, "group_by", "must be at most %d dimensions", COSTS_GROUPS_MAX);
		return;
	}
	b->names[b->n_groups] = name;
	b->groups[b->n_groups++] = group;
}

static enum err read_group_by(struct http_request *rq, struct breakdown *b, struct problem *p)
{
	const char *const text = api_query_text(rq, "group_by", GROUP_BY_MAX, p);
	if (text == NULL)
		return ERR_OK;
	char *rest = arena_strdup(&rq->arena, text);
	if (rest == NULL)
		return ERR_NO_MEMORY;
	while (rest != NULL && problem_none(p))
		add_dimension(b, strsep(&rest, ","), p);
	return ERR_OK;
}

static enum granularity read_granularity(const struct http_request *rq, struct problem *p)
{
	const char *const text = api_query_choice(rq, "granularity", GRANULARITIES, p);
	int found = GRANULARITY_NONE;
	for (int i = 0; text != NULL && GRANULARITIES[i] != NULL; i++) {
		if (strcmp(text, GRANULARITIES[i]) == 0)
			found = i;
	}
	return (enum granularity)found;
}

/* ---- buckets ---- */

/* The first instant after lo_us with another offset than there, given that hi_us has one. */
static int64_t clock_change(const struct tz *tz, int64_t lo_us, int64_t hi_us)
{
	const int32_t offset_s = tz_offset_at(tz, lo_us);
	while (hi_us - lo_us > 1) {
		const int64_t middle_us = lo_us + (hi_us - lo_us) / 2;
		if (tz_offset_at(tz, middle_us) == offset_s)
			lo_us = middle_us;
		else
			hi_us = middle_us;
	}
	return hi_us;
}

/* The next full hour of the zone's clock, or the instant at which that clock is changed if this comes first.
 */
static int64_t next_hour(const struct tz *tz, int64_t us)
{
	const int32_t offset_s = tz_offset_at(tz, us);
	const int64_t local_us = us + offset_s * US_PER_SECOND;
	const int64_t past_us = ((local_us % US_PER_HOUR) + US_PER_HOUR) % US_PER_HOUR;
	const int64_t next_us = us + US_PER_HOUR - past_us;
	return tz_offset_at(tz, next_us - 1) == offset_s ? next_us : clock_change(tz, us, next_us - 1);
}

static int64_t next_start(enum granularity g, const struct range *r, int64_t us)
{
	switch (g) {
	case GRANULARITY_NONE:
		return r->to_us;
	case GRANULARITY_HOUR:
		return next_hour(r->tz, us);
	case GRANULARITY_DAY:
		return period_at(PERIOD_DAY, r->tz, us).end_us;
	case GRANULARITY_WEEK:
		return period_at(PERIOD_WEEK, r->tz, us).end_us;
	case GRANULARITY_MONTH:
		return period_at(PERIOD_MONTH, r->tz, us).end_us;
	}
	return r->to_us;
}

/* Where the buckets of the range begin; the first and the last are cut off by it. */
static enum err make_buckets(struct breakdown *b, struct arena *arena)
{
	const struct range *const r = &b->range;
	b->starts = arena_array(arena, COSTS_INTERVALS_MAX + 1, sizeof *b->starts);
	if (b->starts == NULL)
		return ERR_NO_MEMORY;
	int64_t at_us = r->from_us;
	while (at_us < r->to_us && b->n_starts < COSTS_INTERVALS_MAX) {
		b->starts[b->n_starts++] = at_us;
		at_us = next_start(b->granularity, r, at_us);
	}
	if (at_us < r->to_us)
		return ERR_RANGE;
	if (b->n_starts == 0) /* a day that the zone skips */
		b->starts[b->n_starts++] = r->from_us;
	b->starts[b->n_starts++] = r->to_us;
	return ERR_OK;
}

/* ---- the answer ---- */

static void write_bucket(struct json_writer *w, const struct breakdown *b, size_t i)
{
	if (b->granularity == GRANULARITY_NONE)
		return;
	jw_instant(w, "start", b->starts[i]);
	jw_instant(w, "end", b->starts[i + 1]);
	char date[DATE_TEXT_SIZE];
	calendar_format_date(tz_day_of(b->range.tz, b->starts[i]), date);
	jw_string(w, "date", date);
}

/* What a person calls the key; null where it is gone. */
static void write_key(struct json_writer *w, const struct breakdown *b, const char *id)
{
	const struct api_key *found = NULL;
	for (size_t i = 0; i < b->n_keys && id != NULL && found == NULL; i++) {
		char text[UUID_TEXT_SIZE];
		uuid_format(&b->keys[i].id, text);
		found = strcmp(text, id) == 0 ? &b->keys[i] : NULL;
	}
	jw_string(w, "key_name", found == NULL ? NULL : found->name);
	jw_string(w, "key_prefix", found == NULL ? NULL : found->prefix);
}

static void write_row(struct json_writer *w, const struct breakdown *b, const struct usage_row *row)
{
	jw_object_begin(w, NULL);
	for (size_t i = 0; i < b->n_groups; i++) {
		jw_string(w, b->names[i], row->values[i]);
		if (b->groups[i].dimension == USAGE_BY_KEY)
			write_key(w, b, row->values[i]);
	}
	if (row->other) {
		jw_bool(w, "other", true);
		jw_i64(w, "groups", row->groups);
	}
	write_bucket(w, b, row->interval);
	jw_decimal(w, "total_cost", row->sums.cost.atto, MONEY_SCALE);
	jw_i64(w, "call_count", row->sums.calls);
	costs_write_sums(w, &row->sums);
	jw_object_end(w);
}

/* Without dimensions every bucket has a row, also one without calls. */
static void write_rows(struct json_writer *w, const struct breakdown *b)
{
	size_t next = 0;
	jw_array_begin(w, "rows");
	if (b->n_groups > 0) {
		for (; next < b->n_rows; next++)
			write_row(w, b, &b->rows[next]);
	} else {
		for (size_t i = 0; i + 1 < b->n_starts; i++) {
			const struct usage_row none = {.interval = i};
			const bool has = next < b->n_rows && b->rows[next].interval == i;
			write_row(w, b, has ? &b->rows[next++] : &none);
		}
	}
	jw_array_end(w);
}

static struct reply answer(const struct breakdown *b, const struct usage_sums *total)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_array_begin(&w, "group_by");
	for (size_t i = 0; i < b->n_groups; i++)
		jw_string(&w, NULL, b->names[i]);
	jw_array_end(&w);
	jw_string(&w, "granularity", GRANULARITIES[b->granularity]);
	range_write(&w, "date_range_start", "date_range_end", &b->range);
	jw_string(&w, "timezone", tz_name(b->range.tz));
	write_rows(&w, b);
	jw_decimal(&w, "total_cost", total->cost.atto, MONEY_SCALE);
	jw_i64(&w, "call_count", total->calls);
	costs_write_sums(&w, total);
	jw_object_end(&w);
	return reply_json(200, &body);
}

static enum err add_up(const struct breakdown *b, struct usage_sums *total)
{
	for (size_t i = 0; i < b->n_rows; i++) {
		if (!usage_sums_add(total, &b->rows[i].sums))
			return ERR_INTERNAL;
	}
	return ERR_OK;
}

/* ---- the request ---- */

static enum err read_question(struct http_request *rq, struct breakdown *b, struct problem *p)
{
	api_query_allow(rq, PARAMETERS, p);
	enum err e = read_group_by(rq, b, p);
	if (e == ERR_OK)
		e = costs_filter_read(rq, &b->filter, p);
	if (e != ERR_OK)
		return e;
	b->granularity = read_granularity(rq, p);
	b->limit = (size_t)api_query_i64(rq, "limit", 1, LIMIT_MAX, LIMIT_DEFAULT, p);
	return api_range(rq, &b->range, p);
}

static enum err read_keys(struct http_request *rq, struct breakdown *b, struct arena *arena)
{
	for (size_t i = 0; i < b->n_groups; i++) {
		if (b->groups[i].dimension == USAGE_BY_KEY)
			return api_keys_list_of_user(api_db(rq), &rq->principal.user_id, NULL, API_KEYS_MAX,
				arena, &b->keys, &b->n_keys);
	}
	return ERR_OK;
}

static enum err read_rows(struct http_request *rq, struct breakdown *b, struct arena *arena)
{
	const struct usage_breakdown question = {
		.groups = b->groups, .n_groups = b->n_groups, .limit = b->limit, .filter = &b->filter};
	enum err e = make_buckets(b, arena);
	if (e == ERR_OK)
		e = costs_breakdown(api_db(rq), &rq->principal.user_id, &question, b->starts, b->n_starts,
			arena, &b->rows, &b->n_rows);
	if (e == ERR_OK && b->n_rows > ROWS_MAX)
		e = ERR_RANGE;
	return e == ERR_OK ? read_keys(rq, b, arena) : e;
}

struct reply api_costs_breakdown(struct http_request *rq)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, ROWS_MAX_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	struct breakdown b = {.n_groups = 0};
	struct usage_sums total = {0};
	enum err e = read_question(rq, &b, &p);
	if (e == ERR_OK)
		e = read_rows(rq, &b, &arena);
	if (e == ERR_RANGE) {
		problem_add(&p, "granularity",
			"makes more than %d rows of this range; ask for fewer days, "
			"a lower limit or a coarser granularity",
			ROWS_MAX);
		e = p.code;
	}
	if (e == ERR_OK)
		e = add_up(&b, &total);
	return e == ERR_OK ? answer(&b, &total) : api_fail(rq, e, &p);
}
