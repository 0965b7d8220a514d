/* Recommendations: a golden test for each rule, and the property that nothing is counted twice. */

#include "rules_fixture.h"

static struct optimization *found;
static size_t n_found;
static struct money total;

static void run_full(const struct model_usage *models, size_t n, bool has_budget, int32_t days)
{
	const struct rules_input in = {.catalogue = &catalogue,
		.models = models,
		.n_models = n,
		.has_budget = has_budget,
		.now_us = NOW_US,
		.period_days = days};
	ck_assert_int_eq(rules_run(&in, &arena, &found, &n_found, &total), ERR_OK);
}

static void run(const struct model_usage *models, size_t n)
{
	run_full(models, n, true, 30);
}

static const struct optimization *find_type(const char *type)
{
	for (size_t i = 0; i < n_found; i++)
		if (strcmp(found[i].type, type) == 0)
			return &found[i];
	return NULL;
}

static const struct evidence *evidence(const struct optimization *o, const char *key)
{
	for (size_t i = 0; i < o->n_evidence; i++)
		if (strcmp(o->evidence[i].key, key) == 0)
			return &o->evidence[i];
	ck_abort_msg("no evidence %s", key);
	return NULL;
}

/* 1,000 calls of 2,000 input and 500 output tokens. */
static struct model_usage thousand(const char *model, int cost_usd)
{
	return (struct model_usage){.provider = "p",
		.model = model,
		.calls = 1000,
		.input_tokens = 2000000,
		.output_tokens = 500000,
		.cost = MONEY(cost_usd)};
}

/* big-2: 35 for a thousand() ; mid-3: 4. gone-1 is deprecated, late-1 retires in 30 days, fine-1 in 91. */
static const struct test_record MODELS[] = {
	{"big-2", "flagship", "gpt", USD(10), USD(30), 0, 128000, false, 0},
	{"mid-3", "mid", "gpt-m", USD(1), USD(4), USD(0.1), 128000, false, 0},
	{"gone-1", NULL, NULL, USD(1), USD(4), 0, 0, true, 0},
	{"late-1", NULL, NULL, USD(1), USD(4), 0, 0, false, TODAY + 30},
	{"fine-1", NULL, NULL, USD(1), USD(4), 0, 0, false, TODAY + 91},
};

static void setup(void)
{
	make_catalogue(MODELS, 5);
}

START_TEST(rule_model_switching_golden)
{
	/* 35 - 4 = 31 saved, more than half of 35: high */
	const struct model_usage u = thousand("big-2", 35);
	run(&u, 1);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_str_eq(found[0].type, "model_switching");
	ck_assert_str_eq(found[0].title, "Use mid-3 instead of big-2");
	ck_assert_str_eq(money_text(found[0].potential_savings), "31");
	ck_assert_int_eq(found[0].priority, PRIORITY_HIGH);
	ck_assert_str_eq(found[0].provider, "p");
	ck_assert_str_eq(found[0].model, "big-2");
	ck_assert_str_eq(evidence(&found[0], "suggested_model")->text, "mid-3");
	ck_assert_int_eq(evidence(&found[0], "calls")->number, 1000);
	ck_assert_str_eq(decimal_text(evidence(&found[0], "current_cost_per_call")->decimal, 12), "0.035");
	ck_assert_str_eq(decimal_text(evidence(&found[0], "suggested_cost_per_call")->decimal, 12), "0.004");
	ck_assert(found[0].counted);
	ck_assert_str_eq(money_text(total), "31");
}
END_TEST

START_TEST(rule_error_spend_golden)
{
	/* 50 of 1,000 calls failed (5 %: medium) and cost 2; 60 days, so 1 a month */
	struct model_usage u = thousand("unknown", 40);
	u.errors = 50;
	u.error_cost = MONEY(2);
	run_full(&u, 1, true, 60);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_str_eq(found[0].type, "error_spend");
	ck_assert_str_eq(money_text(found[0].potential_savings), "1");
	ck_assert_int_eq(found[0].priority, PRIORITY_MEDIUM);
	ck_assert_int_eq(evidence(&found[0], "errors")->number, 50);
	ck_assert_str_eq(decimal_text(evidence(&found[0], "error_cost")->decimal, MONEY_SCALE), "2");
	ck_assert_str_eq(money_text(total), "1");
}
END_TEST

START_TEST(rule_error_spend_few_or_free_failures_are_silent)
{
	struct model_usage u[] = {thousand("a", 40), thousand("b", 40), thousand("c", 40)};
	u[0].errors = 4; /* fewer than 5 */
	u[0].error_cost = MONEY(1);
	u[1].errors = 9; /* of 1,000: below one in a hundred */
	u[1].error_cost = MONEY(1);
	u[2].errors = 500; /* but they cost nothing */
	run(u, 3);
	ck_assert_int_eq((int)n_found, 0);
}
END_TEST

