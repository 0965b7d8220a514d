/* A user's own price from the body of a request: what is accepted, what it costs, and what is refused by
 * name. */
#include "llmlab/core/match.h"
#include "llmlab/core/price.h"
#include "llmlab/providers/catalogue_load.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct problem p;
static struct price_record record;

static void setup(void)
{
	arena_init(&arena, (size_t)1 << 20);
	problem_init(&p, &arena);
	memset(&record, 0, sizeof record);
}

static void teardown(void)
{
	catalogue_record_release(&record);
	arena_release(&arena);
}

static enum err parse(const char *json)
{
	struct json_doc doc;
	ck_assert_msg(json_doc_parse(&doc, json, strlen(json), &json_limits_default, &arena, &p) == ERR_OK,
		"%s", json);
	const enum err e = catalogue_parse_override(&doc, doc.root, &arena, &record, &p);
	json_doc_release(&doc);
	return e;
}

START_TEST(catalogue_parse_override_full_body_is_a_record)
{
	ck_assert_msg(parse("{\"provider\":\" OpenAI "
			    "\",\"model\":\"My-GPT\",\"from\":\"2026-01-01T00:00:00Z\",\"to\":"
			    "\"2026-02-01T00:00:00Z\",\"per_million_tokens\":{\"input\":\"2.5\",\"output\":"
			    "10},\"per_thousand\":"
			    "{\"web_searches\":5},\"tiers\":[{\"above_input_tokens\":1000,\"input\":3}],"
			    "\"service_tiers\":{\"batch\":"
			    "{\"per_million_tokens\":{\"input\":1.25}}},\"note\":\"negotiated\"}") == ERR_OK,
		"%s", problem_detail(&p));
	ck_assert_str_eq(record.provider, "openai");
	ck_assert_str_eq(record.model, "my-gpt");
	ck_assert_ptr_nonnull(match_first(record.match, record.n_match, "my-gpt"));
	ck_assert_ptr_null(match_first(record.match, record.n_match, "my-gpt-2"));
	const struct price_period *const period = &record.periods[0];
	ck_assert_int_eq(period->from_us, 1767225600000000);
	ck_assert_int_eq(period->to_us, 1769904000000000);
	ck_assert_int_eq(period->standard.tiers[0].per_million[CATEGORY_input], 2500000000);
	ck_assert_int_eq(period->standard.tiers[1].per_million[CATEGORY_input], 3000000000);
	ck_assert_int_eq(period->standard.tiers[1].per_million[CATEGORY_output], PRICE_NONE);
	ck_assert_int_eq(period->service[TIER_BATCH].tiers[0].per_million[CATEGORY_input], 1250000000);
	ck_assert_int_eq(period->web_searches_per_thousand, 5000000000);
	ck_assert_int_eq(period->requests_per_thousand, PRICE_NONE);
}
END_TEST

START_TEST(catalogue_parse_override_rule_matches_names)
{
	ck_assert_msg(parse("{\"provider\":\"mine\",\"match\":{\"any\":[{\"prefix\":\"llama-\"},{\"regex\":"
			    "\"^qwen[0-9]\"}]},"
			    "\"per_million_tokens\":{\"input\":0}}") == ERR_OK,
		"%s", problem_detail(&p));
	ck_assert_ptr_nonnull(match_first(record.match, record.n_match, "llama-3"));
	ck_assert_ptr_nonnull(match_first(record.match, record.n_match, "qwen3-32b"));
	ck_assert_ptr_null(match_first(record.match, record.n_match, "qwen"));
	ck_assert_str_eq(record.model, "{\"any\":[{\"prefix\":\"llama-\"},{\"regex\":\"^qwen[0-9]\"}]}");
}
END_TEST

