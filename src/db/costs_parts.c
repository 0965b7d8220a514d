/* What reading sums is made of: cutting intervals into the stretches of time that each level of sums can
 * answer, and the way of instants, tags and amounts to and from PostgreSQL. Not here: the statements. */

#include "costs_parts.h"

#include <stdlib.h>
#include <string.h>

#include "llmlab/base/buf.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/json_write.h"

#define QUARTER_US (15 * US_PER_MINUTE)
#define MONDAY_US  (4 * US_PER_DAY) /* 1970-01-05: weeks begin on Mondays */
/* Of one interval: what two ends leave at each of three finer levels, and two of events. */
#define PIECES_AN_INTERVAL 8
#define CUT_LEVELS_MAX	   4
#define TAGS_MAX_BYTES	   ((size_t)64 << 10)

const struct usage_filter usage_filter_any;

/* ---- cuts ---- */

static int64_t unit_us(enum cut_level level)
{
	switch (level) {
	case CUT_WEEK:
		return 7 * US_PER_DAY;
	case CUT_DAY:
		return US_PER_DAY;
	case CUT_HOUR:
		return US_PER_HOUR;
	case CUT_QUARTER:
		return QUARTER_US;
	case CUT_EVENT:
		break;
	}
	CHECK(false);
}

static int64_t floor_to(int64_t us, enum cut_level level)
{
	const int64_t unit = unit_us(level);
	const int64_t rest = (us - (level == CUT_WEEK ? MONDAY_US : 0)) % unit;
	return us - (rest < 0 ? rest + unit : rest);
}

static int64_t ceil_to(int64_t us, enum cut_level level)
{
	const int64_t floor_us = floor_to(us, level);
	return floor_us == us ? us : floor_us + unit_us(level);
}

static int64_t nearest(int64_t us, enum cut_level level)
{
	return floor_to(us + unit_us(level) / 2, level);
}

enum err costs_check_starts(const int64_t *starts_us, size_t n_starts)
{
	if (n_starts < 2 || n_starts > COSTS_INTERVALS_MAX + 1)
		return ERR_RANGE;
	for (size_t i = 1; i < n_starts; i++)
		if (starts_us[i] < starts_us[i - 1])
			return ERR_RANGE;
	return ERR_OK;
}

size_t cut_first_level(
	const int64_t *starts_us, size_t n_starts, const enum cut_level *levels, size_t n_levels)
{
	/* A day on which clocks are changed is an hour shorter. */
	const int64_t average_us = (starts_us[n_starts - 1] - starts_us[0]) / (int64_t)(n_starts - 1);
	size_t i = 0;
	while (n_starts > 2 && i + 1 < n_levels && average_us < unit_us(levels[i]) / 10 * 9)
		i++;
	return i;
}

/* One interval, or a part of one. */
struct cutting {
	const enum cut_level *levels;
	size_t n_levels;
	int64_t interval;
	struct stretches *coarse;
	struct pieces *pieces;
};

/* Adds [lo, hi), as part of the last one if it goes on there. */
static void coarse_add(struct stretches *s, int64_t lo_us, int64_t hi_us)
{
	if (s->n == 0 || s->hi_us[s->n - 1] != lo_us)
		s->lo_us[s->n++] = lo_us;
	s->hi_us[s->n - 1] = hi_us;
}

/* What one interval takes away is often what its neighbour adds: then it is read once. */
static void piece_add(
	struct pieces *p, enum cut_level level, int64_t interval, bool taken, int64_t lo_us, int64_t hi_us)
{
	if (lo_us >= hi_us)
		return;
	for (size_t i = p->n; i > 0 && p->n - i < PIECES_AN_INTERVAL; i--) {
		int64_t *const free_side = taken ? &p->minus[i - 1] : &p->plus[i - 1];
		if (p->level[i - 1] == (int64_t)level && p->lo_us[i - 1] == lo_us &&
			p->hi_us[i - 1] == hi_us && *free_side < 0) {
			*free_side = interval;
			return;
		}
	}
	p->level[p->n] = (int64_t)level;
	p->plus[p->n] = taken ? -1 : interval;
	p->minus[p->n] = taken ? interval : -1;
	p->lo_us[p->n] = lo_us;
	p->hi_us[p->n++] = hi_us;
}

static void level_add(const struct cutting *c, size_t level, bool taken, int64_t lo_us, int64_t hi_us)
{
	if (level == 0)
		coarse_add(c->coarse, lo_us, hi_us);
	else
		piece_add(c->pieces, c->levels[level], c->interval, taken, lo_us, hi_us);
}

