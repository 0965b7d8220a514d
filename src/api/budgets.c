/* /api/budgets: limits on spend by calendar period, and how much of each is used now. Nothing is stored about
 * what was spent: the period follows from the calendar and the user's zone, the spend from the sums of
 * events. */
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/budget_figures.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/api/text.h"
#include "llmlab/base/clock.h"
#include "llmlab/db/budgets.h"
#include "llmlab/db/costs.h"

#define NAME_MAX_CHARS	200
#define SCOPE_MAX_CHARS 200
#define TAG_MAX_CHARS	128
#define THRESHOLD_MAX	1000

static const char *const PERIODS[] = {"daily", "weekly", "monthly", "yearly", NULL};
static const char *const DIMENSIONS[] = {"provider", "model", "project", "customer"};
static const int DEFAULT_THRESHOLDS[] = {50, 80, 100};
static const char TAG[] = "tag.";

/* A budget and what it says now. */
struct budget_state {
	const struct budget *budget;
	struct period period;
	struct money spend;
	int64_t unpriced_calls; /* spend does not contain them */
};

/* ---- reading the current period ---- */

static struct usage_filter filter_of(const struct budget *b)
{
	struct usage_filter f = {.provider = NULL};
	const char *const dimension = b->scope_dimension;
	if (strcmp(dimension, "provider") == 0)
		f.provider = b->scope_value;
	else if (strcmp(dimension, "model") == 0)
		f.model = b->scope_value;
	else if (strcmp(dimension, "project") == 0)
		f.project = b->scope_value;
	else if (strcmp(dimension, "customer") == 0)
		f.customer = b->scope_value;
	else if (strncmp(dimension, TAG, sizeof TAG - 1) == 0)
		f = (struct usage_filter){.tag_key = dimension + sizeof TAG - 1, .tag_value = b->scope_value};
	return f;
}

static enum err read_state(
	struct http_request *rq, const struct tz *tz, const struct budget *b, struct budget_state *ret)
{
	struct budget_state s = {.budget = b, .period = period_at(b->period, tz, rq->received_us)};
	const struct usage_filter filter = filter_of(b);
	struct usage_sums sums;
	const enum err e = costs_total(
		api_db(rq), &rq->principal.user_id, &filter, s.period.start_us, s.period.end_us, &sums);
	if (e != ERR_OK)
		return e;
	s.spend = sums.cost;
	s.unpriced_calls = sums.unpriced_calls;
	*ret = s;
	return ERR_OK;
}

/* ---- writing ---- */

static void write_scope(struct json_writer *w, const struct budget *b)
{
	jw_object_begin(w, "scope");
	if (b->scope_dimension[0] != '\0')
		jw_string(w, b->scope_dimension, b->scope_value);
	jw_object_end(w);
}

static void write_figures(struct json_writer *w, const struct budget_state *s, int64_t now_us)
{
	const struct money limit = s->budget->limit;
	const int64_t elapsed_us = now_us > s->period.start_us ? now_us - s->period.start_us : 1;
	int128 projected;
	jw_decimal(w, "current_spend", s->spend.atto, MONEY_SCALE);
	jw_decimal(w, "remaining", limit.atto - s->spend.atto, MONEY_SCALE);
	jw_decimal(w, "percentage_used", budget_percentage(s->spend, limit), BUDGET_PERCENT_SCALE);
	jw_string(w, "status", budget_status(s->spend, limit));
	jw_i64(w, "unpriced_calls", s->unpriced_calls);
	jw_instant(w, "period_start", s->period.start_us);
	jw_instant(w, "period_end", s->period.end_us);
	if (budget_projection(s->spend, elapsed_us, s->period.end_us - s->period.start_us, &projected))
		jw_decimal(w, "projected_spend", projected, BUDGET_PROJECTION_SCALE);
	else
		jw_null(w, "projected_spend");
}

static void write_budget(struct json_writer *w, const struct http_request *rq, const struct tz *tz,
	const struct budget_state *s)
{
	const struct budget *const b = s->budget;
	jw_object_begin(w, NULL);
	jw_uuid(w, "id", &b->id);
	jw_uuid(w, "user_id", &rq->principal.user_id);
	jw_string(w, "name", b->name);
	jw_decimal(w, "limit", b->limit.atto, MONEY_SCALE);
	jw_string(w, "period", budget_period_name(b->period));
	write_scope(w, b);
	write_figures(w, s, rq->received_us);
	jw_string(w, "timezone", tz_name(tz));
	jw_array_begin(w, "thresholds");
	for (size_t i = 0; i < b->n_thresholds; i++)
		jw_i64(w, NULL, b->thresholds[i]);
	jw_array_end(w);
	jw_bool(w, "hard", b->hard);
	jw_instant(w, "created_at", b->created_at_us);
	jw_instant(w, "updated_at", b->updated_at_us);
	jw_object_end(w);
}

