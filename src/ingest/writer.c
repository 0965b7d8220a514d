/* The group commit: stores a batch of events, their idempotency keys and their sums in one transaction, and
 * finds out what became of it whatever happens on the way. Not here: the queue and the thread (ingest.c), the
 * SQL of keys (keys.c), of events (db/events.c) and of sums (db/usage_write.c).
 *
 * How an unknown outcome is found out. Every transaction of a writer holds an advisory lock with a random
 * number of its own, taken before COMMIT is sent. PostgreSQL releases it only after the transaction's end is
 * visible to others. So when a connection is lost at COMMIT: connect again, wait until nobody holds the lock
 * (a backend that waits for a client that is gone is ended), and look for the rows: either all are there, or
 * the transaction is rolled back for ever and may be sent again. No event is stored twice, none is
 * acknowledged without that proof. */

#include "writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "item.h"
#include "provider_metrics.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/histogram.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/events.h"
#include "llmlab/db/reservations.h"

#define ARENA_BYTES  ((size_t)256 * 1024 * 1024)
#define COPY_BYTES   ((size_t)1024 * 1024 * 1024)
#define PAUSE_MIN_US (5 * US_PER_MS)
#define PAUSE_MAX_US (160 * US_PER_MS)

static const struct db_stmt commit_stmt = {"ingest_commit", "COMMIT"};

/* Who still holds the writer's lock. One that waits for its client waits in vain: the client was us. */
static const struct db_stmt leftover_stmt = {"ingest_leftover",
	"SELECT CASE WHEN a.wait_event = 'ClientRead' THEN pg_terminate_backend(l.pid) END"
	" FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid"
	" WHERE l.locktype = 'advisory' AND l.objsubid = 1"
	" AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
	" AND l.classid::bigint << 32 | l.objid::bigint = $1::bigint"};

/* ---- outcomes ---- */

static void count_outcome(const struct ingest_item *item, enum ingest_outcome outcome)
{
	switch (outcome) {
	case INGEST_STORED:
		metric_add(METRIC_INGEST_EVENTS, 1);
		metric_add(METRIC_INGEST_UNPRICED, !item->event.has_cost);
		provider_metrics_count(&item->event);
		break;
	case INGEST_DUPLICATE:
		metric_add(METRIC_INGEST_DUPLICATES, 1);
		break;
	case INGEST_REFUSED:
	case INGEST_USER_GONE:
		metric_add(METRIC_INGEST_REJECTED, 1);
		break;
	case INGEST_MISMATCH:
	case INGEST_UNAVAILABLE:
		break;
	}
}

static void publish(struct writer *w)
{
	for (size_t i = 0; i < w->n_finished; i++)
		w->finished[i]->done(w->finished[i]);
	w->n_finished = 0;
}

/* The item is not touched again after publish(). */
static void finish(struct writer *w, struct ingest_item *item, enum ingest_outcome outcome)
{
	count_outcome(item, outcome);
	item->outcome = outcome;
	if (atomic_fetch_sub(&item->group->pending, 1) > 1)
		return;
	if (w->n_finished == w->settings.max_batch_items)
		publish(w);
	w->finished[w->n_finished++] = item->group;
}

static void finish_all(struct writer *w, const struct work *works, size_t n, enum ingest_outcome outcome)
{
	for (size_t i = 0; i < n; i++)
		finish(w, works[i].item, outcome);
}

/* Gives up what is past its deadline, closes the gaps; returns how many are left. */
static size_t drop_expired(struct writer *w, struct work *works, size_t n)
{
	const int64_t now_us = clock_mono_us();
	const bool stopped = now_us >= atomic_load(&w->stop_by_us);
	size_t left = 0;
	for (size_t i = 0; i < n; i++) {
		if (stopped || works[i].item->group->deadline_us <= now_us)
			finish(w, works[i].item, INGEST_UNAVAILABLE);
		else
			works[left++] = works[i];
	}
	return left;
}

/* Before another try. Doubles with each, with jitter, so that servers do not come back in step. */
static void wait_a_little(struct writer *w, int tries)
{
	publish(w);
	int64_t us = PAUSE_MIN_US << (tries < 5 ? tries : 5);
	if (us > PAUSE_MAX_US)
		us = PAUSE_MAX_US;
	uint32_t random;
	random_bytes(&random, sizeof(random));
	us = us / 2 + (int64_t)random % (us / 2);
	const struct timespec pause = {.tv_nsec = (long)(us * 1000)};
	nanosleep(&pause, NULL);
}

