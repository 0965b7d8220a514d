/* Budgets against a real PostgreSQL. */

#include <pthread.h>

#include "llmlab/db/budgets.h"
#include "llmlab/db/costs.h"
#include "store_fixture.h"

static struct budget monthly(const char *limit)
{
	return (struct budget){.id = uuid_v7(clock_now_us() / US_PER_MS),
		.name = "All",
		.limit = usd(limit),
		.period = PERIOD_MONTH,
		.scope_dimension = "",
		.scope_value = "",
		.thresholds = {50, 80, 100},
		.n_thresholds = 3};
}

START_TEST(budget_period_names_go_both_ways)
{
	static const char *const NAMES[] = {"daily", "weekly", "monthly", "yearly"};
	static const enum period_kind KINDS[] = {PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH, PERIOD_YEAR};
	for (int i = 0; i < 4; i++) {
		enum period_kind k = PERIOD_YEAR;
		ck_assert_int_eq(budget_period_parse(NAMES[i], &k), ERR_OK);
		ck_assert_int_eq(k, KINDS[i]);
		ck_assert_str_eq(budget_period_name(KINDS[i]), NAMES[i]);
	}
	enum period_kind k = PERIOD_WEEK;
	ck_assert_int_eq(budget_period_parse("hourly", &k), ERR_NOT_FOUND);
	ck_assert_int_eq(k, PERIOD_WEEK);
}
END_TEST

START_TEST(budgets_upsert_new_is_created_and_found_as_given)
{
	const struct uuid user_id = new_user();
	struct budget b = monthly("123.000000000000000001");
	b.scope_dimension = "tag.team";
	b.scope_value = "search";
	b.thresholds[0] = 1;
	b.thresholds[1] = 1000;
	b.n_thresholds = 2;
	b.hard = true;
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, &user_id, &b, &arena, &created), ERR_OK);
	ck_assert(created);
	struct budget f;
	ck_assert_int_eq(budgets_find(conn, &user_id, &b.id, &arena, &f), ERR_OK);
	ck_assert_str_eq(f.name, "All");
	ck_assert_str_eq(usd_text(f.limit), "123.000000000000000001");
	ck_assert_int_eq(f.period, PERIOD_MONTH);
	ck_assert_str_eq(f.scope_dimension, "tag.team");
	ck_assert_str_eq(f.scope_value, "search");
	ck_assert_int_eq((int)f.n_thresholds, 2);
	ck_assert_int_eq(f.thresholds[0], 1);
	ck_assert_int_eq(f.thresholds[1], 1000);
	ck_assert(f.hard);
	ck_assert_int_eq(f.created_at_us, b.created_at_us);
	ck_assert_int_eq(f.updated_at_us, b.updated_at_us);
}
END_TEST

START_TEST(budgets_upsert_same_scope_updates_the_first)
{
	const struct uuid user_id = new_user();
	struct budget first = monthly("10");
	struct budget second = monthly("20");
	second.name = NULL;
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, &user_id, &first, &arena, &created), ERR_OK);
	ck_assert_int_eq(budgets_upsert(conn, &user_id, &second, &arena, &created), ERR_OK);
	ck_assert(!created);
	ck_assert(uuid_equal(&second.id, &first.id));
	ck_assert_int_eq(second.created_at_us, first.created_at_us);
	struct budget *all = NULL;
	size_t n = 0;
	ck_assert_int_eq(budgets_list(conn, &user_id, &arena, &all, &n), ERR_OK);
	ck_assert_int_eq((int)n, 1);
	ck_assert_str_eq(usd_text(all[0].limit), "20");
	ck_assert_ptr_null(all[0].name);
}
END_TEST

START_TEST(budgets_upsert_unknown_user_is_not_found)
{
	const struct uuid nobody = uuid_v4();
	struct budget b = monthly("10");
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, &nobody, &b, &arena, &created), ERR_NOT_FOUND);
}
END_TEST

