/* The traceparent header and the ids of new traces. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/http/trace.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

START_TEST(trace_begin_well_formed_keeps_the_trace_and_makes_a_span)
{
	struct trace t;
	trace_begin(&t, "00-" TRACE "-" SPAN "-03");
	ck_assert_str_eq(t.trace_id, TRACE);
	ck_assert_str_eq(t.flags, "03");
	ck_assert_str_ne(t.span_id, SPAN);
	ck_assert_uint_eq(strspn(t.span_id, "0123456789abcdef"), 16);
}
END_TEST

START_TEST(trace_begin_malformed_begins_a_new_trace)
{
	static const char *const bad[] = {"", "00-", "00-" TRACE "-" SPAN, "00-" TRACE "-" SPAN "-1",
		"00-" TRACE "-" SPAN "-01x", "ff-" TRACE "-" SPAN "-01", "0x-" TRACE "-" SPAN "-01",
		"00-00000000000000000000000000000000-" SPAN "-01", "00-" TRACE "-0000000000000000-01",
		"00-" TRACE "+" SPAN "-01", "01-" TRACE "-" SPAN "-01x"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct trace t;
		trace_begin(&t, bad[i]);
		ck_assert_msg(strcmp(t.trace_id, TRACE) != 0, "taken: %s", bad[i]);
		ck_assert_uint_eq(strspn(t.trace_id, "0123456789abcdef"), 32);
		ck_assert_str_eq(t.flags, "00");
	}
}
END_TEST

START_TEST(trace_begin_later_version_may_have_more)
{
	struct trace t;
	trace_begin(&t, "01-" TRACE "-" SPAN "-01-more");
	ck_assert_str_eq(t.trace_id, TRACE);
}
END_TEST

START_TEST(trace_begin_without_header_makes_different_ids)
{
	struct trace a, b;
	trace_begin(&a, NULL);
	trace_begin(&b, NULL);
	ck_assert_str_ne(a.trace_id, b.trace_id);
	ck_assert_str_ne(a.span_id, b.span_id);
}
END_TEST

START_TEST(trace_format_is_a_traceresponse)
{
	const struct trace t = {.trace_id = TRACE, .span_id = SPAN, .flags = "01"};
	char text[TRACE_TEXT_SIZE];
	trace_format(&t, text);
	ck_assert_str_eq(text, "00-" TRACE "-" SPAN "-01");
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("trace");
	TCase *const tc = tcase_create("trace");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, trace_begin_well_formed_keeps_the_trace_and_makes_a_span);
	tcase_add_test(tc, trace_begin_malformed_begins_a_new_trace);
	tcase_add_test(tc, trace_begin_later_version_may_have_more);
	tcase_add_test(tc, trace_begin_without_header_makes_different_ids);
	tcase_add_test(tc, trace_format_is_a_traceresponse);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
