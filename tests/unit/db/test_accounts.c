/* Deleting accounts: small ones at once, large ones by pieces, and never anybody else's rows. */
#include "store_fixture.h"

#include "llmlab/db/accounts.h"
#include "llmlab/db/api_keys.h"
#include "llmlab/db/auth_changes.h"

#define HASH "$argon2id$test" /* of new_user() */

/* Rows of the user in all tables that have a user_id, one figure. */
static int64_t rows_of(const struct uuid *id)
{
	static const struct db_stmt COUNT = {"test_rows_of",
		"SELECT coalesce(sum((xpath('/row/n/text()', query_to_xml(format("
		"'SELECT count(*) AS n FROM %I.%I WHERE user_id = %L', table_schema, table_name, $1::text),"
		" false, true, '')))[1]::text::bigint), 0)"
		" + (SELECT count(*) FROM users WHERE id = $1::uuid)"
		" FROM information_schema.columns JOIN information_schema.tables USING (table_schema, "
		"table_name)"
		" WHERE column_name = 'user_id' AND table_type = 'BASE TABLE'"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, id);
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(conn, &COUNT, &p, &r), ERR_OK);
	const int64_t n = db_i64(r, 0, 0);
	PQclear(r);
	return n;
}

/* An account with events of two months, their sums, idempotency keys, an API key and a logged-out token. */
static struct uuid furnished(int n_events)
{
	static const struct db_stmt KEYS = {"test_event_keys",
		"INSERT INTO event_keys (user_id, key, event_id, occurred_at, fingerprint)"
		" SELECT user_id, id::text, id, occurred_at, sha256('x') FROM events WHERE user_id = $1"};
	const struct uuid id = new_user();
	const struct uuid token = uuid_v4();
	for (int i = 0; i < n_events; i++) {
		const struct test_event e = {
			.at = i % 2 == 0 ? "2026-03-04T05:06:07Z" : "2026-04-04T05:06:07Z",
			.provider = "openai",
			.model = i % 3 == 0 ? "gpt-4" : "gpt-4o",
			.cost = "0.25",
			.input = 10,
			.output = 5};
		add_event(&id, &e);
	}
	roll_up(&id);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &id);
	run_sql(&KEYS, &p);
	struct api_key k = {.id = uuid_v7(clock_now_us() / US_PER_MS),
		.name = "Key",
		.scope = "full",
		.prefix = "llk_abcdefgh",
		.expires_at_us = INT64_MAX};
	uint8_t hash[32];
	random_bytes(hash, sizeof hash);
	ck_assert_int_eq(api_keys_insert(conn, &id, &k, hash), ERR_OK);
	ck_assert_int_eq(tokens_revoke(conn, &id, &token, at("2030-01-01T00:00:00Z")), ERR_OK);
	return id;
}

struct seen {
	struct uuid account;
	int64_t session_generation, key_generation;
};

static void see(void *arg, const struct auth_change *change)
{
	struct seen *const s = arg;
	if (!uuid_equal(&change->account, &s->account))
		return;
	s->session_generation = change->session_generation;
	s->key_generation = change->key_generation;
}

static void assert_ended(const struct uuid *id)
{
	struct seen seen = {.account = *id};
	uint64_t xid = 0;
	bool revoked = false;
	const struct uuid token = uuid_v4();
	struct user found;
	ck_assert_int_eq(auth_changes_poll(conn, &xid, see, &seen), ERR_OK);
	ck_assert_int_eq(seen.session_generation, INT64_MAX);
	ck_assert_int_eq(seen.key_generation, INT64_MAX);
	ck_assert_int_eq(tokens_is_revoked(conn, id, &token, 1000, &revoked), ERR_OK);
	ck_assert(revoked);
	ck_assert_int_eq(users_find(conn, id, &arena, &found), ERR_NOT_FOUND);
}

/* The e-mail of new_user(). */
static const char *email_of(const struct uuid *id)
{
	char text[UUID_TEXT_SIZE];
	uuid_format(id, text);
	return arena_printf(&arena, "%s@example.com", text);
}

static void assert_email_free(const struct uuid *id)
{
	const struct user again = {.id = uuid_v4(),
		.email = email_of(id),
		.name = "Again",
		.timezone = "UTC",
		.password_hash = "$argon2id$again",
		.created_at_us = at("2026-01-01T00:00:00Z")};
	ck_assert_int_eq(users_insert(conn, &again), ERR_OK);
}

