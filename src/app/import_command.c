/* llmlab import: reads a file in batches, sends them, tells how far it is and what came of it. Reading rows
 * is import_rows.c's, the way to the server import_client.c's. */
#include <getopt.h>
#include <inttypes.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "llmlab/app/app.h"
#include "llmlab/app/import_client.h"
#include "llmlab/app/import_rows.h"
#include "llmlab/base/clock.h"

#define BATCH_DEFAULT  1000
#define BATCH_MAX      10000
#define REJECTED_SHOWN 20
/* A batch ends after the row that passes the first; one row more stays within the second, and that within
 * what the server takes. */
#define BODY_FULL_BYTES	   ((size_t)1 << 20)
#define BODY_MAX_BYTES	   ((size_t)15 << 19)
#define ANSWER_ARENA_BYTES ((size_t)256 << 20)
#define TERMINAL_US	   (200 * US_PER_MS)
#define PLAIN_US	   (10 * US_PER_SECOND)
#define BAR_WIDTH	   24

static const char HELP[] =
	"Usage: llmlab import FILE [options]\n\n"
	"Sends the calls in FILE (\"-\": standard input) to a server. CSV (RFC 4180, with a header line) or "
	"NDJSON (one event of\n"
	"POST /api/events/track a line). Every row gets an idempotency key made from its content, so the "
	"same file can be sent\n"
	"again, or after a break, and nothing counts twice; rows that are equal within the file count "
	"each.\n\n"
	"  --provider P          provider of rows that do not say\n"
	"  --model M             model of rows that do not say\n"
	"  --url URL             server (default: http://127.0.0.1:8000)\n"
	"  --key TOKEN           access token or API key; better in the environment variable LLMLAB_KEY, "
	"which other users\n"
	"                        of this machine cannot see\n"
	"  --format csv|ndjson   default: NDJSON if the file begins with {, else CSV\n"
	"  --map FIELD=COLUMN,.. which column is which field of an event, where the names do not tell\n"
	"  --ignore COLUMN,..    columns to leave out\n"
	"  --batch N             rows a request, 1 to 10000 (default: 1000)\n\n"
	"Exit code: 0 all rows are stored, 1 some are not, 2 wrong arguments.\n";

struct options {
	const char *path, *url, *key, *format;
	size_t batch;
	struct import_rows_options rows;
};

struct line {
	uint64_t number;     /* in the file */
	size_t begin, bytes; /* in the body */
};

struct totals {
	uint64_t rows, stored, duplicates, rejected, unpriced;
	struct money cost; /* of what was stored, now or earlier */
};

struct import {
	struct options options;
	FILE *in;
	int64_t in_bytes; /* 0: not known */
	struct import_rows *reader;
	struct import_client *client;
	struct buf body;
	struct line *lines; /* of the batch */
	struct import_result *results;
	size_t n;
	struct totals totals;
	bool terminal;
	int64_t began_us, shown_us; /* monotonic */
};

/* ---- telling ---- */

static void clear_line(const struct import *im)
{
	if (im->terminal)
		fputs("\r\033[K", stderr);
}

static void show_bar(const struct import *im, int64_t elapsed_us)
{
	const int64_t at = im->in_bytes > 0 ? (int64_t)ftello(im->in) : 0;
	const uint64_t rate = im->totals.rows * US_PER_SECOND / (uint64_t)elapsed_us;
	fputs("\r\033[K", stderr);
	if (at > 0) {
		const int filled = (int)(at * BAR_WIDTH / im->in_bytes);
		fputc('[', stderr);
		for (int i = 0; i < BAR_WIDTH; i++)
			fputc(i < filled ? '#' : '.', stderr);
		fprintf(stderr, "] %3d%%  ", (int)(at * 100 / im->in_bytes));
	}
	fprintf(stderr, "%" PRIu64 " rows  %" PRIu64 " rows/s", im->totals.rows, rate);
	if (at > 0) {
		const int64_t left_s = elapsed_us / US_PER_SECOND * (im->in_bytes - at) / at;
		fprintf(stderr, "  %" PRId64 ":%02d left", left_s / 60, (int)(left_s % 60));
	}
}

static void show_progress(struct import *im)
{
	const int64_t now_us = clock_mono_us();
	if (now_us - im->shown_us < (im->terminal ? TERMINAL_US : PLAIN_US))
		return;
	im->shown_us = now_us;
	if (im->terminal)
		show_bar(im, now_us - im->began_us);
	else
		fprintf(stderr, "%" PRIu64 " rows\n", im->totals.rows);
}

static void tell_waiting(const char *why, long seconds)
{
	if (isatty(STDERR_FILENO) == 1)
		fputs("\r\033[K", stderr);
	fprintf(stderr, "%s; waiting %ld s\n", why, seconds);
}

static void reject(struct import *im, uint64_t line, const char *reason)
{
	im->totals.rejected++;
	if (im->totals.rejected > REJECTED_SHOWN)
		return;
	clear_line(im);
	fprintf(stderr, "line %" PRIu64 ": %s\n", line, reason);
	if (im->totals.rejected == REJECTED_SHOWN)
		fputs("further rejected rows are counted only\n", stderr);
}

