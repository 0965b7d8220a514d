/* An account that was deleted and whose data are still being removed: no background job sees it any more, so
 * that nothing is sent or written for it. */
#include "store_fixture.h"

#include "llmlab/db/accounts.h"
#include "llmlab/db/alerts.h"
#include "llmlab/db/anomalies.h"
#include "llmlab/db/budgets.h"
#include "llmlab/db/repricing.h"
#include "llmlab/db/spend_users.h"
#include "llmlab/db/unpriced.h"
#include "llmlab/db/webhook_outbox.h"
#include "llmlab/db/webhooks.h"

#define HASH   "$argon2id$test" /* of new_user() */
#define SEALED "0123456789abcdef.abcdefghijklmnopqrstuvwxyz"
#define MODEL  "a-model-of-deleted-accounts"

static const char *const EVENTS[] = {"budget.threshold", "model.unpriced", "anomaly.detected"};

/* An account with an unpriced call, and its sums. */
static struct uuid new_spender(void)
{
	const struct uuid id = new_user();
	const struct test_event e = {
		.at = "2026-03-04T05:06:07Z", .provider = "nobody", .model = MODEL, .input = 10, .output = 5};
	add_event(&id, &e);
	roll_up(&id);
	return id;
}

/* Too large to be removed at once: it is marked. */
static void delete_account(const struct uuid *id)
{
	bool gone = true;
	ck_assert_int_eq(accounts_delete(conn, id, HASH, 0, &gone), ERR_OK);
	ck_assert(!gone);
}

/* ---- webhooks ---- */

static enum err add_hook(const struct uuid *user_id, struct uuid *ret_id)
{
	struct webhook w = {.id = uuid_v7(clock_now_us() / US_PER_MS),
		.url = "https://example.com/",
		.events = EVENTS,
		.n_events = 3,
		.format = "json",
		.active = true};
	*ret_id = w.id;
	return webhooks_insert(conn, user_id, &w, SEALED, &arena);
}

static void enqueue(const struct uuid *user_id)
{
	ck_assert_int_eq(
		webhooks_enqueue(conn, user_id, "budget.threshold", "{\"message\":\"m\"}", &arena), ERR_OK);
}

static int64_t pending(const struct uuid *user_id, const struct uuid *id)
{
	struct webhook w;
	ck_assert_int_eq(webhooks_find(conn, user_id, id, &arena, &w), ERR_OK);
	return w.pending;
}

/* How many of the user's deliveries a sender gets. */
static size_t claimed_of(const struct uuid *user_id)
{
	struct webhook_claim *claims;
	size_t n = 0, found = 0;
	ck_assert_int_eq(webhook_outbox_claim(conn, 32, &(struct webhook_keys){.current = "0123456789abcdef"},
				 &arena, &claims, &n),
		ERR_OK);
	for (size_t i = 0; i < n; i++)
		found += uuid_equal(&claims[i].user_id, user_id);
	return found;
}

START_TEST(webhooks_of_a_deleted_account_get_nothing)
{
	const struct uuid user = new_spender(), other = new_spender();
	struct uuid hook, others, late;
	ck_assert_int_eq(add_hook(&user, &hook), ERR_OK);
	ck_assert_int_eq(add_hook(&other, &others), ERR_OK);
	enqueue(&user);
	enqueue(&other);
	delete_account(&user);
	ck_assert_uint_eq(claimed_of(&user), 0);
	enqueue(&user);
	ck_assert_uint_eq(claimed_of(&user), 0);
	struct webhook w;
	ck_assert_int_eq(
		webhooks_find(conn, &user, &hook, &arena, &w), ERR_NOT_FOUND); /* gone with the mark */
	ck_assert_int_eq((int)pending(&other, &others), 1);
	ck_assert_int_eq(add_hook(&user, &late), ERR_NOT_FOUND);
}
END_TEST

START_TEST(webhooks_behind_a_deleted_accounts_long_queue_are_claimed)
{
	static const struct db_stmt FILL = {"test_fill", "INSERT INTO webhook_deliveries (user_id, id, "
							 "webhook_id, event_type, payload, next_attempt_at)"
							 " SELECT $1::uuid, gen_random_uuid(), $2::uuid, "
							 "'budget.threshold', '{}', now() - interval '1 hour'"
							 " FROM generate_series(1, 1100)"};
	const struct uuid user = new_spender(), other = new_spender();
	struct uuid hook, others;
	ck_assert_int_eq(add_hook(&user, &hook), ERR_OK);
	ck_assert_int_eq(add_hook(&other, &others), ERR_OK);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user);
	db_param_uuid(&p, &hook);
	run_sql(&FILL, &p);
	delete_account(&user);
	enqueue(&other);
	ck_assert_uint_eq(claimed_of(&other), 1);
	ck_assert_uint_eq(claimed_of(&user), 0);
}
END_TEST

