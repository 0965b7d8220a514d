/* Sealed texts and webhook signatures. */
#include "llmlab/auth/seal.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define OLD "0123456789abcdef0123456789abcdeX"
#define NEW "fedcba9876543210fedcba9876543210"

static struct uuid user_id, id;

static void setup(void)
{
	user_id = uuid_v4();
	id = uuid_v4();
}

static struct seal_keys *keys(const char *secret, const char *previous)
{
	struct seal_keys *k = NULL;
	ck_assert_int_eq(seal_keys_new(secret, previous, &k), ERR_OK);
	return k;
}

START_TEST(seal_open_gives_back_what_was_sealed)
{
	struct seal_keys *const k = keys(OLD, NULL);
	char sealed[SEALED_SIZE], again[SEALED_SIZE], text[SEAL_TEXT_MAX + 1], longest[SEAL_TEXT_MAX + 1];
	memset(longest, 'x', SEAL_TEXT_MAX);
	longest[SEAL_TEXT_MAX] = '\0';
	const char *const texts[] = {"", "a", "whsec_abc", longest};
	for (size_t i = 0; i < 4; i++) {
		seal_text(k, &user_id, &id, texts[i], sealed);
		seal_text(k, &user_id, &id, texts[i], again);
		ck_assert_str_ne(sealed, again);
		ck_assert(strncmp(sealed, seal_key_id(k), 16) == 0 && sealed[16] == '.');
		ck_assert_int_eq(seal_open(k, &user_id, &id, sealed, text), ERR_OK);
		ck_assert_str_eq(text, texts[i]);
	}
	seal_keys_free(k);
}
END_TEST

START_TEST(seal_open_of_another_row_or_damaged_is_refused)
{
	struct seal_keys *const k = keys(OLD, NULL);
	char sealed[SEALED_SIZE], text[SEAL_TEXT_MAX + 1] = "untouched";
	const struct uuid other = uuid_v4();
	seal_text(k, &user_id, &id, "whsec_abc", sealed);
	ck_assert_int_eq(seal_open(k, &other, &id, sealed, text), ERR_SYNTAX);
	ck_assert_int_eq(seal_open(k, &user_id, &other, sealed, text), ERR_SYNTAX);
	for (size_t i = 17; sealed[i] != '\0'; i++) {
		const char was = sealed[i];
		sealed[i] = was == 'A' ? 'B' : 'A';
		ck_assert_int_eq(seal_open(k, &user_id, &id, sealed, text), ERR_SYNTAX);
		sealed[i] = was;
	}
	ck_assert_int_eq(seal_open(k, &user_id, &id, "", text), ERR_SYNTAX);
	ck_assert_int_eq(seal_open(k, &user_id, &id, "0123456789abcdef.", text), ERR_SYNTAX);
	sealed[20] = '\0';
	ck_assert_int_eq(seal_open(k, &user_id, &id, sealed, text), ERR_SYNTAX);
	ck_assert_str_eq(text, "untouched");
	seal_keys_free(k);
}
END_TEST

START_TEST(seal_open_with_the_key_before_works_while_it_is_given)
{
	struct seal_keys *const old = keys(OLD, NULL), *const both = keys(NEW, OLD),
				*const new = keys(NEW, NULL);
	char sealed[SEALED_SIZE], text[SEAL_TEXT_MAX + 1];
	seal_text(old, &user_id, &id, "whsec_abc", sealed);
	ck_assert_int_eq(seal_open(both, &user_id, &id, sealed, text), ERR_OK);
	ck_assert_str_eq(text, "whsec_abc");
	ck_assert_int_eq(seal_open(new, &user_id, &id, sealed, text), ERR_NOT_FOUND);
	seal_text(both, &user_id, &id, text, sealed);
	ck_assert_int_eq(seal_open(new, &user_id, &id, sealed, text), ERR_OK);
	ck_assert_str_ne(seal_key_id(old), seal_key_id(new));
	seal_keys_free(old);
	seal_keys_free(both);
	seal_keys_free(new);
}
END_TEST

START_TEST(seal_open_with_neither_key_is_not_found)
{
	struct seal_keys *const third = keys("a third secret of thirty-two char", NULL), *const both = keys(
												 NEW, OLD);
	char sealed[SEALED_SIZE], text[SEAL_TEXT_MAX + 1] = "untouched";
	seal_text(third, &user_id, &id, "whsec_abc", sealed);
	ck_assert_int_eq(seal_open(both, &user_id, &id, sealed, text), ERR_NOT_FOUND);
	ck_assert_str_eq(text, "untouched");
	seal_keys_free(third);
	seal_keys_free(both);
}
END_TEST

START_TEST(seal_open_of_another_form_is_refused)
{
	struct seal_keys *const k = keys(NEW, NULL);
	char sealed[SEALED_SIZE + 1], text[SEAL_TEXT_MAX + 1] = "untouched";
	seal_text(k, &user_id, &id, "whsec_abc", sealed);
	sealed[SEAL_KEY_ID_SIZE - 1] = ':'; /* no dot behind the name of the key */
	ck_assert_int_eq(seal_open(k, &user_id, &id, sealed, text), ERR_SYNTAX);
	sealed[SEAL_KEY_ID_SIZE - 1] = '.';
	memset(sealed + SEAL_KEY_ID_SIZE, 'A', 4 * 7); /* 21 bytes: less than what every sealed text has */
	sealed[SEAL_KEY_ID_SIZE + 4 * 7] = '\0';
	ck_assert_int_eq(seal_open(k, &user_id, &id, sealed, text), ERR_SYNTAX);
	memset(sealed + SEAL_KEY_ID_SIZE, 'A', SEALED_SIZE - SEAL_KEY_ID_SIZE); /* longer than any */
	sealed[SEALED_SIZE] = '\0';
	ck_assert_int_eq(seal_open(k, &user_id, &id, sealed, text), ERR_SYNTAX);
	ck_assert_str_eq(text, "untouched");
	seal_keys_free(k);
}
END_TEST

/* Reference: printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec_test */
START_TEST(webhook_sign_is_the_documented_hmac)
{
	char signature[WEBHOOK_SIGNATURE_SIZE];
	ck_assert_int_eq(webhook_sign("whsec_test", 1700000000, "{\"a\":1}", 7, signature), ERR_OK);
	ck_assert_str_eq(signature,
		"t=1700000000,v1=38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789");
}
END_TEST

START_TEST(webhook_secret_generate_is_new_each_time)
{
	char a[WEBHOOK_SECRET_SIZE], b[WEBHOOK_SECRET_SIZE];
	webhook_secret_generate(a);
	webhook_secret_generate(b);
	ck_assert_uint_eq(strlen(a), 49); /* "whsec_" and 43 characters */
	ck_assert(strncmp(a, "whsec_", 6) == 0);
	ck_assert_str_ne(a, b);
}
END_TEST

int main(void)
{
	Suite *const s = suite_create("seal");
	TCase *const t = tcase_create("seal");
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, seal_open_gives_back_what_was_sealed);
	tcase_add_test(t, seal_open_of_another_row_or_damaged_is_refused);
	tcase_add_test(t, seal_open_with_the_key_before_works_while_it_is_given);
	tcase_add_test(t, seal_open_with_neither_key_is_not_found);
	tcase_add_test(t, seal_open_of_another_form_is_refused);
	tcase_add_test(t, webhook_sign_is_the_documented_hmac);
	tcase_add_test(t, webhook_secret_generate_is_new_each_time);
	suite_add_tcase(s, t);
	SRunner *const r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	const int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
