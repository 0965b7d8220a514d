#ifndef LLMLAB_APP_IMPORT_CLIENT_H
#define LLMLAB_APP_IMPORT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/err.h"
#include "llmlab/core/money.h"

/* The client's side of POST /api/events/batch. */

enum import_outcome {
	IMPORT_STORED,
	IMPORT_DUPLICATE,
	IMPORT_REJECTED, /* the event is not good; sending it again changes nothing */
	IMPORT_AGAIN     /* not stored now for the server's reasons: to be sent again */
};

struct import_result {
	enum import_outcome outcome;
	bool has_cost; /* false: unpriced */
	struct money cost;
	const char *reason; /* IMPORT_REJECTED, IMPORT_AGAIN: for a person; in the arena */
};

/* Reads the answer to a batch of n events into results[0..n): one for each, in whatever order they come. Costs are read from
 * their digits. ERR_SYNTAX: the answer is not as the contract says (results may be partly written). */
enum err import_results_read(const char *answer, size_t bytes, struct arena *arena, struct import_result *results, size_t n);

struct import_client;
/* url: of the server ("http://127.0.0.1:8000"); key: token or API key. The url outlives it, the key is copied. ERR_NO_MEMORY. */
enum err import_client_new(const char *url, const char *key, struct import_client **ret);
void import_client_free(struct import_client *c);

#define IMPORT_MESSAGE_MAX 512

/* Told before each wait: why, and for how long. */
typedef void import_waiting(const char *why, long seconds);

/* Sends the n events of body (NDJSON) and fills results; reasons are in the arena. While the server is away or busy (503, 429,
 * no connection) it waits as Retry-After says, else 1 s, doubling up to 30 s, and sends again, for ten minutes of waiting since
 * the last progress. Anything else, or the end of patience: ERR_UNAVAILABLE with the reason in message. */
enum err import_client_send(struct import_client *c, const char *body, size_t bytes, struct arena *arena,
	struct import_result *results, size_t n, import_waiting *waiting, char message[IMPORT_MESSAGE_MAX]);
/* The same wait, for events with IMPORT_AGAIN; false at the end of patience. */
bool import_client_wait(struct import_client *c, const char *why, import_waiting *waiting);
/* Something was stored: patience begins anew. */
void import_client_progress(struct import_client *c);

#endif
