/* A private PostgreSQL for a server without DATABASE_URL: makes the cluster, starts the postmaster, finds one
 * that outlived a killed server, and stops it. Crash-safe at every step: the cluster is made aside and
 * renamed when complete, the lock belongs to the open file and so ends with the server, and whatever an
 * earlier run left is recognised by its working directory (PostgreSQL's processes stay in their data
 * directory), never by a process id alone.
 *
 * The postmaster has a session of its own, so that Ctrl-C on the terminal reaches the server alone, which
 * drains before it stops the database. It does not die with the server: after kill -9 the next start goes on
 * with it.
 *
 * Who may connect is a matter of the socket's directory: it has mode 0700 and belongs to the user that runs
 * PostgreSQL, so only that user and root reach the socket, with `trust` behind it. `peer` with a user map
 * would admit exactly the same two and add a file that could be wrong. TCP is never listened on.
 *
 * Not responsible for what is in the database, nor for the connections to it (conn.c). */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/db/private_pg.h"
#include "pg_programs.h"

#define START_LIMIT_US	  (60 * US_PER_SECOND)
#define FAST_STOP_US	  (20 * US_PER_SECOND)
#define IMMEDIATE_STOP_US (10 * US_PER_SECOND)
#define LAST_STOP_US	  (2 * US_PER_SECOND) /* for the immediate one, where the time is limited */
#define POLL_US		  (10 * US_PER_MS)
#define REMOVE_ATTEMPTS	  200
#define LOG_MAX_BYTES	  (10 * 1024 * 1024)
/* sun_path has 108 bytes: the directory, "/.s.PGSQL.5432" and ".lock" for PostgreSQL's own lock file, and a
 * NUL */
#define SOCKET_DIR_MAX 88

struct private_pg {
	char data_dir[PATH_MAX]; /* absolute */
	char pgdata[PATH_MAX];	 /* <data_dir>/postgres */
	char log_path[PATH_MAX]; /* <data_dir>/postgres.log */
	char bin_dir[PATH_MAX];
	char socket_dir[PATH_MAX];
	char url[PATH_MAX + 64];
	struct pg_identity identity;
	int lock_fd;	  /* flock is held while open; -1: none */
	pid_t postmaster; /* 0: none */
	bool is_child;	  /* ours to wait for */
	char *message;	  /* of private_pg_start()'s caller */
	size_t message_size;
};

