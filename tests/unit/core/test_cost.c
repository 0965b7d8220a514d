/* The cost engine on records made here: every rule of docs/pricing.md by itself. Prices are round, so that
 * each expected cost can be worked out in the head; it stands in the comment. */
#include "llmlab/base/calendar.h"
#include "llmlab/core/price.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define USD(n) ((int64_t)(n)*1000000000) /* per million or per thousand, at PRICE_SCALE */

static struct arena arena;
static struct problem p;
static struct price_tier tiers[4];
static struct price_tier service_tiers[2];
static struct price_tier window_tier;
static struct price_window window;
static struct price_multiplier multiplier;
static struct price_period periods[2];
static struct price_record record;
static struct usage usage;
static struct price_query query;
static struct price_result result;

static void clear(struct price_tier *t, int64_t above)
{
	t->above_input_tokens = above;
	for (int c = 0; c < PRICE_CATEGORIES; c++)
		t->per_million[c] = PRICE_NONE;
}

/* A record with input 2 and output 8 USD per million and nothing else, one open period. */
static void setup(void)
{
	arena_init(&arena, 65536);
	problem_init(&p, &arena);
	for (size_t i = 0; i < 4; i++)
		clear(&tiers[i], -1);
	clear(&service_tiers[0], -1);
	clear(&service_tiers[1], 1000);
	clear(&window_tier, -1);
	tiers[0].per_million[CATEGORY_input] = USD(2);
	tiers[0].per_million[CATEGORY_output] = USD(8);
	memset(periods, 0, sizeof periods);
	periods[0] = (struct price_period){.from_us = INT64_MIN,
		.to_us = INT64_MAX,
		.standard = {.tiers = tiers, .n_tiers = 1},
		.requests_per_thousand = PRICE_NONE,
		.web_searches_per_thousand = PRICE_NONE};
	record = (struct price_record){
		.provider = "anthropic", .model = "m", .periods = periods, .n_periods = 1};
	for (int u = 0; u < USAGE_UNITS; u++)
		record.per_unit[u] = PRICE_NONE;
	for (int i = 0; i < SEARCH_SIZES; i++)
		record.search_per_thousand[i] = PRICE_NONE;
	usage = (struct usage){.has_counts = true};
	query = (struct price_query){.at_us = 0, .usage = &usage};
	memset(&result, 0, sizeof result);
}

static void teardown(void)
{
	arena_release(&arena);
}

static void count(enum usage_count c, int64_t tokens)
{
	usage.counts[c] = tokens;
}

static void at(const char *instant)
{
	ck_assert_int_eq(instant_parse(instant, strlen(instant), &query.at_us), ERR_OK);
}

static void expect(const char *cost)
{
	char text[DECIMAL_TEXT_MAX];
	struct money sum = money_zero();
	ck_assert_msg(price_record_cost(&record, &query, &result, &p) == ERR_OK, "%s", problem_detail(&p));
	ck_assert_int_ne(result.status, PRICING_UNPRICED);
	decimal_format(result.cost.atto, MONEY_SCALE, text);
	ck_assert_str_eq(text, cost);
	for (size_t i = 0; i < result.n_lines; i++)
		ck_assert(money_add(sum, result.lines[i].cost, &sum));
	ck_assert_int_eq(money_compare(sum, result.cost), 0);
}

static void expect_unpriced(void)
{
	ck_assert_int_eq(price_record_cost(&record, &query, &result, &p), ERR_OK);
	ck_assert_int_eq(result.status, PRICING_UNPRICED);
	ck_assert_str_eq(result.rule, "no_price");
	ck_assert_uint_eq(result.n_lines, 0);
	ck_assert(result.cost.atto == 0);
}

/* ---- categories ---- */

START_TEST(cost_input_and_output_are_charged_per_million)
{
	count(USAGE_input_tokens, 1000);
	count(USAGE_output_tokens, 500);
	expect("0.006"); /* 1000 x 2/M + 500 x 8/M = 0.002 + 0.004 */
	ck_assert_uint_eq(result.n_lines, 2);
}
END_TEST

START_TEST(cost_zero_tokens_on_a_paid_model_are_priced_at_zero)
{
	expect("0");
	ck_assert_int_eq(result.status, PRICING_PRICED);
}
END_TEST

