/* Users' own prices in memory: a table by user under one lock, whose entries point to immutable sets with a
 * count of their readers. It reads JSON into records, but neither the database nor the clock. */
#include "llmlab/providers/own_prices.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/check.h"
#include "llmlab/base/metrics.h"
#include "llmlab/core/hash.h"
#include "llmlab/core/price.h"
#include "llmlab/providers/catalogue_load.h"

#define BUCKETS	      8192 /* a power of two */
#define SET_BYTES_MAX ((size_t)16 << 20)
#define SCRATCH_BYTES ((size_t)4 << 20)
#define CHANGED_MAX   256 /* users remembered for own_prices_take_changed() */

struct own_prices {
	size_t readers; /* the table's entry counts as one; under the lock */
	bool unusable;	/* what is stored cannot be used */
	uint64_t hash;	/* of the bodies */
	struct arena arena;
	struct price_record *records;
	size_t n;
};

struct entry {
	struct entry *next;
	struct uuid user_id;
	int64_t revision;
	uint64_t load; /* the last reading that had begun when it was put or found as new */
	struct own_prices *set;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below, and readers of each set */
static struct entry *table[BUCKETS];
static uint64_t loads; /* readings of the database begun */
static bool loaded;
static size_t held_bytes;
static struct uuid changed[CHANGED_MAX];
static size_t n_changed;
static bool changed_lost;

/* ---- sets ---- */

static size_t set_bytes(const struct own_prices *o)
{
	return sizeof *o + o->arena.used_bytes;
}

static void set_clear(struct own_prices *o)
{
	CHECK(o != NULL);
	for (size_t i = 0; i < o->n; i++)
		catalogue_record_release(&o->records[i]);
	arena_release(&o->arena);
	o->n = 0;
}

static void set_free(struct own_prices *o)
{
	if (o == NULL)
		return;
	set_clear(o);
	free(o);
}

/* Under the lock. Gives back what nobody reads any more, for the caller to free outside. */
static struct own_prices *drop(struct own_prices *o)
{
	CHECK(o->readers > 0);
	o->readers--;
	if (o->readers > 0)
		return NULL;
	held_bytes -= set_bytes(o);
	metric_add(METRIC_OWN_PRICES, -(int64_t)o->n);
	return o;
}

static enum err parse(const char *body, struct own_prices *o, struct problem *p)
{
	struct arena scratch;
	arena_init(&scratch, SCRATCH_BYTES);
	struct json_doc doc;
	enum err e = json_doc_parse(&doc, body, strlen(body), &json_limits_default, &scratch, p);
	if (e == ERR_OK) {
		e = catalogue_parse_override(&doc, doc.root, &o->arena, &o->records[o->n], p);
		o->n += e == ERR_OK;
		json_doc_release(&doc);
	}
	arena_release(&scratch);
	return e;
}

static enum err parse_all(const char *const *bodies, size_t n, struct own_prices *o, struct problem *p)
{
	o->records = arena_array(&o->arena, n, sizeof *o->records);
	enum err e = o->records == NULL ? ERR_NO_MEMORY : ERR_OK;
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		e = parse(bodies[i], o, p);
	return e;
}

static uint64_t hash_of(const char *const *bodies, size_t n)
{
	uint64_t hash = hash_bytes(&n, sizeof n);
	for (size_t i = 0; i < n; i++)
		hash = hash_more(hash, bodies[i], strlen(bodies[i]) + 1);
	return hash;
}

/* NULL without memory. A set that cannot be made of the bodies is unusable; *ret_err tells why. */
static struct own_prices *set_new(const char *const *bodies, size_t n, enum err *ret_err, struct problem *p)
{
	struct own_prices *const o = calloc(1, sizeof *o);
	if (o == NULL)
		return NULL;
	arena_init(&o->arena, SET_BYTES_MAX);
	*ret_err = parse_all(bodies, n, o, p);
	o->unusable = *ret_err != ERR_OK;
	o->hash = hash_of(bodies, n);
	/* What is beyond a set's own bound will be that the next time, too. */
	if (*ret_err == ERR_NO_MEMORY && arena_overflowed(&o->arena) && !o->arena.starved)
		*ret_err = ERR_TOO_LARGE;
	return o;
}

/* ---- the table; under the lock ---- */

static struct entry **find(const struct uuid *user_id)
{
	struct entry **at = &table[hash_bytes(user_id->bytes, sizeof user_id->bytes) & (BUCKETS - 1)];
	while (*at != NULL && !uuid_equal(&(*at)->user_id, user_id))
		at = &(*at)->next;
	return at;
}

static void note_changed(const struct uuid *user_id)
{
	if (n_changed < CHANGED_MAX)
		changed[n_changed++] = *user_id;
	else
		changed_lost = true;
}

/* Whether the entry is to stay although the database said something else. Revisions order what was read at
 * the same time; but a database that was set back counts from a lower one again, so what was read later than
 * the entry was put is newer whatever its revision says. */
static bool stays(const struct entry *e, uint64_t began, int64_t revision, const struct own_prices *set)
{
	if (e->load >= began)
		return e->revision > revision || (e->revision == revision && !e->set->unusable);
	return e->revision == revision && e->set->hash == set->hash && !e->set->unusable;
}

/* Puts the set in if it is newer; gives back what is to be freed. *made becomes a new user's entry. */
static struct own_prices *replace(struct entry **made, const struct uuid *user_id, uint64_t began,
	int64_t revision, struct own_prices *set)
{
	struct entry **const at = find(user_id);
	if (*at != NULL && stays(*at, began, revision, set)) {
		(*at)->load = loads;
		return set;
	}
	if (*at == NULL) {
		*at = *made;
		*made = NULL;
		(*at)->user_id = *user_id;
	}
	struct own_prices *const old = (*at)->set;
	struct own_prices *const gone = old == NULL ? NULL : drop(old);
	set->readers = 1;
	(*at)->revision = revision;
	(*at)->load = loads;
	(*at)->set = set;
	held_bytes += set_bytes(set);
	metric_add(METRIC_OWN_PRICES, (int64_t)set->n);
	note_changed(user_id);
	return gone;
}

/* ---- writing ---- */

static bool has_room(const struct own_prices *set)
{
	pthread_mutex_lock(&lock);
	const bool room = held_bytes + set_bytes(set) <= OWN_PRICES_BYTES_MAX;
	pthread_mutex_unlock(&lock);
	return room;
}

/* Without an entry nothing could be said of the user, not even that the prices are unknown: then nobody's
 * are, until a reload succeeds. */
static enum err nothing_known(void)
{
	pthread_mutex_lock(&lock);
	loaded = false;
	pthread_mutex_unlock(&lock);
	return ERR_NO_MEMORY;
}

enum err own_prices_put(uint64_t began, const struct uuid *user_id, int64_t revision,
	const char *const *bodies, size_t n, struct problem *p)
{
	CHECK(n <= OWN_PRICES_PER_USER_MAX);
	enum err e = ERR_NO_MEMORY;
	struct own_prices *const set = set_new(bodies, n, &e, p);
	struct entry *made = calloc(1, sizeof *made);
	if (set == NULL) {
		free(made);
		return nothing_known();
	}
	if (made == NULL) {
		set_free(set);
		return nothing_known();
	}
	if (!has_room(set)) {
		set_clear(set);
		set->unusable = true;
		e = ERR_TOO_LARGE;
	}
	pthread_mutex_lock(&lock);
	struct own_prices *const gone = replace(&made, user_id, began, revision, set);
	pthread_mutex_unlock(&lock);
	set_free(gone);
	free(made);
	return e;
}

uint64_t own_prices_load_begin(void)
{
	pthread_mutex_lock(&lock);
	const uint64_t load = ++loads;
	pthread_mutex_unlock(&lock);
	return load;
}

void own_prices_load_end(uint64_t load)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < BUCKETS; i++) {
		struct entry **at = &table[i];
		while (*at != NULL) {
			struct entry *const e = *at;
			if (e->load >= load) {
				at = &e->next;
				continue;
			}
			*at = e->next;
			note_changed(&e->user_id);
			set_free(drop(e->set));
			free(e);
		}
	}
	loaded = true;
	pthread_mutex_unlock(&lock);
}

