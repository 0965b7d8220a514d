#ifndef LLMLAB_API_EVENT_OUTPUT_H
#define LLMLAB_API_EVENT_OUTPUT_H

#include "llmlab/base/json_write.h"
#include "llmlab/core/event.h"

/* How events are shown. */

/* The members that say what a call cost and why: provider, model, the totals, cost and pricing. Inside an
 * open object; estimates have only these. */
void event_write_cost(struct json_writer *w, const struct event *e);
/* What the cost is made of, as an array; what is billed not by token, as an object. */
void event_write_breakdown(struct json_writer *w, const char *key, const struct event *e);
void event_write_units(struct json_writer *w, const char *key, const struct usage *u);
/* The answer of track as one object. */
void event_write_tracked(struct json_writer *w, const char *key, const struct event *e, bool duplicate);
/* All there is of a stored event, as one object. */
void event_write_full(struct json_writer *w, const char *key, const struct event *e);

#endif
