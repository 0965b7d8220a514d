/* One provider with its rules, body kinds and records. How providers of several files come together is
 * catalogue_load.c's part. */
#include "parse.h"
#include <string.h>

#define ID_MAX	    64
#define RECORDS_MAX 100000

struct raw_provider {
	const char *provider, *name, *url_regex;
	const json_t *aliases, *id_rules, *model_rules, *fallback, *strip_prefixes, *usage, *records;
};

#define LIST(member)                                                                                         \
	{                                                                                                    \
		.name = #member, .type = JSON_FIELD_ARRAY, .offset = offsetof(struct raw_provider, member)   \
	}

static const struct json_field provider_fields[] = {
	{.name = "provider",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct raw_provider, provider),
		.min = 1,
		.max = ID_MAX,
		.required = true},
	{.name = "name",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct raw_provider, name),
		.min = 1,
		.max = 200},
	{.name = "url_regex", .type = JSON_FIELD_STRING, .offset = offsetof(struct raw_provider, url_regex)},
	LIST(aliases),
	LIST(id_rules),
	LIST(model_rules),
	LIST(fallback),
	LIST(strip_prefixes),
	{.name = "usage", .type = JSON_FIELD_OBJECT, .offset = offsetof(struct raw_provider, usage)},
	LIST(records),
};

static bool is_id(const char *s)
{
	for (; *s != '\0'; s++) {
		const bool word = (*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9');
		if (!word && *s != '-' && *s != '_' && *s != '.')
			return false;
	}
	return true;
}

/* Addresses are matched from their beginning. */
static bool parse_url(struct parse *ctx, const char *pattern, const char *field, struct provider *ret)
{
	const char *const anchored = arena_printf(ctx->keep, "^(%s)", pattern);
	if (anchored == NULL)
		return false;
	ret->url_pattern = parse_keep(ctx, pattern);
	ret->url_regex = parse_regex(ctx, anchored, field);
	return ret->url_regex != NULL;
}

static bool parse_records(
	struct parse *ctx, const json_t *array, const char *prefix, bool embedded, struct provider *ret)
{
	const size_t n = json_array_size(array);
	if (n > RECORDS_MAX) {
		problem_add(ctx->p, parse_path(ctx, prefix, "records"), "must have at most %d elements",
			RECORDS_MAX);
		return false;
	}
	struct price_record *const records = arena_array(ctx->keep, n, sizeof *records);
	for (size_t i = 0; i < n; i++) {
		const char *const at = parse_path_at(ctx, prefix, "records", i);
		if (records == NULL || !parse_record(ctx, json_array_get(array, i), at, ret->id, &records[i]))
			return false;
		records[i].embedded = embedded;
		for (size_t k = 0; k < i; k++) {
			if (strcmp(records[k].model, records[i].model) == 0) {
				problem_add(
					ctx->p, parse_path(ctx, at, "model"), "is that of another record");
				return false;
			}
		}
	}
	ret->records = records;
	ret->n_records = n;
	return true;
}

bool parse_provider(
	struct parse *ctx, const json_t *object, const char *prefix, bool embedded, struct provider *ret)
{
	struct raw_provider raw = {0};
	if (json_decode(ctx->doc, object, provider_fields, sizeof provider_fields / sizeof provider_fields[0],
		    &raw, prefix, ctx->p) != ERR_OK)
		return false;
	if (!is_id(raw.provider)) {
		problem_add(ctx->p, parse_path(ctx, prefix, "provider"), "must be of a-z 0-9 - _ .");
		return false;
	}
	*ret = (struct provider){.id = parse_keep(ctx, raw.provider), .name = parse_keep(ctx, raw.name)};
	return (raw.aliases == NULL || parse_strings(ctx, raw.aliases, parse_path(ctx, prefix, "aliases"),
					       true, &ret->aliases, &ret->n_aliases)) &&
	       (raw.id_rules == NULL || parse_rules(ctx, raw.id_rules, parse_path(ctx, prefix, "id_rules"),
						&ret->id_rules, &ret->n_id_rules)) &&
	       (raw.model_rules == NULL ||
		       parse_rules(ctx, raw.model_rules, parse_path(ctx, prefix, "model_rules"),
			       &ret->model_rules, &ret->n_model_rules)) &&
	       (raw.url_regex == NULL ||
		       parse_url(ctx, raw.url_regex, parse_path(ctx, prefix, "url_regex"), ret)) &&
	       (raw.fallback == NULL || parse_strings(ctx, raw.fallback, parse_path(ctx, prefix, "fallback"),
						true, &ret->fallback, &ret->n_fallback)) &&
	       (raw.strip_prefixes == NULL ||
		       parse_strings(ctx, raw.strip_prefixes, parse_path(ctx, prefix, "strip_prefixes"), true,
			       &ret->strip_prefixes, &ret->n_strip_prefixes)) &&
	       (raw.usage == NULL || parse_formats(ctx, raw.usage, parse_path(ctx, prefix, "usage"), ret->id,
					     &ret->formats, &ret->n_formats)) &&
	       (raw.records == NULL || parse_records(ctx, raw.records, prefix, embedded, ret)) &&
	       problem_none(ctx->p);
}
