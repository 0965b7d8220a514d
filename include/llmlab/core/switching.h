#ifndef LLMLAB_CORE_SWITCHING_H
#define LLMLAB_CORE_SWITCHING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/err.h"
#include "llmlab/core/catalogue.h"
#include "llmlab/core/money.h"

/* Which other model of the same provider would have cost less for what the user really did. Pure: sums of the
 * user's calls and a catalogue in, suggestions out. */

/* What was used of one model in the period looked at. */
struct model_usage {
	const char *provider, *model; /* as in the events */
	int64_t calls, errors, unpriced_calls;
	int64_t input_tokens, output_tokens;				 /* inclusive sums */
	int64_t cache_read_tokens, cache_write_tokens, reasoning_tokens; /* parts of these */
	struct money cost;						 /* of the calls that have a price */
	struct money error_cost; /* of these, of failed calls; 0 if not known */
};

/* Cost of the summed tokens at a set of prices, exact. Categories without a price are charged as what they
 * are part of. The long-context tier is chosen by the average input of a call (which the sums allow), not
 * call by call. False: the set has no price for input or output, or the cost does not fit. */
bool switching_price_mix(const struct price_set *set, const struct model_usage *u, struct money *ret);

/* The same for a record at an instant: with its fee per request; where prices depend on the time of day, the
 * dearest hours. False also if no price is in force. */
bool switching_price_record(
	const struct price_record *r, int64_t at_us, const struct model_usage *u, struct money *ret);

struct switching_input {
	const struct catalogue *catalogue;
	const struct model_usage *models; /* one row per provider and model */
	size_t n_models;
	int64_t now_us;	     /* whose prices count */
	int32_t period_days; /* length of the period of the sums, 1 or more */
};

/* Costs per call are averages, not charges: x 10^-SWITCHING_CALL_SCALE USD, rounded half to even. */
#define SWITCHING_CALL_SCALE 12

struct switching {
	size_t usage;		     /* index of the input's row */
	const char *provider;	     /* of the row */
	const char *current_model;   /* of the row */
	const char *suggested_model; /* canonical id; in the catalogue */
	const struct price_record *current, *suggested;
	int128 current_cost_per_call; /* at today's prices, at most what was really spent */
	int128 suggested_cost_per_call;
	struct money saved;	      /* in the period looked at; at most what was spent on the model */
	struct money monthly_savings; /* the same for 30 days, cut to whole atto-USD; a shorter period is not
					 extrapolated */
	const char *use_case;	      /* what the mix looks like; static */
	double confidence;	      /* 0..1, from the number of calls and how far apart the models are */
	const char *caveat;	      /* in the arena */
	bool counted;		      /* the best one for its row: only these may be added up */
};

/* Per row at most two suggestions, the cheapest of the same size class and the cheapest one class smaller
 * (flagship > mid > small > tiny; tiny are small ones called nano, lite, or with fewer than ten billion
 * parameters in their name), where they save at least 5 %. A suggestion is a chat model of the same provider
 * and family (the first part of the product line), not of an older version, not deprecated and not retiring
 * within 90 days, not made for one purpose (search, audio, fine-tuned ...), that has a price above 0 in force
 * now and whose context window is at least twice the average call, if it is known. Rows with unpriced calls
 * are left out: their cost is not known. Largest savings first. *ret_total is the sum of monthly_savings of
 * the counted ones: never above the spend. ERR_NO_MEMORY, ERR_RANGE (the total does not fit). */
enum err switching_find(const struct switching_input *in, struct arena *arena, struct switching **ret,
	size_t *ret_n, struct money *ret_total);

/* amount / calls as x 10^-SWITCHING_CALL_SCALE USD, half to even; calls > 0, amount 0 or more. */
int128 switching_per_call(struct money amount, int64_t calls);
/* amount for period_days as an amount for 30 days: cut, and never more than amount. False if it does not fit.
 */
bool switching_monthly(struct money amount, int32_t period_days, struct money *ret);

#endif
