/* However a range is cut into weeks, days, hours, quarters and events, in whatever zone and however long its
 * intervals, every answer is what the events alone say. */

#include "llmlab/base/buf.h"
#include "llmlab/db/costs.h"
#include "store_fixture.h"

#define DAYS 120

/* 4,000 calls from 2026-02-01 on: of each day some at its very begin and end, others anywhere to the second;
 * five models of two providers, three projects, customers and tags. One model and one customer have calls in
 * a single hour of a week only, so that what is taken away leaves nothing. */
static struct uuid busy_user(void)
{
	static const struct db_stmt PARTITIONS = {"test_partitions",
		"SELECT events_ensure_partition('2026-02-01Z'::timestamptz + m * interval '1 month') FROM "
		"generate_series(0, 5) AS m"};
	static const struct db_stmt EVENTS = {"test_events",
		"INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens, "
		"output_tokens, cost, pricing_status, price_rule, catalogue_version, service_tier, project, "
		"customer, tags, status, set_id) SELECT $1::uuid, at, gen_random_uuid(), at, 'p' || m % 2, "
		"'m' || m, "
		"g, 1, g * 0.000000000000000013, 'priced', 'test', 'test', 'standard', project, customer, "
		"tags,"
		" CASE WHEN g % 10 = 0 THEN 'error' ELSE 'success' END,"
		" md5(jsonb_build_array(coalesce(project, ''), coalesce(customer, ''), NULL, "
		"tags)::text)::uuid"
		" FROM (SELECT g, CASE WHEN extract(day FROM at) % 7 = 3 AND extract(hour FROM at) = 23 THEN "
		"4 ELSE g "
		"% 4 END AS m,"
		" at, nullif('project ' || g % 3, 'project 0') AS project, CASE WHEN extract(day FROM at) % "
		"7 = 3 AND "
		"extract(hour FROM at) = 23 THEN 'rare' WHEN g % 5 > 0 THEN 'customer ' || g % 5 END AS "
		"customer,"
		" CASE WHEN g % 4 > 0 THEN jsonb_build_object('team', 'team ' || g % 4) END AS tags FROM "
		"(SELECT g,"
		" '2026-02-01Z'::timestamptz + CASE g % 8 WHEN 0 THEN g % 120 * interval '1 day' WHEN 1 THEN "
		"g % 120 "
		"* interval '1 day' - interval '1 microsecond' ELSE abs(hashint8(g::bigint)::bigint) % (120 "
		"* 86400) * "
		"interval '1 second' END AS at FROM generate_series(0, 3999) AS g) AS a) AS b"};
	const struct uuid user_id = new_user();
	struct db_params p;
	db_params_init(&p, &arena);
	run_sql(&PARTITIONS, &p);
	db_param_uuid(&p, &user_id);
	run_sql(&EVENTS, &p);
	roll_up(&user_id);
	return user_id;
}

/* ---- what the events say ---- */

enum by { BY_NOTHING, BY_MODEL, BY_PROJECT, BY_CUSTOMER, BY_TAG, BY_CUSTOMER_AND_MODEL };

/* "interval:values=calls/errors/tokens/cost" of each row, ordered. */
static const char *by_events(
	const struct uuid *user_id, enum by by, bool of_customer, const int64_t *starts, size_t n_starts)
{
#define EXPECTED(name, values)                                                                               \
	{                                                                                                    \
		name, "SELECT coalesce(string_agg(concat(i, ':', v, '=', calls, '/', errors, '/', tokens, "  \
		      "'/', "                                                                                \
		      "trim_scale(cost)), ' ' ORDER BY i, v COLLATE \"C\"), '') FROM (SELECT width_bucket("  \
		      "occurred_at, $2::timestamptz[]) - 1 AS i, " values " AS v, count(*) AS calls,"        \
		      " count(*) FILTER (WHERE status = 'error') AS errors, sum(input_tokens) AS tokens,"    \
		      " sum(cost) AS cost FROM events WHERE user_id = $1 AND occurred_at >= "                \
		      "($2::timestamptz[])[1] AND occurred_at < ($2::timestamptz[])[cardinality("            \
		      "$2::timestamptz[])] AND (NOT $3::bool OR customer = 'customer 1') GROUP BY 1, 2) AS " \
		      "a"                                                                                    \
	}
	static const struct db_stmt STATEMENTS[] = {EXPECTED("by_nothing", "''"),
		EXPECTED("by_model", "concat(provider, ',', model)"),
		EXPECTED("by_project", "coalesce(project, 'none')"),
		EXPECTED("by_customer", "coalesce(customer, 'none')"),
		EXPECTED("by_tag", "coalesce(tags ->> 'team', 'none')"),
		EXPECTED("by_both", "concat(coalesce(customer, 'none'), ',', model)")};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_instant_array_binary(&p, starts, n_starts);
	db_param_bool(&p, of_customer);
	PGresult *r = NULL;
	const enum err e = db_run(conn, &STATEMENTS[by], &p, &r);
	ck_assert_msg(e == ERR_OK, "%s", db_last_message(conn));
	const char *const text = arena_strdup(&arena, db_text(r, 0, 0));
	PQclear(r);
	return text;
}

