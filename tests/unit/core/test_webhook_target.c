/* Where webhooks may point: what is refused, whatever it is written like, and what is not. */
#include "llmlab/core/webhook_target.h"
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Addresses that are never sent to without allow_private; `own`: with it they are. */
static const struct {
	const char *text;
	bool own;
} FORBIDDEN[] = {
	{"0.0.0.0", false},
	{"0.0.0.1", false},
	{"0.255.255.255", false},
	{"10.0.0.0", true},
	{"10.255.255.255", true},
	{"100.64.0.0", true},
	{"100.127.255.255", true},
	{"100.100.100.200", false},
	{"127.0.0.1", true},
	{"127.255.255.254", true},
	{"168.63.129.16", false},
	{"169.254.0.1", false},
	{"169.254.169.254", false},
	{"169.254.170.2", false},
	{"172.16.0.0", true},
	{"172.31.255.255", true},
	{"192.0.0.1", false},
	{"192.0.0.192", false},
	{"192.0.2.1", false},
	{"192.31.196.1", false},
	{"192.52.193.1", false},
	{"192.88.99.1", false},
	{"192.168.0.0", true},
	{"192.168.255.255", true},
	{"192.175.48.1", false},
	{"198.18.0.0", true},
	{"198.19.255.255", true},
	{"198.51.100.7", false},
	{"203.0.113.7", false},
	{"224.0.0.1", false},
	{"239.255.255.255", false},
	{"240.0.0.1", false},
	{"255.255.255.255", false},
	{"::", false},
	{"::1", true},
	{"::2", false},
	{"::7f00:1", false},		/* compatible */
	{"::127.0.0.1", false},
	{"::ffff:127.0.0.1", false},	/* mapped */
	{"::ffff:8.8.8.8", false},
	{"::ffff:0:127.0.0.1", false},	/* translated */
	{"64:ff9b::7f00:1", false},	/* NAT64 */
	{"64:ff9b::808:808", false},
	{"64:ff9b:1::1", false},
	{"100::1", false},		/* discard only */
	{"2001::1", false},		/* Teredo */
	{"2001:0:4136:e378:8000:63bf:3fff:fdd2", false},
	{"2001:2::1", false},		/* benchmarks */
	{"2001:10::1", false},		/* ORCHID */
	{"2001:20::1", false},
	{"2001:1ff::1", false},
	{"2001:db8::1", false},		/* documentation */
	{"2002:7f00:1::", false},	/* 6to4 of 127.0.0.1 */
	{"2002:a00:1::1", false},
	{"2620:4f:8000::1", false},
	{"3ffe::1", false},
	{"3fff::1", false},
	{"5f00::1", false},
	{"4000::1", false},
	{"8000::1", false},
	{"fc00::1", true},
	{"fd12:3456::1", true},
	{"fd00:ec2::254", false},	/* metadata of a cloud */
	{"fe80::1", false},
	{"febf::1", false},
	{"fec0::1", false},		/* site-local */
	{"ff02::1", false},
	{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false},
};
#define N_FORBIDDEN (sizeof FORBIDDEN / sizeof FORBIDDEN[0])

static const char *const PUBLIC[] = {"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255",
	"100.128.0.0", "126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.0", "172.15.255.255",
	"172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
	"203.0.112.255", "223.255.255.255", "2001:200::1", "2003::1", "2600::1", "2606:4700::1111",
	"2a00:1450::1", "3ffd::1"};
#define N_PUBLIC (sizeof PUBLIC / sizeof PUBLIC[0])

static bool address_allowed(const char *text, bool allow_private)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} a;
	memset(&a, 0, sizeof a);
	if (inet_pton(AF_INET, text, &a.v4.sin_addr) == 1)
		a.v4.sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &a.v6.sin6_addr) == 1)
		a.v6.sin6_family = AF_INET6;
	else
		ck_abort_msg("%s", text);
	return webhook_address_allowed(&a.any, allow_private);
}

START_TEST(webhook_address_allowed_forbidden_ones_are_refused)
{
	const char *const text = FORBIDDEN[_i].text;
	ck_assert_msg(!address_allowed(text, false), "%s", text);
	ck_assert_msg(address_allowed(text, true) == FORBIDDEN[_i].own, "%s", text);
}
END_TEST

START_TEST(webhook_address_allowed_public_ones_are_allowed)
{
	ck_assert_msg(address_allowed(PUBLIC[_i], false) && address_allowed(PUBLIC[_i], true), "%s",
		PUBLIC[_i]);
}
END_TEST

START_TEST(webhook_address_allowed_other_families_are_refused)
{
	const struct sockaddr local = {.sa_family = AF_UNIX}, none = {.sa_family = AF_UNSPEC};
	ck_assert(!webhook_address_allowed(&local, true) && !webhook_address_allowed(&none, true));
}
END_TEST

