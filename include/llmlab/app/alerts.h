#ifndef LLMLAB_APP_ALERTS_H
#define LLMLAB_APP_ALERTS_H

#include "llmlab/api/api.h"

/* What looks at budgets whenever something was spent, and tells of thresholds that were reached and of models without a price; on a
 * thread and a connection of its own. Any number of servers may have one. */
struct alerts;

/* Starts the thread; it begins when the watch has found the schema ready, with everybody (what was spent just before a kill is
 * not forgotten), and looks at everybody again every minute. api outlives it. ERR_NO_MEMORY. */
enum err alerts_start(const struct api *api, struct alerts **ret);
/* Waits for the round that is running. NULL is nothing. */
void alerts_stop(struct alerts *a);

#endif
