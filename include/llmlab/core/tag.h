#ifndef LLMLAB_CORE_TAG_H
#define LLMLAB_CORE_TAG_H

#include <stddef.h>
#include <string.h>

/* A tag as a dimension of spend is named "tag.<key>": in query parameters, scopes of budgets, columns of imports. */
#define TAG_PREFIX "tag."

/* The most tags of one call, and code points of a key. */
#define TAGS_MAX      8
#define TAG_MAX_CHARS 128

/* The key in such a name, part of it; NULL if it is none, or the key is empty. */
static inline const char *tag_key_of(const char *name)
{
	const size_t n = sizeof TAG_PREFIX - 1;
	return strncmp(name, TAG_PREFIX, n) == 0 && name[n] != '\0' ? name + n : NULL;
}

#endif
