/* What the ingest writer stores and answers while the database is well. */

#include "ingest_fixture.h"

#include "llmlab/db/accounts.h"

START_TEST(submit_one_event_is_stored_with_its_rollup)
{
	const struct uuid user = new_user();
	const int64_t counted = metric_get(METRIC_INGEST_EVENTS);
	struct test_group *g = group_of(plain_event(&user, "2026-03-01T10:20:30Z"), 1, NULL);
	expect_all(g, INGEST_STORED);
	ck_assert_int_eq(events_of(&user), 1);
	ck_assert_int_eq(metric_get(METRIC_INGEST_EVENTS) - counted, 1);
	/* 10:20:30 belongs to the quarter that begins at 10:15. */
	ck_assert_int_eq(
		number_of_user("rollup_of_one",
			"SELECT count(*) FROM usage_model_15m WHERE user_id = $1 AND bucket = '2026-03-01 "
			"10:15:00Z'"
			" AND calls = 1 AND input_tokens = 1000 AND output_tokens = 500 AND cost = 0.06"
			" AND errors = 0 AND unpriced_calls = 0",
			&user),
		1);
	free_group(g);
}
END_TEST

START_TEST(submit_many_models_and_months_sums_exactly)
{
	const struct uuid user = new_user();
	const char *const times[] = {
		"2025-12-31T23:59:59.999999Z", "2026-01-01T00:00:00Z", "2026-01-01T00:14:59Z"};
	const char *const models[] = {"gpt-4", "gpt-4o", "o3"};
	struct test_group *g = new_group(900);
	for (size_t i = 0; i < 900; i++) {
		struct event e = plain_event(&user, times[i % 3]);
		e.model = models[i / 3 % 3];
		e.project = i % 2 == 0 ? "web" : NULL;
		e.status = i % 10 == 0 ? "error" : "success";
		e.cost = usd("0.000000000000000001");
		e.has_cost = i % 9 != 0;
		e.pricing_status = e.has_cost ? "priced" : "unpriced";
		e.usage.counts[USAGE_cache_read_tokens] = (int64_t)i;
		g->group.items[i] = new_item(e);
	}
	expect_all(g, INGEST_STORED);
	/* 3 times in 2 quarters, 3 models, with and without project: 2 x 3 x 2 rows. Unpriced: i = 0, 9 ..
	 * 891 = 100 of 900, so 800 attos. Cached tokens: 0 + .. + 899 = 404,550. */
	ck_assert_int_eq(number_of_user("rollup_rows",
				 "SELECT count(*) FROM usage_model_15m WHERE user_id = $1", &user),
		12);
	ck_assert_int_eq(number_of_user("rollup_sums",
				 "SELECT count(*) FROM (SELECT sum(calls) AS calls, sum(errors) AS errors, "
				 "sum(unpriced_calls) AS u,"
				 " sum(cost) AS cost, sum(cache_read_tokens) AS c FROM usage_model_15m WHERE "
				 "user_id = $1) AS s"
				 " WHERE calls = 900 AND errors = 90 AND u = 100 AND cost = "
				 "0.0000000000000008 AND c = 404550",
				 &user),
		1);
	free_group(g);
}
END_TEST

START_TEST(submit_more_than_a_batch_completes_the_group_once)
{
	const struct uuid user = new_user();
	struct test_group *g = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 2500, NULL);
	expect_all(g, INGEST_STORED);
	ck_assert_int_eq(events_of(&user), 2500);
	free_group(g);
}
END_TEST

START_TEST(submit_same_key_twice_in_a_batch_stores_the_first)
{
	const struct uuid user = new_user();
	struct event e = plain_event(&user, "2026-03-01T00:00:00Z");
	e.idempotency_key = "same";
	struct test_group *g = new_group(3);
	for (size_t i = 0; i < 3; i++)
		g->group.items[i] = new_item(e);
	submit(g);
	wait_group(g);
	ck_assert_int_eq(outcome_of(g, 0), INGEST_STORED);
	for (size_t i = 1; i < 3; i++) {
		ck_assert_int_eq(outcome_of(g, i), INGEST_DUPLICATE);
		ck_assert(uuid_equal(&g->group.items[i]->event.id, &g->group.items[0]->event.id));
		ck_assert_str_eq(g->group.items[i]->event.model, "gpt-4");
	}
	ck_assert_int_eq(events_of(&user), 1);
	free_group(g);
}
END_TEST

