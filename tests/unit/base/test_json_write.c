/* The JSON writer: commas, escapes, exact numbers; wrong nesting ends the process. */
#include <check.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include "llmlab/base/json_write.h"

static struct buf out;
static struct json_writer w;

static void setup_writer(void)
{
	buf_init(&out, 1 << 16);
	jw_init(&w, &out);
}

static void assert_written(const char *expected)
{
	ck_assert(!out.failed);
	ck_assert_str_eq(buf_str(&out), expected);
	buf_release(&out);
}

START_TEST(jw_nested_containers_have_commas_where_needed)
{
	setup_writer();
	jw_object_begin(&w, NULL);
	jw_i64(&w, "a", -1);
	jw_array_begin(&w, "b");
	jw_bool(&w, NULL, true);
	jw_null(&w, NULL);
	jw_object_begin(&w, NULL);
	jw_object_end(&w);
	jw_array_begin(&w, NULL);
	jw_array_end(&w);
	jw_array_end(&w);
	jw_string(&w, "c", NULL);
	jw_raw(&w, "d", "{\"x\":1}");
	jw_raw(&w, "e", NULL);
	jw_object_end(&w);
	assert_written("{\"a\":-1,\"b\":[true,null,{},[]],\"c\":null,\"d\":{\"x\":1},\"e\":null}");
}
END_TEST

START_TEST(jw_decimal_money_is_exact)
{
	setup_writer();
	jw_array_begin(&w, NULL);
	jw_decimal(&w, NULL, 60000000000000000, 18);
	jw_decimal(&w, NULL, 1, 18);
	jw_decimal(&w, NULL, 0, 18);
	jw_array_end(&w);
	assert_written("[0.06,0.000000000000000001,0]");
}
END_TEST

START_TEST(jw_double_statistics_have_six_decimals)
{
	setup_writer();
	jw_array_begin(&w, NULL);
	jw_double(&w, NULL, 12.5);
	jw_double(&w, NULL, 100);
	jw_double(&w, NULL, 1.0 / 3);
	jw_double(&w, NULL, -0.00000001);
	jw_double(&w, NULL, NAN);
	jw_double(&w, NULL, -INFINITY);
	jw_array_end(&w);
	assert_written("[12.5,100,0.333333,0,null,null]");
}
END_TEST

START_TEST(jw_double_largest_value_fits)
{
	setup_writer();
	jw_double(&w, NULL, -1.7976931348623157e308);
	ck_assert_uint_eq(out.len, 310);
	buf_release(&out);
}
END_TEST

START_TEST(jw_i64_extremes_are_whole)
{
	setup_writer();
	jw_array_begin(&w, NULL);
	jw_i64(&w, NULL, INT64_MIN);
	jw_i64(&w, NULL, INT64_MAX);
	jw_array_end(&w);
	assert_written("[-9223372036854775808,9223372036854775807]");
}
END_TEST

START_TEST(jw_uuid_and_instant_are_strings)
{
	setup_writer();
	struct uuid u;
	ck_assert_int_eq(uuid_parse("00112233-4455-6677-8899-aabbccddeeff", &u), ERR_OK);
	jw_object_begin(&w, NULL);
	jw_uuid(&w, "id", &u);
	jw_instant(&w, "at", 0);
	jw_object_end(&w);
	assert_written(
		"{\"id\":\"00112233-4455-6677-8899-aabbccddeeff\",\"at\":\"1970-01-01T00:00:00.000Z\"}");
}
END_TEST

START_TEST(jw_instant_or_null_is_null_where_there_is_none)
{
	setup_writer();
	jw_object_begin(&w, NULL);
	jw_instant_or_null(&w, "known", true, 0);
	jw_instant_or_null(&w, "unknown", false, 0);
	jw_object_end(&w);
	assert_written("{\"known\":\"1970-01-01T00:00:00.000Z\",\"unknown\":null}");
}
END_TEST

START_TEST(json_escape_special_characters_are_escaped)
{
	setup_writer();
	const char text[] = "a\"\\/\b\f\n\r\t\x01\x1f\x7f<\xC3\xA9\xF0\x9F\x98\x80\0z";
	json_escape(&out, text, sizeof text - 1);
	assert_written("a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f<\xC3\xA9\xF0\x9F\x98\x80\\u0000z");
}
END_TEST

