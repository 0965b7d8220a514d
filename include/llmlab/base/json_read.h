#ifndef LLMLAB_BASE_JSON_READ_H
#define LLMLAB_BASE_JSON_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/decimal.h"
#include "llmlab/base/problem.h"

/* Reading JSON: a pre-scan that bounds depth, nodes and keys before jansson allocates anything, jansson itself for the
 * grammar (RFC 8259, strict, duplicate keys refused), and descriptor tables that turn an object into a C struct and
 * name every bad field at once.
 *
 * Numbers stay exact: jansson keeps reals as binary doubles, so the pre-scan notes the text of every number that is
 * not a plain 64-bit integer and gives jansson its index instead (docs/adr/0001). Nobody calls json_real_value():
 * json_number_text() gives the digits the client wrote. */

struct json_limits {
	unsigned max_depth;
	unsigned max_nodes;       /* values in all */
	unsigned max_object_keys; /* keys of one object */
};

/* The limits for request bodies: depth 16, 4,096 nodes, 64 keys an object (response bodies nest deeper: 24 deep,
 * 16,384 nodes, 256 keys are used where a whole provider response is accepted). */
extern const struct json_limits json_limits_default;
extern const struct json_limits json_limits_response;
/* For files of the operator (catalogue): depth 24, no other bound. */
extern const struct json_limits json_limits_trusted;

struct json_doc {
	json_t *root;                /* owned */
	const char *const *literals; /* texts of the non-integer numbers, in the arena */
	size_t n_literals;
};

/* Parses n bytes. On failure *p is set and doc->root is NULL: ERR_MALFORMED_JSON with line and column (in bytes, a number
 * of more than 64 characters too), ERR_TOO_LARGE with the limit that is broken, ERR_NO_MEMORY (also when the arena is
 * full). The arena keeps the literals and must outlive the doc. Release with
 * json_doc_release(). Client bytes never appear in the problem's detail. */
enum err json_doc_parse(struct json_doc *doc, const char *data, size_t n, const struct json_limits *limits,
	struct arena *arena, struct problem *p);
void json_doc_release(struct json_doc *doc);

/* json_loadb() for texts that must be read whole: jansson 2.14 leaves a character of a text out without a word when there is no
 * memory to keep it, so whatever it has read then is thrown away. NULL when refused, with *error set, or, with *ret_starved true,
 * when memory ran out. Equal keys are refused. Owned by the caller. Thread-safe. */
json_t *json_load_whole(const char *data, size_t n, json_error_t *error, bool *ret_starved);

/* The exact text of a number value (integer or not) of this doc. Integers are formatted into the arena.
 * NULL if v is not a number or the arena overflowed. */
const char *json_number_text(const struct json_doc *doc, const json_t *v, struct arena *arena);

/* Writes v as compact JSON text into the arena, numbers by their exact texts, object keys in the client's order.
 * NULL when longer than max_bytes or the arena overflowed. */
const char *json_text(const struct json_doc *doc, const json_t *v, size_t max_bytes, struct arena *arena);

/* ---- descriptor tables ---- */

/* A value that may be absent. `set` false: not in the body (or null where null means absent). */
struct opt_i64 {
	bool set;
	int64_t value;
};
struct opt_bool {
	bool set;
	bool value;
};
struct opt_decimal {
	bool set;
	int128 value; /* scaled as the field says */
};

enum json_field_type {
	JSON_FIELD_STRING,  /* const char *; min..max code points; NULL = absent; points into the doc */
	JSON_FIELD_I64,     /* struct opt_i64; min..max; 10, 10.0 and 1e1 are the same integer */
	JSON_FIELD_BOOL,    /* struct opt_bool */
	JSON_FIELD_DECIMAL, /* struct opt_decimal; number or decimal string; scale digits; 0 or more unless signed */
	JSON_FIELD_INSTANT, /* struct opt_i64, microseconds UTC: RFC 3339 text, or unix seconds / milliseconds */
	JSON_FIELD_CHOICE,  /* const char *: one of `choices`, the table's own pointer */
	JSON_FIELD_OBJECT,  /* const json_t * */
	JSON_FIELD_ARRAY,   /* const json_t *; min..max elements */
	JSON_FIELD_ANY,     /* const json_t * */
};

struct json_field {
	const char *name;
	enum json_field_type type;
	size_t offset;              /* of the member in the struct */
	int64_t min, max;           /* see the type; both 0: no bound (strings: at most 8,192 code points; decimals:
				     * 0 or more). Decimals: whole units; signed means min below 0 */
	bool required;              /* absent or null is an error */
	int scale;                  /* JSON_FIELD_DECIMAL: decimal digits kept */
	const char *const *choices; /* JSON_FIELD_CHOICE: NULL-terminated */
};

/* Fills *out (zeroed by the caller) from the object. Every problem is named with prefix + field name: wrong type, out
 * of bounds, missing, unknown (a misspelt field must not silently count as 0). prefix is "" or ends with '.'.
 * Strings containing control characters other than \t \n \r are refused. Returns ERR_OK or p->code; ERR_NO_MEMORY, and
 * no fields, when the problem's arena is full. */
enum err json_decode(const struct json_doc *doc, const json_t *object, const struct json_field *fields, size_t n_fields,
	void *out, const char *prefix, struct problem *p);

/* Number of code points in valid UTF-8. */
size_t utf8_length(const char *s);
/* True if the n bytes are valid UTF-8 without NUL. */
bool utf8_valid(const char *s, size_t n);

#endif
