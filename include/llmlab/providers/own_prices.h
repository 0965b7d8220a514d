#ifndef LLMLAB_PROVIDERS_OWN_PRICES_H
#define LLMLAB_PROVIDERS_OWN_PRICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/err.h"
#include "llmlab/base/problem.h"
#include "llmlab/base/uuid.h"
#include "llmlab/core/catalogue.h"

/* The own prices of all users, in memory, so that an event is priced without asking the database. Whoever
 * reads the database (the watch, and the endpoints that change them) puts what it found; a user's set is
 * replaced as a whole, and a reader keeps the one it began with. Thread-safe. */

/* For all users together; beyond, a user's prices are not known, and what needs them is refused. */
#define OWN_PRICES_BYTES_MAX ((size_t)256 << 20)

/* One user's, immutable, counted. */
struct own_prices;

/* *ret is the user's set, NULL if there is none; release it. ERR_UNAVAILABLE: not known (not loaded yet, or
 * what was stored cannot be used): nothing of this user's may be priced now. Never blocks. */
enum err own_prices_acquire(const struct uuid *user_id, const struct own_prices **ret);
/* NULL is nothing. */
void own_prices_release(const struct own_prices *o);
/* Those in force at the instant, in the order in which they are tried; returns how many. NULL has none. */
size_t own_prices_at(
	const struct own_prices *o, int64_t at_us, const struct price_record *ret[OWN_PRICES_PER_USER_MAX]);
/* All of them whatever the time. */
size_t own_prices_all(const struct own_prices *o, const struct price_record *ret[OWN_PRICES_PER_USER_MAX]);

/* Tells that a reading of the database begins; the number goes with what it finds. */
uint64_t own_prices_load_begin(void);
/* Replaces a user's set by these (JSON objects as catalogue_parse_override() reads them, in the order in
 * which they are tried), which the reading `began` has found, unless the set that is there is newer: one of this or a later
 * revision that was put since the reading began. ERR_VALIDATION (*p says why), ERR_TOO_LARGE (no room for them,
 * OWN_PRICES_BYTES_MAX): this user's prices are not known from now on. ERR_NO_MEMORY: this user's or everybody's are not,
 * until everything was loaded again. */
enum err own_prices_put(uint64_t began, const struct uuid *user_id, int64_t revision, const char *const *bodies, size_t n,
	struct problem *p);
/* That reading was of everything: what was put since it began, or kept because it is as new, stays; all other
 * users' sets go. The first end makes the prices known. */
void own_prices_load_end(uint64_t load);
/* What is known may be wrong (the database was set back): nothing is, until everything was loaded again. */
void own_prices_forget(void);
/* Whether there was a first load. */
bool own_prices_loaded(void);

/* Users whose set was replaced since the last call, at most max; *ret_all: there were more than are
 * remembered, so take everybody. */
size_t own_prices_take_changed(struct uuid *ret, size_t max, bool *ret_all);

/* Drops everything, at exit: nobody reads any more. */
void own_prices_shutdown(void);

#endif
