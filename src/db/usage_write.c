/* Writing the sums of events: from what each event adds to the rows of all tables and to the sets, in
 * the one order in which everybody locks them. Exact: integers only, money as decimal texts. Not here:
 * running the statements (ingest, repricing.c), and reading the sums (costs.c).
 *
 * The events' shares are merged once, by set, which is the finest of the levels (a set has one project);
 * every other level is made from those rows and not from the events again. */

#include "llmlab/db/usage_write.h"

#include <stdlib.h>
#include <string.h>
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/hash.h"
#include "llmlab/db/history.h"

#define QUARTER_S (15 * 60)
#define HOUR_S	  (60 * 60)
#define DAY_S	  (24 * 60 * 60)
#define WEEK_S	  (7 * DAY_S)
#define MONDAY_S  (4 * DAY_S) /* a Monday, 1970-01-05: where weeks are counted from */

/* ---- statements ---- */

#define SUMS                                                                                                 \
	"calls, errors, unpriced_calls, input_tokens, output_tokens, cache_read_tokens, "                    \
	"cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost, error_cost, standard_cost"
/* What is 0 in all rows is NULL as a whole, and then in each. */
#define SUM_ARRAYS                                                                                           \
	"$1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], " \
	"$8::bigint[], $9::bigint[], $10::numeric[], $11::numeric[], $12::numeric[]"
#define SUM_VALUES                                                                                           \
	"coalesce(calls, 0), coalesce(errors, 0), coalesce(unpriced_calls, 0), coalesce(input_tokens, 0), "  \
	"coalesce(output_tokens, 0), coalesce(cache_read_tokens, 0), coalesce(cache_write_tokens, 0), "      \
	"coalesce(cache_write_1h_tokens, 0), coalesce(reasoning_tokens, 0), coalesce(cost, 0), "             \
	"coalesce(error_cost, 0), coalesce(standard_cost, 0)"
#define ADDED(more)                                                                                          \
	"calls = u.calls + " more ".calls, errors = u.errors + " more                                        \
	".errors, unpriced_calls = u.unpriced_calls + " more                                                 \
	".unpriced_calls, input_tokens = u.input_tokens + " more                                             \
	".input_tokens, output_tokens = u.output_tokens + " more                                             \
	".output_tokens, cache_read_tokens = u.cache_read_tokens + " more                                    \
	".cache_read_tokens, cache_write_tokens = u.cache_write_tokens + " more                              \
	".cache_write_tokens, cache_write_1h_tokens = u.cache_write_1h_tokens + " more                       \
	".cache_write_1h_tokens, reasoning_tokens = u.reasoning_tokens + " more                              \
	".reasoning_tokens, cost = u.cost + " more ".cost, error_cost = u.error_cost + " more                \
	".error_cost, standard_cost = u.standard_cost + " more ".standard_cost"

/* The keys of the tables: their columns, their arrays (behind those of the sums), and how they compare. */
#define MODEL_KEYS	 "user_id, bucket, provider, model, project"
#define MODEL_ARRAYS	 "$13::uuid[], $14::timestamptz[], $15::text[], $16::text[], $17::text[]"
#define MODEL_ORDER	 "user_id, bucket, provider COLLATE \"C\", model COLLATE \"C\", project COLLATE \"C\""
#define MODEL_MATCH	 HOUR_MATCH " AND u.provider = k.provider AND u.model = k.model AND u.project = k.project"
#define HOUR_KEYS	 "user_id, bucket"
#define HOUR_ARRAYS	 "$13::uuid[], $14::timestamptz[]"
#define HOUR_ORDER	 "user_id, bucket"
#define HOUR_MATCH	 "u.user_id = k.user_id AND u.bucket = k.bucket"
#define SET_MODEL_KEYS	 "user_id, bucket, set_id, provider, model"
#define SET_MODEL_ARRAYS "$13::uuid[], $14::timestamptz[], $15::uuid[], $16::text[], $17::text[]"
#define SET_MODEL_ORDER	 "user_id, bucket, set_id, provider COLLATE \"C\", model COLLATE \"C\""
#define SET_MODEL_MATCH	 SET_MATCH " AND u.provider = k.provider AND u.model = k.model"
#define SET_KEYS	 "user_id, bucket, set_id"
#define SET_ARRAYS	 "$13::uuid[], $14::timestamptz[], $15::uuid[]"
#define SET_ORDER	 "user_id, bucket, set_id"
#define SET_MATCH	 HOUR_MATCH " AND u.set_id = k.set_id"