static enum err fail(const struct private_pg *pg, enum err e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static enum err fail(const struct private_pg *pg, enum err e, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(pg->message, pg->message_size, fmt, args);
	va_end(args);
	return e;
}

static bool join(char out[PATH_MAX], const char *dir, const char *name)
{
	const int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
	return n > 0 && n < PATH_MAX;
}

static void pause_us(int64_t us)
{
	const struct timespec t = {.tv_sec = us / US_PER_SECOND, .tv_nsec = us % US_PER_SECOND * 1000};
	nanosleep(&t, NULL);
}

/* ---- directories and the lock ---- */

static bool make_dirs(const char *path)
{
	char part[PATH_MAX];
	for (const char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		snprintf(part, sizeof part, "%.*s", (int)(at - path), path);
		if (mkdir(part, 0755) != 0 && errno != EEXIST)
			return false;
	}
	/* others may pass through to what is theirs inside, no more */
	return mkdir(path, 0711) == 0 || errno == EEXIST;
}

static enum err find_paths(struct private_pg *pg, const char *data_dir)
{
	if (data_dir[0] == '\0' || strlen(data_dir) >= PATH_MAX)
		return fail(pg, ERR_UNAVAILABLE, "the data directory's name is empty or too long");
	if (!make_dirs(data_dir) || !realpath(data_dir, pg->data_dir))
		return fail(pg, ERR_UNAVAILABLE, "the data directory %s cannot be made: %s", data_dir,
			strerror(errno));
	if (!join(pg->pgdata, pg->data_dir, "postgres") || !join(pg->log_path, pg->data_dir, "postgres.log"))
		return fail(pg, ERR_UNAVAILABLE, "the data directory's name is too long");
	return ERR_OK;
}

static enum err take_lock(struct private_pg *pg)
{
	char path[PATH_MAX], holder[24] = "";
	if (!join(path, pg->data_dir, "lock"))
		return fail(pg, ERR_UNAVAILABLE, "the data directory's name is too long");
	pg->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (pg->lock_fd < 0)
		return fail(pg, ERR_UNAVAILABLE, "%s cannot be opened: %s", path, strerror(errno));
	if (flock(pg->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		const ssize_t n = pread(pg->lock_fd, holder, sizeof holder - 1, 0);
		holder[n > 0 ? n : 0] = '\0';
		holder[strcspn(holder, "\n")] = '\0';
		return fail(pg, ERR_CONFLICT,
			"another server (process %s) uses %s: stop it, or give this one its own "
			"LLMLAB_DATA_DIR",
			holder, pg->data_dir);
	}
	const int n = snprintf(holder, sizeof holder, "%ld\n", (long)getpid());
	if (ftruncate(pg->lock_fd, 0) != 0 || pwrite(pg->lock_fd, holder, (size_t)n, 0) != n)
		return fail(pg, ERR_UNAVAILABLE, "%s cannot be written: %s", path, strerror(errno));
	return ERR_OK;
}

/* Makes a directory that only the database's user can enter, or makes an existing one so. */
static bool own_dir(const char *path, const struct pg_identity *id)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return false;
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	const bool ok = (!id->drop || fchown(fd, id->uid, id->gid) == 0) && fchmod(fd, 0700) == 0;
	close(fd);
	return ok;
}

static enum err find_identity(struct private_pg *pg)
{
	char dir[PATH_MAX];
	struct stat st;
	const bool exists = stat(pg->pgdata, &st) == 0;
	pg->identity = pg_identity_find(pg->pgdata);
	if (exists && st.st_uid == 0)
		return fail(pg, ERR_UNAVAILABLE,
			"%s belongs to root, and PostgreSQL refuses to run as root: give it to another user "
			"with chown -R",
			pg->pgdata);
	if (exists && st.st_uid != pg->identity.uid)
		return fail(pg, ERR_UNAVAILABLE,
			"%s belongs to user %u: run this server as that user, or set LLMLAB_DATA_DIR to "
			"another directory",
			pg->pgdata, (unsigned)st.st_uid);
	if (pg_path_is_closed(pg->data_dir, &pg->identity, dir))
		return fail(pg, ERR_UNAVAILABLE,
			"PostgreSQL runs as user %u, who may not enter %s: run chmod o+x %s, or set "
			"LLMLAB_DATA_DIR to a "
			"directory elsewhere",
			(unsigned)pg->identity.uid, dir, dir);
	return ERR_OK;
}

static int open_log(const struct private_pg *pg)
{
	struct stat st;
	char old[PATH_MAX];
	if (stat(pg->log_path, &st) == 0 && st.st_size > LOG_MAX_BYTES &&
		join(old, pg->data_dir, "postgres.log.1"))
		(void)rename(pg->log_path, old); /* else it goes on growing */
	return open(pg->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* The last line of the log, for a message. */
static void last_log_line(const struct private_pg *pg, char *line, size_t size)
{
	char tail[1024] = "";
	const int fd = open(pg->log_path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		const off_t end = lseek(fd, 0, SEEK_END);
		const off_t from = end > (off_t)sizeof tail ? end - (off_t)(sizeof tail - 1) : 0;
		const ssize_t n = pread(fd, tail, sizeof tail - 1, from);
		tail[n > 0 ? n : 0] = '\0';
		close(fd);
	}
	size_t n = strlen(tail);
	while (n > 0 && tail[n - 1] == '\n')
		tail[--n] = '\0';
	const char *const last = strrchr(tail, '\n');
	snprintf(line, size, "%s", last ? last + 1 : tail);
}

/* ---- processes, by where they work ---- */

/* Whether the process works in the directory, as all of PostgreSQL's do in their cluster's. */
static bool works_in(pid_t pid, const struct stat *dir)
{
	char path[64];
	struct stat st;
	snprintf(path, sizeof path, "/proc/%ld/cwd", (long)pid);
	return stat(path, &st) == 0 && st.st_dev == dir->st_dev && st.st_ino == dir->st_ino;
}

/* Sends the signal (0: none) to every process that works in the directory and counts them. */
static int signal_processes_in(const char *dir, int sig)
{
	struct stat st;
	DIR *const d = opendir("/proc");
	int count = 0;
	if (d && stat(dir, &st) == 0) {
		for (const struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
			const long pid = strtol(entry->d_name, NULL, 10);
			if (pid <= 1 || pid == (long)getpid() || !works_in((pid_t)pid, &st))
				continue;
			count++;
			if (sig != 0)
				kill((pid_t)pid, sig);
		}
	}
	if (d)
		closedir(d);
	return count;
}

/* ---- making the cluster ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *position)
{
	(void)st;
	(void)type;
	(void)position;
	return remove(path);
}

/* initdb dies with its server, but a child of it may still write here for a moment. */
static void remove_tree(const char *dir)
{
	for (int i = 0; i < REMOVE_ATTEMPTS && access(dir, F_OK) == 0; i++) {
		if (i > 0)
			pause_us(POLL_US);
		signal_processes_in(dir, SIGKILL);
		nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	}
}

/* What a kill in the middle of initdb left behind. */
static void remove_unfinished(const struct private_pg *pg)
{
	static const char prefix[] = "postgres.new.";
	DIR *const d = opendir(pg->data_dir);
	if (!d)
		return;
	for (const struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
		char path[PATH_MAX];
		if (strncmp(entry->d_name, prefix, sizeof prefix - 1) == 0 &&
			join(path, pg->data_dir, entry->d_name))
			remove_tree(path);
	}
	closedir(d);
}

static bool locale_exists(const char *name)
{
	const locale_t l = newlocale(LC_CTYPE_MASK, name, NULL);
	if (!l)
		return false;
	freelocale(l);
	return true;
}

/* Text sorts by code point (C), which no update of the system's locales can change under an index. */
static enum err run_initdb(const struct private_pg *pg, const char *dir)
{
	char program[PATH_MAX], line[512];
	if (!join(program, pg->bin_dir, "initdb"))
		return fail(pg, ERR_UNAVAILABLE, "the path of initdb is too long");
	const int log_fd = open_log(pg);
	if (log_fd < 0)
		return fail(pg, ERR_UNAVAILABLE, "%s cannot be opened: %s", pg->log_path, strerror(errno));
	const char *const ctype = locale_exists("C.UTF-8") ? "--lc-ctype=C.UTF-8" : "--lc-ctype=C";
	const char *const argv[] = {program, "-D", dir, "-U", "llmlab", "--auth-local=trust",
		"--auth-host=reject", "--encoding=UTF8", "--locale=C", ctype, "--data-checksums",
		"--no-instructions", NULL};
	const struct pg_command command = {.argv = argv,
		.identity = pg->identity,
		.output_fd = log_fd,
		.own_session = true,
		.dies_with_parent = true};
	const pid_t pid = pg_spawn(&command);
	close(log_fd);
	const int status = pid > 0 ? pg_wait(pid) : -1;
	if (status == 0)
		return ERR_OK;
	if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == PG_EXIT_IDENTITY)
		return fail(pg, ERR_UNAVAILABLE,
			"the server runs as root and cannot become user %u to run PostgreSQL",
			(unsigned)pg->identity.uid);
	last_log_line(pg, line, sizeof line);
	return fail(pg, ERR_UNAVAILABLE, "initdb failed: %s (see %s)", line, pg->log_path);
}

static bool sync_dir(const char *path)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	const bool ok = fsync(fd) == 0;
	close(fd);
	return ok;
}

/* initdb syncs what it made before it ends; the rename makes it the cluster in one step. */
static enum err make_cluster(struct private_pg *pg)
{
	char dir[PATH_MAX];
	if (!join(dir, pg->data_dir, "postgres.new.XXXXXX") || !mkdtemp(dir) || !own_dir(dir, &pg->identity))
		return fail(pg, ERR_UNAVAILABLE, "%s cannot be written: %s", pg->data_dir, strerror(errno));
	const enum err e = run_initdb(pg, dir);
	if (e != ERR_OK)
		return e;
	if (rename(dir, pg->pgdata) != 0 || !sync_dir(pg->data_dir))
		return fail(
			pg, ERR_UNAVAILABLE, "%s cannot be put in place: %s", pg->pgdata, strerror(errno));
	LOG_INFO("private database made", LOG_S("directory", pg->pgdata));
	return ERR_OK;
}

/* The cluster's major version; "" when there is none yet. */
static enum err read_version(const struct private_pg *pg, char *major, size_t size)
{
	char path[PATH_MAX];
	major[0] = '\0';
	if (!join(path, pg->pgdata, "PG_VERSION"))
		return fail(pg, ERR_UNAVAILABLE, "the data directory's name is too long");
	FILE *const f = fopen(path, "re");
	if (!f) {
		/* renaming over an empty directory is fine, over anything else it is refused */
		if (errno == ENOENT)
			return ERR_OK;
		return fail(pg, ERR_UNAVAILABLE, "%s cannot be read: %s", path, strerror(errno));
	}
	const bool read = fgets(major, (int)size, f) != NULL;
	fclose(f);
	if (!read)
		return fail(pg, ERR_UNAVAILABLE, "%s is empty: the cluster is damaged", path);
	major[strcspn(major, "\n")] = '\0';
	return ERR_OK;
}

static enum err prepare_cluster(struct private_pg *pg)
{
	char major[16];
	enum err e = read_version(pg, major, sizeof major);
	if (e != ERR_OK)
		return e;
	if (!pg_programs_find(major, pg->bin_dir)) {
		if (major[0] != '\0' && pg_programs_find("", pg->bin_dir))
			return fail(pg, ERR_NOT_FOUND,
				"the cluster in %s was made by PostgreSQL %s, whose programs were not found: "
				"install the "
				"package postgresql-%s",
				pg->pgdata, major, major);
		return fail(pg, ERR_NOT_FOUND,
			"PostgreSQL's server programs were not found: install the package postgresql "
			"(apt-get install "
			"postgresql) or set DATABASE_URL");
	}
	remove_unfinished(pg);
	return major[0] == '\0' ? make_cluster(pg) : ERR_OK;
}

/* ---- the processes of the cluster ---- */

static bool is_of_cluster(const struct private_pg *pg, pid_t pid)
{
	struct stat st;
	return pid > 0 && stat(pg->pgdata, &st) == 0 && works_in(pid, &st);
}

static bool wait_cluster_gone(const struct private_pg *pg, int64_t limit_us)
{
	const int64_t deadline_us = clock_mono_us() + limit_us;
	while (signal_processes_in(pg->pgdata, 0) > 0) {
		if (clock_mono_us() >= deadline_us)
			return false;
		pause_us(POLL_US);
	}
	return true;
}

/* postmaster.pid: the process id in the first line, the socket's directory in the fifth. */
static pid_t read_pid_file(const struct private_pg *pg, char *socket_dir, size_t size)
{
	char path[PATH_MAX], line[PATH_MAX];
	long pid = 0;
	socket_dir[0] = '\0';
	if (!join(path, pg->pgdata, "postmaster.pid"))
		return 0;
	FILE *const f = fopen(path, "re");
	if (!f)
		return 0;
	for (int i = 1; i <= 5 && fgets(line, sizeof line, f); i++) {
		line[strcspn(line, "\n")] = '\0';
		if (i == 1)
			pid = strtol(line, NULL, 10);
		else if (i == 5)
			snprintf(socket_dir, size, "%s", line);
	}
	fclose(f);
	return pid > 1 ? (pid_t)pid : 0;
}

/* A backend that outlived its postmaster serves nobody (its clients' server is dead too: we hold the lock),
 * but holds the shared memory that a new postmaster refuses to share. Ending it at once is what the crash
 * would have done. */
static enum err end_orphans(const struct private_pg *pg)
{
	if (signal_processes_in(pg->pgdata, SIGQUIT) == 0)
		return ERR_OK;
	LOG_WARN("private database: processes of a killed postmaster are ended",
		LOG_S("directory", pg->pgdata));
	if (wait_cluster_gone(pg, IMMEDIATE_STOP_US))
		return ERR_OK;
	signal_processes_in(pg->pgdata, SIGKILL);
	if (wait_cluster_gone(pg, IMMEDIATE_STOP_US))
		return ERR_OK;
	return fail(pg, ERR_UNAVAILABLE, "processes of an earlier PostgreSQL in %s do not end", pg->pgdata);
}

/* PostgreSQL takes a pid file for live when any process of its user has that id, which in a container is
 * likely after a crash. We know better: that process does not work in the cluster's directory. */
static void forget_reused_pid(const struct private_pg *pg)
{
	char path[PATH_MAX], socket_dir[PATH_MAX];
	const pid_t pid = read_pid_file(pg, socket_dir, sizeof socket_dir);
	if (pid == 0 || (kill(pid, 0) != 0 && errno == ESRCH) || is_of_cluster(pg, pid))
		return;
	if (join(path, pg->pgdata, "postmaster.pid"))
		unlink(path);
	if (socket_dir[0] == '/' && join(path, socket_dir, ".s.PGSQL.5432.lock"))
		unlink(path);
}

/* ---- starting ---- */

/* PostgreSQL takes lists of directories, so the name must be plain; and short. */
static bool is_socket_dir(const char *dir)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+";
	return strlen(dir) <= SOCKET_DIR_MAX && dir[strspn(dir, plain)] == '\0';
}

