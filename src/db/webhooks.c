/* Webhooks as their users see them, and putting notifications into the outbox: the SQL with its parameters
 * and columns. Sending is webhook_outbox.c's; what addresses and bodies may be is known above. */

#include "llmlab/db/webhooks.h"

#include <string.h>

#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/users.h"
#include "scope.h"

#define PARAMS_BYTES (16 << 10)

/* The bounds of webhooks.h in the texts below: 20 webhooks, 500 waiting, 10 tests. */
_Static_assert(WEBHOOKS_PER_USER_MAX == 20 && WEBHOOK_WAITING_MAX == 500 && WEBHOOK_TESTS_PER_MINUTE == 10,
	"the statements say the same");

static const struct db_stmt INSERT = {"webhooks_insert",
	"INSERT INTO webhooks (user_id, id, name, url, events, format, secret, active)"
	" SELECT $1::uuid, $2::uuid, $3::text, $4::text, $5::text[], $6::text, $7::text, $8::boolean"
	" WHERE (SELECT count(*) FROM webhooks WHERE user_id = $1) < 20 RETURNING created_at, updated_at"};

#define COLUMNS                                                                                              \
	"w.id, w.name, w.url, array_to_string(w.events, ','), w.format, w.active, w.disabled_reason,"        \
	" (SELECT count(*) FROM webhook_deliveries AS d WHERE d.user_id = w.user_id AND d.webhook_id = w.id" \
	" AND d.status = 'pending'), w.created_at, w.updated_at"
static const struct db_stmt LIST = {"webhooks_list",
	"SELECT " COLUMNS " FROM webhooks AS w WHERE w.user_id = $1 ORDER BY w.id DESC LIMIT 20"};
static const struct db_stmt FIND = {
	"webhooks_find", "SELECT " COLUMNS " FROM webhooks AS w WHERE w.user_id = $1 AND w.id = $2"};

static const struct db_stmt UPDATE = {"webhooks_update",
	"UPDATE webhooks SET name = CASE WHEN $3::text IS NULL THEN name ELSE nullif($3, '') END,"
	" url = coalesce($4::text, url), events = coalesce($5::text[], events), format = coalesce($6::text, "
	"format),"
	" active = coalesce($7::boolean, active), disabled_reason = CASE WHEN $7 THEN NULL ELSE "
	"disabled_reason END,"
	" updated_at = now() WHERE user_id = $1 AND id = $2 RETURNING id"};

static const struct db_stmt DELETE_ONE = {
	"webhooks_delete", "DELETE FROM webhooks WHERE user_id = $1 AND id = $2 RETURNING id"};

/* The rows are held, so that none is deleted before its delivery is there: a foreign key that fails would end
 * the caller's transaction. The ids come with the call, one for each webhook that there may be. */
static const struct db_stmt ENQUEUE = {"webhooks_enqueue",
	"WITH held AS MATERIALIZED (SELECT id FROM webhooks WHERE user_id = $1 AND active AND $2 = ANY "
	"(events)"
	" AND EXISTS (SELECT FROM users WHERE id = $1 AND deleted_at IS NULL) FOR KEY SHARE),"
	" placed AS (SELECT id, row_number() OVER (ORDER BY id) AS place, (SELECT count(*) FROM "
	"webhook_deliveries AS d"
	" WHERE d.user_id = $1 AND d.webhook_id = held.id AND d.status = 'pending') < 500 AS has_room FROM "
	"held),"
	" queued AS (INSERT INTO webhook_deliveries (user_id, id, webhook_id, event_type, payload)"
	" SELECT $1, ($4::uuid[])[place], id, $2, $3 FROM placed WHERE has_room RETURNING id)"
	" SELECT (SELECT count(*) FROM placed) - (SELECT count(*) FROM queued)"};

/* One row if there is such a webhook; `queued` is NULL when it is inactive or has no room. */
static const struct db_stmt TEST = {"webhooks_test",
	"WITH held AS MATERIALIZED (SELECT id, active FROM webhooks WHERE user_id = $1 AND id = $2 FOR KEY "
	"SHARE),"
	" queued AS (INSERT INTO webhook_deliveries (user_id, id, webhook_id, event_type, payload)"
	" SELECT $1, $3, id, 'webhook.test', $4 FROM held WHERE active"
	" AND (SELECT count(*) FROM webhook_deliveries WHERE user_id = $1 AND webhook_id = $2 AND status = "
	"'pending') < 500"
	" AND (SELECT count(*) FROM webhook_deliveries WHERE user_id = $1 AND webhook_id = $2"
	" AND event_type = 'webhook.test' AND created_at > now() - interval '1 minute') < 10 RETURNING id)"
	" SELECT held.active, queued.id FROM held LEFT JOIN queued ON true"};

