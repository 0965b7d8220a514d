/* Times that cost unusually much, by medians; see the header for the method. Which series are looked at, and
 * what is done about a finding (alerts, dismissals, texts), is decided above. */

#include "llmlab/core/anomaly.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/base/check.h"
#include "llmlab/core/estimate.h"
#include "stable_id.h"

#define WINDOW		ANOMALY_HISTORY_DAYS
#define HISTORY_MIN	7
#define WEEKLY_MIN	21
#define HALVES_MIN	21
#define DEVIATION_LEAST 0.07 /* of what is expected */
#define DEVIATION_USD	1e-3
#define SHORT_HISTORY	3.0 /* the deviation is larger by this over the number of buckets */
#define EXPLAINED	0.8 /* of an excess: the same thing */
#define STEP_DAYS	7   /* without anything unusual: the step is over */
#define STEP_AGAIN	2.0 /* an hour is told again within a day from this multiple of the excess */
/* 0.6745 of Iglewicz and Hoaglin: what makes a MAD comparable with a standard deviation. */
#define Z_SCALE 0.6745

const char *anomaly_severity_name(enum anomaly_severity s)
{
	static const char *const NAMES[] = {"low", "medium", "high", "critical"};
	CHECK((size_t)s < sizeof NAMES / sizeof NAMES[0]);
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

static double square(double x)
{
	return x * x;
}

/* ---- medians ---- */

/* Sorts the values, which are few; n > 0. */
static double median(double *values, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		const double v = values[i];
		size_t at = i;
		for (; at > 0 && values[at - 1] > v; at--)
			values[at] = values[at - 1];
		values[at] = v;
	}
	return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double median_of(const double *values, size_t n)
{
	double copy[WINDOW] = {0};
	memcpy(copy, values, n * sizeof *values);
	return median(copy, n);
}

/* The median absolute deviation from the median, on both sides or above it, whichever is larger. */
static double deviation_of(const double *values, size_t n)
{
	const double center = median_of(values, n);
	double both[WINDOW] = {0}, above[WINDOW] = {0};
	size_t n_above = 0;
	for (size_t i = 0; i < n; i++) {
		both[i] = fabs(values[i] - center);
		if (values[i] > center)
			above[n_above++] = values[i] - center;
	}
	const double mad = median(both, n);
	/* Few values above the median are the spikes themselves. */
	return n_above <= n / 4 ? mad : fmax(mad, median(above, n_above));
}

/* ---- what is expected ---- */

/* What a bucket is compared with, in square roots of USD. */
struct baseline {
	double expected, deviation, upper;
};

static double lower_of(const struct baseline *b)
{
	return fmax(2 * b->expected - b->upper, 0);
}

static struct baseline baseline_of(double expected, double deviation, size_t n, double threshold)
{
	struct baseline b = {
		.expected = fmax(expected, 0), .deviation = deviation * (1 + SHORT_HISTORY / (double)n)};
	b.deviation = fmax(b.deviation, fmax(b.expected * DEVIATION_LEAST, DEVIATION_USD));
	b.upper = b.expected + threshold * b.deviation / Z_SCALE;
	return b;
}

/* The costs one day, two days ... before a bucket. */
struct past {
	double root[WINDOW];
	size_t n;
};

/* From the first bucket with a cost on. */
static struct past past_of(
	const struct anomaly_input *in, const double *roots, size_t bucket, size_t first_cost)
{
	struct past p = {.n = 0};
	for (size_t back = in->a_day; p.n < WINDOW && back <= bucket && bucket - back >= first_cost;
		back += in->a_day)
		p.root[p.n++] = roots[bucket - back];
	return p;
}

/* The median of every seventh day, the first of them `from` days back (0: yesterday). */
static double weekday_median(const struct past *p, size_t from)
{
	double same[WINDOW / 7] = {0};
	size_t n = 0;
	for (size_t i = from; i < p->n && n < WINDOW / 7; i += 7)
		same[n++] = p->root[i];
	return n == 0 ? 0 : median(same, n);
}

/* What is expected of each weekday without a trend, by days back % 7. */
static void weekdays_of(const struct past *p, double level, double weekdays[7])
{
	for (size_t i = 0; i < 7; i++) {
		const size_t whole_weeks = p->n / 7;
		const double weeks = (double)whole_weeks;
		weekdays[i] =
			p->n < WEEKLY_MIN ? level : (weeks * weekday_median(p, i) + level) / (weeks + 1);
	}
}

/* How much more by day the newer half of the values is than the older one, beyond their usual deviation. */
static double slope_of(const double *left, size_t n)
{
	if (n < HALVES_MIN)
		return 0;
	const size_t half = n / 2;
	const double more = median_of(left, half) - median_of(left + half, n - half);
	const double beyond = fabs(more) - deviation_of(left, n) / 2;
	return beyond <= 0 ? 0 : copysign(beyond, more) / (double)half;
}

/* Without any cost on more than a third of the days: more than weekends. */
static bool is_occasional(const struct past *p)
{
	size_t n = 0;
	for (size_t i = 0; i < p->n; i++)
		n += p->root[i] <= 0;
	return 3 * n > p->n;
}

/* False: not used often enough to say anything. */
static bool occasional_baseline(const struct past *p, double threshold, struct baseline *ret)
{
	double used[WINDOW] = {0};
	size_t n = 0;
	for (size_t i = 0; i < p->n; i++)
		if (p->root[i] > 0)
			used[n++] = p->root[i];
	if (n < HISTORY_MIN)
		return false;
	*ret = baseline_of(median_of(used, n), deviation_of(used, n), n, threshold);
	return true;
}

/* False: not enough history to say anything about the bucket. */
static bool find_baseline(const struct past *p, double threshold, struct baseline *ret)
{
	if (p->n < HISTORY_MIN)
		return false;
	const double level = median_of(p->root, p->n);
	double weekdays[7], left[WINDOW] = {0};
	weekdays_of(p, level, weekdays);
	if (is_occasional(p) && occasional_baseline(p, threshold, ret))
		return true;
	if (level <= 0 && weekdays[6] <= 0)
		return false;
	for (size_t i = 0; i < p->n; i++)
		left[i] = p->root[i] - weekdays[i % 7];
	const double slope = slope_of(left, p->n), middle = ((double)p->n + 1) / 2;
	for (size_t i = 0; i < p->n; i++)
		left[i] -= slope * (middle - (double)(i + 1));
	/* The same weekday is seven days back: index 6. */
	*ret = baseline_of(weekdays[6] + slope * middle, deviation_of(left, p->n), p->n, threshold);
	return true;
}

/* ---- steps ---- */

/* The unusual buckets of a step so far. */
struct step {
	double ratios[WINDOW]; /* what they cost over what was expected of each, both as square roots */
	size_t n;	       /* 0: no step */
	size_t last_bucket;    /* the last one that was unusual */
	size_t told_bucket;    /* the one that was told */
	double told_excess;    /* USD */
};

/* What was expected, if that is not next to nothing. */
static double measure_of(const struct baseline *b)
{
	return fmax(b->expected, b->deviation);
}

/* What a bucket would be compared with at the step's level: its spread is not known on its first days, so it
 * is taken to be in the same proportion as before. */
static struct baseline step_baseline(
	const struct anomaly_input *in, const struct step *s, const struct baseline *b)
{
	const double ratio = median_of(s->ratios, s->n);
	return baseline_of(ratio * measure_of(b), ratio * b->deviation, WINDOW, in->threshold);
}

/* True if the bucket stays at the step's level: no news. */
static bool step_holds(const struct anomaly_input *in, const struct step *s, const struct baseline *b,
	size_t bucket, double root)
{
	if (s->n == 0)
		return false;
	/* Hours differ from each other by themselves, so they have no level: an hour is no news within a day.
	 */
	if (in->a_day > 1)
		return bucket - s->told_bucket <= in->a_day &&
		       square(root) - square(b->expected) <= STEP_AGAIN * s->told_excess;
	return root <= step_baseline(in, s, b).upper;
}

/* True if a usual bucket is the end of the step: it would have shown the step, and does not. A quiet weekend
 * would not. */
static bool step_ends(
	const struct anomaly_input *in, const struct step *s, const struct baseline *b, double root)
{
	return s->n > 0 && in->a_day == 1 && root >= lower_of(b) &&
	       step_baseline(in, s, b).expected > b->upper;
}

static void step_add(struct step *s, const struct baseline *b, size_t bucket, double root)
{
	s->last_bucket = bucket;
	if (s->n < WINDOW)
		s->ratios[s->n++] = root / measure_of(b);
}

/* ---- findings ---- */

struct finding {
	struct anomaly a;
	double excess;
	bool told;     /* news; else part of a step that was told before */
	bool left_out; /* told by a narrower series */
};

struct findings {
	struct finding *rows;
	size_t n, size;
	struct arena *arena;
};

static struct finding *findings_add(struct findings *f)
{
	if (f->n == f->size) {
		const size_t size = f->size ? 2 * f->size : 32;
		struct finding *const rows = arena_array(f->arena, size, sizeof *rows);
		if (rows == NULL)
			return NULL;
		if (f->n > 0)
			memcpy(rows, f->rows, f->n * sizeof *rows);
		f->rows = rows;
		f->size = size;
	}
	return &f->rows[f->n++];
}

/* What a bucket is expected to cost. */
struct expectation {
	struct money expected, lower, upper;
};

/* False when it does not fit, which is more than any cost. */
static bool expectation_of(const struct baseline *b, struct expectation *ret)
{
	struct expectation e;
	if (!money_of_estimate(square(b->upper), &e.upper) ||
		!money_of_estimate(square(b->expected), &e.expected) ||
		!money_of_estimate(square(lower_of(b)), &e.lower))
		return false;
	*ret = e;
	return true;
}

/* False without memory. */
static bool add_finding(const struct anomaly_input *in, size_t series, size_t bucket,
	const struct baseline *b, const struct expectation *e, bool told, struct findings *f)
{
	struct finding *const row = findings_add(f);
	if (row == NULL)
		return false;
	const struct money cost = in->series[series].costs[bucket];
	const double above = money_as_double(cost) - square(b->expected);
	const double score = Z_SCALE * (sqrt(money_as_double(cost)) - b->expected) / b->deviation;
	*row = (struct finding){.excess = above, .told = told};
	row->a = (struct anomaly){.series = series,
		.bucket = bucket,
		.cost = cost,
		.expected = e->expected,
		.lower = e->lower,
		.upper = e->upper,
		.score = score,
		.severity = severity_of(score)};
	return true;
}

static bool is_usual_weekday(const struct past *p, double root)
{
	return p->n >= WEEKLY_MIN && root <= weekday_median(p, 6);
}

static bool is_unusual(
	const struct anomaly_input *in, const struct past *p, const struct expectation *e, struct money cost)
{
	if (money_compare(cost, e->upper) <= 0)
		return false;
	if (is_usual_weekday(p, sqrt(money_as_double(cost))))
		return false;
	const int128 excess = cost.atto - e->expected.atto;
	return excess > 0 && excess >= in->minimum.atto;
}

/* One bucket after the other. False without memory. */
static bool find_in_series(
	const struct anomaly_input *in, size_t series, const double *roots, struct findings *f)
{
	size_t first_cost = 0;
	while (first_cost < in->n_buckets && roots[first_cost] <= 0)
		first_cost++;
	struct step step = {.n = 0};
	for (size_t i = first_cost; i < in->n_buckets; i++) {
		const struct past p = past_of(in, roots, i, first_cost);
		/* In noise there may be no bucket that would have shown a small step: a week of none ends it,
		 * too. */
		if (step.n > 0 && i - step.last_bucket > STEP_DAYS * in->a_day)
			step.n = 0;
		/* What is no more than usual on its weekday, while no step is on, needs no closer look. */
		if (step.n == 0 && (p.n < HISTORY_MIN || is_usual_weekday(&p, roots[i])))
			continue;
		struct baseline b;
		if (!find_baseline(&p, in->threshold, &b))
			continue;
		struct expectation e;
		if (!expectation_of(&b, &e) || !is_unusual(in, &p, &e, in->series[series].costs[i])) {
			if (step_ends(in, &step, &b, roots[i]))
				step.n = 0;
			continue;
		}
		const bool holds = step_holds(in, &step, &b, i, roots[i]);
		if (!holds)
			step = (struct step){
				.told_bucket = i, .told_excess = square(roots[i]) - square(b.expected)};
		step_add(&step, &b, i, roots[i]);
		if (i >= in->report_from && !add_finding(in, series, i, &b, &e, !holds, f))
			return false;
	}
	return true;
}

/* ---- the same excess in several series ---- */

static const struct anomaly_series *series_of(const struct anomaly_input *in, const struct finding *f)
{
	return &in->series[f->a.series];
}

/* True if b is a part of a by their names, so that b's excess is in a's. */
static bool contains(const struct anomaly_series *a, const struct anomaly_series *b)
{
	switch (a->kind) {
	case ANOMALY_ALL:
		return b->kind != ANOMALY_ALL;
	case ANOMALY_PROVIDER:
		return b->kind == ANOMALY_MODEL && strcmp(a->provider, b->provider) == 0;
	case ANOMALY_MODEL:
	case ANOMALY_PROJECT:
	case ANOMALY_TAG:
		return false;
	}
	return false;
}

/* The excess of a's parts of one kind (parts of one kind do not overlap, tags apart: of those the largest).
 */
static double parts_excess(const struct anomaly_input *in, const struct finding *group, size_t n, size_t of,
	enum anomaly_kind kind)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++) {
		if (series_of(in, &group[i])->kind != kind ||
			!contains(series_of(in, &group[of]), series_of(in, &group[i])))
			continue;
		sum = kind == ANOMALY_TAG ? fmax(sum, group[i].excess) : sum + group[i].excess;
	}
	return sum;
}

