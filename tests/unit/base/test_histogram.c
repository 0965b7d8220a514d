/* Distributions and what the system knows of the process, as Prometheus text. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/histogram.h"
#include "llmlab/base/process.h"

static struct buf written(void (*write)(struct buf *out))
{
	struct buf out;
	buf_init(&out, 1 << 16);
	write(&out);
	ck_assert(!out.failed);
	return out;
}

START_TEST(histograms_write_counts_at_and_below_each_bound)
{
	histogram_observe(HISTOGRAM_INGEST_BATCH, 1);
	histogram_observe(HISTOGRAM_INGEST_BATCH, 2);
	histogram_observe(HISTOGRAM_INGEST_BATCH, 3);
	histogram_observe(HISTOGRAM_INGEST_BATCH, 1000000);
	struct buf out = written(histograms_write);
	/* 1 at most 1; 1 and 2 at most 2; 3 too at most 5; a million only in +Inf; sum 1 + 2 + 3 + 1000000 */
	static const char *const expected[] = {"# TYPE llmlab_ingest_batch_events histogram\n",
		"llmlab_ingest_batch_events_bucket{le=\"1\"} 1\n",
		"llmlab_ingest_batch_events_bucket{le=\"2\"} 2\n",
		"llmlab_ingest_batch_events_bucket{le=\"5\"} 3\n",
		"llmlab_ingest_batch_events_bucket{le=\"5000\"} 3\n",
		"llmlab_ingest_batch_events_bucket{le=\"+Inf\"} 4\n",
		"llmlab_ingest_batch_events_sum 1000006\n", "llmlab_ingest_batch_events_count 4\n"};
	for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
		ck_assert_msg(strstr(buf_str(&out), expected[i]) != NULL, "missing: %s", expected[i]);
	buf_release(&out);
}
END_TEST

START_TEST(histograms_write_shows_microseconds_as_seconds)
{
	histogram_observe(HISTOGRAM_INGEST_COMMIT, 500);
	histogram_observe(HISTOGRAM_INGEST_COMMIT, 1234567);
	ck_assert_int_eq(histogram_sum(HISTOGRAM_INGEST_COMMIT), 1235067);
	struct buf out = written(histograms_write);
	ck_assert_ptr_nonnull(
		strstr(buf_str(&out), "llmlab_ingest_commit_seconds_bucket{le=\"0.0005\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "llmlab_ingest_commit_seconds_bucket{le=\"1\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "llmlab_ingest_commit_seconds_bucket{le=\"2.5\"} 2\n"));
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "llmlab_ingest_commit_seconds_sum 1.235067\n"));
	buf_release(&out);
}
END_TEST

/* The number behind a metric's name. */
static long long value_of(const char *text, const char *name)
{
	const char *const at = strstr(text, name);
	ck_assert_msg(at != NULL, "missing: %s", name);
	return strtoll(at + strlen(name), NULL, 10);
}

START_TEST(process_metrics_write_tells_memory_and_descriptors)
{
	struct buf out;
	buf_init(&out, 1 << 16);
	process_metrics_write(&out, "1.2.3");
	ck_assert(!out.failed);
	/* More than a page, less than a terabyte; stdin, stdout and stderr at least. */
	ck_assert_int_gt(value_of(buf_str(&out), "\nprocess_resident_memory_bytes "), 4096);
	ck_assert_int_lt(value_of(buf_str(&out), "\nprocess_resident_memory_bytes "), 1LL << 40);
	ck_assert_int_ge(value_of(buf_str(&out), "\nprocess_open_fds "), 3);
	ck_assert_int_ge(value_of(buf_str(&out), "\nprocess_cpu_seconds_total "), 0);
	ck_assert_ptr_nonnull(strstr(buf_str(&out), "llmlab_build_info{version=\"1.2.3\",compiler=\""));
	buf_release(&out);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("histogram");
	TCase *const tc = tcase_create("histogram");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, histograms_write_counts_at_and_below_each_bound);
	tcase_add_test(tc, histograms_write_shows_microseconds_as_seconds);
	tcase_add_test(tc, process_metrics_write_tells_memory_and_descriptors);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
