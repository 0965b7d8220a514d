/* Model switching: which models may be suggested for which, and what the user's own mix of tokens would have
 * cost on them. How that is shown, and how it goes together with other recommendations, is rules' work. */

#include "llmlab/core/switching.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "stable_id.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/price.h"

#define RETIRING_DAYS 90
#define SAVED_PERCENT 5
#define MONTH_DAYS    30

bool dismissed_has(const struct dismissed *d, const char *id)
{
	size_t lo = 0;
	size_t hi = d->n;
	while (lo < hi) {
		const size_t middle = lo + (hi - lo) / 2;
		const int c = strcmp(id, d->ids[middle]);
		if (c == 0)
			return true;
		if (c < 0)
			hi = middle;
		else
			lo = middle + 1;
	}
	return false;
}

const char *switching_kind_name(enum switching_kind k)
{
	static const char *const NAMES[SWITCHING_KINDS] = {
		"same_class", "smaller", "same_model_other_provider", "other_family"};
	CHECK(k < SWITCHING_KINDS);
	return NAMES[k];
}

/* ---- amounts ---- */

bool switching_monthly(struct money amount, int32_t period_days, struct money *ret)
{
	CHECK(period_days > 0);
	if (period_days <= MONTH_DAYS) {
		*ret = amount;
		return true;
	}
	int128 product = 0;
	if (!decimal_mul(amount.atto, MONTH_DAYS, &product))
		return false;
	ret->atto = product / period_days;
	return true;
}

/* ---- which models compare ---- */

/* Smaller than the small ones: "nano", "lite", or fewer than ten billion parameters by its name
 * ("llama-3.1-8b"). */
static bool is_tiny(const char *model)
{
	if (strstr(model, "nano") || strstr(model, "lite"))
		return true;
	for (const char *s = model; *s;) {
		const size_t n = strspn(s, "0123456789");
		if (n == 1 && s[1] == 'b' && !isalnum((unsigned char)s[2]) && (s == model || s[-1] == '-'))
			return true;
		s += n > 0 ? n : 1;
	}
	return false;
}

/* flagship 4, mid 3, small 2, tiny 1; 0 for what is not sized (embeddings, audio ...). */
static int class_rank(const struct price_record *r)
{
	static const char *const CLASSES[] = {"small", "mid", "flagship"};
	for (int i = 0; r->class_ && i < 3; i++)
		if (strcmp(r->class_, CLASSES[i]) == 0)
			return i == 0 && is_tiny(r->model) ? 1 : i + 2;
	return 0;
}

/* Length of the product line's family: "gpt" of "gpt-mini". */
static size_t family_length(const char *line)
{
	return strcspn(line, "-");
}

static bool same_family(const struct price_record *a, const struct price_record *b)
{
	if (!a->line || !b->line)
		return false;
	const size_t n = family_length(a->line);
	return n == family_length(b->line) && strncmp(a->line, b->line, n) == 0;
}

/* A run of at most two digits at s that is no date ("08") and no size ("70b", "32k"); its length, else 0. */
static size_t version_digits(const char *s)
{
	const size_t n = strspn(s, "0123456789");
	if (n == 0 || n > 2 || (n == 2 && s[0] == '0') || s[n] == 'b' || s[n] == 'k')
		return 0;
	return n;
}

/* After a number that is no version: a year takes its month and day with it ("2024-11-01"). */
static const char *after_number(const char *s)
{
	const size_t n = strspn(s, "0123456789");
	s += n;
	while (n == 4 && s[0] == '-' && strspn(s + 1, "0123456789") == 2)
		s += 3;
	return s;
}

/* The version in a model's name x 100 ("gpt-4o" 400, "claude-3-5-haiku" 305, "gemini-2.5-pro" 205), 0 if
 * there is none. */
static int version_of(const char *model)
{
	for (const char *s = model; *s;) {
		if (!isdigit((unsigned char)*s)) {
			s++;
			continue;
		}
		const size_t n = version_digits(s);
		if (n == 0) {
			s = after_number(s);
			continue;
		}
		const int major = atoi(s);
		const char *after = s + n;
		const bool has_minor = (*after == '.' || *after == '-') && version_digits(after + 1) > 0;
		return major > 20 ? 0 : major * 100 + (has_minor ? atoi(after + 1) : 0);
	}
	return 0;
}

