#ifndef LLMLAB_API_EVENT_CSV_H
#define LLMLAB_API_EVENT_CSV_H

#include "llmlab/base/buf.h"
#include "llmlab/core/event.h"

/* Events as CSV (RFC 4180: lines end with CR LF, cells with quotes, commas or line ends are quoted). Numbers are
 * exact; what is absent is an empty cell. A text that a spreadsheet would run as a formula (it begins with = + - @,
 * a tab or a line end) gets an apostrophe before it. Errors are out->failed. */
void event_csv_header(struct buf *out);
void event_csv_row(struct buf *out, const struct event *e);

#endif
