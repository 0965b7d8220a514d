/* Tells of budgets: a thread that looks twice a second at the users who have spent something since, and every
 * minute (and at the start) at everybody, a few at a time. Nothing about what was looked at is kept: an alert
 * that is stored is the only memory, so a kill at any point costs nothing but a second look, and several
 * servers tell once (db/alerts.h).
 *
 * A period that ended within the last day is looked at too, so that what was spent in its last moments is not
 * missed; not if the budget was changed since, because then its limit is not the one that held. */
#include "llmlab/app/alerts.h"
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/alert_output.h"
#include "llmlab/app/ticker.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/core/budget.h"
#include "llmlab/db/alerts.h"
#include "llmlab/db/budgets.h"
#include "llmlab/db/reservations.h"

#define ROUND_US	  (500 * US_PER_MS)
#define STATEMENT_US	  (5 * US_PER_SECOND)
#define SWEEP_US	  US_PER_MINUTE
#define SWEEP_CHUNKS	  10  /* of one round */
#define CHUNK_USERS	  100 /* looked at together */
#define WINDOWS_MAX	  500 /* of one statement */
#define PURGE_US	  (10 * US_PER_SECOND)
#define ENDED_US	  US_PER_DAY
#define CHUNK_BYTES	  ((size_t)64 << 20)
#define ALERT_BYTES	  ((size_t)256 << 10)
#define SLOW_US		  US_PER_MINUTE
#define SLOW_MAX	  64 /* remembered; the oldest makes room */
#define SLOW_IN_A_ROW	  3  /* then it is the database and not the users */
#define PAYLOAD_MAX_BYTES ((size_t)16 << 10)

struct alerts {
	const struct api *api;
	struct db_conn *db;
	struct ticker *ticker;
	/* the thread's own from here */
	struct spender *spenders; /* room for SPENDERS_MAX */
	bool sweeping;
	struct uuid swept;		      /* users up to this one are done; zero: none */
	int64_t sweep_mono_us, purge_mono_us; /* not before */
	struct slow_user {
		struct uuid user_id;
		int64_t until_mono_us;
	} slow[SLOW_MAX]; /* whom the database took too long for; not looked at before */
	size_t next_slow;
};

/* ---- telling ---- */

static enum err tell(struct alerts *a, struct alert *alert)
{
	struct arena arena;
	arena_init(&arena, ALERT_BYTES);
	alert->created_at_us = clock_now_us();
	alert->id = uuid_v7(alert->created_at_us / US_PER_MS);
	struct buf payload;
	buf_init(&payload, PAYLOAD_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &payload);
	alert_write(&w, alert);
	bool is_new = false;
	const enum err e = payload.failed ? ERR_NO_MEMORY
					  : alerts_insert(a->db, alert, buf_str(&payload), &arena, &is_new);
	if (e == ERR_OK && is_new)
		LOG_INFO("alert", LOG_S("kind", alert_kind_name(alert->kind)),
			LOG_I("threshold", alert->threshold));
	buf_release(&payload);
	arena_release(&arena);
	return e;
}

/* ---- budgets ---- */

/* A budget in one period: what is asked, and what the answer may tell. */
struct look {
	const struct user_budget *of;
	struct period period;
};

/* Up to two: the current period, and the one before if it ended lately. Returns how many. */
static size_t add_looks(struct look *out, const struct user_budget *of, int64_t now_us)
{
	const struct tz *tz;
	if (tz_load(of->timezone, &tz) != ERR_OK)
		return 0;
	const enum period_kind kind = of->budget.period;
	const struct period current = period_at(kind, tz, now_us);
	const struct period before = period_previous(kind, tz, &current);
	out[0] = (struct look){of, current};
	if (now_us - before.end_us >= ENDED_US || of->budget.updated_at_us >= before.end_us)
		return 1;
	out[1] = (struct look){of, before};
	return 2;
}

