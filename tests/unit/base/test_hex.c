/* Bytes as hexadecimal digits, and back. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/base/hex.h"

START_TEST(hex_encode_writes_two_lower_case_digits_a_byte)
{
	static const uint8_t BYTES[] = {0x00, 0x09, 0x0a, 0x9f, 0xa0, 0xff};
	char text[] = "------------!-";
	hex_encode(BYTES, sizeof BYTES, text);
	ck_assert_str_eq(text, "00090a9fa0ff");
	/* Nothing behind the NUL. */
	ck_assert_int_eq(text[13], '-');
}
END_TEST

START_TEST(hex_encode_of_nothing_is_empty)
{
	char text[] = "-";
	hex_encode(NULL, 0, text);
	ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(hex_value_of_every_character)
{
	static const char LOWER[] = "0123456789abcdef", UPPER[] = "0123456789ABCDEF";
	for (int c = -128; c < 128; c++) {
		const char *const lower = c != 0 ? strchr(LOWER, c) : NULL;
		const char *const upper = c != 0 ? strchr(UPPER, c) : NULL;
		const int expected =
			lower != NULL ? (int)(lower - LOWER) : (upper != NULL ? (int)(upper - UPPER) : -1);
		ck_assert_int_eq(hex_value((char)c), expected);
	}
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("hex");
	TCase *const t = tcase_create("hex");
	tcase_add_test(t, hex_encode_writes_two_lower_case_digits_a_byte);
	tcase_add_test(t, hex_encode_of_nothing_is_empty);
	tcase_add_test(t, hex_value_of_every_character);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
