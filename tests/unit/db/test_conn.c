/* The connection against a real PostgreSQL: values, error mapping, deadlines, losses, transactions, COPY,
 * pipelines. */

#include <check.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "../../support/pg_test.h"
#include "llmlab/base/metrics.h"

#define DEADLINE_US (300 * US_PER_MS)
/* A deadline may be missed by what a loaded machine needs to wake us. */
#define SLACK_US (700 * US_PER_MS)

static struct db_conn *c, *other;
static struct arena arena;
static struct db_params params;

static const struct db_stmt SELECT_ONE = {"select_one", "SELECT 1"};
static const struct db_stmt SLEEP = {"sleep", "SELECT pg_sleep(30)"};
static const struct db_stmt KILL_SELF = {"kill_self", "SELECT pg_terminate_backend(pg_backend_pid())"};
static const struct db_stmt INSERT = {"insert", "INSERT INTO t (id) VALUES ($1)"};
static const struct db_stmt COUNT = {"count", "SELECT count(*) FROM t"};
static const struct db_stmt BEGIN = {"begin", "BEGIN"};
static const struct db_stmt COMMIT = {"commit", "COMMIT"};

static void setup(void)
{
	arena_init(&arena, 1024 * 1024);
	db_params_init(&params, &arena);
	c = pg_test_conn(pg_test.url, 5 * US_PER_SECOND);
	other = pg_test_conn(pg_test.url, 5 * US_PER_SECOND);
	/* a backend whose client gave up may still sleep, with its locks */
	pg_test_sql(other, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
			   " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'");
	pg_test_sql(other,
		"DROP TABLE IF EXISTS t, d; CREATE TABLE t (id bigint PRIMARY KEY CHECK (id < 1000));"
		"CREATE TABLE d (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)");
}

static void teardown(void)
{
	db_conn_free(c);
	db_conn_free(other);
	arena_release(&arena);
}

static int64_t count_rows(void)
{
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(other, &COUNT, NULL, &r), ERR_OK);
	const int64_t n = db_i64(r, 0, 0);
	PQclear(r);
	return n;
}

static enum err insert_by(struct db_conn *conn, int64_t id)
{
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_i64(&p, id);
	return db_run(conn, &INSERT, &p, NULL);
}

static enum err insert(int64_t id)
{
	return insert_by(c, id);
}

/* The server's own timeout out of the way, so that ours must do it. */
static void without_server_timeout(void)
{
	db_conn_set_deadline(c, DEADLINE_US);
	pg_test_sql(c, "SET statement_timeout = 0");
}

/* ---- values ---- */

static const struct db_stmt ECHO_TEXT = {"echo_text", "SELECT $1::text, $2::text"};

START_TEST(db_run_text_parameters_come_back_with_null)
{
	PGresult *r = NULL;
	db_param_text(&params, "Zürich \"'\\ \n");
	db_param_text(&params, NULL);
	ck_assert_int_eq(db_run(c, &ECHO_TEXT, &params, &r), ERR_OK);
	ck_assert_int_eq(db_rows(r), 1);
	ck_assert_str_eq(db_text(r, 0, 0), "Zürich \"'\\ \n");
	ck_assert(db_is_null(r, 0, 1));
	ck_assert_ptr_null(db_text(r, 0, 1));
	PQclear(r);
}
END_TEST

static const struct db_stmt ECHO_I64 = {
	"echo_i64", "SELECT $1::bigint, $2::bigint, NULL::bigint, sum(x) FROM unnest(ARRAY[$1::bigint]) x"};

START_TEST(db_run_integers_at_their_limits_come_back)
{
	PGresult *r = NULL;
	db_param_i64(&params, INT64_MAX);
	db_param_i64(&params, -INT64_MAX);
	ck_assert_int_eq(db_run(c, &ECHO_I64, &params, &r), ERR_OK);
	ck_assert_int_eq(db_i64(r, 0, 0), INT64_MAX);
	ck_assert_int_eq(db_i64(r, 0, 1), -INT64_MAX);
	ck_assert_int_eq(db_i64(r, 0, 2), 0);
	ck_assert_int_eq(db_i64(r, 0, 3), INT64_MAX);
	PQclear(r);
}
END_TEST

static const struct db_stmt ECHO_MONEY = {"echo_money",
	"SELECT $1::numeric, $1::numeric * 3, $1::numeric::text, NULL::numeric, 0.060000::numeric"};

START_TEST(db_run_money_is_exact_to_the_last_atto)
{
	/* 123456789012.000000000000000001 USD = 123456789012 x 10^18 + 1 atto; three times it ends in 3 */
	const int128 one = decimal_pow10(18) * 123456789012LL + 1;
	PGresult *r = NULL;
	db_param_money(&params, (struct money){one});
	ck_assert_int_eq(db_run(c, &ECHO_MONEY, &params, &r), ERR_OK);
	ck_assert(db_money(r, 0, 0).atto == one);
	ck_assert(db_money(r, 0, 1).atto == one * 3);
	ck_assert_str_eq(db_text(r, 0, 2), "123456789012.000000000000000001");
	ck_assert(db_money(r, 0, 3).atto == 0);
	/* 0.06 USD = 6 x 10^16 atto */
	ck_assert(db_money(r, 0, 4).atto == 6 * decimal_pow10(16));
	PQclear(r);
}
END_TEST

static const struct db_stmt ECHO_SUM = {"echo_sum",
	"SELECT 170141183460469231731.687303715884105727::numeric, "
	"170141183460469231731.687303715884105728::numeric, "
	"NULL::numeric, -0.5::numeric"};

