/* What a supervisor hands over and is told. Each test is a process of its own, whose descriptor 3 and
 * environment are what a supervisor would make them. */
#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "llmlab/app/supervisor.h"

#define HANDED_OVER 3
#define UNTOUCHED   77

static char message[256];

static void setup(void)
{
	message[0] = '\0';
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("NOTIFY_SOCKET");
}

static void announce(long pid, const char *count)
{
	char text[24];
	(void)snprintf(text, sizeof text, "%ld", pid);
	ck_assert_int_eq(setenv("LISTEN_PID", text, 1), 0);
	ck_assert_int_eq(setenv("LISTEN_FDS", count, 1), 0);
	ck_assert_int_eq(setenv("LISTEN_FDNAMES", "llmlab.socket", 1), 0);
}

static int tcp_socket(int family)
{
	const int fd = socket(family, SOCK_STREAM, 0);
	ck_assert_int_ge(fd, 0);
	const struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	if (family == AF_INET)
		ck_assert_int_eq(bind(fd, (const struct sockaddr *)&v4, sizeof v4), 0);
	else
		ck_assert_int_eq(bind(fd, (const struct sockaddr *)&v6, sizeof v6), 0);
	return fd;
}

static int listener(void)
{
	const int fd = tcp_socket(AF_INET);
	ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

struct taken {
	bool good;
	int fd, descriptor_flags, status_flags;
};

/* Asks while `fd` (closed by this; -1: nothing) is descriptor 3, where Check has a file of its own otherwise.
 */
static struct taken take(int fd)
{
	struct taken t = {.fd = UNTOUCHED};
	const int checks_own = fcntl(HANDED_OVER, F_DUPFD, 20);
	(void)close(HANDED_OVER);
	if (fd >= 0)
		(void)dup2(fd, HANDED_OVER);
	t.good = supervisor_listen_fd(&t.fd, message, sizeof message);
	t.descriptor_flags = fcntl(HANDED_OVER, F_GETFD);
	t.status_flags = fcntl(HANDED_OVER, F_GETFL);
	(void)close(HANDED_OVER);
	(void)dup2(checks_own, HANDED_OVER);
	(void)close(checks_own);
	if (fd >= 0)
		(void)close(fd);
	return t;
}

static void assert_refused(int fd)
{
	const struct taken t = take(fd);
	ck_assert(!t.good);
	ck_assert_int_eq(t.fd, UNTOUCHED);
	ck_assert_ptr_nonnull(strstr(message, "exactly one listening TCP socket"));
}

static void assert_none(int fd)
{
	const struct taken t = take(fd);
	ck_assert(t.good);
	ck_assert_int_eq(t.fd, -1);
	ck_assert_str_eq(message, "");
}

static void assert_not_inherited(void)
{
	ck_assert_ptr_null(getenv("LISTEN_PID"));
	ck_assert_ptr_null(getenv("LISTEN_FDS"));
	ck_assert_ptr_null(getenv("LISTEN_FDNAMES"));
}

START_TEST(supervisor_listen_fd_without_supervisor_is_none)
{
	assert_none(listener());
}
END_TEST

START_TEST(supervisor_listen_fd_is_the_third_and_no_childs)
{
	announce((long)getpid(), "1");
	const struct taken t = take(listener());
	ck_assert(t.good);
	ck_assert_int_eq(t.fd, HANDED_OVER);
	ck_assert(t.descriptor_flags & FD_CLOEXEC);
	ck_assert(t.status_flags & O_NONBLOCK);
	assert_not_inherited();
}
END_TEST

START_TEST(supervisor_listen_fd_is_not_taken_twice)
{
	announce((long)getpid(), "1");
	ck_assert_int_eq(take(listener()).fd, HANDED_OVER);
	assert_none(listener());
}
END_TEST

START_TEST(supervisor_listen_fd_of_ipv6_is_taken)
{
	const int fd = tcp_socket(AF_INET6);
	ck_assert_int_eq(listen(fd, 8), 0);
	announce((long)getpid(), "1");
	ck_assert_int_eq(take(fd).fd, HANDED_OVER);
}
END_TEST

START_TEST(supervisor_listen_fd_meant_for_another_process_is_none)
{
	announce((long)getppid(), "1");
	assert_none(listener());
	assert_not_inherited();
}
END_TEST

START_TEST(supervisor_listen_fd_pid_with_more_text_is_none)
{
	char text[32];
	announce((long)getpid(), "1");
	(void)snprintf(text, sizeof text, "%ldx", (long)getpid());
	ck_assert_int_eq(setenv("LISTEN_PID", text, 1), 0);
	assert_none(listener());
}
END_TEST

START_TEST(supervisor_listen_fd_half_announced_is_none)
{
	announce((long)getpid(), "1");
	ck_assert_int_eq(unsetenv("LISTEN_FDS"), 0);
	assert_none(listener());
	announce((long)getpid(), "1");
	ck_assert_int_eq(unsetenv("LISTEN_PID"), 0);
	assert_none(listener());
}
END_TEST

static const char *const wrong_counts[] = {"0", "2", "", "-1", "01", "1 ", "x", "99999999999999999999"};

START_TEST(supervisor_listen_fd_another_count_is_refused)
{
	announce((long)getpid(), wrong_counts[_i]);
	assert_refused(listener());
	assert_not_inherited();
}
END_TEST

START_TEST(supervisor_listen_fd_closed_descriptor_is_refused)
{
	announce((long)getpid(), "1");
	assert_refused(-1);
}
END_TEST

START_TEST(supervisor_listen_fd_file_is_refused)
{
	announce((long)getpid(), "1");
	assert_refused(open("/dev/null", O_RDONLY));
}
END_TEST

START_TEST(supervisor_listen_fd_that_does_not_listen_is_refused)
{
	announce((long)getpid(), "1");
	assert_refused(tcp_socket(AF_INET));
}
END_TEST

START_TEST(supervisor_listen_fd_datagrams_are_refused)
{
	announce((long)getpid(), "1");
	assert_refused(socket(AF_INET, SOCK_DGRAM, 0));
}
END_TEST

START_TEST(supervisor_listen_fd_unix_socket_is_refused)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	const struct sockaddr_un address = {.sun_family = AF_UNIX};
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof address.sun_family), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	announce((long)getpid(), "1");
	assert_refused(fd);
}
END_TEST