static void tell_summary(const struct import *im)
{
	const struct totals *t = &im->totals;
	char cost[DECIMAL_TEXT_MAX];
	decimal_format(t->cost.atto, MONEY_SCALE, cost);
	clear_line(im);
	printf("%" PRIu64 " rows: %" PRIu64 " stored, %" PRIu64 " duplicates, %" PRIu64 " rejected, %" PRIu64
	       " without a price; total cost %s USD\n",
		t->rows, t->stored, t->duplicates, t->rejected, t->unpriced, cost);
}

/* ---- sending ---- */

/* Fills the batch from the file. *ret_end: there are no more rows. */
static bool fill(struct import *im, bool *ret_end)
{
	im->n = 0;
	buf_reset(&im->body);
	while (im->n < im->options.batch && im->body.len < BODY_FULL_BYTES) {
		const size_t begin = im->body.len;
		struct import_row row;
		const enum err e = import_rows_next(im->reader, &im->body, &row);
		*ret_end = e == ERR_NOT_FOUND;
		if (*ret_end)
			return true;
		if (e == ERR_VALIDATION)
			fprintf(stderr, "llmlab: line %" PRIu64 ": %s\n", row.line, row.refused);
		else if (e != ERR_OK || im->body.failed)
			fprintf(stderr, "llmlab: reading failed after %" PRIu64 " rows: %s\n",
				im->totals.rows, e == ERR_UNAVAILABLE ? strerror(errno) : "out of memory");
		if (e != ERR_OK || im->body.failed)
			return false;
		im->totals.rows++;
		if (row.refused != NULL)
			reject(im, row.line, row.refused);
		else
			im->lines[im->n++] = (struct line){
				.number = row.line, .begin = begin, .bytes = im->body.len - begin};
	}
	return true;
}

/* Counts what is done and moves what is to be sent again to the front. Returns false when the sum of costs
 * overflows. */
static bool settle(struct import *im)
{
	size_t kept = 0, to = 0;
	for (size_t i = 0; i < im->n; i++) {
		const struct import_result *const r = &im->results[i];
		const struct line line = im->lines[i];
		switch (r->outcome) {
		case IMPORT_STORED:
		case IMPORT_DUPLICATE:
			im->totals.stored += r->outcome == IMPORT_STORED;
			im->totals.duplicates += r->outcome == IMPORT_DUPLICATE;
			im->totals.unpriced += !r->has_cost;
			if (!money_add(im->totals.cost, r->cost, &im->totals.cost))
				return false;
			break;
		case IMPORT_REJECTED:
			reject(im, line.number, r->reason);
			break;
		case IMPORT_AGAIN:
			memmove(im->body.data + to, im->body.data + line.begin, line.bytes);
			im->lines[kept++] =
				(struct line){.number = line.number, .begin = to, .bytes = line.bytes};
			to += line.bytes;
			break;
		}
	}
	im->n = kept;
	im->body.len = to;
	return true;
}

/* Sends the batch until every row of it has its outcome. */
static bool send_batch(struct import *im)
{
	while (im->n > 0) {
		struct arena arena;
		arena_init(&arena, ANSWER_ARENA_BYTES);
		char message[IMPORT_MESSAGE_MAX] = "";
		const size_t before = im->n;
		bool good = import_client_send(im->client, im->body.data, im->body.len, &arena, im->results,
				    im->n, tell_waiting, message) == ERR_OK;
		if (good && !settle(im)) {
			good = false;
			(void)snprintf(message, sizeof message, "the sum of costs is beyond all bounds");
		}
		if (good && im->n < before)
			import_client_progress(im->client);
		arena_release(&arena);
		if (good && im->n > 0) {
			(void)snprintf(
				message, sizeof message, "the server is not ready for %zu rows", im->n);
			good = import_client_wait(im->client, message, tell_waiting);
		}
		if (!good) {
			clear_line(im);
			fprintf(stderr, "llmlab: %s\n", message);
			return false;
		}
	}
	return true;
}

static bool send_all(struct import *im)
{
	bool end = false;
	bool good = true;
	im->began_us = clock_mono_us();
	im->shown_us = im->began_us;
	while (good && !end) {
		/* What was read before a failure is sent all the same. */
		good = fill(im, &end);
		good = send_batch(im) && good;
		show_progress(im);
	}
	return good;
}

/* ---- arguments ---- */

static bool parse_batch(const char *text, size_t *ret)
{
	int128 value;
	if (decimal_parse(text, strlen(text), 0, BATCH_MAX, &value) != ERR_OK || value < 1)
		return false;
	*ret = (size_t)value;
	return true;
}

static int usage(const char *why)
{
	fprintf(stderr, "llmlab: %s; see llmlab import --help\n", why);
	return 2;
}

