#ifndef LLMLAB_TESTS_WEBHOOK_LISTENER_H
#define LLMLAB_TESTS_WEBHOOK_LISTENER_H

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A listening socket on this machine, and one connection at a time that is read and answered by hand. */
struct listener {
	int fd, client; /* client -1: none */
	uint16_t port;
	int connections;
	char request[65536];
	size_t request_len;
};

static inline void listener_open(struct listener *l)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof a;
	*l = (struct listener){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .client = -1};
	ck_assert_int_ge(l->fd, 0);
	ck_assert_int_eq(bind(l->fd, (const struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(l->fd, 16), 0);
	ck_assert_int_eq(getsockname(l->fd, (struct sockaddr *)&a, &n), 0);
	l->port = ntohs(a.sin_port);
}

/* Takes what has come, without waiting; true once a request is there to the end of its body. */
static inline bool listener_step(struct listener *l)
{
	if (l->client < 0) {
		l->client = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK);
		l->connections += l->client >= 0;
	}
	if (l->client < 0)
		return false;
	const ssize_t n =
		recv(l->client, l->request + l->request_len, sizeof l->request - 1 - l->request_len, 0);
	if (n > 0)
		l->request_len += (size_t)n;
	l->request[l->request_len] = '\0';
	const char *const end = strstr(l->request, "\r\n\r\n");
	const char *const length = strstr(l->request, "Content-Length: ");
	return end != NULL && length != NULL &&
	       strlen(end + 4) >= (size_t)strtol(length + strlen("Content-Length: "), NULL, 10);
}

static inline void listener_answer(struct listener *l, const char *text)
{
	ck_assert_int_eq((int)send(l->client, text, strlen(text), MSG_NOSIGNAL), (int)strlen(text));
	close(l->client);
	l->client = -1;
	l->request_len = 0;
}

static inline void listener_close(struct listener *l)
{
	if (l->client >= 0)
		close(l->client);
	close(l->fd);
}

/* A version 4 address with a port. */
static inline struct sockaddr_storage address4(const char *text, uint16_t port)
{
	struct sockaddr_storage s = {0};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	ck_assert_int_eq(inet_pton(AF_INET, text, &a.sin_addr), 1);
	memcpy(&s, &a, sizeof a);
	return s;
}

#endif
