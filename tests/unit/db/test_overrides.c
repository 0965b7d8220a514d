/* Users' own prices in the database: limits, order, and that no change is missed however late it commits. */
#include "llmlab/db/overrides.h"
#include "store_fixture.h"

static struct price_override made(const struct uuid *user_id, const char *body, bool exact)
{
	struct price_override o = {.id = uuid_v7(clock_now_us() / US_PER_MS), .body = body, .exact = exact};
	ck_assert_int_eq(overrides_insert(conn, user_id, &o, &arena), ERR_OK);
	return o;
}

static struct price_override_set set_of(const struct uuid *user_id)
{
	struct price_override_set set;
	ck_assert_int_eq(overrides_of_user(conn, user_id, &arena, &set), ERR_OK);
	return set;
}

/* Whether what changed since then names the user. */
static bool is_told(uint64_t since_xid, const struct uuid *user_id, size_t *ret_n, uint64_t *ret_xid)
{
	struct price_override_set *sets;
	size_t n;
	ck_assert_int_eq(overrides_changed(conn, since_xid, &arena, &sets, &n, ret_xid), ERR_OK);
	for (size_t i = 0; i < n; i++) {
		if (!uuid_equal(&sets[i].user_id, user_id))
			continue;
		*ret_n = sets[i].n;
		return true;
	}
	return false;
}

START_TEST(overrides_list_is_newest_first_and_goes_on_below_the_cursor)
{
	const struct uuid user = new_user();
	const struct price_override first = made(&user, "{\"a\":1}", true);
	const struct price_override second = made(&user, "{\"b\":2}", false);
	struct price_override *rows;
	size_t n;
	ck_assert_int_eq(overrides_list(conn, &user, NULL, 10, &arena, &rows, &n), ERR_OK);
	ck_assert_uint_eq(n, 2);
	ck_assert(uuid_equal(&rows[0].id, &second.id) && uuid_equal(&rows[1].id, &first.id));
	ck_assert_str_eq(rows[1].body, "{\"a\":1}");
	ck_assert(rows[1].exact && !rows[0].exact);
	ck_assert_int_eq(rows[0].created_at_us, second.created_at_us);
	ck_assert_int_eq(overrides_list(conn, &user, &second.id, 10, &arena, &rows, &n), ERR_OK);
	ck_assert_uint_eq(n, 1);
	ck_assert(uuid_equal(&rows[0].id, &first.id));
}
END_TEST

START_TEST(overrides_insert_without_account_is_not_found)
{
	const struct uuid nobody = uuid_v4();
	struct price_override o = {.id = uuid_v4(), .body = "{}"};
	ck_assert_int_eq(overrides_insert(conn, &nobody, &o, &arena), ERR_NOT_FOUND);
}
END_TEST

START_TEST(overrides_insert_beyond_200_is_a_conflict_until_one_is_deleted)
{
	const struct uuid user = new_user();
	struct price_override last = {0};
	for (int i = 0; i < OWN_PRICES_PER_USER_MAX; i++)
		last = made(&user, "{}", true);
	struct price_override o = {.id = uuid_v4(), .body = "{}"};
	ck_assert_int_eq(overrides_insert(conn, &user, &o, &arena), ERR_CONFLICT);
	ck_assert_int_eq(overrides_delete(conn, &user, &last.id), ERR_OK);
	ck_assert_int_eq(overrides_insert(conn, &user, &o, &arena), ERR_OK);
}
END_TEST

START_TEST(overrides_insert_beyond_2000_a_day_is_rate_limited)
{
	static const struct db_stmt FILL = {"test_fill",
		"INSERT INTO price_overrides (user_id, id, body, exact, deleted_at)"
		" SELECT $1, gen_random_uuid(), '{}', true, now() FROM generate_series(1, 2000)"};
	const struct uuid user = new_user();
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user);
	run_sql(&FILL, &p);
	struct price_override o = {.id = uuid_v4(), .body = "{}"};
	ck_assert_int_eq(overrides_insert(conn, &user, &o, &arena), ERR_RATE_LIMITED);
}
END_TEST

START_TEST(overrides_delete_of_another_users_is_not_found_and_twice_too)
{
	const struct uuid user = new_user(), other = new_user();
	const struct price_override o = made(&user, "{}", true);
	ck_assert_int_eq(overrides_delete(conn, &other, &o.id), ERR_NOT_FOUND);
	ck_assert_uint_eq(set_of(&user).n, 1);
	ck_assert_int_eq(overrides_delete(conn, &user, &o.id), ERR_OK);
	ck_assert_int_eq(overrides_delete(conn, &user, &o.id), ERR_NOT_FOUND);
	ck_assert_uint_eq(set_of(&user).n, 0);
}
END_TEST

