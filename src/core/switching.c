/* Model switching: which models may be suggested for which, and what the user's own mix of tokens would have
 * cost on them. How that is shown, and how it goes together with other recommendations, is rules' work. */

#include "llmlab/core/switching.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/price.h"

#define ATTO_PER_LINE	 1000	 /* tokens x 10^-9 USD per 10^6 tokens = 10^-15 USD = 1,000 atto-USD */
#define ATTO_PER_REQUEST 1000000 /* x 10^-9 USD per 1,000 calls = 10^-12 USD a call */
#define RETIRING_DAYS	 90
#define SAVED_PERCENT	 5
#define MONTH_DAYS	 30

/* ---- prices of a mix ---- */

/* The price of a category in the tier that so much input falls in. */
static int64_t tier_price(const struct price_set *set, enum price_category category, int64_t input_tokens)
{
	int64_t price = PRICE_NONE;
	for (size_t i = 0; i < set->n_tiers; i++) {
		const struct price_tier *t = &set->tiers[i];
		if (input_tokens > t->above_input_tokens && t->per_million[category] != PRICE_NONE)
			price = t->per_million[category];
	}
	return price;
}

static int64_t price_or(int64_t price, int64_t otherwise)
{
	return price != PRICE_NONE ? price : otherwise;
}

/* Adds tokens x price to *sum, in units of ATTO_PER_LINE. */
static bool add_tokens(int128 *sum, int64_t tokens, int64_t price)
{
	return decimal_add(*sum, (int128)tokens * price, sum);
}

/* Prices of the categories that the sums know; the window's, where there is one, before the period's. */
struct mix_prices {
	int64_t input, cache_read, cache_write, output, reasoning;
};

static struct mix_prices mix_prices(
	const struct price_set *window, const struct price_set *set, int64_t input_tokens)
{
	static const enum price_category CATEGORIES[] = {CATEGORY_input, CATEGORY_cache_read,
		CATEGORY_cache_write, CATEGORY_output, CATEGORY_output_reasoning};
	int64_t found[5];
	for (size_t i = 0; i < 5; i++) {
		const int64_t of_window =
			window ? tier_price(window, CATEGORIES[i], input_tokens) : PRICE_NONE;
		found[i] = price_or(of_window, tier_price(set, CATEGORIES[i], input_tokens));
	}
	return (struct mix_prices){.input = found[0],
		.cache_read = price_or(found[1], found[0]),
		.cache_write = price_or(found[2], found[0]),
		.output = found[3],
		.reasoning = price_or(found[4], found[3])};
}

static bool price_mix(const struct mix_prices *p, const struct model_usage *u, struct money *ret)
{
	if (p->input == PRICE_NONE || p->output == PRICE_NONE)
		return false;
	/* Parts that add up to more than their whole would be priced below nothing: such sums say nothing. */
	const int64_t plain_input = u->input_tokens - u->cache_read_tokens - u->cache_write_tokens;
	const int64_t plain_output = u->output_tokens - u->reasoning_tokens;
	if (plain_input < 0 || plain_output < 0)
		return false;
	struct money cost = money_zero();
	int128 sum = 0;
	if (!add_tokens(&sum, plain_input, p->input) ||
		!add_tokens(&sum, u->cache_read_tokens, p->cache_read) ||
		!add_tokens(&sum, u->cache_write_tokens, p->cache_write) ||
		!add_tokens(&sum, plain_output, p->output) ||
		!add_tokens(&sum, u->reasoning_tokens, p->reasoning) ||
		!decimal_mul(sum, ATTO_PER_LINE, &cost.atto))
		return false;
	*ret = cost;
	return true;
}

static int64_t average_input(const struct model_usage *u)
{
	return u->calls > 0 ? u->input_tokens / u->calls : 0;
}

bool switching_price_mix(const struct price_set *set, const struct model_usage *u, struct money *ret)
{
	const struct mix_prices p = mix_prices(NULL, set, average_input(u));
	return price_mix(&p, u, ret);
}

