/* One connection to PostgreSQL: connecting with backoff, deadlines, prepared statements, transactions, COPY
 * and pipelines, and the mapping of every failure to `enum err`. libpq is always driven non-blocking with
 * poll(2), so that a frozen server costs a deadline and never a thread. Not responsible for what the
 * statements mean (one file per aggregate), nor for parameters and results as C values (values.c).
 *
 * The one rule that must never be broken: ERR_DATABASE_UNAVAILABLE promises that nothing was committed.
 * Whenever a connection ends while something that can commit is on its way, the answer is ERR_DB_LOST. In the
 * extended protocol a statement outside a transaction commits at Sync, after its CommandComplete: only
 * ReadyForQuery proves it.
 *
 * Behind a pooler in transaction mode (prepare = false) every transaction may run in another server's
 * session, with settings that others have left there or that the database's owner has given it, and a
 * synchronous_commit that is off would lose what was acknowledged. So there, nothing runs outside a
 * transaction, every transaction begins with our settings, local to it, and no session is changed or trusted.
 * That costs no round trip: they travel in one pipeline with the statement (but for COPY and scripts, which
 * are simple queries). */

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, len, value)                                                                       \
	HASH_FNV(key, len, value) /* the default falls through switch labels                                 \
				   */
#include <uthash.h>
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/conn.h"

#define BACKOFF_MIN_US		   (50 * US_PER_MS)
#define BACKOFF_MAX_US		   (1 * US_PER_SECOND)
#define GATE_US			   (100 * US_PER_MS)
#define LOOK_US			   (200 * US_PER_MS) /* whether the process is to end, while a call waits */
#define CONNECT_MIN_US		   (100 * US_PER_MS)
#define IDLE_IN_TRANSACTION_MIN_US (10 * US_PER_SECOND)
#define TRANSACTION_ATTEMPTS	   3
#define COPY_CHUNK_BYTES	   (256 * 1024)
#define PIPELINE_MAX		   32

/* A statement that this connection's server knows by name. */
struct prepared {
	const char *name; /* the key: the pointer itself, names are constants */
	UT_hash_handle hh;
};

struct db_conn {
	struct db_settings settings;
	bool pooled;		     /* a transaction is all that one session is ours for */
	int64_t statement_us;	     /* deadline of one call */
	int64_t waited_us;	     /* by whom the calls are for, before */
	int64_t server_statement_us; /* the one the server was told */
	int64_t deadline_us;	     /* monotonic end of the call that runs */
	PGconn *pg;		     /* owned; NULL while not connected */
	uint64_t number;	     /* of pg, or of the transaction if pooled: how many there were */
	struct prepared *prepared;   /* owned hash */
	bool prepared_stale;   /* the server's prepared statements must be dropped before the next use */
	bool in_transaction;   /* begun and not ended; stays set when its connection is lost */
	bool counted;	       /* in the metric of open connections */
	bool down;	       /* a loss or failed attempt was logged and no recovery yet */
	int64_t backoff_us;    /* 0 after a success */
	int64_t not_before_us; /* monotonic: no connection attempt before */
	char sqlstate[6];
	char message[256];
};

/* What a wait for the server ended with. */
enum wait_result { WAIT_READY, WAIT_DEADLINE, WAIT_BROKEN };

/* ---- failures ---- */

static void note_failure(struct db_conn *c, const char *sqlstate, const char *message)
{
	snprintf(c->sqlstate, sizeof c->sqlstate, "%s", sqlstate ? sqlstate : "");
	snprintf(c->message, sizeof c->message, "%s", message ? message : "");
	const size_t n = strlen(c->message);
	if (n > 0 && c->message[n - 1] == '\n')
		c->message[n - 1] = '\0';
}

static void clear_failure(struct db_conn *c)
{
	c->sqlstate[0] = '\0';
	c->message[0] = '\0';
}

static void forget_prepared(struct db_conn *c)
{
	struct prepared *p, *next;
	HASH_ITER (hh, c->prepared, p, next) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): frees the table with the last */
		HASH_DEL(c->prepared, p);
		free(p);
	}
}

static void close_connection(struct db_conn *c)
{
	if (!c->pg)
		return;
	PQfinish(c->pg);
	c->pg = NULL;
	metric_add(METRIC_DB_CONNECTIONS, -(int64_t)c->counted);
	c->counted = false;
	forget_prepared(c);
	c->prepared_stale = false;
}

static void log_down_once(struct db_conn *c)
{
	if (c->down)
		return;
	c->down = true;
	LOG_WARN("database lost", LOG_S("connection", c->settings.application_name),
		LOG_S("sqlstate", c->sqlstate), LOG_S("reason", c->message));
}

/* Ends the connection in the middle of a call. `why` may belong to the connection. */
static enum err connection_lost(struct db_conn *c, bool commits, const char *sqlstate, const char *why)
{
	note_failure(c, sqlstate, why);
	close_connection(c);
	log_down_once(c);
	metric_add(METRIC_DB_ERRORS, 1);
	if (!commits)
		return ERR_DATABASE_UNAVAILABLE;
	c->in_transaction = false; /* over, one way or the other */
	return ERR_DB_LOST;
}

static enum err wait_failed(struct db_conn *c, enum wait_result w, bool commits)
{
	return connection_lost(
		c, commits, "", w == WAIT_DEADLINE ? "deadline passed" : PQerrorMessage(c->pg));
}

static bool state_class(const char *sqlstate, const char *class)
{
	return strncmp(sqlstate, class, 2) == 0;
}

/* A plan or name that the server has dropped or outgrown: the statement did not run. */
static bool is_stale_statement(const struct db_conn *c)
{
	return strcmp(c->sqlstate, "26000") == 0 || strcmp(c->sqlstate, "0A000") == 0;
}

