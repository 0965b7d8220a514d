#ifndef LLMLAB_SRC_INGEST_PROVIDER_METRICS_H
#define LLMLAB_SRC_INGEST_PROVIDER_METRICS_H

#include "llmlab/core/event.h"

/* Counts an event that was stored now under its provider. Thread-safe; does not wait for anything but
 * readers. */
void provider_metrics_count(const struct event *e);

#endif
