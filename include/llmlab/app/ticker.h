#ifndef LLMLAB_APP_TICKER_H
#define LLMLAB_APP_TICKER_H

#include <stdint.h>
#include "llmlab/base/err.h"

/* A background thread that does one thing again and again until it is stopped. */
struct ticker;

/* Calls round(arg) now, and then every_us after each round began (at once if a round took longer). name: at most 15 characters, shown
 * by ps. ERR_NO_MEMORY. */
enum err ticker_start(const char *name, int64_t every_us, void (*round)(void *arg), void *arg, struct ticker **ret);
/* Waits for the round that is running, then frees; NULL is nothing. */
void ticker_stop(struct ticker *t);

#endif
