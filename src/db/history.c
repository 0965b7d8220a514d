/* Marks in the database's history: writing, moving and looking for them. Who holds one, and what he forgets
 * when it is gone, is known above. */

#include "llmlab/db/history.h"

#include "llmlab/base/clock.h"
#include "scope.h"

#define PARAMS_BYTES 4096

/* 1 / 0 where there is no such row: an error, so that a COMMIT behind it is not reached. */
#define ONE_OR_ERROR "SELECT 1 / count(*) FROM "

const struct db_stmt HISTORY_CHECK = {
	"history_check", ONE_OR_ERROR "history_marks WHERE holder = $1 AND mark = $2"};
const struct db_stmt HISTORY_BEGIN = {
	"history_begin", "INSERT INTO history_marks (holder, mark) VALUES ($1, $2)"};
const struct db_stmt HISTORY_MOVE = {"history_move",
	"WITH moved AS (UPDATE history_marks SET mark = $3, moved_at = now()"
	" WHERE holder = $1 AND mark = $2 RETURNING 1) " ONE_OR_ERROR "moved"};

/* For whoever looks at the number of rows. */
static const struct db_stmt FIND = {
	"history_find", "SELECT 1 FROM history_marks WHERE holder = $1 AND mark = $2"};
static const struct db_stmt MOVE = {"history_move_alone",
	"UPDATE history_marks SET mark = $3, moved_at = now() WHERE holder = $1 AND mark = $2 RETURNING 1"};
static const struct db_stmt PURGE = {
	"history_purge", "DELETE FROM history_marks WHERE moved_at < now() - interval '7 days'"};

static struct uuid random_uuid(void)
{
	struct uuid u = {{0}};
	random_bytes(u.bytes, sizeof u.bytes);
	return u;
}

struct history_mark history_next(const struct history_mark *m)
{
	return (struct history_mark){
		.set = true, .holder = m->set ? m->holder : random_uuid(), .mark = random_uuid()};
}

void history_check_params(struct db_params *p, const struct history_mark *m, struct arena *arena)
{
	db_params_init(p, arena);
	db_param_uuid(p, &m->holder);
	db_param_uuid(p, &m->mark);
}

void history_move_params(struct db_params *p, const struct history_mark *m, const struct history_mark *next,
	struct arena *arena)
{
	db_params_init(p, arena);
	db_param_uuid(p, &next->holder);
	if (m->set)
		db_param_uuid(p, &m->mark);
	db_param_uuid(p, &next->mark);
}

enum err history_move(struct db_conn *c, struct history_mark *m)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	const struct history_mark before = *m, next = history_next(m);
	struct db_params p;
	history_move_params(&p, &before, &next, &arena);
	m->set = false;
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, before.set ? &MOVE : &HISTORY_BEGIN, &p, &r);
	if (e != ERR_OK)
		return e;
	if (before.set && db_rows(r) == 0)
		return ERR_NOT_FOUND;
	*m = next;
	return ERR_OK;
}

enum err history_check(struct db_conn *c, struct history_mark *m)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	history_check_params(&p, m, &arena);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &FIND, &p, &r);
	if (e != ERR_OK)
		return e;
	m->set = db_rows(r) == 1;
	return m->set ? ERR_OK : ERR_NOT_FOUND;
}

enum err history_purge(struct db_conn *c)
{
	return db_run(c, &PURGE, NULL, NULL);
}
