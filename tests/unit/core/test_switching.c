/* Model switching on a catalogue by hand; every amount is worked out in a comment. */

#include "rules_fixture.h"

static struct switching *found;
static size_t n_found;
static struct money total;

/* 1,000 calls of 2,000 input and 500 output tokens: 2 M and 0.5 M tokens. */
static struct model_usage thousand(const char *model, int cost_usd)
{
	return (struct model_usage){.provider = "p",
		.model = model,
		.calls = 1000,
		.input_tokens = 2000000,
		.output_tokens = 500000,
		.cost = MONEY(cost_usd)};
}

static void find_days(const struct model_usage *models, size_t n, int32_t days)
{
	const struct switching_input in = {.catalogue = &catalogue,
		.models = models,
		.n_models = n,
		.now_us = NOW_US,
		.period_days = days};
	ck_assert_int_eq(switching_find(&in, &arena, &found, &n_found, &total), ERR_OK);
}

static void find(const struct model_usage *models, size_t n)
{
	find_days(models, n, 30);
}

/* big-2 costs 2 x 10 + 0.5 x 30 = 35 for the mix; big-3 2 x 2 + 0.5 x 8 = 8; mid-3 2 x 1 + 0.5 x 4 = 4;
 * small-3 is cheaper still. */
static const struct test_record FAMILY[] = {
	{"big-2", "flagship", "gpt", USD(10), USD(30), 0, 128000, false, 0},
	{"big-3", "flagship", "gpt", USD(2), USD(8), 0, 128000, false, 0},
	{"mid-3", "mid", "gpt-m", USD(1), USD(4), 0, 128000, false, 0},
	{"small-3", "small", "gpt-s", USD(0.1), USD(0.4), 0, 128000, false, 0},
};

START_TEST(switching_find_same_class_and_one_smaller_are_suggested)
{
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 35);
	find(&u, 1);
	ck_assert_int_eq((int)n_found, 2);
	/* mid-3: 35 - 4 = 31 saved; 0.035 and 0.004 a call */
	ck_assert_str_eq(found[0].suggested_model, "mid-3");
	ck_assert_str_eq(money_text(found[0].monthly_savings), "31");
	ck_assert_str_eq(decimal_text(found[0].current_cost_per_call, SWITCHING_CALL_SCALE), "0.035");
	ck_assert_str_eq(decimal_text(found[0].suggested_cost_per_call, SWITCHING_CALL_SCALE), "0.004");
	ck_assert(found[0].counted);
	/* big-3: 35 - 8 = 27, same class, so more confidence, but not counted again */
	ck_assert_str_eq(found[1].suggested_model, "big-3");
	ck_assert_str_eq(money_text(found[1].monthly_savings), "27");
	ck_assert(!found[1].counted);
	ck_assert(found[1].confidence > found[0].confidence);
	ck_assert_str_eq(money_text(total), "31");
}
END_TEST

START_TEST(switching_find_cheapest_already_has_no_suggestion)
{
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("small-3", 1);
	find(&u, 1);
	ck_assert_int_eq((int)n_found, 0);
	ck_assert_str_eq(money_text(total), "0");
}
END_TEST

START_TEST(switching_find_spent_less_than_listed_counts_what_was_spent)
{
	/* A negotiated price: 10 were spent instead of 35. mid-3 costs 4, so 6 are saved. */
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 10);
	find(&u, 1);
	ck_assert_str_eq(money_text(found[0].saved), "6");
	ck_assert_str_eq(decimal_text(found[0].current_cost_per_call, SWITCHING_CALL_SCALE), "0.01");
}
END_TEST

START_TEST(switching_find_spent_more_than_listed_counts_todays_prices)
{
	/* 50 were spent (before a price fell, or on searches): today's 35 is what a switch replaces. */
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 50);
	find(&u, 1);
	ck_assert_str_eq(money_text(found[0].saved), "31");
}
END_TEST

START_TEST(switching_find_long_period_is_brought_to_thirty_days)
{
	/* 31 saved in 90 days: 31 x 30 / 90 = 10.333..., cut at 18 digits */
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 35);
	find_days(&u, 1, 90);
	ck_assert_str_eq(money_text(found[0].monthly_savings), "10.333333333333333333");
	ck_assert_str_eq(money_text(found[0].saved), "31");
}
END_TEST