#define ROWS(kind) "unnest(" SUM_ARRAYS ", " kind##_ARRAYS ") AS k (" SUMS ", " kind##_KEYS ")"
/* Rows come in the order of the key already, and a scan of a function without a join keeps it: they are
 * not sorted again in SQL. */
#define INSERT(table, kind)                                                                                  \
	{                                                                                                    \
		table "_insert",                                                                             \
			"INSERT INTO " table " AS u (" kind##_KEYS ", " SUMS ") SELECT " kind##_KEYS         \
			", " SUM_VALUES " FROM " ROWS(kind) " ON CONFLICT (" kind##_KEYS                     \
			") DO UPDATE SET " ADDED("EXCLUDED")                                                 \
	}
/* Rows are held in order first: an UPDATE takes them in whatever order the planner likes. */
#define LOCK(table, kind)                                                                                    \
	{                                                                                                    \
		table "_lock", "SELECT 1 FROM " ROWS(kind) " JOIN " table " AS u USING (" kind##_KEYS        \
			") ORDER BY " kind##_ORDER " FOR NO KEY UPDATE OF u"                                 \
	}
#define CHANGE(table, kind)                                                                                  \
	{                                                                                                    \
		table "_change", "UPDATE " table " AS u SET " ADDED("k") " FROM (SELECT " kind##_KEYS        \
			", " SUM_VALUES " FROM " ROWS(kind) ") AS k (" kind##_KEYS                           \
			", " SUMS ") WHERE " kind##_MATCH " RETURNING 1"                                     \
	}

static const struct db_stmt SETS_INSERT = {"usage_sets_insert",
	"INSERT INTO usage_sets (user_id, id, project, customer, api_key_id, tags) SELECT * FROM "
	"unnest($1::uuid[], "
	"$2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::jsonb[]) AS k (user_id, id, project, customer, "
	"api_key_id, "
	"tags) ORDER BY k.user_id, k.id ON CONFLICT (user_id, id) DO NOTHING"};

/* ---- tables ---- */

typedef int compare_rows(const void *a, const void *b);

static const char *project_of(const struct event *e)
{
	return e->project == NULL ? "" : e->project;
}

static int compare_buckets(const struct usage_delta *x, const struct usage_delta *y)
{
	const int order = uuid_compare(&x->event->user_id, &y->event->user_id);
	return order != 0 ? order : (x->bucket_s > y->bucket_s) - (x->bucket_s < y->bucket_s);
}

static int compare_names(const struct usage_delta *x, const struct usage_delta *y)
{
	const int order = strcmp(x->event->provider, y->event->provider);
	return order != 0 ? order : strcmp(x->event->model, y->event->model);
}

static int compare_by_hour(const void *a, const void *b)
{
	return compare_buckets(a, b);
}

static int compare_by_model(const void *a, const void *b)
{
	const struct usage_delta *const x = a, *const y = b;
	int order = compare_buckets(x, y);
	if (order == 0)
		order = compare_names(x, y);
	return order != 0 ? order : strcmp(project_of(x->event), project_of(y->event));
}

static int compare_by_set(const void *a, const void *b)
{
	const struct usage_delta *const x = a, *const y = b;
	const int order = compare_buckets(x, y);
	return order != 0 ? order : uuid_compare(&x->event->set_id, &y->event->set_id);
}

static int compare_by_set_and_model(const void *a, const void *b)
{
	const int order = compare_by_set(a, b);
	return order != 0 ? order : compare_names(a, b);
}

enum key_kind { KEY_MODEL, KEY_HOUR, KEY_SET_MODEL, KEY_SET };