START_TEST(cost_largest_counts_are_exact)
{
	tiers[0].per_million[CATEGORY_input] = 600000000001; /* 600.000000001 USD */
	count(USAGE_input_tokens, USAGE_TOKENS_MAX);
	expect("600000000.001"); /* 10^12 / 10^6 x 600.000000001 */
}
END_TEST

START_TEST(cost_one_token_at_the_smallest_price_is_exact)
{
	tiers[0].per_million[CATEGORY_input] = 1;
	count(USAGE_input_tokens, 1);
	expect("0.000000000000001"); /* 10^-9 / 10^6 */
}
END_TEST

/* A part of 100 out of 1,000 (input or output), priced at 10 USD or not at all. */
struct part_case {
	enum usage_count part;
	enum price_category category;
	bool output;
};
static const struct part_case parts[] = {
	{USAGE_cache_read_tokens, CATEGORY_cache_read, false},
	{USAGE_cache_write_tokens, CATEGORY_cache_write, false},
	{USAGE_input_audio_tokens, CATEGORY_input_audio, false},
	{USAGE_input_image_tokens, CATEGORY_input_image, false},
	{USAGE_input_video_tokens, CATEGORY_input_video, false},
	{USAGE_reasoning_tokens, CATEGORY_output_reasoning, true},
	{USAGE_citation_tokens, CATEGORY_output_citation, true},
	{USAGE_output_audio_tokens, CATEGORY_output_audio, true},
	{USAGE_output_image_tokens, CATEGORY_output_image, true},
	{USAGE_output_video_tokens, CATEGORY_output_video, true},
};

START_TEST(cost_part_without_price_is_charged_as_its_whole)
{
	count(parts[_i].output ? USAGE_output_tokens : USAGE_input_tokens, 1000);
	count(parts[_i].part, 100);
	expect(parts[_i].output ? "0.008" : "0.002"); /* 1000 x 8/M, 1000 x 2/M */
	ck_assert_uint_eq(result.n_lines, 1);
}
END_TEST

START_TEST(cost_part_with_price_is_charged_once)
{
	tiers[0].per_million[parts[_i].category] = USD(10);
	count(parts[_i].output ? USAGE_output_tokens : USAGE_input_tokens, 1000);
	count(parts[_i].part, 100);
	expect(parts[_i].output ? "0.0082" : "0.0028"); /* 900 x 8/M + 100 x 10/M; 900 x 2/M + 100 x 10/M */
	ck_assert_uint_eq(result.n_lines, 2);
}
END_TEST

START_TEST(cost_part_that_is_all_leaves_no_line_for_the_whole)
{
	tiers[0].per_million[parts[_i].category] = USD(10);
	count(parts[_i].output ? USAGE_output_tokens : USAGE_input_tokens, 100);
	count(parts[_i].part, 100);
	expect("0.001"); /* 100 x 10/M */
	ck_assert_uint_eq(result.n_lines, 1);
	ck_assert_int_eq(result.lines[0].category, parts[_i].category);
}
END_TEST

static void one_hour_writes(void)
{
	count(USAGE_input_tokens, 1000);
	count(USAGE_cache_write_tokens, 300);
	count(USAGE_cache_write_1h_tokens, 100);
}

START_TEST(cost_one_hour_writes_with_price_are_taken_from_the_writes)
{
	tiers[0].per_million[CATEGORY_cache_write] = USD(3);
	tiers[0].per_million[CATEGORY_cache_write_1h] = USD(4);
	one_hour_writes();
	expect("0.0024"); /* 700 x 2/M + 200 x 3/M + 100 x 4/M = 0.0014 + 0.0006 + 0.0004 */
}
END_TEST

START_TEST(cost_one_hour_writes_without_price_cost_as_writes)
{
	tiers[0].per_million[CATEGORY_cache_write] = USD(3);
	one_hour_writes();
	expect("0.0023"); /* 700 x 2/M + 300 x 3/M = 0.0014 + 0.0009 */
}
END_TEST

START_TEST(cost_one_hour_writes_with_price_but_writes_without_leave_the_rest_to_input)
{
	tiers[0].per_million[CATEGORY_cache_write_1h] = USD(4);
	one_hour_writes();
	expect("0.0022"); /* 900 x 2/M + 100 x 4/M */
}
END_TEST

/* 1,000 in, 400 of them cached, 300 audio, 100 of these cached audio. */
static void cached_audio(void)
{
	count(USAGE_input_tokens, 1000);
	count(USAGE_cache_read_tokens, 400);
	count(USAGE_input_audio_tokens, 300);
	count(USAGE_cache_read_audio_tokens, 100);
}