/* ---- what it is told ---- */

static int supervisor_socket(const struct sockaddr_un *address, socklen_t size)
{
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)address, size), 0);
	return fd;
}

static void assert_told(int fd, const char *text)
{
	char got[64] = "";
	const ssize_t n = recv(fd, got, sizeof got - 1, 0);
	ck_assert_int_eq(n, (ssize_t)strlen(text));
	ck_assert_str_eq(got, text);
}

START_TEST(supervisor_notify_by_path_tells)
{
	char folder[] = "/tmp/llmlab-test-notify-XXXXXX";
	ck_assert_ptr_nonnull(mkdtemp(folder));
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", folder);
	const int fd = supervisor_socket(&address, sizeof address);
	ck_assert_int_eq(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
	supervisor_notify("READY=1");
	supervisor_notify("STOPPING=1");
	assert_told(fd, "READY=1");
	assert_told(fd, "STOPPING=1");
	(void)close(fd);
	(void)unlink(address.sun_path);
	(void)rmdir(folder);
}
END_TEST

START_TEST(supervisor_notify_by_abstract_name_tells)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[64];
	(void)snprintf(name, sizeof name, "@llmlab-test-notify-%ld", (long)getpid());
	memcpy(address.sun_path, name, strlen(name));
	address.sun_path[0] = '\0';
	const int fd = supervisor_socket(
		&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name)));
	ck_assert_int_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
	supervisor_notify("READY=1");
	assert_told(fd, "READY=1");
	(void)close(fd);
}
END_TEST

/* Nobody listens, or it is no address: the server goes on. */
START_TEST(supervisor_notify_to_nobody_does_nothing)
{
	char long_path[512];
	memset(long_path, 'a', sizeof long_path - 1);
	long_path[0] = '/';
	long_path[sizeof long_path - 1] = '\0';
	const char *const places[] = {
		"", "/", "@", "relative", "/nonexistent/notify", "vsock:2:1", long_path};
	supervisor_notify("READY=1");
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		ck_assert_int_eq(setenv("NOTIFY_SOCKET", places[i], 1), 0);
		supervisor_notify("READY=1");
	}
	/* no descriptor was left open */
	const int fd = open("/dev/null", O_RDONLY);
	(void)close(fd);
	for (int i = 0; i < 100; i++)
		supervisor_notify("READY=1");
	const int later = open("/dev/null", O_RDONLY);
	ck_assert_int_eq(later, fd);
	(void)close(later);
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("supervisor");
	TCase *const tc = tcase_create("supervisor");
	suite_add_tcase(suite, tc);
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, supervisor_listen_fd_without_supervisor_is_none);
	tcase_add_test(tc, supervisor_listen_fd_is_the_third_and_no_childs);
	tcase_add_test(tc, supervisor_listen_fd_is_not_taken_twice);
	tcase_add_test(tc, supervisor_listen_fd_of_ipv6_is_taken);
	tcase_add_test(tc, supervisor_listen_fd_meant_for_another_process_is_none);
	tcase_add_test(tc, supervisor_listen_fd_pid_with_more_text_is_none);
	tcase_add_test(tc, supervisor_listen_fd_half_announced_is_none);
	tcase_add_loop_test(tc, supervisor_listen_fd_another_count_is_refused, 0,
		(int)(sizeof wrong_counts / sizeof wrong_counts[0]));
	tcase_add_test(tc, supervisor_listen_fd_closed_descriptor_is_refused);
	tcase_add_test(tc, supervisor_listen_fd_file_is_refused);
	tcase_add_test(tc, supervisor_listen_fd_that_does_not_listen_is_refused);
	tcase_add_test(tc, supervisor_listen_fd_datagrams_are_refused);
	tcase_add_test(tc, supervisor_listen_fd_unix_socket_is_refused);
	tcase_add_test(tc, supervisor_notify_by_path_tells);
	tcase_add_test(tc, supervisor_notify_by_abstract_name_tells);
	tcase_add_test(tc, supervisor_notify_to_nobody_does_nothing);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
