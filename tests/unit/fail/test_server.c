/* The whole server in this process (its loop, executors, writer, sender of webhooks, a real PostgreSQL) while
 * memory ends, system calls fail and connections are cut, at each point of a request. Only the client, this
 * thread, is spared. After each run the database is asked: nothing was acknowledged that is not stored, what
 * was told is so, the same request works when it is sent again, and no answer was half of the truth. */
#include <arpa/inet.h>
#include <argon2.h>
#include <dlfcn.h>
#include <poll.h>
#include <sys/socket.h>
#include "../app/webhook_listener.h"
#include "../db/store_fixture.h"
#include "fail.h"
#include "llmlab/api/api.h"
#include "llmlab/app/webhook_sender.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"
#include "llmlab/db/webhooks.h"
#include "llmlab/http/server.h"
#include "llmlab/providers/catalogue_load.h"
#include "llmlab/providers/own_prices.h"

#define SECRET	    "8f2c1d90a7b64e53c1f08d2b7a965e41"
#define PASSWORD    "correct-battery-17-horse"
#define ANSWER_MAX  ((size_t)256 << 10)
#define STALL_S	    30
#define PAUSE_MS    2
#define FOR_EVER_US ((int64_t)1 << 60)
#define EVENT	    "\"model\":\"gpt-4\",\"input_tokens\":1000,\"output_tokens\":500"

/* What a password costs is not what is tested. */
int argon2id_hash_encoded(const uint32_t passes, const uint32_t memory_kib, const uint32_t lanes,
	const void *password, const size_t password_len, const void *salt, const size_t salt_len,
	const size_t hash_len, char *encoded, const size_t encoded_len)
{
	__extension__ __typeof__(&argon2id_hash_encoded) next = dlsym(RTLD_NEXT, "argon2id_hash_encoded");
	(void)passes;
	(void)memory_kib;
	return next(1, 8, lanes, password, password_len, salt, salt_len, hash_len, encoded, encoded_len);
}

/* ---- the server ---- */

static struct db_gate gate; /* opened again and again: nobody pauses before connecting */
static struct api api;
static struct http_server *server;
static struct jwt_keys *jwt;
static struct seal_keys *seal;
static struct webhook_sender *sender;
static bool asks_database; /* for every token */

static const struct http_settings settings = {.host = "127.0.0.1",
	.loops = 1,
	.max_connections = 64,
	.executor_threads = 1,
	.executor_queue = 8,
	.password_threads = 1,
	.password_queue = 8,
	.stream_threads = 1,
	.stream_stall_us = 20 * US_PER_SECOND,
	.header_us = 20 * US_PER_SECOND,
	.body_us = 20 * US_PER_SECOND,
	.request_us = 20 * US_PER_SECOND,
	.idle_us = 20 * US_PER_SECOND,
	.max_body_bytes = 65536,
	.max_batch_bytes = 1 << 20,
	.max_body_memory_bytes = 1 << 20,
	.cors_origins = "https://a.example",
	.access_log = true};

static bool start_http(void)
{
	const struct http_hooks hooks = api_hooks(&api);
	char message[256];
	const enum err e = http_start(&settings, &hooks, &server, message, sizeof message);
	must_be(e == ERR_OK || e == ERR_NO_MEMORY || e == ERR_UNAVAILABLE, err_code(e));
	return e == ERR_OK;
}

static void stop_http(void)
{
	must(http_drain(server, clock_mono_us() + 20 * US_PER_SECOND));
	must(http_stop(server));
	server = NULL;
}

static void load_prices(void)
{
	struct problem p;
	struct catalogue *c = NULL;
	problem_init(&p, &arena);
	must(catalogue_load(NULL, &c, &p) == ERR_OK);
	catalogue_publish(c);
	own_prices_load_end(own_prices_load_begin());
}

