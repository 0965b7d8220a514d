/* One event loop: a libmicrohttpd daemon in external polling, its connections with their deadlines, and the
 * mailbox by which other threads give requests back.
 *
 * Why our own loop: libmicrohttpd 0.9.75 stops serving in its own epoll thread when exactly 128 events are
 * ready at once, and in external polling a resume from another thread can lose its wake-up. So only this
 * thread calls the library. Deadlines are ours because the library's timeout is inactivity only: a byte a
 * second would live for ever. What happens to a request is call.c's work. */

#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"

#define SCAN_EVERY_US (250 * US_PER_MS)
#define STUCK_LOOKS   3
/* While draining, idle keep-alive connections get this long to send a request that was on its way already. */
#define DRAIN_GRACE_US (500 * US_PER_MS)

static struct conn *conn_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info != NULL ? info->socket_context : NULL;
}

static void conn_opened(struct loop *l, struct MHD_Connection *mhd, void **socket_context)
{
	struct conn *conn = calloc(1, sizeof *conn);
	*socket_context = conn;
	const union MHD_ConnectionInfo *fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (conn == NULL) { /* without a deadline it must not stay */
		if (fd != NULL)
			(void)shutdown(fd->connect_fd, SHUT_RDWR);
		return;
	}
	const union MHD_ConnectionInfo *peer =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	conn->loop = l;
	conn->fd = fd != NULL ? fd->connect_fd : -1;
	address_of(peer != NULL ? peer->client_addr : NULL, conn->peer);
	conn->deadline_mono_us = clock_mono_us() + l->server->settings.header_us;
	conn->next = l->conns;
	if (conn->next != NULL)
		conn->next->prev = conn;
	l->conns = conn;
	l->n_conns++;
	metric_add(METRIC_CONNECTIONS, 1);
}

static void conn_closed(struct loop *l, void **socket_context)
{
	struct conn *conn = *socket_context;
	if (conn == NULL)
		return;
	if (conn->prev != NULL)
		conn->prev->next = conn->next;
	else
		l->conns = conn->next;
	if (conn->next != NULL)
		conn->next->prev = conn->prev;
	l->n_conns--;
	metric_add(METRIC_CONNECTIONS, -1);
	free(conn);
	*socket_context = NULL;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
	enum MHD_ConnectionNotificationCode what)
{
	struct loop *l = cls;
	switch (what) {
	case MHD_CONNECTION_NOTIFY_STARTED:
		conn_opened(l, mhd, socket_context);
		break;
	case MHD_CONNECTION_NOTIFY_CLOSED:
		conn_closed(l, socket_context);
		break;
	}
}

/* The request line is there; what this returns becomes the request's context. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	struct loop *l = cls;
	struct conn *conn = conn_of(mhd);
	if (conn == NULL)
		return NULL;
	struct call *c = call_new(l, conn, mhd, uri);
	conn->call = c;
	/* The library puts a NUL between the target and the version. Another NUL before it was sent by the
	 * client, and has cut the target. (True for 0.9.75 and pinned by tests/api/test_framing.py.) */
	if (c != NULL)
		c->uri_cut = strncmp(uri + strlen(uri) + 1, "HTTP/", 5) != 0;
	if (conn->n_requests++ > 0)
		conn->deadline_mono_us = clock_mono_us() + l->server->settings.header_us;
	return c;
}

static enum MHD_Result on_step(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
	const char *version, const char *data, size_t *n, void **context)
{
	(void)cls;
	(void)mhd;
	(void)url;
	struct call *c = *context;
	if (c == NULL)
		return MHD_NO;
	return call_step(c, method, version, data, n);
}

static void on_completed(
	void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why)
{
	struct loop *l = cls;
	(void)mhd;
	(void)why;
	struct call *c = *context;
	if (c == NULL)
		return;
	struct conn *conn = c->conn;
	conn->call = NULL;
	conn->deadline_mono_us = clock_mono_us() + l->server->settings.idle_us;
	call_finished(c);
	call_free(c);
	*context = NULL;
}

/* The library's own messages: client bytes may be in them, so only the event is kept. */
static void on_library_log(void *cls, const char *fmt, va_list args)
{
	(void)cls;
	(void)args;
	LOG_DEBUG("http library message", LOG_S("format", fmt));
}

/* With the mailbox locked: once the loop has taken what was posted it may end, and loop_join() takes the lock
 * once before the descriptor is closed. */
static void wake(struct loop *l)
{
	const uint64_t one = 1;
	const ssize_t written = write(l->wake_fd, &one, sizeof one);
	CHECK(written == (ssize_t)sizeof one || errno == EAGAIN);
}

void loop_post(struct call *c)
{
	struct loop *l = c->loop;
	pthread_mutex_lock(&l->mailbox_lock);
	const bool was_empty = l->mailbox == NULL;
	c->next = l->mailbox;
	l->mailbox = c;
	if (was_empty)
		wake(l); /* else whoever filled it has woken the loop, which takes everything at once */
	pthread_mutex_unlock(&l->mailbox_lock);
}

