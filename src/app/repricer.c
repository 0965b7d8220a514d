/* When recorded events get new prices: a thread that looks for re-pricings that nobody is at, and for
 * unpriced events that may have a price now. How a chunk is priced and stored is in the layers below; every
 * chunk is a transaction of its own, so this thread may be killed at any time and any number of servers may
 * have one.
 *
 * The backlog of unpriced events is looked at when the catalogue is another one than before (so at each
 * start, too), and for one user when his own prices change; and once more a little later, for events that
 * were priced by the old prices and stored after the first look.
 *
 * Nobody's work keeps others waiting: everything is done in turns of a few chunks. After a turn of a
 * re-pricing the next one belongs to the user who has waited longest; a look at the backlog that takes more
 * than a turn goes on behind the others. */
#include "llmlab/app/repricer.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/repricing_run.h"
#include "llmlab/app/ticker.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/db/unpriced.h"
#include "llmlab/providers/catalogue_load.h"

#define ROUND_US     (250 * US_PER_MS)
#define STATEMENT_US (30 * US_PER_SECOND)
#define IDLE_US	     (2 * US_PER_SECOND)  /* without a chunk for so long, nobody is at a re-pricing */
#define TURN_CHUNKS  20			  /* before others have theirs */
#define ABANDONED_US (10 * US_PER_MINUTE) /* a newer catalogue's server is gone for good */
#define SEEN_US	     US_PER_MINUTE	  /* how often a server shows that it has its catalogue */
#define NAME_SIZE    801		  /* 200 characters of at most 4 bytes */
#define TASKS_MAX    512
#define AGAIN_US     (10 * US_PER_SECOND)
#define FAILED_US    (2 * US_PER_SECOND)
#define NAMES_PAGE   200
#define PAGE_BYTES   ((size_t)4 << 20)
#define OLDEST_US    (1420070400 * US_PER_SECOND) /* 2015-01-01T00:00:00Z, as for events */

/* How far a look at the backlog is. */
struct position {
	bool begun; /* names up to this one are done */
	struct uuid user_id;
	char provider[NAME_SIZE], model[NAME_SIZE];
	bool open; /* but for the events of this one from the cursor on */
	int64_t cursor_at_us;
	struct uuid cursor_id;
	bool skips; /* the other names of user_id are another task's */
};

/* A backlog to look at. */
struct task {
	bool all; /* everybody's, else the user's */
	struct uuid user_id;
	int64_t due_mono_us;
	bool again; /* once more after this time */
	struct position at;
};

struct repricer {
	struct db_conn *db;
	struct ticker *ticker;
	atomic_bool stopping; /* between two chunks, too */
	/* the thread's own from here */
	struct task tasks[TASKS_MAX];
	size_t n_tasks;
	char version[17]; /* of the catalogue that the backlog was priced with */
	int64_t holder;	  /* random: which re-pricings are in this thread's hands */
	int64_t catalogue_number;
	int64_t abandoned_mono_us; /* when to look for abandoned ones */
	int64_t answered_mono_us;  /* since when the database has answered each time; 0: it has not */
};

/* What another try may make good. */
static bool is_passing(enum err e)
{
	return e == ERR_DATABASE_UNAVAILABLE || e == ERR_DB_LOST || e == ERR_DB_RETRY || e == ERR_NO_MEMORY ||
	       e == ERR_UNAVAILABLE || e == ERR_CONFLICT;
}

static bool same_position(const struct position *a, const struct position *b)
{
	return a->begun && b->begun && a->open == b->open && strcmp(a->provider, b->provider) == 0 &&
	       strcmp(a->model, b->model) == 0 && uuid_equal(&a->user_id, &b->user_id);
}

/* A full list is forgotten: everybody's backlog is looked at instead. Of two for the same one is left; it
 * begins anew unless both are at the same name. */
