#ifndef LLMLAB_API_AUTH_SUPPORT_H
#define LLMLAB_API_AUTH_SUPPORT_H

#include "llmlab/api/support.h"
#include "llmlab/db/users.h"

/* What the endpoints of accounts share. Password threads only, where a password is hashed. */


/* The answer of signup, login and a new password: a new token for the user's generation. */
struct reply auth_answer_token(
	const struct http_request *rq, int status, const struct uuid *user_id, int64_t session_generation);

/* Whether somebody may try a password for this e-mail now; it counts as a failure until auth_password_was_right(). False with
 * *ret_refusal: 429 (or 503). Whether there is such an account makes no difference. */
bool auth_may_try(struct http_request *rq, const char *email, struct reply *ret_refusal);
/* Forgives the failures. What cannot be noted is left. */
void auth_password_was_right(struct http_request *rq, const char *email);
/* Whether this address may sign up now. As auth_may_try(). */
bool auth_may_sign_up(struct http_request *rq, struct reply *ret_refusal);

/* The user of the session, if `password` is his: ERR_OK. Else *ret_refusal says what is answered: 401 invalid_credentials, 429 ... */
enum err auth_confirm(struct http_request *rq, const char *password, struct user *ret, struct reply *ret_refusal);

#endif
