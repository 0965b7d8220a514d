/* /api/auth/me and /api/auth/password: the account of the session. A new password ends every other session on
 * all servers, the end of the account everything. */
#include <string.h>
#include "llmlab/api/auth_support.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/api/text.h"
#include "llmlab/auth/password.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/accounts.h"

#define NAME_MAX_CHARS	 200
#define ANSWER_MAX_BYTES ((size_t)16 << 10)

/* ---- who it is ---- */

static struct reply answer_user(struct http_request *rq)
{
	struct user user;
	const enum err e = users_find(api_db(rq), &rq->principal.user_id, &rq->arena, &user);
	if (e != ERR_OK)
		return api_fail(rq, e == ERR_NOT_FOUND ? ERR_INVALID_TOKEN : e, NULL);
	struct buf body;
	buf_init(&body, ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_uuid(&w, "user_id", &user.id);
	jw_string(&w, "email", user.email);
	jw_string(&w, "name", user.name);
	jw_string(&w, "timezone", user.timezone);
	jw_instant(&w, "created_at", user.created_at_us);
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_auth_me(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	return problem_none(&p) ? answer_user(rq) : reply_problem(rq, &p);
}

struct me_update {
	const char *name, *timezone;
};

static const struct json_field ME_FIELDS[] = {
	{.name = "name",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct me_update, name),
		.min = 1,
		.max = NAME_MAX_CHARS},
	{.name = "timezone", .type = JSON_FIELD_STRING, .offset = offsetof(struct me_update, timezone)},
};

static void check_update(const struct me_update *u, struct problem *p)
{
	const struct tz *tz;
	if (u->name != NULL && text_is_blank(u->name))
		problem_add(p, "name", "must not be blank");
	if (u->timezone != NULL)
		api_zone_check(u->timezone, "timezone", &tz, p);
}

struct reply api_auth_me_update(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	struct json_doc doc;
	struct me_update u = {.name = NULL};
	if (json_doc_parse(&doc, rq->body, rq->body_len, &json_limits_default, &rq->arena, &p) != ERR_OK)
		return reply_problem(rq, &p);
	json_decode(&doc, doc.root, ME_FIELDS, sizeof ME_FIELDS / sizeof ME_FIELDS[0], &u, "", &p);
	check_update(&u, &p);
	const enum err e = problem_none(&p)
				   ? users_update(api_db(rq), &rq->principal.user_id, u.name, u.timezone)
				   : p.code;
	json_doc_release(&doc);
	if (e != ERR_OK)
		return api_fail(rq, e == ERR_NOT_FOUND ? ERR_INVALID_TOKEN : e, &p);
	return answer_user(rq);
}

/* ---- a new password ---- */

struct password_change {
	const char *current_password, *new_password;
};

static const struct json_field PASSWORD_FIELDS[] = {
	{.name = "current_password",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct password_change, current_password),
		.required = true},
	{.name = "new_password",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct password_change, new_password),
		.required = true},
};

/* Sessions that began before are dead here at once, elsewhere when the change is polled. API keys live on. */
static struct reply store_password(struct http_request *rq, const struct user *user, const char *new_hash)
{
	int64_t generation;
	const enum err e =
		users_set_password(api_db(rq), &user->id, user->password_hash, new_hash, &generation);
	if (e == ERR_NOT_FOUND) /* changed by someone else since it was confirmed */
		return reply_error(
			rq, ERR_INVALID_CREDENTIALS, "This is not the current password of the account");
	if (e != ERR_OK)
		return api_fail(rq, e, NULL);
	revocations_add_account(
		api_of(rq)->revocations, &user->id, generation, 0, rq->received_us + AUTH_CHANGE_KEPT_US);
	return auth_answer_token(rq, 200, &user->id, generation);
}

static struct reply change_password(struct http_request *rq, const struct password_change *c)
{
	struct user user;
	struct reply refusal;
	if (auth_confirm(rq, c->current_password, &user, &refusal) != ERR_OK)
		return refusal;
	struct problem p;
	problem_init(&p, &rq->arena);
	const char *const weakness = password_weakness(c->new_password, user.email);
	if (weakness != NULL)
		problem_add(&p, "new_password", "%s", weakness);
	/* Both are required, else nobody comes here. */
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
	else if (strcmp(c->new_password, c->current_password) == 0)
		problem_add(&p, "new_password", "must differ from the current one");
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	char hash[PASSWORD_HASH_SIZE];
	const enum err e = password_hash(c->new_password, hash);
	return e == ERR_OK ? store_password(rq, &user, hash) : api_fail(rq, e, NULL);
}

struct reply api_auth_password(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	struct json_doc doc;
	struct password_change c = {.current_password = NULL};
	if (json_doc_parse(&doc, rq->body, rq->body_len, &json_limits_default, &rq->arena, &p) != ERR_OK)
		return reply_problem(rq, &p);
	json_decode(&doc, doc.root, PASSWORD_FIELDS, sizeof PASSWORD_FIELDS / sizeof PASSWORD_FIELDS[0], &c,
		"", &p);
	const char *const weakness = c.new_password == NULL ? NULL : password_weakness(c.new_password, NULL);
	if (weakness != NULL)
		problem_add(&p, "new_password", "%s", weakness);
	const struct reply r = problem_none(&p) ? change_password(rq, &c) : reply_problem(rq, &p);
	json_doc_release(&doc);
	return r;
}

/* ---- the end of the account ---- */

struct farewell {
	const char *password;
};

static const struct json_field FAREWELL_FIELDS[] = {
	{.name = "password",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct farewell, password),
		.required = true},
};

static struct reply delete_account(struct http_request *rq, const char *password)
{
	struct user user;
	struct reply refusal;
	bool gone;
	if (auth_confirm(rq, password, &user, &refusal) != ERR_OK)
		return refusal;
	const enum err e =
		accounts_delete(api_db(rq), &user.id, user.password_hash, ACCOUNT_SMALL_ROWS, &gone);
	if (e != ERR_OK)
		return api_fail(rq, e == ERR_NOT_FOUND ? ERR_INVALID_TOKEN : e, NULL);
	revocations_add_account(api_of(rq)->revocations, &user.id, INT64_MAX, INT64_MAX,
		rq->received_us + AUTH_CHANGE_KEPT_US);
	metric_add(METRIC_ACCOUNTS_DELETED, 1);
	/* Own prices leave this server's memory; what other servers hold of them prices nothing any more. */
	(void)own_prices_load_user(api_db(rq), &user.id);
	return reply_empty(204);
}

struct reply api_auth_me_delete(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	struct json_doc doc;
	struct farewell f = {.password = NULL};
	if (json_doc_parse(&doc, rq->body, rq->body_len, &json_limits_default, &rq->arena, &p) != ERR_OK)
		return reply_problem(rq, &p);
	json_decode(&doc, doc.root, FAREWELL_FIELDS, sizeof FAREWELL_FIELDS / sizeof FAREWELL_FIELDS[0], &f,
		"", &p);
	const struct reply r = problem_none(&p) ? delete_account(rq, f.password) : reply_problem(rq, &p);
	json_doc_release(&doc);
	return r;
}
