/* Whatever another user has, a user's figures stay what they were: every question about sums and calls is
 * asked of a user who is alone, and again when there are two others. One has the same sets, names and times
 * with other amounts; with the other one the ids of the sets mean other things. */

#include "llmlab/db/costs.h"
#include "llmlab/db/event_sample.h"
#include "llmlab/db/overrides.h"
#include "llmlab/db/repricing.h"
#include "llmlab/db/unpriced.h"
#include "store_fixture.h"

#define KEY "01890a5d-ac96-774b-bcce-b302099a8057"

/* Intervals by how they are read: in one stretch of whole days and in many, with quarters of an hour beside
 * them and with ragged ends, within one quarter. */
#define STARTS_MAX 5
static const struct span {
	const char *starts[STARTS_MAX];
	size_t n;
} SPANS[] = {
	{{"2026-03-08T00:00:00Z", "2026-03-13T00:00:00Z"}, 2},
	{{"2026-03-08T05:15:00Z", "2026-03-12T07:45:00Z"}, 2},
	{{"2026-03-08T05:07:00Z", "2026-03-12T07:52:00.000001Z"}, 2},
	{{"2026-03-08T00:00:00Z", "2026-03-09T00:00:00Z", "2026-03-11T00:00:00Z"}, 3},
	{{"2026-03-07T18:30:00Z", "2026-03-09T18:30:00Z", "2026-03-11T18:30:00Z", "2026-03-12T18:30:00Z"}, 4},
	{{"2026-03-07T18:22:00Z", "2026-03-09T18:22:00Z", "2026-03-11T18:36:00Z", "2026-03-12T07:51:00Z"}, 4},
	{{"2026-03-09T05:31:00Z", "2026-03-09T05:44:00Z"}, 2},
};
#define N_SPANS (sizeof(SPANS) / sizeof(SPANS[0]))

static struct uuid key;
static const struct usage_tag TAGS[] = {{"team", "red"}, {"job", "nightly"}};
static const struct usage_filter FILTERS[] = {{0}, {.provider = "p0"}, {.model = "m1"}, {.project = "x"},
	{.customer = "acme"}, {.customer = "acme", .model = "m1"}, {.tag_key = "team", .tag_value = "red"},
	{.tags = TAGS, .n_tags = 2}, {.api_key_id = &key}, {.api_key_id = &key, .provider = "p1"},
	{.customer = ""}};
#define N_FILTERS (sizeof(FILTERS) / sizeof(FILTERS[0]))

static void run_for(const char *name, const char *sql, const struct uuid *user_id, int64_t number)
{
	const struct db_stmt stmt = {name, sql};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, user_id);
	db_param_i64(&p, number);
	run_sql(&stmt, &p);
}

/* A call every 13 minutes for five days, of five kinds; some fail, some have no price. Amounts are `factor`
 * times as large, and the ids of the sets go on by factor. */
static struct uuid new_twin(int64_t factor)
{
	static const struct db_stmt PARTITION = {
		"test_twin_partition", "SELECT events_ensure_partition('2026-03-08T00:00:00Z')"};
	const struct uuid user_id = new_user();
	struct db_params none;
	db_params_init(&none, &arena);
	run_sql(&PARTITION, &none);
	run_for("test_twin_events",
		"INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens,"
		" output_tokens, cost, pricing_status, price_rule, catalogue_version, service_tier, project,"
		" customer, tags, api_key_id, status, latency_ms, set_id)"
		" SELECT $1::uuid, t, gen_random_uuid(), t, 'p' || g % 2, 'm' || g % 3, g * $2::bigint, $2,"
		" CASE WHEN g % 11 <> 0 THEN g * $2 * 0.000001 END,"
		" CASE WHEN g % 11 <> 0 THEN 'priced' ELSE 'unpriced' END, 'test', 'test', 'standard',"
		" CASE g % 5 WHEN 0 THEN 'x' WHEN 1 THEN 'nightly' END, CASE WHEN g % 5 IN (1, 2) THEN "
		"'acme' END,"
		" CASE g % 5 WHEN 3 THEN '{\"team\": \"red\"}' WHEN 4 THEN '{\"team\": \"red\", \"job\": "
		"\"nightly\"}' END::jsonb, CASE WHEN g % 5 IN (2, 4) THEN '" KEY "'::uuid END,"
		" CASE WHEN g % 7 = 0 THEN 'error' ELSE 'success' END, g % 100 * $2,"
		" ('00000000-0000-0000-0000-00000000000' || (g + $2) % 5)::uuid"
		" FROM (SELECT g, '2026-03-08T00:00:00Z'::timestamptz + g * interval '781 seconds' AS t"
		" FROM generate_series(0, 552) AS g) AS x",
		&user_id, factor);
	roll_up(&user_id);
	return user_id;
}

