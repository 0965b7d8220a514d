#ifndef LLMLAB_API_BATCH_SPLIT_H
#define LLMLAB_API_BATCH_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include "llmlab/base/problem.h"

/* Cuts the body of a batch into the texts of its events, one after the other, so that the whole is never a
 * tree in memory. Checks the frame only ({"events":[...]} or lines); each event's own text is for the JSON
 * reader. */

struct batch_split {
	const char *data; /* not owned */
	size_t n;
	size_t at; /* next byte */
	bool lines;
	enum { BATCH_BEFORE, BATCH_FIRST, BATCH_INSIDE, BATCH_AFTER } state;
};

/* lines: newline-delimited JSON, blank lines are skipped. */
void batch_split_init(struct batch_split *s, const char *data, size_t n, bool lines);
/* The next event's text: *ret points into the data. ERR_NOT_FOUND: there is none any more and the frame is
 * whole. ERR_MALFORMED_JSON, ERR_VALIDATION: the frame is bad, *p says how. */
enum err batch_split_next(struct batch_split *s, const char **ret, size_t *ret_n, struct problem *p);

#endif
