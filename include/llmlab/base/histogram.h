#ifndef LLMLAB_BASE_HISTOGRAM_H
#define LLMLAB_BASE_HISTOGRAM_H

#include <stdint.h>
#include "llmlab/base/buf.h"

/* Process-wide distributions from histograms.def, and their Prometheus text (exposition format 0.0.4). Thread-safe. */
enum histogram {
#define HISTOGRAM(name, unit, exported, help) HISTOGRAM_##name,
#include "llmlab/base/histograms.def"
#undef HISTOGRAM
	HISTOGRAM_COUNT
};

/* Microseconds or a count, as the table says. */
void histogram_observe(enum histogram h, int64_t value);
/* The sum of all values observed so far, in the same unit. */
int64_t histogram_sum(enum histogram h);
/* Appends every histogram with HELP and TYPE lines. */
void histograms_write(struct buf *out);

#endif
