/* Carries own prices from the database into memory. What they mean is providers/own_prices.c's, how a change
 * is found db/overrides.c's. */
#include "llmlab/api/own_prices_load.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/db/overrides.h"

#define USER_BYTES    ((size_t)16 << 20)
#define ALL_BYTES     ((size_t)1 << 30)
#define PROBLEM_BYTES ((size_t)256 << 10)
/* A load of everything repairs whatever may have gone wrong, and forgets users that are gone. It comes long
 * before deleted rows go (db/overrides.h). */
#define FULL_US		 (10 * US_PER_MINUTE)
#define FULL_AGAIN_US	 US_PER_SECOND
#define FULL_DEADLINE_US (30 * US_PER_SECOND)

/* Stored prices were checked when they were set. If one cannot be used now, its user's events are refused
 * rather than priced wrongly, and somebody has to know. */
static void tell(const struct price_override_set *set, enum err e, const struct problem *p)
{
	char id[UUID_TEXT_SIZE];
	uuid_format(&set->user_id, id);
	LOG_ERROR("own prices unusable", LOG_S("user_id", id), LOG_S("code", err_code(e)),
		LOG_S("field", p->n_fields > 0 ? p->fields[0].field : ""));
}

static enum err put(uint64_t began, const struct price_override_set *set)
{
	const char *bodies[OWN_PRICES_PER_USER_MAX];
	struct arena arena;
	arena_init(&arena, PROBLEM_BYTES);
	struct problem p;
	problem_init(&p, &arena);
	for (size_t i = 0; i < set->n && i < OWN_PRICES_PER_USER_MAX; i++)
		bodies[i] = set->overrides[i].body;
	const enum err e = own_prices_put(began, &set->user_id, set->revision, bodies, set->n, &p);
	if (e != ERR_OK)
		tell(set, e, &p);
	arena_release(&arena);
	return e;
}

/* When everything is loaded again. The first moments after a set-back the database may still be on its way to
 * what it will be: the time between two loads grows with the time that has passed. */
static int64_t next_full(const struct own_prices_watch *w, int64_t now_us)
{
	const int64_t quiet_us = w->forgot_mono_us == 0 ? FULL_US : now_us - w->forgot_mono_us;
	return now_us + (quiet_us < FULL_AGAIN_US ? FULL_AGAIN_US : quiet_us < FULL_US ? quiet_us : FULL_US);
}

static enum err load(struct db_conn *c, struct own_prices_watch *w, struct arena *arena)
{
	const int64_t now_us = clock_mono_us();
	const bool full = w->since_xid == 0 || !own_prices_loaded() || now_us >= w->full_mono_us;
	const uint64_t began = own_prices_load_begin();
	const int64_t before_us = full ? db_conn_set_deadline(c, FULL_DEADLINE_US) : 0;
	struct price_override_set *sets;
	size_t n;
	uint64_t xid = 0;
	const enum err e = overrides_changed(c, full ? 0 : w->since_xid, arena, &sets, &n, &xid);
	if (full)
		db_conn_set_deadline(c, before_us);
	if (e != ERR_OK)
		return e;
	bool known = true;
	for (size_t i = 0; i < n; i++)
		known = put(began, &sets[i]) != ERR_NO_MEMORY && known;
	if (full && known) {
		own_prices_load_end(began);
		w->full_mono_us = next_full(w, now_us);
	}
	w->learned = full || n > 0;
	/* Older than what was seen before: another database behind the same name. */
	w->since_xid = known && xid >= w->since_xid ? xid : 0;
	return known ? ERR_OK : ERR_NO_MEMORY;
}

void own_prices_watch_forget(struct own_prices_watch *w)
{
	own_prices_forget();
	*w = (struct own_prices_watch){.forgot_mono_us = clock_mono_us()};
}

enum err own_prices_poll(struct db_conn *c, struct own_prices_watch *w)
{
	struct arena arena;
	arena_init(&arena, ALL_BYTES);
	const enum err e = load(c, w, &arena);
	arena_release(&arena);
	return e;
}

enum err own_prices_load_user(struct db_conn *c, const struct uuid *user_id)
{
	struct arena arena;
	arena_init(&arena, USER_BYTES);
	struct price_override_set set;
	const uint64_t began = own_prices_load_begin();
	enum err e = overrides_of_user(c, user_id, &arena, &set);
	if (e == ERR_OK)
		e = put(began, &set);
	arena_release(&arena);
	return e;
}

enum err own_prices_of_request(const struct uuid *user_id, const struct own_prices **ret, struct problem *p)
{
	const enum err e = own_prices_acquire(user_id, ret);
	if (e != ERR_OK)
		problem_set(p, e,
			"Your own prices are not known to this server just now, and without them the cost "
			"could be "
			"wrong; nothing was stored, try again soon");
	return e;
}
