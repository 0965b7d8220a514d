/* The HTTP server in this process over loopback, with handlers of the test: the ways a request can take (at
 * once, parked, executor, slow authentication), the traps of the event loop, bounds and the graceful end. */

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../src/http/internal.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"
#include "llmlab/http/server.h"

/* ---- handlers ---- */

static struct reply say(int status, const char *text)
{
	struct buf b;
	buf_init(&b, 4096);
	buf_printf(&b, "\"%s\"", text);
	return reply_json(status, &b);
}

static struct reply at_once(struct http_request *rq)
{
	(void)rq;
	return say(200, "at once");
}

/* Parked requests are completed by one other thread, many in one sweep: what the ingest writer does. */
static struct {
	pthread_mutex_t lock;
	struct http_request *waiting[4096];
	size_t n;
	atomic_bool stop;
	pthread_t thread;
} completer = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct reply parked(struct http_request *rq)
{
	pthread_mutex_lock(&completer.lock);
	completer.waiting[completer.n++] = rq;
	pthread_mutex_unlock(&completer.lock);
	return reply_parked();
}

static void *complete_all(void *arg)
{
	(void)arg;
	while (!completer.stop) {
		struct http_request *taken[4096];
		pthread_mutex_lock(&completer.lock);
		const size_t n = completer.n;
		memcpy(taken, completer.waiting, n * sizeof taken[0]);
		completer.n = 0;
		pthread_mutex_unlock(&completer.lock);
		for (size_t i = 0; i < n; i++)
			http_complete(taken[i], say(201, taken[i]->body));
		if (n == 0)
			(void)poll(NULL, 0, 1);
	}
	return NULL;
}

static struct reply echo_length(struct http_request *rq)
{
	char text[64];
	(void)snprintf(text, sizeof text, "%zu", rq->body_len);
	return say(200, text);
}

/* Blocks until the gate is opened, to fill the executor. */
static atomic_int gate_waiting;
static atomic_bool gate_open;
static struct reply gated(struct http_request *rq)
{
	(void)rq;
	gate_waiting++;
	while (!gate_open)
		(void)poll(NULL, 0, 1);
	return say(200, "through");
}

static const struct route routes[] = {
	{"at_once", HTTP_GET, "/at-once", ROUTE_PUBLIC, RUN_LOOP, BODY_NONE, at_once},
	{"parked", HTTP_POST, "/parked", ROUTE_PUBLIC, RUN_LOOP, BODY_JSON, parked},
	{"private", HTTP_POST, "/private", ROUTE_INGEST, RUN_LOOP, BODY_JSON, parked},
	{"length", HTTP_POST, "/length", ROUTE_PUBLIC, RUN_EXECUTOR, BODY_EVENTS, echo_length},
	{"gated", HTTP_GET, "/gated", ROUTE_PUBLIC, RUN_EXECUTOR, BODY_NONE, gated},
	{"password", HTTP_GET, "/password", ROUTE_PUBLIC, RUN_PASSWORD, BODY_NONE, gated},
};

/* "good" is known at once, "slow" must be asked of the database, "read" has the wrong scope. */
static enum err authenticate(void *app, const char *token, size_t n, struct principal *ret)
{
	(void)app;
	(void)n;
	if (strcmp(token, "slow") == 0 || strcmp(token, "slow-bad") == 0 || strcmp(token, "slow-down") == 0)
		return ERR_UNAVAILABLE;
	ret->scope = strcmp(token, "read") == 0 ? AUTH_SCOPE_READ : AUTH_SCOPE_FULL;
	return strcmp(token, "good") == 0 || strcmp(token, "read") == 0 ? ERR_OK : ERR_INVALID_TOKEN;
}

static enum err authenticate_blocking(
	void *app, void *worker, const char *token, size_t n, struct principal *ret)
{
	(void)app;
	(void)n;
	ck_assert_ptr_nonnull(worker);
	ret->scope = AUTH_SCOPE_FULL;
	if (strcmp(token, "slow-down") == 0)
		return ERR_DATABASE_UNAVAILABLE;
	return strcmp(token, "slow") == 0 ? ERR_OK : ERR_INVALID_TOKEN;
}