/* In the order of the locks. */
static const struct table {
	enum key_kind kind;
	int64_t bucket_s;
	compare_rows *compare; /* as the primary key */
	struct db_stmt insert, lock, change;
} tables[] = {
	{KEY_MODEL, QUARTER_S, compare_by_model, INSERT("usage_model_15m", MODEL),
		LOCK("usage_model_15m", MODEL), CHANGE("usage_model_15m", MODEL)},
	{KEY_MODEL, DAY_S, compare_by_model, INSERT("usage_model_day", MODEL), LOCK("usage_model_day", MODEL),
		CHANGE("usage_model_day", MODEL)},
	{KEY_HOUR, HOUR_S, compare_by_hour, INSERT("usage_hour", HOUR), LOCK("usage_hour", HOUR),
		CHANGE("usage_hour", HOUR)},
	{KEY_SET_MODEL, QUARTER_S, compare_by_set_and_model, INSERT("usage_set_model_15m", SET_MODEL),
		LOCK("usage_set_model_15m", SET_MODEL), CHANGE("usage_set_model_15m", SET_MODEL)},
	{KEY_SET_MODEL, DAY_S, compare_by_set_and_model, INSERT("usage_set_model_day", SET_MODEL),
		LOCK("usage_set_model_day", SET_MODEL), CHANGE("usage_set_model_day", SET_MODEL)},
	{KEY_SET, DAY_S, compare_by_set, INSERT("usage_set_day", SET), LOCK("usage_set_day", SET),
		CHANGE("usage_set_day", SET)},
	{KEY_HOUR, DAY_S, compare_by_hour, INSERT("usage_day", HOUR), LOCK("usage_day", HOUR),
		CHANGE("usage_day", HOUR)},
	{KEY_MODEL, WEEK_S, compare_by_model, INSERT("usage_model_week", MODEL),
		LOCK("usage_model_week", MODEL), CHANGE("usage_model_week", MODEL)},
	{KEY_SET, WEEK_S, compare_by_set, INSERT("usage_set_week", SET), LOCK("usage_set_week", SET),
		CHANGE("usage_set_week", SET)},
};
#define N_TABLES (sizeof tables / sizeof tables[0])
_Static_assert(2 * N_TABLES <= USAGE_STATEMENTS_MAX, "two statements a table");

/* ---- what an event adds ---- */

/* The begin of the time of this width that contains s: weeks begin on Mondays, all others divide a day. */
static int64_t floor_to(int64_t s, int64_t width)
{
	const int64_t rest = (s - (width == WEEK_S ? MONDAY_S : 0)) % width;
	return s - (rest < 0 ? rest + width : rest);
}

static struct usage_delta delta_of(const struct event *e)
{
	const int64_t s = floor_to(e->occurred_at_us, US_PER_SECOND) / US_PER_SECOND;
	return (struct usage_delta){.event = e, .bucket_s = floor_to(s, QUARTER_S)};
}

static bool is_error(const struct event *e)
{
	return strcmp(e->status, "error") == 0;
}

static bool is_standard(const char *service_tier)
{
	return strcmp(service_tier, "standard") == 0;
}

struct usage_delta usage_delta_insert(const struct event *e)
{
	struct usage_delta d = delta_of(e);
	d.calls = 1;
	d.errors = is_error(e);
	d.unpriced_calls = !e->has_cost;
	d.input_tokens = e->usage.counts[USAGE_input_tokens];
	d.output_tokens = e->usage.counts[USAGE_output_tokens];
	d.cache_read_tokens = e->usage.counts[USAGE_cache_read_tokens];
	d.cache_write_tokens = e->usage.counts[USAGE_cache_write_tokens];
	d.cache_write_1h_tokens = e->usage.counts[USAGE_cache_write_1h_tokens];
	d.reasoning_tokens = e->usage.counts[USAGE_reasoning_tokens];
	if (!e->has_cost)
		return d;
	d.cost = e->cost;
	if (is_error(e))
		d.error_cost = e->cost;
	if (is_standard(e->service_tier))
		d.standard_cost = e->cost;
	return d;
}

