/* Bounded looks at single calls and at sums by set, for recommendations. Each is one statement that reads at
 * most a fixed number of rows along a primary key. What the calls mean is core's work. */

#include "llmlab/db/event_sample.h"

#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "scope.h"

#define PARAMS_BYTES (64 << 10)
#define SLICES	     40

/* $1 user; $2, $3 begin and end of each slice, newest first; $4 calls of each; $5, $6 begin and end of all,
 * which say which partitions are looked at. */
static const struct db_stmt SAMPLE = {"event_sample",
	"SELECT e.* FROM unnest($2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS slice (lo, hi, i)"
	" CROSS JOIN LATERAL (SELECT provider, model, occurred_at, input_tokens, output_tokens,"
	" cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, cost,"
	" service_tier = 'standard' FROM events"
	" WHERE user_id = $1 AND occurred_at >= slice.lo AND occurred_at < slice.hi"
	" AND occurred_at >= $5 AND occurred_at < $6"
	" ORDER BY occurred_at DESC, id DESC LIMIT $4::integer) e ORDER BY slice.i"};

/* Words as words: "eval" is in "model-eval", not in "evaluate_medieval". */
#define WAITING_WORDS                                                                                        \
	"(^|[^a-z])(batch|offline|nightly|backfill|bulk|etl|eval|evals|evaluation|async|cron|scheduled)"     \
	"([^a-z]|$)"

/* $1 user; $2, $3 first day and the day after the last; $4 rows; $5 models of each. Days of sets are folded
 * into one row for each set, so that every set is looked up once, by its key; most are ruled out by one look
 * at all their texts together, and only of those that are left are the models read, each day by its key.
 */
static const struct db_stmt WAITING = {"waiting_usage_find",
	"SELECT n.provider, n.model, sum(n.calls)::bigint, sum(n.input_tokens)::bigint,"
	" sum(n.output_tokens)::bigint, sum(n.cache_read_tokens)::bigint, sum(n.cache_write_tokens)::bigint,"
	" sum(n.cache_write_1h_tokens)::bigint, sum(n.reasoning_tokens)::bigint, sum(n.standard_cost),"
	" min(w.says COLLATE \"C\")"
	" FROM (SELECT set_id, array_agg(bucket) AS days"
	" FROM (SELECT set_id, bucket FROM usage_set_day WHERE user_id = $1 AND bucket >= $2 AND bucket < $3"
	" ORDER BY bucket DESC, set_id DESC LIMIT $4::integer) newest GROUP BY set_id) u"
	" CROSS JOIN LATERAL (SELECT project, tags FROM usage_sets WHERE user_id = $1 AND id = u.set_id"
	" AND lower(concat_ws(' ', project, tags)) ~ '" WAITING_WORDS "' OFFSET 0) s"
	" CROSS JOIN LATERAL (SELECT CASE WHEN lower(s.project) ~ '" WAITING_WORDS
	"' THEN 'project ' || s.project"
	" ELSE (SELECT 'tag ' || t.key || '=' || t.value FROM jsonb_each_text(coalesce(s.tags, '{}')) t"
	" WHERE lower(t.value) ~ '" WAITING_WORDS "' OR (lower(t.key) ~ '" WAITING_WORDS
	"' AND lower(t.value) IN ('true', 'yes', '1')) ORDER BY t.key COLLATE \"C\" LIMIT 1) END AS says"
	" OFFSET 0) w"
	" CROSS JOIN LATERAL unnest(u.days) AS d (day)"
	" CROSS JOIN LATERAL (SELECT * FROM usage_set_model_day WHERE user_id = $1 AND bucket = d.day"
	" AND set_id = u.set_id ORDER BY provider, model LIMIT $5::integer) n"
	" WHERE w.says IS NOT NULL GROUP BY n.provider, n.model"};

/* ---- single calls ---- */

