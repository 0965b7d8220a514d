/* Many totals in one statement: the spend of all budgets of a user. Equal periods are read once, whatever the
 * number of questions about them, and questions are matched with the few rows that are left after adding up.
 */

#include "llmlab/db/costs.h"

#include <string.h>

#include "llmlab/base/check.h"
#include "costs_parts.h"
#include "scope.h"

#define PARAMS_BYTES (16 << 20) /* texts of all questions with room */

/* ---- the statements ----
 * $1 user; $2, $3, $4 period, begin and end of stretches of days, $5, $6, $7 of quarters, for the questions
 * that the sums by model answer: $8 number, $9 period, $10 provider, $11 model, $12 project. $13 to $15, $16
 * to $18 stretches for the questions that need the sums by set: $19 number, $20 period, $21 provider, $22
 * model, $23 project, $24 customer, $25 API key, $26 tags, $27, $28 the first of the tags; $29, $30 whether
 * any asks for a provider or a model. $31, $32, $33 number, begin and end of ragged stretches of any
 * question. */

#define IN_PIECES(piece, lo, hi, table)                                                                      \
	" FROM unnest(" piece "::bigint[], " lo "::timestamptz[], " hi "::timestamptz[]) AS r (i, lo, hi)"   \
	" CROSS JOIN LATERAL (SELECT * FROM " table                                                          \
	" WHERE user_id = $1 AND bucket >= r.lo AND bucket < r.hi OFFSET 0) AS t"

#define MODEL_PART(from)                                                                                     \
	"SELECT r.i, t.provider, t.model, t.project, " ADD_UP from                                           \
	" GROUP BY r.i, t.provider, t.model, t.project"
#define MODEL_QUESTIONS                                                                                      \
	"mq AS MATERIALIZED (SELECT * FROM unnest($8::bigint[], $9::bigint[], $10::text[], $11::text[],"     \
	" $12::text[]) AS q (n, i, provider, model, project))"
#define MODEL_ANSWERS                                                                                        \
	"SELECT q.n, " USAGE_COLUMNS " FROM (" MODEL_PART(                                                   \
		IN_PIECES("$2", "$3", "$4", "usage_model_day")) " UNION ALL " MODEL_PART(IN_PIECES("$5",     \
		"$6", "$7", "usage_model_15m")) ") AS t JOIN mq AS q ON q.i = t.i"                           \
						" AND (q.provider IS NULL OR q.provider = t.provider) AND "  \
						"(q.model IS NULL OR q.model = t.model)"                     \
						" AND (q.project IS NULL OR q.project = t.project)"

/* Which sets each question means, found by equality with one of the things it asks for. */
#define SET_QUESTIONS                                                                                        \
	"sq AS MATERIALIZED (SELECT * FROM unnest($19::bigint[], $20::bigint[], $21::text[], $22::text[],"   \
	" $23::text[], $24::text[], $25::uuid[], $26::jsonb[], $27::text[], $28::text[])"                    \
	" AS q (n, i, provider, model, project, customer, api_key_id, tags, tag_key, tag_value))"
#define REST " AND (q.project IS NULL OR s.project = q.project) AND (q.tags IS NULL OR s.tags @> q.tags)"
#define MEANT                                                                                                \
	"meant AS MATERIALIZED (SELECT q.n, q.i, q.provider, q.model, s.id FROM sq AS q"                     \
	" JOIN usage_sets AS s ON s.user_id = $1 AND s.customer = q.customer"                                \
	" AND (q.api_key_id IS NULL OR s.api_key_id = q.api_key_id)" REST                                    \
	" UNION ALL SELECT q.n, q.i, q.provider, q.model, s.id FROM sq AS q"                                 \
	" JOIN usage_sets AS s ON s.user_id = $1 AND s.api_key_id = q.api_key_id" REST                       \
	" WHERE q.customer IS NULL"                                                                          \
	" UNION ALL SELECT q.n, q.i, q.provider, q.model, s.id FROM sq AS q"                                 \
	" JOIN (SELECT u.*, k.tag_key AS key, u.tags ->> k.tag_key AS value FROM (SELECT DISTINCT tag_key "  \
	"FROM sq"                                                                                            \
	" WHERE tag_key IS NOT NULL) AS k, usage_sets AS u WHERE u.user_id = $1) AS s"                       \
	" ON s.key = q.tag_key AND s.value = q.tag_value" REST                                               \
	" WHERE q.customer IS NULL AND q.api_key_id IS NULL)"
#define SET_PART(from)                                                                                       \
	"SELECT r.i, t.set_id, CASE WHEN $29::bool THEN t.provider END AS provider,"                         \
	" CASE WHEN $30::bool THEN t.model END AS model, " ADD_UP from ONLY_MEANT " GROUP BY 1, 2, 3, 4"
#define ONLY_MEANT " JOIN unnest(ARRAY(SELECT DISTINCT id FROM meant)) AS wanted (id) ON wanted.id = t.set_id"
/* Without questions about providers and models the days have fewer rows. */
#define NAMELESS_PART(from)                                                                                  \
	"SELECT r.i, t.set_id, NULL::text AS provider, NULL::text AS model, " ADD_UP from ONLY_MEANT         \
	" GROUP BY 1, 2"
