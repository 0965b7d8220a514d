/* Waits before logins and signups. Time passes by moving the rows back: what was in the database t ago. */
#include "store_fixture.h"

#include "llmlab/db/login_throttle.h"

static const struct login_rates wide = {.network_per_hour = 1000000, .everybody_per_hour = 1000000};

static const char *email(void)
{
	char id[UUID_TEXT_SIZE];
	const struct uuid u = uuid_v4();
	uuid_format(&u, id);
	return arena_printf(&arena, "%s@example.com", id);
}

static int64_t attempt(const char *who, const char *network)
{
	int64_t wait_ms = -1;
	ck_assert_int_eq(login_throttle_attempt(conn, &wide, who, network, &wait_ms), ERR_OK);
	return wait_ms;
}

/* Everything is `seconds` longer ago. */
static void pass(int seconds)
{
	static const struct db_stmt PASS = {
		"test_pass", "UPDATE auth_throttles SET until = until - $1::bigint * interval '1 second'"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_i64(&p, seconds);
	run_sql(&PASS, &p);
}

START_TEST(attempt_waits_from_the_fifth_failure_on_doubling_to_a_quarter_of_an_hour)
{
	/* after failure 5: 1 s, 6: 2 s, ... 14: 512 s, 15 and later: 900 s */
	const char *const who = email();
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(attempt(who, "net"), 0);
	for (int s = 1; s < 900; s *= 2) {
		const int64_t wait_ms =
			s > 8 ? attempt(who, "net") : s * 1000; /* a slow machine may be that late */
		ck_assert_int_gt(wait_ms, s * 500);
		ck_assert_int_le(wait_ms, s * 1000);
		pass(s);
		ck_assert_int_eq(attempt(who, "net"), 0);
	}
	for (int i = 0; i < 3; i++) {
		ck_assert_int_gt(attempt(who, "net"), 899000);
		ck_assert_int_le(attempt(who, "net"), 900000);
		pass(900);
		ck_assert_int_eq(attempt(who, "net"), 0);
	}
}
END_TEST

/* n failures of the account from the network, each as soon as it may be: after n of them the wait is 2^(n-5)
 * s. */
static void fail_often(const char *who, const char *network, int n)
{
	for (int i = 0; i < n; i++) {
		pass(i < 5 ? 0 : 1 << (i - 5));
		ck_assert_int_eq(attempt(who, network), 0);
	}
}

START_TEST(attempt_while_waiting_makes_the_wait_no_longer)
{
	const char *const who = email();
	fail_often(who, "net", 13); /* 256 s */
	for (int i = 0; i < 50; i++) {
		const int64_t wait_ms = attempt(who, "net");
		ck_assert_int_gt(wait_ms, 128000);
		ck_assert_int_le(wait_ms, 256000);
	}
}
END_TEST

START_TEST(attempt_in_any_case_of_the_email_counts_as_one_account)
{
	const char *const who = email();
	fail_often(who, "net", 6);
	fail_often(arena_printf(&arena, "%.36s@EXAMPLE.com", who), "other net", 5);
	pass(2);
	ck_assert_int_eq(attempt(arena_printf(&arena, "%.36s@EXAMPLE.com", who), "net"), 0);
	pass(4);
	ck_assert_int_eq(attempt(who, "net"), 0); /* the eighth: 8 s */
	ck_assert_int_gt(attempt(who, "net"), 4000);
}
END_TEST

START_TEST(attempt_from_another_network_is_free_until_the_account_has_failed_fifteen_times)
{
	const char *const who = email();
	fail_often(who, "attacker", 10);
	ck_assert_int_gt(attempt(who, "attacker"), 16000);
	ck_assert_int_eq(attempt(who, "home"), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(attempt(who, arena_printf(&arena, "bot %d", i)), 0);
	for (int s = 1; s <= 16; s *= 2) { /* the sixteenth and on, the last of which waits 32 s */
		pass(s);
		ck_assert_int_eq(attempt(who, arena_printf(&arena, "late bot %d", s)), 0);
	}
	ck_assert_int_gt(attempt(who, "yet another"), 16000);
	pass(32);
	ck_assert_int_eq(attempt(who, "yet another"), 0);
}
END_TEST

START_TEST(attempt_from_a_familiar_network_waits_only_for_its_own_failures)
{
	const char *const who = email();
	ck_assert_int_eq(attempt(who, "home"), 0);
	ck_assert_int_eq(login_throttle_succeeded(conn, &wide, who, "home"), ERR_OK);
	for (int i = 0; i < 60; i++) {
		(void)attempt(who, arena_printf(&arena, "bot %d", i));
		pass(i < 40 ? 900 : 0);
	}
	ck_assert_int_gt(attempt(who, "office"), 0);
	ck_assert_int_eq(attempt(who, "home"), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(attempt(who, "home"), 0);
	for (int s = 1; s <= 16; s *= 2) {
		pass(s);
		ck_assert_int_eq(attempt(who, "home"), 0);
	}
	ck_assert_int_gt(attempt(who, "home"), 16000);
}
END_TEST

START_TEST(succeeded_forgives_what_was_before)
{
	const char *const who = email();
	fail_often(who, "net", 12);
	ck_assert_int_gt(attempt(who, "net"), 64000);
	ck_assert_int_eq(login_throttle_succeeded(conn, &wide, who, "net"), ERR_OK);
	fail_often(who, "net", 12);
	ck_assert_int_gt(attempt(who, "net"), 64000);
}
END_TEST

START_TEST(attempts_of_one_network_on_many_accounts_wait_at_its_rate)
{
	/* 4 an hour: four at once, then one every 15 minutes; a success counts nothing */
	const struct login_rates narrow = {.network_per_hour = 4, .everybody_per_hour = 1000000};
	int64_t wait_ms = -1;
	const char *const owner = email();
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(login_throttle_attempt(conn, &narrow, owner, "stuffer", &wait_ms), ERR_OK);
		ck_assert_int_eq(wait_ms, 0);
		ck_assert_int_eq(login_throttle_succeeded(conn, &narrow, owner, "stuffer"), ERR_OK);
	}
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(login_throttle_attempt(conn, &narrow, email(), "stuffer", &wait_ms), ERR_OK);
		ck_assert_int_eq(wait_ms, 0);
	}
	ck_assert_int_eq(login_throttle_attempt(conn, &narrow, email(), "stuffer", &wait_ms), ERR_OK);
	ck_assert_int_gt(wait_ms, 895000);
	ck_assert_int_le(wait_ms, 900000);
	/* who has been there before is let in */
	ck_assert_int_eq(login_throttle_attempt(conn, &narrow, owner, "stuffer", &wait_ms), ERR_OK);
	ck_assert_int_eq(wait_ms, 0);
}
END_TEST

START_TEST(signups_of_an_address_wait_by_the_minute_and_by_the_day)
{
	/* 5 a minute: one more every 12 s; 7 a day: one more every 3 h 25 min 43 s */
	const struct signup_rates rates = {.per_minute = 5, .per_day = 7, .everybody_per_minute = 1000};
	int64_t wait_ms = -1;
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(signup_throttle_attempt(conn, &rates, "address", &wait_ms), ERR_OK);
		ck_assert_int_eq(wait_ms, 0);
	}
	ck_assert_int_eq(signup_throttle_attempt(conn, &rates, "address", &wait_ms), ERR_OK);
	ck_assert_int_gt(wait_ms, 10000);
	ck_assert_int_le(wait_ms, 12000);
	ck_assert_int_eq(signup_throttle_attempt(conn, &rates, "other address", &wait_ms), ERR_OK);
	ck_assert_int_eq(wait_ms, 0);
	for (int i = 0; i < 2; i++) {
		pass(12);
		ck_assert_int_eq(signup_throttle_attempt(conn, &rates, "address", &wait_ms), ERR_OK);
		ck_assert_int_eq(wait_ms, 0);
	}
	pass(60);
	ck_assert_int_eq(signup_throttle_attempt(conn, &rates, "address", &wait_ms), ERR_OK);
	ck_assert_int_gt(wait_ms, 12200000);
	ck_assert_int_le(wait_ms, 12343000);
}
END_TEST

