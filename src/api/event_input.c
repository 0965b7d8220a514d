/* Event bodies: decodes the object by a table, reads counts from the caller's fields or from a provider's own
 * usage object, checks what the fields mean together, prices, and fills a struct event. Does not store
 * anything and does not know about requests. */
#include "llmlab/api/event_input.h"
#include <stdio.h>
#include <string.h>
#include "llmlab/api/text.h"
#include "llmlab/base/json_write.h"
#include "llmlab/auth/digest.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/hex.h"
#include "llmlab/core/tag.h"
#include "llmlab/providers/usage_format.h"

#define NAME_MAX_CHARS	      200
#define TEXT_MAX_CHARS	      128
#define URL_MAX_CHARS	      2048
#define METADATA_MAX_BYTES    4096
#define METADATA_EXPONENT_MAX 400
#define WEB_SEARCHES_MAX      1000000000
#define UNITS_MAX	      1000000000000000LL
#define FUTURE_MAX_US	      (5 * US_PER_MINUTE)
#define OLDEST_US	      (1420070400 * US_PER_SECOND) /* 2015-01-01T00:00:00Z */
#define TAGS_JSON_MAX_BYTES   ((size_t)16 * 1024)

/* The body as the table decodes it. */
struct body {
	const char *provider, *model, *base_url;
	struct opt_i64 counts[USAGE_COUNTS];
	struct opt_i64 web_searches;
	const json_t *units, *usage, *response;
	const char *usage_format, *service_tier, *inference_geo, *data_residency;
	struct opt_decimal cost;
	struct opt_i64 timestamp;
	const json_t *metadata, *tags;
	const char *project, *customer;
	struct opt_i64 latency_ms;
	const char *status;
	const char *reservation_id;
	const char *idempotency_key;
};

static const char *const STATUSES[] = {"success", "error", NULL};

#define TEXT(member, most)                                                                                   \
	{                                                                                                    \
		.name = #member, .type = JSON_FIELD_STRING, .offset = offsetof(struct body, member),         \
		.min = 1, .max = (most)                                                                      \
	}
#define VALUE(member, kind)                                                                                  \
	{                                                                                                    \
		.name = #member, .type = JSON_FIELD_##kind, .offset = offsetof(struct body, member)          \
	}
#define INTEGER(member, most)                                                                                \
	{                                                                                                    \
		.name = #member, .type = JSON_FIELD_I64, .offset = offsetof(struct body, member),            \
		.max = (most)                                                                                \
	}

static const struct json_field FIELDS[] = {
	TEXT(provider, NAME_MAX_CHARS),
	TEXT(model, NAME_MAX_CHARS),
	TEXT(base_url, URL_MAX_CHARS),
#define COUNT(count, parent, parent2, category)                                                              \
	{.name = #count,                                                                                     \
		.type = JSON_FIELD_I64,                                                                      \
		.offset = offsetof(struct body, counts) + USAGE_##count * sizeof(struct opt_i64),            \
		.max = USAGE_TOKENS_MAX},
#include "llmlab/core/usage_counts.def"
#undef COUNT
	INTEGER(web_searches, WEB_SEARCHES_MAX),
	VALUE(units, OBJECT),
	VALUE(usage, OBJECT),
	VALUE(response, OBJECT),
	TEXT(usage_format, TEXT_MAX_CHARS),
	TEXT(service_tier, TEXT_MAX_CHARS),
	TEXT(inference_geo, TEXT_MAX_CHARS),
	TEXT(data_residency, TEXT_MAX_CHARS),
	{.name = "cost",
		.type = JSON_FIELD_DECIMAL,
		.offset = offsetof(struct body, cost),
		.max = MONEY_MAX_USD,
		.scale = MONEY_SCALE},
	VALUE(timestamp, INSTANT),
	VALUE(metadata, OBJECT),
	VALUE(tags, OBJECT),
	TEXT(project, TEXT_MAX_CHARS),
	TEXT(customer, TEXT_MAX_CHARS),
	INTEGER(latency_ms, INT64_MAX),
	{.name = "status",
		.type = JSON_FIELD_CHOICE,
		.offset = offsetof(struct body, status),
		.choices = STATUSES},
	TEXT(reservation_id, TEXT_MAX_CHARS),
	TEXT(idempotency_key, TEXT_MAX_CHARS),
};