START_TEST(submit_same_key_with_another_event_in_a_batch_is_a_mismatch)
{
	const struct uuid user = new_user();
	struct event e = plain_event(&user, "2026-03-01T00:00:00Z");
	e.idempotency_key = "same";
	struct test_group *g = new_group(2);
	g->group.items[0] = new_item(e);
	e.usage.counts[USAGE_input_tokens]++;
	g->group.items[1] = new_item(e);
	submit(g);
	wait_group(g);
	ck_assert_int_eq(outcome_of(g, 0), INGEST_STORED);
	ck_assert_int_eq(outcome_of(g, 1), INGEST_MISMATCH);
	ck_assert_int_eq(events_of(&user), 1);
	free_group(g);
}
END_TEST

START_TEST(submit_a_stored_key_answers_the_first_result)
{
	const struct uuid user = new_user();
	struct event e = plain_event(&user, "2026-03-01T00:00:00Z");
	e.idempotency_key = "same";
	e.metadata_json = "{\"a\": 1}";
	struct test_group *first = group_of(e, 1, "k");
	expect_all(first, INGEST_STORED);
	/* The catalogue says something else by now: not part of the fingerprint. */
	e.cost = usd("0.07");
	struct test_group *second = group_of(e, 1, "k");
	expect_all(second, INGEST_DUPLICATE);
	const struct event *got = &second->group.items[0]->event;
	ck_assert(uuid_equal(&got->id, &first->group.items[0]->event.id));
	ck_assert(got->cost.atto == usd("0.06").atto);
	ck_assert_str_eq(got->metadata_json, "{\"a\": 1}");
	ck_assert_str_eq(got->idempotency_key, "k0");
	ck_assert_int_eq(events_of(&user), 1);
	free_group(first);
	free_group(second);
}
END_TEST

START_TEST(submit_a_stored_key_in_another_month_is_a_duplicate)
{
	const struct uuid user = new_user();
	struct test_group *first = group_of(plain_event(&user, "2025-01-10T00:00:00Z"), 3, "k");
	expect_all(first, INGEST_STORED);
	struct test_group *second = group_of(plain_event(&user, "2026-03-10T00:00:00Z"), 3, "k");
	expect_all(second, INGEST_DUPLICATE);
	ck_assert_int_eq(second->group.items[2]->event.occurred_at_us, at("2025-01-10T00:00:00Z"));
	ck_assert_int_eq(events_of(&user), 3);
	free_group(first);
	free_group(second);
}
END_TEST

START_TEST(submit_stored_and_new_keys_and_none_together_stores_the_new)
{
	const struct uuid user = new_user();
	struct event e = plain_event(&user, "2026-03-01T00:00:00Z");
	struct test_group *first = group_of(e, 2, "k");
	expect_all(first, INGEST_STORED);
	struct test_group *g = new_group(4);
	e.idempotency_key = "k0";
	g->group.items[0] = new_item(e);
	e.idempotency_key = "k9";
	g->group.items[1] = new_item(e);
	e.idempotency_key = NULL;
	g->group.items[2] = new_item(e);
	e.idempotency_key = "k1";
	e.customer = "another";
	g->group.items[3] = new_item(e);
	submit(g);
	wait_group(g);
	ck_assert_int_eq(outcome_of(g, 0), INGEST_DUPLICATE);
	ck_assert_int_eq(outcome_of(g, 1), INGEST_STORED);
	ck_assert_int_eq(outcome_of(g, 2), INGEST_STORED);
	ck_assert_int_eq(outcome_of(g, 3), INGEST_MISMATCH);
	ck_assert_int_eq(events_of(&user), 4);
	free_group(first);
	free_group(g);
}
END_TEST

