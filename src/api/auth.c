/* /api/auth/...: signup, login, logout. Passwords are hashed on the password threads that these handlers run
 * on; tokens are made by the auth layer. The account of a session is auth_account.c. */
#include <string.h>
#include "llmlab/api/auth_support.h"
#include "llmlab/api/email.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/text.h"
#include "llmlab/auth/password.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"

#define NAME_MAX_CHARS	 200
#define ANSWER_MAX_BYTES ((size_t)16 << 10)

/* ---- signup ---- */

struct signup {
	const char *email, *password, *name;
};

static const struct json_field SIGNUP_FIELDS[] = {
	{.name = "email",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct signup, email),
		.required = true},
	{.name = "password",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct signup, password),
		.required = true},
	{.name = "name",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct signup, name),
		.min = 1,
		.max = NAME_MAX_CHARS,
		.required = true},
};

static void check_signup(const struct signup *s, struct problem *p)
{
	if (s->email != NULL) {
		const char *const wrong = email_problem(s->email);
		if (wrong != NULL)
			problem_add(p, "email", "%s", wrong);
	}
	if (s->password != NULL) {
		const char *const weakness = password_weakness(s->password, s->email == NULL ? "" : s->email);
		if (weakness != NULL)
			problem_add(p, "password", "%s", weakness);
	}
	if (s->name != NULL && text_is_blank(s->name))
		problem_add(p, "name", "must not be blank");
}

static struct reply create_user(struct http_request *rq, const struct signup *s)
{
	char hash[PASSWORD_HASH_SIZE];
	enum err e = password_hash(s->password, hash);
	if (e != ERR_OK)
		return api_fail(rq, e, NULL);
	const int64_t now_us = rq->received_us;
	const struct user user = {.id = uuid_v7(now_us / US_PER_MS),
		.email = s->email,
		.name = s->name,
		.timezone = "UTC",
		.password_hash = hash,
		.created_at_us = now_us};
	e = users_insert(api_db(rq), &user);
	if (e == ERR_DUPLICATE)
		return reply_error(
			rq, ERR_EMAIL_TAKEN, "An account with this e-mail exists already; log in instead");
	return e == ERR_OK ? auth_answer_token(rq, 201, &user.id, 0) : api_fail(rq, e, NULL);
}

struct reply api_auth_signup(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	struct json_doc doc;
	struct signup s = {.email = NULL};
	if (json_doc_parse(&doc, rq->body, rq->body_len, &json_limits_default, &rq->arena, &p) != ERR_OK)
		return reply_problem(rq, &p);
	json_decode(
		&doc, doc.root, SIGNUP_FIELDS, sizeof SIGNUP_FIELDS / sizeof SIGNUP_FIELDS[0], &s, "", &p);
	check_signup(&s, &p);
	struct reply r;
	if (!problem_none(&p))
		r = reply_problem(rq, &p);
	else if (auth_may_sign_up(rq, &r))
		r = create_user(rq, &s);
	json_doc_release(&doc);
	return r;
}

/* ---- login ---- */

struct login {
	const char *email, *password;
};

static const struct json_field LOGIN_FIELDS[] = {
	{.name = "email",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct login, email),
		.required = true},
	{.name = "password",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct login, password),
		.required = true},
};

/* A stored hash of weaker parameters than today's is replaced while the password is at hand. If that fails,
 * the next login tries again. */
static void rehash(struct http_request *rq, const struct user *user, const char *password)
{
	char hash[PASSWORD_HASH_SIZE];
	if (!password_needs_rehash(user->password_hash))
		return;
	enum err e = password_hash(password, hash);
	if (e == ERR_OK)
		e = users_rehash(api_db(rq), &user->id, user->password_hash, hash);
	if (e != ERR_OK)
		LOG_WARN("password not rehashed", LOG_S("request_id", rq->request_id),
			LOG_S("error", err_code(e)));
}

/* Alike in text, status and time, whether the e-mail is unknown or the password wrong. */
static struct reply check_login(struct http_request *rq, const struct login *l)
{
	struct user user;
	struct reply refusal;
	if (!auth_may_try(rq, l->email, &refusal))
		return refusal;
	enum err e = users_find_by_email(api_db(rq), l->email, &rq->arena, &user);
	if (e != ERR_OK && e != ERR_NOT_FOUND)
		return api_fail(rq, e, NULL);
	bool match = false;
	if (e == ERR_NOT_FOUND)
		password_verify_dummy(l->password);
	else
		e = password_verify(user.password_hash, l->password, &match);
	if (e != ERR_OK && e != ERR_NOT_FOUND)
		return api_fail(rq, e, NULL);
	if (!match)
		return reply_error(rq, ERR_INVALID_CREDENTIALS, "Invalid email or password");
	auth_password_was_right(rq, l->email);
	rehash(rq, &user, l->password);
	return auth_answer_token(rq, 200, &user.id, user.session_generation);
}

struct reply api_auth_login(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	struct json_doc doc;
	struct login l = {.email = NULL};
	if (!problem_none(&p) || api_body(rq, LOGIN_FIELDS, sizeof LOGIN_FIELDS / sizeof LOGIN_FIELDS[0],
					 &doc, &l, &p) != ERR_OK)
		return reply_problem(rq, &p);
	const struct reply r = check_login(rq, &l);
	json_doc_release(&doc);
	return r;
}

/* ---- logout ---- */

static struct reply revoke(struct http_request *rq)
{
	const struct principal *const who = &rq->principal;
	const enum err e = tokens_revoke(api_db(rq), &who->user_id, &who->token_id, who->expires_at_us);
	if (e != ERR_OK)
		return api_fail(rq, e, NULL);
	revocations_add(api_of(rq)->revocations, &who->token_id, who->expires_at_us);
	struct buf body;
	buf_init(&body, ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_string(&w, "message", "Successfully logged out");
	jw_object_end(&w);
	return reply_json(200, &body);
}

/* The token says it all: the body, if there is one, is an empty object. */
struct reply api_auth_logout(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	struct json_doc doc;
	unsigned char nothing;
	if (problem_none(&p) && rq->body_len > 0 && api_body(rq, NULL, 0, &doc, &nothing, &p) == ERR_OK)
		json_doc_release(&doc);
	return problem_none(&p) ? revoke(rq) : reply_problem(rq, &p);
}