/* One event on its way through this file. */
struct reading {
	const struct event_source *source;
	const struct json_doc *doc;
	const json_t *object;
	struct body body;
	struct usage_report report; /* what the caller says was used, by whichever way */
	bool measured;		    /* there are tokens, searches or units to price */
	struct event_input *out;
	struct problem *p;
};

static bool is_named(const struct problem *p, const char *field)
{
	for (size_t i = 0; i < p->n_fields; i++) {
		if (strcmp(p->fields[i].field, field) == 0)
			return true;
	}
	return false;
}

/* ---- what was used ---- */

/* True if the caller gave a count, even a bad one. */
static bool gives_counts(const struct reading *r)
{
	for (enum usage_count c = 0; c < USAGE_COUNTS; c++) {
		const json_t *const value = json_object_get(r->object, usage_count_name(c));
		if (value != NULL && !json_is_null(value))
			return true;
	}
	return false;
}

static bool gives(const struct reading *r, const char *field)
{
	const json_t *const value = json_object_get(r->object, field);
	return value != NULL && !json_is_null(value);
}

/* Exactly one of counts, usage and response; without any, units or a cost must be there. False if there are
 * several: then none of them is read. */
static bool check_sources(struct reading *r)
{
	const bool counts = gives_counts(r), usage = gives(r, "usage"), response = gives(r, "response");
	const int n = counts + usage + response;
	if (n > 1) {
		const char *const rule = "give only one of token counts, usage and response";
		if (usage)
			problem_add(r->p, "usage", "%s", rule);
		if (response)
			problem_add(r->p, "response", "%s", rule);
	}
	if (n == 0 && !gives(r, "units") && !gives(r, "cost"))
		problem_add(r->p, "input_tokens", "is required (or usage, response, units or cost instead)");
	if (gives(r, "usage_format") && !usage && !response)
		problem_add(r->p, "usage_format", "is only used with usage or response");
	return n <= 1;
}

/* Elsewhere null is as good as absent; a count that its sender has lost must not become 0. */
static void refuse_null_counts(struct reading *r)
{
	for (enum usage_count c = 0; c < USAGE_COUNTS; c++)
		if (json_is_null(json_object_get(r->object, usage_count_name(c))))
			problem_add(r->p, usage_count_name(c), "must be a number, not null");
}

static void read_counts(struct reading *r)
{
	for (enum usage_count c = 0; c < USAGE_COUNTS; c++)
		r->report.usage.counts[c] = r->body.counts[c].value;
	r->report.usage.has_counts = true;
}

static const char *string_of(const json_t *object, const char *key)
{
	const char *const text = json_string_value(json_object_get(object, key));
	return text != NULL && text[0] != '\0' ? text : NULL;
}

/* The model as far as it is known before the response is read: only to find who bills, and so how to read it.
 */
static const char *model_hint(const struct reading *r)
{
	const char *hint = r->body.model;
	if (r->body.response != NULL && hint == NULL)
		hint = string_of(r->body.response, "model");
	if (r->body.response != NULL && hint == NULL)
		hint = string_of(r->body.response, "modelVersion");
	return hint == NULL ? "" : hint;
}

/* Reads `usage` or `response` by the format that is named or that the provider is known to send. */
static void read_provider_body(struct reading *r)
{
	const struct body *const b = &r->body;
	const bool whole = b->response != NULL;
	const json_t *const object = whole ? b->response : b->usage;
	const struct catalogue *const c = r->source->catalogue;
	const struct price_match match = price_find(c, b->provider, model_hint(r), b->base_url);
	if (match.starved) {
		problem_set(r->p, ERR_NO_MEMORY, "There is not enough memory to find who bills now");
		return;
	}
	const struct usage_format *format;
	if (usage_format_find(c, b->usage_format, match.provider, object, whole, &format, r->p) != ERR_OK)
		return;
	struct usage_report report = {0};
	const enum err e =
		whole ? usage_format_read_response(format, r->doc, object, r->source->arena, &report, r->p)
		      : usage_format_read(format, r->doc, object, r->source->arena, &report, r->p);
	if (e != ERR_OK)
		return;
	if (report.usage_missing)
		problem_add(r->p, "response",
			"has no usage object, so what was used is not known (a cut stream?)");
	r->report = report;
}

