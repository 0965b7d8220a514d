/* Reading .env files. Knows the form only, not the names of settings. */
#include "llmlab/app/dotenv.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "llmlab/auth/password.h"
#include "llmlab/base/check.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static bool is_key_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

static const char *skip_blanks(const char *at, const char *end)
{
	while (at < end && is_blank(*at))
		at++;
	return at;
}

/* Whether nothing but blanks and a comment follows. */
static bool nothing_follows(const char *at, const char *end)
{
	at = skip_blanks(at, end);
	return at == end || *at == '#';
}

/* The value in double quotes that begins after the quote at `at`; NULL if the line is bad. */
static const char *double_quoted(struct arena *a, const char *at, const char *end)
{
	char *const value = arena_alloc(a, (size_t)(end - at) + 1);
	if (value == NULL)
		return "";
	size_t n = 0;
	for (; at < end && *at != '"'; at++) {
		if (*at != '\\') {
			value[n++] = *at;
			continue;
		}
		at++;
		if (at == end || strchr("nt\\\"", *at) == NULL)
			return NULL;
		value[n++] = *at == 'n' ? '\n' : *at == 't' ? '\t' : *at;
	}
	value[n] = '\0';
	return at < end && nothing_follows(at + 1, end) ? value : NULL;
}

static const char *single_quoted(struct arena *a, const char *at, const char *end)
{
	const char *const close = memchr(at, '\'', (size_t)(end - at));
	if (close == NULL || !nothing_follows(close + 1, end))
		return NULL;
	const char *const value = arena_strndup(a, at, (size_t)(close - at));
	return value != NULL ? value : "";
}

static const char *unquoted(struct arena *a, const char *at, const char *end)
{
	const char *stop = at;
	while (stop < end && !(*stop == '#' && (stop == at || is_blank(stop[-1]))))
		stop++;
	while (stop > at && is_blank(stop[-1]))
		stop--;
	const char *const value = arena_strndup(a, at, (size_t)(stop - at));
	return value != NULL ? value : "";
}

/* False: not in the form of a line. A blank line or a comment leaves ret->key NULL. */
static bool parse_line(struct arena *a, const char *at, const char *end, struct dotenv_entry *ret)
{
	if (nothing_follows(at, end))
		return true;
	at = skip_blanks(at, end);
	if (end - at > 7 && memcmp(at, "export", 6) == 0 && is_blank(at[6]))
		at = skip_blanks(at + 6, end);
	const char *const key = at;
	while (at < end && is_key_char(*at))
		at++;
	const size_t key_length = (size_t)(at - key);
	at = skip_blanks(at, end);
	if (key_length == 0 || at == end || *at != '=' || memchr(at, '\0', (size_t)(end - at)) != NULL)
		return false;
	at = skip_blanks(at + 1, end);
	const char *value = NULL;
	if (at < end && *at == '"')
		value = double_quoted(a, at + 1, end);
	else if (at < end && *at == '\'')
		value = single_quoted(a, at + 1, end);
	else
		value = unquoted(a, at, end);
	if (value == NULL)
		return false;
	ret->key = arena_strndup(a, key, key_length);
	ret->value = value;
	return true;
}

enum err dotenv_parse(const char *text, size_t n, struct dotenv *ret, struct buf *problems)
{
	if (n > DOTENV_MAX_BYTES) {
		buf_printf(problems, ".env is larger than %d bytes\n", DOTENV_MAX_BYTES);
		return ERR_RANGE;
	}
	size_t lines = 1;
	for (size_t i = 0; i < n; i++)
		lines += text[i] == '\n';
	struct dotenv d = {0};
	/* one entry a line, and every byte at most twice, with what alignment adds to short texts */
	arena_init(&d.arena, lines * (sizeof *d.entries + 64) + 2 * n + 64);
	d.entries = arena_array(&d.arena, lines, sizeof *d.entries);
	enum err result = d.entries == NULL ? ERR_NO_MEMORY : ERR_OK;
	const char *at = text;
	for (size_t line = 1; line <= lines && d.entries != NULL; line++) {
		const char *const stop = memchr(at, '\n', (size_t)(text + n - at));
		const char *const end = stop != NULL ? stop : text + n;
		struct dotenv_entry entry = {0};
		if (!parse_line(&d.arena, at, end, &entry)) {
			buf_printf(problems, ".env line %zu is not KEY=VALUE\n", line);
			result = ERR_SYNTAX;
		} else if (entry.key != NULL) {
			d.entries[d.n_entries++] = entry;
		}
		at = stop != NULL ? stop + 1 : end;
	}
	if (arena_overflowed(&d.arena))
		result = ERR_NO_MEMORY;
	if (result != ERR_OK) {
		arena_release(&d.arena);
		return result;
	}
	*ret = d;
	return ERR_OK;
}

enum err dotenv_read(const char *path, struct dotenv *ret, struct buf *problems)
{
	static char text[DOTENV_MAX_BYTES + 1];
	FILE *const f = fopen(path, "rbe");
	if (f == NULL && (errno == ENOENT || errno == ENOTDIR))
		return dotenv_parse("", 0, ret, problems);
	if (f == NULL) {
		buf_printf(problems, "%s cannot be read: %s\n", path, strerror(errno));
		return ERR_UNAVAILABLE;
	}
	const size_t n = fread(text, 1, sizeof text, f);
	const bool failed = ferror(f) != 0;
	CHECK(fclose(f) == 0);
	if (failed) {
		buf_printf(problems, "%s cannot be read\n", path);
		return ERR_UNAVAILABLE;
	}
	const enum err e = dotenv_parse(text, n, ret, problems);
	secret_wipe(text, sizeof text);
	return e;
}

void dotenv_release(struct dotenv *d)
{
	arena_release(&d->arena);
	d->entries = NULL;
	d->n_entries = 0;
}

const char *dotenv_get(const struct dotenv *d, const char *key)
{
	for (size_t i = d->n_entries; i > 0; i--) {
		if (strcmp(d->entries[i - 1].key, key) == 0)
			return d->entries[i - 1].value;
	}
	return NULL;
}
