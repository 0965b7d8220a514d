/* Replays costs that were computed independently of this program: with exact fractions, from the published
 * price facts, by a straightforward reading of the rules in docs/pricing.md. One case a line, tab separated;
 * see the head of the file. */
#include "llmlab/base/calendar.h"
#include "llmlab/core/price.h"
#include "llmlab/providers/catalogue_load.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS	  12
#define LINE_SIZE 4096

static struct arena arena;
static struct catalogue *catalogue;

static void setup(void)
{
	struct problem p;
	arena_init(&arena, (size_t)16 << 20);
	problem_init(&p, &arena);
	ck_assert_msg(catalogue_load(NULL, &catalogue, &p) == ERR_OK, "%s", problem_detail(&p));
}

static void teardown(void)
{
	catalogue_free(catalogue);
	arena_release(&arena);
}

/* Splits at tabs, in place; an empty column is NULL. */
static size_t split(char *line, const char *columns[COLUMNS])
{
	size_t n = 0;
	line[strcspn(line, "\n")] = '\0';
	char *at = line;
	while (at != NULL && n < COLUMNS) {
		char *const column = strsep(&at, "\t");
		columns[n++] = column[0] == '\0' ? NULL : column;
	}
	return n;
}

static void set_quantity(struct usage *u, const char *name, const char *value)
{
	int128 number;
	const bool unit = strncmp(name, "unit.", 5) == 0;
	ck_assert(decimal_parse(value, strlen(value), unit ? UNIT_SCALE : 0, INT64_MAX, &number) == ERR_OK);
	if (unit) {
		u->units[usage_unit_find(name + 5)] = (int64_t)number;
		return;
	}
	if (strcmp(name, "web_searches") == 0) {
		u->web_searches = (int64_t)number;
		return;
	}
	for (int c = 0; c < USAGE_COUNTS; c++) {
		if (strcmp(name, usage_count_name((enum usage_count)c)) == 0) {
			u->counts[c] = (int64_t)number;
			u->has_counts = true;
			return;
		}
	}
	ck_abort_msg("unknown count %s", name);
}

/* "input_tokens=5 unit.query=2" */
static struct usage parse_usage(const char *text)
{
	struct usage u = {0};
	char copy[LINE_SIZE];
	snprintf(copy, sizeof copy, "%s", text == NULL ? "" : text);
	char *at = copy;
	for (char *pair = strsep(&at, " "); pair != NULL; pair = strsep(&at, " ")) {
		char *const equals = strchr(pair, '=');
		if (equals == NULL)
			continue;
		*equals = '\0';
		set_quantity(&u, pair, equals + 1);
	}
	return u;
}

/* "<status> <record> <cost>" of the case, as the file has it. */
static void price_case(const char *const *column, char out[LINE_SIZE])
{
	const struct usage u = parse_usage(column[8]);
	struct problem p;
	struct price_result r;
	int64_t at_us = 0;
	problem_init(&p, &arena);
	ck_assert(instant_parse(column[3], strlen(column[3]), &at_us) == ERR_OK);
	const struct price_query q = {.provider = column[0],
		.model = column[1] == NULL ? "" : column[1],
		.base_url = column[2],
		.at_us = at_us,
		.service_tier = column[4],
		.inference_geo = column[5],
		.data_residency = column[6],
		.search_context_size = column[7],
		.usage = &u};
	if (price_event(catalogue, NULL, 0, &q, &r, &p) != ERR_OK) {
		snprintf(out, LINE_SIZE, "refused - -");
		return;
	}
	char cost[DECIMAL_TEXT_MAX];
	decimal_format(r.cost.atto, MONEY_SCALE, cost);
	struct money sum = money_zero();
	for (size_t i = 0; i < r.n_lines; i++)
		ck_assert(money_add(sum, r.lines[i].cost, &sum));
	ck_assert_msg(money_compare(sum, r.cost) == 0, "the lines do not add up to the cost");
	const struct price_record *const record = r.match.record;
	snprintf(out, LINE_SIZE, "%s %s%s%s %s", pricing_status_name(r.status),
		record == NULL ? "-" : record->provider, record == NULL ? "" : "/",
		record == NULL ? "" : record->model, r.status == PRICING_UNPRICED ? r.rule : cost);
}

START_TEST(price_event_golden_cases_give_the_independent_costs)
{
	FILE *const f = fopen(TEST_DATA_DIR "/pricing_golden.tsv", "r");
	ck_assert_ptr_nonnull(f);
	char line[LINE_SIZE];
	size_t cases = 0;
	size_t wrong = 0;
	while (fgets(line, sizeof line, f) != NULL) {
		const char *column[COLUMNS] = {NULL};
		char got[LINE_SIZE];
		char want[LINE_SIZE];
		if (line[0] == '#')
			continue;
		ck_assert_uint_eq(split(line, column), COLUMNS);
		price_case(column, got);
		snprintf(want, sizeof want, "%s %s %s", column[9], column[10], column[11]);
		cases++;
		if (strcmp(got, want) != 0) {
			wrong++;
			printf("case %zu: %s %s %s %s [%s]\n  want %s\n  got  %s\n", cases,
				column[0] == NULL ? "-" : column[0], column[1] == NULL ? "-" : column[1],
				column[3], column[4] == NULL ? "-" : column[4],
				column[8] == NULL ? "" : column[8], want, got);
		}
	}
	fclose(f);
	ck_assert_uint_ge(cases, 400);
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("golden");
	TCase *const t = tcase_create("golden");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, price_event_golden_cases_give_the_independent_costs);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
