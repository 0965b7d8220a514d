#ifndef LLMLAB_CORE_SIMULATION_H
#define LLMLAB_CORE_SIMULATION_H

#include "llmlab/base/problem.h"
#include "llmlab/core/price.h"
#include "llmlab/core/switching.h"

/* What the calls of a period would have cost with other models, providers or service tiers: from sums, at the
 * prices of one instant. Pure. */

/* Shares of a model's calls, and amounts of such shares: exact, nothing is rounded. */
#define SIMULATION_SHARE_SCALE 4
#define SIMULATION_SHARE_WHOLE 10000
#define SIMULATION_SCALE       (MONEY_SCALE + SIMULATION_SHARE_SCALE)
#define SIMULATION_CHANGES_MAX 50

struct simulation_change {
	const char *provider;	 /* whose calls: a canonical id; NULL: any provider's */
	const char *model;	 /* as in the events, any case */
	const char *to_provider; /* NULL: stays, or who sells to_model */
	const char *to_model;	 /* NULL: stays */
	bool has_tier;		 /* the service tier is named; else standard */
	enum service_tier tier;
	int64_t share; /* x 10^-SIMULATION_SHARE_SCALE: 1 .. SIMULATION_SHARE_WHOLE */
};

struct simulation_input {
	const struct catalogue *catalogue;
	const struct price_record *const *overrides; /* the user's own prices in force at at_us, in order */
	size_t n_overrides;
	const struct model_usage *models; /* one row per provider and model */
	size_t n_models;
	const struct simulation_change *changes;
	size_t n_changes; /* at most SIMULATION_CHANGES_MAX */
	int64_t at_us;	  /* whose prices count */
};

/* An amount of which the single calls may decide: x 10^-SIMULATION_SCALE USD. */
struct simulation_amount {
	int128 least, expected, most;
};

/* A change as it applies to one model. */
struct simulation_target {
	size_t change; /* index of the input's */
	const char *provider, *model; /* who would bill what */
	const struct price_record *record;
	bool own_price;
	struct mix_cost cost; /* of all the model's calls there, whatever the share */
	bool other_model;     /* another model than now */
	bool fits;	      /* the average call is not longer than its context window, or that is not known */
};

struct simulation_row {
	size_t usage; /* index of the input's row */
	int128 actual;
	struct simulation_amount simulated; /* what stays, and the shares of the targets */
	struct simulation_target *targets;
	size_t n_targets; /* 0: nothing changes */
	int64_t moved;	  /* share that changes */
	/* What the sums of the model's calls cost at its own price of the instant: what they were charged
	 * beyond that has reasons that sums do not tell. */
	bool has_listed;
	struct mix_cost listed;
};

struct simulation {
	struct simulation_row *rows; /* in the arena, in the order of the input's models */
	size_t n;
	int128 actual;
	struct simulation_amount simulated;
};

/* ERR_OK; ERR_VALIDATION with the fields named in *p ("changes[0].to_model"): what was not called, is not known,
 * has no price then, or shares of more than the whole. ERR_NO_MEMORY; ERR_RANGE (an amount does not fit). */
enum err simulation_run(const struct simulation_input *in, struct arena *arena, struct simulation *ret,
	struct problem *p);

#endif
