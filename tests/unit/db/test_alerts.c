/* Alerts against a real PostgreSQL. */
#include "llmlab/db/alerts.h"
#include "llmlab/db/budgets.h"
#include "store_fixture.h"

static struct uuid new_budget(const struct uuid *user_id)
{
	struct budget b = {.id = uuid_v7(clock_now_us() / US_PER_MS),
		.limit = usd("10"),
		.period = PERIOD_MONTH,
		.scope_dimension = "",
		.scope_value = "",
		.thresholds = {50},
		.n_thresholds = 1};
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, user_id, &b, &arena, &created), ERR_OK);
	return b.id;
}

static struct alert alert_of(const struct uuid *user_id, const struct uuid *budget_id, int threshold)
{
	return (struct alert){.user_id = *user_id,
		.id = uuid_v7(clock_now_us() / US_PER_MS),
		.kind = ALERT_BUDGET_THRESHOLD,
		.budget_id = *budget_id,
		.budget_name = "All",
		.period_day = calendar_days((struct civil_date){2026, 11, 1}),
		.period_start_us = at("2026-10-31T23:00:00Z"),
		.period_end_us = at("2026-11-30T23:00:00Z"),
		.threshold = threshold,
		.spend = usd("5.000000000000000001"),
		.limit = usd("10"),
		.created_at_us = at("2026-11-12T10:00:00Z")};
}

static struct alert model_of(const struct uuid *user_id, const char *model)
{
	return (struct alert){.user_id = *user_id,
		.id = uuid_v7(clock_now_us() / US_PER_MS),
		.kind = ALERT_MODEL_UNPRICED,
		.provider = "openai",
		.model = model,
		.created_at_us = at("2026-11-12T10:00:00Z")};
}

static bool insert(const struct alert *a)
{
	bool is_new = false;
	ck_assert_int_eq(alerts_insert(conn, a, "{}", &arena, &is_new), ERR_OK);
	return is_new;
}

static size_t list(const struct uuid *user_id, const struct alerts_filter *f, struct alert **ret)
{
	size_t n = 0;
	ck_assert_int_eq(alerts_list(conn, user_id, f, &arena, ret, &n), ERR_OK);
	return n;
}

START_TEST(alerts_insert_threshold_is_new_once_in_a_period)
{
	const struct uuid user_id = new_user();
	const struct uuid budget_id = new_budget(&user_id);
	struct alert a = alert_of(&user_id, &budget_id, 50);
	ck_assert(insert(&a));
	struct alert again = alert_of(&user_id, &budget_id, 50);
	again.period_start_us = at("2026-11-01T00:00:00Z"); /* another zone: the same calendar month */
	ck_assert(!insert(&again));
	struct alert higher = alert_of(&user_id, &budget_id, 80);
	ck_assert(insert(&higher));
	struct alert next = alert_of(&user_id, &budget_id, 50);
	next.period_day = calendar_days((struct civil_date){2026, 12, 1});
	ck_assert(insert(&next));
}
END_TEST

START_TEST(alerts_insert_of_a_budget_that_is_gone_is_not_new)
{
	const struct uuid user_id = new_user(), other = new_user();
	const struct uuid budget_id = new_budget(&user_id);
	struct alert theirs = alert_of(&other, &budget_id, 50);
	ck_assert(!insert(&theirs));
	ck_assert_int_eq(budgets_delete(conn, &user_id, &budget_id), ERR_OK);
	struct alert a = alert_of(&user_id, &budget_id, 50);
	ck_assert(!insert(&a));
}
END_TEST

START_TEST(alerts_insert_model_is_new_once_for_a_user)
{
	const struct uuid user_id = new_user(), other = new_user();
	struct alert a = model_of(&user_id, "m"), b = model_of(&user_id, "m"), c = model_of(&user_id, "n"),
		     d = model_of(&other, "m");
	ck_assert(insert(&a) && !insert(&b) && insert(&c) && insert(&d));
}
END_TEST

START_TEST(alerts_insert_models_are_bounded)
{
	static const struct db_stmt FILL = {"test_fill",
		"INSERT INTO alerts (user_id, id, kind, provider, model) SELECT $1::uuid, gen_random_uuid(),"
		" 'model.unpriced', 'p', 'm' || n FROM generate_series(1, 999) AS n"};
	const struct uuid user_id = new_user();
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	run_sql(&FILL, &p);
	struct alert last = model_of(&user_id, "last"), more = model_of(&user_id, "more");
	ck_assert(insert(&last));
	ck_assert(!insert(&more));
}
END_TEST

