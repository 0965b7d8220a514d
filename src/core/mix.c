/* What sums of calls cost on a record, with bounds where the single calls decide. The prices and their order
 * are cost.c's; what is suggested from this is switching.c's and the rules'. */

#include "llmlab/core/mix.h"

#include "llmlab/base/check.h"
#include "llmlab/core/price.h"

#define ATTO_PER_REQUEST 1000000 /* x 10^-9 USD per 1,000 calls = 10^-12 USD a call */
#define SHARE_BITS	 31	 /* of part and whole when a share is worked out */

/* ---- prices ---- */

/* What holds while the sizes are searched. */
struct pricing {
	const struct price_period *period;
	enum service_tier tier;
};

static bool pricing_find(
	const struct price_record *r, int64_t at_us, enum service_tier tier, struct pricing *ret)
{
	const struct price_period *const period = price_period_at(r, at_us);
	if (!period)
		return false;
	*ret = (struct pricing){
		.period = period, .tier = period->service[tier].n_tiers > 0 ? tier : TIER_STANDARD};
	return true;
}

static int64_t price_or(int64_t price, int64_t otherwise)
{
	return price != PRICE_NONE ? price : otherwise;
}

/* Prices of a call of so many input tokens in a window (NULL: outside all of them). */
static bool prices_of(const struct pricing *k, const struct price_window *window, int64_t input_tokens,
	struct mix_prices *ret)
{
	int64_t price[PRICE_CATEGORIES];
	for (int i = 0; i < PRICE_CATEGORIES; i++)
		price[i] = PRICE_NONE;
	price_set_apply(&k->period->standard, input_tokens, price);
	if (window)
		price_set_apply(&window->prices, input_tokens, price);
	price_set_apply(&k->period->service[k->tier], input_tokens, price);
	if (price[CATEGORY_input] == PRICE_NONE || price[CATEGORY_output] == PRICE_NONE)
		return false;
	const int64_t input = price[CATEGORY_input];
	const int64_t write = price_or(price[CATEGORY_cache_write], input);
	*ret = (struct mix_prices){
		.of = {[MIX_INPUT] = input,
			[MIX_CACHE_READ] = price_or(price[CATEGORY_cache_read], input),
			[MIX_CACHE_WRITE] = write,
			[MIX_CACHE_WRITE_1H] = price_or(price[CATEGORY_cache_write_1h], write),
			[MIX_OUTPUT] = price[CATEGORY_output],
			[MIX_REASONING] =
				price_or(price[CATEGORY_output_reasoning], price[CATEGORY_output])}};
	return true;
}

bool mix_prices_at(const struct price_record *r, int64_t at_us, enum service_tier tier, int64_t input_tokens,
	struct mix_prices *ret)
{
	struct pricing k;
	return pricing_find(r, at_us, tier, &k) && prices_of(&k, NULL, input_tokens, ret);
}

/* ---- tokens ---- */

bool mix_split(const struct token_mix *m, int64_t ret[MIX_PARTS])
{
	const int64_t parts[MIX_PARTS] = {
		[MIX_CACHE_READ] = m->cache_read,
		[MIX_CACHE_WRITE] = m->cache_write - m->cache_write_1h,
		[MIX_CACHE_WRITE_1H] = m->cache_write_1h,
		[MIX_REASONING] = m->reasoning,
		[MIX_INPUT] = m->input - m->cache_read - m->cache_write,
		[MIX_OUTPUT] = m->output - m->reasoning,
	};
	for (int i = 0; i < MIX_PARTS; i++)
		if (parts[i] < 0)
			return false;
	for (int i = 0; i < MIX_PARTS; i++)
		ret[i] = parts[i];
	return true;
}

static bool charge(const int64_t tokens[MIX_PARTS], const struct mix_prices *p, struct money *ret)
{
	int128 sum = 0;
	for (int i = 0; i < MIX_PARTS; i++)
		if (!decimal_add(sum, (int128)tokens[i] * p->of[i], &sum))
			return false;
	return decimal_mul(sum, MIX_ATTO_PER_LINE, &ret->atto);
}

/* ---- every price that a call of the mix may have had ---- */

/* Calls back with the prices of each size class and window that a call of the mix can be in. */
struct search {
	struct pricing pricing;
	const struct token_mix *mix;
	void (*see)(struct search *s, const struct mix_prices *p);
	bool priced; /* none without a price so far */
	/* of each part over all of them */
	bool any;
	struct mix_prices least, most;
	/* where the search is */
	const struct price_window *window;
	int64_t input_tokens;
	struct pricing standard; /* what another tier is compared with */
};

static void see_size(struct search *s, int64_t input_tokens)
{
	struct mix_prices p;
	s->input_tokens = input_tokens;
	if (prices_of(&s->pricing, s->window, input_tokens, &p))
		s->see(s, &p);
	else
		s->priced = false;
}

/* A call can be longer than a step only if all calls together are; one call is as long as they are. */
static void see_steps(struct search *s, const struct price_set *set)
{
	for (size_t i = 0; i < set->n_tiers; i++) {
		const int64_t step = set->tiers[i].above_input_tokens;
		if (step >= 0 && step < s->mix->input)
			see_size(s, step + 1);
	}
}

static void see_sizes(struct search *s)
{
	if (s->mix->calls == 1) {
		see_size(s, s->mix->input);
		return;
	}
	const struct price_period *const period = s->pricing.period;
	see_size(s, 0);
	see_steps(s, &period->standard);
	see_steps(s, &period->service[s->pricing.tier]);
	if (s->window)
		see_steps(s, &s->window->prices);
}

