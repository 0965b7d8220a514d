/* The failing allocations and system calls. Where nothing is armed each is passed on to the next definition
 * (the sanitizer's or libc's). What runs before the sanitizer is ready must not be instrumented. */
#include "fail.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <regex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLAIN	     __attribute__((no_sanitize_address, no_sanitize_undefined))
#define EVERY_ONE_TO 150
#define EARLY_BYTES  ((size_t)64 * 1024)

static struct {
	_Atomic int kind; /* FAIL_KINDS: none */
	_Atomic long at, count;
	atomic_bool all, fired;
} armed = {.kind = FAIL_KINDS};
static _Thread_local bool exempted;

/* Memory for dlsym() while it looks for malloc(); never given back. */
static _Alignas(16) char early[EARLY_BYTES];
static size_t early_used;

const char *fail_kind_name(enum fail_kind k)
{
	static const char *const names[] = {"memory", "accept4", "recv", "send", "epoll_ctl", "eventfd",
		"getrandom", "open", "write", "connect", "socket", "poll", "pthread_create"};
	return names[k];
}

void fail_arm(enum fail_kind k, long n, bool all)
{
	armed.count = 0;
	armed.at = n;
	armed.all = all;
	armed.fired = false;
	armed.kind = (int)k;
}

bool fail_disarm(void)
{
	armed.kind = FAIL_KINDS;
	return armed.fired;
}

void fail_exempt(bool exempt)
{
	exempted = exempt;
}

long fail_next(long n)
{
	return n < EVERY_ONE_TO || getenv("FAIL_ALL") != NULL ? n + 1 : n + n / 10;
}

static PLAIN bool fails(enum fail_kind k)
{
	if (armed.kind != (int)k || exempted)
		return false;
	const long n = atomic_fetch_add(&armed.count, 1) + 1;
	if (n != armed.at && !(armed.all && n > armed.at))
		return false;
	armed.fired = true;
	return true;
}

/* The errors of a kind in turns. */
static bool fails_with(enum fail_kind k, const int *errors, int n)
{
	if (!fails(k))
		return false;
	errno = errors[armed.count % n];
	return true;
}
#define FAILS_WITH(kind, ...)                                                                                \
	fails_with(kind, (const int[]){__VA_ARGS__}, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))

/* The definition after this one. */
#define NEXT(function) __extension__(__typeof__(&function)) dlsym(RTLD_NEXT, #function)

void fail_stop(const char *file, int line, const char *condition, const char *found)
{
	const long n = armed.at;
	(void)fail_disarm();
	fprintf(stderr, "%s:%d: does not hold at failure %ld: %s (%s)\n", file, line, n, condition, found);
	abort();
}

/* ---- memory ---- */

static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static void (*next_free)(void *);

static PLAIN void find_next(void)
{
	static bool looking;
	if (looking)
		return;
	looking = true;
	next_calloc = NEXT(calloc);
	next_realloc = NEXT(realloc);
	next_free = NEXT(free);
	next_malloc = NEXT(malloc);
}

static PLAIN void *early_memory(size_t n)
{
	const size_t bytes = (n + 15) / 16 * 16;
	if (EARLY_BYTES - early_used < bytes)
		abort();
	void *const p = early + early_used;
	early_used += bytes;
	return p;
}

static PLAIN bool is_early(const void *p)
{
	const char *const at = p;
	return at >= early && at < early + EARLY_BYTES;
}

PLAIN void *malloc(size_t n)
{
	if (next_malloc == NULL)
		find_next();
	if (next_malloc == NULL)
		return early_memory(n);
	if (fails(FAIL_MEMORY)) {
		errno = ENOMEM;
		return NULL;
	}
	return next_malloc(n);
}

PLAIN void *calloc(size_t n, size_t size)
{
	if (next_malloc == NULL)
		find_next();
	if (next_malloc == NULL)
		return early_memory(n * size); /* zero, as all that is static */
	if (fails(FAIL_MEMORY)) {
		errno = ENOMEM;
		return NULL;
	}
	return next_calloc(n, size);
}

