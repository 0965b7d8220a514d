/* Parsing: bounds a document before jansson allocates anything, keeps the text of every number that is not a
 * plain 64-bit integer, and writes values back as text. What an object means is json_decode.c's part. */
#include "llmlab/base/json_read.h"
#include "llmlab/base/check.h"
#include "llmlab/base/json_write.h"
#include <limits.h>
#include <stdio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX_CHARS 64
#define DEPTH_MAX	 JSON_WRITE_DEPTH_MAX
/* "<index>.0": at most 20 digits and two characters. */
#define INDEX_TEXT_MAX 23
#define NUL_REASON     "a NUL character is not allowed"

const struct json_limits json_limits_default = {.max_depth = 16, .max_nodes = 4096, .max_object_keys = 64};
const struct json_limits json_limits_response = {.max_depth = 24, .max_nodes = 16384, .max_object_keys = 256};
const struct json_limits json_limits_trusted = {
	.max_depth = 24, .max_nodes = UINT_MAX, .max_object_keys = UINT_MAX};

/* What the walk has found so far. */
struct scan {
	const char *data;
	size_t n;
	const struct json_limits *limits;
	struct problem *p;
	size_t at;     /* next byte */
	size_t values; /* keys included while an object's colon has not come by */
	size_t n_literals;
	size_t depth;
	char closer[DEPTH_MAX + 1];
	size_t keys[DEPTH_MAX + 1];
};

/* A number whose text is kept: where it stands in the input. */
struct span {
	size_t at;
	size_t length;
};

/* Line and column (in bytes) of a position, both from 1. */
static void position_of(const char *data, size_t at, size_t *ret_line, size_t *ret_column)
{
	size_t line = 1;
	size_t line_start = 0;
	for (size_t i = 0; i < at; i++) {
		if (data[i] == '\n') {
			line++;
			line_start = i + 1;
		}
	}
	*ret_line = line;
	*ret_column = at - line_start + 1;
}

/* Refuses the document at a position; reason is one of our own texts, never the client's bytes. */
static enum err refuse_at(struct problem *p, const char *data, size_t at, const char *reason)
{
	size_t line;
	size_t column;
	position_of(data, at, &line, &column);
	problem_set(p, ERR_MALFORMED_JSON, "The JSON is malformed at line %zu, column %zu: %s", line, column,
		reason);
	return p->code;
}

