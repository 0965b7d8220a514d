#ifndef LLMLAB_CORE_SWITCHING_H
#define LLMLAB_CORE_SWITCHING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/err.h"
#include "llmlab/core/catalogue.h"
#include "llmlab/core/mix.h"
#include "llmlab/core/money.h"

/* Which other model, or other provider of the same model, would have cost less for what the user really did.
 * Pure: sums of the user's calls and a catalogue in, suggestions out. */

/* What was used of one model in the period looked at. */
struct model_usage {
	const char *provider, *model; /* as in the events */
	int64_t calls, errors, unpriced_calls;
	int64_t input_tokens, output_tokens;				 /* inclusive sums */
	int64_t cache_read_tokens, cache_write_tokens, reasoning_tokens; /* parts of these */
	int64_t cache_write_1h_tokens;					 /* of cache_write_tokens */
	struct money cost;						 /* of the calls that have a price */
	struct money error_cost;    /* of these, of failed calls */
	struct money standard_cost; /* of these, charged at the standard service tier */
};

/* The tokens of it, as core/mix.h wants them. */
static inline struct token_mix model_usage_mix(const struct model_usage *u)
{
	return (struct token_mix){.calls = u->calls,
		.input = u->input_tokens,
		.output = u->output_tokens,
		.cache_read = u->cache_read_tokens,
		.cache_write = u->cache_write_tokens,
		.cache_write_1h = u->cache_write_1h_tokens,
		.reasoning = u->reasoning_tokens};
}

/* Ids of findings that the user does not want to see, ascending by strcmp(). */
struct dismissed {
	const char *const *ids;
	size_t n;
};
bool dismissed_has(const struct dismissed *d, const char *id);

struct switching_input {
	const struct catalogue *catalogue;
	const struct price_record *const *overrides; /* the user's own prices, in order; may be NULL */
	size_t n_overrides;
	const struct model_usage *models; /* one row per provider and model */
	size_t n_models;
	struct dismissed dismissed;
	int64_t now_us;	     /* whose prices count */
	int32_t period_days; /* length of the period of the sums, 1 or more */
};

#define SWITCHING_ID_SIZE    17

enum switching_kind {
	SWITCH_SAME_CLASS,   /* another model of the provider's own family, as large */
	SWITCH_SMALLER,	     /* the same, one size class smaller */
	SWITCH_PROVIDER,     /* the same model at another provider */
	SWITCH_OTHER_FAMILY, /* another maker's model of the same class */
	SWITCHING_KINDS
};
/* "same_class", "smaller", "same_model_other_provider", "other_family"; static. */
const char *switching_kind_name(enum switching_kind k);

struct switching {
	char id[SWITCHING_ID_SIZE]; /* 16 hex digits of what is suggested for what */
	enum switching_kind kind;
	size_t usage;			/* index of the input's row */
	const char *provider;		/* of the row */
	const char *current_model;	/* of the row */
	const char *suggested_provider; /* the row's, or a canonical id in the catalogue */
	const char *suggested_model;	/* canonical id; in the catalogue */
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
	bool dismissed;		      /* the user does not want to see it: never counted */
};

/* Rows that are looked at, the dearest: a search of the whole catalogue each. */
#define SWITCHING_ROWS_MAX 100

/* Per row at most one suggestion of each kind, the cheapest, where it saves at least 5 %:
 * - the provider's own family (the first part of the product line), of the same size class or one smaller
 *   (flagship > mid > small > tiny; tiny are small ones called nano, lite, or with fewer than ten billion
 *   parameters in their name), and not of an older version;
 * - the same model, by the last part of its name, at another provider;
 * - another maker's newest model of the same class, with a context window known to be as large; it is never
 *   counted, because how well it answers is not known.
 * A suggestion is a chat model, not deprecated and not retiring within 90 days, not made for one purpose
 * (search, audio, fine-tuned ...), that has a price above 0 in force now and whose context window is at least
 * twice the average call, if it is known. The user's own prices come before the catalogue's. Rows with
 * unpriced calls are left out: their cost is not known. Largest savings first. *ret_total is the sum of
 * monthly_savings of the counted ones: never above the spend. ERR_NO_MEMORY, ERR_RANGE (the total does not
 * fit). */
enum err switching_find(const struct switching_input *in, struct arena *arena, struct switching **ret,
	size_t *ret_n, struct money *ret_total);

/* amount for period_days as an amount for 30 days: cut, and never more than amount. False if it does not fit.
 */
bool switching_monthly(struct money amount, int32_t period_days, struct money *ret);

#endif
