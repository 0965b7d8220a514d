/* Who bills and which record prices a call, on the embedded catalogue; and the cost of well-known models at
 * published prices, worked out by hand. */
#include "llmlab/base/calendar.h"
#include "llmlab/core/price_find.h"
#include "llmlab/providers/catalogue_load.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct catalogue *catalogue;

static void setup(void)
{
	struct problem p;
	arena_init(&arena, (size_t)16 << 20);
	problem_init(&p, &arena);
	ck_assert_msg(catalogue_load(NULL, &catalogue, &p) == ERR_OK, "%s", problem_detail(&p));
}

static void teardown(void)
{
	catalogue_free(catalogue);
	arena_release(&arena);
}

struct find_case {
	const char *provider, *model, *base_url;
	const char *found;  /* id of who bills; NULL: unknown */
	const char *record; /* "<provider>/<model>"; NULL: unknown */
	const char *rule;
};

static const struct find_case find_cases[] = {
	/* the provider is given: id, alias, rule, any case */
	{"openai", "gpt-4", NULL, "openai", "openai/gpt-4", "equals"},
	{"OpenAI", "GPT-4", NULL, "openai", "openai/gpt-4", "equals"},
	{" openai\t", " gpt-4\n", NULL, "openai", "openai/gpt-4", "equals"},
	{"openai-chat", "gpt-4", NULL, "openai", "openai/gpt-4", "equals"},
	{"my-openai-proxy", "gpt-4", NULL, "openai", "openai/gpt-4", "equals"},
	{"bedrock", "anthropic.claude-3-haiku-20240307-v1:0", NULL, "aws",
		"aws/regional.anthropic.claude-3-haiku-20240307-v1:0", "contains"},
	{"xai", "grok-4", NULL, "x-ai", "x-ai/grok-4-0709", "equals"},
	{"z.ai", "glm-5", NULL, "zai", "zai/glm-5", "equals"},
	{"huggingface/groq", "x", NULL, "huggingface_groq", NULL, "unknown_model"},
	{"nobody", "gpt-4", NULL, NULL, NULL, "unknown_provider"},
	{"nobody", "gpt-4", "https://api.openai.com/v1", NULL, NULL,
		"unknown_provider"}, /* a given provider is not replaced */
	/* prefixes, dates */
	{"anthropic", "claude-sonnet-4-5-20250929", NULL, "anthropic", "anthropic/claude-sonnet-4-5",
		"prefix"},
	{"openai", "gpt-4o-2024-05-13", NULL, "openai", "openai/gpt-4o-2024-05-13", "equals"},
	{"openai", "gpt-5.6-luna-2026-07-01", NULL, "openai", "openai/gpt-5.6-luna", "regex"},
	{"openai", "gpt-5.6-luna-2026-07-0", NULL, "openai", NULL, "unknown_model"},
	{"openai", "gpt-4-9999", NULL, "openai", NULL, "unknown_model"},
	{"openai", "", NULL, "openai", NULL, "unknown_model"},
	/* fallback: the provider stays the one asked for, one step */
	{"azure", "gpt-4", NULL, "azure", "openai/gpt-4", "equals:fallback"},
	{"azure", "claude-sonnet-4-5", NULL, "azure", "anthropic/claude-sonnet-4-5", "prefix:fallback"},
	{"openrouter", "gpt-4", NULL, "openrouter", NULL, "unknown_model"},
	/* stripped prefixes */
	{"google", "models/gemini-2.5-pro", NULL, "google", "google/gemini-2.5-pro", "prefix:stripped"},
	{"vertex_ai", "publishers/google/models/gemini-2.5-pro", NULL, "google", "google/gemini-2.5-pro",
		"prefix:stripped"},
	{"azure", "azure/gpt-4", NULL, "azure", "openai/gpt-4", "equals:fallback:stripped"},
	{"openai", "openai/gpt-4", NULL, "openai", "openai/gpt-4", "equals:stripped"},
	/* a name of its own: the same record with and without the provider */
	{"together", "togetherai/gryphe/mythomax-l2-13b", NULL, "together", "together/Gryphe/MythoMax-L2-13b",
		"equals:stripped"},
	{NULL, "togetherai/gryphe/mythomax-l2-13b", NULL, "together", "together/Gryphe/MythoMax-L2-13b",
		"equals"},
	/* from the address */
	{NULL, "gpt-4", "https://api.openai.com/v1", "openai", "openai/gpt-4", "equals"},
	{NULL, "gpt-4", "HTTPS://API.OPENAI.COM/v1", "openai", "openai/gpt-4", "equals"},
	{NULL, "gpt-4", "https://mine.openai.azure.com/openai", "azure", "openai/gpt-4", "equals:fallback"},
	{NULL, "gpt-4", "https://evil.example/https://api.groq.com", "openai", "openai/gpt-4", "equals"},
	{NULL, "llama-3.1-8b-instant", "https://api.groq.com/openai/v1", "groq", "groq/llama-3.1-8b-instant",
		"equals"},
	{"litellm", "gpt-4", "https://openrouter.ai/api", "openrouter", NULL, "unknown_model"},
	{"", "gpt-4", NULL, "openai", "openai/gpt-4", "equals"},
	/* from the model */
	{NULL, "claude-3-haiku", NULL, "anthropic", "anthropic/claude-3-haiku", "prefix"},
	{NULL, "gpt-4", NULL, "openai", "openai/gpt-4", "equals"},
	{NULL, "o3", NULL, "openai", "openai/o3", "equals"},
	{NULL, "gemini-2.5-pro", NULL, "google", "google/gemini-2.5-pro", "prefix"},
	{NULL, "groq/llama-3.1-8b-instant", NULL, "groq", "groq/llama-3.1-8b-instant", "equals"},
	{NULL, "Azure_AI/gpt-4", NULL, "azure", "openai/gpt-4", "equals:fallback"},
	{NULL, "openrouter/openai/gpt-4", NULL, "openrouter", "openrouter/openai/gpt-4", "equals"},
	{NULL, "nothing-known", NULL, NULL, NULL, "unknown_provider"},
	{NULL, "", NULL, NULL, NULL, "unknown_provider"},
};

