#ifndef LLMLAB_TESTS_INGEST_FIXTURE_H
#define LLMLAB_TESTS_INGEST_FIXTURE_H

/* What the tests of the ingest writer share: a private PostgreSQL for the program, an ingest instance and a
 * second connection for each test, groups that can be waited for, and the comparison of the rollup with the
 * events. */

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "../../support/pg_test.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/conn.h"
#include "llmlab/db/events.h"
#include "llmlab/db/migrate.h"
#include "llmlab/ingest/ingest.h"
#include "llmlab/providers/catalogue_load.h"

#define WRITER_NAME "ingest-test-writer"

static struct db_settings fixture_settings; /* of the test's own connection */
static struct db_conn *conn;		    /* of the running test */
static struct arena arena;		    /* of the running test */
static struct ingest *ingest;		    /* of the running test; NULL when stopped */

static const struct ingest_settings test_settings = {
	.max_queued_items = 20000,
	.max_queued_bytes = 256 << 20,
	.max_batch_items = 1000,
	.statement_us = 10 * US_PER_SECOND,
	.outcome_us = 10 * US_PER_SECOND,
};

static inline void fixture_start(void)
{
	struct problem problem;
	struct catalogue *catalogue = NULL;
	arena_init(&arena, 1 << 20);
	problem_init(&problem, &arena);
	ck_assert_int_eq(catalogue_load(NULL, &catalogue, &problem), ERR_OK);
	catalogue_publish(catalogue);
	arena_release(&arena);
	pg_test_start();
	fixture_settings = (struct db_settings){
		.url = pg_test.url,
		.statement_us = 30 * US_PER_SECOND,
		.connect_us = 5 * US_PER_SECOND,
		.application_name = "ingest-test",
		.prepare = true,
	};
	struct db_conn *c = db_conn_new(&fixture_settings);
	struct migrate_report report = {0};
	ck_assert_msg(migrate_run(c, &report) == ERR_OK, "%s", report.message);
	db_conn_free(c);
}

static inline void fixture_stop(void)
{
	pg_test_stop();
	catalogue_shutdown();
}

static inline struct ingest *start_ingest(const struct ingest_settings *s)
{
	struct db_settings db = fixture_settings;
	db.application_name = WRITER_NAME;
	db.connect_us = US_PER_SECOND;
	struct ingest *in = NULL;
	ck_assert_int_eq(ingest_start(s, &db, &in), ERR_OK);
	return in;
}

static inline void test_begin(void)
{
	arena_init(&arena, 256 << 20);
	conn = db_conn_new(&fixture_settings);
	ck_assert_ptr_nonnull(conn);
	ingest = start_ingest(&test_settings);
}

static inline void stop_ingest(void)
{
	ingest_stop(ingest, clock_mono_us() + 10 * US_PER_SECOND);
	ingest_free(ingest);
	ingest = NULL;
}

/* The test goes on with an instance of its own settings. */
static inline void restart_ingest(const struct ingest_settings *s)
{
	stop_ingest();
	ingest = start_ingest(s);
}

/* ---- SQL ---- */

/* Each text is prepared under its own address as the name. */
static inline PGresult *query(const char *name, const char *sql, const struct db_params *p)
{
	const struct db_stmt stmt = {name, sql};
	PGresult *r = NULL;
	const enum err e = db_run(conn, &stmt, p, &r);
	ck_assert_msg(e == ERR_OK, "%s: %s", name, db_last_message(conn));
	return r;
}

static inline void execute(const char *name, const char *sql)
{
	PQclear(query(name, sql, NULL));
}

static inline int64_t number(const char *name, const char *sql, const struct db_params *p)
{
	PGresult *r = query(name, sql, p);
	ck_assert_int_eq(db_rows(r), 1);
	const int64_t n = db_i64(r, 0, 0);
	PQclear(r);
	return n;
}

static inline int64_t number_of_user(const char *name, const char *sql, const struct uuid *user_id)
{
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	return number(name, sql, &p);
}

static inline int64_t events_of(const struct uuid *user_id)
{
	return number_of_user("test_events_of", "SELECT count(*) FROM events WHERE user_id = $1", user_id);
}

/* Sums, of all levels and users, that differ from the events: 0 always. */
static inline int64_t rollup_drift(void)
{
	return number("test_rollup_drift", "SELECT count(*) FROM usage_drift('-infinity', 'infinity')", NULL);
}

static inline struct uuid new_user(void)
{
	const struct uuid user_id = uuid_v7(clock_now_us() / US_PER_MS);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	PQclear(query("test_new_user",
		"INSERT INTO users (id, email, name, password_hash)"
		" VALUES ($1::uuid, $1::uuid::text || '@example.com', 'Test', '$argon2id$test')",
		&p));
	return user_id;
}

static inline void test_end(void)
{
	stop_ingest();
	ck_assert_int_eq(rollup_drift(), 0);
	db_conn_free(conn);
	arena_release(&arena);
}

/* ---- events ---- */

