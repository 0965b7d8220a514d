/* Dropping old months of events: which ones, what stays, and what the writer is told afterwards. */

#include "store_fixture.h"

#include "llmlab/db/event_retention.h"
#include "llmlab/db/events.h"

static int64_t count(const char *name, const char *sql, const char *argument)
{
	const struct db_stmt stmt = {name, sql};
	struct db_params p;
	PGresult *r = NULL;
	db_params_init(&p, &arena);
	db_param_text(&p, argument);
	ck_assert_msg(db_run(conn, &stmt, &p, &r) == ERR_OK, "%s: %s", name, db_last_message(conn));
	const int64_t n = db_i64(r, 0, 0);
	PQclear(r);
	return n;
}

static bool has_month(const char *partition)
{
	return count("test_month", "SELECT (to_regclass($1) IS NOT NULL)::int", partition) == 1;
}

static int64_t count_user(const char *name, const char *sql, const struct uuid *user_id)
{
	char id[UUID_TEXT_SIZE];
	uuid_format(user_id, id);
	return count(name, sql, id);
}

static bool drop_before(const char *before)
{
	bool dropped = false;
	const enum err e = event_retention_drop(conn, at(before), &dropped);
	ck_assert_msg(e == ERR_OK, "%s", db_last_message(conn));
	return dropped;
}

static struct uuid user_with_events(const char *const *instants, size_t n)
{
	const struct uuid user = new_user();
	for (size_t i = 0; i < n; i++)
		add_event(&user, &(struct test_event){.at = instants[i],
					 .provider = "openai",
					 .model = "gpt-4",
					 .cost = "0.03",
					 .input = 1000});
	roll_up(&user);
	return user;
}

static void drop_all_of_before(const char *before)
{
	while (drop_before(before))
		continue;
}

/* 2019-02 ends at 2019-03-01T00:00Z. */
START_TEST(drop_takes_months_that_have_ended_one_at_a_time_oldest_first)
{
	static const char *const instants[] = {"2019-02-28T23:59:59.999999Z", "2019-01-01T00:00:00Z",
		"2018-12-31T23:59:59Z", "2019-03-01T00:00:00Z"};
	const struct uuid user = user_with_events(instants, 4);
	ck_assert(!drop_before("2018-12-31T23:59:59.999999Z"));
	ck_assert(drop_before("2019-02-28T23:59:59.999999Z"));
	ck_assert(!has_month("events_2018_12") && has_month("events_2019_01"));
	ck_assert(drop_before("2019-02-28T23:59:59.999999Z"));
	ck_assert(!has_month("events_2019_01"));
	ck_assert(!drop_before("2019-02-28T23:59:59.999999Z"));
	ck_assert(has_month("events_2019_02"));
	ck_assert(drop_before("2019-03-01T00:00:00Z"));
	ck_assert(!drop_before("2019-03-01T00:00:00Z"));
	ck_assert(!has_month("events_2019_02") && has_month("events_2019_03"));
	ck_assert_int_eq(
		count_user("test_events", "SELECT count(*) FROM events WHERE user_id = $1", &user), 1);
	/* the sums still are those of all four */
	ck_assert_int_eq(count_user("test_calls",
				 "SELECT sum(calls)::bigint FROM usage_model_15m WHERE user_id = $1", &user),
		4);
}
END_TEST

START_TEST(drop_leaves_what_is_in_use_and_other_tables_alone)
{
	static const char *const instants[] = {"2017-05-01T00:00:00Z"};
	(void)user_with_events(instants, 1);
	ck_assert_int_eq(db_script(conn, "CREATE TABLE IF NOT EXISTS events_2000_01 (x int);"
					 "CREATE TABLE IF NOT EXISTS events_odd PARTITION OF events"
					 " FOR VALUES FROM ('1990-01-01') TO ('1990-02-01')"),
		ERR_OK);
	struct db_conn *const reader = db_conn_new(&fixture_settings);
	ck_assert_int_eq(db_begin(reader), ERR_OK);
	ck_assert_int_eq(db_script(reader, "SELECT count(*) FROM events_2017_05"), ERR_OK);
	bool dropped = true;
	ck_assert_int_ne(event_retention_drop(conn, at("2017-06-01T00:00:00Z"), &dropped), ERR_OK);
	ck_assert(dropped); /* untouched */
	db_rollback(reader);
	db_conn_free(reader);
	drop_all_of_before("2017-06-01T00:00:00Z");
	ck_assert(!has_month("events_2017_05") && has_month("events_2000_01") && has_month("events_odd"));
}
END_TEST

START_TEST(drop_is_done_by_one_server_at_a_time)
{
	static const char *const instants[] = {"2016-05-01T00:00:00Z"};
	(void)user_with_events(instants, 1);
	struct db_conn *const other = db_conn_new(&fixture_settings);
	ck_assert_int_eq(db_begin(other), ERR_OK);
	ck_assert_int_eq(
		db_script(other, "SELECT pg_advisory_xact_lock(hashtext('llmlab event retention'))"), ERR_OK);
	ck_assert(!drop_before("2016-06-01T00:00:00Z"));
	db_rollback(other);
	db_conn_free(other);
	ck_assert(drop_before("2016-06-01T00:00:00Z"));
}
END_TEST

/* The writer asks whether a batch was committed before a connection was lost. "None is stored" must not be
 * said of rows that may have been dropped: they would be counted twice. */
START_TEST(count_stored_is_not_known_when_the_month_was_dropped)
{
	const struct uuid user = new_user();
	const struct event_ref refs[2] = {{user, at("2015-05-01T00:00:00Z"), uuid_v7(1430438400000)},
		{user, at("2015-06-01T00:00:00Z"), uuid_v7(1433116800000)}};
	int64_t stored = -1;
	ck_assert_int_eq(events_ensure_partition(conn, refs[0].occurred_at_us), ERR_OK);
	ck_assert_int_eq(events_ensure_partition(conn, refs[1].occurred_at_us), ERR_OK);
	ck_assert_int_eq(events_count_stored(conn, refs, 2, &arena, &stored), ERR_OK);
	ck_assert_int_eq(stored, 0);
	drop_all_of_before("2015-06-01T00:00:00Z");
	stored = -1;
	ck_assert_int_eq(events_count_stored(conn, refs, 2, &arena, &stored), ERR_UNAVAILABLE);
	ck_assert_int_eq(stored, -1);
	ck_assert_int_eq(events_count_stored(conn, refs + 1, 1, &arena, &stored), ERR_OK);
	ck_assert_int_eq(stored, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("event retention");
	TCase *t = tcase_create("retention");
	tcase_add_test(t, drop_takes_months_that_have_ended_one_at_a_time_oldest_first);
	tcase_add_test(t, drop_leaves_what_is_in_use_and_other_tables_alone);
	tcase_add_test(t, drop_is_done_by_one_server_at_a_time);
	tcase_add_test(t, count_stored_is_not_known_when_the_month_was_dropped);
	return run_store_tests(s, t);
}
