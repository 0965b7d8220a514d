/* Requests that ask the same, answered together: which they are, who gets which answer, and that nobody is
 * forgotten or told what was true before he asked. */

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../src/http/internal.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/metrics.h"

#define ANSWER_BYTES 4096
#define QUARTER_US   (15 * US_PER_MINUTE)

/* ---- handlers ---- */

/* What the answers are about: what anybody was told is stored must be in what he asks for next. */
static atomic_int stored;
static atomic_int runs;	       /* of the handler below */
static atomic_int runs_let_go; /* so many of them may end */
static atomic_int blocked;     /* threads that wait in the other handler */
static atomic_bool unblocked;
static atomic_int authenticated;

static struct reply in_kind(const char *kind, struct http_request *rq, struct buf *body)
{
	if (strcmp(kind, "fixed") == 0)
		return reply_fixed(200, "application/json", "\"fixed\"", 7);
	if (strcmp(kind, "empty") == 0)
		return reply_empty(200);
	if (strcmp(kind, "missing") == 0)
		return reply_error(rq, ERR_NOT_FOUND, NULL);
	if (strcmp(kind, "down") == 0)
		return reply_error(rq, ERR_DATABASE_UNAVAILABLE, "the leader's");
	if (strcmp(kind, "parked") == 0)
		return reply_parked();
	return reply_json(200, body);
}

/* "r<run> u<first byte of the user> s<stored>", or as the query says. */
static struct reply question(struct http_request *rq)
{
	const int seen = stored;
	const int run = ++runs;
	while (runs_let_go < run)
		(void)poll(NULL, 0, 1);
	struct buf body;
	buf_init(&body, ANSWER_BYTES);
	const char *const kind = http_query_get(rq, "kind");
	if (kind == NULL)
		buf_printf(&body, "\"r%d u%d s%d\"", run, rq->principal.user_id.bytes[0], seen);
	struct reply r = in_kind(kind != NULL ? kind : "", rq, &body);
	if (!r.parked)
		reply_set_header(&r, "X-Run", "%d", run);
	return r;
}

static struct reply block(struct http_request *rq)
{
	(void)rq;
	blocked++;
	while (!unblocked)
		(void)poll(NULL, 0, 1);
	return reply_empty(204);
}

static struct reply at_once(struct http_request *rq)
{
	(void)rq;
	return reply_empty(204);
}

static const struct route routes[] = {
	{"question", HTTP_GET, "/question", ROUTE_READ, RUN_SHARED, BODY_NONE, question},
	{"other", HTTP_GET, "/other", ROUTE_READ, RUN_SHARED, BODY_NONE, question},
	{"block", HTTP_GET, "/block", ROUTE_PUBLIC, RUN_EXECUTOR, BODY_NONE, block},
	{"at_once", HTTP_GET, "/at-once", ROUTE_PUBLIC, RUN_LOOP, BODY_NONE, at_once},
};

/* The token's first letter is the user; of "a-slow" the database must be asked. */
static enum err authenticate(void *app, const char *token, size_t n, struct principal *ret)
{
	(void)app;
	(void)n;
	authenticated++;
	if (strcmp(token, "a-slow") == 0)
		return ERR_UNAVAILABLE;
	ret->scope = AUTH_SCOPE_READ;
	ret->user_id.bytes[0] = (uint8_t)token[0];
	return token[0] == 'a' || token[0] == 'b' ? ERR_OK : ERR_INVALID_TOKEN;
}

static enum err authenticate_blocking(
	void *app, void *worker, const char *token, size_t n, struct principal *ret)
{
	(void)app;
	(void)worker;
	(void)n;
	ret->scope = AUTH_SCOPE_READ;
	ret->user_id.bytes[0] = (uint8_t)token[0];
	return ERR_OK;
}

static void *worker_new(void *app)
{
	(void)app;
	return malloc(1);
}

/* ---- fixture ---- */