/* The first item of the batch does not fit what is stored, later ones with the same key do. */
START_TEST(submit_mismatch_before_a_repeat_in_a_batch_answers_each)
{
	const struct uuid user = new_user();
	struct event e = plain_event(&user, "2026-03-01T00:00:00Z");
	struct test_group *first = group_of(e, 1, "k");
	expect_all(first, INGEST_STORED);
	struct test_group *g = new_group(4);
	e.idempotency_key = "k0";
	g->group.items[1] = new_item(e);
	g->group.items[3] = new_item(e);
	e.customer = "another";
	g->group.items[0] = new_item(e);
	g->group.items[2] = new_item(e);
	submit(g);
	wait_group(g);
	ck_assert_int_eq(outcome_of(g, 0), INGEST_MISMATCH);
	ck_assert_int_eq(outcome_of(g, 1), INGEST_DUPLICATE);
	ck_assert_int_eq(outcome_of(g, 2), INGEST_MISMATCH);
	ck_assert_int_eq(outcome_of(g, 3), INGEST_DUPLICATE);
	free_group(first);
	free_group(g);
}
END_TEST

START_TEST(submit_same_key_of_another_user_is_stored)
{
	const struct uuid one = new_user(), other = new_user();
	struct test_group *a = group_of(plain_event(&one, "2026-03-01T00:00:00Z"), 1, "k");
	struct test_group *b = group_of(plain_event(&other, "2026-03-01T00:00:00Z"), 1, "k");
	expect_all(a, INGEST_STORED);
	expect_all(b, INGEST_STORED);
	free_group(a);
	free_group(b);
}
END_TEST

START_TEST(submit_same_keys_to_two_servers_stores_each_once)
{
	const struct uuid user = new_user();
	const struct event e = plain_event(&user, "2026-03-01T00:00:00Z");
	struct ingest *other = start_ingest(&test_settings);
	for (int round = 0; round < 10; round++) {
		const char *prefix = arena_printf(&arena, "r%d-", round);
		struct test_group *a = group_of(e, 300, prefix), *b = group_of(e, 300, prefix);
		submit(a);
		ck_assert_int_eq(ingest_submit(other, &b->group), ERR_OK);
		wait_group(a);
		wait_group(b);
		for (size_t i = 0; i < 300; i++) {
			const enum ingest_outcome x = outcome_of(a, i), y = outcome_of(b, i);
			ck_assert(x == INGEST_STORED || y == INGEST_STORED);
			ck_assert(x == INGEST_DUPLICATE || y == INGEST_DUPLICATE);
			ck_assert(uuid_equal(&a->group.items[i]->event.id, &b->group.items[i]->event.id));
		}
		free_group(a);
		free_group(b);
	}
	ingest_stop(other, clock_mono_us() + 10 * US_PER_SECOND);
	ingest_free(other);
	ck_assert_int_eq(events_of(&user), 3000);
}
END_TEST

START_TEST(submit_a_bad_row_is_refused_alone)
{
	const struct uuid user = new_user();
	struct test_group *g = new_group(100);
	for (size_t i = 0; i < 100; i++) {
		struct event e = plain_event(&user, "2026-03-01T00:00:00Z");
		if (i % 3 == 0)
			e.idempotency_key = arena_printf(&arena, "k%zu", i);
		if (i == 37 || i == 60)
			e.status = "unheard of"; /* violates events_status */
		g->group.items[i] = new_item(e);
	}
	submit(g);
	wait_group(g);
	ck_assert_uint_eq(count_outcomes(g, INGEST_STORED), 98);
	ck_assert_int_eq(outcome_of(g, 37), INGEST_REFUSED);
	ck_assert_int_eq(outcome_of(g, 60), INGEST_REFUSED);
	ck_assert_int_eq(events_of(&user), 98);
	/* The key of the refused event is free. */
	ck_assert_int_eq(
		number_of_user("keys_left", "SELECT count(*) FROM event_keys WHERE user_id = $1", &user), 33);
	free_group(g);
}
END_TEST