/* Stores budgets scoped to model m<from> .. m<to - 1>. */
static void fill(const struct uuid *user_id, int from, int to)
{
	for (int i = from; i < to; i++) {
		struct budget b = monthly("1");
		bool created = false;
		b.scope_dimension = "model";
		b.scope_value = arena_printf(&arena, "m%d", i);
		ck_assert_int_eq(budgets_upsert(conn, user_id, &b, &arena, &created), ERR_OK);
		ck_assert(created);
	}
}

START_TEST(budgets_upsert_beyond_the_bound_is_conflict_but_update_goes)
{
	const struct uuid user_id = new_user();
	fill(&user_id, 0, BUDGETS_PER_USER_MAX);
	struct budget b = monthly("5");
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, &user_id, &b, &arena, &created), ERR_CONFLICT);
	b.scope_dimension = "model";
	b.scope_value = "m7";
	ck_assert_int_eq(budgets_upsert(conn, &user_id, &b, &arena, &created), ERR_OK);
	ck_assert(!created);
	struct budget *all = NULL;
	size_t n = 0;
	ck_assert_int_eq(budgets_list(conn, &user_id, &arena, &all, &n), ERR_OK);
	ck_assert_int_eq((int)n, BUDGETS_PER_USER_MAX);
}
END_TEST

struct racer {
	struct uuid user_id;
	const char *scope_value;
	enum err result;
	bool created;
};

/* A thread with a connection of its own creates one budget. */
static void *race(void *arg)
{
	struct racer *r = arg;
	struct arena own;
	arena_init(&own, 1 << 20);
	struct db_conn *c = db_conn_new(&fixture_settings);
	struct budget b = {.id = uuid_v4(),
		.limit = {1},
		.period = PERIOD_DAY,
		.scope_dimension = "project",
		.scope_value = r->scope_value,
		.thresholds = {80},
		.n_thresholds = 1};
	r->result = budgets_upsert(c, &r->user_id, &b, &own, &r->created);
	db_conn_free(c);
	arena_release(&own);
	return NULL;
}

static void race_all(struct racer *racers, int n)
{
	pthread_t threads[8];
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}

START_TEST(budgets_upsert_eight_at_once_on_one_scope_create_once)
{
	const struct uuid user_id = new_user();
	struct racer racers[8];
	for (int i = 0; i < 8; i++)
		racers[i] = (struct racer){.user_id = user_id, .scope_value = "one"};
	race_all(racers, 8);
	int created = 0;
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(racers[i].result, ERR_OK);
		created += racers[i].created;
	}
	ck_assert_int_eq(created, 1);
}
END_TEST

START_TEST(budgets_upsert_eight_at_once_never_pass_the_bound)
{
	/* 197 exist, 8 more at once: 3 fit, 5 are refused. */
	static const char *const SCOPES[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
	const struct uuid user_id = new_user();
	fill(&user_id, 0, BUDGETS_PER_USER_MAX - 3);
	struct racer racers[8];
	for (int i = 0; i < 8; i++)
		racers[i] = (struct racer){.user_id = user_id, .scope_value = SCOPES[i]};
	race_all(racers, 8);
	int created = 0;
	int refused = 0;
	for (int i = 0; i < 8; i++) {
		created += racers[i].result == ERR_OK && racers[i].created;
		refused += racers[i].result == ERR_CONFLICT;
	}
	ck_assert_int_eq(created, 3);
	ck_assert_int_eq(refused, 5);
}
END_TEST

START_TEST(budgets_patch_changes_only_what_is_set)
{
	const struct uuid user_id = new_user();
	struct budget b = monthly("10");
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, &user_id, &b, &arena, &created), ERR_OK);
	struct budget f;
	const struct budget_patch limit = {.set_limit = true, .limit = usd("7.5")};
	ck_assert_int_eq(budgets_patch(conn, &user_id, &b.id, &limit, &arena, &f), ERR_OK);
	ck_assert_str_eq(usd_text(f.limit), "7.5");
	ck_assert_str_eq(f.name, "All");
	ck_assert_uint_eq(f.n_thresholds, 3);
	ck_assert(!f.hard);
	const struct budget_patch rest = {
		.set_name = true, .n_thresholds = 2, .thresholds = {10, 150}, .set_hard = true, .hard = true};
	ck_assert_int_eq(budgets_patch(conn, &user_id, &b.id, &rest, &arena, &f), ERR_OK);
	ck_assert_str_eq(usd_text(f.limit), "7.5");
	ck_assert_ptr_null(f.name);
	ck_assert_uint_eq(f.n_thresholds, 2);
	ck_assert_int_eq(f.thresholds[1], 150);
	ck_assert(f.hard);
	ck_assert_int_eq(f.period, PERIOD_MONTH);
	const struct budget_patch nothing = {.set_name = false};
	ck_assert_int_eq(budgets_patch(conn, &user_id, &b.id, &nothing, &arena, &f), ERR_OK);
	ck_assert(f.hard && f.n_thresholds == 2);
}
END_TEST

