/* When recorded events get new prices: a thread that looks for re-pricings that nobody is at, and for
 * unpriced events that may have a price now. How a chunk is priced and stored is in the layers below; every
 * chunk is a transaction of its own, so this thread may be killed at any time and any number of servers may
 * have one.
 *
 * The backlog of unpriced events is looked at when the catalogue is another one than before (so at each
 * start, too), and for one user when his own prices change; and once more a little later, for events that
 * were priced by the old prices and stored after the first look. */
#include "llmlab/app/repricer.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "llmlab/api/repricing_run.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/db/unpriced.h"
#include "llmlab/providers/catalogue_load.h"

#define ROUND_US     (250 * US_PER_MS)
#define STATEMENT_US (30 * US_PER_SECOND)
#define STACK_BYTES  ((size_t)2 * 1024 * 1024)
#define IDLE_US	     (2 * US_PER_SECOND) /* without a chunk for so long, nobody is at a re-pricing */
#define TURN_CHUNKS  50			 /* of one re-pricing, before others have theirs */
#define TASKS_MAX    512
#define AGAIN_US     (10 * US_PER_SECOND)
#define FAILED_US    (2 * US_PER_SECOND)
#define NAMES_PAGE   200
#define PAGE_BYTES   ((size_t)4 << 20)
#define OLDEST_US    (1420070400 * US_PER_SECOND) /* 2015-01-01T00:00:00Z, as for events */

/* A backlog to look at. */
struct task {
	bool all; /* everybody's, else the user's */
	struct uuid user_id;
	int64_t due_mono_us;
	bool again; /* once more after this time */
};

struct repricer {
	struct db_conn *db;
	pthread_t thread;
	pthread_mutex_t lock; /* of stopping */
	pthread_cond_t wake;
	bool stopping;
	/* the thread's own from here */
	struct task tasks[TASKS_MAX];
	size_t n_tasks;
	char version[17]; /* of the catalogue that the backlog was priced with */
};

static bool is_stopping(struct repricer *r)
{
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	const bool stopping = r->stopping;
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
	return stopping;
}

/* What another try may make good. */
static bool is_passing(enum err e)
{
	return e == ERR_DATABASE_UNAVAILABLE || e == ERR_DB_LOST || e == ERR_DB_RETRY || e == ERR_NO_MEMORY ||
	       e == ERR_UNAVAILABLE || e == ERR_CONFLICT;
}

