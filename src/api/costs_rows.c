/* What the answers of /api/costs share: the parameters that narrow them, and the figures of a row. */
#include "llmlab/api/costs_rows.h"
#include "llmlab/core/tag.h"
#include <string.h>

#define NAME_MAX_CHARS 200
#define TEXT_MAX_CHARS 128

static enum err read_tags(struct http_request *rq, struct usage_filter *f, struct problem *p)
{
	struct usage_tag *const tags = arena_array(&rq->arena, TAGS_MAX, sizeof *tags);
	if (tags == NULL)
		return ERR_NO_MEMORY;
	f->tags = tags;
	for (size_t i = 0; i < rq->n_query; i++) {
		const char *const name = rq->query[i].name;
		const char *const key = tag_key_of(name);
		if (key == NULL)
			continue;
		if (f->n_tags == TAGS_MAX) {
			problem_add(p, name, "is one tag too many: an event has at most %d", TAGS_MAX);
			continue;
		}
		tags[f->n_tags++] = (struct usage_tag){key, rq->query[i].value};
	}
	return ERR_OK;
}

static enum err read_key(struct http_request *rq, struct usage_filter *f, struct problem *p)
{
	const char *const text = http_query_get(rq, "key");
	if (text == NULL)
		return ERR_OK;
	struct uuid *const id = arena_alloc(&rq->arena, sizeof *id);
	if (id == NULL)
		return ERR_NO_MEMORY;
	if (uuid_parse(text, id) != ERR_OK)
		problem_add(p, "key", "must be the id of an API key");
	f->api_key_id = id;
	return ERR_OK;
}

static enum err read_provider(struct http_request *rq, struct usage_filter *f, struct problem *p)
{
	const char *const provider = api_query_text(rq, "provider", NAME_MAX_CHARS, p);
	if (provider == NULL)
		return ERR_OK;
	f->provider = api_provider_id(provider, &rq->arena);
	return f->provider == NULL ? ERR_NO_MEMORY : ERR_OK;
}

enum err costs_filter_read(struct http_request *rq, struct usage_filter *ret, struct problem *p)
{
	struct usage_filter f = {.model = api_query_text(rq, "model", NAME_MAX_CHARS, p),
		.project = api_query_text(rq, "project", TEXT_MAX_CHARS, p),
		.customer = api_query_text(rq, "customer", TEXT_MAX_CHARS, p)};
	enum err e = read_provider(rq, &f, p);
	if (e == ERR_OK)
		e = read_key(rq, &f, p);
	if (e == ERR_OK)
		e = read_tags(rq, &f, p);
	if (e == ERR_OK)
		*ret = f;
	return e;
}

void costs_write_sums(struct json_writer *w, const struct usage_sums *s)
{
	jw_decimal(w, "average_cost_per_call", money_average(s->cost, s->calls), MONEY_AVERAGE_SCALE);
	jw_i64(w, "total_tokens", s->input_tokens + s->output_tokens);
	jw_i64(w, "input_tokens", s->input_tokens);
	jw_i64(w, "output_tokens", s->output_tokens);
	jw_i64(w, "cache_read_tokens", s->cache_read_tokens);
	jw_i64(w, "cache_write_tokens", s->cache_write_tokens);
	jw_i64(w, "reasoning_tokens", s->reasoning_tokens);
	if (s->input_tokens > 0)
		jw_double(w, "cached_token_share", (double)s->cache_read_tokens / (double)s->input_tokens);
	else
		jw_null(w, "cached_token_share");
	jw_i64(w, "unpriced_calls", s->unpriced_calls);
	jw_i64(w, "errors", s->errors);
	jw_decimal(w, "error_cost", s->error_cost.atto, MONEY_SCALE);
}
