/* Names of counts and units, totals, and the contradictions that usage_check() names. */
#include "llmlab/core/usage.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct problem p;

static void setup(void)
{
	arena_init(&arena, 65536);
	problem_init(&p, &arena);
}

static void teardown(void)
{
	arena_release(&arena);
}

START_TEST(usage_names_of_counts_and_units_are_those_of_the_contract)
{
	ck_assert_str_eq(usage_count_name(USAGE_input_tokens), "input_tokens");
	ck_assert_str_eq(usage_count_name(USAGE_cache_write_1h_tokens), "cache_write_1h_tokens");
	ck_assert_str_eq(usage_unit_name(UNIT_ocr_page), "ocr_page");
	ck_assert_int_eq(usage_unit_find("query"), UNIT_query);
	ck_assert_int_eq(usage_unit_find("annotation_page"), UNIT_annotation_page);
	ck_assert_int_eq(usage_unit_find("request"), USAGE_UNITS);
	ck_assert_int_eq(usage_unit_find(""), USAGE_UNITS);
}
END_TEST

START_TEST(usage_unit_fractional_is_true_for_seconds_only)
{
	ck_assert(usage_unit_fractional(UNIT_input_second));
	ck_assert(usage_unit_fractional(UNIT_input_video_second));
	ck_assert(!usage_unit_fractional(UNIT_input_pixel));
	ck_assert(!usage_unit_fractional(UNIT_query));
}
END_TEST

START_TEST(usage_total_adds_the_two_wholes_only)
{
	struct usage u = {.has_counts = true};
	u.counts[USAGE_input_tokens] = 100;
	u.counts[USAGE_cache_read_tokens] = 60;
	u.counts[USAGE_output_tokens] = 7;
	ck_assert_int_eq(usage_total(&u), 107);
}
END_TEST

START_TEST(usage_count_parent_cached_audio_is_part_of_both)
{
	ck_assert_int_eq(usage_count_parent(USAGE_cache_read_audio_tokens, 0), USAGE_cache_read_tokens);
	ck_assert_int_eq(usage_count_parent(USAGE_cache_read_audio_tokens, 1), USAGE_input_audio_tokens);
	ck_assert_int_eq(usage_count_parent(USAGE_input_tokens, 0), USAGE_NONE);
}
END_TEST

#define PAIRS_MAX 6
struct check_case {
	struct {
		enum usage_count count;
		int64_t tokens;
	} pairs[PAIRS_MAX];
	const char *field; /* first field named; NULL: consistent */
	const char *message;
};

static const struct check_case cases[] = {
	{{{USAGE_input_tokens, 10}, {USAGE_cache_read_tokens, 10}}, NULL, NULL},
	{{{USAGE_input_tokens, 10}, {USAGE_cache_read_tokens, 4}, {USAGE_cache_write_tokens, 6}}, NULL, NULL},
	{{{USAGE_input_tokens, 1000}, {USAGE_cache_read_tokens, 1200}}, "cache_read_tokens",
		"exceeds input_tokens (1200 > 1000)"},
	{{{USAGE_input_tokens, 1000}, {USAGE_cache_read_tokens, 600}, {USAGE_cache_write_tokens, 600}},
		"cache_write_tokens", "and the other parts of input_tokens together exceed it (1200 > 1000)"},
	{{{USAGE_input_tokens, 9}, {USAGE_cache_write_tokens, 5}, {USAGE_cache_write_1h_tokens, 6}},
		"cache_write_1h_tokens", "exceeds cache_write_tokens (6 > 5)"},
	{{{USAGE_input_tokens, 9}, {USAGE_input_audio_tokens, 4}, {USAGE_input_image_tokens, 4},
		 {USAGE_input_video_tokens, 2}},
		"input_video_tokens", "and the other parts of input_tokens together exceed it (10 > 9)"},
	{{{USAGE_input_tokens, 9}, {USAGE_cache_read_tokens, 5}, {USAGE_input_audio_tokens, 2},
		 {USAGE_cache_read_audio_tokens, 3}},
		"cache_read_audio_tokens", "exceeds input_audio_tokens (3 > 2)"},
	{{{USAGE_input_tokens, 9}, {USAGE_input_audio_tokens, 9}, {USAGE_cache_read_audio_tokens, 3}},
		"cache_read_audio_tokens", "exceeds cache_read_tokens (3 > 0)"},
	{{{USAGE_input_tokens, 9}, {USAGE_cache_read_tokens, 5}, {USAGE_input_audio_tokens, 4},
		 {USAGE_input_image_tokens, 4}, {USAGE_cache_read_audio_tokens, 3},
		 {USAGE_cache_read_image_tokens, 3}},
		"cache_read_image_tokens",
		"and the other parts of cache_read_tokens together exceed it (6 > 5)"},
	{{{USAGE_output_tokens, 9}, {USAGE_reasoning_tokens, 10}}, "reasoning_tokens",
		"exceeds output_tokens (10 > 9)"},
	{{{USAGE_output_tokens, 9}, {USAGE_reasoning_tokens, 5}, {USAGE_citation_tokens, 5}},
		"citation_tokens", "and the other parts of output_tokens together exceed it (10 > 9)"},
	{{{USAGE_output_tokens, 9}, {USAGE_output_audio_tokens, 5}, {USAGE_output_video_tokens, 5}},
		"output_video_tokens", "and the other parts of output_tokens together exceed it (10 > 9)"},
	/* reasoning may be spoken: the two ways to split the output do not exclude each other */
	{{{USAGE_output_tokens, 9}, {USAGE_reasoning_tokens, 9}, {USAGE_output_audio_tokens, 9}}, NULL, NULL},
	{{{USAGE_input_tokens, USAGE_TOKENS_MAX}}, NULL, NULL},
	{{{USAGE_input_tokens, USAGE_TOKENS_MAX + 1}}, "input_tokens", "must be between 0 and 1000000000000"},
	{{{USAGE_output_tokens, -1}}, "output_tokens", "must be between 0 and 1000000000000"},
};

