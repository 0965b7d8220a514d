/* CSV records from a stream. Splits and unquotes; what columns mean is import_map.c's. */
#include "llmlab/app/csv.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/buf.h"

struct csv_reader {
	FILE *in;
	char *line_text; /* getline()'s */
	size_t line_size;
	uint64_t lines; /* read so far */
	struct buf raw; /* the record */
	char *unquoted; /* the texts of its fields, one after the other */
	size_t unquoted_size;
};

struct csv_reader *csv_reader_new(FILE *in)
{
	struct csv_reader *const r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->in = in;
	buf_init(&r->raw, CSV_RECORD_MAX_BYTES);
	return r;
}

void csv_reader_free(struct csv_reader *r)
{
	if (r == NULL)
		return;
	free(r->line_text);
	free(r->unquoted);
	buf_release(&r->raw);
	free(r);
}

/* Appends the next line with its end; ERR_NOT_FOUND at the end of the file. */
static enum err append_line(struct csv_reader *r, size_t *ret_quotes)
{
	const ssize_t n = getline(&r->line_text, &r->line_size, r->in);
	if (n < 0)
		return ferror(r->in) != 0 ? ERR_UNAVAILABLE
		       : feof(r->in) != 0 ? ERR_NOT_FOUND
					  : ERR_NO_MEMORY;
	const char *text = r->line_text;
	size_t length = (size_t)n;
	if (r->lines == 0 && length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
		text += 3; /* a byte order mark */
		length -= 3;
	}
	r->lines++;
	for (size_t i = 0; i < length; i++)
		*ret_quotes += text[i] == '"';
	buf_append(&r->raw, text, length);
	return r->raw.failed ? ERR_RANGE : ERR_OK;
}

static size_t without_line_end(const char *text, size_t n)
{
	if (n > 0 && text[n - 1] == '\n')
		n--;
	if (n > 0 && text[n - 1] == '\r')
		n--;
	return n;
}

/* Lines up to one that leaves no quote open. */
static enum err read_raw(struct csv_reader *r, struct csv_record *ret)
{
	for (;;) {
		buf_reset(&r->raw);
		size_t quotes = 0;
		ret->line = r->lines + 1;
		enum err e = append_line(r, &quotes);
		while (e == ERR_OK && quotes % 2 != 0)
			e = append_line(r, &quotes);
		const bool cut = e == ERR_NOT_FOUND && r->raw.len > 0; /* the file ends inside quotes */
		if (e != ERR_OK && !cut)
			return e;
		ret->raw = buf_str(&r->raw);
		ret->raw_bytes = without_line_end(ret->raw, r->raw.len);
		if (ret->raw_bytes > 0)
			return cut ? ERR_SYNTAX : ERR_OK;
	}
}

/* Unquotes the field that begins at *at into *out and moves both behind it. False: quotes where none may be.
 */
static bool take_field(const char **at, const char *end, char **out)
{
	const char *in = *at;
	char *to = *out;
	if (in < end && *in == '"') {
		for (in++; in < end; in++) {
			if (*in == '"' && (in + 1 == end || in[1] != '"'))
				break;
			in += *in == '"'; /* the first of two stands for one */
			*to++ = *in;
		}
		if (in == end)
			return false;
		in++;
	} else {
		while (in < end && *in != ',' && *in != '"')
			*to++ = *in++;
	}
	if (in < end && *in != ',')
		return false;
	*to++ = '\0';
	*at = in;
	*out = to;
	return true;
}

static enum err split(char *out, struct csv_record *ret)
{
	const char *at = ret->raw;
	const char *const end = at + ret->raw_bytes;
	ret->n_fields = 0;
	if (memchr(at, '\0', ret->raw_bytes) != NULL)
		return ERR_SYNTAX;
	for (;;) {
		if (ret->n_fields == CSV_FIELDS_MAX)
			return ERR_SYNTAX;
		ret->fields[ret->n_fields++] = out;
		if (!take_field(&at, end, &out))
			return ERR_SYNTAX;
		if (at == end)
			return ERR_OK;
		at++; /* the comma; a field follows even at the end */
	}
}

enum err csv_read(struct csv_reader *r, struct csv_record *ret)
{
	const enum err e = read_raw(r, ret);
	if (e != ERR_OK)
		return e;
	/* a field is never longer than its raw text and its comma, but for the last one's NUL */
	const size_t need = ret->raw_bytes + 2;
	if (need > r->unquoted_size) {
		char *const grown = realloc(r->unquoted, need);
		if (grown == NULL)
			return ERR_NO_MEMORY;
		r->unquoted = grown;
		r->unquoted_size = need;
	}
	return split(r->unquoted, ret);
}
