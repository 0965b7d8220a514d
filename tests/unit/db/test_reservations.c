/* Amounts held against budgets, against a real PostgreSQL. */
#include <pthread.h>
#include "llmlab/db/reservations.h"
#include "store_fixture.h"

static struct budget daily(const char *limit)
{
	return (struct budget){.id = uuid_v7(clock_now_us() / US_PER_MS),
		.limit = usd(limit),
		.period = PERIOD_DAY,
		.scope_dimension = "",
		.scope_value = "",
		.thresholds = {100},
		.n_thresholds = 1,
		.hard = true};
}

static void add_budget(const struct uuid *user_id, struct budget *b)
{
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, user_id, b, &arena, &created), ERR_OK);
}

static struct reservation_ask ask_of(const struct uuid *user_id, const char *amount)
{
	return (struct reservation_ask){.user_id = *user_id,
		.call = {.provider = "openai", .model = "gpt-4", .tags_json = "{\"team\": \"a\"}"},
		.has_amount = true,
		.amount = usd(amount),
		.hold = true,
		.id = uuid_v7(clock_now_us() / US_PER_MS),
		.ttl_s = 300};
}

static struct reservation_answer ask(const struct reservation_ask *a)
{
	struct reservation_answer answer = {.n = 0};
	ck_assert_int_eq(reservations_ask(conn, a, &arena, &answer), ERR_OK);
	return answer;
}

/* Spends at this moment, in the sums too. Once for a user. */
static void spend_now(const struct uuid *user_id, const char *cost)
{
	char now[INSTANT_TEXT_SIZE];
	instant_format(clock_now_us(), now);
	add_event(user_id, &(struct test_event){.at = now,
				   .provider = "openai",
				   .model = "gpt-4",
				   .cost = cost,
				   .tags = "{\"team\": \"a\"}"});
	roll_up(user_id);
}