void loop_post_stream(struct loop *l, struct stream *s)
{
	pthread_mutex_lock(&l->mailbox_lock);
	*stream_next(s) = l->streams;
	l->streams = s;
	wake(l);
	pthread_mutex_unlock(&l->mailbox_lock);
}

static struct stream *take_streams(struct loop *l)
{
	pthread_mutex_lock(&l->mailbox_lock);
	struct stream *s = l->streams;
	l->streams = NULL;
	pthread_mutex_unlock(&l->mailbox_lock);
	return s;
}

static void resume_streams(struct loop *l)
{
	for (struct stream *s = take_streams(l), *next; s != NULL; s = next) {
		next = *stream_next(s);
		stream_resume(s);
	}
}

static void take_mailbox(struct loop *l)
{
	uint64_t count;
	const ssize_t got = read(l->wake_fd, &count, sizeof count);
	CHECK(got == (ssize_t)sizeof count || errno == EAGAIN || errno == EINTR);
	pthread_mutex_lock(&l->mailbox_lock);
	struct call *c = l->mailbox;
	l->mailbox = NULL;
	pthread_mutex_unlock(&l->mailbox_lock);
	struct call *in_order = NULL;
	while (c != NULL) {
		struct call *next = c->next;
		c->next = in_order;
		in_order = c;
		c = next;
	}
	while (in_order != NULL) {
		struct call *next = in_order->next;
		in_order->next = NULL;
		MHD_resume_connection(in_order->mhd);
		in_order = next;
	}
	resume_streams(l);
}

/* Suspended until the producer of its answer has something. */
static bool conn_awaits_stream(const struct conn *conn)
{
	return conn->call != NULL && conn->call->stream != NULL && stream_waiting(conn->call->stream);
}

/* A request that somebody else owns is not cut: its owner has a deadline of its own, and a suspended
 * connection can't be closed. */
static bool conn_out_of_hands(const struct conn *conn)
{
	if (conn->call == NULL)
		return false;
	const enum call_state state = conn->call->state;
	return state == CALL_RUNNING || state == CALL_PARKED || state == CALL_READY;
}

static void cut(struct conn *conn)
{
	if (conn->cut || conn->fd < 0)
		return;
	conn->cut = true;
	/* never close(): the descriptor is the library's, which sees the end of the stream and cleans up */
	if (conn->call != NULL && conn->call->stream != NULL)
		stream_reset(conn->fd);
	else
		(void)shutdown(conn->fd, SHUT_RDWR);
	metric_add(METRIC_CONNECTIONS_CUT, 1);
}

/* A line that fills the library's buffer in the middle of a chunked body (the size of a chunk, a trailer) can
 * never end: 0.9.75 then reads no more, but goes round for it as fast as it can until a deadline ends it.
 * Seen by something that stays in the socket from look to look, with a round of the library between them,
 * while no byte of the body is taken. (Pinned by tests/api/test_framing.py.) */
static bool conn_is_stuck(struct conn *conn)
{
	const struct call *const c = conn->call;
	struct pollfd waiting = {.fd = conn->fd, .events = POLLIN};
	if (c == NULL || c->state != CALL_READING || !c->begun || poll(&waiting, 1, 0) <= 0) {
		conn->stuck = 0;
		return false;
	}
	const size_t taken = c->body.len + c->discarded_bytes;
	conn->stuck = taken == conn->taken ? conn->stuck + 1 : 0;
	conn->taken = taken;
	return conn->stuck >= STUCK_LOOKS;
}

static void scan_deadlines(struct loop *l, int64_t now_us)
{
	if (now_us < l->next_scan_us)
		return;
	l->next_scan_us = now_us + SCAN_EVERY_US;
	for (struct conn *conn = l->conns; conn != NULL; conn = conn->next)
		if (conn_is_stuck(conn) || (now_us >= conn->deadline_mono_us && !conn_out_of_hands(conn) &&
						   !conn_awaits_stream(conn)))
			cut(conn);
}

static void drain_begin(struct loop *l, int64_t now_us)
{
	l->quiesced = true;
	l->quiesced_us = now_us;
	/* Accept what waits in the backlog: the kernel has let those clients in, and closing would reset
	 * them. In a socket that outlives us they wait for the next process. */
	struct pollfd waiting = {.fd = l->listen_fd, .events = POLLIN};
	const int rounds = l->server->settings.inherited ? 0 : BACKLOG_ROUNDS;
	for (int i = 0; i < rounds && poll(&waiting, 1, 0) > 0; i++)
		(void)MHD_run(l->daemon);
	const int fd = MHD_quiesce_daemon(l->daemon);
	if (fd >= 0)
		(void)close(fd);
}

