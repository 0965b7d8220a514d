/* The `usage` member of a provider's file: body kinds as data. It reads the tables; reading bodies with them
 * is usage_format.c's part. */
#include "parse.h"
#include <string.h>

#define STEPS_MAX   8
#define PLACES_MAX  4
#define KINDS_MAX   32
#define UNIT_TARGET "unit."

static const char *const helper_names[USAGE_HELPERS] = {
	[HELPER_input_text_tokens] = "input_text_tokens",
	[HELPER_cache_read_text_tokens] = "cache_read_text_tokens",
	[HELPER_cache_read_video_tokens] = "cache_read_video_tokens",
	[HELPER_output_text_tokens] = "output_text_tokens",
	[HELPER_cache_write_5m_tokens] = "cache_write_5m_tokens",
};

static const char *const said_names[SAID_KINDS] = {
	[SAID_service_tier] = "service_tier",
	[SAID_inference_geo] = "inference_geo",
	[SAID_speed] = "speed",
	[SAID_search_context_size] = "search_context_size",
	[SAID_reported_cost] = "reported_cost",
	[SAID_reported_cost_ticks] = "reported_cost_ticks",
};

/* A step from n bytes: "name" or "[key=value]". */
static bool parse_step(struct parse *ctx, const char *text, size_t n, struct path_step *ret)
{
	if (n == 0)
		return false;
	if (text[0] != '[') {
		*ret = (struct path_step){.key = arena_strndup(ctx->keep, text, n)};
		return ret->key != NULL;
	}
	const char *const equals = memchr(text, '=', n);
	if (equals == NULL || equals == text + 1 || text[n - 1] != ']' || equals == text + n - 2)
		return false;
	ret->key = arena_strndup(ctx->keep, text + 1, (size_t)(equals - text - 1));
	ret->value = arena_strndup(ctx->keep, equals + 1, n - (size_t)(equals + 2 - text));
	return ret->key != NULL && ret->value != NULL;
}

/* A path from n bytes of dotted steps. */
static bool path_from(struct parse *ctx, const char *text, size_t n, struct usage_path *ret)
{
	struct path_step steps[STEPS_MAX] = {0};
	size_t n_steps = 0;
	size_t from = 0;
	while (from <= n) {
		const char *const dot = memchr(text + from, '.', n - from);
		const size_t end = dot == NULL ? n : (size_t)(dot - text);
		if (n_steps == STEPS_MAX || !parse_step(ctx, text + from, end - from, &steps[n_steps]))
			return false;
		n_steps++;
		from = end + 1;
	}
	struct path_step *const kept = arena_array(ctx->keep, n_steps, sizeof *kept);
	const char *const copy = arena_strndup(ctx->keep, text, n);
	if (kept == NULL || copy == NULL)
		return false;
	memcpy(kept, steps, n_steps * sizeof *kept);
	*ret = (struct usage_path){.text = copy, .steps = kept, .n_steps = n_steps};
	return true;
}

static bool parse_usage_path(struct parse *ctx, const json_t *v, const char *field, struct usage_path *ret)
{
	const char *const text = json_string_value(v);
	if (text == NULL || !path_from(ctx, text, strlen(text), ret)) {
		problem_add(ctx->p, field, "must be a path like a.b.[key=value].c");
		return false;
	}
	return true;
}

/* "path" or "path|path": places of the same number. */
static bool parse_source(struct parse *ctx, const json_t *v, const char *field, struct usage_source *ret)
{
	const char *text = json_string_value(v);
	struct usage_path places[PLACES_MAX];
	size_t n = 0;
	bool more = text != NULL;
	while (more) {
		const size_t length = strcspn(text, "|");
		if (n == PLACES_MAX || !path_from(ctx, text, length, &places[n]))
			break;
		n++;
		more = text[length] == '|';
		text += length + 1;
	}
	struct usage_path *const kept = arena_array(ctx->keep, n, sizeof *kept);
	if (more || n == 0 || kept == NULL) {
		problem_add(ctx->p, field,
			"must be a path like a.b.[key=value].c, or several with | between them");
		return false;
	}
	memcpy(kept, places, n * sizeof *kept);
	*ret = (struct usage_source){.places = kept, .n_places = n};
	return true;
}

