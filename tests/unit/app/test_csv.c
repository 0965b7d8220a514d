/* CSV records as in RFC 4180. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/app/csv.h"

static FILE *in;
static struct csv_reader *reader;
static struct csv_record record;

static void open_text(const char *text, size_t n)
{
	in = tmpfile();
	ck_assert_ptr_nonnull(in);
	ck_assert_uint_eq(fwrite(text, 1, n, in), n);
	rewind(in);
	reader = csv_reader_new(in);
	ck_assert_ptr_nonnull(reader);
}

static void close_text(void)
{
	csv_reader_free(reader);
	fclose(in);
}

START_TEST(csv_read_plain_record_is_split_at_commas)
{
	open_text("a,b,,d\r\nx,y\n", 12);
	ck_assert_int_eq(csv_read(reader, &record), ERR_OK);
	ck_assert_uint_eq(record.n_fields, 4);
	ck_assert_str_eq(record.fields[1], "b");
	ck_assert_str_eq(record.fields[2], "");
	ck_assert_str_eq(record.fields[3], "d");
	ck_assert_uint_eq(record.raw_bytes, 6);
	ck_assert_int_eq(csv_read(reader, &record), ERR_OK);
	ck_assert_uint_eq(record.n_fields, 2);
	ck_assert_uint_eq(record.line, 2);
	ck_assert_int_eq(csv_read(reader, &record), ERR_NOT_FOUND);
	close_text();
}
END_TEST

START_TEST(csv_read_quotes_hide_commas_lines_and_quotes)
{
	static const char text[] = "\"a,\"\"b\"\"\",\"two\r\nlines\",\"\"\nnext,1,2\n";
	open_text(text, sizeof text - 1);
	ck_assert_int_eq(csv_read(reader, &record), ERR_OK);
	ck_assert_uint_eq(record.n_fields, 3);
	ck_assert_str_eq(record.fields[0], "a,\"b\"");
	ck_assert_str_eq(record.fields[1], "two\r\nlines");
	ck_assert_str_eq(record.fields[2], "");
	ck_assert_int_eq(csv_read(reader, &record), ERR_OK);
	ck_assert_uint_eq(record.line, 3);
	close_text();
}
END_TEST

START_TEST(csv_read_last_line_without_end_and_trailing_comma_count)
{
	open_text("a,b,", 4);
	ck_assert_int_eq(csv_read(reader, &record), ERR_OK);
	ck_assert_uint_eq(record.n_fields, 3);
	ck_assert_str_eq(record.fields[2], "");
	ck_assert_int_eq(csv_read(reader, &record), ERR_NOT_FOUND);
	close_text();
}
END_TEST

START_TEST(csv_read_byte_order_mark_and_blank_lines_are_skipped)
{
	open_text("\xEF\xBB\xBF"
		  "a\n\n\r\nb\n",
		10);
	ck_assert_int_eq(csv_read(reader, &record), ERR_OK);
	ck_assert_str_eq(record.fields[0], "a");
	ck_assert_int_eq(csv_read(reader, &record), ERR_OK);
	ck_assert_str_eq(record.fields[0], "b");
	ck_assert_uint_eq(record.line, 4);
	close_text();
}
END_TEST

START_TEST(csv_read_odd_quotes_are_refused_and_reading_goes_on)
{
	static const char text[] = "a\"b\"\n\"a\"b,\"c\"\nx\0y\ngood\n";
	open_text(text, sizeof text - 1);
	ck_assert_int_eq(csv_read(reader, &record), ERR_SYNTAX);
	ck_assert_int_eq(csv_read(reader, &record), ERR_SYNTAX);
	ck_assert_int_eq(csv_read(reader, &record), ERR_SYNTAX);
	ck_assert_int_eq(csv_read(reader, &record), ERR_OK);
	ck_assert_str_eq(record.fields[0], "good");
	ck_assert_uint_eq(record.line, 4);
	close_text();
}
END_TEST

START_TEST(csv_read_quote_open_at_the_end_is_refused)
{
	open_text("\"a,b\nc\n", 7);
	ck_assert_int_eq(csv_read(reader, &record), ERR_SYNTAX);
	ck_assert_uint_eq(record.line, 1);
	ck_assert_int_eq(csv_read(reader, &record), ERR_NOT_FOUND);
	close_text();
}
END_TEST

START_TEST(csv_read_record_beyond_maximum_is_refused)
{
	char *const text = malloc(CSV_RECORD_MAX_BYTES + 2);
	ck_assert_ptr_nonnull(text);
	memset(text, 'a', CSV_RECORD_MAX_BYTES + 1);
	text[CSV_RECORD_MAX_BYTES + 1] = '\n';
	open_text(text, CSV_RECORD_MAX_BYTES + 2);
	ck_assert_int_eq(csv_read(reader, &record), ERR_RANGE);
	close_text();
	free(text);
}
END_TEST

START_TEST(csv_read_more_fields_than_there_may_be_is_refused)
{
	char text[CSV_FIELDS_MAX + 1];
	memset(text, ',', CSV_FIELDS_MAX);
	text[CSV_FIELDS_MAX] = '\n';
	open_text(text, sizeof text);
	ck_assert_int_eq(csv_read(reader, &record), ERR_SYNTAX);
	close_text();
	/* one comma fewer: exactly the most */
	open_text(text + 1, sizeof text - 1);
	ck_assert_int_eq(csv_read(reader, &record), ERR_OK);
	ck_assert_uint_eq(record.n_fields, CSV_FIELDS_MAX);
	close_text();
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("csv");
	TCase *const tc = tcase_create("csv");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, csv_read_plain_record_is_split_at_commas);
	tcase_add_test(tc, csv_read_quotes_hide_commas_lines_and_quotes);
	tcase_add_test(tc, csv_read_last_line_without_end_and_trailing_comma_count);
	tcase_add_test(tc, csv_read_byte_order_mark_and_blank_lines_are_skipped);
	tcase_add_test(tc, csv_read_odd_quotes_are_refused_and_reading_goes_on);
	tcase_add_test(tc, csv_read_quote_open_at_the_end_is_refused);
	tcase_add_test(tc, csv_read_record_beyond_maximum_is_refused);
	tcase_add_test(tc, csv_read_more_fields_than_there_may_be_is_refused);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
