#ifndef LLMLAB_CORE_BUDGET_H
#define LLMLAB_CORE_BUDGET_H

#include <stdbool.h>
#include "llmlab/core/money.h"

/* Whether a limit holds. Pure and exact. */

/* spent + reserved + amount <= limit. A sum that does not fit 128 bits is beyond every limit. */
bool budget_admits(struct money limit, struct money spent, struct money reserved, struct money amount);

/* Whether spend has reached `threshold` per cent (1..1000) of the limit, inclusive. */
bool budget_reached(struct money spend, struct money limit, int threshold);

#endif