/* Searches the caller counts beside a usage object that counts them too must agree. */
static void add_web_searches(struct reading *r)
{
	if (!r->body.web_searches.set)
		return;
	int64_t *const known = &r->report.usage.web_searches;
	if (*known != 0 && *known != r->body.web_searches.value)
		problem_add(r->p, "web_searches", "contradicts the usage object, which says %lld",
			(long long)*known);
	*known = r->body.web_searches.value;
}

/* The decimal of one unit, scaled by UNIT_SCALE; names it in *p if it is none. */
static void add_unit(struct reading *r, const char *name, const json_t *value)
{
	const char *const field =
		arena_printf(r->source->arena, "units.%.64s", text_has_control(name) ? "?" : name);
	const enum usage_unit unit = usage_unit_find(name);
	const char *const text = json_is_string(value) ? json_string_value(value)
						       : json_number_text(r->doc, value, r->source->arena);
	int128 quantity = 0;
	if (field == NULL)
		return;
	if (unit == USAGE_UNITS) {
		problem_add(r->p, field, "is not a known unit");
	} else if (text == NULL ||
		   decimal_parse(text, strlen(text), UNIT_SCALE, UNITS_MAX, &quantity) != ERR_OK ||
		   quantity < 0) {
		problem_add(r->p, field, "must be a number from 0 to %lld with at most %d decimals",
			UNITS_MAX / 1000000, UNIT_SCALE);
	} else {
		int64_t *const known = &r->report.usage.units[unit];
		if (*known != 0 && *known != (int64_t)quantity)
			problem_add(r->p, field, "contradicts the usage object");
		*known = (int64_t)quantity;
	}
}

static void add_units(struct reading *r)
{
	if (r->body.units == NULL)
		return;
	if (json_object_size(r->body.units) == 0)
		problem_add(r->p, "units", "must name at least one unit");
	const char *name;
	json_t *value;
	json_object_foreach (text_iterable(r->body.units), name, value) {
		add_unit(r, name, value);
	}
}

/* Contradictions are looked for only among counts that were read well. */
static void check_usage(struct reading *r)
{
	for (enum usage_count c = 0; c < USAGE_COUNTS; c++) {
		if (is_named(r->p, usage_count_name(c)))
			return;
	}
	usage_check(&r->report.usage, r->p);
}

static void read_usage(struct reading *r)
{
	if (!check_sources(r))
		return;
	if (r->body.usage != NULL || r->body.response != NULL)
		read_provider_body(r);
	else if (gives_counts(r))
		read_counts(r);
	add_web_searches(r);
	add_units(r);
	check_usage(r);
	const struct usage *const u = &r->report.usage;
	r->measured = u->has_counts || u->web_searches > 0;
	for (enum usage_unit i = 0; i < USAGE_UNITS; i++)
		r->measured = r->measured || u->units[i] > 0;
	r->measured = r->measured || r->body.units != NULL;
}

/* ---- what it was for ---- */

static void read_names(struct reading *r)
{
	struct event *const e = &r->out->event;
	if (r->body.provider != NULL && text_is_blank(r->body.provider))
		problem_add(r->p, "provider", "must not be blank");
	const bool from_response = r->report.model != NULL && r->report.model[0] != '\0';
	e->model = from_response ? r->report.model : r->body.model;
	if (e->model == NULL) {
		/* A response that could not be read may name its model all the same. */
		const bool unread = gives(r, "response") && !problem_none(r->p);
		if (!unread && !is_named(r->p, "model"))
			problem_add(r->p, "model", "is required");
		return;
	}
	const char *const field = from_response ? "response.model" : "model";
	if (utf8_length(e->model) > NAME_MAX_CHARS || text_has_control(e->model))
		problem_add(
			r->p, field, "must be 1 to %d characters without control characters", NAME_MAX_CHARS);
	if (text_is_blank(e->model))
		problem_add(r->p, field, "must not be blank");
}

static void read_time(struct reading *r)
{
	struct event *const e = &r->out->event;
	const struct event_source *const s = r->source;
	e->received_at_us = s->now_us;
	e->occurred_at_us = r->body.timestamp.set ? r->body.timestamp.value : s->now_us;
	r->out->has_time = r->body.timestamp.set;
	if (s->any_time)
		return;
	if (e->occurred_at_us > s->now_us + FUTURE_MAX_US)
		problem_add(r->p, "timestamp", "must not be more than 5 minutes in the future");
	else if (e->occurred_at_us < OLDEST_US)
		problem_add(r->p, "timestamp", "must not be before 2015");
}

