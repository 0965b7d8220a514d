/* How latency and cost per call are spread. Sums do not know that, so events are read: all of them where
 * there are few, else those of evenly spread slices of the time, so that no question reads more than a
 * bounded number of them.
 */

#include "llmlab/db/costs.h"

#include "llmlab/base/check.h"
#include "costs_parts.h"
#include "scope.h"

#define PARAMS_BYTES (1 << 20)
/* Where all events are to be read: room for those that came after they were counted. */
#define ALL_CALLS_MAX (2 * COSTS_SAMPLE_CALLS)

/* $1 user; $2, $3 begin and end of the slices; $4 how many events of one at most; $5 whether rows are by
 * model. percentile_disc is the nearest rank, exact for amounts too. */
static const struct db_stmt SPREADS = {"costs_percentiles",
	"SELECT provider, model, read, with_latency, with_cost, l[1], l[2], l[3], l[4], c[1], c[2], c[3], "
	"c[4] FROM ("
	"SELECT provider, CASE WHEN $5::bool THEN model END AS model, count(*) AS read, count(latency_ms) AS "
	"with_latency,"
	" count(cost) AS with_cost, percentile_disc(ARRAY[0.5, 0.9, 0.95, 0.99]) WITHIN GROUP (ORDER BY "
	"latency_ms) AS l,"
	" percentile_disc(ARRAY[0.5, 0.9, 0.95, 0.99]) WITHIN GROUP (ORDER BY cost) AS c"
	" FROM unnest($2::timestamptz[], $3::timestamptz[]) AS r (lo, hi) CROSS JOIN LATERAL"
	" (SELECT provider, model, latency_ms, cost FROM events"
	" WHERE user_id = $1 AND occurred_at >= r.lo AND occurred_at < r.hi LIMIT $4::bigint) AS t GROUP BY "
	"1, 2) AS s"
	" ORDER BY read DESC, provider COLLATE \"C\", model COLLATE \"C\" LIMIT 10001"};

enum {
	COLUMN_PROVIDER,
	COLUMN_MODEL,
	COLUMN_READ,
	COLUMN_WITH_LATENCY,
	COLUMN_WITH_COST,
	COLUMN_LATENCY,
	COLUMN_COST = COLUMN_LATENCY + COSTS_PERCENTILES
};

/* Of each slice the part `calls` is too many for. False without memory. */
static bool make_slices(
	int64_t from_us, int64_t to_us, int64_t calls, struct arena *arena, struct stretches *ret)
{
	const size_t n = calls > COSTS_SAMPLE_CALLS ? COSTS_SAMPLE_SLICES : 1;
	*ret = (struct stretches){.lo_us = arena_array(arena, n, sizeof(*ret->lo_us)),
		.hi_us = arena_array(arena, n, sizeof(*ret->hi_us)),
		.n = n};
	if (arena_overflowed(arena))
		return false;
	const int128 span_us = to_us - from_us;
	for (size_t i = 0; i < n; i++) {
		const int64_t lo_us = from_us + (int64_t)(span_us * (int128)i / (int128)n);
		const int64_t hi_us = from_us + (int64_t)(span_us * (int128)(i + 1) / (int128)n);
		ret->lo_us[i] = lo_us;
		ret->hi_us[i] =
			n == 1 ? to_us
			       : lo_us + (int64_t)((int128)(hi_us - lo_us) * COSTS_SAMPLE_CALLS / calls);
	}
	return true;
}

static void read_spread(const PGresult *r, int row, struct arena *arena, struct usage_spread *ret)
{
	ret->provider = arena_strdup(arena, db_text(r, row, COLUMN_PROVIDER));
	ret->model = arena_strdup(arena, db_text(r, row, COLUMN_MODEL));
	ret->read = db_i64(r, row, COLUMN_READ);
	ret->with_latency = db_i64(r, row, COLUMN_WITH_LATENCY);
	ret->with_cost = db_i64(r, row, COLUMN_WITH_COST);
	for (int i = 0; i < COSTS_PERCENTILES; i++) {
		ret->latency_ms[i] = db_i64(r, row, COLUMN_LATENCY + i);
		ret->cost[i] = db_money(r, row, COLUMN_COST + i);
	}
}

static enum err run(struct db_conn *c, const struct uuid *user_id, bool by_model,
	const struct stretches *slices, struct arena *arena, PGresult **ret)
{
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	param_stretches(&p, slices);
	db_param_i64(&p, slices->n == 1 ? ALL_CALLS_MAX : COSTS_SLICE_CALLS);
	db_param_bool(&p, by_model);
	return arena_overflowed(arena) ? ERR_NO_MEMORY : db_run(c, &SPREADS, &p, ret);
}

static enum err read_spreads(struct db_conn *c, const struct uuid *user_id, bool by_model, int64_t from_us,
	int64_t to_us, struct arena *arena, struct usage_spreads *ret)
{
	struct usage_sums total;
	enum err e = costs_total(c, user_id, NULL, from_us, to_us, &total);
	if (e != ERR_OK)
		return e;
	struct arena params SCOPE_ARENA;
	arena_init(&params, PARAMS_BYTES);
	struct stretches slices;
	if (!make_slices(from_us, to_us, total.calls, &params, &slices))
		return ERR_NO_MEMORY;
	PGresult *r SCOPE_RESULT = NULL;
	e = run(c, user_id, by_model, &slices, &params, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	if (n > COSTS_MODELS_MAX)
		return ERR_RANGE;
	struct usage_spreads s = {
		.rows = arena_array(arena, n, sizeof(*s.rows)), .n = n, .calls = total.calls};
	for (size_t i = 0; s.rows && i < n; i++) {
		read_spread(r, (int)i, arena, &s.rows[i]);
		s.read += s.rows[i].read;
	}
	s.sampled = slices.n > 1 || s.read >= ALL_CALLS_MAX;
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = s;
	return ERR_OK;
}

enum err costs_percentiles(struct db_conn *c, const struct uuid *user_id, bool by_model, int64_t from_us,
	int64_t to_us, struct arena *arena, struct usage_spreads *ret)
{
	/* The number of calls and the calls themselves are of one moment. */
	enum err e = db_begin_snapshot(c);
	if (e == ERR_OK)
		e = read_spreads(c, user_id, by_model, from_us, to_us, arena, ret);
	db_rollback(c);
	return e;
}