START_TEST(cost_cached_audio_with_price_is_charged_at_it)
{
	tiers[0].per_million[CATEGORY_cache_read] = USD(1);
	tiers[0].per_million[CATEGORY_input_audio] = USD(10);
	tiers[0].per_million[CATEGORY_cache_read_audio] = USD(5);
	cached_audio();
	/* audio 100 x 5/M, cached 300 x 1/M, fresh audio 200 x 10/M, text 400 x 2/M: 0.0005 + 0.0003 + 0.002
	 * + 0.0008 */
	expect("0.0036");
}
END_TEST

START_TEST(cost_cached_audio_without_price_takes_the_cached_price)
{
	tiers[0].per_million[CATEGORY_cache_read] = USD(1);
	tiers[0].per_million[CATEGORY_input_audio] = USD(10);
	cached_audio();
	expect("0.0032"); /* cached 400 x 1/M, fresh audio 200 x 10/M, text 400 x 2/M: 0.0004 + 0.002 + 0.0008
			   */
}
END_TEST

START_TEST(cost_cached_audio_without_cached_price_costs_as_audio)
{
	tiers[0].per_million[CATEGORY_input_audio] = USD(10);
	cached_audio();
	expect("0.0044"); /* audio 300 x 10/M, the rest 700 x 2/M */
}
END_TEST

START_TEST(cost_cached_audio_without_any_of_these_prices_costs_as_input)
{
	cached_audio();
	expect("0.002"); /* 1000 x 2/M */
}
END_TEST

START_TEST(cost_cached_image_goes_like_cached_audio)
{
	tiers[0].per_million[CATEGORY_cache_read] = USD(1);
	tiers[0].per_million[CATEGORY_input_image] = USD(10);
	count(USAGE_input_tokens, 1000);
	count(USAGE_cache_read_tokens, 400);
	count(USAGE_input_image_tokens, 300);
	count(USAGE_cache_read_image_tokens, 100);
	expect("0.0032");
}
END_TEST

START_TEST(cost_more_parts_than_input_is_refused)
{
	/* 600 cached and 600 audio of 1,000 must share at least 200 tokens; which, nobody said. */
	tiers[0].per_million[CATEGORY_cache_read] = USD(1);
	tiers[0].per_million[CATEGORY_input_audio] = USD(10);
	count(USAGE_input_tokens, 1000);
	count(USAGE_cache_read_tokens, 600);
	count(USAGE_input_audio_tokens, 600);
	result.n_lines = 77;
	ck_assert_int_eq(price_record_cost(&record, &query, &result, &p), ERR_VALIDATION);
	ck_assert_str_eq(p.fields[0].field, "input_tokens");
	ck_assert_str_eq(p.fields[0].message, "is less than its parts together (1000 < 1200)");
	ck_assert_uint_eq(result.n_lines, 77); /* untouched */
}
END_TEST

START_TEST(cost_contradictory_counts_are_refused_by_name)
{
	count(USAGE_input_tokens, 1000);
	count(USAGE_cache_read_tokens, 1200);
	ck_assert_int_eq(price_record_cost(&record, &query, &result, &p), ERR_VALIDATION);
	ck_assert_str_eq(p.fields[0].field, "cache_read_tokens");
}
END_TEST

/* ---- tiers ---- */

/* Above 200,000 input tokens: input 4, output 12; above 500,000: input 6. */
static void long_context(void)
{
	tiers[1].above_input_tokens = 200000;
	tiers[1].per_million[CATEGORY_input] = USD(4);
	tiers[1].per_million[CATEGORY_output] = USD(12);
	tiers[2].above_input_tokens = 500000;
	tiers[2].per_million[CATEGORY_input] = USD(6);
	periods[0].standard.n_tiers = 3;
	count(USAGE_output_tokens, 1000);
}

START_TEST(cost_input_exactly_at_a_tier_costs_the_lower_price)
{
	long_context();
	count(USAGE_input_tokens, 200000);
	expect("0.408"); /* 200000 x 2/M + 1000 x 8/M */
}
END_TEST

START_TEST(cost_input_one_above_a_tier_costs_the_higher_price_for_all)
{
	long_context();
	count(USAGE_input_tokens, 200001);
	expect("0.812004"); /* 200001 x 4/M + 1000 x 12/M: output switches by the input's size */
}
END_TEST

