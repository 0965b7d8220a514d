/* API keys: their SQL with its parameters and columns. What a key looks like and what its scope allows is
 * known above. */
#include "llmlab/db/api_keys.h"

#include <stdio.h>

#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/hex.h"
#include "llmlab/db/users.h"
#include "scope.h"

#define PARAMS_BYTES	(64 << 10)
#define USES_BYTES	((size_t)2 << 20)
#define HASH_TEXT_BYTES 65

static const struct db_stmt COUNT = {"api_keys_count", "SELECT count(*) FROM api_keys WHERE user_id = $1"};

static const struct db_stmt INSERT = {"api_keys_insert",
	"INSERT INTO api_keys (user_id, id, name, scope, prefix, hash, expires_at)"
	" VALUES ($1, $2, $3, $4, $5, decode($6, 'hex'), $7::timestamptz) RETURNING created_at"};

static const struct db_stmt LIST = {"api_keys_list",
	"SELECT id, name, scope, prefix, created_at, expires_at, last_used_at FROM api_keys"
	" WHERE user_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3::integer"};

/* Under users_lock(): an account's deletion holds the user's row before his keys. */
static const struct db_stmt DELETE_ONE = {"api_keys_delete",
	"WITH gone AS (DELETE FROM api_keys WHERE user_id = $1 AND id = $2 RETURNING user_id),"
	" changed AS (UPDATE users SET key_generation = key_generation + 1 WHERE id IN (SELECT user_id FROM "
	"gone)"
	" RETURNING id, session_generation, key_generation)"
	" INSERT INTO auth_changes (account, session_generation, key_generation) SELECT * FROM changed"
	" ON CONFLICT (account) DO UPDATE SET session_generation = excluded.session_generation,"
	" key_generation = excluded.key_generation, changed_at = now(), changed_xid = pg_current_xact_id()"
	" RETURNING key_generation"};

static const struct db_stmt FIND = {"api_keys_find",
	"SELECT k.user_id, k.id, k.scope, k.expires_at, u.key_generation,"
	" k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute'"
	" FROM api_keys AS k JOIN users AS u ON u.id = k.user_id"
	" WHERE k.hash = decode($1, 'hex') AND u.deleted_at IS NULL"
	" AND (k.expires_at IS NULL OR k.expires_at > now())"};

/* Rows are locked in one order, whatever server they come from. */
static const struct db_stmt NOTE_USES = {"api_keys_note_uses",
	"WITH uses AS (SELECT k.user_id, k.id, u.at FROM unnest($1::uuid[], $2::uuid[], "
	"$3::text[]::timestamptz[])"
	" AS u (user_id, id, at) JOIN api_keys AS k ON k.user_id = u.user_id AND k.id = u.id"
	" ORDER BY k.user_id, k.id FOR NO KEY UPDATE OF k)"
	" UPDATE api_keys AS k SET last_used_at = greatest(k.last_used_at, u.at) FROM uses AS u"
	" WHERE k.user_id = u.user_id AND k.id = u.id"};

static const char *hash_text(struct arena *arena, const uint8_t hash[32])
{
	char *const text = arena_alloc(arena, HASH_TEXT_BYTES);
	if (text != NULL)
		hex_encode(hash, 32, text);
	return text;
}

struct addition {
	const struct uuid *user_id;
	const uint8_t *hash;
	struct api_key *key;
	struct arena *arena;
	int64_t created_at_us;
};

static enum err check_room(struct db_conn *c, const struct addition *a)
{
	enum err e = users_lock(c, a->user_id);
	if (e != ERR_OK)
		return e;
	struct db_params p;
	db_params_init(&p, a->arena);
	db_param_uuid(&p, a->user_id);
	PGresult *r SCOPE_RESULT = NULL;
	e = db_run(c, &COUNT, &p, &r);
	if (e != ERR_OK)
		return e;
	return db_i64(r, 0, 0) >= API_KEYS_MAX ? ERR_CONFLICT : ERR_OK;
}

/* Body of a transaction. */
static enum err insert(struct db_conn *c, void *arg)
{
	struct addition *const a = arg;
	enum err e = check_room(c, a);
	if (e != ERR_OK)
		return e;
	struct db_params p;
	db_params_init(&p, a->arena);
	db_param_uuid(&p, a->user_id);
	db_param_uuid(&p, &a->key->id);
	db_param_text(&p, a->key->name);
	db_param_text(&p, a->key->scope);
	db_param_text(&p, a->key->prefix);
	db_param_text(&p, hash_text(a->arena, a->hash));
	if (a->key->expires_at_us == INT64_MAX)
		db_param_text(&p, NULL);
	else
		db_param_instant(&p, a->key->expires_at_us);
	PGresult *r SCOPE_RESULT = NULL;
	e = db_run(c, &INSERT, &p, &r);
	if (e == ERR_OK)
		a->created_at_us = db_instant(r, 0, 0);
	return e;
}

