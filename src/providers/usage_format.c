/* Reads a provider's own usage object with the tables of its body kind. It checks that the numbers are whole,
 * in bounds and do not contradict the totals the provider states; it guesses and repairs nothing. */
#include "llmlab/providers/usage_format.h"
#include "format.h"
#include "llmlab/base/check.h"
#include "llmlab/core/price_find.h"
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#define FORMAT_NAME_MAX 128
#define TICK_SCALE	10 /* a tick is 10^-10 USD */
#define TEXT_MAX	200

/* A body being read. */
struct reading {
	const struct usage_format *format;
	const struct json_doc *doc;
	const json_t *usage;
	const char *prefix; /* of field names: "usage." */
	struct arena *arena;
	struct problem *p;
	struct usage_report *ret;
	int64_t helpers[USAGE_HELPERS];
	bool found; /* at least one count was there */
};

/* ---- finding values ---- */

static const json_t *array_find(const json_t *array, const struct path_step *step)
{
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *const element = json_array_get(array, i);
		const char *const value = json_string_value(json_object_get(element, step->key));
		if (value != NULL && strcmp(value, step->value) == 0)
			return element;
	}
	return NULL;
}

/* The value after the steps from `skip` on; NULL when it is absent or null. */
static const json_t *path_value(const struct usage_path *path, size_t skip, const json_t *from)
{
	const json_t *v = from;
	for (size_t i = skip; v != NULL && i < path->n_steps; i++)
		v = path->steps[i].value == NULL ? json_object_get(v, path->steps[i].key)
						 : array_find(v, &path->steps[i]);
	return json_is_null(v) ? NULL : v;
}

/* The usage object of the kind within what the caller gave: the root, or what follows its first steps
 * (cohere's billed_units in `usage`), or the object itself. */
static const json_t *usage_root(const struct usage_format *f, const json_t *body, bool whole_response)
{
	if (whole_response)
		return path_value(&f->root, 0, body);
	for (size_t skip = 1; skip < f->root.n_steps; skip++) {
		const json_t *const inner = path_value(&f->root, skip, body);
		if (json_is_object(inner))
			return inner;
	}
	return body;
}

/* ---- finding the kind ---- */

static bool kind_shows(const struct usage_format *f, const json_t *body, bool whole_response)
{
	const json_t *const usage = usage_root(f, body, whole_response);
	for (size_t i = 0; i < f->n_detect; i++) {
		if (path_value(&f->detect[i], 0, usage) != NULL)
			return true;
	}
	return false;
}

static const struct usage_format *kind_named(const struct provider *p, const char *kind)
{
	for (size_t i = 0; i < p->n_formats; i++) {
		if (strcmp(p->formats[i].kind, kind) == 0)
			return &p->formats[i];
	}
	return NULL;
}

static const struct usage_format *kind_of_body(
	const struct provider *p, const json_t *body, bool whole_response)
{
	for (size_t i = 0; i < p->n_formats; i++) {
		if (kind_shows(&p->formats[i], body, whole_response))
			return &p->formats[i];
	}
	const struct usage_format *const usual = kind_named(p, "default");
	const struct usage_format *const chat = kind_named(p, "chat");
	return usual != NULL ? usual : chat != NULL ? chat : p->formats;
}

/* "<provider>.<kind>" first (openai.chat is an alias of openai too), then "<provider>". */
static const struct usage_format *named_format(
	const struct catalogue *c, char *name, const json_t *body, bool whole_response)
{
	char *const dot = strrchr(name, '.');
	if (dot != NULL) {
		*dot = '\0';
		const struct provider *const p = provider_by_name(c, name);
		const struct usage_format *const f = p == NULL ? NULL : kind_named(p, dot + 1);
		if (f != NULL)
			return f;
		*dot = '.';
	}
	const struct provider *const p = provider_by_name(c, name);
	return p == NULL || p->n_formats == 0 ? NULL : kind_of_body(p, body, whole_response);
}

enum err usage_format_find(const struct catalogue *c, const char *format, const struct provider *provider,
	const json_t *body, bool whole_response, const struct usage_format **ret, struct problem *p)
{
	const struct usage_format *found = NULL;
	if (format != NULL) {
		char name[FORMAT_NAME_MAX + 1];
		if (price_normalise(format, name, FORMAT_NAME_MAX))
			found = named_format(c, name, body, whole_response);
		if (found == NULL)
			problem_add(p, "usage_format",
				"must be a known <provider> or <provider>.<kind>, like openai.chat");
	} else if (provider != NULL && provider->n_formats > 0) {
		found = kind_of_body(provider, body, whole_response);
	} else {
		problem_add(p, "usage_format", "must be given: it does not follow from the provider");
	}
	if (found == NULL)
		return ERR_VALIDATION;
	*ret = found;
	return ERR_OK;
}