/* One that lives has more due than a claim looks at: the claim from user to user passes by the deleted one.
 */
START_TEST(webhooks_of_a_deleted_account_are_not_claimed_behind_a_long_queue)
{
	static const struct db_stmt FILL = {"test_fill_living",
		"INSERT INTO webhook_deliveries (user_id, id, webhook_id, event_type, payload, "
		"next_attempt_at)"
		" SELECT $1::uuid, gen_random_uuid(), $2::uuid, 'budget.threshold', '{}', now() - interval "
		"'1 hour'"
		" FROM generate_series(1, 1100)"};
	const struct uuid user = new_spender(), other = new_spender();
	struct uuid hook, others;
	ck_assert_int_eq(add_hook(&user, &hook), ERR_OK);
	ck_assert_int_eq(add_hook(&other, &others), ERR_OK);
	enqueue(&user);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &other);
	db_param_uuid(&p, &others);
	run_sql(&FILL, &p);
	delete_account(&user);
	ck_assert_uint_eq(claimed_of(&user), 0);
	delete_account(&other); /* of its long queue no other test sees anything */
}
END_TEST

/* ---- alerts ---- */

static struct uuid add_budget(const struct uuid *user_id)
{
	struct budget b = {.id = uuid_v7(clock_now_us() / US_PER_MS),
		.limit = usd("10"),
		.period = PERIOD_MONTH,
		.scope_dimension = "",
		.scope_value = "",
		.thresholds = {50},
		.n_thresholds = 1};
	bool created = false;
	ck_assert_int_eq(budgets_upsert(conn, user_id, &b, &arena, &created), ERR_OK);
	return b.id;
}

static bool is_swept(const struct uuid *user_id)
{
	static const struct uuid none;
	struct uuid page[100], after = none;
	for (size_t n = 100; n == 100;) {
		ck_assert_int_eq(
			alerts_users(conn, uuid_is_zero(&after) ? NULL : &after, 100, page, &n), ERR_OK);
		for (size_t i = 0; i < n; i++)
			if (uuid_equal(&page[i], user_id))
				return true;
		if (n > 0)
			after = page[n - 1];
	}
	return false;
}

static size_t budgets_looked_at(const struct uuid *user_id)
{
	struct user_budget *rows;
	size_t n = 0;
	ck_assert_int_eq(budgets_of_users(conn, user_id, 1, &arena, &rows, &n), ERR_OK);
	return n;
}

static size_t unpriced_to_tell(const struct uuid *user_id)
{
	struct alert_model *rows;
	size_t n = 0;
	ck_assert_int_eq(alerts_unpriced(conn, user_id, 1, &arena, &rows, &n), ERR_OK);
	return n;
}

static bool insert_alert(const struct alert *a)
{
	bool is_new = false;
	ck_assert_int_eq(alerts_insert(conn, a, "{}", &arena, &is_new), ERR_OK);
	return is_new;
}

START_TEST(alerts_of_a_deleted_account_are_neither_looked_for_nor_written)
{
	const struct uuid user = new_spender(), other = new_spender();
	const struct uuid budget = add_budget(&user);
	add_budget(&other);
	const struct alert reached = {.user_id = user,
		.id = uuid_v7(clock_now_us() / US_PER_MS),
		.kind = ALERT_BUDGET_THRESHOLD,
		.budget_id = budget,
		.budget_name = "All",
		.period_day = calendar_days((struct civil_date){2026, 11, 1}),
		.period_start_us = at("2026-11-01T00:00:00Z"),
		.period_end_us = at("2026-12-01T00:00:00Z"),
		.threshold = 50,
		.spend = usd("5"),
		.limit = usd("10"),
		.created_at_us = at("2026-11-12T10:00:00Z")};
	const struct alert unpriced = {.user_id = user,
		.id = uuid_v7(clock_now_us() / US_PER_MS),
		.kind = ALERT_MODEL_UNPRICED,
		.provider = "nobody",
		.model = MODEL,
		.created_at_us = at("2026-11-12T10:00:00Z")};
	ck_assert(is_swept(&user));
	ck_assert_uint_eq(budgets_looked_at(&user), 1);
	ck_assert_uint_eq(unpriced_to_tell(&user), 1);
	delete_account(&user);
	ck_assert(!is_swept(&user));
	ck_assert_uint_eq(budgets_looked_at(&user), 0);
	ck_assert_uint_eq(unpriced_to_tell(&user), 0);
	ck_assert(!insert_alert(&reached));
	ck_assert(!insert_alert(&unpriced));
	ck_assert_uint_eq(budgets_looked_at(&other), 1);
}
END_TEST