/* Names of models made for one purpose, which no general one replaces and which replace no general one. */
static bool is_special(const char *model)
{
	static const char *const WORDS[] = {"ft:", ".ft-", "search", "research", "audio", "realtime", "live",
		"image", "vision", "tts", "transcribe", "robotics", "computer-use", "guard", "embed",
		"extended", "oss", "exp-", "-vl", "multi-agent"};
	for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++)
		if (strstr(model, WORDS[i]))
			return true;
	return false;
}

static bool has_kind(const struct price_record *r, const char *kind)
{
	return r->kind && strcmp(r->kind, kind) == 0;
}

/* True if any name of the record is retired or will be within RETIRING_DAYS. */
static bool is_retiring(const struct price_record *r, int64_t now_us)
{
	const int32_t today = tz_day_of(tz_utc(), now_us);
	for (size_t i = 0; i < r->n_retirements; i++)
		if (r->retirements[i].retires_day <= today + RETIRING_DAYS)
			return true;
	return false;
}

static int64_t context_of(const struct price_record *r)
{
	return r->context_window > 0 ? r->context_window : r->max_input_tokens;
}

static bool fits(const struct price_record *r, const struct model_usage *u)
{
	const int64_t window = context_of(r);
	return window <= 0 || ((int128)u->input_tokens + u->output_tokens) / u->calls <= window / 2;
}

/* May `r` replace a model for someone who uses it like this? Who makes it, how large it is and its price
 * apart. */
static bool is_usable(const struct price_record *r, const struct model_usage *u, int64_t now_us)
{
	return has_kind(r, "chat") && !r->deprecated && !is_special(r->model) && !is_retiring(r, now_us) &&
	       fits(r, u);
}

/* The makers of families that others might use instead: each at its own provider. */
static const struct {
	const char *family, *provider;
} MAKERS[] = {
	{"gpt", "openai"},
	{"claude", "anthropic"},
	{"gemini", "google"},
	{"grok", "x-ai"},
	{"mistral", "mistral"},
	{"deepseek", "deepseek"},
	{"command", "cohere"},
	{"nova", "amazon_nova"},
	{"qwen", "dashscope"},
	{"glm", "zai"},
	{"kimi", "moonshotai"},
};

static bool made_by_seller(const struct price_record *r)
{
	for (size_t i = 0; r->line && i < sizeof(MAKERS) / sizeof(MAKERS[0]); i++)
		if (strcmp(MAKERS[i].provider, r->provider) == 0)
			return family_length(r->line) == strlen(MAKERS[i].family) &&
			       strncmp(r->line, MAKERS[i].family, family_length(r->line)) == 0;
	return false;
}

/* The model's name without who sells or made it: "gpt-4o" of "openai/gpt-4o". */
static const char *bare_name(const char *model)
{
	const char *slash = strrchr(model, '/');
	return slash && slash[1] ? slash + 1 : model;
}

/* ---- a row and its candidates ---- */

struct row {
	const struct switching_input *in;
	size_t index;
	const struct model_usage *usage;
	struct token_mix mix;
	const struct price_record *current; /* what the catalogue knows of the model */
	bool other_seller;		    /* another provider's record stands for it */
	const struct provider *seller;	    /* of the record */
	struct money now;		    /* today's cost, at most what was spent */
};

struct candidate {
	const struct provider *provider;
	const struct price_record *record;
	struct mix_cost cost;
};