/* True when the loop may end. Requests that others own are waited for without a limit of our own: the daemon
 * can't be stopped with one suspended, and each owner has a deadline (statements, the ingest writer's end).
 */
static bool drain_step(struct loop *l, int64_t now_us, int64_t deadline_us)
{
	if (!l->quiesced)
		drain_begin(l, now_us);
	if (l->conns == NULL)
		return true;
	if (now_us >= l->quiesced_us + DRAIN_GRACE_US)
		for (struct conn *conn = l->conns; conn != NULL; conn = conn->next)
			if (conn->call == NULL)
				(void)shutdown(conn->fd, SHUT_RD);
	if (now_us < deadline_us)
		return false;
	l->clean = false;
	bool waiting = false;
	for (struct conn *conn = l->conns; conn != NULL; conn = conn->next) {
		if (conn_out_of_hands(conn))
			waiting = true;
		else if (conn_awaits_stream(conn))
			waiting = stream_cut(conn->call->stream) || waiting;
		else
			cut(conn);
	}
	return !waiting;
}

static int poll_timeout_ms(struct loop *l, int64_t now_us)
{
	MHD_UNSIGNED_LONG_LONG library_ms = 0;
	if (MHD_get_timeout(l->daemon, &library_ms) == MHD_YES && library_ms == 0)
		return 0;
	const int64_t wait_us = l->next_scan_us - now_us;
	if (l->quiesced)
		return 5;
	return wait_us <= 0 ? 0 : (int)(wait_us / US_PER_MS) + 1;
}

static void *loop_main(void *arg)
{
	struct loop *l = arg;
	for (;;) {
		int64_t now_us = clock_mono_us();
		struct pollfd fds[2] = {
			{.fd = l->epoll_fd, .events = POLLIN}, {.fd = l->wake_fd, .events = POLLIN}};
		(void)poll(fds, 2, poll_timeout_ms(l, now_us));
		log_batch_begin();
		if (fds[1].revents != 0)
			take_mailbox(l);
		(void)MHD_run(l->daemon);
		log_batch_end();
		now_us = clock_mono_us();
		scan_deadlines(l, now_us);
		const int64_t deadline_us = l->stop_deadline_us;
		if (deadline_us != 0 && drain_step(l, now_us, deadline_us)) {
			l->ended = true;
			return NULL;
		}
	}
}

enum err loop_start(struct loop *l, struct http_server *s, int listen_fd, unsigned max_connections)
{
	*l = (struct loop){.server = s, .listen_fd = listen_fd, .clean = true, .wake_fd = -1};
	pthread_mutex_init(&l->mailbox_lock, NULL);
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->wake_fd < 0) {
		(void)close(listen_fd);
		return ERR_UNAVAILABLE;
	}
	const unsigned flags = MHD_USE_EPOLL | MHD_USE_ITC | MHD_USE_ERROR_LOG | MHD_ALLOW_SUSPEND_RESUME;
	l->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_step, l, MHD_OPTION_EXTERNAL_LOGGER,
		on_library_log, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT,
		max_connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEADER_POOL_BYTES,
		MHD_OPTION_CONNECTION_TIMEOUT, 0U, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l,
		MHD_OPTION_URI_LOG_CALLBACK, on_uri, l, MHD_OPTION_NOTIFY_COMPLETED, on_completed, l,
		MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_END);
	if (l->daemon == NULL) {
		(void)close(l->wake_fd);
		(void)close(listen_fd);
		return ERR_UNAVAILABLE;
	}
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	CHECK(info != NULL);
	l->epoll_fd = info->epoll_fd;
	if (pthread_create(&l->thread, NULL, loop_main, l) != 0) {
		MHD_stop_daemon(l->daemon);
		(void)close(l->wake_fd);
		return ERR_UNAVAILABLE;
	}
	l->started = true;
	(void)pthread_setname_np(l->thread, "http-loop");
	return ERR_OK;
}

void loop_stop(struct loop *l, int64_t deadline_mono_us)
{
	pthread_mutex_lock(&l->mailbox_lock);
	l->stop_deadline_us = deadline_mono_us;
	wake(l);
	pthread_mutex_unlock(&l->mailbox_lock);
}

bool loop_ended(const struct loop *l)
{
	return l->ended;
}

bool loop_join(struct loop *l)
{
	pthread_join(l->thread, NULL);
	pthread_mutex_lock(&l->mailbox_lock); /* whoever posted last has let go of it */
	pthread_mutex_unlock(&l->mailbox_lock);
	MHD_stop_daemon(l->daemon);
	for (struct stream *s = take_streams(l), *next; s != NULL; s = next) {
		next = *stream_next(s);
		stream_forget(s);
	}
	(void)close(l->wake_fd);
	pthread_mutex_destroy(&l->mailbox_lock);
	return l->clean;
}
