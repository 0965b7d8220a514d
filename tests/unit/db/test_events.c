/* Events: the binary encoding, and reading them back with every filter. */

#include "store_fixture.h"

#include "llmlab/db/events.h"

/* ---- numeric ---- */

static void expect_numeric(const char *text, size_t n, const uint8_t *bytes)
{
	uint8_t out[EVENTS_NUMERIC_MAX];
	const size_t length = events_numeric(usd(text), out);
	ck_assert_msg(length == n && memcmp(out, bytes, n) == 0, "%s", text);
}
#define EXPECT_NUMERIC(text, ...)                                                                            \
	expect_numeric(text, sizeof((uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__})

/* ndigits, weight, sign, dscale, then base-10000 digits; 16 bits each. */
START_TEST(numeric_of_known_values_has_the_wire_form)
{
	EXPECT_NUMERIC("0", 0, 0, 0, 0, 0, 0, 0, 0);
	EXPECT_NUMERIC("1", 0, 1, 0, 0, 0, 0, 0, 0, 0, 1);
	/* 0.06 = 600 x 10000^-1, two decimals */
	EXPECT_NUMERIC("0.06", 0, 1, 0xFF, 0xFF, 0, 0, 0, 2, 600 >> 8, 600 & 255);
	/* 10^-18 = 100 x 10000^-5 */
	EXPECT_NUMERIC("0.000000000000000001", 0, 1, 0xFF, 0xFB, 0, 0, 0, 18, 0, 100);
	/* 10^12 = 1 x 10000^3 */
	EXPECT_NUMERIC("1000000000000", 0, 1, 0, 3, 0, 0, 0, 0, 0, 1);
	/* 12345.678 = 1 | 2345 | 6780 */
	EXPECT_NUMERIC(
		"12345.678", 0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 2345 >> 8, 2345 & 255, 6780 >> 8, 6780 & 255);
	EXPECT_NUMERIC("-1", 0, 1, 0, 0, 0x40, 0, 0, 0, 0, 1);
}
END_TEST

/* ---- storing by COPY ---- */

static void copy_events(const struct event *events, size_t n)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	events_copy_header(&b);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(events_ensure_partition(conn, events[i].occurred_at_us), ERR_OK);
		events_copy_row(&b, &events[i]);
	}
	events_copy_trailer(&b);
	ck_assert(!b.failed);
	ck_assert_int_eq(db_copy_begin(conn, EVENTS_COPY_SQL), ERR_OK);
	const enum err e = db_copy_send(conn, b.data, b.len);
	ck_assert_msg(e == ERR_OK, "%s: %s", db_last_sqlstate(conn), db_last_message(conn));
	buf_release(&b);
}

static struct event minimal_event(const struct uuid *user_id, const char *when)
{
	struct event e = {.user_id = *user_id,
		.occurred_at_us = at(when),
		.received_at_us = at("2026-03-01T00:00:00.123456Z"),
		.provider = "openai",
		.model = "gpt-4",
		.pricing_status = "unpriced",
		.price_rule = "no_price",
		.catalogue_version = "v",
		.service_tier = "standard",
		.status = "success"};
	e.id = uuid_v7(e.occurred_at_us / US_PER_MS);
	e.usage.has_counts = true;
	e.usage.counts[USAGE_input_tokens] = 10;
	return e;
}

/* A different value in every field. */
static struct event full_event(const struct uuid *user_id, const char *when)
{
	struct event e = minimal_event(user_id, when);
	for (int i = 0; i < USAGE_COUNTS; i++)
		e.usage.counts[i] = 100 - i;
	e.usage.counts[USAGE_input_tokens] = 1000000000000;
	e.usage.counts[USAGE_output_tokens] = 1000000;
	e.usage.counts[USAGE_cache_write_1h_tokens] = 1;
	e.usage.counts[USAGE_cache_read_audio_tokens] = 2;
	e.usage.counts[USAGE_cache_read_image_tokens] = 3;
	e.usage.web_searches = 7;
	for (int i = 0; i < USAGE_UNITS; i++)
		e.usage.units[i] = 12500000 + i; /* 12.5, 12.500001 ... */
	e.has_cost = e.has_catalogue_cost = e.has_reported_cost = true;
	e.cost = usd("0.06");
	e.catalogue_cost = usd("999999999999.999999999999999999");
	e.reported_cost = usd("0.000000000000000001");
	e.pricing_status = "reported";
	e.price_record = "openai/gpt-4";
	e.price_rule = "equals";
	e.price_lines = "input:1000@30";
	e.requested_tier = "flex";
	e.inference_geo = "us";
	e.data_residency = "eu";
	e.search_context_size = "low";
	e.project = "web";
	e.customer = "\xc3\xa9t\xc3\xa9 \"x\"\\";
	e.tags_json = "{\"env\": \"prod\", \"team\": \"a\"}";
	e.metadata_json = "{\"a\": [1, 2.50, null]}";
	e.has_latency = true;
	e.latency_ms = 0;
	e.status = "error";
	e.response_id = "resp-1";
	e.has_api_key = true;
	e.api_key_id = uuid_v4();
	return e;
}

