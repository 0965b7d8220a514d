/* Sums by any dimension, many totals at once, summaries and percentiles against a real PostgreSQL. Expected
 * values are worked out from the events by the test itself, or by hand in a comment. */

#include "llmlab/db/costs.h"
#include "store_fixture.h"

/* Around noon; the user's API key is KEY where one is named.
 * 11:59:59.999999  a  0.1   project x, error
 * 12:00:00         a  0.2   project x, team=red
 * 12:14:59.999999  b  none  customer acme
 * 12:15:00         a  0.4   team=red, env=prod
 * 12:31:00         b  1000  customer acme, team=blue */
static const struct test_event NOON[] = {
	{"2026-03-10T11:59:59.999999Z", "p", "a", "0.1", 10, 1, 5, "x", NULL, NULL, "error"},
	{"2026-03-10T12:00:00Z", "p", "a", "0.2", 20, 2, 0, "x", NULL, "{\"team\":\"red\"}", NULL},
	{"2026-03-10T12:14:59.999999Z", "p", "b", NULL, 40, 4, 0, NULL, "acme", NULL, NULL},
	{"2026-03-10T12:15:00Z", "p", "a", "0.4", 80, 8, 0, NULL, NULL, "{\"team\":\"red\",\"env\":\"prod\"}",
		NULL},
	{"2026-03-10T12:31:00Z", "q", "b", "1000", 160, 16, 0, NULL, "acme", "{\"team\":\"blue\"}", NULL},
};
#define KEY "01890a5d-ac96-774b-bcce-b302099a8057"

static struct uuid noon_user(void)
{
	const struct uuid user_id = new_user();
	for (size_t i = 0; i < sizeof(NOON) / sizeof(NOON[0]); i++)
		add_event(&user_id, &NOON[i]);
	roll_up(&user_id);
	return user_id;
}

/* Makes KEY the key of all sets of a customer (and their events). */
static void give_key(const struct uuid *user_id)
{
	static const struct db_stmt SETS = {"test_key_sets",
		"UPDATE usage_sets SET api_key_id = '" KEY "' WHERE user_id = $1 AND customer <> ''"};
	static const struct db_stmt EVENTS = {"test_key_events",
		"UPDATE events SET api_key_id = '" KEY "' WHERE user_id = $1 AND customer <> ''"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	run_sql(&SETS, &p);
	run_sql(&EVENTS, &p);
}

static const char *text_or_none(const char *s)
{
	return s ? s : "none";
}

/* Rows as text: "interval:value,value=calls/cost" each, "other(groups)" for what is beyond the limit. */
static const char *rows_text(const struct usage_row *rows, size_t n, size_t n_groups)
{
	const char *text = "";
	for (size_t i = 0; i < n; i++) {
		const struct usage_row *const r = &rows[i];
		text = arena_printf(&arena, "%s%s%zu:", text, i == 0 ? "" : " ", r->interval);
		for (size_t j = 0; j < n_groups && !r->other; j++)
			text = arena_printf(
				&arena, "%s%s%s", text, j == 0 ? "" : ",", text_or_none(r->values[j]));
		if (r->other)
			text = arena_printf(&arena, "%sother(%d)", text, (int)r->groups);
		text = arena_printf(&arena, "%s=%d/%s", text, (int)r->sums.calls, usd_text(r->sums.cost));
	}
	return text;
}

static const char *ask(const struct uuid *user_id, const struct usage_breakdown *b, const char *from,
	const char *middle, const char *to)
{
	const int64_t starts[3] = {at(from), middle ? at(middle) : at(to), at(to)};
	struct usage_row *rows = NULL;
	size_t n = 0;
	const enum err e = costs_breakdown(conn, user_id, b, starts, middle ? 3 : 2, &arena, &rows, &n);
	ck_assert_msg(e == ERR_OK, "%s", db_last_message(conn));
	return rows_text(rows, n, b->n_groups);
}

START_TEST(costs_breakdown_by_one_dimension_is_dearest_first_with_a_row_for_none)
{
	const struct uuid user_id = noon_user();
	static const struct {
		struct usage_group group;
		const char *expected;
	} CASES[] = {
		{{USAGE_BY_PROVIDER, NULL}, "0:q=1/1000 0:p=4/0.7"},
		{{USAGE_BY_MODEL, NULL}, "0:b=2/1000 0:a=3/0.7"},
		{{USAGE_BY_PROJECT, NULL}, "0:none=3/1000.4 0:x=2/0.3"},
		{{USAGE_BY_CUSTOMER, NULL}, "0:acme=2/1000 0:none=3/0.7"},
		{{USAGE_BY_KEY, NULL}, "0:" KEY "=2/1000 0:none=3/0.7"},
		{{USAGE_BY_TAG, "team"}, "0:blue=1/1000 0:red=2/0.6 0:none=2/0.1"},
		{{USAGE_BY_TAG, "nobody"}, "0:none=5/1000.7"},
	};
	give_key(&user_id);
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		const struct usage_breakdown b = {.groups = &CASES[i].group, .n_groups = 1, .limit = 10};
		ck_assert_str_eq(ask(&user_id, &b, "2026-03-10T00:00:00Z", NULL, "2026-03-11T00:00:00Z"),
			CASES[i].expected);
		/* the same from ragged ends: everything is between these */
		ck_assert_str_eq(ask(&user_id, &b, "2026-03-10T11:59:59.5Z", NULL, "2026-03-10T12:31:01Z"),
			CASES[i].expected);
	}
}
END_TEST

