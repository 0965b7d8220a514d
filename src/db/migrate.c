/* Brings the schema to the version of this binary: which migrations are recorded, which are due, one
 * transaction for each together with its record. A kill at any point leaves either all of a migration or
 * nothing of it. The advisory lock is the transaction's own, so it ends with it whatever happens to the
 * server that held it, and PgBouncer may sit in between. Not responsible for what the migrations contain
 * (sql/migrations). */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/embed.h"
#include "llmlab/db/migrate.h"

extern const struct embed_file embed_migrations[];
extern const size_t embed_migrations_count;

/* A migration may rewrite a big table, and a second server waits as long for the first. */
#define MIGRATION_DEADLINE_US (10 * US_PER_MINUTE)

static const struct db_stmt LOCK = {
	"migrate_lock", "SELECT pg_advisory_xact_lock(hashtext('llmlab schema migrations'))"};

static const struct db_stmt TABLE_EXISTS = {
	"migrate_table_exists", "SELECT to_regclass('schema_migrations') IS NOT NULL"};

static const char CREATE_TABLE[] =
	"CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL, checksum text NOT "
	"NULL,"
	" applied_at timestamptz NOT NULL DEFAULT now());"
	"COMMENT ON TABLE schema_migrations IS 'Which migrations this database has seen.';"
	"COMMENT ON COLUMN schema_migrations.version IS 'Number of the migration, from 1.';"
	"COMMENT ON COLUMN schema_migrations.name IS 'Its file.';"
	"COMMENT ON COLUMN schema_migrations.checksum IS 'SHA-256 of the file as it was applied, hex.';"
	"COMMENT ON COLUMN schema_migrations.applied_at IS 'Begin of the transaction that applied it.'";

static const struct db_stmt RECORDED = {
	"migrate_recorded", "SELECT version, checksum FROM schema_migrations ORDER BY version"};

static const struct db_stmt CHECKSUM = {
	"migrate_checksum", "SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')"};

static const struct db_stmt RECORD = {"migrate_record",
	"INSERT INTO schema_migrations (version, name, checksum)"
	" VALUES ($1::integer, $2, encode(sha256(convert_to($3, 'UTF8')), 'hex'))"};

struct step {
	struct migrate_report *report;
	size_t recorded; /* migrations found in the database */
	size_t verified; /* of these, with their checksums compared */
	bool applied;	 /* this step ran a migration */
};

static int version_of(const struct embed_file *f)
{
	char *end = NULL;
	const long version = strtol(f->name, &end, 10);
	CHECK(end == f->name + 4 && *end == '_' && version > 0);
	return (int)version;
}

int migrate_latest(void)
{
	return embed_migrations_count == 0 ? 0 : version_of(&embed_migrations[embed_migrations_count - 1]);
}

static enum err explain(struct step *s, struct db_conn *c, enum err e, const char *doing)
{
	const char *const text = db_last_message(c)[0] != '\0' ? db_last_message(c) : err_title(e);
	snprintf(s->report->message, sizeof s->report->message, "%s: %s%s%s", doing, db_last_sqlstate(c),
		db_last_sqlstate(c)[0] != '\0' ? " " : "", text);
	return e;
}

static enum err lock_and_create_table(struct db_conn *c)
{
	enum err e = db_run(c, &LOCK, NULL, NULL);
	if (e != ERR_OK)
		return e;
	PGresult *r = NULL;
	e = db_run(c, &TABLE_EXISTS, NULL, &r);
	if (e != ERR_OK)
		return e;
	const bool exists = db_bool(r, 0, 0);
	PQclear(r);
	return exists ? ERR_OK : db_script(c, CREATE_TABLE);
}

/* Compares a recorded checksum with the embedded file's. */
static enum err verify_checksum(
	struct db_conn *c, struct step *s, const struct embed_file *f, const char *recorded)
{
	struct db_params p;
	db_params_init(&p, NULL);
	db_param_text(&p, f->data);
	PGresult *r = NULL;
	const enum err e = db_run(c, &CHECKSUM, &p, &r);
	if (e != ERR_OK)
		return explain(s, c, e, f->name);
	const bool same = strcmp(db_text(r, 0, 0), recorded) == 0;
	PQclear(r);
	if (same)
		return ERR_OK;
	snprintf(s->report->message, sizeof s->report->message,
		"%s was applied to this database with another content: its checksum differs from this "
		"program's",
		f->name);
	return ERR_CONFLICT;
}