static void expect_text(const char *got, const char *want)
{
	if (want == NULL)
		ck_assert_ptr_null(got);
	else
		ck_assert_str_eq(got, want);
}

static void expect_money(bool got_has, struct money got, bool has, struct money want)
{
	ck_assert_int_eq(got_has, has);
	if (has)
		ck_assert(got.atto == want.atto);
}

static void expect_equal(const struct event *got, const struct event *want)
{
	ck_assert(uuid_equal(&got->user_id, &want->user_id));
	ck_assert(uuid_equal(&got->id, &want->id));
	ck_assert_int_eq(got->occurred_at_us, want->occurred_at_us);
	ck_assert_int_eq(got->received_at_us, want->received_at_us);
	ck_assert_int_eq(got->usage.has_counts, want->usage.has_counts);
	for (int i = 0; i < USAGE_COUNTS; i++)
		ck_assert_int_eq(got->usage.counts[i], want->usage.counts[i]);
	for (int i = 0; i < USAGE_UNITS; i++)
		ck_assert_int_eq(got->usage.units[i], want->usage.units[i]);
	ck_assert_int_eq(got->usage.web_searches, want->usage.web_searches);
	expect_money(got->has_cost, got->cost, want->has_cost, want->cost);
	expect_money(
		got->has_catalogue_cost, got->catalogue_cost, want->has_catalogue_cost, want->catalogue_cost);
	expect_money(
		got->has_reported_cost, got->reported_cost, want->has_reported_cost, want->reported_cost);
	const char *const texts[][2] = {{got->provider, want->provider}, {got->model, want->model},
		{got->pricing_status, want->pricing_status}, {got->price_record, want->price_record},
		{got->price_rule, want->price_rule}, {got->price_lines, want->price_lines},
		{got->catalogue_version, want->catalogue_version}, {got->service_tier, want->service_tier},
		{got->requested_tier, want->requested_tier}, {got->inference_geo, want->inference_geo},
		{got->data_residency, want->data_residency},
		{got->search_context_size, want->search_context_size}, {got->project, want->project},
		{got->customer, want->customer}, {got->tags_json, want->tags_json},
		{got->metadata_json, want->metadata_json}, {got->status, want->status},
		{got->response_id, want->response_id}};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		expect_text(texts[i][0], texts[i][1]);
	ck_assert_int_eq(got->has_latency, want->has_latency);
	ck_assert_int_eq(got->latency_ms, want->latency_ms);
	ck_assert_int_eq(got->has_api_key, want->has_api_key);
	if (want->has_api_key)
		ck_assert(uuid_equal(&got->api_key_id, &want->api_key_id));
}

START_TEST(find_gives_back_every_field)
{
	const struct uuid user = new_user();
	const struct event e[2] = {full_event(&user, "2026-03-01T01:02:03.456789Z"),
		minimal_event(&user, "2026-04-01T00:00:00Z")};
	copy_events(e, 2);
	for (size_t i = 0; i < 2; i++) {
		struct event got;
		ck_assert_int_eq(events_find(conn, &user, &e[i].id, &arena, &got), ERR_OK);
		expect_equal(&got, &e[i]);
	}
}
END_TEST

/* The columns really hold what their names say: the encoder and the reader share one list, so a swap of two
 * would not show above. */
