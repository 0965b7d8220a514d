#ifndef LLMLAB_TESTS_FUZZ_H
#define LLMLAB_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/problem.h"
#include "llmlab/providers/catalogue_load.h"

/* What the fuzz targets share. Each fuzz_<subject>.c defines LLVMFuzzerTestOneInput(); it is linked with
 * libFuzzer where the compiler is clang (tests/fuzz/run.sh), and everywhere with replay.c, which runs the
 * corpus as a test. A target checks more than "no crash": what it checks stands at its top. */

/* One input; always 0. What does not hold ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property of the code under test. */
#define FUZZ_CHECK(condition)                                                                                \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);       \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

/* A copy of exactly n bytes, so that a sanitizer sees the first byte read beyond it. */
static inline char *fuzz_bytes(const uint8_t *data, size_t n)
{
	char *const copy = malloc(n > 0 ? n : 1);
	FUZZ_CHECK(copy != NULL);
	memcpy(copy, data, n);
	return copy;
}

/* The same with a NUL after them. */
static inline char *fuzz_text(const uint8_t *data, size_t n)
{
	char *const copy = malloc(n + 1);
	FUZZ_CHECK(copy != NULL);
	memcpy(copy, data, n);
	copy[n] = '\0';
	return copy;
}

/* The prices in the binary; for the whole life of the process. */
static inline const struct catalogue *fuzz_catalogue(void)
{
	static struct catalogue *catalogue;
	if (catalogue == NULL) {
		struct arena arena;
		struct problem p;
		arena_init(&arena, (size_t)1 << 20);
		problem_init(&p, &arena);
		FUZZ_CHECK(catalogue_load(NULL, &catalogue, &p) == ERR_OK);
		arena_release(&arena);
	}
	return catalogue;
}

#endif