static const struct db_stmt DELIVERIES = {"webhook_deliveries_list",
	"SELECT id, event_type, status, attempts, response_status, duration_ms, error, created_at, "
	"last_attempt_at,"
	" next_attempt_at, finished_at FROM webhook_deliveries"
	" WHERE user_id = $1 AND webhook_id = $2 AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT "
	"$4::integer"};

/* ---- the outbox ---- */

/* As many new ids as a user may have webhooks. */
static void param_ids(struct db_params *p)
{
	const char *ids[WEBHOOKS_PER_USER_MAX];
	const int64_t now_ms = clock_now_us() / US_PER_MS;
	for (size_t i = 0; i < WEBHOOKS_PER_USER_MAX; i++) {
		const struct uuid id = uuid_v7(now_ms);
		char *const text = arena_alloc(p->arena, UUID_TEXT_SIZE);
		if (text != NULL)
			uuid_format(&id, text);
		ids[i] = text;
	}
	db_param_text_array(p, ids, WEBHOOKS_PER_USER_MAX);
}

enum err webhooks_enqueue(struct db_conn *c, const struct uuid *user_id, const char *event_type,
	const char *payload_json, struct arena *arena)
{
	if (strlen(payload_json) > WEBHOOK_PAYLOAD_MAX_BYTES)
		return ERR_TOO_LARGE;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_text(&p, event_type);
	db_param_text(&p, payload_json);
	param_ids(&p);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &ENQUEUE, &p, &r);
	if (e == ERR_OK)
		metric_add(METRIC_WEBHOOKS_DROPPED, db_i64(r, 0, 0));
	return e;
}

enum err webhooks_test(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	const struct uuid *delivery_id, const char *payload_json, struct arena *arena)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	db_param_uuid(&p, delivery_id);
	db_param_text(&p, payload_json);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(c, &TEST, &p, &r);
	if (e != ERR_OK)
		return e;
	if (!db_is_null(r, 0, 1))
		return ERR_OK;
	return db_bool(r, 0, 0) ? ERR_RATE_LIMITED : ERR_CONFLICT;
}

/* ---- webhooks ---- */

struct insertion {
	const struct uuid *user_id;
	const struct webhook *w;
	const char *sealed_secret;
	struct arena *arena;
	int64_t created_at_us, updated_at_us; /* as stored */
};

/* Body of the transaction. */
static enum err insert(struct db_conn *c, void *arg)
{
	struct insertion *const k = arg;
	enum err e = users_lock(c, k->user_id);
	if (e != ERR_OK)
		return e;
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, k->user_id);
	db_param_uuid(&p, &k->w->id);
	db_param_text(&p, k->w->name);
	db_param_text(&p, k->w->url);
	db_param_text_array(&p, k->w->events, k->w->n_events);
	db_param_text(&p, k->w->format);
	db_param_text(&p, k->sealed_secret);
	db_param_bool(&p, k->w->active);
	PGresult *r SCOPE_RESULT = NULL;
	e = db_run(c, &INSERT, &p, &r);
	if (e != ERR_OK)
		return e;
	if (db_rows(r) == 0)
		return ERR_CONFLICT;
	k->created_at_us = db_instant(r, 0, 0);
	k->updated_at_us = db_instant(r, 0, 1);
	return ERR_OK;
}

enum err webhooks_insert(struct db_conn *c, const struct uuid *user_id, struct webhook *w,
	const char *sealed_secret, struct arena *arena)
{
	struct insertion k = {.user_id = user_id, .w = w, .sealed_secret = sealed_secret, .arena = arena};
	const enum err e = db_transaction(c, insert, &k);
	if (e != ERR_OK)
		return e;
	w->created_at_us = k.created_at_us;
	w->updated_at_us = k.updated_at_us;
	return ERR_OK;
}

