/* Streamed answers over loopback: the whole of it, bounds, slow and vanished clients, failing producers, the
 * limit, and the end of the server in the middle. */

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

#include "llmlab/base/clock.h"
#include "llmlab/http/server.h"

#define MIB   ((size_t)1024 * 1024)
#define PIECE ((size_t)64 * 1024)

/* ---- the producer: bytes of a pattern, then (or at a gate) what the test wants ---- */

static size_t want_bytes;     /* to produce */
static size_t gate_at_bytes;  /* wait there until the gate is open; SIZE_MAX: no gate */
static enum err want_outcome; /* in the end */
static atomic_bool gate_open;
static atomic_size_t produced; /* bytes taken from the producers */
static atomic_int at_gate, running, released;

/* Position p holds the letter p mod 23: any 23 bytes in a row differ from those one later. */
static void fill(char *out, size_t at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (char)('a' + (at + i) % 23);
}

static enum err produce(void *state, struct stream *out)
{
	char *piece = state;
	running++;
	for (size_t at = 0; at < want_bytes; at += PIECE) {
		if (at == gate_at_bytes) {
			at_gate++;
			while (!gate_open)
				(void)poll(NULL, 0, 1);
		}
		const size_t n = want_bytes - at < PIECE ? want_bytes - at : PIECE;
		fill(piece, at, n);
		if (!stream_write(out, piece, n))
			return ERR_OK;
		produced += n;
	}
	return want_outcome;
}

static void release(void *state)
{
	free(state);
	released++;
}

static struct reply streaming(struct http_request *rq)
{
	(void)rq;
	struct reply r = reply_stream(200, "text/csv",
		(struct stream_source){.produce = produce, .release = release, .state = malloc(PIECE)});
	reply_set_header(&r, "X-Test", "yes");
	return r;
}

static struct reply refusing(struct http_request *rq)
{
	return reply_error(rq, ERR_DATABASE_UNAVAILABLE, NULL);
}

static struct reply at_once(struct http_request *rq)
{
	(void)rq;
	return reply_empty(204);
}

static const struct route routes[] = {
	{"stream", HTTP_GET, "/stream", ROUTE_PUBLIC, RUN_STREAM, BODY_NONE, streaming},
	{"refusing", HTTP_GET, "/refusing", ROUTE_PUBLIC, RUN_STREAM, BODY_NONE, refusing},
	{"at_once", HTTP_GET, "/at-once", ROUTE_PUBLIC, RUN_LOOP, BODY_NONE, at_once},
};

static void *worker_new(void *app)
{
	(void)app;
	return malloc(1);
}

/* ---- fixture ---- */

static struct http_server *server;
static struct http_settings settings = {.host = "127.0.0.1",
	.loops = 1,
	.max_connections = 64,
	.executor_threads = 1,
	.executor_queue = 4,
	.password_threads = 1,
	.password_queue = 4,
	.stream_threads = 2,
	.stream_stall_us = 10 * US_PER_SECOND,
	.header_us = 10 * US_PER_SECOND,
	.body_us = 10 * US_PER_SECOND,
	.request_us = 10 * US_PER_SECOND,
	.idle_us = 10 * US_PER_SECOND,
	.max_body_memory_bytes = 1024 * 1024,
	.max_body_bytes = 1024,
	.max_batch_bytes = 4096};

static void start(void)
{
	const struct http_hooks hooks = {.routes = routes,
		.n_routes = sizeof routes / sizeof routes[0],
		.worker_new = worker_new,
		.worker_free = free};
	char message[256];
	want_bytes = MIB;
	gate_at_bytes = SIZE_MAX;
	want_outcome = ERR_OK;
	ck_assert_msg(
		http_start(&settings, &hooks, &server, message, sizeof message) == ERR_OK, "%s", message);
}

static void short_stall(void)
{
	settings.stream_stall_us = 300 * US_PER_MS;
	start();
}

static void stop(void)
{
	gate_open = true;
	if (server != NULL) {
		(void)http_drain(server, clock_mono_us() + 5 * US_PER_SECOND);
		(void)http_stop(server);
	}
	server = NULL;
}