bool switching_price_record(
	const struct price_record *r, int64_t at_us, const struct model_usage *u, struct money *ret)
{
	const struct price_period *period = price_period_at(r, at_us);
	struct money dearest = money_zero();
	if (!period || !switching_price_mix(&period->standard, u, &dearest))
		return false;
	for (size_t i = 0; i < period->n_windows; i++) {
		struct money cost = money_zero();
		const struct mix_prices p =
			mix_prices(&period->windows[i].prices, &period->standard, average_input(u));
		if (!price_mix(&p, u, &cost))
			return false;
		if (money_compare(cost, dearest) > 0)
			dearest = cost;
	}
	if (period->requests_per_thousand != PRICE_NONE) {
		int128 fee = 0;
		if (!decimal_mul((int128)u->calls * period->requests_per_thousand, ATTO_PER_REQUEST, &fee) ||
			!money_add(dearest, (struct money){fee}, &dearest))
			return false;
	}
	*ret = dearest;
	return true;
}

int128 switching_per_call(struct money amount, int64_t calls)
{
	CHECK(calls > 0 && amount.atto >= 0);
	const int128 divisor = (int128)calls * decimal_pow10(MONEY_SCALE - SWITCHING_CALL_SCALE);
	const int128 quotient = amount.atto / divisor;
	const int128 rest = amount.atto % divisor;
	const int128 other = divisor - rest; /* compared instead of 2 x rest, which might not fit */
	if (rest > other || (rest == other && quotient % 2 == 1))
		return quotient + 1;
	return quotient;
}

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
			s += strspn(s, "0123456789");
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
		"extended", "oss", "exp-"};
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

