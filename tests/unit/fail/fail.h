#ifndef LLMLAB_TESTS_FAIL_H
#define LLMLAB_TESTS_FAIL_H

#include <stdbool.h>

/* Makes the N-th allocation or the N-th system call of a kind fail, of this code and of every library in the
 * process: fail.c defines malloc() and the others, so that the dynamic linker finds these first. Threads can
 * be exempt. Errors are those that Linux can give for such a call: EAGAIN, for one, of a socket that had
 * something would make libmicrohttpd wait for an edge that never comes. Not here: clock_gettime(), which
 * cannot fail for the clocks that are asked, and mmap(), which nobody but allocators and threads asks for so
 * little memory. */

/* A test of loops may take so long on a busy machine; fail_loop() sees what hangs. */
#define FAIL_TEST_S 1800

enum fail_kind {
	FAIL_MEMORY,  /* malloc, calloc, realloc: NULL */
	FAIL_ACCEPT,  /* accept4: ECONNABORTED, EMFILE, ENOMEM */
	FAIL_RECV,    /* recv: ECONNRESET, EINTR */
	FAIL_SEND,    /* send, sendmsg: EPIPE, EINTR */
	FAIL_CUT,     /* recv, send, sendmsg: the connection has ended, for both sides */
	FAIL_EPOLL,   /* epoll_create1, epoll_ctl (adding): ENOMEM; epoll_wait: EINTR */
	FAIL_EVENTFD, /* eventfd: EMFILE */
	FAIL_RANDOM,  /* getrandom: EINTR; a system without randomness ends the process on purpose */
	FAIL_OPEN,    /* open, fopen, dup: EMFILE, ENFILE */
	FAIL_STAT,    /* fstat: EIO */
	FAIL_READ,    /* read of a file: EIO, EINTR */
	FAIL_WRITE,   /* write to stderr (the log) or a file: ENOSPC, EINTR */
	FAIL_CONNECT, /* connect: ECONNREFUSED, EAGAIN */
	FAIL_SOCKET,  /* socket, socketpair: EMFILE, ENOBUFS */
	FAIL_OPTION,  /* setsockopt, getsockopt, bind, listen: ENOBUFS */
	FAIL_POLL,    /* poll: EINTR, ENOMEM */
	FAIL_LOOKUP,  /* getaddrinfo: EAI_MEMORY, EAI_AGAIN */
	FAIL_THREAD,  /* pthread_create: EAGAIN */
	FAIL_KINDS
};
const char *fail_kind_name(enum fail_kind k);

/* From now on the n-th of the kind (from 1) fails; with `all` every later one too. */
void fail_arm(enum fail_kind k, long n, bool all);
/* Nothing fails any more. True if something has. */
bool fail_disarm(void);
/* This thread's own do not count and do not fail. */
void fail_exempt(bool exempt);
/* The next N of a loop: every one up to 150, then larger steps, so that long ones end in time; every one if
 * FAIL_ALL is set in the environment. */
long fail_next(long n);
/* OpenSSL always gets its memory: without it for a hash the process ends on purpose (auth/digest.h). Before
 * anything asks OpenSSL for something. */
bool fail_spare_openssl(void);

/* Something that is done again and again while one thing after the other fails. */
struct fail_scenario {
	const char *name;
	/* Before something fails; may be NULL. */
	void (*prepare)(void);
	/* True if it was done, false if it said that it could not. */
	bool (*run)(void);
	/* When nothing fails any more: what was said is so, and the same thing works now. */
	void (*verify)(bool done);
	/* The first so many are taken one by one, then in growing steps, unless FAIL_ALL is set. */
	long dense;
};
/* Runs it while the N-th of the kind fails, and so many after it, N = 1, 2, ... until nothing fails, with
 * each error of the kind. Ends the process when a run takes longer than a minute. */
void fail_loop(const struct fail_scenario *s, enum fail_kind k, long burst);
/* Descriptors that are open, to see that none is lost. */
int fail_open_descriptors(void);

/* What must hold while something fails: Check's own assertions need memory even where they hold. */
#define must(condition) ((condition) ? (void)0 : fail_stop(__FILE__, __LINE__, #condition, ""))
/* The same, and tells what was found instead. */
#define must_be(condition, found) ((condition) ? (void)0 : fail_stop(__FILE__, __LINE__, #condition, (found)))
_Noreturn void fail_stop(const char *file, int line, const char *condition, const char *found);

#endif