static void *worker_new(void *app)
{
	(void)app;
	return malloc(1);
}

/* The longest that a request has waited for a thread. */
static _Atomic int64_t longest_wait_us;

static void worker_waited(void *worker, int64_t waited_us)
{
	ck_assert_ptr_nonnull(worker);
	if (waited_us > longest_wait_us)
		longest_wait_us = waited_us;
}

/* ---- fixture ---- */

static struct http_server *server;
static struct http_settings settings = {.host = "127.0.0.1",
	.loops = 1,
	.max_connections = 2048,
	.executor_threads = 2,
	.executor_queue = 4,
	.password_threads = 1,
	.password_queue = 4,
	.header_us = 10 * US_PER_SECOND,
	.body_us = 10 * US_PER_SECOND,
	.request_us = 20 * US_PER_SECOND,
	.idle_us = 10 * US_PER_SECOND,
	.max_body_memory_bytes = 1024 * 1024,
	.max_body_bytes = 1024,
	.max_batch_bytes = 4096,
	.cors_origins = "https://a.example"};

static void start(void)
{
	const struct http_hooks hooks = {.routes = routes,
		.n_routes = sizeof routes / sizeof routes[0],
		.authenticate = authenticate,
		.authenticate_blocking = authenticate_blocking,
		.worker_new = worker_new,
		.worker_free = free,
		.worker_waited = worker_waited};
	char message[256];
	ck_assert_msg(
		http_start(&settings, &hooks, &server, message, sizeof message) == ERR_OK, "%s", message);
	completer.stop = false;
	ck_assert_int_eq(pthread_create(&completer.thread, NULL, complete_all, NULL), 0);
}

static void stop(void)
{
	if (server != NULL) {
		ck_assert(http_drain(server, clock_mono_us() + 5 * US_PER_SECOND));
		ck_assert(http_stop(server));
	}
	server = NULL;
	completer.stop = true;
	pthread_join(completer.thread, NULL);
}

