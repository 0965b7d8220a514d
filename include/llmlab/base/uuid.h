#ifndef LLMLAB_BASE_UUID_H
#define LLMLAB_BASE_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/err.h"

/* UUIDs as in RFC 9562, in network byte order. */
struct uuid {
	uint8_t bytes[16];
};

#define UUID_TEXT_SIZE 37 /* 36 characters and a NUL */

/* Version 7 whose 48-bit time is unix_ms. Within a process, ids with the same millisecond are strictly increasing
 * (counter in the 12 rand_a bits and the top of rand_b, section 6.2 method 1); the rest is random. Thread-safe.
 * Not a secret. Aborts only if the system has no randomness. */
struct uuid uuid_v7(int64_t unix_ms);
/* Version 4, all random. */
struct uuid uuid_v4(void);
/* The 48-bit millisecond time of a version 7 id. */
int64_t uuid_v7_ms(const struct uuid *u);
/* 36 lower-case characters and NUL. */
void uuid_format(const struct uuid *u, char out[UUID_TEXT_SIZE]);
/* The same in the arena; NULL after its overflow. */
struct arena;
const char *uuid_text(const struct uuid *u, struct arena *arena);
/* Exactly 8-4-4-4-12 hex digits of either case; ERR_SYNTAX otherwise. */
enum err uuid_parse(const char *text, struct uuid *ret);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
/* As memcmp. */
int uuid_compare(const struct uuid *a, const struct uuid *b);
bool uuid_is_zero(const struct uuid *u);

/* n random bytes from getrandom(2). Aborts if the system has none. */
void random_bytes(void *out, size_t n);

#endif