PLAIN void *realloc(void *p, size_t n)
{
	if (next_malloc == NULL || is_early(p))
		abort();
	if (fails(FAIL_MEMORY)) {
		errno = ENOMEM;
		return NULL;
	}
	return next_realloc(p, n);
}

PLAIN void free(void *p)
{
	if (p != NULL && !is_early(p))
		next_free(p);
}

/* The sanitizer's would take memory by a way of its own. */
char *strdup(const char *s)
{
	const size_t n = strlen(s) + 1;
	char *const copy = malloc(n);
	return copy == NULL ? NULL : memcpy(copy, s, n);
}

/* glibc's loses what it has when its memory ends half-way: it has all of it or none. */
int regcomp(regex_t *ret, const char *pattern, int flags)
{
	if (fails(FAIL_MEMORY))
		return REG_ESPACE;
	const bool before = exempted;
	exempted = true;
	const int rc = (NEXT(regcomp))(ret, pattern, flags);
	exempted = before;
	return rc;
}

/* ---- system calls ---- */

int accept4(int fd, __SOCKADDR_ARG from, socklen_t *n, int flags)
{
	if (FAILS_WITH(FAIL_ACCEPT, ECONNABORTED, EMFILE, ENOMEM))
		return -1;
	return (NEXT(accept4))(fd, from, n, flags);
}

ssize_t recv(int fd, void *out, size_t n, int flags)
{
	if (FAILS_WITH(FAIL_RECV, ECONNRESET, EAGAIN))
		return -1;
	return (NEXT(recv))(fd, out, n, flags);
}

ssize_t send(int fd, const void *data, size_t n, int flags)
{
	if (FAILS_WITH(FAIL_SEND, EPIPE, EAGAIN))
		return -1;
	return (NEXT(send))(fd, data, n, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	if (FAILS_WITH(FAIL_SEND, EPIPE, EAGAIN))
		return -1;
	return (NEXT(sendmsg))(fd, m, flags);
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
	if (what == EPOLL_CTL_ADD && FAILS_WITH(FAIL_EPOLL, ENOMEM))
		return -1;
	return (NEXT(epoll_ctl))(epoll, what, fd, event);
}

int eventfd(unsigned count, int flags)
{
	if (FAILS_WITH(FAIL_EVENTFD, EMFILE))
		return -1;
	return (NEXT(eventfd))(count, flags);
}

ssize_t getrandom(void *out, size_t n, unsigned flags)
{
	if (FAILS_WITH(FAIL_RANDOM, EINTR))
		return -1;
	return (NEXT(getrandom))(out, n, flags);
}

int open(const char *path, int flags, ...)
{
	va_list args;
	va_start(args, flags);
	const int mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, int) : 0;
	va_end(args);
	if (FAILS_WITH(FAIL_OPEN, EMFILE))
		return -1;
	return (NEXT(open))(path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
	if (FAILS_WITH(FAIL_OPEN, EMFILE))
		return NULL;
	return (NEXT(fopen))(path, mode);
}

ssize_t write(int fd, const void *data, size_t n)
{
	if (fd == STDERR_FILENO && FAILS_WITH(FAIL_WRITE, EAGAIN, ENOSPC))
		return -1;
	return (NEXT(write))(fd, data, n);
}

int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t n)
{
	if (FAILS_WITH(FAIL_CONNECT, ECONNREFUSED))
		return -1;
	return (NEXT(connect))(fd, to, n);
}

int socket(int domain, int type, int protocol)
{
	if (FAILS_WITH(FAIL_SOCKET, EMFILE))
		return -1;
	return (NEXT(socket))(domain, type, protocol);
}

int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	if (FAILS_WITH(FAIL_POLL, EINTR, ENOMEM))
		return -1;
	return (NEXT(poll))(fds, n, timeout_ms);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	if (fails(FAIL_THREAD))
		return EAGAIN;
	return (NEXT(pthread_create))(thread, attr, start, arg);
}
