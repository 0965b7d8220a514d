#ifndef LLMLAB_SRC_DB_COSTS_PARTS_H
#define LLMLAB_SRC_DB_COSTS_PARTS_H

#include "llmlab/db/costs.h"

/* What the files that read sums share: the SQL of one level, the way from intervals to the stretches of time
 * that each level answers, and rows as C values. */

/* ---- SQL ---- */

/* The statements are put together by the preprocessor and longer than the 4,095 characters that ISO C
 * promises a literal; gcc and clang have no such limit. */
#pragma GCC diagnostic ignored "-Woverlength-strings"

/* The sums of a row of a level, or of an event as if it were one. Same names and types, so that they can be
 * united. */
#define USAGE_COLUMNS                                                                                        \
	"t.calls, t.errors, t.unpriced_calls, t.input_tokens, t.output_tokens, t.cache_read_tokens,"         \
	" t.cache_write_tokens, t.cache_write_1h_tokens, t.reasoning_tokens, t.cost, t.error_cost, "         \
	"t.standard_cost"
#define EVENT_SUM_COLUMNS                                                                                    \
	"1::bigint AS calls, (status = 'error')::int::bigint AS errors,"                                     \
	" (cost IS NULL)::int::bigint AS unpriced_calls, input_tokens, output_tokens,"                       \
	" coalesce(cache_read_tokens, 0) AS cache_read_tokens, coalesce(cache_write_tokens, 0) AS "          \
	"cache_write_tokens,"                                                                                \
	" coalesce(cache_write_1h_tokens, 0) AS cache_write_1h_tokens,"                                      \
	" coalesce(reasoning_tokens, 0) AS reasoning_tokens, coalesce(cost, 0) AS cost,"                     \
	" CASE WHEN status = 'error' THEN coalesce(cost, 0) ELSE 0 END AS error_cost,"                       \
	" CASE WHEN service_tier = 'standard' THEN coalesce(cost, 0) ELSE 0 END AS standard_cost"
#define ADD_UP_ALL                                                                                           \
	"sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS "        \
	"unpriced_calls,"                                                                                    \
	" sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,"           \
	" sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS "          \
	"cache_write_tokens,"                                                                                \
	" sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS "    \
	"reasoning_tokens,"                                                                                  \
	" sum(cost) AS cost, sum(error_cost) AS error_cost, sum(standard_cost) AS standard_cost"
/* Calls and cost alone, the others 0: adding up is most of what an answer takes. */
#define ADD_UP_COST                                                                                          \
	"sum(calls)::bigint AS calls, 0::bigint AS errors, 0::bigint AS unpriced_calls, 0::bigint AS "       \
	"input_tokens, 0::bigint AS output_tokens, 0::bigint AS cache_read_tokens, 0::bigint AS "            \
	"cache_write_tokens, 0::bigint AS cache_write_1h_tokens, 0::bigint AS reasoning_tokens,"             \
	" sum(cost) AS cost, 0::numeric AS error_cost, 0::numeric AS standard_cost"
/* What the statements of a file add up, where they stand. */
#define ADD_UP ADD_UP_ALL
#define N_SUMS 12 /* columns of either */

/* The rows t of a level within the coarse stretches: for one stretch (or none), which is cheapest, and for
 * any number. OFFSET 0 keeps the planner at one range of the primary key for each stretch, whatever it
 * believes about the table. */
#define IN_ONE(table, where)                                                                                 \
	" FROM (SELECT * FROM " table " WHERE user_id = $1 AND bucket >= ($3::timestamptz[])[1]"             \
	" AND bucket < ($4::timestamptz[])[1]" where " OFFSET 0) AS t"
#define IN_MANY(table, where)                                                                                \
	" FROM unnest($3::timestamptz[], $4::timestamptz[]) AS r (lo, hi) CROSS JOIN LATERAL"                \
	" (SELECT * FROM " table " WHERE user_id = $1 AND bucket >= r.lo AND bucket < r.hi" where            \
	" OFFSET 0) AS t"
/* Which interval a coarse row belongs to: intervals are contiguous, $2 is where each begins (and the end). */
#define INTERVAL                                                                                             \
	"CASE WHEN cardinality($2::timestamptz[]) = 2 THEN 0 ELSE width_bucket(t.bucket, "                   \
	"$2::timestamptz[]) - 1 END AS i"

/* The pieces of a cut: level, plus, minus, lo and hi. */
#define PIECES_5 "unnest($5::bigint[], $6::bigint[], $7::bigint[], $8::timestamptz[], $9::timestamptz[])"
/* The rows t of a level in its pieces r. */
#define IN_PIECES_OF(pieces, level, table, where)                                                            \
	" FROM (SELECT * FROM " pieces " AS p (level, plus, minus, lo, hi) WHERE level = " level ") AS r"    \
	" CROSS JOIN LATERAL (SELECT * FROM " table                                                          \
	" WHERE user_id = $1 AND bucket >= r.lo AND bucket < r.hi" where " OFFSET 0) AS t"
