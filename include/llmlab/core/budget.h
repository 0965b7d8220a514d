#ifndef LLMLAB_CORE_BUDGET_H
#define LLMLAB_CORE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>
#include "llmlab/core/money.h"

/* Whether a budget's limit holds, and what limit and spend say. Pure and exact. */

/* spent + reserved + amount <= limit. A sum that does not fit 128 bits is beyond every limit. */
bool budget_admits(struct money limit, struct money spent, struct money reserved, struct money amount);

/* Whether spend has reached `threshold` per cent (1..1000) of the limit, inclusive. */
bool budget_reached(struct money spend, struct money limit, int threshold);

/* ---- what is shown of a budget; limit is more than 0 ---- */

/* "ok", "warning" (from 80 per cent), "exceeded" (from 100 per cent), both inclusive. Static. */
const char *budget_status(struct money spend, struct money limit);

/* spend / limit in per cent, x 10^-BUDGET_PERCENT_SCALE, cut and not rounded, so that 99.999 never shows as
 * 100. */
#define BUDGET_PERCENT_SCALE 2
int128 budget_percentage(struct money spend, struct money limit);

/* What the whole period costs if it goes on as it began: spend / elapsed part of the period, x 10^-
 * BUDGET_PROJECTION_SCALE USD, cut: an estimate. Both times are more than 0. False when it does not fit. */
#define BUDGET_PROJECTION_SCALE 6
bool budget_projection(struct money spend, int64_t elapsed_us, int64_t length_us, int128 *ret);

#endif