static enum err refuse_limit(struct problem *p, const char *what, unsigned limit)
{
	problem_set(p, ERR_TOO_LARGE, "The JSON has %s %u", what, limit);
	return p->code;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool in_number(char c)
{
	return is_digit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* Length of the longest run of characters that numbers are made of. */
static size_t number_length(const char *s, size_t n)
{
	size_t length = 0;
	while (length < n && in_number(s[length]))
		length++;
	return length;
}

/* Position after the closing quote of the string that opens at `at`; n if it is not closed. */
static size_t string_end(const char *data, size_t n, size_t at)
{
	for (at++; at < n; at++) {
		if (data[at] == '"')
			return at + 1;
		if (data[at] == '\\')
			at++;
	}
	return n;
}

/* True when the text is a JSON number that jansson cannot hold exactly as an integer. "-0" belongs to them. A
 * run that is no JSON number is left as it is, for jansson to refuse. */
static bool must_keep_text(const char *text, size_t length)
{
	const bool negative = text[0] == '-';
	int128 value;
	const enum err e = decimal_parse(text, length, 0, (int128)INT64_MAX + (negative ? 1 : 0), &value);
	if (e == ERR_SYNTAX)
		return false;
	if (e == ERR_RANGE || (negative && value == 0))
		return true;
	for (size_t i = 0; i < length; i++) {
		if (text[i] != '-' && !is_digit(text[i]))
			return true;
	}
	return false;
}

static enum err scan_number(struct scan *s)
{
	const char *const text = s->data + s->at;
	const size_t length = number_length(text, s->n - s->at);
	if (length > NUMBER_MAX_CHARS)
		return refuse_at(s->p, s->data, s->at, "a number has more than 64 characters");
	s->n_literals += must_keep_text(text, length);
	s->values++;
	s->at += length;
	return ERR_OK;
}

static enum err scan_open(struct scan *s, char closer)
{
	if (s->depth >= s->limits->max_depth)
		return refuse_limit(s->p, "more levels of nesting than", s->limits->max_depth);
	s->depth++;
	s->closer[s->depth] = closer;
	s->keys[s->depth] = 0;
	s->values++;
	s->at++;
	return ERR_OK;
}

static enum err scan_close(struct scan *s)
{
	if (s->depth == 0 || s->closer[s->depth] != s->data[s->at])
		return refuse_at(s->p, s->data, s->at, "a closing bracket does not match");
	s->depth--;
	s->at++;
	return ERR_OK;
}

/* A colon makes the string before it a key. */
static enum err scan_colon(struct scan *s)
{
	if (s->depth == 0 || s->closer[s->depth] != '}' || s->values == 0)
		return refuse_at(s->p, s->data, s->at, "a colon outside an object");
	s->values--;
	s->keys[s->depth]++;
	s->at++;
	if (s->keys[s->depth] > s->limits->max_object_keys)
		return refuse_limit(s->p, "an object with more keys than", s->limits->max_object_keys);
	return ERR_OK;
}

/* An unclosed string reaches to the end, and jansson refuses it. */
static enum err scan_string(struct scan *s)
{
	s->at = string_end(s->data, s->n, s->at);
	s->values++;
	return ERR_OK;
}

/* true, false, null; any other run of letters is jansson's to refuse. */
static enum err scan_word(struct scan *s)
{
	const char first = s->data[s->at];
	s->values += first == 't' || first == 'f' || first == 'n';
	while (s->at < s->n && s->data[s->at] >= 'a' && s->data[s->at] <= 'z')
		s->at++;
	return ERR_OK;
}

static enum err scan_next(struct scan *s)
{
	const char c = s->data[s->at];
	switch (c) {
	case '{':
		return scan_open(s, '}');
	case '[':
		return scan_open(s, ']');
	case '}':
	case ']':
		return scan_close(s);
	case ':':
		return scan_colon(s);
	case '"':
		return scan_string(s);
	case '\0': /* jansson 2.14 passes over one that follows a number or a word */
		return refuse_at(s->p, s->data, s->at, NUL_REASON);
	default:
		break;
	}
	if (c == '-' || is_digit(c))
		return scan_number(s);
	if (c >= 'a' && c <= 'z')
		return scan_word(s);
	s->at++;
	return ERR_OK;
}

/* Walks the document once and checks every limit. */
static enum err scan_document(struct scan *s)
{
	while (s->at < s->n) {
		const enum err e = scan_next(s);
		if (e != ERR_OK)
			return e;
		/* The last string may still turn out to be a key, hence the one more. */
		if (s->values > (size_t)s->limits->max_nodes + 1)
			return refuse_limit(s->p, "more values than", s->limits->max_nodes);
	}
	if (s->values > s->limits->max_nodes)
		return refuse_limit(s->p, "more values than", s->limits->max_nodes);
	return ERR_OK;
}

/* The input with each kept number replaced by its index, and where those numbers stood. */
struct rewrite {
	char *text; /* owned */
	size_t length;
	struct span *spans; /* owned; one for each literal */
};

static void rewrite_release(struct rewrite *r)
{
	free(r->text);
	free(r->spans);
}

static size_t index_text(size_t index, char out[INDEX_TEXT_MAX])
{
	const int length = snprintf(out, INDEX_TEXT_MAX, "%zu.0", index);
	CHECK(length > 0 && length < INDEX_TEXT_MAX);
	return (size_t)length;
}

/* Notes the spans of the n_literals numbers that scan_document() has counted. */
static void find_literals(const char *data, size_t n, struct span *spans, size_t n_literals)
{
	size_t found = 0;
	size_t at = 0;
	while (at < n) {
		if (data[at] == '"') {
			at = string_end(data, n, at);
		} else if (data[at] == '-' || is_digit(data[at])) {
			const size_t length = number_length(data + at, n - at);
			if (must_keep_text(data + at, length)) {
				CHECK(found < n_literals);
				spans[found++] = (struct span){.at = at, .length = length};
			}
			at += length;
		} else {
			at++;
		}
	}
	CHECK(found == n_literals);
}

static bool rewrite_numbers(const char *data, size_t n, size_t n_literals, struct rewrite *ret)
{
	/* A literal has at least two characters, so no sum here comes near SIZE_MAX. */
	char *const text = malloc(n + n_literals * INDEX_TEXT_MAX);
	struct span *const spans = calloc(n_literals, sizeof *spans);
	if (text == NULL || spans == NULL) {
		free(text);
		free(spans);
		return false;
	}
	find_literals(data, n, spans, n_literals);
	size_t length = 0;
	size_t from = 0;
	for (size_t i = 0; i < n_literals; i++) {
		memcpy(text + length, data + from, spans[i].at - from);
		length += spans[i].at - from;
		char index[INDEX_TEXT_MAX];
		const size_t index_length = index_text(i, index);
		memcpy(text + length, index, index_length);
		length += index_length;
		from = spans[i].at + spans[i].length;
	}
	memcpy(text + length, data + from, n - from);
	*ret = (struct rewrite){.text = text, .length = length + (n - from), .spans = spans};
	return true;
}

/* Where a byte of the rewritten text was in the input. */
static size_t original_position(const struct span *spans, size_t n_literals, size_t at)
{
	for (size_t i = 0; i < n_literals; i++) {
		char index[INDEX_TEXT_MAX];
		const size_t index_length = index_text(i, index);
		if (at <= spans[i].at)
			return at;
		/* Inside the index: the last byte of the literal, as jansson stands at the end of a token. */
		if (at < spans[i].at + index_length)
			return spans[i].at + spans[i].length - 1;
		at = at - index_length + spans[i].length;
	}
	return at;
}

/* Our words for jansson's reasons; its own text quotes the client's bytes. */
static const char *malformed_reason(enum json_error_code code)
{
	switch (code) {
	case json_error_premature_end_of_input:
		return "the text ends too early";
	case json_error_end_of_input_expected:
		return "something follows the end of the document";
	case json_error_invalid_utf8:
		return "the text is not valid UTF-8";
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return NUL_REASON;
	case json_error_duplicate_key:
		return "a key appears twice in an object";
	case json_error_invalid_syntax:
		return "unexpected token";
	case json_error_stack_overflow:
	case json_error_numeric_overflow:
	case json_error_unknown:
	case json_error_out_of_memory:
	case json_error_cannot_open_file:
	case json_error_invalid_argument:
	case json_error_invalid_format:
	case json_error_wrong_type:
	case json_error_null_value:
	case json_error_item_not_found:
	case json_error_index_out_of_range:
		break;
	}
	return "it cannot be read";
}

static enum err refuse_memory(struct problem *p)
{
	problem_set(p, ERR_NO_MEMORY, "There is not enough memory to read this JSON now");
	return p->code;
}

/* Copies the literals into the arena; NULL when it overflows. */
static const char *const *keep_literals(
	const char *data, const struct span *spans, size_t n_literals, struct arena *arena)
{
	const char **const literals = arena_array(arena, n_literals, sizeof *literals);
	for (size_t i = 0; literals != NULL && i < n_literals; i++)
		literals[i] = arena_strndup(arena, data + spans[i].at, spans[i].length);
	return arena_overflowed(arena) ? NULL : literals;
}

/* Why and where jansson has refused the text. */
static enum err refuse_syntax(const struct scan *s, const struct rewrite *r, const json_error_t *error)
{
	const enum json_error_code code = json_error_code(error);
	/* jansson tells how many bytes it has taken, up to the end of the token that it did not like. */
	const size_t taken = error->position > 0 ? (size_t)error->position : 1;
	const size_t at = code == json_error_premature_end_of_input
				  ? s->n
				  : original_position(r->spans, s->n_literals, taken - 1);
	return refuse_at(s->p, s->data, at < s->n ? at : s->n, malformed_reason(code));
}

/* ---- jansson and memory ---- */

static _Thread_local bool starved; /* an allocation for jansson has failed in this thread */
static pthread_once_t noting = PTHREAD_ONCE_INIT;
static json_malloc_t allocate; /* the allocator behind ours */

static void *noting_malloc(size_t n)
{
	void *const p = allocate(n);
	if (p == NULL)
		starved = true;
	return p;
}

static void note_allocations(void)
{
	json_free_t release;
	json_get_alloc_funcs(&allocate, &release);
	json_set_alloc_funcs(noting_malloc, release);
}

json_t *json_load_whole(const char *data, size_t n, json_error_t *error, bool *ret_starved)
{
	CHECK(pthread_once(&noting, note_allocations) == 0);
	starved = false;
	json_t *const root = json_loadb(data, n, JSON_REJECT_DUPLICATES, error);
	*ret_starved = starved;
	if (!starved)
		return root;
	json_decref(root);
	return NULL;
}

/* The rest of parsing once the limits hold. */
static enum err parse_scanned(struct json_doc *doc, const struct scan *s, struct arena *arena)
{
	struct rewrite r __attribute__((cleanup(rewrite_release))) = {0};
	const char *const *literals = NULL;
	if (s->n_literals > 0) {
		if (!rewrite_numbers(s->data, s->n, s->n_literals, &r))
			return refuse_memory(s->p);
		literals = keep_literals(s->data, r.spans, s->n_literals, arena);
		if (literals == NULL)
			return refuse_memory(s->p);
	}
	json_error_t error = {.text = ""};
	bool no_memory = false;
	json_t *const root = s->n_literals > 0 ? json_load_whole(r.text, r.length, &error, &no_memory)
					       : json_load_whole(s->data, s->n, &error, &no_memory);
	if (no_memory)
		return refuse_memory(s->p);
	if (root == NULL)
		return refuse_syntax(s, &r, &error);
	*doc = (struct json_doc){.root = root, .literals = literals, .n_literals = s->n_literals};
	return ERR_OK;
}

enum err json_doc_parse(struct json_doc *doc, const char *data, size_t n, const struct json_limits *limits,
	struct arena *arena, struct problem *p)
{
	CHECK(limits->max_depth <= DEPTH_MAX);
	*doc = (struct json_doc){.root = NULL};
	if (n == 0)
		return refuse_at(p, "", 0, "the text is empty");
	struct scan s = {.data = data, .n = n, .limits = limits, .p = p};
	const enum err e = scan_document(&s);
	return e != ERR_OK ? e : parse_scanned(doc, &s, arena);
}

void json_doc_release(struct json_doc *doc)
{
	json_decref(doc->root);
	*doc = (struct json_doc){.root = NULL};
}

const char *json_number_text(const struct json_doc *doc, const json_t *v, struct arena *arena)
{
	if (json_is_integer(v))
		return arena_printf(arena, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	if (!json_is_real(v))
		return NULL;
	/* The value of a real is an index that we have written ourselves. */
	const double index = json_real_value(v);
	CHECK(index >= 0 && index < (double)doc->n_literals);
	return doc->literals[(size_t)index];
}

static void write_value(struct json_writer *w, const char *key, const struct json_doc *doc, const json_t *v,
	struct arena *arena);

/* NOLINTNEXTLINE(misc-no-recursion): as deep as what was read, at most DEPTH_MAX */
static void write_object(
	struct json_writer *w, const struct json_doc *doc, const json_t *object, struct arena *arena)
{
	/* Looking through an object changes nothing in it, but jansson's iterator asks for one that may
	 * change. */
	union {
		const json_t *given;
		json_t *iterable;
	} view = {.given = object};
	const char *key;
	json_t *value;
	json_object_foreach (view.iterable, key, value) {
		write_value(w, key, doc, value, arena);
	}
}

/* NOLINTNEXTLINE(misc-no-recursion): as write_object() */
static void write_value(struct json_writer *w, const char *key, const struct json_doc *doc, const json_t *v,
	struct arena *arena)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		jw_object_begin(w, key);
		write_object(w, doc, v, arena);
		jw_object_end(w);
		break;
	case JSON_ARRAY:
		jw_array_begin(w, key);
		for (size_t i = 0; i < json_array_size(v); i++)
			write_value(w, NULL, doc, json_array_get(v, i), arena);
		jw_array_end(w);
		break;
	case JSON_STRING:
		jw_string(w, key, json_string_value(v));
		break;
	case JSON_INTEGER:
		jw_i64(w, key, json_integer_value(v));
		break;
	case JSON_REAL:
		jw_raw(w, key, json_number_text(doc, v, arena));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		jw_bool(w, key, json_is_true(v));
		break;
	case JSON_NULL:
		jw_null(w, key);
		break;
	}
}

const char *json_text(const struct json_doc *doc, const json_t *v, size_t max_bytes, struct arena *arena)
{
	struct buf out;
	buf_init(&out, max_bytes);
	struct json_writer w;
	jw_init(&w, &out);
	write_value(&w, NULL, doc, v, arena);
	if (out.starved)
		arena->overflowed = true; /* not too long: not enough memory */
	const char *const text = out.failed ? NULL : arena_strndup(arena, buf_str(&out), out.len);
	buf_release(&out);
	return text;
}