START_TEST(json_escape_invalid_utf8_is_replaced_byte_by_byte)
{
	setup_writer();
	/* A stray continuation byte, an overlong '/', a surrogate, a cut sequence. */
	const char text[] = "a\x80"
			    "b\xC0\xAF"
			    "c\xED\xA0\x80"
			    "d\xE2\x82";
	json_escape(&out, text, sizeof text - 1);
#define R "\xEF\xBF\xBD"
	assert_written("a" R "b" R R "c" R R R "d" R R);
}
END_TEST

START_TEST(jw_key_is_escaped)
{
	setup_writer();
	jw_object_begin(&w, NULL);
	jw_i64(&w, "a\"b", 1);
	jw_object_end(&w);
	assert_written("{\"a\\\"b\":1}");
}
END_TEST

START_TEST(jw_buffer_too_small_is_told_once)
{
	buf_init(&out, 4);
	jw_init(&w, &out);
	jw_array_begin(&w, NULL);
	jw_string(&w, NULL, "longer than four");
	jw_array_end(&w);
	ck_assert(out.failed);
	buf_release(&out);
}
END_TEST

START_TEST(jw_deepest_nesting_is_allowed)
{
	setup_writer();
	for (int i = 0; i < JSON_WRITE_DEPTH_MAX; i++)
		jw_array_begin(&w, NULL);
	for (int i = 0; i < JSON_WRITE_DEPTH_MAX; i++)
		jw_array_end(&w);
	ck_assert_uint_eq(out.len, 2 * JSON_WRITE_DEPTH_MAX);
	buf_release(&out);
}
END_TEST

START_TEST(jw_too_deep_aborts)
{
	setup_writer();
	for (int i = 0; i <= JSON_WRITE_DEPTH_MAX; i++)
		jw_array_begin(&w, NULL);
}
END_TEST

START_TEST(jw_key_in_array_aborts)
{
	setup_writer();
	jw_array_begin(&w, NULL);
	jw_i64(&w, "a", 1);
}
END_TEST

START_TEST(jw_missing_key_in_object_aborts)
{
	setup_writer();
	jw_object_begin(&w, NULL);
	jw_i64(&w, NULL, 1);
}
END_TEST

START_TEST(jw_wrong_end_aborts)
{
	setup_writer();
	jw_object_begin(&w, NULL);
	jw_array_end(&w);
}
END_TEST

START_TEST(jw_second_top_value_aborts)
{
	setup_writer();
	jw_i64(&w, NULL, 1);
	jw_i64(&w, NULL, 2);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("json_write");
	TCase *const tc = tcase_create("json_write");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, jw_nested_containers_have_commas_where_needed);
	tcase_add_test(tc, jw_decimal_money_is_exact);
	tcase_add_test(tc, jw_double_statistics_have_six_decimals);
	tcase_add_test(tc, jw_double_largest_value_fits);
	tcase_add_test(tc, jw_i64_extremes_are_whole);
	tcase_add_test(tc, jw_uuid_and_instant_are_strings);
	tcase_add_test(tc, jw_instant_or_null_is_null_where_there_is_none);
	tcase_add_test(tc, json_escape_special_characters_are_escaped);
	tcase_add_test(tc, json_escape_invalid_utf8_is_replaced_byte_by_byte);
	tcase_add_test(tc, jw_key_is_escaped);
	tcase_add_test(tc, jw_buffer_too_small_is_told_once);
	tcase_add_test(tc, jw_deepest_nesting_is_allowed);
	tcase_add_test_raise_signal(tc, jw_too_deep_aborts, SIGABRT);
	tcase_add_test_raise_signal(tc, jw_key_in_array_aborts, SIGABRT);
	tcase_add_test_raise_signal(tc, jw_missing_key_in_object_aborts, SIGABRT);
	tcase_add_test_raise_signal(tc, jw_wrong_end_aborts, SIGABRT);
	tcase_add_test_raise_signal(tc, jw_second_top_value_aborts, SIGABRT);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