START_TEST(rule_deprecated_model_golden)
{
	const struct model_usage u[] = {thousand("gone-1", 4), thousand("late-1", 4), thousand("fine-1", 4)};
	run(u, 3);
	ck_assert_int_eq((int)n_found, 2);
	/* more urgent first: TODAY + 30 = day 20530 = 2026-03-18 */
	ck_assert_str_eq(found[0].type, "deprecated_model");
	ck_assert_str_eq(found[0].model, "late-1");
	ck_assert_int_eq(found[0].priority, PRIORITY_HIGH);
	ck_assert_str_eq(evidence(&found[0], "retires")->text, "2026-03-18");
	ck_assert_str_eq(found[1].model, "gone-1");
	ck_assert_int_eq(found[1].priority, PRIORITY_MEDIUM);
	ck_assert_str_eq(money_text(total), "0");
	ck_assert(!found[0].counted);
}
END_TEST

START_TEST(rule_unpriced_models_golden)
{
	struct model_usage u = thousand("nobody-knows", 0);
	u.unpriced_calls = 7;
	run(&u, 1);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_str_eq(found[0].type, "unpriced_models");
	ck_assert_str_eq(found[0].title, "nobody-knows has no price");
	ck_assert_int_eq(found[0].priority, PRIORITY_HIGH);
	ck_assert_int_eq(evidence(&found[0], "unpriced_calls")->number, 7);
	ck_assert_str_eq(money_text(found[0].potential_savings), "0");
}
END_TEST

START_TEST(rule_prompt_caching_golden)
{
	const struct model_usage u = thousand("mid-3", 4);
	run(&u, 1);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_str_eq(found[0].type, "prompt_caching");
	/* what it saves is not known, so nothing is claimed */
	ck_assert_str_eq(money_text(found[0].potential_savings), "0");
	ck_assert_int_eq(evidence(&found[0], "average_input_tokens")->number, 2000);
	ck_assert_str_eq(decimal_text(evidence(&found[0], "input_per_million")->decimal, PRICE_SCALE), "1");
	ck_assert_str_eq(
		decimal_text(evidence(&found[0], "cache_read_per_million")->decimal, PRICE_SCALE), "0.1");
}
END_TEST

START_TEST(rule_prompt_caching_used_short_few_or_cheap_is_silent)
{
	struct model_usage u[] = {
		thousand("mid-3", 4), thousand("mid-3", 4), thousand("mid-3", 4), thousand("mid-3", 0)};
	u[0].cache_read_tokens = 1;
	u[1].input_tokens = 1023 * 1000;
	u[2].calls = 99;
	u[3].cost.atto = MONEY(1).atto - 1;
	run(u, 4);
	ck_assert_ptr_null(find_type("prompt_caching"));
}
END_TEST

START_TEST(rule_no_budget_golden)
{
	const struct model_usage u[] = {thousand("a", 3), thousand("b", 4)};
	run_full(u, 2, false, 30);
	ck_assert_int_eq((int)n_found, 1);
	ck_assert_str_eq(found[0].type, "no_budget");
	ck_assert_ptr_null(found[0].provider);
	ck_assert_str_eq(decimal_text(evidence(&found[0], "cost")->decimal, MONEY_SCALE), "7");
	run_full(u, 2, true, 30);
	ck_assert_int_eq((int)n_found, 0);
	run_full(u, 0, false, 30);
	ck_assert_int_eq((int)n_found, 0);
}
END_TEST

START_TEST(rules_run_overlapping_savings_count_once)
{
	/* big-2 at 35: switching saves 31, its failed calls cost 20: only 31 counts */
	struct model_usage u = thousand("big-2", 35);
	u.errors = 500;
	u.error_cost = MONEY(20);
	run(&u, 1);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert_str_eq(found[0].type, "model_switching");
	ck_assert(found[0].counted);
	ck_assert_str_eq(found[1].type, "error_spend");
	ck_assert(!found[1].counted);
	ck_assert_str_eq(money_text(total), "31");
}
END_TEST

