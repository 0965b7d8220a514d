/* The process's clocks; nothing else in the tree reads the time. */
#include "llmlab/base/clock.h"
#include "llmlab/base/check.h"
#include <time.h>

static int64_t clock_read_us(clockid_t id)
{
	struct timespec now;
	CHECK(clock_gettime(id, &now) == 0);
	return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

int64_t clock_now_us(void)
{
	return clock_read_us(CLOCK_REALTIME);
}

int64_t clock_mono_us(void)
{
	return clock_read_us(CLOCK_MONOTONIC);
}
