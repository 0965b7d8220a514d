#ifndef LLMLAB_DB_ANOMALIES_H
#define LLMLAB_DB_ANOMALIES_H

#include "llmlab/db/conn.h"
#include "llmlab/db/costs.h"

/* What the search for unusual spend needs beside sums, and what it found. Besides the errors named here,
 * every call has those of db/conn.h, and ERR_NO_MEMORY. */

/* The keys of the user's tags, those in most combinations first, at most max. Where there are more than 5,000
 * combinations, those of 5,000 of them. */
enum err anomalies_tag_keys(struct db_conn *c, const struct uuid *user_id, int max, struct arena *arena,
	const char ***ret, size_t *ret_n);

/* The dearest event of [from_us, to_us) in the scope (of which provider, model, project and one tag count),
 * the oldest of equal ones; zero if there is none. Reads every event of the scope's time, so ask only where
 * there are few. */
enum err anomalies_dearest_event(struct db_conn *c, const struct uuid *user_id,
	const struct usage_filter *scope, int64_t from_us, int64_t to_us, struct arena *arena,
	struct uuid *ret);

/* Which of the n events (ids of anomalies_dearest_event()) are still there: retention may have dropped some.
 */
enum err anomalies_events_exist(struct db_conn *c, const struct uuid *user_id, const struct uuid *ids,
	size_t n, struct arena *arena, bool *ret);

/* What tells, together with a number of calls, whether a user's events are what they were at another time:
 * they only become more, or are re-priced, which the ledger counts. A database that was set back has another
 * start, or other tables; one whose rows were put back, their tables emptied first, keeps them in another
 * file. */
struct spend_state {
	int64_t repricings, repriced_events; /* in the user's ledger; neither ever becomes less */
	int64_t server_start_us;	     /* of the database */
	int64_t database, sums_file;	     /* numbers of the database, and of the file of its sums by day */
};
enum err anomalies_spend_state(struct db_conn *c, const struct uuid *user_id, struct spend_state *ret);

struct stored_anomaly {
	const char *id, *granularity, *scope_json, *severity;
	int64_t start_us, end_us;
	struct money cost, expected;
	double score;	      /* finite, more than 0 */
	struct uuid event_id; /* zero: none */
};
/* Keeps it, or brings cost, expected, score, severity and event up to date if it is kept already (*ret_new
 * false). */
enum err anomalies_store(struct db_conn *c, const struct uuid *user_id, const struct stored_anomaly *a,
	int64_t now_us, struct arena *arena, bool *ret_new);
/* True if one of the granularity is kept whose time lies in [from_us, to_us). */
enum err anomalies_has(struct db_conn *c, const struct uuid *user_id, const char *granularity,
	int64_t from_us, int64_t to_us, bool *ret);
/* Drops those that began before. */
enum err anomalies_drop(struct db_conn *c, const struct uuid *user_id, int64_t before_us);

/* Users with spend since then that were last looked at before then (or never), those that have waited longest
 * first. */
struct anomaly_user {
	struct uuid id;
	const char *timezone; /* in the arena */
};
enum err anomaly_scans_due(struct db_conn *c, int64_t spend_since_us, int64_t scanned_before_us, int limit,
	struct arena *arena, struct anomaly_user **ret, size_t *ret_n);
/* In a transaction: takes the user for this server until its end, and notes that he is looked at. False:
 * another server is at it or has done it, or the user is gone. */
enum err anomaly_scans_claim(
	struct db_conn *c, const struct uuid *user_id, int64_t scanned_before_us, int64_t now_us, bool *ret);

#endif
