#ifndef LLMLAB_API_ANOMALY_MEMO_H
#define LLMLAB_API_ANOMALY_MEMO_H

#include "llmlab/api/anomaly_scan.h"

/* What was found out about unusual times (causes, contributors, dearest event), remembered with what it was
 * found out from, and told again only while that is the same to the last digit (docs/adr/0011). At most
 * ANOMALY_MEMO_ENTRIES of at most ANOMALY_MEMO_TEXT_BYTES of names each; a new one displaces the one of its
 * set that was used least recently. Decides nothing, asks nobody. Thread-safe. NULL is a memory that
 * remembers nothing. */
struct anomaly_memo;

#define ANOMALY_MEMO_ENTRIES	4096
#define ANOMALY_MEMO_TEXT_BYTES 4096

/* What an explanation stands on. The events of a user only become more, or get another price, which is in the
 * ledger; so one with the same calls and the same ledger is of the same events at the same prices. */
struct anomaly_basis {
	struct uuid user_id;
	char id[ANOMALY_ID_SIZE];  /* of the entry: granularity, begin and scope */
	int64_t before_us, end_us; /* the time that was looked at: with what it is compared, and itself */
	struct money cost, expected, upper; /* as they were found, before anything was explained */
	struct anomaly_window all;	    /* what all spend of that time was */
	struct spend_state state;
};
/* The basis of an entry that was found and not explained yet. */
struct anomaly_basis anomaly_basis_of(
	const struct uuid *user_id, const struct anomaly_entry *e, const struct spend_state *state);

/* Empty; NULL without memory. */
struct anomaly_memo *anomaly_memo_new(void);
/* NULL is fine. */
void anomaly_memo_free(struct anomaly_memo *m);
/* True with cost, causes, contributors and event_id of *e filled if they are remembered of exactly this
 * basis; names are copied to the arena. False also when the arena has overflowed. */
bool anomaly_memo_get(
	struct anomaly_memo *m, const struct anomaly_basis *b, struct arena *arena, struct anomaly_entry *e);
/* How often something was forgotten because it may not be true any more: asked for before what is explained
 * is read. */
uint64_t anomaly_memo_generation(struct anomaly_memo *m);
/* Remembers what explains *e, unless something was forgotten since that generation: it may have been read
 * before. Without memory for it, or with longer names, it is not remembered either. */
void anomaly_memo_put(struct anomaly_memo *m, uint64_t generation, const struct anomaly_basis *b,
	const struct anomaly_entry *e);
/* Forgets what is remembered of the user: the account is gone. */
void anomaly_memo_forget(struct anomaly_memo *m, const struct uuid *user_id);
/* Forgets everything: the database was set back. */
void anomaly_memo_clear(struct anomaly_memo *m);

#endif