START_TEST(costs_breakdown_beyond_the_limit_is_one_row_in_each_interval)
{
	/* teams in all: blue 1000, red 0.6, none 0.1 */
	const struct uuid user_id = noon_user();
	const struct usage_group team = {USAGE_BY_TAG, "team"};
	const struct usage_breakdown b = {.groups = &team, .n_groups = 1, .limit = 1};
	ck_assert_str_eq(
		ask(&user_id, &b, "2026-03-10T00:00:00Z", "2026-03-10T12:15:00Z", "2026-03-11T00:00:00Z"),
		"0:other(2)=3/0.3 1:blue=1/1000 1:other(1)=1/0.4");
}
END_TEST

START_TEST(costs_breakdown_by_three_dimensions_keeps_their_order)
{
	const struct uuid user_id = noon_user();
	static const struct usage_group GROUPS[] = {
		{USAGE_BY_TAG, "env"}, {USAGE_BY_MODEL, NULL}, {USAGE_BY_CUSTOMER, NULL}};
	const struct usage_breakdown b = {.groups = GROUPS, .n_groups = 3, .limit = 10};
	ck_assert_str_eq(ask(&user_id, &b, "2026-03-10T00:00:00Z", NULL, "2026-03-11T00:00:00Z"),
		"0:none,b,acme=2/1000 0:prod,a,none=1/0.4 0:none,a,none=2/0.3");
}
END_TEST

START_TEST(costs_breakdown_filters_by_key_and_by_several_tags)
{
	const struct uuid user_id = noon_user();
	static const struct usage_tag TAGS[] = {{"team", "red"}, {"env", "prod"}};
	struct uuid key;
	ck_assert_int_eq(uuid_parse(KEY, &key), ERR_OK);
	give_key(&user_id);
	const struct usage_filter of_key = {.api_key_id = &key}, of_tags = {.tags = TAGS, .n_tags = 2},
				  of_one = {.tag_key = "team", .tag_value = "red"};
	const struct {
		const struct usage_filter *filter;
		const char *expected;
	} CASES[] = {{&of_key, "0:q=1/1000 0:p=1/0"}, {&of_tags, "0:p=1/0.4"}, {&of_one, "0:p=2/0.6"}};
	const struct usage_group provider = {USAGE_BY_PROVIDER, NULL};
	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		const struct usage_breakdown b = {
			.groups = &provider, .n_groups = 1, .limit = 10, .filter = CASES[i].filter};
		ck_assert_str_eq(ask(&user_id, &b, "2026-03-10T00:00:00Z", NULL, "2026-03-11T00:00:00Z"),
			CASES[i].expected);
		ck_assert_str_eq(ask(&user_id, &b, "2026-03-10T11:59:59.5Z", NULL, "2026-03-10T12:31:01Z"),
			CASES[i].expected);
	}
}
END_TEST

START_TEST(costs_breakdown_another_users_are_not_seen)
{
	noon_user();
	const struct uuid other = new_user();
	const struct usage_group group = {USAGE_BY_CUSTOMER, NULL};
	const struct usage_breakdown b = {.groups = &group, .n_groups = 1, .limit = 10};
	ck_assert_str_eq(ask(&other, &b, "2026-03-10T11:59:59.5Z", NULL, "2026-03-11T00:00:00Z"), "");
}
END_TEST

/* Of whole days, where neither providers nor models are asked for, the small level is read: here each of its
 * five rows (one a set) says a dollar more than the others. */
