/* The headers stage: everything that can be decided before a body byte is read. Framing that 0.9.75 would let
 * pass is refused here and the connection closed, so that no second request is ever taken from a tail. Fills
 * the request's route, arguments, query and kept headers. What libmicrohttpd refuses by itself (URI or
 * headers over the pool, malformed Content-Length) never gets here. */

#include "internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "llmlab/base/clock.h"
#include "llmlab/base/json_read.h"
#include "llmlab/base/log.h"
#include "llmlab/base/uuid.h"

/* Bodies up to this size are read and forgotten when the request is refused for other reasons than framing or
 * size, so that the connection can be used again; larger ones end the connection. */
#define DRAIN_BODY_BYTES ((int64_t)64 * 1024)
#define SMALL_BODY_BYTES ((size_t)4 * 1024)

static const struct {
	const char *name;
	size_t n;
} header_names[] = {
#define HEADER(id, text) {text, sizeof text - 1},
#include "llmlab/http/headers.def"
#undef HEADER
};

const char *http_method_name(enum http_method m)
{
	static const char *const names[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
	return names[m];
}

struct scan {
	struct call *call;
	const char *defect; /* what is wrong with the framing; NULL: nothing */
	bool chunked_defect;
};

static bool is_token_char(unsigned char c)
{
	return isalnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool value_is_clean(const char *value, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const unsigned char c = (unsigned char)value[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/* Whether the header stood on the wire as "name: value CR LF". libmicrohttpd 0.9.75 overwrites CR and LF with
 * NULs and works in place: after a NUL that the client sent, or a bare LF, another byte follows; the name of
 * a folded header is moved elsewhere. Both would let a proxy and this server see different headers,
 * Content-Length among them. (Measured for this version and pinned by tests/api/test_framing.py.) */
static bool stood_on_one_line(const char *name, const char *value, size_t value_n)
{
	if (value == NULL)
		return true;
	const uintptr_t from = (uintptr_t)name, to = (uintptr_t)value;
	return to > from && to - from <= HEADER_POOL_BYTES && value[value_n + 1] == '\0';
}

/* Without the white space that may follow a value (RFC 9110 section 5.5), which the library leaves in place.
 */
static const char *trimmed(struct call *c, const char *value, size_t n)
{
	size_t end = n;
	while (end > 0 && (value[end - 1] == ' ' || value[end - 1] == '\t'))
		end--;
	if (end == 0)
		return "";
	return end == n ? value : arena_strndup(&c->rq.arena, value, end);
}

/* Behind a proxy that is not trusted all clients are one, with one limit for all: told once, because whoever
 * likes can send the header. */
static void tell_untrusted(const struct call *c, enum http_header h)
{
	struct http_server *const s = c->loop->server;
	if (atomic_exchange(&s->proxy_told, true))
		return;
	char peer[64];
	address_text(c->conn->peer, peer, sizeof peer);
	LOG_WARN("a header that names the client is ignored; if its sender is your proxy, put it into "
		 "TRUST_PROXY",
		LOG_S("header", header_names[h].name), LOG_S("sender", peer));
}

/* Several lines are one list (RFC 9110 section 5.3). Read only where a proxy is trusted; others may send what
 * they like. */
static void add_forwarded(struct call *c, enum http_header h, const char *value, size_t n)
{
	if (!proxies_trust(c->loop->server->proxies, c->conn->peer)) {
		tell_untrusted(c, h);
		return;
	}
	const char *const before = c->rq.headers[h];
	const char *const line = trimmed(c, value, n);
	if (line == NULL)
		return; /* without memory the connection's address stands */
	c->rq.headers[h] = before == NULL ? line : arena_printf(&c->rq.arena, "%s,%s", before, line);
}

static enum MHD_Result see_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_n,
	const char *value, size_t value_n)
{
	(void)kind;
	struct scan *s = cls;
	for (size_t i = 0; i < name_n; i++)
		if (!is_token_char((unsigned char)name[i]))
			s->defect = "A header name contains characters that are not allowed";
	if (!stood_on_one_line(name, value, value_n))
		s->defect = "A header is folded, contains NUL, or does not end with CR LF";
	if (value == NULL)
		value_n = 0;
	if (!value_is_clean(value, value_n))
		s->defect = "A header value contains control characters";
	for (size_t h = 0; h < HTTP_HEADERS; h++) {
		if (header_names[h].n != name_n || strncasecmp(header_names[h].name, name, name_n) != 0)
			continue;
		if (h == HTTP_HEADER_FORWARDED || h == HTTP_HEADER_X_FORWARDED_FOR) {
			add_forwarded(s->call, (enum http_header)h, value, value_n);
		} else if (s->call->rq.headers[h] == NULL) {
			s->call->rq.headers[h] = trimmed(s->call, value, value_n);
		} else if (h == HTTP_HEADER_TRANSFER_ENCODING) {
			s->chunked_defect = true;
		} else if (h != HTTP_HEADER_ACCEPT) {
			s->defect = "A header that may be sent once is sent more than once";
		}
	}
	return MHD_YES;
}

static bool all_digits(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++)
		if (*s < '0' || *s > '9')
			return false;
	return true;
}

/* Host (RFC 9112 section 3.2): exactly one in HTTP/1.1, of harmless characters. */
static bool host_is_good(const char *host)
{
	for (; *host != '\0'; host++)
		if (!isalnum((unsigned char)*host) && strchr("-._~:[]%!$&'()*+,;=", *host) == NULL)
			return false;
	return true;
}

/* Content-Length, 0 without one; INT64_MAX when it is larger than that. */
static int64_t declared_length(const struct call *c)
{
	const char *text = c->rq.headers[HTTP_HEADER_CONTENT_LENGTH];
	if (text == NULL)
		return 0;
	int64_t n = 0;
	for (; *text != '\0'; text++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *text - '0', &n))
			return INT64_MAX;
	return n;
}

bool headers_announce_body(const struct call *c)
{
	return c->rq.headers[HTTP_HEADER_TRANSFER_ENCODING] != NULL || declared_length(c) > 0;
}

/* Returns the defect, or NULL; *ret_status gets the catalogue code. */
static const char *framing_defect(
	const struct call *c, const struct scan *s, const char *version, enum err *ret_code)
{
	const char *const *h = c->rq.headers;
	const bool is_11 = strcmp(version, "HTTP/1.1") == 0;
	*ret_code = ERR_BAD_REQUEST;
	if (s->defect != NULL)
		return s->defect;
	if (c->uri_cut)
		return "The request target contains NUL";
	if (!is_11 && strcmp(version, "HTTP/1.0") != 0)
		return "The protocol version is not supported";
	if (h[HTTP_HEADER_TRANSFER_ENCODING] != NULL) {
		if (h[HTTP_HEADER_CONTENT_LENGTH] != NULL)
			return "Content-Length and Transfer-Encoding must not be sent together";
		if (!is_11)
			return "Transfer-Encoding needs HTTP/1.1";
		if (s->chunked_defect || strcasecmp(h[HTTP_HEADER_TRANSFER_ENCODING], "chunked") != 0) {
			*ret_code = ERR_NOT_IMPLEMENTED;
			return "The only supported Transfer-Encoding is chunked, once";
		}
	}
	if (h[HTTP_HEADER_CONTENT_LENGTH] != NULL && !all_digits(h[HTTP_HEADER_CONTENT_LENGTH]))
		return "Content-Length must be a decimal number";
	if (h[HTTP_HEADER_EXPECT] != NULL && !headers_announce_body(c))
		return "Expect needs a body"; /* the library would answer 100 and lose its place */
	if (h[HTTP_HEADER_HOST] == NULL && is_11)
		return "The Host header is missing";
	if (h[HTTP_HEADER_HOST] != NULL && !host_is_good(h[HTTP_HEADER_HOST]))
		return "The Host header is malformed";
	return NULL;
}

static void take_request_id(struct call *c)
{
	const char *given = c->rq.headers[HTTP_HEADER_X_REQUEST_ID];
	const size_t n = given != NULL ? strlen(given) : 0;
	bool good = n >= 1 && n <= 64;
	for (size_t i = 0; good && i < n; i++)
		good = isalnum((unsigned char)given[i]) || strchr("._-", given[i]) != NULL;
	if (good) {
		memcpy(c->request_id, given, n + 1);
	} else {
		const struct uuid id = uuid_v7(c->rq.received_us / US_PER_MS);
		uuid_format(&id, c->request_id);
	}
	c->rq.request_id = c->request_id;
}

/* HTTP_METHODS when unknown; OPTIONS is told apart. HEAD is GET with the body withheld. */
static enum http_method method_parse(const char *method, bool *ret_head, bool *ret_options)
{
	*ret_head = strcmp(method, "HEAD") == 0;
	*ret_options = strcmp(method, "OPTIONS") == 0;
	if (*ret_head)
		return HTTP_GET;
	for (int m = 0; m < HTTP_METHODS; m++)
		if (strcmp(method, http_method_name((enum http_method)m)) == 0)
			return (enum http_method)m;
	return HTTP_METHODS;
}

/* The client that a trusted proxy names; what is malformed names nobody. */
static void take_client(struct call *c)
{
	const struct http_server *const s = c->loop->server;
	const bool forwarded = s->settings.forwarded;
	uint8_t address[16];
	const char *const header =
		c->rq.headers[forwarded ? HTTP_HEADER_FORWARDED : HTTP_HEADER_X_FORWARDED_FOR];
	if (!proxies_client(s->proxies, header, forwarded, address))
		return;
	address_text(address, c->client, sizeof c->client);
	address_subject(address, c->rq.client_address);
}

static bool refuse(struct call *c, enum err e, const char *detail)
{
	c->reply = reply_error(&c->rq, e, detail);
	return false;
}

static void preflight_headers(struct call *c, const char *allow)
{
	const char *origin = c->rq.headers[HTTP_HEADER_ORIGIN];
	if (origin == NULL || c->rq.headers[HTTP_HEADER_ACCESS_CONTROL_REQUEST_METHOD] == NULL ||
		!cors_allowed(c->loop->server, origin))
		return;
	reply_set_header(&c->reply, "Access-Control-Allow-Methods", "%s", allow);
	reply_set_header(&c->reply, "Access-Control-Allow-Headers",
		"Authorization, Content-Type, Idempotency-Key, X-Request-Id, traceparent");
	reply_set_header(&c->reply, "Access-Control-Max-Age", "600");
}

static bool answer_options(struct call *c, const struct route_match *match)
{
	char allow[96];
	router_allow(match->methods, allow, sizeof allow);
	c->reply = reply_empty(204);
	reply_set_header(&c->reply, "Allow", "%s", allow);
	preflight_headers(c, allow);
	return false;
}

static bool find_route(struct call *c, const char *method)
{
	bool options;
	c->rq.method = method_parse(method, &c->rq.head, &options);
	if (c->rq.method == HTTP_METHODS && !options)
		return refuse(c, ERR_NOT_IMPLEMENTED, "This method is not known here");
	struct route_match match;
	if (c->uri == NULL)
		return refuse(c, ERR_NO_MEMORY, NULL);
	if (!router_match(&c->loop->server->hooks, c->uri, c->rq.method, &c->rq.arena, &match))
		return refuse(c, ERR_BAD_REQUEST, "The request target is malformed");
	if (match.methods == 0)
		return refuse(c, ERR_NOT_FOUND, "There is nothing at this path");
	if (options)
		return answer_options(c, &match);
	if (match.route == NULL) {
		char allow[96];
		router_allow(match.methods, allow, sizeof allow);
		(void)refuse(c, ERR_METHOD_NOT_ALLOWED,
			"This path does not take this method; see the Allow header");
		reply_set_header(&c->reply, "Allow", "%s", allow);
		return false;
	}
	c->rq.route = match.route;
	memcpy(c->rq.path_args, match.args, sizeof match.args);
	return true;
}

/* "application/json", perhaps with charset=utf-8. */
static bool media_is(const char *value, const char *type)
{
	const size_t n = strlen(type);
	if (strncasecmp(value, type, n) != 0)
		return false;
	value += n;
	value += strspn(value, " \t");
	if (*value == '\0')
		return true;
	if (*value != ';')
		return false;
	value++;
	value += strspn(value, " \t");
	return strcasecmp(value, "charset=utf-8") == 0 || strcasecmp(value, "charset=\"utf-8\"") == 0;
}

static size_t body_limit(const struct call *c)
{
	const struct http_settings *s = &c->loop->server->settings;
	switch (c->rq.route->body) {
	case BODY_NONE:
		return 0;
	case BODY_JSON:
		return s->max_body_bytes;
	case BODY_JSON_SMALL:
		return SMALL_BODY_BYTES;
	case BODY_EVENTS:
		return s->max_batch_bytes;
	}
	return 0;
}

static bool check_media(struct call *c)
{
	const char *type = c->rq.headers[HTTP_HEADER_CONTENT_TYPE];
	const char *encoding = c->rq.headers[HTTP_HEADER_CONTENT_ENCODING];
	const bool events = c->rq.route->body == BODY_EVENTS;
	if (c->rq.route->body == BODY_NONE)
		return refuse(c, ERR_BAD_REQUEST, "This endpoint takes no body");
	const bool good = type != NULL && (media_is(type, "application/json") ||
						  (events && media_is(type, "application/x-ndjson")));
	if (!good) {
		(void)refuse(c, ERR_UNSUPPORTED_MEDIA_TYPE,
			events ? "Send the body as Content-Type: application/json or application/x-ndjson, "
				 "in UTF-8"
			       : "Send the body as Content-Type: application/json, in UTF-8");
		reply_set_header(&c->reply, "Accept-Post",
			events ? "application/json, application/x-ndjson" : "application/json");
		return false;
	}
	if (encoding == NULL || strcasecmp(encoding, "identity") == 0 ||
		(events && strcasecmp(encoding, "gzip") == 0))
		return true;
	(void)refuse(c, ERR_UNSUPPORTED_MEDIA_TYPE,
		events ? "The only supported Content-Encoding is gzip"
		       : "This endpoint takes no Content-Encoding");
	reply_set_header(&c->reply, "Accept-Encoding", events ? "gzip, identity" : "identity");
	return false;
}

/* The media ranges that take what the route answers. */
static const char *const *ranges_of(const struct route *r)
{
	static const char *const json[] = {"*/*", "application/*", "application/json",
		"application/problem+json", "application/x-ndjson", NULL};
	static const char *const text[] = {
		"*/*", "text/*", "text/plain", "application/*", "application/openmetrics-text", NULL};
	static const char *const stream[] = {
		"*/*", "text/*", "text/csv", "application/*", "application/x-ndjson", NULL};
	static const char *const page[] = {"*/*", "text/*", "text/html", "text/css", "text/javascript", NULL};
	if (r->run == RUN_STREAM)
		return stream;
	if (strncmp(r->path, "/docs", 5) == 0)
		return page;
	return strcmp(r->path, "/metrics") == 0 ? text : json;
}

/* Whether the media range, of n bytes, is given the weight 0: by the parameter "q", no other that ends so. */
static bool has_weight_0(const char *range, size_t n)
{
	const char *const end = range + n;
	for (const char *at = memchr(range, ';', n); at != NULL; at = memchr(at, ';', (size_t)(end - at))) {
		at += 1 + strspn(at + 1, " \t");
		if (strncasecmp(at, "q=0", 3) == 0)
			return strspn(at + 2, "0.") == strcspn(at + 2, "; \t,");
	}
	return false;
}

/* Whether one of the media ranges is accepted (RFC 9110 section 12.5.1; q=0 excludes). */
static bool accepts(const char *accept, const char *const *ranges)
{
	if (accept == NULL || *accept == '\0')
		return true;
	for (const char *at = accept; *at != '\0';) {
		at += strspn(at, " \t,");
		const size_t n = strcspn(at, ",");
		const size_t type_n = strcspn(at, ";, \t");
		const bool excluded = has_weight_0(at, n);
		for (size_t i = 0; ranges[i] != NULL && !excluded; i++)
			if (strlen(ranges[i]) == type_n && strncasecmp(at, ranges[i], type_n) == 0)
				return true;
		at += n;
	}
	return false;
}

static const char *bearer_token(const char *authorization)
{
	if (authorization == NULL || strncasecmp(authorization, "Bearer", 6) != 0 ||
		(authorization[6] != ' ' && authorization[6] != '\t'))
		return NULL;
	authorization += 6;
	authorization += strspn(authorization, " \t");
	return *authorization != '\0' ? authorization : NULL;
}

static bool scope_allows(const struct principal *p, enum route_auth auth)
{
	switch (auth) {
	case ROUTE_PUBLIC:
		return true;
	case ROUTE_INGEST:
		return p->scope == AUTH_SCOPE_INGEST || p->scope == AUTH_SCOPE_FULL;
	case ROUTE_READ:
		return p->scope == AUTH_SCOPE_READ || p->scope == AUTH_SCOPE_FULL;
	case ROUTE_FULL:
		return p->scope == AUTH_SCOPE_FULL;
	case ROUTE_SESSION:
		return !p->is_api_key && p->scope == AUTH_SCOPE_FULL;
	}
	return false;
}

/* Decides with what the token check said; also used after the blocking check. True: go on. */
bool headers_authorized(struct call *c, enum err verdict)
{
	if (verdict == ERR_DATABASE_UNAVAILABLE || verdict == ERR_NO_MEMORY)
		return refuse(c, verdict, "The token could not be checked, try again");
	if (verdict != ERR_OK)
		return refuse(c, ERR_INVALID_TOKEN, "The token is malformed, expired or revoked");
	if (!scope_allows(&c->rq.principal, c->rq.route->auth))
		return refuse(c, ERR_FORBIDDEN, "This key's scope does not cover this endpoint");
	return true;
}

/* Which limit applies to the request and on whom it counts. */
static bool pick_rate(struct call *c, const uint8_t **ret_subject)
{
	const struct http_settings *s = &c->loop->server->settings;
	const struct route *r = c->rq.route;
	*ret_subject = r->auth == ROUTE_PUBLIC ? c->rq.client_address : c->rq.principal.user_id.bytes;
	c->rate_name = "read";
	c->rate = (struct rate_limit){RATE_READ, s->rate_read_per_minute, US_PER_MINUTE};
	if (r->run == RUN_PASSWORD) {
		c->rate_name = "auth";
		c->rate = (struct rate_limit){RATE_AUTH, s->rate_auth_per_minute, US_PER_MINUTE};
	} else if (r->auth == ROUTE_PUBLIC) {
		/* what asks nobody else costs next to nothing; what does is counted apart from bad tokens, so
		 * that whoever sends those through the same proxy does not hide a server's health */
		c->rate_name = "health";
		c->rate = (struct rate_limit){RATE_HEALTH, s->rate_unauthenticated_per_second, US_PER_SECOND};
		return r->run != RUN_LOOP && c->rate.quota > 0;
	} else if (r->auth == ROUTE_INGEST) {
		c->rate_name = "ingest";
		c->rate = (struct rate_limit){RATE_INGEST, s->rate_ingest_per_second, US_PER_SECOND};
	} else if (r->run == RUN_STREAM) {
		c->rate_name = "export";
		c->rate = (struct rate_limit){RATE_EXPORT, s->rate_export_per_minute, US_PER_MINUTE};
	} else if (r->method != HTTP_GET && r->auth != ROUTE_READ) {
		c->rate_name = "write";
		c->rate = (struct rate_limit){RATE_WRITE, s->rate_write_per_minute, US_PER_MINUTE};
	}
	return c->rate.quota > 0;
}

static bool refuse_rate(struct call *c)
{
	(void)refuse(c, ERR_RATE_LIMITED, "Too many requests, wait as long as Retry-After says");
	reply_set_header(&c->reply, "Retry-After", "%lld", (long long)c->rate_state.retry_after_s);
	return false;
}

bool headers_count(struct call *c)
{
	const uint8_t *subject;
	if (!pick_rate(c, &subject)) {
		c->rate_name = NULL;
		return true;
	}
	if (rate_limiter_take(c->loop->server->limiter, &c->rate, subject, clock_mono_us(), &c->rate_state))
		return true;
	return refuse_rate(c);
}

/* False: no such limit is set. */
static bool pick_unauthenticated(struct call *c)
{
	c->rate = (struct rate_limit){RATE_UNAUTHENTICATED,
		c->loop->server->settings.rate_unauthenticated_per_second, US_PER_SECOND};
	c->rate_name = c->rate.quota > 0 ? "unauthenticated" : NULL;
	return c->rate_name != NULL;
}

bool headers_count_unauthenticated(struct call *c)
{
	if (!pick_unauthenticated(c) || rate_limiter_take(c->loop->server->limiter, &c->rate,
						c->rq.client_address, clock_mono_us(), &c->rate_state))
		return true;
	return refuse_rate(c);
}

/* A token that must be asked of the database counts when it turns out to be none; an address that has sent
 * too many of these has to wait before another is looked up. */
static bool may_ask(struct call *c)
{
	const bool limited = pick_unauthenticated(c);
	const bool may = !limited || rate_limiter_look(c->loop->server->limiter, &c->rate,
					     c->rq.client_address, clock_mono_us(), &c->rate_state);
	if (!may)
		return refuse_rate(c);
	c->rate_name = NULL;
	return true;
}

static bool check_token(struct call *c)
{
	const struct http_hooks *h = &c->loop->server->hooks;
	if (c->rq.route->auth == ROUTE_PUBLIC)
		return headers_count(c);
	c->token = bearer_token(c->rq.headers[HTTP_HEADER_AUTHORIZATION]);
	if (c->token == NULL)
		return headers_count_unauthenticated(c) &&
		       refuse(c, ERR_UNAUTHENTICATED, "Send an access token: Authorization: Bearer <token>");
	const enum err verdict = h->authenticate(h->app, c->token, strlen(c->token), &c->rq.principal);
	c->auth_pending = verdict == ERR_UNAVAILABLE;
	if (c->auth_pending)
		return may_ask(c);
	if (verdict == ERR_INVALID_TOKEN && !headers_count_unauthenticated(c))
		return false;
	return headers_authorized(c, verdict) && headers_count(c);
}

static bool check_query(struct call *c)
{
	struct problem p;
	problem_init(&p, &c->rq.arena);
	if (router_query(&c->rq, c->uri, &p))
		return true;
	c->reply = reply_problem(&c->rq, &p);
	return false;
}

static bool check_size(struct call *c, bool *ret_early)
{
	c->max_body_bytes = body_limit(c);
	if (c->rq.route->body == BODY_NONE || declared_length(c) <= (int64_t)c->max_body_bytes)
		return true;
	*ret_early = true;
	c->reply = reply_too_large(c);
	return false;
}

static bool check_request(struct call *c, const char *method, bool *ret_early)
{
	if (!find_route(c, method))
		return false;
	if (!accepts(c->rq.headers[HTTP_HEADER_ACCEPT], ranges_of(c->rq.route)))
		return refuse(c, ERR_NOT_ACCEPTABLE,
			"This endpoint answers in a media type that the Accept header excludes");
	if (!check_token(c))
		return false;
	if (headers_announce_body(c) && (!check_media(c) || !check_size(c, ret_early)))
		return false;
	c->max_body_bytes = body_limit(c);
	return check_query(c);
}

bool headers_accept(struct call *c, const char *method, const char *version, bool *ret_early)
{
	struct scan s = {.call = c};
	(void)MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, see_header, &s);
	take_request_id(c);
	take_client(c);
	trace_begin(&c->trace, c->rq.headers[HTTP_HEADER_TRACEPARENT]);
	enum err code;
	const char *defect = framing_defect(c, &s, version, &code);
	if (defect != NULL) {
		*ret_early = true;
		c->close = true;
		return refuse(c, code, defect);
	}
	*ret_early = false;
	if (check_request(c, method, ret_early))
		return true;
	const bool chunked = c->rq.headers[HTTP_HEADER_TRANSFER_ENCODING] != NULL;
	const bool waits = c->rq.headers[HTTP_HEADER_EXPECT] != NULL;
	if (headers_announce_body(c) && (chunked || waits || declared_length(c) > DRAIN_BODY_BYTES))
		*ret_early = true;
	if (*ret_early)
		c->close = true;
	return false;
}
