/* Sending batches, and waiting while the server cannot take them. Repeating is safe: every event carries a
 * key. */
#include "llmlab/app/import_client.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "llmlab/base/buf.h"
#include "llmlab/base/json_read.h"
#include "server_client.h"

#define WAIT_FIRST_S 1L
#define WAIT_MAX_S   30L
#define PATIENCE_S   600L

struct import_client {
	struct server_client server;
	long backoff_s; /* of the next wait without Retry-After */
	long waited_s;	/* since the last progress */
};

enum err import_client_new(const char *url, const char *key, struct import_client **ret)
{
	struct import_client *const c = calloc(1, sizeof *c);
	if (c == NULL)
		return ERR_NO_MEMORY;
	c->backoff_s = WAIT_FIRST_S;
	if (server_client_init(&c->server, url, key, "application/x-ndjson", "import") != ERR_OK) {
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
	server_client_release(&c->server);
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
	const struct buf *answer, long status, struct arena *arena, char message[IMPORT_MESSAGE_MAX])
{
	struct problem p;
	problem_init(&p, arena);
	struct json_doc doc;
	const char *detail = NULL;
	if (json_doc_parse(&doc, buf_str(answer), answer->len, &json_limits_response, arena, &p) == ERR_OK)
		detail = arena_strdup(arena, json_string_value(json_object_get(doc.root, "detail")));
	json_doc_release(&doc);
	(void)snprintf(message, IMPORT_MESSAGE_MAX, "the server answered %ld%s%s", status,
		detail != NULL ? ": " : "", detail != NULL ? detail : "");
}

enum err import_client_send(struct import_client *c, const char *body, size_t bytes, struct arena *arena,
	struct import_result *results, size_t n, import_waiting *waiting, char message[IMPORT_MESSAGE_MAX])
{
	for (;;) {
		long status = 0, retry_s = 0;
		const enum err e =
			server_client_ask(&c->server, "/api/events/batch", body, bytes, &status, &retry_s);
		const struct buf *const answer = &c->server.answer;
		if (e == ERR_OK && status == 200) {
			if (import_results_read(buf_str(answer), answer->len, arena, results, n) == ERR_OK)
				return ERR_OK;
			(void)snprintf(message, IMPORT_MESSAGE_MAX, "the server's answer is not understood");
			return ERR_UNAVAILABLE;
		}
		if (e == ERR_OK)
			explain(answer, status, arena, message);
		else
			(void)snprintf(message, IMPORT_MESSAGE_MAX, "%s", c->server.why);
		const bool again = e == ERR_OK ? status == 503 || status == 429 : e == ERR_UNAVAILABLE;
		if (!again || !wait_for(c, retry_s, message, waiting))
			return ERR_UNAVAILABLE;
	}
}