void own_prices_forget(void)
{
	pthread_mutex_lock(&lock);
	loaded = false;
	changed_lost = true;
	pthread_mutex_unlock(&lock);
}

bool own_prices_loaded(void)
{
	pthread_mutex_lock(&lock);
	const bool is = loaded;
	pthread_mutex_unlock(&lock);
	return is;
}

size_t own_prices_take_changed(struct uuid *ret, size_t max, bool *ret_all)
{
	pthread_mutex_lock(&lock);
	const size_t n = n_changed < max ? n_changed : max;
	memcpy(ret, changed, n * sizeof *ret);
	*ret_all = changed_lost || n < n_changed;
	n_changed = 0;
	changed_lost = false;
	pthread_mutex_unlock(&lock);
	return n;
}

void own_prices_shutdown(void)
{
	own_prices_load_end(own_prices_load_begin());
	pthread_mutex_lock(&lock);
	loaded = false;
	n_changed = 0;
	changed_lost = false;
	pthread_mutex_unlock(&lock);
}

/* ---- reading ---- */

enum err own_prices_acquire(const struct uuid *user_id, const struct own_prices **ret)
{
	pthread_mutex_lock(&lock);
	const struct entry *const e = *find(user_id);
	const bool known = loaded && (e == NULL || !e->set->unusable);
	struct own_prices *const set = known && e != NULL && e->set->n > 0 ? e->set : NULL;
	if (set != NULL)
		set->readers++;
	pthread_mutex_unlock(&lock);
	if (!known)
		return ERR_UNAVAILABLE;
	*ret = set;
	return ERR_OK;
}

/* The set of which a reader has the address, as one that may be changed: its count is not the reader's to
 * see. */
static struct own_prices *counted(const struct own_prices *o)
{
	union {
		const struct own_prices *read;
		struct own_prices *counted;
	} view = {.read = o};
	return view.counted;
}

void own_prices_release(const struct own_prices *o)
{
	if (o == NULL)
		return;
	pthread_mutex_lock(&lock);
	struct own_prices *const gone = drop(counted(o));
	pthread_mutex_unlock(&lock);
	set_free(gone);
}

size_t own_prices_all(const struct own_prices *o, const struct price_record *ret[OWN_PRICES_PER_USER_MAX])
{
	const size_t n = o == NULL ? 0 : o->n;
	for (size_t i = 0; i < n; i++)
		ret[i] = &o->records[i];
	return n;
}

size_t own_prices_at(
	const struct own_prices *o, int64_t at_us, const struct price_record *ret[OWN_PRICES_PER_USER_MAX])
{
	size_t n = 0;
	for (size_t i = 0; o != NULL && i < o->n; i++) {
		if (price_period_at(&o->records[i], at_us) != NULL)
			ret[n++] = &o->records[i];
	}
	return n;
}
