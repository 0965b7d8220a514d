/* Streamed answers: a producer on a stream thread fills a bounded buffer, the loop empties it as fast as the
 * client reads. Not here: what is produced (the handler's source), and the deadlines of slow clients, which
 * are the connection's (loop.c).
 *
 * A stream has a side of each of the two: the producer's, and the reader's (first the reply, then
 * libmicrohttpd's response). Whoever finds nothing to do waits: the producer on the condition, the reader by
 * suspending its connection, which only the loop's thread resumes, told by the mailbox. The last reference
 * frees it: the request may be long gone when the producer notices. */

#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/log.h"
#include "llmlab/base/metrics.h"

#define RING_BYTES ((size_t)128 * 1024)
/* The client has this much to take in settings.stream_stall_us. */
#define PROGRESS_BYTES (RING_BYTES / 2)
/* What libmicrohttpd sets aside for each response; chunked ones are cut by the connection's own pool. */
#define BLOCK_BYTES ((size_t)16 * 1024)
/* A producer that waits looks this often whether its loop has ended without a word. */
#define LOOK_US US_PER_SECOND

struct stream {
	struct loop *loop;
	struct stream_source source; /* the producer's */
	/* the loop's thread only */
	struct call *call; /* being answered; NULL before and after */
	size_t progress_bytes;
	/* the mailbox's */
	struct stream *next;
	/* under the lock from here on */
	pthread_mutex_t lock;
	pthread_cond_t room;
	unsigned refs;
	bool waiting; /* the connection is suspended until there is something */
	bool posted;  /* in the mailbox */
	bool gone;    /* nobody reads any more */
	bool cut;     /* the reader is to end with an error */
	bool ended;   /* the producer has written everything, or has failed: */
	enum err outcome;
	size_t at, len; /* of what is in the ring */
	char ring[RING_BYTES];
};

