/* The failing allocations and system calls. Where nothing is armed each is passed on to the next definition
 * (the sanitizer's or libc's). What runs before the sanitizer is ready must not be instrumented. */
#include "fail.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <pthread.h>
#include <regex.h>
#include <signal.h>
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
#include <sys/stat.h>
#include <unistd.h>
#include "llmlab/auth/digest.h"

#define PLAIN	     __attribute__((no_sanitize_address, no_sanitize_undefined))
#define EVERY_ONE_TO 150
#define EARLY_BYTES  ((size_t)64 * 1024)
#define WATCH_S	     60

static struct {
	_Atomic int kind; /* FAIL_KINDS: none */
	_Atomic long at, until, count;
	_Atomic int last;  /* kind that was armed */
	_Atomic int error; /* which of the kind's comes first */
	atomic_bool fired;
	const char *scenario;
} armed = {.kind = FAIL_KINDS, .scenario = ""};
/* Threads begin spared: what a sanitizer does before the first function of one must not fail. Volatile: gcc
 * takes malloc() to read nothing of ours, and leaves out what is set for it alone */
static _Thread_local volatile bool spared = true;

/* Memory for dlsym() while it looks for malloc(); never given back. */
static _Alignas(16) char early[EARLY_BYTES];
static size_t early_used;

/* How many errors the kind has. */
static const struct {
	const char *name;
	int errors;
} kinds[FAIL_KINDS] = {[FAIL_MEMORY] = {"memory", 1},
	[FAIL_ACCEPT] = {"accept4", 3},
	[FAIL_RECV] = {"recv", 2},
	[FAIL_SEND] = {"send", 2},
	[FAIL_CUT] = {"cut connection", 1},
	[FAIL_EPOLL] = {"epoll", 1},
	[FAIL_EVENTFD] = {"eventfd", 1},
	[FAIL_RANDOM] = {"getrandom", 1},
	[FAIL_OPEN] = {"open", 2},
	[FAIL_STAT] = {"fstat", 1},
	[FAIL_READ] = {"read", 2},
	[FAIL_WRITE] = {"write", 2},
	[FAIL_CONNECT] = {"connect", 2},
	[FAIL_SOCKET] = {"socket", 2},
	[FAIL_OPTION] = {"setsockopt", 1},
	[FAIL_POLL] = {"poll", 2},
	[FAIL_LOOKUP] = {"getaddrinfo", 2},
	[FAIL_THREAD] = {"pthread_create", 1}};

const char *fail_kind_name(enum fail_kind k)
{
	return kinds[k].name;
}

static void arm(enum fail_kind k, long n, long burst, int error)
{
	armed.count = 0;
	armed.at = n;
	armed.until = burst > LONG_MAX - n ? LONG_MAX : n + burst;
	armed.error = error;
	armed.fired = false;
	armed.last = (int)k;
	armed.kind = (int)k;
}

void fail_arm(enum fail_kind k, long n, bool all)
{
	arm(k, n, all ? LONG_MAX : 1, 0);
}

bool fail_disarm(void)
{
	armed.kind = FAIL_KINDS;
	return armed.fired;
}

void fail_exempt(bool exempt)
{
	spared = exempt;
}

__attribute__((constructor)) static void include_main(void)
{
	spared = false;
}

static long next_after(long n, long dense, long part)
{
	return n < dense || getenv("FAIL_ALL") != NULL ? n + 1 : n + 1 + n / part;
}

long fail_next(long n)
{
	return next_after(n, EVERY_ONE_TO, 10);
}

static PLAIN bool fails(enum fail_kind k)
{
	if (armed.kind != (int)k || spared)
		return false;
	const long n = atomic_fetch_add(&armed.count, 1) + 1;
	if (n < armed.at || n >= armed.until)
		return false;
	armed.fired = true;
	return true;
}

/* The error for this failure: a burst takes those of the kind in turns. */
static int error_of(const int *errors, int n)
{
	return errors[(armed.count - armed.at + armed.error) % n];
}

static bool fails_with(enum fail_kind k, const int *errors, int n)
{
	if (!fails(k))
		return false;
	errno = error_of(errors, n);
	return true;
}
#define FAILS_WITH(kind, ...)                                                                                \
	fails_with(kind, (const int[]){__VA_ARGS__}, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))

/* The definition after this one. */
#define NEXT(function) __extension__(__typeof__(&function)) dlsym(RTLD_NEXT, #function)

