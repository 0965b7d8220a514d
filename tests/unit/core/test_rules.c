/* Recommendations: a golden test for each rule, and the property that nothing is counted twice. */

#include "rules_fixture.h"

static struct optimization *found;
static size_t n_found;
static struct money total;

/* What a test adds to the sums; zeroed before each. */
static struct sampled_call sample[300];
static size_t n_sample;
static struct waiting_usage waiting[5];
static size_t n_waiting;
static struct dismissed dismissed;

static void run_full(const struct model_usage *models, size_t n, bool has_budget, int32_t days)
{
	const struct rules_input in = {.catalogue = &catalogue,
		.models = models,
		.n_models = n,
		.sample = sample,
		.n_sample = n_sample,
		.waiting = waiting,
		.n_waiting = n_waiting,
		.dismissed = dismissed,
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

/* The same where it must be there. */
static const struct optimization *the(const char *type)
{
	const struct optimization *o = find_type(type);
	if (!o) {
		ck_abort_msg("no %s", type);
		abort();
	}
	return o;
}

static const struct evidence *evidence(const struct optimization *o, const char *key)
{
	for (size_t i = 0; i < o->n_evidence; i++)
		if (strcmp(o->evidence[i].key, key) == 0)
			return &o->evidence[i];
	ck_abort_msg("no evidence %s", key);
	abort();
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
	n_sample = 0;
	n_waiting = 0;
	dismissed = (struct dismissed){.n = 0};
}

enum { BIG_2, MID_3 }; /* their records */

/* A call of mid-3 at 1 and 4 USD a million, 12 seconds after the one before. */
static struct sampled_call *add_call(int64_t input, int64_t output)
{
	struct sampled_call *call = &sample[n_sample++];
	ck_assert(n_sample <= sizeof(sample) / sizeof(sample[0]));
	*call = (struct sampled_call){.provider = "p",
		.model = "mid-3",
		.at_us = NOW_US - DAY_US + (int64_t)n_sample * 12000000,
		.hour = 12,
		.mix = {.calls = 1, .input = input, .output = output},
		.priced = true,
		.cost = {(input * 1 + output * 4) * (int128)1000000000000},
		.standard = true};
	return call;
}

static struct price_tier batch_tier;
static void add_batch(int record, int64_t input, int64_t output)
{
	no_prices(&batch_tier, -1);
	batch_tier.per_million[CATEGORY_input] = input;
	batch_tier.per_million[CATEGORY_output] = output;
	periods[record].service[TIER_BATCH] = (struct price_set){&batch_tier, 1};
}

/* mid-3 costs double above 1,000 input tokens. */
static void add_step(void)
{
	static struct price_tier steps[2];
	steps[0] = tiers[MID_3];
	no_prices(&steps[1], 1000);
	steps[1].per_million[CATEGORY_input] = USD(2);
	steps[1].per_million[CATEGORY_output] = USD(8);
	periods[MID_3].standard = (struct price_set){steps, 2};
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

START_TEST(rule_prompt_caching_repeats_of_the_sample_are_claimed)
{
	/* Calls of 2,000 in and 500 out at 0.004 each; the second and the third come within five minutes of
	 * one of the same size, the fourth ten minutes later: 2 x 2,000 x (1 - 0.1) / 10^6 = 0.0036 of 0.016.
	 * Of 4 USD that is 0.9. */
	for (int i = 0; i < 4; i++)
		add_call(2000, 500)->at_us += i == 3 ? 600000000 : 0;
	const struct model_usage u = thousand("mid-3", 4);
	run(&u, 1);
	ck_assert_str_eq(money_text(the("prompt_caching")->potential_savings), "0.9");
	ck_assert_int_eq(evidence(the("prompt_caching"), "sample_repeats")->number, 2);
	ck_assert_int_eq(evidence(the("prompt_caching"), "sample_calls")->number, 4);
	/* 4 of 1,000 */
	ck_assert_str_eq(decimal_text(evidence(the("prompt_caching"), "sample_share")->decimal, 6), "0.004");
	/* Writes at 1.25: the two that do not repeat cost 2 x 2,000 x 0.25 / 10^6 = 0.001 more: 0.0026 of
	 * 0.016 of 4 = 0.65; a write pays off with the first read, 1.25 + 0.1 < 2 */
	tiers[MID_3].per_million[CATEGORY_cache_write] = USD(1.25);
	run(&u, 1);
	ck_assert_str_eq(money_text(the("prompt_caching")->potential_savings), "0.65");
	ck_assert_int_eq(evidence(the("prompt_caching"), "reads_per_write_to_break_even")->number, 1);
	/* at 3.7, 2.7 more than input: after exactly three reads 3.7 + 0.3 = 4 is as much as 4, so four */
	tiers[MID_3].per_million[CATEGORY_cache_write] = USD(3.7);
	run(&u, 1);
	ck_assert_str_eq(money_text(the("prompt_caching")->potential_savings), "0");
	ck_assert_int_eq(evidence(the("prompt_caching"), "reads_per_write_to_break_even")->number, 4);
}
END_TEST

START_TEST(rule_batch_tier_golden)
{
	/* 100 calls that can wait: 0.2 M in and 0.05 M out: 0.2 x 10 + 0.05 x 30 = 3.5, as a batch 1.75 */
	add_batch(BIG_2, USD(5), USD(15));
	waiting[n_waiting++] = (struct waiting_usage){.provider = "p",
		.model = "big-2",
		.mix = {.calls = 100, .input = 200000, .output = 50000},
		.standard_cost = {MONEY(35).atto / 10},
		.example = "tag env=batch"};
	const struct model_usage u = thousand("big-2", 35);
	run(&u, 1);
	const struct optimization *o = the("batch_tier");
	ck_assert_str_eq(money_text(o->potential_savings), "1.75");
	ck_assert_str_eq(evidence(o, "example")->text, "tag env=batch");
	ck_assert_int_eq(evidence(o, "calls")->number, 100);
	ck_assert(!o->counted); /* switching saves 31 of the same money */
	/* 2 were charged at the standard tier, not 3.5: 1.75 x 2 / 3.5 = 1 */
	waiting[0].standard_cost = MONEY(2);
	run(&u, 1);
	ck_assert_str_eq(money_text(the("batch_tier")->potential_savings), "1");
	/* 7 were charged, searches perhaps: no more than the tokens save */
	waiting[0].standard_cost = MONEY(7);
	run(&u, 1);
	ck_assert_str_eq(money_text(the("batch_tier")->potential_savings), "1.75");
	/* no cheaper than standard, or no such tier */
	add_batch(BIG_2, USD(10), USD(30));
	run(&u, 1);
	ck_assert_ptr_null(find_type("batch_tier"));
	periods[BIG_2].service[TIER_BATCH].n_tiers = 0;
	run(&u, 1);
	ck_assert_ptr_null(find_type("batch_tier"));
}
END_TEST

START_TEST(rule_batch_tier_night_calls_are_a_hint_without_a_saving)
{
	/* 15 of 60 sampled calls are at night, a quarter; 14 are not enough */
	add_batch(MID_3, USD(0.5), USD(2));
	for (int i = 0; i < 60; i++)
		add_call(100 + i, 10)->hour = i < 15 ? i % 6 : 6 + i % 18;
	struct model_usage u = thousand("mid-3", 4);
	u.standard_cost = u.cost;
	run(&u, 1);
	ck_assert_str_eq(money_text(the("batch_tier")->potential_savings), "0");
	ck_assert_int_eq(evidence(the("batch_tier"), "night_calls")->number, 15);
	sample[0].hour = 6;
	run(&u, 1);
	ck_assert_ptr_null(find_type("batch_tier"));
}
END_TEST

START_TEST(rule_unused_cache_writes_golden)
{
	/* 0.8 M written for minutes at 1.25, 0.2 M for an hour at 2, 0.1 M read at 0.1; input is 1:
	 * 0.8 x 0.25 + 0.2 x 1 - 0.1 x 0.9 = 0.31 */
	tiers[MID_3].per_million[CATEGORY_cache_write] = USD(1.25);
	tiers[MID_3].per_million[CATEGORY_cache_write_1h] = USD(2);
	struct model_usage u = thousand("mid-3", 4);
	u.cache_write_tokens = 1000000;
	u.cache_write_1h_tokens = 200000;
	u.cache_read_tokens = 100000;
	run(&u, 1);
	const struct optimization *o = the("unused_cache_writes");
	ck_assert_str_eq(money_text(o->potential_savings), "0.31");
	ck_assert_str_eq(decimal_text(evidence(o, "lost")->decimal, MONEY_SCALE), "0.31");
	/* 0.5 M read: 0.4 - 0.45, it paid off */
	u.cache_read_tokens = 500000;
	run(&u, 1);
	ck_assert_ptr_null(find_type("unused_cache_writes"));
	/* no premium on writes, nothing lost */
	u.cache_read_tokens = 0;
	tiers[MID_3].per_million[CATEGORY_cache_write] = PRICE_NONE;
	tiers[MID_3].per_million[CATEGORY_cache_write_1h] = PRICE_NONE;
	run(&u, 1);
	ck_assert_ptr_null(find_type("unused_cache_writes"));
}
END_TEST

START_TEST(rule_long_context_golden)
{
	/* Above 1,000 in everything costs double. Three calls of 1,050 and 100 out: 0.0029; with 50 less
	 * 0.0014: 0.0015 saved each, 0.0045. One of 1,200 (0.0032) is too far above, one of 900 (0.0013)
	 * below. The sample cost 0.0132: 4 x 45 / 132 = 1.3636... */
	add_step();
	for (int i = 0; i < 3; i++)
		add_call(1050, 100)->cost.atto = 2900 * (int128)1000000000000;
	add_call(1200, 100)->cost.atto = 3200 * (int128)1000000000000;
	add_call(900, 100);
	const struct model_usage u = thousand("mid-3", 4);
	run(&u, 1);
	const struct optimization *o = the("long_context");
	ck_assert_str_eq(money_text(o->potential_savings), "1.363636363636363636");
	ck_assert_int_eq(evidence(o, "sample_calls_just_above")->number, 3);
	ck_assert_int_eq(evidence(o, "step_input_tokens")->number, 1000);
	ck_assert_str_eq(decimal_text(evidence(o, "sample_savings")->decimal, MONEY_SCALE), "0.0045");
	/* cached input can't be left out: one less than three is silent */
	sample[0].mix.cache_read = 1001;
	run(&u, 1);
	ck_assert_ptr_null(find_type("long_context"));
}
END_TEST

START_TEST(rule_output_outliers_golden)
{
	/* 58 answers of 100 and 2 of 5,000 tokens; ten times the median is 1,000: 2 x 4,000 x 4 / 10^6 =
	 * 0.032. Input 1,000 each: 58 x 0.0014 + 2 x 0.021 = 0.1232. 4 x 32 / 123.2 = 1.0389... */
	for (int i = 0; i < 60; i++)
		add_call(1000, i < 2 ? 5000 : 100);
	const struct model_usage u = thousand("mid-3", 4);
	run(&u, 1);
	const struct optimization *o = the("output_outliers");
	ck_assert_str_eq(money_text(o->potential_savings), "1.038961038961038961");
	ck_assert_int_eq(evidence(o, "median_output_tokens")->number, 100);
	ck_assert_int_eq(evidence(o, "limit_output_tokens")->number, 1000);
	ck_assert_int_eq(evidence(o, "longest_output_tokens")->number, 5000);
	ck_assert_int_eq(evidence(o, "sample_outliers")->number, 2);
	/* four of sixty are another kind of call; one may be chance */
	sample[2].mix.output = sample[3].mix.output = 5000;
	run(&u, 1);
	ck_assert_ptr_null(find_type("output_outliers"));
	sample[1].mix.output = sample[2].mix.output = sample[3].mix.output = 100;
	run(&u, 1);
	ck_assert_ptr_null(find_type("output_outliers"));
}
END_TEST

START_TEST(rules_run_dismissed_does_not_count_and_the_next_does)
{
	/* as in overlapping_savings: 31 by switching, 20 by errors */
	struct model_usage u = thousand("big-2", 35);
	u.errors = 500;
	u.error_cost = MONEY(20);
	run(&u, 1);
	const char *const ids[] = {arena_strdup(&arena, the("model_switching")->id)};
	dismissed = (struct dismissed){ids, 1};
	run(&u, 1);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert(the("model_switching")->dismissed && !the("model_switching")->counted);
	ck_assert(the("error_spend")->counted && !the("error_spend")->dismissed);
	ck_assert_str_eq(money_text(total), "20");
}
END_TEST

START_TEST(rule_prompt_caching_used_short_few_or_cheap_is_silent)
{
	struct model_usage u[] = {
		thousand("mid-3", 4), thousand("mid-3", 4), thousand("mid-3", 4), thousand("mid-3", 0)};
	u[0].cache_read_tokens = u[0].input_tokens / 10;
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
	ck_assert_str_eq(the("no_budget")->id, "d5a9f04e5e12286f");
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

static int128 random_money(void)
{
	/* some USD, or 10^10 */
	return (int128)rand() * rand() * (rand() % 2 ? rand() : 10);
}

/* An account of five models with everything that rules look at. */
static void random_account(struct model_usage u[5])
{
	n_sample = 0;
	n_waiting = 0;
	for (int i = 0; i < 5; i++) {
		u[i] = (struct model_usage){
			.provider = "p", .model = MODELS[i].model, .calls = 1 + rand() % 2000};
		u[i].input_tokens = rand() % 100000000;
		u[i].output_tokens = rand() % 10000000;
		u[i].cache_read_tokens = u[i].input_tokens / (2 + rand() % 9) * (rand() % 2);
		u[i].cache_write_tokens = u[i].input_tokens / (2 + rand() % 9) * (rand() % 2);
		u[i].cache_write_1h_tokens = u[i].cache_write_tokens / (1 + rand() % 9);
		u[i].reasoning_tokens = u[i].output_tokens / (1 + rand() % 9);
		u[i].errors = rand() % 2 * (u[i].calls / 3);
		u[i].unpriced_calls = rand() % 8 == 0 ? 1 : 0;
		u[i].cost.atto = random_money();
		u[i].standard_cost.atto = u[i].cost.atto / (1 + rand() % 3);
		u[i].error_cost.atto = u[i].errors > 0 ? u[i].cost.atto / (1 + rand() % 5) : 0;
		if (rand() % 2)
			waiting[n_waiting++] = (struct waiting_usage){.provider = "p",
				.model = u[i].model,
				.mix = model_usage_mix(&u[i]),
				.standard_cost = u[i].standard_cost,
				.example = "tag env=batch"};
		for (int k = rand() % 60; k > 0; k--) {
			struct sampled_call *call =
				add_call(rand() % 3 * 500 + 1010, rand() % 40 ? 10 : 9000);
			call->model = u[i].model;
			call->hour = rand() % 24;
			call->priced = rand() % 9 > 0;
			call->cost.atto = call->priced ? random_money() : 0;
		}
	}
}

static void shuffle(void *rows, size_t n, size_t size)
{
	char *const bytes = rows;
	char kept[sizeof(struct sampled_call) + sizeof(struct model_usage)];
	for (size_t i = n; i > 1; i--) {
		const size_t k = (size_t)rand() % i;
		memcpy(kept, bytes + k * size, size);
		memcpy(bytes + k * size, bytes + (i - 1) * size, size);
		memcpy(bytes + (i - 1) * size, kept, size);
	}
}

static void assert_honest(const struct model_usage u[5])
{
	int128 sum = 0;
	int128 spend = 0;
	for (int m = 0; m < 5; m++) {
		int counted = 0;
		spend += u[m].cost.atto;
		for (size_t i = 0; i < n_found; i++) {
			if (!found[i].model || strcmp(found[i].model, u[m].model) != 0)
				continue;
			ck_assert(found[i].potential_savings.atto >= 0);
			ck_assert(found[i].potential_savings.atto <= u[m].cost.atto);
			counted += found[i].counted;
			sum += found[i].counted ? found[i].potential_savings.atto : 0;
		}
		ck_assert_int_le(counted, 1);
	}
	ck_assert(total.atto == sum && sum <= spend);
}

START_TEST(rules_run_any_account_counts_once_and_never_above_the_spend)
{
	/* Property, over 500 random accounts: no saving is below 0 or above what its model cost, at most one
	 * a model is counted, the total is their sum and at most the spend, and the order of the input does
	 * not matter. */
	size_t found_of[16] = {0};
	srand(7);
	add_step();
	add_batch(BIG_2, USD(5), USD(15));
	periods[MID_3].service[TIER_BATCH] = periods[BIG_2].service[TIER_BATCH];
	tiers[BIG_2].per_million[CATEGORY_cache_write] = USD(12.5);
	tiers[BIG_2].per_million[CATEGORY_cache_read] = USD(1);
	for (int round = 0; round < 500; round++) {
		struct model_usage u[5];
		random_account(u);
		const bool budget = rand() % 2;
		const int days = 1 + rand() % 90;
		run_full(u, 5, budget, days);
		assert_honest(u);
		const struct optimization *first = found;
		const size_t n_first = n_found;
		const struct money first_total = total;
		shuffle(u, 5, sizeof(u[0]));
		shuffle(sample, n_sample, sizeof(sample[0]));
		shuffle(waiting, n_waiting, sizeof(waiting[0]));
		run_full(u, 5, budget, days);
		ck_assert_uint_eq(n_found, n_first);
		ck_assert(total.atto == first_total.atto);
		for (size_t i = 0; i < n_found; i++) {
			ck_assert_str_eq(found[i].id, first[i].id);
			ck_assert(found[i].potential_savings.atto == first[i].potential_savings.atto);
			ck_assert(found[i].counted == first[i].counted);
			for (size_t k = 0; k < rules_count(); k++)
				found_of[k] += strcmp(rules_type(k), found[i].type) == 0;
		}
		arena_release(&arena);
		test_begin();
		provider.index = price_index_build(records, 5, &arena);
	}
	for (size_t k = 0; k < rules_count(); k++)
		ck_assert_msg(found_of[k] > 0, "%s was never met", rules_type(k));
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
	tcase_add_test(t, rules_run_any_account_counts_once_and_never_above_the_spend);
	tcase_add_test(t, rule_prompt_caching_repeats_of_the_sample_are_claimed);
	tcase_add_test(t, rule_batch_tier_golden);
	tcase_add_test(t, rule_batch_tier_night_calls_are_a_hint_without_a_saving);
	tcase_add_test(t, rule_unused_cache_writes_golden);
	tcase_add_test(t, rule_long_context_golden);
	tcase_add_test(t, rule_output_outliers_golden);
	tcase_add_test(t, rules_run_dismissed_does_not_count_and_the_next_does);
	return run_core_tests(suite_create("rules"), t, setup);
}
