/* Sums by up to three dimensions and interval, dearest groups first. Provider, model and project are answered
 * from the sums by model, everything else from the sums by set, which are joined with what a set stands for
 * after they were added up: there are far fewer sets than rows. Not here: what a request may ask for.
 */

#include "llmlab/db/costs.h"

#include <string.h>

#include "llmlab/base/check.h"
#include "costs_parts.h"
#include "scope.h"

#define PARAMS_BYTES (16 << 20) /* texts of all borders with room */

/* ---- the statements ---- */

/* From groups (i, v1, v2, v3 and the sums) to the answer. The rank of a group goes by what it costs in all
 * intervals; groups beyond the limit become one row in each. */
#define RANKED(groups)                                                                                       \
	"WITH g AS (" groups                                                                                 \
	"), w AS (SELECT g.*, sum(cost) OVER same AS all_cost, sum(calls) OVER same AS "                     \
	"all_calls FROM g WINDOW same AS (PARTITION BY v1, v2, v3)),"                                        \
	" r AS (SELECT w.*, dense_rank() OVER (ORDER BY all_cost DESC, all_calls DESC, v1 COLLATE \"C\","    \
	" v2 COLLATE \"C\", v3 COLLATE \"C\") > $13::bigint AS other FROM w)"                                \
	" SELECT * FROM (SELECT i, " ADD_UP ", other, count(*), CASE WHEN NOT other THEN v1 END AS v1,"      \
	" CASE WHEN NOT other THEN v2 END AS v2, CASE WHEN NOT other THEN v3 END AS v3 FROM r"               \
	" GROUP BY i, other, 16, 17, 18) AS a ORDER BY i, other, cost DESC, calls DESC, v1 COLLATE \"C\","   \
	" v2 COLLATE \"C\", v3 COLLATE \"C\" LIMIT 200001"
enum { COLUMN_INTERVAL, COLUMN_SUMS, COLUMN_OTHER = COLUMN_SUMS + N_SUMS, COLUMN_GROUPS, COLUMN_VALUES };

/* From the sums by model. $1 user; $2 to $9 the cut (param_cut()); $10, $11, $12 provider, model and project
 * or NULL; $13 limit; $14, $15, $16 dimensions or NULL. */
#define MODEL_VALUE(dimension)                                                                               \
	"CASE " dimension "::text WHEN 'provider' THEN t.provider WHEN 'model' THEN t.model"                 \
	" WHEN 'project' THEN nullif(t.project, '') END"
#define MODEL_FILTER                                                                                         \
	" AND ($10::text IS NULL OR provider = $10) AND ($11::text IS NULL OR model = $11)"                  \
	" AND ($12::text IS NULL OR project = $12)"
#define EVENT_FILTER                                                                                         \
	" AND ($10::text IS NULL OR provider = $10) AND ($11::text IS NULL OR model = $11)"                  \
	" AND ($12::text IS NULL OR coalesce(project, '') = $12)"
#define MODEL_VALUES	     MODEL_VALUE("$14") " AS v1, " MODEL_VALUE("$15") " AS v2, " MODEL_VALUE("$16") " AS v3, "
#define MODEL_PART(from)     "SELECT " INTERVAL ", " MODEL_VALUES ADD_UP from " GROUP BY 1, 2, 3, 4"
#define VALUES_PIECES(inner) " UNION ALL " SIGNED(", t.v1, t.v2, t.v3", inner " GROUP BY 1, 2, 3, 4, 5")
#define MODEL_PIECES(from)   VALUES_PIECES("SELECT r.plus, r.minus, " MODEL_VALUES ADD_UP from)
#define MODEL_QUARTERS	     MODEL_PIECES(IN_PIECES_OF(PIECES_5, CUT_QUARTER_SQL, "usage_model_15m", MODEL_FILTER))
#define MODEL_FROM_WEEK(in)                                                                                  \
	MODEL_PART(in("usage_model_week", MODEL_FILTER))                                                     \
	MODEL_PIECES(IN_PIECES_OF(PIECES_5, CUT_DAY_SQL, "usage_model_day", MODEL_FILTER)) MODEL_QUARTERS
