#ifndef LLMLAB_BASE_CLOCK_H
#define LLMLAB_BASE_CLOCK_H

#include <stdint.h>

/* The only two clocks. Microseconds. Pure code never calls them: it is given the time. */

/* Wall clock, UTC, since 1970. */
int64_t clock_now_us(void);
/* Monotonic, for durations and deadlines. */
int64_t clock_mono_us(void);

#define US_PER_MS 1000LL
#define US_PER_SECOND 1000000LL
#define US_PER_MINUTE (60 * US_PER_SECOND)
#define US_PER_HOUR (60 * US_PER_MINUTE)
#define US_PER_DAY (24 * US_PER_HOUR)

#endif
