#ifndef LLMLAB_SRC_CORE_STABLE_ID_H
#define LLMLAB_SRC_CORE_STABLE_ID_H

#include <stddef.h>

/* 16 hex digits and NUL from texts: the same texts give the same id on every server and in every version. For
 * names of findings (so that one can be dismissed), not for secrets: FNV-1a, 64 bits. NULL counts as a text
 * of its own. */
#define STABLE_ID_SIZE 17
void stable_id(const char *const *texts, size_t n, char out[STABLE_ID_SIZE]);

#endif
