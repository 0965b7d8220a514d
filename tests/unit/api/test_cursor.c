/* Cursors: what is written is read back, and nothing else is accepted. */
#include <check.h>
#include <string.h>
#include "llmlab/api/cursor.h"

static struct event_cursor sample(void)
{
	/* 2026-08-23T10:00:00.123456Z: the id's time is its millisecond. */
	return (struct event_cursor){.occurred_at_us = 1787479200123456, .id = uuid_v7(1787479200123)};
}

START_TEST(event_cursor_formatted_reads_back)
{
	const struct event_cursor c = sample();
	char text[EVENT_CURSOR_TEXT_SIZE];
	event_cursor_format(&c, text);
	ck_assert_uint_eq(strlen(text), 36);
	struct event_cursor back;
	ck_assert_int_eq(event_cursor_parse(text, &back), ERR_OK);
	ck_assert_int_eq(back.occurred_at_us, c.occurred_at_us);
	ck_assert(uuid_equal(&back.id, &c.id));
}
END_TEST

START_TEST(event_cursor_parse_any_changed_character_is_refused)
{
	const struct event_cursor c = sample();
	char text[EVENT_CURSOR_TEXT_SIZE];
	event_cursor_format(&c, text);
	for (size_t i = 0; i < 36; i++) {
		char changed[EVENT_CURSOR_TEXT_SIZE];
		memcpy(changed, text, sizeof changed);
		changed[i] = text[i] == 'A' ? 'B' : 'A';
		struct event_cursor back;
		ck_assert_int_eq(event_cursor_parse(changed, &back), ERR_SYNTAX);
	}
}
END_TEST

START_TEST(event_cursor_parse_other_text_is_refused)
{
	static const char *const texts[] = {"", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"????????????????????????????????????", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct event_cursor back;
		ck_assert_int_eq(event_cursor_parse(texts[i], &back), ERR_SYNTAX);
	}
}
END_TEST

START_TEST(event_cursor_parse_id_of_another_time_is_refused)
{
	struct event_cursor c = sample();
	c.occurred_at_us += 1000;
	char text[EVENT_CURSOR_TEXT_SIZE];
	event_cursor_format(&c, text);
	struct event_cursor back;
	ck_assert_int_eq(event_cursor_parse(text, &back), ERR_SYNTAX);
}
END_TEST

START_TEST(text_cursor_any_length_reads_back)
{
	static const char *const texts[] = {"", "a", "ab", "abc", "openai/gpt-4", "mistral/ü"};
	struct arena a;
	arena_init(&a, 65536);
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		const char *const cursor = text_cursor_format(texts[i], &a);
		ck_assert_ptr_nonnull(cursor);
		ck_assert_str_eq(text_cursor_parse(cursor, &a), texts[i]);
	}
	arena_release(&a);
}
END_TEST

START_TEST(text_cursor_parse_damaged_is_null)
{
	struct arena a;
	arena_init(&a, 65536);
	const char *const cursor = text_cursor_format("openai/gpt-4", &a);
	char *const changed = arena_strdup(&a, cursor);
	changed[3] = changed[3] == 'A' ? 'B' : 'A';
	ck_assert_ptr_null(text_cursor_parse(changed, &a));
	ck_assert_ptr_null(text_cursor_parse("", &a));
	ck_assert_ptr_null(text_cursor_parse("!!", &a));
	arena_release(&a);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("cursor");
	TCase *const t = tcase_create("cursor");
	tcase_add_test(t, event_cursor_formatted_reads_back);
	tcase_add_test(t, event_cursor_parse_any_changed_character_is_refused);
	tcase_add_test(t, event_cursor_parse_other_text_is_refused);
	tcase_add_test(t, event_cursor_parse_id_of_another_time_is_refused);
	tcase_add_test(t, text_cursor_any_length_reads_back);
	tcase_add_test(t, text_cursor_parse_damaged_is_null);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
