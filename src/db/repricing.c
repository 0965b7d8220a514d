/* New prices for recorded events: one chunk in one transaction, and the rows of the ledger. What the prices
 * are comes from the caller; when chunks run is decided above.
 *
 * How a chunk finds its events: the sums say in which quarters of an hour there are any, so that a rare
 * model in a long range costs a few index steps and not a scan; then the events of as many quarters as make a
 * chunk are read in the order of their primary key. The cursor is a position in that order. */

#include "llmlab/db/repricing.h"

#include <stdlib.h>
#include <string.h>

#include "event_row.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/usage_write.h"
#include "llmlab/db/users.h"
#include "scope.h"

#define CHUNK_BYTES ((size_t)256 << 20)
#define BUCKET_US   (15 * US_PER_MINUTE)
#define BUCKETS_MAX 256

/* ---- statements of a chunk ---- */

#define BUCKET_FILTER                                                                                        \
	" FROM usage_model_15m WHERE user_id = $1 AND bucket >= $2 AND bucket < $3 AND ($4::text IS NULL "   \
	"OR "                                                                                                \
	"provider = $4)"                                                                                     \
	" AND ($5::text IS NULL OR model = $5)"
static const struct db_stmt BUCKETS = {"repricing_buckets",
	"SELECT bucket, sum(calls)::bigint" BUCKET_FILTER " GROUP BY bucket ORDER BY bucket LIMIT 256"};
/* With both names given, so that the index of unpriced rows serves. */
static const struct db_stmt UNPRICED_BUCKETS = {"repricing_unpriced_buckets",
	"SELECT bucket, sum(unpriced_calls)::bigint FROM usage_model_15m WHERE user_id = $1 AND bucket >= $2 "
	"AND "
	"bucket < $3"
	" AND provider = $4 AND model = $5 AND unpriced_calls > 0 GROUP BY bucket ORDER BY bucket LIMIT 256"};
static const struct db_stmt COUNT = {
	"repricing_count", "SELECT coalesce(sum(calls), 0)::bigint" BUCKET_FILTER};

#define PAGE(lock)                                                                                           \
	"SELECT e.* FROM unnest($2::timestamptz[]) AS b (bucket) CROSS JOIN LATERAL"                         \
	" (SELECT " EVENT_COLUMNS " FROM events WHERE user_id = $1 AND occurred_at >= greatest(b.bucket, "   \
	"$3::timestamptz)"                                                                                   \
	" AND occurred_at < least(b.bucket + interval '15 minutes', $4::timestamptz) AND (occurred_at, id) " \
	"> ($3, $5::uuid)"                                                                                   \
	" AND ($6::text IS NULL OR provider = $6) AND ($7::text IS NULL OR model = $7)"                      \
	" AND (NOT $8::boolean OR cost IS NULL) ORDER BY occurred_at, id LIMIT $9::bigint" lock ") AS e"     \
	" ORDER BY e.occurred_at, e.id LIMIT $9::bigint"
static const struct db_stmt PAGE_TO_READ = {"repricing_page", PAGE("")};
static const struct db_stmt PAGE_TO_CHANGE = {"repricing_page_locked", PAGE(" FOR NO KEY UPDATE")};

#define COLUMNS                                                                                              \
	"user_id, id, kind = 'automatic', api_key_id, reason, range_from, range_to, provider, model, "       \
	"state, cursor_at, cursor_id,"                                                                       \
	" events_examined, events_changed, range_old_cost, range_new_cost, created_at, finished_at, "        \
	"catalogue_number"
static const struct db_stmt LOCK = {"repricing_lock",
	"SELECT " COLUMNS " FROM repricings WHERE user_id = $1 AND id = $2"
	" AND EXISTS (SELECT FROM users WHERE id = $1 AND deleted_at IS NULL) FOR NO KEY UPDATE"};

/* One server at a time prices a user's backlog; held to the end of the transaction, so that a pooler in
 * between does no harm. */
static const struct db_stmt ALONE = {"repricing_alone",
	"SELECT pg_try_advisory_xact_lock(hashtext('llmlab backlog'), hashtext($1::text))"};

/* The thousands of keys of a chunk are one index probe each, whatever the planner thinks of tables it has no
 * statistics of yet. Where it is told that one user is meant, it believes that a user has few events and
 * reads them all for each key; so the user is a column of the keys. */
static const struct db_stmt PLAN = {"repricing_plan",
	"SELECT set_config(name, 'off', true) FROM unnest('{enable_hashjoin,enable_mergejoin,enable_seqscan,"
	"enable_material,enable_bitmapscan,enable_memoize}'::text[]) AS t (name)"};

