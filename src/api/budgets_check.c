/* POST /api/budgets/check: may this call be made? It is priced as it would be when it is recorded, by the
 * same code, or the caller says what it will cost at most. With "reserve" the amount is held, and the event
 * that is tracked with the reservation's id takes its place. DELETE /api/budgets/reservations/{id} gives it
 * back. The one transaction behind it is db/reservations.c's. */
#include <string.h>
#include "llmlab/api/budget_output.h"
#include "llmlab/api/event_input.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/api/support.h"
#include "llmlab/api/text.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/tag.h"
#include "llmlab/db/reservations.h"
#include "llmlab/providers/catalogue_load.h"

#define TTL_DEFAULT_S  300
#define NAME_MAX_CHARS 200
#define TEXT_MAX_CHARS 128
#define TAGS_MAX_BYTES ((size_t)16 * 1024)

/* What the request says beside the call itself. */
struct options {
	struct opt_bool reserve;
	struct opt_i64 ttl_seconds;
	struct opt_decimal amount;
};

static const struct json_field OPTIONS[] = {
	{.name = "reserve", .type = JSON_FIELD_BOOL, .offset = offsetof(struct options, reserve)},
	{.name = "ttl_seconds",
		.type = JSON_FIELD_I64,
		.offset = offsetof(struct options, ttl_seconds),
		.min = 1,
		.max = RESERVATION_TTL_MAX_S},
	{.name = "amount",
		.type = JSON_FIELD_DECIMAL,
		.offset = offsetof(struct options, amount),
		.max = MONEY_MAX_USD,
		.scale = MONEY_SCALE},
};

/* The call where only its amount is given: what the scopes of budgets name. */
struct bare_call {
	const char *provider, *model, *project, *customer;
	const json_t *tags;
};

#define TEXT(member, most)                                                                                   \
	{                                                                                                    \
		.name = #member, .type = JSON_FIELD_STRING, .offset = offsetof(struct bare_call, member),    \
		.min = 1, .max = (most)                                                                      \
	}
static const struct json_field BARE_CALL[] = {
	TEXT(provider, NAME_MAX_CHARS),
	TEXT(model, NAME_MAX_CHARS),
	TEXT(project, TEXT_MAX_CHARS),
	TEXT(customer, TEXT_MAX_CHARS),
	{.name = "tags", .type = JSON_FIELD_OBJECT, .offset = offsetof(struct bare_call, tags)},
};

/* A request on its way through this file. */
struct checking {
	struct http_request *rq;
	struct json_doc doc;
	struct options options;
	struct reservation_ask ask;
	const char *pricing_status; /* NULL: the caller gave the amount */
	struct problem p;
};

static void no_memory(struct problem *p)
{
	problem_set(p, ERR_NO_MEMORY, "There is not enough memory for this call now");
}

/* ---- the request ---- */

/* Takes the options out of the body; what is left is the call. */
static void read_options(struct checking *k)
{
	json_t *const options = json_object();
	if (options == NULL) {
		no_memory(&k->p);
		return;
	}
	for (size_t i = 0; i < sizeof OPTIONS / sizeof OPTIONS[0]; i++) {
		json_t *const value = json_object_get(k->doc.root, OPTIONS[i].name);
		if (value == NULL)
			continue;
		if (json_object_set(options, OPTIONS[i].name, value) != 0)
			no_memory(&k->p);
		(void)json_object_del(k->doc.root, OPTIONS[i].name);
	}
	json_decode(&k->doc, options, OPTIONS, sizeof OPTIONS / sizeof OPTIONS[0], &k->options, "", &k->p);
	json_decref(options);
	if (k->options.ttl_seconds.set && !k->options.reserve.value)
		problem_add(&k->p, "ttl_seconds", "is only used with \"reserve\": true");
	if (json_object_get(k->doc.root, "reservation_id") != NULL)
		problem_add(&k->p, "reservation_id", "is for the event that is tracked");
}

static void check_tags(struct checking *k, const json_t *tags)
{
	if (json_object_size(tags) > TAGS_MAX)
		problem_add(&k->p, "tags", "must be at most %d", TAGS_MAX);
	const char *key;
	json_t *value;
	json_object_foreach (text_iterable(tags), key, value) {
		const char *const text = json_string_value(value);
		if (key[0] == '\0' || utf8_length(key) > TEXT_MAX_CHARS || text_has_control(key) ||
			text == NULL || utf8_length(text) > TEXT_MAX_CHARS || text_has_control(text)) {
			problem_add(&k->p, "tags",
				"must be strings of at most %d characters without control characters, by "
				"keys of 1 to %d",
				TEXT_MAX_CHARS, TEXT_MAX_CHARS);
			return;
		}
	}
}