/* True if the record may be suggested as this kind. */
static bool is_candidate(
	const struct row *w, enum switching_kind kind, const struct provider *p, const struct price_record *r)
{
	const struct price_record *current = w->current;
	switch (kind) {
	case SWITCH_SAME_CLASS:
	case SWITCH_SMALLER:
		return p == w->seller && r != current && class_rank(r) > 0 &&
		       class_rank(current) - class_rank(r) == (kind == SWITCH_SMALLER ? 1 : 0) &&
		       same_family(current, r) && version_of(r->model) >= version_of(current->model) &&
		       version_of(r->model) > 0;
	case SWITCH_PROVIDER:
		return p != w->seller && strcmp(p->id, w->usage->provider) != 0 &&
		       strcasecmp(bare_name(r->model), bare_name(current->model)) == 0;
	case SWITCH_OTHER_FAMILY:
		return p != w->seller && made_by_seller(r) && class_rank(current) == class_rank(r) &&
		       version_of(r->model) > 0 && context_of(r) > 0 && context_of(r) >= context_of(current);
	case SWITCHING_KINDS:
		break;
	}
	return false;
}

/* Who would bill it: a model of the same family stays with the row's provider, which may not be the maker. */
static const char *billed_by(const struct row *w, enum switching_kind kind, const struct price_record *r)
{
	return kind < SWITCH_PROVIDER ? w->usage->provider : r->provider;
}

/* The user's own price of the record's model, else the record. */
static const struct price_record *priced_as(
	const struct row *w, enum switching_kind kind, const struct price_record *r)
{
	const struct switching_input *in = w->in;
	if (in->n_overrides == 0)
		return r;
	bool own = false;
	const struct price_match m = price_find_own(
		in->catalogue, in->overrides, in->n_overrides, billed_by(w, kind, r), r->model, NULL, &own);
	return own ? m.record : r;
}

/* Newer versions of another family come before older ones, whatever they cost: an old model is cheap for a
 * reason. */
static bool is_better(enum switching_kind kind, const struct candidate *a, const struct candidate *b)
{
	if (!b->record)
		return true;
	const bool one_family = a->provider == b->provider;
	const int newer = version_of(a->record->model) - version_of(b->record->model);
	if (kind == SWITCH_OTHER_FAMILY && one_family && newer != 0)
		return newer > 0;
	return money_compare(a->cost.expected, b->cost.expected) < 0;
}

/* The provider's best record of a kind goes into *best if it is better than what is there. */
static void best_of_provider(
	const struct row *w, enum switching_kind kind, const struct provider *p, struct candidate *best)
{
	struct candidate own = {.record = NULL};
	for (size_t i = 0; i < p->n_records; i++) {
		const struct price_record *r = &p->records[i];
		struct candidate c = {.provider = p, .record = r};
		if (!is_candidate(w, kind, p, r) || !is_usable(r, w->usage, w->in->now_us) ||
			!mix_cost(priced_as(w, kind, r), w->in->now_us, TIER_STANDARD, &w->mix, &c.cost) ||
			c.cost.expected.atto == 0)
			continue;
		if (is_better(kind, &c, &own))
			own = c;
	}
	if (own.record && is_better(kind, &own, best))
		*best = own;
}

static bool best_candidate(const struct row *w, enum switching_kind kind, struct candidate *ret)
{
	struct candidate best = {.record = NULL};
	const struct catalogue *c = w->in->catalogue;
	for (size_t i = 0; i < c->n_providers; i++)
		best_of_provider(w, kind, &c->providers[i], &best);
	if (!best.record)
		return false;
	*ret = best;
	return true;
}

/* ---- suggestions ---- */

static const char *use_case_of(const struct model_usage *u)
{
	if (u->reasoning_tokens > u->output_tokens / 2)
		return "reasoning";
	if (u->cache_read_tokens > u->input_tokens / 2)
		return "repeated context (mostly cached input)";
	if (u->input_tokens / 8 > u->output_tokens)
		return "long input, short answers (classification, extraction, retrieval)";
	if (u->output_tokens > u->input_tokens)
		return "text generation (more output than input)";
	return "general chat";
}

static double confidence_of(const struct row *w, const struct switching *s)
{
	static const double OF_KIND[SWITCHING_KINDS] = {0.9, 0.6, 0.7, 0.3};
	const struct model_usage *u = w->usage;
	double confidence = OF_KIND[s->kind];
	if (u->calls < 20)
		confidence *= 0.5;
	else if (u->calls < 100)
		confidence *= 0.75;
	else if (u->calls < 1000)
		confidence *= 0.9;
	if (context_of(s->suggested) <= 0)
		confidence *= 0.8;
	return w->other_seller ? confidence * 0.8 : confidence;
}

