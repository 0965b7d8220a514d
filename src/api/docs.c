/* GET /api/openapi.json and /docs: the description of this API, and a page that shows it to people. Both
 * travel inside the binary; openapi.json is made from docs/openapi.yaml by the build, and the contract test
 * holds it against what the server does. */
#include <pthread.h>
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

#define DOCS_MAX 8

/* Of the files, in their order: made once, because openapi.json is large and anybody may ask for it. */
static char etags[DOCS_MAX][API_ETAG_SIZE];
static pthread_once_t etags_once = PTHREAD_ONCE_INIT;

static void make_etags(void)
{
	CHECK(embed_docs_count <= DOCS_MAX);
	for (size_t i = 0; i < embed_docs_count; i++)
		api_etag(embed_docs[i].data, (size_t)(embed_docs[i].end - embed_docs[i].data), etags[i]);
}

static size_t find(const char *name)
{
	size_t i = 0;
	while (i < embed_docs_count && strcmp(embed_docs[i].name, name) != 0)
		i++;
	CHECK(i < embed_docs_count);
	return i;
}

static struct reply answer(struct http_request *rq, const char *name, const char *content_type)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	CHECK(pthread_once(&etags_once, make_etags) == 0);
	const size_t i = find(name);
	const struct embed_file *const file = &embed_docs[i];
	struct reply r = api_has_already(rq, etags[i]) ? reply_empty(304)
						       : reply_fixed(200, content_type, file->data,
								 (size_t)(file->end - file->data));
	reply_set_header(&r, "ETag", "%s", etags[i]);
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
