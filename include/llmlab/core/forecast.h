#ifndef LLMLAB_CORE_FORECAST_H
#define LLMLAB_CORE_FORECAST_H

#include <stdbool.h>
#include <stddef.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/err.h"

/* What the coming days will cost, from the days that are over. Pure and deterministic: nothing is drawn at
 * random.
 *
 * Expected: a combination of four methods, weighted by the inverse of their squared errors over the same
 * history (Bates and Granger 1969; Clemen 1989 on why combinations win). "mean" is the mean of the last 28
 * days; "line" the straight line through the last 56 days, flattened ahead as in the smoothing; both with the
 * weekly pattern from 21 days on, shrunk as far as it may be chance. From 21 days on also "weekly", the mean
 * of the last four same weekdays (seasonal naive, averaged), and "smoothing", exponential smoothing with
 * damped trend and weekly season (Gardner and McKenzie 1985; Hyndman and Athanasopoulos, Forecasting:
 * Principles and Practice, 3rd ed., 8.3).
 *
 * Intervals: the combination is replayed from every day of the history, and its errors, as parts of the daily
 * spend before it, are summed over 1, 2, ... K days. Their mean squares grow with the number of days k as a x
 * k (days that err by themselves) + b x k^2 (a level that is not known or moves), fitted by least squares; so
 * errors that hang together widen long sums as much as they did in the past. The shape is that of the errors
 * themselves, blended with the normal distribution while there are few, and widened as Student's t does for
 * the uncertainty of a scale that was estimated from few blocks of days.
 *
 * All amounts are USD in double: statistics, never money. */

/* Days with history, counted from the first with any spend, from which intervals are given, and from which
 * weeks count. */
#define FORECAST_DAYS_MIN	 7
#define FORECAST_WEEKLY_DAYS_MIN 21
/* Older days are not looked at: half a year. */
#define FORECAST_DAYS_MAX 182
#define FORECAST_LEAD_MAX 366

struct forecast_history {
	const double *days; /* cost of each whole day, oldest first; finite, 0 or more */
	size_t n_days;
	double today_left; /* the part of today's spend that is still to come, 0..1 */
};

enum forecast_method { FORECAST_NONE, FORECAST_MEAN, FORECAST_COMBINATION };
/* "none" ..., static. */
const char *forecast_method_name(enum forecast_method m);

#define FORECAST_SHAPE_POINTS 64
#define FORECAST_METHODS      4
/* What was learned from a history. The members are read by the functions below only, but for n_days and
 * method. */
struct forecast {
	size_t n_days; /* from the first day with spend on; at most FORECAST_DAYS_MAX */
	enum forecast_method method;
	double today_left;
	double weights[FORECAST_METHODS];
	double mean;		      /* of the last four weeks */
	double unit;		      /* what the spreads below are parts of: a day's usual spend, USD */
	double line, slope;	      /* the straight line: at the first day ahead, and by day */
	double level, trend, damping; /* of the smoothing */
	double season[7], weekly[7], shares[7]; /* by lead % 7 */
	double day_spread[7];	    /* by lead % 7: how much wider than usual a day of that weekday errs */
	double sum_own, sum_common; /* a and b above */
	double day_own, day_growth; /* mean square error of one day: own + growth x lead */
	double sum_shape[FORECAST_SHAPE_POINTS],
		day_shape[FORECAST_SHAPE_POINTS]; /* quantiles of unit spread */
	double shape_weight;			  /* of the two, 0..1 */
	double longest;				  /* days in the longest sums that were replayed */
	double n_errors;			  /* days that errors are known of */
};

struct forecast_interval {
	double expected;
	double lower_80, upper_80, lower_95,
		upper_95; /* equal to expected where there is too little history */
};

/* Learns from a history; leading days without spend do not count. ERR_RANGE: not a number, or negative.
 * ERR_NO_MEMORY. The arena is for the work only. */
enum err forecast_fit(const struct forecast_history *h, struct arena *arena, struct forecast *ret);
/* False where there is too little history for intervals and probabilities. */
bool forecast_has_intervals(const struct forecast *f);
/* What the day `lead` days after today costs (0: what is still to come of today). lead up to
 * FORECAST_LEAD_MAX. */
double forecast_day(const struct forecast *f, size_t lead);
void forecast_day_interval(const struct forecast *f, size_t lead, struct forecast_interval *ret);
/* What the days from now to the end of the day n_days - 1 days after today cost together: 1 is today only. */
void forecast_sum_interval(const struct forecast *f, size_t n_days, struct forecast_interval *ret);
/* The probability that they cost that much or more: between 0.001 and 0.999 unless the bound is 0 or less.
 */
double forecast_probability(const struct forecast *f, size_t n_days, double bound);

/* The part of a day's spend that usually falls into its first hours: before[i] of whole[i] USD on each of the
 * n last days, and the part of the day's time that has passed, which counts as three days more of even spend.
 * 0..1. */
double forecast_share(const double *before, const double *whole, size_t n, double time_passed);

/* How good a forecast was: mean absolute error over that of the seasonal naive method within the history
 * (MASE; Hyndman and Koehler 2006). False where the latter is 0 or unknown. */
bool forecast_scale(const double *days, size_t n_days, double *ret);

/* How forecasts made in the past turned out: for every `every`-th day of a history as if it were today, the
 * next `horizon` days were forecast from those before and compared with what came. */
struct forecast_trials {
	size_t n;	     /* forecasts with intervals */
	size_t in_80, in_95; /* of these, sums that lay within */
	size_t n_scaled;     /* forecasts whose error can be scaled */
	double mase;	     /* sum over these: mean absolute error of a day over forecast_scale() */
	double naive;	     /* the same of the seasonal naive method (the same day of the week before) */
};
/* Adds to *trials. ERR_RANGE, ERR_NO_MEMORY as forecast_fit(); also without horizon or every. */
enum err forecast_try(const double *days, size_t n_days, size_t horizon, size_t every, struct arena *arena,
	struct forecast_trials *trials);

#endif
