/* Names, service tiers, the text of stored lines, and the user's own prices on a small catalogue made here.
 */
#include "llmlab/core/price.h"
#include "llmlab/core/match.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct problem p;

static void setup(void)
{
	arena_init(&arena, (size_t)1 << 20);
	problem_init(&p, &arena);
}

static void teardown(void)
{
	arena_release(&arena);
}

/* ---- names ---- */

START_TEST(pricing_status_name_is_that_of_the_contract)
{
	ck_assert_str_eq(pricing_status_name(PRICING_PRICED), "priced");
	ck_assert_str_eq(pricing_status_name(PRICING_FREE), "free");
	ck_assert_str_eq(pricing_status_name(PRICING_UNPRICED), "unpriced");
	ck_assert_str_eq(pricing_status_name(PRICING_REPORTED), "reported");
}
END_TEST

struct tier_case {
	const char *provider;
	const char *reported;
	enum service_tier tier;
};
static const struct tier_case tier_cases[] = {
	{"openai", NULL, TIER_STANDARD},
	{NULL, NULL, TIER_STANDARD},
	{"openai", "fast", TIER_PRIORITY},
	{"azure", "FAST", TIER_PRIORITY},
	{"anthropic", "fast", TIER_FAST},
	{NULL, "fast", TIER_FAST},
	{"google", "ON_DEMAND", TIER_STANDARD},
	{"google", "ON_DEMAND_FLEX", TIER_FLEX},
	{"google", "ON_DEMAND_PRIORITY", TIER_PRIORITY},
	{"google", "PROVISIONED_THROUGHPUT", TIER_STANDARD},
	{"openai", "scale", TIER_STANDARD},
	{"openai", "flex", TIER_FLEX},
	{"anthropic", "priority", TIER_PRIORITY},
	{"anthropic", "batch", TIER_BATCH},
};

START_TEST(price_service_tier_reported_names_stand_for_tiers)
{
	ck_assert_int_eq(
		price_service_tier(tier_cases[_i].provider, tier_cases[_i].reported), tier_cases[_i].tier);
}
END_TEST

START_TEST(service_tier_name_is_that_of_the_catalogue)
{
	ck_assert_str_eq(service_tier_name(TIER_STANDARD), "standard");
	ck_assert_str_eq(service_tier_name(TIER_FAST), "fast");
}
END_TEST

START_TEST(price_rule_name_tells_how_the_record_was_found)
{
	const struct price_record r = {0};
	const struct provider v = {0};
	ck_assert_str_eq(
		price_rule_name(&(struct price_match){.provider = &v, .record = &r, .kind = MATCH_PREFIX}),
		"prefix");
	ck_assert_str_eq(price_rule_name(&(struct price_match){
				 .provider = &v, .record = &r, .kind = MATCH_EQUALS, .fallback = true}),
		"equals:fallback");
	ck_assert_str_eq(price_rule_name(&(struct price_match){
				 .provider = &v, .record = &r, .kind = MATCH_REGEX, .stripped = true}),
		"regex:stripped");
	ck_assert_str_eq(price_rule_name(&(struct price_match){.provider = &v}), "unknown_model");
	ck_assert_str_eq(price_rule_name(&(struct price_match){0}), "unknown_provider");
}
END_TEST

/* ---- lines as text ---- */

static int128 usd(const char *text)
{
	int128 v = 0;
	ck_assert_int_eq(decimal_parse(text, strlen(text), PRICE_LINE_SCALE, decimal_pow10(30), &v), ERR_OK);
	return v;
}

START_TEST(price_lines_format_each_kind_has_its_own_units)
{
	const struct price_line lines[] = {
		{.kind = LINE_TOKENS, .category = CATEGORY_input, .quantity = 1000, .price = usd("30")},
		{.kind = LINE_TOKENS,
			.category = CATEGORY_output_reasoning,
			.quantity = 5,
			.price = usd("2.75")},
		{.kind = LINE_WEB_SEARCHES, .quantity = 2, .price = usd("10")},
		{.kind = LINE_REQUESTS, .quantity = 1, .price = usd("12")},
		{.kind = LINE_UNIT, .unit = UNIT_input_second, .quantity = 12500000, .price = usd("0.0001")},
	};
	char text[PRICE_LINES_TEXT_MAX];
	const char *const want = "input:1000@30;output_reasoning:5@2.75;web_searches:2@10;requests:1@12;"
				 "unit.input_second:12.5@0.0001";
	ck_assert_uint_eq(price_lines_format(lines, 5, text), strlen(want));
	ck_assert_str_eq(text, want);
}
END_TEST

