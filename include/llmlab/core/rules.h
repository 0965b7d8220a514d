#ifndef LLMLAB_CORE_RULES_H
#define LLMLAB_CORE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/err.h"
#include "llmlab/core/catalogue.h"
#include "llmlab/core/mix.h"
#include "llmlab/core/money.h"
#include "llmlab/core/switching.h"

/* Recommendations: rules over what was used in a period, one file each in src/core/rules/ and one line in
 * rules.def. Pure: the same input gives the same recommendations with the same ids. A rule says only what the
 * numbers carry: where a saving cannot be known, potential_savings is 0 and the description says what it
 * depends on. */

/* One call of the sample: what sums cannot say. */
struct sampled_call {
	const char *provider, *model; /* as in the events */
	int64_t at_us;
	int hour;	      /* 0..23 in the user's zone */
	struct token_mix mix; /* of one call */
	bool priced;
	struct money cost; /* if priced */
	bool standard;	   /* charged at the standard service tier */
};

/* What calls of a model cost that say of themselves that they can wait (a tag or project called batch,
 * offline, eval ...): a part of the model's usage, possibly not all of it. */
struct waiting_usage {
	const char *provider, *model; /* as in the events */
	struct token_mix mix;
	struct money standard_cost; /* charged at the standard service tier */
	const char *example;	    /* what says so: "tag env=batch" */
};

struct rules_input {
	const struct catalogue *catalogue;
	const struct price_record *const *overrides; /* the user's own prices, in order; may be NULL */
	size_t n_overrides;
	const struct model_usage *models; /* one row per provider and model */
	size_t n_models;
	const struct sampled_call *sample; /* calls of the period, spread evenly over it, in any order */
	size_t n_sample;
	const struct waiting_usage *waiting; /* at most one row per provider and model */
	size_t n_waiting;
	struct dismissed dismissed;
	bool has_budget;
	int64_t now_us;
	int32_t period_days; /* length of the period of the sums, normally 30 */
};

enum evidence_kind { EVIDENCE_TEXT, EVIDENCE_NUMBER, EVIDENCE_DECIMAL };
struct evidence {
	const char *key; /* static */
	enum evidence_kind kind;
	const char *text; /* EVIDENCE_TEXT */
	int64_t number;	  /* EVIDENCE_NUMBER */
	int128 decimal;	  /* EVIDENCE_DECIMAL: x 10^-scale */
	int scale;
};
#define EVIDENCE_MAX 12

enum optimization_priority { PRIORITY_LOW, PRIORITY_MEDIUM, PRIORITY_HIGH };
/* "low" ..., static. */
const char *optimization_priority_name(enum optimization_priority p);

#define OPTIMIZATION_ID_SIZE 17
struct optimization {
	char id[OPTIMIZATION_ID_SIZE]; /* 16 hex digits from type and subject; with what is suggested, if it
					  is a switch */
	const char *type;	       /* name of the rule; static */
	const char *provider, *model;  /* what it is about; NULL: the account */
	const char *title, *description;
	struct money potential_savings; /* USD a month, 0: not known or none */
	enum optimization_priority priority;
	double confidence; /* 0..1 */
	struct evidence evidence[EVIDENCE_MAX];
	size_t n_evidence;
	bool counted;	/* its savings are in the total: of those about one model only the largest is */
	bool dismissed; /* the user does not want to see it: never counted */
};

/* Runs every rule. Largest savings first, then the most urgent, then by type and subject; the order of the
 * input's rows does not matter. *ret and its texts are in the arena or the catalogue. *ret_total: sum of what
 * is counted. Every saving is at most what its model cost in the period, and for each model only one saving is
 * counted, so the total is never above the sum of the models' cost. ERR_NO_MEMORY, ERR_RANGE (the total does
 * not fit). */
enum err rules_run(const struct rules_input *in, struct arena *arena, struct optimization **ret,
	size_t *ret_n, struct money *ret_total);

/* The types, in the order of rules.def, static. */
size_t rules_count(void);
const char *rules_type(size_t i);

#endif