static struct http_server *server;
static struct http_settings settings = {.host = "127.0.0.1",
	.loops = 1,
	.max_connections = 256,
	.executor_threads = 2,
	.executor_queue = 8,
	.shared_hold_us = 600 * US_PER_SECOND,
	.header_us = 20 * US_PER_SECOND,
	.body_us = 20 * US_PER_SECOND,
	.request_us = 20 * US_PER_SECOND,
	.idle_us = 20 * US_PER_SECOND,
	.max_body_memory_bytes = 1024 * 1024,
	.max_body_bytes = 1024,
	.max_batch_bytes = 4096};

static void start(void)
{
	const struct http_hooks hooks = {.routes = routes,
		.n_routes = sizeof routes / sizeof routes[0],
		.authenticate = authenticate,
		.authenticate_blocking = authenticate_blocking,
		.worker_new = worker_new,
		.worker_free = free};
	char message[256];
	ck_assert_msg(
		http_start(&settings, &hooks, &server, message, sizeof message) == ERR_OK, "%s", message);
}

static void start_with_a_short_hold(void)
{
	settings.shared_hold_us = 20 * US_PER_MS;
	start();
}

static void start_wide(void)
{
	settings.loops = 2;
	settings.executor_threads = 4;
	settings.executor_queue = 64;
	settings.shared_hold_us = US_PER_MS;
	runs_let_go = INT32_MAX;
	start();
}

static void stop(void)
{
	if (server == NULL)
		return;
	ck_assert(http_drain(server, clock_mono_us() + 10 * US_PER_SECOND));
	ck_assert(http_stop(server));
	server = NULL;
}

/* ---- client ---- */