enum err api_keys_insert(
	struct db_conn *c, const struct uuid *user_id, struct api_key *k, const uint8_t hash[32])
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct addition a = {.user_id = user_id, .hash = hash, .key = k, .arena = &arena};
	const enum err e = db_transaction(c, insert, &a);
	if (e == ERR_OK)
		k->created_at_us = a.created_at_us;
	return e;
}

enum err api_keys_list_of_user(struct db_conn *c, const struct uuid *user_id, const struct uuid *before,
	int limit, struct arena *arena, struct api_key **ret, size_t *ret_n)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, before);
	db_param_i64(&p, limit);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &LIST, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct api_key *const keys = arena_array(arena, n, sizeof *keys);
	for (size_t i = 0; keys != NULL && i < n; i++) {
		const int row = (int)i;
		keys[i] = (struct api_key){.id = db_uuid(r, row, 0),
			.name = arena_strdup(arena, db_text(r, row, 1)),
			.scope = arena_strdup(arena, db_text(r, row, 2)),
			.prefix = arena_strdup(arena, db_text(r, row, 3)),
			.created_at_us = db_instant(r, row, 4),
			.expires_at_us = db_is_null(r, row, 5) ? INT64_MAX : db_instant(r, row, 5),
			.last_used_at_us = db_is_null(r, row, 6) ? 0 : db_instant(r, row, 6)};
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = keys;
	*ret_n = n;
	return ERR_OK;
}

struct removal {
	const struct uuid *user_id, *id;
	struct arena *arena;
	int64_t generation;
};

/* Body of a transaction. */
static enum err delete_one(struct db_conn *c, void *arg)
{
	struct removal *const k = arg;
	enum err e = users_lock(c, k->user_id);
	if (e != ERR_OK)
		return e;
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, k->user_id);
	db_param_uuid(&p, k->id);
	PGresult *r SCOPE_RESULT = NULL;
	e = db_run_row(c, &DELETE_ONE, &p, &r);
	if (e == ERR_OK)
		k->generation = db_i64(r, 0, 0);
	return e;
}

enum err api_keys_delete_one(
	struct db_conn *c, const struct uuid *user_id, const struct uuid *id, int64_t *ret_generation)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct removal k = {.user_id = user_id, .id = id, .arena = &arena};
	const enum err e = db_transaction(c, delete_one, &k);
	if (e == ERR_OK)
		*ret_generation = k.generation;
	return e;
}

static enum err note_use_now(struct db_conn *c, const struct api_key_owner *owner, int64_t now_us)
{
	const struct api_key_use use = {.user_id = owner->user_id, .key_id = owner->key_id, .at_us = now_us};
	return api_keys_note_uses(c, &use, 1);
}

enum err api_keys_find(struct db_conn *c, const uint8_t hash[32], struct api_key_owner *ret)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_text(&p, hash_text(&arena, hash));
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(c, &FIND, &p, &r);
	if (e != ERR_OK)
		return e;
	struct api_key_owner owner = {.user_id = db_uuid(r, 0, 0),
		.key_id = db_uuid(r, 0, 1),
		.expires_at_us = db_is_null(r, 0, 3) ? INT64_MAX : db_instant(r, 0, 3),
		.generation = db_i64(r, 0, 4)};
	(void)snprintf(owner.scope, sizeof owner.scope, "%s", db_text(r, 0, 2));
	/* A use that could not be noted refuses nobody. */
	if (db_bool(r, 0, 5))
		(void)note_use_now(c, &owner, clock_now_us());
	*ret = owner;
	return ERR_OK;
}

enum err api_keys_note_uses(struct db_conn *c, const struct api_key_use *uses, size_t n)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, USES_BYTES);
	const char **const texts[3] = {arena_array(&arena, n, sizeof(char *)),
		arena_array(&arena, n, sizeof(char *)), arena_array(&arena, n, sizeof(char *))};
	if (n == 0)
		return ERR_OK;
	if (arena_overflowed(&arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		texts[0][i] = uuid_text(&uses[i].user_id, &arena);
		texts[1][i] = uuid_text(&uses[i].key_id, &arena);
		texts[2][i] = instant_text(uses[i].at_us, &arena);
	}
	struct db_params p;
	db_params_init(&p, &arena);
	for (size_t i = 0; i < 3; i++)
		db_param_text_array(&p, texts[i], n);
	return db_run(c, &NOTE_USES, &p, NULL);
}
