/* Descriptor tables: turns a JSON object into a C struct and names every bad field. It checks form and bounds
 * only; what values mean together is the caller's part. */
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/json_read.h"
#include <inttypes.h>
#include <string.h>

#define STRING_MAX_DEFAULT 8192
#define UNKNOWN_NAME_MAX   64
/* Below this magnitude a number is seconds, from here on milliseconds: 1e11 s is the year 5138, 1e11 ms is
 * 1973. */
#define UNIX_SECONDS_END 100000000000
/* Fraction digits kept while a unix time is read. */
#define UNIX_SCALE 18

/* What decoding one field needs. */
struct decode {
	const struct json_doc *doc;
	const struct json_field *field;
	const json_t *value;
	void *member;	  /* in the caller's struct */
	const char *name; /* prefix and field name */
	struct problem *p;
};

static bool has_bounds(const struct json_field *f)
{
	return f->min != 0 || f->max != 0;
}

static bool has_control_characters(const char *s)
{
	for (; *s != '\0'; s++) {
		const unsigned char c = (unsigned char)*s;
		if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F)
			return true;
	}
	return false;
}

static void decode_string(const struct decode *d)
{
	const char *const text = json_string_value(d->value);
	const int64_t min = d->field->min;
	const int64_t max = has_bounds(d->field) ? d->field->max : STRING_MAX_DEFAULT;
	const int64_t length = text == NULL ? -1 : (int64_t)utf8_length(text);
	if (length < 0 || length < min || length > max) {
		if (min > 0)
			problem_add(d->p, d->name,
				"must be a string of %" PRId64 " to %" PRId64 " characters", min, max);
		else
			problem_add(d->p, d->name, "must be a string of at most %" PRId64 " characters", max);
		return;
	}
	if (has_control_characters(text)) {
		problem_add(d->p, d->name, "must not contain control characters");
		return;
	}
	const char **const member = d->member;
	*member = text;
}

/* True when lo <= value <= hi, else the field is named with the bound that it breaks. */
static bool check_i64_bounds(const struct decode *d, int128 value)
{
	const int64_t lo = has_bounds(d->field) ? d->field->min : INT64_MIN;
	const int64_t hi = has_bounds(d->field) ? d->field->max : INT64_MAX;
	if (value < lo)
		problem_add(d->p, d->name, "must be %" PRId64 " or more", lo);
	else if (value > hi)
		problem_add(d->p, d->name, "must be at most %" PRId64, hi);
	else
		return true;
	return false;
}

/* The exact integer that v is; false for anything else. */
static bool integer_value(const struct decode *d, int128 *ret)
{
	if (json_is_integer(d->value)) {
		*ret = json_integer_value(d->value);
		return true;
	}
	const char *const text = json_number_text(d->doc, d->value, d->p->arena);
	return text != NULL && decimal_parse(text, strlen(text), 0, DECIMAL_MAX, ret) == ERR_OK;
}

static void decode_i64(const struct decode *d)
{
	int128 value = 0;
	if (!integer_value(d, &value)) {
		problem_add(d->p, d->name, "must be an integer");
		return;
	}
	if (!check_i64_bounds(d, value))
		return;
	struct opt_i64 *const member = d->member;
	*member = (struct opt_i64){.set = true, .value = (int64_t)value};
}

static void decode_bool(const struct decode *d)
{
	if (!json_is_boolean(d->value)) {
		problem_add(d->p, d->name, "must be true or false");
		return;
	}
	struct opt_bool *const member = d->member;
	*member = (struct opt_bool){.set = true, .value = json_is_true(d->value)};
}

/* A bound given in whole units, at the field's scale; what does not fit cannot be exceeded. */
static int128 scaled_bound(int64_t bound, int scale)
{
	int128 scaled;
	if (decimal_mul(bound, decimal_pow10(scale), &scaled))
		return scaled;
	return bound < 0 ? -DECIMAL_MAX : DECIMAL_MAX;
}

