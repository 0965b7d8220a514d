/* One POST to a webhook with libcurl. The addresses are pinned: the request's own DNS cache is filled with
 * them, and the moment a socket is opened its address is looked at once more, so that whatever libcurl thinks
 * a host is, nothing but a checked address is connected to. Whether to try again is not known here. */
#include "llmlab/app/webhook_request.h"
#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "llmlab/base/buf.h"
#include "llmlab/base/clock.h"

struct webhook_request {
	CURLM *multi; /* not owned */
	bool added;   /* to multi */
	CURL *curl;
	CURLSH *cache; /* its own, so that addresses of one request are not another's */
	struct curl_slist *headers, *pins;
	char *body;
	void *owner;
	bool allow_private;
	struct webhook_addresses addresses;
	bool refused; /* an address */
	bool cut;     /* the answer */
	size_t head_bytes, body_bytes;
};

/* ---- callbacks ---- */

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr *b)
{
	union {
		const struct sockaddr_storage *any;
		const struct sockaddr_in *v4;
		const struct sockaddr_in6 *v6;
	} x = {.any = a};
	union {
		const struct sockaddr *any;
		const struct sockaddr_in *v4;
		const struct sockaddr_in6 *v6;
	} y = {.any = b};
	if (a->ss_family != b->sa_family)
		return false;
	if (a->ss_family == AF_INET)
		return x.v4->sin_addr.s_addr == y.v4->sin_addr.s_addr && x.v4->sin_port == y.v4->sin_port;
	return a->ss_family == AF_INET6 && memcmp(&x.v6->sin6_addr, &y.v6->sin6_addr, 16) == 0 &&
	       x.v6->sin6_port == y.v6->sin6_port;
}