enum err usage_delta_reprice(const struct event *e, bool has_cost, struct money cost,
	const char *service_tier, struct usage_delta *ret)
{
	const int128 before = e->has_cost ? e->cost.atto : 0, after = has_cost ? cost.atto : 0;
	struct usage_delta d = delta_of(e);
	d.unpriced_calls = (int64_t)e->has_cost - (int64_t)has_cost;
	if (!decimal_sub(after, before, &d.cost.atto))
		return ERR_RANGE;
	if (is_error(e))
		d.error_cost = d.cost;
	if (!decimal_sub(is_standard(service_tier) ? after : 0, is_standard(e->service_tier) ? before : 0,
		    &d.standard_cost.atto))
		return ERR_RANGE;
	*ret = d;
	return ERR_OK;
}

/* ---- rows ---- */

static bool add_delta(struct usage_delta *to, const struct usage_delta *d)
{
	/* At most a batch of counts of at most 10^12: far from 2^63. */
	to->calls += d->calls;
	to->errors += d->errors;
	to->unpriced_calls += d->unpriced_calls;
	to->input_tokens += d->input_tokens;
	to->output_tokens += d->output_tokens;
	to->cache_read_tokens += d->cache_read_tokens;
	to->cache_write_tokens += d->cache_write_tokens;
	to->cache_write_1h_tokens += d->cache_write_1h_tokens;
	to->reasoning_tokens += d->reasoning_tokens;
	return money_add(to->cost, d->cost, &to->cost) &&
	       money_add(to->error_cost, d->error_cost, &to->error_cost) &&
	       money_add(to->standard_cost, d->standard_cost, &to->standard_cost);
}

/* Sorts n rows and adds up those of equal keys. False: a sum does not fit. */
static bool merge(struct usage_delta *rows, size_t n, compare_rows *compare, size_t *ret_n)
{
	if (n > 1)
		qsort(rows, n, sizeof *rows, compare);
	size_t left = 0;
	for (size_t i = 0; i < n; i++) {
		if (left == 0 || compare(&rows[left - 1], &rows[i]) != 0)
			rows[left++] = rows[i];
		else if (!add_delta(&rows[left - 1], &rows[i]))
			return false;
	}
	*ret_n = left;
	return true;
}

/* The rows of a table, from those by set. */
static bool rows_of(const struct table *t, const struct usage_delta *by_set, size_t n,
	struct usage_delta *rows, size_t *ret_n)
{
	for (size_t i = 0; i < n; i++) {
		rows[i] = by_set[i];
		rows[i].bucket_s = floor_to(rows[i].bucket_s, t->bucket_s);
	}
	return merge(rows, n, t->compare, ret_n);
}

/* Of a change: whether the row stays as it is. */
static bool changes_nothing(const struct usage_delta *d)
{
	return d->unpriced_calls == 0 && d->cost.atto == 0 && d->error_cost.atto == 0 &&
	       d->standard_cost.atto == 0;
}

static size_t without_idle(struct usage_delta *rows, size_t n)
{
	size_t left = 0;
	for (size_t i = 0; i < n; i++) {
		if (!changes_nothing(&rows[i]))
			rows[left++] = rows[i];
	}
	return left;
}

/* ---- parameters ---- */

/* Room for one column of n rows. */
struct columns {
	int64_t *integers;
	struct money *amounts;
	struct uuid *ids;
	const char **texts;
};

static bool columns_init(struct columns *c, size_t n, struct arena *arena)
{
	*c = (struct columns){.integers = arena_array(arena, n, sizeof *c->integers),
		.amounts = arena_array(arena, n, sizeof *c->amounts),
		.ids = arena_array(arena, n, sizeof *c->ids),
		.texts = arena_array(arena, n, sizeof *c->texts)};
	return !arena_overflowed(arena);
}

/* Of a column that is 0 in every row the database is told only that: most have no errors and no caches. */
static void count_param(
	struct db_params *p, const struct usage_delta *rows, size_t n, size_t offset, const struct columns *c)
{
	bool any = false;
	for (size_t i = 0; i < n; i++) {
		memcpy(&c->integers[i], (const char *)&rows[i] + offset, sizeof c->integers[i]);
		any |= c->integers[i] != 0;
	}
	if (any)
		db_param_i64_array_binary(p, c->integers, n);
	else
		db_param_text(p, NULL);
}

