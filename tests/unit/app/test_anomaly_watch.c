/* The turns of the search for unusual spend. */
#include "llmlab/app/anomaly_watch.h"
#include <poll.h>
#include "../db/store_fixture.h"

/* More users than a round takes, all before the last one, in a zone that the system does not have. */
static void add_users(void)
{
	static const struct db_stmt USERS = {"test_users",
		"INSERT INTO users (id, email, name, password_hash, timezone)"
		" SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@example.com', "
		"'N', '$argon2id$test',"
		" CASE WHEN n < 150 THEN 'Nowhere/Land' ELSE 'UTC' END FROM generate_series(1, 150) AS n"};
	static const struct db_stmt HOURS = {"test_hours",
		"INSERT INTO usage_hour (user_id, bucket, calls, errors, unpriced_calls, input_tokens, "
		"output_tokens,"
		" cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, "
		"error_cost,"
		" standard_cost) SELECT id, date_trunc('hour', now()), 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1 "
		"FROM users"};
	run_sql(&USERS, NULL);
	run_sql(&HOURS, NULL);
}

static bool is_last_looked_at(void)
{
	static const struct db_stmt LOOKED = {"test_looked",
		"SELECT EXISTS (SELECT FROM anomaly_scans AS s JOIN users AS u ON u.id = "
		"s.user_id WHERE timezone = 'UTC')"};
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(conn, &LOOKED, NULL, &r), ERR_OK);
	const bool looked = db_bool(r, 0, 0);
	PQclear(r);
	return looked;
}

START_TEST(anomaly_watch_those_who_cannot_be_looked_at_leave_the_others_their_turn)
{
	struct api api = {.db = fixture_settings};
	struct anomaly_watch *w;
	add_users();
	api.database_ok_mono_us = 1;
	ck_assert_int_eq(anomaly_watch_start(&api, 15 * US_PER_SECOND, &w), ERR_OK);
	const int64_t deadline_us = clock_mono_us() + 20 * US_PER_SECOND;
	while (!is_last_looked_at() && clock_mono_us() < deadline_us)
		ck_assert_int_ge(poll(NULL, 0, 20), 0);
	anomaly_watch_stop(w);
	ck_assert(is_last_looked_at());
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("anomaly_watch");
	TCase *const t = tcase_create("anomaly_watch");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, anomaly_watch_those_who_cannot_be_looked_at_leave_the_others_their_turn);
	return run_store_tests(s, t);
}
