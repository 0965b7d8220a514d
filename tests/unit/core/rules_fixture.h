#ifndef LLMLAB_TESTS_RULES_FIXTURE_H
#define LLMLAB_TESTS_RULES_FIXTURE_H

/* A small catalogue by hand for the tests of switching and rules. One provider "p" with one period for ever
 * per record; prices in 10^-9 USD per million tokens are written as USD(x). */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/core/catalogue.h"
#include "llmlab/core/match.h"
#include "llmlab/core/rules.h"
#include "llmlab/core/switching.h"

#define USD(x)	   ((int64_t)((x)*1000000000LL))
#define MONEY(x)   ((struct money){(int128)(x)*1000000000000000000LL})
#define DAY_US	   86400000000LL
#define TODAY	   20500 /* days since 1970 */
#define NOW_US	   (TODAY * DAY_US + 12 * 3600000000LL)
#define RECORD_MAX 12

struct test_record {
	const char *model, *class_, *line;
	int64_t input, output, cache_read; /* 10^-9 USD per million; cache_read 0: none */
	int64_t context_window;
	bool deprecated;
	int32_t retires_day; /* 0: never */
};

static struct arena arena;
static struct catalogue catalogue;
static struct provider provider;
static struct price_record records[RECORD_MAX];
static struct price_period periods[RECORD_MAX];
static struct price_tier tiers[RECORD_MAX];
static struct match_rule rules[RECORD_MAX];
static struct model_retirement retirements[RECORD_MAX];

static inline void no_prices(struct price_tier *t, int64_t above_input_tokens)
{
	t->above_input_tokens = above_input_tokens;
	for (int i = 0; i < PRICE_CATEGORIES; i++)
		t->per_million[i] = PRICE_NONE;
}

static inline void make_record(size_t i, const struct test_record *t)
{
	no_prices(&tiers[i], -1);
	tiers[i].per_million[CATEGORY_input] = t->input;
	tiers[i].per_million[CATEGORY_output] = t->output;
	if (t->cache_read > 0)
		tiers[i].per_million[CATEGORY_cache_read] = t->cache_read;
	periods[i] = (struct price_period){.from_us = INT64_MIN,
		.to_us = INT64_MAX,
		.standard = {&tiers[i], 1},
		.requests_per_thousand = PRICE_NONE,
		.web_searches_per_thousand = PRICE_NONE};
	rules[i] = (struct match_rule){.kind = MATCH_EQUALS, .text = t->model};
	retirements[i] = (struct model_retirement){.model = t->model, .retires_day = t->retires_day};
	records[i] = (struct price_record){.provider = "p",
		.model = t->model,
		.line = t->line,
		.class_ = t->class_,
		.kind = "chat",
		.context_window = t->context_window,
		.deprecated = t->deprecated,
		.match = &rules[i],
		.n_match = 1,
		.periods = &periods[i],
		.n_periods = 1,
		.retirements = &retirements[i],
		.n_retirements = t->retires_day ? 1 : 0,
		.embedded = true};
	for (int u = 0; u < USAGE_UNITS; u++)
		records[i].per_unit[u] = PRICE_NONE;
}

static inline void make_catalogue(const struct test_record *t, size_t n)
{
	ck_assert(n <= RECORD_MAX);
	for (size_t i = 0; i < n; i++)
		make_record(i, &t[i]);
	provider = (struct provider){.id = "p",
		.name = "P",
		.records = records,
		.n_records = n,
		.index = price_index_build(records, n, &arena)};
	ck_assert_ptr_nonnull(provider.index);
	catalogue =
		(struct catalogue){.version = "0123456789abcdef", .providers = &provider, .n_providers = 1};
}

static inline void test_begin(void)
{
	arena_init(&arena, 16 << 20);
}

static inline void test_end(void)
{
	arena_release(&arena);
}

static inline const char *decimal_text(int128 value, int scale)
{
	char text[DECIMAL_TEXT_MAX];
	decimal_format(value, scale, text);
	return arena_strdup(&arena, text);
}

static inline const char *money_text(struct money m)
{
	return decimal_text(m.atto, MONEY_SCALE);
}

/* Runs the suite's one case; setup (may be NULL) goes before each test, when the arena is there. */
static inline int run_core_tests(Suite *suite, TCase *tcase, void (*setup)(void))
{
	tcase_add_checked_fixture(tcase, test_begin, test_end);
	if (setup)
		tcase_add_checked_fixture(tcase, setup, NULL);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
