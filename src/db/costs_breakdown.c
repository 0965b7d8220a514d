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
	" v2 COLLATE \"C\", v3 COLLATE \"C\") > $10::bigint AS other FROM w)"                                \
	" SELECT * FROM (SELECT i, " ADD_UP ", other, count(*), CASE WHEN NOT other THEN v1 END AS v1,"      \
	" CASE WHEN NOT other THEN v2 END AS v2, CASE WHEN NOT other THEN v3 END AS v3 FROM r"               \
	" GROUP BY i, other, 16, 17, 18) AS a ORDER BY i, other, cost DESC, calls DESC, v1 COLLATE \"C\","   \
	" v2 COLLATE \"C\", v3 COLLATE \"C\" LIMIT 200001"
enum { COLUMN_INTERVAL, COLUMN_SUMS, COLUMN_OTHER = COLUMN_SUMS + N_SUMS, COLUMN_GROUPS, COLUMN_VALUES };

/* From the sums by model. $1 user; $2 begins of the intervals; $3, $4 stretches of days; $5, $6 of quarters;
 * $7, $8, $9 provider, model and project or NULL; $10 limit; $11, $12, $13 dimensions or NULL; $14, $15
 * ragged stretches. */
#define MODEL_VALUE(dimension)                                                                               \
	"CASE " dimension "::text WHEN 'provider' THEN t.provider WHEN 'model' THEN t.model"                 \
	" WHEN 'project' THEN nullif(t.project, '') END"
#define MODEL_FILTER                                                                                         \
	" AND ($7::text IS NULL OR provider = $7) AND ($8::text IS NULL OR model = $8)"                      \
	" AND ($9::text IS NULL OR project = $9)"
#define EVENT_FILTER                                                                                         \
	" AND ($7::text IS NULL OR provider = $7) AND ($8::text IS NULL OR model = $8)"                      \
	" AND ($9::text IS NULL OR coalesce(project, '') = $9)"
#define MODEL_PART(from)                                                                                     \
	"SELECT " INTERVAL ", " MODEL_VALUE("$11") " AS v1, " MODEL_VALUE("$12") " AS v2, " MODEL_VALUE(     \
		"$13") " AS v3, " ADD_UP from " GROUP BY 1, 2, 3, 4"
#define MODEL_LEVELS(in)                                                                                     \
	MODEL_PART(in("$3", "$4", "usage_model_day", MODEL_FILTER))                                          \
	" UNION ALL " MODEL_PART(IN_MANY("$5", "$6", "usage_model_15m", MODEL_FILTER))
#define MODEL_EVENTS                                                                                         \
	" UNION ALL " MODEL_PART(EVENTS_IN("$14", "$15", "provider, model, project", EVENT_FILTER))
#define MODEL_OF(parts)                                                                                      \
	RANKED("SELECT i, v1, v2, v3, " ADD_UP " FROM (" parts ") AS t GROUP BY i, v1, v2, v3")

static const struct db_stmt BY_MODEL[2][2] =
	STATEMENTS("costs_breakdown_model", MODEL_OF, MODEL_LEVELS, MODEL_EVENTS);

/* From the sums by set. $1 to $8, $10 to $13 as above; $9, $14, $15, $16 project, customer, API key and tags
 * or NULL; $17, $18, $19 tag keys of the dimensions; $20, $21 ragged stretches. */
#define SET_VALUE(dimension, tag)                                                                            \
	"CASE " dimension "::text WHEN 'project' THEN nullif(s.project, '') WHEN 'customer' THEN"            \
	" nullif(s.customer, '') WHEN 'key' THEN s.api_key_id::text WHEN 'tag' THEN s.tags ->> " tag         \
	"::text END"
#define SET_FILTER                                                                                           \
	"($9::text IS NULL OR s.project = $9) AND ($14::text IS NULL OR s.customer = $14)"                   \
	" AND ($15::uuid IS NULL OR s.api_key_id = $15) AND ($16::jsonb IS NULL OR s.tags @> $16)"
#define NAME_FILTER " AND ($7::text IS NULL OR provider = $7) AND ($8::text IS NULL OR model = $8)"
#define SET_LEVELS(part, in, days, days_filter)                                                              \
	part(in("$3", "$4", days, days_filter)) " UNION ALL " part(                                          \
		IN_MANY("$5", "$6", "usage_set_model_15m", NAME_FILTER))
#define SET_EVENTS(part) " UNION ALL " part(EVENTS_IN("$20", "$21", "set_id, provider, model", NAME_FILTER))
/* The sets that the filter lets through, with what they are as groups. The arrays make the planner believe in
 * ten of them, and so read each stretch once; believing in one it might read a stretch again for each set. */
#define THE_SETS                                                                                             \
	"WITH d AS MATERIALIZED (SELECT u.* FROM (SELECT array_agg(s.id) AS id, array_agg(" SET_VALUE("$11", \
		"$17") ") AS v1, array_agg(" SET_VALUE("$12", "$18") ") AS v2, array_agg(" SET_VALUE("$13",  \
		"$19") ") AS v3 FROM usage_sets AS s WHERE s.user_id = $1 AND " SET_FILTER                   \
		       ") AS a CROSS JOIN LATERAL unnest(a.id, a.v1, a.v2, a.v3) AS u (id, v1, v2, v3)) "

/* In one interval there are few sums by set, which are joined after adding up. */
#define WHOLE_PART(from)                                                                                     \
	"SELECT " INTERVAL ", t.set_id, CASE WHEN 'provider' IN ($11, $12, $13) THEN t.provider END AS "     \
	"provider, CASE WHEN 'model' IN ($11, $12, $13) THEN t.model END AS model, " ADD_UP from             \
	" GROUP BY 1, 2, 3, 4"
