#ifndef LLMLAB_CORE_PRICE_H
#define LLMLAB_CORE_PRICE_H

#include "llmlab/core/catalogue.h"
#include "llmlab/core/money.h"
#include "llmlab/core/usage.h"

/* From "who billed which model, when, how" to a record and an exact cost with its breakdown. Pure and thread-safe over
 * an immutable catalogue. The rules are those of docs/pricing.md. */

struct price_query {
	const char *provider;       /* as the caller names it, any case; NULL or "litellm": find it */
	const char *model;          /* as the caller sends it; not NULL */
	const char *base_url;       /* NULL: not known */
	int64_t at_us;              /* when the call was made */
	const char *service_tier;   /* as reported; NULL: standard */
	const char *inference_geo;  /* NULL: not given */
	const char *data_residency; /* NULL: not given */
	const char *search_context_size; /* "low", "medium", "high" as reported; NULL: not known */
	const struct usage *usage;
};

enum pricing_status { PRICING_PRICED, PRICING_FREE, PRICING_UNPRICED, PRICING_REPORTED };
/* "priced", "free", "unpriced", "reported"; static. */
const char *pricing_status_name(enum pricing_status s);

struct price_match {
	const struct provider *provider;   /* who bills; NULL: unknown provider */
	const struct price_record *record; /* NULL: unknown model */
	enum match_kind kind;              /* of the rule that held */
	bool fallback;                     /* record of another provider */
	bool stripped;                     /* after taking off a prefix */
	bool starved;                      /* nothing was found for want of memory: this is no answer */
};

/* How the record was found, or why there is none; static: "equals", "prefix", "suffix", "contains", "regex", "all", "any", each
 * also with ":fallback", ":stripped" or ":fallback:stripped"; "unknown_provider", "unknown_model". price_result.rule is this, or
 * "override" (the user's own price) or "no_price" (a record without a price that fits the event). */
const char *price_rule_name(const struct price_match *m);

/* Finds provider and record. What is unknown is NULL; only `starved` is a failure. Texts need not be lower case. Provider and model names
 * longer than PRICE_NAME_MAX bytes and addresses longer than PRICE_URL_MAX match nothing. */
#define PRICE_NAME_MAX 200
#define PRICE_URL_MAX  512
struct price_match price_find(const struct catalogue *c, const char *provider_text, const char *model, const char *base_url);

/* Whether this thread's searches have starved since it was last asked. For whoever makes many searches one answer: none is found
 * by chance in an answer that says "unknown" of what could not be looked at. */
bool price_find_starved(void);

/* The same with the user's own records in order (as price_event() takes them), tried before the catalogue's. *ret_own: the
 * record is one of them. */
struct price_match price_find_own(const struct catalogue *c, const struct price_record *const *overrides, size_t n_overrides,
	const char *provider_text, const char *model, const char *base_url, bool *ret_own);

/* One line of a breakdown: quantity x price, exact. */
enum price_line_kind { LINE_TOKENS, LINE_WEB_SEARCHES, LINE_REQUESTS, LINE_UNIT };
struct price_line {
	enum price_line_kind kind;
	enum price_category category; /* LINE_TOKENS */
	enum usage_unit unit;         /* LINE_UNIT */
	int64_t quantity;             /* tokens, searches, requests; units x 10^-UNIT_SCALE */
	int128 price;                 /* after tier, window, service tier and multiplier. x 10^-PRICE_LINE_SCALE USD: per
	                                 million tokens, per thousand searches or requests, per single unit */
	struct money cost;
};
#define PRICE_LINE_SCALE 18
#define PRICE_LINES_MAX  (PRICE_CATEGORIES + 2 + USAGE_UNITS)
/* quantity x price of a line, exactly. False when that does not fit or is no whole number of atto-USD. */
bool price_line_cost(const struct price_line *l, struct money *ret);

struct price_result {
	enum pricing_status status;
	struct price_match match;
	const char *rule;               /* static text: which rule matched, or why unpriced */
	enum service_tier service_tier; /* the one charged: standard when the record has no prices for the reported one */
	struct money cost;              /* 0 when unpriced: look at status */
	struct price_line lines[PRICE_LINES_MAX];
	size_t n_lines;
	char catalogue_version[17];
	bool own_price; /* the user's override was used */
};

/* The service tier a reported name stands for at this provider (the record's: azure sells openai's models), any case:
 * unknown names are standard; OpenAI's "fast" is priority; Anthropic's speed "fast" is TIER_FAST; Vertex's ON_DEMAND_FLEX and
 * ON_DEMAND_PRIORITY are flex and priority. Both may be NULL. */
enum service_tier price_service_tier(const char *provider_id, const char *reported);
const char *service_tier_name(enum service_tier t);

/* Replaces the prices that the set names: its base prices, then every long-context tier that the input of a call has crossed. */
void price_set_apply(const struct price_set *s, int64_t input_tokens, int64_t price[PRICE_CATEGORIES]);

/* The period in force at the instant, or NULL. */
const struct price_period *price_period_at(const struct price_record *r, int64_t at_us);

/* Finds, computes, explains. `overrides` are the user's own records in order (may be NULL/0): they are tried before the
 * catalogue with the provider and model names of the query; an override's provider must equal the found provider's id (or the
 * caller's lower-cased provider text if that is unknown).
 * ERR_OK with any status; ERR_NO_MEMORY; ERR_VALIDATION with *p naming contradictory counts; ERR_RANGE (named in *p) when the cost exceeds
 * MONEY_MAX_USD. *ret is filled only on ERR_OK. */
enum err price_event(const struct catalogue *c, const struct price_record *const *overrides, size_t n_overrides,
	const struct price_query *q, struct price_result *ret, struct problem *p);

/* Cost of usage on one record (for recommendations and estimates): as price_event with the record given; q's provider,
 * model and base_url are not looked at, ret->rule is "equals" or "no_price". */
enum err price_record_cost(const struct price_record *r, const struct price_query *q, struct price_result *ret,
	struct problem *p);

/* Compact text of the lines, kept with each event so that its number can be explained for ever:
 * "input:1000@30;output:500@60;web_searches:2@10" (quantity@price, in the line's own units; "unit.<name>:12.5@0.0001").
 * Returns the length; out needs PRICE_LINES_TEXT_MAX. */
#define PRICE_LINES_TEXT_MAX 2560
size_t price_lines_format(const struct price_line *lines, size_t n, char *out);
/* The inverse, costs recomputed exactly. ERR_SYNTAX. */
enum err price_lines_parse(const char *text, struct price_line lines[PRICE_LINES_MAX], size_t *ret_n);
/* "input", "cache_read", ...; the breakdown's `category` (also "web_searches", "requests", or the unit's name). */
const char *price_line_category(const struct price_line *l);
const char *price_category_name(enum price_category c);

#endif