START_TEST(cost_category_that_a_tier_does_not_name_keeps_the_lower_price)
{
	long_context();
	count(USAGE_input_tokens, 500001);
	expect("3.012006"); /* 500001 x 6/M + 1000 x 12/M (of the tier below) */
}
END_TEST

START_TEST(cost_tier_counts_cached_tokens_as_input)
{
	long_context();
	tiers[0].per_million[CATEGORY_cache_read] = USD(1);
	count(USAGE_input_tokens, 200001);
	count(USAGE_cache_read_tokens, 200000);
	expect("0.212004"); /* 1 x 4/M + 200000 x 1/M (the tier names no cached price) + 1000 x 12/M */
}
END_TEST

START_TEST(cost_large_output_does_not_cross_a_tier)
{
	long_context();
	count(USAGE_input_tokens, 10);
	count(USAGE_output_tokens, 300000);
	expect("2.40002"); /* 10 x 2/M + 300000 x 8/M */
}
END_TEST

/* ---- periods and windows ---- */

static void two_periods(void)
{
	ck_assert_int_eq(instant_parse("2026-07-30T16:00:00Z", 20, &periods[0].to_us), ERR_OK);
	periods[1] = periods[0];
	periods[1].from_us = periods[0].to_us;
	periods[1].to_us = INT64_MAX;
	tiers[3].per_million[CATEGORY_input] = USD(1);
	periods[1].standard = (struct price_set){.tiers = &tiers[3], .n_tiers = 1};
	record.n_periods = 2;
	count(USAGE_input_tokens, 1000000);
}

START_TEST(cost_second_before_a_price_change_costs_the_old_price)
{
	two_periods();
	at("2026-07-30T15:59:59Z");
	expect("2");
}
END_TEST

START_TEST(cost_instant_of_a_price_change_costs_the_new_price)
{
	two_periods();
	at("2026-07-30T16:00:00Z");
	expect("1");
}
END_TEST

START_TEST(cost_before_the_first_and_after_the_last_period_is_unpriced)
{
	two_periods();
	periods[0].from_us = 0;
	query.at_us = -1;
	expect_unpriced();
	periods[1].to_us = periods[1].from_us + 1;
	query.at_us = periods[1].to_us;
	expect_unpriced();
}
END_TEST

/* 2026-08-24 is a Monday. */
struct window_case {
	const char *instant;
	const char *cost;
};

/* 01:00 to 04:00 on weekdays: input 4 instead of 2. */
static const struct window_case window_cases[] = {
	{"2026-08-24T00:59:59.999999Z", "2"}, {"2026-08-24T01:00:00Z", "4"},
	{"2026-08-24T03:59:59.999999Z", "4"}, {"2026-08-24T04:00:00Z", "2"},
	{"2026-08-28T02:00:00Z", "4"},					   /* Friday */
	{"2026-08-29T02:00:00Z", "2"},					   /* Saturday */
	{"2026-08-30T02:00:00Z", "2"},					   /* Sunday */
	{"2026-08-31T02:00:00Z", "4"},					   /* Monday again */
	{"2026-08-24T03:00:00+02:00", "4"}, {"1969-12-31T02:00:00Z", "4"}, /* a Wednesday before 1970 */
};

static void day_window(uint32_t from_hour, uint32_t to_hour, uint8_t days)
{
	window_tier.per_million[CATEGORY_input] = USD(4);
	window = (struct price_window){.from_second = from_hour * 3600,
		.to_second = to_hour * 3600,
		.days = days,
		.prices = {.tiers = &window_tier, .n_tiers = 1}};
	periods[0].windows = &window;
	periods[0].n_windows = 1;
	count(USAGE_input_tokens, 1000000);
}

START_TEST(cost_daily_window_holds_from_inclusive_to_exclusive_on_its_days)
{
	day_window(1, 4, 0x1F);
	at(window_cases[_i].instant);
	expect(window_cases[_i].cost);
}
END_TEST

/* 22:00 to 02:00 on Mondays, by the date of the instant: both ends of the Monday. */
static const struct window_case night_cases[] = {
	{"2026-08-24T21:59:59Z", "2"}, {"2026-08-24T22:00:00Z", "4"}, {"2026-08-24T01:59:59Z", "4"},
	{"2026-08-24T02:00:00Z", "2"}, {"2026-08-25T01:00:00Z", "2"}, /* Tuesday */
};