START_TEST(submit_repeat_of_a_refused_event_is_refused_and_another_is_stored)
{
	const struct uuid user = new_user();
	struct event bad = plain_event(&user, "2026-03-01T00:00:00Z");
	bad.idempotency_key = "k";
	struct event good = bad;
	bad.status = "unheard of";
	struct test_group *g = new_group(3);
	g->group.items[0] = new_item(bad);
	g->group.items[1] = new_item(bad);
	g->group.items[2] = new_item(good);
	submit(g);
	wait_group(g);
	ck_assert_int_eq(outcome_of(g, 0), INGEST_REFUSED);
	ck_assert_int_eq(outcome_of(g, 1), INGEST_REFUSED);
	ck_assert_int_eq(outcome_of(g, 2), INGEST_STORED);
	free_group(g);
}
END_TEST

START_TEST(submit_for_a_deleted_user_is_user_gone_and_others_are_stored)
{
	const struct uuid user = new_user(), nobody = uuid_v7(1), blocker_user = new_user();
	struct test_group *blocker = group_of(plain_event(&blocker_user, "2026-03-01T00:00:00Z"), 1, NULL);
	struct test_group *gone = group_of(plain_event(&nobody, "2026-03-01T00:00:00Z"), 5, NULL);
	struct test_group *gone_keyed = group_of(plain_event(&nobody, "2026-03-01T00:00:00Z"), 5, "k");
	struct test_group *good = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 5, NULL);
	/* While the writer is held up with the first, the others gather in one batch. */
	hold_writer();
	submit(blocker);
	await_held_writer();
	submit(gone);
	submit(gone_keyed);
	submit(good);
	let_writer_go();
	wait_group(blocker);
	wait_group(gone);
	wait_group(gone_keyed);
	wait_group(good);
	ck_assert_uint_eq(count_outcomes(gone, INGEST_USER_GONE), 5);
	ck_assert_uint_eq(count_outcomes(gone_keyed, INGEST_USER_GONE), 5);
	ck_assert_uint_eq(count_outcomes(good, INGEST_STORED), 5);
	free_group(blocker);
	free_group(gone);
	free_group(gone_keyed);
	free_group(good);
}
END_TEST

/* Requests that were in flight when a large account was deleted, while it is removed piece by piece: what of
 * them is stored goes with the rest, and once the account is gone nothing is. */
START_TEST(submit_while_the_account_is_being_removed_leaves_nothing_of_it)
{
	const struct uuid user = new_user();
	size_t stored = 0, refused = 0;
	bool more = true;
	struct test_group *first = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 50, NULL);
	expect_all(first, INGEST_STORED);
	free_group(first);
	number_of_user("mark", "UPDATE users SET deleted_at = now() WHERE id = $1 RETURNING 1", &user);
	for (int round = 0; refused == 0; round++) {
		ck_assert_int_lt(round, 100);
		struct test_group *late = group_of(
			plain_event(&user, round % 2 == 0 ? "2026-03-01T00:00:00Z" : "2026-04-01T00:00:00Z"),
			3, arena_printf(&arena, "late-%d-", round));
		submit(late);
		if (round == 0) /* stored for certain; the others while the account goes */
			wait_group(late);
		/* from the tenth round on an account of so few rows is removed as a whole */
		ck_assert_int_eq(accounts_purge(conn, round < 10 ? 0 : 1000, &more), ERR_OK);
		wait_group(late);
		stored += count_outcomes(late, INGEST_STORED);
		refused += count_outcomes(late, INGEST_USER_GONE);
		ck_assert_uint_eq(stored + refused, 3 * ((size_t)round + 1));
		free_group(late);
	}
	ck_assert_uint_gt(stored, 0);
	ck_assert_int_eq(events_of(&user), 0);
	ck_assert_int_eq(
		number_of_user("keys_left", "SELECT count(*) FROM event_keys WHERE user_id = $1", &user), 0);
	ck_assert_int_eq(
		number_of_user("sets_left", "SELECT count(*) FROM usage_sets WHERE user_id = $1", &user), 0);
	ck_assert_int_eq(
		number_of_user("sums_left", "SELECT count(*) FROM usage_set_day WHERE user_id = $1", &user),
		0);
}
END_TEST

