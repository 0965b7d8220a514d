/* /api/webhooks: where notifications are sent, their deliveries, and a test. Reading takes scope full too,
 * because the addresses of Slack and Discord are secrets themselves. Nothing is sent from here: everything
 * goes through the outbox. What a receiver answers is shown as a status, never as text. */
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/id_cursor.h"
#include "llmlab/api/support.h"
#include "llmlab/api/text.h"
#include "llmlab/auth/password.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/webhook.h"
#include "llmlab/core/webhook_target.h"
#include "llmlab/db/webhooks.h"

#define NAME_MAX_CHARS 200
#define TEST_PAYLOAD                                                                                         \
	"{\"message\":\"This is a test of the webhook. Nothing has happened.\",\"webhook_id\":\"%s\"}"

static const char *const FORMATS[] = {"json", "slack", "discord", NULL};

/* ---- answers ---- */

static void write_webhook(struct json_writer *w, const struct webhook *hook, const char *secret)
{
	jw_object_begin(w, NULL);
	jw_uuid(w, "id", &hook->id);
	jw_string(w, "name", hook->name);
	jw_string(w, "url", hook->url);
	jw_array_begin(w, "events");
	for (size_t i = 0; i < hook->n_events; i++)
		jw_string(w, NULL, hook->events[i]);
	jw_array_end(w);
	jw_string(w, "format", hook->format);
	jw_bool(w, "active", hook->active);
	jw_string(w, "disabled_reason", hook->disabled_reason);
	jw_i64(w, "pending_deliveries", hook->pending);
	if (secret != NULL)
		jw_string(w, "secret", secret);
	jw_instant(w, "created_at", hook->created_at_us);
	jw_instant(w, "updated_at", hook->updated_at_us);
	jw_object_end(w);
}

static struct reply answer_webhook(int status, const struct webhook *hook, const char *secret)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	write_webhook(&w, hook, secret);
	return reply_json(status, &body);
}

static struct reply fail_one(const struct http_request *rq, enum err e, const struct problem *p)
{
	return api_fail_one(rq, e, p, "There is no such webhook");
}

/* ---- bodies ---- */

struct webhook_input {
	const char *url, *name, *format;
	const json_t *events;
	struct opt_bool active;
};

#define FIELD(member, kind) .name = #member, .type = (kind), .offset = offsetof(struct webhook_input, member)
static const struct json_field CREATE[] = {
	{FIELD(url, JSON_FIELD_STRING), .min = 1, .max = WEBHOOK_URL_MAX, .required = true},
	{FIELD(events, JSON_FIELD_ARRAY), .min = 1, .max = WEBHOOK_EVENTS, .required = true},
	{FIELD(format, JSON_FIELD_CHOICE), .choices = FORMATS},
	{FIELD(name, JSON_FIELD_STRING), .min = 1, .max = NAME_MAX_CHARS},
	{FIELD(active, JSON_FIELD_BOOL)},
};
static const struct json_field CHANGE[] = {
	{FIELD(url, JSON_FIELD_STRING), .min = 1, .max = WEBHOOK_URL_MAX},
	{FIELD(events, JSON_FIELD_ARRAY), .min = 1, .max = WEBHOOK_EVENTS},
	{FIELD(format, JSON_FIELD_CHOICE), .choices = FORMATS},
	{FIELD(name, JSON_FIELD_STRING), .max = NAME_MAX_CHARS}, /* "" removes it */
	{FIELD(active, JSON_FIELD_BOOL)},
};

static void check_url(const struct http_request *rq, const char *url, struct problem *p)
{
	struct webhook_target target;
	const char *why = NULL;
	if (url != NULL &&
		webhook_target_parse(url, api_of(rq)->webhook_allow_private, &target, &why) != ERR_OK)
		problem_add(p, "url", "%s", why);
}

/* The names in the order of the table, each once, from the table itself. */
static const char *const *read_events(
	const json_t *array, size_t *ret_n, struct arena *arena, struct problem *p)
{
	const char **const names = arena_array(arena, WEBHOOK_EVENTS, sizeof *names);
	size_t n = 0, known = 0;
	for (size_t e = 0; names != NULL && e < WEBHOOK_EVENTS; e++) {
		const char *const name = webhook_event_name((enum webhook_event)e);
		size_t found = 0;
		for (size_t i = 0; i < json_array_size(array); i++) {
			const char *const text = json_string_value(json_array_get(array, i));
			found += text != NULL && strcmp(text, name) == 0;
		}
		known += found;
		if (found > 0)
			names[n++] = name;
	}
	if (array != NULL && (known != json_array_size(array) || known != n))
		problem_add(p, "events",
			"must be different ones of budget.threshold, anomaly.detected, model.unpriced");
	*ret_n = n;
	return names;
}

