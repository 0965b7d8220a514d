#ifndef LLMLAB_CORE_MATCH_H
#define LLMLAB_CORE_MATCH_H

#include "llmlab/core/catalogue.h"

/* Match rules and the index over them. Names given here are lower case and trimmed already. Pure, thread-safe. */

/* Whether the compiled expression matches. False also when there was no memory to try it: then match_starved() says so. */
bool match_regex(const regex_t *regex, const char *text);

/* Whether memory ran out in this thread while an expression was tried, since the last call: what was found (or not) in between
 * says nothing, for a rule that was not tried may have come first. */
bool match_starved(void);

/* True if the rule holds for the name. */
bool match_rule_holds(const struct match_rule *r, const char *name);

/* The first of the rules that holds, or NULL. */
const struct match_rule *match_first(const struct match_rule *rules, size_t n, const char *name);

/* An index over records that finds exactly what a scan in file order would: the first record of which any rule holds.
 * Names in `equals` rules are hashed; all other rules are kept in file order and asked only up to the hashed hit.
 * Lives in the arena (NULL when that overflows) and points into the records. */
const struct price_index *price_index_build(const struct price_record *records, size_t n, struct arena *arena);

/* The first record that matches, or NULL; *ret_kind is the kind of its first rule that holds, untouched for NULL. */
const struct price_record *price_index_find(const struct price_index *index, const char *name, enum match_kind *ret_kind);

#endif