START_TEST(submit_after_the_partition_was_dropped_makes_it_again)
{
	const struct uuid user = new_user();
	struct test_group *a = group_of(plain_event(&user, "2020-06-01T00:00:00Z"), 1, NULL);
	expect_all(a, INGEST_STORED);
	execute("drop_partition", "DROP TABLE events_2020_06");
	static const char *const tables[] = {"usage_model_15m", "usage_model_day", "usage_hour",
		"usage_set_model_15m", "usage_set_model_day", "usage_set_day", "usage_day",
		"usage_model_week", "usage_set_week"};
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		execute(tables[i], arena_printf(&arena,
					   "DELETE FROM %s WHERE bucket < '2020-07-01Z' AND bucket >= "
					   "'2020-06-01Z'",
					   tables[i]));
	struct test_group *b = group_of(plain_event(&user, "2020-06-02T00:00:00Z"), 2, NULL);
	expect_all(b, INGEST_STORED);
	ck_assert_int_eq(events_of(&user), 2);
	free_group(a);
	free_group(b);
}
END_TEST

/* Of the hour's input tokens only 1,500 more fit into the column: of three events of 1,000 one can be
 * counted. */
START_TEST(submit_beyond_what_a_sum_can_hold_is_refused_alone)
{
	const struct uuid user = new_user(), other = new_user();
	struct test_group *first = group_of(plain_event(&user, "2026-07-01T00:00:00Z"), 1, NULL);
	expect_all(first, INGEST_STORED);
	execute("fill_sum", "UPDATE usage_hour SET input_tokens = input_tokens + 9223372036854773307"
			    " WHERE bucket = '2026-07-01Z'");
	struct test_group *over = group_of(plain_event(&user, "2026-07-01T00:00:00Z"), 3, NULL);
	struct test_group *good = group_of(plain_event(&other, "2026-07-01T00:00:00Z"), 3, NULL);
	hold_writer();
	struct test_group *blocker = group_of(plain_event(&other, "2026-07-02T00:00:00Z"), 1, NULL);
	submit(blocker);
	await_held_writer();
	submit(over);
	submit(good);
	let_writer_go();
	wait_group(over);
	wait_group(good);
	wait_group(blocker);
	ck_assert_uint_eq(count_outcomes(over, INGEST_STORED), 1);
	ck_assert_uint_eq(count_outcomes(over, INGEST_REFUSED), 2);
	ck_assert_uint_eq(count_outcomes(good, INGEST_STORED), 3);
	ck_assert_int_eq(events_of(&user), 2);
	execute("empty_sum", "UPDATE usage_hour SET input_tokens = input_tokens - 9223372036854773307"
			     " WHERE bucket = '2026-07-01Z' AND input_tokens > 1000000");
	free_group(first);
	free_group(over);
	free_group(good);
	free_group(blocker);
}
END_TEST

START_TEST(submit_when_the_queue_is_full_is_overloaded)
{
	struct ingest_settings s = test_settings;
	s.max_queued_items = 30;
	restart_ingest(&s);
	const struct uuid user = new_user(), other = new_user();
	const struct event e = plain_event(&user, "2026-03-01T00:00:00Z");
	struct test_group *first = group_of(e, 1, NULL), *fill = group_of(e, 20, NULL),
			  *more = group_of(e, 1, NULL);
	struct test_group *others = group_of(plain_event(&other, "2026-03-01T00:00:00Z"), 10, NULL);
	struct test_group *third = group_of(plain_event(&other, "2026-03-01T00:00:00Z"), 1, NULL);
	hold_writer();
	submit(first);
	await_held_writer();
	/* Alone, a user may fill two thirds: 20 <= 2 x (30 - 0), then 20 + 1 > 2 x 10. */
	submit(fill);
	ck_assert_int_eq(ingest_submit(ingest, &more->group), ERR_OVERLOADED);
	submit(others);
	/* 30 of 30. */
	ck_assert_int_eq(ingest_submit(ingest, &third->group), ERR_OVERLOADED);
	ck_assert_int_ge(ingest_retry_after(ingest), 1);
	ck_assert_int_le(ingest_retry_after(ingest), 30);
	let_writer_go();
	wait_group(first);
	wait_group(fill);
	wait_group(others);
	ck_assert_uint_eq(count_outcomes(fill, INGEST_STORED), 20);
	ck_assert_uint_eq(count_outcomes(others, INGEST_STORED), 10);
	ck_assert_int_eq(more->done, 0);
	free_group(first);
	free_group(fill);
	free_group(more);
	free_group(others);
	free_group(third);
}
END_TEST

