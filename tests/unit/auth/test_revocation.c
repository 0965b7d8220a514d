/* What ended sessions and keys: what it knows, and that it fails closed when it does not. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include "llmlab/auth/revocation.h"

#define SECOND 1000000LL
#define EXPIRY (5000 * SECOND)
#define POLL   (100 * SECOND) /* monotonic begin of the poll */

static struct uuid id(unsigned n)
{
	struct uuid u = {{0}};
	u.bytes[0] = 0x01;
	u.bytes[13] = (uint8_t)(n >> 16 & 255);
	u.bytes[14] = (uint8_t)(n >> 8 & 255);
	u.bytes[15] = (uint8_t)(n & 255);
	return u;
}

/* A session with this token, of a user of its own. */
static struct principal session(unsigned n)
{
	return (struct principal){.user_id = id(n + 500000), .token_id = id(n)};
}

static struct revocations *fresh_set(size_t max)
{
	struct revocations *r = revocations_new(max);
	ck_assert_ptr_nonnull(r);
	revocations_mark_fresh(r, POLL);
	return r;
}

static enum revocation ask(const struct revocations *r, unsigned n)
{
	const struct principal u = session(n);
	return revocations_check(r, &u, POLL);
}

static void revoke(struct revocations *r, unsigned n, int64_t expires_at_us)
{
	const struct uuid u = id(n);
	revocations_add(r, &u, expires_at_us);
}

