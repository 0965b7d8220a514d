/* Parsing JSON: exact numbers, limits, positions of mistakes, and that nothing is accepted or refused that
 * jansson alone would treat otherwise. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/buf.h"
#include "llmlab/base/json_read.h"

static struct arena arena;
static struct problem problem;
static struct json_doc doc;

/* Parses with the given limits. The text is copied to its own allocation so that reading past its end is
 * found. */
static enum err parse_n(const char *text, size_t n, const struct json_limits *limits)
{
	arena_init(&arena, 4 << 20);
	problem_init(&problem, &arena);
	char *const exact = malloc(n > 0 ? n : 1);
	memcpy(exact, text, n);
	const enum err e = json_doc_parse(&doc, exact, n, limits, &arena, &problem);
	free(exact);
	ck_assert_int_eq(e, problem.code);
	ck_assert((doc.root != NULL) == (e == ERR_OK));
	return e;
}

static enum err parse(const char *text)
{
	return parse_n(text, strlen(text), &json_limits_default);
}

static void release(void)
{
	json_doc_release(&doc);
	arena_release(&arena);
}

START_TEST(json_doc_parse_numbers_keep_their_text)
{
	static const char *const texts[] = {"0", "-1", "0.1", "1e400", "-0", "-0.0", "9223372036854775807",
		"9223372036854775808", "-9223372036854775808", "-9223372036854775809",
		"123456789012345678901234567890", "0.000000000000000000000000000000000001", "1E+2", "2.50",
		"1e-7", "1234567890123456789012345678901234567890123456789012345678901234"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		char text[128];
		snprintf(text, sizeof text, "{\"a\":[1.5,%s]}", texts[i]);
		ck_assert_msg(parse(text) == ERR_OK, "%s", text);
		const json_t *const list = json_object_get(doc.root, "a");
		ck_assert_str_eq(json_number_text(&doc, json_array_get(list, 0), &arena), "1.5");
		ck_assert_str_eq(json_number_text(&doc, json_array_get(list, 1), &arena), texts[i]);
		release();
	}
}
END_TEST

START_TEST(json_doc_parse_plain_integers_keep_no_text)
{
	ck_assert_int_eq(parse("[1,-2,9223372036854775807,-9223372036854775808]"), ERR_OK);
	ck_assert_uint_eq(doc.n_literals, 0);
	ck_assert(json_is_integer(json_array_get(doc.root, 3)));
	release();
}
END_TEST

START_TEST(json_doc_parse_many_decimals_keep_their_order)
{
	/* More than ten, so that indexes of different lengths stand in the rewritten text. */
	struct buf text;
	buf_init(&text, 1 << 20);
	buf_putc(&text, '[');
	for (int i = 0; i < 1200; i++)
		buf_printf(&text, "%s%d.5", i == 0 ? "" : ",", i);
	buf_putc(&text, ']');
	ck_assert_int_eq(parse_n(text.data, text.len, &json_limits_default), ERR_OK);
	for (size_t i = 0; i < 1200; i++) {
		char expected[16];
		snprintf(expected, sizeof expected, "%zu.5", i);
		ck_assert_str_eq(json_number_text(&doc, json_array_get(doc.root, i), &arena), expected);
	}
	buf_release(&text);
	release();
}
END_TEST

START_TEST(json_doc_parse_digits_inside_strings_are_left_alone)
{
	ck_assert_int_eq(parse("{\"1.5\":\"2.5\\\" 3.5\",\"b\\\\\":\"4.5\"}"), ERR_OK);
	ck_assert_uint_eq(doc.n_literals, 0);
	ck_assert_str_eq(json_string_value(json_object_get(doc.root, "1.5")), "2.5\" 3.5");
	ck_assert_str_eq(json_string_value(json_object_get(doc.root, "b\\")), "4.5");
	release();
}
END_TEST

START_TEST(json_number_text_not_a_number_gives_null)
{
	ck_assert_int_eq(parse("[\"1\",true,null,[]]"), ERR_OK);
	for (size_t i = 0; i < 4; i++)
		ck_assert_ptr_null(json_number_text(&doc, json_array_get(doc.root, i), &arena));
	release();
}
END_TEST

START_TEST(json_doc_parse_number_too_long_is_refused)
{
	/* 65 digits. */
	ck_assert_int_eq(parse("[12345678901234567890123456789012345678901234567890123456789012345]"),
		ERR_MALFORMED_JSON);
	ck_assert_ptr_nonnull(strstr(problem_detail(&problem), "64 characters"));
	release();
}
END_TEST

/* `depth` arrays inside one another. */
static enum err parse_nested(unsigned depth, const struct json_limits *limits)
{
	char text[128];
	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	return parse_n(text, 2 * depth, limits);
}

