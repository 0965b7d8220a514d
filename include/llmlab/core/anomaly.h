#ifndef LLMLAB_CORE_ANOMALY_H
#define LLMLAB_CORE_ANOMALY_H

#include <stddef.h>
#include <stdint.h>
#include "llmlab/base/arena.h"
#include "llmlab/base/err.h"
#include "llmlab/core/money.h"

/* Times that cost unusually much. Pure, deterministic and explainable: robust statistics over the user's own
 * past, no training. A time is a day or an hour (a bucket); an hour is compared with the same hour of other
 * days.
 *
 * A bucket is compared with the 28 before it that are one day apart (at least 7, counted from the first with
 * any cost), all as square roots, which makes the spread of spend that comes in calls about the same at all
 * levels (Bartlett 1936). Level: their median. Week: from 21 on, the median of the same weekday, shrunk
 * towards the level as if one more week had shown no pattern. Trend: from 21 on, the difference of the
 * medians of the newer and the older half of what is left, as far as it exceeds half their usual deviation (a
 * resistant line; Tukey 1977). Expected is all three together. Deviation is the median absolute deviation
 * (MAD; Rousseeuw and Croux 1993) of what is left, on the upper side if that is wider, made larger by 3 / n
 * while the history is short, and at least 0.07 of what is expected (a perfectly steady past does not make a
 * cent unusual). The score is the modified z-score of Iglewicz and Hoaglin (1993), 0.6745 x (cost - expected)
 * / deviation; their threshold is 3.5. (The order season, median, MAD is that of S-H-ESD: Vallis, Hochenbaum
 * and Kejariwal 2014.)
 *
 * Only too much is unusual, only from a minimum of money on, and never a bucket that costs no more than the
 * median of its weekday. What is used on less than two thirds of the days is compared with the days of use,
 * if there are 7 of them.
 *
 * A step to a new level is told once: buckets after an unusual one are compared with the level of the unusual
 * ones too, and told again only if they stand out from that. The step ends when a bucket that would have shown it
 * is back in the expected range (a quiet weekend would not), or after a week without anything unusual. After two
 * weeks the new level is the expected one by itself. Hours differ by themselves: within a day of one that was told
 * only twice its excess is news.
 *
 * The same excess shows in several series at once. It is told once, in the narrowest that accounts for four
 * fifths of it: model before provider before all; project and tag only if no model or provider shows the same
 * amount, and the models together less than the projects (the values of the tag). What is left out is linked
 * (`also`).
 *
 * The last bucket may be incomplete: it is told only if it is too much already, and nothing is compared with
 * it. Costs stay exact money; expected, lower and upper are estimates, given in whole millionths of a USD. */

enum anomaly_kind { ANOMALY_ALL, ANOMALY_PROVIDER, ANOMALY_MODEL, ANOMALY_PROJECT, ANOMALY_TAG };

struct anomaly_series {
	enum anomaly_kind kind;
	const char *provider;	   /* of ANOMALY_PROVIDER and ANOMALY_MODEL, else NULL, as the others */
	const char *model;	   /* of ANOMALY_MODEL */
	const char *project;	   /* of ANOMALY_PROJECT */
	const char *tag_key;	   /* of ANOMALY_TAG */
	const char *tag_value;	   /* of ANOMALY_TAG */
	const struct money *costs; /* of each bucket, 0 or more; all series have the same buckets */
};

struct anomaly_input {
	const struct anomaly_series *series;
	size_t n_series;
	size_t n_buckets;
	size_t a_day;	      /* buckets of a day: 1, or 24 */
	size_t report_from;   /* buckets before this one are history only */
	double threshold;     /* score from which a bucket is unusual: 0.1 .. 1000 */
	struct money minimum; /* least cost - expected that is worth telling */
};

#define ANOMALY_THRESHOLD_DEFAULT    3.5
#define ANOMALY_MINIMUM_DEFAULT_ATTO 100000000000000000LL /* 0.10 USD */
#define ANOMALY_HISTORY_DAYS	     28

/* By score, as multiples of what 3.5 means: below 5, below 10, below 20, and more. */
enum anomaly_severity { ANOMALY_LOW, ANOMALY_MEDIUM, ANOMALY_HIGH, ANOMALY_CRITICAL };
/* "low" ..., static. */
const char *anomaly_severity_name(enum anomaly_severity s);

#define ANOMALY_ALSO_MAX 8
struct anomaly {
	size_t series; /* index in the input */
	size_t bucket;
	struct money cost, expected;
	struct money lower, upper; /* expected range; a cost above upper is unusual */
	double score;
	enum anomaly_severity severity;
	size_t also[ANOMALY_ALSO_MAX]; /* series that show the same excess, widest first */
	size_t n_also;
};

/* Newest bucket first, then the largest excess. *ret is in the arena. ERR_NO_MEMORY; ERR_RANGE: threshold out
 * of bounds, or a negative cost. */
enum err anomaly_find(
	const struct anomaly_input *in, struct arena *arena, struct anomaly **ret, size_t *ret_n);

/* 16 hex digits, the same for the same user, time and part of the spend every time. */
#define ANOMALY_ID_SIZE 17
void anomaly_id(const char *user_id, const char *granularity, int64_t start_us,
	const struct anomaly_series *s, char out[ANOMALY_ID_SIZE]);

/* What a model was used for in a time. */
struct anomaly_usage {
	const char *provider, *model;
	int64_t calls;	/* that have a price */
	int64_t tokens; /* of all calls */
	struct money cost;
};
enum anomaly_factor { FACTOR_VOLUME, FACTOR_MIX, FACTOR_TOKENS, FACTOR_PRICE };
#define ANOMALY_FACTORS 4
/* "volume", "model_mix", "tokens_per_call", "price", static. */
const char *anomaly_factor_name(enum anomaly_factor f);
/* Splits cost - expected into what more calls, other models, longer calls and other prices did: chain
 * substitution, in this order. With the usage before as the measure (n calls, of each model a share, tokens
 * per call and a price per token), the number of calls is replaced by that of now, then the shares, then the
 * tokens per call; what is then missing to the cost is the price. Each step is exact to 10^-18 USD and each
 * contribution the difference of two steps, so they add up to cost - expected exactly. A model that is new is
 * all mix. Without calls before, everything is volume. Both lists are sorted by provider and model, each pair
 * once. ERR_RANGE: a product does not fit. */
enum err anomaly_split(const struct anomaly_usage *now, size_t n_now, const struct anomaly_usage *before,
	size_t n_before, struct money cost, struct money expected, struct money ret[ANOMALY_FACTORS]);

#endif
