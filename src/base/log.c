/* Turns an event into one line and writes it to stderr if that is possible at once. What is worth a line, and
 * what must never be in one, is the caller's business. */
#include "llmlab/base/log.h"
#include "llmlab/base/buf.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/clock.h"
#include "llmlab/base/json_write.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* A pipe that polls writable takes PIPE_BUF (4,096) bytes without blocking and without mixing lines. */
#define LINE_MAX_BYTES	4096
#define EVENT_MAX_BYTES 128
#define VALUE_MAX_BYTES 1024
/* What ends a line, kept free while fields are added. */
#define TAIL_MAX_BYTES 32

static _Atomic int log_level_min = LOG_LEVEL_INFO;
static _Atomic bool log_as_json;
static _Atomic uint64_t log_dropped_lines;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

void log_configure(enum log_level level, bool json)
{
	atomic_store(&log_level_min, (int)level);
	atomic_store(&log_as_json, json);
}

bool log_enabled(enum log_level level)
{
	return (int)level >= atomic_load_explicit(&log_level_min, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
	return atomic_load(&log_dropped_lines);
}

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_DEBUG:
		return "debug";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_WARN:
		return "warn";
	case LOG_LEVEL_ERROR:
		return "error";
	}
	return "unknown";
}

/* Bytes of the value that are shown: all, or up to the last whole character within max_bytes. */
static size_t value_shown(const char *value, size_t max_bytes)
{
	const size_t length = strnlen(value, max_bytes + 1);
	if (length <= max_bytes)
		return length;
	size_t shown = max_bytes;
	while (shown > max_bytes - 4 && ((unsigned char)value[shown] & 0xC0) == 0x80)
		shown--;
	return shown;
}

static void put_quoted(struct buf *line, const char *value, size_t max_bytes)
{
	const size_t shown = value_shown(value, max_bytes);
	if (value[shown] == '\0') {
		json_quote(line, value, shown, "");
		return;
	}
	buf_putc(line, '"');
	json_escape(line, value, shown);
	buf_puts(line, "...\"");
}

static void put_value(struct buf *line, const struct log_field *field)
{
	if (field->type == LOG_INT)
		buf_put_i64(line, field->num);
	else if (field->str == NULL)
		buf_puts(line, "null");
	else
		put_quoted(line, field->str, VALUE_MAX_BYTES);
}

static void put_field(struct buf *line, const struct log_field *field, bool json)
{
	buf_puts(line, json ? ",\"" : " ");
	buf_puts(line, field->key);
	buf_puts(line, json ? "\":" : "=");
	put_value(line, field);
}

static void put_head(struct buf *line, enum log_level level, const char *event, bool json)
{
	char now[INSTANT_TEXT_SIZE];
	instant_format(clock_now_us(), now);
	if (!json) {
		buf_printf(line, "%s %-5s ", now, level_name(level));
		json_escape(line, event, value_shown(event, EVENT_MAX_BYTES));
		return;
	}
	buf_printf(line, "{\"ts\":\"%s\",\"level\":\"%s\",\"event\":", now, level_name(level));
	put_quoted(line, event, EVENT_MAX_BYTES);
}

/* The whole line. Fields are added while they fit; one that does not is taken back as a whole, so that the
 * line stays well formed, and the line says so. */
static void put_line(
	struct buf *line, enum log_level level, const char *event, const struct log_field *fields)
{
	const bool json = atomic_load(&log_as_json);
	bool cut = false;
	put_head(line, level, event, json);
	for (; fields->type != LOG_END; fields++) {
		const size_t before = line->len;
		put_field(line, fields, json);
		if (line->failed) {
			line->failed = false;
			line->len = before;
			cut = true;
		}
	}
	line->max += TAIL_MAX_BYTES;
	if (cut)
		buf_puts(line, json ? ",\"truncated\":true" : " truncated=true");
	buf_puts(line, json ? "}\n" : "\n");
}

/* Writes all or nothing, without waiting for whoever reads stderr; true when written. */
static bool write_at_once(const char *data, size_t n)
{
	struct pollfd target = {.fd = STDERR_FILENO, .events = POLLOUT};
	for (;;) {
		const int ready = poll(&target, 1, 0);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready != 1 || (target.revents & POLLOUT) == 0)
			return false;
		const ssize_t written = write(STDERR_FILENO, data, n);
		if (written < 0 && errno == EINTR)
			continue;
		return written == (ssize_t)n;
	}
}

/* Lines of this thread that wait for the end of its batch: never more than one write takes. */
static _Thread_local struct {
	bool open;
	size_t n;
	size_t lines;
	char data[LINE_MAX_BYTES];
} log_batch;

static void write_lines(const char *data, size_t n, size_t lines)
{
	/* The lock keeps another thread's lines from taking the room that poll() has just found. */
	CHECK(pthread_mutex_lock(&log_lock) == 0);
	const bool written = write_at_once(data, n);
	CHECK(pthread_mutex_unlock(&log_lock) == 0);
	if (!written)
		atomic_fetch_add(&log_dropped_lines, lines);
}

static void flush_batch(void)
{
	if (log_batch.n > 0)
		write_lines(log_batch.data, log_batch.n, log_batch.lines);
	log_batch.n = log_batch.lines = 0;
}

void log_batch_begin(void)
{
	log_batch.open = true;
}

void log_batch_end(void)
{
	flush_batch();
	log_batch.open = false;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
	/* On the stack and never grown: max stays below size. */
	char memory[LINE_MAX_BYTES + 1];
	struct buf line = {.data = memory, .size = sizeof memory, .max = LINE_MAX_BYTES - TAIL_MAX_BYTES};
	put_line(&line, level, event, fields);
	CHECK(!line.failed);
	if (!log_batch.open) {
		write_lines(line.data, line.len, 1);
		return;
	}
	if (log_batch.n + line.len > sizeof log_batch.data)
		flush_batch();
	memcpy(log_batch.data + log_batch.n, line.data, line.len);
	log_batch.n += line.len;
	log_batch.lines++;
	if (level >= LOG_LEVEL_WARN)
		flush_batch(); /* what may precede an end is not kept back */
}
