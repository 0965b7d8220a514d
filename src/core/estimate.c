/* Exact amounts as doubles for statistics, and estimates as decimals. What is estimated, and from what, is
 * decided by core/anomaly.h, core/forecast.h and their callers. */

#include "llmlab/core/estimate.h"

#include "llmlab/base/check.h"

/* The largest power of ten that a double holds exactly. */
#define EXACT_SCALE_MAX 22

double decimal_as_double(int128 value, int scale)
{
	CHECK(scale >= 0 && scale <= EXACT_SCALE_MAX);
	return (double)value / (double)decimal_pow10(scale);
}

double money_as_double(struct money m)
{
	return decimal_as_double(m.atto, MONEY_SCALE);
}

double money_ratio(struct money part, struct money whole)
{
	CHECK(whole.atto != 0);
	return (double)part.atto / (double)whole.atto;
}

bool money_of_estimate(double usd, struct money *ret)
{
	/* A NaN compares as false. */
	if (!(usd >= 0 && usd < ESTIMATE_MAX_USD))
		return false;
	/* Below 10^26, and x 10^12 below 10^38: both fit 128 bits. */
	const int128 scaled = (int128)(usd * (double)decimal_pow10(ESTIMATE_SCALE) + 0.5);
	ret->atto = scaled * decimal_pow10(MONEY_SCALE - ESTIMATE_SCALE);
	return true;
}