static int dial(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(http_port(server)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const struct timeval limit = {.tv_sec = 30};
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static void put(int fd, const char *method, const char *target, const char *token)
{
	char text[256];
	const int n = snprintf(text, sizeof text,
		"%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", method, target, token);
	ck_assert_int_eq(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
}

struct answer {
	int status;
	char head[ANSWER_BYTES];
	char body[ANSWER_BYTES];
};

static void receive(int fd, char *out, size_t n)
{
	ck_assert_int_eq(n > 0 ? recv(fd, out, n, MSG_WAITALL) : 0, (ssize_t)n);
	out[n] = '\0';
}

/* Up to the empty line; what comes behind stays in the socket. */
static void get_head(int fd, struct answer *a)
{
	size_t n = 0;
	a->body[0] = '\0';
	for (const char *end = NULL; end == NULL;) {
		const ssize_t seen = recv(fd, a->head + n, sizeof a->head - 1 - n, MSG_PEEK);
		ck_assert_int_gt(seen, 0);
		a->head[n + (size_t)seen] = '\0';
		end = strstr(a->head, "\r\n\r\n");
		const size_t take = end != NULL ? (size_t)(end + 4 - a->head) - n : (size_t)seen;
		receive(fd, a->head + n, take);
		n += take;
	}
	a->status = (int)strtol(a->head + 9, NULL, 10);
}

/* The value of a header, into a buffer of the caller's. */
static const char *header(const struct answer *a, const char *name, char out[128])
{
	const char *const at = strcasestr(a->head, name);
	ck_assert_ptr_nonnull(at);
	(void)snprintf(out, 128, "%.*s", (int)strcspn(at + strlen(name) + 2, "\r"), at + strlen(name) + 2);
	return out;
}

static size_t content_length(const struct answer *a)
{
	char text[128];
	return strtoul(header(a, "Content-Length", text), NULL, 10);
}

static void get(int fd, struct answer *a)
{
	get_head(fd, a);
	if (a->status != 204)
		receive(fd, a->body, content_length(a));
}

static int ask(const char *method, const char *target, const char *token)
{
	const int fd = dial();
	put(fd, method, target, token);
	return fd;
}

static int status_of(int fd)
{
	struct answer a;
	get(fd, &a);
	(void)close(fd);
	return a.status;
}

/* A token is looked at by the loop on its way to the executor. When it answers something else afterwards, all
 * requests whose tokens were seen are there. */
static void wait_until_asked(int n)
{
	while (authenticated < n)
		(void)poll(NULL, 0, 1);
	ck_assert_int_eq(status_of(ask("GET", "/at-once", "-")), 204);
}

/* Keeps both threads from the queue. */
static void block_threads(int fds[2])
{
	for (int i = 0; i < 2; i++)
		fds[i] = ask("GET", "/block", "-");
	while (blocked < 2)
		(void)poll(NULL, 0, 1);
}

static void unblock_threads(const int fds[2])
{
	unblocked = true;
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(status_of(fds[i]), 204);
}

static void wait_for_run(int n)
{
	while (runs < n)
		(void)poll(NULL, 0, 1);
}

/* ---- the same question ---- */

static char days_30[] = "/question?days=30", days_3[] = "/question?days=3";

static struct call call_a(void)
{
	return (struct call){.rq = {.route = &routes[0],
				     .principal = {.user_id = {{1}}},
				     .received_us = 1000 * QUARTER_US},
		.uri = days_30};
}

START_TEST(shared_same_route_user_target_and_quarter_is_the_same)
{
	struct call a = call_a(), b = call_a();
	ck_assert(shared_same(&a, &b));
	b.rq.head = true;
	b.rq.principal.token_id.bytes[0] = 9;
	b.rq.received_us += QUARTER_US - 1;
	ck_assert(shared_same(&a, &b));
}
END_TEST

START_TEST(shared_same_anything_else_is_another_question)
{
	const struct call a = call_a();
	struct call b = call_a();
	b.rq.route = &routes[1];
	ck_assert(!shared_same(&a, &b));
	b = call_a();
	b.rq.principal.user_id.bytes[15] = 1;
	ck_assert(!shared_same(&a, &b));
	b = call_a();
	b.rq.received_us += QUARTER_US; /* the first moment of the next one */
	ck_assert(!shared_same(&a, &b));
	b.rq.received_us = a.rq.received_us - 1;
	ck_assert(!shared_same(&a, &b));
	b = call_a();
	b.uri = days_3;
	ck_assert(!shared_same(&a, &b));
}
END_TEST

START_TEST(shared_allows_only_what_is_known_and_not_alone)
{
	struct call a = call_a();
	ck_assert(shared_allows(&a));
	a.auth_pending = true;
	ck_assert(!shared_allows(&a));
	a = call_a();
	a.alone = true;
	ck_assert(!shared_allows(&a));
	a = call_a();
	a.rq.route = &routes[2];
	ck_assert(!shared_allows(&a));
}
END_TEST

/* A range that ends now must reach to where the last of them asked. */
START_TEST(shared_follow_asks_for_the_latest_moment)
{
	struct call leader = call_a(), late = call_a(), early = call_a();
	late.rq.received_us += 5;
	early.rq.received_us += 3;
	shared_follow(&leader, &late);
	shared_follow(&leader, &early);
	ck_assert_int_eq(leader.rq.received_us, 1000 * QUARTER_US + 5);
	ck_assert_ptr_eq(leader.followers, &early);
	ck_assert_ptr_eq(early.next, &late);
	ck_assert_ptr_null(late.next);
}
END_TEST

/* ---- who gets which answer ---- */

/* 5 ask before the first run begins, 4 while it runs: two runs, and nobody of the 4 gets the first. */
START_TEST(question_begun_is_not_joined_but_the_next_one_is)
{
	int threads[2], fds[9];
	char ids[9][128], run[128];
	struct answer a;
	block_threads(threads);
	for (int i = 0; i < 5; i++)
		fds[i] = ask("GET", "/question", "a");
	wait_until_asked(5);
	ck_assert_int_eq(metric_get(METRIC_EXECUTOR_QUEUE), 1);
	unblock_threads(threads);
	wait_for_run(1);
	stored = 7;
	for (int i = 5; i < 9; i++)
		fds[i] = ask("GET", "/question", "a");
	wait_until_asked(9);
	ck_assert_int_eq(metric_get(METRIC_EXECUTOR_QUEUE), 1);
	ck_assert_int_eq(metric_get(METRIC_EXECUTOR_BUSY), 1); /* the other thread leaves it alone */
	runs_let_go = 2;
	for (int i = 0; i < 9; i++) {
		get(fds[i], &a);
		ck_assert_int_eq(a.status, 200);
		ck_assert_str_eq(a.body, i < 5 ? "\"r1 u97 s0\"" : "\"r2 u97 s7\"");
		ck_assert_str_eq(header(&a, "X-Run", run), i < 5 ? "1" : "2");
		ck_assert_ptr_nonnull(strstr(a.head, "Content-Type: application/json\r\n"));
		(void)header(&a, "X-Request-Id", ids[i]);
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(ids[i], ids[j]);
		(void)close(fds[i]);
	}
	ck_assert_int_eq(runs, 2);
	ck_assert_int_eq(metric_get(METRIC_REQUESTS_SHARED), 4 + 3);
	ck_assert_int_eq(metric_get(METRIC_EXECUTOR_QUEUE), 0);
}
END_TEST

static const char *const others[][2] = {
	{"/question", "b"}, {"/question?", "a"}, {"/other", "a"}, {"/question", "a-slow"}};

START_TEST(question_that_nobody_else_asks_waits_for_nobody)
{
	const int first = ask("GET", "/question", "a");
	wait_for_run(1);
	const int second = ask("GET", others[_i][0], others[_i][1]);
	wait_for_run(2); /* the first has not ended */
	runs_let_go = 2;
	ck_assert_int_eq(status_of(first), 200);
	ck_assert_int_eq(status_of(second), 200);
	ck_assert_int_eq(metric_get(METRIC_REQUESTS_SHARED), 0);
}
END_TEST

/* Two users, three targets, a token that is not known yet: 5 runs for 6 requests; HEAD gets what GET got. */
START_TEST(questions_that_differ_are_answered_apart)
{
	static const char *const asked[][3] = {{"GET", "/question", "a"}, {"GET", "/question", "b"},
		{"GET", "/question?", "a"}, {"GET", "/other", "a"}, {"GET", "/question", "a-slow"},
		{"HEAD", "/question", "a"}};
	int threads[2], fds[6];
	struct answer a;
	char expected[256], run[6][128];
	block_threads(threads);
	for (int i = 0; i < 6; i++)
		fds[i] = ask(asked[i][0], asked[i][1], asked[i][2]);
	wait_until_asked(6);
	ck_assert_int_eq(metric_get(METRIC_EXECUTOR_QUEUE), 5);
	runs_let_go = 5;
	unblock_threads(threads);
	for (int i = 0; i < 6; i++) {
		(i < 5 ? get : get_head)(fds[i], &a);
		ck_assert_int_eq(a.status, 200);
		(void)header(&a, "X-Run", run[i]);
		(void)snprintf(expected, sizeof expected, "\"r%s u%d s0\"", run[i], asked[i][2][0]);
		ck_assert_uint_eq(content_length(&a), strlen(expected));
		ck_assert_str_eq(a.body, i < 5 ? expected : "");
	}
	ck_assert_str_eq(run[5], run[0]);
	ck_assert_int_eq(runs, 5);
	ck_assert_int_eq(metric_get(METRIC_REQUESTS_SHARED), 1);
	put(fds[5], "GET", "/at-once", "-"); /* no byte of a body was left in the way */
	ck_assert_int_eq(status_of(fds[5]), 204);
	for (int i = 0; i < 5; i++)
		(void)close(fds[i]);
}
END_TEST

/* Whoever waits because the same runs does not while a thread could run it: not for long. */
START_TEST(question_is_held_for_a_bounded_time)
{
	struct answer a;
	const int first = ask("GET", "/question", "a");
	wait_for_run(1);
	const int second = ask("GET", "/question", "a");
	wait_for_run(2); /* the first has not ended */
	runs_let_go = 2;
	get(first, &a);
	ck_assert_str_eq(a.body, "\"r1 u97 s0\"");
	get(second, &a);
	ck_assert_str_eq(a.body, "\"r2 u97 s0\"");
	(void)close(first);
	(void)close(second);
}
END_TEST

/* ---- kinds of answers ---- */

/* Four ask the same, and the first run may end. */
static void ask_four(const char *target, int fds[4])
{
	int threads[2];
	block_threads(threads);
	for (int i = 0; i < 4; i++)
		fds[i] = ask("GET", target, "a");
	wait_until_asked(4);
	ck_assert_int_eq(metric_get(METRIC_EXECUTOR_QUEUE), 1);
	runs_let_go = 1;
	unblock_threads(threads);
}

static void get_four(const int fds[4], struct answer answers[4])
{
	for (int i = 0; i < 4; i++) {
		get(fds[i], &answers[i]);
		(void)close(fds[i]);
	}
}

static const char *const plain[][2] = {{"/question?kind=fixed", "\"fixed\""}, {"/question?kind=empty", ""}};

START_TEST(answer_without_bytes_of_its_own_is_shared)
{
	struct answer answers[4];
	int fds[4];
	ask_four(plain[_i][0], fds);
	get_four(fds, answers);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(answers[i].status, 200);
		ck_assert_str_eq(answers[i].body, plain[_i][1]);
	}
	ck_assert_int_eq(runs, 1);
	ck_assert_int_eq(metric_get(METRIC_REQUESTS_SHARED), 3);
}
END_TEST

/* A refusal carries the id of the request that it answers. */
static void has_own_id(const struct answer *a, const char *code)
{
	char id[128], told[160];
	(void)snprintf(told, sizeof told, "\"request_id\":\"%s\"", header(a, "X-Request-Id", id));
	ck_assert_ptr_nonnull(strstr(a->body, told));
	ck_assert_ptr_nonnull(strstr(a->body, code));
}

START_TEST(refusal_is_not_shared)
{
	struct answer answers[4];
	int fds[4];
	ask_four("/question?kind=missing", fds);
	wait_for_run(3); /* two of the others, neither of which waits for the other */
	runs_let_go = 4;
	get_four(fds, answers);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(answers[i].status, 404);
		has_own_id(&answers[i], "\"not_found\"");
	}
	ck_assert_int_eq(runs, 4);
	ck_assert_int_eq(metric_get(METRIC_REQUESTS_SHARED), 0);
}
END_TEST

START_TEST(failure_is_told_to_each)
{
	struct answer answers[4];
	int fds[4];
	char seconds[128];
	ask_four("/question?kind=down", fds);
	get_four(fds, answers);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(answers[i].status, 503);
		ck_assert_str_eq(header(&answers[i], "Retry-After", seconds), "1");
		has_own_id(&answers[i], "\"database_unavailable\"");
	}
	ck_assert_int_eq(runs, 1);
	ck_assert_int_eq(metric_get(METRIC_REQUESTS_SHARED), 3);
}
END_TEST

