/* Migrations against a real PostgreSQL: once, twice, at the same time, tampered with, newer, failing, killed.
 */

#include <check.h>
#include <sys/wait.h>
#include <time.h>
#include "../../support/pg_test.h"
#include "llmlab/db/migrate.h"

#define KILL_ROUNDS 10

static char url[300];
static struct migrate_report report;

/* All that describes a schema: columns, constraints, indexes, functions, comments, and what was recorded. */
static const char SCHEMA_SQL[] =
	"SELECT md5(string_agg(x, '|' ORDER BY x COLLATE \"C\")) FROM ("
	" SELECT format('%s.%s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), "
	"attnotnull,"
	"  col_description(attrelid, attnum)) x FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
	"  WHERE relnamespace = 'public'::regnamespace AND attnum > 0"
	" UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint"
	"  WHERE connamespace = 'public'::regnamespace"
	" UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
	" UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
	" UNION ALL SELECT version || name || checksum FROM schema_migrations) s";

static void setup(void)
{
	pg_test_database("migrated", url, sizeof url);
	memset(&report, 0, sizeof report);
}

static void no_teardown(void)
{
}

static enum err migrate(struct migrate_report *ret)
{
	struct db_conn *const c = pg_test_conn(url, 5 * US_PER_SECOND);
	const enum err e = migrate_run(c, ret);
	db_conn_free(c);
	return e;
}

static void sql(const char *text)
{
	struct db_conn *const c = pg_test_conn(url, 5 * US_PER_SECOND);
	pg_test_sql(c, text);
	db_conn_free(c);
}

START_TEST(migrate_run_empty_database_applies_all)
{
	ck_assert_int_eq(migrate(&report), ERR_OK);
	/* versions are numbered from 1 without a gap */
	ck_assert_int_eq(report.applied, migrate_latest());
	ck_assert_int_eq(report.version, migrate_latest());
	ck_assert_int_ge(migrate_latest(), 1);
	ck_assert_str_eq(report.message, "");
	ck_assert_int_eq(
		atoi(pg_test_value(url, "SELECT max(version) FROM schema_migrations")), migrate_latest());
}
END_TEST

START_TEST(migrate_run_twice_applies_nothing_more)
{
	ck_assert_int_eq(migrate(&report), ERR_OK);
	ck_assert_int_eq(migrate(&report), ERR_OK);
	ck_assert_int_eq(report.applied, 0);
	ck_assert_int_eq(report.version, migrate_latest());
}
END_TEST

START_TEST(migrate_run_restores_the_connections_deadline)
{
	struct db_conn *const c = pg_test_conn(url, 5 * US_PER_SECOND);
	ck_assert_int_eq(migrate_run(c, &report), ERR_OK);
	ck_assert_int_eq(db_conn_set_deadline(c, US_PER_SECOND), 5 * US_PER_SECOND);
	db_conn_free(c);
}
END_TEST

static pid_t migrate_in_child(void)
{
	const pid_t pid = fork();
	if (pid == 0) {
		struct migrate_report r;
		_exit(migrate(&r) == ERR_OK ? r.applied : 100);
	}
	return pid;
}

START_TEST(migrate_run_four_servers_at_once_apply_each_once)
{
	pid_t pids[4];
	int applied = 0;
	for (int i = 0; i < 4; i++)
		pids[i] = migrate_in_child();
	for (int i = 0; i < 4; i++) {
		int status = 0;
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert(WIFEXITED(status));
		applied += WEXITSTATUS(status);
	}
	ck_assert_int_eq(applied, migrate_latest());
}
END_TEST

START_TEST(migrate_run_other_checksum_is_conflict)
{
	ck_assert_int_eq(migrate(&report), ERR_OK);
	sql("UPDATE schema_migrations SET checksum = repeat('0', 64) WHERE version = 1");
	ck_assert_int_eq(migrate(&report), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(report.message, "0001_foundation.sql"));
	ck_assert_ptr_nonnull(strstr(report.message, "checksum"));
}
END_TEST

START_TEST(migrate_run_newer_database_is_conflict)
{
	ck_assert_int_eq(migrate(&report), ERR_OK);
	sql("INSERT INTO schema_migrations (version, name, checksum) VALUES (9000, '9000_later.sql', '')");
	ck_assert_int_eq(migrate(&report), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(report.message, "9000"));
	ck_assert_ptr_nonnull(strstr(report.message, "newer"));
}
END_TEST

START_TEST(migrate_run_missing_record_is_conflict)
{
	ck_assert_int_eq(migrate(&report), ERR_OK);
	sql("UPDATE schema_migrations SET version = 0 WHERE version = 1");
	ck_assert_int_eq(migrate(&report), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(report.message, "version 0"));
}
END_TEST

START_TEST(migrate_run_failing_migration_leaves_nothing)
{
	sql("CREATE TABLE budgets (mine text)"); /* the last table of the first migration */
	ck_assert_int_eq(migrate(&report), ERR_INTERNAL);
	ck_assert_int_eq(report.applied, 0);
	ck_assert_ptr_nonnull(strstr(report.message, "0001_foundation.sql: 42P07"));
	ck_assert_str_eq(
		pg_test_value(url, "SELECT string_agg(relname, ',') FROM pg_class"
				   " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"),
		"budgets");
	sql("DROP TABLE budgets");
	ck_assert_int_eq(migrate(&report), ERR_OK);
}
END_TEST