/* Both parts see the events as they were before. */
static const struct db_stmt CHANGE = {"repricing_change",
	"WITH k AS MATERIALIZED (SELECT * FROM unnest(array_fill($1::uuid, "
	"ARRAY[cardinality($3::timestamptz[])]), "
	"$3::timestamptz[],"
	" $4::uuid[], $5::numeric[], $6::numeric[], $7::text[], $8::text[], $9::text[], $10::text[], "
	"$11::text[],"
	" $12::text[])"
	" AS k (user_id, at, event_id, cost, catalogue_cost, status, record, rule, lines, tier, version)),"
	" ledger AS (INSERT INTO repricing_changes (user_id, repricing_id, occurred_at, event_id, old_cost,"
	" old_catalogue_cost, old_status, old_record, old_rule, old_lines, old_service_tier, old_version,"
	" new_cost, new_catalogue_cost, new_status, new_record, new_rule, new_version)"
	" SELECT e.user_id, $2::uuid, e.occurred_at, e.id, e.cost, e.catalogue_cost, e.pricing_status, "
	"e.price_record,"
	" e.price_rule, e.price_lines, e.service_tier, e.catalogue_version, k.cost, k.catalogue_cost, "
	"k.status,"
	" k.record, k.rule, k.version FROM k JOIN events AS e"
	" ON e.user_id = k.user_id AND e.occurred_at = k.at AND e.id = k.event_id RETURNING 1),"
	" changed AS (UPDATE events AS e SET cost = k.cost, catalogue_cost = k.catalogue_cost, "
	"pricing_status = k.status,"
	" price_record = k.record, price_rule = k.rule, price_lines = k.lines, service_tier = k.tier,"
	" catalogue_version = k.version FROM k"
	" WHERE e.user_id = k.user_id AND e.occurred_at = k.at AND e.id = k.event_id RETURNING 1)"
	" SELECT (SELECT count(*) FROM ledger), (SELECT count(*) FROM changed)"};

static const struct db_stmt ADD_SUMS = {"repricing_add_sums",
	"INSERT INTO repricing_models AS m (user_id, repricing_id, provider, model, events, old_cost, "
	"new_cost)"
	" SELECT $1::uuid, $2::uuid, k.* FROM unnest($3::text[], $4::text[], $5::bigint[], $6::numeric[], "
	"$7::numeric[]) AS k"
	" ON CONFLICT (user_id, repricing_id, provider, model) DO UPDATE SET events = m.events + "
	"EXCLUDED.events,"
	" old_cost = m.old_cost + EXCLUDED.old_cost, new_cost = m.new_cost + EXCLUDED.new_cost"};

static const struct db_stmt PROGRESS = {"repricing_progress",
	"UPDATE repricings SET cursor_at = $3, cursor_id = $4, events_examined = $5, events_changed = $6,"
	" range_old_cost = $7, range_new_cost = $8, state = $9, catalogue_number = $10, holder = $11, "
	"progress_at = now(),"
	" finished_at = CASE WHEN $9 = 'running' THEN NULL ELSE now() END"
	" WHERE user_id = $1 AND id = $2 RETURNING finished_at"};

/* ---- statements of the ledger ---- */

static const struct db_stmt INSERT = {"repricings_insert",
	"INSERT INTO repricings (user_id, id, kind, api_key_id, reason, range_from, range_to, provider, "
	"model, cursor_at,"
	" cursor_id, catalogue_number, holder) VALUES ($1, $2, CASE WHEN $3::boolean THEN 'automatic' ELSE "
	"'requested' END,"
	" $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING created_at"};
static const struct db_stmt COUNT_RUNNING = {"repricings_count_running",
	"SELECT count(*) FROM repricings WHERE user_id = $1 AND state = "
	"'running' AND (kind = 'automatic') = $2::boolean"};
static const struct db_stmt FAIL = {"repricings_fail",
	"UPDATE repricings SET state = 'failed', finished_at = now() WHERE user_id = $1 AND id = $2 AND "
	"state = 'running'"};
static const struct db_stmt DELAY = {
	"repricings_delay", "UPDATE repricings SET progress_at = now() WHERE user_id = $1 AND id = $2"};
static const struct db_stmt FIND = {
	"repricings_find", "SELECT " COLUMNS " FROM repricings WHERE user_id = $1 AND id = $2"};
static const struct db_stmt LIST = {"repricings_list",
	"SELECT " COLUMNS " FROM repricings WHERE user_id = $1 AND ($2::uuid IS NULL OR id < $2)"
	" ORDER BY id DESC LIMIT $3::integer"};
/* First whose user has waited longest for any of his; of these, the one that has. */
static const struct db_stmt NEXT = {"repricings_next",
	"SELECT " COLUMNS " FROM repricings AS r WHERE state = 'running' AND catalogue_number <= $3::bigint"
	" AND (holder = $2::bigint OR progress_at < now() - $1::bigint * interval '1 microsecond') AND "
	"r.user_id <> ALL " DELETED_USERS
	" ORDER BY (SELECT max(progress_at) FROM repricings WHERE user_id = r.user_id AND state = "
	"'running'), progress_at"
	" LIMIT 1"};
