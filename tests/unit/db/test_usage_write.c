/* Writing the sums: the rows of all tables from events, the sets, and what a new price changes. */

#include "store_fixture.h"

#include "llmlab/db/events.h"
#include "llmlab/db/usage_write.h"

static struct uuid user;
static struct usage_known_sets *known;

static void begin(void)
{
	test_begin();
	user = new_user();
	known = usage_known_sets_new();
	ck_assert_ptr_nonnull(known);
}

static void end(void)
{
	ck_assert_str_eq(drift(&user), "");
	usage_known_sets_free(known);
	test_end();
}

static struct event event_at(const char *instant)
{
	struct event e = {.user_id = user,
		.id = uuid_v4(),
		.occurred_at_us = at(instant),
		.received_at_us = at(instant),
		.provider = "p",
		.model = "m",
		.has_cost = true,
		.cost = usd("2"),
		.pricing_status = "priced",
		.price_rule = "equals",
		.catalogue_version = "test",
		.service_tier = "standard",
		.status = "success"};
	e.usage.counts[USAGE_input_tokens] = 100;
	e.usage.counts[USAGE_output_tokens] = 10;
	e.usage.counts[USAGE_cache_read_tokens] = 6;
	e.usage.counts[USAGE_cache_write_tokens] = 4;
	e.usage.counts[USAGE_cache_write_1h_tokens] = 3;
	e.usage.counts[USAGE_reasoning_tokens] = 2;
	return e;
}

static void run_statements(const struct usage_statements *s, PGresult **results)
{
	const struct db_params *params[USAGE_STATEMENTS_MAX];
	for (size_t i = 0; i < s->n; i++)
		params[i] = &s->params[i];
	const enum err e = db_pipeline(conn, s->stmts, params, s->n, results);
	ck_assert_msg(e == ERR_OK, "%s", db_last_message(conn));
}

/* As the writer does it; returns how many statements there were. */
static size_t store(const struct event *events, size_t n)
{
	struct buf copy;
	buf_init(&copy, 1 << 20);
	events_copy_header(&copy);
	struct usage_delta *const deltas = arena_array(&arena, n, sizeof(*deltas));
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(events_ensure_partition(conn, events[i].occurred_at_us), ERR_OK);
		events_copy_row(&copy, &events[i]);
		deltas[i] = usage_delta_insert(&events[i]);
	}
	events_copy_trailer(&copy);
	struct usage_statements s;
	ck_assert_int_eq(db_begin(conn), ERR_OK);
	ck_assert_int_eq(db_copy_begin(conn, EVENTS_COPY_SQL), ERR_OK);
	ck_assert_int_eq(db_copy_send(conn, copy.data, copy.len), ERR_OK);
	ck_assert_int_eq(usage_insert(deltas, n, known, db_conn_number(conn), &arena, &s), ERR_OK);
	run_statements(&s, NULL);
	ck_assert_int_eq(db_commit(conn), ERR_OK);
	usage_inserted(known, &s);
	buf_release(&copy);
	return s.n;
}

static const char *value(const char *sql)
{
	static int n;
	const struct db_stmt stmt = {arena_printf(&arena, "test_value_%d", n++), sql};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user);
	PGresult *r = NULL;
	const enum err e = db_run(conn, &stmt, &p, &r);
	ck_assert_msg(e == ERR_OK, "%s: %s", sql, db_last_message(conn));
	const char *const text = arena_strdup(&arena, db_text(r, 0, 0));
	PQclear(r);
	return text;
}

START_TEST(usage_delta_insert_takes_the_quarter_that_contains_the_time)
{
	const int64_t quarter_us = 900 * US_PER_SECOND;
	const struct {
		int64_t us, bucket_s;
	} cases[] = {{0, 0}, {quarter_us - 1, 0}, {quarter_us, 900}, {quarter_us + 1, 900}, {-1, -900},
		{-quarter_us, -900}, {-quarter_us - 1, -1800}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct event e = event_at("2026-05-01T00:00:00Z");
		e.occurred_at_us = cases[i].us;
		ck_assert_int_eq(usage_delta_insert(&e).bucket_s, cases[i].bucket_s);
	}
}
END_TEST

START_TEST(usage_delta_insert_of_an_unpriced_error_counts_no_money)
{
	struct event e = event_at("2026-05-01T00:00:00Z");
	e.has_cost = false; /* its cost member means nothing */
	e.status = "error";
	const struct usage_delta d = usage_delta_insert(&e);
	ck_assert_int_eq(d.calls, 1);
	ck_assert_int_eq(d.errors, 1);
	ck_assert_int_eq(d.unpriced_calls, 1);
	ck_assert(d.cost.atto == 0 && d.error_cost.atto == 0 && d.standard_cost.atto == 0);
}
END_TEST

