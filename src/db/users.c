/* Accounts and logged-out tokens: their SQL with its parameters and columns. Which texts are acceptable
 * (e-mail, name, zone, password hash) is decided above; here they are stored and found. */

#include "llmlab/db/users.h"

#include "llmlab/base/check.h"
#include "scope.h"

#define PARAMS_BYTES (64 << 10) /* texts of one statement's parameters */
#define REVOKED_PAGE 10000	/* rows of one page; also written in the statement */

static const struct db_stmt INSERT_USER = {"users_insert",
	"INSERT INTO users (id, email, name, password_hash, timezone, created_at, updated_at)"
	" VALUES ($1, $2, $3, $4, $5, $6::timestamptz, $6::timestamptz)"};

#define USER_COLUMNS "id, email, name, timezone, password_hash, created_at, session_generation"
static const struct db_stmt FIND_USER_BY_EMAIL = {"users_find_by_email",
	"SELECT " USER_COLUMNS " FROM users WHERE lower(email) = lower($1) AND deleted_at IS NULL"};
static const struct db_stmt FIND_USER = {
	"users_find", "SELECT " USER_COLUMNS " FROM users WHERE id = $1 AND deleted_at IS NULL"};

static const struct db_stmt LOCK_USER = {
	"users_lock", "SELECT id FROM users WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE"};

static const struct db_stmt UPDATE_USER = {"users_update",
	"UPDATE users SET name = coalesce($2, name), timezone = coalesce($3, timezone), updated_at = now()"
	" WHERE id = $1 AND deleted_at IS NULL RETURNING id"};

static const struct db_stmt SET_PASSWORD = {"users_set_password",
	"WITH changed AS (UPDATE users SET password_hash = $3, updated_at = now(),"
	" session_generation = session_generation + 1"
	" WHERE id = $1 AND password_hash = $2 AND deleted_at IS NULL"
	" RETURNING id, session_generation, key_generation)"
	" INSERT INTO auth_changes AS a (account, session_generation, key_generation) SELECT * FROM changed"
	" ON CONFLICT (account) DO UPDATE SET session_generation = excluded.session_generation,"
	" key_generation = excluded.key_generation, changed_at = now(), changed_xid = pg_current_xact_id()"
	" RETURNING session_generation"};

static const struct db_stmt REHASH = {
	"users_rehash", "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2"};

/* Through users and with its row held, so that a token of a deleted account is nothing instead of a broken
 * foreign key. */
static const struct db_stmt REVOKE_TOKEN = {"tokens_revoke",
	"INSERT INTO revoked_tokens (user_id, token_id, revoked_at, expires_at)"
	" SELECT id, $2::uuid, clock_timestamp(), $3::timestamptz FROM users WHERE id = $1 FOR KEY SHARE"
	" ON CONFLICT (user_id, token_id) DO NOTHING"};

static const struct db_stmt IS_REVOKED = {"tokens_is_revoked",
	"SELECT EXISTS (SELECT FROM revoked_tokens WHERE user_id = $1 AND token_id = $2)"
	" OR NOT EXISTS (SELECT FROM users WHERE id = $1 AND session_generation <= $3 AND deleted_at IS "
	"NULL)"};

/* $1 is where the time index starts, ($2, $3) the last row of the page before. */
static const struct db_stmt REVOKED_SINCE = {"tokens_revoked_since",
	"SELECT token_id, expires_at, revoked_at FROM revoked_tokens"
	" WHERE revoked_at >= $1::timestamptz AND (revoked_at, token_id) > ($1::timestamptz, $2::uuid)"
	" ORDER BY revoked_at, token_id LIMIT 10000"};

static const struct db_stmt NOW = {"tokens_now", "SELECT now()"};

static const struct db_stmt PURGE_TOKENS = {"tokens_purge",
	"DELETE FROM revoked_tokens WHERE (user_id, token_id) IN (SELECT user_id, token_id FROM "
	"revoked_tokens"
	" WHERE expires_at < now() - interval '2 days' ORDER BY expires_at LIMIT 10000)"};

enum err users_insert(struct db_conn *c, const struct user *u)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &u->id);
	db_param_text(&p, u->email);
	db_param_text(&p, u->name);
	db_param_text(&p, u->password_hash);
	db_param_text(&p, u->timezone);
	db_param_instant(&p, u->created_at_us);
	return db_run(c, &INSERT_USER, &p, NULL);
}

