/* Forecasts of daily spend: three methods, their combination, and how far it was off in the past. Which days
 * are looked at, and what is certain already, is decided above. */

#include "llmlab/core/forecast.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/base/check.h"

#define MEAN_DAYS     28
#define WEEKLY_WEEKS  4
#define LINE_DAYS     56
#define LINE_DAMPING  0.98
#define UNIT_LEAST    0.3 /* of the mean: spreads are not parts of next to nothing */
#define WARM_UP_DAYS  14  /* of the smoothing: its level and season begin with them */
#define ORIGIN_MIN    3	  /* days before the first forecast of the replay where weeks do not count */
#define REPLAY_MAX    45  /* days ahead in the replay */
#define WEIGHT_DAYS   7	  /* the methods are weighed by their errors of so many days */
#define SHAPE_SAMPLES 4	  /* lengths of sums whose errors make the shape */
/* A past without any error still leaves the future open: a hundredth of a day's spend. */
#define SPREAD_LEAST 0.01

enum { METHOD_MEAN, METHOD_LINE, METHOD_WEEKLY, METHOD_SMOOTHING };

const char *forecast_method_name(enum forecast_method m)
{
	static const char *const NAMES[] = {"none", "mean", "combination"};
	CHECK((size_t)m < sizeof NAMES / sizeof NAMES[0]);
	return NAMES[m];
}

static double square(double x)
{
	return x * x;
}

static int compare_doubles(const void *a, const void *b)
{
	const double *const x = a, *const y = b;
	return (*x > *y) - (*x < *y);
}

/* ---- exponential smoothing with damped trend and weekly season ---- */

struct smoothing {
	double alpha, beta, gamma, damping;
	double level, trend, season[7]; /* season by day index % 7 */
};

static void smoothing_begin(struct smoothing *s, const double *days)
{
	double sum = 0;
	for (size_t i = 0; i < WARM_UP_DAYS; i++)
		sum += days[i];
	s->level = sum / WARM_UP_DAYS;
	s->trend = 0;
	for (size_t i = 0; i < 7; i++)
		s->season[i] = (days[i] + days[i + 7]) / 2 - s->level;
}

static double smoothing_ahead(const struct smoothing *s, size_t day)
{
	return s->level + s->damping * s->trend + s->season[day % 7];
}

/* Takes in the cost of a day; returns how far the forecast was off. */
static double smoothing_step(struct smoothing *s, size_t day, double came)
{
	const double error = came - smoothing_ahead(s, day);
	const double trend = s->damping * s->trend;
	s->level += trend + s->alpha * error;
	s->trend = trend + s->alpha * s->beta * error;
	s->season[day % 7] += s->gamma * (1 - s->alpha) * error;
	return error;
}

static double smoothing_error(struct smoothing s, const double *days, size_t n)
{
	double sum = 0;
	smoothing_begin(&s, days);
	for (size_t i = WARM_UP_DAYS; i < n; i++)
		sum += square(smoothing_step(&s, i, days[i]));
	return sum;
}

/* The constants that would have erred least. n is more than WARM_UP_DAYS. */
static struct smoothing smoothing_choose(const double *days, size_t n)
{
	static const double ALPHA[] = {0.02, 0.05, 0.1, 0.2, 0.35, 0.5}, BETA[] = {0, 0.05, 0.15},
			    GAMMA[] = {0.02, 0.1, 0.25}, DAMPING[] = {0.9, 0.98};
	struct smoothing best = {.damping = DAMPING[0]};
	double least = INFINITY;
	for (size_t i = 0; i < 6 * 3 * 3 * 2; i++) {
		const struct smoothing s = {.alpha = ALPHA[i / 18],
			.beta = BETA[i / 6 % 3],
			.gamma = GAMMA[i / 2 % 3],
			.damping = DAMPING[i % 2]};
		const double error = smoothing_error(s, days, n);
		if (error < least) {
			least = error;
			best = s;
		}
	}
	return best;
}