START_TEST(cost_window_over_midnight_goes_by_the_date_of_the_instant)
{
	day_window(22, 2, 0x01);
	at(night_cases[_i].instant);
	expect(night_cases[_i].cost);
}
END_TEST

START_TEST(cost_category_that_a_window_does_not_name_keeps_its_price)
{
	day_window(0, 24, 0x7F);
	count(USAGE_input_tokens, 0);
	count(USAGE_output_tokens, 1000000);
	expect("8");
}
END_TEST

/* ---- service tiers ---- */

static void batch_prices(void)
{
	service_tiers[0].per_million[CATEGORY_input] = USD(1);
	service_tiers[0].per_million[CATEGORY_output] = USD(4);
	periods[0].service[TIER_BATCH] = (struct price_set){.tiers = service_tiers, .n_tiers = 1};
	count(USAGE_input_tokens, 1000);
	count(USAGE_output_tokens, 1000);
}

struct tier_case {
	const char *reported;
	enum service_tier tier;
	const char *cost;
};
static const struct tier_case tier_cases[] = {
	{NULL, TIER_STANDARD, "0.01"}, /* 1000 x 2/M + 1000 x 8/M */
	{"batch", TIER_BATCH, "0.005"},
	{"Batch", TIER_BATCH, "0.005"},
	{"standard", TIER_STANDARD, "0.01"},
	{"default", TIER_STANDARD, "0.01"},
	{"auto", TIER_STANDARD, "0.01"},
	{"on_demand", TIER_STANDARD, "0.01"},
	{"flex", TIER_STANDARD, "0.01"}, /* has no prices here: the standard ones are charged */
	{"priority", TIER_STANDARD, "0.01"},
	{"", TIER_STANDARD, "0.01"},
};

START_TEST(cost_service_tier_replaces_the_standard_prices)
{
	batch_prices();
	query.service_tier = tier_cases[_i].reported;
	expect(tier_cases[_i].cost);
	ck_assert_int_eq(result.service_tier, tier_cases[_i].tier);
}
END_TEST

START_TEST(cost_category_that_a_service_tier_does_not_name_keeps_the_standard_price)
{
	batch_prices();
	tiers[0].per_million[CATEGORY_cache_read] = USD(1) / 2;
	query.service_tier = "batch";
	count(USAGE_cache_read_tokens, 1000);
	expect("0.0045"); /* 1000 x 0.5/M + 1000 x 4/M */
}
END_TEST

START_TEST(cost_service_tier_without_tiers_has_one_price_at_every_length)
{
	long_context();
	batch_prices();
	query.service_tier = "batch";
	count(USAGE_input_tokens, 200001);
	expect("0.204001"); /* 200001 x 1/M + 1000 x 4/M */
}
END_TEST

START_TEST(cost_service_tier_with_its_own_tier_uses_that)
{
	batch_prices();
	service_tiers[1].per_million[CATEGORY_input] = USD(3);
	periods[0].service[TIER_BATCH].n_tiers = 2;
	query.service_tier = "batch";
	count(USAGE_input_tokens, 1001);
	expect("0.007003"); /* 1001 x 3/M + 1000 x 4/M */
}
END_TEST

START_TEST(cost_service_tier_wins_over_a_window)
{
	day_window(0, 24, 0x7F);
	batch_prices();
	query.service_tier = "batch";
	expect("0.005");
}
END_TEST

/* ---- multipliers ---- */

static void us_costs_more(void)
{
	multiplier = (struct price_multiplier){.setting = "inference_geo", .value = "us", .factor = 1100};
	record.multipliers = &multiplier;
	record.n_multipliers = 1;
	periods[0].web_searches_per_thousand = USD(10);
	count(USAGE_input_tokens, 1001);
	usage.web_searches = 1;
}

START_TEST(cost_multiplier_raises_token_prices_only)
{
	us_costs_more();
	query.inference_geo = "US";
	expect("0.0122022"); /* 1001 x 2.2/M + 1 x 10/1000 */
	ck_assert(result.lines[0].price == (int128)22 * decimal_pow10(PRICE_LINE_SCALE - 1));
}
END_TEST

START_TEST(cost_multiplier_of_another_value_or_setting_does_not_apply)
{
	us_costs_more();
	query.inference_geo = "eu";
	query.data_residency = "us";
	expect("0.012002"); /* 1001 x 2/M + 0.01 */
}
END_TEST

