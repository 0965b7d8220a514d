/* A database of the version before sums had levels (migration 3), with events, with their sums, and with the
 * sums of a month whose events retention has dropped but for late ones: what migration 4 makes of it. */

#include <check.h>
#include "../../support/pg_test.h"
#include "llmlab/base/embed.h"

extern const struct embed_file embed_migrations[];

static char url[300];
static struct db_conn *conn;

static const char FILL[] =
	"INSERT INTO users (id, email, name, password_hash) SELECT u::uuid, u || '@example.com', 'Test', "
	"'$argon2id$test'"
	" FROM unnest('{00000000-0000-4000-8000-000000000001,00000000-0000-4000-8000-000000000002}'::text[]) "
	"AS u;"
	"SELECT events_ensure_partition('2026-03-01Z'), events_ensure_partition('2026-04-01Z');"
	/* every hour and a half of two months, by two users; all kinds of sets, tiers, statuses and prices */
	"INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens, "
	"output_tokens,"
	" cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, "
	"pricing_status, price_rule,"
	" catalogue_version, service_tier, project, customer, tags, status, api_key_id)"
	" SELECT ('00000000-0000-4000-8000-00000000000' || 1 + g % 2)::uuid, t, gen_random_uuid(), t, 'p' || "
	"g % 2,"
	" 'm' || g % 3, g, g, g / 2, g / 3, g / 5, g / 7, CASE WHEN g % 11 > 0 THEN g * 0.000000000000000013 "
	"END,"
	" CASE WHEN g % 11 > 0 THEN 'priced' ELSE 'unpriced' END, 'test', 'test',"
	" CASE WHEN g % 5 > 0 THEN 'standard' ELSE 'batch' END, CASE WHEN g % 4 > 0 THEN 'project ' || g % 4 "
	"END,"
	" CASE WHEN g % 3 > 0 THEN 'customer ' || g % 3 END, CASE WHEN g % 6 > 0 THEN "
	"jsonb_build_object('k', g % 6, 'a', 1) END,"
	" CASE WHEN g % 8 > 0 THEN 'success' ELSE 'error' END,"
	" CASE WHEN g % 9 > 0 THEN '00000000-0000-4000-8000-0000000000ff'::uuid END"
	" FROM (SELECT g, '2026-03-01T00:00:00Z'::timestamptz + g * interval '90 minutes' AS t FROM "
	"generate_series(0, 900) AS g)"
	" AS x;"
	"INSERT INTO usage_15m SELECT user_id, date_bin('15 minutes', occurred_at, 'epoch'), provider, model,"
	" coalesce(project, ''), count(*), count(*) FILTER (WHERE status = 'error'), count(*) FILTER (WHERE "
	"cost IS NULL),"
	" sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens), "
	"sum(reasoning_tokens),"
	" coalesce(sum(cost), 0) FROM events GROUP BY 1, 2, 3, 4, 5;"
	"DROP TABLE events_2026_03;"
	/* A late event makes the month's partition again, beside sums of events that are gone. */
	"SELECT events_ensure_partition('2026-03-01Z');"
	"INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens, "
	"output_tokens, cost,"
	" pricing_status, price_rule, catalogue_version, service_tier, project, status) SELECT user_id, "
	"bucket, gen_random_uuid(),"
	" now(), provider, model, 1, 1, 0.5, 'priced', 'test', 'test', 'standard', nullif(project, ''), "
	"'success' FROM usage_15m"
	" WHERE bucket < '2026-04-01Z' ORDER BY bucket LIMIT 3;"
	"UPDATE usage_15m AS u SET calls = calls + 1, input_tokens = u.input_tokens + 1, output_tokens = "
	"u.output_tokens + 1,"
	" cost = u.cost + 0.5 FROM events AS e WHERE e.occurred_at < '2026-04-01Z' AND u.user_id = e.user_id "
	"AND u.bucket ="
	" e.occurred_at AND u.provider = e.provider AND u.model = e.model AND u.project = "
	"coalesce(e.project, '');"
	"CREATE TABLE before AS SELECT * FROM usage_15m";

static void setup(void)
{
	pg_test_database("upgraded", url, sizeof url);
	conn = pg_test_conn(url, 30 * US_PER_SECOND);
	for (size_t i = 0; i < 3; i++)
		pg_test_sql(conn, embed_migrations[i].data);
	pg_test_sql(conn, FILL);
	pg_test_sql(conn, embed_migrations[3].data);
}

static void teardown(void)
{
	db_conn_free(conn);
}

