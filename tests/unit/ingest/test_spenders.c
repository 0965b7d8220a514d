/* The set of users with new spend. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include "llmlab/ingest/spenders.h"

static struct spenders *set;
static struct spender taken[SPENDERS_MAX];
static bool all;

static void begin(void)
{
	set = spenders_new();
	ck_assert_ptr_nonnull(set);
}

static void end(void)
{
	spenders_free(set);
}

/* The number as the last bytes of an id. */
static struct uuid user(unsigned n)
{
	return (struct uuid){{1, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n}};
}

START_TEST(spenders_take_gives_each_user_once)
{
	const struct uuid a = user(1), b = user(2);
	spenders_note(set, &a, false);
	spenders_note(set, &b, true);
	spenders_note(set, &a, true);
	spenders_note(set, &b, false);
	ck_assert_uint_eq(spenders_take(set, taken, &all), 2);
	ck_assert(!all);
	ck_assert(!uuid_equal(&taken[0].user_id, &taken[1].user_id));
	ck_assert_msg(taken[0].unpriced && taken[1].unpriced, "unpriced once stays so");
	ck_assert_uint_eq(spenders_take(set, taken, &all), 0);
}
END_TEST

START_TEST(spenders_take_forgets_unpriced_too)
{
	const struct uuid a = user(1);
	spenders_note(set, &a, true);
	ck_assert_uint_eq(spenders_take(set, taken, &all), 1);
	spenders_note(set, &a, false);
	ck_assert_uint_eq(spenders_take(set, taken, &all), 1);
	ck_assert(!taken[0].unpriced);
}
END_TEST

START_TEST(spenders_note_users_of_one_slot_are_told_apart)
{
	/* the same last four bytes: the same place in the table */
	for (uint8_t i = 0; i < 10; i++) {
		const struct uuid u = {{[0] = i, [15] = 7}};
		spenders_note(set, &u, false);
	}
	ck_assert_uint_eq(spenders_take(set, taken, &all), 10);
}
END_TEST

START_TEST(spenders_note_beyond_the_bound_means_everybody)
{
	for (unsigned i = 0; i < SPENDERS_MAX; i++) {
		const struct uuid u = user(i);
		spenders_note(set, &u, false);
	}
	const struct uuid known = user(5), one_more = user(SPENDERS_MAX);
	spenders_note(set, &known, false);
	ck_assert_uint_eq(spenders_take(set, taken, &all), SPENDERS_MAX);
	ck_assert_msg(!all, "full is not too much");
	for (unsigned i = 0; i < SPENDERS_MAX; i++) {
		const struct uuid u = user(i);
		spenders_note(set, &u, false);
	}
	spenders_note(set, &one_more, false);
	ck_assert_uint_eq(spenders_take(set, taken, &all), 1);
	ck_assert(all);
	ck_assert_uint_eq(spenders_take(set, taken, &all), 0);
	ck_assert(!all);
}
END_TEST

START_TEST(spenders_note_without_a_set_is_nothing)
{
	const struct uuid a = user(1);
	spenders_note(NULL, &a, true);
}
END_TEST

static void *note_many(void *arg)
{
	const unsigned *const first = arg;
	for (unsigned i = 0; i < 1000; i++) {
		const struct uuid u = user(*first + i);
		spenders_note(set, &u, false);
	}
	return NULL;
}

START_TEST(spenders_note_from_many_threads_loses_nobody)
{
	unsigned firsts[] = {0, 500, 1000, 1500};
	pthread_t threads[4];
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, note_many, &firsts[i]), 0);
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_eq(spenders_take(set, taken, &all), 2500); /* 0..2499 */
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("spenders");
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, spenders_take_gives_each_user_once);
	tcase_add_test(t, spenders_take_forgets_unpriced_too);
	tcase_add_test(t, spenders_note_users_of_one_slot_are_told_apart);
	tcase_add_test(t, spenders_note_beyond_the_bound_means_everybody);
	tcase_add_test(t, spenders_note_without_a_set_is_nothing);
	tcase_add_test(t, spenders_note_from_many_threads_loses_nobody);
	Suite *s = suite_create("spenders");
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
