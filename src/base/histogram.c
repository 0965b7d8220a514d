/* Process-wide distributions as relaxed atomics, expanded from histograms.def. A reader may see an
 * observation in its bucket before it is in the sum; each is right a moment later. */
#include "llmlab/base/histogram.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include "llmlab/base/check.h"

#define BOUNDS_MAX 13

enum unit { UNIT_SECONDS, UNIT_COUNT };

/* Upper bounds in the unit that is observed, ascending, and as they are written. */
struct scale {
	size_t n;
	int64_t bounds[BOUNDS_MAX];
	const char *texts[BOUNDS_MAX];
};

static const struct scale SCALES[] = {
	[UNIT_SECONDS] = {.n = 13,
		.bounds = {500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000,
			2500000, 10000000},
		.texts = {"0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
			"1", "2.5", "10"}},
	[UNIT_COUNT] = {.n = 12,
		.bounds = {1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000},
		.texts = {"1", "2", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000"}},
};

static const struct {
	enum unit unit;
	const char *exported;
	const char *help;
} HISTOGRAMS[HISTOGRAM_COUNT] = {
#define HISTOGRAM(name, unit, exported, help) [HISTOGRAM_##name] = {UNIT_##unit, exported, help},
#include "llmlab/base/histograms.def"
#undef HISTOGRAM
};

static struct {
	_Atomic int64_t in_bucket[BOUNDS_MAX + 1]; /* the last one: beyond every bound */
	_Atomic int64_t sum;
} values[HISTOGRAM_COUNT];

void histogram_observe(enum histogram h, int64_t value)
{
	CHECK((unsigned)h < HISTOGRAM_COUNT);
	const struct scale *const scale = &SCALES[HISTOGRAMS[h].unit];
	size_t i = 0;
	while (i < scale->n && value > scale->bounds[i])
		i++;
	atomic_fetch_add_explicit(&values[h].in_bucket[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&values[h].sum, value, memory_order_relaxed);
}

int64_t histogram_sum(enum histogram h)
{
	CHECK((unsigned)h < HISTOGRAM_COUNT);
	return atomic_load_explicit(&values[h].sum, memory_order_relaxed);
}

static void write_sum(struct buf *out, enum unit unit, const char *name, int64_t sum)
{
	switch (unit) {
	case UNIT_SECONDS:
		buf_printf(out, "%s_sum %" PRId64 ".%06" PRId64 "\n", name, sum / 1000000, sum % 1000000);
		break;
	case UNIT_COUNT:
		buf_printf(out, "%s_sum %" PRId64 "\n", name, sum);
		break;
	}
}

static void write_one(struct buf *out, enum histogram h)
{
	const enum unit unit = HISTOGRAMS[h].unit;
	const struct scale *const scale = &SCALES[unit];
	const char *const name = HISTOGRAMS[h].exported;
	int64_t n = 0;
	buf_printf(out, "# HELP %s %s\n# TYPE %s histogram\n", name, HISTOGRAMS[h].help, name);
	for (size_t i = 0; i < scale->n; i++) {
		n += atomic_load_explicit(&values[h].in_bucket[i], memory_order_relaxed);
		buf_printf(out, "%s_bucket{le=\"%s\"} %" PRId64 "\n", name, scale->texts[i], n);
	}
	n += atomic_load_explicit(&values[h].in_bucket[scale->n], memory_order_relaxed);
	buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRId64 "\n", name, n);
	write_sum(out, unit, name, histogram_sum(h));
	buf_printf(out, "%s_count %" PRId64 "\n", name, n);
}

void histograms_write(struct buf *out)
{
	for (int h = 0; h < HISTOGRAM_COUNT; h++)
		write_one(out, (enum histogram)h);
}
