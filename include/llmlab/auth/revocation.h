#ifndef LLMLAB_AUTH_REVOCATION_H
#define LLMLAB_AUTH_REVOCATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/auth/principal.h"

/* What ended sessions and keys, as far as this process knows: logged-out tokens, and accounts whose generations were raised,
 * fed by a poller of the database (app/watch). Fails closed: when the last successful poll began more than a second ago, the answer is
 * REVOCATION_STALE and the caller must ask the database or refuse. Thread-safe; reading takes a read lock only. Bounded: at most `max`
 * tokens and accounts together; beyond it is always STALE. */
enum revocation {
	REVOCATION_NONE,
	REVOCATION_REVOKED, /* the session is dead */
	REVOCATION_STALE    /* not known here; also an API key that was looked up before one of its user's was deleted */
};

#define REVOCATION_FRESH_US 1000000

struct revocations;
struct revocations *revocations_new(size_t max);
void revocations_free(struct revocations *r);
/* Adds one (also called directly by logout, so that this server knows at once). Expired ones are dropped now
 * and then. */
void revocations_add(struct revocations *r, const struct uuid *token_id, int64_t expires_at_us);
/* Sessions of the account below the one generation are dead, API keys below the other must be looked up again. Generations only
 * rise: a lower one than is known changes nothing. Kept until expires_at_us, as tokens are. */
void revocations_add_account(struct revocations *r, const struct uuid *account, int64_t session_generation, int64_t key_generation,
	int64_t expires_at_us);
/* The database was set back, and generations with it: all accounts go, and everything is STALE until the next poll. */
void revocations_forget_accounts(struct revocations *r);
/* A poll that began at mono_us has seen everything committed before it. */
void revocations_mark_fresh(struct revocations *r, int64_t mono_us);
enum revocation revocations_check(const struct revocations *r, const struct principal *p, int64_t mono_now_us);
/* Drops those that expired before now_us. A clock that may be set back wants a margin: call it with an
 * earlier time. */
void revocations_purge(struct revocations *r, int64_t now_us);

#endif
