/* Reads the `traceparent` of a request and makes the ids of a new trace. Where they are logged and sent is
 * not decided here. */
#include "trace.h"
#include <stdio.h>
#include <string.h>
#include "llmlab/base/hex.h"
#include "llmlab/base/uuid.h"

/* version-trace-span-flags: where each begins. */
#define AT_TRACE 3
#define AT_SPAN	 36
#define AT_FLAGS 53
#define AT_END	 55

static bool is_hex(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char c = text[i];
		if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
			return false;
	}
	return true;
}

static bool is_zero(const char *text, size_t n)
{
	return strspn(text, "0") >= n;
}

/* Versions after 00 may add more behind a dash; ff is none. */
static bool is_good(const char *text)
{
	const size_t n = strlen(text);
	if (n < AT_END || text[AT_TRACE - 1] != '-' || text[AT_SPAN - 1] != '-' || text[AT_FLAGS - 1] != '-')
		return false;
	if (!is_hex(text, 2) || !is_hex(text + AT_TRACE, TRACE_ID_SIZE - 1) ||
		!is_hex(text + AT_SPAN, TRACE_SPAN_SIZE - 1) || !is_hex(text + AT_FLAGS, 2))
		return false;
	if (is_zero(text + AT_TRACE, TRACE_ID_SIZE - 1) || is_zero(text + AT_SPAN, TRACE_SPAN_SIZE - 1) ||
		memcmp(text, "ff", 2) == 0)
		return false;
	return memcmp(text, "00", 2) == 0 ? n == AT_END : n == AT_END || text[AT_END] == '-';
}

/* Ids are random and never zero: of their 16 bytes UUIDs fix some bits to ones. */
static void new_span(struct trace *t)
{
	const struct uuid random = uuid_v4();
	hex_encode(random.bytes + 8, 8, t->span_id);
}

void trace_begin(struct trace *t, const char *traceparent)
{
	new_span(t);
	if (traceparent != NULL && is_good(traceparent)) {
		memcpy(t->trace_id, traceparent + AT_TRACE, TRACE_ID_SIZE - 1);
		t->trace_id[TRACE_ID_SIZE - 1] = '\0';
		memcpy(t->flags, traceparent + AT_FLAGS, 2);
		t->flags[2] = '\0';
		return;
	}
	const struct uuid random = uuid_v4();
	hex_encode(random.bytes, 16, t->trace_id);
	memcpy(t->flags, "00", 3);
}

void trace_format(const struct trace *t, char out[TRACE_TEXT_SIZE])
{
	(void)snprintf(out, TRACE_TEXT_SIZE, "00-%s-%s-%s", t->trace_id, t->span_id, t->flags);
}