static bool is_same_amount(double a, double b)
{
	return fmin(a, b) >= EXPLAINED * fmax(a, b);
}

/* The excess of all series of one kind together; of tags, those of one key. */
static double kind_excess(const struct anomaly_input *in, const struct finding *group, size_t n,
	enum anomaly_kind kind, const char *tag_key)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++) {
		const struct anomaly_series *const s = series_of(in, &group[i]);
		if (s->kind == kind && (kind != ANOMALY_TAG || strcmp(s->tag_key, tag_key) == 0))
			sum += group[i].excess;
	}
	return sum;
}

/* True if a goes before b where both show the same: models, providers, projects, tags in the order of the
 * series. */
static bool goes_before(enum anomaly_kind a, enum anomaly_kind b, bool earlier)
{
	if (a == ANOMALY_MODEL || a == ANOMALY_PROVIDER)
		return true;
	return (a == ANOMALY_PROJECT && b == ANOMALY_TAG) ||
	       (a == ANOMALY_TAG && b == ANOMALY_TAG && earlier);
}

/* A project or tag shows the excess of something that is told by itself, or all of its kind show that of the
 * models. */
static bool is_shown_elsewhere(
	const struct anomaly_input *in, const struct finding *group, size_t n, size_t of)
{
	const struct anomaly_series *const s = series_of(in, &group[of]);
	if (s->kind != ANOMALY_PROJECT && s->kind != ANOMALY_TAG)
		return false;
	const double own = kind_excess(in, group, n, s->kind, s->tag_key);
	if (kind_excess(in, group, n, ANOMALY_MODEL, NULL) >= EXPLAINED * own ||
		(s->kind == ANOMALY_TAG &&
			kind_excess(in, group, n, ANOMALY_PROJECT, NULL) >= EXPLAINED * own))
		return true;
	for (size_t i = 0; i < n; i++)
		if (goes_before(series_of(in, &group[i])->kind, s->kind, i < of) &&
			is_same_amount(group[i].excess, group[of].excess))
			return true;
	return false;
}

