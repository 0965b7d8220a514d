/* Until when an event may wait for the writer: what its request has waited before counts. */
#include "llmlab/api/event_item.h"
#include <check.h>
#include <stdlib.h>

static const struct {
	int64_t waited_us, left_us;
} rows[] = {
	{0, 2000000},
	{1, 1999999},
	{1500000, 500000},
	{1900000, 100000},
	{1900001, 100000}, /* enough for one commit */
	{5000000, 100000},
};

START_TEST(event_deadline_of_a_request_that_has_waited_is_earlier)
{
	const struct http_request rq = {.waited_us = rows[_i].waited_us};
	const int64_t before_us = clock_mono_us();
	const int64_t deadline_us = event_deadline_us(&rq);
	const int64_t after_us = clock_mono_us();
	ck_assert_int_ge(deadline_us, before_us + rows[_i].left_us);
	ck_assert_int_le(deadline_us, after_us + rows[_i].left_us);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("event_item");
	TCase *const t = tcase_create("event_item");
	tcase_add_loop_test(
		t, event_deadline_of_a_request_that_has_waited_is_earlier, 0, sizeof rows / sizeof rows[0]);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
