/* One period of prices: categories, long-context tiers, daily windows, service tiers, fees. Every price is
 * kept exactly as its digits say, or refused. */
#include "llmlab/base/calendar.h"
#include "parse.h"
#include <stdio.h>
#include <string.h>

#define TIERS_MAX   16
#define WINDOWS_MAX 64

#define PRICE_FIELD(category)                                                                                \
	{                                                                                                    \
		.name = #category, .type = JSON_FIELD_DECIMAL,                                               \
		.offset =                                                                                    \
			offsetof(struct raw_tier, price) + CATEGORY_##category * sizeof(struct opt_decimal), \
		.min = 0, .max = PRICE_MAX_USD, .scale = PRICE_SCALE                                         \
	}

struct raw_tier {
	struct opt_decimal price[PRICE_CATEGORIES];
	struct opt_i64 above_input_tokens;
};

/* The tier's own member first, so that prices alone are the rest of the table. */
static const struct json_field tier_fields[] = {
	{.name = "above_input_tokens",
		.type = JSON_FIELD_I64,
		.offset = offsetof(struct raw_tier, above_input_tokens),
		.min = 0,
		.max = USAGE_TOKENS_MAX,
		.required = true},
#define COUNT(name, parent, parent2, category) PRICE_FIELD(category),
#include "llmlab/core/usage_counts.def"
#undef COUNT
};

static const struct json_field *const price_fields = tier_fields + 1;

static void fill_tier(const struct raw_tier *raw, int64_t above, struct price_tier *ret)
{
	ret->above_input_tokens = above;
	for (int c = 0; c < PRICE_CATEGORIES; c++)
		ret->per_million[c] = raw->price[c].set ? (int64_t)raw->price[c].value : PRICE_NONE;
}

static bool parse_base(struct parse *ctx, const json_t *object, const char *prefix, struct price_tier *ret)
{
	struct raw_tier raw = {0};
	if (json_decode(ctx->doc, object, price_fields, PRICE_CATEGORIES, &raw,
		    parse_path(ctx, prefix, "per_million_tokens."), ctx->p) != ERR_OK)
		return false;
	fill_tier(&raw, -1, ret);
	return true;
}

static bool parse_tier(struct parse *ctx, const json_t *object, const char *prefix, int64_t above_last,
	struct price_tier *ret)
{
	struct raw_tier raw = {0};
	if (json_decode(ctx->doc, object, tier_fields, PRICE_CATEGORIES + 1, &raw, prefix, ctx->p) != ERR_OK)
		return false;
	if (raw.above_input_tokens.value <= above_last) {
		problem_add(ctx->p, parse_path(ctx, prefix, "above_input_tokens"),
			"must be more than that of the tier before");
		return false;
	}
	fill_tier(&raw, raw.above_input_tokens.value, ret);
	return true;
}

/* Base prices (may be NULL) and tiers (may be NULL) of one way of processing. */
static bool parse_set(
	struct parse *ctx, const json_t *base, const json_t *tiers, const char *prefix, struct price_set *ret)
{
	const size_t n = json_array_size(tiers);
	if (n > TIERS_MAX) {
		problem_add(
			ctx->p, parse_path(ctx, prefix, "tiers"), "must have at most %d elements", TIERS_MAX);
		return false;
	}
	struct price_tier *const set = arena_array(ctx->keep, n + 1, sizeof *set);
	if (set == NULL)
		return false;
	const struct raw_tier none = {0};
	fill_tier(&none, -1, &set[0]);
	bool good = base == NULL || parse_base(ctx, base, prefix, &set[0]);
	for (size_t i = 0; i < n && good; i++)
		good = parse_tier(ctx, json_array_get(tiers, i), parse_path_at(ctx, prefix, "tiers", i),
			set[i].above_input_tokens, &set[i + 1]);
	*ret = (struct price_set){.tiers = set, .n_tiers = n + 1};
	return good;
}

/* ---- daily windows ---- */

struct raw_window {
	const char *utc_from, *utc_to;
	const json_t *days, *per_million_tokens, *tiers;
};

static const struct json_field window_fields[] = {
	{.name = "utc_from",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct raw_window, utc_from),
		.required = true},
	{.name = "utc_to",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct raw_window, utc_to),
		.required = true},
	{.name = "days",
		.type = JSON_FIELD_ARRAY,
		.offset = offsetof(struct raw_window, days),
		.min = 1,
		.max = 7},
	{.name = "per_million_tokens",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_window, per_million_tokens),
		.required = true},
	{.name = "tiers", .type = JSON_FIELD_ARRAY, .offset = offsetof(struct raw_window, tiers)},
};