/* ---- the connection ---- */

static void connection_lost(struct writer *w)
{
	db_rollback(
		w->db); /* also forgets that a transaction was open, without which nothing connects again */
	db_conn_drop(w->db);
	w->leftover = true;
}

/* Connected, and no transaction of ours is left over from a lost connection. ERR_DB_RETRY: one still is. */
static enum err writer_ready(struct writer *w)
{
	enum err e = db_conn_ready(w->db);
	if (e != ERR_OK || !w->leftover)
		return e;
	struct db_params p;
	db_params_init(&p, &w->arena);
	db_param_i64(&p, w->lock);
	PGresult *holders = NULL;
	e = db_run(w->db, &leftover_stmt, &p, &holders);
	if (e != ERR_OK)
		return e;
	w->leftover = db_rows(holders) > 0;
	PQclear(holders);
	return w->leftover ? ERR_DB_RETRY : ERR_OK;
}

enum fate { FATE_COMMITTED, FATE_ROLLED_BACK, FATE_UNKNOWN };

static enum err count_rows(struct writer *w, int64_t *ret)
{
	enum err e = writer_ready(w);
	if (e != ERR_OK)
		return e;
	struct event_ref *refs = arena_array(&w->arena, w->n_rows, sizeof(*refs));
	if (refs == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < w->n_rows; i++) {
		const struct event *e_i = &w->rows[i]->event;
		refs[i] = (struct event_ref){e_i->user_id, e_i->occurred_at_us, e_i->id};
	}
	e = events_count_stored(w->db, refs, w->n_rows, &w->arena, ret);
	if (e == ERR_DATABASE_UNAVAILABLE || e == ERR_DB_LOST)
		db_conn_drop(w->db);
	return e;
}

/* Until when the clients of w->rows can be kept waiting for an outcome: the first of them is to be answered
 * in time, even if only that it is not known. */
static int64_t answer_until(const struct writer *w)
{
	int64_t until_us = clock_mono_us() + w->settings.outcome_us;
	for (size_t i = 0; i < w->n_rows; i++) {
		if (w->rows[i]->group->deadline_us < until_us)
			until_us = w->rows[i]->group->deadline_us;
	}
	return until_us;
}

/* What became of the transaction with w->rows whose COMMIT was sent. FATE_UNKNOWN does no harm to what comes
 * after: the next attempt waits until that transaction has ended (writer_ready()). */
static enum fate find_fate(struct writer *w)
{
	connection_lost(w);
	const int64_t until_us = answer_until(w);
	const int64_t statement_us = w->settings.statement_us;
	enum fate fate = FATE_UNKNOWN;
	for (int tries = 0; fate == FATE_UNKNOWN; tries++) {
		const int64_t now_us = clock_mono_us(), left_us = until_us - now_us;
		if (left_us <= 0 || now_us >= atomic_load(&w->stop_by_us))
			break;
		db_conn_set_deadline(w->db, left_us < statement_us ? left_us : statement_us);
		arena_release(&w->arena);
		int64_t stored = 0;
		if (count_rows(w, &stored) == ERR_OK)
			/* One transaction: some (others may be deleted since) means all. */
			fate = stored > 0 ? FATE_COMMITTED : FATE_ROLLED_BACK;
		else
			wait_a_little(w, tries);
	}
	db_conn_set_deadline(w->db, statement_us);
	return fate;
}

/* ---- one attempt ---- */

/* Index into w->months; WRITER_MONTHS if beyond. */
static size_t month_of(int64_t us)
{
	if (us < 0 || us / US_PER_DAY > INT32_MAX / 2)
		return WRITER_MONTHS;
	const struct civil_date d = calendar_date((int32_t)(us / US_PER_DAY));
	const size_t month = (size_t)(d.year - 1970) * 12 + (size_t)(d.month - 1);
	return month < WRITER_MONTHS ? month : WRITER_MONTHS;
}

/* Where a partition can't be made for a reason of the row's, the copy will say so. */
static enum err ensure_months(struct writer *w, const struct work *works, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const int64_t at_us = works[i].item->event.occurred_at_us;
		const size_t month = month_of(at_us);
		if (month == WRITER_MONTHS || w->months[month])
			continue;
		const enum err e = events_ensure_partition(w->db, at_us);
		if (e == ERR_OK)
			w->months[month] = true;
		else if (e != ERR_DB_CONSTRAINT && e != ERR_INTERNAL)
			return e;
	}
	return ERR_OK;
}

