/* What ended sessions and keys: reading it and forgetting it. It is written by what changes accounts
 * (users.c, accounts.c, api_keys.c). As in overrides.c, no change is missed: rows carry the number of the
 * transaction that wrote them, and a reader notes the oldest transaction that was running when it looked. */
#include "llmlab/db/auth_changes.h"

#include <inttypes.h>
#include <stdlib.h>

#include "llmlab/base/check.h"
#include "scope.h"

#define PARAMS_BYTES (64 << 10)
#define PAGE	     10000 /* also written in the statement */

/* What is asked all the time: one step into an index, whatever the planner thinks of the number of rows. */
static const struct db_stmt LATEST = {"auth_changes_latest",
	"SELECT pg_snapshot_xmin(pg_current_snapshot())::text,"
	" coalesce((SELECT changed_xid FROM auth_changes ORDER BY changed_xid DESC LIMIT 1)::text, '0')"};

/* ($1, $2) is the last row of the page before. */
static const struct db_stmt CHANGED = {"auth_changes_changed",
	"SELECT account, session_generation, key_generation, changed_xid::text FROM auth_changes"
	" WHERE (changed_xid, account) > ($1::xid8, $2::uuid) ORDER BY changed_xid, account LIMIT 10000"};

static const struct db_stmt PURGE = {"auth_changes_purge",
	"DELETE FROM auth_changes WHERE account IN (SELECT account FROM auth_changes"
	" WHERE changed_at < now() - interval '368 days' ORDER BY changed_at LIMIT 10000)"};

static uint64_t read_xid(const char *text)
{
	char *end = NULL;
	CHECK(text != NULL);
	const uint64_t xid = strtoull(text, &end, 10);
	CHECK(end != text && *end == '\0');
	return xid;
}

/* Where reading goes on: after the row of this transaction and account. */
struct place {
	uint64_t xid;
	struct uuid account;
};

static enum err read_page(struct db_conn *c, struct place *place,
	void (*each)(void *arg, const struct auth_change *change), void *arg, bool *ret_last)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_text(&p, arena_printf(&arena, "%" PRIu64, place->xid));
	db_param_uuid(&p, &place->account);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &CHANGED, &p, &r);
	if (e != ERR_OK)
		return e;
	const int rows = db_rows(r);
	for (int row = 0; row < rows; row++) {
		const struct auth_change change = {.account = db_uuid(r, row, 0),
			.session_generation = db_i64(r, row, 1),
			.key_generation = db_i64(r, row, 2)};
		each(arg, &change);
		*place = (struct place){.xid = read_xid(db_text(r, row, 3)), .account = change.account};
	}
	*ret_last = rows < PAGE;
	return ERR_OK;
}

enum err auth_changes_poll(struct db_conn *c, uint64_t *xid,
	void (*each)(void *arg, const struct auth_change *change), void *arg)
{
	PGresult *r SCOPE_RESULT = NULL;
	enum err e = db_run(c, &LATEST, NULL, &r);
	if (e != ERR_OK)
		return e;
	const uint64_t oldest_running = read_xid(db_text(r, 0, 0));
	const uint64_t latest = read_xid(db_text(r, 0, 1));
	/* Numbers that go backwards are another cluster's (a restored one): everything is read anew. */
	const uint64_t since = oldest_running < *xid ? 0 : *xid;
	/* The zero id is before every account of that very transaction. */
	struct place place = {.xid = since};
	for (bool last = since != 0 && latest < since; !last;) {
		e = read_page(c, &place, each, arg, &last);
		if (e != ERR_OK)
			return e;
	}
	*xid = oldest_running;
	return ERR_OK;
}

enum err auth_changes_purge(struct db_conn *c)
{
	return db_run(c, &PURGE, NULL, NULL);
}