static void check_find(const struct find_case *f)
{
	char record[512] = "";
	const struct price_match m = price_find(catalogue, f->provider, f->model, f->base_url);
	ck_assert_str_eq(m.provider == NULL ? "-" : m.provider->id, f->found == NULL ? "-" : f->found);
	if (m.record != NULL)
		snprintf(record, sizeof record, "%s/%s", m.record->provider, m.record->model);
	ck_assert_str_eq(record, f->record == NULL ? "" : f->record);
	ck_assert_str_eq(price_rule_name(&m), f->rule);
}

START_TEST(price_find_names_and_addresses_lead_to_provider_and_record)
{
	check_find(&find_cases[_i]);
	check_find(&find_cases[_i]); /* from the memo: the same */
}
END_TEST

START_TEST(price_find_every_alias_is_its_provider)
{
	for (size_t i = 0; i < catalogue->n_providers; i++) {
		const struct provider *const v = &catalogue->providers[i];
		for (size_t k = 0; k < v->n_aliases; k++)
			ck_assert_ptr_eq(price_find(catalogue, v->aliases[k], "x", NULL).provider, v);
	}
}
END_TEST

START_TEST(price_find_names_too_long_match_nothing)
{
	char model[402];
	memset(model, 'a', sizeof model - 1);
	memcpy(model, "gpt-", 4);
	model[401] = '\0';
	ck_assert_ptr_null(price_find(catalogue, NULL, model, NULL).provider);
	ck_assert_ptr_null(price_find(catalogue, "openai", model, NULL).record);
	ck_assert_str_eq(price_find(catalogue, "openai", model, NULL).provider->id, "openai");
	ck_assert_ptr_null(price_find(catalogue, model, "gpt-4", NULL).provider);
	model[200] = '\0';
	ck_assert_str_eq(price_find(catalogue, NULL, model, NULL).provider->id, "openai");
}
END_TEST

/* ---- well-known models at published prices ---- */

struct cost_case {
	const char *provider, *model, *instant, *tier, *geo;
	int64_t input, cache_read, cache_write, cache_write_1h, output, reasoning, searches;
	const char *cost;
};