/* The statement failed and the connection lives: nothing was committed. */
static enum err map_sqlstate(const char *s)
{
	if (strcmp(s, "40001") == 0 || strcmp(s, "40P01") == 0)
		return ERR_DB_RETRY;
	if (strcmp(s, "23505") == 0)
		return ERR_DUPLICATE;
	if (state_class(s, "22") || state_class(s, "23"))
		return ERR_DB_CONSTRAINT;
	if (state_class(s, "53") || state_class(s, "57") || state_class(s, "58") || strcmp(s, "55P03") == 0 ||
		strcmp(s, "25006") == 0)
		return ERR_DATABASE_UNAVAILABLE;
	return ERR_INTERNAL;
}

/* Messages of classes 22 and 23 quote the values: the constraint's name takes their place. */
static const char *message_without_values(const PGresult *r, const char *sqlstate)
{
	if (!state_class(sqlstate, "22") && !state_class(sqlstate, "23"))
		return PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	const char *const constraint = PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME);
	return constraint ? constraint : PQresultErrorField(r, PG_DIAG_COLUMN_NAME);
}

/* Maps an error result; drops the connection if the server did, or if it can no longer write (25006: a
 * standby). */
static enum err statement_failed(struct db_conn *c, const PGresult *r, bool commits, const char *name)
{
	const char *const sqlstate = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	const char *const severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
	if (!sqlstate || !severity)
		return connection_lost(c, commits, "", PQresultErrorMessage(r));
	/* A FATAL or PANIC may come after the commit record was written, whatever its code says. */
	if (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0 || state_class(sqlstate, "08"))
		return connection_lost(c, commits, sqlstate, PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY));
	note_failure(c, sqlstate, message_without_values(r, sqlstate));
	const enum err e = map_sqlstate(sqlstate);
	if (e == ERR_DATABASE_UNAVAILABLE)
		metric_add(METRIC_DB_ERRORS, 1);
	if (e == ERR_INTERNAL && !is_stale_statement(c))
		LOG_ERROR("database statement failed", LOG_S("statement", name),
			LOG_S("sqlstate", c->sqlstate), LOG_S("reason", c->message));
	if (strcmp(sqlstate, "25006") == 0)
		close_connection(c);
	return e;
}

/* ---- waiting ---- */

/* The deadline, or the end of the process if that comes first. */
static int64_t end_of_wait(const struct db_conn *c, int64_t deadline_us)
{
	const int64_t end_us = c->settings.gate ? atomic_load(&c->settings.gate->end_mono_us) : 0;
	return end_us != 0 && end_us < deadline_us ? end_us : deadline_us;
}

/* Waits until the socket can be read (or written, if wanted) or the deadline passes. */
static enum wait_result wait_socket(const struct db_conn *c, int64_t deadline_us, short events)
{
	for (;;) {
		const int64_t left_us = end_of_wait(c, deadline_us) - clock_mono_us();
		if (left_us <= 0)
			return WAIT_DEADLINE;
		const int64_t slice_us = left_us < LOOK_US ? left_us : LOOK_US;
		struct pollfd fd = {.fd = PQsocket(c->pg), .events = events};
		if (fd.fd < 0)
			return WAIT_BROKEN;
		const int n = poll(&fd, 1, (int)((slice_us + US_PER_MS - 1) / US_PER_MS));
		if (n > 0)
			return WAIT_READY;
		if (n < 0 && errno != EINTR)
			return WAIT_BROKEN;
	}
}

/* Sends everything libpq has buffered, reading meanwhile so that neither side blocks the other. */
static enum wait_result flush_all(struct db_conn *c)
{
	for (;;) {
		const int pending = PQflush(c->pg);
		if (pending == 0)
			return WAIT_READY;
		if (pending < 0)
			return WAIT_BROKEN;
		const enum wait_result w = wait_socket(c, c->deadline_us, POLLIN | POLLOUT);
		if (w != WAIT_READY)
			return w;
		if (!PQconsumeInput(c->pg))
			return WAIT_BROKEN;
	}
}

/* The next result, or NULL at the end of the query; *ret is set on WAIT_READY. */
static enum wait_result next_result(struct db_conn *c, PGresult **ret)
{
	while (PQisBusy(c->pg)) {
		const enum wait_result w = wait_socket(c, c->deadline_us, POLLIN);
		if (w != WAIT_READY)
			return w;
		if (!PQconsumeInput(c->pg))
			return WAIT_BROKEN;
	}
	*ret = PQgetResult(c->pg);
	return WAIT_READY;
}

static bool result_ok(const PGresult *r)
{
	const ExecStatusType s = PQresultStatus(r);
	return s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK;
}

/* libpq repeats these for ever. */
static bool is_copy(const PGresult *r)
{
	const ExecStatusType s = PQresultStatus(r);
	return s == PGRES_COPY_IN || s == PGRES_COPY_OUT || s == PGRES_COPY_BOTH;
}

/* *kept stays at the first error, else becomes the newest result. */
static void keep_result(PGresult **kept, PGresult *r)
{
	if (*kept && !result_ok(*kept)) {
		PQclear(r);
		return;
	}
	PQclear(*kept);
	*kept = r;
}

/* Follows the server's word on whether a transaction is open. */
static void note_transaction(struct db_conn *c)
{
	if (!c->pg)
		return;
	const PGTransactionStatusType s = PQtransactionStatus(c->pg);
	if (s == PQTRANS_IDLE)
		c->in_transaction = false;
	else if (s == PQTRANS_INTRANS || s == PQTRANS_INERROR)
		c->in_transaction = true;
}

/* Reads to the end of the query, or to a COPY IN state. A kept error result is mapped; an OK one is handed
 * over. */
