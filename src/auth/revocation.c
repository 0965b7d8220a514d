/* What ended sessions and keys, in this process: two hash tables under a read-write lock, bounded, failing
 * closed. Whatever it cannot be sure of is STALE. It polls nothing and knows no clock: app/watch feeds it,
 * the authentication asks it. */
#include "llmlab/auth/revocation.h"
#include <pthread.h>
#include <stdlib.h>
#include "llmlab/base/check.h"

/* The hash of a token id. The ids are ours and end in 62 random bits, so that their last four bytes spread
 * evenly. */
static unsigned hash_id(const void *token_id)
{
	const struct uuid *u = token_id;
	const uint8_t *tail = u->bytes + 12;
	return (unsigned)tail[0] << 24 | (unsigned)tail[1] << 16 | (unsigned)tail[2] << 8 | tail[3];
}

#define HASH_FUNCTION(key, key_bytes, hash) ((hash) = hash_id(key))
/* Without this uthash ends the process when memory is short; add_new() looks for the failure. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct entry {
	struct uuid token_id; /* key */
	int64_t expires_at_us;
	UT_hash_handle hh;
};

/* An account whose generations were raised. */
struct account {
	struct uuid id; /* key */
	int64_t session_generation, key_generation;
	int64_t expires_at_us;
	UT_hash_handle hh;
};

struct revocations {
	pthread_rwlock_t *lock;	  /* owned; a pointer, so that a const set can be locked for reading */
	struct entry *table;	  /* owned entries */
	struct account *accounts; /* owned entries */
	size_t max;
	/* Until this wall-clock time the set lacks a token it had no room for: nothing it says of others is
	 * certain. 0: none. */
	int64_t incomplete_until_us;
	bool ever_fresh;
	int64_t fresh_mono_us; /* begin of the last successful poll */
};

static pthread_rwlock_t *lock_new(void)
{
	pthread_rwlock_t *lock = malloc(sizeof *lock);
	if (lock == NULL)
		return NULL;
	pthread_rwlockattr_t attr;
	CHECK(pthread_rwlockattr_init(&attr) == 0);
	/* Readers come on every request; a logout must not wait for a gap between them. */
	CHECK(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
	CHECK(pthread_rwlock_init(lock, &attr) == 0);
	CHECK(pthread_rwlockattr_destroy(&attr) == 0);
	return lock;
}

struct revocations *revocations_new(size_t max)
{
	struct revocations *r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->lock = lock_new();
	if (r->lock == NULL) {
		free(r);
		return NULL;
	}
	r->max = max;
	return r;
}

/* Frees every account that expired before now_us; INT64_MAX: all. */
static void drop_expired_accounts(struct revocations *r, int64_t now_us)
{
	struct account *a = NULL;
	struct account *next = NULL;
	HASH_ITER (hh, r->accounts, a, next) {
		if (a->expires_at_us >= now_us)
			continue;
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): frees the table with the last */
		HASH_DEL(r->accounts, a);
		free(a);
	}
}

/* Frees every entry that expired before now_us. */
static void drop_expired(struct revocations *r, int64_t now_us)
{
	struct entry *e = NULL;
	struct entry *next = NULL;
	HASH_ITER (hh, r->table, e, next) {
		if (e->expires_at_us >= now_us)
			continue;
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): frees the table with the last */
		HASH_DEL(r->table, e);
		free(e);
	}
}

void revocations_free(struct revocations *r)
{
	if (r == NULL)
		return;
	struct entry *e = NULL;
	struct entry *next = NULL;
	HASH_ITER (hh, r->table, e, next) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): frees the table with the last */
		HASH_DEL(r->table, e);
		free(e);
	}
	drop_expired_accounts(r, INT64_MAX);
	CHECK(pthread_rwlock_destroy(r->lock) == 0);
	free(r->lock);
	free(r);
}

static struct entry *find(const struct revocations *r, const struct uuid *token_id)
{
	struct entry *found = NULL;
	HASH_FIND(hh, r->table, token_id, sizeof *token_id, found);
	return found;
}

static struct account *find_account(const struct revocations *r, const struct uuid *id)
{
	struct account *found = NULL;
	HASH_FIND(hh, r->accounts, id, sizeof *id, found);
	return found;
}

static bool is_full(const struct revocations *r)
{
	return HASH_COUNT(r->table) + HASH_COUNT(r->accounts) >= r->max;
}

