/* Sending batches with libcurl over one connection, and waiting while the server cannot take them. Repeating
 * is safe: every event carries a key. */
#include "llmlab/app/import_client.h"
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "llmlab/auth/password.h"
#include "llmlab/base/buf.h"
#include "llmlab/base/json_read.h"

#define ANSWER_MAX_BYTES ((size_t)64 << 20)
#define CONNECT_MS	 5000L
#define REQUEST_MS	 120000L
#define WAIT_FIRST_S	 1L
#define WAIT_MAX_S	 30L
#define PATIENCE_S	 600L

struct import_client {
	CURL *curl;
	struct curl_slist *headers;
	struct buf answer;
	char why[CURL_ERROR_SIZE];
	long backoff_s; /* of the next wait without Retry-After */
	long waited_s;	/* since the last progress */
};

static size_t take_answer(char *data, size_t size, size_t n, void *arg)
{
	struct buf *const answer = arg;
	buf_append(answer, data, size * n);
	return answer->failed ? 0 : size * n;
}

static bool add_header(struct import_client *c, const char *text)
{
	struct curl_slist *const more = curl_slist_append(c->headers, text);
	if (more == NULL)
		return false;
	c->headers = more;
	return true;
}

static bool add_headers(struct import_client *c, const char *key)
{
	char *authorization = NULL;
	if (asprintf(&authorization, "Authorization: Bearer %s", key) < 0)
		return false;
	/* An empty Expect: without it curl waits a second for a 100 before it sends a large body. */
	const bool good = add_header(c, authorization) &&
			  add_header(c, "Content-Type: application/x-ndjson") && add_header(c, "Expect:");
	secret_wipe(authorization, strlen(authorization));
	free(authorization);
	return good;
}

static bool set_options(struct import_client *c, const char *url)
{
	size_t n = strlen(url);
	while (n > 0 && url[n - 1] == '/')
		n--;
	char *endpoint = NULL;
	if (asprintf(&endpoint, "%.*s/api/events/batch", (int)n, url) < 0)
		return false;
	CURLcode e = curl_easy_setopt(c->curl, CURLOPT_URL, endpoint); /* copies */
	free(endpoint);
	e |= curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	e |= curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	e |= curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	e |= curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, REQUEST_MS);
	e |= curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
	e |= curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "llmlab-import/" LLMLAB_VERSION);
	e |= curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_answer);
	e |= curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &c->answer);
	e |= curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->why);
	return e == CURLE_OK;
}

enum err import_client_new(const char *url, const char *key, struct import_client **ret)
{
	struct import_client *const c = calloc(1, sizeof *c);
	if (c == NULL)
		return ERR_NO_MEMORY;
	buf_init(&c->answer, ANSWER_MAX_BYTES);
	c->backoff_s = WAIT_FIRST_S;
	c->curl = curl_easy_init();
	if (c->curl == NULL || !add_headers(c, key) || !set_options(c, url)) {
		import_client_free(c);
		return ERR_NO_MEMORY;
	}
	*ret = c;
	return ERR_OK;
}

void import_client_free(struct import_client *c)
{
	if (c == NULL)
		return;
	curl_easy_cleanup(c->curl);
	curl_slist_free_all(c->headers);
	buf_release(&c->answer);
	free(c);
}

static void sleep_seconds(long seconds)
{
	struct timespec left = {.tv_sec = seconds};
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

/* Waits asked_s, or by its own measure if that is 0. */
static bool wait_for(struct import_client *c, long asked_s, const char *why, import_waiting *waiting)
{
	long seconds = asked_s;
	if (seconds <= 0) {
		seconds = c->backoff_s;
		c->backoff_s = c->backoff_s * 2 < WAIT_MAX_S ? c->backoff_s * 2 : WAIT_MAX_S;
	}
	if (c->waited_s + seconds > PATIENCE_S)
		return false;
	c->waited_s += seconds;
	waiting(why, seconds);
	sleep_seconds(seconds);
	return true;
}

bool import_client_wait(struct import_client *c, const char *why, import_waiting *waiting)
{
	return wait_for(c, 0, why, waiting);
}

void import_client_progress(struct import_client *c)
{
	c->backoff_s = WAIT_FIRST_S;
	c->waited_s = 0;
}

/* What a refusal says: its detail, if it is a problem document. */
static void explain(
	struct import_client *c, long status, struct arena *arena, char message[IMPORT_MESSAGE_MAX])
{
	struct problem p;
	problem_init(&p, arena);
	struct json_doc doc;
	const char *detail = NULL;
	if (json_doc_parse(&doc, buf_str(&c->answer), c->answer.len, &json_limits_response, arena, &p) ==
		ERR_OK)
		detail = arena_strdup(arena, json_string_value(json_object_get(doc.root, "detail")));
	json_doc_release(&doc);
	(void)snprintf(message, IMPORT_MESSAGE_MAX, "the server answered %ld%s%s", status,
		detail != NULL ? ": " : "", detail != NULL ? detail : "");
}

/* Failures of the way, which pass: the server is starting, or was ended and comes back. */
static bool is_passing(CURLcode e)
{
	return e == CURLE_COULDNT_CONNECT || e == CURLE_OPERATION_TIMEDOUT || e == CURLE_GOT_NOTHING ||
	       e == CURLE_SEND_ERROR || e == CURLE_RECV_ERROR || e == CURLE_PARTIAL_FILE;
}

enum err import_client_send(struct import_client *c, const char *body, size_t bytes, struct arena *arena,
	struct import_result *results, size_t n, import_waiting *waiting, char message[IMPORT_MESSAGE_MAX])
{
	for (;;) {
		buf_reset(&c->answer);
		c->why[0] = '\0';
		(void)curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes);
		(void)curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
		const CURLcode e = curl_easy_perform(c->curl);
		long status = 0;
		curl_off_t retry_s = 0;
		(void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
		(void)curl_easy_getinfo(c->curl, CURLINFO_RETRY_AFTER, &retry_s);
		if (e == CURLE_OK && status == 200) {
			if (import_results_read(buf_str(&c->answer), c->answer.len, arena, results, n) ==
				ERR_OK)
				return ERR_OK;
			(void)snprintf(message, IMPORT_MESSAGE_MAX, "the server's answer is not understood");
			return ERR_UNAVAILABLE;
		}
		if (e == CURLE_OK)
			explain(c, status, arena, message);
		else
			(void)snprintf(message, IMPORT_MESSAGE_MAX, "%s",
				c->why[0] != '\0' ? c->why : curl_easy_strerror(e));
		const bool again = e == CURLE_OK ? status == 503 || status == 429 : is_passing(e);
		if (!again || !wait_for(c, (long)retry_s, message, waiting))
			return ERR_UNAVAILABLE;
	}
}
