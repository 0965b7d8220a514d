/* Every body kind with realistic bodies: what is read, and what is refused. The counts that must come out
 * were added up by hand from the rules in docs/pricing.md ("Usage objects"). */
#include "llmlab/core/price_find.h"
#include "llmlab/providers/catalogue_load.h"
#include "llmlab/providers/usage_format.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE 1024

static struct arena arena;
static struct catalogue *catalogue;

static void setup(void)
{
	struct problem p;
	arena_init(&arena, (size_t)8 << 20);
	problem_init(&p, &arena);
	ck_assert_msg(catalogue_load(NULL, &catalogue, &p) == ERR_OK, "%s", problem_detail(&p));
}

static void teardown(void)
{
	catalogue_free(catalogue);
	arena_release(&arena);
}

enum given { USAGE, RESPONSE };

struct body {
	const char *provider; /* who bills, or NULL */
	const char *format;   /* usage_format, or NULL */
	enum given given;
	const char *json;
	const char *want; /* what write_report() says, or "! field: ..." for a refusal */
};

static void add(char *out, const char *name, const char *value)
{
	const size_t n = strlen(out);
	snprintf(out + n, TEXT_SIZE - n, "%s%s=%s", n == 0 ? "" : " ", name, value);
}

/* Everything that is not 0 or absent. */
static void write_report(const struct usage_report *r, char *out)
{
	char number[DECIMAL_TEXT_MAX];
	out[0] = '\0';
	for (int c = 0; c < USAGE_COUNTS; c++) {
		decimal_format(r->usage.counts[c], 0, number);
		if (r->usage.counts[c] != 0)
			add(out, usage_count_name((enum usage_count)c), number);
	}
	decimal_format(r->usage.web_searches, 0, number);
	if (r->usage.web_searches != 0)
		add(out, "web_searches", number);
	for (int u = 0; u < USAGE_UNITS; u++) {
		decimal_format(r->usage.units[u], UNIT_SCALE, number);
		if (r->usage.units[u] != 0)
			add(out, usage_unit_name((enum usage_unit)u), number);
	}
	decimal_format(r->reported_cost.atto, MONEY_SCALE, number);
	if (r->has_reported_cost)
		add(out, "cost", number);
	const char *const texts[][2] = {{"model", r->model}, {"id", r->response_id},
		{"tier", r->service_tier}, {"geo", r->inference_geo}, {"speed", r->speed},
		{"size", r->search_context_size}};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		if (texts[i][1] != NULL)
			add(out, texts[i][0], texts[i][1]);
	}
	if (r->usage_missing)
		add(out, "usage", "missing");
	if (!r->usage.has_counts && !r->usage_missing)
		add(out, "counts", "none");
}

static void read_body(const struct body *b, char *out)
{
	struct problem p;
	struct json_doc doc;
	const struct usage_format *format = NULL;
	struct usage_report report;
	problem_init(&p, &arena);
	ck_assert_msg(
		json_doc_parse(&doc, b->json, strlen(b->json), &json_limits_response, &arena, &p) == ERR_OK,
		"%s", b->json);
	const struct provider *const provider =
		b->provider == NULL ? NULL : provider_by_name(catalogue, b->provider);
	ck_assert(b->provider == NULL || provider != NULL);
	enum err e = usage_format_find(
		catalogue, b->format, provider, doc.root, b->given == RESPONSE, &format, &p);
	if (e == ERR_OK)
		e = b->given == RESPONSE
			    ? usage_format_read_response(format, &doc, doc.root, &arena, &report, &p)
			    : usage_format_read(format, &doc, doc.root, &arena, &report, &p);
	if (e == ERR_OK)
		write_report(&report, out);
	else
		snprintf(out, TEXT_SIZE, "! %s", problem_detail(&p));
	json_doc_release(&doc);
}

static void check_bodies(const struct body *bodies, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char got[TEXT_SIZE];
		read_body(&bodies[i], got);
		ck_assert_msg(strcmp(got, bodies[i].want) == 0, "%s\n  want %s\n  got  %s", bodies[i].json,
			bodies[i].want, got);
	}
}
#define CHECK_BODIES(table) check_bodies(table, sizeof table / sizeof table[0])

