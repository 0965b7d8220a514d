/* Requests of commands to a server with libcurl. What is asked, what an answer means, and whether to try
 * again are the commands' matter. */
#include "server_client.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/password.h"

#define ANSWER_MAX_BYTES ((size_t)64 << 20)
#define CONNECT_MS	 5000L
#define REQUEST_MS	 120000L

static size_t take_answer(char *data, size_t size, size_t n, void *arg)
{
	struct buf *const answer = arg;
	buf_append(answer, data, size * n);
	return answer->failed ? 0 : size * n;
}

static bool add_header(struct server_client *c, const char *text)
{
	struct curl_slist *const more = curl_slist_append(c->headers, text);
	if (more == NULL)
		return false;
	c->headers = more;
	return true;
}

static bool add_headers(struct server_client *c, const char *key, const char *content_type)
{
	char *authorization = NULL, *type = NULL;
	if (asprintf(&authorization, "Authorization: Bearer %s", key) < 0)
		return false;
	/* An empty Expect: without it curl waits a second for a 100 before it sends a large body. */
	const bool good = asprintf(&type, "Content-Type: %s", content_type) >= 0 &&
			  add_header(c, authorization) && add_header(c, type) && add_header(c, "Expect:");
	secret_wipe(authorization, strlen(authorization));
	free(authorization);
	free(type);
	return good;
}

static bool set_options(struct server_client *c, const char *command)
{
	char agent[64];
	(void)snprintf(agent, sizeof agent, "llmlab-%s/" LLMLAB_VERSION, command);
	CURLcode e = curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	e |= curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	e |= curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	e |= curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, REQUEST_MS);
	e |= curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
	e |= curl_easy_setopt(c->curl, CURLOPT_USERAGENT, agent); /* copies */
	e |= curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_answer);
	e |= curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &c->answer);
	e |= curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->why);
	return e == CURLE_OK;
}

enum err server_client_init(struct server_client *c, const char *url, const char *key,
	const char *content_type, const char *command)
{
	*c = (struct server_client){.url = url, .curl = curl_easy_init()};
	buf_init(&c->answer, ANSWER_MAX_BYTES);
	const bool good = c->curl != NULL && add_headers(c, key, content_type) && set_options(c, command);
	return good ? ERR_OK : ERR_NO_MEMORY;
}

void server_client_release(struct server_client *c)
{
	curl_easy_cleanup(c->curl);
	curl_slist_free_all(c->headers);
	buf_release(&c->answer);
}

static CURLcode set_request(struct server_client *c, const char *path, const char *body, size_t bytes)
{
	size_t n = strlen(c->url);
	while (n > 0 && c->url[n - 1] == '/')
		n--;
	char *url = NULL;
	if (asprintf(&url, "%.*s%s", (int)n, c->url, path) < 0)
		return CURLE_OUT_OF_MEMORY;
	CURLcode e = curl_easy_setopt(c->curl, CURLOPT_URL, url); /* copies */
	free(url);
	if (body == NULL)
		return e | curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
	e |= curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes);
	return e | curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
}

static bool is_passing(CURLcode e)
{
	return e == CURLE_COULDNT_CONNECT || e == CURLE_OPERATION_TIMEDOUT || e == CURLE_GOT_NOTHING ||
	       e == CURLE_SEND_ERROR || e == CURLE_RECV_ERROR || e == CURLE_PARTIAL_FILE;
}

enum err server_client_ask(struct server_client *c, const char *path, const char *body, size_t bytes,
	long *ret_status, long *ret_retry_s)
{
	buf_reset(&c->answer);
	c->why[0] = '\0';
	CURLcode e = set_request(c, path, body, bytes);
	if (e == CURLE_OK)
		e = curl_easy_perform(c->curl);
	if (e != CURLE_OK) {
		if (c->why[0] == '\0')
			(void)snprintf(c->why, sizeof c->why, "%s", curl_easy_strerror(e));
		return is_passing(e) ? ERR_UNAVAILABLE : ERR_INTERNAL;
	}
	long status = 0;
	curl_off_t retry_s = 0;
	(void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(c->curl, CURLINFO_RETRY_AFTER, &retry_s);
	*ret_status = status;
	*ret_retry_s = (long)retry_s;
	return ERR_OK;
}
