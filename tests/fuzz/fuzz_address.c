/* What decides who a client is and where we send to: X-Forwarded-For and Forwarded, the list of trusted
 * proxies, URLs of webhooks, traceparent. The first byte chooses. Checks that a trusted proxy never becomes
 * the client behind a header that names somebody else, that a URL that is taken is taken again in the form
 * that is sent and no private literal is among them, and that curl reads the same host and port out of it. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include "../../src/http/internal.h"
#include "fuzz.h"
#include "llmlab/core/webhook_target.h"

static void check_client(const char *text, bool forwarded)
{
	static struct proxies *trusted;
	char message[128], shown[64];
	uint8_t address[16] = {0xAB}, again[16] = {0xCD}, subject[16];
	if (trusted == NULL)
		FUZZ_CHECK(proxies_new("10.0.0.0/8, ::1, 2001:db8::/32", &trusted, message, sizeof message) ==
			   ERR_OK);
	const bool found = proxies_client(trusted, text, forwarded, address);
	FUZZ_CHECK(proxies_client(trusted, text, forwarded, again) == found);
	FUZZ_CHECK(!found || memcmp(address, again, sizeof address) == 0);
	if (!found) {
		FUZZ_CHECK(address[0] == 0xAB); /* untouched */
		return;
	}
	address_text(address, shown, sizeof shown);
	address_subject(address, subject);
	struct in6_addr v6;
	struct in_addr v4;
	FUZZ_CHECK(strcmp(shown, "unknown") == 0 || inet_pton(AF_INET6, shown, &v6) == 1 ||
		   inet_pton(AF_INET, shown, &v4) == 1);
}

static void check_for(const char *text)
{
	check_client(text, false);
}

static void check_forwarded(const char *text)
{
	check_client(text, true);
}

static void check_proxies(const char *text)
{
	struct proxies *p = NULL;
	char message[128] = "";
	const enum err e = proxies_new(text, &p, message, sizeof message);
	FUZZ_CHECK(e == ERR_OK || (e == ERR_SYNTAX && message[0] != '\0'));
	if (e != ERR_OK)
		return;
	const uint8_t none[16] = {0};
	(void)proxies_trust(p, none);
	proxies_free(p);
}

/* curl writes addresses of version 6 shorter. */
static bool same_host(const struct webhook_target *t, char *host)
{
	struct in6_addr ours, theirs;
	if (!t->v6)
		return strcasecmp(host, t->host) == 0;
	if (host[0] != '[' || host[strlen(host) - 1] != ']')
		return false;
	host[strlen(host) - 1] = '\0';
	return inet_pton(AF_INET6, t->host, &ours) == 1 && inet_pton(AF_INET6, host + 1, &theirs) == 1 &&
	       memcmp(&ours, &theirs, sizeof ours) == 0;
}

/* As libcurl reads it, which sends it. */
static void check_curl(const struct webhook_target *t)
{
	CURLU *const u = curl_url();
	char *host = NULL, *port = NULL, *scheme = NULL, *user = NULL;
	FUZZ_CHECK(u != NULL && curl_url_set(u, CURLUPART_URL, t->url, 0) == CURLUE_OK);
	FUZZ_CHECK(curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK);
	FUZZ_CHECK(curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK);
	FUZZ_CHECK(curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK);
	FUZZ_CHECK(curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER);
	FUZZ_CHECK(same_host(t, host));
	FUZZ_CHECK(strtol(port, NULL, 10) == t->port);
	FUZZ_CHECK(strcmp(scheme, t->https ? "https" : "http") == 0);
	curl_free(host);
	curl_free(port);
	curl_free(scheme);
	curl_url_cleanup(u);
}

static void check_literal(const struct webhook_target *t, bool allow_private)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	const struct sockaddr *address = (const struct sockaddr *)&v4;
	if (t->v6)
		address = (const struct sockaddr *)&v6;
	FUZZ_CHECK(inet_pton(t->v6 ? AF_INET6 : AF_INET, t->host,
			   t->v6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr) == 1);
	FUZZ_CHECK(webhook_address_allowed(address, allow_private));
}

static void check_target(const char *text, bool allow_private)
{
	struct webhook_target t, again;
	const char *why = NULL;
	const enum err e = webhook_target_parse(text, allow_private, &t, &why);
	FUZZ_CHECK(e == ERR_OK || (e == ERR_VALIDATION && why != NULL));
	if (e != ERR_OK)
		return;
	FUZZ_CHECK(strlen(text) <= WEBHOOK_URL_MAX && (t.https || allow_private));
	FUZZ_CHECK(webhook_target_parse(t.url, allow_private, &again, &why) == ERR_OK);
	FUZZ_CHECK(strcmp(t.url, again.url) == 0 && strcmp(t.host, again.host) == 0 && t.port == again.port);
	FUZZ_CHECK(allow_private || t.port == 443 || t.port == 8443);
	if (t.literal)
		check_literal(&t, allow_private);
	check_curl(&t);
}

static void check_url(const char *text)
{
	check_target(text, false);
}

static void check_private_url(const char *text)
{
	check_target(text, true);
}

static void check_trace(const char *text)
{
	struct trace t, again;
	char out[TRACE_TEXT_SIZE];
	trace_begin(&t, text);
	trace_format(&t, out);
	FUZZ_CHECK(strlen(out) == TRACE_TEXT_SIZE - 1);
	trace_begin(&again, out); /* what we send, the next one goes on with */
	FUZZ_CHECK(strcmp(again.trace_id, t.trace_id) == 0 && strcmp(again.flags, t.flags) == 0);
	FUZZ_CHECK(strcmp(again.span_id, t.span_id) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const checks[])(const char *text) = {
		check_for, check_forwarded, check_proxies, check_url, check_private_url, check_trace};
	if (size == 0 || size > 4096)
		return 0;
	char *const text = fuzz_text(data + 1, size - 1);
	checks[data[0] % (sizeof checks / sizeof checks[0])](text);
	free(text);
	return 0;
}
