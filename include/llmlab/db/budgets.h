#ifndef LLMLAB_DB_BUDGETS_H
#define LLMLAB_DB_BUDGETS_H

#include "llmlab/base/calendar.h"
#include "llmlab/db/conn.h"

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
/* Replaces everything but id and created_at of the budget b->id; *b gets the times as stored. ERR_NOT_FOUND also for another
 * user's; ERR_DUPLICATE: another budget has that period and scope. */
enum err budgets_update(struct db_conn *c, const struct uuid *user_id, struct budget *b, struct arena *arena);
/* Newest first; all of them (bounded by BUDGETS_PER_USER_MAX). */
enum err budgets_list(struct db_conn *c, const struct uuid *user_id, struct arena *arena, struct budget **ret, size_t *ret_n);
/* ERR_NOT_FOUND also for another user's. */
enum err budgets_find(struct db_conn *c, const struct uuid *user_id, const struct uuid *id, struct arena *arena, struct budget *ret);
enum err budgets_delete(struct db_conn *c, const struct uuid *user_id, const struct uuid *id);

#endif
