/* Users with usage, page by page. Commands of the operator only: no statement here is a tenant's. */

#include "llmlab/db/spend_users.h"

#include "scope.h"

#define PARAMS_BYTES 4096

static const struct db_stmt LIST = {"spend_users_list",
	"SELECT u.id, u.email, u.timezone, f.bucket FROM users AS u CROSS JOIN LATERAL"
	" (SELECT min(bucket) AS bucket FROM usage_hour AS h WHERE h.user_id = u.id) AS f"
	" WHERE u.deleted_at IS NULL AND u.id > $1 AND ($2::text IS NULL OR lower(u.email) = lower($2)) AND "
	"f.bucket IS NOT NULL"
	" ORDER BY u.id LIMIT $3::integer"};

enum err spend_users_list(struct db_conn *c, const struct uuid *after, const char *email, int limit,
	struct arena *arena, struct spend_user **ret, size_t *ret_n)
{
	struct arena scratch SCOPE_ARENA;
	arena_init(&scratch, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &scratch);
	db_param_uuid(&p, after);
	db_param_text(&p, email);
	db_param_i64(&p, limit);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &LIST, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct spend_user *const users = arena_array(arena, n, sizeof *users);
	for (size_t i = 0; users != NULL && i < n; i++) {
		const int row = (int)i;
		users[i] = (struct spend_user){.id = db_uuid(r, row, 0),
			.email = arena_strdup(arena, db_text(r, row, 1)),
			.timezone = arena_strdup(arena, db_text(r, row, 2)),
			.first_us = db_instant(r, row, 3)};
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = users;
	*ret_n = n;
	return ERR_OK;
}