static const struct cost_case cost_cases[] = {
	/* GPT-4: 30 / 60. 1000 x 30/M + 500 x 60/M = 0.03 + 0.03 */
	{"openai", "gpt-4", "2026-01-01T00:00:00Z", NULL, NULL, 1000, 0, 0, 0, 500, 0, 0, "0.06"},
	/* batch is half: 15 / 30 */
	{"openai", "gpt-4", "2026-01-01T00:00:00Z", "batch", NULL, 1000, 0, 0, 0, 500, 0, 0, "0.03"},
	/* GPT-4o: 2.5 / 1.25 / 10. 600 x 2.5/M + 400 x 1.25/M + 100 x 10/M = 0.0015 + 0.0005 + 0.001 */
	{"openai", "gpt-4o", "2026-01-01T00:00:00Z", NULL, NULL, 1000, 400, 0, 0, 100, 50, 0, "0.003"},
	/* priority, also as "fast": 4.25 / 17 */
	{"openai", "gpt-4o", "2026-01-01T00:00:00Z", "priority", NULL, 1000, 0, 0, 0, 100, 0, 0, "0.00595"},
	{"openai", "gpt-4o", "2026-01-01T00:00:00Z", "fast", NULL, 1000, 0, 0, 0, 100, 0, 0, "0.00595"},
	{"azure", "gpt-4o", "2026-01-01T00:00:00Z", "fast", NULL, 1000, 0, 0, 0, 100, 0, 0, "0.00595"},
	/* o3 was cut on 2025-06-10: 10 / 40 to 2 / 8 */
	{"openai", "o3", "2025-06-09T23:59:59Z", NULL, NULL, 1000, 0, 0, 0, 1000, 0, 0, "0.05"},
	{"openai", "o3", "2025-06-10T00:00:00Z", NULL, NULL, 1000, 0, 0, 0, 1000, 0, 0, "0.01"},
	/* gpt-5.6-luna: long from 272,001; 0.2 / 1.2 and 0.4 / 1.8 from 2026-07-30 */
	{"openai", "gpt-5.6-luna", "2026-08-01T00:00:00Z", NULL, NULL, 272000, 0, 0, 0, 1000, 0, 0, "0.0556"},
	{"openai", "gpt-5.6-luna", "2026-08-01T00:00:00Z", NULL, NULL, 272001, 0, 0, 0, 1000, 0, 0,
		"0.1106004"},
	/* its writes: 100 x 0.25/M, the rest 900 x 0.2/M */
	{"openai", "gpt-5.6-luna", "2026-08-01T00:00:00Z", NULL, NULL, 1000, 0, 100, 0, 0, 0, 0, "0.000205"},
	/* Sonnet 4.5: 3 / 0.3 / 3.75 / 6 / 15. 400 x 3 + 300 x 0.3 + 200 x 3.75 + 100 x 6 + 1000 x 15 = 17640
	   per M; 2 searches */
	{"anthropic", "claude-sonnet-4-5", "2026-01-01T00:00:00Z", NULL, NULL, 1000, 300, 300, 100, 1000, 0,
		2, "0.03764"},
	/* above 200,000: 6 / 22.5. 200001 x 6/M + 100 x 22.5/M */
	{"anthropic", "claude-sonnet-4-5", "2026-01-01T00:00:00Z", NULL, NULL, 200001, 0, 0, 0, 100, 0, 0,
		"1.202256"},
	{"anthropic", "claude-sonnet-4-5", "2026-01-01T00:00:00Z", NULL, NULL, 200000, 0, 0, 0, 100, 0, 0,
		"0.6015"},
	/* batch has its own long price: 3 / 11.25; searches are not discounted */
	{"anthropic", "claude-sonnet-4-5", "2026-01-01T00:00:00Z", "batch", NULL, 200001, 0, 0, 0, 100, 0, 1,
		"0.611128"},
	/* Opus 4.6 lost its long price on 2026-03-13 */
	{"anthropic", "claude-opus-4-6", "2026-03-12T23:59:59Z", NULL, NULL, 200001, 0, 0, 0, 0, 0, 0,
		"2.00001"},
	{"anthropic", "claude-opus-4-6", "2026-03-13T00:00:00Z", NULL, NULL, 200001, 0, 0, 0, 0, 0, 0,
		"1.000005"},
	/* fast mode: 30 / 150; US only: x 1.1, tokens only */
	{"anthropic", "claude-opus-4-6", "2026-04-01T00:00:00Z", "fast", NULL, 1000, 0, 0, 0, 100, 0, 0,
		"0.045"},
	{"anthropic", "claude-opus-4-6", "2026-04-01T00:00:00Z", NULL, "us", 1000, 0, 0, 0, 100, 0, 1,
		"0.01825"},
	/* DeepSeek's cheap night until 2025-09-05 16:00 UTC: 0.27 / 1.1 from 00:30 to 16:30, half of it
	   otherwise */
	{"deepseek", "deepseek-chat", "2025-08-01T00:29:59Z", NULL, NULL, 1000000, 0, 0, 0, 0, 0, 0, "0.135"},
	{"deepseek", "deepseek-chat", "2025-08-01T00:30:00Z", NULL, NULL, 1000000, 0, 0, 0, 0, 0, 0, "0.27"},
	{"deepseek", "deepseek-chat", "2025-08-01T16:29:59Z", NULL, NULL, 1000000, 0, 0, 0, 0, 0, 0, "0.27"},
	{"deepseek", "deepseek-chat", "2025-08-01T16:30:00Z", NULL, NULL, 1000000, 0, 0, 0, 0, 0, 0, "0.135"},
	{"deepseek", "deepseek-chat", "2025-09-05T15:59:59Z", NULL, NULL, 1000000, 0, 0, 0, 0, 0, 0, "0.27"},
	{"deepseek", "deepseek-chat", "2025-09-05T16:00:00Z", NULL, NULL, 1000000, 0, 0, 0, 0, 0, 0, "0.56"},
	/* v4 peak hours: every day at first, on weekdays only from 2026-08-22 16:00; the 23rd is a Sunday */
	{"deepseek", "deepseek-v4-flash", "2026-08-22T02:00:00Z", NULL, NULL, 1000000, 0, 0, 0, 0, 0, 0,
		"0.44"},
	{"deepseek", "deepseek-v4-flash", "2026-08-23T02:00:00Z", NULL, NULL, 1000000, 0, 0, 0, 0, 0, 0,
		"0.22"},
	{"deepseek", "deepseek-v4-flash", "2026-08-24T02:00:00Z", NULL, NULL, 1000000, 0, 0, 0, 0, 0, 0,
		"0.44"},
	{"deepseek", "deepseek-v4-flash", "2026-08-24T04:00:00Z", NULL, NULL, 1000000, 0, 0, 0, 0, 0, 0,
		"0.22"},
	/* Gemini 2.5 Pro: above 200,000 all at 2.5 / 15; batch keeps the standard cached price (0.25 there)
	 */
	{"google", "gemini-2.5-pro", "2026-01-01T00:00:00Z", NULL, NULL, 200001, 0, 0, 0, 1000, 0, 0,
		"0.5150025"},
	{"google", "gemini-2.5-pro", "2026-01-01T00:00:00Z", "batch", NULL, 200001, 200001, 0, 0, 1000, 0, 0,
		"0.05750025"},
	/* Perplexity deep research: reasoning 3, 18 searches at 5 per 1,000: 33 x 2 + 7163 x 8 + 73997 x 3
	   per M + 0.09 */
	{"perplexity", "sonar-deep-research", "2026-01-01T00:00:00Z", NULL, NULL, 33, 0, 0, 0, 81160, 73997,
		18, "0.369361"},
	/* a request fee of 12 per 1,000: 10 x 1/M + 20 x 1/M + 0.012 */
	{"perplexity", "sonar", "2026-01-01T00:00:00Z", NULL, NULL, 10, 0, 0, 0, 20, 0, 0, "0.01203"},
	{"openai", "text-embedding-3-small", "2026-01-01T00:00:00Z", NULL, NULL, 8, 0, 0, 0, 0, 0, 0,
		"0.00000016"},
	{"mistral", "mistral-medium-latest", "2026-06-15T23:59:59Z", NULL, NULL, 1000, 0, 0, 0, 1000, 0, 0,
		"0.0024"},
	{"mistral", "mistral-medium-latest", "2026-06-16T00:00:00Z", NULL, NULL, 1000, 0, 0, 0, 1000, 0, 0,
		"0.009"},
	/* 10^12 tokens: 30 x 10^6 USD */
	{"openai", "gpt-4", "2026-01-01T00:00:00Z", NULL, NULL, 1000000000000, 0, 0, 0, 0, 0, 0, "30000000"},
};

