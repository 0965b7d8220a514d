/* What endpoints share: outcomes as replies, query parameters, bodies, zones and ranges, two derived figures.
 */
#include "llmlab/api/support.h"
#include <stdio.h>
#include <string.h>
#include "llmlab/api/text.h"
#include "llmlab/auth/digest.h"
#include "llmlab/base/check.h"
#include "llmlab/base/hex.h"
#include "llmlab/base/log.h"
#include "llmlab/core/estimate.h"
#include "llmlab/core/price.h"
#include "llmlab/db/users.h"
#include "llmlab/providers/catalogue_load.h"

struct api *api_of(const struct http_request *rq)
{
	return rq->app;
}

struct db_conn *api_db(const struct http_request *rq)
{
	const struct api_worker *const worker = rq->worker;
	CHECK(worker != NULL);
	return worker->db;
}

struct reply api_fail(const struct http_request *rq, enum err e, const struct problem *p)
{
	if (p != NULL && !problem_none(p))
		return reply_problem(rq, p);
	switch (e) {
	case ERR_DATABASE_UNAVAILABLE:
	case ERR_DB_LOST:
	case ERR_DB_RETRY:
		return reply_error(
			rq, ERR_DATABASE_UNAVAILABLE, "The database does not answer; try again soon");
	case ERR_INVALID_TOKEN:
		return reply_error(rq, e, "The account of this token does not exist any more");
	case ERR_RANGE:
	case ERR_SYNTAX:
	case ERR_DUPLICATE:
	case ERR_DB_CONSTRAINT:
	case ERR_INTERNAL:
	case ERR_OK:
	case ERR_COUNT:
		LOG_ERROR("request failed", LOG_S("request_id", rq->request_id),
			LOG_S("route", rq->route->id),
			LOG_S("outcome", e == ERR_COUNT ? "none" : err_code(e)));
		return reply_error(rq, ERR_INTERNAL, NULL);
	case ERR_BAD_REQUEST:
	case ERR_MALFORMED_JSON:
	case ERR_VALIDATION:
	case ERR_UNAUTHENTICATED:
	case ERR_INVALID_CREDENTIALS:
	case ERR_FORBIDDEN:
	case ERR_NOT_FOUND:
	case ERR_METHOD_NOT_ALLOWED:
	case ERR_NOT_ACCEPTABLE:
	case ERR_REQUEST_TIMEOUT:
	case ERR_CONFLICT:
	case ERR_EMAIL_TAKEN:
	case ERR_TOO_LARGE:
	case ERR_UNSUPPORTED_MEDIA_TYPE:
	case ERR_IDEMPOTENCY_MISMATCH:
	case ERR_RATE_LIMITED:
	case ERR_NOT_IMPLEMENTED:
	case ERR_UNAVAILABLE:
	case ERR_OVERLOADED:
	case ERR_DRAINING:
	case ERR_NO_MEMORY:
		break;
	}
	return reply_error(rq, e, NULL);
}

struct reply api_fail_sums(const struct http_request *rq, enum err e, const struct problem *p)
{
	if (e == ERR_RANGE)
		return reply_error(rq, ERR_VALIDATION, "The range holds too many models; ask for fewer days");
	return api_fail(rq, e, p);
}

/* ---- query parameters ---- */

