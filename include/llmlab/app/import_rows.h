#ifndef LLMLAB_APP_IMPORT_ROWS_H
#define LLMLAB_APP_IMPORT_ROWS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "llmlab/base/buf.h"
#include "llmlab/base/err.h"

/* The rows of a CSV or NDJSON file as event bodies, each with an idempotency key that only depends on the row, so that a file can be
 * sent again, or from where it broke off, without counting anything twice:
 *     "import:" + hex SHA-256 of (provider option, model option, bytes of the row, how many equal rows came before)
 * A row that brings a key of its own, or a provider's response with an id, keeps that. */

enum import_format { IMPORT_CSV, IMPORT_NDJSON };

struct import_rows_options {
	enum import_format format;
	const char *provider, *model; /* for rows that do not say; NULL: none */
	const char *map, *ignore;     /* as in import_map_read(); CSV only */
};

struct import_rows;
/* Reads from in, which stays the caller's, as do the options' texts; both outlive the reader. For CSV the header is read here.
 * ERR_VALIDATION, told in *problems: the header cannot be used. ERR_NO_MEMORY, ERR_UNAVAILABLE. */
enum err import_rows_new(FILE *in, const struct import_rows_options *options, struct import_rows **ret, struct buf *problems);
void import_rows_free(struct import_rows *r);

struct import_row {
	uint64_t line;       /* of the file */
	const char *refused; /* why this row can't be sent; NULL: it can. Lives until the next call */
};
/* The next row; appends its event as one line of JSON and '\n' to out unless it is refused (out->failed: it does not fit, or no
 * memory). ERR_NOT_FOUND: the end. ERR_VALIDATION: the file can't be read on from here (a quote that is never closed), told in
 * ret->line and ret->refused. ERR_UNAVAILABLE: reading failed. ERR_NO_MEMORY. */
enum err import_rows_next(struct import_rows *r, struct buf *out, struct import_row *ret);
/* CSV: writes a line for each column that tells which field it fills ("" for NDJSON). */
void import_rows_describe(const struct import_rows *r, struct buf *out);

#endif
