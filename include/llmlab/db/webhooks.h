#ifndef LLMLAB_DB_WEBHOOKS_H
#define LLMLAB_DB_WEBHOOKS_H

#include "llmlab/db/conn.h"

/* Webhooks of users, and the outbox: one row for each notification that is to be delivered to one of them. Besides the errors
 * named here, every call has those of db/conn.h, and ERR_NO_MEMORY. */

#define WEBHOOKS_PER_USER_MAX 20
/* Notifications that may wait for one webhook; further ones are dropped and counted (METRIC_WEBHOOKS_DROPPED). Calls that run at
 * once may pass it by as many. */
#define WEBHOOK_WAITING_MAX 500
/* Of one webhook, the finished deliveries that are kept; and for how long. */
#define WEBHOOK_LOG_MAX	 1000
#define WEBHOOK_LOG_DAYS 14
/* Test deliveries of one webhook within a minute. */
#define WEBHOOK_TESTS_PER_MINUTE 10
/* Of payload_json. */
#define WEBHOOK_PAYLOAD_MAX_BYTES 16384

struct webhook {
	struct uuid id;
	const char *name;            /* NULL: none; in the arena, as all texts */
	const char *url;             /* as the user gave it */
	const char *const *events;   /* names as in core/webhook_events.def */
	size_t n_events;
	const char *format;          /* as in core/webhook.h */
	bool active;
	const char *disabled_reason; /* why the server made it inactive: "gone" (the receiver answered 410); NULL */
	int64_t pending;             /* deliveries that are not finished */
	int64_t created_at_us, updated_at_us;
};

struct webhook_delivery {
	struct uuid id;
	const char *event_type; /* in the arena, as all texts */
	const char *status;     /* "pending", "delivered", "failed" */
	int64_t attempts;       /* begun so far */
	int64_t response_status; /* of the last attempt; 0: no answer */
	int64_t duration_ms;     /* of the last attempt; -1: none ended */
	const char *error;       /* class of the last attempt's failure; NULL */
	int64_t created_at_us;
	int64_t last_attempt_us, next_attempt_us, finished_us; /* 0: none */
};

/* Puts one delivery into the outbox for each active webhook of the user that is subscribed to event_type ("budget.threshold",
 * "anomaly.detected", "model.unpriced"); none is no error. Runs in the caller's transaction (or alone): what is rolled back is not
 * sent. payload_json is one JSON object, the member `data` of what is sent; its member "message", one sentence for people, is what
 * Slack and Discord show. Money in it is written by jw_decimal(). ERR_TOO_LARGE: longer than WEBHOOK_PAYLOAD_MAX_BYTES; nothing
 * was sent to the database. */
enum err webhooks_enqueue(struct db_conn *c, const struct uuid *user_id, const char *event_type, const char *payload_json,
	struct arena *arena);

/* Creates *w with its sealed secret (auth/seal.h); *w gets the times as stored. A transaction of its own. ERR_CONFLICT: the user
 * has WEBHOOKS_PER_USER_MAX already. ERR_NOT_FOUND: no such user. */
enum err webhooks_insert(struct db_conn *c, const struct uuid *user_id, struct webhook *w, const char *sealed_secret,
	struct arena *arena);
/* Newest first. All of them: bounded by WEBHOOKS_PER_USER_MAX. */
enum err webhooks_list(struct db_conn *c, const struct uuid *user_id, struct arena *arena, struct webhook **ret, size_t *ret_n);
/* ERR_NOT_FOUND also for another user's; so in all that follow. */
enum err webhooks_find(struct db_conn *c, const struct uuid *user_id, const struct uuid *id, struct arena *arena,
	struct webhook *ret);
/* What is NULL stays as it is; an empty name removes it. *active true also forgets disabled_reason. */
struct webhook_changes {
	const char *name, *url, *format;
	const char *const *events;
	size_t n_events;
	const bool *active;
};
enum err webhooks_update(struct db_conn *c, const struct uuid *user_id, const struct uuid *id, const struct webhook_changes *k,
	struct arena *arena);
/* With its deliveries. */
enum err webhooks_delete(struct db_conn *c, const struct uuid *user_id, const struct uuid *id);
/* Puts a delivery "webhook.test" with the given id into the outbox. ERR_CONFLICT: the webhook is not active. ERR_RATE_LIMITED:
 * WEBHOOK_TESTS_PER_MINUTE or WEBHOOK_WAITING_MAX is reached. */
enum err webhooks_test(struct db_conn *c, const struct uuid *user_id, const struct uuid *id, const struct uuid *delivery_id,
	const char *payload_json, struct arena *arena);
/* Deliveries of one webhook, newest first; before: only those below that id; NULL: from the newest. */
enum err webhook_deliveries_list(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	const struct uuid *before, int limit, struct arena *arena, struct webhook_delivery **ret, size_t *ret_n);

#endif
