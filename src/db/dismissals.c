/* Dismissed recommendations: their SQL with its parameters and columns. What an id stands for is not known
 * here. */

#include "llmlab/db/dismissals.h"

#include "llmlab/db/users.h"
#include "scope.h"

#define PARAMS_BYTES (16 << 10)

/* No row: the user has 1000 others (DISMISSALS_PER_USER_MAX). */
static const struct db_stmt INSERT = {"dismissals_add",
	"WITH made AS (INSERT INTO recommendation_dismissals (user_id, recommendation_id, dismissed_at)"
	" SELECT $1::uuid, $2::text, now()"
	" WHERE (SELECT count(*) FROM recommendation_dismissals WHERE user_id = $1) < 1000"
	" ON CONFLICT (user_id, recommendation_id) DO NOTHING RETURNING dismissed_at)"
	" SELECT dismissed_at FROM made UNION ALL SELECT dismissed_at FROM recommendation_dismissals"
	" WHERE user_id = $1 AND recommendation_id = $2"};

static const struct db_stmt DELETE_ONE = {"dismissals_remove",
	"DELETE FROM recommendation_dismissals WHERE user_id = $1 AND recommendation_id = $2"
	" RETURNING recommendation_id"};

static const struct db_stmt LIST = {"dismissals_list",
	"SELECT recommendation_id FROM recommendation_dismissals WHERE user_id = $1"
	" ORDER BY recommendation_id COLLATE \"C\" LIMIT 1000"};

struct addition {
	const struct uuid *user_id;
	const char *id;
	int64_t dismissed_at_us;
};

/* Body of a transaction. */
static enum err add(struct db_conn *c, void *arg)
{
	struct addition *const a = arg;
	enum err e = users_lock(c, a->user_id);
	if (e != ERR_OK)
		return e;
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, a->user_id);
	db_param_text(&p, a->id);
	PGresult *made SCOPE_RESULT = NULL;
	e = db_run(c, &INSERT, &p, &made);
	if (e != ERR_OK)
		return e;
	if (db_rows(made) == 0)
		return ERR_CONFLICT;
	a->dismissed_at_us = db_instant(made, 0, 0);
	return ERR_OK;
}

enum err dismissals_add(
	struct db_conn *c, const struct uuid *user_id, const char *id, int64_t *ret_dismissed_at_us)
{
	struct addition a = {.user_id = user_id, .id = id};
	const enum err e = db_transaction(c, add, &a);
	if (e == ERR_OK)
		*ret_dismissed_at_us = a.dismissed_at_us;
	return e;
}

enum err dismissals_remove(struct db_conn *c, const struct uuid *user_id, const char *id)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_text(&p, id);
	return db_run_row(c, &DELETE_ONE, &p, NULL);
}

enum err dismissals_list(
	struct db_conn *c, const struct uuid *user_id, struct arena *arena, struct dismissed *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &LIST, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	const char **ids = arena_array(arena, n, sizeof(*ids));
	for (size_t i = 0; ids && i < n; i++)
		ids[i] = arena_strdup(arena, db_text(r, (int)i, 0));
	if (!ids || arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = (struct dismissed){.ids = ids, .n = n};
	return ERR_OK;
}
