/* Advice without memory: matching a model against a rule takes some (glibc's regexec), and a model that could
 * not be looked at is not an unknown one. So an answer is the one that there is with memory, or none. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "fail.h"
#include "llmlab/core/rules.h"
#include "llmlab/core/simulation.h"
#include "llmlab/core/switching.h"
#include "llmlab/providers/catalogue_load.h"

#define NOW_US 1787479200000000LL /* 2026-08-23T10:00:00Z */
/* Both are found by expressions. */
#define MODEL	 "gpt-5.6-sol-2026-07-01"
#define TO_MODEL "gpt-5.6-luna-2026-07-01"

static struct catalogue *loaded;
static struct catalogue plain;
static const struct catalogue *const catalogue = &plain;
static struct arena arena;
static struct problem problem;
static const struct model_usage usage = {.provider = "openai",
	.model = MODEL,
	.calls = 1000,
	.input_tokens = 2000000,
	.output_tokens = 500000,
	.cost = {(int128)35 * 1000000000000000000}};

/* What came out, as one number to compare. */
typedef enum err advice(int128 *ret);

static enum err simulate(int128 *ret)
{
	const struct simulation_change change = {
		.model = MODEL, .to_model = TO_MODEL, .share = SIMULATION_SHARE_WHOLE};
	const struct simulation_input in = {.catalogue = catalogue,
		.models = &usage,
		.n_models = 1,
		.changes = &change,
		.n_changes = 1,
		.at_us = NOW_US};
	struct simulation s;
	const enum err e = simulation_run(&in, &arena, &s, &problem);
	if (e == ERR_OK)
		*ret = s.simulated.expected;
	return e;
}

static enum err advise(int128 *ret)
{
	const struct rules_input in = {
		.catalogue = catalogue, .models = &usage, .n_models = 1, .now_us = NOW_US, .period_days = 30};
	struct optimization *rows;
	size_t n;
	struct money total;
	const enum err e = rules_run(&in, &arena, &rows, &n, &total);
	if (e == ERR_OK)
		*ret = total.atto + (int128)n;
	return e;
}

static enum err find_switches(int128 *ret)
{
	const struct switching_input in = {
		.catalogue = catalogue, .models = &usage, .n_models = 1, .now_us = NOW_US, .period_days = 30};
	struct switching *rows;
	size_t n;
	struct money total;
	const enum err e = switching_find(&in, &arena, &rows, &n, &total);
	if (e == ERR_OK)
		*ret = total.atto + (int128)n;
	return e;
}

static advice *const ALL[] = {simulate, advise, find_switches};
#define N_ADVICE (sizeof ALL / sizeof ALL[0])

static void begin(void)
{
	arena_init(&arena, (size_t)16 << 20);
	problem_init(&problem, &arena);
}

static void end(void)
{
	arena_release(&arena);
}

/* A catalogue that remembers no search. */
static void load(void)
{
	begin();
	ck_assert_int_eq(catalogue_load(NULL, &loaded, &problem), ERR_OK);
	plain = *loaded;
	plain.memo = NULL;
	end();
}

static void unload(void)
{
	catalogue_free(loaded);
}

START_TEST(advice_without_memory_is_the_same_or_none)
{
	int128 expected = 0;
	begin();
	ck_assert_int_eq(ALL[_i](&expected), ERR_OK);
	ck_assert(expected > 0);
	end();
	long refused = 0;
	bool failed = true;
	for (long n = 1; failed; n = fail_next(n)) {
		int128 got = 0;
		begin();
		fail_arm(FAIL_MEMORY, n, false);
		const enum err e = ALL[_i](&got);
		failed = fail_disarm();
		must_be(e == ERR_OK || e == ERR_NO_MEMORY, err_code(e));
		must(e != ERR_OK || got == expected);
		refused += e == ERR_NO_MEMORY;
		end();
	}
	ck_assert_int_gt(refused, 0);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("fail_advice");
	TCase *const tc = tcase_create("advice");
	tcase_add_checked_fixture(tc, load, unload);
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, advice_without_memory_is_the_same_or_none, 0, N_ADVICE);
	suite_add_tcase(suite, tc);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