static enum err finish_query(struct db_conn *c, bool commits, const char *name, PGresult **ret)
{
	PGresult *kept = NULL;
	enum wait_result w = flush_all(c);
	while (w == WAIT_READY) {
		PGresult *r = NULL;
		w = next_result(c, &r);
		if (w != WAIT_READY || !r)
			break;
		keep_result(&kept, r);
		if (is_copy(r))
			break;
	}
	enum err e = ERR_OK;
	if (kept && !result_ok(kept) && PQresultStatus(kept) != PGRES_COPY_IN)
		e = statement_failed(c, kept, commits, name);
	else if (w != WAIT_READY)
		e = wait_failed(c, w, commits);
	else if (!kept)
		e = connection_lost(c, commits, "", "no result");
	if (e == ERR_OK && ret) {
		*ret = kept;
		kept = NULL;
	}
	PQclear(kept);
	/* The error came, but the query's end did not: nothing was committed, the connection is of no use. */
	if (w != WAIT_READY && c->pg)
		wait_failed(c, w, false);
	note_transaction(c);
	return e;
}

/* ---- connecting ---- */

static void on_notice(void *arg, const char *message)
{
	(void)arg;
	LOG_DEBUG("database notice", LOG_S("message", message));
}

/* The moment of the next attempt of all: a tenth of a second on, or up to a half more. */
static int64_t after_a_pause(int64_t now_us)
{
	uint32_t random;
	random_bytes(&random, sizeof random);
	return now_us + GATE_US + (int64_t)random % (GATE_US / 2);
}

/* Whether this connection may try now. A closed gate lets one through, and then none for a pause. */
static bool may_connect(struct db_conn *c, int64_t now_us)
{
	if (!c->settings.gate)
		return now_us >= c->not_before_us;
	int64_t next_us = atomic_load(&c->settings.gate->next_mono_us);
	return next_us == 0 ||
	       (now_us >= next_us && atomic_compare_exchange_strong(&c->settings.gate->next_mono_us, &next_us,
					     after_a_pause(now_us)));
}

static void open_gate(struct db_conn *c)
{
	if (c->settings.gate)
		atomic_store(&c->settings.gate->next_mono_us, 0);
}

/* One that is closed stays as it is: its next moment was set when the attempt began. */
static void close_gate(struct db_conn *c)
{
	int64_t open = 0;
	if (c->settings.gate)
		atomic_compare_exchange_strong(
			&c->settings.gate->next_mono_us, &open, after_a_pause(clock_mono_us()));
}

static void back_off(struct db_conn *c)
{
	close_gate(c);
	c->backoff_us = c->backoff_us == 0 ? BACKOFF_MIN_US : 2 * c->backoff_us;
	if (c->backoff_us > BACKOFF_MAX_US)
		c->backoff_us = BACKOFF_MAX_US;
	uint32_t random;
	random_bytes(&random, sizeof random);
	/* three to five quarters of it, so that the connections of many servers do not come back in step */
	c->not_before_us = clock_mono_us() + c->backoff_us * 3 / 4 + (int64_t)random % (c->backoff_us / 2);
}

static enum err connect_failed(struct db_conn *c, const char *why)
{
	note_failure(c, "", why);
	close_connection(c);
	log_down_once(c);
	back_off(c);
	metric_add(METRIC_DB_ERRORS, 1);
	return ERR_DATABASE_UNAVAILABLE;
}

/* Settings before dbname can be overridden by the URL, those after it cannot. */
static PGconn *start_connection(const struct db_settings *s)
{
	const char *const keywords[] = {"keepalives", "keepalives_idle", "keepalives_interval",
		"keepalives_count", "tcp_user_timeout", "gssencmode", "application_name", "dbname",
		"client_encoding", NULL};
	const char *const values[] = {
		"1", "10", "5", "3", "5000", "disable", s->application_name, s->url, "UTF8", NULL};
	return PQconnectStartParams(keywords, values, 1);
}

static enum err handshake(struct db_conn *c, int64_t deadline_us)
{
	c->pg = start_connection(&c->settings);
	if (!c->pg)
		return connect_failed(c, "out of memory");
	if (PQstatus(c->pg) == CONNECTION_BAD)
		return connect_failed(c, PQerrorMessage(c->pg));
	PQsetNoticeProcessor(c->pg, on_notice, NULL);
	PostgresPollingStatusType step = PGRES_POLLING_WRITING;
	while (step != PGRES_POLLING_OK) {
		if (step == PGRES_POLLING_FAILED)
			return connect_failed(c, PQerrorMessage(c->pg));
		const short events = step == PGRES_POLLING_WRITING ? POLLOUT : POLLIN;
		const enum wait_result w = wait_socket(c, deadline_us, events);
		if (w != WAIT_READY)
			return connect_failed(
				c, w == WAIT_DEADLINE ? "deadline passed" : PQerrorMessage(c->pg));
		step = PQconnectPoll(c->pg);
	}
	if (PQsetnonblocking(c->pg, 1) != 0)
		return connect_failed(c, PQerrorMessage(c->pg));
	c->number++;
	return ERR_OK;
}

struct timeouts {
	char statement_ms[16];
	char idle_ms[16];
};

static struct timeouts timeouts_of(int64_t statement_us)
{
	int64_t ms = statement_us * 9 / 10 / US_PER_MS;
	if (ms < 1)
		ms = 1;
	if (ms > INT_MAX)
		ms = INT_MAX;
	int64_t idle_ms =
		(statement_us > IDLE_IN_TRANSACTION_MIN_US ? statement_us : IDLE_IN_TRANSACTION_MIN_US) /
		US_PER_MS;
	if (idle_ms > INT_MAX)
		idle_ms = INT_MAX;
	struct timeouts t;
	snprintf(t.statement_ms, sizeof t.statement_ms, "%lld", (long long)ms);
	snprintf(t.idle_ms, sizeof t.idle_ms, "%lld", (long long)idle_ms);
	return t;
}

/* Runs a constant statement about the session itself; nothing in it can commit anything. */
static enum err run_session(
	struct db_conn *c, const char *sql, const char *const *values, int n, PGresult **ret)
{
	if (!PQsendQueryParams(c->pg, sql, n, NULL, values, NULL, NULL, 0))
		return connection_lost(c, false, "", PQerrorMessage(c->pg));
	return finish_query(c, false, "session", ret);
}