static const char *caveat_of(
	const struct row *w, const struct switching *s, const struct mix_cost *cost, struct arena *arena)
{
	static const char *const OF_KIND[SWITCHING_KINDS] = {
		"Assumes the same token counts; another model may count and reason differently. Compare the "
		"quality on your own prompts first.",
		"Assumes the same token counts; another model may count and reason differently. One size "
		"class smaller: try it on your own prompts first.",
		"The same model by its name: check that provider's terms, region, limits and precision.",
		"Another maker's model of the same class: it counts tokens, reasons and answers differently. "
		"Evaluate it on your own prompts before you trust the figure."};
	return arena_printf(arena, "%s%s%s%s", OF_KIND[s->kind],
		context_of(s->suggested) <= 0 ? " Its context window is not known." : "",
		cost->by_size ? " Its long calls cost more; priced at the length of the average call." : "",
		w->other_seller && s->kind < SWITCH_PROVIDER ? " Check that your provider offers it." : "");
}

/* True, and *ret filled, if the best candidate of a kind saves enough. */
static bool suggest(const struct row *w, enum switching_kind kind, struct arena *arena, struct switching *ret)
{
	struct candidate best;
	if (!best_candidate(w, kind, &best) || money_compare(best.cost.expected, w->now) >= 0)
		return false;
	const struct money saved = {w->now.atto - best.cost.expected.atto};
	if (saved.atto < w->now.atto / 100 * SAVED_PERCENT)
		return false;
	const struct model_usage *u = w->usage;
	struct switching s = {.kind = kind,
		.usage = w->index,
		.provider = u->provider,
		.current_model = u->model,
		.suggested_provider = billed_by(w, kind, best.record),
		.suggested_model = best.record->model,
		.current = w->current,
		.suggested = best.record,
		.current_cost_per_call = money_average(w->now, u->calls),
		.suggested_cost_per_call = money_average(best.cost.expected, u->calls),
		.saved = saved,
		.use_case = use_case_of(u)};
	if (!switching_monthly(s.saved, w->in->period_days, &s.monthly_savings))
		return false;
	const char *const texts[] = {
		"model_switching", u->provider, u->model, s.suggested_provider, s.suggested_model};
	stable_id(texts, sizeof(texts) / sizeof(texts[0]), s.id);
	s.dismissed = dismissed_has(&w->in->dismissed, s.id);
	s.confidence = confidence_of(w, &s);
	s.caveat = caveat_of(w, &s, &best.cost, arena);
	*ret = s;
	return true;
}

static const struct provider *seller_of(const struct catalogue *c, const struct price_record *r)
{
	for (size_t i = 0; i < c->n_providers; i++)
		if (strcmp(c->providers[i].id, r->provider) == 0)
			return &c->providers[i];
	return NULL;
}

/* What the row cost, at today's prices but never more than was really spent: the rest is not this model's
 * price. */
static struct money current_cost(const struct row *w)
{
	bool own = false;
	const struct price_match m = price_find_own(w->in->catalogue, w->in->overrides, w->in->n_overrides,
		w->usage->provider, w->usage->model, NULL, &own);
	struct mix_cost listed;
	if (!mix_cost(m.record, w->in->now_us, TIER_STANDARD, &w->mix, &listed) ||
		money_compare(listed.expected, w->usage->cost) > 0)
		return w->usage->cost;
	return listed.expected;
}

/* False if nothing can be suggested for such a row. */
static bool row_read(const struct switching_input *in, size_t index, struct row *ret)
{
	const struct model_usage *u = &in->models[index];
	if (u->calls <= 0 || u->unpriced_calls > 0 || u->cost.atto <= 0)
		return false;
	const struct price_match match = price_find(in->catalogue, u->provider, u->model, NULL);
	const struct price_record *r = match.record;
	if (!r || class_rank(r) == 0 || version_of(r->model) == 0 || is_special(r->model) ||
		!(has_kind(r, "chat") || has_kind(r, "responses")))
		return false;
	*ret = (struct row){.in = in,
		.index = index,
		.usage = u,
		.mix = model_usage_mix(u),
		.current = r,
		.other_seller = match.fallback,
		.seller = seller_of(in->catalogue, r)};
	ret->now = current_cost(ret);
	return ret->seller != NULL;
}

