/* Whether a budget's limit holds, and the figures that are shown of it. What was spent and reserved, and in
 * which period, is the callers' knowledge. */
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

const char *budget_status(struct money spend, struct money limit)
{
	CHECK(limit.atto > 0);
	if (spend.atto >= limit.atto)
		return "exceeded";
	/* Below the limit, so both products fit: a limit is at most 10^30 atto-USD. */
	return spend.atto * 5 >= limit.atto * 4 ? "warning" : "ok";
}

int128 budget_percentage(struct money spend, struct money limit)
{
	CHECK(limit.atto > 0);
	const int128 unit = 100 * decimal_pow10(BUDGET_PERCENT_SCALE);
	int128 scaled;
	if (decimal_mul(spend.atto, unit, &scaled))
		return scaled / limit.atto;
	/* More than 10^16 USD: whole multiples of the limit are fine enough. */
	const int128 times = spend.atto / limit.atto;
	return decimal_mul(times, unit, &scaled) ? scaled : times;
}

bool budget_projection(struct money spend, int64_t elapsed_us, int64_t length_us, int128 *ret)
{
	CHECK(elapsed_us > 0 && length_us > 0);
	const int128 scaled = spend.atto / decimal_pow10(MONEY_SCALE - BUDGET_PROJECTION_SCALE);
	int128 product;
	if (!decimal_mul(scaled, length_us, &product))
		return false;
	*ret = product / elapsed_us;
	return true;
}
