#ifndef LLMLAB_DB_UNPRICED_H
#define LLMLAB_DB_UNPRICED_H

#include "llmlab/db/conn.h"

/* What has no price yet. Errors are those of db/conn.h, and ERR_NO_MEMORY. */

struct unpriced_model {
	struct uuid user_id;
	const char *provider, *model; /* in the arena */
	int64_t calls;
	int64_t input_tokens, output_tokens; /* of these calls */
	int64_t first_us, last_us;	     /* when the first and the last was made */
};

/* A user's, by provider and model (byte order), those after `after` (NULL: from the first), at most limit.
 * From the rollup; events are read only where a row of the rollup holds priced calls too, and for the two
 * instants. */
enum err unpriced_list(struct db_conn *c, const struct uuid *user_id, const struct unpriced_model *after,
	int limit, struct arena *arena, struct unpriced_model **ret, size_t *ret_n);
/* Everybody's by user, provider and model: names only, the other members are 0. user_id NULL: all users. */
enum err unpriced_names(struct db_conn *c, const struct uuid *user_id, const struct unpriced_model *after,
	int limit, struct arena *arena, struct unpriced_model **ret, size_t *ret_n);

#endif
