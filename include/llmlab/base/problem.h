#ifndef LLMLAB_BASE_PROBLEM_H
#define LLMLAB_BASE_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/err.h"

/* Why a request or a file entry is refused: a catalogue code, one sentence for a person, and one entry for each bad
 * field, all of them at once (RFC 9457 with an `errors` member). */
#define PROBLEM_FIELDS_MAX 32

struct problem_field {
	const char *field;   /* path, e.g. "scope.provider"; in the arena */
	const char *message; /* what is expected; in the arena */
};

struct problem {
	struct arena *arena; /* where texts live; not owned */
	enum err code;       /* ERR_OK while nothing is wrong */
	const char *detail;  /* a sentence a person can act on; NULL: made from the fields or the title */
	struct problem_field fields[PROBLEM_FIELDS_MAX];
	size_t n_fields; /* further bad fields are dropped, the first PROBLEM_FIELDS_MAX are told */
};

void problem_init(struct problem *p, struct arena *arena);
/* Sets code and detail. The first call wins. */
void problem_set(struct problem *p, enum err code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Names a bad field; the code becomes ERR_VALIDATION unless one is set. field is copied. */
void problem_add(struct problem *p, const char *field, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* True while nothing is wrong. */
bool problem_none(const struct problem *p);
/* The detail to show: the one set, else made from the bad fields, else the title. In the arena or static. */
const char *problem_detail(const struct problem *p);

#endif