/* ---- the replay ---- */

/* What each method says from each origin for each lead, and what came. */
struct replay {
	const double *days;
	size_t n, first_origin, n_ahead; /* origins first_origin .. n - 1; leads 0 .. n_ahead - 1 */
	bool weeks;
	double *said[FORECAST_METHODS]; /* [(origin - first_origin) x n_ahead + lead] */
	double *error; /* of the combination, the same way; summed from lead 0 on; parts of unit */
	double mean;   /* of all days */
};

static double at_least_zero(double x)
{
	return x > 0 ? x : 0;
}

static double mean_before(const double *days, size_t origin)
{
	const size_t begin = origin > MEAN_DAYS ? origin - MEAN_DAYS : 0;
	double sum = 0;
	for (size_t i = begin; i < origin; i++)
		sum += days[i];
	return sum / (double)(origin - begin);
}

/* The mean of the last same weekdays before the origin. origin is 7 or more. */
static double weekly_before(const double *days, size_t origin, size_t lead)
{
	size_t back = 7 - lead % 7;
	double sum = 0;
	int n = 0;
	for (; n < WEEKLY_WEEKS && back <= origin; back += 7) {
		sum += days[origin - back];
		n++;
	}
	return sum / n;
}

struct trend {
	double at, slope; /* at the origin, by day */
};

/* The straight line through the last days before the origin, by least squares. */
static struct trend trend_before(const double *days, size_t origin)
{
	const size_t n = origin < LINE_DAYS ? origin : LINE_DAYS;
	const double middle = ((double)n - 1) / 2;
	double sum = 0, sum_x = 0;
	for (size_t i = 0; i < n; i++) {
		const double y = days[origin - n + i];
		sum += y;
		sum_x += ((double)i - middle) * y;
	}
	const double squares = (double)n * ((double)n * (double)n - 1) / 12;
	const double slope = squares > 0 ? sum_x / squares : 0;
	return (struct trend){sum / (double)n + slope * ((double)n - middle), slope};
}

/* damping + damping^2 + ... + damping^(lead + 1), damping below 1. */
static double damped_sum(double damping, size_t lead)
{
	return damping * (1 - pow(damping, (double)(lead + 1))) / (1 - damping);
}

/* What a day of each weekday has beyond the mean of a week, by lead: 0 where weeks do not count, and shrunk
 * as far as it may be chance (the positive part of James and Stein 1961). origin is WARM_UP_DAYS or more
 * where weeks count. */
static void weekday_shares(const struct replay *r, size_t origin, double shares[7])
{
	memset(shares, 0, 7 * sizeof shares[0]);
	if (!r->weeks)
		return;
	const size_t n_weeks = origin / 7 < WEEKLY_WEEKS ? origin / 7 : WEEKLY_WEEKS;
	double weekdays[7], mean = 0, between = 0, within = 0;
	for (size_t i = 0; i < 7; i++) {
		weekdays[i] = weekly_before(r->days, origin, i);
		mean += weekdays[i] / 7;
	}
	for (size_t i = 0; i < 7; i++) {
		between += square(weekdays[i] - mean) / 6;
		for (size_t week = 1; week <= n_weeks; week++)
			within += square(r->days[origin + i - 7 * week] - weekdays[i]);
	}
	const double chance = within / (double)(7 * (n_weeks - 1) * n_weeks);
	const double sure = between > chance ? 1 - chance / between : 0;
	for (size_t i = 0; i < 7; i++)
		shares[i] = sure * (weekdays[i] - mean);
}

static double smoothing_lead(const struct smoothing *s, size_t origin, size_t lead, double *damped)
{
	*damped += pow(s->damping, (double)(lead + 1));
	return at_least_zero(s->level + *damped * s->trend + s->season[(origin + lead) % 7]);
}

