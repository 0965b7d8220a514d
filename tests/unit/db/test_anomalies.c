/* What the search for unusual spend keeps and asks, against a real PostgreSQL. */

#include "store_fixture.h"

#include "llmlab/db/anomalies.h"
#include "llmlab/db/spend_users.h"

#define DAY_US (24 * US_PER_HOUR)

static struct stored_anomaly sample(const char *id, const char *granularity, const char *start)
{
	return (struct stored_anomaly){.id = id,
		.granularity = granularity,
		.scope_json = "{\"model\": \"m\"}",
		.severity = "high",
		.start_us = at(start),
		.end_us = at(start) + DAY_US,
		.cost = usd("12.5"),
		.expected = usd("2.25"),
		.score = 7.125,
		.event_id = uuid_v4()};
}

static struct test_event event_of(
	const char *when, const char *model, const char *cost, const char *project, const char *tags)
{
	return (struct test_event){
		.at = when, .provider = "p", .model = model, .cost = cost, .project = project, .tags = tags};
}

START_TEST(anomalies_store_is_new_once)
{
	const struct uuid user = new_user(), other = new_user();
	struct stored_anomaly a = sample("0123456789abcdef", "day", "2026-03-01T00:00:00Z");
	bool is_new = false;
	ck_assert_int_eq(
		anomalies_store(conn, &user, &a, at("2026-03-01T10:00:00Z"), &arena, &is_new), ERR_OK);
	ck_assert(is_new);
	a.cost = usd("20");
	a.event_id = (struct uuid){{0}};
	ck_assert_int_eq(
		anomalies_store(conn, &user, &a, at("2026-03-01T11:00:00Z"), &arena, &is_new), ERR_OK);
	ck_assert(!is_new);
	/* even in the same microsecond */
	ck_assert_int_eq(
		anomalies_store(conn, &user, &a, at("2026-03-01T10:00:00Z"), &arena, &is_new), ERR_OK);
	ck_assert(!is_new);
	ck_assert_int_eq(
		anomalies_store(conn, &other, &a, at("2026-03-01T11:00:00Z"), &arena, &is_new), ERR_OK);
	ck_assert(is_new);
	static const struct db_stmt READ = {"test_anomaly",
		"SELECT cost = 20 AND expected_cost = 2.25 AND score = 7.125 AND event_id IS NOT NULL AND "
		"scope = '{\"model\": \"m\"}'"
		" AND detected_at = '2026-03-01T10:00:00Z' FROM anomalies WHERE user_id = $1"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user);
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(conn, &READ, &p, &r), ERR_OK);
	ck_assert_int_eq(db_rows(r), 1);
	ck_assert(db_bool(r, 0, 0));
	PQclear(r);
}
END_TEST

START_TEST(anomalies_has_and_drop_go_by_user_granularity_and_time)
{
	const struct uuid user = new_user(), other = new_user();
	const struct stored_anomaly a = sample("00000000000000aa", "hour", "2026-03-01T05:00:00Z");
	const int64_t from_us = at("2026-03-01T00:00:00Z");
	bool got = false;
	ck_assert_int_eq(anomalies_store(conn, &user, &a, a.start_us, &arena, &got), ERR_OK);
	ck_assert_int_eq(anomalies_has(conn, &user, "hour", from_us, from_us + DAY_US, &got), ERR_OK);
	ck_assert(got);
	ck_assert_int_eq(anomalies_has(conn, &user, "day", from_us, from_us + DAY_US, &got), ERR_OK);
	ck_assert(!got);
	ck_assert_int_eq(anomalies_has(conn, &user, "hour", from_us, a.start_us, &got), ERR_OK);
	ck_assert(!got);
	ck_assert_int_eq(anomalies_has(conn, &other, "hour", from_us, from_us + DAY_US, &got), ERR_OK);
	ck_assert(!got);
	ck_assert_int_eq(anomalies_drop(conn, &other, a.start_us + 1), ERR_OK);
	ck_assert_int_eq(anomalies_drop(conn, &user, a.start_us), ERR_OK);
	ck_assert_int_eq(anomalies_has(conn, &user, "hour", from_us, from_us + DAY_US, &got), ERR_OK);
	ck_assert(got);
	ck_assert_int_eq(anomalies_drop(conn, &user, a.start_us + 1), ERR_OK);
	ck_assert_int_eq(anomalies_has(conn, &user, "hour", from_us, from_us + DAY_US, &got), ERR_OK);
	ck_assert(!got);
}
END_TEST