/* Moves the user's reservations into the past. */
static void expire(const struct uuid *user_id)
{
	static const struct db_stmt EXPIRE = {"test_expire",
		"UPDATE reservations SET created_at = created_at - interval '1 day', expires_at = created_at"
		" WHERE user_id = $1"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	run_sql(&EXPIRE, &p);
}

static int64_t count_reservations(const struct uuid *user_id)
{
	static const struct db_stmt COUNT = {
		"test_count", "SELECT count(*) FROM reservations WHERE user_id = $1"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(conn, &COUNT, &p, &r), ERR_OK);
	const int64_t n = db_i64(r, 0, 0);
	PQclear(r);
	return n;
}

START_TEST(reservations_ask_holds_up_to_the_limit_exactly)
{
	const struct uuid user_id = new_user();
	struct budget b = daily("1");
	add_budget(&user_id, &b);
	spend_now(&user_id, "0.3");
	struct reservation_ask a = ask_of(&user_id, "0.35");
	struct reservation_answer r = ask(&a);
	ck_assert(r.allowed && r.held && r.n == 1 && r.budgets[0].passes);
	ck_assert_str_eq(usd_text(r.budgets[0].spent), "0.3");
	ck_assert_str_eq(usd_text(r.budgets[0].reserved), "0");
	a = ask_of(&user_id, "0.350000000000000001"); /* 0.3 + 0.35 + this is one atto beyond 1 */
	r = ask(&a);
	ck_assert(!r.allowed && !r.held && !r.budgets[0].passes);
	ck_assert_str_eq(usd_text(r.budgets[0].reserved), "0.35");
	ck_assert_int_eq(count_reservations(&user_id), 1);
	a = ask_of(&user_id, "0.35");
	ck_assert(ask(&a).held);
	ck_assert_int_eq(count_reservations(&user_id), 2);
}
END_TEST

START_TEST(reservations_ask_without_hold_stores_nothing)
{
	const struct uuid user_id = new_user();
	struct budget b = daily("1");
	add_budget(&user_id, &b);
	struct reservation_ask a = ask_of(&user_id, "1");
	a.hold = false;
	const struct reservation_answer r = ask(&a);
	ck_assert(r.allowed && !r.held);
	ck_assert_int_eq(count_reservations(&user_id), 0);
}
END_TEST

START_TEST(reservations_ask_expired_ones_hold_nothing)
{
	const struct uuid user_id = new_user();
	struct budget b = daily("1");
	add_budget(&user_id, &b);
	struct reservation_ask a = ask_of(&user_id, "1");
	const int64_t before_us = clock_now_us();
	const struct reservation_answer held = ask(&a);
	ck_assert(held.held);
	ck_assert_int_ge(held.expires_at_us, before_us + 299 * US_PER_SECOND);
	const struct uuid first = a.id;
	a = ask_of(&user_id, "1");
	ck_assert(!ask(&a).allowed);
	expire(&user_id);
	ck_assert(ask(&a).held);
	ck_assert_int_eq(reservations_release(conn, &user_id, &first), ERR_NOT_FOUND);
}
END_TEST

START_TEST(reservations_ask_soft_budget_is_told_but_allows)
{
	const struct uuid user_id = new_user();
	struct budget b = daily("1");
	b.hard = false;
	add_budget(&user_id, &b);
	const struct reservation_ask a = ask_of(&user_id, "2");
	const struct reservation_answer r = ask(&a);
	ck_assert(r.allowed && r.held && r.n == 1 && !r.budgets[0].passes);
}
END_TEST

START_TEST(reservations_ask_unknown_amount_passes_no_hard_budget)
{
	const struct uuid user_id = new_user();
	struct reservation_ask a = ask_of(&user_id, "0");
	a.has_amount = false;
	struct reservation_answer r = ask(&a);
	ck_assert(r.allowed && !r.held);
	struct budget b = daily("1000000");
	add_budget(&user_id, &b);
	r = ask(&a);
	ck_assert(!r.allowed && !r.held && !r.budgets[0].passes);
}
END_TEST

START_TEST(reservations_ask_counts_in_the_scopes_the_call_is_in)
{
	static const struct {
		const char *dimension, *value;
		bool in;
	} SCOPES[] = {{"", "", true}, {"provider", "openai", true}, {"provider", "other", false},
		{"model", "gpt-4", true}, {"model", "openai", false}, {"project", "p", false},
		{"customer", "c", false}, {"tag.team", "a", true}, {"tag.team", "b", false},
		{"tag.other", "a", false}};
	const struct uuid user_id = new_user();
	size_t n_in = 0;
	for (size_t i = 0; i < sizeof SCOPES / sizeof SCOPES[0]; i++) {
		struct budget b = daily("1");
		b.scope_dimension = SCOPES[i].dimension;
		b.scope_value = SCOPES[i].value;
		add_budget(&user_id, &b);
		n_in += SCOPES[i].in;
	}
	const struct reservation_ask a = ask_of(&user_id, "0.25");
	const struct reservation_answer first = ask(&a);
	ck_assert_uint_eq(first.n, n_in);
	struct budget *all = NULL;
	size_t n = 0;
	ck_assert_int_eq(budgets_list(conn, &user_id, &arena, &all, &n), ERR_OK);
	ck_assert_uint_eq(n, sizeof SCOPES / sizeof SCOPES[0]);
	struct budget_window windows[sizeof SCOPES / sizeof SCOPES[0]];
	for (size_t i = 0; i < n; i++) {
		const struct period p = period_at(PERIOD_DAY, tz_utc(), clock_now_us());
		windows[i] = (struct budget_window){
			user_id, SCOPES[i].dimension, SCOPES[i].value, p.start_us, p.end_us, {0}, 0, {0}};
	}
	ck_assert_int_eq(budgets_spend(conn, windows, n, &arena), ERR_OK);
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(windows[i].reserved.atto == (SCOPES[i].in ? usd("0.25").atto : 0), "%s %s",
			SCOPES[i].dimension, SCOPES[i].value);
}
END_TEST

START_TEST(reservations_ask_one_of_several_hard_budgets_refuses)
{
	const struct uuid user_id = new_user();
	struct budget wide = daily("10"), narrow = daily("1");
	narrow.scope_dimension = "model";
	narrow.scope_value = "gpt-4";
	add_budget(&user_id, &wide);
	add_budget(&user_id, &narrow);
	const struct reservation_ask a = ask_of(&user_id, "2");
	const struct reservation_answer r = ask(&a);
	ck_assert(!r.allowed && !r.held);
	ck_assert_uint_eq(r.n, 2);
	ck_assert_int_ne(r.budgets[0].passes, r.budgets[1].passes);
	ck_assert_int_eq(count_reservations(&user_id), 0);
}
END_TEST

START_TEST(reservations_ask_beyond_the_bound_is_conflict)
{
	static const struct db_stmt FILL = {"test_fill",
		"INSERT INTO reservations (user_id, id, amount, expires_at) SELECT $1::uuid, "
		"gen_random_uuid(), 0,"
		" now() + interval '1 hour' FROM generate_series(1, 10000)"};
	const struct uuid user_id = new_user();
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	run_sql(&FILL, &p);
	const struct reservation_ask a = ask_of(&user_id, "1");
	struct reservation_answer r;
	ck_assert_int_eq(reservations_ask(conn, &a, &arena, &r), ERR_CONFLICT);
	expire(&user_id);
	ck_assert_int_eq(reservations_ask(conn, &a, &arena, &r), ERR_OK);
}
END_TEST

START_TEST(reservations_ask_unknown_user_is_not_found)
{
	const struct uuid nobody = uuid_v4();
	const struct reservation_ask a = ask_of(&nobody, "1");
	struct reservation_answer r;
	ck_assert_int_eq(reservations_ask(conn, &a, &arena, &r), ERR_NOT_FOUND);
}
END_TEST

START_TEST(reservations_release_gives_back_once_and_to_its_user_only)
{
	const struct uuid user_id = new_user(), other = new_user();
	struct budget b = daily("1");
	add_budget(&user_id, &b);
	struct reservation_ask a = ask_of(&user_id, "1");
	ck_assert(ask(&a).held);
	ck_assert_int_eq(reservations_release(conn, &other, &a.id), ERR_NOT_FOUND);
	ck_assert_int_eq(reservations_release(conn, &user_id, &a.id), ERR_OK);
	ck_assert_int_eq(reservations_release(conn, &user_id, &a.id), ERR_NOT_FOUND);
	a = ask_of(&user_id, "1");
	ck_assert(ask(&a).held);
}
END_TEST

START_TEST(reservations_settle_deletes_only_what_is_named_of_its_user)
{
	const struct uuid user_id = new_user(), other = new_user();
	const struct reservation_ask mine = ask_of(&user_id, "1"), too = ask_of(&user_id, "1"),
				     theirs = ask_of(&other, "1");
	ck_assert(ask(&mine).held && ask(&too).held && ask(&theirs).held);
	const struct reservation_ref refs[] = {
		{user_id, mine.id}, {user_id, mine.id}, {user_id, theirs.id}, {user_id, uuid_v4()}};
	struct db_params p;
	ck_assert_int_eq(reservations_settle_params(&p, refs, 4, &arena), ERR_OK);
	run_sql(&RESERVATIONS_SETTLE, &p);
	ck_assert_int_eq(count_reservations(&user_id), 1);
	ck_assert_int_eq(count_reservations(&other), 1);
	ck_assert_int_eq(reservations_release(conn, &user_id, &too.id), ERR_OK);
}
END_TEST

START_TEST(reservations_purge_deletes_expired_ones_only)
{
	const struct uuid old = new_user(), young = new_user();
	const struct reservation_ask a = ask_of(&old, "1"), b = ask_of(&young, "1");
	ck_assert(ask(&a).held && ask(&b).held);
	expire(&old);
	for (int i = 0; i < 3; i++) /* other tests have left more than one call deletes */
		ck_assert_int_eq(reservations_purge(conn), ERR_OK);
	ck_assert_int_eq(count_reservations(&old), 0);
	ck_assert_int_eq(count_reservations(&young), 1);
}
END_TEST

struct racer {
	struct uuid user_id;
	int held;
};

/* A connection of its own asks for 0.07 twenty times. */
static void *race(void *arg)
{
	struct racer *const r = arg;
	struct db_conn *const c = db_conn_new(&fixture_settings);
	for (int i = 0; i < 20; i++) {
		struct arena own;
		arena_init(&own, 1 << 20);
		const struct reservation_ask a = {.user_id = r->user_id,
			.call = {.model = "gpt-4"},
			.has_amount = true,
			.amount = {7 * decimal_pow10(16)},
			.hold = true,
			.id = uuid_v7(clock_now_us() / US_PER_MS),
			.ttl_s = 300};
		struct reservation_answer answer = {.n = 0};
		if (reservations_ask(c, &a, &own, &answer) == ERR_OK)
			r->held += answer.held;
		arena_release(&own);
	}
	db_conn_free(c);
	return NULL;
}

START_TEST(reservations_ask_eight_at_once_hold_exactly_what_fits)
{
	const struct uuid user_id = new_user();
	struct budget b = daily("3");
	add_budget(&user_id, &b);
	struct racer racers[8];
	pthread_t threads[8];
	for (int i = 0; i < 8; i++) {
		racers[i] = (struct racer){user_id, 0};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	int held = 0;
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		held += racers[i].held;
	}
	ck_assert_int_eq(held, 42); /* 42 x 0.07 = 2.94, 43 would be 3.01 */
	ck_assert_int_eq(count_reservations(&user_id), 42);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("reservations");
	tcase_add_test(t, reservations_ask_holds_up_to_the_limit_exactly);
	tcase_add_test(t, reservations_ask_without_hold_stores_nothing);
	tcase_add_test(t, reservations_ask_expired_ones_hold_nothing);
	tcase_add_test(t, reservations_ask_soft_budget_is_told_but_allows);
	tcase_add_test(t, reservations_ask_unknown_amount_passes_no_hard_budget);
	tcase_add_test(t, reservations_ask_counts_in_the_scopes_the_call_is_in);
	tcase_add_test(t, reservations_ask_one_of_several_hard_budgets_refuses);
	tcase_add_test(t, reservations_ask_beyond_the_bound_is_conflict);
	tcase_add_test(t, reservations_ask_unknown_user_is_not_found);
	tcase_add_test(t, reservations_release_gives_back_once_and_to_its_user_only);
	tcase_add_test(t, reservations_settle_deletes_only_what_is_named_of_its_user);
	tcase_add_test(t, reservations_purge_deletes_expired_ones_only);
	tcase_add_test(t, reservations_ask_eight_at_once_hold_exactly_what_fits);
	return run_store_tests(suite_create("reservations"), t);
}