/* ---- what the answers say ---- */

struct texts {
	const char *rows[20000];
	size_t n;
};

static int compare_texts(const void *a, const void *b)
{
	const char *const *const x = a, *const *const y = b;
	const long i = strtol(*x, NULL, 10), j = strtol(*y, NULL, 10);
	if (i != j)
		return i < j ? -1 : 1;
	/* by value: '=' ends it, and no value has a character below */
	return strcmp(*x, *y);
}

static void add_text(struct texts *t, size_t i, const char *value, const struct usage_sums *s)
{
	if (s->calls == 0)
		return;
	ck_assert_uint_lt(t->n, sizeof(t->rows) / sizeof(t->rows[0]));
	t->rows[t->n++] = arena_printf(&arena, "%zu:%s=%d/%d/%d/%s", i, value, (int)s->calls, (int)s->errors,
		(int)s->input_tokens, usd_text(s->cost));
}

static const char *joined(struct texts *t)
{
	if (t->n > 1)
		qsort(t->rows, t->n, sizeof(t->rows[0]), compare_texts);
	struct buf all;
	buf_init(&all, 1 << 22);
	for (size_t i = 0; i < t->n; i++) {
		buf_append(&all, " ", i == 0 ? 0 : 1);
		buf_append(&all, t->rows[i], strlen(t->rows[i]));
	}
	const char *const text = arena_strdup(&arena, buf_str(&all));
	buf_release(&all);
	return text;
}

/* `cost` has the calls and the cost of the sums, and nothing else. */
static void check_cost_of(const struct usage_sums *sums, const struct usage_sums *cost)
{
	ck_assert_int_eq(cost->calls, sums->calls);
	ck_assert(cost->cost.atto == sums->cost.atto);
	ck_assert_int_eq(cost->errors | cost->unpriced_calls | cost->input_tokens | cost->output_tokens |
				 cost->cache_read_tokens | cost->cache_write_tokens |
				 cost->cache_write_1h_tokens | cost->reasoning_tokens,
		0);
	ck_assert(cost->error_cost.atto == 0 && cost->standard_cost.atto == 0);
}

/* The same question for calls and cost alone has the same rows, and no other sums. */
static void check_only_cost(const struct uuid *user_id, const struct usage_breakdown *all,
	const int64_t *starts, size_t n_starts, const struct usage_row *rows, size_t n)
{
	struct usage_breakdown b = *all;
	b.only_cost = true;
	struct usage_row *costs = NULL;
	size_t n_costs = 0;
	ck_assert_int_eq(
		costs_breakdown(conn, user_id, &b, starts, n_starts, &arena, &costs, &n_costs), ERR_OK);
	ck_assert_uint_eq(n_costs, n);
	for (size_t i = 0; i < n; i++) {
		ck_assert_uint_eq(costs[i].interval, rows[i].interval);
		for (size_t j = 0; j < all->n_groups; j++)
			ck_assert_pstr_eq(costs[i].values[j], rows[i].values[j]);
		ck_assert_int_eq(costs[i].groups, rows[i].groups);
		ck_assert(costs[i].other == rows[i].other);
		check_cost_of(&rows[i].sums, &costs[i].sums);
	}
}