static enum err parse(const char *url, bool allow_private, struct webhook_target *ret)
{
	const char *why = NULL;
	const enum err e = webhook_target_parse(url, allow_private, ret, &why);
	ck_assert_msg((e == ERR_OK) == (why == NULL), "%s", url);
	return e;
}

/* A literal is judged when it is read. */
START_TEST(webhook_target_parse_forbidden_literals_are_refused)
{
	char url[128];
	struct webhook_target t;
	const char *const text = FORBIDDEN[_i].text;
	snprintf(url, sizeof url, strchr(text, ':') != NULL ? "https://[%s]/" : "https://%s/", text);
	ck_assert_msg(parse(url, false, &t) == ERR_VALIDATION, "%s", url);
	ck_assert_msg((parse(url, true, &t) == ERR_OK) == FORBIDDEN[_i].own, "%s", url);
}
END_TEST

/* Refused in either mode: nobody after us shall read them as something else. */
static const char *const MALFORMED[] = {"", "https", "https:", "https:/example.com", "https:example.com",
	"//example.com/", "example.com", "https://", "https:///path", "https://?q", "https://:443/",
	"ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)",
	"https+unix://x/", " https://example.com/", "https://example.com/ ", "https://exa mple.com/",
	"https://example.com/\t", "https://example.com/\r\nX: y", "https://example.com\\@127.0.0.1/",
	"https://example.com/#part", "https://example.com#@127.0.0.1/", "https://user@example.com/",
	"https://user:password@example.com/", "https://@example.com/", "https://example.com@127.0.0.1/",
	"https://example.com:@127.0.0.1/", "https://%31%32%37.0.0.1/", "https://127.0.0.1%2eexample.com/",
	"https://ex%61mple.com/", "https://example.com%00.org/", "https://example.com./", "https://127.0.0.1./",
	"https://.example.com/", "https://a..example.com/", "https://-a.example.com/", "https://a-.example.com/",
	/* other spellings of 127.0.0.1 and of 10.0.0.1 */
	"https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/",
	"https://017700000001/", "https://127.1/", "https://127.0.1/", "https://127.0.0.01/",
	"https://127.0.0.0x1/", "https://0x7f.1/", "https://00000127.0.0.1/", "https://127.0.0.1.0/",
	"https://1.2.3/", "https://1.2.3.256/", "https://1.2.3.4.5/", "https://10.1/", "https://0xa.1/",
	"https://012.0.0.1/", "https://example.0x7f/", "https://example.1/", "https://１２７.0.0.1/",
	"https://ⓛocalhost/", "https://exämple.com/", "https://127。0。0。1/",
	/* brackets */
	"https://[::1/", "https://::1/", "https://[]/", "https://[::1]x/", "https://[::1]]/", "https://[fe80::1%25eth0]/",
	"https://[fe80::1%eth0]/", "https://[127.0.0.1]/", "https://[v1.x]/", "https://[::ffff:127.0.0.1]/",
	"https://[::1]@example.com/", "https://[example.com]/",
	/* ports */
	"https://example.com:/", "https://example.com:0/", "https://example.com:0443/", "https://example.com:65536/",
	"https://example.com:99999/", "https://example.com:-1/", "https://example.com:4 43/",
	"https://example.com:443:443/", "https://example.com:443x/", "https://example.com:0x1bb/"};
#define N_MALFORMED (sizeof MALFORMED / sizeof MALFORMED[0])

START_TEST(webhook_target_parse_malformed_urls_are_refused)
{
	struct webhook_target t = {.port = 7};
	ck_assert_msg(parse(MALFORMED[_i], false, &t) == ERR_VALIDATION, "%s", MALFORMED[_i]);
	ck_assert_msg(parse(MALFORMED[_i], true, &t) == ERR_VALIDATION, "%s", MALFORMED[_i]);
	ck_assert_int_eq(t.port, 7);
}
END_TEST

/* Refused unless private targets are allowed. */
static const char *const LOCAL[] = {"http://example.com/", "https://example.com:80/", "https://example.com:22/",
	"https://example.com:5432/", "https://localhost/", "https://LOCALHOST/", "https://intranet/",
	"https://x.localhost/", "https://a.b.LocalHost/", "http://127.0.0.1:9000/hook", "https://192.168.1.1:8443/",
	"https://[::1]:8443/"};
#define N_LOCAL (sizeof LOCAL / sizeof LOCAL[0])

START_TEST(webhook_target_parse_local_urls_need_the_setting)
{
	struct webhook_target t;
	ck_assert_msg(parse(LOCAL[_i], false, &t) == ERR_VALIDATION, "%s", LOCAL[_i]);
	ck_assert_msg(parse(LOCAL[_i], true, &t) == ERR_OK, "%s", LOCAL[_i]);
}
END_TEST

