/* API keys in the database: stored, found by hash, listed, deleted, bounded, and kept apart between users. */
#include "store_fixture.h"

#include "llmlab/db/api_keys.h"
#include "llmlab/db/auth_changes.h"

static struct api_key new_key(const char *name, const char *scope, int64_t expires_at_us)
{
	return (struct api_key){.id = uuid_v7(clock_now_us() / US_PER_MS),
		.name = name,
		.scope = scope,
		.prefix = "llk_abcdefgh",
		.expires_at_us = expires_at_us};
}

static void make_hash(uint8_t hash[32])
{
	random_bytes(hash, 32);
}

START_TEST(api_keys_insert_is_found_by_hash_with_its_owner)
{
	const struct uuid user_id = new_user();
	struct api_key k = new_key("Server", "ingest", INT64_MAX);
	struct api_key_owner owner;
	uint8_t hash[32];
	uint8_t other[32];
	make_hash(hash);
	make_hash(other);
	ck_assert_int_eq(api_keys_insert(conn, &user_id, &k, hash), ERR_OK);
	ck_assert_int_gt(k.created_at_us, 0);
	ck_assert_int_eq(api_keys_find(conn, hash, &owner), ERR_OK);
	ck_assert(uuid_equal(&owner.user_id, &user_id));
	ck_assert(uuid_equal(&owner.key_id, &k.id));
	ck_assert_str_eq(owner.scope, "ingest");
	ck_assert_int_eq(owner.expires_at_us, INT64_MAX);
	ck_assert_int_eq(owner.generation, 0);
	ck_assert_int_eq(api_keys_find(conn, other, &owner), ERR_NOT_FOUND);
}
END_TEST

START_TEST(api_keys_find_of_an_expired_key_is_not_found)
{
	const struct uuid user_id = new_user();
	struct api_key k = new_key("Old", "read", clock_now_us() - US_PER_SECOND);
	struct api_key_owner owner;
	uint8_t hash[32];
	make_hash(hash);
	ck_assert_int_eq(api_keys_insert(conn, &user_id, &k, hash), ERR_OK);
	ck_assert_int_eq(api_keys_find(conn, hash, &owner), ERR_NOT_FOUND);
}
END_TEST

