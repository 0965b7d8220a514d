/* Replies: building them (by handlers) and handing them to libmicrohttpd with the headers that every answer
 * carries. */

#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/json_write.h"
#include "llmlab/base/log.h"

#define PROBLEM_MAX_BYTES ((size_t)32 * 1024)

struct reply reply_text(int status, const char *content_type, struct buf *body)
{
	if (body->failed) {
		buf_release(body);
		return reply_error(
			NULL, ERR_NO_MEMORY, "The answer does not fit into memory, ask for less at once");
	}
	struct reply r = {.status = status, .content_type = content_type, .body = *body};
	buf_init(body, body->max);
	return r;
}

struct reply reply_json(int status, struct buf *body)
{
	return reply_text(status, "application/json", body);
}

struct reply reply_fixed(int status, const char *content_type, const char *data, size_t n)
{
	return (struct reply){.status = status, .content_type = content_type, .fixed = data, .fixed_len = n};
}

struct reply reply_empty(int status)
{
	return (struct reply){.status = status};
}

struct reply reply_parked(void)
{
	return (struct reply){.parked = true};
}

struct reply reply_stream(int status, const char *content_type, struct stream_source source)
{
	return (struct reply){
		.status = status, .content_type = content_type, .streamed = true, .source = source};
}

/* Bytes that are the body of several answers, each of which has a reference. */
struct shared_body {
	_Atomic unsigned refs;
	size_t n;
	char *data; /* owned */
};

