/* The two protocols of a supervisor: a socket that it hands over at the start, so that a restart refuses no
 * connection (they wait in the socket, which outlives the process), and the states it is told. Both are a few
 * lines, so no library is used. */
#include "llmlab/app/supervisor.h"
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3

static int socket_option(int fd, int option)
{
	int value = 0;
	socklen_t n = sizeof value;
	return getsockopt(fd, SOL_SOCKET, option, &value, &n) == 0 ? value : -1;
}

static int socket_family(int fd)
{
	struct sockaddr_storage address;
	socklen_t n = sizeof address;
	/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.UndefReturn): getsockname() fills it */
	return getsockname(fd, (struct sockaddr *)&address, &n) == 0 ? address.ss_family : AF_UNSPEC;
}

static bool is_listening_tcp(int fd)
{
	const int family = socket_family(fd);
	return (family == AF_INET || family == AF_INET6) && socket_option(fd, SO_TYPE) == SOCK_STREAM &&
	       socket_option(fd, SO_ACCEPTCONN) == 1;
}

bool supervisor_listen_fd(int *ret, char *message, size_t message_size)
{
	const char *const pid = getenv("LISTEN_PID"), *const count = getenv("LISTEN_FDS");
	char own_pid[24];
	(void)snprintf(own_pid, sizeof own_pid, "%ld", (long)getpid());
	const bool meant = pid != NULL && count != NULL && strcmp(pid, own_pid) == 0;
	const bool one = meant && strcmp(count, "1") == 0;
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	if (!meant) {
		*ret = -1;
		return true;
	}
	if (!one || !is_listening_tcp(FIRST_FD)) {
		(void)snprintf(message, message_size,
			"the supervisor must hand over exactly one listening TCP socket (LISTEN_FDS=1, "
			"descriptor 3)");
		return false;
	}
	const int flags = fcntl(FIRST_FD, F_GETFL);
	if (flags < 0 || fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) != 0 ||
		fcntl(FIRST_FD, F_SETFL, flags | O_NONBLOCK) != 0) {
		(void)snprintf(message, message_size, "the socket that was handed over can't be used");
		return false;
	}
	*ret = FIRST_FD;
	return true;
}

void supervisor_notify(const char *state)
{
	const char *const path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const size_t n = path == NULL ? 0 : strlen(path);
	if (n < 2 || n >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(address.sun_path, path, n);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* the abstract namespace */
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, size);
	(void)close(fd);
}
