#ifndef LLMLAB_CORE_HASH_H
#define LLMLAB_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* FNV-1a, 64 bits (Fowler, Noll, Vo). For tables of bounded chains and for naming a catalogue's content; not for secrets. */
#define HASH_START 0xcbf29ce484222325ULL

/* Continues a hash over n more bytes; begin with HASH_START. */
static inline uint64_t hash_more(uint64_t hash, const void *data, size_t n)
{
	const unsigned char *const bytes = data;
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
	return hash;
}

static inline uint64_t hash_bytes(const void *data, size_t n)
{
	return hash_more(HASH_START, data, n);
}

#endif