static void replay_say(struct replay *r, const struct smoothing *s, size_t origin)
{
	const size_t row = (origin - r->first_origin) * r->n_ahead;
	const double mean = mean_before(r->days, origin);
	const struct trend trend = trend_before(r->days, origin);
	double shares[7], damped = 0;
	weekday_shares(r, origin, shares);
	for (size_t lead = 0; lead < r->n_ahead; lead++) {
		r->said[METHOD_MEAN][row + lead] = at_least_zero(mean + shares[lead % 7]);
		r->said[METHOD_LINE][row + lead] = at_least_zero(
			trend.at + damped_sum(LINE_DAMPING, lead) * trend.slope + shares[lead % 7]);
		if (!r->weeks)
			continue;
		r->said[METHOD_WEEKLY][row + lead] = weekly_before(r->days, origin, lead);
		r->said[METHOD_SMOOTHING][row + lead] = smoothing_lead(s, origin, lead, &damped);
	}
}

/* False without memory. Leaves *s as it is after the last day. */
static bool replay_run(struct replay *r, struct smoothing *s, struct arena *arena)
{
	const size_t cells = (r->n - r->first_origin) * r->n_ahead;
	for (size_t m = 0; m < FORECAST_METHODS; m++)
		r->said[m] = arena_array(arena, cells, sizeof *r->said[m]);
	r->error = arena_array(arena, cells, sizeof *r->error);
	if (arena_overflowed(arena))
		return false;
	if (r->weeks) {
		*s = smoothing_choose(r->days, r->n);
		smoothing_begin(s, r->days);
	}
	for (size_t origin = r->first_origin; origin < r->n; origin++) {
		replay_say(r, s, origin);
		if (r->weeks)
			(void)smoothing_step(s, origin, r->days[origin]);
	}
	return true;
}

/* The origins from which k days ahead are known. */
static size_t origins_of(const struct replay *r, size_t k)
{
	return r->n - r->first_origin - k + 1;
}

/* What is taken for a usual day's spend at an origin. */
static double unit_at(const struct replay *r, size_t origin)
{
	const double mean = mean_before(r->days, origin);
	return fmax(mean, UNIT_LEAST * r->mean);
}

/* Mean square error of sums of k days, by day, and of single days: sums alone would not see a weekly pattern.
 */
static double method_error(const struct replay *r, size_t method, size_t k)
{
	double sums = 0, days = 0;
	for (size_t o = 0; o < origins_of(r, k); o++) {
		const double unit = unit_at(r, r->first_origin + o);
		double sum = 0;
		for (size_t lead = 0; lead < k; lead++) {
			const double off =
				r->days[r->first_origin + o + lead] - r->said[method][o * r->n_ahead + lead];
			sum += off;
			days += square(off / unit);
		}
		sums += square(sum / unit);
	}
	return (sums + days) / (double)(k * origins_of(r, k));
}

static void weigh(const struct replay *r, double weights[FORECAST_METHODS])
{
	const size_t n = r->weeks ? FORECAST_METHODS : METHOD_LINE + 1;
	const size_t k = r->n_ahead < WEIGHT_DAYS ? r->n_ahead : WEIGHT_DAYS;
	double errors[FORECAST_METHODS] = {0}, sum = 0, largest = 0;
	for (size_t m = 0; m < n; m++) {
		errors[m] = method_error(r, m, k);
		largest = errors[m] > largest ? errors[m] : largest;
	}
	for (size_t m = 0; m < n; m++) {
		/* A method that was never off does not silence the others. */
		weights[m] = largest > 0 ? 1 / (errors[m] + largest / 100) : 1;
		sum += weights[m];
	}
	for (size_t m = 0; m < n; m++)
		weights[m] /= sum;
}

