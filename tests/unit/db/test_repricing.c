/* Chunks of a re-pricing: events, ledger, rollup and cursor move together, each event once, whatever happens
 * in between. The new price here is 0.001 USD for each input token; output is free. */
#include "llmlab/db/repricing.h"
#include "llmlab/db/unpriced.h"
#include "store_fixture.h"

static struct uuid user;
static bool starved;

/* Leaves the model "keep" as it is; "gone" has no price. */
static enum err price(void *arg, const struct event *e, struct arena *a, struct repriced *ret)
{
	(void)arg;
	(void)a;
	if (strcmp(e->model, "keep") == 0)
		return ERR_NOT_FOUND;
	if (starved)
		return ERR_NO_MEMORY;
	const bool priced = strcmp(e->model, "gone") != 0;
	*ret = (struct repriced){.has_cost = priced,
		.cost = {priced ? e->usage.counts[USAGE_input_tokens] * decimal_pow10(15) : 0},
		.pricing_status = priced ? "priced" : "unpriced",
		.price_rule = "test",
		.catalogue_version = "new",
		.service_tier = "standard",
		.price_record = "p/m"};
	return ERR_OK;
}

static void event(const char *when, const char *model, const char *cost, int64_t input, const char *project)
{
	const struct test_event e = {.at = when,
		.provider = "p",
		.model = model,
		.cost = cost,
		.input = input,
		.output = 7,
		.project = project};
	add_event(&user, &e);
}

/* Four quarters of an hour, three models, two projects: 2 + 3 + 4 = 9 without a price change for "keep". */
static void fill(void)
{
	user = new_user();
	event("2026-03-01T00:00:00Z", "m", "2", 1000, "x");
	event("2026-03-01T00:01:00Z", "m", "3", 2000, NULL);
	event("2026-03-01T00:20:00Z", "m", NULL, 3000, NULL);
	event("2026-03-01T00:20:00Z", "keep", "4", 4000, NULL);
	event("2026-03-01T05:00:00Z", "gone", "5", 5000, NULL);
	event("2026-03-02T00:00:00Z", "m", "6", 6000, NULL);
	roll_up(&user);
}

static struct repricing job(const char *from, const char *to)
{
	return (struct repricing){.user_id = user,
		.id = uuid_v7(clock_now_us() / US_PER_MS),
		.from_us = at(from),
		.to_us = at(to),
		.cursor_at_us = at(from),
		.sums = {.arena = &arena}};
}

static void run_to_end(struct repricing *r, int64_t max_events)
{
	for (int i = 0; r->state == REPRICING_RUNNING; i++) {
		ck_assert_int_lt(i, 100);
		ck_assert_int_eq(repricing_apply_chunk(conn, r, price, NULL, max_events), ERR_OK);
	}
}

/* The first column of the first row of a query about the user ($1). */
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

static void assert_rollup_equals_events(void)
{
	ck_assert_str_eq(drift(&user), "");
}

static const char *costs(void)
{
	return value("SELECT string_agg(coalesce(trim_scale(cost)::text, '-'), ' ' ORDER BY occurred_at, "
		     "model) FROM "
		     "events WHERE user_id = $1");
}

START_TEST(repricing_apply_chunk_moves_events_ledger_rollup_and_sums_together)
{
	fill();
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
	ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	run_to_end(&r, 100);
	ck_assert_str_eq(costs(), "1 2 4 3 - 6");
	assert_rollup_equals_events();
	ck_assert_int_eq(r.events_examined, 5);
	ck_assert_int_eq(r.events_changed, 4);
	/* 2 + 3 + 4 + 5; 1 + 2 + 3 + 4 */
	ck_assert_str_eq(usd_text(r.range_old_cost), "14");
	ck_assert_str_eq(usd_text(r.range_new_cost), "10");
	struct repricing stored;
	ck_assert_int_eq(repricings_find(conn, &user, &r.id, &arena, &stored), ERR_OK);
	ck_assert_int_eq(stored.state, REPRICING_DONE);
	ck_assert_int_ne(stored.finished_at_us, 0);
	ck_assert_uint_eq(stored.sums.n, 2);
	ck_assert_str_eq(stored.sums.rows[0].model, "gone");
	ck_assert_int_eq(stored.sums.rows[0].events, 1);
	ck_assert_str_eq(stored.sums.rows[1].model, "m");
	ck_assert_int_eq(stored.sums.rows[1].events, 3);
	struct money old_total, new_total;
	ck_assert(repricing_sums_total(&stored.sums, &old_total, &new_total));
	ck_assert_str_eq(usd_text(old_total), "10");
	ck_assert_str_eq(usd_text(new_total), "6");
	ck_assert_str_eq(
		value("SELECT string_agg(concat_ws('>', coalesce(trim_scale(old_cost)::text, '-'),"
		      " coalesce(trim_scale(new_cost)::text, '-'), old_status, new_status, old_version, "
		      "new_version),"
		      " ' ' ORDER BY occurred_at) FROM repricing_changes WHERE user_id = $1"),
		"2>1>priced>priced>test>new 3>2>priced>priced>test>new ->3>unpriced>priced>test>new "
		"5>->priced>unpriced>test>new");
}
END_TEST