static bool is_left_out(const struct anomaly_input *in, const struct finding *group, size_t n, size_t of)
{
	static const enum anomaly_kind PARTS[] = {
		ANOMALY_MODEL, ANOMALY_PROVIDER, ANOMALY_PROJECT, ANOMALY_TAG};
	for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++)
		if (parts_excess(in, group, n, of, PARTS[i]) >= EXPLAINED * group[of].excess)
			return true;
	return is_shown_elsewhere(in, group, n, of);
}

/* Links what is left out to the largest finding that is told. */
static void link_left_out(struct finding *group, size_t n, size_t of)
{
	struct finding *to = NULL;
	for (size_t i = 0; i < n; i++)
		if (group[i].told && !group[i].left_out && (to == NULL || group[i].excess > to->excess))
			to = &group[i];
	if (to != NULL && to->a.n_also < ANOMALY_ALSO_MAX)
		to->a.also[to->a.n_also++] = group[of].a.series;
}

/* The findings of one bucket, in the order of the series. */
static void resolve(const struct anomaly_input *in, struct finding *group, size_t n)
{
	for (size_t i = 0; i < n; i++)
		group[i].left_out = is_left_out(in, group, n, i);
	for (size_t i = 0; i < n; i++)
		if (group[i].told && group[i].left_out)
			link_left_out(group, n, i);
}