START_TEST(revocations_check_never_fresh_is_stale)
{
	struct revocations *r = revocations_new(8);
	const struct principal u = session(1);
	/* Also at the monotonic time 0, when "a second ago" would be before the first poll. */
	ck_assert_int_eq(revocations_check(r, &u, 0), REVOCATION_STALE);
	ck_assert_int_eq(revocations_check(r, &u, POLL), REVOCATION_STALE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_check_fresh_and_unknown_is_none)
{
	struct revocations *r = fresh_set(8);
	ck_assert_int_eq(ask(r, 1), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_check_added_is_revoked)
{
	struct revocations *r = fresh_set(8);
	revoke(r, 1, EXPIRY);
	ck_assert_int_eq(ask(r, 1), REVOCATION_REVOKED);
	ck_assert_int_eq(ask(r, 2), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_check_one_second_after_poll_is_fresh_and_then_stale)
{
	struct revocations *r = fresh_set(8);
	const struct principal u = session(1);
	ck_assert_int_eq(revocations_check(r, &u, POLL + SECOND), REVOCATION_NONE);
	ck_assert_int_eq(revocations_check(r, &u, POLL + SECOND + 1), REVOCATION_STALE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_check_revoked_while_stale_is_revoked)
{
	struct revocations *r = fresh_set(8);
	revoke(r, 1, EXPIRY);
	const struct principal u = session(1);
	ck_assert_int_eq(revocations_check(r, &u, POLL + 60 * SECOND), REVOCATION_REVOKED);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_mark_fresh_older_poll_does_not_go_back)
{
	struct revocations *r = fresh_set(8);
	revocations_mark_fresh(r, POLL - 10 * SECOND);
	const struct principal u = session(1);
	ck_assert_int_eq(revocations_check(r, &u, POLL + SECOND), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_add_beyond_max_makes_others_stale_until_it_would_have_expired)
{
	struct revocations *r = fresh_set(2);
	revoke(r, 1, EXPIRY);
	revoke(r, 2, EXPIRY);
	ck_assert_int_eq(ask(r, 9), REVOCATION_NONE);
	revoke(r, 3, EXPIRY + SECOND);
	ck_assert_int_eq(ask(r, 3), REVOCATION_STALE);
	ck_assert_int_eq(ask(r, 9), REVOCATION_STALE);
	ck_assert_int_eq(ask(r, 1), REVOCATION_REVOKED);
	/* Room again, but the third is still missing until EXPIRY + SECOND has passed. */
	revocations_purge(r, EXPIRY + SECOND);
	ck_assert_int_eq(ask(r, 9), REVOCATION_STALE);
	revocations_purge(r, EXPIRY + SECOND + 1);
	ck_assert_int_eq(ask(r, 9), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_add_known_token_when_full_keeps_answers_certain)
{
	struct revocations *r = fresh_set(1);
	revoke(r, 1, EXPIRY);
	revoke(r, 1, EXPIRY);
	ck_assert_int_eq(ask(r, 2), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_add_again_keeps_the_later_expiry)
{
	struct revocations *r = fresh_set(8);
	revoke(r, 1, EXPIRY);
	revoke(r, 1, EXPIRY + SECOND);
	revoke(r, 1, EXPIRY - SECOND);
	revocations_purge(r, EXPIRY + SECOND);
	ck_assert_int_eq(ask(r, 1), REVOCATION_REVOKED);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_purge_drops_only_expired)
{
	struct revocations *r = fresh_set(8);
	revoke(r, 1, EXPIRY - 1);
	revoke(r, 2, EXPIRY);
	revocations_purge(r, EXPIRY);
	ck_assert_int_eq(ask(r, 1), REVOCATION_NONE);
	ck_assert_int_eq(ask(r, 2), REVOCATION_REVOKED);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_many_tokens_are_all_found)
{
	struct revocations *r = fresh_set(20000);
	for (unsigned n = 0; n < 20000; n++)
		revoke(r, n, EXPIRY);
	for (unsigned n = 0; n < 20000; n++)
		ck_assert_int_eq(ask(r, n), REVOCATION_REVOKED);
	ck_assert_int_eq(ask(r, 20000), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

struct job {
	struct revocations *r;
	unsigned first;
};

static void *add_and_ask(void *arg)
{
	const struct job *job = arg;
	for (unsigned n = job->first; n < job->first + 1000; n++) {
		revoke(job->r, n, EXPIRY);
		if (ask(job->r, n) != REVOCATION_REVOKED)
			return arg;
		revocations_mark_fresh(job->r, POLL);
	}
	return NULL;
}

START_TEST(revocations_four_threads_lose_nothing)
{
	struct revocations *r = fresh_set(4000);
	pthread_t threads[4];
	struct job jobs[4];
	for (unsigned t = 0; t < 4; t++) {
		jobs[t] = (struct job){.r = r, .first = t * 1000};
		ck_assert_int_eq(pthread_create(&threads[t], NULL, add_and_ask, &jobs[t]), 0);
	}
	for (unsigned t = 0; t < 4; t++) {
		void *wrong = NULL;
		ck_assert_int_eq(pthread_join(threads[t], &wrong), 0);
		ck_assert_ptr_null(wrong);
	}
	for (unsigned n = 0; n < 4000; n++)
		ck_assert_int_eq(ask(r, n), REVOCATION_REVOKED);
	ck_assert_int_eq(ask(r, 4000), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_check_session_below_the_generation_of_its_account_is_revoked)
{
	struct revocations *r = fresh_set(8);
	struct principal p = session(1);
	p.generation = 4;
	revocations_add_account(r, &p.user_id, 5, 0, EXPIRY);
	ck_assert_int_eq(revocations_check(r, &p, POLL), REVOCATION_REVOKED);
	p.generation = 5;
	ck_assert_int_eq(revocations_check(r, &p, POLL), REVOCATION_NONE);
	/* an older change that is told again takes nothing back */
	revocations_add_account(r, &p.user_id, 3, 0, EXPIRY);
	p.generation = 4;
	ck_assert_int_eq(revocations_check(r, &p, POLL), REVOCATION_REVOKED);
	ck_assert_int_eq(ask(r, 2), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_check_key_below_the_generation_of_its_account_is_to_be_looked_up)
{
	struct revocations *r = fresh_set(8);
	struct principal key = session(1);
	key.is_api_key = true;
	key.generation = 1;
	revocations_add_account(r, &key.user_id, 9, 1, EXPIRY); /* sessions ended; keys up to date */
	ck_assert_int_eq(revocations_check(r, &key, POLL), REVOCATION_NONE);
	revocations_add_account(r, &key.user_id, 9, 2, EXPIRY);
	ck_assert_int_eq(revocations_check(r, &key, POLL), REVOCATION_STALE);
	key.generation = 2;
	ck_assert_int_eq(revocations_check(r, &key, POLL), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_add_account_beyond_max_makes_others_stale_and_purge_drops_it)
{
	struct revocations *r = fresh_set(1);
	const struct principal first = session(1);
	const struct principal second = session(2);
	revocations_add_account(r, &first.user_id, 1, 0, EXPIRY);
	ck_assert_int_eq(ask(r, 3), REVOCATION_NONE);
	revocations_add_account(r, &second.user_id, 1, 0, EXPIRY);
	ck_assert_int_eq(ask(r, 3), REVOCATION_STALE);
	revocations_purge(r, EXPIRY + 1);
	ck_assert_int_eq(ask(r, 1), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_purge_keeps_an_account_until_it_expires)
{
	struct revocations *r = fresh_set(8);
	const struct principal one = session(1);
	revocations_add_account(r, &one.user_id, 1, 0, EXPIRY);
	revocations_purge(r, EXPIRY);
	ck_assert_int_eq(ask(r, 1), REVOCATION_REVOKED);
	revocations_purge(r, EXPIRY + 1);
	ck_assert_int_eq(ask(r, 1), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

START_TEST(revocations_add_of_one_beyond_max_does_not_shorten_the_doubt)
{
	struct revocations *r = fresh_set(1);
	revoke(r, 1, EXPIRY);
	revoke(r, 2, EXPIRY + 2 * SECOND);
	revoke(r, 3, EXPIRY + SECOND);
	revocations_purge(r, EXPIRY + 2 * SECOND);
	ck_assert_int_eq(ask(r, 2), REVOCATION_STALE);
	revocations_purge(r, EXPIRY + 2 * SECOND + 1);
	ck_assert_int_eq(ask(r, 2), REVOCATION_NONE);
	revocations_free(r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("revocation");
	TCase *tcase = tcase_create("revocation");
	tcase_add_test(tcase, revocations_check_never_fresh_is_stale);
	tcase_add_test(tcase, revocations_check_fresh_and_unknown_is_none);
	tcase_add_test(tcase, revocations_check_added_is_revoked);
	tcase_add_test(tcase, revocations_check_one_second_after_poll_is_fresh_and_then_stale);
	tcase_add_test(tcase, revocations_check_revoked_while_stale_is_revoked);
	tcase_add_test(tcase, revocations_mark_fresh_older_poll_does_not_go_back);
	tcase_add_test(tcase, revocations_add_beyond_max_makes_others_stale_until_it_would_have_expired);
	tcase_add_test(tcase, revocations_add_known_token_when_full_keeps_answers_certain);
	tcase_add_test(tcase, revocations_add_again_keeps_the_later_expiry);
	tcase_add_test(tcase, revocations_purge_drops_only_expired);
	tcase_add_test(tcase, revocations_many_tokens_are_all_found);
	tcase_add_test(tcase, revocations_four_threads_lose_nothing);
	tcase_add_test(tcase, revocations_check_session_below_the_generation_of_its_account_is_revoked);
	tcase_add_test(tcase, revocations_check_key_below_the_generation_of_its_account_is_to_be_looked_up);
	tcase_add_test(tcase, revocations_add_account_beyond_max_makes_others_stale_and_purge_drops_it);
	tcase_add_test(tcase, revocations_purge_keeps_an_account_until_it_expires);
	tcase_add_test(tcase, revocations_add_of_one_beyond_max_does_not_shorten_the_doubt);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
