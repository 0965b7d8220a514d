#ifndef LLMLAB_DB_OVERRIDES_H
#define LLMLAB_DB_OVERRIDES_H

#include "llmlab/core/catalogue.h"
#include "llmlab/db/conn.h"

/* Users' own prices, as they are stored: JSON texts whose meaning is the providers layer's. Besides the
 * errors named here, every call has those of db/conn.h, and ERR_NO_MEMORY. */

#define PRICE_OVERRIDE_BODY_MAX 16384 /* bytes */

struct price_override {
	struct uuid id;
	const char *body; /* JSON object in the form of POST /api/pricing/overrides; in the arena */
	bool exact;	  /* names one model */
	int64_t created_at_us;
};

/* Stores id, body and exact; o->created_at_us is set. ERR_NOT_FOUND: no such user. ERR_CONFLICT: the user has
 * OWN_PRICES_PER_USER_MAX already. ERR_RATE_LIMITED: has made 2,000 within a day, deleted ones included: what servers must
 * be told of is bounded. */
enum err overrides_insert(
	struct db_conn *c, const struct uuid *user_id, struct price_override *o, struct arena *arena);
/* Newest first, those made before `before` (NULL: from the newest), at most limit. */
enum err overrides_list(struct db_conn *c, const struct uuid *user_id, const struct uuid *before, int limit,
	struct arena *arena, struct price_override **ret, size_t *ret_n);
/* ERR_NOT_FOUND also for another user's. */
enum err overrides_delete(struct db_conn *c, const struct uuid *user_id, const struct uuid *id);

/* All that hold for one user, in the order in which they are tried: exact ones first, newer ones first. */
struct price_override_set {
	struct uuid user_id;
	int64_t revision; /* of the user's last change: a higher one is a later state */
	const struct price_override *overrides;
	size_t n;
};
/* One user's. Revision 0: never had any. */
enum err overrides_of_user(
	struct db_conn *c, const struct uuid *user_id, struct arena *arena, struct price_override_set *ret);
/* The sets of all users in whose prices anything was changed by a transaction from since_xid on (0: of all
 * users). *ret_xid is the since_xid of the next call: the oldest transaction that may still be running, so
 * that none is missed however late it commits; some are told again. A *ret_xid below since_xid means that it
 * is another database than before: load all again. */
enum err overrides_changed(struct db_conn *c, uint64_t since_xid, struct arena *arena,
	struct price_override_set **ret, size_t *ret_n, uint64_t *ret_xid);
/* Drops what was deleted more than a day ago, at most 10,000 a call. */
enum err overrides_purge(struct db_conn *c);

#endif
