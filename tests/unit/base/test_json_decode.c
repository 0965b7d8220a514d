/* Descriptor tables: every type, its bounds, and the words for what is wrong. */
#include <check.h>
#include <string.h>
#include "llmlab/base/json_read.h"

struct sample {
	const char *text;
	struct opt_i64 count;
	struct opt_bool flag;
	struct opt_decimal price;
	struct opt_decimal change;
	struct opt_i64 at;
	const char *choice;
	const json_t *object;
	const json_t *list;
	const json_t *any;
};

static const char *const choices[] = {"daily", "weekly", NULL};

static const struct json_field fields[] = {
	{.name = "text",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct sample, text),
		.min = 1,
		.max = 5},
	{.name = "count",
		.type = JSON_FIELD_I64,
		.offset = offsetof(struct sample, count),
		.min = 0,
		.max = 1000000},
	{.name = "flag", .type = JSON_FIELD_BOOL, .offset = offsetof(struct sample, flag)},
	{.name = "price", .type = JSON_FIELD_DECIMAL, .offset = offsetof(struct sample, price), .scale = 18},
	{.name = "change",
		.type = JSON_FIELD_DECIMAL,
		.offset = offsetof(struct sample, change),
		.scale = 2,
		.min = -10,
		.max = 20},
	{.name = "at", .type = JSON_FIELD_INSTANT, .offset = offsetof(struct sample, at)},
	{.name = "choice",
		.type = JSON_FIELD_CHOICE,
		.offset = offsetof(struct sample, choice),
		.choices = choices},
	{.name = "object", .type = JSON_FIELD_OBJECT, .offset = offsetof(struct sample, object)},
	{.name = "list",
		.type = JSON_FIELD_ARRAY,
		.offset = offsetof(struct sample, list),
		.min = 1,
		.max = 2},
	{.name = "any", .type = JSON_FIELD_ANY, .offset = offsetof(struct sample, any)},
};

static struct arena arena;
static struct problem problem;
static struct json_doc doc;
static struct sample sample;

static enum err decode_with(
	const struct json_field *table, size_t n_fields, const char *text, const char *prefix)
{
	arena_init(&arena, 1 << 20);
	problem_init(&problem, &arena);
	sample = (struct sample){.text = NULL};
	ck_assert_int_eq(
		json_doc_parse(&doc, text, strlen(text), &json_limits_default, &arena, &problem), ERR_OK);
	return json_decode(&doc, doc.root, table, n_fields, &sample, prefix, &problem);
}

static enum err decode(const char *text)
{
	return decode_with(fields, sizeof fields / sizeof *fields, text, "");
}

static void release(void)
{
	json_doc_release(&doc);
	arena_release(&arena);
}

static void assert_detail(const char *text, const char *detail)
{
	ck_assert_msg(decode(text) == ERR_VALIDATION, "%s was accepted", text);
	ck_assert_str_eq(problem_detail(&problem), detail);
	release();
}

START_TEST(json_decode_full_object_fills_the_struct)
{
	ck_assert_int_eq(decode("{\"text\":\"h\\u00e9llo\",\"count\":10,\"flag\":false,\"price\":0.06,"
				"\"change\":\"-1.25\","
				"\"at\":\"1970-01-01T00:00:01Z\",\"choice\":\"weekly\",\"object\":{},"
				"\"list\":[1],\"any\":7}"),
		ERR_OK);
	ck_assert_str_eq(sample.text, "h\xC3\xA9llo");
	ck_assert(sample.count.set && sample.count.value == 10);
	ck_assert(sample.flag.set && !sample.flag.value);
	ck_assert(sample.price.set && sample.price.value == 60000000000000000);
	ck_assert(sample.change.set && sample.change.value == -125);
	ck_assert(sample.at.set && sample.at.value == 1000000);
	ck_assert_ptr_eq(sample.choice, choices[1]);
	ck_assert(json_is_object(sample.object));
	ck_assert_uint_eq(json_array_size(sample.list), 1);
	ck_assert_int_eq(json_integer_value(sample.any), 7);
	release();
}
END_TEST