START_TEST(costs_of_sets_read_days_by_model_only_where_models_are_asked_for)
{
	static const struct db_stmt FALSIFY = {
		"test_falsify", "UPDATE usage_set_day SET cost = cost + 1 WHERE user_id = $1"};
	static const struct usage_group BY_CUSTOMER[] = {{USAGE_BY_CUSTOMER, NULL}},
					BOTH[] = {{USAGE_BY_CUSTOMER, NULL}, {USAGE_BY_MODEL, NULL}};
	static const struct usage_filter OF_MODEL = {.model = "b"}, OF_CUSTOMER = {.customer = "acme"},
					 OF_BOTH = {.customer = "acme", .provider = "q"};
	const struct uuid user_id = noon_user();
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	run_sql(&FALSIFY, &p);
	const struct {
		struct usage_breakdown b;
		const char *one, *two; /* the day alone, and before another one */
	} cases[] = {
		{{BY_CUSTOMER, 1, 10, NULL, false}, "0:acme=2/1002 0:none=3/3.7",
			"0:acme=2/1002 0:none=3/3.7"},
		{{BY_CUSTOMER, 1, 10, &OF_CUSTOMER, false}, "0:acme=2/1002", "0:acme=2/1002"},
		{{BY_CUSTOMER, 1, 10, &OF_MODEL, false}, "0:acme=2/1000", "0:acme=2/1000"},
		{{BOTH, 2, 10, NULL, false}, "0:acme,b=2/1000 0:none,a=3/0.7",
			"0:acme,b=2/1000 0:none,a=3/0.7"},
		{{BOTH, 2, 10, &OF_BOTH, false}, "0:acme,b=1/1000", "0:acme,b=1/1000"},
	};
	const char *const from = "2026-03-10T00:00:00Z", *const to = "2026-03-11T00:00:00Z";
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_str_eq(ask(&user_id, &cases[i].b, from, NULL, to), cases[i].one);
		ck_assert_str_eq(ask(&user_id, &cases[i].b, from, to, "2026-03-12T00:00:00Z"), cases[i].two);
	}
	struct usage_sums customer, both;
	ck_assert_int_eq(costs_total(conn, &user_id, &OF_CUSTOMER, at(from), at(to), &customer), ERR_OK);
	ck_assert_int_eq(costs_total(conn, &user_id, &OF_BOTH, at(from), at(to), &both), ERR_OK);
	ck_assert_str_eq(usd_text(customer.cost), "1002");
	ck_assert_str_eq(usd_text(both.cost), "1000");
}
END_TEST

START_TEST(costs_summary_models_intervals_and_the_time_before_add_up)
{
	/* previous: 11:59:59.999999 only; intervals: noon to 12:15 (0.2 and unpriced), to 12:31 (0.4), then
	 * 1000 */
	const struct uuid user_id = noon_user();
	const int64_t starts[] = {at("2026-03-10T12:00:00Z"), at("2026-03-10T12:15:00Z"),
		at("2026-03-10T12:31:00Z"), at("2026-03-10T13:00:00Z")};
	struct usage_summary s;
	ck_assert_msg(
		costs_summary(conn, &user_id, starts, 4, at("2026-03-10T11:00:00Z"), &arena, &s) == ERR_OK,
		"%s", db_last_message(conn));
	ck_assert_str_eq(usd_text(s.previous.cost), "0.1");
	ck_assert_int_eq(s.previous.errors, 1);
	ck_assert_str_eq(usd_text(s.total.cost), "1000.6");
	ck_assert_int_eq(s.total.unpriced_calls, 1);
	ck_assert_str_eq(usd_text(s.intervals[0].cost), "0.2");
	ck_assert_int_eq(s.intervals[0].calls, 2);
	ck_assert_str_eq(usd_text(s.intervals[1].cost), "0.4");
	ck_assert_str_eq(usd_text(s.intervals[2].cost), "1000");
	ck_assert_int_eq((int)s.n_models, 3);
	ck_assert_str_eq(s.models[0].provider, "q");
	ck_assert_str_eq(usd_text(s.models[1].sums.cost), "0.6");
	ck_assert_int_eq(s.models[2].sums.unpriced_calls, 1);
}
END_TEST

START_TEST(costs_summary_of_sums_that_contradict_each_other_is_refused)
{
	static const struct db_stmt DAMAGE = {"test_damage",
		"UPDATE usage_day SET calls = calls + 1 WHERE user_id = $1 AND bucket = '2026-03-10Z'"};
	const struct uuid user_id = noon_user();
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	run_sql(&DAMAGE, &p);
	const int64_t starts[] = {at("2026-03-10T00:00:00Z"), at("2026-03-11T00:00:00Z")};
	struct usage_summary s;
	ck_assert_int_eq(costs_summary(conn, &user_id, starts, 2, starts[0], &arena, &s), ERR_INTERNAL);
}
END_TEST

