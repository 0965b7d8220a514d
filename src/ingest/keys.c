/* Idempotency keys in the database: claiming and looking up. What follows from a taken key is writer.c's. */

#include "keys.h"

#include <stdlib.h>
#include <string.h>
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/hex.h"

static const struct db_stmt begin_stmt = {"ingest_begin", "BEGIN"};
static const struct db_stmt lock_stmt = {"ingest_lock", "SELECT pg_advisory_xact_lock($1)"};
/* In key order, so that servers with the same keys wait for each other and do not deadlock; the first of
 * equal keys first. */
static const struct db_stmt claim_stmt = {"ingest_claim_keys",
	"INSERT INTO event_keys (user_id, key, event_id, occurred_at, fingerprint)"
	" SELECT t.user_id, t.key, t.event_id, t.occurred_at, decode(t.fingerprint, 'hex')"
	" FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::timestamptz[], $5::text[]) WITH ORDINALITY"
	" AS t (user_id, key, event_id, occurred_at, fingerprint, n)"
	" ORDER BY t.user_id, t.key COLLATE \"C\", t.n"
	" ON CONFLICT (user_id, key) DO NOTHING RETURNING event_id"};
/* OFFSET 0: one index probe for each key whatever the planner thinks of the array's size. */
static const struct db_stmt look_up_stmt = {"ingest_look_up_keys",
	"SELECT t.n, k.fingerprint, k.event_id, k.occurred_at"
	" FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS t (user_id, key, n)"
	" CROSS JOIN LATERAL (SELECT encode(fingerprint, 'hex') AS fingerprint, event_id, occurred_at FROM "
	"event_keys"
	" WHERE user_id = t.user_id AND key = t.key OFFSET 0) AS k"};

static void bytes_of(const char *hex, uint8_t out[32])
{
	CHECK(hex != NULL && strlen(hex) == 64);
	for (size_t i = 0; i < 32; i++)
		out[i] = (uint8_t)(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
}

static const char *fingerprint_text(struct arena *arena, const uint8_t fingerprint[32])
{
	char text[65];
	hex_encode(fingerprint, 32, text);
	return arena_strdup(arena, text);
}

/* The texts of one claim; columns of claim_stmt. */
enum { CLAIM_USER, CLAIM_KEY, CLAIM_EVENT, CLAIM_TIME, CLAIM_FINGERPRINT, CLAIM_COLUMNS };

static enum err claim_params(struct db_params *p, struct work *const *keyed, size_t n, struct arena *arena)
{
	db_params_init(p, arena);
	const char **columns[CLAIM_COLUMNS];
	for (size_t k = 0; k < CLAIM_COLUMNS; k++)
		columns[k] = arena_array(arena, n, sizeof(*columns[k]));
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		const struct event *e = &keyed[i]->item->event;
		columns[CLAIM_USER][i] = uuid_text(&e->user_id, arena);
		columns[CLAIM_KEY][i] = e->idempotency_key;
		columns[CLAIM_EVENT][i] = uuid_text(&e->id, arena);
		columns[CLAIM_TIME][i] = instant_text(e->occurred_at_us, arena);
		columns[CLAIM_FINGERPRINT][i] = fingerprint_text(arena, e->fingerprint);
	}
	for (size_t k = 0; k < CLAIM_COLUMNS; k++)
		db_param_text_array(p, columns[k], n);
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

static int compare_event_ids(const void *a, const void *b)
{
	const struct work *const *x = a, *const *y = b;
	return uuid_compare(&(*x)->item->event.id, &(*y)->item->event.id);
}

static int compare_id_to_work(const void *id, const void *work)
{
	const struct work *const *w = work;
	return uuid_compare(id, &(*w)->item->event.id);
}

/* Works whose event id came back were inserted. */
static void mark_taken(const PGresult *inserted, struct work **keyed, size_t n)
{
	qsort(keyed, n, sizeof(*keyed), compare_event_ids);
	for (size_t i = 0; i < n; i++)
		keyed[i]->taken = true;
	for (int row = 0; row < db_rows(inserted); row++) {
		const struct uuid id = db_uuid(inserted, row, 0);
		struct work **found = bsearch(&id, keyed, n, sizeof(*keyed), compare_id_to_work);
		CHECK(found != NULL);
		(*found)->taken = false;
	}
}

enum err keys_claim(struct db_conn *c, int64_t writer_lock, struct work *works, size_t n, struct arena *arena)
{
	struct work **keyed = arena_array(arena, n, sizeof(*keyed));
	if (keyed == NULL)
		return ERR_NO_MEMORY;
	size_t n_keyed = 0;
	for (size_t i = 0; i < n; i++)
		if (works[i].item->event.idempotency_key != NULL)
			keyed[n_keyed++] = &works[i];
	struct db_params claim, lock;
	const enum err e = claim_params(&claim, keyed, n_keyed, arena);
	if (e != ERR_OK)
		return e;
	db_params_init(&lock, arena);
	db_param_i64(&lock, writer_lock);
	const struct db_stmt *const stmts[] = {&begin_stmt, &lock_stmt, &claim_stmt};
	const struct db_params *const params[] = {NULL, &lock, &claim};
	PGresult *results[3];
	const enum err sent = db_pipeline(c, stmts, params, 3, results);
	if (sent != ERR_OK)
		return sent;
	mark_taken(results[2], keyed, n_keyed);
	for (size_t i = 0; i < 3; i++)
		PQclear(results[i]);
	return ERR_OK;
}

static enum err look_up_params(struct db_params *p, const struct work *works, size_t n, struct arena *arena)
{
	db_params_init(p, arena);
	const char **users = arena_array(arena, n, sizeof(*users));
	const char **keys = arena_array(arena, n, sizeof(*keys));
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		users[i] = uuid_text(&works[i].item->event.user_id, arena);
		keys[i] = works[i].item->event.idempotency_key;
	}
	db_param_text_array(p, users, n);
	db_param_text_array(p, keys, n);
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

enum err keys_look_up(
	struct db_conn *c, const struct work *works, size_t n, struct arena *arena, struct stored_key *ret)
{
	struct db_params p;
	enum err e = look_up_params(&p, works, n, arena);
	PGresult *rows = NULL;
	if (e == ERR_OK)
		e = db_run(c, &look_up_stmt, &p, &rows);
	if (e != ERR_OK)
		return e;
	for (size_t i = 0; i < n; i++)
		ret[i].found = false;
	for (int row = 0; row < db_rows(rows); row++) {
		const int64_t nth = db_i64(rows, row, 0);
		CHECK(nth >= 1 && (size_t)nth <= n);
		struct stored_key *k = &ret[nth - 1];
		k->found = true;
		bytes_of(db_text(rows, row, 1), k->fingerprint);
		k->event_id = db_uuid(rows, row, 2);
		k->occurred_at_us = db_instant(rows, row, 3);
	}
	PQclear(rows);
	return ERR_OK;
}
