/* Parameters and results of statements as C values, in PostgreSQL's text form. Exact both ways: nothing here
 * rounds, and a text from the database that is not what the column must hold is a broken promise of the
 * schema (CHECK), never a guess. Not responsible for sending or receiving (conn.c). */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "llmlab/base/decimal.h"
#include "llmlab/db/conn.h"

/* ---- parameters ---- */

void db_params_init(struct db_params *p, struct arena *arena)
{
	p->arena = arena;
	p->n = 0;
}

void db_param_text(struct db_params *p, const char *s)
{
	CHECK((size_t)p->n < sizeof p->values / sizeof p->values[0]);
	p->values[p->n++] = s;
}

void db_param_uuid(struct db_params *p, const struct uuid *u)
{
	if (!u) {
		db_param_text(p, NULL);
		return;
	}
	char text[UUID_TEXT_SIZE];
	uuid_format(u, text);
	db_param_text(p, arena_strdup(p->arena, text));
}

void db_param_i64(struct db_params *p, int64_t v)
{
	db_param_text(p, arena_printf(p->arena, "%" PRId64, v));
}

void db_param_bool(struct db_params *p, bool v)
{
	db_param_text(p, v ? "t" : "f");
}

void db_param_money(struct db_params *p, struct money m)
{
	char text[DECIMAL_TEXT_MAX];
	decimal_format(m.atto, MONEY_SCALE, text);
	db_param_text(p, arena_strdup(p->arena, text));
}

void db_param_instant(struct db_params *p, int64_t us)
{
	char text[INSTANT_TEXT_SIZE];
	instant_format(us, text);
	db_param_text(p, arena_strdup(p->arena, text));
}

/* What snprintf("%" PRId64) writes, at a fraction of the time: sums come by the ten thousand. */
static char *write_i64(char *at, int64_t v)
{
	char digits[20];
	size_t n = 0;
	uint64_t rest = v < 0 ? -(uint64_t)v : (uint64_t)v;
	do {
		digits[n++] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (v < 0)
		*at++ = '-';
	while (n > 0)
		*at++ = digits[--n];
	return at;
}

void db_param_i64_array(struct db_params *p, const int64_t *v, size_t n)
{
	const size_t element_bytes = 21; /* sign, 19 digits, comma */
	char *const text = arena_array(p->arena, n + 1, element_bytes);
	if (text) {
		char *at = text;
		*at++ = '{';
		for (size_t i = 0; i < n; i++) {
			if (i > 0)
				*at++ = ',';
			at = write_i64(at, v[i]);
		}
		*at++ = '}';
		*at = '\0';
	}
	db_param_text(p, text);
}

/* Every element quoted, so that no text ("NULL", "", "{") means anything but itself. */
static char *write_element(char *at, const char *s)
{
	if (!s)
		return stpcpy(at, "NULL");
	*at++ = '"';
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			*at++ = '\\';
		*at++ = *s;
	}
	*at++ = '"';
	return at;
}

void db_param_text_array(struct db_params *p, const char *const *v, size_t n)
{
	size_t bytes = 3; /* braces and NUL */
	for (size_t i = 0; i < n; i++)
		bytes += v[i] ? 2 * strlen(v[i]) + 3 : 5;
	char *const text = arena_alloc(p->arena, bytes);
	if (text) {
		char *at = text;
		*at++ = '{';
		for (size_t i = 0; i < n; i++) {
			if (i > 0)
				*at++ = ',';
			at = write_element(at, v[i]);
		}
		*at++ = '}';
		*at = '\0';
	}
	db_param_text(p, text);
}

/* ---- results ---- */

int db_rows(const PGresult *r)
{
	return PQntuples(r);
}

bool db_is_null(const PGresult *r, int row, int col)
{
	CHECK(row >= 0 && row < PQntuples(r));
	CHECK(col >= 0 && col < PQnfields(r));
	return PQgetisnull(r, row, col);
}

const char *db_text(const PGresult *r, int row, int col)
{
	return db_is_null(r, row, col) ? NULL : PQgetvalue(r, row, col);
}

int64_t db_i64(const PGresult *r, int row, int col)
{
	const char *const text = db_text(r, row, col);
	if (!text)
		return 0;
	int128 value = 0;
	CHECK(decimal_parse(text, strlen(text), 0, INT64_MAX, &value) == ERR_OK);
	return (int64_t)value;
}

bool db_bool(const PGresult *r, int row, int col)
{
	const char *const text = db_text(r, row, col);
	CHECK(text && (strcmp(text, "t") == 0 || strcmp(text, "f") == 0));
	return text[0] == 't';
}

struct uuid db_uuid(const PGresult *r, int row, int col)
{
	const char *const text = db_text(r, row, col);
	struct uuid u = {0};
	CHECK(text && uuid_parse(text, &u) == ERR_OK);
	return u;
}

struct money db_money(const PGresult *r, int row, int col)
{
	const char *const text = db_text(r, row, col);
	struct money m = money_zero();
	if (text)
		CHECK(decimal_parse(text, strlen(text), MONEY_SCALE, decimal_pow10(DECIMAL_SCALE_MAX),
			      &m.atto) == ERR_OK);
	return m;
}

int64_t db_instant(const PGresult *r, int row, int col)
{
	const char *const text = db_text(r, row, col);
	CHECK(text);
	/* "2026-08-23 10:00:00.123456+00"; an instant without an offset is read as UTC */
	const size_t n = strlen(text);
	CHECK(n > 3 && strcmp(text + n - 3, "+00") == 0);
	int64_t us = 0;
	CHECK(instant_parse(text, n - 3, &us) == ERR_OK);
	return us;
}
