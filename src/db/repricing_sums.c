/* Sums of changed events by provider and model, in memory and sorted, exact. */

#include <string.h>

#include "llmlab/db/repricing.h"

static int compare(const struct repricing_sum *a, const struct repricing_sum *b)
{
	const int order = strcmp(a->provider, b->provider);
	return order != 0 ? order : strcmp(a->model, b->model);
}

/* Where the row is, or would be. */
static size_t position(const struct repricing_sums *s, const struct repricing_sum *row)
{
	size_t low = 0, high = s->n;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (compare(&s->rows[middle], row) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool make_room(struct repricing_sums *s)
{
	if (s->n < s->size)
		return true;
	const size_t size = s->size == 0 ? 16 : 2 * s->size;
	struct repricing_sum *const rows = arena_array(s->arena, size, sizeof *rows);
	if (rows == NULL)
		return false;
	if (s->n > 0)
		memcpy(rows, s->rows, s->n * sizeof *rows);
	s->rows = rows;
	s->size = size;
	return true;
}

/* An empty row for the names, copied. */
static bool insert(struct repricing_sums *s, size_t at, const struct repricing_sum *names)
{
	const char *const provider = arena_strdup(s->arena, names->provider);
	const char *const model = arena_strdup(s->arena, names->model);
	if (!make_room(s) || arena_overflowed(s->arena))
		return false;
	memmove(&s->rows[at + 1], &s->rows[at], (s->n - at) * sizeof *s->rows);
	s->rows[at] = (struct repricing_sum){.provider = provider, .model = model};
	s->n++;
	return true;
}

bool repricing_sums_add(struct repricing_sums *s, const struct repricing_sum *add)
{
	const size_t at = position(s, add);
	if ((at == s->n || compare(&s->rows[at], add) != 0) && !insert(s, at, add))
		return false;
	struct repricing_sum *const row = &s->rows[at];
	row->events += add->events;
	return money_add(row->old_cost, add->old_cost, &row->old_cost) &&
	       money_add(row->new_cost, add->new_cost, &row->new_cost);
}

bool repricing_sums_total(const struct repricing_sums *s, struct money *ret_old, struct money *ret_new)
{
	struct money old_cost = money_zero(), new_cost = money_zero();
	for (size_t i = 0; i < s->n; i++) {
		if (!money_add(old_cost, s->rows[i].old_cost, &old_cost) ||
			!money_add(new_cost, s->rows[i].new_cost, &new_cost))
			return false;
	}
	*ret_old = old_cost;
	*ret_new = new_cost;
	return true;
}