/* The same of events, as rows of a level. */
#define IN_EVENTS_OF(pieces, columns, where)                                                                 \
	" FROM (SELECT * FROM " pieces " AS p (level, plus, minus, lo, hi) WHERE level = " CUT_EVENT_SQL     \
	") AS r CROSS JOIN LATERAL (SELECT " columns ", " EVENT_SUM_COLUMNS                                  \
	" FROM events WHERE user_id = $1 AND occurred_at >= r.lo AND occurred_at < r.hi" where               \
	" OFFSET 0) AS t"
/* What was added up of pieces, by plus and minus, in the intervals that it is added to or taken from. `keys`
 * begin with a comma. */
#define SIGNED(keys, added_up)                                                                               \
	"SELECT v.i" keys ", v.sign * t.calls AS calls, v.sign * t.errors AS errors, v.sign * "              \
	"t.unpriced_calls AS unpriced_calls, v.sign * t.input_tokens AS input_tokens, v.sign * "             \
	"t.output_tokens AS output_tokens, v.sign * t.cache_read_tokens AS cache_read_tokens, v.sign * "     \
	"t.cache_write_tokens AS cache_write_tokens, v.sign * t.cache_write_1h_tokens AS "                   \
	"cache_write_1h_tokens, v.sign * t.reasoning_tokens AS reasoning_tokens, v.sign * t.cost AS cost, "  \
	"v.sign * t.error_cost AS error_cost, v.sign * t.standard_cost AS standard_cost FROM (" added_up     \
	") AS t CROSS JOIN LATERAL (VALUES (t.plus, 1), (t.minus, -1)) AS v (i, sign) WHERE v.i >= 0"

/* The statements of one question: whether the coarse rows are of many stretches, whether events are read.
 * `of` makes a statement of the rows of all levels, `levels` takes IN_ONE or IN_MANY. */
#define STATEMENTS(name, of, levels, events)                                                                 \
	{                                                                                                    \
		{{name, of(levels(IN_ONE))}, {name "_ragged", of(levels(IN_ONE) events)}},                   \
		{                                                                                            \
			{name "_many", of(levels(IN_MANY))},                                                 \
			{                                                                                    \
				name "_many_ragged", of(levels(IN_MANY) events)                              \
			}                                                                                    \
		}                                                                                            \
	}
/* Which of them the cut needs. */
#define STATEMENT(statements, cut) (&(statements)[(cut)->coarse.n > 1 ? 1 : 0][(cut)->ragged ? 1 : 0])

/* ---- cuts ---- */

/* How long the rows of a level are; events last. The same as SQL, for the pieces. */
enum cut_level { CUT_WEEK, CUT_DAY, CUT_HOUR, CUT_QUARTER, CUT_EVENT };
#define CUT_DAY_SQL	"1"
#define CUT_HOUR_SQL	"2"
#define CUT_QUARTER_SQL "3"
#define CUT_EVENT_SQL	"4"

/* Stretches of time, ascending; adjacent ones are one. */
struct stretches {
	int64_t *lo_us, *hi_us;
	size_t n;
};
/* What is added to the sums of one interval and taken from those of another, or only one of both (-1). */
struct pieces {
	int64_t *level, *plus, *minus, *lo_us, *hi_us;
	size_t n;
};
/* How intervals are read. An interval is the coarse rows between the borders nearest to its own, and what
 * lies between those and its own: added where it is part of the interval and taken away where it is not, so
 * that a day of any zone is a day of UTC and a few hours. What begins or ends off a quarter of an hour has
 * the events of that quarter added; they are never taken away (they may be gone). */
struct cut {
	int64_t *starts_us; /* where the coarse rows of each interval begin, and the end */
	size_t n_starts;
	struct stretches coarse;
	struct pieces pieces; /* of the finer levels */
	bool ragged;	      /* some of them are of events */
};

/* ERR_RANGE unless the borders are 2..COSTS_INTERVALS_MAX + 1 instants that do not descend. */
enum err costs_check_starts(const int64_t *starts_us, size_t n_starts);
/* Cuts contiguous intervals. The levels (ascending, CUT_QUARTER last) are those that the statement reads;
 * the first is the coarse one. False without memory. */
bool cut_intervals(const int64_t *starts_us, size_t n_starts, const enum cut_level *levels, size_t n_levels,
	struct arena *arena, struct cut *ret);
/* The coarsest of the levels that is no longer than the intervals are on average. */
size_t cut_first_level(
	const int64_t *starts_us, size_t n_starts, const enum cut_level *levels, size_t n_levels);
/* Two parameters: begins and ends. */
void param_stretches(struct db_params *p, const struct stretches *s);
/* Eight parameters, $2 to $9 of the statements: begins of the intervals, coarse stretches, pieces. */
void param_cut(struct db_params *p, const struct cut *cut);
/* The tags of a filter as a JSON object in the arena, NULL for none (and for an overflown arena). */
const char *usage_filter_tags(const struct usage_filter *f, struct arena *arena);

/* ---- questions and rows ---- */

extern const struct usage_filter usage_filter_any;
/* Whether project, provider and model are not enough to answer it. */
bool usage_filter_needs_sets(const struct usage_filter *f);
/* Reads ADD_UP from column first_col on. ERR_RANGE: an amount does not fit. */
enum err costs_read_sums(const PGresult *r, int row, int first_col, struct usage_sums *ret);

#endif
