#ifndef LLMLAB_CORE_ANOMALY_H
#define LLMLAB_CORE_ANOMALY_H

#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/err.h"
#include "llmlab/core/money.h"

/* Days that cost unusually much. Pure, deterministic and explainable: robust statistics over the user's own
 * past, no training.
 *
 * A day is compared with the 28 days before it (at least 7, counted from the first day with any cost).
 * Expected is their median; where three or more of them are the same day of the week, and the median of those
 * is higher, it is that one (so a busy Monday is not unusual). Deviation is the median absolute deviation
 * from the median (MAD), but at least a tenth of what is expected (a perfectly steady past does not make a
 * cent unusual). The score is the modified z-score of Iglewicz and Hoaglin (1993), 0.6745 x (cost - expected)
 * / deviation; their threshold is 3.5. Only too much is unusual, and only from a minimum amount of money on.
 *
 * Something used now and then (median 0) is compared with the days on which it was used, if there are 7 of
 * them.
 *
 * A step to a new level is told once: days after an unusual day are compared with the level of the unusual
 * days, too, and told again only if they stand out from that. The step ends when a day is back in the
 * expected range; days below it (a weekend) neither end nor extend it. After some two weeks the new level is
 * the expected one by itself.
 *
 * Today's incomplete day may be the last one of a series: it is told only if it is too much already, and
 * nothing is compared with it. Money stays exact; only the score is a binary double. A median of an even
 * number of days is the mean of the middle two, cut to a whole atto-USD. */

struct anomaly_series {
	const char *dimension;	  /* "all", "provider", "model" */
	const char *provider;	  /* NULL for "all" */
	const char *model;	  /* NULL but for "model" */
	const struct money *days; /* cost of each day, 0 or more, all of the same n_days days */
};

struct anomaly_input {
	const struct anomaly_series *series;
	size_t n_series;
	size_t n_days;
	int32_t first_day;    /* the civil day of days[0], days since 1970: weekdays and ids follow from it */
	int32_t report_from;  /* days before this one are history only */
	double threshold;     /* score from which a day is unusual: 0.1 .. 1000 */
	struct money minimum; /* least cost - expected that is worth telling */
};

#define ANOMALY_THRESHOLD_DEFAULT    3.5
#define ANOMALY_MINIMUM_DEFAULT_ATTO 100000000000000000LL /* 0.10 USD */

/* By score, as multiples of what 3.5 means: below 5, below 10, below 20, and more. */
enum anomaly_severity { ANOMALY_LOW, ANOMALY_MEDIUM, ANOMALY_HIGH, ANOMALY_CRITICAL };
/* "low" ..., static. */
const char *anomaly_severity_name(enum anomaly_severity s);

struct anomaly_cause {
	const char *dimension;	   /* "provider" or "model"; static */
	const char *provider;	   /* as in the series */
	const char *model;	   /* NULL for a provider */
	struct money contribution; /* its cost above what was expected of it; more than 0 */
};
#define ANOMALY_CAUSES_MAX 3

#define ANOMALY_ID_SIZE 17
struct anomaly {
	char id[ANOMALY_ID_SIZE]; /* 16 hex digits, the same for the same day and series every time */
	size_t series;		  /* index in the input */
	int32_t day;		  /* days since 1970 */
	struct money cost, expected;
	struct money lower, upper; /* expected range; a cost above upper is unusual */
	double score;
	enum anomaly_severity severity;
	struct anomaly_cause
		causes[ANOMALY_CAUSES_MAX]; /* series one level below, largest contribution first */
	size_t n_causes;
};

/* Newest day first, then the largest cost above expected. *ret is in the arena. ERR_NO_MEMORY; ERR_RANGE:
 * threshold out of bounds or a negative cost. */
enum err anomaly_find(
	const struct anomaly_input *in, struct arena *arena, struct anomaly **ret, size_t *ret_n);

#endif