void fail_stop(const char *file, int line, const char *condition, const char *found)
{
	const long n = armed.at;
	const int kind = armed.kind;
	(void)fail_disarm();
	fprintf(stderr, "%s:%d: does not hold at failure %ld (error %d) of %s, %s, %s: %s (%s)\n", file, line,
		n, armed.error, kinds[armed.last].name, kind < FAIL_KINDS ? "while it fails" : "afterwards",
		armed.scenario, condition, found);
	abort();
}

/* ---- loops ---- */

static void on_alarm(int sig)
{
	(void)sig;
	fail_stop(__FILE__, __LINE__, "ends within a minute", "hangs");
}

static bool run_once(const struct fail_scenario *s, enum fail_kind k, long n, long burst, int error)
{
	bool done = false, fired = false;
	(void)alarm(WATCH_S);
	/* A busy machine may miss a deadline once. */
	for (int tries = 0; tries < 3 && !done && !fired; tries++) {
		if (s->prepare != NULL)
			s->prepare();
		arm(k, n, burst, error);
		done = s->run();
		fired = fail_disarm();
		s->verify(done);
	}
	(void)alarm(0);
	must_be(done || fired, "says no without a reason");
	return fired;
}

void fail_loop(const struct fail_scenario *s, enum fail_kind k, long burst)
{
	signal(SIGALRM, on_alarm);
	armed.scenario = s->name;
	bool fired = true;
	for (long n = 1; fired; n = next_after(n, s->dense, 3)) {
		fired = false;
		for (int error = 0; error < kinds[k].errors; error++)
			fired = run_once(s, k, n, burst, error) || fired;
	}
	armed.scenario = "";
}

int fail_open_descriptors(void)
{
	DIR *const folder = opendir("/proc/self/fd");
	must(folder != NULL);
	int n = -1; /* this folder's own */
	for (const struct dirent *e = readdir(folder); e != NULL; e = readdir(folder))
		n += e->d_name[0] != '.';
	closedir(folder);
	return n;
}

/* ---- OpenSSL ---- */

struct digest *__wrap_digest_new(void);
struct digest *__real_digest_new(void);

struct digest *__wrap_digest_new(void)
{
	const bool before = spared;
	spared = true;
	struct digest *const d = __real_digest_new();
	spared = before;
	return d;
}

static void *crypto_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	const bool before = spared;
	spared = true;
	void *const p = malloc(n);
	spared = before;
	return p;
}

static void *crypto_realloc(void *old, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	const bool before = spared;
	spared = true;
	void *const p = realloc(old, n);
	spared = before;
	return p;
}

static void crypto_free(void *old, const char *file, int line)
{
	(void)file;
	(void)line;
	free(old);
}

bool fail_spare_openssl(void)
{
	return CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) == 1;
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
	const bool before = spared;
	spared = true;
	const int rc = (NEXT(regcomp))(ret, pattern, flags);
	spared = before;
	return rc;
}

/* ---- system calls ---- */

