/* Sums over time against a real PostgreSQL: rollup and events must together give what the events alone say.
 */

#include "llmlab/db/costs.h"
#include "store_fixture.h"

/* Five calls around noon, used by most tests:
 * 11:59:59.999999  a  0.1                  project x, error
 * 12:00:00         a  0.2                  project x
 * 12:14:59.999999  b  unpriced             project none, customer acme
 * 12:15:00         a  0.000000000000000001 project none, tag team=red
 * 12:31:00         b  1000                 project none, customer acme, tag team=blue */
static const struct test_event NOON[] = {
	{"2026-03-10T11:59:59.999999Z", "p", "a", "0.1", 10, 1, 5, "x", NULL, NULL, "error"},
	{"2026-03-10T12:00:00Z", "p", "a", "0.2", 20, 2, 0, "x", NULL, NULL, NULL},
	{"2026-03-10T12:14:59.999999Z", "p", "b", NULL, 40, 4, 0, NULL, "acme", NULL, NULL},
	{"2026-03-10T12:15:00Z", "p", "a", "0.000000000000000001", 80, 8, 0, NULL, NULL, "{\"team\":\"red\"}",
		NULL},
	{"2026-03-10T12:31:00Z", "q", "b", "1000", 160, 16, 0, NULL, "acme", "{\"team\":\"blue\"}", NULL},
};

static struct uuid noon_user(void)
{
	const struct uuid user_id = new_user();
	for (size_t i = 0; i < sizeof(NOON) / sizeof(NOON[0]); i++)
		add_event(&user_id, &NOON[i]);
	roll_up(&user_id);
	return user_id;
}

static struct usage_sums total(
	const struct uuid *user_id, const struct usage_filter *f, const char *from, const char *to)
{
	struct usage_sums s = {.calls = -1};
	const enum err e = costs_total(conn, user_id, f, at(from), at(to), &s);
	ck_assert_msg(e == ERR_OK, "%s", db_last_message(conn));
	return s;
}

START_TEST(costs_total_whole_quarters_sums_everything)
{
	/* 0.1 + 0.2 + 10^-18 + 1000; input 10+20+40+80+160 = 310, output 31 */
	const struct uuid user_id = noon_user();
	const struct usage_sums s = total(&user_id, NULL, "2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z");
	ck_assert_int_eq(s.calls, 5);
	ck_assert_int_eq(s.errors, 1);
	ck_assert_int_eq(s.unpriced_calls, 1);
	ck_assert_int_eq(s.input_tokens, 310);
	ck_assert_int_eq(s.output_tokens, 31);
	ck_assert_int_eq(s.cache_read_tokens, 5);
	ck_assert_int_eq(s.cache_write_tokens, 0);
	ck_assert_int_eq(s.reasoning_tokens, 0);
	ck_assert_str_eq(usd_text(s.cost), "1000.300000000000000001");
}
END_TEST

START_TEST(costs_total_nothing_there_is_zeros)
{
	const struct uuid user_id = new_user();
	const struct usage_sums s = total(&user_id, NULL, "2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z");
	ck_assert_int_eq(s.calls, 0);
	ck_assert_int_eq(s.input_tokens, 0);
	ck_assert_str_eq(usd_text(s.cost), "0");
}
END_TEST

START_TEST(costs_total_another_users_are_not_seen)
{
	noon_user();
	const struct uuid other = noon_user();
	const struct usage_sums s = total(&other, NULL, "2026-03-10T11:50:00Z", "2026-03-10T12:40:01Z");
	ck_assert_int_eq(s.calls, 5);
}
END_TEST

START_TEST(costs_total_ragged_ends_are_exact_to_the_microsecond)
{
	const struct uuid user_id = noon_user();
	/* from is inclusive */
	ck_assert_int_eq(
		total(&user_id, NULL, "2026-03-10T11:59:59.999999Z", "2026-03-10T13:00:00Z").calls, 5);
	ck_assert_int_eq(
		total(&user_id, NULL, "2026-03-10T12:00:00.000001Z", "2026-03-10T13:00:00Z").calls, 3);
	/* to is exclusive */
	ck_assert_int_eq(total(&user_id, NULL, "2026-03-10T11:00:00Z", "2026-03-10T12:31:00Z").calls, 4);
	ck_assert_int_eq(
		total(&user_id, NULL, "2026-03-10T11:00:00Z", "2026-03-10T12:31:00.000001Z").calls, 5);
	/* both ends in one quarter: only 12:00:00 */
	const struct usage_sums s =
		total(&user_id, NULL, "2026-03-10T12:00:00Z", "2026-03-10T12:14:59.999999Z");
	ck_assert_int_eq(s.calls, 1);
	ck_assert_str_eq(usd_text(s.cost), "0.2");
	/* both ends ragged, in neighbouring quarters: 12:14:59.999999 and 12:15:00 */
	ck_assert_int_eq(
		total(&user_id, NULL, "2026-03-10T12:14:59.999999Z", "2026-03-10T12:15:00.000001Z").calls, 2);
}
END_TEST

