/* Says which promise of our own code was broken, then ends the process. It does not use the log module: a
 * CHECK may fail while that one holds its lock. */
#include "llmlab/base/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void check_failed(const char *what, const char *file, int line, const char *function)
{
	dprintf(STDERR_FILENO, "llmlab: internal check failed: %s (%s:%d, %s)\n", what, file, line, function);
	abort();
}
