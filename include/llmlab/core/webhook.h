#ifndef LLMLAB_CORE_WEBHOOK_H
#define LLMLAB_CORE_WEBHOOK_H

#include <stdbool.h>
#include <stdint.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/buf.h"
#include "llmlab/base/err.h"
#include "llmlab/base/uuid.h"

/* Webhooks without network and database: what there is to subscribe to, the bodies, and what follows from an answer. Pure. */

enum webhook_event {
#define WEBHOOK_EVENT(id, name, title) WEBHOOK_EVENT_##id,
#include "llmlab/core/webhook_events.def"
#undef WEBHOOK_EVENT
	WEBHOOK_EVENTS
};
/* "budget.threshold" ..., static. */
const char *webhook_event_name(enum webhook_event e);

/* Sent only when asked for, to any webhook. */
#define WEBHOOK_TEST_EVENT "webhook.test"

enum webhook_format { WEBHOOK_JSON, WEBHOOK_SLACK, WEBHOOK_DISCORD, WEBHOOK_FORMATS };
/* From "json" ... ERR_NOT_FOUND: it is none. */
enum err webhook_format_parse(const char *name, enum webhook_format *ret);

/* Slack cuts texts of more than 3,000 characters in a block (40,000 in all); Discord refuses more than 2,000. Counted in UTF-16
 * units, the larger of the ways to count. */
#define WEBHOOK_SLACK_MAX   3000
#define WEBHOOK_DISCORD_MAX 2000
#define WEBHOOK_BODY_MAX    ((size_t)64 << 10)

struct webhook_message {
	struct uuid id;       /* of the delivery */
	const char *type;     /* name of the event */
	int64_t created_at_us;
	const char *data_json; /* one JSON object */
};
/* Writes the body into *out: {"id","type","created_at","data"} with the data as it is; or {"text"} for Slack, or {"content"} for
 * Discord, of the title and data.message (without one: the data's own texts and numbers). Nobody is notified by name: Slack's
 * control characters are escaped, Discord is told to allow no mentions. ERR_NO_MEMORY; ERR_SYNTAX: the data is not an object. */
enum err webhook_body(enum webhook_format f, const struct webhook_message *m, struct buf *out);

/* What follows from the status of an answer. */
enum webhook_verdict {
	WEBHOOK_DELIVERED, /* 2xx */
	WEBHOOK_RETRY,     /* 408, 425, 429, 5xx */
	WEBHOOK_REFUSED,   /* everything else, redirects too */
	WEBHOOK_GONE       /* 410: the webhook becomes inactive */
};
enum webhook_verdict webhook_judge(int64_t status);

/* An undelivered notification is tried for so long. */
#define WEBHOOK_GIVE_UP_US (24 * INT64_C(3600000000))
#define WEBHOOK_PAUSE_MAX_US INT64_C(3600000000)
/* The pause after failed attempt number attempt (from 1): base_us doubled attempt - 1 times, at most WEBHOOK_PAUSE_MAX_US, times a
 * factor from 0.75 to 1.25 by the 32 random bits; at least what the receiver asked for (retry_after_us; 0: nothing), of which at
 * most WEBHOOK_PAUSE_MAX_US counts. */
int64_t webhook_pause_us(int64_t attempt, int64_t base_us, uint32_t random, int64_t retry_after_us);

#endif
