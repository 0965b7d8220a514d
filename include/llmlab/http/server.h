#ifndef LLMLAB_HTTP_SERVER_H
#define LLMLAB_HTTP_SERVER_H

#include "llmlab/http/request.h"

/* The HTTP server: its own event loops over libmicrohttpd in external polling (see src/http/loop.c for why), the framing
 * gate, routing, authentication, executors, deadlines, and a graceful end. */

struct http_settings {
	const char *host; /* numeric address or name to listen on */
	uint16_t port;    /* 0: any free port */
	bool inherited;   /* listen_fd is a listening socket that outlives the server (not closed by it); host and port are not used */
	int listen_fd;
	unsigned loops;
	unsigned max_connections;        /* in all */
	unsigned executor_threads, executor_queue;
	int64_t shared_hold_us; /* RUN_SHARED: no longer than this a request leaves threads free because the same is being answered */
	unsigned password_threads, password_queue;
	unsigned stream_threads; /* streamed answers at once; beyond: 503 */
	int64_t stream_stall_us; /* a client must take 64 KiB of a streamed answer in this time */
	int64_t header_us, body_us, request_us, idle_us; /* deadlines */
	size_t max_body_bytes, max_batch_bytes;
	size_t max_body_memory_bytes; /* of all request bodies together; beyond: 503 */
	const char *cors_origins; /* comma separated exact origins; "" for none */
	bool access_log;
	/* Addresses and networks, comma separated, whose word about the client's address is taken; "" or NULL: nobody's. */
	const char *trust_proxy;
	bool forwarded; /* it is in the header Forwarded (RFC 7239), else in X-Forwarded-For */
	/* Rate limits, 0: none. What asks for a password and what comes without a good token by address (IPv6: by /64), the others
	 * by user. */
	unsigned rate_auth_per_minute, rate_read_per_minute, rate_write_per_minute, rate_export_per_minute,
		rate_ingest_per_second, rate_unauthenticated_per_second;
};

/* What the application brings. Pointers outlive the server. */
struct http_hooks {
	void *app;
	const struct route *routes;
	size_t n_routes;
	/* Who has this token? On the loop thread: must not block. ERR_OK with *ret; ERR_INVALID_TOKEN; ERR_UNAVAILABLE: not known here, ask
	 * authenticate_blocking. */
	enum err (*authenticate)(void *app, const char *token, size_t n, struct principal *ret);
	/* The same on an executor thread. ERR_OK, ERR_INVALID_TOKEN, ERR_DATABASE_UNAVAILABLE. */
	enum err (*authenticate_blocking)(void *app, void *worker, const char *token, size_t n, struct principal *ret);
	/* What each executor or password thread owns. NULL from worker_new: out of memory, and no start. */
	void *(*worker_new)(void *app);
	void (*worker_free)(void *worker);
	/* On the worker's thread, before each request: so long it has waited for a thread. NULL: nobody wants to know. */
	void (*worker_waited)(void *worker, int64_t waited_us);
};

struct http_server;
/* Binds, starts all threads. On failure message says why (address in use ...). */
enum err http_start(const struct http_settings *s, const struct http_hooks *h, struct http_server **ret, char *message,
	size_t message_size);
uint16_t http_port(const struct http_server *s);
/* Graceful end, first part: stops accepting, answers what runs or is parked, closes idle connections. Returns when all is
 * done (true) or at the deadline (monotonic); from then on connections are cut, and only requests that others own are still waited
 * for. The caller then ends those owners (the ingest queue), so that each of them is answered. */
bool http_drain(struct http_server *s, int64_t deadline_mono_us);
/* Second part: waits until every request has come back, stops all threads, frees. False when something had to be cut. */
bool http_stop(struct http_server *s);
/* Appends the labelled request metrics (counts by route and status, latency histogram by route) in Prometheus text. */
void http_metrics_write(struct buf *out);

#endif
