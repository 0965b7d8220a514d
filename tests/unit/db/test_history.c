/* Marks: that a database which was set back is told from one that went on. */
#include "store_fixture.h"

#include "llmlab/db/history.h"

static void write_mark(const char *sql, const struct history_mark *m)
{
	static int n;
	const struct db_stmt stmt = {arena_printf(&arena, "test_history_%d", n++), sql};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &m->holder);
	db_param_uuid(&p, &m->mark);
	run_sql(&stmt, &p);
}

START_TEST(history_check_of_the_last_mark_is_ok)
{
	struct history_mark m = {.set = false};
	ck_assert_int_eq(history_move(conn, &m), ERR_OK);
	ck_assert(m.set);
	ck_assert_int_eq(history_check(conn, &m), ERR_OK);
	const struct history_mark first = m;
	ck_assert_int_eq(history_move(conn, &m), ERR_OK);
	ck_assert(uuid_equal(&first.holder, &m.holder) && !uuid_equal(&first.mark, &m.mark));
	ck_assert_int_eq(history_check(conn, &m), ERR_OK);
}
END_TEST

START_TEST(history_check_after_a_set_back_to_an_earlier_mark_is_not_found)
{
	struct history_mark m = {.set = false};
	ck_assert_int_eq(history_move(conn, &m), ERR_OK);
	const struct history_mark backup = m;
	ck_assert_int_eq(history_move(conn, &m), ERR_OK);
	write_mark("UPDATE history_marks SET mark = $2 WHERE holder = $1", &backup);
	ck_assert_int_eq(history_check(conn, &m), ERR_NOT_FOUND);
	ck_assert(!m.set);
	/* the next one is another holder's: the row of before may be anywhere in the restored database */
	ck_assert_int_eq(history_move(conn, &m), ERR_OK);
	ck_assert(!uuid_equal(&backup.holder, &m.holder));
}
END_TEST

START_TEST(history_move_after_a_set_back_to_before_the_first_mark_is_not_found)
{
	struct history_mark m = {.set = false};
	ck_assert_int_eq(history_move(conn, &m), ERR_OK);
	write_mark("DELETE FROM history_marks WHERE holder = $1 AND mark = $2", &m);
	ck_assert_int_eq(history_move(conn, &m), ERR_NOT_FOUND);
	ck_assert(!m.set);
}
END_TEST

START_TEST(history_move_of_which_the_outcome_is_not_known_leaves_no_mark)
{
	struct db_settings nowhere = fixture_settings;
	nowhere.url = "postgresql:///nowhere?host=/nonexistent";
	struct db_conn *const c = db_conn_new(&nowhere);
	struct history_mark m = {.set = false};
	ck_assert_int_eq(history_move(conn, &m), ERR_OK);
	ck_assert_int_eq(history_check(c, &m), ERR_DATABASE_UNAVAILABLE);
	ck_assert(m.set); /* nothing was found out */
	ck_assert_int_eq(history_move(c, &m), ERR_DATABASE_UNAVAILABLE);
	ck_assert(!m.set);
	db_conn_free(c);
}
END_TEST

START_TEST(history_purge_drops_marks_of_a_week_ago)
{
	struct history_mark old = {.set = false}, young = {.set = false};
	ck_assert_int_eq(history_move(conn, &old), ERR_OK);
	ck_assert_int_eq(history_move(conn, &young), ERR_OK);
	write_mark("UPDATE history_marks SET moved_at = now() - interval '7 days 1 minute' WHERE holder = $1 "
		   "AND mark = $2",
		&old);
	write_mark("UPDATE history_marks SET moved_at = now() - interval '6 days 23 hours' WHERE holder = $1 "
		   "AND mark = $2",
		&young);
	ck_assert_int_eq(history_purge(conn), ERR_OK);
	ck_assert_int_eq(history_check(conn, &old), ERR_NOT_FOUND);
	ck_assert_int_eq(history_check(conn, &young), ERR_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("history");
	TCase *t = tcase_create("history");
	tcase_add_unchecked_fixture(t, fixture_start, fixture_stop);
	tcase_add_checked_fixture(t, test_begin, test_end);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, history_check_of_the_last_mark_is_ok);
	tcase_add_test(t, history_check_after_a_set_back_to_an_earlier_mark_is_not_found);
	tcase_add_test(t, history_move_after_a_set_back_to_before_the_first_mark_is_not_found);
	tcase_add_test(t, history_move_of_which_the_outcome_is_not_known_leaves_no_mark);
	tcase_add_test(t, history_purge_drops_marks_of_a_week_ago);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
