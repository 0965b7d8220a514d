/* The sums of a batch. No database. */

#include <check.h>
#include <stdlib.h>
#include "../../../src/ingest/rollup.h"
#include "llmlab/base/clock.h"

static struct event event_at(int64_t us)
{
	struct event e = {
		.occurred_at_us = us, .provider = "p", .model = "m", .status = "success", .has_cost = true};
	e.cost.atto = 1;
	e.usage.counts[USAGE_input_tokens] = 100;
	e.usage.counts[USAGE_output_tokens] = 10;
	e.usage.counts[USAGE_cache_read_tokens] = 4;
	e.usage.counts[USAGE_cache_write_tokens] = 3;
	e.usage.counts[USAGE_reasoning_tokens] = 2;
	return e;
}

START_TEST(rollup_entry_takes_the_quarter_that_contains_the_time)
{
	const int64_t quarter_us = 900 * US_PER_SECOND;
	const struct {
		int64_t us, bucket_s;
	} cases[] = {{0, 0}, {quarter_us - 1, 0}, {quarter_us, 900}, {quarter_us + 1, 900}, {-1, -900},
		{-quarter_us, -900}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct event e = event_at(cases[i].us);
		ck_assert_int_eq(rollup_entry(&e).bucket_s, cases[i].bucket_s);
	}
}
END_TEST

START_TEST(rollup_sum_adds_events_of_one_row)
{
	struct event e[3] = {event_at(0), event_at(1), event_at(2)};
	e[1].status = "error";
	e[2].has_cost = false; /* its cost member means nothing */
	struct rollup_entry entries[3];
	for (size_t i = 0; i < 3; i++)
		entries[i] = rollup_entry(&e[i]);
	struct rollup_row rows[3];
	ck_assert_uint_eq(rollup_sum(entries, 3, rows), 1);
	ck_assert_int_eq(rows[0].calls, 3);
	ck_assert_int_eq(rows[0].errors, 1);
	ck_assert_int_eq(rows[0].unpriced_calls, 1);
	ck_assert_int_eq(rows[0].input_tokens, 300);
	ck_assert_int_eq(rows[0].output_tokens, 30);
	ck_assert_int_eq(rows[0].cache_read_tokens, 12);
	ck_assert_int_eq(rows[0].cache_write_tokens, 9);
	ck_assert_int_eq(rows[0].reasoning_tokens, 6);
	ck_assert(rows[0].cost.atto == 2);
}
END_TEST

/* Each of these differs from the first in one part of the key; "" and no project are one. */
START_TEST(rollup_sum_keeps_keys_apart_and_in_order)
{
	struct event e[7];
	for (size_t i = 0; i < 7; i++)
		e[i] = event_at(0);
	e[1].user_id.bytes[0] = 1;
	e[2].occurred_at_us = 900 * US_PER_SECOND;
	e[3].provider = "q";
	e[4].model = "n";
	e[5].project = "z";
	e[6].project = "";
	struct rollup_entry entries[7];
	for (size_t i = 0; i < 7; i++)
		entries[i] = rollup_entry(&e[i]);
	struct rollup_row rows[7];
	ck_assert_uint_eq(rollup_sum(entries, 7, rows), 6);
	/* user, bucket, provider, model, project */
	const struct event *const order[] = {&e[0], &e[5], &e[4], &e[3], &e[2], &e[1]};
	for (size_t i = 1; i < 6; i++)
		ck_assert_ptr_eq(rows[i].event, order[i]);
	ck_assert_int_eq(rows[0].calls, 2);
}
END_TEST

/* 5,000 events of the most that one may cost: 5 x 10^15 USD. */
START_TEST(rollup_sum_of_the_dearest_events_is_exact)
{
	const size_t n = 5000;
	struct event e = event_at(0);
	e.cost.atto = MONEY_MAX_USD * decimal_pow10(MONEY_SCALE);
	struct rollup_entry *entries = calloc(n, sizeof(*entries));
	struct rollup_row *rows = calloc(n, sizeof(*rows));
	ck_assert(entries != NULL && rows != NULL);
	for (size_t i = 0; i < n; i++)
		entries[i] = rollup_entry(&e);
	ck_assert_uint_eq(rollup_sum(entries, n, rows), 1);
	ck_assert(rows[0].cost.atto == 5 * decimal_pow10(15 + MONEY_SCALE));
	free(entries);
	free(rows);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ingest rollup");
	TCase *t = tcase_create("rollup");
	tcase_add_test(t, rollup_entry_takes_the_quarter_that_contains_the_time);
	tcase_add_test(t, rollup_sum_adds_events_of_one_row);
	tcase_add_test(t, rollup_sum_keeps_keys_apart_and_in_order);
	tcase_add_test(t, rollup_sum_of_the_dearest_events_is_exact);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