static void check_text(struct checking *k, const char *field, const char *text)
{
	if (text != NULL && (text_has_control(text) || text_is_blank(text)))
		problem_add(&k->p, field, "must not be blank and have no control characters");
}

/* The provider as it would be found for the event; NULL: not known. */
static const char *find_provider(struct checking *k, const struct bare_call *call)
{
	struct arena *const arena = &k->rq->arena;
	if (call->provider != NULL)
		return api_provider_id(call->provider, arena);
	if (call->model == NULL)
		return NULL;
	const struct catalogue *const c = catalogue_acquire();
	const struct price_match match = price_find(c, NULL, call->model, NULL);
	if (match.starved)
		problem_set(&k->p, ERR_NO_MEMORY, "There is not enough memory to find who bills now");
	const char *const id = match.provider == NULL ? NULL : arena_strdup(arena, match.provider->id);
	catalogue_release(c);
	return id;
}

static void read_bare_call(struct checking *k)
{
	struct bare_call call = {.provider = NULL};
	json_decode(
		&k->doc, k->doc.root, BARE_CALL, sizeof BARE_CALL / sizeof BARE_CALL[0], &call, "", &k->p);
	check_text(k, "provider", call.provider);
	check_text(k, "model", call.model);
	check_text(k, "project", call.project);
	check_text(k, "customer", call.customer);
	if (call.tags != NULL)
		check_tags(k, call.tags);
	if (!problem_none(&k->p))
		return;
	k->ask.call = (struct budget_call){.provider = find_provider(k, &call),
		.model = call.model,
		.project = call.project,
		.customer = call.customer};
	if (call.tags != NULL)
		k->ask.call.tags_json = json_text(&k->doc, call.tags, TAGS_MAX_BYTES, &k->rq->arena);
	k->ask.has_amount = true;
	k->ask.amount = (struct money){k->options.amount.value};
	if (arena_overflowed(&k->rq->arena))
		no_memory(&k->p);
}

/* The call is an event that has not happened yet: read and priced as one. */
static void read_event(struct checking *k, const struct catalogue *catalogue, const struct own_prices *own)
{
	struct http_request *const rq = k->rq;
	const struct event_source source = {.catalogue = catalogue,
		.own = own,
		.principal = &rq->principal,
		.now_us = rq->received_us,
		.any_time = true,
		.arena = &rq->arena};
	struct event_input input;
	if (event_input_read(&source, &k->doc, k->doc.root, &input, &k->p) != ERR_OK)
		return;
	/* The texts of the catalogue go with it. */
	if (!event_copy_texts(&input.event, &rq->arena)) {
		no_memory(&k->p);
		return;
	}
	const struct event *const e = &input.event;
	k->ask.call = (struct budget_call){.provider = e->provider,
		.model = e->model,
		.project = e->project,
		.customer = e->customer,
		.tags_json = e->tags_json};
	k->ask.has_amount = e->has_cost;
	k->ask.amount = e->cost;
	k->pricing_status = e->pricing_status;
}

static void price_event_body(struct checking *k)
{
	const struct own_prices *own;
	if (own_prices_of_request(&k->rq->principal.user_id, &own, &k->p) != ERR_OK)
		return;
	const struct catalogue *const catalogue = catalogue_acquire();
	read_event(k, catalogue, own);
	catalogue_release(catalogue);
	own_prices_release(own);
}

static void read_request(struct checking *k)
{
	api_query_none(k->rq, &k->p);
	if (!json_is_object(k->doc.root)) {
		problem_set(&k->p, ERR_VALIDATION, "The body must be a JSON object");
		return;
	}
	const bool amount_given = json_object_get(k->doc.root, "amount") != NULL;
	read_options(k);
	if (amount_given && !k->options.amount.set && problem_none(&k->p))
		problem_add(&k->p, "amount", "must be a number, not null");
	if (amount_given)
		read_bare_call(k);
	else
		price_event_body(k);
	k->ask.user_id = k->rq->principal.user_id;
	k->ask.hold = k->options.reserve.value;
	k->ask.id = uuid_v7(k->rq->received_us / US_PER_MS);
	k->ask.ttl_s = k->options.ttl_seconds.set ? k->options.ttl_seconds.value : TTL_DEFAULT_S;
}