START_TEST(repricing_preview_chunk_changes_nothing_and_says_what_apply_does)
{
	fill();
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z");
	while (r.state == REPRICING_RUNNING)
		ck_assert_int_eq(repricing_preview_chunk(conn, &r, price, NULL, 2), ERR_OK);
	ck_assert_str_eq(costs(), "2 3 4 - 5 6");
	ck_assert_str_eq(value("SELECT count(*) FROM repricings WHERE user_id = $1"), "0");
	struct repricing applied = job("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z");
	ck_assert_int_eq(repricings_insert(conn, &applied), ERR_OK);
	run_to_end(&applied, 3);
	struct repricing stored;
	ck_assert_int_eq(repricings_find(conn, &user, &applied.id, &arena, &stored), ERR_OK);
	ck_assert_uint_eq(stored.sums.n, r.sums.n);
	for (size_t i = 0; i < r.sums.n; i++) {
		ck_assert_str_eq(stored.sums.rows[i].model, r.sums.rows[i].model);
		ck_assert_int_eq(stored.sums.rows[i].events, r.sums.rows[i].events);
		ck_assert_int_eq(money_compare(stored.sums.rows[i].old_cost, r.sums.rows[i].old_cost), 0);
		ck_assert_int_eq(money_compare(stored.sums.rows[i].new_cost, r.sums.rows[i].new_cost), 0);
	}
	ck_assert_int_eq(stored.events_examined, r.events_examined);
	ck_assert_int_eq(money_compare(stored.range_new_cost, r.range_new_cost), 0);
}
END_TEST

/* 10 events of one instant in chunks of 1 .. 11: the cursor stands between events that differ in their id
 * only. */
START_TEST(repricing_apply_chunk_of_any_size_takes_each_event_once)
{
	user = new_user();
	for (int i = 0; i < 10; i++)
		event("2026-03-01T00:00:00Z", "m", "9", 1000, NULL);
	event("2026-03-01T09:00:00Z", "m", "9", 1000, NULL);
	roll_up(&user);
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
	ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	run_to_end(&r, _i + 1);
	ck_assert_int_eq(r.events_examined, 11);
	ck_assert_int_eq(r.events_changed, 11);
	ck_assert_str_eq(value("SELECT trim_scale(sum(cost)) FROM usage_model_15m WHERE user_id = $1"), "11");
	ck_assert_str_eq(
		value("SELECT count(DISTINCT event_id) FROM repricing_changes WHERE user_id = $1"), "11");
	assert_rollup_equals_events();
}
END_TEST

/* As after a kill between COMMIT and the note of it, and as with two servers at it. */
START_TEST(repricing_apply_chunk_with_an_old_state_goes_on_from_the_stored_one)
{
	fill();
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z");
	ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	const struct repricing old = r;
	ck_assert_int_eq(repricing_apply_chunk(conn, &r, price, NULL, 3), ERR_OK);
	struct repricing again = old;
	ck_assert_int_eq(repricing_apply_chunk(conn, &again, price, NULL, 3), ERR_OK);
	ck_assert_int_gt(again.events_examined, r.events_examined);
	run_to_end(&again, 2);
	again = old;
	ck_assert_int_eq(repricing_apply_chunk(conn, &again, price, NULL, 2), ERR_OK);
	ck_assert_int_eq(again.state, REPRICING_DONE);
	ck_assert_int_eq(again.events_examined, 6);
	ck_assert_int_eq(again.events_changed, 5);
	assert_rollup_equals_events();
}
END_TEST