START_TEST(costs_total_empty_interval_is_zeros)
{
	const struct uuid user_id = noon_user();
	ck_assert_int_eq(total(&user_id, NULL, "2026-03-10T12:00:00Z", "2026-03-10T12:00:00Z").calls, 0);
	ck_assert_int_eq(total(&user_id, NULL, "2026-03-10T12:31:00Z", "2026-03-10T12:31:00Z").calls, 0);
}
END_TEST

START_TEST(costs_total_end_before_begin_is_range)
{
	const struct uuid user_id = new_user();
	struct usage_sums s = {.calls = 7};
	ck_assert_int_eq(
		costs_total(conn, &user_id, NULL, at("2026-03-11T00:00:00Z"), at("2026-03-10T00:00:00Z"), &s),
		ERR_RANGE);
	ck_assert_int_eq(s.calls, 7);
}
END_TEST

START_TEST(costs_total_rollup_filters_narrow_aligned_and_ragged)
{
	const struct uuid user_id = noon_user();
	static const char *const FROM[] = {"2026-03-10T11:00:00Z", "2026-03-10T11:59:30Z"};
	static const char *const TO[] = {"2026-03-10T13:00:00Z", "2026-03-10T12:31:30Z"};
	for (int i = 0; i < 2; i++) {
		const struct usage_filter provider = {.provider = "q"};
		const struct usage_filter model = {.provider = "p", .model = "a"};
		const struct usage_filter project = {.project = "x"};
		const struct usage_filter no_project = {.project = ""};
		const struct usage_filter nothing = {.model = "A"};
		ck_assert_int_eq(total(&user_id, &provider, FROM[i], TO[i]).calls, 1);
		ck_assert_int_eq(total(&user_id, &model, FROM[i], TO[i]).calls, 3);
		ck_assert_int_eq(total(&user_id, &project, FROM[i], TO[i]).calls, 2);
		ck_assert_int_eq(total(&user_id, &no_project, FROM[i], TO[i]).calls, 3);
		ck_assert_int_eq(total(&user_id, &nothing, FROM[i], TO[i]).calls, 0);
	}
}
END_TEST

START_TEST(costs_total_customer_and_tag_are_answered_from_events)
{
	const struct uuid user_id = noon_user();
	const struct usage_filter customer = {.customer = "acme"};
	const struct usage_filter tag = {.tag_key = "team", .tag_value = "red"};
	const struct usage_filter both = {
		.customer = "acme", .tag_key = "team", .tag_value = "blue", .provider = "q"};
	const struct usage_filter neither = {.customer = "acme", .tag_key = "team", .tag_value = "red"};
	const struct usage_sums s =
		total(&user_id, &customer, "2026-03-10T11:00:00Z", "2026-03-10T13:00:00Z");
	ck_assert_int_eq(s.calls, 2);
	ck_assert_int_eq(s.unpriced_calls, 1);
	ck_assert_str_eq(usd_text(s.cost), "1000");
	ck_assert_str_eq(usd_text(total(&user_id, &tag, "2026-03-10T11:00:00Z", "2026-03-10T13:00:00Z").cost),
		"0.000000000000000001");
	ck_assert_int_eq(total(&user_id, &both, "2026-03-10T11:00:00Z", "2026-03-10T13:00:00Z").calls, 1);
	ck_assert_int_eq(total(&user_id, &neither, "2026-03-10T11:00:00Z", "2026-03-10T13:00:00Z").calls, 0);
	ck_assert_int_eq(total(&user_id, &customer, "2026-03-10T11:00:00Z", "2026-03-10T12:31:00Z").calls, 1);
}
END_TEST

START_TEST(costs_total_beyond_the_limit_of_one_amount_is_held)
{
	/* three times the most one event may cost */
	const struct uuid user_id = new_user();
	const struct test_event e = {
		.at = "2026-04-01T00:00:00Z", .provider = "p", .model = "m", .cost = "1000000000000"};
	for (int i = 0; i < 3; i++)
		add_event(&user_id, &e);
	roll_up(&user_id);
	ck_assert_str_eq(usd_text(total(&user_id, NULL, "2026-04-01T00:00:00Z", "2026-04-02T00:00:00Z").cost),
		"3000000000000");
}
END_TEST