static void start_all(void)
{
	static const struct ingest_settings ingest = {.max_queued_items = 1000,
		.max_queued_bytes = 16 << 20,
		.max_batch_items = 100,
		.statement_us = US_PER_SECOND,
		.outcome_us = 10 * US_PER_SECOND};
	struct ingest *in = NULL;
	log_configure(LOG_LEVEL_ERROR, true);
	load_prices();
	must(jwt_keys_new(SECRET, NULL, &jwt) == ERR_OK && seal_keys_new(SECRET, NULL, &seal) == ERR_OK);
	api = (struct api){.jwt = jwt,
		.seal = seal,
		.token_lifetime_us = 3600 * US_PER_SECOND,
		.version = "test",
		.webhook_allow_private = true,
		.tokens = token_cache_new(),
		.revocations = revocations_new(1000),
		.refused_keys = refused_keys_new(),
		.spenders = spenders_new(),
		.db = fixture_settings,
		.database_ok_mono_us = 1};
	api.db.gate = &gate;
	api.db.application_name = "fail-server";
	api.db.statement_us = US_PER_SECOND;
	must(ingest_start(&ingest, &api.db, &in) == ERR_OK);
	api.ingest = in;
	if (!asks_database)
		revocations_mark_fresh(api.revocations, FOR_EVER_US);
}

static void stop_all(void)
{
	ingest_stop(api.ingest, clock_mono_us() + 20 * US_PER_SECOND);
	if (server != NULL)
		stop_http();
	ingest_free(api.ingest);
	spenders_free(api.spenders);
	token_cache_free(api.tokens);
	revocations_free(api.revocations);
	refused_keys_free(api.refused_keys);
	jwt_keys_free(jwt);
	seal_keys_free(seal);
	catalogue_shutdown();
	own_prices_shutdown();
}

/* ---- the client ---- */

static char request_text[16384];
static char answer[ANSWER_MAX];
static const char *body; /* of the answer */
static char token[2048];

static int dial(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(http_port(server)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
	return fd;
}

/* To the end of the connection. Meanwhile the database may be tried again at once. */
static size_t read_all(int fd)
{
	const int64_t until_us = clock_mono_us() + STALL_S * US_PER_SECOND;
	size_t n = 0;
	for (;;) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};
		gate.next_mono_us = 0;
		must_be(clock_mono_us() < until_us, "no answer");
		if (poll(&readable, 1, PAUSE_MS) <= 0)
			continue;
		const ssize_t got = recv(fd, answer + n, sizeof answer - 1 - n, 0);
		if (got <= 0)
			return n;
		n += (size_t)got;
		must(n < sizeof answer - 1);
	}
}

/* Whether it is a whole answer, as HTTP tells. */
static bool whole(size_t n)
{
	const char *const end = strstr(answer, "\r\n\r\n");
	if (end == NULL)
		return false;
	body = end + 4;
	const size_t body_len = n - (size_t)(body - answer);
	const char *const length = strcasestr(answer, "\r\nContent-Length: ");
	if (length != NULL && length < end)
		return body_len == strtoul(length + 18, NULL, 10);
	return body_len >= 5 && strcmp(answer + n - 5, "0\r\n\r\n") == 0;
}

/* The status of the answer to request_text; 0: the connection ended without a whole one. */
static int exchange(void)
{
	const int fd = dial();
	const size_t length = strlen(request_text);
	must(send(fd, request_text, length, MSG_NOSIGNAL) == (ssize_t)length);
	const size_t n = read_all(fd);
	close(fd);
	answer[n] = '\0';
	body = "";
	if (!whole(n))
		return 0;
	const int status = (int)strtol(answer + 9, NULL, 10);
	/* the client has done nothing wrong */
	must_be((status >= 200 && status < 300) || status == 409 || status == 503, answer);
	return status;
}

__attribute__((format(printf, 4, 5))) static void request(
	const char *method, const char *path, const char *headers, const char *fmt, ...)
{
	char text[8192];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	snprintf(request_text, sizeof request_text,
		"%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
		"Authorization: Bearer %s\r\n%sContent-Length: %zu\r\n\r\n%s",
		method, path, token, headers, strlen(text), text);
}

