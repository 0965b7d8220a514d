#ifndef LLMLAB_PROVIDERS_PARSE_H
#define LLMLAB_PROVIDERS_PARSE_H

#include "format.h"
#include "llmlab/base/json_read.h"
#include "llmlab/core/catalogue.h"

/* Reading catalogue JSON into the plain data of core/catalogue.h; private to this layer. All functions name
 * every bad field in ctx->p with its full path and return true when nothing was wrong. */

struct compiled_regex;

struct parse {
	const struct json_doc *doc;
	struct arena *keep;		/* what the result points to */
	struct problem *p;		/* its arena holds the field paths */
	struct compiled_regex *regexes; /* every expression compiled so far, newest first; in keep */
};

/* Frees the expressions of a list as ctx->regexes; their memory is the arena's. */
void regexes_release(struct compiled_regex *newest);

/* Field path "<prefix><name>" or "<prefix><name>[<i>]." in the problem's arena; never NULL. */
const char *parse_path(struct parse *ctx, const char *prefix, const char *name);
const char *parse_path_at(struct parse *ctx, const char *prefix, const char *name, size_t i);

/* A copy of s in ctx->keep; NULL stays NULL. */
const char *parse_keep(struct parse *ctx, const char *s);

/* An array of strings, copied; `lower`: upper-case letters are refused. */
bool parse_strings(struct parse *ctx, const json_t *array, const char *field, bool lower,
	const char *const **ret, size_t *ret_n);

/* An iterable view of a const object or array: jansson's iterators want a non-const pointer and change
 * nothing. */
json_t *parse_view(const json_t *v);

/* One rule ({"prefix":"gpt-"}), or an array of them. */
bool parse_rule(struct parse *ctx, const json_t *v, const char *field, struct match_rule *ret);
bool parse_rules(struct parse *ctx, const json_t *array, const char *field, const struct match_rule **ret,
	size_t *ret_n);
/* A compiled POSIX extended expression, restricted to what runs fast on hostile text; NULL when refused. */
regex_t *parse_regex(struct parse *ctx, const char *pattern, const char *field);
/* Frees the expressions that rules hold: for a record that belongs to no catalogue. */
void rules_release(const struct match_rule *rules, size_t n);

/* One element of a record's `prices`. */
bool parse_period(struct parse *ctx, const json_t *object, const char *prefix, struct price_period *ret);
/* The parts of a period that an own price (override) has as well; missing ones (NULL) are empty. */
struct period_parts {
	struct opt_i64 from, to;
	const json_t *per_million_tokens, *per_thousand, *tiers, *windows, *service_tiers;
};
bool parse_period_parts(
	struct parse *ctx, const struct period_parts *parts, const char *prefix, struct price_period *ret);

/* One record of a provider; provider is kept by pointer. */
bool parse_record(struct parse *ctx, const json_t *object, const char *prefix, const char *provider,
	struct price_record *ret);
/* Sets every price of a record that is no period to "none". */
void record_clear_prices(struct price_record *r);

/* The `usage` object of a provider. */
bool parse_formats(struct parse *ctx, const json_t *object, const char *field, const char *provider,
	const struct usage_format **ret, size_t *ret_n);

/* One provider with its records. What is absent stays NULL. `embedded` marks the records. */
bool parse_provider(
	struct parse *ctx, const json_t *object, const char *prefix, bool embedded, struct provider *ret);

/* The line (from 1) of a JSON text at which the value with that path ("records[3].match[0].regex") begins, or
 * of the innermost enclosing value that exists. */
size_t json_line_of(const char *text, size_t n, const char *path);

#endif
