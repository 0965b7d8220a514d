/* Keeps the database in order: makes the partitions of the coming months, deletes what has expired, removes
 * what deleted accounts left, drops the months that retention gives up, and notes when API keys were used.
 * Several servers may do it at once. */
#include "llmlab/app/upkeep.h"
#include <stdlib.h>
#include "llmlab/app/ticker.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/db/accounts.h"
#include "llmlab/db/api_keys.h"
#include "llmlab/db/auth_changes.h"
#include "llmlab/db/event_retention.h"
#include "llmlab/db/events.h"
#include "llmlab/db/history.h"
#include "llmlab/db/login_throttle.h"
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

#define KEY_USES_US US_PER_MINUTE
/* Of a round; the other work of the rounds goes on in between. */
#define ACCOUNTS_US (2 * US_PER_SECOND)
/* Of one purge; what is left waits for the next. */
#define THROTTLE_PAGES 50

struct upkeep {
	const struct api *api;
	struct db_conn *db;
	struct ticker *ticker;
	int64_t retention_days; /* 0: for ever */
	struct key_use uses[TOKEN_CACHE_SLOTS];
	struct api_key_use noted[TOKEN_CACHE_SLOTS];
	int64_t uses_mono_us;					      /* not before */
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
	(void)auth_changes_purge(u->db);
	bool more = true;
	for (int i = 0; more && i < THROTTLE_PAGES; i++)
		if (login_throttle_purge(u->db, &more) != ERR_OK)
			break;
	(void)overrides_purge(u->db);
	(void)history_purge(u->db);
}

/* Once a minute all keys that were used since, in one statement. */
static void note_key_uses(struct upkeep *u, int64_t now_us)
{
	if (now_us < u->uses_mono_us)
		return;
	u->uses_mono_us = now_us + KEY_USES_US;
	const size_t n = token_cache_uses(u->api->tokens, u->uses);
	for (size_t i = 0; i < n; i++)
		u->noted[i] = (struct api_key_use){.user_id = u->uses[i].user_id,
			.key_id = u->uses[i].key_id,
			.at_us = u->uses[i].at_us};
	(void)api_keys_note_uses(u->db, u->noted, n);
}

static void purge_accounts(struct upkeep *u)
{
	const int64_t until_us = clock_mono_us() + ACCOUNTS_US;
	bool more = true;
	while (more && clock_mono_us() < until_us)
		if (accounts_purge(u->db, ACCOUNT_SMALL_ROWS, &more) != ERR_OK)
			return;
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
	note_key_uses(u, clock_mono_us());
	purge_accounts(u);
	drop_old_events(u);
}

static void release(struct upkeep *u)
{
	if (u->api->database_ok_mono_us != 0)
		note_key_uses(u, INT64_MAX - KEY_USES_US);
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
