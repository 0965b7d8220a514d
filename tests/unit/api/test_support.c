/* Query parameters and the derived figures that endpoints share. */
#include <check.h>
#include <string.h>
#include "llmlab/api/support.h"

static struct http_request rq;
static struct problem p;

static void setup(void)
{
	rq = (struct http_request){.n_query = 0};
	arena_init(&rq.arena, 1 << 20);
	problem_init(&p, &rq.arena);
}

static void teardown(void)
{
	arena_release(&rq.arena);
}

static void give(const char *name, const char *value)
{
	rq.query[rq.n_query++] = (struct http_query){name, value};
}

START_TEST(api_change_percent_of_nothing_is_unknown)
{
	double change = 0;
	ck_assert(!api_change_percent((struct money){5}, (struct money){0}, &change));
	ck_assert(api_change_percent((struct money){150}, (struct money){100}, &change));
	ck_assert_double_eq_tol(change, 50, 1e-9);
	ck_assert(api_change_percent((struct money){0}, (struct money){100}, &change));
	ck_assert_double_eq_tol(change, -100, 1e-9);
}
END_TEST

START_TEST(api_query_allow_unknown_names_are_named)
{
	give("days", "3");
	give("day", "3");
	give("tag.env", "x");
	give("tag.", "x");
	api_query_allow(&rq, (const char *const[]){"days", "tag.", NULL}, &p);
	ck_assert_uint_eq(p.n_fields, 2);
	ck_assert_str_eq(p.fields[0].field, "day");
	ck_assert_str_eq(p.fields[1].field, "tag.");
}
END_TEST

START_TEST(api_query_i64_takes_whole_numbers_in_bounds)
{
	give("a", "7");
	give("b", "8");
	give("c", "1.5");
	give("d", "x");
	give("e", "");
	ck_assert_int_eq(api_query_i64(&rq, "a", 1, 7, 3, &p), 7);
	ck_assert_int_eq(api_query_i64(&rq, "none", 1, 7, 3, &p), 3);
	ck_assert(problem_none(&p));
	static const char *const bad[] = {"b", "c", "d", "e"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_int_eq(api_query_i64(&rq, bad[i], 1, 7, 3, &p), 3);
	ck_assert_uint_eq(p.n_fields, 4);
}
END_TEST

START_TEST(api_query_text_counts_code_points)
{
	give("a", "üü");
	give("b", "üüü");
	give("c", "");
	give("d", "a\nb");
	ck_assert_str_eq(api_query_text(&rq, "a", 2, &p), "üü");
	ck_assert(problem_none(&p));
	ck_assert_ptr_null(api_query_text(&rq, "b", 2, &p));
	ck_assert_ptr_null(api_query_text(&rq, "c", 2, &p));
	ck_assert_ptr_null(api_query_text(&rq, "d", 9, &p));
	ck_assert_uint_eq(p.n_fields, 3);
}
END_TEST

START_TEST(api_body_unknown_field_is_refused)
{
	struct json_doc doc;
	unsigned char nothing;
	rq.body = "{\"a\":1}";
	rq.body_len = strlen(rq.body);
	ck_assert_int_eq(api_body(&rq, NULL, 0, &doc, &nothing, &p), ERR_VALIDATION);
	ck_assert_str_eq(p.fields[0].field, "a");
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("support");
	TCase *const t = tcase_create("support");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, api_change_percent_of_nothing_is_unknown);
	tcase_add_test(t, api_query_allow_unknown_names_are_named);
	tcase_add_test(t, api_query_i64_takes_whole_numbers_in_bounds);
	tcase_add_test(t, api_query_text_counts_code_points);
	tcase_add_test(t, api_body_unknown_field_is_refused);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
