/* Looks for unusual spend in the background. Every user is a transaction of its own: what is found is kept,
 * and put into the outbox of webhooks, together or not at all, so each finding is told once whatever fails.
 * What is unusual is found by api/anomaly_scan.h. */
#include "llmlab/app/anomaly_watch.h"
#include <stdatomic.h>
#include <stdlib.h>
#include "llmlab/api/anomaly_scan.h"
#include "llmlab/app/ticker.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/webhooks.h"

#define ROUNDS_OF_TURN 30 /* in the time in which everybody has his turn */
#define ROUND_MIN_US   (US_PER_SECOND / 2)
#define ROUND_MAX_US   (30 * US_PER_SECOND)
#define ROUND_USERS    100
#define SPEND_US       (2 * US_PER_DAY)
#define REPORT_DAYS    2
#define KEEP_DAYS      400
#define STATEMENT_US   (30 * US_PER_SECOND)
#define SCAN_BYTES     ((size_t)128 << 20)
#define PAGE_BYTES     ((size_t)1 << 20)
#define SCOPE_BYTES    4096

struct anomaly_watch {
	const struct api *api;
	struct db_conn *db;
	struct ticker *ticker;
	int64_t every_us;
	_Atomic bool stopping;
};

/* One look at one user, as the transaction's body sees it. */
struct look {
	struct anomaly_watch *watch;
	const struct anomaly_user *user;
	const struct tz *tz;
	int64_t now_us;
	struct arena *arena;
	size_t n_new; /* set by the body */
	bool claimed;
};

/* ---- what is told ---- */

static bool write_payload(const struct anomaly_entry *e, struct arena *arena, struct buf *out)
{
	struct json_writer w;
	jw_init(&w, out);
	jw_object_begin(&w, NULL);
	jw_string(&w, "message", anomaly_sentence(e, arena));
	anomaly_write(&w, e);
	jw_object_end(&w);
	return !out->failed;
}

static enum err tell(struct look *l, const struct anomaly_entry *e)
{
	struct buf payload;
	buf_init(&payload, WEBHOOK_PAYLOAD_MAX_BYTES);
	const enum err error = write_payload(e, l->arena, &payload)
				       ? webhooks_enqueue(l->watch->db, &l->user->id, "anomaly.detected",
						 buf_str(&payload), l->arena)
				       : ERR_TOO_LARGE;
	buf_release(&payload);
	if (error == ERR_TOO_LARGE) /* names of unheard-of length: the finding is kept all the same */
		LOG_WARN("anomaly not told: too long", LOG_S("id", e->id));
	return error == ERR_TOO_LARGE ? ERR_OK : error;
}

/* ---- what is kept ---- */

static enum err store(struct look *l, const struct anomaly_entry *e, const char *scope_json, bool *ret_new)
{
	const struct stored_anomaly a = {.id = e->id,
		.granularity = e->hourly ? "hour" : "day",
		.scope_json = scope_json,
		.severity = anomaly_severity_name(e->found.severity),
		.start_us = e->start_us,
		.end_us = e->end_us,
		.cost = e->found.cost,
		.expected = e->found.expected,
		.score = e->found.score,
		.event_id = e->event_id};
	return anomalies_store(l->watch->db, &l->user->id, &a, l->now_us, l->arena, ret_new);
}

/* A day that grew unusual by an hour that was told already is kept, and not told again. */
static enum err keep(struct look *l, const struct anomaly_entry *e)
{
	struct buf scope;
	struct json_writer w;
	bool is_new = false, hour_told = false;
	buf_init(&scope, SCOPE_BYTES);
	jw_init(&w, &scope);
	anomaly_write_scope(&w, NULL, e->series);
	enum err error = ERR_OK;
	if (!e->hourly)
		error = anomalies_has(l->watch->db, &l->user->id, "hour", e->start_us, e->end_us, &hour_told);
	if (error == ERR_OK)
		error = scope.failed ? ERR_NO_MEMORY : store(l, e, buf_str(&scope), &is_new);
	buf_release(&scope);
	if (error != ERR_OK || !is_new)
		return error;
	l->n_new++;
	return hour_told ? ERR_OK : tell(l, e);
}

/* ---- one user ---- */

