/* Where good ends and doubtful begins. */
#include <check.h>
#include "llmlab/app/findings.h"

#define MIB	  ((int64_t)1024 * 1024)
#define SECOND_US ((int64_t)1000000)

START_TEST(finding_disk_by_free_bytes)
{
	ck_assert_int_eq(finding_disk(INT64_MAX), FOUND_GOOD);
	ck_assert_int_eq(finding_disk(1024 * MIB), FOUND_GOOD);
	ck_assert_int_eq(finding_disk(1024 * MIB - 1), FOUND_DOUBTFUL);
	ck_assert_int_eq(finding_disk(100 * MIB), FOUND_DOUBTFUL);
	ck_assert_int_eq(finding_disk(100 * MIB - 1), FOUND_BAD);
	ck_assert_int_eq(finding_disk(0), FOUND_BAD);
}
END_TEST

START_TEST(finding_clock_either_way)
{
	for (int64_t sign = -1; sign <= 1; sign += 2) {
		ck_assert_int_eq(finding_clock(0), FOUND_GOOD);
		ck_assert_int_eq(finding_clock(sign * SECOND_US), FOUND_GOOD);
		ck_assert_int_eq(finding_clock(sign * (SECOND_US + 1)), FOUND_DOUBTFUL);
		ck_assert_int_eq(finding_clock(sign * 60 * SECOND_US), FOUND_DOUBTFUL);
		ck_assert_int_eq(finding_clock(sign * (60 * SECOND_US + 1)), FOUND_BAD);
	}
	ck_assert_int_eq(finding_clock(INT64_MIN), FOUND_BAD);
	ck_assert_int_eq(finding_clock(INT64_MAX), FOUND_BAD);
}
END_TEST

START_TEST(finding_commit_slow_is_doubtful)
{
	ck_assert_int_eq(finding_commit(20000), FOUND_GOOD);
	ck_assert_int_eq(finding_commit(20001), FOUND_DOUBTFUL);
}
END_TEST

START_TEST(finding_schema_newer_is_bad)
{
	ck_assert_int_eq(finding_schema(9, 9), FOUND_GOOD);
	ck_assert_int_eq(finding_schema(8, 9), FOUND_DOUBTFUL);
	ck_assert_int_eq(finding_schema(0, 9), FOUND_DOUBTFUL);
	ck_assert_int_eq(finding_schema(10, 9), FOUND_BAD);
}
END_TEST

START_TEST(finding_connections_must_fit)
{
	ck_assert_int_eq(finding_connections(80, 20, 100), FOUND_GOOD);
	ck_assert_int_eq(finding_connections(81, 20, 100), FOUND_DOUBTFUL);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("findings");
	TCase *const tc = tcase_create("findings");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, finding_disk_by_free_bytes);
	tcase_add_test(tc, finding_clock_either_way);
	tcase_add_test(tc, finding_commit_slow_is_doubtful);
	tcase_add_test(tc, finding_schema_newer_is_bad);
	tcase_add_test(tc, finding_connections_must_fit);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