/* Again until it works. */
static int until_done(void)
{
	for (;;) {
		const int status = exchange();
		if (status != 0 && status != 503)
			return status;
	}
}

/* The text member of the answer, which must be there. */
static const char *member(const char *name)
{
	static char value[2048];
	char key[64];
	snprintf(key, sizeof key, "\"%s\":\"", name);
	const char *const at = strstr(body, key);
	must_be(at != NULL, answer);
	snprintf(value, sizeof value, "%.*s", (int)strcspn(at + strlen(key), "\""), at + strlen(key));
	return value;
}

/* ---- the database ---- */

static struct uuid user;
static char user_text[UUID_TEXT_SIZE];
static int run_number;

/* Of this test's user; the text is the other parameter. */
static int64_t count_of(const char *name, const char *sql, const char *text)
{
	const struct db_stmt stmt = {name, sql};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_text(&p, text);
	db_param_uuid(&p, &user);
	PGresult *r = NULL;
	must_be(db_run(conn, &stmt, &p, &r) == ERR_OK, db_last_message(conn));
	const int64_t n = db_i64(r, 0, 0);
	PQclear(r);
	return n;
}

/* Events that are stored with a key that begins so. */
static int64_t stored(const char *prefix)
{
	return count_of("fail_stored",
		"SELECT count(*) FROM events AS e JOIN event_keys AS k ON (e.user_id, e.occurred_at, e.id)"
		" = (k.user_id, k.occurred_at, k.event_id) WHERE k.key LIKE $1 || '%' AND k.user_id = $2",
		prefix);
}

static const char *run_key(void)
{
	static char key[32];
	snprintf(key, sizeof key, "k%d-", run_number);
	return key;
}

static void next_run(void)
{
	run_number++;
	arena_release(&arena);
	arena_init(&arena, 64 << 20);
}

static void sign_up(void)
{
	char id[UUID_TEXT_SIZE];
	const struct uuid random = uuid_v4();
	uuid_format(&random, id);
	token[0] = '\0';
	request("POST", "/api/auth/signup", "",
		"{\"email\":\"%s@example.com\",\"password\":\"" PASSWORD "\",\"name\":\"N\"}", id);
	must(until_done() == 201);
	must(uuid_parse(member("user_id"), &user) == ERR_OK);
	uuid_format(&user, user_text);
	snprintf(token, sizeof token, "%s", member("access_token"));
}

/* ---- recording ---- */

static int status_of_run;

static bool ask(void)
{
	status_of_run = exchange();
	return status_of_run >= 200 && status_of_run < 300;
}

static void new_event(void)
{
	char header[64];
	next_run();
	snprintf(header, sizeof header, "Idempotency-Key: %s\r\n", run_key());
	request("POST", "/api/events/track", header,
		"{" EVENT
		",\"timestamp\":\"2026-06-10T12:00:00Z\",\"project\":\"p\",\"tags\":{\"a\":\"b\"}}");
}

/* The connections of the server's threads are gone when the request comes. */
static void new_event_and_no_connections(void)
{
	new_event();
	must(count_of("fail_end",
		     "SELECT count(pg_terminate_backend(pid, 20000)) FROM pg_stat_activity"
		     " WHERE application_name = $1 AND $2::uuid IS NOT NULL",
		     "fail-server") >= 0);
}

static void event_is_stored_once(bool done)
{
	char id[UUID_TEXT_SIZE] = "";
	if (done) {
		must(status_of_run == 201);
		must_be(stored(run_key()) == 1, "acknowledged and not stored");
		snprintf(id, sizeof id, "%s", member("event_id"));
	}
	const int again = until_done();
	must(again == 200 || (again == 201 && !done));
	must(!done || strcmp(id, member("event_id")) == 0);
	must(stored(run_key()) == 1);
}

static void new_batch(void)
{
	next_run();
	request("POST", "/api/events/batch", "",
		"{\"events\":[{" EVENT ",\"idempotency_key\":\"%s1\"},{" EVENT
		",\"idempotency_key\":\"%s2\"},{" EVENT ",\"idempotency_key\":\"%s3\"}]}",
		run_key(), run_key(), run_key());
}

