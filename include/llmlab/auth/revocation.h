#ifndef LLMLAB_AUTH_REVOCATION_H
#define LLMLAB_AUTH_REVOCATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/uuid.h"

/* The logged-out tokens this process knows, fed by a poller of the database (app/watch). Fails closed: when
 * the last successful poll began more than a second ago, the answer is REVOCATION_STALE and the caller must
 * ask the database or refuse. Thread-safe; reading takes a read lock only. Bounded: at most `max` tokens;
 * beyond it is always STALE. */
enum revocation { REVOCATION_NONE, REVOCATION_REVOKED, REVOCATION_STALE };

#define REVOCATION_FRESH_US 1000000

struct revocations;
struct revocations *revocations_new(size_t max);
void revocations_free(struct revocations *r);
/* Adds one (also called directly by logout, so that this server knows at once). Expired ones are dropped now
 * and then. */
void revocations_add(struct revocations *r, const struct uuid *token_id, int64_t expires_at_us);
/* A poll that began at mono_us has seen everything committed before it. */
void revocations_mark_fresh(struct revocations *r, int64_t mono_us);
enum revocation revocations_check(
	const struct revocations *r, const struct uuid *token_id, int64_t mono_now_us);
/* Drops those that expired before now_us. A clock that may be set back wants a margin: call it with an
 * earlier time. */
void revocations_purge(struct revocations *r, int64_t now_us);

#endif