START_TEST(parking_a_shared_question_is_a_defect)
{
	runs_let_go = 1;
	(void)status_of(ask("GET", "/question?kind=parked", "a"));
}
END_TEST

/* ---- nobody is forgotten ---- */

/* The queue has 8 places: the question takes one, whoever follows none. */
START_TEST(full_queue_takes_those_that_follow)
{
	int threads[2], fds[16], more[7];
	struct answer a;
	block_threads(threads);
	for (int i = 0; i < 8; i++)
		fds[i] = ask("GET", "/question", "a");
	wait_until_asked(8);
	for (int i = 0; i < 7; i++)
		more[i] = ask("GET", "/block", "-");
	while (metric_get(METRIC_EXECUTOR_QUEUE) < 8)
		(void)poll(NULL, 0, 1);
	ck_assert_int_eq(status_of(ask("GET", "/block", "-")), 503);
	ck_assert_int_eq(status_of(ask("GET", "/question", "b")), 503);
	for (int i = 8; i < 16; i++)
		fds[i] = ask("GET", "/question", "a");
	wait_until_asked(8 + 1 + 8);
	runs_let_go = 1;
	unblock_threads(threads);
	for (int i = 0; i < 16; i++) {
		get(fds[i], &a);
		ck_assert_str_eq(a.body, "\"r1 u97 s0\"");
		(void)close(fds[i]);
	}
	for (int i = 0; i < 7; i++)
		ck_assert_int_eq(status_of(more[i]), 204);
	ck_assert_int_eq(metric_get(METRIC_REQUESTS_REFUSED_QUEUE), 2);
}
END_TEST