/* -1: go on; else the exit code. */
static int parse_options(int argc, char **argv, struct options *o)
{
	enum { PROVIDER = 1, MODEL, URL, KEY, FORMAT, MAP, IGNORE, BATCH, HELP_TEXT };
	static const struct option known[] = {{"provider", required_argument, NULL, PROVIDER},
		{"model", required_argument, NULL, MODEL}, {"url", required_argument, NULL, URL},
		{"key", required_argument, NULL, KEY}, {"format", required_argument, NULL, FORMAT},
		{"map", required_argument, NULL, MAP}, {"ignore", required_argument, NULL, IGNORE},
		{"batch", required_argument, NULL, BATCH}, {"help", no_argument, NULL, HELP_TEXT}, {0}};
	*o = (struct options){
		.url = "http://127.0.0.1:8000", .key = getenv("LLMLAB_KEY"), .batch = BATCH_DEFAULT};
	const char **const texts[] = {[PROVIDER] = &o->rows.provider,
		[MODEL] = &o->rows.model,
		[URL] = &o->url,
		[KEY] = &o->key,
		[FORMAT] = &o->format,
		[MAP] = &o->rows.map,
		[IGNORE] = &o->rows.ignore};
	for (int got = getopt_long(argc, argv, "", known, NULL); got != -1;
		got = getopt_long(argc, argv, "", known, NULL)) {
		if (got == HELP_TEXT)
			return fputs(HELP, stdout) < 0;
		if (got == '?')
			return 2; /* told by getopt */
		if (got == BATCH && !parse_batch(optarg, &o->batch))
			return usage("--batch must be 1 to 10000");
		if (got != BATCH)
			*texts[got] = optarg;
	}
	if (argc - optind != 1)
		return usage("import wants one file");
	o->path = argv[optind];
	if (o->key == NULL || o->key[0] == '\0')
		return usage("a token is missing: set LLMLAB_KEY or give --key");
	if (o->format != NULL && strcmp(o->format, "csv") != 0 && strcmp(o->format, "ndjson") != 0)
		return usage("--format must be csv or ndjson");
	return -1;
}

/* ---- the whole ---- */

static bool open_file(struct import *im)
{
	const bool standard = strcmp(im->options.path, "-") == 0;
	im->in = standard ? stdin : fopen(im->options.path, "rbe");
	if (im->in == NULL) {
		fprintf(stderr, "llmlab: %s: %s\n", im->options.path, strerror(errno));
		return false;
	}
	struct stat st;
	if (fstat(fileno(im->in), &st) == 0 && S_ISREG(st.st_mode))
		im->in_bytes = st.st_size;
	int first = EOF;
	if (im->options.format == NULL) {
		first = fgetc(im->in);
		if (first != EOF)
			(void)ungetc(first, im->in);
	}
	const bool lines =
		im->options.format != NULL ? strcmp(im->options.format, "ndjson") == 0 : first == '{';
	im->options.rows.format = lines ? IMPORT_NDJSON : IMPORT_CSV;
	return true;
}

static bool open_reader(struct import *im)
{
	struct buf text;
	buf_init(&text, (size_t)1 << 20);
	const enum err e = import_rows_new(im->in, &im->options.rows, &im->reader, &text);
	if (e == ERR_OK)
		import_rows_describe(im->reader, &text);
	if (e == ERR_VALIDATION)
		fprintf(stderr, "llmlab: %s:\n%s", im->options.path, buf_str(&text));
	else if (e != ERR_OK)
		fprintf(stderr, "llmlab: %s: %s\n", im->options.path,
			e == ERR_UNAVAILABLE ? "reading failed" : "out of memory");
	else
		fputs(buf_str(&text), stderr);
	buf_release(&text);
	return e == ERR_OK;
}

static bool prepare(struct import *im)
{
	im->terminal = isatty(STDERR_FILENO) == 1;
	buf_init(&im->body, BODY_MAX_BYTES);
	im->lines = calloc(im->options.batch, sizeof *im->lines);
	im->results = calloc(im->options.batch, sizeof *im->results);
	if (im->lines == NULL || im->results == NULL ||
		import_client_new(im->options.url, im->options.key, &im->client) != ERR_OK) {
		fputs("llmlab: out of memory\n", stderr);
		return false;
	}
	return open_file(im) && open_reader(im);
}

static void release(struct import *im)
{
	import_rows_free(im->reader);
	import_client_free(im->client);
	buf_release(&im->body);
	free(im->lines);
	free(im->results);
	if (im->in != NULL && im->in != stdin)
		(void)fclose(im->in);
}

int command_import(int argc, char **argv)
{
	struct import im = {0};
	const int code = parse_options(argc, argv, &im.options);
	if (code >= 0)
		return code;
	bool good = prepare(&im);
	if (good) {
		good = send_all(&im);
		tell_summary(&im);
		if (!good)
			fputs("Not all of the file was sent. Run it again to go on: nothing counts twice.\n",
				stderr);
	}
	release(&im);
	return good && im.totals.rejected == 0 ? 0 : 1;
}
