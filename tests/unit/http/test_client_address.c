/* Who the client is: the list of trusted proxies, and what they say in X-Forwarded-For and Forwarded. */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/http/internal.h"

static struct proxies *proxies(const char *list)
{
	struct proxies *p = NULL;
	char message[256] = "";
	ck_assert_msg(proxies_new(list, &p, message, sizeof message) == ERR_OK, "%s", message);
	return p;
}

/* The client's address as text; "peer" where the header names nobody. */
static const char *client(const char *trusted, const char *header, bool forwarded)
{
	static char text[64];
	uint8_t address[16];
	struct proxies *p = proxies(trusted);
	if (proxies_client(p, header, forwarded, address))
		address_text(address, text, sizeof text);
	else
		strcpy(text, "peer");
	proxies_free(p);
	return text;
}

struct row {
	const char *trusted, *header, *client;
};

static const struct row x_forwarded_for[] = {
	{"10.0.0.0/8", "192.0.2.1", "192.0.2.1"},
	{"10.0.0.0/8", "203.0.113.7, 192.0.2.1",
		"192.0.2.1"}, /* what stands further left, the client wrote */
	{"10.0.0.0/8", "203.0.113.7, 192.0.2.1, 10.1.2.3", "192.0.2.1"},
	{"10.0.0.0/8", "203.0.113.7,192.0.2.1,10.1.2.3,10.0.0.1", "192.0.2.1"},
	{"10.0.0.0/8", " 192.0.2.1 ,\t10.1.2.3 ", "192.0.2.1"},
	{"10.0.0.0/8", "10.9.9.9, 10.1.2.3", "10.9.9.9"}, /* trusted ones only: the first */
	{"10.0.0.0/8", "192.0.2.1:4711", "192.0.2.1"},
	{"10.0.0.0/8", "2001:db8::1", "2001:db8::1"},
	{"10.0.0.0/8", "[2001:db8::1]", "2001:db8::1"},
	{"10.0.0.0/8", "[2001:db8::1]:443", "2001:db8::1"},
	{"10.0.0.0/8", "::ffff:192.0.2.1", "192.0.2.1"},
	{"2001:db8::/32", "192.0.2.1, 2001:db8:1::1", "192.0.2.1"},
	{"2001:db8::/33", "192.0.2.1, 2001:db8:8000::1", "2001:db8:8000::1"},
	{"10.0.0.0/9", "192.0.2.1, 10.128.0.1", "10.128.0.1"},
	{"10.0.0.1", "192.0.2.1, 10.0.0.2", "10.0.0.2"},
	{"0.0.0.0/0", "192.0.2.1, 198.51.100.1", "192.0.2.1"},
	{"0.0.0.0/0", "192.0.2.1, 2001:db8::1", "2001:db8::1"}, /* an IPv4 network holds no IPv6 address */
	/* malformed up to there: nobody is named */
	{"10.0.0.0/8", "", "peer"},
	{"10.0.0.0/8", ",", "peer"},
	{"10.0.0.0/8", "192.0.2.1,", "peer"},
	{"10.0.0.0/8", "unknown", "peer"},
	{"10.0.0.0/8", "192.0.2.1, evil", "peer"},
	{"10.0.0.0/8", "evil, 192.0.2.1", "192.0.2.1"}, /* not looked at */
	{"10.0.0.0/8", "evil, 10.0.0.1", "peer"},
	{"10.0.0.0/8", "192.0.2.1 10.0.0.1", "peer"},
	{"10.0.0.0/8", "192.0.2.256", "peer"},
	{"10.0.0.0/8", "192.0.2", "peer"},
	{"10.0.0.0/8", "0x7f000001", "peer"},
	{"10.0.0.0/8", "192.0.2.1:", "peer"},
	{"10.0.0.0/8", "192.0.2.1:x", "peer"},
	{"10.0.0.0/8", "[2001:db8::1", "peer"},
	{"10.0.0.0/8", "[2001:db8::1]x", "peer"},
	{"10.0.0.0/8", "[192.0.2.1]", "peer"},
	{"10.0.0.0/8", "fe80::1%eth0", "peer"},
	{"10.0.0.0/8", "localhost", "peer"},
};

START_TEST(client_in_x_forwarded_for_is_the_last_that_is_no_proxy)
{
	const struct row *r = &x_forwarded_for[_i];
	ck_assert_msg(strcmp(client(r->trusted, r->header, false), r->client) == 0, "%s: %s instead of %s",
		r->header, client(r->trusted, r->header, false), r->client);
}
END_TEST

