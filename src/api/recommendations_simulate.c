/* POST /api/recommendations/simulate: what the calls of a range would have cost with other models, providers
 * or service tiers. Reads the body and the sums and writes the answer with what it does not know; the
 * arithmetic is core/simulation.h's. Nothing is stored. */
#include <inttypes.h>
#include "llmlab/api/handlers.h"
#include "llmlab/api/own_prices_load.h"
#include "llmlab/api/recommendations.h"
#include "llmlab/api/support.h"
#include "llmlab/core/simulation.h"
#include "llmlab/providers/catalogue_load.h"

#define NAME_MAX_CHARS 200
#define TEXT_MAX_CHARS 64

/* ---- the body ---- */

struct simulate_body {
	const json_t *changes;
	struct opt_i64 days, prices_at;
	const json_t *from, *to;
	const char *tz;
};

static const struct json_field FIELDS[] = {
	{.name = "changes",
		.type = JSON_FIELD_ARRAY,
		.offset = offsetof(struct simulate_body, changes),
		.min = 1,
		.max = SIMULATION_CHANGES_MAX,
		.required = true},
	{.name = "days",
		.type = JSON_FIELD_I64,
		.offset = offsetof(struct simulate_body, days),
		.min = 1,
		.max = RANGE_DAYS_MAX},
	{.name = "from", .type = JSON_FIELD_ANY, .offset = offsetof(struct simulate_body, from)},
	{.name = "to", .type = JSON_FIELD_ANY, .offset = offsetof(struct simulate_body, to)},
	{.name = "tz",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct simulate_body, tz),
		.min = 1,
		.max = TEXT_MAX_CHARS},
	{.name = "prices_at",
		.type = JSON_FIELD_INSTANT,
		.offset = offsetof(struct simulate_body, prices_at)},
};

struct change_body {
	const char *provider, *model, *to_provider, *to_model, *service_tier;
	struct opt_decimal share;
};

/* As the tiers are written everywhere; in the order of enum service_tier. */
static const char *const TIERS[SERVICE_TIERS + 1] = {"standard", "batch", "flex", "priority", "fast", NULL};

#define NAME_FIELD(member)                                                                                   \
	.name = #member, .type = JSON_FIELD_STRING, .offset = offsetof(struct change_body, member),          \
	.min = 1, .max = NAME_MAX_CHARS
static const struct json_field CHANGE_FIELDS[] = {
	{NAME_FIELD(provider)},
	{NAME_FIELD(model), .required = true},
	{NAME_FIELD(to_provider)},
	{NAME_FIELD(to_model)},
	{.name = "service_tier",
		.type = JSON_FIELD_CHOICE,
		.offset = offsetof(struct change_body, service_tier),
		.choices = TIERS},
	{.name = "share",
		.type = JSON_FIELD_DECIMAL,
		.offset = offsetof(struct change_body, share),
		.max = 1,
		.scale = SIMULATION_SHARE_SCALE},
};

static const char *provider_id(const char *text, struct arena *arena)
{
	return text == NULL ? NULL : api_provider_id(text, arena);
}

static enum service_tier tier_of(const char *name)
{
	for (int i = 0; name != NULL && i < SERVICE_TIERS; i++)
		if (name == TIERS[i])
			return (enum service_tier)i;
	return TIER_STANDARD;
}

static void read_change(struct http_request *rq, const struct json_doc *doc, size_t index,
	const json_t *object, struct simulation_change *ret, struct problem *p)
{
	const char *const prefix = arena_printf(&rq->arena, "changes[%zu].", index);
	struct change_body b = {.model = NULL};
	if (prefix == NULL ||
		json_decode(doc, object, CHANGE_FIELDS, sizeof CHANGE_FIELDS / sizeof CHANGE_FIELDS[0], &b,
			prefix, p) != ERR_OK)
		return;
	if (b.to_provider == NULL && b.to_model == NULL && b.service_tier == NULL)
		problem_add(p, arena_printf(&rq->arena, "changes[%zu]", index),
			"needs to_provider, to_model or service_tier");
	if (b.share.set && b.share.value == 0)
		problem_add(p, arena_printf(&rq->arena, "changes[%zu].share", index), "must be above 0");
	*ret = (struct simulation_change){.provider = provider_id(b.provider, &rq->arena),
		.model = arena_strdup(&rq->arena, b.model),
		.to_provider = provider_id(b.to_provider, &rq->arena),
		.to_model = arena_strdup(&rq->arena, b.to_model),
		.has_tier = b.service_tier != NULL,
		.tier = tier_of(b.service_tier),
		.share = b.share.set ? (int64_t)b.share.value : SIMULATION_SHARE_WHOLE};
}

