/* Rounds of 200 ms in which a server learns what others have done: logouts, own prices, whether the database
 * answers, and whether it is still the database it was (db/history.h). Nothing slow is done here, because an
 * answer that is a second old is not used any more (upkeep.c does the slow things). What it learns goes to
 * struct api and the set of revoked tokens. */
#include "llmlab/app/watch.h"
#include <stdlib.h>
#include "llmlab/app/ticker.h"
#include "llmlab/api/anomaly_memo.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/api/repricing_run.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/auth_changes.h"
#include "llmlab/db/history.h"
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
/* The mark is moved this often though nothing was learned, so that it is not purged. */
#define MARK_US US_PER_DAY

struct watch {
	struct api *api;
	struct db_conn *db;
	struct ticker *ticker;
	/* the thread's own from here */
	bool migrated;
	int64_t since_us; /* database clock of the last successful poll */
	uint64_t auth_changes_xid;
	struct own_prices_watch own_prices;
	struct history_mark
		mark;	      /* of all that was learned; not set: nothing was, or it counts for nothing */
	int64_t mark_mono_us; /* when it is to be moved at the latest */
	bool learned;	      /* something since it was moved */
	bool forget;	      /* what was learned before, at the next round */
	int64_t migrate_mono_us, purge_mono_us; /* not before */
};

static void note_revoked(void *arg, const struct uuid *token_id, int64_t expires_at_us)
{
	revocations_add(arg, token_id, expires_at_us);
}

static void note_auth_change(void *arg, const struct auth_change *change)
{
	struct watch *const w = arg;
	w->learned = true;
	revocations_add_account(w->api->revocations, &change->account, change->session_generation,
		change->key_generation, clock_now_us() + AUTH_CHANGE_KEPT_US);
	if (change->session_generation == INT64_MAX) /* the account is gone */
		anomaly_memo_forget(w->api->anomaly_memo, &change->account);
}

/* Also the probe: what it asks is one small query when nobody logs out. */
static bool poll_revocations(struct watch *w)
{
	const int64_t began_us = clock_mono_us();
	const int64_t since_us = w->since_us > OVERLAP_US ? w->since_us - OVERLAP_US : 0;
	int64_t now_us;
	if (tokens_revoked_since(w->db, since_us, note_revoked, w->api->revocations, &now_us) != ERR_OK)
		return false;
	if (auth_changes_poll(w->db, &w->auth_changes_xid, note_auth_change, w) != ERR_OK)
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

/* ---- whether it is still the same database ---- */

static void note_set_back(struct watch *w)
{
	LOG_WARN("the database was set back");
	w->forget = true;
}

/* Nothing that was learned is believed any more: it may never have happened. Ended tokens stay, that is safe.
 */
static void forget_all(struct watch *w)
{
	LOG_INFO("all that is known of the database is read anew");
	w->forget = false;
	w->migrated = false;
	w->since_us = 0;
	w->auth_changes_xid = 0;
	revocations_forget_accounts(w->api->revocations);
	token_cache_clear(w->api->tokens);
	refused_keys_clear(w->api->refused_keys);
	anomaly_memo_clear(w->api->anomaly_memo);
	own_prices_watch_forget(&w->own_prices);
	repricing_forget_catalogue();
}

/* Before anything is read: our mark is there, or a first one is now. */
static bool begin_round(struct watch *w)
{
	if (!migrate(w))
		return false;
	const enum err e = w->mark.set ? history_check(w->db, &w->mark) : ERR_OK;
	if (e == ERR_NOT_FOUND)
		note_set_back(w);
	else if (e != ERR_OK)
		return false;
	if (w->forget)
		forget_all(w);
	return migrate(w) && (w->mark.set || history_move(w->db, &w->mark) == ERR_OK);
}

/* After something was read. A move whose outcome is not known leaves nothing to go by. */
static void end_round(struct watch *w)
{
	const int64_t now_us = clock_mono_us();
	if (!w->learned && !w->own_prices.learned && now_us < w->mark_mono_us)
		return;
	const enum err e = history_move(w->db, &w->mark);
	if (e == ERR_NOT_FOUND)
		note_set_back(w);
	w->forget = e != ERR_OK;
	w->learned = w->own_prices.learned = false;
	w->mark_mono_us = now_us + MARK_US;
}

static void round_run(void *arg)
{
	struct watch *const w = arg;
	metric_set(METRIC_LOG_DROPPED, (int64_t)log_dropped());
	if (!begin_round(w) || !poll_revocations(w))
		return;
	forget_expired(w);
	/* A failure is the connection's to log; the next round asks again. */
	(void)own_prices_poll(w->db, &w->own_prices);
	end_round(w);
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
