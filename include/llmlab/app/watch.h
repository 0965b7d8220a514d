#ifndef LLMLAB_APP_WATCH_H
#define LLMLAB_APP_WATCH_H

#include <stdbool.h>
#include "llmlab/api/api.h"

/* A thread with a connection of its own that learns what other servers have done and whether the database answers, and runs the
 * migrations that could not run at the start. */
struct watch;

/* Starts the thread. api outlives it. migrated false: the database was away at the start; until the migrations have run, the
 * server is not ready. ERR_NO_MEMORY. */
enum err watch_start(struct api *api, bool migrated, struct watch **ret);
/* Waits for the round that is running, at most a statement's deadline or so; NULL is nothing. */
void watch_stop(struct watch *w);

#endif
