/* The answer to a batch, read strictly: what it does not say plainly is an error and never a guess. */
#include <string.h>
#include "llmlab/app/import_client.h"
#include "llmlab/base/json_read.h"

/* What the server says of an event that it could not take now, though nothing is wrong with it. */
static bool is_passing(const char *code)
{
	static const enum err passing[] = {ERR_UNAVAILABLE, ERR_DATABASE_UNAVAILABLE, ERR_OVERLOADED,
		ERR_DRAINING, ERR_NO_MEMORY, ERR_RATE_LIMITED};
	for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++) {
		if (strcmp(err_code(passing[i]), code) == 0)
			return true;
	}
	return false;
}

/* "Invalid input: input_tokens must be 0 or more; ..." */
static const char *reason_of(const json_t *error, struct arena *arena)
{
	const char *const detail = json_string_value(json_object_get(error, "detail"));
	const char *reason = detail != NULL ? detail : "refused";
	const json_t *const errors = json_object_get(error, "errors");
	for (size_t i = 0; i < json_array_size(errors) && reason != NULL; i++) {
		const json_t *const e = json_array_get(errors, i);
		const char *const field = json_string_value(json_object_get(e, "field"));
		const char *const message = json_string_value(json_object_get(e, "message"));
		if (field != NULL && message != NULL && strstr(reason, message) == NULL)
			reason = arena_printf(arena, "%s; %s %s", reason, field, message);
	}
	return arena_strdup(arena, reason);
}

static bool read_error(const json_t *error, struct arena *arena, struct import_result *ret)
{
	const char *const code = json_string_value(json_object_get(error, "code"));
	if (code == NULL)
		return false;
	ret->outcome = is_passing(code) ? IMPORT_AGAIN : IMPORT_REJECTED;
	ret->reason = reason_of(error, arena);
	return ret->reason != NULL;
}

static bool read_cost(
	const struct json_doc *doc, const json_t *cost, struct arena *arena, struct import_result *ret)
{
	if (json_is_null(cost))
		return true;
	const char *const text = json_number_text(doc, cost, arena);
	if (text == NULL)
		return false;
	const int128 max = decimal_pow10(MONEY_SCALE) * MONEY_MAX_USD;
	ret->has_cost = true;
	return decimal_parse(text, strlen(text), MONEY_SCALE, max, &ret->cost.atto) == ERR_OK &&
	       ret->cost.atto >= 0;
}

static bool read_result(
	const struct json_doc *doc, const json_t *result, struct arena *arena, struct import_result *ret)
{
	const json_t *const error = json_object_get(result, "error");
	if (error != NULL)
		return read_error(error, arena, ret);
	const json_t *const duplicate = json_object_get(result, "duplicate");
	const json_t *const cost = json_object_get(result, "cost");
	if (!json_is_boolean(duplicate) || cost == NULL ||
		!json_is_string(json_object_get(result, "event_id")))
		return false;
	ret->outcome = json_is_true(duplicate) ? IMPORT_DUPLICATE : IMPORT_STORED;
	return read_cost(doc, cost, arena, ret);
}

/* Every event exactly once. */
static bool read_all(const struct json_doc *doc, struct arena *arena, struct import_result *results, size_t n)
{
	const json_t *const list = json_object_get(doc->root, "results");
	bool *const known = arena_array(arena, n, sizeof *known);
	if (!json_is_array(list) || json_array_size(list) != n || known == NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		const json_t *const r = json_array_get(list, i);
		const json_t *const index = json_object_get(r, "index");
		const json_int_t at = json_integer_value(index);
		if (!json_is_integer(index) || at < 0 || (size_t)at >= n || known[at])
			return false;
		known[at] = true;
		results[at] = (struct import_result){0};
		if (!read_result(doc, r, arena, &results[at]))
			return false;
	}
	return true;
}

enum err import_results_read(
	const char *answer, size_t bytes, struct arena *arena, struct import_result *results, size_t n)
{
	struct problem p;
	problem_init(&p, arena);
	struct json_doc doc;
	if (json_doc_parse(&doc, answer, bytes, &json_limits_trusted, arena, &p) != ERR_OK)
		return ERR_SYNTAX;
	const bool good = read_all(&doc, arena, results, n);
	json_doc_release(&doc);
	return good ? ERR_OK : ERR_SYNTAX;
}
