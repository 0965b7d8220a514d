/* llmlab price: what a call costs, from the catalogue in this binary (and LLMLAB_PRICING_FILE), with the
 * breakdown. No server and no database; a user's own prices are not known here. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/app/app.h"
#include "llmlab/app/start.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/price.h"
#include "llmlab/providers/catalogue_load.h"

#define ARENA_BYTES ((size_t)1 << 20)
#define OPTION_MAX  64

static const char HELP[] =
	"Usage: llmlab price MODEL [options]\n\n"
	"Prints what a call of MODEL costs and why, from the built-in prices and those of "
	"LLMLAB_PRICING_FILE.\n\n"
	"  --input N, --output N       tokens; everything that went in or came out\n"
	"  --cache-read N, --cache-write N, --cache-write-1h N, --input-audio N, --input-image N, "
	"--input-video N,\n"
	"  --cache-read-audio N, --cache-read-image N, --reasoning N, --citation N, --output-audio N,\n"
	"  --output-image N, --output-video N\n"
	"                              parts of them\n"
	"  --web-searches N            searches billed beside the tokens\n"
	"  --unit NAME=QUANTITY        what is billed by the piece, such as input_second=9.5; may be "
	"repeated\n"
	"  --provider P                who bills (default: found from the model)\n"
	"  --tier T                    batch, flex, priority ... as the provider calls it\n"
	"  --at TIME                   when the call is made, RFC 3339 (default: now)\n"
	"  --inference-geo G, --data-residency R, --search-context-size S\n"
	"                              as the provider calls them\n\n"
	"Exit code: 0 there is a price, 1 there is none, 2 wrong arguments.\n";

struct request {
	struct price_query query;
	struct usage usage;
};

/* ---- arguments ---- */

static int usage_error(const char *what, const char *why)
{
	fprintf(stderr, "llmlab: %s: %s; see llmlab price --help\n", what, why);
	return 2;
}

/* "cache_read_tokens" as "cache-read". */
static void option_name(const char *field, char out[OPTION_MAX])
{
	static const char suffix[] = "_tokens";
	size_t n = strlen(field);
	if (n > sizeof suffix && strcmp(field + n - (sizeof suffix - 1), suffix) == 0)
		n -= sizeof suffix - 1;
	for (size_t i = 0; i < n && i < OPTION_MAX - 1; i++)
		out[i] = field[i] == '_' ? '-' : field[i];
	out[n < OPTION_MAX - 1 ? n : OPTION_MAX - 1] = '\0';
}

static bool read_count(const char *text, int64_t max, int64_t *ret)
{
	int128 value;
	if (decimal_parse(text, strlen(text), 0, max, &value) != ERR_OK || value < 0)
		return false;
	*ret = (int64_t)value;
	return true;
}

static bool read_unit(const char *text, struct usage *u)
{
	char name[OPTION_MAX];
	const char *const equals = strchr(text, '=');
	if (equals == NULL || equals - text >= OPTION_MAX)
		return false;
	memcpy(name, text, (size_t)(equals - text));
	name[equals - text] = '\0';
	const enum usage_unit unit = usage_unit_find(name);
	int128 quantity;
	if (unit == USAGE_UNITS ||
		decimal_parse(equals + 1, strlen(equals + 1), UNIT_SCALE, UNIT_QUANTITY_MAX, &quantity) !=
			ERR_OK ||
		quantity < 0)
		return false;
	u->units[unit] = (int64_t)quantity;
	return true;
}

static const char **text_option(struct price_query *q, const char *name)
{
	const struct {
		const char *name;
		const char **value;
	} texts[] = {{"provider", &q->provider}, {"tier", &q->service_tier},
		{"inference-geo", &q->inference_geo}, {"data-residency", &q->data_residency},
		{"search-context-size", &q->search_context_size}};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		if (strcmp(name, texts[i].name) == 0)
			return texts[i].value;
	}
	return NULL;
}

static int64_t *count_option(struct usage *u, const char *name)
{
	char option[OPTION_MAX];
	for (int c = 0; c < USAGE_COUNTS; c++) {
		option_name(usage_count_name((enum usage_count)c), option);
		if (strcmp(name, option) == 0)
			return &u->counts[c];
	}
	return NULL;
}