/* The thresholds that were reached, as alerts; returns how many. out has room for BUDGET_THRESHOLDS_MAX. */
static size_t reached(struct alert *out, const struct look *look, struct money spent)
{
	const struct budget *const b = &look->of->budget;
	size_t n = 0;
	for (size_t i = 0; i < b->n_thresholds; i++) {
		if (!budget_reached(spent, b->limit, b->thresholds[i]))
			continue;
		out[n++] = (struct alert){.user_id = look->of->user_id,
			.kind = ALERT_BUDGET_THRESHOLD,
			.budget_id = b->id,
			.budget_name = b->name,
			.period_day = look->period.first_day,
			.period_start_us = look->period.start_us,
			.period_end_us = look->period.end_us,
			.threshold = b->thresholds[i],
			.spend = spent,
			.limit = b->limit};
	}
	return n;
}

static enum err tell_missing(struct alerts *a, struct alert *found, size_t n, struct arena *arena)
{
	bool *const missing = arena_array(arena, n, sizeof *missing);
	if (missing == NULL)
		return ERR_NO_MEMORY;
	enum err e = n == 0 ? ERR_OK : alerts_missing(a->db, found, n, arena, missing);
	for (size_t i = 0; e == ERR_OK && i < n; i++) {
		if (missing[i])
			e = tell(a, &found[i]);
	}
	return e;
}

/* At most WINDOWS_MAX. */
static enum err check_looks(struct alerts *a, const struct look *looks, size_t n, struct arena *arena)
{
	struct budget_window *const windows = arena_array(arena, n, sizeof *windows);
	struct alert *const found = arena_array(arena, n * BUDGET_THRESHOLDS_MAX, sizeof *found);
	if (windows == NULL || found == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++)
		windows[i] = (struct budget_window){.user_id = looks[i].of->user_id,
			.scope_dimension = looks[i].of->budget.scope_dimension,
			.scope_value = looks[i].of->budget.scope_value,
			.start_us = looks[i].period.start_us,
			.end_us = looks[i].period.end_us};
	const enum err e = budgets_spend(a->db, windows, n, arena);
	if (e != ERR_OK)
		return e;
	size_t n_found = 0;
	for (size_t i = 0; i < n; i++)
		n_found += reached(found + n_found, &looks[i], windows[i].spent);
	return tell_missing(a, found, n_found, arena);
}

static enum err check_budgets(struct alerts *a, const struct uuid *users, size_t n, struct arena *arena)
{
	struct user_budget *budgets;
	size_t n_budgets;
	enum err e = budgets_of_users(a->db, users, n, arena, &budgets, &n_budgets);
	if (e != ERR_OK)
		return e;
	struct look *const looks = arena_array(arena, 2 * n_budgets, sizeof *looks);
	if (looks == NULL)
		return ERR_NO_MEMORY;
	const int64_t now_us = clock_now_us();
	size_t n_looks = 0;
	for (size_t i = 0; i < n_budgets; i++)
		n_looks += add_looks(looks + n_looks, &budgets[i], now_us);
	for (size_t i = 0; e == ERR_OK && i < n_looks; i += WINDOWS_MAX) {
		const size_t left = n_looks - i;
		struct arena slice;
		arena_init(&slice, CHUNK_BYTES);
		e = check_looks(a, looks + i, left < WINDOWS_MAX ? left : WINDOWS_MAX, &slice);
		arena_release(&slice);
	}
	return e;
}

/* ---- models without a price ---- */

static enum err check_unpriced(struct alerts *a, const struct uuid *users, size_t n, struct arena *arena)
{
	struct alert_model *models;
	size_t n_models;
	enum err e = n == 0 ? ERR_OK : alerts_unpriced(a->db, users, n, arena, &models, &n_models);
	for (size_t i = 0; e == ERR_OK && n > 0 && i < n_models; i++) {
		struct alert alert = {.user_id = models[i].user_id,
			.kind = ALERT_MODEL_UNPRICED,
			.provider = models[i].provider,
			.model = models[i].model};
		e = tell(a, &alert);
	}
	return e;
}

