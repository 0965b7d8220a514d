#ifndef LLMLAB_TESTS_PG_TEST_H
#define LLMLAB_TESTS_PG_TEST_H

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "llmlab/base/clock.h"
#include "llmlab/db/conn.h"
#include "llmlab/db/private_pg.h"

/* A real PostgreSQL for tests: private_pg in a folder of its own in TMPDIR, one for each test program. A
 * program that aborts takes its PostgreSQL with it; a test that it has forked does not. */
struct pg_test {
	struct private_pg *pg;
	pid_t owner;
	char dir[128];
	char url[256];
};

static struct pg_test pg_test;

/* Calls `each` for every process that works in <dir>/postgres. */
static inline int pg_test_signal_all(const char *dir, int sig)
{
	char pgdata[256];
	struct stat st, cwd;
	int count = 0;
	snprintf(pgdata, sizeof pgdata, "%s/postgres", dir);
	DIR *const d = opendir("/proc");
	if (d && stat(pgdata, &st) == 0) {
		for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
			const int pid = atoi(e->d_name);
			char path[64];
			snprintf(path, sizeof path, "/proc/%d/cwd", pid);
			if (pid <= 1 || stat(path, &cwd) != 0 || cwd.st_ino != st.st_ino ||
				cwd.st_dev != st.st_dev)
				continue;
			count++;
			kill(pid, sig);
		}
	}
	if (d)
		closedir(d);
	return count;
}

static inline int pg_test_remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void pg_test_remove_tree(const char *dir)
{
	nftw(dir, pg_test_remove_entry, 32, FTW_DEPTH | FTW_PHYS);
}

static inline void pg_test_on_death(int sig)
{
	if (getpid() == pg_test.owner) {
		pg_test_signal_all(pg_test.dir, SIGKILL);
		pg_test_remove_tree(pg_test.dir);
	}
	signal(sig, SIG_DFL);
	raise(sig);
}

/* A new directory that another user may pass through. */
static inline void pg_test_make_dir(char *dir, size_t size)
{
	const char *const tmp = getenv("TMPDIR");
	snprintf(dir, size, "%s/llmlab_test_XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir) || chmod(dir, 0711) != 0) {
		perror("mkdtemp");
		exit(1);
	}
}

static inline void pg_test_start(void)
{
	char message[512];
	pg_test_make_dir(pg_test.dir, sizeof pg_test.dir);
	pg_test.owner = getpid();
	const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGTERM, SIGINT, SIGALRM};
	for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
		signal(fatal[i], pg_test_on_death);
	if (private_pg_start(pg_test.dir, &pg_test.pg, message, sizeof message) != ERR_OK) {
		fprintf(stderr, "no PostgreSQL: %s\n", message);
		exit(1);
	}
	snprintf(pg_test.url, sizeof pg_test.url, "%s", private_pg_url(pg_test.pg));
}

static inline void pg_test_stop(void)
{
	private_pg_stop(pg_test.pg);
	pg_test_remove_tree(pg_test.dir);
}

static inline struct db_conn *pg_test_conn(const char *url, int64_t statement_us)
{
	const struct db_settings s = {.url = url,
		.statement_us = statement_us,
		.connect_us = 2 * US_PER_SECOND,
		.application_name = "test",
		.prepare = true};
	struct db_conn *const c = db_conn_new(&s);
	if (!c)
		abort();
	return c;
}

/* Runs SQL that must succeed. */
static inline void pg_test_sql(struct db_conn *c, const char *sql)
{
	const enum err e = db_script(c, sql);
	if (e != ERR_OK) {
		fprintf(stderr, "%s: %s %s\n", sql, err_code(e), db_last_message(c));
		abort();
	}
}

/* The first column of the first row of a query that must succeed; in a static buffer. */
static inline const char *pg_test_value(const char *url, const char *sql)
{
	static char value[256];
	PGconn *const pg = PQconnectdb(url);
	PGresult *const r = PQexec(pg, sql);
	if (PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) < 1) {
		fprintf(stderr, "%s: %s\n", sql, PQerrorMessage(pg));
		abort();
	}
	snprintf(value, sizeof value, "%s", PQgetvalue(r, 0, 0));
	PQclear(r);
	PQfinish(pg);
	return value;
}

/* A new, empty database on the shared server; its URL. */
static inline void pg_test_database(const char *name, char *url, size_t size)
{
	char sql[256];
	struct db_conn *const c = pg_test_conn(pg_test.url, 20 * US_PER_SECOND);
	snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS %s WITH (FORCE)", name);
	pg_test_sql(c, sql);
	snprintf(sql, sizeof sql, "CREATE DATABASE %s", name);
	pg_test_sql(c, sql);
	db_conn_free(c);
	snprintf(url, size, "%s dbname=%s", pg_test.url, name);
}

#endif
