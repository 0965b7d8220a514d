/* llmlab migrate: for deployments that change the schema before they change the servers. */
#include <stdio.h>
#include "llmlab/app/app.h"
#include "llmlab/app/start.h"
#include "llmlab/db/migrate.h"

static int migrate(const struct db_settings *settings)
{
	struct db_conn *const c = db_conn_new(settings);
	if (c == NULL) {
		fputs("llmlab: out of memory\n", stderr);
		return 1;
	}
	struct migrate_report report = {0};
	const enum err e = migrate_run(c, &report);
	db_conn_free(c);
	if (e != ERR_OK) {
		fprintf(stderr, "llmlab: %s\n", report.message[0] != '\0' ? report.message : err_title(e));
		return 1;
	}
	printf("schema version %d, %d migrations applied now\n", report.version, report.applied);
	return 0;
}

int command_migrate(int argc, char **argv)
{
	if (argc > 1) {
		fprintf(stderr, "llmlab: migrate takes no arguments, not \"%s\"\n", argv[1]);
		return 2;
	}
	struct config config = {0};
	if (!start_config(&config))
		return 1;
	start_log(&config);
	struct start_database database = {0};
	int code = 1;
	if (start_database_open(&config, &database))
		code = migrate(&database.settings);
	start_database_close(&database);
	config_release(&config);
	return code;
}
