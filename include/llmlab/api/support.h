#ifndef LLMLAB_API_SUPPORT_H
#define LLMLAB_API_SUPPORT_H

#include "llmlab/api/api.h"
#include "llmlab/api/range.h"
#include "llmlab/base/json_read.h"
#include "llmlab/base/json_write.h"

/* What the endpoints share: the way from an inner outcome to a reply, query parameters, bodies, and the zone
 * and range of reading endpoints. */

#define API_PAGE_DEFAULT 50
#define API_PAGE_MAX	 500
/* The most a JSON answer may hold. */
#define API_ANSWER_MAX_BYTES ((size_t)64 << 20)

/* The server that the request belongs to. */
struct api *api_of(const struct http_request *rq);
/* The connection of the thread that runs the handler: executor and password threads only. */
struct db_conn *api_db(const struct http_request *rq);

/* The reply to a failed call: *p if it tells something, else by the outcome. What the environment did is 503,
 * what cannot happen with validated input is 500. p may be NULL. */
struct reply api_fail(const struct http_request *rq, enum err e, const struct problem *p);
/* The same for sums over a range (db/costs.h), where ERR_RANGE is a range that holds more than an answer is
 * made of. */
struct reply api_fail_sums(const struct http_request *rq, enum err e, const struct problem *p);

/* Refuses query parameters that are not in the NULL-terminated list; a name in the list that ends with '.'
 * stands for every name that begins so and goes on ("tag."). Names each bad one in *p. */
void api_query_allow(const struct http_request *rq, const char *const *names, struct problem *p);
/* Refuses every query parameter. */
void api_query_none(const struct http_request *rq, struct problem *p);
/* An integer parameter; `otherwise` if it is not given, or after naming it in *p. */
int64_t api_query_i64(const struct http_request *rq, const char *name, int64_t min, int64_t max,
	int64_t otherwise, struct problem *p);
/* A text parameter of 1..max code points without control characters; NULL if not given, or after naming it in
 * *p. */
const char *api_query_text(const struct http_request *rq, const char *name, size_t max, struct problem *p);
/* One of the NULL-terminated choices; NULL if not given, or after naming it in *p. */
const char *api_query_choice(
	const struct http_request *rq, const char *name, const char *const *choices, struct problem *p);

/* Parses the body as one JSON object and decodes it into *out (zeroed by the caller). On ERR_OK the caller
 * releases *doc with json_doc_release(); strings of *out live in it. Else *p is set and nothing is to be
 * released. */
enum err api_body(struct http_request *rq, const struct json_field *fields, size_t n_fields,
	struct json_doc *doc, void *out, struct problem *p);

/* The path argument as an id; ERR_NOT_FOUND if it is none: such a thing cannot exist. */
enum err api_path_uuid(const struct http_request *rq, size_t index, struct uuid *ret);
/* What every endpoint of one thing begins with: no query parameters, and the thing's id from the path. ERR_OK, or what
 * api_fail_one() answers. */
enum err api_begin_one(const struct http_request *rq, struct uuid *ret_id, struct problem *p);
/* As api_fail(), where ERR_NOT_FOUND is answered with the text `none`: what there is none of. p may be NULL. */
struct reply api_fail_one(
	const struct http_request *rq, enum err e, const struct problem *p, const char *none);

/* The zone of the name; if there is none, that is told of the field. ERR_NO_MEMORY and ERR_UNAVAILABLE in *p: it cannot be
 * read just now, which is not the client's fault. */
void api_zone_check(const char *name, const char *field, const struct tz **ret, struct problem *p);
/* The zone to read in: the parameter `tz`, else the user's own, else UTC. ERR_VALIDATION in *p;
 * ERR_INVALID_TOKEN (the account is gone); the database's errors. */
enum err api_zone(struct http_request *rq, const struct tz **ret, struct problem *p);
/* The range of a reading endpoint from `days`, `from`, `to` and `tz`. Errors as api_zone(), also whatever *p
 * holds already: called after the other parameters, it ends the check of them all. */
enum err api_range(struct http_request *rq, struct range *ret, struct problem *p);
/* The same from texts of the same meaning that came another way (a body); NULL: not given. */
enum err api_range_of(struct http_request *rq, const char *days, const char *from, const char *to,
	const char *zone, struct range *ret, struct problem *p);

/* The canonical id of a provider's name or alias as price_find() sees it, else the name in lower case. In the
 * arena. */
const char *api_provider_id(const char *text, struct arena *arena);
/* (current - previous) / previous in per cent for statistics; false if previous is 0. */
bool api_change_percent(struct money current, struct money previous, double *ret);

/* A strong entity tag of the bytes (RFC 9110 section 8.8.3): hex digits of their hash in quotes. */
#define API_ETAG_BYTES 16
#define API_ETAG_SIZE  (2 * API_ETAG_BYTES + 3)
void api_etag(const char *data, size_t n, char ret[API_ETAG_SIZE]);
/* Whether the request names the tag in If-None-Match. */
bool api_has_already(const struct http_request *rq, const char *etag);
/* 200 with the body and an ETag made from its bytes, or 304 if the request names that tag in If-None-Match. content_type static. */
struct reply api_reply_tagged(const struct http_request *rq, const char *content_type, struct buf *body);

/* Lists: the parameters `limit` and `cursor` and no others; returns the limit. Problems are named in *p. */
int api_page_limit(const struct http_request *rq, struct problem *p);
/* Begins a list's answer in *body: {"count":shown,"<plural>":[ ... ; the caller writes the items, ends the array, writes next_cursor and
 * ends the object. */
void api_page_begin(struct json_writer *w, struct buf *body, const char *plural, size_t shown);

#endif
