/* One price record of a provider's file: its names and rules, its periods, and what is charged beside tokens.
 */
#include "llmlab/base/calendar.h"
#include "parse.h"
#include <stdio.h>
#include <string.h>

#define PERIODS_MAX   64
#define FACTOR_MAX    100
#define TOKENS_MAX    1000000000
#define SETTING_MAX   64
#define NAME_TEXT_MAX 200

struct raw_record {
	const char *model, *name, *kind, *line, *class_, *checked, *note;
	struct opt_i64 context_window, max_input_tokens, max_output_tokens;
	struct opt_bool deprecated;
	const json_t *match, *retires, *prices, *search_per_thousand, *multipliers, *per_unit;
};

#define TEXT(field, member)                                                                                  \
	{                                                                                                    \
		.name = field, .type = JSON_FIELD_STRING, .offset = offsetof(struct raw_record, member),     \
		.min = 1, .max = NAME_TEXT_MAX                                                               \
	}
#define TOKENS(member)                                                                                       \
	{                                                                                                    \
		.name = #member, .type = JSON_FIELD_I64, .offset = offsetof(struct raw_record, member),      \
		.min = 1, .max = TOKENS_MAX                                                                  \
	}

static const struct json_field record_fields[] = {
	{.name = "model",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct raw_record, model),
		.min = 1,
		.max = NAME_TEXT_MAX,
		.required = true},
	TEXT("name", name),
	TEXT("kind", kind),
	TEXT("line", line),
	TEXT("class", class_),
	TEXT("checked", checked),
	{.name = "note", .type = JSON_FIELD_STRING, .offset = offsetof(struct raw_record, note)},
	TOKENS(context_window),
	TOKENS(max_input_tokens),
	TOKENS(max_output_tokens),
	{.name = "deprecated", .type = JSON_FIELD_BOOL, .offset = offsetof(struct raw_record, deprecated)},
	{.name = "match",
		.type = JSON_FIELD_ARRAY,
		.offset = offsetof(struct raw_record, match),
		.min = 1,
		.max = 64,
		.required = true},
	{.name = "retires", .type = JSON_FIELD_OBJECT, .offset = offsetof(struct raw_record, retires)},
	{.name = "prices",
		.type = JSON_FIELD_ARRAY,
		.offset = offsetof(struct raw_record, prices),
		.min = 1,
		.max = PERIODS_MAX,
		.required = true},
	{.name = "search_per_thousand",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_record, search_per_thousand)},
	{.name = "multipliers", .type = JSON_FIELD_ARRAY, .offset = offsetof(struct raw_record, multipliers)},
	{.name = "per_unit", .type = JSON_FIELD_OBJECT, .offset = offsetof(struct raw_record, per_unit)},
};

void record_clear_prices(struct price_record *r)
{
	for (int i = 0; i < SEARCH_SIZES; i++)
		r->search_per_thousand[i] = PRICE_NONE;
	for (int u = 0; u < USAGE_UNITS; u++)
		r->per_unit[u] = PRICE_NONE;
}

static bool parse_periods(
	struct parse *ctx, const json_t *array, const char *prefix, struct price_record *ret)
{
	const size_t n = json_array_size(array);
	struct price_period *const periods = arena_array(ctx->keep, n, sizeof *periods);
	for (size_t i = 0; i < n; i++) {
		const char *const at = parse_path_at(ctx, prefix, "prices", i);
		if (periods == NULL || !parse_period(ctx, json_array_get(array, i), at, &periods[i]))
			return false;
		if (i > 0 && periods[i].from_us < periods[i - 1].to_us) {
			problem_add(ctx->p, parse_path(ctx, at, "from"),
				"must not be before the end of the period before");
			return false;
		}
	}
	ret->periods = periods;
	ret->n_periods = n;
	return true;
}

struct raw_search {
	struct opt_decimal fee[SEARCH_SIZES];
};

