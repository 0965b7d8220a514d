#ifndef LLMLAB_API_RECOMMENDATIONS_H
#define LLMLAB_API_RECOMMENDATIONS_H

#include "llmlab/api/range.h"
#include "llmlab/core/anomaly.h"
#include "llmlab/core/switching.h"
#include "llmlab/http/request.h"

/* What the endpoints under /api/recommendations share: the user's sums as the pure rules want them. */

/* What was used in the range, one row per provider and model, in the arena. The database's errors,
 * ERR_NO_MEMORY, ERR_RANGE (too many models). */
enum err recommendations_usage(struct http_request *rq, const struct range *range, struct arena *arena,
	struct model_usage **ret, size_t *ret_n);

/* The unusual days of a range, and what they are shown with. */
struct anomaly_report {
	const struct anomaly_series *series;
	struct anomaly *anomalies;
	struct uuid *dearest; /* the dearest event of each; zero: not looked for */
	size_t n;
};
/* Finds them, history before the range included; days after today do not count. Errors as above. */
enum err recommendations_anomalies(struct http_request *rq, const struct range *range, double threshold,
	struct arena *arena, struct anomaly_report *ret);

/* Writes them as an array under the key. */
void recommendations_write_anomalies(
	struct json_writer *w, const char *key, const struct anomaly_report *report, const struct tz *tz);
void recommendations_write_switching(
	struct json_writer *w, const char *key, const struct switching *rows, size_t n);

/* The memory one answer may be made of. */
#define RECOMMENDATIONS_MAX_BYTES ((size_t)128 << 20)

#endif
