/* What-if on a catalogue by hand; every amount is worked out in a comment. */

#include "llmlab/core/simulation.h"
#include "rules_fixture.h"

#define WHOLE SIMULATION_SHARE_WHOLE

static struct simulation result;
static struct problem problem;

static const struct test_record MODELS[] = {
	{"big-2", "flagship", "gpt", USD(10), USD(30), 0, 128000, false, 0},
	{"mid-3", "mid", "gpt-m", USD(1), USD(4), USD(0.1), 2000, false, 0},
};

static void setup(void)
{
	make_catalogue(MODELS, 2);
}

/* 1,000 calls of 2,000 input and 500 output tokens: at big-2 35, at mid-3 4. */
static struct model_usage thousand(const char *model, int cost_usd)
{
	return (struct model_usage){.provider = "p",
		.model = model,
		.calls = 1000,
		.input_tokens = 2000000,
		.output_tokens = 500000,
		.cost = MONEY(cost_usd)};
}

static enum err run(
	const struct model_usage *u, size_t n, const struct simulation_change *c, size_t n_changes)
{
	const struct simulation_input in = {.catalogue = &catalogue,
		.models = u,
		.n_models = n,
		.changes = c,
		.n_changes = n_changes,
		.at_us = NOW_US};
	problem_init(&problem, &arena);
	return simulation_run(&in, &arena, &result, &problem);
}

static const char *text(int128 amount)
{
	return decimal_text(amount, SIMULATION_SCALE);
}

static void assert_refused(const struct model_usage *u, struct simulation_change c, const char *field)
{
	ck_assert_int_eq(run(u, 1, &c, 1), ERR_VALIDATION);
	ck_assert_uint_eq(problem.n_fields, 1);
	ck_assert_str_eq(problem.fields[0].field, field);
}

START_TEST(simulation_run_other_model_costs_what_it_lists)
{
	const struct model_usage u[] = {thousand("big-2", 35), thousand("mid-3", 4)};
	const struct simulation_change c = {.model = "BIG-2", .to_model = "mid-3", .share = WHOLE};
	ck_assert_int_eq(run(u, 2, &c, 1), ERR_OK);
	/* 35 becomes 4, the other 4 stays: 39 and 8 */
	ck_assert_str_eq(text(result.actual), "39");
	ck_assert_str_eq(text(result.simulated.expected), "8");
	ck_assert_str_eq(text(result.simulated.least), "8");
	ck_assert_str_eq(text(result.simulated.most), "8");
	ck_assert_uint_eq(result.rows[0].n_targets, 1);
	ck_assert_uint_eq(result.rows[1].n_targets, 0);
	ck_assert_str_eq(result.rows[0].targets[0].provider, "p");
	ck_assert(result.rows[0].targets[0].other_model);
	ck_assert(!result.rows[0].targets[0].fits); /* 2,500 a call, 2,000 fit */
	ck_assert(result.rows[0].has_listed);
	ck_assert_str_eq(money_text(result.rows[0].listed.expected), "35");
}
END_TEST

START_TEST(simulation_run_shares_are_exact)
{
	/* 0.0001 of 34 + 10^-18 USD actual moves to 4: 0.9999 x 34.000000000000000001 + 0.0004 */
	struct model_usage u = thousand("big-2", 34);
	u.cost.atto++;
	const struct simulation_change c = {.model = "big-2", .to_model = "mid-3", .share = 1};
	ck_assert_int_eq(run(&u, 1, &c, 1), ERR_OK);
	ck_assert_str_eq(text(result.rows[0].simulated.expected), "33.9970000000000000009999");
	ck_assert_int_eq(result.rows[0].moved, 1);
}
END_TEST

START_TEST(simulation_run_two_shares_of_one_model_add_up)
{
	/* a quarter to mid-3, half as a batch of itself at 5 and 15 (17.5): 35 / 4 + 4 / 4 + 17.5 / 2 */
	static struct price_tier batch;
	no_prices(&batch, -1);
	batch.per_million[CATEGORY_input] = USD(5);
	batch.per_million[CATEGORY_output] = USD(15);
	periods[0].service[TIER_BATCH] = (struct price_set){&batch, 1};
	const struct model_usage u = thousand("big-2", 35);
	struct simulation_change c[] = {{.model = "big-2", .to_model = "mid-3", .share = WHOLE / 4},
		{.model = "big-2", .has_tier = true, .tier = TIER_BATCH, .share = WHOLE / 2}};
	ck_assert_int_eq(run(&u, 1, c, 2), ERR_OK);
	ck_assert_str_eq(text(result.simulated.expected), "18.5");
	ck_assert(!result.rows[0].targets[1].other_model);
	/* more than the whole is refused at the change that is too much */
	c[1].share = WHOLE / 4 * 3 + 1;
	ck_assert_int_eq(run(&u, 1, c, 2), ERR_VALIDATION);
	ck_assert_str_eq(problem.fields[0].field, "changes[1].share");
}
END_TEST

