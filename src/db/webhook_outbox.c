/* The outbox as senders see it: claims with a lease, ends of attempts, upkeep. How a delivery is sent and
 * what its answer means is known above.
 *
 * Claims of all servers happen one after the other (an advisory lock for the moment of a claim), because only
 * so "at most two of one user" is true everywhere. A claim counts an attempt, and whoever ends it names that
 * number: the end of an attempt that outlived its lease, and was taken over, changes nothing. */

#include "llmlab/db/webhook_outbox.h"

#include "llmlab/base/check.h"
#include "llmlab/db/webhooks.h"
#include "scope.h"

#define PARAMS_BYTES (16 << 10)

/* The bounds of the headers in the texts below. */
_Static_assert(WEBHOOK_CLAIMS_PER_USER == 2 && WEBHOOK_LEASE_US == 60000000 && WEBHOOK_LOG_MAX == 1000 &&
		       WEBHOOK_LOG_DAYS == 14,
	"the statements say the same");
_Static_assert(WEBHOOK_PASSED_BY_US == 60000000, "and this one");

/* Of a delivery d: due for whoever has the keys with these ids, or for anybody if none of those has come. */
#define DUE(current, previous)                                                                               \
	"d.status = 'pending' AND d.next_attempt_at <= statement_timestamp() AND d.user_id <> "              \
	"ALL " DELETED_USERS " AND (d.next_attempt_at < statement_timestamp() - interval '60 s'"             \
	" OR EXISTS (SELECT FROM webhooks AS s WHERE s.user_id = d.user_id AND s.id = d.webhook_id"          \
	" AND split_part(s.secret, '.', 1) IN (" current "::text, " previous "::text)))"

/* Asked all the time: one step into an index. */
static const struct db_stmt ANY_DUE = {"webhook_outbox_any_due",
	"SELECT EXISTS (SELECT FROM webhook_deliveries AS d WHERE " DUE("$1", "$2") ")"};

static const struct db_stmt LOCK = {
	"webhook_outbox_lock", "SELECT pg_advisory_xact_lock(hashtextextended('llmlab webhook claims', 0))"};

/* How many of a user's may be claimed besides those that are. */
#define ROOM_OF(user)                                                                                        \
	"greatest(0, 2 - (SELECT count(*) FROM webhook_deliveries AS b WHERE b.user_id = " user              \
	" AND b.leased_until > statement_timestamp()))"

/* Claims the rows of `chosen`. */
#define CLAIM_CHOSEN                                                                                         \
	" UPDATE webhook_deliveries AS d SET attempts = d.attempts + 1, last_attempt_at = "                  \
	"statement_timestamp(),"                                                                             \
	" leased_until = statement_timestamp() + interval '60 s',"                                           \
	" next_attempt_at = statement_timestamp() + interval '60 s'"                                         \
	" FROM chosen, webhooks AS w WHERE d.user_id = chosen.user_id AND d.id = chosen.id"                  \
	" AND w.user_id = d.user_id AND w.id = d.webhook_id"                                                 \
	" RETURNING d.user_id, d.id, d.webhook_id, d.event_type, d.payload, d.created_at, d.attempts,"       \
	" w.url, w.format, w.secret, w.active"

/* Among the first thousand that are due: cheap, and everything unless one user's queue fills them. */
static const struct db_stmt CLAIM = {"webhook_outbox_claim",
	"WITH first AS MATERIALIZED (SELECT user_id, id, next_attempt_at FROM webhook_deliveries AS d"
	" WHERE " DUE("$2", "$3") " ORDER BY next_attempt_at, id LIMIT 1000),"
				  " placed AS (SELECT user_id, id, next_attempt_at, row_number() OVER "
				  "(PARTITION BY user_id ORDER BY "
				  "next_attempt_at,"
				  " id) AS place FROM first),"
				  " chosen AS MATERIALIZED (SELECT user_id, id FROM placed WHERE place <= 2 "
				  "AND place <= " ROOM_OF(
					  "placed.user_id") " ORDER BY next_attempt_at, id LIMIT "
							    "$1::integer)" CLAIM_CHOSEN};

