#ifndef LLMLAB_SRC_HTTP_INTERNAL_H
#define LLMLAB_SRC_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include "llmlab/base/metrics.h"
#include "llmlab/http/server.h"
#include "trace.h"

/* What the files of the http layer share. Outside of src/http nobody sees libmicrohttpd. */

/* Bounds the request line and headers (414, 431). The library clears it for each request, so it is not larger
 * than needed: an access token takes 2 KiB at most. */
/* Each round accepts some ten connections; a flood must not keep the end away. */
#define BACKLOG_ROUNDS	  10000
#define HEADER_POOL_BYTES ((size_t)12 * 1024)

struct loop;
struct conn;
struct executor;
struct executor_thread;
struct rate_limiter;
struct stream;

/* A rate limit and where a subject stands with it; rate_limit.c. */
enum rate_class {
	RATE_AUTH = 1, /* 0 marks an unused entry */
	RATE_READ,
	RATE_WRITE,
	RATE_EXPORT,
	RATE_INGEST,
	RATE_UNAUTHENTICATED,
	RATE_HEALTH
};
struct rate_limit {
	enum rate_class class_;
	int64_t quota; /* requests in a window; also the burst */
	int64_t window_us;
};
struct rate_state {
	int64_t remaining;
	int64_t reset_s;       /* until the whole quota is there again */
	int64_t retry_after_s; /* 0 when allowed */
};

/* Who owns a request. Each change goes through call_move(), which checks it. */
enum call_state {
	CALL_READING, /* loop: headers and body are coming */
	CALL_RUNNING, /* an executor or password thread */
	CALL_PARKED,  /* whoever the handler gave it to */
	CALL_READY,   /* loop: the reply is there, to be queued */
	CALL_DONE     /* loop: the reply is queued with libmicrohttpd */
};

/* A request with what only this layer needs. rq comes first: a handler's pointer is the call's. */
struct call {
	struct http_request rq;
	struct loop *loop;
	struct conn *conn;
	struct MHD_Connection *mhd;
	_Atomic enum call_state state;
	struct call *next; /* mailbox or executor queue link, or of those that follow one */
	/* RUN_SHARED: those that ask the same and get the answer of this one, latest first; owned with it */
	struct call *followers;
	bool alone;	   /* RUN_SHARED: it is answered by itself */
	char *uri;	   /* as sent, in the arena; NULL: out of memory */
	bool uri_cut;	   /* a NUL byte in the request line */
	bool begun;	   /* the headers stage has run */
	bool discard;	   /* the reply is decided; what is left of the body is read and forgotten */
	bool close;	   /* the connection ends with this reply */
	bool auth_pending; /* the token must be asked of the database */
	bool after_auth;   /* back on the loop from asking, the handler is still to run */
	const char *token; /* bearer token; into headers[] */
	size_t discarded_bytes;
	size_t charged_bytes; /* of the server's body_bytes */
	size_t max_body_bytes;
	struct buf body;
	struct reply reply;    /* valid in CALL_READY, and in CALL_READING if discard */
	struct stream *stream; /* in CALL_DONE, while a streamed answer is being sent; not owned */
	int64_t begin_mono_us;
	const char *rate_name; /* NULL: no limit applies */
	struct rate_limit rate;
	struct rate_state rate_state;
	int64_t queued_mono_us; /* when it entered the executor's queue */
	size_t sent_bytes;
	int sent_status;
	enum err sent_code;
	char request_id[65];
	char client[64]; /* address text: of the connection, or as a trusted proxy says */
	struct trace trace;
};

/* A client connection; only its loop's thread touches it. */
struct conn {
	struct conn *prev, *next; /* list of the loop */
	struct loop *loop;
	int fd;
	struct call *call;	  /* the request in progress, NULL between requests */
	int64_t deadline_mono_us; /* cut then, unless the request is out of our hands */
	bool cut;
	unsigned n_requests;
	uint8_t peer[16]; /* IPv6 address, IPv4 mapped into it; zero if unknown */
	unsigned stuck;	  /* looks in a row that found bytes waiting and none taken; loop.c */
	size_t taken;	  /* body bytes that were taken when it was last looked at */
};

struct http_server {
	struct http_settings settings;
	struct http_hooks hooks;
	char *cors_origins; /* owned copy */
	struct loop *loops;
	unsigned n_loops;
	struct executor *executor, *password, *stream;
	struct rate_limiter *limiter;
	struct proxies *proxies;
	uint16_t port;
	atomic_bool draining;
	atomic_bool proxy_told;	   /* that somebody names clients and is not believed */
	_Atomic size_t body_bytes; /* of all request bodies that are in memory */
};

