#ifndef LLMLAB_INGEST_SPENDERS_H
#define LLMLAB_INGEST_SPENDERS_H

#include <stdbool.h>
#include <stddef.h>
#include "llmlab/base/uuid.h"

/* Who has spent something since somebody last looked: a bounded set of users, written by the ingest writer and by whoever changes a
 * budget, taken by the thread that looks at budgets. A hint only: what is lost with the process is found by its next look at
 * everybody. Thread-safe. */
#define SPENDERS_MAX 4096

struct spender {
	struct uuid user_id;
	bool unpriced; /* something without a price was among it */
};

struct spenders;
/* NULL without memory. */
struct spenders *spenders_new(void);
void spenders_free(struct spenders *s);
/* Adds the user; of one that is there already, unpriced only becomes true. When the set is full it is forgotten, and everybody is
 * to be looked at instead. s NULL is nothing. */
void spenders_note(struct spenders *s, const struct uuid *user_id, bool unpriced);
/* Empties the set into out, which has room for SPENDERS_MAX; returns how many. *ret_all: the set was full since the last call. */
size_t spenders_take(struct spenders *s, struct spender *out, bool *ret_all);

#endif