static const struct db_stmt FAIL_ABANDONED = {"repricings_fail_abandoned",
	"UPDATE repricings SET state = 'failed', finished_at = now() WHERE state = 'running' AND "
	"catalogue_number > $2::bigint"
	" AND progress_at < now() - $1::bigint * interval '1 microsecond' AND user_id <> ALL " DELETED_USERS
	" AND NOT EXISTS (SELECT FROM price_catalogues AS c WHERE c.number >= catalogue_number"
	" AND c.last_seen_at >= now() - $1::bigint * interval '1 microsecond') RETURNING 1"};
static const struct db_stmt CATALOGUE_SEEN = {"repricing_catalogue_seen",
	"UPDATE price_catalogues SET last_seen_at = now() WHERE number = $1::bigint"};
static const struct db_stmt FIND_CATALOGUE = {
	"repricing_find_catalogue", "SELECT number FROM price_catalogues WHERE version = $1"};
static const struct db_stmt ADD_CATALOGUE = {"repricing_add_catalogue",
	"INSERT INTO price_catalogues (version) VALUES ($1) ON CONFLICT (version) DO NOTHING"};
static const struct db_stmt SUMS = {"repricings_sums",
	"SELECT repricing_id, provider, model, events, old_cost, new_cost FROM repricing_models"
	" WHERE user_id = $1 AND repricing_id = ANY ($2::uuid[])"};

static const char *const STATE_NAMES[] = {
	[REPRICING_RUNNING] = "running", [REPRICING_DONE] = "done", [REPRICING_FAILED] = "failed"};

const char *repricing_state_name(enum repricing_state s)
{
	CHECK((size_t)s < sizeof STATE_NAMES / sizeof STATE_NAMES[0]);
	return STATE_NAMES[s];
}

static enum repricing_state read_state(const char *name)
{
	size_t s = 0;
	while (s < sizeof STATE_NAMES / sizeof STATE_NAMES[0] && strcmp(STATE_NAMES[s], name) != 0)
		s++;
	CHECK(s < sizeof STATE_NAMES / sizeof STATE_NAMES[0]);
	return (enum repricing_state)s;
}

/* Columns of COLUMNS; the names of the filter go to the arena, whose overflow is the caller's to ask for. */
static struct repricing read_row(const PGresult *r, int row, struct arena *arena)
{
	struct repricing p = {.stored = true,
		.user_id = db_uuid(r, row, 0),
		.id = db_uuid(r, row, 1),
		.automatic = db_bool(r, row, 2),
		.has_api_key = !db_is_null(r, row, 3),
		.reason = arena_strdup(arena, db_text(r, row, 4)),
		.from_us = db_instant(r, row, 5),
		.to_us = db_instant(r, row, 6),
		.provider = arena_strdup(arena, db_text(r, row, 7)),
		.model = arena_strdup(arena, db_text(r, row, 8)),
		.state = read_state(db_text(r, row, 9)),
		.cursor_at_us = db_instant(r, row, 10),
		.cursor_id = db_uuid(r, row, 11),
		.events_examined = db_i64(r, row, 12),
		.events_changed = db_i64(r, row, 13),
		.range_old_cost = db_money(r, row, 14),
		.range_new_cost = db_money(r, row, 15),
		.created_at_us = db_instant(r, row, 16),
		.finished_at_us = db_is_null(r, row, 17) ? 0 : db_instant(r, row, 17),
		.catalogue_number = db_i64(r, row, 18),
		.sums = {.arena = arena}};
	if (p.has_api_key)
		p.api_key_id = db_uuid(r, row, 3);
	return p;
}

/* ---- finding the events of a chunk ---- */

/* A chunk on its way; everything in its arena. */
struct chunk {
	struct db_conn *db;
	struct repricing r; /* as it will be after the chunk */
	repricing_price *price;
	void *arg;
	int64_t max_events;
	struct arena *arena;
	int64_t buckets[BUCKETS_MAX]; /* that are read */
	size_t n_buckets;
	bool last; /* there are none after them */
	struct event *events;
	size_t n_events;
	const struct event **changed; /* of the events, with what they become */
	struct repriced *becomes;
	size_t n_changed;
	struct repricing_sums sums; /* of the changed */
};

static int64_t bucket_of(int64_t us)
{
	const int64_t rest = us % BUCKET_US;
	return us - (rest < 0 ? rest + BUCKET_US : rest);
}

static enum err find_buckets(struct chunk *k)
{
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, &k->r.user_id);
	db_param_instant(&p, bucket_of(k->r.cursor_at_us));
	db_param_instant(&p, k->r.to_us);
	db_param_text(&p, k->r.provider);
	db_param_text(&p, k->r.model);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(k->db, k->r.automatic ? &UNPRICED_BUCKETS : &BUCKETS, &p, &r);
	if (e != ERR_OK)
		return e;
	int64_t events = 0;
	for (int row = 0; row < db_rows(r); row++) {
		events += db_i64(r, row, 1);
		if (row > 0 && events > k->max_events)
			break;
		k->buckets[k->n_buckets++] = db_instant(r, row, 0);
	}
	k->last = k->n_buckets == (size_t)db_rows(r) && k->n_buckets < BUCKETS_MAX;
	return ERR_OK;
}