START_TEST(alerts_missing_names_those_not_stored)
{
	const struct uuid user_id = new_user(), other = new_user();
	const struct uuid budget_id = new_budget(&user_id);
	struct alert a = alert_of(&user_id, &budget_id, 50);
	ck_assert(insert(&a));
	struct alert asked[4] = {alert_of(&user_id, &budget_id, 80), alert_of(&user_id, &budget_id, 50),
		alert_of(&other, &budget_id, 50), alert_of(&user_id, &budget_id, 50)};
	asked[3].period_day++;
	bool missing[4];
	ck_assert_int_eq(alerts_missing(conn, asked, 4, &arena, missing), ERR_OK);
	ck_assert(missing[0] && !missing[1] && missing[2] && missing[3]);
}
END_TEST

START_TEST(alerts_unpriced_finds_names_that_were_not_told)
{
	const struct uuid user_id = new_user(), other = new_user();
	for (int i = 0; i < 2; i++) {
		const struct uuid *const u = i == 0 ? &user_id : &other;
		add_event(
			u, &(struct test_event){.at = "2026-11-01T00:00:00Z", .provider = "p", .model = "b"});
		add_event(
			u, &(struct test_event){.at = "2026-11-03T00:00:00Z", .provider = "p", .model = "b"});
		add_event(
			u, &(struct test_event){.at = "2026-11-02T00:00:00Z", .provider = "o", .model = "c"});
		add_event(
			u, &(struct test_event){.at = "2026-11-02T00:00:00Z", .provider = "p", .model = "a"});
		add_event(u,
			&(struct test_event){
				.at = "2026-11-02T00:00:00Z", .provider = "p", .model = "paid", .cost = "1"});
		roll_up(u);
	}
	/* Names of somebody else before the first, between and behind. */
	const struct uuid stranger = new_user();
	static const char *const NAMES[][2] = {{"a", "a"}, {"o", "d"}, {"p", "aa"}, {"z", "z"}};
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
		add_event(&stranger,
			&(struct test_event){
				.at = "2026-11-02T00:00:00Z", .provider = NAMES[i][0], .model = NAMES[i][1]});
	roll_up(&stranger);
	struct alert told = model_of(&user_id, "b");
	told.provider = "p";
	ck_assert(insert(&told));
	struct alert_model *found = NULL;
	size_t n = 0;
	ck_assert_int_eq(alerts_unpriced(conn, &user_id, 1, &arena, &found, &n), ERR_OK);
	ck_assert_uint_eq(n, 2);
	ck_assert(uuid_equal(&found[0].user_id, &user_id));
	ck_assert_str_eq(found[0].provider, "o");
	ck_assert_str_eq(found[0].model, "c");
	ck_assert_str_eq(found[1].provider, "p");
	ck_assert_str_eq(found[1].model, "a");
	const struct uuid both[] = {user_id, other};
	ck_assert_int_eq(alerts_unpriced(conn, both, 2, &arena, &found, &n), ERR_OK);
	ck_assert_uint_eq(n, 5);
}
END_TEST

START_TEST(alerts_users_are_listed_in_pages)
{
	struct uuid created[3];
	for (int i = 0; i < 3; i++)
		created[i] = new_user();
	struct uuid page[2], after = {{0}};
	size_t n = 2, seen = 0, all = 0;
	const struct uuid *from = NULL;
	while (n == 2) {
		ck_assert_int_eq(alerts_users(conn, from, 2, page, &n), ERR_OK);
		for (size_t i = 0; i < n; i++) {
			ck_assert(from == NULL || uuid_compare(&page[i], from) > 0);
			for (int k = 0; k < 3; k++)
				seen += uuid_equal(&page[i], &created[k]);
		}
		all += n;
		if (n > 0)
			after = page[n - 1];
		from = &after;
	}
	ck_assert_uint_eq(seen, 3);
	ck_assert_uint_ge(all, 3);
}
END_TEST