START_TEST(switching_find_short_period_is_not_extrapolated)
{
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 35);
	find_days(&u, 1, 3);
	ck_assert_str_eq(money_text(found[0].monthly_savings), "31");
}
END_TEST

START_TEST(switching_find_unpriced_free_or_unknown_rows_are_left_out)
{
	make_catalogue(FAMILY, 4);
	struct model_usage u[] = {thousand("big-2", 35), thousand("big-2", 0), thousand("unknown", 35)};
	u[0].unpriced_calls = 1;
	find(u, 3);
	ck_assert_int_eq((int)n_found, 0);
}
END_TEST

/* Suggestions for 1,000 calls of old-2 at 35 when the catalogue holds it and one other record. */
static size_t suggestions_with(const struct test_record *other)
{
	const struct test_record t[] = {
		{"old-2", "flagship", "gpt", USD(10), USD(30), 0, 128000, false, 0}, *other};
	make_catalogue(t, 2);
	const struct model_usage u = thousand("old-2", 35);
	find(&u, 1);
	return n_found;
}

START_TEST(switching_find_candidate_must_fit_in_every_respect)
{
	/* the one that fits, and the same with one thing wrong each */
	const struct test_record good = {"new-3", "mid", "gpt-m", USD(1), USD(4), 0, 128000, false, 0};
	ck_assert_int_eq((int)suggestions_with(&good), 1);
	struct test_record t = good;
	t.deprecated = true;
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.retires_day = TODAY + 90;
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t.retires_day = TODAY + 91;
	ck_assert_int_eq((int)suggestions_with(&t), 1);
	t = good;
	t.class_ = "small"; /* two classes smaller */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.class_ = "audio";
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.line = "llama"; /* another family */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.model = "new-1.5"; /* an older version */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.model = "new-3-search-preview";
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.input = t.output = 0; /* free */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t = good;
	t.context_window = 4999; /* the average call has 2,500 tokens: twice that must fit */
	ck_assert_int_eq((int)suggestions_with(&t), 0);
	t.context_window = 5000;
	ck_assert_int_eq((int)suggestions_with(&t), 1);
	t = good;
	t.input = USD(9.5); /* 2 x 9.5 + 0.5 x 28.5 = 33.25 = 5 % less than 35 */
	t.output = USD(28.5);
	ck_assert_int_eq((int)suggestions_with(&t), 1);
	t.input = USD(9.51);
	ck_assert_int_eq((int)suggestions_with(&t), 0);
}
END_TEST

START_TEST(switching_find_unknown_window_lowers_confidence_and_says_so)
{
	const struct test_record known = {"new-3", "mid", "gpt", USD(1), USD(4), 0, 128000, false, 0};
	struct test_record unknown = known;
	unknown.context_window = 0;
	suggestions_with(&known);
	const double confidence = found[0].confidence;
	ck_assert_ptr_null(strstr(found[0].caveat, "window"));
	ck_assert_int_eq((int)suggestions_with(&unknown), 1);
	ck_assert(found[0].confidence < confidence);
	ck_assert_ptr_nonnull(strstr(found[0].caveat, "window"));
}
END_TEST

START_TEST(switching_find_nano_is_a_class_below_small)
{
	/* For a mid model the small one is the next class; the nano is two away though its class says small.
	 */
	const struct test_record t[] = {{"mid-4", "mid", "gpt", USD(10), USD(30), 0, 0, false, 0},
		{"mini-5", "small", "gpt-mini", USD(1), USD(4), 0, 0, false, 0},
		{"nano-5", "small", "gpt-nano", USD(0.1), USD(0.4), 0, 0, false, 0}};
	make_catalogue(t, 3);
	const struct model_usage u[] = {thousand("mid-4", 35), thousand("mini-5", 4)};
	find(u, 2);
	ck_assert_int_eq((int)n_found, 2);
	ck_assert_str_eq(found[0].suggested_model, "mini-5");
	ck_assert_str_eq(found[1].current_model, "mini-5");
	ck_assert_str_eq(found[1].suggested_model, "nano-5");
}
END_TEST