/* The exponent of a number's text; the database's numbers reach no further than some 130,000 digits, and a
 * short text must not become a long row. */
static bool exponent_is_fair(const char *number)
{
	const char *at = strpbrk(number, "eE");
	if (at == NULL)
		return true;
	at++;
	at += *at == '+' || *at == '-';
	int value = 0;
	for (; *at != '\0'; at++) {
		value = value * 10 + (*at - '0');
		if (value > METADATA_EXPONENT_MAX)
			return false;
	}
	return true;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the body, at most JSON_WRITE_DEPTH_MAX */
static bool numbers_are_fair(const struct json_doc *doc, const json_t *v, struct arena *arena)
{
	if (json_is_real(v)) {
		const char *const text = json_number_text(doc, v, arena);
		return text != NULL && exponent_is_fair(text);
	}
	for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++) {
		if (!numbers_are_fair(doc, json_array_get(v, i), arena))
			return false;
	}
	if (!json_is_object(v))
		return true;
	const char *key;
	json_t *value;
	json_object_foreach (text_iterable(v), key, value) {
		if (!numbers_are_fair(doc, value, arena))
			return false;
	}
	return true;
}

static void read_metadata(struct reading *r)
{
	if (r->body.metadata == NULL)
		return;
	struct arena *const arena = r->source->arena;
	const char *const text = json_text(r->doc, r->body.metadata, METADATA_MAX_BYTES, arena);
	if (arena_overflowed(arena))
		return; /* told at the end */
	if (text == NULL)
		problem_add(r->p, "metadata", "must be at most %d bytes as compact JSON", METADATA_MAX_BYTES);
	else if (!numbers_are_fair(r->doc, r->body.metadata, arena))
		problem_add(
			r->p, "metadata", "holds a number with an exponent beyond %d", METADATA_EXPONENT_MAX);
	r->out->event.metadata_json = text;
}

struct tag {
	const char *key, *value;
};

/* Adds a tag in key order. False if it is none: it is named among the bad fields then, unless these are full.
 */
static bool add_tag(
	struct reading *r, struct tag tags[TAGS_MAX], size_t n, const char *key, const json_t *value)
{
	const char *const text = json_string_value(value);
	const size_t key_length = utf8_length(key);
	if (key_length < 1 || key_length > TEXT_MAX_CHARS || text_has_control(key)) {
		problem_add(r->p, "tags", "keys must be 1 to %d characters without control characters",
			TEXT_MAX_CHARS);
		return false;
	}
	if (text == NULL || utf8_length(text) > TEXT_MAX_CHARS || text_has_control(text)) {
		const char *const field = arena_printf(r->source->arena, "tags.%s", key);
		problem_add(r->p, field == NULL ? "tags" : field,
			"must be a string of at most %d characters without control characters",
			TEXT_MAX_CHARS);
		return false;
	}
	size_t at = n;
	/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): n have been added */
	for (; at > 0 && strcmp(tags[at - 1].key, key) > 0; at--)
		tags[at] = tags[at - 1];
	tags[at] = (struct tag){key, text};
	return true;
}

/* One text for one set of tags: the keys in byte order. */
static const char *tags_text(const struct tag *tags, size_t n, struct arena *arena)
{
	struct buf out;
	buf_init(&out, TAGS_JSON_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &out);
	jw_object_begin(&w, NULL);
	for (size_t i = 0; i < n; i++)
		/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): n have been added */
		jw_string(&w, tags[i].key, tags[i].value);
	jw_object_end(&w);
	const char *const text = out.failed ? NULL : arena_strndup(arena, buf_str(&out), out.len);
	buf_release(&out);
	return text;
}

static void read_tags(struct reading *r)
{
	const size_t n = r->body.tags == NULL ? 0 : json_object_size(r->body.tags);
	if (n == 0)
		return;
	if (n > TAGS_MAX) {
		problem_add(r->p, "tags", "must be at most %d", TAGS_MAX);
		return;
	}
	struct tag tags[TAGS_MAX];
	size_t added = 0;
	const char *key;
	json_t *value;
	json_object_foreach (text_iterable(r->body.tags), key, value) {
		if (!add_tag(r, tags, added, key, value))
			return;
		added++;
	}
	r->out->event.tags_json = tags_text(tags, added, r->source->arena);
	if (r->out->event.tags_json == NULL)
		problem_set(r->p, ERR_NO_MEMORY, "There is not enough memory for this event now");
}