START_TEST(submit_of_more_than_the_queue_may_hold_is_too_large_whenever)
{
	struct ingest_settings s = test_settings;
	s.max_queued_items = 30;
	restart_ingest(&s);
	const struct uuid user = new_user();
	struct test_group *const huge = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 31, NULL);
	struct ingest_reservation r = {0};
	ck_assert_int_eq(ingest_submit(ingest, &huge->group), ERR_TOO_LARGE);
	ck_assert_int_eq(ingest_reserve(ingest, &user, 31, 1, &r), ERR_TOO_LARGE);
	ck_assert_int_eq(huge->done, 0);
	ck_assert_int_eq(events_of(&user), 0);
	free_group(huge);
}
END_TEST

START_TEST(reserved_room_is_the_batchs_until_it_is_submitted_or_given_back)
{
	struct ingest_settings s = test_settings;
	s.max_queued_items = 30;
	restart_ingest(&s);
	const struct uuid user = new_user();
	struct test_group *const kept = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 20, NULL);
	struct ingest_reservation r = {0}, again = {0};
	ck_assert_int_eq(ingest_reserve(ingest, &user, 20, 1, &r), ERR_OK);
	ck_assert_int_eq(ingest_reserve(ingest, &user, 20, 1, &again), ERR_OVERLOADED);
	ingest_unreserve(ingest, &r);
	ck_assert_int_eq(ingest_reserve(ingest, &user, 20, 1, &r), ERR_OK);
	kept->group.reservation = &r;
	expect_all(kept, INGEST_STORED);
	ck_assert_int_eq(ingest_reserve(ingest, &user, 20, 1, &again), ERR_OK);
	ingest_unreserve(ingest, &again);
	free_group(kept);
}
END_TEST

START_TEST(retry_after_of_much_that_is_queued_is_half_a_minute_at_most)
{
	const struct uuid user = new_user();
	const struct event e = plain_event(&user, "2026-03-01T00:00:00Z");
	struct test_group *const first = group_of(e, 1, NULL), *const fill = group_of(e, 4000, NULL);
	hold_writer();
	submit(first);
	await_held_writer();
	submit(fill);
	ck_assert_int_eq(ingest_retry_after(ingest), 30); /* 4000 at 100 a second */
	let_writer_go();
	wait_group(first);
	wait_group(fill);
	free_group(first);
	free_group(fill);
}
END_TEST

START_TEST(submit_with_a_passed_deadline_is_unavailable)
{
	const struct uuid user = new_user();
	struct test_group *g = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 2, NULL);
	g->group.deadline_us = clock_mono_us() - 1;
	expect_all(g, INGEST_UNAVAILABLE);
	ck_assert_int_eq(events_of(&user), 0);
	free_group(g);
}
END_TEST

START_TEST(stop_with_time_left_stores_what_is_queued)
{
	const struct uuid user = new_user();
	struct test_group *g = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 3000, NULL);
	submit(g);
	stop_ingest();
	ck_assert_int_eq(g->done, 1);
	ck_assert_uint_eq(count_outcomes(g, INGEST_STORED), 3000);
	ck_assert_int_eq(events_of(&user), 3000);
	free_group(g);
}
END_TEST

START_TEST(stop_without_time_left_answers_all)
{
	const struct uuid user = new_user();
	struct test_group *a = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 1, NULL);
	struct test_group *b = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 10, NULL);
	struct ingest_settings s = test_settings;
	s.statement_us = 300 * US_PER_MS;
	restart_ingest(&s);
	hold_writer();
	submit(a);
	await_held_writer();
	submit(b);
	ingest_stop(ingest, clock_mono_us());
	ingest_free(ingest);
	ingest = NULL;
	let_writer_go();
	ck_assert_int_eq(a->done, 1);
	ck_assert_int_eq(b->done, 1);
	ck_assert_uint_eq(count_outcomes(b, INGEST_UNAVAILABLE), 10);
	ck_assert_int_eq(events_of(&user), (int64_t)count_outcomes(a, INGEST_STORED));
	free_group(a);
	free_group(b);
}
END_TEST