/* ---- loop.c ---- */
struct loop {
	struct http_server *server;
	struct MHD_Daemon *daemon;
	pthread_t thread;
	bool started;
	int listen_fd;
	int epoll_fd; /* libmicrohttpd's */
	int wake_fd;  /* eventfd: the mailbox has something, or draining has begun */
	pthread_mutex_t mailbox_lock;
	struct call *mailbox;	/* finished requests, newest first */
	struct stream *streams; /* those that have something for a waiting connection */
	struct conn *conns;
	unsigned n_conns;
	int64_t next_scan_us;
	bool quiesced;
	int64_t quiesced_us;
	_Atomic int64_t stop_deadline_us; /* 0: not stopping */
	bool clean;			  /* ended with nothing cut */
	atomic_bool ended;		  /* nobody takes from the mailbox any more */
};
/* Takes over listen_fd, also when it fails. */
enum err loop_start(struct loop *l, struct http_server *s, int listen_fd, unsigned max_connections);
/* Puts a finished request into its loop's mailbox; any thread. */
void loop_post(struct call *c);
/* The same for a stream whose connection waits for it; the caller's reference goes with it. */
void loop_post_stream(struct loop *l, struct stream *s);
/* Begins the end; loop_join() waits for it. */
void loop_stop(struct loop *l, int64_t deadline_mono_us);
/* True when the loop has ended by itself: every connection is answered and closed. */
bool loop_ended(const struct loop *l);
bool loop_join(struct loop *l);

/* ---- call.c: the life of a request ---- */
struct call *call_new(struct loop *l, struct conn *conn, struct MHD_Connection *mhd, const char *uri);
void call_free(struct call *c);
void call_move(struct call *c, enum call_state from, enum call_state to);
/* The access handler: called by libmicrohttpd at the end of the headers, for body bytes, at the end of the
 * body, and after each resume. */
enum MHD_Result call_step(
	struct call *c, const char *method, const char *version, const char *data, size_t *n);
/* Logs and counts a request that is over. */
void call_finished(struct call *c);
/* Gives a running request to its executor, or refuses it at once when the queue is full; any thread. */
void call_submit(struct call *c);
/* Runs the handler (or the authentication) on a thread of an executor, which is told when it is free again.
 */
void call_run(struct call *c, struct executor_thread *t, void *worker);

/* ---- headers.c: everything before the body ---- */
/* Checks framing, method, path, media type, sizes and token, and fills rq. False: c->reply is the refusal;
 * *ret_early: it must be sent without reading the body, and the connection closed. */
bool headers_accept(struct call *c, const char *method, const char *version, bool *ret_early);
/* Goes on or refuses with what a token check said: true, or false with c->reply set. */
bool headers_authorized(struct call *c, enum err verdict);
/* Counts the request on its limit. False: over it, with c->reply set. */
bool headers_count(struct call *c);
/* Counts a request without a good token on its address. False: over the limit, with c->reply set. */
bool headers_count_unauthenticated(struct call *c);
/* True if the request announces a body. */
bool headers_announce_body(const struct call *c);

/* ---- router.c ---- */
struct route_match {
	const struct route *route; /* NULL: no route for this method */
	unsigned methods;	   /* bits of the methods that the path has; 0: no such path */
	const char *args[HTTP_PATH_ARGS_MAX];
};
/* Splits and decodes the path of a raw URI and matches it. False: the URI is malformed. */
bool router_match(const struct http_hooks *h, const char *uri, enum http_method method, struct arena *arena,
	struct route_match *ret);
/* "GET, HEAD, POST, OPTIONS" for the bits. */
void router_allow(unsigned methods, char *out, size_t size);
/* Decodes the query part. False with *p set: malformed or a repeated name. */
bool router_query(struct http_request *rq, const char *uri, struct problem *p);

/* ---- executor.c ---- */
/* Where an executor's state is shown; METRIC_COUNT: nowhere. */
struct executor_gauges {
	enum metric queued, busy, threads;
};
struct executor_settings {
	const char *name;
	unsigned threads;
	unsigned queue;	  /* how many may wait beside those that run */
	bool considerate; /* while requests wait, the threads leave most of the processors to others */
	int64_t hold_us;  /* http_settings.shared_hold_us */
	struct executor_gauges gauges;
};
enum err executor_start(
	const struct executor_settings *settings, const struct http_hooks *h, struct executor **ret);
/* The thread is done with its request: said before the client can know, so that its next request finds room,
 * and that whoever asks the same from now on waits for nobody. */
void executor_free_thread(struct executor_thread *t);
/* Queues the request, or lets it follow one in the queue that asks the same. ERR_OVERLOADED: there is no
 * room.
 */
enum err executor_submit(struct executor *e, struct call *c);
void executor_stop(struct executor *e);
/* How long a considerate thread rests after it has worked so long, while requests wait: all of them together
 * then take no more than a quarter of the processors. At most half a second. */
