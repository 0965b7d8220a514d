#ifndef LLMLAB_APP_DOTENV_H
#define LLMLAB_APP_DOTENV_H

#include <stddef.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/buf.h"
#include "llmlab/base/err.h"

/* The file .env: lines of KEY=VALUE. Blank lines and lines that begin with # are skipped, "export " before the key is allowed.
 * A value in single quotes is taken as it stands; in double quotes \n, \t, \\ and \" are replaced; an unquoted one ends before
 * " #" and loses the blanks around it. The last of equal keys wins. */
struct dotenv_entry {
	const char *key, *value; /* in the arena */
};
struct dotenv {
	struct arena arena;
	struct dotenv_entry *entries; /* in the order of the file */
	size_t n_entries;
};

#define DOTENV_MAX_BYTES 65536

/* Parses n bytes (NUL bytes are an error like any other odd one). ERR_SYNTAX: each bad line is told in *problems by its number (never its
 * content, which may be a secret); ERR_RANGE: more than DOTENV_MAX_BYTES; ERR_NO_MEMORY. *ret is set on ERR_OK only. */
enum err dotenv_parse(const char *text, size_t n, struct dotenv *ret, struct buf *problems);
/* The same from a file; a file that does not exist is an empty one. ERR_UNAVAILABLE: it can't be read (told in *problems). */
enum err dotenv_read(const char *path, struct dotenv *ret, struct buf *problems);
void dotenv_release(struct dotenv *d);
/* NULL if there is no such key. */
const char *dotenv_get(const struct dotenv *d, const char *key);

#endif