static inline int64_t at(const char *text)
{
	int64_t us = 0;
	ck_assert_int_eq(instant_parse(text, strlen(text), &us), ERR_OK);
	return us;
}

static inline struct money usd(const char *text)
{
	struct money m = {0};
	ck_assert_int_eq(decimal_parse(text, strlen(text), MONEY_SCALE, decimal_pow10(38), &m.atto), ERR_OK);
	return m;
}

/* 1,000 input and 500 output tokens of gpt-4 for 0.06 USD. */
static inline struct event plain_event(const struct uuid *user_id, const char *when)
{
	struct event e = {.user_id = *user_id,
		.occurred_at_us = at(when),
		.provider = "openai",
		.model = "gpt-4",
		.has_cost = true,
		.cost = usd("0.06"),
		.pricing_status = "priced",
		.price_record = "openai/gpt-4",
		.price_rule = "equals",
		.price_lines = "input:1000@30;output:500@60",
		.catalogue_version = "test",
		.service_tier = "standard",
		.status = "success"};
	e.received_at_us = e.occurred_at_us + 1000;
	e.usage.has_counts = true;
	e.usage.counts[USAGE_input_tokens] = 1000;
	e.usage.counts[USAGE_output_tokens] = 500;
	return e;
}

/* A sealed item with a new id; texts of e must outlive it. */
static inline struct ingest_item *new_item(struct event e)
{
	struct ingest_item *item = ingest_item_new();
	ck_assert_ptr_nonnull(item);
	e.id = uuid_v7(e.occurred_at_us / US_PER_MS);
	if (e.idempotency_key != NULL)
		ingest_fingerprint(&e, false, e.fingerprint);
	item->event = e;
	ck_assert_int_eq(ingest_item_seal(item), ERR_OK);
	return item;
}

/* ---- groups ---- */

struct test_group {
	struct ingest_group group;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int done; /* calls of done() */
};

static inline void group_done(struct ingest_group *g)
{
	struct test_group *t = g->owner;
	pthread_mutex_lock(&t->lock);
	t->done++;
	pthread_cond_signal(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

static inline struct test_group *new_group(size_t n)
{
	struct test_group *t = calloc(1, sizeof(*t));
	ck_assert_ptr_nonnull(t);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	t->group = (struct ingest_group){.done = group_done,
		.owner = t,
		.n_items = n,
		.deadline_us = clock_mono_us() + 30 * US_PER_SECOND};
	t->group.items = calloc(n, sizeof(struct ingest_item *));
	ck_assert_ptr_nonnull(t->group.items);
	return t;
}

/* n events like e, with keys "<prefix><i>" if prefix is given. */
static inline struct test_group *group_of(struct event e, size_t n, const char *prefix)
{
	struct test_group *t = new_group(n);
	for (size_t i = 0; i < n; i++) {
		if (prefix != NULL)
			e.idempotency_key = arena_printf(&arena, "%s%zu", prefix, i);
		t->group.items[i] = new_item(e);
	}
	return t;
}

static inline void submit(struct test_group *t)
{
	ck_assert_int_eq(ingest_submit(ingest, &t->group), ERR_OK);
}

static inline void wait_group(struct test_group *t)
{
	pthread_mutex_lock(&t->lock);
	while (t->done == 0)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
	ck_assert_int_eq(t->done, 1);
}

static inline enum ingest_outcome outcome_of(const struct test_group *t, size_t i)
{
	return t->group.items[i]->outcome;
}

static inline size_t count_outcomes(const struct test_group *t, enum ingest_outcome o)
{
	size_t n = 0;
	for (size_t i = 0; i < t->group.n_items; i++)
		n += outcome_of(t, i) == o;
	return n;
}

static inline void free_group(struct test_group *t)
{
	for (size_t i = 0; i < t->group.n_items; i++)
		ingest_item_free(t->group.items[i]);
	free(t->group.items);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* Submits, waits, and expects the one outcome for all. */
static inline void expect_all(struct test_group *t, enum ingest_outcome o)
{
	submit(t);
	wait_group(t);
	ck_assert_uint_eq(count_outcomes(t, o), t->group.n_items);
}

/* ---- holding the writer up ---- */

/* Nothing can be inserted into events until let_writer_go(). */
static inline void hold_writer(void)
{
	ck_assert_int_eq(db_begin(conn), ERR_OK);
	execute("test_hold", "LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE");
}

/* Until the writer waits for the lock. */
static inline void await_held_writer(void)
{
	while (number("test_held",
		       "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'events'::regclass",
		       NULL) == 0)
		;
}

static inline void let_writer_go(void)
{
	ck_assert_int_eq(db_commit(conn), ERR_OK);
}

static inline int run_ingest_tests(const char *name, void (*add)(TCase *))
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	tcase_add_unchecked_fixture(tcase, fixture_start, fixture_stop);
	tcase_add_checked_fixture(tcase, test_begin, test_end);
	tcase_set_timeout(tcase, 120);
	add(tcase);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