START_TEST(repricing_apply_chunk_unstored_leaves_no_trace_without_a_change)
{
	fill();
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z");
	r.automatic = true;
	r.provider = "p";
	r.model = "keep";
	run_to_end(&r, 100);
	ck_assert(!r.stored);
	ck_assert_str_eq(value("SELECT count(*) FROM repricings WHERE user_id = $1"), "0");
}
END_TEST

START_TEST(repricing_apply_chunk_automatic_takes_unpriced_events_of_its_model_only)
{
	fill();
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z");
	r.automatic = true;
	r.provider = "p";
	r.model = "m";
	run_to_end(&r, 100);
	ck_assert(r.stored);
	ck_assert_int_eq(r.events_changed, 1);
	ck_assert_str_eq(costs(), "2 3 4 3 5 6");
	assert_rollup_equals_events();
	struct unpriced_model *names;
	size_t n;
	ck_assert_int_eq(unpriced_list(conn, &user, NULL, 10, &arena, &names, &n), ERR_OK);
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(repricing_apply_chunk_with_a_filter_takes_only_what_it_names)
{
	fill();
	struct repricing r = job("2026-03-01T00:00:00.000001Z", "2026-03-02T00:00:00.000001Z");
	r.model = "m";
	ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	run_to_end(&r, 1);
	ck_assert_int_eq(r.events_examined, 3);
	ck_assert_str_eq(costs(), "2 2 4 3 5 6");
	assert_rollup_equals_events();
}
END_TEST

/* Not "no price": the model is known, there was only no memory to find that out. */
START_TEST(repricing_apply_chunk_without_memory_for_a_price_changes_nothing)
{
	fill();
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z");
	ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	const char *const before = costs();
	starved = true;
	ck_assert_int_eq(repricing_apply_chunk(conn, &r, price, NULL, 100), ERR_NO_MEMORY);
	starved = false;
	ck_assert_str_eq(costs(), before);
	ck_assert_int_eq(r.state, REPRICING_RUNNING);
	run_to_end(&r, 100);
	ck_assert_str_eq(costs(), "1 2 4 3 - 6");
	assert_rollup_equals_events();
}
END_TEST

START_TEST(repricing_apply_chunk_without_its_rollup_row_changes_nothing)
{
	fill();
	value("WITH gone AS (DELETE FROM usage_model_15m WHERE user_id = $1 AND project = 'x' RETURNING 1) "
	      "SELECT "
	      "count(*) "
	      "FROM gone");
	event("2026-03-01T00:02:00Z", "keep", "1", 1, NULL);
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
	ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	ck_assert_int_eq(repricing_apply_chunk(conn, &r, price, NULL, 100), ERR_INTERNAL);
	ck_assert_str_eq(costs(), "2 3 1 4 - 5 6");
	ck_assert_str_eq(value("SELECT count(*) FROM repricing_changes WHERE user_id = $1"), "0");
	ck_assert_int_eq(repricings_fail(conn, &user, &r.id), ERR_OK);
	ck_assert_int_eq(repricing_apply_chunk(conn, &r, price, NULL, 100), ERR_OK);
	ck_assert_int_eq(r.state, REPRICING_FAILED);
}
END_TEST

START_TEST(repricings_next_finds_what_nobody_is_at)
{
	fill();
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z"), next;
	r.reason = "why";
	r.provider = "p";
	ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	ck_assert_int_eq(repricings_next(conn, 60 * US_PER_SECOND, 1, 0, &arena, &next), ERR_NOT_FOUND);
	value("WITH old AS (UPDATE repricings SET progress_at = now() - interval '2 minutes' WHERE user_id = "
	      "$1 RETURNING "
	      "1) SELECT count(*) FROM old");
	ck_assert_int_eq(repricings_next(conn, 60 * US_PER_SECOND, 1, 0, &arena, &next), ERR_OK);
	ck_assert(uuid_equal(&next.id, &r.id) && uuid_equal(&next.user_id, &user));
	ck_assert_str_eq(next.reason, "why");
	ck_assert_str_eq(next.provider, "p");
	ck_assert_ptr_null(next.model);
	ck_assert_int_eq(repricings_delay(conn, &user, &r.id), ERR_OK);
	ck_assert_int_eq(repricings_next(conn, 60 * US_PER_SECOND, 1, 0, &arena, &next), ERR_NOT_FOUND);
	run_to_end(&next, 100);
	ck_assert_int_eq(repricings_next(conn, -US_PER_DAY, 1, 0, &arena, &next), ERR_NOT_FOUND);
}
END_TEST

/* Nobody else is running anything in this test's database but its own users. */
static void end_all_running(void)
{
	value("WITH ended AS (UPDATE repricings SET state = 'failed', finished_at = now() WHERE state = "
	      "'running'"
	      " RETURNING 1) SELECT count(*) FROM ended WHERE $1::uuid IS NOT NULL");
}

/* When servers with any catalogue were seen last. */
static void set_seen(const char *ago)
{
	static int n;
	const struct db_stmt stmt = {arena_printf(&arena, "test_seen_%d", n++),
		arena_printf(&arena, "UPDATE price_catalogues SET last_seen_at = now() - interval '%s'", ago)};
	run_sql(&stmt, NULL);
}

static void set_progress(const struct repricing *r, const char *ago)
{
	static int n;
	const struct db_stmt stmt = {arena_printf(&arena, "test_progress_%d", n++),
		arena_printf(&arena,
			"UPDATE repricings SET progress_at = now() - interval '%s' WHERE user_id = $1 AND id "
			"= $2",
			ago)};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &r->user_id);
	db_param_uuid(&p, &r->id);
	run_sql(&stmt, &p);
}