/* ---- the whole ---- */

static int compare_buckets(const void *x, const void *y)
{
	const struct finding *const a = x, *const b = y;
	if (a->a.bucket != b->a.bucket)
		return a->a.bucket < b->a.bucket ? 1 : -1;
	return (a->a.series > b->a.series) - (a->a.series < b->a.series);
}

static int compare_anomalies(const void *x, const void *y)
{
	const struct anomaly *const a = x, *const b = y;
	if (a->bucket != b->bucket)
		return a->bucket < b->bucket ? 1 : -1;
	const int128 above_a = a->cost.atto - a->expected.atto, above_b = b->cost.atto - b->expected.atto;
	if (above_a != above_b)
		return above_a < above_b ? 1 : -1;
	return (a->series > b->series) - (a->series < b->series);
}

/* Resolves bucket by bucket and keeps what is told. */
static enum err take(const struct anomaly_input *in, struct findings *f, struct anomaly **ret, size_t *ret_n)
{
	struct anomaly *const kept = arena_array(f->arena, f->n, sizeof *kept);
	if (kept == NULL)
		return ERR_NO_MEMORY;
	if (f->n > 0)
		qsort(f->rows, f->n, sizeof *f->rows, compare_buckets);
	size_t n = 0;
	for (size_t begin = 0, end = 0; begin < f->n; begin = end) {
		while (end < f->n && f->rows[end].a.bucket == f->rows[begin].a.bucket)
			end++;
		resolve(in, f->rows + begin, end - begin);
		for (size_t i = begin; i < end; i++)
			if (f->rows[i].told && !f->rows[i].left_out)
				kept[n++] = f->rows[i].a;
	}
	if (n > 0)
		qsort(kept, n, sizeof *kept, compare_anomalies);
	*ret = kept;
	*ret_n = n;
	return ERR_OK;
}