static int64_t accepted(void)
{
	const char *const at = strstr(body, "\"accepted\":");
	must_be(at != NULL, answer);
	return strtoll(at + 11, NULL, 10);
}

static void batch_is_stored_once(bool done)
{
	if (done)
		must_be(stored(run_key()) >= accepted(), "acknowledged and not stored");
	while (stored(run_key()) < 3)
		must(until_done() == 200);
	must(until_done() == 200 && accepted() == 0 && strstr(body, "\"duplicates\":3") != NULL);
	must(stored(run_key()) == 3);
}

/* ---- accounts ---- */

static void new_account(void)
{
	next_run();
	request("POST", "/api/auth/signup", "",
		"{\"email\":\"a%d-%s@example.com\",\"password\":\"" PASSWORD "\",\"name\":\"N\"}", run_number,
		user_text);
}

static void account_is_there(bool done)
{
	char email[80];
	snprintf(email, sizeof email, "a%d-%s@example.com", run_number, user_text);
	if (done)
		must_be(count_of("fail_users", "SELECT count(*) FROM users WHERE email = $1 AND id <> $2",
				email) == 1,
			"told to be there, and is not");
	const int again = until_done();
	must(again == 409 || (again == 201 && !done));
	must(count_of("fail_users", "SELECT count(*) FROM users WHERE email = $1 AND id <> $2", email) == 1);
}

static char account[80];

static void a_login(void)
{
	next_run();
	if (account[0] == '\0') {
		snprintf(account, sizeof account, "b-%s@example.com", user_text);
		request("POST", "/api/auth/signup", "",
			"{\"email\":\"%s\",\"password\":\"" PASSWORD "\",\"name\":\"N\"}", account);
		must(until_done() == 201);
	}
	request("POST", "/api/auth/login", "", "{\"email\":\"%s\",\"password\":\"" PASSWORD "\"}", account);
}

static void token_is_good(bool done)
{
	if (!done)
		must(until_done() == 200);
	char own[sizeof token];
	memcpy(own, token, sizeof own);
	snprintf(token, sizeof token, "%s", member("access_token"));
	request("GET", "/api/auth/me", "", "%s", "");
	must(until_done() == 200);
	memcpy(token, own, sizeof own);
}

/* ---- reading ---- */

static char expected[ANSWER_MAX];

static void remember(const char *path)
{
	next_run();
	request("GET", path, "", "%s", "");
	must(until_done() == 200);
	memcpy(expected, body, strlen(body) + 1);
}

static void a_summary(void)
{
	remember("/api/costs/summary?from=2026-06-01&to=2026-06-30&tz=UTC");
}

static void an_export(void)
{
	remember("/api/events/export?from=2026-06-01&to=2026-06-30&tz=UTC&format=ndjson");
}

static void a_list(void)
{
	remember("/api/events?from=2026-06-01&to=2026-06-30&tz=UTC");
}

static void answer_is_the_same(bool done)
{
	if (!done)
		must(until_done() == 200);
	must_be(strcmp(body, expected) == 0, body);
}

/* A zone that this process has not read yet: kept for ever, each is good for one run. */
static void a_summary_in_a_new_zone(void)
{
	char path[128];
	next_run();
	must(run_number <= 14 + 12);
	const int offset = run_number - 14; /* Etc/GMT-13 to Etc/GMT+12 */
	snprintf(path, sizeof path, "/api/costs/summary?from=2026-06-01&to=2026-06-30&tz=Etc/GMT%s%d",
		offset < 0 ? "-" : "%2B", abs(offset));
	request("GET", path, "", "%s", "");
}

static void is_summed(bool done)
{
	must(done || until_done() == 200);
	must_be(strstr(body, "\"call_count\":") != NULL, answer);
}

static void some_metrics(void)
{
	next_run();
	request("GET", "/metrics", "", "%s", "");
}

static void answer_is_good(bool done)
{
	must(done || until_done() == 200);
	must(strstr(body, "llmlab_") != NULL);
}

