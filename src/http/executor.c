/* A fixed number of threads with a bounded queue: blocking handlers run here, each thread with a worker of
 * its own (a database connection). When the queue is full the caller is told at once; a request that waited
 * too long is refused instead of run, because its client has likely given up. Bodies of events, which come as
 * floods, may take a quarter of the queue: what asks finds room beside them, and what is accepted is soon
 * looked at.
 *
 * A request that asks the same as one in the queue (shared.c) follows it: it takes no room, and there are no
 * more of these than connections. One that asks the same as one that runs is queued, and held until that has
 * ended, so that others can follow it meanwhile; for a bounded time, as it could run now. */

#include "internal.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"

#define WAIT_MAX_US (5 * US_PER_SECOND)
/* A burst of logins is worked off, which takes its time; but while one has waited so long no more are taken.
 */
#define CONSIDERATE_WAIT_MAX_US (15 * US_PER_SECOND)
#define CONSIDERATE_STALE_US	(2 * US_PER_SECOND)
#define NICENESS		5
#define REST_MAX_US		(500 * US_PER_MS)
/* Considerate threads together leave all but this part of the processors to others while requests wait. */
#define CONSIDERATE_PART 4
/* jansson may recurse 2,048 deep: half a megabyte would overflow (see docs/hacking.md) */
#define STACK_BYTES ((size_t)2 * 1024 * 1024)

