/* POST /api/pricing/reprice and GET /api/pricing/repricings: new prices for events that were recorded, first
 * as a preview, then applied, and the ledger of what was applied. A large application is begun here and ended
 * in the background. */
#include <string.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/id_cursor.h"
#include "llmlab/api/repricing_run.h"
#include "llmlab/api/support.h"
#include "llmlab/base/clock.h"

#define ANSWER_BYTES   ((size_t)64 << 20)
#define NAME_MAX_CHARS 200
/* What one request does itself. A preview of more is refused, an application of more goes on in the
 * background. */
#define PREVIEW_EVENTS_MAX 500000
#define PREVIEW_US	   (5 * US_PER_SECOND)
#define APPLY_EVENTS	   20000
#define APPLY_US	   (5 * US_PER_SECOND)

struct reprice_body {
	const json_t *from, *to;
	const char *provider, *model, *reason;
	struct opt_bool dry_run;
};

static const struct json_field FIELDS[] = {
	{.name = "from",
		.type = JSON_FIELD_ANY,
		.offset = offsetof(struct reprice_body, from),
		.required = true},
	{.name = "to", .type = JSON_FIELD_ANY, .offset = offsetof(struct reprice_body, to), .required = true},
	{.name = "provider",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct reprice_body, provider),
		.min = 1,
		.max = NAME_MAX_CHARS},
	{.name = "model",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct reprice_body, model),
		.min = 1,
		.max = NAME_MAX_CHARS},
	{.name = "reason",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct reprice_body, reason),
		.min = 1,
		.max = REPRICING_REASON_MAX},
	{.name = "dry_run",
		.type = JSON_FIELD_BOOL,
		.offset = offsetof(struct reprice_body, dry_run),
		.required = true},
};

/* ---- reading ---- */

/* A date or instant, as text or number; "" (which is neither) for anything else. */
static const char *end_text(const struct json_doc *doc, const json_t *v, struct arena *arena)
{
	const char *const text = json_is_string(v) ? json_string_value(v) : json_number_text(doc, v, arena);
	return text == NULL ? "" : text;
}

/* Like the ranges of reading endpoints, but as long as it may be. */
static enum err read_range(struct http_request *rq, const struct json_doc *doc,
	const struct reprice_body *body, struct repricing *r, struct problem *p)
{
	struct range_spec spec;
	range_parse(
		NULL, end_text(doc, body->from, &rq->arena), end_text(doc, body->to, &rq->arena), &spec, p);
	const struct tz *tz;
	const enum err e = api_zone(rq, &tz, p);
	if (e != ERR_OK)
		return e;
	const bool dates = spec.kind == RANGE_DATES;
	r->from_us = dates ? tz_day_start(tz, spec.first_day) : spec.from_us;
	r->to_us = dates ? tz_day_start(tz, spec.last_day + 1) : spec.to_us;
	if (r->from_us >= r->to_us)
		problem_add(p, "to", "must not lie before from");
	return p->code;
}

static enum err read_body(
	struct http_request *rq, struct repricing *ret, bool *ret_dry_run, struct problem *p)
{
	struct reprice_body body = {0};
	struct json_doc doc;
	api_query_allow(rq, (const char *const[]){"tz", NULL}, p);
	if (api_body(rq, FIELDS, sizeof FIELDS / sizeof FIELDS[0], &doc, &body, p) != ERR_OK)
		return p->code;
	struct repricing r = {.user_id = rq->principal.user_id,
		.has_api_key = rq->principal.is_api_key,
		.api_key_id = rq->principal.token_id,
		.reason = arena_strdup(&rq->arena, body.reason),
		.provider = body.provider == NULL ? NULL : api_provider_id(body.provider, &rq->arena),
		.model = arena_strdup(&rq->arena, body.model)};
	enum err e = read_range(rq, &doc, &body, &r, p);
	json_doc_release(&doc);
	if (e == ERR_OK && arena_overflowed(&rq->arena))
		e = ERR_NO_MEMORY;
	if (e != ERR_OK)
		return e;
	r.id = uuid_v7(rq->received_us / US_PER_MS);
	r.cursor_at_us = r.from_us;
	*ret = r;
	*ret_dry_run = body.dry_run.value;
	return ERR_OK;
}

/* ---- writing ---- */

static void write_money(struct json_writer *w, const char *key, struct money m)
{
	jw_decimal(w, key, m.atto, MONEY_SCALE);
}

static void write_sums(struct json_writer *w, const struct repricing_sums *s)
{
	struct money old_total, new_total;
	jw_array_begin(w, "changes");
	for (size_t i = 0; i < s->n; i++) {
		jw_object_begin(w, NULL);
		jw_string(w, "provider", s->rows[i].provider);
		jw_string(w, "model", s->rows[i].model);
		jw_i64(w, "events", s->rows[i].events);
		write_money(w, "old_cost", s->rows[i].old_cost);
		write_money(w, "new_cost", s->rows[i].new_cost);
		jw_object_end(w);
	}
	jw_array_end(w);
	if (!repricing_sums_total(s, &old_total, &new_total)) {
		w->out->failed = true;
		return;
	}
	write_money(w, "old_total", old_total);
	write_money(w, "new_total", new_total);
}

static void write_who(struct json_writer *w, const struct repricing *r)
{
	jw_object_begin(w, "requested_by");
	jw_uuid(w, "user_id", &r->user_id);
	if (r->has_api_key)
		jw_uuid(w, "api_key_id", &r->api_key_id);
	else
		jw_null(w, "api_key_id");
	jw_object_end(w);
}

