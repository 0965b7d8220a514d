#ifndef LLMLAB_APP_WEBHOOK_REQUEST_H
#define LLMLAB_APP_WEBHOOK_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/app/webhook_resolver.h"
#include "llmlab/core/webhook_target.h"

/* One POST to a webhook, through libcurl's multi interface. It connects to the given addresses and nothing else: no look-up of its
 * own, no redirects, no proxy, no cookies, no netrc, no user information. */

/* For everything: connecting, sending, the answer. */
#define WEBHOOK_TIMEOUT_MS 5000
/* Of an answer, head and body each; the rest is not read. */
#define WEBHOOK_REPLY_MAX ((size_t)64 << 10)

struct webhook_call {
	const struct webhook_target *target;
	const struct webhook_addresses *addresses; /* of its host, all allowed */
	bool allow_private;
	const char *body; /* copied, as everything */
	size_t body_len;
	const char *event, *delivery_id, *signature;
};

struct webhook_reply {
	int64_t status;         /* 0: no answer */
	int64_t duration_ms;
	int64_t retry_after_us; /* 0: not asked for */
	/* Why there is no answer: "address" (it was about to connect to one that is not allowed), "connect", "tls", "timeout",
	 * "protocol"; static; NULL with an answer. */
	const char *error;
};

struct webhook_request;
/* Adds the request to the multi handle (a CURLM *). ERR_NO_MEMORY. */
enum err webhook_request_start(void *multi, const struct webhook_call *call, void *owner, struct webhook_request **ret);
/* The next request of the multi handle that has ended: its owner, and *ret; NULL: none. Its memory stays until it is freed. */
void *webhook_request_next_done(void *multi, struct webhook_reply *ret);
/* Ends it if it is still running. NULL is nothing. */
void webhook_request_free(struct webhook_request *r);

#endif
