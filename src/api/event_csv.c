/* How an event is shown as a line of CSV. One list of cells gives both the names and the values, so that they
 * cannot part. Not here: which events, and how they get to the client (events_export.c). */
#include "llmlab/api/event_csv.h"
#include <string.h>
#include "llmlab/api/event_output.h"
#include "llmlab/base/calendar.h"

#define JSON_MAX_BYTES ((size_t)64 * 1024)

struct line {
	struct buf *out;
	bool names; /* the header: names instead of values */
	bool begun;
};

static void put_plain(struct line *l, const char *name, const char *value)
{
	if (l->begun)
		buf_putc(l->out, ',');
	l->begun = true;
	buf_puts(l->out, l->names ? name : value);
}

static void put_quoted(struct buf *out, const char *before, const char *s)
{
	buf_putc(out, '"');
	buf_puts(out, before);
	for (; *s != '\0'; s++) {
		if (*s == '"')
			buf_putc(out, '"');
		buf_putc(out, *s);
	}
	buf_putc(out, '"');
}

/* Spreadsheets run a cell that begins so, whoever wrote it. */
static bool begins_formula(const char *s)
{
	return s[0] != '\0' && strchr("=+-@\t\r\n", s[0]) != NULL;
}

static void put_text(struct line *l, const char *name, const char *value)
{
	put_plain(l, name, "");
	if (l->names || value == NULL)
		return;
	const char *const before = begins_formula(value) ? "'" : "";
	if (strpbrk(value, "\",\r\n") != NULL) {
		put_quoted(l->out, before, value);
		return;
	}
	buf_puts(l->out, before);
	buf_puts(l->out, value);
}

static void put_i64(struct line *l, const char *name, int64_t value)
{
	put_plain(l, name, "");
	if (!l->names)
		buf_put_i64(l->out, value);
}

static void put_money(struct line *l, const char *name, bool has, struct money m)
{
	char text[DECIMAL_TEXT_MAX] = "";
	if (has)
		decimal_format(m.atto, MONEY_SCALE, text);
	put_plain(l, name, text);
}

static void put_uuid(struct line *l, const char *name, bool has, const struct uuid *id)
{
	char text[UUID_TEXT_SIZE] = "";
	if (has)
		uuid_format(id, text);
	put_plain(l, name, text);
}

static void put_instant(struct line *l, const char *name, int64_t us)
{
	char text[INSTANT_TEXT_SIZE];
	instant_format(us, text);
	put_plain(l, name, text);
}

static void put_json(struct line *l, const char *name, struct buf *json)
{
	put_text(l, name, buf_str(json));
	l->out->failed = l->out->failed || json->failed;
	buf_release(json);
}

static void put_units(struct line *l, const struct usage *u)
{
	struct buf json;
	struct json_writer w;
	buf_init(&json, JSON_MAX_BYTES);
	jw_init(&w, &json);
	event_write_units(&w, NULL, u);
	put_json(l, "units", &json);
}

static void put_breakdown(struct line *l, const struct event *e)
{
	struct buf json;
	struct json_writer w;
	buf_init(&json, JSON_MAX_BYTES);
	jw_init(&w, &json);
	event_write_breakdown(&w, NULL, e);
	put_json(l, "pricing_breakdown", &json);
}

static void put_usage(struct line *l, const struct usage *u)
{
	put_i64(l, "input_tokens", u->counts[USAGE_input_tokens]);
	put_i64(l, "output_tokens", u->counts[USAGE_output_tokens]);
	put_i64(l, "total_tokens", usage_total(u));
	for (enum usage_count c = 0; c < USAGE_COUNTS; c++) {
		if (c != USAGE_input_tokens && c != USAGE_output_tokens)
			put_i64(l, usage_count_name(c), u->counts[c]);
	}
	put_i64(l, "web_searches", u->web_searches);
	put_units(l, u);
}

static void put_pricing(struct line *l, const struct event *e)
{
	put_money(l, "cost", e->has_cost, e->cost);
	put_text(l, "pricing_status", e->pricing_status);
	put_text(l, "pricing_record", e->price_record);
	put_text(l, "pricing_catalogue_version", e->catalogue_version);
	put_text(l, "pricing_rule", e->price_rule);
	put_text(l, "pricing_service_tier", e->service_tier);
	put_money(l, "pricing_reported_cost", e->has_reported_cost, e->reported_cost);
	put_money(l, "pricing_catalogue_cost", e->has_catalogue_cost, e->catalogue_cost);
	put_breakdown(l, e);
}

static void put_context(struct line *l, const struct event *e)
{
	put_text(l, "service_tier", e->requested_tier);
	put_text(l, "inference_geo", e->inference_geo);
	put_text(l, "data_residency", e->data_residency);
	put_text(l, "search_context_size", e->search_context_size);
	put_text(l, "project", e->project);
	put_text(l, "customer", e->customer);
	put_text(l, "tags", e->tags_json == NULL ? "{}" : e->tags_json);
	put_text(l, "metadata", e->metadata_json);
	if (e->has_latency)
		put_i64(l, "latency_ms", e->latency_ms);
	else
		put_plain(l, "latency_ms", "");
	put_text(l, "status", e->status);
	put_text(l, "response_id", e->response_id);
	put_uuid(l, "api_key_id", e->has_api_key, &e->api_key_id);
}

static void put_line(struct line *l, const struct event *e)
{
	put_uuid(l, "event_id", true, &e->id);
	put_uuid(l, "user_id", true, &e->user_id);
	put_instant(l, "timestamp", e->occurred_at_us);
	put_instant(l, "tracked_at", e->received_at_us);
	put_text(l, "provider", e->provider);
	put_text(l, "model", e->model);
	put_usage(l, &e->usage);
	put_pricing(l, e);
	put_context(l, e);
	buf_puts(l->out, "\r\n");
}

void event_csv_header(struct buf *out)
{
	const struct event none = {0};
	put_line(&(struct line){.out = out, .names = true}, &none);
}

void event_csv_row(struct buf *out, const struct event *e)
{
	put_line(&(struct line){.out = out}, e);
}