/* "a,b": no name holds a comma. */
static void read_events(const char *text, struct webhook *w, struct arena *arena)
{
	size_t n = 1;
	for (const char *at = text; *at != '\0'; at++)
		n += *at == ',';
	const char **const names = arena_array(arena, n, sizeof *names);
	for (size_t i = 0; names != NULL && i < n; i++) {
		const size_t length = strcspn(text, ",");
		names[i] = arena_strndup(arena, text, length);
		text += length + (text[length] == ',');
	}
	w->events = names;
	w->n_events = n;
}

static struct webhook read_webhook(const PGresult *r, int row, struct arena *arena)
{
	struct webhook w = {.id = db_uuid(r, row, 0),
		.name = arena_strdup(arena, db_text(r, row, 1)),
		.url = arena_strdup(arena, db_text(r, row, 2)),
		.format = arena_strdup(arena, db_text(r, row, 4)),
		.active = db_bool(r, row, 5),
		.disabled_reason = arena_strdup(arena, db_text(r, row, 6)),
		.pending = db_i64(r, row, 7),
		.created_at_us = db_instant(r, row, 8),
		.updated_at_us = db_instant(r, row, 9)};
	const char *const events = db_text(r, row, 3);
	CHECK(events != NULL);
	read_events(events, &w, arena);
	return w;
}

enum err webhooks_list(struct db_conn *c, const struct uuid *user_id, struct arena *arena,
	struct webhook **ret, size_t *ret_n)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &LIST, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct webhook *const rows = arena_array(arena, n, sizeof *rows);
	for (size_t i = 0; rows != NULL && i < n; i++)
		rows[i] = read_webhook(r, (int)i, arena);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

enum err webhooks_find(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	struct arena *arena, struct webhook *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(c, &FIND, &p, &r);
	if (e != ERR_OK)
		return e;
	const struct webhook found = read_webhook(r, 0, arena);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = found;
	return ERR_OK;
}

enum err webhooks_update(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	const struct webhook_changes *k, struct arena *arena)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	db_param_text(&p, k->name);
	db_param_text(&p, k->url);
	if (k->events != NULL)
		db_param_text_array(&p, k->events, k->n_events);
	else
		db_param_text(&p, NULL);
	db_param_text(&p, k->format);
	if (k->active != NULL)
		db_param_bool(&p, *k->active);
	else
		db_param_text(&p, NULL);
	return db_run_row(c, &UPDATE, &p, NULL);
}

enum err webhooks_delete(struct db_conn *c, const struct uuid *user_id, const struct uuid *id)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	return db_run_row(c, &DELETE_ONE, &p, NULL);
}

/* ---- deliveries ---- */

static int64_t instant_or_0(const PGresult *r, int row, int col)
{
	return db_is_null(r, row, col) ? 0 : db_instant(r, row, col);
}

static struct webhook_delivery read_delivery(const PGresult *r, int row, struct arena *arena)
{
	return (struct webhook_delivery){.id = db_uuid(r, row, 0),
		.event_type = arena_strdup(arena, db_text(r, row, 1)),
		.status = arena_strdup(arena, db_text(r, row, 2)),
		.attempts = db_i64(r, row, 3),
		.response_status = db_i64(r, row, 4),
		.duration_ms = db_is_null(r, row, 5) ? -1 : db_i64(r, row, 5),
		.error = arena_strdup(arena, db_text(r, row, 6)),
		.created_at_us = db_instant(r, row, 7),
		.last_attempt_us = instant_or_0(r, row, 8),
		.next_attempt_us = instant_or_0(r, row, 9),
		.finished_us = instant_or_0(r, row, 10)};
}

/* ERR_NOT_FOUND if the user has no such webhook. */
static enum err check_exists(
	struct db_conn *c, const struct uuid *user_id, const struct uuid *id, struct arena *arena)
{
	struct webhook found;
	return webhooks_find(c, user_id, id, arena, &found);
}

enum err webhook_deliveries_list(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	const struct uuid *before, int limit, struct arena *arena, struct webhook_delivery **ret,
	size_t *ret_n)
{
	enum err e = check_exists(c, user_id, id, arena);
	if (e != ERR_OK)
		return e;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	db_param_uuid(&p, before);
	db_param_i64(&p, limit);
	PGresult *r SCOPE_RESULT = NULL;
	e = db_run(c, &DELIVERIES, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct webhook_delivery *const rows = arena_array(arena, n, sizeof *rows);
	for (size_t i = 0; rows != NULL && i < n; i++)
		rows[i] = read_delivery(r, (int)i, arena);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}