/* What is left between a border and the row's border nearest to it. */
struct rest {
	int64_t lo_us, hi_us;
	size_t level;
	bool taken;
};

/* The rows of one level of [lo, hi), whose ends are quarters, if they leave less to the finer ones than there
 * was. Returns how many rests there are. */
static size_t cut_level_of(const struct cutting *c, const struct rest *of, struct rest rests[2])
{
	const int64_t lo_us = of->lo_us, hi_us = of->hi_us;
	const enum cut_level level = c->levels[of->level];
	const int64_t first_us = nearest(lo_us, level), last_us = nearest(hi_us, level);
	const int64_t left_us = llabs(lo_us - first_us) + llabs(hi_us - last_us);
	rests[0] = (struct rest){lo_us, hi_us, of->level + 1, of->taken};
	if (first_us >= last_us || left_us >= hi_us - lo_us)
		return 1;
	level_add(c, of->level, of->taken, first_us, last_us);
	rests[0] = lo_us < first_us ? (struct rest){lo_us, first_us, of->level + 1, of->taken}
				    : (struct rest){first_us, lo_us, of->level + 1, !of->taken};
	rests[1] = hi_us > last_us ? (struct rest){last_us, hi_us, of->level + 1, of->taken}
				   : (struct rest){hi_us, last_us, of->level + 1, !of->taken};
	return 2;
}

/* [lo, hi), whose ends are quarters, level by level. A rest has one end of its own, so that there are never
 * more than two. */
static void cut_quarters(const struct cutting *c, int64_t lo_us, int64_t hi_us)
{
	struct rest rests[2 * CUT_LEVELS_MAX] = {{lo_us, hi_us, 0, false}};
	size_t n = 1;
	while (n > 0) {
		const struct rest rest = rests[--n];
		if (rest.lo_us >= rest.hi_us)
			continue;
		CHECK(rest.level < c->n_levels && n + 2 <= 2 * CUT_LEVELS_MAX);
		n += cut_level_of(c, &rest, rests + n);
	}
}

/* The quarters of an interval. */
static void cut_one(const struct cutting *c, int64_t from_us, int64_t to_us)
{
	const int64_t first_us = ceil_to(from_us, CUT_QUARTER), last_us = floor_to(to_us, CUT_QUARTER);
	if (first_us < last_us)
		cut_quarters(c, first_us, last_us);
}

static bool pieces_init(struct pieces *p, size_t n, struct arena *arena)
{
	const size_t max = PIECES_AN_INTERVAL * n;
	int64_t **const columns[] = {&p->level, &p->plus, &p->minus, &p->lo_us, &p->hi_us};
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		*columns[i] = arena_array(arena, max, sizeof(**columns[i]));
	p->n = 0;
	return !arena_overflowed(arena);
}

/* What only events hold of an interval. */
static void pieces_add_events(struct pieces *p, size_t i, int64_t from_us, int64_t to_us)
{
	const int64_t first_us = ceil_to(from_us, CUT_QUARTER), last_us = floor_to(to_us, CUT_QUARTER);
	if (first_us > last_us) { /* within one quarter */
		piece_add(p, CUT_EVENT, (int64_t)i, false, from_us, to_us);
		return;
	}
	piece_add(p, CUT_EVENT, (int64_t)i, false, from_us, first_us);
	piece_add(p, CUT_EVENT, (int64_t)i, false, last_us, to_us);
}

bool cut_intervals(const int64_t *starts_us, size_t n_starts, const enum cut_level *levels, size_t n_levels,
	struct arena *arena, struct cut *ret)
{
	struct cut cut = {.starts_us = arena_array(arena, n_starts, sizeof(*cut.starts_us)),
		.n_starts = n_starts,
		.coarse.lo_us = arena_array(arena, n_starts, sizeof(*cut.coarse.lo_us)),
		.coarse.hi_us = arena_array(arena, n_starts, sizeof(*cut.coarse.hi_us))};
	if (!pieces_init(&cut.pieces, n_starts, arena))
		return false;
	for (size_t i = 0; i < n_starts; i++)
		cut.starts_us[i] = nearest(ceil_to(starts_us[i], CUT_QUARTER), levels[0]);
	for (size_t i = 0; i + 1 < n_starts; i++) {
		const struct cutting c = {.levels = levels,
			.n_levels = n_levels,
			.interval = (int64_t)i,
			.coarse = &cut.coarse,
			.pieces = &cut.pieces};
		cut_one(&c, starts_us[i], starts_us[i + 1]);
		const size_t n = cut.pieces.n;
		pieces_add_events(&cut.pieces, i, starts_us[i], starts_us[i + 1]);
		cut.ragged |= cut.pieces.n > n;
	}
	*ret = cut;
	return true;
}

