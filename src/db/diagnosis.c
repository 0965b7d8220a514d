/* Looks at the database as an operator would. Only reads (but for one commit that changes nothing); what is
 * good or bad about it is said above. */

#include "llmlab/db/diagnosis.h"

#include <stdio.h>
#include <string.h>

#include "llmlab/base/clock.h"
#include "scope.h"

static const struct db_stmt LOOK = {"diagnosis_look",
	"SELECT split_part(version(), ' on ', 1), current_setting('server_version_num')::bigint,"
	" current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',"
	" pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',"
	" coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),"
	" current_setting('synchronous_commit'), current_setting('server_encoding'), clock_timestamp(),"
	" pg_database_size(current_database()),"
	" (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
	" current_setting('max_connections')::bigint, to_regclass('schema_migrations') IS NOT NULL"};
static const struct db_stmt SCHEMA = {
	"diagnosis_schema", "SELECT coalesce(max(version), 0)::bigint FROM schema_migrations"};
/* Written to the log like any change, seen by nobody. */
static const struct db_stmt COMMIT = {
	"diagnosis_commit", "SELECT pg_logical_emit_message(true, 'llmlab check', '')"};
static const struct db_stmt DRIFT = {
	"diagnosis_drift", "SELECT count(*) FROM usage_drift($1::timestamptz, $2::timestamptz)"};

static enum err look(struct db_conn *c, struct db_diagnosis *d, bool *has_schema)
{
	const int64_t before_us = clock_now_us();
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &LOOK, NULL, &r);
	if (e != ERR_OK)
		return e;
	const int64_t middle_us = before_us + (clock_now_us() - before_us) / 2;
	(void)snprintf(d->version, sizeof d->version, "%s", db_text(r, 0, 0));
	d->version_number = db_i64(r, 0, 1);
	d->fsync = db_bool(r, 0, 2);
	d->full_page_writes = db_bool(r, 0, 3);
	d->read_only = db_bool(r, 0, 4);
	d->tls = db_bool(r, 0, 5);
	(void)snprintf(d->synchronous_commit, sizeof d->synchronous_commit, "%s", db_text(r, 0, 6));
	(void)snprintf(d->encoding, sizeof d->encoding, "%s", db_text(r, 0, 7));
	d->clock_ahead_us = db_instant(r, 0, 8) - middle_us;
	d->size_bytes = db_i64(r, 0, 9);
	d->connections = db_i64(r, 0, 10);
	d->max_connections = db_i64(r, 0, 11);
	*has_schema = db_bool(r, 0, 12);
	return ERR_OK;
}

static enum err read_schema(struct db_conn *c, struct db_diagnosis *d)
{
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &SCHEMA, NULL, &r);
	if (e == ERR_OK)
		d->schema_version = db_i64(r, 0, 0);
	return e;
}

enum err db_diagnose(struct db_conn *c, struct db_diagnosis *ret)
{
	struct db_diagnosis d = {.commit_us = -1};
	bool has_schema = false;
	/* The first call of a connection also connects and prepares: not what is to be timed. */
	enum err e = db_conn_ready(c);
	if (e == ERR_OK)
		e = look(c, &d, &has_schema);
	if (e == ERR_OK)
		e = look(c, &d, &has_schema);
	if (e == ERR_OK && has_schema)
		e = read_schema(c, &d);
	if (e != ERR_OK)
		return e;
	if (!d.read_only && db_run(c, &COMMIT, NULL, NULL) == ERR_OK) {
		const int64_t began_us = clock_mono_us();
		if (db_run(c, &COMMIT, NULL, NULL) == ERR_OK)
			d.commit_us = clock_mono_us() - began_us;
	}
	*ret = d;
	return ERR_OK;
}

enum err db_count_drift(struct db_conn *c, int64_t from_us, int64_t to_us, int64_t *ret)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, 4096);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_instant(&p, from_us);
	db_param_instant(&p, to_us);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &DRIFT, &p, &r);
	if (e == ERR_OK)
		*ret = db_i64(r, 0, 0);
	return e;
}
