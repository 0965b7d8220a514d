/* What usage costs on one record, exactly: which prices are in force, which tokens each of them charges, and
 * the lines that add up to the cost. It does not find records (price_find.c) and never rounds. */
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/price.h"
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#define PER_MILLION_SCALE  6
#define PER_THOUSAND_SCALE 3

_Static_assert(
	(int)USAGE_COUNTS == (int)PRICE_CATEGORIES, "a category is priced for each count, in the same order");
_Static_assert(PRICE_SCALE + PRICE_FACTOR_SCALE + PER_MILLION_SCALE == MONEY_SCALE,
	"tokens x price x factor is atto-USD");
_Static_assert(UNIT_PRICE_SCALE == MONEY_SCALE, "whole units x price is atto-USD");
_Static_assert(PRICE_LINE_SCALE == MONEY_SCALE, "a line holds every price exactly");

/* The prices that hold for one event, and what they charge. Indexed by count, which is by category. */
struct charge {
	const struct price_record *record;
	const struct price_period *period;
	const struct price_query *query;
	enum service_tier tier;
	int64_t price[PRICE_CATEGORIES];  /* x 10^-PRICE_SCALE USD per million, PRICE_NONE */
	int64_t tokens[PRICE_CATEGORIES]; /* charged at that price */
	int64_t factor;			  /* x 10^-PRICE_FACTOR_SCALE */
};

const struct price_period *price_period_at(const struct price_record *r, int64_t at_us)
{
	for (size_t i = 0; i < r->n_periods; i++) {
		if (at_us >= r->periods[i].from_us && at_us < r->periods[i].to_us)
			return &r->periods[i];
	}
	return NULL;
}

/* ---- prices in force ---- */

void price_set_apply(const struct price_set *s, int64_t input_tokens, int64_t price[PRICE_CATEGORIES])
{
	for (size_t i = 0; i < s->n_tiers && input_tokens > s->tiers[i].above_input_tokens; i++) {
		for (int c = 0; c < PRICE_CATEGORIES; c++) {
			if (s->tiers[i].per_million[c] != PRICE_NONE)
				price[c] = s->tiers[i].per_million[c];
		}
	}
}

static bool in_window(const struct price_window *w, int64_t at_us)
{
	const int64_t second_of_time = at_us / US_PER_SECOND - (at_us % US_PER_SECOND < 0 ? 1 : 0);
	const int64_t seconds_per_day = US_PER_DAY / US_PER_SECOND;
	const int64_t day = second_of_time / seconds_per_day - (second_of_time % seconds_per_day < 0 ? 1 : 0);
	const int64_t second = second_of_time - day * seconds_per_day;
	if ((w->days & (1U << calendar_weekday((int32_t)day))) == 0)
		return false;
	if (w->from_second <= w->to_second)
		return second >= w->from_second && second < w->to_second;
	return second >= w->from_second || second < w->to_second;
}

static void find_prices(struct charge *c)
{
	const struct price_period *const period = c->period;
	const int64_t input_tokens = c->query->usage->counts[USAGE_input_tokens];
	for (int i = 0; i < PRICE_CATEGORIES; i++)
		c->price[i] = PRICE_NONE;
	price_set_apply(&period->standard, input_tokens, c->price);
	for (size_t i = 0; i < period->n_windows; i++) {
		if (in_window(&period->windows[i], c->query->at_us))
			price_set_apply(&period->windows[i].prices, input_tokens, c->price);
	}
	c->tier = price_service_tier(c->record->provider, c->query->service_tier);
	if (period->service[c->tier].n_tiers == 0)
		c->tier = TIER_STANDARD;
	price_set_apply(&period->service[c->tier], input_tokens, c->price);
}

static void find_factor(struct charge *c)
{
	c->factor = (int64_t)decimal_pow10(PRICE_FACTOR_SCALE);
	for (size_t i = 0; i < c->record->n_multipliers; i++) {
		const struct price_multiplier *const m = &c->record->multipliers[i];
		const bool geo = strcmp(m->setting, "inference_geo") == 0;
		const char *const value = geo ? c->query->inference_geo : c->query->data_residency;
		if (value != NULL && strcasecmp(value, m->value) == 0)
			c->factor = m->factor;
	}
}

/* ---- tokens ---- */

/* Everything the count is a part of, as a set of bits. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as the table of counts, 3 */
static uint32_t ancestors(enum usage_count c)
{
	uint32_t set = 0;
	for (int which = 0; which < 2; which++) {
		const enum usage_count parent = usage_count_parent(c, which);
		if (parent != USAGE_NONE)
			set |= 1U << parent | ancestors(parent);
	}
	return set;
}

static bool has_price(const struct charge *c, enum usage_count count)
{
	return count != USAGE_NONE && c->price[count] != PRICE_NONE;
}