static bool any_keyed(const struct work *works, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (works[i].item->event.idempotency_key != NULL)
			return true;
	return false;
}

static enum err fill_copy(struct writer *w)
{
	buf_reset(&w->copy);
	events_copy_header(&w->copy);
	for (size_t i = 0; i < w->n_rows; i++)
		buf_append(&w->copy, w->rows[i]->copy_row.data, w->rows[i]->copy_row.len);
	events_copy_trailer(&w->copy);
	if (!w->copy.failed)
		return ERR_OK;
	buf_release(&w->copy);
	return ERR_NO_MEMORY;
}

/* Begins the transaction; claims the keys; copies the rows whose keys are not taken: w->rows. */
static enum err insert_rows(struct writer *w, struct work *works, size_t n)
{
	const bool keyed = any_keyed(works, n);
	for (size_t i = 0; i < n; i++)
		works[i].taken = false;
	if (keyed) {
		const enum err e = keys_claim(w->db, w->lock, works, n, &w->arena);
		if (e != ERR_OK)
			return e;
	}
	for (size_t i = 0; i < n; i++)
		if (!works[i].taken)
			w->rows[w->n_rows++] = works[i].item;
	if (w->n_rows == 0)
		return ERR_OK;
	enum err e = fill_copy(w);
	if (e == ERR_OK)
		e = db_copy_begin(w->db, keyed ? EVENTS_COPY_SQL : w->begin_copy_sql);
	return e == ERR_OK ? db_copy_send(w->db, w->copy.data, w->copy.len) : e;
}

/* What settles the reservations that the rows name; *ret_n: how many there are, no parameters if none. */
static enum err settlement(struct writer *w, struct db_params *p, size_t *ret_n)
{
	size_t n = 0;
	for (size_t i = 0; i < w->n_rows; i++)
		n += w->rows[i]->event.has_reservation;
	*ret_n = n;
	if (n == 0)
		return ERR_OK;
	struct reservation_ref *const refs = arena_array(&w->arena, n, sizeof(*refs));
	if (refs == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0, at = 0; i < w->n_rows; i++) {
		const struct event *e = &w->rows[i]->event;
		if (e->has_reservation)
			refs[at++] = (struct reservation_ref){e->user_id, e->reservation_id};
	}
	return reservations_settle_params(p, refs, n, &w->arena);
}

/* The sums, the end of the reservations that became events, and COMMIT in one round trip. */
static enum err send_commit(struct writer *w)
{
	for (size_t i = 0; i < w->n_rows; i++)
		w->deltas[i] = usage_delta_insert(&w->rows[i]->event);
	struct usage_statements sums;
	enum err e =
		usage_insert(w->deltas, w->n_rows, w->known_sets, db_conn_number(w->db), &w->arena, &sums);
	if (e != ERR_OK)
		return e;
	struct db_params settle;
	size_t n_settled;
	e = settlement(w, &settle, &n_settled);
	if (e != ERR_OK)
		return e;
	const struct db_stmt *stmts[USAGE_STATEMENTS_MAX + 2];
	const struct db_params *params[USAGE_STATEMENTS_MAX + 2];
	size_t n = 0;
	for (; n < sums.n; n++) {
		stmts[n] = sums.stmts[n];
		params[n] = &sums.params[n];
	}
	if (n_settled > 0) {
		stmts[n] = &RESERVATIONS_SETTLE;
		params[n++] = &settle;
	}
	stmts[n] = &commit_stmt;
	params[n++] = NULL;
	e = db_pipeline(w->db, stmts, params, n, NULL);
	if (e == ERR_OK)
		usage_inserted(w->known_sets, &sums);
	return e;
}