START_TEST(copy_puts_each_count_into_its_column)
{
	const struct uuid user = new_user();
	const struct event e = full_event(&user, "2026-03-01T00:00:00Z");
	copy_events(&e, 1);
	for (int i = 0; i < USAGE_COUNTS; i++) {
		const char *name = usage_count_name((enum usage_count)i);
		const struct db_stmt stmt = {arena_printf(&arena, "test_count_%d", i),
			arena_printf(&arena, "SELECT %s FROM events WHERE user_id = $1", name)};
		struct db_params p;
		db_params_init(&p, &arena);
		db_param_uuid(&p, &user);
		PGresult *r = NULL;
		ck_assert_int_eq(db_run(conn, &stmt, &p, &r), ERR_OK);
		ck_assert_msg(db_i64(r, 0, 0) == e.usage.counts[i], "%s", name);
		PQclear(r);
	}
}
END_TEST

START_TEST(copy_writes_money_as_the_shortest_decimal)
{
	const struct uuid user = new_user();
	const struct event e = full_event(&user, "2026-03-01T00:00:00Z");
	copy_events(&e, 1);
	static const struct db_stmt stmt = {"test_money_text",
		"SELECT cost::text, catalogue_cost::text, reported_cost::text, units ->> 'input_second' FROM "
		"events"
		" WHERE user_id = $1"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid(&p, &user);
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(conn, &stmt, &p, &r), ERR_OK);
	ck_assert_str_eq(db_text(r, 0, 0), "0.06");
	ck_assert_str_eq(db_text(r, 0, 1), "999999999999.999999999999999999");
	ck_assert_str_eq(db_text(r, 0, 2), "0.000000000000000001");
	ck_assert_str_eq(db_text(r, 0, 3), "12.5");
	PQclear(r);
}
END_TEST

/* Values of every magnitude: 10^k, 10^k - 1 and a mixed one, through the database and back. */
START_TEST(numeric_round_trip_is_exact)
{
	const struct uuid user = new_user();
	struct event e[90];
	size_t n = 0;
	for (int k = 0; k <= 29; k++) {
		const int128 power = decimal_pow10(k);
		const int128 values[] = {power, power - 1, power / 7 * 3 + k};
		for (size_t v = 0; v < 3; v++) {
			e[n] = minimal_event(&user, "2026-03-01T00:00:00Z");
			e[n].has_cost = true;
			e[n].pricing_status = "priced";
			e[n++].cost.atto = values[v];
		}
	}
	copy_events(e, n);
	for (size_t i = 0; i < n; i++) {
		struct event got;
		ck_assert_int_eq(events_find(conn, &user, &e[i].id, &arena, &got), ERR_OK);
		ck_assert_msg(got.cost.atto == e[i].cost.atto, "%s", usd_text(e[i].cost));
	}
}
END_TEST

START_TEST(find_of_another_user_or_unknown_id_is_not_found)
{
	const struct uuid user = new_user(), other = new_user();
	const struct event e = minimal_event(&user, "2026-03-01T00:00:00Z");
	copy_events(&e, 1);
	struct event got;
	ck_assert_int_eq(events_find(conn, &other, &e.id, &arena, &got), ERR_NOT_FOUND);
	struct uuid ids[3] = {uuid_v7(e.occurred_at_us / US_PER_MS), uuid_v4(), {{0}}};
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(events_find(conn, &user, &ids[i], &arena, &got), ERR_NOT_FOUND);
	/* Version 7 beyond the year 9999. */
	memset(&ids[0], 0xFF, sizeof(ids[0]));
	ids[0].bytes[6] = 0x7F;
	ck_assert_int_eq(events_find(conn, &user, &ids[0], &arena, &got), ERR_NOT_FOUND);
}
END_TEST

/* ---- lists ---- */

static struct events_filter all_of_2026(void)
{
	return (struct events_filter){
		.from_us = at("2026-01-01T00:00:00Z"), .to_us = at("2027-01-01T00:00:00Z"), .limit = 500};
}

static size_t count_list(const struct uuid *user, const struct events_filter *f)
{
	struct event *got = NULL;
	size_t n = 0;
	ck_assert_int_eq(events_list(conn, user, f, &arena, &got, &n), ERR_OK);
	for (size_t i = 0; i < n; i++)
		ck_assert(uuid_equal(&got[i].user_id, user));
	return n;
}