#define SEARCH_FIELD(size, index)                                                                            \
	{                                                                                                    \
		.name = size, .type = JSON_FIELD_DECIMAL, .offset = offsetof(struct raw_search, fee[index]), \
		.max = PRICE_MAX_USD, .required = true, .scale = PRICE_SCALE                                 \
	}

static const struct json_field search_fields[] = {
	SEARCH_FIELD("low", SEARCH_LOW),
	SEARCH_FIELD("medium", SEARCH_MEDIUM),
	SEARCH_FIELD("high", SEARCH_HIGH),
};

static bool parse_search(
	struct parse *ctx, const json_t *object, const char *prefix, struct price_record *ret)
{
	struct raw_search raw = {0};
	if (json_decode(ctx->doc, object, search_fields, SEARCH_SIZES, &raw,
		    parse_path(ctx, prefix, "search_per_thousand."), ctx->p) != ERR_OK)
		return false;
	for (int i = 0; i < SEARCH_SIZES; i++)
		ret->search_per_thousand[i] = (int64_t)raw.fee[i].value;
	return true;
}

struct raw_units {
	struct opt_decimal price[USAGE_UNITS];
};

static const struct json_field unit_fields[] = {
#define UNIT(unit)                                                                                           \
	{.name = #unit,                                                                                      \
		.type = JSON_FIELD_DECIMAL,                                                                  \
		.offset = UNIT_##unit * sizeof(struct opt_decimal),                                          \
		.max = UNIT_PRICE_MAX_USD,                                                                   \
		.scale = UNIT_PRICE_SCALE},
#include "llmlab/core/usage_units.def"
#undef UNIT
};

static bool parse_units(struct parse *ctx, const json_t *object, const char *prefix, struct price_record *ret)
{
	struct raw_units raw = {0};
	const char *const at = parse_path(ctx, prefix, "per_unit.");
	if (json_decode(ctx->doc, object, unit_fields, USAGE_UNITS, &raw, at, ctx->p) != ERR_OK)
		return false;
	for (int u = 0; u < USAGE_UNITS; u++) {
		if (!raw.price[u].set)
			continue;
		if (usage_unit_fractional((enum usage_unit)u) &&
			raw.price[u].value % decimal_pow10(UNIT_SCALE) != 0) {
			problem_add(ctx->p, parse_path(ctx, at, usage_unit_name((enum usage_unit)u)),
				"has more than %d digits after the point", UNIT_PRICE_SCALE - UNIT_SCALE);
			return false;
		}
		ret->per_unit[u] = raw.price[u].value;
	}
	return true;
}

struct raw_multiplier {
	const char *when;
	struct opt_decimal factor;
};

static const struct json_field multiplier_fields[] = {
	{.name = "when",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct raw_multiplier, when),
		.min = 3,
		.max = SETTING_MAX,
		.required = true},
	{.name = "factor",
		.type = JSON_FIELD_DECIMAL,
		.offset = offsetof(struct raw_multiplier, factor),
		.max = FACTOR_MAX,
		.required = true,
		.scale = PRICE_FACTOR_SCALE},
};

static bool parse_multiplier(
	struct parse *ctx, const json_t *v, const char *prefix, struct price_multiplier *ret)
{
	struct raw_multiplier raw = {0};
	if (json_decode(ctx->doc, v, multiplier_fields, 2, &raw, prefix, ctx->p) != ERR_OK)
		return false;
	const char *const equals = strchr(raw.when, '=');
	const char *const setting =
		equals == NULL ? NULL : arena_strndup(ctx->keep, raw.when, (size_t)(equals - raw.when));
	if (setting == NULL || equals[1] == '\0' ||
		(strcmp(setting, "inference_geo") != 0 && strcmp(setting, "data_residency") != 0)) {
		problem_add(ctx->p, parse_path(ctx, prefix, "when"),
			"must be inference_geo=... or data_residency=...");
		return false;
	}
	*ret = (struct price_multiplier){.setting = setting,
		.value = parse_keep(ctx, equals + 1),
		.factor = (int64_t)raw.factor.value};
	return true;
}

