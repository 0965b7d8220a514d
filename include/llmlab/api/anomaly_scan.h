#ifndef LLMLAB_API_ANOMALY_SCAN_H
#define LLMLAB_API_ANOMALY_SCAN_H

#include "llmlab/api/range.h"
#include "llmlab/base/json_write.h"
#include "llmlab/core/anomaly.h"
#include "llmlab/db/anomalies.h"

/* The search for unusual spend of one user: reads the sums, asks core/anomaly.h, and finds out what was
 * behind each finding. For requests and for the background alike. */

#define ANOMALY_CONTRIBUTORS_MAX 8
/* A model, project, customer or API key, and how much more it cost than expected of it. */
struct anomaly_contributor {
	const char *dimension; /* "model", "project", "customer", "key"; static */
	const char *provider;  /* of a model, else "" */
	const char *value;
	struct money contribution; /* more than 0; an estimate, in whole millionths of a USD */
};

/* What all spend of a time was. */
struct anomaly_window {
	int64_t calls;
	struct money cost;
};

struct anomaly_memo; /* anomaly_memo.h */

struct anomaly_entry {
	char id[ANOMALY_ID_SIZE];
	bool hourly;
	int32_t day; /* the civil day it is or lies in */
	int64_t start_us, end_us;
	int64_t before_us;	   /* begin of the days that it is compared with, which end with start_us */
	struct anomaly_window all; /* of all spend from before_us to end_us */
	struct anomaly found;
	const struct anomaly_series *series, *also[ANOMALY_ALSO_MAX];
	/* Why: of the first ANOMALY_DETAILS_MAX only. */
	bool has_causes;
	struct money causes[ANOMALY_FACTORS]; /* add up to cost - expected exactly */
	struct anomaly_contributor contributors[ANOMALY_CONTRIBUTORS_MAX]; /* by dimension, largest first */
	size_t n_contributors;
	bool dismissed; /* the user does not want to see it; false unless somebody asked */
	struct uuid
		event_id; /* the dearest event; zero: not looked for, or too many events to look through */
};
#define ANOMALY_DETAILS_MAX 20

struct anomaly_report {
	struct anomaly_entry *rows; /* newest first, then the largest excess */
	size_t n;
	bool left_out; /* there are more providers, models, projects or values of tags than were searched */
};

struct anomaly_question {
	struct uuid user_id;
	const struct tz *tz;
	int64_t now_us;
	int32_t first_day, end_day; /* days to report, [first, end); days after today do not count */
	double threshold;
	struct anomaly_memo *memo; /* of what was explained before; NULL: none */
};
/* Days of the range, and hours of its part that is today or yesterday. Series: all spend, and the
 * ANOMALY_SERIES_MAX dearest providers, models, projects and values of tags (of ANOMALY_TAG_KEYS_MAX keys);
 * hours of all spend only. An hour of a day that is unusual itself is left out. *ret is in the arena. The
 * database's errors, ERR_NO_MEMORY, ERR_RANGE (a sum does not fit). */
#define ANOMALY_SERIES_MAX   50
#define ANOMALY_TAG_KEYS_MAX 3
enum err anomaly_scan(struct db_conn *db, const struct anomaly_question *q, struct arena *arena,
	struct anomaly_report *ret);

/* The scope as a JSON object: {} for all spend. */
void anomaly_write_scope(struct json_writer *w, const char *key, const struct anomaly_series *s);
/* The members of an entry into an object that the caller began. */
void anomaly_write(struct json_writer *w, const struct anomaly_entry *e);
/* One sentence for people, in the arena; NULL without memory. */
const char *anomaly_sentence(const struct anomaly_entry *e, struct arena *arena);

/* The spend that a series is of, as sums are narrowed. */
struct usage_filter anomaly_filter(const struct anomaly_series *s);

/* The series of the days starts[i] .. starts[i + 1], n_days of them: all spend first, then the dearest of
 * each kind. *ret_left_out: there are more. *ret_calls: of all spend, n_days numbers. For anomaly_scan(). */
enum err anomaly_series_read(struct db_conn *db, const struct uuid *user_id, const int64_t *starts,
	size_t n_days, struct arena *arena, struct anomaly_series **ret, size_t *ret_n, int64_t **ret_calls,
	bool *ret_left_out);
/* Fills causes, contributors and event_id of an entry. For anomaly_scan(). */
enum err anomaly_explain(
	struct db_conn *db, const struct uuid *user_id, struct arena *arena, struct anomaly_entry *e);

#endif