START_TEST(anomalies_dearest_event_is_of_the_scope_and_time)
{
	const struct uuid user = new_user(), other = new_user();
	const struct test_event events[] = {
		event_of("2026-03-01T10:00:00Z", "m", "5", "x", "{\"team\": \"a\"}"),
		event_of("2026-03-01T11:00:00Z", "m", "7", "y", NULL),
		event_of("2026-03-01T12:00:00Z", "n", "6", "x", NULL),
		event_of("2026-03-01T13:00:00Z", "m", NULL, "x", NULL),
		event_of("2026-03-02T00:00:00Z", "m", "99", "x", NULL)};
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		add_event(&user, &events[i]);
	const struct test_event dear = event_of("2026-03-01T10:00:00Z", "m", "1000", "x", NULL);
	add_event(&other, &dear);
	static const struct usage_filter SCOPES[] = {{.provider = NULL}, {.provider = "p", .model = "n"},
		{.project = "x"}, {.tag_key = "team", .tag_value = "a"}, {.model = "none"}};
	static const char *const COSTS[] = {"7", "6", "6", "5", NULL};
	static const struct db_stmt COST = {
		"test_cost", "SELECT cost FROM events WHERE user_id = $1 AND id = $2"};
	for (size_t i = 0; i < 5; i++) {
		struct uuid id = uuid_v4();
		ck_assert_int_eq(anomalies_dearest_event(conn, &user, &SCOPES[i], at("2026-03-01T00:00:00Z"),
					 at("2026-03-02T00:00:00Z"), &arena, &id),
			ERR_OK);
		ck_assert_int_eq(uuid_is_zero(&id), COSTS[i] == NULL);
		if (COSTS[i] == NULL)
			continue;
		struct db_params p;
		db_params_init(&p, &arena);
		db_param_uuid(&p, &user);
		db_param_uuid(&p, &id);
		PGresult *r = NULL;
		ck_assert_int_eq(db_run(conn, &COST, &p, &r), ERR_OK);
		ck_assert_str_eq(usd_text(db_money(r, 0, 0)), COSTS[i]);
		PQclear(r);
	}
}
END_TEST

/* An event with an id as the server makes them. */
static struct uuid add_event_with_id(const struct uuid *user, const char *when)
{
	static const struct db_stmt RENAME = {"test_event_id",
		"UPDATE events SET id = $2 WHERE user_id = $1 AND occurred_at = $3::timestamptz"};
	const struct test_event e = event_of(when, "m", "5", NULL, NULL);
	const struct uuid id = uuid_v7(at(when) / US_PER_MS);
	struct db_params p;
	add_event(user, &e);
	db_params_init(&p, &arena);
	db_param_uuid(&p, user);
	db_param_uuid(&p, &id);
	db_param_text(&p, when);
	run_sql(&RENAME, &p);
	return id;
}

START_TEST(anomalies_events_exist_tells_which_are_there)
{
	const struct uuid user = new_user(), other = new_user();
	static const char *const MARCH = "2026-03-01T10:00:00.123456Z";
	const struct uuid ids[] = {uuid_v7(at(MARCH) / US_PER_MS), /* nobody's */
		add_event_with_id(&user, MARCH), add_event_with_id(&other, MARCH),
		add_event_with_id(&user, "2026-04-01T10:00:00Z")};
	bool exist[] = {true, false, true, false};
	ck_assert_int_eq(anomalies_events_exist(conn, &user, ids, 4, &arena, exist), ERR_OK);
	ck_assert(!exist[0] && exist[1] && !exist[2] && exist[3]);
}
END_TEST

/* Such an event may have been put there by hand. */
START_TEST(anomalies_events_exist_finds_no_ids_of_times_that_there_are_not)
{
	const struct uuid user = new_user();
	const struct uuid there = add_event_with_id(&user, "2026-03-01T10:00:00.123456Z");
	struct uuid late = there;
	memset(late.bytes, 0xff, 6);
	const struct uuid both[] = {late, there};
	bool exist[] = {true, false};
	ck_assert_int_eq(anomalies_events_exist(conn, &user, both, 2, &arena, exist), ERR_OK);
	ck_assert(!exist[0] && exist[1]);
	exist[0] = true;
	ck_assert_int_eq(anomalies_events_exist(conn, &user, &late, 1, &arena, exist), ERR_OK);
	ck_assert(!exist[0]);
}
END_TEST

