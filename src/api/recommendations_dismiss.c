/* POST and DELETE /api/recommendations/{id}/dismiss: what the user does not want to see, until it is taken
 * back. Findings are made anew for every answer, so an id is only a name here: dismissing one that is not
 * found now, or in this range, is right too. */
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/core/rules.h"
#include "llmlab/db/dismissals.h"

/* False if it can be no finding's id. */
static bool is_id(const char *text)
{
	return strlen(text) == OPTIMIZATION_ID_SIZE - 1 &&
	       strspn(text, "0123456789abcdef") == OPTIMIZATION_ID_SIZE - 1;
}

/* The id of a request that is well formed; else *p is set. */
static enum err begin(const struct http_request *rq, struct problem *p, const char **ret)
{
	api_query_none(rq, p);
	if (!problem_none(p))
		return p->code;
	if (!is_id(rq->path_args[0])) {
		problem_set(p, ERR_NOT_FOUND, "There is no such recommendation");
		return p->code;
	}
	*ret = rq->path_args[0];
	return ERR_OK;
}

static struct reply answer(const char *id, int64_t dismissed_at_us)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_string(&w, "id", id);
	jw_instant(&w, "dismissed_at", dismissed_at_us);
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_recommendations_dismiss(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const char *id = "";
	enum err e = begin(rq, &p, &id);
	if (e != ERR_OK)
		return reply_problem(rq, &p);
	int64_t dismissed_at_us;
	e = dismissals_add(api_db(rq), &rq->principal.user_id, id, &dismissed_at_us);
	if (e == ERR_NOT_FOUND)
		return api_fail(rq, ERR_INVALID_TOKEN, NULL);
	if (e == ERR_CONFLICT)
		return reply_error(rq, e, "1000 recommendations are dismissed already; take one back first");
	return e == ERR_OK ? answer(id, dismissed_at_us) : api_fail(rq, e, NULL);
}

struct reply api_recommendations_restore(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const char *id = "";
	enum err e = begin(rq, &p, &id);
	if (e != ERR_OK)
		return reply_problem(rq, &p);
	e = dismissals_remove(api_db(rq), &rq->principal.user_id, id);
	if (e == ERR_NOT_FOUND)
		return reply_error(rq, e, "This recommendation is not dismissed");
	return e == ERR_OK ? reply_empty(204) : api_fail(rq, e, NULL);
}