static bool parse_target(const char *name, struct usage_term *ret)
{
	for (int c = 0; c < USAGE_COUNTS; c++) {
		if (strcmp(name, usage_count_name((enum usage_count)c)) == 0) {
			ret->kind = TARGET_COUNT;
			ret->index = c;
			return true;
		}
	}
	for (int h = 0; h < USAGE_HELPERS; h++) {
		if (strcmp(name, helper_names[h]) == 0) {
			ret->kind = TARGET_HELPER;
			ret->index = h;
			return true;
		}
	}
	if (strcmp(name, "web_searches") == 0) {
		ret->kind = TARGET_WEB_SEARCHES;
		return true;
	}
	if (strncmp(name, UNIT_TARGET, sizeof UNIT_TARGET - 1) != 0)
		return false;
	ret->kind = TARGET_UNIT;
	ret->index = (int)usage_unit_find(name + sizeof UNIT_TARGET - 1);
	return ret->index != USAGE_UNITS;
}

static bool parse_terms(struct parse *ctx, const json_t *array, const char *prefix, struct usage_format *ret)
{
	const size_t n = json_array_size(array);
	struct usage_term *const terms = arena_array(ctx->keep, n, sizeof *terms);
	const char *const field = parse_path(ctx, prefix, "add");
	for (size_t i = 0; i < n; i++) {
		const json_t *const pair = json_array_get(array, i);
		const char *const target = json_string_value(json_array_get(pair, 1));
		if (terms == NULL || json_array_size(pair) != 2 || target == NULL ||
			!parse_target(target, &terms[i])) {
			problem_add(ctx->p, field,
				"must hold pairs of a path and a count, web_searches or unit.<name>");
			return false;
		}
		if (!parse_source(ctx, json_array_get(pair, 0), field, &terms[i].source))
			return false;
	}
	ret->terms = terms;
	ret->n_terms = n;
	return true;
}

static bool parse_sum(struct parse *ctx, const json_t *pair, const char *field, struct usage_sum *ret)
{
	const json_t *const parts = json_array_get(pair, 1);
	const size_t n = json_array_size(parts);
	struct usage_source *const sources = arena_array(ctx->keep, n, sizeof *sources);
	if (json_array_size(pair) != 2 || n == 0 || sources == NULL) {
		problem_add(ctx->p, field, "must hold pairs of a path and an array of paths");
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (!parse_source(ctx, json_array_get(parts, i), field, &sources[i]))
			return false;
	}
	ret->parts = sources;
	ret->n_parts = n;
	return parse_source(ctx, json_array_get(pair, 0), field, &ret->whole);
}

static bool parse_sums(struct parse *ctx, const json_t *array, const char *field,
	const struct usage_sum **ret, size_t *ret_n)
{
	const size_t n = json_array_size(array);
	struct usage_sum *const sums = arena_array(ctx->keep, n, sizeof *sums);
	for (size_t i = 0; i < n; i++) {
		if (sums == NULL || !parse_sum(ctx, json_array_get(array, i), field, &sums[i]))
			return false;
	}
	*ret = sums;
	*ret_n = n;
	return true;
}

static bool parse_said(struct parse *ctx, const json_t *triple, const char *field, struct usage_said *ret)
{
	const char *const where = json_string_value(json_array_get(triple, 0));
	const char *const what = json_string_value(json_array_get(triple, 2));
	int kind = 0;
	while (kind < SAID_KINDS && (what == NULL || strcmp(what, said_names[kind]) != 0))
		kind++;
	if (json_array_size(triple) != 3 || where == NULL || kind == SAID_KINDS ||
		(strcmp(where, "body") != 0 && strcmp(where, "usage") != 0)) {
		problem_add(ctx->p, field, "must hold [\"body\" or \"usage\", path, what it says]");
		return false;
	}
	ret->in_body = where[0] == 'b';
	ret->kind = (enum said_kind)kind;
	return parse_usage_path(ctx, json_array_get(triple, 1), field, &ret->path);
}

static bool parse_says(struct parse *ctx, const json_t *array, const char *prefix, struct usage_format *ret)
{
	const size_t n = json_array_size(array);
	struct usage_said *const says = arena_array(ctx->keep, n, sizeof *says);
	const char *const field = parse_path(ctx, prefix, "says");
	for (size_t i = 0; i < n; i++) {
		if (says == NULL || !parse_said(ctx, json_array_get(array, i), field, &says[i]))
			return false;
	}
	ret->says = says;
	ret->n_says = n;
	ret->has_says = array != NULL;
	return true;
}

