/* Reading the answer to a batch. */
#include <check.h>
#include <string.h>
#include "llmlab/app/import_client.h"

static struct arena arena;
static struct import_result results[3];

static void setup(void)
{
	arena_init(&arena, 1 << 20);
}

static void teardown(void)
{
	arena_release(&arena);
}

static enum err read_answer(const char *answer, size_t n)
{
	return import_results_read(answer, strlen(answer), &arena, results, n);
}

START_TEST(import_results_read_outcomes_are_put_in_order)
{
	ck_assert_int_eq(
		read_answer(
			"{\"accepted\":1,\"duplicates\":1,\"rejected\":1,\"results\":["
			"{\"index\":2,\"error\":{\"code\":\"validation_failed\",\"detail\":\"Invalid input\","
			"\"errors\":[{\"field\":\"input_tokens\",\"message\":\"must be 0 or more\"}]}},"
			"{\"index\":0,\"event_id\":\"e\",\"cost\":0.06,\"pricing_status\":\"priced\","
			"\"duplicate\":false},"
			"{\"index\":1,\"event_id\":\"e\",\"cost\":null,\"pricing_status\":\"unpriced\","
			"\"duplicate\":true}]}",
			3),
		ERR_OK);
	ck_assert_int_eq(results[0].outcome, IMPORT_STORED);
	ck_assert(results[0].has_cost);
	/* 0.06 USD = 6 x 10^16 atto-USD */
	ck_assert(results[0].cost.atto == (int128)60000000000000000LL);
	ck_assert_int_eq(results[1].outcome, IMPORT_DUPLICATE);
	ck_assert(!results[1].has_cost);
	ck_assert_int_eq(results[2].outcome, IMPORT_REJECTED);
	ck_assert_str_eq(results[2].reason, "Invalid input; input_tokens must be 0 or more");
}
END_TEST

START_TEST(import_results_read_cost_keeps_all_18_decimals)
{
	ck_assert_int_eq(
		read_answer("{\"results\":[{\"index\":0,\"event_id\":\"e\",\"cost\":12345.000000000000000001,"
			    "\"duplicate\":false}]}",
			1),
		ERR_OK);
	/* 12345 x 10^18 + 1 */
	ck_assert(results[0].cost.atto == (int128)12345 * 1000000000000000000LL + 1);
}
END_TEST

START_TEST(import_results_read_passing_trouble_is_to_be_sent_again)
{
	ck_assert_int_eq(
		read_answer("{\"results\":[{\"index\":0,\"error\":{\"code\":\"database_unavailable\","
			    "\"detail\":\"d\"}},"
			    "{\"index\":1,\"error\":{\"code\":\"overloaded\",\"detail\":\"d\"}},"
			    "{\"index\":2,\"error\":{\"code\":\"idempotency_mismatch\",\"detail\":\"d\"}}]}",
			3),
		ERR_OK);
	ck_assert_int_eq(results[0].outcome, IMPORT_AGAIN);
	ck_assert_int_eq(results[1].outcome, IMPORT_AGAIN);
	ck_assert_int_eq(results[2].outcome, IMPORT_REJECTED);
}
END_TEST

#define GOOD(index) "{\"index\":" #index ",\"event_id\":\"e\",\"cost\":1,\"duplicate\":false}"

START_TEST(import_results_read_answers_that_leave_doubt_are_refused)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"{\"results\":{}}",
		"{\"results\":[" GOOD(0) "]}",		   /* one is missing */
		"{\"results\":[" GOOD(0) "," GOOD(0) "]}", /* twice the same */
		"{\"results\":[" GOOD(0) "," GOOD(2) "]}", /* out of range */
		"{\"results\":[" GOOD(0) "," GOOD(-1) "]}",
		"{\"results\":[" GOOD(0) "," GOOD(1) "," GOOD(2) "]}", /* one too many */
		"{\"results\":[" GOOD(0) ",{\"index\":1}]}",
		"{\"results\":[" GOOD(
			0) ",{\"index\":1,\"event_id\":\"e\",\"cost\":\"1\",\"duplicate\":false}]}",
		"{\"results\":[" GOOD(
			0) ",{\"index\":1,\"event_id\":\"e\",\"cost\":-1,\"duplicate\":false}]}",
		"{\"results\":[" GOOD(
			0) ",{\"index\":1,\"event_id\":\"e\",\"cost\":1e-19,\"duplicate\":false}]}",
		"{\"results\":[" GOOD(0) ",{\"index\":1,\"event_id\":\"e\",\"cost\":1}]}",
		"{\"results\":[" GOOD(0) ",{\"index\":1,\"error\":{\"detail\":\"d\"}}]}",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_msg(read_answer(bad[i], 2) == ERR_SYNTAX, "%s", bad[i]);
	ck_assert_int_eq(read_answer("{\"results\":[" GOOD(1) "," GOOD(0) "]}", 2), ERR_OK);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("import_results");
	TCase *const tc = tcase_create("import_results");
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, import_results_read_outcomes_are_put_in_order);
	tcase_add_test(tc, import_results_read_cost_keeps_all_18_decimals);
	tcase_add_test(tc, import_results_read_passing_trouble_is_to_be_sent_again);
	tcase_add_test(tc, import_results_read_answers_that_leave_doubt_are_refused);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