static void add_task(struct repricer *r, const struct task *t)
{
	for (size_t i = 0; i < r->n_tasks; i++) {
		struct task *const known = &r->tasks[i];
		if (known->all != t->all || known->again != t->again ||
			(!t->all && !uuid_equal(&known->user_id, &t->user_id)))
			continue;
		if (known->due_mono_us > t->due_mono_us)
			known->due_mono_us = t->due_mono_us;
		if (!same_position(&known->at, &t->at))
			known->at = (struct position){.begun = false};
		return;
	}
	if (r->n_tasks < TASKS_MAX) {
		r->tasks[r->n_tasks++] = *t;
		return;
	}
	r->tasks[0] = (struct task){.all = true, .due_mono_us = t->due_mono_us, .again = true};
	r->n_tasks = 1;
}

/* ---- what was begun ---- */

static void give_up(struct repricer *r, const struct repricing *job, enum err e)
{
	char id[UUID_TEXT_SIZE];
	uuid_format(&job->id, id);
	LOG_ERROR("repricing failed", LOG_S("id", id), LOG_S("code", err_code(e)));
	/* If this fails too, the next round tries all of it again. */
	(void)repricings_fail(r->db, &job->user_id, &job->id);
}

static enum err turn(struct repricer *r, struct repricing *job)
{
	enum err e = ERR_OK;
	for (int i = 0; i < TURN_CHUNKS && e == ERR_OK && job->state == REPRICING_RUNNING && !r->stopping;
		i++)
		e = repricing_run_chunk(r->db, job, false);
	return e;
}

/* A turn for the user who has waited longest. True if there was one and nothing failed. */
static bool go_on(struct repricer *r)
{
	struct arena arena;
	arena_init(&arena, 65536);
	struct repricing job;
	enum err e = repricings_next(r->db, IDLE_US, r->holder, r->catalogue_number, &arena, &job);
	const bool found = e == ERR_OK;
	if (found)
		e = turn(r, &job);
	if (found && e != ERR_OK && e != ERR_NOT_FOUND && !is_passing(e))
		give_up(r, &job, e);
	if (found && is_passing(e) && e != ERR_DB_LOST)
		(void)repricings_delay(r->db, &job.user_id, &job.id); /* others are not to wait for it */
	arena_release(&arena);
	return found && e == ERR_OK;
}

/* Says that there is a server with this catalogue. False: the database has not answered for as long as
 * servers with another one are given. */
static bool show_oneself(struct repricer *r, int64_t now_us)
{
	const bool late = now_us > r->abandoned_mono_us + SEEN_US;
	if (repricing_catalogue_seen(r->db, r->catalogue_number) != ERR_OK)
		r->answered_mono_us = 0;
	else if (r->answered_mono_us == 0 || late)
		r->answered_mono_us = now_us;
	return r->answered_mono_us != 0 && now_us - r->answered_mono_us >= ABANDONED_US;
}

/* One that was begun with a newer catalogue is its servers', also while it waits for its turn. When they are
 * gone for good (an older version was put in place again), it ends: what it has done stays, and may be asked
 * for anew by the prices of now. */
static void end_abandoned(struct repricer *r)
{
	const int64_t now_us = clock_mono_us();
	if (now_us < r->abandoned_mono_us)
		return;
	const bool knows = show_oneself(r, now_us);
	r->abandoned_mono_us = now_us + SEEN_US;
	int64_t n = 0;
	if (knows && repricings_fail_abandoned(r->db, ABANDONED_US, r->catalogue_number, &n) == ERR_OK &&
		n > 0)
		LOG_WARN("repricings of a newer catalogue ended", LOG_I("repricings", n));
}

/* ---- the backlog ---- */

static bool may_be_priced(const struct unpriced_model *m, enum err *ret_err)
{
	const struct own_prices *own;
	*ret_err = own_prices_acquire(&m->user_id, &own);
	if (*ret_err != ERR_OK)
		return false;
	const struct catalogue *const c = catalogue_acquire();
	bool has = false;
	*ret_err = repricing_has_record(c, own, m->provider, m->model, &has);
	catalogue_release(c);
	own_prices_release(own);
	return *ret_err == ERR_OK && has;
}

