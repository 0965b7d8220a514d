/* What all readers of catalogue JSON share: field paths, kept strings, views for iteration. */
#include "parse.h"
#include <string.h>

const char *parse_path(struct parse *ctx, const char *prefix, const char *name)
{
	const char *const path = arena_printf(ctx->p->arena, "%s%s", prefix, name);
	return path == NULL ? name : path;
}

const char *parse_path_at(struct parse *ctx, const char *prefix, const char *name, size_t i)
{
	const char *const path = arena_printf(ctx->p->arena, "%s%s[%zu].", prefix, name, i);
	return path == NULL ? name : path;
}

const char *parse_keep(struct parse *ctx, const char *s)
{
	return arena_strdup(ctx->keep, s);
}

json_t *parse_view(const json_t *v)
{
	union {
		const json_t *given;
		json_t *iterable;
	} view = {.given = v};
	return view.iterable;
}

static bool has_upper(const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s >= 'A' && *s <= 'Z')
			return true;
	}
	return false;
}

bool parse_strings(struct parse *ctx, const json_t *array, const char *field, bool lower,
	const char *const **ret, size_t *ret_n)
{
	const size_t n = json_array_size(array);
	const char **const strings = arena_array(ctx->keep, n, sizeof *strings);
	const size_t before = ctx->p->n_fields;
	for (size_t i = 0; strings != NULL && i < n; i++) {
		const char *const s = json_string_value(json_array_get(array, i));
		if (s == NULL || s[0] == '\0')
			problem_add(ctx->p, field, "must hold strings that are not empty");
		else if (lower && has_upper(s))
			problem_add(ctx->p, field, "must be in lower case");
		strings[i] = parse_keep(ctx, s);
	}
	*ret = strings;
	*ret_n = n;
	return ctx->p->n_fields == before;
}
