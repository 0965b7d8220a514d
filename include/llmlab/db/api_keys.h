#ifndef LLMLAB_DB_API_KEYS_H
#define LLMLAB_DB_API_KEYS_H

#include "llmlab/db/conn.h"

/* API keys. Besides the errors named here, every call has those of db/conn.h, and ERR_NO_MEMORY. */

#define API_KEYS_MAX 100 /* of one user */

struct api_key {
	struct uuid id;
	const char *name, *scope, *prefix; /* in the arena; scope: ingest, read or full */
	int64_t created_at_us;
	int64_t expires_at_us;	 /* INT64_MAX: never */
	int64_t last_used_at_us; /* 0: never used */
};

/* Stores a key with the SHA-256 of its text, and sets k->created_at_us. ERR_NOT_FOUND: the account is gone. ERR_CONFLICT: the user has
 * API_KEYS_MAX. */
enum err api_keys_insert(struct db_conn *c, const struct uuid *user_id, struct api_key *k, const uint8_t hash[32]);
/* At most `limit` keys of the user, newest first, of those below `before` (NULL: all). */
enum err api_keys_list_of_user(struct db_conn *c, const struct uuid *user_id, const struct uuid *before, int limit, struct arena *arena,
	struct api_key **ret, size_t *ret_n);
/* ERR_NOT_FOUND. Servers that remember keys of this user look them up again from the generation on. */
enum err api_keys_delete_one(struct db_conn *c, const struct uuid *user_id, const struct uuid *id, int64_t *ret_generation);

/* Whose key it is and what it may do. */
struct api_key_owner {
	struct uuid user_id, key_id;
	char scope[8];
	int64_t expires_at_us; /* INT64_MAX: never */
	int64_t generation;    /* the user's key_generation at this moment */
};
/* By the SHA-256. ERR_NOT_FOUND: there is no such key, or it has expired. Notes the use, once a minute at most. */
enum err api_keys_find(struct db_conn *c, const uint8_t hash[32], struct api_key_owner *ret);

/* The last use of a key. */
struct api_key_use {
	struct uuid user_id, key_id;
	int64_t at_us;
};
/* Notes uses, all in one statement; later ones stay, keys that are gone are nothing. */
enum err api_keys_note_uses(struct db_conn *c, const struct api_key_use *uses, size_t n);

#endif
