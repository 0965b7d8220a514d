/* The first steps that commands share: settings, log, database. What is done with them is the commands' own.
 */
#include "llmlab/app/start.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "llmlab/app/dotenv.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"

#define CONNECT_US (2 * US_PER_SECOND)
#define ENV_FILE   ".env"

static const char *lookup(void *arg, const char *name)
{
	const struct dotenv *file = arg;
	const char *const value = getenv(name);
	return value != NULL && value[0] != '\0' ? value : dotenv_get(file, name);
}

/* A misspelt setting would silently be its default. */
static void warn_of_unknown(const struct dotenv *file)
{
	for (size_t i = 0; i < file->n_entries; i++) {
		if (!config_known(file->entries[i].key))
			fprintf(stderr, "llmlab: warning: %s in .env is not a setting (see llmlab --help)\n",
				file->entries[i].key);
	}
}

bool start_config(struct config *ret)
{
	struct buf problems;
	buf_init(&problems, 65536);
	struct dotenv file = {0};
	enum err e = dotenv_read(ENV_FILE, &file, &problems);
	if (e == ERR_OK) {
		warn_of_unknown(&file);
		e = config_load(lookup, &file, ret, &problems);
		dotenv_release(&file);
	}
	if (e != ERR_OK)
		fprintf(stderr, "llmlab: wrong settings:\n%s",
			e == ERR_NO_MEMORY ? "out of memory\n" : buf_str(&problems));
	buf_release(&problems);
	return e == ERR_OK;
}

void start_log(const struct config *c)
{
	static const char *const levels[] = {[LOG_LEVEL_DEBUG] = "debug",
		[LOG_LEVEL_INFO] = "info",
		[LOG_LEVEL_WARN] = "warn",
		[LOG_LEVEL_ERROR] = "error"};
	enum log_level level = LOG_LEVEL_INFO;
	for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
		if (strcmp(levels[i], c->log_level) == 0)
			level = (enum log_level)i;
	}
	const bool terminal = isatty(STDERR_FILENO) == 1;
	log_configure(level,
		strcmp(c->log_format, "json") == 0 || (strcmp(c->log_format, "auto") == 0 && !terminal));
}

bool start_database_open(const struct config *c, struct start_database *ret)
{
	static struct db_gate gate;
	struct start_database d = {.settings = {.url = c->database_url,
					   .statement_us = c->db_statement_ms * US_PER_MS,
					   .connect_us = CONNECT_US,
					   .application_name = "llmlab",
					   .prepare = c->db_prepare,
					   .gate = &gate}};
	if (c->database_url[0] == '\0') {
		char message[512] = "";
		LOG_INFO("private database starting", LOG_S("data_dir", c->data_dir));
		if (private_pg_start(c->data_dir, &d.pg, message, sizeof message) != ERR_OK) {
			fprintf(stderr, "llmlab: %s\n", message);
			return false;
		}
		d.settings.url = private_pg_url(d.pg);
	}
	*ret = d;
	return true;
}

void start_database_close(struct start_database *d)
{
	if (d->close_by_mono_us != 0)
		private_pg_stop_by(d->pg, d->close_by_mono_us);
	else
		private_pg_stop(d->pg);
	*d = (struct start_database){0};
}
