#ifndef LLMLAB_APP_FINDINGS_H
#define LLMLAB_APP_FINDINGS_H

#include <stdint.h>

/* What a diagnosis (llmlab check) thinks of a figure. Pure. */
enum finding { FOUND_GOOD, FOUND_DOUBTFUL, FOUND_BAD };

/* Free bytes of the disk under the database: doubtful below 1 GiB, bad below 100 MiB. */
enum finding finding_disk(int64_t free_bytes);
/* How far the database's clock is from ours, either way: doubtful beyond a second, bad beyond a minute. */
enum finding finding_clock(int64_t ahead_us);
/* How long a commit took: doubtful beyond 20 ms. */
enum finding finding_commit(int64_t commit_us);
/* The schema's version beside the newest that this program brings: an older one is doubtful (the next start migrates), a newer
 * one is bad. */
enum finding finding_schema(int64_t version, int64_t latest);
/* Connections in use, those a server of ours takes, and how many the database allows: doubtful if they do not fit. */
enum finding finding_connections(int64_t used, int64_t own, int64_t allowed);

#endif