START_TEST(costs_total_beyond_128_bits_is_range)
{
	/* Two days of 9.9 x 10^19: 1.98 x 10^38 atto-USD do not fit. */
	static const struct db_stmt HUGE_ROWS = {"test_huge",
		"INSERT INTO usage_day SELECT $1::uuid, h::timestamptz, 1, 0, 0, 0, 0, 0, 0, 0, 0, 99e18, 0, 0"
		" FROM unnest(ARRAY['2026-04-01T00:00:00Z', '2026-04-02T00:00:00Z']) h"};
	const struct uuid user_id = new_user();
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	run_sql(&HUGE_ROWS, &p);
	struct usage_sums s;
	ck_assert_int_eq(
		costs_total(conn, &user_id, NULL, at("2026-04-01T00:00:00Z"), at("2026-04-03T00:00:00Z"), &s),
		ERR_RANGE);
}
END_TEST

START_TEST(costs_series_days_of_a_zone_with_dst_fall_where_they_belong)
{
	/* Berlin: 2026-03-29 begins 2026-03-28T23:00Z and has 23 hours; the 30th begins 22:00Z. */
	const struct uuid user_id = new_user();
	static const struct test_event E[] = {
		{.at = "2026-03-28T22:59:59Z", .provider = "p", .model = "m", .cost = "1"},
		{.at = "2026-03-28T23:00:00Z", .provider = "p", .model = "m", .cost = "2"},
		{.at = "2026-03-29T21:59:59Z", .provider = "p", .model = "m", .cost = "4"},
		{.at = "2026-03-29T22:00:00Z", .provider = "p", .model = "m", .cost = "8"},
	};
	for (int i = 0; i < 4; i++)
		add_event(&user_id, &E[i]);
	roll_up(&user_id);
	const struct tz *berlin = NULL;
	ck_assert_int_eq(tz_load("Europe/Berlin", &berlin), ERR_OK);
	const int32_t day = calendar_days((struct civil_date){2026, 3, 28});
	int64_t starts[6];
	for (int i = 0; i < 6; i++)
		starts[i] = tz_day_start(berlin, day + i);
	struct usage_sums s[5];
	ck_assert_int_eq(costs_series(conn, &user_id, NULL, starts, 6, s), ERR_OK);
	static const char *const EXPECTED[] = {"1", "6", "8", "0", "0"};
	for (int i = 0; i < 5; i++)
		ck_assert_str_eq(usd_text(s[i].cost), EXPECTED[i]);
}
END_TEST

START_TEST(costs_series_ragged_borders_within_one_quarter_split_exactly)
{
	/* [11:50, 12:00:00.5), [.., 12:05), [12:05, 12:05), [.., 12:20), [.., 12:45): 2, 0, 0, 2, 1 calls */
	const struct uuid user_id = noon_user();
	const int64_t starts[] = {at("2026-03-10T11:50:00Z"), at("2026-03-10T12:00:00.5Z"),
		at("2026-03-10T12:05:00Z"), at("2026-03-10T12:05:00Z"), at("2026-03-10T12:20:00Z"),
		at("2026-03-10T12:45:00Z")};
	struct usage_sums s[5];
	ck_assert_int_eq(costs_series(conn, &user_id, NULL, starts, 6, s), ERR_OK);
	static const int EXPECTED[] = {2, 0, 0, 2, 1};
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(s[i].calls, EXPECTED[i]);
	ck_assert_str_eq(usd_text(s[0].cost), "0.3");
}
END_TEST

START_TEST(costs_series_too_many_or_descending_is_range)
{
	const struct uuid user_id = new_user();
	static int64_t starts[COSTS_INTERVALS_MAX + 2];
	static struct usage_sums s[COSTS_INTERVALS_MAX + 1];
	for (size_t i = 0; i < COSTS_INTERVALS_MAX + 2; i++)
		starts[i] = at("2026-01-01T00:00:00Z") + (int64_t)i * US_PER_HOUR;
	ck_assert_int_eq(costs_series(conn, &user_id, NULL, starts, COSTS_INTERVALS_MAX + 2, s), ERR_RANGE);
	ck_assert_int_eq(costs_series(conn, &user_id, NULL, starts, COSTS_INTERVALS_MAX + 1, s), ERR_OK);
	ck_assert_int_eq(costs_series(conn, &user_id, NULL, starts, 1, s), ERR_RANGE);
	starts[1] = starts[0] - 1;
	ck_assert_int_eq(costs_series(conn, &user_id, NULL, starts, 3, s), ERR_RANGE);
}
END_TEST

