#ifndef LLMLAB_APP_CSV_H
#define LLMLAB_APP_CSV_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "llmlab/base/err.h"

/* CSV as in RFC 4180: comma, double quotes, CRLF or LF. Records are read one at a time, in memory bounded by the largest one. */
#define CSV_RECORD_MAX_BYTES ((size_t)1 << 20)
#define CSV_FIELDS_MAX	     512

struct csv_record {
	const char *fields[CSV_FIELDS_MAX]; /* unquoted texts */
	size_t n_fields;
	const char *raw; /* the record as it stands in the file, without its line end */
	size_t raw_bytes;
	uint64_t line; /* of its first byte, from 1 */
};

struct csv_reader;
/* Reads from in, which stays the caller's. NULL without memory. */
struct csv_reader *csv_reader_new(FILE *in);
void csv_reader_free(struct csv_reader *r);
/* The next record that is not empty; its texts live until the next call. ERR_NOT_FOUND: the end. ERR_SYNTAX: quotes or NUL bytes
 * where none may be, or too many fields (ret->line and raw are set, reading can go on). ERR_RANGE: a record larger than
 * CSV_RECORD_MAX_BYTES, mostly a quote that is never closed (ret->line is set; reading cannot go on). ERR_UNAVAILABLE: reading
 * failed. ERR_NO_MEMORY. */
enum err csv_read(struct csv_reader *r, struct csv_record *ret);

#endif
