#ifndef LLMLAB_DB_RESERVATIONS_H
#define LLMLAB_DB_RESERVATIONS_H

#include "llmlab/base/calendar.h"
#include "llmlab/db/budgets.h"
#include "llmlab/db/conn.h"

/* Amounts held against budgets for calls that are about to be made. A reservation counts in every budget whose scope its call is in,
 * whatever the period, until it is settled, released or has expired by the clock of the database. Besides the errors named
 * here, every call has those of db/conn.h, and ERR_NO_MEMORY. */

#define RESERVATIONS_PER_USER_MAX 10000
#define RESERVATION_TTL_MAX_S	  86400

/* May this call be made? */
struct reservation_ask {
	struct uuid user_id;
	struct budget_call call; /* texts are the caller's */
	bool has_amount;	 /* false: what the call costs is not known */
	struct money amount;
	bool hold;	/* if it may, hold the amount */
	struct uuid id; /* of the reservation, if hold */
	int64_t ttl_s;	/* 1..RESERVATION_TTL_MAX_S, if hold */
};

/* What one budget says to it. */
struct reservation_budget {
	struct budget budget; /* texts in the arena */
	struct period period; /* the current one in the user's zone */
	struct money spent, reserved; /* reserved without the amount that was asked for */
	int64_t unpriced_calls;
	bool passes; /* spent + reserved + amount <= limit; false when the amount is not known */
};

struct reservation_answer {
	struct reservation_budget *budgets; /* by id, in the arena */
	size_t n;
	bool allowed; /* every hard budget passes */
	bool held;
	int64_t expires_at_us; /* if held */
};

/* Answers *ask, and holds the amount if that is asked for and allowed; all in one transaction that keeps the budgets' rows
 * locked, so that of any number of callers on any number of servers none sees room that another has just taken: spent and
 * reserved of a hard budget never pass its limit by a reservation. (A call that is recorded without one may pass it.)
 * ERR_NOT_FOUND: no such user. ERR_CONFLICT: the user has RESERVATIONS_PER_USER_MAX (callers at the same instant may make a
 * few more). ERR_DB_LOST: what was held, if it was, expires. */
enum err reservations_ask(
	struct db_conn *c, const struct reservation_ask *ask, struct arena *arena, struct reservation_answer *ret);

/* Gives the amount back. ERR_NOT_FOUND: settled, released or expired, or another user's. */
enum err reservations_release(struct db_conn *c, const struct uuid *user_id, const struct uuid *id);

/* Settling: RESERVATIONS_SETTLE deletes the reservations that the events of a transaction name; it belongs into the very
 * transaction that stores them. Those that do not exist (any more) are none. */
struct reservation_ref {
	struct uuid user_id, id;
};
extern const struct db_stmt RESERVATIONS_SETTLE;
enum err reservations_settle_params(
	struct db_params *p, const struct reservation_ref *refs, size_t n, struct arena *arena);

/* Deletes what has expired, at most 10,000 a call. Tidies only: what has expired counts nothing. */
enum err reservations_purge(struct db_conn *c);

#endif