/* ERR_OK only with proof. ERR_DB_RETRY after a loss: it is certain that nothing is stored. */
static enum err commit_rows(struct writer *w)
{
	const enum err e = send_commit(w);
	if (e == ERR_OK || e == ERR_DB_CONSTRAINT || e == ERR_DUPLICATE || e == ERR_DB_RETRY ||
		e == ERR_NO_MEMORY)
		return e;
	/* The server itself has refused a statement: it has not committed. */
	if (db_conn_connected(w->db))
		return e == ERR_INTERNAL ? ERR_INTERNAL : ERR_DB_RETRY;
	LOG_WARN("ingest commit unknown", LOG_S("error", err_code(e)), LOG_I("events", w->n_rows));
	const enum fate fate = find_fate(w);
	LOG_WARN("ingest commit decided",
		LOG_S("fate", fate == FATE_COMMITTED	 ? "committed"
			      : fate == FATE_ROLLED_BACK ? "rolled back"
							 : "unknown"),
		LOG_I("events", w->n_rows));
	if (fate == FATE_COMMITTED)
		return ERR_OK;
	w->undecided = fate == FATE_UNKNOWN;
	if (fate == FATE_ROLLED_BACK)
		metric_add(METRIC_INGEST_REPLAYS, 1);
	return e == ERR_INTERNAL ? ERR_INTERNAL : ERR_DB_RETRY;
}

/* After a failure: nothing of the attempt is stored (unless w->undecided). */
static void roll_back(struct writer *w, enum err e)
{
	snprintf(w->sqlstate, sizeof(w->sqlstate), "%s", db_last_sqlstate(w->db));
	db_rollback(w->db);
	if (e == ERR_DATABASE_UNAVAILABLE || e == ERR_DB_LOST || !db_conn_connected(w->db))
		connection_lost(w);
}

static bool is_passing(enum err e)
{
	return e == ERR_DB_RETRY || e == ERR_DATABASE_UNAVAILABLE || e == ERR_DB_LOST;
}

/* One transaction with all works. ERR_OK: those not taken are stored. Else nothing is stored, or
 * w->undecided. */
static enum err attempt(struct writer *w, struct work *works, size_t n)
{
	w->undecided = false;
	w->n_rows = 0;
	arena_release(&w->arena);
	enum err e = writer_ready(w);
	if (e == ERR_OK)
		e = ensure_months(w, works, n);
	const int64_t begin_us = clock_mono_us();
	if (e == ERR_OK)
		e = insert_rows(w, works, n);
	if (e == ERR_OK && w->n_rows > 0)
		e = commit_rows(w);
	else if (e == ERR_OK)
		db_rollback(w->db);
	if (e != ERR_OK) {
		roll_back(w, e);
		return e;
	}
	if (w->n_rows > 0) {
		metric_add(METRIC_INGEST_BATCHES, 1);
		histogram_observe(HISTOGRAM_INGEST_COMMIT, clock_mono_us() - begin_us);
		histogram_observe(HISTOGRAM_INGEST_BATCH, (int64_t)w->n_rows);
	}
	return ERR_OK;
}

/* ---- taken keys ---- */

struct repeats {
	struct stored_key *keys; /* by work */
	struct event_ref *refs;	 /* of the events to be loaded */
	struct event *events;
	bool *found;
	size_t n_refs;
};

static bool same_fingerprint(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, 32) == 0;
}

static bool is_repeat(const struct work *work, const struct stored_key *key)
{
	return key->found && same_fingerprint(key->fingerprint, work->item->event.fingerprint);
}

static enum err load_repeats(struct writer *w, const struct work *works, size_t n, struct repeats *r)
{
	r->keys = arena_array(&w->arena, n, sizeof(*r->keys));
	r->refs = arena_array(&w->arena, n, sizeof(*r->refs));
	r->events = arena_array(&w->arena, n, sizeof(*r->events));
	r->found = arena_array(&w->arena, n, sizeof(*r->found));
	if (arena_overflowed(&w->arena))
		return ERR_NO_MEMORY;
	const enum err e = keys_look_up(w->db, works, n, &w->arena, r->keys);
	if (e != ERR_OK)
		return e;
	r->n_refs = 0;
	for (size_t i = 0; i < n; i++) {
		const struct event *e_i = &works[i].item->event;
		if (!is_repeat(&works[i], &r->keys[i]))
			continue;
		r->refs[r->n_refs++] =
			(struct event_ref){e_i->user_id, r->keys[i].occurred_at_us, r->keys[i].event_id};
	}
	if (r->n_refs == 0)
		return ERR_OK;
	return events_load(w->db, r->refs, r->n_refs, &w->arena, r->events, r->found);
}

/* The stored event is the answer. When retention has removed it, its id and time are all that is left of it:
 * the rest is the repeat's own, which has the same fingerprint. */