static void check_name(const char *name, struct problem *p)
{
	if (name != NULL && (text_has_control(name) || (name[0] != '\0' && text_is_blank(name))))
		problem_add(p, "name", "must not be blank or hold control characters");
}

/* What create and change share. ERR_OK: *doc is to be released. */
static enum err read_input(struct http_request *rq, const struct json_field *fields, size_t n_fields,
	struct json_doc *doc, struct webhook_input *in, struct problem *p)
{
	if (json_doc_parse(doc, rq->body, rq->body_len, &json_limits_default, &rq->arena, p) != ERR_OK)
		return p->code;
	(void)json_decode(doc, doc->root, fields, n_fields, in, "", p);
	check_url(rq, in->url, p);
	check_name(in->name, p);
	return ERR_OK;
}

/* ---- endpoints ---- */

struct reply api_webhooks_list(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	struct webhook *hooks;
	size_t n;
	const enum err e = webhooks_list(api_db(rq), &rq->principal.user_id, &rq->arena, &hooks, &n);
	if (e != ERR_OK)
		return api_fail(rq, e, NULL);
	struct buf body;
	struct json_writer w;
	api_page_begin(&w, &body, "webhooks", n);
	for (size_t i = 0; i < n; i++)
		write_webhook(&w, &hooks[i], NULL);
	jw_array_end(&w);
	jw_null(&w, "next_cursor"); /* all there may be fit one page */
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_webhooks_get(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct uuid id;
	struct webhook hook;
	enum err e = api_begin_one(rq, &id, &p);
	if (e == ERR_OK)
		e = webhooks_find(api_db(rq), &rq->principal.user_id, &id, &rq->arena, &hook);
	return e == ERR_OK ? answer_webhook(200, &hook, NULL) : fail_one(rq, e, &p);
}

/* The secret is shown here and never again. */
static struct reply store(struct http_request *rq, struct webhook *hook)
{
	char secret[WEBHOOK_SECRET_SIZE], sealed[SEALED_SIZE];
	const struct uuid *const user_id = &rq->principal.user_id;
	webhook_secret_generate(secret);
	seal_text(api_of(rq)->seal, user_id, &hook->id, secret, sealed);
	const enum err e = webhooks_insert(api_db(rq), user_id, hook, sealed, &rq->arena);
	struct reply r;
	if (e == ERR_OK)
		r = answer_webhook(201, hook, secret);
	else if (e == ERR_CONFLICT)
		r = reply_error(rq, e, "There are 20 webhooks already; delete one first");
	else
		r = api_fail(rq, e == ERR_NOT_FOUND ? ERR_INVALID_TOKEN : e, NULL);
	secret_wipe(secret, sizeof secret);
	return r;
}

struct reply api_webhooks_add(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_none(rq, &p);
	struct json_doc doc;
	struct webhook_input in = {.url = NULL};
	if (read_input(rq, CREATE, sizeof CREATE / sizeof CREATE[0], &doc, &in, &p) != ERR_OK)
		return reply_problem(rq, &p);
	struct webhook hook = {.id = uuid_v7(rq->received_us / US_PER_MS),
		.name = in.name,
		.url = in.url,
		.format = in.format != NULL ? in.format : FORMATS[0],
		.active = in.active.set ? in.active.value : true};
	hook.events = read_events(in.events, &hook.n_events, &rq->arena, &p);
	const struct reply r = problem_none(&p) ? store(rq, &hook) : reply_problem(rq, &p);
	json_doc_release(&doc);
	return r;
}

static struct reply change(
	struct http_request *rq, const struct uuid *id, const struct webhook_input *in, struct problem *p)
{
	struct webhook_changes changes = {.name = in->name,
		.url = in->url,
		.format = in->format,
		.active = in->active.set ? &in->active.value : NULL};
	if (in->events != NULL)
		changes.events = read_events(in->events, &changes.n_events, &rq->arena, p);
	if (!problem_none(p))
		return reply_problem(rq, p);
	const struct uuid *const user_id = &rq->principal.user_id;
	struct webhook hook;
	enum err e = webhooks_update(api_db(rq), user_id, id, &changes, &rq->arena);
	if (e == ERR_OK)
		e = webhooks_find(api_db(rq), user_id, id, &rq->arena, &hook);
	return e == ERR_OK ? answer_webhook(200, &hook, NULL) : fail_one(rq, e, NULL);
}

struct reply api_webhooks_update(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct uuid id;
	const enum err e = api_begin_one(rq, &id, &p);
	if (e != ERR_OK)
		return fail_one(rq, e, &p);
	struct json_doc doc;
	struct webhook_input in = {.url = NULL};
	if (read_input(rq, CHANGE, sizeof CHANGE / sizeof CHANGE[0], &doc, &in, &p) != ERR_OK)
		return reply_problem(rq, &p);
	const struct reply r = change(rq, &id, &in, &p);
	json_doc_release(&doc);
	return r;
}

struct reply api_webhooks_delete(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct uuid id;
	enum err e = api_begin_one(rq, &id, &p);
	if (e == ERR_OK)
		e = webhooks_delete(api_db(rq), &rq->principal.user_id, &id);
	return e == ERR_OK ? reply_empty(204) : fail_one(rq, e, &p);
}

/* ---- test ---- */

static struct reply answer_test(const struct uuid *delivery_id)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_uuid(&w, "delivery_id", delivery_id);
	jw_string(&w, "status", "pending");
	jw_object_end(&w);
	return reply_json(202, &body);
}