static const char *by_breakdown(
	const struct uuid *user_id, enum by by, bool of_customer, const int64_t *starts, size_t n_starts)
{
	static const struct usage_group GROUPS[][2] = {[BY_NOTHING] = {{USAGE_BY_MODEL, NULL}},
		[BY_MODEL] = {{USAGE_BY_PROVIDER, NULL}, {USAGE_BY_MODEL, NULL}},
		[BY_PROJECT] = {{USAGE_BY_PROJECT, NULL}},
		[BY_CUSTOMER] = {{USAGE_BY_CUSTOMER, NULL}},
		[BY_TAG] = {{USAGE_BY_TAG, "team"}},
		[BY_CUSTOMER_AND_MODEL] = {{USAGE_BY_CUSTOMER, NULL}, {USAGE_BY_MODEL, NULL}}};
	static const size_t N_GROUPS[] = {0, 2, 1, 1, 1, 2};
	static const struct usage_filter OF_CUSTOMER = {.customer = "customer 1"};
	const struct usage_breakdown b = {.groups = GROUPS[by],
		.n_groups = N_GROUPS[by],
		.limit = 1000,
		.filter = of_customer ? &OF_CUSTOMER : NULL};
	static struct texts t;
	t.n = 0;
	struct usage_row *rows = NULL;
	size_t n = 0;
	const enum err e = costs_breakdown(conn, user_id, &b, starts, n_starts, &arena, &rows, &n);
	ck_assert_msg(e == ERR_OK, "%s", db_last_message(conn));
	check_only_cost(user_id, &b, starts, n_starts, rows, n);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_gt(rows[i].sums.calls, 0); /* a group that has nothing left has no row */
		const char *value = "";
		for (size_t j = 0; j < N_GROUPS[by]; j++)
			value = arena_printf(&arena, "%s%s%s", value, j == 0 ? "" : ",",
				rows[i].values[j] ? rows[i].values[j] : "none");
		add_text(&t, rows[i].interval, value, &rows[i].sums);
	}
	return joined(&t);
}

static const char *by_series(
	const struct uuid *user_id, bool of_customer, const int64_t *starts, size_t n_starts)
{
	static const struct usage_filter OF_CUSTOMER = {.customer = "customer 1"};
	static struct texts t;
	t.n = 0;
	struct usage_sums *const sums = arena_array(&arena, n_starts, sizeof(*sums));
	const enum err e =
		costs_series(conn, user_id, of_customer ? &OF_CUSTOMER : NULL, starts, n_starts, sums);
	ck_assert_msg(e == ERR_OK, "%s", db_last_message(conn));
	struct usage_sums *const costs = arena_array(&arena, n_starts, sizeof(*costs));
	ck_assert_int_eq(costs_series_cost(conn, user_id, starts, n_starts, costs), ERR_OK);
	for (size_t i = 0; !of_customer && i + 1 < n_starts; i++) {
		check_cost_of(&sums[i], &costs[i]);
	}
	for (size_t i = 0; i + 1 < n_starts; i++)
		add_text(&t, i, "", &sums[i]);
	return joined(&t);
}

static const char *by_cells(const struct uuid *user_id, const int64_t *starts, size_t n_starts)
{
	static struct texts t;
	t.n = 0;
	struct usage_cell *cells = NULL;
	size_t n = 0;
	const enum err e = costs_series_by_model(conn, user_id, starts, n_starts, &arena, &cells, &n);
	ck_assert_msg(e == ERR_OK, "%s", db_last_message(conn));
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_gt(cells[i].sums.calls, 0);
		add_text(&t, cells[i].interval,
			arena_printf(&arena, "%s,%s", cells[i].provider, cells[i].model), &cells[i].sums);
	}
	return joined(&t);
}

