/* The connection to PostgreSQL while memory ends, system calls fail and the connection is cut, at each point
 * of connecting, statements, transactions, copies and pipelines. What db/conn.h promises is looked up in the
 * database after each run, when the backend has ended: ERR_OK is committed, ERR_DB_LOST is committed whole or
 * not at all, every other error has committed nothing. */
#include <check.h>
#include <poll.h>
#include "../../support/pg_test.h"
#include "fail.h"
#include "llmlab/base/log.h"

#define ROWS 300
/* libpq 15 waits for ever when memory ends where it notes the end of a pipeline: the deadline ends that. */
#define STATEMENT_US (2 * US_PER_SECOND)

static struct db_conn *c, *other;
static struct arena arena;
static enum err last;	  /* what the run answered */
static int64_t want_rows; /* after ERR_OK */
static int64_t next_id = 1;
static struct db_gate gate; /* which the test opens, so that nobody pauses */

static const struct db_stmt INSERT = {"fail_insert", "INSERT INTO t (id) VALUES ($1)"};
static const struct db_stmt INSERT_TOO = {"fail_insert_too", "INSERT INTO t (id) VALUES ($1)"};
static const struct db_stmt READ = {
	"fail_read", "SELECT n, n::text || ' of many' FROM generate_series(1, $1::bigint) AS n"};