/* Errors of the combination, summed over the leads. Those of days that have not come are not set. */
static void combine(const struct replay *r, const double weights[FORECAST_METHODS])
{
	for (size_t o = 0; o < r->n - r->first_origin; o++) {
		const double unit = unit_at(r, r->first_origin + o);
		double off = 0;
		for (size_t lead = 0; lead < r->n_ahead && r->first_origin + o + lead < r->n; lead++) {
			const size_t cell = o * r->n_ahead + lead;
			double said = 0;
			for (size_t m = 0; m < FORECAST_METHODS; m++)
				said += weights[m] * r->said[m][cell];
			off += (r->days[r->first_origin + o + lead] - said) / unit;
			r->error[cell] = off;
		}
	}
}

static double sum_error(const struct replay *r, size_t origin, size_t k)
{
	return r->error[origin * r->n_ahead + k - 1];
}

static double day_error(const struct replay *r, size_t origin, size_t lead)
{
	const size_t cell = origin * r->n_ahead + lead;
	return r->error[cell] - (lead > 0 ? r->error[cell - 1] : 0);
}

/* ---- how errors grow ---- */

/* y = p + q x, both 0 or more, by weighted least squares. */
struct line {
	double w, wx, wy, wxx, wxy;
};

static void line_add(struct line *l, double x, double y, double w)
{
	l->w += w;
	l->wx += w * x;
	l->wy += w * y;
	l->wxx += w * x * x;
	l->wxy += w * x * y;
}

static void line_fit(const struct line *l, double *p, double *q)
{
	const double determinant = l->w * l->wxx - l->wx * l->wx;
	*q = determinant > 1e-9 * l->w * l->wxx ? (l->w * l->wxy - l->wx * l->wy) / determinant : 0;
	*q = at_least_zero(*q);
	*p = l->w > 0 ? (l->wy - *q * l->wx) / l->w : 0;
	if (*p < 0) {
		*p = 0;
		*q = l->wxx > 0 ? l->wxy / l->wxx : 0;
	}
}

static void fit_growth(const struct replay *r, struct forecast *f)
{
	struct line sums = {0}, days = {0};
	for (size_t k = 1; k <= r->n_ahead; k++) {
		const size_t n = origins_of(r, k);
		double sum = 0, day = 0;
		for (size_t o = 0; o < n; o++) {
			sum += square(sum_error(r, o, k));
			day += square(day_error(r, o, k - 1));
		}
		const double x = (double)k, blocks = (double)n / x;
		line_add(&sums, x, sum / (double)n / x, blocks);
		line_add(&days, x, day / (double)n, (double)n);
	}
	f->longest = (double)r->n_ahead;
	line_fit(&sums, &f->sum_own, &f->sum_common);
	line_fit(&days, &f->day_own, &f->day_growth);
	/* The level is known from some four weeks at best: k days share the error of their level. */
	const double known = f->n_days < MEAN_DAYS ? (double)f->n_days : MEAN_DAYS;
	const double least = square(SPREAD_LEAST);
	f->sum_own = f->sum_own > least ? f->sum_own : least;
	f->day_own = f->day_own > least ? f->day_own : least;
	const double common = f->day_own / (2 * known);
	f->sum_common = f->sum_common > common ? f->sum_common : common;
}

/* Days of some weekdays err more than others: a quiet weekend does not need a weekday's interval. */
static void fit_day_spread(const struct replay *r, struct forecast *f)
{
	double sums[7] = {0}, counts[7] = {0}, all = 0, n = 0;
	for (size_t lead = 0; lead < r->n_ahead && lead < 7; lead++)
		for (size_t o = 0; o < origins_of(r, lead + 1); o++) {
			const double e = square(day_error(r, o, lead));
			/* by lead from the end of the history on */
			const size_t weekday = (r->first_origin + o + lead + 6 * r->n) % 7;
			sums[weekday] += e;
			counts[weekday] += 1;
			all += e;
			n += 1;
		}
	const double mean = n > 0 ? all / n : 0;
	for (size_t i = 0; i < 7; i++)
		f->day_spread[i] =
			r->weeks && mean > 0 ? sqrt((sums[i] + 7 * mean) / (counts[i] + 7) / mean) : 1;
}

/* ---- the shape of errors ---- */

