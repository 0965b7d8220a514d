/* Accounts and logged-out tokens against a real PostgreSQL. */

#include "store_fixture.h"

START_TEST(users_insert_found_by_id_with_all_fields)
{
	const struct user u = {.id = uuid_v4(),
		.email = "Ada@Example.com",
		.name = "Ada",
		.timezone = "Europe/Berlin",
		.password_hash = "$argon2id$v=19$x",
		.created_at_us = at("2026-02-03T04:05:06.789012Z")};
	ck_assert_int_eq(users_insert(conn, &u), ERR_OK);
	struct user found;
	ck_assert_int_eq(users_find(conn, &u.id, &arena, &found), ERR_OK);
	ck_assert(uuid_equal(&found.id, &u.id));
	ck_assert_str_eq(found.email, "Ada@Example.com");
	ck_assert_str_eq(found.name, "Ada");
	ck_assert_str_eq(found.timezone, "Europe/Berlin");
	ck_assert_str_eq(found.password_hash, "$argon2id$v=19$x");
	ck_assert_int_eq(found.created_at_us, u.created_at_us);
}
END_TEST

START_TEST(users_insert_same_email_other_case_is_duplicate)
{
	struct user u = {.id = uuid_v4(),
		.email = "case@example.com",
		.name = "A",
		.timezone = "UTC",
		.password_hash = "$argon2id$",
		.created_at_us = at("2026-01-01T00:00:00Z")};
	ck_assert_int_eq(users_insert(conn, &u), ERR_OK);
	u.id = uuid_v4();
	u.email = "CASE@example.COM";
	ck_assert_int_eq(users_insert(conn, &u), ERR_DUPLICATE);
}
END_TEST

START_TEST(users_find_by_email_any_case_finds)
{
	const struct user u = {.id = uuid_v4(),
		.email = "Find.Me@example.com",
		.name = "A",
		.timezone = "UTC",
		.password_hash = "$argon2id$",
		.created_at_us = at("2026-01-01T00:00:00Z")};
	ck_assert_int_eq(users_insert(conn, &u), ERR_OK);
	struct user found;
	ck_assert_int_eq(users_find_by_email(conn, "find.ME@EXAMPLE.com", &arena, &found), ERR_OK);
	ck_assert(uuid_equal(&found.id, &u.id));
}
END_TEST

START_TEST(users_find_unknown_is_not_found_and_result_untouched)
{
	const struct uuid nobody = uuid_v4();
	struct user found = {.name = "untouched"};
	ck_assert_int_eq(users_find(conn, &nobody, &arena, &found), ERR_NOT_FOUND);
	ck_assert_int_eq(users_find_by_email(conn, "nobody@example.com", &arena, &found), ERR_NOT_FOUND);
	ck_assert_str_eq(found.name, "untouched");
}
END_TEST

START_TEST(users_update_null_leaves_field)
{
	const struct uuid id = new_user();
	ck_assert_int_eq(users_update(conn, &id, NULL, "Asia/Tokyo"), ERR_OK);
	struct user found;
	ck_assert_int_eq(users_find(conn, &id, &arena, &found), ERR_OK);
	ck_assert_str_eq(found.name, "Test");
	ck_assert_str_eq(found.timezone, "Asia/Tokyo");
}
END_TEST

START_TEST(users_update_unknown_is_not_found)
{
	const struct uuid nobody = uuid_v4();
	ck_assert_int_eq(users_update(conn, &nobody, "X", NULL), ERR_NOT_FOUND);
}
END_TEST

/* What another connection would get at once: a row, or none while it is locked against that. */
static const struct db_stmt WANT_CHANGE = {
	"test_want_change", "SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED"};
static const struct db_stmt WANT_REFERENCE = {
	"test_want_reference", "SELECT id FROM users WHERE id = $1 FOR KEY SHARE SKIP LOCKED"};

START_TEST(users_lock_keeps_changes_apart_and_lets_references_be_made)
{
	const struct uuid id = new_user();
	struct db_conn *const other = db_conn_new(&fixture_settings);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &id);
	ck_assert_int_eq(db_begin(conn), ERR_OK);
	ck_assert_int_eq(users_lock(conn, &id), ERR_OK);
	ck_assert_int_eq(db_run_row(other, &WANT_CHANGE, &p, NULL), ERR_NOT_FOUND);
	ck_assert_int_eq(db_run_row(other, &WANT_REFERENCE, &p, NULL), ERR_OK);
	ck_assert_int_eq(db_commit(conn), ERR_OK);
	ck_assert_int_eq(db_run_row(other, &WANT_CHANGE, &p, NULL), ERR_OK);
	db_conn_free(other);
}
END_TEST

static const struct db_stmt MARK_DELETED = {
	"test_mark_deleted", "UPDATE users SET deleted_at = now() WHERE id = $1"};