/* A request that waits for more than 5 s is refused instead of run. */
START_TEST(question_that_waited_too_long_is_refused_with_its_followers)
{
	int threads[2], fds[3];
	block_threads(threads);
	for (int i = 0; i < 3; i++)
		fds[i] = ask("GET", "/question", "a");
	wait_until_asked(3);
	const int64_t late_us = clock_mono_us() + 5 * US_PER_SECOND;
	while (clock_mono_us() <= late_us)
		(void)poll(NULL, 0, 50);
	unblock_threads(threads);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(status_of(fds[i]), 503);
	ck_assert_int_eq(runs, 0);
	ck_assert_int_eq(metric_get(METRIC_REQUESTS_REFUSED_QUEUE), 3);
	ck_assert_int_eq(metric_get(METRIC_EXECUTOR_BUSY), 0);
}
END_TEST

/* The one that leads (0) or one that follows (1) goes away. */
START_TEST(client_that_goes_away_takes_no_answer_with_it)
{
	int threads[2], fds[3];
	struct answer a;
	block_threads(threads);
	for (int i = 0; i < 3; i++) {
		fds[i] = ask("GET", "/question", "a");
		wait_until_asked(i + 1);
	}
	(void)close(fds[_i]);
	runs_let_go = 1;
	unblock_threads(threads);
	for (int i = 0; i < 3; i++) {
		if (i == _i)
			continue;
		get(fds[i], &a);
		ck_assert_str_eq(a.body, "\"r1 u97 s0\"");
		(void)close(fds[i]);
	}
	ck_assert_int_eq(metric_get(METRIC_REQUESTS_SHARED), 2);
}
END_TEST

