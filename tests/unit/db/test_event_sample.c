/* Samples of calls, and what can wait, against a real PostgreSQL. */

#include "llmlab/db/event_sample.h"
#include "store_fixture.h"

#define FROM "2026-03-01T00:00:00Z"
#define TO   "2026-03-31T00:00:00Z"

static struct sampled_call *calls;
static size_t n_calls;
static struct waiting_usage *rows;
static size_t n_rows;

static void sample(const struct uuid *user_id, const char *from, const char *to, int64_t known)
{
	ck_assert_int_eq(
		event_sample(conn, user_id, at(from), at(to), known, &arena, &calls, &n_calls), ERR_OK);
}

static void find_waiting(const struct uuid *user_id, const char *from, const char *to)
{
	const enum err e = waiting_usage_find(conn, user_id, at(from), at(to), &arena, &rows, &n_rows);
	ck_assert_msg(e == ERR_OK, "%s", db_last_message(conn));
}

START_TEST(event_sample_few_calls_are_all_there_newest_first)
{
	const struct uuid user_id = new_user();
	const struct uuid other = new_user();
	add_event(&user_id, &(struct test_event){.at = FROM,
				    .provider = "p",
				    .model = "m",
				    .cost = "1.000000000000000001",
				    .input = 10,
				    .output = 5,
				    .cache_read = 3});
	add_event(&user_id,
		&(struct test_event){
			.at = "2026-03-30T23:59:59.999Z", .provider = "q", .model = "n", .input = 1});
	add_event(&user_id, &(struct test_event){.at = TO, .provider = "p", .model = "m", .input = 1});
	add_event(&other, &(struct test_event){.at = FROM, .provider = "p", .model = "m", .input = 1});
	sample(&user_id, FROM, TO, 2);
	ck_assert_uint_eq(n_calls, 2);
	ck_assert_str_eq(calls[0].provider, "q");
	ck_assert_str_eq(calls[0].model, "n");
	ck_assert(!calls[0].priced && calls[0].standard);
	ck_assert_int_eq(calls[1].at_us, at(FROM));
	ck_assert_int_eq(calls[1].mix.calls, 1);
	ck_assert_int_eq(calls[1].mix.input, 10);
	ck_assert_int_eq(calls[1].mix.output, 5);
	ck_assert_int_eq(calls[1].mix.cache_read, 3);
	ck_assert(calls[1].priced);
	ck_assert_str_eq(usd_text(calls[1].cost), "1.000000000000000001");
}
END_TEST

START_TEST(event_sample_of_many_is_bounded_and_even)
{
	/* 4,000 calls, 100 on each of 40 days: 50 of each day */
	static const struct db_stmt FILL = {"test_sample_fill",
		"INSERT INTO events (user_id, occurred_at, id, received_at, provider, model, input_tokens,"
		" output_tokens, pricing_status, price_rule, catalogue_version, service_tier, status, set_id)"
		" SELECT $1::uuid, '2026-03-01Z'::timestamptz + i * interval '864 s', gen_random_uuid(), "
		"now(),"
		" 'p', 'm', 1, 1, 'unpriced', 'test', 'test', 'batch', 'success', gen_random_uuid()"
		" FROM generate_series(0, 3999) i"};
	const struct uuid user_id = new_user();
	add_event(
		&user_id, &(struct test_event){.at = "2026-03-05T00:00:01Z", .provider = "p", .model = "m"});
	add_event(
		&user_id, &(struct test_event){.at = "2026-04-09T00:00:01Z", .provider = "p", .model = "m"});
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	run_sql(&FILL, &p);
	sample(&user_id, FROM, "2026-04-10T00:00:00Z", 4002);
	ck_assert_uint_eq(n_calls, EVENT_SAMPLE_MAX);
	int of_day[40] = {0};
	for (size_t i = 0; i < n_calls; i++) {
		of_day[(calls[i].at_us - at(FROM)) / US_PER_DAY]++;
		ck_assert(i == 0 || calls[i].at_us <= calls[i - 1].at_us);
	}
	for (int day = 0; day < 40; day++)
		ck_assert_int_eq(of_day[day], 50);
	ck_assert(!calls[0].standard);
}
END_TEST

static void add_waiting(const struct uuid *user_id, const char *when, const char *project, const char *tags)
{
	add_event(user_id, &(struct test_event){.at = when,
				   .provider = "p",
				   .model = "m",
				   .cost = "0.5",
				   .input = 100,
				   .output = 10,
				   .project = project,
				   .tags = tags});
}

START_TEST(waiting_usage_find_adds_up_what_says_that_it_can_wait)
{
	const struct uuid user_id = new_user();
	const char *const when = "2026-03-02T12:00:00Z";
	/* these can wait */
	add_waiting(&user_id, when, "nightly-reports", NULL);
	add_waiting(&user_id, when, NULL, "{\"env\": \"Batch\"}");
	add_waiting(&user_id, when, NULL, "{\"offline\": \"true\", \"team\": \"x\"}");
	add_waiting(&user_id, when, "model_eval", "{\"team\": \"x\"}");
	/* these do not say so */
	add_waiting(&user_id, when, "medieval", NULL);
	add_waiting(&user_id, when, NULL, "{\"batch\": \"false\"}");
	add_waiting(&user_id, when, NULL, "{\"env\": \"prod\"}");
	add_waiting(&user_id, when, NULL, NULL);
	roll_up(&user_id);
	find_waiting(&user_id, FROM, TO);
	ck_assert_uint_eq(n_rows, 1);
	ck_assert_str_eq(rows[0].provider, "p");
	ck_assert_str_eq(rows[0].model, "m");
	ck_assert_int_eq(rows[0].mix.calls, 4);
	ck_assert_int_eq(rows[0].mix.input, 400);
	ck_assert_int_eq(rows[0].mix.output, 40);
	ck_assert_str_eq(usd_text(rows[0].standard_cost), "2");
	ck_assert_str_eq(rows[0].example, "project model_eval");
}
END_TEST