START_TEST(json_decode_null_or_missing_is_absent)
{
	ck_assert_int_eq(decode("{\"text\":null,\"count\":null,\"flag\":null,\"price\":null,\"any\":null,"
				"\"list\":null}"),
		ERR_OK);
	ck_assert_ptr_null(sample.text);
	ck_assert(!sample.count.set && !sample.flag.set && !sample.price.set && !sample.at.set);
	ck_assert_ptr_null(sample.any);
	ck_assert_ptr_null(sample.list);
	release();
}
END_TEST

START_TEST(json_decode_integer_written_otherwise_is_the_same)
{
	static const char *const texts[] = {"{\"count\":1000}", "{\"count\":1000.0}", "{\"count\":1e3}",
		"{\"count\":100000e-2}", "{\"count\":1.000E+3}"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		ck_assert_int_eq(decode(texts[i]), ERR_OK);
		ck_assert(sample.count.set);
		ck_assert_int_eq(sample.count.value, 1000);
		release();
	}
}
END_TEST

START_TEST(json_decode_integer_without_bounds_takes_all_64_bits)
{
	static const struct json_field wide = {
		.name = "count", .type = JSON_FIELD_I64, .offset = offsetof(struct sample, count)};
	ck_assert_int_eq(decode_with(&wide, 1, "{\"count\":-9223372036854775808}", ""), ERR_OK);
	ck_assert(sample.count.value == INT64_MIN);
	release();
	ck_assert_int_eq(decode_with(&wide, 1, "{\"count\":9223372036854775807.0}", ""), ERR_OK);
	ck_assert(sample.count.value == INT64_MAX);
	release();
	ck_assert_int_eq(decode_with(&wide, 1, "{\"count\":9223372036854775808}", ""), ERR_VALIDATION);
	ck_assert_str_eq(problem_detail(&problem), "count must be at most 9223372036854775807");
	release();
}
END_TEST

