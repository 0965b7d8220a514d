/* An open-loop HTTP load generator: sends one fixed request at a fixed rate over keep-alive connections and measures each latency from the moment
 * the request was due, so that a server that stalls can't hide it (no coordinated omission). Rate 0: closed loop, as fast as answers come.
 * usage: loadgen PORT CONNECTIONS RATE SECONDS PATH TOKEN BODY [METHOD]
 * Prints one JSON line: sent, answered, by status, errors, rate, latency percentiles in microseconds. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
	int fd;
	bool busy;
	int64_t due_us;
	size_t n; /* bytes of the answer so far */
	char in[65536];
};

static char request[131072];
static size_t request_bytes;
static uint32_t *latencies;
static size_t n_latencies, cap_latencies;
static long statuses[600], errors;

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int dial(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	const int on = 1;
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
		perror("loadgen: connect");
		exit(1);
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

static void start(struct client *c, int64_t due_us)
{
	c->busy = true;
	c->due_us = due_us;
	c->n = 0;
	if (send(c->fd, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes)
		errors++;
}

/* True when a whole answer is there. */
static bool complete(struct client *c)
{
	c->in[c->n] = '\0';
	const char *end = strstr(c->in, "\r\n\r\n");
	if (end == NULL)
		return false;
	const char *length = strcasestr(c->in, "content-length: ");
	const size_t body = length != NULL && length < end ? strtoul(length + 16, NULL, 10) : 0;
	return c->n >= (size_t)(end + 4 - c->in) + body;
}

static bool receive(struct client *c, int epoll, int port)
{
	const ssize_t got = recv(c->fd, c->in + c->n, sizeof c->in - 1 - c->n, MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN)
		return false;
	if (got <= 0) {
		if (c->busy)
			errors++;
		close(c->fd);
		c->fd = dial(port);
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
		epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
		c->busy = false;
		return true;
	}
	c->n += (size_t)got;
	if (!complete(c))
		return false;
	const long status = strtol(c->in + 9, NULL, 10);
	statuses[status >= 0 && status < 600 ? status : 0]++;
	if (n_latencies < cap_latencies)
		latencies[n_latencies++] = (uint32_t)(now_us() - c->due_us);
	c->busy = false;
	return true;
}

static int by_value(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static double at(double q)
{
	return n_latencies == 0 ? 0 : (double)latencies[(size_t)(q * (double)(n_latencies - 1))];
}

int main(int argc, char **argv)
{
	if (argc < 8)
		return 2;
	const int port = atoi(argv[1]), n = atoi(argv[2]), rate = atoi(argv[3]), seconds = atoi(argv[4]);
	const char *method = argc > 8 ? argv[8] : "POST";
	request_bytes = (size_t)snprintf(request, sizeof request,
		"%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%sContent-Length: %zu\r\n\r\n%s", method, argv[5], argv[6],
		argv[7][0] != '\0' ? "Content-Type: application/json\r\n" : "", strlen(argv[7]), argv[7]);
	cap_latencies = 20000000;
	latencies = malloc(cap_latencies * sizeof latencies[0]);
	struct client *clients = calloc((size_t)n, sizeof clients[0]);
	const int epoll = epoll_create1(0);
	for (int i = 0; i < n; i++) {
		clients[i].fd = dial(port);
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};
		epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &e);
	}
	const int64_t begin = now_us(), end = begin + (int64_t)seconds * 1000000;
	long sent = 0;
	int next = 0;
	for (;;) {
		const int64_t now = now_us();
		if (now >= end + 2000000)
			break;
		int idle = 0;
		for (int tried = 0; now < end && tried < n; tried++) {
			struct client *c = &clients[next];
			const int64_t due = rate > 0 ? begin + (int64_t)((double)sent * 1e6 / rate) : now;
			if (due > now)
				break;
			next = (next + 1) % n;
			if (c->busy)
				continue;
			start(c, due);
			sent++;
		}
		for (int i = 0; i < n && now >= end; i++)
			idle += !clients[i].busy;
		if (now >= end && idle == n)
			break;
		struct epoll_event events[256];
		const struct timespec tick = {.tv_nsec = 200000};
		const int got = epoll_pwait2(epoll, events, 256, &tick, NULL);
		for (int i = 0; i < got; i++)
			(void)receive(events[i].data.ptr, epoll, port);
	}
	const double took = (double)(now_us() - begin) / 1e6;
	qsort(latencies, n_latencies, sizeof latencies[0], by_value);
	printf("{\"sent\":%ld,\"answered\":%zu,\"errors\":%ld,\"rate\":%.0f,\"p50_us\":%.0f,\"p99_us\":%.0f,\"p999_us\":%.0f,\"max_us\":%.0f,\"statuses\":{",
		sent, n_latencies, errors, (double)n_latencies / took, at(0.5), at(0.99), at(0.999), at(1.0));
	bool first = true;
	for (int s = 0; s < 600; s++)
		if (statuses[s] > 0) {
			printf("%s\"%d\":%ld", first ? "" : ",", s, statuses[s]);
			first = false;
		}
	printf("}}\n");
	return 0;
}