#define MODEL_FROM_DAY(in) MODEL_PART(in("usage_model_day", MODEL_FILTER)) MODEL_QUARTERS
/* There are no pieces then, but every parameter must be used. */
#define MODEL_FROM_QUARTER(in) MODEL_PART(in("usage_model_15m", MODEL_FILTER)) MODEL_QUARTERS
#define MODEL_EVENTS	       MODEL_PIECES(IN_EVENTS_OF(PIECES_5, "provider, model, project", EVENT_FILTER))
#define MODEL_OF(parts)                                                                                      \
	RANKED("SELECT i, v1, v2, v3, " ADD_UP " FROM (" parts                                               \
	       ") AS t GROUP BY i, v1, v2, v3 HAVING sum(calls) <> 0")

/* From the sums by set. $1 to $11, $13 to $16 as above; $12, $17, $18, $19 project, customer, API key and
 * tags or NULL; $20, $21, $22 tag keys of the dimensions. */
#define SET_VALUE(dimension, tag)                                                                            \
	"CASE " dimension "::text WHEN 'project' THEN nullif(s.project, '') WHEN 'customer' THEN"            \
	" nullif(s.customer, '') WHEN 'key' THEN s.api_key_id::text WHEN 'tag' THEN s.tags ->> " tag         \
	"::text END"
#define SET_FILTER                                                                                           \
	"($12::text IS NULL OR s.project = $12) AND ($17::text IS NULL OR s.customer = $17)"                 \
	" AND ($18::uuid IS NULL OR s.api_key_id = $18) AND ($19::jsonb IS NULL OR s.tags @> $19)"
#define NAME_FILTER " AND ($10::text IS NULL OR provider = $10) AND ($11::text IS NULL OR model = $11)"
/* The sets that the filter lets through, with what they are as groups. The arrays make the planner believe in
 * ten of them: believing in as many groups as there are rows it would sort those on disk, instead of hashing.
 */
#define THE_SETS                                                                                             \
	"WITH d AS MATERIALIZED (SELECT u.* FROM (SELECT array_agg(s.id) AS id, array_agg(" SET_VALUE("$14", \
		"$20") ") AS v1, array_agg(" SET_VALUE("$15", "$21") ") AS v2, array_agg(" SET_VALUE("$16",  \
		"$22") ") AS v3 FROM usage_sets AS s WHERE s.user_id = $1 AND " SET_FILTER                   \
		       ") AS a CROSS JOIN LATERAL unnest(a.id, a.v1, a.v2, a.v3) AS u (id, v1, v2, v3)) "
/* Rows t with their sets. An inner join as a FULL one, which PostgreSQL does by hashing (or merging), never
 * row by row: the plan is made once, knows no parameters, and would otherwise compare each row with every set
 * or read rows again for each. What has no partner is left out by a condition that the planner does not see
 * through. */
#define WITH_SETS " FULL JOIN d ON d.id = t.set_id WHERE num_nulls(t.set_id, d.id) < 1"

/* The levels of statements that ask for providers or models, and of those that do not, whose days and weeks
 * have fewer rows. `part` makes a part of coarse rows, `pieces` one of pieces. */
#define NAMED_QUARTERS(pieces)                                                                               \
	pieces(IN_PIECES_OF(PIECES_5, CUT_QUARTER_SQL, "usage_set_model_15m", NAME_FILTER))
#define NAMED_FROM_DAY(part, pieces, in) part(in("usage_set_model_day", NAME_FILTER)) NAMED_QUARTERS(pieces)
#define NAMED_FROM_QUARTER(part, pieces, in)                                                                 \
	part(in("usage_set_model_15m", NAME_FILTER)) NAMED_QUARTERS(pieces)
#define NAMELESS_FROM_WEEK(part, pieces, in)                                                                 \
	part(in("usage_set_week", "")) pieces(IN_PIECES_OF(PIECES_5, CUT_DAY_SQL, "usage_set_day", ""))      \
		NAMED_QUARTERS(pieces)
#define NAMELESS_FROM_DAY(part, pieces, in) part(in("usage_set_day", "")) NAMED_QUARTERS(pieces)
#define SET_EVENTS(pieces)		    pieces(IN_EVENTS_OF(PIECES_5, "set_id, provider, model", NAME_FILTER))

/* In one interval there are few sums by set, which are joined after adding up. */
#define ASKED_NAMES                                                                                          \
	"CASE WHEN 'provider' IN ($14, $15, $16) THEN t.provider END AS provider,"                           \
	" CASE WHEN 'model' IN ($14, $15, $16) THEN t.model END AS model"
