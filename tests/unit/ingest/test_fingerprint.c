/* The fingerprint covers every field the caller sends and none that the server assigns. */

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/ingest/ingest.h"

static struct event base(void)
{
	struct event e = {.provider = "openai",
		.model = "gpt-4",
		.requested_tier = "flex",
		.inference_geo = "us",
		.data_residency = "eu",
		.search_context_size = "low",
		.project = "web",
		.customer = "acme",
		.tags_json = "{\"a\":\"b\"}",
		.metadata_json = "{\"x\":1}",
		.status = "success",
		.response_id = "r1",
		.occurred_at_us = 1000};
	e.usage.has_counts = true;
	e.usage.counts[USAGE_input_tokens] = 10;
	return e;
}

static bool same(const struct event *a, const struct event *b, bool with_time)
{
	uint8_t x[32], y[32];
	ingest_fingerprint(a, with_time, x);
	ingest_fingerprint(b, with_time, y);
	return memcmp(x, y, 32) == 0;
}

/* Changing any one of these texts changes the fingerprint, absent is not empty. */
START_TEST(fingerprint_of_another_text_differs)
{
	static const size_t offsets[] = {offsetof(struct event, provider), offsetof(struct event, model),
		offsetof(struct event, requested_tier), offsetof(struct event, inference_geo),
		offsetof(struct event, data_residency), offsetof(struct event, search_context_size),
		offsetof(struct event, project), offsetof(struct event, customer),
		offsetof(struct event, tags_json), offsetof(struct event, metadata_json),
		offsetof(struct event, status), offsetof(struct event, response_id)};
	static const char *const values[] = {"other", "", NULL};
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
		for (size_t v = 0; v < 3; v++) {
			const struct event a = base();
			struct event b = base();
			memcpy((char *)&b + offsets[i], &values[v], sizeof(values[v]));
			ck_assert_msg(!same(&a, &b, false), "text %zu, value %zu", i, v);
			struct event c = base();
			memcpy((char *)&c + offsets[i], &values[(v + 1) % 3], sizeof(values[v]));
			ck_assert_msg(!same(&b, &c, false), "text %zu, values %zu", i, v);
		}
}
END_TEST

START_TEST(fingerprint_of_texts_moved_between_fields_differs)
{
	struct event a = base(), b = base();
	a.project = "ab";
	a.customer = "c";
	b.project = "a";
	b.customer = "bc";
	ck_assert(!same(&a, &b, false));
}
END_TEST

START_TEST(fingerprint_of_other_usage_differs)
{
	const struct event a = base();
	for (int i = 0; i < USAGE_COUNTS; i++) {
		struct event b = base();
		b.usage.counts[i]++;
		ck_assert_msg(!same(&a, &b, false), "count %d", i);
	}
	for (int i = 0; i < USAGE_UNITS; i++) {
		struct event b = base();
		b.usage.units[i]++;
		ck_assert_msg(!same(&a, &b, false), "unit %d", i);
	}
	struct event b = base();
	b.usage.web_searches = 1;
	ck_assert(!same(&a, &b, false));
	b = base();
	b.usage.has_counts = false;
	ck_assert(!same(&a, &b, false));
}
END_TEST

START_TEST(fingerprint_of_other_numbers_differs)
{
	const struct event a = base();
	struct event b = base();
	b.has_reported_cost = true;
	ck_assert(!same(&a, &b, false));
	struct event c = b;
	c.reported_cost.atto = (int128)1 << 70;
	ck_assert(!same(&b, &c, false));
	b = base();
	b.has_latency = true;
	ck_assert(!same(&a, &b, false));
	c = b;
	c.latency_ms = 1;
	ck_assert(!same(&b, &c, false));
}
END_TEST

START_TEST(fingerprint_time_counts_only_if_given)
{
	const struct event a = base();
	struct event b = base();
	b.occurred_at_us++;
	ck_assert(same(&a, &b, false));
	ck_assert(!same(&a, &b, true));
	uint8_t with[32], without[32];
	ingest_fingerprint(&a, true, with);
	ingest_fingerprint(&a, false, without);
	ck_assert_int_ne(memcmp(with, without, 32), 0);
}
END_TEST

START_TEST(fingerprint_ignores_what_the_server_assigns)
{
	const struct event a = base();
	struct event b = base();
	b.id.bytes[0] = 1;
	b.user_id.bytes[0] = 1;
	b.received_at_us = 7;
	b.has_cost = b.has_catalogue_cost = b.has_api_key = true;
	b.cost.atto = b.catalogue_cost.atto = 5;
	b.pricing_status = b.price_record = b.price_rule = b.price_lines = b.catalogue_version =
		b.service_tier = "x";
	b.idempotency_key = "k";
	ck_assert(same(&a, &b, true));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ingest fingerprint");
	TCase *t = tcase_create("fingerprint");
	tcase_add_test(t, fingerprint_of_another_text_differs);
	tcase_add_test(t, fingerprint_of_texts_moved_between_fields_differs);
	tcase_add_test(t, fingerprint_of_other_usage_differs);
	tcase_add_test(t, fingerprint_of_other_numbers_differs);
	tcase_add_test(t, fingerprint_time_counts_only_if_given);
	tcase_add_test(t, fingerprint_ignores_what_the_server_assigns);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