static enum err make_socket_dir(struct private_pg *pg)
{
	if (join(pg->socket_dir, pg->data_dir, "run") && is_socket_dir(pg->socket_dir)) {
		if (own_dir(pg->socket_dir, &pg->identity))
			return ERR_OK;
		return fail(pg, ERR_UNAVAILABLE, "%s cannot be made: %s", pg->socket_dir, strerror(errno));
	}
	snprintf(pg->socket_dir, sizeof pg->socket_dir, "/tmp/llmlab-XXXXXX");
	if (!mkdtemp(pg->socket_dir) || !own_dir(pg->socket_dir, &pg->identity))
		return fail(pg, ERR_UNAVAILABLE, "a directory for the socket cannot be made in /tmp: %s",
			strerror(errno));
	LOG_INFO("private database: the data directory's name does not do for a socket",
		LOG_S("socket", pg->socket_dir));
	return ERR_OK;
}

/* What durability and the socket depend on is given here, where no edited file can change it. */
static enum err spawn_postmaster(struct private_pg *pg)
{
	char program[PATH_MAX], socket_setting[PATH_MAX + 32];
	if (!join(program, pg->bin_dir, "postgres"))
		return fail(pg, ERR_UNAVAILABLE, "the path of postgres is too long");
	snprintf(socket_setting, sizeof socket_setting, "unix_socket_directories=%s", pg->socket_dir);
	const int log_fd = open_log(pg);
	if (log_fd < 0)
		return fail(pg, ERR_UNAVAILABLE, "%s cannot be opened: %s", pg->log_path, strerror(errno));
	const char *const argv[] = {program, "-D", pg->pgdata, "-c", "listen_addresses=", "-c",
		socket_setting, "-c", "port=5432", "-c", "unix_socket_permissions=0700", "-c",
		"max_connections=50", "-c", "shared_buffers=128MB", "-c", "fsync=on", "-c",
		"full_page_writes=on", "-c", "synchronous_commit=on", "-c", "restart_after_crash=on", "-c",
		"max_wal_size=1GB", "-c", "wal_compression=on", "-c", "random_page_cost=1.1", "-c",
		"logging_collector=off", "-c", "log_destination=stderr", "-c", "log_checkpoints=off", "-c",
		"log_min_error_statement=panic", "-c", "log_error_verbosity=terse", "-c", "timezone=UTC",
		"-c", "log_timezone=UTC", "-c", "cluster_name=llmlab", NULL};
	const struct pg_command command = {
		.argv = argv, .identity = pg->identity, .output_fd = log_fd, .own_session = true};
	const pid_t pid = pg_spawn(&command);
	close(log_fd);
	if (pid < 0)
		return fail(pg, ERR_UNAVAILABLE, "PostgreSQL cannot be started: %s", strerror(errno));
	pg->postmaster = pid;
	pg->is_child = true;
	return ERR_OK;
}