/* jit would cost more than it gains on statements of milliseconds. */
#define TIMEOUTS(local)                                                                                      \
	"set_config('statement_timeout', $1, " local "), set_config('lock_timeout', $1, " local "),"         \
	" set_config('idle_in_transaction_session_timeout', $2, " local ")"
#define SETTINGS(local)                                                                                      \
	"set_config('TimeZone', 'UTC', " local "), set_config('DateStyle', 'ISO, YMD', " local "),"          \
	" set_config('IntervalStyle', 'iso_8601', " local "), set_config('bytea_output', 'hex', " local ")," \
	" set_config('standard_conforming_strings', 'on', " local "),"                                       \
	" set_config('synchronous_commit', 'on', " local "),"                                                \
	" set_config('client_min_messages', 'warning', " local "), set_config('jit', 'off', " local "),"     \
	" " TIMEOUTS(local)
#define PROMISES                                                                                             \
	"current_setting('server_encoding'), current_setting('fsync'), current_setting('full_page_writes')"

/* One round trip after connecting instead of startup options, which PgBouncer refuses. */
static const char SESSION_SQL[] =
	"SELECT " PROMISES
	", set_config('default_transaction_isolation', 'read committed', false), " SETTINGS("false");
static const char TIMEOUTS_SQL[] = "SELECT " TIMEOUTS("false");

static const char POOLED_LOOK_SQL[] = "SELECT " PROMISES;
static const struct db_stmt POOLED_BEGIN = {"pooled_begin", "BEGIN ISOLATION LEVEL READ COMMITTED"};
static const struct db_stmt POOLED_SETTINGS = {"pooled_settings", "SELECT " SETTINGS("true")};
static const struct db_stmt POOLED_COMMIT = {"pooled_commit", "COMMIT"};

static enum err tell_timeouts(struct db_conn *c, const char *sql, PGresult **ret)
{
	const struct timeouts t = timeouts_of(c->statement_us);
	const char *const values[] = {t.statement_ms, t.idle_ms};
	const enum err e = run_session(c, sql, values, 2, ret);
	if (e == ERR_OK)
		c->server_statement_us = c->statement_us;
	return e;
}

/* What this server must be able to promise about its answers needs these of PostgreSQL. */
static const char *session_defect(const PGresult *r)
{
	if (db_rows(r) != 1)
		return "the session could not be set up";
	if (strcmp(db_text(r, 0, 0), "UTF8") != 0)
		return "the database's encoding is not UTF8";
	if (strcmp(db_text(r, 0, 1), "on") != 0)
		return "fsync is off: acknowledged events could be lost";
	if (strcmp(db_text(r, 0, 2), "on") != 0)
		return "full_page_writes is off: acknowledged events could be lost";
	return NULL;
}

static enum err set_up_session(struct db_conn *c)
{
	PGresult *r = NULL;
	const enum err e =
		c->pooled ? run_session(c, POOLED_LOOK_SQL, NULL, 0, &r) : tell_timeouts(c, SESSION_SQL, &r);
	if (e != ERR_OK) {
		close_connection(c);
		back_off(c);
		return ERR_DATABASE_UNAVAILABLE;
	}
	const char *const defect = session_defect(r);
	PQclear(r);
	if (!defect)
		return ERR_OK;
	if (!c->down)
		LOG_ERROR("database refused", LOG_S("reason", defect));
	c->down = true; /* that line says it */
	return connect_failed(c, defect);
}

static enum err connect_within(struct db_conn *c, int64_t limit_us)
{
	const int64_t now_us = clock_mono_us();
	if (!may_connect(c, now_us))
		return ERR_DATABASE_UNAVAILABLE;
	const int64_t deadline_us =
		now_us + (limit_us < c->settings.connect_us ? limit_us : c->settings.connect_us);
	enum err e = handshake(c, deadline_us);
	if (e != ERR_OK)
		return e;
	const int64_t call_deadline_us = c->deadline_us;
	c->deadline_us = deadline_us;
	e = set_up_session(c);
	c->deadline_us = call_deadline_us;
	if (e != ERR_OK)
		return e;
	metric_add(METRIC_DB_CONNECTS, 1);
	metric_add(METRIC_DB_CONNECTIONS, 1);
	c->counted = true;
	c->backoff_us = 0;
	c->not_before_us = 0;
	open_gate(c);
	clear_failure(c);
	if (c->down)
		LOG_INFO("database recovered", LOG_S("connection", c->settings.application_name));
	c->down = false;
	return ERR_OK;
}

/* Finds out about a connection that ended while it was idle, before a statement is lost on it. */
static void drop_if_dead(struct db_conn *c)
{
	/* the farewell message, then the end of the stream */
	for (int i = 0; c->pg && i < 3; i++) {
		struct pollfd fd = {.fd = PQsocket(c->pg), .events = POLLIN};
		if (fd.fd >= 0 && poll(&fd, 1, 0) == 0)
			return;
		if (fd.fd < 0 || !PQconsumeInput(c->pg) || PQstatus(c->pg) == CONNECTION_BAD) {
			connection_lost(c, false, "", PQerrorMessage(c->pg));
			return;
		}
		PQisBusy(c->pg); /* parses what came */
	}
}

static enum err drop_stale_statements(struct db_conn *c)
{
	const enum err e = run_session(c, "DEALLOCATE ALL", NULL, 0, NULL);
	if (e != ERR_OK)
		return e;
	forget_prepared(c);
	c->prepared_stale = false;
	return ERR_OK;
}

/* The deadline's rest for somebody who has waited, and at least so much. */
static int64_t left_of_deadline(const struct db_conn *c, int64_t at_least_us)
{
	const int64_t left_us = c->statement_us - c->waited_us;
	if (left_us > at_least_us)
		return left_us;
	return at_least_us < c->statement_us ? at_least_us : c->statement_us;
}

