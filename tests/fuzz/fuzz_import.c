/* Files of the operator: CSV and NDJSON for the import, price files, own prices, .env. The first byte
 * chooses. Checks that each row of a CSV file becomes one line of JSON that jansson takes or is refused with
 * a reason, that line numbers grow, and that what is refused is told and what is taken can be freed. */
#include "../../src/providers/parse.h"
#include "fuzz.h"
#include "llmlab/app/csv.h"
#include "llmlab/app/dotenv.h"
#include "llmlab/app/import_rows.h"
#include "llmlab/base/buf.h"

#define OUT_MAX ((size_t)1 << 20)

static FILE *open_text(const char *text, size_t n)
{
	static char nothing[1];
	FILE *const in = n > 0 ? fmemopen((void *)(uintptr_t)text, n, "r") : fmemopen(nothing, 1, "w+");
	FUZZ_CHECK(in != NULL);
	return in;
}

static void check_line(const struct buf *out)
{
	FUZZ_CHECK(!out->failed && out->len > 1 && out->data[out->len - 1] == '\n');
	FUZZ_CHECK(memchr(out->data, '\n', out->len - 1) == NULL); /* one line */
	/* as the server reads it: jansson alone refuses numbers that are no double */
	struct arena arena;
	struct problem p;
	struct json_doc doc;
	arena_init(&arena, (size_t)4 << 20);
	problem_init(&p, &arena);
	FUZZ_CHECK(json_doc_parse(&doc, out->data, out->len - 1, &json_limits_trusted, &arena, &p) == ERR_OK);
	FUZZ_CHECK(json_is_string(json_object_get(doc.root, "idempotency_key")) ||
		   json_object_get(doc.root, "response") != NULL);
	json_doc_release(&doc);
	arena_release(&arena);
}

static void check_rows(const char *text, size_t n, enum import_format format)
{
	FILE *const in = open_text(text, n);
	const struct import_rows_options options = {
		.format = format, .model = "gpt-4", .ignore = "extra_tokens"};
	struct import_rows *rows = NULL;
	struct buf problems, out;
	buf_init(&problems, OUT_MAX);
	buf_init(&out, OUT_MAX);
	enum err e = import_rows_new(in, &options, &rows, &problems);
	FUZZ_CHECK(e == ERR_OK || (e == ERR_VALIDATION && problems.len > 0));
	uint64_t line = 0;
	while (e == ERR_OK) {
		struct import_row row = {0};
		buf_reset(&out);
		e = import_rows_next(rows, &out, &row);
		FUZZ_CHECK(e == ERR_OK || e == ERR_NOT_FOUND || (e == ERR_VALIDATION && row.refused != NULL));
		if (e != ERR_OK)
			break;
		FUZZ_CHECK(row.line > line);
		line = row.line;
		if (row.refused == NULL && format == IMPORT_CSV)
			check_line(&out);
	}
	import_rows_free(rows);
	buf_release(&problems);
	buf_release(&out);
	fclose(in);
}

static void check_csv_rows(const char *text, size_t n)
{
	check_rows(text, n, IMPORT_CSV);
}

static void check_ndjson_rows(const char *text, size_t n)
{
	check_rows(text, n, IMPORT_NDJSON);
}

static void check_csv(const char *text, size_t n)
{
	FILE *const in = open_text(text, n);
	struct csv_reader *const r = csv_reader_new(in);
	static struct csv_record record;
	uint64_t line = 0;
	enum err e;
	FUZZ_CHECK(r != NULL);
	while ((e = csv_read(r, &record)) == ERR_OK || e == ERR_SYNTAX) {
		FUZZ_CHECK(record.line > line && record.raw_bytes <= n);
		line = record.line;
		for (size_t i = 0; e == ERR_OK && i < record.n_fields; i++)
			FUZZ_CHECK(strlen(record.fields[i]) <= record.raw_bytes);
	}
	FUZZ_CHECK(e == ERR_NOT_FOUND || e == ERR_RANGE);
	csv_reader_free(r);
	fclose(in);
}

/* A price file's providers, without what makes a catalogue of them: loading the built-in ones each time would
 * take too long. */
static void check_provider(const char *text, size_t n)
{
	struct arena arena;
	struct problem p;
	struct json_doc doc;
	struct provider provider;
	arena_init(&arena, (size_t)4 << 20);
	problem_init(&p, &arena);
	if (json_doc_parse(&doc, text, n, &json_limits_trusted, &arena, &p) == ERR_OK) {
		struct parse ctx = {.doc = &doc, .keep = &arena, .p = &p};
		const bool good =
			json_is_object(doc.root) && parse_provider(&ctx, doc.root, "", false, &provider);
		FUZZ_CHECK(good == (json_is_object(doc.root) && problem_none(&p)));
		regexes_release(ctx.regexes);
		json_doc_release(&doc);
	}
	arena_release(&arena);
}

static void check_own_price(const char *text, size_t n)
{
	struct arena arena;
	struct problem p;
	struct json_doc doc;
	struct price_record record;
	arena_init(&arena, (size_t)4 << 20);
	problem_init(&p, &arena);
	if (json_doc_parse(&doc, text, n, &json_limits_default, &arena, &p) == ERR_OK) {
		if (json_is_object(doc.root)) {
			const enum err e = catalogue_parse_override(&doc, doc.root, &arena, &record, &p);
			FUZZ_CHECK((e == ERR_OK) == problem_none(&p));
			if (e == ERR_OK)
				catalogue_record_release(&record);
		}
		json_doc_release(&doc);
	}
	arena_release(&arena);
}

static void check_dotenv(const char *text, size_t n)
{
	struct dotenv d;
	struct buf problems;
	buf_init(&problems, OUT_MAX);
	const enum err e = dotenv_parse(text, n, &d, &problems);
	FUZZ_CHECK(e == ERR_OK || e == ERR_RANGE || (e == ERR_SYNTAX && problems.len > 0));
	if (e == ERR_OK) {
		for (size_t i = 0; i < d.n_entries; i++)
			FUZZ_CHECK(dotenv_get(&d, d.entries[i].key) != NULL);
		dotenv_release(&d);
	}
	buf_release(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const checks[])(const char *text, size_t n) = {
		check_csv_rows, check_ndjson_rows, check_csv, check_own_price, check_dotenv, check_provider};
	if (size == 0 || size > 16384)
		return 0;
	char *const text = fuzz_bytes(data + 1, size - 1);
	checks[data[0] % (sizeof checks / sizeof checks[0])](text, size - 1);
	free(text);
	return 0;
}
