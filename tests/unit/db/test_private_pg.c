/* The private PostgreSQL: made, stopped, killed in every way, found again, refused to a second server. */

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>
#include "../../support/pg_test.h"

#define OTHER_USER 65534 /* nobody */

static char message[512];
static struct private_pg *pg;

/* Most tests share one directory and find the cluster stopped. */
static const char *path_in(const char *name)
{
	static char path[300];
	snprintf(path, sizeof path, "%s/%s", pg_test.dir, name);
	return path;
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static void start(void)
{
	const enum err e = private_pg_start(pg_test.dir, &pg, message, sizeof message);
	ck_assert_msg(e == ERR_OK, "%s", message);
}

static void stop(void)
{
	private_pg_stop(pg);
	pg = NULL;
}

static pid_t pid_in_file(const char *dir)
{
	char path[300];
	int pid = 0;
	snprintf(path, sizeof path, "%s/postgres/postmaster.pid", dir);
	FILE *const f = fopen(path, "re");
	if (f) {
		ck_assert_int_eq(fscanf(f, "%d", &pid), 1);
		fclose(f);
	}
	return pid;
}

static void execute(const char *sql)
{
	struct db_conn *const c = pg_test_conn(private_pg_url(pg), 5 * US_PER_SECOND);
	pg_test_sql(c, sql);
	db_conn_free(c);
}

static const char *value(const char *sql)
{
	return pg_test_value(private_pg_url(pg), sql);
}

static void wait_ms(long ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	nanosleep(&t, NULL);
}

static void teardown(void)
{
	stop();
	/* what a failed test left */
	pg_test_signal_all(pg_test.dir, SIGKILL);
	while (pg_test_signal_all(pg_test.dir, 0) > 0)
		;
}

static void no_setup(void)
{
}

START_TEST(private_pg_start_cluster_is_as_promised)
{
	struct stat st;
	start();
	ck_assert_str_eq(value("SHOW listen_addresses"), "");
	ck_assert_str_eq(value("SHOW data_checksums"), "on");
	ck_assert_str_eq(value("SHOW server_encoding"), "UTF8");
	ck_assert_str_eq(value("SHOW fsync"), "on");
	ck_assert_str_eq(value("SHOW full_page_writes"), "on");
	ck_assert_str_eq(value("SELECT datcollate FROM pg_database WHERE datname = 'postgres'"), "C");
	ck_assert_int_eq(stat(path_in("run"), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(stat(path_in("postgres"), &st), 0);
	ck_assert_int_ne(st.st_uid, 0);
	char proc[64];
	snprintf(proc, sizeof proc, "/proc/%d", pid_in_file(pg_test.dir));
	ck_assert_int_eq(stat(proc, &st), 0);
	ck_assert_int_ne(st.st_uid, 0);
}
END_TEST

START_TEST(private_pg_start_postmaster_has_a_session_of_its_own)
{
	start();
	ck_assert_int_ne(getsid(pid_in_file(pg_test.dir)), getsid(0));
}
END_TEST

START_TEST(private_pg_stop_leaves_no_process_and_start_keeps_data)
{
	start();
	execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS n");
	stop();
	ck_assert_int_eq(pg_test_signal_all(pg_test.dir, 0), 0);
	ck_assert(!exists(path_in("postgres/postmaster.pid")));
	ck_assert(!exists(path_in("run")));
	start();
	ck_assert_str_eq(value("SELECT n FROM kept"), "42");
}
END_TEST

START_TEST(private_pg_stop_does_not_wait_for_open_transactions)
{
	start();
	struct db_conn *const c = pg_test_conn(private_pg_url(pg), 5 * US_PER_SECOND);
	ck_assert_int_eq(db_begin(c), ERR_OK);
	const int64_t begin = clock_mono_us();
	stop();
	ck_assert_int_lt(clock_mono_us() - begin, 10 * US_PER_SECOND);
	db_conn_free(c);
}
END_TEST

START_TEST(private_pg_start_after_all_of_postgres_was_killed_recovers)
{
	start();
	execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 43 AS n");
	ck_assert_int_gt(pg_test_signal_all(pg_test.dir, SIGKILL), 0);
	stop();
	start();
	ck_assert_str_eq(value("SELECT n FROM kept"), "43");
}
END_TEST

START_TEST(private_pg_start_after_only_the_postmaster_was_killed_recovers)
{
	start();
	execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 44 AS n");
	/* a frozen backend does not see that its postmaster is gone */
	struct db_conn *const c = pg_test_conn(private_pg_url(pg), 5 * US_PER_SECOND);
	ck_assert_int_eq(db_conn_ready(c), ERR_OK);
	const int backend = PQbackendPID(db_conn_raw(c));
	ck_assert_int_eq(kill(backend, SIGSTOP), 0);
	ck_assert_int_eq(kill(pid_in_file(pg_test.dir), SIGKILL), 0);
	stop();
	ck_assert_int_eq(kill(backend, 0), 0);
	start();
	ck_assert_str_eq(value("SELECT n FROM kept"), "44");
	/* gone; in a container whose init does not reap it stays as a zombie, without a working directory */
	char cwd[64], target[300];
	snprintf(cwd, sizeof cwd, "/proc/%d/cwd", backend);
	ck_assert_int_lt(readlink(cwd, target, sizeof target), 0);
	db_conn_free(c);
}
END_TEST

/* Runs a server that dies by kill -9 as soon as its database is up. */
static void server_killed_after_start(const char *dir)
{
	const pid_t owner = fork();
	if (owner == 0) {
		struct private_pg *mine = NULL;
		if (private_pg_start(dir, &mine, message, sizeof message) == ERR_OK)
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	int status = 0;
	ck_assert_int_eq(waitpid(owner, &status, 0), owner);
	ck_assert(WIFSIGNALED(status));
}

START_TEST(private_pg_start_after_the_server_was_killed_reuses_and_stops_it)
{
	server_killed_after_start(pg_test.dir);
	const pid_t before = pid_in_file(pg_test.dir);
	ck_assert_int_eq(kill(before, 0), 0);
	start();
	ck_assert_int_eq(pid_in_file(pg_test.dir), before);
	ck_assert_str_eq(value("SELECT 1"), "1");
	stop();
	ck_assert_int_eq(pg_test_signal_all(pg_test.dir, 0), 0);
}
END_TEST

START_TEST(private_pg_start_second_server_is_refused_by_name)
{
	char pid[32];
	struct private_pg *second = NULL;
	start();
	snprintf(pid, sizeof pid, "process %d", (int)getpid());
	ck_assert_int_eq(private_pg_start(pg_test.dir, &second, message, sizeof message), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(message, pid));
	ck_assert_ptr_null(second);
	ck_assert_str_eq(value("SELECT 1"), "1");
}
END_TEST

START_TEST(private_pg_start_pid_file_names_another_process_starts)
{
	start();
	struct stat st;
	ck_assert_int_eq(stat(path_in("postgres"), &st), 0);
	pg_test_signal_all(pg_test.dir, SIGKILL);
	stop();
	const pid_t bystander = fork();
	if (bystander == 0) {
		if (geteuid() == 0 && setuid(st.st_uid) != 0)
			_exit(1);
		for (;;)
			pause();
	}
	/* the crashed postmaster's file, its pid now somebody else's */
	FILE *const f = fopen(path_in("postgres/postmaster.pid"), "r+");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_gt(fprintf(f, "%d\n", (int)bystander), 0);
	ck_assert_int_eq(fclose(f), 0);
	start();
	ck_assert_str_eq(value("SELECT 1"), "1");
	ck_assert_int_eq(kill(bystander, 0), 0);
	kill(bystander, SIGKILL);
	ck_assert_int_eq(waitpid(bystander, NULL, 0), bystander);
}
END_TEST

START_TEST(private_pg_start_long_directory_name_has_its_socket_elsewhere)
{
	char dir[300], socket_dir[300];
	snprintf(dir, sizeof dir, "%s/%0100d", pg_test.dir, 7);
	ck_assert_int_eq(private_pg_start(dir, &pg, message, sizeof message), ERR_OK);
	ck_assert_int_eq(sscanf(private_pg_url(pg), "host=%299s", socket_dir), 1);
	ck_assert_int_eq(strncmp(socket_dir, "/tmp/llmlab-", 12), 0);
	ck_assert_str_eq(value("SELECT 1"), "1");
	stop();
	ck_assert(!exists(socket_dir));
	/* and one that outlived its server is found by its pid file */
	server_killed_after_start(dir);
	ck_assert_int_eq(private_pg_start(dir, &pg, message, sizeof message), ERR_OK);
	ck_assert_str_eq(value("SELECT 1"), "1");
}
END_TEST

static int unfinished_in(const char *dir)
{
	int n = 0;
	DIR *const d = opendir(dir);
	for (const struct dirent *e = readdir(d); e; e = readdir(d))
		n += strncmp(e->d_name, "postgres.new.", 13) == 0;
	closedir(d);
	return n;
}

START_TEST(private_pg_start_after_a_kill_during_initdb_starts_over)
{
	char dir[128];
	pg_test_make_dir(dir, sizeof dir);
	int bitten = 0;
	for (int ms = 50; ms <= 650; ms += 200) {
		const pid_t owner = fork();
		if (owner == 0) {
			struct private_pg *mine = NULL;
			private_pg_start(dir, &mine, message, sizeof message);
			_exit(1);
		}
		wait_ms(ms);
		kill(owner, SIGKILL);
		ck_assert_int_eq(waitpid(owner, NULL, 0), owner);
		bitten += unfinished_in(dir);
	}
	ck_assert_int_gt(bitten, 0);
	const enum err e = private_pg_start(dir, &pg, message, sizeof message);
	ck_assert_msg(e == ERR_OK, "%s", message);
	ck_assert_int_eq(unfinished_in(dir), 0);
	ck_assert_str_eq(value("SELECT 1"), "1");
	stop();
	pg_test_remove_tree(dir);
}
END_TEST

START_TEST(private_pg_start_cluster_of_an_unknown_version_names_the_package)
{
	char dir[128], path[200];
	pg_test_make_dir(dir, sizeof dir);
	snprintf(path, sizeof path, "%s/postgres", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(chown(path, OTHER_USER, OTHER_USER), 0);
	snprintf(path, sizeof path, "%s/postgres/PG_VERSION", dir);
	FILE *const f = fopen(path, "we");
	fputs("7\n", f);
	fclose(f);
	ck_assert_int_eq(private_pg_start(dir, &pg, message, sizeof message), ERR_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(message, "postgresql-7"));
	pg_test_remove_tree(dir);
}
END_TEST

/* The same cluster under a postmaster that may lose what it acknowledged. */
static pid_t start_without_fsync(const char *bin_dir, uid_t owner)
{
	char program[300], pgdata[300];
	snprintf(program, sizeof program, "%s/postgres", bin_dir);
	snprintf(pgdata, sizeof pgdata, "%s/postgres", pg_test.dir);
	const pid_t pid = fork();
	if (pid == 0) {
		if (geteuid() == 0 && setuid(owner) != 0)
			_exit(1);
		dup2(open("/dev/null", O_WRONLY), 2);
		execl(program, program, "-D", pgdata, "-k", pgdata, "-c", "listen_addresses=", "-c",
			"fsync=off", NULL);
		_exit(1);
	}
	return pid;
}

START_TEST(db_conn_ready_database_without_fsync_is_refused)
{
	char bin_dir[256], url[400];
	struct stat st;
	start();
	snprintf(bin_dir, sizeof bin_dir, "%s", value("SELECT setting FROM pg_config WHERE name = 'BINDIR'"));
	stop();
	ck_assert_int_eq(stat(path_in("postgres"), &st), 0);
	const pid_t postmaster = start_without_fsync(bin_dir, st.st_uid);
	snprintf(url, sizeof url, "host=%s user=llmlab dbname=postgres", path_in("postgres"));
	while (PQping(url) != PQPING_OK)
		ck_assert_int_eq(waitpid(postmaster, NULL, WNOHANG), 0);
	struct db_conn *const c = pg_test_conn(url, 5 * US_PER_SECOND);
	ck_assert_int_eq(db_conn_ready(c), ERR_DATABASE_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(db_last_message(c), "fsync is off"));
	db_conn_free(c);
	kill(postmaster, SIGINT);
	ck_assert_int_eq(waitpid(postmaster, NULL, 0), postmaster);
}
END_TEST

/* ---- what needs root to set up ---- */

START_TEST(private_pg_start_as_an_ordinary_user_runs_as_that_user)
{
	char dir[128];
	if (geteuid() != 0)
		return; /* then all the other tests are this one */
	pg_test_make_dir(dir, sizeof dir);
	ck_assert_int_eq(chown(dir, OTHER_USER, OTHER_USER), 0);
	const pid_t child = fork();
	if (child == 0) {
		struct private_pg *mine = NULL;
		struct stat st;
		char proc[64];
		if (setgid(OTHER_USER) != 0 || setuid(OTHER_USER) != 0)
			_exit(2);
		if (private_pg_start(dir, &mine, message, sizeof message) != ERR_OK)
			_exit(3);
		snprintf(proc, sizeof proc, "/proc/%d", pid_in_file(dir));
		const bool as_us = stat(proc, &st) == 0 && st.st_uid == OTHER_USER;
		const bool answers = strcmp(pg_test_value(private_pg_url(mine), "SELECT 1"), "1") == 0;
		private_pg_stop(mine);
		_exit(as_us && answers ? 0 : 4);
	}
	int status = 0;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(pg_test_signal_all(dir, 0), 0);
	/* and root goes on with it, as that user */
	ck_assert_int_eq(private_pg_start(dir, &pg, message, sizeof message), ERR_OK);
	ck_assert_str_eq(value("SELECT 1"), "1");
	stop();
	pg_test_remove_tree(dir);
}
END_TEST

START_TEST(private_pg_start_other_users_cluster_is_refused)
{
	char dir[128], path[200];
	if (geteuid() != 0)
		return;
	pg_test_make_dir(dir, sizeof dir);
	ck_assert_int_eq(chown(dir, OTHER_USER, OTHER_USER), 0);
	snprintf(path, sizeof path, "%s/postgres", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(chown(path, 12345, 12345), 0);
	const pid_t child = fork();
	if (child == 0) {
		struct private_pg *mine = NULL;
		if (setuid(OTHER_USER) != 0 ||
			private_pg_start(dir, &mine, message, sizeof message) != ERR_UNAVAILABLE)
			_exit(2);
		_exit(strstr(message, "belongs to user 12345") ? 0 : 3);
	}
	int status = 0;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	pg_test_remove_tree(dir);
}
END_TEST

START_TEST(private_pg_start_as_root_below_a_closed_directory_names_it)
{
	char dir[128], path[200], cure[200];
	if (geteuid() != 0)
		return;
	pg_test_make_dir(dir, sizeof dir);
	ck_assert_int_eq(chmod(dir, 0700), 0);
	snprintf(path, sizeof path, "%s/data", dir);
	snprintf(cure, sizeof cure, "chmod o+x %s,", dir);
	ck_assert_int_eq(private_pg_start(path, &pg, message, sizeof message), ERR_UNAVAILABLE);
	ck_assert_msg(strstr(message, cure) != NULL, "%s", message);
	pg_test_remove_tree(dir);
}
END_TEST

START_TEST(private_pg_start_as_root_with_roots_cluster_is_refused)
{
	char dir[128], path[200];
	if (geteuid() != 0)
		return;
	pg_test_make_dir(dir, sizeof dir);
	snprintf(path, sizeof path, "%s/postgres", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(private_pg_start(dir, &pg, message, sizeof message), ERR_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(message, "belongs to root"));
	pg_test_remove_tree(dir);
}
END_TEST

static Suite *make_suite(void)
{
	Suite *const s = suite_create("db private_pg");
	TCase *const t = tcase_create("private_pg");
	tcase_add_checked_fixture(t, no_setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, private_pg_start_cluster_is_as_promised);
	tcase_add_test(t, private_pg_start_postmaster_has_a_session_of_its_own);
	tcase_add_test(t, private_pg_stop_leaves_no_process_and_start_keeps_data);
	tcase_add_test(t, private_pg_stop_does_not_wait_for_open_transactions);
	tcase_add_test(t, private_pg_start_after_all_of_postgres_was_killed_recovers);
	tcase_add_test(t, private_pg_start_after_only_the_postmaster_was_killed_recovers);
	tcase_add_test(t, private_pg_start_after_the_server_was_killed_reuses_and_stops_it);
	tcase_add_test(t, private_pg_start_second_server_is_refused_by_name);
	tcase_add_test(t, private_pg_start_pid_file_names_another_process_starts);
	tcase_add_test(t, private_pg_start_long_directory_name_has_its_socket_elsewhere);
	tcase_add_test(t, private_pg_start_after_a_kill_during_initdb_starts_over);
	tcase_add_test(t, private_pg_start_cluster_of_an_unknown_version_names_the_package);
	tcase_add_test(t, db_conn_ready_database_without_fsync_is_refused);
	tcase_add_test(t, private_pg_start_as_an_ordinary_user_runs_as_that_user);
	tcase_add_test(t, private_pg_start_other_users_cluster_is_refused);
	tcase_add_test(t, private_pg_start_as_root_below_a_closed_directory_names_it);
	tcase_add_test(t, private_pg_start_as_root_with_roots_cluster_is_refused);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	pg_test_start();
	private_pg_stop(pg_test.pg); /* the tests start it themselves */
	pg_test.pg = NULL;
	SRunner *const runner = srunner_create(make_suite());
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_test_stop();
	return failed == 0 ? 0 : 1;
}