static struct reply fail_test(const struct http_request *rq, enum err e, const struct problem *p)
{
	if (e == ERR_CONFLICT)
		return reply_error(rq, e, "The webhook is not active");
	if (e != ERR_RATE_LIMITED)
		return fail_one(rq, e, p);
	struct reply r =
		reply_error(rq, e, "Too many tests within a minute, or too many deliveries that wait");
	reply_set_header(&r, "Retry-After", "60");
	return r;
}

struct reply api_webhooks_test(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct uuid id;
	enum err e = api_begin_one(rq, &id, &p);
	if (e != ERR_OK)
		return fail_one(rq, e, &p);
	const struct uuid delivery_id = uuid_v7(rq->received_us / US_PER_MS);
	char id_text[UUID_TEXT_SIZE];
	uuid_format(&id, id_text);
	const char *const payload = arena_printf(&rq->arena, TEST_PAYLOAD, id_text);
	e = payload == NULL ? ERR_NO_MEMORY
			    : webhooks_test(api_db(rq), &rq->principal.user_id, &id, &delivery_id, payload,
				      &rq->arena);
	return e == ERR_OK ? answer_test(&delivery_id) : fail_test(rq, e, &p);
}

/* ---- deliveries ---- */

static void write_delivery(struct json_writer *w, const struct webhook_delivery *d)
{
	jw_object_begin(w, NULL);
	jw_uuid(w, "id", &d->id);
	jw_string(w, "event", d->event_type);
	jw_string(w, "status", d->status);
	jw_i64(w, "attempts", d->attempts);
	if (d->response_status == 0)
		jw_null(w, "response_status");
	else
		jw_i64(w, "response_status", d->response_status);
	if (d->duration_ms < 0)
		jw_null(w, "duration_ms");
	else
		jw_i64(w, "duration_ms", d->duration_ms);
	jw_string(w, "error", d->error);
	jw_instant(w, "created_at", d->created_at_us);
	jw_instant_or_null(w, "last_attempt_at", d->last_attempt_us != 0, d->last_attempt_us);
	jw_instant_or_null(w, "next_attempt_at", d->next_attempt_us != 0, d->next_attempt_us);
	jw_instant_or_null(w, "finished_at", d->finished_us != 0, d->finished_us);
	jw_object_end(w);
}

static struct reply answer_deliveries(
	const struct webhook_delivery *rows, size_t n, size_t page, struct arena *arena)
{
	const size_t shown = n < page ? n : page;
	struct buf body;
	struct json_writer w;
	api_page_begin(&w, &body, "deliveries", shown);
	for (size_t i = 0; i < shown; i++)
		write_delivery(&w, &rows[i]);
	return id_cursor_end(&w, n > page ? &rows[shown - 1].id : NULL, arena);
}

struct reply api_webhooks_deliveries(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const int limit = api_page_limit(rq, &p);
	struct uuid before, id;
	const bool goes_on = id_cursor_read(rq, &before, &p);
	enum err e = problem_none(&p) ? api_path_uuid(rq, 0, &id) : p.code;
	struct webhook_delivery *rows = NULL;
	size_t n = 0;
	if (e == ERR_OK)
		e = webhook_deliveries_list(api_db(rq), &rq->principal.user_id, &id, goes_on ? &before : NULL,
			limit + 1, &rq->arena, &rows, &n);
	return e == ERR_OK ? answer_deliveries(rows, n, (size_t)limit, &rq->arena) : fail_one(rq, e, &p);
}
