#ifndef LLMLAB_DB_PG_PROGRAMS_H
#define LLMLAB_DB_PG_PROGRAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* PostgreSQL's own programs: finding them and running them as somebody who is not root. Private to the db
 * layer. */

/* Whom the programs run as. */
struct pg_identity {
	uid_t uid;
	gid_t gid;
	bool drop; /* we are root and must become this user first */
};

/* root becomes the user who owns `owned_dir` (NULL or no such directory: postgres, else nobody); anybody else
 * stays. */
struct pg_identity pg_identity_find(const char *owned_dir);

/* The directory that holds postgres and initdb of that major version ("" for the newest found): what
 * pg_config names, then /usr/lib/postgresql/<newest>/bin, then PATH. False if there is none; ret has PATH_MAX
 * bytes. */
bool pg_programs_find(const char *major, char *ret_bin_dir);

struct pg_command {
	const char *const *argv; /* argv[0] is the path */
	struct pg_identity identity;
	int output_fd;	  /* becomes stdout and stderr */
	bool own_session; /* out of reach of the terminal's signals */
	bool dies_with_parent;
};

/* Exit statuses of a child that could not become what it should. */
#define PG_EXIT_IDENTITY 126
#define PG_EXIT_EXEC	 127

/* Starts it with an empty environment (but for PATH), no other descriptors and default signals. -1: no
 * process, see errno. */
pid_t pg_spawn(const struct pg_command *command);

/* Waits for its end; the wait status, or -1. */
int pg_wait(pid_t pid);

/* The first directory on the way to `path` that the identity may not search, written to ret (PATH_MAX bytes);
 * false when the whole way is open. */
bool pg_path_is_closed(const char *path, const struct pg_identity *identity, char *ret_dir);

#endif
