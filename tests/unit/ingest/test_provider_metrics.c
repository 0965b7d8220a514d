/* What is counted by provider: exact sums, and no label that a client has made up. No database. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "../../../src/ingest/provider_metrics.h"
#include "llmlab/ingest/ingest.h"
#include "llmlab/providers/catalogue_load.h"

static void count(const char *provider, bool has_cost, int64_t cost_atto)
{
	const struct event e = {.provider = provider, .has_cost = has_cost, .cost = {cost_atto}};
	provider_metrics_count(&e);
}

static void assert_written(const char *line)
{
	struct buf out;
	buf_init(&out, 1 << 20);
	ingest_metrics_write(&out);
	ck_assert(!out.failed);
	ck_assert_msg(strstr(out.data, line) != NULL, "%s is not in:\n%s", line, out.data);
	buf_release(&out);
}

START_TEST(count_adds_up_by_provider_and_all_that_is_not_in_the_catalogue_is_other)
{
	struct catalogue *catalogue = NULL;
	struct problem problem = {0};
	ck_assert_int_eq(catalogue_load(NULL, &catalogue, &problem), ERR_OK);
	catalogue_publish(catalogue);
	count("openai", true, 1);
	count("anthropic", true, 5);
	count("openai", true, 2);
	count("openai", false, 0);
	count("made-up", true, 7);
	count("made-up\"} 9", false, 0);
	/* 65 characters: one more than a label may have */
	count("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true, 11);
	assert_written("llmlab_events_total{provider=\"openai\"} 3\n");
	assert_written("llmlab_unpriced_events_total{provider=\"openai\"} 1\n");
	assert_written("llmlab_cost_usd_total{provider=\"openai\"} 0.000000000000000003\n");
	assert_written("llmlab_events_total{provider=\"anthropic\"} 1\n");
	assert_written("llmlab_events_total{provider=\"other\"} 3\n");
	assert_written("llmlab_unpriced_events_total{provider=\"other\"} 1\n");
	assert_written("llmlab_cost_usd_total{provider=\"other\"} 0.000000000000000018\n");
	catalogue_shutdown();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("provider_metrics");
	TCase *tcase = tcase_create("provider_metrics");
	tcase_add_test(tcase, count_adds_up_by_provider_and_all_that_is_not_in_the_catalogue_is_other);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