START_TEST(simulation_run_sizes_give_bounds)
{
	/* mid-3 doubles above 3,000 input tokens: 4 to 8; the average call has 2,000 */
	static struct price_tier steps[2];
	steps[0] = tiers[1];
	no_prices(&steps[1], 3000);
	steps[1].per_million[CATEGORY_input] = USD(2);
	steps[1].per_million[CATEGORY_output] = USD(8);
	periods[1].standard = (struct price_set){steps, 2};
	const struct model_usage u = thousand("big-2", 35);
	const struct simulation_change c = {.model = "big-2", .to_model = "mid-3", .share = WHOLE / 2};
	ck_assert_int_eq(run(&u, 1, &c, 1), ERR_OK);
	ck_assert_str_eq(text(result.simulated.least), "19.5");
	ck_assert_str_eq(text(result.simulated.expected), "19.5");
	ck_assert_str_eq(text(result.simulated.most), "21.5");
	ck_assert(result.rows[0].targets[0].cost.by_size);
}
END_TEST

START_TEST(simulation_run_own_price_of_the_target_is_used)
{
	const struct test_record own = {"mid-3", NULL, NULL, USD(3), USD(6), 0, 0, false, 0};
	make_record(RECORD_MAX - 1, &own);
	const struct price_record *const overrides[] = {&records[RECORD_MAX - 1]};
	const struct model_usage u = thousand("big-2", 35);
	const struct simulation_change c = {.model = "big-2", .to_model = "mid-3", .share = WHOLE};
	const struct simulation_input in = {.catalogue = &catalogue,
		.overrides = overrides,
		.n_overrides = 1,
		.models = &u,
		.n_models = 1,
		.changes = &c,
		.n_changes = 1,
		.at_us = NOW_US};
	problem_init(&problem, &arena);
	ck_assert_int_eq(simulation_run(&in, &arena, &result, &problem), ERR_OK);
	/* 2 x 3 + 0.5 x 6 = 9 */
	ck_assert_str_eq(text(result.simulated.expected), "9");
	ck_assert(result.rows[0].targets[0].own_price);
	ck_assert(!result.rows[0].targets[0].fits); /* the catalogue still knows the window */
}
END_TEST

START_TEST(simulation_run_what_is_not_known_is_named)
{
	const struct model_usage u = thousand("big-2", 35);
	assert_refused(&u, (struct simulation_change){.model = "big-1", .to_model = "mid-3", .share = WHOLE},
		"changes[0].model");
	assert_refused(&u,
		(struct simulation_change){
			.provider = "q", .model = "big-2", .to_model = "mid-3", .share = WHOLE},
		"changes[0].model");
	assert_refused(&u, (struct simulation_change){.model = "big-2", .to_model = "nobody", .share = WHOLE},
		"changes[0].to_model");
	assert_refused(&u,
		(struct simulation_change){.model = "big-2", .to_provider = "nobody", .share = WHOLE},
		"changes[0].to_provider");
	assert_refused(&u,
		(struct simulation_change){
			.model = "big-2", .has_tier = true, .tier = TIER_BATCH, .share = WHOLE},
		"changes[0].service_tier");
	periods[1].to_us = NOW_US;
	assert_refused(&u, (struct simulation_change){.model = "big-2", .to_model = "mid-3", .share = WHOLE},
		"changes[0].to_model");
	/* all at once */
	const struct simulation_change c[] = {{.model = "a", .to_model = "mid-3", .share = WHOLE},
		{.model = "b", .to_model = "mid-3", .share = WHOLE}};
	ck_assert_int_eq(run(&u, 1, c, 2), ERR_VALIDATION);
	ck_assert_uint_eq(problem.n_fields, 2);
}
END_TEST

START_TEST(simulation_run_amount_that_does_not_fit_says_so)
{
	/* 10^17 USD x 10^22 is more than 1.7 x 10^38 */
	struct model_usage u = thousand("big-2", 35);
	u.cost.atto = decimal_pow10(17 + MONEY_SCALE);
	const struct simulation_change c = {.model = "big-2", .to_model = "mid-3", .share = WHOLE};
	ck_assert_int_eq(run(&u, 1, &c, 1), ERR_RANGE);
}
END_TEST

START_TEST(simulation_run_without_memory_says_so)
{
	const struct model_usage u = thousand("big-2", 35);
	const struct simulation_change c = {.model = "big-2", .to_model = "mid-3", .share = WHOLE};
	const struct simulation_input in = {.catalogue = &catalogue,
		.models = &u,
		.n_models = 1,
		.changes = &c,
		.n_changes = 1,
		.at_us = NOW_US};
	struct arena tiny;
	arena_init(&tiny, 16);
	problem_init(&problem, &arena);
	ck_assert_int_eq(simulation_run(&in, &tiny, &result, &problem), ERR_NO_MEMORY);
	arena_release(&tiny);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("simulation");
	tcase_add_test(t, simulation_run_other_model_costs_what_it_lists);
	tcase_add_test(t, simulation_run_shares_are_exact);
	tcase_add_test(t, simulation_run_two_shares_of_one_model_add_up);
	tcase_add_test(t, simulation_run_sizes_give_bounds);
	tcase_add_test(t, simulation_run_own_price_of_the_target_is_used);
	tcase_add_test(t, simulation_run_what_is_not_known_is_named);
	tcase_add_test(t, simulation_run_amount_that_does_not_fit_says_so);
	tcase_add_test(t, simulation_run_without_memory_says_so);
	return run_core_tests(suite_create("simulation"), t, setup);
}
