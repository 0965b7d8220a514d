#ifndef LLMLAB_BASE_ARENA_H
#define LLMLAB_BASE_ARENA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* Memory that lives and dies with one owner (a request, a batch). Allocation never needs a check at each call: when
 * the cap or the system's memory is reached, the arena overflows, returns NULL from then on, and the owner asks once
 * with arena_overflowed() before the result is used. Not thread-safe: one owner at a time. */
struct arena_block;
struct arena {
	struct arena_block *head; /* newest block, owned */
	size_t used_bytes;        /* handed out so far */
	size_t cap_bytes;         /* hard limit for used_bytes */
	size_t held_bytes;        /* taken from the system for it */
	size_t first_bytes;       /* of the first block; 0: the usual */
	bool overflowed;          /* sticky */
	bool starved;             /* overflowed, because the system had no memory and not because of the cap */
};

/* Empty arena that hands out at most cap_bytes. Allocates nothing yet. */
void arena_init(struct arena *a, size_t cap_bytes);

/* The same with a first block of first_bytes instead of some kilobytes: for owners that are many and small. */
void arena_init_small(struct arena *a, size_t cap_bytes, size_t first_bytes);

/* Frees everything; the arena can be used again with the same cap. */
void arena_release(struct arena *a);
/* struct arena a SCOPE_ARENA; right before arena_init(): it goes when the function ends. */
#define SCOPE_ARENA __attribute__((cleanup(arena_release)))

/* Zeroed, 16-byte aligned memory; NULL after overflow. Size 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t bytes);

/* Array of n zeroed elements; overflow of the product counts as overflow of the arena. */
void *arena_array(struct arena *a, size_t n, size_t element_bytes);

/* Copy of n bytes with a NUL after them; NULL after overflow. */
char *arena_strndup(struct arena *a, const char *s, size_t n);

/* Copy of a string; NULL stays NULL. */
char *arena_strdup(struct arena *a, const char *s);

/* Formatted string; NULL after overflow. */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *a, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

/* True when any allocation has failed since arena_init(). */
bool arena_overflowed(const struct arena *a);

#endif