/* Charges every token once, in the most specific category that has a price: a category's charged count is its
 * count less what is charged inside it. Parts come after their wholes in the table, so it is walked
 * backwards. False: tokens without a price; contradictions are named in *p. */
static bool charge_tokens(struct charge *c, struct problem *p)
{
	const int64_t *const counts = c->query->usage->counts;
	int64_t inside[PRICE_CATEGORIES] = {0};
	bool covered = true;
	for (int i = PRICE_CATEGORIES - 1; i >= 0; i--) {
		const enum usage_count count = (enum usage_count)i;
		const int64_t left = counts[i] - inside[i];
		const enum usage_count other = usage_count_parent(count, 1);
		if (has_price(c, count)) {
			if (left < 0)
				problem_add(p, usage_count_name(count),
					"is less than its parts together (%" PRId64 " < %" PRId64 ")",
					counts[i], inside[i]);
			c->tokens[i] = left;
			const uint32_t wholes = ancestors(count);
			for (int w = 0; w < i; w++)
				inside[w] += (wholes & (1U << w)) != 0 ? left : 0;
		} else if (other != USAGE_NONE && has_price(c, usage_count_parent(count, 0))) {
			/* Cached audio without a price of its own takes the cached price, not that of audio.
			 */
			inside[other] += counts[i];
		} else if (usage_count_parent(count, 0) == USAGE_NONE && left != 0) {
			if (left < 0)
				problem_add(p, usage_count_name(count),
					"is less than its parts together (%" PRId64 " < %" PRId64 ")",
					counts[i], inside[i]);
			covered = false;
		}
	}
	return covered;
}

static bool any_token_price(const struct charge *c)
{
	for (int i = 0; i < PRICE_CATEGORIES; i++) {
		if (c->price[i] != PRICE_NONE)
			return true;
	}
	return false;
}

/* ---- fees and units ---- */

/* The fee that goes by search size, PRICE_NONE when the size or the fee is not known. */
static int64_t sized_fee(const struct charge *c)
{
	static const char *const names[SEARCH_SIZES] = {"low", "medium", "high"};
	for (int i = 0; i < SEARCH_SIZES; i++) {
		if (c->query->search_context_size != NULL &&
			strcasecmp(c->query->search_context_size, names[i]) == 0)
			return c->record->search_per_thousand[i];
	}
	return PRICE_NONE;
}

static int64_t requests_fee(const struct charge *c)
{
	const int64_t standard = c->period->requests_per_thousand;
	const int64_t sized = sized_fee(c);
	return standard != PRICE_NONE && sized != PRICE_NONE ? sized : standard;
}

static int64_t searches_fee(const struct charge *c)
{
	const int64_t sized = sized_fee(c);
	return c->period->requests_per_thousand == PRICE_NONE && sized != PRICE_NONE
		       ? sized
		       : c->period->web_searches_per_thousand;
}

/* Searches that have a price of their own. Where the fee by search size is charged with each request
 * (perplexity), the request pays for its searches. */
static int64_t charged_searches(const struct charge *c)
{
	const bool by_request = c->period->requests_per_thousand != PRICE_NONE &&
				c->record->search_per_thousand[SEARCH_LOW] != PRICE_NONE;
	return by_request && searches_fee(c) == PRICE_NONE ? 0 : c->query->usage->web_searches;
}

static bool any_unit(const struct usage *u)
{
	for (int i = 0; i < USAGE_UNITS; i++) {
		if (u->units[i] != 0)
			return true;
	}
	return false;
}

/* True when every quantity of the event has a price: none is ever dropped. */
static bool units_are_priced(const struct charge *c)
{
	const struct usage *const u = c->query->usage;
	for (int i = 0; i < USAGE_UNITS; i++) {
		if (u->units[i] != 0 && c->record->per_unit[i] == PRICE_NONE)
			return false;
	}
	return charged_searches(c) == 0 || searches_fee(c) != PRICE_NONE;
}

/* True when at least one kind of what was reported can have a price on this record. */
static bool something_fits(const struct charge *c)
{
	const struct usage *const u = c->query->usage;
	return any_unit(u) || charged_searches(c) != 0 || (u->has_counts && any_token_price(c));
}

/* ---- free records ---- */

struct price_span {
	bool any;
	bool paid;
};

static void span_add(struct price_span *s, int128 price)
{
	s->any = s->any || price != PRICE_NONE;
	s->paid = s->paid || price > 0;
}

static void span_add_set(struct price_span *s, const struct price_set *set)
{
	for (size_t t = 0; t < set->n_tiers; t++) {
		for (int c = 0; c < PRICE_CATEGORIES; c++)
			span_add(s, set->tiers[t].per_million[c]);
	}
}

