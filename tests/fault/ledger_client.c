/* A client that records events over many connections and keeps a ledger of what it was told: a line is
 * written before a request is sent and one when its outcome is known. Not here: judging the ledger
 * (ledger.py).
 *
 * ledger_client PORT TOKEN LEDGER WORKER CONNECTIONS RATE BATCH BAD_EVERY CUT_EVERY
 *
 * - RATE: requests a second, each due at its moment however late the answers are; 0: closed loop.
 *
 * - BATCH: events of a request; 1 sends POST /api/events/track.
 *
 * - BAD_EVERY: in batches, every so many events one is wrong and must be refused alone; 0: none.
 *
 * - CUT_EVERY: every so many requests the connection is cut, in turn soon after the request is sent and when
 * its answer comes; 0: never.
 *
 * Runs until SIGTERM, then waits for what is on its way. Event n of worker w has 1000 + n input tokens and w
 * output tokens, so that it is known by what is stored; its model is MODELS[n % 3], its idempotency key
 * "w<w>-<n>", and every seventh has none.
 *
 * Lines of the ledger; `us` is microseconds since the request was due:
 *
 * - S first count: is about to be sent.
 *
 * - A us first id...: acknowledged; "-" for an event that was refused alone.
 *
 * - R us first status retry: refused; retry is Retry-After, 0 without.
 *
 * - L us first: the connection ended without an answer, or the answer was thrown away: unknown.
 *
 * - T us first: no answer for 30 seconds: unknown.
 *
 * - N: connection refused, nothing was sent. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND_US     1000000
#define HANGS_US      (30 * (int64_t)SECOND_US)
#define RECONNECT_US  (20 * 1000)
#define SENT_US	      (3 * 1000)      /* a cut soon after the request is sent */
#define ANSWERED_US   (2 * SECOND_US) /* a cut when the answer is there, which is thrown away */
#define REFUSED_US    (50 * 1000)
#define EVENT_BYTES   220
#define HEADER_BYTES  2048
#define RESULT_BYTES  400
#define UUID_TEXT_LEN 36

enum state { CLOSED, CONNECTING, IDLE, BUSY };

struct client {
	int fd;
	enum state state;
	int64_t not_before_us; /* CLOSED: connect again; IDLE: send again */
	int64_t due_us;
	int64_t cut_us; /* BUSY: cut the connection then */
	long first;
	size_t out_len, out_sent, in_len;
	char *out, *in;
};

static const char *const MODELS[] = {"gpt-4", "gpt-4o", "gpt-4o-mini"};

static volatile sig_atomic_t stopping;
static int epoll, port, ledger;
static long worker, next_event, batch, bad_every, cut_every;
static size_t out_cap, in_cap;
static const char *token;

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND_US + t.tv_nsec / 1000;
}

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* In one write, so that a line is whole or absent. */
static void note(const char *line, size_t n)
{
	if (write(ledger, line, n) != (ssize_t)n)
		fail("ledger_client: ledger");
}

static void watch(struct client *c, uint32_t events, int how)
{
	struct epoll_event e = {.events = events, .data.ptr = c};
	if (epoll_ctl(epoll, how, c->fd, &e) != 0)
		fail("ledger_client: epoll");
}

static void hang_up(struct client *c, int64_t pause_us)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->state = CLOSED;
	c->not_before_us = now_us() + pause_us;
}

static void unknown(struct client *c, char kind)
{
	char line[80];
	const int n = snprintf(
		line, sizeof line, "%c %lld %ld\n", kind, (long long)(now_us() - c->due_us), c->first);
	note(line, (size_t)n);
	hang_up(c, 0);
}

static void lost(struct client *c)
{
	if (c->state == BUSY)
		unknown(c, 'L');
	else
		hang_up(c, RECONNECT_US);
}

static void dial(struct client *c)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int on = 1;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail("ledger_client: socket");
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0 && errno != EINPROGRESS) {
		note("N\n", 2);
		hang_up(c, RECONNECT_US);
		return;
	}
	c->state = CONNECTING;
	watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void connected(struct client *c)
{
	int error = 0;
	socklen_t n = sizeof error;
	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
	if (error != 0) {
		note("N\n", 2);
		hang_up(c, RECONNECT_US);
		return;
	}
	c->state = IDLE;
	c->not_before_us = 0;
	watch(c, EPOLLIN, EPOLL_CTL_MOD);
}

