/* The hooks of the HTTP server: the table of routes, who has a token, and what a worker thread owns. The
 * endpoints themselves are in the other files of this folder. */
#include <stdlib.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/base/clock.h"
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
		token_cache_put(api->tokens, token, n, ret);
	return e;
}

/* On the loop: the token itself, then what this process knows of logged-out ones. */
static enum err authenticate(void *app, const char *token, size_t n, struct principal *ret)
{
	const struct api *const api = app;
	struct principal principal;
	const enum err e = verify(api, token, n, &principal);
	if (e != ERR_OK)
		return e;
	switch (revocations_check(api->revocations, &principal.token_id, clock_mono_us())) {
	case REVOCATION_NONE:
		*ret = principal;
		return ERR_OK;
	case REVOCATION_REVOKED:
		return ERR_INVALID_TOKEN;
	case REVOCATION_STALE:
		break;
	}
	return ERR_UNAVAILABLE;
}

/* On a worker's thread: the database knows. */
static enum err authenticate_blocking(
	void *app, void *worker, const char *token, size_t n, struct principal *ret)
{
	const struct api *const api = app;
	const struct api_worker *const w = worker;
	struct principal principal;
	enum err e = verify(api, token, n, &principal);
	if (e != ERR_OK)
		return e;
	bool revoked = true;
	e = tokens_is_revoked(w->db, &principal.user_id, &principal.token_id, &revoked);
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

struct http_hooks api_hooks(struct api *api)
{
	return (struct http_hooks){.app = api,
		.routes = ROUTES,
		.n_routes = sizeof ROUTES / sizeof ROUTES[0],
		.authenticate = authenticate,
		.authenticate_blocking = authenticate_blocking,
		.worker_new = worker_new,
		.worker_free = worker_free};
}
