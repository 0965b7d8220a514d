#ifndef LLMLAB_SRC_APP_SERVER_CLIENT_H
#define LLMLAB_SRC_APP_SERVER_CLIENT_H

#include <curl/curl.h>
#include <stddef.h>
#include "llmlab/base/buf.h"
#include "llmlab/base/err.h"

/* What commands ask a running server with: one connection, one token. Used by one thread. */
struct server_client {
	const char *url; /* of the server; not owned */
	CURL *curl;
	struct curl_slist *headers;
	struct buf answer;	   /* of the last request; owned */
	char why[CURL_ERROR_SIZE]; /* the last one failed; else "" */
};

/* url ("http://127.0.0.1:8000") outlives it; key: token or API key, copied. content_type is that of all
 * bodies, command is shown to the server (User-Agent). ERR_NO_MEMORY; server_client_release() is due in any
 * case. */
enum err server_client_init(struct server_client *c, const char *url, const char *key,
	const char *content_type, const char *command);
void server_client_release(struct server_client *c);

/* POST of a body, or GET where body is NULL. ERR_OK: there is an answer, with *ret_status, and *ret_retry_s
 * of its Retry-After (0: none). ERR_UNAVAILABLE: the way failed, which may pass (the server starts, or was
 * ended and comes back); ERR_INTERNAL: it failed for good; both with c->why. */
enum err server_client_ask(struct server_client *c, const char *path, const char *body, size_t bytes,
	long *ret_status, long *ret_retry_s);

#endif
