/* The figures of a budget. Where spend and periods come from is budgets.c's part. */
#include "llmlab/api/budget_figures.h"
#include "llmlab/base/check.h"

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