static bool parse_detect(struct parse *ctx, const json_t *array, const char *prefix, struct usage_format *ret)
{
	const size_t n = json_array_size(array);
	struct usage_path *const paths = arena_array(ctx->keep, n, sizeof *paths);
	const char *const field = parse_path(ctx, prefix, "detect");
	for (size_t i = 0; i < n; i++) {
		if (paths == NULL || !parse_usage_path(ctx, json_array_get(array, i), field, &paths[i]))
			return false;
	}
	ret->detect = paths;
	ret->n_detect = n;
	ret->has_detect = array != NULL;
	return true;
}

struct raw_format {
	const char *like;
	const json_t *root, *model, *id, *detect, *add, *totals, *splits, *says;
};

#define PART(member, kind)                                                                                   \
	{                                                                                                    \
		.name = #member, .type = kind, .offset = offsetof(struct raw_format, member)                 \
	}

static const struct json_field format_fields[] = {
	PART(like, JSON_FIELD_STRING),
	PART(root, JSON_FIELD_ANY),
	PART(model, JSON_FIELD_ANY),
	PART(id, JSON_FIELD_ANY),
	PART(detect, JSON_FIELD_ARRAY),
	PART(add, JSON_FIELD_ARRAY),
	PART(totals, JSON_FIELD_ARRAY),
	PART(splits, JSON_FIELD_ARRAY),
	PART(says, JSON_FIELD_ARRAY),
};

static bool parse_format(struct parse *ctx, const json_t *object, const char *prefix, const char *kind,
	struct usage_format *ret)
{
	struct raw_format raw = {0};
	if (json_decode(ctx->doc, object, format_fields, sizeof format_fields / sizeof format_fields[0], &raw,
		    prefix, ctx->p) != ERR_OK)
		return false;
	ret->kind = parse_keep(ctx, kind);
	ret->like = parse_keep(ctx, raw.like);
	if (!parse_detect(ctx, raw.detect, prefix, ret) || !parse_says(ctx, raw.says, prefix, ret))
		return false;
	if (raw.like != NULL) {
		if (raw.root != NULL || raw.model != NULL || raw.id != NULL || raw.add != NULL ||
			raw.totals != NULL || raw.splits != NULL)
			problem_add(
				ctx->p, parse_path(ctx, prefix, "like"), "goes with detect and says only");
		return problem_none(ctx->p);
	}
	return parse_usage_path(ctx, raw.root, parse_path(ctx, prefix, "root"), &ret->root) &&
	       parse_usage_path(ctx, raw.model, parse_path(ctx, prefix, "model"), &ret->model) &&
	       parse_usage_path(ctx, raw.id, parse_path(ctx, prefix, "id"), &ret->id) &&
	       parse_terms(ctx, raw.add, prefix, ret) &&
	       parse_sums(ctx, raw.totals, parse_path(ctx, prefix, "totals"), &ret->totals, &ret->n_totals) &&
	       parse_sums(ctx, raw.splits, parse_path(ctx, prefix, "splits"), &ret->splits, &ret->n_splits);
}

bool parse_formats(struct parse *ctx, const json_t *object, const char *field, const char *provider,
	const struct usage_format **ret, size_t *ret_n)
{
	const size_t n = json_object_size(object);
	struct usage_format *const formats = arena_array(ctx->keep, n, sizeof *formats);
	if (formats == NULL || n > KINDS_MAX) {
		problem_add(ctx->p, field, "must have at most %d kinds", KINDS_MAX);
		return false;
	}
	json_t *const view = parse_view(object);
	size_t i = 0;
	for (void *at = json_object_iter(view); at != NULL; at = json_object_iter_next(view, at)) {
		const char *const kind = json_object_iter_key(at);
		const char *const prefix = arena_printf(ctx->p->arena, "%s.%s.", field, kind);
		formats[i].provider = provider;
		if (prefix == NULL ||
			!parse_format(ctx, json_object_iter_value(at), prefix, kind, &formats[i]))
			return false;
		i++;
	}
	*ret = formats;
	*ret_n = n;
	return true;
}