static struct spend_state state_of(const struct uuid *user)
{
	struct spend_state s = {0};
	ck_assert_int_eq(anomalies_spend_state(conn, user, &s), ERR_OK);
	return s;
}

START_TEST(anomalies_spend_state_counts_the_users_ledger)
{
	static const struct db_stmt REPRICING = {"test_repricing",
		"INSERT INTO repricings (user_id, id, kind, range_from, range_to, cursor_at, cursor_id, "
		"events_examined,"
		" events_changed) SELECT $1, gen_random_uuid(), 'requested', now() - interval '1 day', "
		"now(), now(),"
		" gen_random_uuid(), 9, $2::bigint"};
	const struct uuid user = new_user(), other = new_user();
	const struct spend_state none = state_of(&user);
	ck_assert_int_eq(none.repricings, 0);
	ck_assert_int_eq(none.repriced_events, 0);
	ck_assert_int_gt(none.server_start_us, at("2020-01-01T00:00:00Z"));
	ck_assert_int_gt(none.database, 0);
	ck_assert_int_gt(none.sums_file, 0);
	for (int64_t changed = 4; changed <= 7; changed += 3) {
		struct db_params p;
		db_params_init(&p, &arena);
		db_param_uuid(&p, &user);
		db_param_i64(&p, changed);
		run_sql(&REPRICING, &p);
	}
	const struct spend_state two = state_of(&user), others = state_of(&other);
	ck_assert_int_eq(two.repricings, 2);
	ck_assert_int_eq(two.repriced_events, 11);
	ck_assert_int_eq(two.server_start_us, none.server_start_us);
	ck_assert_int_eq(two.database, none.database);
	ck_assert_int_eq(two.sums_file, none.sums_file);
	ck_assert_int_eq(others.repricings, 0);
	ck_assert_int_eq(others.repriced_events, 0);
}
END_TEST

START_TEST(anomalies_tag_keys_are_the_users_most_used)
{
	const struct uuid user = new_user(), other = new_user();
	static const struct db_stmt SET = {"test_set",
		"INSERT INTO usage_sets (user_id, id, project, customer, tags) VALUES ($1, "
		"gen_random_uuid(), '', '', $2::jsonb)"};
	static const char *const TAGS[] = {"{\"a\": \"1\", \"b\": \"1\"}", "{\"b\": \"2\"}",
		"{\"c\": \"1\", \"b\": \"3\"}", NULL, "{\"c\": \"2\"}"};
	for (size_t i = 0; i < sizeof(TAGS) / sizeof(TAGS[0]); i++) {
		struct db_params p;
		db_params_init(&p, &arena);
		db_param_uuid(&p, &user);
		db_param_text(&p, TAGS[i]);
		run_sql(&SET, &p);
	}
	const char **keys;
	size_t n;
	ck_assert_int_eq(anomalies_tag_keys(conn, &user, 2, &arena, &keys, &n), ERR_OK);
	ck_assert_int_eq((int)n, 2);
	ck_assert_str_eq(keys[0], "b");
	ck_assert_str_eq(keys[1], "c");
	ck_assert_int_eq(anomalies_tag_keys(conn, &other, 2, &arena, &keys, &n), ERR_OK);
	ck_assert_int_eq((int)n, 0);
}
END_TEST

static void add_hour(const struct uuid *user, const char *bucket)
{
	static const struct db_stmt HOUR = {"test_hour",
		"INSERT INTO usage_hour (user_id, bucket, calls, errors, unpriced_calls, input_tokens, "
		"output_tokens,"
		" cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, "
		"error_cost, standard_cost)"
		" VALUES ($1, $2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1)"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user);
	db_param_instant(&p, at(bucket));
	run_sql(&HOUR, &p);
}

static bool claim(struct db_conn *c, const struct uuid *user, const char *before, const char *now)
{
	bool claimed = false;
	ck_assert_int_eq(anomaly_scans_claim(c, user, at(before), at(now), &claimed), ERR_OK);
	return claimed;
}

static bool is_due(const struct uuid *user, const char *before)
{
	struct anomaly_user *users;
	size_t n;
	ck_assert_int_eq(
		anomaly_scans_due(conn, at("2030-01-01T00:00:00Z"), at(before), 1000, &arena, &users, &n),
		ERR_OK);
	for (size_t i = 0; i < n; i++)
		if (uuid_equal(&users[i].id, user))
			return true;
	return false;
}

