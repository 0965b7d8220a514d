/* Events as lines of CSV: the order of cells, quoting, formulas, and that nothing is lost of a number. */

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "llmlab/api/event_csv.h"

#define ID "0193b2c4-0000-7000-8000-000000000000"

static struct event plain_event(void)
{
	struct event e = {.occurred_at_us = 1781092800000000, /* 2026-06-10T12:00:00Z */
		.received_at_us = 1781092800123456,
		.provider = "openai",
		.model = "gpt-4",
		.pricing_status = "unpriced",
		.price_rule = "no_price",
		.catalogue_version = "v",
		.service_tier = "standard",
		.status = "success"};
	ck_assert_int_eq(uuid_parse(ID, &e.id), ERR_OK);
	e.user_id = e.id;
	return e;
}

static const char *line_of(const struct event *e)
{
	static char text[8192];
	struct buf b;
	buf_init(&b, sizeof text - 1);
	event_csv_row(&b, e);
	ck_assert(!b.failed);
	memcpy(text, b.data, b.len + 1);
	buf_release(&b);
	return text;
}

static size_t commas(const char *s)
{
	size_t n = 0;
	for (; *s != '\0'; s++)
		n += *s == ',';
	return n;
}

START_TEST(header_names_as_many_cells_as_a_row_has)
{
	struct buf b;
	buf_init(&b, 4096);
	event_csv_header(&b);
	const struct event e = plain_event();
	static const char begin[] = "event_id,user_id,timestamp,tracked_at,provider,model,input_tokens,";
	ck_assert_int_eq(strncmp(buf_str(&b), begin, sizeof begin - 1), 0);
	ck_assert_ptr_nonnull(strstr(buf_str(&b), ",api_key_id\r\n"));
	ck_assert_uint_eq(commas(buf_str(&b)), commas(line_of(&e)));
	buf_release(&b);
}
END_TEST

START_TEST(row_of_a_plain_event_has_empty_cells_for_what_is_absent)
{
	struct event e = plain_event();
	e.usage.counts[USAGE_input_tokens] = 1000000000000;
	e.usage.counts[USAGE_output_tokens] = 2;
	const char *line = line_of(&e);
	static const char begin[] =
		ID "," ID ",2026-06-10T12:00:00.000Z,2026-06-10T12:00:00.123456Z,openai,gpt-4,"
		   "1000000000000,2,1000000000002,0,";
	ck_assert_int_eq(strncmp(line, begin, sizeof begin - 1), 0);
	/* no cost: an empty cell, not 0 */
	ck_assert_ptr_nonnull(strstr(line, ",{},,unpriced,,v,no_price,standard,,,[],"));
	ck_assert_ptr_nonnull(strstr(line, ",{},,,success,,\r\n"));
}
END_TEST

START_TEST(money_is_exact_to_the_last_digit)
{
	struct event e = plain_event();
	e.pricing_status = "reported";
	e.has_cost = e.has_reported_cost = true;
	/* 999999999999.999999999999999999 and 10^-18 */
	e.cost.atto = decimal_pow10(30) - 1;
	e.reported_cost.atto = 1;
	const char *line = line_of(&e);
	ck_assert_ptr_nonnull(strstr(line, ",999999999999.999999999999999999,reported,"));
	ck_assert_ptr_nonnull(strstr(line, ",0.000000000000000001,,"));
}
END_TEST

struct text_row {
	const char *value, *cell;
};
static const struct text_row text_rows[] = {
	{"web", ",web,"},
	{"a,b", ",\"a,b\","},
	{"say \"x\"", ",\"say \"\"x\"\"\","},
	{"two\nlines", ",\"two\nlines\","},
	{"two\rlines", ",\"two\rlines\","},
	{"\xc3\xa9t\xc3\xa9", ",\xc3\xa9t\xc3\xa9,"},
	{"=1+1", ",'=1+1,"},
	{"+49 30", ",'+49 30,"},
	{"-2", ",'-2,"},
	{"@me", ",'@me,"},
	{"\tx", ",'\tx,"},
	{"\rx", ",\"'\rx\","},
	{"\nx", ",\"'\nx\","},
	{"=\"a\",b", ",\"'=\"\"a\"\",b\","},
	{"1-1", ",1-1,"},
	{"'x", ",'x,"},
};

START_TEST(text_is_quoted_and_never_a_formula)
{
	struct event e = plain_event();
	e.project = text_rows[_i].value;
	ck_assert_ptr_nonnull(strstr(line_of(&e), text_rows[_i].cell));
}
END_TEST

START_TEST(row_without_room_fails)
{
	const struct event e = plain_event();
	struct buf b;
	buf_init(&b, 100);
	event_csv_row(&b, &e);
	ck_assert(b.failed);
	buf_release(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("event csv");
	TCase *t = tcase_create("csv");
	tcase_add_test(t, header_names_as_many_cells_as_a_row_has);
	tcase_add_test(t, row_of_a_plain_event_has_empty_cells_for_what_is_absent);
	tcase_add_test(t, money_is_exact_to_the_last_digit);
	tcase_add_loop_test(
		t, text_is_quoted_and_never_a_formula, 0, (int)(sizeof text_rows / sizeof text_rows[0]));
	tcase_add_test(t, row_without_room_fails);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
