/* What a signing key must be, and the key file of a server without SECRET_KEY. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "llmlab/app/secret.h"

#define GOOD "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

static char folder[] = "/tmp/llmlab-test-secret-XXXXXX";
static char path[256];

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(path, sizeof path, "%s/data/secret_key", folder);
}

static void teardown(void)
{
	(void)unlink(path);
	*strrchr(path, '/') = '\0';
	(void)rmdir(path);
	(void)rmdir(folder);
}

static enum err read_or_make(char **ret)
{
	char data[256];
	(void)snprintf(data, sizeof data, "%s/data", folder);
	struct buf problems;
	buf_init(&problems, 4096);
	const enum err e = secret_file(data, ret, &problems);
	ck_assert_int_eq(problems.len > 0, e != ERR_OK);
	buf_release(&problems);
	return e;
}

/* Puts a key file in place. */
static void write_file(const char *text, mode_t mode)
{
	char *made = NULL;
	ck_assert_int_eq(read_or_make(&made), ERR_OK);
	free(made);
	FILE *const f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(chmod(path, mode), 0);
}

START_TEST(secret_weakness_random_key_is_good)
{
	ck_assert_ptr_null(secret_weakness(GOOD));
	ck_assert_ptr_null(secret_weakness("exactly-thirty-two-bytes-of-text"));
}
END_TEST

START_TEST(secret_weakness_short_key_is_refused)
{
	ck_assert_ptr_nonnull(secret_weakness("thirty-one-bytes-of-text-no-mor"));
	ck_assert_ptr_nonnull(secret_weakness(""));
}
END_TEST

START_TEST(secret_weakness_known_default_is_refused)
{
	ck_assert_ptr_nonnull(secret_weakness("secret"));
	ck_assert_ptr_nonnull(secret_weakness("change-me"));
	ck_assert_ptr_nonnull(secret_weakness("Please-CHANGE-ME-before-you-go-to-production"));
	ck_assert_ptr_nonnull(secret_weakness("your-secret-key-for-development-only-1234"));
}
END_TEST

START_TEST(secret_weakness_repeated_text_is_refused)
{
	ck_assert_ptr_nonnull(secret_weakness("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
	ck_assert_ptr_nonnull(secret_weakness("password1password1password1password1pass"));
}
END_TEST

START_TEST(secret_file_none_makes_one_for_its_owner_alone)
{
	char *made = NULL;
	ck_assert_int_eq(read_or_make(&made), ERR_OK);
	ck_assert_uint_eq(strlen(made), 64); /* 32 bytes in hex */
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777U, 0600);
	free(made);
}
END_TEST

START_TEST(secret_file_second_start_finds_the_same)
{
	char *first = NULL;
	char *second = NULL;
	ck_assert_int_eq(read_or_make(&first), ERR_OK);
	ck_assert_int_eq(read_or_make(&second), ERR_OK);
	ck_assert_str_eq(first, second);
	free(first);
	free(second);
}
END_TEST

START_TEST(secret_file_readable_by_others_is_refused)
{
	char *key = NULL;
	write_file(GOOD "\n", 0640);
	ck_assert_int_eq(read_or_make(&key), ERR_UNAVAILABLE);
	ck_assert_int_eq(chmod(path, 0604), 0);
	ck_assert_int_eq(read_or_make(&key), ERR_UNAVAILABLE);
	ck_assert_int_eq(chmod(path, 0600), 0);
	ck_assert_int_eq(read_or_make(&key), ERR_OK);
	ck_assert_str_eq(key, GOOD);
	free(key);
}
END_TEST

START_TEST(secret_file_weak_content_is_refused)
{
	char *key = NULL;
	write_file("secret\n", 0600);
	ck_assert_int_eq(read_or_make(&key), ERR_UNAVAILABLE);
	ck_assert_ptr_null(key);
}
END_TEST

START_TEST(secret_file_symlink_is_refused)
{
	char *key = NULL;
	write_file(GOOD "\n", 0600);
	char other[300];
	(void)snprintf(other, sizeof other, "%s.real", path);
	ck_assert_int_eq(rename(path, other), 0);
	ck_assert_int_eq(symlink(other, path), 0);
	ck_assert_int_eq(read_or_make(&key), ERR_UNAVAILABLE);
	ck_assert_int_eq(unlink(other), 0);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("secret");
	TCase *const tc = tcase_create("secret");
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, secret_weakness_random_key_is_good);
	tcase_add_test(tc, secret_weakness_short_key_is_refused);
	tcase_add_test(tc, secret_weakness_known_default_is_refused);
	tcase_add_test(tc, secret_weakness_repeated_text_is_refused);
	tcase_add_test(tc, secret_file_none_makes_one_for_its_owner_alone);
	tcase_add_test(tc, secret_file_second_start_finds_the_same);
	tcase_add_test(tc, secret_file_readable_by_others_is_refused);
	tcase_add_test(tc, secret_file_weak_content_is_refused);
	tcase_add_test(tc, secret_file_symlink_is_refused);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
