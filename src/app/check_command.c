/* llmlab check: a diagnosis for whoever runs the server. Looks at the settings, the secret, the prices, the
 * database, its clock and disk, and with --sums compares every stored sum with the events. Changes nothing.
 * What is found wrong is told with what to do. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include "llmlab/app/app.h"
#include "llmlab/app/findings.h"
#include "llmlab/app/secret.h"
#include "llmlab/app/start.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/db/diagnosis.h"
#include "llmlab/db/migrate.h"
#include "llmlab/providers/catalogue_load.h"

#define MIB		  ((int64_t)1024 * 1024)
#define OLDEST_PG	  130000
#define SUMS_STATEMENT_US (US_PER_HOUR)
#define FILES_SPARE	  256
/* writer, watch, upkeep, alerts, anomalies, repricer, webhook sender: docs/architecture.md */
#define OWN_THREADS 7
/* 9999-12-31: after every event there can be */
#define LAST_DAY_US (INT64_C(2932896) * US_PER_DAY)

struct diagnosis {
	int warnings, failures;
};

static void tell(struct diagnosis *d, enum finding f, const char *subject, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void tell(struct diagnosis *d, enum finding f, const char *subject, const char *fmt, ...)
{
	static const char *const words[] = {
		[FOUND_GOOD] = "ok", [FOUND_DOUBTFUL] = "warn", [FOUND_BAD] = "FAIL"};
	char text[1024];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	/* libpq's reasons may have several lines; a finding has one */
	for (char *c = text; *c != '\0'; c++)
		*c = *c == '\n' || *c == '\t' ? ' ' : *c;
	printf("%-5s %-14s %s\n", words[f], subject, text);
	d->warnings += f == FOUND_DOUBTFUL;
	d->failures += f == FOUND_BAD;
}

static void check_secret(struct diagnosis *d, const struct config *c)
{
	if (c->secret_key[0] == '\0' && c->database_url[0] != '\0') {
		tell(d, FOUND_BAD, "SECRET_KEY", "is not set; make one with: openssl rand -hex 32");
		return;
	}
	if (c->secret_key[0] == '\0') {
		tell(d, FOUND_GOOD, "SECRET_KEY", "kept in %s/secret_key, made at the first start",
			c->data_dir);
		return;
	}
	const char *const weakness = secret_weakness(c->secret_key);
	tell(d, weakness != NULL ? FOUND_BAD : FOUND_GOOD, "SECRET_KEY", "%s",
		weakness != NULL ? weakness : "is long enough and no known one");
	if (c->secret_key_previous[0] != '\0')
		tell(d, FOUND_GOOD, "SECRET_KEY",
			"the one before is accepted, too: take it away when its tokens have ended");
}

static void check_prices(struct diagnosis *d, const struct config *c)
{
	struct arena arena;
	arena_init(&arena, MIB);
	struct problem p;
	problem_init(&p, &arena);
	struct catalogue *catalogue = NULL;
	if (catalogue_load(c->pricing_file[0] != '\0' ? c->pricing_file : NULL, &catalogue, &p) == ERR_OK) {
		tell(d, FOUND_GOOD, "prices", "version %s, %zu providers", catalogue->version,
			catalogue->n_providers);
		catalogue_publish(catalogue);
		catalogue_shutdown();
	} else {
		tell(d, FOUND_BAD, "prices", "%s", problem_detail(&p));
	}
	arena_release(&arena);
}

static void check_files(struct diagnosis *d, const struct config *c)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	const uint64_t need = (uint64_t)c->max_connections + FILES_SPARE;
	tell(d, limit.rlim_max >= need ? FOUND_GOOD : FOUND_DOUBTFUL, "open files",
		"up to %llu; MAX_CONNECTIONS=%lld takes %llu", (unsigned long long)limit.rlim_max,
		(long long)c->max_connections, (unsigned long long)need);
}

/* Only where the private database keeps its data; another's disk is not ours to see. */
static void check_disk(struct diagnosis *d, const struct config *c)
{
	struct statvfs fs;
	if (c->database_url[0] != '\0' || statvfs(c->data_dir, &fs) != 0)
		return;
	const int64_t free_bytes = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
	tell(d, finding_disk(free_bytes), "disk", "%lld MiB free for %s", (long long)(free_bytes / MIB),
		c->data_dir);
}

static void check_durability(struct diagnosis *d, const struct db_diagnosis *db)
{
	tell(d, db->fsync && db->full_page_writes ? FOUND_GOOD : FOUND_BAD, "durability",
		"fsync is %s, full_page_writes is %s",
		db->fsync ? "on" : "off: a crash loses what was acknowledged",
		db->full_page_writes ? "on" : "off: a crash can tear pages");
	tell(d, strcmp(db->synchronous_commit, "off") == 0 ? FOUND_BAD : FOUND_GOOD, "durability",
		"synchronous_commit is %s in our sessions", db->synchronous_commit);
	if (db->commit_us >= 0)
		tell(d, finding_commit(db->commit_us), "commit", "one took %lld.%03lld ms",
			(long long)(db->commit_us / 1000), (long long)(db->commit_us % 1000));
}

