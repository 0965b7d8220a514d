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
#define ADD_UP                                                                                               \
	"sum(calls)::bigint AS calls, sum(errors)::bigint AS errors, sum(unpriced_calls)::bigint AS "        \
	"unpriced_calls,"                                                                                    \
	" sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,"           \
	" sum(cache_read_tokens)::bigint AS cache_read_tokens, sum(cache_write_tokens)::bigint AS "          \
	"cache_write_tokens,"                                                                                \
	" sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens, sum(reasoning_tokens)::bigint AS "    \
	"reasoning_tokens,"                                                                                  \
	" sum(cost) AS cost, sum(error_cost) AS error_cost, sum(standard_cost) AS standard_cost"
#define N_SUMS 12 /* columns of ADD_UP */

/* The rows t of a level within the stretches: for one stretch (or none), which is cheapest, and for any
 * number. OFFSET 0 keeps the planner at one range of the primary key for each stretch, whatever it believes
 * about the table. */
#define IN_ONE(lo, hi, table, where)                                                                         \
	" FROM (SELECT * FROM " table " WHERE user_id = $1 AND bucket >= (" lo                               \
	"::timestamptz[])[1] AND bucket < (" hi "::timestamptz[])[1]" where " OFFSET 0) AS t"
#define IN_MANY(lo, hi, table, where)                                                                        \
	" FROM unnest(" lo "::timestamptz[], " hi "::timestamptz[]) AS r (lo, hi) CROSS JOIN LATERAL"        \
	" (SELECT * FROM " table " WHERE user_id = $1 AND bucket >= r.lo AND bucket < r.hi" where            \
	" OFFSET 0) AS t"
/* The events t within the stretches, as rows of a level. */
#define EVENTS_IN(lo, hi, columns, where)                                                                    \
	" FROM unnest(" lo "::timestamptz[], " hi "::timestamptz[]) AS r (lo, hi) CROSS JOIN LATERAL"        \
	" (SELECT occurred_at AS bucket, " columns ", " EVENT_SUM_COLUMNS                                    \
	" FROM events WHERE user_id = $1 AND occurred_at >= r.lo AND occurred_at < r.hi" where               \
	" OFFSET 0) AS t"
/* Which interval a row belongs to: intervals are contiguous, $2 is where each begins (and the end). */
#define INTERVAL                                                                                             \
	"CASE WHEN cardinality($2::timestamptz[]) = 2 THEN 0 ELSE width_bucket(t.bucket, "                   \
	"$2::timestamptz[]) - 1 END AS i"

/* The statements of one question: whether the coarse rows are of many stretches, whether there are ragged
 * ones. `of` makes a statement of the rows of all levels, `levels` takes IN_ONE or IN_MANY. */
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
/* Which of them the cuts need. */
#define STATEMENT(statements, many, ragged) (&(statements)[(many) ? 1 : 0][(ragged) ? 1 : 0])

/* ---- stretches ---- */

/* What a level holds. */
#define LEVEL_HOUR_US (3600 * INT64_C(1000000))
#define LEVEL_DAY_US  (24 * LEVEL_HOUR_US)

/* Stretches of time, ascending; adjacent ones are one. */
struct stretches {
	int64_t *piece, *lo_us, *hi_us;
	size_t n;
};
/* How intervals are read: from rows of a coarse level, from quarters of an hour, and from events. */
struct cut {
	struct stretches coarse, quarters, ragged;
};

/* ERR_RANGE unless the borders are 2..COSTS_INTERVALS_MAX + 1 instants that do not descend. */
enum err costs_check_starts(const int64_t *starts_us, size_t n_starts);
/* Cuts contiguous intervals, coarse rows being coarse_us long. Stretches may span several intervals. False
 * without memory. */
bool cut_intervals(
	const int64_t *starts_us, size_t n_starts, int64_t coarse_us, struct arena *arena, struct cut *ret);
/* An empty cut with room for n pieces, and one piece more of it: stretches of different pieces stay apart. */
bool cut_init(struct cut *cut, size_t n, struct arena *arena);
void cut_add(struct cut *cut, size_t piece, int64_t from_us, int64_t to_us, int64_t coarse_us);

void param_instants(struct db_params *p, const int64_t *us, size_t n);
/* Two parameters: begins and ends. */
void param_stretches(struct db_params *p, const struct stretches *s);
/* Three parameters: pieces, begins and ends. */
void param_pieces(struct db_params *p, const struct stretches *s);
/* The tags of a filter as a JSON object in the arena, NULL for none (and for an overflown arena). */
const char *usage_filter_tags(const struct usage_filter *f, struct arena *arena);

/* ---- questions and rows ---- */

extern const struct usage_filter usage_filter_any;
/* Whether project, provider and model are not enough to answer it. */
bool usage_filter_needs_sets(const struct usage_filter *f);
/* Reads ADD_UP from column first_col on. ERR_RANGE: an amount does not fit. */
enum err costs_read_sums(const PGresult *r, int row, int first_col, struct usage_sums *ret);

#endif
