#ifndef LLMLAB_API_CURSOR_H
#define LLMLAB_API_CURSOR_H

#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/err.h"
#include "llmlab/base/uuid.h"

/* The opaque cursors of lists, base64url (RFC 4648 section 5, no padding). They are hints and not secrets:
 * whoever forges one sees only what the same filters show him anyway. */

/* The last event of a page: its successor in (occurred_at, id) order comes next. */
struct event_cursor {
	int64_t occurred_at_us;
	struct uuid id; /* version 7 with the millisecond of occurred_at_us */
};

#define EVENT_CURSOR_TEXT_SIZE 37 /* 27 bytes as 36 characters, and a NUL */
void event_cursor_format(const struct event_cursor *c, char out[EVENT_CURSOR_TEXT_SIZE]);
/* ERR_SYNTAX for any text that event_cursor_format() does not make. */
enum err event_cursor_parse(const char *text, struct event_cursor *ret);

/* Any text as a cursor, and back. In the arena; NULL without memory, from the second also for what the first
 * does not make. */
const char *text_cursor_format(const char *text, struct arena *arena);
const char *text_cursor_parse(const char *cursor, struct arena *arena);

#endif
