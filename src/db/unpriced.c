/* What has no price: found in the rollup by its index of such rows, so that nothing is read where everything
 * is priced. */

#include "llmlab/db/unpriced.h"

#include "scope.h"

/* A row of the rollup whose calls all lack a price has their tokens; of the others (parallel arrays) the
 * unpriced events are read. The two instants are those of the first match in the first and last quarter of an
 * hour; when retention has removed the events, the quarter's begin. */
static const struct db_stmt LIST = {"unpriced_list",
	"SELECT $1::uuid, s.provider, s.model, s.calls, s.input + coalesce(x.input, 0), s.output + "
	"coalesce(x.output, 0),"
	" coalesce((SELECT occurred_at FROM events WHERE user_id = $1 AND occurred_at >= s.first_bucket"
	"  AND occurred_at < s.first_bucket + interval '15 minutes' AND provider = s.provider AND model = "
	"s.model"
	"  AND cost IS NULL ORDER BY occurred_at LIMIT 1), s.first_bucket),"
	" coalesce((SELECT occurred_at FROM events WHERE user_id = $1 AND occurred_at >= s.last_bucket"
	"  AND occurred_at < s.last_bucket + interval '15 minutes' AND provider = s.provider AND model = "
	"s.model"
	"  AND cost IS NULL ORDER BY occurred_at DESC LIMIT 1), s.last_bucket)"
	" FROM (SELECT provider, model, sum(unpriced_calls)::bigint AS calls,"
	"  coalesce(sum(input_tokens) FILTER (WHERE unpriced_calls = calls), 0)::bigint AS input,"
	"  coalesce(sum(output_tokens) FILTER (WHERE unpriced_calls = calls), 0)::bigint AS output,"
	"  min(bucket) AS first_bucket, max(bucket) AS last_bucket,"
	"  array_agg(bucket) FILTER (WHERE unpriced_calls < calls) AS buckets,"
	"  array_agg(project) FILTER (WHERE unpriced_calls < calls) AS projects"
	"  FROM usage_model_15m WHERE user_id = $1 AND unpriced_calls > 0"
	"  AND (provider COLLATE \"C\", model COLLATE \"C\") > ($2, $3)"
	"  GROUP BY provider, model ORDER BY provider COLLATE \"C\", model COLLATE \"C\" LIMIT $4::integer) "
	"AS s"
	" LEFT JOIN LATERAL (SELECT sum(e.input)::bigint AS input, sum(e.output)::bigint AS output"
	"  FROM unnest(s.buckets, s.projects) AS b (bucket, project)"
	"  CROSS JOIN LATERAL (SELECT sum(input_tokens) AS input, sum(output_tokens) AS output FROM events"
	"   WHERE user_id = $1 AND occurred_at >= b.bucket AND occurred_at < b.bucket + interval '15 minutes'"
	"   AND provider = s.provider AND model = s.model AND coalesce(project, '') = b.project AND cost IS "
	"NULL) AS e"
	" ) AS x ON true"
	" ORDER BY s.provider COLLATE \"C\", s.model COLLATE \"C\""};

/* In the order of the index, whatever its collation: the position is given back as it came. */
#define NAMES	    "SELECT user_id, provider, model FROM usage_model_15m WHERE unpriced_calls > 0"
#define NAMES_ORDER " GROUP BY user_id, provider, model ORDER BY user_id, provider, model LIMIT $4::integer"
static const struct db_stmt ALL_NAMES = {"unpriced_all_names", NAMES
	" AND (user_id, provider, model) > ($1::uuid, $2, $3) AND user_id <> ALL " DELETED_USERS NAMES_ORDER};
static const struct db_stmt USER_NAMES = {"unpriced_user_names",
	NAMES " AND user_id = $1::uuid AND (provider, model) > ($2, $3)"
	      " AND EXISTS (SELECT FROM users WHERE id = $1 AND deleted_at IS NULL)" NAMES_ORDER};

static struct unpriced_model read_name(const PGresult *r, int row, struct arena *arena)
{
	return (struct unpriced_model){.user_id = db_uuid(r, row, 0),
		.provider = arena_strdup(arena, db_text(r, row, 1)),
		.model = arena_strdup(arena, db_text(r, row, 2))};
}

/* Runs a statement of the four parameters; whole: its rows have the sums, too. */
static enum err run(struct db_conn *c, const struct db_stmt *stmt, bool whole, const struct uuid *user_id,
	const struct unpriced_model *after, int limit, struct arena *arena, struct unpriced_model **ret,
	size_t *ret_n)
{
	static const struct uuid first;
	struct db_params p;
	db_params_init(&p, arena);
	db_param_uuid(&p, user_id != NULL ? user_id : after != NULL ? &after->user_id : &first);
	db_param_text(&p, after == NULL ? "" : after->provider);
	db_param_text(&p, after == NULL ? "" : after->model);
	db_param_i64(&p, limit);
	PGresult *r SCOPE_RESULT = NULL;
	const enum err e = db_run(c, stmt, &p, &r);
	if (e != ERR_OK)
		return e;
	const size_t n = (size_t)db_rows(r);
	struct unpriced_model *const rows = arena_array(arena, n, sizeof *rows);
	for (size_t i = 0; rows != NULL && i < n; i++) {
		const int row = (int)i;
		rows[i] = read_name(r, row, arena);
		if (!whole)
			continue;
		rows[i].calls = db_i64(r, row, 3);
		rows[i].input_tokens = db_i64(r, row, 4);
		rows[i].output_tokens = db_i64(r, row, 5);
		rows[i].first_us = db_instant(r, row, 6);
		rows[i].last_us = db_instant(r, row, 7);
	}
	if (arena_overflowed(arena))
		return ERR_NO_MEMORY;
	*ret = rows;
	*ret_n = n;
	return ERR_OK;
}

enum err unpriced_list(struct db_conn *c, const struct uuid *user_id, const struct unpriced_model *after,
	int limit, struct arena *arena, struct unpriced_model **ret, size_t *ret_n)
{
	return run(c, &LIST, true, user_id, after, limit, arena, ret, ret_n);
}

enum err unpriced_names(struct db_conn *c, const struct uuid *user_id, const struct unpriced_model *after,
	int limit, struct arena *arena, struct unpriced_model **ret, size_t *ret_n)
{
	return run(c, user_id == NULL ? &ALL_NAMES : &USER_NAMES, false, user_id, after, limit, arena, ret,
		ret_n);
}
