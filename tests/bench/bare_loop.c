/* The yardstick of the HTTP benchmarks: libmicrohttpd in the same external-polling loop as the server's, which reads a
 * request and answers a constant 201 at once. No routing, no parsing, no database: what the machine and the library
 * give at best. usage: bare_loop PORT [LOOPS] */

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct MHD_Response *constant;

static enum MHD_Result answer(void *cls, struct MHD_Connection *c, const char *url, const char *method,
	const char *version, const char *data, size_t *n, void **context)
{
	static int seen;
	(void)cls, (void)url, (void)method, (void)version, (void)data;
	if (*context == NULL) {
		*context = &seen;
		return MHD_YES;
	}
	if (*n > 0) {
		*n = 0;
		return MHD_YES;
	}
	return MHD_queue_response(c, 201, constant);
}

static void *loop(void *arg)
{
	struct MHD_Daemon *d = arg;
	const int fd = MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	for (;;) {
		MHD_UNSIGNED_LONG_LONG ms = 0;
		struct pollfd p = {.fd = fd, .events = POLLIN};
		(void)poll(&p, 1, MHD_get_timeout(d, &ms) == MHD_YES && ms == 0 ? 0 : 1000);
		(void)MHD_run(d);
	}
	return NULL;
}

static int listen_on(int port)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	const int on = 1;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0) {
		perror("bare_loop");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	static char body[] = "{\"event_id\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"cost\":0.06,\"duplicate\":false}";
	const int loops = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1;
	if (argc < 2)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	const int fd = listen_on((int)strtol(argv[1], NULL, 10));
	constant = MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_PERSISTENT);
	MHD_add_response_header(constant, "Content-Type", "application/json");
	for (int i = 0; i < loops; i++) {
		struct MHD_Daemon *d = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, answer, NULL, MHD_OPTION_LISTEN_SOCKET, dup(fd),
			MHD_OPTION_CONNECTION_LIMIT, 5000U, MHD_OPTION_END);
		pthread_t t;
		if (d == NULL || pthread_create(&t, NULL, loop, d) != 0)
			return 1;
	}
	pause();
	return 0;
}