START_TEST(list_pages_are_newest_first_without_gap_or_repeat)
{
	const struct uuid user = new_user();
	struct event e[12];
	/* Over a month's end, three at the same instant. */
	for (int i = 0; i < 12; i++) {
		e[i] = minimal_event(&user, i < 6 ? "2026-03-31T23:59:59Z" : "2026-04-01T00:00:00Z");
		e[i].occurred_at_us += i / 3 * 10;
	}
	copy_events(e, 12);
	struct events_filter f = all_of_2026();
	f.limit = 5;
	size_t seen = 0;
	for (;;) {
		struct event *got = NULL;
		size_t n = 0;
		ck_assert_int_eq(events_list(conn, &user, &f, &arena, &got, &n), ERR_OK);
		for (size_t i = 0; i < n; i++, seen++)
			ck_assert(uuid_equal(&got[i].id, &e[11 - seen].id));
		if (n < 5)
			break;
		f.before_us = got[n - 1].occurred_at_us;
		f.before_id = got[n - 1].id;
	}
	ck_assert_uint_eq(seen, 12);
}
END_TEST

START_TEST(list_range_is_half_open)
{
	const struct uuid user = new_user();
	const struct event e[3] = {minimal_event(&user, "2026-03-01T00:00:00Z"),
		minimal_event(&user, "2026-03-01T12:00:00Z"), minimal_event(&user, "2026-03-02T00:00:00Z")};
	copy_events(e, 3);
	struct events_filter f = all_of_2026();
	f.from_us = e[0].occurred_at_us;
	f.to_us = e[2].occurred_at_us;
	ck_assert_uint_eq(count_list(&user, &f), 2);
	f.from_us++;
	f.to_us++;
	ck_assert_uint_eq(count_list(&user, &f), 2);
	/* A cursor beyond the range does not widen it. */
	f.before_us = f.to_us + US_PER_DAY;
	f.before_id = e[0].id;
	ck_assert_uint_eq(count_list(&user, &f), 2);
}
END_TEST

START_TEST(list_filters_each_narrow)
{
	const struct uuid user = new_user(), other = new_user();
	const struct event e[3] = {full_event(&user, "2026-03-01T00:00:00Z"),
		minimal_event(&user, "2026-03-01T00:00:00Z"), full_event(&other, "2026-03-01T00:00:00Z")};
	copy_events(e, 3);
	struct events_filter f = all_of_2026();
	ck_assert_uint_eq(count_list(&user, &f), 2);
	f.provider = "openai";
	f.model = "gpt-4";
	ck_assert_uint_eq(count_list(&user, &f), 2);
	f.model = "gpt-5";
	ck_assert_uint_eq(count_list(&user, &f), 0);

	f = all_of_2026();
	f.provider = "other";
	ck_assert_uint_eq(count_list(&user, &f), 0);
	f = all_of_2026();
	f.project = "web";
	ck_assert_uint_eq(count_list(&user, &f), 1);
	f = all_of_2026();
	f.customer = e[0].customer;
	ck_assert_uint_eq(count_list(&user, &f), 1);
	f = all_of_2026();
	f.status = "error";
	ck_assert_uint_eq(count_list(&user, &f), 1);
	f = all_of_2026();
	f.tag_key = "env";
	f.tag_value = "prod";
	ck_assert_uint_eq(count_list(&user, &f), 1);
	f.tag_value = "dev";
	ck_assert_uint_eq(count_list(&user, &f), 0);
	f = all_of_2026();
	f.has_min_cost = true;
	f.min_cost = usd("0.06");
	ck_assert_uint_eq(count_list(&user, &f), 1);
	f.min_cost.atto++;
	ck_assert_uint_eq(count_list(&user, &f), 0);
}
END_TEST

START_TEST(load_finds_those_that_are_stored)
{
	const struct uuid user = new_user(), other = new_user();
	const struct event e[2] = {
		full_event(&user, "2026-03-01T00:00:00Z"), minimal_event(&user, "2025-03-01T00:00:00Z")};
	copy_events(e, 2);
	const struct event_ref refs[4] = {{user, e[1].occurred_at_us, e[1].id},
		{other, e[1].occurred_at_us, e[1].id}, {user, e[0].occurred_at_us, e[0].id},
		{user, e[0].occurred_at_us + 1, e[0].id}};
	struct event got[4];
	bool found[4];
	ck_assert_int_eq(events_load(conn, refs, 4, &arena, got, found), ERR_OK);
	ck_assert(found[0] && !found[1] && found[2] && !found[3]);
	expect_equal(&got[0], &e[1]);
	expect_equal(&got[2], &e[0]);
	int64_t stored = -1;
	ck_assert_int_eq(events_count_stored(conn, refs, 4, &arena, &stored), ERR_OK);
	ck_assert_int_eq(stored, 2);
}
END_TEST