static enum err read_events(struct chunk *k, const struct db_stmt *stmt)
{
	struct db_params p;
	const char **const buckets = arena_array(k->arena, k->n_buckets, sizeof *buckets);
	for (size_t i = 0; buckets != NULL && i < k->n_buckets; i++) {
		char text[INSTANT_TEXT_SIZE];
		instant_format(k->buckets[i], text);
		buckets[i] = arena_strdup(k->arena, text);
	}
	if (arena_overflowed(k->arena))
		return ERR_NO_MEMORY;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, &k->r.user_id);
	db_param_text_array(&p, buckets, k->n_buckets);
	db_param_instant(&p, k->r.cursor_at_us);
	db_param_instant(&p, k->r.to_us);
	db_param_uuid(&p, &k->r.cursor_id);
	db_param_text(&p, k->r.provider);
	db_param_text(&p, k->r.model);
	db_param_bool(&p, k->r.automatic);
	db_param_i64(&p, k->max_events);
	PGresult *r SCOPE_RESULT = NULL;
	enum err e = db_run(k->db, stmt, &p, &r);
	if (e != ERR_OK)
		return e;
	k->n_events = (size_t)db_rows(r);
	k->events = arena_array(k->arena, k->n_events, sizeof *k->events);
	for (size_t i = 0; e == ERR_OK && k->events != NULL && i < k->n_events; i++)
		e = event_read(r, (int)i, 0, k->arena, &k->events[i]);
	return e == ERR_OK && arena_overflowed(k->arena) ? ERR_NO_MEMORY : e;
}

/* Behind the last event if the chunk is full, else behind the last quarter of an hour. */
static void move_cursor(struct chunk *k)
{
	k->r.events_examined += (int64_t)k->n_events;
	if (k->n_events > 0 && (int64_t)k->n_events == k->max_events) {
		k->r.cursor_at_us = k->events[k->n_events - 1].occurred_at_us;
		k->r.cursor_id = k->events[k->n_events - 1].id;
		return;
	}
	const int64_t end_us = k->n_buckets == 0 ? k->r.to_us : k->buckets[k->n_buckets - 1] + BUCKET_US;
	k->r.cursor_at_us = end_us < k->r.to_us ? end_us : k->r.to_us;
	k->r.cursor_id = (struct uuid){{0}};
	if (k->last || k->r.cursor_at_us == k->r.to_us)
		k->r.state = REPRICING_DONE;
}

/* ---- what changes ---- */

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_money(bool has_a, struct money a, bool has_b, struct money b)
{
	return has_a == has_b && (!has_a || money_compare(a, b) == 0);
}

/* Another version of the catalogue or another rule with the same outcome is no change. */
static bool is_changed(const struct event *e, const struct repriced *n)
{
	return !same_money(e->has_cost, e->cost, n->has_cost, n->cost) ||
	       !same_money(
		       e->has_catalogue_cost, e->catalogue_cost, n->has_catalogue_cost, n->catalogue_cost) ||
	       !same_text(e->pricing_status, n->pricing_status) ||
	       !same_text(e->price_record, n->price_record) || !same_text(e->price_lines, n->price_lines) ||
	       !same_text(e->service_tier, n->service_tier);
}

static bool add_change(struct chunk *k, const struct event *e, const struct repriced *n)
{
	k->changed[k->n_changed] = e;
	k->becomes[k->n_changed++] = *n;
	return repricing_sums_add(&k->sums, &(struct repricing_sum){.provider = e->provider,
						    .model = e->model,
						    .events = 1,
						    .old_cost = e->has_cost ? e->cost : money_zero(),
						    .new_cost = n->has_cost ? n->cost : money_zero()});
}

