/* Whether a budget's limit holds. What was spent and reserved, and in which period, is the callers'
 * knowledge. */
#include "llmlab/core/budget.h"
#include "llmlab/base/check.h"

bool budget_admits(struct money limit, struct money spent, struct money reserved, struct money amount)
{
	struct money sum;
	return money_add(spent, reserved, &sum) && money_add(sum, amount, &sum) &&
	       money_compare(sum, limit) <= 0;
}

bool budget_reached(struct money spend, struct money limit, int threshold)
{
	CHECK(limit.atto > 0 && threshold > 0);
	/* A limit is at most 10^30 atto-USD, so its product fits; a spend whose product does not is beyond
	 * all of them. */
	int128 scaled;
	return !decimal_mul(spend.atto, 100, &scaled) || scaled >= limit.atto * threshold;
}
