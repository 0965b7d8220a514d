#ifndef LLMLAB_APP_REPRICER_H
#define LLMLAB_APP_REPRICER_H

#include "llmlab/db/conn.h"

/* The thread that applies prices to recorded events, with a connection of its own: it ends re-pricings that a
 * request began (or a server that is gone), and prices what had no price when a catalogue or a user's own
 * prices change. */
struct repricer;

/* Starts the thread; db's texts outlive it. ERR_NO_MEMORY. */
enum err repricer_start(const struct db_settings *db, struct repricer **ret);
/* Waits for the chunk that is running; what is left is gone on with after the next start. NULL is nothing. */
void repricer_stop(struct repricer *r);

#endif