/* True when the period has prices and all of them are 0. */
static bool is_free(const struct price_record *r, const struct price_period *period)
{
	struct price_span s = {0};
	span_add_set(&s, &period->standard);
	for (int t = 0; t < SERVICE_TIERS; t++)
		span_add_set(&s, &period->service[t]);
	for (size_t w = 0; w < period->n_windows; w++)
		span_add_set(&s, &period->windows[w].prices);
	for (int u = 0; u < USAGE_UNITS; u++)
		span_add(&s, r->per_unit[u]);
	for (int i = 0; i < SEARCH_SIZES; i++)
		span_add(&s, r->search_per_thousand[i]);
	span_add(&s, period->requests_per_thousand);
	span_add(&s, period->web_searches_per_thousand);
	return s.any && !s.paid;
}

/* ---- lines ---- */

bool price_line_cost(const struct price_line *l, struct money *ret)
{
	int scale = 0;
	switch (l->kind) {
	case LINE_TOKENS:
		scale = PER_MILLION_SCALE;
		break;
	case LINE_WEB_SEARCHES:
	case LINE_REQUESTS:
		scale = PER_THOUSAND_SCALE;
		break;
	case LINE_UNIT:
		scale = UNIT_SCALE;
		break;
	}
	int128 product;
	if (!decimal_mul(l->quantity, l->price, &product) || product % decimal_pow10(scale) != 0)
		return false;
	ret->atto = product / decimal_pow10(scale);
	return true;
}

/* Appends a line of at least one token, search, request or unit. False when the cost does not fit. */
static bool add_line(struct price_result *ret, struct price_line line)
{
	if (line.quantity == 0)
		return true;
	CHECK(ret->n_lines < PRICE_LINES_MAX);
	if (!price_line_cost(&line, &line.cost) || !money_add(ret->cost, line.cost, &ret->cost))
		return false;
	ret->lines[ret->n_lines++] = line;
	return true;
}

static bool add_lines(const struct charge *c, struct price_result *ret)
{
	const int128 token_scale = decimal_pow10(PRICE_LINE_SCALE - PRICE_SCALE - PRICE_FACTOR_SCALE);
	const int128 fee_scale = decimal_pow10(PRICE_LINE_SCALE - PRICE_SCALE);
	const struct usage *const u = c->query->usage;
	bool fits = true;
	for (int i = 0; i < PRICE_CATEGORIES; i++)
		fits = fits && add_line(ret, (struct price_line){.kind = LINE_TOKENS,
						     .category = (enum price_category)i,
						     .quantity = c->tokens[i],
						     .price = (int128)c->price[i] * c->factor * token_scale});
	fits = fits && add_line(ret, (struct price_line){.kind = LINE_WEB_SEARCHES,
					     .quantity = charged_searches(c),
					     .price = searches_fee(c) * fee_scale});
	const int64_t per_request = requests_fee(c);
	fits = fits && add_line(ret, (struct price_line){.kind = LINE_REQUESTS,
					     .quantity = per_request != PRICE_NONE,
					     .price = per_request * fee_scale});
	for (int i = 0; i < USAGE_UNITS; i++)
		fits = fits && add_line(ret, (struct price_line){.kind = LINE_UNIT,
						     .unit = (enum usage_unit)i,
						     .quantity = u->units[i],
						     .price = c->record->per_unit[i]});
	return fits && ret->cost.atto <= (int128)MONEY_MAX_USD * decimal_pow10(MONEY_SCALE);
}

static void set_unpriced(struct price_result *ret)
{
	ret->status = PRICING_UNPRICED;
	ret->rule = "no_price";
}

enum err price_record_cost(const struct price_record *r, const struct price_query *q,
	struct price_result *ret, struct problem *p)
{
	if (usage_check(q->usage, p) != ERR_OK)
		return ERR_VALIDATION;
	struct price_result result = {.match = {.record = r}, .service_tier = TIER_STANDARD};
	result.rule = price_rule_name(&(struct price_match){.record = r});
	struct charge c = {.record = r, .period = price_period_at(r, q->at_us), .query = q};
	if (c.period == NULL) {
		set_unpriced(&result);
		*ret = result;
		return ERR_OK;
	}
	find_prices(&c);
	find_factor(&c);
	const bool covered = charge_tokens(&c, p);
	if (!problem_none(p))
		return ERR_VALIDATION;
	result.service_tier = c.tier;
	if (!covered || !units_are_priced(&c) || !something_fits(&c)) {
		set_unpriced(&result);
	} else if (!add_lines(&c, &result)) {
		problem_add(p, "cost", "would exceed %lld USD", MONEY_MAX_USD);
		return ERR_RANGE;
	} else {
		result.status = is_free(r, c.period) ? PRICING_FREE : PRICING_PRICED;
	}
	*ret = result;
	return ERR_OK;
}
