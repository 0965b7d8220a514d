/* Unusual spend in the database: what is asked beside sums, what was found, and who is to be looked at next.
 * What is unusual is decided in core/anomaly.h. */

#include "llmlab/db/anomalies.h"

#include <stdio.h>

#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "scope.h"

#define PARAMS_BYTES 65536

static const struct db_stmt TAG_KEYS = {"anomalies_tag_keys",
	"SELECT k FROM (SELECT tags FROM usage_sets WHERE user_id = $1 AND tags IS NOT NULL LIMIT 5000) AS s"
	" CROSS JOIN LATERAL jsonb_object_keys(s.tags) AS k GROUP BY k ORDER BY count(*) DESC, k COLLATE "
	"\"C\" LIMIT $2::integer"};

static const struct db_stmt DEAREST = {"anomalies_dearest_event",
	"SELECT id FROM events WHERE user_id = $1 AND occurred_at >= $2 AND occurred_at < $3 AND cost IS NOT "
	"NULL"
	" AND ($4::text IS NULL OR provider = $4) AND ($5::text IS NULL OR model = $5)"
	" AND ($6::text IS NULL OR coalesce(project, '') = $6) AND ($7::text IS NULL OR tags ->> $7 = $8)"
	" ORDER BY cost DESC, occurred_at, id LIMIT 1"};

/* The limit has each of the few be looked up by itself, in its own partition; $5 and $6, begin and end of
 * all, say which partitions are looked at. */
static const struct db_stmt EXIST = {"anomalies_events_exist",
	"SELECT k.n FROM unnest($2::uuid[], $3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY"
	" AS k (id, from_at, to_at, n) CROSS JOIN LATERAL (SELECT FROM events AS e WHERE e.user_id = $1 AND "
	"e.id = k.id"
	" AND e.occurred_at >= k.from_at AND e.occurred_at < k.to_at"
	" AND e.occurred_at >= $5 AND e.occurred_at < $6 LIMIT 1) AS found"};

static const struct db_stmt STATE = {"anomalies_spend_state",
	"SELECT count(*), coalesce(sum(events_changed), 0)::bigint, pg_postmaster_start_time(),"
	" (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),"
	" pg_relation_filenode('usage_day')::bigint FROM repricings WHERE user_id = $1"};

static const struct db_stmt STORE = {"anomalies_store",
	"INSERT INTO anomalies AS a (user_id, id, granularity, start_at, end_at, scope, cost, expected_cost, "
	"score, severity,"
	" event_id, detected_at) VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11, $12)"
	" ON CONFLICT (user_id, id) DO UPDATE SET cost = excluded.cost, expected_cost = "
	"excluded.expected_cost,"
	" score = excluded.score, severity = excluded.severity, event_id = coalesce(excluded.event_id, "
	"a.event_id)"
	" RETURNING detected_at = $12::timestamptz AND xmax = 0"};

static const struct db_stmt HAS = {"anomalies_has",
	"SELECT EXISTS (SELECT FROM anomalies WHERE user_id = $1 AND granularity = $2 AND "
	"start_at >= $3 AND start_at < $4)"};

static const struct db_stmt DROP_OLD = {
	"anomalies_drop", "DELETE FROM anomalies WHERE user_id = $1 AND start_at < $2"};

static const struct db_stmt DUE = {"anomaly_scans_due",
	"SELECT u.id, u.timezone FROM users AS u LEFT JOIN anomaly_scans AS s ON s.user_id = u.id"
	" WHERE u.deleted_at IS NULL AND (s.scanned_at IS NULL OR s.scanned_at < $2)"
	" AND EXISTS (SELECT FROM usage_hour AS h WHERE h.user_id = u.id AND h.bucket >= $1)"
	" ORDER BY s.scanned_at NULLS FIRST, u.id LIMIT $3::integer"};

static const struct db_stmt LOCK = {"anomaly_scans_lock",
	"SELECT pg_try_advisory_xact_lock(hashtext('llmlab anomaly scan'), hashtext($1::text))"};

