#ifndef LLMLAB_APP_WEBHOOK_RESOLVER_H
#define LLMLAB_APP_WEBHOOK_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include "llmlab/base/err.h"

/* Looking up host names on threads of its own, because a look-up can take as long as a name server likes. Bounded: so many
 * threads, so many questions. Whoever asked may give up at any time; the thread then ends its look-up for nothing. */

#define WEBHOOK_RESOLVER_THREADS 8
#define WEBHOOK_RESOLVER_QUESTIONS 64
#define WEBHOOK_ADDRESSES_MAX 16

struct webhook_addresses {
	struct sockaddr_storage at[WEBHOOK_ADDRESSES_MAX];
	size_t n; /* 1 or more; further ones of a host are left out, and so never used */
};

/* Looks a name up, with the port in every address. ERR_NOT_FOUND: no such name. ERR_UNAVAILABLE: not now. */
typedef enum err webhook_lookup(const char *host, uint16_t port, struct webhook_addresses *ret);
/* The system's: getaddrinfo(3). */
webhook_lookup webhook_lookup_system;

struct webhook_resolver;
/* Starts the threads. wake(arg) is called on one of them when an answer is there; it must not block. ERR_NO_MEMORY. */
enum err webhook_resolver_start(webhook_lookup *lookup, void (*wake)(void *arg), void *arg, struct webhook_resolver **ret);
/* Asks; the ticket is the asker's own. False: WEBHOOK_RESOLVER_QUESTIONS are open already. */
bool webhook_resolver_ask(struct webhook_resolver *r, uint64_t ticket, const char *host, uint16_t port);
/* Takes an answer, if there is one: its ticket, how the look-up ended, and with ERR_OK the addresses. */
bool webhook_resolver_take(struct webhook_resolver *r, uint64_t *ret_ticket, enum err *ret_end, struct webhook_addresses *ret);
/* There will be no answer to this one. */
void webhook_resolver_forget(struct webhook_resolver *r, uint64_t ticket);
/* Does not wait for look-ups that hang; their threads free what is left. wake is not called any more. NULL is nothing. */
void webhook_resolver_stop(struct webhook_resolver *r);

#endif
