/* What a stored event costs by the prices of now: the same pricing as when it was recorded, from what was
 * stored of it. Not here: reading and writing events (db/repricing.c). */
#include "llmlab/api/repricing_run.h"
#include <pthread.h>
#include <string.h>
#include "llmlab/base/check.h"
#include "llmlab/core/price.h"
#include "llmlab/providers/catalogue_load.h"

/* Under which events of a provider that nobody named and the model did not tell are stored. */
static const char NOBODY[] = "unknown";

struct prices {
	const struct catalogue *catalogue;
	const struct own_prices *own;
};

static bool is_reported(const struct event *e)
{
	return strcmp(e->pricing_status, pricing_status_name(PRICING_REPORTED)) == 0;
}

/* An event of which only the cost was reported has nothing that a price could be applied to. */
static bool is_measured(const struct event *e)
{
	if (!is_reported(e) || e->has_catalogue_cost || e->usage.web_searches > 0)
		return true;
	for (int i = 0; i < USAGE_COUNTS; i++) {
		if (e->usage.counts[i] > 0)
			return true;
	}
	for (int i = 0; i < USAGE_UNITS; i++) {
		if (e->usage.units[i] > 0)
			return true;
	}
	return false;
}

static const char *record_name(const struct price_record *r, struct arena *arena)
{
	return r == NULL ? NULL : arena_printf(arena, "%s/%s", r->provider, r->model);
}

static bool is_record_of(const struct price_result *r, const struct event *e, struct arena *arena)
{
	const char *const name = record_name(r->match.record, arena);
	return name != NULL && e->price_record != NULL && strcmp(name, e->price_record) == 0;
}

/* Who bills was found when the event was recorded. Where that was by the model's own beginning
 * ("openai/gpt-4" and no provider), the record is found only in the same way again; which of the two ways it
 * was is not stored, so the one that leads to the record of then is taken, and if none does, the plain one
 * first. */
static enum err price_as_recorded(const struct prices *prices, const struct price_record *const *own,
	size_t n_own, struct price_query *q, const struct event *e, struct arena *arena,
	struct price_result *ret, struct problem *p)
{
	q->provider = strcmp(e->provider, NOBODY) == 0 ? NULL : e->provider;
	enum err err = price_event(prices->catalogue, own, n_own, q, ret, p);
	if (err != ERR_OK || q->provider == NULL || strchr(e->model, '/') == NULL ||
		is_record_of(ret, e, arena))
		return err;
	struct price_result by_model;
	q->provider = NULL;
	err = price_event(prices->catalogue, own, n_own, q, &by_model, p);
	if (err != ERR_OK || by_model.match.provider == NULL ||
		strcmp(by_model.match.provider->id, e->provider) != 0 || by_model.match.record == NULL)
		return err;
	if (ret->match.record == NULL || is_record_of(&by_model, e, arena))
		*ret = by_model;
	return ERR_OK;
}

static void fill(
	const struct event *e, const struct price_result *price, struct arena *arena, struct repriced *ret)
{
	const bool priced = price->status != PRICING_UNPRICED;
	char lines[PRICE_LINES_TEXT_MAX];
	*ret = (struct repriced){.has_cost = priced,
		.cost = priced ? price->cost : money_zero(),
		.pricing_status = pricing_status_name(price->status),
		.price_rule = price->rule,
		.catalogue_version = arena_strdup(arena, price->catalogue_version),
		.service_tier = service_tier_name(price->service_tier),
		.price_record = record_name(price->match.record, arena)};
	if (priced && price->n_lines > 0) {
		price_lines_format(price->lines, price->n_lines, lines);
		ret->price_lines = arena_strdup(arena, lines);
	}
	if (!is_reported(e))
		return;
	/* What was paid stays what was paid; our own price stands beside it. */
	ret->has_catalogue_cost = ret->has_cost;
	ret->catalogue_cost = ret->cost;
	ret->has_cost = e->has_cost;
	ret->cost = e->cost;
	ret->pricing_status = e->pricing_status;
}

/* A repricing_price. An event whose price cannot be computed (counts that contradict this price's categories,
 * a cost beyond all bounds) stays as it is. */
