/* The frame of a batch: which texts it holds, and which frames are refused. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include "llmlab/api/batch_split.h"

/* The texts joined by '|', or "ERR:<code>" where the frame is bad. */
static const char *split(const char *body, bool lines)
{
	static char out[1024];
	struct arena arena;
	struct problem p;
	arena_init(&arena, 65536);
	problem_init(&p, &arena);
	struct batch_split s;
	batch_split_init(&s, body, strlen(body), lines);
	out[0] = '\0';
	const char *text;
	size_t n;
	enum err e = batch_split_next(&s, &text, &n, &p);
	for (size_t i = 0; e == ERR_OK; i++) {
		const size_t at = strlen(out);
		snprintf(out + at, sizeof out - at, "%s%.*s", i == 0 ? "" : "|", (int)n, text);
		e = batch_split_next(&s, &text, &n, &p);
	}
	if (e != ERR_NOT_FOUND)
		snprintf(out, sizeof out, "ERR:%s", err_code(p.code));
	else
		ck_assert(problem_none(&p));
	arena_release(&arena);
	return out;
}

START_TEST(batch_split_array_gives_each_element)
{
	ck_assert_str_eq(split("{\"events\":[]}", false), "");
	ck_assert_str_eq(split("{\"events\":[{}]}", false), "{}");
	ck_assert_str_eq(
		split(" { \"events\" : [ {\"a\":1} , [2] ,3,\"x\" ] } \n", false), "{\"a\":1}|[2]|3|\"x\"");
	ck_assert_str_eq(
		split("{\"events\":[{\"a\":{\"b\":[1,{}]}},null]}", false), "{\"a\":{\"b\":[1,{}]}}|null");
}
END_TEST

START_TEST(batch_split_brackets_in_strings_are_text)
{
	ck_assert_str_eq(split("{\"events\":[{\"a\":\"]}\\\"[,\"},{\"\\\\\":1}]}", false),
		"{\"a\":\"]}\\\"[,\"}|{\"\\\\\":1}");
}
END_TEST

START_TEST(batch_split_bad_frames_are_malformed)
{
	static const char *const bodies[] = {"", "[]", "{", "{\"events\"", "{\"events\":[", "{\"events\":[{}",
		"{\"events\":[{}]", "{\"events\":[{},]}", "{\"events\":[,{}]}", "{\"events\":[{} {}]}",
		"{\"events\":[{}]} x", "{\"events\":[{]}", "{\"events\":[{]}]}", "{\"events\":[\"a]}",
		"{\"events\" []}", "{\"events\":[{}],\"events\":[]}", "{\"events\":[{}]]", "{events:[]}",
		"{\"events\":[1:2]}"};
	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
		ck_assert_msg(strcmp(split(bodies[i], false), "ERR:malformed_json") == 0, "%s gives %s",
			bodies[i], split(bodies[i], false));
}
END_TEST

START_TEST(batch_split_other_members_are_named)
{
	ck_assert_str_eq(split("{\"event\":[]}", false), "ERR:validation_failed");
	ck_assert_str_eq(split("{\"events\":[{}],\"dry_run\":true}", false), "ERR:validation_failed");
	ck_assert_str_eq(split("{}", false), "ERR:validation_failed");
	ck_assert_str_eq(split("{\"events\":{}}", false), "ERR:validation_failed");
}
END_TEST

START_TEST(batch_split_nesting_beyond_64_is_malformed)
{
	char body[512] = "{\"events\":[";
	const size_t head = strlen(body);
	memset(body + head, '[', 64);
	memset(body + head + 64, ']', 64);
	strcpy(body + head + 128, "]}");
	ck_assert_uint_eq(strlen(split(body, false)), 128);
	memset(body + head, '[', 65);
	memset(body + head + 65, ']', 65);
	strcpy(body + head + 130, "]}");
	ck_assert_str_eq(split(body, false), "ERR:malformed_json");
}
END_TEST

START_TEST(batch_split_lines_skips_blank_ones)
{
	ck_assert_str_eq(split("", true), "");
	ck_assert_str_eq(split("\n\n", true), "");
	ck_assert_str_eq(split("{\"a\":1}\n\n  \n{\"b\":2}", true), "{\"a\":1}|{\"b\":2}");
	ck_assert_str_eq(split("{\"a\":1}\r\n{", true), "{\"a\":1}\r|{");
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("batch_split");
	TCase *const t = tcase_create("batch_split");
	tcase_add_test(t, batch_split_array_gives_each_element);
	tcase_add_test(t, batch_split_brackets_in_strings_are_text);
	tcase_add_test(t, batch_split_bad_frames_are_malformed);
	tcase_add_test(t, batch_split_other_members_are_named);
	tcase_add_test(t, batch_split_nesting_beyond_64_is_malformed);
	tcase_add_test(t, batch_split_lines_skips_blank_ones);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