/* ---- fees ---- */

START_TEST(cost_request_fee_is_charged_once_even_without_tokens)
{
	periods[0].requests_per_thousand = USD(12);
	expect("0.012");
	ck_assert_int_eq(result.lines[0].kind, LINE_REQUESTS);
	ck_assert_int_eq(result.lines[0].quantity, 1);
}
END_TEST

START_TEST(cost_searches_without_a_fee_are_unpriced)
{
	count(USAGE_input_tokens, 1000);
	usage.web_searches = 1;
	expect_unpriced();
}
END_TEST

static void sized_search(int64_t requests)
{
	record.search_per_thousand[SEARCH_LOW] = USD(5);
	record.search_per_thousand[SEARCH_MEDIUM] = USD(8);
	record.search_per_thousand[SEARCH_HIGH] = USD(12);
	periods[0].requests_per_thousand = requests;
}

START_TEST(cost_request_fee_goes_by_a_known_search_size)
{
	sized_search(USD(12));
	query.search_context_size = "low";
	expect("0.005");
}
END_TEST

START_TEST(cost_request_fee_of_an_unknown_search_size_is_the_period_s)
{
	sized_search(USD(12));
	expect("0.012");
}
END_TEST

START_TEST(cost_request_that_pays_for_its_searches_charges_them_not_again)
{
	sized_search(USD(12));
	query.search_context_size = "medium";
	usage.web_searches = 4;
	expect("0.008");
}
END_TEST

START_TEST(cost_search_fee_goes_by_a_known_search_size)
{
	sized_search(PRICE_NONE);
	query.search_context_size = "high";
	usage.web_searches = 2;
	expect("0.024"); /* 2 x 12/1000 */
}
END_TEST

START_TEST(cost_searches_of_unknown_size_are_unpriced_when_the_fee_goes_by_size)
{
	sized_search(PRICE_NONE);
	usage.web_searches = 2;
	expect_unpriced();
}
END_TEST

/* ---- units ---- */

START_TEST(cost_seconds_are_charged_by_fractions)
{
	usage.has_counts = false;
	record.per_unit[UNIT_input_second] = (int128)100000000 * 1000000; /* 0.0001 USD */
	usage.units[UNIT_input_second] = 12500000;			  /* 12.5 s */
	expect("0.00125");
}
END_TEST

START_TEST(cost_pixels_at_eighteen_digits_are_exact)
{
	record.per_unit[UNIT_input_pixel] = 2075195312; /* 0.000000002075195312 USD */
	usage.units[UNIT_input_pixel] = (int64_t)1048576 * 1000000;
	expect("0.002175999999475712"); /* 2075195312 x 1048576 = 2,175,999,999,475,712 atto-USD */
}
END_TEST

START_TEST(cost_unit_without_a_price_leaves_the_event_unpriced)
{
	count(USAGE_input_tokens, 1000);
	usage.units[UNIT_ocr_page] = 1000000;
	expect_unpriced();
}
END_TEST

START_TEST(cost_tokens_and_units_are_both_charged)
{
	record.per_unit[UNIT_ocr_page] = (int128)2 * decimal_pow10(UNIT_PRICE_SCALE - 3); /* 0.002 USD */
	count(USAGE_input_tokens, 1000);
	usage.units[UNIT_ocr_page] = 3000000;
	expect("0.008"); /* 1000 x 2/M + 3 x 0.002 */
}
END_TEST

/* ---- what has no price, what is free ---- */

START_TEST(cost_tokens_on_a_record_with_unit_prices_only_are_unpriced)
{
	clear(&tiers[0], -1);
	record.per_unit[UNIT_input_second] = 1000000;
	count(USAGE_input_tokens, 5);
	expect_unpriced();
	count(USAGE_input_tokens, 0);
	expect_unpriced();
}
END_TEST

START_TEST(cost_output_without_a_price_leaves_the_event_unpriced)
{
	tiers[0].per_million[CATEGORY_output] = PRICE_NONE;
	count(USAGE_input_tokens, 5);
	expect("0.00001");
	count(USAGE_output_tokens, 1);
	expect_unpriced();
}
END_TEST

START_TEST(cost_nothing_reported_is_unpriced)
{
	usage.has_counts = false;
	expect_unpriced();
}
END_TEST