static const struct body openai_bodies[] = {
	/* chat: cached and audio are inside prompt, reasoning inside completion */
	{"openai", NULL, USAGE,
		"{\"prompt_tokens\":2006,\"completion_tokens\":300,\"total_tokens\":2306,\"prompt_tokens_"
		"details\":"
		"{\"cached_tokens\":1920,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_"
		"tokens\":128,"
		"\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
		"input_tokens=2006 cache_read_tokens=1920 output_tokens=300 reasoning_tokens=128"},
	{"openai", "openai.chat", USAGE,
		"{\"prompt_tokens\":100,\"completion_tokens\":10,\"prompt_tokens_details\":{\"cached_"
		"tokens\":40,"
		"\"cache_write_tokens\":20}}",
		"input_tokens=100 cache_read_tokens=40 cache_write_tokens=20 output_tokens=10"},
	{"openai", NULL, USAGE,
		"{\"prompt_tokens\":100,\"completion_tokens\":60,\"prompt_tokens_details\":{\"audio_tokens\":"
		"70,\"text_tokens\":"
		"30,\"image_tokens\":5},\"completion_tokens_details\":{\"audio_tokens\":50,\"text_tokens\":"
		"10}}",
		"input_tokens=100 input_audio_tokens=70 input_image_tokens=5 output_tokens=60 "
		"output_audio_tokens=50"},
	/* null details, as streaming chunks have */
	{"openai", NULL, USAGE,
		"{\"prompt_tokens\":7,\"completion_tokens\":0,\"total_tokens\":7,\"prompt_tokens_details\":"
		"null}",
		"input_tokens=7"},
	/* zero is a count too */
	{"openai", NULL, USAGE, "{\"prompt_tokens\":0,\"completion_tokens\":0}", ""},
	/* whole numbers in any notation */
	{"openai", NULL, USAGE, "{\"prompt_tokens\":1e3,\"completion_tokens\":5.0}",
		"input_tokens=1000 output_tokens=5"},
	{"openai", NULL, RESPONSE,
		"{\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"flex\",\"usage\":{"
		"\"prompt_tokens\":9,"
		"\"completion_tokens\":12,\"total_tokens\":21}}",
		"input_tokens=9 output_tokens=12 model=gpt-4o-2024-08-06 id=chatcmpl-1 tier=flex"},
	{"openai", NULL, RESPONSE, "{\"id\":\"chatcmpl-2\",\"model\":\"gpt-4o\",\"usage\":null}",
		"model=gpt-4o id=chatcmpl-2 usage=missing"},
	{"openai", NULL, RESPONSE, "{\"id\":\"chatcmpl-3\",\"model\":\"gpt-4o\",\"choices\":[]}",
		"model=gpt-4o id=chatcmpl-3 usage=missing"},
	/* responses */
	{"openai", NULL, USAGE,
		"{\"input_tokens\":328,\"input_tokens_details\":{\"cached_tokens\":100,\"cache_write_"
		"tokens\":28},"
		"\"output_tokens\":52,\"output_tokens_details\":{\"reasoning_tokens\":12},\"total_tokens\":"
		"380}",
		"input_tokens=328 cache_read_tokens=100 cache_write_tokens=28 output_tokens=52 "
		"reasoning_tokens=12"},
	{"openai", NULL, RESPONSE,
		"{\"id\":\"resp_1\",\"model\":\"gpt-5.4\",\"service_tier\":\"priority\",\"usage\":{\"input_"
		"tokens\":5,\"output_tokens\":"
		"6,\"total_tokens\":11}}",
		"input_tokens=5 output_tokens=6 model=gpt-5.4 id=resp_1 tier=priority"},
	/* embeddings: chat reads the same, the explicit kind too */
	{"openai", NULL, USAGE, "{\"prompt_tokens\":8,\"total_tokens\":8}", "input_tokens=8"},
	{"openai", "openai.embeddings", USAGE, "{\"prompt_tokens\":8,\"total_tokens\":8}", "input_tokens=8"},
	/* images: modalities split the input */
	{"openai", NULL, USAGE,
		"{\"input_tokens\":50,\"input_tokens_details\":{\"text_tokens\":10,\"image_tokens\":40},"
		"\"output_tokens\":4160,"
		"\"total_tokens\":4210,\"output_tokens_details\":{\"image_tokens\":4160,\"text_tokens\":0}}",
		"input_tokens=50 input_image_tokens=40 output_tokens=4160 output_image_tokens=4160"},
	/* realtime: singular "token", cached split by modality */
	{"openai", NULL, USAGE,
		"{\"total_tokens\":253,\"input_tokens\":132,\"output_tokens\":121,\"input_token_details\":{"
		"\"text_tokens\":119,"
		"\"audio_tokens\":13,\"image_tokens\":0,\"cached_tokens\":64,\"cached_tokens_details\":{"
		"\"text_tokens\":60,"
		"\"audio_tokens\":4,\"image_tokens\":0}},\"output_token_details\":{\"text_tokens\":30,"
		"\"audio_tokens\":91}}",
		"input_tokens=132 cache_read_tokens=64 input_audio_tokens=13 cache_read_audio_tokens=4 "
		"output_tokens=121 "
		"output_audio_tokens=91"},
	{"openai", NULL, RESPONSE,
		"{\"type\":\"response.done\",\"response\":{\"id\":\"resp_r\",\"usage\":{\"input_tokens\":10,"
		"\"output_tokens\":2,"
		"\"input_token_details\":{\"audio_tokens\":10}}}}",
		"input_tokens=10 input_audio_tokens=10 output_tokens=2 id=resp_r"},
	/* transcription by tokens and by duration */
	{"openai", NULL, RESPONSE,
		"{\"text\":\"hi\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"input_token_details\":"
		"{\"text_tokens\":0,"
		"\"audio_tokens\":14},\"output_tokens\":45,\"total_tokens\":59}}",
		"input_tokens=14 input_audio_tokens=14 output_tokens=45"},
	{"openai", NULL, USAGE, "{\"type\":\"duration\",\"seconds\":9.5}", "input_second=9.5 counts=none"},
	{"openai", "openai.transcription", USAGE, "{\"seconds\":9}", "input_second=9 counts=none"},
	/* an alias that looks like a kind; any case */
	{NULL, "OpenAI.Chat", USAGE, "{\"prompt_tokens\":3,\"completion_tokens\":4}",
		"input_tokens=3 output_tokens=4"},
	{NULL, "openai", USAGE, "{\"input_tokens\":3,\"output_tokens\":4}", "input_tokens=3 output_tokens=4"},
};