START_TEST(users_lock_of_nobody_or_a_deleted_account_is_not_found)
{
	const struct uuid nobody = uuid_v4(), id = new_user();
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &id);
	ck_assert_int_eq(users_lock(conn, &nobody), ERR_NOT_FOUND);
	ck_assert_int_eq(users_lock(conn, &id), ERR_OK);
	ck_assert_int_eq(db_run(conn, &MARK_DELETED, &p, NULL), ERR_OK);
	ck_assert_int_eq(users_lock(conn, &id), ERR_NOT_FOUND);
}
END_TEST

START_TEST(tokens_is_revoked_before_and_after_revoke_differs)
{
	const struct uuid user_id = new_user();
	const struct uuid token = uuid_v4();
	const struct uuid other = uuid_v4();
	bool revoked = true;
	ck_assert_int_eq(tokens_is_revoked(conn, &user_id, &token, 0, &revoked), ERR_OK);
	ck_assert(!revoked);
	ck_assert_int_eq(tokens_revoke(conn, &user_id, &token, at("2030-01-01T00:00:00Z")), ERR_OK);
	ck_assert_int_eq(tokens_is_revoked(conn, &user_id, &token, 0, &revoked), ERR_OK);
	ck_assert(revoked);
	ck_assert_int_eq(tokens_is_revoked(conn, &user_id, &other, 0, &revoked), ERR_OK);
	ck_assert(!revoked);
}
END_TEST

START_TEST(tokens_is_revoked_unknown_user_is_true)
{
	const struct uuid nobody = uuid_v4();
	const struct uuid token = uuid_v4();
	bool revoked = false;
	ck_assert_int_eq(tokens_is_revoked(conn, &nobody, &token, 0, &revoked), ERR_OK);
	ck_assert(revoked);
}
END_TEST

START_TEST(tokens_revoke_twice_is_ok)
{
	const struct uuid user_id = new_user();
	const struct uuid token = uuid_v4();
	ck_assert_int_eq(tokens_revoke(conn, &user_id, &token, at("2030-01-01T00:00:00Z")), ERR_OK);
	ck_assert_int_eq(tokens_revoke(conn, &user_id, &token, at("2030-01-01T00:00:00Z")), ERR_OK);
}
END_TEST

START_TEST(tokens_revoke_unknown_user_is_ok)
{
	const struct uuid nobody = uuid_v4();
	const struct uuid token = uuid_v4();
	ck_assert_int_eq(tokens_revoke(conn, &nobody, &token, at("2030-01-01T00:00:00Z")), ERR_OK);
}
END_TEST

/* Which of the tokens looked for were told, and how many in all. */
struct told {
	struct uuid wanted[2];
	int64_t expires_at_us[2];
	int times[2];
	int all;
};

static void tell(void *arg, const struct uuid *token_id, int64_t expires_at_us)
{
	struct told *told = arg;
	told->all++;
	for (int i = 0; i < 2; i++) {
		if (!uuid_equal(token_id, &told->wanted[i]))
			continue;
		told->times[i]++;
		told->expires_at_us[i] = expires_at_us;
	}
}

START_TEST(tokens_revoked_since_tells_new_and_overlap_not_older)
{
	/* One logged out an hour ago, one now: since five seconds ago only the second is told. */
	static const struct db_stmt AGE = {"test_age",
		"UPDATE revoked_tokens SET revoked_at = now() - interval '1 hour' WHERE user_id = $1"};
	const struct uuid user_id = new_user();
	struct told told = {.wanted = {uuid_v4(), uuid_v4()}};
	ck_assert_int_eq(tokens_revoke(conn, &user_id, &told.wanted[0], at("2030-01-01T00:00:00Z")), ERR_OK);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	run_sql(&AGE, &p);
	ck_assert_int_eq(tokens_revoke(conn, &user_id, &told.wanted[1], at("2031-01-01T00:00:00Z")), ERR_OK);
	int64_t now_us = 0;
	ck_assert_int_eq(
		tokens_revoked_since(conn, clock_now_us() - 5 * US_PER_SECOND, tell, &told, &now_us), ERR_OK);
	ck_assert_int_eq(told.times[0], 0);
	ck_assert_int_eq(told.times[1], 1);
	ck_assert_int_eq(told.expires_at_us[1], at("2031-01-01T00:00:00Z"));
	/* Both clocks are this machine's. */
	ck_assert(now_us > clock_now_us() - US_PER_MINUTE && now_us <= clock_now_us());
}
END_TEST

