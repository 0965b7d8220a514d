/* What one call used: names of counts and units, totals, and the check that the numbers do not contradict
 * each other. It knows nothing of prices and repairs nothing: what does not add up is named. */
#include "llmlab/core/usage.h"
#include <inttypes.h>
#include <string.h>

#define USAGE_NAME_MAX 64

/* A count's parents in the table below; USAGE_NONE ends a chain. */
enum { USAGE_PARENTS = 2 };

/* NONE in usage_counts.def becomes USAGE_NONE. */
static const enum usage_count count_parents[USAGE_COUNTS][USAGE_PARENTS] = {
#define COUNT(name, parent, parent2, category) [USAGE_##name] = {USAGE_##parent, USAGE_##parent2},
#include "llmlab/core/usage_counts.def"
#undef COUNT
};

static const char *const count_names[USAGE_COUNTS] = {
#define COUNT(name, parent, parent2, category) [USAGE_##name] = #name,
#include "llmlab/core/usage_counts.def"
#undef COUNT
};

static const char *const unit_names[USAGE_UNITS] = {
#define UNIT(name) [UNIT_##name] = #name,
#include "llmlab/core/usage_units.def"
#undef UNIT
};

/* Parts of one whole that exclude each other: together they are at most the whole. */
struct disjoint_parts {
	enum usage_count whole;
	enum usage_count parts[3]; /* USAGE_NONE: fewer */
};

static const struct disjoint_parts disjoint[] = {
	{USAGE_input_tokens, {USAGE_cache_read_tokens, USAGE_cache_write_tokens, USAGE_NONE}},
	{USAGE_input_tokens, {USAGE_input_audio_tokens, USAGE_input_image_tokens, USAGE_input_video_tokens}},
	{USAGE_cache_read_tokens, {USAGE_cache_read_audio_tokens, USAGE_cache_read_image_tokens, USAGE_NONE}},
	{USAGE_output_tokens, {USAGE_reasoning_tokens, USAGE_citation_tokens, USAGE_NONE}},
	{USAGE_output_tokens,
		{USAGE_output_audio_tokens, USAGE_output_image_tokens, USAGE_output_video_tokens}},
};

const char *usage_count_name(enum usage_count c)
{
	return count_names[c];
}

enum usage_count usage_count_parent(enum usage_count c, int which)
{
	return count_parents[c][which];
}

const char *usage_unit_name(enum usage_unit u)
{
	return unit_names[u];
}

enum usage_unit usage_unit_find(const char *name)
{
	for (int u = 0; u < USAGE_UNITS; u++) {
		if (strcmp(unit_names[u], name) == 0)
			return (enum usage_unit)u;
	}
	return USAGE_UNITS;
}

bool usage_unit_fractional(enum usage_unit u)
{
	static const char suffix[] = "_second";
	const size_t length = strlen(unit_names[u]);
	return length >= sizeof suffix - 1 &&
	       strcmp(unit_names[u] + length - (sizeof suffix - 1), suffix) == 0;
}

int64_t usage_total(const struct usage *u)
{
	return u->counts[USAGE_input_tokens] + u->counts[USAGE_output_tokens];
}

static void check_bounds(const struct usage *u, struct problem *p)
{
	for (int c = 0; c < USAGE_COUNTS; c++) {
		if (u->counts[c] < 0 || u->counts[c] > USAGE_TOKENS_MAX)
			problem_add(p, count_names[c], "must be between 0 and %lld", USAGE_TOKENS_MAX);
	}
	if (u->web_searches < 0 || u->web_searches > USAGE_SEARCHES_MAX)
		problem_add(p, "web_searches", "must be between 0 and %lld", USAGE_SEARCHES_MAX);
}

static void check_units(const struct usage *u, struct problem *p)
{
	const int64_t whole = (int64_t)decimal_pow10(UNIT_SCALE);
	for (int i = 0; i < USAGE_UNITS; i++) {
		char field[USAGE_NAME_MAX] = "units.";
		strncat(field, unit_names[i], sizeof field - sizeof "units.");
		if (u->units[i] < 0 || u->units[i] > UNIT_QUANTITY_MAX)
			problem_add(p, field, "must be between 0 and %lld", UNIT_QUANTITY_MAX / whole);
		else if (!usage_unit_fractional((enum usage_unit)i) && u->units[i] % whole != 0)
			problem_add(p, field, "must be a whole number");
	}
}

static void check_parents(const struct usage *u, struct problem *p)
{
	for (int c = 0; c < USAGE_COUNTS; c++) {
		for (int k = 0; k < USAGE_PARENTS; k++) {
			const enum usage_count parent = usage_count_parent((enum usage_count)c, k);
			if (parent != USAGE_NONE && u->counts[c] > u->counts[parent])
				problem_add(p, count_names[c], "exceeds %s (%" PRId64 " > %" PRId64 ")",
					count_names[parent], u->counts[c], u->counts[parent]);
		}
	}
}

/* Names the last part that is not 0: it is the one that no longer fits. */
static void check_disjoint(const struct usage *u, const struct disjoint_parts *d, struct problem *p)
{
	int64_t sum = 0;
	enum usage_count last = USAGE_NONE;
	for (size_t i = 0; i < sizeof d->parts / sizeof d->parts[0]; i++) {
		if (d->parts[i] == USAGE_NONE || u->counts[d->parts[i]] == 0)
			continue;
		/* A part that alone is too large has been named already. */
		if (u->counts[d->parts[i]] > u->counts[d->whole])
			return;
		sum += u->counts[d->parts[i]];
		last = d->parts[i];
	}
	if (last != USAGE_NONE && sum > u->counts[d->whole])
		problem_add(p, count_names[last],
			"and the other parts of %s together exceed it (%" PRId64 " > %" PRId64 ")",
			count_names[d->whole], sum, u->counts[d->whole]);
}

enum err usage_check(const struct usage *u, struct problem *p)
{
	const size_t before = p->n_fields;
	check_bounds(u, p);
	check_units(u, p);
	if (p->n_fields == before) {
		check_parents(u, p);
		for (size_t i = 0; i < sizeof disjoint / sizeof disjoint[0]; i++)
			check_disjoint(u, &disjoint[i], p);
	}
	return p->code;
}
