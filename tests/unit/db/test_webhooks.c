/* Webhooks and their outbox against a real PostgreSQL. */

#include "llmlab/db/webhooks.h"

#include <pthread.h>

#include "llmlab/base/metrics.h"
#include "llmlab/core/webhook.h"
#include "llmlab/db/webhook_outbox.h"
#include "store_fixture.h"

#define KEY_ID "0123456789abcdef"
#define SEALED KEY_ID ".abcdefghijklmnopqrstuvwxyz"

static const char *const BUDGETS[] = {"budget.threshold"};
static const char *const BOTH[] = {"budget.threshold", "model.unpriced"};

static struct uuid new_hook(const struct uuid *user_id, const char *const *events, size_t n, bool active)
{
	struct webhook w = {.id = uuid_v7(clock_now_us() / US_PER_MS),
		.url = "https://example.com/",
		.events = events,
		.n_events = n,
		.format = "json",
		.active = active};
	ck_assert_int_eq(webhooks_insert(conn, user_id, &w, SEALED, &arena), ERR_OK);
	return w.id;
}

static int64_t pending(const struct uuid *user_id, const struct uuid *id)
{
	struct webhook w;
	ck_assert_int_eq(webhooks_find(conn, user_id, id, &arena, &w), ERR_OK);
	return w.pending;
}

static size_t claim_with(const char *current, const char *previous, int max, struct webhook_claim **ret)
{
	const struct webhook_keys keys = {.current = current, .previous = previous};
	size_t n = 0;
	ck_assert_int_eq(webhook_outbox_claim(conn, max, &keys, &arena, ret, &n), ERR_OK);
	return n;
}

static size_t claim(int max, struct webhook_claim **ret)
{
	return claim_with(KEY_ID, NULL, max, ret);
}

static enum err enqueue(const struct uuid *user_id, const char *event)
{
	return webhooks_enqueue(conn, user_id, event, "{\"message\":\"m\"}", &arena);
}

/* Nobody's deliveries are left, so that the next test claims only its own. */
static void clear(void)
{
	static const struct db_stmt CLEAR = {"test_clear", "DELETE FROM webhook_deliveries"};
	run_sql(&CLEAR, NULL);
}

static void expire_leases(void)
{
	static const struct db_stmt EXPIRE = {"test_expire",
		"UPDATE webhook_deliveries SET leased_until = now(), next_attempt_at = now() WHERE leased_until IS NOT NULL"};
	run_sql(&EXPIRE, NULL);
}

START_TEST(webhooks_enqueue_reaches_active_subscribers_alone)
{
	const struct uuid user_id = new_user(), other_id = new_user();
	const struct uuid first = new_hook(&user_id, BUDGETS, 1, true), second = new_hook(&user_id, BOTH, 2, true);
	const struct uuid inactive = new_hook(&user_id, BOTH, 2, false), others = new_hook(&other_id, BOTH, 2, true);
	ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	ck_assert_int_eq(enqueue(&user_id, "model.unpriced"), ERR_OK);
	ck_assert_int_eq(enqueue(&user_id, "anomaly.detected"), ERR_OK);
	ck_assert_int_eq((int)pending(&user_id, &first), 1);
	ck_assert_int_eq((int)pending(&user_id, &second), 2);
	ck_assert_int_eq((int)pending(&user_id, &inactive), 0);
	ck_assert_int_eq((int)pending(&other_id, &others), 0);
}
END_TEST

START_TEST(webhooks_enqueue_rolled_back_leaves_nothing)
{
	const struct uuid user_id = new_user(), id = new_hook(&user_id, BUDGETS, 1, true);
	ck_assert_int_eq(db_begin(conn), ERR_OK);
	ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	db_rollback(conn);
	ck_assert_int_eq((int)pending(&user_id, &id), 0);
}
END_TEST

START_TEST(webhooks_enqueue_beyond_500_is_dropped_and_counted)
{
	static const struct db_stmt FILL = {"test_fill",
		"INSERT INTO webhook_deliveries (user_id, id, webhook_id, event_type, payload)"
		" SELECT $1::uuid, gen_random_uuid(), $2::uuid, 'budget.threshold', '{}' FROM generate_series(1, 499)"};
	const struct uuid user_id = new_user(), full = new_hook(&user_id, BUDGETS, 1, true);
	const struct uuid empty = new_hook(&user_id, BUDGETS, 1, true);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	db_param_uuid(&p, &full);
	run_sql(&FILL, &p);
	ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	ck_assert_int_eq((int)metric_get(METRIC_WEBHOOKS_DROPPED), 0);
	ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	ck_assert_int_eq((int)metric_get(METRIC_WEBHOOKS_DROPPED), 1);
	ck_assert_int_eq((int)pending(&user_id, &full), 500);
	ck_assert_int_eq((int)pending(&user_id, &empty), 2); /* another webhook's queue does not matter */
}
END_TEST

