/* Days that cost unusually much, by median and MAD. Which days and series are looked at, and what is done
 * about a finding (alerts, dismissals, texts), is decided above. */

#include "llmlab/core/anomaly.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/base/check.h"
#include "stable_id.h"

#define WINDOW_DAYS	 28
#define HISTORY_DAYS_MIN 7
#define WEEKDAYS_MIN	 3
#define AMOUNT_MAX	 ((int128)(~(uint128)0 >> 1))
/* 0.6745 of Iglewicz and Hoaglin: what makes a MAD comparable with a standard deviation. */
#define Z_SCALE 0.6745

const char *anomaly_severity_name(enum anomaly_severity s)
{
	static const char *const NAMES[] = {"low", "medium", "high", "critical"};
	CHECK((size_t)s < sizeof(NAMES) / sizeof(NAMES[0]));
	return NAMES[s];
}

static enum anomaly_severity severity_of(double score)
{
	if (score < 5)
		return ANOMALY_LOW;
	if (score < 10)
		return ANOMALY_MEDIUM;
	return score < 20 ? ANOMALY_HIGH : ANOMALY_CRITICAL;
}

static int compare_amounts(const void *a, const void *b)
{
	const int128 *x = a;
	const int128 *y = b;
	return (*x > *y) - (*x < *y);
}

/* Sorts the values; n > 0. */
static int128 median(int128 *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare_amounts);
	const int128 high = values[n / 2];
	if (n % 2 == 1)
		return high;
	const int128 low = values[n / 2 - 1];
	return low + (high - low) / 2;
}

static int128 add_saturated(int128 a, int128 b)
{
	int128 sum = 0;
	if (!decimal_add(a, b, &sum))
		return AMOUNT_MAX;
	return sum;
}

/* What a day is compared with. */
struct baseline {
	int128 expected;
	int128 deviation; /* at least 1 */
	int128 lower, upper;
};

/* threshold x deviation / 0.6745 with the threshold in thousandths: exact but for the cut of less than 6,745
 * x 10^-18 USD. */
static int128 half_width(int128 deviation, double threshold)
{
	const int128 factor = (int128)(threshold * 1000 + 0.5) * 10;
	int128 width = 0;
	if (decimal_mul(deviation, factor, &width))
		return width / 6745;
	return decimal_mul(deviation / 6745, factor, &width) ? width : AMOUNT_MAX;
}

static struct baseline baseline_of(int128 expected, int128 deviation, double threshold)
{
	struct baseline b = {.expected = expected, .deviation = deviation};
	if (b.deviation < expected / 10)
		b.deviation = expected / 10;
	if (b.deviation < 1)
		b.deviation = 1;
	const int128 width = half_width(b.deviation, threshold);
	b.upper = add_saturated(expected, width);
	b.lower = expected > width ? expected - width : 0;
	return b;
}

/* Median absolute deviation of the n values around center; overwrites them. */
static int128 mad(int128 *values, size_t n, int128 center)
{
	for (size_t i = 0; i < n; i++)
		values[i] = values[i] > center ? values[i] - center : center - values[i];
	return median(values, n);
}

/* The days before `day` that count as history: at most WINDOW_DAYS, from the first with a cost on. Returns
 * their number. */
static size_t history(const struct money *days, size_t day, size_t first_cost, int128 out[WINDOW_DAYS])
{
	size_t begin = day > WINDOW_DAYS ? day - WINDOW_DAYS : 0;
	if (begin < first_cost)
		begin = first_cost;
	size_t n = 0;
	for (size_t d = begin; d < day; d++)
		out[n++] = days[d].atto;
	return n;
}

/* Median of the same weekday's days in the history, or 0 when they are too few. */
static int128 weekday_median(const int128 *values, size_t n)
{
	int128 same[WINDOW_DAYS / 7];
	size_t n_same = 0;
	for (size_t back = 7; back <= n && n_same < WINDOW_DAYS / 7; back += 7)
		same[n_same++] = values[n - back];
	return n_same < WEEKDAYS_MIN ? 0 : median(same, n_same);
}

