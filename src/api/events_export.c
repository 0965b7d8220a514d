/* GET /api/events/export: all events of a filter as one file, of any length, in constant memory. It reads
 * page after page by key, newest first, each page at its own moment: no transaction stays open while a client
 * takes its time. So what is recorded meanwhile is in the file only where its time has not been passed yet,
 * nothing is in it twice, and nothing that was there all the time is missing. Not here: the way to the
 * client, and what slow clients may do (http/stream.c). */
#include <stdlib.h>
#include <string.h>
#include "llmlab/api/event_csv.h"
#include "llmlab/api/event_filter.h"
#include "llmlab/api/event_output.h"
#include "llmlab/api/handlers.h"
#include "llmlab/base/clock.h"

#define PAGE_EVENTS	 500
#define PAGE_MAX_BYTES	 ((size_t)16 << 20)
#define FILTER_MAX_BYTES ((size_t)16 << 10)
#define PIECE_BYTES	 ((size_t)64 << 10)
#define PIECE_MAX_BYTES	 ((size_t)1 << 20)
/* A filter that few events pass may have to look at millions for one page. The end of the server waits so
 * long at most. */
#define PAGE_US (10 * US_PER_SECOND)

static const char *const PARAMETERS[] = {EVENT_FILTER_PARAMETERS, "format", NULL};
static const char *const FORMATS[] = {"csv", "ndjson", NULL};

struct exporter {
	struct db_conn *db; /* the thread's */
	struct uuid user_id;
	struct events_filter filter; /* texts in `texts`; the key of the last event of the page before */
	struct arena texts;
	bool csv;
	struct arena page_arena;
	struct event *events; /* the page, in page_arena */
	size_t n;
	struct buf piece;
};

static void exporter_free(void *state)
{
	struct exporter *const x = state;
	arena_release(&x->texts);
	arena_release(&x->page_arena);
	buf_release(&x->piece);
	free(x);
}

/* The request's texts end with it. */
static enum err copy_filter(struct exporter *x, const struct events_filter *f)
{
	x->filter = *f;
	x->filter.limit = PAGE_EVENTS;
	x->filter.provider = arena_strdup(&x->texts, f->provider);
	x->filter.model = arena_strdup(&x->texts, f->model);
	x->filter.project = arena_strdup(&x->texts, f->project);
	x->filter.customer = arena_strdup(&x->texts, f->customer);
	x->filter.status = arena_strdup(&x->texts, f->status);
	x->filter.tag_key = arena_strdup(&x->texts, f->tag_key);
	x->filter.tag_value = arena_strdup(&x->texts, f->tag_value);
	return arena_overflowed(&x->texts) ? ERR_NO_MEMORY : ERR_OK;
}

static struct exporter *exporter_new(const struct http_request *rq, const struct events_filter *f, bool csv)
{
	struct exporter *const x = calloc(1, sizeof *x);
	if (x == NULL)
		return NULL;
	x->db = api_db(rq);
	x->user_id = rq->principal.user_id;
	x->csv = csv;
	arena_init(&x->texts, FILTER_MAX_BYTES);
	arena_init(&x->page_arena, PAGE_MAX_BYTES);
	buf_init(&x->piece, PIECE_MAX_BYTES);
	if (copy_filter(x, f) == ERR_OK)
		return x;
	exporter_free(x);
	return NULL;
}

static enum err read_page(struct exporter *x)
{
	arena_release(&x->page_arena);
	const int64_t before_us = db_conn_set_deadline(x->db, PAGE_US);
	const enum err e = events_list(x->db, &x->user_id, &x->filter, &x->page_arena, &x->events, &x->n);
	(void)db_conn_set_deadline(x->db, before_us);
	if (e != ERR_OK || x->n == 0)
		return e;
	const struct event *const last = &x->events[x->n - 1];
	x->filter.before_us = last->occurred_at_us;
	x->filter.before_id = last->id;
	return ERR_OK;
}

static void put_event(struct exporter *x, const struct event *e)
{
	if (x->csv) {
		event_csv_row(&x->piece, e);
		return;
	}
	struct json_writer w;
	jw_init(&w, &x->piece);
	event_write_full(&w, NULL, e);
	buf_putc(&x->piece, '\n');
}

/* False: nobody reads any more. */
static bool hand_on(struct exporter *x, struct stream *out)
{
	const bool read = stream_write(out, x->piece.data, x->piece.len);
	buf_reset(&x->piece);
	return read;
}

static enum err write_page(struct exporter *x, struct stream *out, bool *ret_read)
{
	for (size_t i = 0; i < x->n && *ret_read; i++) {
		put_event(x, &x->events[i]);
		if (x->piece.failed)
			return ERR_NO_MEMORY;
		if (x->piece.len >= PIECE_BYTES)
			*ret_read = hand_on(x, out);
	}
	return ERR_OK;
}

/* The first page has been read. */
static enum err export_produce(void *state, struct stream *out)
{
	struct exporter *const x = state;
	bool read = true;
	if (x->csv)
		event_csv_header(&x->piece);
	for (;;) {
		enum err e = write_page(x, out, &read);
		if (e != ERR_OK || !read)
			return e;
		if (x->n < PAGE_EVENTS)
			break;
		e = read_page(x);
		if (e != ERR_OK)
			return e;
	}
	if (x->piece.failed)
		return ERR_NO_MEMORY;
	(void)hand_on(x, out);
	return ERR_OK;
}

static struct reply answer(struct exporter *x, const struct range *range)
{
	char first[DATE_TEXT_SIZE], last[DATE_TEXT_SIZE];
	calendar_format_date(range->first_day, first);
	calendar_format_date(range->end_day - 1, last);
	struct reply r = reply_stream(200,
		x->csv ? "text/csv; charset=utf-8; header=present" : "application/x-ndjson",
		(struct stream_source){.produce = export_produce, .release = exporter_free, .state = x});
	reply_set_header(&r, "Content-Disposition", "attachment; filename=\"llmlab-events-%s-%s.%s\"", first,
		last, x->csv ? "csv" : "ndjson");
	return r;
}

struct reply api_events_export(struct http_request *rq)
{
	struct problem p;
	problem_init(&p, &rq->arena);
	api_query_allow(rq, PARAMETERS, &p);
	const char *const format = api_query_choice(rq, "format", FORMATS, &p);
	struct events_filter f = {0};
	struct range range;
	enum err e = event_filter_read(rq, &f, &range, &p);
	if (e != ERR_OK)
		return api_fail(rq, e, &p);
	struct exporter *const x = exporter_new(rq, &f, format == NULL || strcmp(format, "csv") == 0);
	if (x == NULL)
		return api_fail(rq, ERR_NO_MEMORY, NULL);
	/* what goes wrong here can still be answered as an error */
	e = read_page(x);
	if (e == ERR_OK)
		return answer(x, &range);
	exporter_free(x);
	return api_fail(rq, e, NULL);
}