static bool input_is_valid(const struct anomaly_input *in)
{
	if (!(in->threshold >= 0.1 && in->threshold <= 1000) || in->a_day == 0)
		return false;
	for (size_t i = 0; i < in->n_series; i++)
		for (size_t d = 0; d < in->n_buckets; d++)
			if (in->series[i].costs[d].atto < 0)
				return false;
	return true;
}

enum err anomaly_find(
	const struct anomaly_input *in, struct arena *arena, struct anomaly **ret, size_t *ret_n)
{
	if (!input_is_valid(in))
		return ERR_RANGE;
	struct findings f = {.arena = arena};
	double *const roots = arena_array(arena, in->n_buckets, sizeof *roots);
	if (roots == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < in->n_series; i++) {
		for (size_t d = 0; d < in->n_buckets; d++)
			roots[d] = sqrt(money_as_double(in->series[i].costs[d]));
		if (!find_in_series(in, i, roots, &f))
			return ERR_NO_MEMORY;
	}
	return take(in, &f, ret, ret_n);
}

void anomaly_id(const char *user_id, const char *granularity, int64_t start_us,
	const struct anomaly_series *s, char out[ANOMALY_ID_SIZE])
{
	static const char *const KINDS[] = {"all", "provider", "model", "project", "tag"};
	char start[24];
	snprintf(start, sizeof start, "%" PRId64, start_us);
	const char *const texts[] = {"anomaly", user_id, granularity, start, KINDS[s->kind], s->provider,
		s->model, s->project, s->tag_key, s->tag_value};
	stable_id(texts, sizeof texts / sizeof texts[0], out);
}