static const struct db_stmt MORE_DUE = {
	"webhook_outbox_more_due", "SELECT EXISTS (SELECT FROM webhook_deliveries AS d WHERE " DUE(
					   "$1", "$2") " ORDER BY next_attempt_at, id OFFSET 1000)"};

/* From user to user through the index, so that whoever stands behind a long queue has his turn too. */
static const struct db_stmt CLAIM_BEHIND = {"webhook_outbox_claim_behind",
	"WITH RECURSIVE waiting AS ("
	"(SELECT user_id FROM webhook_deliveries WHERE status = 'pending' ORDER BY user_id LIMIT 1)"
	" UNION ALL SELECT (SELECT d.user_id FROM webhook_deliveries AS d WHERE d.status = 'pending'"
	" AND d.user_id > w.user_id ORDER BY d.user_id LIMIT 1) FROM waiting AS w WHERE w.user_id IS NOT "
	"NULL),"
	" chosen AS MATERIALIZED (SELECT due.user_id, due.id FROM waiting AS w CROSS JOIN LATERAL ("
	"SELECT d.user_id, d.id, d.next_attempt_at FROM webhook_deliveries AS d WHERE d.user_id = w.user_id"
	" AND " DUE("$2", "$3") " ORDER BY d.next_attempt_at, d.id LIMIT " ROOM_OF(
		"w.user_id") ") AS due"
			     " ORDER BY due.next_attempt_at, due.id LIMIT $1::integer)" CLAIM_CHOSEN};

/* The webhook first: who deletes one holds it before its deliveries. */
static const struct db_stmt DISABLE = {"webhook_outbox_disable",
	"UPDATE webhooks SET active = false, disabled_reason = 'gone', updated_at = now()"
	" WHERE user_id = $1 AND id = $2 AND active"};

static const struct db_stmt END = {"webhook_outbox_end",
	"WITH told AS (SELECT CASE WHEN $4 = 'retry' AND d.created_at + $9::bigint * interval '1 "
	"microsecond'"
	" < now() + $8::bigint * interval '1 microsecond' THEN 'failed' WHEN $4 = 'retry' THEN 'pending' "
	"ELSE $4 END AS status"
	" FROM webhook_deliveries AS d WHERE d.user_id = $1 AND d.id = $2)"
	" UPDATE webhook_deliveries AS d SET status = told.status, response_status = nullif($5::integer, 0),"
	" duration_ms = $6::integer, error = $7, leased_until = NULL,"
	" next_attempt_at = CASE WHEN told.status = 'pending' THEN now() + $8::bigint * interval '1 "
	"microsecond' END,"
	" finished_at = CASE WHEN told.status <> 'pending' THEN now() END FROM told"
	" WHERE d.user_id = $1 AND d.id = $2 AND d.attempts = $3::integer AND d.status = 'pending' RETURNING "
	"d.status"};

static const struct db_stmt RELEASE = {"webhook_outbox_release",
	"UPDATE webhook_deliveries SET attempts = attempts - 1, leased_until = NULL, next_attempt_at = now()"
	" WHERE user_id = $1 AND id = $2 AND attempts = $3::integer AND status = 'pending' RETURNING "
	"status"};

static const struct db_stmt TRIM = {"webhook_outbox_trim",
	"DELETE FROM webhook_deliveries WHERE user_id = $1 AND webhook_id = $2 AND status <> 'pending'"
	" AND id <= (SELECT id FROM webhook_deliveries WHERE user_id = $1 AND webhook_id = $2 AND status <> "
	"'pending'"
	" ORDER BY id DESC OFFSET 1000 LIMIT 1)"};

static const struct db_stmt PURGE = {"webhook_outbox_purge",
	"WITH gone AS (DELETE FROM webhook_deliveries WHERE (user_id, id) IN (SELECT user_id, id FROM "
	"webhook_deliveries"
	" WHERE finished_at < now() - interval '14 days' LIMIT 1000) RETURNING id) SELECT count(*) FROM "
	"gone"};

static const struct db_stmt COUNT = {"webhook_outbox_count",
	"SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE status = 'pending' LIMIT 100000) AS "
	"pending"};