static void shared_body_unref(void *cls)
{
	struct shared_body *s = cls;
	if (atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	free(s->data);
	free(s);
}

enum err reply_share(struct reply *r, struct reply *ret)
{
	CHECK(!r->parked && !r->streamed);
	if (r->shared == NULL && r->body.data != NULL) {
		struct shared_body *const s = malloc(sizeof *s);
		if (s == NULL)
			return ERR_NO_MEMORY;
		*s = (struct shared_body){.refs = 1};
		s->data = buf_detach(&r->body, &s->n);
		r->shared = s;
	}
	if (r->shared != NULL)
		atomic_fetch_add(&r->shared->refs, 1);
	*ret = *r;
	return ERR_OK;
}

void reply_release(struct reply *r)
{
	buf_release(&r->body);
	if (r->shared != NULL)
		shared_body_unref(r->shared);
	r->shared = NULL;
	if (r->stream != NULL)
		stream_abandon(r->stream);
	else if (r->source.release != NULL)
		r->source.release(r->source.state);
	r->stream = NULL;
	r->source = (struct stream_source){0};
}

void reply_set_header(struct reply *r, const char *name, const char *fmt, ...)
{
	struct reply_header *h = NULL;
	for (size_t i = 0; i < r->n_headers && h == NULL; i++)
		if (strcasecmp(r->headers[i].name, name) == 0)
			h = &r->headers[i];
	if (h == NULL) {
		CHECK(r->n_headers < REPLY_HEADERS_MAX);
		h = &r->headers[r->n_headers++];
	}
	h->name = name;
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(h->value, sizeof h->value, fmt, args);
	va_end(args);
}

static void write_problem(struct buf *out, const struct http_request *rq, enum err e, const char *detail,
	const struct problem_field *fields, size_t n_fields)
{
	struct json_writer w;
	jw_init(&w, out);
	jw_object_begin(&w, NULL);
	jw_string(&w, "type", "about:blank");
	jw_string(&w, "title", err_title(e));
	jw_i64(&w, "status", err_status(e));
	jw_string(&w, "detail", detail);
	jw_string(&w, "code", err_code(e));
	jw_string(&w, "request_id", rq != NULL ? rq->request_id : NULL);
	if (n_fields > 0) {
		jw_array_begin(&w, "errors");
		for (size_t i = 0; i < n_fields; i++) {
			jw_object_begin(&w, NULL);
			jw_string(&w, "field", fields[i].field);
			jw_string(&w, "message", fields[i].message);
			jw_object_end(&w);
		}
		jw_array_end(&w);
	}
	jw_object_end(&w);
}

static struct reply problem_reply(const struct http_request *rq, enum err e, const char *detail,
	const struct problem_field *fields, size_t n_fields)
{
	struct reply r = {.status = err_status(e), .code = e, .content_type = "application/problem+json"};
	buf_init(&r.body, PROBLEM_MAX_BYTES);
	write_problem(&r.body, rq, e, detail, fields, n_fields);
	if (r.body.failed) { /* without memory even for this: the status alone says it */
		buf_release(&r.body);
		r.content_type = NULL;
	}
	if (r.status == 401)
		reply_set_header(&r, "WWW-Authenticate", "%s",
			e == ERR_INVALID_TOKEN ? "Bearer error=\"invalid_token\"" : "Bearer");
	if (r.status == 503 || r.status == 429)
		reply_set_header(&r, "Retry-After", "1");
	return r;
}

struct reply reply_error(const struct http_request *rq, enum err e, const char *detail)
{
	return problem_reply(rq, e, detail != NULL ? detail : err_title(e), NULL, 0);
}

struct reply reply_problem(const struct http_request *rq, const struct problem *p)
{
	return problem_reply(rq, p->code, problem_detail(p), p->fields, p->n_fields);
}

struct reply reply_too_large(const struct call *c)
{
	char detail[96];
	(void)snprintf(detail, sizeof detail, "The body may have at most %zu bytes", c->max_body_bytes);
	return reply_error(&c->rq, ERR_TOO_LARGE, detail);
}

bool cors_allowed(const struct http_server *s, const char *origin)
{
	const size_t n = strlen(origin);
	if (n == 0 || strcmp(origin, "null") == 0)
		return false;
	for (const char *at = s->cors_origins; *at != '\0';) {
		at += strspn(at, ", \t");
		const size_t len = strcspn(at, ", \t");
		if (len == n && memcmp(at, origin, n) == 0)
			return true;
		at += len;
	}
	return false;
}

static void add_header(struct MHD_Response *m, const char *name, const char *value)
{
	/* refused only for CR/LF in a value or without memory: the answer goes out without it */
	if (MHD_add_response_header(m, name, value) != MHD_YES)
		LOG_WARN("reply header refused", LOG_S("name", name));
}

/* RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10): what applies, what is left. */
static void add_rate_headers(struct MHD_Response *m, const struct call *c)
{
	char value[96];
	(void)snprintf(value, sizeof value, "\"%s\";q=%lld;w=%lld", c->rate_name, (long long)c->rate.quota,
		(long long)(c->rate.window_us / US_PER_SECOND));
	add_header(m, "RateLimit-Policy", value);
	(void)snprintf(value, sizeof value, "\"%s\";r=%lld;t=%lld", c->rate_name,
		(long long)c->rate_state.remaining, (long long)c->rate_state.reset_s);
	add_header(m, "RateLimit", value);
}

/* Whether the handler has set the header itself (the reference page has a policy of its own). */
static bool sets_header(const struct reply *r, const char *name)
{
	for (size_t i = 0; i < r->n_headers; i++)
		if (strcasecmp(r->headers[i].name, name) == 0)
			return true;
	return false;
}

static void add_common_headers(struct MHD_Response *m, const struct call *c)
{
	static const char *const fixed[][2] = {{"X-Content-Type-Options", "nosniff"},
		{"Cache-Control", "no-store"},
		{"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
		{"Referrer-Policy", "no-referrer"}, {"X-Frame-Options", "DENY"}};
	for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
		if (!sets_header(&c->reply, fixed[i][0]))
			add_header(m, fixed[i][0], fixed[i][1]);
	if (c->request_id[0] != '\0')
		add_header(m, "X-Request-Id", c->request_id);
	char trace[TRACE_TEXT_SIZE];
	trace_format(&c->trace, trace);
	add_header(m, "traceresponse", trace);
	if (c->close)
		add_header(m, "Connection", "close");
	const struct http_server *s = c->loop->server;
	if (s->cors_origins[0] == '\0')
		return;
	add_header(m, "Vary", "Origin");
	const char *origin = c->rq.headers[HTTP_HEADER_ORIGIN];
	if (origin == NULL || !cors_allowed(s, origin))
		return;
	add_header(m, "Access-Control-Allow-Origin", origin);
	add_header(m, "Access-Control-Expose-Headers",
		"X-Request-Id, traceresponse, Retry-After, ETag, RateLimit, RateLimit-Policy");
}

/* The library writes nothing there, but does not say so in its types. */
static struct MHD_Response *fixed_response(struct call *c)
{
	const union {
		const char *ours;
		void *theirs;
	} data = {.ours = c->reply.fixed};
	c->sent_bytes = c->reply.fixed_len;
	return MHD_create_response_from_buffer(c->reply.fixed_len, data.theirs, MHD_RESPMEM_PERSISTENT);
}

/* The reference goes with it. */
static struct MHD_Response *shared_response(struct call *c)
{
	struct shared_body *const s = c->reply.shared;
	struct MHD_Response *m =
		MHD_create_response_from_buffer_with_free_callback_cls(s->n, s->data, shared_body_unref, s);
	if (m == NULL)
		return NULL;
	c->reply.shared = NULL;
	c->sent_bytes = s->n;
	return m;
}

static struct MHD_Response *body_response(struct call *c)
{
	if (c->reply.fixed != NULL)
		return fixed_response(c);
	if (c->reply.shared != NULL)
		return shared_response(c);
	size_t n = 0;
	char *data = buf_detach(&c->reply.body, &n);
	struct MHD_Response *m = MHD_create_response_from_buffer(n, data, MHD_RESPMEM_MUST_FREE);
	if (m == NULL)
		free(data);
	c->sent_bytes = n;
	return m;
}

enum MHD_Result reply_queue(struct call *c)
{
	struct reply *r = &c->reply;
	struct MHD_Response *m = r->streamed ? stream_response(c, r->stream) : body_response(c);
	if (m == NULL)
		return MHD_NO;
	r->stream = NULL; /* the response's now */
	c->sent_status = r->status;
	c->sent_code = r->code;
	if (r->content_type != NULL)
		add_header(m, "Content-Type", r->content_type);
	for (size_t i = 0; i < r->n_headers; i++)
		add_header(m, r->headers[i].name, r->headers[i].value);
	add_common_headers(m, c);
	if (c->rate_name != NULL)
		add_rate_headers(m, c);
	const enum MHD_Result queued = MHD_queue_response(c->mhd, (unsigned)r->status, m);
	MHD_destroy_response(m);
	return queued;
}
