/* Columns to fields. Judges names and copies cells; whether a value is good is the server's to say. */
#include "llmlab/app/import_map.h"
#include <ctype.h>
#include <string.h>
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/decimal.h"
#include "llmlab/core/tag.h"

struct field {
	const char *name;
	enum import_kind kind;
	const char *synonyms; /* separated by blanks */
};

static const struct field FIELDS[] = {
#define IMPORT_FIELD(name, kind, synonyms) {#name, IMPORT_##kind, synonyms},
#include "llmlab/app/import_fields.def"
#undef IMPORT_FIELD
};
#define N_FIELDS (sizeof FIELDS / sizeof FIELDS[0])

#define MAP_ARENA_BYTES ((size_t)4 << 20)
#define SIMPLE_MAX	128

/* Lower case, letters and digits only; cut at SIMPLE_MAX - 1, which no known name reaches. */
static void simplify(const char *name, char out[SIMPLE_MAX])
{
	size_t n = 0;
	for (; *name != '\0' && n < SIMPLE_MAX - 1; name++) {
		if (isalnum((unsigned char)*name))
			out[n++] = (char)tolower((unsigned char)*name);
	}
	out[n] = '\0';
}

/* Whether word is one of those in list (NULL: none), which are separated by `separator`. */
static bool is_in_list(const char *list, char separator, const char *word)
{
	const size_t n = strlen(word);
	for (const char *at = list; at != NULL && n > 0;) {
		const char *const end = strchr(at, separator);
		const size_t length = end != NULL ? (size_t)(end - at) : strlen(at);
		if (length == n && memcmp(at, word, n) == 0)
			return true;
		at = end != NULL ? end + 1 : NULL;
	}
	return false;
}

static const struct field *find_field(const char *name)
{
	for (size_t i = 0; i < N_FIELDS; i++) {
		if (strcmp(FIELDS[i].name, name) == 0)
			return &FIELDS[i];
	}
	return NULL;
}

static const struct field *guess_field(const char *column)
{
	char simple[SIMPLE_MAX], own[SIMPLE_MAX];
	simplify(column, simple);
	for (size_t i = 0; i < N_FIELDS; i++) {
		simplify(FIELDS[i].name, own);
		if (strcmp(own, simple) == 0 || is_in_list(FIELDS[i].synonyms, ' ', simple))
			return &FIELDS[i];
	}
	return NULL;
}

/* Makes the column fill the field named so ("tag.<key>" too). False: there is no such field. */
static bool assign(struct import_map *m, struct import_column *c, const char *field)
{
	const char *const key = tag_key_of(field);
	if (key != NULL) {
		c->kind = IMPORT_TAG;
		c->field = arena_strdup(&m->arena, key);
		return true;
	}
	const struct field *const f = find_field(field);
	if (f == NULL)
		return false;
	c->kind = f->kind;
	c->field = f->name;
	return true;
}

static struct import_column *find_column(struct import_map *m, const char *name)
{
	for (size_t i = 0; i < m->n_columns; i++) {
		if (strcmp(m->columns[i].name, name) == 0)
			return &m->columns[i];
	}
	return NULL;
}

/* One "field=column" of --map. */
static void map_one(struct import_map *m, char *pair, struct buf *problems)
{
	char *const equals = strchr(pair, '=');
	if (equals == NULL) {
		buf_printf(problems, "--map wants field=column, not \"%s\"\n", pair);
		return;
	}
	*equals = '\0';
	struct import_column *const c = find_column(m, equals + 1);
	if (c == NULL)
		buf_printf(problems, "--map: the file has no column \"%s\"\n", equals + 1);
	else if (!assign(m, c, pair))
		buf_printf(problems, "--map: events have no field \"%s\" that a column can fill\n", pair);
}

static void map_explicit(struct import_map *m, const char *map, struct buf *problems)
{
	char *const copy = arena_strdup(&m->arena, map);
	for (char *at = copy; at != NULL;) {
		char *const comma = strchr(at, ',');
		if (comma != NULL)
			*comma = '\0';
		map_one(m, at, problems);
		at = comma != NULL ? comma + 1 : NULL;
	}
}

/* A column that nobody named: by its name, unless an explicit one fills that field already. */
static void map_guess(struct import_map *m, struct import_column *c, struct buf *problems)
{
	const struct field *const f = guess_field(c->name);
	if (f != NULL && !import_map_has(m, f->name)) {
		(void)assign(m, c, f->name);
		return;
	}
	if (tag_key_of(c->name) != NULL && assign(m, c, c->name))
		return;
	char simple[SIMPLE_MAX];
	simplify(c->name, simple);
	if (strstr(simple, "token") != NULL && strcmp(simple, "totaltokens") != 0)
		buf_printf(problems,
			"column \"%s\" looks like a count of tokens that would be left out: say which "
			"field it is with --map field=column, or leave it out with --ignore\n",
			c->name);
}

