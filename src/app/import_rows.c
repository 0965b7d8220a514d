/* Rows of a file to event bodies with stable keys. Reading CSV is csv.c's, columns are import_map.c's; here
 * is what both forms of files share, and NDJSON, whose lines are events already. */
#include "llmlab/app/import_rows.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/app/csv.h"
#include "llmlab/app/import_map.h"
#include "llmlab/auth/digest.h"
#include "llmlab/base/hex.h"
#include "llmlab/base/json_read.h"
#include "llmlab/base/json_write.h"

/* Without this uthash ends the process when memory is short; count_equal() looks for the failure. */
#define HASH_NONFATAL_OOM 1
/* The keys are digests: any four bytes of one are a hash. */
#define HASH_FUNCTION(keyptr, keylen, hashv) memcpy(&(hashv), (keyptr), sizeof(hashv))
#include <uthash.h>

#define KEY_TEXT_MAX	80
#define LINE_MAX_BYTES	((size_t)1 << 20)
#define ARENA_MAX_BYTES ((size_t)64 << 20)
#define REFUSED_MAX	256

/* Rows seen, by the first half of their digest: two different rows with the same half do not happen. */
struct seen {
	uint8_t digest[16];
	uint64_t count;
	UT_hash_handle hh;
};

struct import_rows {
	FILE *in;
	struct import_rows_options options;
	struct csv_reader *csv;	  /* CSV only */
	struct csv_record record; /* the one read last */
	struct import_map map;
	char *line_text; /* NDJSON only, getline()'s */
	size_t line_size;
	uint64_t lines;
	struct seen *seen;
	char refused[REFUSED_MAX];
};

/* How many rows with these bytes came before; UINT64_MAX without memory. */
static uint64_t count_equal(struct import_rows *r, const uint8_t digest[32])
{
	struct seen *s = NULL;
	HASH_FIND(hh, r->seen, digest, sizeof s->digest, s);
	if (s != NULL)
		return ++s->count;
	s = calloc(1, sizeof *s);
	if (s == NULL)
		return UINT64_MAX;
	memcpy(s->digest, digest, sizeof s->digest);
	HASH_ADD(hh, r->seen, digest, sizeof s->digest, s);
	if (s->hh.tbl == NULL) {
		free(s);
		return UINT64_MAX;
	}
	return 0;
}

/* A text and what parts it from the next: none of them contains a NUL. */
static void digest_text(struct digest *d, const char *text, size_t n)
{
	digest_update(d, text, n);
	digest_update(d, "", 1);
}

/* The key of a row; false without memory. */
static bool make_key(struct import_rows *r, const char *raw, size_t n, char out[KEY_TEXT_MAX])
{
	uint8_t hash[32];
	digest_sha256(raw, n, hash);
	const uint64_t before = count_equal(r, hash);
	if (before == UINT64_MAX)
		return false;
	const char *const provider = r->options.provider != NULL ? r->options.provider : "";
	const char *const model = r->options.model != NULL ? r->options.model : "";
	char number[24];
	const int digits = snprintf(number, sizeof number, "%" PRIu64, before);
	struct digest *const d = digest_new();
	digest_text(d, provider, strlen(provider));
	digest_text(d, model, strlen(model));
	digest_text(d, raw, n);
	digest_text(d, number, (size_t)digits);
	digest_finish(d, hash);
	const size_t at = (size_t)snprintf(out, KEY_TEXT_MAX, "import:");
	hex_encode(hash, sizeof hash, out + at);
	return true;
}

static enum err refuse(struct import_rows *r, struct import_row *ret, const char *why)
{
	(void)snprintf(r->refused, sizeof r->refused, "%s", why);
	ret->refused = r->refused;
	return ERR_OK;
}

/* ---- CSV ---- */

static enum err next_csv(struct import_rows *r, struct buf *out, struct import_row *ret)
{
	const enum err e = csv_read(r->csv, &r->record);
	ret->line = r->record.line;
	if (e == ERR_RANGE) {
		(void)refuse(
			r, ret, "the record that begins here is larger than 1 MiB: is a quote never closed?");
		return ERR_VALIDATION;
	}
	if (e == ERR_SYNTAX)
		return refuse(r, ret, "not CSV: a quote stands where none may be, or is never closed");
	if (e != ERR_OK)
		return e;
	if (r->record.n_fields != r->map.n_columns) {
		(void)snprintf(r->refused, sizeof r->refused, "has %zu fields, the header has %zu",
			r->record.n_fields, r->map.n_columns);
		ret->refused = r->refused;
		return ERR_OK;
	}
	char key[KEY_TEXT_MAX];
	if (!make_key(r, r->record.raw, r->record.raw_bytes, key))
		return ERR_NO_MEMORY;
	struct json_writer w;
	jw_init(&w, out);
	jw_object_begin(&w, NULL);
	if (!import_map_has(&r->map, "idempotency_key"))
		jw_string(&w, "idempotency_key", key);
	if (r->options.provider != NULL && !import_map_has(&r->map, "provider"))
		jw_string(&w, "provider", r->options.provider);
	if (r->options.model != NULL && !import_map_has(&r->map, "model"))
		jw_string(&w, "model", r->options.model);
	import_map_write(&r->map, &r->record, &w);
	jw_object_end(&w);
	buf_putc(out, '\n');
	return ERR_OK;
}

