/* Event bodies: which are taken, what they cost, and which field is blamed for a bad one. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include "llmlab/api/event_item.h"
#include "llmlab/base/clock.h"
#include "llmlab/providers/catalogue_load.h"

#define NOW_US 1787479200000000LL /* 2026-08-23T10:00:00Z */

static struct arena arena;
static struct problem p;
static struct json_doc doc;
static struct event_input input;
static const char *key_header;
static struct principal who;

static void load_catalogue(void)
{
	struct problem problem;
	struct arena a;
	arena_init(&a, 1 << 20);
	problem_init(&problem, &a);
	struct catalogue *c;
	ck_assert_int_eq(catalogue_load(NULL, &c, &problem), ERR_OK);
	catalogue_publish(c);
	arena_release(&a);
}

static void setup(void)
{
	arena_init(&arena, 4 << 20);
	doc.root = NULL;
	key_header = NULL;
	who = (struct principal){.user_id = {{7}}, .scope = AUTH_SCOPE_FULL};
}

static void teardown(void)
{
	json_doc_release(&doc);
	arena_release(&arena);
}

static enum err read_body(const char *body)
{
	json_doc_release(&doc);
	problem_init(&p, &arena);
	ck_assert_int_eq(json_doc_parse(&doc, body, strlen(body), &json_limits_response, &arena, &p), ERR_OK);
	const struct catalogue *const c = catalogue_acquire();
	const struct event_source source = {.catalogue = c,
		.principal = &who,
		.now_us = NOW_US,
		.key_header = key_header,
		.arena = &arena};
	const enum err e = event_input_read(&source, &doc, doc.root, &input, &p);
	catalogue_release(c);
	return e;
}

static const struct event *taken(const char *body)
{
	const enum err e = read_body(body);
	ck_assert_msg(e == ERR_OK, "%s: %s", body, e == ERR_OK ? "" : problem_detail(&p));
	return &input.event;
}

/* Each field that is blamed, joined by a space. */
static const char *blamed(const char *body)
{
	static char out[1024];
	ck_assert_msg(read_body(body) != ERR_OK, "%s is taken", body);
	out[0] = '\0';
	for (size_t i = 0; i < p.n_fields; i++) {
		strcat(out, i == 0 ? "" : " ");
		strcat(out, p.fields[i].field);
	}
	return out;
}

static const char *usd(struct money m)
{
	static char text[DECIMAL_TEXT_MAX];
	decimal_format(m.atto, MONEY_SCALE, text);
	return text;
}

START_TEST(event_input_seed_example_costs_6_cents)
{
	/* gpt-4: 30 USD per million in, 60 out: 1000 x 30 / 10^6 + 500 x 60 / 10^6 = 0.03 + 0.03. */
	const struct event *const e = taken(
		"{\"provider\":\"openai\",\"model\":\"gpt-4\",\"input_tokens\":1000,\"output_tokens\":500}");
	ck_assert(e->has_cost);
	ck_assert_str_eq(usd(e->cost), "0.06");
	ck_assert_str_eq(e->pricing_status, "priced");
	ck_assert_str_eq(e->provider, "openai");
	ck_assert_str_eq(e->price_record, "openai/gpt-4");
	ck_assert_str_eq(e->price_lines, "input:1000@30;output:500@60");
	ck_assert_int_eq(e->occurred_at_us, NOW_US);
	ck_assert_int_eq(uuid_v7_ms(&e->id), NOW_US / 1000);
	ck_assert_str_eq(e->status, "success");
	ck_assert(!input.has_time);
	ck_assert_ptr_null(e->idempotency_key);
}
END_TEST

START_TEST(event_input_absent_provider_is_found_from_model)
{
	ck_assert_str_eq(taken("{\"model\":\"gpt-4\",\"input_tokens\":1}")->provider, "openai");
}
END_TEST

START_TEST(event_input_unknown_names_are_unpriced)
{
	const struct event *e = taken("{\"provider\":\" My-Corp \",\"model\":\"Foo\",\"input_tokens\":5}");
	ck_assert(!e->has_cost);
	ck_assert_str_eq(e->pricing_status, "unpriced");
	ck_assert_str_eq(e->provider, "my-corp");
	ck_assert_str_eq(e->model, "Foo");
	ck_assert_str_eq(e->price_rule, "unknown_provider");
	e = taken("{\"model\":\"no-such-model-at-all\",\"input_tokens\":5}");
	ck_assert_str_eq(e->provider, "unknown");
	e = taken("{\"provider\":\"openai\",\"model\":\"no-such-model-at-all\",\"input_tokens\":5}");
	ck_assert_str_eq(e->price_rule, "unknown_model");
	ck_assert_ptr_null(e->price_lines);
}
END_TEST