/* ---- whom to look at ---- */

/* What another try may make good. */
static bool is_passing(enum err e)
{
	return e == ERR_DATABASE_UNAVAILABLE || e == ERR_DB_LOST || e == ERR_DB_RETRY;
}

static enum err check_together(struct alerts *a, const struct spender *spenders, size_t n)
{
	struct arena arena;
	arena_init(&arena, CHUNK_BYTES);
	struct uuid users[CHUNK_USERS], unpriced[CHUNK_USERS];
	size_t n_unpriced = 0;
	for (size_t i = 0; i < n; i++) {
		users[i] = spenders[i].user_id;
		if (spenders[i].unpriced)
			unpriced[n_unpriced++] = spenders[i].user_id;
	}
	enum err e = check_budgets(a, users, n, &arena);
	if (e == ERR_OK)
		e = check_unpriced(a, unpriced, n_unpriced, &arena);
	arena_release(&arena);
	return e;
}

/* The database is there, but gave up on a statement or a lock. */
static bool took_too_long(const struct alerts *a, enum err e)
{
	const char *const sqlstate = db_last_sqlstate(a->db);
	return e == ERR_DATABASE_UNAVAILABLE &&
	       (strcmp(sqlstate, "57014") == 0 || strcmp(sqlstate, "55P03") == 0);
}

static bool is_out_of_reach(const struct alerts *a, enum err e)
{
	return is_passing(e) && !took_too_long(a, e);
}

static bool is_slow(const struct alerts *a, const struct uuid *user_id)
{
	for (size_t i = 0; i < SLOW_MAX; i++) {
		if (uuid_equal(&a->slow[i].user_id, user_id))
			return clock_mono_us() < a->slow[i].until_mono_us;
	}
	return false;
}

static void note_slow(struct alerts *a, const struct uuid *user_id)
{
	size_t i = 0;
	while (i < SLOW_MAX && !uuid_equal(&a->slow[i].user_id, user_id))
		i++;
	if (i == SLOW_MAX)
		i = a->next_slow++ % SLOW_MAX;
	a->slow[i] = (struct slow_user){*user_id, clock_mono_us() + SLOW_US};
}

/* What only this user is to blame for is logged, and goes no further than *ret_slow. */
static enum err check_one(struct alerts *a, const struct spender *spender, bool *ret_slow)
{
	const enum err e = check_together(a, spender, 1);
	*ret_slow = took_too_long(a, e);
	if (e == ERR_OK || is_out_of_reach(a, e))
		return e;
	char id[UUID_TEXT_SIZE];
	uuid_format(&spender->user_id, id);
	if (*ret_slow) {
		note_slow(a, &spender->user_id);
		LOG_WARN("budgets of a user take too long", LOG_S("user_id", id));
	} else {
		LOG_ERROR(
			"budgets of a user not looked at", LOG_S("user_id", id), LOG_S("error", err_code(e)));
	}
	return ERR_OK;
}

static enum err check_one_by_one(struct alerts *a, const struct spender *spenders, size_t n)
{
	int slow_in_a_row = 0;
	for (size_t i = 0; i < n; i++) {
		bool slow;
		const enum err e = a->api->draining ? ERR_DRAINING : check_one(a, &spenders[i], &slow);
		if (e != ERR_OK)
			return e;
		slow_in_a_row = slow ? slow_in_a_row + 1 : 0;
		if (slow_in_a_row == SLOW_IN_A_ROW)
			return ERR_DATABASE_UNAVAILABLE;
	}
	return ERR_OK;
}

