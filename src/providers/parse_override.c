/* A user's own price (negotiated, self-hosted, a new model) as a price record: the same parts as in the
 * catalogue, with one period. The JSON comes from a request, so every bad field is named and nothing is
 * trusted. */
#include "llmlab/core/price_find.h"
#include "llmlab/providers/catalogue_load.h"
#include "parse.h"
#include <string.h>

#define NOTE_MAX 500

struct raw_override {
	const char *provider, *model, *note;
	const json_t *match;
	struct period_parts parts;
};

static const struct json_field override_fields[] = {
	{.name = "provider",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct raw_override, provider),
		.min = 1,
		.max = 64,
		.required = true},
	{.name = "model",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct raw_override, model),
		.min = 1,
		.max = 200},
	{.name = "match", .type = JSON_FIELD_OBJECT, .offset = offsetof(struct raw_override, match)},
	{.name = "from", .type = JSON_FIELD_INSTANT, .offset = offsetof(struct raw_override, parts.from)},
	{.name = "to", .type = JSON_FIELD_INSTANT, .offset = offsetof(struct raw_override, parts.to)},
	{.name = "per_million_tokens",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_override, parts.per_million_tokens)},
	{.name = "per_thousand",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_override, parts.per_thousand)},
	{.name = "tiers", .type = JSON_FIELD_ARRAY, .offset = offsetof(struct raw_override, parts.tiers)},
	{.name = "service_tiers",
		.type = JSON_FIELD_OBJECT,
		.offset = offsetof(struct raw_override, parts.service_tiers)},
	{.name = "note",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct raw_override, note),
		.max = NOTE_MAX},
};

/* A copy as names are compared; a problem when it is too long or blank. */
static const char *keep_name(struct parse *ctx, const char *text, const char *field)
{
	char name[PRICE_NAME_MAX + 1];
	if (!price_normalise(text, name, PRICE_NAME_MAX) || name[0] == '\0') {
		problem_add(ctx->p, field, "must be 1 to %d bytes", PRICE_NAME_MAX);
		return NULL;
	}
	return parse_keep(ctx, name);
}

/* Either the exact model or one rule. */
static void parse_match(struct parse *ctx, const struct raw_override *raw, struct price_record *ret)
{
	if ((raw->model == NULL) == (raw->match == NULL)) {
		problem_add(ctx->p, raw->model == NULL ? "model" : "match",
			"must be given, or else the other of model and match");
		return;
	}
	struct match_rule *const rule = arena_alloc(ctx->keep, sizeof *rule);
	if (rule == NULL)
		return;
	if (raw->model != NULL) {
		*rule = (struct match_rule){
			.kind = MATCH_EQUALS, .text = keep_name(ctx, raw->model, "model")};
		ret->model = rule->text;
	} else {
		if (!parse_rule(ctx, raw->match, "match", rule))
			return;
		ret->model = arena_strdup(ctx->keep, json_text(ctx->doc, raw->match, 4096, ctx->keep));
	}
	ret->match = rule;
	ret->n_match = 1;
}

static void parse_prices(struct parse *ctx, const struct raw_override *raw, struct price_record *ret)
{
	struct price_period *const period = arena_alloc(ctx->keep, sizeof *period);
	if (raw->parts.per_million_tokens == NULL && raw->parts.per_thousand == NULL)
		problem_add(ctx->p, "per_million_tokens", "must be given, or per_thousand");
	else if (period != NULL)
		parse_period_parts(ctx, &raw->parts, "", period);
	ret->periods = period;
	ret->n_periods = 1;
}

enum err catalogue_parse_override(const struct json_doc *doc, const json_t *object, struct arena *arena,
	struct price_record *ret, struct problem *p)
{
	struct raw_override raw = {0};
	struct parse ctx = {.doc = doc, .keep = arena, .p = p};
	struct price_record record = {0};
	json_decode(doc, object, override_fields, sizeof override_fields / sizeof override_fields[0], &raw,
		"", p);
	if (json_is_object(object)) {
		record_clear_prices(&record);
		record.provider = raw.provider == NULL ? NULL : keep_name(&ctx, raw.provider, "provider");
		parse_match(&ctx, &raw, &record);
		parse_prices(&ctx, &raw, &record);
	}
	if (problem_none(p) && arena_overflowed(arena))
		problem_set(p, ERR_NO_MEMORY, "There is not enough memory to read this price now");
	if (!problem_none(p)) {
		regexes_release(ctx.regexes);
		return p->code;
	}
	*ret = record;
	return ERR_OK;
}

void catalogue_record_release(struct price_record *r)
{
	rules_release(r->match, r->n_match);
	r->match = NULL;
	r->n_match = 0;
}