static const struct db_stmt BEGIN = {"fail_begin", "BEGIN"};
static const struct db_stmt COUNT = {"fail_count", "SELECT count(*) FROM t"};
static const struct db_stmt BACKENDS = {
	"fail_backends", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fail'"};
static const struct db_stmt COMMIT = {"fail_commit", "COMMIT"};

static const struct db_settings *settings(bool prepare)
{
	static struct db_settings s;
	s = (struct db_settings){.url = pg_test.url,
		.statement_us = STATEMENT_US,
		.connect_us = STATEMENT_US,
		.application_name = "fail",
		.gate = &gate,
		.prepare = prepare};
	return &s;
}

/* ---- before ---- */

static void empty(void)
{
	arena_release(&arena);
	arena_init(&arena, (size_t)1 << 20);
	pg_test_sql(other, "DELETE FROM t");
	want_rows = 0;
	last = ERR_OK;
}

static void connected_as(bool prepare)
{
	empty();
	c = db_conn_new(settings(prepare));
	must(c != NULL && db_conn_ready(c) == ERR_OK);
}

static void connected(void)
{
	connected_as(true);
}

static void pooled(void)
{
	connected_as(false);
}

/* ---- what is done ---- */

static bool ends(enum err e, int64_t rows)
{
	last = e;
	want_rows = rows;
	return e == ERR_OK;
}

static enum err insert(struct db_conn *conn)
{
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_i64(&p, next_id++);
	return db_run(conn, &INSERT, &p, NULL);
}

static bool connects(void)
{
	c = db_conn_new(settings(true));
	return ends(c == NULL ? ERR_NO_MEMORY : insert(c), 1);
}

static bool inserts(void)
{
	return ends(insert(c), 1);
}

static enum err insert_three(struct db_conn *conn, void *arg)
{
	(void)arg;
	enum err e = insert(conn);
	if (e == ERR_OK)
		e = insert(conn);
	return e == ERR_OK ? insert(conn) : e;
}

static bool runs_a_transaction(void)
{
	return ends(db_transaction(c, insert_three, NULL), 3);
}

static bool copies(void)
{
	static const char data[] = "1000001\n1000002\n1000003\n";
	enum err e = db_copy_begin(c, "BEGIN; COPY t (id) FROM STDIN");
	if (e == ERR_OK)
		e = db_copy_send(c, data, sizeof data - 1);
	if (e == ERR_OK)
		e = db_commit(c);
	else
		db_rollback(c);
	return ends(e, 3);
}

/* What is told as ERR_OK must be all of it, and right. */
static bool reads(void)
{
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_i64(&p, ROWS);
	PGresult *r = NULL;
	const enum err e = db_run(c, &READ, &p, &r);
	if (e != ERR_OK)
		return ends(e, 0);
	must(db_rows(r) == ROWS);
	for (int i = 0; i < ROWS; i++) {
		char text[32];
		snprintf(text, sizeof text, "%d of many", i + 1);
		must(db_i64(r, i, 0) == i + 1);
		must_be(strcmp(db_text(r, i, 1), text) == 0, db_text(r, i, 1));
	}
	PQclear(r);
	return ends(e, 0);
}

static bool sends_a_pipeline(void)
{
	struct db_params p[2];
	for (int i = 0; i < 2; i++) {
		db_params_init(&p[i], &arena);
		db_param_i64(&p[i], next_id++);
	}
	const struct db_stmt *const stmts[] = {&BEGIN, &INSERT, &INSERT, &COMMIT};
	const struct db_params *const params[] = {NULL, &p[0], &p[1], NULL};
	const enum err e = db_pipeline(c, stmts, params, 4, NULL);
	if (e != ERR_OK)
		db_rollback(c);
	return ends(e, 2);
}

/* As the writer of events does: a pipeline begins, a copy follows, a pipeline ends it. */
static bool sends_pipelines_and_a_copy(void)
{
	static const char data[] = "1000001\n1000002\n";
	struct db_params p[2];
	for (int i = 0; i < 2; i++) {
		db_params_init(&p[i], &arena);
		db_param_i64(&p[i], next_id++);
	}
	const struct db_stmt *const first[] = {&BEGIN, &INSERT}, *const second[] = {&INSERT_TOO, &COMMIT};
	const struct db_params *const first_params[] = {NULL, &p[0]}, *const second_params[] = {&p[1], NULL};
	enum err e = db_pipeline(c, first, first_params, 2, NULL);
	if (e == ERR_OK)
		e = db_copy_begin(c, "COPY t (id) FROM STDIN");
	if (e == ERR_OK)
		e = db_copy_send(c, data, sizeof data - 1);
	if (e == ERR_OK)
		e = db_pipeline(c, second, second_params, 2, NULL);
	if (e != ERR_OK)
		db_rollback(c);
	return ends(e, 4);
}

/* A statement that the connection finds dead: the backend was ended while nothing ran. */
static void ended_meanwhile(void)
{
	connected();
	pg_test_sql(other, "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
			   " WHERE application_name = 'fail'");
}

/* ---- afterwards ---- */

static int64_t number(const struct db_stmt *stmt)
{
	PGresult *r = NULL;
	must_be(db_run(other, stmt, NULL, &r) == ERR_OK, db_last_message(other));
	const int64_t n = db_i64(r, 0, 0);
	PQclear(r);
	return n;
}

/* The connection is given back; what its backend was told, it has done. */
static void end_backend(void)
{
	db_conn_free(c);
	c = NULL;
	while (number(&BACKENDS) > 0)
		(void)poll(NULL, 0, 1);
}

static void works_again(void)
{
	if (c == NULL)
		return;
	db_rollback(c);
	arena_release(&arena);
	arena_init(&arena, (size_t)1 << 20);
	gate.next_mono_us = 0;
	must_be(insert(c) == ERR_OK, db_last_message(c));
}

static void as_promised(bool done)
{
	const bool again = c != NULL;
	works_again();
	end_backend();
	const int64_t rows = number(&COUNT) - again;
	must(done == (last == ERR_OK));
	if (last == ERR_OK)
		must_be(rows == want_rows, "committed, and it is not there");
	else if (last == ERR_DB_LOST)
		must_be(rows == want_rows || rows == 0, "half of it is there");
	else
		must_be(rows == 0, err_code(last));
}

static const struct fail_scenario scenarios[] = {
	{"connects", empty, connects, as_promised, 16},
	{"connects again", ended_meanwhile, inserts, as_promised, 16},
	{"inserts", connected, inserts, as_promised, 16},
	{"runs a transaction", connected, runs_a_transaction, as_promised, 16},
	{"copies", connected, copies, as_promised, 16},
	{"sends a pipeline", connected, sends_a_pipeline, as_promised, 16},
	{"sends pipelines and a copy", connected, sends_pipelines_and_a_copy, as_promised, 100},
	{"reads", connected, reads, as_promised, 16},
	{"inserts behind a pooler", pooled, inserts, as_promised, 16},
	{"runs a transaction behind a pooler", pooled, runs_a_transaction, as_promised, 16},
	{"sends a pipeline behind a pooler", pooled, sends_a_pipeline, as_promised, 16},
};
#define N_SCENARIOS (sizeof scenarios / sizeof scenarios[0])

static const enum fail_kind kinds[] = {FAIL_MEMORY, FAIL_RECV, FAIL_SEND, FAIL_CUT, FAIL_POLL, FAIL_SOCKET,
	FAIL_CONNECT, FAIL_OPTION, FAIL_RANDOM};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static void setup(void)
{
	log_configure(LOG_LEVEL_ERROR, true);
	signal(SIGABRT, SIG_DFL); /* what happens to one test is not the end of the database */
	arena_init(&arena, (size_t)1 << 20);
	other = pg_test_conn(pg_test.url, 20 * US_PER_SECOND);
	pg_test_sql(other, "CREATE TABLE IF NOT EXISTS t (id bigint PRIMARY KEY)");
}

static void teardown(void)
{
	db_conn_free(other);
	arena_release(&arena);
}

START_TEST(what_the_connection_answers_is_so)
{
	const int before = fail_open_descriptors();
	for (size_t i = 0; i < N_KINDS; i++)
		fail_loop(&scenarios[_i], kinds[i], 1);
	ck_assert_int_eq(fail_open_descriptors(), before);
}
END_TEST

START_TEST(what_the_connection_answers_is_so_when_more_fails)
{
	fail_loop(&scenarios[_i], FAIL_MEMORY, 5);
	fail_loop(&scenarios[_i], FAIL_RECV, 3);
	fail_loop(&scenarios[_i], FAIL_SEND, 3);
}
END_TEST

int main(void)
{
	if (!fail_spare_openssl())
		return EXIT_FAILURE;
	Suite *const suite = suite_create("fail_database");
	TCase *const tc = tcase_create("database");
	tcase_add_unchecked_fixture(tc, pg_test_start, pg_test_stop);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, FAIL_TEST_S);
	tcase_add_loop_test(tc, what_the_connection_answers_is_so, 0, N_SCENARIOS);
	tcase_add_loop_test(tc, what_the_connection_answers_is_so_when_more_fails, 0, N_SCENARIOS);
	suite_add_tcase(suite, tc);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
