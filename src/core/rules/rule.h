#ifndef LLMLAB_SRC_CORE_RULES_RULE_H
#define LLMLAB_SRC_CORE_RULES_RULE_H

#include "llmlab/core/rules.h"

/* What a rule gets, and how it says what it found. Errors are the arena's sticky overflow, asked for by
 * rules_run(). */
struct rule_run {
	const struct rules_input *in;
	struct arena *arena;
	const char *type; /* of the rule that runs */
	struct optimization *rows;
	size_t n, size;
};

/* A new finding with id, type and subject set; a dummy nobody sees without memory, never NULL. Valid until
 * the next one. */
struct optimization *rule_add(struct rule_run *run, const char *provider, const char *model);
void rule_text(struct optimization *o, const char *key, const char *text);
void rule_number(struct optimization *o, const char *key, int64_t number);
void rule_decimal(struct optimization *o, const char *key, int128 decimal, int scale);
void rule_money(struct optimization *o, const char *key, struct money amount);

#define RULE(name) void rule_##name(struct rule_run *run);
#include "rules.def"
#undef RULE

#endif