static enum err price_events(struct chunk *k)
{
	k->changed = arena_array(k->arena, k->n_events, sizeof(const struct event *));
	k->becomes = arena_array(k->arena, k->n_events, sizeof *k->becomes);
	k->sums = (struct repricing_sums){.arena = k->arena};
	if (arena_overflowed(k->arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < k->n_events; i++) {
		const struct event *const e = &k->events[i];
		struct repriced n;
		const enum err priced = k->price(k->arg, e, k->arena, &n);
		if (priced != ERR_OK && priced != ERR_NOT_FOUND)
			return priced;
		const bool changed = priced == ERR_OK && is_changed(e, &n);
		const bool has_new = changed ? n.has_cost : e->has_cost;
		const struct money new_cost = changed ? n.cost : e->cost;
		if (e->has_cost && !money_add(k->r.range_old_cost, e->cost, &k->r.range_old_cost))
			return ERR_RANGE;
		if (has_new && !money_add(k->r.range_new_cost, new_cost, &k->r.range_new_cost))
			return ERR_RANGE;
		if (changed && !add_change(k, e, &n))
			return arena_overflowed(k->arena) ? ERR_NO_MEMORY : ERR_RANGE;
	}
	k->r.events_changed += (int64_t)k->n_changed;
	return arena_overflowed(k->arena) ? ERR_NO_MEMORY : ERR_OK;
}

static enum err look(struct chunk *k, const struct db_stmt *page)
{
	enum err e = find_buckets(k);
	if (e == ERR_OK && k->n_buckets > 0)
		e = read_events(k, page);
	if (e == ERR_OK)
		e = price_events(k);
	if (e == ERR_OK)
		move_cursor(k);
	return e;
}

/* ---- writing a chunk ---- */

static const char *money_text(struct chunk *k, bool has, struct money m)
{
	char text[DECIMAL_TEXT_MAX];
	if (!has)
		return NULL;
	decimal_format(m.atto, MONEY_SCALE, text);
	return arena_strdup(k->arena, text);
}

/* The arrays of CHANGE, from $3 on. */
enum {
	TO_AT,
	TO_ID,
	TO_COST,
	TO_CATALOGUE_COST,
	TO_STATUS,
	TO_RECORD,
	TO_RULE,
	TO_LINES,
	TO_TIER,
	TO_VERSION,
	TO_COLUMNS
};

static void change_params(struct chunk *k, struct db_params *p)
{
	const char **columns[TO_COLUMNS];
	db_params_init(p, k->arena);
	db_param_uuid(p, &k->r.user_id);
	db_param_uuid(p, &k->r.id);
	for (size_t i = 0; i < TO_COLUMNS; i++)
		columns[i] = arena_array(k->arena, k->n_changed, sizeof *columns[i]);
	if (arena_overflowed(k->arena))
		return;
	for (size_t i = 0; i < k->n_changed; i++) {
		const struct repriced *const n = &k->becomes[i];
		columns[TO_AT][i] = instant_text(k->changed[i]->occurred_at_us, k->arena);
		columns[TO_ID][i] = uuid_text(&k->changed[i]->id, k->arena);
		columns[TO_COST][i] = money_text(k, n->has_cost, n->cost);
		columns[TO_CATALOGUE_COST][i] = money_text(k, n->has_catalogue_cost, n->catalogue_cost);
		columns[TO_STATUS][i] = n->pricing_status;
		columns[TO_RECORD][i] = n->price_record;
		columns[TO_RULE][i] = n->price_rule;
		columns[TO_LINES][i] = n->price_lines;
		columns[TO_TIER][i] = n->service_tier;
		columns[TO_VERSION][i] = n->catalogue_version;
	}
	for (size_t i = 0; i < TO_COLUMNS; i++)
		db_param_text_array(p, columns[i], k->n_changed);
}

/* One for each changed event. ERR_RANGE. */
static enum err make_deltas(const struct chunk *k, struct usage_delta *deltas)
{
	enum err e = ERR_OK;
	for (size_t i = 0; e == ERR_OK && i < k->n_changed; i++) {
		const struct repriced *const n = &k->becomes[i];
		e = usage_delta_reprice(k->changed[i], n->has_cost, n->cost, n->service_tier, &deltas[i]);
	}
	return e;
}

static void sums_params(struct chunk *k, struct db_params *p)
{
	enum { PROVIDER, MODEL, OLD, NEW, COLUMNS_OF_TEXT };
	const size_t n = k->sums.n;
	const char **columns[COLUMNS_OF_TEXT];
	int64_t *const events = arena_array(k->arena, n, sizeof *events);
	db_params_init(p, k->arena);
	db_param_uuid(p, &k->r.user_id);
	db_param_uuid(p, &k->r.id);
	for (size_t i = 0; i < COLUMNS_OF_TEXT; i++)
		columns[i] = arena_array(k->arena, n, sizeof *columns[i]);
	if (arena_overflowed(k->arena))
		return;
	for (size_t i = 0; i < n; i++) {
		const struct repricing_sum *const s = &k->sums.rows[i];
		columns[PROVIDER][i] = s->provider;
		columns[MODEL][i] = s->model;
		columns[OLD][i] = money_text(k, true, s->old_cost);
		columns[NEW][i] = money_text(k, true, s->new_cost);
		events[i] = s->events;
	}
	db_param_text_array(p, columns[PROVIDER], n);
	db_param_text_array(p, columns[MODEL], n);
	db_param_i64_array(p, events, n);
	db_param_text_array(p, columns[OLD], n);
	db_param_text_array(p, columns[NEW], n);
}

/* The statements of a chunk's changes. */
struct pipeline {
	const struct db_stmt *stmts[USAGE_STATEMENTS_MAX + 3];
	const struct db_params *params[USAGE_STATEMENTS_MAX + 3];
	PGresult *results[USAGE_STATEMENTS_MAX + 3];
	size_t n;
};

static void add_statement(struct pipeline *p, const struct db_stmt *stmt, const struct db_params *params)
{
	p->stmts[p->n] = stmt;
	p->params[p->n++] = params;
}

/* Events, ledger, sums of usage and sums of the ledger, in this order. Sums that are not there are a broken
 * promise of the schema: nothing is changed then. */
static enum err run_changes(struct chunk *k, const struct usage_statements *usage)
{
	struct db_params plan, change, sums;
	db_params_init(&plan, k->arena);
	change_params(k, &change);
	sums_params(k, &sums);
	struct pipeline p = {.n = 0};
	add_statement(&p, &PLAN, &plan);
	add_statement(&p, &CHANGE, &change);
	for (size_t i = 0; i < usage->n; i++)
		add_statement(&p, usage->stmts[i], &usage->params[i]);
	add_statement(&p, &ADD_SUMS, &sums);
	const enum err e = db_pipeline(k->db, p.stmts, p.params, p.n, p.results);
	if (e != ERR_OK)
		return e;
	const bool whole = db_i64(p.results[1], 0, 0) == (int64_t)k->n_changed &&
			   db_i64(p.results[1], 0, 1) == (int64_t)k->n_changed &&
			   usage_changed(usage, &p.results[2]);
	for (size_t i = 0; i < p.n; i++)
		PQclear(p.results[i]);
	return whole ? ERR_OK : ERR_INTERNAL;
}

static enum err write_changes(struct chunk *k)
{
	struct usage_delta *const deltas = arena_array(k->arena, k->n_changed, sizeof *deltas);
	struct usage_statements *const usage = arena_alloc(k->arena, sizeof *usage);
	if (arena_overflowed(k->arena))
		return ERR_NO_MEMORY;
	enum err e = make_deltas(k, deltas);
	if (e == ERR_OK)
		e = usage_change(deltas, k->n_changed, k->arena, usage);
	return e == ERR_OK ? run_changes(k, usage) : e;
}

static void holder_param(struct db_params *p, const struct repricing *r)
{
	if (r->holder == 0)
		db_param_text(p, NULL);
	else
		db_param_i64(p, r->holder);
}

static enum err insert_row(struct db_conn *c, struct repricing *r, struct arena *arena)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, &r->user_id);
	db_param_uuid(&p, &r->id);
	db_param_bool(&p, r->automatic);
	db_param_uuid(&p, r->has_api_key ? &r->api_key_id : NULL);
	db_param_text(&p, r->reason);
	db_param_instant(&p, r->from_us);
	db_param_instant(&p, r->to_us);
	db_param_text(&p, r->provider);
	db_param_text(&p, r->model);
	db_param_instant(&p, r->cursor_at_us);
	db_param_uuid(&p, &r->cursor_id);
	db_param_i64(&p, r->catalogue_number);
	holder_param(&p, r);
	PGresult *result SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &INSERT, &p, &result);
	if (e != ERR_OK)
		return e;
	r->created_at_us = db_instant(result, 0, 0);
	r->stored = true;
	return ERR_OK;
}

