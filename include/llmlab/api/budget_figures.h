#ifndef LLMLAB_API_BUDGET_FIGURES_H
#define LLMLAB_API_BUDGET_FIGURES_H

#include <stdbool.h>
#include "llmlab/core/money.h"

/* What a budget's limit and spend say. Pure and exact. limit is more than 0. */

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
