/* GET /api/pricing/models: the price catalogue as this server charges by it, at any instant. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "llmlab/api/cursor.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/core/price.h"
#include "llmlab/providers/catalogue_load.h"

#define NAME_MAX_CHARS	   200
#define SECONDS_PER_MINUTE 60

static const char *const PARAMETERS[] = {"provider", "q", "at", "limit", "cursor", NULL};

/* What is asked for. */
struct models_query {
	const char *provider; /* canonical id; NULL: any */
	const char *text;     /* part of a model's id or name, any case; NULL: any */
	const char *after;    /* "<provider>/<model>" of the last one shown before; NULL: from the first */
	int64_t at_us;
	size_t limit;
};

/* ---- prices ---- */

static void write_price(struct json_writer *w, const char *name, int128 price, int scale)
{
	if (price != PRICE_NONE)
		jw_decimal(w, name, price, scale);
}

static void write_categories(struct json_writer *w, const struct price_tier *t)
{
	for (enum price_category c = 0; c < PRICE_CATEGORIES; c++)
		write_price(w, price_category_name(c), t->per_million[c], PRICE_SCALE);
}

/* The base prices, and the tiers above them. */
static void write_set(struct json_writer *w, const struct price_set *set)
{
	jw_object_begin(w, "per_million_tokens");
	if (set->n_tiers > 0)
		write_categories(w, &set->tiers[0]);
	jw_object_end(w);
	if (set->n_tiers < 2)
		return;
	jw_array_begin(w, "tiers");
	for (size_t i = 1; i < set->n_tiers; i++) {
		jw_object_begin(w, NULL);
		jw_i64(w, "above_input_tokens", set->tiers[i].above_input_tokens);
		write_categories(w, &set->tiers[i]);
		jw_object_end(w);
	}
	jw_array_end(w);
}

static void write_second(struct json_writer *w, const char *key, uint32_t second)
{
	char text[16];
	const unsigned minutes = second / SECONDS_PER_MINUTE;
	snprintf(text, sizeof text, "%02u:%02u", minutes / 60 % 100, minutes % 60);
	jw_string(w, key, text);
}

