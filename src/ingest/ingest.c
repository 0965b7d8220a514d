/* The ingest thread and its front door: admission, waking, expiry of what waits, and a clean stop. What
 * happens to a batch is writer.c's, the order of service queue.c's. */

#include "llmlab/ingest/ingest.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"
#include "queue.h"
#include "writer.h"

#define EXPIRY_US (50 * US_PER_MS)
#define RETRY_US  (20 * US_PER_MS)

struct ingest {
	struct writer writer;	    /* the thread's */
	struct ingest_item **batch; /* the thread's; room for max_batch_items */
	pthread_t thread, expiry;
	_Atomic bool ended;   /* the expiry is to end */
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t filled;
	struct queue queue;
	bool idle; /* the thread waits for `filled` */
	bool stopping;
	_Atomic int64_t queued;		   /* as in the queue, for readers without the lock */
	_Atomic int64_t events_per_second; /* lately */
};

static void note_queued(struct ingest *in)
{
	atomic_store_explicit(&in->queued, (int64_t)in->queue.items, memory_order_relaxed);
	metric_set(METRIC_INGEST_QUEUE, (int64_t)in->queue.items);
	metric_set(METRIC_INGEST_STANDING, in->queue.standing);
}

/* Blocks until there is something; false: stopping and nothing is left. */
static bool await_items(struct ingest *in)
{
	pthread_mutex_lock(&in->lock);
	while (in->queue.items == 0 && !in->stopping) {
		in->idle = true;
		pthread_cond_wait(&in->filled, &in->lock);
	}
	in->idle = false;
	const bool some = in->queue.items > 0;
	pthread_mutex_unlock(&in->lock);
	return some;
}

static size_t take_batch(struct ingest *in)
{
	pthread_mutex_lock(&in->lock);
	const size_t n = queue_take(&in->queue, in->batch, in->writer.settings.max_batch_items);
	queue_taken(&in->queue, n, clock_mono_us());
	note_queued(in);
	pthread_mutex_unlock(&in->lock);
	return n;
}

/* ---- what waits too long ---- */

static void expire_queued(struct ingest *in)
{
	struct ingest_item *expired[256];
	size_t n;
	do {
		pthread_mutex_lock(&in->lock);
		n = queue_take_expired(
			&in->queue, clock_mono_us(), expired, sizeof(expired) / sizeof(expired[0]));
		note_queued(in);
		pthread_mutex_unlock(&in->lock);
		writer_give_up(expired, n);
	} while (n > 0);
}

/* A thread of its own, because the writer may be held up by the database for as long as its deadlines allow,
 * and what is queued meanwhile must be answered in time. */
static void *run_expiry(void *arg)
{
	struct ingest *in = arg;
	const struct timespec pause = {.tv_nsec = EXPIRY_US * 1000};
	while (!atomic_load(&in->ended)) {
		nanosleep(&pause, NULL);
		if (atomic_load_explicit(&in->queued, memory_order_relaxed) > 0)
			expire_queued(in);
	}
	return NULL;
}

static void note_rate(struct ingest *in, size_t n, int64_t elapsed_us)
{
	const int64_t rate = (int64_t)n * US_PER_SECOND / (elapsed_us > 0 ? elapsed_us : 1);
	const int64_t before = atomic_load_explicit(&in->events_per_second, memory_order_relaxed);
	atomic_store_explicit(&in->events_per_second, (7 * before + rate) / 8, memory_order_relaxed);
}

/* While there is no connection nothing is taken: what is queued can expire, what is taken could not. */
static bool is_connected(struct ingest *in)
{
	if (writer_connect(&in->writer) == ERR_OK || clock_mono_us() >= atomic_load(&in->writer.stop_by_us))
		return true;
	const struct timespec pause = {.tv_nsec = RETRY_US * 1000};
	nanosleep(&pause, NULL);
	return false;
}

static void *run(void *arg)
{
	struct ingest *in = arg;
	while (await_items(in)) {
		if (!is_connected(in))
			continue;
		const int64_t begin_us = clock_mono_us();
		const size_t n = take_batch(in);
		if (n == 0)
			continue; /* expired meanwhile */
		writer_store(&in->writer, in->batch, n);
		note_rate(in, n, clock_mono_us() - begin_us);
	}
	return NULL;
}

/* Signals are the main thread's. */
static int start_thread(struct ingest *in, pthread_t *thread, void *(*body)(void *arg), const char *name)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	const int failed = pthread_create(thread, NULL, body, in);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed == 0)
		pthread_setname_np(*thread, name);
	return failed;
}