/* Everything before the first byte of a call: its deadline, a live connection, a session as it should be. */
static enum err call_begin(struct db_conn *c)
{
	c->deadline_us = clock_mono_us() + left_of_deadline(c, c->statement_us / 4);
	if (c->in_transaction)
		return c->pg ? ERR_OK : ERR_DATABASE_UNAVAILABLE;
	drop_if_dead(c);
	if (!c->pg) {
		/* where one hangs that was lost, others hang: no time to lose with it */
		const enum err e = connect_within(c, left_of_deadline(c, CONNECT_MIN_US));
		if (e != ERR_OK)
			return e;
	}
	clear_failure(c);
	if (c->prepared_stale) {
		const enum err e = drop_stale_statements(c);
		if (e != ERR_OK)
			return e;
	}
	if (!c->pooled && c->server_statement_us != c->statement_us)
		return tell_timeouts(c, TIMEOUTS_SQL, NULL);
	return ERR_OK;
}

struct db_conn *db_conn_new(const struct db_settings *settings)
{
	struct db_conn *const c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->settings = *settings;
	c->pooled = !settings->prepare;
	c->statement_us = settings->statement_us;
	return c;
}

void db_conn_free(struct db_conn *c)
{
	if (!c)
		return;
	close_connection(c);
	free(c);
}

int64_t db_conn_set_deadline(struct db_conn *c, int64_t statement_us)
{
	const int64_t before_us = c->statement_us;
	c->statement_us = statement_us;
	return before_us;
}

void db_conn_set_waited(struct db_conn *c, int64_t waited_us)
{
	c->waited_us = waited_us;
}

enum err db_conn_ready(struct db_conn *c)
{
	if (c->in_transaction)
		return c->pg ? ERR_OK : ERR_DATABASE_UNAVAILABLE;
	drop_if_dead(c);
	if (c->pg)
		return ERR_OK;
	const int64_t connect_us = c->settings.connect_us;
	return connect_within(c, c->statement_us < connect_us ? c->statement_us : connect_us);
}

uint64_t db_conn_number(const struct db_conn *c)
{
	return c->number;
}

bool db_conn_connected(const struct db_conn *c)
{
	return c->pg && PQstatus(c->pg) == CONNECTION_OK;
}

void db_conn_drop(struct db_conn *c)
{
	close_connection(c);
}

PGconn *db_conn_raw(struct db_conn *c)
{
	return c->pg;
}

const char *db_last_sqlstate(const struct db_conn *c)
{
	return c->sqlstate;
}

const char *db_last_message(const struct db_conn *c)
{
	return c->message;
}

/* ---- statements ---- */

static bool sql_begins_with(const char *sql, const char *word)
{
	return strncasecmp(sql, word, strlen(word)) == 0;
}

/* Whether a loss while this runs leaves open what was committed. *open: whether a transaction is open, before
 * and after. */
static bool sql_commits(const char *sql, bool *open)
{
	if (sql_begins_with(sql, "BEGIN")) {
		*open = true;
		return false;
	}
	if (sql_begins_with(sql, "ROLLBACK") && !sql_begins_with(sql, "ROLLBACK TO")) {
		*open = false;
		return false;
	}
	if (!sql_begins_with(sql, "COMMIT"))
		return !*open;
	*open = false;
	return true;
}

/* COMMIT of a failed transaction "succeeds" with the tag ROLLBACK. */
static enum err check_commit(struct db_conn *c, const char *sql, PGresult *r)
{
	if (!sql_begins_with(sql, "COMMIT") || strcmp(PQcmdStatus(r), "COMMIT") == 0)
		return ERR_OK;
	note_failure(c, "25P02", "COMMIT of a failed transaction");
	LOG_ERROR("database statement failed", LOG_S("statement", "COMMIT"), LOG_S("reason", c->message));
	return ERR_INTERNAL;
}

static enum err run_simple(struct db_conn *c, const char *sql, bool commits, PGresult **ret)
{
	if (!PQsendQuery(c->pg, sql))
		return connection_lost(c, commits, "", PQerrorMessage(c->pg));
	return finish_query(c, commits, "script", ret);
}

static bool is_prepared(const struct db_conn *c, const struct db_stmt *stmt)
{
	struct prepared *p = NULL;
	HASH_FIND_PTR(c->prepared, &stmt->name, p);
	return p != NULL;
}

static enum err remember_prepared(struct db_conn *c, const struct db_stmt *stmt)
{
	struct prepared *const p = calloc(1, sizeof *p);
	if (!p)
		return ERR_NO_MEMORY;
	p->name = stmt->name;
	HASH_ADD_PTR(c->prepared, name, p);
	if (is_prepared(c, stmt))
		return ERR_OK;
	free(p);
	return ERR_NO_MEMORY;
}

/* The server knows the statement but we could not note it: start over with a clean session. */
static enum err prepared_unnoted(struct db_conn *c)
{
	return connection_lost(c, false, "", "out of memory");
}

static enum err prepare(struct db_conn *c, const struct db_stmt *stmt)
{
	if (is_prepared(c, stmt))
		return ERR_OK;
	/* The server cuts names at 63 bytes, and two cut names could be one. */
	CHECK(strlen(stmt->name) < 64);
	if (!PQsendPrepare(c->pg, stmt->name, stmt->sql, 0, NULL))
		return connection_lost(c, false, "", PQerrorMessage(c->pg));
	const enum err e = finish_query(c, false, stmt->name, NULL);
	if (e != ERR_OK)
		return e;
	return remember_prepared(c, stmt) == ERR_OK ? ERR_OK : prepared_unnoted(c);
}

