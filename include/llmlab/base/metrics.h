#ifndef LLMLAB_BASE_METRICS_H
#define LLMLAB_BASE_METRICS_H

#include <stdint.h>
#include "llmlab/base/buf.h"

/* Process-wide counters and gauges from metrics.def, and their Prometheus text (exposition format 0.0.4). */
enum metric {
#define METRIC(name, type, exported, help) METRIC_##name,
#include "llmlab/base/metrics.def"
#undef METRIC
	METRIC_COUNT
};

void metric_add(enum metric m, int64_t delta);
void metric_set(enum metric m, int64_t value);
int64_t metric_get(enum metric m);
/* Appends every metric with HELP and TYPE lines. */
void metrics_write(struct buf *out);

#endif
