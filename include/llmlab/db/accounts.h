#ifndef LLMLAB_DB_ACCOUNTS_H
#define LLMLAB_DB_ACCOUNTS_H

#include "llmlab/db/conn.h"

/* Deleting accounts (docs/adr/0008). Besides the errors named here, every call has those of db/conn.h, and ERR_NO_MEMORY. */

/* An account with no more rows than this in any table that grows with use is deleted in one transaction. */
#define ACCOUNT_SMALL_ROWS 20000

/* Deletes the account if password_hash is still the stored one (else ERR_NOT_FOUND). When it returns, its e-mail is free, its sessions and
 * keys are dead for whoever asks the database, and auth_changes says so. *ret_gone: nothing of it is left. Otherwise (more rows than
 * small_rows, or writers that did not let go of it in time) accounts_purge() removes the rest. */
enum err accounts_delete(
	struct db_conn *c, const struct uuid *id, const char *password_hash, int small_rows, bool *ret_gone);
/* Removes a piece of the data of one deleted account, if there is any and no other server is at it; in the end the account itself.
 * *ret_more: it is worth being called again at once. */
enum err accounts_purge(struct db_conn *c, int small_rows, bool *ret_more);

#endif