static int send_statement(struct db_conn *c, const struct db_stmt *stmt, const struct db_params *p)
{
	const int n = p ? p->n : 0;
	const char *const *const values = p ? p->values : NULL;
	const int *const lengths = p ? p->lengths : NULL, *const formats = p ? p->formats : NULL;
	if (c->settings.prepare)
		return PQsendQueryPrepared(c->pg, stmt->name, n, values, lengths, formats, 0);
	return PQsendQueryParams(c->pg, stmt->sql, n, NULL, values, lengths, formats, 0);
}

static void log_stale(const struct db_conn *c, const struct db_stmt *stmt)
{
	LOG_ERROR("database statement failed", LOG_S("statement", stmt->name), LOG_S("sqlstate", c->sqlstate),
		LOG_S("reason", c->message));
}

/* ---- pipelines ---- */

struct pipeline {
	const struct db_stmt *const *stmts;
	const struct db_params *const *params;
	size_t n;
	bool commits; /* something in it may commit */
	struct {
		size_t stmt;
		enum { RUNS, PREPARES, OURS } what; /* OURS: of the transaction around it */
	} commands[2 * PIPELINE_MAX + 3];
	size_t n_commands;
	PGresult *got[PIPELINE_MAX]; /* owned, by statement */
	PGresult *error;	     /* owned; the first */
	size_t failed_stmt;
	bool unnoted; /* a name that the server knows could not be remembered */
	bool wrapped; /* in a transaction of its own */
};

static bool sent_earlier(const struct pipeline *p, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (p->stmts[k]->name == p->stmts[i]->name)
			return true;
	return false;
}

/* How BEGIN is to be sent: a pooled session may have another isolation level by default. */
static const struct db_stmt *begin_of(const struct db_conn *c, const struct db_stmt *stmt)
{
	return c->pooled && sql_begins_with(stmt->sql, "BEGIN") ? &POOLED_BEGIN : stmt;
}

static bool send_ours(
	struct db_conn *c, struct pipeline *p, const struct db_stmt *stmt, const struct db_params *params)
{
	p->commands[p->n_commands].stmt = 0;
	p->commands[p->n_commands++].what = OURS;
	return send_statement(c, stmt, params) != 0;
}

static bool send_settings(struct db_conn *c, struct pipeline *p)
{
	const struct timeouts t = timeouts_of(c->statement_us);
	const struct db_params params = {.values = {t.statement_ms, t.idle_ms}, .n = 2};
	c->number++; /* whoever runs it need not be who ran the one before */
	return send_ours(c, p, &POOLED_SETTINGS, &params);
}

static bool send_one(struct db_conn *c, struct pipeline *p, size_t i, bool *open)
{
	const struct db_stmt *const stmt = begin_of(c, p->stmts[i]);
	/* Outside a transaction a statement commits at the sync. */
	p->commits |= sql_commits(stmt->sql, open);
	if (c->settings.prepare && !is_prepared(c, stmt) && !sent_earlier(p, i)) {
		CHECK(strlen(stmt->name) < 64);
		p->commands[p->n_commands].stmt = i;
		p->commands[p->n_commands++].what = PREPARES;
		if (!PQsendPrepare(c->pg, stmt->name, stmt->sql, 0, NULL))
			return false;
	}
	p->commands[p->n_commands].stmt = i;
	p->commands[p->n_commands++].what = RUNS;
	return send_statement(c, stmt, p->params ? p->params[i] : NULL) != 0;
}

static bool send_pipeline(struct db_conn *c, struct pipeline *p)
{
	bool open = c->in_transaction;
	const bool begins = sql_begins_with(p->stmts[0]->sql, "BEGIN");
	p->wrapped = c->pooled && !open && !begins;
	if (p->wrapped && (!send_ours(c, p, &POOLED_BEGIN, NULL) || !send_settings(c, p)))
		return false;
	for (size_t i = 0; i < p->n; i++) {
		if (!send_one(c, p, i, &open) || (i == 0 && begins && c->pooled && !send_settings(c, p)))
			return false;
	}
	if (p->wrapped && !send_ours(c, p, &POOLED_COMMIT, NULL))
		return false;
	return PQpipelineSync(c->pg) != 0;
}

static void take_result(struct db_conn *c, struct pipeline *p, size_t command, PGresult *r)
{
	const bool known = command < p->n_commands;
	const size_t i = known ? p->commands[command].stmt : p->n - 1;
	if (!result_ok(r)) {
		if (PQresultStatus(r) == PGRES_PIPELINE_ABORTED || p->error) {
			PQclear(r);
			return;
		}
		p->error = r;
		p->failed_stmt = i;
	} else if (known && p->commands[command].what != RUNS) {
		if (p->commands[command].what == PREPARES)
			p->unnoted |= remember_prepared(c, p->stmts[i]) != ERR_OK;
		PQclear(r);
	} else {
		PQclear(p->got[i]);
		p->got[i] = r;
	}
}

/* Reads to the sync. Results of one command end with a NULL; two in a row mean that libpq has nothing more.
 */
static enum wait_result read_pipeline(struct db_conn *c, struct pipeline *p)
{
	size_t command = 0;
	bool ended = false;
	for (;;) {
		PGresult *r = NULL;
		const enum wait_result w = next_result(c, &r);
		if (w != WAIT_READY)
			return w;
		if (!r && ended)
			return WAIT_BROKEN;
		ended = !r;
		if (!r) {
			command++;
			continue;
		}
		if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
			PQclear(r);
			return WAIT_READY;
		}
		take_result(c, p, command, r);
	}
}

static enum err pipeline_failed(struct db_conn *c, const struct pipeline *p)
{
	const struct db_stmt *const stmt = p->stmts[p->failed_stmt];
	const enum err e = statement_failed(c, p->error, p->commits, stmt->name);
	if (e != ERR_INTERNAL || !is_stale_statement(c))
		return e;
	log_stale(c, stmt);
	if (c->pooled) /* nothing is prepared that could be stale */
		return e;
	c->prepared_stale = true;
	return ERR_DB_RETRY;
}