/* The value below which the part p of the n sorted values lies, with straight lines between them. */
static double quantile(const double *sorted, size_t n, double p)
{
	const double at = p * (double)(n - 1);
	const size_t i = (size_t)at;
	if (i + 1 >= n)
		return sorted[n - 1];
	return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

/* Probability of the point i of a shape. */
static double point_probability(size_t i)
{
	return ((double)i + 0.5) / FORECAST_SHAPE_POINTS;
}

/* Sorts the errors (each over its own spread); centres them on their median and makes their mean square 1. */
static void make_shape(double *errors, size_t n, double shape[FORECAST_SHAPE_POINTS])
{
	memset(shape, 0, FORECAST_SHAPE_POINTS * sizeof shape[0]);
	if (n == 0)
		return;
	qsort(errors, n, sizeof *errors, compare_doubles);
	const double centre = quantile(errors, n, 0.5);
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += square(errors[i] - centre);
	const double spread = sqrt(sum / (double)n);
	for (size_t i = 0; i < FORECAST_SHAPE_POINTS && spread > 0; i++)
		shape[i] = (quantile(errors, n, point_probability(i)) - centre) / spread;
}

/* As a part of the unit. Beyond the sums that were replayed nothing is known of how errors go on to grow, so
 * they are taken to grow faster by the square root of the square root. */
static double sum_spread(const struct forecast *f, double k)
{
	const double spread = sqrt(f->sum_own * k + f->sum_common * k * k);
	return k > f->longest ? spread * sqrt(sqrt(k / f->longest)) : spread;
}

/* False without memory. */
static bool fit_shapes(const struct replay *r, struct forecast *f, struct arena *arena)
{
	const size_t origins = r->n - r->first_origin;
	double *const errors = arena_array(arena, origins * SHAPE_SAMPLES, sizeof *errors);
	if (errors == NULL)
		return false;
	size_t n = 0;
	for (size_t o = 0; o < origins; o++)
		errors[n++] = day_error(r, o, 0) / f->day_spread[(r->first_origin + o + 6 * r->n) % 7];
	make_shape(errors, n, f->day_shape);
	n = 0;
	for (size_t i = 0; i < SHAPE_SAMPLES; i++) {
		const size_t k = r->n_ahead - i * r->n_ahead / (2 * SHAPE_SAMPLES);
		for (size_t o = 0; o < origins_of(r, k); o++)
			errors[n++] = sum_error(r, o, k) / sum_spread(f, (double)k);
	}
	make_shape(errors, n, f->sum_shape);
	/* Sums overlap: only so many of them are news. */
	f->shape_weight = (double)origins / (double)(origins + 40);
	f->n_errors = (double)origins;
	return true;
}

/* The value below which a standard normal one lies with probability p, 0 < p < 1 (Abramowitz and Stegun
 * 1964, 26.2.23: off by at most 0.00045). */
static double normal_quantile(double p)
{
	const double tail = p < 0.5 ? p : 1 - p;
	const double t = sqrt(-2 * log(tail));
	const double x = t - (2.515517 + 0.802853 * t + 0.010328 * t * t) /
				     (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t * t * t);
	return p < 0.5 ? -x : x;
}

/* How much further out Student's t lies than the normal distribution where the latter is z (Abramowitz and
 * Stegun 1964, 26.7.5, the first two terms over z). */
static double student_widening(double z, double freedom)
{
	return 1 + (z * z + 1) / (4 * freedom) +
	       (5 * z * z * z * z + 16 * z * z + 3) / (96 * freedom * freedom);
}

static double shape_at(const double shape[FORECAST_SHAPE_POINTS], double p)
{
	const double at = p * FORECAST_SHAPE_POINTS - 0.5;
	if (at <= 0)
		return shape[0];
	return quantile(shape, FORECAST_SHAPE_POINTS, at / (FORECAST_SHAPE_POINTS - 1));
}

/* Quantile of an error of unit spread over k days. */
static double error_quantile(
	const struct forecast *f, const double shape[FORECAST_SHAPE_POINTS], double k, double p)
{
	const double z = normal_quantile(p);
	/* Blocks of days as long as what is asked for, or as the longest that were looked at. */
	const double length = k < REPLAY_MAX ? k : REPLAY_MAX;
	const double blocks = f->n_errors / (1 + length / 3);
	const double freedom = blocks > 3 ? blocks : 3;
	const double own = f->shape_weight * shape_at(shape, p) + (1 - f->shape_weight) * z;
	return own * student_widening(z, freedom);
}

/* ---- learning ---- */

static enum err check_days(const double *days, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!(days[i] >= 0) || !isfinite(days[i]))
			return ERR_RANGE;
	return ERR_OK;
}