START_TEST(rules_run_ids_are_stable_and_distinct)
{
	struct model_usage u[] = {thousand("big-2", 35), thousand("gone-1", 4), thousand("x", 0)};
	u[2].unpriced_calls = 5;
	run_full(u, 3, false, 30);
	const size_t n = n_found;
	const struct optimization *first = found;
	ck_assert_int_ge((int)n, 4);
	for (size_t i = 0; i < n; i++)
		for (size_t j = i + 1; j < n; j++)
			ck_assert_str_ne(first[i].id, first[j].id);
	/* other numbers, same subjects: same ids */
	u[1].cost = MONEY(5);
	run_full(u, 3, false, 30);
	ck_assert_int_eq((int)n_found, (int)n);
	for (size_t i = 0; i < n; i++)
		ck_assert_str_eq(first[i].id, found[i].id);
	/* the id of a type and subject never changes: FNV-1a of 01 "no_budget" 00 02 00 02 00, worked out
	 * apart */
	ck_assert_str_eq(find_type("no_budget")->id, "d5a9f04e5e12286f");
}
END_TEST

START_TEST(rules_run_many_findings_are_all_kept)
{
	static struct model_usage u[100];
	for (int i = 0; i < 100; i++) {
		u[i] = thousand(arena_printf(&arena, "m%d", i), 0);
		u[i].unpriced_calls = 1;
	}
	run(u, 100);
	ck_assert_int_eq((int)n_found, 100);
}
END_TEST

START_TEST(rules_run_without_memory_says_so)
{
	const struct model_usage u = thousand("big-2", 35);
	const struct rules_input in = {
		.catalogue = &catalogue, .models = &u, .n_models = 1, .now_us = NOW_US, .period_days = 30};
	for (size_t bytes = 16; bytes <= 4096; bytes *= 2) {
		struct arena tiny;
		arena_init(&tiny, bytes);
		ck_assert_int_eq(rules_run(&in, &tiny, &found, &n_found, &total), ERR_NO_MEMORY);
		arena_release(&tiny);
	}
}
END_TEST

START_TEST(rules_run_any_usage_total_is_the_counted_sum_and_below_the_spend)
{
	/* Property, over 500 random accounts: the total is the sum of what is counted, at most one per model
	 * is counted, and neither any of them nor the total is above what was spent. */
	srand(7);
	for (int round = 0; round < 500; round++) {
		struct model_usage u[5];
		int128 spend = 0;
		for (int i = 0; i < 5; i++) {
			u[i] = (struct model_usage){
				.provider = "p", .model = MODELS[i].model, .calls = 1 + rand() % 2000};
			u[i].input_tokens = rand() % 100000000;
			u[i].output_tokens = rand() % 10000000;
			u[i].cache_read_tokens = u[i].input_tokens / (1 + rand() % 9) * (rand() % 2);
			u[i].reasoning_tokens = u[i].output_tokens / (1 + rand() % 9);
			u[i].errors = rand() % 2 * (u[i].calls / 3);
			u[i].unpriced_calls = rand() % 8 == 0 ? 1 : 0;
			u[i].cost.atto = (int128)rand() * rand() * rand();
			u[i].error_cost.atto = u[i].errors > 0 ? u[i].cost.atto / (1 + rand() % 5) : 0;
			spend += u[i].cost.atto;
		}
		run_full(u, 5, rand() % 2, 1 + rand() % 90);
		int128 sum = 0;
		int counted[5] = {0};
		for (size_t i = 0; i < n_found; i++) {
			if (!found[i].counted)
				continue;
			sum += found[i].potential_savings.atto;
			for (int m = 0; m < 5; m++) {
				if (strcmp(found[i].model, u[m].model) != 0)
					continue;
				counted[m]++;
				ck_assert(found[i].potential_savings.atto <= u[m].cost.atto);
			}
		}
		ck_assert(sum == total.atto);
		ck_assert(total.atto <= spend);
		for (int m = 0; m < 5; m++)
			ck_assert_int_le(counted[m], 1);
	}
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("rules");
	tcase_add_test(t, rule_model_switching_golden);
	tcase_add_test(t, rule_error_spend_golden);
	tcase_add_test(t, rule_error_spend_few_or_free_failures_are_silent);
	tcase_add_test(t, rule_deprecated_model_golden);
	tcase_add_test(t, rule_unpriced_models_golden);
	tcase_add_test(t, rule_prompt_caching_golden);
	tcase_add_test(t, rule_prompt_caching_used_short_few_or_cheap_is_silent);
	tcase_add_test(t, rule_no_budget_golden);
	tcase_add_test(t, rules_run_overlapping_savings_count_once);
	tcase_add_test(t, rules_run_ids_are_stable_and_distinct);
	tcase_add_test(t, rules_run_many_findings_are_all_kept);
	tcase_add_test(t, rules_run_without_memory_says_so);
	tcase_add_test(t, rules_run_any_usage_total_is_the_counted_sum_and_below_the_spend);
	return run_core_tests(suite_create("rules"), t, setup);
}