/* n calls, evenly over ten days: call g took g % 1000 ms and cost g % 1000 millionths. */
static struct uuid even_user(int64_t n)
{
	static const struct db_stmt MANY = {"test_even_events",
		"INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens, "
		"output_tokens, cost,"
		" pricing_status, price_rule, catalogue_version, service_tier, status, latency_ms, set_id) "
		"SELECT $1::uuid, t,"
		" gen_random_uuid(), t, 'p', 'm', 1, 1, g % 1000 * 0.000001, 'priced', 'test', 'test', "
		"'standard', 'success',"
		" g % 1000, '00000000-0000-0000-0000-000000000000' FROM (SELECT g, "
		"'2026-05-04T00:00:00Z'::timestamptz"
		" + g * interval '10 days' / $2::bigint AS t FROM generate_series(0, $2 - 1) g) x"};
	static const struct db_stmt PARTITION = {
		"test_even_partition", "SELECT events_ensure_partition('2026-05-04T00:00:00Z')"};
	const struct uuid user_id = new_user();
	struct db_params p;
	db_params_init(&p, &arena);
	run_sql(&PARTITION, &p);
	db_param_uuid(&p, &user_id);
	db_param_i64(&p, n);
	run_sql(&MANY, &p);
	roll_up(&user_id);
	return user_id;
}

START_TEST(costs_percentiles_of_few_calls_are_nearest_ranks)
{
	/* 2,000 calls: each of 0..999 twice; the 1,000th smallest is 499, the 1,980th 989 */
	const struct uuid user_id = even_user(2000);
	struct usage_spreads s;
	ck_assert_int_eq(costs_percentiles(conn, &user_id, true, at("2026-05-01T00:00:00Z"),
				 at("2026-06-01T00:00:00Z"), &arena, &s),
		ERR_OK);
	ck_assert(!s.sampled);
	ck_assert_int_eq(s.calls, 2000);
	ck_assert_int_eq(s.read, 2000);
	ck_assert_int_eq((int)s.n, 1);
	ck_assert_int_eq(s.rows[0].latency_ms[0], 499);
	ck_assert_int_eq(s.rows[0].latency_ms[1], 899);
	ck_assert_int_eq(s.rows[0].latency_ms[2], 949);
	ck_assert_int_eq(s.rows[0].latency_ms[3], 989);
	ck_assert_str_eq(usd_text(s.rows[0].cost[3]), "0.000989");
}
END_TEST

START_TEST(costs_percentiles_of_many_calls_are_an_even_sample)
{
	/* 60,000 calls in ten days: of each of 250 slices of 57.6 minutes and 240 calls five sixths are read,
	 * 200 */
	const struct uuid user_id = even_user(60000);
	struct usage_spreads s;
	ck_assert_int_eq(costs_percentiles(conn, &user_id, false, at("2026-05-04T00:00:00Z"),
				 at("2026-05-14T00:00:00Z"), &arena, &s),
		ERR_OK);
	ck_assert(s.sampled);
	ck_assert_int_eq(s.calls, 60000);
	ck_assert_int_eq(s.read, COSTS_SAMPLE_CALLS);
	ck_assert_ptr_null(s.rows[0].model);
	ck_assert_int_ge(s.rows[0].latency_ms[0], 480);
	ck_assert_int_le(s.rows[0].latency_ms[0], 520);
}
END_TEST

START_TEST(costs_percentiles_of_a_burst_read_a_bounded_number)
{
	/* 60,000 calls in the first 10 of 300 days: nine slices hold them, of which at most 400 each are read
	 */
	const struct uuid user_id = even_user(60000);
	struct usage_spreads s;
	ck_assert_int_eq(costs_percentiles(conn, &user_id, false, at("2026-05-04T00:00:00Z"),
				 at("2027-02-28T00:00:00Z"), &arena, &s),
		ERR_OK);
	ck_assert(s.sampled);
	ck_assert_int_eq(s.calls, 60000);
	ck_assert_int_gt(s.read, 0);
	ck_assert_int_le(s.read, 9 * COSTS_SLICE_CALLS);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("costs_breakdown");
	tcase_add_test(t, costs_breakdown_by_one_dimension_is_dearest_first_with_a_row_for_none);
	tcase_add_test(t, costs_breakdown_beyond_the_limit_is_one_row_in_each_interval);
	tcase_add_test(t, costs_breakdown_by_three_dimensions_keeps_their_order);
	tcase_add_test(t, costs_breakdown_filters_by_key_and_by_several_tags);
	tcase_add_test(t, costs_breakdown_another_users_are_not_seen);
	tcase_add_test(t, costs_of_sets_read_days_by_model_only_where_models_are_asked_for);
	tcase_add_test(t, costs_summary_models_intervals_and_the_time_before_add_up);
	tcase_add_test(t, costs_summary_of_sums_that_contradict_each_other_is_refused);
	tcase_add_test(t, costs_percentiles_of_few_calls_are_nearest_ranks);
	tcase_add_test(t, costs_percentiles_of_many_calls_are_an_even_sample);
	tcase_add_test(t, costs_percentiles_of_a_burst_read_a_bounded_number);
	return run_store_tests(suite_create("costs_breakdown"), t);
}