/* NULL: fine; else what the value must be. */
static const char *read_option(struct request *rq, const char *name, const char *value)
{
	int64_t *const count = count_option(&rq->usage, name);
	const char **const text = text_option(&rq->query, name);
	if (count != NULL) {
		rq->usage.has_counts = true;
		return read_count(value, USAGE_TOKENS_MAX, count) ? NULL : "must be a number of tokens";
	}
	if (text != NULL) {
		*text = value;
		return NULL;
	}
	if (strcmp(name, "web-searches") == 0)
		return read_count(value, USAGE_SEARCHES_MAX, &rq->usage.web_searches) ? NULL
										      : "must be a number";
	if (strcmp(name, "unit") == 0)
		return read_unit(value, &rq->usage) ? NULL : "must be a known unit, =, and a number";
	if (strcmp(name, "at") == 0)
		return instant_parse(value, strlen(value), &rq->query.at_us) == ERR_OK
			       ? NULL
			       : "must be an RFC 3339 time";
	return "is not an option";
}

/* -1: go on; else the exit code. */
static int read_arguments(int argc, char **argv, struct request *rq)
{
	for (int i = 1; i < argc; i++) {
		const char *const argument = argv[i];
		if (strcmp(argument, "--help") == 0)
			return fputs(HELP, stdout) < 0;
		if (strncmp(argument, "--", 2) != 0) {
			if (rq->query.model != NULL)
				return usage_error(argument, "price wants one model");
			rq->query.model = argument;
			continue;
		}
		if (i + 1 == argc)
			return usage_error(argument, "a value is missing");
		const char *const wrong = read_option(rq, argument + 2, argv[++i]);
		if (wrong != NULL)
			return usage_error(argument, wrong);
	}
	return rq->query.model == NULL ? usage_error("price", "a model is missing") : -1;
}

/* ---- telling ---- */

static void print_line(const struct price_line *l)
{
	static const char *const per[] = {[LINE_TOKENS] = "per million tokens",
		[LINE_WEB_SEARCHES] = "per thousand",
		[LINE_REQUESTS] = "per thousand",
		[LINE_UNIT] = "each"};
	char quantity[DECIMAL_TEXT_MAX], price[DECIMAL_TEXT_MAX], cost[DECIMAL_TEXT_MAX];
	decimal_format(l->quantity, l->kind == LINE_UNIT ? UNIT_SCALE : 0, quantity);
	decimal_format(l->price, PRICE_LINE_SCALE, price);
	decimal_format(l->cost.atto, MONEY_SCALE, cost);
	printf("  %-18s %14s  x %10s %-18s = %s\n", price_line_category(l), quantity, price, per[l->kind],
		cost);
}

static int print_result(const struct price_query *q, const struct price_result *r)
{
	char at[INSTANT_TEXT_SIZE], cost[DECIMAL_TEXT_MAX];
	const struct price_record *const record = r->match.record;
	instant_format(q->at_us, at);
	if (r->status == PRICING_UNPRICED) {
		printf("%s: no price (%s), catalogue %s, at %s\n", q->model, r->rule, r->catalogue_version,
			at);
		return 1;
	}
	printf("%s/%s, found by %s, %s tier, catalogue %s, at %s\n", record->provider, record->model, r->rule,
		service_tier_name(r->service_tier), r->catalogue_version, at);
	for (size_t i = 0; i < r->n_lines; i++)
		print_line(&r->lines[i]);
	decimal_format(r->cost.atto, MONEY_SCALE, cost);
	printf("  %-18s %s USD%s\n", "total", cost, r->status == PRICING_FREE ? " (free)" : "");
	return 0;
}

static void print_problem(const struct problem *p)
{
	for (size_t i = 0; i < p->n_fields; i++)
		fprintf(stderr, "llmlab: %s %s\n", p->fields[i].field, p->fields[i].message);
	if (p->n_fields == 0)
		fprintf(stderr, "llmlab: %s\n", problem_detail(p));
}

static int price(const struct config *config, const struct price_query *q, struct problem *p)
{
	struct catalogue *catalogue = NULL;
	if (catalogue_load(config->pricing_file[0] != '\0' ? config->pricing_file : NULL, &catalogue, p) !=
		ERR_OK) {
		print_problem(p);
		return 1;
	}
	struct price_result result;
	const enum err e = price_event(catalogue, NULL, 0, q, &result, p);
	int code = 2;
	if (e == ERR_OK)
		code = print_result(q, &result);
	else
		print_problem(p);
	catalogue_free(catalogue);
	return code;
}

int command_price(int argc, char **argv)
{
	struct request rq = {.query = {.at_us = clock_now_us()}};
	rq.query.usage = &rq.usage;
	int code = read_arguments(argc, argv, &rq);
	if (code >= 0)
		return code;
	struct config config = {0};
	if (!start_config(&config))
		return 1;
	struct arena arena;
	arena_init(&arena, ARENA_BYTES);
	struct problem p;
	problem_init(&p, &arena);
	code = price(&config, &rq.query, &p);
	arena_release(&arena);
	config_release(&config);
	return code;
}