/* The first user's jobs wait longer than the second's, but he just had a turn. */
START_TEST(repricings_next_is_of_the_user_who_waits_longest)
{
	end_all_running();
	user = new_user();
	struct repricing first[3], second, next;
	for (int i = 0; i < 3; i++) {
		first[i] = job("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
		ck_assert_int_eq(repricings_insert(conn, &first[i]), ERR_OK);
	}
	set_progress(&first[0], "30 minutes");
	set_progress(&first[1], "20 minutes");
	set_progress(&first[2], "1 minute");
	user = new_user();
	second = job("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
	second.holder = 7;
	ck_assert_int_eq(repricings_insert(conn, &second), ERR_OK);
	set_progress(&second, "2 minutes");
	ck_assert_int_eq(repricings_next(conn, US_PER_SECOND, 1, 0, &arena, &next), ERR_OK);
	ck_assert(uuid_equal(&next.id, &second.id));
	ck_assert_int_eq(next.holder, 1);
	/* after a turn of it, the first user's job that waits longest */
	set_progress(&second, "0 minutes");
	ck_assert_int_eq(repricings_next(conn, US_PER_SECOND, 1, 0, &arena, &next), ERR_OK);
	ck_assert(uuid_equal(&next.id, &first[0].id));
	/* who holds the second one need not wait until it is idle */
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(repricings_fail(conn, &first[i].user_id, &first[i].id), ERR_OK);
	ck_assert_int_eq(repricings_next(conn, US_PER_SECOND, 1, 0, &arena, &next), ERR_NOT_FOUND);
	ck_assert_int_eq(repricings_next(conn, US_PER_SECOND, 7, 0, &arena, &next), ERR_OK);
	end_all_running();
}
END_TEST

START_TEST(repricing_begun_with_a_newer_catalogue_is_not_gone_on_with_by_an_older)
{
	end_all_running();
	fill();
	int64_t older, newer, again;
	ck_assert_int_eq(repricing_catalogue_number(conn, "00000000000000ff", &older), ERR_OK);
	ck_assert_int_eq(repricing_catalogue_number(conn, "0000000000000001", &newer), ERR_OK);
	ck_assert_int_eq(repricing_catalogue_number(conn, "00000000000000ff", &again), ERR_OK);
	ck_assert_int_eq(older, again);
	ck_assert_int_lt(older, newer);
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z"), taken = r, next;
	r.catalogue_number = newer;
	ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	ck_assert_int_eq(repricing_apply_chunk(conn, &r, price, NULL, 2), ERR_OK);
	ck_assert_int_eq(r.state, REPRICING_RUNNING);
	taken.stored = true;
	taken.catalogue_number = older;
	const char *const before = costs();
	ck_assert_int_eq(repricing_apply_chunk(conn, &taken, price, NULL, 100), ERR_CONFLICT);
	ck_assert_str_eq(costs(), before);
	ck_assert_int_eq(repricings_next(conn, -US_PER_DAY, 1, older, &arena, &next), ERR_NOT_FOUND);
	ck_assert_int_eq(repricings_next(conn, -US_PER_DAY, 1, newer, &arena, &next), ERR_OK);
	/* given up only when its servers are away for long */
	int64_t failed = -1;
	ck_assert_int_eq(repricings_fail_abandoned(conn, US_PER_MINUTE, older, &failed), ERR_OK);
	ck_assert_int_eq(failed, 0);
	set_progress(&r, "2 minutes");
	ck_assert_int_eq(repricings_fail_abandoned(conn, US_PER_MINUTE, newer, &failed), ERR_OK);
	ck_assert_int_eq(failed, 0);
	/* it waits for its turn at servers that are there */
	ck_assert_int_eq(repricings_fail_abandoned(conn, US_PER_MINUTE, older, &failed), ERR_OK);
	ck_assert_int_eq(failed, 0);
	set_seen("2 minutes");
	ck_assert_int_eq(repricing_catalogue_seen(conn, newer), ERR_OK);
	ck_assert_int_eq(repricings_fail_abandoned(conn, US_PER_MINUTE, older, &failed), ERR_OK);
	ck_assert_int_eq(failed, 0);
	set_seen("2 minutes");
	ck_assert_int_eq(repricing_catalogue_seen(conn, older), ERR_OK);
	ck_assert_int_eq(repricings_fail_abandoned(conn, US_PER_MINUTE, older, &failed), ERR_OK);
	ck_assert_int_eq(failed, 1);
	assert_rollup_equals_events();
}
END_TEST

/* An older server's is gone on with by a newer one, and from then on is the newer one's. */
START_TEST(repricing_taken_over_by_a_newer_catalogue_stays_with_it)
{
	fill();
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z");
	r.catalogue_number = 5;
	ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	struct repricing newer = r;
	newer.catalogue_number = 6;
	ck_assert_int_eq(repricing_apply_chunk(conn, &newer, price, NULL, 2), ERR_OK);
	ck_assert_int_eq(repricing_apply_chunk(conn, &r, price, NULL, 2), ERR_CONFLICT);
	run_to_end(&newer, 100);
	assert_rollup_equals_events();
}
END_TEST

START_TEST(repricings_insert_beyond_the_limit_is_conflict)
{
	user = new_user();
	struct repricing r[REPRICING_RUNNING_MAX + 1];
	for (int i = 0; i <= REPRICING_RUNNING_MAX; i++) {
		r[i] = job("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z");
		ck_assert_int_eq(
			repricings_insert(conn, &r[i]), i < REPRICING_RUNNING_MAX ? ERR_OK : ERR_CONFLICT);
	}
	ck_assert(!r[REPRICING_RUNNING_MAX].stored);
	ck_assert_int_eq(repricings_fail(conn, &user, &r[0].id), ERR_OK);
	ck_assert_int_eq(repricings_insert(conn, &r[REPRICING_RUNNING_MAX]), ERR_OK);
	int64_t running = 0;
	ck_assert_int_eq(repricings_count_running(conn, &user, false, &running), ERR_OK);
	ck_assert_int_eq(running, REPRICING_RUNNING_MAX);
}
END_TEST

START_TEST(repricings_find_of_another_user_is_not_found)
{
	fill();
	struct repricing r = job("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z"), found;
	ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	const struct uuid other = new_user();
	ck_assert_int_eq(repricings_find(conn, &other, &r.id, &arena, &found), ERR_NOT_FOUND);
	run_to_end(&r, 100);
}
END_TEST

/* Priced and unpriced calls in one row of the rollup: the unpriced ones' tokens come from events. */
START_TEST(unpriced_list_counts_tokens_of_unpriced_calls_only)
{
	user = new_user();
	event("2026-03-01T00:00:01Z", "m", NULL, 10, NULL);
	event("2026-03-01T00:00:02Z", "m", "1", 100, NULL);
	event("2026-03-01T00:14:59Z", "m", NULL, 20, NULL);
	event("2026-03-01T00:14:59Z", "m", NULL, 40, "x");
	event("2026-03-05T00:00:00.5Z", "m", NULL, 80, NULL);
	event("2026-03-01T00:00:00Z", "other", NULL, 1, NULL);
	roll_up(&user);
	struct unpriced_model *rows;
	size_t n;
	ck_assert_int_eq(unpriced_list(conn, &user, NULL, 10, &arena, &rows, &n), ERR_OK);
	ck_assert_uint_eq(n, 2);
	ck_assert_str_eq(rows[0].model, "m");
	ck_assert_int_eq(rows[0].calls, 4);
	ck_assert_int_eq(rows[0].input_tokens, 150);
	ck_assert_int_eq(rows[0].output_tokens, 28);
	ck_assert_int_eq(rows[0].first_us, at("2026-03-01T00:00:01Z"));
	ck_assert_int_eq(rows[0].last_us, at("2026-03-05T00:00:00.5Z"));
	ck_assert_int_eq(unpriced_list(conn, &user, &rows[0], 10, &arena, &rows, &n), ERR_OK);
	ck_assert_uint_eq(n, 1);
	ck_assert_str_eq(rows[0].model, "other");
	ck_assert_int_eq(unpriced_names(conn, &user, NULL, 1, &arena, &rows, &n), ERR_OK);
	ck_assert_uint_eq(n, 1);
	ck_assert_str_eq(rows[0].model, "m");
}
END_TEST

START_TEST(repricing_sums_add_keeps_rows_sorted_and_refuses_what_does_not_fit)
{
	static const char *const models[] = {"c", "a", "b", "a", "c"};
	struct repricing_sums s = {.arena = &arena};
	for (size_t i = 0; i < 5; i++)
		ck_assert(repricing_sums_add(&s, &(struct repricing_sum){.provider = "p",
							 .model = models[i],
							 .events = 1,
							 .old_cost = usd("1.5"),
							 .new_cost = usd("2")}));
	ck_assert_uint_eq(s.n, 3);
	ck_assert_str_eq(s.rows[0].model, "a");
	ck_assert_int_eq(s.rows[0].events, 2);
	ck_assert_str_eq(usd_text(s.rows[0].old_cost), "3");
	ck_assert_str_eq(s.rows[2].model, "c");
	const struct money most = {DECIMAL_MAX};
	ck_assert(!repricing_sums_add(&s,
		&(struct repricing_sum){.provider = "p", .model = "a", .old_cost = most, .new_cost = most}));
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("repricing");
	tcase_add_test(t, repricing_apply_chunk_moves_events_ledger_rollup_and_sums_together);
	tcase_add_test(t, repricing_preview_chunk_changes_nothing_and_says_what_apply_does);
	tcase_add_loop_test(t, repricing_apply_chunk_of_any_size_takes_each_event_once, 0, 12);
	tcase_add_test(t, repricing_apply_chunk_with_an_old_state_goes_on_from_the_stored_one);
	tcase_add_test(t, repricing_apply_chunk_unstored_leaves_no_trace_without_a_change);
	tcase_add_test(t, repricing_apply_chunk_automatic_takes_unpriced_events_of_its_model_only);
	tcase_add_test(t, repricing_apply_chunk_with_a_filter_takes_only_what_it_names);
	tcase_add_test(t, repricing_apply_chunk_without_memory_for_a_price_changes_nothing);
	tcase_add_test(t, repricing_apply_chunk_without_its_rollup_row_changes_nothing);
	tcase_add_test(t, repricings_next_finds_what_nobody_is_at);
	tcase_add_test(t, repricings_next_is_of_the_user_who_waits_longest);
	tcase_add_test(t, repricing_begun_with_a_newer_catalogue_is_not_gone_on_with_by_an_older);
	tcase_add_test(t, repricing_taken_over_by_a_newer_catalogue_stays_with_it);
	tcase_add_test(t, repricings_insert_beyond_the_limit_is_conflict);
	tcase_add_test(t, repricings_find_of_another_user_is_not_found);
	tcase_add_test(t, unpriced_list_counts_tokens_of_unpriced_calls_only);
	tcase_add_test(t, repricing_sums_add_keeps_rows_sorted_and_refuses_what_does_not_fit);
	return run_store_tests(suite_create("repricing"), t);
}
