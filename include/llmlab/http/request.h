#ifndef LLMLAB_HTTP_REQUEST_H
#define LLMLAB_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/auth/principal.h"
#include "llmlab/base/arena.h"
#include "llmlab/base/buf.h"
#include "llmlab/base/err.h"
#include "llmlab/base/problem.h"

/* A request as handlers see it, their answer, and the table of routes. A request is owned by exactly one party at a
 * time: the loop while it is read and answered, an executor thread while a handler runs, whoever it was parked with
 * until http_complete(). */

enum http_method { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_METHODS };
const char *http_method_name(enum http_method m);

/* Request headers that are kept; each at most once in a request (a repeat is refused). */
enum http_header {
#define HEADER(id, name) HTTP_HEADER_##id,
#include "llmlab/http/headers.def"
#undef HEADER
	HTTP_HEADERS
};

/* Who may call a route: the column `auth` of the table. Denied unless stated. */
enum route_auth {
	ROUTE_PUBLIC, /* no token asked for */
	ROUTE_INGEST, /* scope ingest or full */
	ROUTE_READ,   /* scope read or full */
	ROUTE_FULL,   /* scope full: sessions and full keys */
	ROUTE_SESSION /* a session only (accounts, keys) */
};

/* Where its handler runs. */
enum route_run {
	RUN_LOOP,     /* on the loop thread: must not block; may park */
	RUN_EXECUTOR, /* on an executor thread with a worker of its own (a database connection) */
	/* As RUN_EXECUTOR; what several ask of the same user with the same target is answered once for all who came before that answer
	 * was begun (docs/adr/0010). The handler may look at nothing of the request but principal.user_id, path, query and received_us, which is
	 * that of the latest of them, and answers by value: neither parked nor streamed. */
	RUN_SHARED,
	RUN_PASSWORD, /* on a password thread (argon2), with a worker too */
	RUN_STREAM    /* on a stream thread, with a worker too: may answer reply_stream(); as many at once as there are threads */
};

/* What body it takes. */
enum route_body {
	BODY_NONE,     /* none: a body is refused with 400 */
	BODY_JSON,     /* application/json, at most 64 KiB (auth routes: 4 KiB) */
	BODY_JSON_SMALL,
	BODY_EVENTS    /* application/json or application/x-ndjson, gzip allowed, at most 8 MiB */
};

struct http_request;
struct reply;
/* Answers by value: forgetting to answer does not compile. */
typedef struct reply http_handler(struct http_request *rq);

struct route {
	const char *id;     /* stable name for logs and metrics ("events_track") */
	enum http_method method;
	const char *path;   /* "/api/budgets/{id}": a segment in braces is an argument */
	enum route_auth auth;
	enum route_run run;
	enum route_body body;
	http_handler *handler;
};

#define HTTP_PATH_ARGS_MAX 2
#define HTTP_QUERY_MAX     32

struct http_query {
	const char *name, *value; /* percent-decoded, valid UTF-8, in the arena */
};

struct http_request {
	const struct route *route;
	enum http_method method;
	bool head;                                   /* HEAD: as GET, body withheld */
	struct arena arena;                          /* lives as long as the request; cap 1 MiB (batch: 96 MiB) */
	const char *request_id;
	const char *path_args[HTTP_PATH_ARGS_MAX];   /* decoded segments, in the order of the path */
	struct http_query query[HTTP_QUERY_MAX];
	size_t n_query;
	const char *headers[HTTP_HEADERS];           /* NULL: not sent */
	const char *body;                            /* decoded (gzip), NUL-terminated; "" if none */
	size_t body_len;
	struct principal principal;                  /* valid unless the route is public */
	void *app;                                   /* hooks->app */
	void *worker;                                /* of the executor or password thread; NULL on the loop */
	int64_t received_us;                         /* wall clock, UTC */
	int64_t deadline_mono_us;                    /* the whole request must be answered by then */
	int64_t waited_us;                           /* in all, for a thread to run on */
	const char *client;                          /* address text for logs */
	/* Whom limits by address count: an IPv4 address (mapped into IPv6), or the /64 of an IPv6 one, which a client gets as a whole. */
	uint8_t client_address[16];
};

/* The query parameter's value; NULL if not given. Repeats are refused before the handler. */
const char *http_query_get(const struct http_request *rq, const char *name);

/* The way of a streamed answer from its producer to the client: a buffer of 128 KiB. */
struct stream;

/* What makes a streamed answer. Both functions run on the thread of the handler, so that its worker may be used; the request
 * itself is gone by then, so the state holds copies. */
struct stream_source {
	/* Writes everything with stream_write(). ERR_OK: that is all. Anything else cuts the connection, so that the client sees
	 * that the answer is incomplete. */
	enum err (*produce)(void *state, struct stream *out);
	void (*release)(void *state); /* called exactly once, also when produce never was */
	void *state;
};

#define REPLY_HEADERS_MAX 6
struct reply_header {
	const char *name; /* static */
	char value[160];
};
struct reply {
	int status;
	enum err code;            /* for logs and metrics; ERR_OK for successes */
	bool parked;              /* the answer comes by http_complete() */
	const char *content_type; /* static; NULL: no body */
	struct buf body;          /* owned by the reply, then by the http layer */
	const char *fixed;        /* instead of body: what lives as long as the program; NULL: none */
	size_t fixed_len;
	struct reply_header headers[REPLY_HEADERS_MAX];
	size_t n_headers;
	bool streamed;            /* source or stream, instead of body */
	struct stream_source source; /* owned until the http layer has made the stream */
	struct stream *stream;    /* the http layer's own */
	struct shared_body *shared; /* the http layer's own, instead of body: bytes of several answers */
};

/* application/json; takes over the memory of *body (which is empty afterwards). A failed buf becomes a 503 out_of_memory. */
struct reply reply_json(int status, struct buf *body);
struct reply reply_text(int status, const char *content_type, struct buf *body);
/* Of bytes that live as long as the program: they are sent from where they are. */
struct reply reply_fixed(int status, const char *content_type, const char *data, size_t n);
struct reply reply_empty(int status);
/* Problem details (RFC 9457) from the catalogue code; detail is one sentence a person can act on (NULL: the title). 401 gets WWW-Authenticate, 503
 * and 429 get Retry-After: 1 unless set with reply_set_header(). */
struct reply reply_error(const struct http_request *rq, enum err e, const char *detail);
struct reply reply_problem(const struct http_request *rq, const struct problem *p);
/* An answer of any length, made while it is sent: the handler (RUN_STREAM) returns it, then source.produce runs. In HEAD requests it does not.
 * HTTP/1.1 clients get it chunked. A client that takes less than 64 KiB in http_settings.stream_stall_us is cut. */
struct reply reply_stream(int status, const char *content_type, struct stream_source source);
/* Hands bytes on, waits while the buffer is full. False: nobody reads any more, stop. Only from source.produce; pieces of some 64 KiB are best. */
bool stream_write(struct stream *s, const void *data, size_t n);
/* The handler gave the request to someone who will call http_complete() exactly once. */
struct reply reply_parked(void);
/* Sets (or replaces) a header; name static, no CR/LF in the value; values are cut at 159 bytes. */
void reply_set_header(struct reply *r, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void reply_release(struct reply *r);

/* Answers a parked request, from any thread; the request belongs to the loop from here on. */
void http_complete(struct http_request *rq, struct reply r);

#endif
