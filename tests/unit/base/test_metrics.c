/* Counters and their Prometheus text. */
#include <check.h>
#include <string.h>
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"

START_TEST(metric_add_and_set_are_read_back)
{
	metric_add(METRIC_INGEST_EVENTS, 5);
	metric_add(METRIC_INGEST_EVENTS, 7);
	metric_set(METRIC_CONNECTIONS, 3);
	metric_set(METRIC_CONNECTIONS, 2);
	ck_assert_int_eq(metric_get(METRIC_INGEST_EVENTS), 12);
	ck_assert_int_eq(metric_get(METRIC_CONNECTIONS), 2);
	ck_assert_int_eq(metric_get(METRIC_INGEST_BATCHES), 0);
}
END_TEST

START_TEST(metrics_write_has_help_type_and_value)
{
	metric_add(METRIC_INGEST_EVENTS, 12);
	struct buf out;
	buf_init(&out, 1 << 16);
	metrics_write(&out);
	ck_assert(!out.failed);
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "# HELP llmlab_ingest_events_total Events committed\n"
						    "# TYPE llmlab_ingest_events_total counter\n"
						    "llmlab_ingest_events_total 12\n"));
	ck_assert_ptr_nonnull(
		strstr(buf_str(&out), "# TYPE llmlab_http_connections gauge\nllmlab_http_connections 0\n"));
	buf_release(&out);
}
END_TEST

START_TEST(metrics_write_names_every_metric_once)
{
	struct buf out;
	buf_init(&out, 1 << 16);
	metrics_write(&out);
	int types = 0;
	for (const char *at = buf_str(&out); (at = strstr(at, "# TYPE ")) != NULL; at++)
		types++;
	ck_assert_int_eq(types, METRIC_COUNT);
	buf_release(&out);
}
END_TEST

START_TEST(clock_readings_do_not_go_back)
{
	const int64_t mono = clock_mono_us();
	ck_assert_int_ge(clock_mono_us(), mono);
	/* 2024-01-01 in microseconds: the wall clock counts from 1970. */
	ck_assert_int_gt(clock_now_us(), INT64_C(1704067200000000));
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("metrics");
	TCase *const tc = tcase_create("metrics");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, metric_add_and_set_are_read_back);
	tcase_add_test(tc, metrics_write_has_help_type_and_value);
	tcase_add_test(tc, metrics_write_names_every_metric_once);
	tcase_add_test(tc, clock_readings_do_not_go_back);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