START_TEST(catalogue_parse_override_cost_is_exact)
{
	struct usage u = {.has_counts = true};
	u.counts[USAGE_input_tokens] = 3;
	const struct price_query q = {.model = "m", .usage = &u};
	struct price_result r;
	ck_assert_int_eq(parse("{\"provider\":\"mine\",\"model\":\"m\",\"per_million_tokens\":{\"input\":0."
			       "123456789}}"),
		ERR_OK);
	ck_assert_int_eq(price_record_cost(&record, &q, &r, &p), ERR_OK);
	ck_assert(r.cost.atto == (int128)370370367 * 1000); /* 3 x 0.123456789 / 10^6 */
}
END_TEST

struct bad_body {
	const char *json;
	const char *fields; /* the names of the bad fields */
};
static const struct bad_body bad_bodies[] = {
	{"{}", "provider model per_million_tokens"},
	{"{\"provider\":\"x\",\"model\":\"m\",\"match\":{\"prefix\":\"m\"},\"per_million_tokens\":{}}",
		"match"},
	{"{\"provider\":\"\",\"model\":\"  \",\"per_million_tokens\":{}}", "provider model"},
	{"{\"provider\":\"x\",\"model\":\"m\",\"per_million_tokens\":{\"input\":\"-1\",\"output\":\"abc\"}}",
		"per_million_tokens.input per_million_tokens.output"},
	{"{\"provider\":\"x\",\"model\":\"m\",\"per_million_tokens\":{\"inptu\":\"1\"}}",
		"per_million_tokens.inptu"},
	{"{\"provider\":\"x\",\"model\":\"m\",\"per_million_tokens\":{},\"tiers\":[{\"input\":1}]}",
		"tiers[0].above_input_tokens"},
	{"{\"provider\":\"x\",\"model\":\"m\",\"per_million_tokens\":{},\"from\":\"2026-02-01T00:00:00Z\","
	 "\"to\":"
	 "\"2026-01-01T00:00:00Z\"}",
		"to"},
	{"{\"provider\":\"x\",\"model\":\"m\",\"per_million_tokens\":{},\"from\":\"soon\"}", "from"},
	{"{\"provider\":\"x\",\"model\":\"m\",\"per_million_tokens\":{},\"currency\":\"EUR\"}", "currency"},
	{"{\"provider\":\"x\",\"match\":{\"regex\":\"(a*)*\"},\"per_million_tokens\":{}}", "match.regex"},
	{"{\"provider\":\"x\",\"match\":{\"any\":[{\"equals\":\"a\"},{\"regex\":\"(\"}]},\"per_million_"
	 "tokens\":{}}",
		"match.any[1].regex"},
	{"{\"provider\":\"x\",\"match\":{\"regex\":\"^a\"},\"per_million_tokens\":{\"input\":-1}}",
		"per_million_tokens.input"},
	{"{\"provider\":\"x\",\"model\":\"m\",\"per_thousand\":{\"requests\":\"0.0000000001\"}}",
		"per_thousand.requests"},
	{"{\"provider\":\"x\",\"model\":\"m\",\"per_million_tokens\":{},\"service_tiers\":{\"turbo\":{}}}",
		"service_tiers.turbo"},
};

START_TEST(catalogue_parse_override_bad_fields_are_named)
{
	char names[512] = "";
	record.provider = "untouched";
	ck_assert_int_eq(parse(bad_bodies[_i].json), ERR_VALIDATION);
	for (size_t i = 0; i < p.n_fields; i++) {
		strcat(names, i == 0 ? "" : " ");
		strcat(names, p.fields[i].field);
	}
	ck_assert_str_eq(names, bad_bodies[_i].fields);
	ck_assert_str_eq(record.provider, "untouched");
}
END_TEST

START_TEST(catalogue_parse_override_array_is_refused)
{
	ck_assert_int_eq(parse("[]"), ERR_VALIDATION);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("override");
	TCase *const t = tcase_create("override");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, catalogue_parse_override_full_body_is_a_record);
	tcase_add_test(t, catalogue_parse_override_rule_matches_names);
	tcase_add_test(t, catalogue_parse_override_cost_is_exact);
	tcase_add_loop_test(t, catalogue_parse_override_bad_fields_are_named, 0,
		sizeof bad_bodies / sizeof bad_bodies[0]);
	tcase_add_test(t, catalogue_parse_override_array_is_refused);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