static void keep_state(struct forecast *f, const struct replay *r, const struct smoothing *s)
{
	const struct trend trend = trend_before(r->days, r->n);
	f->unit = unit_at(r, r->n);
	f->line = trend.at;
	f->slope = trend.slope;
	weekday_shares(r, r->n, f->shares);
	if (!r->weeks)
		return;
	f->level = s->level;
	f->trend = s->trend;
	f->damping = s->damping;
	for (size_t lead = 0; lead < 7; lead++) {
		f->season[lead] = s->season[(f->n_days + lead) % 7];
		f->weekly[lead] = weekly_before(r->days, r->n, lead);
	}
}

/* False without memory. */
static bool learn(struct forecast *f, const double *days, struct arena *arena)
{
	struct replay r = {.days = days, .n = f->n_days, .weeks = f->n_days >= FORECAST_WEEKLY_DAYS_MIN};
	struct smoothing s = {.damping = 1};
	r.first_origin = r.weeks ? WARM_UP_DAYS : ORIGIN_MIN;
	r.n_ahead = (r.n - r.first_origin) * 2 / 3;
	r.n_ahead = r.n_ahead > REPLAY_MAX ? REPLAY_MAX : r.n_ahead;
	for (size_t i = 0; i < r.n; i++)
		r.mean += days[i] / (double)r.n;
	if (!replay_run(&r, &s, arena))
		return false;
	weigh(&r, f->weights);
	combine(&r, f->weights);
	keep_state(f, &r, &s);
	fit_growth(&r, f);
	fit_day_spread(&r, f);
	f->method = r.weeks ? FORECAST_COMBINATION : FORECAST_MEAN;
	return fit_shapes(&r, f, arena);
}

enum err forecast_fit(const struct forecast_history *h, struct arena *arena, struct forecast *ret)
{
	if (check_days(h->days, h->n_days) != ERR_OK || !(h->today_left >= 0 && h->today_left <= 1))
		return ERR_RANGE;
	size_t begin = h->n_days > FORECAST_DAYS_MAX ? h->n_days - FORECAST_DAYS_MAX : 0;
	while (begin < h->n_days && h->days[begin] <= 0)
		begin++;
	struct forecast f = {.n_days = h->n_days - begin, .today_left = h->today_left, .weights = {1}};
	if (f.n_days > 0)
		f.mean = mean_before(h->days + begin, f.n_days);
	if (f.n_days >= FORECAST_DAYS_MIN && !learn(&f, h->days + begin, arena))
		return ERR_NO_MEMORY;
	*ret = f;
	return ERR_OK;
}

bool forecast_has_intervals(const struct forecast *f)
{
	return f->method != FORECAST_NONE;
}

/* ---- asking ---- */

static double whole_day(const struct forecast *f, size_t lead)
{
	double sum = f->weights[METHOD_MEAN] * at_least_zero(f->mean + f->shares[lead % 7]);
	const double line = f->line + damped_sum(LINE_DAMPING, lead) * f->slope + f->shares[lead % 7];
	sum += f->weights[METHOD_LINE] * at_least_zero(line);
	if (f->method != FORECAST_COMBINATION)
		return sum;
	sum += f->weights[METHOD_WEEKLY] * f->weekly[lead % 7];
	const double smooth = f->level + damped_sum(f->damping, lead) * f->trend + f->season[lead % 7];
	return sum + f->weights[METHOD_SMOOTHING] * at_least_zero(smooth);
}