static const struct row forwarded[] = {
	{"10.0.0.0/8", "for=192.0.2.1", "192.0.2.1"},
	{"10.0.0.0/8", "For=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1"},
	{"10.0.0.0/8", "proto=http; for=\"192.0.2.1:80\"", "192.0.2.1"},
	{"10.0.0.0/8", "for=203.0.113.7, for=\"[2001:db8::1]:80\", for=10.0.0.1", "2001:db8::1"},
	{"10.0.0.0/8", "for=unknown", "peer"},
	{"10.0.0.0/8", "for=_hidden, for=10.0.0.1", "peer"},
	{"10.0.0.0/8", "proto=https", "peer"},
	{"10.0.0.0/8", "for=", "peer"},
	{"10.0.0.0/8", "192.0.2.1", "peer"},
	{"10.0.0.0/8", "for=\"192.0.2.1", "peer"},
};

START_TEST(client_in_forwarded_is_the_last_that_is_no_proxy)
{
	const struct row *r = &forwarded[_i];
	ck_assert_msg(strcmp(client(r->trusted, r->header, true), r->client) == 0, "%s: %s instead of %s",
		r->header, client(r->trusted, r->header, true), r->client);
}
END_TEST

START_TEST(client_without_header_or_with_an_endless_chain_is_nobody)
{
	char chain[4096] = "192.0.2.1";
	ck_assert_str_eq(client("10.0.0.0/8", NULL, false), "peer");
	for (int i = 0; i < 31; i++)
		strcat(chain, ",10.0.0.1");
	ck_assert_str_eq(client("10.0.0.0/8", chain, false), "192.0.2.1");
	strcat(chain, ",10.0.0.1");
	ck_assert_str_eq(client("10.0.0.0/8", chain, false), "peer");
}
END_TEST

static const char *const bad_lists[] = {"x", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0/8",
	"2001:db8::/129", "10.0.0.1;10.0.0.2", "proxy.example.com", "10.0.0.0/8, y", "[::1]", "10.0.0.0/8/8"};

START_TEST(proxies_new_of_a_bad_list_says_what_is_wrong)
{
	struct proxies *p = NULL;
	char message[256] = "";
	ck_assert_int_eq(proxies_new(bad_lists[_i], &p, message, sizeof message), ERR_SYNTAX);
	ck_assert_ptr_null(p);
	ck_assert_ptr_nonnull(strstr(message, "TRUST_PROXY"));
}
END_TEST

START_TEST(proxies_new_of_too_many_is_refused_and_of_nothing_trusts_nobody)
{
	char list[1024] = "";
	struct proxies *p = NULL;
	char message[256] = "";
	const uint8_t local[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
	for (int i = 0; i < 65; i++)
		strcat(list, "10.0.0.1,");
	ck_assert_int_eq(proxies_new(list, &p, message, sizeof message), ERR_SYNTAX);
	p = proxies("");
	ck_assert(!proxies_trust(p, local));
	proxies_free(p);
	p = proxies(" , ");
	ck_assert(!proxies_trust(p, local));
	proxies_free(p);
	p = proxies("127.0.0.1");
	ck_assert(proxies_trust(p, local));
	proxies_free(p);
	p = proxies(NULL);
	ck_assert(!proxies_trust(p, local));
	proxies_free(p);
}
END_TEST

START_TEST(subject_of_ipv4_is_the_address_of_ipv6_its_64)
{
	const uint8_t v4[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 1};
	const uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 3, [15] = 9};
	const uint8_t v6_net[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, 2};
	uint8_t subject[16];
	address_subject(v4, subject);
	ck_assert_mem_eq(subject, v4, 16);
	address_subject(v6, subject);
	ck_assert_mem_eq(subject, v6_net, 16);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http client address");
	TCase *t = tcase_create("address");
	tcase_add_loop_test(t, client_in_x_forwarded_for_is_the_last_that_is_no_proxy, 0,
		sizeof x_forwarded_for / sizeof x_forwarded_for[0]);
	tcase_add_loop_test(t, client_in_forwarded_is_the_last_that_is_no_proxy, 0,
		sizeof forwarded / sizeof forwarded[0]);
	tcase_add_test(t, client_without_header_or_with_an_endless_chain_is_nobody);
	tcase_add_loop_test(
		t, proxies_new_of_a_bad_list_says_what_is_wrong, 0, sizeof bad_lists / sizeof bad_lists[0]);
	tcase_add_test(t, proxies_new_of_too_many_is_refused_and_of_nothing_trusts_nobody);
	tcase_add_test(t, subject_of_ipv4_is_the_address_of_ipv6_its_64);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
