/* llmlab serve: puts the parts of a server together, waits for signals, takes them apart in the opposite
 * order. What the parts do is in the layers below and in watch.c. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include "llmlab/api/anomaly_memo.h"
#include "llmlab/api/api.h"
#include "llmlab/app/alerts.h"
#include "llmlab/app/anomaly_watch.h"
#include "llmlab/app/app.h"
#include "llmlab/app/repricer.h"
#include "llmlab/app/secret.h"
#include "llmlab/app/start.h"
#include "llmlab/app/supervisor.h"
#include "llmlab/app/upkeep.h"
#include "llmlab/app/watch.h"
#include "llmlab/app/webhook_sender.h"
#include "llmlab/auth/password.h"
#include "llmlab/auth/seal.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/db/migrate.h"
#include "llmlab/providers/catalogue_load.h"
#include "llmlab/providers/own_prices.h"

#define REVOCATIONS_MAX	  ((size_t)1000000)
#define INGEST_OUTCOME_US (10 * US_PER_SECOND)
#define MIB		  ((size_t)1024 * 1024)
/* Far longer than what many ask at once takes to answer; little beside what takes longer. */
#define SHARED_HOLD_US (250 * US_PER_MS)
/* Descriptors beside those of client connections: database connections, loops, log, files. */
#define DESCRIPTORS_SPARE 256

struct server {
	struct config config;
	unsigned max_connections; /* the setting, or what the system allows */
	struct start_database database;
	bool migrated;
	struct jwt_keys *keys;
	struct seal_keys *seal;
	struct token_cache *tokens;
	struct revocations *revocations;
	struct refused_keys *refused_keys;
	struct anomaly_memo *anomaly_memo;
	struct ingest *ingest;
	struct api api;
	struct watch *watch;
	struct upkeep *upkeep;
	struct repricer *repricer;
	struct spenders *spenders;
	struct alerts *alerts;
	struct anomaly_watch *anomalies;
	struct webhook_sender *webhooks;
	struct http_server *http;
};

static bool fail(const char *what)
{
	fprintf(stderr, "llmlab: %s\n", what);
	return false;
}

/* The catalogue of the binary with the operator's file before it; false (told in the log) leaves the one in
 * use. */
static bool load_prices(const struct config *c)
{
	struct arena arena;
	arena_init(&arena, MIB);
	struct problem p;
	problem_init(&p, &arena);
	struct catalogue *catalogue = NULL;
	const enum err e =
		catalogue_load(c->pricing_file[0] != '\0' ? c->pricing_file : NULL, &catalogue, &p);
	if (e == ERR_OK) {
		LOG_INFO("prices loaded", LOG_S("version", catalogue->version),
			LOG_I("providers", catalogue->n_providers));
		catalogue_publish(catalogue);
	} else {
		LOG_ERROR("prices refused", LOG_S("why", problem_detail(&p)));
	}
	arena_release(&arena);
	return e == ERR_OK;
}

/* The key that signs tokens and seals secrets, judged; with the private database one is made. */
static bool load_keys(const struct config *c, struct jwt_keys **ret, struct seal_keys **ret_seal)
{
	char *made = NULL;
	const char *secret = c->secret_key;
	const char *const previous = c->secret_key_previous[0] != '\0' ? c->secret_key_previous : NULL;
	if (secret[0] == '\0' && c->database_url[0] != '\0')
		return fail(
			"SECRET_KEY must be set when DATABASE_URL is; make one with: openssl rand -hex 32");
	if (secret[0] == '\0') {
		struct buf problems;
		buf_init(&problems, 4096);
		const enum err e = secret_file(c->data_dir, &made, &problems);
		if (e != ERR_OK)
			fprintf(stderr, "llmlab: %s",
				e == ERR_NO_MEMORY ? "out of memory\n" : buf_str(&problems));
		buf_release(&problems);
		if (e != ERR_OK)
			return false;
		secret = made;
	}
	const char *const weakness = secret_weakness(secret);
	const char *const old_weakness = previous != NULL ? secret_weakness(previous) : NULL;
	bool good = weakness == NULL && old_weakness == NULL;
	if (weakness != NULL)
		fprintf(stderr, "llmlab: SECRET_KEY %s\n", weakness);
	if (old_weakness != NULL)
		fprintf(stderr, "llmlab: SECRET_KEY_PREVIOUS %s\n", old_weakness);
	if (good && (jwt_keys_new(secret, previous, ret) != ERR_OK ||
			    seal_keys_new(secret, previous, ret_seal) != ERR_OK))
		good = fail("out of memory");
	if (made != NULL) {
		secret_wipe(made, strlen(made));
		free(made);
	}
	return good;
}

