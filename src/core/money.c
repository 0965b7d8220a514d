/* What of money does not fit a line: averages. How amounts come about is core/cost.h's. */

#include "llmlab/core/money.h"

#include "llmlab/base/check.h"

int128 money_average(struct money total, int64_t n)
{
	CHECK(n >= 0 && total.atto >= 0);
	if (n == 0)
		return 0;
	const int128 divisor = (int128)n * decimal_pow10(MONEY_SCALE - MONEY_AVERAGE_SCALE);
	const int128 quotient = total.atto / divisor;
	const int128 rest = total.atto % divisor;
	const int128 other = divisor - rest; /* compared instead of 2 x rest, which might not fit */
	const bool up = rest > other || (rest == other && quotient % 2 == 1);
	return quotient + (up ? 1 : 0);
}