START_TEST(event_input_every_bad_field_is_named_at_once)
{
	ck_assert_str_eq(blamed("{\"provider\":\"\",\"input_token\":5,\"output_tokens\":-1,\"latency_ms\":-5,"
				"\"status\":\"ok\",\"tags\":{\"a\":1},\"timestamp\":\"never\"}"),
		"provider output_tokens timestamp latency_ms status input_token model tags.a");
}
END_TEST

START_TEST(event_input_null_count_is_refused)
{
	ck_assert_int_eq(
		read_body("{\"model\":\"gpt-4\",\"input_tokens\":null,\"output_tokens\":0}"), ERR_VALIDATION);
	ck_assert_str_eq(p.fields[0].field, "input_tokens");
}
END_TEST

START_TEST(event_input_tier_auto_takes_what_the_provider_says)
{
	/* gpt-5.4 priority: 1,000 x 5 + 100 x 30 per million = 0.005 + 0.003 = 0.008 */
	const struct event *const e =
		taken("{\"provider\":\"openai\",\"service_tier\":\"auto\",\"response\":{\"id\":\"c1\","
		      "\"object\":\"chat.completion\",\"model\":\"gpt-5.4\",\"service_tier\":\"priority\","
		      "\"usage\":"
		      "{\"prompt_tokens\":1000,\"completion_tokens\":100,\"total_tokens\":1100}}}");
	ck_assert_str_eq(e->service_tier, "priority");
	ck_assert(e->cost.atto == (int128)8 * 1000000000000000);
}
END_TEST

START_TEST(event_input_empty_object_for_a_number_is_absent)
{
	const struct event *const e =
		taken("{\"provider\":\"mistral\",\"model\":\"mistral-large-latest\",\"usage\":{\"prompt_"
		      "tokens\":100,"
		      "\"completion_tokens\":10,\"total_tokens\":110,\"prompt_audio_seconds\":{}}}");
	ck_assert(e->has_cost);
	ck_assert_int_eq(e->usage.counts[USAGE_input_tokens], 100);
}
END_TEST

START_TEST(event_input_repeated_modality_is_refused)
{
	ck_assert_int_eq(read_body("{\"provider\":\"google\",\"model\":\"gemini-2.5-flash\",\"usage\":{"
				   "\"promptTokenCount\":100,"
				   "\"candidatesTokenCount\":1,\"promptTokensDetails\":[{\"modality\":"
				   "\"AUDIO\",\"tokenCount\":30},"
				   "{\"modality\":\"AUDIO\",\"tokenCount\":20},{\"modality\":\"TEXT\","
				   "\"tokenCount\":50}]}}"),
		ERR_VALIDATION);
	ck_assert_str_eq(p.fields[0].message, "occurs more than once");
}
END_TEST

START_TEST(event_input_without_anything_used_is_refused)
{
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\"}"), "input_tokens");
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\",\"web_searches\":1}"), "input_tokens");
}
END_TEST

START_TEST(event_input_two_sources_are_refused)
{
	ck_assert_str_eq(
		blamed("{\"model\":\"gpt-4\",\"input_tokens\":1,\"usage\":{\"prompt_tokens\":1}}"), "usage");
	ck_assert_str_eq(
		blamed("{\"model\":\"gpt-4\",\"usage\":{\"prompt_tokens\":1},\"response\":{\"usage\":{}}}"),
		"usage response");
}
END_TEST

START_TEST(event_input_part_larger_than_whole_is_refused)
{
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\",\"input_tokens\":10,\"cache_read_tokens\":11}"),
		"cache_read_tokens");
}
END_TEST

START_TEST(event_input_counts_may_be_any_integer_notation)
{
	ck_assert_int_eq(
		taken("{\"model\":\"gpt-4\",\"input_tokens\":1.0e3}")->usage.counts[USAGE_input_tokens],
		1000);
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\",\"input_tokens\":1.5}"), "input_tokens");
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\",\"input_tokens\":\"1\"}"), "input_tokens");
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\",\"input_tokens\":1000000000001}"), "input_tokens");
}
END_TEST

