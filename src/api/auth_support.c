/* What the endpoints of accounts share: tokens as answers, waits before a password may be tried, the
 * confirmation of a session by its password. How waits are counted is the database's business
 * (db/login_throttle.h). */
#include "llmlab/api/auth_support.h"
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/password.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/hex.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"

#define ANSWER_MAX_BYTES ((size_t)16 << 10)
#define ADDRESS_TEXT	 33 /* 16 bytes in hexadecimal and a NUL */

struct reply auth_answer_token(
	const struct http_request *rq, int status, const struct uuid *user_id, int64_t session_generation)
{
	const struct api *const api = api_of(rq);
	struct principal principal = {
		.user_id = *user_id, .scope = AUTH_SCOPE_FULL, .generation = session_generation};
	char *token;
	const enum err e = jwt_issue(api->jwt, &principal, clock_now_us(), api->token_lifetime_us, &token);
	if (e != ERR_OK)
		return api_fail(rq, e, NULL);
	struct buf body;
	buf_init(&body, ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_string(&w, "access_token", token);
	jw_string(&w, "token_type", "bearer");
	jw_i64(&w, "expires_in", api->token_lifetime_us / US_PER_SECOND);
	jw_uuid(&w, "user_id", user_id);
	jw_object_end(&w);
	free(token);
	return reply_json(status, &body);
}

/* ---- waits ---- */

static bool is_v4(const uint8_t address[16])
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
	return memcmp(address, prefix, sizeof prefix) == 0;
}

/* The /24 of an IPv4 address, the /64 of an IPv6 one (all that client_address has of it). */
static void network_of(const struct http_request *rq, char out[ADDRESS_TEXT])
{
	hex_encode(rq->client_address, is_v4(rq->client_address) ? 15 : 8, out);
}

static struct reply refuse_for(const struct http_request *rq, int64_t wait_ms, const char *detail)
{
	metric_add(METRIC_LOGIN_THROTTLED, 1);
	struct reply r = reply_error(rq, ERR_RATE_LIMITED, detail);
	reply_set_header(&r, "Retry-After", "%lld", (long long)((wait_ms + 999) / 1000));
	return r;
}

bool auth_may_try(struct http_request *rq, const char *email, struct reply *ret_refusal)
{
	const struct api *const api = api_of(rq);
	char network[ADDRESS_TEXT];
	int64_t wait_ms = 0;
	if (!api->throttles)
		return true;
	network_of(rq, network);
	const enum err e = login_throttle_attempt(api_db(rq), &api->login_rates, email, network, &wait_ms);
	if (e == ERR_OK && wait_ms == 0)
		return true;
	*ret_refusal = e != ERR_OK ? api_fail(rq, e, NULL)
				   : refuse_for(rq, wait_ms,
					     "Too many failed logins; wait as long as Retry-After says");
	return false;
}

void auth_password_was_right(struct http_request *rq, const char *email)
{
	const struct api *const api = api_of(rq);
	char network[ADDRESS_TEXT];
	if (!api->throttles)
		return;
	network_of(rq, network);
	const enum err e = login_throttle_succeeded(api_db(rq), &api->login_rates, email, network);
	if (e != ERR_OK)
		LOG_WARN("login counted as failed", LOG_S("request_id", rq->request_id),
			LOG_S("error", err_code(e)));
}

bool auth_may_sign_up(struct http_request *rq, struct reply *ret_refusal)
{
	const struct api *const api = api_of(rq);
	char address[ADDRESS_TEXT];
	int64_t wait_ms = 0;
	if (!api->throttles)
		return true;
	hex_encode(rq->client_address, 16, address);
	const enum err e = signup_throttle_attempt(api_db(rq), &api->signup_rates, address, &wait_ms);
	if (e == ERR_OK && wait_ms == 0)
		return true;
	*ret_refusal =
		e != ERR_OK ? api_fail(rq, e, NULL)
			    : refuse_for(rq, wait_ms, "Too many signups; wait as long as Retry-After says");
	return false;
}

/* ---- confirmation ---- */

enum err auth_confirm(
	struct http_request *rq, const char *password, struct user *ret, struct reply *ret_refusal)
{
	enum err e = users_find(api_db(rq), &rq->principal.user_id, &rq->arena, ret);
	if (e != ERR_OK) {
		*ret_refusal = api_fail(rq, e == ERR_NOT_FOUND ? ERR_INVALID_TOKEN : e, NULL);
		return e;
	}
	if (!auth_may_try(rq, ret->email, ret_refusal))
		return ERR_RATE_LIMITED;
	bool match = false;
	e = password_verify(ret->password_hash, password, &match);
	if (e != ERR_OK) {
		*ret_refusal = api_fail(rq, e, NULL);
		return e;
	}
	if (!match) {
		*ret_refusal = reply_error(
			rq, ERR_INVALID_CREDENTIALS, "This is not the current password of the account");
		return ERR_INVALID_CREDENTIALS;
	}
	auth_password_was_right(rq, ret->email);
	return ERR_OK;
}