START_TEST(overrides_of_user_are_exact_first_newest_first_and_revisions_grow)
{
	const struct uuid user = new_user();
	ck_assert_int_eq(set_of(&user).revision, 0);
	made(&user, "{\"exact\":1}", true);
	made(&user, "{\"rule\":1}", false);
	const struct price_override_set before = set_of(&user);
	const struct price_override gone = made(&user, "{\"exact\":2}", true);
	made(&user, "{\"rule\":2}", false);
	const struct price_override_set all = set_of(&user);
	ck_assert_uint_eq(all.n, 4);
	ck_assert_str_eq(all.overrides[0].body, "{\"exact\":2}");
	ck_assert_str_eq(all.overrides[1].body, "{\"exact\":1}");
	ck_assert_str_eq(all.overrides[2].body, "{\"rule\":2}");
	ck_assert_str_eq(all.overrides[3].body, "{\"rule\":1}");
	ck_assert_int_gt(all.revision, before.revision);
	ck_assert_int_eq(overrides_delete(conn, &user, &gone.id), ERR_OK);
	const struct price_override_set after = set_of(&user);
	ck_assert_uint_eq(after.n, 3);
	ck_assert_int_gt(after.revision, all.revision);
}
END_TEST

START_TEST(overrides_changed_tells_each_change_and_then_nothing)
{
	const struct uuid user = new_user();
	const struct price_override o = made(&user, "{}", true);
	uint64_t xid;
	size_t n = 99;
	ck_assert(is_told(0, &user, &n, &xid));
	ck_assert_uint_eq(n, 1);
	ck_assert(!is_told(xid, &user, &n, &xid));
	ck_assert_int_eq(overrides_delete(conn, &user, &o.id), ERR_OK);
	ck_assert(is_told(xid, &user, &n, &xid));
	ck_assert_uint_eq(n, 0);
	ck_assert(!is_told(xid, &user, &n, &xid));
}
END_TEST

/* Begun before the other one, committed after it was told: a clock would have passed it by. */
START_TEST(overrides_changed_tells_what_was_begun_earlier_and_committed_later)
{
	static const struct db_stmt SLOW = {"test_slow", "INSERT INTO price_overrides (user_id, id, body, "
							 "exact) VALUES ($1, gen_random_uuid(), '{}', true)"};
	const struct uuid slow = new_user(), quick = new_user();
	struct db_conn *const other = db_conn_new(&fixture_settings);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &slow);
	ck_assert_int_eq(db_begin(other), ERR_OK);
	ck_assert_int_eq(db_run(other, &SLOW, &p, NULL), ERR_OK);
	made(&quick, "{}", true);
	uint64_t xid;
	size_t n;
	ck_assert(is_told(0, &quick, &n, &xid));
	ck_assert(!is_told(xid, &slow, &n, &xid));
	ck_assert_int_eq(db_commit(other), ERR_OK);
	ck_assert(is_told(xid, &slow, &n, &xid));
	ck_assert_uint_eq(n, 1);
	db_conn_free(other);
}
END_TEST

START_TEST(overrides_purge_drops_what_was_deleted_more_than_a_day_ago)
{
	static const struct db_stmt AGE = {"test_age",
		"UPDATE price_overrides SET created_at = now() - interval '3 days',"
		" deleted_at = now() - interval '25 hours' WHERE user_id = $1 AND id = $2"};
	static const struct db_stmt COUNT = {
		"test_count", "SELECT count(*) FROM price_overrides WHERE user_id = $1"};
	const struct uuid user = new_user();
	const struct price_override old = made(&user, "{}", true), young = made(&user, "{}", true);
	made(&user, "{}", true);
	ck_assert_int_eq(overrides_delete(conn, &user, &young.id), ERR_OK);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user);
	db_param_uuid(&p, &old.id);
	run_sql(&AGE, &p);
	ck_assert_int_eq(overrides_purge(conn), ERR_OK);
	PGresult *r;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user);
	ck_assert_int_eq(db_run(conn, &COUNT, &p, &r), ERR_OK);
	ck_assert_int_eq(db_i64(r, 0, 0), 2);
	PQclear(r);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("overrides");
	tcase_add_test(t, overrides_list_is_newest_first_and_goes_on_below_the_cursor);
	tcase_add_test(t, overrides_insert_without_account_is_not_found);
	tcase_add_test(t, overrides_insert_beyond_200_is_a_conflict_until_one_is_deleted);
	tcase_add_test(t, overrides_insert_beyond_2000_a_day_is_rate_limited);
	tcase_add_test(t, overrides_delete_of_another_users_is_not_found_and_twice_too);
	tcase_add_test(t, overrides_of_user_are_exact_first_newest_first_and_revisions_grow);
	tcase_add_test(t, overrides_changed_tells_each_change_and_then_nothing);
	tcase_add_test(t, overrides_changed_tells_what_was_begun_earlier_and_committed_later);
	tcase_add_test(t, overrides_purge_drops_what_was_deleted_more_than_a_day_ago);
	return run_store_tests(suite_create("overrides"), t);
}