static void amount_param(
	struct db_params *p, const struct usage_delta *rows, size_t n, size_t offset, const struct columns *c)
{
	bool any = false;
	for (size_t i = 0; i < n; i++) {
		memcpy(&c->amounts[i], (const char *)&rows[i] + offset, sizeof c->amounts[i]);
		any |= c->amounts[i].atto != 0;
	}
	/* A batch of amounts of at most MONEY_MAX_USD each is far below what numeric's writer takes. */
	if (any)
		db_param_money_array_binary(p, c->amounts, n);
	else
		db_param_text(p, NULL);
}

static void sum_params(struct db_params *p, const struct usage_delta *rows, size_t n, const struct columns *c)
{
	static const size_t counts[] = {offsetof(struct usage_delta, calls),
		offsetof(struct usage_delta, errors), offsetof(struct usage_delta, unpriced_calls),
		offsetof(struct usage_delta, input_tokens), offsetof(struct usage_delta, output_tokens),
		offsetof(struct usage_delta, cache_read_tokens),
		offsetof(struct usage_delta, cache_write_tokens),
		offsetof(struct usage_delta, cache_write_1h_tokens),
		offsetof(struct usage_delta, reasoning_tokens)};
	static const size_t amounts[] = {offsetof(struct usage_delta, cost),
		offsetof(struct usage_delta, error_cost), offsetof(struct usage_delta, standard_cost)};
	for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++)
		count_param(p, rows, n, counts[k], c);
	for (size_t k = 0; k < sizeof amounts / sizeof amounts[0]; k++)
		amount_param(p, rows, n, amounts[k], c);
}

static void set_param(struct db_params *p, const struct usage_delta *rows, size_t n, const struct columns *c)
{
	for (size_t i = 0; i < n; i++)
		c->ids[i] = rows[i].event->set_id;
	db_param_uuid_array_binary(p, c->ids, n);
}

static void name_params(
	struct db_params *p, const struct usage_delta *rows, size_t n, const struct columns *c)
{
	for (size_t i = 0; i < n; i++)
		c->texts[i] = rows[i].event->provider;
	db_param_text_array_binary(p, c->texts, n);
	for (size_t i = 0; i < n; i++)
		c->texts[i] = rows[i].event->model;
	db_param_text_array_binary(p, c->texts, n);
}

static void key_params(struct db_params *p, enum key_kind kind, const struct usage_delta *rows, size_t n,
	const struct columns *c)
{
	for (size_t i = 0; i < n; i++) {
		c->ids[i] = rows[i].event->user_id;
		c->integers[i] = rows[i].bucket_s * US_PER_SECOND;
	}
	db_param_uuid_array_binary(p, c->ids, n);
	db_param_instant_array_binary(p, c->integers, n);
	switch (kind) {
	case KEY_HOUR:
		return;
	case KEY_MODEL:
		name_params(p, rows, n, c);
		for (size_t i = 0; i < n; i++)
			c->texts[i] = project_of(rows[i].event);
		db_param_text_array_binary(p, c->texts, n);
		return;
	case KEY_SET_MODEL:
		set_param(p, rows, n, c);
		name_params(p, rows, n, c);
		return;
	case KEY_SET:
		set_param(p, rows, n, c);
		return;
	}
}

