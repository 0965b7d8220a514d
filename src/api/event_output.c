/* How a stored or estimated event is shown as JSON: its cost, the breakdown that explains it, and everything
 * else. */
#include "llmlab/api/event_output.h"
#include "llmlab/base/check.h"
#include "llmlab/core/price.h"

/* The price's name says what it is the price of. */
static void write_line(struct json_writer *w, const struct price_line *l)
{
	jw_object_begin(w, NULL);
	jw_string(w, "category", price_line_category(l));
	switch (l->kind) {
	case LINE_TOKENS:
		jw_i64(w, "tokens", l->quantity);
		jw_decimal(w, "per_million", l->price, PRICE_LINE_SCALE);
		break;
	case LINE_WEB_SEARCHES:
	case LINE_REQUESTS:
		jw_i64(w, "quantity", l->quantity);
		jw_decimal(w, "per_thousand", l->price, PRICE_LINE_SCALE);
		break;
	case LINE_UNIT:
		jw_decimal(w, "quantity", l->quantity, UNIT_SCALE);
		jw_decimal(w, "per_unit", l->price, PRICE_LINE_SCALE);
		break;
	}
	jw_decimal(w, "cost", l->cost.atto, MONEY_SCALE);
	jw_object_end(w);
}

void event_write_breakdown(struct json_writer *w, const char *key, const struct event *e)
{
	struct price_line lines[PRICE_LINES_MAX];
	size_t n = 0;
	/* The text is our own, written when the event was priced. */
	if (e->price_lines != NULL)
		CHECK(price_lines_parse(e->price_lines, lines, &n) == ERR_OK);
	jw_array_begin(w, key);
	for (size_t i = 0; i < n; i++)
		write_line(w, &lines[i]);
	jw_array_end(w);
}

static void write_pricing(struct json_writer *w, const struct event *e)
{
	jw_object_begin(w, "pricing");
	jw_string(w, "status", e->pricing_status);
	jw_string(w, "record", e->price_record);
	jw_string(w, "catalogue_version", e->catalogue_version);
	jw_string(w, "rule", e->price_rule);
	jw_string(w, "service_tier", e->service_tier);
	if (e->has_reported_cost)
		jw_decimal(w, "reported_cost", e->reported_cost.atto, MONEY_SCALE);
	if (e->has_catalogue_cost)
		jw_decimal(w, "catalogue_cost", e->catalogue_cost.atto, MONEY_SCALE);
	event_write_breakdown(w, "breakdown", e);
	jw_object_end(w);
}

void event_write_cost(struct json_writer *w, const struct event *e)
{
	jw_string(w, "provider", e->provider);
	jw_string(w, "model", e->model);
	jw_i64(w, "input_tokens", e->usage.counts[USAGE_input_tokens]);
	jw_i64(w, "output_tokens", e->usage.counts[USAGE_output_tokens]);
	jw_i64(w, "total_tokens", usage_total(&e->usage));
	if (e->has_cost)
		jw_decimal(w, "cost", e->cost.atto, MONEY_SCALE);
	else
		jw_null(w, "cost");
	write_pricing(w, e);
}

static void write_identity(struct json_writer *w, const struct event *e)
{
	jw_uuid(w, "event_id", &e->id);
	jw_uuid(w, "user_id", &e->user_id);
}

void event_write_tracked(struct json_writer *w, const char *key, const struct event *e, bool duplicate)
{
	jw_object_begin(w, key);
	write_identity(w, e);
	event_write_cost(w, e);
	jw_bool(w, "duplicate", duplicate);
	jw_instant(w, "tracked_at", e->received_at_us);
	jw_object_end(w);
}

void event_write_units(struct json_writer *w, const char *key, const struct usage *u)
{
	jw_object_begin(w, key);
	for (enum usage_unit i = 0; i < USAGE_UNITS; i++) {
		if (u->units[i] != 0)
			jw_decimal(w, usage_unit_name(i), u->units[i], UNIT_SCALE);
	}
	jw_object_end(w);
}

/* The two wholes are shown already. */
static void write_parts(struct json_writer *w, const struct usage *u)
{
	for (enum usage_count c = 0; c < USAGE_COUNTS; c++) {
		if (c != USAGE_input_tokens && c != USAGE_output_tokens)
			jw_i64(w, usage_count_name(c), u->counts[c]);
	}
	jw_i64(w, "web_searches", u->web_searches);
	event_write_units(w, "units", u);
}

static void write_context(struct json_writer *w, const struct event *e)
{
	jw_string(w, "service_tier", e->requested_tier);
	jw_string(w, "inference_geo", e->inference_geo);
	jw_string(w, "data_residency", e->data_residency);
	jw_string(w, "search_context_size", e->search_context_size);
	jw_string(w, "project", e->project);
	jw_string(w, "customer", e->customer);
	jw_raw(w, "tags", e->tags_json == NULL ? "{}" : e->tags_json);
	jw_raw(w, "metadata", e->metadata_json);
	if (e->has_latency)
		jw_i64(w, "latency_ms", e->latency_ms);
	else
		jw_null(w, "latency_ms");
	jw_string(w, "status", e->status);
	jw_string(w, "response_id", e->response_id);
	if (e->has_api_key)
		jw_uuid(w, "api_key_id", &e->api_key_id);
	else
		jw_null(w, "api_key_id");
}

void event_write_full(struct json_writer *w, const char *key, const struct event *e)
{
	jw_object_begin(w, key);
	write_identity(w, e);
	event_write_cost(w, e);
	write_parts(w, &e->usage);
	write_context(w, e);
	jw_instant(w, "timestamp", e->occurred_at_us);
	jw_bool(w, "duplicate", false);
	jw_instant(w, "tracked_at", e->received_at_us);
	jw_object_end(w);
}
