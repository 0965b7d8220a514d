#ifndef LLMLAB_BASE_ERR_H
#define LLMLAB_BASE_ERR_H

/* What functions return when they can fail: ERR_OK (0) or the reason, from errors.def. */
enum err {
#define ERROR(name, code, status, title) ERR_##name,
#include "llmlab/base/errors.def"
#undef ERROR
	ERR_COUNT
};

/* The stable machine word ("validation_failed"); static. */
const char *err_code(enum err e);

/* The HTTP status; 500 for inner outcomes, which must not reach a client unmapped. */
int err_status(enum err e);

/* The short human title; static. */
const char *err_title(enum err e);

#endif
