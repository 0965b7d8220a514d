/* Settings from texts: defaults, values, and every wrong one told at once. */
#include <check.h>
#include <string.h>
#include "llmlab/app/config.h"

struct given {
	const char *name, *value;
};

/* arg: entries that end with a NULL name. */
static const char *lookup(void *arg, const char *name)
{
	for (const struct given *g = arg; g->name != NULL; g++) {
		if (strcmp(g->name, name) == 0)
			return g->value;
	}
	return NULL;
}

START_TEST(config_load_nothing_given_takes_defaults)
{
	struct given none[] = {{NULL, NULL}};
	struct config c;
	struct buf problems;
	buf_init(&problems, 4096);
	ck_assert_int_eq(config_load(lookup, none, &c, &problems), ERR_OK);
	ck_assert_str_eq(c.host, "0.0.0.0");
	ck_assert_int_eq(c.port, 8000);
	ck_assert_str_eq(c.database_url, "");
	ck_assert_str_eq(c.log_format, "auto");
	ck_assert_int_eq(c.access_token_expire_minutes, 1440);
	ck_assert(c.db_prepare);
	ck_assert_uint_eq(problems.len, 0);
	config_release(&c);
}
END_TEST

START_TEST(config_load_given_values_win)
{
	struct given some[] = {
		{"PORT", "0"}, {"HOST", "::1"}, {"DB_PREPARE", "off"}, {"LOG_LEVEL", "debug"}, {NULL, NULL}};
	struct config c;
	struct buf problems;
	buf_init(&problems, 4096);
	ck_assert_int_eq(config_load(lookup, some, &c, &problems), ERR_OK);
	ck_assert_int_eq(c.port, 0);
	ck_assert_str_eq(c.host, "::1");
	ck_assert(!c.db_prepare);
	ck_assert_str_eq(c.log_level, "debug");
	config_release(&c);
}
END_TEST

START_TEST(config_load_empty_value_is_not_set)
{
	struct given some[] = {{"PORT", ""}, {"HOST", ""}, {NULL, NULL}};
	struct config c;
	struct buf problems;
	buf_init(&problems, 4096);
	ck_assert_int_eq(config_load(lookup, some, &c, &problems), ERR_OK);
	ck_assert_int_eq(c.port, 8000);
	ck_assert_str_eq(c.host, "0.0.0.0");
	config_release(&c);
}
END_TEST

START_TEST(config_load_wrong_values_are_all_told)
{
	struct given wrong[] = {{"PORT", "65536"}, {"LOOP_THREADS", "-1"}, {"LOG_LEVEL", "loud"},
		{"DB_PREPARE", "maybe"}, {NULL, NULL}};
	struct config c;
	struct buf problems;
	buf_init(&problems, 4096);
	ck_assert_int_eq(config_load(lookup, wrong, &c, &problems), ERR_VALIDATION);
	/* in the order of the table */
	ck_assert_str_eq(buf_str(&problems),
		"PORT must be a whole number from 0 to 65535, not \"65536\"\n"
		"LOG_LEVEL must be one of debug|info|warn|error, not \"loud\"\n"
		"LOOP_THREADS must be a whole number from 0 to 64 (threads), not \"-1\"\n"
		"DB_PREPARE must be on or off, not \"maybe\"\n");
	buf_release(&problems);
}
END_TEST

START_TEST(config_load_numbers_that_are_not_whole_are_refused)
{
	static const char *const texts[] = {
		"80a", " 80", "80.5", "0x50", "+80", "1e99", "99999999999999999999999"};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct given wrong[] = {{"PORT", texts[i]}, {NULL, NULL}};
		struct config c;
		struct buf problems;
		buf_init(&problems, 4096);
		ck_assert_msg(config_load(lookup, wrong, &c, &problems) == ERR_VALIDATION, "%s", texts[i]);
		buf_release(&problems);
	}
}
END_TEST

START_TEST(config_load_wrong_secret_is_not_shown)
{
	char secret[5001];
	memset(secret, 'k', sizeof secret - 1);
	secret[5000] = '\0';
	struct given wrong[] = {{"SECRET_KEY", secret}, {NULL, NULL}};
	struct config c;
	struct buf problems;
	buf_init(&problems, 16384);
	ck_assert_int_eq(config_load(lookup, wrong, &c, &problems), ERR_VALIDATION);
	ck_assert_str_eq(buf_str(&problems), "SECRET_KEY must be 0 to 4096 bytes long\n");
	buf_release(&problems);
}
END_TEST

START_TEST(config_load_failure_leaves_result_untouched)
{
	struct given wrong[] = {{"PORT", "x"}, {NULL, NULL}};
	struct config c = {.port = 7};
	struct buf problems;
	buf_init(&problems, 4096);
	ck_assert_int_eq(config_load(lookup, wrong, &c, &problems), ERR_VALIDATION);
	ck_assert_int_eq(c.port, 7);
	buf_release(&problems);
}
END_TEST

START_TEST(config_known_tells_settings_from_other_names)
{
	ck_assert(config_known("PORT"));
	ck_assert(!config_known("PROT"));
	ck_assert(!config_known("port"));
}
END_TEST

START_TEST(config_write_env_example_has_every_line_commented_out)
{
	struct buf out;
	buf_init(&out, 65536);
	config_write_env_example(&out);
	ck_assert(!out.failed);
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "\n#PORT=8000\n"));
	for (const char *line = buf_str(&out); line != NULL && *line != '\0'; line = strchr(line, '\n')) {
		line += *line == '\n';
		ck_assert(*line == '#' || *line == '\n' || *line == '\0');
	}
	buf_release(&out);
}
END_TEST

START_TEST(config_write_markdown_has_one_row_a_setting)
{
	struct buf out;
	buf_init(&out, 65536);
	config_write_markdown(&out);
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "| `LOG_FORMAT` | auto | auto, json, text | "));
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "| `IDLE_TIMEOUT_SECONDS` | 15 seconds | 1 to 3600 | "));
	buf_release(&out);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("config");
	TCase *const tc = tcase_create("config");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, config_load_nothing_given_takes_defaults);
	tcase_add_test(tc, config_load_given_values_win);
	tcase_add_test(tc, config_load_empty_value_is_not_set);
	tcase_add_test(tc, config_load_wrong_values_are_all_told);
	tcase_add_test(tc, config_load_numbers_that_are_not_whole_are_refused);
	tcase_add_test(tc, config_load_wrong_secret_is_not_shown);
	tcase_add_test(tc, config_load_failure_leaves_result_untouched);
	tcase_add_test(tc, config_known_tells_settings_from_other_names);
	tcase_add_test(tc, config_write_env_example_has_every_line_commented_out);
	tcase_add_test(tc, config_write_markdown_has_one_row_a_setting);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
