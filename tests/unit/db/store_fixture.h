#ifndef LLMLAB_TESTS_STORE_FIXTURE_H
#define LLMLAB_TESTS_STORE_FIXTURE_H

/* What the tests of users, costs and budgets share: a private PostgreSQL for the whole program (started in
 * the parent of the forked tests), a connection for each test, and users and events written by plain SQL.
 * Tests share the database, so each works with a user of its own. */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../support/pg_test.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/db/conn.h"
#include "llmlab/db/migrate.h"
#include "llmlab/db/users.h"

static struct db_settings fixture_settings;
static struct db_conn *conn; /* of the running test */
static struct arena arena;   /* of the running test */

static inline void fixture_start(void)
{
	pg_test_start();
	fixture_settings = (struct db_settings){
		.url = pg_test.url,
		.statement_us = 20 * US_PER_SECOND,
		.connect_us = 5 * US_PER_SECOND,
		.application_name = "store-test",
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
}

static inline void test_begin(void)
{
	arena_init(&arena, 64 << 20);
	conn = db_conn_new(&fixture_settings);
	ck_assert_ptr_nonnull(conn);
}

static inline void test_end(void)
{
	db_conn_free(conn);
	arena_release(&arena);
}

/* Instant of an RFC 3339 text. */
static inline int64_t at(const char *text)
{
	int64_t us = 0;
	ck_assert_int_eq(instant_parse(text, strlen(text), &us), ERR_OK);
	return us;
}

/* Amount of a decimal text. */
static inline struct money usd(const char *text)
{
	struct money m = {0};
	ck_assert_int_eq(decimal_parse(text, strlen(text), MONEY_SCALE, decimal_pow10(38), &m.atto), ERR_OK);
	return m;
}

static inline const char *usd_text(struct money m)
{
	char text[DECIMAL_TEXT_MAX];
	decimal_format(m.atto, MONEY_SCALE, text);
	return arena_strdup(&arena, text);
}

/* A new account; its e-mail is made from its id. */
static inline struct uuid new_user(void)
{
	char id[UUID_TEXT_SIZE];
	char email[64];
	const struct uuid user_id = uuid_v4();
	uuid_format(&user_id, id);
	snprintf(email, sizeof(email), "%s@example.com", id);
	const struct user u = {.id = user_id,
		.email = email,
		.name = "Test",
		.timezone = "UTC",
		.password_hash = "$argon2id$test",
		.created_at_us = at("2026-01-01T00:00:00Z")};
	ck_assert_int_eq(users_insert(conn, &u), ERR_OK);
	return user_id;
}

/* Runs a statement without a result. */
static inline void run_sql(const struct db_stmt *stmt, const struct db_params *p)
{
	const enum err e = db_run(conn, stmt, p, NULL);
	ck_assert_msg(e == ERR_OK, "%s: %s", stmt->name, db_last_message(conn));
}

struct test_event {
	const char *at, *provider, *model, *cost; /* cost NULL: unpriced */
	int64_t input, output, cache_read;
	const char *project, *customer, *tags, *status; /* status NULL: success */
};

static inline void add_event(const struct uuid *user_id, const struct test_event *e)
{
	static const struct db_stmt PARTITION = {"test_partition", "SELECT events_ensure_partition($1)"};
	static const struct db_stmt INSERT = {"test_event",
		"INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens, "
		"output_tokens,"
		" cache_read_tokens, cost, pricing_status, price_rule, catalogue_version, service_tier, "
		"project, customer, tags,"
		" status, set_id) SELECT $1::uuid, $2::timestamptz, gen_random_uuid(), $2::timestamptz, "
		"$3::text, "
		"$4::text, $5::bigint,"
		" $6::bigint, $7::bigint, $8::numeric, CASE WHEN $8 IS NULL THEN 'unpriced' ELSE 'priced' "
		"END, 'test', 'test',"
		" 'standard', $9::text, $10::text, $11::jsonb, $12::text,"
		" md5(jsonb_build_array(coalesce($9, ''), coalesce($10, ''), NULL, $11::jsonb)::text)::uuid"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_text(&p, e->at);
	run_sql(&PARTITION, &p);
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_text(&p, e->at);
	db_param_text(&p, e->provider);
	db_param_text(&p, e->model);
	db_param_i64(&p, e->input);
	db_param_i64(&p, e->output);
	db_param_i64(&p, e->cache_read);
	db_param_text(&p, e->cost);
	db_param_text(&p, e->project);
	db_param_text(&p, e->customer);
	db_param_text(&p, e->tags);
	db_param_text(&p, e->status ? e->status : "success");
	run_sql(&INSERT, &p);
}

#define TEST_SUMS                                                                                            \
	"sum(calls), sum(errors), sum(unpriced_calls), sum(input_tokens), sum(output_tokens), "              \
	"sum(cache_read_tokens), sum(cache_write_tokens), sum(cache_write_1h_tokens), "                      \
	"sum(reasoning_tokens), "                                                                            \
	"sum(cost), sum(error_cost), sum(standard_cost) FROM usage_from_events('-infinity', 'infinity')"     \
	" WHERE user_id = $1 GROUP BY "
#define TEST_SUM_COLUMNS                                                                                     \
	"calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, "                    \
	"cache_write_tokens, "                                                                               \
	"cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost"

/* Fills the tables of sums from the user's events, as the writer keeps them. */
static inline void roll_up(const struct uuid *user_id)
{
	static const struct db_stmt ROLL_UPS[] = {
		{"test_sets", "INSERT INTO usage_sets SELECT DISTINCT user_id, set_id, coalesce(project, ''),"
			      " coalesce(customer, ''), api_key_id, tags FROM events WHERE user_id = $1"},
		{"test_model_15m",
			"INSERT INTO usage_model_15m (user_id, bucket, provider, model, "
			"project, " TEST_SUM_COLUMNS
			") SELECT user_id, bucket, provider, model, project, " TEST_SUMS "1, 2, 3, 4, 5"},
		{"test_model_day",
			"INSERT INTO usage_model_day (user_id, bucket, provider, model, "
			"project, " TEST_SUM_COLUMNS ") SELECT user_id, date_trunc('day', bucket, 'UTC'), "
			"provider, model, project, " TEST_SUMS "1, 2, 3, 4, 5"},
		{"test_hour", "INSERT INTO usage_hour (user_id, bucket, " TEST_SUM_COLUMNS
			      ") SELECT user_id, date_trunc('hour', bucket, 'UTC'), " TEST_SUMS "1, 2"},
		{"test_set_15m",
			"INSERT INTO usage_set_model_15m (user_id, bucket, set_id, provider, "
			"model, " TEST_SUM_COLUMNS
			") SELECT user_id, bucket, set_id, provider, model, " TEST_SUMS "1, 2, 3, 4, 5"},
		{"test_set_day",
			"INSERT INTO usage_set_model_day (user_id, bucket, set_id, provider, "
			"model, " TEST_SUM_COLUMNS ") SELECT user_id, date_trunc('day', bucket, 'UTC'), "
			"set_id, provider, model, " TEST_SUMS "1, 2, 3, 4, 5"},
		{"test_set_only_day", "INSERT INTO usage_set_day (user_id, bucket, set_id, " TEST_SUM_COLUMNS
				      ") SELECT user_id, date_trunc('day', bucket, 'UTC'), "
				      "set_id, " TEST_SUMS "1, 2, 3"},
		{"test_day", "INSERT INTO usage_day (user_id, bucket, " TEST_SUM_COLUMNS
			     ") SELECT user_id, date_trunc('day', bucket, 'UTC'), " TEST_SUMS "1, 2"},
		{"test_model_week",
			"INSERT INTO usage_model_week (user_id, bucket, provider, model, "
			"project, " TEST_SUM_COLUMNS ") SELECT user_id, date_bin('7 days', bucket, "
			"'2000-01-03Z'), provider, model, project, " TEST_SUMS "1, 2, 3, 4, 5"},
		{"test_set_week", "INSERT INTO usage_set_week (user_id, bucket, set_id, " TEST_SUM_COLUMNS
				  ") SELECT user_id, date_bin('7 days', bucket, '2000-01-03Z'), "
				  "set_id, " TEST_SUMS "1, 2, 3"}};
	for (size_t i = 0; i < sizeof(ROLL_UPS) / sizeof(ROLL_UPS[0]); i++) {
		struct db_params p;
		db_params_init(&p, &arena);
		db_param_uuid(&p, user_id);
		run_sql(&ROLL_UPS[i], &p);
	}
}

/* What differs between the user's sums, of all tables, and the events, as text; "" when all is well. */
static inline const char *drift(const struct uuid *user_id)
{
	static const struct db_stmt DRIFT = {"test_drift",
		"SELECT coalesce(string_agg(concat_ws(' ', held_in, what, held), E'\\n'), '')"
		" FROM usage_drift('-infinity', 'infinity') WHERE user_id = $1"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	PGresult *r = NULL;
	const enum err e = db_run(conn, &DRIFT, &p, &r);
	ck_assert_msg(e == ERR_OK, "%s", db_last_message(conn));
	const char *const text = arena_strdup(&arena, db_text(r, 0, 0));
	PQclear(r);
	return text;
}

/* Runs the suite's one case with the fixtures above. */
static inline int run_store_tests(Suite *suite, TCase *tcase)
{
	tcase_add_unchecked_fixture(tcase, fixture_start, fixture_stop);
	tcase_add_checked_fixture(tcase, test_begin, test_end);
	tcase_set_timeout(tcase, 60);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