/* May `r` be suggested to someone who uses `current` like this? Price apart. */
static bool is_candidate(const struct price_record *current, const struct price_record *r,
	const struct model_usage *u, int64_t now_us)
{
	const int step = class_rank(current) - class_rank(r);
	return r != current && has_kind(r, "chat") && !r->deprecated && class_rank(r) > 0 &&
	       (step == 0 || step == 1) && same_family(current, r) &&
	       version_of(r->model) >= version_of(current->model) && version_of(r->model) > 0 &&
	       !is_special(r->model) && !is_retiring(r, now_us) && fits(r, u);
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

static double confidence_of(const struct model_usage *u, const struct switching *s, bool other_seller)
{
	double confidence = class_rank(s->current) == class_rank(s->suggested) ? 0.9 : 0.6;
	if (u->calls < 20)
		confidence *= 0.5;
	else if (u->calls < 100)
		confidence *= 0.75;
	else if (u->calls < 1000)
		confidence *= 0.9;
	if (context_of(s->suggested) <= 0)
		confidence *= 0.8;
	return other_seller ? confidence * 0.8 : confidence;
}

static const char *caveat_of(const struct switching *s, bool other_seller, struct arena *arena)
{
	const bool smaller = class_rank(s->suggested) < class_rank(s->current);
	return arena_printf(arena,
		"Assumes the same token counts; another model may count and reason differently.%s%s%s",
		smaller ? " One size class smaller: try it on your own prompts first."
			: " Compare the quality on your own prompts first.",
		context_of(s->suggested) <= 0 ? " Its context window is not known." : "",
		other_seller ? " Check that your provider offers it." : "");
}

/* What the row cost, at today's prices but never more than was really spent: the rest is not this model's
 * price. */
static struct money current_cost(const struct price_record *r, int64_t now_us, const struct model_usage *u)
{
	struct money listed = money_zero();
	if (!switching_price_record(r, now_us, u, &listed) || money_compare(listed, u->cost) > 0)
		return u->cost;
	return listed;
}

/* The cheapest candidate `step` classes below the current record, or NULL. */
static const struct price_record *cheapest(const struct switching_input *in, const struct model_usage *u,
	const struct price_record *current, const struct provider *seller, int step, struct money *ret_cost)
{
	const struct price_record *best = NULL;
	struct money best_cost = money_zero();
	for (size_t i = 0; i < seller->n_records; i++) {
		const struct price_record *r = &seller->records[i];
		struct money cost = money_zero();
		if (!is_candidate(current, r, u, in->now_us) || class_rank(current) - class_rank(r) != step ||
			!switching_price_record(r, in->now_us, u, &cost) || cost.atto == 0)
			continue;
		if (best && money_compare(cost, best_cost) >= 0)
			continue;
		best = r;
		best_cost = cost;
	}
	*ret_cost = best_cost;
	return best;
}

static const struct provider *seller_of(const struct catalogue *c, const struct price_record *r)
{
	for (size_t i = 0; i < c->n_providers; i++)
		if (strcmp(c->providers[i].id, r->provider) == 0)
			return &c->providers[i];
	return NULL;
}

/* True, and *ret filled, if switching to the cheapest model `step` classes below saves enough. */
static bool suggest(const struct switching_input *in, size_t row, const struct price_match *match, int step,
	struct arena *arena, struct switching *ret)
{
	const struct model_usage *u = &in->models[row];
	const struct provider *seller = seller_of(in->catalogue, match->record);
	if (!seller)
		return false;
	struct money cost = money_zero();
	const struct price_record *best = cheapest(in, u, match->record, seller, step, &cost);
	const struct money now = current_cost(match->record, in->now_us, u);
	if (!best || cost.atto >= now.atto || now.atto - cost.atto < now.atto / 100 * SAVED_PERCENT)
		return false;
	struct switching s = {.usage = row,
		.provider = u->provider,
		.current_model = u->model,
		.suggested_model = best->model,
		.current = match->record,
		.suggested = best,
		.current_cost_per_call = switching_per_call(now, u->calls),
		.suggested_cost_per_call = switching_per_call(cost, u->calls),
		.saved = {now.atto - cost.atto},
		.use_case = use_case_of(u)};
	if (!switching_monthly(s.saved, in->period_days, &s.monthly_savings))
		return false;
	s.confidence = confidence_of(u, &s, match->fallback);
	s.caveat = caveat_of(&s, match->fallback, arena);
	*ret = s;
	return true;
}

/* Appends the row's suggestions to out (room for two) and marks the better one. Returns their number. */
static size_t suggest_for_row(
	const struct switching_input *in, size_t row, struct arena *arena, struct switching *out)
{
	const struct model_usage *u = &in->models[row];
	if (u->calls <= 0 || u->unpriced_calls > 0 || u->cost.atto <= 0)
		return 0;
	const struct price_match match = price_find(in->catalogue, u->provider, u->model, NULL);
	if (!match.record || class_rank(match.record) == 0 || version_of(match.record->model) == 0 ||
		is_special(match.record->model) ||
		!(has_kind(match.record, "chat") || has_kind(match.record, "responses")))
		return 0;
	size_t n = 0;
	for (int step = 0; step <= 1; step++)
		n += suggest(in, row, &match, step, arena, &out[n]);
	if (n > 0)
		out[n == 2 && money_compare(out[1].saved, out[0].saved) > 0].counted = true;
	return n;
}

/* Largest savings first, then by row. */
static int compare_savings(const void *x, const void *y)
{
	const struct switching *a = x;
	const struct switching *b = y;
	const int by_savings = money_compare(b->monthly_savings, a->monthly_savings);
	if (by_savings != 0)
		return by_savings;
	if (a->usage != b->usage)
		return a->usage < b->usage ? -1 : 1;
	return strcmp(a->suggested_model, b->suggested_model);
}

enum err switching_find(const struct switching_input *in, struct arena *arena, struct switching **ret,
	size_t *ret_n, struct money *ret_total)
{
	struct switching *rows = arena_array(arena, 2 * in->n_models, sizeof(*rows));
	if (!rows)
		return ERR_NO_MEMORY;
	size_t n = 0;
	struct money total = money_zero();
	for (size_t row = 0; row < in->n_models; row++) {
		const size_t before = n;
		n += suggest_for_row(in, row, arena, &rows[n]);
		for (size_t i = before; i < n; i++)
			if (rows[i].counted && !money_add(total, rows[i].monthly_savings, &total))
				return ERR_RANGE;
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	qsort(rows, n, sizeof(*rows), compare_savings);
	*ret = rows;
	*ret_n = n;
	*ret_total = total;
	return ERR_OK;
}