static void write_url(struct private_pg *pg)
{
	snprintf(pg->url, sizeof pg->url, "host=%s port=5432 user=llmlab dbname=postgres", pg->socket_dir);
}

/* True once the postmaster is no more; takes its exit status if it is our child. */
static bool postmaster_gone(struct private_pg *pg)
{
	if (pg->postmaster == 0)
		return true;
	const bool gone = pg->is_child ? waitpid(pg->postmaster, NULL, WNOHANG) != 0
				       : !is_of_cluster(pg, pg->postmaster);
	if (gone)
		pg->postmaster = 0;
	return gone;
}

/* Waits until the postmaster takes connections. ERR_NOT_FOUND: it ended instead. */
static enum err wait_until_ready(struct private_pg *pg)
{
	write_url(pg);
	char ping_url[sizeof pg->url + 32];
	snprintf(ping_url, sizeof ping_url, "%s connect_timeout=2", pg->url);
	const int64_t deadline_us = clock_mono_us() + START_LIMIT_US;
	while (clock_mono_us() < deadline_us) {
		if (postmaster_gone(pg))
			return ERR_NOT_FOUND;
		if (PQping(ping_url) == PQPING_OK)
			return ERR_OK;
		pause_us(POLL_US);
	}
	return fail(pg, ERR_UNAVAILABLE,
		"PostgreSQL in %s is not ready after %d s (recovering from a crash, or stopped): it is left "
		"running, start "
		"again later (see %s)",
		pg->pgdata, (int)(START_LIMIT_US / US_PER_SECOND), pg->log_path);
}

