#ifndef LLMLAB_APP_UPKEEP_H
#define LLMLAB_APP_UPKEEP_H

#include "llmlab/api/api.h"

/* What keeps the database in order, on a thread and a connection of its own, so that a slow statement never delays the watch:
 * partitions ahead, expired rows, retention. */
struct upkeep;

/* Starts the thread; it begins when the watch has found the schema ready. api outlives it. Events whose month (UTC) ended more than
 * retention_days ago are dropped; 0: kept for ever. ERR_NO_MEMORY. */
enum err upkeep_start(const struct api *api, int64_t retention_days, struct upkeep **ret);
/* NULL is nothing. */
void upkeep_stop(struct upkeep *u);

#endif