static void *stop_now(void *arg)
{
	bool *clean = arg;
	*clean = http_drain(server, clock_mono_us() + 20 * US_PER_SECOND);
	*clean = http_stop(server) && *clean;
	return NULL;
}

/* Three are answered by the run that has begun, three by the one that is held. */
START_TEST(stop_answers_leaders_and_followers)
{
	int threads[2], fds[6];
	struct answer a;
	bool clean = false;
	pthread_t stopper;
	block_threads(threads);
	for (int i = 0; i < 3; i++)
		fds[i] = ask("GET", "/question", "a");
	wait_until_asked(3);
	unblock_threads(threads);
	wait_for_run(1);
	for (int i = 3; i < 6; i++)
		fds[i] = ask("GET", "/question", "a");
	wait_until_asked(6);
	ck_assert_int_eq(pthread_create(&stopper, NULL, stop_now, &clean), 0);
	runs_let_go = 2;
	for (int i = 0; i < 6; i++) {
		get(fds[i], &a);
		ck_assert_str_eq(a.body, i < 3 ? "\"r1 u97 s0\"" : "\"r2 u97 s0\"");
		(void)close(fds[i]);
	}
	pthread_join(stopper, NULL);
	server = NULL;
	ck_assert(clean);
}
END_TEST

/* ---- what was told is in what is asked next ---- */