static bool is_pinned(const struct webhook_request *r, const struct sockaddr *address)
{
	for (size_t i = 0; i < r->addresses.n; i++) {
		if (same_address(&r->addresses.at[i], address))
			return true;
	}
	return false;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct webhook_request *const r = arg;
	if (purpose != CURLSOCKTYPE_IPCXN || !is_pinned(r, &address->addr) ||
		!webhook_address_allowed(&address->addr, r->allow_private)) {
		r->refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is libcurl's */
static size_t discard(char *data, size_t size, size_t n, void *arg)
{
	struct webhook_request *const r = arg;
	(void)data;
	r->body_bytes += size * n;
	r->cut = r->cut || r->body_bytes > WEBHOOK_REPLY_MAX;
	return r->cut ? 0 : size * n;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is libcurl's, too */
static size_t count_head(char *data, size_t size, size_t n, void *arg)
{
	struct webhook_request *const r = arg;
	(void)data;
	r->head_bytes += size * n;
	return r->head_bytes > WEBHOOK_REPLY_MAX ? 0 : size * n;
}

/* ---- making ---- */

static bool append(struct curl_slist **list, const char *text)
{
	struct curl_slist *const more = curl_slist_append(*list, text);
	if (more == NULL)
		return false;
	*list = more;
	return true;
}

static bool add_headers(struct webhook_request *r, const struct webhook_call *call)
{
	const char *const named[][2] = {{"X-LLMLab-Event", call->event},
		{"X-LLMLab-Delivery", call->delivery_id}, {"X-LLMLab-Signature", call->signature}};
	bool good = append(&r->headers, "Content-Type: application/json") && append(&r->headers, "Expect:") &&
		    append(&r->headers, "Accept:");
	for (size_t i = 0; good && i < sizeof named / sizeof named[0]; i++) {
		char line[256];
		const int n = snprintf(line, sizeof line, "%s: %s", named[i][0], named[i][1]);
		good = n > 0 && (size_t)n < sizeof line && append(&r->headers, line);
	}
	return good;
}

static void put_address(struct buf *out, const struct sockaddr_storage *address)
{
	union {
		const struct sockaddr_storage *any;
		const struct sockaddr_in *v4;
		const struct sockaddr_in6 *v6;
	} view = {.any = address};
	char text[INET6_ADDRSTRLEN] = "";
	const bool v6 = address->ss_family == AF_INET6;
	if (v6)
		(void)inet_ntop(AF_INET6, &view.v6->sin6_addr, text, sizeof text);
	else
		(void)inet_ntop(AF_INET, &view.v4->sin_addr, text, sizeof text);
	buf_printf(out, v6 ? "[%s]" : "%s", text);
}

/* "host:port:address,address": libcurl finds the host in its cache and looks nothing up. */
static bool pin_addresses(struct webhook_request *r, const struct webhook_target *t)
{
	if (t->literal)
		return true;
	struct buf line;
	buf_init(&line, 4096);
	buf_printf(&line, "%s:%u:", t->host, t->port);
	for (size_t i = 0; i < r->addresses.n; i++) {
		if (i > 0)
			buf_putc(&line, ',');
		put_address(&line, &r->addresses.at[i]);
	}
	const bool good = !line.failed && append(&r->pins, buf_str(&line));
	buf_release(&line);
	return good;
}

static bool set_way(struct webhook_request *r, const struct webhook_target *t)
{
	CURLcode e = curl_easy_setopt(r->curl, CURLOPT_URL, t->url);
	e |= curl_easy_setopt(r->curl, CURLOPT_PROTOCOLS_STR, t->https ? "https" : "http");
	e |= curl_easy_setopt(r->curl, CURLOPT_PATH_AS_IS, 1L);
	e |= curl_easy_setopt(r->curl, CURLOPT_SHARE, r->cache);
	e |= curl_easy_setopt(r->curl, CURLOPT_RESOLVE, r->pins);
	e |= curl_easy_setopt(r->curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	e |= curl_easy_setopt(r->curl, CURLOPT_OPENSOCKETDATA, r);
	e |= curl_easy_setopt(r->curl, CURLOPT_FOLLOWLOCATION, 0L);
	e |= curl_easy_setopt(r->curl, CURLOPT_PROXY, "");
	e |= curl_easy_setopt(r->curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	e |= curl_easy_setopt(r->curl, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	e |= curl_easy_setopt(r->curl, CURLOPT_FRESH_CONNECT, 1L);
	e |= curl_easy_setopt(r->curl, CURLOPT_FORBID_REUSE, 1L);
	e |= curl_easy_setopt(r->curl, CURLOPT_NOSIGNAL, 1L);
	e |= curl_easy_setopt(r->curl, CURLOPT_TIMEOUT_MS, (long)WEBHOOK_TIMEOUT_MS);
	e |= curl_easy_setopt(r->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)WEBHOOK_TIMEOUT_MS);
	return e == CURLE_OK;
}

static bool set_content(struct webhook_request *r, size_t body_len)
{
	CURLcode e = curl_easy_setopt(r->curl, CURLOPT_POST, 1L);
	e |= curl_easy_setopt(r->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	e |= curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, r->headers);
	e |= curl_easy_setopt(r->curl, CURLOPT_USERAGENT, "LLMLab/" LLMLAB_VERSION);
	e |= curl_easy_setopt(r->curl, CURLOPT_POSTFIELDS, r->body);
	e |= curl_easy_setopt(r->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_len);
	e |= curl_easy_setopt(r->curl, CURLOPT_WRITEFUNCTION, discard);
	e |= curl_easy_setopt(r->curl, CURLOPT_WRITEDATA, r);
	e |= curl_easy_setopt(r->curl, CURLOPT_HEADERFUNCTION, count_head);
	e |= curl_easy_setopt(r->curl, CURLOPT_HEADERDATA, r);
	e |= curl_easy_setopt(r->curl, CURLOPT_PRIVATE, r);
	return e == CURLE_OK;
}

static bool make(struct webhook_request *r, const struct webhook_call *call)
{
	r->curl = curl_easy_init();
	r->cache = curl_share_init();
	r->body = malloc(call->body_len + 1);
	if (r->curl == NULL || r->cache == NULL || r->body == NULL)
		return false;
	memcpy(r->body, call->body, call->body_len);
	return curl_share_setopt(r->cache, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) == CURLSHE_OK &&
	       add_headers(r, call) && pin_addresses(r, call->target) && set_way(r, call->target) &&
	       set_content(r, call->body_len);
}

enum err webhook_request_start(
	void *multi, const struct webhook_call *call, void *owner, struct webhook_request **ret)
{
	struct webhook_request *const r = calloc(1, sizeof *r);
	if (r == NULL)
		return ERR_NO_MEMORY;
	r->multi = multi;
	r->owner = owner;
	r->allow_private = call->allow_private;
	r->addresses = *call->addresses;
	r->added = make(r, call) && curl_multi_add_handle(multi, r->curl) == CURLM_OK;
	if (!r->added) {
		webhook_request_free(r);
		return ERR_NO_MEMORY;
	}
	*ret = r;
	return ERR_OK;
}

void webhook_request_free(struct webhook_request *r)
{
	if (r == NULL)
		return;
	if (r->added)
		(void)curl_multi_remove_handle(r->multi, r->curl);
	curl_easy_cleanup(r->curl);
	(void)curl_share_cleanup(r->cache);
	curl_slist_free_all(r->headers);
	curl_slist_free_all(r->pins);
	free(r->body);
	free(r);
}

/* ---- how it ended ---- */

static const char *error_class(const struct webhook_request *r, CURLcode code)
{
	if (r->refused)
		return "address";
	if (code == CURLE_OPERATION_TIMEDOUT)
		return "timeout";
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
		return "connect";
	if (code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
		code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CIPHER || code == CURLE_SSL_CACERT_BADFILE)
		return "tls";
	return "protocol";
}

void *webhook_request_next_done(void *multi, struct webhook_reply *ret)
{
	int left = 0;
	const CURLMsg *message = curl_multi_info_read(multi, &left);
	while (message != NULL && message->msg != CURLMSG_DONE)
		message = curl_multi_info_read(multi, &left);
	if (message == NULL)
		return NULL;
	char *private = NULL;
	long status = 0;
	curl_off_t took_us = 0, retry_after_s = 0;
	if (curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private) != CURLE_OK ||
		private == NULL)
		return NULL;
	const struct webhook_request *const r = (const void *)private;
	(void)curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(message->easy_handle, CURLINFO_TOTAL_TIME_T, &took_us);
	(void)curl_easy_getinfo(message->easy_handle, CURLINFO_RETRY_AFTER, &retry_after_s);
	/* What was cut was an answer all the same. */
	const bool answered = message->data.result == CURLE_OK || r->cut;
	*ret = (struct webhook_reply){.status = answered ? status : 0,
		.duration_ms = took_us / US_PER_MS,
		.retry_after_us =
			retry_after_s > 0 && retry_after_s < 1000000 ? retry_after_s * US_PER_SECOND : 0,
		.error = answered ? NULL : error_class(r, message->data.result)};
	return r->owner;
}
