/* The form of .env files. */
#include <check.h>
#include <string.h>
#include "llmlab/app/dotenv.h"

/* The value of key in text; fails the test if the text is bad. Leaks the arena, which ends with the test's
 * process. */
static const char *value_of(const char *text, const char *key)
{
	static struct dotenv d;
	struct buf problems;
	buf_init(&problems, 4096);
	ck_assert_int_eq(dotenv_parse(text, strlen(text), &d, &problems), ERR_OK);
	const char *const value = dotenv_get(&d, key);
	static char copy[256];
	if (value == NULL) {
		dotenv_release(&d);
		return NULL;
	}
	ck_assert_uint_lt(strlen(value), sizeof copy);
	memcpy(copy, value, strlen(value) + 1);
	dotenv_release(&d);
	return copy;
}

static void is_refused(const char *text, size_t n, const char *told)
{
	struct dotenv d;
	struct buf problems;
	buf_init(&problems, 4096);
	ck_assert_int_eq(dotenv_parse(text, n, &d, &problems), ERR_SYNTAX);
	ck_assert_str_eq(buf_str(&problems), told);
	buf_release(&problems);
}

START_TEST(dotenv_parse_plain_line_gives_value)
{
	ck_assert_str_eq(value_of("A=1\nB=two words\n", "B"), "two words");
	ck_assert_str_eq(value_of("A=1", "A"), "1");
	ck_assert_str_eq(value_of("A=1\r\nB=2\r\n", "A"), "1");
	ck_assert_str_eq(value_of("  export A = x y  \n", "A"), "x y");
	ck_assert_str_eq(value_of("A=\n", "A"), "");
	ck_assert_str_eq(value_of("exported=1\n", "exported"), "1");
}
END_TEST

START_TEST(dotenv_parse_comment_is_no_value)
{
	ck_assert_ptr_null(value_of("# A=1\n\n   # B=2\n", "A"));
	ck_assert_str_eq(value_of("A=1 # one\n", "A"), "1");
	ck_assert_str_eq(value_of("A=one#1\n", "A"), "one#1");
	ck_assert_str_eq(value_of("A=# nothing\n", "A"), "");
}
END_TEST

START_TEST(dotenv_parse_quotes_keep_what_is_inside)
{
	ck_assert_str_eq(value_of("A=' x # y ' # z\n", "A"), " x # y ");
	ck_assert_str_eq(value_of("A='\\n$x'\n", "A"), "\\n$x");
	ck_assert_str_eq(value_of("A=\"a\\nb\\t\\\"c\\\"\\\\\"\n", "A"), "a\nb\t\"c\"\\");
	ck_assert_str_eq(value_of("A=\"\"\n", "A"), "");
}
END_TEST

START_TEST(dotenv_parse_equal_keys_last_wins)
{
	ck_assert_str_eq(value_of("A=1\nA=2\n", "A"), "2");
}
END_TEST

START_TEST(dotenv_parse_bad_lines_are_told_by_number_without_content)
{
	is_refused("A=1\nhunter2\nB=\"open\n=x\n", 23,
		".env line 2 is not KEY=VALUE\n.env line 3 is not KEY=VALUE\n"
		".env line 4 is not KEY=VALUE\n");
	is_refused("A='x' y\n", 8, ".env line 1 is not KEY=VALUE\n");
	is_refused("A=\"\\x\"\n", 7, ".env line 1 is not KEY=VALUE\n");
	is_refused("A=x\0y\n", 6, ".env line 1 is not KEY=VALUE\n");
	is_refused("A B=x\n", 6, ".env line 1 is not KEY=VALUE\n");
}
END_TEST

START_TEST(dotenv_parse_largest_file_of_shortest_lines_fits)
{
	static char text[DOTENV_MAX_BYTES];
	for (size_t i = 0; i < sizeof text; i += 4)
		memcpy(text + i, "A=b\n", 4);
	struct dotenv d;
	struct buf problems;
	buf_init(&problems, 4096);
	ck_assert_int_eq(dotenv_parse(text, sizeof text, &d, &problems), ERR_OK);
	ck_assert_uint_eq(d.n_entries, DOTENV_MAX_BYTES / 4);
	dotenv_release(&d);
}
END_TEST

START_TEST(dotenv_parse_too_large_is_refused)
{
	static char text[DOTENV_MAX_BYTES + 1];
	memset(text, '\n', sizeof text);
	struct dotenv d;
	struct buf problems;
	buf_init(&problems, 4096);
	ck_assert_int_eq(dotenv_parse(text, sizeof text, &d, &problems), ERR_RANGE);
	buf_release(&problems);
}
END_TEST

START_TEST(dotenv_read_missing_file_is_empty)
{
	struct dotenv d;
	struct buf problems;
	buf_init(&problems, 4096);
	ck_assert_int_eq(dotenv_read("/nonexistent/.env", &d, &problems), ERR_OK);
	ck_assert_uint_eq(d.n_entries, 0);
	dotenv_release(&d);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("dotenv");
	TCase *const tc = tcase_create("dotenv");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, dotenv_parse_plain_line_gives_value);
	tcase_add_test(tc, dotenv_parse_comment_is_no_value);
	tcase_add_test(tc, dotenv_parse_quotes_keep_what_is_inside);
	tcase_add_test(tc, dotenv_parse_equal_keys_last_wins);
	tcase_add_test(tc, dotenv_parse_bad_lines_are_told_by_number_without_content);
	tcase_add_test(tc, dotenv_parse_largest_file_of_shortest_lines_fits);
	tcase_add_test(tc, dotenv_parse_too_large_is_refused);
	tcase_add_test(tc, dotenv_read_missing_file_is_empty);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
