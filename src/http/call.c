/* The life of a request, from the first header to the reply: who owns it, what runs next, what ends it. The
 * headers stage is headers.c, the threads are loop.c and executor.c. */

#include "internal.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"

#define REQUEST_ARENA_BYTES ((size_t)1024 * 1024)
#define BATCH_ARENA_BYTES   ((size_t)96 * 1024 * 1024)
/* How much of a chunked body that passed its limit is still read so that the client can see the 413. */
#define OVERRUN_BYTES		((size_t)1024 * 1024)
#define REQUESTS_PER_CONNECTION 10000U
/* Exports take seconds to minutes. */
#define STREAM_RETRY_S 5

struct call *call_new(struct loop *l, struct conn *conn, struct MHD_Connection *mhd, const char *uri)
{
	struct call *c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->loop = l;
	c->conn = conn;
	c->mhd = mhd;
	c->state = CALL_READING;
	c->begin_mono_us = clock_mono_us();
	arena_init(&c->rq.arena, REQUEST_ARENA_BYTES);
	c->uri = arena_strdup(&c->rq.arena, uri);
	c->rq.app = l->server->hooks.app;
	c->rq.received_us = clock_now_us();
	c->rq.deadline_mono_us = c->begin_mono_us + l->server->settings.request_us;
	address_text(conn->peer, c->client, sizeof c->client);
	address_subject(conn->peer, c->rq.client_address);
	c->rq.client = c->client;
	c->rq.body = "";
	buf_init(&c->body, 0);
	return c;
}

/* Counts bytes of a body against what all bodies together may take. False: no room. */
static bool charge_body(struct call *c, size_t bytes)
{
	struct http_server *s = c->loop->server;
	const size_t before = atomic_fetch_add(&s->body_bytes, bytes);
	if (before + bytes > s->settings.max_body_memory_bytes) {
		atomic_fetch_sub(&s->body_bytes, bytes);
		return false;
	}
	c->charged_bytes += bytes;
	metric_add(METRIC_BODY_BYTES, (int64_t)bytes);
	return true;
}

static void refund_body(struct call *c)
{
	atomic_fetch_sub(&c->loop->server->body_bytes, c->charged_bytes);
	metric_add(METRIC_BODY_BYTES, -(int64_t)c->charged_bytes);
	c->charged_bytes = 0;
}

void call_free(struct call *c)
{
	CHECK(c->followers == NULL);
	if (c->stream != NULL)
		stream_detach(c->stream);
	reply_release(&c->reply);
	buf_release(&c->body);
	refund_body(c);
	arena_release(&c->rq.arena);
	free(c);
}

void call_move(struct call *c, enum call_state from, enum call_state to)
{
	const enum call_state was = atomic_exchange(&c->state, to);
	CHECK(was == from);
}

void http_complete(struct http_request *rq, struct reply r)
{
	struct call *c = (struct call *)rq;
	CHECK(!r.parked);
	c->reply = r;
	call_move(c, CALL_PARKED, CALL_READY);
	loop_post(c);
}

static enum MHD_Result send_reply(struct call *c, enum call_state from)
{
	call_move(c, from, CALL_DONE);
	const struct http_server *s = c->loop->server;
	c->conn->deadline_mono_us = clock_mono_us() + s->settings.request_us;
	if (c->conn->n_requests >= REQUESTS_PER_CONNECTION || s->draining)
		c->close = true;
	return reply_queue(c);
}

static enum MHD_Result step_headers(struct call *c, const char *method, const char *version)
{
	c->begun = true;
	c->conn->deadline_mono_us = clock_mono_us() + c->loop->server->settings.body_us;
	bool early;
	if (headers_accept(c, method, version, &early)) {
		c->body.max = c->max_body_bytes;
		if (c->rq.route->body == BODY_EVENTS)
			c->rq.arena.cap_bytes = BATCH_ARENA_BYTES;
		return MHD_YES;
	}
	if (early)
		return send_reply(c, CALL_READING);
	c->discard = true;
	return MHD_YES;
}

