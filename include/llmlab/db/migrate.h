#ifndef LLMLAB_DB_MIGRATE_H
#define LLMLAB_DB_MIGRATE_H

#include "llmlab/db/conn.h"

/* Numbered migrations from sql/migrations (NNNN_name.sql), embedded in the binary, forward only. Each runs in one transaction
 * under an advisory lock and is recorded in schema_migrations with a checksum; two servers starting at once migrate
 * once. A recorded checksum that differs from the embedded file, or a newer version than this binary knows, is an error. */

struct migrate_report {
	int applied;          /* migrations run now */
	int version;          /* in force afterwards */
	char message[256];    /* why it failed */
};
/* ERR_OK, ERR_DATABASE_UNAVAILABLE, ERR_CONFLICT (checksum or newer version), ERR_INTERNAL (a migration failed). */
enum err migrate_run(struct db_conn *c, struct migrate_report *ret);
/* The newest version this binary brings. */
int migrate_latest(void);

#endif
