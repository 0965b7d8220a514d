#ifndef LLMLAB_BASE_LOG_H
#define LLMLAB_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* One line per event on stderr: JSON (`LOG_FORMAT=json`) or text for a terminal. Values are escaped; secrets, bodies
 * and e-mail addresses are never passed in. Lines are at most 4 KiB and written with one write(2); a line that cannot
 * be written at once is counted and dropped, so logging never blocks serving. Only the edges log (app, http, ingest,
 * db connections): library code returns errors. Thread-safe. */
enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

struct log_field {
	const char *key;    /* static */
	enum { LOG_STR, LOG_INT, LOG_END } type;
	const char *str;
	int64_t num;
};

#define LOG_S(k, v) ((struct log_field){.key = (k), .type = LOG_STR, .str = (v)})
#define LOG_I(k, v) ((struct log_field){.key = (k), .type = LOG_INT, .num = (int64_t)(v)})

void log_configure(enum log_level level, bool json);
bool log_enabled(enum log_level level);
/* event is a fixed word group ("request", "database lost"); fields end with a LOG_END one (LOG() adds it). */
void log_write(enum log_level level, const char *event, const struct log_field *fields);
/* Between these two, this thread's lines are gathered and written several at a time (at most 4 KiB in one write): a loop that
 * ends hundreds of requests in one sweep logs them with a few system calls. Warnings and errors go out at once. */
void log_batch_begin(void);
void log_batch_end(void);
/* Lines dropped so far. */
uint64_t log_dropped(void);

/* LOG_INFO("request", LOG_S("path", path), LOG_I("status", 200)): an event and any number of fields, none too. */
#define LOG_INFO(...)  LOG(LOG_LEVEL_INFO, __VA_ARGS__)
#define LOG_WARN(...)  LOG(LOG_LEVEL_WARN, __VA_ARGS__)
#define LOG_ERROR(...) LOG(LOG_LEVEL_ERROR, __VA_ARGS__)
#define LOG_DEBUG(...) LOG(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define LOG(level, ...)                                                                                          \
	do {                                                                                                     \
		if (log_enabled(level))                                                                          \
			log_write((level), LOG_EVENT_(__VA_ARGS__, 0),                                           \
				(const struct log_field[]){LOG_FIELDS_(__VA_ARGS__, {.type = LOG_END})});        \
	} while (0)
/* The first of the arguments, and all but the first; the callers add one, so that there are always two. */
#define LOG_EVENT_(event, ...)  event
#define LOG_FIELDS_(event, ...) __VA_ARGS__

#endif
