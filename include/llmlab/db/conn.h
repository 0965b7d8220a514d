#ifndef LLMLAB_DB_CONN_H
#define LLMLAB_DB_CONN_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/err.h"
#include "llmlab/base/uuid.h"
#include "llmlab/core/money.h"

/* One connection to PostgreSQL, used by one thread at a time. It connects when first needed, again after a loss (with
 * jittered backoff), and every call has a deadline of its own that holds even when the server is frozen: libpq is
 * driven non-blocking with poll(2). Statements are constants (struct db_stmt) and are prepared once per connection.
 *
 * Errors of all calls: ERR_DATABASE_UNAVAILABLE (not connected, refused, deadline, 53xxx, 57xxx: nothing was committed by
 * this call), ERR_DB_LOST (connection lost while a statement ran that may have committed: outside a transaction any
 * statement, inside only COMMIT), ERR_DB_RETRY (40001, 40P01, a prepared statement that went stale in a transaction),
 * ERR_DUPLICATE (23505), ERR_DB_CONSTRAINT (other class 22/23), ERR_NO_MEMORY (the parameters' arena overflowed; nothing
 * was sent), ERR_INTERNAL (anything else; logged).
 *
 * After a transaction's connection is lost, calls answer ERR_DATABASE_UNAVAILABLE until db_rollback() (or the next
 * db_begin()): nothing of it is ever run outside. A host name in the URL is resolved by libpq with the system's
 * resolver, whose time is not under the deadline. */

/* What the connections of a process share, so that together they knock at an unreachable database no more than ten times a
 * second, and all come back at once when one got through. Zero: open. */
struct db_gate {
	_Atomic int64_t next_mono_us; /* the next attempt; 0: whoever wants to */
	_Atomic int64_t end_mono_us;  /* the process ends: no call lasts longer, whatever its deadline; 0: it goes on */
};

struct db_settings {
	const char *url;           /* libpq connection string or URL; not owned, outlives the connections */
	int64_t statement_us;      /* deadline of one call, e.g. 2 s */
	int64_t connect_us;        /* deadline of one connection attempt, e.g. 2 s */
	const char *application_name;
	bool prepare;              /* false: unnamed statements, for PgBouncer in transaction mode */
	struct db_gate *gate;      /* not owned; NULL: each connection backs off by itself */
};

struct db_conn;

/* Does not connect yet. NULL without memory. */
struct db_conn *db_conn_new(const struct db_settings *settings);
void db_conn_free(struct db_conn *c);
/* Another deadline for the calls that follow; returns the one before. The server's own statement_timeout follows it at
 * nine tenths, so that a statement that is merely slow costs an error and not the connection. */
int64_t db_conn_set_deadline(struct db_conn *c, int64_t statement_us);
/* The calls that follow are for somebody who has waited so long already (0: not at all): each ends earlier by that, but a
 * statement has a quarter of its deadline in any case, and connecting a tenth of a second. The server is told nothing. */
void db_conn_set_waited(struct db_conn *c, int64_t waited_us);
/* Connects if not connected, within the shorter of both deadlines. ERR_OK or ERR_DATABASE_UNAVAILABLE. After a failed attempt further ones fail at once for
 * 50 ms, doubling up to 1 s, jittered; with a gate, until it is this connection that may try. */
enum err db_conn_ready(struct db_conn *c);
bool db_conn_connected(const struct db_conn *c);
/* Counts the connections that were made: another number, another connection, perhaps to another server. */
uint64_t db_conn_number(const struct db_conn *c);
/* Drops the connection (next use reconnects). */
void db_conn_drop(struct db_conn *c);

/* A statement: a constant beside the code that uses it. `name` is unique in the program. */
struct db_stmt {
	const char *name;
	const char *sql;
};

/* Parameters are given in text form, or arrays in binary form, built by these; NULL is SQL NULL. Strings must be valid
 * UTF-8 without NUL. */
struct db_params {
	struct arena *arena; /* texts of formatted values */
	const char *values[40];
	int n;
	int lengths[40], formats[40]; /* bytes, and 1 of what is binary; as libpq takes them */
};
void db_params_init(struct db_params *p, struct arena *arena);
void db_param_text(struct db_params *p, const char *s);          /* not copied */
void db_param_uuid(struct db_params *p, const struct uuid *u);   /* NULL: SQL NULL */
void db_param_i64(struct db_params *p, int64_t v);
void db_param_bool(struct db_params *p, bool v);
void db_param_money(struct db_params *p, struct money m);
void db_param_instant(struct db_params *p, int64_t us);
void db_param_i64_array(struct db_params *p, const int64_t *v, size_t n);
void db_param_text_array(struct db_params *p, const char *const *v, size_t n); /* NULL elements allowed */
/* The same in binary form, which the database reads at a fraction of the time; of no NULL elements. The statement must
 * give the parameter exactly this type: bigint[], timestamptz[], uuid[], text[], numeric[]. |money| up to 10^18 USD. */