static int dial(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(http_port(server)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const struct timeval limit = {.tv_sec = 10};
	const int small = 8192; /* so that what is on its way does not hide what is held back */
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static int ask(const char *request)
{
	const int fd = dial();
	ck_assert_int_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	return fd;
}

#define GET_STREAM "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"

static void wait_for(atomic_int *what, int value)
{
	const int64_t until_us = clock_mono_us() + 10 * US_PER_SECOND;
	while (*what < value) {
		ck_assert_int_lt(clock_mono_us(), until_us);
		(void)poll(NULL, 0, 1);
	}
}

/* ---- reading an answer ---- */

static int read_head(int fd, char *out, size_t size)
{
	size_t n = 0;
	while (n < 4 || memcmp(out + n - 4, "\r\n\r\n", 4) != 0) {
		ck_assert_uint_lt(n + 1, size);
		if (recv(fd, out + n, 1, 0) != 1)
			return 0;
		out[++n] = '\0';
	}
	return (int)strtol(out + 9, NULL, 10);
}

/* Reads all of n bytes; false: the connection has ended first. */
static bool read_exactly(int fd, char *out, size_t n)
{
	return recv(fd, out, n, MSG_WAITALL) == (ssize_t)n;
}

static size_t read_chunk_size(int fd)
{
	char line[16] = "";
	for (size_t i = 0; i + 1 < sizeof line; i++) {
		if (recv(fd, line + i, 1, 0) != 1)
			return SIZE_MAX;
		if (line[i] == '\n')
			return strtoul(line, NULL, 16);
	}
	return SIZE_MAX;
}

/* Reads the chunks to the last one and compares with the pattern. Returns the bytes; SIZE_MAX: incomplete. */
static size_t read_chunks(int fd)
{
	static char data[MIB], expected[MIB];
	size_t total = 0;
	for (;;) {
		const size_t n = read_chunk_size(fd);
		char end[2];
		if (n == SIZE_MAX || n > sizeof data || !read_exactly(fd, data, n) ||
			!read_exactly(fd, end, 2))
			return SIZE_MAX;
		if (n == 0)
			return total;
		fill(expected, total, n);
		ck_assert_mem_eq(data, expected, n);
		total += n;
	}
}

/* ---- tests ---- */

START_TEST(stream_is_chunked_whole_and_keeps_the_connection)
{
	static const size_t sizes[] = {0, 1, PIECE, 3 * PIECE, 128 * 1024 + 1, 20 * MIB + 17};
	char head[2048];
	want_bytes = sizes[_i];
	const int fd = ask(GET_STREAM GET_STREAM);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(read_head(fd, head, sizeof head), 200);
		ck_assert_ptr_nonnull(strstr(head, "Transfer-Encoding: chunked\r\n"));
		ck_assert_ptr_nonnull(strstr(head, "Content-Type: text/csv\r\n"));
		ck_assert_ptr_nonnull(strstr(head, "X-Test: yes\r\n"));
		ck_assert_ptr_nonnull(strstr(head, "X-Content-Type-Options: nosniff\r\n"));
		ck_assert_uint_eq(read_chunks(fd), sizes[_i]);
	}
	wait_for(&released, 2);
	close(fd);
}
END_TEST

START_TEST(head_gets_the_headers_and_produces_nothing)
{
	char head[2048];
	const int fd = ask("HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert_int_eq(read_head(fd, head, sizeof head), 200);
	ck_assert_ptr_nonnull(strstr(head, "Content-Type: text/csv\r\n"));
	ck_assert_int_eq(recv(fd, head, sizeof head, 0), 0);
	ck_assert_int_eq(running, 0);
	ck_assert_int_eq(released, 1);
	close(fd);
}
END_TEST

START_TEST(handler_that_fails_before_the_stream_answers_as_any)
{
	char head[2048];
	const int fd = ask("GET /refusing HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert_int_eq(read_head(fd, head, sizeof head), 503);
	ck_assert_ptr_nonnull(strstr(head, "Retry-After: 1\r\n"));
	close(fd);
}
END_TEST

START_TEST(old_client_gets_the_bytes_and_the_end_of_the_connection)
{
	static char data[MIB + 1];
	char head[2048];
	const int fd = ask("GET /stream HTTP/1.0\r\n\r\n");
	ck_assert_int_eq(read_head(fd, head, sizeof head), 200);
	ck_assert_ptr_null(strstr(head, "chunked"));
	ck_assert_int_eq(recv(fd, data, sizeof data, MSG_WAITALL), (ssize_t)MIB);
	ck_assert_int_eq(recv(fd, data, sizeof data, 0), 0);
	close(fd);
}
END_TEST

/* Without a bound the producer would have handed out everything: 64 MiB. What may be on its way: the ring of
 * 128 KiB, the server's send buffer (Linux: at most 4 MiB by default) and the client's. */
START_TEST(slow_reader_holds_the_producer_back_and_gets_everything)
{
	char head[2048];
	want_bytes = 64 * MIB;
	const int slow = ask(GET_STREAM);
	ck_assert_int_eq(read_head(slow, head, sizeof head), 200);
	size_t before;
	do { /* until it stands still */
		before = produced;
		(void)poll(NULL, 0, 100);
	} while (produced != before || before == 0);
	ck_assert_uint_lt(before, 8 * MIB);
	/* nobody else is held back */
	const int other = ask("GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert_int_eq(read_head(other, head, sizeof head), 204);
	close(other);
	ck_assert_uint_eq(read_chunks(slow), 64 * MIB);
	close(slow);
}
END_TEST

START_TEST(streams_over_the_limit_are_refused_until_one_ends)
{
	char head[2048];
	gate_at_bytes = 0;
	const int first = ask(GET_STREAM), second = ask(GET_STREAM);
	wait_for(&at_gate, 2);
	for (int i = 0; i < 3; i++) {
		const int third = ask(GET_STREAM);
		ck_assert_int_eq(read_head(third, head, sizeof head), 503);
		ck_assert_ptr_nonnull(strstr(head, "Retry-After: 5\r\n"));
		close(third);
	}
	gate_open = true;
	ck_assert_int_eq(read_head(first, head, sizeof head), 200);
	ck_assert_uint_eq(read_chunks(first), MIB);
	ck_assert_int_eq(read_head(second, head, sizeof head), 200);
	ck_assert_uint_eq(read_chunks(second), MIB);
	/* whoever has seen the end may begin again at once */
	for (int i = 0; i < 50; i++) {
		const int again = ask(GET_STREAM), beside = ask(GET_STREAM);
		ck_assert_int_eq(read_head(again, head, sizeof head), 200);
		ck_assert_int_eq(read_head(beside, head, sizeof head), 200);
		ck_assert_uint_eq(read_chunks(again), MIB);
		ck_assert_uint_eq(read_chunks(beside), MIB);
		close(again);
		close(beside);
	}
	close(first);
	close(second);
}
END_TEST

START_TEST(client_that_vanishes_ends_the_producer)
{
	char head[2048];
	want_bytes = (size_t)1 << 40;
	const int fd = ask(GET_STREAM);
	ck_assert_int_eq(read_head(fd, head, sizeof head), 200);
	ck_assert_int_eq(released, 0);
	close(fd);
	wait_for(&released, 1);
}
END_TEST

START_TEST(client_that_vanishes_while_nothing_is_there_ends_the_producer)
{
	char head[2048];
	want_bytes = (size_t)1 << 40;
	gate_at_bytes = PIECE;
	const int fd = ask(GET_STREAM);
	ck_assert_int_eq(read_head(fd, head, sizeof head), 200);
	wait_for(&at_gate, 1);
	close(fd);
	gate_open = true;
	wait_for(&released, 1);
}
END_TEST

static const char *const versions[] = {GET_STREAM, "GET /stream HTTP/1.0\r\n\r\n"};

/* Everything up to the end of the connection; true if it ended regularly. */
static bool read_to_end(int fd, size_t *ret_bytes, char *ret_tail)
{
	static char data[MIB];
	*ret_bytes = 0;
	for (;;) {
		const ssize_t got = recv(fd, data, sizeof data, 0);
		if (got <= 0)
			return got == 0;
		*ret_bytes += (size_t)got;
		memcpy(ret_tail, got >= 5 ? data + got - 5 : data, 5);
	}
}

START_TEST(producer_that_fails_leaves_a_recognisable_torso)
{
	size_t bytes;
	char tail[6] = "";
	want_outcome = ERR_DATABASE_UNAVAILABLE;
	const int fd = ask(versions[_i]);
	const bool regular = read_to_end(fd, &bytes, tail);
	ck_assert_uint_gt(bytes, 0);
	ck_assert_str_ne(tail, "0\r\n\r\n");
	/* only chunked encoding shows that something is missing when the connection ends regularly */
	ck_assert(_i == 0 || !regular);
	close(fd);
}
END_TEST

START_TEST(client_that_takes_nothing_is_cut)
{
	size_t bytes;
	char tail[6] = "";
	want_bytes = 64 * MIB;
	const int fd = ask(versions[_i]);
	wait_for(&released, 1);
	const bool regular = read_to_end(fd, &bytes, tail);
	ck_assert_uint_lt(bytes, 64 * MIB);
	ck_assert_str_ne(tail, "0\r\n\r\n");
	ck_assert(_i == 0 || !regular);
	close(fd);
}
END_TEST

/* 1 byte now and then is not progress: 64 KiB in 0.3 s is asked for. */
START_TEST(client_that_trickles_is_cut)
{
	char byte;
	want_bytes = 64 * MIB;
	const int fd = ask(GET_STREAM);
	const int64_t begin_us = clock_mono_us();
	while (released == 0) {
		ck_assert_int_lt(clock_mono_us() - begin_us, 5 * US_PER_SECOND);
		(void)recv(fd, &byte, 1, 0);
		(void)poll(NULL, 0, 10);
	}
	close(fd);
}
END_TEST

START_TEST(producer_that_takes_its_time_is_not_the_clients_fault)
{
	char head[2048];
	gate_at_bytes = PIECE;
	const int fd = ask(GET_STREAM);
	ck_assert_int_eq(read_head(fd, head, sizeof head), 200);
	wait_for(&at_gate, 1);
	(void)poll(NULL, 0, 900); /* three times what a client may take */
	gate_open = true;
	ck_assert_uint_eq(read_chunks(fd), MIB);
	close(fd);
}
END_TEST

/* ---- the end of the server ---- */

struct stopping {
	int64_t limit_us;
	bool clean;
	pthread_t thread;
};

static void *stop_now(void *arg)
{
	struct stopping *s = arg;
	const bool drained = http_drain(server, clock_mono_us() + s->limit_us);
	s->clean = http_stop(server) && drained;
	return NULL;
}

static void begin_stop(struct stopping *s, int64_t limit_us)
{
	s->limit_us = limit_us;
	ck_assert_int_eq(pthread_create(&s->thread, NULL, stop_now, s), 0);
}

static bool end_stop(struct stopping *s)
{
	pthread_join(s->thread, NULL);
	server = NULL;
	return s->clean;
}

static bool listens(uint16_t port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const bool taken = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
	close(fd);
	return taken;
}

START_TEST(stop_lets_a_stream_finish)
{
	char head[2048];
	struct stopping s;
	gate_at_bytes = PIECE;
	const int fd = ask(GET_STREAM);
	ck_assert_int_eq(read_head(fd, head, sizeof head), 200);
	const uint16_t port = http_port(server);
	begin_stop(&s, 10 * US_PER_SECOND);
	while (listens(port))
		(void)poll(NULL, 0, 1);
	gate_open = true;
	ck_assert_uint_eq(read_chunks(fd), MIB);
	ck_assert(end_stop(&s));
	close(fd);
}
END_TEST

START_TEST(stop_cuts_a_stream_at_its_deadline)
{
	size_t bytes;
	char head[2048], tail[6] = "";
	struct stopping s;
	want_bytes = (size_t)1 << 40;
	const int fd = ask(GET_STREAM);
	ck_assert_int_eq(read_head(fd, head, sizeof head), 200);
	begin_stop(&s, 300 * US_PER_MS);
	(void)read_to_end(fd, &bytes, tail);
	ck_assert_str_ne(tail, "0\r\n\r\n");
	ck_assert(!end_stop(&s));
	ck_assert_int_eq(released, 1);
	close(fd);
}
END_TEST

/* Its connection is suspended: stopping the library now would abort the process. */
START_TEST(stop_cuts_a_stream_that_waits_for_its_producer)
{
	size_t bytes;
	char head[2048], tail[6] = "";
	struct stopping s;
	gate_at_bytes = PIECE;
	const int fd = ask(GET_STREAM);
	ck_assert_int_eq(read_head(fd, head, sizeof head), 200);
	wait_for(&at_gate, 1);
	begin_stop(&s, 300 * US_PER_MS);
	(void)read_to_end(fd, &bytes, tail);
	ck_assert_str_ne(tail, "0\r\n\r\n");
	gate_open = true;
	ck_assert(!end_stop(&s));
	ck_assert_int_eq(released, 1);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http stream");
	TCase *t = tcase_create("stream");
	tcase_add_checked_fixture(t, start, stop);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, stream_is_chunked_whole_and_keeps_the_connection, 0, 6);
	tcase_add_test(t, head_gets_the_headers_and_produces_nothing);
	tcase_add_test(t, handler_that_fails_before_the_stream_answers_as_any);
	tcase_add_test(t, old_client_gets_the_bytes_and_the_end_of_the_connection);
	tcase_add_test(t, slow_reader_holds_the_producer_back_and_gets_everything);
	tcase_add_test(t, streams_over_the_limit_are_refused_until_one_ends);
	tcase_add_test(t, client_that_vanishes_ends_the_producer);
	tcase_add_test(t, client_that_vanishes_while_nothing_is_there_ends_the_producer);
	tcase_add_loop_test(t, producer_that_fails_leaves_a_recognisable_torso, 0, 2);
	tcase_add_test(t, stop_lets_a_stream_finish);
	tcase_add_test(t, stop_cuts_a_stream_at_its_deadline);
	tcase_add_test(t, stop_cuts_a_stream_that_waits_for_its_producer);
	suite_add_tcase(s, t);
	TCase *stall = tcase_create("stall");
	tcase_add_checked_fixture(stall, short_stall, stop);
	tcase_set_timeout(stall, 30);
	tcase_add_loop_test(stall, client_that_takes_nothing_is_cut, 0, 2);
	tcase_add_test(stall, client_that_trickles_is_cut);
	tcase_add_test(stall, producer_that_takes_its_time_is_not_the_clients_fault);
	suite_add_tcase(s, stall);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