/* Room for the descriptors of max_connections, or fewer connections if the system gives no more. */
static unsigned allow_connections(unsigned wanted)
{
	struct rlimit limit;
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	const rlim_t need = (rlim_t)wanted + DESCRIPTORS_SPARE;
	if (limit.rlim_cur >= need)
		return wanted;
	const rlim_t hard = limit.rlim_max;
	limit = (struct rlimit){.rlim_cur = need, .rlim_max = hard > need ? hard : need};
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return wanted;
	/* Raising the hard limit takes privileges; what is below it does not. */
	limit = (struct rlimit){.rlim_cur = hard, .rlim_max = hard};
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	const unsigned possible = hard > 2 * (rlim_t)DESCRIPTORS_SPARE ? (unsigned)(hard - DESCRIPTORS_SPARE)
								       : (unsigned)(hard / 2);
	LOG_WARN("fewer connections than MAX_CONNECTIONS: the limit of open files is too low",
		LOG_I("max_connections", possible));
	return possible;
}

/* Brings the schema up to date. A database of DATABASE_URL that is away is waited for by the watch; anything
 * else ends the start. */
static bool migrate_first(struct server *s)
{
	struct db_conn *const c = db_conn_new(&s->database.settings);
	if (c == NULL)
		return fail("out of memory");
	struct migrate_report report = {0};
	const enum err e = migrate_run(c, &report);
	db_conn_free(c);
	s->migrated = e == ERR_OK;
	if (e == ERR_OK) {
		LOG_INFO("schema ready", LOG_I("version", report.version), LOG_I("applied", report.applied));
		return true;
	}
	if (s->database.pg == NULL && (e == ERR_DATABASE_UNAVAILABLE || e == ERR_DB_LOST)) {
		LOG_WARN("database away, waiting for it", LOG_S("message", report.message));
		return true;
	}
	return fail(report.message[0] != '\0' ? report.message : err_title(e));
}

static bool start_ingest(struct server *s)
{
	s->spenders = spenders_new();
	if (s->spenders == NULL)
		return fail("out of memory");
	const struct config *c = &s->config;
	const struct ingest_settings settings = {.max_queued_items = (size_t)c->ingest_queue,
		.max_queued_bytes = (size_t)c->ingest_queue_mb * MIB,
		.max_batch_items = (size_t)c->ingest_batch,
		.statement_us = s->database.settings.statement_us,
		.spenders = s->spenders,
		.outcome_us = INGEST_OUTCOME_US};
	return ingest_start(&settings, &s->database.settings, &s->ingest) == ERR_OK ||
	       fail("the writer cannot start: out of memory");
}

static bool start_http(struct server *s)
{
	const struct config *c = &s->config;
	char message[512] = "the HTTP server cannot start";
	int listen_fd;
	if (!supervisor_listen_fd(&listen_fd, message, sizeof message))
		return fail(message);
	const long cores = sysconf(_SC_NPROCESSORS_ONLN);
	const int64_t loops = c->loop_threads > 0 ? c->loop_threads : cores > 0 && cores < 64 ? cores : 64;
	const struct http_settings settings = {.host = c->host,
		.port = (uint16_t)c->port,
		.inherited = listen_fd >= 0,
		.listen_fd = listen_fd,
		.loops = (unsigned)loops,
		.max_connections = s->max_connections,
		.executor_threads = (unsigned)c->executor_threads,
		.executor_queue = (unsigned)c->executor_queue,
		.shared_hold_us = SHARED_HOLD_US,
		.password_threads = (unsigned)c->password_threads,
		.password_queue = (unsigned)c->password_queue,
		.stream_threads = (unsigned)c->export_threads,
		.stream_stall_us = c->export_stall_seconds * US_PER_SECOND,
		.header_us = c->header_timeout_seconds * US_PER_SECOND,
		.body_us = c->body_timeout_seconds * US_PER_SECOND,
		.request_us = c->request_timeout_seconds * US_PER_SECOND,
		.idle_us = c->idle_timeout_seconds * US_PER_SECOND,
		.max_body_bytes = (size_t)c->max_body_kb * 1024,
		.max_batch_bytes = (size_t)c->max_batch_mb * MIB,
		.max_body_memory_bytes = (size_t)c->body_memory_mb * MIB,
		.cors_origins = c->cors_origins,
		.access_log = true,
		.rate_auth_per_minute = c->rate_limits ? (unsigned)c->rate_auth_per_minute : 0,
		.rate_read_per_minute = c->rate_limits ? (unsigned)c->rate_read_per_minute : 0,
		.rate_ingest_per_second = c->rate_limits ? (unsigned)c->rate_ingest_per_second : 0,
		.rate_write_per_minute = c->rate_limits ? (unsigned)c->rate_write_per_minute : 0,
		.rate_export_per_minute = c->rate_limits ? (unsigned)c->rate_export_per_minute : 0,
		.rate_unauthenticated_per_second =
			c->rate_limits ? (unsigned)c->rate_unauthenticated_per_second : 0,
		.trust_proxy = c->trust_proxy,
		.forwarded = strcmp(c->proxy_header, "forwarded") == 0};
	const struct http_hooks hooks = api_hooks(&s->api);
	return http_start(&settings, &hooks, &s->http, message, sizeof message) == ERR_OK || fail(message);
}

