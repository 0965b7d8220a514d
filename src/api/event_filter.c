/* Query parameters to an events_filter, for the list and the export. Not here: pages and their cursors. */
#include "llmlab/api/event_filter.h"
#include "llmlab/core/tag.h"
#include <string.h>

#define NAME_MAX_CHARS 200
#define TEXT_MAX_CHARS 128

static const char *const STATUSES[] = {"success", "error", NULL};

static void read_tag(const struct http_request *rq, struct events_filter *f, struct problem *p)
{
	for (size_t i = 0; i < rq->n_query; i++) {
		const char *const name = rq->query[i].name;
		const char *const key = tag_key_of(name);
		if (key == NULL)
			continue;
		if (f->tag_key != NULL)
			problem_add(p, name, "only one tag can be asked for");
		f->tag_key = key;
		f->tag_value = rq->query[i].value;
	}
}

static void read_min_cost(const struct http_request *rq, struct events_filter *f, struct problem *p)
{
	const char *const text = http_query_get(rq, "min_cost");
	if (text == NULL)
		return;
	const int128 max = MONEY_MAX_USD * decimal_pow10(MONEY_SCALE);
	f->has_min_cost = true;
	if (decimal_parse(text, strlen(text), MONEY_SCALE, max, &f->min_cost.atto) != ERR_OK ||
		f->min_cost.atto < 0)
		problem_add(p, "min_cost", "must be a number, 0 or more");
}

static enum err read_provider(struct http_request *rq, struct events_filter *f, struct problem *p)
{
	const char *const provider = api_query_text(rq, "provider", NAME_MAX_CHARS, p);
	if (provider == NULL)
		return ERR_OK;
	f->provider = api_provider_id(provider, &rq->arena);
	return f->provider == NULL ? ERR_NO_MEMORY : ERR_OK;
}

enum err event_filter_read(
	struct http_request *rq, struct events_filter *f, struct range *ret_range, struct problem *p)
{
	enum err e = read_provider(rq, f, p);
	if (e != ERR_OK)
		return e;
	f->model = api_query_text(rq, "model", NAME_MAX_CHARS, p);
	f->project = api_query_text(rq, "project", TEXT_MAX_CHARS, p);
	f->customer = api_query_text(rq, "customer", TEXT_MAX_CHARS, p);
	f->status = api_query_choice(rq, "status", STATUSES, p);
	read_tag(rq, f, p);
	read_min_cost(rq, f, p);
	e = api_range(rq, ret_range, p);
	if (e != ERR_OK)
		return e;
	f->from_us = ret_range->from_us;
	f->to_us = ret_range->to_us;
	return ERR_OK;
}