/* Runs a statement that gives USER_COLUMNS of one user or none. */
static enum err find_user(
	struct db_conn *c, const struct db_stmt *stmt, const struct db_params *p, struct user *ret)
{
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(c, stmt, p, &r);
	if (e != ERR_OK)
		return e;
	const struct user found = {
		.id = db_uuid(r, 0, 0),
		.email = arena_strdup(p->arena, db_text(r, 0, 1)),
		.name = arena_strdup(p->arena, db_text(r, 0, 2)),
		.timezone = arena_strdup(p->arena, db_text(r, 0, 3)),
		.password_hash = arena_strdup(p->arena, db_text(r, 0, 4)),
		.created_at_us = db_instant(r, 0, 5),
		.session_generation = db_i64(r, 0, 6),
	};
	if (arena_overflowed(p->arena))
		return ERR_NO_MEMORY;
	*ret = found;
	return ERR_OK;
}

enum err users_find_by_email(struct db_conn *c, const char *email, struct arena *arena, struct user *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_text(&p, email);
	return find_user(c, &FIND_USER_BY_EMAIL, &p, ret);
}

enum err users_find(struct db_conn *c, const struct uuid *id, struct arena *arena, struct user *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, id);
	return find_user(c, &FIND_USER, &p, ret);
}

enum err users_lock(struct db_conn *c, const struct uuid *id)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, id);
	return db_run_row(c, &LOCK_USER, &p, NULL);
}

enum err users_update(struct db_conn *c, const struct uuid *id, const char *name, const char *timezone)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, id);
	db_param_text(&p, name);
	db_param_text(&p, timezone);
	return db_run_row(c, &UPDATE_USER, &p, NULL);
}

enum err users_set_password(struct db_conn *c, const struct uuid *id, const char *old_hash,
	const char *new_hash, int64_t *ret_generation)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, id);
	db_param_text(&p, old_hash);
	db_param_text(&p, new_hash);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(c, &SET_PASSWORD, &p, &r);
	if (e != ERR_OK)
		return e;
	*ret_generation = db_i64(r, 0, 0);
	return ERR_OK;
}

enum err users_rehash(struct db_conn *c, const struct uuid *id, const char *old_hash, const char *new_hash)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, id);
	db_param_text(&p, old_hash);
	db_param_text(&p, new_hash);
	return db_run(c, &REHASH, &p, NULL);
}

enum err tokens_revoke(
	struct db_conn *c, const struct uuid *user_id, const struct uuid *token_id, int64_t expires_at_us)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, token_id);
	db_param_instant(&p, expires_at_us);
	return db_run(c, &REVOKE_TOKEN, &p, NULL);
}

enum err tokens_is_revoked(struct db_conn *c, const struct uuid *user_id, const struct uuid *token_id,
	int64_t generation, bool *ret)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, token_id);
	db_param_i64(&p, generation);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &IS_REVOKED, &p, &r);
	if (e != ERR_OK)
		return e;
	CHECK(db_rows(r) == 1);
	*ret = db_bool(r, 0, 0);
	return ERR_OK;
}

/* Where reading goes on: after the row of this time and token. */
struct revoked_place {
	int64_t revoked_at_us;
	struct uuid token_id;
};

/* Reads the page after *place and moves it on. *ret_last tells that there is no further page. */
static enum err revoked_page(struct db_conn *c, struct revoked_place *place,
	void (*each)(void *arg, const struct uuid *token_id, int64_t expires_at_us), void *arg,
	bool *ret_last)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_instant(&p, place->revoked_at_us);
	db_param_uuid(&p, &place->token_id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &REVOKED_SINCE, &p, &r);
	if (e != ERR_OK)
		return e;
	const int rows = db_rows(r);
	for (int row = 0; row < rows; row++) {
		const struct uuid token_id = db_uuid(r, row, 0);
		each(arg, &token_id, db_instant(r, row, 1));
		*place = (struct revoked_place){.revoked_at_us = db_instant(r, row, 2), .token_id = token_id};
	}
	*ret_last = rows < REVOKED_PAGE;
	return ERR_OK;
}

static enum err database_now(struct db_conn *c, int64_t *ret_us)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &NOW, &p, &r);
	if (e != ERR_OK)
		return e;
	CHECK(db_rows(r) == 1);
	*ret_us = db_instant(r, 0, 0);
	return ERR_OK;
}

enum err tokens_revoked_since(struct db_conn *c, int64_t since_us,
	void (*each)(void *arg, const struct uuid *token_id, int64_t expires_at_us), void *arg,
	int64_t *ret_now_us)
{
	int64_t now_us = 0;
	enum err e = database_now(c, &now_us);
	if (e != ERR_OK)
		return e;
	/* The zero id is before every token of that very instant. */
	struct revoked_place place = {
		.revoked_at_us = since_us > TOKENS_OVERLAP_US ? since_us - TOKENS_OVERLAP_US : 0};
	for (bool last = false; !last;) {
		e = revoked_page(c, &place, each, arg, &last);
		if (e != ERR_OK)
			return e;
	}
	*ret_now_us = now_us;
	return ERR_OK;
}

enum err tokens_purge(struct db_conn *c)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	return db_run(c, &PURGE_TOKENS, &p, NULL);
}