/* A statement that failed has left the transaction around it open. */
static void end_wrapped(struct db_conn *c)
{
	if (c->pg && PQtransactionStatus(c->pg) != PQTRANS_IDLE &&
		run_simple(c, "ROLLBACK", false, NULL) != ERR_OK)
		close_connection(c);
	c->in_transaction = false;
}

static enum err exchange_pipeline(struct db_conn *c, struct pipeline *p)
{
	if (!PQenterPipelineMode(c->pg) || !send_pipeline(c, p))
		return connection_lost(c, p->commits, "", PQerrorMessage(c->pg));
	enum wait_result w = flush_all(c);
	if (w == WAIT_READY)
		w = read_pipeline(c, p);
	enum err e = ERR_OK;
	if (p->error)
		e = pipeline_failed(c, p);
	else if (w != WAIT_READY)
		e = wait_failed(c, w, p->commits);
	for (size_t i = 0; e == ERR_OK && i < p->n; i++)
		e = check_commit(c, p->stmts[i]->sql, p->got[i]);
	note_transaction(c);
	if (c->pg && (w != WAIT_READY || !PQexitPipelineMode(c->pg)))
		connection_lost(c, false, "", PQerrorMessage(c->pg));
	else if (c->pg && p->unnoted)
		close_connection(c);
	/* A transaction that is still open has ended with its connection, whatever its statements said: who
	 * went on would store the rest of it outside. */
	if (e == ERR_OK && !c->pg && c->in_transaction)
		e = ERR_DATABASE_UNAVAILABLE;
	if (p->wrapped)
		end_wrapped(c);
	return e;
}

/* ---- single statements ---- */

static enum err run_pooled(
	struct db_conn *c, const struct db_stmt *stmt, const struct db_params *params, PGresult **ret)
{
	struct pipeline p = {.stmts = &stmt, .params = &params, .n = 1};
	const enum err e = exchange_pipeline(c, &p);
	PQclear(p.error);
	if (e == ERR_OK && ret)
		*ret = p.got[0];
	else
		PQclear(p.got[0]);
	return e;
}

static enum err run_once(
	struct db_conn *c, const struct db_stmt *stmt, const struct db_params *params, PGresult **ret)
{
	if (c->settings.prepare) {
		const enum err e = prepare(c, stmt);
		if (e != ERR_OK)
			return e;
	}
	bool open = c->in_transaction;
	const bool commits = sql_commits(stmt->sql, &open);
	if (!send_statement(c, stmt, params))
		return connection_lost(c, commits, "", PQerrorMessage(c->pg));
	PGresult *r = NULL;
	enum err e = finish_query(c, commits, stmt->name, &r);
	if (e == ERR_OK)
		e = check_commit(c, stmt->sql, r);
	if (e == ERR_OK && ret)
		*ret = r;
	else
		PQclear(r);
	return e;
}

static bool params_incomplete(const struct db_params *p)
{
	/* A text that found no memory is NULL, and must not become SQL NULL. */
	return p && p->arena && arena_overflowed(p->arena);
}

enum err db_run(
	struct db_conn *c, const struct db_stmt *stmt, const struct db_params *params, PGresult **ret_result)
{
	if (params_incomplete(params))
		return ERR_NO_MEMORY;
	enum err e = call_begin(c);
	if (e != ERR_OK)
		return e;
	const bool in_transaction = c->in_transaction;
	if (c->pooled && !in_transaction)
		return run_pooled(c, stmt, params, ret_result);
	e = run_once(c, stmt, params, ret_result);
	if (c->pooled && e == ERR_INTERNAL && is_stale_statement(c))
		log_stale(c, stmt);
	if (c->pooled || e != ERR_INTERNAL || !is_stale_statement(c) || !c->pg)
		return e;
	c->prepared_stale = true;
	if (in_transaction)
		return ERR_DB_RETRY;
	e = drop_stale_statements(c);
	if (e == ERR_OK)
		e = run_once(c, stmt, params, ret_result);
	if (e == ERR_INTERNAL && is_stale_statement(c))
		log_stale(c, stmt);
	return e;
}

enum err db_run_row(
	struct db_conn *c, const struct db_stmt *stmt, const struct db_params *params, PGresult **ret_result)
{
	PGresult *r = NULL;
	const enum err e = db_run(c, stmt, params, &r);
	if (e != ERR_OK)
		return e;
	const bool found = db_rows(r) > 0;
	if (found && ret_result)
		*ret_result = r;
	else
		PQclear(r);
	return found ? ERR_OK : ERR_NOT_FOUND;
}

/* ---- transactions ---- */

enum err db_begin(struct db_conn *c)
{
	if (c->in_transaction)
		db_rollback(c);
	const enum err e = call_begin(c);
	if (e != ERR_OK)
		return e;
	return c->pooled ? run_pooled(c, &POOLED_BEGIN, NULL, NULL) : run_simple(c, "BEGIN", false, NULL);
}