static size_t starts_of(const struct span *s, int64_t *starts_us)
{
	for (size_t i = 0; i < s->n; i++)
		starts_us[i] = at(s->starts[i]);
	return s->n;
}

static void say(FILE *to, const char *what, const char *detail, const struct usage_sums *s)
{
	fprintf(to, "%s %s: %ld %ld %ld %ld %ld %s %s %s\n", what, detail, (long)s->calls, (long)s->errors,
		(long)s->unpriced_calls, (long)s->input_tokens, (long)s->output_tokens, usd_text(s->cost),
		usd_text(s->error_cost), usd_text(s->standard_cost));
}

static void say_models(FILE *to, const char *what, const struct usage_by_model *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fprintf(to, "%s ", rows[i].provider);
		say(to, what, rows[i].model, &rows[i].sums);
	}
}

/* ---- the questions; each writes its answers ---- */

typedef void question(FILE *to, const struct uuid *user_id);

static void series(FILE *to, const struct uuid *user_id)
{
	for (size_t i = 0; i < N_SPANS * N_FILTERS; i++) {
		int64_t starts_us[STARTS_MAX];
		struct usage_sums sums[STARTS_MAX];
		const size_t n = starts_of(&SPANS[i / N_FILTERS], starts_us);
		ck_assert_int_eq(
			costs_series(conn, user_id, &FILTERS[i % N_FILTERS], starts_us, n, sums), ERR_OK);
		for (size_t j = 0; j + 1 < n; j++)
			say(to, "series", "", &sums[j]);
	}
}

static void totals(FILE *to, const struct uuid *user_id)
{
	for (size_t i = 0; i < N_SPANS * N_FILTERS; i++) {
		const struct span *const s = &SPANS[i / N_FILTERS];
		struct usage_sums sums;
		ck_assert_int_eq(costs_total(conn, user_id, &FILTERS[i % N_FILTERS], at(s->starts[0]),
					 at(s->starts[s->n - 1]), &sums),
			ERR_OK);
		say(to, "total", "", &sums);
	}
}

static void models(FILE *to, const struct uuid *user_id)
{
	for (size_t i = 0; i < N_SPANS; i++) {
		const struct span *const s = &SPANS[i];
		const int64_t from_us = at(s->starts[0]), to_us = at(s->starts[s->n - 1]);
		struct usage_by_model *rows = NULL;
		size_t n = 0;
		ck_assert_int_eq(costs_by_model(conn, user_id, from_us, to_us, &arena, &rows, &n), ERR_OK);
		say_models(to, "model", rows, n);
	}
}

static void cells(FILE *to, const struct uuid *user_id)
{
	for (size_t i = 0; i < N_SPANS; i++) {
		int64_t starts_us[STARTS_MAX];
		const size_t n_starts = starts_of(&SPANS[i], starts_us);
		struct usage_cell *rows = NULL;
		size_t n = 0;
		ck_assert_int_eq(
			costs_series_by_model(conn, user_id, starts_us, n_starts, &arena, &rows, &n), ERR_OK);
		for (size_t j = 0; j < n; j++) {
			fprintf(to, "%zu %s ", rows[j].interval, rows[j].provider);
			say(to, "cell", rows[j].model, &rows[j].sums);
		}
	}
}

