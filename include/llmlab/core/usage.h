#ifndef LLMLAB_CORE_USAGE_H
#define LLMLAB_CORE_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/decimal.h"
#include "llmlab/base/problem.h"

/* What one call used, in normalised inclusive counts (usage_counts.def) and units (usage_units.def). */

enum usage_count {
#define COUNT(name, parent, parent2, category) USAGE_##name,
#include "llmlab/core/usage_counts.def"
#undef COUNT
	USAGE_COUNTS,
	USAGE_NONE = -1
};

enum usage_unit {
#define UNIT(name) UNIT_##name,
#include "llmlab/core/usage_units.def"
#undef UNIT
	USAGE_UNITS
};

/* Unit quantities are decimals: seconds have at most 6 fraction digits (12.5), what is counted (images, pages) none. */
#define UNIT_SCALE 6
#define UNIT_QUANTITY_MAX 1000000000000000LL /* x 10^-UNIT_SCALE */
#define USAGE_SEARCHES_MAX 1000000000LL
/* No single count may exceed this; sums of two never overflow. */
#define USAGE_TOKENS_MAX 1000000000000LL

struct usage {
	int64_t counts[USAGE_COUNTS];  /* tokens, each 0..USAGE_TOKENS_MAX */
	int64_t web_searches;          /* 0..10^9 */
	int64_t units[USAGE_UNITS];    /* x 10^-UNIT_SCALE, 0..10^15 */
	bool has_counts;               /* tokens were reported at all (else only units or a cost) */
};

/* Field name in the contract ("cache_read_tokens"), static. */
const char *usage_count_name(enum usage_count c);
/* What the count is a part of: its first (which 0) or second (which 1) parent, USAGE_NONE when there is none. */
enum usage_count usage_count_parent(enum usage_count c, int which);
const char *usage_unit_name(enum usage_unit u);
/* USAGE_UNITS if there is no such unit. */
enum usage_unit usage_unit_find(const char *name);
/* True for units measured in fractions (seconds), false for those counted in whole ones. */
bool usage_unit_fractional(enum usage_unit u);
/* input_tokens + output_tokens. */
int64_t usage_total(const struct usage *u);
/* Names every contradiction in *p (a count out of bounds; a fraction of a page; a part larger than its whole; parts of one whole that add up to more than it where they
 * are disjoint: cache_read + cache_write > input; cached audio beyond either parent ...), e.g. field "cache_read_tokens", message "exceeds
 * input_tokens (1200 > 1000)". Never clamps. Returns ERR_OK or ERR_VALIDATION. */
enum err usage_check(const struct usage *u, struct problem *p);

#endif
