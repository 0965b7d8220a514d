#ifndef LLMLAB_CORE_MIX_H
#define LLMLAB_CORE_MIX_H

#include <stdbool.h>
#include <stdint.h>

#include "llmlab/core/catalogue.h"
#include "llmlab/core/money.h"

/* What sums of calls would cost on a record: the arithmetic of core/cost.c for many calls of which only the
 * sums are known. Exact where the price of a token does not depend on the single call; else the least and the
 * most that the calls can cost. Audio, images, video and citations are parts that sums do not tell apart:
 * they count as plain input and output. */

/* Sums of calls, inclusive as in core/usage_counts.def. */
struct token_mix {
	int64_t calls;
	int64_t input, output;
	int64_t cache_read, cache_write; /* of input; cache_write is of all lifetimes */
	int64_t cache_write_1h;		 /* of cache_write */
	int64_t reasoning;		 /* of output */
};

/* What a token can be charged as: the parts are disjoint. */
enum mix_part {
	MIX_INPUT,
	MIX_CACHE_READ,
	MIX_CACHE_WRITE,
	MIX_CACHE_WRITE_1H,
	MIX_OUTPUT,
	MIX_REASONING,
	MIX_PARTS
};

/* x 10^-PRICE_SCALE USD per million tokens of each part. */
struct mix_prices {
	int64_t of[MIX_PARTS];
};

/* The prices that hold at the instant for a call of so many input tokens, outside the record's hours of other
 * prices (windows): each part at its own price, or that of what it is part of. A service tier without prices
 * of its own is charged as standard. False: no price is in force for input or output. */
bool mix_prices_at(const struct price_record *r, int64_t at_us, enum service_tier tier, int64_t input_tokens,
	struct mix_prices *ret);

/* Tokens of each part. False: parts are larger than their whole, or a sum is below 0. */
bool mix_split(const struct token_mix *m, int64_t ret[MIX_PARTS]);

struct mix_cost {
	/* Sizes and hours of the single calls are not known: it is at least and at most this much. */
	struct money least, most;
	/* As if every call were as long as the average, in the dearest hours; least <= expected <= most. */
	struct money expected;
	bool by_size; /* least and most differ because prices depend on a call's input size */
	bool by_time; /* ... because prices depend on the hour */
};

/* Cost of the mix, with the record's fee per request. False: no calls, contradicting sums, no price in force for
 * input or output, or the cost does not fit. */
bool mix_cost(const struct price_record *r, int64_t at_us, enum service_tier tier, const struct token_mix *m,
	struct mix_cost *ret);

/* The least that the mix costs less at another service tier than at standard, whatever the sizes and hours of its
 * calls; below 0 where it may cost more. False: the tier has no prices of its own, or as mix_cost(). */
bool mix_tier_saving(const struct price_record *r, int64_t at_us, enum service_tier tier,
	const struct token_mix *m, struct money *ret);

/* amount x part / whole, cut to whole atto-USD or below (by less than 2^-30 of the amount where part and whole
 * are large): never more than the exact share. 0 <= part <= whole, whole > 0, amount 0 or more. */
struct money money_share(struct money amount, int128 part, int128 whole);

/* Tokens x 10^-9 USD per 10^6 tokens are 10^-15 USD: 1,000 atto-USD. */
#define MIX_ATTO_PER_LINE 1000

#endif
