/* base64url: the vectors of RFC 4648 without padding, and that every value has one spelling. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/base64url.h"

/* RFC 4648 section 10; the last two use the characters in which base64url differs from base64. */
static const struct {
	const char *bytes, *text;
} vectors[] = {
	{"", ""},
	{"f", "Zg"},
	{"fo", "Zm8"},
	{"foo", "Zm9v"},
	{"foob", "Zm9vYg"},
	{"fooba", "Zm9vYmE"},
	{"foobar", "Zm9vYmFy"},
	{"\xfb\xff", "-_8"},
	{"\xff\xff\xff", "____"},
};

START_TEST(base64url_encode_vector_gives_text)
{
	char out[16];
	base64url_encode(vectors[_i].bytes, strlen(vectors[_i].bytes), out);
	ck_assert_str_eq(out, vectors[_i].text);
	ck_assert_uint_eq(strlen(out), BASE64URL_LENGTH(strlen(vectors[_i].bytes)));
}
END_TEST

START_TEST(base64url_decode_vector_gives_bytes)
{
	uint8_t out[16];
	size_t len = 99;
	ck_assert_int_eq(
		base64url_decode(vectors[_i].text, strlen(vectors[_i].text), out, sizeof out, &len), ERR_OK);
	ck_assert_uint_eq(len, strlen(vectors[_i].bytes));
	ck_assert_mem_eq(out, vectors[_i].bytes, len);
}
END_TEST

/* Padding, the other alphabet, white space, a lone character, unused bits ("Zh" is 'f' and the bits 0001). */
static const char *const bad[] = {
	"Zg==",
	"Zg=",
	"=",
	"+_8",
	"-/8",
	"Zm 8",
	"Zm8\n",
	"A",
	"Zm9vY",
	"Zh",
	"Zm9",
	"\xc3\xa9",
	"Zm9v!",
	"....",
};

START_TEST(base64url_decode_other_spelling_is_syntax_error)
{
	uint8_t out[16];
	size_t len = 99;
	ck_assert_int_eq(base64url_decode(bad[_i], strlen(bad[_i]), out, sizeof out, &len), ERR_SYNTAX);
	ck_assert_uint_eq(len, 99);
}
END_TEST

START_TEST(base64url_decode_nul_inside_is_syntax_error)
{
	uint8_t out[16];
	size_t len = 99;
	ck_assert_int_eq(base64url_decode("Zm\0v", 4, out, sizeof out, &len), ERR_SYNTAX);
}
END_TEST

START_TEST(base64url_decode_without_room_is_range_error)
{
	uint8_t out[3] = {0, 0, 0x5a};
	size_t len = 99;
	ck_assert_int_eq(base64url_decode("Zm9v", 4, out, 2, &len), ERR_RANGE);
	ck_assert_uint_eq(len, 99);
	ck_assert_uint_eq(out[2], 0x5a);
}
END_TEST

START_TEST(base64url_two_characters_have_one_spelling_for_each_byte)
{
	/* Of the 64 x 64 pairs exactly 256 decode: those whose last four bits are zero. */
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	int good = 0;
	for (int i = 0; i < 64 * 64; i++) {
		const char pair[2] = {alphabet[i / 64], alphabet[i % 64]};
		uint8_t byte = 0;
		size_t len = 0;
		if (base64url_decode(pair, 2, &byte, 1, &len) != ERR_OK)
			continue;
		char again[3];
		base64url_encode(&byte, 1, again);
		ck_assert_mem_eq(again, pair, 2);
		good++;
	}
	ck_assert_int_eq(good, 256);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base64url");
	TCase *tcase = tcase_create("base64url");
	const int n_vectors = sizeof vectors / sizeof vectors[0];
	tcase_add_loop_test(tcase, base64url_encode_vector_gives_text, 0, n_vectors);
	tcase_add_loop_test(tcase, base64url_decode_vector_gives_bytes, 0, n_vectors);
	tcase_add_loop_test(
		tcase, base64url_decode_other_spelling_is_syntax_error, 0, sizeof bad / sizeof bad[0]);
	tcase_add_test(tcase, base64url_decode_nul_inside_is_syntax_error);
	tcase_add_test(tcase, base64url_decode_without_room_is_range_error);
	tcase_add_test(tcase, base64url_two_characters_have_one_spelling_for_each_byte);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