/* A chunk is looked at before it is locked: what cannot be priced is not touched, and leaves no trace. */
static enum err backlog_chunk(struct repricer *r, struct repricing *job)
{
	struct arena arena;
	arena_init(&arena, PAGE_BYTES);
	struct repricing ahead = *job;
	ahead.sums = (struct repricing_sums){.arena = &arena};
	enum err e = job->stored ? ERR_OK : repricing_run_chunk(r->db, &ahead, true);
	if (e == ERR_OK && !job->stored && ahead.sums.n == 0) {
		*job = ahead;
		job->sums = (struct repricing_sums){0};
	} else if (e == ERR_OK) {
		e = repricing_run_chunk(r->db, job, false);
	}
	arena_release(&arena);
	return e;
}

/* Goes on at the position with the events of m, for at most *chunks. What has a row by the end of them is
 * gone on with by go_on(), and the position is behind it. */
static enum err price_backlog(
	struct repricer *r, const struct unpriced_model *m, struct position *at, int *chunks)
{
	enum err e;
	if (!may_be_priced(m, &e))
		return e;
	int64_t running = 0;
	e = repricings_count_running(r->db, &m->user_id, true, &running);
	if (e == ERR_OK && running > 0)
		e = ERR_CONFLICT; /* one at a time; this one comes after it */
	const int64_t now_us = clock_now_us();
	struct repricing job = {.user_id = m->user_id,
		.id = uuid_v7(now_us / US_PER_MS),
		.automatic = true,
		.from_us = OLDEST_US,
		.to_us = now_us + US_PER_DAY,
		.provider = m->provider,
		.model = m->model,
		.cursor_at_us = at->open ? at->cursor_at_us : OLDEST_US,
		.holder = r->holder};
	if (at->open)
		job.cursor_id = at->cursor_id;
	for (; e == ERR_OK && job.state == REPRICING_RUNNING && *chunks > 0 && !r->stopping; --*chunks)
		e = backlog_chunk(r, &job);
	if (job.events_changed > 0)
		LOG_INFO("backlog priced", LOG_S("provider", m->provider), LOG_S("model", m->model),
			LOG_I("events", job.events_changed));
	if (e != ERR_OK && e != ERR_NOT_FOUND && !is_passing(e))
		give_up(r, &job, e);
	at->open = e == ERR_OK && job.state == REPRICING_RUNNING && !job.stored;
	at->cursor_at_us = job.cursor_at_us;
	at->cursor_id = job.cursor_id;
	return is_passing(e) ? e : ERR_OK;
}

/* The name is the position now; its events are still to be looked at. */
static void move_to(struct position *at, const struct unpriced_model *m)
{
	const bool skips = at->skips && uuid_equal(&at->user_id, &m->user_id);
	*at = (struct position){.begun = true, .user_id = m->user_id, .skips = skips};
	(void)snprintf(at->provider, sizeof at->provider, "%s", m->provider);
	(void)snprintf(at->model, sizeof at->model, "%s", m->model);
}

/* The name at the position. A user who cannot be served just now, or whose events take more than a turn,
 * becomes a task of his own; the database being away ends it. */
static enum err sweep_name(struct repricer *r, struct task *t, int *chunks)
{
	struct position *const at = &t->at;
	if (at->skips)
		return ERR_OK;
	const struct unpriced_model m = {
		.user_id = at->user_id, .provider = at->provider, .model = at->model};
	const enum err e = price_backlog(r, &m, at, chunks);
	if (e == ERR_DATABASE_UNAVAILABLE || e == ERR_DB_LOST)
		return e;
	if (e == ERR_OK && (!t->all || *chunks > 0))
		return ERR_OK;
	struct task own = {.user_id = at->user_id, .due_mono_us = clock_mono_us()};
	if (e == ERR_OK)
		own.at = *at;
	else
		own.due_mono_us += FAILED_US;
	if (t->all || e != ERR_OK)
		add_task(r, &own);
	at->skips = true;
	at->open = false;
	return ERR_OK;
}

/* A turn of a task. ERR_OK with *ret_end: everything that has a price now is priced, will be by another task,
 * or has failed for good. */