static enum MHD_Result step_body(struct call *c, const char *data, size_t *n)
{
	const size_t bytes = *n;
	*n = 0; /* always consume everything: 0.9.75 hangs otherwise */
	if (c->discard) {
		c->discarded_bytes += bytes;
		return c->discarded_bytes <= OVERRUN_BYTES ? MHD_YES : MHD_NO;
	}
	if (c->body.len + bytes > c->max_body_bytes) {
		c->reply = reply_too_large(c);
	} else if (!charge_body(c, bytes)) {
		c->reply = reply_error(
			&c->rq, ERR_OVERLOADED, "Too many large bodies are on their way, try again shortly");
	} else {
		buf_append(&c->body, data, bytes);
		if (!c->body.failed)
			return MHD_YES;
		c->reply = reply_error(&c->rq, ERR_NO_MEMORY, NULL);
	}
	c->discard = true;
	c->close = true;
	buf_release(&c->body);
	return MHD_YES;
}

void call_submit(struct call *c)
{
	struct http_server *s = c->loop->server;
	const enum route_run run = c->rq.route->run;
	struct executor *e = run == RUN_PASSWORD ? s->password : run == RUN_STREAM ? s->stream : s->executor;
	const enum err err = executor_submit(e, c);
	if (err == ERR_OK)
		return;
	metric_add(METRIC_REQUESTS_REFUSED_QUEUE, 1);
	c->reply = reply_error(&c->rq, err,
		run == RUN_STREAM ? "As many exports as are allowed at once are running, try again later"
				  : "Too many requests are waiting, try again shortly");
	if (run == RUN_STREAM)
		reply_set_header(&c->reply, "Retry-After", "%d", STREAM_RETRY_S);
	call_move(c, CALL_RUNNING, CALL_READY);
	loop_post(c);
}

static enum MHD_Result hand_over(struct call *c)
{
	MHD_suspend_connection(c->mhd);
	call_move(c, CALL_READING, CALL_RUNNING);
	call_submit(c);
	return MHD_YES;
}

static enum MHD_Result run_on_loop(struct call *c)
{
	/* Before the handler runs: another thread may complete the request before it returns. */
	MHD_suspend_connection(c->mhd);
	call_move(c, CALL_READING, CALL_PARKED);
	struct reply r = c->rq.route->handler(&c->rq);
	if (!r.parked)
		http_complete(&c->rq, r);
	return MHD_YES;
}

/* A handler on the loop that answers at once needs no suspend: only those that may park do. */
static enum MHD_Result dispatch(struct call *c)
{
	if (c->rq.route->run != RUN_LOOP || c->auth_pending)
		return hand_over(c);
	if (c->rq.route->body != BODY_NONE)
		return run_on_loop(c);
	struct reply r = c->rq.route->handler(&c->rq);
	CHECK(!r.parked);
	c->reply = r;
	return send_reply(c, CALL_READING);
}

static enum MHD_Result step_end(struct call *c)
{
	if (c->discard)
		return send_reply(c, CALL_READING);
	c->rq.body = buf_str(&c->body);
	c->rq.body_len = c->body.len;
	return dispatch(c);
}

enum MHD_Result call_step(
	struct call *c, const char *method, const char *version, const char *data, size_t *n)
{
	const enum call_state state = c->state;
	if (state == CALL_READY) {
		if (c->after_auth) {
			c->after_auth = false;
			call_move(c, CALL_READY, CALL_READING);
			return dispatch(c);
		}
		return send_reply(c, CALL_READY);
	}
	CHECK(state == CALL_READING || state == CALL_DONE);
	if (state == CALL_DONE) {
		*n = 0;
		return MHD_YES;
	}
	if (!c->begun)
		return step_headers(c, method, version);
	if (*n > 0)
		return step_body(c, data, n);
	return step_end(c);
}

/* Replaces a gzip body by its content. False: c->reply is the refusal. */
static bool decode_body(struct call *c)
{
	const char *encoding = c->rq.headers[HTTP_HEADER_CONTENT_ENCODING];
	if (encoding == NULL || strcasecmp(encoding, "gzip") != 0 || c->rq.body_len == 0)
		return true;
	struct buf plain;
	buf_init(&plain, c->max_body_bytes);
	const enum err e = body_gunzip(c->body.data, c->body.len, c->max_body_bytes, &plain);
	if (e != ERR_OK) {
		buf_release(&plain);
		c->reply = reply_error(&c->rq, e,
			e == ERR_BAD_REQUEST ? "The body is not valid gzip"
			: e == ERR_TOO_LARGE ? "The decompressed body is too large"
					     : NULL);
		return false;
	}
	buf_release(&c->body);
	c->body = plain;
	c->rq.body = buf_str(&c->body);
	c->rq.body_len = c->body.len;
	return true;
}