START_TEST(signups_of_everybody_wait_together)
{
	const struct signup_rates rates = {.per_minute = 1000, .per_day = 1000, .everybody_per_minute = 2};
	int64_t wait_ms = -1;
	pass(3600);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(
			signup_throttle_attempt(conn, &rates, arena_printf(&arena, "a%d", i), &wait_ms),
			ERR_OK);
		ck_assert_int_eq(wait_ms, 0);
	}
	ck_assert_int_eq(signup_throttle_attempt(conn, &rates, "a3", &wait_ms), ERR_OK);
	ck_assert_int_gt(wait_ms, 0);
	pass(3600);
}
END_TEST

static int64_t rows(void)
{
	static const struct db_stmt COUNT = {"test_throttle_rows", "SELECT count(*) FROM auth_throttles"};
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(conn, &COUNT, NULL, &r), ERR_OK);
	const int64_t n = db_i64(r, 0, 0);
	PQclear(r);
	return n;
}

START_TEST(purge_forgets_what_makes_nobody_wait)
{
	bool more = true;
	const char *const stubborn = email();
	pass(91 * 86400);
	ck_assert_int_eq(login_throttle_purge(conn, &more), ERR_OK);
	ck_assert(!more);
	ck_assert_int_eq(rows(), 0);
	ck_assert_int_eq(
		attempt(email(), "net"), 0); /* an account, it from the network, the network, everybody */
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(attempt(stubborn, "net"), 0);
	ck_assert_int_eq(rows(), 6);
	pass(2 * 3600);
	ck_assert_int_eq(login_throttle_purge(conn, &more), ERR_OK);
	ck_assert_int_eq(
		rows(), 2); /* the five failures, of the account and of it from the network, for a day */
	pass(23 * 3600);
	ck_assert_int_eq(login_throttle_purge(conn, &more), ERR_OK);
	ck_assert_int_eq(rows(), 0);
}
END_TEST