START_TEST(migrate_run_no_database_is_unavailable)
{
	struct db_conn *const c = pg_test_conn("host=/nonexistent", US_PER_SECOND);
	ck_assert_int_eq(migrate_run(c, &report), ERR_DATABASE_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(report.message, "/nonexistent"));
	db_conn_free(c);
}
END_TEST

START_TEST(migrations_every_table_column_and_function_has_a_comment)
{
	ck_assert_int_eq(migrate(&report), ERR_OK);
	ck_assert_str_eq(
		pg_test_value(url, "SELECT coalesce(string_agg(relname, ', '), '') FROM pg_class WHERE "
				   "relkind IN ('r', 'p', 'v', 'm')"
				   " AND relnamespace = 'public'::regnamespace AND NOT relispartition"
				   " AND obj_description(oid, 'pg_class') IS NULL"),
		"");
	ck_assert_str_eq(
		pg_test_value(url,
			"SELECT coalesce(string_agg(attrelid::regclass || '.' || attname, ', '), '')"
			" FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
			" WHERE relkind IN ('r', 'p', 'v', 'm') AND relnamespace = 'public'::regnamespace"
			" AND NOT relispartition AND attnum > 0 AND NOT attisdropped"
			" AND col_description(attrelid, attnum) IS NULL"),
		"");
	ck_assert_str_eq(pg_test_value(url, "SELECT coalesce(string_agg(proname, ', '), '') FROM pg_proc"
					    " WHERE pronamespace = 'public'::regnamespace"
					    " AND obj_description(oid, 'pg_proc') IS NULL"),
		"");
}
END_TEST

static void wait_ms(long ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	nanosleep(&t, NULL);
}

/* How long an undisturbed run takes, to spread the kills over it; and what it ends in. */
static int64_t reference_run(char *schema, size_t size)
{
	const int64_t start = clock_mono_us();
	ck_assert_int_eq(migrate(&report), ERR_OK);
	const int64_t took_us = clock_mono_us() - start;
	snprintf(schema, size, "%s", pg_test_value(url, SCHEMA_SQL));
	return took_us;
}

START_TEST(migrate_run_server_killed_at_any_point_ends_in_the_same_schema)
{
	char expected[256];
	const int64_t took_us = reference_run(expected, sizeof expected);
	int unfinished = 0;
	for (int i = 0; i < KILL_ROUNDS; i++) {
		setup();
		const pid_t pid = migrate_in_child();
		wait_ms((took_us * i / (KILL_ROUNDS - 2)) / 1000);
		kill(pid, SIGKILL);
		int status = 0;
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(migrate(&report), ERR_OK);
		unfinished += report.applied > 0;
		ck_assert_str_eq(pg_test_value(url, SCHEMA_SQL), expected);
	}
	/* else the test did not bite */
	ck_assert_int_gt(unfinished, 0);
}
END_TEST

static void wait_until_postgres_answers(void)
{
	while (PQping(pg_test.url) != PQPING_OK)
		wait_ms(10);
}

START_TEST(migrate_run_database_killed_at_any_point_ends_in_the_same_schema)
{
	char expected[256];
	const int64_t took_us = reference_run(expected, sizeof expected);
	for (int i = 0; i < 3; i++) {
		setup();
		const pid_t pid = migrate_in_child();
		wait_ms(took_us * i / 3 / 1000);
		/* a killed backend takes the cluster through crash recovery */
		const int backend = atoi(pg_test_value(pg_test.url,
			"SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE datname = 'migrated'"));
		if (backend > 1)
			kill(backend, SIGKILL);
		int status = 0;
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		/* it may answer once more before it notices, and then end everybody's connection */
		enum err e = ERR_DATABASE_UNAVAILABLE;
		for (int tries = 0; tries < 100 && e == ERR_DATABASE_UNAVAILABLE; tries++) {
			wait_until_postgres_answers();
			e = migrate(&report);
			wait_ms(e == ERR_OK ? 0 : 50);
		}
		ck_assert_int_eq(e, ERR_OK);
		ck_assert_str_eq(pg_test_value(url, SCHEMA_SQL), expected);
	}
}
END_TEST

static Suite *make_suite(void)
{
	Suite *const s = suite_create("db migrate");
	TCase *const t = tcase_create("migrate");
	tcase_add_checked_fixture(t, setup, no_teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, migrate_run_empty_database_applies_all);
	tcase_add_test(t, migrate_run_twice_applies_nothing_more);
	tcase_add_test(t, migrate_run_restores_the_connections_deadline);
	tcase_add_test(t, migrate_run_four_servers_at_once_apply_each_once);
	tcase_add_test(t, migrate_run_other_checksum_is_conflict);
	tcase_add_test(t, migrate_run_newer_database_is_conflict);
	tcase_add_test(t, migrate_run_missing_record_is_conflict);
	tcase_add_test(t, migrate_run_failing_migration_leaves_nothing);
	tcase_add_test(t, migrate_run_no_database_is_unavailable);
	tcase_add_test(t, migrations_every_table_column_and_function_has_a_comment);
	tcase_add_test(t, migrate_run_server_killed_at_any_point_ends_in_the_same_schema);
	tcase_add_test(t, migrate_run_database_killed_at_any_point_ends_in_the_same_schema);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	pg_test_start();
	SRunner *const runner = srunner_create(make_suite());
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_test_stop();
	return failed == 0 ? 0 : 1;
}
