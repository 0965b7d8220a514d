/* What sums cost: every amount is worked out in a comment. The oracle for sizes and hours is core/cost.h's
 * own arithmetic, call by call. */

#include "llmlab/core/mix.h"
#include "llmlab/core/price.h"
#include "rules_fixture.h"

static struct price_tier base, above, batch, peak;
static struct price_window window;

/* One record "m-1": input 10, read 1, write 12.5, one-hour write 20, output 30, reasoning 40. */
static void setup(void)
{
	const struct test_record t = {"m-1", "mid", "x", USD(10), USD(30), USD(1), 0, false, 0};
	make_catalogue(&t, 1);
	base = tiers[0];
	base.per_million[CATEGORY_cache_write] = USD(12.5);
	base.per_million[CATEGORY_cache_write_1h] = USD(20);
	base.per_million[CATEGORY_output_reasoning] = USD(40);
	periods[0].standard = (struct price_set){&base, 1};
}

/* Above 1,000 input tokens everything costs double; tiers follow each other in one array. */
static struct price_tier steps[2];
static void add_step(void)
{
	no_prices(&above, 1000);
	above.per_million[CATEGORY_input] = USD(20);
	above.per_million[CATEGORY_output] = USD(60);
	steps[0] = base;
	steps[1] = above;
	periods[0].standard = (struct price_set){steps, 2};
}

static void add_peak(int64_t input)
{
	no_prices(&peak, -1);
	peak.per_million[CATEGORY_input] = input;
	window =
		(struct price_window){.from_second = 0, .to_second = 3600, .days = 127, .prices = {&peak, 1}};
	periods[0].windows = &window;
	periods[0].n_windows = 1;
}

static void add_batch(int64_t input, int64_t output)
{
	no_prices(&batch, -1);
	batch.per_million[CATEGORY_input] = input;
	batch.per_million[CATEGORY_output] = output;
	periods[0].service[TIER_BATCH] = (struct price_set){&batch, 1};
}

static struct mix_cost cost_of(enum service_tier tier, const struct token_mix *m)
{
	struct mix_cost c;
	ck_assert(mix_cost(&records[0], NOW_US, tier, m, &c));
	return c;
}

static void assert_exactly(const char *expected, const struct mix_cost *c)
{
	ck_assert_str_eq(money_text(c->expected), expected);
	ck_assert_str_eq(money_text(c->least), expected);
	ck_assert_str_eq(money_text(c->most), expected);
	ck_assert(!c->by_size && !c->by_time);
}

START_TEST(mix_cost_parts_are_charged_at_their_own_prices)
{
	/* 1,000,000 in: 400,000 read, 100,000 written of which 20,000 for an hour; 200,000 out of which
	 * 50,000 reasoning. 0.5 x 10 + 0.4 x 1 + 0.08 x 12.5 + 0.02 x 20 + 0.15 x 30 + 0.05 x 40 = 5 + 0.4 +
	 * 1 + 0.4 + 4.5 + 2 = 13.3 */
	const struct token_mix m = {.calls = 10,
		.input = 1000000,
		.output = 200000,
		.cache_read = 400000,
		.cache_write = 100000,
		.cache_write_1h = 20000,
		.reasoning = 50000};
	struct mix_cost c = cost_of(TIER_STANDARD, &m);
	assert_exactly("13.3", &c);
	/* without prices of their own: 1 x 10 + 0.2 x 30 = 16 */
	base.per_million[CATEGORY_cache_read] = PRICE_NONE;
	base.per_million[CATEGORY_cache_write] = PRICE_NONE;
	base.per_million[CATEGORY_cache_write_1h] = PRICE_NONE;
	base.per_million[CATEGORY_output_reasoning] = PRICE_NONE;
	c = cost_of(TIER_STANDARD, &m);
	assert_exactly("16", &c);
	/* a one-hour write without a price is a write: 0.6 x 10 + 0.3 x 10 (reads) + 0.1 x 12 + 6 = 16.2 */
	base.per_million[CATEGORY_cache_write] = USD(12);
	c = cost_of(TIER_STANDARD, &m);
	assert_exactly("16.2", &c);
}
END_TEST

START_TEST(mix_cost_fee_is_for_each_call)
{
	/* 0.1 x 10 = 1, and 7 calls at 5 per 1,000 = 0.035 */
	periods[0].requests_per_thousand = USD(5);
	const struct token_mix m = {.calls = 7, .input = 100000};
	const struct mix_cost c = cost_of(TIER_STANDARD, &m);
	assert_exactly("1.035", &c);
}
END_TEST

