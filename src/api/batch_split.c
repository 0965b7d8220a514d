/* The frame of a batch: finds where each event's text begins and ends. Does not look into the events beyond
 * brackets and strings. */
#include "llmlab/api/batch_split.h"
#include <string.h>
#include <stdint.h>

/* Brackets open at once inside one event; the JSON reader allows far fewer. */
#define SPLIT_DEPTH_MAX 64
#define KEY_SHOWN_MAX	64

void batch_split_init(struct batch_split *s, const char *data, size_t n, bool lines)
{
	*s = (struct batch_split){.data = data, .n = n, .lines = lines};
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct batch_split *s)
{
	while (s->at < s->n && is_space(s->data[s->at]))
		s->at++;
}

static enum err refuse(struct batch_split *s, const char *what, struct problem *p)
{
	problem_set(p, ERR_MALFORMED_JSON, "The JSON is malformed at byte %zu: %s", s->at + 1, what);
	return p->code;
}

/* Takes the character c after white space. */
static bool take(struct batch_split *s, char c)
{
	skip_space(s);
	if (s->at >= s->n || s->data[s->at] != c)
		return false;
	s->at++;
	return true;
}

/* Moves behind the string that opens here; false if it does not end. */
static bool pass_string(struct batch_split *s)
{
	for (s->at++; s->at < s->n; s->at++) {
		if (s->data[s->at] == '"') {
			s->at++;
			return true;
		}
		if (s->data[s->at] == '\\')
			s->at++;
	}
	s->at = s->n;
	return false;
}

/* Moves behind the object or array that opens here. The bits of `kinds` remember which brackets are open. */
static enum err pass_nested(struct batch_split *s, struct problem *p)
{
	uint64_t kinds = 0; /* 1: '{' */
	unsigned depth = 0;
	do {
		const char c = s->at < s->n ? s->data[s->at] : '\0';
		if (s->at >= s->n)
			return refuse(s, "the text ends too early", p);
		if (c == '"') {
			if (!pass_string(s))
				return refuse(s, "a string does not end", p);
			continue;
		}
		if (c == '{' || c == '[') {
			if (depth == SPLIT_DEPTH_MAX)
				return refuse(s, "it is nested too deep", p);
			kinds = kinds << 1 | (c == '{');
			depth++;
		} else if (c == '}' || c == ']') {
			if ((kinds & 1) != (c == '}'))
				return refuse(s, "a closing bracket does not match", p);
			kinds >>= 1;
			depth--;
		}
		s->at++;
	} while (depth > 0);
	return ERR_OK;
}

/* Moves behind the value that begins here. */
static enum err pass_value(struct batch_split *s, struct problem *p)
{
	const char c = s->at < s->n ? s->data[s->at] : '\0';
	if (c == '{' || c == '[')
		return pass_nested(s, p);
	if (c == '"')
		return pass_string(s) ? ERR_OK : refuse(s, "a string does not end", p);
	const size_t begin = s->at;
	while (s->at < s->n && !is_space(s->data[s->at]) && strchr(",:{}[]\"", s->data[s->at]) == NULL)
		s->at++;
	return s->at > begin ? ERR_OK : refuse(s, "a value is expected", p);
}

/* The name of an unknown member, if it can be shown. */
static void refuse_key(const char *key, size_t n, struct problem *p)
{
	char shown[KEY_SHOWN_MAX + 1];
	bool printable = n <= KEY_SHOWN_MAX;
	for (size_t i = 0; printable && i < n; i++)
		printable = key[i] >= 0x20 && key[i] <= 0x7E;
	if (printable)
		memcpy(shown, key, n);
	shown[printable ? n : 0] = '\0';
	problem_add(p, printable ? shown : "(unprintable name)", "is not a known field");
}

/* A member's name and colon; only "events" is one. */
static enum err pass_key(struct batch_split *s, struct problem *p)
{
	static const char NAME[] = "events";
	skip_space(s);
	if (s->at >= s->n || s->data[s->at] != '"')
		return refuse(s, "a member's name is expected", p);
	const size_t begin = s->at + 1;
	if (!pass_string(s))
		return refuse(s, "a string does not end", p);
	const size_t n = s->at - 1 - begin;
	if (n != sizeof NAME - 1 || memcmp(s->data + begin, NAME, n) != 0) {
		refuse_key(s->data + begin, n, p);
		return p->code;
	}
	return take(s, ':') ? ERR_OK : refuse(s, "a colon is expected", p);
}

/* Everything before the first event. */
static enum err open_frame(struct batch_split *s, struct problem *p)
{
	if (!take(s, '{'))
		return refuse(s, "an object {\"events\":[...]} is expected", p);
	if (take(s, '}')) {
		problem_add(p, "events", "is required");
		return p->code;
	}
	const enum err e = pass_key(s, p);
	if (e != ERR_OK)
		return e;
	if (!take(s, '[')) {
		problem_add(p, "events", "must be an array");
		return p->code;
	}
	s->state = BATCH_FIRST;
	return ERR_OK;
}

/* Everything after the last event, its closing bracket taken already. */
static enum err close_frame(struct batch_split *s, struct problem *p)
{
	s->state = BATCH_AFTER;
	if (take(s, ',')) {
		const enum err e = pass_key(s, p);
		return e != ERR_OK ? e : refuse(s, "a key appears twice in an object", p);
	}
	if (!take(s, '}'))
		return refuse(s, "a closing brace is expected", p);
	skip_space(s);
	return s->at == s->n ? ERR_NOT_FOUND : refuse(s, "something follows the end of the document", p);
}

static enum err next_element(struct batch_split *s, const char **ret, size_t *ret_n, struct problem *p)
{
	if (s->state == BATCH_BEFORE) {
		const enum err e = open_frame(s, p);
		if (e != ERR_OK)
			return e;
	}
	if (s->state == BATCH_AFTER)
		return ERR_NOT_FOUND;
	if (take(s, ']'))
		return close_frame(s, p);
	if (s->state == BATCH_INSIDE && !take(s, ','))
		return refuse(s, "a comma is expected", p);
	skip_space(s);
	const size_t begin = s->at;
	const enum err e = pass_value(s, p);
	if (e != ERR_OK)
		return e;
	s->state = BATCH_INSIDE;
	*ret = s->data + begin;
	*ret_n = s->at - begin;
	return ERR_OK;
}

static enum err next_line(struct batch_split *s, const char **ret, size_t *ret_n)
{
	skip_space(s);
	if (s->at == s->n)
		return ERR_NOT_FOUND;
	const size_t begin = s->at;
	const char *const newline = memchr(s->data + begin, '\n', s->n - begin);
	s->at = newline == NULL ? s->n : (size_t)(newline - s->data);
	*ret = s->data + begin;
	*ret_n = s->at - begin;
	return ERR_OK;
}

enum err batch_split_next(struct batch_split *s, const char **ret, size_t *ret_n, struct problem *p)
{
	return s->lines ? next_line(s, ret, ret_n) : next_element(s, ret, ret_n, p);
}