START_TEST(price_event_published_prices_give_costs_worked_out_by_hand)
{
	const struct cost_case *const c = &cost_cases[_i];
	struct usage u = {.has_counts = true, .web_searches = c->searches};
	struct price_query q = {.provider = c->provider,
		.model = c->model,
		.service_tier = c->tier,
		.inference_geo = c->geo,
		.usage = &u};
	struct problem p;
	struct price_result r;
	char cost[DECIMAL_TEXT_MAX];
	u.counts[USAGE_input_tokens] = c->input;
	u.counts[USAGE_cache_read_tokens] = c->cache_read;
	u.counts[USAGE_cache_write_tokens] = c->cache_write;
	u.counts[USAGE_cache_write_1h_tokens] = c->cache_write_1h;
	u.counts[USAGE_output_tokens] = c->output;
	u.counts[USAGE_reasoning_tokens] = c->reasoning;
	problem_init(&p, &arena);
	ck_assert_int_eq(instant_parse(c->instant, strlen(c->instant), &q.at_us), ERR_OK);
	ck_assert_msg(price_event(catalogue, NULL, 0, &q, &r, &p) == ERR_OK, "%s", problem_detail(&p));
	ck_assert_int_eq(r.status, PRICING_PRICED);
	decimal_format(r.cost.atto, MONEY_SCALE, cost);
	ck_assert_str_eq(cost, c->cost);
}
END_TEST