/* Midnight, hours and quarters between them; an error, another tier, no price; other models, projects and
 * sets. */
START_TEST(usage_insert_fills_every_level)
{
	const char *const instants[] = {"2026-05-01T23:59:59.999999Z", "2026-05-02T00:00:00Z",
		"2026-05-02T00:14:59Z", "2026-05-02T00:15:00Z", "2026-05-02T01:00:00Z"};
	struct event e[20];
	for (size_t i = 0; i < 20; i++) {
		e[i] = event_at(instants[i % 5]);
		e[i].model = i % 3 == 0 ? "n" : "m";
		e[i].status = i % 4 == 0 ? "error" : "success";
		e[i].service_tier = i % 2 == 0 ? "standard" : "batch";
		if (i % 7 == 0)
			e[i].has_cost = false, e[i].pricing_status = "unpriced";
		if (i >= 10) {
			e[i].project = "web";
			e[i].customer = i >= 15 ? "it's \"{a}\\b" : NULL;
			e[i].tags_json = "{\"a\": \"x,y\"}";
			e[i].set_id.bytes[0] = i >= 15 ? 2 : 1;
		}
	}
	store(e, 20);
	ck_assert_str_eq(drift(&user), "");
	store((const struct event[]){event_at("2026-05-02T00:20:00Z")}, 1);
	ck_assert_str_eq(drift(&user), "");
	/* of 21 calls, 3 were not priced (7, 14 and the first) */
	ck_assert_str_eq(value("SELECT concat_ws(' ', sum(calls), sum(unpriced_calls), sum(cost)) FROM "
			       "usage_hour WHERE "
			       "user_id = $1"),
		"21 3 36");
	ck_assert_str_eq(value("SELECT count(*) FROM usage_sets WHERE user_id = $1"), "3");
	ck_assert_str_eq(
		value("SELECT count(DISTINCT bucket) FROM usage_set_model_day WHERE user_id = $1"), "2");
}
END_TEST

/* 500 events of the most that one may cost: 5 x 10^14 USD. */
START_TEST(usage_insert_of_the_dearest_events_is_exact)
{
	struct event *const e = arena_array(&arena, 500, sizeof(*e));
	for (size_t i = 0; i < 500; i++) {
		e[i] = event_at("2026-05-03T00:00:00Z");
		e[i].cost.atto = MONEY_MAX_USD * decimal_pow10(MONEY_SCALE);
	}
	store(e, 500);
	ck_assert_str_eq(value("SELECT cost FROM usage_model_day WHERE user_id = $1"), "500000000000000");
}
END_TEST

START_TEST(usage_insert_of_a_known_set_does_not_write_it)
{
	const struct event a = event_at("2026-05-04T00:00:00Z");
	struct event b = a;
	b.id = uuid_v4();
	ck_assert_uint_eq(store(&a, 1), 11);
	ck_assert_uint_eq(store(&b, 1), 10);
	struct event other = event_at("2026-05-04T00:00:00Z");
	other.user_id = user = new_user();
	ck_assert_uint_eq(store(&other, 1), 11);
}
END_TEST

/* Another connection may be one to a database that has lost the last transactions. */
START_TEST(usage_insert_after_a_reconnect_writes_sets_again)
{
	struct event e = event_at("2026-05-05T00:00:00Z");
	store(&e, 1);
	db_conn_drop(conn);
	e.id = uuid_v4();
	ck_assert_uint_eq(store(&e, 1), 11);
}
END_TEST