#define DAYS_BY_MODEL SET_PART(IN_PIECES("$13", "$14", "$15", "usage_set_model_day"))
#define DAYS	      NAMELESS_PART(IN_PIECES("$13", "$14", "$15", "usage_set_day"))
#define SET_ANSWERS(days)                                                                                    \
	"SELECT m.n, " USAGE_COLUMNS " FROM (" days " UNION ALL " SET_PART(IN_PIECES(                        \
		"$16", "$17", "$18", "usage_set_model_15m")) ") AS t JOIN meant AS m ON m.i = t.i"           \
							     " AND m.id = t.set_id AND (m.provider IS NULL " \
							     "OR m.provider = t.provider)"                   \
							     " AND (m.model IS NULL OR m.model = t.model)"

/* Each question by itself: there are few events at a ragged end. */
#define RAGGED_ANSWERS                                                                                       \
	"SELECT r.n, " USAGE_COLUMNS " FROM unnest($31::bigint[], $32::timestamptz[], $33::timestamptz[])"   \
	" AS r (n, lo, hi) JOIN (SELECT n, provider, model, project, NULL::text AS customer, NULL::uuid AS " \
	"api_key_id, NULL::jsonb AS tags FROM mq UNION ALL SELECT n, provider, model, project, customer, "   \
	"api_key_id, tags FROM sq) AS q ON q.n = r.n CROSS JOIN LATERAL (SELECT " EVENT_SUM_COLUMNS          \
	" FROM events AS e WHERE user_id = $1 AND occurred_at >= r.lo AND occurred_at < r.hi"                \
	" AND (q.provider IS NULL OR e.provider = q.provider) AND (q.model IS NULL OR e.model = q.model)"    \
	" AND (q.project IS NULL OR coalesce(e.project, '') = q.project)"                                    \
	" AND (q.customer IS NULL OR coalesce(e.customer, '') = q.customer)"                                 \
	" AND (q.api_key_id IS NULL OR e.api_key_id = q.api_key_id)"                                         \
	" AND (q.tags IS NULL OR e.tags @> q.tags) OFFSET 0) AS t"

#define ANSWERS(with, answers) "WITH " with " SELECT n, " ADD_UP " FROM (" answers ") AS t GROUP BY n"

static const struct db_stmt MODEL_TOTALS = {"costs_totals_model", ANSWERS(MODEL_QUESTIONS, MODEL_ANSWERS)};
/* Whether any question names a provider or a model. */
#define SETS_OF(answers)                                                                                     \
	ANSWERS(MODEL_QUESTIONS ", " SET_QUESTIONS ", " MEANT, MODEL_ANSWERS " UNION ALL " answers)
static const struct db_stmt TOTALS[2] = {{"costs_totals", SETS_OF(SET_ANSWERS(DAYS))},
	{"costs_totals_names", SETS_OF(SET_ANSWERS(DAYS_BY_MODEL))}};
static const struct db_stmt TOTALS_RAGGED[2] = {
	{"costs_totals_ragged", SETS_OF(SET_ANSWERS(DAYS) " UNION ALL " RAGGED_ANSWERS)},
	{"costs_totals_names_ragged", SETS_OF(SET_ANSWERS(DAYS_BY_MODEL) " UNION ALL " RAGGED_ANSWERS)}};

enum { COLUMN_QUESTION, COLUMN_SUMS };

/* ---- from questions to parameters ---- */

/* The questions that one kind of sums answers, column by column. */
struct questions {
	int64_t *number, *period;
	const char **provider, **model, **project, **customer, **api_key, **tags, **tag_key, **tag_value;
	size_t n;
	bool by_provider, by_model;
	struct cut cut; /* of its different periods */
	const struct usage_question **periods;
	size_t n_periods;
};

/* False without memory. */
static bool questions_init(struct questions *s, size_t n, struct arena *arena)
{
	const char ***const columns[] = {&s->provider, &s->model, &s->project, &s->customer, &s->api_key,
		&s->tags, &s->tag_key, &s->tag_value};
	*s = (struct questions){.number = arena_array(arena, n, sizeof(*s->number)),
		.period = arena_array(arena, n, sizeof(*s->period)),
		.periods = arena_array(arena, n, sizeof(*s->periods))};
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		*columns[i] = arena_array(arena, n, sizeof(**columns[i]));
	return cut_init(&s->cut, n, arena);
}

/* The number of the question's period, a new one if no question before had it; its ragged ends are the
 * question's own. */