static enum err read_header(struct import_rows *r, struct buf *problems)
{
	const enum err e = csv_read(r->csv, &r->record);
	if (e == ERR_NOT_FOUND || e == ERR_SYNTAX || e == ERR_RANGE) {
		buf_puts(problems, "the first line of the file is not a CSV header\n");
		return ERR_VALIDATION;
	}
	if (e != ERR_OK)
		return e;
	const struct import_rows_options *o = &r->options;
	const enum err mapped = import_map_read(&r->record, o->map, o->ignore, &r->map, problems);
	if (mapped != ERR_OK || o->model != NULL || import_map_has(&r->map, "model"))
		return mapped;
	buf_puts(problems,
		"no column is the model: give --model, or name the column with --map model=<column>\n");
	return ERR_VALIDATION;
}

/* ---- NDJSON ---- */

/* Whether the provider's response brings an id: it serves as the key then, and so a call that was recorded
 * live is not counted again. */
static bool has_response_id(const json_t *event)
{
	const json_t *const response = json_object_get(event, "response");
	const json_t *const id = json_object_get(response, "id");
	const json_t *const google_id = json_object_get(response, "responseId");
	return json_is_string(id) || json_is_string(google_id);
}

/* Writes the line with what it lacks put before its first member. */
static void write_line(struct buf *out, const char *text, size_t n, const json_t *event, const char *key,
	const struct import_rows_options *o)
{
	struct json_writer w;
	jw_init(&w, out);
	const size_t begin = out->len;
	jw_object_begin(&w, NULL);
	if (json_object_get(event, "idempotency_key") == NULL && !has_response_id(event))
		jw_string(&w, "idempotency_key", key);
	if (o->provider != NULL && json_object_get(event, "provider") == NULL)
		jw_string(&w, "provider", o->provider);
	if (o->model != NULL && json_object_get(event, "model") == NULL &&
		json_object_get(event, "response") == NULL)
		jw_string(&w, "model", o->model);
	const bool added = out->len > begin + 1;
	if (added && json_object_size(event) > 0)
		buf_putc(out, ',');
	buf_append(out, text + 1, n - 1); /* after its '{' */
	buf_putc(out, '\n');
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next line that is not blank, without the blanks around it. */
static enum err read_line(struct import_rows *r, const char **ret_text, size_t *ret_n, uint64_t *ret_line)
{
	for (;;) {
		const ssize_t got = getline(&r->line_text, &r->line_size, r->in);
		if (got < 0)
			return ferror(r->in) != 0 ? ERR_UNAVAILABLE
			       : feof(r->in) != 0 ? ERR_NOT_FOUND
						  : ERR_NO_MEMORY;
		r->lines++;
		const char *text = r->line_text;
		size_t n = (size_t)got;
		for (; n > 0 && is_space(text[n - 1]); n--)
			;
		for (; n > 0 && is_space(*text); n--)
			text++;
		if (n == 0)
			continue;
		*ret_text = text;
		*ret_n = n;
		*ret_line = r->lines;
		return ERR_OK;
	}
}

static enum err next_ndjson(struct import_rows *r, struct buf *out, struct import_row *ret)
{
	const char *text = NULL;
	size_t n = 0;
	const enum err e = read_line(r, &text, &n, &ret->line);
	if (e != ERR_OK)
		return e;
	if (n > LINE_MAX_BYTES)
		return refuse(r, ret, "the line is larger than 1 MiB");
	struct arena arena;
	arena_init(&arena, ARENA_MAX_BYTES);
	struct problem p;
	problem_init(&p, &arena);
	struct json_doc doc;
	char key[KEY_TEXT_MAX];
	enum err result = json_doc_parse(&doc, text, n, &json_limits_response, &arena, &p);
	if (result != ERR_OK || text[0] != '{') {
		const bool no_memory = result == ERR_NO_MEMORY;
		(void)refuse(r, ret, result != ERR_OK ? problem_detail(&p) : "the line is not a JSON object");
		result = no_memory ? ERR_NO_MEMORY : ERR_OK;
	} else if (!make_key(r, text, n, key)) {
		result = ERR_NO_MEMORY;
	} else {
		write_line(out, text, n, doc.root, key, &r->options);
	}
	json_doc_release(&doc);
	arena_release(&arena);
	return result;
}

/* ---- both ---- */

enum err import_rows_new(
	FILE *in, const struct import_rows_options *options, struct import_rows **ret, struct buf *problems)
{
	struct import_rows *const r = calloc(1, sizeof *r);
	if (r == NULL)
		return ERR_NO_MEMORY;
	r->in = in;
	r->options = *options;
	enum err e = ERR_OK;
	if (options->format == IMPORT_CSV) {
		r->csv = csv_reader_new(in);
		e = r->csv != NULL ? read_header(r, problems) : ERR_NO_MEMORY;
	}
	if (e != ERR_OK) {
		import_rows_free(r);
		return e;
	}
	*ret = r;
	return ERR_OK;
}

void import_rows_free(struct import_rows *r)
{
	if (r == NULL)
		return;
	struct seen *s = NULL;
	struct seen *next = NULL;
	HASH_ITER (hh, r->seen, s, next) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): frees the table with the last */
		HASH_DEL(r->seen, s);
		free(s);
	}
	csv_reader_free(r->csv);
	import_map_release(&r->map);
	free(r->line_text);
	free(r);
}

enum err import_rows_next(struct import_rows *r, struct buf *out, struct import_row *ret)
{
	*ret = (struct import_row){0};
	return r->options.format == IMPORT_CSV ? next_csv(r, out, ret) : next_ndjson(r, out, ret);
}

void import_rows_describe(const struct import_rows *r, struct buf *out)
{
	for (size_t i = 0; i < r->map.n_columns; i++) {
		const struct import_column *const c = &r->map.columns[i];
		if (c->kind == IMPORT_IGNORED)
			buf_printf(out, "  %s: left out\n", c->name);
		else
			buf_printf(out, "  %s -> %s%s\n", c->name, c->kind == IMPORT_TAG ? "tag." : "",
				c->field);
	}
}