START_TEST(cost_prices_of_zero_make_an_event_free)
{
	tiers[0].per_million[CATEGORY_input] = 0;
	tiers[0].per_million[CATEGORY_output] = 0;
	count(USAGE_input_tokens, 1000);
	expect("0");
	ck_assert_int_eq(result.status, PRICING_FREE);
	ck_assert_uint_eq(result.n_lines, 1);
}
END_TEST

START_TEST(cost_tokens_of_zero_price_beside_a_paid_unit_are_priced)
{
	tiers[0].per_million[CATEGORY_input] = 0;
	tiers[0].per_million[CATEGORY_output] = 0;
	record.per_unit[UNIT_query] = 1000;
	count(USAGE_input_tokens, 1000);
	expect("0");
	ck_assert_int_eq(result.status, PRICING_PRICED);
}
END_TEST

START_TEST(cost_above_the_largest_amount_is_refused)
{
	tiers[0].per_million[CATEGORY_input] = USD(1000000);
	count(USAGE_input_tokens, USAGE_TOKENS_MAX);
	expect("1000000000000"); /* 10^12 x 1: the most there may be */
	count(USAGE_output_tokens, 1);
	ck_assert_int_eq(price_record_cost(&record, &query, &result, &p), ERR_RANGE);
	ck_assert_str_eq(p.fields[0].field, "cost");
}
END_TEST

START_TEST(cost_unit_product_beyond_128_bits_is_refused)
{
	record.per_unit[UNIT_input_second] = (int128)UNIT_PRICE_MAX_USD * decimal_pow10(UNIT_PRICE_SCALE);
	usage.units[UNIT_input_second] = UNIT_QUANTITY_MAX; /* 10^15 x 10^24 = 10^39 */
	ck_assert_int_eq(price_record_cost(&record, &query, &result, &p), ERR_RANGE);
}
END_TEST

/* ---- properties ---- */

START_TEST(cost_more_tokens_within_a_tier_never_cost_less)
{
	long_context();
	int128 last = -1;
	for (int64_t n = 200001; n < 200200; n++) {
		count(USAGE_input_tokens, n);
		ck_assert_int_eq(price_record_cost(&record, &query, &result, &p), ERR_OK);
		ck_assert(result.cost.atto > last);
		last = result.cost.atto;
	}
}
END_TEST

START_TEST(cost_charged_tokens_add_up_to_input_and_output)
{
	for (int c = 0; c < PRICE_CATEGORIES; c++)
		tiers[0].per_million[c] = USD(1 + c);
	/* Every pair of prices may be missing: the tokens charged are the same. */
	for (int a = 1; a < PRICE_CATEGORIES; a++) {
		for (int b = 1; b < PRICE_CATEGORIES; b++) {
			struct price_tier kept = tiers[0];
			kept.per_million[a == CATEGORY_output ? b : a] = PRICE_NONE;
			kept.per_million[b == CATEGORY_output ? CATEGORY_input_video : b] = PRICE_NONE;
			kept.per_million[CATEGORY_output] = USD(1);
			periods[0].standard.tiers = &kept;
			cached_audio();
			one_hour_writes();
			count(USAGE_output_tokens, 500);
			count(USAGE_reasoning_tokens, 100);
			count(USAGE_output_audio_tokens, 50);
			ck_assert_int_eq(price_record_cost(&record, &query, &result, &p), ERR_OK);
			int64_t charged = 0;
			for (size_t i = 0; i < result.n_lines; i++)
				charged += result.lines[i].quantity;
			ck_assert_int_eq(charged, 1500);
		}
	}
}
END_TEST

#define LOOP(test, table) tcase_add_loop_test(t, test, 0, sizeof table / sizeof table[0])

static void add_tokens(TCase *t)
{
	tcase_add_test(t, cost_input_and_output_are_charged_per_million);
	tcase_add_test(t, cost_zero_tokens_on_a_paid_model_are_priced_at_zero);
	tcase_add_test(t, cost_largest_counts_are_exact);
	tcase_add_test(t, cost_one_token_at_the_smallest_price_is_exact);
	LOOP(cost_part_without_price_is_charged_as_its_whole, parts);
	LOOP(cost_part_with_price_is_charged_once, parts);
	LOOP(cost_part_that_is_all_leaves_no_line_for_the_whole, parts);
	tcase_add_test(t, cost_one_hour_writes_with_price_are_taken_from_the_writes);
	tcase_add_test(t, cost_one_hour_writes_without_price_cost_as_writes);
	tcase_add_test(t, cost_one_hour_writes_with_price_but_writes_without_leave_the_rest_to_input);
	tcase_add_test(t, cost_cached_audio_with_price_is_charged_at_it);
	tcase_add_test(t, cost_cached_audio_without_price_takes_the_cached_price);
	tcase_add_test(t, cost_cached_audio_without_cached_price_costs_as_audio);
	tcase_add_test(t, cost_cached_audio_without_any_of_these_prices_costs_as_input);
	tcase_add_test(t, cost_cached_image_goes_like_cached_audio);
	tcase_add_test(t, cost_more_parts_than_input_is_refused);
	tcase_add_test(t, cost_contradictory_counts_are_refused_by_name);
}

