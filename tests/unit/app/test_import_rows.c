/* Rows of CSV and NDJSON files as event bodies with stable keys. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/app/import_rows.h"

static FILE *in;
static struct import_rows *rows;
static struct buf out, problems;

static enum err open_rows(const char *text, struct import_rows_options options)
{
	in = tmpfile();
	ck_assert_ptr_nonnull(in);
	fputs(text, in);
	rewind(in);
	buf_init(&out, 65536);
	buf_init(&problems, 65536);
	return import_rows_new(in, &options, &rows, &problems);
}

static void close_rows(void)
{
	import_rows_free(rows);
	rows = NULL;
	buf_release(&out);
	buf_release(&problems);
	fclose(in);
}

/* The next row's JSON. */
static const char *next(void)
{
	struct import_row row;
	buf_reset(&out);
	ck_assert_int_eq(import_rows_next(rows, &out, &row), ERR_OK);
	ck_assert_msg(row.refused == NULL, "%s", row.refused);
	ck_assert_int_eq(out.data[out.len - 1], '\n');
	out.data[out.len - 1] = '\0';
	return buf_str(&out);
}

static const char *next_refused(uint64_t line)
{
	struct import_row row;
	buf_reset(&out);
	ck_assert_int_eq(import_rows_next(rows, &out, &row), ERR_OK);
	ck_assert_ptr_nonnull(row.refused);
	ck_assert_uint_eq(row.line, line);
	ck_assert_uint_eq(out.len, 0);
	return row.refused;
}

/* The key of the next row; the rest of the row behind it in *ret_rest. */
static void next_key(char key[72], const char **ret_rest)
{
	static const char prefix[] = "{\"idempotency_key\":\"import:";
	const char *const text = next();
	ck_assert_int_eq(strncmp(text, prefix, sizeof prefix - 1), 0);
	const char *const value = text + strlen("{\"idempotency_key\":\"");
	ck_assert_uint_eq(strcspn(value, "\""), 71); /* import: and 64 hex digits */
	memcpy(key, value, 71);
	key[71] = '\0';
	*ret_rest = value + 72;
}

#define CSV_OPENAI                                                                                           \
	((struct import_rows_options){.format = IMPORT_CSV, .provider = "openai", .model = "gpt-4"})

START_TEST(import_rows_csv_known_names_become_an_event)
{
	/* 100 ns digits are cut to microseconds */
	ck_assert_int_eq(
		open_rows("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799601,4808,10\n",
			CSV_OPENAI),
		ERR_OK);
	char key[72];
	const char *rest;
	next_key(key, &rest);
	ck_assert_str_eq(rest,
		",\"provider\":\"openai\",\"model\":\"gpt-4\",\"timestamp\":\"2023-11-16T18:17:03.979960Z\","
		"\"input_tokens\":4808,\"output_tokens\":10}");
	close_rows();
}
END_TEST

START_TEST(import_rows_csv_key_is_the_digest_of_options_row_and_occurrence)
{
	/* printf 'openai\0gpt-4\0002023-11-16 18:17:03,4808,10\0000\0' | sha256sum, and with 1 for the second
	 */
	ck_assert_int_eq(open_rows("timestamp,input_tokens,output_tokens\r\n2023-11-16 18:17:03,4808,10\r\n"
				   "2023-11-16 18:17:03,4808,10\r\n",
				 CSV_OPENAI),
		ERR_OK);
	char key[72];
	const char *rest;
	next_key(key, &rest);
	ck_assert_str_eq(key, "import:5b9ff8e0f534d75c5da3490b34392b5aeb9b2b4467f82cc5da475d3e5beb0c8f");
	next_key(key, &rest);
	ck_assert_str_eq(key, "import:111e8982ad554b10578d735335a725c6b3cf45baf8ee3347c021cabf0fd55ebd");
	close_rows();
}
END_TEST

START_TEST(import_rows_csv_key_depends_on_model_option)
{
	static const char text[] = "input_tokens\n1\n";
	char first[72], second[72];
	const char *rest;
	ck_assert_int_eq(open_rows(text, CSV_OPENAI), ERR_OK);
	next_key(first, &rest);
	close_rows();
	ck_assert_int_eq(
		open_rows(text, (struct import_rows_options){.provider = "openai", .model = "gpt-4o"}),
		ERR_OK);
	next_key(second, &rest);
	close_rows();
	ck_assert_str_ne(first, second);
}
END_TEST