static enum err write_progress(struct chunk *k)
{
	struct repricing *const r = &k->r;
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, &r->user_id);
	db_param_uuid(&p, &r->id);
	db_param_instant(&p, r->cursor_at_us);
	db_param_uuid(&p, &r->cursor_id);
	db_param_i64(&p, r->events_examined);
	db_param_i64(&p, r->events_changed);
	db_param_money(&p, r->range_old_cost);
	db_param_money(&p, r->range_new_cost);
	db_param_text(&p, repricing_state_name(r->state));
	db_param_i64(&p, r->catalogue_number);
	holder_param(&p, r);
	PGresult *result SCOPE_RESULT = NULL;
	const enum err e = db_run(k->db, &PROGRESS, &p, &result);
	if (e != ERR_OK)
		return e;
	CHECK(db_rows(result) == 1);
	r->finished_at_us = db_is_null(result, 0, 0) ? 0 : db_instant(result, 0, 0);
	return ERR_OK;
}

/* A stored one as it is now, held until the end of the transaction. */
static enum err lock_row(struct chunk *k)
{
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, &k->r.user_id);
	db_param_uuid(&p, &k->r.id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(k->db, &LOCK, &p, &r);
	if (e != ERR_OK)
		return e;
	const struct repricing now = read_row(r, 0, k->arena);
	if (arena_overflowed(k->arena))
		return ERR_NO_MEMORY;
	/* Who has the newer prices goes on. */
	if (now.state == REPRICING_RUNNING && now.catalogue_number > k->r.catalogue_number)
		return ERR_CONFLICT;
	k->r.state = now.state;
	k->r.cursor_at_us = now.cursor_at_us;
	k->r.cursor_id = now.cursor_id;
	k->r.events_examined = now.events_examined;
	k->r.events_changed = now.events_changed;
	k->r.range_old_cost = now.range_old_cost;
	k->r.range_new_cost = now.range_new_cost;
	k->r.finished_at_us = now.finished_at_us;
	return ERR_OK;
}