START_TEST(event_input_usage_object_is_read)
{
	/* OpenAI: completion includes reasoning, prompt includes cached; gpt-4o: 2.5 in, 1.25 cached, 10 out:
	 * 60 x 2.5 + 40 x 1.25 + 50 x 10 = 150 + 50 + 500 = 700 per million = 0.0007. */
	const struct event *const e =
		taken("{\"provider\":\"openai\",\"model\":\"gpt-4o\",\"usage\":{\"prompt_tokens\":100,"
		      "\"completion_tokens\":50,\"total_tokens\":150,\"prompt_tokens_details\":{\"cached_"
		      "tokens\":40}}}");
	ck_assert_int_eq(e->usage.counts[USAGE_input_tokens], 100);
	ck_assert_int_eq(e->usage.counts[USAGE_cache_read_tokens], 40);
	ck_assert_str_eq(usd(e->cost), "0.0007");
}
END_TEST

START_TEST(event_input_response_gives_model_and_key)
{
	const struct event *const e =
		taken("{\"response\":{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\","
		      "\"model\":\"gpt-4o\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,"
		      "\"completion_tokens\":0,\"total_tokens\":10}}}");
	ck_assert_str_eq(e->model, "gpt-4o");
	ck_assert_str_eq(e->provider, "openai");
	ck_assert_str_eq(e->response_id, "chatcmpl-1");
	ck_assert_str_eq(e->idempotency_key, "chatcmpl-1");
}
END_TEST

START_TEST(event_input_response_without_usage_is_refused)
{
	ck_assert_str_eq(blamed("{\"provider\":\"openai\",\"response\":{\"id\":\"x\",\"model\":\"gpt-4o\"}}"),
		"response");
}
END_TEST

START_TEST(event_input_reported_cost_wins_and_ours_is_kept)
{
	const struct event *const e =
		taken("{\"model\":\"gpt-4\",\"input_tokens\":1000,\"output_tokens\":500,\"cost\":\"0.05\"}");
	ck_assert_str_eq(e->pricing_status, "reported");
	ck_assert_str_eq(usd(e->cost), "0.05");
	ck_assert_str_eq(usd(e->reported_cost), "0.05");
	ck_assert(e->has_catalogue_cost);
	ck_assert_str_eq(usd(e->catalogue_cost), "0.06");
}
END_TEST

START_TEST(event_input_cost_alone_has_no_price_of_ours)
{
	const struct event *const e = taken("{\"model\":\"gpt-4\",\"cost\":0.000000000000000001}");
	ck_assert_str_eq(e->pricing_status, "reported");
	ck_assert_str_eq(usd(e->cost), "0.000000000000000001");
	ck_assert(!e->has_catalogue_cost);
	ck_assert_ptr_null(e->price_lines);
}
END_TEST

START_TEST(event_input_cost_with_19_decimals_is_refused)
{
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\",\"cost\":0.0000000000000000001}"), "cost");
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\",\"cost\":-1}"), "cost");
}
END_TEST

START_TEST(event_input_units_are_exact_and_known)
{
	const struct event *const e =
		taken("{\"provider\":\"openai\",\"model\":\"x\",\"units\":{\"input_second\":12.5}}");
	ck_assert_int_eq(e->usage.units[UNIT_input_second], 12500000);
	ck_assert_str_eq(blamed("{\"model\":\"x\",\"units\":{\"seconds\":1}}"), "units.seconds");
	ck_assert_str_eq(blamed("{\"model\":\"x\",\"units\":{\"query\":-1}}"), "units.query");
	ck_assert_str_eq(blamed("{\"model\":\"x\",\"units\":{\"query\":0.0000001}}"), "units.query");
	ck_assert_str_eq(blamed("{\"model\":\"x\",\"units\":{}}"), "units");
}
END_TEST

START_TEST(event_input_time_bounds_are_2015_and_5_minutes_ahead)
{
	ck_assert_int_eq(
		taken("{\"model\":\"gpt-4\",\"input_tokens\":1,\"timestamp\":\"2026-08-23T10:05:00Z\"}")
			->occurred_at_us,
		NOW_US + 5 * US_PER_MINUTE);
	ck_assert(input.has_time);
	ck_assert_str_eq(
		blamed("{\"model\":\"gpt-4\",\"input_tokens\":1,\"timestamp\":\"2026-08-23T10:05:01Z\"}"),
		"timestamp");
	taken("{\"model\":\"gpt-4\",\"input_tokens\":1,\"timestamp\":\"2015-01-01T00:00:00Z\"}");
	ck_assert_str_eq(
		blamed("{\"model\":\"gpt-4\",\"input_tokens\":1,\"timestamp\":\"2014-12-31T23:59:59Z\"}"),
		"timestamp");
}
END_TEST