/* Spend in the scope of each budget, over a range whose ends are not on UTC days. */
START_TEST(budgets_spend_counts_scope_and_interval_exactly)
{
	const struct uuid user_id = new_user(), other = new_user();
	static const struct test_event EVENTS[] = {
		{.at = "2026-10-31T22:59:59.999999Z", .provider = "a", .model = "m", .cost = "1000"},
		{.at = "2026-10-31T23:00:00Z", .provider = "a", .model = "m", .cost = "1"},
		{.at = "2026-11-05T12:00:00Z", .provider = "b", .model = "m", .cost = "2", .project = "p"},
		{.at = "2026-11-30T22:59:59.999999Z",
			.provider = "b",
			.model = "n",
			.cost = "4",
			.customer = "c",
			.tags = "{\"k\": \"v\"}"},
		{.at = "2026-11-07T12:00:00Z", .provider = "b", .model = "n", .customer = "c"},
		{.at = "2026-11-30T23:00:00Z", .provider = "a", .model = "m", .cost = "1000"},
	};
	for (size_t i = 0; i < sizeof EVENTS / sizeof EVENTS[0]; i++)
		add_event(&user_id, &EVENTS[i]);
	add_event(&other, &EVENTS[1]);
	roll_up(&user_id);
	roll_up(&other);
	const int64_t from_us = at("2026-10-31T23:00:00Z"), to_us = at("2026-11-30T23:00:00Z");
	const int64_t noon_us = at("2026-11-05T12:00:00Z"), later_us = at("2026-11-05T12:15:00Z");
	struct budget_window w[] = {
		{user_id, "", "", from_us, to_us, {0}, 0, {0}},
		{user_id, "provider", "b", from_us, to_us, {0}, 0, {0}},
		{user_id, "model", "m", from_us, to_us, {0}, 0, {0}},
		{user_id, "project", "p", from_us, to_us, {0}, 0, {0}},
		{user_id, "customer", "c", from_us, to_us, {0}, 0, {0}},
		{user_id, "tag.k", "v", from_us, to_us, {0}, 0, {0}},
		{user_id, "tag.k", "w", from_us, to_us, {0}, 0, {0}},
		{user_id, "", "", noon_us, later_us, {0}, 0, {0}},
		{user_id, "", "", noon_us, noon_us, {0}, 0, {0}},
		{other, "", "", from_us, to_us, {0}, 0, {0}},
	};
	static const char *const SPENT[] = {"7", "6", "3", "2", "4", "4", "0", "2", "0", "1"};
	static const int UNPRICED[] = {1, 1, 0, 0, 1, 0, 0, 0, 0, 0};
	const size_t n = sizeof w / sizeof w[0];
	ck_assert_int_eq(budgets_spend(conn, w, n, &arena), ERR_OK);
	for (size_t i = 0; i < n; i++) {
		ck_assert_msg(
			strcmp(usd_text(w[i].spent), SPENT[i]) == 0, "%zu: %s", i, usd_text(w[i].spent));
		ck_assert_int_eq(w[i].unpriced_calls, UNPRICED[i]);
		ck_assert_int_eq((int)w[i].reserved.atto, 0);
	}
	int64_t first_us = 0;
	ck_assert_int_eq(budgets_first_spend(conn, &user_id, &first_us), ERR_OK);
	ck_assert_int_eq(first_us, at("2026-10-31T00:00:00Z"));
	const struct uuid nobody = uuid_v4();
	ck_assert_int_eq(budgets_first_spend(conn, &nobody, &first_us), ERR_NOT_FOUND);
}
END_TEST

