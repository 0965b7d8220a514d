/* UUIDs: their layout, their order, their text. */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "llmlab/base/uuid.h"

START_TEST(uuid_v7_has_time_version_and_variant)
{
	/* RFC 9562 appendix A.6: 2022-02-22T19:22:22.000Z is 0x017F22E279B0. */
	const struct uuid u = uuid_v7(INT64_C(0x017F22E279B0));
	char text[UUID_TEXT_SIZE];
	uuid_format(&u, text);
	ck_assert_int_eq(strncmp(text, "017f22e2-79b0-7", 15), 0);
	ck_assert_ptr_nonnull(strchr("89ab", text[19]));
	ck_assert_int_eq(uuid_v7_ms(&u), INT64_C(0x017F22E279B0));
}
END_TEST

START_TEST(uuid_v7_same_millisecond_is_increasing)
{
	struct uuid last = uuid_v7(1000);
	for (int i = 0; i < 100000; i++) {
		/* Ids of other times in between do not disturb the order. */
		uuid_v7(i % 2 == 0 ? 999 : 500000);
		const struct uuid next = uuid_v7(1000);
		ck_assert_int_lt(uuid_compare(&last, &next), 0);
		last = next;
	}
}
END_TEST

START_TEST(uuid_v7_later_millisecond_is_larger)
{
	const struct uuid late = uuid_v7(2000);
	const struct uuid early = uuid_v7(1999);
	ck_assert_int_lt(uuid_compare(&early, &late), 0);
}
END_TEST

START_TEST(uuid_v7_outside_48_bits_aborts)
{
	uuid_v7(INT64_C(1) << 48);
}
END_TEST

START_TEST(uuid_v7_before_1970_aborts)
{
	uuid_v7(-1);
}
END_TEST

#define THREADS	   4
#define PER_THREAD 20000
static struct uuid made[THREADS][PER_THREAD];

static void *make_ids(void *out)
{
	struct uuid *const ids = out;
	for (int i = 0; i < PER_THREAD; i++)
		ids[i] = uuid_v7(77);
	return NULL;
}

static int compare_ids(const void *a, const void *b)
{
	return uuid_compare(a, b);
}

START_TEST(uuid_v7_from_several_threads_are_unique)
{
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, make_ids, made[i]), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	for (int t = 0; t < THREADS; t++) {
		for (int i = 1; i < PER_THREAD; i++)
			ck_assert_int_lt(uuid_compare(&made[t][i - 1], &made[t][i]), 0);
	}
	qsort(made, THREADS * PER_THREAD, sizeof made[0][0], compare_ids);
	for (int i = 1; i < THREADS * PER_THREAD; i++)
		ck_assert(!uuid_equal(&made[0][0] + i - 1, &made[0][0] + i));
}
END_TEST

START_TEST(uuid_v4_after_fork_differs_from_the_parents)
{
	uuid_v4(); /* fills the pool that a fork would copy */
	int ends[2];
	ck_assert_int_eq(pipe(ends), 0);
	const pid_t child = fork();
	if (child == 0) {
		const struct uuid theirs = uuid_v4();
		_exit(write(ends[1], &theirs, sizeof theirs) == (ssize_t)sizeof theirs ? 0 : 1);
	}
	const struct uuid ours = uuid_v4();
	struct uuid theirs;
	ck_assert_int_eq(read(ends[0], &theirs, sizeof theirs), (ssize_t)sizeof theirs);
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert(!uuid_equal(&ours, &theirs));
}
END_TEST

START_TEST(uuid_v4_has_version_and_variant)
{
	for (int i = 0; i < 1000; i++) {
		const struct uuid u = uuid_v4();
		ck_assert_int_eq(u.bytes[6] >> 4, 4);
		ck_assert_int_eq(u.bytes[8] >> 6, 2);
		ck_assert(!uuid_is_zero(&u));
	}
}
END_TEST

START_TEST(uuid_parse_either_case_round_trips)
{
	struct uuid u;
	char text[UUID_TEXT_SIZE];
	ck_assert_int_eq(uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", &u), ERR_OK);
	for (int i = 0; i < 16; i++)
		ck_assert_int_eq(u.bytes[i], i * 0x11);
	uuid_format(&u, text);
	ck_assert_str_eq(text, "00112233-4455-6677-8899-aabbccddeeff");
}
END_TEST

START_TEST(uuid_parse_other_forms_are_refused)
{
	static const char *const texts[] = {"", "00112233-4455-6677-8899-aabbccddeef",
		"00112233-4455-6677-8899-aabbccddeeff0", "{0112233-4455-6677-8899-aabbccddeeff}",
		"0011223344556677-8899-aabbccddeeff--", "00112233-4455-6677-8899-aabbccddeefg",
		"00112233-4455-6677-8899-aabbccddeef ", "00112233_4455-6677-8899-aabbccddeeff",
		"-0112233-4455-6677-8899-aabbccddeeff", "00112233445566778899aabbccddeeff",
		"0x112233-4455-6677-8899-aabbccddeeff"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct uuid u = {.bytes = {9}};
		ck_assert_msg(uuid_parse(texts[i], &u) == ERR_SYNTAX, "%s", texts[i]);
		ck_assert_int_eq(u.bytes[0], 9);
	}
}
END_TEST

START_TEST(uuid_is_zero_only_for_nil)
{
	struct uuid u = {.bytes = {0}};
	ck_assert(uuid_is_zero(&u));
	u.bytes[15] = 1;
	ck_assert(!uuid_is_zero(&u));
}
END_TEST

START_TEST(random_bytes_fills_everything)
{
	/* 64 times 1,000 bytes: a byte that stays 0 in all rounds was not written (chance 256^-64). */
	unsigned char seen[1000] = {0};
	for (int round = 0; round < 64; round++) {
		unsigned char bytes[1000] = {0};
		random_bytes(bytes, sizeof bytes);
		for (size_t i = 0; i < sizeof bytes; i++)
			seen[i] |= bytes[i];
	}
	for (size_t i = 0; i < sizeof seen; i++)
		ck_assert_uint_ne(seen[i], 0);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("uuid");
	TCase *const tc = tcase_create("uuid");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, uuid_v7_has_time_version_and_variant);
	tcase_add_test(tc, uuid_v7_same_millisecond_is_increasing);
	tcase_add_test(tc, uuid_v7_later_millisecond_is_larger);
	tcase_add_test_raise_signal(tc, uuid_v7_outside_48_bits_aborts, SIGABRT);
	tcase_add_test_raise_signal(tc, uuid_v7_before_1970_aborts, SIGABRT);
	tcase_add_test(tc, uuid_v7_from_several_threads_are_unique);
	tcase_add_test(tc, uuid_v4_after_fork_differs_from_the_parents);
	tcase_add_test(tc, uuid_v4_has_version_and_variant);
	tcase_add_test(tc, uuid_parse_either_case_round_trips);
	tcase_add_test(tc, uuid_parse_other_forms_are_refused);
	tcase_add_test(tc, uuid_is_zero_only_for_nil);
	tcase_add_test(tc, random_bytes_fills_everything);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