void db_param_i64_array_binary(struct db_params *p, const int64_t *v, size_t n);
void db_param_instant_array_binary(struct db_params *p, const int64_t *us, size_t n);
void db_param_uuid_array_binary(struct db_params *p, const struct uuid *v, size_t n);
void db_param_text_array_binary(struct db_params *p, const char *const *v, size_t n);
void db_param_money_array_binary(struct db_params *p, const struct money *v, size_t n);

/* Runs one statement to its end. *ret_result (owned by the caller, PQclear; may be NULL pointer argument if not wanted) is set only on ERR_OK. */
enum err db_run(struct db_conn *c, const struct db_stmt *stmt, const struct db_params *params, PGresult **ret_result);
/* The same of a statement that gives a row where there is what it asks for. ERR_NOT_FOUND: it gave none. */
enum err db_run_row(struct db_conn *c, const struct db_stmt *stmt, const struct db_params *params, PGresult **ret_result);

/* Transactions. begin/commit/rollback; a failed call inside must be followed by db_rollback(). Commit may answer ERR_DB_LOST. */
enum err db_begin(struct db_conn *c);
/* The same for reading only: all that is read until its end (db_rollback() does) is of one moment. */
enum err db_begin_snapshot(struct db_conn *c);
enum err db_commit(struct db_conn *c);
void db_rollback(struct db_conn *c);
/* Runs body in a transaction, again (at most 3 times in all, jittered) on ERR_DB_RETRY; commits on ERR_OK, else rolls back.
 * ERR_DATABASE_UNAVAILABLE when the third time ends in ERR_DB_RETRY too: nothing was committed. */
enum err db_transaction(struct db_conn *c, enum err (*body)(struct db_conn *c, void *arg), void *arg);

/* Runs a script of any number of statements (a constant of ours) as one simple query. */
enum err db_script(struct db_conn *c, const char *sql);

/* Reading text-format results. Out of range rows/columns are CHECKs. The text stays valid until PQclear(). */
int db_rows(const PGresult *r);
bool db_is_null(const PGresult *r, int row, int col);
const char *db_text(const PGresult *r, int row, int col); /* NULL for SQL NULL */
int64_t db_i64(const PGresult *r, int row, int col);      /* 0 for SQL NULL */
bool db_bool(const PGresult *r, int row, int col);
struct uuid db_uuid(const PGresult *r, int row, int col);
struct money db_money(const PGresult *r, int row, int col); /* exact; 0 for SQL NULL. A value with more than 18 decimals is a CHECK */
/* The same of a sum, which may be larger than any one amount. ERR_RANGE: 128 bits do not hold it; *ret untouched. */
enum err db_sum(const PGresult *r, int row, int col, struct money *ret);
int64_t db_instant(const PGresult *r, int row, int col);    /* from timestamptz selected as is: sessions run with TimeZone UTC, DateStyle ISO */

/* ---- for the writer: raw access with the same deadlines and error mapping ---- */
/* The libpq connection (connected), or NULL. In non-blocking mode. */
PGconn *db_conn_raw(struct db_conn *c);
/* Sends a simple query (a constant of ours) and reads results until the first COPY IN state or the end. May begin the
 * transaction itself ("BEGIN; COPY ..."); db_rollback() in the middle of a copy drops the connection. */
enum err db_copy_begin(struct db_conn *c, const char *sql);
/* Sends all bytes, ends the copy, reads to the end of the query. */
enum err db_copy_send(struct db_conn *c, const char *data, size_t n);
/* Runs several statements in one pipeline with one sync: one round trip. results[i] set on ERR_OK (may be NULL array). On any failure all are cleared. */
enum err db_pipeline(struct db_conn *c, const struct db_stmt *const *stmts, const struct db_params *const *params, size_t n,
	PGresult **results);
/* SQLSTATE and message of the last failure, for logs; "" if none. Valid until the next call. The message never holds
 * values: for classes 22 and 23 it is the name of the constraint. */
const char *db_last_sqlstate(const struct db_conn *c);
const char *db_last_message(const struct db_conn *c);

#endif
