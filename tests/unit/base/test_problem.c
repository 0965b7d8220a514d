/* The error catalogue, and how a problem collects what is wrong. */
#include <check.h>
#include <signal.h>
#include <string.h>
#include "llmlab/base/check.h"
#include "llmlab/base/problem.h"

static struct arena arena;
static struct problem problem;

static void setup_problem(size_t cap_bytes)
{
	arena_init(&arena, cap_bytes);
	problem_init(&problem, &arena);
}

START_TEST(err_code_every_row_is_unique_and_filled)
{
	for (int i = 0; i < ERR_COUNT; i++) {
		ck_assert_ptr_nonnull(err_code((enum err)i));
		ck_assert_ptr_nonnull(err_title((enum err)i));
		for (int k = 0; k < i; k++)
			ck_assert_str_ne(err_code((enum err)i), err_code((enum err)k));
	}
}
END_TEST

START_TEST(err_status_inner_outcome_is_500)
{
	ck_assert_int_eq(err_status(ERR_OK), 200);
	ck_assert_int_eq(err_status(ERR_VALIDATION), 400);
	ck_assert_int_eq(err_status(ERR_NOT_FOUND), 404);
	ck_assert_int_eq(err_status(ERR_NO_MEMORY), 503);
	ck_assert_int_eq(err_status(ERR_RANGE), 500);
	ck_assert_int_eq(err_status(ERR_DB_LOST), 500);
}
END_TEST

START_TEST(err_code_outside_catalogue_aborts)
{
	err_code(ERR_COUNT);
}
END_TEST

START_TEST(check_broken_promise_aborts)
{
	CHECK(1 + 1 == 3);
}
END_TEST

START_TEST(problem_set_twice_first_wins)
{
	setup_problem(4096);
	ck_assert(problem_none(&problem));
	problem_set(&problem, ERR_CONFLICT, "taken by %d", 7);
	problem_set(&problem, ERR_NOT_FOUND, "other");
	ck_assert(!problem_none(&problem));
	ck_assert_int_eq(problem.code, ERR_CONFLICT);
	ck_assert_str_eq(problem_detail(&problem), "taken by 7");
	arena_release(&arena);
}
END_TEST

START_TEST(problem_add_fields_make_the_detail)
{
	setup_problem(4096);
	char name[] = "input_tokens";
	problem_add(&problem, name, "must be %d or more", 0);
	name[0] = 'X'; /* the name was copied */
	problem_add(&problem, "", "nothing is known");
	ck_assert_int_eq(problem.code, ERR_VALIDATION);
	ck_assert_uint_eq(problem.n_fields, 2);
	ck_assert_str_eq(problem.fields[0].field, "input_tokens");
	ck_assert_str_eq(problem.fields[0].message, "must be 0 or more");
	ck_assert_str_eq(problem_detail(&problem), "input_tokens must be 0 or more; nothing is known");
	arena_release(&arena);
}
END_TEST

START_TEST(problem_add_after_set_keeps_the_code)
{
	setup_problem(4096);
	problem_set(&problem, ERR_CONFLICT, "no");
	problem_add(&problem, "a", "is bad");
	ck_assert_int_eq(problem.code, ERR_CONFLICT);
	ck_assert_uint_eq(problem.n_fields, 1);
	ck_assert_str_eq(problem_detail(&problem), "no");
	arena_release(&arena);
}
END_TEST

START_TEST(problem_add_too_many_fields_are_dropped)
{
	setup_problem(1 << 16);
	for (int i = 0; i < PROBLEM_FIELDS_MAX + 5; i++)
		problem_add(&problem, "f", "%d", i);
	ck_assert_uint_eq(problem.n_fields, PROBLEM_FIELDS_MAX);
	ck_assert_str_eq(problem.fields[PROBLEM_FIELDS_MAX - 1].message, "31");
	arena_release(&arena);
}
END_TEST

START_TEST(problem_add_full_arena_is_still_a_refusal)
{
	setup_problem(0);
	problem_add(&problem, "field", "is bad");
	ck_assert_int_eq(problem.code, ERR_VALIDATION);
	ck_assert_str_eq(problem.fields[0].field, "");
	ck_assert_str_eq(problem.fields[0].message, "is invalid");
	ck_assert_str_eq(problem_detail(&problem), "Invalid input");
	arena_release(&arena);
}
END_TEST

START_TEST(problem_detail_long_fields_stay_bounded)
{
	setup_problem(1 << 20);
	for (int i = 0; i < PROBLEM_FIELDS_MAX; i++)
		problem_add(&problem, "f", "%01000d", i);
	/* A detail is at most 4,096 bytes: four such messages. */
	const size_t length = strlen(problem_detail(&problem));
	ck_assert_uint_gt(length, 3000);
	ck_assert_uint_le(length, 4096);
	arena_release(&arena);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("problem");
	TCase *const tc = tcase_create("problem");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, err_code_every_row_is_unique_and_filled);
	tcase_add_test(tc, err_status_inner_outcome_is_500);
	tcase_add_test_raise_signal(tc, err_code_outside_catalogue_aborts, SIGABRT);
	tcase_add_test_raise_signal(tc, check_broken_promise_aborts, SIGABRT);
	tcase_add_test(tc, problem_set_twice_first_wins);
	tcase_add_test(tc, problem_add_fields_make_the_detail);
	tcase_add_test(tc, problem_add_after_set_keeps_the_code);
	tcase_add_test(tc, problem_add_too_many_fields_are_dropped);
	tcase_add_test(tc, problem_add_full_arena_is_still_a_refusal);
	tcase_add_test(tc, problem_detail_long_fields_stay_bounded);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
