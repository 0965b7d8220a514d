/* Request counts by route and status and a latency histogram by route, as fixed tables: a client can't add
 * labels. */

#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* every status the catalogue and the handlers use; others are counted as 0 */
static const int statuses[] = {200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422,
	429, 500, 501, 503, 0};
#define N_STATUSES (sizeof statuses / sizeof statuses[0])
static const int64_t bounds_us[] = {
	1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 10000000};
#define N_BOUNDS (sizeof bounds_us / sizeof bounds_us[0])

struct route_metrics {
	_Atomic int64_t by_status[N_STATUSES];
	_Atomic int64_t by_bound[N_BOUNDS + 1];
	_Atomic int64_t sum_us;
};

static struct {
	const struct route *routes;
	size_t n_routes;
	struct route_metrics *rows; /* n_routes + 1: the last one for requests without a route */
} table;

enum err http_metrics_init(const struct http_hooks *h)
{
	struct route_metrics *rows = calloc(h->n_routes + 1, sizeof *rows);
	if (rows == NULL)
		return ERR_NO_MEMORY;
	free(table.rows);
	table.routes = h->routes;
	table.n_routes = h->n_routes;
	table.rows = rows;
	return ERR_OK;
}

void http_metrics_count(const struct route *r, int status, int64_t duration_us)
{
	struct route_metrics *row = &table.rows[r != NULL ? (size_t)(r - table.routes) : table.n_routes];
	size_t s = 0;
	while (statuses[s] != status && statuses[s] != 0)
		s++;
	size_t b = 0;
	while (b < N_BOUNDS && duration_us > bounds_us[b])
		b++;
	row->by_status[s]++;
	row->by_bound[b]++;
	row->sum_us += duration_us;
}

static void write_histogram(struct buf *out, const char *id, const struct route_metrics *row)
{
	int64_t total = 0;
	for (size_t b = 0; b < N_BOUNDS; b++) {
		total += row->by_bound[b];
		buf_printf(out, "llmlab_http_request_duration_seconds_bucket{route=\"%s\",le=\"%g\"} %lld\n",
			id, (double)bounds_us[b] / 1e6, (long long)total);
	}
	total += row->by_bound[N_BOUNDS];
	buf_printf(out, "llmlab_http_request_duration_seconds_bucket{route=\"%s\",le=\"+Inf\"} %lld\n", id,
		(long long)total);
	buf_printf(out, "llmlab_http_request_duration_seconds_sum{route=\"%s\"} %.6f\n", id,
		(double)row->sum_us / 1e6);
	buf_printf(
		out, "llmlab_http_request_duration_seconds_count{route=\"%s\"} %lld\n", id, (long long)total);
}

void http_metrics_write(struct buf *out)
{
	buf_puts(out, "# HELP llmlab_http_requests_total Requests answered\n# TYPE "
		      "llmlab_http_requests_total counter\n");
	for (size_t i = 0; i <= table.n_routes; i++) {
		const char *id = i < table.n_routes ? table.routes[i].id : "none";
		for (size_t s = 0; s < N_STATUSES; s++)
			if (table.rows[i].by_status[s] > 0)
				buf_printf(out,
					"llmlab_http_requests_total{route=\"%s\",status=\"%d\"} %lld\n", id,
					statuses[s], (long long)table.rows[i].by_status[s]);
	}
	buf_puts(out,
		"# HELP llmlab_http_request_duration_seconds From the request line to the end of the answer\n"
		"# TYPE llmlab_http_request_duration_seconds histogram\n");
	for (size_t i = 0; i <= table.n_routes; i++)
		write_histogram(out, i < table.n_routes ? table.routes[i].id : "none", &table.rows[i]);
}
