/* A connection behind a pooler in transaction mode, where a session belongs to nobody: whatever others have
 * left in it, every transaction of ours runs with our settings and leaves none of them behind. The adversary
 * here is the session itself, changed by hand; the real PgBouncer is in tests/fault/test_pooler.py. */

#include <check.h>
#include "../../support/pg_test.h"

static struct db_conn *c, *other;
static struct arena arena;

static const struct db_stmt SETTINGS = {"settings",
	"SELECT current_setting('synchronous_commit') || ' ' || current_setting('bytea_output') || ' ' ||"
	" current_setting('transaction_isolation') || ' ' || current_setting('TimeZone') || ' ' ||"
	" current_setting('DateStyle') || ' ' || current_setting('IntervalStyle') || ' ' || "
	"current_setting('jit') || ' ' ||"
	" current_setting('standard_conforming_strings') || ' ' || current_setting('statement_timeout') || ' "
	"' ||"
	" current_setting('lock_timeout') || ' ' || current_setting('idle_in_transaction_session_timeout')"};
/* 5 s of a call: nine tenths for the statement; the least pause within a transaction is 10 s. */
static const char OURS[] = "on hex read committed UTC ISO, YMD iso_8601 off on 4500ms 4500ms 10s";
static const char THEIRS[] = "off escape serializable Asia/Tokyo German, DMY sql_standard on off 7s 8s 9s";

static const struct db_stmt INSERT = {"insert", "INSERT INTO t (id) VALUES ($1)"};
static const struct db_stmt COUNT = {"count", "SELECT count(*) FROM t"};
static const struct db_stmt BEGIN = {"begin", "BEGIN"};
static const struct db_stmt COMMIT = {"commit", "COMMIT"};
static const struct db_stmt TWICE = {"twice", "SELECT 1 FROM (VALUES (1)) AS v (x) WHERE x / (x - 1) = 1"};
static const struct db_stmt KILL_SELF = {"kill_self", "SELECT pg_terminate_backend(pg_backend_pid())"};

static struct db_conn *pooled_conn(void)
{
	const struct db_settings s = {.url = pg_test.url,
		.statement_us = 5 * US_PER_SECOND,
		.connect_us = 2 * US_PER_SECOND,
		.application_name = "pooled"};
	struct db_conn *const conn = db_conn_new(&s);
	ck_assert_ptr_nonnull(conn);
	return conn;
}

/* In the session itself, as another client of the pool could. */
static void in_session(const char *sql)
{
	PGresult *const r = PQexec(db_conn_raw(c), sql);
	ck_assert_msg(PQresultStatus(r) == PGRES_COMMAND_OK, "%s", PQresultErrorMessage(r));
	PQclear(r);
}

static void spoil_session(void)
{
	in_session("SET synchronous_commit = off");
	in_session("SET bytea_output = escape");
	in_session("SET default_transaction_isolation = serializable");
	in_session("SET TimeZone = 'Asia/Tokyo'");
	in_session("SET DateStyle = 'German, DMY'");
	in_session("SET IntervalStyle = sql_standard");
	in_session("SET jit = on");
	in_session("SET standard_conforming_strings = off");
	in_session("SET statement_timeout = '7s'");
	in_session("SET lock_timeout = '8s'");
	in_session("SET idle_in_transaction_session_timeout = '9s'");
}

static void setup(void)
{
	arena_init(&arena, 65536);
	other = pg_test_conn(pg_test.url, 5 * US_PER_SECOND);
	pg_test_sql(other,
		"DROP TABLE IF EXISTS t, d; CREATE TABLE t (id bigint PRIMARY KEY CHECK (id < 1000));"
		"CREATE TABLE d (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)");
	c = pooled_conn();
	ck_assert_int_eq(db_conn_ready(c), ERR_OK);
	spoil_session();
}

static void teardown(void)
{
	db_conn_free(c);
	db_conn_free(other);
	arena_release(&arena);
}

static const char *text_of(PGresult *r)
{
	static char text[256];
	snprintf(text, sizeof text, "%s", db_text(r, 0, 0));
	PQclear(r);
	return text;
}

static const char *settings_now(void)
{
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(c, &SETTINGS, NULL, &r), ERR_OK);
	return text_of(r);
}

static const char *session_settings(void)
{
	PGresult *const r = PQexec(db_conn_raw(c), SETTINGS.sql);
	ck_assert_int_eq(PQresultStatus(r), PGRES_TUPLES_OK);
	return text_of(r);
}

