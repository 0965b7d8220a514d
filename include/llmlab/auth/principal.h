#ifndef LLMLAB_AUTH_PRINCIPAL_H
#define LLMLAB_AUTH_PRINCIPAL_H

#include <stdbool.h>
#include <stdint.h>
#include "llmlab/base/uuid.h"

/* Who makes a request. */
enum auth_scope { AUTH_SCOPE_INGEST, AUTH_SCOPE_READ, AUTH_SCOPE_FULL };

struct principal {
	struct uuid user_id;
	enum auth_scope scope; /* a session has AUTH_SCOPE_FULL */
	bool is_api_key;
	struct uuid token_id;   /* jti of the session, or id of the API key */
	int64_t expires_at_us;  /* of the token; INT64_MAX: never (API keys) */
	/* Of a session: the user's session_generation when it began. Of an API key: the user's key_generation when it
	 * was looked up. What is below the user's own is not believed any more (auth/revocation.h). */
	int64_t generation;
};

#endif
