/* Where in a JSON text a value stands, so that a person finds what is wrong in a data file. The text is known
 * to be well formed. */
#include "parse.h"
#include <string.h>

struct cursor {
	const char *text;
	size_t n;
	size_t at;
};

static char peek(const struct cursor *c)
{
	return c->at < c->n ? c->text[c->at] : '\0';
}

/* To the next byte that is neither white space nor one of `also`. */
static void skip_space(struct cursor *c, const char *also)
{
	while (c->at < c->n &&
		(strchr(" \t\r\n", c->text[c->at]) != NULL || strchr(also, c->text[c->at]) != NULL))
		c->at++;
}

/* Behind the string that opens here. */
static void skip_string(struct cursor *c)
{
	for (c->at++; c->at < c->n && c->text[c->at] != '"'; c->at++)
		c->at += c->text[c->at] == '\\';
	c->at++;
}

/* Behind the value that begins here. */
static void skip_value(struct cursor *c)
{
	size_t depth = 0;
	do {
		const char ch = peek(c);
		if (ch == '"') {
			skip_string(c);
			continue;
		}
		if (depth == 0 && strchr(",]}", ch) != NULL)
			return;
		depth += ch == '{' || ch == '[';
		depth -= ch == '}' || ch == ']';
		c->at++;
	} while (c->at < c->n && (depth > 0 || strchr(",]} \t\r\n", peek(c)) == NULL));
}

/* To the value of the member called name (n bytes); false, and unmoved, when there is none. */
static bool enter_member(struct cursor *c, const char *name, size_t n)
{
	struct cursor look = *c;
	if (peek(&look) != '{')
		return false;
	look.at++;
	for (skip_space(&look, ","); peek(&look) == '"'; skip_space(&look, ",")) {
		const size_t key = look.at + 1;
		skip_string(&look);
		const bool found = look.at - 1 - key == n && memcmp(look.text + key, name, n) == 0;
		skip_space(&look, ":");
		if (found) {
			*c = look;
			return true;
		}
		skip_value(&look);
	}
	return false;
}

/* To the i-th element; false, and unmoved, when there is none. */
static bool enter_element(struct cursor *c, size_t i)
{
	struct cursor look = *c;
	if (peek(&look) != '[')
		return false;
	look.at++;
	for (skip_space(&look, ","); look.at < look.n && peek(&look) != ']'; skip_space(&look, ",")) {
		if (i == 0) {
			*c = look;
			return true;
		}
		i--;
		skip_value(&look);
	}
	return false;
}

/* One step of the path; returns what is left of it, NULL when there is no such value. */
static const char *enter(struct cursor *c, const char *path)
{
	if (path[0] == '[') {
		size_t i = 0;
		for (path++; *path >= '0' && *path <= '9'; path++)
			i = i * 10 + (size_t)(*path - '0');
		if (!enter_element(c, i))
			return NULL;
		return path + (*path == ']');
	}
	path += path[0] == '.';
	const size_t n = strcspn(path, ".[");
	return enter_member(c, path, n) ? path + n : NULL;
}

size_t json_line_of(const char *text, size_t n, const char *path)
{
	struct cursor c = {.text = text, .n = n};
	skip_space(&c, "");
	while (path != NULL && path[0] != '\0')
		path = enter(&c, path);
	size_t line = 1;
	for (size_t i = 0; i < c.at && i < n; i++)
		line += text[i] == '\n';
	return line;
}
