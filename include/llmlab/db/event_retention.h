#ifndef LLMLAB_DB_EVENT_RETENTION_H
#define LLMLAB_DB_EVENT_RETENTION_H

#include "llmlab/db/conn.h"

/* Drops the oldest month of events (UTC) that had ended by before_us, with all events in it, everybody's; *ret_dropped
 * tells whether there was one: then there may be another. Sums and idempotency keys stay. One server at a time does it:
 * the others are told that there is none. On any error nothing is dropped; one is that the tables were in use for a
 * second on end. */
enum err event_retention_drop(struct db_conn *c, int64_t before_us, bool *ret_dropped);

#endif