START_TEST(costs_by_model_is_dearest_first_then_by_name)
{
	const struct uuid user_id = noon_user();
	struct usage_by_model *rows = NULL;
	size_t n = 0;
	ck_assert_int_eq(costs_by_model(conn, &user_id, at("2026-03-10T00:00:00Z"),
				 at("2026-03-11T00:00:00Z"), &arena, &rows, &n),
		ERR_OK);
	/* q/b 1000; p/a 0.3 + 10^-18; p/b nothing priced */
	ck_assert_int_eq((int)n, 3);
	ck_assert_str_eq(rows[0].provider, "q");
	ck_assert_str_eq(rows[0].model, "b");
	ck_assert_str_eq(usd_text(rows[1].sums.cost), "0.300000000000000001");
	ck_assert_str_eq(rows[1].model, "a");
	ck_assert_int_eq(rows[1].sums.calls, 3);
	ck_assert_str_eq(rows[2].provider, "p");
	ck_assert_int_eq(rows[2].sums.unpriced_calls, 1);
}
END_TEST

START_TEST(costs_by_model_over_years_adds_all_days_up_in_one_row)
{
	/* Read in pieces of a day: ragged at both ends, a call in the first and the last second, 2,191 days apart. */
	const struct uuid user_id = new_user();
	static const struct test_event E[] = {
		{.at = "2020-01-01T00:07:00Z", .provider = "p", .model = "m", .cost = "1", .status = "error"},
		{.at = "2022-06-01T12:00:00Z", .provider = "p", .model = "m", .cost = "2", .status = "error"},
		{.at = "2025-12-31T00:07:00Z", .provider = "p", .model = "m", .cost = "4", .status = "error"},
		{.at = "2025-12-31T00:07:01Z", .provider = "p", .model = "m", .cost = "8", .status = "error"},
	};
	for (int i = 0; i < 4; i++)
		add_event(&user_id, &E[i]);
	roll_up(&user_id);
	struct usage_by_model *rows = NULL;
	size_t n = 0;
	const int64_t from = at("2020-01-01T00:07:00Z");
	const int64_t to = at("2025-12-31T00:07:01Z");
	ck_assert_int_eq(costs_by_model(conn, &user_id, from, to, &arena, &rows, &n), ERR_OK);
	ck_assert_int_eq((int)n, 1);
	ck_assert_int_eq(rows[0].sums.calls, 3);
	ck_assert_str_eq(usd_text(rows[0].sums.cost), "7");
	ck_assert_str_eq(usd_text(rows[0].sums.error_cost), "7");
}
END_TEST

START_TEST(costs_by_model_ragged_leaves_out_what_is_outside)
{
	const struct uuid user_id = noon_user();
	struct usage_by_model *rows = NULL;
	size_t n = 0;
	ck_assert_int_eq(costs_by_model(conn, &user_id, at("2026-03-10T12:00:00Z"),
				 at("2026-03-10T12:14:59.999999Z"), &arena, &rows, &n),
		ERR_OK);
	ck_assert_int_eq((int)n, 1);
	ck_assert_str_eq(rows[0].model, "a");
	ck_assert_int_eq(rows[0].sums.calls, 1);
}
END_TEST

START_TEST(costs_series_by_model_gives_cells_in_order)
{
	const struct uuid user_id = noon_user();
	const int64_t starts[] = {
		at("2026-03-10T11:00:00Z"), at("2026-03-10T12:00:00Z"), at("2026-03-10T13:00:00Z")};
	struct usage_cell *cells = NULL;
	size_t n = 0;
	ck_assert_int_eq(costs_series_by_model(conn, &user_id, starts, 3, &arena, &cells, &n), ERR_OK);
	/* (0, p, a) 1 call; (1, p, a) 2; (1, p, b) 1; (1, q, b) 1 */
	static const struct usage_cell EXPECTED[] = {
		{.interval = 0, .provider = "p", .model = "a", .sums = {.calls = 1}},
		{.interval = 1, .provider = "p", .model = "a", .sums = {.calls = 2}},
		{.interval = 1, .provider = "p", .model = "b", .sums = {.calls = 1}},
		{.interval = 1, .provider = "q", .model = "b", .sums = {.calls = 1}}};
	ck_assert_int_eq((int)n, 4);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq((int)cells[i].interval, (int)EXPECTED[i].interval);
		ck_assert_str_eq(cells[i].provider, EXPECTED[i].provider);
		ck_assert_str_eq(cells[i].model, EXPECTED[i].model);
		ck_assert_int_eq(cells[i].sums.calls, EXPECTED[i].sums.calls);
	}
}
END_TEST

