/* A fixed number of threads with a bounded queue: blocking handlers run here, each thread with a worker of
 * its own (a database connection). When the queue is full the caller is told at once; a request that waited
 * too long is refused instead of run, because its client has likely given up. */

#include "internal.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"

#define WAIT_MAX_US (5 * US_PER_SECOND)
#define NICENESS    5
#define REST_MAX_US (200 * US_PER_MS)
/* jansson may recurse 2,048 deep: half a megabyte would overflow (see docs/hacking.md) */
#define STACK_BYTES ((size_t)2 * 1024 * 1024)

struct executor {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct call *head, *tail;
	unsigned queued, queue_max;
	unsigned busy; /* threads with a request */
	bool stopping;
	const struct http_hooks *hooks;
	struct executor_gauges gauges;
	bool considerate;
	unsigned n_threads;
	pthread_t threads[];
};

static void set_gauge(enum metric gauge, int64_t value)
{
	if (gauge != METRIC_COUNT)
		metric_set(gauge, value);
}

static void show(const struct executor *e)
{
	set_gauge(e->gauges.queued, e->queued);
	set_gauge(e->gauges.busy, e->busy);
}

enum err executor_submit(struct executor *e, struct call *c)
{
	pthread_mutex_lock(&e->lock);
	if (e->stopping || e->queued >= e->queue_max + (e->n_threads - e->busy)) {
		const enum err err = e->stopping ? ERR_DRAINING : ERR_OVERLOADED;
		pthread_mutex_unlock(&e->lock);
		return err;
	}
	c->next = NULL;
	c->queued_mono_us = clock_mono_us();
	if (e->tail != NULL)
		e->tail->next = c;
	else
		e->head = c;
	e->tail = c;
	e->queued++;
	show(e);
	pthread_cond_signal(&e->filled);
	pthread_mutex_unlock(&e->lock);
	return ERR_OK;
}

/* The next request; NULL when stopping and nothing is left. */
static struct call *take(struct executor *e)
{
	pthread_mutex_lock(&e->lock);
	while (e->head == NULL && !e->stopping)
		pthread_cond_wait(&e->filled, &e->lock);
	struct call *c = e->head;
	if (c != NULL) {
		e->head = c->next;
		if (e->head == NULL)
			e->tail = NULL;
		c->next = NULL;
		e->queued--;
		e->busy++;
		show(e);
	}
	pthread_mutex_unlock(&e->lock);
	return c;
}

void executor_free_thread(struct executor *e)
{
	pthread_mutex_lock(&e->lock);
	CHECK(e->busy > 0);
	e->busy--;
	show(e);
	pthread_mutex_unlock(&e->lock);
}

static void refuse_late(struct executor *e, struct call *c)
{
	executor_free_thread(e);
	metric_add(METRIC_REQUESTS_REFUSED_QUEUE, 1);
	c->reply = reply_error(
		&c->rq, ERR_OVERLOADED, "The request waited too long for a free thread, try again shortly");
	call_move(c, CALL_RUNNING, CALL_READY);
	loop_post(c);
}

/* While requests wait, a considerate thread rests for as long as it has worked: niceness alone does not help
 * where the system shares out its processors by groups of processes (PostgreSQL is another group). Nobody who
 * comes alone waits for it. */
static void rest(struct executor *e, int64_t worked_us)
{
	pthread_mutex_lock(&e->lock);
	const bool crowded = e->head != NULL && !e->stopping;
	pthread_mutex_unlock(&e->lock);
	if (!crowded)
		return;
	const int64_t us = worked_us < REST_MAX_US ? worked_us : REST_MAX_US;
	const struct timespec pause = {.tv_nsec = (long)(us * 1000)};
	(void)nanosleep(&pause, NULL);
}

static void *executor_main(void *arg)
{
	struct executor *e = arg;
	if (e->considerate) /* of this thread alone, as Linux has it */
		(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
	void *worker = e->hooks->worker_new(e->hooks->app);
	CHECK(worker != NULL);
	for (;;) {
		struct call *c = take(e);
		if (c == NULL)
			break;
		const int64_t begin_us = clock_mono_us();
		if (begin_us - c->queued_mono_us > WAIT_MAX_US)
			refuse_late(e, c);
		else
			call_run(c, e, worker);
		if (e->considerate)
			rest(e, clock_mono_us() - begin_us);
	}
	e->hooks->worker_free(worker);
	return NULL;
}

enum err executor_start(const char *name, unsigned threads, unsigned queue, bool considerate,
	const struct http_hooks *h, const struct executor_gauges *gauges, struct executor **ret)
{
	struct executor *e = calloc(1, sizeof *e + threads * sizeof e->threads[0]);
	if (e == NULL)
		return ERR_NO_MEMORY;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->filled, NULL);
	e->queue_max = queue;
	e->hooks = h;
	e->gauges = *gauges;
	e->considerate = considerate;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (unsigned i = 0; i < threads; i++) {
		if (pthread_create(&e->threads[i], &attr, executor_main, e) != 0)
			break;
		(void)pthread_setname_np(e->threads[i], name);
		e->n_threads++;
	}
	pthread_attr_destroy(&attr);
	if (e->n_threads < threads) {
		executor_stop(e);
		return ERR_NO_MEMORY;
	}
	set_gauge(e->gauges.threads, e->n_threads);
	*ret = e;
	return ERR_OK;
}

void executor_stop(struct executor *e)
{
	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	pthread_cond_broadcast(&e->filled);
	pthread_mutex_unlock(&e->lock);
	for (unsigned i = 0; i < e->n_threads; i++)
		pthread_join(e->threads[i], NULL);
	pthread_cond_destroy(&e->filled);
	pthread_mutex_destroy(&e->lock);
	free(e);
}
