/* Finds and runs PostgreSQL's programs. Responsible for the identity they run as (never root), their
 * environment and their descriptors; not for what they are used for (private_pg.c). */

#include "pg_programs.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY_ID 65534

struct pg_identity pg_identity_find(const char *owned_dir)
{
	struct pg_identity id = {.uid = geteuid(), .gid = getegid()};
	if (id.uid != 0)
		return id;
	id.drop = true;
	struct stat st;
	if (owned_dir && stat(owned_dir, &st) == 0) {
		id.uid = st.st_uid;
		id.gid = st.st_gid;
		return id;
	}
	const struct passwd *pw = getpwnam("postgres");
	if (!pw)
		pw = getpwnam("nobody");
	id.uid = pw ? pw->pw_uid : NOBODY_ID;
	id.gid = pw ? pw->pw_gid : NOBODY_ID;
	return id;
}

/* First line of what a constant command prints; false if it printed none. */
static bool first_line_of(const char *command, char *line, size_t size)
{
	FILE *const f = popen(command, "re");
	if (!f)
		return false;
	const bool read = fgets(line, (int)size, f) != NULL;
	pclose(f);
	if (!read)
		return false;
	line[strcspn(line, "\n")] = '\0';
	return line[0] != '\0';
}

/* The major version that the name of Debian's directory or the program itself tells. */
static bool is_major(const char *bin_dir, const char *major)
{
	char command[PATH_MAX + 32], line[128];
	if (strchr(bin_dir, '\''))
		return false;
	snprintf(command, sizeof command, "'%s/postgres' -V 2>/dev/null", bin_dir);
	if (!first_line_of(command, line, sizeof line))
		return false;
	const char *const version = strpbrk(line, "0123456789"); /* "postgres (PostgreSQL) 15.20 (...)" */
	const size_t n = strlen(major);
	return version && strncmp(version, major, n) == 0 && (version[n] < '0' || version[n] > '9');
}

static bool has_programs(const char *bin_dir, const char *major, char *ret_bin_dir)
{
	char path[PATH_MAX];
	const char *const needed[] = {"postgres", "initdb"};
	for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
		const int n = snprintf(path, sizeof path, "%s/%s", bin_dir, needed[i]);
		if (n < 0 || (size_t)n >= sizeof path || access(path, X_OK) != 0)
			return false;
	}
	if (major[0] != '\0' && !is_major(bin_dir, major))
		return false;
	snprintf(ret_bin_dir, PATH_MAX, "%s", bin_dir);
	return true;
}

static bool find_by_pg_config(const char *major, char *ret_bin_dir)
{
	char line[PATH_MAX];
	return first_line_of("pg_config --bindir 2>/dev/null", line, sizeof line) &&
	       has_programs(line, major, ret_bin_dir);
}

static bool find_in_debian_dirs(const char *major, char *ret_bin_dir)
{
	static const char prefix[] = "/usr/lib/postgresql/";
	glob_t g;
	if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &g) != 0)
		return false;
	long newest = -1;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		const long version = strtol(g.gl_pathv[i] + sizeof prefix - 1, NULL, 10);
		if (version > newest && has_programs(g.gl_pathv[i], major, ret_bin_dir))
			newest = version;
	}
	globfree(&g);
	return newest >= 0;
}

static bool find_in_path(const char *major, char *ret_bin_dir)
{
	const char *at = getenv("PATH");
	while (at && *at != '\0') {
		const size_t n = strcspn(at, ":");
		char dir[PATH_MAX];
		if (n > 0 && n < sizeof dir) {
			memcpy(dir, at, n);
			dir[n] = '\0';
			if (has_programs(dir, major, ret_bin_dir))
				return true;
		}
		at += n + (at[n] == ':');
	}
	return false;
}

bool pg_programs_find(const char *major, char *ret_bin_dir)
{
	return find_by_pg_config(major, ret_bin_dir) || find_in_debian_dirs(major, ret_bin_dir) ||
	       find_in_path(major, ret_bin_dir);
}

/* ---- children: only async-signal-safe calls between fork and exec ---- */

static bool become(const struct pg_identity *id)
{
	if (!id->drop)
		return true;
	return setgroups(1, &id->gid) == 0 && setgid(id->gid) == 0 && setuid(id->uid) == 0 && setuid(0) != 0;
}

static void reset_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL); /* fails for the few that cannot be changed */
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool redirect(int output_fd)
{
	const int null_fd = open("/dev/null", O_RDONLY);
	return null_fd >= 0 && dup2(output_fd, 1) == 1 && dup2(output_fd, 2) == 2 && dup2(null_fd, 0) == 0 &&
	       close_range(3, UINT_MAX, 0) == 0;
}

static _Noreturn void run_child(const struct pg_command *command, char *const *argv)
{
	char *const no_environment[] = {NULL};
	reset_signals();
	umask(077);
	if (command->own_session)
		setsid();
	if (chdir("/") != 0 || !redirect(command->output_fd) || !become(&command->identity))
		_exit(PG_EXIT_IDENTITY);
	/* after the change of identity, which clears it */
	if (command->dies_with_parent)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): a command has a name */
	execve(argv[0], argv, no_environment);
	_exit(PG_EXIT_EXEC);
}

static void free_arguments(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}

/* execve() takes pointers to non-const chars that it does not change: the copies make the types true. */
static char **copy_arguments(const char *const *argv)
{
	size_t n = 0;
	while (argv[n])
		n++;
	char **const copy = calloc(n + 1, sizeof *copy);
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(argv[i]);
		if (!copy[i]) {
			free_arguments(copy);
			return NULL; /* a command without its last arguments is another one */
		}
	}
	return copy;
}

pid_t pg_spawn(const struct pg_command *command)
{
	char **const argv = copy_arguments(command->argv);
	if (!argv)
		return -1;
	const pid_t pid = fork();
	if (pid == 0)
		run_child(command, argv);
	free_arguments(argv);
	return pid;
}

int pg_wait(pid_t pid)
{
	int status = -1;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

/* In a child with that identity: exits with 1 if the directory cannot be searched. */
static bool may_search(const char *dir, const struct pg_identity *identity)
{
	const pid_t pid = fork();
	if (pid == 0)
		_exit(become(identity) && access(dir, X_OK) == 0 ? 0 : 1);
	return pid > 0 && pg_wait(pid) == 0;
}

bool pg_path_is_closed(const char *path, const struct pg_identity *identity, char *ret_dir)
{
	if (!identity->drop)
		return false;
	for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
		const size_t n = at == path ? 1 : (size_t)(at - path);
		snprintf(ret_dir, PATH_MAX, "%.*s", (int)n, path);
		if (!may_search(ret_dir, identity))
			return true;
	}
	snprintf(ret_dir, PATH_MAX, "%s", path);
	return !may_search(path, identity);
}
