/* Process-wide numbers as relaxed atomics, expanded from metrics.def. Families with labels are not here. */
#include "llmlab/base/metrics.h"
#include "llmlab/base/check.h"
#include "llmlab/base/log.h"
#include <inttypes.h>
#include <stdatomic.h>

struct metric_row {
	const char *exported;
	const char *type;
	const char *help;
};

#define METRIC_TYPE_COUNTER "counter"
#define METRIC_TYPE_GAUGE   "gauge"

static const struct metric_row metric_rows[METRIC_COUNT] = {
#define METRIC(name, type, exported, help) [METRIC_##name] = {exported, METRIC_TYPE_##type, help},
#include "llmlab/base/metrics.def"
#undef METRIC
};

static _Atomic int64_t metric_values[METRIC_COUNT];

void metric_add(enum metric m, int64_t delta)
{
	CHECK((unsigned)m < METRIC_COUNT);
	atomic_fetch_add_explicit(&metric_values[m], delta, memory_order_relaxed);
}

void metric_set(enum metric m, int64_t value)
{
	CHECK((unsigned)m < METRIC_COUNT);
	atomic_store_explicit(&metric_values[m], value, memory_order_relaxed);
}

int64_t metric_get(enum metric m)
{
	CHECK((unsigned)m < METRIC_COUNT);
	return atomic_load_explicit(&metric_values[m], memory_order_relaxed);
}

void metrics_write(struct buf *out)
{
	metric_set(METRIC_LOG_DROPPED, (int64_t)log_dropped());
	for (int m = 0; m < METRIC_COUNT; m++) {
		const struct metric_row *const row = &metric_rows[m];
		buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRId64 "\n", row->exported, row->help,
			row->exported, row->type, row->exported, metric_get((enum metric)m));
	}
}
