/* Texts as clients send them: blank, with control characters, in any case. */
#include "llmlab/api/text.h"
#include <string.h>

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

bool text_is_blank(const char *s)
{
	while (is_space(*s))
		s++;
	return *s == '\0';
}

bool text_has_control(const char *s)
{
	for (; *s != '\0'; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7F)
			return true;
	}
	return false;
}

const char *text_lower(const char *s, struct arena *arena)
{
	while (is_space(*s))
		s++;
	size_t n = strlen(s);
	while (n > 0 && is_space(s[n - 1]))
		n--;
	char *const out = arena_strndup(arena, s, n);
	for (size_t i = 0; out != NULL && i < n; i++) {
		if (out[i] >= 'A' && out[i] <= 'Z')
			out[i] = (char)(out[i] - 'A' + 'a');
	}
	return out;
}

json_t *text_iterable(const json_t *object)
{
	union {
		const json_t *given;
		json_t *iterable;
	} view = {.given = object};
	return view.iterable;
}
