/* Look-ups that hang take up a thread and nothing else. */
#include "llmlab/app/webhook_resolver.h"
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "llmlab/base/clock.h"

static int gate[2]; /* a look-up of "hang" ends when a byte comes */
static int woken[2];

static enum err lookup(const char *host, uint16_t port, struct webhook_addresses *ret)
{
	char byte;
	if (strcmp(host, "hang") == 0)
		ck_assert_int_eq((int)read(gate[0], &byte, 1), 1);
	if (strcmp(host, "none") == 0)
		return ERR_NOT_FOUND;
	ret->n = port;
	return ERR_OK;
}

static void wake(void *arg)
{
	(void)arg;
	ck_assert_int_eq((int)write(woken[1], "x", 1), 1);
}

static void setup(void)
{
	ck_assert_int_eq(pipe(gate), 0);
	ck_assert_int_eq(pipe(woken), 0);
}

static struct webhook_resolver *start(void)
{
	struct webhook_resolver *r = NULL;
	ck_assert_int_eq(webhook_resolver_start(lookup, wake, NULL, &r), ERR_OK);
	return r;
}

/* Waits for an answer, at most 20 s. */
static uint64_t take(struct webhook_resolver *r, enum err *ret_end, struct webhook_addresses *ret)
{
	char byte;
	uint64_t ticket = 0;
	struct pollfd p = {.fd = woken[0], .events = POLLIN};
	ck_assert_int_eq(poll(&p, 1, 20000), 1);
	ck_assert_int_eq((int)read(woken[0], &byte, 1), 1);
	ck_assert(webhook_resolver_take(r, &ticket, ret_end, ret));
	return ticket;
}

START_TEST(webhook_resolver_answers_with_the_ticket)
{
	struct webhook_resolver *const r = start();
	enum err end = ERR_INTERNAL;
	struct webhook_addresses addresses;
	ck_assert(!webhook_resolver_take(r, &(uint64_t){0}, &end, &addresses));
	ck_assert(webhook_resolver_ask(r, 7, "name", 3));
	ck_assert_uint_eq(take(r, &end, &addresses), 7);
	ck_assert_int_eq(end, ERR_OK);
	ck_assert_uint_eq(addresses.n, 3);
	ck_assert(webhook_resolver_ask(r, 8, "none", 3));
	ck_assert_uint_eq(take(r, &end, &addresses), 8);
	ck_assert_int_eq(end, ERR_NOT_FOUND);
	webhook_resolver_stop(r);
}
END_TEST

/* One fewer than the threads hang: the last thread still answers. */
START_TEST(webhook_resolver_hanging_lookups_leave_the_others)
{
	struct webhook_resolver *const r = start();
	enum err end;
	struct webhook_addresses addresses;
	for (uint64_t i = 1; i < WEBHOOK_RESOLVER_THREADS; i++)
		ck_assert(webhook_resolver_ask(r, i, "hang", 1));
	ck_assert(webhook_resolver_ask(r, 100, "name", 1));
	ck_assert_uint_eq(take(r, &end, &addresses), 100);
	ck_assert_int_eq((int)write(gate[1], "xxxxxxxxxxxx", WEBHOOK_RESOLVER_THREADS - 1), WEBHOOK_RESOLVER_THREADS - 1);
	webhook_resolver_stop(r);
}
END_TEST

START_TEST(webhook_resolver_questions_are_bounded_and_forgotten_ones_make_room)
{
	struct webhook_resolver *const r = start();
	for (uint64_t i = 0; i < WEBHOOK_RESOLVER_QUESTIONS; i++)
		ck_assert(webhook_resolver_ask(r, i, "hang", 1));
	ck_assert(!webhook_resolver_ask(r, 1000, "name", 1));
	for (uint64_t i = 0; i < WEBHOOK_RESOLVER_QUESTIONS; i++)
		webhook_resolver_forget(r, i);
	ck_assert(webhook_resolver_ask(r, 1000, "name", 1)); /* those that nobody was at */
	for (int i = 0; i < WEBHOOK_RESOLVER_THREADS; i++)
		ck_assert_int_eq((int)write(gate[1], "x", 1), 1);
	/* Forgotten ones have no answer: the only one is this. */
	const int64_t deadline_us = clock_mono_us() + 20 * US_PER_SECOND;
	uint64_t ticket = 0;
	enum err end;
	struct webhook_addresses addresses;
	while (!webhook_resolver_take(r, &ticket, &end, &addresses) && clock_mono_us() < deadline_us)
		ck_assert_int_ge(poll(NULL, 0, 1), 0);
	ck_assert_uint_eq(ticket, 1000);
	webhook_resolver_stop(r);
}
END_TEST

START_TEST(webhook_resolver_stop_does_not_wait_for_a_lookup_that_hangs)
{
	struct webhook_resolver *const r = start();
	ck_assert(webhook_resolver_ask(r, 1, "hang", 1));
	webhook_resolver_stop(r); /* comes back although nobody opens the gate */
	ck_assert_int_eq((int)write(gate[1], "x", 1), 1);
}
END_TEST

START_TEST(webhook_lookup_system_literals_keep_address_and_port)
{
	struct webhook_addresses a = {.n = 0};
	ck_assert_int_eq(webhook_lookup_system("127.0.0.1", 8443, &a), ERR_OK);
	ck_assert_uint_eq(a.n, 1);
	ck_assert_int_eq(a.at[0].ss_family, AF_INET);
	ck_assert_int_eq(webhook_lookup_system("::1", 8443, &a), ERR_OK);
	ck_assert_int_eq(a.at[0].ss_family, AF_INET6);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("webhook_resolver");
	TCase *const t = tcase_create("webhook_resolver");
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, webhook_resolver_answers_with_the_ticket);
	tcase_add_test(t, webhook_resolver_hanging_lookups_leave_the_others);
	tcase_add_test(t, webhook_resolver_questions_are_bounded_and_forgotten_ones_make_room);
	tcase_add_test(t, webhook_resolver_stop_does_not_wait_for_a_lookup_that_hangs);
	tcase_add_test(t, webhook_lookup_system_literals_keep_address_and_port);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
