#ifndef LLMLAB_SRC_HTTP_TRACE_H
#define LLMLAB_SRC_HTTP_TRACE_H

#include <stdbool.h>

/* The place of a request in a distributed trace (W3C Trace Context, https://www.w3.org/TR/trace-context-2/).
 */

#define TRACE_ID_SIZE	33 /* 32 hex digits and a NUL */
#define TRACE_SPAN_SIZE 17 /* 16 hex digits and a NUL */
#define TRACE_TEXT_SIZE 56 /* version-trace-span-flags and a NUL */

struct trace {
	char trace_id[TRACE_ID_SIZE];  /* the caller's, or a new one */
	char span_id[TRACE_SPAN_SIZE]; /* this server's part of it, always new */
	char flags[3];		       /* the caller's; "00" (nothing is recorded) in a new trace */
};

/* Goes on with the trace of a `traceparent` header if it is well formed; begins a new one if it is not, or is
 * NULL. */
void trace_begin(struct trace *t, const char *traceparent);
/* As the `traceresponse` header has it, with NUL. */
void trace_format(const struct trace *t, char out[TRACE_TEXT_SIZE]);

#endif