/* A response's id as a key: as it is, or its digest where it is longer than a key may be. */
static const char *key_of_response(const char *id, struct arena *arena)
{
	if (utf8_length(id) <= TEXT_MAX_CHARS)
		return id;
	uint8_t digest[32];
	digest_sha256(id, strlen(id), digest);
	static const char PREFIX[] = "sha256:";
	char text[sizeof PREFIX + 64];
	memcpy(text, PREFIX, sizeof PREFIX);
	hex_encode(digest, sizeof digest, text + sizeof PREFIX - 1);
	return arena_strdup(arena, text);
}

static void read_key(struct reading *r)
{
	const char *const header = r->source->key_header;
	const char *const body = r->body.idempotency_key;
	const char *const response_id = r->report.response_id;
	if (header != NULL) {
		const size_t n = strlen(header);
		if (!utf8_valid(header, n) || utf8_length(header) < 1 ||
			utf8_length(header) > TEXT_MAX_CHARS || text_has_control(header))
			problem_add(r->p, "Idempotency-Key", "must be 1 to %d characters", TEXT_MAX_CHARS);
		else if (body != NULL && strcmp(header, body) != 0)
			problem_add(r->p, "idempotency_key", "differs from the Idempotency-Key header");
	}
	struct event *const e = &r->out->event;
	e->response_id = response_id != NULL && response_id[0] != '\0' ? response_id : NULL;
	e->idempotency_key = header != NULL ? header : body;
	if (e->idempotency_key == NULL && e->response_id != NULL)
		e->idempotency_key = key_of_response(e->response_id, r->source->arena);
}

static const char *first_of(const char *a, const char *b)
{
	return a != NULL ? a : b;
}

static void read_context(struct reading *r)
{
	struct event *const e = &r->out->event;
	const struct body *const b = &r->body;
	const struct usage_report *const u = &r->report;
	const bool fast = u->speed != NULL && strcmp(u->speed, "fast") == 0;
	/* "auto" leaves the choice to the provider, whose answer says what it was. */
	const bool chosen = b->service_tier != NULL && strcasecmp(b->service_tier, "auto") != 0;
	const char *const reported = fast ? u->speed : u->service_tier;
	e->requested_tier = chosen ? b->service_tier : first_of(reported, b->service_tier);
	e->inference_geo = first_of(b->inference_geo, u->inference_geo);
	e->data_residency = b->data_residency;
	e->search_context_size = u->search_context_size;
	e->project = b->project;
	e->customer = b->customer;
	e->has_latency = b->latency_ms.set;
	e->latency_ms = b->latency_ms.value;
	e->status = first_of(b->status, STATUSES[0]);
	const struct principal *const who = r->source->principal;
	e->user_id = who->user_id;
	e->has_api_key = who->is_api_key;
	if (who->is_api_key)
		e->api_key_id = who->token_id;
	e->has_reservation = b->reservation_id != NULL;
	if (e->has_reservation && uuid_parse(b->reservation_id, &e->reservation_id) != ERR_OK)
		problem_add(r->p, "reservation_id", "must be an id that POST /api/budgets/check gave");
}

/* ---- what it cost ---- */

static void put_reported(struct reading *r)
{
	struct event *const e = &r->out->event;
	if (!r->body.cost.set) {
		e->has_reported_cost = r->report.has_reported_cost;
		e->reported_cost = r->report.reported_cost;
		return;
	}
	e->has_catalogue_cost = e->has_cost;
	e->catalogue_cost = e->cost;
	e->has_cost = true;
	e->cost = (struct money){r->body.cost.value};
	e->has_reported_cost = true;
	e->reported_cost = e->cost;
	e->pricing_status = pricing_status_name(PRICING_REPORTED);
}

/* Without tokens, searches or units there is nothing that our prices could be applied to: not even a price of
 * 0. */
