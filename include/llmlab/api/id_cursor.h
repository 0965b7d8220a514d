#ifndef LLMLAB_API_ID_CURSOR_H
#define LLMLAB_API_ID_CURSOR_H

#include "llmlab/base/json_write.h"
#include "llmlab/http/request.h"

/* The cursor of lists that are ordered by id (version 7, so newest first is by id downwards). */

/* True with *ret if the parameter `cursor` is given: the list goes on below that id. False also after naming
 * a bad one in *p. */
bool id_cursor_read(struct http_request *rq, struct uuid *ret, struct problem *p);
/* Writes next_cursor: the place below `last`, or null for NULL. */
void id_cursor_write(struct json_writer *w, const struct uuid *last, struct arena *arena);
/* Ends what api_page_begin() (api/support.h) began after its items: next_cursor as id_cursor_write(), and the answer. */
struct reply id_cursor_end(struct json_writer *w, const struct uuid *last, struct arena *arena);

#endif