static struct reply answer_budget(
	struct http_request *rq, int status, const struct tz *tz, const struct budget *b)
{
	struct budget_state s;
	const enum err e = read_state(rq, tz, b, &s);
	if (e != ERR_OK)
		return api_fail(rq, e, NULL);
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	write_budget(&w, rq, tz, &s);
	return reply_json(status, &body);
}

/* ---- list, get, delete ---- */

/* Budgets know the user's own zone only: a budget that looks different by who asks would be two budgets. */
static enum err begin(struct http_request *rq, const struct tz **ret, struct problem *p)
{
	api_query_allow(rq, (const char *const[]){NULL}, p);
	return api_zone(rq, ret, p);
}

static struct reply answer_list(
	struct http_request *rq, const struct tz *tz, const struct budget *budgets, size_t n)
{
	struct money limits = money_zero(), spend = money_zero();
	struct buf body;
	buf_init(&body, API_ANSWER_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	jw_i64(&w, "count", (int64_t)n);
	jw_array_begin(&w, "budgets");
	enum err e = ERR_OK;
	for (size_t i = 0; e == ERR_OK && i < n; i++) {
		struct budget_state s;
		e = read_state(rq, tz, &budgets[i], &s);
		if (e != ERR_OK)
			break;
		write_budget(&w, rq, tz, &s);
		if (!money_add(limits, budgets[i].limit, &limits) || !money_add(spend, s.spend, &spend))
			e = ERR_INTERNAL;
	}
	if (e != ERR_OK) {
		buf_release(&body);
		return api_fail(rq, e, NULL);
	}
	jw_array_end(&w);
	jw_decimal(&w, "total_limits", limits.atto, MONEY_SCALE);
	jw_decimal(&w, "total_spend", spend.atto, MONEY_SCALE);
	jw_null(&w, "next_cursor");
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_budgets_list(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const struct tz *tz;
	struct budget *budgets;
	size_t n;
	enum err e = begin(rq, &tz, &p);
	if (e == ERR_OK)
		e = budgets_list(api_db(rq), &rq->principal.user_id, &rq->arena, &budgets, &n);
	return e == ERR_OK ? answer_list(rq, tz, budgets, n) : api_fail(rq, e, &p);
}

static struct reply fail_one(const struct http_request *rq, enum err e, const struct problem *p)
{
	if (e == ERR_NOT_FOUND)
		return reply_error(rq, e, "There is no such budget");
	return api_fail(rq, e, p);
}

struct reply api_budgets_get(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const struct tz *tz;
	struct uuid id;
	struct budget b;
	enum err e = begin(rq, &tz, &p);
	if (e == ERR_OK)
		e = api_path_uuid(rq, 0, &id);
	if (e == ERR_OK)
		e = budgets_find(api_db(rq), &rq->principal.user_id, &id, &rq->arena, &b);
	return e == ERR_OK ? answer_budget(rq, 200, tz, &b) : fail_one(rq, e, &p);
}

struct reply api_budgets_delete(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, (const char *const[]){NULL}, &p);
	struct uuid id;
	enum err e = problem_none(&p) ? api_path_uuid(rq, 0, &id) : p.code;
	if (e == ERR_OK)
		e = budgets_delete(api_db(rq), &rq->principal.user_id, &id);
	return e == ERR_OK ? reply_empty(204) : fail_one(rq, e, &p);
}

/* ---- set ---- */

struct budget_body {
	struct opt_decimal limit;
	const char *period, *name;
	const json_t *scope, *thresholds;
	struct opt_bool hard;
};

static const struct json_field FIELDS[] = {
	{.name = "limit",
		.type = JSON_FIELD_DECIMAL,
		.offset = offsetof(struct budget_body, limit),
		.max = MONEY_MAX_USD,
		.required = true,
		.scale = MONEY_SCALE},
	{.name = "period",
		.type = JSON_FIELD_CHOICE,
		.offset = offsetof(struct budget_body, period),
		.choices = PERIODS},
	{.name = "name",
		.type = JSON_FIELD_STRING,
		.offset = offsetof(struct budget_body, name),
		.min = 1,
		.max = NAME_MAX_CHARS},
	{.name = "scope", .type = JSON_FIELD_OBJECT, .offset = offsetof(struct budget_body, scope)},
	{.name = "thresholds",
		.type = JSON_FIELD_ARRAY,
		.offset = offsetof(struct budget_body, thresholds),
		.min = 1,
		.max = BUDGET_THRESHOLDS_MAX},
	{.name = "hard", .type = JSON_FIELD_BOOL, .offset = offsetof(struct budget_body, hard)},
};

static bool is_dimension(const char *name)
{
	for (size_t i = 0; i < sizeof DIMENSIONS / sizeof DIMENSIONS[0]; i++) {
		if (strcmp(name, DIMENSIONS[i]) == 0)
			return true;
	}
	const char *const key = name + sizeof TAG - 1;
	return strncmp(name, TAG, sizeof TAG - 1) == 0 && key[0] != '\0' &&
	       utf8_length(key) <= TAG_MAX_CHARS && !text_has_control(key);
}

static void read_scope(struct http_request *rq, const json_t *scope, struct budget *b, struct problem *p)
{
	b->scope_dimension = b->scope_value = "";
	if (scope == NULL || json_object_size(scope) == 0)
		return;
	void *const first = json_object_iter(text_iterable(scope));
	const char *const name = json_object_iter_key(first);
	const char *const value = json_string_value(json_object_iter_value(first));
	if (json_object_size(scope) > 1 || !is_dimension(name)) {
		problem_add(
			p, "scope", "must name exactly one of provider, model, project, customer, tag.<key>");
		return;
	}
	const char *const field = arena_printf(&rq->arena, "scope.%s", name);
	if (value == NULL || value[0] == '\0' || utf8_length(value) > SCOPE_MAX_CHARS ||
		text_has_control(value)) {
		problem_add(p, field == NULL ? "scope" : field,
			"must be a string of 1 to %d characters without control characters", SCOPE_MAX_CHARS);
		return;
	}
	b->scope_dimension = name;
	b->scope_value = strcmp(name, "provider") == 0 ? api_provider_id(value, &rq->arena) : value;
	if (b->scope_value == NULL)
		problem_set(p, ERR_NO_MEMORY, "There is not enough memory for this budget now");
}

static int compare_ints(const void *a, const void *b)
{
	const int *const x = a, *const y = b;
	return (*x > *y) - (*x < *y);
}

/* In ascending order, each once. */
static void read_thresholds(const json_t *array, struct budget *b, struct problem *p)
{
	if (array == NULL) {
		memcpy(b->thresholds, DEFAULT_THRESHOLDS, sizeof DEFAULT_THRESHOLDS);
		b->n_thresholds = sizeof DEFAULT_THRESHOLDS / sizeof DEFAULT_THRESHOLDS[0];
		return;
	}
	const size_t n = json_array_size(array);
	for (size_t i = 0; i < n; i++) {
		const json_t *const v = json_array_get(array, i);
		const json_int_t value = json_is_integer(v) ? json_integer_value(v) : 0;
		if (value < 1 || value > THRESHOLD_MAX) {
			problem_add(p, "thresholds", "must be whole per cents from 1 to %d", THRESHOLD_MAX);
			return;
		}
		b->thresholds[i] = (int)value;
	}
	qsort(b->thresholds, n, sizeof b->thresholds[0], compare_ints);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || b->thresholds[i] != b->thresholds[i - 1])
			b->thresholds[b->n_thresholds++] = b->thresholds[i];
	}
}