static enum err take_turn(struct chunk *k)
{
	struct db_params p;
	db_params_init(&p, k->arena);
	db_param_uuid(&p, &k->r.user_id);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(k->db, &ALONE, &p, &r);
	return e == ERR_OK && !db_bool(r, 0, 0) ? ERR_CONFLICT : e;
}

struct apply {
	const struct repricing *before;
	struct chunk *k; /* zeroed but for the constants at each try */
};

/* Body of the transaction. */
static enum err apply(struct db_conn *c, void *arg)
{
	const struct apply *const a = arg;
	struct chunk *const k = a->k;
	*k = (struct chunk){.db = c,
		.r = *a->before,
		.price = k->price,
		.arg = k->arg,
		.max_events = k->max_events,
		.arena = k->arena};
	arena_release(k->arena);
	enum err e = k->r.automatic ? take_turn(k) : ERR_OK;
	if (e == ERR_OK && k->r.stored)
		e = lock_row(k);
	if (e != ERR_OK || k->r.state != REPRICING_RUNNING)
		return e;
	e = look(k, &PAGE_TO_CHANGE);
	if (e == ERR_OK && !k->r.stored && k->n_changed > 0)
		e = insert_row(c, &k->r, k->arena);
	if (e == ERR_OK && k->n_changed > 0)
		e = write_changes(k);
	return e == ERR_OK && k->r.stored ? write_progress(k) : e;
}

enum err repricing_apply_chunk(
	struct db_conn *c, struct repricing *r, repricing_price *price, void *arg, int64_t max_events)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, CHUNK_BYTES);
	struct chunk *const k = calloc(1, sizeof *k);
	if (k == NULL)
		return ERR_NO_MEMORY;
	*k = (struct chunk){.price = price, .arg = arg, .max_events = max_events, .arena = &arena};
	struct apply a = {.before = r, .k = k};
	const enum err e = db_transaction(c, apply, &a);
	if (e == ERR_OK) {
		metric_add(METRIC_REPRICED_EVENTS, (int64_t)k->n_changed);
		*r = k->r;
	}
	free(k);
	return e;
}

enum err repricing_preview_chunk(
	struct db_conn *c, struct repricing *r, repricing_price *price, void *arg, int64_t max_events)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, CHUNK_BYTES);
	struct chunk *const k = calloc(1, sizeof *k);
	if (k == NULL)
		return ERR_NO_MEMORY;
	*k = (struct chunk){
		.db = c, .r = *r, .price = price, .arg = arg, .max_events = max_events, .arena = &arena};
	enum err e = look(k, &PAGE_TO_READ);
	for (size_t i = 0; e == ERR_OK && i < k->sums.n; i++) {
		if (!repricing_sums_add(&k->r.sums, &k->sums.rows[i]))
			e = arena_overflowed(k->r.sums.arena) ? ERR_NO_MEMORY : ERR_RANGE;
	}
	if (e == ERR_OK)
		*r = k->r;
	free(k);
	return e;
}

/* ---- the ledger ---- */

enum err repricings_count_running(struct db_conn *c, const struct uuid *user_id, bool automatic, int64_t *ret)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, 4096);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_bool(&p, automatic);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &COUNT_RUNNING, &p, &r);
	if (e == ERR_OK)
		*ret = db_i64(r, 0, 0);
	return e;
}

/* Body of a transaction. */
static enum err insert_within_limit(struct db_conn *c, void *arg)
{
	struct repricing *const r = arg;
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, 4096);
	r->stored = false;
	enum err e = users_lock(c, &r->user_id);
	int64_t running = 0;
	if (e == ERR_OK)
		e = repricings_count_running(c, &r->user_id, false, &running);
	if (e == ERR_OK && running >= REPRICING_RUNNING_MAX)
		e = ERR_CONFLICT;
	return e == ERR_OK ? insert_row(c, r, &arena) : e;
}

enum err repricings_insert(struct db_conn *c, struct repricing *r)
{
	const enum err e = db_transaction(c, insert_within_limit, r);
	if (e != ERR_OK)
		r->stored = false;
	return e;
}

static enum err run_for_one(
	struct db_conn *c, const struct db_stmt *stmt, const struct uuid *user_id, const struct uuid *id)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, 4096);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	return db_run(c, stmt, &p, NULL);
}

enum err repricings_fail(struct db_conn *c, const struct uuid *user_id, const struct uuid *id)
{
	return run_for_one(c, &FAIL, user_id, id);
}

enum err repricings_delay(struct db_conn *c, const struct uuid *user_id, const struct uuid *id)
{
	return run_for_one(c, &DELAY, user_id, id);
}

