/* The rate limiter: quota, recovery, separation of subjects and classes, bounded memory. Times are the
 * test's. */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/http/internal.h"
#include "llmlab/base/clock.h"

/* 60 a minute: one a second, 60 at once */
static const struct rate_limit limit = {RATE_READ, 60, US_PER_MINUTE};
static const uint8_t alice[16] = {1}, bob[16] = {2};
static const int64_t t0 = 1000 * US_PER_SECOND;

START_TEST(take_up_to_the_quota_is_allowed_then_refused)
{
	struct rate_limiter *r = rate_limiter_new();
	struct rate_state s;
	for (int i = 0; i < 60; i++) {
		ck_assert(rate_limiter_take(r, &limit, alice, t0, &s));
		ck_assert_int_eq(s.remaining, 59 - i);
	}
	ck_assert(!rate_limiter_take(r, &limit, alice, t0, &s));
	ck_assert_int_eq(s.remaining, 0);
	ck_assert_int_eq(s.retry_after_s, 1);
	ck_assert_int_eq(s.reset_s, 60);
	rate_limiter_free(r);
}
END_TEST

START_TEST(take_after_retry_after_is_allowed_once)
{
	struct rate_limiter *r = rate_limiter_new();
	struct rate_state s;
	for (int i = 0; i < 61; i++)
		(void)rate_limiter_take(r, &limit, alice, t0, &s);
	ck_assert(!rate_limiter_take(r, &limit, alice, t0 + US_PER_SECOND - 1, &s));
	ck_assert(rate_limiter_take(r, &limit, alice, t0 + US_PER_SECOND, &s));
	ck_assert(!rate_limiter_take(r, &limit, alice, t0 + US_PER_SECOND, &s));
	/* refused calls cost nothing: a minute later everything is back */
	for (int i = 0; i < 60; i++)
		ck_assert(rate_limiter_take(r, &limit, alice, t0 + 2 * US_PER_MINUTE, &s));
	rate_limiter_free(r);
}
END_TEST

START_TEST(take_of_others_and_other_classes_is_apart)
{
	struct rate_limiter *r = rate_limiter_new();
	struct rate_state s;
	const struct rate_limit one = {RATE_READ, 1, US_PER_MINUTE}, other = {RATE_AUTH, 1, US_PER_MINUTE};
	ck_assert(rate_limiter_take(r, &one, alice, t0, &s));
	ck_assert(!rate_limiter_take(r, &one, alice, t0, &s));
	ck_assert(rate_limiter_take(r, &one, bob, t0, &s));
	ck_assert(rate_limiter_take(r, &other, alice, t0, &s));
	rate_limiter_free(r);
}
END_TEST

START_TEST(look_says_what_take_would_and_takes_nothing)
{
	struct rate_limiter *r = rate_limiter_new();
	struct rate_state s;
	const struct rate_limit two = {RATE_UNAUTHENTICATED, 2, US_PER_MINUTE};
	for (int i = 0; i < 5; i++)
		ck_assert(rate_limiter_look(r, &two, alice, t0, &s));
	ck_assert(rate_limiter_take(r, &two, alice, t0, &s));
	ck_assert(rate_limiter_take(r, &two, alice, t0, &s));
	ck_assert(!rate_limiter_look(r, &two, alice, t0, &s));
	ck_assert_int_eq(s.retry_after_s, 30);
	ck_assert(!rate_limiter_look(r, &two, alice, t0 + 30 * US_PER_SECOND - 1, &s));
	ck_assert(rate_limiter_look(r, &two, alice, t0 + 30 * US_PER_SECOND, &s));
	rate_limiter_free(r);
}
END_TEST

/* What Retry-After says is enough, whatever the quota, the window and the moment. */
START_TEST(take_after_waiting_as_told_succeeds)
{
	struct rate_limiter *r = rate_limiter_new();
	struct rate_state s;
	for (int64_t quota = 1; quota <= 100; quota++) {
		const struct rate_limit some = {
			RATE_WRITE, quota, quota % 2 == 0 ? US_PER_SECOND : US_PER_MINUTE};
		int64_t now_us = t0 + quota * 7 * US_PER_MINUTE + quota * 12345;
		while (rate_limiter_take(r, &some, alice, now_us, &s))
			now_us += 777;
		ck_assert_int_ge(s.retry_after_s, 1);
		ck_assert(rate_limiter_take(r, &some, alice, now_us + s.retry_after_s * US_PER_SECOND, &s));
	}
	rate_limiter_free(r);
}
END_TEST

START_TEST(take_by_a_million_subjects_stays_bounded_and_correct)
{
	struct rate_limiter *r = rate_limiter_new();
	struct rate_state s;
	const struct rate_limit one = {RATE_AUTH, 1, US_PER_MINUTE};
	for (uint32_t i = 1; i <= 1000000; i++) {
		uint8_t subject[16] = {0};
		memcpy(subject, &i, sizeof i);
		ck_assert(rate_limiter_take(r, &one, subject, t0, &s));
	}
	rate_limiter_free(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http rate limit");
	TCase *t = tcase_create("limiter");
	tcase_add_test(t, take_up_to_the_quota_is_allowed_then_refused);
	tcase_add_test(t, take_after_retry_after_is_allowed_once);
	tcase_add_test(t, take_of_others_and_other_classes_is_apart);
	tcase_add_test(t, look_says_what_take_would_and_takes_nothing);
	tcase_add_test(t, take_after_waiting_as_told_succeeds);
	tcase_add_test(t, take_by_a_million_subjects_stays_bounded_and_correct);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