START_TEST(price_lines_parse_is_the_inverse_and_computes_costs)
{
	struct price_line lines[PRICE_LINES_MAX];
	size_t n = 0;
	char again[PRICE_LINES_TEXT_MAX];
	const char *const text = "input:1000@30;cache_write_1h:7@2.2;web_searches:2@10;unit.ocr_page:3@0.002";
	ck_assert_int_eq(price_lines_parse(text, lines, &n), ERR_OK);
	ck_assert_uint_eq(n, 4);
	ck_assert(lines[0].cost.atto == usd("0.03"));	   /* 1000 x 30/M */
	ck_assert(lines[1].cost.atto == usd("0.0000154")); /* 7 x 2.2/M */
	ck_assert(lines[2].cost.atto == usd("0.02"));	   /* 2 x 10/1000 */
	ck_assert(lines[3].cost.atto == usd("0.006"));	   /* 3 x 0.002 */
	price_lines_format(lines, n, again);
	ck_assert_str_eq(again, text);
}
END_TEST

START_TEST(price_lines_parse_empty_text_has_no_lines)
{
	struct price_line lines[PRICE_LINES_MAX];
	size_t n = 9;
	ck_assert_int_eq(price_lines_parse("", lines, &n), ERR_OK);
	ck_assert_uint_eq(n, 0);
}
END_TEST

static const char *const broken_lines[] = {"input", "input:1", "input@1", "input:@1", "input:1@",
	"nothing:1@1", "unit.nothing:1@1", "input:-1@1", "input:1@-1", "input:1.5@1", "input:1@x",
	"input:1@1;", ";input:1@1", "unit.input_second:0.000001@0.000000000000000001",
	"input:99999999999999999999@1",
	"a_name_that_is_much_longer_than_any_name_of_a_line_may_ever_be_in_here:1@1"};

START_TEST(price_lines_parse_broken_text_is_refused)
{
	struct price_line lines[PRICE_LINES_MAX];
	size_t n = 9;
	ck_assert_int_eq(price_lines_parse(broken_lines[_i], lines, &n), ERR_SYNTAX);
	ck_assert_uint_eq(n, 9);
}
END_TEST

START_TEST(price_lines_format_all_lines_at_their_longest_fit)
{
	struct price_line lines[PRICE_LINES_MAX];
	size_t n = 0;
	const int128 price = usd("999999.123456789012345678");
	for (int c = 0; c < PRICE_CATEGORIES; c++)
		lines[n++] = (struct price_line){.kind = LINE_TOKENS,
			.category = (enum price_category)c,
			.quantity = USAGE_TOKENS_MAX,
			.price = price};
	lines[n++] = (struct price_line){
		.kind = LINE_WEB_SEARCHES, .quantity = USAGE_SEARCHES_MAX, .price = price};
	lines[n++] = (struct price_line){.kind = LINE_REQUESTS, .quantity = 1, .price = price};
	for (int u = 0; u < USAGE_UNITS; u++)
		lines[n++] = (struct price_line){.kind = LINE_UNIT,
			.unit = (enum usage_unit)u,
			.quantity = UNIT_QUANTITY_MAX - 1,
			.price = price};
	char text[PRICE_LINES_TEXT_MAX];
	ck_assert_uint_eq(n, PRICE_LINES_MAX);
	ck_assert_uint_lt(price_lines_format(lines, n, text), PRICE_LINES_TEXT_MAX);
}
END_TEST

/* ---- own prices ---- */

static struct price_tier tiers[3];
static struct price_period periods[3];
static struct match_rule rules[3];
static struct price_record records[3];
static struct provider provider;
static struct catalogue catalogue;
static const char *const aliases[] = {"self"};
static const char *const prefixes[] = {"models/"};

static void make_record(size_t i, const char *provider_id, const char *model, int64_t usd_per_million)
{
	tiers[i].above_input_tokens = -1;
	for (int c = 0; c < PRICE_CATEGORIES; c++)
		tiers[i].per_million[c] = PRICE_NONE;
	tiers[i].per_million[CATEGORY_input] = usd_per_million * 1000000000;
	periods[i] = (struct price_period){.from_us = INT64_MIN,
		.to_us = INT64_MAX,
		.standard = {.tiers = &tiers[i], .n_tiers = 1},
		.requests_per_thousand = PRICE_NONE,
		.web_searches_per_thousand = PRICE_NONE};
	rules[i] = (struct match_rule){.kind = MATCH_EQUALS, .text = model};
	records[i] = (struct price_record){.provider = provider_id,
		.model = model,
		.match = &rules[i],
		.n_match = 1,
		.periods = &periods[i],
		.n_periods = 1};
	for (int u = 0; u < USAGE_UNITS; u++)
		records[i].per_unit[u] = PRICE_NONE;
	for (int k = 0; k < SEARCH_SIZES; k++)
		records[i].search_per_thousand[k] = PRICE_NONE;
}

/* A catalogue with selfhosted/llama at 1 USD; an own price of 5 USD for what the test says. */
static const struct price_record *own_price(const char *provider_id, const char *model)
{
	make_record(0, "selfhosted", "llama", 1);
	make_record(1, provider_id, model, 5);
	provider = (struct provider){.id = "selfhosted",
		.aliases = aliases,
		.n_aliases = 1,
		.strip_prefixes = prefixes,
		.n_strip_prefixes = 1,
		.records = records,
		.n_records = 1,
		.index = price_index_build(records, 1, &arena)};
	catalogue =
		(struct catalogue){.version = "0123456789abcdef", .providers = &provider, .n_providers = 1};
	return &records[1];
}

