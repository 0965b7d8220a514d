/* Rounds of 200 ms in which a server learns what others have done: logouts, own prices, whether the database
 * answers. Nothing slow is done here, because an answer that is a second old is not used any more (upkeep.c
 * does the slow things). What it learns goes to struct api and the set of revoked tokens. */
#include "llmlab/app/watch.h"
#include <stdlib.h>
#include "llmlab/app/ticker.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/auth_changes.h"
#include "llmlab/db/migrate.h"
#include "llmlab/db/users.h"

#define ROUND_US	 (200 * US_PER_MS)
#define STATEMENT_US	 (2 * US_PER_SECOND)
#define MIGRATE_AGAIN_US (10 * US_PER_SECOND)
#define PURGE_MARGIN_US	 (2 * US_PER_DAY)
#define PURGE_US	 (10 * US_PER_MINUTE)
/* Logouts are asked for again this long after they were seen (besides db/users.h's own overlap): a
 * transaction may commit long after the time it wrote. */
#define OVERLAP_US (20 * US_PER_SECOND)

struct watch {
	struct api *api;
	struct db_conn *db;
	struct ticker *ticker;
	/* the thread's own from here */
	bool migrated;
	int64_t since_us; /* database clock of the last successful poll */
	uint64_t auth_changes_xid;
	struct own_prices_watch own_prices;
	int64_t migrate_mono_us, purge_mono_us; /* not before */
};

static void note_revoked(void *arg, const struct uuid *token_id, int64_t expires_at_us)
{
	revocations_add(arg, token_id, expires_at_us);
}

static void note_auth_change(void *arg, const struct auth_change *change)
{
	revocations_add_account(arg, &change->account, change->session_generation, change->key_generation,
		clock_now_us() + AUTH_CHANGE_KEPT_US);
}

/* Also the probe: what it asks is one small query when nobody logs out. */
static bool poll_revocations(struct watch *w)
{
	const int64_t began_us = clock_mono_us();
	const int64_t since_us = w->since_us > OVERLAP_US ? w->since_us - OVERLAP_US : 0;
	int64_t now_us;
	if (tokens_revoked_since(w->db, since_us, note_revoked, w->api->revocations, &now_us) != ERR_OK)
		return false;
	if (auth_changes_poll(w->db, &w->auth_changes_xid, note_auth_change, w->api->revocations) != ERR_OK)
		return false;
	w->since_us = now_us;
	revocations_mark_fresh(w->api->revocations, began_us);
	w->api->database_ok_mono_us = began_us;
	return true;
}

/* The database was away when the server started. */
static bool migrate(struct watch *w)
{
	const int64_t now_us = clock_mono_us();
	if (w->migrated)
		return true;
	if (now_us < w->migrate_mono_us || db_conn_ready(w->db) != ERR_OK)
		return false;
	struct migrate_report report = {0};
	const enum err e = migrate_run(w->db, &report);
	if (e == ERR_OK) {
		w->migrated = true;
		LOG_INFO("schema ready", LOG_I("version", report.version), LOG_I("applied", report.applied));
		return true;
	}
	if (e != ERR_DATABASE_UNAVAILABLE) {
		LOG_ERROR("migration failed", LOG_S("code", err_code(e)), LOG_S("message", report.message));
		w->migrate_mono_us = now_us + MIGRATE_AGAIN_US;
	}
	return false;
}

/* Tokens leave the set later than they expire: the wall clock may have jumped ahead and come back. */
static void forget_expired(struct watch *w)
{
	const int64_t now_us = clock_mono_us();
	if (now_us < w->purge_mono_us)
		return;
	w->purge_mono_us = now_us + PURGE_US;
	revocations_purge(w->api->revocations, clock_now_us() - PURGE_MARGIN_US);
}

static void round_run(void *arg)
{
	struct watch *const w = arg;
	metric_set(METRIC_LOG_DROPPED, (int64_t)log_dropped());
	if (!migrate(w) || !poll_revocations(w))
		return;
	forget_expired(w);
	/* A failure is the connection's to log; the next round asks again. */
	(void)own_prices_poll(w->db, &w->own_prices);
}

static void release(struct watch *w)
{
	db_conn_free(w->db);
	free(w);
}

enum err watch_start(struct api *api, bool migrated, struct watch **ret)
{
	struct watch *const w = calloc(1, sizeof *w);
	if (w == NULL)
		return ERR_NO_MEMORY;
	struct db_settings settings = api->db;
	settings.statement_us = settings.statement_us < STATEMENT_US ? settings.statement_us : STATEMENT_US;
	w->db = db_conn_new(&settings);
	w->api = api;
	w->migrated = migrated;
	/* Once before the first request: a server that has just started would answer 503 for want of own
	 * prices. */
	if (w->db != NULL && migrated)
		round_run(w);
	if (w->db == NULL || ticker_start("watch", ROUND_US, round_run, w, &w->ticker) != ERR_OK) {
		release(w);
		return ERR_NO_MEMORY;
	}
	*ret = w;
	return ERR_OK;
}

void watch_stop(struct watch *w)
{
	if (w == NULL)
		return;
	ticker_stop(w->ticker);
	release(w);
}
