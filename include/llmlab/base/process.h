#ifndef LLMLAB_BASE_PROCESS_H
#define LLMLAB_BASE_PROCESS_H

#include "llmlab/base/buf.h"

/* Appends what the system knows of this process, as Prometheus text with the names that every client library uses
 * (process_resident_memory_bytes, process_open_fds ...), and llmlab_build_info. What /proc does not tell is left out. */
void process_metrics_write(struct buf *out, const char *version);

#endif