static bool see_all(struct search *s)
{
	const struct price_period *const period = s->pricing.period;
	s->priced = true;
	s->window = NULL;
	see_sizes(s);
	for (size_t i = 0; i < period->n_windows; i++) {
		s->window = &period->windows[i];
		see_sizes(s);
	}
	return s->priced;
}

static void see_bounds(struct search *s, const struct mix_prices *p)
{
	for (int i = 0; i < MIX_PARTS; i++) {
		if (!s->any || p->of[i] < s->least.of[i])
			s->least.of[i] = p->of[i];
		if (!s->any || p->of[i] > s->most.of[i])
			s->most.of[i] = p->of[i];
	}
	s->any = true;
}

/* ---- cost ---- */

static int64_t average_input(const struct token_mix *m)
{
	return m->input / m->calls;
}

/* At the size of the average call, in the dearest hours. */
static bool expected_cost(const struct pricing *k, const struct token_mix *m, const int64_t tokens[MIX_PARTS],
	struct money *ret, bool *ret_by_time)
{
	struct money dearest = money_zero();
	*ret_by_time = false;
	for (size_t i = 0; i <= k->period->n_windows; i++) {
		struct mix_prices p;
		struct money cost = money_zero();
		const struct price_window *const window = i > 0 ? &k->period->windows[i - 1] : NULL;
		if (!prices_of(k, window, average_input(m), &p) || !charge(tokens, &p, &cost))
			return false;
		if (i > 0 && money_compare(cost, dearest) != 0)
			*ret_by_time = true;
		if (i == 0 || money_compare(cost, dearest) > 0)
			dearest = cost;
	}
	*ret = dearest;
	return true;
}

static bool add_fee(const struct pricing *k, int64_t calls, struct money *amount)
{
	if (k->period->requests_per_thousand == PRICE_NONE)
		return true;
	struct money fee = money_zero();
	return decimal_mul((int128)calls * k->period->requests_per_thousand, ATTO_PER_REQUEST, &fee.atto) &&
	       money_add(*amount, fee, amount);
}

bool mix_cost(const struct price_record *r, int64_t at_us, enum service_tier tier, const struct token_mix *m,
	struct mix_cost *ret)
{
	struct search s = {.mix = m, .see = see_bounds};
	int64_t tokens[MIX_PARTS];
	if (m->calls <= 0 || !mix_split(m, tokens) || !pricing_find(r, at_us, tier, &s.pricing) ||
		!see_all(&s))
		return false;
	struct mix_cost cost = {.by_size = false};
	if (!charge(tokens, &s.least, &cost.least) || !charge(tokens, &s.most, &cost.most) ||
		!expected_cost(&s.pricing, m, tokens, &cost.expected, &cost.by_time))
		return false;
	if (!add_fee(&s.pricing, m->calls, &cost.least) || !add_fee(&s.pricing, m->calls, &cost.most) ||
		!add_fee(&s.pricing, m->calls, &cost.expected))
		return false;
	/* What the hours do not explain, the sizes do. */
	struct search by_hour = {.mix = &(struct token_mix){.calls = 1, .input = average_input(m)},
		.see = see_bounds,
		.pricing = s.pricing};
	struct money low = money_zero();
	struct money high = money_zero();
	if (!see_all(&by_hour) || !charge(tokens, &by_hour.least, &low) ||
		!charge(tokens, &by_hour.most, &high) || !add_fee(&s.pricing, m->calls, &low) ||
		!add_fee(&s.pricing, m->calls, &high))
		return false;
	cost.by_size = money_compare(low, cost.least) != 0 || money_compare(high, cost.most) != 0;
	*ret = cost;
	return true;
}

/* ---- service tiers ---- */

/* The least difference of each part's prices. */
static void see_difference(struct search *s, const struct mix_prices *p)
{
	struct mix_prices standard;
	if (!prices_of(&s->standard, s->window, s->input_tokens, &standard)) {
		s->priced = false;
		return;
	}
	for (int i = 0; i < MIX_PARTS; i++) {
		const int64_t difference = standard.of[i] - p->of[i];
		if (!s->any || difference < s->least.of[i])
			s->least.of[i] = difference;
	}
	s->any = true;
}

bool mix_tier_saving(const struct price_record *r, int64_t at_us, enum service_tier tier,
	const struct token_mix *m, struct money *ret)
{
	int64_t tokens[MIX_PARTS];
	struct search s = {.mix = m, .see = see_difference};
	return m->calls > 0 && mix_split(m, tokens) && pricing_find(r, at_us, tier, &s.pricing) &&
	       s.pricing.tier == tier && pricing_find(r, at_us, TIER_STANDARD, &s.standard) && see_all(&s) &&
	       charge(tokens, &s.least, ret);
}

/* ---- shares ---- */

static int128 common_divisor(int128 a, int128 b)
{
	while (b != 0) {
		const int128 rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

struct money money_share(struct money amount, int128 part, int128 whole)
{
	CHECK(amount.atto >= 0 && part >= 0 && part <= whole && whole > 0);
	const int128 divisor = common_divisor(whole, part);
	part /= divisor;
	whole /= divisor;
	/* Fewer digits, and rather too small a fraction, so that the products below fit. */
	while (whole >= (int128)1 << SHARE_BITS) {
		part /= 2;
		whole = whole / 2 + 1;
	}
	return (struct money){amount.atto / whole * part + amount.atto % whole * part / whole};
}