enum err db_begin_snapshot(struct db_conn *c)
{
	if (c->in_transaction)
		db_rollback(c);
	const enum err e = call_begin(c);
	/* Behind a pooler too: the settings of the other transactions matter to writers only, and setting
	 * them would take the snapshot before the isolation is known. */
	return e == ERR_OK ? run_simple(c, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", false, NULL)
			   : e;
}

enum err db_commit(struct db_conn *c)
{
	CHECK(c->in_transaction);
	enum err e = call_begin(c);
	if (e != ERR_OK) {
		c->in_transaction = false;
		return e;
	}
	PGresult *r = NULL;
	e = run_simple(c, "COMMIT", true, &r);
	if (e == ERR_OK)
		e = check_commit(c, "COMMIT", r);
	PQclear(r);
	return e;
}

void db_rollback(struct db_conn *c)
{
	const bool was_open = c->in_transaction;
	c->in_transaction = false;
	if (!c->pg)
		return;
	const PGTransactionStatusType s = PQtransactionStatus(c->pg);
	if (s == PQTRANS_IDLE)
		return;
	c->deadline_us = clock_mono_us() + c->statement_us;
	/* In the middle of a copy or of anything else, a new connection is the only clean state. */
	if (!was_open || (s != PQTRANS_INTRANS && s != PQTRANS_INERROR) ||
		run_simple(c, "ROLLBACK", false, NULL) != ERR_OK)
		close_connection(c);
	c->in_transaction = false;
}

static void pause_before_retry(int attempt)
{
	uint32_t random;
	random_bytes(&random, sizeof random);
	const int64_t us = US_PER_MS + (int64_t)random % (10 * US_PER_MS * attempt);
	const struct timespec t = {.tv_nsec = us * 1000};
	nanosleep(&t, NULL);
}

enum err db_transaction(struct db_conn *c, enum err (*body)(struct db_conn *c, void *arg), void *arg)
{
	for (int attempt = 1; attempt <= TRANSACTION_ATTEMPTS; attempt++) {
		enum err e = db_begin(c);
		if (e != ERR_OK)
			return e;
		e = body(c, arg);
		if (e == ERR_OK)
			e = db_commit(c);
		else
			db_rollback(c);
		if (e != ERR_DB_RETRY)
			return e;
		if (attempt < TRANSACTION_ATTEMPTS)
			pause_before_retry(attempt);
	}
	metric_add(METRIC_DB_ERRORS, 1);
	return ERR_DATABASE_UNAVAILABLE;
}

struct script {
	const char *sql;
};

static enum err run_script(struct db_conn *c, void *arg)
{
	const struct script *const script = arg;
	return run_simple(c, script->sql, false, NULL);
}

enum err db_script(struct db_conn *c, const char *sql)
{
	struct script script = {sql};
	if (c->pooled && !c->in_transaction)
		return db_transaction(c, run_script, &script);
	const enum err e = call_begin(c);
	if (e != ERR_OK)
		return e;
	return run_simple(c, sql, !c->in_transaction, NULL);
}

/* ---- COPY ---- */

#define COPY_BEGIN "BEGIN; "

/* What is sent after the settings of a pooled session. */
static enum err pooled_copy_begin(struct db_conn *c, const char *sql)
{
	const bool begins = sql_begins_with(sql, COPY_BEGIN);
	/* the end of a copy that is a transaction by itself would commit with somebody else's settings */
	CHECK(begins || c->in_transaction);
	const enum err e = begins ? db_begin(c) : call_begin(c);
	return e != ERR_OK ? e : run_simple(c, begins ? sql + strlen(COPY_BEGIN) : sql, false, NULL);
}

enum err db_copy_begin(struct db_conn *c, const char *sql)
{
	if (c->pooled)
		return pooled_copy_begin(c, sql);
	const bool begins = sql_begins_with(sql, "BEGIN");
	if (begins && c->in_transaction)
		db_rollback(c);
	const enum err e = call_begin(c);
	if (e != ERR_OK)
		return e;
	bool open = c->in_transaction;
	const bool commits = sql_commits(sql, &open);
	c->in_transaction = open;
	return run_simple(c, sql, commits, NULL);
}

/* One piece into libpq and on its way; WAIT_BROKEN also when the server has ended the copy with an error. */
static enum wait_result copy_piece(struct db_conn *c, const char *data, int n)
{
	for (;;) {
		const int queued = PQputCopyData(c->pg, data, n);
		if (queued < 0)
			return WAIT_BROKEN;
		const enum wait_result w = flush_all(c);
		if (w != WAIT_READY || queued > 0)
			return w;
	}
}

static enum wait_result copy_end(struct db_conn *c)
{
	for (;;) {
		const int queued = PQputCopyEnd(c->pg, NULL);
		if (queued < 0)
			return WAIT_BROKEN;
		if (queued > 0)
			return WAIT_READY;
		const enum wait_result w = flush_all(c);
		if (w != WAIT_READY)
			return w;
	}
}

enum err db_copy_send(struct db_conn *c, const char *data, size_t n)
{
	if (!c->pg)
		return ERR_DATABASE_UNAVAILABLE;
	c->deadline_us = clock_mono_us() + c->statement_us;
	const bool commits = !c->in_transaction;
	enum wait_result w = WAIT_READY;
	for (size_t sent = 0; sent < n && w == WAIT_READY;) {
		const size_t piece = n - sent < COPY_CHUNK_BYTES ? n - sent : COPY_CHUNK_BYTES;
		w = copy_piece(c, data + sent, (int)piece);
		sent += piece;
	}
	if (w == WAIT_READY)
		w = copy_end(c);
	/* Before the end of the data is sent, nothing of it can be committed. */
	if (w == WAIT_DEADLINE || (w == WAIT_BROKEN && PQstatus(c->pg) == CONNECTION_BAD))
		return wait_failed(c, w, false);
	PGresult *r = NULL;
	enum err e = finish_query(c, commits, "copy", &r);
	/* libpq gave up on the data without a word of the server: its end was never sent. */
	if (e == ERR_OK && is_copy(r))
		e = connection_lost(c, false, "", "copy interrupted");
	PQclear(r);
	return e;
}

enum err db_pipeline(struct db_conn *c, const struct db_stmt *const *stmts,
	const struct db_params *const *params, size_t n, PGresult **results)
{
	CHECK(n > 0 && n <= PIPELINE_MAX);
	for (size_t i = 0; params && i < n; i++)
		if (params_incomplete(params[i]))
			return ERR_NO_MEMORY;
	enum err e = call_begin(c);
	if (e != ERR_OK)
		return e;
	struct pipeline p = {.stmts = stmts, .params = params, .n = n};
	e = exchange_pipeline(c, &p);
	PQclear(p.error);
	for (size_t i = 0; i < n; i++) {
		if (e == ERR_OK && results)
			results[i] = p.got[i];
		else
			PQclear(p.got[i]);
	}
	return e;
}
