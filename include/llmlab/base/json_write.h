#ifndef LLMLAB_BASE_JSON_WRITE_H
#define LLMLAB_BASE_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>
#include "llmlab/base/buf.h"
#include "llmlab/base/decimal.h"
#include "llmlab/base/uuid.h"

/* Writes JSON into a buf. Commas and nesting are kept here; strings are escaped; money is written as an exact plain
 * decimal. The calls with a key are for objects, those without (key NULL) for arrays and the top value.
 * Errors are the buf's sticky `failed`. Wrong nesting is a CHECK. */
#define JSON_WRITE_DEPTH_MAX 24

struct json_writer {
	struct buf *out;                        /* not owned */
	unsigned depth;
	bool first[JSON_WRITE_DEPTH_MAX + 1];   /* no element yet at this depth */
	char closer[JSON_WRITE_DEPTH_MAX + 1];
};

void jw_init(struct json_writer *w, struct buf *out);
void jw_object_begin(struct json_writer *w, const char *key);
void jw_object_end(struct json_writer *w);
void jw_array_begin(struct json_writer *w, const char *key);
void jw_array_end(struct json_writer *w);
/* NULL is written as null. */
void jw_string(struct json_writer *w, const char *key, const char *value);
void jw_i64(struct json_writer *w, const char *key, int64_t value);
void jw_bool(struct json_writer *w, const char *key, bool value);
void jw_null(struct json_writer *w, const char *key);
/* value / 10^scale as a plain exact decimal number. */
void jw_decimal(struct json_writer *w, const char *key, int128 value, int scale);
/* A number for statistics (percentages, scores), at most 6 decimals; never for money. NaN and infinities are null. */
void jw_double(struct json_writer *w, const char *key, double value);
void jw_uuid(struct json_writer *w, const char *key, const struct uuid *value);
/* Instant, microseconds UTC, as RFC 3339 with milliseconds or finer and Z. */
void jw_instant(struct json_writer *w, const char *key, int64_t us);
/* The same, or null where there is none. */
void jw_instant_or_null(struct json_writer *w, const char *key, bool is_known, int64_t us);
/* Text that is JSON already (stored metadata); "null" if NULL. */
void jw_raw(struct json_writer *w, const char *key, const char *json);
/* The escaped text in quotes, then the tail ("" or ":"). */
void json_quote(struct buf *out, const char *s, size_t n, const char *tail);
/* Escapes s into out without quotes, as JSON strings need it. */
void json_escape(struct buf *out, const char *s, size_t n);

#endif