START_TEST(json_doc_parse_depth_limit_is_inclusive)
{
	ck_assert_int_eq(parse_nested(16, &json_limits_default), ERR_OK);
	release();
	ck_assert_int_eq(parse_nested(17, &json_limits_default), ERR_TOO_LARGE);
	ck_assert_str_eq(problem_detail(&problem), "The JSON has more levels of nesting than 16");
	release();
	ck_assert_int_eq(parse_nested(24, &json_limits_trusted), ERR_OK);
	release();
	ck_assert_int_eq(parse_nested(25, &json_limits_trusted), ERR_TOO_LARGE);
	release();
}
END_TEST

static enum err parse_with(unsigned max_nodes, unsigned max_keys, const char *text)
{
	const struct json_limits limits = {
		.max_depth = 4, .max_nodes = max_nodes, .max_object_keys = max_keys};
	return parse_n(text, strlen(text), &limits);
}

START_TEST(json_doc_parse_node_limit_counts_values_not_keys)
{
	/* object, "x", array, 1, 2.5, true, null = 7 values */
	static const char text[] = "{\"a\":\"x\",\"b\":[1,2.5,true,null]}";
	ck_assert_int_eq(parse_with(7, 2, text), ERR_OK);
	release();
	ck_assert_int_eq(parse_with(6, 2, text), ERR_TOO_LARGE);
	release();
}
END_TEST

START_TEST(json_doc_parse_key_limit_is_for_each_object)
{
	static const char text[] = "[{\"a\":1,\"b\":{\"a\":1,\"b\":2}},{\"a\":1}]";
	ck_assert_int_eq(parse_with(99, 2, text), ERR_OK);
	release();
	ck_assert_int_eq(parse_with(99, 1, text), ERR_TOO_LARGE);
	release();
}
END_TEST

