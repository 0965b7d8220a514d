/* /api/keys: API keys. A key is shown once, in the answer that makes it; what is stored is its hash. A
 * deleted one is dead on this server when the answer is sent, and on every other within a second. */
#include <string.h>
#include "llmlab/api/auth_support.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/id_cursor.h"
#include "llmlab/api/text.h"
#include "llmlab/auth/api_key.h"
#include "llmlab/auth/password.h"
#include "llmlab/base/clock.h"
#include "llmlab/db/api_keys.h"

#define NAME_MAX_CHARS 200

static const char *const SCOPES[] = {"ingest", "read", "full", NULL};

struct key_input {
	const char *name, *scope;
	struct opt_i64 expires_at;
};

static const struct json_field KEY_FIELDS[] = {
	{.name = "name",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct key_input, name),
		.min = 1,
		.max = NAME_MAX_CHARS,
		.required = true},
	{.name = "scope",
		.type = JSON_FIELD_CHOICE,
		.offset = offsetof(struct key_input, scope),
		.choices = SCOPES,
		.required = true},
	{.name = "expires_at", .type = JSON_FIELD_INSTANT, .offset = offsetof(struct key_input, expires_at)},
};

/* The members that making and listing share, without the object's ends. */
static void write_key(struct json_writer *w, const struct api_key *k)
{
	jw_uuid(w, "id", &k->id);
	jw_string(w, "name", k->name);
	jw_string(w, "scope", k->scope);
	jw_string(w, "prefix", k->prefix);
	jw_instant(w, "created_at", k->created_at_us);
	jw_instant_or_null(w, "expires_at", k->expires_at_us != INT64_MAX, k->expires_at_us);
}

static struct reply answer_new(const struct api_key *k, const char *text)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	write_key(&w, k);
	jw_string(&w, "key", text);
	jw_null(&w, "last_used_at");
	jw_object_end(&w);
	return reply_json(201, &body);
}

static struct reply add_key(struct http_request *rq, const struct key_input *in)
{
	char text[API_KEY_SIZE];
	char prefix[API_KEY_PREFIX_SIZE];
	uint8_t hash[32];
	api_key_generate(text);
	api_key_prefix(text, prefix);
	api_key_hash(text, hash);
	struct api_key k = {.id = uuid_v7(rq->received_us / US_PER_MS),
		.name = in->name,
		.scope = in->scope,
		.prefix = prefix,
		.expires_at_us = in->expires_at.set ? in->expires_at.value : INT64_MAX};
	const enum err e = api_keys_insert(api_db(rq), &rq->principal.user_id, &k, hash);
	struct reply r;
	if (e == ERR_OK)
		r = answer_new(&k, text);
	else if (e == ERR_CONFLICT)
		r = reply_error(rq, e, "There are 100 API keys already; delete one first");
	else
		r = api_fail(rq, e == ERR_NOT_FOUND ? ERR_INVALID_TOKEN : e, NULL);
	secret_wipe(text, sizeof text);
	return r;
}

static void check_key(const struct key_input *in, int64_t now_us, struct problem *p)
{
	if (in->name != NULL && text_is_blank(in->name))
		problem_add(p, "name", "must not be blank");
	else if (in->name != NULL && text_has_control(in->name))
		problem_add(p, "name", "must not contain control characters");
	if (in->expires_at.set && in->expires_at.value <= now_us)
		problem_add(p, "expires_at", "must be in the future");
}

struct reply api_keys_add(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	struct json_doc doc;
	struct key_input in = {.name = NULL};
	if (json_doc_parse(&doc, rq->body, rq->body_len, &json_limits_default, &rq->arena, &p) != ERR_OK)
		return reply_problem(rq, &p);
	json_decode(&doc, doc.root, KEY_FIELDS, sizeof KEY_FIELDS / sizeof KEY_FIELDS[0], &in, "", &p);
	check_key(&in, rq->received_us, &p);
	const struct reply r = problem_none(&p) ? add_key(rq, &in) : reply_problem(rq, &p);
	json_doc_release(&doc);
	return r;
}

static struct reply answer_page(struct http_request *rq, const struct api_key *keys, size_t n, size_t page)
{
	const size_t shown = n < page ? n : page;
	struct buf body;
	struct json_writer w;
	api_page_begin(&w, &body, "keys", shown);
	for (size_t i = 0; i < shown; i++) {
		jw_object_begin(&w, NULL);
		write_key(&w, &keys[i]);
		jw_instant_or_null(&w, "last_used_at", keys[i].last_used_at_us != 0, keys[i].last_used_at_us);
		jw_object_end(&w);
	}
	return id_cursor_end(&w, n > page ? &keys[shown - 1].id : NULL, &rq->arena);
}

struct reply api_keys_list(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const int limit = api_page_limit(rq, &p);
	struct uuid before;
	const bool goes_on = id_cursor_read(rq, &before, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	struct api_key *keys;
	size_t n;
	const enum err e = api_keys_list_of_user(api_db(rq), &rq->principal.user_id, goes_on ? &before : NULL,
		limit + 1, &rq->arena, &keys, &n);
	return e == ERR_OK ? answer_page(rq, keys, n, (size_t)limit) : api_fail(rq, e, NULL);
}

struct reply api_keys_delete(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct uuid id;
	int64_t generation;
	enum err e = api_begin_one(rq, &id, &p);
	if (e == ERR_OK)
		e = api_keys_delete_one(api_db(rq), &rq->principal.user_id, &id, &generation);
	if (e != ERR_OK)
		return api_fail_one(rq, e, &p, "There is no such API key");
	revocations_add_account(api_of(rq)->revocations, &rq->principal.user_id, 0, generation,
		rq->received_us + AUTH_CHANGE_KEPT_US);
	return reply_empty(204);
}
