#ifndef LLMLAB_DB_BUDGETS_H
#define LLMLAB_DB_BUDGETS_H

#include "llmlab/base/calendar.h"
#include "llmlab/db/conn.h"
#include "llmlab/db/costs.h"

#define BUDGET_THRESHOLDS_MAX 10
#define BUDGETS_PER_USER_MAX  200

/* Limits on spend. Besides the errors named here, every call has those of db/conn.h, and ERR_NO_MEMORY. */
struct budget {
	struct uuid id;
	const char *name; /* NULL: none; in the arena */
	struct money limit;
	enum period_kind period;
	const char *scope_dimension, *scope_value; /* "" for all spend; in the arena */
	int thresholds[BUDGET_THRESHOLDS_MAX];     /* percent, 1..1000 */
	size_t n_thresholds;                       /* 1..BUDGET_THRESHOLDS_MAX */
	bool hard;
	int64_t created_at_us, updated_at_us;
};

/* "daily" ..., static; and back (ERR_NOT_FOUND). */
const char *budget_period_name(enum period_kind k);
enum err budget_period_parse(const char *name, enum period_kind *ret);

/* Creates, or updates the budget with the same period and scope (name, limit, thresholds and hard become those given):
 * *b gets id and times as stored, *ret_created tells which. A transaction of its own; two calls at once make one budget.
 * ERR_CONFLICT: the user has BUDGETS_PER_USER_MAX already. ERR_NOT_FOUND: no such user. */
enum err budgets_upsert(struct db_conn *c, const struct uuid *user_id, struct budget *b, struct arena *arena, bool *ret_created);
/* What changes of a budget; what is not set stays. */
struct budget_patch {
	bool set_name;
	const char *name; /* NULL: none from now on */
	bool set_limit;
	struct money limit;
	size_t n_thresholds; /* 0: unchanged */
	int thresholds[BUDGET_THRESHOLDS_MAX];
	bool set_hard, hard;
};
/* One statement, so that patches of different members at once lose nothing; *ret is what is stored then. ERR_NOT_FOUND also for
 * another user's. */
enum err budgets_patch(struct db_conn *c, const struct uuid *user_id, const struct uuid *id, const struct budget_patch *patch,
	struct arena *arena, struct budget *ret);
/* Newest first, by id; all of them (bounded by BUDGETS_PER_USER_MAX). */
enum err budgets_list(struct db_conn *c, const struct uuid *user_id, struct arena *arena, struct budget **ret, size_t *ret_n);
/* ERR_NOT_FOUND also for another user's. */
enum err budgets_find(struct db_conn *c, const struct uuid *user_id, const struct uuid *id, struct arena *arena, struct budget *ret);
enum err budgets_delete(struct db_conn *c, const struct uuid *user_id, const struct uuid *id);

/* The spend that a scope (as of struct budget) is about; its texts are the arguments'. */
struct usage_filter budgets_filter(const char *dimension, const char *value);

/* What a budget of a user is asked about: how much was spent in its scope in [start_us, end_us). */
struct budget_window {
	struct uuid user_id;
	const char *scope_dimension, *scope_value; /* as of struct budget */
	int64_t start_us, end_us;		   /* on quarters of an hour, as the days of all zones are */
	/* the answer */
	struct money spent;
	int64_t unpriced_calls; /* spent does not contain them */
	struct money reserved;	/* held now by reservations in this scope; they are for no period */
};
/* Answers n windows of any users in one statement and so of one snapshot: a call that settles a reservation is in `spent` or its
 * reservation in `reserved`, never both, never neither. ERR_RANGE: a border is not on a quarter of an hour, or a sum does
 * not fit. */
enum err budgets_spend(struct db_conn *c, struct budget_window *windows, size_t n, struct arena *arena);

/* When the user's first call was made, at the day's begin (UTC). ERR_NOT_FOUND: there is none. */
enum err budgets_first_spend(struct db_conn *c, const struct uuid *user_id, int64_t *ret_us);

/* A budget of one of many users, and the zone its periods are in. */
struct user_budget {
	struct uuid user_id;
	const char *timezone; /* in the arena */
	struct budget budget;
};
/* All budgets of the n users, by user. */
enum err budgets_of_users(struct db_conn *c, const struct uuid *user_ids, size_t n, struct arena *arena, struct user_budget **ret,
	size_t *ret_n);

/* The dimensions of a call that scopes of budgets name; NULL: none, or not known. Texts are the caller's. */
struct budget_call {
	const char *provider, *model, *project, *customer;
	const char *tags_json;
};
/* The user's budgets whose scope the call is in, by id (at most BUDGETS_PER_USER_MAX). hold: their rows stay locked to the end of the
 * transaction, taken in the order of ids, so that whoever wants to hold an amount waits for his turn. */
enum err budgets_of_call(struct db_conn *c, const struct uuid *user_id, const struct budget_call *call, bool hold,
	struct arena *arena, struct budget **ret, size_t *ret_n);

#endif
