#ifndef LLMLAB_APP_ANOMALY_WATCH_H
#define LLMLAB_APP_ANOMALY_WATCH_H

#include "llmlab/api/api.h"

/* What looks for unusual spend by itself, keeps what it finds and tells webhooks of it once; on a thread and
 * a connection of its own. Any number of servers may have one: they share the users. */
struct anomaly_watch;

/* Starts the thread; it begins when the watch has found the schema ready. Each user with spend today or
 * yesterday (or since 2 days ago, where his zone is far from UTC) is looked at every every_us. api outlives
 * it. ERR_NO_MEMORY. */
enum err anomaly_watch_start(const struct api *api, int64_t every_us, struct anomaly_watch **ret);
/* Waits for the user that is being looked at. NULL is nothing. */
void anomaly_watch_stop(struct anomaly_watch *w);

#endif