START_TEST(switching_price_mix_parts_are_charged_at_their_own_prices)
{
	/* 1,000,000 in, of these 400,000 read from and 100,000 written to the cache; 200,000 out, of these
	 * 50,000 reasoning. 0.5 x 10 + 0.4 x 1 + 0.1 x 12.5 + 0.15 x 30 + 0.05 x 40 = 5 + 0.4 + 1.25 + 4.5 +
	 * 2 = 13.15 */
	struct price_tier t;
	no_prices(&t, -1);
	t.per_million[CATEGORY_input] = USD(10);
	t.per_million[CATEGORY_cache_read] = USD(1);
	t.per_million[CATEGORY_cache_write] = USD(12.5);
	t.per_million[CATEGORY_output] = USD(30);
	t.per_million[CATEGORY_output_reasoning] = USD(40);
	const struct price_set set = {&t, 1};
	const struct model_usage u = {.calls = 10,
		.input_tokens = 1000000,
		.output_tokens = 200000,
		.cache_read_tokens = 400000,
		.cache_write_tokens = 100000,
		.reasoning_tokens = 50000};
	struct money cost;
	ck_assert(switching_price_mix(&set, &u, &cost));
	ck_assert_str_eq(money_text(cost), "13.15");
	/* without prices of their own: 1 x 10 + 0.2 x 30 = 16 */
	t.per_million[CATEGORY_cache_read] = PRICE_NONE;
	t.per_million[CATEGORY_cache_write] = PRICE_NONE;
	t.per_million[CATEGORY_output_reasoning] = PRICE_NONE;
	ck_assert(switching_price_mix(&set, &u, &cost));
	ck_assert_str_eq(money_text(cost), "16");
}
END_TEST

START_TEST(switching_price_mix_tier_follows_the_average_call)
{
	/* above 200,000 input tokens: 4 and, as the tier names no output, 15. 10 calls with 2 M input:
	 * 200,000 on average, not more: 2 x 2 + 0.1 x 15 = 5.5. 10 tokens more: 200,001: (2,000,010 x 4 +
	 * 100,000 x 15) / 10^6 = 9.50004 */
	struct price_tier t[2];
	no_prices(&t[0], -1);
	t[0].per_million[CATEGORY_input] = USD(2);
	t[0].per_million[CATEGORY_output] = USD(15);
	no_prices(&t[1], 200000);
	t[1].per_million[CATEGORY_input] = USD(4);
	const struct price_set set = {t, 2};
	struct model_usage u = {.calls = 10, .input_tokens = 2000000, .output_tokens = 100000};
	struct money cost;
	ck_assert(switching_price_mix(&set, &u, &cost));
	ck_assert_str_eq(money_text(cost), "5.5");
	u.input_tokens += 10;
	ck_assert(switching_price_mix(&set, &u, &cost));
	ck_assert_str_eq(money_text(cost), "9.50004");
}
END_TEST

START_TEST(switching_price_mix_contradiction_or_no_price_is_false)
{
	struct price_tier t;
	no_prices(&t, -1);
	t.per_million[CATEGORY_input] = USD(1);
	const struct price_set set = {&t, 1};
	struct model_usage u = {.calls = 1, .input_tokens = 10};
	struct money cost;
	ck_assert(!switching_price_mix(&set, &u, &cost));
	t.per_million[CATEGORY_output] = USD(1);
	ck_assert(switching_price_mix(&set, &u, &cost));
	u.cache_read_tokens = 11;
	ck_assert(!switching_price_mix(&set, &u, &cost));
}
END_TEST