START_TEST(anomaly_scans_due_and_claim_share_the_users)
{
	const struct uuid user = new_user(), quiet = new_user();
	add_hour(&user, "2030-01-01T05:00:00Z");
	add_hour(&quiet, "2029-12-31T23:00:00Z");
	ck_assert(is_due(&user, "2030-01-02T00:00:00Z"));
	ck_assert(!is_due(&quiet, "2030-01-02T00:00:00Z"));
	struct db_conn *second = db_conn_new(&fixture_settings);
	ck_assert_int_eq(db_begin(conn), ERR_OK);
	ck_assert(claim(conn, &user, "2030-01-02T00:00:00Z", "2030-01-02T00:15:00Z"));
	/* Another server does not wait for it. */
	ck_assert_int_eq(db_begin(second), ERR_OK);
	ck_assert(!claim(second, &user, "2030-01-02T00:00:00Z", "2030-01-02T00:15:00Z"));
	db_rollback(second);
	ck_assert_int_eq(db_commit(conn), ERR_OK);
	/* It is done now, until its time is up. */
	ck_assert(!claim(second, &user, "2030-01-02T00:00:00Z", "2030-01-02T00:16:00Z"));
	ck_assert(!is_due(&user, "2030-01-02T00:15:00Z"));
	ck_assert(is_due(&user, "2030-01-02T00:15:01Z"));
	ck_assert(claim(second, &user, "2030-01-02T00:15:01Z", "2030-01-02T00:30:00Z"));
	const struct uuid nobody = uuid_v4();
	ck_assert(!claim(second, &nobody, "2030-01-02T00:15:01Z", "2030-01-02T00:30:00Z"));
	db_conn_free(second);
}
END_TEST

START_TEST(spend_users_list_pages_by_id)
{
	const struct uuid users[] = {new_user(), new_user(), new_user()};
	(void)new_user(); /* without usage */
	for (size_t i = 0; i < 3; i++) {
		add_hour(&users[i], "2026-05-02T05:00:00Z");
		add_hour(&users[i], "2026-05-01T05:00:00Z");
	}
	struct uuid after = {{0}};
	size_t n = 0, seen = 0;
	do {
		struct spend_user *rows;
		ck_assert_int_eq(spend_users_list(conn, &after, NULL, 2, &arena, &rows, &n), ERR_OK);
		for (size_t i = 0; i < n; i++) {
			ck_assert_int_gt(memcmp(rows[i].id.bytes, after.bytes, sizeof(after.bytes)), 0);
			after = rows[i].id;
			for (size_t j = 0; j < 3; j++) {
				if (!uuid_equal(&after, &users[j]))
					continue;
				seen++;
				ck_assert(rows[i].first_us == at("2026-05-01T05:00:00Z"));
			}
		}
	} while (n == 2);
	ck_assert_int_eq((int)seen, 3);
	char email[64], id[UUID_TEXT_SIZE];
	uuid_format(&users[1], id);
	snprintf(email, sizeof(email), "%s@EXAMPLE.com", id);
	struct spend_user *rows;
	const struct uuid first = {{0}};
	ck_assert_int_eq(spend_users_list(conn, &first, email, 2, &arena, &rows, &n), ERR_OK);
	ck_assert_int_eq((int)n, 1);
	ck_assert(uuid_equal(&rows[0].id, &users[1]));
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("anomalies");
	tcase_add_test(t, anomalies_store_is_new_once);
	tcase_add_test(t, anomalies_has_and_drop_go_by_user_granularity_and_time);
	tcase_add_test(t, anomalies_dearest_event_is_of_the_scope_and_time);
	tcase_add_test(t, anomalies_events_exist_tells_which_are_there);
	tcase_add_test(t, anomalies_events_exist_finds_no_ids_of_times_that_there_are_not);
	tcase_add_test(t, anomalies_spend_state_counts_the_users_ledger);
	tcase_add_test(t, anomalies_tag_keys_are_the_users_most_used);
	tcase_add_test(t, anomaly_scans_due_and_claim_share_the_users);
	tcase_add_test(t, spend_users_list_pages_by_id);
	return run_store_tests(suite_create("anomalies"), t);
}