/* Restored in place, say: the connection stays, the sets are gone. */
START_TEST(usage_insert_after_the_database_was_set_back_fails_until_its_sets_are_forgotten)
{
	static const struct db_stmt GO_BACK = {"test_go_back",
		"WITH s AS (DELETE FROM usage_sets WHERE user_id = $1) UPDATE history_marks SET mark = gen_random_uuid()"};
	struct event e = event_at("2026-05-07T00:00:00Z");
	struct usage_statements s;
	struct db_params p;
	ck_assert_uint_eq(store(&e, 1), 11);
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user);
	run_sql(&GO_BACK, &p);
	/* with nothing but the known set, and with a new one beside it */
	for (int news = 0; news < 2; news++) {
		struct event of[2] = {e, e};
		struct usage_delta d[2];
		of[1].set_id = uuid_v4();
		for (int i = 0; i <= news; i++)
			d[i] = usage_delta_insert(&of[i]);
		ck_assert_int_eq(db_begin(conn), ERR_OK);
		ck_assert_int_eq(usage_insert(d, (size_t)news + 1, known, db_conn_number(conn), &arena, &s), ERR_OK);
		const struct db_params *params[USAGE_STATEMENTS_MAX];
		for (size_t i = 0; i < s.n; i++)
			params[i] = &s.params[i];
		ck_assert_int_eq(db_pipeline(conn, s.stmts, params, s.n, NULL), ERR_DB_CONSTRAINT);
		ck_assert_str_eq(db_last_sqlstate(conn), HISTORY_LOST_SQLSTATE);
		db_rollback(conn);
	}
	usage_forget_sets(known);
	e.id = uuid_v4();
	ck_assert_uint_eq(store(&e, 1), 11);
	ck_assert_str_eq(value("SELECT count(*) FROM usage_sets WHERE user_id = $1"), "1");
}
END_TEST

/* Servers that write the same rows do not deadlock, because each takes them in the order of its arrays. No sort stands
 * in the statements, so nothing but the scan of the arrays may stand between them and the table. */
START_TEST(usage_insert_takes_rows_in_the_order_of_its_arrays)
{
	struct event events[64];
	struct usage_delta deltas[64];
	for (size_t i = 0; i < 64; i++) {
		events[i] = event_at("2026-05-08T00:00:00Z");
		events[i].set_id = uuid_v4();
		deltas[i] = usage_delta_insert(&events[i]);
	}
	struct usage_statements s;
	ck_assert_int_eq(usage_insert(deltas, 64, known, db_conn_number(conn), &arena, &s), ERR_OK);
	size_t explained = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (strstr(s.stmts[i]->sql, "INSERT INTO usage_") != s.stmts[i]->sql || strstr(s.stmts[i]->sql, "ORDER BY") != NULL)
			continue;
		const struct db_stmt explain = {arena_printf(&arena, "explain_%s", s.stmts[i]->name),
			arena_printf(&arena, "EXPLAIN (COSTS OFF) %s", s.stmts[i]->sql)};
		PGresult *r = NULL;
		ck_assert_int_eq(db_run(conn, &explain, &s.params[i], &r), ERR_OK);
		for (int row = 0; row < db_rows(r); row++) {
			const char *const line = db_text(r, row, 0);
			ck_assert_msg(strstr(line, "->") == NULL || strstr(line, "->  Function Scan on k") != NULL, "%s", line);
		}
		PQclear(r);
		explained++;
	}
	ck_assert_uint_eq(explained, 9);
}
END_TEST

START_TEST(usage_insert_that_was_not_committed_is_not_known)
{
	const struct event e = event_at("2026-05-06T00:00:00Z");
	struct usage_delta d = usage_delta_insert(&e);
	struct usage_statements s;
	ck_assert_int_eq(db_begin(conn), ERR_OK);
	ck_assert_int_eq(usage_insert(&d, 1, known, db_conn_number(conn), &arena, &s), ERR_OK);
	run_statements(&s, NULL);
	db_rollback(conn);
	ck_assert_uint_eq(store(&e, 1), 11);
}
END_TEST

/* The old events, changed in the database and in the sums in one transaction; how many statements there were.
 */
static size_t reprice(const struct event *events, size_t n, bool has_cost, const char *cost, const char *tier)
{
	struct usage_delta *const deltas = arena_array(&arena, n, sizeof(*deltas));
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(
			usage_delta_reprice(&events[i], has_cost, usd(cost), tier, &deltas[i]), ERR_OK);
	static const struct db_stmt CHANGE = {"test_reprice",
		"UPDATE events SET cost = $2, service_tier = $3, pricing_status = CASE WHEN $2::numeric IS "
		"NULL THEN 'unpriced' "
		"ELSE 'priced' END WHERE user_id = $1"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user);
	db_param_text(&p, has_cost ? cost : NULL);
	db_param_text(&p, tier);
	struct usage_statements s;
	PGresult *results[USAGE_STATEMENTS_MAX];
	ck_assert_int_eq(usage_change(deltas, n, &arena, &s), ERR_OK);
	ck_assert_int_eq(db_begin(conn), ERR_OK);
	run_sql(&CHANGE, &p);
	if (s.n > 0)
		run_statements(&s, results);
	ck_assert(usage_changed(&s, results));
	for (size_t i = 0; i < s.n; i++)
		PQclear(results[i]);
	ck_assert_int_eq(db_commit(conn), ERR_OK);
	ck_assert_str_eq(drift(&user), "");
	return s.n;
}