/* ---- plans ---- */

/* The whole plan as one text. */
static const char *plan(const char *name, const char *sql)
{
	const struct db_stmt stmt = {name, sql};
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(conn, &stmt, NULL, &r), ERR_OK);
	const char *text = "";
	for (int i = 0; i < db_rows(r); i++)
		text = arena_printf(&arena, "%s%s\n", text, db_text(r, i, 0));
	PQclear(r);
	return text;
}

static void force_generic_plans(void)
{
	static const struct db_stmt generic = {"test_generic", "SET plan_cache_mode = force_generic_plan"};
	run_sql(&generic, NULL);
	static const struct db_stmt no_seq = {"test_no_seq", "SET enable_seqscan = off"};
	run_sql(&no_seq, NULL);
}

START_TEST(list_and_find_touch_only_the_partitions_of_the_range)
{
	const struct uuid user = new_user();
	for (int month = 1; month <= 6; month++) {
		const struct event e =
			minimal_event(&user, arena_printf(&arena, "2024-0%d-10T00:00:00Z", month));
		copy_events(&e, 1);
	}
	force_generic_plans();
	/* Prepares the statements of events.c under their names. */
	const struct event e = minimal_event(&user, "2024-03-05T00:00:00Z");
	struct event got;
	ck_assert_int_eq(events_find(conn, &user, &e.id, &arena, &got), ERR_NOT_FOUND);
	struct events_filter f = {
		.from_us = at("2024-02-15T00:00:00Z"), .to_us = at("2024-03-15T00:00:00Z"), .limit = 10};
	/* Those of 10 March only: 10 February is before the range. */
	ck_assert_uint_eq(count_list(&user, &f), 1);

	const char *text = plan("test_plan_list", "EXPLAIN (COSTS OFF) EXECUTE events_list "
						  "('00000000-0000-0000-0000-000000000001', '2024-02-15Z',"
						  " '2024-03-15Z', '00000000-0000-0000-0000-000000000000', "
						  "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
						  " 10)");
	ck_assert_msg(strstr(text, "Index Scan Backward") != NULL, "%s", text);
	ck_assert_msg(
		strstr(text, "events_2024_02") != NULL && strstr(text, "events_2024_03") != NULL, "%s", text);
	ck_assert_msg(
		strstr(text, "events_2024_01") == NULL && strstr(text, "events_2024_04") == NULL, "%s", text);
	ck_assert_msg(strstr(text, "Sort") == NULL, "%s", text);
	ck_assert_msg(strstr(text, "Subplans Removed") != NULL, "%s", text);

	text = plan("test_plan_find",
		"EXPLAIN (COSTS OFF) EXECUTE events_find ('00000000-0000-0000-0000-000000000001',"
		" '00000000-0000-0000-0000-000000000002', '2024-03-05Z', '2024-03-05 00:00:00.001Z')");
	ck_assert_msg(
		strstr(text, "events_2024_03") != NULL && strstr(text, "events_2024_02") == NULL, "%s", text);
	ck_assert_msg(strstr(text, "Index Scan") != NULL, "%s", text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("db events");
	TCase *t = tcase_create("events");
	tcase_add_test(t, numeric_of_known_values_has_the_wire_form);
	tcase_add_test(t, find_gives_back_every_field);
	tcase_add_test(t, copy_puts_each_count_into_its_column);
	tcase_add_test(t, copy_writes_money_as_the_shortest_decimal);
	tcase_add_test(t, numeric_round_trip_is_exact);
	tcase_add_test(t, find_of_another_user_or_unknown_id_is_not_found);
	tcase_add_test(t, list_pages_are_newest_first_without_gap_or_repeat);
	tcase_add_test(t, list_range_is_half_open);
	tcase_add_test(t, list_filters_each_narrow);
	tcase_add_test(t, load_finds_those_that_are_stored);
	tcase_add_test(t, list_and_find_touch_only_the_partitions_of_the_range);
	return run_store_tests(suite, t);
}