START_TEST(tokens_revoked_since_more_than_a_page_tells_all_once)
{
	/* 10,000 is a page; 10,500 tokens of one instant need the second page and the order by token within
	 * an instant. */
	static const struct db_stmt MANY = {"test_many",
		"INSERT INTO revoked_tokens SELECT $1::uuid, gen_random_uuid(), '2027-01-01T00:00:00Z', "
		"'2030-01-01T00:00:00Z'"
		" FROM generate_series(1, 10498)"};
	static const struct db_stmt TWO = {"test_two", "INSERT INTO revoked_tokens SELECT $1::uuid, t, "
						       "'2027-01-01T00:00:00Z', '2030-01-01T00:00:00Z' FROM"
						       " unnest(ARRAY[$2, $3]::uuid[]) t"};
	const struct uuid user_id = new_user();
	struct told told = {.wanted = {uuid_v4(), uuid_v4()}};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	run_sql(&MANY, &p);
	db_param_uuid(&p, &told.wanted[0]);
	db_param_uuid(&p, &told.wanted[1]);
	run_sql(&TWO, &p);
	int64_t now_us = 0;
	ck_assert_int_eq(
		tokens_revoked_since(conn, at("2027-01-01T00:00:00Z"), tell, &told, &now_us), ERR_OK);
	ck_assert_int_eq(told.all, 10500);
	ck_assert_int_eq(told.times[0], 1);
	ck_assert_int_eq(told.times[1], 1);
}
END_TEST

START_TEST(tokens_purge_deletes_expired_only)
{
	const struct uuid user_id = new_user();
	const struct uuid dead = uuid_v4();
	const struct uuid live = uuid_v4();
	ck_assert_int_eq(tokens_revoke(conn, &user_id, &dead, clock_now_us() - 3 * US_PER_DAY), ERR_OK);
	ck_assert_int_eq(tokens_revoke(conn, &user_id, &live, clock_now_us() + US_PER_HOUR), ERR_OK);
	ck_assert_int_eq(tokens_purge(conn), ERR_OK);
	bool revoked = true;
	ck_assert_int_eq(tokens_is_revoked(conn, &user_id, &dead, 0, &revoked), ERR_OK);
	ck_assert(!revoked);
	ck_assert_int_eq(tokens_is_revoked(conn, &user_id, &live, 0, &revoked), ERR_OK);
	ck_assert(revoked);
}
END_TEST

START_TEST(users_set_password_ends_older_generations_only)
{
	const struct uuid id = new_user();
	const struct uuid token = uuid_v4();
	int64_t generation = -1;
	bool revoked = false;
	ck_assert_int_eq(users_set_password(conn, &id, "$argon2id$other", "$argon2id$new", &generation),
		ERR_NOT_FOUND);
	ck_assert_int_eq(generation, -1);
	ck_assert_int_eq(
		users_set_password(conn, &id, "$argon2id$test", "$argon2id$new", &generation), ERR_OK);
	ck_assert_int_eq(generation, 1);
	struct user found;
	ck_assert_int_eq(users_find(conn, &id, &arena, &found), ERR_OK);
	ck_assert_int_eq(found.session_generation, 1);
	ck_assert_str_eq(found.password_hash, "$argon2id$new");
	ck_assert_int_eq(tokens_is_revoked(conn, &id, &token, 0, &revoked), ERR_OK);
	ck_assert(revoked);
	ck_assert_int_eq(tokens_is_revoked(conn, &id, &token, 1, &revoked), ERR_OK);
	ck_assert(!revoked);
}
END_TEST

START_TEST(users_rehash_changes_the_hash_and_ends_nothing)
{
	const struct uuid id = new_user();
	struct user found;
	ck_assert_int_eq(users_rehash(conn, &id, "$argon2id$stale", "$argon2id$never"), ERR_OK);
	ck_assert_int_eq(users_rehash(conn, &id, "$argon2id$test", "$argon2id$stronger"), ERR_OK);
	ck_assert_int_eq(users_find(conn, &id, &arena, &found), ERR_OK);
	ck_assert_str_eq(found.password_hash, "$argon2id$stronger");
	ck_assert_int_eq(found.session_generation, 0);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("users");
	tcase_add_test(t, users_insert_found_by_id_with_all_fields);
	tcase_add_test(t, users_insert_same_email_other_case_is_duplicate);
	tcase_add_test(t, users_find_by_email_any_case_finds);
	tcase_add_test(t, users_find_unknown_is_not_found_and_result_untouched);
	tcase_add_test(t, users_update_null_leaves_field);
	tcase_add_test(t, users_update_unknown_is_not_found);
	tcase_add_test(t, users_lock_keeps_changes_apart_and_lets_references_be_made);
	tcase_add_test(t, users_lock_of_nobody_or_a_deleted_account_is_not_found);
	tcase_add_test(t, tokens_is_revoked_before_and_after_revoke_differs);
	tcase_add_test(t, tokens_is_revoked_unknown_user_is_true);
	tcase_add_test(t, tokens_revoke_twice_is_ok);
	tcase_add_test(t, tokens_revoke_unknown_user_is_ok);
	tcase_add_test(t, tokens_revoked_since_tells_new_and_overlap_not_older);
	tcase_add_test(t, tokens_revoked_since_more_than_a_page_tells_all_once);
	tcase_add_test(t, tokens_purge_deletes_expired_only);
	tcase_add_test(t, users_set_password_ends_older_generations_only);
	tcase_add_test(t, users_rehash_changes_the_hash_and_ends_nothing);
	return run_store_tests(suite_create("users"), t);
}
