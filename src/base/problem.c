/* Collects why something is refused. It does not know how a problem is sent (the http layer does). */
#include "llmlab/base/problem.h"
#include "llmlab/base/buf.h"

#define PROBLEM_DETAIL_MAX_BYTES ((size_t)4096)

void problem_init(struct problem *p, struct arena *arena)
{
	*p = (struct problem){.arena = arena, .code = ERR_OK};
}

void problem_set(struct problem *p, enum err code, const char *fmt, ...)
{
	if (p->code != ERR_OK)
		return;
	p->code = code;
	va_list args;
	va_start(args, fmt);
	p->detail = arena_vprintf(p->arena, fmt, args);
	va_end(args);
}

void problem_add(struct problem *p, const char *field, const char *fmt, ...)
{
	if (p->code == ERR_OK)
		p->code = ERR_VALIDATION;
	if (p->n_fields == PROBLEM_FIELDS_MAX)
		return;
	va_list args;
	va_start(args, fmt);
	const char *const message = arena_vprintf(p->arena, fmt, args);
	va_end(args);
	const char *const name = arena_strdup(p->arena, field);
	/* A full arena costs the words, never the refusal. */
	p->fields[p->n_fields++] = (struct problem_field){
		.field = name == NULL ? "" : name,
		.message = message == NULL ? "is invalid" : message,
	};
}

bool problem_none(const struct problem *p)
{
	return p->code == ERR_OK;
}

/* "input_tokens must be 0 or more; model is required"; a field without a name is the whole body. */
static void problem_join_fields(const struct problem *p, struct buf *out)
{
	for (size_t i = 0; i < p->n_fields; i++) {
		const struct problem_field *const f = &p->fields[i];
		buf_printf(out, "%s%s%s%s", i == 0 ? "" : "; ", f->field, f->field[0] == '\0' ? "" : " ",
			f->message);
	}
}

const char *problem_detail(const struct problem *p)
{
	if (p->detail != NULL)
		return p->detail;
	if (p->n_fields == 0)
		return err_title(p->code);
	struct buf joined;
	buf_init(&joined, PROBLEM_DETAIL_MAX_BYTES);
	problem_join_fields(p, &joined);
	const char *const text = arena_strndup(p->arena, buf_str(&joined), joined.len);
	buf_release(&joined);
	return text == NULL ? err_title(p->code) : text;
}
