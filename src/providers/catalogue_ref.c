/* The catalogue in use, with a count of its readers: a reload publishes a new one, and the old one lives
 * until the last reader has let go. */
#include "llmlab/base/check.h"
#include "llmlab/providers/catalogue_load.h"
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below, and readers and older of each */
static struct catalogue *published; /* the newest; NULL: none. Counts as one reader of it */
static struct catalogue *living;    /* all that are published or read, newest first */

/* Takes one reader off; gives back what nobody reads any more, for the caller to free outside the lock. */
static struct catalogue *drop(struct catalogue *c)
{
	CHECK(c->readers > 0);
	c->readers--;
	if (c->readers > 0)
		return NULL;
	struct catalogue **link = &living;
	while (*link != c)
		link = &(*link)->older;
	*link = c->older;
	return c;
}

/* Replaces the published one; c may be NULL. */
static void replace(struct catalogue *c)
{
	pthread_mutex_lock(&lock);
	struct catalogue *const gone = published == NULL ? NULL : drop(published);
	if (c != NULL) {
		c->readers = 1;
		c->older = living;
		living = c;
	}
	published = c;
	pthread_mutex_unlock(&lock);
	catalogue_free(gone);
}

void catalogue_publish(struct catalogue *c)
{
	CHECK(c != NULL);
	replace(c);
}

void catalogue_shutdown(void)
{
	replace(NULL);
}

const struct catalogue *catalogue_acquire(void)
{
	pthread_mutex_lock(&lock);
	CHECK(published != NULL);
	published->readers++;
	const struct catalogue *const c = published;
	pthread_mutex_unlock(&lock);
	return c;
}

void catalogue_release(const struct catalogue *c)
{
	pthread_mutex_lock(&lock);
	struct catalogue *held = living;
	while (held != NULL && held != c)
		held = held->older;
	CHECK(held != NULL);
	struct catalogue *const gone = drop(held);
	pthread_mutex_unlock(&lock);
	catalogue_free(gone);
}
