#ifndef LLMLAB_API_RECOMMENDATIONS_H
#define LLMLAB_API_RECOMMENDATIONS_H

#include "llmlab/api/anomaly_scan.h"
#include "llmlab/api/range.h"
#include "llmlab/base/problem.h"
#include "llmlab/core/switching.h"
#include "llmlab/http/request.h"

/* What the endpoints under /api/recommendations share: the user's sums as the pure rules want them. */

/* What was used in the range, one row per provider and model, in the arena. The database's errors,
 * ERR_NO_MEMORY, ERR_RANGE (too many models). */
enum err recommendations_usage(struct http_request *rq, const struct range *range, struct arena *arena,
	struct model_usage **ret, size_t *ret_n);

/* The parameter include_dismissed: true, false or not given (false). Problems are named in *p. */
bool recommendations_include_dismissed(const struct http_request *rq, struct problem *p);

/* Finds the unusual days of the range, and the unusual hours of today and yesterday, those marked that are dismissed. Errors as
 * above. */
enum err recommendations_anomalies(struct http_request *rq, const struct range *range, double threshold,
	struct arena *arena, struct anomaly_report *ret);

/* Leaves out the dismissed ones. */
void recommendations_drop_dismissed_anomalies(struct anomaly_report *report);
/* Writes them as an array under the key. */
void recommendations_write_anomalies(
	struct json_writer *w, const char *key, const struct anomaly_report *report);
void recommendations_write_switching(
	struct json_writer *w, const char *key, const struct switching *rows, size_t n);

/* The memory one answer may be made of. */
#define RECOMMENDATIONS_MAX_BYTES ((size_t)128 << 20)

#endif
