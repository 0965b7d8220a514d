/* Why a time cost more than expected: the exact split of the excess into calls, models, tokens per call and
 * price. The method is in the header; which times are compared is decided above. */

#include <string.h>

#include "llmlab/base/check.h"
#include "llmlab/core/anomaly.h"

const char *anomaly_factor_name(enum anomaly_factor f)
{
	static const char *const NAMES[] = {"volume", "model_mix", "tokens_per_call", "price"};
	CHECK((size_t)f < sizeof NAMES / sizeof NAMES[0]);
	return NAMES[f];
}

/* amount x part / whole, cut to a whole 10^-18 USD; part 0 or more, whole more than 0. False when it does not
 * fit. */
static bool scale(struct money amount, int64_t part, int64_t whole, struct money *ret)
{
	int128 high, sum;
	/* The rest of a division by an int64 times an int64 always fits. */
	const int128 low = amount.atto % whole * part / whole;
	if (!decimal_mul(amount.atto / whole, part, &high) || !decimal_add(high, low, &sum))
		return false;
	ret->atto = sum;
	return true;
}

/* Adds amount x part / whole to *sum. */
static bool add_scaled(struct money amount, int64_t part, int64_t whole, struct money *sum)
{
	struct money more;
	return scale(amount, part, whole, &more) && money_add(*sum, more, sum);
}

static int compare_names(const struct anomaly_usage *a, const struct anomaly_usage *b)
{
	const int by_provider = strcmp(a->provider, b->provider);
	return by_provider != 0 ? by_provider : strcmp(a->model, b->model);
}

/* The cost of now's calls of one model at the tokens per call and price of before, and of now's tokens at the
 * price of before; its own cost where before says nothing. */
static bool add_model(const struct anomaly_usage *now, const struct anomaly_usage *before,
	struct money *mixed, struct money *lengthened)
{
	if (before == NULL || before->calls == 0)
		return money_add(*mixed, now->cost, mixed) && money_add(*lengthened, now->cost, lengthened);
	if (!add_scaled(before->cost, now->calls, before->calls, mixed))
		return false;
	/* Without tokens there is no price by token, and no length. */
	if (before->tokens == 0)
		return add_scaled(before->cost, now->calls, before->calls, lengthened);
	return add_scaled(before->cost, now->tokens, before->tokens, lengthened);
}

static bool add_models(const struct anomaly_usage *now, size_t n_now, const struct anomaly_usage *before,
	size_t n_before, struct money *mixed, struct money *lengthened)
{
	size_t at = 0;
	for (size_t i = 0; i < n_now; i++) {
		while (at < n_before && compare_names(&before[at], &now[i]) < 0)
			at++;
		const bool known = at < n_before && compare_names(&before[at], &now[i]) == 0;
		if (!add_model(&now[i], known ? &before[at] : NULL, mixed, lengthened))
			return false;
	}
	return true;
}

struct totals {
	int64_t calls;
	struct money cost;
};

static bool total_of(const struct anomaly_usage *rows, size_t n, struct totals *ret)
{
	struct totals t = {0};
	for (size_t i = 0; i < n; i++) {
		t.calls += rows[i].calls;
		if (!money_add(t.cost, rows[i].cost, &t.cost))
			return false;
	}
	*ret = t;
	return true;
}

enum err anomaly_split(const struct anomaly_usage *now, size_t n_now, const struct anomaly_usage *before,
	size_t n_before, struct money cost, struct money expected, struct money ret[ANOMALY_FACTORS])
{
	struct totals t_now, t_before;
	struct money counted = cost, mixed = cost, lengthened = cost;
	if (!total_of(now, n_now, &t_now) || !total_of(before, n_before, &t_before))
		return ERR_RANGE;
	if (t_before.calls > 0 && t_before.cost.atto > 0) {
		mixed = lengthened = money_zero();
		if (!scale(t_before.cost, t_now.calls, t_before.calls, &counted) ||
			!add_models(now, n_now, before, n_before, &mixed, &lengthened))
			return ERR_RANGE;
	}
	/* All steps are 0 or more, so their differences fit. */
	ret[FACTOR_VOLUME] = (struct money){counted.atto - expected.atto};
	ret[FACTOR_MIX] = (struct money){mixed.atto - counted.atto};
	ret[FACTOR_TOKENS] = (struct money){lengthened.atto - mixed.atto};
	ret[FACTOR_PRICE] = (struct money){cost.atto - lengthened.atto};
	return ERR_OK;
}