/* The time before begins on the hour, on a quarter of it and between. */
static void summaries(FILE *to, const struct uuid *user_id)
{
	static const int64_t BEFORE_US[] = {0, 48 * 60 * US_PER_MINUTE,
		37 * 60 * US_PER_MINUTE + 15 * US_PER_MINUTE, 1234567 * INT64_C(1000)};
	for (size_t i = 0; i < N_SPANS * 4; i++) {
		int64_t starts_us[STARTS_MAX];
		const size_t n = starts_of(&SPANS[i / 4], starts_us);
		struct usage_summary s;
		ck_assert_int_eq(costs_summary(conn, user_id, starts_us, n, starts_us[0] - BEFORE_US[i % 4],
					 &arena, &s),
			ERR_OK);
		say(to, "summary", "total", &s.total);
		say(to, "summary", "before", &s.previous);
		say_models(to, "summary", s.models, s.n_models);
		for (size_t j = 0; j + 1 < n; j++)
			say(to, "summary", "interval", &s.intervals[j]);
	}
}

static void break_down(FILE *to, const struct uuid *user_id, const struct usage_breakdown *b)
{
	for (size_t i = 0; i < N_SPANS; i++) {
		int64_t starts_us[STARTS_MAX];
		const size_t n_starts = starts_of(&SPANS[i], starts_us);
		struct usage_row *rows = NULL;
		size_t n = 0;
		ck_assert_int_eq(
			costs_breakdown(conn, user_id, b, starts_us, n_starts, &arena, &rows, &n), ERR_OK);
		for (size_t j = 0; j < n; j++) {
			fprintf(to, "%zu %ld ", rows[j].interval, (long)rows[j].groups);
			for (size_t k = 0; k < b->n_groups; k++)
				fprintf(to, "%s,", rows[j].values[k] ? rows[j].values[k] : "-");
			say(to, "row", rows[j].other ? "other" : "", &rows[j].sums);
		}
	}
}

static void breakdowns(FILE *to, const struct uuid *user_id)
{
	static const struct usage_group GROUPS[][2] = {{{USAGE_BY_MODEL, NULL}, {USAGE_BY_PROVIDER, NULL}},
		{{USAGE_BY_PROJECT, NULL}, {USAGE_BY_MODEL, NULL}},
		{{USAGE_BY_CUSTOMER, NULL}, {USAGE_BY_KEY, NULL}},
		{{USAGE_BY_TAG, "team"}, {USAGE_BY_MODEL, NULL}},
		{{USAGE_BY_KEY, NULL}, {USAGE_BY_PROVIDER, NULL}}};
	static const size_t NARROWED[] = {
		0, 1, 4, 6, 9}; /* of FILTERS: answered by models, by one set, by many */
	for (size_t i = 0; i < 5 * 5; i++) {
		const struct usage_breakdown b = {.groups = GROUPS[i / 5],
			.n_groups = 1 + i % 2,
			.limit = 3,
			.filter = &FILTERS[NARROWED[i % 5]]};
		break_down(to, user_id, &b);
	}
}

static void percentiles(FILE *to, const struct uuid *user_id)
{
	for (size_t i = 0; i < N_SPANS; i++) {
		const struct span *const s = &SPANS[i];
		struct usage_spreads spreads;
		ck_assert_int_eq(costs_percentiles(conn, user_id, true, at(s->starts[0]),
					 at(s->starts[s->n - 1]), &arena, &spreads),
			ERR_OK);
		fprintf(to, "spread of %ld\n", (long)spreads.calls);
		for (size_t j = 0; j < spreads.n; j++)
			for (size_t k = 0; k < COSTS_PERCENTILES; k++)
				fprintf(to, "%s %ld %ld %s\n", spreads.rows[j].model,
					(long)spreads.rows[j].read, (long)spreads.rows[j].latency_ms[k],
					usd_text(spreads.rows[j].cost[k]));
	}
}

