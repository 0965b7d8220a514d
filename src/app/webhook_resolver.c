/* Looking up host names on a few threads. What the addresses are good for is the asker's business. */
#include "llmlab/app/webhook_resolver.h"
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"

#define STACK_BYTES ((size_t)512 * 1024)
#define HOST_MAX    254
#define STOP_US	    (500 * US_PER_MS) /* for threads that are idle to leave */

enum state { FREE, WAITING, RUNNING, DONE };

struct question {
	enum state state;
	bool forgotten;
	uint64_t ticket;
	uint64_t number; /* in the order of asking */
	char host[HOST_MAX];
	uint16_t port;
	enum err end;
	struct webhook_addresses addresses;
};

struct webhook_resolver {
	webhook_lookup *lookup;
	void (*wake)(void *arg);
	void *arg;
	pthread_mutex_t lock; /* of everything below */
	pthread_cond_t work, left;
	struct question questions[WEBHOOK_RESOLVER_QUESTIONS];
	uint64_t asked;
	bool stopping;
	unsigned owners; /* threads, and the caller until it stops */
};

enum err webhook_lookup_system(const char *host, uint16_t port, struct webhook_addresses *ret)
{
	char service[8];
	(void)snprintf(service, sizeof service, "%u", port);
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	const int failed = getaddrinfo(host, service, &hints, &found);
	if (failed != 0)
		return failed == EAI_NONAME ? ERR_NOT_FOUND : ERR_UNAVAILABLE;
	struct webhook_addresses addresses = {.n = 0};
	for (const struct addrinfo *a = found; a != NULL && addresses.n < WEBHOOK_ADDRESSES_MAX;
		a = a->ai_next) {
		if (a->ai_addrlen <= sizeof addresses.at[0])
			memcpy(&addresses.at[addresses.n++], a->ai_addr, a->ai_addrlen);
	}
	freeaddrinfo(found);
	if (addresses.n == 0)
		return ERR_NOT_FOUND;
	*ret = addresses;
	return ERR_OK;
}

static void release(struct webhook_resolver *r)
{
	CHECK(pthread_cond_destroy(&r->work) == 0 && pthread_cond_destroy(&r->left) == 0);
	CHECK(pthread_mutex_destroy(&r->lock) == 0);
	free(r);
}

/* With the lock held, which is given up. The last one out frees. */
static void leave(struct webhook_resolver *r)
{
	const bool last = --r->owners == 0;
	CHECK(pthread_cond_broadcast(&r->left) == 0);
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
	if (last)
		release(r);
}

/* The one that was asked first, or NULL. */
static struct question *first_in(struct webhook_resolver *r, enum state state)
{
	struct question *first = NULL;
	for (size_t i = 0; i < WEBHOOK_RESOLVER_QUESTIONS; i++) {
		struct question *const q = &r->questions[i];
		if (q->state == state && (first == NULL || q->number < first->number))
			first = q;
	}
	return first;
}

/* With the lock held, but for the look-up itself. */
static void answer(struct webhook_resolver *r, struct question *q)
{
	struct webhook_addresses addresses = {.n = 0};
	q->state = RUNNING;
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
	const enum err e = r->lookup(q->host, q->port, &addresses);
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	q->end = e;
	q->addresses = addresses;
	q->state = q->forgotten ? FREE : DONE;
	if (!r->stopping)
		r->wake(r->arg);
}

static void *run(void *arg)
{
	struct webhook_resolver *const r = arg;
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	while (!r->stopping) {
		struct question *const q = first_in(r, WAITING);
		if (q != NULL)
			answer(r, q);
		else
			CHECK(pthread_cond_wait(&r->work, &r->lock) == 0);
	}
	leave(r);
	return NULL;
}

static bool start_thread(struct webhook_resolver *r)
{
	pthread_t thread;
	pthread_attr_t attr;
	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0);
	CHECK(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	const bool good = pthread_create(&thread, &attr, run, r) == 0;
	if (good)
		(void)pthread_setname_np(thread, "resolver");
	r->owners += good;
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
	CHECK(pthread_attr_destroy(&attr) == 0);
	return good;
}

enum err webhook_resolver_start(
	webhook_lookup *lookup, void (*wake)(void *arg), void *arg, struct webhook_resolver **ret)
{
	struct webhook_resolver *const r = calloc(1, sizeof *r);
	if (r == NULL)
		return ERR_NO_MEMORY;
	r->lookup = lookup;
	r->wake = wake;
	r->arg = arg;
	r->owners = 1;
	pthread_condattr_t monotonic;
	CHECK(pthread_condattr_init(&monotonic) == 0);
	CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
	CHECK(pthread_mutex_init(&r->lock, NULL) == 0);
	CHECK(pthread_cond_init(&r->work, NULL) == 0 && pthread_cond_init(&r->left, &monotonic) == 0);
	CHECK(pthread_condattr_destroy(&monotonic) == 0);
	for (int i = 0; i < WEBHOOK_RESOLVER_THREADS; i++) {
		if (!start_thread(r)) {
			webhook_resolver_stop(r);
			return ERR_NO_MEMORY;
		}
	}
	*ret = r;
	return ERR_OK;
}

bool webhook_resolver_ask(struct webhook_resolver *r, uint64_t ticket, const char *host, uint16_t port)
{
	const size_t n = strlen(host);
	CHECK(n < HOST_MAX);
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	struct question *const q = first_in(r, FREE);
	if (q != NULL) {
		*q = (struct question){
			.state = WAITING, .ticket = ticket, .number = ++r->asked, .port = port};
		memcpy(q->host, host, n + 1);
		CHECK(pthread_cond_signal(&r->work) == 0);
	}
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
	return q != NULL;
}

bool webhook_resolver_take(
	struct webhook_resolver *r, uint64_t *ret_ticket, enum err *ret_end, struct webhook_addresses *ret)
{
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	struct question *const q = first_in(r, DONE);
	if (q != NULL) {
		*ret_ticket = q->ticket;
		*ret_end = q->end;
		*ret = q->addresses;
		q->state = FREE;
	}
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
	return q != NULL;
}

void webhook_resolver_forget(struct webhook_resolver *r, uint64_t ticket)
{
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	for (size_t i = 0; i < WEBHOOK_RESOLVER_QUESTIONS; i++) {
		struct question *const q = &r->questions[i];
		if (q->state == FREE || q->ticket != ticket)
			continue;
		q->forgotten = true;
		if (q->state != RUNNING)
			q->state = FREE;
	}
	CHECK(pthread_mutex_unlock(&r->lock) == 0);
}

void webhook_resolver_stop(struct webhook_resolver *r)
{
	if (r == NULL)
		return;
	const int64_t until_us = clock_mono_us() + STOP_US;
	const struct timespec at = {
		.tv_sec = until_us / US_PER_SECOND, .tv_nsec = until_us % US_PER_SECOND * 1000};
	CHECK(pthread_mutex_lock(&r->lock) == 0);
	r->stopping = true;
	CHECK(pthread_cond_broadcast(&r->work) == 0);
	int waited = 0;
	while (r->owners > 1 && waited == 0)
		waited = pthread_cond_timedwait(&r->left, &r->lock, &at);
	leave(r);
}
