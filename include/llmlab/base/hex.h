#ifndef LLMLAB_BASE_HEX_H
#define LLMLAB_BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

/* Hexadecimal texts (RFC 4648 section 8), written in lower case. */

/* Writes 2 n digits and a NUL. */
void hex_encode(const uint8_t *bytes, size_t n, char *ret);

/* What a digit stands for, in either case; -1: it is none. */
int hex_value(char c);

#endif