static void decode_decimal(const struct decode *d)
{
	const int scale = d->field->scale;
	const char *const text = json_is_string(d->value) ? json_string_value(d->value)
							  : json_number_text(d->doc, d->value, d->p->arena);
	int128 value = 0;
	const enum err e =
		text == NULL ? ERR_SYNTAX : decimal_parse(text, strlen(text), scale, DECIMAL_MAX, &value);
	const int128 lo = scaled_bound(d->field->min, scale);
	const int128 hi = has_bounds(d->field) ? scaled_bound(d->field->max, scale) : DECIMAL_MAX;
	if (e == ERR_SYNTAX)
		problem_add(d->p, d->name, "must be a number or a decimal string");
	else if (e != ERR_OK)
		problem_add(d->p, d->name, "is too large or has more than %d digits after the point", scale);
	else if (value < lo)
		problem_add(d->p, d->name, "must be %" PRId64 " or more", d->field->min);
	else if (value > hi)
		problem_add(d->p, d->name, "must be at most %" PRId64, d->field->max);
	else {
		struct opt_decimal *const member = d->member;
		*member = (struct opt_decimal){.set = true, .value = value};
	}
}

/* A unix time of either unit, exactly from its digits; finer than a microsecond is cut. */
static enum err instant_of_number(const char *text, int64_t *ret_us)
{
	int128 value;
	const enum err e = decimal_parse(text, strlen(text), UNIX_SCALE, DECIMAL_MAX, &value);
	if (e != ERR_OK)
		return e;
	const int128 limit = (int128)UNIX_SECONDS_END * decimal_pow10(UNIX_SCALE);
	const bool seconds = value > -limit && value < limit;
	const int128 unit = decimal_pow10(seconds ? UNIX_SCALE - 6 : UNIX_SCALE - 3);
	const int128 us = value / unit - (value % unit < 0 ? 1 : 0);
	if (us < INSTANT_MIN_US || us > INSTANT_MAX_US)
		return ERR_RANGE;
	*ret_us = (int64_t)us;
	return ERR_OK;
}

static void decode_instant(const struct decode *d)
{
	int64_t us = 0;
	enum err e = ERR_SYNTAX;
	if (json_is_string(d->value)) {
		e = instant_parse(json_string_value(d->value), json_string_length(d->value), &us);
	} else {
		const char *const text = json_number_text(d->doc, d->value, d->p->arena);
		if (text != NULL)
			e = instant_of_number(text, &us);
	}
	if (e == ERR_SYNTAX) {
		problem_add(d->p, d->name, "must be an RFC 3339 time or unix seconds or milliseconds");
		return;
	}
	if (e != ERR_OK) {
		problem_add(d->p, d->name, "is not a time that exists");
		return;
	}
	struct opt_i64 *const member = d->member;
	*member = (struct opt_i64){.set = true, .value = us};
}

/* "a, b, c" in the arena. */
static const char *choices_text(const char *const *choices, struct arena *arena)
{
	const char *text = "";
	for (size_t i = 0; choices[i] != NULL && text != NULL; i++)
		text = arena_printf(arena, "%s%s%s", text, i == 0 ? "" : ", ", choices[i]);
	return text == NULL ? "the known words" : text;
}

static void decode_choice(const struct decode *d)
{
	const char *const text = json_string_value(d->value);
	for (size_t i = 0; text != NULL && d->field->choices[i] != NULL; i++) {
		if (strcmp(text, d->field->choices[i]) == 0) {
			const char **const member = d->member;
			*member = d->field->choices[i];
			return;
		}
	}
	problem_add(d->p, d->name, "must be one of %s", choices_text(d->field->choices, d->p->arena));
}

static void decode_array(const struct decode *d)
{
	const struct json_field *const f = d->field;
	if (!json_is_array(d->value)) {
		problem_add(d->p, d->name, "must be an array");
		return;
	}
	const int64_t size = (int64_t)json_array_size(d->value);
	if (has_bounds(f) && (size < f->min || size > f->max)) {
		problem_add(d->p, d->name, "must have %" PRId64 " to %" PRId64 " elements", f->min, f->max);
		return;
	}
	const json_t **const member = d->member;
	*member = d->value;
}

static void decode_object(const struct decode *d)
{
	if (!json_is_object(d->value)) {
		problem_add(d->p, d->name, "must be an object");
		return;
	}
	const json_t **const member = d->member;
	*member = d->value;
}

