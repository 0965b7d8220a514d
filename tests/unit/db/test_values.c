/* Binary arrays as the database reads them, held against what it makes of texts. */

#include "store_fixture.h"

static const char *sent(const struct db_params *p, const char *type)
{
	static int n;
	const struct db_stmt stmt = {arena_printf(&arena, "test_sent_%d", n++),
		arena_printf(&arena, "SELECT ($1::%s)::text", type)};
	PGresult *r = NULL;
	const enum err e = db_run(conn, &stmt, p, &r);
	ck_assert_msg(e == ERR_OK, "%s: %s", type, db_last_message(conn));
	const char *const text = arena_strdup(&arena, db_text(r, 0, 0));
	PQclear(r);
	return text;
}

START_TEST(db_param_i64_array_binary_keeps_every_bit)
{
	static const int64_t v[] = {0, 1, -1, 255, 256, INT64_MAX, INT64_MIN, 1000000000000};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_i64_array_binary(&p, v, sizeof v / sizeof v[0]);
	ck_assert_str_eq(sent(&p, "bigint[]"),
		"{0,1,-1,255,256,9223372036854775807,-9223372036854775808,1000000000000}");
}
END_TEST

START_TEST(db_param_array_binary_of_nothing_is_empty)
{
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_i64_array_binary(&p, NULL, 0);
	ck_assert_str_eq(sent(&p, "bigint[]"), "{}");
	db_params_init(&p, &arena);
	db_param_text_array_binary(&p, NULL, 0);
	ck_assert_str_eq(sent(&p, "text[]"), "{}");
}
END_TEST

START_TEST(db_param_instant_array_binary_before_and_after_2000)
{
	const int64_t v[] = {
		at("1999-12-31T23:59:59.999999Z"), at("2000-01-01T00:00:00Z"), 0, at("2026-11-23T10:15:00Z")};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_instant_array_binary(&p, v, 4);
	ck_assert_str_eq(sent(&p, "timestamptz[]"),
		"{\"1999-12-31 23:59:59.999999+00\",\"2000-01-01 00:00:00+00\",\"1970-01-01 "
		"00:00:00+00\",\"2026-11-23 10:15:00+00\"}");
}
END_TEST

START_TEST(db_param_uuid_array_binary_keeps_the_order_of_bytes)
{
	struct uuid v[2];
	ck_assert_int_eq(uuid_parse("01890a5d-ac96-774b-bcce-b302099a8057", &v[0]), ERR_OK);
	ck_assert_int_eq(uuid_parse("ffffffff-0000-7000-8000-000000000001", &v[1]), ERR_OK);
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_uuid_array_binary(&p, v, 2);
	ck_assert_str_eq(sent(&p, "uuid[]"),
		"{01890a5d-ac96-774b-bcce-b302099a8057,ffffffff-0000-7000-8000-000000000001}");
}
END_TEST

/* What means something in the text form means only itself here. */
START_TEST(db_param_text_array_binary_needs_no_quotes)
{
	static const char *const v[] = {"", "NULL", "a\"b\\c,{d}", "\303\251"};
	struct db_params binary, text;
	db_params_init(&binary, &arena);
	db_params_init(&text, &arena);
	db_param_text_array_binary(&binary, v, 4);
	db_param_text_array(&text, v, 4);
	ck_assert_str_eq(sent(&binary, "text[]"), sent(&text, "text[]"));
	ck_assert_str_eq(sent(&binary, "text[]"), "{\"\",\"NULL\",\"a\\\"b\\\\c,{d}\",\303\251}");
}
END_TEST

START_TEST(db_param_money_array_binary_is_exact)
{
	const struct money v[] = {usd("0"), usd("0.000000000000000001"), usd("-0.25"), usd("10000"),
		usd("99999999.99990001"), usd("123456789012.000000000000000009")};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_money_array_binary(&p, v, sizeof v / sizeof v[0]);
	ck_assert_str_eq(sent(&p, "numeric[]"),
		"{0,0.000000000000000001,-0.25,10000,99999999.99990001,123456789012.000000000000000009}");
}
END_TEST

/* Both forms in one statement: each parameter says which it is. */
START_TEST(db_params_of_both_forms_go_together)
{
	static const int64_t v[] = {7, 8};
	static const struct db_stmt stmt = {
		"test_both", "SELECT $1::text || ($2::bigint[])[2] || $3::text || ($4::bigint[])[1]"};
	struct db_params p;
	db_params_init(&p, &arena);
	db_param_text(&p, "a");
	db_param_i64_array_binary(&p, v, 2);
	db_param_text(&p, "b");
	db_param_i64_array(&p, v, 2);
	PGresult *r = NULL;
	ck_assert_int_eq(db_run(conn, &stmt, &p, &r), ERR_OK);
	ck_assert_str_eq(db_text(r, 0, 0), "a8b7");
	PQclear(r);
}
END_TEST

int main(void)
{
	TCase *const t = tcase_create("values");
	tcase_add_test(t, db_param_i64_array_binary_keeps_every_bit);
	tcase_add_test(t, db_param_array_binary_of_nothing_is_empty);
	tcase_add_test(t, db_param_instant_array_binary_before_and_after_2000);
	tcase_add_test(t, db_param_uuid_array_binary_keeps_the_order_of_bytes);
	tcase_add_test(t, db_param_text_array_binary_needs_no_quotes);
	tcase_add_test(t, db_param_money_array_binary_is_exact);
	tcase_add_test(t, db_params_of_both_forms_go_together);
	return run_store_tests(suite_create("values"), t);
}
