#ifndef LLMLAB_TESTS_FAIL_H
#define LLMLAB_TESTS_FAIL_H

#include <stdbool.h>

/* Makes the N-th allocation or the N-th system call of a kind fail, of this code and of every library in the
 * process: fail.c defines malloc() and the others, so that the dynamic linker finds these first. Threads can
 * be exempt. */

enum fail_kind {
	FAIL_MEMORY,  /* malloc, calloc, realloc: NULL */
	FAIL_ACCEPT,  /* accept4: ECONNABORTED, EMFILE and ENOMEM in turns */
	FAIL_RECV,    /* recv: ECONNRESET, EAGAIN */
	FAIL_SEND,    /* send, sendmsg: EPIPE, EAGAIN */
	FAIL_EPOLL,   /* epoll_ctl: ENOMEM */
	FAIL_EVENTFD, /* eventfd: EMFILE */
	FAIL_RANDOM,  /* getrandom: EINTR; a system without randomness ends the process on purpose */
	FAIL_OPEN,    /* open, openat, fopen: EMFILE */
	FAIL_WRITE,   /* write to stderr (the log): EAGAIN, ENOSPC */
	FAIL_CONNECT, /* connect: ECONNREFUSED */
	FAIL_SOCKET,  /* socket: EMFILE */
	FAIL_POLL,    /* poll: EINTR, ENOMEM */
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

/* What must hold while something fails: Check's own assertions need memory even where they hold. */
#define must(condition) ((condition) ? (void)0 : fail_stop(__FILE__, __LINE__, #condition, ""))
/* The same, and tells what was found instead. */
#define must_be(condition, found) ((condition) ? (void)0 : fail_stop(__FILE__, __LINE__, #condition, (found)))
_Noreturn void fail_stop(const char *file, int line, const char *condition, const char *found);

#endif