START_TEST(usage_format_openai_bodies_give_inclusive_counts)
{
	CHECK_BODIES(openai_bodies);
}
END_TEST

static const struct body anthropic_bodies[] = {
	/* input excludes both cache kinds: 2095 + 1000 + 200 */
	{"anthropic", NULL, USAGE,
		"{\"input_tokens\":2095,\"cache_creation_input_tokens\":1000,\"cache_read_input_tokens\":200,"
		"\"cache_creation\":"
		"{\"ephemeral_5m_input_tokens\":600,\"ephemeral_1h_input_tokens\":400},\"output_tokens\":503,"
		"\"output_tokens_details\":{\"thinking_tokens\":100},\"server_tool_use\":{\"web_search_"
		"requests\":3,"
		"\"web_fetch_requests\":1},\"service_tier\":\"batch\",\"inference_geo\":\"us\"}",
		"input_tokens=3295 cache_read_tokens=200 cache_write_tokens=1000 cache_write_1h_tokens=400 "
		"output_tokens=503 "
		"reasoning_tokens=100 web_searches=3 tier=batch geo=us"},
	{"anthropic", NULL, USAGE,
		"{\"input_tokens\":10,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
		"\"output_tokens\":5,"
		"\"service_tier\":\"standard\",\"speed\":\"fast\",\"server_tool_use\":null}",
		"input_tokens=10 output_tokens=5 tier=fast speed=fast"},
	{"anthropic", NULL, USAGE, "{\"input_tokens\":10,\"output_tokens\":5,\"speed\":\"standard\"}",
		"input_tokens=10 output_tokens=5 speed=standard"},
	{"anthropic", NULL, RESPONSE,
		"{\"id\":\"msg_1\",\"model\":\"claude-sonnet-4-5-20250929\",\"usage\":{\"input_tokens\":10,"
		"\"output_tokens\":5}}",
		"input_tokens=10 output_tokens=5 model=claude-sonnet-4-5-20250929 id=msg_1"},
	{"anthropic", NULL, USAGE, "{\"prompt_tokens\":10,\"completion_tokens\":5,\"cached_tokens\":4}",
		"input_tokens=10 cache_read_tokens=4 output_tokens=5"},
	{NULL, "anthropic.messages", USAGE, "{\"input_tokens\":1,\"output_tokens\":2}",
		"input_tokens=1 output_tokens=2"},
	{"aws", "aws.anthropic", USAGE,
		"{\"input_tokens\":1,\"cache_read_input_tokens\":9,\"output_tokens\":2}",
		"input_tokens=10 cache_read_tokens=9 output_tokens=2"},
	{"google", NULL, USAGE, "{\"input_tokens\":1,\"cache_creation_input_tokens\":9,\"output_tokens\":2}",
		"input_tokens=10 cache_write_tokens=9 output_tokens=2"},
	{"azure", NULL, USAGE, "{\"input_tokens\":1,\"cache_read_input_tokens\":9,\"output_tokens\":2}",
		"input_tokens=10 cache_read_tokens=9 output_tokens=2"},
	{"minimax", NULL, USAGE, "{\"input_tokens\":1,\"cache_read_input_tokens\":9,\"output_tokens\":2}",
		"input_tokens=10 cache_read_tokens=9 output_tokens=2"},
	/* contradiction: 600 + 500 is not 1000 */
	{"anthropic", NULL, USAGE,
		"{\"input_tokens\":1,\"cache_creation_input_tokens\":1000,\"cache_creation\":{\"ephemeral_5m_"
		"input_tokens\":600,"
		"\"ephemeral_1h_input_tokens\":500},\"output_tokens\":5}",
		"! usage.cache_creation_input_tokens is not cache_creation.ephemeral_5m_input_tokens + "
		"cache_creation.ephemeral_1h_input_tokens (1000, not 1100)"},
};