static void read_call(const PGresult *r, int row, struct arena *arena, struct sampled_call *ret)
{
	*ret = (struct sampled_call){.provider = arena_strdup(arena, db_text(r, row, 0)),
		.model = arena_strdup(arena, db_text(r, row, 1)),
		.at_us = db_instant(r, row, 2),
		.mix = {.calls = 1,
			.input = db_i64(r, row, 3),
			.output = db_i64(r, row, 4),
			.cache_read = db_i64(r, row, 5),
			.cache_write = db_i64(r, row, 6),
			.cache_write_1h = db_i64(r, row, 7),
			.reasoning = db_i64(r, row, 8)},
		.priced = !db_is_null(r, row, 9),
		.cost = db_money(r, row, 9),
		.standard = db_bool(r, row, 10)};
}

/* The slices' borders as two arrays of n, newest first; the last one takes what the division leaves over. */
static void add_slices(struct db_params *p, int64_t from_us, int64_t to_us, size_t n, struct arena *arena)
{
	const char *lo[SLICES];
	const char *hi[SLICES];
	const int64_t step_us = (to_us - from_us) / (int64_t)n;
	for (size_t i = 0; i < n; i++) {
		const int64_t end_us = to_us - (int64_t)i * step_us;
		char text[INSTANT_TEXT_SIZE];
		instant_format(end_us, text);
		hi[i] = arena_strdup(arena, text);
		instant_format(i + 1 == n ? from_us : end_us - step_us, text);
		lo[i] = arena_strdup(arena, text);
	}
	db_param_text_array(p, lo, n);
	db_param_text_array(p, hi, n);
}

enum err event_sample(struct db_conn *c, const struct uuid *user_id, int64_t from_us, int64_t to_us,
	int64_t calls, struct arena *arena, struct sampled_call **ret, size_t *ret_n)
{
	const size_t slices = calls > EVENT_SAMPLE_MAX && to_us - from_us >= SLICES ? SLICES : 1;
	struct arena texts SCOPE_ARENA;
	arena_init(&texts, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &texts);
	db_param_uuid(&p, user_id);
	add_slices(&p, from_us, to_us, slices, &texts);
	db_param_i64(&p, EVENT_SAMPLE_MAX / (int64_t)slices);
	db_param_instant(&p, from_us);
	db_param_instant(&p, to_us);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &SAMPLE, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct sampled_call *rows = arena_array(arena, n, sizeof(*rows));
	for (size_t i = 0; rows && i < n; i++)
		read_call(r, (int)i, arena, &rows[i]);
	if (!rows || arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

/* ---- what can wait ---- */

static void read_waiting(const PGresult *r, int row, struct arena *arena, struct waiting_usage *ret)
{
	*ret = (struct waiting_usage){.provider = arena_strdup(arena, db_text(r, row, 0)),
		.model = arena_strdup(arena, db_text(r, row, 1)),
		.mix = {.calls = db_i64(r, row, 2),
			.input = db_i64(r, row, 3),
			.output = db_i64(r, row, 4),
			.cache_read = db_i64(r, row, 5),
			.cache_write = db_i64(r, row, 6),
			.cache_write_1h = db_i64(r, row, 7),
			.reasoning = db_i64(r, row, 8)},
		.standard_cost = db_money(r, row, 9),
		.example = arena_strdup(arena, db_text(r, row, 10))};
}

/* The first day that begins at the instant or after it. */
static int64_t day_ceil(int64_t us)
{
	const int64_t rest = us % US_PER_DAY;
	return rest == 0 ? us : us - rest + (rest > 0 ? US_PER_DAY : 0);
}

enum err waiting_usage_find(struct db_conn *c, const struct uuid *user_id, int64_t from_us, int64_t to_us,
	struct arena *arena, struct waiting_usage **ret, size_t *ret_n)
{
	struct arena texts SCOPE_ARENA;
	arena_init(&texts, PARAMS_BYTES);
	struct db_params p;
	db_params_init(&p, &texts);
	db_param_uuid(&p, user_id);
	db_param_instant(&p, day_ceil(from_us));
	db_param_instant(&p, day_ceil(to_us - US_PER_DAY + 1)); /* the day that ends by then is the last */
	db_param_i64(&p, WAITING_SETS_MAX);
	db_param_i64(&p, WAITING_MODELS_MAX);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, &WAITING, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct waiting_usage *rows = arena_array(arena, n, sizeof(*rows));
	for (size_t i = 0; rows && i < n; i++)
		read_waiting(r, (int)i, arena, &rows[i]);
	if (!rows || arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}