int64_t executor_rest_us(int64_t worked_us, unsigned threads, unsigned processors);

/* ---- shared.c ---- */
/* Whether the request may be answered together with others. */
bool shared_allows(const struct call *c);
/* Whether two requests that may be are the same question. */
bool shared_same(const struct call *a, const struct call *b);
/* The follower gets the answer of the leader, which nobody has begun. */
void shared_follow(struct call *leader, struct call *follower);
/* Answers those that followed a request with its answer, which stays the caller's. */
void shared_answer(struct call *followers, struct reply *r);

/* ---- stream.c ---- */
/* Takes the source over, in either case. NULL without memory. */
struct stream *stream_new(struct loop *l, const struct stream_source *source);
/* Runs the source on this thread of an executor, and gives the producer's reference back. */
void stream_run(struct stream *s, struct executor_thread *t);
/* The other functions are for the loop's thread. */
/* The reader's side of an answer that is never queued. */
void stream_abandon(struct stream *s);
/* The answer for libmicrohttpd, which takes over the reader's reference; NULL, with nothing taken, without
 * memory. A NULL stream gives an answer that is never read (HEAD). */
struct MHD_Response *stream_response(struct call *c, struct stream *s);
/* From the mailbox: resumes the connection, gives the mailbox's reference back. */
void stream_resume(struct stream *s);
/* Forgets the mailbox's reference only. */
void stream_forget(struct stream *s);
/* Links of the mailbox. */
struct stream **stream_next(struct stream *s);
/* Whether the connection is suspended until the producer has something: not the client's fault. */
bool stream_waiting(struct stream *s);
/* Cuts a waiting one: resumes its connection, which ends in the next round. Returns true. */
bool stream_cut(struct stream *s);
/* The request ends: the stream must not look at it any more. */
void stream_detach(struct stream *s);
/* Ends a connection so that its client can't take what it got for the whole, whatever protocol version. */
void stream_reset(int fd);

/* ---- reply.c ---- */
/* 413 with the route's limit. */
struct reply reply_too_large(const struct call *c);
enum MHD_Result reply_queue(struct call *c);
/* The same answer once more, with the bytes of the body in common. ERR_NO_MEMORY. */
enum err reply_share(struct reply *r, struct reply *ret);
/* True if a CORS origin is configured and equals this one. */
bool cors_allowed(const struct http_server *s, const char *origin);

/* ---- metrics.c ---- */
enum err http_metrics_init(const struct http_hooks *h);
void http_metrics_count(const struct route *r, int status, int64_t duration_us);

/* ---- client_address.c ---- */
/* Addresses are IPv6; IPv4 ones are mapped into it (::ffff:a.b.c.d). */
struct sockaddr;
/* Zero if there is none. */
void address_of(const struct sockaddr *from, uint8_t ret[16]);
/* For logs; "unknown" for zero. */
void address_text(const uint8_t address[16], char *out, size_t size);
/* What limits count on: an IPv4 address, the /64 of an IPv6 one. */
void address_subject(const uint8_t address[16], uint8_t ret[16]);
struct proxies;
/* From a list of addresses and networks ("10.0.0.0/8, ::1"), NULL or "" for none. ERR_SYNTAX with what is
 * wrong in message; ERR_NO_MEMORY. */
enum err proxies_new(const char *list, struct proxies **ret, char *message, size_t message_size);
void proxies_free(struct proxies *p);
bool proxies_trust(const struct proxies *p, const uint8_t address[16]);
/* The client's address as the values of X-Forwarded-For or (forwarded) Forwarded say, all lines joined by
 * commas: the last one that is no trusted proxy's. False, ret untouched: the header is malformed up to there,
 * or NULL. */
bool proxies_client(const struct proxies *p, const char *header, bool forwarded, uint8_t ret[16]);

/* ---- rate_limit.c ---- */
/* NULL without memory. */
struct rate_limiter *rate_limiter_new(void);
void rate_limiter_free(struct rate_limiter *r);
/* Takes one request of the subject (user id or address). False: over the limit. Thread-safe. */
bool rate_limiter_take(struct rate_limiter *r, const struct rate_limit *limit, const uint8_t subject[16],
	int64_t mono_now_us, struct rate_state *ret);
/* The same without taking: whether it would be allowed. */
bool rate_limiter_look(struct rate_limiter *r, const struct rate_limit *limit, const uint8_t subject[16],
	int64_t mono_now_us, struct rate_state *ret);

/* ---- inflate.c ---- */
/* gzip body to plain bytes, at most max. ERR_BAD_REQUEST (not gzip), ERR_TOO_LARGE, ERR_NO_MEMORY. */
enum err body_gunzip(const char *data, size_t n, size_t max, struct buf *out);

#endif
