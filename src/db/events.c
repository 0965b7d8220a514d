/* Events in the database: the binary COPY encoding that the ingest writer sends, partitions, and every query
 * that returns whole events. Not here: the transaction that stores them (ingest), and sums of them (costs.c).
 */

#include "llmlab/db/events.h"

#include <string.h>
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/json_read.h"
#include "llmlab/base/json_write.h"
#include "event_row.h"

/* PostgreSQL's time begins 2000-01-01. */
#define POSTGRES_EPOCH_US 946684800000000LL

const char EVENTS_COPY_SQL[] = "COPY events (" EVENT_COLUMNS ") FROM STDIN (FORMAT binary)";

/* ---- writing ---- */

static void put_null(struct buf *out)
{
	buf_put_u32be(out, UINT32_MAX);
}

static void put_text(struct buf *out, const char *s)
{
	if (s == NULL) {
		put_null(out);
		return;
	}
	const size_t n = strlen(s);
	buf_put_u32be(out, (uint32_t)n);
	buf_append(out, s, n);
}

static void put_i64(struct buf *out, int64_t v)
{
	buf_put_u32be(out, 8);
	buf_put_u64be(out, (uint64_t)v);
}

static void put_instant(struct buf *out, int64_t us)
{
	put_i64(out, us - POSTGRES_EPOCH_US);
}

static void put_uuid(struct buf *out, const struct uuid *u)
{
	buf_put_u32be(out, sizeof(u->bytes));
	buf_append(out, u->bytes, sizeof(u->bytes));
}

/* jsonb's binary form: a version byte and the text. */
static void put_json(struct buf *out, const char *json)
{
	if (json == NULL) {
		put_null(out);
		return;
	}
	const size_t n = strlen(json);
	buf_put_u32be(out, (uint32_t)(n + 1));
	buf_putc(out, 1);
	buf_append(out, json, n);
}

/* Places of the base-10000 fraction of money: 18 decimals are 5 groups with 2 to spare. */
#define NUMERIC_FRACTION_GROUPS 5
#define NUMERIC_GROUPS_MAX	10

/* Least significant group first. Returns how many. */
static int base10000_groups(uint128 v, uint16_t groups[NUMERIC_GROUPS_MAX])
{
	const uint64_t four_groups = 10000000000000000ULL;
	int n = 0;
	while (v > 0) {
		/* One 128-bit division for four groups: they are slow. */
		uint64_t part = (uint64_t)(v % four_groups);
		v /= four_groups;
		for (int i = 0; i < 4 && (v > 0 || part > 0); i++) {
			CHECK(n < NUMERIC_GROUPS_MAX);
			groups[n++] = (uint16_t)(part % 10000);
			part /= 10000;
		}
	}
	return n;
}

static int trailing_zeros(unsigned group)
{
	int n = 0;
	while (n < 4 && group % 10 == 0) {
		group /= 10;
		n++;
	}
	return n;
}

