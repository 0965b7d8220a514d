/* The name of a set: what makes two events belong to the same one. No database. */

#include <check.h>
#include <stdlib.h>
#include "llmlab/ingest/ingest.h"

static struct event full(void)
{
	return (struct event){.project = "web",
		.customer = "acme",
		.tags_json = "{\"team\":\"search\"}",
		.has_api_key = true,
		.api_key_id = {{1, 2, 3}}};
}

static void assert_same(const struct event *a, const struct event *b, bool same)
{
	const struct uuid x = ingest_set_id(a), y = ingest_set_id(b);
	ck_assert_int_eq(uuid_equal(&x, &y), same);
}

START_TEST(set_id_of_nothing_is_zero)
{
	const struct event none = {.provider = "openai", .model = "gpt-4"},
			   empty = {.project = "", .customer = ""};
	const struct uuid a = ingest_set_id(&none), b = ingest_set_id(&empty);
	ck_assert(uuid_is_zero(&a));
	ck_assert(uuid_is_zero(&b));
}
END_TEST

START_TEST(set_id_ignores_everything_but_its_four_parts)
{
	struct event a = full(), b = full();
	b.user_id.bytes[0] = 1;
	b.occurred_at_us = 5;
	b.provider = "openai";
	b.metadata_json = "{\"a\":1}";
	b.has_cost = true;
	assert_same(&a, &b, true);
}
END_TEST

START_TEST(set_id_differs_with_each_part)
{
	const struct event a = full();
	struct event b[5];
	for (size_t i = 0; i < 5; i++)
		b[i] = full();
	b[0].project = "mobile";
	b[1].customer = NULL;
	b[2].tags_json = NULL;
	b[3].has_api_key = false;
	b[4].api_key_id.bytes[15] = 1;
	for (size_t i = 0; i < 5; i++) {
		assert_same(&a, &b[i], false);
		for (size_t k = 0; k < i; k++)
			assert_same(&b[k], &b[i], false);
	}
}
END_TEST

/* Written one after the other without lengths, these would be the same bytes. */
START_TEST(set_id_keeps_texts_apart)
{
	const struct event a = {.project = "ab", .customer = "c"}, b = {.project = "a", .customer = "bc"},
			   c = {.project = "abc"}, d = {.customer = "abc"};
	assert_same(&a, &b, false);
	assert_same(&a, &c, false);
	assert_same(&c, &d, false);
}
END_TEST

/* Stored rows carry these ids: another encoding would split every set in two. Worked out with Python's
 * hashlib from lengths of 8 bytes, big-endian, each before its text: "llmlab set 1", "web", "", one byte 0,
 * "". */
START_TEST(set_id_is_the_same_in_every_version)
{
	const struct event e = {.project = "web"};
	const struct uuid id = ingest_set_id(&e);
	char text[UUID_TEXT_SIZE];
	uuid_format(&id, text);
	ck_assert_str_eq(text, "7343ca33-bdcd-467c-a09b-04b33a6c0803");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("set id");
	TCase *t = tcase_create("set id");
	tcase_add_test(t, set_id_of_nothing_is_zero);
	tcase_add_test(t, set_id_ignores_everything_but_its_four_parts);
	tcase_add_test(t, set_id_differs_with_each_part);
	tcase_add_test(t, set_id_keeps_texts_apart);
	tcase_add_test(t, set_id_is_the_same_in_every_version);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
