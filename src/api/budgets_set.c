/* POST /api/budgets and PATCH /api/budgets/{id}: making and changing limits on spend. */
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/budget_output.h"
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/api/text.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/tag.h"
#include "llmlab/db/budgets.h"

#define NAME_MAX_CHARS	200
#define SCOPE_MAX_CHARS 200
#define THRESHOLD_MAX	1000

static const char *const PERIODS[] = {"daily", "weekly", "monthly", "yearly", NULL};
static const char *const DIMENSIONS[] = {"provider", "model", "project", "customer"};
static const int DEFAULT_THRESHOLDS[] = {50, 80, 100};

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
	const char *const key = tag_key_of(name);
	return key != NULL && utf8_length(key) <= TAG_MAX_CHARS && !text_has_control(key);
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

/* In ascending order, each once; returns how many, 0 after naming a bad one. */
static size_t read_thresholds(const json_t *array, int thresholds[BUDGET_THRESHOLDS_MAX], struct problem *p)
{
	const size_t n = json_array_size(array);
	for (size_t i = 0; i < n; i++) {
		const json_t *const v = json_array_get(array, i);
		const json_int_t value = json_is_integer(v) ? json_integer_value(v) : 0;
		if (value < 1 || value > THRESHOLD_MAX) {
			problem_add(p, "thresholds", "must be whole per cents from 1 to %d", THRESHOLD_MAX);
			return 0;
		}
		thresholds[i] = (int)value;
	}
	qsort(thresholds, n, sizeof thresholds[0], compare_ints);
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		if (kept == 0 || thresholds[i] != thresholds[kept - 1])
			thresholds[kept++] = thresholds[i];
	}
	return kept;
}

static void read_limit(const struct budget_body *body, struct problem *p)
{
	if (body->limit.set && body->limit.value <= 0)
		problem_add(p, "limit", "must be more than 0");
}

static void read_all_thresholds(const json_t *array, struct budget *b, struct problem *p)
{
	if (array != NULL) {
		b->n_thresholds = read_thresholds(array, b->thresholds, p);
		return;
	}
	memcpy(b->thresholds, DEFAULT_THRESHOLDS, sizeof DEFAULT_THRESHOLDS);
	b->n_thresholds = sizeof DEFAULT_THRESHOLDS / sizeof DEFAULT_THRESHOLDS[0];
}

static bool is_named(const struct problem *p, const char *field)
{
	for (size_t i = 0; i < p->n_fields; i++) {
		if (strcmp(p->fields[i].field, field) == 0)
			return true;
	}
	return false;
}

static void read_budget(
	struct http_request *rq, const struct budget_body *body, struct budget *b, struct problem *p)
{
	b->id = uuid_v7(rq->received_us / US_PER_MS); /* unless one of this period and scope exists */
	b->name = body->name;
	b->limit = (struct money){body->limit.value};
	b->hard = body->hard.value;
	read_limit(body, p);
	if (budget_period_parse(body->period == NULL ? "monthly" : body->period, &b->period) != ERR_OK)
		problem_add(p, "period", "is not a known period");
	read_scope(rq, body->scope, b, p);
	read_all_thresholds(body->thresholds, b, p);
}

static struct reply store_budget(struct http_request *rq, struct budget *b)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const struct tz *tz;
	bool created = false;
	enum err e = budget_begin(rq, &tz, &p);
	if (e == ERR_OK)
		e = budgets_upsert(api_db(rq), &rq->principal.user_id, b, &rq->arena, &created);
	if (e == ERR_CONFLICT)
		return reply_error(
			rq, e, "There are as many budgets as one account may have; delete one first");
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	/* What was spent already may have reached a threshold of this budget. */
	spenders_note(api_of(rq)->spenders, &rq->principal.user_id, false);
	return budget_answer(rq, created ? 201 : 200, tz, b);
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
	api_query_none(rq, &p);
	json_decode(&doc, doc.root, FIELDS, sizeof FIELDS / sizeof FIELDS[0], &body, "", &p);
	if (!body.limit.set && !is_named(&p, "limit"))
		problem_add(&p, "limit", "is required");
	read_budget(rq, &body, &b, &p);
	const struct reply r = problem_none(&p) ? store_budget(rq, &b) : reply_problem(rq, &p);
	json_doc_release(&doc);
	return r;
}

/* ---- PATCH ---- */

/* A budget of another period or scope is another budget: what it counts and what was told of it would not
 * fit. null removes the name; everywhere else it is as good as absent. */
static void read_patch(const struct json_doc *doc, const struct budget_body *body, struct budget_patch *patch,
	struct problem *p)
{
	static const char *const FIXED[] = {"period", "scope"};
	for (size_t i = 0; i < sizeof FIXED / sizeof FIXED[0]; i++) {
		if (json_object_get(doc->root, FIXED[i]) != NULL && !is_named(p, FIXED[i]))
			problem_add(p, FIXED[i], "cannot be changed; make another budget");
	}
	read_limit(body, p);
	*patch = (struct budget_patch){
		.set_name = json_object_get(doc->root, "name") != NULL,
		.name = body->name,
		.set_limit = body->limit.set,
		.limit = {body->limit.value},
		.set_hard = body->hard.set,
		.hard = body->hard.value,
	};
	if (body->thresholds != NULL)
		patch->n_thresholds = read_thresholds(body->thresholds, patch->thresholds, p);
}

static struct reply patch_budget(struct http_request *rq, const struct budget_patch *patch)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	const struct tz *tz;
	struct uuid id;
	struct budget b;
	enum err e = budget_begin(rq, &tz, &p);
	if (e == ERR_OK)
		e = api_path_uuid(rq, 0, &id);
	if (e == ERR_OK)
		e = budgets_patch(api_db(rq), &rq->principal.user_id, &id, patch, &rq->arena, &b);
	if (e != ERR_OK)
		return budget_fail(rq, e, &p);
	spenders_note(api_of(rq)->spenders, &rq->principal.user_id, false);
	return budget_answer(rq, 200, tz, &b);
}

struct reply api_budgets_patch(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	struct json_doc doc;
	if (json_doc_parse(&doc, rq->body, rq->body_len, &json_limits_default, &rq->arena, &p) != ERR_OK)
		return reply_problem(rq, &p);
	struct budget_body body = {.period = NULL};
	struct budget_patch patch = {.set_name = false};
	api_query_none(rq, &p);
	if (json_decode(&doc, doc.root, FIELDS, sizeof FIELDS / sizeof FIELDS[0], &body, "", &p) == ERR_OK ||
		json_is_object(doc.root))
		read_patch(&doc, &body, &patch, &p);
	const struct reply r = problem_none(&p) ? patch_budget(rq, &patch) : reply_problem(rq, &p);
	json_doc_release(&doc);
	return r;
}