START_TEST(upgrade_makes_the_sums_of_what_events_there_are)
{
	ck_assert_str_eq(pg_test_value(url, "SELECT count(*) > 0 FROM events"), "t");
	ck_assert_str_eq(
		pg_test_value(url, "SELECT count(*) FROM usage_drift('-infinity', 'infinity')"), "0");
	ck_assert_str_eq(
		pg_test_value(url, "SELECT count(*) FROM events AS e LEFT JOIN usage_sets AS s ON s.user_id ="
				   " e.user_id AND s.id = e.set_id WHERE s.id IS NULL"),
		"0");
}
END_TEST

START_TEST(upgrade_keeps_every_sum_there_was)
{
	ck_assert_str_eq(
		pg_test_value(url, "SELECT count(*) > 300 FROM before WHERE bucket < '2026-04-01Z'"), "t");
	ck_assert_str_eq(pg_test_value(url,
				 "SELECT count(*) FROM (SELECT * FROM before EXCEPT SELECT user_id, bucket, "
				 "provider, model,"
				 " project, calls, errors, unpriced_calls, input_tokens, output_tokens, "
				 "cache_read_tokens,"
				 " cache_write_tokens, reasoning_tokens, cost FROM usage_model_15m) AS lost"),
		"0");
	ck_assert_str_eq(
		pg_test_value(
			url, "SELECT (SELECT count(*) FROM usage_model_15m) - (SELECT count(*) FROM before)"),
		"0");
}
END_TEST

/* Of the dropped month, every level says what usage_15m said: calls, tokens and cost, by user. */
START_TEST(upgrade_gives_a_dropped_month_to_every_level)
{
	static const char *const levels[] = {"usage_model_day", "usage_hour", "usage_set_model_15m",
		"usage_set_model_day", "usage_set_day", "usage_day"};
	for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
		char sql[512];
		snprintf(sql, sizeof sql,
			"SELECT count(*) FROM (SELECT user_id, sum(calls), sum(errors), sum(unpriced_calls), "
			"sum(input_tokens),"
			" sum(cost) FROM before WHERE bucket < '2026-04-01Z' GROUP BY 1 EXCEPT SELECT "
			"user_id, sum(calls),"
			" sum(errors), sum(unpriced_calls), sum(input_tokens), sum(cost) FROM %s WHERE "
			"bucket < '2026-04-01Z'"
			" GROUP BY 1) AS lost",
			levels[i]);
		ck_assert_msg(strcmp(pg_test_value(url, sql), "0") == 0, "%s", levels[i]);
	}
	ck_assert_str_eq(
		pg_test_value(url,
			"SELECT count(*) FROM (SELECT user_id, project, sum(cost) FROM before WHERE bucket <"
			" '2026-04-01Z' GROUP BY 1, 2 EXCEPT SELECT d.user_id, s.project, sum(d.cost) FROM"
			" usage_set_model_day AS d JOIN usage_sets AS s ON s.user_id = d.user_id AND s.id = "
			"d.set_id"
			" WHERE d.bucket < '2026-04-01Z' GROUP BY 1, 2) AS lost"),
		"0");
}
END_TEST

/* The check itself can fail. */
START_TEST(usage_drift_names_what_is_wrong)
{
	pg_test_sql(conn, "UPDATE usage_set_model_day SET cost = cost + 0.000000000000000001 WHERE ctid = "
			  "(SELECT ctid FROM"
			  " usage_set_model_day WHERE bucket = '2026-04-02Z' LIMIT 1);"
			  "DELETE FROM usage_hour WHERE bucket = '2026-04-03T00:00:00Z'");
	ck_assert_str_eq(pg_test_value(url, "SELECT string_agg(DISTINCT held_in || ': ' || what, ', ') FROM"
					    " usage_drift('2026-04-01Z', '2026-05-01Z')"),
		"usage_hour: missing or wrong, usage_set_model_day: missing or wrong, usage_set_model_day: "
		"too much or "
		"wrong");
	ck_assert_str_eq(
		pg_test_value(url, "SELECT count(*) FROM usage_drift('2026-04-04Z', '2026-05-01Z')"), "0");
}
END_TEST

int main(void)
{
	pg_test_start();
	Suite *const suite = suite_create("usage upgrade");
	TCase *const t = tcase_create("usage upgrade");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, upgrade_makes_the_sums_of_what_events_there_are);
	tcase_add_test(t, upgrade_keeps_every_sum_there_was);
	tcase_add_test(t, upgrade_gives_a_dropped_month_to_every_level);
	tcase_add_test(t, usage_drift_names_what_is_wrong);
	suite_add_tcase(suite, t);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_test_stop();
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