START_TEST(webhooks_enqueue_too_long_a_payload_is_refused)
{
	const struct uuid user_id = new_user();
	char *const payload = arena_alloc(&arena, WEBHOOK_PAYLOAD_MAX_BYTES + 2);
	memset(payload, ' ', WEBHOOK_PAYLOAD_MAX_BYTES + 1);
	ck_assert_int_eq(webhooks_enqueue(conn, &user_id, "budget.threshold", payload, &arena), ERR_TOO_LARGE);
}
END_TEST

/* A webhook that is being deleted: whoever enqueues waits, then finds it gone, and its own transaction goes on. */
static void *delete_later(void *arg)
{
	const struct uuid *const ids = arg;
	struct db_conn *const c = db_conn_new(&fixture_settings);
	const enum err e = webhooks_delete(c, &ids[0], &ids[1]);
	db_conn_free(c);
	return e == ERR_OK ? NULL : arg;
}

START_TEST(webhooks_enqueue_while_it_is_deleted_never_fails)
{
	const struct uuid user_id = new_user();
	for (int i = 0; i < 20; i++) {
		struct uuid ids[2] = {user_id, new_hook(&user_id, BUDGETS, 1, true)};
		pthread_t thread;
		void *failed = NULL;
		ck_assert_int_eq(pthread_create(&thread, NULL, delete_later, ids), 0);
		ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
		ck_assert_int_eq(pthread_join(thread, &failed), 0);
		ck_assert_ptr_null(failed);
	}
	struct webhook *hooks;
	size_t n = 1;
	ck_assert_int_eq(webhooks_list(conn, &user_id, &arena, &hooks, &n), ERR_OK);
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(webhooks_insert_more_than_20_is_a_conflict)
{
	const struct uuid user_id = new_user(), nobody = uuid_v4();
	for (int i = 0; i < WEBHOOKS_PER_USER_MAX; i++)
		(void)new_hook(&user_id, BUDGETS, 1, true);
	struct webhook w = {.id = uuid_v4(), .url = "https://example.com/", .events = BUDGETS, .n_events = 1, .format = "json"};
	ck_assert_int_eq(webhooks_insert(conn, &user_id, &w, SEALED, &arena), ERR_CONFLICT);
	ck_assert_int_eq(webhooks_insert(conn, &nobody, &w, SEALED, &arena), ERR_NOT_FOUND);
}
END_TEST

START_TEST(webhook_outbox_claim_takes_two_of_each_user)
{
	clear();
	const struct uuid user_id = new_user(), other_id = new_user();
	(void)new_hook(&user_id, BUDGETS, 1, true);
	(void)new_hook(&other_id, BUDGETS, 1, true);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	ck_assert_int_eq(enqueue(&other_id, "budget.threshold"), ERR_OK);
	struct webhook_claim *claims;
	ck_assert_uint_eq(claim(10, &claims), 3);
	int of_user = 0;
	for (size_t i = 0; i < 3; i++) {
		of_user += uuid_equal(&claims[i].user_id, &user_id);
		ck_assert_int_eq((int)claims[i].attempt, 1);
		ck_assert_str_eq(claims[i].payload, "{\"message\":\"m\"}");
		ck_assert_str_eq(claims[i].secret, SEALED);
	}
	ck_assert_int_eq(of_user, 2);
	ck_assert_uint_eq(claim(10, &claims), 0);
	clear();
}
END_TEST

START_TEST(webhook_outbox_claim_takes_at_most_what_it_is_asked_for_oldest_first)
{
	clear();
	struct uuid users[4];
	for (int i = 0; i < 4; i++) {
		users[i] = new_user();
		(void)new_hook(&users[i], BUDGETS, 1, true);
		ck_assert_int_eq(enqueue(&users[i], "budget.threshold"), ERR_OK);
	}
	struct webhook_claim *claims;
	ck_assert_uint_eq(claim(3, &claims), 3);
	for (size_t i = 0; i < 3; i++)
		ck_assert(!uuid_equal(&claims[i].user_id, &users[3]));
	ck_assert_uint_eq(claim(3, &claims), 1);
	ck_assert(uuid_equal(&claims[0].user_id, &users[3]));
	clear();
}
END_TEST

/* A thousand and more of one user are due before the other's: his has its turn all the same. */
/* While SECRET_KEY is changed server by server, one that has only the old key leaves alone what it cannot
 * read: trying would cost the delivery an attempt and a pause. */
START_TEST(webhook_outbox_claim_leaves_what_is_sealed_with_another_key_to_others)
{
	static const struct db_stmt WAIT = {"test_wait",
		"UPDATE webhook_deliveries SET next_attempt_at = now() - interval '61 s' WHERE user_id = $1"};
	const struct uuid user_id = new_user();
	struct webhook_claim *claims;
	struct db_params p;
	clear();
	new_hook(&user_id, BUDGETS, 1, true);
	ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	ck_assert_uint_eq(claim_with("fedcba9876543210", NULL, 10, &claims), 0);
	ck_assert_uint_eq(claim_with("fedcba9876543210", "00112233445566ff", 10, &claims), 0);
	ck_assert_uint_eq(claim_with("fedcba9876543210", KEY_ID, 10, &claims), 1);
	ck_assert_int_eq((int)claims[0].attempt, 1);
	/* nobody with the key has come for a minute: it must not wait for ever without a word */
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	expire_leases();
	ck_assert_uint_eq(claim_with("fedcba9876543210", NULL, 10, &claims), 0);
	run_sql(&WAIT, &p);
	ck_assert_uint_eq(claim_with("fedcba9876543210", NULL, 10, &claims), 1);
}
END_TEST

START_TEST(webhook_outbox_claim_reaches_those_behind_a_long_queue)
{
	static const struct db_stmt FILL = {"test_fill_long",
		"INSERT INTO webhook_deliveries (user_id, id, webhook_id, event_type, payload, next_attempt_at)"
		" SELECT $1::uuid, gen_random_uuid(), $2::uuid, 'budget.threshold', '{}', now() - interval '1 hour'"
		" FROM generate_series(1, 1200)"};
	clear();
	const struct uuid user_id = new_user(), other_id = new_user();
	const struct uuid id = new_hook(&user_id, BUDGETS, 1, true);
	(void)new_hook(&other_id, BUDGETS, 1, true);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	db_param_uuid(&p, &id);
	run_sql(&FILL, &p);
	ck_assert_int_eq(enqueue(&other_id, "budget.threshold"), ERR_OK);
	struct webhook_claim *claims;
	ck_assert_uint_eq(claim(10, &claims), 3);
	ck_assert(uuid_equal(&claims[0].user_id, &user_id) && uuid_equal(&claims[1].user_id, &user_id));
	ck_assert(uuid_equal(&claims[2].user_id, &other_id));
	ck_assert_uint_eq(claim(10, &claims), 0);
	clear();
}
END_TEST

START_TEST(webhook_outbox_end_after_the_lease_was_taken_over_changes_nothing)
{
	clear();
	const struct uuid user_id = new_user();
	(void)new_hook(&user_id, BUDGETS, 1, true);
	ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	struct webhook_claim *late, *now;
	ck_assert_uint_eq(claim(1, &late), 1);
	expire_leases();
	ck_assert_uint_eq(claim(1, &now), 1);
	ck_assert_int_eq((int)now->attempt, 2);
	const struct webhook_result failed = {.end = WEBHOOK_END_FAILED, .error = "status", .response_status = 400};
	const struct webhook_result delivered = {.end = WEBHOOK_END_DELIVERED, .response_status = 200};
	bool is_failed = true;
	ck_assert_int_eq(webhook_outbox_end(conn, late, &failed, &is_failed), ERR_NOT_FOUND);
	ck_assert_int_eq(webhook_outbox_end(conn, now, &delivered, &is_failed), ERR_OK);
	ck_assert(!is_failed);
	ck_assert_int_eq(webhook_outbox_end(conn, now, &failed, &is_failed), ERR_NOT_FOUND);
	struct webhook_delivery *rows;
	size_t n;
	ck_assert_int_eq(webhook_deliveries_list(conn, &user_id, &now->webhook_id, NULL, 10, &arena, &rows, &n), ERR_OK);
	ck_assert_uint_eq(n, 1);
	ck_assert_str_eq(rows[0].status, "delivered");
	clear();
}
END_TEST

/* Made now: a pause that ends within the day is kept, one that ends after it is none. */
START_TEST(webhook_outbox_end_retry_gives_up_after_a_day)
{
	clear();
	const struct uuid user_id = new_user();
	(void)new_hook(&user_id, BUDGETS, 1, true);
	ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	struct webhook_claim *c;
	bool failed = true;
	struct webhook_result retry = {.end = WEBHOOK_END_RETRY,
		.error = "timeout",
		.pause_us = WEBHOOK_GIVE_UP_US - US_PER_HOUR,
		.give_up_us = WEBHOOK_GIVE_UP_US};
	ck_assert_uint_eq(claim(1, &c), 1);
	ck_assert_int_eq(webhook_outbox_end(conn, c, &retry, &failed), ERR_OK);
	ck_assert(!failed);
	ck_assert_uint_eq(claim(1, &c), 0); /* not due */
	static const struct db_stmt DUE = {"test_due", "UPDATE webhook_deliveries SET next_attempt_at = now()"};
	run_sql(&DUE, NULL);
	ck_assert_uint_eq(claim(1, &c), 1);
	retry.pause_us = WEBHOOK_GIVE_UP_US + US_PER_SECOND;
	ck_assert_int_eq(webhook_outbox_end(conn, c, &retry, &failed), ERR_OK);
	ck_assert(failed);
	clear();
}
END_TEST

START_TEST(webhook_outbox_end_release_counts_no_attempt)
{
	clear();
	const struct uuid user_id = new_user();
	(void)new_hook(&user_id, BUDGETS, 1, true);
	ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	struct webhook_claim *c;
	bool failed = true;
	const struct webhook_result release = {.end = WEBHOOK_END_RELEASE};
	ck_assert_uint_eq(claim(1, &c), 1);
	ck_assert_int_eq(webhook_outbox_end(conn, c, &release, &failed), ERR_OK);
	ck_assert_uint_eq(claim(1, &c), 1);
	ck_assert_int_eq((int)c->attempt, 1);
	clear();
}
END_TEST

START_TEST(webhook_outbox_purge_drops_finished_ones_of_14_days_ago)
{
	static const struct db_stmt AGE = {"test_age",
		"UPDATE webhook_deliveries SET status = 'failed', next_attempt_at = NULL, leased_until = NULL,"
		" finished_at = now() - $1::bigint * interval '1 day'"};
	clear();
	const struct uuid user_id = new_user(), id = new_hook(&user_id, BUDGETS, 1, true);
	ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	int64_t n = -1;
	for (int days = 13; days <= 15; days += 2) {
		struct db_params p;
		db_params_init(&p, &arena);
		db_param_i64(&p, days);
		run_sql(&AGE, &p);
		ck_assert_int_eq(webhook_outbox_purge(conn, &n), ERR_OK);
		ck_assert_int_eq((int)n, days == 15);
	}
	ck_assert_int_eq(enqueue(&user_id, "budget.threshold"), ERR_OK);
	ck_assert_int_eq(webhook_outbox_count(conn, &n), ERR_OK);
	ck_assert_int_eq((int)n, 1);
	ck_assert_int_eq((int)pending(&user_id, &id), 1);
	clear();
}
END_TEST

START_TEST(webhook_secrets_other_key_pages_through_and_replaces)
{
	static const struct db_stmt NONE = {"test_none", "DELETE FROM webhooks"};
	run_sql(&NONE, NULL);
	const struct uuid user_id = new_user();
	for (int i = 0; i < 3; i++)
		(void)new_hook(&user_id, BUDGETS, 1, true);
	struct webhook_sealed last = {0}, *rows;
	size_t n, seen = 0;
	do {
		ck_assert_int_eq(
			webhook_secrets_other_key(conn, "fedcba9876543210", &last, 2, &arena, &rows, &n), ERR_OK);
		for (size_t i = 0; i < n; i++) {
			last = rows[i];
			ck_assert_int_eq(webhook_secret_replace(conn, &rows[i],
						 "fedcba9876543210.ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
				ERR_OK);
		}
		seen += n;
	} while (n == 2);
	ck_assert_uint_eq(seen, 3);
	last = (struct webhook_sealed){0};
	ck_assert_int_eq(webhook_secrets_other_key(conn, "fedcba9876543210", &last, 2, &arena, &rows, &n), ERR_OK);
	ck_assert_uint_eq(n, 0);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("webhooks");
	TCase *const t = tcase_create("webhooks");
	tcase_add_test(t, webhooks_enqueue_reaches_active_subscribers_alone);
	tcase_add_test(t, webhooks_enqueue_rolled_back_leaves_nothing);
	tcase_add_test(t, webhooks_enqueue_beyond_500_is_dropped_and_counted);
	tcase_add_test(t, webhooks_enqueue_too_long_a_payload_is_refused);
	tcase_add_test(t, webhooks_enqueue_while_it_is_deleted_never_fails);
	tcase_add_test(t, webhooks_insert_more_than_20_is_a_conflict);
	tcase_add_test(t, webhook_outbox_claim_takes_two_of_each_user);
	tcase_add_test(t, webhook_outbox_claim_takes_at_most_what_it_is_asked_for_oldest_first);
	tcase_add_test(t, webhook_outbox_claim_leaves_what_is_sealed_with_another_key_to_others);
	tcase_add_test(t, webhook_outbox_claim_reaches_those_behind_a_long_queue);
	tcase_add_test(t, webhook_outbox_end_after_the_lease_was_taken_over_changes_nothing);
	tcase_add_test(t, webhook_outbox_end_retry_gives_up_after_a_day);
	tcase_add_test(t, webhook_outbox_end_release_counts_no_attempt);
	tcase_add_test(t, webhook_outbox_purge_drops_finished_ones_of_14_days_ago);
	tcase_add_test(t, webhook_secrets_other_key_pages_through_and_replaces);
	return run_store_tests(s, t);
}