START_TEST(switching_price_record_window_and_request_fee_count)
{
	/* Base 1 and 4 (mix 4), a window with input 3: 2 x 3 + 0.5 x 4 = 8 is the dearest; 1,000 calls at 5
	 * per 1,000: 13. */
	const struct test_record t = {"m-1", "mid", "x", USD(1), USD(4), 0, 0, false, 0};
	make_catalogue(&t, 1);
	struct price_tier peak;
	no_prices(&peak, -1);
	peak.per_million[CATEGORY_input] = USD(3);
	const struct price_window window = {
		.from_second = 0, .to_second = 3600, .days = 127, .prices = {&peak, 1}};
	periods[0].windows = &window;
	periods[0].n_windows = 1;
	periods[0].requests_per_thousand = USD(5);
	const struct model_usage u = thousand("m-1", 1);
	struct money cost;
	ck_assert(switching_price_record(&records[0], NOW_US, &u, &cost));
	ck_assert_str_eq(money_text(cost), "13");
}
END_TEST

START_TEST(switching_price_record_no_period_in_force_is_false)
{
	const struct test_record t = {"m-1", "mid", "x", USD(1), USD(4), 0, 0, false, 0};
	make_catalogue(&t, 1);
	periods[0].to_us = NOW_US;
	const struct model_usage u = thousand("m-1", 1);
	struct money cost;
	ck_assert(!switching_price_record(&records[0], NOW_US, &u, &cost));
	ck_assert(switching_price_record(&records[0], NOW_US - 1, &u, &cost));
}
END_TEST

START_TEST(switching_per_call_rounds_half_to_even)
{
	/* in 10^-12 USD: 1/3 -> 0.333333333333; halves: 0.5 x 10^-12 -> 0, 1.5 -> 2, 2.5 -> 2 */
	ck_assert_str_eq(decimal_text(switching_per_call(MONEY(1), 3), 12), "0.333333333333");
	ck_assert_str_eq(decimal_text(switching_per_call(MONEY(2), 3), 12), "0.666666666667");
	ck_assert_str_eq(decimal_text(switching_per_call((struct money){1000000}, 2), 12), "0");
	ck_assert_str_eq(decimal_text(switching_per_call((struct money){3000000}, 2), 12), "0.000000000002");
	ck_assert_str_eq(decimal_text(switching_per_call((struct money){5000000}, 2), 12), "0.000000000002");
	ck_assert_str_eq(decimal_text(switching_per_call((struct money){5000001}, 2), 12), "0.000000000003");
}
END_TEST

START_TEST(switching_find_without_memory_says_so)
{
	make_catalogue(FAMILY, 4);
	const struct model_usage u = thousand("big-2", 35);
	const struct switching_input in = {
		.catalogue = &catalogue, .models = &u, .n_models = 1, .now_us = NOW_US, .period_days = 30};
	struct arena tiny;
	arena_init(&tiny, 16);
	ck_assert_int_eq(switching_find(&in, &tiny, &found, &n_found, &total), ERR_NO_MEMORY);
	arena_release(&tiny);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("switching");
	tcase_add_test(t, switching_find_same_class_and_one_smaller_are_suggested);
	tcase_add_test(t, switching_find_cheapest_already_has_no_suggestion);
	tcase_add_test(t, switching_find_spent_less_than_listed_counts_what_was_spent);
	tcase_add_test(t, switching_find_spent_more_than_listed_counts_todays_prices);
	tcase_add_test(t, switching_find_long_period_is_brought_to_thirty_days);
	tcase_add_test(t, switching_find_short_period_is_not_extrapolated);
	tcase_add_test(t, switching_find_unpriced_free_or_unknown_rows_are_left_out);
	tcase_add_test(t, switching_find_candidate_must_fit_in_every_respect);
	tcase_add_test(t, switching_find_unknown_window_lowers_confidence_and_says_so);
	tcase_add_test(t, switching_find_nano_is_a_class_below_small);
	tcase_add_test(t, switching_price_mix_parts_are_charged_at_their_own_prices);
	tcase_add_test(t, switching_price_mix_tier_follows_the_average_call);
	tcase_add_test(t, switching_price_mix_contradiction_or_no_price_is_false);
	tcase_add_test(t, switching_price_record_window_and_request_fee_count);
	tcase_add_test(t, switching_price_record_no_period_in_force_is_false);
	tcase_add_test(t, switching_per_call_rounds_half_to_even);
	tcase_add_test(t, switching_find_without_memory_says_so);
	return run_core_tests(suite_create("switching"), t, NULL);
}
