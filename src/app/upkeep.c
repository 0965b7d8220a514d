/* Keeps the database in order: makes the partitions of the coming months, deletes what has expired, drops the
 * months that retention gives up. Several servers may do it at once. */
#include "llmlab/app/upkeep.h"
#include <stdlib.h>
#include "llmlab/app/ticker.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/db/event_retention.h"
#include "llmlab/db/events.h"
#include "llmlab/db/overrides.h"
#include "llmlab/db/users.h"

#define ROUND_US	    US_PER_SECOND
#define STATEMENT_US	    (10 * US_PER_SECOND)
#define PARTITIONS_US	    US_PER_DAY
#define PARTITIONS_RETRY_US (10 * US_PER_SECOND)
#define PARTITIONS_AHEAD    2
#define PURGE_US	    (10 * US_PER_MINUTE)
#define RETENTION_US	    US_PER_HOUR
#define RETENTION_RETRY_US  US_PER_MINUTE
/* An event that is just young enough to be kept may still be on its way to the database. */
#define RETENTION_MARGIN_US US_PER_HOUR

struct upkeep {
	const struct api *api;
	struct db_conn *db;
	struct ticker *ticker;
	int64_t retention_days;					      /* 0: for ever */
	int64_t partitions_mono_us, purge_mono_us, retention_mono_us; /* not before */
};

/* This month's and the next ones, so that no event ever waits for a table. */
static void make_partitions(struct upkeep *u)
{
	const int64_t now_us = clock_mono_us();
	if (now_us < u->partitions_mono_us)
		return;
	struct period month = period_at(PERIOD_MONTH, tz_utc(), clock_now_us());
	u->partitions_mono_us = now_us + PARTITIONS_US;
	for (int i = 0; i <= PARTITIONS_AHEAD; i++) {
		if (events_ensure_partition(u->db, month.start_us) != ERR_OK)
			u->partitions_mono_us = now_us + PARTITIONS_RETRY_US;
		month = period_next(PERIOD_MONTH, tz_utc(), &month);
	}
}

static void purge(struct upkeep *u)
{
	const int64_t now_us = clock_mono_us();
	if (now_us < u->purge_mono_us)
		return;
	u->purge_mono_us = now_us + PURGE_US;
	/* A failure is the connection's to log, and the next purge's to make good. */
	(void)tokens_purge(u->db);
	(void)overrides_purge(u->db);
}

/* One month a round, so that the other work of the rounds goes on. */
static void drop_old_events(struct upkeep *u)
{
	const int64_t now_us = clock_mono_us();
	if (u->retention_days == 0 || now_us < u->retention_mono_us)
		return;
	const int64_t before_us = clock_now_us() - u->retention_days * US_PER_DAY - RETENTION_MARGIN_US;
	bool dropped = false;
	if (event_retention_drop(u->db, before_us, &dropped) != ERR_OK)
		u->retention_mono_us = now_us + RETENTION_RETRY_US;
	else if (!dropped)
		u->retention_mono_us = now_us + RETENTION_US;
}

static void round_run(void *arg)
{
	struct upkeep *const u = arg;
	if (u->api->database_ok_mono_us == 0)
		return; /* the schema may not be there yet */
	make_partitions(u);
	purge(u);
	drop_old_events(u);
}

static void release(struct upkeep *u)
{
	db_conn_free(u->db);
	free(u);
}

enum err upkeep_start(const struct api *api, int64_t retention_days, struct upkeep **ret)
{
	struct upkeep *const u = calloc(1, sizeof *u);
	if (u == NULL)
		return ERR_NO_MEMORY;
	struct db_settings settings = api->db;
	settings.statement_us = STATEMENT_US;
	u->db = db_conn_new(&settings);
	u->api = api;
	u->retention_days = retention_days;
	if (u->db == NULL || ticker_start("upkeep", ROUND_US, round_run, u, &u->ticker) != ERR_OK) {
		release(u);
		return ERR_NO_MEMORY;
	}
	*ret = u;
	return ERR_OK;
}

void upkeep_stop(struct upkeep *u)
{
	if (u == NULL)
		return;
	ticker_stop(u->ticker);
	release(u);
}