/* Two ways to the same sums: what budgets hold and what the costs endpoints tell must never differ. */
START_TEST(budgets_spend_is_what_costs_total_tells)
{
	static const char *const MODELS[] = {"m", "n"}, *const PROVIDERS[] = {"a", "b", "c"},
				 *const CUSTOMERS[] = {NULL, "c", "d"},
				 *const TAGS[] = {NULL, "{\"k\": \"v\"}", "{\"k\": \"w\", \"l\": \"v\"}"};
	static const char *const SCOPES[][2] = {{"", ""}, {"provider", "b"}, {"model", "n"}, {"project", "p"},
		{"customer", "c"}, {"tag.k", "v"}, {"tag.l", "v"}};
	const struct uuid user_id = new_user();
	for (int i = 0; i < 120; i++) {
		char when[INSTANT_TEXT_SIZE];
		instant_format(at("2026-11-01T00:07:00Z") + i * 7 * US_PER_HOUR, when);
		add_event(&user_id, &(struct test_event){.at = when,
					    .provider = PROVIDERS[i % 3],
					    .model = MODELS[i % 2],
					    .cost = i % 11 == 0 ? NULL : "0.000000000000000001",
					    .project = i % 5 == 0 ? "p" : NULL,
					    .customer = CUSTOMERS[i / 3 % 3],
					    .tags = TAGS[i / 2 % 3]});
	}
	roll_up(&user_id);
	const size_t n_scopes = sizeof SCOPES / sizeof SCOPES[0];
	static const char *const BORDERS[][2] = {{"2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"2026-11-02T05:30:00Z", "2026-11-20T05:30:00Z"},
		{"2026-11-05T03:00:00Z", "2026-11-05T23:00:00Z"}};
	struct budget_window w[21];
	struct usage_filter filters[21];
	size_t n = 0;
	for (size_t b = 0; b < 3; b++) {
		for (size_t i = 0; i < n_scopes; i++, n++) {
			const char *const dimension = SCOPES[i][0], *const value = SCOPES[i][1];
			w[n] = (struct budget_window){
				user_id, dimension, value, at(BORDERS[b][0]), at(BORDERS[b][1]), {0}, 0, {0}};
			filters[n] = budgets_filter(dimension, value);
		}
	}
	ck_assert_int_eq(budgets_spend(conn, w, n, &arena), ERR_OK);
	for (size_t i = 0; i < n; i++) {
		struct usage_sums sums;
		ck_assert_int_eq(
			costs_total(conn, &user_id, &filters[i], w[i].start_us, w[i].end_us, &sums), ERR_OK);
		ck_assert_msg(w[i].spent.atto == sums.cost.atto, "%zu: %s, not %s", i, usd_text(w[i].spent),
			usd_text(sums.cost));
		ck_assert_int_eq(w[i].unpriced_calls, sums.unpriced_calls);
	}
	ck_assert(w[0].spent.atto > 80 && w[5].spent.atto > 0);
}
END_TEST

START_TEST(budgets_spend_border_within_a_quarter_is_refused)
{
	struct budget_window w = {uuid_v4(), "", "", 1, 900 * US_PER_SECOND, {0}, 0, {0}};
	ck_assert_int_eq(budgets_spend(conn, &w, 1, &arena), ERR_RANGE);
}
END_TEST

START_TEST(budgets_of_users_have_their_zone)
{
	const struct uuid users[] = {new_user(), new_user(), new_user()};
	ck_assert_int_eq(users_update(conn, &users[1], NULL, "Europe/Berlin"), ERR_OK);
	fill(&users[0], 0, 2);
	fill(&users[1], 0, 1);
	struct user_budget *found = NULL;
	size_t n = 0;
	ck_assert_int_eq(budgets_of_users(conn, users, 3, &arena, &found, &n), ERR_OK);
	ck_assert_uint_eq(n, 3);
	for (size_t i = 0; i < n; i++)
		ck_assert_str_eq(found[i].timezone,
			uuid_equal(&found[i].user_id, &users[1]) ? "Europe/Berlin" : "UTC");
	ck_assert_int_eq(budgets_of_users(conn, users, 1, &arena, &found, &n), ERR_OK);
	ck_assert_uint_eq(n, 2);
}
END_TEST

START_TEST(budgets_of_another_user_are_not_found)
{
	const struct uuid owner = new_user();
	const struct uuid other = new_user();
	struct budget b = monthly("10");
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, &owner, &b, &arena, &created), ERR_OK);
	struct budget f;
	struct budget *all = NULL;
	size_t n = 9;
	ck_assert_int_eq(budgets_find(conn, &other, &b.id, &arena, &f), ERR_NOT_FOUND);
	ck_assert_int_eq(budgets_patch(conn, &other, &b.id,
				 &(struct budget_patch){.set_hard = true, .hard = true}, &arena, &f),
		ERR_NOT_FOUND);
	ck_assert_int_eq(budgets_delete(conn, &other, &b.id), ERR_NOT_FOUND);
	ck_assert_int_eq(budgets_list(conn, &other, &arena, &all, &n), ERR_OK);
	ck_assert_int_eq((int)n, 0);
	ck_assert_int_eq(budgets_find(conn, &owner, &b.id, &arena, &f), ERR_OK);
}
END_TEST