static int64_t count_rows(void)
{
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(other, &COUNT, NULL, &r), ERR_OK);
	const int64_t n = db_i64(r, 0, 0);
	PQclear(r);
	return n;
}

static enum err insert(int64_t id)
{
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_i64(&p, id);
	return db_run(c, &INSERT, &p, NULL);
}

START_TEST(db_run_alone_has_our_settings_and_leaves_none)
{
	ck_assert_str_eq(settings_now(), OURS);
	ck_assert_str_eq(session_settings(), THEIRS);
	ck_assert_int_eq(insert(1), ERR_OK);
	ck_assert_int_eq(count_rows(), 1);
}
END_TEST

START_TEST(db_conn_ready_changes_nothing_in_the_session)
{
	db_conn_drop(c);
	ck_assert_int_eq(db_conn_ready(c), ERR_OK);
	/* PostgreSQL's own defaults, not ours */
	ck_assert_str_eq(pg_test_value(pg_test.url, "SELECT current_setting('statement_timeout')"), "0");
	PGresult *const r = PQexec(db_conn_raw(c), "SELECT current_setting('statement_timeout')");
	ck_assert_str_eq(text_of(r), "0");
}
END_TEST

START_TEST(db_begin_has_our_settings_until_the_end)
{
	ck_assert_int_eq(db_begin(c), ERR_OK);
	ck_assert_str_eq(settings_now(), OURS);
	ck_assert_int_eq(insert(1), ERR_OK);
	ck_assert_str_eq(settings_now(), OURS);
	ck_assert_int_eq(db_commit(c), ERR_OK);
	ck_assert_str_eq(session_settings(), THEIRS);
	ck_assert_int_eq(count_rows(), 1);
}
END_TEST

START_TEST(db_rollback_leaves_nothing_behind)
{
	ck_assert_int_eq(db_begin(c), ERR_OK);
	ck_assert_int_eq(insert(1), ERR_OK);
	db_rollback(c);
	ck_assert_str_eq(session_settings(), THEIRS);
	ck_assert_int_eq(count_rows(), 0);
}
END_TEST

START_TEST(db_pipeline_that_begins_has_our_settings)
{
	const struct db_stmt *const stmts[] = {&BEGIN, &SETTINGS};
	PGresult *results[2];
	ck_assert_int_eq(db_pipeline(c, stmts, NULL, 2, results), ERR_OK);
	PQclear(results[0]);
	ck_assert_str_eq(text_of(results[1]), OURS);
	ck_assert_int_eq(insert(1), ERR_OK);
	const struct db_stmt *const end[] = {&SETTINGS, &COMMIT};
	ck_assert_int_eq(db_pipeline(c, end, NULL, 2, results), ERR_OK);
	ck_assert_str_eq(text_of(results[0]), OURS);
	ck_assert_str_eq(PQcmdStatus(results[1]), "COMMIT");
	PQclear(results[1]);
	ck_assert_int_eq(count_rows(), 1);
	ck_assert_str_eq(session_settings(), THEIRS);
}
END_TEST

START_TEST(db_pipeline_alone_is_one_transaction_with_our_settings)
{
	struct db_params p[2];
	for (int i = 0; i < 2; i++) {
		db_params_init(&p[i], &arena);
		db_param_i64(&p[i], 5);
	}
	const struct db_stmt *const stmts[] = {&SETTINGS, &INSERT, &INSERT};
	const struct db_params *const params[] = {NULL, &p[0], &p[1]};
	PGresult *results[3] = {0};
	ck_assert_int_eq(db_pipeline(c, stmts, params, 3, results), ERR_DUPLICATE);
	ck_assert_ptr_null(results[0]);
	ck_assert_int_eq(count_rows(), 0);
	ck_assert_int_eq(db_pipeline(c, stmts, params, 2, results), ERR_OK);
	PQclear(results[1]);
	ck_assert_str_eq(text_of(results[0]), OURS);
	ck_assert_int_eq(count_rows(), 1);
}
END_TEST

START_TEST(db_run_failing_alone_ends_its_transaction_and_tells_why)
{
	ck_assert_int_eq(insert(1), ERR_OK);
	ck_assert_int_eq(insert(1), ERR_DUPLICATE);
	ck_assert_str_eq(db_last_sqlstate(c), "23505");
	ck_assert_int_eq(PQtransactionStatus(db_conn_raw(c)), PQTRANS_IDLE);
	ck_assert_int_eq(db_run(c, &TWICE, NULL, NULL), ERR_DB_CONSTRAINT);
	ck_assert_int_eq(insert(2), ERR_OK);
	ck_assert_int_eq(count_rows(), 2);
	ck_assert_str_eq(session_settings(), THEIRS);
}
END_TEST