static void check_all(const struct uuid *user_id, const int64_t *starts, size_t n_starts)
{
	for (int of_customer = 0; of_customer < 2; of_customer++) {
		for (int by = BY_NOTHING; by <= BY_CUSTOMER_AND_MODEL; by++)
			ck_assert_str_eq(
				by_breakdown(user_id, (enum by)by, of_customer != 0, starts, n_starts),
				by_events(user_id, (enum by)by, of_customer != 0, starts, n_starts));
		ck_assert_str_eq(by_series(user_id, of_customer != 0, starts, n_starts),
			by_events(user_id, BY_NOTHING, of_customer != 0, starts, n_starts));
	}
	ck_assert_str_eq(
		by_cells(user_id, starts, n_starts), by_events(user_id, BY_MODEL, false, starts, n_starts));
	struct usage_summary s;
	const int64_t previous_us = starts[0] - (starts[n_starts - 1] - starts[0]);
	ck_assert_msg(costs_summary(conn, user_id, starts, n_starts, previous_us, &arena, &s) == ERR_OK, "%s",
		db_last_message(conn));
	static struct texts before;
	before.n = 0;
	const int64_t previous[] = {previous_us, starts[0]};
	add_text(&before, 0, "", &s.previous);
	ck_assert_str_eq(joined(&before), by_events(user_id, BY_NOTHING, false, previous, 2));
}

/* ---- the cuts ---- */

static const char *const ZONES[] = {"UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Los_Angeles",
	"Pacific/Auckland", "Australia/Lord_Howe", "Pacific/Kiritimati", "Asia/Kolkata"};
#define N_ZONES (sizeof(ZONES) / sizeof(ZONES[0]))

static const struct tz *zone(int i)
{
	const struct tz *tz = NULL;
	ck_assert_int_eq(tz_load(ZONES[i], &tz), ERR_OK);
	return tz;
}

/* Days, weeks, and all of a range over changes of the clocks (March and April), by zone. */
START_TEST(costs_of_days_weeks_and_all_of_any_zone_are_what_the_events_say)
{
	static const int32_t STEPS[] = {1, 7, 30, 90};
	const struct tz *const tz = zone(_i);
	const struct uuid user_id = busy_user();
	const int32_t first = calendar_days((struct civil_date){2026, 2, 20});
	for (size_t k = 0; k < sizeof(STEPS) / sizeof(STEPS[0]); k++) {
		int64_t starts[DAYS];
		size_t n = 0;
		for (int32_t day = 0; day <= 90; day += STEPS[k])
			starts[n++] = tz_day_start(tz, first + day);
		check_all(&user_id, starts, n);
	}
}
END_TEST

START_TEST(costs_of_hours_are_what_the_events_say)
{
	const struct tz *const tz = zone(_i);
	const struct uuid user_id = busy_user();
	int64_t starts[101];
	for (int i = 0; i < 101; i++)
		starts[i] =
			tz_day_start(tz, calendar_days((struct civil_date){2026, 3, 27})) + i * US_PER_HOUR;
	check_all(&user_id, starts, 101);
}
END_TEST

/* Borders anywhere, some of them equal, some in one quarter: of intervals of microseconds to months. */
START_TEST(costs_of_intervals_of_any_length_are_what_the_events_say)
{
	const struct uuid user_id = busy_user();
	uint64_t random = 88172645463325252U + (uint64_t)_i * 977;
	const int64_t first_us = at("2026-02-03T00:00:00Z");
	int64_t starts[24] = {first_us};
	for (int i = 1; i < 24; i++) {
		random ^= random << 13, random ^= random >> 7,
			random ^= random << 17; /* Marsaglia's xorshift */
		static const int64_t UNITS[] = {
			0, 1, US_PER_MINUTE, 15 * US_PER_MINUTE, US_PER_HOUR, US_PER_DAY, 7 * US_PER_DAY};
		const int64_t unit = UNITS[random % 7];
		starts[i] = starts[i - 1] + unit + (int64_t)(random >> 8) % (unit + 1);
	}
	size_t n = 1;
	while (n < 24 && starts[n] < first_us + DAYS * US_PER_DAY)
		n++;
	check_all(&user_id, starts, n < 2 ? 2 : n);
	const int64_t whole[] = {starts[1], starts[n - 1]};
	check_all(&user_id, whole, 2);
}
END_TEST

int main(void)
{
	TCase *const t = tcase_create("cut");
	tcase_add_loop_test(t, costs_of_days_weeks_and_all_of_any_zone_are_what_the_events_say, 0, N_ZONES);
	tcase_add_loop_test(t, costs_of_hours_are_what_the_events_say, 0, 3);
	tcase_add_loop_test(t, costs_of_intervals_of_any_length_are_what_the_events_say, 0, 12);
	return run_store_tests(suite_create("costs cut"), t);
}