START_TEST(budgets_delete_is_gone_afterwards)
{
	const struct uuid user_id = new_user();
	struct budget b = monthly("10");
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, &user_id, &b, &arena, &created), ERR_OK);
	ck_assert_int_eq(budgets_delete(conn, &user_id, &b.id), ERR_OK);
	ck_assert_int_eq(budgets_delete(conn, &user_id, &b.id), ERR_NOT_FOUND);
}
END_TEST

START_TEST(budgets_list_is_newest_first)
{
	const struct uuid user_id = new_user();
	fill(&user_id, 0, 3);
	struct budget *all = NULL;
	size_t n = 0;
	ck_assert_int_eq(budgets_list(conn, &user_id, &arena, &all, &n), ERR_OK);
	ck_assert_int_eq((int)n, 3);
	ck_assert_str_eq(all[0].scope_value, "m2");
	ck_assert_str_eq(all[2].scope_value, "m0");
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("budgets");
	tcase_add_test(t, budget_period_names_go_both_ways);
	tcase_add_test(t, budgets_upsert_new_is_created_and_found_as_given);
	tcase_add_test(t, budgets_upsert_same_scope_updates_the_first);
	tcase_add_test(t, budgets_upsert_unknown_user_is_not_found);
	tcase_add_test(t, budgets_upsert_beyond_the_bound_is_conflict_but_update_goes);
	tcase_add_test(t, budgets_upsert_eight_at_once_on_one_scope_create_once);
	tcase_add_test(t, budgets_upsert_eight_at_once_never_pass_the_bound);
	tcase_add_test(t, budgets_patch_changes_only_what_is_set);
	tcase_add_test(t, budgets_spend_counts_scope_and_interval_exactly);
	tcase_add_test(t, budgets_spend_is_what_costs_total_tells);
	tcase_add_test(t, budgets_spend_border_within_a_quarter_is_refused);
	tcase_add_test(t, budgets_of_users_have_their_zone);
	tcase_add_test(t, budgets_of_another_user_are_not_found);
	tcase_add_test(t, budgets_delete_is_gone_afterwards);
	tcase_add_test(t, budgets_list_is_newest_first);
	return run_store_tests(suite_create("budgets"), t);
}
