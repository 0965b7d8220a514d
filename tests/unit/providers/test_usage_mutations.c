/* Usage bodies damaged at random (fixed seed): whatever a provider or an attacker sends is read into counts
 * that do not contradict each other and can be priced, or refused with a reason; nothing in between. */
#include "llmlab/core/price.h"
#include "llmlab/providers/catalogue_load.h"
#include "llmlab/providers/usage_format.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 4000 /* of each body */

static const struct {
	const char *provider;
	const char *json;
} bodies[] = {
	{"openai", "{\"prompt_tokens\":1200,\"completion_tokens\":300,\"total_tokens\":1500,\"prompt_tokens_"
		   "details\":"
		   "{\"cached_tokens\":1000,\"audio_tokens\":10},\"completion_tokens_details\":{\"reasoning_"
		   "tokens\":200,"
		   "\"audio_tokens\":5}}"},
	{"openai", "{\"input_tokens\":1200,\"input_tokens_details\":{\"cached_tokens\":100},\"output_"
		   "tokens\":30,"
		   "\"output_tokens_details\":{\"reasoning_tokens\":20},\"total_tokens\":1230}"},
	{"anthropic",
		"{\"input_tokens\":200,\"cache_creation_input_tokens\":700,\"cache_read_input_tokens\":5000,"
		"\"cache_creation\":{\"ephemeral_5m_input_tokens\":300,\"ephemeral_1h_input_tokens\":400},"
		"\"output_tokens\":300,\"server_tool_use\":{\"web_search_requests\":2},\"service_tier\":"
		"\"batch\"}"},
	{"google", "{\"promptTokenCount\":100,\"cachedContentTokenCount\":40,\"candidatesTokenCount\":20,"
		   "\"thoughtsTokenCount\":7,\"toolUsePromptTokenCount\":9,\"totalTokenCount\":136,"
		   "\"promptTokensDetails\":"
		   "[{\"modality\":\"TEXT\",\"tokenCount\":60},{\"modality\":\"AUDIO\",\"tokenCount\":40}]}"},
	{"aws", "{\"inputTokens\":10,\"outputTokens\":5,\"totalTokens\":65,\"cacheReadInputTokens\":30,"
		"\"cacheWriteInputTokens\":20}"},
	{"cohere", "{\"billed_units\":{\"input_tokens\":12.0,\"output_tokens\":3.0},\"tokens\":{\"input_"
		   "tokens\":80,\"output_tokens\":3}}"},
	{"x-ai", "{\"prompt_tokens\":40,\"completion_tokens\":5,\"total_tokens\":60,\"completion_tokens_"
		 "details\":{\"reasoning_tokens\":15}}"},
	{"perplexity", "{\"prompt_tokens\":8,\"completion_tokens\":9,\"citation_tokens\":3,\"reasoning_"
		       "tokens\":4,\"num_search_queries\":2}"},
};

static struct catalogue *catalogue;
static uint64_t state = 88172645463325252ULL;

static uint32_t next_random(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % below;
}

/* A few bytes overwritten, removed, or repeated; digits more often than not. */
static void damage(char *text)
{
	static const char *const bits[] = {"0", "9", "-1", "1e3", "0.5", "999999999999999999", "1e400",
		"null", "true", "\"7\"", "{}", "[]", "{", "}", ",", ":", "\\u0000", "\"", "0.0000001", "-0"};
	for (uint32_t times = 1 + next_random(3); times > 0; times--) {
		const size_t n = strlen(text);
		size_t at = next_random((uint32_t)n);
		for (size_t i = at; i < n && next_random(4) > 0; i++)
			if (text[i] >= '0' && text[i] <= '9') {
				at = i;
				break;
			}
		const char *const bit = bits[next_random(sizeof bits / sizeof bits[0])];
		const size_t drop = next_random(3) < n - at ? next_random(3) % (n - at + 1) : 0;
		char tail[2048];
		snprintf(tail, sizeof tail, "%s", text + at + drop);
		snprintf(text + at, 2048 - at, "%s%s", next_random(4) == 0 ? "" : bit, tail);
	}
}

static void read_one(const char *provider, const char *text)
{
	struct arena arena;
	struct problem p;
	struct json_doc doc;
	arena_init(&arena, (size_t)1 << 20);
	problem_init(&p, &arena);
	if (json_doc_parse(&doc, text, strlen(text), &json_limits_response, &arena, &p) == ERR_OK) {
		const struct price_match match = price_find(catalogue, provider, "gpt-4", NULL);
		const struct usage_format *format;
		struct usage_report report = {0};
		enum err e = usage_format_find(catalogue, NULL, match.provider, doc.root, false, &format, &p);
		if (e == ERR_OK)
			e = usage_format_read(format, &doc, doc.root, &arena, &report, &p);
		ck_assert_msg((e == ERR_OK) == problem_none(&p), "%s: %s", provider, text);
		if (e == ERR_OK)
			ck_assert_msg(usage_check(&report.usage, &p) == ERR_OK, "%s: %s", provider, text);
		json_doc_release(&doc);
	}
	arena_release(&arena);
}

START_TEST(usage_format_read_damaged_bodies_are_read_soundly_or_refused)
{
	struct arena arena;
	struct problem p;
	arena_init(&arena, (size_t)1 << 20);
	problem_init(&p, &arena);
	ck_assert_msg(catalogue_load(NULL, &catalogue, &p) == ERR_OK, "%s", problem_detail(&p));
	for (size_t b = 0; b < sizeof bodies / sizeof bodies[0]; b++) {
		read_one(bodies[b].provider, bodies[b].json);
		for (int i = 0; i < ROUNDS; i++) {
			char text[2048];
			snprintf(text, sizeof text, "%s", bodies[b].json);
			damage(text);
			read_one(bodies[b].provider, text);
		}
	}
	catalogue_free(catalogue);
	arena_release(&arena);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("usage mutations");
	TCase *const t = tcase_create("mutations");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, usage_format_read_damaged_bodies_are_read_soundly_or_refused);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