static const struct db_stmt OTHER_KEY = {"webhook_secrets_other_key",
	"SELECT user_id, id, secret FROM webhooks WHERE (user_id, id) > ($2::uuid, $3::uuid)"
	" AND split_part(secret, '.', 1) <> $1 AND user_id <> ALL " DELETED_USERS
	" ORDER BY user_id, id LIMIT $4::integer"};

static const struct db_stmt REPLACE = {"webhook_secret_replace",
	"UPDATE webhooks SET secret = $4 WHERE user_id = $1 AND id = $2 AND secret = $3"};

/* ---- claim ---- */

struct claiming {
	int max;
	const struct webhook_keys *keys;
	struct arena *arena;
	struct webhook_claim *claims;
	size_t n;
};

static struct webhook_claim read_claim(const PGresult *r, int row, struct arena *arena)
{
	return (struct webhook_claim){.user_id = db_uuid(r, row, 0),
		.id = db_uuid(r, row, 1),
		.webhook_id = db_uuid(r, row, 2),
		.event_type = arena_strdup(arena, db_text(r, row, 3)),
		.payload = arena_strdup(arena, db_text(r, row, 4)),
		.created_at_us = db_instant(r, row, 5),
		.attempt = db_i64(r, row, 6),
		.url = arena_strdup(arena, db_text(r, row, 7)),
		.format = arena_strdup(arena, db_text(r, row, 8)),
		.secret = arena_strdup(arena, db_text(r, row, 9)),
		.active = db_bool(r, row, 10)};
}

static void params_keys(struct db_params *p, const struct webhook_keys *keys)
{
	db_param_text(p, keys->current);
	db_param_text(p, keys->previous);
}

/* Whether there is any for the statement. */
static enum err ask(struct db_conn *c, const struct db_stmt *stmt, const struct webhook_keys *keys, bool *ret)
{
	struct db_params p;
	db_params_init(&p, NULL);
	params_keys(&p, keys);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, stmt, &p, &r);
	if (e == ERR_OK)
		*ret = db_bool(r, 0, 0);
	return e;
}

/* Claims with the statement what there is room for, and appends it. */
static enum err claim_some(struct db_conn *c, const struct db_stmt *stmt, struct claiming *k)
{
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_i64(&p, k->max - (int)k->n);
	params_keys(&p, k->keys);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, stmt, &p, &r);
	if (e != ERR_OK)
		return e;
	CHECK((size_t)db_rows(r) + k->n <= (size_t)k->max);
	for (int row = 0; row < db_rows(r); row++)
		k->claims[k->n++] = read_claim(r, row, k->arena);
	return arena_overflowed(k->arena) ? ERR_NO_MEMORY : ERR_OK;
}

/* Body of the transaction. */
static enum err claim(struct db_conn *c, void *arg)
{
	struct claiming *const k = arg;
	k->n = 0; /* of an earlier try */
	k->claims = arena_array(k->arena, (size_t)k->max, sizeof *k->claims);
	if (k->claims == NULL)
		return ERR_NO_MEMORY;
	enum err e = db_run(c, &LOCK, NULL, NULL);
	if (e == ERR_OK)
		e = claim_some(c, &CLAIM, k);
	if (e != ERR_OK || k->n == (size_t)k->max)
		return e;
	bool more = false;
	e = ask(c, &MORE_DUE, k->keys, &more);
	return e == ERR_OK && more ? claim_some(c, &CLAIM_BEHIND, k) : e;
}

enum err webhook_outbox_claim(struct db_conn *c, int max, const struct webhook_keys *keys,
	struct arena *arena, struct webhook_claim **ret, size_t *ret_n)
{
	bool due = false;
	enum err e = ask(c, &ANY_DUE, keys, &due);
	if (e != ERR_OK)
		return e;
	struct claiming k = {.max = max, .keys = keys, .arena = arena};
	if (due)
		e = db_transaction(c, claim, &k);
	if (e != ERR_OK)
		return e;
	*ret = k.claims;
	*ret_n = k.n;
	return ERR_OK;
}

/* ---- end ---- */

struct ending {
	const struct webhook_claim *claim;
	const struct webhook_result *result;
	struct arena *arena;
	bool failed;
};