static void samples(FILE *to, const struct uuid *user_id)
{
	const int64_t from_us = at("2026-03-08T00:00:00Z"), to_us = at("2026-03-13T00:00:00Z");
	struct sampled_call *calls = NULL;
	struct waiting_usage *waiting = NULL;
	size_t n = 0;
	for (int64_t in_range = 1000; in_range <= EVENT_SAMPLE_MAX + 1000;
		in_range += 2000) { /* all of them; slices */
		ck_assert_int_eq(
			event_sample(conn, user_id, from_us, to_us, in_range, &arena, &calls, &n), ERR_OK);
		for (size_t i = 0; i < n; i++)
			fprintf(to, "%s %ld %s\n", calls[i].model, (long)calls[i].at_us,
				usd_text(calls[i].cost));
	}
	ck_assert_int_eq(waiting_usage_find(conn, user_id, from_us, to_us, &arena, &waiting, &n), ERR_OK);
	for (size_t i = 0; i < n; i++)
		fprintf(to, "waiting %s %s %s\n", waiting[i].provider, waiting[i].model,
			usd_text(waiting[i].standard_cost));
}

/* Twice the cost; of what has none, a dollar. */
static enum err dearer(void *arg, const struct event *e, struct arena *a, struct repriced *ret)
{
	(void)arg;
	(void)a;
	*ret = (struct repriced){.has_cost = true,
		.cost = {e->has_cost ? 2 * e->cost.atto : decimal_pow10(18)},
		.pricing_status = "priced",
		.price_rule = "test",
		.catalogue_version = "new",
		.service_tier = "standard"};
	return ERR_OK;
}

static struct repricing new_repricing(const struct uuid *user_id, const char *model)
{
	const int64_t from_us = at("2026-03-08T05:07:00Z");
	return (struct repricing){.user_id = *user_id,
		.id = uuid_v7(clock_now_us() / US_PER_MS),
		.automatic = model != NULL,
		.provider = model ? "p1" : NULL,
		.model = model,
		.from_us = from_us,
		.to_us = at("2026-03-12T07:52:00Z"),
		.cursor_at_us = from_us,
		.sums = {.arena = &arena}};
}

static void previews(FILE *to, const struct uuid *user_id)
{
	for (int automatic = 0; automatic < 2; automatic++) {
		struct repricing r = new_repricing(user_id, automatic ? "m1" : NULL);
		int64_t count = 0;
		ck_assert_int_eq(repricing_count(conn, &r, &count), ERR_OK);
		while (r.state == REPRICING_RUNNING)
			ck_assert_int_eq(repricing_preview_chunk(conn, &r, dearer, NULL, 100), ERR_OK);
		fprintf(to, "preview: of %ld %ld, %ld changed, %s to %s\n", (long)count,
			(long)r.events_examined, (long)r.events_changed, usd_text(r.range_old_cost),
			usd_text(r.range_new_cost));
		for (size_t i = 0; i < r.sums.n; i++)
			fprintf(to, "%s %s %ld %s\n", r.sums.rows[i].provider, r.sums.rows[i].model,
				(long)r.sums.rows[i].events, usd_text(r.sums.rows[i].new_cost));
	}
}

static void without_price(FILE *to, const struct uuid *user_id)
{
	struct unpriced_model *found = NULL;
	size_t n = 0;
	ck_assert_int_eq(unpriced_list(conn, user_id, NULL, 100, &arena, &found, &n), ERR_OK);
	for (size_t i = 0; i < n; i++)
		fprintf(to, "unpriced: %s %s %ld, %ld and %ld tokens, from %ld to %ld\n", found[i].provider,
			found[i].model, (long)found[i].calls, (long)found[i].input_tokens,
			(long)found[i].output_tokens, (long)found[i].first_us, (long)found[i].last_us);
}

/* What is asked of one user before and after two more have come is the same, to the last digit. */
static void assert_alone(question *ask)
{
	char *before = NULL, *after = NULL;
	size_t n = 0;
	ck_assert_int_eq(uuid_parse(KEY, &key), ERR_OK);
	const struct uuid user_id = new_twin(1);
	FILE *to = open_memstream(&before, &n);
	ask(to, &user_id);
	fclose(to);
	ck_assert_uint_gt(n, 100);
	new_twin(7);
	new_twin(10);
	to = open_memstream(&after, &n);
	ask(to, &user_id);
	fclose(to);
	ck_assert_str_eq(after, before);
	free(before);
	free(after);
}