#define ASKERS 16
#define ROUNDS 300

struct asker {
	pthread_t thread;
	int user; /* 'a' or 'b' */
	int stale, foreign;
};

static void *ask_again_and_again(void *arg)
{
	struct asker *self = arg;
	const char token[2] = {(char)self->user, '\0'};
	struct answer a;
	const int fd = dial();
	for (int i = 0; i < ROUNDS; i++) {
		const int told = i % 4 == 0 ? ++stored : stored;
		int run = 0, user = 0, seen = -1;
		put(fd, "GET", "/question", token);
		get(fd, &a);
		/* NOLINTNEXTLINE(cert-err34-c): what is not there stays as it is, and is wrong */
		(void)sscanf(a.body, "\"r%d u%d s%d\"", &run, &user, &seen);
		self->stale += seen < told;
		self->foreign += user != self->user;
	}
	(void)close(fd);
	return NULL;
}

START_TEST(answers_hold_what_was_stored_before_they_were_asked_for)
{
	static struct asker askers[ASKERS];
	for (int i = 0; i < ASKERS; i++) {
		askers[i] = (struct asker){.user = i % 2 == 0 ? 'a' : 'b'};
		ck_assert_int_eq(pthread_create(&askers[i].thread, NULL, ask_again_and_again, &askers[i]), 0);
	}
	for (int i = 0; i < ASKERS; i++) {
		pthread_join(askers[i].thread, NULL);
		ck_assert_int_eq(askers[i].stale, 0);
		ck_assert_int_eq(askers[i].foreign, 0);
	}
	ck_assert_int_gt(metric_get(METRIC_REQUESTS_SHARED), 0);
	ck_assert_int_eq(metric_get(METRIC_REQUESTS_SHARED) + runs, ASKERS * ROUNDS);
}
END_TEST

static TCase *cases(Suite *s, const char *name, void (*begin)(void))
{
	TCase *t = tcase_create(name);
	tcase_add_checked_fixture(t, begin, stop);
	tcase_set_timeout(t, 120);
	suite_add_tcase(s, t);
	return t;
}

int main(void)
{
	Suite *s = suite_create("http shared");
	TCase *same = tcase_create("same");
	tcase_add_test(same, shared_same_route_user_target_and_quarter_is_the_same);
	tcase_add_test(same, shared_same_anything_else_is_another_question);
	tcase_add_test(same, shared_allows_only_what_is_known_and_not_alone);
	tcase_add_test(same, shared_follow_asks_for_the_latest_moment);
	suite_add_tcase(s, same);
	TCase *t = cases(s, "server", start);
	tcase_add_test(t, question_begun_is_not_joined_but_the_next_one_is);
	tcase_add_loop_test(t, question_that_nobody_else_asks_waits_for_nobody, 0, 4);
	tcase_add_test(t, questions_that_differ_are_answered_apart);
	tcase_add_loop_test(t, answer_without_bytes_of_its_own_is_shared, 0, 2);
	tcase_add_test(t, refusal_is_not_shared);
	tcase_add_test(t, failure_is_told_to_each);
	tcase_add_test_raise_signal(t, parking_a_shared_question_is_a_defect, SIGABRT);
	tcase_add_test(t, full_queue_takes_those_that_follow);
	tcase_add_test(t, question_that_waited_too_long_is_refused_with_its_followers);
	tcase_add_loop_test(t, client_that_goes_away_takes_no_answer_with_it, 0, 2);
	tcase_add_test(t, stop_answers_leaders_and_followers);
	tcase_add_test(cases(s, "short hold", start_with_a_short_hold), question_is_held_for_a_bounded_time);
	tcase_add_test(cases(s, "wide", start_wide), answers_hold_what_was_stored_before_they_were_asked_for);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