/* Takes over a postmaster that outlived its server. ERR_NOT_FOUND: there is none (any more). */
static enum err reuse_postmaster(struct private_pg *pg)
{
	const int64_t deadline_us = clock_mono_us() + START_LIMIT_US;
	for (;;) {
		const pid_t pid = read_pid_file(pg, pg->socket_dir, sizeof pg->socket_dir);
		if (!is_of_cluster(pg, pid))
			return ERR_NOT_FOUND;
		pg->postmaster = pid;
		pg->is_child = false;
		if (pg->socket_dir[0] == '/')
			break;
		/* it is so young that its pid file is not complete */
		if (clock_mono_us() >= deadline_us)
			return fail(pg, ERR_UNAVAILABLE, "PostgreSQL in %s does not come up", pg->pgdata);
		pause_us(POLL_US);
	}
	const enum err e = wait_until_ready(pg);
	if (e == ERR_OK)
		LOG_INFO("private database found running", LOG_S("directory", pg->pgdata),
			LOG_I("pid", pg->postmaster));
	return e;
}

static enum err start_postmaster(struct private_pg *pg)
{
	enum err e = end_orphans(pg);
	if (e != ERR_OK)
		return e;
	forget_reused_pid(pg);
	e = make_socket_dir(pg);
	if (e == ERR_OK)
		e = spawn_postmaster(pg);
	if (e == ERR_OK)
		e = wait_until_ready(pg);
	if (e != ERR_NOT_FOUND) {
		if (e == ERR_OK)
			LOG_INFO("private database started", LOG_S("directory", pg->pgdata),
				LOG_I("pid", pg->postmaster));
		return e;
	}
	char line[512];
	last_log_line(pg, line, sizeof line);
	return fail(pg, ERR_UNAVAILABLE, "PostgreSQL ended while starting: %s (see %s)", line, pg->log_path);
}