static void check_units(
	const char *provider, const char *model, enum usage_unit unit, int64_t millionths, const char *want)
{
	struct usage u = {0};
	const struct price_query q = {.provider = provider, .model = model, .usage = &u};
	struct problem p;
	struct price_result r;
	char cost[DECIMAL_TEXT_MAX];
	u.units[unit] = millionths;
	problem_init(&p, &arena);
	ck_assert_int_eq(price_event(catalogue, NULL, 0, &q, &r, &p), ERR_OK);
	decimal_format(r.cost.atto, MONEY_SCALE, cost);
	ck_assert_str_eq(r.status == PRICING_UNPRICED ? r.rule : cost, want);
}

START_TEST(price_event_units_are_charged_by_the_piece)
{
	check_units("openai", "whisper-1", UNIT_input_second, 9500000, "0.00095"); /* 9.5 x 0.0001 */
	check_units(
		"groq", "whisper-large-v3", UNIT_input_second, 60000000, "0.0018498");	/* 60 x 0.00003083 */
	check_units("mistral", "mistral-ocr-latest", UNIT_ocr_page, 29000000, "0.116"); /* 29 x 0.004 */
	check_units("mistral", "mistral-ocr-latest", UNIT_annotation_page, 2000000, "0.01"); /* 2 x 0.005 */
	check_units("cohere", "rerank-v3.5", UNIT_query, 1000000, "0.002");
	check_units("openai", "tts-1", UNIT_input_character, 1000000000, "0.015"); /* 1000 x 0.000015 */
	check_units("openai", "container", UNIT_code_interpreter_session, 1000000, "0.03");
	check_units("openai", "gpt-4", UNIT_ocr_page, 1000000, "no_price");
}
END_TEST

START_TEST(price_event_old_perplexity_models_have_a_request_fee)
{
	struct usage u = {.has_counts = true};
	const struct price_query q = {.provider = "perplexity", .model = "pplx-70b-online", .usage = &u};
	struct problem p;
	struct price_result r;
	u.counts[USAGE_output_tokens] = 1000;
	problem_init(&p, &arena);
	ck_assert_int_eq(price_event(catalogue, NULL, 0, &q, &r, &p), ERR_OK);
	ck_assert(r.cost.atto == 7800 * decimal_pow10(12)); /* 1000 x 2.8/M + 0.005 */
}
END_TEST

START_TEST(price_event_free_models_are_free)
{
	struct usage u = {.has_counts = true};
	const struct price_query q = {.provider = "google", .model = "gemma-3-27b-it", .usage = &u};
	struct problem p;
	struct price_result r;
	u.counts[USAGE_input_tokens] = 500000;
	problem_init(&p, &arena);
	ck_assert_int_eq(price_event(catalogue, NULL, 0, &q, &r, &p), ERR_OK);
	ck_assert_int_eq(r.status, PRICING_FREE);
	ck_assert(r.cost.atto == 0);
}
END_TEST

#define LOOP(test, table) tcase_add_loop_test(t, test, 0, sizeof table / sizeof table[0])

int main(void)
{
	Suite *const s = suite_create("price_find");
	TCase *const t = tcase_create("price_find");
	tcase_add_unchecked_fixture(t, setup, teardown);
	LOOP(price_find_names_and_addresses_lead_to_provider_and_record, find_cases);
	tcase_add_test(t, price_find_every_alias_is_its_provider);
	tcase_add_test(t, price_find_names_too_long_match_nothing);
	LOOP(price_event_published_prices_give_costs_worked_out_by_hand, cost_cases);
	tcase_add_test(t, price_event_units_are_charged_by_the_piece);
	tcase_add_test(t, price_event_old_perplexity_models_have_a_request_fee);
	tcase_add_test(t, price_event_free_models_are_free);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
