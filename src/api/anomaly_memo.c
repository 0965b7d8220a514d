/* The memory of explanations: a table of sets under one lock, each entry one block that holds its own names.
 * What an explanation is and when it is asked for are the business of anomaly_explain.c and anomaly_scan.c;
 * whether one is still true is decided by comparing what it stands on, nothing else. */
#include "llmlab/api/anomaly_memo.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/check.h"
#include "llmlab/base/metrics.h"
#include "llmlab/core/hash.h"

#define WAYS 8U
#define SETS (ANOMALY_MEMO_ENTRIES / WAYS)

struct remembered {
	struct anomaly_basis basis;
	uint64_t used; /* when last, by the memo's own count */
	struct money cost;
	bool has_causes;
	struct money causes[ANOMALY_FACTORS];
	struct anomaly_contributor contributors[ANOMALY_CONTRIBUTORS_MAX]; /* names in texts */
	size_t n_contributors;
	struct uuid event_id;
	char texts[];
};

struct anomaly_memo {
	pthread_mutex_t lock;
	uint64_t uses, generation;
	size_t n;
	struct remembered *sets[SETS][WAYS]; /* owned; NULL: free */
};

struct anomaly_basis anomaly_basis_of(
	const struct uuid *user_id, const struct anomaly_entry *e, const struct spend_state *state)
{
	struct anomaly_basis b = {.user_id = *user_id,
		.before_us = e->before_us,
		.end_us = e->end_us,
		.cost = e->found.cost,
		.expected = e->found.expected,
		.upper = e->found.upper,
		.all = e->all,
		.state = *state};
	memcpy(b.id, e->id, sizeof b.id);
	return b;
}

/* ---- what is the same ---- */

/* The same question. Another threshold or range may expect something else of the same day: both are
 * remembered. */
static bool is_same_question(const struct anomaly_basis *a, const struct anomaly_basis *b)
{
	return uuid_equal(&a->user_id, &b->user_id) && strcmp(a->id, b->id) == 0 &&
	       a->before_us == b->before_us && a->end_us == b->end_us &&
	       money_compare(a->expected, b->expected) == 0 && money_compare(a->upper, b->upper) == 0;
}

/* Of the same data. */
static bool is_same_data(const struct anomaly_basis *a, const struct anomaly_basis *b)
{
	return money_compare(a->cost, b->cost) == 0 && a->all.calls == b->all.calls &&
	       money_compare(a->all.cost, b->all.cost) == 0 && a->state.repricings == b->state.repricings &&
	       a->state.repriced_events == b->state.repriced_events &&
	       a->state.server_start_us == b->state.server_start_us &&
	       a->state.database == b->state.database && a->state.sums_file == b->state.sums_file;
}

static struct remembered **set_of(struct anomaly_memo *m, const struct anomaly_basis *b)
{
	uint64_t hash = hash_more(HASH_START, b->user_id.bytes, sizeof b->user_id.bytes);
	hash = hash_more(hash, b->id, strlen(b->id));
	return m->sets[(hash ^ hash >> 32) % SETS];
}

/* Where the question is, else NULL. */
static struct remembered **find(struct anomaly_memo *m, const struct anomaly_basis *b)
{
	struct remembered **const set = set_of(m, b);
	for (size_t i = 0; i < WAYS; i++)
		if (set[i] != NULL && is_same_question(&set[i]->basis, b))
			return &set[i];
	return NULL;
}

/* ---- copies ---- */

static size_t text_bytes(const struct anomaly_entry *e)
{
	size_t n = 0;
	for (size_t i = 0; i < e->n_contributors; i++)
		n += strlen(e->contributors[i].provider) + strlen(e->contributors[i].value) + 2;
	return n;
}

/* Copies a text and its end to *at, which moves behind it. */
static const char *keep_text(char **at, const char *text)
{
	const size_t n = strlen(text) + 1;
	const char *const kept = memcpy(*at, text, n);
	*at += n;
	return kept;
}

/* NULL without memory, or when the names are too long. */
static struct remembered *copy_in(const struct anomaly_basis *b, const struct anomaly_entry *e)
{
	const size_t n = text_bytes(e);
	struct remembered *const r = n <= ANOMALY_MEMO_TEXT_BYTES ? malloc(sizeof *r + n) : NULL;
	if (r == NULL)
		return NULL;
	*r = (struct remembered){.basis = *b,
		.cost = e->found.cost,
		.has_causes = e->has_causes,
		.n_contributors = e->n_contributors,
		.event_id = e->event_id};
	memcpy(r->causes, e->causes, sizeof r->causes);
	char *at = r->texts;
	for (size_t i = 0; i < e->n_contributors; i++) {
		const struct anomaly_contributor *const c = &e->contributors[i];
		r->contributors[i] = *c;
		r->contributors[i].provider = keep_text(&at, c->provider);
		r->contributors[i].value = keep_text(&at, c->value);
	}
	return r;
}