static bool start_webhooks(struct server *s)
{
	const struct webhook_sender_settings settings = {.api = &s->api,
		.keys = s->seal,
		.allow_private = s->config.webhook_allow_private,
		.retry_us = s->config.webhook_retry_seconds * US_PER_SECOND,
		.lookup = webhook_lookup_system};
	return webhook_sender_start(&settings, &s->webhooks) == ERR_OK;
}

static bool start_api(struct server *s)
{
	s->revocations = revocations_new(REVOCATIONS_MAX);
	s->tokens = token_cache_new();
	s->refused_keys = refused_keys_new();
	s->anomaly_memo = anomaly_memo_new();
	if (s->revocations == NULL || s->tokens == NULL || s->refused_keys == NULL || s->anomaly_memo == NULL)
		return fail("out of memory");
	s->api.jwt = s->keys;
	s->api.tokens = s->tokens;
	s->api.refused_keys = s->refused_keys;
	s->api.anomaly_memo = s->anomaly_memo;
	s->api.throttles = s->config.rate_limits;
	s->api.login_rates = (struct login_rates){.network_per_hour = (int)s->config.login_failures_per_hour,
		.everybody_per_hour = (int)s->config.login_failures_of_all_per_hour};
	s->api.signup_rates = (struct signup_rates){.per_minute = (int)s->config.signups_per_minute,
		.per_day = (int)s->config.signups_per_day,
		.everybody_per_minute = (int)s->config.signups_of_all_per_minute};
	s->api.token_lifetime_us = s->config.access_token_expire_minutes * US_PER_MINUTE;
	s->api.revocations = s->revocations;
	s->api.ingest = s->ingest;
	s->api.spenders = s->spenders;
	s->api.db = s->database.settings;
	s->api.seal = s->seal;
	s->api.webhook_allow_private = s->config.webhook_allow_private;
	s->api.started_mono_us = clock_mono_us();
	s->api.version = LLMLAB_VERSION;
	return (watch_start(&s->api, s->migrated, &s->watch) == ERR_OK &&
		       upkeep_start(&s->api, s->config.event_retention_days, &s->upkeep) == ERR_OK &&
		       repricer_start(&s->api.db, &s->repricer) == ERR_OK &&
		       alerts_start(&s->api, &s->alerts) == ERR_OK &&
		       anomaly_watch_start(&s->api, s->config.anomaly_scan_seconds * US_PER_SECOND,
			       &s->anomalies) == ERR_OK &&
		       start_webhooks(s)) ||
	       fail("the background threads cannot start: out of memory");
}

static bool server_start(struct server *s)
{
	if (!load_keys(&s->config, &s->keys, &s->seal))
		return false;
	if (!load_prices(&s->config))
		return fail("the prices cannot be loaded (see above)");
	s->max_connections = allow_connections((unsigned)s->config.max_connections);
	return start_database_open(&s->config, &s->database) && migrate_first(s) && start_ingest(s) &&
	       start_api(s) && start_http(s);
}