/* ---- parameters ---- */

void param_stretches(struct db_params *p, const struct stretches *s)
{
	db_param_instant_array_binary(p, s->lo_us, s->n);
	db_param_instant_array_binary(p, s->hi_us, s->n);
}

static void param_pieces(struct db_params *p, const struct pieces *s)
{
	db_param_i64_array_binary(p, s->level, s->n);
	db_param_i64_array_binary(p, s->plus, s->n);
	db_param_i64_array_binary(p, s->minus, s->n);
	db_param_instant_array_binary(p, s->lo_us, s->n);
	db_param_instant_array_binary(p, s->hi_us, s->n);
}

void param_cut(struct db_params *p, const struct cut *cut)
{
	db_param_instant_array_binary(p, cut->starts_us, cut->n_starts);
	param_stretches(p, &cut->coarse);
	param_pieces(p, &cut->pieces);
}

const char *usage_filter_tags(const struct usage_filter *f, struct arena *arena)
{
	if (!f->tag_key && f->n_tags == 0)
		return NULL;
	struct buf text;
	buf_init(&text, TAGS_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &text);
	jw_object_begin(&w, NULL);
	if (f->tag_key)
		jw_string(&w, f->tag_key, f->tag_value);
	for (size_t i = 0; i < f->n_tags; i++)
		jw_string(&w, f->tags[i].key, f->tags[i].value);
	jw_object_end(&w);
	/* A text that could not be made would be NULL, which means "any": the arena's overflow keeps it from
	 * being sent. */
	const char *const copy =
		text.failed ? arena_alloc(arena, SIZE_MAX) : arena_strndup(arena, text.data, text.len);
	buf_release(&text);
	return copy;
}

/* ---- questions and rows ---- */

bool usage_filter_needs_sets(const struct usage_filter *f)
{
	return f->customer || f->api_key_id || f->tag_key || f->n_tags > 0;
}

enum err costs_read_sums(const PGresult *r, int row, int first_col, struct usage_sums *ret)
{
	struct usage_sums s = {.calls = db_i64(r, row, first_col)};
	int64_t *const counts[] = {&s.errors, &s.unpriced_calls, &s.input_tokens, &s.output_tokens,
		&s.cache_read_tokens, &s.cache_write_tokens, &s.cache_write_1h_tokens, &s.reasoning_tokens};
	struct money *const amounts[] = {&s.cost, &s.error_cost, &s.standard_cost};
	const int n_counts = (int)(sizeof(counts) / sizeof(counts[0]));
	for (int i = 0; i < n_counts; i++)
		*counts[i] = db_i64(r, row, first_col + 1 + i);
	for (int i = 0; i < (int)(sizeof(amounts) / sizeof(amounts[0])); i++)
		if (db_sum(r, row, first_col + 1 + n_counts + i, amounts[i]) != ERR_OK)
			return ERR_RANGE;
	*ret = s;
	return ERR_OK;
}

/* False when one does not fit. */
static bool add_counts(struct usage_sums *to, const struct usage_sums *s)
{
	return !__builtin_add_overflow(to->calls, s->calls, &to->calls) &&
	       !__builtin_add_overflow(to->errors, s->errors, &to->errors) &&
	       !__builtin_add_overflow(to->unpriced_calls, s->unpriced_calls, &to->unpriced_calls) &&
	       !__builtin_add_overflow(to->input_tokens, s->input_tokens, &to->input_tokens) &&
	       !__builtin_add_overflow(to->output_tokens, s->output_tokens, &to->output_tokens) &&
	       !__builtin_add_overflow(to->cache_read_tokens, s->cache_read_tokens, &to->cache_read_tokens) &&
	       !__builtin_add_overflow(
		       to->cache_write_tokens, s->cache_write_tokens, &to->cache_write_tokens) &&
	       !__builtin_add_overflow(
		       to->cache_write_1h_tokens, s->cache_write_1h_tokens, &to->cache_write_1h_tokens) &&
	       !__builtin_add_overflow(to->reasoning_tokens, s->reasoning_tokens, &to->reasoning_tokens);
}

bool usage_sums_add(struct usage_sums *to, const struct usage_sums *s)
{
	struct usage_sums sum = *to;
	if (!add_counts(&sum, s) || !money_add(sum.cost, s->cost, &sum.cost) ||
		!money_add(sum.error_cost, s->error_cost, &sum.error_cost) ||
		!money_add(sum.standard_cost, s->standard_cost, &sum.standard_cost))
		return false;
	*to = sum;
	return true;
}
