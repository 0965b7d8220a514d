#ifndef LLMLAB_DB_HISTORY_H
#define LLMLAB_DB_HISTORY_H

#include "llmlab/db/conn.h"

/* Whether what a process remembers of the database is still part of its history. A database may be set back under running
 * servers (restored in place, or a standby that had not seen everything takes over), and nothing in a connection tells. So
 * whoever remembers something leaves a random number in a row of his own, another one whenever he has learned more: as long as the
 * newest one is there, all that he saw before he wrote it has happened. */
struct history_mark {
	bool set;
	struct uuid holder; /* whose row; random, anew whenever `set` was false */
	struct uuid mark;
};

/* What *m becomes when it is written: another mark, of another holder if there was none. */
struct history_mark history_next(const struct history_mark *m);

/* Writes next in place of *m, and takes it over. ERR_NOT_FOUND: *m is not there any more. After any error *m is not set: what was
 * remembered under it counts for nothing. The other errors are db/conn.h's. */
enum err history_move(struct db_conn *c, struct history_mark *m);
/* ERR_NOT_FOUND: *m (which is set) is not there any more; then it is not set. Other errors leave it as it is. */
enum err history_check(struct db_conn *c, struct history_mark *m);
/* Marks that have not been moved for a week; whose holder still lives, he takes it for a set-back, which costs him a reload. */
enum err history_purge(struct db_conn *c);

/* The same as statements for db_pipeline(): both fail with SQLSTATE 22012 (ERR_DB_CONSTRAINT) when m is not there any more, and
 * with them the transaction. history_move_params(): of HISTORY_BEGIN if m is not set, else of HISTORY_MOVE. */
#define HISTORY_LOST_SQLSTATE "22012"
extern const struct db_stmt HISTORY_CHECK, HISTORY_BEGIN, HISTORY_MOVE;
void history_check_params(struct db_params *p, const struct history_mark *m, struct arena *arena);
void history_move_params(
	struct db_params *p, const struct history_mark *m, const struct history_mark *next, struct arena *arena);

#endif
