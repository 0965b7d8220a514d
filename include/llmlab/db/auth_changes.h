#ifndef LLMLAB_DB_AUTH_CHANGES_H
#define LLMLAB_DB_AUTH_CHANGES_H

#include "llmlab/db/conn.h"

/* What ended sessions and keys by generation (new passwords, deleted keys and accounts), for servers to poll. Besides the
 * errors named here, every call has those of db/conn.h. */

/* As in auth/revocation.h; INT64_MAX: the account is gone. */
struct auth_change {
	struct uuid account;
	int64_t session_generation, key_generation;
};

/* Calls each() for every change that was not there for the caller of the poll that gave *xid (0: all), in pages: none is left out,
 * some are told again. *xid is set for the next poll. ERR_NO_MEMORY. */
enum err auth_changes_poll(
	struct db_conn *c, uint64_t *xid, void (*each)(void *arg, const struct auth_change *change), void *arg);
/* Deletes those that no living token is older than (a year, what a token may live, and a margin), at most 10,000 a call. */
enum err auth_changes_purge(struct db_conn *c);

#endif
