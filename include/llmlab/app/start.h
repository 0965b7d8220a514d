#ifndef LLMLAB_APP_START_H
#define LLMLAB_APP_START_H

#include <stdbool.h>
#include "llmlab/app/config.h"
#include "llmlab/db/conn.h"
#include "llmlab/db/private_pg.h"

/* What commands need before they can work: the settings and a database. Failures are told on stderr, for the person who
 * started the program. */

/* Settings from the environment and ./.env. False: wrong ones, all told. Release with config_release(). */
bool start_config(struct config *ret);
/* Log level and form as the settings say. */
void start_log(const struct config *c);

/* The database that the settings name: DATABASE_URL, or a private PostgreSQL that runs until it is closed. */
struct start_database {
	struct private_pg *pg; /* NULL with DATABASE_URL */
	struct db_settings settings;
	int64_t close_by_mono_us; /* how long closing may wait; 0: as long as it takes */
};
/* Starts the private PostgreSQL if there is no DATABASE_URL; does not connect. config outlives *ret. */
bool start_database_open(const struct config *c, struct start_database *ret);
void start_database_close(struct start_database *d);

#endif
