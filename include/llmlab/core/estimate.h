#ifndef LLMLAB_CORE_ESTIMATE_H
#define LLMLAB_CORE_ESTIMATE_H

#include <stdbool.h>
#include "llmlab/core/money.h"

/* Between exact amounts and the doubles of statistics: the only place where one becomes the other
 * (tests/lint). What comes out of statistics is an estimate. It has ESTIMATE_SCALE decimals, is shown as what
 * it is, and is never stored in a sum. Pure. */

#define ESTIMATE_SCALE 6
/* More than any sum is (core/money.h). */
#define ESTIMATE_MAX_USD 1e20

/* value x 10^-scale, the nearest double to about one part in 10^15. scale 0..22. */
double decimal_as_double(int128 value, int scale);

/* USD, as decimal_as_double(). */
double money_as_double(struct money m);

/* part / whole. whole is not 0. */
double money_ratio(struct money part, struct money whole);

/* An estimate of USD, rounded half up to ESTIMATE_SCALE decimals. False when it is not a number, negative, or
 * ESTIMATE_MAX_USD or more; *ret untouched. */
bool money_of_estimate(double usd, struct money *ret);

#endif
