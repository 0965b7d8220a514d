/* Cursors of lists that are ordered by id. */
#include "llmlab/api/id_cursor.h"
#include "llmlab/api/cursor.h"

bool id_cursor_read(struct http_request *rq, struct uuid *ret, struct problem *p)
{
	const char *const cursor = http_query_get(rq, "cursor");
	if (cursor == NULL)
		return false;
	const char *const text = text_cursor_parse(cursor, &rq->arena);
	if (text != NULL && uuid_parse(text, ret) == ERR_OK)
		return true;
	problem_add(p, "cursor", "is not one that this server gave out");
	return false;
}

void id_cursor_write(struct json_writer *w, const struct uuid *last, struct arena *arena)
{
	char text[UUID_TEXT_SIZE];
	if (last == NULL) {
		jw_null(w, "next_cursor");
		return;
	}
	uuid_format(last, text);
	const char *const cursor = text_cursor_format(text, arena);
	if (cursor == NULL)
		w->out->failed = true; /* a list must not end where only the memory does */
	jw_string(w, "next_cursor", cursor);
}

struct reply id_cursor_end(struct json_writer *w, const struct uuid *last, struct arena *arena)
{
	jw_array_end(w);
	id_cursor_write(w, last, arena);
	jw_object_end(w);
	return reply_json(200, w->out);
}