START_TEST(mix_cost_sizes_decide_between_least_and_most)
{
	/* 10 calls, 5,000 in and 1,000 out together: some may be above 1,000. Least 0.005 x 10 + 0.001 x 30 =
	 * 0.08, most the double; the average is 500: the least. */
	add_step();
	struct token_mix m = {.calls = 10, .input = 5000, .output = 1000};
	struct mix_cost c = cost_of(TIER_STANDARD, &m);
	ck_assert_str_eq(money_text(c.least), "0.08");
	ck_assert_str_eq(money_text(c.most), "0.16");
	ck_assert_str_eq(money_text(c.expected), "0.08");
	ck_assert(c.by_size && !c.by_time);
	/* 1,000 together: none can be above */
	m.input = 1000;
	c = cost_of(TIER_STANDARD, &m);
	assert_exactly("0.04", &c);
	/* one call is as long as it is: 1,001 x 20 + 1,000 x 60 */
	m = (struct token_mix){.calls = 1, .input = 1001, .output = 1000};
	c = cost_of(TIER_STANDARD, &m);
	assert_exactly("0.08002", &c);
}
END_TEST

START_TEST(mix_cost_hours_decide_between_least_and_most)
{
	/* 0.1 M in: 1 at 10, 0.3 in the hours of 3 */
	add_peak(USD(3));
	const struct token_mix m = {.calls = 5, .input = 100000};
	struct mix_cost c = cost_of(TIER_STANDARD, &m);
	ck_assert_str_eq(money_text(c.least), "0.3");
	ck_assert_str_eq(money_text(c.most), "1");
	ck_assert_str_eq(money_text(c.expected), "1");
	ck_assert(!c.by_size && c.by_time);
}
END_TEST

START_TEST(mix_cost_service_tier_replaces_what_it_names)
{
	/* 0.1 x 5 + 0.1 x 15; reads keep the standard price: + 0.1 x 1 = 2.1 */
	add_batch(USD(5), USD(15));
	const struct token_mix m = {.calls = 5, .input = 200000, .cache_read = 100000, .output = 100000};
	struct mix_cost c = cost_of(TIER_BATCH, &m);
	assert_exactly("2.1", &c);
	/* a tier without prices is charged as standard: 0.1 x 10 + 0.1 x 1 + 0.1 x 30 = 4.1 */
	c = cost_of(TIER_FLEX, &m);
	assert_exactly("4.1", &c);
}
END_TEST

START_TEST(mix_cost_contradiction_no_price_or_no_calls_is_false)
{
	struct mix_cost c;
	struct token_mix m = {.calls = 1, .input = 10, .cache_read = 11};
	ck_assert(!mix_cost(&records[0], NOW_US, TIER_STANDARD, &m, &c));
	m = (struct token_mix){.calls = 0};
	ck_assert(!mix_cost(&records[0], NOW_US, TIER_STANDARD, &m, &c));
	m = (struct token_mix){.calls = 1, .input = 10, .cache_write = 1, .cache_write_1h = 2};
	ck_assert(!mix_cost(&records[0], NOW_US, TIER_STANDARD, &m, &c));
	m = (struct token_mix){.calls = 1, .input = 10};
	periods[0].to_us = NOW_US;
	ck_assert(!mix_cost(&records[0], NOW_US, TIER_STANDARD, &m, &c));
	ck_assert(mix_cost(&records[0], NOW_US - 1, TIER_STANDARD, &m, &c));
	base.per_million[CATEGORY_output] = PRICE_NONE;
	ck_assert(!mix_cost(&records[0], NOW_US - 1, TIER_STANDARD, &m, &c));
}
END_TEST

/* A random call, small enough that both sides of the step are met. */
static struct usage random_call(struct token_mix *sum)
{
	struct usage u = {.has_counts = true};
	int64_t *const n = u.counts;
	n[USAGE_input_tokens] = rand() % 2000;
	n[USAGE_cache_read_tokens] = rand() % (n[USAGE_input_tokens] + 1);
	n[USAGE_cache_write_tokens] = rand() % (n[USAGE_input_tokens] - n[USAGE_cache_read_tokens] + 1);
	n[USAGE_cache_write_1h_tokens] = rand() % (n[USAGE_cache_write_tokens] + 1);
	n[USAGE_output_tokens] = rand() % 1000;
	n[USAGE_reasoning_tokens] = rand() % (n[USAGE_output_tokens] + 1);
	sum->calls++;
	sum->input += n[USAGE_input_tokens];
	sum->output += n[USAGE_output_tokens];
	sum->cache_read += n[USAGE_cache_read_tokens];
	sum->cache_write += n[USAGE_cache_write_tokens];
	sum->cache_write_1h += n[USAGE_cache_write_1h_tokens];
	sum->reasoning += n[USAGE_reasoning_tokens];
	return u;
}

/* What the calls cost one by one, by core/cost.c, at random hours of the day. */
static struct money one_by_one(struct token_mix *sum, int calls, const char *tier)
{
	struct money total = money_zero();
	for (int i = 0; i < calls; i++) {
		const struct usage u = random_call(sum);
		const struct price_query q = {.model = "m-1",
			.at_us = NOW_US + rand() % 86400 * 1000000LL,
			.service_tier = tier,
			.usage = &u};
		struct price_result r;
		struct problem p;
		problem_init(&p, &arena);
		ck_assert_int_eq(price_record_cost(&records[0], &q, &r, &p), ERR_OK);
		ck_assert(money_add(total, r.cost, &total));
	}
	return total;
}

