/* DNS rebinding: a name that is looked up is looked up once for an attempt, what came back is checked and
 * connected to, and a name that changes its mind in between changes nothing. And a database that hangs while
 * a receiver answers. With a real PostgreSQL and a listener on this machine. */
#include "llmlab/app/webhook_sender.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "../db/store_fixture.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/webhooks.h"
#include "webhook_listener.h"

#define SECRET "0123456789abcdef0123456789abcdeX"
#define OK     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static struct listener here;
static _Atomic int lookups;
static const char *_Atomic answers[4]; /* of the look-ups, in order; "a,b" is two addresses */

static enum err lookup(const char *host, uint16_t port, struct webhook_addresses *ret)
{
	ck_assert_str_eq(host, "rebind.example.com");
	const char *text = answers[atomic_fetch_add(&lookups, 1)];
	ck_assert_ptr_nonnull(text);
	while (*text != '\0') {
		char one[64];
		const size_t n = strcspn(text, ",");
		snprintf(one, sizeof one, "%.*s", (int)n, text);
		ret->at[ret->n++] = address4(one, port);
		text += n + (text[n] == ',');
	}
	return ERR_OK;
}

struct run {
	struct api api;
	struct seal_keys *keys;
	struct webhook_sender *sender;
	struct uuid user_id, hook_id;
};

static void run_begin(struct run *run)
{
	char url[128], sealed[SEALED_SIZE];
	static const char *const events[] = {"model.unpriced"};
	listener_open(&here);
	snprintf(url, sizeof url, "http://rebind.example.com:%u/hook", here.port);
	*run = (struct run){.api = {.db = fixture_settings}};
	run->api.database_ok_mono_us = 1;
	run->user_id = new_user();
	run->hook_id = uuid_v7(clock_now_us() / US_PER_MS);
	ck_assert_int_eq(seal_keys_new(SECRET, NULL, &run->keys), ERR_OK);
	seal_text(run->keys, &run->user_id, &run->hook_id, "whsec_test", sealed);
	struct webhook w = {.id = run->hook_id,
		.url = url,
		.events = events,
		.n_events = 1,
		.format = "json",
		.active = true};
	ck_assert_int_eq(webhooks_insert(conn, &run->user_id, &w, sealed, &arena), ERR_OK);
	const struct webhook_sender_settings settings = {.api = &run->api,
		.keys = run->keys,
		.allow_private = true,
		.retry_us = 1000,
		.lookup = lookup};
	ck_assert_int_eq(webhook_sender_start(&settings, &run->sender), ERR_OK);
}

static void run_end(struct run *run)
{
	webhook_sender_stop(run->sender);
	seal_keys_free(run->keys);
	listener_close(&here);
}

/* The newest delivery once it is finished; requests that come are answered meanwhile. */
static struct webhook_delivery deliver(const struct run *run)
{
	ck_assert_int_eq(
		webhooks_enqueue(conn, &run->user_id, "model.unpriced", "{\"message\":\"m\"}", &arena),
		ERR_OK);
	const int64_t deadline_us = clock_mono_us() + 30 * US_PER_SECOND;
	while (clock_mono_us() < deadline_us) {
		struct webhook_delivery *rows;
		size_t n = 0;
		ck_assert_int_eq(webhook_deliveries_list(
					 conn, &run->user_id, &run->hook_id, NULL, 1, &arena, &rows, &n),
			ERR_OK);
		if (n == 1 && rows[0].finished_us != 0)
			return rows[0];
		if (listener_step(&here))
			listener_answer(&here, OK);
		ck_assert_int_ge(poll(NULL, 0, 2), 0);
	}
	ck_abort_msg("no end of the delivery");
}