START_TEST(import_rows_csv_own_columns_win_over_options)
{
	ck_assert_int_eq(open_rows("Model,vendor,prompt tokens,cost,tag.team,notes,idempotency_key\n"
				   "gpt-4o,azure, 7 ,0.010,search,\"a, b\",k1\n",
				 CSV_OPENAI),
		ERR_OK);
	ck_assert_str_eq(next(),
		"{\"model\":\"gpt-4o\",\"provider\":\"azure\",\"input_tokens\":7,\"cost\":0.010,"
		"\"idempotency_key\":\"k1\",\"tags\":{\"team\":\"search\"}}");
	close_rows();
}
END_TEST

START_TEST(import_rows_csv_empty_cells_are_left_out)
{
	ck_assert_int_eq(
		open_rows("idempotency_key,input_tokens,output_tokens,tag.a,project\nk,1,, ,\n", CSV_OPENAI),
		ERR_OK);
	ck_assert_str_eq(next(),
		"{\"provider\":\"openai\",\"model\":\"gpt-4\",\"idempotency_key\":\"k\",\"input_tokens\":1,"
		"\"tags\":{\"a\":\" \"}}");
	close_rows();
}
END_TEST

START_TEST(import_rows_csv_not_a_number_goes_as_text_for_the_server_to_name)
{
	ck_assert_int_eq(
		open_rows("idempotency_key,input_tokens,timestamp\nk,\"1,000\",yesterday\n", CSV_OPENAI),
		ERR_OK);
	ck_assert_str_eq(next(), "{\"provider\":\"openai\",\"model\":\"gpt-4\",\"idempotency_key\":\"k\","
				 "\"input_tokens\":\"1,000\",\"timestamp\":\"yesterday\"}");
	close_rows();
}
END_TEST

START_TEST(import_rows_csv_wrong_number_of_fields_is_refused)
{
	ck_assert_int_eq(open_rows("input_tokens,output_tokens\n1\n1,2\n", CSV_OPENAI), ERR_OK);
	ck_assert_str_eq(next_refused(2), "has 1 fields, the header has 2");
	(void)next();
	close_rows();
}
END_TEST

START_TEST(import_rows_csv_map_names_the_fields)
{
	ck_assert_int_eq(open_rows("in,out,team,when\n1,2,x,2024-01-01\n",
				 (struct import_rows_options){.model = "m",
					 .map = "input_tokens=in,output_tokens=out,tag.team=team,idempotency_"
						"key=when"}),
		ERR_OK);
	ck_assert_str_eq(next(),
		"{\"model\":\"m\",\"input_tokens\":1,\"output_tokens\":2,\"idempotency_key\":\"2024-01-01\","
		"\"tags\":{\"team\":\"x\"}}");
	close_rows();
}
END_TEST

static void is_refused_header(const char *header, struct import_rows_options options, const char *told)
{
	ck_assert_int_eq(open_rows(header, options), ERR_VALIDATION);
	ck_assert_msg(strstr(buf_str(&problems), told) != NULL, "%s", buf_str(&problems));
	close_rows();
}

START_TEST(import_rows_csv_header_that_would_lose_tokens_is_refused)
{
	/* Anthropic's cached tokens are beside input_tokens, not in them */
	is_refused_header("input_tokens,cache_read_input_tokens\n", CSV_OPENAI,
		"column \"cache_read_input_tokens\" looks like a count of tokens");
	is_refused_header("time,project\n", CSV_OPENAI, "no column is a count of tokens or a cost");
	is_refused_header("input_tokens\n", (struct import_rows_options){0}, "no column is the model");
	is_refused_header("input_tokens,prompt_tokens,promptTokens\n", CSV_OPENAI,
		"column \"prompt_tokens\" looks like");
	is_refused_header("", CSV_OPENAI, "not a CSV header");
}
END_TEST

START_TEST(import_rows_csv_wrong_map_is_refused)
{
	struct import_rows_options o = CSV_OPENAI;
	o.map = "input_tokens=in,tokens=out,output_tokens";
	is_refused_header("in,out\n", o, "--map: events have no field \"tokens\"");
	is_refused_header("in,out\n", o, "--map wants field=column, not \"output_tokens\"");
	is_refused_header("out\n", o, "--map: the file has no column \"in\"");
	o.map = "input_tokens=a,input_tokens=b";
	is_refused_header("a,b\n", o, "columns \"a\" and \"b\" are both input_tokens");
}
END_TEST

START_TEST(import_rows_csv_ignored_column_is_left_out)
{
	struct import_rows_options o = CSV_OPENAI;
	o.ignore = "max_tokens,cost";
	ck_assert_int_eq(
		open_rows("idempotency_key,input_tokens,max_tokens,total_tokens,cost\nk,1,2,3,4\n", o),
		ERR_OK);
	ck_assert_str_eq(next(),
		"{\"provider\":\"openai\",\"model\":\"gpt-4\",\"idempotency_key\":\"k\",\"input_tokens\":1}");
	close_rows();
}
END_TEST