static void stop_expiry(struct ingest *in)
{
	atomic_store(&in->ended, true);
	pthread_join(in->expiry, NULL);
}

static void release(struct ingest *in)
{
	pthread_cond_destroy(&in->filled);
	pthread_mutex_destroy(&in->lock);
	free(in->batch);
	free(in);
}

enum err ingest_start(const struct ingest_settings *s, const struct db_settings *db, struct ingest **ret)
{
	CHECK(s->max_batch_items > 0 && s->max_queued_items > 0);
	struct ingest *in = calloc(1, sizeof(*in));
	if (in == NULL)
		return ERR_NO_MEMORY;
	pthread_mutex_init(&in->lock, NULL);
	pthread_cond_init(&in->filled, NULL);
	queue_init(&in->queue, s->max_queued_items, s->max_queued_bytes);
	in->queue.standing_items = s->max_batch_items / 2;
	in->batch = calloc(s->max_batch_items, sizeof(struct ingest_item *));
	if (in->batch == NULL || writer_init(&in->writer, s, db) != ERR_OK) {
		release(in);
		return ERR_NO_MEMORY;
	}
	const bool expires = start_thread(in, &in->expiry, run_expiry, "ingest expiry") == 0;
	if (!expires || start_thread(in, &in->thread, run, "ingest") != 0) {
		if (expires)
			stop_expiry(in);
		writer_release(&in->writer);
		release(in);
		return ERR_NO_MEMORY;
	}
	*ret = in;
	return ERR_OK;
}

void ingest_stop(struct ingest *in, int64_t deadline_us)
{
	if (in == NULL)
		return;
	atomic_store(&in->writer.stop_by_us, deadline_us);
	pthread_mutex_lock(&in->lock);
	in->stopping = true;
	pthread_cond_signal(&in->filled);
	pthread_mutex_unlock(&in->lock);
	pthread_join(in->thread, NULL);
	stop_expiry(in);
}

void ingest_free(struct ingest *in)
{
	if (in == NULL)
		return;
	writer_release(&in->writer);
	release(in);
}

enum err ingest_reserve(struct ingest *in, const struct uuid *user_id, size_t n_items, size_t bytes,
	struct ingest_reservation *ret)
{
	enum err e = ERR_OK;
	pthread_mutex_lock(&in->lock);
	if (in->stopping)
		e = ERR_DRAINING;
	else if (n_items > in->queue.max_items)
		e = ERR_TOO_LARGE;
	else
		e = queue_reserve(&in->queue, user_id, n_items, bytes, ret);
	pthread_mutex_unlock(&in->lock);
	if (e != ERR_OK)
		metric_add(METRIC_INGEST_REFUSED, (int64_t)n_items);
	return e;
}

void ingest_unreserve(struct ingest *in, struct ingest_reservation *r)
{
	pthread_mutex_lock(&in->lock);
	queue_unreserve(&in->queue, r);
	pthread_mutex_unlock(&in->lock);
}

static enum err admit(struct ingest *in, struct ingest_group *g)
{
	if (g->reservation != NULL)
		queue_unreserve(&in->queue, g->reservation);
	if (in->stopping)
		return ERR_DRAINING;
	if (g->n_items > in->queue.max_items)
		return ERR_TOO_LARGE;
	const enum err e = queue_push(&in->queue, g);
	if (e != ERR_OK)
		return e;
	note_queued(in);
	if (in->idle)
		pthread_cond_signal(&in->filled);
	return ERR_OK;
}

enum err ingest_submit(struct ingest *in, struct ingest_group *g)
{
	const size_t n = g->n_items;
	pthread_mutex_lock(&in->lock);
	const enum err e = admit(in, g);
	g->reservation = NULL;
	pthread_mutex_unlock(&in->lock);
	if (e != ERR_OK)
		metric_add(METRIC_INGEST_REFUSED, (int64_t)n);
	return e;
}

int ingest_retry_after(const struct ingest *in)
{
	const int64_t queued = atomic_load_explicit(&in->queued, memory_order_relaxed);
	const int64_t rate = atomic_load_explicit(&in->events_per_second, memory_order_relaxed);
	uint8_t random;
	random_bytes(&random, sizeof(random));
	const int64_t seconds = 1 + queued / (rate > 100 ? rate : 100) + random % 3;
	return seconds > 30 ? 30 : (int)seconds;
}
