/* Budgets against a real PostgreSQL. */

#include <pthread.h>

#include "llmlab/db/budgets.h"
#include "store_fixture.h"

static struct budget monthly(const char *limit)
{
	return (struct budget){.id = uuid_v4(),
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

START_TEST(budgets_update_replaces_fields)
{
	const struct uuid user_id = new_user();
	struct budget b = monthly("10");
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, &user_id, &b, &arena, &created), ERR_OK);
	b.limit = usd("7.5");
	b.period = PERIOD_WEEK;
	b.hard = true;
	ck_assert_int_eq(budgets_update(conn, &user_id, &b, &arena), ERR_OK);
	struct budget f;
	ck_assert_int_eq(budgets_find(conn, &user_id, &b.id, &arena, &f), ERR_OK);
	ck_assert_str_eq(usd_text(f.limit), "7.5");
	ck_assert_int_eq(f.period, PERIOD_WEEK);
	ck_assert(f.hard);
}
END_TEST

START_TEST(budgets_update_to_a_taken_scope_is_duplicate)
{
	const struct uuid user_id = new_user();
	struct budget a = monthly("10");
	struct budget b = monthly("10");
	b.period = PERIOD_DAY;
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, &user_id, &a, &arena, &created), ERR_OK);
	ck_assert_int_eq(budgets_upsert(conn, &user_id, &b, &arena, &created), ERR_OK);
	b.period = PERIOD_MONTH;
	ck_assert_int_eq(budgets_update(conn, &user_id, &b, &arena), ERR_DUPLICATE);
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
	ck_assert_int_eq(budgets_update(conn, &other, &b, &arena), ERR_NOT_FOUND);
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
	tcase_add_test(t, budgets_update_replaces_fields);
	tcase_add_test(t, budgets_update_to_a_taken_scope_is_duplicate);
	tcase_add_test(t, budgets_of_another_user_are_not_found);
	tcase_add_test(t, budgets_delete_is_gone_afterwards);
	tcase_add_test(t, budgets_list_is_newest_first);
	return run_store_tests(suite_create("budgets"), t);
}