START_TEST(usage_format_anthropic_bodies_add_cache_to_input)
{
	CHECK_BODIES(anthropic_bodies);
}
END_TEST

static const struct body google_bodies[] = {
	/* total 1000 + 100 + 50 + 200; input adds tool prompts, output adds thoughts */
	{"google", NULL, USAGE,
		"{\"promptTokenCount\":1000,\"cachedContentTokenCount\":300,\"candidatesTokenCount\":100,"
		"\"thoughtsTokenCount\":200,"
		"\"toolUsePromptTokenCount\":50,\"totalTokenCount\":1350,\"promptTokensDetails\":[{"
		"\"modality\":\"TEXT\","
		"\"tokenCount\":600},{\"modality\":\"AUDIO\",\"tokenCount\":300},{\"modality\":\"IMAGE\","
		"\"tokenCount\":60},"
		"{\"modality\":\"DOCUMENT\",\"tokenCount\":40}],\"cacheTokensDetails\":[{\"modality\":"
		"\"TEXT\",\"tokenCount\":200},"
		"{\"modality\":\"AUDIO\",\"tokenCount\":100}],\"candidatesTokensDetails\":[{\"modality\":"
		"\"TEXT\",\"tokenCount\":100}],"
		"\"toolUsePromptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":50}],\"trafficType\":"
		"\"ON_DEMAND_PRIORITY\"}",
		"input_tokens=1050 cache_read_tokens=300 input_audio_tokens=300 input_image_tokens=100 "
		"cache_read_audio_tokens=100 "
		"output_tokens=300 reasoning_tokens=200 tier=ON_DEMAND_PRIORITY"},
	{"google", NULL, RESPONSE,
		"{\"responseId\":\"r1\",\"modelVersion\":\"gemini-2.5-flash\",\"usageMetadata\":{"
		"\"promptTokenCount\":4,"
		"\"candidatesTokenCount\":1290,\"totalTokenCount\":1294,\"candidatesTokensDetails\":[{"
		"\"modality\":\"IMAGE\","
		"\"tokenCount\":1290}]}}",
		"input_tokens=4 output_tokens=1290 output_image_tokens=1290 model=gemini-2.5-flash id=r1"},
	{"google", NULL, USAGE, "{\"promptTokenCount\":4,\"totalTokenCount\":4}", "input_tokens=4"},
	{"google", "vertex_ai", USAGE,
		"{\"promptTokenCount\":4,\"responseTokenCount\":6,\"totalTokenCount\":10}",
		"input_tokens=4 output_tokens=6"},
	{"google", "google.chat", USAGE, "{\"prompt_tokens\":4,\"completion_tokens\":6,\"total_tokens\":10}",
		"input_tokens=4 output_tokens=6"},
	{"google", NULL, USAGE, "{\"promptTokenCount\":4,\"candidatesTokenCount\":6,\"totalTokenCount\":11}",
		"! usage.totalTokenCount is not promptTokenCount + candidatesTokenCount + "
		"toolUsePromptTokenCount + "
		"thoughtsTokenCount (11, not 10)"},
};