/* ---- budgets ---- */

static void a_check(void)
{
	static bool made;
	next_run();
	if (!made) {
		request("POST", "/api/budgets", "", "{\"limit\":1000000,\"hard\":true,\"name\":\"all\"}");
		must(until_done() == 201);
	}
	made = true;
	request("POST", "/api/budgets/check", "", "{" EVENT ",\"reserve\":true,\"ttl_seconds\":60}");
}

static void reservation_is_held(bool done)
{
	must(done || until_done() == 200);
	must(strstr(body, "\"allowed\":true") != NULL && strstr(body, "\"amount\":0.06,") != NULL);
	const char *const id = member("reservation_id");
	must_be(count_of("fail_held",
			"SELECT count(*) FROM reservations WHERE id = $1::uuid AND user_id = $2", id) == 1,
		"promised and not held");
}

/* ---- tests ---- */

static const struct {
	struct fail_scenario s;
	bool asks_database;
} scenarios[] = {
	{{"track", new_event, ask, event_is_stored_once, 12}, false},
	{{"track, the token asked of the database", new_event, ask, event_is_stored_once, 10}, true},
	{{"track without connections", new_event_and_no_connections, ask, event_is_stored_once, 10}, true},
	{{"batch", new_batch, ask, batch_is_stored_once, 8}, false},
	{{"signup", new_account, ask, account_is_there, 8}, false},
	{{"login", a_login, ask, token_is_good, 8}, false},
	{{"summary", a_summary, ask, answer_is_the_same, 8}, false},
	{{"list", a_list, ask, answer_is_the_same, 8}, false},
	{{"export", an_export, ask, answer_is_the_same, 8}, false},
	{{"check of budgets", a_check, ask, reservation_is_held, 8}, false},
	{{"metrics", some_metrics, ask, answer_is_good, 8}, false},
};
#define N_SCENARIOS (sizeof scenarios / sizeof scenarios[0])

static const enum fail_kind kinds[] = {FAIL_ACCEPT, FAIL_RECV, FAIL_SEND, FAIL_CUT, FAIL_EPOLL, FAIL_RANDOM,
	FAIL_OPEN, FAIL_READ, FAIL_WRITE, FAIL_CONNECT, FAIL_SOCKET, FAIL_OPTION, FAIL_POLL};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static void begin(int scenario)
{
	fail_exempt(true);
	asks_database = scenarios[scenario].asks_database;
	start_all();
	must(start_http());
	sign_up();
	for (int i = 0; i < 3; i++) {
		new_event();
		must(until_done() == 201);
	}
}

/* Everything has been given back, and the sums are those of the events. */
static void end(void)
{
	stop_all();
	must(metric_get(METRIC_CONNECTIONS) == 0 && metric_get(METRIC_BODY_BYTES) == 0);
	must(metric_get(METRIC_DB_CONNECTIONS) == (int64_t)db_conn_connected(conn));
	must_be(drift(&user)[0] == '\0', drift(&user));
}

START_TEST(what_a_request_is_told_is_so_while_memory_ends)
{
	begin(_i);
	fail_loop(&scenarios[_i].s, FAIL_MEMORY, 1);
	fail_loop(&scenarios[_i].s, FAIL_MEMORY, 8);
	end();
}
END_TEST

START_TEST(what_a_request_is_told_is_so_while_calls_fail)
{
	begin(_i);
	for (size_t i = 0; i < N_KINDS; i++)
		fail_loop(&scenarios[_i].s, kinds[i], 1);
	fail_loop(&scenarios[_i].s, FAIL_RECV, 4);
	fail_loop(&scenarios[_i].s, FAIL_CUT, 4);
	end();
}
END_TEST

/* What cannot be read is the system's fault, and never told to be the client's. */
START_TEST(a_zone_that_cannot_be_read_is_told)
{
	static const struct fail_scenario s = {
		"summary in a new zone", a_summary_in_a_new_zone, ask, is_summed, 8};
	fail_exempt(true);
	start_all();
	must(start_http());
	sign_up();
	fail_loop(&s, FAIL_OPEN, 1);
	fail_loop(&s, FAIL_STAT, 1);
	fail_loop(&s, FAIL_READ, 1);
	stop_all();
}
END_TEST