static void check_clock(struct diagnosis *d, int64_t ahead_us)
{
	const int64_t apart_us = ahead_us < 0 ? -ahead_us : ahead_us;
	const enum finding f = finding_clock(ahead_us);
	tell(d, f, "clock", "the database's is %lld ms %s ours%s", (long long)(apart_us / 1000),
		ahead_us < 0 ? "behind" : "ahead of",
		f == FOUND_GOOD ? "" : "; keep both by NTP: tokens, budgets and reservations go by them");
}

static void check_schema(struct diagnosis *d, int64_t version)
{
	const enum finding f = finding_schema(version, migrate_latest());
	switch (f) {
	case FOUND_GOOD:
		tell(d, f, "schema", "version %lld", (long long)version);
		return;
	case FOUND_DOUBTFUL:
		tell(d, f, "schema",
			"version %lld; this program brings %d: it migrates at its start, or now with: llmlab "
			"migrate",
			(long long)version, migrate_latest());
		return;
	case FOUND_BAD:
		tell(d, f, "schema", "version %lld is newer than this program, which knows up to %d",
			(long long)version, migrate_latest());
		return;
	}
}

static void check_sums(struct diagnosis *d, struct db_conn *conn, int64_t schema_version)
{
	if (finding_schema(schema_version, migrate_latest()) != FOUND_GOOD) {
		tell(d, FOUND_DOUBTFUL, "sums", "not compared: the schema is not this program's");
		return;
	}
	int64_t drift = 0;
	(void)db_conn_set_deadline(conn, SUMS_STATEMENT_US);
	if (db_count_drift(conn, 0, LAST_DAY_US, &drift) != ERR_OK)
		tell(d, FOUND_BAD, "sums", "not compared: %s", db_last_message(conn));
	else
		tell(d, drift == 0 ? FOUND_GOOD : FOUND_BAD, "sums",
			drift == 0 ? "every sum equals its events (%lld differences)"
				   : "%lld differ from their events; see usage_drift() in the database",
			(long long)drift);
}

static void check_database(struct diagnosis *d, const struct config *c, struct db_conn *conn, bool sums)
{
	struct db_diagnosis db;
	if (db_diagnose(conn, &db) != ERR_OK) {
		tell(d, FOUND_BAD, "database", "cannot be used: %s", db_last_message(conn));
		return;
	}
	tell(d, db.version_number >= OLDEST_PG ? FOUND_GOOD : FOUND_BAD, "database", "%s, %lld MiB, %s%s",
		db.version, (long long)(db.size_bytes / MIB), db.encoding, db.tls ? ", by TLS" : "");
	if (strcmp(db.encoding, "UTF8") != 0)
		tell(d, FOUND_BAD, "database", "its encoding must be UTF8");
	if (db.read_only)
		tell(d, FOUND_BAD, "database",
			"takes no writes (a replica, or default_transaction_read_only)");
	const int64_t own = c->executor_threads + c->password_threads + c->export_threads + OWN_THREADS;
	tell(d, finding_connections(db.connections, own, db.max_connections), "connections",
		"%lld of %lld in use; a server takes up to %lld", (long long)db.connections,
		(long long)db.max_connections, (long long)own);
	check_durability(d, &db);
	check_clock(d, db.clock_ahead_us);
	check_schema(d, db.schema_version);
	if (sums)
		check_sums(d, conn, db.schema_version);
}

static int check(const struct config *c, bool sums)
{
	struct diagnosis d = {0};
	struct start_database database = {0};
	tell(&d, FOUND_GOOD, "settings", "no contradiction found");
	check_secret(&d, c);
	check_prices(&d, c);
	check_files(&d, c);
	check_disk(&d, c);
	struct db_conn *conn = NULL;
	if (!start_database_open(c, &database))
		tell(&d, FOUND_BAD, "database", "the private PostgreSQL does not start (see above)");
	else if ((conn = db_conn_new(&database.settings)) == NULL)
		tell(&d, FOUND_BAD, "memory", "there is none left");
	else
		check_database(&d, c, conn, sums);
	db_conn_free(conn);
	start_database_close(&database);
	printf("%d warnings, %d failures\n", d.warnings, d.failures);
	return d.failures > 0 ? 1 : 0;
}

int command_check(int argc, char **argv)
{
	const bool sums = argc == 2 && strcmp(argv[1], "--sums") == 0;
	if (argc > 1 && !sums) {
		fputs("llmlab: usage: llmlab check [--sums]\n", stderr);
		return 2;
	}
	struct config config = {0};
	if (!start_config(&config))
		return 1;
	start_log(&config);
	const int code = check(&config, sums);
	config_release(&config);
	return code;
}