static enum err look_at(struct db_conn *db, void *arg)
{
	struct look *const l = arg;
	const int32_t today = tz_day_of(l->tz, l->now_us);
	const struct anomaly_question q = {.user_id = l->user->id,
		.tz = l->tz,
		.now_us = l->now_us,
		.first_day = today + 1 - REPORT_DAYS,
		.end_day = today + 1,
		.threshold = ANOMALY_THRESHOLD_DEFAULT,
		.memo = l->watch->api->anomaly_memo};
	struct anomaly_report report = {.n = 0};
	l->n_new = 0;
	enum err e =
		anomaly_scans_claim(db, &l->user->id, l->now_us - l->watch->every_us, l->now_us, &l->claimed);
	if (e != ERR_OK || !l->claimed)
		return e;
	e = anomaly_scan(db, &q, l->arena, &report);
	for (size_t i = 0; e == ERR_OK && i < report.n; i++)
		e = keep(l, &report.rows[i]);
	if (e == ERR_OK)
		e = anomalies_drop(db, &l->user->id, l->now_us - KEEP_DAYS * US_PER_DAY);
	return e;
}

/* Who cannot be looked at has had his turn all the same: as many as a round takes would keep everybody else
 * from theirs. */
static void pass_by(struct anomaly_watch *w, const struct anomaly_user *user, int64_t now_us)
{
	bool claimed;
	(void)anomaly_scans_claim(w->db, &user->id, now_us - w->every_us, now_us, &claimed);
}

static enum err look_once(struct anomaly_watch *w, const struct anomaly_user *user, int64_t now_us)
{
	struct arena arena;
	struct look l = {.watch = w, .user = user, .now_us = now_us, .arena = &arena};
	/* A zone that has gone from the system is the operator's to bring back; the others have their turn.
	 */
	if (tz_load(user->timezone, &l.tz) != ERR_OK) {
		pass_by(w, user, now_us);
		return ERR_OK;
	}
	arena_init(&arena, SCAN_BYTES);
	const enum err e = db_transaction(w->db, look_at, &l);
	arena_release(&arena);
	if (e == ERR_OK && l.claimed) {
		metric_add(METRIC_ANOMALY_SCANS, 1);
		metric_add(METRIC_ANOMALIES, (int64_t)l.n_new);
	}
	return e;
}

/* ---- rounds ---- */

static bool is_away(enum err e)
{
	return e == ERR_DATABASE_UNAVAILABLE || e == ERR_DB_LOST;
}

static void round_run(void *arg)
{
	struct anomaly_watch *const w = arg;
	if (w->api->database_ok_mono_us == 0)
		return; /* the schema may not be there yet */
	const int64_t now_us = clock_now_us();
	struct arena arena;
	arena_init(&arena, PAGE_BYTES);
	struct anomaly_user *users = NULL;
	size_t n = 0;
	enum err e = anomaly_scans_due(
		w->db, now_us - SPEND_US, now_us - w->every_us, ROUND_USERS, &arena, &users, &n);
	for (size_t i = 0; e == ERR_OK && i < n && !w->stopping; i++) {
		e = look_once(w, &users[i], now_us);
		if (e != ERR_OK && !is_away(e)) {
			/* His spend is beyond what one look is made of, or the like: the others have their
			 * turn. */
			LOG_WARN("search for unusual spend failed", LOG_S("code", err_code(e)));
			pass_by(w, &users[i], now_us);
			e = ERR_OK;
		}
	}
	arena_release(&arena);
}

static void release(struct anomaly_watch *w)
{
	db_conn_free(w->db);
	free(w);
}

enum err anomaly_watch_start(const struct api *api, int64_t every_us, struct anomaly_watch **ret)
{
	struct anomaly_watch *const w = calloc(1, sizeof *w);
	if (w == NULL)
		return ERR_NO_MEMORY;
	struct db_settings settings = api->db;
	settings.statement_us = STATEMENT_US;
	w->db = db_conn_new(&settings);
	w->api = api;
	w->every_us = every_us;
	int64_t round_us = every_us / ROUNDS_OF_TURN;
	round_us = round_us < ROUND_MIN_US ? ROUND_MIN_US : round_us > ROUND_MAX_US ? ROUND_MAX_US : round_us;
	if (w->db == NULL || ticker_start("anomalies", round_us, round_run, w, &w->ticker) != ERR_OK) {
		release(w);
		return ERR_NO_MEMORY;
	}
	*ret = w;
	return ERR_OK;
}

void anomaly_watch_stop(struct anomaly_watch *w)
{
	if (w == NULL)
		return;
	w->stopping = true;
	ticker_stop(w->ticker);
	release(w);
}