/* ---- start and end ---- */

static bool starts(void)
{
	fail_exempt(false);
	const bool done = start_http();
	fail_exempt(true);
	return done;
}

static void answers(bool done)
{
	if (!done)
		must(start_http());
	request("GET", "/api/health/live", "", "%s", "");
	must(exchange() == 200);
	stop_http();
}

START_TEST(a_server_that_cannot_start_says_so)
{
	static const struct fail_scenario s = {"starts", NULL, starts, answers, 10};
	static const enum fail_kind start_kinds[] = {FAIL_MEMORY, FAIL_SOCKET, FAIL_OPTION, FAIL_EPOLL,
		FAIL_EVENTFD, FAIL_OPEN, FAIL_RANDOM, FAIL_THREAD, FAIL_LOOKUP, FAIL_POLL, FAIL_READ};
	fail_exempt(true);
	start_all();
	answers(false);
	const int before = fail_open_descriptors();
	for (size_t i = 0; i < sizeof start_kinds / sizeof start_kinds[0]; i++)
		fail_loop(&s, start_kinds[i], 1);
	ck_assert_int_eq(fail_open_descriptors(), before);
	stop_all();
}
END_TEST

/* ---- webhooks ---- */

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
static struct listener here;
static struct uuid hook;

static enum err look_up(const char *host, uint16_t port, struct webhook_addresses *ret)
{
	fail_exempt(true);
	must(strcmp(host, "hook.example.com") == 0);
	ret->at[0] = address4("127.0.0.1", port);
	ret->n = 1;
	fail_exempt(false);
	return ERR_OK;
}

static void add_webhook(const char *host)
{
	char url[128], sealed[SEALED_SIZE];
	static const char *const events[] = {"model.unpriced"};
	snprintf(url, sizeof url, "http://%s:%u/hook", host, here.port);
	hook = uuid_v7(clock_now_us() / US_PER_MS);
	seal_text(seal, &user, &hook, "whsec_test", sealed);
	struct webhook w = {
		.id = hook, .url = url, .events = events, .n_events = 1, .format = "json", .active = true};
	must(webhooks_insert(conn, &user, &w, sealed, &arena) == ERR_OK);
}

static void a_message(void)
{
	next_run();
	must(webhooks_enqueue(conn, &user, "model.unpriced", "{\"message\":\"m\"}", &arena) == ERR_OK);
}

static bool delivered(const char **ret_status)
{
	struct webhook_delivery *rows;
	size_t n = 0;
	must(webhook_deliveries_list(conn, &user, &hook, NULL, 1, &arena, &rows, &n) == ERR_OK);
	*ret_status = n == 1 ? rows[0].status : "none";
	return n == 1 && rows[0].finished_us != 0;
}

static void drop_client(void)
{
	close(here.client);
	here.client = -1;
	here.request_len = 0;
}

/* Answers a request that is whole; one that ended before is forgotten. */
static void listen_once(void)
{
	char byte;
	const bool asked = listener_step(&here);
	if (asked)
		(void)send(here.client, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL);
	if (asked || (here.client >= 0 && recv(here.client, &byte, 1, MSG_PEEK) == 0))
		drop_client();
}

/* Until the newest one has ended, or the time is over. */
static bool deliver(int64_t limit_us)
{
	const int64_t until_us = clock_mono_us() + limit_us;
	const char *status = "";
	while (!delivered(&status) && clock_mono_us() < until_us) {
		gate.next_mono_us = 0;
		listen_once();
		(void)poll(NULL, 0, PAUSE_MS);
	}
	must_be(strcmp(status, "failed") != 0, "given up for what is not its fault");
	return strcmp(status, "delivered") == 0;
}

static bool tries_to_deliver(void)
{
	return deliver(US_PER_SECOND);
}