static const struct db_stmt CLAIM = {"anomaly_scans_claim",
	"INSERT INTO anomaly_scans AS s (user_id, scanned_at) SELECT id, $3 FROM users WHERE id = $1 AND "
	"deleted_at IS NULL"
	" ON CONFLICT (user_id) DO UPDATE SET scanned_at = excluded.scanned_at WHERE s.scanned_at < $2 "
	"RETURNING 1"};

enum err anomalies_tag_keys(struct db_conn *c, const struct uuid *user_id, int max, struct arena *arena,
	const char ***ret, size_t *ret_n)
{
	struct arena scratch SCOPE_ARENA;
	arena_init(&scratch, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &scratch);
	db_param_uuid(&p, user_id);
	db_param_i64(&p, max);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &TAG_KEYS, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	const char **const keys = arena_array(arena, n, sizeof *keys);
	for (size_t i = 0; keys != NULL && i < n; i++)
		keys[i] = arena_strdup(arena, db_text(r, (int)i, 0));
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = keys;
	*ret_n = n;
	return ERR_OK;
}

enum err anomalies_dearest_event(struct db_conn *c, const struct uuid *user_id,
	const struct usage_filter *scope, int64_t from_us, int64_t to_us, struct arena *arena,
	struct uuid *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_instant(&p, from_us);
	db_param_instant(&p, to_us);
	db_param_text(&p, scope->provider);
	db_param_text(&p, scope->model);
	db_param_text(&p, scope->project);
	db_param_text(&p, scope->tag_key);
	db_param_text(&p, scope->tag_value);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &DEAREST, &p, &r);
	if (e == ERR_OK)
		*ret = db_rows(r) > 0 ? db_uuid(r, 0, 0) : (struct uuid){{0}};
	return e;
}

enum err anomalies_events_exist(struct db_conn *c, const struct uuid *user_id, const struct uuid *ids,
	size_t n, struct arena *arena, bool *ret)
{
	int64_t *const from_us = arena_array(arena, n, sizeof *from_us);
	int64_t *const to_us = arena_array(arena, n, sizeof *to_us);
	if (from_us == NULL || to_us == NULL)
		return ERR_NO_MEMORY;
	int64_t first_us = INSTANT_MAX_US, last_us = INSTANT_MIN_US;
	for (size_t i = 0; i < n; i++) {
		ret[i] = false;
		from_us[i] = uuid_v7_ms(&ids[i]) * US_PER_MS;
		to_us[i] = from_us[i] + US_PER_MS;
		if (from_us[i] < INSTANT_MIN_US || to_us[i] > INSTANT_MAX_US) /* not an id that we give */
			from_us[i] = to_us[i] = 0;
		else
			first_us = from_us[i] < first_us ? from_us[i] : first_us;
		last_us = to_us[i] > last_us ? to_us[i] : last_us;
	}
	if (first_us >= last_us)
		return ERR_OK;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid_array_binary(&p, ids, n);
	db_param_instant_array_binary(&p, from_us, n);
	db_param_instant_array_binary(&p, to_us, n);
	db_param_instant(&p, first_us);
	db_param_instant(&p, last_us);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &EXIST, &p, &r);
	if (e != ERR_OK)
		return e;
	for (int row = 0; row < db_rows(r); row++) {
		const int64_t i = db_i64(r, row, 0) - 1;
		CHECK(i >= 0 && (size_t)i < n);
		ret[i] = true;
	}
	return ERR_OK;
}