START_TEST(mix_cost_of_random_calls_agrees_with_their_prices_one_by_one)
{
	/* Without steps and hours exactly, with them between least and most. */
	srand(11);
	for (int round = 0; round < 300; round++) {
		setup();
		const bool stepped = round % 2 == 1;
		const bool timed = round % 3 == 2;
		if (stepped)
			add_step();
		if (timed)
			add_peak(USD(round % 20));
		if (round % 5 < 2)
			add_batch(USD(1 + round % 12), USD(15));
		periods[0].requests_per_thousand = round % 4 == 0 ? USD(5) : PRICE_NONE;
		struct token_mix sum = {.calls = 0};
		const struct money exact = one_by_one(&sum, 1 + rand() % 20, round % 5 < 2 ? "batch" : NULL);
		const struct mix_cost c = cost_of(round % 5 < 2 ? TIER_BATCH : TIER_STANDARD, &sum);
		ck_assert_int_le(money_compare(c.least, exact), 0);
		ck_assert_int_ge(money_compare(c.most, exact), 0);
		ck_assert_int_le(money_compare(c.least, c.expected), 0);
		ck_assert_int_ge(money_compare(c.most, c.expected), 0);
		if (!stepped && !timed)
			assert_exactly(money_text(exact), &c);
	}
}
END_TEST

START_TEST(mix_tier_saving_is_the_difference_of_the_prices)
{
	/* 0.1 M plain input saves 0.1 x (10 - 4), 0.1 M output 0.1 x (30 - 15), reads nothing: 2.1 */
	add_batch(USD(4), USD(15));
	struct token_mix m = {.calls = 5, .input = 200000, .cache_read = 100000, .output = 100000};
	struct money saved = money_zero();
	ck_assert(mix_tier_saving(&records[0], NOW_US, TIER_BATCH, &m, &saved));
	ck_assert_str_eq(money_text(saved), "2.1");
	ck_assert(!mix_tier_saving(&records[0], NOW_US, TIER_FLEX, &m, &saved));
	/* dearer input: 0.1 x (10 - 11) + 0.1 x (30 - 15) */
	add_batch(USD(11), USD(15));
	ck_assert(mix_tier_saving(&records[0], NOW_US, TIER_BATCH, &m, &saved));
	ck_assert_str_eq(money_text(saved), "1.4");
}
END_TEST

START_TEST(mix_tier_saving_is_the_least_over_hours_and_sizes)
{
	/* In the hours of 3 a batch at 4 costs 1 more: 0.001 M x -1 */
	add_batch(USD(4), USD(15));
	add_peak(USD(3));
	const struct token_mix m = {.calls = 5, .input = 1000};
	struct money saved = money_zero();
	ck_assert(mix_tier_saving(&records[0], NOW_US, TIER_BATCH, &m, &saved));
	ck_assert_str_eq(money_text(saved), "-0.001");
	/* Above the step 20 - 4 is saved, below it 10 - 4: 0.005 x 6 */
	setup();
	add_step();
	add_batch(USD(4), USD(15));
	const struct token_mix long_calls = {.calls = 5, .input = 5000};
	ck_assert(mix_tier_saving(&records[0], NOW_US, TIER_BATCH, &long_calls, &saved));
	ck_assert_str_eq(money_text(saved), "0.03");
}
END_TEST

START_TEST(money_share_is_exact_where_it_can_be_and_never_more)
{
	ck_assert_str_eq(money_text(money_share(MONEY(10), USD(5), USD(10))), "5");
	ck_assert_str_eq(money_text(money_share(MONEY(1), 1, 3)), "0.333333333333333333");
	ck_assert_str_eq(money_text(money_share(MONEY(7), 3, 3)), "7");
	ck_assert_str_eq(money_text(money_share(MONEY(7), 0, 3)), "0");
	/* large parts: below the exact share by less than 2^-29 of the amount */
	const struct money most = {((int128)1 << 126)};
	const int128 big = ((int128)1 << 120) + 7;
	const struct money third = money_share(most, big / 3, big);
	ck_assert(third.atto <= most.atto / 3 && third.atto > most.atto / 3 - (most.atto >> 29));
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("mix");
	tcase_add_test(t, mix_cost_parts_are_charged_at_their_own_prices);
	tcase_add_test(t, mix_cost_fee_is_for_each_call);
	tcase_add_test(t, mix_cost_sizes_decide_between_least_and_most);
	tcase_add_test(t, mix_cost_hours_decide_between_least_and_most);
	tcase_add_test(t, mix_cost_service_tier_replaces_what_it_names);
	tcase_add_test(t, mix_cost_contradiction_no_price_or_no_calls_is_false);
	tcase_add_test(t, mix_cost_of_random_calls_agrees_with_their_prices_one_by_one);
	tcase_add_test(t, mix_tier_saving_is_the_difference_of_the_prices);
	tcase_add_test(t, mix_tier_saving_is_the_least_over_hours_and_sizes);
	tcase_add_test(t, money_share_is_exact_where_it_can_be_and_never_more);
	return run_core_tests(suite_create("mix"), t, setup);
}