START_TEST(event_input_tags_are_sorted)
{
	ck_assert_str_eq(taken("{\"model\":\"gpt-4\",\"input_tokens\":1,\"tags\":{\"b\":\"2\",\"a\":\"1\","
			       "\"c\":\"\"}}")
				 ->tags_json,
		"{\"a\":\"1\",\"b\":\"2\",\"c\":\"\"}");
	ck_assert_str_eq(
		blamed("{\"model\":\"gpt-4\",\"input_tokens\":1,\"tags\":{\"1\":\"\",\"2\":\"\",\"3\":\"\","
		       "\"4\":\"\",\"5\":\"\",\"6\":\"\",\"7\":\"\",\"8\":\"\",\"9\":\"\"}}"),
		"tags");
}
END_TEST

/* 40 unknown fields fill the list of 32 bad ones, so the bad tags are not in it; they are refused all the
 * same. */
START_TEST(event_input_bad_tags_behind_a_full_list_are_not_read)
{
	static const char *const TAGS[] = {
		"{\"\":\"a\",\"b\":\"c\"}", "{\"a\":1,\"b\":\"c\"}", "{\"x\":\"y\",\"\":\"a\",\"b\":\"c\"}"};
	for (size_t i = 0; i < sizeof TAGS / sizeof TAGS[0]; i++) {
		char body[1024] = "{\"model\":\"gpt-4\",\"input_tokens\":1";
		size_t n = strlen(body);
		for (int field = 0; field < 40; field++)
			n += (size_t)snprintf(body + n, sizeof body - n, ",\"x%d\":1", field);
		snprintf(body + n, sizeof body - n, ",\"tags\":%s}", TAGS[i]);
		ck_assert_int_eq(read_body(body), ERR_VALIDATION);
		ck_assert_uint_eq(p.n_fields, PROBLEM_FIELDS_MAX);
		ck_assert_ptr_null(input.event.tags_json);
	}
}
END_TEST

START_TEST(event_input_metadata_numbers_keep_their_text)
{
	ck_assert_str_eq(taken("{\"model\":\"gpt-4\",\"input_tokens\":1,\"metadata\":{\"x\": [0.10, 1e400]}}")
				 ->metadata_json,
		"{\"x\":[0.10,1e400]}");
	ck_assert_str_eq(
		blamed("{\"model\":\"gpt-4\",\"input_tokens\":1,\"metadata\":{\"x\":[1e401]}}"), "metadata");
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\",\"input_tokens\":1,\"metadata\":[]}"), "metadata");
}
END_TEST

START_TEST(event_input_metadata_beyond_4_kib_is_refused)
{
	char body[6000] = "{\"model\":\"gpt-4\",\"input_tokens\":1,\"metadata\":{\"x\":\"";
	const size_t head = strlen(body);
	/* {"x":"..."} has 8 bytes around the string: 4088 make 4096. */
	memset(body + head, 'y', 4088);
	strcpy(body + head + 4088, "\"}}");
	taken(body);
	memset(body + head, 'y', 4089);
	strcpy(body + head + 4089, "\"}}");
	ck_assert_str_eq(blamed(body), "metadata");
}
END_TEST

START_TEST(event_input_key_of_body_and_header_must_agree)
{
	static const char body[] = "{\"model\":\"gpt-4\",\"input_tokens\":1,\"idempotency_key\":\"k1\"}";
	key_header = "k1";
	ck_assert_str_eq(taken(body)->idempotency_key, "k1");
	key_header = "k2";
	ck_assert_str_eq(blamed(body), "idempotency_key");
	ck_assert_str_eq(taken("{\"model\":\"gpt-4\",\"input_tokens\":1}")->idempotency_key, "k2");
	key_header = "";
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\",\"input_tokens\":1}"), "Idempotency-Key");
}
END_TEST

START_TEST(event_input_reservation_is_an_id)
{
	ck_assert_str_eq(blamed("{\"model\":\"gpt-4\",\"input_tokens\":1,\"reservation_id\":\"r\"}"),
		"reservation_id");
	ck_assert(!taken("{\"model\":\"gpt-4\",\"input_tokens\":1}")->has_reservation);
	const struct event *const e = taken("{\"model\":\"gpt-4\",\"input_tokens\":1,\"reservation_id\":"
					    "\"01890a5d-ac96-774b-bcce-b302099a8057\"}");
	char text[UUID_TEXT_SIZE];
	uuid_format(&e->reservation_id, text);
	ck_assert(e->has_reservation);
	ck_assert_str_eq(text, "01890a5d-ac96-774b-bcce-b302099a8057");
}
END_TEST

