/* Runs the rules of rules.def, gives their findings ids, and adds their savings up without counting anything
 * twice. What a rule looks for is in its own file. */

#include "llmlab/core/rules.h"

#include <stdlib.h>
#include <string.h>

#include "../stable_id.h"
#include "llmlab/base/check.h"
#include "rule.h"

static const struct {
	const char *type;
	void (*run)(struct rule_run *run);
} RULES[] = {
#define RULE(name) {#name, rule_##name},
#include "rules.def"
#undef RULE
};
#define N_RULES (sizeof(RULES) / sizeof(RULES[0]))

size_t rules_count(void)
{
	return N_RULES;
}

const char *rules_type(size_t i)
{
	CHECK(i < N_RULES);
	return RULES[i].type;
}

const char *optimization_priority_name(enum optimization_priority p)
{
	static const char *const NAMES[] = {"low", "medium", "high"};
	CHECK((size_t)p < sizeof(NAMES) / sizeof(NAMES[0]));
	return NAMES[p];
}

/* Room for one more; false without memory. */
static bool grow(struct rule_run *run)
{
	if (run->n < run->size)
		return true;
	const size_t size = run->size ? 2 * run->size : 32;
	struct optimization *rows = arena_array(run->arena, size, sizeof(*rows));
	if (!rows)
		return false;
	if (run->n > 0)
		memcpy(rows, run->rows, run->n * sizeof(*rows));
	run->rows = rows;
	run->size = size;
	return true;
}

struct optimization *rule_add(struct rule_run *run, const char *provider, const char *model)
{
	static _Thread_local struct optimization nobody_sees;
	struct optimization *o = grow(run) ? &run->rows[run->n++] : &nobody_sees;
	*o = (struct optimization){.type = run->type, .provider = provider, .model = model};
	const char *const texts[] = {run->type, provider, model};
	stable_id(texts, sizeof(texts) / sizeof(texts[0]), o->id);
	return o;
}

static struct evidence *add_evidence(struct optimization *o, const char *key, enum evidence_kind kind)
{
	CHECK(o->n_evidence < EVIDENCE_MAX);
	struct evidence *e = &o->evidence[o->n_evidence++];
	*e = (struct evidence){.key = key, .kind = kind};
	return e;
}

void rule_text(struct optimization *o, const char *key, const char *text)
{
	add_evidence(o, key, EVIDENCE_TEXT)->text = text;
}

void rule_number(struct optimization *o, const char *key, int64_t number)
{
	add_evidence(o, key, EVIDENCE_NUMBER)->number = number;
}

void rule_decimal(struct optimization *o, const char *key, int128 decimal, int scale)
{
	struct evidence *e = add_evidence(o, key, EVIDENCE_DECIMAL);
	e->decimal = decimal;
	e->scale = scale;
}

void rule_money(struct optimization *o, const char *key, struct money amount)
{
	rule_decimal(o, key, amount.atto, MONEY_SCALE);
}

static int compare_texts(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* By subject, then largest savings, then type: the first of each subject is the one that counts. */
static int compare_subject(const void *x, const void *y)
{
	const struct optimization *a = x;
	const struct optimization *b = y;
	const int by_provider = compare_texts(a->provider, b->provider);
	const int by_model = by_provider ? by_provider : compare_texts(a->model, b->model);
	const int by_savings =
		by_model ? by_model : money_compare(b->potential_savings, a->potential_savings);
	return by_savings ? by_savings : strcmp(a->type, b->type);
}

/* The order of the answer. */
static int compare_worth(const void *x, const void *y)
{
	const struct optimization *a = x;
	const struct optimization *b = y;
	const int by_savings = money_compare(b->potential_savings, a->potential_savings);
	if (by_savings != 0)
		return by_savings;
	if (a->priority != b->priority)
		return a->priority < b->priority ? 1 : -1;
	const int by_type = strcmp(a->type, b->type);
	return by_type ? by_type : compare_subject(x, y);
}

static bool same_subject(const struct optimization *a, const struct optimization *b)
{
	return compare_texts(a->provider, b->provider) == 0 && compare_texts(a->model, b->model) == 0;
}

/* Marks the largest of each subject and adds them up. False if the sum does not fit. */
static bool count_savings(struct optimization *rows, size_t n, struct money *ret)
{
	struct money total = money_zero();
	if (n > 0)
		qsort(rows, n, sizeof(*rows), compare_subject);
	for (size_t i = 0; i < n; i++) {
		rows[i].counted = rows[i].potential_savings.atto > 0 &&
				  (i == 0 || !same_subject(&rows[i - 1], &rows[i]));
		if (rows[i].counted && !money_add(total, rows[i].potential_savings, &total))
			return false;
	}
	*ret = total;
	return true;
}

enum err rules_run(const struct rules_input *in, struct arena *arena, struct optimization **ret,
	size_t *ret_n, struct money *ret_total)
{
	struct rule_run run = {.in = in, .arena = arena};
	for (size_t i = 0; i < N_RULES; i++) {
		run.type = RULES[i].type;
		RULES[i].run(&run);
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	struct money total = money_zero();
	if (!count_savings(run.rows, run.n, &total))
		return ERR_RANGE;
	if (run.n > 0)
		qsort(run.rows, run.n, sizeof(*run.rows), compare_worth);
	*ret = run.rows;
	*ret_n = run.n;
	*ret_total = total;
	return ERR_OK;
}