static int dial(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(http_port(server)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const struct timeval limit = {.tv_sec = 10};
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static void put(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads one whole answer (headers and Content-Length bytes). Returns the status, 0 if the connection ended
 * first. */
static int answer(int fd, char *out, size_t size)
{
	size_t n = 0;
	for (const char *end = NULL; end == NULL;) {
		const ssize_t seen = recv(fd, out + n, size - 1 - n, MSG_PEEK);
		if (seen <= 0)
			return 0;
		out[n + (size_t)seen] = '\0';
		end = strstr(out, "\r\n\r\n");
		const size_t take = end != NULL ? (size_t)(end + 4 - out) - n : (size_t)seen;
		ck_assert_int_eq(recv(fd, out + n, take, 0), (ssize_t)take);
		n += take;
		out[n] = '\0';
	}
	const char *length = strcasestr(out, "Content-Length: ");
	size_t body = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
	while (body > 0 && n + 1 < size) {
		const ssize_t got = recv(fd, out + n, body, 0);
		if (got <= 0)
			return 0;
		n += (size_t)got;
		body -= (size_t)got;
		out[n] = '\0';
	}
	return (int)strtol(out + 9, NULL, 10);
}

static int exchange(const char *request, char *out, size_t size)
{
	const int fd = dial();
	put(fd, request);
	const int status = answer(fd, out, size);
	close(fd);
	return status;
}

/* ---- tests ---- */

START_TEST(handler_on_the_loop_answers)
{
	char out[4096];
	ck_assert_int_eq(exchange("GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n", out, sizeof out), 200);
	ck_assert_ptr_nonnull(strstr(out, "\"at once\""));
	ck_assert_ptr_nonnull(strstr(out, "X-Content-Type-Options: nosniff"));
	ck_assert_ptr_nonnull(strstr(out, "X-Request-Id: "));
}
END_TEST

START_TEST(handler_that_parks_is_answered_later)
{
	char out[4096];
	ck_assert_int_eq(exchange("POST /parked HTTP/1.1\r\nHost: x\r\nContent-Type: "
				  "application/json\r\nContent-Length: 2\r\n\r\nhi",
				 out, sizeof out),
		201);
	ck_assert_ptr_nonnull(strstr(out, "\"hi\""));
}
END_TEST

/* Facts, section 0: with exactly 128 ready connections 0.9.75's own epoll thread all but stops; a lost resume
 * stands still. */
START_TEST(busy_connections_of_any_number_are_all_served)
{
	static const int counts[] = {1, 127, 128, 129, 256, 1024};
	static int fds[1024];
	const int n = counts[_i];
	char out[4096];
	for (int i = 0; i < n; i++)
		fds[i] = dial();
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < n; i++)
			put(fds[i], "POST /parked HTTP/1.1\r\nHost: x\r\nContent-Type: "
				    "application/json\r\nContent-Length: 1\r\n\r\n1");
		for (int i = 0; i < n; i++)
			ck_assert_int_eq(answer(fds[i], out, sizeof out), 201);
	}
	for (int i = 0; i < n; i++)
		close(fds[i]);
}
END_TEST

struct auth_row {
	const char *header;
	int status;
	const char *code;
};
static const struct auth_row auth_rows[] = {
	{"", 401, "unauthenticated"},
	{"Authorization: Basic good\r\n", 401, "unauthenticated"},
	{"Authorization: Bearer\r\n", 401, "unauthenticated"},
	{"Authorization: Bearer bad\r\n", 401, "invalid_token"},
	{"Authorization: Bearer good\r\n", 201, "1"},
	{"authorization: bearer good\r\n", 201, "1"},
	{"Authorization: Bearer read\r\n", 403, "forbidden"},
	{"Authorization: Bearer slow\r\n", 201, "1"},
	{"Authorization: Bearer slow-bad\r\n", 401, "invalid_token"},
	{"Authorization: Bearer slow-down\r\n", 503, "database_unavailable"},
};

START_TEST(authentication_verdicts_give_their_status)
{
	char request[512], out[4096];
	(void)snprintf(request, sizeof request,
		"POST /private HTTP/1.1\r\nHost: x\r\n%sContent-Type: application/json\r\nContent-Length: "
		"1\r\n\r\n1",
		auth_rows[_i].header);
	ck_assert_int_eq(exchange(request, out, sizeof out), auth_rows[_i].status);
	ck_assert_ptr_nonnull(strstr(out, auth_rows[_i].code));
}
END_TEST

START_TEST(executor_full_refuses_at_once)
{
	int fds[16];
	char out[4096];
	gate_open = false;
	gate_waiting = 0;
	/* 2 threads take one each; then 4 fit into the queue; the others are refused while the gate is closed
	 */
	for (int i = 0; i < 2; i++) {
		fds[i] = dial();
		put(fds[i], "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	while (gate_waiting < 2)
		(void)poll(NULL, 0, 1);
	for (int i = 2; i < 16; i++) {
		fds[i] = dial();
		put(fds[i], "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	while (metric_get(METRIC_REQUESTS_REFUSED_QUEUE) < 10)
		(void)poll(NULL, 0, 1);
	gate_open = true;
	int through = 0, refused = 0;
	for (int i = 0; i < 16; i++) {
		const int status = answer(fds[i], out, sizeof out);
		through += status == 200;
		refused += status == 503 && strstr(out, "Retry-After: ") != NULL;
		close(fds[i]);
	}
	ck_assert_int_eq(through, 6);
	ck_assert_int_eq(refused, 10);
}
END_TEST

static int fill_threads(int fds[2])
{
	gate_open = false;
	gate_waiting = 0;
	for (int i = 0; i < 2; i++) {
		fds[i] = dial();
		put(fds[i], "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	while (gate_waiting < 2)
		(void)poll(NULL, 0, 1);
	return 2;
}

/* Of 4 places bodies of events get one; what asks gets the other three. */
START_TEST(executor_queue_keeps_room_beside_bodies_of_events)
{
	int fds[9];
	char out[4096];
	int n = fill_threads(fds), events_through = 0, reads_through = 0;
	for (; n < 5; n++) {
		fds[n] = dial();
		put(fds[n], "POST /length HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
			    "Content-Length: 2\r\n\r\n[]");
	}
	while (metric_get(METRIC_REQUESTS_REFUSED_QUEUE) < 2)
		(void)poll(NULL, 0, 1);
	for (; n < 9; n++) {
		fds[n] = dial();
		put(fds[n], "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	while (metric_get(METRIC_REQUESTS_REFUSED_QUEUE) < 3)
		(void)poll(NULL, 0, 1);
	gate_open = true;
	for (int i = 0; i < 9; i++) {
		const int status = answer(fds[i], out, sizeof out);
		ck_assert(status == 200 || status == 503);
		*(i >= 2 && i < 5 ? &events_through : &reads_through) += status == 200;
		close(fds[i]);
	}
	ck_assert_int_eq(events_through, 1);
	ck_assert_int_eq(reads_through, 5);
}
END_TEST

/* There are 3 places left, but whoever took one would wait for longer still. */
START_TEST(password_queue_takes_no_more_while_one_has_waited_long)
{
	int fds[2];
	char out[4096];
	gate_open = false;
	gate_waiting = 0;
	for (int i = 0; i < 2; i++) {
		fds[i] = dial();
		put(fds[i], "GET /password HTTP/1.1\r\nHost: x\r\n\r\n");
		while (i == 0 && gate_waiting < 1)
			(void)poll(NULL, 0, 1);
	}
	while (metric_get(METRIC_PASSWORD_QUEUE) < 1)
		(void)poll(NULL, 0, 1);
	const int64_t stale_us = clock_mono_us() + 2 * US_PER_SECOND;
	while (clock_mono_us() <= stale_us)
		(void)poll(NULL, 0, 50);
	ck_assert_int_eq(exchange("GET /password HTTP/1.1\r\nHost: x\r\n\r\n", out, sizeof out), 503);
	ck_assert_int_eq(metric_get(METRIC_PASSWORD_QUEUE), 1);
	gate_open = true;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(answer(fds[i], out, sizeof out), 200);
		close(fds[i]);
	}
	ck_assert_int_eq(exchange("GET /password HTTP/1.1\r\nHost: x\r\n\r\n", out, sizeof out), 200);
}
END_TEST

START_TEST(executor_tells_how_long_a_request_has_waited)
{
	int fds[3];
	char out[4096];
	/* those that fill the threads wait, too, for a moment */
	const int64_t begin_us = clock_mono_us();
	const int n = fill_threads(fds);
	fds[n] = dial();
	put(fds[n], "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
	while (metric_get(METRIC_EXECUTOR_QUEUE) < 1)
		(void)poll(NULL, 0, 1);
	const int64_t queued_us = clock_mono_us();
	(void)poll(NULL, 0, 5);
	const int64_t opened_us = clock_mono_us();
	gate_open = true;
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(answer(fds[i], out, sizeof out), 200);
		close(fds[i]);
	}
	ck_assert_int_ge(longest_wait_us, opened_us - queued_us);
	ck_assert_int_le(longest_wait_us, clock_mono_us() - begin_us);
}
END_TEST

/* By hand: 2 threads that take a quarter of 2 processors work a quarter of the time, so they rest three times
 * as long as they work; one thread of 2: half of the time, as long as it works; one of 4 or more never. */
static const struct {
	int64_t worked_us;
	unsigned threads, processors;
	int64_t rest_us;
} rests[] = {
	{40000, 2, 2, 120000},
	{40000, 1, 2, 40000},
	{40000, 1, 1, 120000},
	{40000, 2, 1, 280000},
	{40000, 1, 4, 0},
	{40000, 2, 8, 0},
	{40000, 2, 64, 0},
	{40000, 4, 3, 173333},	 /* 13 thirds */
	{1000000, 2, 2, 500000}, /* whatever held it up */
	{0, 2, 2, 0},
};

START_TEST(executor_rest_leaves_three_quarters_to_others)
{
	ck_assert_int_eq(executor_rest_us(rests[_i].worked_us, rests[_i].threads, rests[_i].processors),
		rests[_i].rest_us);
}
END_TEST

/* a.gz: printf '[1,2,3]' | gzip -n, 27 bytes */
static const unsigned char gzipped[] = {0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0x03, 0x8b, 0x36, 0xd4, 0x31,
	0xd2, 0x31, 0x8e, 0x05, 0, 0xe9, 0xb3, 0x6d, 0xfd, 0x07, 0, 0, 0};

START_TEST(gzip_body_is_inflated)
{
	char out[4096];
	const int fd = dial();
	char head[256];
	(void)snprintf(head, sizeof head,
		"POST /length HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: "
		"gzip\r\nContent-Length: %zu\r\n\r\n",
		sizeof gzipped);
	put(fd, head);
	ck_assert_int_eq(send(fd, gzipped, sizeof gzipped, 0), (ssize_t)sizeof gzipped);
	ck_assert_int_eq(answer(fd, out, sizeof out), 200);
	ck_assert_ptr_nonnull(strstr(out, "\"7\""));
	close(fd);
}
END_TEST

START_TEST(gzip_body_that_is_not_gzip_is_refused)
{
	char out[4096];
	ck_assert_int_eq(exchange("POST /length HTTP/1.1\r\nHost: x\r\nContent-Type: "
				  "application/json\r\nContent-Encoding: gzip\r\n"
				  "Content-Length: 7\r\n\r\n[1,2,3]",
				 out, sizeof out),
		400);
}
END_TEST

START_TEST(body_over_the_limit_is_refused_before_it_is_sent)
{
	char out[4096];
	/* no body byte is sent: the answer comes all the same, without 100 Continue, and the connection ends
	 */
	const int fd = dial();
	put(fd, "POST /parked HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: "
		"100-continue\r\nContent-Length: 1025\r\n\r\n");
	ck_assert_int_eq(answer(fd, out, sizeof out), 413);
	ck_assert_int_eq(recv(fd, out, sizeof out, 0), 0);
	close(fd);
}
END_TEST

START_TEST(chunked_body_over_the_limit_is_cut)
{
	char out[4096], chunk[1100];
	const int fd = dial();
	put(fd, "POST /parked HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: "
		"chunked\r\n\r\n");
	memset(chunk, 'x', sizeof chunk);
	put(fd, "44c\r\n"); /* 1,100 */
	ck_assert_int_eq(send(fd, chunk, sizeof chunk, 0), (ssize_t)sizeof chunk);
	put(fd, "\r\n0\r\n\r\n");
	ck_assert_int_eq(answer(fd, out, sizeof out), 413);
	ck_assert_int_eq(recv(fd, out, sizeof out, 0), 0);
	close(fd);
}
END_TEST

START_TEST(refused_request_with_a_small_body_keeps_the_connection)
{
	char out[4096];
	const int fd = dial();
	for (int i = 0; i < 3; i++) {
		put(fd, "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
		ck_assert_int_eq(answer(fd, out, sizeof out), 404);
	}
	put(fd, "GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert_int_eq(answer(fd, out, sizeof out), 200);
	close(fd);
}
END_TEST

START_TEST(cors_is_for_the_exact_origin_only)
{
	char out[4096];
	ck_assert_int_eq(exchange("GET /at-once HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\r\n",
				 out, sizeof out),
		200);
	ck_assert_ptr_nonnull(strstr(out, "Access-Control-Allow-Origin: https://a.example\r\n"));
	ck_assert_int_eq(
		exchange("GET /at-once HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example.evil\r\n\r\n", out,
			sizeof out),
		200);
	ck_assert_ptr_null(strstr(out, "Access-Control-Allow-Origin"));
	ck_assert_int_eq(exchange("OPTIONS /parked HTTP/1.1\r\nHost: x\r\nOrigin: "
				  "https://a.example\r\nAccess-Control-Request-Method: POST\r\n\r\n",
				 out, sizeof out),
		204);
	ck_assert_ptr_nonnull(strstr(out, "Access-Control-Allow-Methods: POST, OPTIONS\r\n"));
}
END_TEST

static void *stop_now(void *arg)
{
	bool *clean = arg;
	*clean = http_drain(server, clock_mono_us() + 10 * US_PER_SECOND);
	*clean = http_stop(server) && *clean;
	return NULL;
}

/* Facts, section 2: stopping alone drops work in flight and aborts with a suspended connection. */
START_TEST(stop_answers_what_runs_and_closes_what_idles)
{
	char out[4096];
	gate_open = false;
	gate_waiting = 0;
	const int idle = dial();
	put(idle, "GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert_int_eq(answer(idle, out, sizeof out), 200);
	const int running = dial();
	put(running, "GET /gated HTTP/1.1\r\nHost: x\r\n\r\n");
	const int half = dial();
	put(half, "POST /length HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
		  "4\r\n\r\n12");
	while (gate_waiting < 1)
		(void)poll(NULL, 0, 1);
	bool clean = false;
	pthread_t stopper;
	ck_assert_int_eq(pthread_create(&stopper, NULL, stop_now, &clean), 0);
	ck_assert_int_eq(recv(idle, out, sizeof out, 0), 0); /* the idle one is closed */
	put(half, "34");
	ck_assert_int_eq(answer(half, out, sizeof out), 200);
	ck_assert_ptr_nonnull(strstr(out, "Connection: close"));
	gate_open = true;
	ck_assert_int_eq(answer(running, out, sizeof out), 200);
	pthread_join(stopper, NULL);
	ck_assert(clean);
	server = NULL;
	close(idle);
	close(running);
	close(half);
}
END_TEST

static void short_deadlines(void)
{
	settings.header_us = 300 * US_PER_MS;
	settings.body_us = 300 * US_PER_MS;
	settings.idle_us = 300 * US_PER_MS;
	start();
}

static const char *const slow_starts[] = {"", "GET /at", "GET /at-once HTTP/1.1\r\nHost: x\r\nX-A: ",
	"POST /length HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n1",
	"GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n"};

/* Facts, section 2: the library's own timeout is inactivity only; a byte now and then lives for ever. */
START_TEST(slow_client_is_cut_at_the_deadline)
{
	char out[4096];
	const int fd = dial();
	put(fd, slow_starts[_i]);
	const int64_t begin_us = clock_mono_us();
	while (clock_mono_us() - begin_us < 5 * US_PER_SECOND) {
		const struct timeval tick = {.tv_usec = 50000};
		ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick), 0);
		const ssize_t got = recv(fd, out, sizeof out, 0);
		if (got == 0 || (got < 0 && errno == ECONNRESET))
			break;
		if (got < 0 && _i != 4)
			(void)send(fd, "x", 1, MSG_NOSIGNAL);
	}
	ck_assert_int_lt(clock_mono_us() - begin_us, 5 * US_PER_SECOND);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http server");
	TCase *t = tcase_create("server");
	tcase_add_checked_fixture(t, start, stop);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, handler_on_the_loop_answers);
	tcase_add_test(t, handler_that_parks_is_answered_later);
	tcase_add_loop_test(t, busy_connections_of_any_number_are_all_served, 0, 6);
	tcase_add_loop_test(t, authentication_verdicts_give_their_status, 0,
		(int)(sizeof auth_rows / sizeof auth_rows[0]));
	tcase_add_test(t, executor_full_refuses_at_once);
	tcase_add_test(t, executor_queue_keeps_room_beside_bodies_of_events);
	tcase_add_test(t, password_queue_takes_no_more_while_one_has_waited_long);
	tcase_add_test(t, executor_tells_how_long_a_request_has_waited);
	tcase_add_loop_test(
		t, executor_rest_leaves_three_quarters_to_others, 0, sizeof rests / sizeof rests[0]);
	tcase_add_test(t, gzip_body_is_inflated);
	tcase_add_test(t, gzip_body_that_is_not_gzip_is_refused);
	tcase_add_test(t, body_over_the_limit_is_refused_before_it_is_sent);
	tcase_add_test(t, chunked_body_over_the_limit_is_cut);
	tcase_add_test(t, refused_request_with_a_small_body_keeps_the_connection);
	tcase_add_test(t, cors_is_for_the_exact_origin_only);
	tcase_add_test(t, stop_answers_what_runs_and_closes_what_idles);
	suite_add_tcase(s, t);
	TCase *slow = tcase_create("deadlines");
	tcase_add_checked_fixture(slow, short_deadlines, stop);
	tcase_add_loop_test(slow, slow_client_is_cut_at_the_deadline, 0,
		(int)(sizeof slow_starts / sizeof slow_starts[0]));
	suite_add_tcase(s, slow);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