static void add_prices(TCase *t)
{
	tcase_add_test(t, cost_input_exactly_at_a_tier_costs_the_lower_price);
	tcase_add_test(t, cost_input_one_above_a_tier_costs_the_higher_price_for_all);
	tcase_add_test(t, cost_category_that_a_tier_does_not_name_keeps_the_lower_price);
	tcase_add_test(t, cost_tier_counts_cached_tokens_as_input);
	tcase_add_test(t, cost_large_output_does_not_cross_a_tier);
	tcase_add_test(t, cost_second_before_a_price_change_costs_the_old_price);
	tcase_add_test(t, cost_instant_of_a_price_change_costs_the_new_price);
	tcase_add_test(t, cost_before_the_first_and_after_the_last_period_is_unpriced);
	LOOP(cost_daily_window_holds_from_inclusive_to_exclusive_on_its_days, window_cases);
	LOOP(cost_window_over_midnight_goes_by_the_date_of_the_instant, night_cases);
	tcase_add_test(t, cost_category_that_a_window_does_not_name_keeps_its_price);
	LOOP(cost_service_tier_replaces_the_standard_prices, tier_cases);
	tcase_add_test(t, cost_category_that_a_service_tier_does_not_name_keeps_the_standard_price);
	tcase_add_test(t, cost_service_tier_without_tiers_has_one_price_at_every_length);
	tcase_add_test(t, cost_service_tier_with_its_own_tier_uses_that);
	tcase_add_test(t, cost_service_tier_wins_over_a_window);
	tcase_add_test(t, cost_multiplier_raises_token_prices_only);
	tcase_add_test(t, cost_multiplier_of_another_value_or_setting_does_not_apply);
}

static void add_rest(TCase *t)
{
	tcase_add_test(t, cost_request_fee_is_charged_once_even_without_tokens);
	tcase_add_test(t, cost_searches_without_a_fee_are_unpriced);
	tcase_add_test(t, cost_request_fee_goes_by_a_known_search_size);
	tcase_add_test(t, cost_request_fee_of_an_unknown_search_size_is_the_period_s);
	tcase_add_test(t, cost_request_that_pays_for_its_searches_charges_them_not_again);
	tcase_add_test(t, cost_search_fee_goes_by_a_known_search_size);
	tcase_add_test(t, cost_searches_of_unknown_size_are_unpriced_when_the_fee_goes_by_size);
	tcase_add_test(t, cost_seconds_are_charged_by_fractions);
	tcase_add_test(t, cost_pixels_at_eighteen_digits_are_exact);
	tcase_add_test(t, cost_unit_without_a_price_leaves_the_event_unpriced);
	tcase_add_test(t, cost_tokens_and_units_are_both_charged);
	tcase_add_test(t, cost_tokens_on_a_record_with_unit_prices_only_are_unpriced);
	tcase_add_test(t, cost_output_without_a_price_leaves_the_event_unpriced);
	tcase_add_test(t, cost_nothing_reported_is_unpriced);
	tcase_add_test(t, cost_prices_of_zero_make_an_event_free);
	tcase_add_test(t, cost_tokens_of_zero_price_beside_a_paid_unit_are_priced);
	tcase_add_test(t, cost_above_the_largest_amount_is_refused);
	tcase_add_test(t, cost_unit_product_beyond_128_bits_is_refused);
	tcase_add_test(t, cost_more_tokens_within_a_tier_never_cost_less);
	tcase_add_test(t, cost_charged_tokens_add_up_to_input_and_output);
}

int main(void)
{
	Suite *const s = suite_create("cost");
	TCase *const t = tcase_create("cost");
	tcase_add_checked_fixture(t, setup, teardown);
	add_tokens(t);
	add_prices(t);
	add_rest(t);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