static void end_leases(void)
{
	static const struct db_stmt stmt = {"fail_leases",
		"UPDATE webhook_deliveries SET leased_until = NULL, next_attempt_at = now()"
		" WHERE status = 'pending'"};
	must(db_run(conn, &stmt, NULL, NULL) == ERR_OK);
}

/* An attempt that could not be noted is over when its lease is: in a minute, which need not be waited for. */
static void is_delivered(bool done)
{
	while (!done) {
		end_leases();
		done = deliver(2 * US_PER_SECOND);
	}
}

static const char *const hosts[] = {"127.0.0.1", "hook.example.com"};
static const enum fail_kind sender_kinds[] = {FAIL_MEMORY, FAIL_RECV, FAIL_SEND, FAIL_CUT, FAIL_POLL,
	FAIL_CONNECT, FAIL_SOCKET, FAIL_OPTION, FAIL_LOOKUP, FAIL_RANDOM};

/* At least once, whatever fails; never given up for what is not the receiver's fault. */
START_TEST(a_webhook_is_delivered_whatever_fails)
{
	static const struct fail_scenario s = {"webhook", a_message, tries_to_deliver, is_delivered, 5};
	fail_exempt(true);
	start_all();
	user = new_user();
	listener_open(&here);
	add_webhook(hosts[_i]);
	const struct webhook_sender_settings sending = {
		.api = &api, .keys = seal, .allow_private = true, .retry_us = 1000, .lookup = look_up};
	must(webhook_sender_start(&sending, &sender) == ERR_OK);
	for (size_t i = 0; i < sizeof sender_kinds / sizeof sender_kinds[0]; i++)
		fail_loop(&s, sender_kinds[i], 1);
	webhook_sender_stop(sender);
	listener_close(&here);
	stop_all();
}
END_TEST

static bool sender_starts(void)
{
	const struct webhook_sender_settings sending = {
		.api = &api, .keys = seal, .allow_private = true, .retry_us = 1000, .lookup = look_up};
	fail_exempt(false);
	const enum err e = webhook_sender_start(&sending, &sender);
	fail_exempt(true);
	must_be(e == ERR_OK || e == ERR_NO_MEMORY, err_code(e));
	return e == ERR_OK;
}

static void sender_stops(bool done)
{
	webhook_sender_stop(done ? sender : NULL);
	must(sender_starts());
	webhook_sender_stop(sender);
}

START_TEST(a_sender_that_cannot_start_says_so)
{
	static const struct fail_scenario s = {"sender starts", NULL, sender_starts, sender_stops, 20};
	fail_exempt(true);
	start_all();
	sender_stops(false);
	const int before = fail_open_descriptors();
	fail_loop(&s, FAIL_MEMORY, 1);
	fail_loop(&s, FAIL_THREAD, 1);
	fail_loop(&s, FAIL_SOCKET, 1);
	ck_assert_int_eq(fail_open_descriptors(), before);
	stop_all();
}
END_TEST

int main(void)
{
	if (!fail_spare_openssl())
		return EXIT_FAILURE;
	Suite *const suite = suite_create("fail_server");
	TCase *const tc = tcase_create("server");
	tcase_add_unchecked_fixture(tc, fixture_start, fixture_stop);
	tcase_add_checked_fixture(tc, test_begin, test_end);
	tcase_set_timeout(tc, FAIL_TEST_S);
	tcase_add_loop_test(tc, what_a_request_is_told_is_so_while_memory_ends, 0, N_SCENARIOS);
	tcase_add_loop_test(tc, what_a_request_is_told_is_so_while_calls_fail, 0, N_SCENARIOS);
	tcase_add_test(tc, a_zone_that_cannot_be_read_is_told);
	tcase_add_test(tc, a_server_that_cannot_start_says_so);
	tcase_add_loop_test(tc, a_webhook_is_delivered_whatever_fails, 0, 2);
	tcase_add_test(tc, a_sender_that_cannot_start_says_so);
	suite_add_tcase(suite, tc);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