/* One user whose budgets cannot be looked at, or not in time, must not keep the others from being told. */
static enum err check_users(struct alerts *a, const struct spender *spenders, size_t n)
{
	struct spender some[CHUNK_USERS];
	size_t n_some = 0;
	for (size_t i = 0; i < n; i++) {
		if (!is_slow(a, &spenders[i].user_id))
			some[n_some++] = spenders[i];
	}
	if (n_some > 1) {
		const enum err e = check_together(a, some, n_some);
		if (e == ERR_OK || is_out_of_reach(a, e))
			return e;
	}
	return check_one_by_one(a, some, n_some);
}

/* Who could not be looked at waits for the next round. */
static void look_at_spenders(struct alerts *a)
{
	bool all;
	const size_t n = spenders_take(a->api->spenders, a->spenders, &all);
	if (all)
		a->sweep_mono_us = 0;
	enum err e = ERR_OK;
	for (size_t i = 0; i < n; i += CHUNK_USERS) {
		const size_t chunk = n - i < CHUNK_USERS ? n - i : CHUNK_USERS;
		if (e == ERR_OK)
			e = a->api->draining ? ERR_DRAINING : check_users(a, a->spenders + i, chunk);
		for (size_t j = i; e != ERR_OK && j < i + chunk; j++)
			spenders_note(a->api->spenders, &a->spenders[j].user_id, a->spenders[j].unpriced);
	}
}

/* One chunk of everybody. A failure is the connection's to log, and the next round goes on with the same
 * chunk. */
static bool sweep_chunk(struct alerts *a)
{
	struct uuid users[CHUNK_USERS];
	struct spender spenders[CHUNK_USERS];
	size_t n;
	const struct uuid *const after = uuid_is_zero(&a->swept) ? NULL : &a->swept;
	if (alerts_users(a->db, after, CHUNK_USERS, users, &n) != ERR_OK)
		return false;
	for (size_t i = 0; i < n; i++)
		spenders[i] = (struct spender){users[i], true};
	if (n > 0 && check_users(a, spenders, n) != ERR_OK)
		return false;
	if (n > 0)
		a->swept = users[n - 1];
	a->sweeping = n == CHUNK_USERS;
	return true;
}

static void sweep(struct alerts *a)
{
	const int64_t now_us = clock_mono_us();
	if (!a->sweeping && now_us >= a->sweep_mono_us) {
		a->sweeping = true;
		a->swept = (struct uuid){{0}};
		a->sweep_mono_us = now_us + SWEEP_US;
	}
	for (int i = 0; a->sweeping && !a->api->draining && i < SWEEP_CHUNKS; i++) {
		if (!sweep_chunk(a))
			return;
	}
}

static void purge(struct alerts *a)
{
	const int64_t now_us = clock_mono_us();
	if (now_us < a->purge_mono_us)
		return;
	a->purge_mono_us = now_us + PURGE_US;
	(void)reservations_purge(a->db);
	(void)alerts_purge(a->db);
}

static void round_run(void *arg)
{
	struct alerts *const a = arg;
	if (a->api->database_ok_mono_us == 0)
		return; /* the schema may not be there yet */
	look_at_spenders(a);
	sweep(a);
	purge(a);
}

static void release(struct alerts *a)
{
	db_conn_free(a->db);
	free(a->spenders);
	free(a);
}

enum err alerts_start(const struct api *api, struct alerts **ret)
{
	struct alerts *const a = calloc(1, sizeof *a);
	if (a == NULL)
		return ERR_NO_MEMORY;
	struct db_settings settings = api->db;
	settings.statement_us = STATEMENT_US;
	a->db = db_conn_new(&settings);
	a->spenders = calloc(SPENDERS_MAX, sizeof *a->spenders);
	a->api = api;
	if (a->db == NULL || a->spenders == NULL ||
		ticker_start("alerts", ROUND_US, round_run, a, &a->ticker) != ERR_OK) {
		release(a);
		return ERR_NO_MEMORY;
	}
	*ret = a;
	return ERR_OK;
}

void alerts_stop(struct alerts *a)
{
	if (a == NULL)
		return;
	ticker_stop(a->ticker);
	release(a);
}
