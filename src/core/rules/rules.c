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

void rule_savings(
	const struct rule_run *run, const struct model_usage *u, struct money amount, struct optimization *o)
{
	const struct money most = money_compare(amount, u->cost) > 0 ? u->cost : amount;
	/* What does not fit is claimed by nobody. */
	if (!switching_monthly(most, run->in->period_days, &o->potential_savings))
		o->potential_savings = money_zero();
}

struct money rule_of_sample(const struct model_usage *u, const struct model_sample *s, struct money saved)
{
	if (s->cost.atto <= 0 || saved.atto <= 0)
		return money_zero();
	const struct money most = money_compare(saved, s->cost) > 0 ? s->cost : saved;
	return money_share(u->cost, most.atto, s->cost.atto);
}

#define SHARE_SCALE 6

void rule_sample(struct optimization *o, const struct model_usage *u, const struct model_sample *s)
{
	rule_number(o, "sample_calls", (int64_t)s->n);
	rule_decimal(o, "sample_share",
		u->calls > 0 ? (int128)s->n * decimal_pow10(SHARE_SCALE) / u->calls : 0, SHARE_SCALE);
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

/* By subject, then largest savings, then type: the first of each subject that is not dismissed is the one
 * that counts. */
static int compare_subject(const void *x, const void *y)
{
	const struct optimization *a = x;
	const struct optimization *b = y;
	const int by_provider = compare_texts(a->provider, b->provider);
	const int by_model = by_provider ? by_provider : compare_texts(a->model, b->model);
	const int by_savings =
		by_model ? by_model : money_compare(b->potential_savings, a->potential_savings);
	const int by_type = by_savings ? by_savings : strcmp(a->type, b->type);
	return by_type ? by_type : strcmp(a->id, b->id);
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
	const struct optimization *counted = NULL;
	for (size_t i = 0; i < n; i++) {
		if (rows[i].dismissed || rows[i].potential_savings.atto <= 0 ||
			(counted && same_subject(counted, &rows[i])))
			continue;
		rows[i].counted = true;
		counted = &rows[i];
		if (!money_add(total, rows[i].potential_savings, &total))
			return false;
	}
	*ret = total;
	return true;
}

/* ---- what rules share ---- */

/* Each model's record, NULL where there is none. */
static const struct price_record *const *find_records(const struct rules_input *in, struct arena *arena)
{
	const struct price_record **records = arena_array(arena, in->n_models, sizeof(*records));
	for (size_t i = 0; records && i < in->n_models; i++) {
		bool own;
		records[i] = price_find_own(in->catalogue, in->overrides, in->n_overrides,
			in->models[i].provider, in->models[i].model, NULL, &own)
				     .record;
	}
	return records;
}

/* By model, then time; what is the same in both by size, so that the order of the input does not matter. */
static int compare_calls(const void *x, const void *y)
{
	const struct sampled_call *a = x;
	const struct sampled_call *b = y;
	const int by_provider = strcmp(a->provider, b->provider);
	const int by_model = by_provider ? by_provider : strcmp(a->model, b->model);
	if (by_model)
		return by_model;
	if (a->at_us != b->at_us)
		return a->at_us < b->at_us ? -1 : 1;
	if (a->mix.input != b->mix.input)
		return a->mix.input < b->mix.input ? -1 : 1;
	return money_compare(a->cost, b->cost);
}

/* The first call that is not before the model's. */
static size_t first_call(const struct sampled_call *calls, size_t n, const struct model_usage *u)
{
	size_t lo = 0;
	size_t hi = n;
	while (lo < hi) {
		const size_t middle = lo + (hi - lo) / 2;
		const int by_provider = strcmp(calls[middle].provider, u->provider);
		const int order = by_provider ? by_provider : strcmp(calls[middle].model, u->model);
		if (order < 0)
			lo = middle + 1;
		else
			hi = middle;
	}
	return lo;
}

static struct model_sample sample_of(const struct sampled_call *calls, size_t n, const struct model_usage *u)
{
	struct model_sample s = {.calls = calls + first_call(calls, n, u)};
	while (s.calls + s.n < calls + n && strcmp(s.calls[s.n].provider, u->provider) == 0 &&
		strcmp(s.calls[s.n].model, u->model) == 0) {
		const struct sampled_call *call = &s.calls[s.n++];
		/* A sum of some thousand calls of at most MONEY_MAX_USD each fits. */
		if (call->priced)
			s.cost.atto += call->cost.atto;
	}
	return s;
}

/* The sample of each model. */
static const struct model_sample *find_samples(const struct rules_input *in, struct arena *arena)
{
	struct sampled_call *calls = arena_array(arena, in->n_sample, sizeof(*calls));
	struct model_sample *samples = arena_array(arena, in->n_models, sizeof(*samples));
	if (!calls || !samples)
		return NULL;
	if (in->n_sample > 0) {
		memcpy(calls, in->sample, in->n_sample * sizeof(*calls));
		qsort(calls, in->n_sample, sizeof(*calls), compare_calls);
	}
	for (size_t i = 0; i < in->n_models; i++)
		samples[i] = sample_of(calls, in->n_sample, &in->models[i]);
	return samples;
}

enum err rules_run(const struct rules_input *in, struct arena *arena, struct optimization **ret,
	size_t *ret_n, struct money *ret_total)
{
	(void)price_find_starved();
	struct rule_run run = {.in = in,
		.arena = arena,
		.records = find_records(in, arena),
		.samples = find_samples(in, arena)};
	if (!run.records || !run.samples)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < N_RULES; i++) {
		run.type = RULES[i].type;
		RULES[i].run(&run);
	}
	if (price_find_starved() || arena_overflowed(arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < run.n; i++)
		run.rows[i].dismissed = dismissed_has(&in->dismissed, run.rows[i].id);
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
