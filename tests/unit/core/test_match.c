/* Match rules, and that the index finds exactly what a scan in file order finds. */
#include "llmlab/core/match.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;

static void setup(void)
{
	arena_init(&arena, (size_t)4 << 20);
}

static void teardown(void)
{
	arena_release(&arena);
}

START_TEST(match_rule_holds_each_kind_asks_its_part_of_the_name)
{
	const struct match_rule equals = {.kind = MATCH_EQUALS, .text = "gpt-4"};
	const struct match_rule prefix = {.kind = MATCH_PREFIX, .text = "gpt-4"};
	const struct match_rule suffix = {.kind = MATCH_SUFFIX, .text = "gpt-4"};
	const struct match_rule contains = {.kind = MATCH_CONTAINS, .text = "gpt-4"};
	ck_assert(match_rule_holds(&equals, "gpt-4") && !match_rule_holds(&equals, "gpt-4o"));
	ck_assert(match_rule_holds(&prefix, "gpt-4o") && !match_rule_holds(&prefix, "x-gpt-4"));
	ck_assert(match_rule_holds(&suffix, "x-gpt-4") && !match_rule_holds(&suffix, "gpt-4o"));
	ck_assert(!match_rule_holds(&suffix, "pt-4"));
	ck_assert(match_rule_holds(&contains, "x-gpt-4o") && !match_rule_holds(&contains, "gpt-3"));
}
END_TEST

START_TEST(match_rule_holds_regex_searches)
{
	regex_t regex;
	ck_assert_int_eq(regcomp(&regex, "^o[134]", REG_EXTENDED | REG_NOSUB), 0);
	const struct match_rule rule = {.kind = MATCH_REGEX, .text = "^o[134]", .regex = &regex};
	ck_assert(match_rule_holds(&rule, "o3-mini"));
	ck_assert(!match_rule_holds(&rule, "o2-mini"));
	ck_assert(!match_rule_holds(&rule, "co3"));
	regfree(&regex);
}
END_TEST

START_TEST(match_rule_holds_all_and_any_combine)
{
	const struct match_rule parts[] = {
		{.kind = MATCH_CONTAINS, .text = "huggingface"}, {.kind = MATCH_CONTAINS, .text = "groq"}};
	const struct match_rule all = {.kind = MATCH_ALL, .rules = parts, .n_rules = 2};
	const struct match_rule any = {.kind = MATCH_ANY, .rules = parts, .n_rules = 2};
	ck_assert(match_rule_holds(&all, "huggingface/groq") && !match_rule_holds(&all, "groq"));
	ck_assert(match_rule_holds(&any, "groq") && !match_rule_holds(&any, "together"));
}
END_TEST

#define RECORDS 60
#define RULES	3

/* A small deterministic generator, so that a failure can be repeated. */
static unsigned next_random(unsigned *state)
{
	*state = *state * 1103515245U + 12345U;
	return *state >> 16;
}

/* Short texts over two letters, so that rules overlap all the time. */
static char *random_text(unsigned *state, size_t max)
{
	const size_t n = 1 + next_random(state) % max;
	char *const text = arena_alloc(&arena, n + 1);
	for (size_t i = 0; i < n; i++)
		text[i] = next_random(state) % 2 == 0 ? 'a' : 'b';
	return text;
}

static struct match_rule random_rule(unsigned *state)
{
	static const enum match_kind kinds[] = {
		MATCH_EQUALS, MATCH_EQUALS, MATCH_EQUALS, MATCH_PREFIX, MATCH_SUFFIX, MATCH_CONTAINS};
	struct match_rule r = {.kind = kinds[next_random(state) % 6]};
	r.text = random_text(state, r.kind == MATCH_EQUALS ? 6 : 7);
	return r;
}

START_TEST(price_index_find_random_rules_find_what_a_scan_finds)
{
	unsigned state = 42U + (unsigned)_i;
	struct price_record records[RECORDS] = {0};
	struct match_rule rules[RECORDS][RULES];
	for (size_t i = 0; i < RECORDS; i++) {
		records[i].match = rules[i];
		records[i].n_match = 1 + next_random(&state) % RULES;
		for (size_t k = 0; k < RULES; k++)
			rules[i][k] = random_rule(&state);
	}
	const struct price_index *const index = price_index_build(records, RECORDS, &arena);
	ck_assert_ptr_nonnull(index);
	for (int round = 0; round < 300; round++) {
		const char *const name = random_text(&state, 8);
		const struct match_rule *rule = NULL;
		size_t first = 0;
		while (first < RECORDS && rule == NULL) {
			rule = match_first(records[first].match, records[first].n_match, name);
			first += rule == NULL;
		}
		enum match_kind kind = MATCH_ANY;
		const struct price_record *const found = price_index_find(index, name, &kind);
		ck_assert_ptr_eq(found, rule == NULL ? NULL : &records[first]);
		ck_assert_int_eq(kind, rule == NULL ? MATCH_ANY : rule->kind);
	}
}
END_TEST

START_TEST(price_index_find_no_records_find_nothing)
{
	enum match_kind kind = MATCH_ANY;
	ck_assert_ptr_null(price_index_find(price_index_build(NULL, 0, &arena), "gpt-4", &kind));
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("match");
	TCase *const t = tcase_create("match");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, match_rule_holds_each_kind_asks_its_part_of_the_name);
	tcase_add_test(t, match_rule_holds_regex_searches);
	tcase_add_test(t, match_rule_holds_all_and_any_combine);
	tcase_add_loop_test(t, price_index_find_random_rules_find_what_a_scan_finds, 0, 20);
	tcase_add_test(t, price_index_find_no_records_find_nothing);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