static void put_price(struct reading *r, const struct price_result *price)
{
	struct event *const e = &r->out->event;
	struct arena *const arena = r->source->arena;
	const struct price_record *const record = price->match.record;
	e->has_cost = r->measured && price->status != PRICING_UNPRICED;
	e->cost = e->has_cost ? price->cost : money_zero();
	e->pricing_status = pricing_status_name(e->has_cost ? price->status : PRICING_UNPRICED);
	e->price_record =
		record == NULL ? NULL : arena_printf(arena, "%s/%s", record->provider, record->model);
	e->price_rule = price->rule;
	if (e->has_cost && price->n_lines > 0) {
		price_lines_format(price->lines, price->n_lines, r->out->price_lines);
		e->price_lines = r->out->price_lines;
	}
	e->catalogue_version = arena_strdup(arena, price->catalogue_version);
	e->service_tier = service_tier_name(price->service_tier);
	put_reported(r);
}

static void put_provider(struct reading *r, const struct provider *provider)
{
	struct event *const e = &r->out->event;
	if (provider != NULL) {
		e->provider = provider->id;
		return;
	}
	/* "litellm" names the proxy in between and not who bills. */
	const char *const given =
		r->body.provider == NULL ? NULL : text_lower(r->body.provider, r->source->arena);
	e->provider = given == NULL || strcmp(given, "litellm") == 0 ? "unknown" : given;
}

/* Who bills may be found differently by a later catalogue, but what the caller sent stays what it was. */
static void put_claim(struct reading *r)
{
	if (r->body.provider != NULL)
		r->out->claimed_provider = text_lower(r->body.provider, r->source->arena);
	else if (r->body.base_url != NULL)
		r->out->claimed_provider = arena_printf(r->source->arena, "base_url %s", r->body.base_url);
}

static enum err price(struct reading *r)
{
	struct event *const e = &r->out->event;
	e->usage = r->report.usage;
	const struct price_query q = {.provider = r->body.provider,
		.model = e->model,
		.base_url = r->body.base_url,
		.at_us = e->occurred_at_us,
		.service_tier = e->requested_tier,
		.inference_geo = e->inference_geo,
		.data_residency = e->data_residency,
		.search_context_size = e->search_context_size,
		.usage = &e->usage};
	const struct price_record *own[OWN_PRICES_PER_USER_MAX];
	const size_t n_own = own_prices_at(r->source->own, e->occurred_at_us, own);
	struct price_result result;
	const enum err err = price_event(r->source->catalogue, own, n_own, &q, &result, r->p);
	if (err != ERR_OK) {
		problem_set(r->p, ERR_INTERNAL, "The price of this event could not be computed");
		return r->p->code;
	}
	put_provider(r, result.match.provider);
	put_claim(r);
	put_price(r, &result);
	return ERR_OK;
}

static enum err read_all(struct reading *r)
{
	json_decode(r->doc, r->object, FIELDS, sizeof FIELDS / sizeof FIELDS[0], &r->body, "", r->p);
	refuse_null_counts(r);
	if (!json_is_object(r->object))
		return r->p->code;
	read_usage(r);
	read_names(r);
	read_time(r);
	read_metadata(r);
	read_tags(r);
	read_key(r);
	read_context(r);
	return problem_none(r->p) ? price(r) : r->p->code;
}

enum err event_input_read(const struct event_source *source, const struct json_doc *doc, const json_t *object,
	struct event_input *ret, struct problem *p)
{
	*ret = (struct event_input){.has_time = false};
	struct reading r = {.source = source, .doc = doc, .object = object, .out = ret, .p = p};
	if (read_all(&r) != ERR_OK)
		return p->code;
	if (arena_overflowed(source->arena)) {
		problem_set(p, ERR_NO_MEMORY, "There is not enough memory for this event now");
		return p->code;
	}
	const int64_t us = ret->event.occurred_at_us;
	ret->event.id = uuid_v7(us < 0 ? 0 : us / US_PER_MS);
	return ERR_OK;
}

bool event_copy_texts(struct event *e, struct arena *arena)
{
	const char **const texts[] = {&e->provider, &e->model, &e->pricing_status, &e->price_record,
		&e->price_rule, &e->price_lines, &e->catalogue_version, &e->service_tier, &e->requested_tier,
		&e->inference_geo, &e->data_residency, &e->search_context_size, &e->project, &e->customer,
		&e->tags_json, &e->metadata_json, &e->status, &e->response_id, &e->idempotency_key};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		*texts[i] = arena_strdup(arena, *texts[i]);
	return !arena_overflowed(arena);
}