static void decode_any(const struct decode *d)
{
	const json_t **const member = d->member;
	*member = d->value;
}

static void decode_value(const struct decode *d)
{
	CHECK(d->field->min <= d->field->max);
	switch (d->field->type) {
	case JSON_FIELD_STRING:
		decode_string(d);
		break;
	case JSON_FIELD_I64:
		decode_i64(d);
		break;
	case JSON_FIELD_BOOL:
		decode_bool(d);
		break;
	case JSON_FIELD_DECIMAL:
		decode_decimal(d);
		break;
	case JSON_FIELD_INSTANT:
		decode_instant(d);
		break;
	case JSON_FIELD_CHOICE:
		decode_choice(d);
		break;
	case JSON_FIELD_OBJECT:
		decode_object(d);
		break;
	case JSON_FIELD_ARRAY:
		decode_array(d);
		break;
	case JSON_FIELD_ANY:
		decode_any(d);
		break;
	}
}

/* prefix + name in the arena; the bare name when that overflows. */
static const char *full_name(const char *prefix, const char *name, struct arena *arena)
{
	if (prefix[0] == '\0')
		return name;
	const char *const full = arena_printf(arena, "%s%s", prefix, name);
	return full == NULL ? name : full;
}

static bool is_known(const char *key, const struct json_field *fields, size_t n_fields)
{
	for (size_t i = 0; i < n_fields; i++) {
		if (strcmp(key, fields[i].name) == 0)
			return true;
	}
	return false;
}

/* The client's key if it can be shown as it is. */
static const char *shown_key(const char *key)
{
	size_t length = 0;
	for (; key[length] != '\0'; length++) {
		if (key[length] < 0x20 || key[length] > 0x7E || length == UNKNOWN_NAME_MAX)
			return "(unprintable name)";
	}
	return key;
}

static void name_unknown(const json_t *object, const struct json_field *fields, size_t n_fields,
	const char *prefix, struct problem *p)
{
	/* See write_object() in json_read.c: the iterator wants a non-const pointer, nothing is changed. */
	union {
		const json_t *given;
		json_t *iterable;
	} view = {.given = object};
	for (void *at = json_object_iter(view.iterable); at != NULL;
		at = json_object_iter_next(view.iterable, at)) {
		const char *const key = json_object_iter_key(at);
		if (!is_known(key, fields, n_fields))
			problem_add(p, full_name(prefix, shown_key(key), p->arena), "is not a known field");
	}
}

static void refuse_non_object(const char *prefix, struct problem *p)
{
	const size_t length = strlen(prefix);
	const char *const name = length == 0 ? "" : arena_strndup(p->arena, prefix, length - 1);
	if (length == 0)
		problem_set(p, ERR_VALIDATION, "The JSON must be an object");
	else
		problem_add(p, name == NULL ? "" : name, "must be an object");
}

enum err json_decode(const struct json_doc *doc, const json_t *object, const struct json_field *fields,
	size_t n_fields, void *out, const char *prefix, struct problem *p)
{
	if (!json_is_object(object)) {
		refuse_non_object(prefix, p);
		return p->code;
	}
	unsigned char *const base = out;
	for (size_t i = 0; i < n_fields; i++) {
		const json_t *const value = json_object_get(object, fields[i].name);
		const bool absent = value == NULL || json_is_null(value);
		if (absent && !fields[i].required)
			continue;
		const struct decode d = {
			.doc = doc,
			.field = &fields[i],
			.value = value,
			.member = base + fields[i].offset,
			.name = full_name(prefix, fields[i].name, p->arena),
			.p = p,
		};
		if (absent)
			problem_add(p, d.name, "is required");
		else
			decode_value(&d);
	}
	name_unknown(object, fields, n_fields, prefix, p);
	if (arena_overflowed(p->arena)) {
		/* Then a number may have had no text: that is our want of memory, not the client's mistake.
		 */
		problem_init(p, p->arena);
		problem_set(p, ERR_NO_MEMORY, "%s", err_title(ERR_NO_MEMORY));
	}
	return p->code;
}