static void read_budget(
	struct http_request *rq, const struct budget_body *body, struct budget *b, struct problem *p)
{
	b->id = uuid_v7(rq->received_us / US_PER_MS); /* unless one of this period and scope exists */
	b->name = body->name;
	b->limit = (struct money){body->limit.value};
	b->hard = body->hard.value;
	if (body->limit.set && body->limit.value <= 0)
		problem_add(p, "limit", "must be more than 0");
	if (budget_period_parse(body->period == NULL ? "monthly" : body->period, &b->period) != ERR_OK)
		problem_add(p, "period", "is not a known period");
	read_scope(rq, body->scope, b, p);
	read_thresholds(body->thresholds, b, p);
}

static struct reply store_budget(struct http_request *rq, struct budget *b)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const struct tz *tz;
	bool created = false;
	enum err e = begin(rq, &tz, &p);
	if (e == ERR_OK)
		e = budgets_upsert(api_db(rq), &rq->principal.user_id, b, &rq->arena, &created);
	if (e == ERR_CONFLICT)
		return reply_error(
			rq, e, "There are as many budgets as one account may have; delete one first");
	return e == ERR_OK ? answer_budget(rq, created ? 201 : 200, tz, b) : api_fail(rq, e, &p);
}

struct reply api_budgets_set(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct json_doc doc;
	if (json_doc_parse(&doc, rq->body, rq->body_len, &json_limits_default, &rq->arena, &p) != ERR_OK)
		return reply_problem(rq, &p);
	struct budget_body body = {.period = NULL};
	struct budget b = {.n_thresholds = 0};
	api_query_allow(rq, (const char *const[]){NULL}, &p);
	json_decode(&doc, doc.root, FIELDS, sizeof FIELDS / sizeof FIELDS[0], &body, "", &p);
	read_budget(rq, &body, &b, &p);
	const struct reply r = problem_none(&p) ? store_budget(rq, &b) : reply_problem(rq, &p);
	json_doc_release(&doc);
	return r;
}
