/* From a raw request target to a route and decoded arguments. The target is taken as the client sent it
 * (libmicrohttpd's own decoding cuts at NUL and hides repeated names), split first and decoded once. Refusing
 * is headers.c's work. */

#include "internal.h"

#include <string.h>

#include "llmlab/base/hex.h"
#include "llmlab/base/json_read.h"

#define SEGMENTS_MAX 16

/* Decoded copy in the arena; NULL when malformed: bad escapes, NUL, controls, invalid UTF-8. */
static const char *decode(const char *s, size_t n, bool plus_is_space, struct arena *arena)
{
	char *out = arena_alloc(arena, n + 1);
	if (out == NULL)
		return NULL;
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		char c = s[i];
		if (c == '%') {
			const bool complete = n - i > 2;
			const int high = complete ? hex_value(s[i + 1]) : -1;
			const int low = complete ? hex_value(s[i + 2]) : -1;
			if (high < 0 || low < 0)
				return NULL;
			c = (char)(high * 16 + low);
			i += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		if ((unsigned char)c < 0x20 || c == 0x7f)
			return NULL;
		out[len++] = c;
	}
	out[len] = '\0';
	return utf8_valid(out, len) ? out : NULL;
}

/* Splits the decoded path into segments. Returns the number, or -1 when malformed. */
static int split_path(const char *uri, struct arena *arena, const char *segments[SEGMENTS_MAX])
{
	if (uri[0] != '/')
		return -1; /* absolute-form and asterisk-form are not served */
	const char *end = uri + strcspn(uri, "?#");
	if (*end == '#')
		return -1;
	int n = 0;
	const char *at = uri + 1;
	while (at < end) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		const char *stop = slash != NULL ? slash : end;
		if (n == SEGMENTS_MAX)
			return 0; /* no route is so deep: not found */
		segments[n] = decode(at, (size_t)(stop - at), false, arena);
		if (segments[n] == NULL)
			return -1;
		n++;
		at = stop + 1;
	}
	return n;
}

/* Compares one literal segment of a pattern; moves *at behind it. */
static bool literal_matches(const char **at, const char *segment)
{
	while (**at != '\0' && **at != '/' && **at == *segment) {
		(*at)++;
		segment++;
	}
	return *segment == '\0' && (**at == '\0' || **at == '/');
}

/* Compares a pattern ("/api/budgets/{id}") with segments; fills args. */
static bool pattern_matches(
	const char *pattern, const char *const *segments, int n, const char *args[HTTP_PATH_ARGS_MAX])
{
	size_t n_args = 0;
	const char *at = pattern;
	for (int i = 0; i < n; i++) {
		if (*at != '/')
			return false;
		at++;
		if (*at != '{') {
			if (!literal_matches(&at, segments[i]))
				return false;
			continue;
		}
		if (n_args == HTTP_PATH_ARGS_MAX || segments[i][0] == '\0')
			return false;
		args[n_args++] = segments[i];
		at += strcspn(at, "/");
	}
	return *at == '\0';
}

bool router_match(const struct http_hooks *h, const char *uri, enum http_method method, struct arena *arena,
	struct route_match *ret)
{
	*ret = (struct route_match){0};
	const char *segments[SEGMENTS_MAX];
	const int n = split_path(uri, arena, segments);
	if (n < 0)
		return false;
	bool fixed =
		false; /* a path without arguments wins over one with ("/events/track" over "/events/{id}") */
	for (size_t i = 0; i < h->n_routes; i++) {
		const struct route *r = &h->routes[i];
		const char *args[HTTP_PATH_ARGS_MAX] = {0};
		if (!pattern_matches(r->path, segments, n, args))
			continue;
		const bool this_fixed = args[0] == NULL;
		if (fixed && !this_fixed)
			continue;
		if (this_fixed && !fixed) {
			*ret = (struct route_match){0};
			fixed = true;
		}
		ret->methods |= 1U << r->method;
		if (r->method == method) {
			ret->route = r;
			memcpy(ret->args, args, sizeof args);
		}
	}
	return true;
}

void router_allow(unsigned methods, char *out, size_t size)
{
	struct buf list;
	buf_init(&list, size);
	for (int m = 0; m < HTTP_METHODS; m++) {
		if ((methods & (1U << m)) == 0)
			continue;
		buf_printf(&list, "%s, ", http_method_name((enum http_method)m));
		if (m == HTTP_GET)
			buf_puts(&list, "HEAD, ");
	}
	buf_puts(&list, "OPTIONS");
	(void)snprintf(out, size, "%s", buf_str(&list));
	buf_release(&list);
}

static bool query_add(struct http_request *rq, const char *at, size_t n, struct problem *p)
{
	const char *equals = memchr(at, '=', n);
	const size_t name_len = equals != NULL ? (size_t)(equals - at) : n;
	const char *name = decode(at, name_len, true, &rq->arena);
	const char *value = equals != NULL ? decode(equals + 1, n - name_len - 1, true, &rq->arena) : "";
	if (name == NULL || value == NULL || name[0] == '\0') {
		problem_set(p, ERR_BAD_REQUEST,
			"The query string is malformed: percent escapes must be complete and decode to UTF-8 "
			"text");
		return false;
	}
	if (http_query_get(rq, name) != NULL) {
		problem_add(p, strlen(name) <= 64 ? name : "(long name)", "is given more than once");
		return false;
	}
	if (rq->n_query == HTTP_QUERY_MAX) {
		problem_set(p, ERR_BAD_REQUEST, "Too many query parameters, at most %d are allowed",
			HTTP_QUERY_MAX);
		return false;
	}
	rq->query[rq->n_query++] = (struct http_query){.name = name, .value = value};
	return true;
}

bool router_query(struct http_request *rq, const char *uri, struct problem *p)
{
	const char *at = strchr(uri, '?');
	if (at == NULL)
		return true;
	at++;
	if (strchr(at, '#') != NULL) {
		problem_set(p, ERR_BAD_REQUEST, "The request target must not contain a fragment");
		return false;
	}
	while (*at != '\0') {
		const size_t n = strcspn(at, "&");
		if (n > 0 && !query_add(rq, at, n, p))
			return false;
		at += n;
		if (*at == '&')
			at++;
	}
	return true;
}

const char *http_query_get(const struct http_request *rq, const char *name)
{
	for (size_t i = 0; i < rq->n_query; i++)
		if (strcmp(rq->query[i].name, name) == 0)
			return rq->query[i].value;
	return NULL;
}
