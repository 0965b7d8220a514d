#ifndef LLMLAB_CORE_MATCH_H
#define LLMLAB_CORE_MATCH_H

#include "llmlab/core/catalogue.h"

/* Match rules and the index over them. Names given here are lower case and trimmed already. Pure, thread-safe. */

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