#define WHOLE_PART(from) "SELECT " INTERVAL ", t.set_id, " ASKED_NAMES ", " ADD_UP from " GROUP BY 1, 2, 3, 4"
#define WHOLE_PIECES(from)                                                                                   \
	" UNION ALL " SIGNED(", t.set_id, t.provider, t.model",                                              \
		"SELECT r.plus, r.minus, t.set_id, " ASKED_NAMES ", " ADD_UP from " GROUP BY 1, 2, 3, 4, 5")
#define WHOLE_VALUE(dimension, value)                                                                        \
	"CASE " dimension "::text WHEN 'provider' THEN t.provider WHEN 'model' THEN t.model ELSE " value     \
	" END"
#define WHOLE_VALUES                                                                                         \
	WHOLE_VALUE("$14", "d.v1")                                                                           \
	" AS v1, " WHOLE_VALUE("$15", "d.v2") " AS v2, " WHOLE_VALUE("$16", "d.v3") " AS v3, "
#define WHOLE_OF(parts)                                                                                      \
	RANKED(THE_SETS "SELECT t.i, " WHOLE_VALUES ADD_UP " FROM (" parts ") AS t" WITH_SETS                \
			" GROUP BY 1, 2, 3, 4 HAVING sum(calls) <> 0")
#define WHOLE_LEVELS(in) NAMED_FROM_DAY(WHOLE_PART, WHOLE_PIECES, in)
/* The same where nothing is asked about providers and models. */
#define NAMELESS_PART(from)                                                                                  \
	"SELECT " INTERVAL ", t.set_id, NULL::text AS provider, NULL::text AS model, " ADD_UP from           \
	" GROUP BY 1, 2"
#define NAMELESS_PIECES(from)                                                                                \
	" UNION ALL " SIGNED(", t.set_id, NULL::text AS provider, NULL::text AS model",                      \
		"SELECT r.plus, r.minus, t.set_id, " ADD_UP from " GROUP BY 1, 2, 3")
#define NAMELESS_LEVELS(in) NAMELESS_FROM_WEEK(NAMELESS_PART, NAMELESS_PIECES, in)

/* In many there are nearly as many as rows, so that these are joined first; so they are where only some sets
 * are asked for. */
#define JOINED_PART(from)   "SELECT " INTERVAL ", " WHOLE_VALUES ADD_UP from WITH_SETS " GROUP BY 1, 2, 3, 4"
#define JOINED_PIECES(from) VALUES_PIECES("SELECT r.plus, r.minus, " WHOLE_VALUES ADD_UP from WITH_SETS)
#define JOINED_OF(parts)                                                                                     \
	RANKED(THE_SETS "SELECT i, v1, v2, v3, " ADD_UP " FROM (" parts                                      \
			") AS t GROUP BY i, v1, v2, v3 HAVING sum(calls) <> 0")
#define JOINED_FROM_DAY(in)	NAMED_FROM_DAY(JOINED_PART, JOINED_PIECES, in)
#define JOINED_FROM_QUARTER(in) NAMED_FROM_QUARTER(JOINED_PART, JOINED_PIECES, in)
#define JOINED_EVENTS		SET_EVENTS(JOINED_PIECES)
#define SET_VALUES_PART(from)                                                                                \
	"SELECT " INTERVAL ", d.v1, d.v2, d.v3, " ADD_UP from WITH_SETS " GROUP BY 1, 2, "                   \
	"3, 4"
#define SET_VALUES_PIECES(from)                                                                              \
	VALUES_PIECES("SELECT r.plus, r.minus, d.v1, d.v2, d.v3, " ADD_UP from WITH_SETS)
#define SET_VALUES_FROM_WEEK(in)    NAMELESS_FROM_WEEK(SET_VALUES_PART, SET_VALUES_PIECES, in)
#define SET_VALUES_FROM_DAY(in)	    NAMELESS_FROM_DAY(SET_VALUES_PART, SET_VALUES_PIECES, in)
#define SET_VALUES_FROM_QUARTER(in) NAMED_FROM_QUARTER(SET_VALUES_PART, SET_VALUES_PIECES, in)
#define SET_VALUES_EVENTS	    SET_EVENTS(SET_VALUES_PIECES)