#define NDJSON ((struct import_rows_options){.format = IMPORT_NDJSON})

START_TEST(import_rows_ndjson_line_gets_a_key_and_keeps_its_digits)
{
	ck_assert_int_eq(
		open_rows("\n {\"model\":\"m\",\"cost\":0.10000000000000000001}\r\n", NDJSON), ERR_OK);
	char key[72];
	const char *rest;
	next_key(key, &rest);
	ck_assert_str_eq(rest, ",\"model\":\"m\",\"cost\":0.10000000000000000001}");
	close_rows();
}
END_TEST

START_TEST(import_rows_ndjson_own_key_or_response_id_is_kept)
{
	static const char own[] = "{\"idempotency_key\":\"k\",\"model\":\"m\"}";
	static const char response[] = "{\"response\":{\"id\":\"chatcmpl-1\",\"usage\":{}}}";
	char text[256];
	(void)snprintf(text, sizeof text, "%s\n%s\n", own, response);
	ck_assert_int_eq(open_rows(text, NDJSON), ERR_OK);
	ck_assert_str_eq(next(), own);
	ck_assert_str_eq(next(), response);
	close_rows();
}
END_TEST

START_TEST(import_rows_ndjson_options_fill_what_is_not_said)
{
	struct import_rows_options o = NDJSON;
	o.provider = "openai";
	o.model = "gpt-4";
	ck_assert_int_eq(open_rows("{\"idempotency_key\":\"k\"}\n{\"idempotency_key\":\"k\",\"model\":\"x\","
				   "\"provider\":\"y\"}\n"
				   "{\"idempotency_key\":\"k\",\"response\":{\"model\":\"z\"}}\n",
				 o),
		ERR_OK);
	ck_assert_str_eq(next(), "{\"provider\":\"openai\",\"model\":\"gpt-4\",\"idempotency_key\":\"k\"}");
	ck_assert_str_eq(next(), "{\"idempotency_key\":\"k\",\"model\":\"x\",\"provider\":\"y\"}");
	ck_assert_str_eq(
		next(), "{\"provider\":\"openai\",\"idempotency_key\":\"k\",\"response\":{\"model\":\"z\"}}");
	close_rows();
}
END_TEST

START_TEST(import_rows_ndjson_bad_lines_are_refused_and_reading_goes_on)
{
	ck_assert_int_eq(open_rows("{\"model\":\n[1]\n{}\n", NDJSON), ERR_OK);
	(void)next_refused(1);
	ck_assert_str_eq(next_refused(2), "the line is not a JSON object");
	char key[72];
	const char *rest;
	next_key(key, &rest);
	ck_assert_str_eq(rest, "}");
	struct import_row row;
	ck_assert_int_eq(import_rows_next(rows, &out, &row), ERR_NOT_FOUND);
	close_rows();
}
END_TEST

int main(void)
{
	Suite *const suite = suite_create("import_rows");
	TCase *const tc = tcase_create("import_rows");
	suite_add_tcase(suite, tc);
	tcase_add_test(tc, import_rows_csv_known_names_become_an_event);
	tcase_add_test(tc, import_rows_csv_key_is_the_digest_of_options_row_and_occurrence);
	tcase_add_test(tc, import_rows_csv_key_depends_on_model_option);
	tcase_add_test(tc, import_rows_csv_own_columns_win_over_options);
	tcase_add_test(tc, import_rows_csv_empty_cells_are_left_out);
	tcase_add_test(tc, import_rows_csv_not_a_number_goes_as_text_for_the_server_to_name);
	tcase_add_test(tc, import_rows_csv_wrong_number_of_fields_is_refused);
	tcase_add_test(tc, import_rows_csv_map_names_the_fields);
	tcase_add_test(tc, import_rows_csv_header_that_would_lose_tokens_is_refused);
	tcase_add_test(tc, import_rows_csv_wrong_map_is_refused);
	tcase_add_test(tc, import_rows_csv_ignored_column_is_left_out);
	tcase_add_test(tc, import_rows_ndjson_line_gets_a_key_and_keeps_its_digits);
	tcase_add_test(tc, import_rows_ndjson_own_key_or_response_id_is_kept);
	tcase_add_test(tc, import_rows_ndjson_options_fill_what_is_not_said);
	tcase_add_test(tc, import_rows_ndjson_bad_lines_are_refused_and_reading_goes_on);
	SRunner *const runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