START_TEST(alerts_list_filters_and_pages_newest_first)
{
	const struct uuid user_id = new_user(), other = new_user();
	const struct uuid budget_id = new_budget(&user_id);
	struct alert a = alert_of(&user_id, &budget_id, 50), b = alert_of(&user_id, &budget_id, 80),
		     m = model_of(&user_id, "m");
	ck_assert(insert(&a) && insert(&b) && insert(&m));
	struct alert *found = NULL;
	ck_assert_uint_eq(list(&other, &(struct alerts_filter){.limit = 9}, &found), 0);
	ck_assert_uint_eq(list(&user_id, &(struct alerts_filter){.limit = 2}, &found), 2);
	ck_assert(uuid_equal(&found[0].id, &m.id) && uuid_equal(&found[1].id, &b.id));
	ck_assert_uint_eq(list(&user_id, &(struct alerts_filter){.limit = 2, .before = &b.id}, &found), 1);
	ck_assert(uuid_equal(&found[0].id, &a.id));
	ck_assert_str_eq(usd_text(found[0].spend), "5.000000000000000001");
	ck_assert_str_eq(usd_text(found[0].limit), "10");
	ck_assert_int_eq(found[0].threshold, 50);
	ck_assert_int_eq(found[0].period_day, a.period_day);
	ck_assert_int_eq(found[0].period_start_us, a.period_start_us);
	ck_assert_int_eq(found[0].created_at_us, a.created_at_us);
	ck_assert_uint_eq(
		list(&user_id, &(struct alerts_filter){.limit = 9, .budget_id = &budget_id}, &found), 2);
	struct alert done;
	ck_assert_int_eq(alerts_acknowledge(conn, &user_id, &a.id, &arena, &done), ERR_OK);
	ck_assert_uint_eq(
		list(&user_id, &(struct alerts_filter){.limit = 9, .by_acknowledged = true}, &found), 2);
	ck_assert_uint_eq(
		list(&user_id,
			&(struct alerts_filter){.limit = 9, .by_acknowledged = true, .acknowledged = true},
			&found),
		1);
}
END_TEST

START_TEST(alerts_acknowledge_keeps_the_first_time)
{
	const struct uuid user_id = new_user(), other = new_user();
	struct alert m = model_of(&user_id, "m");
	ck_assert(insert(&m));
	struct alert first, second;
	ck_assert_int_eq(alerts_acknowledge(conn, &other, &m.id, &arena, &first), ERR_NOT_FOUND);
	ck_assert_int_eq(alerts_acknowledge(conn, &user_id, &m.id, &arena, &first), ERR_OK);
	ck_assert_int_gt(first.acknowledged_at_us, 0);
	ck_assert_int_eq(alerts_acknowledge(conn, &user_id, &m.id, &arena, &second), ERR_OK);
	ck_assert_int_eq(second.acknowledged_at_us, first.acknowledged_at_us);
}
END_TEST

START_TEST(alerts_purge_deletes_old_ones_of_budgets)
{
	const struct uuid user_id = new_user();
	const struct uuid budget_id = new_budget(&user_id);
	struct alert old = alert_of(&user_id, &budget_id, 50), young = alert_of(&user_id, &budget_id, 80),
		     model = model_of(&user_id, "m");
	young.created_at_us = clock_now_us();
	old.created_at_us = model.created_at_us = clock_now_us() - 401 * US_PER_DAY;
	ck_assert(insert(&old) && insert(&young) && insert(&model));
	ck_assert_int_eq(alerts_purge(conn), ERR_OK);
	struct alert *found = NULL;
	ck_assert_uint_eq(list(&user_id, &(struct alerts_filter){.limit = 9}, &found), 2);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("alerts");
	tcase_add_test(t, alerts_insert_threshold_is_new_once_in_a_period);
	tcase_add_test(t, alerts_insert_of_a_budget_that_is_gone_is_not_new);
	tcase_add_test(t, alerts_insert_model_is_new_once_for_a_user);
	tcase_add_test(t, alerts_insert_models_are_bounded);
	tcase_add_test(t, alerts_missing_names_those_not_stored);
	tcase_add_test(t, alerts_unpriced_finds_names_that_were_not_told);
	tcase_add_test(t, alerts_users_are_listed_in_pages);
	tcase_add_test(t, alerts_list_filters_and_pages_newest_first);
	tcase_add_test(t, alerts_acknowledge_keeps_the_first_time);
	tcase_add_test(t, alerts_purge_deletes_old_ones_of_budgets);
	return run_store_tests(suite_create("alerts"), t);
}