START_TEST(usage_format_google_bodies_add_thoughts_and_tool_prompts)
{
	CHECK_BODIES(google_bodies);
}
END_TEST

static const struct body aws_bodies[] = {
	/* 4,299 + 631 + 35,574 + 17,787 = 58,291 */
	{"aws", NULL, USAGE,
		"{\"inputTokens\":4299,\"outputTokens\":631,\"totalTokens\":58291,\"cacheReadInputTokens\":"
		"35574,"
		"\"cacheWriteInputTokens\":17787,\"cacheDetails\":[{\"ttl\":\"1h\",\"inputTokens\":10000},{"
		"\"ttl\":\"5m\","
		"\"inputTokens\":7787}]}",
		"input_tokens=57660 cache_read_tokens=35574 cache_write_tokens=17787 "
		"cache_write_1h_tokens=10000 "
		"output_tokens=631"},
	{"aws", "bedrock", RESPONSE,
		"{\"output\":{},\"serviceTier\":{\"type\":\"flex\"},\"usage\":{\"inputTokens\":3,"
		"\"outputTokens\":4,\"totalTokens\":7}}",
		"input_tokens=3 output_tokens=4 tier=flex"},
	{"aws", NULL, USAGE, "{\"inputTokens\":3,\"outputTokens\":4,\"totalTokens\":8}",
		"! usage.totalTokens is not inputTokens + cacheReadInputTokens + cacheWriteInputTokens + "
		"outputTokens (8, not 7)"},
};

START_TEST(usage_format_aws_bodies_add_cache_to_input)
{
	CHECK_BODIES(aws_bodies);
}
END_TEST

