/* Events that are older than they are to be kept. Not here: when that is (the app's watch). */
#include "llmlab/db/event_retention.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"

/* Removing the files of a big table takes a while. */
#define DROP_US (10 * US_PER_SECOND)

static const struct db_stmt drop_stmt = {"events_drop_ended", "SELECT events_drop_ended($1)"};

enum err event_retention_drop(struct db_conn *c, int64_t before_us, bool *ret_dropped)
{
	struct arena arena;
	arena_init(&arena, 1024);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_instant(&p, before_us);
	PGresult *result = NULL;
	const int64_t deadline_us = db_conn_set_deadline(c, DROP_US);
	const enum err e = db_run(c, &drop_stmt, &p, &result);
	(void)db_conn_set_deadline(c, deadline_us);
	if (e == ERR_OK) {
		*ret_dropped = !db_is_null(result, 0, 0);
		if (*ret_dropped)
			LOG_INFO("events dropped", LOG_S("partition", db_text(result, 0, 0)));
	}
	PQclear(result);
	arena_release(&arena);
	return e;
}