/* What is recorded must be the beginning of what this binary brings. */
static enum err verify_recorded(struct db_conn *c, struct step *s, const PGresult *r)
{
	const size_t n = (size_t)db_rows(r);
	for (size_t i = s->verified; i < n; i++) {
		const int64_t version = db_i64(r, (int)i, 0);
		if (version > migrate_latest()) {
			snprintf(s->report->message, sizeof s->report->message,
				"the database is at version %d, newer than this program, which knows up to "
				"%d",
				(int)db_i64(r, (int)n - 1, 0), migrate_latest());
			return ERR_CONFLICT;
		}
		if (i >= embed_migrations_count || version != version_of(&embed_migrations[i])) {
			snprintf(s->report->message, sizeof s->report->message,
				"the database has recorded version %d, which is not the next one this "
				"program knows",
				(int)version);
			return ERR_CONFLICT;
		}
		const enum err e = verify_checksum(c, s, &embed_migrations[i], db_text(r, (int)i, 1));
		if (e != ERR_OK)
			return e;
		s->verified = i + 1;
	}
	s->recorded = n;
	return ERR_OK;
}

static enum err apply(struct db_conn *c, struct step *s, const struct embed_file *f)
{
	enum err e = db_script(c, f->data);
	if (e != ERR_OK)
		return explain(s, c, e, f->name);
	if (PQtransactionStatus(db_conn_raw(c)) != PQTRANS_INTRANS) {
		snprintf(s->report->message, sizeof s->report->message,
			"%s ends the transaction it must run in", f->name);
		return ERR_INTERNAL;
	}
	struct arena arena;
	arena_init(&arena, 64);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_i64(&p, version_of(f));
	db_param_text(&p, f->name);
	db_param_text(&p, f->data);
	e = db_run(c, &RECORD, &p, NULL);
	arena_release(&arena);
	if (e != ERR_OK)
		return explain(s, c, e, f->name);
	s->applied = true;
	return ERR_OK;
}

/* One transaction: under the lock, look what is recorded and apply the next one. */
static enum err step_body(struct db_conn *c, void *arg)
{
	struct step *const s = arg;
	s->applied = false;
	enum err e = lock_and_create_table(c);
	if (e != ERR_OK)
		return explain(s, c, e, "schema_migrations");
	PGresult *r = NULL;
	e = db_run(c, &RECORDED, NULL, &r);
	if (e != ERR_OK)
		return explain(s, c, e, "schema_migrations");
	e = verify_recorded(c, s, r);
	PQclear(r);
	if (e != ERR_OK || s->recorded == embed_migrations_count)
		return e;
	return apply(c, s, &embed_migrations[s->recorded]);
}

static enum err run_steps(struct db_conn *c, struct migrate_report *report)
{
	struct step s = {.report = report};
	do {
		const enum err e = db_transaction(c, step_body, &s);
		if (e != ERR_OK) {
			if (report->message[0] == '\0')
				explain(&s, c, e, "schema_migrations");
			return e;
		}
		report->applied += s.applied;
	} while (s.applied);
	report->version = migrate_latest();
	return ERR_OK;
}

enum err migrate_run(struct db_conn *c, struct migrate_report *ret)
{
	memset(ret, 0, sizeof *ret);
	const int64_t deadline_us = db_conn_set_deadline(c, MIGRATION_DEADLINE_US);
	const enum err e = run_steps(c, ret);
	db_conn_set_deadline(c, deadline_us);
	switch ((int)e) {
	case ERR_OK:
		ret->message[0] = '\0';
		return ERR_OK;
	case ERR_CONFLICT:
		return ERR_CONFLICT;
	case ERR_DATABASE_UNAVAILABLE:
	case ERR_DB_LOST: /* running it again finds out what was committed */
	case ERR_DB_RETRY:
	case ERR_NO_MEMORY:
		return ERR_DATABASE_UNAVAILABLE;
	}
	return ERR_INTERNAL;
}