static enum err price_stored(void *arg, const struct event *e, struct arena *arena, struct repriced *ret)
{
	const struct prices *const prices = arg;
	if (!is_measured(e))
		return ERR_NOT_FOUND;
	struct usage usage = e->usage;
	usage.has_counts = true;
	struct price_query q = {.model = e->model,
		.at_us = e->occurred_at_us,
		.service_tier = e->requested_tier,
		.inference_geo = e->inference_geo,
		.data_residency = e->data_residency,
		.search_context_size = e->search_context_size,
		.usage = &usage};
	const struct price_record *own[OWN_PRICES_PER_USER_MAX];
	const size_t n_own = own_prices_at(prices->own, e->occurred_at_us, own);
	struct problem p;
	problem_init(&p, arena);
	struct price_result price;
	const enum err err = price_as_recorded(prices, own, n_own, &q, e, arena, &price, &p);
	if (err != ERR_OK)
		return err == ERR_NO_MEMORY ? err : ERR_NOT_FOUND;
	fill(e, &price, arena, ret);
	return arena_overflowed(arena) ? ERR_NO_MEMORY : ERR_OK;
}

/* The last version whose number was asked for; it never changes in one database, so a server asks once for
 * each catalogue. */
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;
static char known_version[sizeof(((struct catalogue *)NULL)->version)];
static int64_t known_number;

static enum err catalogue_number(struct db_conn *db, const struct catalogue *c, int64_t *ret)
{
	CHECK(pthread_mutex_lock(&known_lock) == 0);
	const bool known = strcmp(known_version, c->version) == 0;
	if (known)
		*ret = known_number;
	CHECK(pthread_mutex_unlock(&known_lock) == 0);
	if (known)
		return ERR_OK;
	int64_t number;
	const enum err e = repricing_catalogue_number(db, c->version, &number);
	if (e != ERR_OK)
		return e;
	CHECK(pthread_mutex_lock(&known_lock) == 0);
	memcpy(known_version, c->version, sizeof known_version);
	known_number = number;
	CHECK(pthread_mutex_unlock(&known_lock) == 0);
	*ret = number;
	return ERR_OK;
}

void repricing_forget_catalogue(void)
{
	CHECK(pthread_mutex_lock(&known_lock) == 0);
	known_version[0] = '\0';
	CHECK(pthread_mutex_unlock(&known_lock) == 0);
}

enum err repricing_note_catalogue(struct db_conn *c, int64_t *ret_number)
{
	const struct catalogue *const now = catalogue_acquire();
	const enum err e = catalogue_number(c, now, ret_number);
	catalogue_release(now);
	return e;
}

enum err repricing_run_chunk(struct db_conn *c, struct repricing *r, bool preview)
{
	struct prices prices;
	const enum err known = own_prices_acquire(&r->user_id, &prices.own);
	if (known != ERR_OK)
		return known;
	prices.catalogue = catalogue_acquire();
	enum err e = preview ? ERR_OK : catalogue_number(c, prices.catalogue, &r->catalogue_number);
	if (e == ERR_OK)
		e = preview ? repricing_preview_chunk(c, r, price_stored, &prices, REPRICING_CHUNK_EVENTS)
			    : repricing_apply_chunk(c, r, price_stored, &prices, REPRICING_CHUNK_EVENTS);
	catalogue_release(prices.catalogue);
	own_prices_release(prices.own);
	return e;
}

enum err repricing_has_record(const struct catalogue *c, const struct own_prices *own, const char *provider,
	const char *model, bool *ret)
{
	const struct price_record *all[OWN_PRICES_PER_USER_MAX];
	const size_t n = own_prices_all(own, all);
	const struct usage nothing = {.has_counts = true};
	const bool nobody = strcmp(provider, NOBODY) == 0;
	struct arena arena;
	arena_init(&arena, 65536);
	bool found = false;
	enum err e = ERR_OK;
	/* As the provider is stored, and as the model names it. */
	for (int way = nobody ? 1 : 0; !found && e != ERR_NO_MEMORY && way < 2; way++) {
		const struct price_query q = {
			.provider = way == 0 ? provider : NULL, .model = model, .usage = &nothing};
		struct problem p;
		problem_init(&p, &arena);
		struct price_result r;
		e = price_event(c, all, n, &q, &r, &p);
		found = e == ERR_OK && r.match.record != NULL;
	}
	arena_release(&arena);
	if (e == ERR_NO_MEMORY)
		return e;
	*ret = found;
	return ERR_OK;
}