/* One field has one column. */
static void check_twice(const struct import_map *m, struct buf *problems)
{
	for (size_t i = 0; i < m->n_columns; i++) {
		const struct import_column *const a = &m->columns[i];
		for (size_t k = 0; k < i && a->kind != IMPORT_IGNORED; k++) {
			const struct import_column *const b = &m->columns[k];
			if (b->kind != IMPORT_IGNORED && (a->kind == IMPORT_TAG) == (b->kind == IMPORT_TAG) &&
				strcmp(a->field, b->field) == 0)
				buf_printf(problems, "columns \"%s\" and \"%s\" are both %s\n", b->name,
					a->name, a->field);
		}
	}
}

static bool gives_anything(const struct import_map *m)
{
	for (size_t i = 0; i < m->n_columns; i++) {
		const struct import_column *const c = &m->columns[i];
		if (c->kind == IMPORT_NUMBER && strcmp(c->field, "latency_ms") != 0)
			return true;
	}
	return false;
}

static void read_columns(struct import_map *m, const struct csv_record *header)
{
	m->n_columns = header->n_fields;
	for (size_t i = 0; i < header->n_fields; i++) {
		const char *const name = arena_strdup(&m->arena, header->fields[i]);
		m->columns[i] = (struct import_column){.name = name != NULL ? name : ""};
	}
}

enum err import_map_read(const struct csv_record *header, const char *map, const char *ignore,
	struct import_map *ret, struct buf *problems)
{
	struct import_map *const m = ret;
	const size_t told = problems->len;
	arena_init(&m->arena, MAP_ARENA_BYTES);
	read_columns(m, header);
	if (map != NULL)
		map_explicit(m, map, problems);
	for (size_t i = 0; i < m->n_columns; i++) {
		struct import_column *const c = &m->columns[i];
		if (c->kind == IMPORT_IGNORED && !is_in_list(ignore, ',', c->name))
			map_guess(m, c, problems);
	}
	check_twice(m, problems);
	if (!gives_anything(m))
		buf_puts(problems,
			"no column is a count of tokens or a cost: name them with --map, for example "
			"--map input_tokens=<column>,output_tokens=<column>\n");
	enum err e = problems->len > told || problems->failed ? ERR_VALIDATION : ERR_OK;
	if (arena_overflowed(&m->arena))
		e = ERR_NO_MEMORY;
	if (e != ERR_OK)
		import_map_release(m);
	return e;
}

void import_map_release(struct import_map *m)
{
	arena_release(&m->arena);
	m->n_columns = 0;
}

bool import_map_has(const struct import_map *m, const char *field)
{
	for (size_t i = 0; i < m->n_columns; i++) {
		const struct import_column *const c = &m->columns[i];
		if (c->kind != IMPORT_IGNORED && c->kind != IMPORT_TAG && strcmp(c->field, field) == 0)
			return true;
	}
	return false;
}

/* Bounds the cell without the blanks around it; returns its length. */
static size_t trim(const char **text)
{
	while (**text == ' ' || **text == '\t')
		(*text)++;
	size_t n = strlen(*text);
	while (n > 0 && ((*text)[n - 1] == ' ' || (*text)[n - 1] == '\t'))
		n--;
	return n;
}

static void write_number(const char *field, const char *cell, struct json_writer *w)
{
	char number[64];
	int128 unused;
	const char *text = cell;
	const size_t n = trim(&text);
	/* Whether it fits the field is the server's to say; here it must only be a number that JSON can
	 * carry. */
	const enum err e =
		decimal_parse(text, n, DECIMAL_SCALE_MAX, decimal_pow10(DECIMAL_SCALE_MAX), &unused);
	if (n >= sizeof number || e == ERR_SYNTAX) {
		jw_string(w, field, cell);
		return;
	}
	memcpy(number, text, n);
	number[n] = '\0';
	jw_raw(w, field, number);
}

static void write_instant(const char *field, const char *cell, struct json_writer *w)
{
	const char *text = cell;
	const size_t n = trim(&text);
	int64_t us;
	if (instant_parse(text, n, &us) == ERR_OK)
		jw_instant(w, field, us);
	else
		jw_string(w, field, cell);
}

static void write_tags(const struct import_map *m, const struct csv_record *record, struct json_writer *w)
{
	bool open = false;
	for (size_t i = 0; i < m->n_columns; i++) {
		if (m->columns[i].kind != IMPORT_TAG || record->fields[i][0] == '\0')
			continue;
		if (!open)
			jw_object_begin(w, "tags");
		open = true;
		jw_string(w, m->columns[i].field, record->fields[i]);
	}
	if (open)
		jw_object_end(w);
}

void import_map_write(const struct import_map *m, const struct csv_record *record, struct json_writer *w)
{
	CHECK(record->n_fields == m->n_columns);
	for (size_t i = 0; i < m->n_columns; i++) {
		const struct import_column *const c = &m->columns[i];
		const char *text = record->fields[i];
		if (trim(&text) == 0)
			continue;
		switch (c->kind) {
		case IMPORT_IGNORED:
		case IMPORT_TAG:
			break;
		case IMPORT_TEXT:
			jw_string(w, c->field, record->fields[i]);
			break;
		case IMPORT_NUMBER:
			write_number(c->field, record->fields[i], w);
			break;
		case IMPORT_INSTANT:
			write_instant(c->field, record->fields[i], w);
			break;
		}
	}
	write_tags(m, record, w);
}