START_TEST(db_sum_is_exact_up_to_128_bits_and_refuses_more)
{
	/* 2^127 - 1 atto-USD, and one more */
	PGresult *r = NULL;
	struct money m = {7};
	ck_assert_int_eq(db_run(c, &ECHO_SUM, &params, &r), ERR_OK);
	ck_assert_int_eq(db_sum(r, 0, 1, &m), ERR_RANGE);
	ck_assert(m.atto == 7);
	ck_assert_int_eq(db_sum(r, 0, 0, &m), ERR_OK);
	ck_assert(m.atto == DECIMAL_MAX);
	ck_assert_int_eq(db_sum(r, 0, 2, &m), ERR_OK);
	ck_assert(m.atto == 0);
	ck_assert_int_eq(db_sum(r, 0, 3, &m), ERR_OK);
	ck_assert(m.atto == -5 * decimal_pow10(17));
	PQclear(r);
}
END_TEST

static const struct db_stmt SOME_ROWS = {"some_rows", "SELECT n FROM generate_series(1, $1::integer) AS n"};

START_TEST(db_run_row_of_none_is_not_found_and_gives_nothing)
{
	PGresult *r = NULL;
	db_param_i64(&params, 0);
	ck_assert_int_eq(db_run_row(c, &SOME_ROWS, &params, &r), ERR_NOT_FOUND);
	ck_assert_ptr_null(r);
	ck_assert_int_eq(db_run_row(c, &SOME_ROWS, &params, NULL), ERR_NOT_FOUND);
	db_params_init(&params, params.arena);
	db_param_i64(&params, 2);
	ck_assert_int_eq(db_run_row(c, &SOME_ROWS, &params, &r), ERR_OK);
	ck_assert_int_eq(db_rows(r), 2);
	PQclear(r);
	ck_assert_int_eq(db_run_row(c, &SOME_ROWS, &params, NULL), ERR_OK);
}
END_TEST

static const struct db_stmt ECHO_INSTANT = {"echo_instant",
	"SELECT $1::timestamptz, extract(epoch FROM $1::timestamptz)::text, $2::timestamptz, "
	"$3::boolean, $4::uuid, $5::uuid IS NULL"};

START_TEST(db_run_instants_booleans_and_uuids_come_back)
{
	const struct uuid id = uuid_v7(1767225600000);
	PGresult *r = NULL;
	db_param_instant(&params, 1767225600123456); /* 2026-01-01T00:00:00.123456Z */
	db_param_instant(&params, 1767225600000000);
	db_param_bool(&params, true);
	db_param_uuid(&params, &id);
	db_param_uuid(&params, NULL);
	ck_assert_int_eq(db_run(c, &ECHO_INSTANT, &params, &r), ERR_OK);
	ck_assert_int_eq(db_instant(r, 0, 0), 1767225600123456);
	ck_assert_str_eq(db_text(r, 0, 1), "1767225600.123456");
	ck_assert_int_eq(db_instant(r, 0, 2), 1767225600000000);
	ck_assert(db_bool(r, 0, 3));
	const struct uuid back = db_uuid(r, 0, 4);
	ck_assert(uuid_equal(&back, &id));
	ck_assert(db_bool(r, 0, 5));
	PQclear(r);
}
END_TEST

static const struct db_stmt ECHO_ARRAYS = {"echo_arrays",
	"SELECT cardinality(a), a[1], a[2], a[3] IS NULL, a[4], i[1], i[3], cardinality($3::bigint[]), "
	"cardinality($4::text[])"
	" FROM (SELECT $1::text[] a, $2::bigint[] i) x"};

START_TEST(db_run_arrays_come_back_element_by_element)
{
	const char *const texts[] = {"a,b{}\"\\", "", NULL, "NULL"};
	const int64_t ints[] = {-9223372036854775807LL, 0, INT64_MAX};
	PGresult *r = NULL;
	db_param_text_array(&params, texts, 4);
	db_param_i64_array(&params, ints, 3);
	db_param_i64_array(&params, NULL, 0);
	db_param_text_array(&params, NULL, 0);
	ck_assert_int_eq(db_run(c, &ECHO_ARRAYS, &params, &r), ERR_OK);
	ck_assert_int_eq(db_i64(r, 0, 0), 4);
	ck_assert_str_eq(db_text(r, 0, 1), "a,b{}\"\\");
	ck_assert_str_eq(db_text(r, 0, 2), "");
	ck_assert(db_bool(r, 0, 3));
	ck_assert_str_eq(db_text(r, 0, 4), "NULL");
	ck_assert_int_eq(db_i64(r, 0, 5), -INT64_MAX);
	ck_assert_int_eq(db_i64(r, 0, 6), INT64_MAX);
	ck_assert_int_eq(db_i64(r, 0, 7), 0);
	ck_assert_int_eq(db_i64(r, 0, 8), 0);
	PQclear(r);
}
END_TEST

START_TEST(db_run_overflowed_arena_sends_nothing)
{
	struct arena small;
	arena_init(&small, 1);
	struct db_params p;
	db_params_init(&p, &small);
	db_param_i64(&p, 7);
	ck_assert_int_eq(db_run(c, &INSERT, &p, NULL), ERR_NO_MEMORY);
	ck_assert_int_eq(count_rows(), 0);
	arena_release(&small);
}
END_TEST

/* ---- sessions ---- */

static const struct db_stmt SETTINGS = {"settings",
	"SELECT current_setting('TimeZone'), current_setting('DateStyle'), current_setting('IntervalStyle'),"
	" current_setting('synchronous_commit'), current_setting('statement_timeout'), "
	"current_setting('client_encoding'),"
	" current_setting('application_name')"};

START_TEST(db_run_session_has_our_settings)
{
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(c, &SETTINGS, NULL, &r), ERR_OK);
	ck_assert_str_eq(db_text(r, 0, 0), "UTC");
	ck_assert_str_eq(db_text(r, 0, 1), "ISO, YMD");
	ck_assert_str_eq(db_text(r, 0, 2), "iso_8601");
	ck_assert_str_eq(db_text(r, 0, 3), "on");
	ck_assert_str_eq(db_text(r, 0, 4), "4500ms"); /* nine tenths of 5 s */
	ck_assert_str_eq(db_text(r, 0, 5), "UTF8");
	ck_assert_str_eq(db_text(r, 0, 6), "test");
	PQclear(r);
}
END_TEST