static bool authenticate_now(struct call *c, void *worker)
{
	const struct http_hooks *h = &c->loop->server->hooks;
	c->auth_pending = false;
	const enum err verdict =
		h->authenticate_blocking(h->app, worker, c->token, strlen(c->token), &c->rq.principal);
	if (verdict == ERR_INVALID_TOKEN && !headers_count_unauthenticated(c))
		return false;
	return headers_authorized(c, verdict) && headers_count(c);
}

static void give_back(struct call *c, struct executor_thread *t)
{
	CHECK(c->followers == NULL);
	executor_free_thread(t);
	call_move(c, CALL_RUNNING, CALL_READY);
	loop_post(c);
}

/* The answer begins to go out while the rest of it is made here. */
static void run_stream(struct call *c, struct executor_thread *t, struct reply r)
{
	r.stream = stream_new(c->loop, &r.source);
	r.source = (struct stream_source){0};
	if (r.stream == NULL) {
		reply_release(&r);
		executor_free_thread(t);
		http_complete(&c->rq, reply_error(&c->rq, ERR_NO_MEMORY, NULL));
		return;
	}
	struct stream *const stream = r.stream;
	http_complete(&c->rq, r);
	stream_run(stream, t);
}

static void run_handler(struct call *c, struct executor_thread *t)
{
	const enum route_run run = c->rq.route->run;
	struct call *const followers = c->followers;
	c->followers = NULL;
	struct reply r = c->rq.route->handler(&c->rq);
	CHECK(!r.streamed || run == RUN_STREAM);
	CHECK(!r.parked || run != RUN_SHARED);
	if (r.streamed && !c->rq.head) {
		run_stream(c, t, r);
		return;
	}
	if (r.streamed) {
		r.source.release(r.source.state);
		r.source = (struct stream_source){0};
	}
	executor_free_thread(t);
	if (r.parked)
		return;
	shared_answer(followers, &r);
	http_complete(&c->rq, r);
}

void call_run(struct call *c, struct executor_thread *t, void *worker)
{
	const bool pending = c->auth_pending;
	if (pending && !authenticate_now(c, worker)) {
		give_back(c, t);
		return;
	}
	if (c->rq.route->run == RUN_LOOP) {
		c->after_auth = true;
		give_back(c, t);
		return;
	}
	if (!decode_body(c)) {
		give_back(c, t);
		return;
	}
	c->rq.worker = worker;
	/* parked from here on: the handler may give it away and be overtaken by http_complete() */
	call_move(c, CALL_RUNNING, CALL_PARKED);
	run_handler(c, t);
}

void call_finished(struct call *c)
{
	if (c->state != CALL_DONE)
		return; /* the client went away before there was an answer */
	const int64_t took_us = clock_mono_us() - c->begin_mono_us;
	http_metrics_count(c->rq.route, c->sent_status, took_us);
	if (!c->loop->server->settings.access_log || !log_enabled(LOG_LEVEL_INFO))
		return;
	char user[UUID_TEXT_SIZE] = "";
	if (!uuid_is_zero(&c->rq.principal.user_id))
		uuid_format(&c->rq.principal.user_id, user);
	const struct log_field fields[] = {LOG_S("request_id", c->request_id),
		LOG_S("trace_id", c->trace.trace_id), LOG_S("span_id", c->trace.span_id),
		LOG_S("route", c->rq.route != NULL ? c->rq.route->id : "-"), LOG_S("client", c->client),
		LOG_I("status", c->sent_status), LOG_S("code", err_code(c->sent_code)),
		LOG_I("duration_us", took_us), LOG_I("bytes_in", c->body.len),
		LOG_I("bytes_out", c->sent_bytes), LOG_S("user_id", user), {.type = LOG_END}};
	log_write(LOG_LEVEL_INFO, "request", fields);
}