static void settle_repeat(struct writer *w, struct ingest_item *item, const struct stored_key *key,
	bool found, const struct event *stored)
{
	enum err e = ERR_OK;
	if (found)
		e = item_become(item, stored);
	item->event.id = key->event_id;
	item->event.occurred_at_us = key->occurred_at_us;
	finish(w, item, e == ERR_OK ? INGEST_DUPLICATE : INGEST_UNAVAILABLE);
}

/* A repeat may name another reservation than the call did when it was stored: whoever asked for an amount
 * once more, for the call that he is about to repeat, has it recorded now, and holds it no longer. */
static enum err settle_reservations(
	struct writer *w, const struct work *works, size_t n, const struct repeats *r)
{
	struct reservation_ref *const refs = arena_array(&w->arena, n, sizeof *refs);
	if (refs == NULL)
		return ERR_NO_MEMORY;
	size_t n_refs = 0;
	for (size_t i = 0; i < n; i++) {
		const struct event *const e = &works[i].item->event;
		if (e->has_reservation && is_repeat(&works[i], &r->keys[i]))
			refs[n_refs++] = (struct reservation_ref){e->user_id, e->reservation_id};
	}
	if (n_refs == 0)
		return ERR_OK;
	struct db_params p;
	const enum err e = reservations_settle_params(&p, refs, n_refs, &w->arena);
	return e == ERR_OK ? db_run(w->db, &RESERVATIONS_SETTLE, &p, NULL) : e;
}

static enum err settle_taken_once(struct writer *w, struct work *works, size_t n)
{
	arena_release(&w->arena);
	struct repeats r;
	enum err e = writer_ready(w);
	if (e == ERR_OK)
		e = load_repeats(w, works, n, &r);
	if (e == ERR_OK)
		e = settle_reservations(w, works, n, &r);
	if (e != ERR_OK)
		return e;
	for (size_t i = 0, loaded = 0; i < n; i++) {
		struct ingest_item *item = works[i].item;
		const struct stored_key *key = &r.keys[i];
		if (!key->found) {
			/* Deleted meanwhile, with its account: nothing is stored. */
			finish(w, item, INGEST_UNAVAILABLE);
		} else if (!is_repeat(&works[i], key)) {
			finish(w, item, INGEST_MISMATCH);
		} else {
			settle_repeat(w, item, key, r.found[loaded], &r.events[loaded]);
			loaded++;
		}
	}
	return ERR_OK;
}

static void settle_taken(struct writer *w, struct work *works, size_t n)
{
	for (int tries = 0;; tries++) {
		n = drop_expired(w, works, n);
		if (n == 0)
			return;
		const enum err e = settle_taken_once(w, works, n);
		if (e == ERR_OK)
			return;
		roll_back(w, e);
		if (!is_passing(e)) {
			LOG_ERROR("ingest repeats not read", LOG_S("error", err_code(e)), LOG_I("events", n));
			finish_all(w, works, n, INGEST_UNAVAILABLE);
			return;
		}
		wait_a_little(w, tries);
	}
}

/* ---- batches ---- */

static void settle_stored(struct writer *w, struct work *works, size_t n)
{
	size_t n_taken = 0;
	for (size_t i = 0; i < n; i++) {
		if (works[i].taken) {
			works[n_taken++] = works[i];
			continue;
		}
		const struct event *e = &works[i].item->event;
		spenders_note(w->settings.spenders, &e->user_id, !e->has_cost);
		finish(w, works[i].item, INGEST_STORED);
	}
	publish(w);
	settle_taken(w, works, n_taken);
}

/* The database refuses this one. */
static void settle_refused(struct writer *w, struct ingest_item *item, enum err e)
{
	if (strcmp(w->sqlstate, "23503") == 0) {
		finish(w, item, INGEST_USER_GONE);
		return;
	}
	char id[UUID_TEXT_SIZE];
	uuid_format(&item->event.id, id);
	LOG_ERROR("ingest row refused", LOG_S("event_id", id), LOG_S("error", err_code(e)),
		LOG_S("sqlstate", w->sqlstate));
	const bool by_row = e == ERR_DB_CONSTRAINT || e == ERR_DUPLICATE;
	finish(w, item, by_row ? INGEST_REFUSED : INGEST_UNAVAILABLE);
}

