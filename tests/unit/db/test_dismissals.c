/* Dismissed recommendations against a real PostgreSQL. */

#include "llmlab/db/dismissals.h"
#include "store_fixture.h"

static void add(const struct uuid *user_id, const char *id)
{
	int64_t at_us = 0;
	ck_assert_int_eq(dismissals_add(conn, user_id, id, &at_us), ERR_OK);
}

static struct dismissed list(const struct uuid *user_id)
{
	struct dismissed d;
	ck_assert_int_eq(dismissals_list(conn, user_id, &arena, &d), ERR_OK);
	return d;
}

START_TEST(dismissals_add_once_or_twice_is_the_same)
{
	const struct uuid user_id = new_user();
	int64_t first_us = 0;
	int64_t second_us = 0;
	ck_assert_int_eq(dismissals_add(conn, &user_id, "00ff", &first_us), ERR_OK);
	ck_assert_int_eq(dismissals_add(conn, &user_id, "00ff", &second_us), ERR_OK);
	ck_assert_int_eq(first_us, second_us);
	ck_assert_int_gt(first_us, 0);
	const struct dismissed d = list(&user_id);
	ck_assert_uint_eq(d.n, 1);
	ck_assert(dismissed_has(&d, "00ff"));
}
END_TEST

START_TEST(dismissals_list_is_ascending_and_the_users_own)
{
	const struct uuid user_id = new_user();
	const struct uuid other = new_user();
	static const char *const IDS[] = {"f0", "09", "a1", "90"};
	for (int i = 0; i < 4; i++)
		add(&user_id, IDS[i]);
	add(&other, "b2");
	const struct dismissed d = list(&user_id);
	ck_assert_uint_eq(d.n, 4);
	for (int i = 0; i < 4; i++)
		ck_assert(dismissed_has(&d, IDS[i]));
	ck_assert(!dismissed_has(&d, "b2"));
}
END_TEST

START_TEST(dismissals_remove_takes_back_ones_own_only)
{
	const struct uuid user_id = new_user();
	const struct uuid other = new_user();
	add(&user_id, "a1");
	ck_assert_int_eq(dismissals_remove(conn, &other, "a1"), ERR_NOT_FOUND);
	ck_assert_int_eq(dismissals_remove(conn, &user_id, "a1"), ERR_OK);
	ck_assert_int_eq(dismissals_remove(conn, &user_id, "a1"), ERR_NOT_FOUND);
	ck_assert_uint_eq(list(&user_id).n, 0);
}
END_TEST

START_TEST(dismissals_add_beyond_the_bound_is_conflict_but_again_goes)
{
	static const struct db_stmt FILL = {"test_dismissals_fill",
		"INSERT INTO recommendation_dismissals SELECT $1::uuid, 'x' || i, now()"
		" FROM generate_series(1, 1000) i"};
	const struct uuid user_id = new_user();
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	run_sql(&FILL, &p);
	int64_t at_us = 0;
	ck_assert_int_eq(dismissals_add(conn, &user_id, "y", &at_us), ERR_CONFLICT);
	add(&user_id, "x1000");
	ck_assert_uint_eq(list(&user_id).n, DISMISSALS_PER_USER_MAX);
}
END_TEST

START_TEST(dismissals_add_unknown_user_is_not_found)
{
	const struct uuid nobody = uuid_v4();
	int64_t at_us = 0;
	ck_assert_int_eq(dismissals_add(conn, &nobody, "a1", &at_us), ERR_NOT_FOUND);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("dismissals");
	tcase_add_test(t, dismissals_add_once_or_twice_is_the_same);
	tcase_add_test(t, dismissals_list_is_ascending_and_the_users_own);
	tcase_add_test(t, dismissals_remove_takes_back_ones_own_only);
	tcase_add_test(t, dismissals_add_beyond_the_bound_is_conflict_but_again_goes);
	tcase_add_test(t, dismissals_add_unknown_user_is_not_found);
	return run_store_tests(suite_create("dismissals"), t);
}
