#ifndef LLMLAB_BASE_CHECK_H
#define LLMLAB_BASE_CHECK_H

/* CHECK states what our own code guarantees. It stays on in production: a broken promise inside the server
 * must never become a wrong number. The client's and the environment's faults are never CHECKs. */
#define CHECK(cond)                                                                                              \
	do {                                                                                                     \
		if (__builtin_expect(!(cond), 0))                                                                \
			check_failed(#cond, __FILE__, __LINE__, __func__);                                       \
	} while (0)

/* Prints the broken promise to stderr and aborts. */
_Noreturn void check_failed(const char *what, const char *file, int line, const char *function);

#endif