static enum err table_params(struct db_params *p, enum key_kind kind, const struct usage_delta *rows,
	size_t n, struct arena *arena)
{
	struct columns c;
	if (!columns_init(&c, n, arena))
		return ERR_NO_MEMORY;
	db_params_init(p, arena);
	sum_params(p, rows, n, &c);
	key_params(p, kind, rows, n, &c);
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

static struct db_params *add_statement(struct usage_statements *s, const struct db_stmt *stmt, size_t rows)
{
	CHECK(s->n < USAGE_STATEMENTS_MAX);
	s->stmts[s->n] = stmt;
	s->rows[s->n] = rows;
	return &s->params[s->n++];
}

/* ---- sets ---- */

#define KNOWN_SETS 65536

struct known_set {
	struct uuid user_id, set_id;
	bool used;
};

struct usage_known_sets {
	uint64_t conn_number;		   /* of the connection that committed them */
	struct history_mark mark;	   /* written with the last of them; set if there are any */
	struct known_set sets[KNOWN_SETS]; /* each at its hash: a later one takes an earlier one's place */
};

struct usage_known_sets *usage_known_sets_new(void)
{
	return calloc(1, sizeof(struct usage_known_sets));
}

void usage_known_sets_free(struct usage_known_sets *k)
{
	free(k);
}

static struct known_set *place_of(struct usage_known_sets *k, const struct event *e)
{
	const uint64_t hash =
		hash_more(hash_bytes(&e->user_id, sizeof e->user_id), &e->set_id, sizeof e->set_id);
	return &k->sets[hash % KNOWN_SETS];
}

static bool is_known(struct usage_known_sets *k, const struct event *e)
{
	if (k == NULL)
		return false;
	const struct known_set *const at = place_of(k, e);
	return at->used && uuid_equal(&at->user_id, &e->user_id) && uuid_equal(&at->set_id, &e->set_id);
}

void usage_inserted(struct usage_known_sets *known, const struct usage_statements *s)
{
	if (known == NULL)
		return;
	if (s->n_new_sets > 0)
		known->mark = s->mark;
	for (size_t i = 0; i < s->n_new_sets; i++) {
		const struct event *const e = s->new_sets[i];
		*place_of(known, e) =
			(struct known_set){.user_id = e->user_id, .set_id = e->set_id, .used = true};
	}
}

static int compare_sets(const void *a, const void *b)
{
	const struct event *const *const x = a, *const *const y = b;
	const int order = uuid_compare(&(*x)->user_id, &(*y)->user_id);
	return order != 0 ? order : uuid_compare(&(*x)->set_id, &(*y)->set_id);
}

/* One event of each set of the rows that is not known, by key; *ret_relies: some are. */
static enum err find_new_sets(const struct usage_delta *by_set, size_t n, struct usage_known_sets *known,
	struct arena *arena, struct usage_statements *s, bool *ret_relies)
{
	const struct event **const sets = arena_array(arena, n, sizeof(const struct event *));
	if (sets == NULL)
		return ERR_NO_MEMORY;
	size_t n_sets = 0;
	for (size_t i = 0; i < n; i++) {
		if (!is_known(known, by_set[i].event))
			sets[n_sets++] = by_set[i].event;
	}
	*ret_relies = n_sets < n;
	if (n_sets > 1)
		qsort(sets, n_sets, sizeof *sets, compare_sets);
	s->new_sets = sets;
	for (size_t i = 0; i < n_sets; i++) {
		if (i == 0 || compare_sets(&sets[s->n_new_sets - 1], &sets[i]) != 0)
			sets[s->n_new_sets++] = sets[i];
	}
	return ERR_OK;
}

/* The arrays of SETS_INSERT. */
enum { SET_USER, SET_ID, SET_PROJECT, SET_CUSTOMER, SET_API_KEY, SET_TAGS, SET_COLUMNS };

static enum err set_params(
	struct db_params *p, const struct event *const *sets, size_t n, struct arena *arena)
{
	const char **columns[SET_COLUMNS];
	for (size_t k = 0; k < SET_COLUMNS; k++)
		columns[k] = arena_array(arena, n, sizeof *columns[k]);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		const struct event *const e = sets[i];
		columns[SET_USER][i] = uuid_text(&e->user_id, arena);
		columns[SET_ID][i] = uuid_text(&e->set_id, arena);
		columns[SET_PROJECT][i] = project_of(e);
		columns[SET_CUSTOMER][i] = e->customer == NULL ? "" : e->customer;
		columns[SET_API_KEY][i] = e->has_api_key ? uuid_text(&e->api_key_id, arena) : NULL;
		columns[SET_TAGS][i] = e->tags_json;
	}
	db_params_init(p, arena);
	for (size_t k = 0; k < SET_COLUMNS; k++)
		db_param_text_array(p, columns[k], n);
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

void usage_forget_sets(struct usage_known_sets *k)
{
	memset(k, 0, sizeof *k);
}

static void forget_after_reconnect(struct usage_known_sets *k, uint64_t conn_number)
{
	if (k == NULL || k->conn_number == conn_number)
		return;
	usage_forget_sets(k);
	k->conn_number = conn_number;
}

/* Known sets were committed by transactions that left marks: as long as the last mark is there, so are they.
 * It is looked at in the transaction that relies on them, and moved by the one that adds to them. */
static enum err add_mark(
	struct usage_statements *s, const struct usage_known_sets *known, bool relies, struct arena *arena)
{
	if (known == NULL)
		return ERR_OK;
	if (s->n_new_sets > 0) {
		s->mark = history_next(&known->mark);
		struct db_params *const p =
			add_statement(s, known->mark.set ? &HISTORY_MOVE : &HISTORY_BEGIN, 0);
		history_move_params(p, &known->mark, &s->mark, arena);
	} else if (relies) {
		history_check_params(add_statement(s, &HISTORY_CHECK, 0), &known->mark, arena);
	}
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

/* ---- making the statements ---- */

enum err usage_insert(struct usage_delta *deltas, size_t n, struct usage_known_sets *known,
	uint64_t conn_number, struct arena *arena, struct usage_statements *ret)
{
	struct usage_statements *const s = ret;
	s->n = s->n_new_sets = 0;
	forget_after_reconnect(known, conn_number);
	size_t n_by_set = 0;
	CHECK(merge(deltas, n, compare_by_set_and_model, &n_by_set));
	struct usage_delta *const rows = arena_array(arena, n_by_set, sizeof *rows);
	if (rows == NULL)
		return ERR_NO_MEMORY;
	bool relies = false;
	enum err e = find_new_sets(deltas, n_by_set, known, arena, s, &relies);
	if (e == ERR_OK)
		e = add_mark(s, known, relies, arena);
	if (e == ERR_OK && s->n_new_sets > 0)
		e = set_params(add_statement(s, &SETS_INSERT, 0), s->new_sets, s->n_new_sets, arena);
	for (size_t i = 0; e == ERR_OK && i < N_TABLES; i++) {
		const struct table *const t = &tables[i];
		size_t n_rows = 0;
		CHECK(rows_of(t, deltas, n_by_set, rows, &n_rows));
		e = table_params(add_statement(s, &t->insert, 0), t->kind, rows, n_rows, arena);
	}
	return e;
}

/* A table whose rows all stay as they are is not touched. */
static enum err change_table(const struct table *t, const struct usage_delta *rows, size_t n,
	struct arena *arena, struct usage_statements *s)
{
	if (n == 0)
		return ERR_OK;
	struct db_params *const lock = add_statement(s, &t->lock, n);
	const enum err e = table_params(lock, t->kind, rows, n, arena);
	if (e == ERR_OK)
		*add_statement(s, &t->change, n) = *lock;
	return e;
}

enum err usage_change(struct usage_delta *deltas, size_t n, struct arena *arena, struct usage_statements *ret)
{
	struct usage_statements *const s = ret;
	s->n = s->n_new_sets = 0;
	size_t n_by_set = 0;
	if (!merge(deltas, n, compare_by_set_and_model, &n_by_set))
		return ERR_RANGE;
	struct usage_delta *const rows = arena_array(arena, n_by_set, sizeof *rows);
	if (rows == NULL)
		return ERR_NO_MEMORY;
	enum err e = ERR_OK;
	for (size_t i = 0; e == ERR_OK && i < N_TABLES; i++) {
		const struct table *const t = &tables[i];
		size_t n_rows = 0;
		if (!rows_of(t, deltas, n_by_set, rows, &n_rows))
			return ERR_RANGE;
		e = change_table(t, rows, without_idle(rows, n_rows), arena, s);
	}
	return e;
}

bool usage_changed(const struct usage_statements *s, PGresult *const *results)
{
	for (size_t i = 0; i < s->n; i++) {
		if ((size_t)db_rows(results[i]) != s->rows[i])
			return false;
	}
	return true;
}