static const struct body other_bodies[] = {
	/* mistral: like openai; audio seconds are billed beside the tokens and are in the total */
	{"mistral", NULL, USAGE,
		"{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15,\"prompt_audio_seconds\":"
		"null,"
		"\"prompt_tokens_details\":{\"cached_tokens\":4}}",
		"input_tokens=10 cache_read_tokens=4 output_tokens=5"},
	{"mistral", NULL, USAGE,
		"{\"prompt_audio_seconds\":203,\"prompt_tokens\":4,\"total_tokens\":3264,\"completion_"
		"tokens\":635}",
		"input_tokens=4 output_tokens=635 input_audio_second=203"},
	{"mistral", NULL, RESPONSE,
		"{\"model\":\"mistral-ocr-2512\",\"usage_info\":{\"pages_processed\":29,\"doc_size_bytes\":1}"
		"}",
		"ocr_page=29 model=mistral-ocr-2512 counts=none"},
	/* cohere bills billed_units, written as floats */
	{"cohere", NULL, USAGE,
		"{\"billed_units\":{\"input_tokens\":12.0,\"output_tokens\":4.0},\"tokens\":{\"input_"
		"tokens\":215.0,"
		"\"output_tokens\":9.0},\"cached_tokens\":64.0}",
		"input_tokens=12 output_tokens=4"},
	{"cohere", NULL, USAGE, "{\"input_tokens\":12,\"output_tokens\":4}",
		"input_tokens=12 output_tokens=4"},
	{"cohere", NULL, RESPONSE,
		"{\"id\":\"c1\",\"usage\":{\"billed_units\":{\"input_tokens\":12,\"output_tokens\":4}}}",
		"input_tokens=12 output_tokens=4 id=c1"},
	{"cohere", "cohere.tokens", USAGE,
		"{\"tokens\":{\"input_tokens\":215.0,\"output_tokens\":9.0},\"cached_tokens\":64}",
		"input_tokens=215 cache_read_tokens=64 output_tokens=9"},
	{"cohere", NULL, RESPONSE,
		"{\"id\":\"r\",\"results\":[],\"meta\":{\"billed_units\":{\"search_units\":1}}}",
		"query=1 id=r counts=none"},
	{"cohere", NULL, RESPONSE,
		"{\"embeddings\":{},\"meta\":{\"billed_units\":{\"images\":2,\"input_tokens\":7}}}",
		"input_tokens=7 input_image_count=2"},
	{"cohere", NULL, USAGE, "{\"billed_units\":{\"input_tokens\":12.5}}",
		"! usage.input_tokens must be a whole number from 0 to 1000000000000"},
	/* deepseek: hits are the cached tokens */
	{"deepseek", NULL, USAGE,
		"{\"prompt_tokens\":100,\"completion_tokens\":20,\"total_tokens\":120,\"prompt_cache_hit_"
		"tokens\":64,"
		"\"prompt_cache_miss_tokens\":36,\"completion_tokens_details\":{\"reasoning_tokens\":11}}",
		"input_tokens=100 cache_read_tokens=64 output_tokens=20 reasoning_tokens=11"},
	{"deepseek", NULL, USAGE,
		"{\"prompt_tokens\":100,\"completion_tokens\":20,\"prompt_tokens_details\":{\"cached_"
		"tokens\":64},"
		"\"prompt_cache_hit_tokens\":64}",
		"input_tokens=100 cache_read_tokens=64 output_tokens=20"},
	{"deepseek", NULL, USAGE,
		"{\"prompt_tokens\":100,\"completion_tokens\":20,\"prompt_tokens_details\":{\"cached_"
		"tokens\":60},"
		"\"prompt_cache_hit_tokens\":64}",
		"! usage.prompt_tokens_details.cached_tokens differs from prompt_cache_hit_tokens (60 and "
		"64)"},
	{"deepseek", NULL, USAGE,
		"{\"prompt_tokens\":100,\"completion_tokens\":20,\"prompt_cache_hit_tokens\":64,\"prompt_"
		"cache_miss_tokens\":30}",
		"! usage.prompt_tokens is not prompt_cache_hit_tokens + prompt_cache_miss_tokens (100, not "
		"94)"},
	/* x-ai: reasoning is on top of completion, in both shapes */
	{"x-ai", NULL, USAGE,
		"{\"prompt_tokens\":32,\"completion_tokens\":9,\"total_tokens\":135,\"prompt_tokens_"
		"details\":{\"cached_tokens\":6,"
		"\"text_tokens\":32},\"completion_tokens_details\":{\"reasoning_tokens\":94},\"num_sources_"
		"used\":0,"
		"\"cost_in_usd_ticks\":2500000}",
		"input_tokens=32 cache_read_tokens=6 output_tokens=103 reasoning_tokens=94 cost=0.00025"},
	{"xai", "xai.chat", USAGE,
		"{\"prompt_tokens\":32,\"completion_tokens\":9,\"reasoning_tokens\":94,\"cached_prompt_text_"
		"tokens\":6}",
		"input_tokens=32 cache_read_tokens=6 output_tokens=103 reasoning_tokens=94"},
	/* perplexity: citations and reasoning on top, total without them */
	{"perplexity", NULL, USAGE,
		"{\"prompt_tokens\":33,\"completion_tokens\":7163,\"total_tokens\":7196,\"citation_tokens\":"
		"20016,"
		"\"num_search_queries\":18,\"reasoning_tokens\":73997,\"search_context_size\":\"low\","
		"\"cost\":{\"total_cost\":0.5}}",
		"input_tokens=33 output_tokens=101176 reasoning_tokens=73997 citation_tokens=20016 "
		"web_searches=18 cost=0.5 size=low"},
	/* openrouter: what it charged is kept beside ours, exactly */
	{"openrouter", NULL, USAGE,
		"{\"prompt_tokens\":194,\"completion_tokens\":2,\"total_tokens\":196,\"cost\":0.00014,"
		"\"prompt_tokens_details\":"
		"{\"cached_tokens\":0,\"cache_write_tokens\":100}}",
		"input_tokens=194 cache_write_tokens=100 output_tokens=2 cost=0.00014"},
	{"openrouter", NULL, USAGE, "{\"prompt_tokens\":1,\"completion_tokens\":2,\"cost\":1.5e-5}",
		"input_tokens=1 output_tokens=2 cost=0.000015"},
	{"openrouter", NULL, USAGE,
		"{\"prompt_tokens\":1,\"completion_tokens\":2,\"cost\":1.00000000000000001e-5}",
		"input_tokens=1 output_tokens=2"},
	{"groq", NULL, RESPONSE,
		"{\"id\":\"g\",\"model\":\"llama-3.1-8b-instant\",\"usage\":{\"queue_time\":0.03,\"prompt_"
		"tokens\":18,\"prompt_time\":"
		"0.0006,\"completion_tokens\":20,\"completion_time\":0.02,\"total_tokens\":38,\"total_time\":"
		"0.03}}",
		"input_tokens=18 output_tokens=20 model=llama-3.1-8b-instant id=g"},
	{"azure", NULL, USAGE,
		"{\"prompt_tokens\":5,\"completion_tokens\":6,\"prompt_tokens_details\":{\"cached_tokens\":4}"
		"}",
		"input_tokens=5 cache_read_tokens=4 output_tokens=6"},
	{"azure", NULL, USAGE,
		"{\"input_tokens\":5,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":6}",
		"input_tokens=5 cache_read_tokens=4 output_tokens=6"},
	{"minimax", NULL, USAGE,
		"{\"input_tokens\":5,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":6}",
		"input_tokens=5 cache_read_tokens=4 output_tokens=6"},
	{"minimax", NULL, USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
	{"modal", NULL, USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6,\"reasoning_tokens\":2}",
		"input_tokens=5 output_tokens=6 reasoning_tokens=2"},
	{"together", NULL, USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
	{"novita", NULL, USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
	{"fireworks", NULL, USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
	{"cerebras", NULL, USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
	{"moonshotai", NULL, USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
	{"z.ai", NULL, USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
	{"zhipuai", "z.ai", USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
	{"huggingface_fireworks-ai", NULL, USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
	{"doubleword", NULL, USAGE, "{\"input_tokens\":5,\"output_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
	{"voyageai", NULL, USAGE, "{\"total_tokens\":10}", "input_tokens=10"},
	/* another provider's shape by name */
	{"deepinfra", "openai.chat", USAGE, "{\"prompt_tokens\":5,\"completion_tokens\":6}",
		"input_tokens=5 output_tokens=6"},
};

START_TEST(usage_format_other_bodies_follow_their_providers)
{
	CHECK_BODIES(other_bodies);
}
END_TEST

static const struct body refused_bodies[] = {
	{"openai", NULL, USAGE, "{\"prompt_tokens\":-1,\"completion_tokens\":6}",
		"! usage.prompt_tokens must be a whole number from 0 to 1000000000000"},
	{"openai", NULL, USAGE, "{\"prompt_tokens\":1.5,\"completion_tokens\":6}",
		"! usage.prompt_tokens must be a whole number from 0 to 1000000000000"},
	{"openai", NULL, USAGE, "{\"prompt_tokens\":\"10\",\"completion_tokens\":true}",
		"! usage.prompt_tokens must be a whole number from 0 to 1000000000000; "
		"usage.completion_tokens must be a whole "
		"number from 0 to 1000000000000"},
	{"openai", NULL, USAGE, "{\"prompt_tokens\":1000000000001,\"completion_tokens\":6}",
		"! usage.prompt_tokens must be a whole number from 0 to 1000000000000"},
	{"openai", NULL, USAGE, "{\"prompt_tokens\":10,\"completion_tokens\":6,\"total_tokens\":15}",
		"! usage.total_tokens is not prompt_tokens + completion_tokens (15, not 16)"},
	{"openai", NULL, USAGE,
		"{\"prompt_tokens\":10,\"completion_tokens\":6,\"prompt_tokens_details\":{\"cached_tokens\":"
		"11}}",
		"! cache_read_tokens exceeds input_tokens (11 > 10)"},
	{"openai", NULL, USAGE,
		"{\"prompt_tokens\":10,\"completion_tokens\":6,\"completion_tokens_details\":{\"reasoning_"
		"tokens\":7}}",
		"! reasoning_tokens exceeds output_tokens (7 > 6)"},
	{"openai", NULL, USAGE, "{\"type\":\"duration\",\"seconds\":1.0000001}",
		"! usage.seconds must be a number of 0 or more with at most 6 digits after the point"},
	{"openai", NULL, USAGE, "{\"tokens\":10}", "! usage has none of the counts of openai.chat"},
	{"openai", NULL, USAGE, "{}", "! usage has none of the counts of openai.chat"},
	{"openai", NULL, USAGE, "[]", "! usage must be an object"},
	{"openai", NULL, RESPONSE, "{\"usage\":[]}", "! response.usage must be an object"},
	{"avian", NULL, USAGE, "{\"prompt_tokens\":1}",
		"! usage_format must be given: it does not follow from the provider"},
	{NULL, NULL, USAGE, "{\"prompt_tokens\":1}",
		"! usage_format must be given: it does not follow from the provider"},
	{"openai", "nobody.chat", USAGE, "{\"prompt_tokens\":1}",
		"! usage_format must be a known <provider> or <provider>.<kind>, like openai.chat"},
	{"openai", "openai.nothing", USAGE, "{\"prompt_tokens\":1}",
		"! usage_format must be a known <provider> or <provider>.<kind>, like openai.chat"},
	{"google", NULL, USAGE,
		"{\"promptTokenCount\":4,\"totalTokenCount\":4,\"promptTokensDetails\":[{\"modality\":"
		"\"TEXT\",\"tokenCount\":5}]}",
		"! input_tokens is less than its parts by kind together (4 < 5)"},
};

START_TEST(usage_format_contradicting_bodies_are_refused_by_name)
{
	CHECK_BODIES(refused_bodies);
}
END_TEST

/* ---- the same call in every shape ---- */

/* 1,000 in of which 300 were cached, 200 out of which 50 reasoning. */
static const struct body same_call[] = {
	{"openai", "openai.chat", USAGE,
		"{\"prompt_tokens\":1000,\"completion_tokens\":200,\"total_tokens\":1200,\"prompt_tokens_"
		"details\":"
		"{\"cached_tokens\":300},\"completion_tokens_details\":{\"reasoning_tokens\":50}}",
		NULL},
	{"openai", "openai.responses", USAGE,
		"{\"input_tokens\":1000,\"output_tokens\":200,\"total_tokens\":1200,\"input_tokens_details\":"
		"{\"cached_tokens\":300},\"output_tokens_details\":{\"reasoning_tokens\":50}}",
		NULL},
	{"anthropic", NULL, USAGE,
		"{\"input_tokens\":700,\"cache_read_input_tokens\":300,\"output_tokens\":200,\"output_tokens_"
		"details\":"
		"{\"thinking_tokens\":50}}",
		NULL},
	{"google", NULL, USAGE,
		"{\"promptTokenCount\":1000,\"cachedContentTokenCount\":300,\"candidatesTokenCount\":150,"
		"\"thoughtsTokenCount\":50,\"totalTokenCount\":1200}",
		NULL},
	{"deepseek", NULL, USAGE,
		"{\"prompt_tokens\":1000,\"prompt_cache_hit_tokens\":300,\"prompt_cache_miss_tokens\":700,"
		"\"completion_tokens\":200,\"completion_tokens_details\":{\"reasoning_tokens\":50}}",
		NULL},
	{"x-ai", NULL, USAGE,
		"{\"prompt_tokens\":1000,\"completion_tokens\":150,\"total_tokens\":1200,\"prompt_tokens_"
		"details\":"
		"{\"cached_tokens\":300},\"completion_tokens_details\":{\"reasoning_tokens\":50}}",
		NULL},
};

START_TEST(usage_format_same_call_in_every_shape_gives_the_same_counts)
{
	char got[TEXT_SIZE];
	read_body(&same_call[_i], got);
	ck_assert_str_eq(
		got, "input_tokens=1000 cache_read_tokens=300 output_tokens=200 reasoning_tokens=50");
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("usage_format");
	TCase *const t = tcase_create("usage_format");
	tcase_add_unchecked_fixture(t, setup, teardown);
	tcase_add_test(t, usage_format_openai_bodies_give_inclusive_counts);
	tcase_add_test(t, usage_format_anthropic_bodies_add_cache_to_input);
	tcase_add_test(t, usage_format_google_bodies_add_thoughts_and_tool_prompts);
	tcase_add_test(t, usage_format_aws_bodies_add_cache_to_input);
	tcase_add_test(t, usage_format_other_bodies_follow_their_providers);
	tcase_add_test(t, usage_format_contradicting_bodies_are_refused_by_name);
	tcase_add_loop_test(t, usage_format_same_call_in_every_shape_gives_the_same_counts, 0,
		sizeof same_call / sizeof same_call[0]);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