/* What the request asks for. Texts live in the request's arena. */
struct question {
	struct simulation_change changes[SIMULATION_CHANGES_MAX];
	size_t n_changes;
	struct range range;
	int64_t prices_at_us;
	const struct own_prices *own;
};

/* A date or instant, as text or number; "" (which is neither) for anything else, NULL if not given. */
static const char *end_text(const struct json_doc *doc, const json_t *v, struct arena *arena)
{
	if (v == NULL || json_is_null(v))
		return NULL;
	const char *const text = json_is_string(v) ? json_string_value(v) : json_number_text(doc, v, arena);
	return text == NULL ? "" : text;
}

static enum err read_members(struct http_request *rq, const struct json_doc *doc,
	const struct simulate_body *b, struct question *q, struct problem *p)
{
	q->n_changes = json_array_size(b->changes);
	for (size_t i = 0; i < q->n_changes; i++)
		read_change(rq, doc, i, json_array_get(b->changes, i), &q->changes[i], p);
	q->prices_at_us = b->prices_at.set ? b->prices_at.value : rq->received_us;
	const char *const days = b->days.set ? arena_printf(&rq->arena, "%" PRId64, b->days.value) : NULL;
	return api_range_of(rq, days, end_text(doc, b->from, &rq->arena), end_text(doc, b->to, &rq->arena),
		b->tz, &q->range, p);
}

static enum err read_question(struct http_request *rq, struct question *q, struct problem *p)
{
	struct simulate_body body = {.changes = NULL};
	struct json_doc doc;
	api_query_none(rq, p);
	if (api_body(rq, FIELDS, sizeof FIELDS / sizeof FIELDS[0], &doc, &body, p) != ERR_OK)
		return p->code;
	enum err e = read_members(rq, &doc, &body, q, p);
	json_doc_release(&doc);
	if (e == ERR_OK && arena_overflowed(&rq->arena))
		e = ERR_NO_MEMORY;
	return e;
}

/* ---- caveats ---- */

static void write_caveat(struct json_writer *w, const char *code, const char *detail)
{
	jw_object_begin(w, NULL);
	jw_string(w, "code", code);
	jw_string(w, "detail", detail);
	jw_object_end(w);
}

static bool any(const struct simulation_row *row, bool (*holds)(const struct simulation_target *t))
{
	for (size_t i = 0; i < row->n_targets; i++)
		if (holds(&row->targets[i]))
			return true;
	return false;
}

static bool by_size(const struct simulation_target *t)
{
	return t->cost.by_size;
}

static bool by_time(const struct simulation_target *t)
{
	return t->cost.by_time;
}

static bool is_other_model(const struct simulation_target *t)
{
	return t->other_model;
}

static bool is_too_long(const struct simulation_target *t)
{
	return !t->fits;
}

/* What the calls were charged is within what their tokens cost at the model's own price. */
static bool is_explained(const struct model_usage *u, const struct simulation_row *row)
{
	return row->has_listed && money_compare(u->cost, row->listed.least) >= 0 &&
	       money_compare(u->cost, row->listed.most) <= 0;
}

/* Everything the sums do not tell; returns whether the figure is no exact one. */
static bool write_caveats(
	struct json_writer *w, const struct model_usage *u, const struct simulation_row *row)
{
	const bool sized = any(row, by_size);
	const bool timed = any(row, by_time);
	const bool explained = is_explained(u, row);
	jw_array_begin(w, "caveats");
	if (sized)
		write_caveat(w, "price_depends_on_call_size",
			"Long calls cost more per token there, and how long the single calls were is not in "
			"the sums: "
			"simulated is as if each were as long as the average; least and most hold whatever "
			"they were");
	if (timed)
		write_caveat(w, "price_depends_on_time",
			"The price depends on the hour: simulated is at the dearest hours; least and most "
			"hold whatever "
			"the hours were");
	if (!explained)
		write_caveat(w, "actual_not_explained_by_tokens",
			"What was charged is not what these tokens cost at the model's price of that "
			"instant: prices "
			"changed, another service tier, searches, audio or images, or reported costs. "
			"simulated has "
			"tokens and fees per request only");
	if (u->unpriced_calls > 0)
		write_caveat(w, "unpriced_calls", "Calls without a price are in simulated but not in actual");
	if (row->moved < SIMULATION_SHARE_WHOLE)
		write_caveat(w, "share_is_even",
			"A share is taken of every token and of the cost alike, whichever calls it would be");
	if (any(row, is_other_model))
		write_caveat(w, "same_token_counts",
			"Another model may count, reason and answer differently; the same token counts are "
			"assumed");
	if (any(row, is_too_long))
		write_caveat(w, "context_window", "The average call is longer than the context window there");
	jw_array_end(w);
	return sized || timed || !explained || u->unpriced_calls > 0 || row->moved < SIMULATION_SHARE_WHOLE;
}