static void *stop_in_thread(void *arg)
{
	(void)arg;
	stop_ingest();
	return NULL;
}

START_TEST(submit_while_stopping_is_draining)
{
	const struct uuid user = new_user();
	struct test_group *held = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 1, NULL);
	struct ingest *stopping = ingest;
	hold_writer();
	submit(held);
	await_held_writer();
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, stop_in_thread, NULL), 0);
	/* Until the stop has begun, they are queued. */
	enum err e = ERR_OK;
	size_t queued = 0;
	struct test_group *early[10000];
	while (queued < 10000) {
		early[queued] = group_of(plain_event(&user, "2026-03-01T00:00:00Z"), 1, NULL);
		e = ingest_submit(stopping, &early[queued]->group);
		if (e != ERR_OK)
			break;
		queued++;
	}
	ck_assert_int_eq(e, ERR_DRAINING);
	struct ingest_reservation none = {0};
	ck_assert_int_eq(ingest_reserve(stopping, &user, 1, 1, &none), ERR_DRAINING);
	let_writer_go();
	pthread_join(thread, NULL);
	ck_assert_int_eq(events_of(&user), 1 + (int64_t)queued);
	ck_assert_int_eq(outcome_of(held, 0), INGEST_STORED);
	free_group(early[queued]);
	for (size_t i = 0; i < queued; i++)
		free_group(early[i]);
	free_group(held);
}
END_TEST

static void add_tests(TCase *t)
{
	tcase_add_test(t, submit_one_event_is_stored_with_its_rollup);
	tcase_add_test(t, submit_many_models_and_months_sums_exactly);
	tcase_add_test(t, submit_more_than_a_batch_completes_the_group_once);
	tcase_add_test(t, submit_same_key_twice_in_a_batch_stores_the_first);
	tcase_add_test(t, submit_same_key_with_another_event_in_a_batch_is_a_mismatch);
	tcase_add_test(t, submit_a_stored_key_answers_the_first_result);
	tcase_add_test(t, submit_a_stored_key_in_another_month_is_a_duplicate);
	tcase_add_test(t, submit_stored_and_new_keys_and_none_together_stores_the_new);
	tcase_add_test(t, submit_mismatch_before_a_repeat_in_a_batch_answers_each);
	tcase_add_test(t, submit_same_key_of_another_user_is_stored);
	tcase_add_test(t, submit_same_keys_to_two_servers_stores_each_once);
	tcase_add_test(t, submit_a_bad_row_is_refused_alone);
	tcase_add_test(t, submit_repeat_of_a_refused_event_is_refused_and_another_is_stored);
	tcase_add_test(t, submit_for_a_deleted_user_is_user_gone_and_others_are_stored);
	tcase_add_test(t, submit_while_the_account_is_being_removed_leaves_nothing_of_it);
	tcase_add_test(t, submit_after_the_partition_was_dropped_makes_it_again);
	tcase_add_test(t, submit_beyond_what_a_sum_can_hold_is_refused_alone);
	tcase_add_test(t, submit_when_the_queue_is_full_is_overloaded);
	tcase_add_test(t, submit_of_more_than_the_queue_may_hold_is_too_large_whenever);
	tcase_add_test(t, reserved_room_is_the_batchs_until_it_is_submitted_or_given_back);
	tcase_add_test(t, retry_after_of_much_that_is_queued_is_half_a_minute_at_most);
	tcase_add_test(t, submit_with_a_passed_deadline_is_unavailable);
	tcase_add_test(t, stop_with_time_left_stores_what_is_queued);
	tcase_add_test(t, stop_without_time_left_answers_all);
	tcase_add_test(t, submit_while_stopping_is_draining);
}

int main(void)
{
	return run_ingest_tests("ingest store", add_tests);
}