START_TEST(usage_check_counts_that_contradict_are_named)
{
	const struct check_case *const c = &cases[_i];
	struct usage u = {.has_counts = true};
	for (size_t i = 0; i < PAIRS_MAX; i++) {
		if (c->pairs[i].tokens != 0)
			u.counts[c->pairs[i].count] = c->pairs[i].tokens;
	}
	if (c->field == NULL) {
		ck_assert_int_eq(usage_check(&u, &p), ERR_OK);
		return;
	}
	ck_assert_int_eq(usage_check(&u, &p), ERR_VALIDATION);
	ck_assert_str_eq(p.fields[0].field, c->field);
	ck_assert_str_eq(p.fields[0].message, c->message);
}
END_TEST

START_TEST(usage_check_fraction_of_a_page_is_refused)
{
	struct usage u = {0};
	u.units[UNIT_ocr_page] = 1500000;
	ck_assert_int_eq(usage_check(&u, &p), ERR_VALIDATION);
	ck_assert_str_eq(p.fields[0].field, "units.ocr_page");
	ck_assert_str_eq(p.fields[0].message, "must be a whole number");
}
END_TEST

START_TEST(usage_check_fraction_of_a_second_is_fine)
{
	struct usage u = {0};
	u.units[UNIT_input_second] = 12500001;
	ck_assert_int_eq(usage_check(&u, &p), ERR_OK);
}
END_TEST

START_TEST(usage_check_too_many_searches_or_units_are_refused)
{
	struct usage u = {.web_searches = USAGE_SEARCHES_MAX + 1};
	u.units[UNIT_input_second] = UNIT_QUANTITY_MAX + 1;
	ck_assert_int_eq(usage_check(&u, &p), ERR_VALIDATION);
	ck_assert_uint_eq(p.n_fields, 2);
	ck_assert_str_eq(p.fields[0].field, "web_searches");
	ck_assert_str_eq(p.fields[1].field, "units.input_second");
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("usage");
	TCase *const t = tcase_create("usage");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, usage_names_of_counts_and_units_are_those_of_the_contract);
	tcase_add_test(t, usage_unit_fractional_is_true_for_seconds_only);
	tcase_add_test(t, usage_total_adds_the_two_wholes_only);
	tcase_add_test(t, usage_count_parent_cached_audio_is_part_of_both);
	tcase_add_loop_test(
		t, usage_check_counts_that_contradict_are_named, 0, sizeof cases / sizeof cases[0]);
	tcase_add_test(t, usage_check_fraction_of_a_page_is_refused);
	tcase_add_test(t, usage_check_fraction_of_a_second_is_fine);
	tcase_add_test(t, usage_check_too_many_searches_or_units_are_refused);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
