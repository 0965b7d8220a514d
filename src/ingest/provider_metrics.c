/* What was stored since the start, by who bills: events, cost, events without a price. The labels are the
 * providers of the catalogue; everything else a client may name is "other", so that no client can make
 * labels. Sums are exact. */
#include "provider_metrics.h"
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include "llmlab/base/check.h"
#include "llmlab/ingest/ingest.h"
#include "llmlab/providers/catalogue_load.h"

/* The catalogue has some 60; an operator's file may add its own. What does not fit is "other". */
#define PROVIDERS_MAX	   256
#define PROVIDER_NAME_SIZE 65

struct provider_row {
	char name[PROVIDER_NAME_SIZE];
	int64_t events, unpriced;
	struct money cost;
};

/* Row 0 is "other". */
static struct provider_row rows[PROVIDERS_MAX] = {{.name = "other"}};
static size_t n_rows = 1;
static size_t last_row;
static pthread_mutex_t rows_lock = PTHREAD_MUTEX_INITIALIZER;

static bool in_catalogue(const char *provider)
{
	bool found = false;
	const struct catalogue *const c = catalogue_acquire();
	for (size_t i = 0; i < c->n_providers && !found; i++)
		found = strcmp(c->providers[i].id, provider) == 0;
	catalogue_release(c);
	return found;
}

/* Under the lock. Calls of one provider mostly come one after the other. */
static struct provider_row *row_of(const char *provider)
{
	if (strcmp(rows[last_row].name, provider) == 0)
		return &rows[last_row];
	for (size_t i = 1; i < n_rows; i++) {
		if (strcmp(rows[i].name, provider) == 0) {
			last_row = i;
			return &rows[i];
		}
	}
	const size_t n = strlen(provider);
	if (n_rows == PROVIDERS_MAX || n >= PROVIDER_NAME_SIZE || !in_catalogue(provider))
		return &rows[0];
	last_row = n_rows++;
	memcpy(rows[last_row].name, provider, n + 1);
	return &rows[last_row];
}

void provider_metrics_count(const struct event *e)
{
	CHECK(pthread_mutex_lock(&rows_lock) == 0);
	struct provider_row *const row = row_of(e->provider);
	row->events++;
	row->unpriced += !e->has_cost;
	/* A sum that does not fit stays what it was: 10^20 USD are not spent in the life of a process. */
	if (e->has_cost)
		(void)money_add(row->cost, e->cost, &row->cost);
	CHECK(pthread_mutex_unlock(&rows_lock) == 0);
}

static void write_cost(struct buf *out, const struct provider_row *row)
{
	char text[DECIMAL_TEXT_MAX];
	decimal_format(row->cost.atto, MONEY_SCALE, text);
	buf_printf(out, "llmlab_cost_usd_total{provider=\"%s\"} %s\n", row->name, text);
}

void ingest_metrics_write(struct buf *out)
{
	CHECK(pthread_mutex_lock(&rows_lock) == 0);
	buf_puts(out, "# HELP llmlab_events_total Events stored, by provider\n# TYPE llmlab_events_total "
		      "counter\n");
	for (size_t i = 0; i < n_rows; i++)
		buf_printf(out, "llmlab_events_total{provider=\"%s\"} %" PRId64 "\n", rows[i].name,
			rows[i].events);
	buf_puts(out, "# HELP llmlab_unpriced_events_total Events stored without a price, by provider\n"
		      "# TYPE llmlab_unpriced_events_total counter\n");
	for (size_t i = 0; i < n_rows; i++)
		buf_printf(out, "llmlab_unpriced_events_total{provider=\"%s\"} %" PRId64 "\n", rows[i].name,
			rows[i].unpriced);
	buf_puts(out, "# HELP llmlab_cost_usd_total Cost of the events stored, in USD, by provider\n"
		      "# TYPE llmlab_cost_usd_total counter\n");
	for (size_t i = 0; i < n_rows; i++)
		write_cost(out, &rows[i]);
	CHECK(pthread_mutex_unlock(&rows_lock) == 0);
}
