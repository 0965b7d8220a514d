#ifndef LLMLAB_BASE_EMBED_H
#define LLMLAB_BASE_EMBED_H

#include <stddef.h>

/* A file that travels inside the binary (see llmlab_embed() in CMakeLists.txt). */
struct embed_file {
	const char *name; /* base name */
	const char *data;
	const char *end; /* one past the last byte; *end is NUL */
};

#endif
