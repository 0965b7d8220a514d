#ifndef LLMLAB_DB_PRIVATE_PG_H
#define LLMLAB_DB_PRIVATE_PG_H

#include <stddef.h>
#include "llmlab/base/err.h"

/* A private PostgreSQL for servers without DATABASE_URL: cluster in <data_dir>/postgres, Unix socket only (never TCP), started and
 * stopped with the server, never as root (the child drops to an unprivileged user that owns the cluster). A second start
 * finds the cluster and goes on; a postmaster that outlived a killed server is reused. One server per data directory (lock file). */
struct private_pg;

/* Finds PostgreSQL's programs (pg_config --bindir, /usr/lib/postgresql/<newest>/bin, PATH), makes the cluster if there is none, starts it and waits until it
 * answers (60 s at most, for crash recovery). On failure message (size bytes) says what is wrong and what to do about it.
 * ERR_NOT_FOUND: no programs; ERR_CONFLICT: another server has the directory; ERR_UNAVAILABLE: everything else;
 * ERR_NO_MEMORY. It forks: call it before other threads start. The cluster runs as the user that owns it: as us, or if we
 * are root as postgres (else nobody). If the directory's name does not do for a socket (longer than 88 bytes, or
 * unusual characters) the socket is in a directory of mode 0700 in /tmp. */
enum err private_pg_start(const char *data_dir, struct private_pg **ret, char *message, size_t message_size);
/* Connection string for libpq; owned by pg. */
const char *private_pg_url(const struct private_pg *pg);
/* Fast shutdown (checkpoint), waits up to 20 s, then immediate. Frees. */
void private_pg_stop(struct private_pg *pg);
/* The same, but waits no longer than until then (and a second or two at least): a PostgreSQL that hangs is told to stop and
 * left behind; the next start waits for its end. */
void private_pg_stop_by(struct private_pg *pg, int64_t mono_us);

#endif