START_TEST(json_doc_parse_mistake_names_line_and_column)
{
	static const struct {
		const char *text;
		const char *detail;
	} rows[] = {
		{"", "The JSON is malformed at line 1, column 1: the text is empty"},
		{"{\"a\":1}\n]",
			"The JSON is malformed at line 2, column 1: a closing bracket does not match"},
		{"[1,\n 2,\n  x]", "The JSON is malformed at line 3, column 3: unexpected token"},
		/* The same place although the numbers before it were replaced by shorter and longer texts. */
		{"[0.123456789,1.5,\n2.5,  x]",
			"The JSON is malformed at line 2, column 7: unexpected token"},
		{"[1.5,2.5", "The JSON is malformed at line 1, column 9: the text ends too early"},
		{"[1", "The JSON is malformed at line 1, column 3: the text ends too early"},
		{"[1 2.25]", "The JSON is malformed at line 1, column 7: unexpected token"},
		{"{\"a\":1.5,\"a\":2}",
			"The JSON is malformed at line 1, column 12: a key appears twice in an object"},
		{"[1] []", "The JSON is malformed at line 1, column 5: something follows the end of the "
			   "document"},
		{"[:]", "The JSON is malformed at line 1, column 2: a colon outside an object"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert_int_eq(parse(rows[i].text), ERR_MALFORMED_JSON);
		ck_assert_str_eq(problem_detail(&problem), rows[i].detail);
		release();
	}
}
END_TEST

/* jansson 2.14 passes over a NUL that follows a number or a word. */
START_TEST(json_doc_parse_nul_is_refused_wherever_it_stands)
{
	static const struct {
		const char *text;
		size_t n;
	} cases[] = {{"[6\0]", 4}, {"[1.5\0]", 6}, {"[6\0,1]", 6}, {"[true\0]", 7}, {"[\0]", 3}, {"[1]\0", 4},
		{"\0[1]", 4}, {"[\"a\0\"]", 6}, {"{\"a\":1\0}", 8}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		ck_assert_int_eq(
			parse_n(cases[i].text, cases[i].n, &json_limits_default), ERR_MALFORMED_JSON);
		release();
	}
}
END_TEST

START_TEST(json_doc_parse_mistake_never_quotes_the_client)
{
	ck_assert_int_eq(parse("{\"secret\":hunter2}"), ERR_MALFORMED_JSON);
	ck_assert_ptr_null(strstr(problem_detail(&problem), "hunter"));
	ck_assert_ptr_null(strstr(problem_detail(&problem), "secret"));
	release();
}
END_TEST

START_TEST(json_doc_parse_full_arena_is_out_of_memory)
{
	arena_init(&arena, 16);
	problem_init(&problem, &arena);
	ck_assert_int_eq(
		json_doc_parse(&doc, "[1.5,2.5]", 9, &json_limits_default, &arena, &problem), ERR_NO_MEMORY);
	ck_assert_ptr_null(doc.root);
	ck_assert_str_eq(problem_detail(&problem), "Out of memory");
	arena_release(&arena);
}
END_TEST

START_TEST(json_text_writes_what_was_sent)
{
	static const char text[] =
		"{\"z\":1.50,\"a\":[true,false,null,-0,1e400,\"x\\n\\u00e9\"],\"m\":{},\"n\":[]}";
	ck_assert_int_eq(parse(text), ERR_OK);
	ck_assert_str_eq(json_text(&doc, doc.root, 4096, &arena),
		"{\"z\":1.50,\"a\":[true,false,null,-0,1e400,\"x\\n\xC3\xA9\"],\"m\":{},\"n\":[]}");
	release();
}
END_TEST

START_TEST(json_text_longer_than_allowed_gives_null)
{
	ck_assert_int_eq(parse("[1234]"), ERR_OK);
	ck_assert_str_eq(json_text(&doc, doc.root, 6, &arena), "[1234]");
	ck_assert_ptr_null(json_text(&doc, doc.root, 5, &arena));
	release();
}
END_TEST

START_TEST(utf8_valid_refuses_what_rfc_3629_refuses)
{
	ck_assert(utf8_valid("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 10));
	ck_assert(utf8_valid("", 0));
	ck_assert(utf8_valid("\xF4\x8F\xBF\xBF", 4)); /* U+10FFFF */
	static const char *const bad[] = {"\x80", "\xC3", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF",
		"\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF",
		"\xE2\x82", "\xC3\x28"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(!utf8_valid(bad[i], strlen(bad[i])), "row %zu", i);
	ck_assert(!utf8_valid("a\0b", 3));
}
END_TEST

START_TEST(utf8_length_counts_code_points)
{
	ck_assert_uint_eq(utf8_length(""), 0);
	ck_assert_uint_eq(utf8_length("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"), 4);
}
END_TEST

/* ---- against jansson alone ---- */

static const char *const hostile[] = {
	"{}",
	"[]",
	"[1]",
	"{\"a\":1}",
	"[1.5]",
	"[-1.5e-3,2E5,0.0,-0,-0.0]",
	" \t\r\n[1] \n",
	"[1,]",
	"[,1]",
	"[1 2]",
	"[1.5 2.5]",
	"[1.5-2]",
	"[1.5+2]",
	"[1.5.5]",
	"[1.5e]",
	"[1.5e+]",
	"[1..5]",
	"[.5]",
	"[5.]",
	"[-.5]",
	"[-]",
	"[+1]",
	"[+1.5]",
	"[01]",
	"[01.5]",
	"[-01.5]",
	"[00]",
	"[1e5true]",
	"[true1.5]",
	"[tru1.5e]",
	"[e1.5]",
	"[1.5e1.5]",
	"[0x1.5]",
	"[1.5f]",
	"[NaN]",
	"[Infinity]",
	"[-Infinity]",
	"[1e05]",
	"[1E-0]",
	"[--1.5]",
	"[1.5,-]",
	"1.5",
	"\"a\"",
	"null",
	"true",
	"",
	" ",
	"[",
	"]",
	"{",
	"}",
	"[}",
	"{]",
	"{\"a\"}",
	"{\"a\":}",
	"{\"a\":1.5,}",
	"{\"a\":1.5 \"b\":2.5}",
	"{1.5:2}",
	"{\"a\":1,\"a\":1}",
	"{\"a\":1.5,\"a\":1.5}",
	"{a:1}",
	"{'a':1}",
	"[\"\\u0000\"]",
	"[\"\\ud800\"]",
	"[\"\\ud83d\\ude00\"]",
	"[\"\\x\"]",
	"[\"\\",
	"[\"a",
	"\"",
	"[\"",
	"[\"\\\"]",
	"[\"\x01\"]",
	"[\"\n\"]",
	"[\"\xFF\"]",
	"[\"\xC0\x80\"]",
	"\xEF\xBB\xBF[]",
	"[1]x",
	"[1]1.5",
	"[1],",
	"[1][2]",
	"[nul]",
	"[nulll]",
	"[True]",
	"/*c*/[1]",
	"[1//c\n]",
	"[\"a\":1]",
	"{\"a\":[1.5,{\"b\":2.5}],\"c\":-3.25e2}",
	"{:1}",
	"{\"a\"::1}",
	"[:1.5]",
	":",
	",",
	"[1.5\f]",
	"[\v1]",
	"[1\xC2\xA0]",
	"{\"a\":1.5}}",
	"[[1.5]",
	"[1.5]]",
	"[\"1.5]",
	"[1e400]",
	"[1e-400]",
	"[99999999999999999999]",
	"[9223372036854775808]",
	"[-9223372036854775809]",
	"[9223372036854775807]",
	"[\"\\u00e9\",\"\xC3\xA9\"]",
	"{\"\\u0061\":1,\"a\":2}",
	"{\"a\\u0000b\":1}",
};

/* The same text through jansson alone must be accepted or refused alike, and mean the same. Numbers that only
 * a text can hold exactly are the one thing that we accept and jansson refuses. */
static void compare_with_jansson(const char *text, size_t n)
{
	json_error_t error;
	json_t *const plain = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
	const enum err e = parse_n(text, n, &json_limits_trusted);
	const bool beyond_jansson = plain == NULL && json_error_code(&error) == json_error_numeric_overflow;
	if (!beyond_jansson)
		ck_assert_msg((e == ERR_OK) == (plain != NULL), "%.*s", (int)n, text);
	if (plain != NULL) {
		const char *const written = json_text(&doc, doc.root, 1 << 20, &arena);
		ck_assert_ptr_nonnull(written);
		json_t *const again = json_loads(written, JSON_REJECT_DUPLICATES, NULL);
		ck_assert_msg(json_equal(plain, again), "%.*s became %s", (int)n, text, written);
		json_decref(again);
	}
	json_decref(plain);
	release();
}

START_TEST(json_doc_parse_hostile_documents_are_treated_as_by_jansson)
{
	for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++)
		compare_with_jansson(hostile[i], strlen(hostile[i]));
}
END_TEST

static uint64_t random_state = 0x9E3779B97F4A7C15u;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* One to four small changes at random places: a byte replaced, inserted or removed, or a piece copied
 * elsewhere. */
static size_t mutate(char *text, size_t n, size_t size)
{
	static const char alphabet[] = "0123456789.-+eE[]{}:,\"\\ \ntrufalsn\x80\xC3";
	for (uint64_t changes = 1 + next_random() % 4; changes > 0; changes--) {
		const size_t at = n == 0 ? 0 : next_random() % n;
		const char c = alphabet[next_random() % (sizeof alphabet - 1)];
		const uint64_t kind = next_random() % 3;
		if (kind == 0 && n > 0) {
			text[at] = c;
		} else if (kind == 1 && n > 0) {
			memmove(text + at, text + at + 1, n - at - 1);
			n--;
		} else if (n + 1 < size) {
			memmove(text + at + 1, text + at, n - at);
			text[at] = c;
			n++;
		}
	}
	return n;
}

START_TEST(json_doc_parse_mutations_are_treated_as_by_jansson)
{
	static const char *const seeds[] = {
		"{\"a\":1.5,\"b\":[1,2.25,-3e2,{\"c\":\"x\\\"1.5\"}],\"d\":null,\"e\":true}",
		"[0.1,-0,1e5,12345678901234567890,\"\xC3\xA9\\u00e9\",[[],{}],false]",
		"{\"model\":\"gpt-4\",\"input_tokens\":1000,\"cost\":0.06,\"tags\":{\"k\":\"v\"}}",
	};
	for (int i = 0; i < 12000; i++) {
		char text[256];
		const char *const seed = seeds[next_random() % 3];
		size_t n = strlen(seed);
		memcpy(text, seed, n);
		n = mutate(text, n, sizeof text);
		compare_with_jansson(text, n);
	}
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("json_read");
	TCase *const tc = tcase_create("json_read");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, json_doc_parse_numbers_keep_their_text);
	tcase_add_test(tc, json_doc_parse_plain_integers_keep_no_text);
	tcase_add_test(tc, json_doc_parse_many_decimals_keep_their_order);
	tcase_add_test(tc, json_doc_parse_digits_inside_strings_are_left_alone);
	tcase_add_test(tc, json_number_text_not_a_number_gives_null);
	tcase_add_test(tc, json_doc_parse_number_too_long_is_refused);
	tcase_add_test(tc, json_doc_parse_depth_limit_is_inclusive);
	tcase_add_test(tc, json_doc_parse_node_limit_counts_values_not_keys);
	tcase_add_test(tc, json_doc_parse_key_limit_is_for_each_object);
	tcase_add_test(tc, json_doc_parse_mistake_names_line_and_column);
	tcase_add_test(tc, json_doc_parse_nul_is_refused_wherever_it_stands);
	tcase_add_test(tc, json_doc_parse_mistake_never_quotes_the_client);
	tcase_add_test(tc, json_doc_parse_full_arena_is_out_of_memory);
	tcase_add_test(tc, json_text_writes_what_was_sent);
	tcase_add_test(tc, json_text_longer_than_allowed_gives_null);
	tcase_add_test(tc, utf8_valid_refuses_what_rfc_3629_refuses);
	tcase_add_test(tc, utf8_length_counts_code_points);
	tcase_add_test(tc, json_doc_parse_hostile_documents_are_treated_as_by_jansson);
	tcase_add_test(tc, json_doc_parse_mutations_are_treated_as_by_jansson);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