static bool parse_multipliers(
	struct parse *ctx, const json_t *array, const char *prefix, struct price_record *ret)
{
	const size_t n = json_array_size(array);
	struct price_multiplier *const list = arena_array(ctx->keep, n, sizeof *list);
	for (size_t i = 0; i < n; i++) {
		const char *const at = parse_path_at(ctx, prefix, "multipliers", i);
		if (list == NULL || !parse_multiplier(ctx, json_array_get(array, i), at, &list[i]))
			return false;
		/* Two settings could both hold, and their product has more digits than an exact cost can
		 * keep. */
		if (strcmp(list[i].setting, list[0].setting) != 0) {
			problem_add(ctx->p, parse_path(ctx, at, "when"),
				"must name the same setting as the others");
			return false;
		}
	}
	ret->multipliers = list;
	ret->n_multipliers = n;
	return true;
}

static bool parse_retirements(
	struct parse *ctx, const json_t *object, const char *prefix, struct price_record *ret)
{
	const size_t n = json_object_size(object);
	struct model_retirement *const list = arena_array(ctx->keep, n, sizeof *list);
	json_t *const view = parse_view(object);
	size_t i = 0;
	for (void *at = json_object_iter(view); list != NULL && at != NULL;
		at = json_object_iter_next(view, at)) {
		const char *const date = json_string_value(json_object_iter_value(at));
		if (date == NULL || calendar_parse_date(date, &list[i].retires_day) != ERR_OK) {
			problem_add(ctx->p, parse_path(ctx, prefix, "retires"),
				"must hold dates like 2026-08-23");
			return false;
		}
		list[i++].model = parse_keep(ctx, json_object_iter_key(at));
	}
	ret->retirements = list;
	ret->n_retirements = n;
	return true;
}

static void fill_texts(struct parse *ctx, const struct raw_record *raw, struct price_record *ret)
{
	ret->model = parse_keep(ctx, raw->model);
	ret->name = parse_keep(ctx, raw->name);
	ret->line = parse_keep(ctx, raw->line);
	ret->class_ = parse_keep(ctx, raw->class_);
	ret->kind = parse_keep(ctx, raw->kind);
	ret->context_window = raw->context_window.value;
	ret->max_input_tokens = raw->max_input_tokens.value;
	ret->max_output_tokens = raw->max_output_tokens.value;
	ret->deprecated = raw->deprecated.value;
}

bool parse_record(struct parse *ctx, const json_t *object, const char *prefix, const char *provider,
	struct price_record *ret)
{
	struct raw_record raw = {0};
	if (json_decode(ctx->doc, object, record_fields, sizeof record_fields / sizeof record_fields[0], &raw,
		    prefix, ctx->p) != ERR_OK)
		return false;
	int32_t day;
	if (raw.checked != NULL && calendar_parse_date(raw.checked, &day) != ERR_OK) {
		problem_add(ctx->p, parse_path(ctx, prefix, "checked"), "must be a date like 2026-08-23");
		return false;
	}
	*ret = (struct price_record){.provider = provider};
	record_clear_prices(ret);
	fill_texts(ctx, &raw, ret);
	return parse_rules(ctx, raw.match, parse_path(ctx, prefix, "match"), &ret->match, &ret->n_match) &&
	       parse_periods(ctx, raw.prices, prefix, ret) &&
	       (raw.search_per_thousand == NULL || parse_search(ctx, raw.search_per_thousand, prefix, ret)) &&
	       (raw.per_unit == NULL || parse_units(ctx, raw.per_unit, prefix, ret)) &&
	       parse_multipliers(ctx, raw.multipliers, prefix, ret) &&
	       parse_retirements(ctx, raw.retires, prefix, ret);
}