struct own_case {
	const char *own_provider, *own_model; /* of the own price */
	const char *provider, *model;	      /* of the call */
	const char *cost;		      /* of 1,000,000 tokens; NULL: unpriced */
	const char *rule;
};
static const struct own_case own_cases[] = {
	{"selfhosted", "llama", "selfhosted", "llama", "5", "override"},
	{"selfhosted", "llama", "Self", " LLAMA ", "5", "override"},
	{"self", "llama", "selfhosted", "llama", "5", "override"},
	{"selfhosted", "llama", NULL, "selfhosted/llama", "5", "override"},
	{"selfhosted", "llama", "selfhosted", "models/llama", "5", "override"},
	{"selfhosted", "other", "selfhosted", "other", "5", "override"},
	{"selfhosted", "other", "selfhosted", "llama", "1", "equals"},
	{"other", "llama", "selfhosted", "llama", "1", "equals"},
	{"mine", "llama", "Mine", "llama", "5", "override"}, /* a provider the catalogue does not know */
	{"mine", "llama", "theirs", "llama", NULL, "unknown_provider"},
	{"unknown", "nothing", NULL, "nothing", "5", "override"}, /* nobody named a provider */
	{"unknown", "nothing", "theirs", "nothing", NULL, "unknown_provider"},
	{"selfhosted", "other", "selfhosted", "models/llama", "1", "equals:stripped"},
	{"selfhosted", "other", "selfhosted", "nothing", NULL, "unknown_model"},
};

START_TEST(price_event_own_price_wins_where_it_is_for)
{
	const struct own_case *const c = &own_cases[_i];
	const struct price_record *const own[] = {own_price(c->own_provider, c->own_model)};
	struct usage u = {.has_counts = true};
	u.counts[USAGE_input_tokens] = 1000000;
	const struct price_query q = {.provider = c->provider, .model = c->model, .usage = &u};
	struct price_result r;
	ck_assert_int_eq(price_event(&catalogue, own, 1, &q, &r, &p), ERR_OK);
	ck_assert_str_eq(r.rule, c->rule);
	ck_assert_str_eq(r.catalogue_version, "0123456789abcdef");
	ck_assert_int_eq(r.own_price, strcmp(c->rule, "override") == 0);
	ck_assert_int_eq(r.status, c->cost == NULL ? PRICING_UNPRICED : PRICING_PRICED);
	ck_assert(r.cost.atto == (c->cost == NULL ? 0 : usd(c->cost)));
}
END_TEST

START_TEST(price_event_first_own_price_that_holds_wins)
{
	own_price("selfhosted", "llama");
	make_record(2, "selfhosted", "llama", 7);
	const struct price_record *const own[] = {&records[2], &records[1]};
	struct usage u = {.has_counts = true};
	u.counts[USAGE_input_tokens] = 1000000;
	const struct price_query q = {.provider = "selfhosted", .model = "llama", .usage = &u};
	struct price_result r;
	ck_assert_int_eq(price_event(&catalogue, own, 2, &q, &r, &p), ERR_OK);
	ck_assert(r.cost.atto == usd("7"));
}
END_TEST

START_TEST(price_event_contradictory_counts_of_an_unknown_model_are_refused)
{
	own_price("x", "y");
	struct usage u = {.has_counts = true};
	u.counts[USAGE_cache_read_tokens] = 1;
	const struct price_query q = {.provider = "nobody", .model = "z", .usage = &u};
	struct price_result r;
	ck_assert_int_eq(price_event(&catalogue, NULL, 0, &q, &r, &p), ERR_VALIDATION);
	ck_assert_str_eq(p.fields[0].field, "cache_read_tokens");
}
END_TEST

#define LOOP(test, table) tcase_add_loop_test(t, test, 0, sizeof table / sizeof table[0])

int main(void)
{
	Suite *const s = suite_create("price");
	TCase *const t = tcase_create("price");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, pricing_status_name_is_that_of_the_contract);
	LOOP(price_service_tier_reported_names_stand_for_tiers, tier_cases);
	tcase_add_test(t, service_tier_name_is_that_of_the_catalogue);
	tcase_add_test(t, price_rule_name_tells_how_the_record_was_found);
	tcase_add_test(t, price_lines_format_each_kind_has_its_own_units);
	tcase_add_test(t, price_lines_parse_is_the_inverse_and_computes_costs);
	tcase_add_test(t, price_lines_parse_empty_text_has_no_lines);
	LOOP(price_lines_parse_broken_text_is_refused, broken_lines);
	tcase_add_test(t, price_lines_format_all_lines_at_their_longest_fit);
	LOOP(price_event_own_price_wins_where_it_is_for, own_cases);
	tcase_add_test(t, price_event_first_own_price_that_holds_wins);
	tcase_add_test(t, price_event_contradictory_counts_of_an_unknown_model_are_refused);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