/* Appends the row's suggestions to out (room for SWITCHING_KINDS) and marks the best one. Returns their
 * number. */
static size_t suggest_for_row(
	const struct switching_input *in, size_t index, struct arena *arena, struct switching *out)
{
	struct row w;
	if (!row_read(in, index, &w))
		return 0;
	size_t n = 0;
	struct switching *best = NULL;
	for (int kind = 0; kind < SWITCHING_KINDS; kind++) {
		struct switching *s = &out[n];
		if (!suggest(&w, (enum switching_kind)kind, arena, s))
			continue;
		n++;
		if (s->dismissed || s->kind == SWITCH_OTHER_FAMILY)
			continue;
		if (!best || money_compare(s->saved, best->saved) > 0)
			best = s;
	}
	if (best)
		best->counted = true;
	return n;
}

/* Largest savings first, then by name: the order does not depend on that of the rows. */
static int compare_savings(const void *x, const void *y)
{
	const struct switching *a = x;
	const struct switching *b = y;
	const int by_savings = money_compare(b->monthly_savings, a->monthly_savings);
	if (by_savings != 0)
		return by_savings;
	const int by_provider = strcmp(a->provider, b->provider);
	const int by_model = by_provider ? by_provider : strcmp(a->current_model, b->current_model);
	return by_model ? by_model : (a->kind > b->kind) - (a->kind < b->kind);
}

/* What the dearest rows are found by. */
struct ranked {
	const struct model_usage *usage;
	size_t index;
};

static int compare_cost(const void *x, const void *y)
{
	const struct model_usage *a = ((const struct ranked *)x)->usage;
	const struct model_usage *b = ((const struct ranked *)y)->usage;
	const int by_cost = money_compare(b->cost, a->cost);
	const int by_provider = by_cost ? by_cost : strcmp(a->provider, b->provider);
	return by_provider ? by_provider : strcmp(a->model, b->model);
}

/* The rows to look at, dearest first; NULL without memory. */
static const struct ranked *rank_rows(const struct switching_input *in, struct arena *arena, size_t *ret_n)
{
	struct ranked *rows = arena_array(arena, in->n_models, sizeof(*rows));
	if (!rows)
		return NULL;
	for (size_t i = 0; i < in->n_models; i++)
		rows[i] = (struct ranked){.usage = &in->models[i], .index = i};
	if (in->n_models > 0)
		qsort(rows, in->n_models, sizeof(*rows), compare_cost);
	*ret_n = in->n_models < SWITCHING_ROWS_MAX ? in->n_models : SWITCHING_ROWS_MAX;
	return rows;
}

enum err switching_find(const struct switching_input *in, struct arena *arena, struct switching **ret,
	size_t *ret_n, struct money *ret_total)
{
	(void)price_find_starved();
	size_t n_rows = 0;
	const struct ranked *const ranked = rank_rows(in, arena, &n_rows);
	struct switching *rows = arena_array(arena, SWITCHING_KINDS * n_rows, sizeof(*rows));
	if (!ranked || !rows)
		return ERR_NO_MEMORY;
	size_t n = 0;
	struct money total = money_zero();
	for (size_t i = 0; i < n_rows; i++) {
		const size_t before = n;
		n += suggest_for_row(in, ranked[i].index, arena, &rows[n]);
		for (size_t k = before; k < n; k++)
			if (rows[k].counted && !money_add(total, rows[k].monthly_savings, &total))
				return ERR_RANGE;
	}
	if (price_find_starved() || arena_overflowed(arena))
		return ERR_NO_MEMORY;
	if (n > 0)
		qsort(rows, n, sizeof(*rows), compare_savings);
	*ret = rows;
	*ret_n = n;
	*ret_total = total;
	return ERR_OK;
}