/* A full list is forgotten: everybody's backlog is looked at instead. */
static void add_task(struct repricer *r, const struct task *t)
{
	for (size_t i = 0; i < r->n_tasks; i++) {
		struct task *const known = &r->tasks[i];
		if (known->all == t->all && (t->all || uuid_equal(&known->user_id, &t->user_id)) &&
			known->again == t->again) {
			if (known->due_mono_us > t->due_mono_us)
				known->due_mono_us = t->due_mono_us;
			return;
		}
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
	for (int i = 0; i < TURN_CHUNKS && e == ERR_OK && job->state == REPRICING_RUNNING && !is_stopping(r);
		i++)
		e = repricing_run_chunk(r->db, job, false);
	return e;
}

/* Goes on with the one that has waited longest, to its end; after each turn, another one that waits has a
 * turn, so that a long one does not keep short ones waiting. True if there was one and nothing failed. */
static bool go_on(struct repricer *r, bool to_the_end)
{
	struct arena arena;
	arena_init(&arena, 65536);
	struct repricing job;
	enum err e = repricings_next_idle(r->db, IDLE_US, &arena, &job);
	const bool found = e == ERR_OK;
	while (e == ERR_OK && job.state == REPRICING_RUNNING && !is_stopping(r)) {
		e = turn(r, &job);
		if (!to_the_end)
			break;
		if (e == ERR_OK && job.state == REPRICING_RUNNING)
			(void)go_on(r, false);
	}
	if (found && e != ERR_OK && e != ERR_NOT_FOUND && !is_passing(e))
		give_up(r, &job, e);
	if (found && is_passing(e) && e != ERR_DB_LOST)
		(void)repricings_delay(r->db, &job.user_id, &job.id); /* others are not to wait for it */
	arena_release(&arena);
	return found && e == ERR_OK;
}

static void go_on_with_all(struct repricer *r)
{
	while (!is_stopping(r) && go_on(r, true))
		;
}

/* ---- the backlog ---- */

static bool may_be_priced(const struct unpriced_model *m, enum err *ret_err)
{
	const struct own_prices *own;
	*ret_err = own_prices_acquire(&m->user_id, &own);
	if (*ret_err != ERR_OK)
		return false;
	const struct catalogue *const c = catalogue_acquire();
	const bool has = repricing_has_record(c, own, m->provider, m->model);
	catalogue_release(c);
	own_prices_release(own);
	return has;
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

static enum err price_backlog(struct repricer *r, const struct unpriced_model *m)
{
	enum err e;
	if (!may_be_priced(m, &e))
		return e;
	const int64_t now_us = clock_now_us();
	struct repricing job = {.user_id = m->user_id,
		.id = uuid_v7(now_us / US_PER_MS),
		.automatic = true,
		.from_us = OLDEST_US,
		.to_us = now_us + US_PER_DAY,
		.provider = m->provider,
		.model = m->model,
		.cursor_at_us = OLDEST_US};
	while (e == ERR_OK && job.state == REPRICING_RUNNING && !is_stopping(r))
		e = backlog_chunk(r, &job);
	if (job.events_changed > 0)
		LOG_INFO("backlog priced", LOG_S("provider", m->provider), LOG_S("model", m->model),
			LOG_I("events", job.events_changed));
	if (e != ERR_OK && e != ERR_NOT_FOUND && !is_passing(e))
		give_up(r, &job, e);
	return is_passing(e) ? e : ERR_OK;
}

/* One page of names; *after moves to its end, its texts in the arena. A user who cannot be served just now
 * becomes a task of his own; the database being away ends it. */
static enum err sweep_page(struct repricer *r, const struct task *t, struct unpriced_model *after, bool first,
	struct arena *arena, bool *ret_end)
{
	struct unpriced_model *names;
	size_t n;
	enum err e = unpriced_names(
		r->db, t->all ? NULL : &t->user_id, first ? NULL : after, NAMES_PAGE, arena, &names, &n);
	for (size_t i = 0; e == ERR_OK && i < n && !is_stopping(r); i++) {
		e = price_backlog(r, &names[i]);
		if (e == ERR_OK || e == ERR_DATABASE_UNAVAILABLE || e == ERR_DB_LOST)
			continue;
		add_task(r, &(struct task){
				    .user_id = names[i].user_id, .due_mono_us = clock_mono_us() + FAILED_US});
		e = ERR_OK;
	}
	if (e != ERR_OK)
		return e;
	*ret_end = n < NAMES_PAGE;
	if (n > 0)
		*after = names[n - 1];
	return ERR_OK;
}

/* ERR_OK: everything that has a price now is priced, will be by another task, or has failed for good. */
static enum err sweep(struct repricer *r, const struct task *t)
{
	struct arena arenas[2];
	arena_init(&arenas[0], PAGE_BYTES);
	arena_init(&arenas[1], PAGE_BYTES);
	struct unpriced_model after = {.provider = NULL};
	enum err e = ERR_OK;
	bool end = false;
	for (int page = 0; e == ERR_OK && !end && !is_stopping(r); page++) {
		struct arena *const arena = &arenas[page % 2]; /* the other holds `after` */
		arena_release(arena);
		e = sweep_page(r, t, &after, page == 0, arena, &end);
		go_on_with_all(r);
	}
	arena_release(&arenas[0]);
	arena_release(&arenas[1]);
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

static void run_task(struct repricer *r, size_t i)
{
	struct task t = r->tasks[i];
	r->tasks[i] = r->tasks[--r->n_tasks];
	const enum err e = sweep(r, &t);
	if (e != ERR_OK) {
		t.due_mono_us = clock_mono_us() + FAILED_US;
		add_task(r, &t);
	} else if (t.again) {
		t.again = false;
		t.due_mono_us = clock_mono_us() + AGAIN_US;
		add_task(r, &t);
	}
}

static void run_due_tasks(struct repricer *r)
{
	const int64_t now_us = clock_mono_us();
	for (size_t i = 0; i < r->n_tasks && !is_stopping(r);) {
		if (r->tasks[i].due_mono_us <= now_us)
			run_task(r, i);
		else
			i++;
	}
}

static void round_run(struct repricer *r)
{
	/* Before, there may be no tables, and nothing can be priced. */
	if (!own_prices_loaded())
		return;
	note_changes(r);
	go_on_with_all(r);
	run_due_tasks(r);
}

/* True when the thread is to end. */
static bool wait_until(struct repricer *r, int64_t mono_us)
{
	const struct timespec at = {
		.tv_sec = mono_us / US_PER_SECOND, .tv_nsec = mono_us % US_PER_SECOND * 1000};
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	int waited = 0;
	while (!r->stopping && waited == 0)
		waited = pthread_cond_timedwait(&r->wake, &r->lock, &at);
	const bool stopping = r->stopping;
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
	return stopping;
}

static void *repricer_thread(void *arg)
{
	struct repricer *const r = arg;
	int64_t began_us;
	do {
		began_us = clock_mono_us();
		round_run(r);
	} while (!wait_until(r, began_us + ROUND_US));
	return NULL;
}

static int start_thread(struct repricer *r)
{
	pthread_attr_t attr;
	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
	const int failed = pthread_create(&r->thread, &attr, repricer_thread, r);
	CHECK(pthread_attr_destroy(&attr) == 0);
	return failed;
}

static void release(struct repricer *r)
{
	CHECK(pthread_cond_destroy(&r->wake) == 0);
	CHECK(pthread_mutex_destroy(&r->lock) == 0);
	db_conn_free(r->db);
	free(r);
}

enum err repricer_start(const struct db_settings *db, struct repricer **ret)
{
	struct repricer *const r = calloc(1, sizeof *r);
	if (r == NULL)
		return ERR_NO_MEMORY;
	struct db_settings settings = *db;
	settings.statement_us = STATEMENT_US;
	r->db = db_conn_new(&settings);
	if (r->db == NULL) {
		free(r);
		return ERR_NO_MEMORY;
	}
	pthread_condattr_t attr;
	CHECK(pthread_condattr_init(&attr) == 0);
	CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	CHECK(pthread_cond_init(&r->wake, &attr) == 0);
	CHECK(pthread_condattr_destroy(&attr) == 0);
	CHECK(pthread_mutex_init(&r->lock, NULL) == 0);
	if (start_thread(r) != 0) {
		release(r);
		return ERR_NO_MEMORY;
	}
	*ret = r;
	return ERR_OK;
}

void repricer_stop(struct repricer *r)
{
	if (r == NULL)
		return;
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	r->stopping = true;
	CHECK(pthread_cond_signal(&r->wake) == 0);
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
	CHECK(pthread_join(r->thread, NULL) == 0);
	release(r);
}