/* False when the arena has overflowed. */
static bool copy_out(const struct remembered *r, struct arena *arena, struct anomaly_entry *e)
{
	struct anomaly_contributor contributors[ANOMALY_CONTRIBUTORS_MAX];
	for (size_t i = 0; i < r->n_contributors; i++) {
		contributors[i] = r->contributors[i];
		contributors[i].provider = arena_strdup(arena, r->contributors[i].provider);
		contributors[i].value = arena_strdup(arena, r->contributors[i].value);
	}
	if (arena_overflowed(arena))
		return false;
	memcpy(e->contributors, contributors, r->n_contributors * sizeof contributors[0]);
	memcpy(e->causes, r->causes, sizeof e->causes);
	e->found.cost = r->cost;
	e->has_causes = r->has_causes;
	e->n_contributors = r->n_contributors;
	e->event_id = r->event_id;
	return true;
}

/* ---- the memory ---- */

struct anomaly_memo *anomaly_memo_new(void)
{
	struct anomaly_memo *const m = calloc(1, sizeof *m);
	if (m != NULL)
		CHECK(pthread_mutex_init(&m->lock, NULL) == 0);
	return m;
}

/* Empties a place, if there is anything in it. */
static void drop(struct anomaly_memo *m, struct remembered **place)
{
	if (*place == NULL)
		return;
	free(*place);
	*place = NULL;
	m->n--;
	metric_add(METRIC_ANOMALY_EXPLANATIONS, -1);
}

void anomaly_memo_free(struct anomaly_memo *m)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < SETS; i++)
		for (size_t j = 0; j < WAYS; j++)
			drop(m, &m->sets[i][j]);
	CHECK(pthread_mutex_destroy(&m->lock) == 0);
	free(m);
}

bool anomaly_memo_get(
	struct anomaly_memo *m, const struct anomaly_basis *b, struct arena *arena, struct anomaly_entry *e)
{
	if (m == NULL)
		return false;
	CHECK(pthread_mutex_lock(&m->lock) == 0);
	struct remembered **const place = find(m, b);
	const bool is_known =
		place != NULL && is_same_data(&(*place)->basis, b) && copy_out(*place, arena, e);
	if (is_known)
		(*place)->used = ++m->uses;
	CHECK(pthread_mutex_unlock(&m->lock) == 0);
	return is_known;
}

/* The place of the question, else a free one of its set, else that which was used least recently. */
static struct remembered **place_for(struct anomaly_memo *m, const struct anomaly_basis *b)
{
	struct remembered **const known = find(m, b);
	if (known != NULL)
		return known;
	struct remembered **const set = set_of(m, b);
	size_t oldest = 0;
	for (size_t i = 0; i < WAYS; i++) {
		if (set[i] == NULL)
			return &set[i];
		if (set[i]->used < set[oldest]->used)
			oldest = i;
	}
	return &set[oldest];
}

uint64_t anomaly_memo_generation(struct anomaly_memo *m)
{
	if (m == NULL)
		return 0;
	CHECK(pthread_mutex_lock(&m->lock) == 0);
	const uint64_t generation = m->generation;
	CHECK(pthread_mutex_unlock(&m->lock) == 0);
	return generation;
}

/* With the lock held; takes r over. */
static void keep(struct anomaly_memo *m, struct remembered *r)
{
	struct remembered **const place = place_for(m, &r->basis);
	drop(m, place);
	r->used = ++m->uses;
	*place = r;
	m->n++;
	metric_add(METRIC_ANOMALY_EXPLANATIONS, 1);
}

void anomaly_memo_put(struct anomaly_memo *m, uint64_t generation, const struct anomaly_basis *b,
	const struct anomaly_entry *e)
{
	struct remembered *r = m == NULL ? NULL : copy_in(b, e);
	if (r == NULL)
		return;
	CHECK(pthread_mutex_lock(&m->lock) == 0);
	if (generation == m->generation) {
		keep(m, r);
		r = NULL;
	}
	CHECK(pthread_mutex_unlock(&m->lock) == 0);
	free(r);
}

/* NULL: everybody. */
static void forget(struct anomaly_memo *m, const struct uuid *user_id)
{
	if (m == NULL)
		return;
	CHECK(pthread_mutex_lock(&m->lock) == 0);
	m->generation++;
	for (size_t i = 0; m->n > 0 && i < SETS * WAYS; i++) {
		struct remembered **const place = &m->sets[i / WAYS][i % WAYS];
		if (*place != NULL && (user_id == NULL || uuid_equal(&(*place)->basis.user_id, user_id)))
			drop(m, place);
	}
	CHECK(pthread_mutex_unlock(&m->lock) == 0);
}

void anomaly_memo_forget(struct anomaly_memo *m, const struct uuid *user_id)
{
	forget(m, user_id);
}

void anomaly_memo_clear(struct anomaly_memo *m)
{
	forget(m, NULL);
}