#define WHOLE_VALUE(dimension, value)                                                                        \
	"CASE " dimension "::text WHEN 'provider' THEN t.provider WHEN 'model' THEN t.model ELSE " value     \
	" END"
#define WHOLE_OF(parts)                                                                                      \
	RANKED(THE_SETS "SELECT t.i, " WHOLE_VALUE("$11", "d.v1") " AS v1, " WHOLE_VALUE(                    \
		"$12", "d.v2") " AS v2, " WHOLE_VALUE("$13",                                                 \
		"d.v3") " AS v3, " ADD_UP " FROM (" parts                                                    \
			") AS t JOIN d ON d.id = t.set_id GROUP BY 1, 2, 3, 4")
#define WHOLE_LEVELS(in) SET_LEVELS(WHOLE_PART, in, "usage_set_model_day", NAME_FILTER)
/* The same where nothing is asked about providers and models: their days have fewer rows. */
#define NAMELESS_PART(from)                                                                                  \
	"SELECT " INTERVAL ", t.set_id, NULL::text AS provider, NULL::text AS model, " ADD_UP from           \
	" GROUP BY 1, 2"
#define NAMELESS_LEVELS(in) SET_LEVELS(NAMELESS_PART, in, "usage_set_day", "")

static const struct db_stmt BY_SET_AND_MODEL[2][2] =
	STATEMENTS("costs_breakdown_set_model", WHOLE_OF, WHOLE_LEVELS, SET_EVENTS(WHOLE_PART));
static const struct db_stmt BY_SET[2][2] =
	STATEMENTS("costs_breakdown_set", WHOLE_OF, NAMELESS_LEVELS, SET_EVENTS(NAMELESS_PART));

/* In many there are nearly as many as rows, so that these are joined first; so they are where only some sets
 * are asked for. */
#define JOINED_PART(from)                                                                                    \
	"SELECT " INTERVAL                                                                                   \
	", " WHOLE_VALUE("$11", "d.v1") " AS v1, " WHOLE_VALUE("$12", "d.v2") " AS v2, " WHOLE_VALUE(        \
		"$13", "d.v3") " AS v3, " ADD_UP from " JOIN d ON d.id = t.set_id GROUP BY 1, 2, 3, 4"
#define JOINED_OF(parts)                                                                                     \
	RANKED(THE_SETS "SELECT i, v1, v2, v3, " ADD_UP " FROM (" parts ") AS t GROUP BY i, v1, v2, v3")
#define JOINED_LEVELS(in) SET_LEVELS(JOINED_PART, in, "usage_set_model_day", NAME_FILTER)
#define JOINED_NAMELESS_PART(from)                                                                           \
	"SELECT " INTERVAL ", d.v1, d.v2, d.v3, " ADD_UP from " JOIN d ON d.id = t.set_id GROUP BY 1, 2, "   \
	"3, 4"
#define JOINED_NAMELESS_LEVELS(in) SET_LEVELS(JOINED_NAMELESS_PART, in, "usage_set_day", "")

static const struct db_stmt OF_SETS_AND_MODELS[2][2] =
	STATEMENTS("costs_breakdown_of_sets_model", JOINED_OF, JOINED_LEVELS, SET_EVENTS(JOINED_PART));
static const struct db_stmt OF_SETS[2][2] = STATEMENTS(
	"costs_breakdown_of_sets", JOINED_OF, JOINED_NAMELESS_LEVELS, SET_EVENTS(JOINED_NAMELESS_PART));

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

static const struct db_stmt *statement(
	const struct usage_breakdown *b, const struct usage_filter *f, const struct cut *cut, size_t n_starts)
{
	const bool many = cut->coarse.n > 1;
	const bool ragged = cut->ragged.n > 0;
	const bool names = needs_names(b, f);
	if (!needs_sets(b, f))
		return STATEMENT(BY_MODEL, many, ragged);
	if (n_starts > 2 || f->project || usage_filter_needs_sets(f))
		return names ? STATEMENT(OF_SETS_AND_MODELS, many, ragged) : STATEMENT(OF_SETS, many, ragged);
	return names ? STATEMENT(BY_SET_AND_MODEL, many, ragged) : STATEMENT(BY_SET, many, ragged);
}

/* Parameters live in *arena until the caller releases it. */
static enum err run(struct db_conn *c, const struct uuid *user_id, const struct usage_breakdown *b,
	const int64_t *starts_us, size_t n_starts, struct arena *arena, PGresult **ret)
{
	const struct usage_filter *const f = b->filter ? b->filter : &usage_filter_any;
	const bool sets = needs_sets(b, f);
	struct cut cut;
	if (!cut_intervals(starts_us, n_starts, LEVEL_DAY_US, arena, &cut))
		return ERR_NO_MEMORY;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	param_instants(&p, starts_us, n_starts);
	param_stretches(&p, &cut.coarse);
	param_stretches(&p, &cut.quarters);
	db_param_text(&p, f->provider);
	db_param_text(&p, f->model);
	db_param_text(&p, f->project);
	db_param_i64(&p, (int64_t)b->limit);
	param_dimensions(&p, b);
	if (sets)
		param_sets(&p, b, f);
	if (cut.ragged.n > 0)
		param_stretches(&p, &cut.ragged);
	/* A text that could not be made would be NULL, which means "any". */
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	return db_run_planned(c, statement(b, f, &cut, n_starts), &p, ret);
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