/* ---- anomalies ---- */

static bool is_due(const struct uuid *user_id)
{
	struct anomaly_user *rows;
	size_t n = 0;
	ck_assert_int_eq(anomaly_scans_due(conn, at("2026-03-04T00:00:00Z"), at("2026-03-05T00:00:00Z"), 1000,
				 &arena, &rows, &n),
		ERR_OK);
	for (size_t i = 0; i < n; i++)
		if (uuid_equal(&rows[i].id, user_id))
			return true;
	return false;
}

static bool is_listed(const struct uuid *user_id)
{
	static const struct uuid first;
	struct spend_user *rows;
	size_t n = 0;
	ck_assert_int_eq(spend_users_list(conn, &first, NULL, 1000, &arena, &rows, &n), ERR_OK);
	for (size_t i = 0; i < n; i++)
		if (uuid_equal(&rows[i].id, user_id))
			return true;
	return false;
}

START_TEST(anomalies_of_a_deleted_account_are_not_searched)
{
	const struct uuid user = new_spender();
	bool claimed = true;
	ck_assert(is_due(&user) && is_listed(&user));
	delete_account(&user);
	ck_assert(!is_due(&user));
	ck_assert(!is_listed(&user));
	ck_assert_int_eq(db_begin(conn), ERR_OK);
	ck_assert_int_eq(anomaly_scans_claim(conn, &user, at("2026-03-05T00:00:00Z"),
				 at("2026-03-05T00:15:00Z"), &claimed),
		ERR_OK);
	db_rollback(conn);
	ck_assert(!claimed);
}
END_TEST

/* ---- prices ---- */

static enum err leave_as_it_is(void *arg, const struct event *e, struct arena *a, struct repriced *ret)
{
	(void)arg;
	(void)e;
	(void)a;
	(void)ret;
	return ERR_NOT_FOUND;
}

static struct repricing job_of(const struct uuid *user_id)
{
	return (struct repricing){.user_id = *user_id,
		.id = uuid_v7(clock_now_us() / US_PER_MS),
		.from_us = at("2026-03-01T00:00:00Z"),
		.to_us = at("2026-04-01T00:00:00Z"),
		.cursor_at_us = at("2026-03-01T00:00:00Z"),
		.sums = {.arena = &arena}};
}

static size_t names_of(const struct uuid *user_id, bool all)
{
	struct unpriced_model *rows;
	size_t n = 0, found = 0;
	ck_assert_int_eq(unpriced_names(conn, all ? NULL : user_id, NULL, 1000, &arena, &rows, &n), ERR_OK);
	for (size_t i = 0; i < n; i++)
		found += uuid_equal(&rows[i].user_id, user_id);
	return found;
}

START_TEST(repricings_of_a_deleted_account_are_not_gone_on_with)
{
	const struct uuid user = new_spender();
	struct repricing running = job_of(&user), late = job_of(&user), next;
	int64_t n_running = 0;
	ck_assert_int_eq(repricings_insert(conn, &running), ERR_OK);
	ck_assert_uint_eq(names_of(&user, true), 1);
	ck_assert_uint_eq(names_of(&user, false), 1);
	delete_account(&user);
	ck_assert_uint_eq(names_of(&user, true), 0);
	ck_assert_uint_eq(names_of(&user, false), 0);
	ck_assert_int_eq(repricings_next(conn, -US_PER_DAY, 1, INT64_MAX, &arena, &next), ERR_NOT_FOUND);
	ck_assert_int_eq(repricing_apply_chunk(conn, &running, leave_as_it_is, NULL, 10), ERR_NOT_FOUND);
	ck_assert_int_eq(repricings_insert(conn, &late), ERR_NOT_FOUND);
	ck_assert_int_eq(repricings_count_running(conn, &user, false, &n_running), ERR_OK);
	ck_assert_int_eq((int)n_running, 1);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("deleted_accounts");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, webhooks_of_a_deleted_account_get_nothing);
	tcase_add_test(t, webhooks_behind_a_deleted_accounts_long_queue_are_claimed);
	tcase_add_test(t, webhooks_of_a_deleted_account_are_not_claimed_behind_a_long_queue);
	tcase_add_test(t, alerts_of_a_deleted_account_are_neither_looked_for_nor_written);
	tcase_add_test(t, anomalies_of_a_deleted_account_are_not_searched);
	tcase_add_test(t, repricings_of_a_deleted_account_are_not_gone_on_with);
	return run_store_tests(suite_create("deleted_accounts"), t);
}