double forecast_day(const struct forecast *f, size_t lead)
{
	return lead == 0 ? f->today_left * whole_day(f, 0) : whole_day(f, lead);
}

/* Spend is never negative, so neither is an end of an interval; and the expected value lies within. */
static void set_interval(const struct forecast *f, const double *shape, double expected, double spread,
	double k, struct forecast_interval *ret)
{
	*ret = (struct forecast_interval){expected, expected, expected, expected, expected};
	if (!forecast_has_intervals(f))
		return;
	ret->lower_80 = at_least_zero(expected + spread * error_quantile(f, shape, k, 0.1));
	ret->upper_80 = expected + at_least_zero(spread * error_quantile(f, shape, k, 0.9));
	ret->lower_95 = at_least_zero(expected + spread * error_quantile(f, shape, k, 0.025));
	ret->upper_95 = expected + at_least_zero(spread * error_quantile(f, shape, k, 0.975));
	ret->lower_80 = fmin(ret->lower_80, expected);
	ret->lower_95 = fmin(ret->lower_95, ret->lower_80);
	ret->upper_95 = fmax(ret->upper_95, ret->upper_80);
}

void forecast_day_interval(const struct forecast *f, size_t lead, struct forecast_interval *ret)
{
	const double part = lead == 0 ? f->today_left : 1;
	const double usual = sqrt((f->day_own + f->day_growth * (double)lead) * part);
	const double spread = f->unit * usual * f->day_spread[lead % 7];
	set_interval(f, f->day_shape, forecast_day(f, lead), spread, 1, ret);
}

static double expected_sum(const struct forecast *f, size_t n_days)
{
	double sum = 0;
	for (size_t lead = 0; lead < n_days; lead++)
		sum += forecast_day(f, lead);
	return sum;
}

/* Days in a sum; today is what is left of it. */
static double length_of(const struct forecast *f, size_t n_days)
{
	return n_days == 0 ? 0 : (double)(n_days - 1) + f->today_left;
}

void forecast_sum_interval(const struct forecast *f, size_t n_days, struct forecast_interval *ret)
{
	const double k = length_of(f, n_days);
	set_interval(f, f->sum_shape, expected_sum(f, n_days), f->unit * sum_spread(f, k), k, ret);
}

double forecast_probability(const struct forecast *f, size_t n_days, double bound)
{
	const double k = length_of(f, n_days), spread = f->unit * sum_spread(f, k),
		     expected = expected_sum(f, n_days);
	if (bound <= 0)
		return 1;
	double low = 0.001, high = 0.999; /* of lying below the bound */
	for (int i = 0; i < 30; i++) {
		const double middle = (low + high) / 2;
		if (expected + spread * error_quantile(f, f->sum_shape, k, middle) < bound)
			low = middle;
		else
			high = middle;
	}
	return 1 - (low + high) / 2;
}

double forecast_share(const double *before, const double *whole, size_t n, double time_passed)
{
	double sum_before = 0, sum_whole = 0;
	for (size_t i = 0; i < n; i++) {
		sum_before += before[i];
		sum_whole += whole[i];
	}
	if (!(sum_whole > 0))
		return time_passed;
	const double even = 3 * sum_whole / (double)n;
	const double share = (sum_before + even * time_passed) / (sum_whole + even);
	return share < 0 ? 0 : fmin(share, 1);
}

bool forecast_scale(const double *days, size_t n_days, double *ret)
{
	double sum = 0;
	for (size_t i = 7; i < n_days; i++)
		sum += fabs(days[i] - days[i - 7]);
	if (!(sum > 0))
		return false;
	*ret = sum / (double)(n_days - 7);
	return true;
}