static bool is_allowed(const char *name, const char *const *names)
{
	for (; *names != NULL; names++) {
		const size_t n = strlen(*names);
		const bool family = (*names)[n - 1] == '.';
		if (family ? strncmp(name, *names, n) == 0 && name[n] != '\0' : strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

void api_query_allow(const struct http_request *rq, const char *const *names, struct problem *p)
{
	for (size_t i = 0; i < rq->n_query; i++) {
		if (!is_allowed(rq->query[i].name, names))
			problem_add(p, rq->query[i].name, "is not a known query parameter");
	}
}

void api_query_none(const struct http_request *rq, struct problem *p)
{
	api_query_allow(rq, (const char *const[]){NULL}, p);
}

int64_t api_query_i64(const struct http_request *rq, const char *name, int64_t min, int64_t max,
	int64_t otherwise, struct problem *p)
{
	const char *const text = http_query_get(rq, name);
	if (text == NULL)
		return otherwise;
	int128 value = 0;
	const enum err e = decimal_parse(text, strlen(text), 0, INT64_MAX, &value);
	if (e == ERR_OK && value >= min && value <= max)
		return (int64_t)value;
	problem_add(p, name, "must be a whole number from %lld to %lld", (long long)min, (long long)max);
	return otherwise;
}

const char *api_query_text(const struct http_request *rq, const char *name, size_t max, struct problem *p)
{
	const char *const text = http_query_get(rq, name);
	if (text == NULL)
		return NULL;
	const size_t n = utf8_length(text);
	if (n >= 1 && n <= max && !text_has_control(text))
		return text;
	problem_add(p, name, "must be 1 to %zu characters without control characters", max);
	return NULL;
}

/* "a, b, c" in the arena. */
static const char *join(const char *const *words, struct arena *arena)
{
	const char *text = "";
	for (size_t i = 0; words[i] != NULL && text != NULL; i++)
		text = arena_printf(arena, "%s%s%s", text, i == 0 ? "" : ", ", words[i]);
	return text == NULL ? "the known words" : text;
}

const char *api_query_choice(
	const struct http_request *rq, const char *name, const char *const *choices, struct problem *p)
{
	const char *const text = http_query_get(rq, name);
	if (text == NULL)
		return NULL;
	for (size_t i = 0; choices[i] != NULL; i++) {
		if (strcmp(text, choices[i]) == 0)
			return choices[i];
	}
	problem_add(p, name, "must be one of %s", join(choices, p->arena));
	return NULL;
}

/* ---- bodies and paths ---- */

enum err api_body(struct http_request *rq, const struct json_field *fields, size_t n_fields,
	struct json_doc *doc, void *out, struct problem *p)
{
	const enum err e = json_doc_parse(doc, rq->body, rq->body_len, &json_limits_default, &rq->arena, p);
	if (e != ERR_OK)
		return e;
	if (json_decode(doc, doc->root, fields, n_fields, out, "", p) == ERR_OK)
		return ERR_OK;
	json_doc_release(doc);
	return p->code;
}

enum err api_path_uuid(const struct http_request *rq, size_t index, struct uuid *ret)
{
	CHECK(index < HTTP_PATH_ARGS_MAX && rq->path_args[index] != NULL);
	return uuid_parse(rq->path_args[index], ret) == ERR_OK ? ERR_OK : ERR_NOT_FOUND;
}

enum err api_begin_one(const struct http_request *rq, struct uuid *ret_id, struct problem *p)
{
	api_query_none(rq, p);
	return problem_none(p) ? api_path_uuid(rq, 0, ret_id) : p->code;
}

struct reply api_fail_one(
	const struct http_request *rq, enum err e, const struct problem *p, const char *none)
{
	if (e == ERR_NOT_FOUND && (p == NULL || problem_none(p)))
		return reply_error(rq, e, none);
	return api_fail(rq, e, p);
}

/* ---- zones and ranges ---- */

static enum err zone_of_user(struct http_request *rq, const struct tz **ret)
{
	struct user user;
	const enum err e = users_find(api_db(rq), &rq->principal.user_id, &rq->arena, &user);
	if (e == ERR_NOT_FOUND)
		return ERR_INVALID_TOKEN;
	if (e != ERR_OK)
		return e;
	/* It was checked when it was set: a zone that has gone from the system must not become another one.
	 */
	const enum err loaded = tz_load(user.timezone, ret);
	return loaded == ERR_NOT_FOUND ? ERR_INTERNAL : loaded;
}

void api_zone_check(const char *name, const char *field, const struct tz **ret, struct problem *p)
{
	const enum err e = tz_load(name, ret);
	if (e == ERR_NOT_FOUND)
		problem_add(p, field, "must be an IANA time zone such as Europe/Berlin");
	else if (e != ERR_OK)
		problem_set(p, e, "The time zone cannot be read just now; try again soon");
}

/* The zone of the name, NULL: the user's own. Other problems in *p end it too. */
static enum err zone_named(
	struct http_request *rq, const char *name, const struct tz **ret, struct problem *p)
{
	if (name != NULL)
		api_zone_check(name, "tz", ret, p);
	if (!problem_none(p))
		return p->code;
	return name != NULL ? ERR_OK : zone_of_user(rq, ret);
}

enum err api_zone(struct http_request *rq, const struct tz **ret, struct problem *p)
{
	return zone_named(rq, http_query_get(rq, "tz"), ret, p);
}

enum err api_range_of(struct http_request *rq, const char *days, const char *from, const char *to,
	const char *zone, struct range *ret, struct problem *p)
{
	struct range_spec spec;
	range_parse(days, from, to, &spec, p);
	const struct tz *tz;
	const enum err e = zone_named(rq, zone, &tz, p);
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): there is a zone if there is no error */
	return e != ERR_OK ? e : range_resolve(&spec, tz, rq->received_us, ret, p);
}

enum err api_range(struct http_request *rq, struct range *ret, struct problem *p)
{
	return api_range_of(rq, http_query_get(rq, "days"), http_query_get(rq, "from"),
		http_query_get(rq, "to"), http_query_get(rq, "tz"), ret, p);
}

/* ---- names and figures ---- */

const char *api_provider_id(const char *text, struct arena *arena)
{
	const struct catalogue *const c = catalogue_acquire();
	const struct price_match match = price_find(c, text, "", NULL);
	const char *const id =
		match.provider == NULL ? text_lower(text, arena) : arena_strdup(arena, match.provider->id);
	catalogue_release(c);
	if (match.starved)
		arena->overflowed = true; /* whoever asks for the arena's end sees that this is no answer */
	return match.starved ? NULL : id;
}

bool api_change_percent(struct money current, struct money previous, double *ret)
{
	struct money change;
	if (previous.atto == 0 || !decimal_sub(current.atto, previous.atto, &change.atto))
		return false;
	*ret = money_ratio(change, previous) * 100;
	return true;
}

void api_etag(const char *data, size_t n, char ret[API_ETAG_SIZE])
{
	uint8_t digest[32];
	digest_sha256(data, n, digest);
	ret[0] = '"';
	hex_encode(digest, API_ETAG_BYTES, ret + 1);
	ret[1 + 2 * API_ETAG_BYTES] = '"';
	ret[2 + 2 * API_ETAG_BYTES] = '\0';
}

bool api_has_already(const struct http_request *rq, const char *etag)
{
	const char *const known = rq->headers[HTTP_HEADER_IF_NONE_MATCH];
	return known != NULL && strcmp(known, etag) == 0;
}

struct reply api_reply_tagged(const struct http_request *rq, const char *content_type, struct buf *body)
{
	if (body->failed)
		return reply_text(200, content_type, body);
	char etag[API_ETAG_SIZE];
	api_etag(buf_str(body), body->len, etag);
	const bool same = api_has_already(rq, etag);
	if (same)
		buf_release(body);
	struct reply r = same ? reply_empty(304) : reply_text(200, content_type, body);
	reply_set_header(&r, "ETag", "%s", etag);
	return r;
}

int api_page_limit(const struct http_request *rq, struct problem *p)
{
	api_query_allow(rq, (const char *const[]){"limit", "cursor", NULL}, p);
	return (int)api_query_i64(rq, "limit", 1, API_PAGE_MAX, API_PAGE_DEFAULT, p);
}

void api_page_begin(struct json_writer *w, struct buf *body, const char *plural, size_t shown)
{
	buf_init(body, API_ANSWER_MAX_BYTES);
	jw_init(w, body);
	jw_object_begin(w, NULL);
	jw_i64(w, "count", (int64_t)shown);
	jw_array_begin(w, plural);
}
