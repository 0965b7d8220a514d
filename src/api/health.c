/* Health for load balancers and people, and the metrics. Public: says nothing about users. */
#include "llmlab/api/handlers.h"
#include "llmlab/api/support.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/histogram.h"
#include "llmlab/base/metrics.h"
#include "llmlab/base/process.h"
#include "llmlab/providers/own_prices.h"

#define CHECK_US	  (900 * US_PER_MS) /* so that the whole answer takes less than a second */
#define READY_STALE_US	  (5 * US_PER_SECOND)
#define METRICS_MAX_BYTES ((size_t)4 << 20)
#define HEALTH_MAX_BYTES  ((size_t)4096)

static const struct db_stmt PING = {"health_ping", "SELECT 1"};

static void write_common(struct json_writer *w, const struct http_request *rq, const char *status)
{
	const struct api *const api = api_of(rq);
	jw_string(w, "status", status);
	jw_string(w, "version", api->version);
	jw_i64(w, "uptime_seconds", (clock_mono_us() - api->started_mono_us) / US_PER_SECOND);
}

/* Asks the database for real. A connection that was lost while idle shows only when it is used, so there is a
 * second try on a new one; both together end within CHECK_US. */
static bool database_answers(struct http_request *rq)
{
	struct db_conn *const db = api_db(rq);
	const int64_t before_us = db_conn_set_deadline(db, CHECK_US / 2);
	struct db_params params;
	db_params_init(&params, &rq->arena);
	const bool answers =
		/* NOLINTNEXTLINE(misc-redundant-expression): the second try */
		db_run(db, &PING, &params, NULL) == ERR_OK || db_run(db, &PING, &params, NULL) == ERR_OK;
	db_conn_set_deadline(db, before_us);
	return answers;
}

struct reply api_health(struct http_request *rq)
{
	const bool connected = database_answers(rq);
	struct buf body;
	buf_init(&body, HEALTH_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	write_common(&w, rq, connected ? "healthy" : "degraded");
	jw_bool(&w, "database_connected", connected);
	jw_instant(&w, "timestamp", rq->received_us);
	jw_object_end(&w);
	struct reply r = reply_json(connected ? 200 : 503, &body);
	if (!connected)
		reply_set_header(&r, "Retry-After", "1");
	return r;
}

struct reply api_health_live(struct http_request *rq)
{
	struct buf body;
	buf_init(&body, HEALTH_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	write_common(&w, rq, "alive");
	jw_object_end(&w);
	return reply_json(200, &body);
}

struct reply api_health_ready(struct http_request *rq)
{
	const struct api *const api = api_of(rq);
	const bool connected = clock_mono_us() - api->database_ok_mono_us <= READY_STALE_US;
	const bool priced = own_prices_loaded();
	const bool ready = connected && priced && !api->draining;
	struct buf body;
	buf_init(&body, HEALTH_MAX_BYTES);
	struct json_writer w;
	jw_init(&w, &body);
	jw_object_begin(&w, NULL);
	write_common(&w, rq,
		ready		? "ready"
		: api->draining ? "draining"
		: connected	? "prices being loaded"
				: "database unavailable");
	jw_bool(&w, "database_connected", connected);
	jw_object_end(&w);
	struct reply r = reply_json(ready ? 200 : 503, &body);
	if (!ready)
		reply_set_header(&r, "Retry-After", "1");
	return r;
}

struct reply api_metrics(struct http_request *rq)
{
	struct buf body;
	buf_init(&body, METRICS_MAX_BYTES);
	metrics_write(&body);
	histograms_write(&body);
	ingest_metrics_write(&body);
	process_metrics_write(&body, api_of(rq)->version);
	http_metrics_write(&body);
	return reply_text(200, "text/plain; version=0.0.4; charset=utf-8", &body);
}
