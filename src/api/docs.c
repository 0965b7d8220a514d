/* GET /api/openapi.json and /docs: the description of this API, and a page that shows it to people. Both
 * travel inside the binary; openapi.json is made from docs/openapi.yaml by the build, and the contract test
 * holds it against what the server does. */
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/base/check.h"
#include "llmlab/base/embed.h"

extern const struct embed_file embed_docs[];
extern const size_t embed_docs_count;

/* The page's script and style come from this server, and it asks nobody else. */
static const char PAGE_POLICY[] =
	"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const struct embed_file *find(const char *name)
{
	size_t i = 0;
	while (i < embed_docs_count && strcmp(embed_docs[i].name, name) != 0)
		i++;
	CHECK(i < embed_docs_count);
	return &embed_docs[i];
}

static struct reply answer(struct http_request *rq, const char *name, const char *content_type)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, (const char *const[]){NULL}, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	const struct embed_file *const file = find(name);
	const size_t n = (size_t)(file->end - file->data);
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	buf_append(&body, file->data, n);
	struct reply r = api_reply_tagged(rq, content_type, &body);
	reply_set_header(&r, "Content-Security-Policy", "%s", PAGE_POLICY);
	return r;
}

struct reply api_openapi(struct http_request *rq)
{
	return answer(rq, "openapi.json", "application/json");
}

struct reply api_docs(struct http_request *rq)
{
	return answer(rq, "page.html", "text/html; charset=utf-8");
}

struct reply api_docs_script(struct http_request *rq)
{
	return answer(rq, "app.js", "text/javascript; charset=utf-8");
}

struct reply api_docs_style(struct http_request *rq)
{
	return answer(rq, "style.css", "text/css; charset=utf-8");
}