/* ---- numbers ---- */

/* True if the field has been named already: a number may be part of several counts. */
static bool is_named(const struct problem *p, const char *field)
{
	for (size_t i = 0; i < p->n_fields; i++) {
		if (strcmp(p->fields[i].field, field) == 0)
			return true;
	}
	return false;
}

static const char *field_name(const struct reading *r, const struct usage_path *path)
{
	const char *const name = arena_printf(r->arena, "%s%s", r->prefix, path->text);
	return name == NULL ? path->text : name;
}

/* A number scaled by 10^scale; false, and named, when it is none or out of bounds. */
static bool read_number(const struct reading *r, const json_t *v, const struct usage_path *path, int scale,
	int64_t max, int64_t *ret)
{
	int128 value = 0;
	const char *const text = json_number_text(r->doc, v, r->arena);
	const enum err e = text == NULL ? ERR_SYNTAX : decimal_parse(text, strlen(text), scale, max, &value);
	if (e == ERR_OK && value >= 0) {
		*ret = (int64_t)value;
		return true;
	}
	const char *const field = field_name(r, path);
	if (is_named(r->p, field))
		return false;
	if (scale == 0)
		problem_add(r->p, field, "must be a whole number from 0 to %" PRId64, max);
	else
		problem_add(r->p, field,
			"must be a number of 0 or more with at most %d digits after the point", scale);
	return false;
}

/* Whether a list on the path names the wanted element (a modality) more than once: taking one of them would
 * lose the others. */
static bool is_repeated(const struct usage_path *path, const json_t *from)
{
	const json_t *v = from;
	for (size_t i = 0; v != NULL && i < path->n_steps; i++) {
		const struct path_step *const step = &path->steps[i];
		if (step->value == NULL) {
			v = json_object_get(v, step->key);
			continue;
		}
		size_t n = 0;
		for (size_t e = 0; e < json_array_size(v); e++) {
			const char *const value =
				json_string_value(json_object_get(json_array_get(v, e), step->key));
			n += value != NULL && strcmp(value, step->value) == 0;
		}
		if (n > 1)
			return true;
		v = array_find(v, step);
	}
	return false;
}

/* The number at the first place that has one; the others must agree. *ret_found false, *ret 0 when no place
 * has one. */
static bool read_source(const struct reading *r, const struct usage_source *s, int scale, int64_t max,
	int64_t *ret, bool *ret_found)
{
	const struct usage_path *first = NULL;
	*ret = 0;
	for (size_t i = 0; i < s->n_places; i++) {
		const json_t *const v = path_value(&s->places[i], 0, r->usage);
		int64_t value = 0;
		/* Mistral sends {} for seconds of audio where there was none. */
		if (v == NULL || (json_is_object(v) && json_object_size(v) == 0))
			continue;
		if (is_repeated(&s->places[i], r->usage)) {
			const char *const field = field_name(r, &s->places[i]);
			if (!is_named(r->p, field))
				problem_add(r->p, field, "occurs more than once");
			return false;
		}
		if (!read_number(r, v, &s->places[i], scale, max, &value))
			return false;
		if (first != NULL && value != *ret) {
			const char *const field = field_name(r, &s->places[i]);
			if (!is_named(r->p, field))
				problem_add(r->p, field, "differs from %s (%" PRId64 " and %" PRId64 ")",
					first->text, value, *ret);
			return false;
		}
		first = &s->places[i];
		*ret = value;
	}
	*ret_found = first != NULL;
	return true;
}

/* Adds within bounds; sums of a few values of at most USAGE_TOKENS_MAX do not overflow, and usage_check()
 * refuses more. */