/* A kind of question: the levels that its statements read, each of which one of them begins with. */
struct kind {
	const struct db_stmt (*statements)[2][2];
	size_t n_statements;
	const enum cut_level *levels; /* CUT_QUARTER last */
	size_t n_levels;
};
/* Of one choice of sums. */
struct kinds {
	struct kind models, sets, sets_and_models, some_sets, some_sets_and_models;
};
static const enum cut_level LEVELS[] = {CUT_WEEK, CUT_DAY, CUT_QUARTER};
#define N_LEVELS (sizeof(LEVELS) / sizeof(LEVELS[0]))
#define KIND(statements, coarse)                                                                             \
	{                                                                                                    \
		statements, sizeof(statements) / sizeof(statements[0]), LEVELS + (coarse),                   \
			N_LEVELS - (coarse)                                                                  \
	}
/* All statements, for what ADD_UP is where this stands; each kind by the first level that is read. */
#define KINDS(sums, name)                                                                                    \
	static const struct db_stmt BY_MODEL_##sums[][2][2] = {                                              \
		STATEMENTS(name "_model", MODEL_OF, MODEL_FROM_WEEK, MODEL_EVENTS),                          \
		STATEMENTS(name "_model_days", MODEL_OF, MODEL_FROM_DAY, MODEL_EVENTS),                      \
		STATEMENTS(name "_model_quarters", MODEL_OF, MODEL_FROM_QUARTER, MODEL_EVENTS)};             \
	static const struct db_stmt BY_SET_AND_MODEL_##sums[][2][2] = {                                      \
		STATEMENTS(name "_set_model", WHOLE_OF, WHOLE_LEVELS, SET_EVENTS(WHOLE_PIECES))};            \
	static const struct db_stmt BY_SET_##sums[][2][2] = {                                                \
		STATEMENTS(name "_set", WHOLE_OF, NAMELESS_LEVELS, SET_EVENTS(NAMELESS_PIECES))};            \
	static const struct db_stmt OF_SETS_AND_MODELS_##sums[][2][2] = {                                    \
		STATEMENTS(name "_of_sets_model", JOINED_OF, JOINED_FROM_DAY, JOINED_EVENTS),                \
		STATEMENTS(name "_of_sets_quarters_model", JOINED_OF, JOINED_FROM_QUARTER, JOINED_EVENTS)};  \
	static const struct db_stmt OF_SETS_##sums[][2][2] = {                                               \
		STATEMENTS(name "_of_sets", JOINED_OF, SET_VALUES_FROM_WEEK, SET_VALUES_EVENTS),             \
		STATEMENTS(name "_of_sets_days", JOINED_OF, SET_VALUES_FROM_DAY, SET_VALUES_EVENTS),         \
		STATEMENTS(                                                                                  \
			name "_of_sets_quarters", JOINED_OF, SET_VALUES_FROM_QUARTER, SET_VALUES_EVENTS)};   \
	static const struct kinds KINDS_##sums = {.models = KIND(BY_MODEL_##sums, CUT_WEEK),                 \
		.sets = KIND(BY_SET_##sums, CUT_WEEK),                                                       \
		.sets_and_models = KIND(BY_SET_AND_MODEL_##sums, CUT_DAY),                                   \
		.some_sets = KIND(OF_SETS_##sums, CUT_WEEK),                                                 \
		.some_sets_and_models = KIND(OF_SETS_AND_MODELS_##sums, CUT_DAY)}

KINDS(ALL, "costs_breakdown");
#undef ADD_UP
#define ADD_UP ADD_UP_COST
KINDS(COST, "costs_breakdown_cost");

/* ---- from a question to a statement ---- */

static const char *dimension_name(enum usage_dimension d)
{
	switch (d) {
	case USAGE_BY_PROVIDER:
		return "provider";
	case USAGE_BY_MODEL:
		return "model";
	case USAGE_BY_PROJECT:
		return "project";
	case USAGE_BY_CUSTOMER:
		return "customer";
	case USAGE_BY_KEY:
		return "key";
	case USAGE_BY_TAG:
		return "tag";
	}
	CHECK(false);
}

static bool groups_by(const struct usage_breakdown *b, enum usage_dimension d)
{
	for (size_t i = 0; i < b->n_groups; i++)
		if (b->groups[i].dimension == d)
			return true;
	return false;
}

static bool needs_sets(const struct usage_breakdown *b, const struct usage_filter *f)
{
	return usage_filter_needs_sets(f) || groups_by(b, USAGE_BY_CUSTOMER) || groups_by(b, USAGE_BY_KEY) ||
	       groups_by(b, USAGE_BY_TAG);
}

static void param_dimensions(struct db_params *p, const struct usage_breakdown *b)
{
	for (size_t i = 0; i < COSTS_GROUPS_MAX; i++)
		db_param_text(p, i < b->n_groups ? dimension_name(b->groups[i].dimension) : NULL);
}

static void param_sets(struct db_params *p, const struct usage_breakdown *b, const struct usage_filter *f)
{
	db_param_text(p, f->customer);
	db_param_uuid(p, f->api_key_id);
	db_param_text(p, usage_filter_tags(f, p->arena));
	for (size_t i = 0; i < COSTS_GROUPS_MAX; i++)
		db_param_text(p, i < b->n_groups ? b->groups[i].tag_key : NULL);
}

static bool needs_names(const struct usage_breakdown *b, const struct usage_filter *f)
{
	return f->provider || f->model || groups_by(b, USAGE_BY_PROVIDER) || groups_by(b, USAGE_BY_MODEL);
}

static const struct kind *kind_of(
	const struct usage_breakdown *b, const struct usage_filter *f, size_t n_starts)
{
	const struct kinds *const k = b->only_cost ? &KINDS_COST : &KINDS_ALL;
	const bool names = needs_names(b, f);
	if (!needs_sets(b, f))
		return &k->models;
	if (n_starts > 2 || f->project || usage_filter_needs_sets(f))
		return names ? &k->some_sets_and_models : &k->some_sets;
	return names ? &k->sets_and_models : &k->sets;
}

/* Parameters live in *arena until the caller releases it. */
static enum err run(struct db_conn *c, const struct uuid *user_id, const struct usage_breakdown *b,
	const int64_t *starts_us, size_t n_starts, struct arena *arena, PGresult **ret)
{
	const struct usage_filter *const f = b->filter ? b->filter : &usage_filter_any;
	const struct kind *const k = kind_of(b, f, n_starts);
	const size_t first = cut_first_level(starts_us, n_starts, k->levels, k->n_statements);
	struct cut cut;
	if (!cut_intervals(starts_us, n_starts, k->levels + first, k->n_levels - first, arena, &cut))
		return ERR_NO_MEMORY;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	param_cut(&p, &cut);
	db_param_text(&p, f->provider);
	db_param_text(&p, f->model);
	db_param_text(&p, f->project);
	db_param_i64(&p, (int64_t)b->limit);
	param_dimensions(&p, b);
	if (needs_sets(b, f))
		param_sets(&p, b, f);
	return db_run(c, STATEMENT(k->statements[first], &cut), &p, ret);
}

/* ---- from rows to groups ---- */

static enum err read_row(const PGresult *r, int row, struct arena *arena, struct usage_row *ret)
{
	ret->interval = (size_t)db_i64(r, row, COLUMN_INTERVAL);
	ret->other = db_bool(r, row, COLUMN_OTHER);
	ret->groups = db_i64(r, row, COLUMN_GROUPS);
	for (int i = 0; i < COSTS_GROUPS_MAX; i++)
		ret->values[i] = arena_strdup(arena, db_text(r, row, COLUMN_VALUES + i));
	return costs_read_sums(r, row, COLUMN_SUMS, &ret->sums);
}

enum err costs_breakdown(struct db_conn *c, const struct uuid *user_id, const struct usage_breakdown *b,
	const int64_t *starts_us, size_t n_starts, struct arena *arena, struct usage_row **ret_rows,
	size_t *ret_n)
{
	CHECK(b->n_groups <= COSTS_GROUPS_MAX && b->limit >= 1);
	enum err e = costs_check_starts(starts_us, n_starts);
	if (e != ERR_OK)
		return e;
	struct arena params SCOPE_ARENA;
	arena_init(&params, PARAMS_BYTES);
	PGresult *r SCOPE_RESULT = NULL;
	e = run(c, user_id, b, starts_us, n_starts, &params, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	if (n > COSTS_CELLS_MAX)
		return ERR_RANGE;
	struct usage_row *rows = arena_array(arena, n, sizeof(*rows));
	for (size_t i = 0; rows && i < n; i++) {
		e = read_row(r, (int)i, arena, &rows[i]);
		if (e != ERR_OK)
			return e;
		CHECK(rows[i].interval < n_starts - 1);
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret_rows = rows;
	*ret_n = n;
	return ERR_OK;
}