static enum err start(struct private_pg *pg, const char *data_dir)
{
	enum err e = find_paths(pg, data_dir);
	if (e == ERR_OK)
		e = take_lock(pg);
	if (e == ERR_OK)
		e = find_identity(pg);
	if (e == ERR_OK)
		e = prepare_cluster(pg);
	if (e != ERR_OK)
		return e;
	e = reuse_postmaster(pg);
	return e == ERR_NOT_FOUND ? start_postmaster(pg) : e;
}

static void release(struct private_pg *pg)
{
	if (pg->lock_fd >= 0)
		close(pg->lock_fd);
	free(pg);
}

enum err private_pg_start(const char *data_dir, struct private_pg **ret, char *message, size_t message_size)
{
	if (message_size > 0)
		message[0] = '\0';
	struct private_pg *const pg = calloc(1, sizeof *pg);
	if (!pg)
		return ERR_NO_MEMORY;
	pg->lock_fd = -1;
	pg->message = message;
	pg->message_size = message_size;
	const enum err e = start(pg, data_dir);
	if (e != ERR_OK) {
		release(pg);
		return e;
	}
	*ret = pg;
	return ERR_OK;
}

const char *private_pg_url(const struct private_pg *pg)
{
	return pg->url;
}

/* ---- stopping ---- */

