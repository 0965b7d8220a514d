#ifndef LLMLAB_DB_REPRICING_H
#define LLMLAB_DB_REPRICING_H

#include "llmlab/core/event.h"
#include "llmlab/db/conn.h"

/* New prices for recorded events, chunk by chunk, and the ledger that says what was changed. What a new price
 * is comes from the caller. Besides the errors named here, every call has those of db/conn.h, and
 * ERR_NO_MEMORY. */

#define REPRICING_CHUNK_EVENTS 1000 /* of one transaction */
#define REPRICING_REASON_MAX   500  /* characters */
#define REPRICING_RUNNING_MAX  4    /* requested ones of a user that are running */

enum repricing_state { REPRICING_RUNNING, REPRICING_DONE, REPRICING_FAILED };
/* "running", "done", "failed"; static. */
const char *repricing_state_name(enum repricing_state s);

/* What changed for one provider and model; unpriced events count nothing in the costs. */
struct repricing_sum {
	const char *provider, *model; /* in the arena of the sums */
	int64_t events;
	struct money old_cost, new_cost;
};
/* Sums by provider, then model (byte order). Begin with {.arena = ...}. */
struct repricing_sums {
	struct arena *arena;
	struct repricing_sum *rows;
	size_t n, size;
};

struct repricing {
	struct uuid user_id, id;
	bool stored;	/* it is a row already; else it becomes one with the first event that it changes */
	bool automatic; /* only unpriced events of one provider and model */
	bool has_api_key;
	struct uuid api_key_id;
	const char *reason;	      /* NULL: none */
	int64_t from_us, to_us;	      /* [from, to) */
	const char *provider, *model; /* NULL: any; both are given if automatic */
	enum repricing_state state;
	int64_t cursor_at_us; /* everything up to this event is done; from_us and a zero id at the start */
	struct uuid cursor_id;
	int64_t events_examined, events_changed;
	struct money range_old_cost, range_new_cost; /* of all examined events */
	int64_t created_at_us, finished_at_us;	     /* 0: not yet */
	/* The catalogue that chunks are priced with (repricing_catalogue_number()); of one that was read: the
	 * newest that was. */
	int64_t catalogue_number;
	int64_t holder;		    /* who runs its chunks: a repricer's random number; 0: a request */
	struct repricing_sums sums; /* of the changed events, where the call says so */
};

/* What an event is to become. */
struct repriced {
	bool has_cost;
	struct money cost;
	bool has_catalogue_cost;
	struct money catalogue_cost;
	const char *pricing_status, *price_rule, *catalogue_version, *service_tier;
	const char *price_record, *price_lines; /* NULL: none */
};
/* The new price of an event; texts static or in the arena. ERR_NOT_FOUND: it has none, leave it as it is; any other error is the
 * chunk's, of which nothing is done. Called with rows locked: must not block. */
typedef enum err repricing_price(void *arg, const struct event *e, struct arena *arena, struct repriced *ret);

/* The next chunk of *r in one transaction: events, ledger, rollup, cursor and sums together, or nothing. A
 * stored one goes on from where it is stored, whoever moved it there; *r says afterwards how far it is, its
 * state too (r->sums is not touched). ERR_NOT_FOUND: it is gone. ERR_CONFLICT: an automatic one, and
 * another server is at this user's; or a chunk was priced with a newer catalogue than r->catalogue_number.
 * ERR_DB_LOST: unknown whether this chunk was done; the row knows, so go on with what repricings_find() says.
 * Locks in the order of the ingest writer: events, then rollup rows by key. */
enum err repricing_apply_chunk(
	struct db_conn *c, struct repricing *r, repricing_price *price, void *arg, int64_t max_events);
/* The same without changing anything: *r moves in memory only, and what would change is added to r->sums. */
enum err repricing_preview_chunk(
	struct db_conn *c, struct repricing *r, repricing_price *price, void *arg, int64_t max_events);

/* The place of a catalogue version in the order in which the database first saw them, which this call makes
 * it do: higher is newer. */
enum err repricing_catalogue_number(struct db_conn *c, const char *version, int64_t *ret);

/* Stores a new one (id, range, filter, who, why) with its cursor at the start. ERR_CONFLICT:
 * REPRICING_RUNNING_MAX of the user's are running. ERR_NOT_FOUND: the account is gone. */
enum err repricings_insert(struct db_conn *c, struct repricing *r);
/* Ends one that cannot go on; what it has done stays. */
enum err repricings_fail(struct db_conn *c, const struct uuid *user_id, const struct uuid *id);
/* Puts one that cannot go on just now behind the others that wait. */
enum err repricings_delay(struct db_conn *c, const struct uuid *user_id, const struct uuid *id);
/* With sums. ERR_NOT_FOUND also for another user's. */
enum err repricings_find(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	struct arena *arena, struct repricing *ret);
/* Newest first, those before `before` (NULL: from the newest), at most limit; with sums. */
enum err repricings_list(struct db_conn *c, const struct uuid *user_id, const struct uuid *before, int limit,
	struct arena *arena, struct repricing **ret, size_t *ret_n);
/* Whose turn it is: of those that are running, had no chunk for idle_us (or had it from this holder) and were
 * priced with no newer catalogue than this, one of the user who has waited longest for any of his. Its holder
 * is the given one; without sums. ERR_NOT_FOUND: none. */
enum err repricings_next(struct db_conn *c, int64_t idle_us, int64_t holder, int64_t catalogue_number,
	struct arena *arena, struct repricing *ret);
/* A server has the catalogue of this number: now. */
enum err repricing_catalogue_seen(struct db_conn *c, int64_t number);
/* Ends those that need a newer catalogue than this, had no chunk for idle_us, and whose catalogue or a newer one no server has been
 * seen with for as long: who had it is gone. To be asked by one to whom the database has answered all that time, as it would have
 * to them. */
enum err repricings_fail_abandoned(
	struct db_conn *c, int64_t idle_us, int64_t catalogue_number, int64_t *ret_failed);
/* How many of a user's are running, automatic or requested ones. */
enum err repricings_count_running(
	struct db_conn *c, const struct uuid *user_id, bool automatic, int64_t *ret);

/* How many events the rollup counts in the range (whole quarters of an hour, so never too few). */
enum err repricing_count(struct db_conn *c, const struct repricing *r, int64_t *ret);

/* Adds to the row of provider and model. False without memory, or if a sum does not fit. */
bool repricing_sums_add(struct repricing_sums *s, const struct repricing_sum *add);
/* Both totals. False if one does not fit. */
bool repricing_sums_total(const struct repricing_sums *s, struct money *ret_old, struct money *ret_new);

#endif