static void read_term(struct reading *r, const struct usage_term *t)
{
	int64_t value = 0;
	bool found = false;
	const bool fractional = t->kind == TARGET_UNIT && usage_unit_fractional((enum usage_unit)t->index);
	const bool searches = t->kind == TARGET_WEB_SEARCHES;
	const int64_t whole_max = searches ? USAGE_SEARCHES_MAX : USAGE_TOKENS_MAX;
	const int64_t units_max = UNIT_QUANTITY_MAX / (int64_t)decimal_pow10(UNIT_SCALE);
	const int64_t max = fractional ? UNIT_QUANTITY_MAX : t->kind == TARGET_UNIT ? units_max : whole_max;
	if (!read_source(r, &t->source, fractional ? UNIT_SCALE : 0, max, &value, &found))
		return;
	r->found = r->found || found;
	struct usage *const u = &r->ret->usage;
	switch (t->kind) {
	case TARGET_COUNT:
		u->counts[t->index] += value;
		u->has_counts = u->has_counts || found;
		break;
	case TARGET_HELPER:
		r->helpers[t->index] += value;
		break;
	case TARGET_WEB_SEARCHES:
		u->web_searches += value;
		break;
	case TARGET_UNIT:
		u->units[t->index] += fractional ? value : value * (int64_t)decimal_pow10(UNIT_SCALE);
		break;
	}
}

/* ---- what must agree ---- */

/* The whole must be the sum of its parts; `all`: only when every part is there. */
static void check_sum(const struct reading *r, const struct usage_sum *s, bool all)
{
	int64_t whole = 0;
	int64_t sum = 0;
	bool found = false;
	if (!read_source(r, &s->whole, 0, 2 * USAGE_TOKENS_MAX, &whole, &found) || !found)
		return;
	for (size_t i = 0; i < s->n_parts; i++) {
		int64_t part = 0;
		if (!read_source(r, &s->parts[i], 0, USAGE_TOKENS_MAX, &part, &found))
			return;
		if (!found && all)
			return;
		sum += part;
	}
	if (sum == whole)
		return;
	const char *names = "";
	for (size_t i = 0; i < s->n_parts && names != NULL; i++)
		names = arena_printf(
			r->arena, "%s%s%s", names, i == 0 ? "" : " + ", s->parts[i].places[0].text);
	problem_add(r->p, field_name(r, &s->whole.places[0]), "is not %s (%" PRId64 ", not %" PRId64 ")",
		names == NULL ? "the sum of its parts" : names, whole, sum);
}

/* The parts by kind are at most the whole; text has no count of its own, so it is checked here only. */
static void check_modalities(const struct reading *r)
{
	const int64_t *const c = r->ret->usage.counts;
	const int64_t *const h = r->helpers;
	const struct {
		enum usage_count whole;
		int64_t parts;
	} kinds[] = {
		{USAGE_input_tokens, h[HELPER_input_text_tokens] + c[USAGE_input_audio_tokens] +
					     c[USAGE_input_image_tokens] + c[USAGE_input_video_tokens]},
		{USAGE_cache_read_tokens,
			h[HELPER_cache_read_text_tokens] + h[HELPER_cache_read_video_tokens] +
				c[USAGE_cache_read_audio_tokens] + c[USAGE_cache_read_image_tokens]},
		{USAGE_cache_write_tokens, h[HELPER_cache_write_5m_tokens] + c[USAGE_cache_write_1h_tokens]},
		{USAGE_output_tokens, h[HELPER_output_text_tokens] + c[USAGE_output_audio_tokens] +
					      c[USAGE_output_image_tokens] + c[USAGE_output_video_tokens]},
	};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (kinds[i].parts > c[kinds[i].whole])
			problem_add(r->p, usage_count_name(kinds[i].whole),
				"is less than its parts by kind together (%" PRId64 " < %" PRId64 ")",
				c[kinds[i].whole], kinds[i].parts);
	}
}

static void check_all(const struct reading *r)
{
	/* Audio that is billed by the second is in the total, but not among the tokens. */
	const bool seconds = r->ret->usage.units[UNIT_input_audio_second] != 0;
	for (size_t i = 0; i < r->format->n_totals && !seconds; i++)
		check_sum(r, &r->format->totals[i], false);
	for (size_t i = 0; i < r->format->n_splits; i++)
		check_sum(r, &r->format->splits[i], true);
	if (usage_check(&r->ret->usage, r->p) == ERR_OK)
		check_modalities(r);
}

/* ---- what else a body says ---- */