/* Also after a start that failed half-way. */
static void server_stop(struct server *s)
{
	const int64_t now_us = clock_mono_us();
	const int64_t limit_us = s->config.shutdown_seconds * US_PER_SECOND;
	s->api.draining = true;
	/* A database that hangs must not hold up the threads that ask it. */
	if (s->database.settings.gate != NULL)
		s->database.settings.gate->end_mono_us = now_us + limit_us * 8 / 10;
	s->database.close_by_mono_us = now_us + limit_us;
	/* The rest of the time is for what is queued behind the answers, and for the private database. */
	/* Requests that wait for the ingest writer are answered by its end, so that comes between the two
	 * parts. */
	if (s->http != NULL)
		(void)http_drain(s->http, now_us + limit_us * 6 / 10);
	if (s->ingest != NULL)
		ingest_stop(s->ingest, now_us + limit_us * 7 / 10);
	if (s->http != NULL && !http_stop(s->http))
		LOG_WARN("requests were cut at the end");
	ingest_free(s->ingest);
	webhook_sender_stop(s->webhooks);
	anomaly_watch_stop(s->anomalies);
	alerts_stop(s->alerts);
	repricer_stop(s->repricer);
	spenders_free(s->spenders);
	upkeep_stop(s->upkeep);
	watch_stop(s->watch);
	revocations_free(s->revocations);
	jwt_keys_free(s->keys);
	seal_keys_free(s->seal);
	token_cache_free(s->tokens);
	refused_keys_free(s->refused_keys);
	anomaly_memo_free(s->anomaly_memo);
	catalogue_shutdown();
	own_prices_shutdown();
	start_database_close(&s->database);
}

/* Tells a person where the server is and what to try first. */
static void announce(const struct server *s)
{
	const char *host = s->config.host;
	if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
		host = "localhost";
	const bool v6 = strchr(host, ':') != NULL;
	printf("LLMLab " LLMLAB_VERSION " is listening on http://%s%s%s:%u\n", v6 ? "[" : "", host,
		v6 ? "]" : "", http_port(s->http));
	if (s->database.pg != NULL)
		printf("Everything is kept in a private PostgreSQL in %s\n", s->config.data_dir);
	else if (!s->migrated)
		printf("The database does not answer yet; requests are answered 503 until it does\n");
	printf("\nTry it:\n  curl -s http://%s%s%s:%u/api/auth/signup -H 'Content-Type: application/json' "
	       "\\\n"
	       "    -d '{\"email\":\"you@example.com\",\"password\":\"a long password of "
	       "yours\",\"name\":\"You\"}'\n\n",
		v6 ? "[" : "", host, v6 ? "]" : "", http_port(s->http));
	(void)fflush(stdout);
}

static void exit_at_once(int signal_number)
{
	_exit(128 + signal_number);
}

static sigset_t server_signals(void)
{
	sigset_t set;
	CHECK(sigemptyset(&set) == 0);
	CHECK(sigaddset(&set, SIGTERM) == 0 && sigaddset(&set, SIGINT) == 0 && sigaddset(&set, SIGHUP) == 0);
	return set;
}

/* Until SIGTERM or SIGINT; SIGHUP reads the prices again. From then on a second signal ends the process at
 * once. */
static void wait_for_end(const struct server *s)
{
	const sigset_t set = server_signals();
	for (;;) {
		const int got = sigwaitinfo(&set, NULL);
		if (got == SIGHUP)
			(void)load_prices(&s->config);
		if (got == SIGTERM || got == SIGINT) {
			LOG_INFO("stopping", LOG_S("signal", got == SIGTERM ? "SIGTERM" : "SIGINT"));
			break;
		}
	}
	const struct sigaction at_once = {.sa_handler = exit_at_once};
	CHECK(sigaction(SIGTERM, &at_once, NULL) == 0 && sigaction(SIGINT, &at_once, NULL) == 0);
	CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
}

/* Keeps other processes of this user away from the secrets in memory; a build for debugging leaves the door
 * open. */
static void protect_memory(void)
{
#ifdef NDEBUG
	CHECK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
#endif
}

int command_serve(int argc, char **argv)
{
	if (argc > 1) {
		fprintf(stderr,
			"llmlab: serve takes no arguments, not \"%s\"; settings are environment variables, "
			"see "
			"llmlab --help\n",
			argv[1]);
		return 2;
	}
	protect_memory();
	struct server s = {0};
	if (!start_config(&s.config))
		return 1;
	start_log(&s.config);
	/* Before the first thread, so that all inherit it and only wait_for_end() gets the signals. */
	const sigset_t set = server_signals();
	CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	const bool started = server_start(&s);
	if (started) {
		announce(&s);
		supervisor_notify("READY=1");
		wait_for_end(&s);
		supervisor_notify("STOPPING=1");
	}
	server_stop(&s);
	if (started)
		LOG_INFO("stopped");
	config_release(&s.config);
	return started ? 0 : 1;
}
