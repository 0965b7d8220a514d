#ifndef LLMLAB_DB_SPEND_USERS_H
#define LLMLAB_DB_SPEND_USERS_H

#include "llmlab/db/conn.h"

/* Who has spent anything, for commands that go through everybody. Errors: those of db/conn.h, and
 * ERR_NO_MEMORY. */
struct spend_user {
	struct uuid id;
	const char *email, *timezone; /* in the arena */
	int64_t first_us;	      /* begin of the first hour with usage */
};
/* The next ones by id after *after (zero: from the first), at most limit; only the one with that e-mail
 * address if it is given. */
enum err spend_users_list(struct db_conn *c, const struct uuid *after, const char *email, int limit,
	struct arena *arena, struct spend_user **ret, size_t *ret_n);

#endif