/* "HH:MM:SS" as seconds of the day; "24:00:00" is its end. */
static bool parse_time_of_day(const char *text, uint32_t *ret)
{
	uint32_t part[3] = {0};
	for (size_t i = 0; i < 8; i++) {
		if (i % 3 == 2 ? text[i] != ':' : (text[i] < '0' || text[i] > '9'))
			return false;
		if (i % 3 != 2)
			part[i / 3] = part[i / 3] * 10 + (uint32_t)(text[i] - '0');
	}
	const uint32_t seconds = part[0] * 3600 + part[1] * 60 + part[2];
	if (text[8] != '\0' || part[1] > 59 || part[2] > 59 || seconds > 86400)
		return false;
	*ret = seconds;
	return true;
}

static bool parse_days(struct parse *ctx, const json_t *days, const char *prefix, uint8_t *ret)
{
	static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
	uint8_t set = days == NULL ? 0x7F : 0;
	for (size_t i = 0; i < json_array_size(days); i++) {
		const char *const day = json_string_value(json_array_get(days, i));
		unsigned bit = 0;
		while (bit < 7 && (day == NULL || strcmp(day, names[bit]) != 0))
			bit++;
		if (bit == 7 || (set & (1U << bit)) != 0) {
			problem_add(ctx->p, parse_path(ctx, prefix, "days"),
				"must hold mon .. sun, each at most once");
			return false;
		}
		set = (uint8_t)(set | 1U << bit);
	}
	*ret = set;
	return true;
}

static bool parse_window(
	struct parse *ctx, const json_t *object, const char *prefix, struct price_window *ret)
{
	struct raw_window raw = {0};
	if (json_decode(ctx->doc, object, window_fields, sizeof window_fields / sizeof window_fields[0], &raw,
		    prefix, ctx->p) != ERR_OK)
		return false;
	if (!parse_time_of_day(raw.utc_from, &ret->from_second) ||
		!parse_time_of_day(raw.utc_to, &ret->to_second) || ret->from_second == ret->to_second) {
		problem_add(ctx->p, parse_path(ctx, prefix, "utc_from"),
			"and utc_to must be different times HH:MM:SS");
		return false;
	}
	return parse_days(ctx, raw.days, prefix, &ret->days) &&
	       parse_set(ctx, raw.per_million_tokens, raw.tiers, prefix, &ret->prices);
}

/* True if a second of some day lies in both. */
static bool windows_overlap(const struct price_window *a, const struct price_window *b)
{
	if ((a->days & b->days) == 0)
		return false;
	/* Each window is one or, over midnight, two spans of the same UTC date. */
	const uint32_t a_spans[2][2] = {
		{a->from_second, a->from_second < a->to_second ? a->to_second : 86400},
		{0, a->from_second < a->to_second ? 0 : a->to_second}};
	const uint32_t b_spans[2][2] = {
		{b->from_second, b->from_second < b->to_second ? b->to_second : 86400},
		{0, b->from_second < b->to_second ? 0 : b->to_second}};
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < 2; k++) {
			const uint32_t from = a_spans[i][0] > b_spans[k][0] ? a_spans[i][0] : b_spans[k][0];
			const uint32_t to = a_spans[i][1] < b_spans[k][1] ? a_spans[i][1] : b_spans[k][1];
			if (from < to)
				return true;
		}
	}
	return false;
}

static bool parse_windows(
	struct parse *ctx, const json_t *array, const char *prefix, struct price_period *ret)
{
	const size_t n = json_array_size(array);
	struct price_window *const windows = arena_array(ctx->keep, n, sizeof *windows);
	if (n > WINDOWS_MAX) {
		problem_add(ctx->p, parse_path(ctx, prefix, "windows"), "must have at most %d elements",
			WINDOWS_MAX);
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		const char *const at = parse_path_at(ctx, prefix, "windows", i);
		if (windows == NULL || !parse_window(ctx, json_array_get(array, i), at, &windows[i]))
			return false;
		for (size_t k = 0; k < i; k++) {
			if (windows_overlap(&windows[k], &windows[i])) {
				problem_add(
					ctx->p, parse_path(ctx, at, "utc_from"), "overlaps another window");
				return false;
			}
		}
	}
	ret->windows = windows;
	ret->n_windows = n;
	return true;
}

/* ---- service tiers and fees ---- */

struct raw_service {
	const json_t *tier[SERVICE_TIERS];
};
struct raw_service_set {
	const json_t *per_million_tokens, *tiers;
};

static const struct json_field service_fields[] = {
	{.name = "batch",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_service, tier[TIER_BATCH])},
	{.name = "flex", .type = JSON_FIELD_OBJECT, .offset = offsetof(struct raw_service, tier[TIER_FLEX])},
	{.name = "priority",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_service, tier[TIER_PRIORITY])},
	{.name = "fast", .type = JSON_FIELD_OBJECT, .offset = offsetof(struct raw_service, tier[TIER_FAST])},
};