static const struct {
	const char *name;
	question *ask;
} QUESTIONS[] = {{"series", series}, {"totals", totals}, {"models", models}, {"cells", cells},
	{"summaries", summaries}, {"breakdowns", breakdowns}, {"percentiles", percentiles},
	{"samples", samples}, {"previews", previews}, {"without a price", without_price}};
#define N_QUESTIONS (int)(sizeof(QUESTIONS) / sizeof(QUESTIONS[0]))

START_TEST(answers_of_a_user_stay_the_same_when_others_have_the_same)
{
	assert_alone(QUESTIONS[_i].ask);
}
END_TEST

START_TEST(repricing_of_a_user_changes_nothing_of_others)
{
	const struct uuid user_id = new_twin(1), other = new_twin(7);
	char *before = NULL, *after = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&before, &n);
	models(to, &other);
	fclose(to);
	struct repricing r = new_repricing(&user_id, NULL), automatic = new_repricing(&user_id, "m1");
	automatic.from_us = automatic.cursor_at_us = at("2026-03-01T00:00:00Z");
	for (int i = 0; i < 2; i++) {
		struct repricing *const one = i == 0 ? &automatic : &r;
		ck_assert_int_eq(repricings_insert(conn, one), ERR_OK);
		while (one->state == REPRICING_RUNNING)
			ck_assert_int_eq(repricing_apply_chunk(conn, one, dearer, NULL, 100), ERR_OK);
		ck_assert_int_gt(one->events_changed, 5);
	}
	to = open_memstream(&after, &n);
	models(to, &other);
	fclose(to);
	ck_assert_str_eq(after, before);
	free(before);
	free(after);
}
END_TEST

START_TEST(repricings_that_run_are_counted_and_listed_for_their_user)
{
	const struct uuid user_id = new_user(), other = new_user();
	for (int i = 0; i < REPRICING_RUNNING_MAX; i++) {
		struct repricing r = new_repricing(&other, NULL);
		ck_assert_int_eq(repricings_insert(conn, &r), ERR_OK);
	}
	struct repricing own = new_repricing(&user_id, NULL), *found = NULL;
	int64_t running = -1;
	size_t n = 0;
	ck_assert_int_eq(repricings_insert(conn, &own), ERR_OK);
	ck_assert_int_eq(repricings_count_running(conn, &user_id, false, &running), ERR_OK);
	ck_assert_int_eq(running, 1);
	ck_assert_int_eq(repricings_list(conn, &user_id, NULL, 100, &arena, &found, &n), ERR_OK);
	ck_assert_uint_eq(n, 1);
	ck_assert(uuid_equal(&found[0].id, &own.id));
}
END_TEST

START_TEST(overrides_of_a_user_are_without_those_of_others)
{
	enum { USERS = 4 };
	struct uuid users[USERS], ids[USERS];
	for (int i = 0; i < USERS; i++) {
		users[i] = new_user();
		struct price_override o = {.id = uuid_v7(clock_now_us() / US_PER_MS),
			.body = "{\"provider\":\"own\"}",
			.exact = true};
		ids[i] = o.id;
		ck_assert_int_eq(overrides_insert(conn, &users[i], &o, &arena), ERR_OK);
	}
	for (int i = 0; i < USERS; i++) { /* whoever of them comes first in the order of ids */
		struct price_override_set set;
		ck_assert_int_eq(overrides_of_user(conn, &users[i], &arena, &set), ERR_OK);
		ck_assert(uuid_equal(&set.user_id, &users[i]));
		ck_assert_uint_eq(set.n, 1);
		ck_assert(uuid_equal(&set.overrides[0].id, &ids[i]));
	}
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("tenants");
	tcase_add_loop_test(t, answers_of_a_user_stay_the_same_when_others_have_the_same, 0, N_QUESTIONS);
	tcase_add_test(t, repricing_of_a_user_changes_nothing_of_others);
	tcase_add_test(t, repricings_that_run_are_counted_and_listed_for_their_user);
	tcase_add_test(t, overrides_of_a_user_are_without_those_of_others);
	return run_store_tests(suite_create("tenants"), t);
}
