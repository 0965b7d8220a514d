#ifndef LLMLAB_API_API_H
#define LLMLAB_API_API_H

#include "llmlab/auth/jwt.h"
#include "llmlab/auth/refused_keys.h"
#include "llmlab/auth/revocation.h"
#include "llmlab/auth/seal.h"
#include "llmlab/auth/token_cache.h"
#include "llmlab/db/conn.h"
#include "llmlab/db/login_throttle.h"
#include "llmlab/http/server.h"
#include "llmlab/ingest/ingest.h"
#include "llmlab/ingest/spenders.h"

struct anomaly_memo; /* anomaly_memo.h */

/* How long what ended sessions and keys is remembered: no token lives longer than a year. */
#define AUTH_CHANGE_KEPT_US ((int64_t)366 * 24 * 3600 * 1000000)

/* The endpoints and what they stand on. One struct api per server; filled by the app, constant afterwards. */
struct api {
	const struct jwt_keys *jwt;
	int64_t token_lifetime_us;
	struct token_cache *tokens; /* verified a moment ago */
	struct revocations *revocations;
	struct refused_keys *refused_keys;
	struct anomaly_memo *anomaly_memo; /* what was found out about unusual times; NULL: nothing is remembered */
	bool throttles; /* whether logins and signups may have to wait */
	struct login_rates login_rates;
	struct signup_rates signup_rates;
	struct ingest *ingest;
	struct spenders *spenders; /* whose budgets are to be looked at */
	struct db_settings db; /* for the workers' connections */
	const struct seal_keys *seal; /* of stored secrets */
	bool webhook_allow_private;   /* WEBHOOK_ALLOW_PRIVATE */
	int64_t started_mono_us;
	_Atomic bool draining; /* readiness */
	const char *version;
	/* Answers whether the database answers now, from a recent probe by the watcher (monotonic time of the
	 * last success); health checks it for real within a second. */
	_Atomic int64_t database_ok_mono_us;
};

/* What a worker thread owns. */
struct api_worker {
	struct db_conn *db;
	struct api *api;
};

/* The hooks for http_start(): routes from api/routes.def, authentication, workers. */
struct http_hooks api_hooks(struct api *api);

#endif