/* False if there is no room or no memory. */
static bool add_new(struct revocations *r, const struct uuid *token_id, int64_t expires_at_us)
{
	if (is_full(r))
		return false;
	struct entry *e = malloc(sizeof *e);
	if (e == NULL)
		return false;
	*e = (struct entry){.token_id = *token_id, .expires_at_us = expires_at_us};
	HASH_ADD(hh, r->table, token_id, sizeof e->token_id, e);
	/* uthash's sign that it had no memory and has undone the addition. */
	if (e->hh.tbl != NULL)
		return true;
	free(e);
	return false;
}

void revocations_add(struct revocations *r, const struct uuid *token_id, int64_t expires_at_us)
{
	CHECK(pthread_rwlock_wrlock(r->lock) == 0);
	struct entry *known = find(r, token_id);
	if (known != NULL) {
		if (known->expires_at_us < expires_at_us)
			known->expires_at_us = expires_at_us;
	} else if (!add_new(r, token_id, expires_at_us) && r->incomplete_until_us < expires_at_us) {
		r->incomplete_until_us = expires_at_us;
	}
	CHECK(pthread_rwlock_unlock(r->lock) == 0);
}

static bool add_new_account(struct revocations *r, const struct account *account)
{
	if (is_full(r))
		return false;
	struct account *a = malloc(sizeof *a);
	if (a == NULL)
		return false;
	*a = *account;
	HASH_ADD(hh, r->accounts, id, sizeof a->id, a);
	if (a->hh.tbl != NULL)
		return true;
	free(a);
	return false;
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

void revocations_add_account(struct revocations *r, const struct uuid *account, int64_t session_generation,
	int64_t key_generation, int64_t expires_at_us)
{
	const struct account added = {.id = *account,
		.session_generation = session_generation,
		.key_generation = key_generation,
		.expires_at_us = expires_at_us};
	CHECK(pthread_rwlock_wrlock(r->lock) == 0);
	struct account *const known = find_account(r, account);
	if (known != NULL) {
		known->session_generation = larger(known->session_generation, session_generation);
		known->key_generation = larger(known->key_generation, key_generation);
		known->expires_at_us = larger(known->expires_at_us, expires_at_us);
	} else if (!add_new_account(r, &added)) {
		r->incomplete_until_us = larger(r->incomplete_until_us, expires_at_us);
	}
	CHECK(pthread_rwlock_unlock(r->lock) == 0);
}

void revocations_forget_accounts(struct revocations *r)
{
	CHECK(pthread_rwlock_wrlock(r->lock) == 0);
	drop_expired_accounts(r, INT64_MAX);
	r->ever_fresh = false;
	CHECK(pthread_rwlock_unlock(r->lock) == 0);
}

void revocations_mark_fresh(struct revocations *r, int64_t mono_us)
{
	CHECK(pthread_rwlock_wrlock(r->lock) == 0);
	if (!r->ever_fresh || r->fresh_mono_us < mono_us)
		r->fresh_mono_us = mono_us;
	r->ever_fresh = true;
	CHECK(pthread_rwlock_unlock(r->lock) == 0);
}

/* What is known of the principal's account. A key below its generation may live or not: only the database can
 * tell. */
static enum revocation check_account(const struct revocations *r, const struct principal *p)
{
	const struct account *const a = find_account(r, &p->user_id);
	if (a == NULL)
		return REVOCATION_NONE;
	if (p->is_api_key)
		return p->generation < a->key_generation ? REVOCATION_STALE : REVOCATION_NONE;
	return p->generation < a->session_generation ? REVOCATION_REVOKED : REVOCATION_NONE;
}

enum revocation revocations_check(const struct revocations *r, const struct principal *p, int64_t mono_now_us)
{
	CHECK(pthread_rwlock_rdlock(r->lock) == 0);
	const bool revoked = find(r, &p->token_id) != NULL;
	const enum revocation account = check_account(r, p);
	const bool fresh = r->ever_fresh && mono_now_us - r->fresh_mono_us <= REVOCATION_FRESH_US;
	const bool complete = r->incomplete_until_us == 0;
	CHECK(pthread_rwlock_unlock(r->lock) == 0);
	if (revoked)
		return REVOCATION_REVOKED;
	if (account != REVOCATION_NONE)
		return account;
	return fresh && complete ? REVOCATION_NONE : REVOCATION_STALE;
}

void revocations_purge(struct revocations *r, int64_t now_us)
{
	CHECK(pthread_rwlock_wrlock(r->lock) == 0);
	drop_expired(r, now_us);
	drop_expired_accounts(r, now_us);
	if (r->incomplete_until_us < now_us)
		r->incomplete_until_us = 0;
	CHECK(pthread_rwlock_unlock(r->lock) == 0);
}