static size_t period_of(
	struct questions *s, size_t number, const struct usage_question *q, struct stretches *ragged)
{
	size_t i = 0;
	while (i < s->n_periods && (s->periods[i]->from_us != q->from_us || s->periods[i]->to_us != q->to_us))
		i++;
	struct cut *const cut = &s->cut;
	const size_t before = cut->ragged.n;
	if (i == s->n_periods) {
		s->periods[s->n_periods++] = q;
		cut_add(cut, i, q->from_us, q->to_us, LEVEL_DAY_US);
	}
	for (size_t j = 0; j < cut->ragged.n; j++) {
		if (j < before && cut->ragged.piece[j] != (int64_t)i)
			continue;
		ragged->piece[ragged->n] = (int64_t)number;
		ragged->lo_us[ragged->n] = cut->ragged.lo_us[j];
		ragged->hi_us[ragged->n++] = cut->ragged.hi_us[j];
	}
	return i;
}

static const char *api_key_text(const struct uuid *id, struct arena *arena)
{
	char text[UUID_TEXT_SIZE];
	if (!id)
		return NULL;
	uuid_format(id, text);
	return arena_strdup(arena, text);
}

static void questions_add(struct questions *s, size_t number, const struct usage_question *q,
	struct stretches *ragged, struct arena *arena)
{
	const struct usage_filter *const f = &q->filter;
	const size_t at = s->n++;
	s->number[at] = (int64_t)number;
	s->period[at] = (int64_t)period_of(s, number, q, ragged);
	s->provider[at] = f->provider;
	s->model[at] = f->model;
	s->project[at] = f->project;
	s->customer[at] = f->customer;
	s->api_key[at] = api_key_text(f->api_key_id, arena);
	s->tags[at] = usage_filter_tags(f, arena);
	s->tag_key[at] = f->tag_key || f->n_tags == 0 ? f->tag_key : f->tags[0].key;
	s->tag_value[at] = f->tag_key || f->n_tags == 0 ? f->tag_value : f->tags[0].value;
	s->by_provider |= f->provider != NULL;
	s->by_model |= f->model != NULL;
}

static void param_model_questions(struct db_params *p, const struct questions *s)
{
	param_pieces(p, &s->cut.coarse);
	param_pieces(p, &s->cut.quarters);
	db_param_i64_array(p, s->number, s->n);
	db_param_i64_array(p, s->period, s->n);
	db_param_text_array(p, s->provider, s->n);
	db_param_text_array(p, s->model, s->n);
	db_param_text_array(p, s->project, s->n);
}

static void param_set_questions(struct db_params *p, const struct questions *s)
{
	param_model_questions(p, s);
	db_param_text_array(p, s->customer, s->n);
	db_param_text_array(p, s->api_key, s->n);
	db_param_text_array(p, s->tags, s->n);
	db_param_text_array(p, s->tag_key, s->n);
	db_param_text_array(p, s->tag_value, s->n);
	db_param_bool(p, s->by_provider);
	db_param_bool(p, s->by_model);
}

static enum err run(struct db_conn *c, const struct uuid *user_id, const struct usage_question *questions,
	size_t n, struct arena *arena, PGresult **ret)
{
	struct questions of_models, of_sets;
	struct cut ends;
	if (!questions_init(&of_models, n, arena) || !questions_init(&of_sets, n, arena) ||
		!cut_init(&ends, n, arena))
		return ERR_NO_MEMORY;
	for (size_t i = 0; i < n; i++) {
		const bool sets = usage_filter_needs_sets(&questions[i].filter);
		questions_add(sets ? &of_sets : &of_models, i, &questions[i], &ends.ragged, arena);
	}
	const bool ragged = ends.ragged.n > 0;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id);
	param_model_questions(&p, &of_models);
	if (of_sets.n > 0 || ragged)
		param_set_questions(&p, &of_sets);
	if (ragged)
		param_pieces(&p, &ends.ragged);
	/* A text that could not be made would be NULL, which means "any". */
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	const bool names = of_sets.by_provider || of_sets.by_model;
	const struct db_stmt *const sets = ragged ? &TOTALS_RAGGED[names] : &TOTALS[names];
	return db_run_planned(c, ragged || of_sets.n > 0 ? sets : &MODEL_TOTALS, &p, ret);
}

enum err costs_totals(struct db_conn *c, const struct uuid *user_id, const struct usage_question *questions,
	size_t n, struct usage_sums *out)
{
	if (n == 0)
		return ERR_OK;
	if (n > COSTS_QUESTIONS_MAX)
		return ERR_RANGE;
	for (size_t i = 0; i < n; i++)
		if (questions[i].to_us < questions[i].from_us)
			return ERR_RANGE;
	struct arena arena SCOPE_ARENA;
	arena_init(&arena, PARAMS_BYTES);
	PGresult *r SCOPE_RESULT = NULL;
	enum err e = run(c, user_id, questions, n, &arena, &r);
	if (e != ERR_OK)
		return e;
	struct usage_sums *const sums = arena_array(&arena, n, sizeof(*sums));
	if (!sums)
		return ERR_NO_MEMORY;
	for (int row = 0; row < db_rows(r); row++) {
		const int64_t i = db_i64(r, row, COLUMN_QUESTION);
		CHECK(i >= 0 && (size_t)i < n);
		e = costs_read_sums(r, row, COLUMN_SUMS, &sums[i]);
		if (e != ERR_OK)
			return e;
	}
	memcpy(out, sums, n * sizeof(*out));
	return ERR_OK;
}