/* What a call of the kind would be about. */
static bool is_file(int fd)
{
	struct stat st;
	return (NEXT(fstat))(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Both ends are in this process (libcurl wakes itself so): nobody can end it. */
static bool is_pair(int fd)
{
	struct sockaddr_storage peer;
	socklen_t n = sizeof peer;
	return getpeername(fd, (struct sockaddr *)&peer, &n) == 0 && peer.ss_family == AF_UNIX &&
	       n <= sizeof(sa_family_t);
}

/* True: the call fails. A connection that has failed has ended, which libpq waits to see. */
static bool socket_fails(int fd, enum fail_kind k, int error)
{
	const int kind = armed.kind;
	if ((kind != (int)k && kind != FAIL_CUT) || is_pair(fd))
		return false;
	const bool failed = FAILS_WITH(k, error, EINTR);
	const int how = errno;
	if ((failed && how == error) || fails(FAIL_CUT))
		(void)shutdown(fd, SHUT_RDWR);
	errno = how;
	return failed;
}

int accept4(int fd, __SOCKADDR_ARG from, socklen_t *n, int flags)
{
	if (FAILS_WITH(FAIL_ACCEPT, ECONNABORTED, EMFILE, ENOMEM))
		return -1;
	return (NEXT(accept4))(fd, from, n, flags);
}

ssize_t recv(int fd, void *out, size_t n, int flags)
{
	if (socket_fails(fd, FAIL_RECV, ECONNRESET))
		return -1;
	return (NEXT(recv))(fd, out, n, flags);
}

ssize_t send(int fd, const void *data, size_t n, int flags)
{
	if (socket_fails(fd, FAIL_SEND, EPIPE))
		return -1;
	return (NEXT(send))(fd, data, n, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	if (socket_fails(fd, FAIL_SEND, EPIPE))
		return -1;
	return (NEXT(sendmsg))(fd, m, flags);
}

int epoll_create1(int flags)
{
	if (FAILS_WITH(FAIL_EPOLL, ENOMEM))
		return -1;
	return (NEXT(epoll_create1))(flags);
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
	if (what == EPOLL_CTL_ADD && FAILS_WITH(FAIL_EPOLL, ENOMEM))
		return -1;
	return (NEXT(epoll_ctl))(epoll, what, fd, event);
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout_ms)
{
	if (FAILS_WITH(FAIL_EPOLL, EINTR))
		return -1;
	return (NEXT(epoll_wait))(epoll, events, max, timeout_ms);
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
	if (FAILS_WITH(FAIL_OPEN, EMFILE, ENFILE))
		return -1;
	return (NEXT(open))(path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
	if (FAILS_WITH(FAIL_OPEN, EMFILE, ENFILE))
		return NULL;
	return (NEXT(fopen))(path, mode);
}

int dup(int fd)
{
	if (FAILS_WITH(FAIL_OPEN, EMFILE, ENFILE))
		return -1;
	return (NEXT(dup))(fd);
}

int fstat(int fd, struct stat *ret)
{
	if (FAILS_WITH(FAIL_STAT, EIO))
		return -1;
	return (NEXT(fstat))(fd, ret);
}

ssize_t read(int fd, void *out, size_t n)
{
	if (armed.kind == FAIL_READ && is_file(fd) && FAILS_WITH(FAIL_READ, EIO, EINTR))
		return -1;
	return (NEXT(read))(fd, out, n);
}

ssize_t write(int fd, const void *data, size_t n)
{
	if (armed.kind == FAIL_WRITE && (fd == STDERR_FILENO || is_file(fd)) &&
		FAILS_WITH(FAIL_WRITE, ENOSPC, EINTR))
		return -1;
	return (NEXT(write))(fd, data, n);
}

int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t n)
{
	if (FAILS_WITH(FAIL_CONNECT, ECONNREFUSED, EAGAIN))
		return -1;
	return (NEXT(connect))(fd, to, n);
}

int socket(int domain, int type, int protocol)
{
	if (FAILS_WITH(FAIL_SOCKET, EMFILE, ENOBUFS))
		return -1;
	return (NEXT(socket))(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int ret[2])
{
	if (FAILS_WITH(FAIL_SOCKET, EMFILE, ENOBUFS))
		return -1;
	return (NEXT(socketpair))(domain, type, protocol, ret);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
	if (FAILS_WITH(FAIL_OPTION, ENOBUFS))
		return -1;
	return (NEXT(setsockopt))(fd, level, name, value, n);
}

int getsockopt(int fd, int level, int name, void *ret, socklen_t *n)
{
	if (FAILS_WITH(FAIL_OPTION, ENOBUFS))
		return -1;
	return (NEXT(getsockopt))(fd, level, name, ret, n);
}

int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t n)
{
	if (FAILS_WITH(FAIL_OPTION, ENOBUFS))
		return -1;
	return (NEXT(bind))(fd, address, n);
}

int listen(int fd, int backlog)
{
	if (FAILS_WITH(FAIL_OPTION, ENOBUFS))
		return -1;
	return (NEXT(listen))(fd, backlog);
}

int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	if (FAILS_WITH(FAIL_POLL, EINTR, ENOMEM))
		return -1;
	return (NEXT(poll))(fds, n, timeout_ms);
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	static const int errors[] = {EAI_MEMORY, EAI_AGAIN};
	if (fails(FAIL_LOOKUP))
		return error_of(errors, 2);
	return (NEXT(getaddrinfo))(host, service, hints, ret);
}

struct beginning {
	void *(*start)(void *arg);
	void *arg;
};

static void *begin_thread(void *arg)
{
	struct beginning *const b = arg;
	const struct beginning begun = *b;
	free(b);
	spared = false;
	return begun.start(begun.arg);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	if (fails(FAIL_THREAD))
		return EAGAIN;
	const bool before = spared;
	spared = true;
	struct beginning *const b = malloc(sizeof *b);
	int rc = EAGAIN;
	if (b != NULL) {
		*b = (struct beginning){start, arg};
		rc = (NEXT(pthread_create))(thread, attr, begin_thread, b);
		if (rc != 0)
			free(b);
	}
	spared = before;
	return rc;
}