static const char *status_word(enum webhook_end end)
{
	switch (end) {
	case WEBHOOK_END_DELIVERED:
		return "delivered";
	case WEBHOOK_END_FAILED:
	case WEBHOOK_END_GONE:
		return "failed";
	case WEBHOOK_END_RETRY:
	case WEBHOOK_END_RELEASE:
		break;
	}
	return "retry";
}

static void params_claim(struct db_params *p, const struct ending *k)
{
	db_params_init(p, k->arena);
	db_param_uuid(p, &k->claim->user_id);
	db_param_uuid(p, &k->claim->id);
	db_param_i64(p, k->claim->attempt);
}

static enum err end_row(struct db_conn *c, struct ending *k)
{
	const struct webhook_result *const result = k->result;
	const bool release = result->end == WEBHOOK_END_RELEASE;
	struct db_params p;
	params_claim(&p, k);
	if (!release) {
		db_param_text(&p, status_word(result->end));
		db_param_i64(&p, result->response_status);
		db_param_i64(&p, result->duration_ms);
		db_param_text(&p, result->error);
		db_param_i64(&p, result->pause_us);
		db_param_i64(&p, result->give_up_us);
	}
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(c, release ? &RELEASE : &END, &p, &r);
	if (e != ERR_OK)
		return e;
	const char *const status = db_text(r, 0, 0);
	k->failed = status != NULL && status[0] == 'f';
	return ERR_OK;
}

/* Body of the transaction. */
static enum err end_attempt(struct db_conn *c, void *arg)
{
	struct ending *const k = arg;
	struct db_params of_webhook;
	db_params_init(&of_webhook, k->arena);
	db_param_uuid(&of_webhook, &k->claim->user_id);
	db_param_uuid(&of_webhook, &k->claim->webhook_id);
	enum err e = ERR_OK;
	if (k->result->end == WEBHOOK_END_GONE)
		e = db_run(c, &DISABLE, &of_webhook, NULL);
	if (e == ERR_OK)
		e = end_row(c, k);
	if (e == ERR_OK)
		e = db_run(c, &TRIM, &of_webhook, NULL);
	return e;
}

enum err webhook_outbox_end(struct db_conn *c, const struct webhook_claim *claimed,
	const struct webhook_result *result, bool *ret_failed)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct ending k = {.claim = claimed, .result = result, .arena = &arena};
	const enum err e = db_transaction(c, end_attempt, &k);
	if (e == ERR_OK)
		*ret_failed = k.failed;
	return e;
}

/* ---- upkeep ---- */

static enum err one_number(struct db_conn *c, const struct db_stmt *stmt, int64_t *ret)
{
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, stmt, NULL, &r);
	if (e == ERR_OK)
		*ret = db_i64(r, 0, 0);
	return e;
}

enum err webhook_outbox_purge(struct db_conn *c, int64_t *ret_n)
{
	return one_number(c, &PURGE, ret_n);
}

enum err webhook_outbox_count(struct db_conn *c, int64_t *ret_n)
{
	return one_number(c, &COUNT, ret_n);
}

enum err webhook_secrets_other_key(struct db_conn *c, const char *key_id, const struct webhook_sealed *after,
	int max, struct arena *arena, struct webhook_sealed **ret, size_t *ret_n)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_text(&p, key_id);
	db_param_uuid(&p, &after->user_id);
	db_param_uuid(&p, &after->id);
	db_param_i64(&p, max);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &OTHER_KEY, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct webhook_sealed *const rows = arena_array(arena, n, sizeof *rows);
	for (size_t i = 0; rows != NULL && i < n; i++)
		rows[i] = (struct webhook_sealed){.user_id = db_uuid(r, (int)i, 0),
			.id = db_uuid(r, (int)i, 1),
			.secret = arena_strdup(arena, db_text(r, (int)i, 2))};
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

enum err webhook_secret_replace(struct db_conn *c, const struct webhook_sealed *old, const char *sealed)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &old->user_id);
	db_param_uuid(&p, &old->id);
	db_param_text(&p, old->secret);
	db_param_text(&p, sealed);
	return db_run(c, &REPLACE, &p, NULL);
}