START_TEST(api_keys_list_is_newest_first_by_pages_and_of_the_user_alone)
{
	const struct uuid user_id = new_user();
	const struct uuid stranger = new_user();
	struct uuid ids[5];
	struct api_key *keys;
	size_t n;
	uint8_t hash[32];
	for (int i = 0; i < 5; i++) {
		struct api_key k = new_key("Key", "full", INT64_MAX);
		make_hash(hash);
		ids[i] = k.id;
		ck_assert_int_eq(api_keys_insert(conn, &user_id, &k, hash), ERR_OK);
	}
	ck_assert_int_eq(api_keys_list_of_user(conn, &user_id, NULL, 3, &arena, &keys, &n), ERR_OK);
	ck_assert_uint_eq(n, 3);
	ck_assert(uuid_equal(&keys[0].id, &ids[4]));
	ck_assert_int_eq(keys[0].last_used_at_us, 0);
	ck_assert_int_eq(api_keys_list_of_user(conn, &user_id, &keys[2].id, 3, &arena, &keys, &n), ERR_OK);
	ck_assert_uint_eq(n, 2);
	ck_assert(uuid_equal(&keys[1].id, &ids[0]));
	ck_assert_int_eq(api_keys_list_of_user(conn, &stranger, NULL, 3, &arena, &keys, &n), ERR_OK);
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(api_keys_insert_beyond_the_limit_is_a_conflict)
{
	const struct uuid user_id = new_user();
	const struct uuid nobody = uuid_v4();
	uint8_t hash[32];
	for (int i = 0; i < API_KEYS_MAX; i++) {
		struct api_key k = new_key("Key", "read", INT64_MAX);
		make_hash(hash);
		ck_assert_int_eq(api_keys_insert(conn, &user_id, &k, hash), ERR_OK);
	}
	struct api_key k = new_key("One more", "read", INT64_MAX);
	make_hash(hash);
	ck_assert_int_eq(api_keys_insert(conn, &user_id, &k, hash), ERR_CONFLICT);
	ck_assert_int_eq(api_keys_insert(conn, &nobody, &k, hash), ERR_NOT_FOUND);
}
END_TEST

struct seen {
	struct uuid account;
	struct auth_change last;
	int times;
};

static void see(void *arg, const struct auth_change *change)
{
	struct seen *const s = arg;
	if (!uuid_equal(&change->account, &s->account))
		return;
	s->last = *change;
	s->times++;
}

START_TEST(api_keys_delete_raises_the_generation_and_is_told_to_pollers)
{
	const struct uuid user_id = new_user();
	const struct uuid stranger = new_user();
	struct api_key k = new_key("Key", "full", INT64_MAX);
	struct api_key_owner owner;
	struct seen seen = {.account = user_id};
	uint64_t xid = 0;
	int64_t generation = -1;
	uint8_t hash[32];
	make_hash(hash);
	ck_assert_int_eq(api_keys_insert(conn, &user_id, &k, hash), ERR_OK);
	ck_assert_int_eq(auth_changes_poll(conn, &xid, see, &seen), ERR_OK);
	ck_assert_int_eq(api_keys_delete_one(conn, &stranger, &k.id, &generation), ERR_NOT_FOUND);
	ck_assert_int_eq(api_keys_find(conn, hash, &owner), ERR_OK);
	ck_assert_int_eq(auth_changes_poll(conn, &xid, see, &seen), ERR_OK);
	ck_assert_int_eq(seen.times, 0);
	ck_assert_int_eq(api_keys_delete_one(conn, &user_id, &k.id, &generation), ERR_OK);
	ck_assert_int_eq(generation, 1);
	ck_assert_int_eq(api_keys_find(conn, hash, &owner), ERR_NOT_FOUND);
	ck_assert_int_eq(auth_changes_poll(conn, &xid, see, &seen), ERR_OK);
	ck_assert_int_ge(seen.times, 1);
	ck_assert_int_eq(seen.last.key_generation, 1);
	ck_assert_int_eq(seen.last.session_generation, 0);
	ck_assert_int_eq(api_keys_delete_one(conn, &user_id, &k.id, &generation), ERR_NOT_FOUND);
}
END_TEST

START_TEST(api_keys_note_uses_keeps_the_latest_and_ignores_what_is_gone)
{
	const struct uuid user_id = new_user();
	struct api_key k = new_key("Key", "full", INT64_MAX);
	struct api_key *keys;
	size_t n;
	uint8_t hash[32];
	make_hash(hash);
	ck_assert_int_eq(api_keys_insert(conn, &user_id, &k, hash), ERR_OK);
	const int64_t at_us = at("2026-05-01T00:00:00Z");
	const struct api_key_use later[] = {{uuid_v4(), uuid_v4(), at_us}, {user_id, k.id, at_us}};
	const struct api_key_use earlier = {user_id, k.id, at_us - US_PER_DAY};
	ck_assert_int_eq(api_keys_note_uses(conn, later, 2), ERR_OK);
	ck_assert_int_eq(api_keys_note_uses(conn, &earlier, 1), ERR_OK);
	ck_assert_int_eq(api_keys_note_uses(conn, NULL, 0), ERR_OK);
	ck_assert_int_eq(api_keys_list_of_user(conn, &user_id, NULL, 3, &arena, &keys, &n), ERR_OK);
	ck_assert_int_eq(keys[0].last_used_at_us, at_us);
}
END_TEST

START_TEST(auth_changes_poll_tells_what_an_older_open_transaction_wrote)
{
	/* The first poll sees a younger committed change while an older transaction is still open; the next
	 * poll must find what that one commits. */
	const struct uuid slow = new_user();
	const struct uuid fast = new_user();
	struct seen seen = {.account = slow};
	uint64_t xid = 0;
	int64_t generation;
	struct db_conn *const other = db_conn_new(&fixture_settings);
	ck_assert_int_eq(db_begin(other), ERR_OK);
	ck_assert_int_eq(
		users_set_password(other, &slow, "$argon2id$test", "$argon2id$new", &generation), ERR_OK);
	ck_assert_int_eq(
		users_set_password(conn, &fast, "$argon2id$test", "$argon2id$new", &generation), ERR_OK);
	ck_assert_int_eq(auth_changes_poll(conn, &xid, see, &seen), ERR_OK);
	ck_assert_int_eq(seen.times, 0);
	ck_assert_int_eq(db_commit(other), ERR_OK);
	ck_assert_int_eq(auth_changes_poll(conn, &xid, see, &seen), ERR_OK);
	ck_assert_int_eq(seen.times, 1);
	/* and one from another cluster's future reads everything anew */
	xid = UINT64_MAX / 2;
	ck_assert_int_eq(auth_changes_poll(conn, &xid, see, &seen), ERR_OK);
	ck_assert_int_eq(seen.times, 2);
	db_conn_free(other);
}
END_TEST

START_TEST(auth_changes_purge_drops_only_what_is_older_than_any_token)
{
	static const struct db_stmt AGE = {"test_age_changes",
		"UPDATE auth_changes SET changed_at = now() - interval '369 days' WHERE account = $1"};
	const struct uuid old = new_user();
	const struct uuid recent = new_user();
	struct seen seen = {.account = recent};
	uint64_t xid = 0;
	int64_t generation;
	ck_assert_int_eq(
		users_set_password(conn, &old, "$argon2id$test", "$argon2id$new", &generation), ERR_OK);
	ck_assert_int_eq(
		users_set_password(conn, &recent, "$argon2id$test", "$argon2id$new", &generation), ERR_OK);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &old);
	run_sql(&AGE, &p);
	ck_assert_int_eq(auth_changes_purge(conn), ERR_OK);
	ck_assert_int_eq(auth_changes_poll(conn, &xid, see, &seen), ERR_OK);
	ck_assert_int_eq(seen.times, 1);
	seen = (struct seen){.account = old};
	xid = 0;
	ck_assert_int_eq(auth_changes_poll(conn, &xid, see, &seen), ERR_OK);
	ck_assert_int_eq(seen.times, 0);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("api keys");
	tcase_add_test(t, api_keys_insert_is_found_by_hash_with_its_owner);
	tcase_add_test(t, api_keys_find_of_an_expired_key_is_not_found);
	tcase_add_test(t, api_keys_list_is_newest_first_by_pages_and_of_the_user_alone);
	tcase_add_test(t, api_keys_insert_beyond_the_limit_is_a_conflict);
	tcase_add_test(t, api_keys_delete_raises_the_generation_and_is_told_to_pollers);
	tcase_add_test(t, api_keys_note_uses_keeps_the_latest_and_ignores_what_is_gone);
	tcase_add_test(t, auth_changes_poll_tells_what_an_older_open_transaction_wrote);
	tcase_add_test(t, auth_changes_purge_drops_only_what_is_older_than_any_token);
	return run_store_tests(suite_create("api keys"), t);
}