static bool wait_postmaster_gone(struct private_pg *pg, int64_t limit_us)
{
	const int64_t deadline_us = clock_mono_us() + limit_us;
	while (!postmaster_gone(pg)) {
		if (clock_mono_us() >= deadline_us)
			return false;
		pause_us(POLL_US);
	}
	return true;
}

static void stop_within(struct private_pg *pg, int64_t fast_us, int64_t immediate_us)
{
	if (!pg)
		return;
	if (!postmaster_gone(pg)) {
		kill(pg->postmaster, SIGINT);
		if (!wait_postmaster_gone(pg, fast_us)) {
			LOG_WARN("private database: fast shutdown took too long, immediate one follows");
			kill(pg->postmaster, SIGQUIT);
			if (!wait_postmaster_gone(pg, immediate_us))
				LOG_WARN("private database: it does not stop, and is left behind");
		}
	}
	if (pg->postmaster == 0)
		rmdir(pg->socket_dir);
	release(pg);
}

void private_pg_stop(struct private_pg *pg)
{
	stop_within(pg, FAST_STOP_US, IMMEDIATE_STOP_US);
}

void private_pg_stop_by(struct private_pg *pg, int64_t mono_us)
{
	const int64_t left_us = mono_us - clock_mono_us() - LAST_STOP_US;
	const int64_t fast_us = left_us < US_PER_SECOND ? US_PER_SECOND : left_us;
	stop_within(pg, fast_us < FAST_STOP_US ? fast_us : FAST_STOP_US, LAST_STOP_US);
}
