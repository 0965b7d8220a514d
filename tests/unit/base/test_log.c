/* Log lines as they arrive on stderr, and what happens when stderr cannot take them. */
#include <check.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "llmlab/base/log.h"

static int reader_fd;
static char line[8192];

/* Sends stderr into a pipe. */
static void capture(void)
{
	int ends[2];
	ck_assert_int_eq(pipe(ends), 0);
	reader_fd = ends[0];
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
}

static const char *captured(void)
{
	ck_assert_int_eq(fcntl(reader_fd, F_SETFL, O_NONBLOCK), 0);
	const ssize_t n = read(reader_fd, line, sizeof line - 1);
	line[n < 0 ? 0 : n] = '\0';
	return line;
}

static json_t *captured_json(void)
{
	const char *const text = captured();
	ck_assert_int_eq(text[strlen(text) - 1], '\n');
	json_t *const root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	ck_assert_msg(root != NULL, "%s", text);
	return root;
}

START_TEST(log_write_json_is_one_object)
{
	capture();
	log_configure(LOG_LEVEL_INFO, true);
	LOG_WARN("database lost", LOG_S("host", "a\"b\nc"), LOG_I("retry", -3), LOG_S("none", NULL));
	json_t *const root = captured_json();
	ck_assert_str_eq(json_string_value(json_object_get(root, "level")), "warn");
	ck_assert_str_eq(json_string_value(json_object_get(root, "event")), "database lost");
	ck_assert_str_eq(json_string_value(json_object_get(root, "host")), "a\"b\nc");
	ck_assert_int_eq(json_integer_value(json_object_get(root, "retry")), -3);
	ck_assert(json_is_null(json_object_get(root, "none")));
	ck_assert_int_eq(json_string_value(json_object_get(root, "ts"))[10], 'T');
	json_decref(root);
}
END_TEST

START_TEST(log_write_text_is_one_line)
{
	capture();
	log_configure(LOG_LEVEL_INFO, false);
	LOG_INFO("two\nlines", LOG_S("value", "x\ny"), LOG_I("n", 1));
	const char *const text = captured();
	ck_assert_ptr_nonnull(strstr(text, " info  two\\nlines value=\"x\\ny\" n=1\n"));
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(log_write_below_level_is_silent)
{
	capture();
	log_configure(LOG_LEVEL_WARN, true);
	LOG_INFO("not shown");
	LOG_DEBUG("not shown");
	ck_assert_str_eq(captured(), "");
	ck_assert(!log_enabled(LOG_LEVEL_INFO));
	ck_assert(log_enabled(LOG_LEVEL_ERROR));
}
END_TEST

START_TEST(log_write_long_value_is_cut_at_a_character)
{
	capture();
	log_configure(LOG_LEVEL_INFO, true);
	/* 1,023 bytes and then a two-byte character: the limit of 1,024 would cut it in half. */
	char value[2048];
	memset(value, 'a', sizeof value);
	memcpy(value + 1023, "\xC3\xA9", 2);
	value[sizeof value - 1] = '\0';
	LOG_INFO("long", LOG_S("v", value));
	json_t *const root = captured_json();
	const char *const shown = json_string_value(json_object_get(root, "v"));
	ck_assert_uint_eq(strlen(shown), 1026);
	ck_assert_str_eq(shown + 1022, "a...");
	json_decref(root);
}
END_TEST

START_TEST(log_write_too_many_bytes_leaves_out_whole_fields)
{
	capture();
	log_configure(LOG_LEVEL_INFO, true);
	char value[1000];
	memset(value, '\x01', sizeof value); /* six bytes each when escaped */
	value[sizeof value - 1] = '\0';
	LOG_INFO("big", LOG_S("a", value), LOG_S("b", "fits"));
	const char *const text = captured();
	ck_assert_uint_le(strlen(text), 4096);
	json_t *const root = json_loads(text, 0, NULL);
	ck_assert_ptr_null(json_object_get(root, "a"));
	ck_assert_str_eq(json_string_value(json_object_get(root, "b")), "fits");
	ck_assert(json_is_true(json_object_get(root, "truncated")));
	json_decref(root);
}
END_TEST

START_TEST(log_write_hostile_event_still_fits)
{
	capture();
	log_configure(LOG_LEVEL_INFO, true);
	char event[700];
	memset(event, '\x02', sizeof event);
	event[sizeof event - 1] = '\0';
	LOG_INFO(event);
	const char *const text = captured();
	ck_assert_uint_le(strlen(text), 4096);
	ck_assert_int_eq(text[strlen(text) - 1], '\n');
}
END_TEST

START_TEST(log_write_full_pipe_is_dropped_and_counted)
{
	capture();
	log_configure(LOG_LEVEL_INFO, true);
	const uint64_t before = log_dropped();
	/* Nobody reads: a pipe holds 64 KiB, these lines are more. A line that blocked would end in Check's
	 * timeout. */
	for (int i = 0; i < 3000; i++)
		LOG_INFO("filling a pipe that nobody reads");
	ck_assert_uint_gt(log_dropped(), before);
	ck_assert_int_eq(captured()[0], '{');
}
END_TEST

START_TEST(log_write_closed_stderr_is_counted)
{
	close(STDERR_FILENO);
	log_configure(LOG_LEVEL_INFO, true);
	const uint64_t before = log_dropped();
	LOG_INFO("nowhere");
	ck_assert_uint_eq(log_dropped(), before + 1);
}
END_TEST

START_TEST(log_batch_keeps_lines_back_until_its_end)
{
	capture();
	log_configure(LOG_LEVEL_INFO, false);
	log_batch_begin();
	LOG_INFO("first");
	LOG_INFO("second");
	ck_assert_str_eq(captured(), "");
	log_batch_end();
	const char *const text = captured();
	ck_assert_ptr_nonnull(strstr(text, "first\n"));
	ck_assert_ptr_nonnull(strstr(text, "second\n"));
	LOG_INFO("third");
	ck_assert_ptr_nonnull(strstr(captured(), "third"));
}
END_TEST

START_TEST(log_batch_full_or_warned_writes_in_order)
{
	capture();
	log_configure(LOG_LEVEL_INFO, false);
	char value[900];
	memset(value, 'x', sizeof value);
	value[sizeof value - 1] = '\0';
	log_batch_begin();
	for (int i = 0; i < 5; i++)
		LOG_INFO("line", LOG_I("n", i), LOG_S("v", value));
	const char *text = captured(); /* four lines of some 940 bytes fit into one write */
	ck_assert_ptr_nonnull(strstr(text, "n=3"));
	ck_assert_ptr_null(strstr(text, "n=4"));
	LOG_WARN("now");
	text = captured();
	ck_assert_ptr_nonnull(strstr(text, "n=4"));
	ck_assert_ptr_nonnull(strstr(text, "now"));
	log_batch_end();
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("log");
	TCase *const tc = tcase_create("log");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, log_write_json_is_one_object);
	tcase_add_test(tc, log_batch_keeps_lines_back_until_its_end);
	tcase_add_test(tc, log_batch_full_or_warned_writes_in_order);
	tcase_add_test(tc, log_write_text_is_one_line);
	tcase_add_test(tc, log_write_below_level_is_silent);
	tcase_add_test(tc, log_write_long_value_is_cut_at_a_character);
	tcase_add_test(tc, log_write_too_many_bytes_leaves_out_whole_fields);
	tcase_add_test(tc, log_write_hostile_event_still_fits);
	tcase_add_test(tc, log_write_full_pipe_is_dropped_and_counted);
	tcase_add_test(tc, log_write_closed_stderr_is_counted);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