START_TEST(json_decode_bad_values_say_what_is_expected)
{
	static const char string_words[] = "text must be a string of 1 to 5 characters";
	static const char decimal_words[] = "price must be a number or a decimal string";
	static const char instant_words[] = "at must be an RFC 3339 time or unix seconds or milliseconds";
	static const struct {
		const char *text;
		const char *detail;
	} rows[] = {
		{"{\"text\":\"\"}", string_words},
		{"{\"text\":\"sixsix\"}", string_words},
		{"{\"text\":5}", string_words},
		{"{\"text\":\"a\\u0001\"}", "text must not contain control characters"},
		{"{\"text\":\"a\\u007f\"}", "text must not contain control characters"},
		{"{\"count\":-1}", "count must be 0 or more"},
		{"{\"count\":-1e30}", "count must be 0 or more"},
		{"{\"count\":1000001}", "count must be at most 1000000"},
		{"{\"count\":1e30}", "count must be at most 1000000"},
		{"{\"count\":1.5}", "count must be an integer"},
		{"{\"count\":1e-1}", "count must be an integer"},
		{"{\"count\":\"1\"}", "count must be an integer"},
		{"{\"count\":true}", "count must be an integer"},
		{"{\"flag\":1}", "flag must be true or false"},
		{"{\"flag\":\"true\"}", "flag must be true or false"},
		{"{\"price\":\"1,5\"}", decimal_words},
		{"{\"price\":\"\"}", decimal_words},
		{"{\"price\":\" 1\"}", decimal_words},
		{"{\"price\":\"NaN\"}", decimal_words},
		{"{\"price\":true}", decimal_words},
		{"{\"price\":-0.000001}", "price must be 0 or more"},
		{"{\"price\":1e-19}", "price is too large or has more than 18 digits after the point"},
		{"{\"price\":1e21}", "price is too large or has more than 18 digits after the point"},
		{"{\"change\":-10.01}", "change must be -10 or more"},
		{"{\"change\":20.01}", "change must be at most 20"},
		{"{\"change\":0.001}", "change is too large or has more than 2 digits after the point"},
		{"{\"at\":\"yesterday\"}", instant_words},
		{"{\"at\":true}", instant_words},
		{"{\"at\":\"2026-02-30T00:00:00Z\"}", "at is not a time that exists"},
		{"{\"at\":1e30}", "at is not a time that exists"},
		{"{\"choice\":\"Daily\"}", "choice must be one of daily, weekly"},
		{"{\"choice\":1}", "choice must be one of daily, weekly"},
		{"{\"object\":[]}", "object must be an object"},
		{"{\"list\":{}}", "list must be an array"},
		{"{\"list\":[]}", "list must have 1 to 2 elements"},
		{"{\"list\":[1,2,3]}", "list must have 1 to 2 elements"},
		{"[]", "The JSON must be an object"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_detail(rows[i].text, rows[i].detail);
}
END_TEST

START_TEST(json_decode_bounds_are_inclusive)
{
	ck_assert_int_eq(
		decode("{\"text\":\"\\t\\r\\nab\",\"count\":1000000,\"change\":20,\"list\":[1,2]}"), ERR_OK);
	ck_assert(sample.change.value == 2000);
	release();
	ck_assert_int_eq(
		decode("{\"text\":"
		       "\"\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\","
		       "\"count\":0,\"change\":-10,\"price\":-0}"),
		ERR_OK);
	ck_assert(sample.change.value == -1000);
	ck_assert(sample.price.set && sample.price.value == 0);
	release();
}
END_TEST

START_TEST(json_decode_string_without_bounds_has_8192_characters)
{
	static const struct json_field open = {
		.name = "text", .type = JSON_FIELD_STRING, .offset = offsetof(struct sample, text)};
	static char text[8300];
	for (int extra = 0; extra <= 1; extra++) {
		const int length = snprintf(text, sizeof text, "{\"text\":\"%0*d\"}", 8192 + extra, 0);
		ck_assert_int_lt(length, (int)sizeof text);
		ck_assert_int_eq(decode_with(&open, 1, text, ""), extra == 0 ? ERR_OK : ERR_VALIDATION);
		ck_assert_str_eq(problem_detail(&problem),
			extra == 0 ? "OK" : "text must be a string of at most 8192 characters");
		release();
	}
}
END_TEST

START_TEST(json_decode_unix_times_are_exact)
{
	static const struct {
		const char *text;
		int64_t us;
	} rows[] = {
		{"{\"at\":1700000000}", 1700000000000000},
		{"{\"at\":1700000000.123456789}", 1700000000123456},
		{"{\"at\":1.7e9}", 1700000000000000},
		{"{\"at\":1700000000123}", 1700000000123000},
		{"{\"at\":1700000000123.4567}", 1700000000123456},
		{"{\"at\":\"1700000000\"}", 1700000000000000},
		/* The last second and the first millisecond by the rule. */
		{"{\"at\":99999999999}", 99999999999000000},
		{"{\"at\":100000000000}", 100000000000000},
		{"{\"at\":0}", 0},
		/* A cut goes to the earlier microsecond on both sides of 1970. */
		{"{\"at\":-0.0000001}", -1},
		{"{\"at\":-1}", -1000000},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert_msg(decode(rows[i].text) == ERR_OK, "%s", rows[i].text);
		ck_assert_msg(sample.at.set && sample.at.value == rows[i].us, "%s: %lld", rows[i].text,
			(long long)sample.at.value);
		release();
	}
}
END_TEST

START_TEST(json_decode_required_field_must_be_there)
{
	static const struct json_field required = {.name = "text",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct sample, text),
		.required = true};
	ck_assert_int_eq(decode_with(&required, 1, "{}", ""), ERR_VALIDATION);
	ck_assert_str_eq(problem_detail(&problem), "text is required");
	release();
	ck_assert_int_eq(decode_with(&required, 1, "{\"text\":null}", "scope."), ERR_VALIDATION);
	ck_assert_str_eq(problem_detail(&problem), "scope.text is required");
	release();
}
END_TEST

START_TEST(json_decode_all_problems_are_named_at_once)
{
	ck_assert_int_eq(decode("{\"count\":-1,\"flag\":0,\"input_token\":5,\"x\":1}"), ERR_VALIDATION);
	ck_assert_uint_eq(problem.n_fields, 4);
	ck_assert_str_eq(problem.fields[0].field, "count");
	ck_assert_str_eq(problem.fields[1].field, "flag");
	ck_assert_str_eq(problem.fields[2].field, "input_token");
	ck_assert_str_eq(problem.fields[2].message, "is not a known field");
	ck_assert_str_eq(problem.fields[3].field, "x");
	release();
}
END_TEST

START_TEST(json_decode_unknown_name_is_shown_only_if_printable)
{
	assert_detail("{\"a\\u0007\":1}", "(unprintable name) is not a known field");
	assert_detail("{\"\xC3\xA9\":1}", "(unprintable name) is not a known field");
	/* 64 characters, then 65. */
	assert_detail("{\"1234567890123456789012345678901234567890123456789012345678901234\":1}",
		"1234567890123456789012345678901234567890123456789012345678901234 is not a known field");
	assert_detail("{\"12345678901234567890123456789012345678901234567890123456789012345\":1}",
		"(unprintable name) is not a known field");
	ck_assert_int_eq(decode_with(fields, 1, "{\"b\":1}", "usage."), ERR_VALIDATION);
	ck_assert_str_eq(problem.fields[0].field, "usage.b");
	release();
}
END_TEST

START_TEST(json_decode_full_arena_is_not_the_clients_fault)
{
	arena_init(&arena, 1 << 10);
	problem_init(&problem, &arena);
	ck_assert_int_eq(
		json_doc_parse(&doc, "{\"price\":5}", 11, &json_limits_default, &arena, &problem), ERR_OK);
	while (arena_alloc(&arena, 16) != NULL)
		;
	const enum err e =
		json_decode(&doc, doc.root, fields, sizeof fields / sizeof *fields, &sample, "", &problem);
	ck_assert_int_eq(e, ERR_NO_MEMORY);
	ck_assert_int_eq(problem.code, ERR_NO_MEMORY);
	ck_assert_uint_eq(problem.n_fields, 0);
	release();
}
END_TEST

START_TEST(json_decode_inner_value_not_an_object_is_named)
{
	ck_assert_int_eq(decode_with(fields, 1, "[1]", "scope."), ERR_VALIDATION);
	ck_assert_str_eq(problem_detail(&problem), "scope must be an object");
	release();
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("json_decode");
	TCase *const tc = tcase_create("json_decode");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, json_decode_full_object_fills_the_struct);
	tcase_add_test(tc, json_decode_null_or_missing_is_absent);
	tcase_add_test(tc, json_decode_integer_written_otherwise_is_the_same);
	tcase_add_test(tc, json_decode_integer_without_bounds_takes_all_64_bits);
	tcase_add_test(tc, json_decode_bad_values_say_what_is_expected);
	tcase_add_test(tc, json_decode_bounds_are_inclusive);
	tcase_add_test(tc, json_decode_string_without_bounds_has_8192_characters);
	tcase_add_test(tc, json_decode_unix_times_are_exact);
	tcase_add_test(tc, json_decode_required_field_must_be_there);
	tcase_add_test(tc, json_decode_all_problems_are_named_at_once);
	tcase_add_test(tc, json_decode_unknown_name_is_shown_only_if_printable);
	tcase_add_test(tc, json_decode_full_arena_is_not_the_clients_fault);
	tcase_add_test(tc, json_decode_inner_value_not_an_object_is_named);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