struct executor {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct call *head, **end; /* end: the link that is NULL */
	unsigned queued, queue_max;
	unsigned events; /* queued ones whose body is events */
	unsigned busy;	 /* threads with a request */
	bool stopping;
	const struct http_hooks *hooks;
	struct executor_gauges gauges;
	bool considerate;
	int64_t hold_us;
	unsigned processors;
	unsigned n_threads;
	struct executor_thread {
		pthread_t id;
		struct executor *executor;
		void *worker; /* the thread's; made before it begins, so that a start without memory fails */
		const struct call *shared; /* what it answers, if that may be the same as others ask */
	} threads[];
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

static bool brings_events(const struct call *c)
{
	return c->rq.route->body == BODY_EVENTS;
}

/* How many bodies of events may wait in a queue of that size. */
static unsigned events_max(unsigned queue_max)
{
	return queue_max / 4 > 0 ? queue_max / 4 : 1;
}

/* With the lock held. A thread that is free takes one at once. */
static bool has_room(const struct executor *e, const struct call *c, int64_t now_us)
{
	const unsigned idle = e->n_threads - e->busy;
	if (e->queued >= e->queue_max + idle)
		return false;
	if (e->considerate && e->head != NULL && now_us - e->head->queued_mono_us > CONSIDERATE_STALE_US)
		return false;
	return !brings_events(c) || e->events < events_max(e->queue_max) + idle;
}

/* With the lock held. Whom the request may follow; NULL: nobody. */
static struct call *leader_of(const struct executor *e, const struct call *c)
{
	if (e->stopping || !shared_allows(c))
		return NULL;
	struct call *leader = e->head;
	while (leader != NULL && !(shared_allows(leader) && shared_same(leader, c)))
		leader = leader->next;
	return leader;
}

enum err executor_submit(struct executor *e, struct call *c)
{
	pthread_mutex_lock(&e->lock);
	const int64_t now_us = clock_mono_us();
	c->queued_mono_us = now_us;
	struct call *const leader = leader_of(e, c);
	if (leader != NULL) {
		shared_follow(leader, c);
		pthread_mutex_unlock(&e->lock);
		return ERR_OK;
	}
	if (e->stopping || !has_room(e, c, now_us)) {
		const enum err err = e->stopping ? ERR_DRAINING : ERR_OVERLOADED;
		pthread_mutex_unlock(&e->lock);
		return err;
	}
	c->next = NULL;
	*e->end = c;
	e->end = &c->next;
	e->queued++;
	e->events += brings_events(c);
	show(e);
	pthread_cond_signal(&e->filled);
	pthread_mutex_unlock(&e->lock);
	return ERR_OK;
}

/* With the lock held. Until when a queued request waits because another thread answers the same; 0: it does
 * not. */
static int64_t held_until_us(const struct executor *e, const struct call *c)
{
	if (e->stopping || !shared_allows(c))
		return 0;
	for (unsigned i = 0; i < e->n_threads; i++)
		if (e->threads[i].shared != NULL && shared_same(e->threads[i].shared, c))
			return c->queued_mono_us + e->hold_us;
	return 0;
}

/* With the lock held. The link to the first request that may run now; NULL: none, and when to look again,
 * INT64_MAX for never. */
static struct call **first_ready(struct executor *e, int64_t *ret_look_us)
{
	int64_t look_us = INT64_MAX;
	int64_t now_us = 0; /* most find one that does not ask for the time */
	for (struct call **at = &e->head; *at != NULL; at = &(*at)->next) {
		const int64_t until_us = held_until_us(e, *at);
		if (until_us == 0)
			return at;
		now_us = now_us != 0 ? now_us : clock_mono_us();
		if (until_us <= now_us)
			return at;
		look_us = until_us < look_us ? until_us : look_us;
	}
	*ret_look_us = look_us;
	return NULL;
}

static void wait_until(struct executor *e, int64_t look_us)
{
	if (look_us == INT64_MAX) {
		pthread_cond_wait(&e->filled, &e->lock);
		return;
	}
	const struct timespec at = {
		.tv_sec = look_us / US_PER_SECOND, .tv_nsec = look_us % US_PER_SECOND * 1000};
	(void)pthread_cond_timedwait(&e->filled, &e->lock, &at);
}

/* The next request; NULL when stopping and nothing is left. A request becomes ready when it is queued, which
 * wakes a thread, when its hold is over, for which idle threads look, or when the thread that answers the
 * same has ended, which comes here next. Whoever was woken may have been the only one that looked for the end
 * of a hold, so it wakes another while anything is left. */
static struct call *take(struct executor_thread *t)
{
	struct executor *e = t->executor;
	int64_t look_us = INT64_MAX;
	pthread_mutex_lock(&e->lock);
	struct call **at = first_ready(e, &look_us);
	while (at == NULL && !e->stopping) {
		wait_until(e, look_us);
		at = first_ready(e, &look_us);
	}
	struct call *c = NULL;
	if (at != NULL) {
		c = *at;
		*at = c->next;
		if (c->next == NULL)
			e->end = at;
		c->next = NULL;
		if (e->head != NULL)
			pthread_cond_signal(&e->filled);
		e->queued--;
		e->events -= brings_events(c);
		e->busy++;
		t->shared = shared_allows(c) ? c : NULL;
		show(e);
	}
	pthread_mutex_unlock(&e->lock);
	return c;
}

void executor_free_thread(struct executor_thread *t)
{
	struct executor *e = t->executor;
	pthread_mutex_lock(&e->lock);
	CHECK(e->busy > 0);
	e->busy--;
	t->shared = NULL;
	show(e);
	pthread_mutex_unlock(&e->lock);
}

/* Those that follow it would find the same queue. */
static void refuse_late(struct executor_thread *t, struct call *c)
{
	executor_free_thread(t);
	c->next = c->followers;
	c->followers = NULL;
	for (struct call *next; c != NULL; c = next) {
		next = c->next;
		metric_add(METRIC_REQUESTS_REFUSED_QUEUE, 1);
		c->reply = reply_error(&c->rq, ERR_OVERLOADED,
			"The request waited too long for a free thread, try again shortly");
		call_move(c, CALL_RUNNING, CALL_READY);
		loop_post(c);
	}
}

int64_t executor_rest_us(int64_t worked_us, unsigned threads, unsigned processors)
{
	const int64_t of_all = (int64_t)threads * CONSIDERATE_PART;
	if (of_all <= processors)
		return 0;
	const int64_t us = worked_us * (of_all - processors) / processors;
	return us < REST_MAX_US ? us : REST_MAX_US;
}

/* Niceness alone does not help where the system shares out its processors by groups of processes (PostgreSQL
 * is another group), and a password hash takes more than its time: it sweeps the caches. Nobody who comes
 * alone waits for it. */
static void rest(struct executor *e, int64_t worked_us)
{
	pthread_mutex_lock(&e->lock);
	const bool crowded = e->head != NULL && !e->stopping;
	pthread_mutex_unlock(&e->lock);
	if (!crowded)
		return;
	const int64_t us = executor_rest_us(worked_us, e->n_threads, e->processors);
	const struct timespec pause = {.tv_nsec = (long)(us * 1000)};
	(void)nanosleep(&pause, NULL);
}

/* Before the request runs: what it asks of the database ends in time for it. */
static void tell_waited(const struct executor *e, void *worker, int64_t waited_us)
{
	if (e->hooks->worker_waited != NULL)
		e->hooks->worker_waited(worker, waited_us);
}

static void *executor_main(void *arg)
{
	struct executor_thread *t = arg;
	struct executor *e = t->executor;
	if (e->considerate) /* of this thread alone, as Linux has it */
		(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
	for (;;) {
		struct call *c = take(t);
		if (c == NULL)
			break;
		const int64_t begin_us = clock_mono_us(), waited_us = begin_us - c->queued_mono_us;
		if (waited_us > (e->considerate ? CONSIDERATE_WAIT_MAX_US : WAIT_MAX_US)) {
			refuse_late(t, c);
		} else {
			c->rq.waited_us += waited_us;
			tell_waited(e, t->worker, c->rq.waited_us);
			call_run(c, t, t->worker);
		}
		if (e->considerate)
			rest(e, clock_mono_us() - begin_us);
	}
	e->hooks->worker_free(t->worker);
	return NULL;
}

static bool start_thread(struct executor *e, const pthread_attr_t *attr, const char *name)
{
	struct executor_thread *t = &e->threads[e->n_threads];
	t->executor = e;
	t->worker = e->hooks->worker_new(e->hooks->app);
	if (t->worker == NULL)
		return false;
	if (pthread_create(&t->id, attr, executor_main, t) != 0) {
		e->hooks->worker_free(t->worker);
		return false;
	}
	(void)pthread_setname_np(t->id, name);
	e->n_threads++;
	return true;
}

/* All but its threads. NULL without memory. */
static struct executor *executor_new(const struct executor_settings *settings, const struct http_hooks *h)
{
	struct executor *e = calloc(1, sizeof *e + settings->threads * sizeof e->threads[0]);
	if (e == NULL)
		return NULL;
	pthread_condattr_t attr;
	CHECK(pthread_mutex_init(&e->lock, NULL) == 0);
	CHECK(pthread_condattr_init(&attr) == 0 && pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	CHECK(pthread_cond_init(&e->filled, &attr) == 0 && pthread_condattr_destroy(&attr) == 0);
	e->end = &e->head;
	e->queue_max = settings->queue;
	e->hooks = h;
	e->gauges = settings->gauges;
	e->considerate = settings->considerate;
	e->hold_us = settings->hold_us;
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);
	e->processors = processors > 0 ? (unsigned)processors : 1;
	return e;
}

enum err executor_start(
	const struct executor_settings *settings, const struct http_hooks *h, struct executor **ret)
{
	struct executor *e = executor_new(settings, h);
	if (e == NULL)
		return ERR_NO_MEMORY;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	while (e->n_threads < settings->threads && start_thread(e, &attr, settings->name))
		;
	pthread_attr_destroy(&attr);
	if (e->n_threads < settings->threads) {
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
		pthread_join(e->threads[i].id, NULL);
	pthread_cond_destroy(&e->filled);
	pthread_mutex_destroy(&e->lock);
	free(e);
}
