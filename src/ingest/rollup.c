/* The rollup of a batch: sums of the events really inserted, by user, quarter of an hour, provider, model and
 * project, and the one statement that adds them. Exact: integers only, money as decimal texts. Not here:
 * reading it (db/costs.c). */

#include "rollup.h"

#include <stdlib.h>
#include <string.h>
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"

#define BUCKET_S 900

const struct db_stmt ROLLUP_STMT = {"ingest_rollup",
	"INSERT INTO usage_15m AS u (user_id, bucket, provider, model, project, calls, errors, "
	"unpriced_calls,"
	" input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost)"
	" SELECT t.user_id, to_timestamp(t.bucket), t.provider, t.model, t.project, t.calls, t.errors, "
	"t.unpriced,"
	" t.input, t.output, t.cache_read, t.cache_write, t.reasoning, t.cost"
	" FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], "
	"$7::bigint[],"
	" $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], "
	"$14::numeric[])"
	" AS t (user_id, bucket, provider, model, project, calls, errors, unpriced, input, output, "
	"cache_read,"
	" cache_write, reasoning, cost)"
	" ORDER BY t.user_id, t.bucket, t.provider COLLATE \"C\", t.model COLLATE \"C\", t.project COLLATE "
	"\"C\""
	" ON CONFLICT (user_id, bucket, provider, model, project) DO UPDATE SET"
	" calls = u.calls + EXCLUDED.calls, errors = u.errors + EXCLUDED.errors,"
	" unpriced_calls = u.unpriced_calls + EXCLUDED.unpriced_calls,"
	" input_tokens = u.input_tokens + EXCLUDED.input_tokens,"
	" output_tokens = u.output_tokens + EXCLUDED.output_tokens,"
	" cache_read_tokens = u.cache_read_tokens + EXCLUDED.cache_read_tokens,"
	" cache_write_tokens = u.cache_write_tokens + EXCLUDED.cache_write_tokens,"
	" reasoning_tokens = u.reasoning_tokens + EXCLUDED.reasoning_tokens,"
	" cost = u.cost + EXCLUDED.cost"};

struct rollup_entry rollup_entry(const struct event *e)
{
	const int64_t bucket_us = BUCKET_S * US_PER_SECOND;
	int64_t bucket = e->occurred_at_us / bucket_us;
	if (e->occurred_at_us % bucket_us < 0)
		bucket--;
	return (struct rollup_entry){.event = e, .bucket_s = bucket * BUCKET_S};
}

static const char *project_of(const struct event *e)
{
	return e->project == NULL ? "" : e->project;
}

static int compare_entries(const void *a, const void *b)
{
	const struct rollup_entry *x = a, *y = b;
	int order = uuid_compare(&x->event->user_id, &y->event->user_id);
	if (order == 0)
		order = (x->bucket_s > y->bucket_s) - (x->bucket_s < y->bucket_s);
	if (order == 0)
		order = strcmp(x->event->provider, y->event->provider);
	if (order == 0)
		order = strcmp(x->event->model, y->event->model);
	return order != 0 ? order : strcmp(project_of(x->event), project_of(y->event));
}

static void add_event(struct rollup_row *r, const struct event *e)
{
	r->calls++;
	r->errors += strcmp(e->status, "error") == 0;
	r->unpriced_calls += !e->has_cost;
	r->input_tokens += e->usage.counts[USAGE_input_tokens];
	r->output_tokens += e->usage.counts[USAGE_output_tokens];
	r->cache_read_tokens += e->usage.counts[USAGE_cache_read_tokens];
	r->cache_write_tokens += e->usage.counts[USAGE_cache_write_tokens];
	r->reasoning_tokens += e->usage.counts[USAGE_reasoning_tokens];
	if (e->has_cost)
		CHECK(money_add(r->cost, e->cost, &r->cost));
}

size_t rollup_sum(struct rollup_entry *entries, size_t n, struct rollup_row *rows)
{
	qsort(entries, n, sizeof(*entries), compare_entries);
	size_t n_rows = 0;
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || compare_entries(&entries[i - 1], &entries[i]) != 0)
			rows[n_rows++] = (struct rollup_row){
				.event = entries[i].event, .bucket_s = entries[i].bucket_s};
		add_event(&rows[n_rows - 1], entries[i].event);
	}
	return n_rows;
}

static void text_columns(struct db_params *p, const struct rollup_row *rows, size_t n, struct arena *arena)
{
	const char **column = arena_array(arena, n, sizeof(*column));
	if (column == NULL)
		return;
	for (size_t i = 0; i < n; i++)
		column[i] = rows[i].event->provider;
	db_param_text_array(p, column, n);
	for (size_t i = 0; i < n; i++)
		column[i] = rows[i].event->model;
	db_param_text_array(p, column, n);
	for (size_t i = 0; i < n; i++)
		column[i] = project_of(rows[i].event);
	db_param_text_array(p, column, n);
}

static void count_column(
	struct db_params *p, const struct rollup_row *rows, size_t n, size_t offset, int64_t *column)
{
	for (size_t i = 0; i < n; i++)
		memcpy(&column[i], (const char *)&rows[i] + offset, sizeof(*column));
	db_param_i64_array(p, column, n);
}

static void count_columns(struct db_params *p, const struct rollup_row *rows, size_t n, struct arena *arena)
{
	static const size_t offsets[] = {offsetof(struct rollup_row, calls),
		offsetof(struct rollup_row, errors), offsetof(struct rollup_row, unpriced_calls),
		offsetof(struct rollup_row, input_tokens), offsetof(struct rollup_row, output_tokens),
		offsetof(struct rollup_row, cache_read_tokens),
		offsetof(struct rollup_row, cache_write_tokens),
		offsetof(struct rollup_row, reasoning_tokens)};
	int64_t *column = arena_array(arena, n, sizeof(*column));
	if (column == NULL)
		return;
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
		count_column(p, rows, n, offsets[i], column);
}

enum err rollup_params(struct db_params *p, const struct rollup_row *rows, size_t n, struct arena *arena)
{
	db_params_init(p, arena);
	const char **texts = arena_array(arena, n, sizeof(*texts));
	int64_t *buckets = arena_array(arena, n, sizeof(*buckets));
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		char id[UUID_TEXT_SIZE];
		uuid_format(&rows[i].event->user_id, id);
		texts[i] = arena_strdup(arena, id);
		buckets[i] = rows[i].bucket_s;
	}
	db_param_text_array(p, texts, n);
	db_param_i64_array(p, buckets, n);
	text_columns(p, rows, n, arena);
	count_columns(p, rows, n, arena);
	for (size_t i = 0; i < n; i++) {
		char cost[DECIMAL_TEXT_MAX];
		decimal_format(rows[i].cost.atto, MONEY_SCALE, cost);
		texts[i] = arena_strdup(arena, cost);
	}
	db_param_text_array(p, texts, n);
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}
