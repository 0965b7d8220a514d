#ifndef LLMLAB_API_OWN_PRICES_LOAD_H
#define LLMLAB_API_OWN_PRICES_LOAD_H

#include "llmlab/base/problem.h"
#include "llmlab/db/conn.h"
#include "llmlab/providers/own_prices.h"

/* From the users' own prices in the database to those in memory (providers/own_prices.h). */

/* Where a server stands with what it knows; zeroed at the start. */
struct own_prices_watch {
	uint64_t since_xid;   /* 0: load all */
	int64_t full_mono_us; /* when all is loaded again, whatever happened */
	int64_t forgot_mono_us; /* own_prices_watch_forget(); 0: never */
	bool learned;		/* the last poll has found something */
};

/* Takes over what changed since the last call, or everything when that is due. Call it every few hundred
 * milliseconds, from one thread. The errors of db/overrides.h: nothing was lost, the next call makes it good.
 */
enum err own_prices_poll(struct db_conn *c, struct own_prices_watch *w);
/* The database was set back: nothing is known until all is loaded, which the next poll does, and again and again for some minutes. */
void own_prices_watch_forget(struct own_prices_watch *w);
/* Takes over one user's at once, after a change by this server. */
enum err own_prices_load_user(struct db_conn *c, const struct uuid *user_id);

/* own_prices_acquire() for a request: ERR_UNAVAILABLE is told in *p. */
enum err own_prices_of_request(const struct uuid *user_id, const struct own_prices **ret, struct problem *p);

#endif
