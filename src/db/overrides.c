/* Users' own prices: their SQL with its parameters and columns, and what tells every server of a change. What
 * a price means is not known here.
 *
 * How no change is missed. Transactions become visible in another order than their clocks say, so rows carry
 * the number of the transaction that changed them (xid8), and a reader notes the oldest transaction that was
 * running when it looked: whatever it could not see has that number or a higher one. */

#include "llmlab/db/overrides.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/base/check.h"
#include "llmlab/db/users.h"
#include "scope.h"

#define PARAMS_BYTES (64 << 10)

/* The numbers of overrides.h. */
static const struct db_stmt COUNT = {"overrides_count",
	"SELECT count(*) FILTER (WHERE deleted_at IS NULL) >= 200,"
	" count(*) FILTER (WHERE created_at > now() - interval '1 day') >= 2000"
	" FROM price_overrides WHERE user_id = $1"};

static const struct db_stmt INSERT = {"overrides_insert",
	"INSERT INTO price_overrides (user_id, id, body, exact) VALUES ($1, $2, $3, $4::boolean) RETURNING "
	"created_at"};

static const struct db_stmt LIST = {"overrides_list",
	"SELECT id, body, exact, created_at FROM price_overrides"
	" WHERE user_id = $1 AND deleted_at IS NULL AND ($2::uuid IS NULL OR id < $2)"
	" ORDER BY id DESC LIMIT $3::integer"};

static const struct db_stmt DELETE_ONE = {"overrides_delete",
	"UPDATE price_overrides SET deleted_at = greatest(now(), created_at),"
	" revision = nextval('price_override_revisions'), changed_xid = pg_current_xact_id()"
	" WHERE user_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING id"};

/* Deleted ones have no body: they are there for their revision. */
#define SET_COLUMNS                                                                                          \
	"o.user_id, o.revision, o.id, CASE WHEN o.deleted_at IS NULL THEN o.body END, o.exact, o.created_at"
#define SET_ORDER " ORDER BY o.user_id, o.exact DESC, o.revision DESC"

static const struct db_stmt OF_USER = {"overrides_of_user",
	"SELECT NULL, " SET_COLUMNS " FROM price_overrides AS o WHERE o.user_id = $1" SET_ORDER};

/* What is asked all the time: one step into an index, whatever the planner thinks of the number of rows. */
static const struct db_stmt ANY_CHANGED = {"overrides_any_changed",
	"SELECT pg_snapshot_xmin(pg_current_snapshot())::text,"
	" coalesce((SELECT changed_xid FROM price_overrides ORDER BY changed_xid DESC LIMIT 1) >= $1::xid8, "
	"false)"};

/* One snapshot for the rows and the number; one row without an override if there is none. */
static const struct db_stmt CHANGED = {"overrides_changed",
	"SELECT pg_snapshot_xmin(pg_current_snapshot())::text, " SET_COLUMNS
	" FROM (VALUES (1)) AS one LEFT JOIN price_overrides AS o ON o.user_id IN"
	" (SELECT user_id FROM price_overrides WHERE changed_xid >= $1::xid8)" SET_ORDER};

static const struct db_stmt PURGE = {"overrides_purge",
	"DELETE FROM price_overrides WHERE (user_id, id) IN (SELECT user_id, id FROM price_overrides"
	" WHERE deleted_at < now() - interval '1 day' LIMIT 10000)"};

struct change {
	const struct uuid *user_id;
	const struct uuid *id;	  /* of the one to delete */
	struct price_override *o; /* the one to insert, or NULL */
	struct arena *arena;
	int64_t created_at_us;
};

static enum err check_room(struct db_conn *c, const struct change *k)
{
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, k->user_id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &COUNT, &p, &r);
	if (e != ERR_OK)
		return e;
	return db_bool(r, 0, 0) ? ERR_CONFLICT : db_bool(r, 0, 1) ? ERR_RATE_LIMITED : ERR_OK;
}

/* Bodies of transactions. */
static enum err insert(struct db_conn *c, void *arg)
{
	struct change *const k = arg;
	enum err e = users_lock(c, k->user_id);
	if (e == ERR_OK)
		e = check_room(c, k);
	if (e != ERR_OK)
		return e;
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, k->user_id);
	db_param_uuid(&p, &k->o->id);
	db_param_text(&p, k->o->body);
	db_param_bool(&p, k->o->exact);
	PGresult *r SCOPE_RESULT = NULL;
	e = db_run(c, &INSERT, &p, &r);
	if (e == ERR_OK)
		k->created_at_us = db_instant(r, 0, 0);
	return e;
}

static enum err delete_one(struct db_conn *c, void *arg)
{
	const struct change *const k = arg;
	enum err e = users_lock(c, k->user_id);
	if (e != ERR_OK)
		return e;
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, k->user_id);
	db_param_uuid(&p, k->id);
	return db_run_row(c, &DELETE_ONE, &p, NULL);
}

