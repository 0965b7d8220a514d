/* Writes JSON text: commas, nesting, escapes, exact numbers. It does not decide what is written. */
#include "llmlab/base/json_write.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/check.h"
#include "utf8.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* "%.6f" of DBL_MAX: 309 digits, sign, point, 6 decimals, NUL. */
#define DOUBLE_TEXT_MAX 320

void jw_init(struct json_writer *w, struct buf *out)
{
	*w = (struct json_writer){.out = out};
	w->first[0] = true;
}

/* ASCII that stands as it is. */
static inline bool is_plain(char c)
{
	return (unsigned char)(c - 0x20) < 0x60 && c != '"' && c != '\\';
}

/* Nearly all texts are plain: they are copied while they are looked at. */
void json_quote(struct buf *out, const char *s, size_t n, const char *tail)
{
	const size_t tail_n = strlen(tail);
	if (!buf_reserve(out, n + 2 + tail_n))
		return;
	char *at = out->data + out->len;
	*at++ = '"';
	size_t i = 0;
	for (; i < n && is_plain(s[i]); i++)
		*at++ = s[i];
	if (i < n) {
		buf_putc(out, '"');
		json_escape(out, s, n);
		buf_putc(out, '"');
		buf_puts(out, tail);
		return;
	}
	*at++ = '"';
	memcpy(at, tail, tail_n);
	at[tail_n] = '\0';
	out->len += n + 2 + tail_n;
}

/* The comma and the key that precede a value. */
static void jw_begin_value(struct json_writer *w, const char *key)
{
	/* Keys belong into objects and nowhere else; the top has one value. */
	CHECK((w->depth > 0 && w->closer[w->depth] == '}') == (key != NULL));
	CHECK(w->depth > 0 || w->first[0]);
	if (!w->first[w->depth])
		buf_putc(w->out, ',');
	w->first[w->depth] = false;
	if (key == NULL)
		return;
	json_quote(w->out, key, strlen(key), ":");
}

static void jw_open(struct json_writer *w, const char *key, char opener, char closer)
{
	jw_begin_value(w, key);
	CHECK(w->depth < JSON_WRITE_DEPTH_MAX);
	w->depth++;
	w->first[w->depth] = true;
	w->closer[w->depth] = closer;
	buf_putc(w->out, opener);
}

static void jw_close(struct json_writer *w, char closer)
{
	CHECK(w->depth > 0 && w->closer[w->depth] == closer);
	w->depth--;
	buf_putc(w->out, closer);
}

void jw_object_begin(struct json_writer *w, const char *key)
{
	jw_open(w, key, '{', '}');
}

void jw_object_end(struct json_writer *w)
{
	jw_close(w, '}');
}

void jw_array_begin(struct json_writer *w, const char *key)
{
	jw_open(w, key, '[', ']');
}

void jw_array_end(struct json_writer *w)
{
	jw_close(w, ']');
}

void jw_string(struct json_writer *w, const char *key, const char *value)
{
	jw_begin_value(w, key);
	if (value == NULL) {
		buf_puts(w->out, "null");
		return;
	}
	json_quote(w->out, value, strlen(value), "");
}

void jw_i64(struct json_writer *w, const char *key, int64_t value)
{
	jw_begin_value(w, key);
	buf_put_i64(w->out, value);
}

void jw_bool(struct json_writer *w, const char *key, bool value)
{
	jw_raw(w, key, value ? "true" : "false");
}

void jw_null(struct json_writer *w, const char *key)
{
	jw_raw(w, key, NULL);
}

void jw_decimal(struct json_writer *w, const char *key, int128 value, int scale)
{
	char text[DECIMAL_TEXT_MAX];
	decimal_format(value, scale, text);
	jw_raw(w, key, text);
}

void jw_double(struct json_writer *w, const char *key, double value)
{
	if (!isfinite(value)) {
		jw_null(w, key);
		return;
	}
	char text[DOUBLE_TEXT_MAX];
	const int printed = snprintf(text, sizeof text, "%.6f", value);
	CHECK(printed > 0 && (size_t)printed < sizeof text);
	size_t length = (size_t)printed;
	while (text[length - 1] == '0')
		length--;
	if (text[length - 1] == '.')
		length--;
	text[length] = '\0';
	jw_raw(w, key, strcmp(text, "-0") == 0 ? "0" : text);
}

void jw_uuid(struct json_writer *w, const char *key, const struct uuid *value)
{
	char text[UUID_TEXT_SIZE];
	uuid_format(value, text);
	jw_string(w, key, text);
}

void jw_instant(struct json_writer *w, const char *key, int64_t us)
{
	char text[INSTANT_TEXT_SIZE];
	instant_format(us, text);
	jw_string(w, key, text);
}

void jw_instant_or_null(struct json_writer *w, const char *key, bool is_known, int64_t us)
{
	if (is_known)
		jw_instant(w, key, us);
	else
		jw_null(w, key);
}

void jw_raw(struct json_writer *w, const char *key, const char *json)
{
	jw_begin_value(w, key);
	buf_puts(w->out, json == NULL ? "null" : json);
}

/* The short escape of a character, or 0. */
static char json_short_escape(char c)
{
	switch (c) {
	case '"':
	case '\\':
		return c;
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return 0;
	}
}

/* One byte that cannot stand as it is: a control character, a quote, a backslash or a stray byte. */
static void json_escape_byte(struct buf *out, char c)
{
	const char letter = json_short_escape(c);
	if (letter != 0) {
		buf_putc(out, '\\');
		buf_putc(out, letter);
	} else if ((unsigned char)c < 0x20) {
		buf_printf(out, "\\u%04x", (unsigned)c);
	} else {
		buf_puts(out, "\xEF\xBF\xBD"); /* U+FFFD: the output stays valid UTF-8 */
	}
}

void json_escape(struct buf *out, const char *s, size_t n)
{
	size_t plain = 0; /* start of what can be copied as it is */
	size_t at = 0;
	while (at < n) {
		while (at < n && is_plain(s[at]))
			at++;
		if (at == n)
			break;
		const size_t step = (unsigned char)s[at] < 0x80 ? 0 : utf8_sequence(s + at, n - at);
		if (step > 0) {
			at += step;
			continue;
		}
		buf_append(out, s + plain, at - plain);
		json_escape_byte(out, s[at]);
		at++;
		plain = at;
	}
	buf_append(out, s + plain, n - plain);
}
