/* The hooks of the HTTP server: the table of routes, who has a token, and what a worker thread owns. The
 * endpoints themselves are in the other files of this folder. */
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/auth/api_key.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/api_keys.h"
#include "llmlab/db/users.h"

static const struct route ROUTES[] = {
#define ROUTE(name, verb, pattern, who, where, what)                                                         \
	{.id = #name,                                                                                        \
		.method = HTTP_##verb,                                                                       \
		.path = pattern,                                                                             \
		.auth = ROUTE_##who,                                                                         \
		.run = RUN_##where,                                                                          \
		.body = BODY_##what,                                                                         \
		.handler = api_##name},
#include "llmlab/api/routes.def"
#undef ROUTE
};

/* Signature and claims, from the cache if they were checked before. */
static enum err verify(const struct api *api, const char *token, size_t n, struct principal *ret)
{
	const int64_t now_us = clock_now_us();
	if (token_cache_find(api->tokens, token, n, now_us, ret))
		return ERR_OK;
	const enum err e = jwt_verify(api->jwt, token, n, now_us, ret);
	if (e == ERR_OK)
		token_cache_put(api->tokens, token, n, now_us, ret);
	return e;
}

/* What this process knows of the end of the session or key. */
static enum err judge(const struct api *api, const struct principal *p)
{
	switch (revocations_check(api->revocations, p, clock_mono_us())) {
	case REVOCATION_NONE:
		return ERR_OK;
	case REVOCATION_REVOKED:
		return ERR_INVALID_TOKEN;
	case REVOCATION_STALE:
		break;
	}
	return ERR_UNAVAILABLE;
}

/* A key that was looked up a moment ago, or was refused before; else the database must be asked. */
static enum err authenticate_key(const struct api *api, const char *key, size_t n, struct principal *ret)
{
	struct principal principal;
	uint8_t hash[32];
	const int64_t now_us = clock_now_us();
	if (token_cache_find(api->tokens, key, n, now_us, &principal) && judge(api, &principal) == ERR_OK) {
		token_cache_note_use(api->tokens, key, n, now_us);
		*ret = principal;
		return ERR_OK;
	}
	api_key_hash(key, hash);
	return refused_keys_has(api->refused_keys, hash) ? ERR_INVALID_TOKEN : ERR_UNAVAILABLE;
}

/* On the loop: the token itself, then what this process knows of ended sessions. */
static enum err authenticate(void *app, const char *token, size_t n, struct principal *ret)
{
	const struct api *const api = app;
	struct principal principal;
	if (api_key_looks_like(token, n))
		return authenticate_key(api, token, n, ret);
	enum err e = verify(api, token, n, &principal);
	if (e == ERR_OK)
		e = judge(api, &principal);
	if (e == ERR_OK)
		*ret = principal;
	return e;
}

static enum auth_scope scope_of(const char *name)
{
	return strcmp(name, "ingest") == 0 ? AUTH_SCOPE_INGEST
	       : strcmp(name, "read") == 0 ? AUTH_SCOPE_READ
					   : AUTH_SCOPE_FULL;
}

/* On a worker's thread: the database knows the key or not. */
static enum err look_up_key(
	const struct api *api, struct db_conn *db, const char *key, size_t n, struct principal *ret)
{
	uint8_t hash[32];
	struct api_key_owner owner;
	api_key_hash(key, hash);
	metric_add(METRIC_KEYS_LOOKED_UP, 1);
	const enum err e = api_keys_find(db, hash, &owner);
	if (e == ERR_NOT_FOUND) {
		refused_keys_add(api->refused_keys, hash);
		return ERR_INVALID_TOKEN;
	}
	if (e != ERR_OK)
		return ERR_DATABASE_UNAVAILABLE;
	*ret = (struct principal){.user_id = owner.user_id,
		.scope = scope_of(owner.scope),
		.is_api_key = true,
		.token_id = owner.key_id,
		.expires_at_us = owner.expires_at_us,
		.generation = owner.generation};
	token_cache_put(api->tokens, key, n, clock_now_us(), ret);
	return ERR_OK;
}

/* On a worker's thread: the database knows. */
static enum err authenticate_blocking(
	void *app, void *worker, const char *token, size_t n, struct principal *ret)
{
	const struct api *const api = app;
	const struct api_worker *const w = worker;
	struct principal principal;
	if (api_key_looks_like(token, n))
		return look_up_key(api, w->db, token, n, ret);
	enum err e = verify(api, token, n, &principal);
	if (e != ERR_OK)
		return e;
	bool revoked = true;
	e = tokens_is_revoked(w->db, &principal.user_id, &principal.token_id, principal.generation, &revoked);
	if (e != ERR_OK)
		return ERR_DATABASE_UNAVAILABLE;
	if (revoked)
		return ERR_INVALID_TOKEN;
	*ret = principal;
	return ERR_OK;
}

static void *worker_new(void *app)
{
	struct api *const api = app;
	struct api_worker *const w = calloc(1, sizeof *w);
	if (w == NULL)
		return NULL;
	w->api = api;
	w->db = db_conn_new(&api->db);
	if (w->db == NULL) {
		free(w);
		return NULL;
	}
	return w;
}

static void worker_free(void *worker)
{
	struct api_worker *const w = worker;
	db_conn_free(w->db);
	free(w);
}

/* Whoever has waited for the thread must not wait as long again for a database that hangs. */
static void worker_waited(void *worker, int64_t waited_us)
{
	const struct api_worker *const w = worker;
	db_conn_set_waited(w->db, waited_us);
}

struct http_hooks api_hooks(struct api *api)
{
	return (struct http_hooks){.app = api,
		.routes = ROUTES,
		.n_routes = sizeof ROUTES / sizeof ROUTES[0],
		.authenticate = authenticate,
		.authenticate_blocking = authenticate_blocking,
		.worker_new = worker_new,
		.worker_free = worker_free,
		.worker_waited = worker_waited};
}
