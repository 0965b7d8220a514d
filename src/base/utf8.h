#ifndef LLMLAB_SRC_BASE_UTF8_H
#define LLMLAB_SRC_BASE_UTF8_H

#include <stddef.h>

/* Length in bytes (1..4) of the well-formed UTF-8 sequence (RFC 3629 section 4) at the start of s, which has
 * n bytes; 0 if there is none. NUL counts as a sequence of one byte. */
size_t utf8_sequence(const char *s, size_t n);

#endif