START_TEST(rows_tell_no_email_and_no_network)
{
	static const struct db_stmt FIND = {"test_throttle_find",
		"SELECT count(*) FROM auth_throttles WHERE position(convert_to('example', 'UTF8') IN key) > 0"
		" OR position(convert_to('198.51', 'UTF8') IN key) > 0"};
	PGresult *r = NULL;
	(void)attempt("someone@example.com", "198.51.100");
	ck_assert_int_eq(db_run(conn, &FIND, NULL, &r), ERR_OK);
	ck_assert_int_eq(db_i64(r, 0, 0), 0);
	PQclear(r);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("throttle");
	tcase_add_test(t, attempt_waits_from_the_fifth_failure_on_doubling_to_a_quarter_of_an_hour);
	tcase_add_test(t, attempt_while_waiting_makes_the_wait_no_longer);
	tcase_add_test(t, attempt_in_any_case_of_the_email_counts_as_one_account);
	tcase_add_test(t, attempt_from_another_network_is_free_until_the_account_has_failed_fifteen_times);
	tcase_add_test(t, attempt_from_a_familiar_network_waits_only_for_its_own_failures);
	tcase_add_test(t, succeeded_forgives_what_was_before);
	tcase_add_test(t, attempts_of_one_network_on_many_accounts_wait_at_its_rate);
	tcase_add_test(t, signups_of_an_address_wait_by_the_minute_and_by_the_day);
	tcase_add_test(t, signups_of_everybody_wait_together);
	tcase_add_test(t, purge_forgets_what_makes_nobody_wait);
	tcase_add_test(t, rows_tell_no_email_and_no_network);
	return run_store_tests(suite_create("login throttle"), t);
}