struct stream *stream_new(struct loop *l, const struct stream_source *source)
{
	struct stream *s = calloc(1, sizeof *s);
	if (s == NULL) {
		source->release(source->state);
		return NULL;
	}
	s->loop = l;
	s->source = *source;
	s->refs = 2;
	pthread_condattr_t attr;
	CHECK(pthread_condattr_init(&attr) == 0 && pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	CHECK(pthread_cond_init(&s->room, &attr) == 0 && pthread_condattr_destroy(&attr) == 0);
	CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
	metric_add(METRIC_STREAMS, 1);
	return s;
}

/* Gives a reference and the lock back. */
static void unlock_unref(struct stream *s)
{
	CHECK(s->refs > 0);
	const bool last = --s->refs == 0;
	pthread_mutex_unlock(&s->lock);
	if (!last)
		return;
	pthread_cond_destroy(&s->room);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct stream **stream_next(struct stream *s)
{
	return &s->next;
}

void stream_forget(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	unlock_unref(s);
}

/* ---- the producer's side ---- */

/* There is something for the reader. Under the lock, so that the loop is still there: it sets `gone` first.
 */
static void wake_reader(struct stream *s)
{
	if (!s->waiting || s->posted || s->gone)
		return;
	s->posted = true;
	s->refs++;
	loop_post_stream(s->loop, s);
}

static void wait_for_room(struct stream *s)
{
	const int64_t until_us = clock_mono_us() + LOOK_US;
	const struct timespec at = {
		.tv_sec = until_us / US_PER_SECOND, .tv_nsec = until_us % US_PER_SECOND * 1000};
	(void)pthread_cond_timedwait(&s->room, &s->lock, &at);
	if (s->loop->ended)
		s->gone = true;
}

/* As much as fits without a wrap; returns how much. */
static size_t ring_put(struct stream *s, const char *from, size_t n)
{
	const size_t end = (s->at + s->len) % RING_BYTES;
	const size_t room = RING_BYTES - s->len;
	const size_t straight = RING_BYTES - end;
	if (n > room)
		n = room;
	if (n > straight)
		n = straight;
	memcpy(s->ring + end, from, n);
	s->len += n;
	return n;
}

bool stream_write(struct stream *s, const void *data, size_t n)
{
	const char *from = data;
	pthread_mutex_lock(&s->lock);
	while (n > 0 && !s->gone) {
		const size_t put = ring_put(s, from, n);
		from += put;
		n -= put;
		if (put > 0)
			wake_reader(s);
		else
			wait_for_room(s);
	}
	const bool read = !s->gone;
	pthread_mutex_unlock(&s->lock);
	return read;
}

void stream_run(struct stream *s, struct executor_thread *t)
{
	const enum err outcome = s->source.produce(s->source.state, s);
	s->source.release(s->source.state);
	metric_add(METRIC_STREAMS, -1);
	executor_free_thread(t);
	pthread_mutex_lock(&s->lock);
	s->ended = true;
	s->outcome = outcome;
	wake_reader(s);
	unlock_unref(s);
}

/* ---- the reader's side: the loop's thread ---- */

/* Gives the reader's reference back. */
void stream_abandon(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->gone = true;
	s->waiting = false;
	pthread_cond_signal(&s->room);
	unlock_unref(s);
}

static void response_freed(void *cls)
{
	struct stream *s = cls;
	if (s->call != NULL)
		stream_detach(s);
	stream_abandon(s);
}

void stream_detach(struct stream *s)
{
	s->call->stream = NULL;
	s->call = NULL;
}

static size_t ring_take(struct stream *s, char *out, size_t max)
{
	const size_t straight = RING_BYTES - s->at;
	size_t n = s->len < max ? s->len : max;
	if (n > straight)
		n = straight;
	memcpy(out, s->ring + s->at, n);
	s->at = (s->at + n) % RING_BYTES;
	s->len -= n;
	if (s->len <= RING_BYTES / 2)
		pthread_cond_signal(&s->room);
	return n;
}

static void extend_deadline(struct stream *s)
{
	s->progress_bytes = 0;
	s->call->conn->deadline_mono_us = clock_mono_us() + s->loop->server->settings.stream_stall_us;
}

/* What was asked for is in the kernel's hands, but for what is asked for now. */
static ssize_t sent_more(struct stream *s, size_t n)
{
	s->call->sent_bytes += n;
	s->progress_bytes += n;
	if (s->progress_bytes >= PROGRESS_BYTES)
		extend_deadline(s);
	return (ssize_t)n;
}

/* Linux ends a connection that is told to connect to nothing with a reset, at once. A normal end would look
 * like the end of the answer to a client of HTTP/1.0. */
void stream_reset(int fd)
{
	const struct sockaddr nothing = {.sa_family = AF_UNSPEC};
	if (connect(fd, &nothing, sizeof nothing) != 0)
		(void)shutdown(fd, SHUT_RDWR);
}

static ssize_t end_with_error(struct stream *s, enum err outcome)
{
	struct call *c = s->call;
	c->sent_code = outcome;
	LOG_WARN("answer cut", LOG_S("request_id", c->request_id), LOG_S("route", c->rq.route->id),
		LOG_S("code", err_code(outcome)), LOG_I("bytes_out", c->sent_bytes));
	stream_reset(c->conn->fd);
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static ssize_t read_stream(void *cls, uint64_t pos, char *out, size_t max)
{
	(void)pos;
	struct stream *s = cls;
	pthread_mutex_lock(&s->lock);
	const bool cut = s->cut;
	const size_t n = cut ? 0 : ring_take(s, out, max);
	const bool ended = s->ended;
	const enum err outcome = s->outcome;
	s->waiting = n == 0 && !cut && !ended;
	const bool waiting = s->waiting;
	pthread_mutex_unlock(&s->lock);
	if (n > 0)
		return sent_more(s, n);
	if (waiting) {
		/* whoever has woken us meanwhile has put a word into the mailbox, which this thread reads
		 * later */
		MHD_suspend_connection(s->call->mhd);
		return 0;
	}
	if (cut)
		return end_with_error(s, ERR_DRAINING);
	return outcome == ERR_OK ? MHD_CONTENT_READER_END_OF_STREAM : end_with_error(s, outcome);
}

/* HEAD: the library asks for nothing. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the type is libmicrohttpd's */
static ssize_t read_nothing(void *cls, uint64_t pos, char *out, size_t max)
{
	(void)cls;
	(void)pos;
	(void)out;
	(void)max;
	return MHD_CONTENT_READER_END_OF_STREAM;
}

/* The library would send the last chunk after the headers of a chunked answer to HEAD (0.9.75), which the
 * client would take for the begin of the next answer. So it is not chunked, and ends the connection. */
static struct MHD_Response *headers_only(void)
{
	struct MHD_Response *m =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1, read_nothing, NULL, NULL);
	if (m != NULL)
		(void)MHD_set_response_options(m, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
	return m;
}

struct MHD_Response *stream_response(struct call *c, struct stream *s)
{
	if (s == NULL)
		return headers_only();
	struct MHD_Response *m = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_stream, s, response_freed);
	if (m == NULL)
		return NULL;
	s->call = c;
	c->stream = s;
	extend_deadline(s);
	return m;
}

bool stream_waiting(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	const bool waiting = s->waiting;
	pthread_mutex_unlock(&s->lock);
	return waiting;
}

/* The time that the producer took is not the client's. */
static void resume(struct stream *s)
{
	extend_deadline(s);
	MHD_resume_connection(s->call->mhd);
}

void stream_resume(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->posted = false;
	const bool waiting = s->waiting;
	s->waiting = false;
	pthread_mutex_unlock(&s->lock);
	if (waiting)
		resume(s);
	pthread_mutex_lock(&s->lock);
	unlock_unref(s);
}

bool stream_cut(struct stream *s)
{
	pthread_mutex_lock(&s->lock);
	const bool waiting = s->waiting;
	s->cut = true;
	s->waiting = false;
	pthread_mutex_unlock(&s->lock);
	if (waiting)
		resume(s);
	return true;
}