static void u16be(uint8_t *at, unsigned v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

size_t events_numeric(struct money m, uint8_t out[EVENTS_NUMERIC_MAX])
{
	const int128 bound = decimal_pow10(36);
	CHECK(m.atto <= bound && m.atto >= -bound);
	const bool negative = m.atto < 0;
	/* x 100: 18 decimals become the 20 of whole groups. */
	const uint128 scaled = (uint128)(negative ? -m.atto : m.atto) * 100;
	uint16_t groups[NUMERIC_GROUPS_MAX];
	const int n = base10000_groups(scaled, groups);
	int first = 0; /* the least significant group that is not zero */
	while (first < n && groups[first] == 0)
		first++;
	int decimals = 0;
	if (first < n && first < NUMERIC_FRACTION_GROUPS)
		decimals = 4 * (NUMERIC_FRACTION_GROUPS - first) - trailing_zeros(groups[first]);
	const int weight = n > 0 ? n - 1 - NUMERIC_FRACTION_GROUPS : 0;

	u16be(out, (unsigned)(n - first));
	u16be(out + 2, (unsigned)weight & 0xFFFFU);
	u16be(out + 4, negative ? 0x4000 : 0);
	u16be(out + 6, (unsigned)decimals);
	uint8_t *at = out + 8;
	for (int i = n - 1; i >= first; i--, at += 2)
		u16be(at, groups[i]);
	return (size_t)(at - out);
}

static void put_money(struct buf *out, bool has, struct money m)
{
	if (!has) {
		put_null(out);
		return;
	}
	uint8_t numeric[EVENTS_NUMERIC_MAX];
	const size_t n = events_numeric(m, numeric);
	buf_put_u32be(out, (uint32_t)n);
	buf_append(out, numeric, n);
}

static void put_counts(struct buf *out, const struct usage *u)
{
	for (int i = 0; i < USAGE_COUNTS; i++) {
		const bool whole = i == USAGE_input_tokens || i == USAGE_output_tokens;
		if (u->counts[i] == 0 && !whole)
			put_null(out);
		else
			put_i64(out, u->counts[i]);
	}
	if (u->web_searches == 0)
		put_null(out);
	else
		put_i64(out, u->web_searches);
}

static bool has_units(const struct usage *u)
{
	for (int i = 0; i < USAGE_UNITS; i++)
		if (u->units[i] != 0)
			return true;
	return false;
}

static void put_units(struct buf *out, const struct usage *u)
{
	if (!has_units(u)) {
		put_null(out);
		return;
	}
	const size_t length_at = out->len;
	buf_put_u32be(out, 0);
	buf_putc(out, 1);
	struct json_writer w;
	jw_init(&w, out);
	jw_object_begin(&w, NULL);
	for (int i = 0; i < USAGE_UNITS; i++)
		if (u->units[i] != 0)
			jw_decimal(&w, usage_unit_name((enum usage_unit)i), u->units[i], UNIT_SCALE);
	jw_object_end(&w);
	if (out->failed)
		return;
	const uint32_t n = (uint32_t)(out->len - length_at - 4);
	for (size_t i = 0; i < 4; i++)
		out->data[length_at + i] = (char)(unsigned char)(n >> (24 - 8 * i));
}

void events_copy_row(struct buf *out, const struct event *e)
{
	buf_put_u16be(out, EVENT_N_COLUMNS);
	put_uuid(out, &e->user_id);
	put_instant(out, e->occurred_at_us);
	put_uuid(out, &e->id);
	put_instant(out, e->received_at_us);
	put_text(out, e->provider);
	put_text(out, e->model);
	put_counts(out, &e->usage);
	put_units(out, &e->usage);
	put_money(out, e->has_cost, e->cost);
	put_money(out, e->has_catalogue_cost, e->catalogue_cost);
	put_money(out, e->has_reported_cost, e->reported_cost);
	put_text(out, e->pricing_status);
	put_text(out, e->price_record);
	put_text(out, e->price_rule);
	put_text(out, e->price_lines);
	put_text(out, e->catalogue_version);
	put_text(out, e->service_tier);
	put_text(out, e->requested_tier);
	put_text(out, e->inference_geo);
	put_text(out, e->data_residency);
	put_text(out, e->search_context_size);
	put_text(out, e->project);
	put_text(out, e->customer);
	put_json(out, e->tags_json);
	put_json(out, e->metadata_json);
	if (e->has_latency)
		put_i64(out, e->latency_ms);
	else
		put_null(out);
	put_text(out, e->status);
	put_text(out, e->response_id);
	if (e->has_api_key)
		put_uuid(out, &e->api_key_id);
	else
		put_null(out);
	put_uuid(out, &e->set_id);
}

void events_copy_header(struct buf *out)
{
	/* Signature, flags 0, no header extension. */
	static const char header[19] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0";
	buf_append(out, header, sizeof(header));
}

void events_copy_trailer(struct buf *out)
{
	buf_put_u16be(out, UINT16_MAX);
}

enum err events_ensure_partition(struct db_conn *c, int64_t at_us)
{
	static const struct db_stmt stmt = {"events_ensure_partition", "SELECT events_ensure_partition($1)"};
	struct arena arena;
	arena_init(&arena, 1024);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_instant(&p, at_us);
	const enum err e = arena_overflowed(&arena) ? ERR_NO_MEMORY : db_run(c, &stmt, &p, NULL);
	arena_release(&arena);
	return e;
}

/* ---- reading ---- */

/* Takes the columns of one row in order. */
struct row_reader {
	const PGresult *result;
	int row;
	int col;
	struct arena *arena;
};

static const char *next_text(struct row_reader *r)
{
	return arena_strdup(r->arena, db_text(r->result, r->row, r->col++));
}

static int64_t next_i64(struct row_reader *r)
{
	return db_i64(r->result, r->row, r->col++);
}

static bool next_optional_i64(struct row_reader *r, int64_t *ret)
{
	const bool has = !db_is_null(r->result, r->row, r->col);
	*ret = next_i64(r);
	return has;
}

static bool next_money(struct row_reader *r, struct money *ret)
{
	const bool has = !db_is_null(r->result, r->row, r->col);
	*ret = db_money(r->result, r->row, r->col++);
	return has;
}

static bool next_uuid(struct row_reader *r, struct uuid *ret)
{
	const bool has = !db_is_null(r->result, r->row, r->col);
	if (has)
		*ret = db_uuid(r->result, r->row, r->col);
	r->col++;
	return has;
}

/* One member of the stored units object. What we did not write ourselves is an error. */
static enum err read_unit(const struct json_doc *doc, const char *name, const json_t *value,
	struct arena *arena, struct usage *u)
{
	const enum usage_unit unit = usage_unit_find(name);
	const char *text = json_number_text(doc, value, arena);
	if (unit == USAGE_UNITS || text == NULL)
		return ERR_INTERNAL;
	int128 quantity = 0;
	const enum err e = decimal_parse(text, strlen(text), UNIT_SCALE, INT64_MAX, &quantity);
	if (e != ERR_OK)
		return ERR_INTERNAL;
	u->units[unit] = (int64_t)quantity;
	return ERR_OK;
}

static enum err next_units(struct row_reader *r, struct usage *u)
{
	const char *text = db_text(r->result, r->row, r->col++);
	if (text == NULL)
		return ERR_OK;
	struct problem p;
	problem_init(&p, r->arena);
	struct json_doc doc;
	enum err e = json_doc_parse(&doc, text, strlen(text), &json_limits_trusted, r->arena, &p);
	if (e != ERR_OK)
		return ERR_INTERNAL;
	for (void *i = json_object_iter(doc.root); i != NULL && e == ERR_OK;
		i = json_object_iter_next(doc.root, i))
		e = read_unit(&doc, json_object_iter_key(i), json_object_iter_value(i), r->arena, u);
	json_doc_release(&doc);
	return e;
}

static enum err next_usage(struct row_reader *r, struct usage *u)
{
	for (int i = 0; i < USAGE_COUNTS; i++)
		u->counts[i] = next_i64(r);
	u->web_searches = next_i64(r);
	const enum err e = next_units(r, u);
	if (e != ERR_OK)
		return e;
	u->has_counts =
		u->counts[USAGE_input_tokens] > 0 || u->counts[USAGE_output_tokens] > 0 || !has_units(u);
	return ERR_OK;
}

enum err event_read(const PGresult *result, int row, int first_col, struct arena *arena, struct event *ret)
{
	struct row_reader r = {.result = result, .row = row, .col = first_col, .arena = arena};
	struct event e = {0};
	next_uuid(&r, &e.user_id);
	e.occurred_at_us = db_instant(result, row, r.col++);
	next_uuid(&r, &e.id);
	e.received_at_us = db_instant(result, row, r.col++);
	e.provider = next_text(&r);
	e.model = next_text(&r);
	const enum err err = next_usage(&r, &e.usage);
	if (err != ERR_OK)
		return err;
	e.has_cost = next_money(&r, &e.cost);
	e.has_catalogue_cost = next_money(&r, &e.catalogue_cost);
	e.has_reported_cost = next_money(&r, &e.reported_cost);
	e.pricing_status = next_text(&r);
	e.price_record = next_text(&r);
	e.price_rule = next_text(&r);
	e.price_lines = next_text(&r);
	e.catalogue_version = next_text(&r);
	e.service_tier = next_text(&r);
	e.requested_tier = next_text(&r);
	e.inference_geo = next_text(&r);
	e.data_residency = next_text(&r);
	e.search_context_size = next_text(&r);
	e.project = next_text(&r);
	e.customer = next_text(&r);
	e.tags_json = next_text(&r);
	e.metadata_json = next_text(&r);
	e.has_latency = next_optional_i64(&r, &e.latency_ms);
	e.status = next_text(&r);
	e.response_id = next_text(&r);
	e.has_api_key = next_uuid(&r, &e.api_key_id);
	next_uuid(&r, &e.set_id);
	CHECK(r.col == first_col + EVENT_N_COLUMNS);
	*ret = e;
	return ERR_OK;
}

static enum err read_all(const PGresult *result, struct arena *arena, struct event **ret, size_t *ret_n)
{
	const int n = db_rows(result);
	struct event *events = arena_array(arena, (size_t)n, sizeof(*events));
	for (int i = 0; i < n && !arena_overflowed(arena); i++) {
		const enum err e = event_read(result, i, 0, arena, &events[i]);
		if (e != ERR_OK)
			return e;
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = events;
	*ret_n = (size_t)n;
	return ERR_OK;
}

/* The row comparison with the upper bound is an index condition of the primary key; occurred_at alone beside
 * it lets the planner leave out partitions, which a row comparison does not. */
static const struct db_stmt list_stmt = {"events_list",
	"SELECT " EVENT_COLUMNS " FROM events"
	" WHERE user_id = $1 AND occurred_at >= $2 AND occurred_at <= $3 AND (occurred_at, id) < ($3, "
	"$4::uuid)"
	" AND ($5::text IS NULL OR provider = $5) AND ($6::text IS NULL OR model = $6)"
	" AND ($7::text IS NULL OR project = $7) AND ($8::text IS NULL OR customer = $8)"
	" AND ($9::text IS NULL OR status = $9) AND ($10::text IS NULL OR tags ->> $10 = $11::text)"
	" AND ($12::numeric IS NULL OR cost >= $12)"
	" ORDER BY occurred_at DESC, id DESC LIMIT $13"};

enum err events_list(struct db_conn *c, const struct uuid *user_id, const struct events_filter *f,
	struct arena *arena, struct event **ret, size_t *ret_n)
{
	/* The end of the range is the cursor (to, zero id): everything before that instant. */
	int64_t before_us = f->to_us;
	struct uuid before_id = {0};
	if (!uuid_is_zero(&f->before_id) && f->before_us < f->to_us) {
		before_us = f->before_us;
		before_id = f->before_id;
	}
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_instant(&p, f->from_us);
	db_param_instant(&p, before_us);
	db_param_uuid(&p, &before_id);
	db_param_text(&p, f->provider);
	db_param_text(&p, f->model);
	db_param_text(&p, f->project);
	db_param_text(&p, f->customer);
	db_param_text(&p, f->status);
	db_param_text(&p, f->tag_key);
	db_param_text(&p, f->tag_value);
	if (f->has_min_cost)
		db_param_money(&p, f->min_cost);
	else
		db_param_text(&p, NULL);
	db_param_i64(&p, f->limit);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	PGresult *result = NULL;
	enum err e = db_run(c, &list_stmt, &p, &result);
	if (e == ERR_OK)
		e = read_all(result, arena, ret, ret_n);
	PQclear(result);
	return e;
}

/* 9999-12-31T23:59:59.999Z, the last millisecond that our instants can write. */
#define LAST_MS 253402300799999LL

/* The id carries the millisecond of occurred_at: only one partition is touched. */
static const struct db_stmt find_stmt = {"events_find",
	"SELECT " EVENT_COLUMNS " FROM events"
	" WHERE user_id = $1 AND id = $2 AND occurred_at >= $3 AND occurred_at < $4"};

enum err events_find(struct db_conn *c, const struct uuid *user_id, const struct uuid *id,
	struct arena *arena, struct event *ret)
{
	const int64_t ms = uuid_v7_ms(id);
	if (id->bytes[6] >> 4 != 7 || ms >= LAST_MS)
		return ERR_NOT_FOUND;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	db_param_uuid(&p, id);
	db_param_instant(&p, ms * US_PER_MS);
	db_param_instant(&p, (ms + 1) * US_PER_MS);
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	PGresult *result = NULL;
	enum err e = db_run(c, &find_stmt, &p, &result);
	if (e == ERR_OK && db_rows(result) == 0)
		e = ERR_NOT_FOUND;
	struct event found;
	if (e == ERR_OK)
		e = event_read(result, 0, 0, arena, &found);
	PQclear(result);
	if (e == ERR_OK && arena_overflowed(arena))
		e = ERR_NO_MEMORY;
	if (e == ERR_OK)
		*ret = found;
	return e;
}

/* Three parallel arrays of whole keys. */
static enum err ref_params(struct db_params *p, const struct event_ref *refs, size_t n, struct arena *arena)
{
	db_params_init(p, arena);
	const char **users = arena_array(arena, n, sizeof(*users));
	const char **instants = arena_array(arena, n, sizeof(*instants));
	const char **ids = arena_array(arena, n, sizeof(*ids));
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		char text[UUID_TEXT_SIZE];
		uuid_format(&refs[i].user_id, text);
		users[i] = arena_strdup(arena, text);
		uuid_format(&refs[i].id, text);
		ids[i] = arena_strdup(arena, text);
		char instant[INSTANT_TEXT_SIZE];
		instant_format(refs[i].occurred_at_us, instant);
		instants[i] = arena_strdup(arena, instant);
	}
	db_param_text_array(p, users, n);
	db_param_text_array(p, instants, n);
	db_param_text_array(p, ids, n);
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

/* OFFSET 0 keeps the planner from turning this into a join that reads whole partitions: each key is one index
 * probe. */
static const struct db_stmt load_stmt = {"events_load",
	"SELECT k.n, e.* FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) WITH ORDINALITY AS k (u, at, "
	"i, n)"
	" CROSS JOIN LATERAL (SELECT " EVENT_COLUMNS " FROM events"
	" WHERE user_id = k.u AND occurred_at = k.at AND id = k.i OFFSET 0) AS e"};

enum err events_load(struct db_conn *c, const struct event_ref *refs, size_t n, struct arena *arena,
	struct event *ret, bool *ret_found)
{
	struct db_params p;
	enum err e = ref_params(&p, refs, n, arena);
	PGresult *result = NULL;
	if (e == ERR_OK)
		e = db_run(c, &load_stmt, &p, &result);
	if (e != ERR_OK)
		return e;
	for (size_t i = 0; i < n; i++)
		ret_found[i] = false;
	for (int row = 0; row < db_rows(result) && e == ERR_OK; row++) {
		const int64_t nth = db_i64(result, row, 0);
		CHECK(nth >= 1 && (size_t)nth <= n);
		const size_t i = (size_t)nth - 1;
		e = event_read(result, row, 1, arena, &ret[i]);
		ret_found[i] = e == ERR_OK;
	}
	PQclear(result);
	if (e == ERR_OK && arena_overflowed(arena))
		e = ERR_NO_MEMORY;
	return e;
}

static const struct db_stmt count_stmt = {"events_count_stored",
	"SELECT count(*) FILTER (WHERE EXISTS (SELECT FROM events WHERE user_id = k.u AND occurred_at = k.at"
	" AND id = k.i OFFSET 0)),"
	" count(*) FILTER (WHERE to_regclass('events_' || to_char(k.at AT TIME ZONE 'UTC', 'YYYY_MM')) IS "
	"NULL)"
	" FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) AS k (u, at, i)"};

enum err events_count_stored(
	struct db_conn *c, const struct event_ref *refs, size_t n, struct arena *scratch, int64_t *ret)
{
	struct db_params p;
	enum err e = ref_params(&p, refs, n, scratch);
	PGresult *result = NULL;
	if (e == ERR_OK)
		e = db_run(c, &count_stmt, &p, &result);
	if (e == ERR_OK && db_i64(result, 0, 0) == 0 && db_i64(result, 0, 1) > 0)
		e = ERR_UNAVAILABLE;
	if (e == ERR_OK)
		*ret = db_i64(result, 0, 0);
	PQclear(result);
	return e;
}
