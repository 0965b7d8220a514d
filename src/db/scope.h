#ifndef LLMLAB_SRC_DB_SCOPE_H
#define LLMLAB_SRC_DB_SCOPE_H

#include "llmlab/db/conn.h"

/* Cleanup attributes of this layer: what a function takes only for itself goes when the function ends. */

static inline void scope_clear_result(PGresult **r)
{
	PQclear(*r);
}

/* PGresult *r SCOPE_RESULT = NULL; */
#define SCOPE_RESULT __attribute__((cleanup(scope_clear_result)))

/* Accounts that were deleted, and whose data are still being removed (docs/adr/0008): jobs for everybody
 * leave them alone, by user_id <> ALL of these. They are few, and read once for a statement. */
#define DELETED_USERS "(ARRAY(SELECT id FROM users WHERE deleted_at IS NOT NULL))"

#endif