/* Put together again: scheme and host in lower case, the port always there, a path always there. */
static const struct {
	const char *url, *out, *host;
	unsigned port;
	bool literal, v6;
} GOOD[] = {
	{"https://example.com", "https://example.com:443/", "example.com", 443, false, false},
	{"HTTPS://Example.COM/Path?A=b%20c", "https://example.com:443/Path?A=b%20c", "example.com", 443, false, false},
	{"https://example.com:8443?x=1", "https://example.com:8443/?x=1", "example.com", 8443, false, false},
	{"https://hooks.slack.com/services/T0/B0/x", "https://hooks.slack.com:443/services/T0/B0/x",
		"hooks.slack.com", 443, false, false},
	{"https://xn--exmple-cua.com/", "https://xn--exmple-cua.com:443/", "xn--exmple-cua.com", 443, false, false},
	{"https://8.8.8.8/", "https://8.8.8.8:443/", "8.8.8.8", 443, true, false},
	{"https://[2606:4700::1111]:443/x", "https://[2606:4700::1111]:443/x", "2606:4700::1111", 443, true, true},
	{"https://a_b.example.com/@x:y", "https://a_b.example.com:443/@x:y", "a_b.example.com", 443, false, false},
	{"https://example.com/a/../b//c", "https://example.com:443/a/../b//c", "example.com", 443, false, false},
};
#define N_GOOD (sizeof GOOD / sizeof GOOD[0])

START_TEST(webhook_target_parse_good_urls_are_put_together_again)
{
	struct webhook_target t;
	ck_assert_msg(parse(GOOD[_i].url, false, &t) == ERR_OK, "%s", GOOD[_i].url);
	ck_assert_str_eq(t.url, GOOD[_i].out);
	ck_assert_str_eq(t.host, GOOD[_i].host);
	ck_assert_uint_eq(t.port, GOOD[_i].port);
	ck_assert(t.https && t.literal == GOOD[_i].literal && t.v6 == GOOD[_i].v6);
}
END_TEST

/* 64 characters in a label, 254 in a name, 2,049 in all are too many. */
START_TEST(webhook_target_parse_lengths_are_bounded)
{
	struct webhook_target t;
	char url[WEBHOOK_URL_MAX + 2];
	snprintf(url, sizeof url, "https://%.*s.com/", 63,
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	ck_assert_int_eq(parse(url, false, &t), ERR_OK);
	snprintf(url, sizeof url, "https://%.*s.com/", 64,
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	ck_assert_int_eq(parse(url, false, &t), ERR_VALIDATION);
	char host[256];
	for (size_t i = 0; i < sizeof host - 1; i++)
		host[i] = i % 2 == 1 ? '.' : 'a'; /* 255 characters: "a.a. ... .a" */
	host[255] = '\0';
	snprintf(url, sizeof url, "https://%s/", host);
	ck_assert_int_eq(parse(url, false, &t), ERR_VALIDATION);
	snprintf(url, sizeof url, "https://%s/", host + 2); /* 253 */
	ck_assert_int_eq(parse(url, false, &t), ERR_OK);
	memset(url, 'x', sizeof url);
	memcpy(url, "https://example.com/", 20);
	url[WEBHOOK_URL_MAX] = '\0';
	ck_assert_int_eq(parse(url, false, &t), ERR_OK);
	ck_assert_uint_eq(strlen(t.url), WEBHOOK_URL_MAX + 4); /* ":443" */
	url[WEBHOOK_URL_MAX] = 'x';
	url[WEBHOOK_URL_MAX + 1] = '\0';
	ck_assert_int_eq(parse(url, false, &t), ERR_VALIDATION);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("webhook_target");
	TCase *const t = tcase_create("webhook_target");
	tcase_add_loop_test(t, webhook_address_allowed_forbidden_ones_are_refused, 0, (int)N_FORBIDDEN);
	tcase_add_loop_test(t, webhook_address_allowed_public_ones_are_allowed, 0, (int)N_PUBLIC);
	tcase_add_test(t, webhook_address_allowed_other_families_are_refused);
	tcase_add_loop_test(t, webhook_target_parse_forbidden_literals_are_refused, 0, (int)N_FORBIDDEN);
	tcase_add_loop_test(t, webhook_target_parse_malformed_urls_are_refused, 0, (int)N_MALFORMED);
	tcase_add_loop_test(t, webhook_target_parse_local_urls_need_the_setting, 0, (int)N_LOCAL);
	tcase_add_loop_test(t, webhook_target_parse_good_urls_are_put_together_again, 0, (int)N_GOOD);
	tcase_add_test(t, webhook_target_parse_lengths_are_bounded);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