/* The first answer is allowed, the second is not: one attempt sees one of them. */
START_TEST(webhook_sender_name_is_looked_up_once_and_checked_each_time)
{
	struct run run;
	answers[0] = "127.0.0.1";
	answers[1] = "169.254.169.254";
	run_begin(&run);
	const struct webhook_delivery first = deliver(&run);
	ck_assert_str_eq(first.status, "delivered");
	ck_assert_int_eq(lookups, 1);
	ck_assert_int_eq(here.connections, 1);
	const struct webhook_delivery second = deliver(&run);
	ck_assert_str_eq(second.status, "failed");
	ck_assert_str_eq(second.error, "address");
	ck_assert_int_eq((int)second.attempts, 1);
	ck_assert_int_eq(lookups, 2);
	ck_assert_int_eq(here.connections, 1);
	run_end(&run);
}
END_TEST

/* One bad address among good ones refuses them all. */
START_TEST(webhook_sender_one_forbidden_address_refuses_all)
{
	struct run run;
	answers[0] = "127.0.0.1,169.254.169.254";
	answers[1] = "0.0.0.0,127.0.0.1";
	run_begin(&run);
	for (int i = 0; i < 2; i++) {
		const struct webhook_delivery d = deliver(&run);
		ck_assert_str_eq(d.status, "failed");
		ck_assert_str_eq(d.error, "address");
	}
	ck_assert_int_eq(here.connections, 0);
	run_end(&run);
}
END_TEST

/* Waits without asking the database. */
#define WAIT_FOR(condition)                                                                                  \
	do {                                                                                                 \
		const int64_t until_us = clock_mono_us() + 30 * US_PER_SECOND;                               \
		while (!(condition)) {                                                                       \
			ck_assert_msg(clock_mono_us() < until_us, "waiting for " #condition);                \
			ck_assert_int_ge(poll(NULL, 0, 2), 0);                                               \
		}                                                                                            \
	} while (0)

static bool hung_up(const struct listener *l)
{
	struct pollfd fd = {.fd = l->client, .events = POLLRDHUP};
	return poll(&fd, 1, 0) > 0;
}

/* The sender has asked a frozen database in vain when the answer comes, and takes it all the same: the
 * attempt succeeds, and is noted when the database is back. A second attempt would deliver twice. */
START_TEST(webhook_sender_takes_an_answer_while_the_database_hangs)
{
	struct run run;
	answers[0] = "127.0.0.1";
	answers[1] = "127.0.0.1";
	run_begin(&run);
	ck_assert_int_eq(
		webhooks_enqueue(conn, &run.user_id, "model.unpriced", "{\"message\":\"m\"}", &arena),
		ERR_OK);
	WAIT_FOR(listener_step(&here));
	const int64_t errors = metric_get(METRIC_DB_ERRORS);
	ck_assert_int_gt(pg_test_signal_all(pg_test.dir, SIGSTOP), 3);
	WAIT_FOR(metric_get(METRIC_DB_ERRORS) > errors);
	ck_assert_int_eq((int)send(here.client, OK, strlen(OK), MSG_NOSIGNAL), (int)strlen(OK));
	WAIT_FOR(hung_up(&here));
	ck_assert_int_gt(pg_test_signal_all(pg_test.dir, SIGCONT), 3);
	const int64_t until_us = clock_mono_us() + 30 * US_PER_SECOND;
	struct webhook_delivery *rows;
	size_t n = 0;
	do {
		ck_assert_msg(clock_mono_us() < until_us, "no end of the delivery");
		ck_assert_int_ge(poll(NULL, 0, 2), 0);
		ck_assert_int_eq(
			webhook_deliveries_list(conn, &run.user_id, &run.hook_id, NULL, 1, &arena, &rows, &n),
			ERR_OK);
		ck_assert_uint_eq(n, 1);
	} while (rows[0].finished_us == 0);
	ck_assert_str_eq(rows[0].status, "delivered");
	ck_assert_int_eq((int)rows[0].attempts, 1);
	ck_assert_int_eq(here.connections, 1);
	run_end(&run);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("webhook_sender");
	TCase *const t = tcase_create("webhook_sender");
	tcase_add_test(t, webhook_sender_name_is_looked_up_once_and_checked_each_time);
	tcase_add_test(t, webhook_sender_one_forbidden_address_refuses_all);
	tcase_add_test(t, webhook_sender_takes_an_answer_while_the_database_hangs);
	return run_store_tests(s, t);
}
