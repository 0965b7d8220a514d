#ifndef LLMLAB_SRC_CORE_RULES_RULE_H
#define LLMLAB_SRC_CORE_RULES_RULE_H

#include "llmlab/core/price.h"
#include "llmlab/core/rules.h"

/* The sampled calls of one model, longest ago first. */
struct model_sample {
	const struct sampled_call *calls;
	size_t n;
	struct money cost; /* of those that have a price */
};

/* What a rule gets, and how it says what it found. Errors are the arena's sticky overflow, asked for by
 * rules_run(). */
struct rule_run {
	const struct rules_input *in;
	struct arena *arena;
	const struct price_record *const
		*records;		    /* whose prices hold for each model, own ones first; NULL: none */
	const struct model_sample *samples; /* of each model */
	const char *type;		    /* of the rule that runs */
	struct optimization *rows;
	size_t n, size;
};

/* A new finding with id, type and subject set; a dummy nobody sees without memory, never NULL. Valid until
 * the next one. */
struct optimization *rule_add(struct rule_run *run, const char *provider, const char *model);
/* Its savings, from an amount of the period: at most what the model cost in it, brought to a month. */
void rule_savings(
	const struct rule_run *run, const struct model_usage *u, struct money amount, struct optimization *o);
/* What a model as a whole would save if it is like its sample, of which so much would be saved; never more
 * than the model cost. 0 if the sample cost nothing. */
struct money rule_of_sample(const struct model_usage *u, const struct model_sample *s, struct money saved);
/* Evidence: the sample's size and its share of the model's calls. */
void rule_sample(struct optimization *o, const struct model_usage *u, const struct model_sample *s);
void rule_text(struct optimization *o, const char *key, const char *text);
void rule_number(struct optimization *o, const char *key, int64_t number);
void rule_decimal(struct optimization *o, const char *key, int128 decimal, int scale);
void rule_money(struct optimization *o, const char *key, struct money amount);

#define RULE(name) void rule_##name(struct rule_run *run);
#include "rules.def"
#undef RULE

#endif
