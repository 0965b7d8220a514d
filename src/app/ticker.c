/* A thread with a clock: what it does in its rounds is its owner's business. */
#include "llmlab/app/ticker.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"

#define STACK_BYTES ((size_t)2 << 20)

struct ticker {
	int64_t every_us;
	void (*round)(void *arg);
	void *arg;
	pthread_t thread;
	pthread_mutex_t lock; /* of stopping */
	pthread_cond_t wake;
	bool stopping;
};

/* True when the thread is to end. */
static bool wait_until(struct ticker *t, int64_t mono_us)
{
	const struct timespec at = {
		.tv_sec = mono_us / US_PER_SECOND, .tv_nsec = mono_us % US_PER_SECOND * 1000};
	CHECK(pthread_mutex_lock(&t->lock) == 0);
	int waited = 0;
	while (!t->stopping && waited == 0)
		waited = pthread_cond_timedwait(&t->wake, &t->lock, &at);
	const bool stopping = t->stopping;
	CHECK(pthread_mutex_unlock(&t->lock) == 0);
	return stopping;
}

static void *run(void *arg)
{
	struct ticker *const t = arg;
	int64_t began_us;
	do {
		began_us = clock_mono_us();
		t->round(t->arg);
	} while (!wait_until(t, began_us + t->every_us));
	return NULL;
}

static void release(struct ticker *t)
{
	CHECK(pthread_cond_destroy(&t->wake) == 0);
	CHECK(pthread_mutex_destroy(&t->lock) == 0);
	free(t);
}

enum err ticker_start(
	const char *name, int64_t every_us, void (*round)(void *arg), void *arg, struct ticker **ret)
{
	struct ticker *const t = calloc(1, sizeof *t);
	if (t == NULL)
		return ERR_NO_MEMORY;
	t->every_us = every_us;
	t->round = round;
	t->arg = arg;
	pthread_condattr_t monotonic;
	CHECK(pthread_condattr_init(&monotonic) == 0);
	CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
	CHECK(pthread_mutex_init(&t->lock, NULL) == 0);
	CHECK(pthread_cond_init(&t->wake, &monotonic) == 0);
	CHECK(pthread_condattr_destroy(&monotonic) == 0);
	pthread_attr_t attr;
	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
	const int failed = pthread_create(&t->thread, &attr, run, t);
	CHECK(pthread_attr_destroy(&attr) == 0);
	if (failed != 0) {
		release(t);
		return ERR_NO_MEMORY;
	}
	(void)pthread_setname_np(t->thread, name);
	*ret = t;
	return ERR_OK;
}

void ticker_stop(struct ticker *t)
{
	if (t == NULL)
		return;
	CHECK(pthread_mutex_lock(&t->lock) == 0);
	t->stopping = true;
	CHECK(pthread_cond_signal(&t->wake) == 0);
	CHECK(pthread_mutex_unlock(&t->lock) == 0);
	CHECK(pthread_join(t->thread, NULL) == 0);
	release(t);
}