/* False: not enough history to say anything about the day. */
static bool find_baseline(
	const struct money *days, size_t day, size_t first_cost, double threshold, struct baseline *ret)
{
	if (day <= first_cost)
		return false;
	int128 values[WINDOW_DAYS];
	size_t n = history(days, day, first_cost, values);
	if (n < HISTORY_DAYS_MIN)
		return false;
	const int128 of_weekday = weekday_median(values, n);
	int128 center = median(values, n);
	if (center == 0) {
		size_t used = 0;
		for (size_t i = 0; i < n; i++)
			if (values[i] > 0)
				values[used++] = values[i];
		if (used < HISTORY_DAYS_MIN)
			return false;
		n = used;
		center = median(values, n);
	}
	const int128 deviation = mad(values, n, center);
	*ret = baseline_of(of_weekday > center ? of_weekday : center, deviation, threshold);
	return true;
}

/* The unusual days of a step so far. */
struct step {
	int128 days[WINDOW_DAYS];
	size_t n; /* 0: no step */
};

/* True if the day stays at the step's level: no news. The level's own spread is not known on its first days,
 * so it is taken to be in the same proportion as before the step. */
static bool step_holds(const struct step *s, const struct baseline *before, int128 cost, double threshold)
{
	if (s->n == 0)
		return false;
	int128 values[WINDOW_DAYS];
	memcpy(values, s->days, sizeof(values));
	const int128 level = median(values, s->n);
	int128 milli = 0; /* level / expected in thousandths */
	int128 deviation = 0;
	if (before->expected > 0 && decimal_mul(level, 1000, &milli) &&
		decimal_mul(before->deviation, milli / before->expected, &deviation))
		deviation /= 1000;
	return cost <= baseline_of(level, deviation, threshold).upper;
}

static void step_add(struct step *s, int128 cost)
{
	if (s->n < WINDOW_DAYS)
		s->days[s->n++] = cost;
}

/* ---- findings ---- */

struct findings {
	struct anomaly *rows;
	size_t n, size;
	struct arena *arena;
};

static struct anomaly *findings_add(struct findings *f)
{
	if (f->n == f->size) {
		const size_t size = f->size ? 2 * f->size : 32;
		struct anomaly *rows = arena_array(f->arena, size, sizeof(*rows));
		if (!rows)
			return NULL;
		if (f->n > 0)
			memcpy(rows, f->rows, f->n * sizeof(*rows));
		f->rows = rows;
		f->size = size;
	}
	return &f->rows[f->n++];
}

static void make_id(const struct anomaly_series *s, int32_t day, char out[ANOMALY_ID_SIZE])
{
	char day_text[16];
	snprintf(day_text, sizeof(day_text), "%d", (int)day);
	const char *const texts[] = {"anomaly", s->dimension, s->provider, s->model, day_text};
	stable_id(texts, sizeof(texts) / sizeof(texts[0]), out);
}

static size_t first_cost_day(const struct money *days, size_t n)
{
	for (size_t d = 0; d < n; d++)
		if (days[d].atto > 0)
			return d;
	return n;
}

/* True if b is one level below a and within it. */
static bool is_part(const struct anomaly_series *a, const struct anomaly_series *b)
{
	if (strcmp(a->dimension, "all") == 0)
		return strcmp(b->dimension, "provider") == 0;
	return strcmp(a->dimension, "provider") == 0 && strcmp(b->dimension, "model") == 0 &&
	       strcmp(a->provider, b->provider) == 0;
}

/* Keeps the causes sorted, the largest ANOMALY_CAUSES_MAX of them. */
static void add_cause(struct anomaly *a, const struct anomaly_cause *cause)
{
	size_t at = a->n_causes;
	while (at > 0 && money_compare(cause->contribution, a->causes[at - 1].contribution) > 0)
		at--;
	if (at == ANOMALY_CAUSES_MAX)
		return;
	if (a->n_causes < ANOMALY_CAUSES_MAX)
		a->n_causes++;
	for (size_t i = a->n_causes - 1; i > at; i--)
		a->causes[i] = a->causes[i - 1];
	a->causes[at] = *cause;
}

