/* llmlab backtest: how the forecasts of GET /api/costs/forecast would have turned out over the spend that is
 * stored. Reads the database only. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "llmlab/app/app.h"
#include "llmlab/app/start.h"
#include "llmlab/base/calendar.h"
#include "llmlab/base/clock.h"
#include "llmlab/core/estimate.h"
#include "llmlab/core/forecast.h"
#include "llmlab/db/costs.h"
#include "llmlab/db/migrate.h"
#include "llmlab/db/spend_users.h"

#define USERS_PAGE   100
#define DAYS_MAX     1100 /* three years */
#define EVERY_DAYS   7
#define MEMORY_BYTES ((size_t)64 << 20)

static const size_t HORIZONS[] = {7, 28};
#define N_HORIZONS (sizeof HORIZONS / sizeof HORIZONS[0])

static const char HELP[] =
	"Usage: llmlab backtest [--user EMAIL]\n\n"
	"Forecasts the past: for every seventh day of each user's history the next 7 and 28 days, from the "
	"days before only, "
	"and\n"
	"compares with what was spent. Uses DATABASE_URL, or the private database while no server runs.\n\n"
	"  MASE   mean absolute error of a day over that of the seasonal naive method within the history; "
	"naive: that method's\n"
	"         own over the same days\n"
	"  80 %, 95 %   how many sums lay within the interval\n\n"
	"Exit code: 0 done, 1 failed, 2 wrong arguments.\n";

static int fail(const char *what)
{
	fprintf(stderr, "llmlab: %s\n", what);
	return 1;
}

static void print_row(const char *who, size_t n_days, size_t horizon, const struct forecast_trials *t)
{
	printf("%-32s %5zu %8zu %9zu", who, n_days, horizon, t->n);
	if (t->n_scaled > 0)
		printf(" %6.3f %6.3f", t->mase / (double)t->n_scaled, t->naive / (double)t->n_scaled);
	else
		printf(" %6s %6s", "-", "-");
	if (t->n > 0)
		printf(" %5.1f%% %5.1f%%\n", 100.0 * (double)t->in_80 / (double)t->n,
			100.0 * (double)t->in_95 / (double)t->n);
	else
		printf(" %6s %6s\n", "-", "-");
}

static void add_trials(struct forecast_trials *to, const struct forecast_trials *t)
{
	to->n += t->n;
	to->in_80 += t->in_80;
	to->in_95 += t->in_95;
	to->n_scaled += t->n_scaled;
	to->mase += t->mase;
	to->naive += t->naive;
}

/* The whole days of a user from the first with usage to yesterday, in USD; at most DAYS_MAX, the last ones.
 */
static enum err read_days(
	struct db_conn *c, const struct spend_user *u, struct arena *arena, double **ret, size_t *ret_n)
{
	const struct tz *tz;
	if (tz_load(u->timezone, &tz) != ERR_OK)
		return ERR_NOT_FOUND;
	const int32_t today = tz_day_of(tz, clock_now_us());
	int32_t first = tz_day_of(tz, u->first_us);
	if (today - first > DAYS_MAX)
		first = today - DAYS_MAX;
	const size_t n = today > first ? (size_t)(today - first) : 0;
	int64_t *const starts = arena_array(arena, n + 1, sizeof *starts);
	struct usage_sums *const sums = arena_array(arena, n, sizeof *sums);
	double *const days = arena_array(arena, n, sizeof *days);
	if (starts == NULL || sums == NULL || days == NULL)
		return ERR_NO_MEMORY;
	for (size_t i = 0; i <= n; i++)
		starts[i] = tz_day_start(tz, first + (int32_t)i);
	const enum err e = n > 0 ? costs_series_cost(c, &u->id, starts, n + 1, sums) : ERR_OK;
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		days[i] = money_as_double(sums[i].cost);
	*ret = days;
	*ret_n = n;
	return e;
}

/* All horizons of one user; adds to the totals. */
static enum err try_user(
	struct db_conn *c, const struct spend_user *u, struct forecast_trials totals[N_HORIZONS])
{
	struct arena arena, work;
	arena_init(&arena, MEMORY_BYTES);
	arena_init(&work, MEMORY_BYTES);
	double *days;
	size_t n;
	enum err e = read_days(c, u, &arena, &days, &n);
	for (size_t i = 0; e == ERR_OK && i < N_HORIZONS; i++) {
		struct forecast_trials t = {.n = 0};
		e = forecast_try(days, n, HORIZONS[i], EVERY_DAYS, &work, &t);
		if (e != ERR_OK)
			break;
		print_row(u->email, n, HORIZONS[i], &t);
		add_trials(&totals[i], &t);
	}
	arena_release(&work);
	arena_release(&arena);
	return e;
}

/* One page of users; *after moves to its last. *ret_n: how many. */
static enum err try_page(struct db_conn *c, const char *email, struct uuid *after,
	struct forecast_trials totals[N_HORIZONS], size_t *ret_n)
{
	struct arena arena;
	arena_init(&arena, MEMORY_BYTES);
	struct spend_user *users = NULL;
	size_t n = 0;
	enum err e = spend_users_list(c, after, email, USERS_PAGE, &arena, &users, &n);
	for (size_t i = 0; e == ERR_OK && i < n; i++) {
		e = try_user(c, &users[i], totals);
		*after = users[i].id;
	}
	arena_release(&arena);
	*ret_n = n;
	return e;
}

static int backtest(const struct db_settings *settings, const char *email)
{
	struct db_conn *const c = db_conn_new(settings);
	if (c == NULL)
		return fail("out of memory");
	struct forecast_trials totals[N_HORIZONS] = {{.n = 0}};
	struct uuid after = {{0}};
	size_t n = 0, n_users = 0;
	printf("%-32s %5s %8s %9s %6s %6s %6s %6s\n", "user", "days", "horizon", "forecasts", "MASE", "naive",
		"80 %", "95 %");
	enum err e;
	do {
		e = try_page(c, email, &after, totals, &n);
		n_users += n;
	} while (e == ERR_OK && n == USERS_PAGE);
	for (size_t i = 0; e == ERR_OK && i < N_HORIZONS; i++)
		print_row("all", 0, HORIZONS[i], &totals[i]);
	db_conn_free(c);
	if (e != ERR_OK)
		return fail(err_title(e));
	return email != NULL && n_users == 0 ? fail("there is no such user with spend") : 0;
}

/* -1: go on; else the exit code. */
static int read_options(int argc, char **argv, const char **ret_email)
{
	static const struct option known[] = {
		{"user", required_argument, NULL, 'u'}, {"help", no_argument, NULL, 'h'}, {0}};
	*ret_email = NULL;
	for (int got = getopt_long(argc, argv, "", known, NULL); got != -1;
		got = getopt_long(argc, argv, "", known, NULL)) {
		if (got == 'h')
			return fputs(HELP, stdout) < 0;
		if (got == '?')
			return 2; /* told by getopt */
		*ret_email = optarg;
	}
	if (optind == argc)
		return -1;
	fputs("llmlab: backtest takes options only; see llmlab backtest --help\n", stderr);
	return 2;
}

int command_backtest(int argc, char **argv)
{
	const char *email;
	int code = read_options(argc, argv, &email);
	if (code >= 0)
		return code;
	struct config config = {0};
	if (!start_config(&config))
		return 1;
	start_log(&config);
	struct start_database database = {0};
	code = 1;
	if (start_database_open(&config, &database))
		code = backtest(&database.settings, email);
	start_database_close(&database);
	config_release(&config);
	return code;
}