START_TEST(usage_change_of_the_cost_reaches_every_level)
{
	struct event e[] = {event_at("2026-05-07T10:00:00Z"), event_at("2026-05-07T10:20:00Z"),
		event_at("2026-05-08T10:00:00Z")};
	e[1].status = "error";
	e[2].has_cost = false;
	e[2].pricing_status = "unpriced";
	store(e, 3);
	ck_assert_uint_eq(reprice(e, 3, true, "0.5", "standard"), 18);
	ck_assert_str_eq(value("SELECT concat_ws(' ', sum(cost), sum(error_cost), sum(unpriced_calls)) FROM "
			       "usage_set_model_day WHERE user_id = $1"),
		"1.5 0.5 0");
}
END_TEST

/* The same money at another tier. */
START_TEST(usage_change_of_the_tier_alone_moves_the_standard_cost)
{
	const struct event e = event_at("2026-05-09T10:00:00Z");
	store(&e, 1);
	ck_assert_uint_eq(reprice(&e, 1, true, "2", "batch"), 18);
	ck_assert_str_eq(
		value("SELECT concat_ws(' ', cost, standard_cost) FROM usage_hour WHERE user_id = $1"),
		"2 0");
}
END_TEST

START_TEST(usage_change_to_unpriced_and_nothing)
{
	struct event e = event_at("2026-05-10T10:00:00Z");
	store(&e, 1);
	ck_assert_uint_eq(reprice(&e, 1, false, "0", "standard"), 18);
	e.has_cost = false;
	ck_assert_uint_eq(reprice(&e, 1, false, "0", "standard"), 0);
}
END_TEST

START_TEST(usage_changed_with_a_row_gone_is_false)
{
	const struct event e = event_at("2026-05-11T10:00:00Z");
	store(&e, 1);
	struct usage_delta d;
	ck_assert_int_eq(usage_delta_reprice(&e, true, usd("3"), "standard", &d), ERR_OK);
	struct usage_statements s;
	PGresult *results[USAGE_STATEMENTS_MAX];
	ck_assert_int_eq(usage_change(&d, 1, &arena, &s), ERR_OK);
	ck_assert_int_eq(db_begin(conn), ERR_OK);
	value("WITH gone AS (DELETE FROM usage_set_model_day WHERE user_id = $1 RETURNING 1) SELECT count(*) "
	      "FROM "
	      "gone");
	run_statements(&s, results);
	ck_assert(!usage_changed(&s, results));
	for (size_t i = 0; i < s.n; i++)
		PQclear(results[i]);
	db_rollback(conn);
}
END_TEST

START_TEST(usage_delta_reprice_beyond_128_bits_is_range)
{
	struct event e = event_at("2026-05-12T10:00:00Z");
	e.cost.atto = -decimal_pow10(38);
	struct usage_delta d;
	ck_assert_int_eq(
		usage_delta_reprice(&e, true, (struct money){decimal_pow10(38)}, "standard", &d), ERR_RANGE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("usage write");
	TCase *t = tcase_create("usage write");
	tcase_add_unchecked_fixture(t, fixture_start, fixture_stop);
	tcase_add_checked_fixture(t, begin, end);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, usage_delta_insert_takes_the_quarter_that_contains_the_time);
	tcase_add_test(t, usage_delta_insert_of_an_unpriced_error_counts_no_money);
	tcase_add_test(t, usage_insert_fills_every_level);
	tcase_add_test(t, usage_insert_of_the_dearest_events_is_exact);
	tcase_add_test(t, usage_insert_of_a_known_set_does_not_write_it);
	tcase_add_test(t, usage_insert_after_a_reconnect_writes_sets_again);
	tcase_add_test(t, usage_insert_after_the_database_was_set_back_fails_until_its_sets_are_forgotten);
	tcase_add_test(t, usage_insert_takes_rows_in_the_order_of_its_arrays);
	tcase_add_test(t, usage_insert_that_was_not_committed_is_not_known);
	tcase_add_test(t, usage_change_of_the_cost_reaches_every_level);
	tcase_add_test(t, usage_change_of_the_tier_alone_moves_the_standard_cost);
	tcase_add_test(t, usage_change_to_unpriced_and_nothing);
	tcase_add_test(t, usage_changed_with_a_row_gone_is_false);
	tcase_add_test(t, usage_delta_reprice_beyond_128_bits_is_range);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
