#ifndef LLMLAB_DB_USERS_H
#define LLMLAB_DB_USERS_H

#include "llmlab/db/conn.h"

/* Accounts and logged-out tokens. Besides the errors named here, every call has those of db/conn.h, and ERR_NO_MEMORY. */
struct user {
	struct uuid id;
	const char *email, *name, *timezone; /* in the arena */
	const char *password_hash;           /* in the arena */
	int64_t created_at_us;
	int64_t session_generation; /* for a session that begins now */
};

/* Stores all fields but the generation, which is 0, as given. ERR_DUPLICATE: the e-mail (any case) is taken. */
enum err users_insert(struct db_conn *c, const struct user *u);
/* ERR_NOT_FOUND, also for an account that is being deleted. E-mail is compared regardless of case. */
enum err users_find_by_email(struct db_conn *c, const char *email, struct arena *arena, struct user *ret);
enum err users_find(struct db_conn *c, const struct uuid *id, struct arena *arena, struct user *ret);
/* Holds the account's row until the transaction ends, so that an account's changes come one after the other: what is counted
 * before a change is still true when it is made. Does not block who stores calls: foreign keys take a weaker lock.
 * ERR_NOT_FOUND, also for an account that is being deleted. */
enum err users_lock(struct db_conn *c, const struct uuid *id);
/* NULL leaves a field as it is. ERR_NOT_FOUND. */
enum err users_update(struct db_conn *c, const struct uuid *id, const char *name, const char *timezone);
/* A new password if old_hash is still the stored one (else ERR_NOT_FOUND): all sessions end; *ret_generation is that of new ones. */
enum err users_set_password(struct db_conn *c, const struct uuid *id, const char *old_hash, const char *new_hash, int64_t *ret_generation);
/* The same password in another form: nothing ends. No error if old_hash is not the stored one any more. */
enum err users_rehash(struct db_conn *c, const struct uuid *id, const char *old_hash, const char *new_hash);

/* Logs a token out, now by the database's clock. Again is the same; a user that does not exist any more is no error (its
 * tokens are dead already). */
enum err tokens_revoke(struct db_conn *c, const struct uuid *user_id, const struct uuid *token_id, int64_t expires_at_us);
/* True in *ret if this token is revoked, is of a generation that has ended, or its user does not exist (any more). */
enum err tokens_is_revoked(
	struct db_conn *c, const struct uuid *user_id, const struct uuid *token_id, int64_t generation, bool *ret);
/* Calls each() for every token revoked at or after since_us (clock of the database), oldest first, in pages, so that none
 * is left out however many there are. A transaction that logged a token out commits later than the time it wrote, so
 * the last TOKENS_OVERLAP_US before since_us are told again: each() must bear a token it knows. *ret_now_us is the
 * database's time when the reading began: the next call's since_us. */
#define TOKENS_OVERLAP_US 10000000
enum err tokens_revoked_since(struct db_conn *c, int64_t since_us, void (*each)(void *arg, const struct uuid *token_id,
	int64_t expires_at_us), void *arg, int64_t *ret_now_us);
/* Deletes rows whose token expired more than two days ago (clocks differ and may jump), at most
 * 10,000 a call. */
enum err tokens_purge(struct db_conn *c);

#endif