/* A month's partition may have been dropped since we saw it: asks for all of them anew, once in a batch. */
static bool forget_months(struct writer *w)
{
	if (w->months_asked_again || strcmp(w->sqlstate, "23514") != 0)
		return false;
	w->months_asked_again = true;
	memset(w->months, 0, sizeof(w->months));
	return true;
}

/* The database was set back under our connection: the sets that we took to be there may never have been. */
static bool forget_sets(struct writer *w)
{
	if (strcmp(w->sqlstate, HISTORY_LOST_SQLSTATE) != 0)
		return false;
	LOG_WARN("the database was set back: known sets are forgotten");
	usage_forget_sets(w->known_sets);
	return true;
}

/* Decides all works. A row that the database refuses is found by halves, so that it fails alone. */
/* NOLINTNEXTLINE(misc-no-recursion): by halves, so as deep as the logarithm of INGEST_BATCH */
static void store_works(struct writer *w, struct work *works, size_t n)
{
	for (int tries = 0;; tries++) {
		n = drop_expired(w, works, n);
		if (n == 0)
			return;
		const enum err e = attempt(w, works, n);
		if (e == ERR_OK) {
			settle_stored(w, works, n);
			return;
		}
		if (w->undecided) {
			finish_all(w, works, n, INGEST_UNAVAILABLE);
			return;
		}
		if (is_passing(e)) {
			wait_a_little(w, tries);
			continue;
		}
		if (e == ERR_DB_CONSTRAINT && (forget_months(w) || forget_sets(w)))
			continue;
		if (n == 1) {
			settle_refused(w, works->item, e);
			return;
		}
		store_works(w, works, n / 2);
		store_works(w, works + n / 2, n - n / 2);
		return;
	}
}

void writer_store(struct writer *w, struct ingest_item *const *items, size_t n)
{
	CHECK(n <= w->settings.max_batch_items);
	for (size_t i = 0; i < n; i++)
		w->works[i] = (struct work){.item = items[i]};
	w->months_asked_again = false;
	store_works(w, w->works, n);
	publish(w);
	arena_release(&w->arena);
}

void writer_give_up(struct ingest_item *const *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct ingest_group *const g = items[i]->group;
		items[i]->outcome = INGEST_UNAVAILABLE;
		if (atomic_fetch_sub(&g->pending, 1) == 1)
			g->done(g);
	}
}

enum err writer_connect(struct writer *w)
{
	arena_release(&w->arena);
	return writer_ready(w);
}

/* ---- life ---- */

static void make_begin_copy_sql(struct writer *w)
{
	random_bytes(&w->lock, sizeof(w->lock));
	const int n = snprintf(w->begin_copy_sql, sizeof(w->begin_copy_sql),
		"BEGIN; SELECT pg_advisory_xact_lock(%lld); %s", (long long)w->lock, EVENTS_COPY_SQL);
	CHECK(n > 0 && (size_t)n < sizeof(w->begin_copy_sql));
}

enum err writer_init(struct writer *w, const struct ingest_settings *s, const struct db_settings *db)
{
	memset(w, 0, sizeof(*w));
	w->settings = *s;
	atomic_store(&w->stop_by_us, INT64_MAX);
	arena_init(&w->arena, ARENA_BYTES);
	buf_init(&w->copy, COPY_BYTES);
	make_begin_copy_sql(w);
	struct db_settings own = *db;
	own.statement_us = s->statement_us;
	w->db = db_conn_new(&own);
	const size_t max = s->max_batch_items;
	w->works = calloc(max, sizeof(*w->works));
	w->rows = calloc(max, sizeof(*w->rows));
	w->deltas = calloc(max, sizeof(*w->deltas));
	w->known_sets = own.prepare ? usage_known_sets_new() : NULL;
	w->finished = calloc(max, sizeof(*w->finished));
	if (w->db != NULL && w->works != NULL && w->rows != NULL && w->deltas != NULL &&
		(w->known_sets != NULL || !own.prepare) && w->finished != NULL)
		return ERR_OK;
	writer_release(w);
	return ERR_NO_MEMORY;
}

void writer_release(struct writer *w)
{
	db_conn_free(w->db);
	free(w->works);
	free(w->rows);
	free(w->deltas);
	usage_known_sets_free(w->known_sets);
	free(w->finished);
	buf_release(&w->copy);
	arena_release(&w->arena);
}
