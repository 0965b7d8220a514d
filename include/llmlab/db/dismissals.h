#ifndef LLMLAB_DB_DISMISSALS_H
#define LLMLAB_DB_DISMISSALS_H

#include "llmlab/core/switching.h"
#include "llmlab/db/conn.h"

/* Recommendations that a user does not want to see, by their stable ids. One holds until it is taken back.
 * Errors: those of db/conn.h, and what each call names. */

#define DISMISSALS_PER_USER_MAX 1000

/* Dismisses; once more changes nothing. *ret_dismissed_at_us: when it was dismissed first. ERR_CONFLICT: the user
 * has DISMISSALS_PER_USER_MAX others; ERR_NOT_FOUND: no such user. */
enum err dismissals_add(
	struct db_conn *c, const struct uuid *user_id, const char *id, int64_t *ret_dismissed_at_us);
/* Takes it back. ERR_NOT_FOUND: it was not dismissed. */
enum err dismissals_remove(struct db_conn *c, const struct uuid *user_id, const char *id);
/* All of the user's, as core wants them, in the arena. ERR_NO_MEMORY. */
enum err dismissals_list(
	struct db_conn *c, const struct uuid *user_id, struct arena *arena, struct dismissed *ret);

#endif
