/* What reading sums is made of: cutting intervals into the stretches of time that each level of sums can
 * answer, and the way of instants, tags and amounts to and from PostgreSQL. Not here: the statements. */

#include "costs_parts.h"

#include <string.h>

#include "llmlab/base/buf.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/json_write.h"

#define QUARTER_US     (15 * US_PER_MINUTE)
#define MONEY_ABS_MAX  ((int128)(~(uint128)0 >> 1))
#define TAGS_MAX_BYTES ((size_t)64 << 10)

const struct usage_filter usage_filter_any;

/* ---- stretches ---- */

static int64_t floor_to(int64_t us, int64_t unit_us)
{
	const int64_t rest = us % unit_us;
	return us - (rest < 0 ? rest + unit_us : rest);
}

static int64_t ceil_to(int64_t us, int64_t unit_us)
{
	const int64_t floor_us = floor_to(us, unit_us);
	return floor_us == us ? us : floor_us + unit_us;
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

/* False without memory. */
static bool stretches_init(struct stretches *s, size_t max, struct arena *arena)
{
	s->piece = arena_array(arena, max, sizeof(*s->piece));
	s->lo_us = arena_array(arena, max, sizeof(*s->lo_us));
	s->hi_us = arena_array(arena, max, sizeof(*s->hi_us));
	s->n = 0;
	return !arena_overflowed(arena);
}

/* Adds [lo, hi), as part of the last one if it goes on there; nothing if it is empty. */
static void stretches_add(struct stretches *s, size_t piece, int64_t lo_us, int64_t hi_us)
{
	if (lo_us >= hi_us)
		return;
	const bool goes_on = s->n > 0 && s->hi_us[s->n - 1] == lo_us && s->piece[s->n - 1] == (int64_t)piece;
	if (!goes_on) {
		s->piece[s->n] = (int64_t)piece;
		s->lo_us[s->n++] = lo_us;
	}
	s->hi_us[s->n - 1] = hi_us;
}

bool cut_init(struct cut *cut, size_t n, struct arena *arena)
{
	/* A piece has one coarse stretch at most, one of quarters at either side of it, and four ragged ends.
	 */
	return stretches_init(&cut->coarse, n, arena) && stretches_init(&cut->quarters, 2 * n, arena) &&
	       stretches_init(&cut->ragged, 4 * n, arena);
}

static void add_fine(struct cut *cut, size_t piece, int64_t lo_us, int64_t hi_us)
{
	const int64_t first_us = ceil_to(lo_us, QUARTER_US);
	const int64_t last_us = floor_to(hi_us, QUARTER_US);
	if (first_us > last_us) { /* within one quarter */
		stretches_add(&cut->ragged, piece, lo_us, hi_us);
		return;
	}
	stretches_add(&cut->ragged, piece, lo_us, first_us);
	stretches_add(&cut->quarters, piece, first_us, last_us);
	stretches_add(&cut->ragged, piece, last_us, hi_us);
}

void cut_add(struct cut *cut, size_t piece, int64_t from_us, int64_t to_us, int64_t coarse_us)
{
	const int64_t first_us = ceil_to(from_us, coarse_us);
	const int64_t last_us = floor_to(to_us, coarse_us);
	if (first_us >= last_us) {
		add_fine(cut, piece, from_us, to_us);
		return;
	}
	add_fine(cut, piece, from_us, first_us);
	stretches_add(&cut->coarse, piece, first_us, last_us);
	add_fine(cut, piece, last_us, to_us);
}

bool cut_intervals(
	const int64_t *starts_us, size_t n_starts, int64_t coarse_us, struct arena *arena, struct cut *ret)
{
	if (!cut_init(ret, n_starts, arena))
		return false;
	for (size_t i = 0; i + 1 < n_starts; i++)
		cut_add(ret, 0, starts_us[i], starts_us[i + 1], coarse_us);
	return true;
}

/* ---- parameters ---- */

void param_instants(struct db_params *p, const int64_t *us, size_t n)
{
	const char **texts = arena_array(p->arena, n, sizeof(*texts));
	char(*chars)[INSTANT_TEXT_SIZE] = arena_array(p->arena, n, sizeof(*chars));
	if (!texts || !chars) {
		db_param_text(p, NULL); /* the arena has overflowed: nothing will be sent */
		return;
	}
	for (size_t i = 0; i < n; i++) {
		instant_format(us[i], chars[i]);
		texts[i] = chars[i];
	}
	db_param_text_array(p, texts, n);
}

void param_stretches(struct db_params *p, const struct stretches *s)
{
	param_instants(p, s->lo_us, s->n);
	param_instants(p, s->hi_us, s->n);
}

void param_pieces(struct db_params *p, const struct stretches *s)
{
	db_param_i64_array(p, s->piece, s->n);
	param_stretches(p, s);
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

/* ERR_RANGE: it does not fit. */
static enum err read_money(const PGresult *r, int row, int col, struct money *ret)
{
	const char *const text = db_text(r, row, col);
	if (text && decimal_parse(text, strlen(text), MONEY_SCALE, MONEY_ABS_MAX, &ret->atto) != ERR_OK)
		return ERR_RANGE;
	return ERR_OK;
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
		if (read_money(r, row, first_col + 1 + n_counts + i, amounts[i]) != ERR_OK)
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