START_TEST(waiting_usage_find_takes_whole_days_of_the_user_only)
{
	const struct uuid user_id = new_user();
	const struct uuid other = new_user();
	add_waiting(&user_id, "2026-03-01T12:00:00Z", "batch", NULL);
	add_waiting(&user_id, "2026-03-02T12:00:00Z", "batch", NULL);
	add_waiting(&user_id, "2026-03-03T12:00:00Z", "batch", NULL);
	add_waiting(&other, "2026-03-02T12:00:00Z", "batch", NULL);
	roll_up(&user_id);
	roll_up(&other);
	find_waiting(&user_id, "2026-03-01T00:00:00.000001Z", "2026-03-03T23:59:59.999999Z");
	ck_assert_uint_eq(n_rows, 1);
	ck_assert_int_eq(rows[0].mix.calls, 1);
	find_waiting(&user_id, "2026-03-01T00:00:00Z", "2026-03-04T00:00:00Z");
	ck_assert_int_eq(rows[0].mix.calls, 3);
	/* less than a day */
	find_waiting(&user_id, "2026-03-01T01:00:00Z", "2026-03-01T23:00:00Z");
	ck_assert_uint_eq(n_rows, 0);
}
END_TEST

START_TEST(waiting_usage_find_reads_no_more_than_its_bound)
{
	/* one row more than the bound, the oldest on a day of its own */
	static const struct db_stmt SETS = {"test_waiting_sets",
		"INSERT INTO usage_sets SELECT $1::uuid, md5(i::text)::uuid, 'batch', '', NULL, NULL"
		" FROM generate_series(0, $2::integer) i"};
	static const struct db_stmt SUMS = {"test_waiting_sums",
		"INSERT INTO usage_set_model_day (user_id, bucket, set_id, provider, model, " TEST_SUM_COLUMNS
		") SELECT $1::uuid, CASE WHEN i = 0 THEN '2026-03-01Z'::timestamptz ELSE '2026-03-02Z' END,"
		" md5(i::text)::uuid, 'p', 'm', CASE WHEN i = 0 THEN 1000000 ELSE 1 END, 0, 0, 1, 1, 0, 0, "
		"0, 0,"
		" 1, 0, 1 FROM generate_series(0, $2::integer) i"};
	static const struct db_stmt DAYS = {"test_waiting_days",
		"INSERT INTO usage_set_day (user_id, bucket, set_id, " TEST_SUM_COLUMNS
		") SELECT user_id, bucket, set_id, " TEST_SUM_COLUMNS
		" FROM usage_set_model_day WHERE user_id = $1 AND $2::integer > 0"};
	const struct uuid user_id = new_user();
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	db_param_i64(&p, WAITING_SETS_MAX);
	run_sql(&SETS, &p);
	run_sql(&SUMS, &p);
	run_sql(&DAYS, &p);
	find_waiting(&user_id, FROM, TO);
	ck_assert_uint_eq(n_rows, 1);
	ck_assert_int_eq(rows[0].mix.calls, WAITING_SETS_MAX);
}
END_TEST

START_TEST(waiting_usage_find_takes_a_bounded_number_of_models_of_a_set)
{
	static const struct db_stmt SETS = {"test_waiting_set",
		"INSERT INTO usage_sets SELECT $1::uuid, md5('set')::uuid, 'batch', '', NULL, NULL"};
	static const struct db_stmt MODELS = {"test_waiting_models",
		"INSERT INTO usage_set_model_day (user_id, bucket, set_id, provider, model, " TEST_SUM_COLUMNS
		") SELECT $1::uuid, '2026-03-02Z'::timestamptz, md5('set')::uuid, 'p', 'm' || i, 1, 0, 0, 1, "
		"1, 0, "
		"0, 0, 0, 1, 0, 1 FROM generate_series(0, $2::integer) i"};
	static const struct db_stmt DAYS = {"test_waiting_set_day",
		"INSERT INTO usage_set_day (user_id, bucket, set_id, " TEST_SUM_COLUMNS
		") SELECT $1::uuid, '2026-03-02Z'::timestamptz, md5('set')::uuid, 1, 0, 0, 1, 1, 0, 0, 0, 0, "
		"1, 0, 1"};
	const struct uuid user_id = new_user();
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user_id);
	run_sql(&SETS, &p);
	run_sql(&DAYS, &p);
	db_param_i64(&p, WAITING_MODELS_MAX); /* one more than the bound */
	run_sql(&MODELS, &p);
	find_waiting(&user_id, FROM, TO);
	ck_assert_uint_eq(n_rows, WAITING_MODELS_MAX);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("event_sample");
	tcase_add_test(t, event_sample_few_calls_are_all_there_newest_first);
	tcase_add_test(t, event_sample_of_many_is_bounded_and_even);
	tcase_add_test(t, waiting_usage_find_adds_up_what_says_that_it_can_wait);
	tcase_add_test(t, waiting_usage_find_takes_whole_days_of_the_user_only);
	tcase_add_test(t, waiting_usage_find_reads_no_more_than_its_bound);
	tcase_add_test(t, waiting_usage_find_takes_a_bounded_number_of_models_of_a_set);
	return run_store_tests(suite_create("event_sample"), t);
}