static size_t write_event(char *to, size_t cap, long n)
{
	char key[64] = "";
	if (n % 7 != 5)
		snprintf(key, sizeof key, ",\"idempotency_key\":\"w%ld-%ld\"", worker, n);
	const bool bad = batch > 1 && bad_every > 0 && n % bad_every == 0;
	return (size_t)snprintf(to, cap,
		"{\"model\":\"%s\",\"input_tokens\":%ld,\"output_tokens\":%ld,\"timestamp\":\"2026-06-10T12:"
		"00:00Z\",\"project\":\"p%ld\"%s}",
		MODELS[n % 3], bad ? -1 : 1000 + n, worker, n % 4, key);
}

static void make_request(struct client *c)
{
	char *body = c->out + HEADER_BYTES;
	size_t n = 0;
	if (batch > 1)
		n = (size_t)sprintf(body, "{\"events\":[");
	for (long i = 0; i < batch; i++) {
		if (i > 0)
			body[n++] = ',';
		n += write_event(body + n, out_cap - HEADER_BYTES - n, c->first + i);
	}
	if (batch > 1)
		n += (size_t)sprintf(body + n, "]}");
	const int head = snprintf(c->out, HEADER_BYTES,
		"POST /api/events/%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
		"%s\r\nContent-Type: "
		"application/json\r\nContent-Length: %zu\r\n\r\n",
		batch > 1 ? "batch" : "track", token, n);
	if (head < 0 || head >= HEADER_BYTES)
		fail("ledger_client: token too long");
	memmove(c->out + head, body, n);
	c->out_len = (size_t)head + n;
}

static void send_rest(struct client *c)
{
	while (c->out_sent < c->out_len) {
		const ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
			return;
		}
		if (n < 0)
			return; /* an answer may be there nevertheless; reading tells */
		c->out_sent += (size_t)n;
	}
	watch(c, EPOLLIN, EPOLL_CTL_MOD);
}

static void begin(struct client *c, int64_t due_us)
{
	static long requests;
	char line[80];
	c->first = next_event;
	next_event += batch;
	c->due_us = due_us;
	c->out_sent = c->in_len = 0;
	c->cut_us = INT64_MAX;
	if (cut_every > 0 && ++requests % cut_every == 0)
		c->cut_us = now_us() + (requests / cut_every % 2 == 0 ? SENT_US : ANSWERED_US);
	make_request(c);
	const int n = snprintf(line, sizeof line, "S %ld %ld\n", c->first, batch);
	note(line, (size_t)n);
	c->state = BUSY;
	send_rest(c);
}

static void note_refused(const struct client *c, int status, const char *head, const char *body)
{
	char line[80];
	const char *retry = strcasestr(head, "retry-after: ");
	const long seconds = retry != NULL && retry < body ? strtol(retry + 13, NULL, 10) : 0;
	const int n = snprintf(line, sizeof line, "R %lld %ld %d %ld\n", (long long)(now_us() - c->due_us),
		c->first, status, seconds);
	note(line, (size_t)n);
}

/* The results come in the order of the events. */
static void note_acknowledged(const struct client *c, const char *body)
{
	char *line = malloc((size_t)batch * (UUID_TEXT_LEN + 1) + 80);
	if (line == NULL)
		fail("ledger_client");
	size_t n = (size_t)sprintf(line, "A %lld %ld", (long long)(now_us() - c->due_us), c->first);
	const char *at = batch > 1 ? strstr(body, "\"index\":") : body;
	for (long i = 0; i < batch; i++) {
		const char *end = at == NULL ? NULL : strstr(at + 1, "\"index\":");
		const char *id = at == NULL ? NULL : strstr(at, "\"event_id\":\"");
		line[n++] = ' ';
		if (id == NULL || (end != NULL && id > end)) {
			line[n++] = '-';
		} else {
			memcpy(line + n, id + 12, UUID_TEXT_LEN);
			n += UUID_TEXT_LEN;
		}
		at = end;
	}
	line[n++] = '\n';
	note(line, n);
	free(line);
}

