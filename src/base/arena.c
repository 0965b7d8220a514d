/* Bump allocation from a chain of zeroed blocks. It bounds what it hands out, not the system's overhead of a
 * block (at most the unused rest of each block). */
#include "llmlab/base/arena.h"
#include "llmlab/base/check.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_ALIGN	      ((size_t)16)
#define ARENA_BLOCK_MIN_BYTES ((size_t)4096)
#define ARENA_BLOCK_MAX_BYTES ((size_t)65536)

struct arena_block {
	struct arena_block *next; /* older block */
	size_t size;		  /* of data */
	size_t used;
	_Alignas(16) unsigned char data[];
};

void arena_init(struct arena *a, size_t cap_bytes)
{
	*a = (struct arena){.cap_bytes = cap_bytes};
}

void arena_init_small(struct arena *a, size_t cap_bytes, size_t first_bytes)
{
	*a = (struct arena){.cap_bytes = cap_bytes, .first_bytes = first_bytes};
}

void arena_release(struct arena *a)
{
	struct arena_block *block = a->head;
	while (block != NULL) {
		struct arena_block *const next = block->next;
		free(block);
		block = next;
	}
	arena_init_small(a, a->cap_bytes, a->first_bytes);
}

static void *arena_overflow(struct arena *a)
{
	a->overflowed = true;
	return NULL;
}

/* A new block with room for at least need bytes at the head of the chain; NULL without memory. Blocks double
 * in size so that a large owner needs few of them, and never reach beyond what the cap still allows. */
static struct arena_block *arena_grow(struct arena *a, size_t need)
{
	const size_t first = a->first_bytes == 0 ? ARENA_BLOCK_MIN_BYTES : a->first_bytes;
	size_t size = a->head == NULL ? first : a->head->size * 2;
	if (size > ARENA_BLOCK_MAX_BYTES)
		size = ARENA_BLOCK_MAX_BYTES;
	if (size > a->cap_bytes - a->used_bytes)
		size = a->cap_bytes - a->used_bytes;
	if (size < need)
		size = need;
	if (size > PTRDIFF_MAX - sizeof(struct arena_block))
		return NULL;
	struct arena_block *const block = calloc(1, sizeof *block + size);
	if (block == NULL)
		return NULL;
	block->next = a->head;
	block->size = size;
	a->head = block;
	a->held_bytes += sizeof *block + size;
	return block;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
	if (a->overflowed || bytes > SIZE_MAX - ARENA_ALIGN)
		return arena_overflow(a);
	const size_t need = bytes == 0 ? ARENA_ALIGN : (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	if (need > a->cap_bytes - a->used_bytes)
		return arena_overflow(a);
	struct arena_block *block = a->head;
	if (block == NULL || block->size - block->used < need)
		block = arena_grow(a, need);
	if (block == NULL) {
		a->starved = true;
		return arena_overflow(a);
	}
	void *const memory = block->data + block->used;
	block->used += need;
	a->used_bytes += need;
	return memory;
}

void *arena_array(struct arena *a, size_t n, size_t element_bytes)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, element_bytes, &bytes))
		return arena_overflow(a);
	return arena_alloc(a, bytes);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	if (n == SIZE_MAX)
		return arena_overflow(a);
	char *const copy = arena_alloc(a, n + 1);
	if (copy != NULL && n > 0)
		memcpy(copy, s, n);
	return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return s == NULL ? NULL : arena_strndup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	char *const text = arena_vprintf(a, fmt, args);
	va_end(args);
	return text;
}

char *arena_vprintf(struct arena *a, const char *fmt, va_list args)
{
	va_list again;
	va_copy(again, args);
	const int length = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (length < 0)
		return arena_overflow(a);
	char *const text = arena_alloc(a, (size_t)length + 1);
	if (text != NULL)
		CHECK(vsnprintf(text, (size_t)length + 1, fmt, args) == length);
	return text;
}

bool arena_overflowed(const struct arena *a)
{
	return a->overflowed;
}