static void write_times(struct json_writer *w, const struct repricing *r)
{
	jw_instant(w, "created_at", r->created_at_us);
	jw_instant_or_null(w, "finished_at", r->finished_at_us != 0, r->finished_at_us);
}

/* A preview has no id and no place in the ledger. */
static void write_repricing(struct json_writer *w, const struct repricing *r, bool dry_run)
{
	jw_object_begin(w, NULL);
	if (dry_run)
		jw_null(w, "id");
	else
		jw_uuid(w, "id", &r->id);
	jw_bool(w, "dry_run", dry_run);
	if (!dry_run) {
		jw_string(w, "state", repricing_state_name(r->state));
		jw_string(w, "kind", r->automatic ? "automatic" : "requested");
		write_who(w, r);
		write_times(w, r);
	}
	jw_string(w, "reason", r->reason);
	jw_instant(w, "from", r->from_us);
	jw_instant(w, "to", r->to_us);
	jw_string(w, "provider", r->provider);
	jw_string(w, "model", r->model);
	write_sums(w, &r->sums);
	jw_i64(w, "events_examined", r->events_examined);
	jw_i64(w, "events_changed", r->events_changed);
	write_money(w, "range_old_total", r->range_old_cost);
	write_money(w, "range_new_total", r->range_new_cost);
	jw_object_end(w);
}

static struct reply answer(int status, const struct repricing *r, bool dry_run)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	write_repricing(&w, r, dry_run);
	return reply_json(status, &body);
}

/* ---- doing ---- */

static struct reply fail(const struct http_request *rq, enum err e)
{
	if (e == ERR_UNAVAILABLE)
		return reply_error(
			rq, e, "Your own prices are not known to this server just now; try again soon");
	return api_fail(rq, e, NULL);
}

static struct reply preview(struct http_request *rq, struct repricing *r)
{
	int64_t events = 0;
	enum err e = repricing_count(api_db(rq), r, &events);
	if (e == ERR_OK && events > PREVIEW_EVENTS_MAX) {
		struct problem p;
		problem_init(&p, &rq->arena);
		problem_add(&p, "from",
			"begins a range of %lld events, more than a preview takes (%d); choose a shorter one",
			(long long)events, PREVIEW_EVENTS_MAX);
		return reply_problem(rq, &p);
	}
	const int64_t until_us = clock_mono_us() + PREVIEW_US;
	/* A body that could not be read does not come here. */
	/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
	while (e == ERR_OK && r->state == REPRICING_RUNNING) {
		if (clock_mono_us() >= until_us)
			return reply_error(rq, ERR_CONFLICT,
				"This preview takes too long; choose a shorter range, one provider or one "
				"model");
		e = repricing_run_chunk(api_db(rq), r, true);
	}
	return e == ERR_OK ? answer(200, r, true) : fail(rq, e);
}

/* From here on the row is there: whatever fails, the background goes on with it. */
static struct reply apply(struct http_request *rq, struct repricing *r, struct arena *arena)
{
	const int64_t until_us = clock_mono_us() + APPLY_US;
	enum err e = repricing_note_catalogue(api_db(rq), &r->catalogue_number);
	if (e == ERR_OK)
		e = repricings_insert(api_db(rq), r);
	if (e == ERR_CONFLICT)
		return reply_error(rq, e,
			"As many of your re-pricings as may run at once are running; wait for one to end");
	while (e == ERR_OK && r->state == REPRICING_RUNNING && r->events_examined < APPLY_EVENTS &&
		clock_mono_us() < until_us)
		e = repricing_run_chunk(api_db(rq), r, false);
	struct repricing now;
	if (e == ERR_OK || r->stored)
		e = repricings_find(api_db(rq), &r->user_id, &r->id, arena, &now);
	if (e == ERR_NOT_FOUND || e == ERR_DB_CONSTRAINT)
		e = ERR_INVALID_TOKEN; /* the account is gone */
	if (e != ERR_OK)
		return fail(rq, e);
	return answer(now.state == REPRICING_RUNNING ? 202 : 200, &now, false);
}

struct reply api_pricing_reprice(struct http_request *rq)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, ANSWER_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	struct repricing r;
	bool dry_run = true;
	const enum err e = read_body(rq, &r, &dry_run, &p);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	r.sums.arena = &arena;
	return dry_run ? preview(rq, &r) : apply(rq, &r, &arena);
}

static struct reply answer_page(const struct repricing *rows, size_t n, size_t page, struct arena *arena)
{
	const size_t shown = n < page ? n : page;
	struct buf body;
	struct json_writer w;
	api_page_begin(&w, &body, "repricings", shown);
	for (size_t i = 0; i < shown; i++)
		write_repricing(&w, &rows[i], false);
	return id_cursor_end(&w, n > page ? &rows[shown - 1].id : NULL, arena);
}

struct reply api_pricing_repricings(struct http_request *rq)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, ANSWER_BYTES);
	struct problem p;
	problem_init(&p, &rq->arena);
	const int limit = api_page_limit(rq, &p);
	struct uuid before;
	const bool goes_on = id_cursor_read(rq, &before, &p);
	if (!problem_none(&p))
		return reply_problem(rq, &p);
	struct repricing *rows;
	size_t n;
	const enum err e = repricings_list(
		api_db(rq), &rq->principal.user_id, goes_on ? &before : NULL, limit + 1, &arena, &rows, &n);
	return e == ERR_OK ? answer_page(rows, n, (size_t)limit, &arena) : api_fail(rq, e, NULL);
}