enum err anomalies_spend_state(struct db_conn *c, const struct uuid *user_id, struct spend_state *ret)
{
	struct arena scratch SCOPE_ARENA;
	arena_init(&scratch, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &scratch);
	db_param_uuid(&p, user_id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(c, &STATE, &p, &r);
	if (e == ERR_OK)
		*ret = (struct spend_state){.repricings = db_i64(r, 0, 0),
			.repriced_events = db_i64(r, 0, 1),
			.server_start_us = db_instant(r, 0, 2),
			.database = db_i64(r, 0, 3),
			.sums_file = db_i64(r, 0, 4)};
	return e;
}

enum err anomalies_store(struct db_conn *c, const struct uuid *user_id, const struct stored_anomaly *a,
	int64_t now_us, struct arena *arena, bool *ret_new)
{
	char score[40];
	/* The locale is C, so this is what PostgreSQL reads. */
	(void)snprintf(score, sizeof score, "%.17g", a->score);
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_text(&p, a->id);
	db_param_text(&p, a->granularity);
	db_param_instant(&p, a->start_us);
	db_param_instant(&p, a->end_us);
	db_param_text(&p, a->scope_json);
	db_param_money(&p, a->cost);
	db_param_money(&p, a->expected);
	db_param_text(&p, score);
	db_param_text(&p, a->severity);
	db_param_uuid(&p, uuid_is_zero(&a->event_id) ? NULL : &a->event_id);
	db_param_instant(&p, now_us);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &STORE, &p, &r);
	if (e == ERR_OK)
		*ret_new = db_bool(r, 0, 0);
	return e;
}

enum err anomalies_has(struct db_conn *c, const struct uuid *user_id, const char *granularity,
	int64_t from_us, int64_t to_us, bool *ret)
{
	struct arena scratch SCOPE_ARENA;
	arena_init(&scratch, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &scratch);
	db_param_uuid(&p, user_id);
	db_param_text(&p, granularity);
	db_param_instant(&p, from_us);
	db_param_instant(&p, to_us);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &HAS, &p, &r);
	if (e == ERR_OK)
		*ret = db_bool(r, 0, 0);
	return e;
}

enum err anomalies_drop(struct db_conn *c, const struct uuid *user_id, int64_t before_us)
{
	struct arena scratch SCOPE_ARENA;
	arena_init(&scratch, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &scratch);
	db_param_uuid(&p, user_id);
	db_param_instant(&p, before_us);
	return db_run(c, &DROP_OLD, &p, NULL);
}

enum err anomaly_scans_due(struct db_conn *c, int64_t spend_since_us, int64_t scanned_before_us, int limit,
	struct arena *arena, struct anomaly_user **ret, size_t *ret_n)
{
	struct arena scratch SCOPE_ARENA;
	arena_init(&scratch, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &scratch);
	db_param_instant(&p, spend_since_us);
	db_param_instant(&p, scanned_before_us);
	db_param_i64(&p, limit);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &DUE, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct anomaly_user *const users = arena_array(arena, n, sizeof *users);
	for (size_t i = 0; users != NULL && i < n; i++)
		users[i] = (struct anomaly_user){
			db_uuid(r, (int)i, 0), arena_strdup(arena, db_text(r, (int)i, 1))};
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = users;
	*ret_n = n;
	return ERR_OK;
}

enum err anomaly_scans_claim(
	struct db_conn *c, const struct uuid *user_id, int64_t scanned_before_us, int64_t now_us, bool *ret)
{
	struct arena scratch SCOPE_ARENA;
	arena_init(&scratch, PARAMS_BYTES);
	struct db_params lock, claim;
	db_params_init(&lock, &scratch);
	db_param_uuid(&lock, user_id);
	PGresult *locked SCOPE_RESULT = NULL;
	enum err e = db_run(c, &LOCK, &lock, &locked);
	if (e != ERR_OK)
		return e;
	if (!db_bool(locked, 0, 0)) {
		*ret = false;
		return ERR_OK;
	}
	db_params_init(&claim, &scratch);
	db_param_uuid(&claim, user_id);
	db_param_instant(&claim, scanned_before_us);
	db_param_instant(&claim, now_us);
	PGresult *claimed SCOPE_RESULT = NULL;
	e = db_run(c, &CLAIM, &claim, &claimed);
	if (e == ERR_OK)
		*ret = db_rows(claimed) > 0;
	return e;
}