enum err overrides_insert(
	struct db_conn *c, const struct uuid *user_id, struct price_override *o, struct arena *arena)
{
	struct change k = {.user_id = user_id, .o = o, .arena = arena};
	const enum err e = db_transaction(c, insert, &k);
	if (e == ERR_OK)
		o->created_at_us = k.created_at_us;
	return e;
}

enum err overrides_delete(struct db_conn *c, const struct uuid *user_id, const struct uuid *id)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct change k = {.user_id = user_id, .id = id, .arena = &arena};
	return db_transaction(c, delete_one, &k);
}

enum err overrides_list(struct db_conn *c, const struct uuid *user_id, const struct uuid *before, int limit,
	struct arena *arena, struct price_override **ret, size_t *ret_n)
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
	struct price_override *const rows = arena_array(arena, n, sizeof *rows);
	for (size_t i = 0; rows != NULL && i < n; i++) {
		const int row = (int)i;
		rows[i] = (struct price_override){.id = db_uuid(r, row, 0),
			.body = arena_strdup(arena, db_text(r, row, 1)),
			.exact = db_bool(r, row, 2),
			.created_at_us = db_instant(r, row, 3)};
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

/* ---- sets ---- */

/* The rows of one user from *row on, of the columns SET_COLUMNS after one; *row is the next user's then. */
static struct price_override_set read_set(const PGresult *r, int *row, struct arena *arena)
{
	struct price_override_set set = {.user_id = db_uuid(r, *row, 1)};
	int end = *row;
	for (; end < db_rows(r); end++) {
		const struct uuid user_id = db_uuid(r, end, 1);
		if (!uuid_equal(&user_id, &set.user_id))
			break;
	}
	struct price_override *const all = arena_array(arena, (size_t)(end - *row), sizeof *all);
	for (; all != NULL && *row < end; (*row)++) {
		const int64_t revision = db_i64(r, *row, 2);
		if (revision > set.revision)
			set.revision = revision;
		if (!db_is_null(r, *row, 4))
			all[set.n++] = (struct price_override){.id = db_uuid(r, *row, 3),
				.body = arena_strdup(arena, db_text(r, *row, 4)),
				.exact = db_bool(r, *row, 5),
				.created_at_us = db_instant(r, *row, 6)};
	}
	*row = end;
	set.overrides = all;
	return set;
}

enum err overrides_of_user(
	struct db_conn *c, const struct uuid *user_id, struct arena *arena, struct price_override_set *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &OF_USER, &p, &r);
	if (e != ERR_OK)
		return e;
	int row = 0;
	const struct price_override_set set =
		db_rows(r) > 0 ? read_set(r, &row, arena) : (struct price_override_set){.user_id = *user_id};
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = set;
	return ERR_OK;
}

static uint64_t read_xid(const char *text)
{
	char *end = NULL;
	CHECK(text != NULL);
	const uint64_t xid = strtoull(text, &end, 10);
	CHECK(end != text && *end == '\0');
	return xid;
}

static enum err any_changed(
	struct db_conn *c, const struct db_params *since, bool *ret_any, uint64_t *ret_xid)
{
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &ANY_CHANGED, since, &r);
	if (e != ERR_OK)
		return e;
	*ret_any = db_bool(r, 0, 1);
	*ret_xid = read_xid(db_text(r, 0, 0));
	return ERR_OK;
}

static enum err read_changed(struct db_conn *c, const struct db_params *since, struct arena *arena,
	struct price_override_set **ret, size_t *ret_n, uint64_t *ret_xid)
{
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &CHANGED, since, &r);
	if (e != ERR_OK)
		return e;
	CHECK(db_rows(r) > 0);
	const bool any = !db_is_null(r, 0, 1);
	struct price_override_set *const sets =
		arena_array(arena, any ? (size_t)db_rows(r) : 0, sizeof *sets);
	size_t n = 0;
	for (int row = 0; any && row < db_rows(r) && !arena_overflowed(arena);)
		sets[n++] = read_set(r, &row, arena);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret_xid = read_xid(db_text(r, 0, 0));
	*ret = sets;
	*ret_n = n;
	return ERR_OK;
}

enum err overrides_changed(struct db_conn *c, uint64_t since_xid, struct arena *arena,
	struct price_override_set **ret, size_t *ret_n, uint64_t *ret_xid)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_text(&p, arena_printf(arena, "%" PRIu64, since_xid));
	bool any = since_xid == 0;
	uint64_t xid = 0;
	const enum err e = any ? ERR_OK : any_changed(c, &p, &any, &xid);
	if (e != ERR_OK)
		return e;
	if (any)
		return read_changed(c, &p, arena, ret, ret_n, ret_xid);
	*ret_xid = xid;
	*ret = NULL;
	*ret_n = 0;
	return ERR_OK;
}

enum err overrides_purge(struct db_conn *c)
{
	return db_run(c, &PURGE, NULL, NULL);
}
