#ifndef LLMLAB_CORE_CATALOGUE_H
#define LLMLAB_CORE_CATALOGUE_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/arena.h"
#include "llmlab/core/money.h"
#include "llmlab/core/usage.h"

/* The price catalogue as plain, immutable data. Building it from files is the providers layer's work
 * (providers/catalogue_load.h); finding and computing are pure (core/price.h, core/cost.h). Everything lives in the
 * catalogue's own arena. */

enum price_category {
#define COUNT(name, parent, parent2, category) CATEGORY_##category,
#include "llmlab/core/usage_counts.def"
#undef COUNT
	PRICE_CATEGORIES
};

/* Prices per 1,000,000 tokens in pico-USD x 1000 = 10^-9 USD per million: 9 decimals exactly. Below 0: no price. */
#define PRICE_SCALE 9
#define PRICE_NONE  (-1)
#define PRICE_MAX_USD 1000000 /* per million tokens */

struct price_tier {
	int64_t above_input_tokens; /* applies when input_tokens is strictly more; the base tier has -1 */
	int64_t per_million[PRICE_CATEGORIES]; /* x 10^-9 USD, PRICE_NONE: keeps the lower tier's */
};

/* Prices for one way of processing: base (tiers[0], above_input_tokens -1) and the long-context cliffs, ascending. */
struct price_set {
	const struct price_tier *tiers;
	size_t n_tiers;
};

/* Web-search fees that depend on how much context a search takes in (perplexity, some openai models). */
enum search_size { SEARCH_LOW, SEARCH_MEDIUM, SEARCH_HIGH, SEARCH_SIZES };

struct price_window {
	uint32_t from_second, to_second; /* of the UTC day; from inclusive, to exclusive; from > to wraps over midnight */
	uint8_t days;                    /* bit 0 = Monday .. bit 6 = Sunday, by the UTC date of the instant */
	struct price_set prices;         /* replaces the period's, per category */
};

enum service_tier { TIER_STANDARD, TIER_BATCH, TIER_FLEX, TIER_PRIORITY, TIER_FAST, SERVICE_TIERS };

struct price_period {
	int64_t from_us, to_us; /* from inclusive, to exclusive; INT64_MIN / INT64_MAX when open */
	struct price_set standard;
	struct price_set service[SERVICE_TIERS]; /* n_tiers 0: the tier has no prices of its own */
	const struct price_window *windows;
	size_t n_windows;
	int64_t requests_per_thousand;     /* x 10^-9 USD per 1,000 calls, PRICE_NONE */
	int64_t web_searches_per_thousand; /* x 10^-9 USD per 1,000 searches, PRICE_NONE */
};

enum match_kind { MATCH_EQUALS, MATCH_PREFIX, MATCH_SUFFIX, MATCH_CONTAINS, MATCH_REGEX, MATCH_ALL, MATCH_ANY };
struct match_rule {
	enum match_kind kind;
	const char *text;                 /* lower case; the pattern for MATCH_REGEX; NULL for ALL and ANY */
	regex_t *regex;                   /* compiled, POSIX extended; MATCH_REGEX only */
	const struct match_rule *rules;   /* MATCH_ALL / MATCH_ANY */
	size_t n_rules;
};

struct price_multiplier {
	const char *setting; /* "inference_geo" or "data_residency"; the same for all multipliers of a record */
	const char *value;   /* "us" */
	int64_t factor;      /* x 10^-PRICE_FACTOR_SCALE */
};
#define PRICE_FACTOR_SCALE 3

struct model_retirement {
	const char *model;    /* exact name, lower case */
	int32_t retires_day;  /* days since 1970 */
};

struct price_record {
	const char *provider; /* canonical id */
	const char *model;    /* canonical model id; <provider>/<model> is the record's name */
	const char *name;     /* display name or NULL */
	const char *line;     /* product line or NULL */
	const char *class_;   /* flagship, mid, small, embedding ... or NULL */
	const char *kind;     /* chat, embedding ... or NULL */
	int64_t context_window, max_input_tokens, max_output_tokens; /* 0: not known */
	bool deprecated;
	const struct match_rule *match; /* any of them */
	size_t n_match;
	const struct price_period *periods; /* in time order, not overlapping */
	size_t n_periods;
	const struct price_multiplier *multipliers;
	size_t n_multipliers;
	/* x 10^-9 USD by search size, PRICE_NONE: does not depend on it. They stand for the period's `requests` fee where
	 * there is one (per 1,000 calls), else for its `web_searches` fee (per 1,000 searches). */
	int64_t search_per_thousand[SEARCH_SIZES];
	/* x 10^-UNIT_PRICE_SCALE USD per single unit, PRICE_NONE. For units with fraction digits (seconds) a multiple of
	 * 10^UNIT_SCALE, so that quantity x price is always a whole number of atto-USD. */
	int128 per_unit[USAGE_UNITS];
	const struct model_retirement *retirements;
	size_t n_retirements;
	bool embedded; /* from the binary, not from the operator's file */
};
#define UNIT_PRICE_SCALE 18
#define UNIT_PRICE_MAX_USD 1000000 /* per single unit */

struct usage_format; /* providers/format.h, private to the providers layer */
struct price_index;  /* core/match.h */
struct price_memo;   /* core/memo.h */
struct compiled_regex; /* private to the providers layer */

struct provider {
	const char *id;
	const char *name;
	const char *const *aliases; /* lower case */
	size_t n_aliases;
	const struct match_rule *id_rules, *model_rules;
	size_t n_id_rules, n_model_rules;
	const char *url_pattern; /* NULL: none */
	regex_t *url_regex;
	const char *const *fallback; /* provider ids */
	size_t n_fallback;
	const char *const *strip_prefixes;
	size_t n_strip_prefixes;
	const struct price_record *records; /* file order: the first that matches wins */
	size_t n_records;
	const struct price_index *index;    /* over records; finds the same one as a scan in file order, faster */
	const struct usage_format *formats; /* the body kinds this provider sends, in the order of detection */
	size_t n_formats;
};

struct catalogue {
	struct arena arena;
	char version[17]; /* 16 hex digits of a hash over the sources' bytes */
	const struct provider *providers;
	size_t n_providers;
	struct compiled_regex *regexes; /* every expression in here, freed with it */
	struct price_memo *memo; /* what was asked before; bounded, locks itself. NULL: none */
	size_t readers;          /* with the next: providers/catalogue_ref.c's, under its lock */
	struct catalogue *older;
};

/* The most own prices that one user may have. */
#define OWN_PRICES_PER_USER_MAX 200

#endif