static void find_causes(const struct anomaly_input *in, struct anomaly *a)
{
	const size_t day = (size_t)(a->day - in->first_day);
	for (size_t i = 0; i < in->n_series; i++) {
		const struct anomaly_series *s = &in->series[i];
		if (!is_part(&in->series[a->series], s))
			continue;
		struct baseline b = {0};
		const size_t first_cost = first_cost_day(s->days, in->n_days);
		/* Something new has no past: all of it is more than before. */
		if (!find_baseline(s->days, day, first_cost, in->threshold, &b))
			b.expected = 0;
		const struct anomaly_cause cause = {.dimension = s->model ? "model" : "provider",
			.provider = s->provider,
			.model = s->model,
			.contribution = {s->days[day].atto - b.expected}};
		if (cause.contribution.atto > 0)
			add_cause(a, &cause);
	}
}

/* False without memory. */
static bool report(const struct anomaly_input *in, size_t series, size_t day, const struct baseline *b,
	struct findings *f)
{
	struct anomaly *a = findings_add(f);
	if (!a)
		return false;
	const struct anomaly_series *s = &in->series[series];
	const int128 cost = s->days[day].atto;
	const double score = Z_SCALE * (double)(cost - b->expected) / (double)b->deviation;
	*a = (struct anomaly){.series = series,
		.day = in->first_day + (int32_t)day,
		.cost = {cost},
		.expected = {b->expected},
		.lower = {b->lower},
		.upper = {b->upper},
		.score = score,
		.severity = severity_of(score)};
	make_id(s, a->day, a->id);
	find_causes(in, a);
	return true;
}

/* Looks through one series, day by day. False without memory. */
static bool find_in_series(const struct anomaly_input *in, size_t series, struct findings *f)
{
	const struct money *days = in->series[series].days;
	const size_t first_cost = first_cost_day(days, in->n_days);
	struct step step = {.n = 0};
	for (size_t day = first_cost; day < in->n_days; day++) {
		struct baseline b = {0};
		if (!find_baseline(days, day, first_cost, in->threshold, &b))
			continue;
		const int128 cost = days[day].atto;
		if (cost <= b.upper || cost - b.expected < in->minimum.atto) {
			if (cost >= b.lower)
				step.n = 0;
			continue;
		}
		const bool holds = step_holds(&step, &b, cost, in->threshold);
		if (!holds)
			step.n = 0;
		step_add(&step, cost);
		if (!holds && in->first_day + (int32_t)day >= in->report_from &&
			!report(in, series, day, &b, f))
			return false;
	}
	return true;
}

/* Newest day first, then the largest cost above expected, then the input's order. */
static int compare_findings(const void *x, const void *y)
{
	const struct anomaly *a = x;
	const struct anomaly *b = y;
	if (a->day != b->day)
		return a->day < b->day ? 1 : -1;
	const int128 above_a = a->cost.atto - a->expected.atto;
	const int128 above_b = b->cost.atto - b->expected.atto;
	if (above_a != above_b)
		return above_a < above_b ? 1 : -1;
	return (a->series > b->series) - (a->series < b->series);
}

static bool input_is_valid(const struct anomaly_input *in)
{
	if (!(in->threshold >= 0.1 && in->threshold <= 1000))
		return false;
	for (size_t i = 0; i < in->n_series; i++)
		for (size_t d = 0; d < in->n_days; d++)
			if (in->series[i].days[d].atto < 0)
				return false;
	return true;
}

enum err anomaly_find(
	const struct anomaly_input *in, struct arena *arena, struct anomaly **ret, size_t *ret_n)
{
	if (!input_is_valid(in))
		return ERR_RANGE;
	struct findings f = {.arena = arena};
	for (size_t i = 0; i < in->n_series; i++)
		if (!find_in_series(in, i, &f))
			return ERR_NO_MEMORY;
	if (f.n > 0)
		qsort(f.rows, f.n, sizeof(*f.rows), compare_findings);
	*ret = f.rows;
	*ret_n = f.n;
	return ERR_OK;
}
