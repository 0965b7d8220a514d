#ifndef LLMLAB_API_ALERT_OUTPUT_H
#define LLMLAB_API_ALERT_OUTPUT_H

#include "llmlab/base/json_write.h"
#include "llmlab/db/alerts.h"

/* How alerts are shown: to who asks for them and, with acknowledged_at null, to webhooks. */

/* One object, with a sentence for people in `message`. */
void alert_write(struct json_writer *w, const struct alert *a);

#endif