static void say_cost(struct reading *r, const json_t *v, const struct usage_said *s)
{
	const char *const text = json_number_text(r->doc, v, r->arena);
	const bool ticks = s->kind == SAID_reported_cost_ticks;
	const int scale = ticks ? 0 : MONEY_SCALE;
	const int128 max = (int128)MONEY_MAX_USD * decimal_pow10(ticks ? TICK_SCALE : MONEY_SCALE);
	int128 value;
	/* A price we cannot keep exactly is not worth refusing the event for: ours does not depend on it. */
	if (text == NULL || decimal_parse(text, strlen(text), scale, max, &value) != ERR_OK || value < 0)
		return;
	r->ret->has_reported_cost = true;
	r->ret->reported_cost.atto = ticks ? value * decimal_pow10(MONEY_SCALE - TICK_SCALE) : value;
}

static const char *said_text(const struct reading *r, const json_t *v)
{
	const char *const text = json_string_value(v);
	return text == NULL || text[0] == '\0' || strlen(text) > TEXT_MAX ? NULL
									  : arena_strdup(r->arena, text);
}

static void say(struct reading *r, const struct usage_said *s, const json_t *body)
{
	const json_t *const v = path_value(&s->path, 0, s->in_body ? body : r->usage);
	if (v == NULL)
		return;
	struct usage_report *const ret = r->ret;
	switch (s->kind) {
	case SAID_service_tier:
		ret->service_tier = said_text(r, v);
		break;
	case SAID_inference_geo:
		ret->inference_geo = said_text(r, v);
		break;
	case SAID_speed:
		ret->speed = said_text(r, v);
		break;
	case SAID_search_context_size:
		ret->search_context_size = said_text(r, v);
		break;
	case SAID_reported_cost:
	case SAID_reported_cost_ticks:
		say_cost(r, v, s);
		break;
	case SAID_KINDS:
		break;
	}
}

/* Anthropic's fast mode is a speed beside the service tier; prices know it as a tier. */
static void speed_as_tier(struct usage_report *ret)
{
	const bool fast = ret->speed != NULL && strcasecmp(ret->speed, "fast") == 0;
	if (fast && (ret->service_tier == NULL || strcasecmp(ret->service_tier, "standard") == 0))
		ret->service_tier = "fast";
}

/* ---- reading ---- */

/* body NULL: only the usage object is known. */
static enum err read_usage(struct reading *r, const json_t *body)
{
	if (!json_is_object(r->usage)) {
		const char *const name = arena_strndup(r->arena, r->prefix, strlen(r->prefix) - 1);
		problem_add(r->p, name == NULL ? "usage" : name, "must be an object");
		return r->p->code;
	}
	for (size_t i = 0; i < r->format->n_terms; i++)
		read_term(r, &r->format->terms[i]);
	if (problem_none(r->p) && !r->found) {
		const char *const name = arena_strndup(r->arena, r->prefix, strlen(r->prefix) - 1);
		problem_add(r->p, name == NULL ? "usage" : name, "has none of the counts of %s.%s",
			r->format->provider, r->format->kind);
	}
	if (!problem_none(r->p))
		return r->p->code;
	check_all(r);
	for (size_t i = 0; i < r->format->n_says; i++)
		say(r, &r->format->says[i], body);
	speed_as_tier(r->ret);
	return r->p->code;
}

enum err usage_format_read(const struct usage_format *f, const struct json_doc *doc, const json_t *usage,
	struct arena *arena, struct usage_report *ret, struct problem *p)
{
	struct usage_report report = {0};
	struct reading r = {
		.format = f,
		.doc = doc,
		.usage = usage_root(f, usage, false),
		.prefix = "usage.",
		.arena = arena,
		.p = p,
		.ret = &report,
	};
	const enum err e = read_usage(&r, NULL);
	if (e == ERR_OK)
		*ret = report;
	return e;
}

enum err usage_format_read_response(const struct usage_format *f, const struct json_doc *doc,
	const json_t *response, struct arena *arena, struct usage_report *ret, struct problem *p)
{
	struct usage_report report = {0};
	struct reading r = {
		.format = f,
		.doc = doc,
		.usage = usage_root(f, response, true),
		.prefix = arena_printf(arena, "response.%s.", f->root.text),
		.arena = arena,
		.p = p,
		.ret = &report,
	};
	if (!json_is_object(response)) {
		problem_add(p, "response", "must be an object");
		return p->code;
	}
	if (r.prefix == NULL)
		r.prefix = "response.";
	report.model = said_text(&r, path_value(&f->model, 0, response));
	report.response_id = said_text(&r, path_value(&f->id, 0, response));
	report.usage_missing = r.usage == NULL;
	const enum err e = report.usage_missing ? ERR_OK : read_usage(&r, response);
	if (e == ERR_OK)
		*ret = report;
	return e;
}