/* The unique check is at COMMIT, which must not pass for a success. */
START_TEST(db_run_failing_at_its_commit_is_seen)
{
	static const struct db_stmt both = {"both", "INSERT INTO d (id) VALUES (1), (1)"};
	ck_assert_int_eq(db_run(c, &both, NULL, NULL), ERR_DUPLICATE);
	ck_assert_int_eq(PQtransactionStatus(db_conn_raw(c)), PQTRANS_IDLE);
}
END_TEST

START_TEST(db_run_terminated_alone_is_lost)
{
	ck_assert_int_eq(db_run(c, &KILL_SELF, NULL, NULL), ERR_DB_LOST);
	ck_assert_int_eq(insert(1), ERR_OK);
	ck_assert_int_eq(count_rows(), 1);
}
END_TEST

START_TEST(db_copy_has_our_settings)
{
	ck_assert_int_eq(db_copy_begin(c, "BEGIN; COPY t FROM STDIN"), ERR_OK);
	ck_assert_int_eq(db_copy_send(c, "1\n2\n", 4), ERR_OK);
	ck_assert_str_eq(settings_now(), OURS);
	ck_assert_int_eq(db_commit(c), ERR_OK);
	ck_assert_int_eq(count_rows(), 2);
	ck_assert_str_eq(session_settings(), THEIRS);
}
END_TEST

START_TEST(db_copy_of_a_bad_row_rolls_back)
{
	ck_assert_int_eq(db_copy_begin(c, "BEGIN; COPY t FROM STDIN"), ERR_OK);
	ck_assert_int_eq(db_copy_send(c, "1\n1000\n", 7), ERR_DB_CONSTRAINT);
	db_rollback(c);
	ck_assert_int_eq(count_rows(), 0);
	ck_assert_int_eq(insert(1), ERR_OK);
}
END_TEST

START_TEST(db_script_alone_is_one_transaction)
{
	ck_assert_int_eq(db_script(c, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)"), ERR_DUPLICATE);
	ck_assert_int_eq(count_rows(), 0);
	ck_assert_int_eq(db_script(c, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)"), ERR_OK);
	ck_assert_int_eq(count_rows(), 2);
}
END_TEST

/* What is remembered of one server must not be believed of the next. */
START_TEST(db_conn_number_changes_with_each_transaction)
{
	const uint64_t before = db_conn_number(c);
	ck_assert_int_eq(insert(1), ERR_OK);
	const uint64_t alone = db_conn_number(c);
	ck_assert(alone != before);
	ck_assert_int_eq(db_begin(c), ERR_OK);
	const uint64_t inside = db_conn_number(c);
	ck_assert(inside != alone);
	ck_assert_int_eq(insert(2), ERR_OK);
	ck_assert(db_conn_number(c) == inside);
	ck_assert_int_eq(db_commit(c), ERR_OK);
}
END_TEST

int main(void)
{
	pg_test_start();
	Suite *const s = suite_create("db conn pooled");
	TCase *const t = tcase_create("settings");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, db_run_alone_has_our_settings_and_leaves_none);
	tcase_add_test(t, db_conn_ready_changes_nothing_in_the_session);
	tcase_add_test(t, db_begin_has_our_settings_until_the_end);
	tcase_add_test(t, db_rollback_leaves_nothing_behind);
	tcase_add_test(t, db_pipeline_that_begins_has_our_settings);
	tcase_add_test(t, db_pipeline_alone_is_one_transaction_with_our_settings);
	tcase_add_test(t, db_run_failing_alone_ends_its_transaction_and_tells_why);
	tcase_add_test(t, db_run_failing_at_its_commit_is_seen);
	tcase_add_test(t, db_run_terminated_alone_is_lost);
	tcase_add_test(t, db_copy_has_our_settings);
	tcase_add_test(t, db_copy_of_a_bad_row_rolls_back);
	tcase_add_test(t, db_script_alone_is_one_transaction);
	tcase_add_test(t, db_conn_number_changes_with_each_transaction);
	suite_add_tcase(s, t);
	SRunner *const runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_test_stop();
	return failed == 0 ? 0 : 1;
}
