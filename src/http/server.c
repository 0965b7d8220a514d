/* Starting and ending the HTTP server: the listen socket, the loops, the executors. */

#include "internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"

#define BACKLOG 4096

static int try_listen(const struct addrinfo *a)
{
	const int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
	if (fd < 0)
		return -1;
	const int on = 1;
	/* restart while old connections are in TIME_WAIT; answers are written whole, so waiting to coalesce
	 * only delays */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	const int saved = errno;
	(void)close(fd);
	errno = saved;
	return -1;
}

static int listen_on(const char *host, uint16_t port, char *message, size_t size)
{
	char service[8];
	(void)snprintf(service, sizeof service, "%u", port);
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	const int rc = getaddrinfo(host, service, &hints, &list);
	if (rc != 0) {
		(void)snprintf(message, size, "HOST %s can't be resolved: %s", host, gai_strerror(rc));
		return -1;
	}
	int fd = -1;
	for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next)
		fd = try_listen(a);
	if (fd < 0)
		(void)snprintf(message, size, "can't listen on %s port %u: %s", host, port, strerror(errno));
	freeaddrinfo(list);
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage address;
	socklen_t n = sizeof address;
	if (getsockname(fd, (struct sockaddr *)&address, &n) != 0)
		return 0;
	/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): getsockname() fills it */
	if (address.ss_family == AF_INET6) {
		struct sockaddr_in6 v6;
		memcpy(&v6, &address, sizeof v6);
		return ntohs(v6.sin6_port);
	}
	struct sockaddr_in v4;
	memcpy(&v4, &address, sizeof v4);
	return ntohs(v4.sin_port);
}

static enum err start_executors(struct http_server *s)
{
	const struct http_settings *set = &s->settings;
	const struct executor_settings executor = {.name = "executor",
		.threads = set->executor_threads,
		.queue = set->executor_queue,
		.hold_us = set->shared_hold_us,
		.gauges = {METRIC_EXECUTOR_QUEUE, METRIC_EXECUTOR_BUSY, METRIC_EXECUTOR_THREADS}};
	const struct executor_settings password = {.name = "password",
		.threads = set->password_threads,
		.queue = set->password_queue,
		.considerate = true,
		.gauges = {METRIC_PASSWORD_QUEUE, METRIC_PASSWORD_BUSY, METRIC_PASSWORD_THREADS}};
	const struct executor_settings stream = {.name = "stream",
		.threads = set->stream_threads,
		.gauges = {METRIC_COUNT, METRIC_COUNT, METRIC_COUNT}};
	enum err e = executor_start(&executor, &s->hooks, &s->executor);
	if (e == ERR_OK)
		e = executor_start(&password, &s->hooks, &s->password);
	if (e == ERR_OK)
		e = executor_start(&stream, &s->hooks, &s->stream);
	return e;
}

static enum err start_threads(struct http_server *s, int fd)
{
	const struct http_settings *set = &s->settings;
	enum err e = start_executors(s);
	for (unsigned i = 0; i < set->loops && e == ERR_OK; i++) {
		/* all loops share one socket (each with a descriptor of its own, which its daemon closes): no
		 * backlog is lost when one ends, and a second server on the port fails clearly */
		const int own = dup(fd);
		if (own < 0)
			return ERR_UNAVAILABLE;
		const unsigned share =
			set->max_connections / set->loops + (i < set->max_connections % set->loops ? 1 : 0);
		e = loop_start(&s->loops[i], s, own, share > 0 ? share : 1);
		if (e == ERR_OK)
			s->n_loops++;
	}
	return e;
}

static void release(struct http_server *s)
{
	if (s->executor != NULL)
		executor_stop(s->executor);
	if (s->password != NULL)
		executor_stop(s->password);
	if (s->stream != NULL)
		executor_stop(s->stream);
	rate_limiter_free(s->limiter);
	proxies_free(s->proxies);
	free(s->loops);
	free(s->cors_origins);
	free(s);
}

enum err http_start(const struct http_settings *settings, const struct http_hooks *h,
	struct http_server **ret, char *message, size_t message_size)
{
	(void)snprintf(message, message_size, "out of memory");
	struct http_server *s = calloc(1, sizeof *s);
	if (s == NULL)
		return ERR_NO_MEMORY;
	s->settings = *settings;
	s->hooks = *h;
	s->cors_origins = strdup(settings->cors_origins != NULL ? settings->cors_origins : "");
	s->loops = calloc(settings->loops, sizeof s->loops[0]);
	s->limiter = rate_limiter_new();
	if (s->cors_origins == NULL || s->loops == NULL || s->limiter == NULL ||
		http_metrics_init(h) != ERR_OK) {
		release(s);
		return ERR_NO_MEMORY;
	}
	if (proxies_new(settings->trust_proxy, &s->proxies, message, message_size) != ERR_OK) {
		release(s);
		return ERR_UNAVAILABLE;
	}
	const int fd = settings->inherited ? settings->listen_fd
					   : listen_on(settings->host, settings->port, message, message_size);
	if (fd < 0) {
		release(s);
		return ERR_UNAVAILABLE;
	}
	s->port = port_of(fd);
	(void)snprintf(message, message_size, "can't start the threads");
	const enum err e = start_threads(s, fd);
	if (!settings->inherited)
		(void)close(fd);
	if (e != ERR_OK) {
		(void)http_drain(s, 1);
		(void)http_stop(s);
		return e;
	}
	*ret = s;
	return ERR_OK;
}

uint16_t http_port(const struct http_server *s)
{
	return s->port;
}

static bool all_ended(const struct http_server *s)
{
	for (unsigned i = 0; i < s->n_loops; i++)
		if (!loop_ended(&s->loops[i]))
			return false;
	return true;
}

bool http_drain(struct http_server *s, int64_t deadline_mono_us)
{
	const struct timespec step = {.tv_nsec = 5 * 1000 * 1000};
	s->draining = true;
	for (unsigned i = 0; i < s->n_loops; i++)
		loop_stop(&s->loops[i], deadline_mono_us);
	while (!all_ended(s) && clock_mono_us() < deadline_mono_us)
		(void)nanosleep(&step, NULL);
	return all_ended(s);
}

bool http_stop(struct http_server *s)
{
	bool clean = true;
	for (unsigned i = 0; i < s->n_loops; i++)
		clean = loop_join(&s->loops[i]) && clean;
	release(s);
	return clean;
}
