#ifndef LLMLAB_APP_WEBHOOK_SENDER_H
#define LLMLAB_APP_WEBHOOK_SENDER_H

#include <stdbool.h>
#include <stdint.h>
#include "llmlab/api/api.h"
#include "llmlab/app/webhook_resolver.h"
#include "llmlab/auth/seal.h"

/* The thread that delivers webhooks from the outbox (db/webhook_outbox.h), with a connection to the database of its own, so many
 * requests at once, and the resolver's threads. Any number of servers may have one. */

#define WEBHOOKS_AT_ONCE 32

struct webhook_sender_settings {
	const struct api *api;         /* outlives the sender; sending begins when the watch has found the schema ready */
	const struct seal_keys *keys;  /* outlives it too */
	bool allow_private;            /* WEBHOOK_ALLOW_PRIVATE */
	int64_t retry_us;              /* first pause after a failure */
	webhook_lookup *lookup;        /* webhook_lookup_system, or a test's */
};

struct webhook_sender;
/* Starts the threads. ERR_NO_MEMORY. */
enum err webhook_sender_start(const struct webhook_sender_settings *settings, struct webhook_sender **ret);
/* Requests that are on their way are broken off and, if the database answers, due again at once. NULL is nothing. */
void webhook_sender_stop(struct webhook_sender *s);

#endif