/* ---- the answer ---- */

static void write_verdict(struct json_writer *w, const struct checking *k, const struct reservation_budget *b)
{
	const struct money limit = b->budget.limit;
	int128 remaining;
	struct money used;
	jw_object_begin(w, NULL);
	jw_uuid(w, "id", &b->budget.id);
	jw_string(w, "name", b->budget.name);
	jw_string(w, "period", budget_period_name(b->budget.period));
	budget_write_scope(w, &b->budget);
	jw_bool(w, "hard", b->budget.hard);
	jw_decimal(w, "limit", limit.atto, MONEY_SCALE);
	jw_decimal(w, "spent", b->spent.atto, MONEY_SCALE);
	jw_decimal(w, "reserved", b->reserved.atto, MONEY_SCALE);
	if (k->ask.has_amount && money_add(b->spent, b->reserved, &used) &&
		money_add(used, k->ask.amount, &used) && decimal_sub(limit.atto, used.atto, &remaining))
		jw_decimal(w, "remaining_after", remaining, MONEY_SCALE);
	else
		jw_null(w, "remaining_after");
	jw_bool(w, "passes", b->passes);
	jw_i64(w, "unpriced_calls", b->unpriced_calls);
	jw_instant(w, "period_start", b->period.start_us);
	jw_instant(w, "period_end", b->period.end_us);
	jw_object_end(w);
}

/* Why not; NULL when allowed. What an unpriced call will cost nobody knows, so no hard budget can hold for
 * it. */
static const char *reason_of(const struct checking *k, const struct reservation_answer *a)
{
	if (a->allowed)
		return NULL;
	return k->ask.has_amount ? "budget_exceeded" : "unpriced";
}

static struct reply answer(const struct checking *k, const struct reservation_answer *a)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_bool(&w, "allowed", a->allowed);
	jw_string(&w, "reason", reason_of(k, a));
	if (k->ask.has_amount)
		jw_decimal(&w, "amount", k->ask.amount.atto, MONEY_SCALE);
	else
		jw_null(&w, "amount");
	jw_string(&w, "pricing_status", k->pricing_status);
	if (a->held) {
		jw_uuid(&w, "reservation_id", &k->ask.id);
		jw_instant(&w, "expires_at", a->expires_at_us);
	} else {
		jw_null(&w, "reservation_id");
		jw_null(&w, "expires_at");
	}
	jw_array_begin(&w, "budgets");
	for (size_t i = 0; i < a->n; i++)
		write_verdict(&w, k, &a->budgets[i]);
	jw_array_end(&w);
	jw_object_end(&w);
	return reply_json(200, &body);
}

static struct reply ask(struct checking *k)
{
	struct reservation_answer a;
	const enum err e = reservations_ask(api_db(k->rq), &k->ask, &k->rq->arena, &a);
	if (e == ERR_NOT_FOUND)
		return api_fail(k->rq, ERR_INVALID_TOKEN, NULL);
	if (e == ERR_CONFLICT)
		return reply_error(k->rq, e,
			"There are 10000 reservations that have not expired; settle or release some first");
	return e == ERR_OK ? answer(k, &a) : api_fail(k->rq, e, NULL);
}

struct reply api_budgets_check(struct http_request *rq)
{
	struct checking k = {.rq = rq};
	problem_init(&k.p, &rq->arena);
	if (json_doc_parse(&k.doc, rq->body, rq->body_len, &json_limits_response, &rq->arena, &k.p) != ERR_OK)
		return reply_problem(rq, &k.p);
	read_request(&k);
	const struct reply r = problem_none(&k.p) ? ask(&k) : reply_problem(rq, &k.p);
	json_doc_release(&k.doc);
	return r;
}

struct reply api_budgets_release(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct uuid id;
	enum err e = api_begin_one(rq, &id, &p);
	if (e == ERR_OK)
		e = reservations_release(api_db(rq), &rq->principal.user_id, &id);
	return e == ERR_OK ? reply_empty(204)
			   : api_fail_one(rq, e, &p, "There is no such reservation (any more)");
}
