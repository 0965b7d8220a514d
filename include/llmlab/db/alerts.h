#ifndef LLMLAB_DB_ALERTS_H
#define LLMLAB_DB_ALERTS_H

#include "llmlab/base/calendar.h"
#include "llmlab/db/conn.h"

/* What users are told: a budget's threshold that was reached, a model that has no price. Besides the errors named here, every call has
 * those of db/conn.h, and ERR_NO_MEMORY. */

enum alert_kind { ALERT_BUDGET_THRESHOLD, ALERT_MODEL_UNPRICED };
/* "budget.threshold", "model.unpriced": also the event types of webhooks. Static. */
const char *alert_kind_name(enum alert_kind k);

struct alert {
	struct uuid user_id, id;
	enum alert_kind kind;
	/* of ALERT_BUDGET_THRESHOLD */
	struct uuid budget_id;
	const char *budget_name; /* NULL: none */
	int32_t period_day;	 /* first day of the period in the user's zone */
	int64_t period_start_us, period_end_us;
	int threshold; /* per cent */
	struct money spend, limit;
	/* of ALERT_MODEL_UNPRICED */
	const char *provider, *model;

	int64_t created_at_us;
	int64_t acknowledged_at_us; /* 0: not yet */
};

/* Of n alerts of budgets, of any users, which are not stored yet: ret_missing[i]. Only user, budget, period_day and threshold are
 * looked at. */
enum err alerts_missing(struct db_conn *c, const struct alert *alerts, size_t n, struct arena *arena, bool *ret_missing);

/* Stores the alert, and in the same transaction its delivery to the user's webhooks with `payload` (its JSON). *ret_new false:
 * another one was first, or the budget or the account is gone, or the user has ALERT_MODELS_MAX of the kind; nothing is stored
 * or delivered then. So of any number of servers exactly one tells of it, whatever is killed when. */
#define ALERT_MODELS_MAX 1000
enum err alerts_insert(
	struct db_conn *c, const struct alert *a, const char *payload, struct arena *arena, bool *ret_new);

/* A model without a price that its user has not been told of. */
struct alert_model {
	struct uuid user_id;
	const char *provider, *model; /* in the arena */
};
/* Those of the n users, at most ALERT_MODELS_PAGE. */
#define ALERT_MODELS_PAGE 200
enum err alerts_unpriced(struct db_conn *c, const struct uuid *user_ids, size_t n, struct arena *arena,
	struct alert_model **ret, size_t *ret_n);

/* Users in the order of ids, those after *after (NULL: from the first), at most limit; out has room for so many. */
enum err alerts_users(
	struct db_conn *c, const struct uuid *after, size_t limit, struct uuid *out, size_t *ret_n);

struct alerts_filter {
	bool by_acknowledged, acknowledged;
	const struct uuid *budget_id; /* NULL: any */
	const struct uuid *before;    /* keyset: ids below this one; NULL: from the newest */
	int limit;
};
/* Newest first (by id). Texts in the arena. */
enum err alerts_list(struct db_conn *c, const struct uuid *user_id, const struct alerts_filter *f, struct arena *arena,
	struct alert **ret, size_t *ret_n);
/* Notes the time, unless it was noted before. *ret is what is stored. ERR_NOT_FOUND also for another user's. */
enum err alerts_acknowledge(
	struct db_conn *c, const struct uuid *user_id, const struct uuid *id, struct arena *arena, struct alert *ret);

/* Deletes alerts of budgets made more than 400 days ago (their periods are over), at most 10,000 a call. */
enum err alerts_purge(struct db_conn *c);

#endif
