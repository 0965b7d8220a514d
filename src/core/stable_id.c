/* Ids of findings (anomalies, optimizations) that are computed anew for each answer and must still be the
 * same. Not for anything that is stored as a key. */

#include "stable_id.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#define FNV_OFFSET 0xcbf29ce484222325ULL
#define FNV_PRIME  0x100000001b3ULL

static uint64_t add_byte(uint64_t hash, unsigned char byte)
{
	return (hash ^ byte) * FNV_PRIME;
}

void stable_id(const char *const *texts, size_t n, char out[STABLE_ID_SIZE])
{
	uint64_t hash = FNV_OFFSET;
	for (size_t i = 0; i < n; i++) {
		/* What precedes a text tells NULL from "", and where one text ends. */
		hash = add_byte(hash, texts[i] ? 1 : 2);
		for (const char *s = texts[i]; s && *s; s++)
			hash = add_byte(hash, (unsigned char)*s);
		hash = add_byte(hash, 0);
	}
	snprintf(out, STABLE_ID_SIZE, "%016" PRIx64, hash);
}
