#ifndef LLMLAB_CORE_MONEY_H
#define LLMLAB_CORE_MONEY_H

#include <stdbool.h>
#include <stdint.h>
#include "llmlab/base/decimal.h"

/* An exact amount of USD in atto-USD (10^-18). A price per million tokens has at most 9 decimals, so tokens x price x
 * factor is a whole number of atto-USD and nothing is ever rounded. A struct, so that money can't be mixed with counts. */
struct money {
	int128 atto;
};

#define MONEY_SCALE 18
/* The most one amount may be: 10^12 USD, as the database's constraints say. Sums may be larger (up to 10^20 USD). */
#define MONEY_MAX_USD 1000000000000LL

static inline struct money money_zero(void)
{
	return (struct money){0};
}

/* False when the sum does not fit 128 bits; *ret untouched. */
static inline bool money_add(struct money a, struct money b, struct money *ret)
{
	int128 sum;
	if (__builtin_add_overflow(a.atto, b.atto, &sum))
		return false;
	ret->atto = sum;
	return true;
}

static inline int money_compare(struct money a, struct money b)
{
	return (a.atto > b.atto) - (a.atto < b.atto);
}

/* What one of n calls costs on average: x 10^-MONEY_AVERAGE_SCALE USD, rounded half to even, because it cannot always be
 * exact. An average is shown and never added up. 0 for no calls; total is 0 or more. */
#define MONEY_AVERAGE_SCALE 12
int128 money_average(struct money total, int64_t n);

#endif