/* False: the answer is not complete. */
static bool take_answer(struct client *c)
{
	c->in[c->in_len] = '\0';
	const char *body = strstr(c->in, "\r\n\r\n");
	if (body == NULL)
		return false;
	body += 4;
	const char *length = strcasestr(c->in, "content-length: ");
	const size_t wanted = length != NULL && length < body ? strtoul(length + 16, NULL, 10) : 0;
	if (c->in_len < (size_t)(body - c->in) + wanted)
		return false;
	const int status = atoi(c->in + 9);
	const bool good = status == 200 || status == 201;
	if (c->cut_us != INT64_MAX) {
		unknown(c, 'L'); /* it came before the cut, and is lost all the same */
		return true;
	}
	if (good)
		note_acknowledged(c, body);
	else
		note_refused(c, status, c->in, body);
	const char *close_it = strcasestr(c->in, "connection: close");
	c->state = IDLE;
	c->not_before_us = good ? 0 : now_us() + REFUSED_US;
	if (close_it != NULL && close_it < body)
		hang_up(c, 0);
	return true;
}

static void receive(struct client *c)
{
	for (;;) {
		if (c->in_len + 1 >= in_cap)
			fail("ledger_client: answer too long");
		const ssize_t n = recv(c->fd, c->in + c->in_len, in_cap - 1 - c->in_len, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || c->state != BUSY) {
			lost(c);
			return;
		}
		c->in_len += (size_t)n;
		if (take_answer(c))
			return;
	}
}

static void handle(struct client *c, uint32_t events)
{
	if (c->state == CONNECTING) {
		connected(c);
		return;
	}
	if ((events & EPOLLOUT) != 0 && c->state == BUSY)
		send_rest(c);
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		receive(c);
}

/* Connects what is closed, gives up what hangs; returns how many are on their way. */
static long look_after(struct client *clients, long n)
{
	const int64_t now = now_us();
	long busy = 0;
	for (long i = 0; i < n; i++) {
		struct client *c = &clients[i];
		if (c->state == CLOSED && !stopping && now >= c->not_before_us)
			dial(c);
		if (c->state == BUSY && now - c->due_us > HANGS_US)
			unknown(c, 'T');
		if (c->state == BUSY && now > c->cut_us)
			unknown(c, 'L');
		busy += c->state == BUSY;
	}
	return busy;
}

static void send_due(struct client *clients, long n, int64_t begin_us, long rate)
{
	static long sent, turn;
	const int64_t now = now_us();
	for (long tried = 0; tried < n; tried++) {
		const int64_t due = rate > 0 ? begin_us + sent * SECOND_US / rate : now;
		if (due > now)
			return;
		struct client *c = &clients[turn];
		turn = (turn + 1) % n;
		if (c->state != IDLE || (rate == 0 && now < c->not_before_us))
			continue;
		begin(c, due);
		sent++;
	}
}

static struct client *make_clients(long n)
{
	struct client *clients = calloc((size_t)n, sizeof clients[0]);
	if (clients == NULL)
		fail("ledger_client");
	out_cap = HEADER_BYTES + 64 + (size_t)batch * EVENT_BYTES;
	in_cap = 8192 + (size_t)batch * RESULT_BYTES;
	for (long i = 0; i < n; i++) {
		clients[i].fd = -1;
		clients[i].out = malloc(out_cap);
		clients[i].in = malloc(in_cap);
		if (clients[i].out == NULL || clients[i].in == NULL)
			fail("ledger_client");
	}
	return clients;
}

int main(int argc, char **argv)
{
	if (argc != 10)
		return 2;
	port = atoi(argv[1]);
	token = argv[2];
	ledger = open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	worker = atol(argv[4]);
	const long n = atol(argv[5]), rate = atol(argv[6]);
	batch = atol(argv[7]);
	bad_every = atol(argv[8]);
	cut_every = atol(argv[9]);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (ledger < 0 || epoll < 0 || n < 1 || batch < 1)
		fail("ledger_client: start");
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	struct client *clients = make_clients(n);
	const int64_t begin_us = now_us();
	while (look_after(clients, n) > 0 || !stopping) {
		if (!stopping)
			send_due(clients, n, begin_us, rate);
		struct epoll_event events[512];
		const int got = epoll_wait(epoll, events, 512, 1);
		for (int i = 0; i < got; i++)
			handle(events[i].data.ptr, events[i].events);
	}
	return 0;
}