START_TEST(db_conn_set_deadline_reaches_the_server)
{
	PGresult *r = NULL;
	ck_assert_int_eq(db_conn_ready(c), ERR_OK);
	ck_assert_int_eq(db_conn_set_deadline(c, 10 * US_PER_SECOND), 5 * US_PER_SECOND);
	ck_assert_int_eq(db_run(c, &SETTINGS, NULL, &r), ERR_OK);
	ck_assert_str_eq(db_text(r, 0, 4), "9s");
	PQclear(r);
}
END_TEST

START_TEST(db_conn_ready_other_encoding_is_refused)
{
	char url[300];
	pg_test_sql(other, "DROP DATABASE IF EXISTS ascii");
	pg_test_sql(other,
		"CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_CTYPE 'C' LC_COLLATE 'C' TEMPLATE template0");
	snprintf(url, sizeof url, "%s dbname=ascii", pg_test.url);
	struct db_conn *const bad = pg_test_conn(url, US_PER_SECOND);
	ck_assert_int_eq(db_conn_ready(bad), ERR_DATABASE_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(db_last_message(bad), "UTF8"));
	ck_assert(!db_conn_connected(bad));
	db_conn_free(bad);
}
END_TEST

START_TEST(db_conn_ready_nobody_listens_then_backs_off)
{
	struct db_conn *const bad = pg_test_conn("host=/nonexistent", US_PER_SECOND);
	const int64_t before = metric_get(METRIC_DB_ERRORS);
	ck_assert_int_eq(db_conn_ready(bad), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_eq(metric_get(METRIC_DB_ERRORS), before + 1);
	/* inside the window nothing is tried, so nothing is counted */
	ck_assert_int_eq(db_run(bad, &SELECT_ONE, NULL, NULL), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_eq(metric_get(METRIC_DB_ERRORS), before + 1);
	db_conn_free(bad);
}
END_TEST

static struct db_conn *gated_conn(const char *url, struct db_gate *gate)
{
	const struct db_settings settings = {.url = url,
		.statement_us = 5 * US_PER_SECOND,
		.connect_us = 2 * US_PER_SECOND,
		.application_name = "gated",
		.prepare = true,
		.gate = gate};
	struct db_conn *const conn = db_conn_new(&settings);
	ck_assert_ptr_nonnull(conn);
	return conn;
}

START_TEST(db_conn_ready_behind_a_closed_gate_one_tries_for_all)
{
	struct db_gate gate = {0};
	struct db_conn *const first = gated_conn("host=/nonexistent", &gate);
	struct db_conn *const second = gated_conn("host=/nonexistent", &gate);
	struct db_conn *const good = gated_conn(pg_test.url, &gate);
	const int64_t before = metric_get(METRIC_DB_ERRORS);
	ck_assert_int_eq(db_conn_ready(first), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_eq(metric_get(METRIC_DB_ERRORS), before + 1);
	/* closed for all: nothing is tried, so nothing is counted, and even the good one waits */
	gate.next_mono_us = INT64_MAX;
	ck_assert_int_eq(db_conn_ready(second), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_eq(db_conn_ready(good), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_eq(metric_get(METRIC_DB_ERRORS), before + 1);
	/* the moment has come: one tries, and the next moment is later */
	gate.next_mono_us = 1;
	ck_assert_int_eq(db_conn_ready(second), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_eq(metric_get(METRIC_DB_ERRORS), before + 2);
	ck_assert_int_gt(gate.next_mono_us, 1);
	/* one gets through: open for all at once, however often they failed */
	gate.next_mono_us = 1;
	ck_assert_int_eq(db_conn_ready(good), ERR_OK);
	ck_assert_int_eq(gate.next_mono_us, 0);
	ck_assert_int_eq(db_conn_ready(first), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_eq(metric_get(METRIC_DB_ERRORS), before + 3);
	db_conn_free(first);
	db_conn_free(second);
	db_conn_free(good);
}
END_TEST

START_TEST(db_conn_ready_silent_server_ends_at_the_deadline)
{
	char dir[64], url[128];
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	pg_test_make_dir(dir, sizeof dir);
	snprintf(a.sun_path, sizeof a.sun_path, "%s/.s.PGSQL.5432", dir);
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 5) == 0);
	snprintf(url, sizeof url, "host=%s user=x", dir);
	const struct db_settings s = {.url = url, .statement_us = US_PER_SECOND, .connect_us = DEADLINE_US};
	struct db_conn *const bad = db_conn_new(&s);
	const int64_t start = clock_mono_us();
	ck_assert_int_eq(db_conn_ready(bad), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_ge(clock_mono_us() - start, DEADLINE_US);
	ck_assert_int_lt(clock_mono_us() - start, DEADLINE_US + SLACK_US);
	db_conn_free(bad);
	close(fd);
	pg_test_remove_tree(dir);
}
END_TEST

/* Else he would wait twice: for a thread that hung, and for the next one to hang. */
START_TEST(db_run_for_somebody_who_has_waited_soon_gives_up_connecting)
{
	char dir[64], url[128];
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	pg_test_make_dir(dir, sizeof dir);
	snprintf(a.sun_path, sizeof a.sun_path, "%s/.s.PGSQL.5432", dir);
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 5) == 0);
	snprintf(url, sizeof url, "host=%s user=x", dir);
	const int64_t long_us = 120 * US_PER_SECOND; /* the test's own limit is less */
	const struct db_settings s = {.url = url, .statement_us = long_us, .connect_us = long_us};
	struct db_conn *const bad = db_conn_new(&s);
	db_conn_set_waited(bad, long_us);
	ck_assert_int_eq(db_run(bad, &SELECT_ONE, NULL, NULL), ERR_DATABASE_UNAVAILABLE);
	ck_assert_str_eq(db_last_message(bad), "deadline passed");
	db_conn_free(bad);
	close(fd);
	pg_test_remove_tree(dir);
}
END_TEST

/* ---- errors ---- */

START_TEST(db_run_unique_violation_is_duplicate_without_values)
{
	ck_assert_int_eq(insert(77), ERR_OK);
	ck_assert_int_eq(insert(77), ERR_DUPLICATE);
	ck_assert_str_eq(db_last_sqlstate(c), "23505");
	ck_assert_str_eq(db_last_message(c), "t_pkey");
	ck_assert_int_eq(count_rows(), 1);
}
END_TEST

START_TEST(db_run_check_violation_is_constraint)
{
	ck_assert_int_eq(insert(1000), ERR_DB_CONSTRAINT);
	ck_assert_str_eq(db_last_message(c), "t_id_check");
	ck_assert_int_eq(count_rows(), 0);
}
END_TEST

static const struct db_stmt CAST = {"cast", "SELECT $1::text::bigint"};

START_TEST(db_run_bad_value_is_constraint_and_not_in_the_message)
{
	db_param_text(&params, "secret-value");
	ck_assert_int_eq(db_run(c, &CAST, &params, NULL), ERR_DB_CONSTRAINT);
	ck_assert_str_eq(db_last_sqlstate(c), "22P02");
	ck_assert_ptr_null(strstr(db_last_message(c), "secret-value"));
}
END_TEST

static const struct db_stmt NO_TABLE = {"no_table", "SELECT * FROM no_such_table"};

START_TEST(db_run_wrong_sql_is_internal_and_leaves_the_result_untouched)
{
	PGresult *const marker = PQmakeEmptyPGresult(NULL, PGRES_COMMAND_OK);
	PGresult *r = marker;
	ck_assert_int_eq(db_run(c, &NO_TABLE, NULL, &r), ERR_INTERNAL);
	ck_assert_ptr_eq(r, marker);
	ck_assert_str_eq(db_last_sqlstate(c), "42P01");
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
	PQclear(marker);
}
END_TEST

static const struct db_stmt INSERT_DEFERRED = {"insert_deferred", "INSERT INTO d VALUES (1)"};

/* The server says "INSERT 0 1" first and finds out at the commit. */
START_TEST(db_run_failure_at_the_implicit_commit_is_seen)
{
	ck_assert_int_eq(db_run(c, &INSERT_DEFERRED, NULL, NULL), ERR_OK);
	ck_assert_int_eq(db_run(c, &INSERT_DEFERRED, NULL, NULL), ERR_DUPLICATE);
	ck_assert_str_eq(pg_test_value(pg_test.url, "SELECT count(*) FROM d"), "1");
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
}
END_TEST

/* ---- deadlines ---- */

START_TEST(db_run_slow_statement_ends_at_the_servers_timeout_and_keeps_the_connection)
{
	db_conn_set_deadline(c, 4 * US_PER_SECOND); /* long enough for a tenth of it to be */
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
	ck_assert_int_eq(db_run(c, &SLEEP, NULL, NULL), ERR_DATABASE_UNAVAILABLE);
	ck_assert_str_eq(db_last_sqlstate(c), "57014");
	ck_assert(db_conn_connected(c));
}
END_TEST

/* The server's own timeout (nine tenths of 8 s) would have kept the connection: a quarter of 8 s was first.
 */
START_TEST(db_run_for_somebody_who_has_waited_ends_before_the_servers_timeout)
{
	db_conn_set_deadline(c, 8 * US_PER_SECOND);
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
	db_conn_set_waited(c, 8 * US_PER_SECOND);
	ck_assert_int_eq(db_run(c, &SLEEP, NULL, NULL), ERR_DB_LOST);
	ck_assert(!db_conn_connected(c));
	db_conn_set_waited(c, 0);
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
}
END_TEST

START_TEST(db_run_deadline_outside_a_transaction_is_lost)
{
	without_server_timeout();
	const int64_t start = clock_mono_us();
	ck_assert_int_eq(db_run(c, &SLEEP, NULL, NULL), ERR_DB_LOST);
	ck_assert_int_ge(clock_mono_us() - start, DEADLINE_US);
	ck_assert_int_lt(clock_mono_us() - start, DEADLINE_US + SLACK_US);
	ck_assert(!db_conn_connected(c));
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
}
END_TEST

START_TEST(db_run_deadline_in_a_transaction_is_unavailable_until_rollback)
{
	without_server_timeout();
	ck_assert_int_eq(db_begin(c), ERR_OK);
	ck_assert_int_eq(insert(1), ERR_OK);
	ck_assert_int_eq(db_run(c, &SLEEP, NULL, NULL), ERR_DATABASE_UNAVAILABLE);
	/* must not run on a new connection, outside */
	ck_assert_int_eq(insert(2), ERR_DATABASE_UNAVAILABLE);
	db_rollback(c);
	ck_assert_int_eq(insert(3), ERR_OK);
	ck_assert_int_eq(count_rows(), 1);
}
END_TEST

START_TEST(db_commit_frozen_backend_is_lost_and_may_have_committed)
{
	db_conn_set_deadline(c, DEADLINE_US);
	ck_assert_int_eq(db_begin(c), ERR_OK);
	ck_assert_int_eq(insert(1), ERR_OK);
	const pid_t backend = PQbackendPID(db_conn_raw(c));
	ck_assert_int_eq(kill(backend, SIGSTOP), 0);
	ck_assert_int_eq(db_commit(c), ERR_DB_LOST);
	ck_assert_int_eq(kill(backend, SIGCONT), 0);
	char sql[128];
	snprintf(sql, sizeof sql, "SELECT count(*) FROM pg_stat_activity WHERE pid = %d", (int)backend);
	while (strcmp(pg_test_value(pg_test.url, sql), "0") != 0)
		;
	/* the COMMIT was in its socket: this is why the answer cannot be "failed" */
	ck_assert_int_eq(count_rows(), 1);
	ck_assert_int_eq(insert(2), ERR_OK);
}
END_TEST

START_TEST(db_run_all_of_postgres_frozen_ends_at_the_deadline_and_recovers)
{
	db_conn_set_deadline(c, DEADLINE_US);
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
	ck_assert_int_gt(pg_test_signal_all(pg_test.dir, SIGSTOP), 3);
	for (int i = 0; i < 3; i++) {
		const int64_t start = clock_mono_us();
		const enum err e = db_run(c, &SELECT_ONE, NULL, NULL);
		const int64_t took = clock_mono_us() - start;
		if (e == ERR_OK || took > DEADLINE_US + SLACK_US)
			pg_test_signal_all(pg_test.dir, SIGCONT);
		/* the first was under way, the others found nobody */
		ck_assert_int_eq(e, i == 0 ? ERR_DB_LOST : ERR_DATABASE_UNAVAILABLE);
		ck_assert_int_lt(took, DEADLINE_US + SLACK_US);
	}
	pg_test_signal_all(pg_test.dir, SIGCONT);
	const int64_t start = clock_mono_us();
	while (db_run(c, &SELECT_ONE, NULL, NULL) != ERR_OK)
		ck_assert_int_lt(clock_mono_us() - start, 5 * US_PER_SECOND);
}
END_TEST

/* ---- losses ---- */

START_TEST(db_run_terminated_while_idle_reconnects)
{
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
	char sql[64];
	const int backend = PQbackendPID(db_conn_raw(c));
	snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d, 5000)", backend);
	ck_assert_str_eq(pg_test_value(pg_test.url, sql), "t");
	ck_assert_int_eq(insert(5), ERR_OK);
	ck_assert_int_ne(PQbackendPID(db_conn_raw(c)), backend);
	ck_assert_int_eq(count_rows(), 1);
}
END_TEST

START_TEST(db_run_terminated_while_running_is_lost)
{
	ck_assert_int_eq(db_run(c, &KILL_SELF, NULL, NULL), ERR_DB_LOST);
	ck_assert_str_eq(db_last_sqlstate(c), "57P01");
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
}
END_TEST

START_TEST(db_commit_after_termination_in_a_transaction_commits_nothing)
{
	ck_assert_int_eq(db_begin(c), ERR_OK);
	ck_assert_int_eq(insert(1), ERR_OK);
	ck_assert_int_eq(db_run(c, &KILL_SELF, NULL, NULL), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_eq(db_commit(c), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_eq(count_rows(), 0);
	ck_assert_int_eq(insert(2), ERR_OK);
}
END_TEST

START_TEST(db_run_killed_backend_takes_all_down_and_recovers)
{
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
	ck_assert_int_eq(kill(PQbackendPID(db_conn_raw(c)), SIGKILL), 0);
	const int64_t start = clock_mono_us();
	while (db_run(c, &SELECT_ONE, NULL, NULL) != ERR_OK ||
		db_run(other, &SELECT_ONE, NULL, NULL) != ERR_OK)
		ck_assert_int_lt(clock_mono_us() - start, 20 * US_PER_SECOND);
}
END_TEST

/* ---- prepared statements ---- */

START_TEST(db_run_forgotten_statement_is_prepared_again)
{
	ck_assert_int_eq(insert(1), ERR_OK);
	pg_test_sql(c, "DEALLOCATE ALL");
	ck_assert_int_eq(insert(2), ERR_OK);
	ck_assert_int_eq(insert(3), ERR_OK);
	ck_assert_int_eq(count_rows(), 3);
}
END_TEST

static const struct db_stmt STAR = {"star", "SELECT * FROM t"};

START_TEST(db_run_changed_result_type_is_prepared_again)
{
	ck_assert_int_eq(db_run(c, &STAR, NULL, NULL), ERR_OK);
	pg_test_sql(other, "ALTER TABLE t ADD COLUMN extra text");
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(c, &STAR, NULL, &r), ERR_OK);
	ck_assert_int_eq(PQnfields(r), 2);
	PQclear(r);
}
END_TEST

static int star_attempts;

static enum err star_body(struct db_conn *conn, void *arg)
{
	(void)arg;
	star_attempts++;
	return db_run(conn, &STAR, NULL, NULL);
}

START_TEST(db_transaction_stale_statement_runs_again)
{
	ck_assert_int_eq(db_run(c, &STAR, NULL, NULL), ERR_OK);
	pg_test_sql(other, "ALTER TABLE t ADD COLUMN extra text");
	star_attempts = 0;
	ck_assert_int_eq(db_transaction(c, star_body, NULL), ERR_OK);
	ck_assert_int_eq(star_attempts, 2);
}
END_TEST

START_TEST(db_run_without_prepare_leaves_no_prepared_statement)
{
	const struct db_settings s = {.url = pg_test.url,
		.statement_us = US_PER_SECOND,
		.connect_us = US_PER_SECOND,
		.prepare = false};
	struct db_conn *const plain = db_conn_new(&s);
	static const struct db_stmt prepared = {"prepared", "SELECT count(*) FROM pg_prepared_statements"};
	ck_assert_int_eq(insert_by(plain, 1), ERR_OK);
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(plain, &prepared, NULL, &r), ERR_OK);
	ck_assert_int_eq(db_i64(r, 0, 0), 0);
	PQclear(r);
	db_conn_free(plain);
}
END_TEST

/* ---- transactions ---- */

static const struct db_stmt REPEATABLE = {"repeatable", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"};
static const struct db_stmt BUMP = {"bump", "UPDATE t SET id = id + 1"};

struct race {
	int attempts;
	int conflicts; /* how often the other one gets in between */
};

static enum err race_body(struct db_conn *conn, void *arg)
{
	struct race *const race = arg;
	race->attempts++;
	enum err e = db_run(conn, &REPEATABLE, NULL, NULL);
	if (e == ERR_OK)
		e = db_run(conn, &COUNT, NULL, NULL);
	if (race->conflicts-- > 0)
		ck_assert_int_eq(db_run(other, &BUMP, NULL, NULL), ERR_OK);
	return e == ERR_OK ? db_run(conn, &BUMP, NULL, NULL) : e;
}

START_TEST(db_transaction_serialization_failure_runs_again)
{
	struct race race = {.conflicts = 1};
	ck_assert_int_eq(insert(1), ERR_OK);
	ck_assert_int_eq(db_transaction(c, race_body, &race), ERR_OK);
	ck_assert_int_eq(race.attempts, 2);
	/* 1, bumped once by the other and once by us */
	ck_assert_str_eq(pg_test_value(pg_test.url, "SELECT id FROM t"), "3");
}
END_TEST

START_TEST(db_transaction_endless_conflict_gives_up_after_three)
{
	struct race race = {.conflicts = 100};
	ck_assert_int_eq(insert(1), ERR_OK);
	ck_assert_int_eq(db_transaction(c, race_body, &race), ERR_DATABASE_UNAVAILABLE);
	ck_assert_int_eq(race.attempts, 3);
	ck_assert_str_eq(pg_test_value(pg_test.url, "SELECT id FROM t"), "4");
}
END_TEST

static enum err failing_body(struct db_conn *conn, void *arg)
{
	(void)arg;
	ck_assert_int_eq(insert_by(conn, 1), ERR_OK);
	return ERR_NOT_FOUND;
}

START_TEST(db_transaction_failing_body_rolls_back_and_answers_its_error)
{
	ck_assert_int_eq(db_transaction(c, failing_body, NULL), ERR_NOT_FOUND);
	ck_assert_int_eq(count_rows(), 0);
	ck_assert_int_eq(insert(1), ERR_OK);
}
END_TEST

START_TEST(db_commit_of_a_failed_transaction_is_not_ok)
{
	ck_assert_int_eq(db_begin(c), ERR_OK);
	ck_assert_int_eq(insert(1), ERR_OK);
	ck_assert_int_eq(insert(1), ERR_DUPLICATE);
	ck_assert_int_eq(db_commit(c), ERR_INTERNAL);
	ck_assert_int_eq(count_rows(), 0);
}
END_TEST

/* ---- COPY ---- */

static const char COPY_SQL[] = "BEGIN; COPY t (id) FROM STDIN";

START_TEST(db_copy_send_rows_are_there_after_commit)
{
	ck_assert_int_eq(db_copy_begin(c, COPY_SQL), ERR_OK);
	ck_assert_int_eq(db_copy_send(c, "1\n2\n3\n", 6), ERR_OK);
	ck_assert_int_eq(count_rows(), 0);
	ck_assert_int_eq(db_commit(c), ERR_OK);
	ck_assert_int_eq(count_rows(), 3);
}
END_TEST

START_TEST(db_copy_send_bad_row_is_constraint_and_rolls_back)
{
	ck_assert_int_eq(db_copy_begin(c, COPY_SQL), ERR_OK);
	ck_assert_int_eq(db_copy_send(c, "1\nx\n", 4), ERR_DB_CONSTRAINT);
	db_rollback(c);
	ck_assert_int_eq(count_rows(), 0);
	ck_assert_int_eq(insert(1), ERR_OK);
}
END_TEST

START_TEST(db_copy_send_error_in_the_middle_of_much_data_is_seen)
{
	/* 4 MiB, a bad row first: the server's error comes while we still send */
	const size_t n = 4 * 1024 * 1024;
	char *const data = malloc(n);
	memset(data, '\n', n);
	memcpy(data, "x\n", 2);
	ck_assert_int_eq(db_copy_begin(c, COPY_SQL), ERR_OK);
	ck_assert_int_eq(db_copy_send(c, data, n), ERR_DB_CONSTRAINT);
	db_rollback(c);
	ck_assert_int_eq(insert(1), ERR_OK);
	free(data);
}
END_TEST

START_TEST(db_copy_send_much_data_arrives)
{
	pg_test_sql(c, "DROP TABLE IF EXISTS wide; CREATE UNLOGGED TABLE wide (v text)");
	/* 8,192 lines of 1,023 characters */
	const size_t n = 8192 * 1024;
	char *const data = malloc(n);
	memset(data, 'a', n);
	for (size_t i = 1023; i < n; i += 1024)
		data[i] = '\n';
	ck_assert_int_eq(db_copy_begin(c, "BEGIN; COPY wide FROM STDIN"), ERR_OK);
	ck_assert_int_eq(db_copy_send(c, data, n), ERR_OK);
	ck_assert_int_eq(db_commit(c), ERR_OK);
	ck_assert_str_eq(
		pg_test_value(pg_test.url, "SELECT count(*) FROM wide WHERE length(v) = 1023"), "8192");
	pg_test_sql(c, "DROP TABLE wide");
	free(data);
}
END_TEST

START_TEST(db_copy_send_frozen_backend_is_unavailable_because_the_transaction_is_open)
{
	db_conn_set_deadline(c, DEADLINE_US);
	ck_assert_int_eq(db_copy_begin(c, COPY_SQL), ERR_OK);
	const pid_t backend = PQbackendPID(db_conn_raw(c));
	ck_assert_int_eq(kill(backend, SIGSTOP), 0);
	const enum err e = db_copy_send(c, "1\n", 2);
	kill(backend, SIGCONT);
	ck_assert_int_eq(e, ERR_DATABASE_UNAVAILABLE);
	db_rollback(c);
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
}
END_TEST

START_TEST(db_rollback_in_the_middle_of_a_copy_drops_the_connection)
{
	ck_assert_int_eq(db_copy_begin(c, COPY_SQL), ERR_OK);
	db_rollback(c);
	ck_assert(!db_conn_connected(c));
	ck_assert_int_eq(insert(1), ERR_OK);
}
END_TEST

START_TEST(db_copy_begin_wrong_sql_is_internal)
{
	ck_assert_int_eq(db_copy_begin(c, "BEGIN; COPY no_such_table FROM STDIN"), ERR_INTERNAL);
	db_rollback(c);
	ck_assert_int_eq(insert(1), ERR_OK);
}
END_TEST

/* ---- pipelines ---- */

static struct db_params ids[4];

static void set_ids(int64_t a, int64_t b)
{
	const int64_t values[] = {0, a, b, 0};
	for (int i = 0; i < 4; i++) {
		db_params_init(&ids[i], &arena);
		if (values[i] > 0)
			db_param_i64(&ids[i], values[i]);
	}
}

static const struct db_params *const id_pointers[] = {&ids[0], &ids[1], &ids[2], &ids[3]};
static const struct db_stmt *const insert_two[] = {&BEGIN, &INSERT, &INSERT, &COMMIT};
static const struct db_stmt *const insert_and_count[] = {&INSERT, &COUNT};

START_TEST(db_pipeline_transaction_commits_and_gives_results)
{
	PGresult *results[4] = {NULL};
	for (int round = 0; round < 2; round++) {
		set_ids(10 + round, 20 + round);
		ck_assert_int_eq(db_pipeline(c, insert_two, id_pointers, 4, results), ERR_OK);
		ck_assert_str_eq(PQcmdTuples(results[1]), "1");
		ck_assert_str_eq(PQcmdStatus(results[3]), "COMMIT");
		for (int i = 0; i < 4; i++)
			PQclear(results[i]);
	}
	ck_assert_int_eq(count_rows(), 4);
}
END_TEST

START_TEST(db_pipeline_one_failure_commits_nothing)
{
	PGresult *results[4] = {NULL};
	set_ids(10, 10);
	ck_assert_int_eq(db_pipeline(c, insert_two, id_pointers, 4, results), ERR_DUPLICATE);
	ck_assert_ptr_null(results[0]);
	db_rollback(c);
	ck_assert_int_eq(count_rows(), 0);
	/* COMMIT was never prepared by the aborted one */
	set_ids(10, 11);
	ck_assert_int_eq(db_pipeline(c, insert_two, id_pointers, 4, NULL), ERR_OK);
	ck_assert_int_eq(count_rows(), 2);
}
END_TEST

START_TEST(db_pipeline_outside_a_transaction_is_one_transaction)
{
	static const struct db_stmt *const two[] = {&INSERT, &INSERT};
	set_ids(5, 1000); /* the second fails the check */
	ck_assert_int_eq(db_pipeline(c, two, id_pointers + 1, 2, NULL), ERR_DB_CONSTRAINT);
	ck_assert_int_eq(count_rows(), 0);
}
END_TEST

START_TEST(db_pipeline_failure_at_the_sync_is_seen)
{
	static const struct db_stmt *const twice[] = {&INSERT_DEFERRED, &INSERT_DEFERRED};
	ck_assert_int_eq(db_pipeline(c, twice, NULL, 2, NULL), ERR_DUPLICATE);
	ck_assert_str_eq(pg_test_value(pg_test.url, "SELECT count(*) FROM d"), "0");
	ck_assert_int_eq(db_run(c, &SELECT_ONE, NULL, NULL), ERR_OK);
}
END_TEST

START_TEST(db_pipeline_within_a_transaction_rolls_back_with_it)
{
	PGresult *results[2] = {NULL};
	set_ids(5, 0);
	ck_assert_int_eq(db_begin(c), ERR_OK);
	ck_assert_int_eq(db_pipeline(c, insert_and_count, id_pointers + 1, 2, results), ERR_OK);
	ck_assert_int_eq(db_i64(results[1], 0, 0), 1);
	PQclear(results[0]);
	PQclear(results[1]);
	db_rollback(c);
	ck_assert_int_eq(count_rows(), 0);
}
END_TEST

static enum err pipeline_on_frozen_backend(const struct db_stmt *const *stmts, size_t n)
{
	const pid_t backend = PQbackendPID(db_conn_raw(c));
	kill(backend, SIGSTOP);
	const enum err e = db_pipeline(c, stmts, NULL, n, NULL);
	kill(backend, SIGCONT);
	return e;
}

START_TEST(db_pipeline_frozen_without_commit_is_unavailable)
{
	static const struct db_stmt *const reads[] = {&COUNT, &COUNT};
	db_conn_set_deadline(c, DEADLINE_US);
	ck_assert_int_eq(db_begin(c), ERR_OK);
	ck_assert_int_eq(pipeline_on_frozen_backend(reads, 2), ERR_DATABASE_UNAVAILABLE);
	db_rollback(c);
	ck_assert_int_eq(insert(1), ERR_OK);
}
END_TEST

START_TEST(db_pipeline_frozen_with_commit_is_lost)
{
	static const struct db_stmt *const committing[] = {&COUNT, &COMMIT};
	db_conn_set_deadline(c, DEADLINE_US);
	ck_assert_int_eq(db_begin(c), ERR_OK);
	ck_assert_int_eq(pipeline_on_frozen_backend(committing, 2), ERR_DB_LOST);
	ck_assert_int_eq(insert(1), ERR_OK);
}
END_TEST

START_TEST(db_pipeline_terminated_is_lost)
{
	static const struct db_stmt *const dying[] = {&COUNT, &KILL_SELF, &COUNT};
	ck_assert_int_eq(db_pipeline(c, dying, NULL, 3, NULL), ERR_DB_LOST);
	ck_assert_int_eq(insert(1), ERR_OK);
}
END_TEST

static TCase *add_case(Suite *s, const char *name)
{
	TCase *const t = tcase_create(name);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	return t;
}

static void add_values(Suite *s)
{
	TCase *const t = add_case(s, "values and sessions");
	tcase_add_test(t, db_run_text_parameters_come_back_with_null);
	tcase_add_test(t, db_run_integers_at_their_limits_come_back);
	tcase_add_test(t, db_run_money_is_exact_to_the_last_atto);
	tcase_add_test(t, db_sum_is_exact_up_to_128_bits_and_refuses_more);
	tcase_add_test(t, db_run_row_of_none_is_not_found_and_gives_nothing);
	tcase_add_test(t, db_run_instants_booleans_and_uuids_come_back);
	tcase_add_test(t, db_run_arrays_come_back_element_by_element);
	tcase_add_test(t, db_run_overflowed_arena_sends_nothing);
	tcase_add_test(t, db_run_session_has_our_settings);
	tcase_add_test(t, db_conn_set_deadline_reaches_the_server);
	tcase_add_test(t, db_conn_ready_other_encoding_is_refused);
	tcase_add_test(t, db_conn_ready_nobody_listens_then_backs_off);
	tcase_add_test(t, db_conn_ready_behind_a_closed_gate_one_tries_for_all);
	tcase_add_test(t, db_conn_ready_silent_server_ends_at_the_deadline);
	tcase_add_test(t, db_run_for_somebody_who_has_waited_soon_gives_up_connecting);
}

static void add_failures(Suite *s)
{
	TCase *const t = add_case(s, "errors, deadlines, losses");
	tcase_add_test(t, db_run_unique_violation_is_duplicate_without_values);
	tcase_add_test(t, db_run_check_violation_is_constraint);
	tcase_add_test(t, db_run_bad_value_is_constraint_and_not_in_the_message);
	tcase_add_test(t, db_run_wrong_sql_is_internal_and_leaves_the_result_untouched);
	tcase_add_test(t, db_run_failure_at_the_implicit_commit_is_seen);
	tcase_add_test(t, db_run_slow_statement_ends_at_the_servers_timeout_and_keeps_the_connection);
	tcase_add_test(t, db_run_for_somebody_who_has_waited_ends_before_the_servers_timeout);
	tcase_add_test(t, db_run_deadline_outside_a_transaction_is_lost);
	tcase_add_test(t, db_run_deadline_in_a_transaction_is_unavailable_until_rollback);
	tcase_add_test(t, db_commit_frozen_backend_is_lost_and_may_have_committed);
	tcase_add_test(t, db_run_all_of_postgres_frozen_ends_at_the_deadline_and_recovers);
	tcase_add_test(t, db_run_terminated_while_idle_reconnects);
	tcase_add_test(t, db_run_terminated_while_running_is_lost);
	tcase_add_test(t, db_commit_after_termination_in_a_transaction_commits_nothing);
	tcase_add_test(t, db_run_killed_backend_takes_all_down_and_recovers);
}

static void add_statements(Suite *s)
{
	TCase *const t = add_case(s, "prepared statements and transactions");
	tcase_add_test(t, db_run_forgotten_statement_is_prepared_again);
	tcase_add_test(t, db_run_changed_result_type_is_prepared_again);
	tcase_add_test(t, db_transaction_stale_statement_runs_again);
	tcase_add_test(t, db_run_without_prepare_leaves_no_prepared_statement);
	tcase_add_test(t, db_transaction_serialization_failure_runs_again);
	tcase_add_test(t, db_transaction_endless_conflict_gives_up_after_three);
	tcase_add_test(t, db_transaction_failing_body_rolls_back_and_answers_its_error);
	tcase_add_test(t, db_commit_of_a_failed_transaction_is_not_ok);
}

static void add_bulk(Suite *s)
{
	TCase *const t = add_case(s, "copy and pipeline");
	tcase_add_test(t, db_copy_send_rows_are_there_after_commit);
	tcase_add_test(t, db_copy_send_bad_row_is_constraint_and_rolls_back);
	tcase_add_test(t, db_copy_send_error_in_the_middle_of_much_data_is_seen);
	tcase_add_test(t, db_copy_send_much_data_arrives);
	tcase_add_test(t, db_copy_send_frozen_backend_is_unavailable_because_the_transaction_is_open);
	tcase_add_test(t, db_rollback_in_the_middle_of_a_copy_drops_the_connection);
	tcase_add_test(t, db_copy_begin_wrong_sql_is_internal);
	tcase_add_test(t, db_pipeline_transaction_commits_and_gives_results);
	tcase_add_test(t, db_pipeline_one_failure_commits_nothing);
	tcase_add_test(t, db_pipeline_outside_a_transaction_is_one_transaction);
	tcase_add_test(t, db_pipeline_failure_at_the_sync_is_seen);
	tcase_add_test(t, db_pipeline_within_a_transaction_rolls_back_with_it);
	tcase_add_test(t, db_pipeline_frozen_without_commit_is_unavailable);
	tcase_add_test(t, db_pipeline_frozen_with_commit_is_lost);
	tcase_add_test(t, db_pipeline_terminated_is_lost);
}

int main(void)
{
	pg_test_start();
	Suite *const s = suite_create("db conn");
	add_values(s);
	add_failures(s);
	add_statements(s);
	add_bulk(s);
	SRunner *const runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_test_stop();
	return failed == 0 ? 0 : 1;
}
