/* The form of API keys. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "llmlab/auth/api_key.h"

/* "llk_" and base64url of the bytes 0, 1, ... 31; 256 bits are 42 characters and 4 bits, so the last
 * character ('8' = 60 = 111100) ends in two zero bits. */
#define KEY "llk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

START_TEST(api_key_generate_gives_key_of_our_form)
{
	char key[API_KEY_SIZE];
	api_key_generate(key);
	ck_assert_uint_eq(strlen(key), 47);
	ck_assert(strncmp(key, "llk_", 4) == 0);
	ck_assert(api_key_looks_like(key, strlen(key)));
}
END_TEST

START_TEST(api_key_generate_twice_gives_different_keys_and_prefixes)
{
	char a[API_KEY_SIZE];
	char b[API_KEY_SIZE];
	api_key_generate(a);
	api_key_generate(b);
	char prefix_a[API_KEY_PREFIX_SIZE];
	char prefix_b[API_KEY_PREFIX_SIZE];
	api_key_prefix(a, prefix_a);
	api_key_prefix(b, prefix_b);
	ck_assert_str_ne(a, b);
	ck_assert_str_ne(prefix_a, prefix_b);
}
END_TEST

START_TEST(api_key_prefix_is_first_twelve_characters)
{
	char prefix[API_KEY_PREFIX_SIZE];
	api_key_prefix(KEY, prefix);
	ck_assert_str_eq(prefix, "llk_AAECAwQF");
}
END_TEST

START_TEST(api_key_hash_is_sha256_of_text)
{
	/* Computed with another implementation: printf %s KEY | sha256sum */
	static const char expected[] = "d78230484284de64c4d037280638a9fb198453a83742d8891cef835b5aa19707";
	uint8_t hash[32];
	api_key_hash(KEY, hash);
	char hex[65];
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	ck_assert_str_eq(hex, expected);
}
END_TEST

START_TEST(api_key_looks_like_good_key_is_true)
{
	ck_assert(api_key_looks_like(KEY, strlen(KEY)));
}
END_TEST

static const char *const bad[] = {
	"",
	"llk_",
	"llk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh",   /* a character short */
	"llk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8A", /* one too many */
	"LLK_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",  /* other mark */
	"llx_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
	"llk-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
	"llk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9", /* unused bits not zero */
	"llk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh=", /* padding */
	"llk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdH+8", /* other alphabet */
	"llk_AAECAwQFBgcICQoL A0ODxAREhMUFRYXGBkaGxwdHh8",
};

START_TEST(api_key_looks_like_other_form_is_false)
{
	ck_assert(!api_key_looks_like(bad[_i], strlen(bad[_i])));
}
END_TEST

START_TEST(api_key_looks_like_nul_inside_is_false)
{
	char key[API_KEY_SIZE] = KEY;
	key[20] = '\0';
	ck_assert(!api_key_looks_like(key, API_KEY_LENGTH));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("api_key");
	TCase *tcase = tcase_create("api_key");
	tcase_add_test(tcase, api_key_generate_gives_key_of_our_form);
	tcase_add_test(tcase, api_key_generate_twice_gives_different_keys_and_prefixes);
	tcase_add_test(tcase, api_key_prefix_is_first_twelve_characters);
	tcase_add_test(tcase, api_key_hash_is_sha256_of_text);
	tcase_add_test(tcase, api_key_looks_like_good_key_is_true);
	tcase_add_loop_test(tcase, api_key_looks_like_other_form_is_false, 0, sizeof bad / sizeof bad[0]);
	tcase_add_test(tcase, api_key_looks_like_nul_inside_is_false);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