/* 400 calls over six hours, one every 54.321987 s; call g has g input tokens and costs g x 13 atto-USD. */
static void add_many(const struct uuid *user_id)
{
	static const struct db_stmt MANY = {"test_many_events",
		"INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens, "
		"output_tokens, cost,"
		" pricing_status, price_rule, catalogue_version, service_tier, status, set_id) SELECT $1::uuid, t, "
		"gen_random_uuid(), t,"
		" 'p' || g % 2, 'm' || g % 3, g, g * 7 % 11, g * 0.000000000000000013, 'priced', 'test', "
		"'test', 'standard', 'success', '00000000-0000-0000-0000-000000000000'"
		" FROM (SELECT g, '2026-05-04T00:00:00Z'::timestamptz + g * interval '54.321987 seconds' AS t"
		" FROM generate_series(0, 399) g) x"};
	static const struct db_stmt PARTITION = {
		"test_partition_may", "SELECT events_ensure_partition('2026-05-04T00:00:00Z')"};
	struct db_params p;
	db_params_init(&p, &arena);
	run_sql(&PARTITION, &p);
	db_param_uuid(&p, user_id);
	run_sql(&MANY, &p);
	roll_up(user_id);
}

START_TEST(costs_series_any_borders_add_up_to_what_the_events_say)
{
	/* Property: for borders drawn anywhere, each interval equals the sum over its events, which the
	 * program makes itself, call by call. */
	const struct uuid user_id = new_user();
	add_many(&user_id);
	const int64_t begin = at("2026-05-04T00:00:00Z");
	srand(20260504);
	for (int round = 0; round < 60; round++) {
		int64_t starts[8] = {begin + rand() % 3600000000LL};
		for (int i = 1; i < 8; i++) {
			const int64_t step = rand() % 2700000000LL;
			starts[i] = starts[i - 1] +
				    (rand() % 3 == 0 ? step
						     : step - (starts[i - 1] + step) % (15 * US_PER_MINUTE));
			if (starts[i] < starts[i - 1])
				starts[i] = starts[i - 1];
		}
		struct usage_sums expected[7] = {0};
		for (int64_t g = 0; g < 400; g++) {
			const int64_t t = begin + g * 54321987;
			for (int i = 0; i < 7; i++) {
				if (t < starts[i] || t >= starts[i + 1])
					continue;
				expected[i].calls++;
				expected[i].input_tokens += g;
				expected[i].output_tokens += g * 7 % 11;
				expected[i].cost.atto += g * 13;
			}
		}
		struct usage_sums s[7];
		ck_assert_int_eq(costs_series(conn, &user_id, NULL, starts, 8, s), ERR_OK);
		for (int i = 0; i < 7; i++) {
			ck_assert_int_eq(s[i].calls, expected[i].calls);
			ck_assert_int_eq(s[i].input_tokens, expected[i].input_tokens);
			ck_assert_int_eq(s[i].output_tokens, expected[i].output_tokens);
			ck_assert_int_eq(money_compare(s[i].cost, expected[i].cost), 0);
		}
	}
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("costs");
	tcase_add_test(t, costs_total_whole_quarters_sums_everything);
	tcase_add_test(t, costs_total_nothing_there_is_zeros);
	tcase_add_test(t, costs_total_another_users_are_not_seen);
	tcase_add_test(t, costs_total_ragged_ends_are_exact_to_the_microsecond);
	tcase_add_test(t, costs_total_empty_interval_is_zeros);
	tcase_add_test(t, costs_total_end_before_begin_is_range);
	tcase_add_test(t, costs_total_rollup_filters_narrow_aligned_and_ragged);
	tcase_add_test(t, costs_total_customer_and_tag_are_answered_from_events);
	tcase_add_test(t, costs_total_beyond_the_limit_of_one_amount_is_held);
	tcase_add_test(t, costs_total_beyond_128_bits_is_range);
	tcase_add_test(t, costs_series_days_of_a_zone_with_dst_fall_where_they_belong);
	tcase_add_test(t, costs_series_ragged_borders_within_one_quarter_split_exactly);
	tcase_add_test(t, costs_series_too_many_or_descending_is_range);
	tcase_add_test(t, costs_by_model_is_dearest_first_then_by_name);
	tcase_add_test(t, costs_by_model_over_years_adds_all_days_up_in_one_row);
	tcase_add_test(t, costs_by_model_ragged_leaves_out_what_is_outside);
	tcase_add_test(t, costs_series_by_model_gives_cells_in_order);
	tcase_add_test(t, costs_series_any_borders_add_up_to_what_the_events_say);
	return run_store_tests(suite_create("costs"), t);
}