START_TEST(event_copy_texts_outlive_the_doc)
{
	struct event e = *taken("{\"model\":\"gpt-4\",\"input_tokens\":1,\"project\":\"p1\"}");
	struct arena own;
	arena_init(&own, 65536);
	ck_assert(event_copy_texts(&e, &own));
	json_doc_release(&doc);
	ck_assert_str_eq(e.model, "gpt-4");
	ck_assert_str_eq(e.project, "p1");
	ck_assert_str_eq(e.price_lines, "input:1@30");
	arena_release(&own);
}
END_TEST

/* The fingerprint of the body's event under the key "k". */
static void fingerprint_of(const char *body, uint8_t out[32])
{
	json_doc_release(&doc);
	problem_init(&p, &arena);
	ck_assert_int_eq(json_doc_parse(&doc, body, strlen(body), &json_limits_response, &arena, &p), ERR_OK);
	const struct catalogue *const c = catalogue_acquire();
	const struct event_source source = {
		.catalogue = c, .principal = &who, .now_us = NOW_US, .key_header = "k", .arena = &arena};
	struct ingest_item *item;
	ck_assert_int_eq(event_item_new(&source, &doc, doc.root, &item, &p), ERR_OK);
	catalogue_release(c);
	memcpy(out, item->event.fingerprint, 32);
	ingest_item_free(item);
}

START_TEST(event_item_fingerprint_follows_what_was_sent)
{
	uint8_t given[32], other_case[32], found[32], by_url[32], by_other_url[32];
	fingerprint_of("{\"provider\":\"openai\",\"model\":\"gpt-4\",\"input_tokens\":1}", given);
	fingerprint_of("{\"input_tokens\":1,\"model\":\"gpt-4\",\"provider\":\"OpenAI\"}", other_case);
	fingerprint_of("{\"model\":\"gpt-4\",\"input_tokens\":1}", found);
	fingerprint_of("{\"model\":\"gpt-4\",\"input_tokens\":1,\"base_url\":\"http://a\"}", by_url);
	fingerprint_of("{\"model\":\"gpt-4\",\"input_tokens\":1,\"base_url\":\"http://b\"}", by_other_url);
	ck_assert_mem_eq(given, other_case, 32);
	ck_assert_mem_ne(given, found, 32);
	ck_assert_mem_ne(found, by_url, 32);
	ck_assert_mem_ne(by_url, by_other_url, 32);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("event_input");
	TCase *const t = tcase_create("event_input");
	tcase_add_unchecked_fixture(t, load_catalogue, catalogue_shutdown);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, event_input_seed_example_costs_6_cents);
	tcase_add_test(t, event_input_absent_provider_is_found_from_model);
	tcase_add_test(t, event_input_unknown_names_are_unpriced);
	tcase_add_test(t, event_input_every_bad_field_is_named_at_once);
	tcase_add_test(t, event_input_without_anything_used_is_refused);
	tcase_add_test(t, event_input_null_count_is_refused);
	tcase_add_test(t, event_input_repeated_modality_is_refused);
	tcase_add_test(t, event_input_tier_auto_takes_what_the_provider_says);
	tcase_add_test(t, event_input_empty_object_for_a_number_is_absent);
	tcase_add_test(t, event_input_two_sources_are_refused);
	tcase_add_test(t, event_input_part_larger_than_whole_is_refused);
	tcase_add_test(t, event_input_counts_may_be_any_integer_notation);
	tcase_add_test(t, event_input_usage_object_is_read);
	tcase_add_test(t, event_input_response_gives_model_and_key);
	tcase_add_test(t, event_input_response_without_usage_is_refused);
	tcase_add_test(t, event_input_reported_cost_wins_and_ours_is_kept);
	tcase_add_test(t, event_input_cost_alone_has_no_price_of_ours);
	tcase_add_test(t, event_input_cost_with_19_decimals_is_refused);
	tcase_add_test(t, event_input_units_are_exact_and_known);
	tcase_add_test(t, event_input_time_bounds_are_2015_and_5_minutes_ahead);
	tcase_add_test(t, event_input_tags_are_sorted);
	tcase_add_test(t, event_input_bad_tags_behind_a_full_list_are_not_read);
	tcase_add_test(t, event_input_metadata_numbers_keep_their_text);
	tcase_add_test(t, event_input_metadata_beyond_4_kib_is_refused);
	tcase_add_test(t, event_input_key_of_body_and_header_must_agree);
	tcase_add_test(t, event_input_reservation_is_an_id);
	tcase_add_test(t, event_copy_texts_outlive_the_doc);
	tcase_add_test(t, event_item_fingerprint_follows_what_was_sent);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