START_TEST(accounts_delete_small_leaves_nothing_at_once)
{
	const struct uuid id = furnished(7);
	const struct uuid other = furnished(5);
	const int64_t others_rows = rows_of(&other);
	bool gone = false;
	ck_assert_int_gt(rows_of(&id), 7 + 7 + 3);
	ck_assert_int_eq(accounts_delete(conn, &id, HASH, 100, &gone), ERR_OK);
	ck_assert(gone);
	ck_assert_int_eq(rows_of(&id), 0);
	ck_assert_int_eq(rows_of(&other), others_rows);
	assert_ended(&id);
	assert_email_free(&id);
}
END_TEST

START_TEST(accounts_delete_with_a_hash_that_is_not_stored_changes_nothing)
{
	const struct uuid id = furnished(3);
	const int64_t rows = rows_of(&id);
	bool gone = true;
	ck_assert_int_eq(accounts_delete(conn, &id, "$argon2id$other", 100, &gone), ERR_NOT_FOUND);
	ck_assert_int_eq(accounts_delete(conn, &id, "$argon2id$other", 1, &gone), ERR_NOT_FOUND);
	ck_assert(gone);
	ck_assert_int_eq(rows_of(&id), rows);
}
END_TEST

START_TEST(accounts_delete_large_ends_it_at_once_and_purge_removes_it_piece_by_piece)
{
	const struct uuid id = furnished(12);
	const struct uuid other = furnished(5);
	const int64_t others_rows = rows_of(&other);
	bool gone = true;
	bool more = true;
	ck_assert_int_eq(accounts_delete(conn, &id, HASH, 10, &gone), ERR_OK);
	ck_assert(!gone);
	assert_ended(&id);
	assert_email_free(&id);
	for (int i = 0; i < 100 && rows_of(&id) > 0; i++)
		ck_assert_int_eq(accounts_purge(conn, 10, &more), ERR_OK);
	ck_assert_int_eq(rows_of(&id), 0);
	ck_assert_int_eq(rows_of(&other), others_rows);
	ck_assert_int_eq(accounts_purge(conn, 10, &more), ERR_OK);
	ck_assert(!more);
	assert_ended(&id);
}
END_TEST

START_TEST(accounts_purge_takes_no_account_that_lives)
{
	const struct uuid id = furnished(4);
	const int64_t rows = rows_of(&id);
	bool more = true;
	ck_assert_int_eq(accounts_purge(conn, 1, &more), ERR_OK);
	ck_assert(!more);
	ck_assert_int_eq(rows_of(&id), rows);
}
END_TEST

START_TEST(accounts_delete_while_a_writer_holds_its_rows_is_done_without_waiting_for_it)
{
	static const struct db_stmt HOLD = {
		"test_hold", "UPDATE usage_model_15m SET calls = calls + 0 WHERE user_id = $1"};
	const struct uuid id = furnished(6);
	struct db_conn *const writer = db_conn_new(&fixture_settings);
	bool gone = true;
	bool more = true;
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &id);
	ck_assert_int_eq(db_begin(writer), ERR_OK);
	ck_assert_int_eq(db_run(writer, &HOLD, &p, NULL), ERR_OK);
	ck_assert_int_eq(accounts_delete(conn, &id, HASH, 100, &gone), ERR_OK);
	ck_assert(!gone);
	assert_ended(&id);
	ck_assert_int_eq(db_commit(writer), ERR_OK);
	for (int i = 0; i < 100 && rows_of(&id) > 0; i++)
		ck_assert_int_eq(accounts_purge(conn, 100, &more), ERR_OK);
	ck_assert_int_eq(rows_of(&id), 0);
	db_conn_free(writer);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("accounts");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, accounts_delete_small_leaves_nothing_at_once);
	tcase_add_test(t, accounts_delete_with_a_hash_that_is_not_stored_changes_nothing);
	tcase_add_test(t, accounts_delete_large_ends_it_at_once_and_purge_removes_it_piece_by_piece);
	tcase_add_test(t, accounts_purge_takes_no_account_that_lives);
	tcase_add_test(t, accounts_delete_while_a_writer_holds_its_rows_is_done_without_waiting_for_it);
	return run_store_tests(suite_create("accounts"), t);
}
