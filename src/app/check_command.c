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
#include "llmlab/app/secret.h"
#include "llmlab/app/start.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/db/diagnosis.h"
#include "llmlab/db/migrate.h"
#include "llmlab/providers/catalogue_load.h"

#define MIB		  ((int64_t)1024 * 1024)
#define CLOCK_WARN_US	  US_PER_SECOND
#define CLOCK_FAIL_US	  (60 * US_PER_SECOND)
#define COMMIT_WARN_US	  (20 * US_PER_MS)
#define DISK_WARN_BYTES	  (1024 * MIB)
#define DISK_FAIL_BYTES	  (100 * MIB)
#define OLDEST_PG	  130000
#define SUMS_STATEMENT_US (US_PER_HOUR)
#define FILES_SPARE	  256

struct diagnosis {
	int warnings, failures;
};

enum finding { FOUND_GOOD, FOUND_DOUBTFUL, FOUND_BAD };

static void tell(struct diagnosis *d, enum finding f, const char *subject, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void tell(struct diagnosis *d, enum finding f, const char *subject, const char *fmt, ...)
{
	static const char *const words[] = {
		[FOUND_GOOD] = "ok", [FOUND_DOUBTFUL] = "warn", [FOUND_BAD] = "FAIL"};
	va_list args;
	printf("%-5s %-14s ", words[f], subject);
	va_start(args, fmt);
	(void)vprintf(fmt, args);
	va_end(args);
	putchar('\n');
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
	const enum finding f = free_bytes < DISK_FAIL_BYTES   ? FOUND_BAD
			       : free_bytes < DISK_WARN_BYTES ? FOUND_DOUBTFUL
							      : FOUND_GOOD;
	tell(d, f, "disk", "%lld MiB free for %s", (long long)(free_bytes / MIB), c->data_dir);
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
		tell(d, db->commit_us > COMMIT_WARN_US ? FOUND_DOUBTFUL : FOUND_GOOD, "commit",
			"one took %lld.%03lld ms", (long long)(db->commit_us / 1000),
			(long long)(db->commit_us % 1000));
}

static void check_clock(struct diagnosis *d, int64_t ahead_us)
{
	const int64_t apart_us = ahead_us < 0 ? -ahead_us : ahead_us;
	const enum finding f = apart_us > CLOCK_FAIL_US	  ? FOUND_BAD
			       : apart_us > CLOCK_WARN_US ? FOUND_DOUBTFUL
							  : FOUND_GOOD;
	tell(d, f, "clock", "the database's is %lld ms %s ours%s", (long long)(apart_us / 1000),
		ahead_us < 0 ? "behind" : "ahead of",
		f == FOUND_GOOD ? "" : "; keep both by NTP: tokens, budgets and reservations go by them");
}

static void check_schema(struct diagnosis *d, int64_t version)
{
	if (version == migrate_latest())
		tell(d, FOUND_GOOD, "schema", "version %lld", (long long)version);
	else if (version < migrate_latest())
		tell(d, FOUND_DOUBTFUL, "schema",
			"version %lld; this program brings %d: it migrates at its start, or now with: llmlab "
			"migrate",
			(long long)version, migrate_latest());
	else
		tell(d, FOUND_BAD, "schema", "version %lld is newer than this program, which knows up to %d",
			(long long)version, migrate_latest());
}

static void check_database(struct diagnosis *d, const struct config *c, struct db_conn *conn, bool sums)
{
	struct db_diagnosis db;
	if (db_diagnose(conn, &db) != ERR_OK) {
		tell(d, FOUND_BAD, "database", "does not answer: %s", db_last_message(conn));
		return;
	}
	tell(d, db.version_number >= OLDEST_PG ? FOUND_GOOD : FOUND_BAD, "database", "%s, %lld MiB, %s%s",
		db.version, (long long)(db.size_bytes / MIB), db.encoding, db.tls ? ", by TLS" : "");
	if (strcmp(db.encoding, "UTF8") != 0)
		tell(d, FOUND_BAD, "database", "its encoding must be UTF8");
	if (db.read_only)
		tell(d, FOUND_BAD, "database",
			"takes no writes (a replica, or default_transaction_read_only)");
	const int64_t own = c->executor_threads + c->password_threads + c->export_threads + 6;
	tell(d, db.connections + own <= db.max_connections ? FOUND_GOOD : FOUND_DOUBTFUL, "connections",
		"%lld of %lld in use; a server takes up to %lld", (long long)db.connections,
		(long long)db.max_connections, (long long)own);
	check_durability(d, &db);
	check_clock(d, db.clock_ahead_us);
	check_schema(d, db.schema_version);
	if (!sums || db.schema_version == 0)
		return;
	int64_t drift = 0;
	(void)db_conn_set_deadline(conn, SUMS_STATEMENT_US);
	if (db_count_drift(conn, 0, (clock_now_us() / US_PER_DAY + 2) * US_PER_DAY, &drift) != ERR_OK)
		tell(d, FOUND_BAD, "sums", "not compared: %s", db_last_message(conn));
	else
		tell(d, drift == 0 ? FOUND_GOOD : FOUND_BAD, "sums",
			drift == 0 ? "every sum equals its events (%lld differences)"
				   : "%lld differ from their events; see usage_drift() in the database",
			(long long)drift);
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