static enum err sweep(struct repricer *r, struct task *t, bool *ret_end)
{
	int chunks = TURN_CHUNKS;
	struct arena arena;
	arena_init(&arena, PAGE_BYTES);
	enum err e = t->at.open ? sweep_name(r, t, &chunks) : ERR_OK;
	struct unpriced_model *names = NULL;
	size_t n = 0, done = 0;
	const struct unpriced_model after = {
		.user_id = t->at.user_id, .provider = t->at.provider, .model = t->at.model};
	if (e == ERR_OK && chunks > 0)
		e = unpriced_names(r->db, t->all ? NULL : &t->user_id, t->at.begun ? &after : NULL,
			NAMES_PAGE, &arena, &names, &n);
	while (e == ERR_OK && done < n && chunks > 0 && !r->stopping) {
		move_to(&t->at, &names[done++]);
		e = sweep_name(r, t, &chunks);
	}
	arena_release(&arena);
	if (e == ERR_OK)
		*ret_end = chunks > 0 && done == n && n < NAMES_PAGE && !r->stopping;
	return e;
}

/* ---- when ---- */

static void note_changes(struct repricer *r)
{
	struct uuid users[256];
	bool all;
	const int64_t now_us = clock_mono_us();
	const size_t n = own_prices_take_changed(users, sizeof users / sizeof users[0], &all);
	for (size_t i = 0; i < n; i++)
		add_task(r, &(struct task){.user_id = users[i], .due_mono_us = now_us, .again = true});
	const struct catalogue *const c = catalogue_acquire();
	all = all || strcmp(c->version, r->version) != 0;
	memcpy(r->version, c->version, sizeof r->version);
	catalogue_release(c);
	if (all)
		add_task(r, &(struct task){.all = true, .due_mono_us = now_us, .again = true});
}

/* A turn of the task that is due longest. True if there was one and nothing failed. */
static bool run_due_task(struct repricer *r)
{
	size_t first = 0;
	for (size_t i = 1; i < r->n_tasks; i++) {
		if (r->tasks[i].due_mono_us < r->tasks[first].due_mono_us)
			first = i;
	}
	if (r->n_tasks == 0 || r->tasks[first].due_mono_us > clock_mono_us())
		return false;
	struct task t = r->tasks[first];
	r->tasks[first] = r->tasks[--r->n_tasks];
	bool end = false;
	const enum err e = sweep(r, &t, &end);
	t.due_mono_us = clock_mono_us();
	if (e != ERR_OK) {
		t.due_mono_us += FAILED_US;
		add_task(r, &t);
	} else if (!end) {
		add_task(r, &t);
	} else if (t.again) {
		add_task(r,
			&(struct task){
				.all = t.all, .user_id = t.user_id, .due_mono_us = t.due_mono_us + AGAIN_US});
	}
	return e == ERR_OK;
}

static void round_run(void *arg)
{
	struct repricer *const r = arg;
	bool busy = true;
	/* Before, there may be no tables, and nothing can be priced. */
	while (busy && own_prices_loaded() && !r->stopping) {
		note_changes(r);
		if (repricing_note_catalogue(r->db, &r->catalogue_number) != ERR_OK)
			return;
		end_abandoned(r);
		const bool went_on = go_on(r);
		busy = run_due_task(r) || went_on;
	}
}

enum err repricer_start(const struct db_settings *db, struct repricer **ret)
{
	struct repricer *const r = calloc(1, sizeof *r);
	if (r == NULL)
		return ERR_NO_MEMORY;
	random_bytes(&r->holder, sizeof r->holder);
	struct db_settings settings = *db;
	settings.statement_us = STATEMENT_US;
	r->db = db_conn_new(&settings);
	if (r->db == NULL || ticker_start("repricer", ROUND_US, round_run, r, &r->ticker) != ERR_OK) {
		db_conn_free(r->db);
		free(r);
		return ERR_NO_MEMORY;
	}
	*ret = r;
	return ERR_OK;
}

void repricer_stop(struct repricer *r)
{
	if (r == NULL)
		return;
	r->stopping = true;
	ticker_stop(r->ticker);
	db_conn_free(r->db);
	free(r);
}