static const struct json_field service_set_fields[] = {
	{.name = "per_million_tokens",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_service_set, per_million_tokens),
		.required = true},
	{.name = "tiers", .type = JSON_FIELD_ARRAY, .offset = offsetof(struct raw_service_set, tiers)},
};

static bool parse_service(
	struct parse *ctx, const json_t *object, const char *prefix, struct price_period *ret)
{
	struct raw_service raw = {0};
	const char *const at = parse_path(ctx, prefix, "service_tiers.");
	if (json_decode(ctx->doc, object, service_fields, sizeof service_fields / sizeof service_fields[0],
		    &raw, at, ctx->p) != ERR_OK)
		return false;
	for (size_t i = 0; i < sizeof service_fields / sizeof service_fields[0]; i++) {
		const size_t tier = i + 1; /* enum service_tier after standard, in the order of the table */
		struct raw_service_set set = {0};
		if (raw.tier[tier] == NULL)
			continue;
		char name[32];
		snprintf(name, sizeof name, "%s.", service_fields[i].name);
		const char *const tier_at = parse_path(ctx, at, name);
		if (json_decode(ctx->doc, raw.tier[tier], service_set_fields, 2, &set, tier_at, ctx->p) !=
				ERR_OK ||
			!parse_set(ctx, set.per_million_tokens, set.tiers, tier_at, &ret->service[tier]))
			return false;
	}
	return true;
}

struct raw_fees {
	struct opt_decimal requests, web_searches;
};

static const struct json_field fee_fields[] = {
	{.name = "requests",
		.type = JSON_FIELD_DECIMAL,
		.offset = offsetof(struct raw_fees, requests),
		.max = PRICE_MAX_USD,
		.scale = PRICE_SCALE},
	{.name = "web_searches",
		.type = JSON_FIELD_DECIMAL,
		.offset = offsetof(struct raw_fees, web_searches),
		.max = PRICE_MAX_USD,
		.scale = PRICE_SCALE},
};

static bool parse_fees(struct parse *ctx, const json_t *object, const char *prefix, struct price_period *ret)
{
	struct raw_fees raw = {0};
	if (object != NULL &&
		json_decode(ctx->doc, object, fee_fields, sizeof fee_fields / sizeof fee_fields[0], &raw,
			parse_path(ctx, prefix, "per_thousand."), ctx->p) != ERR_OK)
		return false;
	ret->requests_per_thousand = raw.requests.set ? (int64_t)raw.requests.value : PRICE_NONE;
	ret->web_searches_per_thousand = raw.web_searches.set ? (int64_t)raw.web_searches.value : PRICE_NONE;
	return true;
}

/* ---- periods ---- */

bool parse_period_parts(
	struct parse *ctx, const struct period_parts *parts, const char *prefix, struct price_period *ret)
{
	*ret = (struct price_period){
		.from_us = parts->from.set ? parts->from.value : INT64_MIN,
		.to_us = parts->to.set ? parts->to.value : INT64_MAX,
	};
	if (ret->from_us >= ret->to_us)
		problem_add(ctx->p, parse_path(ctx, prefix, "to"), "must be after from");
	return parse_fees(ctx, parts->per_thousand, prefix, ret) &&
	       parse_set(ctx, parts->per_million_tokens, parts->tiers, prefix, &ret->standard) &&
	       parse_windows(ctx, parts->windows, prefix, ret) &&
	       (parts->service_tiers == NULL || parse_service(ctx, parts->service_tiers, prefix, ret)) &&
	       problem_none(ctx->p);
}

struct raw_period {
	struct period_parts parts;
	const char *currency;
};

static const char *const currencies[] = {"USD", NULL};

static const struct json_field period_fields[] = {
	{.name = "from", .type = JSON_FIELD_INSTANT, .offset = offsetof(struct raw_period, parts.from)},
	{.name = "to", .type = JSON_FIELD_INSTANT, .offset = offsetof(struct raw_period, parts.to)},
	{.name = "currency",
		.type = JSON_FIELD_CHOICE,
		.offset = offsetof(struct raw_period, currency),
		.choices = currencies},
	{.name = "per_million_tokens",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_period, parts.per_million_tokens),
		.required = true},
	{.name = "per_thousand",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_period, parts.per_thousand)},
	{.name = "tiers", .type = JSON_FIELD_ARRAY, .offset = offsetof(struct raw_period, parts.tiers)},
	{.name = "windows", .type = JSON_FIELD_ARRAY, .offset = offsetof(struct raw_period, parts.windows)},
	{.name = "service_tiers",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_period, parts.service_tiers)},
};

bool parse_period(struct parse *ctx, const json_t *object, const char *prefix, struct price_period *ret)
{
	struct raw_period raw = {0};
	if (json_decode(ctx->doc, object, period_fields, sizeof period_fields / sizeof period_fields[0], &raw,
		    prefix, ctx->p) != ERR_OK)
		return false;
	return parse_period_parts(ctx, &raw.parts, prefix, ret);
}
