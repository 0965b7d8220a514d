/* Waits before logins and signups: calls the functions that count them in the database. */
#include "llmlab/db/login_throttle.h"

#include "scope.h"

#define PARAMS_BYTES (16 << 10)
#define PURGE_ROWS   10000 /* also written in the statement */

static const struct db_stmt ATTEMPT = {
	"login_attempt", "SELECT login_attempt($1, $2, $3::integer, $4::integer)"};
static const struct db_stmt SUCCEEDED = {
	"login_succeeded", "SELECT login_succeeded($1, $2, $3::integer, $4::integer)"};
static const struct db_stmt SIGNUP = {
	"signup_attempt", "SELECT signup_attempt($1, $2::integer, $3::integer, $4::integer)"};

/* Failures that came to a wait are remembered for a day, others for an hour. A row that somebody holds is in
 * use. */
static const struct db_stmt PURGE = {"login_throttle_purge",
	"DELETE FROM auth_throttles WHERE key IN (SELECT key FROM auth_throttles"
	" WHERE until < now() - interval '1 hour' AND (failures < 5 OR until < now() - interval '1 day')"
	" ORDER BY until LIMIT 10000 FOR UPDATE SKIP LOCKED) RETURNING 1"};

/* Runs a statement that answers one number, or none with ret NULL. */
static enum err run(struct db_conn *c, const struct db_stmt *stmt, const struct db_params *p, int64_t *ret)
{
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, stmt, p, &r);
	if (e == ERR_OK && ret != NULL)
		*ret = db_i64(r, 0, 0);
	return e;
}

static void login_params(struct db_params *p, struct arena *arena, const struct login_rates *rates,
	const char *email, const char *network)
{
	db_params_init(p, arena);
	db_param_text(p, email);
	db_param_text(p, network);
	db_param_i64(p, rates->network_per_hour);
	db_param_i64(p, rates->everybody_per_hour);
}

enum err login_throttle_attempt(struct db_conn *c, const struct login_rates *rates, const char *email,
	const char *network, int64_t *ret_wait_ms)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	login_params(&p, &arena, rates, email, network);
	return run(c, &ATTEMPT, &p, ret_wait_ms);
}

enum err login_throttle_succeeded(
	struct db_conn *c, const struct login_rates *rates, const char *email, const char *network)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	login_params(&p, &arena, rates, email, network);
	return run(c, &SUCCEEDED, &p, NULL);
}

enum err signup_throttle_attempt(
	struct db_conn *c, const struct signup_rates *rates, const char *address, int64_t *ret_wait_ms)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_text(&p, address);
	db_param_i64(&p, rates->per_minute);
	db_param_i64(&p, rates->per_day);
	db_param_i64(&p, rates->everybody_per_minute);
	return run(c, &SIGNUP, &p, ret_wait_ms);
}

enum err login_throttle_purge(struct db_conn *c, bool *ret_more)
{
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &PURGE, NULL, &r);
	if (e == ERR_OK)
		*ret_more = db_rows(r) >= PURGE_ROWS;
	return e;
}