/* ---- writing ---- */

static void write_amount(struct json_writer *w, int128 actual, const struct simulation_amount *s)
{
	jw_decimal(w, "actual", actual, SIMULATION_SCALE);
	jw_decimal(w, "simulated", s->expected, SIMULATION_SCALE);
	jw_decimal(w, "difference", s->expected - actual, SIMULATION_SCALE);
	jw_decimal(w, "simulated_least", s->least, SIMULATION_SCALE);
	jw_decimal(w, "simulated_most", s->most, SIMULATION_SCALE);
}

static void write_target(struct json_writer *w, const struct question *q, const struct simulation_target *t,
	struct arena *arena)
{
	const struct simulation_change *const c = &q->changes[t->change];
	jw_object_begin(w, NULL);
	jw_i64(w, "change", (int64_t)t->change);
	jw_string(w, "provider", t->provider);
	jw_string(w, "model", t->model);
	jw_string(w, "price_record", arena_printf(arena, "%s/%s", t->record->provider, t->record->model));
	jw_bool(w, "own_price", t->own_price);
	jw_string(w, "service_tier", TIERS[c->tier]);
	jw_decimal(w, "share", c->share, SIMULATION_SHARE_SCALE);
	jw_decimal(w, "cost_of_all_calls", t->cost.expected.atto, MONEY_SCALE);
	jw_object_end(w);
}

static void write_row(struct json_writer *w, const struct question *q, const struct model_usage *u,
	const struct simulation_row *row, struct arena *arena)
{
	jw_object_begin(w, NULL);
	jw_string(w, "provider", u->provider);
	jw_string(w, "model", u->model);
	jw_i64(w, "calls", u->calls);
	write_amount(w, row->actual, &row->simulated);
	jw_array_begin(w, "to");
	for (size_t i = 0; i < row->n_targets; i++)
		write_target(w, q, &row->targets[i], arena);
	jw_array_end(w);
	if (row->has_listed)
		jw_decimal(w, "actual_tokens_at_these_prices", row->listed.expected.atto, MONEY_SCALE);
	else
		jw_null(w, "actual_tokens_at_these_prices");
	jw_bool(w, "approximate", write_caveats(w, u, row));
	jw_object_end(w);
}

static struct reply answer(const struct question *q, const struct simulation_input *in,
	const struct simulation *s, struct arena *arena)
{
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	write_amount(&w, s->actual, &s->simulated);
	jw_array_begin(&w, "models");
	for (size_t i = 0; i < s->n; i++)
		if (s->rows[i].n_targets > 0)
			write_row(&w, q, &in->models[i], &s->rows[i], arena);
	jw_array_end(&w);
	jw_instant(&w, "prices_at", q->prices_at_us);
	jw_string(&w, "catalogue_version", in->catalogue->version);
	jw_object_begin(&w, "analysis_period");
	range_write(&w, "start", "end", &q->range);
	jw_object_end(&w);
	jw_string(&w, "timezone", tz_name(q->range.tz));
	jw_object_end(&w);
	if (arena_overflowed(arena))
		body.failed = true;
	return reply_json(200, &body);
}

/* ---- the request ---- */

/* The answer points into the catalogue, so it is written while that is held. */
static struct reply simulate(
	struct http_request *rq, const struct question *q, struct arena *arena, struct problem *p)
{
	struct model_usage *usage;
	struct simulation_input in = {
		.changes = q->changes, .n_changes = q->n_changes, .at_us = q->prices_at_us};
	enum err e = recommendations_usage(rq, &q->range, arena, &usage, &in.n_models);
	if (e != ERR_OK)
		return api_fail_sums(rq, e, NULL);
	const struct price_record *overrides[OWN_PRICES_PER_USER_MAX];
	in.models = usage;
	in.overrides = overrides;
	in.n_overrides = own_prices_at(q->own, q->prices_at_us, overrides);
	in.catalogue = catalogue_acquire();
	struct simulation s;
	e = simulation_run(&in, arena, &s, p);
	const struct reply r = e == ERR_OK	 ? answer(q, &in, &s, arena)
			       : problem_none(p) ? api_fail_sums(rq, e, NULL)
						 : reply_problem(rq, p);
	catalogue_release(in.catalogue);
	return r;
}

struct reply api_recommendations_simulate(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct question q = {.n_changes = 0};
	enum err e = read_question(rq, &q, &p);
	if (e == ERR_OK)
		e = own_prices_of_request(&rq->principal.user_id, &q.own, &p);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	struct arena arena;
	arena_init(&arena, RECOMMENDATIONS_MAX_BYTES);
	const struct reply r = simulate(rq, &q, &arena, &p);
	arena_release(&arena);
	own_prices_release(q.own);
	return r;
}