/* Adds the sums to the rows they belong to. */
static enum err read_sums(
	struct db_conn *c, const struct uuid *user_id, struct repricing *rows, size_t n, struct arena *arena)
{
	const char **const ids = arena_array(arena, n, sizeof *ids);
	for (size_t i = 0; ids != NULL && i < n; i++) {
		char text[UUID_TEXT_SIZE];
		uuid_format(&rows[i].id, text);
		ids[i] = arena_strdup(arena, text);
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_text_array(&p, ids, n);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &SUMS, &p, &r);
	if (e != ERR_OK)
		return e;
	for (int row = 0; row < db_rows(r); row++) {
		const struct uuid id = db_uuid(r, row, 0);
		size_t i = 0;
		while (i < n && !uuid_equal(&rows[i].id, &id))
			i++;
		CHECK(i < n);
		if (!repricing_sums_add(&rows[i].sums, &(struct repricing_sum){.provider = db_text(r, row, 1),
							       .model = db_text(r, row, 2),
							       .events = db_i64(r, row, 3),
							       .old_cost = db_money(r, row, 4),
							       .new_cost = db_money(r, row, 5)}))
			return ERR_NO_MEMORY;
	}
	return ERR_OK;
}

/* The rows of a result of COLUMNS, all of one user, with their sums. */
static enum err read_rows(struct db_conn *c, const struct uuid *user_id, const PGresult *r,
	struct arena *arena, struct repricing **ret, size_t *ret_n)
{
	const size_t n = (size_t)db_rows(r);
	struct repricing *const rows = arena_array(arena, n, sizeof *rows);
	for (size_t i = 0; rows != NULL && i < n; i++)
		rows[i] = read_row(r, (int)i, arena);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	const enum err e = n == 0 ? ERR_OK : read_sums(c, user_id, rows, n, arena);
	if (e != ERR_OK)
		return e;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

enum err repricings_find(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	struct arena *arena, struct repricing *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	PGresult *r SCOPE_RESULT = NULL;
	enum err e = db_run_row(c, &FIND, &p, &r);
	if (e != ERR_OK)
		return e;
	struct repricing *row;
	size_t n;
	e = read_rows(c, user_id, r, arena, &row, &n);
	if (e == ERR_OK)
		*ret = *row;
	return e;
}

enum err repricings_list(struct db_conn *c, const struct uuid *user_id, const struct uuid *before, int limit,
	struct arena *arena, struct repricing **ret, size_t *ret_n)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, before);
	db_param_i64(&p, limit);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &LIST, &p, &r);
	return e == ERR_OK ? read_rows(c, user_id, r, arena, ret, ret_n) : e;
}

enum err repricings_next(struct db_conn *c, int64_t idle_us, int64_t holder, int64_t catalogue_number,
	struct arena *arena, struct repricing *ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_i64(&p, idle_us);
	db_param_i64(&p, holder);
	db_param_i64(&p, catalogue_number);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run_row(c, &NEXT, &p, &r);
	if (e != ERR_OK)
		return e;
	struct repricing row = read_row(r, 0, arena);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	row.holder = holder;
	*ret = row;
	return ERR_OK;
}

enum err repricings_fail_abandoned(
	struct db_conn *c, int64_t idle_us, int64_t catalogue_number, int64_t *ret_failed)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, 4096);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_i64(&p, idle_us);
	db_param_i64(&p, catalogue_number);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &FAIL_ABANDONED, &p, &r);
	if (e == ERR_OK)
		*ret_failed = db_rows(r);
	return e;
}

enum err repricing_catalogue_number(struct db_conn *c, const char *version, int64_t *ret)
{
	struct db_params p;
	db_params_init(&p, NULL);
	db_param_text(&p, version);
	/* Looked for first, so that a version that is known takes no number. */
	for (int tries = 0; tries < 2; tries++) {
		PGresult *r SCOPE_RESULT = NULL;
		enum err e = db_run(c, &FIND_CATALOGUE, &p, &r);
		if (e == ERR_OK && db_rows(r) == 1) {
			*ret = db_i64(r, 0, 0);
			return ERR_OK;
		}
		if (e == ERR_OK)
			e = db_run(c, &ADD_CATALOGUE, &p, NULL);
		if (e != ERR_OK)
			return e;
	}
	return ERR_DB_RETRY;
}

enum err repricing_catalogue_seen(struct db_conn *c, int64_t number)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, 4096);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_i64(&p, number);
	return db_run(c, &CATALOGUE_SEEN, &p, NULL);
}

enum err repricing_count(struct db_conn *c, const struct repricing *r, int64_t *ret)
{
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, 4096);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &r->user_id);
	db_param_instant(&p, bucket_of(r->from_us));
	db_param_instant(&p, r->to_us);
	db_param_text(&p, r->provider);
	db_param_text(&p, r->model);
	PGresult *result SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &COUNT, &p, &result);
	if (e == ERR_OK)
		*ret = db_i64(result, 0, 0);
	return e;
}
