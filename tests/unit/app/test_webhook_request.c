/* Requests go to the addresses that were checked and nowhere else, whatever else there is. */
#include "llmlab/app/webhook_request.h"
#include <curl/curl.h>
#include <stdlib.h>
#include "llmlab/base/clock.h"
#include "webhook_listener.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static CURLM *multi;
static struct listener here;

static void setup(void)
{
	ck_assert_int_eq(curl_global_init(CURL_GLOBAL_DEFAULT), CURLE_OK);
	multi = curl_multi_init();
	ck_assert_ptr_nonnull(multi);
	listener_open(&here);
}

static void teardown(void)
{
	listener_close(&here);
	(void)curl_multi_cleanup(multi);
	curl_global_cleanup();
}

/* Sends to http://<host>:<port>/hook with the address pinned; answers what comes with `answer`. */
static struct webhook_reply exchange(const char *host, const char *pinned, bool allow_private, const char *answer)
{
	struct webhook_target t = {.port = here.port, .literal = strcmp(host, "127.0.0.1") == 0};
	snprintf(t.host, sizeof t.host, "%s", host);
	snprintf(t.url, sizeof t.url, "http://%s:%u/hook", host, here.port);
	const struct webhook_addresses addresses = {.n = 1, .at = {address4(pinned, here.port)}};
	const struct webhook_call call = {.target = &t,
		.addresses = &addresses,
		.allow_private = allow_private,
		.body = "{}",
		.body_len = 2,
		.event = "webhook.test",
		.delivery_id = "the-id",
		.signature = "t=1,v1=00"};
	struct webhook_request *request = NULL;
	struct webhook_reply reply = {.status = -1};
	int owner = 0, running = 0;
	ck_assert_int_eq(webhook_request_start(multi, &call, &owner, &request), ERR_OK);
	const int64_t deadline_us = clock_mono_us() + 20 * US_PER_SECOND;
	while (clock_mono_us() < deadline_us) {
		ck_assert_int_eq(curl_multi_perform(multi, &running), CURLM_OK);
		void *const done = webhook_request_next_done(multi, &reply);
		if (done != NULL) {
			ck_assert_ptr_eq(done, &owner);
			break;
		}
		if (listener_step(&here))
			listener_answer(&here, answer);
		ck_assert_int_eq(curl_multi_poll(multi, NULL, 0, 5, NULL), CURLM_OK);
	}
	ck_assert_int_ne((int)reply.status, -1);
	webhook_request_free(request);
	return reply;
}

START_TEST(webhook_request_name_goes_to_the_pinned_address)
{
	const struct webhook_reply reply = exchange("hook.example.com", "127.0.0.1", true, OK);
	ck_assert_int_eq((int)reply.status, 200);
	ck_assert_ptr_null(reply.error);
	const char *const lines[] = {"POST /hook HTTP/1.1\r\n", "\r\nHost: hook.example.com:", "\r\nX-LLMLab-Event: webhook.test\r\n",
		"\r\nX-LLMLab-Delivery: the-id\r\n", "\r\nX-LLMLab-Signature: t=1,v1=00\r\n", "\r\n\r\n{}"};
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
		ck_assert_msg(strstr(here.request, lines[i]) != NULL, "%s in %s", lines[i], here.request);
	ck_assert_int_eq(here.connections, 1);
}
END_TEST

/* libcurl takes these names for 127.0.0.1 by itself, where somebody listens: they go where the pin says, where nobody does. */
START_TEST(webhook_request_localhost_goes_to_the_pinned_address)
{
	ck_assert_str_eq(exchange("localhost", "127.0.0.2", true, OK).error, "connect");
	ck_assert_str_eq(exchange("x.localhost", "127.0.0.2", true, OK).error, "connect");
	ck_assert(!listener_step(&here));
	ck_assert_int_eq(here.connections, 0);
}
END_TEST

START_TEST(webhook_request_forbidden_address_is_never_connected_to)
{
	const struct webhook_reply reply = exchange("hook.example.com", "127.0.0.1", false, OK);
	ck_assert_int_eq((int)reply.status, 0);
	ck_assert_str_eq(reply.error, "address");
	ck_assert(!listener_step(&here));
	ck_assert_int_eq(here.connections, 0);
}
END_TEST

/* The URL's own address differs from the one that was checked: the socket is not opened. */
START_TEST(webhook_request_address_that_was_not_checked_is_never_connected_to)
{
	ck_assert_str_eq(exchange("127.0.0.1", "127.0.0.2", true, OK).error, "address");
	ck_assert(!listener_step(&here));
	ck_assert_int_eq(here.connections, 0);
}
END_TEST

START_TEST(webhook_request_proxies_of_the_environment_are_not_used)
{
	ck_assert_int_eq(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
	ck_assert_int_eq(setenv("all_proxy", "http://127.0.0.1:1", 1), 0);
	ck_assert_int_eq((int)exchange("hook.example.com", "127.0.0.1", true, OK).status, 200);
}
END_TEST

START_TEST(webhook_request_retry_after_is_read)
{
	struct webhook_reply reply = exchange("hook.example.com", "127.0.0.1", true,
		"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
	ck_assert_int_eq((int)reply.status, 429);
	ck_assert_int_eq((int)(reply.retry_after_us / US_PER_SECOND), 7);
	reply = exchange("hook.example.com", "127.0.0.1", true,
		"HTTP/1.1 503 No\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n");
	ck_assert_int_eq((int)reply.status, 503);
	ck_assert_int_ge((int)reply.retry_after_us, 0);
}
END_TEST

START_TEST(webhook_request_what_is_no_http_is_told)
{
	const struct webhook_reply reply = exchange("hook.example.com", "127.0.0.1", true, "SSH-2.0-x\r\n");
	ck_assert_int_eq((int)reply.status, 0);
	ck_assert_str_eq(reply.error, "protocol");
}
END_TEST

/* A head of 64 KiB and more ends the exchange. */
START_TEST(webhook_request_endless_head_is_cut)
{
	static char answer[80 << 10];
	size_t n = (size_t)snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\n");
	while (n < sizeof answer - 200)
		n += (size_t)snprintf(answer + n, sizeof answer - n, "X-Filler: %0100d\r\n", 0);
	snprintf(answer + n, sizeof answer - n, "\r\n");
	ck_assert_str_eq(exchange("hook.example.com", "127.0.0.1", true, answer).error, "protocol");
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("webhook_request");
	TCase *const t = tcase_create("webhook_request");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, webhook_request_name_goes_to_the_pinned_address);
	tcase_add_test(t, webhook_request_localhost_goes_to_the_pinned_address);
	tcase_add_test(t, webhook_request_forbidden_address_is_never_connected_to);
	tcase_add_test(t, webhook_request_address_that_was_not_checked_is_never_connected_to);
	tcase_add_test(t, webhook_request_proxies_of_the_environment_are_not_used);
	tcase_add_test(t, webhook_request_retry_after_is_read);
	tcase_add_test(t, webhook_request_what_is_no_http_is_told);
	tcase_add_test(t, webhook_request_endless_head_is_cut);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