static void write_windows(struct json_writer *w, const struct price_period *period)
{
	static const char *const DAYS[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
	if (period->n_windows == 0)
		return;
	jw_array_begin(w, "windows");
	for (size_t i = 0; i < period->n_windows; i++) {
		const struct price_window *const window = &period->windows[i];
		jw_object_begin(w, NULL);
		write_second(w, "utc_from", window->from_second);
		write_second(w, "utc_to", window->to_second);
		jw_array_begin(w, "days");
		for (unsigned day = 0; day < 7; day++) {
			if (window->days >> day & 1)
				jw_string(w, NULL, DAYS[day]);
		}
		jw_array_end(w);
		write_set(w, &window->prices);
		jw_object_end(w);
	}
	jw_array_end(w);
}

static void write_service_tiers(struct json_writer *w, const struct price_period *period)
{
	bool any = false;
	for (enum service_tier t = 0; t < SERVICE_TIERS; t++) {
		if (period->service[t].n_tiers == 0)
			continue;
		if (!any)
			jw_object_begin(w, "service_tiers");
		any = true;
		jw_object_begin(w, service_tier_name(t));
		write_set(w, &period->service[t]);
		jw_object_end(w);
	}
	if (any)
		jw_object_end(w);
}

static void write_fees(struct json_writer *w, const struct price_period *period)
{
	jw_object_begin(w, "per_thousand");
	write_price(w, "requests", period->requests_per_thousand, PRICE_SCALE);
	write_price(w, "web_searches", period->web_searches_per_thousand, PRICE_SCALE);
	jw_object_end(w);
}

/* What holds at any time. */
static void write_constants(struct json_writer *w, const struct price_record *r)
{
	jw_object_begin(w, "per_unit");
	for (enum usage_unit u = 0; u < USAGE_UNITS; u++)
		write_price(w, usage_unit_name(u), r->per_unit[u], UNIT_PRICE_SCALE);
	jw_object_end(w);
	jw_array_begin(w, "multipliers");
	for (size_t i = 0; i < r->n_multipliers; i++) {
		jw_object_begin(w, NULL);
		jw_string(w, "setting", r->multipliers[i].setting);
		jw_string(w, "value", r->multipliers[i].value);
		jw_decimal(w, "factor", r->multipliers[i].factor, PRICE_FACTOR_SCALE);
		jw_object_end(w);
	}
	jw_array_end(w);
}

static void write_bound(struct json_writer *w, const char *key, int64_t us)
{
	if (us == INT64_MIN || us == INT64_MAX)
		jw_null(w, key);
	else
		jw_instant(w, key, us);
}

static void write_prices(
	struct json_writer *w, const struct price_record *r, const struct price_period *period)
{
	if (period == NULL) {
		jw_null(w, "prices");
		return;
	}
	jw_object_begin(w, "prices");
	write_bound(w, "from", period->from_us);
	write_bound(w, "to", period->to_us);
	write_set(w, &period->standard);
	write_fees(w, period);
	write_windows(w, period);
	write_service_tiers(w, period);
	write_constants(w, r);
	jw_object_end(w);
}

/* ---- models ---- */

static void write_count(struct json_writer *w, const char *key, int64_t count)
{
	if (count == 0)
		jw_null(w, key);
	else
		jw_i64(w, key, count);
}

/* The begin or end of a period that comes first after the instant; INT64_MAX if there is none. */
static int64_t next_change(const struct price_record *r, int64_t at_us)
{
	int64_t next_us = INT64_MAX;
	for (size_t i = 0; i < r->n_periods; i++) {
		const struct price_period *const period = &r->periods[i];
		if (period->from_us > at_us && period->from_us < next_us)
			next_us = period->from_us;
		if (period->to_us > at_us && period->to_us < next_us)
			next_us = period->to_us;
	}
	return next_us;
}

static void write_model(struct json_writer *w, const struct price_record *r, int64_t at_us)
{
	jw_object_begin(w, NULL);
	jw_string(w, "provider", r->provider);
	jw_string(w, "model", r->model);
	jw_string(w, "name", r->name);
	jw_string(w, "class", r->class_);
	jw_string(w, "line", r->line);
	jw_string(w, "kind", r->kind);
	write_count(w, "context_window", r->context_window);
	write_count(w, "max_input_tokens", r->max_input_tokens);
	write_count(w, "max_output_tokens", r->max_output_tokens);
	jw_bool(w, "deprecated", r->deprecated);
	write_prices(w, r, price_period_at(r, at_us));
	write_bound(w, "next_change", next_change(r, at_us));
	jw_object_end(w);
}

static bool contains(const char *text, const char *part)
{
	return text != NULL && strcasestr(text, part) != NULL;
}

static bool is_wanted(const struct models_query *q, const struct price_record *r)
{
	if (q->provider != NULL && strcmp(q->provider, r->provider) != 0)
		return false;
	return q->text == NULL || contains(r->model, q->text) || contains(r->name, q->text);
}

static bool is_called(const struct price_record *r, const char *full_name)
{
	const size_t n = strlen(r->provider);
	return strncmp(r->provider, full_name, n) == 0 && full_name[n] == '/' &&
	       strcmp(r->model, full_name + n + 1) == 0;
}

/* Writes the page and returns the last record shown if there are more after it. *ret_found tells whether the
 * record that the page comes after exists. */
static const struct price_record *write_models(struct json_writer *w, const struct catalogue *c,
	const struct models_query *q, size_t *ret_shown, bool *ret_found)
{
	const struct price_record *last = NULL;
	*ret_shown = 0;
	*ret_found = q->after == NULL;
	for (size_t i = 0; i < c->n_providers; i++) {
		for (size_t j = 0; j < c->providers[i].n_records; j++) {
			const struct price_record *const r = &c->providers[i].records[j];
			if (!*ret_found) {
				*ret_found = is_called(r, q->after);
				continue;
			}
			if (!is_wanted(q, r))
				continue;
			if (*ret_shown == q->limit)
				return last;
			write_model(w, r, q->at_us);
			last = r;
			(*ret_shown)++;
		}
	}
	return NULL;
}

/* ---- the request ---- */

static void read_query(struct http_request *rq, struct models_query *q, struct problem *p)
{
	api_query_allow(rq, PARAMETERS, p);
	const char *const provider = api_query_text(rq, "provider", NAME_MAX_CHARS, p);
	const char *const at = http_query_get(rq, "at");
	const char *const cursor = http_query_get(rq, "cursor");
	q->provider = provider == NULL ? NULL : api_provider_id(provider, &rq->arena);
	q->text = api_query_text(rq, "q", NAME_MAX_CHARS, p);
	q->limit = (size_t)api_query_i64(rq, "limit", 1, API_PAGE_MAX, API_PAGE_DEFAULT, p);
	q->at_us = rq->received_us;
	if (at != NULL && instant_parse(at, strlen(at), &q->at_us) != ERR_OK)
		problem_add(p, "at", "must be an RFC 3339 time");
	q->after = cursor == NULL ? NULL : text_cursor_parse(cursor, &rq->arena);
	if (cursor != NULL && q->after == NULL)
		problem_add(p, "cursor", "is not one that this server gave out");
	if (arena_overflowed(&rq->arena))
		problem_set(p, ERR_NO_MEMORY, "There is not enough memory for this request now");
}

static void write_list(struct buf *out, struct http_request *rq, const struct catalogue *c,
	const struct models_query *q, struct problem *p)
{
	struct json_writer w;
	jw_init(&w, out);
	size_t shown;
	bool found;
	jw_object_begin(&w, NULL);
	jw_array_begin(&w, "models");
	const struct price_record *const last = write_models(&w, c, q, &shown, &found);
	jw_array_end(&w);
	jw_i64(&w, "count", (int64_t)shown);
	const char *const name =
		last == NULL ? NULL : arena_printf(&rq->arena, "%s/%s", last->provider, last->model);
	jw_string(&w, "next_cursor", name == NULL ? NULL : text_cursor_format(name, &rq->arena));
	jw_string(&w, "catalogue_version", c->version);
	jw_object_end(&w);
	if (!found)
		problem_add(p, "cursor", "names a model that is no longer in the catalogue; begin again");
	if (arena_overflowed(&rq->arena))
		problem_set(p, ERR_NO_MEMORY, "There is not enough memory for this request now");
}

struct reply api_pricing_models(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct models_query q;
	read_query(rq, &q, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	const struct catalogue *const c = catalogue_acquire();
	write_list(&body, rq, c, &q, &p);
	catalogue_release(c);
	if (!problem_none(&p)) {
		buf_release(&body);
		return reply_problem(rq, &p);
	}
	/* An ETag from the bytes: prices change by the catalogue and by the clock, and only the answer shows
	 * both. */
	return api_reply_tagged(rq, "application/json", &body);
}
