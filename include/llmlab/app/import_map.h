#ifndef LLMLAB_APP_IMPORT_MAP_H
#define LLMLAB_APP_IMPORT_MAP_H

#include <stdbool.h>
#include "llmlab/app/csv.h"
#include "llmlab/base/arena.h"
#include "llmlab/base/buf.h"
#include "llmlab/base/err.h"
#include "llmlab/base/json_write.h"

/* Which column of a CSV file fills which field of an event (import_fields.def). */

enum import_kind { IMPORT_IGNORED, IMPORT_TEXT, IMPORT_NUMBER, IMPORT_INSTANT, IMPORT_TAG };

struct import_column {
	const char *name;  /* of the column, as the file has it; in the map's arena */
	const char *field; /* of the event, static; NULL: ignored; for tags the key, in the arena */
	enum import_kind kind;
};

struct import_map {
	struct arena arena;
	struct import_column columns[CSV_FIELDS_MAX];
	size_t n_columns;
};

/* Reads the header line. `map` is "field=column,..." (NULL: none) and wins over names that are known; `ignore` is
 * "column,..." (NULL: none). Refused, each told in a line of *problems: a --map with an unknown field or a column that is not
 * there, two columns for one field, a column that looks like a token count and is neither known, mapped nor ignored (its tokens
 * would silently not count), and a header that gives no count and no cost at all. ERR_VALIDATION, ERR_NO_MEMORY; *ret is set on
 * ERR_OK only. Release with import_map_release(). */
enum err import_map_read(const struct csv_record *header, const char *map, const char *ignore, struct import_map *ret,
	struct buf *problems);
void import_map_release(struct import_map *m);
/* Whether a column fills this field. */
bool import_map_has(const struct import_map *m, const char *field);
/* Writes the members of the record's event (empty cells are left out) into the object that is open in w. The record has as many
 * fields as the header. Numbers are copied digit by digit; what is not a number is written as text, so that the server
 * names the field. Instants become RFC 3339, cut to microseconds. */
void import_map_write(const struct import_map *m, const struct csv_record *record, struct json_writer *w);

#endif
